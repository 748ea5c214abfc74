"""Each family's M-step is a maximum within the family, its shapes are scikit-learn's, its count is the published one."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.optimize import minimize
from scipy.stats import ortho_group
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture as SklearnMixture

from bayesgmm.covariance import Family, family, names
from bayesgmm.em import fit_em
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import expectation
from tests.conftest import random_mixture

NAMES = ["full", "tied", "diag", "spherical"]
ALL = names()
# Parameters of the covariances: Celeux and Govaert (1995), table 1; Scrucca, Fop, Murphy and Raftery (2016), The R Journal 8, table 3.
PUBLISHED = {
    "EII": lambda K, D: 1,
    "VII": lambda K, D: K,
    "EEI": lambda K, D: D,
    "VEI": lambda K, D: K + D - 1,
    "EVI": lambda K, D: 1 + K * (D - 1),
    "VVI": lambda K, D: K * D,
    "EEE": lambda K, D: D * (D + 1) // 2,
    "VEE": lambda K, D: K + D - 1 + D * (D - 1) // 2,
    "EVE": lambda K, D: 1 + K * (D - 1) + D * (D - 1) // 2,
    "VVE": lambda K, D: K * D + D * (D - 1) // 2,
    "EEV": lambda K, D: D + K * D * (D - 1) // 2,
    "VEV": lambda K, D: K + D - 1 + K * D * (D - 1) // 2,
    "EVV": lambda K, D: 1 + K * (D - 1) + K * D * (D - 1) // 2,
    "VVV": lambda K, D: K * D * (D + 1) // 2,
}


def expected_log_likelihood(covariances, scatter, counts):
    """Gaussian part of the M-step's objective, without constants."""
    _, log_det = np.linalg.slogdet(covariances)
    return -0.5 * (counts * log_det).sum() - 0.5 * np.trace(np.linalg.solve(covariances, scatter), axis1=1, axis2=2).sum()


def problem(rng, K, D):
    """Counts, and scatter matrices of rows that follow no family in particular."""
    counts = rng.uniform(5, 20, size=K)
    rows = rng.normal(size=(K, 30, D)) @ np.tril(rng.normal(size=(K, D, D)) + 2 * np.eye(D)) * rng.uniform(0.5, 2, size=(K, 1, 1))
    return np.einsum("kid,kie->kde", rows, rows), counts


def matrices(volumes, shapes, axes):
    """Covariances from volumes (K,), log-shapes (K, D) and axes (K, D, D)."""
    variances = volumes[:, None] * np.exp(shapes - shapes.mean(1, keepdims=True))
    return np.einsum("kij,kj,klj->kil", axes, variances, axes)


def choose(letter, values):
    """The same value for all components (E), one each (V), or none (I)."""
    if letter == "I":
        return np.zeros_like(values)
    return np.broadcast_to(values[:1], values.shape) if letter == "E" else values


def compose(letters, log_volumes, shapes, skew):
    """Covariances of a family from unconstrained numbers (K,), (K, D), (K, D, D): what scipy and random competitors vary."""
    volume, shape, orientation = letters
    turns = choose(orientation, skew - np.swapaxes(skew, 1, 2))
    return matrices(np.exp(choose(volume, log_volumes)), choose(shape, shapes), np.array([expm(t) for t in turns]))


def member(fam, rng, K, D):
    """Random covariances of a family."""
    return compose(fam.letters, rng.normal(size=K), rng.normal(size=(K, D)), 2 * rng.normal(size=(K, D, D)))


def take_apart(letters, covariances):
    """Volumes, log-shapes and axes of covariances of a family."""
    K, D, _ = covariances.shape
    if letters[2] == "I":
        axes = np.broadcast_to(np.eye(D), (K, D, D))
    elif letters[2] == "E":
        weight = np.linspace(1, 2, K) / np.trace(covariances, axis1=1, axis2=2)
        axes = np.broadcast_to(np.linalg.eigh(np.einsum("k,kij->ij", weight, covariances))[1], (K, D, D))
    else:
        axes = np.linalg.eigh(covariances)[1]
    variances = np.einsum("kij,kil,klj->kj", axes, covariances, axes)
    volumes = np.exp(np.log(variances).mean(1))
    return volumes, np.log(variances / volumes[:, None]), axes


def neighbour(fam, covariances, rng, size):
    """Covariances of the same family a small step away."""
    volumes, shapes, axes = take_apart(fam.letters, covariances)
    K, D = shapes.shape
    volume, shape, orientation = fam.letters
    skew = choose(orientation, size * rng.normal(size=(K, D, D)))
    turns = np.array([expm(t - t.T) for t in skew])
    volumes = volumes * np.exp(choose(volume, size * rng.normal(size=K)))
    return matrices(volumes, shapes + choose(shape, size * rng.normal(size=(K, D))), turns @ axes)


def distance_from(fam, covariances):
    """How far covariances are from being made of the family's equal parts."""
    volumes, shapes, axes = take_apart(fam.letters, covariances)
    away = [np.abs(matrices(volumes, shapes, axes) - covariances).max() / np.abs(covariances).max()]
    if fam.letters[0] == "E":
        away.append(np.ptp(np.log(volumes)))
    if fam.letters[1] == "E":
        away.append(np.ptp(shapes, axis=0).max())
    if fam.letters[1] == "I":
        away.append(np.abs(shapes).max())
    return max(away)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("D", [1, 2, 3])
def test_update_beats_every_neighbour_in_the_family(name, D, rng):
    fam, K = family(name), 3
    scatter, counts = problem(rng, K, D)
    best = fam.update(scatter, counts)
    top = expected_log_likelihood(best, scatter, counts)
    assert distance_from(fam, best) < 1e-9
    for size in [1e-3, 0.05] * 25:
        assert expected_log_likelihood(neighbour(fam, best, rng, size), scatter, counts) <= top + 1e-9


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), K=st.integers(1, 4), D=st.integers(1, 4))
def test_no_member_of_the_family_does_better_and_no_family_better_than_full(seed, K, D):
    rng = np.random.default_rng(seed)
    scatter, counts = problem(rng, K, D)
    most = expected_log_likelihood(family("full").update(scatter, counts), scatter, counts)
    for name in ALL:
        fam = family(name)
        best = fam.update(scatter, counts)
        top = expected_log_likelihood(best, scatter, counts)
        assert distance_from(fam, best) < 1e-8
        assert top <= most + 1e-9
        for _ in range(5):
            assert expected_log_likelihood(member(fam, rng, K, D), scatter, counts) <= top + 1e-9


@pytest.mark.parametrize("D", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [name for name in ALL if name not in NAMES])
def test_scipy_finds_nothing_better(name, D, rng):
    fam, K = family(name), 2
    scatter, counts = problem(rng, K, D)
    top = expected_log_likelihood(fam.update(scatter, counts), scatter, counts)

    def loss(x):
        parts = np.split(x, [K, K + K * D])
        covariances = compose(fam.letters, parts[0], parts[1].reshape(K, D), parts[2].reshape(K, D, D))
        return -expected_log_likelihood(covariances, scatter, counts)

    found = [-minimize(loss, rng.normal(size=K + K * D + K * D * D), method="BFGS").fun for _ in range(2)]
    # SciPy ends in lesser maxima at times, and ours is where the best of its runs ends.
    assert max(found) == pytest.approx(top, abs=1e-5)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(ALL),
    K=st.integers(1, 4),
    D=st.integers(1, 5),
    bounded=st.booleans(),
)
def test_an_update_never_lowers_the_likelihood_of_where_it_started(seed, name, K, D, bounded):
    rng = np.random.default_rng(seed)
    fam = family(name)
    scatter, counts = problem(rng, K, D)
    previous = member(fam, rng, K, D) * np.exp(rng.normal())
    smallest = float(np.linalg.eigvalsh(previous).min()) if bounded else 0.0
    for _ in range(3):
        new = fam.update(scatter, counts, previous, smallest)
        before, after = (expected_log_likelihood(c, scatter, counts) for c in (previous, new))
        assert after >= before - 1e-10 * abs(before)
        assert np.linalg.eigvalsh(new).min() >= smallest * (1 - 1e-9)
        previous, (scatter, counts) = new, problem(rng, K, D)


@pytest.mark.parametrize("name", ALL)
def test_a_member_is_its_own_estimate(name, rng):
    fam = family(name)
    truth, counts = member(fam, rng, 3, 3), rng.uniform(1, 9, size=3)
    np.testing.assert_allclose(fam.update(truth * counts[:, None, None], counts), truth, rtol=1e-6, atol=1e-7 * truth.max())


@pytest.mark.parametrize("name", ALL)
def test_order_of_components_does_not_matter(name, rng):
    fam = family(name)
    scatter, counts = problem(rng, 4, 3)
    order = rng.permutation(4)
    there = fam.update(scatter[order], counts[order])
    np.testing.assert_allclose(there, fam.update(scatter, counts)[order], rtol=1e-5, atol=1e-6)


def maps(rng, D):
    """A linear map of each of the kinds that a family may survive."""
    yield "scale", 3.7 * np.eye(D)
    yield "columns", np.diag(rng.uniform(0.2, 5, size=D))
    yield "affine", rng.normal(size=(D, D)) + 2 * np.eye(D)


@pytest.mark.parametrize("name", ALL)
def test_invariance_says_which_maps_the_family_survives(name, rng):
    fam, kinds = family(name), ["scale", "columns", "affine"]
    counts = np.array([4.0, 9.0, 2.0])
    near = member(fam, rng, 3, 3)
    noise = 0.1 * rng.normal(size=(3, 20, 3)) @ np.linalg.cholesky(near).swapaxes(1, 2)
    scatter = (near + np.einsum("kid,kie->kde", noise, noise)) * counts[:, None, None]
    best = fam.update(scatter, counts)
    for kind, A in maps(rng, 3):
        there = fam.update(A @ scatter @ A.T, counts)
        if kinds.index(kind) <= kinds.index(fam.invariance):
            np.testing.assert_allclose(there, A @ best @ A.T, rtol=1e-5, atol=1e-6 * np.abs(there).max())
        else:
            assert np.abs(there / (A @ best @ A.T + 1e-300) - 1).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in ALL if not family(name).diagonal] + ["spherical", "EII"])
def test_families_without_given_axes_can_be_turned(name, rng):
    fam = family(name)
    counts = np.array([4.0, 9.0, 2.0])
    scatter = member(fam, rng, 3, 3) * counts[:, None, None] + 0.01 * problem(rng, 3, 3)[0]
    turn = ortho_group.rvs(3, random_state=rng)
    there = fam.update(turn @ scatter @ turn.T, counts)
    best = fam.update(scatter, counts)
    np.testing.assert_allclose(there, turn @ best @ turn.T, rtol=1e-5, atol=1e-6 * np.abs(best).max())


@pytest.mark.parametrize("name", ALL)
def test_in_one_dimension_only_volumes_are_left(name, rng):
    fam = family(name)
    scatter, counts = problem(rng, 3, 1)
    alike = scatter.sum(0) / counts.sum() * np.ones((3, 1, 1))
    expected = alike if fam.letters[0] == "E" else scatter / counts[:, None, None]
    np.testing.assert_allclose(fam.update(scatter, counts), expected, rtol=1e-9)
    assert fam.n_covariance_parameters(3, 1) == (1 if fam.letters[0] == "E" else 3)


@pytest.mark.parametrize("letters", PUBLISHED)
@pytest.mark.parametrize(("K", "D"), [(1, 1), (3, 1), (1, 4), (2, 2), (5, 7)])
def test_numbers_of_parameters_are_the_published_ones(letters, K, D):
    assert family(letters).n_covariance_parameters(K, D) == PUBLISHED[letters](K, D)
    assert family(letters).n_parameters(K, D) == PUBLISHED[letters](K, D) + K * D + K - 1


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_counts_are_scikit_learns(name, rng):
    X = rng.normal(size=(60, 3))
    reference = SklearnMixture(2, covariance_type=name, random_state=0).fit(X)
    fam = family(name)
    assert reference.covariances_.shape == fam.packed_shape(2, 3)
    assert reference._n_parameters() == fam.n_parameters(2, 3)
    unpacked = fam.unpack(reference.covariances_, 2, 3)
    assert unpacked.shape == (2, 3, 3)
    np.testing.assert_allclose(fam.pack(unpacked), reference.covariances_)


@pytest.mark.parametrize("name", ALL)
def test_packing_is_undone_by_unpacking(name, rng):
    fam = family(name)
    covariances = member(fam, rng, 4, 3)
    packed = fam.pack(covariances)
    assert packed.shape == fam.packed_shape(4, 3)
    np.testing.assert_allclose(fam.unpack(packed, 4, 3), covariances, atol=1e-15)
    several = np.stack([covariances, 2 * covariances])
    np.testing.assert_array_equal(fam.pack(several)[1], 2 * packed)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("D", [1, 4])
def test_separable_families_are_standard_deviations_and_correlations(name, D):
    fam, K = family(name), 3
    n_matrices = (K if "component" in fam.sds_dims else 1) if fam.has_correlations(D) else 0
    parameters = np.prod(fam.sds_shape(K, D), dtype=int) + n_matrices * D * (D - 1) // 2
    assert fam.has_correlations(D) == (D > 1 and fam.letters[2] != "I")
    if fam.separable:
        assert parameters == fam.n_covariance_parameters(K, D)
    elif D > 1:
        assert parameters > fam.n_covariance_parameters(K, D)


@pytest.mark.parametrize("name", NAMES)
def test_floor_keeps_eigenvalues_up_and_leaves_good_ones_alone(name, rng):
    good = random_mixture(rng, 2, 3, covariance_type=name).covariances
    np.testing.assert_allclose(family(name).floor(good, 1e-6), good)
    thin = family(name).floor(good * 1e-9, 1e-6)
    assert np.linalg.eigvalsh(thin).min() >= 1e-6 * (1 - 1e-9)


@pytest.mark.parametrize("name", ALL)
def test_floor_stays_in_the_family(name, rng):
    fam = family(name)
    covariances = member(fam, rng, 3, 3)
    values = np.linalg.eigvalsh(covariances)
    assert fam.floor(covariances, values.min() * 0.999) is covariances
    for smallest in [1.001 * values.min(), np.median(values), 2 * values.max()]:
        raised = fam.floor(covariances, smallest)
        assert np.linalg.eigvalsh(raised).min() >= smallest * (1 - 1e-9)
        assert distance_from(fam, raised) < 1e-6
    np.testing.assert_allclose(
        fam.floor(covariances, 9 * values.max()), 9 * values.max() * np.ones((3, 1, 1)) * np.eye(3), atol=1e-7
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(ALL), share=st.floats(0.05, 2))
def test_update_under_a_bound_beats_the_members_that_keep_it(seed, name, share):
    rng = np.random.default_rng(seed)
    fam, K, D = family(name), 3, 3
    scatter, counts = problem(rng, K, D)
    free = fam.update(scatter, counts)
    smallest = share * np.trace(free.mean(0)) / D
    best = fam.update(scatter, counts, smallest=smallest)
    top = expected_log_likelihood(best, scatter, counts)
    assert np.linalg.eigvalsh(best).min() >= smallest * (1 - 1e-9)
    assert top <= expected_log_likelihood(free, scatter, counts) + 1e-9 or name in ("EVE", "VVE")
    floored = fam.floor(free, smallest)
    others = [floored, *(neighbour(fam, best, rng, size) for size in [1e-3, 0.05] * 10)]
    kept = [other for other in others if np.linalg.eigvalsh(other).min() >= smallest]
    assert max([expected_log_likelihood(other, scatter, counts) for other in kept], default=-np.inf) <= top + 1e-8 * abs(top)


@pytest.mark.parametrize("letters", ["VEI", "EVI"])
@pytest.mark.parametrize("share", [0.3, 0.8, 1.2])
def test_scipy_finds_nothing_better_under_a_bound(letters, share, rng):
    fam, K, D = family(letters), 3, 3
    scatter, counts = problem(rng, K, D)
    smallest = share * np.trace(scatter.sum(0)) / (D * counts.sum())
    best = fam.update(scatter, counts, smallest=smallest)
    spread = np.diagonal(scatter, axis1=1, axis2=2)

    # In logs of variances both families are linear subspaces: the problem is convex, so SciPy's end is the maximum.
    def loss(y):
        y = y.reshape(K, D)
        return 0.5 * ((counts[:, None] * y).sum() + (spread * np.exp(-y)).sum())

    unit = np.eye(K * D).reshape(K * D, K, D)
    if letters == "EVI":
        linear = (unit[:, 1:] - unit[:, :1]).sum(2).T
    else:
        linear = (unit[:, 1:, 1:] - unit[:, :1, 1:] - unit[:, 1:, :1] + unit[:, :1, :1]).reshape(K * D, -1).T
    found = minimize(
        loss,
        np.full(K * D, np.log(2 * smallest)),
        jac=lambda y: 0.5 * (np.repeat(counts, D) - spread.ravel() * np.exp(-y)),
        method="SLSQP",
        bounds=[(np.log(smallest), None)] * (K * D),
        constraints={"type": "eq", "fun": lambda y: linear @ y, "jac": lambda y: linear},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert expected_log_likelihood(best, scatter, counts) == pytest.approx(-found.fun, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("lost", ["one", "flat", "all"])
def test_components_without_spread_leave_all_numbers_finite(name, lost, rng):
    fam, K, D = family(name), 3, 3
    scatter, counts = problem(rng, K, D)
    if lost == "one":
        scatter[1], counts[1] = 0, 1e-14
    elif lost == "flat":
        scatter[:, 1] = scatter[:, :, 1] = 0
    else:
        scatter[:] = 0
    assert np.isfinite(fam.update(scatter, counts)).all()
    bounded = fam.update(scatter, counts, smallest=1e-3)
    assert np.isfinite(bounded).all()
    assert np.linalg.eigvalsh(bounded / np.abs(bounded).max()).min() * np.abs(bounded).max() >= 1e-3 * (1 - 1e-6)
    np.testing.assert_array_equal(np.isfinite(fam.floor(fam.update(scatter, counts), 1e-3)), True)


@pytest.mark.parametrize(("one", "other"), [("VVV", "full"), ("EEE", "tied"), ("VVI", "diag"), ("VII", "spherical")])
def test_the_four_have_two_names(one, other):
    assert family(one) is family(other)
    assert family(one).letters == one
    assert family(one).name == other


def test_there_are_fourteen():
    assert sorted(family(name).letters for name in ALL) == sorted(PUBLISHED)
    assert all(isinstance(family(name), Family) and family(name).name == name for name in ALL)
    assert {family(name) for name in names(aliases=True)} == {family(name) for name in ALL}


@pytest.mark.parametrize("name", ALL)
def test_a_family_that_was_stored_is_the_familys(name):
    """With no address of a compiled function, which would be another process's."""
    kept = family(name)
    kept.update(np.eye(2)[None], np.ones(1))
    assert pickle.loads(pickle.dumps(kept)) is kept  # noqa: S301 - our own bytes


@pytest.mark.parametrize("wrong", ["banana", "vvv", "Full", None, 3, ["full"]])
def test_unknown_name_is_told_the_known_ones(wrong):
    with pytest.raises(InvalidParameterError, match=r"'full', 'tied', 'diag', 'spherical', 'EII'.*'VVV'.*, got ") as error:
        family(wrong)
    assert repr(wrong) in str(error.value)


def em_trace(X, fam, K, rng, n_iter, smallest):
    """Log-likelihoods of EM from a random partition, and the covariances at its end."""
    r = rng.dirichlet(np.full(K, 0.3), size=len(X))
    counts = r.sum(0)
    log_weights, means, covariances, trace = np.log(counts / len(X)), r.T @ X / counts[:, None], None, []
    away = X - means[:, None]
    scatter = np.einsum("nk,knd,kne->kde", r, away, away)
    for _ in range(n_iter):
        covariances = fam.update(scatter, counts, covariances, smallest)
        factors = np.linalg.cholesky(covariances)
        statistics = expectation(X, log_weights, means, factors, diagonal=fam.diagonal)
        trace.append(statistics.log_likelihood)
        counts = np.maximum(statistics.counts, 1e-14)
        shift = statistics.first / counts[:, None]
        log_weights, means = np.log(counts / counts.sum()), means + np.einsum("kij,kj->ki", factors, shift)
        whitened = statistics.second - counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
        scatter = factors @ whitened @ factors.swapaxes(1, 2)
    return np.array(trace), covariances


@settings(max_examples=1000, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(ALL),
    K=st.integers(1, 4),
    D=st.integers(1, 4),
    smallest=st.sampled_from([1e-6, 0.3]),
)
def test_em_never_lowers_the_likelihood(seed, name, K, D, smallest):
    rng = np.random.default_rng(seed)
    X = random_mixture(rng, max(K, 2), D).sample(40, rng)[0]
    trace, covariances = em_trace(X, family(name), K, rng, 15, smallest)
    assert (np.diff(trace) >= -1e-9 * np.abs(trace[:-1])).all()
    assert np.linalg.eigvalsh(covariances).min() >= smallest * (1 - 1e-6)


# Log-likelihoods that R's mclust 6.0.0 reaches from its own start, with tolerances of 1e-9.
MCLUST = {
    "EII": (-536.652, -1663.540),
    "VII": (-478.559, -1637.434),
    "EEI": (-488.915, -1133.455),
    "VEI": (-443.067, -1132.667),
    "EVI": (-463.569, -1132.422),
    "VVI": (-386.185, -1131.819),
    "EEE": (-296.448, -1126.316),
    "VEE": (-278.057, -1124.528),
    "EVE": (-273.496, -1124.832),
    "VVE": (-244.972, -1122.797),
    "EEV": (-259.667, -1126.163),
    "VEV": (-215.726, -1122.549),
    "EVV": (-259.016, -1125.661),
    "VVV": (-214.355, -1127.072),
}


@pytest.mark.parametrize("letters", MCLUST)
def test_fits_are_at_least_as_good_as_those_of_mclust(letters, faithful):
    iris = load_iris().data
    for X, K, published in [(iris, 2, MCLUST[letters][0]), (faithful.to_numpy(), 3, MCLUST[letters][1])]:
        how = {"tol": 1e-8, "max_iter": 2000, "seeds": np.random.SeedSequence(1)}
        assert fit_em(np.ascontiguousarray(X), K, family(letters), **how).log_likelihood >= published - 0.001
