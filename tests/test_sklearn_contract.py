"""GaussianMixture among scikit-learn's tools, beside scikit-learn's own, and what is said about input that cannot be used."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import bayesgmm as bg
from bayesgmm.exceptions import BayesGMMError, InvalidDataError, InvalidParameterError

KINDS = ["full", "tied", "diag", "spherical"]
ESTIMATORS = [bg.GaussianMixture, bg.BayesianGaussianMixture]


# Among scikit-learn's tools


def test_in_a_pipeline_units_are_the_pipelines(faithful):
    pipeline = make_pipeline(StandardScaler(), bg.GaussianMixture(2, random_state=0)).fit(faithful)
    alone = bg.GaussianMixture(2, random_state=0).fit(faithful)
    np.testing.assert_allclose(pipeline.predict_proba(faithful), alone.predict_proba(faithful), atol=1e-5)
    # The density changes by the scaling's determinant, and by nothing else.
    shift = np.log(pipeline[0].scale_).sum()
    assert pipeline.score(faithful) == pytest.approx(alone.score(faithful) + shift, abs=1e-7)
    np.testing.assert_allclose(pipeline[0].inverse_transform(pipeline[1].means_), alone.means_, rtol=1e-4)


def test_a_pipelines_rows_may_have_gaps(faithful, rng):
    X = faithful.to_numpy(dtype=float, copy=True)
    X[rng.random(X.shape) < 0.1] = np.nan
    pipeline = make_pipeline(StandardScaler(), bg.GaussianMixture(2, n_init=2, random_state=0)).fit(X)
    assert np.isfinite(pipeline.score(X))


def test_a_grid_search_is_by_the_score_of_rows_left_out(faithful):
    grid = {"n_components": [1, 2], "covariance_type": ["full", "EII"]}
    folds = KFold(3, shuffle=True, random_state=0)
    X = faithful.to_numpy()
    search = GridSearchCV(bg.GaussianMixture(n_init=2, random_state=0), grid, cv=folds).fit(X)
    for settings, found in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        scores = [
            bg.GaussianMixture(**settings, n_init=2, random_state=0).fit(X[fit]).score(X[left]) for fit, left in folds.split(X)
        ]
        assert found == pytest.approx(np.mean(scores), rel=1e-12)
    assert search.best_params_ == {"n_components": 2, "covariance_type": "full"}
    assert search.best_estimator_.n_components == 2


def test_weights_are_routed_to_fit_and_score(faithful, rng):
    """A weight of zero takes a row out of fit and score alike: the search is then one over the other rows."""
    weight = rng.integers(0, 2, size=len(faithful)).astype(float)
    there = weight > 0
    folds = [(np.arange(0, 272, 2), np.arange(1, 272, 2)), (np.arange(1, 272, 2), np.arange(0, 272, 2))]
    number = np.cumsum(there) - 1
    fewer = [tuple(number[part[there[part]]] for part in fold) for fold in folds]
    grid = {"n_components": [1, 2]}
    with sklearn.config_context(enable_metadata_routing=True):
        asks = bg.GaussianMixture(n_init=2, random_state=0)
        asks.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        weighted = GridSearchCV(asks, grid, cv=folds).fit(faithful, sample_weight=weight)
        with pytest.raises(ValueError, match="sample_weight"):
            GridSearchCV(bg.GaussianMixture(), grid, cv=folds).fit(faithful, sample_weight=weight)
    plain = GridSearchCV(bg.GaussianMixture(n_init=2, random_state=0), grid, cv=fewer).fit(faithful[there])
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_allclose(weighted.cv_results_[name], plain.cv_results_[name], rtol=1e-10)
    assert (weighted.cv_results_["split0_test_score"] != weighted.cv_results_["split1_test_score"]).all()
    np.testing.assert_array_equal(weighted.best_estimator_.means_, plain.best_estimator_.means_)


def test_weights_go_through_a_pipeline(faithful, rng):
    weight = rng.integers(0, 3, size=len(faithful))
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        mixture = bg.GaussianMixture(2, random_state=0).set_fit_request(sample_weight=True)
        weighted = Pipeline([("scale", scaler), ("mix", mixture)]).fit(faithful, sample_weight=weight)
    repeated = make_pipeline(StandardScaler(), bg.GaussianMixture(2, random_state=0)).fit(np.repeat(faithful, weight, axis=0))
    np.testing.assert_allclose(weighted["mix"].means_, repeated[1].means_, rtol=1e-5, atol=1e-8)
    assert weighted["mix"].log_likelihood_ == pytest.approx(repeated[1].log_likelihood_, rel=1e-9)


@pytest.mark.parametrize("Estimator", ESTIMATORS)
def test_parameters_are_the_constructors_and_a_clone_has_them(Estimator):
    model = Estimator(3, covariance_type="tied", random_state=5)
    settings = model.get_params()
    assert (settings["n_components"], settings["covariance_type"], settings["random_state"]) == (3, "tied", 5)
    assert set(settings) == set(Estimator().get_params())
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == settings
    assert copy.set_params(n_components=2).n_components == 2
    assert model.n_components == 3
    with pytest.raises(ValueError, match="Invalid parameter 'components'"):
        model.set_params(components=2)
    # A search over a pipeline's steps sets them by their double names.
    assert Pipeline([("mix", model)]).set_params(mix__n_components=4)["mix"].n_components == 4


def test_a_clone_of_a_fit_is_not_fitted_and_fits_to_the_same(em_faithful, faithful):
    copy = clone(em_faithful)
    assert not [name for name in vars(copy) if name.endswith("_")]
    with pytest.raises(sklearn.exceptions.NotFittedError):
        copy.predict(faithful)
    np.testing.assert_array_equal(copy.fit(faithful).means_, em_faithful.means_)


@pytest.mark.parametrize("name", ["em_faithful", "posterior_faithful"])
def test_names_of_columns_are_kept_and_held_to(name, faithful, request):
    fitted = request.getfixturevalue(name)
    assert list(fitted.feature_names_in_) == ["eruptions", "waiting"]
    assert fitted.n_features_in_ == 2
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(faithful[["waiting", "eruptions"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        labels = fitted.predict(faithful.to_numpy())
    np.testing.assert_array_equal(labels, fitted.predict(faithful))


def test_arrays_have_no_names_of_columns(faithful):
    fitted = bg.GaussianMixture(1).fit(faithful.to_numpy())
    assert not hasattr(fitted, "feature_names_in_")
    assert fitted.n_features_in_ == 2


@pytest.mark.parametrize("kind", [*KINDS, "VEV"])
def test_fit_predict_is_fit_then_predict(kind, faithful):
    settings = {"n_components": 3, "covariance_type": kind, "n_init": 2, "max_iter": 5, "tol": 0.0, "random_state": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five iterations are too few, on purpose: there the two could differ
        one, other = bg.GaussianMixture(**settings), bg.GaussianMixture(**settings)
        np.testing.assert_array_equal(one.fit_predict(faithful), other.fit(faithful).predict(faithful))
    np.testing.assert_array_equal(one.means_, other.means_)


def test_a_posterior_is_one_of_scikit_learns_estimators_too(faithful):
    def pipeline():
        settings = {"draws": 50, "tune": 100, "chains": 2, "random_state": 1, "progressbar": False}
        return make_pipeline(StandardScaler(), bg.BayesianGaussianMixture(2, **settings))

    fitted = pipeline().fit(faithful)
    assert fitted.predict_proba(faithful).shape == (272, 2)
    np.testing.assert_array_equal(pipeline().fit_predict(faithful), fitted.predict(faithful))
    copy = clone(fitted)
    assert not hasattr(copy[1], "params_")
    assert copy[1].get_params() == fitted[1].get_params()


# Beside scikit-learn's own


def start_of(X, K, kind):
    """A start in scikit-learn's shapes: cuts along the first principal component, one covariance for all of them."""
    Z = (X - X.mean(0)) / X.std(0)
    first = np.linalg.svd(Z, full_matrices=False)[0][:, 0]
    labels = np.argsort(np.argsort(first)) * K // len(X)
    covariance = np.cov(X.T, bias=True) + 1e-6 * np.eye(X.shape[1])
    variances = np.diag(covariance)
    precisions = {
        "full": np.tile(np.linalg.inv(covariance), (K, 1, 1)),
        "tied": np.linalg.inv(covariance),
        "diag": np.tile(1 / variances, (K, 1)),
        "spherical": np.full(K, 1 / variances.mean()),
    }
    return {
        "weights_init": np.bincount(labels) / len(X),
        "means_init": np.stack([X[labels == k].mean(0) for k in range(K)]),
        "precisions_init": precisions[kind],
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("load", "K"), [(load_wine, 3), (load_breast_cancer, 2)])
def test_the_iterations_are_scikit_learns(load, K, kind):
    """Wine and breast cancer, in their units, with scikit-learn's values of every setting: the same log-likelihoods all the way."""
    X = load().data
    settings = {"n_init": 1, "reg_covar": 1e-6, "max_iter": 100, "covariance_type": kind, **start_of(X, K, kind)}
    ours = bg.GaussianMixture(K, tol=1e-3, **settings).fit(X)
    theirs = SklearnMixture(K, tol=1e-3, **settings).fit(X)
    assert len(ours.lower_bounds_) == len(theirs.lower_bounds_) > 2
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-9)
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, rel=1e-9)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.log_likelihood_ == pytest.approx(theirs.score_samples(X).sum(), rel=1e-9)
    assert ours.bic(X) == pytest.approx(theirs.bic(X), rel=1e-9)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-6, atol=1e-9 * np.abs(X).max())
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_number_of_threads_changes_no_bit(kind, weighted, monkeypatch):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(40_000, 3)) + 3 * rng.integers(2, size=(40_000, 1))
    weight = rng.random(len(X)) if weighted else None

    def fit(threads):
        monkeypatch.setenv("BAYESGMM_NUM_THREADS", str(threads))
        return bg.GaussianMixture(2, covariance_type=kind, n_init=1, tol=1e-6, random_state=7).fit(X, sample_weight=weight)

    one, two = fit(1), fit(2)
    np.testing.assert_array_equal(one.lower_bounds_, two.lower_bounds_)
    for name in ("weights", "means", "scale_tril"):
        np.testing.assert_array_equal(getattr(one.params_, name), getattr(two.params_, name))


# Input that cannot be used


def table(**changes):
    good = {"a": [1.0, 2.0, 4.0, 3.0, 7.0], "b": [2.0, 1.0, 0.0, 5.0, 3.0]}
    return pd.DataFrame(good | changes)


NAN = float("nan")
GOOD = table().to_numpy()
BAD_INPUT = {
    "negative weight": (GOOD, {}, [1, 1, -2, 1, 1], "sample_weight must be zero or positive and finite: it is -2.0 in row 2"),
    "NaN weight": (GOOD, {}, [1, 1, 1, NAN, 1], "sample_weight must be zero or positive and finite: it is nan in row 3"),
    "weights all zero": (GOOD, {}, np.zeros(5), "sample_weight is zero in every row: there is nothing to fit"),
    "weights too few": (GOOD, {}, np.ones(4), r"one number for each of the 5 rows of X, got shape \(4,\)"),
    "weights are words": (GOOD, {}, list("abcde"), "sample_weight must be numbers, one for each of the 5 rows of X: .*'a'"),
    "all-NaN column": (table(b=[NAN] * 5), {}, None, r"Column 'b' has no value at all \(NaN in every row\): leave it out"),
    "few distinct rows": (np.repeat(GOOD[:2], 3, 0), {}, None, "2 components need more than 2 distinct rows, the data have 2"),
    "few rows of any weight": (GOOD, {}, [1, 1, 0, 0, 0], "2 components need more than 2 distinct rows, the data have 2"),
    "sparse": (sparse.csr_matrix(GOOD), {}, None, "Sparse data was passed for X, but dense data is required"),
    "sparse array": (sparse.coo_array(GOOD), {}, None, "Sparse data was passed for X, but dense data is required"),
    "object with a word": (np.array([[1, 2], [3, "x"], [5, 6]], object), {}, None, "X has 'x' in row 1, column 1, which is not"),
    "object with a dict": (np.array([[1, 2], [{}, 4], [5, 6]], object), {}, None, "X has no number in row 1, column 0: .*'dict'"),
    "strings": (np.array([["1", "2"], ["3", "four"], ["5", "6"]]), {}, None, "X has 'four' in row 1, column 1, which is not"),
    "column of strings": (table(b=list("vwxyz")), {}, None, "Column 'b' is not numeric: leave it out or choose"),
    "rows of other lengths": ([[1.0, 2.0], [3.0], [4.0, 5.0]], {}, None, "its rows have different lengths"),
    "weights_init sum": (GOOD, {"weights_init": [0.9, 0.9]}, None, "weights_init must be at least zero and add up to one"),
    "weights_init sign": (GOOD, {"weights_init": [1.5, -0.5]}, None, "weights_init must be at least zero and add up to one"),
    "weights_init shape": (GOOD, {"weights_init": [1.0]}, None, r"weights_init must have shape \(2,\), got \(1,\)"),
    "means_init shape": (GOOD, {"means_init": np.zeros((2, 3))}, None, r"means_init must have shape \(2, 2\), got \(2, 3\)"),
    "means_init words": (GOOD, {"means_init": ["a", "b"]}, None, r"means_init must be an array of numbers of shape \(2, 2\)"),
    "means_init NaN": (GOOD, {"means_init": [[NAN, 1], [1, 1]]}, None, "means_init must be finite numbers"),
    "precisions_init shape": (
        GOOD,
        {"precisions_init": np.eye(2), "covariance_type": "full"},
        None,
        r"precisions_init must have shape \(2, 2, 2\), got \(2, 2\)",
    ),
    "precisions_init, full": (
        GOOD,
        {"precisions_init": [np.eye(2), [[1, 2], [2, 1]]]},
        None,
        r"precisions_init: precisions must be positive definite \(component 1, smallest eigenvalue -1",
    ),
    "precisions_init, not symmetric": (
        GOOD,
        {"precisions_init": [np.eye(2), [[1, 0.5], [0, 1]]]},
        None,
        "precisions_init: every matrix must be equal to its transpose",
    ),
    "precisions_init, tied": (
        GOOD,
        {"precisions_init": -np.eye(2), "covariance_type": "tied"},
        None,
        "precisions_init: precisions must be positive definite",
    ),
    "precisions_init, diag": (
        GOOD,
        {"precisions_init": [[1, 1], [1, 0]], "covariance_type": "diag"},
        None,
        r"precisions_init: precisions must be positive definite \(component 1, smallest eigenvalue 0",
    ),
    "precisions_init, spherical": (
        GOOD,
        {"precisions_init": [-1, 1], "covariance_type": "spherical"},
        None,
        r"precisions_init: precisions must be positive definite \(component 0, smallest eigenvalue -1",
    ),
    "labels of too few groups": (
        GOOD,
        {"init_params": [0, 0, 0, 0, 0]},
        None,
        "whole numbers from 0 to 1, each of them in some row",
    ),
    "start of another size": (
        GOOD,
        {"init_params": bg.GaussianMixture(1).fit(GOOD)},
        None,
        "init_params is a mixture of 1 components in 2 columns: one of 2 in 2 is needed",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_gets_one_sentence_and_changes_nothing(name, faithful, em_faithful):
    X, settings, weight, words = BAD_INPUT[name]
    em = clone(em_faithful).set_params(n_init=1).fit(faithful)
    em.set_params(**settings)
    before = dict(vars(em))
    expected = TypeError if name in ("sparse", "sparse array", "object with a dict") else BayesGMMError
    with pytest.raises(expected, match=words) as raised:
        em.fit(X, sample_weight=weight)
    assert "\n" not in str(raised.value)
    assert list(vars(em)) == list(before)
    assert all(vars(em)[key] is value for key, value in before.items())
    np.testing.assert_array_equal(em.means_, before["params_"].means)


@pytest.mark.parametrize("method", ["score", "bic", "aic", "icl"])
@pytest.mark.parametrize(("weight", "words"), [([1.0, 2.0], "for each of the 272 rows"), (-np.ones(272), "it is -1.0 in row 0")])
def test_weights_of_a_score_are_checked_as_those_of_a_fit(method, weight, words, faithful, em_faithful):
    with pytest.raises(InvalidDataError, match=words):
        getattr(em_faithful, method)(faithful, sample_weight=weight)


def test_every_error_is_a_value_error_too():
    assert issubclass(InvalidDataError, ValueError)
    assert issubclass(InvalidParameterError, ValueError)


def test_tables_of_python_objects_that_are_numbers_are_fitted(faithful):
    X = faithful.to_numpy()
    plain = bg.GaussianMixture(2, n_init=1, random_state=0).fit(X)
    objects = bg.GaussianMixture(2, n_init=1, random_state=0).fit(X.astype(object))
    np.testing.assert_array_equal(objects.means_, plain.means_)
    holes = X.astype(object)
    holes[3, 1] = None  # NumPy's missing value among objects
    assert np.isnan(bg.GaussianMixture(2, n_init=1, random_state=0).fit(holes).rows_.values[3, 1])
