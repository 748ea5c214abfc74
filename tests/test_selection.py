"""Choosing the number of groups: criteria by other routes, ties, the bootstrap test, merging, and the pictures."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture as SklearnMixture

import bayesgmm as bg
from bayesgmm.em import Fitting
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.selection import CRITERIA, Selection, bootstrap_lrt, merge_components, select
from bayesgmm.selection.merging import elbow
from bayesgmm.selection.selection import effective_components
from tests.conftest import random_mixture, scipy_log_joint

QUICK = {"n_init": 2, "tol": 1e-6}
QUICKER = {"n_init": 1, "tol": 1e-4}


@pytest.fixture(autouse=True)
def close_figures():
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("X", [None, 3.0, {"a": [1.0, 2.0]}, [[1.0, 2.0], [3.0]], "rows.parquet"])
def test_what_is_no_table_in_memory_gets_one_sentence(X):
    with pytest.raises(ValueError, match=r"table of numbers|Expected 2D array|There is no file"):
        select(X, [1, 2], "full")


def test_a_table_in_a_file_gets_one_sentence(tmp_path, faithful):
    np.save(tmp_path / "rows.npy", faithful.to_numpy())
    with pytest.raises(ValueError, match="select needs rows in memory"):
        select(tmp_path / "rows.npy", [1, 2], "full")


def test_families_are_ranked_by_the_weight_of_the_rows(faithful):
    """What fits start from must not depend on whether a row is given twice or with weight two."""
    X = faithful.to_numpy()
    weight = np.arange(len(X)) % 3.0
    weighted = select(X, [1, 2, 3], ["full", "tied", "diag"], sample_weight=weight, random_state=1, progressbar=False)
    repeated = select(
        np.repeat(X, weight.astype(int), axis=0), [1, 2, 3], ["full", "tied", "diag"], random_state=1, progressbar=False
    )
    np.testing.assert_allclose(weighted.table.bic, repeated.table.bic, atol=1e-3)


@pytest.fixture(scope="module")
def selection(faithful) -> Selection:
    return select(faithful, range(1, 5), random_state=3, **QUICK)


@pytest.fixture(scope="module")
def blobs():
    """Three round groups far apart, and where each row came from."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], 60)
    return np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0]])[labels] + rng.standard_normal((180, 2)), labels


@pytest.fixture(scope="module")
def lrt(faithful):
    return bootstrap_lrt(faithful, 1, covariance_type="tied", n_replicates=19, random_state=2, **QUICKER)


def test_aic_and_bic_are_scikit_learns(selection, faithful):
    for row, model in zip(selection.table.to_dict("records"), selection.models, strict=True):
        theirs = SklearnMixture(row["n_components"], covariance_type=row["covariance_type"])
        theirs.weights_, theirs.means_, theirs.covariances_ = model.weights_, model.means_, model.covariances_
        theirs.precisions_cholesky_ = model.precisions_cholesky_
        assert row["aic"] == pytest.approx(theirs.aic(faithful.to_numpy()), rel=1e-10)
        assert row["bic"] == pytest.approx(theirs.bic(faithful.to_numpy()), rel=1e-10)


def test_both_icl_by_scipy(selection, faithful):
    for row, model in zip(selection.table.to_dict("records"), selection.models, strict=True):
        joint = scipy_log_joint(faithful.to_numpy(), model.params_)
        # The classification likelihood takes the largest term of each row where BIC takes the sum of all.
        hard = -2 * joint.max(axis=1).sum() + row["n_parameters"] * np.log(len(faithful))
        log_r = joint - logsumexp(joint, axis=1, keepdims=True)
        soft = -2 * (np.exp(log_r) * joint).sum() + row["n_parameters"] * np.log(len(faithful))
        assert row["icl"] == pytest.approx(hard, rel=1e-10)
        assert row["icl_entropy"] == pytest.approx(soft, rel=1e-10)


def test_criteria_are_ordered_as_their_definitions_say(selection):
    table = selection.table
    assert (table["bic"] <= table["icl"] + 1e-9).all()
    assert (table["icl"] <= table["icl_entropy"] + 1e-9).all()
    one = table[table["n_components"] == 1]
    assert np.allclose(one["bic"], one["icl_entropy"])
    assert table.attrs == {"direction": "smaller is better", "criteria": list(CRITERIA)}


def test_a_row_of_weight_two_is_the_row_twice(faithful, rng):
    X = faithful.to_numpy()
    counts = rng.integers(0, 4, len(X))
    given = {"random_state": 1, "n_init": 2, "init_params": "kmeans", "tol": 1e-9}
    weighted = select(X, [1, 2], ["full", "diag"], sample_weight=counts, **given)
    repeated = select(np.repeat(X, counts, axis=0), [1, 2], ["full", "diag"], **given)
    for name in ("log_likelihood", *CRITERIA):
        assert np.allclose(weighted.table[name], repeated.table[name], rtol=1e-7)
    assert np.allclose(weighted._noise(weighted.table.index), repeated._noise(repeated.table.index), rtol=1e-3)
    two = weighted.models[1]
    by_weight = merge_components(two, X, sample_weight=counts)
    assert np.allclose(by_weight.entropy, merge_components(two, np.repeat(X, counts, axis=0)).entropy, atol=1e-9)


@pytest.mark.parametrize("K", [1, 3, 8])
def test_equal_weights_are_all_effective_and_others_are_not(K, rng):
    assert effective_components(np.full(K, 1 / K)) == pytest.approx(K)
    assert effective_components(np.array([1.0] + [0.0] * K)) == pytest.approx(1.0)
    assert 1 <= effective_components(rng.dirichlet(np.ones(K))) <= K + 1e-12


def test_three_groups_are_found_by_every_criterion(blobs):
    X, labels = blobs
    found = select(X, range(1, 6), random_state=0, **QUICK)
    for criterion in ("bic", "icl", "icl_entropy"):
        assert found.best(criterion).n_components == 3
    assert adjusted_rand_score(labels, found.best().predict(X)) == 1.0


def test_a_model_can_be_fitted_again_on_its_own(selection, faithful):
    row = selection.table.index[(selection.table["covariance_type"] == "diag") & (selection.table["n_components"] == 3)][0]
    alone = bg.GaussianMixture(3, covariance_type="diag", random_state=3, **QUICK).fit(faithful)
    assert alone.log_likelihood_ == selection.table["log_likelihood"][row]
    assert np.array_equal(alone.means_, selection.models[row].means_)


def test_the_same_source_of_randomness_gives_the_same_table(faithful):
    one, two = (select(faithful, 3, "full", random_state=np.random.default_rng(4), **QUICK).table for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_best_is_the_smallest_and_regular(selection):
    for criterion in CRITERIA:
        row = selection.table[criterion].idxmin()
        assert selection.best(criterion) is selection.models[row]
    table = selection.table.copy()
    best = table["bic"].idxmin()
    table.loc[best, "status"] = "collapsed"
    worse = replace(selection, table=table)
    assert worse.best() is selection.models[table["bic"].drop(best).idxmin()]
    assert "1 model collapsed onto few rows" in str(worse)
    nothing_regular = replace(selection, table=table.assign(status="spurious"))
    assert nothing_regular.best() is selection.models[best]


def test_a_model_that_cannot_be_fitted_is_a_row_with_its_reason():
    X = np.array([[0.0, 1.0], [1.0, 0.5], [4.0, 4.5], [5.0, 5.2], [0.4, 5.0], [1.0, 4.0]])
    found = select(X, [1, 2, 9], ["spherical"], random_state=1, **QUICK)
    assert found.models[0] is not None
    assert found.models[2] is None
    failed = found.table.iloc[2]
    assert failed["status"] == "failed"
    assert failed[list(CRITERIA)].isna().all()
    assert pd.isna(failed["n_parameters"])
    assert "9" in failed["message"]
    assert 2 not in found.ranking().index
    assert '1 model could not be fitted: 9 components, "spherical"' in str(found)
    found.plot()


def test_data_that_no_model_can_use_raise():
    with pytest.raises(InvalidDataError, match="same value in every row"):
        select(np.ones((20, 2)), [1, 2], ["full", "diag"])


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((range(0),), {}, "n_components must be whole numbers from 1 up, there is none"),
        (([2, 0],), {}, "got 0"),
        (([1.5],), {}, "got 1.5"),
        ((2, ()), {}, "at least one covariance type"),
        ((2, "ful"), {}, "covariance_type must be one of"),
        ((2,), {"covariance_type": "full"}, "use covariance_types"),
        ((2,), {"n_inits": 3}, "no setting 'n_inits'"),
        ((2,), {"errors": [0.1, 0.1]}, "errors= is not known here yet: fit each number of components with it"),
    ],
)
def test_what_cannot_be_asked_for_is_said(faithful, arguments, settings, message):
    with pytest.raises(InvalidParameterError, match=message):
        select(faithful, *arguments, **settings)


def test_an_unknown_criterion_is_named(selection):
    with pytest.raises(InvalidParameterError, match="got 'BIC'"):
        selection.best("BIC")


def test_iris_by_mclust_is_a_tie():
    """R's mclust reports BIC -561.7285 for VEV with 2 components and -562.5522 with 3: less than 2 apart."""
    found = select(load_iris().data, range(1, 5), ["full", "tied", "VEV", "EII"], random_state=1, n_init=5)
    ties = found.ties()
    assert ties[["covariance_type", "n_components"]].to_numpy().tolist() == [["VEV", 2], ["VEV", 3]]
    assert np.allclose(ties["bic"], [561.7285, 562.5522], atol=0.01)
    assert 'Within 2 of its BIC, too little to tell them apart: 3 components, "VEV" (+0.8).' in str(found)


def test_missing_values_are_no_obstacle(faithful):
    X = faithful.to_numpy().copy()
    X[::7, 0] = np.nan
    found = select(X, [1, 2], ["full"], random_state=1, **QUICK)
    assert found.best().n_components == 2
    rows = found.best().score_samples(X)
    assert found.table["log_likelihood"][1] == pytest.approx(rows.sum(), rel=1e-9)
    test = bootstrap_lrt(X, 1, n_replicates=2, random_state=1, **QUICKER)
    assert np.isfinite(test.replicates).all()
    assert merge_components(found.best(), X).groups(2) == ((0,), (1,))


@pytest.mark.parametrize("criterion", ["bic", "icl", "icl_entropy"])
def test_ties_are_within_two_of_the_best(selection, criterion):
    values = selection.table[criterion] - selection.table[criterion].min()
    ties = selection.ties(criterion)
    near = selection.table.loc[values < 2, "log_likelihood"].round(4).unique()
    assert ties["difference"].iloc[0] == 0
    assert set(ties.index) <= set(values.index[values < 2])
    assert len(ties) == len(near)


def test_a_tie_is_made_and_unmade_by_two(selection):
    second = selection.ranking().index[1]
    best = selection.table["bic"].min()
    for gap, tied in ((1.9, True), (2.1, False)):
        table = selection.table.copy()
        table.loc[second, "bic"] = best + gap
        changed = replace(selection, table=table)
        assert (second in changed.ties().index) is tied


def test_noise_of_aic_is_that_of_resampled_rows(selection, faithful, rng):
    ties = selection.ties("aic")
    assert len(ties) >= 2, "Old Faithful does not settle the shape"
    best, other = (selection.models[i].score_samples(faithful) for i in ties.index[:2])
    rows = rng.integers(len(faithful), size=(4000, len(faithful)))
    resampled = 2 * (best - other)[rows].sum(axis=1)
    # The standard deviation of 4,000 resamples is known to about 1%.
    assert ties["noise"].iloc[1] == pytest.approx(2 * resampled.std(), rel=0.05)
    gaps = selection.ranking("aic")["aic"] - ties["aic"].iloc[0]
    assert (ties["difference"] == gaps[ties.index]).all()


def test_one_model_under_two_names_is_no_tie():
    galaxies = bg.datasets.load_galaxies()
    found = select(galaxies, 3, ["full", "diag", "spherical"], random_state=0, **QUICK)
    # In one column the three are the same model.
    assert np.ptp(found.table["log_likelihood"]) < 1e-6 * abs(found.table["log_likelihood"].iloc[0])
    assert len(found.ties()) == 1
    assert found.ties()["covariance_type"].iloc[0] == "full"


def test_the_words_name_the_best_its_ties_and_the_disagreement(selection):
    text = str(selection)
    best = selection.table.loc[selection.table["bic"].idxmin()]
    assert f'{best["n_components"]} components, "{best["covariance_type"]}", BIC {best["bic"]:.1f}' in text
    assert "smaller is better" in text
    for _, row in selection.ties().iloc[1:].iterrows():
        assert f'"{row["covariance_type"]}" ({row["difference"]:+.1f})' in text
    agree = len({(m.n_components, m.covariance_type) for m in map(selection.best, CRITERIA)}) == 1
    assert ("All criteria (AIC" in text) is agree
    assert text in repr(selection)


def test_the_picture_shows_the_table(selection):
    ax = selection.plot("icl")
    assert len(ax.get_lines()) == 4
    for line in ax.get_lines():
        rows = selection.table[selection.table["covariance_type"] == line.get_label()]
        assert np.array_equal(line.get_ydata(), rows["icl"])
    ring = next(c for c in ax.collections if c.get_label() == "best")
    row = selection.table.loc[selection.table["icl"].idxmin()]
    assert np.allclose(ring.get_offsets(), [[row["n_components"], row["icl"]]])
    assert ax.get_ylabel() == "ICL (smaller is better)"


def test_the_picture_is_of_the_good_models_and_counts_the_others(selection):
    ax = selection.plot()
    low, high = ax.get_ylim()
    values = selection.table["bic"]
    above = (values > high).sum()
    assert (values > low).all()
    assert 0 < above < len(values) / 2, "spherical components are far from Old Faithful's shape"
    assert ax.texts[0].get_text() == f"{above} models above"


def test_models_that_cannot_be_chosen_are_crossed_out(selection):
    table = selection.table.copy()
    table.loc[[1, 2], "status"] = "collapsed"
    ax = replace(selection, table=table).plot()
    crossed = next(c for c in ax.collections if c.get_label() == "cannot be chosen")
    assert np.allclose(crossed.get_offsets(), table.loc[[1, 2], ["n_components", "bic"]])


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown_on_a_terminal_only(faithful, capsys, monkeypatch, terminal):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    else:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    select(faithful, 1, "full")
    out, err = capsys.readouterr()
    assert out == ""
    assert ("Fitting mixtures" in err) is terminal
    select(faithful, 1, "full", progressbar=False)
    assert capsys.readouterr().err == ""


def test_the_test_finds_the_second_group_of_old_faithful(lrt, faithful):
    values = [
        bg.GaussianMixture(K, covariance_type="tied", random_state=2, **QUICKER).fit(faithful).score(faithful) for K in (1, 2)
    ]
    assert lrt.statistic == pytest.approx(2 * len(faithful) * (values[1] - values[0]), rel=1e-9)
    assert lrt.replicates.shape == (19,)
    assert (lrt.replicates >= 0).all()
    assert lrt.replicates.max() < lrt.statistic
    assert lrt.p_value == pytest.approx(1 / 20)
    assert "speak for more than 1 component" in str(lrt)


def test_the_test_does_not_find_a_second_group_where_there_is_none():
    X = np.random.default_rng(8).standard_normal((150, 2))
    test = bootstrap_lrt(X, 1, covariance_type="tied", n_replicates=19, random_state=0, **QUICKER)
    above = (test.replicates >= test.statistic).sum()
    assert test.p_value == pytest.approx((1 + above) / 20)
    assert test.p_value > 0.05
    assert "do not ask for more" in test.sentence


def test_the_replicates_depend_on_the_seed_alone(lrt, faithful):
    fewer = bootstrap_lrt(faithful, 1, covariance_type="tied", n_replicates=3, random_state=2, **QUICKER)
    assert np.array_equal(lrt.replicates[:3], fewer.replicates)
    assert "draw at least 19" in fewer.sentence


def test_replicates_that_failed_do_not_count(lrt):
    values = np.array([lrt.statistic + 1, np.nan, lrt.statistic - 1])
    test = replace(lrt, replicates=values)
    assert test.p_value == pytest.approx(2 / 3)
    assert "1 more data set could not be fitted" in test.sentence


def test_the_picture_of_the_test_shows_data_and_replicates(lrt):
    ax = lrt.plot()
    assert sum(patch.get_height() for patch in ax.patches) == 19
    assert np.allclose(ax.get_lines()[0].get_xdata(), lrt.statistic)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"n_replicates": 0}, "at least 1"), ({"n_start": 1}, "no setting"), ({"n_init": -1}, "n_init")]
)
def test_what_the_test_cannot_do_is_said(faithful, arguments, message):
    with pytest.raises(InvalidParameterError, match=message):
        bootstrap_lrt(faithful, 1, progressbar=False, **arguments)


def entropy(table):
    return -sum(t * np.log(t) for row in table for t in row if t > 0)


def test_every_merge_is_the_best_pair_by_brute_force(rng):
    params = random_mixture(rng, 5, 2)
    X, _ = params.sample(80, rng)
    merging = merge_components(params, X)
    r = params.responsibilities(X)
    groups = merging.groups(5)
    assert groups == tuple((k,) for k in range(5))
    for n in range(5, 1, -1):
        options = {}
        for a, b in combinations(groups, 2):
            merged = frozenset({tuple(sorted(a + b)), *(g for g in groups if g not in (a, b))})
            options[merged] = entropy(np.column_stack([r[:, list(g)].sum(1) for g in merged]))
        groups = merging.groups(n - 1)
        assert frozenset(groups) == min(options, key=options.__getitem__)
        assert merging.entropy[n - 1] == pytest.approx(min(options.values()), abs=1e-9)


def test_merging_lowers_the_entropy_and_keeps_the_rows(em_faithful, faithful, rng):
    params = random_mixture(rng, 6, 3)
    X, _ = params.sample(100, rng)
    merging = merge_components(params, X)
    assert (merging.entropy.diff().dropna() >= -1e-9).all()
    assert merging.entropy[1] == pytest.approx(0, abs=1e-9)
    for n in range(1, 7):
        assert sorted(k for group in merging.groups(n) for k in group) == list(range(6))
        assert np.allclose(merging.responsibilities(n).sum(1), 1)
    two = merge_components(em_faithful, faithful)
    assert np.array_equal(two.labels(2), em_faithful.predict(faithful))


def test_groups_in_pieces_become_whole(rng):
    """Two squares full of points, far apart: a mixture cuts each up, merging puts it together."""
    truth = np.repeat([0, 1], 300)
    X = rng.random((600, 2)) * 4 + np.array([[0.0, 0.0], [7.0, 7.0]])[truth]
    model = bg.GaussianMixture(6, covariance_type="spherical", random_state=0, n_init=3).fit(X)
    merging = merge_components(model, X)
    assert adjusted_rand_score(truth, merging.labels(2)) == 1.0
    assert merging.entropy[2] < 0.01 * merging.entropy[6]


def test_the_suggestion_is_where_overlap_begins(rng):
    """Two chains of four: inside a chain every boundary costs the same entropy, between the chains there is none."""
    means = np.concatenate([np.arange(4) * 2.0, 1000 + np.arange(4) * 2.0])[:, None]
    chains = MixtureParams.from_covariances(np.full(8, 1 / 8), means, np.ones((8, 1, 1)))
    merging = merge_components(chains, chains.sample(4000, rng)[0])
    assert merging.suggested == 2
    assert merging.groups(2) == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert "make 2 groups of components: 0+1+2+3; 4+5+6+7" in str(merging)
    ax = merging.plot()
    assert len(ax.get_lines()) == 3
    assert np.allclose(ax.get_lines()[0].get_ydata(), merging.entropy)


def test_components_that_stand_apart_stay_apart(blobs):
    X, _ = blobs
    model = bg.GaussianMixture(3, random_state=0, **QUICK).fit(X)
    merging = merge_components(model, X)
    assert merging.suggested == 3
    assert "hardly overlap" in str(merging)


def test_too_few_components_show_no_bend(rng):
    params = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [1.0]], [[[1.0]]] * 2)
    merging = merge_components(params, params.sample(50, rng)[0])
    assert merging.suggested is None
    assert "no number of groups is suggested" in str(merging)
    merging.plot()


def test_of_a_posterior_the_mean_responsibilities_are_merged(rng):
    params = random_mixture(rng, 3, 2, batch=(2, 4))
    X = rng.normal(size=(20, 2))
    table = np.mean([params.reshape(-1)[t].responsibilities(X) for t in range(8)], axis=0)
    assert np.allclose(merge_components(params, X).responsibilities(3), table)


def test_the_elbow_by_another_least_squares(rng):
    for _ in range(20):
        y = rng.normal(size=7).cumsum()
        costs = {}
        for c in range(2, 7):
            left, right = np.arange(1, c + 1), np.arange(c, 8)
            costs[c] = sum(
                np.linalg.lstsq(np.column_stack([np.ones(len(x)), x]), y[x - 1], rcond=None)[1].sum() if len(x) > 2 else 0.0
                for x in (left, right)
            )
        assert costs[elbow(y)] == pytest.approx(min(costs.values()), abs=1e-12)


def test_what_cannot_be_merged_is_said(em_faithful, faithful):
    with pytest.raises(InvalidParameterError, match="fitted estimator or MixtureParams, got str"):
        merge_components("em", faithful)
    with pytest.raises(InvalidParameterError, match="n must be from 1 to 2"):
        merge_components(em_faithful, faithful).groups(3)
    with pytest.raises(InvalidParameterError, match="at least 3 values"):
        elbow([1.0, 2.0])


# ------------------------------------------------------------------------------------------------ models side by side


@pytest.mark.parametrize("kind", ["full", "VEV", "EVI", "spherical"])
def test_log_likelihoods_grow_with_the_number_of_components(kind, faithful):
    """A mixture of K + 1 components can be one of K, and each fit starts from that of one component fewer, too."""
    many = select(faithful, [1, 2, 3, 4, 5], kind, random_state=3)
    regular = many.table[many.table["status"] == "converged"]
    assert len(regular) >= 4
    assert (np.diff(regular["log_likelihood"]) > -0.01).all()


def test_models_share_one_copy_of_the_rows_that_stays_as_it_is(faithful):
    rows = faithful.to_numpy(copy=True)
    many = select(rows, [1, 2, 3], "full", random_state=3)
    first, second, third = many.models
    before = second.responsibilities().to_numpy()
    rows *= 1000.0
    first.fit(rows[:100])
    assert third.rows_ is second.rows_
    np.testing.assert_array_equal(second.responsibilities(), before)


def test_the_number_of_threads_changes_nothing(faithful, monkeypatch):
    found = []
    monkeypatch.setattr("bayesgmm.selection.grid.FEWEST_TOGETHER", 1)
    for threads in ("1", "2"):
        monkeypatch.setenv("BAYESGMM_NUM_THREADS", threads)
        found.append(select(faithful, [1, 2, 3], ["full", "VEI"], random_state=3).table)
    pd.testing.assert_frame_equal(*found)


def test_criteria_are_those_of_the_models(faithful, rng):
    weight = rng.uniform(0.5, 2.0, size=len(faithful))
    for given_weight in (None, weight):
        row, model = (lambda s: (s.table.iloc[0], s.models[0]))(
            select(faithful, 2, "full", sample_weight=given_weight, random_state=0)
        )
        for name in ("aic", "bic", "icl"):
            assert row[name] == pytest.approx(getattr(model, name)(faithful, given_weight), rel=1e-10)


def test_an_interrupt_ends_it(faithful, monkeypatch):
    """The first model to be ready interrupts: those not begun are never fitted."""
    seen = []
    right = Fitting.search
    monkeypatch.setattr(Fitting, "search", lambda self, *a, **k: seen.append(1) or right(self, *a, **k))

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("bayesgmm.selection.grid.steps", lambda *_, **__: nullcontext(interrupt))
    with pytest.raises(KeyboardInterrupt):
        select(faithful, range(1, 7), ["full", "tied", "diag", "spherical"], random_state=0)
    assert 0 < len(seen) < 24
