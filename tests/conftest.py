"""Fits that many tests look at, made once."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayesgmm as bg
from bayesgmm.covariance import family
from bayesgmm.em import Specification, fit_em
from bayesgmm.params import MixtureParams
from bayesgmm.partitions.doubt import group_summary, taken_for_known
from bayesgmm.rows import MemoryRows


@pytest.fixture(scope="session")
def faithful():
    return bg.datasets.load_faithful()


@pytest.fixture(scope="session")
def em_faithful(faithful):
    return bg.GaussianMixture(2, random_state=1).fit(faithful)


@pytest.fixture(scope="session")
def posterior_faithful(faithful):
    return bg.BayesianGaussianMixture(2, random_state=1, progressbar=False).fit(faithful)


@pytest.fixture
def undrawn(monkeypatch):
    """Reports whose pictures are a dot each: drawing takes seconds, and other tests look at what is drawn."""
    dot = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    monkeypatch.setattr("bayesgmm.report.figures._render", lambda names, draw, kind: dot)


@pytest.fixture
def rng():
    return np.random.default_rng(20261122)


def fit_rows(X, K, covariance_type="full", sample_weight=None, seeds=None, **settings):
    """Fit by EM what `fit_em` takes, given as an array."""
    rows = MemoryRows(np.asarray(X, dtype=float), sample_weight)
    kind = family(covariance_type) if isinstance(covariance_type, str) else covariance_type
    return fit_em(rows, Specification(K, kind, **settings), seeds=seeds)


def table_of(responsibilities, components=None):
    """The part of a row_summary that follows from these responsibilities, taken for known."""
    n, K = np.shape(responsibilities)
    names = range(K) if components is None else components
    return group_summary(taken_for_known(np.asarray(responsibilities)), pd.RangeIndex(n, name="obs"), names)


def random_mixture(rng, K, D, batch=(), covariance_type="full"):
    """A mixture (or a batch) with well-conditioned random parameters."""
    weights = rng.dirichlet(np.full(K, 3.0), size=batch)
    means = rng.normal(size=(*batch, K, D))
    factors = np.tril(rng.normal(size=(*batch, K, D, D)), -1) * 0.5
    if covariance_type in ("diag", "spherical"):
        factors = np.zeros_like(factors)
    sds = rng.uniform(0.4, 1.5, size=(*batch, K, D))
    if covariance_type == "spherical":
        sds[...] = sds[..., :1]
    factors[..., np.arange(D), np.arange(D)] = sds
    if covariance_type == "tied":
        factors[...] = factors[..., :1, :, :]
    return MixtureParams(weights, means, factors)


def scipy_log_joint(X, params):
    """log w_k + log N(x_i | mu_k, Sigma_k) of one mixture by SciPy: the independent route for everything the kernel does."""
    columns = [
        np.log(w) + multivariate_normal(m, S).logpdf(X).reshape(len(X))
        for w, m, S in zip(params.weights, params.means, params.covariances, strict=True)
    ]
    return np.column_stack(columns)


def scipy_log_likelihood(X, params):
    return logsumexp(scipy_log_joint(X, params), axis=1).sum()
