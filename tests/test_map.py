"""MAP: EM with priors ends where the model's log-posterior is flat, in the natural space, and climbs on the way."""

import numpy as np
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.space import Space
from bayesgmm.covariance import family
from bayesgmm.em.penalties import penalty_of
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.priors import Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, LogNormal
from tests.conftest import random_mixture

PRIORS = {
    "half-normal": HalfNormal(1.3),
    "half-Cauchy": HalfCauchy(0.7),
    "half-t": HalfStudentT(4.0, 1.1),
    "log-normal": LogNormal(0.2, 0.8),
    "exponential": Exponential(1.5),
    "gamma": Gamma(2.5, 1.2),
}
FAMILIES = ["full", "tied", "diag", "spherical"]


def natural_log_posterior(q, X, K, fam, priors):
    """The fast density (which equals the model's) with the Jacobian of every transform taken away: by an independent route."""
    space = Space(K, X.shape[1], fam)
    params = space.constrain(q)
    value, _ = LogPosterior(X, space, priors)(q)
    D = X.shape[1]
    jacobian = np.log(params.weights).sum() + np.log(K) + np.log(space.free_sds(params)).sum()
    if space.n_matrices:
        factors = (params.scale_tril / params.sds[..., None])[: space.n_matrices]
        logs = np.log(np.diagonal(factors, axis1=1, axis2=2))
        rows = np.arange(1, D + 1)
        # The transform's own Jacobian, and that of correlations against the elements of their Cholesky factor.
        jacobian += ((rows + 1) * logs).sum() + ((D - rows) * logs).sum()
    return value - jacobian


def slopes(function, q, h=1e-5):
    out = np.empty(len(q))
    for i in range(len(q)):
        step = np.zeros(len(q))
        step[i] = h
        out[i] = (function(q + step) - function(q - step)) / (2 * h)
    return out


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("prior", PRIORS)
def test_the_slope_of_the_log_posterior_vanishes_at_the_mode(name, prior, rng):
    fam = family(name)
    X = random_mixture(rng, 2, 3).sample(60, rng)[0]
    priors = bg.Priors(concentration=[2.0, 3.0], sds=PRIORS[prior], eta=2.5, means_loc=0.5, means_scale=3.0)
    em = bg.GaussianMixture(2, covariance_type=name, priors=priors, tol=1e-14, random_state=0).fit(X)
    assert em.status_ == "converged"
    resolved = priors.resolve(X, 2, fam)
    q = Space(2, 3, fam).unconstrain(em.params_)
    found = natural_log_posterior(q, X, 2, fam, priors=resolved)
    log_prior = penalty_of(priors, X, 2, fam).log_density(em.weights_, em.means_, em.params_.covariances)
    assert found == pytest.approx(em.log_likelihood_ + log_prior, rel=1e-10)
    assert em.log_prior_ == pytest.approx(log_prior)
    np.testing.assert_allclose(slopes(lambda p: natural_log_posterior(p, X, 2, fam, resolved), q), 0.0, atol=2e-4)
