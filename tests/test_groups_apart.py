"""How many groups stand apart: hills of a density, components of which several are one group, and EM that takes their number by BIC."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.estimators.groups_apart import groups_apart
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows
from benchmarks.how_many import table_apart

FOUR = ("full", "tied", "diag", "spherical")


@st.composite
def mixtures(draw):
    K, D = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    A = rng.normal(size=(3, K, D, D))
    return MixtureParams.from_covariances(
        rng.dirichlet(np.ones(K), 3), 3 * rng.normal(size=(3, K, D)), A @ A.swapaxes(-1, -2) + 0.1 * np.eye(D)
    )


@settings(deadline=None, max_examples=60)
@given(mixtures(), st.randoms(use_true_random=False), st.sampled_from([0.0, 0.3]))
def test_hills_do_not_depend_on_order_or_coordinates(params, random, depth):
    hills = params.hills(depth=depth)
    same = hills[:, :, None] == hills[:, None]
    firsts = [np.unique(row, return_index=True)[1] for row in hills]
    assert all((np.diff(first) > 0).all() for first in firsts)
    order = random.sample(range(params.n_components), params.n_components)
    renamed = MixtureParams(params.weights[:, order], params.means[:, order], params.scale_tril[:, order]).hills(depth=depth)
    np.testing.assert_array_equal(renamed[:, :, None] == renamed[:, None], same[:, order][:, :, order])
    D = params.n_features
    A = np.random.default_rng(random.randrange(2**32)).normal(size=(D, D)) + 3 * np.eye(D)
    moved = params.transform(np.arange(D) - 7.0, A).hills(depth=max(depth, 0.02))
    np.testing.assert_array_equal(moved, params.hills(depth=max(depth, 0.02)))
    assert (params.hills(depth=0.6).max(1) <= hills.max(1)).all()


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_hills_of_a_line_are_its_modes(seed, K):
    """In one column the way between two means is the line: hills are those of the density on a fine grid that hold a mean."""
    rng = np.random.default_rng(seed)
    params = MixtureParams.from_covariances(
        rng.dirichlet(np.ones(K)), 4 * rng.normal(size=(K, 1)), rng.uniform(0.2, 1.5, (K, 1, 1)) ** 2
    )
    means = np.sort(params.means[:, 0])
    for depth in (0.05, 0.3):
        valleys = 0
        grid = np.unique(np.concatenate([np.linspace(*pair, 4001) for pair in pairwise(means)] or [means]))
        f = np.exp(params.log_density(grid[:, None]))
        # Where the deepest point of a valley is near the threshold, the coarser grid may see it or not.
        for low, high in pairwise(means):
            own = f[(grid >= low) & (grid <= high)]
            own = own / np.minimum(np.maximum.accumulate(own), np.maximum.accumulate(own[::-1])[::-1])
            if abs(own.min() - (1 - depth)) < 0.02:
                return
            valleys += own.min() < 1 - depth
        assert params.hills(depth=depth).max() + 1 == valleys + 1


def test_hills_of_far_and_near_components():
    """Far apart each is its own hill, however the columns are stretched; two of one mean are one, and what lies between fills a valley."""
    stretched = np.diag([1.0, 1e8])
    params = MixtureParams.from_covariances(
        [0.3, 0.4, 0.3], [[0.0, 0.0], [9.0, 0.0], [9.0, 0.0]], [stretched, stretched, 4 * stretched]
    )
    np.testing.assert_array_equal(params.hills(), [0, 1, 1])
    far = MixtureParams.from_covariances([0.5, 0.5], [[1e9], [1e9 + 9.0]], [[[1.0]], [[1.0]]])
    np.testing.assert_array_equal(far.hills(), [0, 1])
    filled = MixtureParams.from_covariances([0.3, 0.4, 0.3], [[0.0], [2.0], [4.0]], [[[1.0]]] * 3)
    np.testing.assert_array_equal(filled.hills(), [0, 0, 0])
    np.testing.assert_array_equal(filled.hills(np.array([True, False, True])), [0, -1, 1])
    with pytest.raises(InvalidParameterError, match="depth must be"):
        filled.hills(depth=1.0)


def test_two_long_components_that_make_an_angle_are_one_hill():
    """On the straight line between their means there is nothing; round the corner, on the ridge, the density hardly falls."""
    angle = MixtureParams.from_covariances([0.5, 0.5], [[3.0, 0.0], [0.0, 3.0]], [np.diag([9.0, 0.1]), np.diag([0.1, 9.0])])
    middle, corner = np.exp(angle.log_density([[1.5, 1.5], [1.0, 0.0]]) - angle.log_density([[3.0, 0.0]]))
    assert (middle < 1e-3, corner > 0.7) == (True, True)
    np.testing.assert_array_equal(angle.hills(), [0, 0])


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_round_components_in_a_long_group_are_one(missing, rng):
    long = rng.normal(size=(300, 2)) * [3.5, 1.0]
    X = np.concatenate([long, rng.normal([0.0, 12.0], size=(150, 2))])
    X[rng.random(X.shape) < missing] = np.nan
    X = X[~np.isnan(X).all(1)]
    em = bg.GaussianMixture("auto", covariance_type="spherical", random_state=1).fit(X)
    assert em.n_components_ > 2
    assert em.params_.hills().max() + 1 > 2
    assert em.params_.hills().max() + 1 > 2
    groups = em.groups_
    assert len(np.unique(groups)) == 2
    assert len(np.unique(groups[em.means_[:, 1] > 6])) == 1


def test_two_groups_side_by_side_stay_two(rng):
    """Long and close: along the line from mean to mean they overlap, across they do not."""
    X = rng.normal(size=(400, 2)) * [6.0, 0.5] + np.repeat([[0.0, 0.0], [5.0, 4.0]], 200, axis=0)
    for kind in ("full", "tied"):
        assert bg.GaussianMixture(2, covariance_type=kind, random_state=1).fit(X).groups_.tolist() == [0, 1]


def test_weights_are_repetitions(rng):
    X = np.round(rng.normal(size=(60, 2)) * [5.0, 1.0], 1)
    times = rng.integers(1, 5, 60)
    em = bg.GaussianMixture(3, covariance_type="spherical", random_state=1).fit(X, sample_weight=times)
    again = groups_apart(em.params_, MemoryRows(np.repeat(X, times, axis=0)))
    np.testing.assert_array_equal(em.groups_, again)


@pytest.mark.parametrize("first", [200, 210, 220, 260])
def test_the_number_of_groups_is_right_whatever_shape_bic_takes(first):
    """Over four shapes BIC takes more components than there are groups on one table in six; 198 of 200 tables gave the right groups."""
    seeds = range(first, first + 6)
    right = 0
    for seed in seeds:
        X, K = table_apart(seed)
        found = bg.select(X, range(1, 9), FOUR, random_state=1, progressbar=False)
        right += len(np.unique(found.groups())) == K
    assert right >= 5


class TestByBIC:
    def test_it_is_the_least_of_fits_with_each_number(self, faithful):
        em = bg.GaussianMixture("auto", random_state=1).fit(faithful)
        each = {n: bg.GaussianMixture(n, random_state=1).fit(faithful).bic(faithful) for n in em.bic_}
        assert em.n_components_ == min(each, key=each.get) == 2
        for n, value in em.bic_.items():
            assert value == pytest.approx(each[n], abs=0.5) or not np.isfinite(value)
        assert em.bic(faithful) == pytest.approx(min(each.values()), abs=1e-6)
        assert em.message_.startswith("of 1 to 5 components BIC takes 2; too close to tell apart: 3 (+")
        assert em.n_parameters_ == 11

    def test_more_rows_than_are_searched_in(self, rng):
        """BIC is of all rows, whatever their units, though searches look at 4,096 of them."""
        one = bg.GaussianMixture("auto", random_state=1).fit(rng.normal(size=(6000, 1)))
        assert one.n_components_ == 1
        X = np.concatenate([rng.normal(0.0, 0.01, (3000, 1)), rng.normal(0.2, 0.01, (3000, 1))])
        for scale in (1.0, 1e3):
            em = bg.GaussianMixture("auto", random_state=1).fit(scale * X)
            assert em.n_components_ == 2
            assert em.bic_[2] == pytest.approx(em.bic(scale * X), abs=1e-6)
            assert em.bic_[1] == pytest.approx(bg.GaussianMixture(1).fit(scale * X).bic(scale * X), abs=1e-6)

    def test_equal_weights_count_as_no_parameters(self, faithful):
        em = bg.GaussianMixture("auto", equal_weights=True, random_state=1).fit(faithful)
        assert em.bic_[em.n_components_] == pytest.approx(em.bic(faithful), abs=1e-6)

    @pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DataAdvice")
    def test_numbers_without_a_proper_maximum_are_named(self):
        em = bg.GaussianMixture("auto", random_state=1).fit(np.random.default_rng(0).normal(size=(12, 3)))
        improper = [n for n, value in em.bic_.items() if not np.isfinite(value)]
        assert improper
        assert f"no proper maximum was found with {improper[0]}" in em.message_

    def test_it_can_name_the_groups_of_a_posterior_and_be_looked_at(self, faithful):
        settings = {"draws": 60, "tune": 60, "random_state": 1, "progressbar": False}
        fit = bg.BayesianGaussianMixture(2, init=bg.GaussianMixture("auto"), sampler="laplace", **settings).fit(faithful)
        assert fit.em_.n_components == 2
        assert not hasattr(fit, "n_groups_")
        assert "params_" in dir(fit)
        assert "groups_" in dir(fit.em_)
        em = bg.GaussianMixture("auto", random_state=1).fit(faithful)
        with pytest.raises(InvalidParameterError, match="where n_components is a number"):
            em.weights_ = [0.5, 0.5]
        assert not hasattr(em.set_params(n_components=2).fit(faithful), "bic_")

    def test_rows_in_chunks(self, faithful, tmp_path):
        np.save(tmp_path / "x.npy", faithful.to_numpy())
        told = []
        em = bg.GaussianMixture("auto", random_state=1).fit(tmp_path / "x.npy", on_iteration=told.append)
        assert em.n_components_ == 2
        assert told
        assert em.groups_.tolist() == [0, 1]

    def test_max_components(self, faithful):
        em = bg.GaussianMixture("auto", max_components=1).fit(faithful)
        assert (em.n_components_, list(em.bic_)) == (1, [1])

    def test_with_noise(self, faithful, rng):
        X = np.concatenate([faithful, rng.uniform([0, 30], [7, 110], size=(20, 2))])
        em = bg.GaussianMixture("auto", noise=True, random_state=1).fit(X)
        assert em.n_components_ == 2
        assert set(em.predict(X)) == {-1, 0, 1}

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"means_init": [[1.0, 2.0]]}, "means_init goes with a number of components"),
            ({"init_params": np.zeros((272, 2))}, "init_params goes with a number of components"),
            ({"warm_start": True}, "warm_start goes with a number of components"),
            ({"max_components": 273}, "at most the number of rows, 272"),
            ({"max_components": 0}, "max_components"),
            ({"n_components": 2, "max_components": 3}, "max_components is for n_components='auto'"),
        ],
    )
    def test_what_is_refused(self, faithful, settings, says):
        with pytest.raises(InvalidParameterError, match=says):
            bg.GaussianMixture(**{"n_components": "auto", **settings}).fit(faithful)

    def test_a_checkpoint_is_of_one_number(self, faithful, tmp_path):
        with pytest.raises(InvalidParameterError, match="checkpoint goes with a number of components"):
            bg.GaussianMixture("auto").fit(faithful, checkpoint=tmp_path / "c.npz")

    def test_rows_that_no_number_fits(self):
        with pytest.raises(InvalidDataError):
            bg.GaussianMixture("auto").fit([[1.0, 2.0]])
