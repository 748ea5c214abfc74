"""Whether a fit is a maximum that means something: the likelihood of a mixture is unbounded where a component closes in on few rows.

A run that ends there has found a high likelihood and no group (Day 1969, Biometrika 56, 463-474; McLachlan and Peel 2000, Finite Mixture
Models, section 3.10). Such runs are told apart by what their components are made of: covariances that only the floor holds up, or fewer
rows than a covariance has directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesgmm.em.steps import Mixture, Rows, Settings
from bayesgmm.expectation import Chunk, Chunked, evaluate
from bayesgmm.typing import FloatArray, IntArray

_NEAR_FLOOR = 10.0  # a smallest eigenvalue below so many floors would be smaller yet without it
_MOST_NAMED = 5


@dataclass(frozen=True)
class Health:
    """What is wrong with the components of a mixture, if anything.

    Parameters
    ----------
    at_floor : bool array of shape (K,)
        Components whose covariance is held up by the floor.
    too_few : bool array of shape (K,)
        Components with fewer rows, in expectation, than it takes to estimate their covariance.
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
        if self.is_regular:
            return "regular"
        return "collapsed" if self.at_floor.any() else "spurious"


def examine(mixture: Mixture, settings: Settings, n_rows: float) -> Health:
    """Return the state of a fitted mixture's components; ``n_rows`` is the data's total weight."""
    K, D = mixture.means.shape
    family = settings.family
    counts = np.exp(mixture.log_weights[:K]) * n_rows
    inside = settings.frame.covariance_in(mixture.covariances)
    smallest = np.linalg.eigvalsh(inside)[:, 0]
    own_shape = family.n_covariance_parameters(2, D) > family.n_covariance_parameters(1, D)
    # A prior makes up for rows that are missing.
    needed = (2 if family.diagonal else D + 1) if own_shape and settings.penalty is None else 0
    at_floor = smallest < _NEAR_FLOOR * settings.floor if own_shape else np.zeros(K, bool)
    # One component is the whole data: nothing to be spurious against.
    return Health(at_floor & (K > 1), (counts < needed) & (K > 1), counts)


def describe(health: Health, X: Rows, mixture: Mixture, settings: Settings) -> str:
    """Return a sentence or two that name the components at fault, their rows, and what to do."""
    own = _own_rows(X, mixture, settings)
    parts = []
    for k in np.flatnonzero(health.at_floor | health.too_few):
        what = "has collapsed: only the floor of its covariance holds it up" if health.at_floor[k] else "has too few rows"
        parts.append(f"component {k} {what} ({health.counts[k]:.1f} rows in expectation{_named(*own[k])})")
    text = "; ".join(parts)
    # Priors of standard deviations alone leave correlations free to become one.
    priors = "priors" if settings.penalty is None else "priors that hold more (a larger eta)"
    return f"{text[0].upper()}{text[1:]}. Ask for fewer components or a simpler covariance_type, or give {priors}"


type OwnRows = list[tuple[int, list[int]]]
"""Of each component, how many rows it is the most probable for by far, and the numbers of the first of them."""


def _own_rows(X: Rows, mixture: Mixture, settings: Settings) -> OwnRows:
    arrays, diagonal = settings.arrays(mixture), settings.family.diagonal
    if isinstance(X, Chunked):
        starts = np.concatenate([[0], np.cumsum(X.summary.read)])
        return X.map_reduce(_OwnRows(arrays, diagonal, starts), _more_rows)
    return _most_probable(evaluate(X, *arrays, diagonal=diagonal, responsibilities=True)[0])


def _most_probable(r: FloatArray) -> OwnRows:
    rows = [np.flatnonzero(r[:, k] > 0.5) for k in range(r.shape[1])]
    return [(len(i), i[:_MOST_NAMED].tolist()) for i in rows]


@dataclass(frozen=True, eq=False)
class _OwnRows:
    """The same for one chunk, whose rows are numbered as in all the data."""

    arrays: tuple[FloatArray, FloatArray, FloatArray]
    diagonal: bool
    starts: IntArray

    def __call__(self, chunk: Chunk) -> OwnRows:
        own = _most_probable(evaluate(chunk.rows, *self.arrays, diagonal=self.diagonal, responsibilities=True)[0])
        start = int(self.starts[chunk.number])
        standing = (lambda i: i) if chunk.standing is None else (lambda i: int(chunk.standing[i]))
        return [(n, [start + standing(i) for i in rows]) for n, rows in own]


def _more_rows(first: OwnRows, second: OwnRows) -> OwnRows:
    return [(n + m, (rows + more)[:_MOST_NAMED]) for (n, rows), (m, more) in zip(first, second, strict=True)]


def _named(n_rows: int, first: list[int]) -> str:
    if n_rows == 0:
        return ", none of which it is the most probable for"
    return f": {', '.join(map(str, first))}" + (f" and {n_rows - len(first)} more" if n_rows > len(first) else "")
