"""Value and gradient of the log-posterior: ours against the textbook model compiled by PyMC to numba, one thread each."""

from __future__ import annotations

import statistics

import numpy as np
import pytensor
from pymc.blocking import DictToArrayBijection
from threadpoolctl import threadpool_limits

from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.space import Space
from bayesgmm.covariance import family
from bayesgmm.priors import Priors
from benchmarks.em import problem
from benchmarks.textbook import textbook_model
from benchmarks.timing import Row, per_call

SHAPES = [(1000, 2, 3), (2000, 4, 3), (10_000, 4, 4)]


def rows(quick: bool = False) -> list[Row]:
    shapes = SHAPES[:1] if quick else SHAPES
    with threadpool_limits(1):
        return [_row(*shape) for shape in shapes]


def _row(N: int, D: int, K: int) -> Row:
    X, _, _ = problem(N, D, K)
    fam = family("full")
    ours = LogPosterior(X, Space(K, D, fam), Priors().resolve(X, K, fam))
    model = textbook_model(X, K)
    with pytensor.config.change_flags(mode="NUMBA"):
        theirs = model.logp_dlogp_function(ravel_inputs=True)
    theirs.set_extra_values({})
    q = DictToArrayBijection.map(model.initial_point()).data + 0.3 * np.random.default_rng(0).normal(size=ours.space.n_dim)
    (value, gradient), (peer_value, peer_gradient) = ours(q), theirs(q)
    np.testing.assert_allclose(value, peer_value, rtol=1e-8)
    np.testing.assert_allclose(gradient, peer_gradient, rtol=1e-6, atol=1e-6)
    one, other = per_call(lambda: ours(q)), per_call(lambda: theirs(q))
    times = [(one(), other()) for _ in range(5)]
    mine, peer = (statistics.median(t) for t in zip(*times, strict=True))
    return Row(
        f"value + gradient, N={N:,} D={D} K={K}",
        mine,
        peer,
        "pm.Mixture of pm.MvNormal, numba",
        80.0,
        note=f"values agree to {abs(value / peer_value - 1):.0e}; {mine / N / K * 1e9:.1f} ns per row and component",
    )
