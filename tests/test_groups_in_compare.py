"""How many groups there are, in the comparison, in pictures and along the path of mergers."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from bayesgmm import BayesianGaussianMixture, GaussianMixture, compare
from bayesgmm.comparison import verdicts
from bayesgmm.comparison.groups import GroupsUsed
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.partitions import abstain, credible_ball, occupied_components, same_mode
from bayesgmm.plots import plot_credible_ball, plot_occupied
from bayesgmm.selection import merge_components
from tests.conftest import table_of


@pytest.fixture(scope="module")
def one_too_many():
    """Two groups, fitted as three."""
    rng = np.random.default_rng(6)
    X = np.concatenate([rng.normal(0, 1, size=(60, 1)), rng.normal(9, 1, size=(40, 1))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        em = GaussianMixture(3, random_state=1).fit(X)
        posterior = BayesianGaussianMixture(3, init=em, draws=150, tune=200, random_state=1, progressbar=False).fit(X)
    return X, em, posterior


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_comparison_says_how_many_groups_are_used(one_too_many):
    X, em, posterior = one_too_many
    comparison = compare(em, posterior)
    used = comparison.groups
    order = list(comparison.order)
    np.testing.assert_allclose(used.occupied, occupied_components(posterior.params_, X), atol=0.05)  # of all draws
    np.testing.assert_allclose(used.same.to_numpy(), same_mode(posterior, n_draws=None).to_numpy()[np.ix_(order, order)], atol=0.1)
    assert comparison.summary()["groups"]["occupied"] == {str(n): p for n, p in used.occupied.items()}


def test_two_names_for_one_hill_are_a_verdict(faithful):
    long = faithful[faithful["eruptions"] > 3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        em = GaussianMixture(2, random_state=1).fit(long)
        posterior = BayesianGaussianMixture(2, init=em, draws=150, tune=200, random_state=1, progressbar=False).fit(long)
    check = compare(em, posterior).verdict("groups")
    assert "Groups 0 and 1 are one hill of the density" in check.sentence
    assert not check.passed


def test_nothing_is_said_where_there_is_nothing_to_say(em_faithful, posterior_faithful):
    comparison = compare(em_faithful, posterior_faithful)
    assert [check for check in comparison.verdicts if check.name == "groups"] == []
    assert comparison.groups.all_used == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("probability", "same", "passed", "words"),
    [
        ([0.0, 0.03, 0.97], 0.1, None, ""),
        ([0.0, 0.3, 0.7], 0.1, True, "Fewer than 3 groups have any points with 30% probability; 3 is the most probable"),
        ([0.1, 0.6, 0.3], 0.1, False, "with 70% probability; 2 is the most probable number"),
        ([0.0, 0.0, 1.0], 0.6, False, "Groups 0 and 1 are one hill of the density with 60% probability"),
    ],
)
def test_a_doubt_about_the_number_is_a_verdict(probability, same, passed, words):
    table = np.eye(3)
    table[0, 1] = table[1, 0] = same
    series = pd.Series(probability, index=pd.RangeIndex(1, 4, name="n_groups"))
    found = verdicts.groups(GroupsUsed(series, pd.DataFrame(table)))
    if passed is None:
        assert found == ()
        return
    assert found[0].passed is passed
    assert words in found[0].sentence


def test_the_picture_is_the_probabilities(one_too_many):
    X, em, posterior = one_too_many
    probability = occupied_components(posterior.params_, X)
    ax = plt.subplots()[1]
    assert plot_occupied(probability, ax=ax) is ax
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], probability)
    assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx([1, 2, 3])
    assert plot_occupied(compare(em, posterior).groups.occupied).get_xlabel() == "number of groups that have points"
    with pytest.raises(InvalidParameterError, match="what occupied_components returns"):
        plot_occupied([0.5, 0.5])


def test_the_band_of_the_path_is_that_of_the_draws(one_too_many):
    X, em, posterior = one_too_many
    merging = merge_components(posterior, X)
    flat = posterior.params_.reshape(-1)
    draws = flat.thin(len(merging.draw_entropy))
    # Along the path, the draws' own responsibilities are added up: by hand.
    for n in (2, 3):
        r = draws.responsibilities(X)
        grouped = np.stack([r[..., list(group)].sum(-1) for group in merging.groups(n)], axis=-1)
        np.testing.assert_allclose(
            merging.draw_entropy[:, n - 1], entropy(np.clip(grouped, 1e-300, None), axis=-1).sum(-1), atol=1e-8
        )
    interval = merging.entropy_interval(0.5)
    assert (interval["lower"] <= interval["upper"]).all()
    assert interval.loc[1].abs().max() < 1e-6
    np.testing.assert_allclose(interval["upper"], np.quantile(merging.draw_entropy, 0.75, axis=0))
    ax = merging.plot()
    assert len(ax.collections) >= 1
    assert "90% of the posterior's draws" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert merge_components(em, X).entropy_interval() is None
    with pytest.raises(InvalidParameterError, match="prob"):
        merging.entropy_interval(1.5)


def test_panels_of_a_ball_that_coincide_say_so():
    X = np.array([[0.0], [1.0], [5.0], [6.0]])
    alone = plot_credible_ball(X, credible_ball([0, 0, 1, 1], [[0, 0, 1, 1]] * 5))
    assert [ax.get_title(loc="left").split("\n")[-1] for ax in alone] == ["2 groups", *["the same as the estimate"] * 3]
    ball = credible_ball([0, 0, 1, 1], [[0, 0, 1, 1]] * 3 + [[0, 0, 0, 1]])
    titles = [ax.get_title(loc="left").split("\n")[-1] for ax in plot_credible_ball(X, ball)]
    assert titles[2] == titles[3] == "the same as “farthest in the ball”"


def test_abstaining_counts_rows_by_their_weight(em_faithful, faithful):
    table = em_faithful.row_summary(faithful)
    weight = np.random.default_rng(0).integers(0, 4, len(faithful))
    repeated = table.isel(obs=np.repeat(np.arange(len(faithful)), weight))
    weighted, long = abstain(table, 0.99, sample_weight=weight), abstain(repeated, 0.99)
    assert weighted.share == pytest.approx(long.share)
    assert weighted.expected_error == pytest.approx(long.expected_error)
    pd.testing.assert_frame_equal(weighted.curve, long.curve)
    np.testing.assert_array_equal(weighted.labels, abstain(table, 0.99).labels)
    with pytest.raises(InvalidDataError, match="one number for each of the 272 rows"):
        abstain(table, 0.9, sample_weight=weight[1:])


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (None, "2 of 3 rows (67%);"),
        (2.0, "2 of 3 rows (67%);"),
        ([1, 98, 1], "2 of 3 rows (2% by weight);"),
        ([0, 1, 0], "weights are zero"),
    ],
)
def test_the_sentence_of_abstaining_tells_rows_from_their_weight(weight, words):
    table = table_of(np.array([[0.99, 0.01], [0.5, 0.5], [0.02, 0.98]]))
    said = str(abstain(table, 0.8, sample_weight=weight))
    assert words in said
    assert "nan" not in said
