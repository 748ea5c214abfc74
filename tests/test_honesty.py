"""EM says how it ended: acceleration never falls, degenerate maxima are refused or named, weights are rows, failures change nothing."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import check_estimator

import bayesgmm as bg
from bayesgmm.covariance import Family, family, names
from bayesgmm.covariance._m_steps import ARGUMENTS, RESULT
from bayesgmm.em.degeneracy import examine, smallest_sds
from bayesgmm.em.hierarchical import hierarchical_labels
from bayesgmm.em.initialization import Sample, starting_points
from bayesgmm.em.m_step import Settings
from bayesgmm.em.result import AGREEMENT
from bayesgmm.em.run import run_each, run_em
from bayesgmm.exceptions import ConvergenceWarning, InvalidDataError, LikelihoodDecreaseError
from bayesgmm.kernels.compile import Pointer, compiled
from bayesgmm.rows import MemoryRows
from tests.conftest import fit_rows, random_mixture

IRIS = load_iris().data


def run_settings(X, name, **changes):
    fam = family(name)
    return Settings(fam, **({"tol": 1e-9, "max_iter": 3000, "smallest": smallest_sds(X)} | changes))


def some_start(X, K, how, seed, method="random_from_data"):
    return next(
        starting_points(
            Sample(X, np.ones(len(X)), is_all=True, rows=MemoryRows(X)), K, method, 1, how, np.random.SeedSequence(seed)
        )
    )


def is_regular(X, run, name):
    return examine(run.mixture, run_settings(X, name), MemoryRows(X)).is_regular


def fast_and_plain(seed, K, D, name):
    """Ends of an accelerated and of a plain run from one random start, on data of few rows: many local maxima and plateaus."""
    rng = np.random.default_rng(seed)
    X = random_mixture(rng, max(K, 2), D).sample(80, rng)[0]
    fast, plain = (run_settings(X, name, accelerate=accelerate, tol=tol) for accelerate, tol in ((True, 1e-9), (False, 1e-12)))
    start = some_start(X, K, plain, seed)
    return X, run_em(MemoryRows(X), start, fast), run_em(MemoryRows(X), start, plain)


@settings(max_examples=60, deadline=None)
@example(seed=4_294_967_295, K=3, D=1, name="full")
@given(
    seed=st.integers(0, 2**32 - 1),
    K=st.integers(1, 4),
    D=st.integers(1, 3),
    name=st.sampled_from(["full", "tied", "diag", "spherical"]),
)
def test_acceleration_never_falls_and_ends_where_em_stands_still(seed, K, D, name):
    X, one, _ = fast_and_plain(seed, K, D, name)
    if one.status == "fell":  # rounding is all that is left of a component's spread
        assert not is_regular(X, one, name)
        return
    assert (np.diff(one.trace) >= -1.01e-8 * (np.abs(one.trace[1:]) + len(X))).all()
    if one.status == "converged":
        on = run_em(MemoryRows(X), one.mixture, run_settings(X, name, max_iter=3))
        # Beside a component on its floor the rest creeps: what is left of the likelihood's slope says less of what is left to gain.
        assert on.log_likelihood - one.log_likelihood < (1e-6 if is_regular(X, one, name) else 1e-4)


def test_acceleration_ends_as_high_as_plain_em():
    """On a plateau beside a saddle a long step may choose another side than short ones: seldom, for the better or for the worse."""
    ends = [
        (one, other)
        for seed in range(60)
        for name in (("full", "tied") if seed % 3 == 0 else ("full", "tied", "diag", "spherical"))  # in one column they are two
        for X, one, other in [fast_and_plain(seed, 1 + seed % 4, 1 + seed % 3, name)]
        if is_regular(X, one, name) and is_regular(X, other, name)
    ]
    ahead = np.array(
        [one.log_likelihood - other.log_likelihood for one, other in ends if other.status == one.status == "converged"]
    )
    assert len(ahead) > 150
    assert (np.abs(ahead) > 1e-4).mean() < 0.03


def test_acceleration_saves_iterations_where_em_is_slow(rng):
    """Two groups that overlap almost wholly: EM's rate of convergence is close to one."""
    X = np.concatenate([rng.normal(0, 1, 400), rng.normal(1.2, 1, 400)])[:, None]
    plain = run_settings(X, "full", tol=1e-11, max_iter=100_000)
    fast = run_settings(X, "full", tol=1e-9, accelerate=True)
    start = some_start(X, 2, plain, 0)
    slow, quick = run_em(MemoryRows(X), start, plain), run_em(MemoryRows(X), start, fast)
    assert quick.log_likelihood > slow.log_likelihood - 1e-9 * len(X)  # the tolerance that it was given
    assert quick.n_iter < slow.n_iter / 4
    assert quick.n_saved > 0


def test_aitken_does_not_take_a_slow_climb_for_its_end(rng):
    X = np.concatenate([rng.normal(0, 1, 400), rng.normal(1.2, 1, 400)])[:, None]
    start = some_start(X, 2, run_settings(X, "full"), 0)
    gains_little = run_em(MemoryRows(X), start, run_settings(X, "full", tol=1e-5))
    extrapolates = run_em(MemoryRows(X), start, run_settings(X, "full", tol=1e-5, accelerate=True))
    best = run_em(MemoryRows(X), start, run_settings(X, "full", tol=1e-13, max_iter=100_000)).log_likelihood
    assert best - extrapolates.log_likelihood < 3 * 1e-5 * len(X) < best - gains_little.log_likelihood


@pytest.mark.parametrize("seed", range(3))
def test_the_regular_maximum_of_raw_iris_is_chosen_over_degenerate_ones(seed):
    em = bg.GaussianMixture(3, random_state=seed).fit(IRIS)
    assert em.log_likelihood_ == pytest.approx(-180.1855, abs=1e-3)
    assert em.status_ == "converged"
    if em.n_starts_at_best_ >= AGREEMENT:
        assert f"; {em.n_starts_at_best_} of {em.n_starts_} independent starts ended at this maximum" in em.message_
    else:
        assert "there may be a higher one" in em.message_


def test_where_every_start_is_followed_all_are_counted():
    em = bg.GaussianMixture(2, random_state=1, n_init=5).fit(IRIS)
    assert (em.n_starts_, em.n_moves_) == (5, 0)
    assert f"; {em.n_starts_at_best_} of 5 starts ended at this maximum" in em.message_


def test_a_collapse_that_cannot_be_avoided_is_named_with_its_rows():
    """As many components as a third of the rows: some rest on two or three rows, which none of them predicts when it is left out."""
    X = bg.datasets.load_galaxies().to_numpy(float)
    with pytest.warns(ConvergenceWarning, match=r"omponent \d+ (rests on too few rows|has collapsed).*expected number of rows \d+"):
        em = bg.GaussianMixture(27, random_state=0).fit(X)
    assert em.status_ in ("collapsed", "spurious")
    assert "fewer components" in em.message_
    assert np.isfinite(em.log_likelihood_)
    assert np.isfinite(em.predict_proba(X)).all()


def test_a_fit_that_runs_out_of_iterations_says_so(faithful):
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        em = bg.GaussianMixture(3, max_iter=2, random_state=0).fit(faithful)
    assert (em.status_, em.converged_) == ("max_iter", False)


def test_a_fall_of_the_likelihood_is_an_error(faithful, monkeypatch):
    """An M-step with a mistake in it (means that move the wrong way) does not go unnoticed."""
    import bayesgmm.em.run as iterate

    X = faithful.to_numpy()
    right = iterate.m_step

    def wrong(statistics, mixture, settings):
        good = right(statistics, mixture, settings)
        return good._replace(means=2 * mixture.means - good.means)

    monkeypatch.setattr(iterate, "m_step", wrong)
    with pytest.raises(LikelihoodDecreaseError, match="please report"):
        fit_rows(X, 3, max_iter=50, in_one_call=False)


@compiled()
def too_wide(scatter, counts, previous, rounds, variant, smallest, out):
    for k in range(len(counts)):
        for i in range(scatter.shape[1]):
            for j in range(scatter.shape[1]):
                out[k, i, j] = 9.0 * scatter[k, i, j] / counts[k]
    return False


def test_a_fall_of_the_likelihood_is_an_error_in_a_compiled_run_too(faithful):
    # Free covariances are found without the family's M-step.
    wrong = Family("wrong", "EVV", Pointer(too_wide, RESULT, ARGUMENTS))
    with pytest.raises(LikelihoodDecreaseError, match=r"in iteration \d+, which it never may"):
        fit_rows(faithful, 3, wrong, max_iter=50, n_init=3)


@pytest.mark.parametrize("name", names())
def test_a_run_in_one_call_is_the_run_step_by_step(name, rng):
    """Two roads with the same rules: Python between the E-steps, or none; with weights, with and without extrapolation and ridge."""
    X = random_mixture(rng, 3, 3).sample(120, rng)[0]
    weight = rng.uniform(0.5, 2.0, size=120)
    for changes in ({"max_iter": 40}, {"accelerate": True, "max_iter": 60}, {"reg_covar": 0.1, "max_iter": 15}):
        one, other = (run_settings(X, name, tol=1e-7, in_one_call=at_once, **changes) for at_once in (True, False))
        start, how = some_start(X, 2, one, 4), one
        here, there = run_em(MemoryRows(X, weight), start, one), run_em(MemoryRows(X, weight), start, other)
        same = min(
            here.n_iter, there.n_iter, 12
        )  # what rounding did to an extrapolation shows at the end, and may move it by a step
        np.testing.assert_allclose(here.trace[:same], there.trace[:same], rtol=1e-9)
        assert here.status == there.status
        assert abs(here.n_iter - there.n_iter) <= (3 if how.accelerate else 0)
        assert here.log_likelihood == pytest.approx(there.log_likelihood, rel=1e-8)
        np.testing.assert_allclose(here.mixture.means, there.mixture.means, rtol=1e-3, atol=1e-3)


def test_a_run_that_pauses_goes_on_as_if_it_had_not(faithful, monkeypatch):
    import bayesgmm.em.run as iterate

    X = faithful.to_numpy()
    how = run_settings(X, "full", accelerate=True)
    starts = [some_start(X, 3, how, seed) for seed in range(3)]
    straight = list(iterate.run_each(MemoryRows(X), starts, how))
    monkeypatch.setattr(iterate, "_PAUSE", 1.0)  # after every iteration
    for one, other in zip(straight, iterate.run_each(MemoryRows(X), starts, how), strict=True):
        assert one.status == other.status
        assert abs(one.n_iter - other.n_iter) <= 3  # a pause costs the last bits of the factors
        np.testing.assert_allclose(one.trace[:10], other.trace[:10], rtol=1e-10)
        assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-8)


def test_runs_made_together_are_those_made_alone(faithful):
    X = faithful.to_numpy()
    how = run_settings(X, "VEV", accelerate=True)
    starts = [some_start(X, 3, how, seed) for seed in range(4)]
    for one, start in zip(run_each(MemoryRows(X), starts, how), starts, strict=True):
        np.testing.assert_array_equal(one.trace, run_em(MemoryRows(X), start, how).trace)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_weights_are_rows(kind, faithful, rng):
    X = faithful.to_numpy()
    weight = rng.integers(0, 4, size=len(X))
    repeated = np.repeat(X, weight, axis=0)[rng.permutation(weight.sum())]
    one = bg.GaussianMixture(3, covariance_type=kind, random_state=3).fit(X, sample_weight=weight)
    other = bg.GaussianMixture(3, covariance_type=kind, random_state=3).fit(repeated)
    assert one.log_likelihood_ == other.log_likelihood_
    np.testing.assert_array_equal(one.means_, other.means_)
    np.testing.assert_array_equal(one.covariances_, other.covariances_)
    assert one.score(X, sample_weight=weight) == pytest.approx(other.score(repeated), rel=1e-12)
    for criterion in ("bic", "aic", "icl"):
        assert getattr(one, criterion)(X, weight) == pytest.approx(getattr(other, criterion)(repeated), rel=1e-12)
    assert one.effective_sample_size_ == weight.sum()


def test_weights_that_are_not_whole_are_worth_fewer_rows(faithful):
    weight = np.where(np.arange(272) % 2, 0.5, 1.5)
    em = bg.GaussianMixture(2, random_state=0).fit(faithful, sample_weight=weight)
    assert em.effective_sample_size_ == pytest.approx(272**2 / (weight**2).sum())


def test_cyclists_are_fitted_by_their_frequencies():
    table = bg.datasets.cyclists() if hasattr(bg.datasets, "cyclists") else None
    assert table is not None
    speed, frequency = table.iloc[:, :1].to_numpy(float), table.iloc[:, 1].to_numpy()
    em = bg.GaussianMixture(1).fit(speed, sample_weight=frequency)
    assert em.means_[0, 0] == pytest.approx(np.average(speed[:, 0], weights=frequency))
    assert em.covariances_[0, 0, 0] == pytest.approx(np.cov(speed[:, 0], fweights=frequency, ddof=0), rel=1e-9)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ([1, 2], "one number for each of the 272 rows"),
        (np.r_[-1.0, np.ones(271)], "it is -1.0 in row 0"),
        (np.r_[np.ones(271), np.nan], "it is nan in row 271"),
        (np.zeros(272), "zero in every row"),
    ],
)
def test_weights_that_cannot_be_used_get_one_sentence(weight, words, faithful):
    with pytest.raises(InvalidDataError, match=words):
        bg.GaussianMixture(2).fit(faithful, sample_weight=weight)


def test_a_fit_that_fails_changes_nothing(faithful):
    em = bg.GaussianMixture(2, random_state=0).fit(faithful)
    before = dict(vars(em))
    em.means_init = np.zeros((3, 3))
    before["means_init"] = em.means_init
    with pytest.raises(ValueError, match="means_init"):
        em.fit(faithful.to_numpy()[:50, :1])
    assert list(vars(em)) == list(before)
    assert all(vars(em)[name] is value for name, value in before.items())
    with pytest.raises(ValueError, match="sample_weight"):
        bg.GaussianMixture(2).fit(faithful, sample_weight=[1.0])


def test_the_order_of_rows_does_not_matter(faithful, rng):
    X = faithful.to_numpy()
    one = bg.GaussianMixture(3, random_state=5).fit(X)
    other = bg.GaussianMixture(3, random_state=5).fit(X[rng.permutation(len(X))])
    np.testing.assert_array_equal(other.means_, one.means_)


def test_the_tree_finds_groups_of_different_shape(rng):
    """Two long thin crossing groups and a round one: a start that only knows distances cuts the long ones."""
    a = rng.normal(size=(150, 2)) * [8, 0.3]
    b = rng.normal(size=(150, 2)) * [0.3, 8] + [0, 20]
    Z = np.concatenate([a, b])
    Z = (Z - Z.mean(0)) / Z.std(0)
    labels = hierarchical_labels(Z, 2, np.ones(300), rng)
    truth = np.repeat([0, 1], 150)
    assert max((labels == truth).mean(), (labels != truth).mean()) > 0.98
    assert set(hierarchical_labels(Z[:2], 2, np.ones(2), rng)) == {0, 1}
    many = np.concatenate([rng.normal(size=(3000, 2)), rng.normal(size=(1000, 2)) + 9])
    labels = hierarchical_labels(many / many.std(0), 2, np.ones(4000), rng)
    assert sorted(np.bincount(labels)) == [1000, 3000]


def test_scikit_learns_own_checks_pass():
    failed = [
        (result["check_name"], result["exception"])
        for result in check_estimator(bg.GaussianMixture(n_init=2, tol=1e-4), on_fail=None, on_skip=None)
        if result["status"] == "failed"
    ]
    assert failed == []
