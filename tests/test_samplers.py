"""The samplers: each against an independent route, and each honest about what it is."""

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.bayes.draws import SamplerSettings
from bayesgmm.bayes.gibbs import sample_gibbs
from bayesgmm.bayes.laplace import Normal, find_mode, hessian, laplace, log_densities, pareto_smoothed, resample
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.em.penalties import ConjugatePenalty, ModelPenalty
from bayesgmm.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from bayesgmm.frame import Frame
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ConjugatePriors, HalfNormal, LogNormal, Priors
from bayesgmm.priors.log_prior import log_conjugate_prior, log_prior_terms
from bayesgmm.resolution import without_rounding
from bayesgmm.rows import MemoryRows
from tests.conftest import random_mixture, scipy_log_likelihood

FAMILIES = ["full", "tied", "diag", "spherical"]


def fit(X, K=2, sampler="laplace", **changes):
    settings = {"draws": 1000, "tune": 500, "chains": 4, "random_state": 3, "progressbar": False} | changes
    return bg.BayesianGaussianMixture(K, sampler=sampler, **settings).fit(X)


def parameters(params):
    """Weights, means and standard deviations of every draw, as (chain, draw, quantity)."""
    parts = [params.weights[..., :1], params.means, params.sds]
    return np.concatenate([part.reshape(*params.batch_shape, -1) for part in parts], axis=-1)


def mean_and_error(params):
    draws = parameters(params)
    ess = array_stats.ess(draws, method="mean", chain_axis=0, draw_axis=1)
    assert ess.min() > 300
    return draws.mean((0, 1)), draws.std((0, 1)) / np.sqrt(ess), draws.std((0, 1))


def log_model_prior(params, priors, kind):
    """Log-density under the model's priors in the measure of `log_conjugate_prior`: logs of standard deviations, and correlations."""
    space = Space(priors, kind)
    inside, D = space.priors.from_data(params), params.n_features
    logs = np.log(np.diagonal(inside.scale_tril, axis1=-2, axis2=-1) / inside.sds)[..., : space.n_matrices, :]
    of_factors = ((D - 1 - np.arange(D)) * logs).sum((-2, -1))  # the terms are of the correlations' Cholesky factors
    log_sds = np.log(space.family.free_sds(inside.sds)).reshape(*params.batch_shape, -1).sum(-1)
    return sum(log_prior_terms(params, priors, kind).values()) - of_factors + log_sds


def weights_to_priors(params, drawn_under, priors, kind):
    """Importance weights that turn draws under conjugate priors into draws under the model's: the likelihood is the same."""
    inside = priors.from_data(params.reshape(-1))
    theirs = log_conjugate_prior(inside, drawn_under.seen_in(priors.frame), kind)
    return pareto_smoothed(log_model_prior(params.reshape(-1), priors, kind) - theirs)


def small_problem(name="full", D=2, K=2, N=40, seed=5):
    rng = np.random.default_rng(seed)
    start = random_mixture(rng, K, D, covariance_type=name)
    X = start.sample(N, rng)[0]
    kind = family(name)
    return X, kind, start, LogPosterior(X, Space(Priors().resolve(MemoryRows(X), K, kind), kind))


@pytest.fixture(scope="module")
def large():
    return MixtureParams.from_covariances([0.6, 0.4], [[0.0], [3.0]], [[[1.0]], [[0.5]]]).sample(1500, random_state=2)[0]


class TestLaplace:
    @pytest.mark.parametrize(("name", "D"), [("full", 2), ("tied", 2), ("spherical", 2), ("full", 1)])
    def test_the_mode_and_its_curvature(self, name, D):
        _, _, start, density = small_problem(name, D)
        mode = find_mode(density, density.space.unconstrain(start))
        value, gradient = density(mode)
        assert np.abs(gradient).max() < 1e-6
        curvature = hessian(density, mode)
        h = 1e-3
        for i, step in enumerate(h * np.eye(len(mode))):
            second = (density(mode + step)[0] - 2 * value + density(mode - step)[0]) / h**2
            assert curvature[i, i] == pytest.approx(second, rel=1e-3, abs=1e-3)
        normal = laplace(density, density.space.unconstrain(start)[None])
        np.testing.assert_allclose(normal.factor @ normal.factor.T @ -curvature, np.eye(len(mode)), atol=1e-6)

    def test_the_highest_of_several_modes_is_taken(self):
        _, _, start, density = small_problem(N=200)
        good = density.space.unconstrain(start)
        bad = good.copy()
        bad[1:5] += 40.0  # all groups far away from the data
        found = [laplace(density, np.stack(pair)).center for pair in ([good, bad], [bad, good])]
        np.testing.assert_allclose(found[0], found[1], atol=1e-5)
        assert density(found[0])[0] >= density(good)[0]

    def test_agrees_with_nuts_on_many_rows(self, large):
        """Within Monte Carlo error once weighted; without weights within O(1 / sqrt(N)) posterior standard deviations."""
        nuts, weighted = fit(large, sampler="nuts"), fit(large)
        mean, error, sd = mean_and_error(nuts.params_)
        attrs = weighted.datatree_.attrs
        assert attrs["pareto_k"] < 0.5
        assert attrs["importance_ess"] > 2000
        draws = parameters(weighted.params_)
        other = sd / np.sqrt(attrs["importance_ess"])
        assert (np.abs(draws.mean((0, 1)) - mean) < 4.5 * np.hypot(error, other)).all()
        np.testing.assert_allclose(draws.std((0, 1)), sd, rtol=0.1)

        kind = family("full")
        density = LogPosterior(large, Space(Priors().resolve(MemoryRows(large), 2, kind), kind))
        normal = laplace(density, density.space.unconstrain(nuts.em_.params_)[None])
        plain = parameters(density.space.constrain(normal.draw(4000, np.random.default_rng(0))[0])[None])
        assert (np.abs(plain.mean((0, 1)) - mean) < 8 / np.sqrt(len(large)) * sd + 4.5 * sd / np.sqrt(4000)).all()

    def test_a_bad_approximation_says_so(self):
        """Two groups where there is one: the posterior is nothing like a normal distribution."""
        X = np.random.default_rng(0).normal(size=(25, 1))
        with pytest.warns(ConvergenceWarning, match=r"Not reliable \(laplace\): the approximation is too far.*Pareto k"):
            poor = fit(X)
        assert poor.datatree_.attrs["pareto_k"] > 0.7
        check = next(check for check in poor.diagnose() if check.name == "pareto_k")
        assert not check.passed
        assert check.value == poor.datatree_.attrs["pareto_k"]

    def test_gaps_weights_and_seeds(self, faithful):
        X = faithful.to_numpy(float, copy=True)
        X[::7, 0] = np.nan
        one, two = fit(X, draws=100), fit(X, draws=100)
        np.testing.assert_array_equal(one.params_.means, two.params_.means)
        doubled = bg.BayesianGaussianMixture(2, sampler="laplace", random_state=3, progressbar=False)
        doubled.fit(faithful, sample_weight=np.full(len(faithful), 2.0))
        repeated = fit(np.concatenate([faithful, faithful]))
        sd = parameters(repeated.params_).std((0, 1))
        difference = parameters(doubled.params_).mean((0, 1)) - parameters(repeated.params_).mean((0, 1))
        assert (np.abs(difference) < 0.15 * sd).all()


class TestGrid:
    """One dimension, two groups with one variance: four parameters, whose posterior can simply be added up on a grid."""

    @pytest.fixture
    def problem(self):
        X = MixtureParams.from_covariances([0.5, 0.5], [[-3.0], [3.0]], [[[1.0]], [[1.0]]]).sample(60, random_state=4)[0]
        priors = Priors(concentration=3.0, means_loc=0.5, means_scale=4.0, sds=HalfNormal(1.5))
        return X, priors

    @staticmethod
    def log_density(theta, X):
        """The posterior of (logit w, mean, mean, log sd) by the textbook, with SciPy."""
        logit, a, b, log_sd = theta.T
        w, sd = 1 / (1 + np.exp(-logit)), np.exp(log_sd)
        prior = stats.beta.logpdf(w, 3, 3) + np.log(w * (1 - w))
        prior += stats.norm.logpdf(a, 0.5, 4) + stats.norm.logpdf(b, 0.5, 4)
        prior += stats.halfnorm.logpdf(sd, scale=1.5) + log_sd
        for x in X[:, 0]:
            left, right = np.exp(-0.5 * ((x - a) / sd) ** 2), np.exp(-0.5 * ((x - b) / sd) ** 2)
            prior = prior + np.log((w * left + (1 - w) * right) / sd)
        return prior

    def grid(self, X, params):
        """Posterior means and standard deviations by a sum over 15^4 points, 5.5 standard deviations either way."""
        draws = np.column_stack(
            [
                np.log(params.weights[..., 0] / params.weights[..., 1]).ravel(),
                *params.means[..., 0].reshape(-1, 2).T,
                np.log(params.sds[..., 0, 0]).ravel(),
            ]
        )
        steps = np.stack(np.meshgrid(*[np.linspace(-5.5, 5.5, 15)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
        theta = draws.mean(0) + steps @ np.linalg.cholesky(np.cov(draws.T)).T
        log_density = self.log_density(theta, X)
        weight = np.exp(log_density - logsumexp(log_density))
        assert weight[np.abs(steps).max(1) > 5].sum() < 1e-3  # nothing is lost at the edge
        values = np.column_stack([1 / (1 + np.exp(-theta[:, 0])), theta[:, 1:3], np.exp(theta[:, 3])])
        mean = weight @ values
        return mean, np.sqrt(weight @ (values - mean) ** 2)

    @pytest.mark.parametrize("sampler", ["nuts", "laplace"])
    def test_the_grid_agrees(self, problem, sampler):
        X, priors = problem
        found = fit(X, sampler=sampler, covariance_type="tied", priors=priors)
        mean, sd = self.grid(X, found.params_)
        draws = parameters(found.params_)[..., :4]
        if sampler == "nuts":
            ess = array_stats.ess(draws, method="mean", chain_axis=0, draw_axis=1)
        else:
            ess = found.datatree_.attrs["importance_ess"]
        assert np.min(ess) > 400
        assert (np.abs(draws.mean((0, 1)) - mean) < 4.5 * sd / np.sqrt(ess)).all()
        np.testing.assert_allclose(draws.std((0, 1)), sd, rtol=0.12)


class TestConjugateDensities:
    @pytest.mark.parametrize("name", FAMILIES)
    @pytest.mark.parametrize(("D", "K"), [(1, 2), (3, 2), (2, 1)])
    def test_against_the_penalties_of_em(self, name, D, K, rng):
        """EM's densities are of covariances and of standard deviations: they differ by known Jacobians."""
        params, kind = random_mixture(rng, K, D, batch=(3,), covariance_type=name), family(name)
        X = rng.normal(size=(50, D))
        conjugate = ConjugatePriors(2.0, shrinkage=0.3).resolve(X.mean(0), np.cov(X.T).reshape(D, D), K)
        model = Priors(eta=3.0, frame="columns").resolve(MemoryRows(X), K, kind)
        log_sds = np.log(kind.free_sds(params.sds)).reshape(3, -1)
        if kind.diagonal:
            jacobian = (np.log(2) + 2 * log_sds).sum(-1)
        else:
            jacobian = (D + 1) * log_sds.sum(-1) + log_sds.shape[1] * np.log(2)
        for t in range(3):
            natural = params.weights[t], params.means[t], params.scale_tril[t]
            theirs = ConjugatePenalty(conjugate, kind).log_density(*natural) + jacobian[t]
            assert log_conjugate_prior(params, conjugate, kind)[t] == pytest.approx(theirs, rel=1e-9)
            ours = ModelPenalty(model, kind, D).log_density(*natural) + log_sds[t].sum()
            assert log_model_prior(params, model, kind)[t] == pytest.approx(ours, rel=1e-9)

    def test_against_the_fast_density(self, rng):
        """What the fast density has beyond likelihood and prior is the volume of its transform, by finite differences."""
        X, kind, start, density = small_problem()

        def natural(q):
            one = density.space.priors.from_data(density.space.constrain(q))
            return np.concatenate([one.weights[:1], one.means.ravel(), np.log(one.sds).ravel(), one.correlations[:, 1, 0]])

        q = density.space.unconstrain(start)
        steps = 1e-6 * np.eye(len(q))
        jacobian = np.stack([(natural(q + h) - natural(q - h)) / 2e-6 for h in steps])
        expected = (
            scipy_log_likelihood(X, start) + log_model_prior(start, density.space.priors, kind) + np.linalg.slogdet(jacobian)[1]
        )
        assert density(q)[0] == pytest.approx(expected, abs=1e-5)

    def test_a_change_of_units_changes_densities_by_a_constant(self, rng):
        params, kind = random_mixture(rng, 2, 2, batch=(4,)), family("full")
        priors = ConjugatePriors().resolve(np.array([1.0, 2.0]), np.array([[2.0, 0.3], [0.3, 1.0]]), 2)
        center, scale = np.array([3.0, -1.0]), np.array([2.0, 0.1])
        inside = params.transform(-center / scale, np.diag(1 / scale))
        shift = log_conjugate_prior(inside, priors.seen_in(Frame(center, np.diag(scale))), kind) - log_conjugate_prior(
            params, priors, kind
        )
        np.testing.assert_allclose(shift, 2 * np.log(scale).sum(), rtol=1e-9)


class TestGibbs:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_one_component_has_a_posterior_in_closed_form(self, name, rng):
        """With one group the draws are independent draws of normal-inverse-Wishart (or inverse gamma)."""
        N, D = 30, 2
        X = rng.normal(size=(N, D)) @ np.array([[1.0, 0.4], [0.0, 0.7]]) + 2.0
        priors = ConjugatePriors(shrinkage=2.0, df=8.0, scale=1.5, means_loc=[0.0, 1.0]).resolve(X.mean(0), np.cov(X.T), 1)
        settings = SamplerSettings(draws=4000, tune=1, chains=1, cores=1, seed=1, progressbar=False, jitter=0.0)
        start = MixtureParams.from_covariances([1.0], [[0.0, 0.0]], [np.eye(2)]).reshape(1)
        drawn = sample_gibbs(X, family(name), priors, start, settings).params[0]
        off = X.mean(0) - priors.means_loc
        scatter = priors.scale + (X - X.mean(0)).T @ (X - X.mean(0)) + 2.0 * N / (N + 2.0) * np.outer(off, off)
        if name == "spherical":
            expected = (np.trace(scatter) - np.trace(priors.scale) / 2) / (8.0 + D * N - 2) * np.eye(D)
        elif name == "diag":
            expected = np.diag(np.diag(scatter)) / (8.0 + N - 2)
        else:
            expected = scatter / (8.0 + N - D - 1)
        covariances = drawn.covariances[:, 0]
        assert (np.abs(covariances.mean(0) - expected) <= 4.5 * covariances.std(0) / np.sqrt(4000)).all()
        mean = priors.means_loc + N / (N + 2.0) * off
        assert (np.abs(drawn.means[:, 0].mean(0) - mean) < 4.5 * drawn.means[:, 0].std(0) / np.sqrt(4000)).all()
        spread = np.sqrt(np.diag(expected) / (N + 2.0))
        np.testing.assert_allclose(drawn.means[:, 0].std(0), spread, rtol=0.06)

    @pytest.mark.parametrize("name", FAMILIES)
    def test_draws_under_a_learned_scale_agree_with_its_density(self, name, faithful):
        """Weighted to a fixed scale by the ratio of the densities, they are draws under that."""
        learned, fixed = (
            fit(faithful, sampler="gibbs", covariance_type=name, priors=ConjugatePriors(2.0, scale=scale), tune=100)
            for scale in ("learned", 0.5 * np.cov(faithful.T))
        )
        kind, flat = family(name), without_rounding(learned.params_.reshape(-1), learned.priors_.rounding)
        ratio = log_conjugate_prior(flat, fixed.priors_, kind) - log_conjugate_prior(flat, learned.priors_, kind)
        weights = pareto_smoothed(ratio)
        assert weights.pareto_k < 0.7
        draws = parameters(learned.params_)
        share = array_stats.ess(draws, method="mean", chain_axis=0, draw_axis=1) / draws[..., 0].size
        mean = weights.weights @ draws.reshape(-1, draws.shape[-1])
        expected, error, sd = mean_and_error(fixed.params_)
        assert (np.abs(mean - expected) < 4.5 * np.hypot(error, sd / np.sqrt(weights.ess * share))).all()

    def test_a_learned_scale_leaves_groups_far_apart_as_narrow_as_they_are(self, rng):
        """Fixed at the spread of all rows, a scale makes them wide; in any linear coordinates alike."""
        X = np.vstack([rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + 30.0])
        turn = np.array([[3.0, 1.0], [-2.0, 0.1]])
        own, wide, turned = (
            fit(rows, sampler="gibbs", priors=ConjugatePriors(scale=scale), tune=100)
            for rows, scale in ((X, None), (X, 0.5 * np.cov(X.T)), (X @ turn.T, "learned"))
        )
        truth = np.stack([X[:40].std(0), X[40:].std(0)]).mean()
        assert np.abs(own.params_.sds.mean((0, 1)) / truth - 1).max() < 0.25
        assert (wide.params_.sds.mean((0, 1)) > 1.3 * truth).all()
        back = turned.params_.transform(np.zeros(2), np.linalg.inv(turn))
        if (back.means[..., 0, 0].mean() > back.means[..., 1, 0].mean()) != (
            own.params_.means[..., 0, 0].mean() > own.params_.means[..., 1, 0].mean()
        ):
            back = back.permute(np.array([1, 0]))
        expected, error, _ = mean_and_error(own.params_)
        found, other, _ = mean_and_error(back)
        assert (np.abs(found - expected) < 4.5 * np.hypot(error, other)).all()

    def test_reweighted_to_the_models_priors_it_agrees_with_nuts(self, faithful, posterior_faithful):
        gibbs = fit(faithful, sampler="gibbs", priors=ConjugatePriors(2.0, shrinkage=0.16), tune=100)
        nuts = posterior_faithful
        weights = weights_to_priors(gibbs.params_, gibbs.priors_, nuts.priors_, family("full"))
        assert weights.pareto_k < 0.7
        draws = parameters(gibbs.params_)
        share = array_stats.ess(draws, method="mean", chain_axis=0, draw_axis=1) / draws[..., 0].size
        flat = draws.reshape(-1, draws.shape[-1])
        mean = weights.weights @ flat
        ess = weights.ess * share
        assert ess.min() > 150
        expected, error, sd = mean_and_error(nuts.params_)
        assert (np.abs(mean - expected) < 4.5 * np.hypot(error, sd / np.sqrt(ess))).all()
        # The test can fail: without the weights the posteriors under the two priors are seen to differ.
        unweighted = flat.mean(0)
        assert (np.abs(unweighted - expected) > 4.5 * np.hypot(error, sd / np.sqrt(share * len(flat)))).any()

    @pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DataAdvice")
    @pytest.mark.parametrize("name", FAMILIES)
    def test_rows_that_were_rounded_coarsely_have_the_posterior_that_nuts_finds(self, name, rng):
        """Steps as wide as a standard deviation: NUTS adds the rounding to the covariances, Gibbs sampling draws the rows before it."""
        X = np.round(rng.normal(size=(80, 2)) @ np.array([[1.0, 0.5], [0.0, 0.8]]))
        priors = Priors(means_scale=2.0, sds=LogNormal(0.0, 0.7))
        gibbs = fit(X, K=1, sampler="gibbs", priors=ConjugatePriors(shrinkage=0.2), covariance_type=name, tune=100)
        nuts = fit(X, K=1, sampler="nuts", priors=priors, covariance_type=name)
        weights = weights_to_priors(gibbs.params_, gibbs.priors_, nuts.priors_, family(name))
        assert weights.pareto_k < 0.7
        draws = parameters(gibbs.params_)[..., 1:]  # one weight never moves
        share = array_stats.ess(draws, method="mean", chain_axis=0, draw_axis=1) / draws[..., 0].size
        theirs = parameters(nuts.params_)[..., 1:]
        error = theirs.std((0, 1)) / np.sqrt(array_stats.ess(theirs, method="mean", chain_axis=0, draw_axis=1))
        mean = weights.weights @ draws.reshape(-1, draws.shape[-1])
        other = theirs.std((0, 1)) / np.sqrt(weights.ess * share)
        assert (np.abs(mean - theirs.mean((0, 1))) < 4.5 * np.hypot(error, other)).all()
        # The test can fail: without the rounding the groups are wider by far.
        assert (nuts.params_.sds.mean((0, 1)) - without_rounding(nuts.params_, nuts.priors_.rounding).sds.mean((0, 1)) > 0.02).all()

    def test_what_it_has_for_a_prior(self, faithful):
        found = fit(faithful, sampler="gibbs", draws=50, tune=20)
        assert found.datatree_.attrs["prior"] == "conjugate"
        assert found.priors_.df == 4.0
        lp = found.datatree_["sample_stats"]["lp"].values
        before = without_rounding(found.params_, found.priors_.rounding)
        expected = log_conjugate_prior(before, found.priors_, family("full"))
        expected = expected + found.datatree_["label_free"]["log_likelihood"].values
        np.testing.assert_allclose(lp, expected, rtol=1e-9)

    def test_refusals(self, faithful):
        with pytest.raises(InvalidParameterError, match="sampler='gibbs' works under conjugate priors only"):
            fit(faithful, sampler="gibbs", priors=Priors())
        with pytest.raises(InvalidParameterError, match="ConjugatePriors are for sampler='gibbs'"):
            fit(faithful, sampler="laplace", priors=ConjugatePriors())
        with pytest.raises(InvalidParameterError, match=r"sampler='gibbs' .* complete rows"):
            fit(faithful.mask(faithful > 90), sampler="gibbs")


class TestImportance:
    def test_a_normals_density_is_scipys(self, rng):
        normal = Normal(rng.normal(size=3), rng.normal(size=(3, 3)))
        q, log_q = normal.draw(5, rng)
        np.testing.assert_allclose(log_q, stats.multivariate_normal(normal.center, normal.factor @ normal.factor.T).logpdf(q))

    def test_impossible_draws_get_no_weight_and_too_many_are_refused(self, rng):
        ratio = rng.normal(size=500) * 0.1
        ratio[:100] = -np.inf
        weights = pareto_smoothed(ratio).weights
        assert (weights[:100] == 0).all()
        assert weights.sum() == pytest.approx(1.0)
        with pytest.raises(InvalidDataError, match="only 5 of 500 draws"):
            pareto_smoothed(np.where(np.arange(500) < 5, 0.0, -np.inf))

    def test_k_is_high_where_tails_are_missing(self, rng):
        z = rng.standard_normal(4000) * 0.3
        assert pareto_smoothed(stats.norm.logpdf(z) - stats.norm.logpdf(z, scale=0.3)).pareto_k > 0.7

    @given(
        st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda w: sum(w) > 1e-3), st.integers(1, 50), st.integers(0, 99)
    )
    def test_resampling_keeps_proportions_to_less_than_one(self, weights, size, seed):
        share = np.array(weights) / np.sum(weights)
        chosen = resample(share, size, np.random.default_rng(seed))
        assert len(chosen) == size
        counts = np.bincount(chosen, minlength=len(share))
        assert (np.abs(counts - size * share) < 1 + 1e-6).all()

    def test_densities_of_many_draws_are_those_of_each(self, rng):
        _, _, start, density = small_problem()
        q = density.space.unconstrain(start) + 0.1 * rng.normal(size=(150, density.space.n_dim))
        np.testing.assert_array_equal(log_densities(density, q), [density(row)[0] for row in q])
        assert log_densities(density, np.full((1, density.space.n_dim), 1e4)) == -np.inf
