"""What is said of rows that are noise for certain, and how a fit to the others becomes one to all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesgmm.em import EMFit, Noise
from bayesgmm.em.gross import MOST
from bayesgmm.typing import FloatArray

__all__ = ["suspicion", "with_gross_rows"]

_MOST_NAMED = 5


def with_gross_rows(fit: EMFit, noise: Noise, X: FloatArray, weight: FloatArray | None) -> EMFit:
    """Return the fit to all rows, of one to those within the noise's limits.

    With the share g of the rows beyond, rows there have the density g / V of the box with volume V, and the others 1 - g times that of
    the mixture: maximum likelihood of the mixture is that of the rows within.
    """
    if noise.gross == 0:
        return fit
    beyond = noise.limits.beyond(X)
    if weight is not None:
        beyond &= weight > 0
    more = noise.log_likelihood_of_limits(float(len(X)) if weight is None else float(weight.sum()))
    rows = np.flatnonzero(beyond)
    named = ", ".join(str(i) for i in rows[:_MOST_NAMED]) + (
        f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
    )
    one = len(rows) == 1
    said = f"; row{'s'[: one ^ 1]} {named} {'lies' if one else 'lie'} far beyond all others and {'is' if one else 'are'} noise for certain"
    return replace(
        fit,
        trace=fit.trace + more,
        optima=tuple((height + more, params) for height, params in fit.optima),
        noise_weight=noise.share_of_all(fit.noise_weight),
        message=fit.message + said,
    )


def suspicion(noise: Noise, names: Sequence[str], *, in_chunks: bool) -> str:
    """Return a sentence on columns with gross errors that are not set aside."""
    columns = ", ".join(repr(names[d]) for d in noise.limits.suspect[:_MOST_NAMED])
    what = "some rows" if in_chunks else f"more than {MOST:.0%} of the rows"
    why = "rows in chunks are not set aside for it" if in_chunks else "so many are not set aside as errors"
    return (
        f"noise=True: in column {columns} {what} lie far beyond all others and stretch the box of the noise, whose density is then next to "
        f"nothing where the others are; {why}. Leave these rows out, or take them for missing, and fit again"
    )
