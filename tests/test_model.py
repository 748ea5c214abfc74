"""The PyMC model: its log-posterior by SciPy and by the compiled density, its names, draws and responsibilities."""

from itertools import product

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
import xarray as xr
from scipy import integrate, stats
from scipy.special import betaln, logsumexp

from bayesgmm import Priors, build_model
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.model import build_resolved
from bayesgmm.bayes.op import mixture_log_density
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.priors import Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, InverseGamma, LogNormal
from bayesgmm.rows import MemoryRows
from tests.conftest import random_mixture, scipy_log_joint, scipy_log_likelihood

N = 12
CASES = [
    ("full", 3, 2, None),
    ("full", 3, 2, None, [0.0, 0.2, 0.4]),
    ("full", 3, 2, LogNormal(0.2, 0.9), 0.0, "invariant"),
    ("tied", 3, 2, None, 0.3),
    ("full", 2, 2, HalfNormal(0.8), 0.1, [[2.0, 1.0], [-1.0, 0.5]]),
    ("diag", 3, 3, LogNormal(0.2, [[0.4], [0.9], [1.3]], shared=0.8)),
    ("spherical", 2, 3, LogNormal([0.2, 0.1, -0.5], 0.7, shared=0.8, factors=(0.5, 1.0)), 0.1),
    ("full", 2, 3, HalfNormal(0.8)),
    ("tied", 3, 2, HalfCauchy([0.5, 1.0, 2.0])),
    ("diag", 3, 2, HalfStudentT(3.0, 0.7)),
    ("spherical", 3, 2, LogNormal(0.2, 0.9)),
    ("full", 1, 2, Exponential(1.7)),
    ("tied", 1, 3, Gamma(2.0, 3.0)),
    ("full", 3, 2, InverseGamma(2.0, [0.5, 0.9, 0.7])),
    ("diag", 2, 2, InverseGamma(2.0, [0.5, 0.9], shared=0.3)),
    ("spherical", 3, 2, InverseGamma(2.0, 0.5, shared=0.3)),
    ("full", 2, 1, HalfNormal(1.3)),
    ("full", 2, 2, None, 0.3),
    ("tied", 2, 2, HalfCauchy(0.5), [0.0, 0.4]),
    ("diag", 2, 2, HalfStudentT(3.0, 0.7), [0.5, 0.0]),
    ("spherical", 2, 2, Exponential(1.7), 0.2),
    ("full", 2, 1, Gamma(2.0, 3.0), 0.6),
    ("diag", 1, 2, HalfNormal(1.3), 0.25),
]
# Where each number of the vector that PyMC transforms into a Cholesky factor goes: a spiral through the lower triangle.
PLACES = {1: [], 2: [(1, 0)], 3: [(2, 1), (2, 0), (1, 0)]}


@pytest.fixture(autouse=True, scope="module")
def interpreted():
    """Run graphs node by node in Python: compiling them takes longer than everything else here."""
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        yield


class Case:
    """A model, its value-and-gradient function, and what went into it."""

    def __init__(self, name, D, K, sds, smallest_sd=0.0, frame=None):
        rng = np.random.default_rng([D, K, len(name)])
        self.K, self.D, self.family = K, D, family(name)
        self.X = random_mixture(rng, K, D).sample(N, rng)[0]
        concentration = np.linspace(0.7, 2.0, K)
        # Where the standard deviations have their default prior, which is joint, that of the correlations is as well.
        eta = (0.6, 1.7, 4.0) if sds is None else 1.7
        priors = Priors(concentration=concentration, sds=sds, eta=eta, smallest_sd=smallest_sd, frame=frame)
        self.priors = priors.resolve(MemoryRows(self.X), K, self.family)
        self.space = Space(self.priors, self.family)
        self.model = build_resolved(self.X, self.family, self.priors, [f"x{d}" for d in range(D)])
        self.logp_dlogp = self.model.logp_dlogp_function(ravel_inputs=True)
        self.logp_dlogp.set_extra_values({})

    def points(self, n):
        rng = np.random.default_rng(3)
        return 0.7 * rng.normal(size=(n, self.space.n_dim))

    def log_posterior(self, q):
        """By SciPy and dense Jacobians, reading q on its own."""
        K, D = self.K, self.D
        y, means, log_sds, v = np.split(q, np.cumsum([K - 1, K * D, int(np.prod(self.space.sds_shape))]))
        weights, total = simplex(y)
        if K > 1:
            total += stats.dirichlet(self.priors.concentration).logpdf(weights)
        means = means.reshape(K, D)
        total += stats.norm(self.priors.means_loc, self.priors.means_scale).logpdf(means).sum()
        sds = np.exp(log_sds).reshape(self.space.sds_shape)
        total += log_sds.sum() + self.log_density_of_sds(sds)
        sds = {"tied": sds[None, :], "spherical": sds[:, None]}.get(self.family.name, sds) * np.ones((K, D))
        corr = np.tile(np.eye(D), (K, 1, 1))
        etas = self.priors.correlations.etas
        each = np.zeros(len(etas))
        for m, part in enumerate(v.reshape(-1, D * (D - 1) // 2) if v.size else []):
            pairs = [correlation(part, D, eta) for eta in etas]
            corr[m if self.family.name == "full" else slice(None)] = pairs[0][0]
            each += [log_density for _, log_density in pairs]
        total += logsumexp(each) - np.log(len(each))
        F, rounding = self.priors.frame.factor, self.priors.rounding
        covariances = F @ (sds[:, :, None] * corr * sds[:, None, :]) @ F.T + (0.0 if rounding is None else rounding)
        params = MixtureParams.from_covariances(weights, self.priors.frame.center + means @ F.T, covariances)
        return total + scipy_log_likelihood(self.X, params), params

    def log_density_of_sds(self, sds):
        """Independent ones by SciPy; logs that have a part in common are a multivariate normal for each column."""
        prior = self.priors.sds
        if not prior.is_joint:
            return prior.frozen().logpdf(sds).sum()
        if isinstance(prior, InverseGamma):  # the scale of a column's variances is gamma: quadrature
            columns, alpha, beta = (np.broadcast_to(a, sds.shape).reshape(self.K, -1) for a in (sds, prior.alpha, prior.beta))
            total = 0.0
            for own, shape, expected in zip(columns.T, alpha.T, beta.T, strict=True):

                def height(log_scale, own=own, shape=shape, expected=expected):
                    b = np.exp(log_scale)
                    given = stats.invgamma(shape, scale=b).logpdf(own**2) + np.log(2.0 * own)
                    prior_of_b = stats.gamma(prior.shared, scale=expected[0] / prior.shared).logpdf(b)
                    return np.exp(given.sum() + prior_of_b + log_scale)

                total += np.log(integrate.quad(height, -25.0, 8.0, limit=400, epsabs=0.0, epsrel=1e-11, points=[-5.0, 0.0])[0])
            return total
        logs, mu, sigma = (a.reshape(self.K, -1) for a in np.broadcast_arrays(np.log(sds), prior.mu, prior.sigma))
        each = [
            sum(
                stats.multivariate_normal(mu[:, i], np.diag((f * sigma[:, i]) ** 2) + prior.shared**2).logpdf(logs[:, i])
                for i in range(logs.shape[1])
            )
            for f in prior.factors
        ]
        return logsumexp(each) - np.log(len(each)) - logs.sum()


def simplex(y):
    """Weights, and the log of the determinant of the first K - 1 of them by y."""
    K = len(y) + 1
    z = np.append(y, -y.sum())
    weights = np.exp(z - logsumexp(z))
    softmax = np.diag(weights) - np.outer(weights, weights)
    by_y = (softmax @ np.vstack([np.eye(K - 1), -np.ones(K - 1)]))[:-1]
    return weights, np.linalg.slogdet(by_y)[1]


def correlation(v, D, eta):
    """Correlation matrix, and its log LKJ density plus the log of the determinant of its lower triangle by v."""

    def matrix(v):
        factor = np.eye(D, dtype=v.dtype)
        for value, place in zip(v, PLACES[D], strict=True):
            factor[place] = value
        factor /= np.sqrt((factor * factor).sum(1, keepdims=True))
        return factor @ factor.T

    step = 1e-30  # complex steps: derivatives to the last bit
    below = np.tril_indices(D, -1)
    columns = [matrix(v + 1j * step * direction)[below].imag / step for direction in np.eye(len(v))]
    k = np.arange(1, D)
    # Lewandowski, Kurowicka and Joe (2009), eq. 16
    constant = ((2 * eta - 2 + D - k) * (D - k)) @ np.full(D - 1, np.log(2))
    constant += ((D - k) * betaln(eta + (D - k - 1) / 2, eta + (D - k - 1) / 2)).sum()
    corr = matrix(v.astype(float))
    log_density = (eta - 1) * np.linalg.slogdet(corr)[1] - constant
    return corr, log_density + np.linalg.slogdet(np.column_stack(columns))[1]


@pytest.fixture(
    scope="module", params=CASES, ids=lambda case: f"{case[0]}-D{case[1]}-K{case[2]}-{type(case[3]).__name__}-{case[4:]}"
)
def case(request, interpreted):
    return Case(*request.param)


# PyMC computes the constant log(2) of its half-Student-t in single precision: 2e-9 off for every standard deviation.
CLOSE = {"rel": 1e-9, "abs": 1e-8}


def test_log_posterior_equals_scipy(case):
    for q in case.points(4):
        assert float(case.logp_dlogp(q)[0]) == pytest.approx(case.log_posterior(q)[0], **CLOSE)


def test_log_posterior_and_gradient_equal_the_compiled_density(case):
    density = LogPosterior(case.X, case.space)
    for q in case.points(4):
        value, gradient = density(q)
        expected, expected_gradient = case.logp_dlogp(q)
        assert value == pytest.approx(float(expected), **CLOSE)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-8, atol=1e-8)


def test_value_and_gradient_cost_one_pass(case):
    nodes = case.logp_dlogp._pytensor_function.maker.fgraph.toposort()
    assert [type(node.op).__name__ for node in nodes].count("MixtureLogLikelihood") == 1
    assert not any(type(node.op).__name__ == "MixtureLogDensity" for node in nodes)


def test_free_variables_come_in_the_order_of_the_space(case):
    names = [variable.name for variable in case.model.free_RVs]
    end = "" if case.priors.frame.is_identity and case.priors.rounding is None else "_in_frame"
    expected = ["weights"] * (case.K > 1) + [f"means{end}", f"sds{end}"] + [f"corr_cholesky{end}"] * (case.space.n_matrices > 0)
    assert names == expected
    sizes = [value.size for value in case.model.initial_point().values()]
    assert sizes == [size for size in case.space.sizes if size]


def test_names_dims_and_coords(case):
    dims = case.model.named_vars_to_dims
    assert dims["weights"] == ("component",)
    assert dims["means"] == ("component", "feature")
    direct = case.priors.is_direct
    assert dims["sds"] == (case.family.sds_dims if direct else ("component", "feature"))
    if not direct:
        along = "feature" if case.priors.frame.is_identity else "axis"
        assert dims["means_in_frame"] == ("component", along)
        assert dims["sds_in_frame"] == tuple(along if dim == "feature" else dim for dim in case.family.sds_dims)
    assert dims["covariances"] == ("component", "feature", "feature_bis")
    assert dims["x"] == dims["X"] == ("obs", "feature")
    assert ("corr" in dims) == (case.family.name in ("full", "tied") and case.D > 1)
    assert case.model.coords["component"] == tuple(range(case.K))


def as_draws(case, n=3):
    """A posterior group of n arbitrary points in two chains, and the same as MixtureParams."""
    params = case.space.constrain(case.points(2 * n).reshape(2, n, -1))
    inside = case.priors.from_data(params)
    end = "" if case.priors.is_direct else "_in_frame"
    values = {"weights": params.weights, f"means{end}": inside.means, f"sds{end}": case.space.family.free_sds(inside.sds)}
    if case.space.n_matrices:
        factors = inside.scale_tril / inside.sds[..., None]
        values[f"corr_cholesky{end}"] = factors if case.family.name == "full" else factors[:, :, 0]
    return xr.DataTree.from_dict({"posterior": dataset(values)}), params


def dataset(values):
    """Arrays of shape (chain, draw, ...) as a data set."""
    dims = {name: ("chain", "draw", *(f"{name}_{i}" for i in range(v.ndim - 2))) for name, v in values.items()}
    return xr.Dataset({name: (dims[name], value) for name, value in values.items()})


def test_pointwise_log_likelihood_equals_the_mixtures(case):
    tree, params = as_draws(case)
    with case.model:
        pm.compute_log_likelihood(tree, progressbar=False)
    found = tree["log_likelihood"]["x"]
    assert found.dims == ("chain", "draw", "obs")
    np.testing.assert_allclose(found, params.log_density(case.X), rtol=1e-10)


def test_deterministics_are_the_mixtures(case):
    tree, params = as_draws(case)
    with case.model:
        made = pm.compute_deterministics(tree["posterior"].to_dataset(), progressbar=False)
    np.testing.assert_allclose(made["covariances"], params.covariances, rtol=1e-8, atol=1e-10)
    if not case.priors.is_direct:
        np.testing.assert_allclose(made["means"], params.means, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(made["sds"], params.sds, rtol=1e-8)
    if "corr" in made:
        np.testing.assert_allclose(made["corr"], params.correlations, atol=1e-10)


def test_prior_and_posterior_predictive_draws(case):
    with case.model:
        prior = pm.sample_prior_predictive(5, random_seed=1)
        tree, _ = as_draws(case)
        predictive = pm.sample_posterior_predictive(tree, random_seed=1, progressbar=False)
    assert prior["prior_predictive"]["x"].shape == (1, 5, N, case.D)
    assert np.isfinite(prior["prior_predictive"]["x"]).all()
    assert predictive["posterior_predictive"]["x"].dims == ("chain", "draw", "obs", "feature")
    assert predictive["posterior_predictive"]["x"].shape == (2, 3, N, case.D)


# --- Draws follow the mixture ---


def test_posterior_predictive_draws_have_the_mixtures_moments(interpreted):
    rng = np.random.default_rng(1)
    params = random_mixture(rng, 3, 2)
    model = build_model(rng.normal(size=(2000, 2)), 3, priors=Priors(frame="columns"))
    draw = {
        "weights": params.weights,
        "means": params.means,
        "sds": params.sds,
        "corr_cholesky": params.scale_tril / params.sds[..., None],
    }
    posterior = dataset({name: value[None, None] for name, value in draw.items()})
    with model:
        made = pm.sample_posterior_predictive(posterior, random_seed=2, progressbar=False)
    x = made["posterior_predictive"]["x"].to_numpy()[0, 0]
    mean = params.weights @ params.means
    shift = params.means - mean
    covariance = np.einsum("k,kij->ij", params.weights, params.covariances + shift[:, :, None] * shift[:, None, :])
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * np.sqrt(np.diag(covariance) / len(x)))
    # A projection's distribution is a mixture of univariate Normals: compare it whole.
    direction = np.array([1.0, -0.5])
    sds = np.sqrt(np.einsum("i,kij,j->k", direction, params.covariances, direction))

    def cdf(t):
        return stats.norm.cdf(np.asarray(t)[..., None], params.means @ direction, sds) @ params.weights

    assert stats.kstest(x @ direction, cdf).pvalue > 1e-3


# --- At equal parameters, all roads to the responsibilities agree ---


@pytest.fixture(scope="module")
def tiny():
    """Four points, two components: few enough allocations to write them all down."""
    rng = np.random.default_rng(11)
    params = random_mixture(rng, 2, 2)
    return params, params.sample(4, rng)[0]


def test_responsibilities_agree_with_pymcs_own_log_densities(tiny, interpreted):
    params, X = tiny
    joint = np.column_stack(
        [
            pm.logp(pm.MvNormal.dist(mu=m, chol=L), X).eval() + pm.logp(pm.Categorical.dist(p=params.weights), k).eval()
            for k, (m, L) in enumerate(zip(params.means, params.scale_tril, strict=True))
        ]
    )
    by_pymc = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    posterior = params.reshape(1, 1)
    np.testing.assert_allclose(params.responsibilities(X), by_pymc, atol=1e-10)
    np.testing.assert_allclose(posterior.responsibilities(X)[0, 0], by_pymc, atol=1e-10)


def test_responsibilities_and_likelihood_equal_enumeration_of_all_allocations(tiny, interpreted):
    params, X = tiny
    allocations = list(product(range(2), repeat=len(X)))
    log_joint = scipy_log_joint(X, params)
    weight = np.array([log_joint[np.arange(len(X)), list(a)].sum() for a in allocations])
    evidence = logsumexp(weight)
    probability = np.exp(weight - evidence)
    by_hand = np.array([[probability[[a[i] == k for a in allocations]].sum() for k in range(2)] for i in range(len(X))])
    np.testing.assert_allclose(params.responsibilities(X), by_hand, atol=1e-10)
    log_density = mixture_log_density(params.log_weights, params.means, params.scale_tril, X).eval()
    assert log_density.sum() == pytest.approx(evidence, abs=1e-10)
    assert params.log_density(X).sum() == pytest.approx(evidence, abs=1e-10)


# --- The public function ---


def test_columns_name_the_features():
    X = pd.DataFrame({"height": [1.0, 2, 5, 6, 9], "weight": [3.0, 1, 4, 1, 5]})
    model = build_model(X, 2)
    assert model.coords["feature"] == model.coords["feature_bis"] == ("height", "weight")


def test_other_data_can_be_set(interpreted):
    """The data are not baked in: rows may change in value and number."""
    rng = np.random.default_rng(0)
    model = build_model(rng.normal(size=(8, 1)), 2)
    log_likelihood = model.compile_logp(model.observed_RVs)
    point = model.initial_point()
    first = log_likelihood(point)
    with model:
        pm.set_data({"X": np.vstack([model["X"].get_value()] * 2)})
    assert log_likelihood(point) == pytest.approx(2 * first, rel=1e-12)


def test_default_priors_are_those_of_priors(interpreted):
    X = np.random.default_rng(0).normal(size=(9, 2))
    points = {}
    for priors in (None, Priors()):
        model = build_model(X, 2, "diag", priors)
        points[priors is None] = model.compile_logp()(model.initial_point())
    assert points[True] == points[False]


@pytest.mark.parametrize(
    ("X", "K", "how", "error", "words"),
    [
        (np.ones(5), 2, "full", InvalidDataError, "one dimension"),
        ([[1.0], [np.nan], [3.0]], 2, "full", InvalidDataError, "NaN"),
        ([[1.0], [1.0], [1.0]], 2, "full", InvalidDataError, "same value"),
        ([[1.0], [2.0], [3.0]], 0, "full", InvalidParameterError, "n_components"),
        ([[1.0], [2.0], [3.0]], 1.5, "full", InvalidParameterError, "n_components"),
        ([[1.0], [2.0], [3.0]], 2, "round", InvalidParameterError, "covariance_type"),
    ],
)
def test_bad_input_is_one_clear_error(X, K, how, error, words):
    with pytest.raises(error, match=words):
        build_model(X, K, how)


def test_a_prior_of_the_wrong_shape_is_one_clear_error():
    with pytest.raises(InvalidParameterError, match="concentration"):
        build_model([[1.0], [2.0], [3.0], [4.0]], 2, priors=Priors(concentration=[1.0, 2.0, 3.0]))
