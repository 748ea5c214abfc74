"""A maximum means something where the data determine it: of any size, at any distance; never where a floor or a few rows hold it up."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.covariance import family, names
from bayesgmm.exceptions import ConvergenceWarning, DataAdvice, InvalidDataError, InvalidParameterError

ALL = names()
WITH_AXES = [name for name in ALL if not family(name).diagonal]
SEEDS = st.integers(0, 2**32 - 1)
REGULAR = ("converged", "max_iter")


def told(K, X, **how):
    """Return a fit, and the warnings of how it ended; advice on values is let pass, and anything else is an error."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataAdvice)
        warnings.simplefilter("always", ConvergenceWarning)
        em = bg.GaussianMixture(K, **({"random_state": 0} | how)).fit(X)
    assert (em.status_ == "converged") == (not said)
    return em


def tried(K, X, **how):
    """Return a fit and nothing said, or none and the sentence of the error: any other is a fault."""
    try:
        return told(K, X, **how), ""
    except (InvalidDataError, InvalidParameterError) as error:
        return None, str(error)


def m_step(name, X, r):
    """Return what an M-step without a floor makes of responsibilities (N, K), by NumPy; families whose covariances are formulas."""
    letters, counts = family(name).letters, r.sum(0)
    means = r.T @ X / counts[:, None]
    own = np.stack([((X - m).T * r[:, k]) @ (X - m) / counts[k] for k, m in enumerate(means)])
    covariances = own if letters[0] == "V" else np.broadcast_to(np.average(own, axis=0, weights=counts), own.shape)
    if letters[1] == "I":
        return np.trace(covariances, axis1=1, axis2=2)[:, None, None] / X.shape[1] * np.eye(X.shape[1])
    return covariances * np.eye(X.shape[1]) if family(name).diagonal else covariances


def least_in_units(covariances, units):
    """Return the smallest variance in any direction, in squared units (D,) of each column."""
    return float(np.linalg.eigvalsh(covariances / np.outer(units, units)).min())


def assert_no_floor_holds_it_up(em, X, name, step):
    """What is called regular keeps clear of what rounding to a step tells, and is the M-step without a floor of its own rows."""
    bound = np.minimum(step / np.sqrt(12.0), 0.5 * X.std(0)) if step else 1e-11 * X.std(0)
    assert least_in_units(em.params_.covariances, np.full(X.shape[1], bound.min()) if name in TURNING else bound) > 1.0
    if em.status_ == "converged" and name in FORMULAS:
        np.testing.assert_allclose(whitened(em, X, name), 1.0, atol=1e-3)


def whitened(em, X, name):
    """Return the variances, in every direction that a family has, of a fit's rows in coordinates whitened by its covariances: all one.

    An M-step without a floor makes them so. Where a floor holds a direction up, its variance is less.
    """
    r, letters = em.predict_proba(X), family(name).letters
    z = [np.linalg.solve(factor, (X - m).T) for m, factor in zip(em.params_.means, em.params_.scale_tril, strict=True)]
    moments = np.stack([(rows * r[:, k]) @ rows.T / r[:, k].sum() for k, rows in enumerate(z)])
    if letters[0] == "E":
        moments = np.average(moments, axis=0, weights=r.sum(0))[None]
    if letters[1] == "I":
        return np.trace(moments, axis1=1, axis2=2) / X.shape[1]
    return np.diagonal(moments, axis1=1, axis2=2) if family(name).diagonal else np.linalg.eigvalsh(moments)


FORMULAS = ["full", "tied", "diag", "spherical", "EII", "EEI"]
TURNING = [name for name in ALL if family(name).invariance == "scale"]


# Groups that stand apart


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    seed=SEEDS,
    name=st.sampled_from(["full", "diag", "spherical"]),
    K=st.integers(2, 4),
    D=st.integers(1, 3),
    far=st.floats(1.2, 4.0),
)
def test_groups_of_any_tightness_and_distance_reach_their_closed_form(data, seed, name, K, D, far):
    """Each of 10**far to 30 times as many of its neighbour's sds away, its own sd a hundredth to a hundred."""
    sds = 10.0 ** np.array(data.draw(st.lists(st.floats(-2.0, 2.0), min_size=K, max_size=K)))
    rng = np.random.default_rng(seed)
    n = 30 + rng.integers(0, 40, size=K)
    gaps = (sds[1:] + sds[:-1]) * 10.0**far * rng.uniform(1.0, 3.0, K - 1)
    direction = rng.choice([-1.0, 1.0], D) * rng.uniform(0.5, 1.0, D)
    centres = np.r_[0.0, np.cumsum(gaps)][:, None] * direction / np.linalg.norm(direction)
    labels = np.repeat(np.arange(K), n)
    X = centres[labels] + sds[labels, None] * rng.normal(size=(n.sum(), D))
    em = told(K, X, covariance_type=name)
    r = np.eye(K)[labels]
    covariances = m_step(name, X, r)
    found = np.argmax(em.predict_proba(X).T @ r, axis=0)
    assert em.status_ == "converged"
    assert sorted(found) == list(range(K))
    scale = np.trace(covariances, axis1=1, axis2=2)[:, None, None]
    np.testing.assert_allclose(em.params_.covariances[found] / scale, covariances / scale, atol=1e-5)
    np.testing.assert_allclose(em.weights_[found], n / n.sum(), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, name=st.sampled_from(["tied", "EII", "EEI"]), K=st.integers(2, 6), D=st.integers(1, 3), far=st.floats(1.7, 6.0))
def test_so_do_groups_that_share_their_covariance(seed, name, K, D, far):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), 20)
    direction = rng.uniform(0.5, 1.0, D)
    X = 10.0**far * labels[:, None] * direction + rng.normal(size=(len(labels), D))
    em = told(K, X, covariance_type=name)
    expected = m_step(name, X, np.eye(K)[labels])[0]
    assert em.status_ == "converged"
    np.testing.assert_allclose(em.params_.covariances[0], expected, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, share=st.floats(0.15, 0.6), narrow=st.floats(-3.0, -1.5), at=st.floats(-1.0, 1.0))
def test_a_line_on_a_background_is_at_least_as_high_as_em_from_the_truth(seed, share, narrow, at):
    rng, n = np.random.default_rng(seed), 600
    is_line = np.arange(n) < share * n
    X = np.where(is_line, at + 10.0**narrow * rng.normal(size=n), rng.normal(size=n))[:, None]
    em = told(2, X)
    truth = {
        "weights_init": [share, 1 - share],
        "means_init": [[at], [0.0]],
        "precisions_init": [[[10.0 ** (-2 * narrow)]], [[1.0]]],
    }
    best = told(2, X, **truth)
    assert em.status_ == "converged"
    assert em.log_likelihood_ > best.log_likelihood_ - 0.01


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, gross=st.floats(3.0, 7.0), name=st.sampled_from(["full", "diag", "tied"]))
def test_one_gross_row_sets_no_floor_for_the_groups(seed, gross, name):
    """What groups apart from it are called does not change: the floor follows their scale, not the farthest row's distance."""
    rng = np.random.default_rng(seed)
    rows = np.r_[rng.normal(0, 1, (60, 1)), rng.normal(12, 1, (40, 1))]
    X = np.r_[rows, [[10.0**gross]]]
    start = {"weights_init": [0.59, 0.4, 0.01], "means_init": [[0.0], [12.0], [10.0**gross]]}
    one = {"full": np.ones((3, 1, 1)), "diag": np.ones((3, 1)), "tied": np.ones((1, 1))}[name]
    em = told(3, X, covariance_type=name, precisions_init=one, **start)
    alone = told(2, rows, covariance_type="tied" if name == "tied" else "full")
    order = np.argsort(em.means_.ravel())[:2]
    np.testing.assert_allclose(np.sort(em.means_.ravel())[:2], np.sort(alone.means_.ravel()), rtol=1e-4, atol=1e-4)
    ratio = 1.0 if name != "tied" else 100.0 / 101.0  # the row's own component adds a row to what is shared, and no spread
    sds = np.sqrt(em.params_.covariances[order, 0, 0])
    np.testing.assert_allclose(sds, np.sqrt(alone.params_.covariances[np.argsort(alone.means_.ravel()), 0, 0] * ratio), rtol=1e-4)
    assert (em.status_ == "converged") == (name == "tied")


# Floors


@example(seed=350, name="full", n=6, D=4, K=2, kind="tight", unit=0.0)
@settings(max_examples=120, deadline=None)
@given(
    seed=SEEDS,
    name=st.sampled_from(ALL),
    n=st.integers(6, 80),
    D=st.integers(1, 4),
    K=st.integers(1, 5),
    kind=st.sampled_from(["groups", "copied", "rounded", "tight", "nearly collinear"]),
    unit=st.floats(-4.0, 4.0),
)
def test_what_a_floor_holds_up_is_never_called_converged(seed, name, n, D, K, kind, unit):
    rng = np.random.default_rng(seed)
    X, step = rng.normal(size=(n, D)) + 4.0 * rng.integers(0, 2, size=(n, 1)), 0.0
    if kind == "copied":
        X[: n // 3] = X[0]
    elif kind == "tight":
        X[: n // 2] = X[0] + 10.0 ** rng.uniform(-9, -1) * rng.normal(size=(n // 2, D))
    elif kind == "nearly collinear":
        X[:, -1] = X.sum(1) + 10.0 ** rng.uniform(-12, -3) * rng.normal(size=n)
    elif kind == "rounded":
        step = 0.5
        X = X.round() * 0.5
    X, step = X * 10.0**unit, step * 10.0**unit
    em, said = tried(K, X, covariance_type=name)
    if em is None:
        assert "distinct rows" in said or "same value in every row" in said
        return
    assert np.isfinite(em.log_likelihood_)
    assert np.isfinite(em.predict_proba(X)).all()
    if em.status_ in REGULAR:
        assert_no_floor_holds_it_up(em, X, name, step if K > 1 else 0.0)


def parts_of_a_whole(seed, n, D, decimals, whole):
    rng = np.random.default_rng(seed)
    alphas = rng.uniform(2.0, 20.0, (2, D))
    return (np.concatenate([rng.dirichlet(a, n) for a in alphas]) * whole).round(decimals)


@settings(max_examples=80, deadline=None)
@given(
    seed=SEEDS,
    name=st.sampled_from(ALL),
    n=st.integers(10, 100),
    D=st.integers(2, 5),
    decimals=st.integers(0, 4),
    whole=st.sampled_from([1.0, 24.0, 100.0]),
    K=st.integers(1, 4),
)
def test_rounded_parts_of_a_whole_are_fitted_and_told(seed, name, n, D, decimals, whole, K):
    decimals += 2 if whole == 1.0 else 0
    X = parts_of_a_whole(seed, n, D, decimals, whole)
    em = told(K, X, covariance_type=name)
    assert np.isfinite(em.log_likelihood_)
    if em.status_ in REGULAR:
        assert_no_floor_holds_it_up(em, X, name, 10.0**-decimals if K > 1 else 0.0)  # one component is all rows, rounded or not


# Singular covariances


def singular(kind, seed, D):
    """Return rows whose covariance is singular by construction, and the numbers of the columns that make it so."""
    rng = np.random.default_rng(seed)
    if kind == "fewer rows than columns":
        return rng.normal(size=(rng.integers(3, D + 1), D)), range(D)
    X = rng.normal(size=(60, D))
    if kind == "a sum":
        X[:, 0] = X[:, 1:].sum(1)
        return X, range(D)
    X[:, 0] = 2.54 * X[:, D - 1] + 7.0
    return X, [0, D - 1]


@settings(max_examples=80, deadline=None)
@given(
    data=st.data(),
    seed=SEEDS,
    kind=st.sampled_from(["fewer rows than columns", "a sum", "other units"]),
    name=st.sampled_from(WITH_AXES),
    D=st.integers(3, 8),
)
def test_one_singular_covariance_is_told_with_its_columns(data, seed, kind, name, D):
    units = 10.0 ** np.array(data.draw(st.lists(st.floats(-6.0, 6.0), min_size=D, max_size=D)))
    X, columns = singular(kind, seed, D)
    em = told(1, X * units, covariance_type=name)
    assert em.status_ == "collapsed"
    named = [d for d in range(D) if f"'x{d}'" in em.message_]
    assert named
    assert set(named) <= set(columns)
    if kind == "other units":
        assert named == list(columns)
    assert "singular" in em.message_
    if kind == "fewer rows than columns":
        assert f"{len(X)} rows cannot determine the {D} directions" in em.message_


@settings(max_examples=20, deadline=None)
@given(
    seed=SEEDS,
    kind=st.sampled_from(["fewer rows than columns", "a sum", "other units"]),
    name=st.sampled_from(WITH_AXES),
    D=st.integers(3, 6),
    K=st.integers(2, 3),
)
def test_nor_do_several_components_hide_it(seed, kind, name, D, K):
    X, _ = singular(kind, seed, D)
    if len(X) <= K:
        return
    em = told(K, X, covariance_type=name)
    assert em.status_ in ("collapsed", "spurious")
    assert "'x" in em.message_ or "too few rows" in em.message_


@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, kind=st.sampled_from(["fewer rows than columns", "a sum", "other units"]), D=st.integers(3, 6))
def test_select_takes_no_singular_model_while_there_is_a_regular_one(seed, kind, D):
    X, _ = singular(kind, seed, D)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = bg.select(X, [1, 2], ["full", "diag", "tied", "spherical", "EEV"], random_state=0, progressbar=False)
    with_axes = found.table["covariance_type"].isin(WITH_AXES)
    assert not found.table["status"][with_axes].isin(REGULAR).any()
    assert (found.table["status"][~with_axes & (found.table["n_components"] == 1)] == "converged").all()
    for criterion in ("aic", "bic", "icl"):
        assert found.best(criterion).covariance_type in ("diag", "spherical")
        assert found.best(criterion).status_ in REGULAR


# What leaves a component without spread


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    distinct=st.integers(1, 5),
    K=st.integers(1, 5),
    method=st.sampled_from(["random_from_data", "k-means++", "kmeans", "random", "auto"]),
    reg_covar=st.sampled_from([None, 0.0, 1e-6]),
)
def test_few_distinct_rows_give_a_fit_or_one_sentence(seed, distinct, K, method, reg_covar):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(distinct, 2))[rng.integers(0, distinct, 20)]
    em, said = tried(K, X, init_params=method, reg_covar=reg_covar)
    if em is None:
        assert "distinct rows" in said or "same value in every row" in said or (reg_covar == 0.0 and "without spread" in said)
        assert reg_covar == 0.0 or len(np.unique(X, axis=0)) <= K
        return
    assert np.isfinite(em.params_.covariances).all()
    assert em.status_ != "converged" or distinct > (2 if K == 1 else 3)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, n=st.integers(3, 12), D=st.integers(1, 3), K=st.integers(2, 3), name=st.sampled_from(ALL))
def test_labels_that_leave_no_spread_without_a_floor_give_a_fit_or_one_sentence(seed, n, D, K, name):
    rng = np.random.default_rng(seed)
    X, labels = rng.normal(size=(n, D)), np.r_[np.arange(K), rng.integers(0, K, n)][:n]
    if n <= K:
        return
    em, said = tried(K, X, covariance_type=name, init_params=labels, reg_covar=0)
    if em is None:
        # Of so few rows EM may also climb on to where nothing is left of a component.
        assert "ended in a component without spread" in said or ("no spread" in said and np.bincount(labels).min() <= D)
        return
    assert np.isfinite(em.log_likelihood_)


def test_three_rows_for_two_components_without_a_floor():
    with pytest.raises(InvalidParameterError, match="no spread"):
        bg.GaussianMixture(2, init_params=[0, 0, 1], reg_covar=0).fit([[0.0], [1.0], [5.0]])


@settings(max_examples=12, deadline=None)
@given(
    seed=SEEDS,
    name=st.sampled_from(ALL),
    K=st.integers(1, 3),
    D=st.integers(2, 4),
    gaps=st.floats(0.02, 0.3),
    exact=st.booleans(),
)
def test_collinear_columns_with_gaps_give_a_fit_and_say_what_they_are(seed, name, K, D, gaps, exact):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, D)) + 3.0 * rng.integers(0, 2, (40, 1))
    X[:, 0] = 2.0 * X[:, -1] + (0.0 if exact else 1e-13 * rng.normal(size=40))
    X[(rng.uniform(size=X.shape) < gaps) & (np.arange(D) != rng.integers(0, D, (40, 1)))] = np.nan
    em = told(K, X, covariance_type=name)
    assert np.isfinite(em.log_likelihood_)
    assert np.isfinite(em.params_.covariances).all()
    if name in WITH_AXES:
        assert em.status_ in ("collapsed", "spurious", "max_iter")
    assert np.isfinite(em.impute(X)).all()
