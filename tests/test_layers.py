"""Imports go down only: docs/design.md has the table of layers, this walks the imports."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "bayesgmm"


def layers() -> dict[str, int]:
    """Layer of each module or folder right below the package, as the table of the design says."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {name: int(layer) for layer, names in rows for name in re.findall(r"`(\w+)`", names)}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; the package's own __init__ only loads the others lazily."""
    files = sorted((ROOT / PACKAGE).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    return {name: path for name, path in zip(names, files, strict=True) if name != PACKAGE}


def imported(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it, relative ones made absolute."""
    base = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = base[: len(base) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def layer_of(name: str, known: dict[str, int]) -> float:
    """Layer of a dotted name of the package; what the root itself offers is above all, except the version."""
    if name == f"{PACKAGE}.__version__":
        return 0
    return known.get(name.partition(".")[2].split(".")[0], float("inf"))


def upward(source: str, module: str, known: dict[str, int], is_package: bool = False) -> list[str]:
    """What a module imports from a layer above its own."""
    ours = [name for name in imported(source, module, is_package) if name.split(".")[0] == PACKAGE]
    return [name for name in ours if layer_of(name, known) > layer_of(module, known)]


@pytest.mark.parametrize("module", modules())
def test_imports_go_down_only(module: str) -> None:
    path = modules()[module]
    assert module.split(".")[1] in layers(), f"{module} has no layer: give it one in the table of docs/design.md"
    assert upward(path.read_text(encoding="utf-8"), module, layers(), path.name == "__init__.py") == []


def test_the_table_lists_only_what_there_is() -> None:
    there = {name.split(".")[1] for name in modules()}
    assert set(layers()) <= there


@pytest.mark.parametrize(
    "statement",
    [
        "import bayesgmm.report",
        "from bayesgmm import compare",
        "from bayesgmm.estimators import GaussianMixture",
        "from bayesgmm import GaussianMixture",
        "from ..bayes import model",
        "from .. import report",
        "def f():\n    from bayesgmm.plots import forest",
        "if TYPE_CHECKING:\n    from bayesgmm.labels import align",
    ],
)
def test_a_planted_upward_import_is_found(statement: str) -> None:
    assert upward(statement, "bayesgmm.expectation.estep", layers())


@pytest.mark.parametrize(
    "statement",
    [
        "from bayesgmm.typing import FloatArray",
        "from . import _kernel",
        "from ._kernel import x",
        "import numpy.linalg",
    ],
)
def test_a_downward_import_is_allowed(statement: str) -> None:
    assert upward(statement, "bayesgmm.expectation.estep", layers()) == []


@pytest.mark.parametrize("module", modules())
def test_only_bayes_knows_pymc(module: str) -> None:
    path = modules()[module]
    outside = {name.split(".")[0] for name in imported(path.read_text(encoding="utf-8"), module)}
    assert module.split(".")[1] == "bayes" or not outside & {"pymc", "pytensor", "nutpie"}
