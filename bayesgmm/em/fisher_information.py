"""How well the data determine a maximum-likelihood fit: standard errors from exact scores and information matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from bayesgmm.covariance import Family, diagonals
from bayesgmm.em.coordinates import Coordinates
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import Statistics, expectation
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
    for part in _parts(rows, params):
        for numbers, scores, _, _ in part.blocks(coordinates):
            out[numbers] = scores
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
    for part in _parts(rows, params):
        for numbers, scores, r, by_component in part.blocks(coordinates):
            weight = np.ones(len(scores)) if rows.weights is None else rows.weights[numbers]
            score += weight @ scores
            empirical += scores.T @ (weight[:, None] * scores)
            _add_spread(spread, params, coordinates, weight[:, None] * r, by_component)
        _add_complete(complete, excess, part, coordinates, family, rows.weights)
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
class _Part:
    """Rows that have the same columns, and the mixture's marginal density there.

    Parameters
    ----------
    rows : int array of shape (n,)
        Their numbers.
    columns : int array of shape (d,)
        Which columns they have.
    X : array of shape (n, d)
    params : MixtureParams
        The whole mixture.
    """

    rows: IntArray
    columns: IntArray
    X: FloatArray
    params: MixtureParams

    @cached_property
    def factors(self) -> FloatArray:
        """Rows of the Cholesky factors (K, d, D) that belong to these columns."""
        return self.params.scale_tril[:, self.columns]

    @cached_property
    def mixture(self) -> MixtureParams:
        """The marginal mixture of these columns."""
        return self.params if len(self.columns) == self.params.n_features else self.params.marginal(self.columns)

    @cached_property
    def whiten(self) -> FloatArray:
        """Inverses (K, d, d) of the marginal mixture's Cholesky factors."""
        return np.linalg.inv(self.mixture.scale_tril)

    def blocks(self, coordinates: Coordinates) -> Iterator[tuple[IntArray, FloatArray, FloatArray, list[FloatArray]]]:
        """Yield for blocks of rows: which, scores (n, P), responsibilities (n, K), and each component's own scores (n, D + C).

        A component's own scores are those of rows known to be its own, with respect to its mean and covariance.
        """
        K, w = self.params.n_components, self.params.weights
        size = max(1, int(_NUMBERS / (coordinates.size + K * len(coordinates.component(0)))))
        for start in range(0, len(self.X), size):
            block = np.ascontiguousarray(self.X[start : start + size])
            r = self.mixture.responsibilities(block)
            own = [self._own_scores(block, k, coordinates) for k in range(K)]
            scores = np.zeros((len(block), coordinates.size))
            scores[:, : K - 1] = r[:, :-1] - w[:-1]
            for k in range(K):
                scores[:, coordinates.component(k)] += r[:, k : k + 1] * own[k]
            yield self.rows[start : start + size], scores, r, own

    def _own_scores(self, block: FloatArray, k: int, coordinates: Coordinates) -> FloatArray:
        """Return the gradient (n, D + C) of the log of a normal density with respect to its mean and its covariance's coordinates.

        With ``S = L_o L_o'`` the covariance of the columns o and ``u = S^-1 (x_o - mu_o)`` these are u for the mean and
        ``u (L_o' u)' - S^-1 L_o`` for the factor's rows o; other rows have no say.
        """
        root, whiten = self.factors[k], self.whiten[k]
        n, D = len(block), self.params.n_features
        u, slope = np.zeros((n, D)), np.zeros((D, D))
        u[:, self.columns] = (block - self.mixture.means[k]) @ whiten.T @ whiten
        slope[self.columns] = whiten.T @ (whiten @ root)
        v = u[:, self.columns] @ root
        rows, columns = coordinates.rows, coordinates.columns
        entries = (u[:, rows] * v[:, columns] - slope[rows, columns]) * coordinates.chain(self.params.scale_tril[k])
        return np.concatenate([u, coordinates.fold(entries)], axis=1)

    def own_information(self, k: int, statistics: Statistics, coordinates: Coordinates) -> FloatArray:
        """Return minus the Hessian (D + C, D + C) of component k's normal log-likelihood, its rows weighted by responsibilities.

        With ``dS_p = dL_p L_o' + L_o dL_p'`` and ``d2S_pq = dL_p dL_q' + dL_q dL_p'``, a row's second derivatives are
        ``tr(S^-1 dS_p S^-1 dS_q) / 2 + tr((u u' - S^-1) d2S_pq) / 2 - u' dS_p S^-1 dS_q u``. Coordinates that are logs add the first
        derivative once more. What is linear in ``u u' - S^-1`` is left out here: :func:`_add_curvature` adds it for all rows at once.
        """
        D, root, whiten = self.params.n_features, self.factors[k], self.whiten[k]
        precision = whiten.T @ whiten
        count, total = statistics.counts[k], whiten.T @ statistics.first[k]  # of r u
        square = whiten.T @ statistics.second[k] @ whiten  # of r u u'
        change = coordinates.basis(self.params.scale_tril[k])[:, self.columns]
        slopes = change @ root.T
        slopes = slopes + np.swapaxes(slopes, 1, 2)
        C = len(change)
        inner = precision @ slopes
        half = (square - 0.5 * count * precision) @ slopes
        out = np.zeros((D + C, D + C))
        out[np.ix_(self.columns, self.columns)] = count * precision
        out[D:, D:] = half.reshape(C, -1) @ np.swapaxes(inner, 1, 2).reshape(C, -1).T
        out[D:, self.columns] = inner @ total
        out[self.columns, D:] = out[D:, self.columns].T
        return out


def _parts(rows: MemoryRows, params: MixtureParams) -> Iterator[_Part]:
    """Yield complete rows as one part, rows with gaps pattern by pattern; rows without any value say nothing."""
    seen, which = np.unique(~np.isnan(rows.values), axis=0, return_inverse=True)
    for number, has in enumerate(seen):
        columns, numbers = np.flatnonzero(has), np.flatnonzero(which.reshape(-1) == number)
        if len(columns):
            yield _Part(numbers, columns, np.ascontiguousarray(rows.values[np.ix_(numbers, columns)]), params)


def _add_complete(
    out: FloatArray, excess: FloatArray, part: _Part, coordinates: Coordinates, family: Family, weights: FloatArray | None
) -> None:
    """Add the expected information of a part's rows completed by their components, but for what follows from ``excess`` (K, D, D).

    That is the sum of ``r (u u' - S^-1)``, to which the part adds its own.
    """
    weight = None if weights is None else np.ascontiguousarray(weights[part.rows])
    statistics = expectation(MemoryRows(part.X, weight), *part.mixture.arrays(), diagonal=family.diagonal)
    w = part.params.weights[:-1]
    out[: len(w), : len(w)] += statistics.counts.sum() * (np.diag(w) - np.outer(w, w))
    for k in range(part.params.n_components):
        places = coordinates.component(k)
        out[np.ix_(places, places)] += part.own_information(k, statistics, coordinates)
        own = statistics.second[k] - statistics.counts[k] * np.eye(len(part.columns))
        excess[k][np.ix_(part.columns, part.columns)] += part.whiten[k].T @ own @ part.whiten[k]


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
