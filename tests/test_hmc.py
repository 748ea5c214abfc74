"""The default sampler: the density given labels, labels drawn for rows, trajectories, roads and time, each against another way to it."""

import time
from concurrent.futures import ThreadPoolExecutor

import arviz as az
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, multivariate_normal, multivariate_t

import bayesgmm as bg
from bayesgmm.bayes import _compiled_hmc
from bayesgmm.bayes._compiled_log_posterior import LOG_POSTERIOR
from bayesgmm.bayes.draws import SamplerSettings
from bayesgmm.bayes.hmc import Road, _Chain, sample_hmc
from bayesgmm.bayes.initial_points import InitialPoints, initial_points
from bayesgmm.bayes.jumps import Jumps
from bayesgmm.bayes.laplace import Normal
from bayesgmm.bayes.log_posterior import LogPosterior, log_prior
from bayesgmm.bayes.metric import Geometry
from bayesgmm.bayes.rounds import mix_slowly
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import ConvergenceWarning, InvalidParameterError
from bayesgmm.kernels.estep import EVALUATE
from bayesgmm.params import MixtureParams
from bayesgmm.priors import Priors
from bayesgmm.rows import MemoryRows

FAMILIES = ("full", "tied", "diag", "spherical")
problems = st.tuples(st.sampled_from(FAMILIES), st.integers(1, 4), st.integers(1, 5), st.integers(6, 40), st.integers(0, 2**32 - 1))


def problem(kind, K, D, N, seed, **how):
    """A posterior of N rows of noise with ties (so that rounding is part of the model), and a point of its space."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D)).round(1) @ rng.normal(size=(D, D)) if D > 1 else rng.normal(size=(N, 1)).round(1)
    chosen = family(kind)
    density = LogPosterior(X, Space(Priors().resolve(MemoryRows(X), K, chosen), chosen), **how)
    return density, 0.5 * rng.normal(size=density.space.n_dim), rng


def statistics_of(X, labels, K):
    """Counts, means and scatters of labelled rows, flat."""
    D = X.shape[1]
    groups = [X[labels == k] for k in range(K)]
    means = [group.mean(0) if len(group) else np.zeros(D) for group in groups]
    scatters = [(group - mean).T @ (group - mean) for group, mean in zip(groups, means, strict=True)]
    return np.concatenate([np.bincount(labels, minlength=K), *means, *(scatter.ravel() for scatter in scatters)])


def digits_lost(mixture):
    """What two ways to one density may differ by where covariances are near singular: either has its own rounding."""
    return 10 * np.finfo(float).eps * np.linalg.cond(mixture.covariances).max()


def value_given(density, user, q):
    gradient = np.empty(len(q))
    return LOG_POSTERIOR.function(q, user, gradient), gradient


@given(problems)
@settings(max_examples=60, deadline=None)
def test_the_density_given_labels_is_that_of_rows_with_known_labels(drawn):
    density, q, rng = problem(*drawn)
    K = density.space.n_components
    labels = rng.integers(0, K, len(density.X))
    user = density.given_labels()
    numbers = statistics_of(density.X, labels, K)
    user[len(user) - len(numbers) :] = numbers
    value, gradient = value_given(density, user, q)
    mixture = density.space.constrain(q)
    expected = log_prior(q[None], density.space)[0]
    for k in range(K):
        mine = density.X[labels == k]
        if len(mine):
            normal = multivariate_normal(mixture.means[k], mixture.covariances[k], allow_singular=True)
            expected += len(mine) * np.log(mixture.weights[k]) + np.sum(normal.logpdf(mine))
    assert value == pytest.approx(expected, rel=1e-8 + digits_lost(mixture), abs=1e-7)
    direction = rng.normal(size=len(q))
    steps = 10.0 ** np.arange(-7, -3)  # where curvature is great a step has to be small, and where the value is, large
    ends = [[value_given(density, user, q + sign * h * direction)[0] for sign in (1, -1)] for h in steps]
    slopes = -np.diff(ends)[:, 0] / (2 * steps)
    assert np.abs(slopes - gradient @ direction).min() < 1e-4 * (1 + np.abs(gradient).max())


@given(problems)
@settings(max_examples=40, deadline=None)
def test_labels_are_drawn_by_responsibilities_and_their_statistics_are_the_groups(drawn):
    density, q, rng = problem(*drawn)
    K, N = density.space.n_components, len(density.X)
    user, uniforms, r = density.given_labels(), rng.random(N), np.empty((N, K))
    tail = K * (1 + density.X.shape[1] * (1 + density.X.shape[1]))
    total = _compiled_hmc.draw_labels(EVALUATE, q, density.X, density.user_data, uniforms, r, user[-tail:])
    mixture = density.space.constrain(q)
    lost = digits_lost(mixture)
    np.testing.assert_allclose(r, mixture.responsibilities(density.X), rtol=1e-7 + lost, atol=1e-10 + lost)
    assert total == pytest.approx(mixture.log_density(density.X).sum(), rel=1e-10 + lost, abs=1e-8)
    labels = np.minimum((uniforms[:, None] > np.cumsum(r, axis=1)).sum(1), K - 1)
    expected = statistics_of(density.X, labels, K)
    counts, rest = user[-tail:][:K], user[-tail:][K:]
    np.testing.assert_array_equal(counts, expected[:K])
    D = density.X.shape[1]
    seen = np.concatenate([np.repeat(counts > 0, D), np.repeat(counts > 0, D * D)])
    if density.space.n_matrices == 0:  # what lies off the diagonal is not needed
        seen[K * D :] &= np.tile(np.eye(D, dtype=bool).ravel(), K)
    np.testing.assert_allclose(rest[seen], expected[K:][seen], atol=1e-8 * (1 + np.abs(expected).max()))


def test_labels_come_as_often_as_they_are_probable(faithful, em_faithful):
    X = np.ascontiguousarray(faithful.to_numpy(float)[:40])
    full = family("full")
    density = LogPosterior(X, Space(Priors().resolve(MemoryRows(X), 2, full), full))
    broad = MixtureParams(em_faithful.params_.weights, em_faithful.params_.means, 4 * em_faithful.params_.scale_tril)
    q = density.space.unconstrain(broad)  # so that the labels of many rows are in doubt
    rng, r, counts = np.random.default_rng(3), np.empty((40, 2)), []
    user = density.given_labels()
    for _ in range(4000):
        _compiled_hmc.draw_labels(EVALUATE, q, X, density.user_data, rng.random(40), r, user[-14:])
        counts.append(user[-14])
    mean, variance = r[:, 0].sum(), (r[:, 0] * r[:, 1]).sum()
    z = (np.mean(counts) - mean) / np.sqrt(variance / 4000)
    assert abs(z) < 4
    assert chi2(3999).ppf(1e-4) < 3999 * np.var(counts, ddof=1) / variance < chi2(3999).ppf(1 - 1e-4)


class TestTheRoads:
    """The same posterior, whichever way it is drawn."""

    def test_with_labels_and_without(self, faithful, posterior_faithful):
        ones = np.ones(len(faithful))
        assert posterior_faithful.datatree_.attrs["length_given_labels"] > 0
        model = bg.BayesianGaussianMixture(2, random_state=2, progressbar=False)
        weighted = model.fit(faithful, sample_weight=ones)
        assert weighted.datatree_.attrs["length_given_labels"] == 0
        agree(weighted, posterior_faithful)

    def test_hmc_and_nuts(self, faithful, posterior_faithful):
        agree(bg.BayesianGaussianMixture(2, sampler="nuts", random_state=2, progressbar=False).fit(faithful), posterior_faithful)

    @pytest.mark.parametrize("kind", FAMILIES)
    def test_hmc_and_nuts_where_groups_overlap(self, kind):
        rng = np.random.default_rng(5)
        X = rng.normal(size=(120, 2)) + 3.5 * (rng.random(120) < 0.4)[:, None]
        one, two = (
            bg.BayesianGaussianMixture(2, covariance_type=kind, sampler=name, random_state=2, progressbar=False).fit(X)
            for name in ("hmc", "nuts")
        )
        agree(one, two)

    def test_rows_twice_and_weights_of_two(self, faithful):
        X = faithful.to_numpy(float)[::3]
        twice = bg.BayesianGaussianMixture(2, random_state=3, progressbar=False).fit(np.repeat(X, 2, axis=0))
        weighted = bg.BayesianGaussianMixture(2, random_state=4, progressbar=False).fit(X, sample_weight=np.full(len(X), 2.0))
        agree(twice, weighted)


def agree(one, two):
    """Means of all label-free quantities within five Monte Carlo errors of each other, standard deviations within a tenth."""
    tables = [
        bg.diagnostics.convergence_table(fit.datatree_, ("label-free", "relabelled")).set_index(["labels", "quantity"])
        for fit in (one, two)
    ]
    first, second = (table[table["ess_bulk"].notna()] for table in tables)
    shared = first.index.intersection(second.index)
    assert len(shared) > 5
    first, second = first.loc[shared], second.loc[shared]
    error = np.hypot(first["mcse_mean"], second["mcse_mean"])
    assert (np.abs(first["mean"] - second["mean"]) < 5 * error + 1e-12).all()
    # What is all but settled, such as labels of rows, has its spread from a few draws far out.
    spread = first.index.get_level_values("labels") == "relabelled"
    np.testing.assert_allclose(first["sd"][spread], second["sd"][spread], rtol=0.15)


def run(density, starts, **changes):
    how = {"draws": 60, "tune": 80, "chains": len(starts.points), "cores": 2, "seed": 1, "progressbar": False} | changes
    return sample_hmc(density, starts, SamplerSettings(**how))


@pytest.fixture(scope="module")
def density():
    X = bg.datasets.load_faithful().to_numpy(float)
    full = family("full")
    return LogPosterior(X, Space(Priors().resolve(MemoryRows(X), 2, full), full))


@pytest.fixture(scope="module")
def starts(density, em_faithful):
    return initial_points(density, density.X, [em_faithful.params_], 4, 1)


def test_same_seed_same_bits_whatever_the_cores_and_the_rounds(density, starts, monkeypatch):
    one, two = run(density, starts, cores=1), run(density, starts, cores=2)
    monkeypatch.setattr("bayesgmm.bayes.rounds._ROUND", 1e-9)  # one draw a round
    three, other = run(density, starts), run(density, starts, seed=2)
    np.testing.assert_array_equal(one.params.means, two.params.means)
    np.testing.assert_array_equal(one.params.means, three.params.means)
    np.testing.assert_array_equal(one.statistics["lp"], three.statistics["lp"])
    assert not np.array_equal(one.params.means, other.params.means)
    assert not np.array_equal(one.params.means[0], one.params.means[1])


def test_lp_is_the_log_posterior_with_labels_and_without(density, starts):
    weighted = LogPosterior(density.X, density.space, np.ones(len(density.X)))
    for one in (density, weighted):
        draws = run(one, starts)
        q = one.space.unconstrain(draws.params).reshape(-1, one.space.n_dim)
        np.testing.assert_allclose(draws.statistics["lp"].ravel(), one.at_each(q)[0], rtol=1e-9)


def test_time_that_is_up_ends_the_draws_and_is_said(density, starts):
    began = time.perf_counter()
    draws = run(density, starts, draws=10_000_000, max_time=1.0)
    assert time.perf_counter() - began < 3
    assert draws.details["out_of_time"] == 1
    assert 4 <= draws.params.batch_shape[1] < 10_000_000
    X = bg.datasets.load_faithful()
    with pytest.warns(ConvergenceWarning, match=r"sampling had no more time \(max_time\); [\d,]+ draws of 4 chains were kept"):
        bg.BayesianGaussianMixture(2, draws=1_000_000, max_time=1.0, random_state=1, progressbar=False).fit(X)


class TestWorthOfDraws:
    """Where draws are worth little, there are more cycles between those that are kept."""

    @pytest.fixture
    @staticmethod
    def slow(monkeypatch):
        """Whatever is drawn is said to be worth little, for the first two times."""
        answers = iter([True, True, False])
        monkeypatch.setattr("bayesgmm.bayes.hmc._is_slow", lambda *_: next(answers))

    @pytest.mark.usefixtures("slow")
    def test_the_draws_are_every_fourth_of_a_long_run(self, density, starts):
        found = run(density, starts, draws=40)
        assert found.details["cycles_per_draw"] == 4
        assert found.params.batch_shape == (4, 40)
        q = density.space.unconstrain(found.params).reshape(-1, density.space.n_dim)
        np.testing.assert_allclose(found.statistics["lp"].ravel(), density.at_each(q)[0], rtol=1e-9)

    @pytest.mark.usefixtures("slow")
    def test_they_are_the_same_draws_as_those_of_the_long_run(self, density, starts, monkeypatch):
        found = run(density, starts, draws=40)
        monkeypatch.setattr("bayesgmm.bayes.hmc._is_slow", lambda *_: False)
        long = run(density, starts, draws=160)
        np.testing.assert_array_equal(found.params.means, long.params.means[:, 3::4])
        np.testing.assert_array_equal(found.statistics["lp"], long.statistics["lp"][:, 3::4])
        steps = long.statistics["n_steps"].reshape(4, 40, 4).sum(-1)
        np.testing.assert_array_equal(found.statistics["n_steps"], steps)
        rate = long.statistics["acceptance_rate"].reshape(4, 40, 4).mean(-1)
        np.testing.assert_allclose(found.statistics["acceptance_rate"], rate, rtol=1e-12)

    def test_slow_is_told_from_apart(self):
        rng = np.random.default_rng(5)
        noise = rng.normal(size=(4, 500, 2))
        slow = np.empty_like(noise)
        slow[:, 0] = noise[:, 0]
        for t in range(1, 500):  # autocorrelation 0.9: one in nineteen is effective
            slow[:, t] = 0.9 * slow[:, t - 1] + np.sqrt(0.19) * noise[:, t]

        assert not mix_slowly(noise)
        assert mix_slowly(slow)
        apart = slow + 9.0 * np.arange(4)[:, None, None]
        assert not mix_slowly(apart)  # no number of cycles would bring these together
        assert mix_slowly(apart, apart=np.inf)
        assert not mix_slowly(np.ones((4, 500, 2)))  # what does not vary needs no draws
        assert not mix_slowly(noise[:1])  # one chain has nothing to agree with
        assert not mix_slowly(noise[:, :3])  # three draws tell nothing


@pytest.mark.parametrize("sampler", ["nuts", "laplace"])
def test_max_time_is_for_the_sampler_that_can_keep_it(faithful, sampler):
    with pytest.raises(InvalidParameterError, match="max_time is for sampler='hmc'"):
        bg.BayesianGaussianMixture(2, sampler=sampler, max_time=1.0).fit(faithful)


def test_an_interrupt_keeps_what_there_is_if_asked(density, starts, monkeypatch):
    calls = []

    class Interrupting(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):
            calls.append(args)
            if len(calls) > 4 * 90:
                raise KeyboardInterrupt
            return super().submit(*args, **kwargs)

    monkeypatch.setattr("bayesgmm.bayes.hmc.ThreadPoolExecutor", Interrupting)
    monkeypatch.setattr("bayesgmm.bayes.rounds._ROUND", 1e-9)
    kept = run(density, starts, keep_interrupted=True)
    assert kept.params.batch_shape[0] == 4
    assert 4 <= kept.params.batch_shape[1] < 60
    assert kept.details["interrupted"] == 1
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        run(density, starts)
    calls[:] = [()] * (4 * 90)
    with pytest.raises(KeyboardInterrupt, match="during the warm-up: there are no draws to keep"):
        run(density, starts, keep_interrupted=True)


class TestJumps:
    """Two modes that no trajectory passes between, one with some hundredths of the mass: a false trust of the sampler before."""

    @pytest.fixture(scope="class")
    @classmethod
    def tailed(cls):
        rng = np.random.default_rng(48)
        return np.concatenate([rng.standard_t(3, size=(50, 1)), 8 + rng.standard_t(3, size=(50, 1))])

    @staticmethod
    def together(params, X):
        """The probability that rows 87 and 92 are of one group."""
        r = params.responsibilities(X[[87, 92]])
        return (r[..., 0, :] * r[..., 1, :]).sum(-1)

    def test_every_seed_finds_what_importance_sampling_finds(self, tailed):
        full = family("full")
        rows = MemoryRows(tailed)
        em = bg.GaussianMixture(2, random_state=1).fit(tailed)
        priors = Priors().resolve(rows, 2, full)
        density = LogPosterior(tailed, Space(priors, full))
        initial = initial_points(density, tailed, [em.params_], 4, 1)
        assert len(initial.modes) > 1
        jumps = Jumps.between(initial)
        rng = np.random.default_rng(2)
        q = np.stack([jumps.draw(rng) for _ in range(20_000)])
        # Both names of the groups count as proposed: a rare draw near the other copy of a mode would outweigh all others.
        renamed = density.space.unconstrain(density.space.constrain(q).permute(np.array([1, 0])))
        proposed = np.logaddexp(*([jumps.log_density(one) for one in places] for places in (q, renamed))) - np.log(2)
        log_ratio = density.at_each(q)[0] - proposed
        weights = np.exp(log_ratio - log_ratio.max())
        weights /= weights.sum()
        values = self.together(density.space.constrain(q), tailed)
        expected = weights @ values
        error = np.sqrt(np.square(weights * (values - expected)).sum())
        assert expected - 4 * error > 0.005
        for seed in range(3):
            fit = bg.BayesianGaussianMixture(2, random_state=seed, progressbar=False).fit(tailed)
            found = self.together(fit.params_, tailed)
            mcse = float(az.mcse(found))
            assert found.mean() == pytest.approx(expected, abs=5 * np.hypot(error, mcse))
            assert fit.diagnose()[0].passed
            assert fit.datatree_.attrs["jumps_accepted"] > 0.05

    def test_what_is_jumped_to_is_what_the_density_says(self, tailed):
        rng = np.random.default_rng(1)
        modes = tuple(Normal(rng.normal(size=3), rng.normal(size=(3, 3))) for _ in range(2))
        jumps = Jumps.between(InitialPoints(np.zeros((2, 3)), modes, np.array([0.0, -1.0])))
        shares = np.exp(jumps.log_weights)
        covariances = [mode.factor @ mode.factor.T for mode in modes]
        theirs = [multivariate_t(mode.center, cov, df=5) for mode, cov in zip(modes, covariances, strict=True)]
        points = rng.normal(size=(20, 3))
        expected = np.log(sum(share * t.pdf(points) for share, t in zip(shares, theirs, strict=True)))
        ours = np.array([jumps.log_density(point) for point in points])
        assert np.ptp(ours - expected) < 1e-9  # a constant apart
        q = np.stack([jumps.draw(rng) for _ in range(4000)])
        mean = sum(share * mode.center for share, mode in zip(shares, modes, strict=True))
        np.testing.assert_allclose(q.mean(0), mean, atol=5 * (q.std(0) / np.sqrt(len(q))).max())

    @pytest.mark.parametrize("thin", [4, 8])
    def test_jumps_between_cycles_are_those_of_a_longer_run(self, tailed, thin):
        rows, full = MemoryRows(tailed), family("full")
        em = bg.GaussianMixture(2, random_state=1).fit(tailed)
        density = LogPosterior(tailed, Space(Priors().resolve(rows, 2, full), full))
        initial = initial_points(density, tailed, [em.params_], 2, 1)
        geometry, road = Geometry.at(density, np.stack([mode.center for mode in initial.modes])), Road(np.pi / 2, np.pi / 2)

        def chain():
            return _Chain(density, initial.points[0], geometry, Jumps.between(initial), np.random.SeedSequence(3))

        q, numbers = chain().run(road, 10, thin, adapting=False)
        long, each = chain().run(road, 10 * thin, 1, adapting=False)
        np.testing.assert_array_equal(q, long[thin - 1 :: thin])
        each = each.reshape(10, -1, 7)
        np.testing.assert_array_equal(numbers[:, 0], each[:, -1, 0])
        np.testing.assert_allclose(numbers[:, [1, 4]], each[:, :, [1, 4]].mean(1))
        np.testing.assert_array_equal(numbers[:, [2, 3, 5, 6]], each[:, :, [2, 3, 5, 6]].sum(1))

    def test_who_is_carried_there_and_back_is_where_he_was(self):
        rng = np.random.default_rng(7)
        modes = tuple(Normal(rng.normal(size=200), rng.normal(size=(200, 200))) for _ in range(2))
        jumps = Jumps.between(InitialPoints(np.zeros((2, 200)), modes, np.zeros(2)))
        assert not jumps.can_draw
        q = rng.normal(size=200)
        landed = {}
        for seed in range(8):
            place, log_volume = jumps.carry(q, np.random.default_rng(seed))
            landed[round(log_volume, 6)] = place
        (there, one), (back, other) = landed.items()
        assert there == pytest.approx(-back)
        assert abs(there) == pytest.approx(abs(np.subtract(*[np.linalg.slogdet(mode.factor)[1] for mode in modes])))
        returns = [jumps.carry(one, np.random.default_rng(seed)) for seed in range(8)]
        assert min(np.abs(place - q).max() for place, _ in returns) < 1e-6
        assert not np.allclose(one, other)

    def test_two_answers_that_are_mirror_images_share_all_in_two_hundred_dimensions(self):
        rng = np.random.default_rng(3)
        X = rng.normal(size=(100, 12))
        X[:, :2] += 4.0 * rng.choice([-1.0, 1.0], size=(100, 2))  # four clumps in a square, and two groups asked for
        mirrored = X.copy()
        mirrored[:, [0, 1]] = mirrored[:, [1, 0]]
        fit = bg.BayesianGaussianMixture(2, random_state=1, progressbar=False).fit(np.concatenate([X, mirrored]))
        assert fit.params_.means[0, 0].size + fit.params_.scale_tril[0, 0].shape[-1] ** 2 > 150
        apart = np.abs(fit.params_.means[..., 0, :2] - fit.params_.means[..., 1, :2])
        first = (apart[..., 0] > apart[..., 1]).astype(float)
        assert first.mean() == pytest.approx(0.5, abs=5 * float(az.mcse(first)))
        # Every chain goes to and fro; how many of the jumps it takes depends on how good the approximations about the modes came out.
        assert float(az.ess(first)) > 400
        assert fit.datatree_.attrs["jumps_accepted"] > 0

    def test_one_mode_needs_no_jumps(self, starts):
        assert Jumps.between(InitialPoints(starts.points, starts.modes[:1], starts.log_masses[:1])) is None
