"""The noise component: a uniform density in a box, with its own weight, label and share of every row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.em import Noise
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError


def groups_in_noise(rng, n_noise=60):
    groups = np.concatenate([rng.normal([0, 0], 0.5, (120, 2)), rng.normal([6, 4], 0.5, (80, 2))])
    X = np.concatenate([groups, rng.uniform([-8, -8], [14, 12], (n_noise, 2))])
    return X, np.repeat([0, 1, -1], [120, 80, n_noise])


@pytest.fixture(scope="module")
def fitted():
    X, truth = groups_in_noise(np.random.default_rng(5))
    return bg.GaussianMixture(2, noise=True, random_state=0).fit(X), X, truth


def density(em, X):
    """Straight from the definition, on the natural scale."""
    noise = em._noise
    return (1 - em.noise_weight_) * np.exp(em.params_.log_density(X)) + em.noise_weight_ * np.exp(-noise.log_volume)


def test_groups_are_found_among_noise_and_noise_is_named(fitted):
    em, X, truth = fitted
    labels = em.predict(X)
    assert (labels == truth).mean() > 0.95
    assert em.noise_weight_ == pytest.approx(60 / 260, abs=0.05)
    np.testing.assert_allclose(em.means_, [[0, 0], [6, 4]], atol=0.15)
    without = bg.GaussianMixture(2, random_state=0).fit(X)
    assert without.bic(X) > em.bic(X)


def test_density_and_responsibilities_are_those_of_the_definition(fitted):
    em, X, _ = fitted
    assert em.log_likelihood_ == pytest.approx(np.log(density(em, X)).sum(), rel=1e-12)
    np.testing.assert_allclose(em.score_samples(X), np.log(density(em, X)), rtol=1e-12)
    r = em.predict_proba(X)
    assert r.shape == (260, 3)
    np.testing.assert_allclose(r.sum(1), 1.0)
    np.testing.assert_allclose(r[:, 2], em.noise_weight_ * np.exp(-em._noise.log_volume) / density(em, X), rtol=1e-9)
    assert em.responsibilities().component.values.tolist() == [0, 1, -1]
    np.testing.assert_allclose(r[:, 2].mean(), em.noise_weight_, atol=1e-5)


def test_em_climbs_and_stands_still(fitted):
    em, X, _ = fitted
    trace = em.log_likelihood_trace_
    assert (np.diff(trace) >= -1e-9 * np.abs(trace[:-1])).all()
    for change in (0.01, -0.01):
        moved = bg.MixtureParams(em.weights_, em.means_ + change, em.params_.scale_tril)
        here = (1 - em.noise_weight_) * np.exp(moved.log_density(X)) + em.noise_weight_ * np.exp(-em._noise.log_volume)
        assert np.log(here).sum() < em.log_likelihood_


def test_criteria_count_one_more_parameter(fitted):
    em, X, _ = fitted
    assert em.n_parameters_ == 1 + 2 * 2 + 2 * 3 + 1
    assert em.bic(X) == pytest.approx(-2 * em.log_likelihood_ + 12 * np.log(260))
    assert em.icl(X) == pytest.approx(em.bic(X) - 2 * np.log(em.predict_proba(X).max(1)).sum())


def test_drawn_rows_look_like_the_data(fitted):
    em, _, _ = fitted
    X, labels = em.sample(20_000, random_state=3)
    share = (labels == -1).mean()
    assert abs(share - em.noise_weight_) < 4 * np.sqrt(share * (1 - share) / 20_000)
    inside = (X[labels == -1] - em._noise.origin) / em._noise.scale @ em._noise.axes
    assert (inside >= em._noise.low - 1e-9).all()
    assert (inside <= em._noise.high + 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), D=st.integers(1, 4), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_the_box_holds_the_data_and_is_no_larger_than_the_one_along_columns(seed, D, scale):
    rng = np.random.default_rng(seed)
    X = scale * (rng.normal(size=(30, D)) @ rng.normal(size=(D, D)) + 1e3)
    box = Noise.around(X)
    inside = (X - box.origin) / box.scale @ box.axes
    slack = 1e-9 * np.abs(inside).max()
    assert (inside >= box.low - slack).all()
    assert (inside <= box.high + slack).all()
    assert box.log_volume <= np.log(np.ptp(X, axis=0)).sum() + 1e-12
    np.testing.assert_allclose(box.axes.T @ box.axes, np.eye(D), atol=1e-12)


def test_units_do_not_matter(fitted):
    em, X, _ = fitted
    scaled = bg.GaussianMixture(2, noise=True, random_state=0).fit(1e5 + X * 1e-3)
    assert scaled.noise_weight_ == pytest.approx(em.noise_weight_, rel=1e-5)
    assert scaled.log_likelihood_ == pytest.approx(em.log_likelihood_ - 2 * len(X) * np.log(1e-3), rel=1e-8)


def test_families_weights_and_priors_go_with_noise(rng):
    X, truth = groups_in_noise(rng)
    for settings_ in ({"covariance_type": "tied"}, {"covariance_type": "VEV"}, {"equal_weights": True}, {"priors": bg.Priors()}):
        em = bg.GaussianMixture(2, noise=True, random_state=0, **settings_).fit(X)
        assert (em.predict(X) == truth).mean() > 0.9
        assert (np.diff(em.log_likelihood_trace_) >= -1e-8 * len(X)).all()
    twice = bg.GaussianMixture(2, noise=True, random_state=0).fit(np.concatenate([X, X]))
    weighted = bg.GaussianMixture(2, noise=True, random_state=0).fit(X, sample_weight=np.full(len(X), 2.0))
    assert twice.log_likelihood_ == pytest.approx(weighted.log_likelihood_, rel=1e-12)
    assert twice.noise_weight_ == pytest.approx(weighted.noise_weight_, rel=1e-9)


def test_what_noise_cannot_do_is_refused(rng, fitted):
    X, _ = groups_in_noise(rng)
    gappy = X.copy()
    gappy[3, 1] = np.nan
    with pytest.raises(InvalidDataError, match="noise=True needs complete rows"):
        bg.GaussianMixture(2, noise=True).fit(gappy)
    flat = np.column_stack([X[:, 0], X[:, 0]])
    with pytest.raises(InvalidDataError, match="lie in a plane"):
        bg.GaussianMixture(2, noise=True).fit(flat)
    em, X, _ = fitted
    with pytest.raises(InvalidParameterError, match="noise=False"):
        em.standard_errors()
    with pytest.raises(InvalidParameterError, match="noise=False"):
        em.impute(X)
    with pytest.raises(InvalidParameterError, match="noise=False"):
        bg.compare(em, posterior_of_two(X), X)
    with pytest.raises(InvalidParameterError, match="noise=False"):
        bg.merge_components(em, X)


def posterior_of_two(X):
    return bg.BayesianGaussianMixture(2, draws=20, tune=20, chains=2, random_state=0, progressbar=False).fit(X)
