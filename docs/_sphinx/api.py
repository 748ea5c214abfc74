"""The reference: one page for each public module, found by asking the package what is public."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import bayesgmm

__all__ = ["modules", "own_methods", "own_methods_of_all", "write"]

# In the order in which a reader meets them; what is public and not named here follows.
ORDER = ("selection", "labels", "partitions", "diagnostics", "criticism", "plots", "priors", "report", "datasets")
PRIVATE = "Names that start with an underscore, and modules that are not listed here, may change without notice."


def modules() -> list[str]:
    """Names of the public modules of the package."""
    found = [name for name in bayesgmm.__all__ if inspect.ismodule(getattr(bayesgmm, name))]
    return [*(name for name in ORDER if name in found), *sorted(set(found) - set(ORDER))]


def own_methods(fullname: str) -> list[str]:
    """Public methods and properties of a class that were written here, not in scikit-learn or the standard library."""
    owner = _resolve(fullname)
    if not inspect.isclass(owner):
        return []
    return [name for name in dir(owner) if not name.startswith("_") and _is_own(owner, name)]


def own_methods_of_all() -> dict[str, list[str]]:
    """The same for every public class of the package, by its full name."""
    owners = [bayesgmm, *(importlib.import_module(f"bayesgmm.{name}") for name in modules())]
    names = [f"{owner.__name__}.{name}" for owner in owners for name in owner.__all__]
    return {name: own_methods(name) for name in names}


def write(folder: Path) -> None:
    """Write the pages of the reference that differ from what is there."""
    folder.mkdir(exist_ok=True)
    names = modules()
    top = [name for name in bayesgmm.__all__ if not inspect.ismodule(getattr(bayesgmm, name))]
    _write_if_changed(folder / "index.md", _index(names, top))
    for name in names:
        _write_if_changed(folder / f"{name}.md", _page(importlib.import_module(f"bayesgmm.{name}")))
    described = {f"bayesgmm.{name}" for name in top}
    described |= {
        f"bayesgmm.{module}.{name}" for module in names for name in _own_names(importlib.import_module(f"bayesgmm.{module}"))
    }
    for path in [*folder.glob("*.md"), *folder.glob("generated/*.rst")]:
        if path.stem not in {"index", *names, *described}:
            path.unlink()


def _is_own(owner: type, name: str) -> bool:
    where = next(base for base in owner.__mro__ if name in vars(base))
    value = vars(where)[name]
    is_method = inspect.isfunction(value) or isinstance(value, classmethod | staticmethod | property)
    documented = bool(inspect.getdoc(getattr(owner, name, None)))
    return where.__module__.startswith("bayesgmm") and is_method and documented


def _resolve(fullname: str) -> Any:
    module, _, name = fullname.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _index(names: list[str], top: list[str]) -> str:
    rows = [f"| [bayesgmm.{name}]({name}.md) | {_first_line(importlib.import_module(f'bayesgmm.{name}'))} |" for name in names]
    pages = "\n".join(names)
    return f"""# API reference

Every public name, with the shapes, units, errors and sources of what it takes and returns. {PRIVATE}

## The package itself

{_summary("bayesgmm", top)}
## Modules

| module | what is in it |
|---|---|
{chr(10).join(rows)}

```{{toctree}}
:hidden:

{pages}
```
"""


def _page(module: ModuleType) -> str:
    text = inspect.getdoc(module) or ""
    names = _own_names(module)
    elsewhere = sorted(set(module.__all__) - set(names))
    calls = [name for name in names if inspect.isroutine(getattr(module, name))]
    classes = [name for name in names if inspect.isclass(getattr(module, name))]
    rest = [name for name in names if name not in {*calls, *classes}]
    parts = [f"# {module.__name__}\n\n```{{eval-rst}}\n{text}\n```\n"]
    for title, some in (("Functions", calls), ("Classes", classes)):
        if some:
            parts.append(f"## {title}\n\n{_summary(module.__name__, some)}")
    if elsewhere:
        links = ", ".join(f"{{py:obj}}`~bayesgmm.{name}`" for name in elsewhere)
        parts.insert(1, f"Also found here, and described with the package itself: {links}.\n")
    if rest:
        parts.append("## Constants\n\n" + "".join(f"`{name}`\n: {_constant(getattr(module, name))}\n\n" for name in rest))
    return "\n".join(parts)


def _own_names(module: ModuleType) -> list[str]:
    """Public names that are not described with the package itself."""
    return sorted(set(module.__all__) - set(bayesgmm.__all__))


def _summary(module: str, names: list[str]) -> str:
    listed = "".join(f"   {name}\n" for name in names)
    options = "   :toctree: generated\n   :nosignatures:\n"
    return f"```{{eval-rst}}\n.. currentmodule:: {module}\n\n.. autosummary::\n{options}\n{listed}```\n"


def _constant(value: Any) -> str:
    if isinstance(value, dict):
        return "A mapping with the keys " + ", ".join(f"`{key}`" for key in value) + "."
    if isinstance(value, tuple) and all(hasattr(item, "name") for item in value):
        return "A tuple of " + ", ".join(f"`{item.name}`" for item in value) + "."
    return f"`{value!r}`"


def _first_line(module: ModuleType) -> str:
    return (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
