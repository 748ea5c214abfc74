"""The free parameters of a mixture as one vector without constraints, in which the maximum-likelihood estimate is nearly normal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from bayesgmm.covariance import Family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray, IntArray

_SHARED = {"full": False, "tied": True, "diag": False, "spherical": False, "EII": True, "EEI": True}
"""Families whose free parameters are entries of the factors, and whether all components have the same."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Which number of the vector stands for what.

    The vector of P numbers holds, in this order: the logits ``log(w_k / w_K)`` of the weights (K - 1); the means (K x D, by component);
    and the free entries of the covariances' lower Cholesky factors, row by row, those on the diagonal as logs (log-Cholesky: Pinheiro
    and Bates 1996, Statistics and Computing 6, 289-296). Under "diag" these are the logs of the standard deviations, under "spherical"
    one of them per component; under "tied", "EEI" and "EII" one factor serves all components.

    Parameters
    ----------
    n_components, n_features : int
    rows, columns : int arrays of shape (E,)
        Where a factor is not zero.
    places : int array of shape (K, C)
        Where in the vector each component's covariance stands; C is 1 under "spherical" and "EII", otherwise E.
    """

    n_components: int
    n_features: int
    rows: IntArray
    columns: IntArray
    places: IntArray

    @classmethod
    def of(cls, family: Family, n_components: int, n_features: int) -> Coordinates:
        """Return the coordinates of mixtures of a family.

        Raises
        ------
        InvalidParameterError
            If the family is not one of those just named.

        Examples
        --------
        >>> from bayesgmm.covariance import family
        >>> Coordinates.of(family("tied"), n_components=3, n_features=2).size
        11
        """
        K, D = n_components, n_features
        if family.name not in _SHARED:
            raise InvalidParameterError(
                f"standard errors from the scores are there for the covariance types {', '.join(map(repr, _SHARED))}, not for "
                f"{family.name!r}: use the bootstrap"
            )
        rows, columns = np.diag_indices(D) if family.diagonal else np.tril_indices(D)
        size = family.n_covariance_parameters(K, D)
        per_component = size if _SHARED[family.name] else size // K
        places = np.broadcast_to(np.arange(size).reshape(-1, per_component), (K, per_component))
        return cls(K, D, rows, columns, K - 1 + K * D + places)

    @property
    def size(self) -> int:
        """Number of free parameters P."""
        return int(self.places.max()) + 1

    def component(self, k: int) -> IntArray:
        """Return where in the vector component k's mean and covariance stand: D + C places."""
        first = self.n_components - 1 + k * self.n_features
        return np.concatenate([np.arange(first, first + self.n_features), self.places[k]])

    @property
    def logs(self) -> FloatArray:
        """Which of a component's C covariance coordinates are logs (C,), one or zero."""
        return self.fold((self.rows == self.columns).astype(float)).clip(max=1.0)

    def fold(self, entries: FloatArray) -> FloatArray:
        """Return derivatives ``(..., C)`` with respect to the coordinates from those with respect to a factor's entries ``(..., E)``."""
        return entries.sum(-1, keepdims=True) if self.places.shape[1] < len(self.rows) else entries

    def basis(self, factor: FloatArray) -> FloatArray:
        """Return how a component's Cholesky factor (D, D) changes with each of its coordinates: ``(C, D, D)``."""
        changes = np.zeros((len(self.rows), *factor.shape))
        changes[np.arange(len(changes)), self.rows, self.columns] = self.chain(factor)
        return np.moveaxis(self.fold(np.moveaxis(changes, 0, -1)), -1, 0)

    def chain(self, factor: FloatArray) -> FloatArray:
        """Return the derivatives (E,) of a factor's entries with respect to their own coordinates: themselves for logs, otherwise one."""
        return np.where(self.rows == self.columns, factor[self.rows, self.columns], 1.0)

    def vector(self, params: MixtureParams) -> FloatArray:
        """Return the vectors ``(..., P)`` of mixtures of the family.

        Raises
        ------
        InvalidParameterError
            If they are not of the family.
        """
        logs, batch = params.log_weights, params.batch_shape
        vector = np.empty((*batch, self.size))
        with np.errstate(invalid="ignore"):  # minus infinity less minus infinity, for weights of zero
            vector[..., : self.n_components - 1] = logs[..., :-1] - logs[..., -1:]
        vector[..., self.n_components - 1 : self.places.min()] = params.means.reshape(*batch, -1)
        entries = params.scale_tril[..., self.rows, self.columns]
        with np.errstate(divide="ignore", invalid="ignore"):
            entries = np.where(self.rows == self.columns, np.log(entries), entries)
        vector[..., self.places] = entries[..., : self.places.shape[1]]
        if not np.allclose(self._factors(vector), params.scale_tril, rtol=1e-6, atol=1e-9 * np.abs(params.scale_tril).max()):
            raise InvalidParameterError("params: the covariances are not of the given family; give the family that was fitted")
        return vector

    def params(self, vector: FloatArray) -> MixtureParams:
        """Return the mixtures of vectors ``(..., P)``."""
        batch, K, D = vector.shape[:-1], self.n_components, self.n_features
        logits = np.concatenate([vector[..., : K - 1], np.zeros((*batch, 1))], axis=-1)
        means = vector[..., K - 1 : K - 1 + K * D].reshape(*batch, K, D)
        return MixtureParams(softmax(logits, axis=-1), means, self._factors(vector))

    def _factors(self, vector: FloatArray) -> FloatArray:
        entries, on_diagonal = vector[..., self.places], self.rows == self.columns
        factors = np.zeros((*vector.shape[:-1], self.n_components, self.n_features, self.n_features))
        factors[..., self.rows, self.columns] = np.where(on_diagonal, np.exp(np.where(on_diagonal, entries, 0.0)), entries)
        return factors
