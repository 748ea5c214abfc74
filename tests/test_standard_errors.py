"""Standard errors: scores and information against finite differences, closed forms, simulation, and each other."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.covariance import family
from bayesgmm.em.bootstrap import Original, Refit, resample
from bayesgmm.em.coordinates import Coordinates
from bayesgmm.em.fisher_information import add_information, in_coordinates, row_scores, standard_errors
from bayesgmm.em.fit import Start
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.kernels.linalg import raise_eigenvalues
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows
from tests.conftest import fit_rows, random_mixture, scipy_log_joint

NAMES = ["full", "tied", "diag", "spherical"]
PARTS = ["weights", "means", "sds", "covariances"]


def fit(X, K, name="full", start=None, **changes):
    how = {"tol": 1e-11, "max_iter": 5000, "seeds": np.random.SeedSequence(0)} | changes
    start = Start() if start is None else Start(start.weights, start.means, start.covariances)
    return fit_rows(X, K, name, start=start, **how).params


def information(X, params, kind, weight=None):
    rows = MemoryRows(X, weight)
    return add_information(rows, params, kind, in_coordinates(rows, params, kind)[0])


def apart(D=2):
    """Two components that are far apart: nearly two separate normal samples."""
    means = np.zeros((2, D))
    means[1] = 8.0
    factors = np.stack([np.eye(D), np.tril(np.full((D, D), 0.3)) + np.eye(D)])
    return MixtureParams([0.4, 0.6], means, factors)


def central(function, point, step):
    """Derivatives of a function of a vector by central differences with one Richardson step: (..., P)."""

    def slopes(h):
        return np.stack([(function(point + e) - function(point - e)) / (2 * h) for e in h * np.eye(len(point))], axis=-1)

    return (4 * slopes(step / 2) - slopes(step)) / 3


@pytest.fixture(scope="module")
def faithful_fit(faithful):
    X = np.ascontiguousarray(faithful)
    return X, fit(X, 2)


@pytest.fixture(scope="module")
def replicates_of_faithful(faithful_fit):
    X, params = faithful_fit
    return {
        kind: resample(MemoryRows(X), params, family("full"), kind=kind, n_replicates=300, seeds=np.random.SeedSequence(1))
        for kind in ("nonparametric", "parametric", "weighted", "jackknife")
    }


# ---------------------------------------------------------------------------------------------------- coordinates


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("K", "D"), [(1, 1), (3, 2), (2, 4)])
def test_the_vector_has_the_familys_length_and_gives_the_mixture_back(name, K, D, rng):
    params = random_mixture(rng, K, D, batch=(5,), covariance_type=name)
    coordinates = Coordinates.of(family(name), K, D)
    vectors = coordinates.vector(params)
    assert vectors.shape == (5, family(name).n_parameters(K, D))
    again = coordinates.params(vectors)
    for part in PARTS:
        np.testing.assert_allclose(getattr(again, part), getattr(params, part), rtol=1e-12, atol=1e-14)


def test_a_family_without_such_coordinates_is_refused():
    with pytest.raises(InvalidParameterError, match=r"not for 'VEV': use the bootstrap"):
        Coordinates.of(family("VEV"), 2, 3)


@pytest.mark.parametrize("name", ["tied", "diag", "spherical", "EEI"])
def test_a_mixture_of_another_family_is_refused(name, rng):
    with pytest.raises(InvalidParameterError, match="not of the given family"):
        Coordinates.of(family(name), 2, 3).vector(random_mixture(rng, 2, 3))


# ---------------------------------------------------------------------------------------------- scores, information


@pytest.mark.parametrize("name", [*NAMES, "EII", "EEI"])
@pytest.mark.parametrize(("K", "D"), [(1, 1), (3, 1), (2, 3)])
def test_scores_and_information_are_derivatives_of_scipys_log_likelihood(name, K, D, rng):
    fam = family(name)
    coordinates = Coordinates.of(fam, K, D)
    vector = rng.normal(size=fam.n_parameters(K, D)) * 0.5
    params = coordinates.params(vector)
    np.testing.assert_allclose(coordinates.vector(params), vector, rtol=1e-9, atol=1e-12)
    X, weight = params.sample(40, rng)[0], rng.uniform(0.0, 3.0, 40)

    def log_density(v):
        return logsumexp(scipy_log_joint(X, coordinates.params(v)), axis=1)

    def total_score(v):
        return weight @ row_scores(MemoryRows(X), coordinates.params(v), fam)

    scores = row_scores(MemoryRows(X), params, fam)
    np.testing.assert_allclose(scores, central(log_density, vector, 1e-3), rtol=1e-7, atol=1e-7)
    found = information(X, params, fam, weight)
    np.testing.assert_allclose(found.score, weight @ scores, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.empirical, (scores.T * weight) @ scores, rtol=1e-10, atol=1e-10)
    hessian = central(total_score, vector, 1e-3)
    np.testing.assert_allclose(found.observed, -hessian, rtol=1e-7, atol=1e-7 * np.abs(hessian).max())


@pytest.mark.parametrize("name", [*NAMES, "EII", "EEI"])
def test_scores_and_information_of_rows_with_gaps_are_derivatives_of_their_marginal_densities(name, rng):
    fam, K, D = family(name), 2, 3
    coordinates = Coordinates.of(fam, K, D)
    vector = rng.normal(size=fam.n_parameters(K, D)) * 0.5
    params = coordinates.params(vector)
    X, weight = params.sample(30, rng)[0], rng.uniform(0.0, 3.0, 30)
    X[rng.random(X.shape) < 0.3] = np.nan
    X[0] = np.nan

    def log_density(v):
        mixture, out = coordinates.params(v), np.zeros(len(X))
        for i, row in enumerate(X):
            o = np.flatnonzero(~np.isnan(row))
            if len(o):
                parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
                out[i] = np.log(sum(w * stats.multivariate_normal.pdf(row[o], m[o], S[np.ix_(o, o)]) for w, m, S in parts))
        return out

    scores = row_scores(MemoryRows(X), params, fam)
    np.testing.assert_allclose(scores, central(log_density, vector, 1e-3), rtol=1e-7, atol=1e-7)
    hessian = central(lambda v: weight @ row_scores(MemoryRows(X), coordinates.params(v), fam), vector, 1e-3)
    found = information(X, params, fam, weight)
    np.testing.assert_allclose(found.observed, -hessian, rtol=1e-7, atol=1e-7 * np.abs(hessian).max())
    np.testing.assert_allclose(found.empirical, (scores.T * weight) @ scores, rtol=1e-10, atol=1e-10)


def test_gaps_cost_certainty(rng):
    """A third of a column's values are missing: errors grow, those of that column most; the bootstrap agrees."""
    X = random_mixture(rng, 2, 2).sample(600, rng)[0]
    whole = bg.GaussianMixture(2, random_state=0).fit(X)
    gappy = X.copy()
    gappy[::3, 0] = np.nan
    em = bg.GaussianMixture(2, init_params=whole).fit(gappy)
    here, there = em.standard_errors("observed"), whole.standard_errors("observed")
    assert (here.means[:, 0] > there.means[:, 0]).all()
    refits = em.standard_errors("nonparametric", n_replicates=200, random_state=1)
    np.testing.assert_allclose(here.means, refits.means, rtol=0.3)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_blocks_of_rows_change_nothing(missing, rng, monkeypatch):
    params = random_mixture(rng, 3, 2)
    X, weight = params.sample(100, rng)[0], rng.uniform(size=100)
    X[rng.random(X.shape) < missing] = np.nan
    whole = information(X, params, family("full"), weight)
    monkeypatch.setattr("bayesgmm.em.fisher_information._NUMBERS", 500)
    for one, other in zip(information(X, params, family("full"), weight), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-9)


def test_a_weight_of_two_is_the_row_twice(faithful_fit):
    X, params = faithful_fit
    twice = np.concatenate([X, X[:100]])
    weight = np.where(np.arange(len(X)) < 100, 2.0, 1.0)
    for one, other in zip(information(X, params, family("full"), weight), information(twice, params, family("full")), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-8)


# --------------------------------------------------------------------------------------------------- standard errors


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["sandwich", "observed", "empirical"])
def test_errors_of_one_component_are_the_textbooks(name, kind, rng):
    N, D = 20_000, 3
    X = np.full(3, 2.0) * rng.normal(size=(N, D)) + [0.0, 5.0, -1e4]
    if name != "spherical":
        X = X * [1.0, 10.0, 0.1]
    params = fit(X, 1, name)
    errors = standard_errors(MemoryRows(X), params, family(name), kind)
    # Exact for a mean under the observed information and the sandwich; the others come near it as N grows.
    sd = params.sds[0]
    rtol = 1e-6 if kind == "observed" else 0.05
    shared = D if name == "spherical" else 1
    np.testing.assert_allclose(errors.weights, 0.0, atol=1e-12)
    np.testing.assert_allclose(errors.means[0], sd / np.sqrt(N), rtol=rtol)
    np.testing.assert_allclose(errors.sds[0], sd / np.sqrt(2 * N * shared), rtol=rtol)
    np.testing.assert_allclose(np.diag(errors.covariances[0]), sd**2 * np.sqrt(2 / (N * shared)), rtol=rtol)
    if name in ("full", "tied"):
        covariance = params.covariances[0]
        between = np.sqrt((np.outer(sd, sd) ** 2 + covariance**2) / N)  # Wishart: (s_ii s_jj + s_ij^2) / N
        np.testing.assert_allclose(errors.covariances[0][~np.eye(D, dtype=bool)], between[~np.eye(D, dtype=bool)], rtol=rtol)
    assert errors.note == ""


def test_the_sandwich_of_a_mean_and_a_variance_is_exact_for_any_data(rng):
    """Whatever the distribution, the sandwich gives the moment estimators: var / N, and (fourth moment - var^2) / N."""
    X = rng.standard_exponential((300, 1))
    centred = X - X.mean()
    errors = standard_errors(MemoryRows(X), fit(X, 1), family("full"))
    np.testing.assert_allclose(errors.means[0, 0], X.std() / np.sqrt(300), rtol=1e-6)
    np.testing.assert_allclose(errors.covariances[0, 0, 0], np.sqrt(((centred**4).mean() - X.var() ** 2) / 300), rtol=1e-6)


def test_weights_far_apart_have_binomial_errors(rng):
    X = apart().sample(500, rng)[0]
    params = fit(X, 2, start=apart())
    w = params.weights
    errors = standard_errors(MemoryRows(X), params, family("full"), "observed")
    np.testing.assert_allclose(errors.weights, np.sqrt(w * (1 - w) / 500), rtol=1e-2)
    np.testing.assert_allclose(errors.means, params.sds / np.sqrt(500 * w)[:, None], rtol=1e-2)


def test_units_pass_through(faithful_fit):
    X, params = faithful_fit
    scale = np.array([1e4, 1e-3])
    other = MixtureParams(params.weights, params.means * scale + 1e3, scale[:, None] * params.scale_tril)
    one, two = (standard_errors(MemoryRows(x), p, family("full")) for x, p in ((X, params), (X * scale + 1e3, other)))
    np.testing.assert_allclose(two.weights, one.weights, rtol=1e-6)
    np.testing.assert_allclose(two.means, one.means * scale, rtol=1e-6)
    np.testing.assert_allclose(two.covariances, one.covariances * np.outer(scale, scale), rtol=1e-6)


def test_intervals_cover_as_often_as_they_say(rng):
    """Of 300 samples of 300 rows, 95 % intervals hold the truth in about 285: binomial sd 3.8."""
    truth = MixtureParams([0.4, 0.6], [[0.0], [4.0]], [[[1.0]], [[1.2]]])
    held, held_by_half = [], []
    for _ in range(300):
        X = truth.sample(300, rng)[0]
        params = MixtureParams(
            *Refit.of(Original(MemoryRows(X), truth), family("full"), 1e-9, 1000, None)([MemoryRows(X)])[0].mixture
        )
        for kind in ("sandwich", "observed"):
            errors = standard_errors(MemoryRows(X), params, family("full"), kind)
            off = np.abs(np.concatenate([params.means - truth.means, params.sds - truth.sds])).ravel()
            error = np.concatenate([errors.means, errors.sds]).ravel()
            held.append(off < 1.96 * error)
            held_by_half.append(off < 0.98 * error)
    share = np.reshape(held, (300, 2, 4)).mean(0)
    assert (share > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 300)).all()
    assert (share < 0.95 + 4 * np.sqrt(0.95 * 0.05 / 300)).all()
    assert (np.reshape(held_by_half, (300, 2, 4)).mean(0) < 0.8).all()  # so intervals half as wide would be found out


def test_draws_have_the_errors_as_their_spread(faithful_fit):
    X, params = faithful_fit
    errors = standard_errors(MemoryRows(X), params, family("full"))
    draws = errors.draws(4000, np.random.default_rng(3))
    assert draws.batch_shape == (4000,)
    vectors = errors.coordinates.vector(draws)
    np.testing.assert_allclose(vectors.mean(0), errors.vector, atol=5 / np.sqrt(4000) * np.sqrt(np.diag(errors.covariance)).max())
    scale = np.sqrt(np.diag(errors.covariance))
    np.testing.assert_allclose(np.cov(vectors.T) / np.outer(scale, scale), errors.covariance / np.outer(scale, scale), atol=0.1)
    for part in PARTS:  # the delta method is the first order of what the draws do exactly
        np.testing.assert_allclose(getattr(draws, part).std(0), getattr(errors, part), rtol=0.15)


def test_two_equal_components_have_no_errors_and_a_sentence(rng):
    X = rng.normal(size=(50, 2))
    one = fit(X, 1)
    params = MixtureParams([0.5, 0.5], np.repeat(one.means, 2, 0), np.repeat(one.scale_tril, 2, 0))
    for kind in ("sandwich", "observed", "empirical"):
        errors = standard_errors(MemoryRows(X), params, family("full"), kind)
        assert np.isnan(errors.means).all()
        assert np.isnan(errors.covariance).all()
        assert "no regular maximum" in errors.note
    with pytest.raises(InvalidParameterError, match="nothing to draw from"):
        errors.draws(3, rng)


def test_a_weight_of_zero_has_a_sentence(rng):
    X = rng.normal(size=(50, 1))
    params = MixtureParams([1.0, 0.0], [[0.0], [3.0]], np.ones((2, 1, 1)))
    errors = standard_errors(MemoryRows(X), params, family("full"))
    assert np.isnan(errors.weights).all()
    assert "weight of zero" in errors.note
    with pytest.raises(InvalidParameterError, match="weight of zero"):
        row_scores(MemoryRows(X), params, family("full"))


def test_a_fit_that_is_not_at_a_maximum_is_told(faithful_fit):
    X, params = faithful_fit
    moved = MixtureParams(params.weights, params.means + 0.02, params.scale_tril)
    assert standard_errors(MemoryRows(X), params, family("full")).note == ""
    note = standard_errors(MemoryRows(X), moved, family("full")).note
    assert "could still grow by about" in note


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"kind": "jackknife"}, InvalidParameterError, "kind must be one of 'sandwich'"),
        ({"rows": MemoryRows(np.ones((4, 3)))}, InvalidDataError, r"rows must have shape \(N, 2\)"),
    ],
)
def test_what_cannot_be_used_is_refused(faithful_fit, change, error, match):
    X, params = faithful_fit
    with pytest.raises(error, match=match):
        standard_errors(**({"rows": MemoryRows(X), "params": params, "family": family("full")} | change))


# ------------------------------------------------------------------------------------------- replicates: EM on each


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("D", [1, 2, 5])
def test_compiled_em_ends_where_em_does(name, D, rng):
    X = random_mixture(rng, 3, D, covariance_type=name).sample(150, rng)[0]
    start = fit(X, 2, name, tol=1e-4)
    weight = rng.multinomial(150, np.full(150, 1 / 150)).astype(float)
    # On its way, after a few iterations, so that this does not depend on when either takes itself to be done.
    for how in ({"max_iter": 7}, {"max_iter": 7, "reg_covar": 0.1}):
        refit = Refit.of(Original(MemoryRows(X), start), family(name), 0.0, how["max_iter"], how.get("reg_covar"))
        assert refit.is_compiled
        weights, means, scale_tril = refit([MemoryRows(X, weight)])[0].mixture
        other = fit(X, 2, name, start, tol=0.0, n_init=1, sample_weight=weight, in_one_call=False, **how)
        np.testing.assert_allclose(weights, other.weights, rtol=1e-8)
        np.testing.assert_allclose(means, other.means, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(scale_tril, other.scale_tril, rtol=1e-8, atol=1e-9)


def test_replicates_made_together_are_those_made_alone(faithful):
    X = np.ascontiguousarray(faithful)
    refit = Refit.of(Original(MemoryRows(X), fit(X, 2, "full")), family("full"), 1e-9, 2000, None)
    rng = np.random.default_rng(7)
    weights = [*(rng.standard_exponential(len(X)) for _ in range(3)), np.arange(len(X)) % 2.0]
    together = refit([MemoryRows(X, weight) for weight in weights])
    for weight, found in zip(weights, together, strict=True):
        alone = refit([MemoryRows(X, weight)])[0]
        for mine, other in zip(found.mixture, alone.mixture, strict=True):
            np.testing.assert_array_equal(mine, other)
    there = np.ascontiguousarray(X[1::2])  # a weight of zero is a row that is not there
    np.testing.assert_allclose(together[3].mixture[1], refit([MemoryRows(there, np.ones(len(there)))])[0].mixture[1], rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_every_replicate_is_at_a_maximum(name, faithful):
    X = np.ascontiguousarray(faithful)
    params, fam = fit(X, 2, name), family(name)
    refit = Refit.of(Original(MemoryRows(X), params), fam, 1e-9, 2000, None)
    weight = np.random.default_rng(5).standard_exponential(len(X))
    found = refit([MemoryRows(X, weight)])[0]
    assert found.converged
    at = information(X, MixtureParams(*found.mixture), fam, weight)
    assert at.score @ np.linalg.solve(at.observed, at.score) / 2 < 1e-5  # nats that a Newton step would gain


@pytest.mark.parametrize("D", [1, 2, 5])
def test_raised_eigenvalues_are_numpys(D, rng):
    matrix = (lambda a: a @ a.T)(rng.normal(size=(D, D)))
    values, vectors = np.linalg.eigh(matrix)
    for floor in (values[0] / 2, values[0] * 1.5, values[-1] * 2):
        found = matrix.copy()
        assert raise_eigenvalues(found, floor) == (floor > values[0])
        np.testing.assert_allclose(found, (vectors * np.maximum(values, floor)) @ vectors.T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_the_floor_is_ems(name, rng):
    """Rows of one component that are all alike leave it on the floor, in any units."""
    X = np.concatenate([rng.normal(size=(60, 3)), np.full((20, 3), 6.0)]) * [1.0, 100.0, 0.01]
    if name == "spherical":
        X = X / [1.0, 100.0, 0.01]
    labels = np.arange(80) >= 60
    start = MixtureParams.from_covariances(
        [0.75, 0.25], [X[~labels].mean(0), X[labels].mean(0)], np.stack([np.diag(X.var(0)) / 10] * 2)
    )
    if name == "spherical":
        start = MixtureParams(start.weights, start.means, np.stack([np.eye(3) * X.std()] * 2))
    refit = Refit.of(Original(MemoryRows(X), start), family(name), 1e-9, 500, None)
    found = refit([MemoryRows(X)])[0]
    assert found.at_floor == (name != "tied")
    other = fit(X, 2, name, start, tol=1e-9, in_one_call=False)
    np.testing.assert_allclose(found.mixture[2], other.scale_tril, rtol=1e-4, atol=1e-6 * np.abs(other.scale_tril).max())


def test_a_replicate_that_collapses_without_a_floor_is_counted(rng):
    X = np.concatenate([rng.normal(size=(60, 1)), np.full((20, 1), 9.0)])
    start = MixtureParams([0.75, 0.25], [[0.0], [9.0]], np.ones((2, 1, 1)))
    found = resample(MemoryRows(X), start, family("full"), n_replicates=20, reg_covar=0.0, seeds=np.random.SeedSequence(1))
    assert found.at_floor.all()
    assert np.isfinite(found.params.scale_tril).all()


def test_the_general_road_agrees_with_the_compiled_one(faithful_fit):
    """Rows with gaps, or very many, go through fit_em."""
    X, params = faithful_fit
    refit = Refit.of(Original(MemoryRows(X), params), family("full"), 1e-10, 1000, None)
    weight = np.random.default_rng(8).standard_exponential(len(X))
    (fast,), (slow,) = refit([MemoryRows(X, weight)]), replace(refit, is_compiled=False)([MemoryRows(X, weight)])
    for one, other in zip(fast.mixture, slow.mixture, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert fast.converged
    assert slow.converged


# ------------------------------------------------------------------------------------------------ replicates: kinds


def test_kinds_agree_on_a_large_sample_of_groups_far_apart(rng):
    X = apart().sample(3000, rng)[0]
    params = fit(X, 2, start=apart())
    sandwich = standard_errors(MemoryRows(X), params, family("full"))
    for kind in ("nonparametric", "parametric", "weighted"):
        found = resample(MemoryRows(X), params, family("full"), kind=kind, n_replicates=400, seeds=np.random.SeedSequence(2))
        errors = found.standard_errors()
        assert found.converged.all()
        assert found.ambiguous_share == 0.0
        assert found.margin.min() > 0.9
        for part in PARTS:  # relative error of a standard deviation of 400: 3.5 %
            np.testing.assert_allclose(getattr(errors, part), getattr(sandwich, part), rtol=0.2)


def test_jackknife_of_one_component_is_the_textbooks(rng):
    X = rng.standard_exponential((80, 2))
    found = resample(MemoryRows(X), fit(X, 1), family("full"), kind="jackknife", tol=1e-13)
    assert found.params.batch_shape == (80,)
    np.testing.assert_allclose(found.params.means[7, 0], np.delete(X, 7, axis=0).mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.standard_errors().means[0], X.std(0, ddof=1) / np.sqrt(80), rtol=1e-6)


def test_jackknife_of_frequencies_is_that_of_the_repeated_rows(rng):
    X, frequency = rng.normal(size=(30, 1)), np.resize([1.0, 2.0, 0.0, 3.0], 30)
    repeated = np.repeat(X, frequency.astype(int), axis=0)
    params = fit(repeated, 1)
    one = resample(MemoryRows(X, frequency), params, family("full"), kind="jackknife")
    other = resample(MemoryRows(repeated), params, family("full"), kind="jackknife")
    assert one.params.batch_shape == (int((frequency > 0).sum()),)
    np.testing.assert_allclose(one.standard_errors().covariances, other.standard_errors().covariances, rtol=1e-6)
    with pytest.raises(InvalidDataError, match="whole numbers"):
        resample(MemoryRows(X, frequency / 2), params, family("full"), kind="jackknife")


@pytest.mark.parametrize("kind", ["nonparametric", "weighted", "parametric"])
def test_frequencies_stand_for_repeated_rows(kind, rng):
    """The error of a mean is that of as many rows as the frequencies add up to."""
    X = rng.normal(size=(40, 1))
    frequency = np.full(40, 25.0)
    params = fit(X, 1)
    rows = MemoryRows(X, frequency)
    found = resample(rows, params, family("full"), kind=kind, n_replicates=400, seeds=np.random.SeedSequence(3))
    np.testing.assert_allclose(found.standard_errors().means, X.std() / np.sqrt(1000), rtol=0.2)


def test_kinds_agree_on_faithful(replicates_of_faithful, faithful_fit):
    X, params = faithful_fit
    sandwich = standard_errors(MemoryRows(X), params, family("full"))
    for kind, found in replicates_of_faithful.items():
        assert found.params.batch_shape == ((272,) if kind == "jackknife" else (300,))
        assert found.converged.all()
        assert not found.at_floor.any()
        np.testing.assert_allclose(found.standard_errors().means, sandwich.means, rtol=0.25)


def test_the_same_seed_gives_the_same_bits_with_any_number_of_threads(faithful_fit, monkeypatch):
    X, params = faithful_fit
    found = []
    for threads in ("1", "2", "2"):
        monkeypatch.setenv("BAYESGMM_NUM_THREADS", threads)
        found.append(resample(MemoryRows(X), params, family("full"), n_replicates=50, seeds=np.random.SeedSequence(7)))
    for other in found[1:]:
        for part in PARTS:
            np.testing.assert_array_equal(getattr(other.params, part), getattr(found[0].params, part))
        np.testing.assert_array_equal(other.margin, found[0].margin)


def test_labels_are_the_fits_whatever_its_order(faithful_fit):
    X, params = faithful_fit
    swapped = params.permute([1, 0])
    one, other = (
        resample(MemoryRows(X), p, family("full"), n_replicates=20, seeds=np.random.SeedSequence(7)).params
        for p in (params, swapped)
    )
    np.testing.assert_allclose(other.means[:, ::-1], one.means, rtol=1e-8)


@pytest.mark.parametrize("kind", ["nonparametric", "parametric", "weighted"])
def test_the_error_of_a_mean_is_that_of_the_values_there_are(kind, rng):
    X = rng.normal(size=(200, 2))
    X[rng.permutation(200)[:120], 0] = np.nan
    params = fit(X, 1)
    errors = resample(
        MemoryRows(X), params, family("full"), kind=kind, n_replicates=100, seeds=np.random.SeedSequence(3)
    ).standard_errors()
    np.testing.assert_allclose(errors.means[0], params.sds[0] / np.sqrt([80, 200]), rtol=4 / np.sqrt(2 * 100))


def test_replicates_are_matched_even_where_every_row_has_a_gap(rng):
    X = apart().sample(60, rng)[0]
    X[np.arange(60), np.arange(60) % 2] = np.nan
    found = resample(MemoryRows(X), apart(), family("full"), n_replicates=3, max_iter=3, seeds=np.random.SeedSequence(3))
    assert (found.margin > 0.9).all()


def test_components_that_coincide_are_ambiguous(rng):
    X = rng.normal(size=(100, 2))
    close = MixtureParams([0.5, 0.5], [[0.0, 0.0], [1e-3, 0.0]], np.stack([np.eye(2)] * 2))
    found = resample(MemoryRows(X), close, family("spherical"), n_replicates=20, max_iter=1, seeds=np.random.SeedSequence(1))
    assert found.ambiguous_share == 1.0
    assert not found.converged.any()


def test_the_margin_is_that_of_the_best_other_permutation(rng):
    """By trying them all on three components."""
    params = random_mixture(rng, 3, 2)
    X = params.sample(200, rng)[0]
    found = resample(MemoryRows(X), params, family("full"), n_replicates=10, max_iter=5, seeds=np.random.SeedSequence(5))
    q = params.responsibilities(X)
    for t in range(10):
        r = found.params[t].responsibilities(X)
        agreement = {p: (r[:, p] * q).sum() for p in permutations(range(3))}
        own = agreement.pop((0, 1, 2))
        assert found.margin[t] == pytest.approx(1 - max(agreement.values()) / own, abs=1e-9)


def test_progress_is_told_as_it_is_made(faithful_fit):
    X, params = faithful_fit
    seen = []
    resample(MemoryRows(X), params, family("full"), n_replicates=40, on_replicate=lambda done, total: seen.append((done, total)))
    assert seen == [(16, 40), (32, 40), (40, 40)]


def test_one_replicate_has_no_spread(faithful_fit):
    X, params = faithful_fit
    assert np.isnan(resample(MemoryRows(X), params, family("full"), n_replicates=1).standard_errors().means).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [({"kind": "bag"}, "kind must be one of 'nonparametric'"), ({"n_replicates": 0}, "n_replicates must be at least 1")],
)
def test_settings_that_cannot_be_used_are_refused(faithful_fit, change, match):
    X, params = faithful_fit
    with pytest.raises(InvalidParameterError, match=match):
        resample(MemoryRows(X), params, family("full"), **change)
