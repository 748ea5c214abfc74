"""The posterior of a mixture whose number of components is not known, against enumeration, quadrature and SciPy."""

import warnings

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.bayes import _compiled_component as component
from bayesgmm.bayes import _compiled_split_merge as moves
from bayesgmm.bayes import _compiled_telescoping as sweeps
from bayesgmm.bayes.draws import NumberModel, SamplerSettings
from bayesgmm.bayes.telescoping import sample_telescoping
from bayesgmm.covariance import family
from bayesgmm.estimators._number import NumberDraws
from bayesgmm.params import MixtureParams
from bayesgmm.priors import (
    BetaNegativeBinomial,
    Concentration,
    Gamma,
    InverseGamma,
    LogNormal,
    Poisson,
    Priors,
    Probabilities,
    Uniform,
)
from bayesgmm.priors.model import draw_mixtures
from bayesgmm.rows import MemoryRows

FIVE = np.array([[-2.0], [-1.7], [0.1], [1.9], [2.3]])


def partitions(n):
    """All partitions of n points, as labels in the order of their first points."""

    def rest(labels):
        if len(labels) == n:
            yield tuple(labels)
            return
        for k in range(max(labels, default=-1) + 2):
            yield from rest([*labels, k])

    yield from rest([])


def groups_of(labels):
    return [tuple(i for i, own in enumerate(labels) if own == k) for k in range(max(labels) + 1)]


def number_model(X, sds, kind="full", *, number=None, concentration=None, most=6, **more):
    kind = family(kind)
    priors = Priors(1.0, means_loc=0.0, means_scale=2.0, sds=sds, smallest_sd=0.0, frame="columns", **more)
    resolved = priors.resolve(MemoryRows(X), 1, kind)
    return NumberModel(kind, resolved, number or Uniform(), concentration or Concentration(1.0), most)


def shares(values, most):
    """Shares of the numbers 1 to most, and their Monte Carlo errors."""
    is_it = (values[..., None] == np.arange(1, most + 1)).astype(float)
    return is_it.mean((0, 1)), array_stats.mcse(is_it, method="mean", chain_axis=0, draw_axis=1)


def agree(found, exact, errors):
    # Five standard errors, and for numbers that no draw has what one draw more would have been.
    np.testing.assert_array_less(np.abs(found - exact), 5.0 * np.nan_to_num(errors) + 1e-3)


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_probabilities_of_all_partitions_add_up_to_one(dynamic):
    logs = np.append(-np.inf, BetaNegativeBinomial().log_probability(4))
    total = 0.0
    for labels in partitions(6):
        counts = np.array([len(group) for group in groups_of(labels)], dtype=float)
        if len(counts) <= 4:
            total += np.exp(moves.log_partition(counts, len(counts), 6, 0.7, dynamic, logs))
    assert total == pytest.approx(1.0, abs=1e-12)


def test_a_partition_has_the_probability_that_labels_from_dirichlet_weights_give_it():
    logs = np.append(-np.inf, Poisson(1.0).log_probability(3))
    rng = np.random.default_rng(1)
    K = rng.choice(4, 200_000, p=np.exp(logs))
    seen = np.zeros(3)
    for k in (1, 2, 3):
        weights = rng.dirichlet(np.full(k, 1.5), int((k == K).sum()))
        labels = (rng.random((len(weights), 4, 1)) > weights.cumsum(1)[:, None, :-1]).sum(-1)
        n = np.array([len(set(row)) for row in labels])
        seen += np.bincount(n, minlength=4)[1:4]
    exact = np.zeros(3)
    for labels in partitions(4):
        counts = np.array([len(group) for group in groups_of(labels)], dtype=float)
        if len(counts) < 4:
            exact[len(counts) - 1] += np.exp(moves.log_partition(counts, len(counts), 4, 1.5, False, logs))
    np.testing.assert_allclose(seen / len(K), exact, atol=5 * np.sqrt(0.25 / len(K)))


def belief(rng, shape, D):
    A = rng.normal(size=(D, D))
    scatter = A @ A.T + np.eye(D)
    if shape != component.FULL:
        scatter = np.diag(np.diag(scatter))
    df = {component.FULL: D + 1.5, component.DIAGONAL: 3.5, component.SPHERICAL: 2.0 + 1.5 * D}[shape]
    return component.Belief(shape, rng.normal(size=D), scatter, np.zeros((D, D)), np.array([0.3, df]))


def marginal(one, rows):
    about = rows - rows.mean(0)
    return moves.log_marginal(one, float(len(rows)), rows.mean(0), about.T @ about)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    D=st.integers(1, 4),
    shape=st.sampled_from([component.FULL, component.DIAGONAL, component.SPHERICAL]),
)
def test_rows_are_dealt_out_by_what_the_conjugate_model_predicts(seed, D, shape):
    rng = np.random.default_rng(seed)
    one, X = belief(rng, shape, D), rng.normal(size=(9, D))
    sides = np.zeros(7, np.int8)
    found = moves.deal(X, np.arange(2, 9), 0, 1, one, sides, rng, False)
    sets, expected = [[0], [1]], 0.0
    for side, row in zip(sides, range(2, 9), strict=True):
        odds = [np.log(len(some)) + marginal(one, X[[*some, row]]) - marginal(one, X[some]) for some in sets]
        expected += odds[side] - logsumexp(odds)
        sets[side].append(row)
    assert found == pytest.approx(expected, abs=1e-8)
    assert moves.deal(X, np.arange(2, 9), 0, 1, one, sides, rng, True) == pytest.approx(found, abs=1e-10)


def test_the_marginal_likelihood_is_the_product_of_t_densities():
    rng = np.random.default_rng(3)
    one, X = belief(rng, component.FULL, 3), rng.normal(size=(6, 3))
    kappa, df = one.numbers
    mean, scatter, total = one.mean, one.scatter, 0.0
    for x in X:
        own = df - 2.0
        total += stats.multivariate_t(mean, scatter * (kappa + 1.0) / (kappa * own), own).logpdf(x)
        scatter = scatter + kappa / (kappa + 1.0) * np.outer(x - mean, x - mean)
        mean = (kappa * mean + x) / (kappa + 1.0)
        kappa, df = kappa + 1.0, df + 1.0
    assert marginal(one, X) == pytest.approx(total, abs=1e-9)


def exact_numbers(model, log_marginals):
    """Probabilities of 1 to ``most`` groups, given the log marginal likelihood of every partition."""
    logs = np.append(-np.inf, model.number.log_probability(model.most))
    out = np.full(model.most, -np.inf)
    for labels, value in log_marginals.items():
        counts = np.array([len(group) for group in groups_of(labels)], dtype=float)
        if len(counts) > model.most:
            continue
        prior = moves.log_partition(counts, len(counts), len(FIVE), model.concentration.alpha, model.concentration.dynamic, logs)
        out[len(counts) - 1] = np.logaddexp(out[len(counts) - 1], prior + value)
    return np.exp(out - logsumexp(out))


def apart(sds, X):
    """Log marginal likelihoods of all partitions where every group has a standard deviation of its own: quadrature on a grid."""
    means, logs = np.linspace(-9.0, 9.0, 500), np.linspace(np.log(0.02), np.log(12.0), 300)
    prior = stats.norm.logpdf(means, 0.0, 2.0)[:, None] + sds.frozen().logpdf(np.exp(logs)) + logs
    rows = [stats.norm.logpdf(x, means[:, None], np.exp(logs)) for x in X[:, 0]]
    step = np.log((means[1] - means[0]) * (logs[1] - logs[0]))
    known = {}
    for labels in partitions(len(X)):
        for group in groups_of(labels):
            if group not in known:
                known[group] = logsumexp(prior + sum(rows[i] for i in group)) + step
    return {labels: sum(known[group] for group in groups_of(labels)) for labels in partitions(len(X))}


def together(sds, X):
    """The same where all groups have one: means are integrated out in closed form, and it is by quadrature."""
    out = {}
    for labels in partitions(len(X)):
        Z = np.eye(max(labels) + 1)[list(labels)]

        def height(log_sd, Z=Z):
            s = np.exp(log_sd)
            covariance = s * s * np.eye(len(X)) + 4.0 * Z @ Z.T
            return np.exp(stats.multivariate_normal.logpdf(X[:, 0], np.zeros(len(X)), covariance) + sds.frozen().logpdf(s) + log_sd)

        out[labels] = np.log(integrate.quad(height, np.log(0.01), np.log(20.0), limit=200)[0])
    return out


@pytest.mark.parametrize(
    ("kind", "sds", "number", "concentration"),
    [
        ("full", LogNormal(-0.5, 0.6), BetaNegativeBinomial(), Concentration(2.0, dynamic=True)),
        ("diag", Gamma(3.0, 4.0), Poisson(2.0), Concentration(0.5)),
        ("full", InverseGamma(2.0, 0.5), Poisson(1.0), Concentration(1.0)),
        ("spherical", LogNormal(-0.5, 0.6), Probabilities([0.2, 0.5, 0.3]), Concentration(1.0)),
        ("tied", LogNormal(-0.5, 0.6), Uniform(), Concentration(1.0)),
    ],
)
def test_numbers_of_groups_are_those_of_all_partitions(kind, sds, number, concentration):
    model = number_model(FIVE, sds, kind, number=number, concentration=concentration, most=3 if kind == "spherical" else 6)
    found, _ = sample_telescoping(FIVE, model, SamplerSettings(12_000, 200, 4, None, 7, False))
    exact = exact_numbers(model, (together if kind == "tied" else apart)(sds, FIVE))
    agree(*_ordered(shares(found.statistics["n_filled"], model.most), exact))


def _ordered(found, exact):
    return found[0], exact, found[1]


def test_weights_are_dirichlet_given_counts_and_components_without_rows_come_from_the_prior():
    sds = LogNormal(-0.5, 0.2, shared=1.0, factors=(1.0, 2.0, 3.0))
    model = number_model(FIVE, sds, most=4)
    found, counts = sample_telescoping(FIVE, model, SamplerSettings(10_000, 200, 4, None, 3, False))
    K, weights = found.statistics["n_components"], found.params.weights
    there = np.arange(counts.shape[-1]) < K[..., None]
    alpha = np.where(there, counts + 1.0, 0.0)
    total = alpha.sum(-1)
    # Moments of a Dirichlet distribution (Johnson, Kotz and Balakrishnan 2000, section 49.1), averaged over counts: they have the weights'.
    squares, expected = np.square(weights).sum(-1), (alpha * (alpha + 1.0)).sum(-1) / (total * (total + 1.0))
    difference = squares - expected
    error = array_stats.mcse(difference, method="mean", chain_axis=0, draw_axis=1)
    assert abs(difference.mean()) < 5 * float(error)
    assert (weights[~there] == 0.0).all()
    empty = there & (counts == 0)
    means, logs = found.params.means[..., 0][empty], np.log(found.params.scale_tril[..., 0, 0][empty])
    assert len(means) > 1000
    assert stats.kstest(means[::20], stats.norm(0.0, 2.0).cdf).pvalue > 1e-3
    assert np.isfinite(logs).all()


def test_missing_values_are_drawn_given_the_rest_of_the_row():
    rng = np.random.default_rng(5)
    A = rng.normal(size=(3, 3))
    covariance, mean = A @ A.T + np.eye(3), rng.normal(size=3)
    x = np.array([0.5, np.nan, np.nan])
    out = np.empty((40_000, 3))
    for row in out:
        sweeps._fill(x, mean, np.linalg.cholesky(covariance), rng, row)
    gain = covariance[1:, 0] / covariance[0, 0]
    rest = covariance[1:, 1:] - np.outer(gain, covariance[0, 1:])
    assert (out[:, 0] == 0.5).all()
    np.testing.assert_allclose(out[:, 1:].mean(0), mean[1:] + gain * (0.5 - mean[0]), atol=5 * np.sqrt(rest.max() / len(out)))
    np.testing.assert_allclose(np.cov(out[:, 1:].T), rest, atol=0.05 * rest.max())


@pytest.mark.parametrize(("kind", "gaps"), [("full", False), ("tied", False), ("diag", True), ("full", True)])
def test_ranks_of_the_truth_among_the_draws_are_uniform(kind, gaps):
    """A small simulation-based calibration (Talts et al. 2018, arXiv:1804.06788); the long one is in benchmarks/calibration."""
    number, most, ranks = BetaNegativeBinomial(), 4, []
    sds = LogNormal(-0.5, 0.6) if kind == "tied" else LogNormal(-0.5, 0.2, shared=1.0, factors=(1.0, 2.0, 3.0))
    rng = np.random.default_rng(11)
    for seed in range(60):
        K = int(rng.choice(most, p=np.exp(number.log_probability(most)))) + 1
        model = number_model(rng.normal(size=(9, 2)), sds, kind, number=number, most=most, eta=(0.25, 1.0, 4.0))
        given_K = Priors(
            1.0, means_loc=0.0, means_scale=2.0, sds=sds, smallest_sd=0.0, frame="columns", eta=(0.25, 1.0, 4.0)
        ).resolve(MemoryRows(rng.normal(size=(9, 2))), K, family(kind))
        truth = draw_mixtures(given_K, family(kind), 1, rng)[0]
        X, _ = truth.sample(25, random_state=rng)
        X = np.array(X)
        if gaps:
            X[rng.random(X.shape) < 0.15] = np.nan
            X = X[~np.isnan(X).all(1)]
        found, _ = sample_telescoping(X, model, SamplerSettings(60, 100, 1, 1, seed, False))
        drawn = found.params.log_density(X).sum(-1).ravel()
        filled = found.statistics["n_components"].ravel()
        jitter = rng.random(2)
        ranks.append(
            [
                (drawn < truth.log_density(X).sum()).mean(),
                (filled < K).mean() + jitter[0] * (filled == K).mean(),
            ]
        )
    for name, own in zip(("log-likelihood", "components"), np.array(ranks).T, strict=True):
        assert stats.kstest(own, "uniform").pvalue > 1e-3, name


def test_a_wrong_prior_of_the_number_is_noticed_by_ranks():
    rng, ranks = np.random.default_rng(2), []
    for seed in range(60):
        X = rng.normal(size=(12, 1))  # always one component, told a prior that thinks of many
        model = number_model(X, LogNormal(-0.5, 0.6), number=Uniform(), most=6)
        found, _ = sample_telescoping(X, model, SamplerSettings(60, 60, 1, 1, seed, False))
        drawn = found.statistics["n_components"]
        ranks.append((drawn < 1).mean() + rng.random() * (drawn == 1).mean())
    assert stats.kstest(ranks, "uniform").pvalue < 1e-3


def test_chains_do_not_depend_on_how_many_draws_are_made_at_once(monkeypatch):
    from bayesgmm.bayes import rounds

    model = number_model(FIVE, LogNormal(-0.5, 0.6))
    fits = []
    for seconds in (1e-6, 10.0):
        monkeypatch.setattr(rounds, "_ROUND", seconds)
        fits.append(sample_telescoping(FIVE, model, SamplerSettings(50, 20, 2, 2, 1, False))[0])
    np.testing.assert_array_equal(fits[0].params.means, fits[1].params.means)
    np.testing.assert_array_equal(fits[0].statistics["n_filled"], fits[1].statistics["n_filled"])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), K=st.integers(1, 6))
def test_groups_apart_are_the_hills_of_the_components_that_have_rows(seed, K):
    rng = np.random.default_rng(seed)
    weights, means = rng.dirichlet(np.ones(K), (1, 3)), rng.normal(0.0, 3.0, (1, 3, K, 2))
    params = MixtureParams(weights, means, np.broadcast_to(np.eye(2), (1, 3, K, 2, 2)))
    counts = rng.integers(0, 3, (1, 3, K))
    counts[..., 0] = 1
    from bayesgmm.bayes.draws import Draws

    drawn = Draws(params, {"n_filled": (counts > 0).sum(-1)}, "test", 0.0, 0)
    for t in range(3):
        there = counts[0, t] > 0
        alone = MixtureParams(weights[0, t, there] / weights[0, t, there].sum(), means[0, t, there], params.scale_tril[0, t, there])
        assert NumberDraws(drawn, counts).n_groups[0, t] == alone.hills().max() + 1


def test_priors_of_the_number_are_scipys():
    n = np.arange(200)
    for prior, other in (
        (BetaNegativeBinomial(1.0, 4.0, 3.0), stats.betanbinom(1.0, 4.0, 3.0)),
        (Poisson(2.5), stats.poisson(2.5)),
    ):
        exact = other.pmf(n) / other.pmf(n).sum()
        np.testing.assert_allclose(np.exp(prior.log_probability(200)), exact, rtol=1e-9)


def galaxies(draws):
    """Velocities under the prior of Richardson and Green (1997), and what their program gives for 3 to 8 components."""
    rows = np.sort(bg.datasets.load_galaxies().to_numpy().ravel())
    rows[77] = 26.96  # as they had it
    spread, middle = np.ptp(rows), 0.5 * (rows.max() + rows.min())
    sds = InverseGamma(2.0, 0.02 * spread**2, shared=0.2)
    priors = Priors(1.0, means_loc=middle, means_scale=spread, sds=sds, smallest_sd=0.0, number=Uniform())
    model = bg.BayesianGaussianMixture("auto", priors=priors, draws=draws, random_state=1, progressbar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # EM, whose labels the draws take, closes in on a single row
        fit = model.fit(rows[:, None])
    return fit, np.array([0.061, 0.134, 0.183, 0.194, 0.157, 0.110])


def test_galaxies_have_the_numbers_that_richardson_and_green_found():
    fit, expected = galaxies(1000)
    table = fit.number_of_components().loc[3:8]
    assert (abs(table["components"] - expected) < 5 * table["components_mcse"] + 0.005).all()


@pytest.mark.slow
def test_galaxies_to_the_second_digit():
    fit, expected = galaxies(10_000)
    found = fit.number_of_components()["components"]
    distance = 0.5 * (abs(found.loc[3:8] - expected).sum() + abs(1.0 - expected.sum() - (1.0 - found.loc[3:8].sum())))
    assert distance < 0.02
    # The plain sampler gives 3.4 effective draws of "three components" in 1,000 sweeps.
    three = (fit.datatree_["sample_stats"]["n_components"].values == 3).astype(float)
    effective = float(array_stats.ess(three, chain_axis=0, draw_axis=1))
    assert effective > 34.0 * three.size * fit.datatree_.attrs["sweeps_per_draw"] / 1000.0
