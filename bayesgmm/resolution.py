"""How finely each column was recorded: the step of its rounding, and values that repeat.

Normal distributions have a density, and records have digits. Where values repeat, the likelihood of a mixture has infinite peaks, one at
every repeated value, that say nothing of groups: data rounded to a step h cannot tell a standard deviation from any other below that of
the rounding itself, ``h / sqrt(12)`` (Sheppard 1898, Proceedings of the London Mathematical Society 29, 353-380).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.mixture.marginal import lower_factor
from bayesgmm.params import MixtureParams
from bayesgmm.text import listed
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["MOST_ROWS", "Repeats", "advice_on_repeats", "repeats", "smallest_sds", "with_rounding", "without_rounding"]

_EPS64 = float(np.finfo(np.float64).eps)
_EPS32 = float(np.finfo(np.float32).eps)
_SLACK = 8.0  # rounding errors, of the size of a value, that some arithmetic may have left in it
_DIGITS = 12
_DIGITS_32 = 5
"""Significant digits of the largest value down to which decimals are looked for: with more, numbers of any kind would have them."""
_ENOUGH = 5  # distinct values whose differences show the grid; fewer may have a common divisor by chance
_SURE = 1e-6  # parts of a step to which gaps must be multiples of it
_MOSTLY = 0.9
_FEW_TIES = 0.02  # share of the values that may equal another by chance
_ALL = slice(None)
MOST_ROWS = 2**20
"""Rows that are looked at."""

_LEAST_SD = 1e-3  # of a component before rounding, in parts of what it is with it: less cannot be told from what is left

_FEW_VALUES = 10
_COPIES = 5
_LARGE_SHARE = 0.25
_VISIBLE_SHARE = 0.05
_MOST_NAMED = 6


def _columns(X: FloatArray, sample_weight: FloatArray | None) -> Iterator[tuple[FloatArray, FloatArray | None]]:
    """Return each column's values that are there in their order, and their weights."""
    thinned = _ALL if len(X) <= MOST_ROWS else np.arange(0, len(X), -(-len(X) // MOST_ROWS))
    rows = np.asarray(X[thinned], dtype=float)
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=float)[thinned]
    return (_present(rows[:, d], weight) for d in range(rows.shape[1]))


def smallest_sds(X: FloatArray, sample_weight: FloatArray | None = None) -> FloatArray:
    """Return the smallest standard deviation (D,) that each column can tell: that of its rounding, ``h / sqrt(12)`` for steps of h.

    It is 0 where no rounding is to be seen, and at most half the standard deviation of the column, so that no group need be wider than
    all rows: a code that is 1 in few rows and 0 in all others varies less than its rounding would.

    Parameters
    ----------
    X : array of shape (N, D)
        NaN stands for a missing value.
    sample_weight : array of shape (N,), optional
        Frequencies of the rows: a row of weight three is there three times, and one of weight zero is not there.

    Notes
    -----
    The rule for the step, from the distinct values of a column in their order (values that differ by some rounding errors count as one):

    1. If all are decimals with at most 12 significant digits (5 where every value is a float32), the step is the greatest common divisor
       of their differences: 0.01 for prices, 5 for scores in fives, 1 for 273.15, 274.15, ... Fewer than five distinct values
       that do not repeat are taken with zero among them, for two numbers have any difference.
    2. Else, if all gaps are multiples of one number to a millionth of it, this is the step: inches turned into centimetres, values divided
       by their standard deviation or counted from their mean.
    3. Else, if values repeat (more than 2 % of them equal another, and at least two; or one value is there five times): zeros in a
       continuous column, or a bootstrap's copies. A quarter of the gaps between neighbouring distinct values are below the step.
    4. Else the column is continuous.

    A column of one distinct value has no step. Of more than a million rows, a million evenly spaced ones are looked at.

    Examples
    --------
    >>> smallest_sds(np.array([[1.0], [2.0], [2.0], [5.0], [7.0], [8.0]])).round(3)
    array([0.289])
    """
    return np.array([_smallest_sd(*column) for column in _columns(X, sample_weight)])


@dataclass(frozen=True)
class Repeats:
    """A column whose values repeat so much that groups of a normal mixture could be nothing but repeated values.

    Parameters
    ----------
    column : str
        Its name.
    rows : float
        How many rows have a value there, counted by their weights.
    distinct : int
        How many distinct values there are.
    value : float
        The commonest.
    copies : float
        In how many rows it is.

    Examples
    --------
    >>> print(Repeats("x", 500, 201, 0.0, 300))
    'x' is 0 in 300 of 500 rows
    >>> print(Repeats("item3", 595, 5, 4.0, 201))
    'item3' has 5 distinct values in 595 rows
    """

    column: str
    rows: float
    distinct: int
    value: float
    copies: float

    @property
    def share(self) -> float:
        """Share of the rows that have the commonest value."""
        return self.copies / self.rows

    @property
    def has_few_values(self) -> bool:
        """Whether there are so few distinct values that the column is a scale of marks or a code, not a measurement."""
        return self.distinct <= _FEW_VALUES and self.rows >= _COPIES * self.distinct

    @property
    def has_common_value(self) -> bool:
        """Whether one value fills a large share of the rows."""
        return self.copies >= _COPIES and self.share >= _LARGE_SHARE

    @property
    def is_mostly_one_value(self) -> bool:
        """Whether half of the rows or more have one value: groups in such a column part them from the others, whatever else there is."""
        return self.copies >= _COPIES and self.share >= 0.5

    @property
    def is_scale(self) -> bool:
        """Whether there are few distinct values and none of them is that of most rows."""
        return self.has_few_values and self.share < 0.5

    def __str__(self) -> str:
        if self.distinct == 1:
            return f"'{self.column}' is {self.value:g} in all {self.rows:g} rows"
        if self.is_scale:
            return f"'{self.column}' has {self.distinct} distinct values in {self.rows:g} rows"
        return f"'{self.column}' is {self.value:g} in {self.copies:g} of {self.rows:g} rows"


def repeats(X: FloatArray, names: Sequence[str], sample_weight: FloatArray | None = None) -> tuple[Repeats, ...]:
    """Return the columns of few distinct values, and those in which one value fills a large share of the rows.

    Few are at most ten distinct values that occur five times each on average; a large share is a quarter of the rows, or a twentieth where
    the next commonest value has at most a fifth of that.

    Parameters
    ----------
    X : array of shape (N, D)
        NaN stands for a missing value.
    names : sequence of D str
        Of the columns.
    sample_weight : array of shape (N,), optional

    Returns
    -------
    tuple of Repeats
        In the order of the columns; empty for columns of measurements.

    Examples
    --------
    >>> X = np.r_[np.zeros(30), np.random.default_rng(0).normal(5.0, 1.0, 20)][:, None]
    >>> [str(found) for found in repeats(X, ["expression"])]
    ["'expression' is 0 in 30 of 50 rows"]
    """
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
    found = (_repeats(str(name), *_present(np.asarray(X[:, d], dtype=float), weight)) for d, name in enumerate(names))
    return tuple(column for column in found if column is not None)


def advice_on_repeats(found: Sequence[Repeats]) -> str:
    """Return what to know and do about columns whose values repeat, in a few sentences; "" if there are none.

    Parameters
    ----------
    found : sequence of Repeats
        From `repeats`.

    Examples
    --------
    >>> advice_on_repeats([Repeats("x", 500, 201, 0.0, 300)]).partition(".")[0]
    "Values repeat: 'x' is 0 in 300 of 500 rows"
    """
    if not found:
        return ""
    scales = [column for column in found if column.is_scale]
    atoms = [column for column in found if not column.is_scale]
    said, what = [listed(atoms, _MOST_NAMED)] if atoms else [], []
    if atoms:
        what.append("a column that is mostly one value is better modelled apart (first whether it has that value, then the rest)")
    if scales:
        names = listed([f"'{column.column}'" for column in scales], _MOST_NAMED)
        numbers = sorted({column.distinct for column in scales})
        how_many = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        said.append(f"{names} {'has' if len(scales) == 1 else 'have'} only {how_many} distinct values")
        what.append("marks and codes are better served by a model of categories (latent classes)")
    return (
        f"Values repeat: {'; '.join(said)}. A group may then be nothing but one repeated value, and the number of groups may rest on ties "
        f"alone. What can be done: {'; '.join(what)}"
    )


def _present(x: FloatArray, weight: FloatArray | None) -> tuple[FloatArray, FloatArray | None]:
    """Return the values that are there in their order, and their weights."""
    there = np.flatnonzero(np.isfinite(x) if weight is None else np.isfinite(x) & (weight > 0))
    if weight is None:
        return np.sort(x[there]), None
    order = there[np.argsort(x[there])]
    return x[order], weight[order]


def _size(values: FloatArray) -> FloatArray:
    """Return the size to which rounding errors of each value are relative: its own, or that of a typical one if it is near zero."""
    size = np.abs(values)
    above = size[size > 0]
    return np.maximum(size, np.median(above)) if len(above) else size


def _starts(values: FloatArray) -> np.ndarray:
    """Return where each distinct one of the sorted values begins."""
    if len(values) == 0:
        return np.zeros(0, dtype=np.intp)
    return np.flatnonzero(np.r_[True, np.diff(values) > _SLACK * _EPS64 * _size(values)[1:]])


def _smallest_sd(values: FloatArray, weight: FloatArray | None) -> float:
    step = _step(values, weight)
    if step == 0.0:
        return 0.0
    centred = values - np.average(values, weights=weight)
    return float(min(step / np.sqrt(12.0), 0.5 * np.sqrt(np.average(centred**2, weights=weight))))


def _step(values: FloatArray, weight: FloatArray | None) -> float:
    """Return the step to which a column was rounded, in its units, and 0.0 where no rounding is to be seen: see `smallest_sds`."""
    starts = _starts(values)
    distinct = values[starts]
    if len(distinct) < 2:
        return 0.0
    n = len(values) if weight is None else float(weight.sum())
    repeated = n - len(distinct) > max(1.0, _FEW_TIES * n)
    step = _decimal_step(distinct, _SLACK * _EPS64, _DIGITS, repeated)
    if step == 0.0 and _is_float32(distinct):
        step = _decimal_step(distinct, _EPS32, _DIGITS_32, repeated)
    gaps = np.diff(distinct)
    if step == 0.0 and (repeated or len(gaps) > 1):
        step = _grid_step(gaps, _SLACK * _EPS64 * _size(distinct)[1:])
    ties = repeated or _copies(starts, len(values), weight).max() >= _COPIES
    return float(np.quantile(gaps, 0.25)) if step == 0.0 and ties else step


def _copies(starts: IntArray, n: int, weight: FloatArray | None) -> FloatArray:
    """Return how often each distinct value is there."""
    return np.diff(np.r_[starts, n]).astype(float) if weight is None else np.add.reduceat(weight, starts)


def _is_float32(values: FloatArray) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        return bool((values.astype(np.float32).astype(float) == values).all())


def _decimal_step(distinct: FloatArray, error: float, digits: int, repeated: bool) -> float:
    """Return the step of values that are decimals to a relative error, 0.0 if they are not."""
    power = int(np.ceil(np.log10(np.abs(distinct[[0, -1]]).max()))) - digits
    some = distinct if len(distinct) < 2000 else distinct[:: len(distinct) // 500]
    if not (_are_multiples(some, power, error) and _are_multiples(distinct, power, error)):
        return 0.0
    whole = np.rint(_in_units(distinct, power)).astype(np.int64)
    seen = repeated or len(distinct) >= _ENOUGH
    divisor = int(np.gcd.reduce(whole - whole[0] if seen else whole))
    # The decimal itself, as it would be read.
    return float(f"{divisor}e{power}")


def _in_units(values: FloatArray, power: int) -> FloatArray:
    """Return the values in units of ten to a power, with one rounding where the power is a number of its own."""
    if abs(power) <= 22:
        return values * 10.0**-power if power < 0 else values / 10.0**power
    first = power // 2
    return _in_units(_in_units(values, first), power - first)


def _are_multiples(values: FloatArray, power: int, error: float) -> bool:
    units = _in_units(values, power)
    off = np.abs(units - np.rint(units))
    # Near zero a step of less than one is left to arithmetic; a value of its own must be a whole number of steps.
    return bool((off <= error * _size(units)).all())


def _grid_step(gaps: FloatArray, noise: FloatArray) -> float:
    """Return the number that nearly all gaps are multiples of, 0.0 if there is none.

    Euclid's algorithm for numbers with an error: while some gap leaves a remainder that is more than the errors, the smallest such
    remainder is the next candidate. Errors grow on the way, and where they are no longer small beside the candidate nothing is known.
    """
    i = int(np.argmin(gaps))
    step, error = gaps[i], noise[i]
    while True:
        times = np.rint(gaps / step)
        doubt = noise + times * error
        certain = doubt <= _SURE * step
        if certain.mean() < _MOSTLY:
            return 0.0
        rest = np.abs(gaps - times * step)
        off = certain & (rest > doubt)
        if not off.any():
            return float(gaps[certain].sum() / times[certain].sum())
        i = int(np.argmin(np.where(off, rest, np.inf)))
        step, error = rest[i], doubt[i]


def _repeats(name: str, values: FloatArray, weight: FloatArray | None) -> Repeats | None:
    starts = _starts(values)
    if len(starts) == 0:
        return None
    counts = _copies(starts, len(values), weight)
    commonest = int(np.argmax(counts))
    second = float(np.partition(counts, -2)[-2]) if len(counts) > 1 else 0.0
    found = Repeats(name, float(counts.sum()), len(starts), float(values[starts[commonest]]), float(counts[commonest]))
    stands_out = found.copies >= max(_COPIES, _VISIBLE_SHARE * found.rows) and found.copies >= _COPIES * second
    return found if found.has_few_values or found.has_common_value or stands_out else None


def with_rounding(mixture: MixtureParams, rounding: FloatArray) -> MixtureParams:
    """Return a mixture with a covariance (D, D), which may be singular, added to that of every component.

    Examples
    --------
    >>> one = MixtureParams.from_covariances([1.0], [[0.0]], [[[9.0]]])
    >>> with_rounding(one, np.array([[16.0]])).sds
    array([[5.]])
    """
    if _along_columns(mixture, rounding):
        sds = np.sqrt(mixture.sds**2 + np.diag(rounding))
        return replace(mixture, scale_tril=sds[..., None] * np.eye(mixture.n_features))
    values, vectors = np.linalg.eigh(rounding)
    root = np.broadcast_to(vectors * np.sqrt(np.maximum(values, 0.0)), mixture.scale_tril.shape)
    return replace(mixture, scale_tril=lower_factor(np.concatenate([mixture.scale_tril, root], axis=-1)))


def without_rounding(mixture: MixtureParams, rounding: FloatArray) -> MixtureParams:
    """Return a mixture without the covariance (D, D) of rounding; where nothing would be left of a direction, a little is.

    Examples
    --------
    >>> one = MixtureParams.from_covariances([1.0], [[0.0]], [[[25.0]]])
    >>> without_rounding(one, np.array([[16.0]])).sds
    array([[3.]])
    """
    if _along_columns(mixture, rounding):
        sds = mixture.sds
        left = np.sqrt(np.maximum(sds**2 - np.diag(rounding), (_LEAST_SD * sds) ** 2))
        return replace(mixture, scale_tril=left[..., None] * np.eye(mixture.n_features))
    # In coordinates in which the component is round, what rounding takes away is a matrix with eigenvalues between 0 and 1.
    factors = mixture.scale_tril
    half = np.linalg.solve(factors, np.broadcast_to(rounding, factors.shape))
    share = np.linalg.solve(factors, np.swapaxes(half, -1, -2))
    values, vectors = np.linalg.eigh(0.5 * (share + np.swapaxes(share, -1, -2)))
    roots = factors @ (vectors * np.sqrt(np.maximum(1.0 - values, _LEAST_SD**2))[..., None, :])
    return replace(mixture, scale_tril=lower_factor(roots))


def _along_columns(mixture: MixtureParams, rounding: FloatArray) -> bool:
    """Whether neither mixes columns, so that variances are all there is."""
    return mixture.is_diagonal and not np.any(rounding - np.diag(np.diag(rounding)))
