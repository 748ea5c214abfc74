"""The gallery: whatever notebooks there are, copied beside the pages, and a card for each."""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Card", "card", "write"]

_LONGEST = 220
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
# A caption's first sentence; the words between the star and it are "Figure:" or "Figure. Left:".
_CAPTION = re.compile(r"\*Figure[.:]\s*(.+?(?:\.(?=\s|\*)|\Z))", re.DOTALL)
_EMPTY = "No notebook has been written yet."
_INTRODUCTION = "Each notebook is shown as it was run, from top to bottom, with its outputs; `make notebooks` runs them again."
_WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"
# Applications are numbered from ten on.
_SECTIONS = (("Ideas", range(10)), ("Applications", range(10, 100)))


@dataclass(frozen=True)
class Card:
    """What a notebook shows of itself: its name, title, first sentences, and first picture with words for it, if it has one."""

    name: str
    title: str
    text: str
    picture: bytes | None
    alt: str = ""

    @property
    def number(self) -> int:
        """The number that its name begins with; 0 if there is none."""
        found = re.match(r"\d+", self.name)
        return int(found.group()) if found else 0


def write(notebooks: Path, folder: Path) -> None:
    """Copy the notebooks into the folder, with an index of cards; what is no longer there goes."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    found = sorted(notebooks.glob("*.ipynb"))
    for stale in {path.name for path in folder.glob("*.ipynb")} - {path.name for path in found}:
        (folder / stale).unlink()
    cards = []
    for path in found:
        _write_if_changed(folder / path.name, _for_the_site(path))
        cards.append(card(path))
        if cards[-1].picture is not None:
            (pictures / f"{path.stem}.png").write_bytes(cards[-1].picture)
    _write_if_changed(folder / "index.md", _index(cards))


def card(path: Path) -> Card:
    """Read the card of a notebook from its file."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    words = "\n".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "markdown")
    title = re.search(r"^# +(.+)$", words, re.MULTILINE)
    after = words[title.end() :] if title else words
    paragraph = next(
        (part for part in re.split(r"\n\s*\n", after) if part.strip() and not part.lstrip().startswith(("#", "!", "|"))), ""
    )
    name = title.group(1).strip() if title else path.stem
    first = next((i for i, cell in enumerate(cells) if _picture([cell])), None)
    return Card(path.stem, name, _short(paragraph), _picture(cells), "" if first is None else _alt(name, cells[first + 1 :]))


def _for_the_site(path: Path) -> str:
    """Return a notebook's text: links to files that are not beside it become their words, and figures get words in their place."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    title = card(path).title
    for i, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            cell["source"] = _LINK.sub(lambda found: _link(found, path.parent), "".join(cell["source"]))
        elif _picture([cell]):
            cell["metadata"]["mystnb"] = {"image": {"alt": _alt(title, notebook["cells"][i + 1 :])}}
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def _alt(title: str, after: list[dict[str, Any]]) -> str:
    """Words for who cannot see a figure: the notebook's title, and the first sentence of the caption below it."""
    below = "".join(after[0]["source"]) if after and after[0]["cell_type"] == "markdown" else ""
    caption = _CAPTION.match(below)
    words = re.sub(r"[*`$\\]", "", _LINK.sub(r"\1", " ".join(caption.group(1).split()))) if caption else ""
    return f"{title}{' ' if title.endswith('?') else ': '}{words.strip() or 'a figure'}"


def _link(found: re.Match[str], folder: Path) -> str:
    words, target = found.groups()
    leads_away = "://" in target or target.startswith(("#", "attachment:", "mailto:"))
    beside = "/" not in target and (folder / target.partition("#")[0]).exists()
    return found.group() if leads_away or beside else words


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _short(paragraph: str) -> str:
    """First sentences of a paragraph, without links and formulas' dollars."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
    if len(text) <= _LONGEST:
        return text
    cut = text[:_LONGEST]
    end = cut.rfind(". ")
    return cut[: end + 1] if end > 60 else cut.rsplit(" ", 1)[0] + " …"


def _picture(cells: list[dict[str, Any]]) -> bytes | None:
    for cell in cells:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture:
                return base64.b64decode("".join(picture))
    return None


def _index(cards: list[Card]) -> str:
    parts = [f"{_WIDE}# Notebooks\n\n{_INTRODUCTION}\n"]
    if not cards:
        parts.append(_EMPTY + "\n")
    for title, numbers in _SECTIONS:
        some = [each for each in cards if each.number in numbers]
        if some:
            grid = "\n".join(_markdown(each) for each in some)
            parts.append(f"## {title}\n\n:::::{{grid}} 1 2 3 3\n:gutter: 3\n\n{grid}\n:::::\n")
    if cards:
        names = "\n".join(each.name for each in cards)
        parts.append(f"```{{toctree}}\n:hidden:\n\n{names}\n```\n")
    return "\n".join(parts)


def _markdown(each: Card) -> str:
    picture = (
        ""
        if each.picture is None
        else f":img-top: pictures/{each.name}.png\n:img-alt: {json.dumps(each.alt, ensure_ascii=False)}\n"
    )
    return f"::::{{grid-item-card}} {each.title}\n:link: {each.name}\n:link-type: doc\n{picture}\n{each.text}\n::::\n"
