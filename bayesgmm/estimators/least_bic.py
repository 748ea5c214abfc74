"""The number of components of an EM fit by BIC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesgmm.em import EMFit
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.params import MixtureParams
from bayesgmm.text import listed

__all__ = ["ByBIC", "least_bic"]

_PATIENCE = 3
"""Numbers of components without a better BIC after which no larger one is tried."""
_CLOSE = 2.0
"""Differences in BIC that are not worth more than a bare mention (Kass and Raftery 1995, JASA 90, 773-795, section 3.2)."""


@dataclass(frozen=True, eq=False)
class ByBIC:
    """The fit of least BIC, and BIC of each number of components that was tried: infinite where no maximum was proper."""

    fit: EMFit
    bic: dict[int, float]

    @property
    def sentence(self) -> str:
        """Which number BIC takes, what others come close, and which were out of the question."""
        numbers, least = list(self.bic), min(self.bic.values())
        if not np.isfinite(least):
            return f"no maximum with 1 to {numbers[-1]} components is proper, so BIC takes none"
        best = min(self.bic, key=lambda n: self.bic[n])
        close = [f"{n} (+{self.bic[n] - least:.1f})" for n in numbers if n != best and self.bic[n] - least < _CLOSE]
        others = f"; too close to tell apart: {listed(close)}" if close else ""
        improper = listed(n for n in numbers if not np.isfinite(self.bic[n]))
        without = f"; no proper maximum was found with {improper}" if improper else ""
        return f"of 1 to {numbers[-1]} components BIC takes {best}{others}{without}"


def least_bic(fit: Callable[[int, list[MixtureParams]], tuple[EMFit, float]], most: int) -> ByBIC:
    """Try one component more at a time until that has not lowered BIC three times in a row.

    Parameters
    ----------
    fit : callable
        Takes a number of components and mixtures to start from as well, those found for one component fewer, and returns a fit and its
        BIC on all rows, infinity if it means nothing.
    most : int
        Components to try at most.
    """
    best: tuple[int, EMFit] | None = None
    found: dict[int, float] = {}
    near: list[MixtureParams] = []
    for n in range(1, most + 1):
        try:
            fitted, found[n] = fit(n, near)
        except InvalidDataError:
            if best is None:
                raise
            break  # fewer different rows than components
        near = [fitted.params]
        if best is None or found[n] < found[best[0]]:
            best = n, fitted
        if n - best[0] >= _PATIENCE:
            break
    assert best is not None
    return ByBIC(best[1], found)
