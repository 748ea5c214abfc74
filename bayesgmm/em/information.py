"""How well the data determine a maximum-likelihood fit: standard errors from scores and information matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.coordinates import Coordinates
from bayesgmm.em.scores import Information, add_information, in_coordinates
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.threads import libraries_on_one_thread
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows
from bayesgmm.typing import FloatArray

__all__ = ["ParameterErrors", "StandardErrors", "standard_errors"]

type ErrorKind = Literal["sandwich", "observed", "empirical"]
KINDS = ("sandwich", "observed", "empirical")
_SINGULAR = 1e-12  # least eigenvalue, after scaling the diagonal to one, that is still taken for information
_OFF_MAXIMUM = 0.01  # nats: more left to gain than this, and the fit is said not to be at a maximum


@dataclass(frozen=True, eq=False)
class ParameterErrors:
    """Standard errors of a mixture's parameters, in the units of the data.

    Parameters
    ----------
    weights : array of shape (K,)
    means, sds : arrays of shape (K, D)
    covariances : array of shape (K, D, D)
    """

    weights: FloatArray
    means: FloatArray
    sds: FloatArray
    covariances: FloatArray


@dataclass(frozen=True, eq=False)
class StandardErrors(ParameterErrors):
    """Standard errors from an information matrix, and the normal distribution that they belong to.

    Parameters
    ----------
    weights, means, sds, covariances : arrays
        As in :class:`ParameterErrors`; NaN where the information is singular.
    kind : {"sandwich", "observed", "empirical"}
    coordinates : Coordinates
    vector : array of shape (P,)
        The fit in these coordinates.
    covariance : array of shape (P, P)
        Estimated covariance matrix of ``vector``; NaN where the information is singular.
    note : str
        What the reader must know before trusting the numbers; empty if there is nothing.
    """

    kind: ErrorKind
    coordinates: Coordinates
    vector: FloatArray
    covariance: FloatArray
    note: str = ""

    def draws(self, n_draws: int, rng: np.random.Generator) -> MixtureParams:
        """Draw mixtures from the normal approximation: batch shape ``(n_draws,)``.

        They are normal in coordinates without constraints, so that every draw is a mixture of the family.

        Raises
        ------
        InvalidParameterError
            If there is no approximation because the information is singular.
        """
        if n_draws < 1:
            raise InvalidParameterError(f"n_draws must be at least 1, got {n_draws}")
        if not np.isfinite(self.covariance).all():
            raise InvalidParameterError(f"there is nothing to draw from. {self.note}")
        scale = np.sqrt(np.diag(self.covariance))
        scale = np.where(scale > 0, scale, 1.0)
        values, vectors = np.linalg.eigh(self.covariance / np.outer(scale, scale))
        root = scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
        return self.coordinates.params(self.vector + rng.standard_normal((n_draws, len(root))) @ root.T)


@libraries_on_one_thread()
def standard_errors(rows: MemoryRows, params: MixtureParams, family: Family, kind: ErrorKind = "sandwich") -> StandardErrors:
    """Return the standard errors of a maximum-likelihood fit.

    Parameters
    ----------
    rows : MemoryRows
        Those that were fitted. One that lacks values has the score of the marginal density of what it has.
    params : MixtureParams
        The fit, batch shape ``()``.
    family : Family
        The covariance family that was fitted: full, tied, diag or spherical.
    kind : {"sandwich", "observed", "empirical"}
        Inverse of the observed information, inverse of the empirical information, or ``H^-1 S H^-1`` of both, which holds even where the
        data are no Gaussian mixture (Huber 1967; White 1982, Econometrica 50, 1-25; for mixtures Boldea and Magnus 2009, Journal of the
        American Statistical Association 104, 1539-1549).

    Returns
    -------
    StandardErrors
        NaN, with a sentence in ``note``, where the information is singular: at a boundary, or where two components say the same.

    Raises
    ------
    InvalidParameterError
        If the family has no scores here, or ``params`` or ``kind`` cannot be used.
    InvalidDataError
        If the rows do not fit the mixture.

    Notes
    -----
    By the delta method from the coordinates without constraints; at the fit this is the same as working in the natural ones. With one
    component these are the textbook errors, ``sd / sqrt(N)`` for a mean.

    Examples
    --------
    >>> from bayesgmm.covariance import family
    >>> X = np.random.default_rng(1).normal(5.0, 2.0, size=(400, 1))
    >>> fit = MixtureParams.from_covariances([1.0], [X.mean(0)], [[[X.var()]]])
    >>> errors = standard_errors(MemoryRows(X), fit, family("full"))
    >>> bool(np.isclose(errors.means[0, 0], X.std() / 20))
    True
    """
    if kind not in KINDS:
        raise InvalidParameterError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    coordinates, vector = in_coordinates(rows, params, family)
    if np.isfinite(vector).all():
        covariance, note = _covariance(add_information(rows, params, family, coordinates), kind)
    else:
        covariance, note = None, "A component has a weight of zero, so its parameters mean nothing: fit fewer components."
    if covariance is None:
        covariance = np.full((coordinates.size, coordinates.size), np.nan)
    weights, means, sds, covariances = _delta(params, coordinates, covariance)
    return StandardErrors(weights, means, sds, covariances, kind, coordinates, vector, covariance, note)


def _covariance(found: Information, kind: ErrorKind) -> tuple[FloatArray | None, str]:
    """Return the covariance matrix of the coordinates, or None, and what there is to say."""
    bread = inverse(found.empirical if kind == "empirical" else found.observed)
    if bread is None:
        return None, (
            f"The {'empirical' if kind == 'empirical' else 'observed'} information is singular or not positive definite, so the "
            "log-likelihood has no regular maximum here and there are no standard errors: look for components that collapse or "
            "coincide, fit fewer components, or use the bootstrap."
        )
    left = 0.5 * float(found.score @ bread @ found.score)
    note = (
        ""
        if left < _OFF_MAXIMUM
        else (
            f"The log-likelihood could still grow by about {left:.2g}, so the fit is not at a maximum and the standard errors are rough: "
            "fit with a smaller tol, without reg_covar, or with fewer components if a covariance rests on its floor."
        )
    )
    return (bread @ found.empirical @ bread if kind == "sandwich" else bread), note


def inverse(matrix: FloatArray) -> FloatArray | None:
    """Return the inverse of a positive definite matrix, whatever the units of its rows, or None if it has none."""
    diagonal = np.diag(matrix)
    if not (diagonal > 0).all():
        return None
    scale = 1.0 / np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(matrix * np.outer(scale, scale))
    if values[0] <= _SINGULAR * len(values):
        return None
    return ((vectors / values) @ vectors.T) * np.outer(scale, scale)


def _delta(params: MixtureParams, coordinates: Coordinates, covariance: FloatArray) -> tuple[FloatArray, ...]:
    """Carry the covariance matrix of the coordinates over to weights, means, standard deviations and covariances: delta method."""
    K, D, w = params.n_components, params.n_features, params.weights
    slopes = (np.diag(w) - np.outer(w, w))[:, :-1]
    weights = _root(slopes, covariance[: K - 1, : K - 1])
    means = np.sqrt(np.diag(covariance)[K - 1 : K - 1 + K * D]).reshape(K, D)
    covariances = np.empty((K, D, D))
    for k, factor in enumerate(params.scale_tril):
        change = coordinates.basis(factor) @ factor.T
        slopes = (change + np.swapaxes(change, 1, 2)).reshape(len(change), -1).T
        places = coordinates.places[k]
        covariances[k] = _root(slopes, covariance[np.ix_(places, places)]).reshape(D, D)
    sds = np.diagonal(covariances, axis1=1, axis2=2) / (2 * params.sds)
    return weights, means, sds, covariances


def _root(slopes: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the standard errors of linear functions with these slopes (n, p)."""
    return np.sqrt(np.maximum(((slopes @ covariance) * slopes).sum(1), 0.0))
