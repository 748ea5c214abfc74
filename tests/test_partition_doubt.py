"""How sure a partition is: similarities, credible balls, certain cores, several partitions."""

from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgmm.estimators import GaussianMixture
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import (
    certain_core,
    credible_ball,
    draw_labels,
    expected_loss,
    partition_loss,
    point_estimate,
    similarity,
    similarity_blocks,
    wasserstein_summary,
)
from bayesgmm.partitions.similarity import display_order
from tests.conftest import random_mixture
from tests.test_partitions import blurred_groups, draw_set, loss_draws

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10**6)


@pytest.fixture(scope="module")
def draws():
    return blurred_groups(200, 90)


@pytest.fixture
def mixtures(rng):
    return random_mixture(rng, K=3, D=2, batch=(4, 25)), rng.normal(size=(40, 2))


# Similarities


def test_counted_similarities_are_shares_of_draws(draws):
    P = similarity(draws)
    assert np.allclose(P, (draws[:, :, None] == draws[:, None, :]).mean(0), rtol=0, atol=1e-15)
    assert np.array_equal(P, P.T)
    assert (np.diag(P) == 1).all()


def test_averaged_similarities_are_the_mean_products_of_responsibilities(mixtures):
    params, X = mixtures
    r = params.responsibilities(X).reshape(-1, 40, 3)
    expected = np.einsum("tik,tjk->ij", r, r) / len(r)
    np.fill_diagonal(expected, 1.0)
    assert similarity(params, X) == pytest.approx(expected, abs=1e-12)


def test_a_fit_knows_its_points(em_faithful, faithful):
    P = similarity(em_faithful)
    assert P.shape == (272, 272)
    assert similarity(em_faithful, faithful[:10]) == pytest.approx(P[:10, :10], abs=1e-12)
    assert draw_labels(em_faithful, random_state=0).shape == (1, 272)


@pytest.mark.parametrize("kind", ["labels", "mixtures"])
def test_blocks_are_rows_of_the_whole(kind, draws, mixtures, monkeypatch):
    given = (draws,) if kind == "labels" else mixtures
    whole = similarity(*given)
    n = len(whole)
    monkeypatch.setattr(import_module("bayesgmm.partitions.similarity"), "BLOCK_NUMBERS", 7 * n)
    monkeypatch.setattr("bayesgmm.partitions.draws.DRAW_NUMBERS", 1000)
    blocks = list(similarity_blocks(*given))
    assert [start for start, _ in blocks] == list(range(0, n, 7))
    assert np.vstack([block for _, block in blocks]) == pytest.approx(whole, abs=1e-13)
    assert similarity(*given) == pytest.approx(whole, abs=1e-13)


def test_a_matrix_that_would_not_fit_is_refused_at_once():
    with pytest.raises(InvalidParameterError, match="20 GB: use similarity_blocks"):
        similarity(np.zeros((2, 50_000), int))


def test_labels_are_drawn_with_the_probabilities_of_their_responsibilities():
    one = MixtureParams.from_covariances([0.5, 0.3, 0.2], [[0.0], [1.0], [2.5]], [[[1.0]]] * 3)
    many = MixtureParams(*(np.repeat(value[None], 20_000, axis=0) for value in (one.weights, one.means, one.scale_tril)))
    X = np.linspace(-1, 4, 7)[:, None]
    drawn = draw_labels(many, X, random_state=3)
    r = one.responsibilities(X)
    shares = np.array([(drawn == k).mean(0) for k in range(3)]).T
    assert np.abs((shares - r) / np.sqrt(r * (1 - r) / 20_000)).max() < 4.5  # 21 z-scores
    assert np.array_equal(drawn, draw_labels(many, X, random_state=3))
    # Labels drawn and counted estimate what is averaged without drawing.
    assert np.abs(similarity(drawn) - similarity(many[:1], X)).max() < 4.5 * 0.5 / np.sqrt(20_000)


def test_the_display_order_puts_groups_together(draws):
    labels = point_estimate(draws, random_state=0).labels
    far = np.where(labels[:, None] == labels, 0.9, 0.1)
    np.fill_diagonal(far, 1.0)
    shown = labels[display_order(far)]
    assert sum(a != b for a, b in pairwise(shown)) == 2
    assert display_order([[1.0]]).tolist() == [0]


@pytest.mark.parametrize("matrix", [[[1.0, 0.5]], [[1.0, 0.2], [0.3, 1.0]], [[1.0, 2.0], [2.0, 1.0]]])
def test_what_is_no_similarity_matrix(matrix):
    with pytest.raises(InvalidDataError, match="a similarity matrix must be"):
        display_order(matrix)


def test_mixtures_without_points_and_labels_with():
    one = MixtureParams.from_covariances([1.0], [[0.0]], [[[1.0]]])
    with pytest.raises(InvalidDataError, match="X is missing"):
        similarity(one)
    with pytest.raises(InvalidDataError, match=r"shape \(N, 1\)"):
        draw_labels(one, [[0.0, 1.0]])
    with pytest.raises(InvalidParameterError, match="leave it out"):
        similarity([[0, 1]], [[0.0], [1.0]])
    with pytest.raises(InvalidParameterError, match="got list"):
        draw_labels([[0, 1]])


def test_gaps_are_no_obstacle_and_noise_is_said_to_be_one(faithful, mixtures):
    params, X = mixtures
    holed = X.copy()
    holed[3, 0] = np.nan
    r = params.responsibilities(holed).reshape(-1, 40, 3)
    assert similarity(params, holed)[3, 5] == pytest.approx((r[:, 3] * r[:, 5]).sum(-1).mean(), abs=1e-12)
    noisy = GaussianMixture(2, noise=True, random_state=0).fit(faithful)
    with pytest.raises(InvalidParameterError, match=r"belong to no group: give its mixture alone, fit\.params_"):
        similarity(noisy)


# Credible balls


@given(SEEDS, st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.sampled_from(["vi", "binder"]))
@QUICK
def test_a_ball_is_the_least_that_holds_its_share(seed, level, loss):
    draws = draw_set(seed, 7, noisy=True)
    center = draws[0]
    ball = credible_ball(center, draws, level=level, loss=loss)
    distances = np.array([partition_loss(center, z, loss) for z in draws])
    assert ball.distances == pytest.approx(distances, abs=1e-12)
    assert ball.share == (distances <= ball.radius + 1e-9).mean() >= level
    assert (distances < ball.radius - 1e-9).mean() < level
    inside = distances <= ball.radius + 1e-9
    groups = np.array([len(set(z)) for z in draws])
    expected = {
        "horizontal": inside,
        "upper": inside & (groups == groups[inside].min()),
        "lower": inside & (groups == groups[inside].max()),
    }
    for name, allowed in expected.items():
        bound = getattr(ball, name)
        far = allowed & (distances >= distances[allowed].max() - 1e-9)
        assert bound.distance == pytest.approx(distances[allowed].max(), abs=1e-12)
        assert bound.n_draws.sum() == far.sum()  # all ties are kept and counted
        for labels, count in zip(bound.labels, bound.n_draws, strict=True):
            assert sum(partition_loss(labels, z) < 1e-9 for z in draws[far]) == count
        assert (np.diff(bound.n_draws) <= 0).all()
        assert [len(set(z)) for z in bound.labels] == bound.n_groups.tolist()


def test_a_ball_says_what_is_credible(draws):
    estimate = point_estimate(draws, random_state=0)
    ball = credible_ball(estimate, draws)
    assert ball.contains(estimate.labels)
    assert not ball.contains(np.arange(90))
    assert ball.inside.mean() == ball.share >= 0.95
    assert sum(ball.contains(z) for z in draws) == ball.inside.sum()
    assert "95." in str(ball)


def test_a_ball_does_not_depend_on_names_or_order(draws, rng):
    order = rng.permutation(90)
    renamed = np.array([rng.permutation(9)[z] for z in draws])[:, order]
    one, two = credible_ball(draws[3], draws), credible_ball(draws[3][order], renamed)
    assert one.radius == pytest.approx(two.radius, abs=1e-12)
    assert one.share == two.share


@pytest.mark.parametrize(("settings", "message"), [({"loss": "nid"}, "'vi' or 'binder'"), ({"level": 0}, "between 0 and 1")])
def test_balls_that_cannot_be_made(settings, message):
    with pytest.raises(InvalidParameterError, match=message):
        credible_ball([0, 1], [[0, 1]], **settings)


# Certain cores


def agreement(labels, members, draws):
    """Share of the draws that group these points like the labels."""
    same = labels[members][:, None] == labels[members]
    return np.mean([np.array_equal(z[members][:, None] == z[members], same) for z in draws])


@given(SEEDS, st.sampled_from([0.5, 0.75, 1.0]), st.booleans())
@QUICK
def test_a_core_has_its_probability_and_no_point_could_be_added(seed, level, held):
    draws = draw_set(seed, 7, noisy=True)
    partition = point_estimate(draws, random_state=0).labels if held else None
    core = certain_core(draws, level=level, partition=partition)
    members = np.flatnonzero(core.labels >= 0)
    assert core.probability == pytest.approx(agreement(core.labels, members, draws))
    assert core.probability >= level - 1e-9
    assert sorted(core.order) == list(range(7))
    assert set(core.order[: core.size]) == set(members)
    assert core.curve[0] == 1
    assert (np.diff(core.curve) <= 0).all()
    for i in np.flatnonzero(core.labels < 0):
        for group in range(-1, core.labels.max() + 1):
            more = core.labels.copy()
            more[i] = group if group >= 0 else 99
            if held and agreement(more, np.append(members, i), partition[None]) == 0:
                continue
            assert agreement(more, np.append(members, i), draws) < level


def test_a_core_of_a_partition_agrees_with_it(draws):
    labels = point_estimate(draws, random_state=0).labels
    core = certain_core(draws, level=0.9, partition=labels)
    inside = core.labels >= 0
    assert np.array_equal(core.labels[inside][:, None] == core.labels[inside], labels[inside][:, None] == labels[inside])
    assert 1 < core.size < 90
    assert f"{core.size} of 90 points" in str(core)


def test_less_certain_cores_are_larger(draws):
    sizes = [certain_core(draws, level=level).size for level in (1.0, 0.9, 0.5, 0.1)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_a_core_grows_from_certain_points():
    # Eight points in two groups for sure, and four that are anywhere.
    rng = np.random.default_rng(0)
    draws = np.hstack([rng.integers(0, 9, size=(200, 4)), np.tile([0, 0, 0, 0, 1, 1, 1, 1], (200, 1))])
    core = certain_core(draws, n_starts=1)
    assert core.labels.tolist() == [-1] * 4 + [0] * 4 + [1] * 4
    assert core.probability == 1


def test_cores_that_cannot_be_made():
    with pytest.raises(InvalidParameterError, match="level"):
        certain_core([[0, 1]], level=0)
    with pytest.raises(InvalidParameterError, match="n_starts"):
        certain_core([[0, 1]], n_starts=0)
    with pytest.raises(InvalidDataError, match="partition must have a label for each of the 2 points"):
        certain_core([[0, 1]], partition=[0])


# Several partitions


def two_modes(T=120, N=40, seed=0):
    """Draws near one of two partitions, two thirds of them near the first."""
    rng = np.random.default_rng(seed)
    modes = np.array([np.arange(N) % 2, np.arange(N) // (N // 4)])
    which = (np.arange(T) % 3 == 2).astype(int)
    draws = modes[which]
    moved = rng.random((T, N)) < 0.05
    draws[moved] = rng.integers(0, 4, size=moved.sum())
    return draws, modes, which


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_two_modes_are_found_with_their_weights(loss):
    draws, modes, which = two_modes()
    found = wasserstein_summary(draws, 2, loss=loss, random_state=1)
    assert [partition_loss(a, b) for a, b in zip(found.labels, modes, strict=True)] == pytest.approx([0, 0], abs=1e-12)
    assert np.array_equal(found.assignment, which)
    assert found.weights == pytest.approx([2 / 3, 1 / 3])
    nearest = np.array([loss_draws(z, draws, loss) for z in found.labels]).min(0)
    assert found.distance == pytest.approx(nearest.mean(), abs=1e-12)
    assert "67 % near one of 2" in str(found)


def test_more_partitions_are_closer_and_one_is_the_estimate():
    draws, _, _ = two_modes()
    found = [wasserstein_summary(draws, n, random_state=0) for n in (1, 2, 3)]
    assert found[0].distance == pytest.approx(point_estimate(draws, random_state=0).expected_loss, abs=1e-12)
    assert found[0].distance > 2 * found[1].distance
    assert found[1].distance >= found[2].distance - 1e-12
    for summary in found:
        for which, labels in enumerate(summary.labels):
            mine = draws[summary.assignment == which]
            assert expected_loss(labels, mine) <= min(expected_loss(z, mine) for z in mine) + 1e-12


def test_fewer_partitions_come_back_where_fewer_are_different():
    found = wasserstein_summary([[0, 0, 1]] * 5, 3, random_state=0)
    assert found.labels.tolist() == [[0, 0, 1]]
    assert found.weights.tolist() == [1.0]


@pytest.mark.parametrize(("settings", "message"), [({"loss": "omari"}, "distances"), ({"n_partitions": 0}, "n_partitions")])
def test_summaries_that_cannot_be_made(settings, message):
    with pytest.raises(InvalidParameterError, match=message):
        wasserstein_summary([[0, 1]], **settings)
