"""The parameters of a Gaussian mixture, one or a batch of them, as a value."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import evaluate, log_density_draws, responsibility_draws
from bayesgmm.mixture import build, io, marginal, modes, overlap, univariate
from bayesgmm.random import generator
from bayesgmm.rows import Chunk, as_chunk
from bayesgmm.tables.numeric import numbers_in
from bayesgmm.typing import ArrayLike, FloatArray, IntArray, RandomState
from bayesgmm.underflow import guard

__all__ = ["MixtureParams"]

_WEIGHT_SUM_TOLERANCE = 1e-8
_ROWS_LOOKED_AT = 200
_SAME_DENSITY = 0.05


@dataclass(frozen=True, eq=False)
class MixtureParams:
    """Weights, means and Cholesky factors of one Gaussian mixture, or of a batch of them.

    An EM fit has batch shape ``()``, a posterior ``(chain, draw)``; every method treats both alike.

    Parameters
    ----------
    weights : array of shape (..., K)
        Positive or zero, adding up to one.
    means : array of shape (..., K, D)
        In the units of the data.
    scale_tril : array of shape (..., K, D, D)
        Lower triangular Cholesky factors L of the covariances, ``Sigma = L L'``, with positive diagonals.
    shares : array of shape (..., S, K), optional
        Weights that rows have which know that they are of one of S kinds (samples, say); ``weights`` are those of all other rows.

    Raises
    ------
    InvalidParameterError
        If shapes disagree, weights don't add up to one, or a factor is not lower triangular with a positive diagonal.

    Examples
    --------
    >>> params = MixtureParams.from_covariances([0.7, 0.3], [[0.0], [4.0]], [[[1.0]], [[1.0]]])
    >>> params.responsibilities([[0.0], [2.0]]).round(3)
    array([[1. , 0. ],
           [0.7, 0.3]])
    """

    weights: FloatArray
    means: FloatArray
    scale_tril: FloatArray
    shares: FloatArray | None = None

    def __post_init__(self) -> None:
        for name in ("weights", "means", "scale_tril") if self.shares is None else ("weights", "means", "scale_tril", "shares"):
            array = np.array(getattr(self, name), dtype=float, order="C")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        _check_shapes(self.weights, self.means, self.scale_tril)
        _check_values(self.weights, self.means, self.scale_tril)
        _check_shares(self.weights, self.shares)

    @classmethod
    def from_covariances(cls, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> MixtureParams:
        """Build the value from covariance matrices.

        Parameters
        ----------
        weights, means : arrays of shape (..., K) and (..., K, D)
        covariances : array of shape (..., K, D, D)
            Symmetric positive definite.

        Returns
        -------
        MixtureParams

        Raises
        ------
        InvalidParameterError
            If a matrix is not symmetric positive definite (the first such component is named), or as for the class.
        """
        covariances = np.asarray(covariances, dtype=float)
        if covariances.ndim < 3 or covariances.shape[-1] != covariances.shape[-2]:
            raise InvalidParameterError(f"covariances must have shape (..., K, D, D), got {covariances.shape}")
        if not np.allclose(covariances, np.swapaxes(covariances, -1, -2), rtol=1e-8, atol=0.0):
            raise InvalidParameterError("covariances must be symmetric matrices")
        return cls(np.asarray(weights, float), np.asarray(means, float), cholesky(covariances))

    @classmethod
    def from_roots(cls, weights: ArrayLike, means: ArrayLike, roots: ArrayLike) -> MixtureParams:
        """Build the value from square roots of the covariances, without forming these: nearly singular ones keep their digits.

        Parameters
        ----------
        weights, means : arrays of shape (..., K) and (..., K, D)
        roots : array of shape (..., K, D, M)
            Matrices A of full rank with covariances ``A A'``.

        Returns
        -------
        MixtureParams

        Examples
        --------
        >>> MixtureParams.from_roots([1.0], [[0.0]], [[[3.0, 4.0]]]).sds
        array([[5.]])
        """
        return cls(np.asarray(weights, float), np.asarray(means, float), marginal.lower_factor(np.asarray(roots, float)))

    @classmethod
    def from_parameters(
        cls, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, covariance_type: build.CovarianceShape = "full"
    ) -> MixtureParams:
        """Build the value from numbers that somebody wrote down; the first mistake is named with its place.

        Parameters
        ----------
        weights, means : arrays of shape (..., K) and (..., K, D)
        covariances : array
            In scikit-learn's shape for the type: (..., K, D, D) for "full", (..., D, D) for "tied", variances (..., K, D) for "diag" and
            (..., K) for "spherical".
        covariance_type : {"full", "tied", "diag", "spherical"}

        Returns
        -------
        MixtureParams

        Raises
        ------
        InvalidParameterError
            If shapes disagree, a value is not a finite number, weights are negative or don't add up to one, or a covariance matrix is
            not symmetric positive definite.

        Examples
        --------
        >>> MixtureParams.from_parameters([0.7, 0.3], [[0.0, 1.0], [4.0, 5.0]], [1.0, 4.0], "spherical").sds
        array([[1., 1.],
               [2., 2.]])
        >>> MixtureParams.from_parameters([0.7, 0.4], [[0.0], [4.0]], [1.0, 4.0], "spherical")
        Traceback (most recent call last):
        bayesgmm.exceptions.InvalidParameterError: weights add up to 1.1, not to one: divide them by their sum
        """
        return build.from_parameters(cls, weights, means, covariances, covariance_type)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MixtureParams:
        """Read a mixture that :meth:`save` wrote.

        Parameters
        ----------
        path : str or path-like
            Its ending, ``.json`` or ``.npz``, says how to read it. Nothing in the file is unpickled or run.

        Returns
        -------
        MixtureParams

        Raises
        ------
        InvalidDataError
            If there is no such file or it does not hold a mixture; the message names the file and what is wrong.
        InvalidParameterError
            If the name has another ending.
        """
        return io.load(cls, path)

    # What can be asked of a mixture as a distribution; each is described where it is written.
    condition = marginal.condition
    marginal = marginal.marginal
    cdf = univariate.cdf
    ppf = univariate.ppf
    unimodal_pairs = modes.unimodal_pairs
    hills = modes.hills
    modes = modes.modes
    overlap = overlap.overlap
    save = io.save

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the batch: ``()`` for a single mixture."""
        return self.weights.shape[:-1]

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return self.weights.shape[-1]

    @property
    def n_features(self) -> int:
        """Number of features D."""
        return self.means.shape[-1]

    @cached_property
    def covariances(self) -> FloatArray:
        """Covariance matrices ``(..., K, D, D)``."""
        return self.scale_tril @ np.swapaxes(self.scale_tril, -1, -2)

    @cached_property
    def sds(self) -> FloatArray:
        """Standard deviations ``(..., K, D)`` of each feature in each component."""
        return np.sqrt(np.einsum("...ij,...ij->...i", self.scale_tril, self.scale_tril))

    @property
    def correlations(self) -> FloatArray:
        """Correlation matrices ``(..., K, D, D)``, with ones on the diagonal."""
        factor = self.scale_tril / self.sds[..., None]
        corr = factor @ np.swapaxes(factor, -1, -2)
        corr[..., np.arange(self.n_features), np.arange(self.n_features)] = 1.0
        return corr

    @property
    def log_weights(self) -> FloatArray:
        """Logarithms of the weights ``(..., K)``; minus infinity for a weight of zero."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @cached_property
    def is_diagonal(self) -> bool:
        """Whether every covariance is diagonal, which makes the kernels' work linear in D."""
        return not np.any(np.tril(self.scale_tril, -1))

    def __getitem__(self, index: Any) -> MixtureParams:
        """Return the mixtures at ``index`` of the batch."""
        if not self.batch_shape:
            raise IndexError("a single mixture has no batch to index")
        return MixtureParams(
            self.weights[index], self.means[index], self.scale_tril[index], None if self.shares is None else self.shares[index]
        )

    def reshape(self, *batch_shape: int) -> MixtureParams:
        """Return the same mixtures with another batch shape; ``reshape(-1)`` makes it flat.

        Parameters
        ----------
        *batch_shape : int

        Returns
        -------
        MixtureParams
        """
        K, D = self.n_components, self.n_features
        return MixtureParams(
            self.weights.reshape(*batch_shape, K),
            self.means.reshape(*batch_shape, K, D),
            self.scale_tril.reshape(*batch_shape, K, D, D),
            None if self.shares is None else self.shares.reshape(*batch_shape, *self.shares.shape[-2:]),
        )

    def permute(self, order: ArrayLike) -> MixtureParams:
        """Reorder components: component k of the result is component ``order[..., k]`` of this one.

        Parameters
        ----------
        order : int array of shape (..., K) or (K,)
            A permutation for each mixture of the batch, or one for all.

        Returns
        -------
        MixtureParams
        """
        order = np.broadcast_to(np.asarray(order, dtype=np.intp), self.weights.shape)
        return MixtureParams(
            np.take_along_axis(self.weights, order, -1),
            np.take_along_axis(self.means, order[..., None], -2),
            np.take_along_axis(self.scale_tril, order[..., None, None], -3),
            None if self.shares is None else np.take_along_axis(self.shares, order[..., None, :], -1),
        )

    def canonical_order(self) -> IntArray:
        """Return the order that sorts components by decreasing weight, ties by their means.

        Returns
        -------
        int array of shape (..., K)
        """
        keys = [self.means[..., d] for d in reversed(range(self.n_features))]
        return np.lexsort([*keys, -self.weights], axis=-1)

    def transform(self, shift: ArrayLike, factor: ArrayLike) -> MixtureParams:
        """Return the mixture of ``shift + factor @ z`` when z follows this one.

        Parameters
        ----------
        shift : array of shape (D,)
        factor : array of shape (D, D)
            Of full rank.

        Returns
        -------
        MixtureParams

        Raises
        ------
        InvalidParameterError
            If the factor is not a matrix of numbers of full rank: the mixture would have no density.

        Examples
        --------
        >>> one = MixtureParams.from_covariances([1.0], [[1.0, 0.0]], [[[4.0, 0.0], [0.0, 1.0]]])
        >>> turned = one.transform([0.0, 0.0], [[0.0, -1.0], [1.0, 0.0]])
        >>> turned.means, turned.sds
        (array([[0., 1.]]), array([[1., 2.]]))
        """
        factor = np.asarray(factor, dtype=float)
        D = self.n_features
        if factor.shape != (D, D) or not has_full_rank(factor):
            raise InvalidParameterError(f"factor must be a {D} x {D} matrix of full rank")
        return replace(self, means=self.means @ factor.T + shift, scale_tril=marginal.lower_factor(factor @ self.scale_tril))

    def thin(self, most: int) -> MixtureParams:
        """Return at most so many mixtures of a batch, evenly spaced, as a flat batch.

        Parameters
        ----------
        most : int

        Returns
        -------
        MixtureParams
        """
        flat = self.reshape(-1)
        return flat[np.unique(np.linspace(0, len(flat.weights) - 1, most).astype(int))]

    def resembles(self, other: MixtureParams, X: ArrayLike) -> bool:
        """Say whether two mixtures give rows the same density, to a twentieth: the same, but for the components' names.

        Some 200 rows, evenly spread over X, are looked at.

        Parameters
        ----------
        other : MixtureParams
        X : array-like of shape (N, D)

        Returns
        -------
        bool
        """
        X = numbers_in(X)
        rows = X[:: max(1, len(X) // _ROWS_LOOKED_AT)]
        return bool((np.abs(self.log_density(rows) - other.log_density(rows)) < _SAME_DENSITY).all())

    def log_density(self, X: ArrayLike | Chunk) -> FloatArray:
        """Return the log-densities of rows, in nats.

        Parameters
        ----------
        X : array-like of shape (N, D)
            In the units of the means; NaN stands for a missing value.

        Returns
        -------
        array of shape (..., N)
        """
        rows = self._rows(X)
        if not self.batch_shape:
            return evaluate(rows, *self.arrays(rows), diagonal=self.is_diagonal)[1]
        out = log_density_draws(rows, *self.reshape(-1).arrays(rows), diagonal=self.is_diagonal)
        return out.reshape(*self.batch_shape, len(rows))

    def responsibilities(self, X: ArrayLike | Chunk) -> FloatArray:
        """Return the probabilities that each row came from each component.

        Parameters
        ----------
        X : array-like of shape (N, D)
            In the units of the means; NaN stands for a missing value.

        Returns
        -------
        array of shape (..., N, K)
        """
        rows = self._rows(X)
        if not self.batch_shape:
            return evaluate(rows, *self.arrays(rows), diagonal=self.is_diagonal, responsibilities=True)[0]
        out = responsibility_draws(rows, *self.reshape(-1).arrays(rows), diagonal=self.is_diagonal)
        return out.reshape(*self.batch_shape, len(rows), self.n_components)

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> tuple[FloatArray, IntArray]:
        """Draw rows from each mixture of the batch.

        Parameters
        ----------
        n_samples : int
            Rows per mixture.
        random_state : int, Generator, RandomState or None
            Source of randomness.

        Returns
        -------
        X : array of shape (..., n_samples, D)
        labels : int array of shape (..., n_samples)
            Component that each row came from.
        """
        if n_samples < 1:
            raise InvalidParameterError(f"n_samples must be at least 1, got {n_samples}")
        rng = generator(random_state)
        edges = np.cumsum(self.weights, axis=-1)
        u = rng.random((*self.batch_shape, n_samples)) * edges[..., -1:]
        labels = (u[..., None] >= edges[..., None, :]).sum(-1)
        normal = rng.standard_normal((*self.batch_shape, n_samples, self.n_features))
        means = np.take_along_axis(self.means, labels[..., None], -2)
        factors = np.take_along_axis(self.scale_tril, labels[..., None, None], -3)
        return means + (factors @ normal[..., None])[..., 0], labels

    def arrays(self, rows: Chunk | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return copies that may be written to: the kernels are compiled once more for read-only arrays.

        Parameters
        ----------
        rows : Chunk, optional
            That are to be passed over. Where they know which of the shares they have, the log-weights are those of all shares, (..., S K).

        Returns
        -------
        log_weights, means, scale_tril : array of shape (..., K), (..., K, D) and (..., K, D, D)
        """
        return self._log_weights_for(rows), self.means.copy(), self.scale_tril.copy()

    def _log_weights_for(self, rows: Chunk | None) -> FloatArray:
        n = 0 if rows is None or rows.known is None else rows.known.n_shares
        if n == 0:
            return self.log_weights
        if self.shares is None:
            return np.tile(self.log_weights, n)
        if self.shares.shape[-2] != n:
            raise InvalidDataError(f"the rows have {n} shares, and the mixture {self.shares.shape[-2]}")
        with np.errstate(divide="ignore"):
            return np.log(self.shares).reshape(*self.batch_shape, -1)

    def _rows(self, X: ArrayLike | Chunk) -> Chunk:
        chunk = as_chunk(X)
        if chunk.n_features != self.n_features:
            raise InvalidDataError(f"X must have shape (N, {self.n_features}) for this mixture, got {chunk.X.shape}")
        return chunk


def has_full_rank(matrix: FloatArray) -> bool:
    """Whether a square matrix (D, D) has an inverse; in what units its rows are does not count."""
    size = np.abs(matrix).max(axis=1, keepdims=True)
    return bool(np.isfinite(matrix).all() and (size > 0).all() and np.linalg.matrix_rank(matrix / size) == len(matrix))


def cholesky(covariances: FloatArray) -> FloatArray:
    """Return the lower Cholesky factors, or name the first component whose matrix is not positive definite."""
    try:
        return np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        smallest = np.linalg.eigvalsh(covariances)[..., 0]
        where = np.argwhere(~(smallest > 0))
        at = "" if not len(where) else f" (component {where[0][-1]}, smallest eigenvalue {smallest[tuple(where[0])]:.3g})"
        raise InvalidParameterError(f"covariances must be positive definite{at}") from None


def _check_shapes(weights: FloatArray, means: FloatArray, scale_tril: FloatArray) -> None:
    if weights.ndim < 1 or weights.shape[-1] < 1:
        raise InvalidParameterError(f"weights must have shape (..., K) with K at least 1, got {weights.shape}")
    if means.shape[:-1] != weights.shape or means.ndim < 2 or means.shape[-1] < 1:
        raise InvalidParameterError(f"means must have shape (..., K, D) beside weights {weights.shape}, got {means.shape}")
    if scale_tril.shape != (*means.shape, means.shape[-1]):
        raise InvalidParameterError(f"scale_tril must have shape (..., K, D, D) beside means {means.shape}, got {scale_tril.shape}")


def _check_shares(weights: FloatArray, shares: FloatArray | None) -> None:
    if shares is None:
        return
    if shares.ndim != weights.ndim + 1 or (*shares.shape[:-2], shares.shape[-1]) != weights.shape:
        raise InvalidParameterError(f"shares must have shape (..., S, K) beside weights {weights.shape}, got {shares.shape}")
    if not (np.isfinite(shares).all() and (shares >= 0).all() and np.allclose(shares.sum(-1), 1.0, atol=_WEIGHT_SUM_TOLERANCE)):
        raise InvalidParameterError("shares must be at least zero and add up to one")


def _check_values(weights: FloatArray, means: FloatArray, scale_tril: FloatArray) -> None:
    if not (np.isfinite(weights).all() and np.isfinite(means).all() and np.isfinite(scale_tril).all()):
        raise InvalidParameterError("weights, means and scale_tril must be finite numbers")
    if (weights < 0).any() or np.abs(weights.sum(-1) - 1.0).max(initial=0.0) > _WEIGHT_SUM_TOLERANCE:
        raise InvalidParameterError("weights must be at least zero and add up to one")
    if np.any(np.triu(scale_tril, 1)) or (np.diagonal(scale_tril, axis1=-2, axis2=-1) <= 0).any():
        raise InvalidParameterError("scale_tril must be lower triangular with a positive diagonal")


guard(globals())
