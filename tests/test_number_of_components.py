"""An estimator whose number of components is left to the data."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import bayesgmm as bg
from bayesgmm.exceptions import DrawsAdvice, InvalidDataError, InvalidParameterError
from bayesgmm.partitions import draw_labels, occupied_components
from bayesgmm.priors import Concentration, LogNormal, Poisson, Probabilities, Uniform

QUICK = {"draws": 200, "tune": 60, "random_state": 1, "progressbar": False}


def three_groups(D=2, N=240, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], N // 3)
    centres = 9.0 * np.eye(3, D) + np.arange(3)[:, None]
    return centres[labels] * (8 if D == 1 else 1) + rng.normal(size=(N, D)), labels


def auto(X, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DrawsAdvice)  # so few draws
        return bg.BayesianGaussianMixture("auto", **{**QUICK, **more}).fit(X)


@pytest.fixture(scope="module")
def fit():
    return auto(three_groups()[0])


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_three_groups_are_found(kind):
    X, labels = three_groups()
    fit = auto(X, covariance_type=kind)
    table = fit.number_of_components()
    assert table["filled"].idxmax() == table["groups"].idxmax() == fit.n_components_ == 3
    np.testing.assert_allclose(table[["groups", "filled", "components"]].sum(), 1.0)
    assert pd.crosstab(labels, fit.predict(X)).max(axis=1).sum() == len(X)


def test_what_belongs_to_a_component_is_of_draws_with_one_number(fit):
    filled = fit.datatree_["sample_stats"]["n_filled"].values
    assert fit.params_.n_components == 3
    assert fit.params_.batch_shape[1] == (filled == 3).sum(1).min()
    np.testing.assert_allclose(fit.params_.weights.sum(-1), 1.0)
    posterior = fit.datatree_["posterior"]
    np.testing.assert_array_equal(posterior["means"].values, fit.params_.means)
    # One of EM's groups is one of these.
    np.testing.assert_allclose(fit.means_, fit.em_.means_, atol=0.3)


def test_everything_else_is_of_all_draws(fit):
    X = fit.rows_.values
    assert fit.mixtures_.batch_shape == (4, 200)
    density = np.exp(fit.mixtures_.log_density(X[:20])).mean((0, 1))
    np.testing.assert_allclose(fit.score_samples(X[:20]), np.log(density), rtol=1e-10)
    assert fit.datatree_["log_likelihood"]["x"].shape == (4, 200, len(X))
    assert draw_labels(fit, random_state=1).shape == (800, len(X))
    # Labels are drawn anew from responsibilities: their numbers are those of the sampler's own labels, up to chance.
    occupied, table = occupied_components(fit), fit.number_of_components()
    assert occupied[3] == pytest.approx(table.loc[3, "filled"], abs=0.1)
    rows, _ = fit.sample(4000, random_state=3)
    np.testing.assert_allclose(rows.mean(0), X.mean(0), atol=0.5)


def test_responsibilities_are_those_of_groups_over_all_draws(fit):
    X = fit.rows_.values
    found = fit.responsibilities()
    assert found.shape == (len(X), 3)
    np.testing.assert_allclose(found.sum("component"), 1.0)
    flat, reference = fit.mixtures_.reshape(-1), fit.em_.params_.responsibilities(X)
    expected = np.zeros_like(reference)
    for t in range(len(flat.weights)):
        r = flat[t].responsibilities(X)
        group = (r.T @ reference).argmax(1)
        for k, g in enumerate(group):
            expected[:, g] += r[:, k] / len(flat.weights)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    summary = fit.row_summary()
    np.testing.assert_allclose(summary["responsibility"], expected, atol=1e-10)
    np.testing.assert_array_equal(summary["label"], fit.predict(X))


def test_another_number_can_be_looked_at():
    X, _ = three_groups(N=60)
    fit = auto(X, priors=bg.Priors(concentration=Concentration(1.0, dynamic=True), number=Uniform()), max_components=8)
    table = fit.number_of_components()
    other = int(table["filled"].drop(fit.n_components_).idxmax())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there are few such draws
        second = fit.given_number(other)
    assert second.n_components_ == other != fit.n_components_
    assert second.responsibilities().shape == (len(X), other)
    np.testing.assert_array_equal(second.mixtures_.weights, fit.mixtures_.weights)
    pd.testing.assert_frame_equal(second.number_of_components(), table)
    with pytest.raises(InvalidParameterError, match="too few to say anything"):
        fit.given_number(8 if table["filled"].get(8, 0.0) < 0.005 else 1)


def test_the_same_seed_gives_the_same_draws_on_any_number_of_cores(fit):
    again = auto(fit.rows_.values, cores=1)
    np.testing.assert_array_equal(again.mixtures_.means, fit.mixtures_.means)
    np.testing.assert_array_equal(again.params_.weights, fit.params_.weights)


def test_the_number_does_not_depend_on_the_coordinates():
    X, _ = three_groups(N=45, seed=4)
    A = np.array([[3.0, 1.0], [-2.0, 0.5]])
    priors = bg.Priors(number=Poisson(3.0), concentration=1.0)
    tables = [auto(rows, priors=priors, draws=1000).number_of_components() for rows in (X, X @ A + 100.0)]
    for name in ("filled", "components"):
        error = np.hypot(*(table[f"{name}_mcse"].fillna(0.0).reindex(range(3, 6), fill_value=0.0) for table in tables))
        shares = [table[name].reindex(range(3, 6), fill_value=0.0) for table in tables]
        assert (abs(shares[0] - shares[1]) < 5 * error + 2e-3).all()


def test_a_weight_is_a_row_so_many_times():
    X, labels = three_groups(N=60)
    weights = np.where(labels == 1, 2, 1)
    weighted = bg.BayesianGaussianMixture("auto", **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DrawsAdvice)
        weighted.fit(X, sample_weight=weights)
    repeated = auto(X.repeat(weights, axis=0))
    assert weighted.n_components_ == repeated.n_components_ == 3
    # 40 of 80 rows, and two of concentration added to each group.
    assert weighted.weights_.max() == pytest.approx(42 / 86, abs=0.01)
    np.testing.assert_allclose(repeated.weights_, weighted.weights_, atol=0.01)
    with pytest.raises(InvalidDataError, match="whole numbers"):
        weighted.fit(X, sample_weight=weights + 0.5)


def test_gaps_are_no_obstacle():
    X, labels = three_groups(N=150)
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    kept = ~np.isnan(X).all(1)
    fit = auto(X[kept])
    assert fit.n_components_ == 3
    agreed = pd.crosstab(labels[kept], fit.predict(X[kept])).max(axis=1).sum()
    assert agreed > 0.9 * kept.sum()


def test_a_learned_concentration_is_kept():
    X, _ = three_groups(N=90)
    fit = auto(X, priors=bg.Priors(concentration=Concentration(("F", 6.0, 3.0), dynamic=True)))
    alpha = fit.datatree_["sample_stats"]["concentration"]
    assert float(alpha.std()) > 0
    np.testing.assert_allclose(fit.priors_.concentration, float(alpha.mean()) / 3)


def test_it_can_be_cloned_and_says_what_it_is(fit):
    copy = clone(fit)
    assert copy.n_components == "auto"
    assert fit.datatree_.attrs["inference"] == "telescoping"
    assert fit.datatree_.attrs["n_components"] == 3
    assert fit.diagnose()[0].sentence


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_components": 0}, "max_components"),
        ({"max_components": 1000}, "at most the number of rows, 240, got 1000"),
        ({"sampler": "nuts"}, "has a sampler of its own"),
        ({"priors": bg.ConjugatePriors()}, "takes Priors, not ConjugatePriors"),
        ({"priors": bg.Priors(concentration=[1.0, 2.0])}, "the same for every component"),
        ({"priors": bg.Priors(means_loc=[[0.0, 0.0], [1.0, 1.0]])}, "the same for every component"),
        ({"priors": bg.Priors(number=Probabilities([0.0, 0.0, 1.0])), "max_components": 2}, "have no probability"),
    ],
)
def test_settings_that_do_not_apply_are_refused(settings, message):
    with pytest.raises(InvalidParameterError, match=message):
        bg.BayesianGaussianMixture("auto", **{**QUICK, **settings}).fit(three_groups()[0])


@pytest.mark.parametrize("values", [[0.5, 0.6], [-0.5, 1.5], [], "many", [[1.0]], [np.nan, 1.0]])
def test_a_prior_of_the_number_that_is_none_is_refused(values):
    with pytest.raises(InvalidParameterError, match="add up to one"):
        Probabilities(values)


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.inf, ("F", 6.0), ("beta", 1.0, 1.0), ("gamma", 0.0, 1.0), "learned"])
def test_a_concentration_that_is_none_is_refused(alpha):
    with pytest.raises(InvalidParameterError, match="alpha must be"):
        Concentration(alpha)


def test_a_fitted_em_is_refused_before_anything_is_drawn(fit):
    model = bg.BayesianGaussianMixture("auto", init=fit.em_, **QUICK)
    with pytest.raises(InvalidParameterError, match="fitted to one number of components"):
        model.fit(fit.rows_.values)


def test_rows_that_cannot_tell_a_covariance_are_refused():
    X = np.random.default_rng(0).normal(size=(5, 8))
    with pytest.raises(InvalidDataError, match="cannot tell the covariance of a single component"):
        bg.BayesianGaussianMixture("auto", **QUICK).fit(X)


def test_a_known_number_has_no_posterior():
    X, _ = three_groups(N=60)
    with pytest.raises(InvalidParameterError, match="max_components is for n_components='auto'"):
        bg.BayesianGaussianMixture(2, max_components=4, **QUICK).fit(X)
    known = bg.BayesianGaussianMixture(3, **QUICK).fit(X)
    assert known.n_components_ == 3
    with pytest.raises(InvalidParameterError, match="was given"):
        known.number_of_components()
    with pytest.raises(InvalidParameterError, match="alpha is learned"):
        bg.BayesianGaussianMixture(3, priors=bg.Priors(concentration=Concentration(("F", 6.0, 3.0))), **QUICK).fit(X)


def test_a_dynamic_concentration_is_shared_by_a_known_number():
    X, _ = three_groups(N=60)
    resolved = (
        bg.BayesianGaussianMixture(3, priors=bg.Priors(concentration=Concentration(1.5, dynamic=True)), **QUICK).fit(X).priors_
    )
    np.testing.assert_allclose(resolved.concentration, 0.5)


def test_an_interrupt_keeps_what_is_promised(monkeypatch):
    from bayesgmm.bayes import telescoping

    X, _ = three_groups(N=60)
    run, calls = telescoping._Chain.run, []

    def interrupted(self, road, draws, thin, *, adapting):
        calls.append(adapting)
        if calls.count(False) > 8:
            raise KeyboardInterrupt
        return (
            run(self, road, min(draws, 5), thin, adapting=adapting) if adapting else run(self, road, draws, thin, adapting=adapting)
        )

    monkeypatch.setattr("bayesgmm.bayes.rounds._ROUND", 1e-4)
    monkeypatch.setattr(telescoping._Chain, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bg.BayesianGaussianMixture("auto", **QUICK).fit(X)


def test_priors_with_other_scales_serve():
    X, _ = three_groups(N=60)
    fit = auto(X, priors=bg.Priors(sds=LogNormal(0.0, 0.5)), covariance_type="diag")
    assert fit.n_components_ == 3


def test_the_draws_can_be_written_and_read(fit, tmp_path):
    bg.save_draws(fit, tmp_path / "posterior.nc")
    again = bg.load_draws(tmp_path / "posterior.nc")
    assert again.identical(fit.datatree_)


def test_em_can_be_compared_with_it_and_a_report_written(fit, tmp_path):
    found = bg.compare(fit.em_, fit, fit.rows_.values)
    assert found.verdict("agreement").passed
    page = bg.report.build_report(fit.em_, fit, name="three").write(tmp_path)
    assert "BayesianGaussianMixture(&#39;auto&#39;" in page.read_text() or "BayesianGaussianMixture('auto'" in page.read_text()
    with pytest.raises(InvalidDataError, match="different numbers of components"):
        bg.diagnostics.prior_sensitivity(fit.datatree_)
