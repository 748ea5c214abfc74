"""What a fit keeps, and what it meets again: its rows are its own, columns go by name, weights are frequencies."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture as SklearnMixture

import bayesgmm as bg
from bayesgmm.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from bayesgmm.partitions import draw_labels

SHORT = {"draws": 40, "tune": 40, "chains": 2, "random_state": 1, "progressbar": False}
FEW = settings(max_examples=15, deadline=None)


def two_groups(rng, n=80, D=2, apart=5.0):
    X = rng.normal(size=(n, D))
    X[: n // 3, 0] += apart
    return X


def quietly(fit, X, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit.fit(X, **more)


# Rows are a fit's own

CONTAINERS = {
    "array": lambda X: X,
    "frame": lambda X: pd.DataFrame(X, columns=["a", "b"], copy=False),
    "Fortran": np.asfortranarray,
    "view": lambda X: X[:, ::-1],
}
SAID_BY_EM = {
    "standard errors": lambda em: em.standard_errors().means.values,
    "responsibilities": lambda em: em.responsibilities().values,
    "row summary": lambda em: em.row_summary().entropy.values,
    "tree": lambda em: em.datatree_["observed_data"]["x"].values,
    "effective size": lambda em: em.effective_sample_size_,
    "loo": lambda em: bg.criticism.loo(em).elpd,
    "draws of labels": lambda em: draw_labels(em, random_state=0),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_what_a_fit_says_does_not_change_when_the_callers_arrays_do(kind, rng):
    X = CONTAINERS[kind](two_groups(rng))
    weight = rng.integers(1, 3, len(X)).astype(float)
    em = bg.GaussianMixture(2, random_state=1).fit(X, sample_weight=weight)
    before = {name: np.array(ask(em)) for name, ask in SAID_BY_EM.items()}
    base = X if isinstance(X, np.ndarray) else X.to_numpy()
    if base.flags.writeable:
        base *= 1000.0
    if isinstance(X, pd.DataFrame):
        X[:] = X * 1000.0
    weight[:] = 7.0
    for name, ask in SAID_BY_EM.items():
        np.testing.assert_array_equal(ask(em), before[name], err_msg=name)


def test_nor_does_what_a_posterior_a_comparison_and_a_selection_say(rng):
    X = two_groups(rng)
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    posterior = quietly(bg.BayesianGaussianMixture(2, init=em, **SHORT), X)
    compared = bg.compare(em, posterior, X, n_replicates=20)
    selected = bg.select(X, [1, 2], ["full", "diag"], random_state=1, progressbar=False)
    asked = (
        lambda: posterior.responsibilities().values,
        lambda: posterior.row_summary().entropy.values,
        lambda: posterior.datatree_["observed_data"]["x"].values,
        lambda: compared.filled,
        lambda: selected.ties("aic")["noise"].values,
    )
    before = [np.array(ask()) for ask in asked]
    X *= -50.0
    for ask, was in zip(asked, before, strict=True):
        np.testing.assert_array_equal(ask(), was)


# Columns go by name


@pytest.fixture(scope="module")
def frame():
    return pd.DataFrame(two_groups(np.random.default_rng(3)), columns=["a", "b"])


@pytest.fixture(scope="module")
def em(frame):
    return bg.GaussianMixture(2, random_state=1).fit(frame)


def test_a_fit_never_meets_columns_in_another_order(em, frame):
    other = frame[["b", "a"]]
    meetings = {
        "init": lambda: bg.BayesianGaussianMixture(2, init=em, **SHORT).fit(other),
        "init_params": lambda: bg.GaussianMixture(2, init_params=em).fit(other),
        "predict": lambda: em.predict(other),
        "merge": lambda: bg.merge_components(em, other),
        "labels": lambda: draw_labels(em, other),
        "picture": lambda: bg.plots.plot_groups(other, em),
    }
    for name, meet in meetings.items():
        with pytest.raises(ValueError, match=r"order|has seen the columns a and b, and X has b and a"):
            pytest.fail(f"{name}: {meet()}")
    posterior = quietly(bg.BayesianGaussianMixture(2, **SHORT), other)
    with pytest.raises(InvalidParameterError, match="different columns"):
        bg.compare(em, posterior)


def test_rows_without_names_go_with_any_fit(em, frame):
    again = bg.GaussianMixture(2, init_params=em).fit(frame.to_numpy())
    np.testing.assert_allclose(again.means_, em.means_, rtol=1e-7)


# Settings that are fits


@pytest.mark.parametrize("theirs", ["VVV", "EEE", "VVI", "VII"])
def test_a_family_has_two_names_and_is_one_model(theirs, frame):
    ours = bg.GaussianMixture(covariance_type=theirs).family_.name
    em = bg.GaussianMixture(2, covariance_type=theirs, random_state=1).fit(frame)
    posterior = quietly(bg.BayesianGaussianMixture(2, covariance_type=ours, init=em, **SHORT), frame)
    assert posterior.em_ is em
    assert bg.compare(em, posterior, n_replicates=20).order == (0, 1)
    twin = quietly(bg.BayesianGaussianMixture(2, covariance_type=theirs, **SHORT), frame)
    np.testing.assert_array_equal(twin.params_.means.shape, posterior.params_.means.shape)


@given(st.integers(0, 10**6), st.sampled_from(["tied", "diag", "spherical", "EEV", "VEI"]))
@FEW
def test_a_start_from_another_family_is_brought_into_this_one(seed, kind):
    """Covariances outside the family are higher than any inside it may be: EM would seem to lead down from there."""
    X = two_groups(np.random.default_rng(seed), D=3, apart=2.0) @ np.array([[1.0, 0.9, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 3.0]])
    full = quietly(bg.GaussianMixture(2, random_state=0), X)
    em = quietly(bg.GaussianMixture(2, covariance_type=kind, init_params=full), X)
    trace = em.log_likelihood_trace_
    assert (np.diff(trace) >= -1e-8 * np.abs(trace[1:])).all()


def test_a_fit_that_is_a_setting_and_not_fitted_is_fitted_first(frame):
    inner = bg.GaussianMixture(2, random_state=5)
    posterior = quietly(bg.BayesianGaussianMixture(2, init=inner, **SHORT), frame)
    np.testing.assert_allclose(posterior.em_.means_, bg.GaussianMixture(2, random_state=5).fit(frame).means_, rtol=1e-9)
    assert not hasattr(inner, "params_")
    theirs = SklearnMixture(2, random_state=0)
    from_theirs = bg.GaussianMixture(2, init_params=theirs).fit(frame.to_numpy())
    fitted = bg.GaussianMixture(2, init_params=theirs.fit(frame)).fit(frame)
    np.testing.assert_allclose(from_theirs.means_, fitted.means_, rtol=1e-6)


# Warm starts


def test_a_warm_start_of_another_model_is_a_fresh_one(frame):
    em = bg.GaussianMixture(2, warm_start=True, random_state=1).fit(frame)
    changes = (
        ({"n_components": 3}, frame),
        ({"covariance_type": "tied"}, frame),
        ({}, frame[["b", "a"]]),
        ({"n_components": 2}, frame[["a"]]),
    )
    for change, X in changes:
        quietly(em.set_params(**change), X)
        fresh = quietly(bg.GaussianMixture(**{**em.get_params(), "warm_start": False}), X)
        assert em.weights_.shape == (em.n_components,)
        np.testing.assert_array_equal(em.means_, fresh.means_)


@given(st.integers(0, 10**6), st.sampled_from([None, 0.0]))
@FEW
def test_iterations_one_at_a_time_end_where_they_would_together(seed, ridge):
    X = two_groups(np.random.default_rng(seed), apart=6.0)
    one = bg.GaussianMixture(2, warm_start=True, max_iter=1, tol=1e-7, reg_covar=ridge, random_state=0)
    heights = []
    for _ in range(400):
        heights.append(quietly(one, X).log_likelihood_)
        if one.converged_:
            break
    assert one.converged_, one.message_
    assert one.n_iter_ == 1
    assert (np.diff(heights) > -1e-9 * np.abs(heights[-1])).all()
    together = quietly(bg.GaussianMixture(2, init_params=one.params_, tol=1e-7, reg_covar=ridge), X)
    assert together.log_likelihood_ - one.log_likelihood_ < 1e-4


# Weights are frequencies


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3))
@FEW
def test_weights_that_cannot_be_frequencies_are_refused_and_scaled_ones_are_not(seed, K, D):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(100, D))
    weight = rng.exponential(size=100)
    weight /= weight.sum()
    for fit in (bg.GaussianMixture(K, random_state=0), bg.BayesianGaussianMixture(K, **SHORT)):
        with pytest.raises(InvalidDataError, match=r"sample_weight adds up to 1 for 100 rows.*frequencies"):
            fit.fit(X, sample_weight=weight)
    with pytest.raises(InvalidDataError, match="frequencies"):
        bg.select(X, [K], "full", sample_weight=weight, progressbar=False)
    assert quietly(bg.GaussianMixture(K, random_state=0), X, sample_weight=100 * weight).weights_.shape == (K,)


def test_few_rows_of_weight_one_among_many_of_weight_zero_are_frequencies(rng):
    X = rng.normal(size=(200, 2))
    weight = np.zeros(200)
    weight[:5] = 1.0
    assert quietly(bg.GaussianMixture(2, random_state=0), X, sample_weight=weight).effective_sample_size_ == 5


# Arrays as other tools hand them over


def asked(X):
    em = bg.GaussianMixture(2, n_init=2, random_state=0).fit(X)
    return em.log_likelihood_, em.standard_errors().means.values, em.responsibilities().values, em.effective_sample_size_


def selected(X):
    return bg.select(X, [1, 2], "diag", n_init=1, random_state=0, progressbar=False).table["bic"].to_numpy()


def test_joblib_hands_over_maps_and_all_can_be_asked_of_fits_to_them(rng):
    X = two_groups(rng, n=40_000)
    assert X.nbytes > 2**19
    with joblib.Parallel(n_jobs=2, max_nbytes=1000) as pool:
        (here, there), (best,) = pool(joblib.delayed(asked)(X) for _ in range(2)), pool([joblib.delayed(selected)(X)])
    for one, other, alone in zip(here, there, asked(X), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, alone)
    np.testing.assert_array_equal(best, selected(X))


def test_a_large_map_is_read_in_chunks_and_a_small_one_whole(rng, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", two_groups(rng))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    em = bg.GaussianMixture(2, random_state=0).fit(mapped)
    assert em.responsibilities().shape == (80, 2)
    monkeypatch.setattr("bayesgmm.rows.open.MAPPED_IN_MEMORY", 100)
    chunked = bg.GaussianMixture(2, random_state=0).fit(mapped)
    np.testing.assert_allclose(chunked.means_, em.means_, rtol=1e-9)
    with pytest.raises(InvalidDataError, match="in chunks and keeps none"):
        chunked.responsibilities()


@pytest.mark.parametrize("make", [np.asfortranarray, lambda X: X[::2], lambda X: X.astype(np.float32), "read-only"])
def test_arrays_in_any_order_say_the_same(make, rng):
    X = two_groups(rng)
    if make == "read-only":
        given = X.copy()
        given.flags.writeable = False
    else:
        given = make(X)
    plain = np.array(given, dtype=float, order="C")
    em = bg.GaussianMixture(2, random_state=0).fit(plain)
    draws = em.sampling_distribution("weighted", n_draws=10)["posterior"]
    params = bg.MixtureParams.from_covariances(draws.weights.values, draws.means.values, draws.covariances.values)
    for ask in (
        em.predict_proba,
        em.params_.log_density,
        lambda rows: bg.diagnostics.label_free(params, rows)["log_density"].values,
        lambda rows: bg.partitions.row_summary(params, rows)["entropy"].values,
        em.impute,
    ):
        np.testing.assert_array_equal(ask(given), ask(plain))
