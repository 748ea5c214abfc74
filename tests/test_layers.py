"""Imports go down only, in no circles, and take nothing private from another package.

docs/design.md has the table of layers. Imports inside functions and those for type checkers count like any other.
"""

import ast
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import bayesgmm.em.run as em_run
from bayesgmm import GaussianMixture

ROOT = Path(__file__).parents[1]
PACKAGE = "bayesgmm"


# Imports that break a rule today, as "importer -> imported". Whoever mends one takes it off the list; nothing is added.
ALLOWED_IN_CIRCLES: set[str] = set()
ALLOWED_PRIVATE: set[str] = set()


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


def of_package(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a module imports from the package."""
    return [name for name in imported(source, module, is_package) if name.split(".")[0] == PACKAGE]


def layer_of(name: str, known: dict[str, int]) -> float:
    """Layer of a dotted name of the package; what the root itself offers is above all, except the version."""
    if name == f"{PACKAGE}.__version__":
        return 0
    return known.get(name.partition(".")[2].split(".")[0], float("inf"))


def upward(source: str, module: str, known: dict[str, int], is_package: bool = False) -> list[str]:
    """What a module imports from a layer above its own."""
    return [name for name in of_package(source, module, is_package) if layer_of(name, known) > layer_of(module, known)]


def package_imports() -> dict[str, set[str]]:
    """What each module imports from the package, as dotted names."""
    return {
        module: set(of_package(path.read_text(encoding="utf-8"), module, path.name == "__init__.py"))
        for module, path in modules().items()
    }


def module_graph(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Which modules each module imports: a dotted name belongs to the longest module that it begins with."""

    def owner(name: str) -> str:
        while name and name not in imports:
            name = name.rpartition(".")[0]
        return name

    return {module: {owner(name) for name in names} - {"", module} for module, names in imports.items()}


def in_circles(imports: Mapping[str, set[str]]) -> set[str]:
    """Imports from whose target a chain of imports leads back.

    Running a submodule runs the ``__init__`` above it, but only a submodule that names its package closes a circle with it.
    """
    graph = module_graph(imports)

    def reachable(start: str) -> set[str]:
        seen, left = set(), [start]
        while left:
            new = graph[left.pop()] - seen
            seen |= new
            left += new
        return seen

    reached = {module: reachable(module) for module in graph}
    return {f"{module} -> {other}" for module, others in graph.items() for other in others if module in reached[other]}


def private_across_packages(imports: Mapping[str, set[str]]) -> set[str]:
    """Imports of a private module, or of a private name, of another package."""
    found = set()
    for module, names in imports.items():
        for name in names:
            parts = name.split(".")
            private = [n for n, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")]
            if private and parts[1] != module.split(".")[1]:
                found.add(f"{module} -> {'.'.join(parts[: private[0] + 1])}")
    return found


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


def test_no_imports_in_circles() -> None:
    found = in_circles(package_imports())
    assert sorted(found - ALLOWED_IN_CIRCLES) == [], "these close a circle of imports"
    assert sorted(ALLOWED_IN_CIRCLES - found) == [], "these are gone: take them off ALLOWED_IN_CIRCLES"


def test_no_private_imports_across_packages() -> None:
    found = private_across_packages(package_imports())
    assert sorted(found - ALLOWED_PRIVATE) == [], "these import what is private to another package"
    assert sorted(ALLOWED_PRIVATE - found) == [], "these are gone: take them off ALLOWED_PRIVATE"


def planted(**sources: str) -> dict[str, set[str]]:
    """Imports of a package with these modules: ``x__y`` is x/y.py, and a name that others begin with is a folder."""
    names = [name.replace("__", ".") for name in sources]
    folders = {name for name in names if any(other.startswith(f"{name}.") for other in names)}
    return {
        f"{PACKAGE}.{name}": set(of_package(source, f"{PACKAGE}.{name}", name in folders))
        for name, source in zip(names, sources.values(), strict=True)
    }


@pytest.mark.parametrize(
    "sources",
    [
        {"a__one": "from .two import f", "a__two": "from .one import g"},
        {"a__one": "from . import two", "a__two": "import bayesgmm.a.one"},
        {"a__one": "def f():\n    from bayesgmm.b import g", "b": "from bayesgmm.a.one import h"},
        {"a__one": "if TYPE_CHECKING:\n    from bayesgmm.b import T", "b": "from bayesgmm.a.one import h"},
        {"a": "from bayesgmm.a.one import f", "a__one": "from bayesgmm.a import g"},
        {"a": "from .one import f", "a__one": "from . import g"},
        {"a": "from bayesgmm.b import f", "b": "from bayesgmm.c import f", "c": "from bayesgmm.a import f"},
    ],
)
def test_a_planted_circle_is_found(sources: dict[str, str]) -> None:
    assert len(in_circles(planted(**sources))) == len(sources)


@pytest.mark.parametrize(
    "sources",
    [
        {"a": "from bayesgmm.a.one import f", "a__one": "from bayesgmm.a.two import f", "a__two": "import numpy"},
        {"a": "from .one import f", "a__one": "from . import two", "a__two": ""},
        {"a": "from bayesgmm.b import f\nfrom bayesgmm.c import g", "b": "from bayesgmm.c import g", "c": ""},
        {"a": "from bayesgmm import __version__", "b": "from bayesgmm.a import f"},
    ],
)
def test_what_is_no_circle_is_allowed(sources: dict[str, str]) -> None:
    assert in_circles(planted(**sources)) == set()


@pytest.mark.parametrize(
    ("statement", "private"),
    [
        ("from bayesgmm.x._y import z", "bayesgmm.x._y"),
        ("from bayesgmm.x.y import _z", "bayesgmm.x.y._z"),
        ("from bayesgmm.x import _y", "bayesgmm.x._y"),
        ("from ..x._y import z", "bayesgmm.x._y"),
        ("import bayesgmm.x._y as y", "bayesgmm.x._y"),
        ("from bayesgmm.top import _f", "bayesgmm.top._f"),
        ("def f():\n    from bayesgmm.x._y import z", "bayesgmm.x._y"),
        ("if TYPE_CHECKING:\n    from bayesgmm.x._y import Z", "bayesgmm.x._y"),
    ],
)
def test_a_planted_private_import_is_found(statement: str, private: str) -> None:
    assert private_across_packages(planted(a__one=statement)) == {f"bayesgmm.a.one -> {private}"}


@pytest.mark.parametrize(
    "statement",
    [
        "from bayesgmm.a._y import z",
        "from ._y import _z",
        "from bayesgmm.x.y import z",
        "from bayesgmm import __version__",
        "from numpy.linalg import _umath_linalg",
    ],
)
def test_an_import_of_what_is_public_or_its_own_is_allowed(statement: str) -> None:
    assert private_across_packages(planted(a__one=statement)) == set()


@pytest.mark.parametrize("module", modules())
def test_only_bayes_knows_pymc(module: str) -> None:
    path = modules()[module]
    outside = {name.split(".")[0] for name in imported(path.read_text(encoding="utf-8"), module)}
    assert module.split(".")[1] == "bayes" or not outside & {"pymc", "pytensor", "nutpie"}


@pytest.mark.parametrize("gaps", [False, True])
def test_the_way_down_is_the_one_in_the_design(gaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that call one another from `fit` to a step of EM, in all that a search does; those that check rows have returned by then."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").split("## The way down")[1].split("\n## ")[0]
    said, branches = re.findall(r"^\| `([\w/]+\.py)` \|", text, re.MULTILINE), {"em/initialization.py", "em/moves.py"}
    assert len(said) == 6
    ways = set()

    def seen(call: Callable[..., object]) -> Callable[..., object]:
        def noted(*args: object, **options: object) -> object:
            files = [Path(frame.filename) for frame in traceback.extract_stack()]
            ours = [file.relative_to(ROOT / PACKAGE).as_posix() for file in files if file.is_relative_to(ROOT / PACKAGE)]
            ours = [file for file in ours if file != "underflow.py"]  # which stands around each public method that is called
            ways.add(tuple(dict.fromkeys(ours[ours.index("estimators/em.py") :])))
            return call(*args, **options)

        return noted

    for name in ("expectation", "compiled_runs"):
        monkeypatch.setattr(em_run, name, seen(getattr(em_run, name)))
    X = np.random.default_rng(1).normal(size=(80, 2))
    if gaps:
        X[::7, 0] = np.nan
    GaussianMixture(2, tol=1e-4, random_state=1).fit(X)
    assert ("estimators/em.py", "em/fit.py", "em/search.py", "em/run.py") in ways
    assert {file for way in ways for file in way} <= {*said, *branches}


def test_no_estimator_is_typed_any() -> None:
    """`value` and `given` may be anything a user gives; who asks for an estimator says so."""
    names = re.compile(r"(estimator|em|fit|posterior)s?$")
    found = [
        f"{name}: {argument.arg}"
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if names.fullmatch(argument.arg) and isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Any"
    ]
    assert found == []
