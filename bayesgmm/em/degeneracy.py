"""Whether a maximum means something: the likelihood of a mixture is unbounded where a component closes in on few rows.

A run that ends there has found a high likelihood and no group (Day 1969, Biometrika 56, 463-474; McLachlan and Peel 2000, Finite Mixture
Models, section 3.10). What gives such components away is that the data do not determine them: a covariance that only its floor holds up,
or rows so few that none of them is predicted by the others. How small a component is beside the spread of the whole table says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.m_step import Mixture, Settings
from bayesgmm.em.noise import Arrays
from bayesgmm.expectation import evaluate, expectation
from bayesgmm.frame import factor_of
from bayesgmm.kernels.linalg import LEAST
from bayesgmm.resolution import smallest_sds as sds_of_rounding
from bayesgmm.rows import Chunk, MemoryRows, Rows
from bayesgmm.text import listed
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["AT_FLOOR", "Health", "describe", "examine", "is_hopeless", "least_variance", "sds_of_digits", "smallest_sds", "widened"]

AT_FLOOR = 1.0 + 1e-3
"""Smallest variance in units of the floor up to which the floor, and not the data, is what holds it up."""
_OF_SPREAD = 2e-5
"""Smallest sd in units of the local spread: from its square, beside others in one matrix, doubles still have six digits."""
_OF_DIGITS = 1e5 * float(np.finfo(float).eps)
"""Smallest sd in units of the farthest value: of what is smaller, standardised rows would not have five digits."""
_WINDOW = 0.02
"""Share of the rows whose range tells the local spread."""
_DENSITY = 0.379
"""Of a normal distribution with an sd of one, the density that a quarter of its values exceeds."""
_FEW = 4.0
"""Rows for each direction, and one, above which a component needs no closer look."""
_OPTIMISM = 2.0
"""Log-likelihood lost by leaving rows out, over the number of parameters, that is more than a regular component loses."""
_NOTHING_LEFT = -1e6
_NO_ROW = 0.5
"""Expected rows below which a component stands for none, whatever it shares with others."""
_MOST_NAMED = 5


def smallest_sds(X: FloatArray, sample_weight: FloatArray | None = None, *, n_components: int = 2) -> FloatArray:
    """Return the smallest standard deviation (D,) of each column that any component is allowed.

    The largest of three: what rounding alone makes of a constant (:mod:`bayesgmm.resolution`), 2e-5 of the local spread of the column (from
    the ranges of windows that hold a fiftieth of the rows, so that neither the distance between groups nor a far row counts), and what
    doubles can tell apart that far from the column's middle.

    Parameters
    ----------
    X : array of shape (N, D)
        NaN stands for a missing value.
    sample_weight : array of shape (N,), optional
        Frequencies of the rows.
    n_components : int
        One component is all rows: no value that repeats can draw it to itself, and rounding does not count.
    """
    rounding = sds_of_rounding(X, sample_weight) if n_components > 1 else np.zeros(X.shape[1])
    local = np.array([_local_spread(column[~np.isnan(column)]) for column in np.sort(X.T, axis=1)])
    return np.maximum(np.maximum(rounding, sds_of_digits(X)), np.maximum(_OF_SPREAD * local, np.finfo(float).tiny ** 0.5))


def sds_of_digits(X: FloatArray) -> FloatArray:
    """Return the standard deviation (D,) below which doubles have few digits left at the value of each column that lies farthest out."""
    return _OF_DIGITS * np.nanmax(np.abs(X - np.nanmedian(X, axis=0)), axis=0)


def _local_spread(column: FloatArray) -> float:
    """Return the sd of the groups that sorted values (n,) lie in, were they normal; zero where nearly all are equal."""
    window = max(1, int(_WINDOW * len(column)))
    ranges = column[window:] - column[:-window]
    if not (ranges > 0).any():
        return 0.0
    return float(np.quantile(ranges[ranges > 0], 0.25)) * _DENSITY * len(column) / window


_ERRORS_LOOKED_AT = 100


@dataclass(frozen=True)
class Health:
    """What is wrong with the components of a mixture, if anything.

    Parameters
    ----------
    at_floor : bool array of shape (K,)
        Components whose covariance is held up by the floor.
    too_few : bool array of shape (K,)
        Components with fewer rows, in expectation, than it takes to estimate their covariance, or whose few rows they do not predict.
    counts : array of shape (K,)
        Expected numbers of rows.
    """

    at_floor: np.ndarray
    too_few: np.ndarray
    counts: FloatArray

    @property
    def is_regular(self) -> bool:
        """Whether no component is at fault."""
        return not (self.at_floor.any() or self.too_few.any())

    @property
    def status(self) -> str:
        """One word: "regular", "collapsed" or "spurious"."""
        return "regular" if self.is_regular else "collapsed" if self.at_floor.any() else "spurious"


def examine(mixture: Mixture, settings: Settings, rows: Rows) -> Health:
    """Return the state of a fitted mixture's components.

    Parameters
    ----------
    mixture : Mixture
    settings : Settings
    rows : Rows
        With missing values or in chunks: of components with few rows, only the counts are looked at.
    """
    K, D = mixture.means.shape
    counts = np.exp(mixture.log_weights[:K]) * rows.total
    if rows.known is not None and rows.known.sets is not None:  # whose labels are fewer than their rows
        counts = expectation(rows, *settings.arrays(mixture), diagonal=settings.family.diagonal).counts[:K]
    at_floor = least_variance(mixture.scale_tril, settings) <= AT_FLOOR
    if at_floor.any():
        at_floor &= least_variance_with_error(mixture, settings, rows) <= AT_FLOOR
    if settings.fixed is not None:
        at_floor &= ~settings.fixed.has_covariance
    # A prior makes up for rows that are missing.
    if settings.penalty is not None or K == 1:
        return Health(at_floor, np.zeros(K, bool), counts)
    if not _own_parameters(settings.family, D):
        return Health(at_floor, counts < _NO_ROW, counts)
    enough = 2 if settings.family.diagonal else D + 1
    too_few = counts < enough
    small = ~(at_floor | too_few) & (counts < _FEW * enough)
    has_errors = rows.known is not None and rows.known.error_of is not None
    if small.any() and rows.is_in_memory and not rows.has_gaps and not has_errors:
        too_few |= _unpredicted(mixture, settings, rows.in_memory(), small)
    return Health(at_floor, too_few, counts)


def least_variance_with_error(mixture: Mixture, settings: Settings, rows: Rows) -> FloatArray:
    """Return the smallest variance (K,) of rows of each component in any direction, as :func:`least_variance` has it, errors included.

    A component may have no spread of its own: where rows have errors of measurement the likelihood stays bounded.
    """
    known = rows.known
    if known is None or known.error_of is None or known.error_tril is None:
        return least_variance(mixture.scale_tril, settings)
    used = np.unique(known.error_of)
    errors = known.error_tril[used[:: -(-len(used) // _ERRORS_LOOKED_AT)]]
    both = mixture.covariances[:, None] + errors @ np.swapaxes(errors, -1, -2)
    factors = np.stack([factor_of(covariance) for covariance in both.reshape(-1, *both.shape[2:])])
    return least_variance(factors, settings).reshape(both.shape[:2]).min(1)


def _own_parameters(family: Family, n_features: int) -> int:
    """Return how many parameters of its own the covariance of one component more has."""
    return family.n_covariance_parameters(2, n_features) - family.n_covariance_parameters(1, n_features)


def widened(mixture: Mixture, health: Health, settings: Settings) -> Mixture:
    """Return a mixture whose components at fault are, in no direction, narrower than the others are on average.

    Its log-likelihood says what a degenerate mixture is worth without the density that a component has only because it is narrow. If
    none of the components is sound, they are compared with the local spread of the columns.
    """
    K = len(mixture.means)
    fault = health.at_floor | health.too_few
    weights, covariances = np.exp(mixture.log_weights[:K]), mixture.covariances
    within = np.diag((settings.smallest / _OF_SPREAD) ** 2)
    if not fault.all():
        sound = weights[~fault] / max(weights[~fault].sum(), 1e-300)
        within = np.einsum("k,kij->ij", sound, covariances[~fault])
    if settings.family.diagonal:
        within = np.diag(np.diag(within))
    root = factor_of(within)
    inverse = np.linalg.inv(root)
    factors = mixture.scale_tril.copy()
    for k in np.flatnonzero(fault):
        values, vectors = np.linalg.eigh(inverse @ covariances[k] @ inverse.T)
        half = root @ vectors * np.sqrt(np.maximum(values, 1.0))
        factors[k] = factor_of(half @ half.T)
    return mixture._replace(scale_tril=factors)


def is_hopeless(n_rows: float, n_components: int, n_features: int, settings: Settings) -> bool:
    """Whether so few rows cannot determine the components, wherever they are: there is nothing to search for then."""
    directions = 1 if settings.family.diagonal else n_features
    if settings.penalty is not None:
        return False
    return n_rows < n_components * (directions + 1) if _own_parameters(settings.family, n_features) else n_rows <= directions


def least_variance(scale_tril: FloatArray, settings: Settings) -> FloatArray:
    """Return the smallest variance (K,) of components in any direction in units of the smallest allowed; a ridge does not count."""
    smallest = np.maximum(settings.smallest, settings.units)
    if settings.ridge > 0:
        covariances = scale_tril @ np.swapaxes(scale_tril, -1, -2)
        without = covariances - settings.ridge * (1 + 1e-9) * np.eye(covariances.shape[-1])
        return np.linalg.eigvalsh(without / np.outer(smallest, smallest))[:, 0]
    scaled = scale_tril / smallest[:, None]
    if settings.family.diagonal or not np.tril(scaled, -1).any():
        return np.diagonal(scaled, axis1=-2, axis2=-1).min(axis=-1) ** 2
    sizes = np.linalg.svd(scaled, compute_uv=False) ** 2
    # What rounding makes of zero is as little a variance as the floor is.
    least = sizes[:, -1]
    return np.where(least > 2.0 * LEAST * sizes[:, 0], least, np.minimum(least, 1.0))


def _unpredicted(mixture: Mixture, settings: Settings, rows: MemoryRows, small: np.ndarray) -> np.ndarray:
    """Say which of some small components (K,) predict their own rows, each left out in turn, worse than the others do.

    Rows that lie in a plane by chance make a component of high likelihood that knows nothing of the next row. Leaving row x with
    responsibility r out of a component of n rows changes its mean and covariance S by a rank of one, so that with ``m = n - r`` and d
    the Mahalanobis distance, ``|S'| = |S| (n / m)^D (1 - r d^2 / m)`` and ``d'^2 = (n / m) d^2 / (1 - r d^2 / m)``.
    """
    joint, log_density = evaluate(rows.chunk, *settings.arrays(mixture), diagonal=settings.family.diagonal, joint=True)
    X, weights, total = rows.values, rows.weights, rows.total
    D, own = X.shape[1], np.zeros_like(small)
    n_parameters = 1 + D + _own_parameters(settings.family, D)
    responsibilities = np.exp(joint - log_density[:, None])
    for k in np.flatnonzero(small).tolist():
        its = np.flatnonzero(responsibilities[:, k] > 1e-6)
        r = responsibilities[its, k]
        weight = np.ones(len(its)) if weights is None else weights[its]
        n = float(weight @ r)
        without = _left_out(X[its], r, n, mixture, k, settings.family.letters)
        without += np.log(np.maximum(n - r, 1e-300) / n * total / max(total - 1.0, 1.0))
        lost = float(weight * r @ without)
        if -lost > _OPTIMISM * n_parameters:
            others = np.delete(joint[its], k, axis=1)
            own[k] = lost + float(weight * r @ (joint[its, k] - np.logaddexp.reduce(others, axis=1))) <= 0
    return own


def _left_out(X: FloatArray, r: FloatArray, n: float, mixture: Mixture, k: int, letters: str) -> FloatArray:
    """Return by how much the log-density of rows (m,) under component k falls when each of them is left out of it."""
    D = X.shape[1]
    m = np.maximum(n - r, 1e-12)
    z = np.linalg.solve(mixture.scale_tril[k], (X - mixture.means[k]).T).T
    squares = z**2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if letters[2] == "V":  # a matrix of its own
            left = 1.0 - r * squares.sum(1) / m
            log_det, distance = D * np.log(n / m) + np.log(left), (n / m) * squares.sum(1) / left
        elif letters[1] == "V":  # variances of its own
            left = (n / m)[:, None] * (1.0 - r[:, None] * squares / m[:, None])
            log_det, distance = np.log(left).sum(1), ((n / m)[:, None] ** 2 * squares / left).sum(1)
        else:  # a volume of its own
            left = (n / m) * (1.0 - r * squares.sum(1) / (m * D))
            log_det, distance = D * np.log(left), (n / m) ** 2 * squares.sum(1) / left
        lost = -0.5 * (log_det + distance - squares.sum(1))
    # Without the row nothing is left of the component in some direction.
    possible = (left > 0) if left.ndim == 1 else (left > 0).all(1)
    return np.where(possible, lost, _NOTHING_LEFT)


def describe(health: Health, rows: Rows, mixture: Mixture, settings: Settings) -> str:
    """Return a sentence or two that name the components at fault, their rows, and what to do."""
    n, (K, D) = len(rows), mixture.means.shape
    where = [_direction(factor, settings, rows.feature_names) for factor in mixture.scale_tril]
    if health.at_floor.all() and (K == 1 or settings.family.letters in ("EEE", "EEI", "EII")):
        few = f": {n} rows cannot determine the {D} directions of a covariance" if n <= D else ""
        return (
            f"The covariance{'' if K == 1 else ' that the components share'} is singular and only its floor holds it up, in "
            f"{where[0]}{few}. Its log-likelihood means nothing. "
            "Leave out a column, choose a simpler covariance_type (diag, spherical), or give priors"
        )
    own = rows.map_reduce(partial(_own_rows, settings.arrays(mixture), settings.family.diagonal, rows.starts), _more_rows)
    parts = []
    for k in np.flatnonzero(health.at_floor | health.too_few):
        collapsed = f"has collapsed: only the floor of its covariance holds it up, in {where[k]}"
        what = collapsed if health.at_floor[k] else "rests on too few rows"
        parts.append(f"component {k} {what} (expected number of rows {health.counts[k]:.1f}{_named(*own[k])})")
    text = "; ".join(parts)
    # Priors of standard deviations alone leave correlations free to become one.
    priors = "priors" if settings.penalty is None else "priors that hold more (a larger eta)"
    return f"{text[0].upper()}{text[1:]}. Ask for fewer components or a simpler covariance_type, or give {priors}"


def _direction(scale_tril: FloatArray, settings: Settings, names: list[str]) -> str:
    """Name the columns in which a component has no spread."""
    share = np.linalg.svd((scale_tril / settings.smallest[:, None]).T)[2][-1] ** 2
    columns = [repr(names[d]) for d in np.flatnonzero(share > 0.05 * share.max())]
    return f"column {columns[0]}" if len(columns) == 1 else f"a combination of the columns {listed(columns, _MOST_NAMED)}"


type OwnRows = list[tuple[int, list[int]]]
"""Of each component, how many rows it is the most probable for by far, and the numbers of the first of them."""


def _own_rows(arrays: Arrays, diagonal: bool, starts: IntArray, chunk: Chunk) -> OwnRows:
    """Return the same for one chunk, whose rows are numbered as in all the data."""
    r = evaluate(chunk, *arrays, diagonal=diagonal, responsibilities=True)[0]
    own = [np.flatnonzero(column > 0.5) for column in r.T]
    numbers = np.arange(len(r)) if chunk.standing is None else chunk.standing
    return [(len(i), (starts[chunk.number] + numbers[i[:_MOST_NAMED]]).tolist()) for i in own]


def _more_rows(first: OwnRows, second: OwnRows) -> OwnRows:
    return [(n + m, (rows + more)[:_MOST_NAMED]) for (n, rows), (m, more) in zip(first, second, strict=True)]


def _named(n_rows: int, first: list[int]) -> str:
    if n_rows == 0:
        return ", none of which it is the most probable for"
    return f": {', '.join(map(str, first))}" + (f" and {n_rows - len(first)} more" if n_rows > len(first) else "")
