"""Value and gradient of the log-posterior: ours against the textbook model compiled by PyMC to numba, one thread each."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import pytensor
from numba import njit
from pymc.blocking import DictToArrayBijection
from threadpoolctl import threadpool_limits

from bayesgmm.bayes._compiled_log_posterior import log_posterior
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from benchmarks.em import problem
from benchmarks.textbook import textbook_model, textbook_priors
from benchmarks.timing import Curves, Row, clock, per_call

SHAPES = [(1000, 2, 3), (2000, 4, 3), (10_000, 4, 4)]


def rows(quick: bool = False) -> list[Row]:
    shapes = SHAPES[:1] if quick else SHAPES
    with threadpool_limits(1):
        return [_row(*shape) for shape in shapes]


def growth() -> Curves:
    """Seconds of value and gradient against N, D = 2, K = 3."""
    curves: dict[str, list[tuple[int, float]]] = {"bayesgmm": [], "pm.Mixture of pm.MvNormal": []}
    with threadpool_limits(1):
        for N in (100, 1_000, 10_000, 100_000):
            ours, theirs, q = _pair(N, 2, 3)
            curves["bayesgmm"].append((N, min(from_compiled_code(ours, q, 0.1)() for _ in range(3))))
            curves["pm.Mixture of pm.MvNormal"].append((N, min(per_call(lambda: theirs(q), 0.1)() for _ in range(2))))  # noqa: B023
    return Curves("value and gradient, D = 2, K = 3, one thread", curves)


def _pair(N: int, D: int, K: int) -> tuple[LogPosterior, Callable[[np.ndarray], tuple[float, np.ndarray]], np.ndarray]:
    """Our density, the textbook model's, and a point to evaluate them at."""
    X, _, _ = problem(N, D, K)
    fam = family("full")
    ours = LogPosterior(X, Space(textbook_priors(X, K), fam))
    model = textbook_model(X, K)
    with pytensor.config.change_flags(mode="NUMBA"):
        theirs = model.logp_dlogp_function(ravel_inputs=True)
    theirs.set_extra_values({})
    q = DictToArrayBijection.map(model.initial_point()).data + 0.3 * np.random.default_rng(0).normal(size=ours.space.n_dim)
    return ours, theirs, q


def _row(N: int, D: int, K: int) -> Row:
    ours, theirs, q = _pair(N, D, K)
    (value, gradient), (peer_value, peer_gradient) = ours(q), theirs(q)
    np.testing.assert_allclose(value, peer_value, rtol=1e-8)
    np.testing.assert_allclose(gradient, peer_gradient, rtol=1e-6, atol=1e-6)
    clocks = from_compiled_code(ours, q), per_call(lambda: ours(q)), per_call(lambda: theirs(q))
    times = [[clock() for clock in clocks] for _ in range(5)]
    mine, from_python, peer = (statistics.median(t) for t in zip(*times, strict=True))
    return Row(
        f"value + gradient, N={N:,} D={D} K={K}",
        mine,
        peer,
        "pm.Mixture of pm.MvNormal, numba",
        80.0,
        note=f"values agree to {abs(value / peer_value - 1):.0e}; {mine / N / K * 1e9:.1f} ns per row and component; "
        f"called from Python {from_python * 1e6:.1f} µs",
    )


@njit
def _repeat(q: np.ndarray, user_data: np.ndarray, gradient: np.ndarray, times: int) -> float:
    total = 0.0
    for _ in range(times):
        total += log_posterior(q, user_data, gradient)
    return total / times


def from_compiled_code(density: LogPosterior, q: np.ndarray, seconds: float = 0.3) -> Callable[[], float]:
    """Seconds of one call by compiled code, as nutpie calls the density: from Python, half of a short call would be the calling."""
    gradient = np.empty_like(q)
    work = partial(_repeat, q, density.user_data, gradient)
    work(1)
    repeats = max(1, int(seconds / clock(lambda: work(1))))
    return lambda: clock(lambda: work(repeats)) / repeats
