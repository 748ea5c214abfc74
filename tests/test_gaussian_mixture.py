"""The EM estimator: scikit-learn's shapes and habits, labelled results, clear refusals."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bayesgmm as bg
from bayesgmm.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("columns", [["eruptions", "waiting"], ["waiting"]])
def test_attributes_have_scikit_learns_shapes_and_values(kind, columns, faithful):
    X = faithful[columns].astype(float)  # scikit-learn 1.9.1 scores integer columns wrongly when D = 1
    ours = bg.GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    theirs = SklearnMixture(
        2, covariance_type=kind, tol=1e-9, max_iter=1000, reg_covar=1e-9, means_init=ours.means_, weights_init=ours.weights_
    ).fit(X)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-3, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)
    np.testing.assert_array_equal(ours.predict(X), ours.predict_proba(X).argmax(1))
    assert ours.bic(X) == pytest.approx(theirs.bic(X), rel=1e-6)
    assert ours.aic(X) == pytest.approx(theirs.aic(X), rel=1e-6)
    assert ours.score(X) == pytest.approx(ours.lower_bound_)
    assert ours.log_likelihood_ == ours.log_likelihood_trace_[-1]
    assert len(ours.log_likelihood_trace_) == ours.n_iter_ + 1
    np.testing.assert_array_equal(ours.fit_predict(X), ours.predict(X))


def test_icl_is_bic_plus_the_price_of_doubt(faithful, em_faithful):
    r = em_faithful.predict_proba(faithful)
    assert em_faithful.icl(faithful) == pytest.approx(em_faithful.bic(faithful) - 2 * np.log(r.max(1)).sum(), rel=1e-9)
    assert em_faithful.icl(faithful) > em_faithful.bic(faithful)


def test_labelled_results_carry_names(faithful, em_faithful):
    named = faithful.set_axis([f"day{i}" for i in range(len(faithful))])
    table = em_faithful.responsibilities(named)
    assert table.dims == ("obs", "component")
    assert table.obs.values[2] == "day2"
    np.testing.assert_array_equal(table.values, em_faithful.predict_proba(faithful))
    xr.testing.assert_equal(em_faithful.responsibilities(), em_faithful.responsibilities(faithful))
    tree = em_faithful.datatree_
    assert list(tree["point_estimate"]["feature"].values) == ["eruptions", "waiting"]
    np.testing.assert_array_equal(tree["point_estimate"]["weights"].values, em_faithful.weights_)
    assert tree.attrs["inference"] == "em"
    np.testing.assert_array_equal(tree["observed_data"]["x"].values, faithful.to_numpy())


def test_components_come_by_decreasing_weight_but_a_given_order_is_kept(faithful, em_faithful):
    assert (np.diff(em_faithful.weights_) < 0).all()
    start = em_faithful.means_[::-1]
    kept = bg.GaussianMixture(2, means_init=start, random_state=0).fit(faithful)
    np.testing.assert_allclose(kept.means_, start, rtol=1e-3)


def test_means_in_a_frame_go_by_the_names_of_its_columns(faithful):
    start = pd.DataFrame([[55.0, 2.0], [80.0, 4.0]], columns=["waiting", "eruptions"])
    em = bg.GaussianMixture(2, means_init=start, random_state=0).fit(faithful)
    assert (
        em.log_likelihood_trace_[0]
        == bg.GaussianMixture(2, means_init=start.to_numpy()[:, ::-1], random_state=0).fit(faithful).log_likelihood_trace_[0]
    )
    np.testing.assert_allclose(em.means_, [[2.0, 54.5], [4.3, 80.0]], atol=0.1)
    with pytest.raises(InvalidParameterError, match="means_init has the columns waiting, length, and X has eruptions, waiting"):
        bg.GaussianMixture(2, means_init=start.set_axis(["waiting", "length"], axis=1)).fit(faithful)
    unnamed = bg.GaussianMixture(2, means_init=pd.DataFrame([[2.0, 55.0], [4.0, 80.0]]), random_state=0).fit(faithful)
    np.testing.assert_allclose(unnamed.means_, em.means_)


def test_warm_start_goes_on_from_the_last_fit(faithful):
    short = bg.GaussianMixture(3, max_iter=2, n_init=1, init_params="random", random_state=0, warm_start=True)
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        short.fit(faithful)
    first = short.log_likelihood_
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        short.fit(faithful)
    assert short.log_likelihood_trace_[0] == pytest.approx(first, rel=1e-9)
    assert short.log_likelihood_ > first


def test_bootstrap_draws_of_responsibilities(faithful, em_faithful):
    draws = em_faithful.responsibility_draws(faithful.iloc[:10], n_replicates=12, random_state=3)
    assert draws.dims == ("replicate", "obs", "component")
    assert draws.shape == (12, 10, 2)
    np.testing.assert_allclose(draws.sum("component"), 1.0)
    assert (draws.std("replicate") > 0).any()
    again = em_faithful.responsibility_draws(faithful.iloc[:10], n_replicates=12, random_state=3)
    xr.testing.assert_equal(draws, again)


def test_it_lives_among_scikit_learns_tools(faithful):
    pipeline = make_pipeline(StandardScaler(), bg.GaussianMixture(2, random_state=0)).fit(faithful)
    assert pipeline.predict(faithful).shape == (272,)
    search = GridSearchCV(bg.GaussianMixture(n_init=2, random_state=0), {"n_components": [1, 2]}, cv=3).fit(faithful)
    assert search.best_params_["n_components"] == 2
    assert clone(bg.GaussianMixture(3, tol=1e-4)).get_params()["tol"] == 1e-4


def test_sampling_uses_the_estimators_seed(em_faithful):
    X, labels = em_faithful.sample(50)
    np.testing.assert_array_equal(X, em_faithful.sample(50)[0])
    assert X.shape == (50, 2)
    assert set(labels) <= {0, 1}


def test_verbose_tells_how_starts_end(faithful, capsys):
    bg.GaussianMixture(2, n_init=2, verbose=2, verbose_interval=1, random_state=0).fit(faithful)
    assert "Start 2:" in (out := capsys.readouterr().out)
    assert "iteration 1:" in out


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.arange(5.0), r"X\.reshape\(-1, 1\)"),
        (
            pd.DataFrame({"a": [1.0, np.nan, 3, 0], "b": [1.0, 2, np.inf, np.inf]}),
            r"2 infinite value\(s\): 2 in 'b', in 2 of 4 rows",
        ),
        (np.array([[1.0], [np.inf], [2.0]]), "infinite"),
        (pd.DataFrame({"a": [1.0, 2, 3], "name": ["x", "y", "z"]}), "Column 'name' is not numeric"),
        (np.column_stack([np.arange(9.0), np.ones(9)]), "Column 'x1' has the same value"),
        (np.repeat([[0.0], [1.0], [2.0]], 5, axis=0), "more than 3 distinct rows, the data have 3"),
        (np.array([[1.0, 2.0]]), "n_samples = 1"),
        (np.empty((0, 2)), "0 sample"),
        (np.empty((5, 0)), "0 feature"),
        (np.array([[1j], [2j], [3j], [4j]]), "Complex"),
    ],
)
def test_data_that_cannot_be_used_get_one_clear_error(X, words):
    model = bg.GaussianMixture(3)
    with pytest.raises(ValueError, match=words):
        model.fit(X)
    assert not hasattr(model, "params_")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_components": 0}, "n_components"),
        ({"n_components": 2.5}, "n_components"),
        ({"covariance_type": "banana"}, "covariance_type"),
        ({"tol": -1}, "tol"),
        ({"reg_covar": -1}, "reg_covar"),
        ({"init_params": "guess"}, "init_params"),
        ({"weights_init": [0.5, 0.6]}, "weights_init must be at least zero and add up to one"),
        ({"means_init": [[1.0, 2.0]]}, r"means_init must have shape \(2, 2\), got \(1, 2\)"),
        ({"means_init": [[1.0, 2.0], [np.nan, 1.0]]}, "means_init must be finite"),
        ({"precisions_init": [[[1.0, 0], [0, 1]], [[1.0, 2], [2, 1]]]}, "precisions_init: precisions must be positive definite"),
    ],
)
def test_settings_that_cannot_be_used_are_named(changes, words, faithful):
    settings = {"n_components": 2} | changes
    with pytest.raises(InvalidParameterError, match=words):
        bg.GaussianMixture(**settings).fit(faithful)


def test_other_columns_than_in_fit_are_refused(faithful, em_faithful):
    with pytest.raises(ValueError, match="feature"):
        em_faithful.predict(faithful[["waiting"]])
    with pytest.raises(ValueError, match="feature names"):
        em_faithful.predict(faithful.set_axis(["a", "b"], axis=1))
    with pytest.raises(InvalidDataError, match="1 infinite"):
        em_faithful.predict(faithful.assign(waiting=faithful.waiting.where(faithful.index != 3, np.inf)))
    with pytest.raises(InvalidParameterError, match="n_replicates"):
        em_faithful.responsibility_draws(n_replicates=0)


def test_float32_integers_and_fortran_order_give_the_same(faithful):
    X = faithful.to_numpy()
    whole = (X * 1000).round()
    fits = [
        bg.GaussianMixture(2, random_state=0).fit(A).means_
        for A in (whole, whole.astype(np.int64), np.asfortranarray(whole), whole.astype(np.float32))
    ]
    for other in fits[1:]:
        np.testing.assert_allclose(other, fits[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["sandwich", "observed", "empirical", "nonparametric", "parametric", "weighted", "jackknife"])
def test_standard_errors_of_every_kind_are_labelled_and_of_a_size(kind, em_faithful):
    """R's mclust gives .03 and .46, .03 and .60 for the means by its bootstrap; other kinds believe more, or less, of the model."""
    errors = em_faithful.standard_errors(kind, n_replicates=400)
    assert errors.means.dims == ("component", "feature")
    assert list(errors.feature.values) == ["eruptions", "waiting"]
    np.testing.assert_allclose(errors.means, [[0.032, 0.46], [0.029, 0.60]], rtol=0.25)
    assert errors.attrs["kind"] == kind


@pytest.mark.parametrize("kind", ["nonparametric", "sandwich"])
def test_arviz_summarises_the_sampling_distribution(kind, em_faithful):
    import arviz as az

    tree = em_faithful.sampling_distribution(kind, n_draws=500, random_state=1)
    table = az.summary(tree, var_names=["means"], kind="stats")
    assert len(table) == 4
    values = tree["posterior"]["means"].mean(("chain", "draw"))
    errors = em_faithful.standard_errors(kind, n_replicates=500)
    assert (abs(values - em_faithful.means_) < 0.3 * errors.means).all()
    with pytest.raises(InvalidParameterError, match="no draws"):
        em_faithful.sampling_distribution("jackknife")
    with pytest.raises(InvalidParameterError, match="kind"):
        em_faithful.standard_errors("guess")


@pytest.mark.parametrize("terminal", [False, True])
def test_refits_show_their_progress_on_a_terminal_when_asked(em_faithful, capsys, monkeypatch, terminal):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    else:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    em_faithful.standard_errors("parametric", n_replicates=20)
    em_faithful.sampling_distribution("weighted", n_draws=20)
    assert capsys.readouterr().err == ""
    for ask in (
        lambda: em_faithful.standard_errors("parametric", n_replicates=20, progressbar=True),
        lambda: em_faithful.sampling_distribution("weighted", n_draws=20, progressbar=True),
    ):
        ask()
        out, err = capsys.readouterr()
        assert out == ""
        assert ("Refitting" in err) is terminal
        assert ("20/20" in err) is terminal
