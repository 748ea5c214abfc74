"""What a fit says of new rows: by SciPy row by row, in blocks as in one piece, with gaps, with noise."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import bayesgmm as bg
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import predictions
from bayesgmm.rows import Chunk
from tests.conftest import random_mixture, scipy_log_joint


def squared_distances(X, params):
    """Squared Mahalanobis distances (N, K) by solving with the covariance matrices."""
    gaps = X[:, None] - params.means
    return np.einsum("nkd,kde,nke->nk", gaps, np.linalg.inv(params.covariances), gaps)


@pytest.fixture(scope="module")
def small_posterior(faithful):
    return bg.BayesianGaussianMixture(2, draws=60, tune=150, chains=2, random_state=3, progressbar=False).fit(faithful)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_each_draw_agrees_with_scipy(rng, covariance_type):
    X, draws = 2 * rng.normal(size=(40, 3)), random_mixture(rng, 4, 3, (25,), covariance_type)
    found = predictions(Chunk(X), *draws.arrays(), prob=0.8, diagonal=draws.is_diagonal)
    joint = np.stack([scipy_log_joint(X, draws[t]) for t in range(25)])
    logs = np.logaddexp.reduce(joint, axis=2)
    tail = np.stack([chi2(3).sf(squared_distances(X, draws[t]).min(axis=1)) for t in range(25)])
    assert found.log_density.value == pytest.approx(np.log(np.exp(logs).mean(axis=0)), rel=1e-9)
    assert found.tail.value == pytest.approx(tail.mean(axis=0), rel=1e-8)
    for estimate, values in ((found.log_density, logs), (found.tail, tail)):
        assert np.stack(estimate[1:]) == pytest.approx(np.quantile(values, [0.1, 0.9], axis=0), rel=1e-8)
    votes = (joint.argmax(axis=2)[..., None] == np.arange(4)).mean(axis=0)
    assert found.votes == pytest.approx(votes)


def test_blocks_say_what_one_piece_says(rng):
    X, draws = rng.normal(size=(1300, 2)), random_mixture(rng, 3, 2, (7,))
    whole = predictions(Chunk(X), *draws.arrays(), prob=0.9)
    for start in (0, 511, 1299):
        alone = predictions(Chunk(X[start : start + 1]), *draws.arrays(), prob=0.9)
        for estimate, one in ((whole.log_density, alone.log_density), (whole.tail, alone.tail)):
            assert [values[start] for values in estimate] == pytest.approx(np.ravel(one), rel=1e-12)


def test_rows_with_gaps_have_the_tail_of_what_they_have(rng):
    X, draws = rng.normal(size=(30, 3)), random_mixture(rng, 2, 3, (9,))
    X[:10, 1] = np.nan
    X[10] = np.nan
    found = predictions(Chunk(X), *draws.arrays(), prob=0.9)
    there = draws.means[..., [0, 2]], draws.covariances[..., [0, 2], :][..., [0, 2]]
    tail = [
        chi2(2).sf(np.einsum("nkd,kde,nke->nk", gap := X[:10, None, [0, 2]] - m, np.linalg.inv(S), gap).min(axis=1))
        for m, S in zip(*there, strict=True)
    ]
    assert found.tail.value[:10] == pytest.approx(np.mean(tail, axis=0), rel=1e-8)
    assert found.tail.value[10] == 1.0
    assert found.log_density.value[10] == 0.0
    assert found.votes[10].sum() == pytest.approx(1.0)


def test_a_component_without_weight_is_not_near(rng):
    mixture = bg.MixtureParams([[1.0, 0.0]], [[[0.0], [5.0]]], np.ones((1, 2, 1, 1)))
    tail = predictions(Chunk(np.array([[5.0]])), *mixture.arrays(), prob=0.9).tail.value
    assert tail == pytest.approx(chi2(1).sf(25.0))


def test_a_posterior_says_all_of_it(small_posterior, faithful):
    said = small_posterior.row_summary(faithful, prob=0.8)
    np.testing.assert_allclose(said.responsibility, small_posterior.predict_proba(faithful), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(said.doubt, 1 - said.responsibility.max("component"))
    np.testing.assert_array_equal(said.label, small_posterior.predict(faithful))
    assert said.log_density.values == pytest.approx(small_posterior.score_samples(faithful), rel=1e-9)
    for name in ("responsibility", "log_density", "tail_probability"):
        assert (said[f"{name}_lower"] <= said[f"{name}_upper"]).all()
    assert ((said.label_share > 0) & (said.label_share <= 1)).all()
    draws = small_posterior.responsibility_draws(faithful).values.argmax(axis=-1)
    assert said.label_share.values == pytest.approx((draws == said.label.values).mean(axis=(0, 1)))
    assert said.attrs["prob"] == 0.8


def test_rows_of_the_model_have_uniform_tails(em_faithful):
    X, labels = em_faithful.sample(4000, random_state=5)
    tail = em_faithful.row_summary(pd.DataFrame(X, columns=em_faithful.feature_names_)).tail_probability.values
    own = chi2(2).sf(squared_distances(X, em_faithful.params_)[np.arange(4000), labels])
    assert (tail >= own - 1e-12).all()
    # The two groups hardly overlap, so the nearest component is the one a row came from.
    assert np.quantile(tail, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.03)


def test_em_gives_the_same_table_with_intervals_of_no_width(em_faithful, small_posterior, faithful):
    said = em_faithful.row_summary()
    assert set(said) == set(small_posterior.row_summary()) - {"label_share"}
    assert set(said) == set(em_faithful.row_summary(kind="weighted", n_draws=3)) - {"label_share"}
    for name in ("responsibility", "log_density", "tail_probability"):
        for end in ("lower", "upper"):
            np.testing.assert_array_equal(said[f"{name}_{end}"], said[name])
    assert not said.responsibility_sd.any()
    np.testing.assert_array_equal(said.label, em_faithful.predict(faithful))
    assert said.log_density.values == pytest.approx(em_faithful.score_samples(faithful))
    assert said.tail_probability.values == pytest.approx(
        chi2(2).sf(squared_distances(faithful.to_numpy(), em_faithful.params_).min(1))
    )


def test_noise_is_a_label_and_far_from_every_component(rng):
    X = np.concatenate([rng.normal(size=(150, 2)), rng.normal(size=(150, 2)) + 12.0, rng.uniform(-30, 40, size=(25, 2))])
    em = bg.GaussianMixture(2, noise=True, random_state=1).fit(X)
    said = em.row_summary([[0.0, 0.0], [-28.0, 35.0]])
    assert said.label.values.tolist()[1] == -1
    assert list(said.component) == [0, 1, -1]
    assert said.tail_probability[1] < 1e-6 < said.tail_probability[0]
    np.testing.assert_array_equal(said.responsibility, em.predict_proba([[0.0, 0.0], [-28.0, 35.0]]))
    for name in ("log_density", "log_density_lower", "log_density_upper"):
        np.testing.assert_array_equal(said[name], em.score_samples([[0.0, 0.0], [-28.0, 35.0]]))


def test_names_of_rows_are_kept(em_faithful, faithful):
    some = faithful.iloc[[3, 8]].set_axis(["a", "b"])
    assert list(em_faithful.row_summary(some).obs) == ["a", "b"]


@pytest.mark.parametrize("prob", [0, 1, -0.2, float("nan")])
def test_the_interval_must_hold_some_draws_and_not_all(em_faithful, prob):
    with pytest.raises(InvalidParameterError, match="prob must lie between 0 and 1"):
        em_faithful.row_summary(prob=prob)
