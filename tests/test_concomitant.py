"""Weights that differ by sample or follow covariates, by EM and by the posterior."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import dirichlet, multivariate_normal, norm

import bayesgmm as bg
from bayesgmm.bayes._compiled_log_posterior import digamma
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import COEFFICIENTS, CONCENTRATION, Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.priors import Priors
from bayesgmm.rows import MemoryRows
from bayesgmm.rows.concomitant import Covariates, Samples

NAMES = np.array(list("abcd"))
QUICK = {"draws": 250, "tune": 200, "random_state": 1, "progressbar": False}


@pytest.fixture(scope="module")
def clinics():
    """Three groups, whose shares differ in four samples."""
    rng = np.random.default_rng(0)
    shares = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])
    s = np.repeat(np.arange(4), [200, 100, 60, 40])
    labels = (rng.random((len(s), 1)) > shares[s].cumsum(1)).sum(1)
    return np.array([[0, 0], [4, 0], [0, 4]])[labels] + rng.normal(size=(len(s), 2)), NAMES[s], labels


@pytest.fixture(scope="module")
def ages():
    """Three groups, whose shares follow two covariates."""
    rng = np.random.default_rng(1)
    Z = pd.DataFrame({"age": rng.normal(50.0, 10.0, 500).round(), "dose": rng.normal(size=500)})
    B = np.array([[-4.0, 1.0], [0.08, -0.02], [0.0, 0.8]])
    logits = np.column_stack([np.column_stack([np.ones(500), Z]) @ B, np.zeros(500)])
    p = np.exp(log_softmax(logits, axis=1))
    labels = (rng.random((500, 1)) > p.cumsum(1)).sum(1)
    return np.array([[0, 0], [4, 0], [0, 4]])[labels] + rng.normal(size=(500, 2)), Z, B


def by_hand(X, params, shares):
    """Log-likelihood and responsibilities of rows whose weights (N, K) are their own."""
    components = zip(params.means, params.covariances, strict=True)
    logs = np.log(shares) + np.stack([multivariate_normal.logpdf(X, m, S) for m, S in components], axis=1)
    total = np.logaddexp.reduce(logs, axis=1)
    return total.sum(), np.exp(logs - total[:, None])


def test_samples_have_the_likelihood_and_the_maximum_of_their_weights(clinics):
    X, samples, _ = clinics
    em = bg.GaussianMixture(3, random_state=1).fit(X, samples=samples)
    table = em.sample_weights()
    shares = table.pivot(index="sample", columns="component", values="weight").loc[samples].to_numpy()
    value, r = by_hand(X, em.params_, shares)
    assert em.log_likelihood_ == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(em.responsibilities(), r, atol=1e-10)
    # At the maximum weights are mean responsibilities, of each sample and of all.
    for name in NAMES:
        np.testing.assert_allclose(table[table["sample"] == name].weight, r[samples == name].mean(0), atol=1e-6)
    np.testing.assert_allclose(em.weights_, r.mean(0), atol=1e-6)
    assert em.n_parameters_ == bg.GaussianMixture(3, random_state=1).fit(X).n_parameters_ + 3 * 2
    assert np.diff(em.log_likelihood_trace_).min() > -1e-8
    np.testing.assert_array_equal(em.predict(X, samples=samples), r.argmax(1))
    assert em.score_samples(X, samples=samples).sum() == pytest.approx(em.log_likelihood_)


def test_one_sample_is_the_ordinary_fit(clinics):
    X, *_ = clinics
    one, plain = (
        bg.GaussianMixture(3, random_state=1).fit(X, samples=np.zeros(len(X))),
        bg.GaussianMixture(3, random_state=1).fit(X),
    )
    assert one.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-8)
    np.testing.assert_allclose(one.means_, plain.means_, atol=1e-5)
    assert one.n_parameters_ == plain.n_parameters_


def test_covariates_climb_to_the_maximum(ages):
    """The likelihood by hand, and SciPy's maximum over the coefficients with the components held still is no higher."""
    X, Z, _ = ages
    em = bg.GaussianMixture(3, random_state=1).fit(X, covariates=Z)
    table = em.coefficients().pivot(index="covariate", columns="component", values="coefficient").loc[["intercept", "age", "dose"]]
    np.testing.assert_allclose(table.sum(axis=1), 0.0, atol=1e-9)
    A = np.column_stack([np.ones(len(Z)), Z])
    shares = np.exp(log_softmax(A @ table.to_numpy(), axis=1))
    value, r = by_hand(X, em.params_, shares)
    assert em.log_likelihood_ == pytest.approx(value, abs=1e-7)
    np.testing.assert_allclose(em.responsibilities(), r, atol=1e-8)
    std = np.column_stack([np.ones(len(Z)), (Z - Z.mean()) / Z.std()])

    def lost(b):
        own = np.exp(log_softmax(np.column_stack([std @ b.reshape(3, 2), np.zeros(len(Z))]), axis=1))
        return -by_hand(X, em.params_, own)[0]

    best = minimize(lost, np.zeros(6), method="BFGS").fun
    assert -best <= em.log_likelihood_ + 1e-6
    assert -best == pytest.approx(em.log_likelihood_, abs=1e-4)
    np.testing.assert_allclose(em.predict_proba(X[:9], covariates=Z[:9]), r[:9], atol=1e-8)
    assert em.n_parameters_ == 3 * 2 + 3 * 2 + 3 * 3


def test_standard_errors_hold_the_truth_and_are_the_posterior_s(ages):
    X, Z, B = ages
    em = bg.GaussianMixture(3, random_state=1).fit(X, covariates=Z)
    table = em.coefficients().set_index(["covariate", "component"])
    order = [str(k) for k in em.predict([[0, 0], [4, 0], [0, 4]])]
    true = np.column_stack([B, np.zeros(3)])
    true = true - true.mean(1, keepdims=True)
    for p, name in enumerate(["intercept", "age", "dose"]):
        own = table.loc[name].loc[order]
        assert (np.abs(own.coefficient - true[p]) < 3.5 * own.se).all()
    posterior = (
        bg.BayesianGaussianMixture(3, init=None, **QUICK).fit(X, covariates=Z).coefficients().set_index(["covariate", "component"])
    )
    places = posterior.loc["dose"].coefficient.argsort().to_numpy(), table.loc["dose"].coefficient.argsort().to_numpy()
    np.testing.assert_allclose(
        posterior.loc["dose"].sd.to_numpy()[places[0]], table.loc["dose"].se.to_numpy()[places[1]], rtol=0.25
    )


def test_it_is_stepmix_s_likelihood(ages):
    """One step, Gaussian with full covariances, covariates by Newton's method: from the same maximum, the same log-likelihood."""
    stepmix = pytest.importorskip("stepmix.stepmix")
    X, Z, _ = ages
    std = (Z - Z.mean()) / Z.std()
    model = stepmix.StepMix(
        n_components=3,
        n_steps=1,
        measurement="gaussian_full",
        structural="covariate",
        structural_params={"method": "newton-raphson", "max_iter": 1, "intercept": True},
        random_state=1,
        n_init=5,
        abs_tol=1e-12,
        rel_tol=1e-14,
        max_iter=3000,
        progress_bar=0,
        verbose=0,
    ).fit(X, std)
    assert bg.GaussianMixture(3, random_state=1).fit(X, covariates=Z).log_likelihood_ == pytest.approx(
        model.score(X, std) * 500, abs=1e-6
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(1, 3), st.sampled_from(["samples", "covariates"]), st.booleans())
def test_the_density_is_that_of_its_parts(seed, K, D, what, labelled):
    """Against SciPy's Dirichlet and normal densities beside the ordinary posterior; the gradient against central differences."""
    rng, N = np.random.default_rng(seed), 30
    X, kind = rng.normal(size=(N, D)), family("full")
    concomitant = Samples.of(rng.integers(0, 4, N), N) if what == "samples" else Covariates.of(rng.normal(size=(N, 2)).round(1), N)
    priors = Priors().resolve(MemoryRows(X), K, kind)
    plain, space = Space(priors, kind), Space(priors, kind, None, concomitant)
    rows = MemoryRows(X).with_shares(concomitant.share_of, concomitant.n_shares)
    density = LogPosterior(X, space, None, rows.known)
    q = rng.normal(size=space.n_dim) * 0.5
    value, gradient = density(q)
    slopes = np.array([(density(q + e)[0] - density(q - e)[0]) / 2e-6 for e in np.eye(len(q)) * 1e-6])
    np.testing.assert_allclose(gradient, slopes, atol=2e-6 * max(1.0, np.abs(slopes).max()))
    params, base = space.constrain(q), plain.constrain(q[: plain.n_dim])
    expected = LogPosterior(X, plain)(q[: plain.n_dim])[0] - base.log_density(X).sum() + params.log_density(rows.chunk).sum()
    if what == "samples":
        for own in params.shares:
            expected += dirichlet.logpdf(own / own.sum(), np.exp(q[-1]) * params.weights) + np.log(own).sum() + np.log(K)
        expected += norm.logpdf(q[-1], *CONCENTRATION)
    else:
        free = q[plain.n_dim :].reshape(2, K - 1)
        covariance = COEFFICIENTS**2 * (np.eye(K - 1) - 1.0 / K)
        expected += sum(multivariate_normal.logpdf(row, np.zeros(K - 1), covariance) for row in free)
    assert value == pytest.approx(expected, abs=1e-7)
    back = space.unconstrain(params)
    np.testing.assert_allclose(back[:-1], q[:-1], atol=1e-6)
    np.testing.assert_allclose(np.exp(log_softmax(np.log(params.shares), axis=-1)), space.constrain(back).shares, atol=1e-8)


@given(st.floats(1e-3, 1e6))
def test_digamma(x):
    from scipy.special import digamma as right

    assert digamma(x) == pytest.approx(right(x), rel=1e-10, abs=1e-10)


def test_a_posterior_of_samples_has_their_shares(clinics):
    X, samples, labels = clinics
    fit = bg.BayesianGaussianMixture(3, **QUICK).fit(X, samples=samples)
    order = fit.predict([[0, 0], [4, 0], [0, 4]])
    table = fit.sample_weights().set_index(["sample", "component"])
    for name in NAMES:
        found = np.bincount(labels[samples == name], minlength=3) / (samples == name).sum()
        own = table.loc[name].loc[[str(k) for k in order]]
        assert (np.abs(own.weight - found) < 4 * own.sd + 0.02).all()
        assert ((own.lower < own.weight) & (own.weight < own.upper)).all()
    gap = fit.contrast("a", "d").loc[[str(k) for k in order]]
    assert gap.difference.sum() == pytest.approx(0.0, abs=1e-9)
    assert gap.probability.iloc[0] > 0.99
    assert gap.probability.iloc[2] < 0.01
    assert {"sample_weights"} <= set(fit.datatree_["posterior"].data_vars)
    # Small samples are drawn towards all.
    em = bg.GaussianMixture(3, random_state=1).fit(X, samples=samples).sample_weights()
    assert table.loc["d"].weight.max() < em[em["sample"] == "d"].weight.max()


def test_saved_draws_are_the_same(clinics, tmp_path):
    X, samples, _ = clinics
    fit = bg.BayesianGaussianMixture(3, draws=30, tune=50, random_state=1, progressbar=False).fit(X, samples=samples)
    bg.save_draws(fit, tmp_path / "p.nc")
    assert bg.load_draws(tmp_path / "p.nc").identical(fit.datatree_)


@pytest.mark.parametrize("what", ["samples", "covariates"])
def test_pymc_has_the_same_density(what):
    rng, N, K = np.random.default_rng(2), 30, 3
    X = rng.normal(size=(N, 2))
    given = rng.integers(0, 3, N) if what == "samples" else rng.normal(size=(N, 2)).round(1)
    concomitant = (Samples if what == "samples" else Covariates).of(given, N)
    model = bg.build_model(X, K, **{what: given})
    kind = family("full")
    space = Space(Priors().resolve(MemoryRows(X), K, kind), kind, None, concomitant)
    known = MemoryRows(X).with_shares(concomitant.share_of, concomitant.n_shares).known
    q = rng.normal(size=space.n_dim) * 0.3
    weights, rest, extra = q[: K - 1], q[K - 1 : -space.n_extra], q[-space.n_extra :]
    parts = {"weights": weights, "concentration": extra[-1:], "sample_weights": extra[:-1], "free_coefficients": extra}
    point, ordered = model.initial_point(), []
    for variable in model.value_vars:
        own = next((part for name, part in parts.items() if variable.name.startswith(name)), None)
        size = np.size(point[variable.name])
        ordered.append(rest[:size] if own is None else own)
        rest = rest[size:] if own is None else rest
    function = model.logp_dlogp_function(ravel_inputs=True)
    function.set_extra_values({})
    value, gradient = function(np.concatenate(ordered))
    ours, own_gradient = LogPosterior(X, space, None, known)(q)
    assert value == pytest.approx(ours, rel=1e-9)
    np.testing.assert_allclose(np.sort(gradient), np.sort(own_gradient), atol=1e-7)


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (
            {"samples": ["a"]},
            InvalidDataError,
            r"^samples must say for each of the 400 rows of X which sample it is of, got shape \(1,\)",
        ),
        ({"samples": [None] + ["a"] * 399}, InvalidDataError, r"^samples has no value in row 0"),
        ({"covariates": np.ones((3, 2))}, InvalidDataError, r"^covariates must have the shape \(400, P\)"),
        ({"covariates": ["x"] * 400}, InvalidDataError, r"^covariates must be numbers"),
        ({"covariates": np.ones(400)}, InvalidDataError, r"^the covariate 'z0' has one value in all rows"),
        ({"covariates": np.r_[np.nan, np.arange(399.0)]}, InvalidDataError, r"^the covariate 'z0' is nan in row 0"),
        (
            {"covariates": np.column_stack([np.arange(400), 3 - 2.0 * np.arange(400)])},
            InvalidDataError,
            r"^the covariate 'z1' follows from 'z0': leave it out",
        ),
        ({"samples": np.zeros(400), "covariates": np.arange(400)}, InvalidParameterError, r"^samples and covariates both say"),
        (
            {"samples": np.arange(400) % 2, "together": np.arange(400) // 2},
            InvalidDataError,
            r"^row 1 belongs together with rows of another",
        ),
    ],
)
def test_bad_input_gets_a_sentence(clinics, given, error, sentence):
    for estimator in (bg.GaussianMixture(2), bg.BayesianGaussianMixture(2, progressbar=False)):
        with pytest.raises(error, match=sentence):
            estimator.fit(clinics[0], **given)


def test_what_does_not_go_together(clinics, ages):
    X, samples, _ = clinics
    for settings_, sentence in (
        ({"noise": True}, "noise"),
        ({"equal_weights": True}, "equal_weights"),
        ({"priors": Priors()}, "priors"),
    ):
        with pytest.raises(InvalidParameterError, match=rf"^samples= cannot go with {sentence} yet"):
            bg.GaussianMixture(2, **settings_).fit(X, samples=samples)
    with pytest.raises(InvalidParameterError, match=r"^samples= and fixed weights both say"):
        bg.GaussianMixture(2, fixed={"weights": {0: 0.5}}).fit(X, samples=samples)
    with pytest.raises(InvalidParameterError, match="give n_components a number"):
        bg.BayesianGaussianMixture("auto").fit(X, samples=samples)
    em = bg.GaussianMixture(2, random_state=1).fit(X, samples=samples)
    with pytest.raises(InvalidDataError, match=r"^the fit has seen no sample 'z', only 'a', 'b', 'c' and 'd'"):
        em.predict(X[:1], samples=["z"])
    with pytest.raises(InvalidParameterError, match=r"^the fit was given no covariates"):
        em.predict(X[:1], covariates=[[1.0]])
    with pytest.raises(InvalidParameterError, match=r"^there is no sample 'z'"):
        em.contrast("a", "z")
    with pytest.raises(InvalidParameterError, match=r"^the fit was given no covariates"):
        em.coefficients()
    X, Z, _ = ages
    em = bg.GaussianMixture(2, random_state=1).fit(X, covariates=Z)
    with pytest.raises(InvalidDataError, match=r"^covariates are dose and age, and those of the fit age and dose"):
        em.predict(X, covariates=Z[["dose", "age"]])
    with pytest.raises(InvalidParameterError, match=r"^the fit was given no samples"):
        bg.GaussianMixture(2, random_state=1).fit(X).sample_weights()


def test_the_picture_of_samples_shows_what_the_table_says():
    rng = np.random.default_rng(4)
    X, sample = np.r_[rng.normal(0, 1, 120), rng.normal(6, 1, 80)][:, None], np.arange(200) % 50
    em = bg.GaussianMixture(2, random_state=1).fit(X, samples=sample)
    table = em.sample_weights()
    ax = bg.plots.plot_sample_weights(table)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert ax.get_ylabel() == f"{len(names)} of 50 samples" == "40 of 50 samples"
    for k, line in enumerate(each for each in ax.get_lines() if each.get_gid()):
        own = table[table["component"] == em.component_names_[k]]
        np.testing.assert_array_equal(line.get_xdata(), own.set_index(own["sample"].astype(str)).loc[names, "weight"])
        assert (np.round(line.get_ydata()) == np.arange(40)).all()
    with pytest.raises(InvalidParameterError, match="what sample_weights"):
        bg.plots.plot_sample_weights(table["weight"])
