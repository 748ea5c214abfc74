"""Advice before the work begins: on data so large that chains are not the best, on values that repeat, and on units that disagree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesgmm.exceptions import DataAdvice, SizeAdvice, warn
from bayesgmm.params import MixtureParams
from bayesgmm.resolution import Repeats, advice_on_repeats
from bayesgmm.typing import FloatArray

__all__ = ["LARGE", "advise_on_size", "advise_on_units", "advise_on_values"]

LARGE = 200_000
"""Rows from which on Laplace's approximation is advised: a pass over them then takes milliseconds, and chains need many thousands."""
_DRAWS_LOOKED_AT = 50
_FAR_BELOW = 2.0
"""Nats a row by which draws may be less probable than a single normal distribution: far more than what a poor sampler leaves."""


def advise_on_size(n_rows: int) -> None:
    """Warn that chains will take long and that Laplace's approximation is as good, if there are that many rows."""
    if n_rows < LARGE:
        return
    warn(
        f"{n_rows:,} rows: the chains pass over them many thousand times. With so many, the posterior is close to a normal "
        "distribution, and sampler='laplace' draws from it in a small part of the time and checks itself (attrs['pareto_k'] of datatree_)",
        SizeAdvice,
    )


def advise_on_units(params: MixtureParams, rows: FloatArray) -> None:
    """Warn if rows (N, D) are far less probable under draws than under one normal distribution, which no draws of a mixture should be."""
    some = rows[:: max(1, len(rows) // 1000)]
    some = some[~np.isnan(some).any(axis=1)]
    spread = np.cov(some.T, bias=True).reshape(some.shape[1], some.shape[1]) if len(some) > some.shape[1] else None
    if spread is None or np.linalg.matrix_rank(spread) < len(spread):
        return
    # The mean log-density of rows under the normal distribution with their own moments.
    normal = -0.5 * (len(spread) * (1.0 + np.log(2 * np.pi)) + np.linalg.slogdet(spread)[1])
    few = params.thin(_DRAWS_LOOKED_AT)
    ours = float(np.median(few.log_density(some).mean(-1)))
    if ours < normal - _FAR_BELOW:
        warn(
            f"The rows have a mean log-density of {ours:.1f} under these draws, and {normal:.1f} under a single normal distribution: X and "
            "the draws do not seem to be in the same units, or not to belong together",
            DataAdvice,
        )


def advise_on_values(found: Sequence[Repeats]) -> None:
    """Warn of columns of few distinct values, or filled by one value, of which a mixture may make groups."""
    advice = advice_on_repeats(found)
    if advice:
        warn(advice, DataAdvice)
