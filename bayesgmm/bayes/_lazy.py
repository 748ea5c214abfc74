"""Import a library without one of the modules it imports at its top."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["imported_later"]


@contextmanager
def imported_later(name: str) -> Iterator[None]:
    """Let ``import name`` inside this block cost nothing until somebody uses what it imported.

    Whoever imports the module inside the block gets a stand-in, which fetches the module when it is first asked for an attribute.
    Afterwards nothing is left behind: the next ``import name`` elsewhere imports the module itself. A module that is loaded
    already is used as it is. (:class:`importlib.util.LazyLoader` will not do: an ``import`` statement wakes its modules.)
    """
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    stand_in.__getattr__ = lambda attribute: getattr(importlib.import_module(name), attribute)  # type: ignore[method-assign]
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
