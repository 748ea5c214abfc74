"""Relabelling undoes what was planted, exactly."""

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgmm.labels import align, match
from bayesgmm.params import MixtureParams
from tests.conftest import random_mixture


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), K=st.integers(1, 5))
def test_assignment_is_the_best_of_all_permutations(seed, K):
    cost = np.random.default_rng(seed).normal(size=(K, K))
    order = match(cost)
    totals = [sum(cost[p[k], k] for k in range(K)) for p in permutations(range(K))]
    assert sum(cost[order[k], k] for k in range(K)) <= min(totals) + 1e-12


def test_planted_permutations_are_undone(rng):
    """Groups eight sds apart, every draw with labels of its own: all draws come back to the reference's labels."""
    K, T = 4, 200
    means = np.array([[0.0, 0], [8, 0], [0, 8], [8, 8]])
    truth = MixtureParams.from_covariances(np.full(K, 0.25), means, np.tile(np.eye(2), (K, 1, 1)))
    X, _ = truth.sample(120, rng)
    weights = rng.dirichlet(np.full(K, 50.0), size=T)
    batch = MixtureParams(weights, means + 0.2 * rng.normal(size=(T, K, 2)), np.tile(np.eye(2), (T, K, 1, 1)))
    planted = np.array([rng.permutation(K) for _ in range(T)])
    orders = align(X, batch.permute(planted), truth.responsibilities(X))
    np.testing.assert_array_equal(np.take_along_axis(planted, orders, -1), np.tile(np.arange(K), (T, 1)))


def test_alignment_minimises_stephens_divergence(rng):
    params, reference = random_mixture(rng, 3, 2, (4,)), random_mixture(rng, 3, 2)
    X = rng.normal(size=(30, 2))
    q = np.clip(reference.responsibilities(X), 1e-6, 1 - 1e-6)
    orders = align(X, params, reference.responsibilities(X))
    for t in range(4):
        r = params[t].responsibilities(X)
        divergence = {p: (r[:, p] * np.log(r[:, p] / q)).sum() for p in map(list, permutations(range(3))) for p in [tuple(p)]}
        assert divergence[tuple(orders[t])] <= min(divergence.values()) + 1e-9
