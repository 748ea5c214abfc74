"""The columns that posteriors add to a selection."""

from types import SimpleNamespace

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.criticism import compare_elpd, loo
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.partitions.number_of_groups import mean_occupied
from bayesgmm.rows import MemoryRows
from bayesgmm.selection import select
from tests.conftest import random_mixture

SETTINGS = {"draws": 250, "tune": 300, "chains": 2}


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(3)
    return np.concatenate([rng.normal(0, 1, size=(40, 1)), rng.normal(8, 1, size=(35, 1))])


@pytest.fixture(scope="module")
def selection(groups):
    sparse = {**SETTINGS, "priors": bg.Priors(concentration=0.05)}
    return select(groups, [1, 2, 3], "full", posterior=sparse, random_state=4, n_init=2, progressbar=False)


def test_numbers_are_those_of_leave_one_out(selection):
    table = selection.table
    fits = {str(fit.n_components): fit for fit in selection.posteriors}
    compared = compare_elpd(fits, max_refits=0, progressbar=False)
    for row in table.to_dict("records"):
        theirs = compared.loc[str(row["n_components"])]
        assert row["elpd"] == pytest.approx(theirs["elpd"])
        assert row["elpd_se"] == pytest.approx(theirs["se"])
        assert row["elpd_difference"] == pytest.approx(theirs["elpd_diff"])
        assert row["elpd_difference_se"] == pytest.approx(theirs["dse"])
        assert row["high_k"] == len(loo(fits[str(row["n_components"])], max_refits=0).high_k)
    assert table["elpd"].idxmax() > 0
    assert "predicts rows left out best" in str(selection)


def test_a_sparse_prior_empties_what_is_not_needed(selection):
    occupied = selection.table["occupied"].to_numpy()
    assert occupied[:2] == pytest.approx([1.0, 2.0], abs=1e-6)
    assert 2.0 <= occupied[2] < 2.8


def test_occupied_components_are_those_with_rows(rng):
    draws, X = random_mixture(rng, 3, 1, (4,)), rng.normal(size=(6, 1))
    r = draws.responsibilities(X)
    labels = (rng.random((20_000, 4, 6, 1)) > np.cumsum(r, axis=-1)).sum(axis=-1)
    simulated = np.mean([(labels == k).any(axis=-1).mean() for k in range(3)]) * 3
    assert mean_occupied(draws, X) == pytest.approx(simulated, abs=0.01)
    weight = np.array([1.0, 2.0, 0.0, 1.0, 1.0, 1.0])
    repeated = np.concatenate([X[weight > 0], X[1:2]])
    weighted = SimpleNamespace(params_=draws, rows_=MemoryRows(X, weight))
    assert mean_occupied(weighted) == pytest.approx(mean_occupied(draws, repeated))


def test_what_cannot_be_asked_is_refused_before_any_fit(groups):
    with pytest.raises(InvalidParameterError, match="no setting 'n_components'"):
        select(groups, posterior={"n_components": 3})
    with pytest.raises(InvalidParameterError, match="no posterior of models with noise"):
        select(groups, posterior=True, noise=True)
    with pytest.raises(InvalidParameterError, match="got list"):
        select(groups, posterior=["draws"])
    with pytest.raises(InvalidDataError, match="must be whole numbers"):
        select(groups, posterior=True, sample_weight=np.full(len(groups), 0.5))


def test_without_being_asked_nothing_is_sampled(groups):
    found = select(groups, [1], "full", progressbar=False)
    assert found.posteriors == ()
    assert "elpd" not in found.table


def test_probabilities_follow_from_the_evidence_and_the_prior_of_the_number(selection):
    """Of the models that have a posterior: Bayes' theorem, and the models' own evidence."""
    table = selection.table.dropna(subset="elpd")
    prior = np.exp(bg.priors.BetaNegativeBinomial().log_probability(int(selection.table["n_components"].max())))
    weights = np.exp(table["log_evidence"] - table["log_evidence"].max()) * prior[table["n_components"] - 1]
    np.testing.assert_allclose(table["probability"], weights / weights.sum(), rtol=1e-9)
    for row, fit in enumerate(selection.posteriors):
        if fit is not None:
            found = fit.log_evidence()
            assert abs(found.log_evidence - selection.table["log_evidence"][row]) < 4 * np.hypot(found.error, 0.1)
    assert "By their evidence the most probable of these" in str(selection)
