"""Posteriors of rounded and repeated values: told before sampling, bounded by what the rounding lets be told, and sane."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.bayes.laplace import find_mode
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import DataAdvice
from bayesgmm.priors import HalfNormal, Priors
from bayesgmm.resolution import advice_on_repeats, repeats, smallest_sds
from bayesgmm.rows import MemoryRows


def rounded(rng: np.random.Generator, step: float = 0.5) -> np.ndarray:
    X = np.r_[rng.normal(0.0, 1.0, (120, 2)), rng.normal(4.0, 1.0, (80, 2))]
    return step * np.rint(X / step)


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical"])
def test_the_rounding_of_each_column_is_added_to_every_component(name, rng):
    X = np.c_[rng.normal(size=100), 10.0 * rng.normal(size=100).round(1), rng.normal(size=100).round(1)]
    smallest = smallest_sds(X)
    np.testing.assert_allclose(smallest, [0.0, 1.0 / 12**0.5, 0.1 / 12**0.5])
    rounding = Priors().resolve(MemoryRows(X), 2, family(name)).rounding
    assert rounding is None if name == "spherical" else np.allclose(rounding, np.diag(smallest**2), rtol=1e-12, atol=0)
    draws = Priors().sample(X, 2, name, n_draws=200, random_state=1)
    assert (draws.sds > (0.0 if name == "spherical" else smallest)).all()
    # No direction is narrower than rounding makes it: what is left is still a covariance.
    left = draws.covariances - (0.0 if rounding is None else rounding)
    assert (np.linalg.eigvalsh(left) > -1e-9 * np.abs(left).max()).all()
    given = Priors(smallest_sd=[0.5, 0.0, 0.3]).resolve(MemoryRows(X), 2, family("diag")).rounding
    np.testing.assert_allclose(given, np.diag([0.25, 0.0, 0.09]))


def test_without_visible_rounding_nothing_is_added(rng):
    X = rng.normal(size=(60, 2))
    assert Priors().resolve(MemoryRows(X), 2, family("full")).rounding is None
    assert Priors(smallest_sd=0.0).resolve(MemoryRows(X.round(1)), 2, family("full")).rounding is None


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rounded_data_have_no_mode_on_equal_values(seed):
    """Started at the commonest values with a tiny sd, a climb ends where groups are; without the bound it ends at the ties, and higher."""
    X, kind = rounded(np.random.default_rng(seed))[:, :1], family("full")
    values, counts = np.unique(X[:, 0], return_counts=True)
    tie = values[counts.argmax()]
    spike = bg.MixtureParams(np.array([0.1, 0.9]), np.array([[tie], [X.mean()]]), np.array([[[1e-8]], [[X.std()]]]))
    heights, sds = [], []
    for priors in (Priors(), Priors(smallest_sd=0.0, sds=HalfNormal(2.0))):
        density = LogPosterior(X, Space(priors.resolve(MemoryRows(X), 2, kind), kind))
        mode = find_mode(density, density.space.unconstrain(spike))
        heights.append(density(mode)[0])
        sds.append(density.space.constrain(mode).sds.min())
    assert sds[0] > smallest_sds(X)[0] == 0.5 / 12**0.5
    assert sds[1] < 1e-6
    assert heights[1] > heights[0]


def test_zeros_are_told_of_before_sampling_and_make_a_group_of_their_own():
    rng = np.random.default_rng(11)
    rest = rng.normal(5.0, 1.0, 80)
    table = pd.DataFrame({"expression": np.r_[np.zeros(120), rest]})
    fit = bg.BayesianGaussianMixture(2, draws=400, tune=400, random_state=1, progressbar=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit.fit(table)
    told = [str(warning.message) for warning in caught if warning.category is DataAdvice]
    assert len(told) == 1
    assert "'expression' is 0 in 120 of 200 rows" in told[0]
    assert fit.diagnose()[0].passed
    own, zeros = (int(f(fit.means_.ravel())) for f in (np.argmax, np.argmin))
    # The rest is a normal sample of its own: its mean's posterior is that of the sample, but for the prior.
    means = fit.params_.means[..., own, 0]
    assert means.mean() == pytest.approx(rest.mean(), abs=0.03)
    assert means.std() == pytest.approx(rest.std() / np.sqrt(len(rest)), rel=0.15)
    assert fit.weights_[own] == pytest.approx(82 / 204, abs=0.01)
    sds = fit.params_.sds[..., zeros, 0]
    smallest = smallest_sds(table.to_numpy())[0]
    assert smallest < sds.min()
    # The posterior of what is beside the rounding, given 120 equal values and the other group's sd, is an integral over one number.
    logs = np.linspace(np.log(smallest) - 12, np.log(smallest) + 2, 20_001)
    pairs = np.stack([np.exp(logs), np.full(len(logs), rest.std())], axis=1)[..., None]
    pairs = pairs if zeros == 0 else pairs[:, ::-1]
    wider = 0.5 * np.log1p(np.exp(2 * (logs - np.log(smallest))))
    height = fit.priors_.sds.log_density(pairs, 2) + logs - 119 * wider
    mass = np.exp(height - height.max())
    assert np.log(sds / smallest).mean() == pytest.approx(mass @ wider / mass.sum(), rel=0.15)


@pytest.mark.parametrize("sampler", ["laplace", "nuts"])
def test_other_roads_know_the_rounding(sampler):
    X = rounded(np.random.default_rng(3))
    fit = bg.BayesianGaussianMixture(2, sampler=sampler, draws=600, tune=300, random_state=1, progressbar=False).fit(X)
    assert fit.diagnose()[0].passed
    assert (np.linalg.eigvalsh(fit.params_.covariances) > 0.25 / 12).all()
    np.testing.assert_allclose(fit.priors_.rounding, 0.25 / 12 * np.eye(2))


def test_a_questionnaire_is_called_one():
    rng = np.random.default_rng(4)
    marks = rng.integers(1, 6, (595, 7)).astype(float)
    visits = np.where(rng.uniform(size=595) < 0.82, 0.0, rng.poisson(12.0, 595) + 1.0)
    names = [f"item{j}" for j in range(7)] + ["visits"]
    said = advice_on_repeats(repeats(np.c_[marks, visits], names))
    assert f"'visits' is 0 in {(visits == 0).sum()} of 595 rows" in said
    assert "'item0', 'item1', 'item2', 'item3', 'item4', 'item5' and 1 more have only 5 distinct values" in said
    assert said.isascii()
    assert advice_on_repeats(repeats(rng.normal(size=(100, 2)), ["a", "b"])) == ""


@pytest.mark.parametrize("kind", ["tied", "spherical"])
def test_a_value_of_most_rows_is_named_where_it_makes_no_group_collapse(kind):
    """One covariance for all parts the zeros from the others without falling in on them: the fit and the choice both say so."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"item": rng.normal(size=200), "count": np.where(rng.random(200) < 0.8, 0.0, rng.poisson(2.5, 200) + 1.0)})
    with pytest.warns(DataAdvice, match=r"'count' is 0 in 1\d\d of 200 rows"):
        em = bg.GaussianMixture(2, covariance_type=kind, random_state=1).fit(table)
    assert em.status_ == "converged"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bg.select(table, [1, 2], kind, random_state=1, progressbar=False)
        bg.GaussianMixture(1, covariance_type=kind).fit(table)  # makes no groups
        bg.GaussianMixture(2, covariance_type=kind, random_state=1).fit(table[["item"]])
    assert [column.column for column in found.repeats()] == ["count"]
    assert "'count' is 0 in" in str(found)
    assert bg.select(table[["item"]], [1, 2], kind, random_state=1, progressbar=False).repeats() == ()
