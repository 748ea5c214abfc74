"""The prior's terms against the compiled density and PyMC's model, and how much each part of the prior matters."""

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.model import build_resolved
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.diagnostics import prior_sensitivity
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.priors import Exponential, Gamma, HalfCauchy, HalfStudentT, InverseGamma, Priors
from bayesgmm.priors.log_prior import log_prior_terms
from bayesgmm.priors.model import draw_mixtures
from bayesgmm.rows import MemoryRows

LEAST_P = 1e-4  # p-values below it fail: seeds are fixed, so a test that passes once passes always
DATA = np.random.default_rng(5).normal(size=(20, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, -1.0]
TERMS = [  # the last number is what rounding adds
    ("full", 2, 3, None),
    ("tied", 3, 2, HalfCauchy(0.5)),
    ("diag", 2, 2, HalfStudentT(3.0, 0.7)),
    ("spherical", 3, 2, Gamma(2.0, 3.0)),
    ("full", 2, 2, InverseGamma(2.0, 0.7, shared=0.5)),
    ("full", 1, 1, Exponential(1.7)),
    ("tied", 3, 3, None),
    ("diag", 3, 2, None),
    ("full", 2, 2, HalfStudentT(3.0, 0.7), 0.4),
    ("tied", 2, 2, None, [0.3, 0.0]),
    ("spherical", 2, 2, Gamma(2.0, 3.0), 0.5),
]


@pytest.fixture
def in_python():
    """PyTensor runs in Python: a few calls do not need machine code."""
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        yield


@pytest.mark.parametrize(("name", "K", "D", "sds", "lower"), [(*term, 0.0)[:5] for term in TERMS])
def test_terms_and_jacobians_are_the_compiled_density_without_data(name, K, D, sds, lower):
    """Compiled density - log-likelihood = terms + log-Jacobian of PyMC's transforms."""
    X, fam = DATA[:, :D], family(name)
    priors = Priors(1.7, sds=sds, eta=1.3, smallest_sd=lower).resolve(MemoryRows(X), K, fam)
    space = Space(priors, fam)
    density = LogPosterior(X, space)
    draws = draw_mixtures(priors, fam, 3, np.random.default_rng(1))
    terms = sum(log_prior_terms(draws, priors, fam).values())
    for t in range(3):
        whole = density(space.unconstrain(draws[t]))[0] - draws[t].log_density(X).sum()
        assert terms[t] + log_jacobian(draws[t], space) == pytest.approx(whole, rel=1e-8, abs=1e-8)


def log_jacobian(params, space):
    """Of the softmax with its last entry left out, of the exponential, and of rows (i from 0) of norm one: L_ii to the power i + 2."""
    params = space.priors.from_data(params)
    corr_diagonal = np.diagonal(params.scale_tril / params.sds[..., None], axis1=-2, axis2=-1)[: space.n_matrices]
    rows = (np.arange(2, space.n_features + 2) * np.log(corr_diagonal)).sum()
    softmax = np.log(space.n_components) + params.log_weights.sum() if space.n_components > 1 else 0.0
    return softmax + np.log(space.family.free_sds(params.sds)).sum() + rows


@pytest.mark.parametrize(("name", "K", "D", "sds", "lower"), [(*term, 0.0)[:5] for term in TERMS])
@pytest.mark.usefixtures("in_python")
def test_terms_are_those_of_the_pymc_model(name, K, D, sds, lower):
    X, fam = DATA[:, :D], family(name)
    priors = Priors(1.7, sds=sds, eta=1.3, smallest_sd=lower).resolve(MemoryRows(X), K, fam)
    space = Space(priors, fam)
    model = build_resolved(X, fam, priors, [f"x{d}" for d in range(D)])
    draws = draw_mixtures(priors, fam, 3, np.random.default_rng(1))
    terms = log_prior_terms(draws, priors, fam)
    assert list(terms) == [variable.name.removesuffix("_in_frame").removesuffix("_cholesky") for variable in model.free_RVs]
    logp = model.compile_fn(model.logp(vars=model.free_RVs, jacobian=False, sum=False))
    start = model.initial_point()
    for t in range(3):
        parts = [part for part in np.split(space.unconstrain(draws[t]), np.cumsum(space.sizes)[:-1]) if part.size]
        point = {key: part.reshape(start[key].shape) for key, part in zip(start, parts, strict=True)}
        found = [float(np.sum(value)) for value in logp(point)]
        np.testing.assert_allclose(found, [term[t] for term in terms.values()], rtol=1e-8)


@pytest.mark.usefixtures("in_python")
def test_draws_are_those_of_the_pymc_model():
    """PyMC draws the same priors and prior predictive rows; its LKJ generator is another."""
    X, fam = DATA[:, :2], family("full")
    priors = Priors([1.0, 3.0], eta=1.3).resolve(MemoryRows(X), 2, fam)
    model = build_resolved(X, fam, priors, ["a", "b"])
    theirs = pm.sample_prior_predictive(400, model=model, random_seed=1)
    ours = draw_mixtures(priors, fam, 400, np.random.default_rng(2))
    rows, _ = ours.sample(len(X), random_state=3)
    prior = theirs["prior"].to_dataset().isel(chain=0)
    pairs = [
        (ours.weights[:, 0], prior["weights"].values[:, 0]),
        (ours.means[:, 1, 0], prior["means"].values[:, 1, 0]),
        (ours.sds[:, 1, 1], prior["sds"].values[:, 1, 1]),
        (ours.correlations[:, 0, 1, 0], prior["corr"].values[:, 0, 1, 0]),
        (rows[:, 0, 1], theirs["prior_predictive"]["x"].values[0, :, 0, 1]),
    ]
    for here, there in pairs:
        assert stats.ks_2samp(here, there).pvalue > LEAST_P


def test_the_tree_s_terms_add_up_to_the_sampler_s_density(posterior_faithful):
    """lp = log-likelihood + terms + Jacobians of the softmax, the logs and the rows of norm one, here for two columns."""
    tree, params = posterior_faithful.datatree_, posterior_faithful.params_
    terms = tree["log_prior"].to_dataset()
    assert list(terms.data_vars) == ["weights", "means", "sds", "corr"]
    inside = posterior_faithful.priors_.from_data(params)
    rho = inside.correlations[..., 0, 1]
    jacobian = np.log(2) + params.log_weights.sum(-1) + np.log(inside.sds).sum((-2, -1)) + 1.5 * np.log1p(-(rho**2)).sum(-1)
    total = tree["label_free"]["log_likelihood"] + sum(terms.data_vars.values()) + jacobian
    np.testing.assert_allclose(total, tree["sample_stats"]["lp"], rtol=1e-8)


def test_terms_of_components_with_priors_of_their_own_are_those_of_the_sampler_s_labels():
    """One group cut in two: labels switch, and relabelled draws would have another density."""
    X, times = np.random.default_rng(3).normal(size=(30, 1)), np.arange(30) % 3 + 1.0
    priors = Priors([1.0, 4.0], means_loc=[[0.0], [0.5]])
    fit = bg.BayesianGaussianMixture(2, priors=priors, draws=100, tune=200, chains=2, random_state=1, progressbar=False)
    tree = fit.fit(X, sample_weight=times).datatree_
    assert not tree["posterior"].to_dataset().equals(tree["unlabelled_posterior"].to_dataset())
    jacobian = np.log(2) + fit.params_.log_weights.sum(-1) + np.log(fit.priors_.from_data(fit.params_).sds).sum((-2, -1))
    total = tree["label_free"]["log_likelihood"] + sum(tree["log_prior"].to_dataset().data_vars.values()) + jacobian
    np.testing.assert_allclose(total, tree["sample_stats"]["lp"], rtol=1e-8)


def test_sensitivity_is_arviz_s_and_names_what_moves(posterior_faithful):
    tree = posterior_faithful.datatree_
    table = prior_sensitivity(tree)
    assert list(table.index) == ["weights", "means", "sds", "corr"]
    assert table["sentence"].str.contains("hardly matters").all()
    by_part = [az.psense(tree, var_names=["means", "sds"], group_var_names=part) for part in table.index]
    assert all(table["prior"] >= [max(float(values.max()) for values in found.values()) for found in by_part])
    foreign = pd.concat(
        az.psense_summary(
            tree, var_names=["weights", "means", "sds"], coords={"component": k}, prior_var_names="means", round_to=12
        )
        for k in range(2)
    )
    row = table.loc["means"]
    assert row["prior"] == pytest.approx(foreign["prior"].max(), abs=1e-10)
    assert row["likelihood"] == pytest.approx(foreign["likelihood"].iloc[foreign["prior"].argmax()], abs=1e-10)


def test_one_chain_a_flat_prior_and_what_cannot_be_measured(posterior_faithful):
    tree = posterior_faithful.datatree_.isel(chain=[0], draw=slice(200))
    assert np.isfinite(prior_sensitivity(tree)["prior"]).all()
    tree["log_prior"]["means"] = np.nan * tree["log_prior"]["means"]
    tree["log_prior"]["sds"] = 0.0 * tree["log_prior"]["sds"] + 3.0
    table = prior_sensitivity(tree)
    assert "cannot be measured" in table.loc["means", "sentence"]
    assert "is flat" in table.loc["sds", "sentence"]
    assert "hardly matters" in table.loc["weights", "sentence"]
    assert prior_sensitivity(tree.isel(draw=slice(20)))["prior"].isna().all()


def test_terms_of_flat_priors_are_constant():
    fam = family("full")
    priors = Priors(1.0, eta=1.0).resolve(MemoryRows(DATA[:, :2]), 2, fam)
    terms = log_prior_terms(draw_mixtures(priors, fam, 50, np.random.default_rng(1)), priors, fam)
    assert np.ptp(terms["weights"]) == np.ptp(terms["corr"]) == 0
    assert terms["corr"][0] == pytest.approx(2 * np.log(0.5))  # two correlations, uniform between -1 and 1


def test_a_prior_against_the_data_is_named(faithful):
    priors = Priors(means_loc=[3.5, 20.0], means_scale=[2.0, 2.0])
    fit = bg.BayesianGaussianMixture(1, priors=priors, draws=300, tune=300, chains=2, random_state=1, progressbar=False)
    table = prior_sensitivity(fit.fit(faithful).datatree_)
    assert list(table.index) == ["means", "sds", "corr"]
    assert table.loc["means", "prior"] > 0.05
    assert "moves" in table.loc["means", "sentence"]
    assert table.loc["corr", "prior"] < table.loc["means", "prior"]


def test_what_has_no_prior_is_refused(em_faithful):
    with pytest.raises(InvalidDataError, match="no group posterior, log_prior and label_free"):
        prior_sensitivity(em_faithful.datatree_)
    with pytest.raises(InvalidDataError, match="needs the datatree_ of a fitted BayesianGaussianMixture, got GaussianMixture"):
        prior_sensitivity(em_faithful)
