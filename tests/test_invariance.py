"""The posterior goes along with linear maps of the columns: densities exactly, fits to Monte Carlo error."""

import warnings

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import ConvergenceWarning
from bayesgmm.rows import MemoryRows
from tests.conftest import random_mixture


def linear_map(rng, D, log_condition):
    left, right = (np.linalg.qr(rng.normal(size=(D, D)))[0] for _ in range(2))
    return left @ np.diag(10.0 ** np.linspace(0.0, log_condition, D)) @ right


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    K=st.integers(1, 3),
    D=st.integers(2, 5),
    name=st.sampled_from(["full", "tied"]),
    log_condition=st.floats(0.0, 3.0),
)
def test_the_density_changes_by_the_volume_alone(seed, K, D, name, log_condition):
    """At one q, and so everywhere: the evidence changes by N log |det A|, and nothing else does."""
    rng = np.random.default_rng(seed)
    X = random_mixture(rng, 2, D).sample(15 * D, rng)[0] ** 3  # skewed, so that no axis is like another
    A = linear_map(rng, D, log_condition)
    kind = family(name)

    def density(rows):
        priors = bg.Priors(smallest_sd=0.0).resolve(MemoryRows(rows), K, kind)
        return LogPosterior(rows, Space(priors, kind))

    here, there = density(X), density(X @ A + 7.0)
    volume = len(X) * np.linalg.slogdet(A)[1]
    for _ in range(3):
        q = 0.5 * rng.normal(size=here.space.n_dim)
        (value, gradient), (other, slope) = here(q), there(q)
        assert other + volume == pytest.approx(value, rel=1e-6, abs=1e-4)
        np.testing.assert_allclose(slope, gradient, rtol=1e-4, atol=1e-3 * np.abs(gradient).max())
        # The mixture is the same one, seen in other columns.
        ours = here.space.constrain(q).transform(np.full(D, 7.0), A.T)
        np.testing.assert_allclose(
            there.space.constrain(q).covariances, ours.covariances, rtol=1e-4, atol=1e-5 * ours.sds.max() ** 2
        )


@pytest.mark.filterwarnings("ignore:60 rows in 3 columns tell little of 19 parameters:bayesgmm.exceptions.DataAdvice")
def test_along_the_columns_it_depends_on_them():
    """The test above can fail."""
    rng = np.random.default_rng(1)
    X, A, kind = rng.gamma(2.0, size=(60, 3)), linear_map(rng, 3, 1.0), family("full")
    values = []
    for rows in (X, X @ A):
        priors = bg.Priors(frame="columns", smallest_sd=0.0).resolve(MemoryRows(rows), 2, kind)
        space = Space(priors, kind)
        em = bg.GaussianMixture(2, random_state=1).fit(rows)
        values.append(LogPosterior(rows, space)(space.unconstrain(em.params_))[0])
    assert abs(values[1] - values[0] + len(X) * np.linalg.slogdet(A)[1]) > 1.0


def overlapping(rng):
    truth = bg.MixtureParams.from_covariances(
        [0.6, 0.4], [[0.0, 0.0, 0.0], [3.0, 1.0, 0.0]], [np.eye(3), [[1.0, 0.9, 0.8], [0.9, 1.0, 0.9], [0.8, 0.9, 1.0]]]
    )
    return truth.sample(120, rng)[0]


def fitted(X, seed=1):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return bg.BayesianGaussianMixture(2, draws=1000, tune=1000, random_state=seed, progressbar=False).fit(X)


def test_what_is_said_of_rows_differs_no_more_than_by_another_seed():
    """Labels, tail probabilities, doubts and intervals, of rows that were fitted and of others."""
    rng = np.random.default_rng(3)
    X, A = overlapping(rng), linear_map(rng, 3, 3.0)
    others = np.vstack([X, overlapping(rng), 3.0 * rng.normal(size=(20, 3))])

    def said(fit, rows):
        table = fit.row_summary(rows)
        numbers = {name: table[name].values for name in table.data_vars}
        # A log-density changes with the volume of a unit of the columns.
        kept = {name: v for name, v in numbers.items() if v.dtype.kind == "f" and not name.startswith("log_density")}
        return kept, table["label"].values

    (one, first), (again, _) = (said(fitted(X, seed), others) for seed in (1, 2))
    mapped, second = said(fitted(X @ A - 5.0), others @ A - 5.0)
    assert len(one) >= 8
    clear = np.abs(one["responsibility"][:, 0] - 0.5) > 0.05
    assert (first == second)[clear].all()
    for key in one:
        by_seed, by_map = (np.sqrt(np.mean((one[key] - numbers[key]) ** 2)) for numbers in (again, mapped))
        assert by_map < 2.0 * by_seed + 1e-3, key


def test_fits_give_the_same_responsibilities_and_doubts():
    rng = np.random.default_rng(3)
    X, A = overlapping(rng), linear_map(rng, 3, 3.0)
    fits = [fitted(rows) for rows in (X, X @ A - 5.0)]
    one, other = (fit.responsibility_draws().values[..., 0] for fit in fits)
    ess = np.minimum(*(array_stats.ess(r, method="mean", chain_axis=0, draw_axis=1) for r in (one, other)))
    error = np.hypot(one.std((0, 1)), other.std((0, 1))) / np.sqrt(np.maximum(ess, 10.0))
    assert (np.abs(one.mean((0, 1)) - other.mean((0, 1))) < 5.0 * error + 1e-3).all()
    first, second = (fit.datatree_["label_free"]["log_likelihood"].values for fit in fits)
    shift = len(X) * np.linalg.slogdet(A)[1]
    pair = np.array([array_stats.ess(values, method="mean", chain_axis=0, draw_axis=1) for values in (first, second)])
    apart = abs(first.mean() - second.mean() - shift)
    assert apart < 5.0 * np.sqrt(first.var() / pair[0] + second.var() / pair[1])
