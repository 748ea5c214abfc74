"""Whose group is in doubt, and why: entropies and their parts, abstaining, and responsibilities that are right as often as they say."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, entropy

import bayesgmm as bg
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import (
    abstain,
    brier_score,
    calibration_error,
    cause_of_doubt,
    log_score,
    match_to_truth,
    reliability_curve,
    row_summary,
)
from tests.conftest import random_mixture, table_of

QUICK = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10**6)
SHORT = {"draws": 60, "tune": 100, "chains": 2, "random_state": 1, "progressbar": False}
KINDS = ("nonparametric", "parametric", "weighted", "sandwich")


def doubt(params: MixtureParams, X: np.ndarray, prob: float = 0.9) -> xr.Dataset:
    return row_summary(params, X, prob=prob)


def overlapping(n: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray, MixtureParams]:
    truth = MixtureParams.from_covariances([0.6, 0.4], [[0.0], [2.6]], [[[1.0]], [[1.0]]])
    return *truth.sample(n, random_state=seed), truth


@pytest.fixture(scope="module")
def few() -> tuple[np.ndarray, bg.GaussianMixture, bg.BayesianGaussianMixture]:
    """A small sample with overlapping groups, fitted both ways."""
    X, _, _ = overlapping(60)
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    return X, em, bg.BayesianGaussianMixture(2, init=em, **SHORT).fit(X)


# --- the two parts of doubt ---


def test_the_parts_are_those_of_the_draws(few) -> None:
    X, _, posterior = few
    found = posterior.row_summary(prob=0.8)
    draws = posterior.responsibility_draws()
    mean = draws.mean(("chain", "draw"))
    np.testing.assert_allclose(found.responsibility, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.entropy, entropy(mean.values, axis=1), rtol=0, atol=1e-12)
    aleatoric = entropy(draws.values, axis=-1).mean((0, 1))
    np.testing.assert_allclose(found.aleatoric, aleatoric, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.entropy, found.aleatoric + found.epistemic, rtol=0, atol=1e-12)
    assert (found.epistemic >= 0).all()
    assert float(found.epistemic.max()) > 0.01
    for end, q in (("lower", 0.1), ("upper", 0.9)):
        np.testing.assert_allclose(found[f"responsibility_{end}"], draws.quantile(q, ("chain", "draw")), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.label, posterior.predict(X))
    assert found.attrs["prob"] == 0.8
    assert found.attrs["n_draws"] == 120


@QUICK
@given(SEEDS, st.integers(1, 4), st.integers(1, 3))
def test_entropy_is_the_sum_of_two_parts_that_are_not_negative(seed: int, K: int, D: int) -> None:
    rng = np.random.default_rng(seed)
    found = doubt(random_mixture(rng, K, D, batch=(2, 5)), rng.normal(size=(7, D)) * 3)
    np.testing.assert_allclose(found.entropy, found.aleatoric + found.epistemic, rtol=0, atol=1e-12)
    assert (found[["aleatoric", "epistemic"]].to_array() >= 0).all()
    assert (found.entropy <= np.log(K) + 1e-12).all()
    assert (found.responsibility_lower <= found.responsibility_upper).all()


@QUICK
@given(SEEDS)
def test_names_of_components_and_order_of_rows_and_draws_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    params, X = random_mixture(rng, 3, 2, batch=(6,)), rng.normal(size=(9, 2))
    found = doubt(params, X)
    renaming, rows, draws = (rng.permutation(n) for n in (3, 9, 6))
    again = doubt(params[draws].permute(np.tile(renaming, (6, 1))), X[rows])
    for name in ("entropy", "aleatoric", "epistemic"):
        np.testing.assert_allclose(again[name], found[name][rows], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(again.cause, found.cause[rows])
    np.testing.assert_array_equal(renaming[again.label.values], found.label[rows])
    np.testing.assert_allclose(again.responsibility_lower, found.responsibility_lower[rows, renaming], rtol=0, atol=1e-12)


@QUICK
@given(SEEDS)
def test_the_aleatoric_part_needs_no_labels(seed: int) -> None:
    """Renaming the components of single draws, which labels cannot survive, leaves the mean entropy as it is."""
    rng = np.random.default_rng(seed)
    params, X = random_mixture(rng, 3, 1, batch=(8,)), rng.normal(size=(6, 1))
    each = np.stack([rng.permutation(3) for _ in range(8)])
    found, again = doubt(params, X), doubt(params.permute(each), X)
    np.testing.assert_allclose(again.aleatoric, found.aleatoric, rtol=0, atol=1e-12)


def test_one_and_the_same_draw_many_times_leaves_no_epistemic_doubt(rng: np.random.Generator) -> None:
    one, X = random_mixture(rng, 3, 2), rng.normal(size=(20, 2))
    many = MixtureParams(*(np.stack([a] * 7) for a in (one.weights, one.means, one.scale_tril)))
    found = doubt(many, X)
    assert float(found.epistemic.max()) < 1e-12
    np.testing.assert_allclose(found.responsibility_upper - found.responsibility_lower, 0, atol=1e-12)
    plug_in = row_summary(one, X)
    np.testing.assert_allclose(found.entropy, plug_in.entropy, rtol=0, atol=1e-12)


def test_draws_that_contradict_each_other_are_epistemic_doubt_alone() -> None:
    certain = MixtureParams([[0.5, 0.5]] * 2, [[[0.0], [50.0]], [[50.0], [0.0]]], np.ones((2, 2, 1, 1)))
    found = doubt(certain, np.array([[0.0]]))
    assert float(found.entropy[0]) == pytest.approx(np.log(2))
    assert float(found.aleatoric[0]) == pytest.approx(0, abs=1e-12)
    assert found.cause.item() == "too little data"


def test_the_greater_part_is_the_cause() -> None:
    r = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2]])
    causes = cause_of_doubt(r, np.array([0.1, 0.3, 0.2]), np.array([0.3, 0.2, 0.3]))
    assert causes.tolist() == ["clear", "overlap", "too little data"]


def test_more_data_take_epistemic_doubt_away() -> None:
    grid = np.linspace(-1, 4, 25)[:, None]
    share = []
    for n in (40, 1200):
        found = bg.BayesianGaussianMixture(2, **SHORT).fit(overlapping(n)[0]).row_summary(grid)
        share.append(float(found.epistemic.mean() / found.entropy.mean()))
    assert share[1] < 0.4 * share[0]


# --- EM ---


def test_em_sees_no_epistemic_doubt(few) -> None:
    X, em, _ = few
    found = em.row_summary()
    assert (found.epistemic == 0).all()
    np.testing.assert_array_equal(found.responsibility_lower, found.responsibility_upper)
    np.testing.assert_array_equal(found.aleatoric, found.entropy)
    np.testing.assert_allclose(found.entropy, entropy(em.predict_proba(X), axis=1), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.label, em.predict(X))
    assert "exactly zero" in found.attrs["note"]
    assert set(found.cause.values) == {"clear", "overlap"}


@pytest.mark.parametrize("errors", KINDS)
def test_refits_and_curvature_show_it_to_em(few, errors: str) -> None:
    X, em, _ = few
    found = em.row_summary(X[:20], kind=errors, n_draws=30, random_state=2)
    assert float(found.epistemic.mean()) > 1e-3
    assert (found.responsibility_upper - found.responsibility_lower).values.max() > 0.05
    assert found.attrs["inference"] == f"em, {errors}"
    again = em.row_summary(X[:20], kind=errors, n_draws=30, random_state=2)
    xr.testing.assert_identical(found, again)


def test_draws_of_the_bootstrap_are_those_of_responsibility_draws(few) -> None:
    _, em, _ = few
    found = em.row_summary(kind="nonparametric", n_draws=20, random_state=3)
    draws = em.responsibility_draws(n_replicates=20, random_state=3)
    np.testing.assert_allclose(found.entropy, entropy(draws.mean("replicate").values, axis=1), rtol=0, atol=1e-12)


def test_noise_is_a_group_of_its_own(few) -> None:
    X = np.append(few[0], [[40.0]], axis=0)
    em = bg.GaussianMixture(2, noise=True, random_state=1).fit(X)
    found = em.row_summary()
    assert found.component.values.tolist() == [0, 1, -1]
    np.testing.assert_array_equal(found.label, em.predict(X))
    assert found.label[-1] == -1
    with pytest.raises(InvalidParameterError, match="noise=False"):
        em.row_summary(kind="weighted")


def test_weights_gaps_and_a_single_component_are_no_trouble() -> None:
    X = np.column_stack([overlapping(40)[0], overlapping(40, 6)[0]])
    X[::7, 1] = np.nan
    weight = np.tile([1.0, 2.0], 20)
    em = bg.GaussianMixture(2, random_state=1).fit(X, sample_weight=weight)
    assert np.isfinite(em.row_summary(kind="weighted", n_draws=5).entropy).all()
    posterior = bg.BayesianGaussianMixture(2, init=em, **SHORT).fit(X, sample_weight=weight)
    assert np.isfinite(posterior.row_summary().entropy).all()
    single = bg.GaussianMixture(1).fit(X)
    found = single.row_summary(kind="nonparametric", n_draws=5)
    assert (found.entropy == 0).all()
    assert (found.epistemic == 0).all()
    assert set(found.cause.values) == {"clear"}


def test_names_of_rows_are_kept(few) -> None:
    X, em, posterior = few
    frame = pd.DataFrame(X, index=[f"row {i}" for i in range(60)])
    for fit in (em, posterior):
        assert fit.row_summary(frame.to_numpy()).obs.values[1] == 1
    assert bg.GaussianMixture(2, random_state=1).fit(frame).row_summary().obs.values[1] == "row 1"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prob": 1.0}, "prob must lie between 0 and 1"),
        ({"kind": "jackknife"}, "leaves out one row"),
        ({"kind": "guess"}, "'nonparametric', 'parametric', 'weighted'"),
        ({"kind": "weighted", "n_draws": 0}, "must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(few, wrong: dict, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        few[1].row_summary(**wrong)


def test_the_posterior_refuses_an_impossible_prob(few) -> None:
    with pytest.raises(InvalidParameterError, match="prob must lie"):
        few[2].row_summary(prob=0)


# --- abstaining ---


def test_abstaining_follows_the_lower_bound(few) -> None:
    found = few[2].row_summary()
    ruled = abstain(found, 0.7)
    own = found.responsibility_lower.values[np.arange(60), found.label.values]
    np.testing.assert_array_equal(ruled.classified, own >= 0.7)
    np.testing.assert_array_equal(ruled.labels, np.where(own >= 0.7, found.label, -1))
    assert 0 < ruled.share == ruled.classified.mean() < 1
    error = 1 - found.responsibility.max("component").values
    assert ruled.expected_error == pytest.approx(error[ruled.classified].mean())
    row = ruled.curve.set_index("threshold").loc[0.7]
    assert (row["share"], row["expected_error"]) == (ruled.share, pytest.approx(ruled.expected_error))
    assert (ruled.curve["share"].diff().dropna() <= 0).all()
    assert f"{ruled.classified.sum()} of 60 rows" in str(ruled)
    with pytest.raises(AttributeError):
        ruled.threshold = 0.5


def test_the_expected_error_is_that_of_simulated_truth() -> None:
    """Under the mixture that the rows come from, the expected error must be the error, but for chance."""
    X, groups, truth = overlapping(20_000, seed=8)
    table = row_summary(truth, X)
    for threshold in (0.6, 0.9):
        ruled = abstain(table, threshold)
        wrong = int((ruled.labels != groups)[ruled.classified].sum())
        assert binomtest(wrong, int(ruled.classified.sum()), ruled.expected_error).pvalue > 0.01
    everything = abstain(table, 0.5)
    assert everything.share == 1.0
    assert ruled.expected_error < everything.expected_error


def test_nothing_is_sure_enough() -> None:
    table = table_of(np.full((3, 2), 0.5))
    ruled = abstain(table, 0.9)
    assert ruled.share == 0
    assert np.isnan(ruled.expected_error)
    assert "none of 3 rows" in str(ruled)


def test_what_cannot_be_ruled_on_is_refused(few) -> None:
    found = few[1].row_summary()
    for threshold in (0.0, 1.0, float("nan")):
        with pytest.raises(InvalidParameterError, match="between 0 and 1"):
            abstain(found, threshold)
    with pytest.raises(InvalidParameterError, match="lacks 'label' and 'responsibility_lower'"):
        abstain(found.drop_vars(["label", "responsibility_lower"]))
    with pytest.raises(InvalidParameterError, match=r"xarray\.Dataset"):
        abstain(found.to_dataframe())


# --- reliability ---


def test_a_true_mixture_is_reliable_and_an_overconfident_one_is_not() -> None:
    X, groups, truth = overlapping(8_000)
    honest = truth.responsibilities(X)
    sharp = honest**4 / (honest**4).sum(1, keepdims=True)
    curve = reliability_curve(honest, groups, prob=0.999)
    assert ((curve["lower"] <= curve["predicted"]) & (curve["predicted"] <= curve["upper"])).all()
    assert curve["n"].sum() == 8_000
    for measure in (calibration_error, log_score, brier_score):
        assert measure(honest, groups) < measure(sharp, groups)
    assert calibration_error(honest, groups) < 0.02 < 0.05 < calibration_error(sharp, groups)


def test_intervals_of_the_curve_are_clopper_and_pearsons(rng: np.random.Generator) -> None:
    r = rng.dirichlet([1.0, 1.0, 1.0], size=60)
    groups = rng.integers(3, size=60)
    curve = reliability_curve(r, groups, n_bins=4)
    edges = np.linspace(1 / 3, 1, 5)
    for row in curve.itertuples():
        inside = (r.max(1) >= edges[:-1][:, None]) & (r.max(1) < edges[1:][:, None])
        here = inside[np.searchsorted(edges, row.predicted) - 1]
        hits = int((r.argmax(1) == groups)[here].sum())
        interval = binomtest(hits, int(here.sum())).proportion_ci(0.9)
        assert (row.correct, row.lower, row.upper) == pytest.approx((hits / here.sum(), interval.low, interval.high))


@QUICK
@given(SEEDS, st.integers(2, 5))
def test_names_of_groups_do_not_matter_after_matching(seed: int, K: int) -> None:
    rng = np.random.default_rng(seed)
    r, groups = rng.dirichlet(np.full(K, 0.3), size=40), rng.integers(K, size=40)
    best = match_to_truth(r, groups)
    np.testing.assert_array_equal(match_to_truth(r[:, rng.permutation(K)], groups), best)
    own = best[np.arange(40), groups].sum()
    assert own >= r[:, rng.permutation(K)][np.arange(40), groups].sum() - 1e-12
    assert own >= r[np.arange(40), groups].sum() - 1e-12


@pytest.mark.parametrize(
    ("table", "truth", "words"),
    [
        ([[0.5, 0.4]], [0], "add up to one"),
        ([[1.5, -0.5]], [0], "at least zero"),
        ([[np.nan, 1.0]], [0], "at least zero"),
        ([0.5, 0.5], [0], "shape"),
        ([[0.5, 0.5]], [0, 1], "one group for each of the 1 rows"),
        ([[0.5, 0.5]], [2], "from 0 to 1"),
        ([[0.5, 0.5]], [0.5], "whole numbers"),
    ],
)
def test_responsibilities_and_truth_must_go_together(table, truth, words: str) -> None:
    with pytest.raises(InvalidDataError, match=words):
        reliability_curve(table, truth)


@pytest.mark.parametrize("wrong", [{"n_bins": 0}, {"prob": 0.0}])
def test_impossible_bins_are_refused(wrong: dict) -> None:
    with pytest.raises(InvalidParameterError, match="must"):
        reliability_curve([[0.5, 0.5]], [0], **wrong)
