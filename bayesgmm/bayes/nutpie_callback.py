"""Our compiled density as a model for nutpie, through C callbacks and without the GIL.

Everything here that begins with ``_lib`` is private to nutpie, which has no public way to take a C function: the version range in
``pyproject.toml`` is narrow on purpose, and ``tests/test_callback.py`` says so in words when nutpie has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numba import carray, types
from nutpie import _lib
from nutpie.sample import CompiledModel

from bayesgmm.bayes import _compiled_log_posterior as _compiled
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.kernels.compile import compiled_callback, function_at
from bayesgmm.typing import FloatArray

__all__ = ["c_model"]

GRADIENT_NOT_FINITE, VALUE_NOT_FINITE = 3, 4  # nutpie's codes for a divergence
POINTER = types.CPointer(types.double)
_log_posterior_at = function_at(_compiled.LOG_POSTERIOR)


@compiled_callback(types.int64(types.uint64, POINTER, POINTER, POINTER, POINTER))
def _log_density_callback(n_dim, q_pointer, gradient_pointer, value_pointer, user_pointer):
    """Evaluate the density that the flat array names and return nutpie's code for how it went."""
    head = carray(user_pointer, (_compiled.HEADER,))
    user = carray(user_pointer, (int(head[_compiled.LENGTH]),))
    gradient = carray(gradient_pointer, (n_dim,))
    address = head[_compiled.FIRST_ADDRESS + 2 : _compiled.BOUNDS].view(np.int64)[0]
    value = _log_posterior_at(address)(carray(q_pointer, (n_dim,)), user, gradient)
    value_pointer[0] = value
    if not np.isfinite(value):
        return VALUE_NOT_FINITE
    for i in range(len(gradient)):
        if not np.isfinite(gradient[i]):
            return GRADIENT_NOT_FINITE
    return 0


@compiled_callback(types.int64(types.uint64, types.uint64, POINTER, POINTER, types.voidptr))
def _expand_callback(n_dim, n_expanded, q_pointer, out_pointer, user_pointer):
    """Store draws as they are: turning them into parameters is one vectorised step afterwards."""
    q = carray(q_pointer, (n_dim,))
    out = carray(out_pointer, (n_expanded,))
    for i in range(n_dim):
        out[i] = q[i]
    return 0


def c_model(density: LogPosterior, start: Callable[[int], FloatArray]) -> CompiledModel:
    """Return the density as a model that nutpie samples without touching Python.

    Parameters
    ----------
    density : LogPosterior
    start : callable
        Gives a chain's starting point from its seed.
    """
    return _CallbackModel(None, density=density, start=start)


@dataclass(frozen=True)
class _CallbackModel(CompiledModel):
    """A model as nutpie wants it, with one variable: the unconstrained vector."""

    density: LogPosterior
    start: Callable[[int], FloatArray]

    @property
    def n_dim(self) -> int:
        return self.density.space.n_dim

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"q": (self.n_dim,)}

    @property
    def coords(self) -> dict[str, Any]:
        return {}

    def _make_sampler(self, settings, init_mean, cores, progress_type, progress_callback, progress_rate, store):
        model = self._make_model(init_mean)
        return _lib.PySampler.from_pymc(settings, cores, model, progress_type, progress_callback, progress_rate, store)

    def _make_model(self, init_mean):
        n, address = self.n_dim, self.density.user_data.ctypes.data
        # The last argument keeps this object, and with it the data behind the address, alive as long as the sampler.
        log_density = _lib.LogpFunc(_log_density_callback.address, address, self)
        expand = _lib.ExpandFunc(n, n, _expand_callback.address, address, self)
        sizes = {"q_dim": n}
        variables = _lib.PyVariable.new_variables(["q"], ["float64"], [(n,)], sizes, {"q": ("q_dim",)})
        coords = {"q_dim": pd.RangeIndex(n)}
        return _lib.PyMcModel(log_density, expand, variables, n, sizes, coords, self.start, _no_adapter)


def _no_adapter(*args: Any, **kwargs: Any) -> None:
    """What nutpie asks for only under ``adaptation="flow"``."""
