"""nutpie's NUTS on our compiled density.

The density goes to nutpie as a C function (:mod:`bayesgmm.bayes.nutpie_callback`). That needs names private to nutpie; should a version no
longer have them, the same density goes through nutpie's public Python callback, which gives the same draws more slowly.
"""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from bayesgmm.bayes.draws import FEWEST, NUTPIE_NAMES, STATISTICS, Draws, SamplerSettings, sampler_statistics
from bayesgmm.bayes.log_posterior import LogDensity, LogPosterior
from bayesgmm.typing import FloatArray


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


# nutpie imports ArviZ, and with it matplotlib, to make a tree that we make ourselves: one to two seconds of every process.
with imported_later("arviz"):
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

__all__ = ["imported_later", "sample_nuts"]

MOST_LOW_RANK = 80
"""Parameters beyond which the mass matrix is diagonal: nutpie's low-rank one then costs more than all gradients (9 of 10 seconds with 134,
29 of 30 with 181), and along the axes of the priors' frame it saves few steps."""


def sample_nuts(
    density: LogDensity,
    starts: FloatArray,
    settings: SamplerSettings,
    *,
    callback: str = "c",
) -> Draws:
    """Run NUTS on the compiled density.

    Parameters
    ----------
    density : LogDensity
        Rows in chunks are passed over by Python, whatever the callback.
    starts : array of shape (chains, n_dim)
        Where each chain starts, plus normal noise. Equal ones stand together.
    settings : SamplerSettings
    callback : {"c", "python"}
        How nutpie calls the density.

    Raises
    ------
    KeyboardInterrupt
        As soon as the user interrupts; the unfinished chains are dropped, unless ``keep_interrupted`` is set and there are draws to keep.
    """
    began = time.perf_counter()
    # nutpie asks for the start of "a chain", not of which: chains that start in one place are a run of their own.
    first = np.flatnonzero([c == 0 or not np.array_equal(starts[c], starts[c - 1]) for c in range(len(starts))])
    counts = np.diff([*first, len(starts)])
    chains: list[Chain] = []
    interrupted = False
    for i, (c, n) in enumerate(zip(first, counts, strict=True)):
        seed = settings.seed if i == 0 else int(np.random.SeedSequence([settings.seed, i]).generate_state(1)[0])
        start = partial(_jittered, starts[c], settings.jitter)
        if callback == "c" and isinstance(density, LogPosterior):
            model = _c_model_or_python(density, start)
        else:
            model = python_model(density, start)
        found, interrupted = _run(model, replace(settings, chains=int(n), seed=seed), density.space.n_dim)
        chains += found
        if interrupted:
            chains = _usable(chains)
            break
    q = np.stack([chain[0] for chain in chains])
    statistics = {name: np.stack([chain[1][name] for chain in chains]) for name in chains[0][1]}
    seconds = time.perf_counter() - began
    details: dict[str, Any] = {"interrupted": 1} if interrupted else {}
    return Draws(density.space.constrain(q), sampler_statistics(statistics), "nutpie", seconds, settings.tune, details)


Chain = tuple[FloatArray, dict[str, np.ndarray]]
"""Draws (draw, n_dim) and statistics (draw,) of a chain."""


def _run(model: Any, settings: SamplerSettings, n_dim: int) -> tuple[list[Chain], bool]:
    """Run some chains, and return them and whether they were interrupted."""
    sampler = nutpie.sample(
        model,
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        cores=settings.cores,
        seed=settings.seed,
        progress_bar=settings.progressbar,
        save_warmup=False,
        adaptation="low_rank" if n_dim <= MOST_LOW_RANK else "diag",
        return_raw_trace=True,
        blocking=False,
    )
    interrupted = False
    try:
        trace = sampler.wait()
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt) and settings.keep_interrupted):
            sampler.cancel()
            raise
        trace, interrupted = sampler.abort(), True
    tables, statistics = trace.get_arrow_trace()
    return [_chain(*pair, n_dim) for pair in zip(tables, statistics, strict=True)], interrupted


def _chain(draws: Any, statistics: Any, n_dim: int) -> Chain:
    """Turn nutpie's two tables of a chain into arrays, warm-up left out."""
    keep = ~_column(statistics, "tuning")
    names = [name for name in (*STATISTICS, *NUTPIE_NAMES) if name in statistics.column_names]
    return _column(draws, "q").reshape(-1, n_dim)[keep], {name: _column(statistics, name)[keep] for name in names}


def _usable(chains: list[Chain]) -> list[Chain]:
    """Return the beginnings, equally long, of the chains that have at least half as many draws as the longest.

    Raises
    ------
    KeyboardInterrupt
        If no chain has `FEWEST` draws: then there is nothing to keep.
    """
    lengths = [len(chain[0]) for chain in chains]
    longest = max(lengths, default=0)
    if longest < FEWEST:
        raise KeyboardInterrupt("sampling was interrupted during the warm-up: there are no draws to keep")
    least = max(FEWEST, (longest + 1) // 2)
    n = min(length for length in lengths if length >= least)
    return [(q[:n], {name: values[:n] for name, values in kept.items()}) for q, kept in chains if len(q) >= least]


def _column(table: Any, name: str) -> np.ndarray:
    """Return a column as one flat array: nutpie's tables speak Arrow's C interface, and lists lie flat behind it."""
    column = pa.array(table.column(name))
    flat = column.flatten() if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) else column
    return np.asarray(flat.to_numpy(zero_copy_only=False))


def _jittered(start: FloatArray, jitter: float, seed: int) -> FloatArray:
    return start + jitter * np.random.default_rng(seed).standard_normal(len(start))


def _c_model_or_python(density: LogPosterior, start: Callable[[int], FloatArray]) -> Any:
    try:
        from bayesgmm.bayes.nutpie_callback import c_model

        model = c_model(density, start)
        model._make_model(start(0))  # noqa: SLF001 - nutpie's, to see whether it still has it
    except (ImportError, AttributeError, TypeError) as error:
        warnings.warn(
            f"nutpie {nutpie.__version__} has changed inside ({error}), so sampling takes the slower way through Python: "
            "install the version that bayesgmm asks for",
            stacklevel=2,
        )
        return python_model(density, start)
    return model


def python_model(density: LogDensity, start: Callable[[int], FloatArray]) -> Any:
    """Return the density as a model that nutpie calls through Python, holding the GIL at every step."""
    n = density.space.n_dim

    def make_log_density() -> Callable[..., tuple[float, FloatArray]]:
        return density

    def make_expand(seed1: int, seed2: int, chain: int) -> Callable[..., dict[str, FloatArray]]:
        return lambda q: {"q": np.asarray(q, dtype=float)}

    return from_pyfunc(n, make_log_density, make_expand, [np.dtype(float)], [(n,)], ["q"], make_initial_point_fn=start)
