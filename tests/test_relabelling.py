"""Eight ways of relabelling: each undoes what was planted, its assignments are the best of all, and it says when labels are a guess."""

from itertools import permutations
from time import perf_counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.labels import Relabelling, agreement, align, find_all, find_labels, responsibilities
from bayesgmm.labels.assignment import assign, margins, totals
from bayesgmm.labels.methods import METHODS
from bayesgmm.params import MixtureParams
from tests.conftest import random_mixture

SMOOTH = 1e-6
BY_ROWS = [name for name in METHODS if name not in {"pra", "sort"}]


class Planted:
    """Draws about one mixture, with labels of their own, and the same draws with the mixture's."""

    def __init__(self, means, sd=0.2, T=300, N=160, seed=5):
        rng = np.random.default_rng(seed)
        means = np.asarray(means, dtype=float)
        K, D = means.shape
        eye = np.tile(np.eye(D), (K, 1, 1))
        self.truth = MixtureParams.from_covariances(np.full(K, 1 / K), means, eye)
        self.X = self.truth.sample(N, rng)[0]
        noisy = means + sd * rng.normal(size=(T, K, D))
        self.named = MixtureParams(rng.dirichlet(np.full(K, 60.0), size=T), noisy, np.tile(eye, (T, 1, 1, 1)))
        self.planted = np.array([rng.permutation(K) for _ in range(T)])
        self.draws = self.named.permute(self.planted)
        r = self.draws.responsibilities(self.X)
        self.z = (rng.random(r.shape[:2])[..., None] > r.cumsum(-1)).sum(-1)
        self.known = {"params": self.draws, "X": self.X, "allocations": self.z}

    def undone(self, found):
        """Components of the named draws that the labels lead to."""
        return np.take_along_axis(self.planted, found.orders, -1)


@pytest.fixture(scope="module")
def apart():
    return Planted([[0, 0], [8, 3], [16, -2], [24, 5]])


@pytest.fixture(scope="module")
def close():
    return Planted([[0, 0], [0.8, 0], [8, 0]], sd=0.4)


def divergence(r, q):
    """Kullback-Leibler divergence of smoothed responsibilities, summed over rows and components."""
    r, q = ((1 - p.shape[-1] * SMOOTH) * p + SMOOTH for p in (r, q))
    return (r * np.log(r / q)).sum((-1, -2))


def relabelled_mean(r, orders):
    return np.take_along_axis(r, orders[:, None, :], -1).mean(0)


# What was planted


@pytest.mark.parametrize("method", METHODS)
def test_planted_permutations_are_undone_into_the_names_of_the_reference(apart, method):
    found = find_labels(method, **apart.known, reference=apart.truth)
    np.testing.assert_array_equal(apart.undone(found), np.tile(np.arange(4), (300, 1)))
    assert found.converged
    assert not found.is_ambiguous.any()


@pytest.mark.parametrize("method", [name for name in METHODS if name != "em-pivot"])
def test_planted_permutations_are_undone_without_a_reference(apart, method):
    undone = apart.undone(find_labels(method, **apart.known))
    np.testing.assert_array_equal(undone, np.tile(undone[0], (300, 1)))


@pytest.mark.parametrize("method", ["stephens", "ecr", "ecr-iterative-1"])
def test_allocations_alone_are_enough(apart, method):
    undone = apart.undone(find_labels(method, allocations=apart.z))
    np.testing.assert_array_equal(undone, np.tile(undone[0], (300, 1)))


def test_all_methods_agree_where_groups_are_apart(apart):
    table = agreement(find_all(**apart.known, reference=apart.truth))
    assert list(table) == list(METHODS)
    assert table.to_numpy().min() >= 0.99
    assert agreement(find_all(**apart.known)).to_numpy().min() >= 0.99


def test_most_draws_keep_their_labels_without_a_reference(apart):
    T = len(apart.planted)
    mostly = np.where(np.arange(T)[:, None] < 0.7 * T, np.arange(4), apart.planted)
    found = find_labels("pra", params=apart.named.permute(mostly))
    assert (found.orders[: int(0.7 * T)] == np.arange(4)).all()


def test_agreement_is_the_share_of_equal_orders_after_renaming(rng):
    one = np.array([rng.permutation(3) for _ in range(40)])
    other = one[:, [2, 0, 1]].copy()
    other[:7] = other[:7][:, [1, 0, 2]]
    nothing = np.zeros(40)
    values = {
        name: Relabelling(name, orders, nothing, nothing, nothing, (0.0,), True) for name, orders in (("a", one), ("b", other))
    }
    np.testing.assert_allclose(agreement(values), [[1, 33 / 40], [33 / 40, 1]])


# How sure


def test_overlapping_groups_are_ambiguous_and_others_are_not(close):
    for method in BY_ROWS:
        found = find_labels(method, **close.known, reference=close.truth)
        assert 0.05 < found.ambiguous_share < 0.9, method
        # The draws whose two close means nearly coincide are the ones to doubt.
        gap = np.linalg.norm(close.named.means[:, 0] - close.named.means[:, 1], axis=1)
        assert gap[found.is_ambiguous].mean() < 0.8 * gap[~found.is_ambiguous].mean(), method


@pytest.mark.parametrize("method", METHODS)
def test_a_draw_with_two_equal_components_is_ambiguous(apart, method):
    arrays = [array.copy() for array in (apart.draws.weights, apart.draws.means, apart.draws.scale_tril)]
    for array in arrays[1:]:
        array[0, 1] = array[0, 0]
    arrays[0][0, :2] = arrays[0][0, :2].mean()
    found = find_labels(method, params=MixtureParams(*arrays), X=apart.X, reference=apart.truth)
    # Hard allocations give all rows of equal components to the first, which is clear in its way: the other one is empty.
    assert found.is_ambiguous[0] or method.startswith("ecr")
    assert not found.is_ambiguous[1:].any()


def test_labels_of_two_empty_components_are_a_guess(apart):
    z = np.where(apart.z[:1] > 1, 0, 1)
    found = find_labels("ecr", allocations=np.concatenate([z, apart.z]), n_components=4)
    assert found.is_ambiguous[0]
    assert not found.is_ambiguous[1:].any()


# Assignments


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), K=st.integers(1, 5), has_ties=st.booleans())
def test_assignment_and_margin_equal_brute_force(seed, K, has_ties):
    rng = np.random.default_rng(seed)
    costs = (
        rng.integers(-3, 4, size=(4, K, K)).astype(float) if has_ties else rng.normal(size=(4, K, K)) * 10.0 ** rng.integers(-3, 6)
    )
    all_totals = np.sort([totals(costs, np.tile(order, (4, 1))) for order in permutations(range(K))], axis=0)
    orders = assign(costs)
    scale = np.abs(costs).max() + 1
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(K), (4, 1)))
    np.testing.assert_allclose(totals(costs, orders), all_totals[0], atol=1e-12 * scale)
    if K > 1:
        np.testing.assert_allclose(margins(costs, orders), all_totals[1] - all_totals[0], atol=1e-12 * scale)
    else:
        assert np.isinf(margins(costs, orders)).all()


def test_assignment_equals_scipys_for_many_components(rng):
    for K in (7, 20, 40):
        costs = np.concatenate([rng.normal(size=(30, K, K)), rng.integers(0, 4, size=(30, K, K))])
        np.testing.assert_allclose(totals(costs, assign(costs)), [c[linear_sum_assignment(c)].sum() for c in costs], atol=1e-11)


def test_the_margin_of_an_assignment_that_is_not_the_best_is_negative(rng):
    costs = rng.normal(size=(50, 4, 4))
    orders = np.roll(assign(costs), 1, axis=1)
    np.testing.assert_allclose(margins(costs, orders), totals(costs, assign(costs)) - totals(costs, orders))
    assert (margins(costs, orders) < 0).all()


# What each method minimises


def test_em_pivot_is_align(close):
    found = find_labels("em-pivot", **close.known, reference=close.truth)
    np.testing.assert_array_equal(found.orders, align(close.X, close.draws, close.truth.responsibilities(close.X)))


def test_stephens_ends_at_a_fixed_point_of_both_steps(close):
    r = close.draws.responsibilities(close.X)
    found = find_labels("stephens", responsibilities=r)
    q = relabelled_mean(r, found.orders)
    every = np.array([divergence(r[:, :, order], q) for order in permutations(range(3))])
    np.testing.assert_allclose(found.cost, every.min(0), rtol=1e-9, atol=160 * 3 * SMOOTH * 16)
    np.testing.assert_allclose(found.margin, np.diff(np.sort(every, axis=0)[:2], axis=0)[0], rtol=1e-7, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), K=st.integers(2, 4))
def test_stephens_never_goes_uphill(seed, K):
    rng = np.random.default_rng(seed)
    r = rng.dirichlet(np.full(K, rng.choice([0.05, 1.0])), size=(25, 12))
    found = find_labels("stephens", responsibilities=r)
    assert (np.diff(found.trace) <= 1e-9 * np.abs(found.trace[:-1])).all()
    assert found.converged


def test_ecr_counts_the_rows_that_disagree_with_the_pivot(close):
    found = find_labels("ecr", allocations=close.z, reference=close.truth.responsibilities(close.X))
    pivot = close.truth.responsibilities(close.X).argmax(1)
    labels = found.apply_to_allocations(close.z)
    np.testing.assert_array_equal(found.cost, (labels != pivot).sum(1))
    every = [[(np.array(names)[z] != pivot).sum() for names in permutations(range(3))] for z in close.z]
    np.testing.assert_array_equal(found.cost, np.min(every, axis=1))
    np.testing.assert_array_equal(found.margin, np.diff(np.sort(every, axis=1)[:, :2])[:, 0])


def test_the_pivots_of_iterated_ecr_are_their_own_winners(close):
    # An odd number of draws, lest two labels have equally many votes.
    r, z = close.draws.responsibilities(close.X)[1:], close.z[1:]
    for method, averaged in (("ecr-iterative-1", np.eye(3)[z]), ("ecr-iterative-2", r)):
        found = find_labels(method, responsibilities=r, allocations=z)
        pivot = relabelled_mean(averaged, found.orders).argmax(1)
        np.testing.assert_array_equal(found.cost, (found.apply_to_allocations(z) != pivot).sum(1))


def test_data_based_costs_are_distances_from_the_labels_places(close):
    found = find_labels("data-based", allocations=close.z, X=close.X)
    labels = found.apply_to_allocations(close.z)
    rows_of = [np.concatenate([close.X[z == k] for z in labels]) for k in range(3)]
    places, spreads = np.array([x.mean(0) for x in rows_of]), np.array([x.std(0) for x in rows_of])
    distances = (((close.X - places[labels]) / spreads[labels]) ** 2).sum((1, 2))
    np.testing.assert_allclose(found.cost, distances, rtol=1e-9)


def test_pra_brings_parameters_nearest_to_the_reference(rng):
    parameters = rng.normal(size=(20, 3, 5)) * [1, 10, 0.1, 3, 0]
    found = find_labels("pra", parameters=parameters)
    theta = parameters / np.where(parameters.std((0, 1)) > 0, parameters.std((0, 1)), 1)
    mean = found.apply(theta, 1).mean(0)
    every = np.sort([((theta[:, order] - mean) ** 2).sum((1, 2)) for order in permutations(range(3))], axis=0)
    np.testing.assert_allclose(found.cost, every[0], rtol=1e-9)
    np.testing.assert_allclose(found.margin, every[1] - every[0], rtol=1e-6, atol=1e-9)
    assert (np.diff(found.trace) <= 0).all()


def test_sorting_sorts(rng):
    numbers = rng.normal(size=(3, 20, 4))
    found = find_labels("sort", functional=numbers)
    np.testing.assert_array_equal(found.apply(numbers), np.sort(numbers))
    assert found.batch_shape == (3, 20)


def test_a_functional_can_be_a_function(apart):
    found = find_labels("sort", params=apart.draws, functional=lambda params: -params.weights)
    assert (np.diff(apart.draws.permute(found.orders).weights) <= 0).all()


@pytest.mark.slow
def test_stephens_takes_less_than_two_seconds_for_many_draws(rng):
    r = rng.dirichlet(np.full(5, 0.2), size=1000) * 0.999 + 0.0002
    r = np.stack([r[:, rng.permutation(5)] for _ in range(4000)])
    r *= rng.uniform(0.9, 1.1, size=r.shape)
    r /= r.sum(-1, keepdims=True)
    seconds = []
    for _ in range(3):
        start = perf_counter()
        found = find_labels("stephens", responsibilities=r)
        seconds.append(perf_counter() - start)
    assert min(seconds) < 2.0
    assert found.converged


# What must not matter


@settings(max_examples=30, deadline=None)
@example(seed=2638099, K=4, method="ecr")
@example(seed=2638099, K=3, method="stephens")
@example(seed=14864, K=3, method="data-based")
@given(
    seed=st.integers(0, 2**32 - 1), K=st.integers(1, 4), method=st.sampled_from([name for name in METHODS if name != "em-pivot"])
)
def test_the_draws_own_labels_do_not_matter(seed, K, method):
    rng = np.random.default_rng(seed)
    centre = random_mixture(rng, K, 2)
    # Counts of rows can tie, and ties are broken by the labels; alternating searches end in the local optimum nearest to the labels they
    # start from. Groups have to be apart, and each to have rows, for methods that do either.
    far = 12.0 * np.arange(K)[:, None] if method.startswith(("ecr", "stephens", "data")) else 0.0
    centre = MixtureParams(centre.weights, centre.means + far, centre.scale_tril)
    means = centre.means + 0.3 * rng.normal(size=(15, K, 2))
    draws = MixtureParams(np.tile(centre.weights, (15, 1)), means, np.tile(centre.scale_tril, (15, 1, 1, 1)))
    which = np.arange(40) % K
    X = centre.means[which] + np.einsum("nij,nj->ni", centre.scale_tril[which], rng.normal(size=(40, 2)))
    planted = np.array([rng.permutation(K) for _ in range(15)])
    one = find_labels(method, params=draws, X=X)
    other = find_labels(method, params=draws.permute(planted), X=X)
    back = Relabelling(method, np.take_along_axis(planted, other.orders, -1), *[np.zeros(15)] * 3, (0.0,), True)
    np.testing.assert_allclose(np.sort(one.cost), np.sort(other.cost), rtol=1e-6, atol=1e-6)
    assert agreement({"one": one, "other": back}).iloc[0, 1] == 1.0


def test_reading_a_few_rows_at_a_time_changes_nothing(close, monkeypatch):
    whole = find_all(params=close.draws, X=close.X)
    monkeypatch.setattr(responsibilities, "HELD_NUMBERS", 0)
    monkeypatch.setattr(responsibilities, "BLOCK_NUMBERS", 300 * 3 * 7)
    for method, found in find_all(params=close.draws, X=close.X).items():
        np.testing.assert_array_equal(found.orders, whole[method].orders, err_msg=method)
        np.testing.assert_allclose(found.cost, whole[method].cost, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.clarity, whole[method].clarity, rtol=1e-9, atol=1e-9)


def test_responsibilities_may_lie_in_a_file(close, tmp_path):
    r = close.draws.responsibilities(close.X)
    np.save(tmp_path / "r.npy", r.astype(np.float32))
    mapped = np.load(tmp_path / "r.npy", mmap_mode="r")
    found = find_labels("stephens", responsibilities=mapped)
    np.testing.assert_array_equal(found.orders, find_labels("stephens", responsibilities=r).orders)


class OnlyCuts:
    """Something on a disk: it has a shape and gives what is cut out of it, and counts how much that is."""

    def __init__(self, table):
        self.table, self.shape, self.most = table, table.shape, 0

    def __getitem__(self, where):
        self.most = max(self.most, self.table[where].size)
        return self.table[where]


def test_a_stream_is_never_read_at_once(close, monkeypatch):
    monkeypatch.setattr(responsibilities, "BLOCK_NUMBERS", 300 * 3 * 7)
    r = close.draws.responsibilities(close.X)
    stream = OnlyCuts(r)
    found = find_labels("stephens", responsibilities=stream)
    assert stream.most == 300 * 3 * 7
    np.testing.assert_array_equal(found.orders, find_labels("stephens", responsibilities=r).orders)
    with pytest.raises(InvalidParameterError, match=r"must have shape \(draws, N, K\), got \(2, 150, 160, 3\)"):
        find_labels("stephens", responsibilities=OnlyCuts(r.reshape(2, 150, 160, 3)))


def test_the_number_of_threads_changes_no_bit(close, monkeypatch):
    many = find_labels("stephens", **close.known)
    monkeypatch.setenv("BAYESGMM_NUM_THREADS", "1")
    one = find_labels("stephens", **close.known)
    np.testing.assert_array_equal(one.cost, many.cost)
    np.testing.assert_array_equal(one.clarity, many.clarity)


def test_missing_values_are_no_hindrance(apart):
    X = apart.X.copy()
    X[::3, 1] = np.nan
    for method, found in find_all(params=apart.draws, X=X, reference=apart.truth).items():
        np.testing.assert_array_equal(apart.undone(found), np.tile(np.arange(4), (300, 1)), err_msg=method)


@pytest.mark.parametrize("method", METHODS)
def test_one_component_and_one_draw_simply_work(method):
    X = np.linspace(-1, 1, 9)[:, None]
    for K, shape in ((1, (2, 3)), (3, (1,)), (1, (1,))):
        rng = np.random.default_rng(K)
        draws, reference = random_mixture(rng, K, 1, shape), random_mixture(rng, K, 1)
        found = find_labels(method, params=draws, X=X, reference=reference)
        np.testing.assert_array_equal(np.sort(found.orders), np.broadcast_to(np.arange(K), (*shape, K)))
        assert found.cost.shape == found.margin.shape == found.clarity.shape == shape
        assert np.isfinite(found.cost).all()
        assert (K > 1) or (np.isinf(found.margin).all() and (found.clarity == 1).all())


def test_apply_reorders_any_axis_and_allocations_follow(close):
    found = find_labels("pra", params=close.draws)
    np.testing.assert_array_equal(found.apply(close.draws.means, 1), close.draws.permute(found.orders).means)
    between = close.draws.weights[:, :, None] / close.draws.weights[:, None, :]
    both = found.apply(found.apply(between, 1), 2)
    weights = found.apply(close.draws.weights)
    np.testing.assert_allclose(both, weights[:, :, None] / weights[:, None, :])
    named = found.apply_to_allocations(close.z)
    np.testing.assert_array_equal(np.take_along_axis(found.orders, named, 1), close.z)
    with pytest.raises(InvalidParameterError, match=r"300,.* first and 3 components on axis -1, got shape \(3,\)"):
        found.apply(np.zeros(3))
    with pytest.raises(InvalidParameterError, match="allocations must have the draws' shape"):
        found.apply_to_allocations(close.z[:2])


# Bad input

R = np.full((4, 5, 2), 0.5)
Z = np.array([[0, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("method", "known", "words"),
    [
        ("hungarian", {"allocations": Z}, "method must be one of 'em-pivot'.*got 'hungarian'"),
        ("stephens", {}, "nothing is known of the draws: give params"),
        ("stephens", {"log_posterior": np.zeros(3)}, "log_posterior alone says nothing"),
        (
            "stephens",
            {"parameters": np.zeros((4, 2, 1))},
            "method 'stephens' needs responsibilities or allocations.*give params and X",
        ),
        ("stephens", {"responsibilities": R, "X": [["a"]] * 5}, "X must be numbers"),
        ("em-pivot", {"responsibilities": R}, "method 'em-pivot' needs responsibilities of a reference.*EM fit"),
        ("ecr", {"parameters": np.zeros((4, 2, 1))}, "method 'ecr' needs allocations or responsibilities"),
        ("ecr-iterative-2", {"allocations": Z}, "method 'ecr-iterative-2' needs responsibilities"),
        ("pra", {"allocations": Z}, "method 'pra' needs parameters of the components"),
        ("data-based", {"allocations": Z}, "method 'data-based' needs the rows themselves.*give X"),
        ("sort", {"allocations": Z}, "method 'sort' needs numbers to sort by.*give functional"),
        ("sort", {"functional": lambda params: params.weights}, "functional is a function of params, which are not given"),
        ("ecr", {"allocations": Z + 1}, "count components from 0 .Stan counts from 1, so subtract 1"),
        (
            "ecr",
            {"allocations": Z + 1, "n_components": 2},
            "between 0 and 1: row 1 of draw 0 .* is in 2. Stan counts from 1: subtract 1",
        ),
        ("ecr", {"allocations": Z - 1}, "between 0 and 0: row 0 of draw 0 .* is in -1"),
        ("ecr", {"allocations": Z + 0.5}, "allocations must be whole numbers"),
        ("ecr", {"allocations": Z[0]}, r"allocations must have shape \(..., N\) with at least one axis of draws, got \(3,\)"),
        ("ecr", {"allocations": Z[:0]}, "there are no draws to relabel"),
        ("ecr", {"allocations": Z[:, :0], "n_components": 2}, "there are no rows"),
        ("stephens", {"responsibilities": 2 * R}, "add up to one in every row: those of draw 0 .*nor those of 3 more"),
        ("stephens", {"responsibilities": R * [3, -1]}, "at least zero and add up to one"),
        ("stephens", {"responsibilities": np.where(np.arange(4)[:, None, None] == 2, np.nan, R)}, "those of draw 2 .* do not$"),
        ("stephens", {"responsibilities": "r"}, "responsibilities must be numbers"),
        ("stephens", {"responsibilities": R, "allocations": Z}, "draws have the shapes responsibilities .4,., allocations .2,."),
        ("stephens", {"responsibilities": R[:2], "allocations": Z}, "number of rows differs: responsibilities 5, allocations 3"),
        (
            "stephens",
            {"responsibilities": R, "n_components": 3},
            "number of components differs: responsibilities 2, n_components 3",
        ),
        ("stephens", {"responsibilities": R, "max_iter": 0}, "max_iter must be at least 1, got 0"),
        ("stephens", {"responsibilities": R, "X": [[np.inf]] * 5}, "X must be a table .N, D. of finite numbers"),
        (
            "em-pivot",
            {"responsibilities": R, "reference": np.ones((5, 2))},
            "the reference's responsibilities must be at least zero",
        ),
        (
            "em-pivot",
            {"responsibilities": R, "reference": np.ones((5, 3)) / 3},
            r"reference must be .* \(N, 2\), got shape \(5, 3\)",
        ),
        ("em-pivot", {"responsibilities": R, "reference": np.ones((4, 2)) / 2}, "rows differs: responsibilities 5, reference 4"),
        ("pra", {"parameters": [[[1.0], [np.nan]]]}, r"parameters must be finite numbers: the one at \(0, 1, 0\) is nan"),
        (
            "ecr",
            {"allocations": Z, "log_posterior": [0.0, np.nan]},
            r"log_posterior must be finite numbers: the one at \(1,\) is nan",
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(method, known, words):
    with pytest.raises((InvalidDataError, InvalidParameterError), match=words):
        find_labels(method, **known)


def test_a_mixture_as_reference_must_be_one_of_as_many_components(apart):
    with pytest.raises(
        InvalidParameterError, match=r"reference must be one mixture of 4 components, got batch shape \(300,\) and 4"
    ):
        find_labels(**apart.known, reference=apart.draws)
    narrow = apart.truth.marginal([0])
    with pytest.raises(InvalidParameterError, match="reference has another number of features than params"):
        find_labels("pra", params=apart.draws, reference=narrow)
    with pytest.raises(InvalidParameterError, match="X has 1 columns, params 2"):
        find_labels("stephens", params=apart.draws, X=apart.X[:, :1])
    with pytest.raises(InvalidParameterError, match="relabellings must be of the same draws"):
        agreement({})
    with pytest.raises(InvalidParameterError, match="method must be one of"):
        find_all(["nearest"], **apart.known)
