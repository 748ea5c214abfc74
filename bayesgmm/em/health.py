"""Whether a fit is a maximum that means something: the likelihood of a mixture is unbounded where a component closes in on few rows.

A run that ends there has found a high likelihood and no group (Day 1969, Biometrika 56, 463-474; McLachlan and Peel 2000, Finite Mixture
Models, section 3.10). Such runs are told apart by what their components are made of: covariances that only the floor holds up, or fewer
rows than a covariance has directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesgmm.em.steps import Mixture, Rows, Settings
from bayesgmm.expectation import evaluate
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
    r, _ = evaluate(X, *settings.arrays(mixture), diagonal=settings.family.diagonal, responsibilities=True)
    parts = []
    for k in np.flatnonzero(health.at_floor | health.too_few):
        rows = np.flatnonzero(r[:, k] > 0.5)
        what = "has collapsed: only the floor of its covariance holds it up" if health.at_floor[k] else "has too few rows"
        parts.append(f"component {k} {what} ({health.counts[k]:.1f} rows in expectation{_named(rows)})")
    text = "; ".join(parts)
    # Priors of standard deviations alone leave correlations free to become one.
    priors = "priors" if settings.penalty is None else "priors that hold more (a larger eta)"
    return f"{text[0].upper()}{text[1:]}. Ask for fewer components or a simpler covariance_type, or give {priors}"


def _named(rows: IntArray) -> str:
    if len(rows) == 0:
        return ", none of which it is the most probable for"
    listed = ", ".join(str(i) for i in rows[:_MOST_NAMED])
    return f": {listed}" + (f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else "")
