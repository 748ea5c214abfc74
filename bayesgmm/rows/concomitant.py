"""Weights that are not the same for all rows: of samples that have weights of their own, or that follow covariates of the rows.

Concomitant variables, in the words of Dayton and Macready (1988), Journal of the American Statistical Association 83, 173-178. Components
are the same for all rows. Rows with equal weights have one of S vectors of them, the shares.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, override

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.text import counted, listed
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Concomitant", "Covariates", "Samples"]

_MOST_NAMED = 6
_NEWTON_STEPS = 50
_STILL = 1e-12
_COLLINEAR = 1e-8
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Concomitant(ABC):
    """What the weights of rows depend on.

    Parameters
    ----------
    share_of : int array of shape (n,)
        Which of the shares each row has.
    """

    share_of: IntArray

    @property
    @abstractmethod
    def n_shares(self) -> int:
        """Number S of shares."""

    @abstractmethod
    def n_parameters(self, n_components: int) -> int:
        """Return the number of free parameters of all weights."""

    @abstractmethod
    def maximise(self, counts: FloatArray, shares: FloatArray) -> FloatArray:
        """Return the shares (S, K) that are best for expected counts of labels (S, K), from others near them."""

    @abstractmethod
    def again(self, given: Any, n_rows: int) -> Concomitant:
        """Return the same of other rows."""


@dataclass(frozen=True, eq=False)
class Samples(Concomitant):
    """Samples whose weights are their own.

    Parameters
    ----------
    names : tuple
    """

    names: tuple[Any, ...]

    @classmethod
    def of(cls, given: Any, n_rows: int) -> Samples:
        """Return the samples that rows are of.

        Raises
        ------
        InvalidDataError
            If there is not one for each row.
        """
        values = _one_each(given, n_rows)
        codes, names = pd.factorize(values, sort=True)
        return cls(codes, tuple(np.asarray(names, dtype=object).tolist()))

    @property
    @override
    def n_shares(self) -> int:
        return len(self.names)

    @override
    def n_parameters(self, n_components: int) -> int:
        return self.n_shares * (n_components - 1)

    @override
    def maximise(self, counts: FloatArray, shares: FloatArray) -> FloatArray:
        total = counts.sum(1, keepdims=True)
        return np.where(total > 0, counts, shares) / np.where(total > 0, total, shares.sum(1, keepdims=True))

    @override
    def again(self, given: Any, n_rows: int) -> Samples:
        values = _one_each(given, n_rows)
        place = {name: s for s, name in enumerate(self.names)}
        unknown = [value for value in dict.fromkeys(values.tolist()) if value not in place]
        if unknown:
            raise InvalidDataError(
                f"the fit has seen no sample {listed(map(repr, unknown), _MOST_NAMED)}, only {listed(map(repr, self.names), _MOST_NAMED)}: "
                "leave samples= out for the weights of all samples together"
            )
        return Samples(np.array([place[value] for value in values.tolist()], dtype=int), self.names)


def _one_each(given: Any, n_rows: int) -> np.ndarray:
    values = np.asarray(given)
    if values.shape != (n_rows,):
        raise InvalidDataError(
            f"samples must say for each of the {counted(n_rows, 'row')} of X which sample it is of, got shape {values.shape}"
        )
    missing = np.flatnonzero(pd.isna(values))
    if len(missing):
        raise InvalidDataError(f"samples has no value in row {missing[0]}: every row is of a sample")
    return values


@dataclass(frozen=True, eq=False)
class Covariates(Concomitant):
    """Covariates that weights follow by a multinomial logit.

    Parameters
    ----------
    names : tuple of str
    design : array of shape (S, P)
        The distinct rows of covariates, each column with mean zero and standard deviation one over the rows that were fitted.
    center, scale : arrays of shape (P,)
        That took them there.
    """

    names: tuple[str, ...]
    design: FloatArray
    center: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, given: Any, n_rows: int) -> Covariates:
        """Return the covariates of rows.

        Raises
        ------
        InvalidDataError
            If there are not as many as rows, or one is no number, does not vary or follows from the others.
        """
        Z, names = _numbers(given, n_rows)
        center, scale = Z.mean(0), Z.std(0)
        still = np.flatnonzero(scale <= _COLLINEAR * np.abs(center))
        if len(still):
            raise InvalidDataError(f"the covariate {names[still[0]]!r} has one value in all rows: leave it out")
        whole = np.column_stack([np.ones(n_rows), (Z - center) / scale])
        if np.linalg.matrix_rank(whole, tol=_COLLINEAR * np.sqrt(n_rows)) < whole.shape[1]:
            # The first that follows from those before it is named.
            last = next(
                p
                for p in range(1, len(names))
                if np.linalg.matrix_rank(whole[:, : p + 2], tol=_COLLINEAR * np.sqrt(n_rows)) < p + 2
            )
            raise InvalidDataError(
                f"the covariate {names[last]!r} follows from {listed(map(repr, names[:last]), _MOST_NAMED)}: leave it out"
            )
        return cls._at(Z, names, center, scale)

    @classmethod
    def _at(cls, Z: FloatArray, names: tuple[str, ...], center: FloatArray, scale: FloatArray) -> Covariates:
        distinct, which = np.unique((Z - center) / scale, axis=0, return_inverse=True)
        return cls(which.reshape(-1), names, distinct, center, scale)

    @property
    @override
    def n_shares(self) -> int:
        return len(self.design)

    @override
    def n_parameters(self, n_components: int) -> int:
        return (1 + len(self.names)) * (n_components - 1)

    @property
    def whole(self) -> FloatArray:
        """The design with a column of ones before it (S, 1 + P)."""
        return np.column_stack([np.ones(len(self.design)), self.design])

    def coefficients(self, shares: FloatArray) -> FloatArray:
        """Return intercept and coefficients (..., 1 + P, K) of shares (..., S, K); those of all components add up to zero."""
        logs = np.log(np.maximum(shares, _TINY))
        return np.linalg.pinv(self.whole) @ (logs - logs.mean(-1, keepdims=True))

    def shares(self, coefficients: FloatArray) -> FloatArray:
        """Return the shares (..., S, K) that have these coefficients (..., 1 + P, K)."""
        return np.exp(log_softmax(self.whole @ coefficients, axis=-1))

    @override
    def maximise(self, counts: FloatArray, shares: FloatArray) -> FloatArray:
        """Return the best shares by Newton's steps, each halved until it leads upwards."""
        K, A = counts.shape[1], self.whole
        if K == 1:
            return np.ones_like(counts)
        P = A.shape[1]
        total, B = counts.sum(1), self.coefficients(shares)[:, :-1] - self.coefficients(shares)[:, -1:]

        def height(B: FloatArray) -> float:
            return float((counts * log_softmax(np.column_stack([A @ B, np.zeros(len(A))]), axis=1)).sum())

        value = height(B)
        for _ in range(_NEWTON_STEPS):
            p = np.exp(log_softmax(np.column_stack([A @ B, np.zeros(len(A))]), axis=1))[:, :-1]
            slope = A.T @ (counts[:, :-1] - total[:, None] * p)
            curvature = np.einsum("sp,sq,sk,kl->pkql", A, A, total[:, None] * p, np.eye(K - 1), optimize=True)
            curvature -= np.einsum("sp,sq,s,sk,sl->pkql", A, A, total, p, p, optimize=True)
            step = np.linalg.lstsq(curvature.reshape(P * (K - 1), -1), slope.ravel(), rcond=1e-12)[0].reshape(P, K - 1)
            gained = -np.inf
            for half in range(30):
                new = height(B + step / 2**half)
                if new >= value:
                    gained, B = new - value, B + step / 2**half
                    break
            if not gained > _STILL * max(1.0, abs(value)):
                break
            value += gained
        return np.exp(log_softmax(np.column_stack([A @ B, np.zeros(len(A))]), axis=1))

    @override
    def again(self, given: Any, n_rows: int) -> Covariates:
        Z, names = _numbers(given, n_rows)
        if names != self.names:
            raise InvalidDataError(
                f"covariates are {listed(names, _MOST_NAMED)}, and those of the fit {listed(self.names, _MOST_NAMED)}"
            )
        return self._at(Z, names, self.center, self.scale)


def _numbers(given: Any, n_rows: int) -> tuple[FloatArray, tuple[str, ...]]:
    """Return covariates (n, P) and their names."""
    frame = given.to_frame() if isinstance(given, pd.Series) else given
    try:
        Z = np.asarray(frame, dtype=float)
    except (TypeError, ValueError):
        raise InvalidDataError("covariates must be numbers: turn categories into columns of zeros and ones") from None
    Z = Z[:, None] if Z.ndim == 1 else Z
    if Z.ndim != 2 or len(Z) != n_rows or not Z.shape[1]:
        raise InvalidDataError(f"covariates must have the shape ({n_rows}, P), a row for each row of X, got {np.shape(given)}")
    names = tuple(map(str, frame.columns)) if isinstance(frame, pd.DataFrame) else tuple(f"z{p}" for p in range(Z.shape[1]))
    bad = np.argwhere(~np.isfinite(Z))
    if len(bad):
        raise InvalidDataError(
            f"the covariate {names[bad[0][1]]!r} is {Z[tuple(bad[0])]} in row {bad[0][0]}: covariates must be finite numbers"
        )
    return Z, names
