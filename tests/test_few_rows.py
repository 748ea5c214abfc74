"""Components with too few rows for their covariances: said before sampling, with figures, and only then."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris, load_wine

import bayesgmm as bg
from bayesgmm.covariance import family
from bayesgmm.estimators._size import advise_on_parameters
from bayesgmm.exceptions import DataAdvice
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows

WINE, IRIS = load_wine().data, load_iris().data


class Sampled(Exception):
    """In the place of sampling."""


def said(call):
    """The advice on numbers of parameters that a call gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in caught if one.category is DataAdvice and "tell little of" in str(one.message)]


@pytest.fixture
def before_sampling(monkeypatch):
    """What a posterior says before it samples."""

    def stop(*_, **__):
        raise Sampled

    monkeypatch.setattr("bayesgmm.bayes.sampling.sample", stop)

    def heard(X, K, kind="full", **settings):
        def fit():
            with pytest.raises(Sampled):
                bg.BayesianGaussianMixture(K, covariance_type=kind, random_state=0, progressbar=False, **settings).fit(X)

        return said(fit)

    return heard


def n_parameters(kind, K, D):
    """Counted one by one."""
    matrices = {"full": K * D * (D + 1) // 2, "tied": D * (D + 1) // 2, "diag": K * D}
    return K - 1 + K * D + matrices[kind]


def test_six_groups_of_wine(before_sampling):
    em = bg.GaussianMixture(6, random_state=0)
    (by_em,) = said(lambda: em.fit(WINE))
    (by_posterior,) = before_sampling(WINE, 6)
    small = em.weights_ * len(WINE)
    small = small[small < 26]
    figures = f"178 rows in 13 columns tell little of {n_parameters('full', 6, 13)} parameters: {len(small)} of 6 components"
    for sentence, decides, priors in ((by_em, "chance", "priors"), (by_posterior, "the prior", "priors that say more")):
        assert sentence.startswith(figures)
        assert f"(the smallest about {small.min():.0f})" in sentence
        assert (
            f"leave its shape to {decides}. What helps: covariance_type='tied' ({n_parameters('tied', 6, 13)} parameters)"
            in sentence
        )
        assert sentence.endswith(f" or 'diag' ({n_parameters('diag', 6, 13)} parameters), fewer columns or components, or {priors}")


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fewer_rows_than_columns(kind, K, before_sampling):
    X = np.random.default_rng(0).normal(size=(20, 30))
    (sentence,) = before_sampling(X, K, kind)
    assert f"20 rows in 30 columns tell little of {n_parameters(kind, K, 30)} parameters" in sentence
    assert f"covariance_type='diag' ({n_parameters('diag', K, 30)} parameters), fewer columns" in sentence
    assert "'tied'" not in sentence  # all rows together are too few


@pytest.mark.parametrize(
    ("X", "K", "kind"), [(WINE, 3, "full"), (WINE, 6, "diag"), (WINE, 6, "tied"), (IRIS, 3, "full"), (IRIS[:, :1], 3, "full")]
)
def test_nothing_is_said_of_textbook_problems(X, K, kind, before_sampling):
    assert before_sampling(X, K, kind) == []
    assert said(lambda: bg.GaussianMixture(K, covariance_type=kind, random_state=0).fit(X)) == []


def test_nothing_is_said_where_it_is_known_already():
    for settings_ in ({"priors": bg.ConjugatePriors()}, {"n_init": 1}):
        assert said(lambda how=settings_: bg.GaussianMixture(6, random_state=0, **how).fit(WINE)) == []


@given(
    st.integers(2, 12), st.lists(st.integers(1, 60), min_size=1, max_size=5), st.sampled_from(["full", "tied"]), st.floats(0.0, 0.4)
)
@settings(max_examples=60, deadline=None)
def test_two_rows_for_each_direction(D, counts, kind, missing):
    K, N = len(counts), sum(counts)
    X = np.random.default_rng(D * N).normal(size=(N, D))
    gaps = np.random.default_rng(N).random((N, D)) < missing
    gaps[:, 0] = False
    X[gaps] = np.nan
    seen = 1.0 - gaps.mean()
    params = MixtureParams(np.array(counts) / N, np.zeros((K, D)), np.tile(np.eye(D), (K, 1, 1)))
    heard = said(lambda: advise_on_parameters(params, MemoryRows(X), family(kind), "chance"))
    each = seen * min(counts) if kind == "full" and K > 1 else seen * N - (K - 1)
    assert bool(heard) == (each < 2 * D)
    for sentence in heard:
        total, *fewer = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) parameter", sentence))
        assert total == n_parameters(kind, K, D)
        assert all(n < total for n in fewer)
        assert (fewer[-1:] == [n_parameters("diag", K, D)]) == (n_parameters("diag", K, D) < total)
        assert ("'tied'" in sentence) == (kind == "full" and K > 1 and seen * N - (K - 1) >= 2 * D)


def test_with_so_few_rows_covariances_come_out_singular():
    rng = np.random.default_rng(1)
    for D in (4, 13, 30):
        least = {n: np.median([np.linalg.eigvalsh(np.cov(rng.normal(size=(D, n * D))))[0] for _ in range(100)]) for n in (2, 8)}
        assert least[2] < 0.2
        assert least[8] > 0.4
