"""Advice before the work begins: on data so large that the default road to the posterior is not the best, and on values that repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bayesgmm.exceptions import DataAdvice, SizeAdvice, warn
from bayesgmm.expectation import Chunked
from bayesgmm.resolution import Repeats, advice_on_repeats
from bayesgmm.typing import FloatArray

__all__ = ["LARGE", "advise", "advise_on_values"]

LARGE = 200_000
"""Rows from which on Laplace's approximation is advised: a step of NUTS then takes milliseconds, and a fit makes tens of thousands."""


def advise(estimator: Any, rows: FloatArray | Chunked) -> None:
    """Warn that NUTS will take long and that Laplace's approximation is as good, if there are that many rows."""
    if estimator.sampler != "auto" or len(rows) < LARGE:
        return
    warn(
        f"{len(rows):,} rows: NUTS passes over them at every one of its many steps. With so many, the posterior is close to a normal "
        "distribution, and sampler='laplace' draws from it in a small part of the time and checks itself (attrs['pareto_k'] of datatree_)",
        SizeAdvice,
    )


def advise_on_values(found: Sequence[Repeats]) -> None:
    """Warn of columns of few distinct values, or filled by one value, of which a mixture may make groups."""
    advice = advice_on_repeats(found)
    if advice:
        warn(advice, DataAdvice)
