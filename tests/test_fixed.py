"""Parameters of components that are known and kept, by EM and by the posterior."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm

import bayesgmm as bg
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.fixed import Fixed
from bayesgmm.priors import LogNormal, Priors
from bayesgmm.rows import MemoryRows


@pytest.fixture(scope="module")
def three():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(200, 2)), rng.normal([4, 0], 0.5, (80, 2)), rng.normal([0, 6], 0.7, (60, 2))]
    return np.concatenate(parts)


@st.composite
def problems(draw):
    """A model with something fixed, and a mixture that keeps it."""
    K, D = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = family(draw(st.sampled_from(["full", "diag", "spherical"])))
    some = st.lists(st.integers(0, K - 1), unique=True, max_size=K)
    weights, means, covariances = draw(some), draw(some), draw(some)
    A = rng.normal(size=(K, D, D))
    S = A @ A.swapaxes(1, 2) + 0.3 * np.eye(D)
    if kind.diagonal:
        S = S * np.eye(D)
    if kind.name == "spherical":
        S = np.trace(S, axis1=1, axis2=2)[:, None, None] / D * np.eye(D)
    w, m = rng.dirichlet(np.full(K, 3.0)), rng.normal(size=(K, D))
    given = {
        "weights": {k: w[k] for k in weights},
        "means": {k: m[k] for k in means},
        "covariances": {k: S[k] for k in covariances},
    }
    params = bg.MixtureParams.from_covariances(w, m, S)
    return rng.normal(size=(25, D)), kind, Fixed.of(given, K, D, kind), params, rng


@settings(deadline=None, max_examples=60)
@given(problems())
def test_chains_move_where_nothing_is_fixed_and_the_gradient_is_along_these_ways(problem):
    X, kind, fixed, params, rng = problem
    priors = Priors().resolve(MemoryRows(X), params.n_components, kind)
    space = Space(priors, kind, fixed)
    density = LogPosterior(X, space)
    q = space.unconstrain(params)
    back = space.constrain(q)
    for one, other in zip(back.arrays(), params.arrays(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-8)
    q = q + space.projection @ rng.normal(size=len(q)) * 0.2
    moved = space.constrain(q)
    np.testing.assert_allclose(moved.weights.sum(), 1.0)
    for has, one, other in (
        (fixed.has_weight, moved.weights, params.weights),
        (fixed.has_mean, moved.means, params.means),
        (fixed.has_covariance, moved.covariances, params.covariances),
    ):
        np.testing.assert_allclose(one[has], other[has], rtol=1e-9)
    _, gradient = density(q)
    steps = 1e-6 * space.projection
    slopes = np.array([(density(q + e)[0] - density(q - e)[0]) / 2e-6 for e in steps])
    np.testing.assert_allclose(gradient, slopes, atol=1e-6 * max(1.0, np.abs(slopes).max()))


@settings(deadline=None, max_examples=30)
@given(problems())
def test_fixed_weights_are_a_dirichlet_of_the_others(problem):
    """Against the density of the free weights times the likelihood, whose ratio at two places the constants do not touch."""
    X, kind, fixed, params, rng = problem
    free = ~fixed.has_weight
    if free.sum() < 2:
        return
    priors = Priors(concentration=2.5).resolve(MemoryRows(X), params.n_components, kind)
    space = Space(priors, kind, fixed)
    density = LogPosterior(X, space)
    values, direct = [], []
    for _ in range(2):
        own = rng.dirichlet(np.ones(free.sum()))
        w = params.weights.copy()
        w[free] = own * w[free].sum()
        other = bg.MixtureParams(w, params.means, params.scale_tril)
        values.append(density(space.unconstrain(other))[0])
        # The transform's volume is the product of the shares, up to a constant.
        direct.append(other.log_density(X).sum() + 2.5 * np.log(own).sum())
    assert values[1] - values[0] == pytest.approx(direct[1] - direct[0], abs=1e-6)


def test_em_climbs_to_the_constrained_maximum():
    """Against SciPy's maximum over the free parameters of two normal distributions in one column."""
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(size=120), rng.normal(3.0, 0.7, 80)])
    fixed = {"weights": {0: 0.5}, "means": {0: [0.2]}, "covariances": {1: [[0.6]]}}
    em = bg.GaussianMixture(2, fixed=fixed, random_state=1).fit(x[:, None])

    def lost(theta):
        log_sd, mean = theta
        return -np.logaddexp(norm.logpdf(x, 0.2, np.exp(log_sd)), norm.logpdf(x, mean, 0.6**0.5)).sum() + len(x) * np.log(2)

    options = {"xatol": 1e-9, "fatol": 1e-12}
    ends = [minimize(lost, start, method="Nelder-Mead", options=options) for start in ([0, 3], [0, -2])]
    found = min(ends, key=lambda end: end.fun)
    assert em.log_likelihood_ == pytest.approx(-found.fun, abs=1e-6)
    np.testing.assert_allclose([np.sqrt(em.covariances_[0, 0, 0]), em.means_[1, 0]], [np.exp(found.x[0]), found.x[1]], atol=1e-4)
    assert (em.weights_.tolist(), em.means_[0, 0], em.covariances_[1, 0, 0]) == ([0.5, 0.5], 0.2, pytest.approx(0.6))
    assert em.n_parameters_ == 2


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "VEV", "EVE"])
def test_a_fixed_mean_costs_likelihood_and_nothing_falls(three, kind):
    em = bg.GaussianMixture(3, covariance_type=kind, fixed={"means": {0: [4.0, 0.1]}}, random_state=1).fit(three)
    free = bg.GaussianMixture(3, covariance_type=kind, random_state=1).fit(three)
    np.testing.assert_array_equal(em.means_[0], [4.0, 0.1])
    assert free.log_likelihood_ - 5 < em.log_likelihood_ < free.log_likelihood_
    assert np.diff(em.log_likelihood_trace_).min() > -1e-6
    assert em.n_parameters_ == free.n_parameters_ - 2
    for _, params in em.optima_:
        np.testing.assert_allclose(params.means[0], [4.0, 0.1])


def test_all_fixed_is_the_mixture_itself(three):
    free = bg.GaussianMixture(3, random_state=1).fit(three)
    fixed = {"weights": free.weights_, "means": free.means_, "covariances": free.covariances_}
    em = bg.GaussianMixture(3, fixed=fixed, random_state=1).fit(three)
    assert em.log_likelihood_ == pytest.approx(free.log_likelihood_, abs=1e-9)
    assert em.n_parameters_ == 0


def test_units_and_offsets_do_not_matter(three):
    A, b = np.diag([1e3, 1e-2]), np.array([1e6, -5.0])
    one = bg.GaussianMixture(3, fixed={"means": {1: [0.0, 6.0]}, "weights": {0: 0.3}}, random_state=1).fit(three)
    other = bg.GaussianMixture(3, fixed={"means": {1: A @ [0.0, 6.0] + b}, "weights": {0: 0.3}}, random_state=1).fit(three @ A + b)
    np.testing.assert_allclose(other.means_, one.means_ @ A + b, rtol=1e-6)
    np.testing.assert_allclose(other.weights_, one.weights_, rtol=1e-5)


def test_the_posterior_of_free_means_is_that_on_a_grid():
    """One column, two groups, all but the means fixed: the posterior of the two means by quadrature."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0.0, 1.0, 30), rng.normal(4.5, 0.4, 10)])
    priors = Priors(means_loc=1.0, means_scale=2.0, sds=LogNormal(0.0, 0.5))
    fixed = {"weights": [0.7, 0.3], "covariances": {0: [[1.0]], 1: [[0.16]]}}
    fit = bg.BayesianGaussianMixture(2, priors=priors, fixed=fixed, draws=2000, random_state=1, progressbar=False).fit(x[:, None])
    a, b = np.meshgrid(np.linspace(-3, 4, 281), np.linspace(1, 8, 281), indexing="ij")
    logs = norm.logpdf(a, 1.0, 2.0) + norm.logpdf(b, 1.0, 2.0)
    for value in x:
        logs += np.logaddexp(np.log(0.7) + norm.logpdf(value, a, 1.0), np.log(0.3) + norm.logpdf(value, b, 0.4))
    p = np.exp(logs - logs.max())
    p /= p.sum()
    table = bg.diagnostics.convergence_table(fit.datatree_, ("relabelled",)).set_index("quantity")
    for k, grid in enumerate((a, b)):
        row = table.loc[f"means[{k}, x0]"]
        assert row["mean"] == pytest.approx((p * grid).sum(), abs=4 * row["mcse_mean"] + 1e-3)
        sd = np.sqrt((p * grid**2).sum() - (p * grid).sum() ** 2)
        assert row["sd"] == pytest.approx(sd, rel=4 / np.sqrt(row["ess_bulk"]))
    assert fit.diagnose()[0].passed
    assert not any(name.startswith(("weights", "sds")) for name in table.index)


def test_the_posterior_keeps_names_and_numbers(three):
    fixed = {"means": {2: [0.0, 0.0]}, "covariances": {2: np.eye(2)}}
    settings = {"draws": 200, "tune": 200, "random_state": 1, "progressbar": False}
    fit = bg.BayesianGaussianMixture(3, fixed=fixed, **settings).fit(three)
    np.testing.assert_allclose(fit.params_.means[..., 2, :], 0.0, atol=1e-12)
    np.testing.assert_allclose(fit.params_.covariances[..., 2, :, :], np.broadcast_to(np.eye(2), (4, 200, 2, 2)), atol=1e-12)
    assert fit.params_.weights[..., 2].std() > 0.01
    assert fit.datatree_.attrs["fixed"] == "mean of component 2, covariance of component 2"
    np.testing.assert_array_equal(fit.predict([[0.0, -1.0]]), [2])
    with pytest.raises(InvalidParameterError, match=r"^log_evidence has no constant for parameters that are fixed"):
        fit.log_evidence()


def test_labels_and_fixed_parameters_go_together(three):
    known = np.full(len(three), -1)
    known[:5], known[200:205] = 1, 0
    em = bg.GaussianMixture(3, fixed={"means": {0: [4.0, 0.0]}}, random_state=1).fit(three, known=known)
    np.testing.assert_allclose(em.means_[1], [0.0, 0.0], atol=0.3)
    np.testing.assert_array_equal(em.means_[0], [4.0, 0.0])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, r"^fixed must be a dict with some of 'weights', 'means' and 'covariances', got \{\}"),
        ({"mean": {0: [0, 0]}}, r"^fixed must be a dict with some of .*, got 'mean'"),
        ({"means": {3: [0, 0]}}, r"^fixed means are of component 3, and the components are 0 to 2"),
        ({"means": {0: [0, 0, 0]}}, r"^fixed means of component 0 must be finite numbers of shape \(2,\), got"),
        ({"means": {0: [0, np.nan]}}, r"^fixed means of component 0 must be finite numbers"),
        ({"means": [[0, 0]]}, r"^fixed means must be a dict by component, or numbers of shape \(3, 2\) with NaN"),
        ({"weights": {0: 1.0}}, r"^fixed weights must be positive, and leave something"),
        ({"weights": {0: -0.1}}, r"^fixed weights must be positive"),
        (
            {"weights": [0.5, 0.5, 0.5]},
            r"^fixed weights must be positive, and leave",
        ),
        ({"weights": {0: "half"}}, r"^fixed weights of component 0 must be a number, got 'half'"),
        ({"covariances": {1: [[1, 2], [2, 1]]}}, r"^the fixed covariance of component 1 must be symmetric and positive definite"),
        ({"covariances": {1: [[1, 0], [1, 1]]}}, r"^the fixed covariance of component 1 must be symmetric"),
    ],
)
def test_what_cannot_be_fixed(three, given, sentence):
    for estimator in (bg.GaussianMixture(3, fixed=given), bg.BayesianGaussianMixture(3, fixed=given, progressbar=False)):
        with pytest.raises(InvalidParameterError, match=sentence):
            estimator.fit(three)


def test_what_does_not_go_together(three):
    mean, cov = {"means": {0: [0, 0]}}, {"covariances": {0: [[1, 0.5], [0.5, 1]]}}
    refused = [
        (bg.GaussianMixture(3, covariance_type="tied", fixed=cov), r"^fixed covariances need a covariance_type whose components"),
        (bg.GaussianMixture(3, covariance_type="diag", fixed=cov), r"must be diagonal"),
        (
            bg.GaussianMixture(3, covariance_type="spherical", fixed={"covariances": {0: np.diag([1, 2])}}),
            r"must have one variance",
        ),
        (bg.GaussianMixture(3, noise=True, fixed=mean), r"^fixed parameters cannot go with noise yet"),
        (bg.GaussianMixture(3, equal_weights=True, fixed=mean), r"^fixed parameters cannot go with equal_weights yet"),
        (bg.GaussianMixture(3, priors=Priors(), fixed=mean), r"^fixed parameters cannot go with priors yet"),
        (bg.GaussianMixture("auto", fixed=mean), r"^fixed goes with a number of components"),
        (bg.BayesianGaussianMixture("auto", fixed=mean), r"^fixed goes with a number of components"),
        (bg.BayesianGaussianMixture(3, sampler="nuts", fixed=mean), r"^fixed parameters are for sampler='hmc'"),
    ]
    for estimator, sentence in refused:
        with pytest.raises(InvalidParameterError, match=sentence):
            estimator.fit(three)
