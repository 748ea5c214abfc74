"""MixtureParams: checks, batches, permutations, changes of coordinates, sampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import ortho_group

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.random import generator
from tests.conftest import random_mixture


def one(**changes):
    values = {"weights": [0.7, 0.3], "means": [[0.0], [4.0]], "covariances": [[[1.0]], [[0.25]]]} | changes
    return MixtureParams.from_covariances(**values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": [0.7, 0.4]}, "add up to one"),
        ({"weights": [1.2, -0.2]}, "at least zero"),
        ({"weights": [0.7, 0.3, 0.0]}, "means must have shape"),
        ({"means": [[0.0], [np.nan]]}, "finite"),
        ({"covariances": [[[1.0]], [[-0.25]]]}, r"positive definite \(component 1"),
        ({"covariances": [[1.0, 1.0]]}, "shape"),
        ({"means": [[0.0, 0], [1, 1]], "covariances": [[[1.0, 2], [0, 1]], np.eye(2)]}, "symmetric"),
    ],
)
def test_what_is_not_a_mixture_is_refused(changes, words):
    with pytest.raises(InvalidParameterError, match=words):
        one(**changes)


def test_factor_must_be_lower_triangular_with_positive_diagonal():
    with pytest.raises(InvalidParameterError, match="lower triangular"):
        MixtureParams([1.0], [[0.0, 0.0]], [[[1.0, 1.0], [0.0, 1.0]]])
    with pytest.raises(InvalidParameterError, match="scale_tril must have shape"):
        MixtureParams([1.0], [[0.0, 0.0]], [[[1.0]]])


def test_values_cannot_be_changed():
    params = one()
    with pytest.raises(ValueError, match="read-only"):
        params.weights[0] = 0.5
    with pytest.raises(AttributeError):
        params.weights = np.array([1.0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), K=st.integers(1, 4), D=st.integers(1, 4), batch=st.sampled_from([(), (3,), (2, 3)]))
def test_batches_agree_with_single_mixtures(seed, K, D, batch):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, K, D, batch)
    X = rng.normal(size=(7, D))
    flat = params.reshape(-1)
    singles = [flat[t] for t in range(len(flat.weights))]
    assert params.batch_shape == batch
    for method in ("log_density", "responsibilities"):
        stacked = np.stack([getattr(p, method)(X) for p in singles])
        np.testing.assert_allclose(getattr(params, method)(X).reshape(stacked.shape), stacked, rtol=1e-12, atol=1e-14)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), K=st.integers(1, 5))
def test_permuting_moves_everything_together(seed, K):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, K, 2, (3,))
    orders = np.array([rng.permutation(K) for _ in range(3)])
    X = rng.normal(size=(6, 2))
    permuted = params.permute(orders)
    np.testing.assert_allclose(permuted.log_density(X), params.log_density(X))
    np.testing.assert_allclose(permuted.responsibilities(X), np.take_along_axis(params.responsibilities(X), orders[:, None], -1))
    back = permuted.permute(np.argsort(orders, axis=-1))
    np.testing.assert_array_equal(back.scale_tril, params.scale_tril)


def test_canonical_order_is_by_weight_then_means():
    params = MixtureParams.from_covariances([0.25, 0.5, 0.25], [[2.0], [0.0], [1.0]], np.ones((3, 1, 1)))
    assert params.canonical_order().tolist() == [1, 2, 0]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), D=st.integers(1, 5), triangular=st.booleans(), units=st.integers(0, 12))
def test_change_of_coordinates_is_the_jacobian(seed, D, triangular, units):
    """For any linear map of full rank, whatever the units of the columns."""
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, 3, D, batch=(2,))
    shift, factor = (
        rng.normal(size=D),
        ortho_group.rvs(D, random_state=seed) * rng.uniform(0.2, 3.0, D) if D > 1 else np.array([[-2.0]]),
    )
    if triangular:
        factor = np.tril(factor, -1) + np.diag(rng.uniform(0.2, 3.0, D))
    factor = (10.0 ** rng.integers(-units, units + 1, D))[:, None] * factor
    X = rng.normal(size=(20, D))
    moved = params.transform(shift * np.abs(factor).sum(1), factor)
    there = params.log_density(X) - np.linalg.slogdet(factor)[1]
    np.testing.assert_allclose(moved.log_density(shift * np.abs(factor).sum(1) + X @ factor.T), there, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(
        moved.covariances, factor @ params.covariances @ factor.T, rtol=1e-9, atol=1e-9 * np.abs(factor).max() ** 2
    )
    assert (np.diagonal(moved.scale_tril, axis1=-2, axis2=-1) > 0).all()
    assert not np.triu(moved.scale_tril, 1).any()


@pytest.mark.parametrize("factor", [np.zeros((2, 2)), np.ones((2, 2)), np.eye(3), [[1.0, np.nan], [0.0, 1.0]], np.ones(2)])
def test_a_change_of_coordinates_that_loses_a_direction_is_refused(rng, factor):
    with pytest.raises(InvalidParameterError, match="2 x 2 matrix of full rank"):
        random_mixture(rng, 3, 2).transform([0.0, 0.0], factor)


def test_samples_have_the_mixture_s_moments(rng):
    """Means of 20,000 draws within five standard errors; labels with the weights' frequencies by a chi-square test."""
    params = random_mixture(rng, 3, 2)
    X, labels = params.sample(20_000, random_state=3)
    assert stats.chisquare(np.bincount(labels, minlength=3), 20_000 * params.weights).pvalue > 1e-4
    for k in range(3):
        rows = X[labels == k]
        error = (rows.mean(0) - params.means[k]) / (params.sds[k] / np.sqrt(len(rows)))
        assert np.abs(error).max() < 5
        np.testing.assert_allclose(np.cov(rows.T), params.covariances[k], rtol=0.15, atol=0.05)


def test_batched_samples_and_bad_requests(rng):
    params = random_mixture(rng, 2, 3, (4, 5))
    X, labels = params.sample(6, random_state=1)
    assert X.shape == (4, 5, 6, 3)
    assert labels.shape == (4, 5, 6)
    with pytest.raises(InvalidParameterError, match="n_samples"):
        params.sample(0)
    with pytest.raises(InvalidDataError, match=r"shape \(N, 3\)"):
        params.log_density(np.zeros((2, 2)))
    with pytest.raises(IndexError):
        random_mixture(rng, 2, 2)[0]


def test_any_source_of_randomness_is_taken():
    same = [generator(7).random(3), generator(np.random.default_rng(7)).random(3)]
    np.testing.assert_array_equal(*same)
    assert generator(np.random.RandomState(7)).random() == generator(np.random.RandomState(7)).random()


def test_one_dimension_is_a_full_citizen():
    params = one()
    assert params.is_diagonal
    np.testing.assert_allclose(params.correlations, np.ones((2, 1, 1)))
    X = np.array([[0.3], [3.0]])
    density = 0.7 * stats.norm(0, 1).pdf(X[:, 0]) + 0.3 * stats.norm(4, 0.5).pdf(X[:, 0])
    np.testing.assert_allclose(np.exp(params.log_density(X)), density)
