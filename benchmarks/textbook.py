"""The model most people would write: ``pm.Mixture`` of batched ``pm.MvNormal``, labels summed out by PyMC.

Priors are our defaults, so the posterior is the same and results can be compared before times.
"""

from __future__ import annotations

import numpy as np
import pymc as pm

from bayesgmm.covariance import family
from bayesgmm.priors import Priors


def textbook_model(X: np.ndarray, K: int) -> pm.Model:
    """Return the model of X (N, D) with K components."""
    D = X.shape[1]
    priors = Priors().resolve(X, K, family("full"))
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", priors.concentration, shape=K)
        means = pm.Normal("means", priors.means_loc, priors.means_scale, shape=(K, D))
        sds = pm.LogNormal("sds", priors.sds.mu, priors.sds.sigma, shape=(K, D))
        factor = pm.LKJCorr("corr_cholesky", n=D, eta=priors.eta, shape=(K, D, D))
        components = pm.MvNormal.dist(mu=means, chol=sds[..., None] * factor)
        pm.Mixture("x", w=weights, comp_dists=components, observed=X)
    return model
