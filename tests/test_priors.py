"""Priors: defaults scaled by the data, changes of units, refusals."""

import numpy as np
import pytest

from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.priors import Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, LogNormal, Priors

EVERY = [HalfNormal(0.7), HalfCauchy(0.7), HalfStudentT(4.0, 0.7), LogNormal(-0.3, 0.8), Exponential(0.7), Gamma(2.5, 1.5)]


@pytest.mark.parametrize("prior", EVERY, ids=lambda p: type(p).__name__)
def test_a_change_of_units_is_the_jacobian(prior):
    """If sd has this prior, 3 sd has prior.scaled(3): densities differ by the factor 3."""
    x = np.linspace(0.05, 4, 30)
    np.testing.assert_allclose(
        prior.scaled(3.0).frozen().logpdf(3 * x), prior.frozen().logpdf(x) - np.log(3), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("prior", EVERY, ids=lambda p: type(p).__name__)
def test_each_is_a_density_and_its_draws_follow_it(prior):
    x = np.linspace(1e-6, 60, 400_001)
    density = np.exp(prior.frozen().logpdf(x))
    mass_below_one = np.trapezoid(density[x <= 1], x[x <= 1])
    draws = prior.frozen().rvs(size=4000, random_state=np.random.default_rng(1))
    assert (draws > 0).all()
    # five standard errors of a proportion from 4,000 draws
    assert (draws < 1).mean() == pytest.approx(mass_below_one, abs=5 * np.sqrt(0.25 / 4000))
    assert len({p.kind for p in EVERY}) == len(EVERY)


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical"])
def test_defaults_follow_the_data(name, rng):
    X = rng.normal(size=(100, 2)) * [1.0, 50.0] + [3.0, -7.0]
    K, fam = 3, family(name)
    here = Priors().resolve(X, K, fam)
    np.testing.assert_allclose(here.means_loc, np.tile(X.mean(0), (K, 1)))
    np.testing.assert_allclose(here.means_scale, np.tile(2.5 * X.std(0), (K, 1)))
    assert here.sds.parameters()[0].shape == fam.sds_shape(K, 2)
    scale = np.full(2, 10.0) if name == "spherical" else np.array([10.0, 0.1])
    there = Priors().resolve(X * scale + 5, K, fam)
    back = there.standardised(np.full(2, 5.0), scale)
    for a, b in [(back.means_loc, here.means_loc), (back.means_scale, here.means_scale), (back.sds.mu, here.sds.mu)]:
        np.testing.assert_allclose(a, b)


def test_arrays_are_taken_in_every_shape_that_fits(rng):
    X = rng.normal(size=(20, 2))
    fam = family("full")
    resolved = Priors(
        concentration=[1.0, 2.0, 3.0], means_loc=[1.0, 2.0], means_scale=np.full((3, 2), 4.0), sds=HalfNormal([1.0, 2.0])
    ).resolve(X, 3, fam)
    assert resolved.concentration.tolist() == [1, 2, 3]
    assert resolved.means_loc.tolist() == [[1, 2]] * 3
    assert resolved.sds.scale.tolist() == [[1, 2]] * 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Priors(concentration=0), "concentration must be positive"),
        (lambda: Priors(eta=-1), "eta must be positive"),
        (lambda: Priors(means_scale=[1.0, np.inf]), "means_scale must be positive and finite"),
        (lambda: Priors(means_loc=np.nan), "means_loc must be finite"),
        (lambda: Priors(sds=1.0), "must be a prior from bayesgmm.priors"),
        (lambda: HalfNormal(0), "HalfNormal: scale must be a positive"),
        (lambda: LogNormal(np.nan, 1), "LogNormal: mu must be a finite"),
        (lambda: Gamma(1, -1), "Gamma: beta must be a positive"),
        (lambda: Priors(concentration=[1, 2]).resolve(np.eye(3), 3, family("full")), r"concentration .* fits \(3,\), got \(2,\)"),
        (lambda: Priors(sds=HalfNormal([1, 2])).resolve(np.eye(3), 3, family("full")), r"HalfNormal: .* fits \(3, 3\)"),
    ],
)
def test_what_is_no_prior_is_refused(make, words):
    with pytest.raises(InvalidParameterError, match=words):
        make()
