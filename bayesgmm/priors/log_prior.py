"""The log-density of mixtures under priors, term by term: one home for EM's mode, for Laplace, for Gibbs sampling and for sensitivity.

A density depends on the measure. Terms are those of the parameters themselves; what the Jacobians of other measures add is said where it
is added. (The compiled density of the samplers and the PyMC model state the same terms once more, and tests hold them to each other.)
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import gammaln, xlogy

from bayesgmm.covariance import Family, diagonals
from bayesgmm.params import MixtureParams
from bayesgmm.priors.conjugate import ResolvedConjugatePriors
from bayesgmm.priors.model import ResolvedPriors
from bayesgmm.typing import FloatArray

__all__ = ["log_conjugate_density", "log_conjugate_prior", "log_dirichlet", "log_prior_terms", "terms_in_frame"]


def log_dirichlet(weights: FloatArray, concentration: FloatArray) -> FloatArray:
    """Return the log-density (...) of weights (..., K) under a Dirichlet distribution; with a concentration of one, zero weights count."""
    constant = gammaln(concentration.sum()) - gammaln(concentration).sum()
    return np.asarray(constant + xlogy(concentration - 1.0, weights).sum(-1))


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
    >>> from bayesgmm.covariance import family
    >>> from bayesgmm.priors import HalfNormal, Priors
    >>> from bayesgmm.rows import MemoryRows
    >>> rows = MemoryRows(np.array([[0.0], [1.0], [5.0], [6.0]]))
    >>> priors = Priors(1.0, means_loc=0.0, means_scale=1.0, sds=HalfNormal(1.0), smallest_sd=0).resolve(rows, 2, family("full"))
    >>> mixture = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [0.0]], [[[1.0]], [[1.0]]])
    >>> {name: round(float(term), 3) for name, term in log_prior_terms(mixture, priors, family("full")).items()}
    {'weights': 0.0, 'means': -1.838, 'sds': -1.452}
    """
    inside = priors.from_data(params)
    terms = terms_in_frame(inside.weights, inside.means, inside.scale_tril, priors, family, of_factors=True)
    if params.n_components == 1:
        del terms["weights"]
    return terms


def terms_in_frame(
    weights: FloatArray, means: FloatArray, scale_tril: FloatArray, priors: ResolvedPriors, family: Family, *, of_factors: bool
) -> dict[str, FloatArray]:
    """Return the terms of :func:`log_prior_terms` for mixtures (..., K), (..., K, D), (..., K, D, D) in the frame of the priors.

    ``of_factors`` says whether correlations are measured by their Cholesky factors, or by the matrices themselves.
    """
    K, D = means.shape[-2:]
    sds = np.sqrt(np.square(scale_tril).sum(-1))
    terms = {
        "weights": log_dirichlet(weights, priors.concentration),
        "means": stats.norm.logpdf(means, priors.means_loc, priors.means_scale).sum((-2, -1)),
        "sds": priors.sds.log_density(family.free_sds(sds), len(family.sds_dims)),
    }
    if not family.has_correlations(D):
        return terms
    logs = np.log(diagonals(scale_tril) / sds)[..., : family.n_blocks(K), :]
    terms["corr"] = priors.correlations.log_density(2.0 * logs.sum(-1), D)
    if of_factors:
        # The Jacobian of a matrix in its factor, prod_i L_ii^(D - 1 - i) with rows counted from 0 (Stan's lkj_corr_cholesky).
        terms["corr"] = terms["corr"] + ((D - 1.0 - np.arange(D)) * logs).sum((-2, -1))
    return terms


def log_conjugate_prior(params: MixtureParams, priors: ResolvedConjugatePriors, family: Family) -> FloatArray:
    """Return the log-density of mixtures under conjugate priors, in the measure of weights, means, logs of sds, and correlations.

    Parameters
    ----------
    params : MixtureParams
        Any batch shape; before rounding, if the priors know of any.
    priors : ResolvedConjugatePriors
        In the coordinates of the mixtures.
    family : Family

    Returns
    -------
    array of shape ``params.batch_shape``

    Notes
    -----
    A covariance matrix is ``s_i s_j r_ij``, so that its density gains the Jacobian ``2^D prod_i s_i^(D + 1)`` in these, and that of a
    variance ``2 s^2``.
    """
    logs = np.log(family.free_sds(params.sds)).reshape(*params.batch_shape, -1)
    each = np.log(2.0) + (2.0 if family.diagonal else params.n_features + 1.0) * logs
    return log_conjugate_density(params.weights, params.means, params.scale_tril, priors, family) + each.sum(-1)


def log_conjugate_density(
    weights: FloatArray, means: FloatArray, scale_tril: FloatArray, priors: ResolvedConjugatePriors, family: Family
) -> FloatArray:
    """Return the log-density (...) of mixtures (..., K), (..., K, D), (..., K, D, D) in the measure of weights, means and covariances.

    Diagonal and spherical covariances are measured by their variances.

    Notes
    -----
    Fraley and Raftery (2007), Journal of Classification 24, 155-181, section 3.
    """
    D, shrinkage = means.shape[-1], priors.shrinkage
    z = np.linalg.solve(scale_tril, (means - priors.means_loc)[..., None])[..., 0]
    log_det = 2.0 * np.log(diagonals(scale_tril)).sum(-1)
    normal = 0.5 * D * np.log(shrinkage / (2 * np.pi)) - 0.5 * log_det - 0.5 * shrinkage * np.square(z).sum(-1)
    spread = priors.log_density_of_covariances(scale_tril, family)
    return np.asarray(log_dirichlet(weights, priors.concentration) + normal.sum(-1) + spread)
