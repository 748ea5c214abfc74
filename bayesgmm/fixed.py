"""Parameters of components that are known and kept: a background, an instrument, a group that was measured before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from bayesgmm.covariance import Family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.text import listed
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Fixed"]

_NAMES = ("weights", "means", "covariances")
_SYMMETRIC = 1e-8


@dataclass(frozen=True, eq=False)
class Fixed:
    """What is fixed of K components in D columns; NaN stands for what is free.

    Parameters
    ----------
    weights : array of shape (K,)
    means : array of shape (K, D)
        A component's mean is fixed as a whole, or free.
    covariances : array of shape (K, D, D)
        And so is its covariance.
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray

    @classmethod
    def of(cls, given: Mapping[str, Any], n_components: int, n_features: int, family: Family) -> Fixed:
        """Return what a user gives: for "weights", "means" or "covariances" a dict by component, or an array with NaN for what is free.

        Raises
        ------
        InvalidParameterError
            If it does not fit the model or itself.

        Examples
        --------
        >>> from bayesgmm.covariance import family
        >>> Fixed.of({"means": {1: [0.0, 5.0]}}, 2, 2, family("full")).means
        array([[nan, nan],
               [ 0.,  5.]])
        """
        K, D = n_components, n_features
        unknown = sorted(map(repr, set(given) - set(_NAMES)))
        if unknown or not given:
            raise InvalidParameterError(
                f"fixed must be a dict with some of {listed(map(repr, _NAMES))}, got {listed(unknown) or given}"
            )
        shapes = {"weights": (), "means": (D,), "covariances": (D, D)}
        parts = {name: _filled(name, given.get(name, {}), K, shape) for name, shape in shapes.items()}
        fixed = cls(**parts)
        _check(fixed, family)
        return fixed

    @property
    def has_weight(self) -> np.ndarray:
        """Of which components (K,) the weight is fixed."""
        return ~np.isnan(self.weights)

    @property
    def has_mean(self) -> np.ndarray:
        """Of which components (K,) the mean is fixed."""
        return ~np.isnan(self.means).any(-1)

    @property
    def has_covariance(self) -> np.ndarray:
        """Of which components (K,) the covariance is fixed."""
        return ~np.isnan(self.covariances).any((-2, -1))

    @property
    def names(self) -> str:
        """What is fixed, in words."""
        parts = {"weight": self.has_weight, "mean": self.has_mean, "covariance": self.has_covariance}
        return ", ".join(f"{name} of component {k}" for name, has in parts.items() for k in np.flatnonzero(has))

    @property
    def is_alike(self) -> np.ndarray:
        """Say for each two components (K, K) whether nothing that is fixed tells one from the other."""
        free = ~(self.has_weight | self.has_mean | self.has_covariance)
        return (free[:, None] & free) | np.eye(len(free), dtype=bool)

    def n_parameters(self, family: Family) -> int:
        """Return how many free parameters fewer a model has."""
        K, D = self.means.shape
        weights = min(int(self.has_weight.sum()), K - 1)
        one_more = family.n_covariance_parameters(2, D) - family.n_covariance_parameters(1, D)
        return int(weights + D * self.has_mean.sum() + one_more * self.has_covariance.sum())

    def seen_from(self, origin: FloatArray) -> Fixed:
        """Return the same for values that are counted from another origin (D,)."""
        return replace(self, means=self.means - origin)

    def log_weights(self, logs: FloatArray) -> FloatArray:
        """Return log-weights (..., K) with those that are fixed in their place, and the others in what these leave."""
        if not self.has_weight.any():
            return logs
        known = np.log(self.weights, where=self.has_weight, out=np.full(len(self.weights), -np.inf))
        left = 1.0 - self.weights[self.has_weight].sum()
        if self.has_weight.all():
            return np.broadcast_to(known, logs.shape).copy()
        free = np.where(self.has_weight, -np.inf, logs)
        free = free - np.logaddexp.reduce(free, axis=-1, keepdims=True) + np.log(left)
        return np.where(self.has_weight, known, free)

    def places(self, means: FloatArray, scale_tril: FloatArray) -> IntArray:
        """Return the order (K,) in which components of a mixture come nearest to those whose parameters are fixed."""
        K = len(means)
        away = np.where(self.has_mean[:, None], self.means, 0.0)[:, None] - means
        z = np.linalg.solve(scale_tril, away[..., None])[..., 0]
        cost = np.where(self.has_mean[:, None], np.log1p(np.square(z).sum(-1)), 0.0)
        order: IntArray = linear_sum_assignment(cost)[1]
        assert len(order) == K
        return order


def _filled(name: str, given: Any, K: int, shape: tuple[int, ...]) -> FloatArray:
    """Return an array (K, ...) of what is given by component, NaN where nothing is."""
    if not isinstance(given, Mapping):
        try:
            values = np.asarray(given, dtype=float)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape != (K, *shape):
            raise InvalidParameterError(
                f"fixed {name} must be a dict by component, or numbers of shape {(K, *shape)} with NaN for what is free, got {given!r}"
            )
        given = {k: value for k, value in enumerate(values) if not np.isnan(value).all()}
    out = np.full((K, *shape), np.nan)
    for k, value in given.items():
        if isinstance(k, bool) or not isinstance(k, Integral) or k not in range(K):
            raise InvalidParameterError(f"fixed {name} are of component {k!r}, and the components are 0 to {K - 1}")
        try:
            own = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            own = np.empty(0)
        if own.shape != shape or not np.isfinite(own).all():
            what = f"{(len(shape) and 'finite numbers of shape ' + str(shape)) or 'a number'}"
            raise InvalidParameterError(f"fixed {name} of component {k} must be {what}, got {value!r}")
        out[k] = own
    return out


def _check(fixed: Fixed, family: Family) -> None:
    weights = fixed.weights[fixed.has_weight]
    K = len(fixed.weights)
    if (weights <= 0).any() or weights.sum() > 1 + 1e-12 or (len(weights) < K and weights.sum() >= 1):
        raise InvalidParameterError(
            f"fixed weights must be positive, and leave something for the components without one, got {weights.tolist()}"
        )
    if len(weights) == K and abs(weights.sum() - 1) > 1e-9:
        raise InvalidParameterError(
            f"the weights of all components are fixed, and add up to {weights.sum():.6g}: they must add up to 1"
        )
    if fixed.has_covariance.any() and family.letters not in ("VVV", "VVI", "VII"):
        raise InvalidParameterError(
            f"fixed covariances need a covariance_type whose components have covariances of their own, 'full', 'diag' or 'spherical': "
            f"in {family.name!r} components share some of it"
        )
    for k in np.flatnonzero(fixed.has_covariance):
        matrix = fixed.covariances[k]
        is_symmetric = np.abs(matrix - matrix.T).max() <= _SYMMETRIC * np.abs(matrix).max()
        if not is_symmetric or np.linalg.eigvalsh(matrix).min() <= 0:
            raise InvalidParameterError(f"the fixed covariance of component {k} must be symmetric and positive definite")
        own = np.diag(matrix)
        if family.diagonal and not (matrix == np.diag(own)).all():
            raise InvalidParameterError(
                f"the fixed covariance of component {k} must be diagonal, as covariance_type={family.name!r} is"
            )
        if family.letters == "VII" and np.ptp(own) > _SYMMETRIC * own.max():
            raise InvalidParameterError(
                f"the fixed covariance of component {k} must have one variance, as covariance_type='spherical' has"
            )
