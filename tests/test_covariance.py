"""Each family's M-step is a maximum within the family, its shapes are scikit-learn's, its count is the published one."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as SklearnMixture

from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidParameterError
from tests.conftest import random_mixture

NAMES = ["full", "tied", "diag", "spherical"]


def expected_log_likelihood(covariances, scatter, counts):
    """Gaussian part of the M-step's objective, without constants."""
    _, log_det = np.linalg.slogdet(covariances)
    return -0.5 * (counts * log_det).sum() - 0.5 * np.trace(np.linalg.solve(covariances, scatter), axis1=1, axis2=2).sum()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("D", [1, 3])
def test_update_beats_every_neighbour_in_the_family(name, D, rng):
    fam, K = family(name), 3
    counts = rng.uniform(5, 20, size=K)
    rows = rng.normal(size=(K, 30, D)) @ np.tril(rng.normal(size=(K, D, D)) + 2 * np.eye(D))
    scatter = np.einsum("kid,kie->kde", rows, rows)
    best = fam.update(scatter, counts)
    top = expected_log_likelihood(best, scatter, counts)
    for _ in range(50):
        if fam.diagonal:
            packed = fam.pack(best) * np.exp(0.05 * rng.normal(size=fam.packed_shape(K, D)))
        else:
            turn = np.eye(D) + 0.05 * rng.normal(size=fam.packed_shape(K, D))
            packed = turn @ fam.pack(best) @ np.swapaxes(turn, -1, -2)
        other = fam.unpack(packed, K, D)
        assert expected_log_likelihood(other, scatter, counts) <= top + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_counts_are_scikit_learns(name, rng):
    X = rng.normal(size=(60, 3))
    reference = SklearnMixture(2, covariance_type=name, random_state=0).fit(X)
    fam = family(name)
    assert reference.covariances_.shape == fam.packed_shape(2, 3)
    assert reference._n_parameters() == fam.n_parameters(2, 3)
    unpacked = fam.unpack(reference.covariances_, 2, 3)
    assert unpacked.shape == (2, 3, 3)
    np.testing.assert_allclose(fam.pack(unpacked), reference.covariances_)


@pytest.mark.parametrize("name", NAMES)
def test_floor_keeps_eigenvalues_up_and_leaves_good_ones_alone(name, rng):
    good = random_mixture(rng, 2, 3, covariance_type=name).covariances
    np.testing.assert_allclose(family(name).floor(good, 1e-6), good)
    thin = family(name).floor(good * 1e-9, 1e-6)
    assert np.linalg.eigvalsh(thin).min() >= 1e-6 * (1 - 1e-9)


def test_unknown_name_is_told_the_known_ones():
    with pytest.raises(InvalidParameterError, match="'full', 'tied', 'diag', 'spherical', got 'banana'"):
        family("banana")
