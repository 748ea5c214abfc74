"""The noise component: a uniform density in a box, with its own weight, label and share of every row."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.em import Noise
from bayesgmm.em.noise import limits_of
from bayesgmm.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from bayesgmm.rows import MemoryRows


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
    noise = em.noise_
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
    np.testing.assert_allclose(r[:, 2], em.noise_weight_ * np.exp(-em.noise_.log_volume) / density(em, X), rtol=1e-9)
    assert em.responsibilities().component.values.tolist() == [0, 1, -1]
    np.testing.assert_allclose(r[:, 2].mean(), em.noise_weight_, atol=1e-5)


def test_em_climbs_and_stands_still(fitted):
    em, X, _ = fitted
    trace = em.log_likelihood_trace_
    assert (np.diff(trace) >= -1e-9 * np.abs(trace[:-1])).all()
    for change in (0.01, -0.01):
        moved = bg.MixtureParams(em.weights_, em.means_ + change, em.params_.scale_tril)
        here = (1 - em.noise_weight_) * np.exp(moved.log_density(X)) + em.noise_weight_ * np.exp(-em.noise_.log_volume)
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
    inside = (X[labels == -1] - em.noise_.origin) / em.noise_.scale @ em.noise_.axes
    assert (inside >= em.noise_.low - 1e-9).all()
    assert (inside <= em.noise_.high + 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), D=st.integers(1, 4), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_the_box_holds_the_data_and_is_no_larger_than_the_one_along_columns(seed, D, scale):
    rng = np.random.default_rng(seed)
    X = scale * (rng.normal(size=(30, D)) @ rng.normal(size=(D, D)) + 1e3)
    box = Noise.around(MemoryRows(X))
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


# Gross errors


def with_errors(rng, D, n_errors, highest, n=300):
    """Two groups six standard deviations apart, some rows spread about them, and some that are ten thousand times as far and more."""
    groups = rng.normal(size=(n, D))
    groups[: n // 2, 0] += 6
    spread = rng.uniform(-10, 16, (n // 20, D))
    errors = rng.normal(size=(n_errors, D))
    errors[np.arange(n_errors), rng.integers(D, size=n_errors)] = rng.choice([-1, 1], n_errors) * 10 ** rng.uniform(
        4, highest, n_errors
    )
    return np.concatenate([groups, spread, errors])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 25), st.sampled_from([6, 12]))
def test_gross_errors_are_noise_and_change_nothing_else(seed, D, n_errors, highest):
    X = with_errors(np.random.default_rng(seed), D, n_errors, highest)
    n, clean = len(X), X[:-n_errors]
    em = bg.GaussianMixture(2, noise=True, random_state=0).fit(X)
    alone = bg.GaussianMixture(2, noise=True, random_state=0).fit(clean)
    np.testing.assert_allclose(em.means_, alone.means_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(em.covariances_, alone.covariances_, rtol=1e-5, atol=1e-6)
    assert em.noise_weight_ == pytest.approx((n_errors + alone.noise_weight_ * (n - n_errors)) / n)
    assert em.status_ == alone.status_
    labels = em.predict(X)
    assert (labels[-n_errors:] == -1).all()
    np.testing.assert_array_equal(labels[:-n_errors], alone.predict(clean))
    assert f"row{'s' if n_errors > 1 else ''} {n - n_errors}" in em.message_
    assert "noise for certain" in em.message_
    # One height, however it is asked for.
    assert em.log_likelihood_ == pytest.approx(em.score_samples(X).sum(), rel=1e-9)
    assert em.lower_bound_ == pytest.approx(em.score(X), rel=1e-9)
    assert em.optima_[0][0] == pytest.approx(em.log_likelihood_, abs=0.01)
    g = n_errors / n
    volume = em.noise_.log_volume
    np.testing.assert_allclose(em.score_samples(X)[-n_errors:], np.log(g) - volume)
    np.testing.assert_allclose(em.score_samples(clean), alone.score_samples(clean) + np.log1p(-g), rtol=1e-6, atol=1e-6)
    r = em.predict_proba(X)
    np.testing.assert_allclose(r.sum(1), 1.0)
    assert (r[-n_errors:, -1] == 1).all()
    assert em.n_parameters_ == alone.n_parameters_ + 1


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(3, 50), st.floats(1.5, 4.0))
def test_errors_of_any_size_leave_the_groups_where_they_are(seed, D, n_errors, highest):
    """EM from the groups themselves ends no higher: what is found is not two groups in one and the errors in the other."""
    rng = np.random.default_rng(seed)
    X = with_errors(rng, D, n_errors, 4)
    X[-n_errors:] = np.sign(X[-n_errors:]) * 10 ** rng.uniform(1.3, highest, (n_errors, D)) * (np.abs(X[-n_errors:]) > 100)
    truth = bg.MixtureParams.from_covariances([0.5, 0.5], [[0.0] * D, [6.0] + [0.0] * (D - 1)], [np.eye(D)] * 2)
    em = bg.GaussianMixture(2, noise=True, random_state=0).fit(X)
    from_truth = bg.GaussianMixture(2, noise=True, init_params=truth).fit(X)
    assert em.log_likelihood_ > from_truth.log_likelihood_ - 0.01


def test_a_row_of_weight_zero_is_not_there_for_the_box(rng):
    X, _ = groups_in_noise(rng)
    more = np.concatenate([X, [[40.0, 40.0], [1e7, 0.0]]])
    weight = np.append(np.ones(len(X)), [0.0, 0.0])
    weighted = bg.GaussianMixture(2, noise=True, random_state=0).fit(more, sample_weight=weight)
    plain = bg.GaussianMixture(2, noise=True, random_state=0).fit(X)
    assert weighted.noise_.log_volume == plain.noise_.log_volume
    np.testing.assert_allclose(weighted.means_, plain.means_)
    assert weighted.log_likelihood_ == pytest.approx(plain.log_likelihood_)
    assert "certain" not in weighted.message_


@given(seed=st.integers(0, 10**6), D=st.integers(2, 4))
@settings(deadline=None, max_examples=20)
def test_the_box_of_weighted_rows_is_that_of_the_rows_as_often(seed, D):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, D)) @ rng.normal(size=(D, D))
    weight = rng.integers(0, 4, len(X)).astype(float)
    weighted, repeated = Noise.around(MemoryRows(X, weight)), Noise.around(MemoryRows(np.repeat(X, weight.astype(int), axis=0)))
    assert weighted.log_volume == pytest.approx(repeated.log_volume, abs=1e-8)


def test_an_error_of_weight_two_is_the_error_twice(rng):
    X = with_errors(rng, 2, 3, 6)
    weight = np.ones(len(X))
    weight[[5, -1]] = 2.0
    weighted = bg.GaussianMixture(2, noise=True, random_state=0).fit(X, sample_weight=weight)
    twice = bg.GaussianMixture(2, noise=True, random_state=0).fit(np.concatenate([X, X[[5, -1]]]))
    assert weighted.log_likelihood_ == pytest.approx(twice.log_likelihood_)
    assert weighted.noise_weight_ == pytest.approx(twice.noise_weight_)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.06])
def test_a_group_is_no_error_however_far_and_tight(rng, share):
    few = int(400 * share)
    X = np.concatenate([rng.normal(5, 0.001, 400 - few), rng.normal(0, 0.001, few)])[:, None]
    assert not Noise.around(MemoryRows(X)).limits.are_set


def test_codes_for_missing_values_are_errors_and_heavy_tails_are_few(rng):
    X = np.concatenate([rng.normal(size=(200, 2)), np.full((10, 2), -999999.0)])
    assert Noise.around(MemoryRows(X)).limits.beyond(X).sum() == 10
    for seed in range(20):
        heavy = np.random.default_rng(seed).standard_t(2, size=(300, 1))
        assert Noise.around(MemoryRows(heavy)).gross < 0.02


def test_limits_do_not_depend_on_units_offset_order_or_sign(rng):
    X = with_errors(rng, 3, 8, 8)
    beyond = limits_of(X).beyond(X)
    assert beyond.sum() == 8
    for other in (X * [1e-6, 1.0, -1e5], np.add(X, [0.0, 1e3, -1e7])):
        np.testing.assert_array_equal(limits_of(other).beyond(other), beyond)
    order = rng.permutation(len(X))
    np.testing.assert_array_equal(limits_of(X[order]).beyond(X[order]), beyond[order])


def test_more_errors_than_may_be_set_aside_and_errors_in_chunks_are_told(rng, tmp_path):
    X = with_errors(rng, 2, 3, 6)
    np.save(tmp_path / "x.npy", X)
    many = np.concatenate([X[:-3], np.column_stack([10 ** rng.uniform(4, 6, 50), rng.normal(size=50)])])
    for given_, said in ((many, "column 'x0' more than 10% of the rows"), (str(tmp_path / "x.npy"), "some rows lie far beyond")):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            bg.GaussianMixture(2, noise=True, random_state=0).fit(given_)
        assert any(said in str(each.message) and issubclass(each.category, ConvergenceWarning) for each in told)
