"""Conjugate priors of draws: their log-density, and the same priors in other coordinates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import gammaln, xlogy

from bayesgmm.bayes.space import Space
from bayesgmm.covariance import Family, diagonals
from bayesgmm.frame import Frame
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedConjugatePriors
from bayesgmm.typing import FloatArray

__all__ = ["in_frame", "log_conjugate_prior"]


def in_frame(priors: ResolvedConjugatePriors, frame: Frame) -> ResolvedConjugatePriors:
    """Return the priors of the same mixture in the coordinates of a frame."""
    loc, scale = frame.standardise(priors.means_loc[None])[0], frame.covariance_in(priors.scale)
    rounding = None if priors.rounding is None else frame.covariance_in(priors.rounding)
    return replace(priors, means_loc=loc, scale=scale, rounding=rounding)


def log_conjugate_prior(params: MixtureParams, priors: ResolvedConjugatePriors, family: Family) -> FloatArray:
    """Return the log-density of mixtures under conjugate priors.

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
        In the measure of weights, means, logs of the free standard deviations, and correlations.

    Notes
    -----
    Fraley and Raftery (2007), Journal of Classification 24, 155-181, section 3. A covariance matrix is ``s_i s_j r_ij``, so its density
    gains the Jacobian ``2^D prod_i s_i^(D + 1)``, and that of a variance ``2 s^2``.
    """
    D, shrinkage = params.n_features, priors.shrinkage
    z = np.linalg.solve(params.scale_tril, (params.means - priors.means_loc)[..., None])[..., 0]
    normal = 0.5 * D * np.log(shrinkage / (2 * np.pi)) - 0.5 * _log_det(params) - 0.5 * shrinkage * np.square(z).sum(-1)
    logs = np.log(Space(params.n_components, D, family).free_sds(params))
    each = np.log(2.0) + (2.0 if family.diagonal else D + 1.0) * logs.reshape(*params.batch_shape, -1)
    spread = priors.log_density_of_covariances(params.scale_tril, family) + each.sum(-1)
    return _log_dirichlet(params.weights, priors.concentration) + normal.sum(-1) + spread


def _log_dirichlet(weights: FloatArray, concentration: FloatArray) -> FloatArray:
    constant = gammaln(concentration.sum()) - gammaln(concentration).sum()
    return constant + xlogy(concentration - 1.0, weights).sum(-1)


def _log_det(params: MixtureParams) -> FloatArray:
    return 2.0 * np.log(diagonals(params.scale_tril)).sum(-1)
