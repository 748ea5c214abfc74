"""Scores and information matrices of a mixture, exact, from the responsibilities alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.coordinates import Coordinates
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import Statistics, evaluate, expectation
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

_NUMBERS = 4e6  # scores that a block of rows may hold at a time, over all components (32 MB)


class Information(NamedTuple):
    """What the data say about the P free parameters, in the coordinates of :class:`~bayesgmm.em.coordinates.Coordinates`."""

    score: FloatArray
    """(P,): gradient of the log-likelihood; zero at a maximum."""
    observed: FloatArray
    """(P, P): minus the Hessian of the log-likelihood."""
    empirical: FloatArray
    """(P, P): sum over rows of the outer product of their scores."""


def information(X: FloatArray, params: MixtureParams, family: Family, sample_weight: FloatArray | None = None) -> Information:
    """Return score, observed and empirical information at ``params``.

    Arguments and errors are those of :func:`~bayesgmm.em.information.standard_errors`.
    The observed information is exact, without finite differences: Louis (1982), Journal of the Royal Statistical Society B 44, 226-233.

    Raises
    ------
    InvalidParameterError
        Also if a weight is zero.

    Examples
    --------
    >>> from bayesgmm.covariance import family
    >>> X = np.array([[0.0], [1.0], [2.0], [5.0]])
    >>> fit = MixtureParams.from_covariances([1.0], [X.mean(0)], [[[X.var()]]])
    >>> found = information(X, fit, family("full"))  # coordinates: mean, log of the standard deviation
    >>> bool(np.allclose(found.observed, [[4 / X.var(), 0.0], [0.0, 8.0]])) and bool(np.allclose(found.score, 0.0))
    True
    """
    coordinates = _interior(X, params, family, sample_weight)
    return add_information(X, params, family, coordinates, sample_weight)


def row_scores(X: FloatArray, params: MixtureParams, family: Family) -> FloatArray:
    """Return the gradient (N, P) of each row's log-density; arguments and errors as in :func:`information`.

    By Fisher's identity: the score of a row is the mean, over its responsibilities, of the scores it would have if its component were
    known.

    Examples
    --------
    >>> from bayesgmm.covariance import family
    >>> standard = MixtureParams([1.0], [[0.0]], [[[1.0]]])
    >>> row_scores(np.array([[0.0], [3.0]]), standard, family("full"))  # x for the mean, x^2 - 1 for the log of the sd
    array([[ 0., -1.],
           [ 3.,  8.]])
    """
    coordinates = _interior(X, params, family, None)
    return np.concatenate([scores for _, scores, _, _ in _blocks(X, params, coordinates)])


def _interior(X: FloatArray, params: MixtureParams, family: Family, sample_weight: FloatArray | None) -> Coordinates:
    coordinates, vector = in_coordinates(X, params, family, sample_weight)
    if not np.isfinite(vector).all():
        raise InvalidParameterError("params: a component has a weight of zero, where the log-likelihood has no gradient")
    return coordinates


def in_coordinates(
    X: FloatArray, params: MixtureParams, family: Family, sample_weight: FloatArray | None
) -> tuple[Coordinates, FloatArray]:
    """Check the arguments and return the coordinates with the fit in them."""
    coordinates = Coordinates.of(family, params.n_components, params.n_features)
    if params.batch_shape:
        raise InvalidParameterError(f"params must be one mixture, got a batch of shape {params.batch_shape}")
    if X.ndim != 2 or X.shape[1] != params.n_features:
        raise InvalidDataError(f"X must have shape (N, {params.n_features}) for this mixture, got {X.shape}")
    if not np.isfinite(X).all():
        raise InvalidDataError("X has missing or infinite values, for which there are no scores yet: use the bootstrap")
    if sample_weight is not None and sample_weight.shape != (len(X),):
        raise InvalidDataError(f"sample_weight must have shape ({len(X)},), got {sample_weight.shape}")
    return coordinates, coordinates.vector(params)


def add_information(
    X: FloatArray, params: MixtureParams, family: Family, coordinates: Coordinates, sample_weight: FloatArray | None
) -> Information:
    """Add up Louis's three parts: what complete data would say, less the spread of their scores around those of the rows."""
    P, logits = coordinates.size, slice(0, params.n_components - 1)
    score, empirical, spread = np.zeros(P), np.zeros((P, P)), np.zeros((P, P))
    for rows, scores, r, by_component in _blocks(X, params, coordinates):
        weight = np.ones(len(scores)) if sample_weight is None else sample_weight[rows]
        score += weight @ scores
        empirical += scores.T @ (weight[:, None] * scores)
        for k, own in enumerate(by_component):
            known = np.eye(params.n_components)[k, :-1] - params.weights[:-1]  # score of the logits if k is the row's component
            places, share = coordinates.component(k), weight * r[:, k]
            spread[np.ix_(places, places)] += own.T @ (share[:, None] * own)
            spread[logits, places] += np.outer(known, share @ own)
            spread[logits, logits] += share.sum() * np.outer(known, known)
    spread[:, logits] = spread[logits].T
    statistics = expectation(X, *params.arrays(), sample_weight=sample_weight, diagonal=family.diagonal)
    return Information(score, _complete(statistics, params, coordinates) + empirical - spread, empirical)


def _blocks(
    X: FloatArray, params: MixtureParams, coordinates: Coordinates
) -> Iterator[tuple[slice, FloatArray, FloatArray, list[FloatArray]]]:
    """Yield for blocks of rows: which, scores (n, P), responsibilities (n, K), and each component's own scores (n, D + C).

    A component's own scores are those of rows known to be its own, with respect to its mean and covariance.
    """
    K, w = params.n_components, params.weights
    size = max(1, int(_NUMBERS / (coordinates.size + K * len(coordinates.component(0)))))
    for start in range(0, len(X), size):
        rows = slice(start, start + size)
        block = np.ascontiguousarray(X[rows])
        r = evaluate(block, *params.arrays(), diagonal=params.is_diagonal, responsibilities=True)[0]
        own = [_own_scores(block - m, L, coordinates) for m, L in zip(params.means, params.scale_tril, strict=True)]
        scores = np.zeros((len(block), coordinates.size))
        scores[:, : K - 1] = r[:, :-1] - w[:-1]
        for k in range(K):
            scores[:, coordinates.component(k)] += r[:, k : k + 1] * own[k]
        yield rows, scores, r, own


def _own_scores(centred: FloatArray, factor: FloatArray, coordinates: Coordinates) -> FloatArray:
    """Return the gradient (n, D + C) of the log of a normal density with respect to its mean and its covariance's coordinates.

    With ``z = L^-1 (x - mu)`` and ``u = L^-T z`` these are u for the mean and the lower triangle of ``u z' - L^-T`` for the factor.
    """
    whiten = np.linalg.inv(factor)
    z = centred @ whiten.T
    u = z @ whiten
    rows, columns = coordinates.rows, coordinates.columns
    entries = u[:, rows] * z[:, columns] * coordinates.chain(factor) - (rows == columns)
    return np.concatenate([u, coordinates.fold(entries)], axis=1)


def _complete(statistics: Statistics, params: MixtureParams, coordinates: Coordinates) -> FloatArray:
    """Return the expected information (P, P) of the data completed by their components."""
    out = np.zeros((coordinates.size, coordinates.size))
    w = params.weights[:-1]
    out[: len(w), : len(w)] = statistics.counts.sum() * (np.diag(w) - np.outer(w, w))
    for k, factor in enumerate(params.scale_tril):
        places = coordinates.component(k)
        sums = statistics.counts[k], statistics.first[k], statistics.second[k]
        out[np.ix_(places, places)] += _own_information(*sums, factor, coordinates)
    return out


def _own_information(
    count: float, first: FloatArray, second: FloatArray, factor: FloatArray, coordinates: Coordinates
) -> FloatArray:
    """Return minus the Hessian (D + C, D + C) of a normal log-likelihood with these sums of r, r z and r z z'.

    When mean and factor change by ``dm`` and ``dL``, with ``m = L^-1 dm`` and ``A = L^-1 dL``, z changes by
    ``-m - A z + A m + A A z`` to second order. Coordinates that are logs add half of ``dL`` again to second order.
    """
    whiten = np.linalg.inv(factor)
    A = whiten @ coordinates.basis(factor)
    C, flat = len(A), A.reshape(len(A), -1)
    AS = A @ second
    twice = flat @ np.swapaxes(AS, 1, 2).reshape(C, -1).T  # trace of A_p A_q S
    logs = np.diag(coordinates.logs * np.trace(AS, axis1=1, axis2=2))
    of_factor = twice + twice.T + AS.reshape(C, -1) @ flat.T - logs
    cross = (A + np.swapaxes(A, 1, 2)) @ first @ whiten
    return np.block([[count * whiten.T @ whiten, cross.T], [cross, of_factor]])
