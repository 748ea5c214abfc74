"""How well the data determine a maximum-likelihood fit: standard errors from exact scores and information matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from bayesgmm.covariance import Family, diagonals
from bayesgmm.em.coordinates import Coordinates
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.kernels.threads import libraries_on_one_thread
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["ParameterErrors", "StandardErrors", "standard_errors"]

_NUMBERS = 4e6  # scores that a block of rows may hold at a time, over all components (32 MB)


class Information(NamedTuple):
    """What the data say about the P free parameters, in the coordinates of :class:`~bayesgmm.em.coordinates.Coordinates`."""

    score: FloatArray
    """(P,): gradient of the log-likelihood; zero at a maximum."""
    observed: FloatArray
    """(P, P): minus the Hessian of the log-likelihood."""
    empirical: FloatArray
    """(P, P): sum over rows of the outer product of their scores."""


def row_scores(rows: MemoryRows, params: MixtureParams, family: Family) -> FloatArray:
    """Return the gradient (N, P) of each row's log-density; arguments and errors as in :func:`standard_errors`.

    By Fisher's identity: the score of a row is the mean, over its responsibilities, of the scores it would have if its component were
    known.

    Examples
    --------
    >>> from bayesgmm.covariance import family
    >>> standard = MixtureParams([1.0], [[0.0]], [[[1.0]]])
    >>> row_scores(MemoryRows(np.array([[0.0], [3.0]])), standard, family("full"))  # x for the mean, x^2 - 1 for the log of the sd
    array([[ 0., -1.],
           [ 3.,  8.]])
    """
    coordinates, vector = in_coordinates(rows, params, family)
    if not np.isfinite(vector).all():
        raise InvalidParameterError("params: a component has a weight of zero, where the log-likelihood has no gradient")
    out = np.zeros((len(rows), coordinates.size))
    for block in _blocks(rows, params, coordinates):
        out[block.numbers] = block.scores(coordinates)[0]
    return out


def in_coordinates(rows: MemoryRows, params: MixtureParams, family: Family) -> tuple[Coordinates, FloatArray]:
    """Check the arguments and return the coordinates with the fit in them."""
    coordinates = Coordinates.of(family, params.n_components, params.n_features)
    if params.batch_shape:
        raise InvalidParameterError(f"params must be one mixture, got a batch of shape {params.batch_shape}")
    if rows.n_features != params.n_features:
        raise InvalidDataError(f"rows must have shape (N, {params.n_features}) for this mixture, got {rows.shape}")
    return coordinates, coordinates.vector(params)


def add_information(rows: MemoryRows, params: MixtureParams, family: Family, coordinates: Coordinates) -> Information:
    """Add up Louis's three parts: what complete data would say, less the spread of their scores around those of the rows.

    The observed information is exact, without finite differences: Louis (1982), Journal of the Royal Statistical Society B 44, 226-233.

    Examples
    --------
    >>> from bayesgmm.covariance import family
    >>> X = np.array([[0.0], [1.0], [2.0], [5.0]])
    >>> fit = MixtureParams.from_covariances([1.0], [X.mean(0)], [[[X.var()]]])
    >>> coordinates, _ = in_coordinates(MemoryRows(X), fit, family("full"))  # mean, log of the standard deviation
    >>> found = add_information(MemoryRows(X), fit, family("full"), coordinates)
    >>> bool(np.allclose(found.observed, [[4 / X.var(), 0.0], [0.0, 8.0]])) and bool(np.allclose(found.score, 0.0))
    True
    """
    score = np.zeros(coordinates.size)
    empirical, spread, complete = np.zeros((3, len(score), len(score)))
    excess = np.zeros_like(params.scale_tril)
    for block in _blocks(rows, params, coordinates):
        scores, by_component = block.scores(coordinates)
        weight = np.ones(len(scores)) if rows.weights is None else rows.weights[block.numbers]
        score += weight @ scores
        empirical += scores.T @ (weight[:, None] * scores)
        _add_spread(spread, params, coordinates, weight[:, None] * block.responsibilities, by_component)
        _add_complete(complete, excess, block, coordinates, weight)
    _add_curvature(complete, excess, params, coordinates)
    return Information(score, complete + empirical - spread, empirical)


def _add_spread(
    out: FloatArray, params: MixtureParams, coordinates: Coordinates, r: FloatArray, by_component: list[FloatArray]
) -> None:
    """Add the outer products of the scores that rows would have if their components were known."""
    logits = slice(0, params.n_components - 1)
    for k, own in enumerate(by_component):
        known = np.eye(params.n_components)[k, :-1] - params.weights[:-1]  # score of the logits if k is the row's component
        places, share = coordinates.component(k), r[:, k]
        out[np.ix_(places, places)] += own.T @ (share[:, None] * own)
        cross = np.outer(known, share @ own)
        out[logits, places] += cross
        out[places, logits] += cross.T
        out[logits, logits] += share.sum() * np.outer(known, known)


@dataclass(frozen=True, eq=False)
class _Block:
    """Some rows, those with the same gaps side by side, under the marginal densities of what they have.

    What a row lacks is left in: whatever is said of a covariance S of the columns that it has is a matrix (D, D) with zeros for the others.

    Parameters
    ----------
    params : MixtureParams
        The whole mixture.
    numbers : int array of shape (n,)
        Which rows they are.
    starts : int array of shape (G + 1,)
        Where each pattern of gaps begins, and where the last one ends.
    whiten : array of shape (K, G, D, D)
        Inverses of the Cholesky factors of S.
    u : array of shape (K, n, D)
        ``S^-1 (x - mu)``.
    responsibilities : array of shape (n, K)
    """

    params: MixtureParams
    numbers: IntArray
    starts: IntArray
    whiten: FloatArray
    u: FloatArray
    responsibilities: FloatArray

    @classmethod
    def of(cls, X: FloatArray, numbers: IntArray, params: MixtureParams) -> _Block:
        """Return the block of rows X (n, D), sorted by what they lack."""
        seen, (K, D) = ~np.isnan(X), params.means.shape
        starts = np.flatnonzero(np.r_[True, (seen[1:] != seen[:-1]).any(1), True])
        whiten, u = np.zeros((K, len(starts) - 1, D, D)), np.zeros((K, len(X), D))
        for g, (start, stop) in enumerate(pairwise(starts)):
            columns = np.flatnonzero(seen[start])
            inverse = np.linalg.inv((params if len(columns) == D else params.marginal(columns)).scale_tril)
            away = X[start:stop, columns] - params.means[:, None, columns]
            whiten[:, g, columns[:, None], columns] = inverse
            u[:, start:stop, columns] = away @ np.swapaxes(inverse, 1, 2) @ inverse
        return cls(params, numbers, starts, whiten, u, params.responsibilities(X))

    @cached_property
    def pattern(self) -> IntArray:
        """Which pattern of gaps each row has (n,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def scores(self, coordinates: Coordinates) -> tuple[FloatArray, list[FloatArray]]:
        """Return the scores (n, P) of the rows, and those (n, D + C) that they would have if they were known to be of each component.

        The latter are with respect to the component's mean and covariance.
        """
        K, r = self.params.n_components, self.responsibilities
        own = [self._own_scores(k, coordinates) for k in range(K)]
        scores = np.zeros((len(r), coordinates.size))
        scores[:, : K - 1] = r[:, :-1] - self.params.weights[:-1]
        for k in range(K):
            scores[:, coordinates.component(k)] += r[:, k : k + 1] * own[k]
        return scores, own

    def _own_scores(self, k: int, coordinates: Coordinates) -> FloatArray:
        """Return the gradient (n, D + C) of the log of a normal density with respect to its mean and its covariance's coordinates.

        These are u for the mean and ``u (L' u)' - S^-1 L`` for the factor L.
        """
        factor, u, whiten = self.params.scale_tril[k], self.u[k], self.whiten[k]
        slopes = np.swapaxes(whiten, 1, 2) @ (whiten @ factor)
        rows, columns = coordinates.rows, coordinates.columns
        entries = u[:, rows] * (u @ factor)[:, columns] - slopes[:, rows, columns][self.pattern]
        return np.concatenate([u, coordinates.fold(entries * coordinates.chain(factor))], axis=1)

    def moments(self, k: int, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return, of each pattern, the sums of r (G,), of r y (G, 2 D) and of r y y' (G, 2 D, 2 D), rows weighted by ``weight`` (n,).

        y is u and ``L' u``, which is short where u is long.
        """
        r = weight * self.responsibilities[:, k]
        y = np.concatenate([self.u[k], self.u[k] @ self.params.scale_tril[k]], axis=1)
        weighted, starts = r[:, None] * y, self.starts[:-1]
        squares = np.stack([weighted[start:stop].T @ y[start:stop] for start, stop in pairwise(self.starts)])
        return np.add.reduceat(r, starts), np.add.reduceat(weighted, starts), squares


def _blocks(rows: MemoryRows, params: MixtureParams, coordinates: Coordinates) -> Iterator[_Block]:
    """Yield all rows, those with the same gaps one after the other, without those that have no value: they say nothing."""
    seen, which = np.unique(~np.isnan(rows.values), axis=0, return_inverse=True)
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    order = order[seen.any(1)[which[order]]]
    patterns = which[order]
    K, D = params.means.shape
    most = max(1, int(_NUMBERS / (coordinates.size + K * len(coordinates.component(0)))))
    most_patterns = max(1, int(_NUMBERS / ((K + 16) * D * D)))
    start = 0
    while start < len(order):
        last = np.searchsorted(patterns, patterns[start] + most_patterns)
        numbers = order[start : min(start + most, int(last))]
        yield _Block.of(rows.values[numbers], numbers, params)
        start += len(numbers)


def _add_complete(out: FloatArray, excess: FloatArray, block: _Block, coordinates: Coordinates, weight: FloatArray) -> None:
    """Add the expected information of a block's rows completed by their components, but for what follows from ``excess`` (K, D, D).

    That is the sum of ``r (u u' - S^-1)``, to which the block adds its own.
    """
    w = block.params.weights[:-1]
    out[: len(w), : len(w)] += weight.sum() * (np.diag(w) - np.outer(w, w))
    for k in range(block.params.n_components):
        places = coordinates.component(k)
        information, more = _own_information(block, k, coordinates, weight)
        out[np.ix_(places, places)] += information
        excess[k] += more


def _own_information(block: _Block, k: int, coordinates: Coordinates, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return minus the Hessian (D + C, D + C) of component k's normal log-likelihood, its rows weighted by responsibilities; and excess.

    With ``dS_p = dL_p L' + L dL_p'`` and ``d2S_pq = dL_p dL_q' + dL_q dL_p'``, a row's second derivatives are
    ``tr(S^-1 dS_p S^-1 dS_q) / 2 + tr((u u' - S^-1) d2S_pq) / 2 - u' dS_p S^-1 dS_q u``. Coordinates that are logs add the first
    derivative once more. What is linear in ``u u' - S^-1``, the excess, is left out here: :func:`_add_curvature` adds it for all rows.
    """
    factor, whiten, D = block.params.scale_tril[k], block.whiten[k], block.params.n_features
    counts, totals, squares = block.moments(k, weight)
    both = np.concatenate([whiten, whiten @ factor], axis=2)
    precisions = np.swapaxes(both, 1, 2) @ both
    expected = counts[:, None, None] * precisions
    chain = coordinates.chain(factor)
    mixed = coordinates.fold((_mean_terms(totals, precisions, coordinates) * chain[:, None]).T)
    entries = _covariance_terms(squares - 0.5 * expected, precisions, coordinates) * np.outer(chain, chain)
    out = np.empty((D + mixed.shape[1],) * 2)
    out[:D, :D] = expected[:, :D, :D].sum(0)
    out[:D, D:], out[D:, :D] = mixed, mixed.T
    out[D:, D:] = coordinates.fold(coordinates.fold(entries).T)
    return out, (squares - expected)[:, :D, :D].sum(0)


def _mean_terms(totals: FloatArray, precisions: FloatArray, coordinates: Coordinates) -> FloatArray:
    """Return the sum of ``S^-1 dS_p u`` over all patterns, for every entry p of the factor: (E, D).

    For the entry (a, b), with l the columns of L, ``dS_p = e_a l_b' + l_b e_a'``.

    Parameters
    ----------
    totals : array of shape (G, 2 D)
        Sums of u and ``L' u``.
    precisions : array of shape (G, 2 D, 2 D)
        ``(1 L)' S^-1 (1 L)``, in four blocks.
    coordinates : Coordinates
    """
    (G, D), rows, columns = (len(totals), coordinates.n_features), coordinates.rows, coordinates.columns
    first = (totals[:, D:].T @ precisions[:, :D, :D].reshape(G, -1)).reshape(D, D, D)  # by b and a
    second = (totals[:, :D].T @ precisions[:, D:, :D].reshape(G, -1)).reshape(D, D, D)  # by a and b
    return first[columns, rows] + second[rows, columns]


def _covariance_terms(M: FloatArray, precisions: FloatArray, coordinates: Coordinates) -> FloatArray:
    """Return the sum of ``tr(M dS_p S^-1 dS_q)`` over all patterns, for all entries p and q of the factor: (E, E).

    ``M``, like ``precisions``, is given as ``(1 L)' M (1 L)``. For the entries (a, b) and (c, d) the trace has four terms, each an entry of
    a block of the one by an entry of a block of the other, and their sum over patterns is one product of matrices for each row of L.
    """
    rows, columns, (G, D) = coordinates.rows, coordinates.columns, (len(M), coordinates.n_features)
    M, ML, LML = M[:, :D, :D], M[:, :D, D:], M[:, D:, D:]
    P, PL, LPL = precisions[:, :D, :D], precisions[:, :D, D:], precisions[:, D:, D:]
    straight, crossed = np.empty((2, len(rows), len(rows)))
    for a in range(D):
        its = np.flatnonzero(rows == a)
        b = columns[its]
        same = (M[:, a].T @ LPL[:, b].reshape(G, -1) + P[:, a].T @ LML[:, b].reshape(G, -1)).reshape(D, len(b), D)
        straight[its] = same[rows, :, columns].T
        crossed[its] = (ML[:, a].T @ PL[:, :, b].reshape(G, -1)).reshape(D, D, len(b))[columns, rows].T
    return straight + crossed + crossed.T


def _add_curvature(out: FloatArray, excess: FloatArray, params: MixtureParams, coordinates: Coordinates) -> None:
    """Add the information that is linear in the sum of ``r (u u' - S^-1)`` (K, D, D) over all rows."""
    D = params.n_features
    for k, (own, factor) in enumerate(zip(excess, params.scale_tril, strict=True)):
        change = coordinates.basis(factor)
        C, first = len(change), 2.0 * (own * (change @ factor.T)).sum((1, 2))
        curvature = (own @ change).reshape(C, -1) @ change.reshape(C, -1).T + np.diag(0.5 * coordinates.logs * first)
        covariances = coordinates.component(k)[D:]
        out[np.ix_(covariances, covariances)] -= curvature


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
    covariance = np.full((coordinates.size, coordinates.size), np.nan)
    note = "A component has a weight of zero, so its parameters mean nothing: fit fewer components."
    if np.isfinite(vector).all():
        covariance, note = _covariance(add_information(rows, params, family, coordinates), kind)
    weights, means, sds, covariances = _delta(params, coordinates, covariance)
    return StandardErrors(weights, means, sds, covariances, kind, coordinates, vector, covariance, note)


def _covariance(found: Information, kind: ErrorKind) -> tuple[FloatArray, str]:
    """Return the covariance matrix of the coordinates, NaN where there is none, and what there is to say."""
    which = "empirical" if kind == "empirical" else "observed"
    information: FloatArray = getattr(found, which)
    bread = inverse(information)
    if bread is None:
        return np.full_like(information, np.nan), (
            f"The {which} information is singular or not positive definite, so the log-likelihood has no regular maximum here and there "
            "are no standard errors: look for components that collapse or coincide, fit fewer components, or use the bootstrap."
        )
    left, note = 0.5 * float(found.score @ bread @ found.score), ""
    if not left < _OFF_MAXIMUM:
        note = (
            f"The log-likelihood could still grow by about {left:.2g}, so the fit is not at a maximum and the standard errors are rough: "
            "fit with a smaller tol, without reg_covar, or with fewer components if a covariance rests on its floor."
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
    weights = _root((np.diag(w) - np.outer(w, w))[:, :-1], covariance[: K - 1, : K - 1])
    means = np.sqrt(np.diag(covariance)[K - 1 : K - 1 + K * D]).reshape(K, D)
    covariances = np.empty((K, D, D))
    for k, factor in enumerate(params.scale_tril):
        change = coordinates.basis(factor) @ factor.T
        slopes = (change + np.swapaxes(change, 1, 2)).reshape(len(change), -1).T
        places = coordinates.places[k]
        covariances[k] = _root(slopes, covariance[np.ix_(places, places)]).reshape(D, D)
    return weights, means, diagonals(covariances) / (2 * params.sds), covariances


def _root(slopes: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the standard errors of linear functions with these slopes (n, p)."""
    return np.sqrt(np.maximum(((slopes @ covariance) * slopes).sum(1), 0.0))
