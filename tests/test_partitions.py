"""Partitions: losses by other routes, the search against enumeration, invariances, and what users get wrong."""

import signal
import tracemalloc
from concurrent.futures import FIRST_COMPLETED, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from scipy.stats import entropy
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix, pair_confusion_matrix

import bayesgmm as bg
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.partitions import LOSSES, expected_loss, partition_loss, point_estimate, similarity
from bayesgmm.partitions.draws import by_size, check_draws
from bayesgmm.partitions.losses import draw_losses, loss_named
from bayesgmm.partitions.search import TableSearch, every_partition

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
PARTITIONS = st.integers(2, 7).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=1, max_size=6).map(np.array)
)


def draw_set(seed, n, noisy=False):
    """Random draws of a partition: nothing in common, or a few points of one partition moved each time."""
    rng = np.random.default_rng(seed)
    T = int(rng.integers(1, 13))
    if not noisy:
        return rng.integers(0, rng.integers(2, 6), size=(T, n))
    draws = np.tile(rng.integers(0, 3, size=n), (T, 1))
    moved = rng.random((T, n)) < 0.25
    draws[moved] = rng.integers(0, 4, size=moved.sum())
    return draws


def one_hot(labels):
    return (labels[..., None] == np.arange(labels.max() + 1)).astype(float)


def entropies(p, axes):
    return -(p * np.log2(np.where(p > 0, p, 1))).sum(axis=axes)


def loss_draws(labels, draws, loss="vi"):
    """Losses of one partition against each draw."""
    return draw_losses(by_size(labels), check_draws(draws), loss_named(loss))


def direct(partitions, draws, loss, a=1.0):
    """Expected losses of partitions (P, N) straight from the definitions, all contingency tables (P, T, K, M) at once."""
    N = draws.shape[1]
    n = np.einsum("pik,tim->ptkm", one_hot(partitions), one_hot(draws))
    rows, columns = n.sum(-1), n.sum(-2)
    joint, first, second = entropies(n / N, (-1, -2)), entropies(rows / N, -1), entropies(columns / N, -1)
    if loss in ("vi", "nvi", "id", "nid"):
        shared = first + second - joint
        most = np.maximum(first, second)
        with np.errstate(invalid="ignore"):
            each = {
                "vi": a * (joint - second) + (2 - a) * (joint - first),
                "id": most - shared,
                "nid": np.where(most > 1e-12, 1 - shared / most, 0.0),
                "nvi": np.where(joint > 1e-12, 1 - shared / joint, 0.0),
            }[loss]
        return each.mean(1)
    both, one, other = ((m * (m - 1) / 2).sum(axes) for m, axes in ((n, (-1, -2)), (rows, -1), (columns, -1)))
    if loss == "binder":
        return ((a * (other - both) + (2 - a) * (one - both)) / (N * N / 2)).mean(1)
    if loss == "pear":
        both, one, other = (counts.mean(1) for counts in (both, one, other))
    chance = one * other / (N * (N - 1) / 2)
    most = (one + other) / 2 - chance
    with np.errstate(invalid="ignore"):
        index = np.where(most > 1e-12, (both - chance) / most, 1.0)
    return 1 - index if loss == "pear" else (1 - index).mean(1)


# Losses


@pytest.mark.parametrize("seed", range(5))
def test_losses_are_what_scipy_and_scikit_learn_say(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, size=40), rng.integers(0, 5, size=40)
    table = contingency_matrix(a, b)
    joint, first, second = (entropy(p.ravel(), base=2) for p in (table, table.sum(1), table.sum(0)))
    shared = first + second - joint
    pairs = pair_confusion_matrix(a, b)  # of ordered pairs; [0, 1] together in the first, apart in the second
    expected = {
        "vi": joint - shared,
        "nvi": 1 - shared / joint,
        "id": max(first, second) - shared,
        "nid": 1 - shared / max(first, second),
        "binder": (pairs[0, 1] + pairs[1, 0]) / 40**2,
        "omari": 1 - adjusted_rand_score(a, b),
        "pear": 1 - adjusted_rand_score(a, b),
    }
    assert set(expected) == set(LOSSES)
    for loss, value in expected.items():
        assert partition_loss(a, b, loss) == pytest.approx(value, abs=1e-12)


def test_unequal_costs_weigh_parting_and_joining():
    together, apart = [0, 0, 0, 0], [0, 0, 1, 1]
    # Parting four points into pairs parts 4 of the 6 pairs, and says one bit too much about each point.
    assert partition_loss(apart, together, "binder", split_cost=1.5) == pytest.approx(1.5 * 4 / 8)
    assert partition_loss(together, apart, "binder", split_cost=1.5) == pytest.approx(0.5 * 4 / 8)
    assert partition_loss(apart, together, "vi", split_cost=1.5) == pytest.approx(1.5)
    assert partition_loss(together, apart, "vi", split_cost=1.5) == pytest.approx(0.5)


@pytest.mark.parametrize("loss", LOSSES)
def test_expected_losses_are_those_computed_directly(loss):
    for seed in range(6):
        draws = draw_set(seed, 30)
        labels = np.random.default_rng(seed).integers(0, 6, size=30)
        value = direct(labels[None], draws, loss)[0]
        assert expected_loss(labels, draws, loss) == pytest.approx(value, abs=1e-12)
        if loss != "pear":
            assert loss_draws(labels, draws, loss).mean() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("loss", ["binder", "vi"])
def test_expected_losses_with_unequal_costs(loss):
    draws, labels = draw_set(3, 20), np.arange(20) % 3
    value = direct(labels[None], draws, loss, 0.6)[0]
    assert expected_loss(labels, draws, loss, split_cost=0.6) == pytest.approx(value, abs=1e-12)


def test_many_groups_are_counted_in_smaller_pieces():
    rng = np.random.default_rng(0)
    draws, labels = rng.integers(0, 2000, size=(70, 2000)), np.arange(2000)
    assert len(check_draws(draws).parts(2000)) > 2
    each = [partition_loss(labels, draw, "vi") for draw in draws[:5]]
    assert loss_draws(labels, draws)[:5] == pytest.approx(each, abs=1e-12)


@given(st.integers(0, 10**6), st.sampled_from(["vi", "binder", "nvi", "nid"]))
@QUICK
def test_distances_are_metrics(seed, loss):
    rng = np.random.default_rng(seed)
    a, b, c = rng.integers(0, rng.integers(1, 6), size=(3, 9))
    ab, bc, ac = (partition_loss(*pair, loss) for pair in ((a, b), (b, c), (a, c)))
    assert ab == pytest.approx(partition_loss(b, a, loss), abs=1e-12)
    assert ac <= ab + bc + 1e-12
    assert partition_loss(a, 7 - a, loss) == pytest.approx(0, abs=1e-12)
    same = np.array_equal(a[:, None] == a, b[:, None] == b)
    assert (ab < 1e-9) == same


# The search


@pytest.mark.parametrize(("n", "bell"), [(1, 1), (2, 2), (3, 5), (5, 52), (8, 4140)])
def test_every_partition_is_there_once(n, bell):
    found = every_partition(n)
    same = {tuple(by_size(labels)) for labels in found}
    assert len(found) == len(set(map(tuple, found))) == bell
    assert {tuple(np.unique(labels)) for labels in found} == {tuple(range(k)) for k in range(1, n + 1)}
    assert len(same) == len({(np.equal.outer(z, z)).tobytes() for z in found}) == bell


def test_of_few_points_the_result_is_exact_where_every_run_misses_it():
    draws = draw_set(10_018, 8)  # the optimum lies in a corner that single moves hardly lead to
    values = direct(every_partition(8), draws, "nid")
    found = point_estimate(draws, "nid", n_runs=1, zealous=0, random_state=18)
    assert found.run_losses.min() > values.min() + 1e-6
    assert found.expected_loss == pytest.approx(values.min(), abs=1e-12)
    assert found.n_runs_at_best == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n", [2, 5, 7, 8])
def test_the_search_finds_the_best_of_all_partitions(loss, n):
    everything = every_partition(n)
    for seed in range(6):
        draws = draw_set(100 * n + seed, n, noisy=seed % 2 == 1)
        values = direct(everything, draws, loss)
        found = point_estimate(draws, loss, random_state=seed)
        assert found.expected_loss == pytest.approx(values.min(), abs=1e-12)
        assert found.run_losses.min() == pytest.approx(values.min(), abs=1e-12)  # the search alone, before all are looked at
        assert direct(found.labels[None], draws, loss)[0] == pytest.approx(values.min(), abs=1e-12)


@pytest.mark.parametrize("loss", ["binder", "vi"])
@pytest.mark.parametrize("split_cost", [0.5, 1.6])
def test_the_search_with_unequal_costs(loss, split_cost):
    everything = every_partition(7)
    for seed in range(4):
        draws = draw_set(seed, 7)
        found = point_estimate(draws, loss, split_cost=split_cost, random_state=seed)
        assert found.expected_loss == pytest.approx(direct(everything, draws, loss, split_cost).min(), abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_search_keeps_to_the_most_groups(loss):
    everything = every_partition(7)
    for seed, most in ((1, 1), (2, 2), (3, 3)):
        draws = draw_set(seed, 7)
        found = point_estimate(draws, loss, max_components=most, random_state=seed)
        allowed = everything[everything.max(1) < most]
        assert found.n_groups <= most
        assert found.expected_loss == pytest.approx(direct(allowed, draws, loss).min(), abs=1e-12)


@pytest.mark.parametrize("loss", ["binder", "vi", "omari", "nid"])
def test_the_running_value_stays_the_direct_one(loss):
    rng = np.random.default_rng(4)
    draws = check_draws(draw_set(8, 60))
    state = TableSearch(draws, loss_named(loss), 60)
    state.place(np.arange(60), np.arange(60))  # more groups than there is room for at first
    for _ in range(6):
        some = rng.choice(60, size=25, replace=False)
        state.take_out(some)
        state.visit(rng.permutation(some))
        state.visit(rng.permutation(60))
        assert sorted(set(state.labels)) == list(range(state.labels.max() + 1))
        assert state.value == pytest.approx(expected_loss(state.labels, draws, loss), abs=1e-11)


def blurred_groups(T, N, seed=0):
    """Draws of three overlapping groups on a line, labels switched at random."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=N) + 3 * rng.integers(3, size=N)
    p = np.exp(-0.5 * (x[:, None] - [0.0, 3.0, 6.0]) ** 2)
    p /= p.sum(1, keepdims=True)
    z = (rng.random((T, N, 1)) > np.cumsum(p, 1)[:, :-1]).sum(-1)
    return np.array([rng.permutation(3)[draw] for draw in z])


@pytest.mark.parametrize("loss", ["vi", "binder", "omari"])
def test_the_search_is_no_worse_than_the_best_draw_and_the_best_cut_of_a_tree(loss):
    draws = blurred_groups(60, 80)
    found = point_estimate(draws, loss, random_state=1)
    grown = linkage(squareform(1.0 - similarity(draws), checks=False), "average")
    others = [*draws, *cut_tree(grown, np.arange(1, 7)).T]
    assert found.expected_loss == pytest.approx(direct(found.labels[None], draws, loss)[0], abs=1e-12)
    assert found.expected_loss <= min(expected_loss(z, draws, loss) for z in others) + 1e-12
    assert 1 <= found.n_runs_at_best <= found.n_runs == 16
    assert "16 runs" in str(found)


def test_the_seed_decides_whatever_the_threads(monkeypatch):
    draws = blurred_groups(50, 120)
    found = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("BAYESGMM_NUM_THREADS", threads)
        found.append(point_estimate(draws, n_runs=5, random_state=11))
    for other in found[1:]:
        assert np.array_equal(other.labels, found[0].labels)
        assert np.array_equal(other.run_losses, found[0].run_losses)


def test_an_interrupted_search_returns_the_best_so_far(monkeypatch):
    # A signal from a timer may land in a callback of the garbage collector, which swallows it; this one is raised in the main thread.
    def interrupt_after_some(futures):
        wait(futures, return_when=FIRST_COMPLETED)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("bayesgmm.partitions.estimates.wait", interrupt_after_some)
    draws = blurred_groups(300, 600)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = point_estimate(draws, n_runs=500, random_state=1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found.interrupted
    assert "best so far" in str(found)
    assert 1 <= found.n_runs < 500
    assert found.expected_loss == pytest.approx(expected_loss(found.labels, draws), abs=1e-12)


def test_an_interruption_before_any_partition_is_passed_on(monkeypatch):
    def interrupted(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("bayesgmm.partitions.estimates.wait", interrupted)
    monkeypatch.setattr("bayesgmm.partitions.estimates.TableSearch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        point_estimate([[0, 1, 1]])


def test_progress_goes_to_a_terminal_only(capfd):
    shown = point_estimate(blurred_groups(20, 30), n_runs=3, random_state=0, progressbar=True)
    assert shown.n_runs == 3
    assert capfd.readouterr().out == ""


def test_errors_in_a_run_are_not_swallowed(monkeypatch):
    def broken(*args, **settings):
        raise MemoryError("no room for tables")

    monkeypatch.setattr("bayesgmm.partitions.estimates.TableSearch", broken)
    with pytest.raises(MemoryError, match="no room"):
        point_estimate([[0, 1, 1]], n_runs=3)


def test_twenty_thousand_points_take_no_table_of_pairs():
    draws = blurred_groups(40, 20_000).astype(np.int8)
    point_estimate(draws[:, :50], n_runs=1)  # compiled before memory is watched
    tracemalloc.start()
    found = point_estimate(draws, n_runs=2, zealous=1, random_state=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e8
    assert found.n_groups == 3


# What must not matter


@given(PARTITIONS, st.integers(0, 10**6), st.sampled_from(sorted(LOSSES)))
@QUICK
def test_names_of_groups_and_order_of_points_do_not_matter(draws, seed, loss):
    rng = np.random.default_rng(seed)
    order = rng.permutation(draws.shape[1])
    renamed = np.array([rng.permutation(50)[draw] for draw in draws])[:, order]
    labels = rng.integers(0, 3, size=draws.shape[1])
    assert expected_loss(labels, draws, loss) == pytest.approx(expected_loss(9 - labels[order], renamed, loss), abs=1e-12)
    first, second = (point_estimate(z, loss, random_state=0).expected_loss for z in (draws, renamed))
    assert first == pytest.approx(second, abs=1e-12)
    assert np.array_equal(similarity(draws)[np.ix_(order, order)], similarity(renamed))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
@QUICK
def test_groups_are_numbered_by_size(labels):
    numbered = by_size(labels)
    counts = np.bincount(numbered)
    assert (np.diff(counts) <= 0).all()
    assert np.array_equal(np.equal.outer(labels, labels), np.equal.outer(numbered, numbered))


def test_chains_are_taken_together_and_odd_names_are_numbered():
    draws = blurred_groups(12, 15).reshape(3, 4, 15)
    assert expected_loss(draws[0, 0], draws) == expected_loss(draws[0, 0], draws.reshape(12, 15))
    hashes = draws.reshape(12, 15) * 10**12 + 7
    assert expected_loss(draws[0, 0], hashes) == expected_loss(draws[0, 0], draws)
    assert check_draws(np.arange(40_000)[None]).by_point.dtype == np.int32


# Small and degenerate cases


@pytest.mark.parametrize("loss", LOSSES)
def test_one_point_one_draw_and_equal_draws(loss):
    assert point_estimate([[3], [1]], loss).labels.tolist() == [0]
    assert point_estimate([[3], [1]], loss).expected_loss == 0
    for draws in ([[0, 1, 1, 2]], [[0, 1, 1, 2]] * 5):
        found = point_estimate(draws, loss, random_state=0)
        assert found.labels.tolist() == [1, 0, 0, 2]
        assert found.expected_loss == pytest.approx(0, abs=1e-12)
    alike = [[0, 0, 0]] * 3
    assert point_estimate(alike, loss).n_groups == 1


# What users get wrong


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ([[0.0, 1.0]], "must be whole numbers, got float64: if they are labels, convert"),
        ([[0.0, np.nan]], "got 1 NaN"),
        ([[0, 1], [0, -1]], r"0 or more: the label at \(1, 1\) is -1"),
        ([[0, 1], [0, 1, 1]], "different lengths: draw 0 labels 2 points, draw 1 labels 3"),
        ([0, 1, 1], r"two dimensions.*draws\[None, :\]"),
        (np.empty((0, 3), int), "at least one point"),
        ([["a", "b"]], "must be whole numbers"),
    ],
)
def test_draws_that_cannot_be_used(draws, message):
    for use in (point_estimate, similarity, lambda z: expected_loss([0, 1], z)):
        with pytest.raises(InvalidDataError, match=message):
            use(draws)


def test_a_fit_is_not_a_set_of_draws(em_faithful):
    with pytest.raises(InvalidDataError, match="draw_labels"):
        point_estimate(em_faithful)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "rand"}, "'pear', got 'rand'"),
        ({"max_components": 4}, "more than the 3 points"),
        ({"max_components": 0}, "from 1 up, got 0"),
        ({"max_components": 2.0}, "whole number"),
        ({"n_runs": 0}, "n_runs must be a whole number"),
        ({"zealous": -1}, "zealous"),
        ({"split_cost": 2}, "split_cost must lie between 0 and 2"),
        ({"split_cost": 1.5, "loss": "nvi"}, "'binder' and 'vi' only"),
    ],
)
def test_settings_that_cannot_be_used(settings, message):
    with pytest.raises(InvalidParameterError, match=message):
        point_estimate([[0, 1, 1]], **settings)


def test_labels_that_do_not_fit_the_draws():
    with pytest.raises(InvalidDataError, match="each of the 3 points, got 2"):
        expected_loss([0, 1], [[0, 1, 1]])
    with pytest.raises(InvalidDataError, match="one dimension"):
        partition_loss([[0, 1]], [0, 1])


def test_the_package_offers_them():
    assert bg.partitions.point_estimate is point_estimate
    assert all(hasattr(bg.partitions, name) for name in bg.partitions.__all__)
