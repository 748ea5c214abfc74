"""What each part of the prior says of a draw: the log-densities behind prior sensitivity."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import gammaln, xlogy

from bayesgmm.bayes.space import Space
from bayesgmm.covariance import Family
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.typing import FloatArray

__all__ = ["log_prior_terms"]


def log_prior_terms(params: MixtureParams, priors: ResolvedPriors, family: Family) -> dict[str, FloatArray]:
    """Return the log prior density of weights, means, standard deviations and correlations, each summed over the mixture.

    They are densities of the parameters themselves, without the Jacobians of the sampler's transforms: what ``pm.compute_log_prior``
    gives for the model of :func:`bayesgmm.build_model`. They are those in the frame of the priors, and correlations are taken as Cholesky
    factors, as there.

    Parameters
    ----------
    params : MixtureParams
        With the labels that the sampler used: priors may differ between components.
    priors : ResolvedPriors
        In the units of the mixtures.
    family : Family

    Returns
    -------
    dict of arrays of shape ``params.batch_shape``
        ``weights`` (absent for one component), ``means``, ``sds`` and ``corr`` (absent where there are no correlations).

    Examples
    --------
    >>> from bayesgmm.rows import MemoryRows
    >>> from bayesgmm.covariance import family
    >>> from bayesgmm.priors import HalfNormal, Priors
    >>> X = np.array([[0.0], [1.0], [5.0], [6.0]])
    >>> priors = Priors(1.0, means_loc=0.0, means_scale=1.0, sds=HalfNormal(1.0), smallest_sd=0).resolve(MemoryRows(X), 2, family("full"))
    >>> mixture = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [0.0]], [[[1.0]], [[1.0]]])
    >>> {name: round(float(term), 3) for name, term in log_prior_terms(mixture, priors, family("full")).items()}
    {'weights': 0.0, 'means': -1.838, 'sds': -1.452}
    """
    space = Space.under(priors, family)
    params = space.in_frame(params)
    terms = {} if params.n_components == 1 else {"weights": _dirichlet(params.weights, priors.concentration)}
    terms["means"] = stats.norm.logpdf(params.means, priors.means_loc, priors.means_scale).sum((-2, -1))
    terms["sds"] = priors.sds.log_density(space.free_sds(params), len(family.sds_dims))
    if space.n_matrices:
        terms["corr"] = _lkj(params, space.n_matrices, priors)
    return terms


def _dirichlet(weights: FloatArray, concentration: FloatArray) -> FloatArray:
    constant = gammaln(concentration.sum()) - gammaln(concentration).sum()
    return constant + xlogy(concentration - 1.0, weights).sum(-1)


def _lkj(params: MixtureParams, n_matrices: int, priors: ResolvedPriors) -> FloatArray:
    """Density of the Cholesky factors: that of the matrices, times the Jacobian ``prod_i L_ii^(D - 1 - i)``.

    Row i counts from 0; the Jacobian of a correlation matrix in its factor is that of Stan's ``lkj_corr_cholesky``.
    """
    D = params.n_features
    diagonal = np.diagonal(params.scale_tril, axis1=-2, axis2=-1) / params.sds
    logs: FloatArray = np.log(diagonal[..., :n_matrices, :])
    jacobian: FloatArray = ((D - 1.0 - np.arange(D)) * logs).sum((-2, -1))
    return priors.correlations.log_density(2.0 * logs.sum(-1), D) + jacobian
