"""Numbers too small to be told from zero are zero here, whatever NumPy was told to do about them.

Densities far from a group and weights of empty ones underflow all the time, and zero is right. A program may have said
``np.seterr(all="raise")`` about its own numbers, and every public function, method and property of the package would pass that on to
arithmetic that it is not about. So they are guarded where users come in, by one call at the end of each public module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cached_property, wraps
from typing import Any

import numpy as np

__all__ = ["guard"]

_PACKAGE = "bayesgmm"
_MARK = "__underflow_is_zero__"


def guard(names: dict[str, Any]) -> None:
    """Let underflow be zero in what a public module offers: the functions and classes that its ``__all__`` names.

    Parameters
    ----------
    names : dict
        The module's ``globals()``. Functions are replaced there; the methods and properties of classes, inherited ones too, on them.

    Examples
    --------
    >>> def small(x):
    ...     return np.exp(x)
    >>> names = {"__all__": ["small"], "small": small}
    >>> guard(names)
    >>> with np.errstate(all="raise"):
    ...     float(names["small"](-1e4))
    0.0
    """
    for name in names["__all__"]:
        value = names[name]
        if inspect.isfunction(value):
            names[name] = _guarded(value)
        elif inspect.isclass(value):
            _guard_class(value)


def _guard_class(kind: type) -> None:
    for each in kind.__mro__:
        if each.__module__.split(".")[0] != _PACKAGE:
            continue
        for name, value in list(vars(each).items()):
            if name.startswith("_"):
                continue
            if isinstance(value, cached_property):
                value.func = _guarded(value.func)
            elif isinstance(value, property):
                setattr(each, name, property(_guarded(value.fget), _guarded(value.fset), value.fdel, value.__doc__))
            elif isinstance(value, (staticmethod, classmethod)):
                setattr(each, name, type(value)(_guarded(value.__func__)))
            elif inspect.isfunction(value):
                setattr(each, name, _guarded(value))


def _guarded(function: Any) -> Any:
    """Return a function that does the same with underflow as zero; what is guarded, or no function, as it is."""
    if function is None or hasattr(function, _MARK):
        return function
    guarded = _steps(function) if inspect.isgeneratorfunction(function) else _call(function)
    setattr(guarded, _MARK, True)
    return guarded


def _call[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with np.errstate(under="ignore"):
            return function(*args, **kwargs)

    return call


def _steps[**P, T](function: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """Guard a generator's own steps, and not what its user does between them."""

    @wraps(function)
    def steps(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        values = function(*args, **kwargs)
        while True:
            with np.errstate(under="ignore"):
                try:
                    value = next(values)
                except StopIteration:
                    return
            yield value

    return steps
