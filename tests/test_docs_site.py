"""The site builds without warnings and needs no network; its gallery shows whatever notebooks there are."""

import base64
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNiAAAABgADNjd8qAAAAABJRU5ErkJggg==")


def load(name: str) -> ModuleType:
    """Import a module that only Sphinx's configuration imports."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_sphinx" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


gallery, api = load("gallery"), load("api")


def write_notebook(folder: Path, name: str, words: str, picture: bytes | None = None) -> None:
    outputs = (
        [] if picture is None else [{"output_type": "display_data", "data": {"image/png": base64.b64encode(picture).decode()}}]
    )
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": words.splitlines(keepends=True)},
        {"cell_type": "code", "metadata": {}, "source": [], "outputs": outputs, "execution_count": None},
    ]
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def test_the_gallery_has_a_card_for_each_notebook_in_its_section(tmp_path: Path) -> None:
    write_notebook(tmp_path / "in", "02_idea", "# An idea\n\nOne *sentence*, and [a link](01_none.ipynb).", PIXEL)
    write_notebook(tmp_path / "in", "11_use", "# A use\n\n## First part\n\nWhat it is for.")
    gallery.write(tmp_path / "in", tmp_path / "out")
    index = (tmp_path / "out" / "index.md").read_text()
    ideas, applications = index.split("## Applications")
    assert "An idea" in ideas
    assert "One *sentence*, and a link." in ideas
    assert "A use" in applications
    assert "What it is for." in applications
    assert (tmp_path / "out" / "pictures" / "02_idea.png").read_bytes() == PIXEL
    assert ":img-top:" not in applications


def test_what_is_gone_leaves_the_gallery_and_no_notebook_at_all_is_fine(tmp_path: Path) -> None:
    write_notebook(tmp_path / "in", "02_idea", "# An idea\n\nWords.")
    gallery.write(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "02_idea.ipynb").unlink()
    gallery.write(tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.ipynb"))
    assert "No notebook has been written yet" in (tmp_path / "out" / "index.md").read_text()


def test_links_to_notebooks_that_are_not_there_become_words(tmp_path: Path) -> None:
    words = "# One\n\n[next](02_two.ipynb), [later](09_none.ipynb), [away](https://example.org/), [file](../README.md), ![picture](a.png)"
    write_notebook(tmp_path / "in", "01_one", words)
    write_notebook(tmp_path / "in", "02_two", "# Two")
    gallery.write(tmp_path / "in", tmp_path / "out")
    (cell, _) = json.loads((tmp_path / "out" / "01_one.ipynb").read_text())["cells"]
    assert "".join(cell["source"]).endswith("[next](02_two.ipynb), later, [away](https://example.org/), file, ![picture](a.png)")


def test_every_public_name_has_its_page(tmp_path: Path) -> None:
    api.write(tmp_path)
    pages = "".join(path.read_text() for path in tmp_path.glob("*.md"))
    bg = api.bayesgmm
    for name in bg.__all__:
        value = getattr(bg, name)
        wanted = value.__all__ if isinstance(value, ModuleType) else [name]
        assert all(re.search(rf"\b{each}\b", pages) for each in wanted), name
    assert "fit_predict" in api.own_methods("bayesgmm.GaussianMixture")
    assert "get_params" not in api.own_methods("bayesgmm.GaussianMixture")  # scikit-learn's own


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_fetches_nothing(tmp_path: Path) -> None:
    for module in ("sphinx", "latex2mathml", "myst_nb", "numpydoc", "pydata_sphinx_theme", "sphinx_design", "sphinx_copybutton"):
        pytest.importorskip(module)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "trees"), str(DOCS)]
    run = subprocess.run([*command, str(tmp_path / "site")], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    for page in ("index", "quickstart", "guide/verdicts", "gallery/index", "api/generated/bayesgmm.GaussianMixture"):
        html = (tmp_path / "site" / f"{page}.html").read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(https?:)?//[^"]*"', html) == []
    styles = [path.read_text(encoding="utf-8") for path in (tmp_path / "site" / "_static").rglob("*.css")]
    assert not any(re.search(r"(@import|url\()\s*['\"]?https?:", style) for style in styles)


def test_the_citation_names_this_version() -> None:
    said = (DOCS.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {api.bayesgmm.__version__}\n" in said
    assert f"{{{api.bayesgmm.__version__}}}" in (DOCS / "about" / "cite.md").read_text(encoding="utf-8")


def test_what_the_site_is_built_with_has_its_version_held() -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    held = {
        line.partition("==")[0].lower().replace("_", "-") for line in (DOCS.parent / "constraints.txt").read_text().splitlines()
    }
    assert set(project["optional-dependencies"]["docs"]) <= held
