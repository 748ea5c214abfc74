"""Draws from the prior against SciPy, what cannot be drawn, and the picture of what the prior believes."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import bayesgmm as bg
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.plots import plot_prior
from bayesgmm.plots.prior import _ticks
from bayesgmm.priors import LKJ, Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, InverseGamma, LogNormal, Priors
from bayesgmm.rows import MemoryRows

LEAST_P = 1e-4  # p-values below it fail: seeds are fixed, so a test that passes once passes always
SDS = [
    HalfNormal(0.7),
    HalfCauchy(0.7),
    HalfStudentT(4.0, 0.7),
    LogNormal(-0.3, 0.8),
    LogNormal(-0.3, 0.4, shared=0.7),
    Exponential(0.7),
    Gamma(2.5, 1.5),
    InverseGamma(2.5, 1.5),
    InverseGamma(2.5, 1.5, shared=2.0),
]
DATA = np.random.default_rng(5).normal(size=(20, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, -1.0]


@pytest.fixture(autouse=True)
def close_figures():
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("eta", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("D", [2, 3, 6])
def test_every_correlation_is_a_beta_variable(eta, D):
    """Lewandowski, Kurowicka and Joe (2009), section 3: (r + 1) / 2 is Beta(eta - 1 + D / 2, the same) for every pair."""
    factors = LKJ((eta,)).draw_factors(D, 3000, 1, np.random.default_rng(1))[:, 0]
    corr = factors @ np.swapaxes(factors, -1, -2)
    np.testing.assert_allclose(np.diagonal(corr, axis1=-2, axis2=-1), 1.0, rtol=1e-12)
    shape = eta - 1 + D / 2
    for i, j in zip(*np.tril_indices(D, -1), strict=True):
        assert stats.kstest((corr[:, i, j] + 1) / 2, stats.beta(shape, shape).cdf).pvalue > LEAST_P


def test_correlations_of_another_eta_are_told_apart():
    factors = LKJ((1.0,)).draw_factors(3, 3000, 1, np.random.default_rng(1))[:, 0]
    corr = (factors @ np.swapaxes(factors, -1, -2))[:, 1, 0]
    assert stats.kstest((corr + 1) / 2, stats.beta(2.0, 2.0).cdf).pvalue < LEAST_P


def test_determinants_have_the_mean_of_the_density():
    """E det R from the LKJ constants: the density times the determinant is that of eta + 1, up to its constant."""
    eta, D = 1.5, 4
    factors = LKJ((eta,)).draw_factors(D, 20_000, 1, np.random.default_rng(2))[:, 0]
    det = np.diagonal(factors, axis1=-2, axis2=-1).prod(-1) ** 2
    wanted = np.exp(bg.priors.lkj_log_constant(eta, D) - bg.priors.lkj_log_constant(eta + 1, D))
    assert abs(det.mean() - wanted) < 4 * det.std() / np.sqrt(len(det))


def test_one_eta_holds_for_all_matrices_of_a_mixture():
    """Under (0.5, 20) matrices of one mixture are alike: their determinants correlate as those of a mixture of two distributions do."""
    prior, D, n = LKJ((0.5, 20.0)), 3, 20_000
    factors = prior.draw_factors(D, n, 2, np.random.default_rng(3))
    det = np.diagonal(factors, axis1=-2, axis2=-1).prod(-1) ** 2
    means = [np.exp(bg.priors.lkj_log_constant(eta, D) - bg.priors.lkj_log_constant(eta + 1, D)) for eta in prior.etas]
    assert abs(det.mean() - np.mean(means)) < 4 * det.std() / np.sqrt(n)
    product = det[:, 0] * det[:, 1]
    assert abs(product.mean() - np.mean(np.square(means))) < 4 * product.std() / np.sqrt(n)


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical"])
def test_weights_means_and_sds_follow_their_distributions(name):
    prior = Priors([0.5, 2.0, 3.0], means_loc=[1.0, 2.0, 3.0], means_scale=[0.1, 1.0, 10.0], sds=HalfNormal(0.7))
    draws = prior.sample(DATA, 3, name, n_draws=3000, random_state=1)
    assert draws.batch_shape == (3000,)
    for k, a in enumerate([0.5, 2.0, 3.0]):
        assert stats.kstest(draws.weights[:, k], stats.beta(a, 5.5 - a).cdf).pvalue > LEAST_P
        for d in range(3):
            normal = stats.norm(d + 1, 10.0 ** (d - 1))
            assert stats.kstest(draws.means[:, k, d], normal.cdf).pvalue > LEAST_P
            assert stats.kstest(draws.sds[:, k, d], stats.halfnorm(scale=0.7).cdf).pvalue > LEAST_P
    covariance = np.cov(draws.weights, rowvar=False)
    np.testing.assert_allclose(covariance, stats.dirichlet([0.5, 2.0, 3.0]).cov(), atol=0.004)


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical"])
def test_draws_belong_to_their_family(name):
    """The unconstrained space of the family holds them: there and back gives the same mixtures."""
    draws = Priors().sample(DATA, 3, name, n_draws=20, random_state=1)
    space = Space(Priors().resolve(MemoryRows(DATA), 3, family(name)), family(name))
    back = space.constrain(space.unconstrain(draws))
    np.testing.assert_allclose(back.covariances, draws.covariances, rtol=1e-8)
    assert draws.is_diagonal == (name in ("diag", "spherical"))
    assert (np.ptp(draws.sds, axis=1).max() == 0) == (name == "tied")


@pytest.mark.parametrize("sds", SDS, ids=lambda p: type(p).__name__)
def test_every_prior_of_the_sds_is_drawn(sds):
    draws = Priors(sds=sds).sample(DATA, 2, "diag", n_draws=400, random_state=3).sds.ravel()
    same = sds.frozen().rvs(size=4000, random_state=np.random.default_rng(4))
    assert stats.ks_2samp(draws, same).pvalue > LEAST_P


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), K=st.integers(1, 4), D=st.integers(1, 5), name=st.sampled_from(["full", "tied", "spherical"])
)
def test_the_same_seed_gives_the_same_mixtures_and_another_others(seed, K, D, name):
    X = np.random.default_rng(0).normal(size=(12, D))
    one, two = (Priors().sample(X, K, name, n_draws=3, random_state=seed) for _ in range(2))
    other = Priors().sample(X, K, name, n_draws=3, random_state=seed + 1)
    for attribute in ("weights", "means", "scale_tril"):
        np.testing.assert_array_equal(getattr(one, attribute), getattr(two, attribute))
    assert not np.array_equal(one.means, other.means)
    assert one.scale_tril.shape == (3, K, D, D)
    np.testing.assert_allclose(one.weights.sum(-1), 1.0)


def test_defaults_scale_with_the_data_and_gaps_are_taken():
    units = np.array([10.0, 0.1, 1.0])
    here = Priors().sample(DATA, 2, n_draws=5, random_state=1)
    there = Priors().sample(DATA * units + 7.0, 2, n_draws=5, random_state=1)
    np.testing.assert_allclose(there.means, here.means * units + 7.0)
    np.testing.assert_allclose(there.sds, here.sds * units)
    gaps = DATA.copy()
    gaps[0, 0] = np.nan
    assert Priors().sample(gaps, 2, n_draws=5, random_state=1).means.shape == (5, 2, 3)


def test_predictive_rows_have_the_prior_s_mean_and_variance():
    """E Var = E sd^2 + Var of the mean, by the law of total variance, for one component and one column."""
    prior = Priors(means_loc=3.0, means_scale=2.0, sds=HalfNormal(1.5))
    rows, labels = prior.sample(DATA[:, :1], 1, n_draws=20_000, random_state=1).sample(1, random_state=2)
    assert not labels.any()
    assert abs(rows.mean() - 3.0) < 4 * 2.5 / np.sqrt(20_000)
    assert rows.var() == pytest.approx(2.0**2 + 1.5**2, rel=0.05)


def test_nearly_singular_and_nearly_empty_draws_are_still_mixtures():
    draws = Priors(concentration=1e-3, eta=1e-3, sds=Gamma(1e-3, 1.0)).sample(DATA, 3, n_draws=500, random_state=1)
    assert np.isfinite(draws.scale_tril).all()
    assert (np.diagonal(draws.scale_tril, axis1=-2, axis2=-1) > 0).all()
    assert draws.weights.max(-1).min() > 0.5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Priors().sample(DATA, 2, n_draws=0), "n_draws must be a whole number of at least 1, got 0"),
        (lambda: Priors().sample(DATA, 2.5), "n_components must be a whole number"),
        (lambda: Priors().sample(DATA, True), "n_components must be a whole number"),
        (lambda: Priors().sample(DATA, 2, "VVE"), "covariance_type must be one of 'full', .* for a prior, got 'VVE'"),
        (lambda: Priors().sample(DATA, 2, "round"), "covariance_type must be one of .* got 'round'"),
        (lambda: Priors(concentration=[1, 2]).sample(DATA, 3), r"concentration .* fits \(3,\), got \(2,\)"),
        (lambda: Priors(means_loc=[1, 2]).sample(DATA, 2), r"means_loc .* fits \(2, 3\), got \(2,\)"),
        (lambda: Priors(means_scale=[[1], [2], [3]]).sample(DATA, 2), r"means_scale .* fits \(2, 3\), got \(3, 1\)"),
        (lambda: Priors(sds=HalfNormal([1, 2])).sample(DATA, 2), r"HalfNormal: .* fits \(2, 3\)"),
        (lambda: Priors(sds=LogNormal(0, 1e3)).sample(DATA, 2, random_state=1), "prior of the sds is so wide .* narrow it"),
        (lambda: Priors(means_scale=1e200).sample(DATA, 2, random_state=1), "prior of the means is so wide"),
        (lambda: Priors(means_scale=np.inf), "means_scale must be positive and finite, got inf"),
        (lambda: Priors(means_scale=0), "means_scale must be positive and finite, got 0"),
        (lambda: Priors(concentration=[]), "concentration must be positive and finite"),
        (lambda: Priors(concentration="flat"), "concentration must be positive and finite, got 'flat'"),
        (lambda: Priors(means_loc="here"), "means_loc must be finite, got 'here'"),
        (lambda: HalfNormal(np.inf), "HalfNormal: scale must be positive and finite, got inf"),
        (lambda: HalfCauchy("wide"), "HalfCauchy: scale must be positive and finite, got 'wide'"),
        (lambda: plot_prior(DATA, 2, n_draws=20, axs=plt.subplots(1, 2)[1]), "axs must hold four axes; got 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, words):
    with pytest.raises(InvalidParameterError, match=words):
        make()


def test_data_that_cannot_scale_a_prior_are_refused():
    with pytest.raises(InvalidDataError):
        Priors().sample(DATA[:1], 2)
    with pytest.raises(InvalidDataError):
        Priors().sample(np.ones((5, 2)), 2)


def test_the_picture_shows_the_draws(faithful):
    axes = plot_prior(faithful, 5, priors=Priors(concentration=0.05), n_draws=1000, random_state=1)
    assert [ax.get_xlabel() for ax in axes][1] == "occupied components, for 272 rows"
    shares = np.array([bar.get_height() for bar in axes[1].patches])
    assert shares.sum() == pytest.approx(1.0)
    # The number of rows in component k is beta-binomial, so its chance of none is known exactly.
    empty = stats.betabinom(272, 0.05, 0.2).pmf(0)
    assert abs(shares @ np.arange(1, 6) - 5 * (1 - empty)) < 4 * np.sqrt(5 / 1000)
    assert [label.get_text() for label in axes[2].get_yticklabels()] == ["eruptions", "waiting"]
    median = axes[2].lines[2].get_xdata()[0]
    assert (
        0.4 < median < 1.0
    )  # groups are expected to be narrower than all rows, and about as wide for one number of groups as another
    axes[0].get_figure().canvas.draw()


@pytest.mark.parametrize("case", [(1, 1, "full"), (3, 3, "spherical")])
def test_the_picture_takes_one_component_one_column_and_given_axes(case):
    K, D, name = case
    given = plt.subplots(1, 4)[1]
    axes = plot_prior(DATA[:, :D], K, name, Priors(sds=HalfCauchy(0.1)), n_draws=50, axs=given)
    assert list(axes) == list(given)
    assert len(axes[1].patches) == K
    given[0].get_figure().canvas.draw()


@pytest.mark.parametrize("ends", [(0.11, 3.3), (0.9, 1.1), (0.05, 20.0), (1e-150, 1.0), (0.99999, 1.2)])
def test_ticks_are_a_few_round_numbers_inside(ends):
    ticks = _ticks(*ends)
    assert 2 <= len(ticks) <= 7
    assert all(ends[0] <= tick <= ends[1] and len(f"{tick:g}") <= 6 for tick in ticks)


def test_nothing_of_a_crowded_picture_is_cut_off():
    X = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 20)), columns=[f"a rather long name {d}" for d in range(20)])
    axes = plot_prior(X, 25, "diag", Priors(concentration=0.02), n_draws=100)
    assert axes[0].get_xlabel().endswith("(12 of 25)")
    assert axes[2].get_xlabel().endswith("(12 of 20)")
    figure = axes[0].get_figure()
    figure.canvas.draw()
    page, drawn = figure.bbox_inches, figure.get_tightbbox()
    assert drawn.x0 >= -0.02
    assert drawn.x1 <= page.x1 + 0.02
    assert drawn.y0 >= -0.02
    assert drawn.y1 <= page.y1 + 0.02
