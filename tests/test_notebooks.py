"""What every notebook in the repository must be, seen without running it: `make notebooks` runs them."""

import ast
import base64
import io
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
KILOBYTES, KILOBYTES_OF_MANY_PICTURES = 450, 700
MANY_PICTURES = {"14_object_tracking", "15_music_genres"}
WIDEST = 1200
"""Pixels; wider figures do not fit a page."""
NETWORK = {"aiohttp", "ftplib", "http", "httpx", "requests", "smtplib", "socket", "urllib", "urllib3"}
FETCHERS = re.compile(r"\bfetch_\w+\(|\bload_dataset\(|https?://")
PRIVATE = re.compile(r"(?<![\w./])/(?:home|tmp|work|root|Users|mnt|opt|usr|var)/|\b[A-Z]:\\\\|0x[0-9a-f]{8,}")


def code_cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip())


def outputs(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, NotebookNode]]:
    return ((cell, output) for cell in code_cells(notebook) for output in cell.outputs)


def shown(output: NotebookNode) -> str:
    """Everything in an output that is text."""
    data = output.get("data", {})
    return "\n".join([output.get("text", ""), *(str(text) for kind, text in data.items() if not kind.startswith("image/"))])


def pictures(cell: NotebookNode) -> list[bytes]:
    found = [output.get("data", {}).get("image/png") for output in cell.get("outputs", [])]
    return [base64.b64decode(picture) for picture in found if picture]


def where(cell: NotebookNode, what: str) -> str:
    first = cell.source.strip().splitlines()[0] if cell.source.strip() else "an empty cell"
    return f"cell {cell.get('id')} ({first[:60]}): {what}"


# Each check returns what it objects to: nothing for a good notebook.


def not_valid(notebook: NotebookNode) -> list[str]:
    ids = [cell.get("id") for cell in notebook.cells]
    twice = [f"the id {name} is there twice" for name in sorted({name for name in ids if ids.count(name) > 1})]
    try:
        if not twice:
            nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [str(error).splitlines()[0]]
    return twice


def not_run_in_order(notebook: NotebookNode) -> list[str]:
    cells = list(code_cells(notebook))
    if not any(cell.outputs for cell in cells):
        return ["nothing was run: no cell has an output"]
    return [
        where(cell, f"ran as number {cell.execution_count}, should be {i}")
        for i, cell in enumerate(cells, 1)
        if cell.execution_count != i
    ]


def errors_and_warnings(notebook: NotebookNode) -> list[str]:
    return [
        where(cell, output.get("ename") or output.get("text", "")[:80])
        for cell, output in outputs(notebook)
        if output.output_type == "error" or output.get("name") == "stderr" or re.search(r"\w+Warning:", shown(output))
    ]


def of_one_machine(notebook: NotebookNode) -> list[str]:
    """Paths and addresses, in sources and outputs; times in metadata."""
    texts = [(cell, cell.source) for cell in notebook.cells] + [(cell, shown(output)) for cell, output in outputs(notebook)]
    found = [where(cell, match.group()) for cell, text in texts if (match := PRIVATE.search(text))]
    found += [where(cell, f"metadata {name}") for cell in notebook.cells for name in set(cell.metadata) - {"tags"}]
    expected = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return found + ([] if notebook.metadata == expected else ["the notebook's own metadata: make notebooks WRITE=1"])


def live_parts(notebook: NotebookNode) -> list[str]:
    """Outputs that need a script or a server to be seen."""
    return [
        where(cell, kind)
        for cell, output in outputs(notebook)
        for kind in output.get("data", {})
        if "widget" in kind or kind == "application/javascript" or "<script" in shown(output)
    ]


def figures_without_caption(notebook: NotebookNode) -> list[str]:
    after = [*notebook.cells[1:], None]
    return [
        where(cell, "a figure, and no cell after it that starts with *Figure")
        for cell, next_cell in zip(notebook.cells, after, strict=True)
        if pictures(cell) and (next_cell is None or next_cell.cell_type != "markdown" or not next_cell.source.startswith("*Figure"))
    ]


def too_wide(notebook: NotebookNode) -> list[str]:
    """A PNG file has its width in bytes 16 to 19."""
    widths = [(cell, struct.unpack(">I", picture[16:20])[0]) for cell in notebook.cells for picture in pictures(cell)]
    return [where(cell, f"a figure of {width} pixels") for cell, width in widths if width > WIDEST]


def network(notebook: NotebookNode) -> list[str]:
    found = []
    for cell in code_cells(notebook):
        plain = "\n".join(line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!")))
        shell = [
            where(cell, line) for line in cell.source.splitlines() if line.lstrip().startswith(("!", "%pip", "%%bash", "%%sh"))
        ]
        nodes = list(ast.walk(ast.parse(plain)))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        found += shell + [where(cell, name) for name in names if name.split(".")[0] in NETWORK]
        found += [where(cell, match.group()) for match in FETCHERS.finditer(plain)]
    return found


def no_story(notebook: NotebookNode) -> list[str]:
    """A title first, and words before the first code."""
    first = notebook.cells[0] if notebook.cells else None
    titled = first is not None and first.cell_type == "markdown" and first.source.startswith("# ")
    return [] if titled else ["the first cell is no title"]


CHECKS = [
    not_valid,
    not_run_in_order,
    errors_and_warnings,
    of_one_machine,
    live_parts,
    figures_without_caption,
    too_wide,
    network,
    no_story,
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", CHECKS)
def test_a_notebook_is_in_order(check: Callable[[NotebookNode], list[str]], path: Path) -> None:
    assert check(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_small(path: Path) -> None:
    assert path.stat().st_size < 1000 * most_kilobytes(path.stem)


def most_kilobytes(name: str) -> int:
    return KILOBYTES_OF_MANY_PICTURES if name in MANY_PICTURES else KILOBYTES


def listed(readme: str) -> list[str]:
    return re.findall(r"\]\((\w+)\.ipynb\)", readme)


def test_the_table_of_contents_lists_every_notebook_once_and_no_other() -> None:
    contents = listed((FOLDER / "README.md").read_text(encoding="utf-8"))
    assert contents == [path.stem for path in PATHS]


def test_links_between_notebooks_lead_somewhere() -> None:
    for path in PATHS:
        for cell in nbformat.read(path, as_version=4).cells:
            for target in re.findall(r"\]\(([^)#:]+\.(?:ipynb|md|csv|py))\)", cell.source if cell.cell_type == "markdown" else ""):
                assert (FOLDER / target).exists(), f"{path.name} links to {target}"


# What each check must object to.


def good() -> NotebookNode:
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 640, 480)).decode()
    cells = [
        new_markdown_cell("# A title", id="a"),
        new_code_cell(
            "1 + 1", id="b", execution_count=1, outputs=[new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
        ),
        new_code_cell("draw()", id="c", execution_count=2, outputs=[new_output("display_data", {"image/png": picture})]),
        new_markdown_cell("*Figure: a line.*", id="d"),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def with_text(text: str, name: str = "stdout") -> NotebookNode:
    notebook = good()
    notebook.cells[1].outputs = [new_output("stream", name=name, text=text)]
    return notebook


def with_source(source: str) -> NotebookNode:
    notebook = good()
    notebook.cells[1].source = source
    return notebook


def with_cell(place: int, **changes: object) -> NotebookNode:
    notebook = good()
    notebook.cells[place].update(changes)
    return notebook


def wide() -> NotebookNode:
    notebook = good()
    picture = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", WIDEST + 1, 480)
    notebook.cells[2].outputs[0].data["image/png"] = base64.b64encode(picture).decode()
    return notebook


def without_outputs() -> NotebookNode:
    notebook = good()
    for cell in notebook.cells[1:3]:
        cell.update(outputs=[], execution_count=None)
    return notebook


BAD = [
    (not_valid, with_cell(1, execution_count="first")),
    (not_valid, with_cell(1, id="a")),
    (not_run_in_order, with_cell(1, execution_count=7)),
    (not_run_in_order, without_outputs()),
    (errors_and_warnings, with_cell(1, outputs=[new_output("error", ename="ValueError", evalue="", traceback=[])])),
    (errors_and_warnings, with_text("a note", name="stderr")),
    (errors_and_warnings, with_text("FutureWarning: it will change")),
    (of_one_machine, with_text("read /home/anna/data.csv")),
    (of_one_machine, with_source("open('/tmp/x')")),
    (of_one_machine, with_text("<Axes object at 0x7f12ab34cd56>")),
    (of_one_machine, with_cell(1, metadata={"execution": {"iopub.execute_input": "2026-01-01"}})),
    (of_one_machine, new_notebook(cells=good().cells)),
    (live_parts, with_cell(1, outputs=[new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})])),
    (live_parts, with_cell(1, outputs=[new_output("display_data", {"text/html": "<script>1</script>"})])),
    (figures_without_caption, with_cell(3, source="And so on.")),
    (figures_without_caption, new_notebook(cells=good().cells[:3])),
    (too_wide, wide()),
    (network, with_source("import urllib.request")),
    (network, with_source("from requests import get")),
    (network, with_source("sklearn.datasets.fetch_openml('x')")),
    (network, with_source("pd.read_csv('https://example.org/x.csv')")),
    (network, with_source("!wget x")),
    (no_story, new_notebook(cells=good().cells[1:])),
]


@pytest.mark.parametrize("check", CHECKS)
def test_checks_let_a_good_notebook_pass(check: Callable[[NotebookNode], list[str]]) -> None:
    assert check(good()) == []


@pytest.mark.parametrize(("check", "notebook"), BAD)
def test_checks_object_to_a_bad_notebook(check: Callable[[NotebookNode], list[str]], notebook: NotebookNode) -> None:
    assert check(notebook)


def test_every_check_has_a_bad_notebook_to_object_to() -> None:
    assert {check for check, _ in BAD} == set(CHECKS)


def test_a_notebook_that_is_not_listed_is_missed() -> None:
    assert listed("| [a](01_a.ipynb) | [b](02_b.ipynb)") == ["01_a", "02_b"]


# The runner.


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.syspath_prepend(FOLDER)
    import run

    return run


def store(folder: Path, name: str, *sources: str) -> Path:
    cells = [new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
    nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def test_the_runner_leaves_files_alone_unless_asked(runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good_one = store(tmp_path, "01_good", "x = 6", "print(x * 7)")
    before = good_one.read_bytes()
    store(tmp_path, "02_bad", "raise KeyError('lost')", "print('never')")
    assert runner.main(["--folder", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert re.search(r"01_good +[\d.]+ s  ok", said.out)
    assert re.search(r"02_bad +[\d.]+ s  FAILED", said.out)
    assert "lost" in said.err
    assert good_one.read_bytes() == before
    assert runner.main(["--folder", str(tmp_path), "--write", "good"]) == 0
    stored = nbformat.read(good_one, as_version=4)
    assert stored.cells[1].outputs[0].text == "42\n"
    assert [check.__name__ for check in (not_valid, not_run_in_order, of_one_machine) if check(stored)] == []
    assert runner.main(["--folder", str(tmp_path), "nothing"]) == 2


def as_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_pictures_are_stored_smaller_and_look_the_same(runner, rng: np.random.Generator) -> None:
    plot = np.full((200, 300, 3), 255)
    plot[50:150, 60:240] = np.linspace(0, 250, 180)[:, None]  # a smooth shade on white
    photo = rng.integers(0, 256, (200, 300, 3))  # more colours than 256 can stand for
    for pixels, lossless in ((plot, False), (photo, True)):
        before = as_png(pixels)
        after = runner.smaller(before)
        stored = np.asarray(Image.open(io.BytesIO(after)).convert("RGB"), dtype=float)
        assert len(after) <= len(before)
        assert np.sqrt(((stored - pixels) ** 2).mean()) < (1e-9 if lossless else runner.UNSEEN)
        assert runner.smaller(after) == after
    assert (np.asarray(Image.open(io.BytesIO(runner.smaller(as_png(plot)))).convert("RGB"))[0, 0] == 255).all()
