"""The evidence by bridge sampling, against sums over all partitions and the sampler of an unknown number."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.bayes import _compiled_split_merge as moves
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.priors import LogNormal, Priors
from bayesgmm.rows import MemoryRows

specification = importlib.util.spec_from_file_location("enumeration", Path(__file__).with_name("test_telescoping.py"))
enumeration = importlib.util.module_from_spec(specification)
specification.loader.exec_module(enumeration)

SDS = LogNormal(-0.5, 0.6)
PRIORS = Priors(2.0, means_loc=0.0, means_scale=2.0, sds=SDS, smallest_sd=0.0, frame="columns")
FIVE = enumeration.FIVE


def quiet(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five rows tell little, and are said to
        return model.fit(X)


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("K", [1, 2, 3])
def test_it_is_the_sum_over_all_partitions(kind, K):
    marginals = (enumeration.together if kind == "tied" else enumeration.apart)(SDS, FIVE)
    exact = -np.inf
    for labels, value in marginals.items():
        counts = np.array([len(group) for group in enumeration.groups_of(labels)], dtype=float)
        if len(counts) <= K:
            exact = np.logaddexp(exact, moves.log_given_number(counts, len(counts), 5, 2.0, K) + value)
    fit = quiet(bg.BayesianGaussianMixture(K, covariance_type=kind, priors=PRIORS, random_state=1, progressbar=False), FIVE)
    found = fit.log_evidence()
    assert found.error < 0.1
    assert found.log_evidence == pytest.approx(exact, abs=5 * found.error)


def test_it_agrees_with_the_posterior_of_the_number():
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(0.0, 1.0, (40, 2)), rng.normal(1.5, 1.0, (40, 2))])
    prior = bg.priors.Poisson(1.0)
    drawn = quiet(bg.BayesianGaussianMixture("auto", priors=Priors(number=prior), random_state=1, progressbar=False), X)
    table = drawn.number_of_components()
    logs, errors = prior.log_probability(30), []
    values = []
    for K in (1, 2):
        found = quiet(bg.BayesianGaussianMixture(K, random_state=1, progressbar=False), X).log_evidence()
        values.append(found.log_evidence + logs[K - 1])
        errors.append(found.error)
    p = table.loc[[1, 2], "components"].to_numpy()
    error = np.hypot(*(table.loc[[1, 2], "components_mcse"].to_numpy() / p))
    assert np.log(p[1] / p[0]) == pytest.approx(values[1] - values[0], abs=5 * np.hypot(error, np.hypot(*errors)))


def test_it_changes_with_the_units_as_a_density_does():
    X = bg.datasets.load_faithful().to_numpy()[:100]
    found = [bg.BayesianGaussianMixture(2, random_state=1, progressbar=False).fit(rows).log_evidence() for rows in (X, 60.0 * X)]
    shift = -2 * len(X) * np.log(60.0)
    assert found[1].log_evidence - found[0].log_evidence == pytest.approx(shift, abs=5 * np.hypot(found[0].error, found[1].error))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    K=st.integers(1, 4),
    D=st.integers(1, 3),
    kind=st.sampled_from(["full", "tied", "diag", "spherical"]),
)
def test_vectors_reordered_are_those_of_mixtures_reordered(seed, K, D, kind):
    rng = np.random.default_rng(seed)
    X, of = rng.normal(size=(30, D)), family(kind)
    space = Space(Priors().resolve(MemoryRows(X), K, of), of)
    q, order = rng.normal(size=(3, space.n_dim)), rng.permutation(K)
    found, expected = space.constrain(space.reordered(q, order)), space.constrain(q).permute(np.tile(order, (3, 1)))
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-12)
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-12)
    np.testing.assert_allclose(found.scale_tril, expected.scale_tril, rtol=1e-9, atol=1e-12)


def test_what_has_no_evidence_says_so():
    X = bg.datasets.load_faithful()
    quick = {"draws": 100, "tune": 60, "random_state": 1, "progressbar": False}
    with pytest.raises(InvalidParameterError, match="number_of_components"):
        quiet(bg.BayesianGaussianMixture("auto", **quick), X).log_evidence()
    for sampler in ("laplace", "gibbs"):
        with pytest.raises(InvalidParameterError, match="needs chains that were drawn under Priors"):
            quiet(bg.BayesianGaussianMixture(2, sampler=sampler, **quick), X).log_evidence()
    rng = np.random.default_rng(0)
    crowd = quiet(bg.BayesianGaussianMixture(7, covariance_type="tied", **quick), rng.normal(size=(60, 1)))
    with pytest.raises(InvalidDataError, match="components overlap"):
        crowd.log_evidence()
