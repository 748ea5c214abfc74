"""How many groups there really are, and the pictures of partitions: against enumeration, grids and what the axes show."""

from itertools import permutations, product

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from scipy.special import expit

import bayesgmm as bg
from bayesgmm.estimators.fitting import quiet
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import credible_ball, draw_labels, number_of_groups, occupied_components, same_mode, similarity
from bayesgmm.partitions.number_of_groups import mean_occupied
from bayesgmm.partitions.similarity import display_order
from bayesgmm.plots import plot_credible_ball, plot_similarity
from bayesgmm.plots.style import colour
from bayesgmm.selection import merge_components
from tests.conftest import random_mixture
from tests.test_plots import ink

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10**6)
SHORT = {"random_state": 1, "progressbar": False, "chains": 2, "draws": 60, "tune": 100}


@pytest.fixture(autouse=True)
def close_figures():
    mpl.use("agg")
    yield
    plt.close("all")


# Components with points


def by_allocations(params: MixtureParams, X: np.ndarray) -> np.ndarray:
    """Probabilities of 1 to K components with points, over every allocation of the points."""
    out = np.zeros(params.n_components)
    for r in params.reshape(-1).responsibilities(X):
        for allocation in product(range(params.n_components), repeat=len(X)):
            out[len(set(allocation)) - 1] += np.prod([r[i, k] for i, k in enumerate(allocation)])
    return out / len(params.reshape(-1).weights)


@pytest.mark.parametrize(("K", "N"), [(1, 3), (2, 1), (2, 4), (4, 3), (3, 5)])
def test_numbers_of_components_with_points_are_those_of_all_allocations(rng, K, N):
    params, X = random_mixture(rng, K, 2, (3, 2)), rng.normal(size=(N, 2))
    found = occupied_components(params, X)
    np.testing.assert_allclose(found, by_allocations(params, X), rtol=0, atol=1e-13)
    assert found.index.tolist() == list(range(1, K + 1))
    assert (found.index.name, found.name, found.attrs["method"]) == ("n_groups", "probability", "exact")
    assert found.to_numpy()[N:] == pytest.approx(0, abs=1e-13)
    assert found.sum() == pytest.approx(1)


def test_the_mean_number_is_what_selection_calls_occupied(rng):
    params, X = random_mixture(rng, 5, 2, (2, 20)), rng.normal(size=(30, 2))
    found = occupied_components(params, X)
    assert found.index.to_numpy() @ found == pytest.approx(mean_occupied(params, X), rel=1e-10)


def test_drawn_allocations_agree_with_the_exact_probabilities(rng):
    params, X = random_mixture(rng, 4, 1, (4000,)), rng.normal(size=(6, 1))
    exact, counted = occupied_components(params, X), occupied_components(draw_labels(params, X, random_state=2))
    assert counted.attrs["method"] == "counted"
    error = np.sqrt(exact * (1 - exact) / 4000)
    assert (np.abs(exact - counted.reindex(exact.index, fill_value=0.0)) <= 4.5 * error + 1e-12).all()


def test_many_components_have_their_allocations_drawn(rng, monkeypatch):
    params, X = random_mixture(rng, 11, 1, (50,)), rng.normal(size=(8, 1))
    found = occupied_components(params, X, random_state=3)
    assert found.attrs["method"] == "drawn"
    assert found.equals(occupied_components(params, X, random_state=3))
    assert (len(found), found.sum()) == (11, pytest.approx(1))
    monkeypatch.setattr(number_of_groups, "MOST_COMPONENTS", 11)
    exact = occupied_components(params, X)
    assert exact.index.to_numpy() @ exact == pytest.approx(mean_occupied(params, X), rel=1e-9)
    assert np.abs(exact - found).max() < 4.5 * 0.5 / np.sqrt(50)


@QUICK
@given(SEEDS)
def test_names_of_components_and_the_order_of_points_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    params, X = random_mixture(rng, 3, 1, (5,)), rng.normal(size=(6, 1))
    switched = params.permute(np.argsort(rng.random((5, 3)), axis=1))
    np.testing.assert_allclose(
        occupied_components(switched, rng.permutation(X)), occupied_components(params, X), rtol=0, atol=1e-13
    )


def test_rows_count_as_often_as_their_weights_say(faithful):
    X, weight = faithful.to_numpy()[:8], np.arange(8) % 3
    fit = bg.BayesianGaussianMixture(3, priors=bg.Priors(concentration=0.1), **SHORT)
    with quiet():
        fit.fit(X, sample_weight=weight)
    weighted, repeated = occupied_components(fit), occupied_components(fit.params_, np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(weighted, repeated, rtol=0, atol=1e-12)
    assert not np.allclose(weighted, occupied_components(fit.params_, X), rtol=0, atol=1e-3)


def test_points_must_come_with_a_posterior_only(rng):
    params = random_mixture(rng, 2, 1, (3,))
    with pytest.raises(InvalidDataError, match="X is missing"):
        occupied_components(params)
    with pytest.raises(InvalidParameterError, match="not with labels"):
        occupied_components([[0, 1], [0, 0]], [[0.0], [1.0]])
    assert occupied_components([[4, 4], [0, 7], [1, 2]]).tolist() == pytest.approx([1 / 3, 2 / 3])


# Components that are one group


def hills_on_the_ridge(params: MixtureParams) -> int:
    """Number of local maxima of the density of two components on a fine grid of the ridge, by its definition.

    It rises from either mean towards the other, if only by less than rounding shows.
    """
    first, second = np.linalg.inv(params.covariances)
    a = expit(np.linspace(-30, 30, 20_001))[:, None, None]
    pull = (1 - a) * (first @ params.means[0])[:, None] + a * (second @ params.means[1])[:, None]
    height = params.log_density(np.linalg.solve((1 - a) * first + a * second, pull)[..., 0])
    steps = np.diff(height)
    ups = np.concatenate([[1], np.sign(steps[np.abs(steps) > 1e-13]), [-1]])
    return int((np.diff(ups) < 0).sum())


@pytest.mark.parametrize("D", [1, 2, 4])
def test_unimodal_pairs_are_what_a_fine_grid_of_the_ridge_shows(rng, D):
    params = random_mixture(rng, 2, D, (60,))
    params = MixtureParams(params.weights, params.means * 2.5 / D**0.8, params.scale_tril)
    found = params.unimodal_pairs()[:, 0, 1]
    assert found.tolist() == [hills_on_the_ridge(one) == 1 for one in (params[t] for t in range(60))]
    assert 10 < found.sum() < 50


@pytest.mark.parametrize(("distance", "one"), [(1.999, True), (2.001, False), (1e-9, True), (50.0, False)])
def test_two_equal_components_part_at_two_standard_deviations(distance, one):
    """The textbook's case, and in any units and directions: affine maps do not change it."""
    factor = np.array([[3.0, 0.0], [-2.0, 1e-4]])
    means = np.array([[0.0, 0.0], [0.6, 0.8]]) * distance
    params = MixtureParams([0.5, 0.5], means, np.stack([np.eye(2)] * 2)).transform(np.array([1e3, -5.0]), factor)
    assert bool(params.unimodal_pairs()[0, 1]) is one
    assert bool(params.unimodal_pairs()[1, 0]) is one


def test_a_small_weight_loses_its_hill(rng):
    """Of two narrow components 2.5 apart: a hill at equal weights, a shoulder at one per mille, and nothing at weight zero."""

    def two(weight):
        return MixtureParams.from_covariances([1 - weight, weight], [[0.0], [2.5]], [[[1.0]], [[1.0]]])

    assert [bool(two(w).unimodal_pairs()[0, 1]) for w in (0.5, 0.001, 0.0)] == [False, True, True]
    assert two(0.0).unimodal_pairs().all()


@QUICK
@given(SEEDS)
def test_no_two_components_have_fewer_modes_than_unimodal_pairs_say(seed):
    params = random_mixture(np.random.default_rng(seed), 2, 2)
    assert (len(params.modes()) == 1) == bool(params.unimodal_pairs()[0, 1])


def test_the_table_is_the_share_of_draws(rng):
    params = random_mixture(rng, 4, 2, (2, 150))
    table = same_mode(params, n_draws=None)
    np.testing.assert_allclose(table, params.unimodal_pairs().reshape(-1, 4, 4).mean(0))
    assert (np.diag(table) == 1).all()
    assert (table.to_numpy() == table.to_numpy().T).all()
    order = rng.permutation(4)
    switched = params.permute(np.broadcast_to(order, (2, 150, 4)))
    np.testing.assert_allclose(same_mode(switched, n_draws=None), table.to_numpy()[np.ix_(order, order)])
    few = same_mode(params, n_draws=3)
    assert set(np.round(few.to_numpy().ravel() * 3, 9)) <= {0.0, 1.0, 2.0, 3.0}


def test_groups_far_apart_are_two_and_a_split_group_is_one(posterior_faithful, em_faithful):
    assert same_mode(posterior_faithful).loc[0, 1] == 0
    assert same_mode(em_faithful).to_numpy().tolist() == [[1, 0], [0, 1]]
    assert occupied_components(posterior_faithful).tolist() == [0.0, 1.0]
    for fit, n_draws in (("em", 9), (em_faithful, 0)):
        with pytest.raises(InvalidParameterError):
            same_mode(fit, n_draws=n_draws)


# Pictures


@pytest.fixture(scope="module")
def blocks():
    """Draws about three groups of eight points, of which a few wander, and where the points lie."""
    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1, 2], 8)
    draws = np.where(rng.random((80, 24)) < 0.12, rng.integers(4, size=(80, 24)), truth)
    return draws, truth, rng.normal(size=(24, 3)) + truth[:, None] * 4.0


def of_kind(artists, start: str) -> list:
    return [artist for artist in artists if (artist.get_gid() or "").startswith(start)]


def test_the_map_shows_the_similarities_in_the_order_of_the_tree(blocks):
    draws, truth, _ = blocks
    mixed = np.random.default_rng(1).permutation(24)
    P = similarity(draws[:, mixed])
    ax = plot_similarity(P, labels=truth[mixed])
    order = display_order(P)
    np.testing.assert_array_equal(ax.images[0].get_array(), P[np.ix_(order, order)])
    assert ax.images[0].get_clim() == (0.0, 1.0)
    bars = of_kind(ax.lines, "group-")
    assert len(bars) == 6  # the tree puts each group in one piece, marked on two sides
    for bar in bars[::2]:
        start, stop = np.round(bar.get_xdata()).astype(int)
        here = truth[mixed][order][start : stop + 1]
        assert len(set(here)) == 1
        assert len(here) == 8
        assert to_rgb(bar.get_color()) == to_rgb(colour(int(bar.get_gid()[-1])))


def test_a_group_in_pieces_has_a_bracket_for_each(blocks):
    draws, truth, _ = blocks
    order = np.r_[0:4, 8:24, 4:8]
    ax = plot_similarity(similarity(draws), order, labels=truth)
    assert [bar.get_gid() for bar in of_kind(ax.lines, "group-")][::2] == ["group-0", "group-1", "group-2", "group-0"]
    assert ax.get_xlabel() == "24 points, in the order given"
    for wrong in (order[:-1], np.zeros(24, int), order + 0.5):
        with pytest.raises(InvalidParameterError, match="each of the 24 points"):
            plot_similarity(similarity(draws), wrong)
    with pytest.raises(InvalidDataError, match="square"):
        plot_similarity(np.ones((2, 3)))
    with pytest.raises(InvalidDataError, match="24 points"):
        plot_similarity(similarity(draws), labels=truth[:-1])


@pytest.mark.parametrize("D", [1, 2, 3])
def test_the_ball_rings_the_points_that_change_groups(blocks, D):
    draws, truth, X = blocks
    ball = credible_ball(truth, draws)
    axes = plot_credible_ball(X[:, :D], ball)
    assert not of_kind(axes[0].collections, "moved")
    for ax, bound in zip(axes[1:], (ball.horizontal, ball.upper, ball.lower), strict=True):
        drawn = {c.get_gid(): np.asarray(c.get_offsets()) for c in of_kind(ax.collections, "group-")}
        assert sum(map(len, drawn.values())) == 24
        assert sorted(map(len, drawn.values())) == sorted(np.bincount(bound.labels[0]))
        # As few rings as any naming of the groups allows: no other one agrees with the estimate on more points.
        k, most = bound.labels[0].max() + 1, 0
        for names in permutations(range(max(k, 3)), int(k)):
            most = max(most, int((np.array(names)[bound.labels[0]] == ball.center).sum()))
        rings = of_kind(ax.collections, "moved")[0].get_offsets()
        assert len(rings) == 24 - most
        title = ax.get_title(loc="left")
        assert f"{bound.n_groups[0]} groups, vi {bound.distance:.3g} bits, {24 - most} points moved" in title
        assert ("tie" in title) == (len(bound.labels) > 1)
    assert axes[0].get_xlabel().startswith("principal axis" if D == 3 else "x0")


def test_the_ball_needs_its_own_points(blocks):
    draws, truth, X = blocks
    ball = credible_ball(truth, draws, loss="binder")
    gaps = X.copy()
    gaps[0, 0] = np.nan
    axes = plot_credible_ball(gaps, ball)
    assert [text.get_text() for text in axes[0].texts] == ["1 row with gaps not shown"]
    assert sum(len(c.get_offsets()) for c in axes[0].collections) == 23
    with pytest.raises(InvalidDataError, match="each of the 24 points"):
        plot_credible_ball(X[1:], ball)
    with pytest.raises(InvalidDataError, match="missing value"):
        plot_credible_ball(np.full_like(X, np.nan), ball)
    with pytest.raises(InvalidParameterError, match="credible_ball returns"):
        plot_credible_ball(X, draws)
    with pytest.raises(InvalidParameterError, match="four axes"):
        plot_credible_ball(X, ball, axs=axes[:3])


def test_merging_is_drawn_as_it_is_and_of_a_posterior_too(posterior_faithful, faithful, rng):
    mixture = MixtureParams.from_covariances([0.25] * 4, [[0.0], [0.5], [9.0], [9.5]], [[[1.0]]] * 4)
    merging = merge_components(mixture, mixture.sample(300, random_state=0)[0])
    ax = plt.subplots()[1]
    assert merging.plot(ax=ax) is ax
    x, y = ax.lines[0].get_data()
    assert x.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(y, merging.entropy)
    assert merging.suggested == 2
    assert ax.get_legend().get_texts()[0].get_text() == "suggested: 2 groups"
    assert merging.plot().lines[0].get_ydata().tolist() == y.tolist()
    posterior = merge_components(posterior_faithful, faithful)
    np.testing.assert_array_equal(posterior.plot().lines[0].get_ydata(), posterior.entropy)


def test_every_picture_has_ink_and_nothing_is_cut_off(blocks):
    draws, truth, X = blocks
    mixture = MixtureParams.from_covariances([0.25] * 4, [[0.0], [1.0], [9.0], [9.5]], [[[1.0]]] * 4)
    merging = merge_components(mixture, mixture.sample(99, random_state=0)[0])
    pictures = [lambda: plot_similarity(similarity(draws), labels=truth), merging.plot]
    pictures += [lambda D=D: plot_credible_ball(X[:, :D], credible_ball(truth, draws)) for D in (1, 2, 3)]
    for draw in pictures:
        draw()
        figure = plt.gcf()
        assert 0.005 < ink(figure) < 0.75
        page, drawn = figure.bbox_inches, figure.get_tightbbox()
        assert min(drawn.x0, drawn.y0) >= -0.02
        assert drawn.x1 <= page.x1 + 0.02
        assert drawn.y1 <= page.y1 + 0.02
