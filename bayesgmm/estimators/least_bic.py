"""The number of components of an EM fit by BIC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesgmm.em import Fitting
from bayesgmm.estimators.criteria import bic
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.text import listed

__all__ = ["ByBIC", "least_bic"]

_PATIENCE = 3
"""Numbers of components without a better BIC after which no larger one is tried."""
_CLOSE = 2.0
"""Differences in BIC that are not worth more than a bare mention (Kass and Raftery 1995, JASA 90, 773-795, section 3.2)."""


@dataclass(frozen=True, eq=False)
class ByBIC:
    """The fit of least BIC, not ended yet, and BIC of each number of components that was tried: infinite where no maximum was proper."""

    fitting: Fitting
    bic: dict[int, float]

    @property
    def sentence(self) -> str:
        """Which number BIC takes, and what others come close."""
        numbers, least = list(self.bic), min(self.bic.values())
        if not np.isfinite(least):
            return f"no maximum with 1 to {numbers[-1]} components is proper, so BIC takes none"
        best = min(self.bic, key=lambda n: self.bic[n])
        close = [f"{n} (+{self.bic[n] - least:.1f})" for n in numbers if n != best and self.bic[n] - least < _CLOSE]
        others = f"; too close to tell apart: {listed(close)}" if close else ""
        return f"of 1 to {numbers[-1]} components BIC takes {best}{others}"


def rank(fitting: Fitting) -> float:
    """Return BIC of a maximum that means something; infinity of any other."""
    rows = fitting.view.sample.rows
    return bic(fitting.log_likelihood, fitting.n_parameters, rows.total) if fitting.is_sound else np.inf


def least_bic(begin: Callable[[int, Fitting | None], Fitting], most: int) -> ByBIC:
    """Try one component more at a time until that has not lowered BIC three times in a row.

    Parameters
    ----------
    begin : callable
        Takes a number of components and a fit to the same rows, and returns a fit in the making.
    most : int
        Components to try at most.

    Notes
    -----
    Every search starts from what was found for one component fewer, too.
    """
    best, found, last = None, {}, None
    for n in range(1, most + 1):
        try:
            fitting = begin(n, last)
            fitting.search([] if last is None else [last.params])
        except InvalidDataError:
            if best is None:
                raise
            break  # fewer different rows than components
        found[n], last = rank(fitting), fitting
        if best is None or found[n] < found[best[0]]:
            best = n, fitting
        if n - best[0] >= _PATIENCE:
            break
    assert best is not None
    return ByBIC(best[1], found)
