"""Whether groups are shaped like normal distributions: no alarm where they are, an alarm where they are not, gaps and weights."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm.comparison import verdicts
from bayesgmm.criticism import group_shapes
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError


def two(rng, second, D=2, n=120):
    return np.concatenate([rng.normal(size=(n, D)), 15 + second((n, D))])


def found_in(X, **more):
    return group_shapes(bg.GaussianMixture(2, random_state=1, **more).fit(X), random_state=2)


def test_normal_groups_raise_no_alarm(rng):
    """With the truth for parameters tails are uniform; with EM's they are drawn to the middle: never smaller than uniform ones."""
    truth = bg.MixtureParams.from_covariances([0.5, 0.5], [[0.0, 0.0], [9.0, 9.0]], [np.eye(2), [[2.0, 1.0], [1.0, 1.0]]])
    from bayesgmm.criticism.group_shapes import shapes_of

    tails = []
    for seed in range(40):
        X, _ = truth.sample(100, random_state=seed)
        table = shapes_of(truth, X, ("a", "b"), 100, seed)
        tails.append(table[["skewness_tail", "tails_tail"]].to_numpy().ravel())
        assert verdicts.shapes(found_in(X)) == ()
    assert stats.kstest(np.concatenate(tails), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (lambda rng: lambda size: 3 * rng.gamma(1.0, size=size), "to the right in x"),
        (lambda rng: lambda size: -3 * rng.gamma(1.0, size=size), "to the left in x"),
        (lambda rng: lambda size: rng.standard_t(2, size=size), "has heavier tails"),
    ],
)
def test_other_shapes_are_named(rng, second, says):
    X = two(rng, second(rng))
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    table = group_shapes(em, random_state=2)
    odd = int(em.means_[:, 0].argmax())
    (check,) = verdicts.shapes(table)
    assert f"group {odd} " in check.sentence
    assert says in check.sentence
    assert f"group {1 - odd}" not in check.sentence
    assert not check.passed


def test_a_posterior_s_draws_and_its_comparison(rng):
    X = pd.DataFrame(two(rng, lambda size: rng.standard_t(2.5, size=size)), columns=["u", "v"])
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    settings = {"draws": 100, "tune": 100, "random_state": 1, "progressbar": False}
    posterior = bg.BayesianGaussianMixture(2, init=em, **settings).fit(X)
    comparison = bg.compare(em, posterior)
    assert "heavier tails" in comparison.verdict("shapes").sentence
    assert [row["component"] for row in comparison.summary()["shapes"]] == [0, 1]
    assert group_shapes(posterior, random_state=0).equals(comparison.shapes)


def test_numbers_are_those_of_the_rows(rng):
    """Far apart, every row is in its component whatever is drawn: skewness and tails are SciPy's."""
    X = two(rng, lambda size: rng.gamma(2.0, size=size), D=1)
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    table = group_shapes(em, n_draws=3, random_state=1)
    for k in range(2):
        own = X[em.predict(X) == k, 0]
        assert table.loc[k, "rows"] == len(own)
        assert table.loc[k, "skewness"] == pytest.approx(stats.skew(own))
        assert table.loc[k, "tails"] == pytest.approx(stats.kurtosis(own, fisher=False) / 3, rel=1e-6)


def test_gaps_weights_and_small_groups(rng):
    X = two(rng, lambda size: rng.normal(size=size))
    gaps = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    gaps = gaps[~np.isnan(gaps).all(1)]
    assert verdicts.shapes(found_in(gaps)) == ()
    em = bg.GaussianMixture(2, random_state=1).fit(X, sample_weight=np.repeat([1, 3], 120))
    assert sorted(group_shapes(em, random_state=1)["rows"]) == [120, 360]
    few = np.concatenate([rng.normal(size=(40, 2)), rng.normal(size=(3, 2)) + 50])
    table = group_shapes(bg.GaussianMixture(2, covariance_type="spherical", random_state=1).fit(few), random_state=1)
    assert table["tails"].isna().tolist() == [False, True]
    assert verdicts.shapes(table) == ()


def test_what_is_refused(rng):
    em = bg.GaussianMixture(1).fit(rng.normal(size=(20, 2)))
    with pytest.raises(InvalidParameterError, match="n_draws must be at least 1"):
        group_shapes(em, n_draws=0)
    made = bg.GaussianMixture(1)
    made.weights_, made.means_, made.covariances_ = [1.0], [[0.0]], [[[1.0]]]
    with pytest.raises(InvalidDataError, match="kept no rows"):
        group_shapes(made)
