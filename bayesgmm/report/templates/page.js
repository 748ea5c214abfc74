"use strict";
// Sorting of tables, by mouse or keyboard; and buttons for the theme, for opening everything and for printing.
// Without scripts the page says the same, in the order in which it was written.
(() => {
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  const said = document.getElementById("said");

  // What a cell is sorted by: its number if it has one, otherwise its text; null for neither, which goes last.
  const keyOf = (cell) => {
    if (!cell) return null;
    if (cell.dataset.sort !== undefined) return cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
    const text = cell.textContent.trim();
    return text === "" || text === "–" ? null : text;
  };

  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : compare(String(a), String(b)));

  function sort(table, column, direction, original) {
    const rows = original.map((row) => [keyOf(row.cells[column]), row]);
    if (direction !== "none") {
      const sign = direction === "ascending" ? 1 : -1;
      rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * order(a, b)));
    }
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  const next = { none: "ascending", ascending: "descending", descending: "none" };

  for (const table of document.querySelectorAll("table.sortable")) {
    const original = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    if (original.length < 2) continue;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const direction = next[head.getAttribute("aria-sort")];
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", direction);
        sort(table, column, direction, original);
        said.textContent = direction === "none" ? "In the original order" : `Sorted by ${button.textContent.trim()}, ${direction}`;
      });
    });
  }

  const tools = document.getElementById("tools");
  const tool = (words, act) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.addEventListener("click", () => act(button));
    tools.append(button);
    return button;
  };

  const dark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  tool(dark() ? "Light" : "Dark", (button) => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    button.textContent = dark() ? "Light" : "Dark";
  });
  tool("Open all tables", (button) => {
    const all = [...document.querySelectorAll("main details")];
    const open = all.some((one) => !one.open);
    for (const one of all) one.open = open;
    button.textContent = open ? "Close all tables" : "Open all tables";
  });
  tool("Print", () => window.print());
  tools.hidden = false;
})();
