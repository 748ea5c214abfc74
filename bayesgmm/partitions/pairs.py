"""How probable it is that two points belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import responsibility_draws
from bayesgmm.kernels.threads import chunks, ordered_map
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import _counts
from bayesgmm.partitions.inputs import Draws, check_draws
from bayesgmm.random import generator
from bayesgmm.rows import Chunk
from bayesgmm.typing import ArrayLike, FloatArray, IntArray, RandomState
from bayesgmm.validation import check_same_columns

__all__ = ["display_order", "draw_labels", "similarity", "similarity_blocks"]

BLOCK_NUMBERS = 1e7
"""Most similarities that a block of rows holds (80 MB)."""
DRAW_NUMBERS = 3e6
"""Most responsibilities that are held at a time (24 MB)."""
LARGEST = 4e8
"""Most numbers of a whole similarity matrix (3.2 GB)."""
ROWS_AT_A_TIME = 64


def similarity(draws: Any, X: ArrayLike | None = None) -> FloatArray:
    """Return the posterior similarity matrix: for every two points the probability that they are in the same group.

    Parameters
    ----------
    draws : int array of shape (T, N), fitted estimator or MixtureParams
        Labels, whose agreements are counted; or a posterior, whose probabilities ``sum_k r_ik r_jk`` are averaged over the draws
        instead, which is more precise than to draw labels and count (Rao-Blackwell).
    X : array-like of shape (N, D), optional
        The points, for a posterior; an estimator's training data when absent.

    Returns
    -------
    array of shape (N, N)
        Symmetric, 1 on the diagonal.

    Raises
    ------
    InvalidDataError
        If draws are no labels, or the points are missing.
    InvalidParameterError
        If the matrix would not fit into memory; :func:`similarity_blocks` gives it a few rows at a time.

    Examples
    --------
    >>> similarity([[0, 0, 1], [0, 1, 1]])
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0.5],
           [0. , 0.5, 1. ]])
    """
    n, blocks = _blocks(draws, X)
    if n * n > LARGEST:
        raise InvalidParameterError(
            f"the similarity of all pairs of {n} points takes {n * n * 8 / 1e9:.0f} GB: use similarity_blocks, a few rows at a time"
        )
    if n <= _rows_of_a_block(n):
        return next(blocks)[1]
    out = np.empty((n, n))
    for start, block in blocks:
        out[start : start + len(block)] = block
    return out


def similarity_blocks(draws: Any, X: ArrayLike | None = None) -> Iterator[tuple[int, FloatArray]]:
    """Return the rows of the similarity matrix a block at a time, so that memory stays bounded for any number of points.

    Parameters
    ----------
    draws : int array of shape (T, N), fitted estimator or MixtureParams
    X : array-like of shape (N, D), optional
        As in :func:`similarity`.

    Returns
    -------
    iterator of (start, block)
        ``block (n, N)`` are rows ``start .. start + n``.

    Examples
    --------
    >>> [(start, block.shape) for start, block in similarity_blocks([[0, 0, 1], [0, 1, 1]])]
    [(0, (3, 3))]
    """
    return _blocks(draws, X)[1]


def draw_labels(fit: Any, X: ArrayLike | None = None, *, random_state: RandomState = None) -> np.ndarray:
    """Draw one partition of the points from each draw of a posterior.

    Parameters
    ----------
    fit : fitted estimator or MixtureParams
    X : array-like of shape (N, D), optional
        An estimator's training data when absent.
    random_state : int, Generator, RandomState or None

    Returns
    -------
    array of shape (T, N) of the smallest integers that will do
        Labels, each drawn from the point's responsibilities under that draw; chains one after the other.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([[0.5, 0.5]], [[[0.0], [9.0]]], [[[[1.0]], [[1.0]]]])
    >>> draw_labels(params, [[0.0], [0.5], [9.0]], random_state=1)
    array([[0, 0, 1]], dtype=int16)
    """
    if not is_mixture(fit):
        raise InvalidParameterError(f"fit must be a fitted estimator or MixtureParams, got {type(fit).__name__}")
    params, points = mixtures(fit, X)
    rng = generator(random_state)
    out = np.empty((len(params.weights), len(points)), dtype=np.int16)
    for start, r in responsibilities(params, points):
        np.cumsum(r, axis=-1, out=r)
        uniform = rng.random((*r.shape[:2], 1))
        # The last column is one up to rounding, which must not give a component that does not exist.
        out[start : start + len(r)] = (uniform > r[..., :-1]).sum(axis=-1)
    return out


def display_order(similarities: ArrayLike) -> IntArray:
    """Return the order (N,) in which a similarity matrix (N, N) shows its groups as blocks: the leaves of an average-linkage tree.

    Parameters
    ----------
    similarities : array-like of shape (N, N)
        From :func:`similarity`.

    Returns
    -------
    int array of shape (N,)

    Examples
    --------
    >>> display_order([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])
    array([1, 0, 2])
    """
    P = check_similarity(similarities)
    if len(P) == 1:
        return np.zeros(1, dtype=np.intp)
    return leaves_list(tree(P, "average")).astype(np.intp)


def check_similarity(similarities: ArrayLike) -> FloatArray:
    """Return a similarity matrix (N, N), or say what is wrong with it."""
    P = np.asarray(similarities, dtype=float)
    if P.ndim != 2 or P.shape[0] != P.shape[1] or not len(P):
        raise InvalidDataError(f"a similarity matrix must be square, got shape {P.shape}")
    if not (np.abs(P - P.T) <= 1e-9).all() or P.min() < -1e-9 or P.max() > 1 + 1e-9:
        raise InvalidDataError("a similarity matrix must be symmetric with entries from 0 to 1, and this one is not")
    return P


def tree(P: FloatArray, method: str) -> FloatArray:
    """Return SciPy's linkage of the dissimilarities 1 - P."""
    away = 1.0 - P
    np.fill_diagonal(away, 0.0)
    return linkage(squareform(np.clip(away, 0.0, None), checks=False), method)


def _blocks(draws: Any, X: ArrayLike | None) -> tuple[int, Iterator[tuple[int, FloatArray]]]:
    """Return the number of points, and the blocks of rows to come."""
    if is_mixture(draws):
        params, points = mixtures(draws, X)
        return len(points), _averaged(params, points)
    if X is not None:
        raise InvalidParameterError("X goes with a posterior, not with labels: leave it out")
    checked = check_draws(draws)
    return checked.n_points, _counted(checked)


def _counted(draws: Draws) -> Iterator[tuple[int, FloatArray]]:
    N, Z = draws.n_points, draws.by_point
    for first, last in chunks(N, _rows_of_a_block(N)):
        block = np.empty((last - first, N))

        def task(start: int, stop: int, first: int = first, block: FloatArray = block) -> None:
            _counts.shared_groups(Z, start, stop, first, block)

        for _ in ordered_map(task, chunks(last - first, ROWS_AT_A_TIME)):
            pass
        _counts.mirror(first, block)
        yield first, block


def _averaged(params: MixtureParams, X: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    N, T = len(X), len(params.weights)
    for first, last in chunks(N, _rows_of_a_block(N)):
        block = np.zeros((last - first, N))
        for _, r in responsibilities(params, X):
            flat = np.moveaxis(r, 0, 1).reshape(N, -1)
            block += flat[first:last] @ flat.T
        block /= T
        block[np.arange(last - first), np.arange(first, last)] = 1.0
        yield first, block


def _rows_of_a_block(n_points: int) -> int:
    return max(1, int(BLOCK_NUMBERS / n_points))


def responsibilities(params: MixtureParams, X: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield the responsibilities (t, N, K) of some draws at a time, with the number of the first."""
    T, K = params.weights.shape
    rows = Chunk(X)
    for start, stop in chunks(T, max(1, int(DRAW_NUMBERS / (len(X) * K)))):
        some = params[start:stop]
        yield start, responsibility_draws(rows, *some.arrays(), diagonal=some.is_diagonal)


def is_mixture(given: Any) -> bool:
    return isinstance(given, MixtureParams) or hasattr(given, "params_")


def mixtures(fit: Any, X: ArrayLike | None) -> tuple[MixtureParams, FloatArray]:
    """Return a posterior's draws in one row and the points to look at."""
    if getattr(fit, "noise_weight_", 0.0):
        raise InvalidParameterError(
            "a fit with noise has points that belong to no group: give its mixture alone, fit.params_, with the points X"
        )
    params = getattr(fit, "params_", fit).reshape(-1)
    check_same_columns("The fit", fit, X)
    if X is None:
        X = fit.rows_.values if hasattr(fit, "rows_") else None
    if X is None:
        raise InvalidDataError("X is missing: give the points (N, D) that the mixtures are to group")
    points = np.ascontiguousarray(X, dtype=float)
    if points.ndim != 2 or points.shape[1] != params.n_features or not len(points):
        raise InvalidDataError(f"X must have shape (N, {params.n_features}), like the mixtures' means, got {points.shape}")
    return params, points
