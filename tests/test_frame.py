"""Going into the fit's coordinates and back loses nothing."""

import numpy as np
import pytest

from bayesgmm.frame import Frame
from bayesgmm.rows import MemoryRows
from tests.conftest import random_mixture


@pytest.mark.parametrize("invariance", ["affine", "columns", "scale"])
@pytest.mark.parametrize("weighted", [False, True])
def test_there_and_back(invariance, weighted, rng):
    X = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)) * [1e-6, 1, 1e6] + [1, 1e6, -3]
    weight = rng.uniform(0.5, 2, size=50) if weighted else None
    frame = Frame.of(MemoryRows(X, weight), invariance)
    Z = frame.standardise(X)
    np.testing.assert_allclose(frame.center + Z @ frame.factor.T, X, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.average(Z, axis=0, weights=weight), 0, atol=1e-9)
    covariance = np.cov(Z.T, bias=True, aweights=weight)
    if invariance == "affine":
        np.testing.assert_allclose(covariance, np.eye(3), atol=1e-6)
    elif invariance == "columns":
        np.testing.assert_allclose(np.diag(covariance), 1, rtol=1e-9)
    else:
        assert np.trace(covariance) == pytest.approx(3)
    params = random_mixture(rng, 2, 3)
    outside = frame.params_out(params)
    np.testing.assert_allclose(frame.params_in(outside).scale_tril, params.scale_tril, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(outside.log_density(X), params.log_density(Z) - frame.log_det, rtol=1e-7)
    np.testing.assert_allclose(frame.covariance_in(outside.covariances), params.covariances, rtol=1e-7, atol=1e-9)


def test_collinear_columns_fall_back_to_columns(rng):
    x = rng.normal(size=(40, 1))
    frame = Frame.of(MemoryRows(np.hstack([x, 2 * x])), "affine")
    assert not np.any(np.tril(frame.factor, -1))


def test_a_large_offset_costs_no_precision(rng):
    X = rng.normal(size=(1000, 2))
    near, far = Frame.of(MemoryRows(X), "affine"), Frame.of(MemoryRows(X + 1e8), "affine")
    np.testing.assert_allclose(far.factor, near.factor, rtol=1e-7)
