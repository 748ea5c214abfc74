"""EM in the posterior's eyes: its partition, its parameters and its points, by independent routes."""

import numpy as np
import pytest
from scipy.special import entr, rel_entr

from bayesgmm.comparison import compare
from bayesgmm.comparison.groups import MOST_DRAWS, em_partition
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import draw_labels, partition_loss


@pytest.fixture(scope="module")
def comparison(em_faithful, posterior_faithful, faithful):
    return compare(em_faithful, posterior_faithful, faithful)


def draws_about(means, sd, rng, n_draws=200):
    """A posterior of two equal groups on a line."""
    batch = np.asarray(means)[:, None] + rng.normal(scale=sd, size=(n_draws, 2, 1))
    return MixtureParams(np.full((n_draws, 2), 0.5), batch, np.ones((n_draws, 2, 1, 1)))


def test_the_view_of_the_partition_is_what_the_losses_say(rng):
    X = np.linspace(-3, 6, 40)[:, None]
    posterior = draws_about([0.0, 3.0], 0.3, rng)
    em = MixtureParams(np.full(2, 0.5), np.array([[0.3], [3.4]]), np.ones((2, 1, 1)))
    r = em.responsibilities(X)
    view = em_partition(r, posterior, X, 4)
    labels = draw_labels(posterior, X, random_state=4)
    from_em = [partition_loss(r.argmax(1), draw) for draw in labels]
    from_best = np.array([partition_loss(view.best.labels, draw) for draw in labels])
    assert view.em_expected_loss == pytest.approx(np.mean(from_em))
    assert view.best.expected_loss == pytest.approx(np.mean(from_best))
    assert view.best.expected_loss <= view.em_expected_loss
    assert view.distance == pytest.approx(partition_loss(view.best.labels, r.argmax(1)))
    assert view.rank == pytest.approx((from_best > view.distance + 1e-10).mean())
    assert (from_best <= view.radius + 1e-10).mean() >= 0.95
    assert (from_best < view.radius - 1e-10).mean() < 0.95


def test_an_odd_partition_is_outside_the_ball_and_a_good_one_inside(rng):
    X = np.concatenate([rng.normal(0, 1, 40), rng.normal(8, 1, 40)])[:, None]
    posterior = draws_about([0.0, 8.0], 0.1, rng)
    right = np.eye(2)[np.repeat([0, 1], 40)]
    wrong = np.eye(2)[np.tile([0, 1], 40)]
    assert em_partition(right, posterior, X, 1).inside
    odd = em_partition(wrong, posterior, X, 1)
    assert not odd.inside
    assert odd.rank == 0.0


def test_names_of_groups_do_not_matter_and_many_draws_and_rows_are_thinned(rng):
    X = np.linspace(-3, 6, 2_500)[:, None]
    posterior = draws_about([0.0, 3.0], 0.2, rng, n_draws=700)
    r = posterior[0].responsibilities(X)
    one, other = (em_partition(table, posterior, X, 2) for table in (r, r[:, ::-1]))
    assert one.distance == other.distance
    assert one.n_draws == MOST_DRAWS
    assert len(one.rows) == 2_000
    assert one.rows[-1] == 2_499


def test_columns_of_the_tables(comparison, em_faithful, posterior_faithful):
    params = posterior_faithful.params_
    table = comparison.parameters.set_index(["parameter", "component", "feature"])
    mean = table.loc[("mean", 1, "waiting")]
    draws = params.means[..., 1, 1].ravel()
    assert mean["rank"] == pytest.approx((draws < em_faithful.params_.means[1, 1]).mean())
    error = float(em_faithful.standard_errors("observed")["means"].sel(feature="waiting").values[1])
    assert mean["se_ratio"] == pytest.approx(error / draws.std(ddof=1))
    assert np.isnan(comparison.parameters.query("parameter == 'correlation'")["se_ratio"]).all()
    assert comparison.parameters["se_ratio"].dropna().between(0.8, 1.2).all()  # 272 rows: Bernstein and von Mises

    rows = comparison.responsibilities
    em, mean = (rows[[f"{name}_0", f"{name}_1"]].to_numpy() for name in ("em", "posterior"))
    middle = (em + mean) / 2
    np.testing.assert_allclose(rows["divergence"], (rel_entr(em, middle) + rel_entr(mean, middle)).sum(1) / np.log(4), atol=1e-12)
    r = posterior_faithful.responsibility_draws(n_draws=None).values
    within = entr(r).sum(-1).mean((0, 1))
    doubtful = mean.max(1) < 0.9
    expected = np.where(within >= entr(mean).sum(1) - within, "overlap", "too little data")
    assert (rows["cause"] == np.where(doubtful, expected, "clear")).all()


def test_the_verdict_says_it(comparison):
    check = comparison.verdict("partition")
    assert check.passed
    assert check.sentence.startswith("EM's groups are ")
    assert comparison.summary()["partition"]["inside"] is True
