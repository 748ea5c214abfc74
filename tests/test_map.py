"""MAP: EM with priors ends where the model's log-posterior is flat, in the natural space, and climbs on the way."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.em.penalties import penalty_of
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.priors import Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, InverseGamma, LogNormal
from bayesgmm.rows import MemoryRows
from tests.conftest import random_mixture

PRIORS = {
    "half-normal": HalfNormal(1.3),
    "half-Cauchy": HalfCauchy(0.7),
    "half-t": HalfStudentT(4.0, 1.1),
    "log-normal": LogNormal(0.2, 0.8),
    "joint log-normal": LogNormal(0.2, 0.5, shared=1.2, factors=(0.4, 1.0, 2.0)),
    "exponential": Exponential(1.5),
    "gamma": Gamma(2.5, 1.2),
    "inverse gamma": InverseGamma(2.0, 0.8),
    "inverse gamma, learned": InverseGamma(2.0, 0.8, shared=0.5),
}
FAMILIES = ["full", "tied", "diag", "spherical"]


def two_groups(rng, N, D):
    X, labels = random_mixture(rng, 2, D).sample(N, rng)
    return X, labels


def natural_log_posterior(q, X, K, fam, priors):
    """The fast density (which equals the model's) with the Jacobian of every transform taken away: by an independent route."""
    space = Space(priors, fam)
    params = space.priors.from_data(space.constrain(q))
    value, _ = LogPosterior(X, space)(q)
    D = X.shape[1]
    jacobian = np.log(params.weights).sum() + np.log(K) + np.log(space.family.free_sds(params.sds)).sum()
    if space.n_matrices:
        factors = (params.scale_tril / params.sds[..., None])[: space.n_matrices]
        logs = np.log(np.diagonal(factors, axis1=1, axis2=2))
        rows = np.arange(1, D + 1)
        # The transform's own Jacobian, and that of correlations against the elements of their Cholesky factor.
        jacobian += ((rows + 1) * logs).sum() + ((D - rows) * logs).sum()
    return value - jacobian


def slopes(function, q, h=1e-5):
    out = np.empty(len(q))
    for i in range(len(q)):
        step = np.zeros(len(q))
        step[i] = h
        out[i] = (function(q + step) - function(q - step)) / (2 * h)
    return out


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("frame", [None, "invariant"])
@pytest.mark.parametrize("prior", PRIORS)
def test_the_slope_of_the_log_posterior_vanishes_at_the_mode(name, frame, prior, rng):
    fam = family(name)
    X, labels = two_groups(rng, 60, 3)
    frame = frame if fam.has_correlations(3) else None
    eta = (0.8, 2.5, 6.0) if frame == "invariant" else 2.5
    priors = bg.Priors(concentration=[2.0, 3.0], sds=PRIORS[prior], eta=eta, means_loc=0.5, means_scale=3.0, frame=frame)
    em = bg.GaussianMixture(2, covariance_type=name, priors=priors, tol=1e-14, init_params=labels).fit(X)
    assert em.status_ == "converged"
    resolved = replace(priors, smallest_sd=0.0).resolve(MemoryRows(X), 2, fam)
    q = Space(resolved, fam).unconstrain(em.params_)
    found = natural_log_posterior(q, X, 2, fam, priors=resolved)
    log_prior = penalty_of(priors, MemoryRows(X), 2, fam).log_density(em.weights_, em.means_, em.params_.scale_tril)
    assert found == pytest.approx(em.log_likelihood_ + log_prior, rel=1e-10)
    assert em.log_prior_ == pytest.approx(log_prior)
    np.testing.assert_allclose(slopes(lambda p: natural_log_posterior(p, X, 2, fam, resolved), q), 0.0, atol=2e-4)


def test_the_models_own_slope_vanishes_at_the_mode(rng):
    """In two dimensions the model's measure, of correlations' Cholesky factors, is that of correlations."""
    X, labels = two_groups(rng, 40, 2)
    priors = bg.Priors(eta=3.0, smallest_sd=0.0)
    em = bg.GaussianMixture(2, priors=priors, tol=1e-14, init_params=labels).fit(X)
    model = bg.build_model(X, 2, priors=priors)
    slope = model.compile_dlogp(jacobian=False, mode="FAST_COMPILE")
    q = Space(priors.resolve(MemoryRows(X), 2, family("full")), family("full")).unconstrain(em.params_)
    names = [variable.name for variable in model.value_vars]
    pieces = np.split(q, np.cumsum([1, 4, 4]))
    start = model.initial_point()
    point = {name: piece.reshape(start[name].shape) for name, piece in zip(names, pieces, strict=True)}
    np.testing.assert_allclose(slope(point), 0.0, atol=1e-3)


def log_density_of_a_learned_scale(covariances, p, name):
    """Return the density of covariances by Bayes' theorem: joint density with any scale, over that of the scale given them."""
    g, df, c = p.scale_df, p.df, p.scale
    if name in ("spherical", "diag"):
        columns = np.diagonal(covariances, axis1=1, axis2=2)
        columns, c = (columns[:, :1], np.array([np.trace(c) / 2])) if name == "spherical" else (columns, np.diag(c))
        after = g / c + (1 / columns).sum(0)
        value = stats.invgamma.logpdf(columns, df / 2, scale=c).sum() + stats.gamma.logpdf(2 * c, g / 2, scale=2 * c / g).sum()
        return value - stats.gamma.logpdf(2 * c, (g + df * len(columns)) / 2, scale=2 / after).sum()
    free = covariances[:1] if name == "tied" else covariances
    after = np.linalg.inv(c / g) + sum(np.linalg.inv(S) for S in free)
    value = sum(stats.invwishart.logpdf(S, df, 2 * c) for S in free) + stats.wishart.logpdf(2 * c, g, c / g)
    return value - stats.wishart.logpdf(2 * c, g + df * len(free), np.linalg.inv(after))


@pytest.mark.parametrize("scale", [None, "learned"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_conjugate_mode_beats_its_neighbours(name, scale, rng):
    """The penalised likelihood, written with SciPy's distributions, is lower wherever one looks around the fit."""
    X, labels = two_groups(rng, 50, 2)
    priors = bg.ConjugatePriors(concentration=2.0, shrinkage=0.5, scale=scale)
    em = bg.GaussianMixture(2, covariance_type=name, priors=priors, tol=1e-14, init_params=labels).fit(X)
    p = priors.resolve(X.mean(0), np.cov(X.T, bias=True), 2)

    def height(weights, means, covariances):
        value = stats.dirichlet.logpdf(weights, p.concentration)
        value += sum(
            stats.multivariate_normal.logpdf(m, p.means_loc, S / p.shrinkage) for m, S in zip(means, covariances, strict=True)
        )
        if scale == "learned":
            value += log_density_of_a_learned_scale(covariances, p, name)
        elif name == "spherical":
            value += stats.invgamma.logpdf(covariances[:, 0, 0], p.df / 2, scale=np.trace(p.scale) / 4).sum()
        elif name == "diag":
            value += stats.invgamma.logpdf(np.diagonal(covariances, axis1=1, axis2=2), p.df / 2, scale=np.diag(p.scale) / 2).sum()
        else:
            free = covariances[:1] if name == "tied" else covariances
            value += sum(stats.invwishart.logpdf(S, p.df, p.scale) for S in free)
        return value + bg.MixtureParams.from_covariances(weights, means, covariances).log_density(X).sum()

    at_mode = height(em.weights_, em.means_, em.params_.covariances)
    assert at_mode == pytest.approx(em.log_likelihood_ + em.log_prior_, rel=1e-10)
    for _ in range(60):
        weights = em.weights_ * np.exp(0.01 * rng.normal(size=2))
        turn = np.exp(0.01 * rng.normal(size=(2, 1, 1)))
        if name == "tied":
            turn[:] = turn[0]
        assert height(weights / weights.sum(), em.means_ + 0.01 * rng.normal(size=(2, 2)), em.params_.covariances * turn) < at_mode


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # some correlations go to one
@pytest.mark.parametrize("priors", [bg.Priors(), bg.ConjugatePriors()], ids=["model", "conjugate"])
@pytest.mark.parametrize("name", FAMILIES)
def test_em_with_a_prior_never_falls(name, priors):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        X = random_mixture(rng, 3, 2).sample(25, rng)[0]
        em = bg.GaussianMixture(4, covariance_type=name, priors=priors, n_init=1, init_params="random_from_data", random_state=seed)
        trace = em.fit(X).log_likelihood_trace_
        assert (np.diff(trace) >= -1e-9 * (np.abs(trace[:-1]) + 25)).all()
        assert np.isfinite(trace).all()


def test_default_priors_know_no_units_nor_the_order_of_columns(rng):
    X, labels = two_groups(rng, 80, 3)
    settings = {"priors": bg.Priors(), "tol": 1e-12, "init_params": labels}
    here = bg.GaussianMixture(2, **settings).fit(X)
    scale, order = np.array([1e-3, 1.0, 1e4]), [2, 0, 1]
    there = bg.GaussianMixture(2, **settings).fit((1e3 + X * scale)[:, order])
    np.testing.assert_allclose(there.means_, (1e3 + here.means_ * scale)[:, order], rtol=1e-6)
    sds = here.params_.sds * scale
    np.testing.assert_allclose(there.params_.sds, sds[:, order], rtol=1e-4)


def test_a_weight_of_two_is_the_row_twice_and_gaps_are_allowed(rng):
    X, _ = two_groups(rng, 60, 2)
    X[::7, 0] = np.nan
    twice = np.concatenate([X, X[:20]])
    weight = np.ones(60)
    weight[:20] = 2
    for priors in (bg.Priors(), bg.ConjugatePriors()):
        one = bg.GaussianMixture(2, priors=priors, random_state=0).fit(X, sample_weight=weight)
        other = bg.GaussianMixture(2, priors=priors, random_state=0).fit(twice)
        assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, rel=1e-9)
        np.testing.assert_allclose(one.means_, other.means_, rtol=1e-5)


def test_a_prior_holds_up_what_the_likelihood_lets_collapse(rng):
    """Three equal rows far out: maximum likelihood closes in on them, the prior does not."""
    X = np.concatenate([rng.normal(size=(50, 2)), np.full((3, 2), 9.0)])
    with pytest.warns(bg.exceptions.ConvergenceWarning, match="collapsed"):
        bg.GaussianMixture(2, random_state=0).fit(X)
    for priors in (bg.Priors(eta=4.0), bg.ConjugatePriors()):
        em = bg.GaussianMixture(2, priors=priors, random_state=0).fit(X)
        assert em.status_ == "converged"
        assert em.predict([[9.0, 9.0]]) == 1
        assert em.params_.sds[1].min() > 0.01


def test_much_data_outweighs_the_prior(rng):
    X, labels = two_groups(rng, 20_000, 2)
    free = bg.GaussianMixture(2, init_params=labels).fit(X)
    held = bg.GaussianMixture(2, init_params=labels, priors=bg.Priors()).fit(X)
    np.testing.assert_allclose(held.means_, free.means_, atol=5e-3)
    np.testing.assert_allclose(held.covariances_, free.covariances_, rtol=5e-3, atol=5e-3)


def test_priors_that_tell_components_apart_keep_their_order(rng):
    X = np.concatenate([rng.normal(0, 1, 30), rng.normal(8, 1, 70)])[:, None]
    priors = bg.Priors(means_loc=[[0.0], [8.0]], means_scale=1.0)
    em = bg.GaussianMixture(2, priors=priors, random_state=0).fit(X)
    assert em.means_[0, 0] < em.means_[1, 0]
    assert em.weights_[0] < em.weights_[1]


@pytest.mark.parametrize("prior", PRIORS)
def test_slopes_of_scale_priors_are_those_of_their_densities(prior):
    """Of each standard deviation apart, with what they share as expected given all of them: the slope of the joint density."""
    sd, h = np.array([0.1, 0.7, 3.0]), 1e-6
    up, down = (
        np.array([PRIORS[prior].broadcast((3,)).log_density(np.exp(np.log(sd) + s * e), 1) for e in np.eye(3)]) for s in (h, -h)
    )
    np.testing.assert_allclose(PRIORS[prior].broadcast((3,)).given(sd).slope(sd), (up - down) / (2 * h), rtol=1e-6, atol=1e-6)


def test_equal_weights(rng):
    X = np.concatenate([rng.normal(0, 1, 30), rng.normal(5, 1, 90)])[:, None]
    em = bg.GaussianMixture(2, equal_weights=True, random_state=0).fit(X)
    free = bg.GaussianMixture(2, random_state=0).fit(X)
    np.testing.assert_array_equal(em.weights_, 0.5)
    assert em.n_parameters_ == free.n_parameters_ - 1
    assert em.log_likelihood_ < free.log_likelihood_
    trace = em.log_likelihood_trace_
    assert (np.diff(trace) >= -1e-9 * np.abs(trace[:-1])).all()
    # Stationary in what is free: a step of any mean or spread goes down.
    for shift in (0.02, -0.02):
        moved = bg.MixtureParams(em.weights_, em.means_ + np.array([[shift], [0.0]]), em.params_.scale_tril)
        assert moved.log_density(X).sum() < em.log_likelihood_


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"covariance_type": "VEV", "priors": bg.Priors()},
            "priors can be put on covariance_type 'full', 'tied', 'diag', 'spherical'",
        ),
        ({"priors": bg.Priors(), "reg_covar": 1e-6}, "give one of them"),
        ({"priors": bg.Priors(concentration=[1.0, 2.0, 3.0])}, r"concentration must be a number or have a shape that fits \(2,\)"),
        ({"priors": bg.ConjugatePriors(df=0.5)}, "df must be above 1 for 2 columns"),
        ({"priors": bg.ConjugatePriors(scale=-1.0)}, "scale must be a positive number"),
        ({"priors": "weak"}, "priors"),
    ],
)
def test_priors_that_cannot_be_used_are_refused(settings, message, rng):
    X, _ = two_groups(rng, 30, 2)
    with pytest.raises(ValueError, match=message):
        bg.GaussianMixture(2, **settings).fit(X)
    with pytest.raises(InvalidParameterError, match="shrinkage must be positive"):
        bg.ConjugatePriors(shrinkage=-1.0)


def test_errors_of_maximum_likelihood_are_refused_for_others(rng):
    X, labels = two_groups(rng, 30, 2)
    for settings, message in (({"priors": bg.Priors()}, "fit without priors"), ({"equal_weights": True}, "free weights")):
        em = bg.GaussianMixture(2, init_params=labels, **settings).fit(X)
        for kind in ("sandwich", "nonparametric"):
            with pytest.raises(InvalidParameterError, match=message):
                em.standard_errors(kind)
