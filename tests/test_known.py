"""What is known of rows beside their values: labels, errors of measurement, rows that belong together."""

import pickle
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import beta, chi2, multivariate_normal, norm
from sklearn.datasets import load_iris

import bayesgmm as bg
from bayesgmm import expectation as ex
from bayesgmm.bayes.log_posterior import LogPosterior, log_prior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.criticism import loo, predictive_checks
from bayesgmm.em.degeneracy import examine
from bayesgmm.em.m_step import Mixture, Settings
from bayesgmm.em.penalties import penalty_of
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.labels import align
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import draw_labels, occupied_components, similarity
from bayesgmm.partitions.doubt import row_summary
from bayesgmm.partitions.number_of_groups import mean_occupied
from bayesgmm.priors import Priors
from bayesgmm.report.group_names import GroupNames
from bayesgmm.rows import Chunk, Known, MemoryRows, rows_with
from tests.conftest import random_mixture

FOUR = ["full", "tied", "diag", "spherical"]


# The E-step by covariance matrices


class Direct(NamedTuple):
    """What rows are under a mixture, row by row: responsibilities (N, K), log-densities (N,) and so on."""

    r: np.ndarray
    log_density: np.ndarray
    value: np.ndarray
    """Expectations (N, K, D) of the values behind the rows, and their covariances (N, K, D, D), given each component."""
    left: np.ndarray
    sets: np.ndarray
    weight: np.ndarray

    @property
    def total(self):
        counts = self.weight > 0
        return self.weight[counts] @ self.log_density[counts]


def error_covariances(known, N, D):
    if known.error_of is None:
        return np.zeros((N, D, D))
    return (known.error_tril @ known.error_tril.swapaxes(-1, -2))[known.error_of]


def direct(X, params, known, weight=None):
    (N, D), K = X.shape, params.n_components
    E = error_covariances(known, N, D)
    weight, sets = np.ones(N) if weight is None else weight, np.arange(N) if known.sets is None else known.sets
    own, value, left = np.zeros((N, K)), np.zeros((N, K, D)), np.zeros((N, K, D, D))
    for i, x in enumerate(X):
        o = np.flatnonzero(~np.isnan(x))
        for k, (mu, S) in enumerate(zip(params.means, params.covariances, strict=True)):
            value[i, k], left[i, k] = mu, S
            if len(o):
                T = (S + E[i])[np.ix_(o, o)]
                own[i, k] = multivariate_normal(mu[o], T).logpdf(x[o])
                gain = np.linalg.solve(T, S[o]).T
                value[i, k], left[i, k] = mu + gain @ (x[o] - mu[o]), S - gain @ S[o]
    own += 0.0 if known.log_weights is None else known.log_weights
    r, log_density = np.zeros((N, K)), np.zeros(N)
    for s in np.unique(sets):
        members = np.flatnonzero(sets == s)
        times = weight[members] if len(members) > 1 else np.ones(1)
        joint = params.log_weights + times @ own[members]
        together = logsumexp(joint)
        r[members], log_density[members] = np.exp(joint - together), together / times.sum()
    return Direct(r, log_density, value, left, sets, weight)


def statistics_by_hand(found, params):
    """Counts of rows and of labels, and moments in coordinates whitened by each component."""
    whiten = np.linalg.inv(params.scale_tril)
    z = np.einsum("kde,ike->ikd", whiten, found.value - params.means)
    spread = whiten @ found.left @ whiten.swapaxes(-1, -2)
    w = found.r * found.weight[:, None]
    second = np.einsum("ik,ikd,ike->kde", w, z, z) + np.einsum("ik,ikde->kde", w, spread)
    shared = np.bincount(found.sets)[found.sets] > 1
    first_of_set = np.unique(found.sets, return_index=True)[1]
    labels = w[~shared].sum(0) + found.r[[i for i in first_of_set if shared[i]]].sum(0)
    return w.sum(0), np.einsum("ik,ikd->kd", w, z), second * (np.eye(z.shape[-1]) if params.is_diagonal else 1.0), labels


def steps(draw, shape, most=8, least=None, size=0.25):
    """An array of multiples of a quarter."""
    return size * draw(arrays(np.int64, shape, elements=st.integers(-most if least is None else least, most)))


@st.composite
def mixtures(draw, D, K):
    kind = draw(st.sampled_from(FOUR))
    sds = steps(draw, (K, D), 8, 2)
    factors = np.tril(steps(draw, (K, D, D), 2), -1) if kind in ("full", "tied") else np.zeros((K, D, D))
    if kind == "spherical":
        sds = np.repeat(sds[:, :1], D, axis=1)
    factors[:, np.arange(D), np.arange(D)] = sds
    weights = steps(draw, K, 20, 1)
    return MixtureParams(weights / weights.sum(), steps(draw, (K, D)), factors[[0] * K] if kind == "tied" else factors)


@st.composite
def known_of(draw, N, D, K, parts=("labels", "errors", "sets")):
    """What is known of rows, one thing or more, such that every set has a component."""
    chosen = draw(st.sets(st.sampled_from(parts), min_size=1))
    labels, errors, sets = (name in chosen for name in ("labels", "errors", "sets"))
    which = draw(arrays(np.int64, N, elements=st.integers(0, N - 1))) if sets else None
    plausible = steps(draw, (N, K), 4, 0) if labels else None
    if plausible is not None:
        if draw(st.booleans()):
            plausible = (plausible > 0).astype(float)
        for s in np.arange(N) if which is None else np.unique(which):
            of_set = [s] if which is None else np.flatnonzero(which == s)
            if not plausible[of_set].prod(0).any():
                plausible[of_set] = 1.0
    with np.errstate(divide="ignore"):
        log_weights = None if plausible is None else np.log(plausible / plausible.max(1, keepdims=True))
    n_errors = draw(st.integers(1, 3))
    return Known(
        log_weights,
        draw(arrays(np.int64, N, elements=st.integers(0, n_errors - 1))) if errors else None,
        np.tril(steps(draw, (n_errors, D, D))) if errors else None,
        which,
    )


@st.composite
def problems(draw, *parts):
    D, K, N = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 10))
    known = draw(known_of(N, D, K, *parts))
    X = steps(draw, (N, D), 20)
    X[draw(arrays(bool, (N, D), elements=st.booleans()))] = np.nan
    # Of what has no weight a set may be without one row that counts.
    least = 0 if known.sets is None else 1
    weight = draw(st.none() | arrays(np.int64, N, elements=st.integers(least, 3)).map(lambda w: w.astype(float)))
    return draw(mixtures(D, K)), X, known, weight


@settings(max_examples=100, deadline=None)
@given(problem=problems())
def test_statistics_equal_those_of_covariance_matrices(problem):
    params, X, known, weight = problem
    expected = direct(X, params, known, weight)
    counts, first, second, labels = statistics_by_hand(expected, params)
    rows = MemoryRows(X, weight, known=known)
    for these in (rows, rows.distinct()):
        got = ex.expectation(these, *params.arrays(), diagonal=params.is_diagonal)
        assert got.log_likelihood == pytest.approx(expected.total, rel=1e-12, abs=1e-10)
        np.testing.assert_allclose(got.counts, counts, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(got.labels, labels, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(got.first, first, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(got.second, second, rtol=1e-9, atol=1e-9)
    r, log_density = ex.evaluate(rows.chunk, *params.arrays(), diagonal=params.is_diagonal, responsibilities=True)
    np.testing.assert_allclose(log_density, expected.log_density, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(r, expected.r, atol=1e-10)
    batch = MixtureParams(*(np.stack([part, part]) for part in (params.weights, params.means, params.scale_tril)))
    np.testing.assert_allclose(ex.responsibility_draws(rows.chunk, *batch.arrays(), diagonal=params.is_diagonal)[1], r, atol=1e-14)


@settings(max_examples=50, deadline=None)
@given(problem=problems(), seed=st.integers(0, 99))
def test_rows_in_another_order_are_the_same_rows(problem, seed):
    params, X, known, weight = problem
    order = np.random.default_rng(seed).permutation(len(X))
    rows = MemoryRows(X, weight, known=known)
    one, other = (ex.expectation(these, *params.arrays(), diagonal=params.is_diagonal) for these in (rows, rows.take(order)))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    r, log_density = ex.evaluate(rows.chunk, *params.arrays(), responsibilities=True)
    again = ex.evaluate(rows.take(order).chunk, *params.arrays(), responsibilities=True)
    np.testing.assert_allclose(again[0], r[order], atol=1e-12)
    np.testing.assert_allclose(again[1], log_density[order], rtol=1e-12, atol=1e-12)


def test_sets_whose_rows_are_in_different_pieces(rng):
    """Many rows go through the kernel in pieces, and a set is in all of them."""
    N, params = 10_000, random_mixture(np.random.default_rng(1), 3, 2)
    sets, X = rng.integers(0, N // 3, N), 2 * rng.normal(size=(N, 2))
    own = np.column_stack([multivariate_normal(m, S).logpdf(X) for m, S in zip(params.means, params.covariances, strict=True)])
    _, sets = np.unique(sets, return_inverse=True)
    joint = params.log_weights + np.stack([np.bincount(sets, column) for column in own.T], axis=1)
    together, n_rows = logsumexp(joint, axis=1), np.bincount(sets)
    rows = MemoryRows(X, known=Known(sets=sets))
    r, log_density = ex.evaluate(rows.chunk, *params.arrays(), responsibilities=True)
    np.testing.assert_allclose(log_density, (together / n_rows)[sets], rtol=1e-10)
    np.testing.assert_allclose(r, np.exp(joint - together[:, None])[sets], atol=1e-10)
    got = ex.expectation(rows, *params.arrays())
    assert got.log_likelihood == pytest.approx(together.sum(), rel=1e-12)
    np.testing.assert_allclose(got.labels, np.exp(joint - together[:, None]).sum(0), rtol=1e-10)
    np.testing.assert_allclose(got.counts, r.sum(0), rtol=1e-10)


@settings(max_examples=40, deadline=None)
@given(problem=problems(("labels", "errors")))
def test_the_tail_is_that_of_the_nearest_component_that_a_row_may_be_of(problem):
    params, X, known, _ = problem
    E = error_covariances(known, *X.shape)
    tails = []
    for i, x in enumerate(X):
        o = np.flatnonzero(~np.isnan(x))
        may_be = range(params.n_components) if known.log_weights is None else np.flatnonzero(np.isfinite(known.log_weights[i]))
        away = [
            (x[o] - params.means[k, o]) @ np.linalg.solve((params.covariances[k] + E[i])[np.ix_(o, o)], x[o] - params.means[k, o])
            for k in may_be
        ]
        tails.append(chi2.sf(min(away), len(o)) if len(o) else 1.0)
    said = row_summary(params, Chunk(X, known=known), pd.RangeIndex(len(X), name="obs"), 0.9)
    np.testing.assert_allclose(said.tail_probability, tails, rtol=1e-8, atol=1e-12)


# Limits in which nothing more is known than without


@settings(max_examples=50, deadline=None)
@given(problem=problems(("labels",)))
def test_errors_of_zero_and_sets_of_one_row_are_nothing(problem):
    params, X, _, weight = problem
    N, D = X.shape
    nothing = Known(np.zeros((N, params.n_components)), np.zeros(N, dtype=int), np.zeros((1, D, D)), np.arange(N))
    one, other = (
        ex.expectation(MemoryRows(X, weight, known=known), *params.arrays(), diagonal=params.is_diagonal)
        for known in (None, nothing)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-11)


@pytest.fixture(scope="module")
def groups():
    """Two groups that overlap, of three columns, with gaps; and which rows are of which."""
    rng = np.random.default_rng(5)
    A = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.2, 0.9]])
    X = np.concatenate([rng.normal(size=(60, 3)) @ A.T, [2.5, 0.0, -2.0] + rng.normal(size=(40, 3)) @ A])
    return X, np.repeat([0, 1], [60, 40])


def with_gaps(X):
    return np.where(np.random.default_rng(6).random(X.shape) < 0.1, np.nan, X)


@pytest.mark.parametrize("kind", FOUR)
def test_nothing_known_is_the_ordinary_fit(kind, groups):
    X, _ = groups
    N, D = X.shape
    em = bg.GaussianMixture(2, covariance_type=kind, random_state=1)
    plain = em.fit(X).params_
    for nothing in (
        {"known": [None] * N},
        {"known": np.full(N, -1)},
        {"known": np.full((N, 2), 0.3)},
        {"known": np.full((N, 2), np.nan)},
        {"together": np.arange(N)},
        {"together": [None] * N},
        {"errors": np.zeros(D)},
        {"errors": np.zeros((N, D, D))},
    ):
        for a, b in zip(em.fit(X, **nothing).params_.arrays(), plain.arrays(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", [*FOUR, "VEV", "EVI"])
def test_errors_next_to_nothing_give_the_ordinary_fit(kind, groups):
    """Through the other pass over the rows, to the digits that a maximum has."""
    X, _ = groups
    plain, fit = (
        bg.GaussianMixture(2, covariance_type=kind, random_state=1).fit(X, errors=errors) for errors in (None, [1e-9] * 3)
    )
    assert fit.log_likelihood_ == pytest.approx(plain.log_likelihood_, rel=1e-12)
    for name in ("weights_", "means_"):
        np.testing.assert_allclose(getattr(fit, name), getattr(plain, name), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(fit.params_.covariances, plain.params_.covariances, rtol=1e-6, atol=1e-7)


def test_a_missing_value_is_an_error_without_bound(groups):
    X, _ = groups
    gappy = with_gaps(X)
    missing = np.isnan(gappy)
    wide = np.where(missing, 1e6 * X.std(0), 0.0)
    em = bg.GaussianMixture(2, random_state=1).fit(gappy)
    np.testing.assert_allclose(em.predict_proba(X, errors=wide), em.predict_proba(gappy), atol=1e-9)
    # A value with such an error has the density of the error.
    lost = np.where(missing, -np.log(np.sqrt(2 * np.pi) * np.where(missing, wide, 1.0)), 0.0).sum(1)
    np.testing.assert_allclose(em.score_samples(X, errors=wide), em.score_samples(gappy) + lost, atol=1e-6)
    np.testing.assert_allclose(em.deconvolved(X, errors=wide).value, em.impute(gappy), atol=1e-6)
    fit = bg.GaussianMixture(2, random_state=1).fit(X, errors=wide)
    np.testing.assert_allclose(fit.means_, em.means_, atol=1e-4)
    np.testing.assert_allclose(fit.covariances_, em.covariances_, atol=1e-4)


def test_errors_turn_with_the_rows(groups):
    """In other units, and in columns that are mixed, covariances of errors are what they are in the first ones."""
    X, _ = groups
    rng = np.random.default_rng(7)
    A, E = rng.normal(size=(3, 3)) * [[1.0], [30.0], [0.1]], rng.normal(size=(100, 3, 3)) / 3
    E = E @ E.swapaxes(1, 2)
    one, other = bg.GaussianMixture(2, random_state=1).fit(X, errors=E), bg.GaussianMixture(2, random_state=1)
    other.fit(X @ A.T + 1e4, errors=A @ E @ A.T)
    assert other.log_likelihood_ == pytest.approx(one.log_likelihood_ - 100 * np.linalg.slogdet(A)[1], rel=1e-9)
    np.testing.assert_allclose(other.covariances_, A @ one.covariances_ @ A.T, rtol=1e-4)


# Labels


@pytest.fixture(scope="module")
def iris():
    data = load_iris()
    return data.data, np.array(data.target_names, dtype=object)[data.target]


def test_all_labels_of_iris_give_mclusts_discriminant_analysis(iris):
    """MclustDA of R's mclust, modelType="EDDA", modelNames="VEV": log-likelihood -187.7097, df 38, BIC -565.8236 (of the other sign)."""
    X, y = iris
    em = bg.GaussianMixture(3, covariance_type="VEV", random_state=1).fit(X, known=y)
    assert em.score_samples(X).sum() == pytest.approx(-187.7097, abs=1e-3)
    assert em.n_parameters_ == 38
    assert em.bic(X) == pytest.approx(565.8236, abs=2e-3)
    assert em.n_iter_ <= 10
    assert em.n_moves_ == 0
    assert em.component_names_ == ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize("kind", FOUR)
def test_all_labels_give_the_moments_of_classes(kind, iris):
    X, y = iris
    em = bg.GaussianMixture(3, covariance_type=kind, random_state=1).fit(X, known=y)
    classes = [X[y == name] for name in np.unique(y)]
    shares = np.array([len(rows) for rows in classes]) / len(X)
    each = np.stack([np.cov(rows.T, ddof=0) for rows in classes])
    covariances = {
        "full": each,
        "tied": np.repeat(np.einsum("k,kij->ij", shares, each)[None], 3, axis=0),
        "diag": each * np.eye(4),
        "spherical": np.trace(each, axis1=1, axis2=2)[:, None, None] / 4 * np.eye(4),
    }[kind]
    np.testing.assert_allclose(em.weights_, shares, rtol=1e-12)
    np.testing.assert_allclose(em.means_, [rows.mean(0) for rows in classes], rtol=1e-12)
    np.testing.assert_allclose(em.params_.covariances, covariances, rtol=1e-9, atol=1e-12)
    own = [
        np.log(w) + multivariate_normal(rows.mean(0), S).logpdf(rows)
        for w, rows, S in zip(shares, classes, covariances, strict=True)
    ]
    assert em.log_likelihood_ == pytest.approx(np.concatenate(own).sum(), rel=1e-10)


def fits_alike(X, *told, **options):
    """Fits with the same rows, each of which was told the same in another way."""
    fits = [bg.GaussianMixture(2, random_state=1, **options).fit(X, **one) for one in told]
    for fit in fits[1:]:
        for a, b in zip(fit.params_.arrays(), fits[0].params_.arrays(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(fit.responsibilities(), fits[0].responsibilities(), atol=1e-10)
    return fits


def test_labels_may_be_given_in_many_ways(groups):
    X, y = groups
    says = np.arange(100) % 3 > 0
    numbers = np.where(says, y, -1)
    text = np.where(says, np.where(y == 0, "b", "a"), None)
    table = np.where(says[:, None], np.eye(2)[y], 1.0)
    by_number = fits_alike(
        X,
        *({"known": known} for known in (numbers, numbers.tolist(), np.where(says, y, np.nan), np.where(says, y, None))),
        {"known": pd.Series(np.where(says, y, np.nan))},
        {"known": pd.Series(np.where(says, y, pd.NA), dtype="Int64")},
        {"known": pd.DataFrame({"label": numbers})},
        *({"known": known} for known in (table, table.astype(bool), table * 0.25, table.astype(int), pd.DataFrame(table > 0))),
        {"known": np.where(says[:, None], np.eye(2)[y], np.nan)},
    )
    assert by_number[0].component_names_ == ["0", "1"]
    assert by_number[0].classes_.tolist() == [0, 1]
    by_name = fits_alike(
        X,
        *({"known": known} for known in (text, text.tolist(), pd.Series(text), pd.Categorical(text))),
        {"known": pd.Series(np.where(says, text, np.nan), index=np.arange(100)[::-1])},
        {"known": np.where(says, text, -1)},
        {"known": text, "components_per_class": 1},
        {"known": text, "components_per_class": [1, 1]},
        {"known": text, "components_per_class": {"b": 1, "a": 1}},
    )
    for fit in by_name:
        assert fit.component_names_ == fit.classes_.tolist() == ["a", "b"]
        np.testing.assert_array_equal(fit.predict_class(X), np.where(fit.predict(X) == 0, "a", "b"))
    # Sorted, "a" comes first, which the numbers call 1.
    np.testing.assert_allclose(by_name[0].means_, by_number[0].means_[::-1], atol=1e-6)
    assert by_name[0].log_likelihood_ == pytest.approx(by_number[0].log_likelihood_, rel=1e-10)


def test_labels_that_are_numbers_say_which_component(groups):
    X, y = groups
    rows = np.concatenate([X, np.random.default_rng(9).normal([9.0, 9.0, 9.0], 1.0, size=(50, 3))])
    for first, second, third in ([0, 1, 2], [2, 0, 1]):
        fit = bg.GaussianMixture(3, random_state=1).fit(rows, known=np.r_[np.where(y == 0, first, second), np.full(50, -1)])
        np.testing.assert_allclose(fit.means_[[first, second]], [X[y == 0].mean(0), X[y == 1].mean(0)], atol=0.01)
        np.testing.assert_allclose(fit.means_[third], rows[100:].mean(0), atol=0.01)


@settings(max_examples=50, deadline=None)
@given(problem=problems(("labels",)), times=st.integers(1, 8))
def test_only_ratios_of_plausibilities_matter(problem, times):
    params, X, known, weight = problem
    assume(params.n_components > 1)  # one column is one label for each row
    table = np.exp(known.log_weights)
    scale = (1 + np.arange(len(X)) % times)[:, None] / times
    alike = [rows_with(MemoryRows(X, weight), params.n_components, known=part)[0] for part in (table, table * scale)]
    one, other = (ex.expectation(rows, *params.arrays(), diagonal=params.is_diagonal) for rows in alike)
    expected = direct(X, params, known, weight)
    assert one.log_likelihood == pytest.approx(expected.total, rel=1e-12, abs=1e-10)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_plausibility_multiplies_the_odds(groups):
    X, y = groups
    plausible = np.where(y[:, None] == [0, 1], 0.8, 0.2)
    plausible[::2] = 0.5
    fit = bg.GaussianMixture(2, random_state=1).fit(X, known=plausible)
    r = fit.predict_proba(X) * plausible
    np.testing.assert_allclose(fit.responsibilities(), r / r.sum(1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(fit.weights_, fit.responsibilities().mean("obs"), atol=1e-6)


def test_some_labels_help_and_none_is_forgotten(iris):
    X, y = iris
    rng = np.random.default_rng(1)
    says = rng.permutation(150) < 60
    fit = bg.GaussianMixture(3, random_state=1).fit(X, known=np.where(says, y, None))
    r = fit.responsibilities().values
    np.testing.assert_array_equal(r[says], np.eye(3)[np.unique(y, return_inverse=True)[1]][says])
    assert (r[~says].max(1) < 1).any()
    assert (fit.predict_class(X[~says]) == y[~says]).mean() > 0.95
    # At the maximum, each parameter is what EM's step makes of it.
    np.testing.assert_allclose(fit.weights_, r.mean(0), atol=1e-7)
    np.testing.assert_allclose(fit.means_, r.T @ X / r.sum(0)[:, None], atol=1e-6)


def test_labels_in_chunks_have_to_be_in_memory(tmp_path, groups):
    X, y = groups
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(InvalidDataError, match=r"^known= and errors= need all rows in memory: read the data, or a sample of them"):
        bg.GaussianMixture(2).fit(tmp_path / "x.npy", known=y, errors=[0.1, 0.1, 0.1])


# Classes of several components


@pytest.fixture(scope="module")
def planted():
    """Two classes, of two round groups and of one, far apart; the first of them on both sides of the second."""
    rng = np.random.default_rng(8)
    X = np.concatenate([rng.normal(at, 1.0, size=(40, 2)) for at in ([-9.0, 0.0], [9.0, 0.0], [0.0, 9.0])])
    return X, np.repeat(np.array(["a", "a", "b"], dtype=object), 40)


@pytest.mark.parametrize("per_class", [{"a": 2, "b": 1}, {"b": 1, "a": 2}, [2, 1], (2, 1)])
def test_components_of_a_class_share_its_rows(per_class, planted):
    X, y = planted
    says = np.arange(120) % 4 == 0
    fit = bg.GaussianMixture(3, random_state=1).fit(X, known=np.where(says, y, None), components_per_class=per_class)
    assert fit.component_names_ == ["a 1", "a 2", "b"]
    assert fit.classes_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(fit.predict_class(X), y)
    p, r = fit.predict_class_proba(X), fit.predict_proba(X)
    assert p.columns.tolist() == ["a", "b"]
    np.testing.assert_allclose(p, np.column_stack([r[:, :2].sum(1), r[:, 2]]), atol=1e-15)
    np.testing.assert_allclose(np.sort(fit.means_[:2, 0]), [-9.0, 9.0], atol=1.0)


def test_one_number_of_components_is_for_every_class(planted):
    X, y = planted
    fit = bg.GaussianMixture(4, covariance_type="spherical", random_state=1).fit(X, known=y, components_per_class=2)
    assert fit.component_names_ == ["a 1", "a 2", "b 1", "b 2"]
    r = fit.responsibilities().values
    np.testing.assert_allclose(r[:, :2].sum(1), y == "a", atol=1e-12)


def test_components_left_over_have_no_class(planted):
    X, y = planted
    frame = pd.DataFrame(X, index=[f"row {i}" for i in range(120)])
    known = np.where(X[:, 0] > 5, None, y)
    fit = bg.GaussianMixture(3, random_state=1).fit(frame, known=known)
    assert fit.component_names_ == ["a", "b", "2"]
    p = fit.predict_class_proba(frame)
    assert p.columns.tolist() == ["a", "b", "2"]
    assert p.index.equals(frame.index)
    np.testing.assert_allclose(p, fit.predict_proba(frame), atol=1e-15)
    np.testing.assert_array_equal(fit.predict_class(frame), np.where(X[:, 0] > 5, "2", y))


def test_numbers_are_names_where_classes_have_several_components(planted):
    X, y = planted
    fit = bg.GaussianMixture(3, random_state=1).fit(X, known=np.where(y == "a", 7, 3), components_per_class={7: 2, 3: 1})
    assert fit.component_names_ == ["3", "7 1", "7 2"]
    np.testing.assert_array_equal(fit.predict_class(X), np.where(y == "a", 7, 3))


def test_a_fit_without_labels_has_components_and_no_classes(groups):
    X, y = groups
    fit = bg.GaussianMixture(2, random_state=1).fit(X, known=np.where(y == 0, "a", "b").astype(object)).fit(X)
    assert fit.component_names_ == ["0", "1"]
    assert not hasattr(fit, "classes_")
    for ask in (fit.predict_class, fit.predict_class_proba):
        with pytest.raises(InvalidParameterError, match=r"^there are no classes without labels: give known= to fit"):
            ask(X)
    with pytest.raises(InvalidParameterError, match=r"^contradictions are between values and labels, and the fit was given none"):
        fit.contradictions()
    with pytest.raises(InvalidParameterError, match=r"^least_odds must be positive, got 0"):
        fit.contradictions(0)


# Rows whose labels others contradict


def test_wrong_labels_are_the_contradictions(planted):
    X, y = planted
    frame = pd.DataFrame(X, index=[f"row {i}" for i in range(120)], columns=["u", "v"])
    wrong = [3, 50, 100]
    known = np.where(np.arange(120) % 2 == 0, y, None)
    known[wrong] = np.where(y[wrong] == "a", "b", "a")
    fit = bg.GaussianMixture(3, random_state=1).fit(frame, known=known, components_per_class=[2, 1])
    found = fit.contradictions()
    assert sorted(found.index) == sorted(frame.index[wrong])
    assert (found.known != found.likelier).all()
    assert found.known.to_dict() == dict(zip(frame.index[wrong], known[wrong], strict=True))
    assert found.likelier.to_dict() == dict(zip(frame.index[wrong], y[wrong], strict=True))
    assert (found.odds > 1).all()
    assert found.odds.is_monotonic_decreasing
    p = fit.predict_class_proba(frame)
    odds = [p.loc[row, found.likelier[row]] / p.loc[row, found.known[row]] for row in found.index]
    np.testing.assert_allclose(found.odds, odds, rtol=1e-8)
    least = found.odds.iloc[1]
    assert fit.contradictions(least).index.tolist() == found.index[:2].tolist()
    assert len(fit.contradictions(1e-300)) == pd.notna(known).sum()


def test_contradictions_of_allowed_components_are_called_by_all_of_them(planted):
    X, _ = planted
    allowed = np.ones((120, 3), dtype=bool)
    allowed[:40, 2], allowed[40:80, 0], allowed[80:, :2] = False, False, False
    allowed[5] = [False, True, True]  # which is of the first
    found = bg.GaussianMixture(3, random_state=1).fit(X, known=allowed).contradictions()
    assert found.index.tolist() == [5]
    assert found.known[5] == "1 or 2"
    assert found.likelier[5] == "0"


# Rows that belong together


@pytest.fixture(scope="module")
def persons():
    """Thirty persons, measured one to four times, of two groups that overlap; in an order in which no person's rows stand together."""
    rng = np.random.default_rng(10)
    who = np.repeat(np.arange(30), rng.integers(1, 5, 30))
    X = rng.normal(size=(len(who), 2)) * [1.0, 2.0] + np.where(who % 3 == 0, 2.0, 0.0)[:, None]
    order = rng.permutation(len(who))
    return X[order], who[order]


def test_a_set_has_one_label(persons):
    X, who = persons
    em = bg.GaussianMixture(2, random_state=1).fit(X, together=who)
    expected = direct(X, em.params_, Known(sets=who))
    r = em.responsibilities().values
    np.testing.assert_allclose(r, expected.r, atol=1e-10)
    for person in range(30):
        assert (r[who == person] == r[who == person][0]).all()
    assert em.log_likelihood_ == pytest.approx(expected.total, rel=1e-12)
    # EM stands still: a weight is the share of the sets, a mean that of the rows.
    first = np.unique(who, return_index=True)[1]
    np.testing.assert_allclose(em.weights_, r[first].mean(0), atol=1e-7)
    np.testing.assert_allclose(em.means_, r.T @ X / r.sum(0)[:, None], atol=1e-6)
    assert abs(em.weights_ - r.mean(0)).max() > 1e-3
    # As one of many, and for new rows.
    names = np.array([f"person {w}" for w in who], dtype=object)
    for together in (who, names, pd.Series(names), 7.5 * who):
        np.testing.assert_allclose(em.predict_proba(X, together=together), r, atol=1e-12)
        np.testing.assert_array_equal(em.predict(X, together=together), r.argmax(1))
        np.testing.assert_allclose(em.score_samples(X, together=together), expected.log_density, rtol=1e-10)
    np.testing.assert_allclose(em.row_summary(X, together=who).responsibility, r, atol=1e-12)
    np.testing.assert_allclose(em.responsibilities(X, together=who), r, atol=1e-12)


def test_names_of_sets_and_the_order_of_rows_do_not_matter(persons):
    X, who = persons
    rng = np.random.default_rng(11)
    order, names = rng.permutation(len(X)), rng.permutation(30)
    one = bg.GaussianMixture(2, random_state=1).fit(X, together=who)
    other = bg.GaussianMixture(2, random_state=1).fit(X[order], together=names[who][order])
    assert other.log_likelihood_ == pytest.approx(one.log_likelihood_, rel=1e-12)
    np.testing.assert_allclose(other.means_, one.means_, atol=1e-6)
    np.testing.assert_allclose(other.covariances_, one.covariances_, atol=1e-6)
    np.testing.assert_allclose(other.responsibilities(), one.responsibilities()[order], atol=1e-6)


def test_rows_without_a_set_are_alone(persons):
    X, who = persons
    known = np.where(who < 15, who, np.nan)
    named = np.where(who < 15, who, 1000 + np.arange(len(who)))
    told = known, named, np.where(who < 15, who.astype(object), None)
    fits_alike(X, *({"together": each} for each in told), covariance_type="diag")


@pytest.mark.parametrize("kind", FOUR)
def test_a_weight_of_two_in_a_set_is_the_row_twice_in_the_set(kind, persons):
    X, who = persons
    times = np.where((np.bincount(who)[who] > 1) & (np.arange(len(X)) % 3 == 0), 2, 1)
    one = bg.GaussianMixture(2, covariance_type=kind, random_state=1).fit(X, sample_weight=times, together=who)
    other = bg.GaussianMixture(2, covariance_type=kind, random_state=1)
    other.fit(np.repeat(X, times, axis=0), together=np.repeat(who, times))
    assert times.max() == 2
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, rel=1e-12)
    for a, b in zip(one.params_.arrays(), other.params_.arrays(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_weight_of_zero_leaves_a_row_of_a_set_out(persons):
    X, who = persons
    is_first = np.isin(np.arange(len(X)), np.unique(who, return_index=True)[1])
    weight = np.where(is_first & (np.bincount(who)[who] > 1) & (who % 2 == 0), 0.0, 1.0)
    kept = np.flatnonzero(weight)
    one = bg.GaussianMixture(2, random_state=1).fit(X, sample_weight=weight, together=who)
    other = bg.GaussianMixture(2, random_state=1).fit(X[kept], together=who[kept])
    assert len(kept) < len(X)
    np.testing.assert_allclose(one.means_, other.means_, atol=1e-8)
    assert one.bic() == pytest.approx(other.bic(), rel=1e-10)
    np.testing.assert_allclose(one.responsibilities()[kept], other.responsibilities(), atol=1e-8)


class Sets(NamedTuple):
    """As much of a fit as partitions ask for."""

    params_: MixtureParams
    rows_: MemoryRows


@st.composite
def small_sets(draw):
    """Some draws of a mixture, and up to six rows in sets."""
    N, K, T = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    which = draw(arrays(np.int64, N, elements=st.integers(0, N - 1)))
    each = [draw(mixtures(2, K)) for _ in range(T)]
    params = MixtureParams(*(np.stack([getattr(one, name) for one in each]) for name in ("weights", "means", "scale_tril")))
    return Sets(params, MemoryRows(steps(draw, (N, 2)), known=Known(sets=which)))


@settings(max_examples=50, deadline=None)
@given(fit=small_sets())
def test_partitions_of_sets_by_enumeration_of_their_labels(fit):
    """All labels that the sets can have, each with its probability."""
    X, sets, (T, K) = fit.rows_.values, fit.rows_.known.sets, fit.params_.weights.shape
    first, of_row = np.unique(sets, return_index=True, return_inverse=True)[1:]
    labels = np.array(list(product(range(K), repeat=len(first))))
    probability = np.zeros(K)
    same = np.zeros((len(X), len(X)))
    for t in range(T):
        r = direct(X, fit.params_[t], fit.rows_.known).r[first]
        for z in labels:
            p = np.prod(r[np.arange(len(first)), z]) / T
            probability[len(set(z.tolist())) - 1] += p
            same += p * (z[of_row][:, None] == z[of_row])
    np.testing.assert_allclose(occupied_components(fit), probability, atol=1e-9)
    assert mean_occupied(fit) == pytest.approx(probability @ np.arange(1, K + 1), abs=1e-9)
    np.testing.assert_allclose(similarity(fit), same, atol=1e-9)
    assert (similarity(fit)[sets[:, None] == sets] == 1.0).all()
    for z in draw_labels(fit, random_state=1):
        assert len(set(zip(sets.tolist(), z.tolist(), strict=True))) == len(first)


def test_labels_of_sets_are_drawn_as_often_as_they_are_probable():
    """Three rows of one set and one alone, 20,000 times."""
    params, T = random_mixture(np.random.default_rng(12), 2, 1), 20_000
    batch = MixtureParams(*(np.repeat(part[None], T, axis=0) for part in (params.weights, params.means, params.scale_tril)))
    X, known = np.array([[0.3], [-0.1], [0.6], [0.2]]), Known(sets=np.array([4, 4, 1, 4]))
    z = draw_labels(Sets(batch, MemoryRows(X, known=known)), random_state=2)
    p = direct(X, params, known).r[:, 1]
    error = np.sqrt(p * (1 - p) / T)
    assert (abs(p - 0.5) < 0.4).all()
    assert (np.abs(z.mean(0) - p) < 4 * error).all()
    # The set and the row beside it are independent.
    both = p[0] * p[2]
    assert abs((z[:, 0] & z[:, 2]).mean() - both) < 4 * np.sqrt(both * (1 - both) / T)


# Errors of measurement


@settings(max_examples=50, deadline=None)
@given(problem=problems(("errors", "sets")), kind=st.sampled_from(["one", "two"]))
def test_values_behind_errors_are_conditional_expectations(problem, kind):
    """Gaussian conditioning for one component, and for several their mixture."""
    params, X, known, _ = problem
    if kind == "one":
        params = MixtureParams(np.ones(1), params.means[:1], params.scale_tril[:1])
    fit = fit_of(params, X)
    E = error_covariances(known, *X.shape)
    said = fit.deconvolved(X, errors=E, together=known.sets)
    found = direct(X, params, known)
    value = np.einsum("ik,ikd->id", found.r, found.value)
    square = np.einsum("ik,ikd->id", found.r, found.value**2 + np.diagonal(found.left, axis1=2, axis2=3))
    without = ~np.isnan(X) & (np.diagonal(E, axis1=1, axis2=2) == 0)
    np.testing.assert_allclose(said.value, np.where(without, X, value), atol=1e-7)
    np.testing.assert_allclose(said.sd**2, np.where(without, 0.0, square - value**2), atol=1e-7)


def fit_of(params, X):
    """A fitted estimator with these parameters."""
    fit = bg.GaussianMixture(params.n_components)
    fit.rows_, fit.params_ = MemoryRows(X), params
    fit.feature_names_, fit.n_features_in_ = fit.rows_.feature_names, X.shape[1]
    return fit


def test_a_value_behind_an_error_by_quadrature():
    """Of two components: the density of the value given what was measured, on a fine grid."""
    params = MixtureParams([0.3, 0.7], [[-1.0], [2.0]], [[[0.5]], [[1.2]]])
    x, sd, grid = np.array([[-0.4], [0.6], [5.0]]), np.array([[0.2], [0.9], [3.0]]), np.linspace(-25, 25, 400_001)
    density = np.exp(params.log_density(grid[:, None]))
    said = fit_of(params, x).deconvolved(x, errors=sd)
    for i in range(3):
        p = density * norm.pdf(x[i, 0], grid, sd[i, 0])
        mean = (p @ grid) / p.sum()
        assert said.value.values[i, 0] == pytest.approx(mean, abs=1e-9)
        assert said.sd.values[i, 0] == pytest.approx(np.sqrt(p @ (grid - mean) ** 2 / p.sum()), abs=1e-9)
        log_density = fit_of(params, x).score_samples(x, errors=sd)[i]
        assert log_density == pytest.approx(np.log(p.sum() * (grid[1] - grid[0])), abs=1e-9)


def test_errors_have_many_shapes(groups):
    """Standard deviations or covariances, for all rows or for each; of gaps none is needed."""
    X, _ = groups
    sd = np.array([0.3, 0.2, 0.5])
    fits_alike(
        X,
        *({"errors": errors} for errors in (sd, np.tile(sd, (100, 1)), np.diag(sd**2), np.tile(np.diag(sd**2), (100, 1, 1)))),
        *({"errors": errors} for errors in (sd.tolist(), pd.Series(sd), pd.DataFrame(np.tile(sd, (100, 1)), columns=list("abc")))),
    )
    gappy, sd = with_gaps(X), sd / 2
    fits_alike(
        gappy, {"errors": sd}, {"errors": np.where(np.isnan(gappy), np.nan, sd)}, {"errors": np.where(np.isnan(gappy), 9.0, sd)}
    )
    fits_alike(X[:, :1], *({"errors": errors} for errors in ([0.3], np.full(100, 0.3), np.full((100, 1), 0.3), 0.3)))


def test_imputed_draws_have_the_spread_of_what_could_be_there():
    """Of 20,000 draws for a row with a gap and an error, and one with a set that says which group it is of."""
    params = random_mixture(np.random.default_rng(13), 2, 3)
    X = np.array([[0.5, np.nan, -0.3], [1.0, 0.4, 0.2], [0.1, 0.0, np.nan]])
    known = Known(
        None, np.array([0, 1, 1]), np.array([np.diag([0.8, 0.0, 0.3]), np.tril(np.full((3, 3), 0.4))]), np.array([0, 1, 1])
    )
    E, T = error_covariances(known, 3, 3), 20_000
    many = np.tile(X, (500, 1))
    sets = (2 * np.arange(500)[:, None] + [0, 1, 1]).ravel()
    fit = fit_of(params, X)
    drawn = fit.impute(many, n_draws=T // 500, errors=np.tile(E, (500, 1, 1)), together=sets, random_state=3).reshape(T, 3, 3)
    seen = ~np.isnan(X)
    assert (drawn[:, seen] == X[seen]).all()
    found = direct(X, params, known)
    mean = np.einsum("ik,ikd->id", found.r, found.value)
    variance = np.einsum("ik,ikd->id", found.r, found.value**2 + np.diagonal(found.left, axis1=2, axis2=3)) - mean**2
    fourth = ((drawn - drawn.mean(0)) ** 4).mean(0)
    assert (np.abs(drawn.mean(0) - mean) < 4 * np.sqrt(variance / T))[~seen].all()
    assert (np.abs(drawn.var(0) - variance)[~seen] < 4 * np.sqrt((fourth - variance**2)[~seen] / T)).all()
    np.testing.assert_allclose(fit.impute(X, errors=E, together=[0, 1, 1])[~seen], mean[~seen], atol=1e-10)


def test_known_errors_leave_the_true_covariances():
    """Two groups of 10,000 rows: ignoring the errors adds them to the covariances."""
    rng = np.random.default_rng(14)
    S = np.array([[[1.0, 0.5], [0.5, 0.8]], [[0.6, -0.2], [-0.2, 1.5]]])
    N, which = 20_000, np.repeat([0, 1], 10_000)
    values = np.array([[0.0, 0.0], [10.0, 3.0]])[which] + np.einsum(
        "nij,nj->ni", np.linalg.cholesky(S)[which], rng.normal(size=(N, 2))
    )
    L = np.array([[[0.9, 0.0], [0.4, 0.5]], [[0.3, 0.0], [0.6, 0.9]]])[np.arange(N) % 2]
    X, E = values + np.einsum("nij,nj->ni", L, rng.normal(size=(N, 2))), L @ L.swapaxes(1, 2)
    fit, naive = (bg.GaussianMixture(2, n_init=1, random_state=1).fit(X, errors=errors) for errors in (E, None))
    order = np.argsort(fit.means_[:, 0])
    # Of n rows with the covariance T = S + E, an element of theirs has the variance (T_ii T_jj + T_ij^2) / n; the larger E counts.
    T = S[:, None] + E[:2]
    error = np.sqrt((np.einsum("keii,kejj->keij", T, T) + T**2).max(1) / 10_000)
    assert (np.abs(fit.covariances_[order] - S) < 4 * error).all()
    assert (np.abs(naive.covariances_[np.argsort(naive.means_[:, 0])] - S) > 10 * error).all()


def test_a_covariance_at_its_floor_has_not_collapsed_where_errors_hold_the_density_down():
    X = np.concatenate([np.zeros((60, 2)), np.random.default_rng(21).normal(9.0, 1.0, size=(40, 2))])
    mixture = Mixture(np.log([0.6, 0.4]), np.array([[0.0, 0.0], [9.0, 9.0]]), np.stack([1e-6 * np.eye(2), np.eye(2)]))
    choices = Settings(family("full"), 1e-8, 100, np.full(2, 1e-6))
    line, disc = np.diag([0.5, 0.0]), 0.5 * np.eye(2)
    for errors, collapsed in ((None, True), ([disc], False), ([line], True), ([disc, line], True), ([disc, 2 * disc], False)):
        known = None if errors is None else Known(None, np.arange(100) % len(errors), np.array(errors))
        found = examine(mixture, choices, MemoryRows(X, known=known))
        assert found.at_floor.tolist() == [collapsed, False]


def test_one_group_with_errors_of_all_sizes_by_direct_maximisation():
    """Twice the effects of eight schools (Rubin 1981), with a standard error each: SciPy climbs the same likelihood."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]) * 2.0
    s = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    found = minimize(lambda p: -norm.logpdf(y, p[0], np.sqrt(np.exp(2 * p[1]) + s**2)).sum(), [10.0, 2.0], tol=1e-12)
    em = bg.GaussianMixture(1).fit(y[:, None], errors=s)
    assert em.log_likelihood_ == pytest.approx(-found.fun, rel=1e-10)
    assert em.means_[0, 0] == pytest.approx(found.x[0], rel=1e-4)
    assert em.covariances_[0, 0, 0] == pytest.approx(np.exp(2 * found.x[1]), rel=1e-4)


@pytest.mark.filterwarnings("ignore:EM stopped after max_iter=1000:sklearn.exceptions.ConvergenceWarning")
def test_a_group_without_spread_of_its_own_has_not_collapsed():
    """Three fifths of the rows spread less than their errors say: with errors the likelihood is bounded, if EM climbs slowly there."""
    rng = np.random.default_rng(15)
    X = np.concatenate([0.9 * rng.normal(size=(90, 1)), 20 + 2 * rng.normal(size=(60, 1))])
    em = bg.GaussianMixture(2, random_state=1).fit(X, errors=[1.0])
    assert em.status_ != "collapsed"
    assert em.covariances_[0, 0, 0] < 1e-3
    assert em.means_[0, 0] == pytest.approx(X[:90].mean(), abs=1e-3)
    one = norm.logpdf(X[:90, 0], X[:90].mean(), 1.0).sum() + 90 * np.log(0.6)
    other = norm.logpdf(X[90:, 0], X[90:].mean(), X[90:].std()).sum() + 60 * np.log(0.4)
    assert em.log_likelihood_ == pytest.approx(one + other, abs=0.01)


# The posterior's density


def posterior_problem(kind, what):
    """A posterior of thirty rows, and what is known of them."""
    rng = np.random.default_rng(16)
    N, D, K, chosen = 30, 3, 3, family(kind)
    X = rng.normal(size=(N, D)) @ rng.normal(size=(D, D))
    allowed = rng.random((N, K)) < 0.7
    allowed[~allowed.any(1)] = True
    errors, which = np.tril(rng.normal(size=(4, D, D))) * 0.4, rng.integers(0, 4, N)
    errors[0] = 0.0
    known, weight = {
        "labels": (Known(np.where(allowed, 0.0, -np.inf)), None),
        "soft labels and weights": (Known(rng.normal(size=(N, K))), rng.integers(0, 3, N).astype(float)),
        "errors": (Known(None, which, errors), None),
        "sets": (Known(sets=rng.integers(0, 12, N)), rng.integers(1, 3, N).astype(float)),
        "all with gaps": (Known(rng.normal(size=(N, K)), which, errors, rng.integers(0, 12, N)), None),
    }[what]
    space = Space(Priors().resolve(MemoryRows(X), K, chosen), chosen)
    if what == "all with gaps":
        X = np.where(rng.random((N, D)) < 0.2, np.nan, X)
    return X, space, weight, known, 0.4 * rng.normal(size=space.n_dim)


@pytest.mark.parametrize("kind", FOUR)
@pytest.mark.parametrize("what", ["labels", "soft labels and weights", "errors", "sets", "all with gaps"])
def test_log_posterior_is_prior_and_likelihood_by_hand(kind, what):
    X, space, weight, known, q = posterior_problem(kind, what)
    density, plain = LogPosterior(X, space, weight, known), LogPosterior(X, space, weight)
    params = space.constrain(q)
    value, gradient = density(q)
    expected = direct(X, params, known, weight).total
    assert value == pytest.approx(log_prior(q[None], space)[0] + expected, rel=1e-11)
    # Of the same rows without what is known, it differs by the likelihoods.
    assert value - plain(q)[0] == pytest.approx(expected - direct(X, params, Known(), weight).total, rel=1e-9)
    h = 1e-5
    slopes = [(density(q + h * step)[0] - density(q - h * step)[0]) / (2 * h) for step in np.eye(len(q))]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-7 * np.abs(gradient).max())
    again = pickle.loads(pickle.dumps(density))  # noqa: S301
    assert again(q)[0] == value


@pytest.mark.parametrize("kind", FOUR)
@pytest.mark.parametrize("what", ["labels", "soft labels and weights", "errors", "sets", "all with gaps"])
@pytest.mark.parametrize("priors", [None, bg.Priors(smallest_sd=0.0)])
def test_em_ends_where_the_objective_is_flat(kind, what, priors):
    """The log-likelihood, and with priors log-likelihood plus log-prior, along each parameter of the fit."""
    rng, chosen = np.random.default_rng(17), family(kind)
    known = posterior_problem(kind, what)[3]
    N, K = 90, 2
    X = np.concatenate([rng.normal(size=(60, 3)), [3.0, 0.0, 3.0] + 1.5 * rng.normal(size=(30, 3))])
    known = Known(
        None if known.log_weights is None or what == "all with gaps" else np.tile(known.log_weights[:, :K], (3, 1)).clip(-2.0),
        None if known.error_of is None else np.tile(known.error_of, 3),
        None if known.error_tril is None else known.error_tril / 2,
        None if known.sets is None else np.arange(N) % 37,
    )
    rows = MemoryRows(with_gaps(X) if what.endswith("gaps") else X, rng.integers(1, 3, N).astype(float), known=known)
    em = bg.GaussianMixture(K, covariance_type=kind, priors=priors, random_state=1)
    fitting = em.fitting(rows)
    fitting.search()
    em.take(fitting.end(), rows)
    assert em.status_ == "converged"
    penalty = None if priors is None else penalty_of(priors, rows, K, chosen)
    space = Space((priors or Priors()).resolve(rows, K, chosen), chosen)

    def objective(q):
        params = space.constrain(q)
        log_likelihood = ex.expectation(rows, *params.arrays(), diagonal=params.is_diagonal).log_likelihood
        prior = 0.0 if penalty is None else penalty.log_density(params.weights, params.means, params.scale_tril)
        return log_likelihood + prior

    q = space.unconstrain(em.params_)
    assert objective(q) == pytest.approx(em.log_likelihood_ + em.log_prior_, rel=1e-10)
    slopes = [(objective(q + 1e-4 * step) - objective(q - 1e-4 * step)) / 2e-4 for step in np.eye(len(q))]
    np.testing.assert_allclose(slopes, 0.0, atol=2e-3)


# Draws of the posterior


def drawn(K, X, told, **changes):
    options = {"draws": 1000, "tune": 300, "chains": 4, "random_state": 1, "progressbar": False} | changes
    return bg.BayesianGaussianMixture(K, **options).fit(X, **told)


@pytest.fixture(scope="module")
def two():
    """Two groups that overlap, of one column, in pairs of which each is of one group."""
    rng = np.random.default_rng(18)
    y = np.repeat([0, 1], [36, 24])
    return (rng.normal(size=60) + 3.0 * y)[:, None], y, np.arange(60) // 2


def difference(a, b):
    """By how many standard errors means of two sets of draws (chain, draw) differ, if one in four is worth an independent one."""
    return abs(a.mean() - b.mean()) / np.sqrt(a.var() / (a.size / 4) + b.var() / (b.size / 4))


@pytest.mark.parametrize("sets", [False, True])
def test_weights_given_all_labels_are_dirichlet(sets, two):
    """Which is known in closed form: a set is one label."""
    X, y, pairs = two
    fit = drawn(2, X, {"known": y} | ({"together": pairs} if sets else {}))
    n = np.bincount(y[::2] if sets else y)
    a, b = fit.priors_.concentration + n
    exact = beta(a, b)
    w = fit.params_.weights[..., 0]
    error = exact.std() / np.sqrt(w.size / 4)
    assert abs(w.mean() - exact.mean()) < 4 * error
    assert w.std() == pytest.approx(exact.std(), rel=4 / np.sqrt(2 * w.size / 4))


@pytest.mark.parametrize("what", ["labels", "errors", "sets", "all"])
def test_samplers_agree_on_what_is_known(what, two):
    """Labels drawn in turn with the parameters, the density alone, and importance sampling."""
    X, y, pairs = two
    known = np.where(np.arange(60) % 5 == 0, y, -1)
    told = {"labels": {"known": known}, "errors": {"errors": np.arange(60) % 3 * 0.3}, "sets": {"together": pairs}}
    told["all"] = told["labels"] | told["errors"] | told["sets"]
    if what == "errors":  # alone, they would leave the groups in doubt, and the approximation rough
        X = X + 1.5 * y[:, None]
    one, *others = (drawn(2, X, told[what], sampler=sampler) for sampler in ("hmc", "nuts", "laplace"))
    for other in others:
        for name in ("weights", "means", "sds"):
            for k in range(2):
                a, b = (getattr(fit.params_, name).reshape(*fit.params_.batch_shape, 2)[..., k] for fit in (one, other))
                assert difference(a, b) < 4.5, (other.sampler, name, k)


def test_a_posterior_of_sets_converges_and_knows_them(two):
    X, _, pairs = two
    fit = drawn(2, X, {"together": pairs})
    assert fit.diagnose()[0].passed
    r = fit.responsibility_draws(n_draws=20).values
    np.testing.assert_array_equal(r[:, :, ::2], r[:, :, 1::2])
    t = fit.params_[0, 7]
    np.testing.assert_allclose(fit.responsibility_draws().values[0, 7], direct(X, t, Known(sets=pairs)).r, atol=1e-10)
    expected = direct(X, t, Known(sets=pairs))
    assert float(fit.datatree_["label_free"]["log_likelihood"][0, 7]) == pytest.approx(expected.total, rel=1e-10)
    same = similarity(fit)
    assert (same[np.arange(0, 60, 2), np.arange(1, 60, 2)] == 1.0).all()
    assert same.min() < 0.05
    summary = fit.row_summary()
    np.testing.assert_allclose(summary.responsibility, fit.predict_proba(X, together=pairs), atol=1e-12)
    np.testing.assert_array_equal(summary.label[::2], summary.label[1::2])
    # A set says more of its rows than one of them.
    assert fit.row_summary().doubt.mean() < fit.row_summary(X).doubt.mean()


def test_components_have_the_order_of_the_labels_in_every_draw():
    """Three groups that overlap, of which the smallest comes first."""
    rng = np.random.default_rng(19)
    y = np.repeat([0, 1, 2], [20, 40, 60])
    X = rng.normal(size=(120, 2)) + np.array([[2.5, 0.0], [0.0, 2.5], [0.0, 0.0]])[y]
    known = np.where(np.arange(120) % 2 == 0, np.array(["a", "b", "c"], dtype=object)[y], None)
    fit = drawn(3, X, {"known": known}, draws=300)
    assert fit.component_names_ == fit.em_.component_names_ == ["a", "b", "c"]
    classes = np.stack([X[(y == k) & pd.notna(known)].mean(0) for k in range(3)])
    away = np.linalg.norm(fit.params_.means[..., None, :] - classes, axis=-1)
    np.testing.assert_array_equal(away.argmin(-1), np.broadcast_to(np.arange(3), away.shape[:-1]))
    # No draw needs another order than the sampler's own.
    np.testing.assert_array_equal(fit.datatree_["posterior"]["means"], fit.datatree_["unlabelled_posterior"]["means"])
    r = fit.responsibility_draws(n_draws=50).values
    np.testing.assert_array_equal(r[:, :, ::2], np.broadcast_to(np.eye(3)[y[::2]], r[:, :, ::2].shape))
    assert (fit.predict_class(X) == np.array(["a", "b", "c"])[y]).mean() > 0.75
    np.testing.assert_allclose(fit.predict_class_proba(X), fit.predict_proba(X), atol=1e-12)


def test_only_components_that_nothing_tells_apart_are_renamed(rng):
    params = random_mixture(rng, 4, 2)
    X = 3 * rng.normal(size=(50, 2))
    known = Known(np.where(rng.random((50, 1)) < 0.3, [0.0, -np.inf, -np.inf, -np.inf], 0.0))
    reference = params.responsibilities(X)
    for order in ([0, 2, 3, 1], [0, 1, 3, 2], [0, 1, 2, 3]):
        np.testing.assert_array_equal(np.array(order)[align(Chunk(X, known=known), params.permute(order), reference)], np.arange(4))
    swapped = align(Chunk(X, known=known), params.permute([1, 0, 2, 3]), reference)
    assert swapped[0] == 0
    np.testing.assert_array_equal(align(X, params.permute([1, 0, 2, 3]), reference), [1, 0, 2, 3])


def test_a_posterior_of_classes_of_several_components(planted):
    X, y = planted
    says = np.arange(120) % 4 == 0
    fit = drawn(3, X, {"known": np.where(says, y, None), "components_per_class": [2, 1]}, draws=200)
    assert fit.component_names_ == ["a 1", "a 2", "b"]
    np.testing.assert_array_equal(fit.predict_class(X), y)
    side = np.sign(fit.means_[:2, 0])
    np.testing.assert_array_equal(np.sign(fit.params_.means[..., :2, 0]), np.broadcast_to(side, (4, 200, 2)))
    assert fit.contradictions().empty


def test_contradictions_under_a_posterior(planted):
    X, y = planted
    known = y.copy()
    known[[3, 100]] = ["b", "a"]
    found = drawn(3, X, {"known": known, "components_per_class": [2, 1]}, draws=100).contradictions()
    assert sorted(found.index) == [3, 100]
    assert (found.odds > 1).all()


def test_a_posterior_with_errors_is_that_of_values_without():
    """One group: the covariance of the values is found, and in any units."""
    rng = np.random.default_rng(20)
    S, A = np.array([[1.0, 0.6], [0.6, 0.9]]), np.array([[2.0, 1.0], [-30.0, 40.0]])
    E = np.array([[[0.5, 0.2], [0.2, 1.0]], [[1.5, -0.9], [-0.9, 0.8]]])[np.arange(400) % 2]
    X = rng.multivariate_normal([0, 0], S, 400) + np.einsum("nij,nj->ni", np.linalg.cholesky(E), rng.normal(size=(400, 2)))
    em = bg.GaussianMixture(1).fit(X, errors=E)
    fit, other = drawn(1, X, {"errors": E}, draws=600), drawn(1, X @ A.T, {"errors": A @ E @ A.T}, draws=600)
    draws = fit.params_.covariances[:, :, 0]
    assert (np.abs(draws.mean((0, 1)) - em.covariances_[0]) < draws.std((0, 1))).all()
    assert (np.abs(draws.mean((0, 1)) - S) < 3 * draws.std((0, 1))).all()
    assert (np.abs(draws.mean((0, 1)) - np.cov(X.T)) > 3 * draws.std((0, 1)))[[0, 1], [0, 1]].all()
    turned = A @ draws @ A.T
    for i, j in ((0, 0), (0, 1), (1, 1)):
        assert difference(turned[..., i, j], other.params_.covariances[:, :, 0, i, j]) < 4.5
    # What is said of values is of the draws: their means, and what varies within and between draws.
    few = drawn(1, X, {"errors": E}, draws=20, tune=100)
    parts = [
        direct(X[:5], few.params_[c, t], Known(None, np.arange(5), np.linalg.cholesky(E[:5]))) for c in range(4) for t in range(20)
    ]
    value = np.stack([part.value[:, 0] for part in parts])
    within = np.mean([np.diagonal(part.left[:, 0], axis1=1, axis2=2) for part in parts], axis=0)
    said = few.deconvolved().isel(obs=slice(5))
    np.testing.assert_allclose(said.value, value.mean(0), atol=1e-10)
    np.testing.assert_allclose(said.sd, np.sqrt(within + value.var(0)), atol=1e-10)


def test_the_evidence_of_rows_with_errors_by_quadrature(two):
    X, _, _ = two
    fit = drawn(1, X, {"errors": np.where(np.arange(60) % 2 == 0, 0.0, 2.0)})
    found = fit.log_evidence()
    space = Space(fit.priors_, fit.family_)
    density = LogPosterior(X, space, None, fit.rows_.known)
    at = space.unconstrain(fit.params_).reshape(-1, 2)
    grids = [np.linspace(at[:, i].mean() - 9 * at[:, i].std(), at[:, i].mean() + 9 * at[:, i].std(), 120) for i in (0, 1)]
    values = density.at_each(np.array(list(product(*grids))))[0]
    cell = np.prod([grid[1] - grid[0] for grid in grids])
    assert found.log_evidence == pytest.approx(logsumexp(values) + np.log(cell), abs=4 * found.error + 1e-6)
    assert found.error < 0.1


# What cannot be used


ROWS = pd.DataFrame(
    {"u": [0.0, 0.3, 1.1, 0.6, 4.0, 4.4, 3.7, 5.0], "v": [0.1, 0.9, 0.2, 0.5, 4.1, 4.7, 5.2, 4.0]},
    index=["ann", "bob", "cy", "di", "ed", "flo", "gus", "hal"],
)
SIDES = np.array(["l", "l", "l", "l", "r", "r", "r", "r"], dtype=object)


def changed(values, at, new):
    values = np.array(values)
    values[at] = new
    return values


def covariances(at=None, new=0.0):
    values = np.tile(0.01 * np.eye(2), (8, 1, 1))
    return values if at is None else changed(values, at, new)


ALLOWED = np.ones((8, 2))
WRONG = {
    "a label that no component has": (
        {"known": [0, 1, 0, 2, -1, -1, -1, -1]},
        r"^known is 2 in row di, and the components are 0 to 1: numbers say which component a row is of",
    ),
    "a label below zero": ({"known": [0, -1, -3, 1, 0, 0, 0, 0]}, r"^known is -3 in row cy, and the components are 0 to 1"),
    "a label between two": ({"known": [0, 0.5, 1, 1, 0, 0, 0, 0]}, r"^known is 0\.5 in row bob, and the components are 0 to 1"),
    "too many classes": (
        {"known": changed(SIDES, 3, "m")},
        r"^known has 3 classes \(l, m and r\), and n_components is 2: each class needs a component of its own$",
    ),
    "labels of another number of rows": (
        {"known": SIDES[:5]},
        r"^known must have one label for each of the 8 rows of X, or one number for each row and component, got shape \(5,\)$",
    ),
    "a column too many": (
        {"known": np.ones((8, 3))},
        r"^known has 3 columns, and n_components is 2: it takes one for each component$",
    ),
    "a probability above one": (
        {"known": changed(ALLOWED, (3, 1), 1.5)},
        r"^known is 1\.5 in row di, column 1: probabilities lie between 0 and 1$",
    ),
    "a probability below zero": (
        {"known": changed(ALLOWED, (5, 0), -0.2)},
        r"^known is -0\.2 in row flo, column 0: probabilities lie between 0 and 1$",
    ),
    "half a row of probabilities": (
        {"known": changed(ALLOWED, (4, 1), np.nan)},
        r"^known is nan in row ed, column 1: probabilities lie between 0 and 1$",
    ),
    "a row that allows nothing": (
        {"known": changed(ALLOWED > 0, 6, False)},
        r"^known allows no component in row gus: allow one at least, or all if nothing is known$",
    ),
    "a table of words": (
        {"known": np.full((8, 2), "yes", dtype=object)},
        r"^known must be labels, one for each row, or True and False, or probabilities, for each row and component$",
    ),
    "components of classes without labels": (
        {"components_per_class": 2},
        r"^components_per_class says how many components each class has: give the rows' classes by known=$",
    ),
    "components of classes with a table": (
        {"known": ALLOWED, "components_per_class": 1},
        r"^components_per_class goes with one label for each row, and known has a column for each component$",
    ),
    "more components of classes than components": (
        {"known": SIDES, "components_per_class": 2},
        r"^components_per_class asks for 4 components for 2 classes \(l and r\), and n_components is 2: make them the same$",
    ),
    "a class that no row has": (
        {"known": SIDES, "components_per_class": {"l": 1, "r": 1, "m": 1}},
        r"^components_per_class must name the classes that known has, l and r: no row has the label 'm'$",
    ),
    "a class without components": (
        {"known": SIDES, "components_per_class": {"l": 1}},
        r"^components_per_class must name the classes that known has, l and r: the class 'r' is not in it$",
    ),
    "numbers for other classes": (
        {"known": SIDES, "components_per_class": [1, 1, 1]},
        r"^components_per_class has 3 numbers for 2 classes \(l and r\): give one for each, in this order, or a dict$",
    ),
    "no component": (
        {"known": SIDES, "components_per_class": [1, 0]},
        r"^components_per_class must be whole numbers of at least 1, got 0$",
    ),
    "half a component": (
        {"known": SIDES, "components_per_class": {"l": 1, "r": 1.5}},
        r"^components_per_class must be whole numbers of at least 1, got 1\.5$",
    ),
    "a truth value for a number": (
        {"known": SIDES, "components_per_class": True},
        r"^components_per_class must be whole numbers of at least 1, got True$",
    ),
    "sets of another number of rows": (
        {"together": [1, 1, 2]},
        r"^together must say for each of the 8 rows of X which set it is of, got shape \(3,\)$",
    ),
    "a table of sets": (
        {"together": np.zeros((8, 2))},
        r"^together must say for each of the 8 rows of X which set it is of, got shape \(8, 2\)$",
    ),
    "a set of two labels": (
        {"known": SIDES, "together": [1, 2, 3, 9, 4, 5, 9, 6]},
        r"^together and known contradict each other: rows di and gus belong together, and no component is allowed for all of them$",
    ),
    "a set of tables that have nothing in common": (
        {"known": changed(changed(ALLOWED, (1, 0), 0), (2, 1), 0), "together": [0, 7, 7, 7, 1, 2, 3, 4]},
        r"^together and known contradict each other: rows bob, cy and di belong together",
    ),
    "a negative error": (
        {"errors": changed(np.ones((8, 2)), (3, 1), -0.1)},
        r"^errors are -0\.1 in row di, column 'v': standard deviations of measurement must be zero or positive and finite$",
    ),
    "a negative error of all rows": (
        {"errors": [-1.0, 0.1]},
        r"^errors are -1\.0 in the one that all rows have, column 'u': standard deviations of measurement must be",
    ),
    "an error without bound": ({"errors": changed(np.ones((8, 2)), (2, 0), np.inf)}, r"^errors are inf in row cy, column 'u'"),
    "no error for a value": ({"errors": changed(np.ones((8, 2)), (7, 1), np.nan)}, r"^errors are nan in row hal, column 'v'"),
    "a covariance that is not symmetric": (
        {"errors": covariances((4, 0, 1), 0.005)},
        r"^errors are no covariance matrix in row ed: it must be finite and symmetric, without negative eigenvalues$",
    ),
    "a covariance that is not finite": (
        {"errors": covariances((5, 1, 1), np.nan)},
        r"^errors are no covariance matrix in row flo: ",
    ),
    "a covariance of correlation two": (
        {"errors": covariances(6, [[0.01, 0.02], [0.02, 0.01]])},
        r"^errors are no covariance matrix in row gus: ",
    ),
    "a negative variance": ({"errors": covariances((0, 0, 0), -0.01)}, r"^errors are no covariance matrix in row ann: "),
    "a covariance for all that is none": (
        {"errors": [[1.0, 2.0], [2.0, 1.0]]},
        r"^errors are no covariance matrix in the one that all rows have: ",
    ),
    "errors of another shape": (
        {"errors": np.ones((8, 3))},
        r"^errors must have the shape \(2,\) or \(8, 2\) of standard deviations, .* of covariances, got \(8, 3\)$",
    ),
    "one error for two columns": ({"errors": 0.1}, r"^errors must have the shape \(2,\) or \(8, 2\) .*, got \(\)$"),
    "errors in words": (
        {"errors": ["much", "little"]},
        r"^errors must be numbers: standard deviations of measurement, or their covariances$",
    ),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("estimator", [bg.GaussianMixture, bg.BayesianGaussianMixture])
def test_what_cannot_be_used_is_said_in_a_sentence(what, estimator):
    told, sentence = WRONG[what]
    kind = InvalidParameterError if sentence.startswith("^components_per_class") else InvalidDataError
    with pytest.raises(kind, match=sentence) as caught:
        estimator(2).fit(ROWS, **told)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DataAdvice")
def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    em = bg.GaussianMixture(2, covariance_type="spherical", random_state=1).fit(ROWS, known=SIDES)
    posterior = bg.BayesianGaussianMixture(
        2, covariance_type="spherical", draws=20, tune=20, chains=2, random_state=1, progressbar=False
    )
    posterior.fit(ROWS, known=SIDES)
    for fit in (em, posterior):
        before = dict(vars(fit))
        for told in ({"known": changed(SIDES, 3, "m")}, {"known": [0] * 7 + [5]}, {"known": [0, 1] * 4, "errors": [-1.0, 1.0]}):
            with pytest.raises(InvalidDataError):
                fit.fit(2 * ROWS, **told)
            assert vars(fit).keys() == before.keys()
            assert all(vars(fit)[name] is value for name, value in before.items())
        assert fit.component_names_ == ["l", "r"]
        assert fit.predict_class(ROWS).tolist() == SIDES.tolist()


def test_rows_to_predict_are_checked_alike(em_faithful):
    rows = em_faithful.rows_.values[:3]
    frame = pd.DataFrame(rows, columns=em_faithful.feature_names_, index=["a", "b", "c"])
    for ask in (
        em_faithful.predict,
        em_faithful.predict_proba,
        em_faithful.score_samples,
        em_faithful.impute,
        em_faithful.deconvolved,
    ):
        with pytest.raises(InvalidDataError, match=r"^errors are -1\.0 in row b, column 'eruptions'"):
            ask(frame, errors=[[1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]])
        with pytest.raises(
            InvalidDataError, match=r"^together must say for each of the 3 rows of X which set it is of, got shape \(2,\)$"
        ):
            ask(frame, together=[0, 0])
    for ask in (em_faithful.responsibilities, em_faithful.row_summary):
        with pytest.raises(InvalidDataError, match=r"^together must say for each of the 3 rows"):
            ask(frame, together=[0, 0])
    for ask in (em_faithful.deconvolved, em_faithful.row_summary):
        with pytest.raises(
            InvalidParameterError, match=r"^errors= and together= go with rows of their own: give X, or leave them out$"
        ):
            ask(errors=[0.1, 0.1])


TOLD = [{"known": SIDES}, {"together": [0, 0, 1, 1, 2, 2, 3, 3]}, {"errors": [0.1, 0.1]}]


@pytest.mark.parametrize("told", TOLD, ids=lambda told: next(iter(told)))
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DataAdvice")
def test_what_does_not_take_it_into_account_yet_says_so(told):
    em = bg.GaussianMixture(2, covariance_type="spherical", random_state=1).fit(ROWS, **told)
    sentence = (
        "cannot take labels, errors of measurement or rows that belong together into account yet: leave known=, errors= and together= "
        "out of the fit that it is asked of$"
    )
    for ask in (em.standard_errors, em.sampling_distribution, lambda: em.row_summary(kind="nonparametric")):
        with pytest.raises(InvalidDataError, match="^standard errors " + sentence):
            ask()
    with pytest.raises(InvalidDataError, match=sentence):
        loo(em, progressbar=False)
    name = next(iter(told))
    with pytest.raises(InvalidParameterError, match=f"^{name}= cannot go with noise=True yet: leave out one of them$"):
        bg.GaussianMixture(2, noise=True).fit(ROWS, **told)
    with pytest.raises(
        InvalidParameterError, match=f"^{name}= cannot go with n_components='auto' yet: give a number of components$"
    ):
        bg.BayesianGaussianMixture("auto").fit(ROWS, **told)


def test_what_needs_a_number_of_components_or_exchangeable_ones_says_so(two):
    X, y, _ = two
    with pytest.raises(
        InvalidParameterError, match=r"^known= goes with a number of components: give n_components, at least one for each"
    ):
        bg.GaussianMixture("auto").fit(X, known=y)
    fit = drawn(2, X, {"known": y}, draws=20, tune=50)
    with pytest.raises(
        InvalidParameterError, match=r"^log_evidence exchanges the components, and known= tells them apart: compare numbers"
    ):
        fit.log_evidence()
    with pytest.raises(
        InvalidParameterError, match=r"^sampler='gibbs' takes nothing that is known of rows beside their values: leave"
    ):
        drawn(2, X, {"known": y}, sampler="gibbs", draws=20, tune=20)
    init = bg.GaussianMixture(2, random_state=1).fit(X)
    with pytest.raises(InvalidParameterError, match=r"^init was fitted with other labels \(known=\), so its components are others"):
        drawn(2, X, {"known": y}, init=init, draws=20, tune=20)


def test_bic_takes_a_number_of_groups_of_sets_and_of_values_with_errors(planted):
    X, _ = planted
    who, errors = np.arange(120) // 4, np.full(2, 0.5)
    em = bg.GaussianMixture("auto", covariance_type="spherical", random_state=1).fit(X, together=who, errors=errors)
    assert em.n_components_ == 3
    E = np.tile(np.diag(errors**2), (120, 1, 1))
    expected = direct(X, em.params_, Known(None, np.arange(120), np.sqrt(E), who)).total
    assert em.bic() == pytest.approx(-2 * expected + em.n_parameters_ * np.log(120), rel=1e-10)


class TestWhatReviewFound:
    """Answers that were wrong in silence before."""

    def test_names_decide_which_row_a_label_is_of(self, two):
        X, y, _ = two
        table = pd.DataFrame(X, index=[f"row {i}" for i in range(len(X))])
        labels = pd.Series(np.where(y == 0, "a", "b"), index=table.index)
        shuffled = labels.sample(frac=1.0, random_state=1)
        fits = [bg.GaussianMixture(2, random_state=1).fit(table, known=known) for known in (labels, shuffled)]
        assert fits[0].log_likelihood_ == pytest.approx(fits[1].log_likelihood_, rel=1e-12)
        assert not len(fits[1].contradictions().query("odds > 1e6"))

    def test_labels_that_read_the_same_are_refused(self, two):
        X, y, _ = two
        with pytest.raises(InvalidDataError, match="labels that read the same"):
            bg.GaussianMixture(2).fit(X, known=[1 if each else "1" for each in y])

    def test_a_component_without_a_class_has_a_name_of_its_own(self, two):
        X, y, _ = two
        em = bg.GaussianMixture(3, covariance_type="diag", random_state=1).fit(X, known=np.where(y == 0, "2", None))
        assert em.component_names_ == ["2", "1", "component 2"]

    def test_compare_refuses_fits_that_were_told_different_labels(self, two):
        X, y, _ = two
        em = bg.GaussianMixture(2, random_state=1).fit(X, known=y)
        other = drawn(2, X, {"known": 1 - y}, draws=20, tune=50)
        with pytest.raises(InvalidParameterError, match="different labels"):
            bg.compare(em, other)

    def test_replicates_keep_the_sets_and_the_labels_of_their_rows(self):
        """Two groups far apart in pairs: the mean of pairs varies as much as one draw does, not half as much."""
        rng = np.random.default_rng(3)
        n, T = 400, 2000
        params = bg.MixtureParams(
            np.tile([0.5, 0.5], (T, 1)), np.tile([[-10.0], [10.0]], (T, 1, 1)), np.tile(np.eye(1), (T, 2, 1, 1))
        )
        sets = np.arange(n) // 2
        labels = np.full((n, 2), 0.0)
        labels[:20, 1] = -np.inf
        values = predictive_checks._of_known(params, Known(sets=sets, log_weights=labels), n, rng)[..., 0]
        assert (values[:, :20] < 0).all()
        pairs = values[:, 20:].reshape(T, -1, 2)
        assert (np.sign(pairs[..., 0]) == np.sign(pairs[..., 1])).all()
        # A mean of 190 independent signs, times ten, and of 380 values about them.
        assert pairs.mean((1, 2)).std() == pytest.approx(np.sqrt(100 / 190 + 1 / 380), rel=4 / np.sqrt(2 * T))


def test_groups_go_by_their_names_once():
    names = GroupNames(("1", "0"))
    assert names.in_text("Group 0, 3 of 12 rows; groups 0, 1 and 5.") == "Group 1, 3 of 12 rows; groups 1, 0 and 5."
    assert names.in_text("In group 0.25 is left of groups 0 and 1.5.") == "In group 0.25 is left of groups 1 and 1.5."
    assert names.in_text("subgroup 0, groupings 1") == "subgroup 0, groupings 1"
