"""What a draw says that no renaming of its components can change."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import cross_sums, log_density_draws, responsibility_moments
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["label_free"]

# Numbers that one block of draws may hold for the fixed points (16 MB).
_BLOCK = 2e6


def label_free(
    params: MixtureParams,
    X: ArrayLike,
    *,
    features: list[str] | None = None,
    log_likelihood: FloatArray | None = None,
    entropy: FloatArray | None = None,
    lp: FloatArray | None = None,
    n_filled: FloatArray | None = None,
    n_points: int = 8,
) -> xr.Dataset:
    """Compute from every draw quantities whose convergence can be judged without relabelling.

    Parameters
    ----------
    params : MixtureParams
        Draws, batch shape ``(chain, draw)``.
    X : array-like of shape (N, D)
        The data; NaN stands for a missing value.
    features : list of str, optional
        Names of the columns.
    log_likelihood, entropy : arrays of shape (chain, draw), optional
        The log-likelihood and the mean over rows of the responsibilities' entropy, where they are known already.
    lp : array of shape (chain, draw), optional
        The sampler's log-density, prior and likelihood together. With it comes ``log_prior``, their difference: the log
        prior density on the sampler's unconstrained space, up to a constant.
    n_filled : int array of shape (chain, draw), optional
        Where the number of components is not known: how many of them have rows. It takes the place of the sorted weights, of which draws
        have different numbers.
    n_points : int
        How many rows to look at closely. They are spread evenly along the first principal axis of the data, so that they
        are the same whatever the draws are.

    Returns
    -------
    xarray.Dataset, dims (chain, draw, ...)
        ``log_likelihood``, ``entropy``, ``log_prior`` (given ``lp``), ``sorted_weights`` (rank), ``total_mean`` and
        ``total_sd`` (feature), ``total_covariance`` (feature, feature_bis), ``log_density`` (point) and ``co_clustering``
        (pair): the probability ``sum_k r_ik r_jk`` that two neighbouring points come from one component.

    Raises
    ------
    InvalidDataError
        If X has another number of columns than the draws, or no value at all.
    InvalidParameterError
        If the draws do not come in chains, or ``n_points`` is below 2.

    Notes
    -----
    The moments of the whole mixture are ``m = sum_k w_k mu_k`` and ``sum_k w_k (Sigma_k + (mu_k - m)(mu_k - m)')``
    (Fruehwirth-Schnatter 2006, Finite Mixture and Markov Switching Models, section 1.2.4).

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> weights, means = np.array([[[0.7, 0.3], [0.3, 0.7]]]), np.array([[[[0.0], [4.0]], [[4.0], [0.0]]]])
    >>> draws = MixtureParams(weights, means, np.ones((1, 2, 2, 1, 1)))
    >>> free = label_free(draws, [[0.0], [0.5], [4.0]], n_points=2)
    >>> free["total_mean"].values.round(1).tolist(), bool(np.ptp(free["log_likelihood"].values) < 1e-12)
    ([[[1.2], [1.2]]], True)
    """
    X = _checked(params, np.asarray(X, dtype=float), n_points)
    shape, names = params.batch_shape, features or [str(d) for d in range(params.n_features)]
    if log_likelihood is None or entropy is None:
        flat = params.reshape(-1)
        moments = responsibility_moments(Chunk(X), *flat.arrays(), diagonal=flat.is_diagonal)
        log_likelihood = moments.draw_log_likelihood.reshape(shape) if log_likelihood is None else log_likelihood
        entropy = moments.draw_entropy.reshape(shape) if entropy is None else entropy
    rows = _spread_rows(X, n_points)
    log_density, together = _at_points(params, X[rows])
    mean, covariance = _total_moments(params)
    variables: dict[str, tuple[tuple[str, ...], FloatArray]] = {
        "log_likelihood": ((), log_likelihood),
        "entropy": ((), entropy),
        "sorted_weights": (("rank",), -np.sort(-params.weights, axis=-1)),
        "total_mean": (("feature",), mean),
        "total_sd": (("feature",), np.sqrt(np.einsum("...ii->...i", covariance))),
        "total_covariance": (("feature", "feature_bis"), covariance),
        "log_density": (("point",), log_density.reshape(*shape, -1)),
        "co_clustering": (("pair",), together.reshape(*shape, -1)),
    }
    if n_filled is not None:
        del variables["sorted_weights"]
        variables["n_filled"] = ((), np.asarray(n_filled, dtype=float))
    if lp is not None:
        variables["log_prior"] = ((), np.asarray(lp) - log_likelihood)
    coords = {
        "chain": np.arange(shape[0]),
        "draw": np.arange(shape[1]),
        "rank": np.arange(params.n_components),
        "feature": names,
        "feature_bis": names,
        "point": rows,
        "pair": [f"{a} and {b}" for a, b in pairwise(rows)],
    }
    return xr.Dataset({name: (("chain", "draw", *dims), values) for name, (dims, values) in variables.items()}, coords=coords)


def _checked(params: MixtureParams, X: FloatArray, n_points: int) -> FloatArray:
    if len(params.batch_shape) != 2:
        raise InvalidParameterError(f"params must have batch shape (chain, draw), got {params.batch_shape}")
    if n_points < 2:
        raise InvalidParameterError(f"n_points must be at least 2, got {n_points}")
    if X.ndim != 2 or X.shape[1] != params.n_features:
        raise InvalidDataError(f"X must have shape (N, {params.n_features}) for these draws, got {X.shape}")
    if np.isnan(X).all():
        raise InvalidDataError("X has no value at all: every entry is missing")
    return X


def _spread_rows(X: FloatArray, n_points: int) -> IntArray:
    """Return the numbers of rows spread evenly along the first principal axis; complete rows, if there are enough of them."""
    seen = ~np.isnan(X)
    complete = np.flatnonzero(seen.all(1))
    usable = complete if len(complete) >= n_points else np.flatnonzero(seen.any(1))
    kept = X[usable]
    present = seen[usable]
    count = np.maximum(present.sum(0), 1)
    centred = np.where(present, kept - np.where(present, kept, 0.0).sum(0) / count, 0.0)
    scale = np.sqrt((centred**2).sum(0) / count)
    scaled = centred / np.where(scale > 0, scale, 1.0)
    axis = np.linalg.eigh(scaled.T @ scaled)[1][:, -1]
    places = np.linspace(0, len(usable) - 1, n_points + 2)[1:-1].round().astype(int)
    rows: IntArray = usable[np.argsort(scaled @ axis, kind="stable")[np.unique(places)]]
    return rows


def _at_points(params: MixtureParams, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return log-densities (T, M) of M points and the probabilities (T, M - 1) that neighbours are of one component."""
    flat, rows = params.reshape(-1), Chunk(points)
    logs, together = [], []
    size = max(1, int(_BLOCK / (len(points) * params.n_components)))
    for start in range(0, len(flat.weights), size):
        block = flat[start : start + size]
        logs.append(log_density_draws(rows, *block.arrays(), diagonal=flat.is_diagonal))
        # Against the identity the sums over rows are the responsibilities themselves, (T, K, M).
        table = cross_sums(rows, *block.arrays(), np.eye(len(points)), diagonal=flat.is_diagonal)
        together.append((table[..., :-1] * table[..., 1:]).sum(1))
    return np.concatenate(logs), np.concatenate(together)


def _total_moments(params: MixtureParams) -> tuple[FloatArray, FloatArray]:
    """Return mean (..., D) and covariance (..., D, D) of each mixture as a whole."""
    mean = (params.weights[..., None] * params.means).sum(-2)
    away = params.means - mean[..., None, :]
    within = np.einsum("...k,...kde->...de", params.weights, params.covariances)
    return mean, within + np.einsum("...k,...kd,...ke->...de", params.weights, away, away)
