"""A noise component: rows that belong to no group, spread evenly over a box around the data.

Banfield and Raftery (1993), Biometrics 49, 803-821; the box is the smaller of the one along the columns and the one along the principal
axes of the columns in units of their ranges, as in Fraley and Raftery (1998), The Computer Journal 41, 578-588.

Rows so far from all others, in some column, that they can belong to no group whatever the groups are (gross errors) do not stretch it: a
uniform density that reached as far as they do would be next to nothing where the data are, and no row near them could be noise any more.
They are set aside before the fit, as noise for certain, at the density of the box.

Groups that are looked for among all rows share out the noise as well, and a few rows far out decide what is near. So noise is guessed
before the groups, by the distance to some near rows (Byers and Raftery 1998, Journal of the American Statistical Association 93, 577-584,
who start mclust's noise that way).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import DrawMoments
from bayesgmm.rows import Chunk, MemoryRows, Rows
from bayesgmm.text import listed
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["FAR", "MOST", "Limits", "Noise", "dense_rows", "limits_of", "suspicion"]

MOST = 0.1
"""Largest share of the rows that is set aside for one column: of more, nobody knows which are the errors."""
_SUSPECT = 0.25
"""Largest share that is looked for, to be told of."""
FAR = 10.0
"""How wide an empty stretch has to be, in widths of the shortest interval with all other rows but the share above."""
_TIGHT = 0.1
"""Rows that spread less than this share of the empty stretch lie together."""
_FEWEST = 5
"""Distinct values that may be a group and not the same error once more, such as a code for a missing value."""


@dataclass(frozen=True, eq=False)
class Limits:
    """Where the rows end that may belong to a group.

    Parameters
    ----------
    low, high : arrays of shape (D,)
        Infinite where nothing lies beyond.
    suspect : tuple of int
        Columns in which more rows than may be set aside lie as far out.
    """

    low: FloatArray
    high: FloatArray
    suspect: tuple[int, ...] = ()

    @classmethod
    def nowhere(cls, is_suspect: np.ndarray) -> Limits:
        """Return no limits, where some of the columns (D,) are suspect."""
        infinite = np.full(len(is_suspect), np.inf)
        return cls(-infinite, infinite, tuple(np.flatnonzero(is_suspect).tolist()))

    @property
    def are_set(self) -> bool:
        """Whether any row lies beyond."""
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())

    def beyond(self, X: FloatArray) -> np.ndarray:
        """Return whether each row of X (N, D) lies beyond."""
        return ((self.low > X) | (self.high < X)).any(axis=1)

    def seen_from(self, origin: FloatArray) -> Limits:
        """Return the same limits for data that are counted from another origin (D,)."""
        return Limits(self.low - origin, self.high - origin, self.suspect)


def limits_of(X: FloatArray, weight: FloatArray | None = None) -> Limits:
    """Return where the rows of X (N, D) end that may belong to a group.

    In each column, rows are linked that lie less than `FAR` times as far apart as nine tenths of all rows are. What is not linked to these
    nine tenths lies beyond, unless it may be a group of its own: as many rows as a group takes, close together and not all the same.

    Parameters
    ----------
    X : array of shape (N, D)
    weight : array of shape (N,), optional
        How often each row counts, all positive.

    Examples
    --------
    >>> limits = limits_of(np.append(np.linspace(0.0, 1.0, 40), [1e6, -1e4])[:, None])
    >>> limits.low, limits.high
    (array([-5000.]), array([500000.5]))
    >>> limits_of(np.linspace(0.0, 1.0, 40)[:, None]).are_set
    False
    """
    N, D = X.shape
    w = np.ones(N) if weight is None else weight
    low, high, suspect = np.full(D, -np.inf), np.full(D, np.inf), []
    for d in range(D):
        order = np.argsort(X[:, d], kind="stable")
        column = _Column(X[order, d], np.concatenate([[0.0], np.cumsum(w[order])]), 2 * (D + 1))
        low[d], high[d] = _limits(column, MOST)
        if not (np.isfinite(low[d]) or np.isfinite(high[d])):
            least, most = _limits(column, _SUSPECT)
            if np.average((X[:, d] < least) | (X[:, d] > most), weights=weight) > MOST:
                suspect.append(d)
    limits = Limits(low, high, tuple(suspect))
    if np.average(limits.beyond(X), weights=weight) <= _SUSPECT:
        return limits
    return Limits.nowhere(np.isfinite(low) | np.isfinite(high))  # few in each column are too many in all


class _Column(NamedTuple):
    """Values in increasing order, the weight of the rows before each of them and of all, and how many rows a group takes."""

    values: FloatArray
    before: FloatArray
    fewest: int


def _limits(column: _Column, most: float) -> tuple[float, float]:
    """Return where the values end that may belong to a group, if at most this share of the rows does not."""
    x = column.values
    first, last = _shortest(column, 1 - most)
    far = FAR * (x[last] - x[first])
    if not far > 0:
        return -np.inf, np.inf
    last = _linked(column, last, far)
    # The same from the other end.
    total = column.before[-1]
    mirrored = _Column(-x[::-1], (total - column.before)[::-1], column.fewest)
    first = len(x) - 1 - _linked(mirrored, len(x) - 1 - first, far)
    # Halves are taken before the sum: values may be so large that their sum is no number.
    low = -np.inf if first == 0 else x[first - 1] / 2 + x[first] / 2
    high = np.inf if last == len(x) - 1 else x[last] / 2 + x[last + 1] / 2
    return float(low), float(high)


def _shortest(column: _Column, share: float) -> tuple[int, int]:
    """Return the first and the last of the values in the shortest interval that holds this share of the rows."""
    x, before, _ = column
    # The small step back lets rounding of the sums decide nothing.
    ends: IntArray = np.searchsorted(before, before[:-1] + share * before[-1] * (1 - 1e-12)) - 1
    starts = np.flatnonzero(ends < len(x))
    widths = x[ends[starts]] - x[starts]
    best = int(starts[widths.argmin()])
    return best, int(ends[best])


def _linked(column: _Column, last: int, far: float) -> int:
    """Return the number of the last value that is linked to the one with number ``last``, directly or by others or by a group."""
    x, before, fewest = column
    gaps = np.flatnonzero(np.diff(x[last:]) > far) + last
    for i in gaps:
        end = int(np.searchsorted(x, x[i + 1] + _TIGHT * (x[i + 1] - x[i]), side="right"))
        is_group = before[end] - before[i + 1] >= fewest and len(np.unique(x[i + 1 : end])) >= _FEWEST
        if not is_group:
            return int(i)
    return len(x) - 1


SHARES = (0.1, 0.25)
"""Shares of the rows that are taken for noise at first, in turn."""
_NEAR = 12
"""Which of the nearest rows tells how dense a place is."""
_MOST_ROWS = 20_000
_SPREAD = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""


def dense_rows(rows: MemoryRows) -> list[MemoryRows]:
    """Return the rows in dense places, for each share of the rows that may be noise; those of weight zero are not there."""
    there = rows if rows.weights is None else rows.take(np.flatnonzero(rows.weights))
    some = there.some(_MOST_ROWS)
    counts = np.ones(len(some)) if some.weights is None else some.weights
    order = np.argsort(_distances(some.values), kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    some = some.weighted(counts)
    return [some.take(np.sort(order[share <= 1 - noisy])) for noisy in SHARES]


def _distances(X: FloatArray) -> FloatArray:
    """Return the distance (N,) of each row from one of its nearest, in units of the columns' middle halves."""
    low, high = np.quantile(X, [0.25, 0.75], axis=0)
    spread = (high - low) / _SPREAD
    unit = np.where(spread > 0, spread, X.std(0))
    near = min(_NEAR, len(X) - 1)
    found = NearestNeighbors(n_neighbors=near).fit((X - X.mean(0)) / np.where(unit > 0, unit, 1.0)).kneighbors()[0]
    return np.asarray(found[:, -1])


type Arrays = tuple[FloatArray, FloatArray, FloatArray]
"""A mixture as the E-step takes it: log weights, means and Cholesky factors."""

_MOST_NAMED = 5
START = 0.1  # share of the rows that is taken for noise at first
_WIDE = 1e8
"""Standard deviations of the stand-in, in ranges of the columns: across the data its density changes by less than rounding."""
_FLAT = 1e-8  # spread across a plane, over that along it, that is taken for rounding
_LOOKED_AT = 20_000
"""Rows in chunks that are looked at to see whether others lie far beyond them."""
_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, eq=False)
class Noise:
    """A uniform density over a box whose edges are the columns of ``scale[:, None] * axes``.

    Parameters
    ----------
    scale : array of shape (D,)
        Units of the columns.
    axes : array of shape (D, D)
        Directions in these units, as columns: orthonormal.
    low, high : arrays of shape (D,)
        Where the box begins and ends along them, counted from ``origin``.
    origin : array of shape (D,)
        In units of the data: near them, so that the box has all its digits.
    limits : Limits
        Rows beyond them are noise for certain.
    gross : float
        Share of all rows that lie there.
    """

    scale: FloatArray
    axes: FloatArray
    low: FloatArray
    high: FloatArray
    origin: FloatArray
    limits: Limits
    gross: float = 0.0

    @classmethod
    def around(cls, rows: Rows) -> Noise:
        """Return the box around rows, whatever their units; those of weight zero are not there.

        Parameters
        ----------
        rows : Rows
            Of rows in chunks none is set aside; columns in which some should be are named in ``limits.suspect``.

        Raises
        ------
        InvalidDataError
            If values are missing, or the rows lie in a plane, whose box has no volume.
        """
        if rows.has_gaps:
            raise InvalidDataError(
                "noise=True needs complete rows: impute what is missing, leave those rows out, or set noise=False"
            )
        if rows.is_in_memory:
            rows, limits, gross = _within(rows.in_memory())
        else:
            limits, gross = _suspect(rows), 0.0
        summary, D = rows.summary, rows.n_features
        scale, origin = summary.highest - summary.lowest, summary.lowest
        _, sizes, principal = np.linalg.svd(
            rows.map_reduce(partial(_triangle, summary.mean, np.where(scale > 0, scale, 1.0)), _stacked)
        )
        if len(sizes) < D or sizes[-1] < _FLAT * sizes[0]:
            raise InvalidDataError(
                "noise=True needs rows that fill a volume, and these lie in a plane: leave out a column, or set noise=False"
            )
        extents = ((axes, *rows.map_reduce(partial(_extent, scale, axes, origin), _wider)) for axes in (np.eye(D), principal.T))
        boxes = (cls(scale, *extent, origin, limits, gross) for extent in extents)
        return min(boxes, key=lambda box: box.log_volume)

    @property
    def log_volume(self) -> float:
        """Log of its volume, in units of the data."""
        return float(np.log(self.high - self.low).sum() + np.log(self.scale).sum())

    def seen_from(self, origin: FloatArray) -> Noise:
        """Return the same box for data that are counted from another origin (D,)."""
        return replace(self, origin=self.origin - origin, limits=self.limits.seen_from(origin))

    def inside(self, rows: Rows) -> Rows:
        """Return rows of which those that are noise for certain have the weight zero."""
        if not self.limits.are_set:
            return rows
        known = rows.in_memory()
        return known.weighted(np.where(self.limits.beyond(known.values), 0.0, 1.0 if known.weights is None else known.weights))

    def share_inside(self, noise_weight: float) -> float:
        """Return the share of the noise among the rows within the limits, of its share among all."""
        return max((noise_weight - self.gross) / (1 - self.gross), 0.0)

    def share_of_all(self, noise_weight: float) -> float:
        """Return the share of the noise among all rows, of its share among those within the limits."""
        return self.gross + (1 - self.gross) * noise_weight

    def log_likelihood_of_limits(self, total: float) -> float:
        """Return what rows of this total weight have of log-likelihood beside that of a mixture for those within the limits."""
        if self.gross == 0:
            return 0.0
        return total * ((1 - self.gross) * np.log1p(-self.gross) + self.gross * (np.log(self.gross) - self.log_volume))

    def completed(self, moments: DrawMoments, X: FloatArray) -> DrawMoments:
        """Return what is said of rows X (N, D), of what a mixture for rows within the limits says of them."""
        if self.gross == 0:
            return moments
        beyond = self.limits.beyond(X)
        certain = np.append(np.zeros(moments.mean.shape[1] - 1), 1.0)
        log_density = np.where(beyond, np.log(self.gross) - self.log_volume, moments.log_density + np.log1p(-self.gross))
        entropy = np.where(beyond, 0.0, moments.entropy)
        return moments._replace(
            mean=np.where(beyond[:, None], certain, moments.mean),
            entropy=entropy,
            log_density=log_density,
            draw_log_likelihood=np.array([log_density.sum()]),
            draw_entropy=np.array([entropy.mean()]) if len(X) else moments.draw_entropy,
        )

    def beside(self, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray) -> Arrays:
        """Return what the E-step takes: components (K, ...) and the noise as one more.

        Parameters
        ----------
        log_weights : array of shape (K + 1,)
            The noise's last.
        means, scale_tril : arrays of shape (K, D) and (K, D, D)

        Notes
        -----
        The E-step knows normal densities only. One so wide that it is flat across the data stands for the box; its weight makes up for
        the height.
        """
        widths = _WIDE * self.scale
        height = float((np.log(widths) + 0.5 * _LOG_2PI).sum()) - self.log_volume
        weights = np.append(log_weights[:-1], log_weights[-1] + height)
        center = self.origin + self.scale * (self.axes @ (0.5 * (self.low + self.high)))
        return weights, np.concatenate([means, center[None]]), np.concatenate([scale_tril, np.diag(widths)[None]])

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n rows (n, D)."""
        return self.origin + rng.uniform(self.low, self.high, (n, len(self.low))) @ self.axes.T * self.scale


def _within(rows: MemoryRows) -> tuple[MemoryRows, Limits, float]:
    """Return the rows that may belong to groups, where they end, and the share of the others."""
    if rows.weights is not None:
        rows = rows.take(np.flatnonzero(rows.weights))
    limits = limits_of(rows.values, rows.weights)
    beyond = limits.beyond(rows.values)
    return rows.take(np.flatnonzero(~beyond)), limits, float(np.average(beyond, weights=rows.weights))


def _suspect(rows: Rows) -> Limits:
    """Return no limits, and the columns that have values far beyond those of some rows."""
    some = rows.some(_LOOKED_AT)
    limits = limits_of(some.values, some.weights)
    kept = some.values[~limits.beyond(some.values)]
    low, high = kept.min(0), kept.max(0)
    far = FAR * (high - low)
    return Limits.nowhere((rows.summary.lowest < low - far) | (rows.summary.highest > high + far))


def _triangle(center: FloatArray, scale: FloatArray, chunk: Chunk) -> FloatArray:
    """Return the triangular factor of the rows of one chunk, centred and in units of the columns, each as often as its weight says."""
    Z = (chunk.X - center) / scale
    return np.linalg.qr(Z if chunk.weight is None else Z * np.sqrt(chunk.weight)[:, None], mode="r")


def _stacked(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the factor of the rows of two factors (Golub and Van Loan 2013, Matrix Computations, section 5.2.2)."""
    return np.linalg.qr(np.concatenate([first, second]), mode="r")


def _extent(scale: FloatArray, axes: FloatArray, origin: FloatArray, chunk: Chunk) -> tuple[FloatArray, FloatArray]:
    """Return where the rows of one chunk begin and end along axes (D, D) in units of ``scale`` (D,), counted from an origin (D,)."""
    along = (chunk.X - origin) / scale @ axes
    return along.min(0, initial=np.inf), along.max(0, initial=-np.inf)


def _wider(first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    return np.minimum(first[0], second[0]), np.maximum(first[1], second[1])


def suspicion(noise: Noise, names: Sequence[str], *, in_chunks: bool) -> str:
    """Return a sentence on columns with gross errors that are not set aside."""
    columns = listed([repr(names[d]) for d in noise.limits.suspect], _MOST_NAMED)
    what = "some rows" if in_chunks else f"more than {MOST:.0%} of the rows"
    why = "rows in chunks are not set aside for it" if in_chunks else "so many are not set aside as errors"
    return (
        f"noise=True: in column {columns} {what} lie far beyond all others and stretch the box of the noise, whose density is then next to "
        f"nothing where the others are; {why}. Leave these rows out, or take them for missing, and fit again"
    )
