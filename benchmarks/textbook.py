"""The model most people would write: ``pm.Mixture`` of batched ``pm.MvNormal``, labels summed out by PyMC.

Its priors are independent and along the columns. Ours can say the same, so that the posterior is one and results can be compared before
times.
"""

from __future__ import annotations

import numpy as np
import pymc as pm

from bayesgmm.covariance import family
from bayesgmm.priors import LogNormal, Priors, ResolvedPriors
from bayesgmm.rows import MemoryRows


def textbook_priors(X: np.ndarray, K: int) -> ResolvedPriors:
    """Return the priors of the textbook model of X (N, D) with K components."""
    priors = Priors(sds=LogNormal(np.log(X.std(0)) - 0.5, 1.0), eta=2.0, smallest_sd=0.0)
    return priors.resolve(MemoryRows(X), K, family("full"))


def textbook_model(X: np.ndarray, K: int) -> pm.Model:
    """Return the model of X (N, D) with K components."""
    D = X.shape[1]
    priors = textbook_priors(X, K)
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", priors.concentration, shape=K)
        means = pm.Normal("means", priors.means_loc, priors.means_scale, shape=(K, D))
        sds = pm.LogNormal("sds", priors.sds.mu, priors.sds.sigma, shape=(K, D))
        factor = pm.LKJCorr("corr_cholesky", n=D, eta=priors.correlations.etas[0], shape=(K, D, D))
        components = pm.MvNormal.dist(mu=means, chol=sds[..., None] * factor)
        pm.Mixture("x", w=weights, comp_dists=components, observed=X)
    return model
