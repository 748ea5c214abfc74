"""The verdict on draws that are not chains: approximations weighted to the posterior, and refits."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, nan

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.diagnostics.validity import KINDS, does_not_apply, draws_kind
from bayesgmm.diagnostics.value import Check

__all__ = ["verdict_without_chains"]

GOOD_K = 0.7
"""Pareto k above which importance weights cannot be relied on, however many draws there are."""
LEAST_ESS = 100.0


def verdict_without_chains(convergence: pd.DataFrame, datatree: xr.DataTree, more: tuple[Check, ...] = ()) -> tuple[Check, ...]:
    """Return the checks that apply to draws that are no chains, the overall verdict first, and notes on those that do not.

    Weighted draws are held to their Pareto k (below 0.7, and below ``1 - 1 / log10(S)`` for few draws S: Vehtari et al. 2024, Journal of
    Machine Learning Research 25 (72)) and to an effective number of at least 100.

    Parameters
    ----------
    convergence : pandas.DataFrame
        From :func:`bayesgmm.diagnostics.convergence_table`.
    datatree : xarray.DataTree
    more : tuple of Check
        Checks that hold for any draws.
    """
    judged = tuple(_weights(datatree))
    notes = [
        Check(name, None, None, True, sentence)
        for name, question in (("r_hat", "r_hat"), ("ess", "ess"))
        if (sentence := does_not_apply(datatree, question))
    ]
    return (_overall(datatree, judged), *judged, *notes, *more)


def _overall(datatree: xr.DataTree, judged: tuple[Check, ...]) -> Check:
    kind = draws_kind(datatree)
    what = str(datatree.attrs.get("inference", "these draws"))
    failed = [check for check in judged if not check.passed]
    first = (failed or list(judged) or [Check("convergence", nan, None, False, "")])[0]
    if not judged:
        sentence = f"Cannot be relied on as chains: these are {KINDS.get(kind, kind)}, and no check applies to them."
    elif failed:
        sentence = f"Not reliable ({what}): {_lower(first.sentence)} Use sampler='nuts'."
    else:
        sentence = f"Reliable ({what}, {KINDS.get(kind, kind)}): {_lower(first.sentence)}"
    return Check("convergence", first.value, first.threshold, bool(judged) and not failed, sentence)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _weights(datatree: xr.DataTree) -> Iterator[Check]:
    """Checks of importance weights, where the draws have any."""
    if "pareto_k" not in datatree.attrs:
        return
    k = float(datatree.attrs["pareto_k"])
    size = int(np.prod([datatree["posterior"].sizes[dim] for dim in ("chain", "draw")])) if "posterior" in datatree.children else 0
    limit = min(GOOD_K, 1.0 - 1.0 / np.log10(size)) if size > 10 else GOOD_K
    good = isfinite(k) and k < limit
    sentence = (
        f"The approximation is close enough to the posterior for its draws to be weighted (Pareto k {k:.2f}, below {limit:.2f})."
    )
    if not good:
        sentence = (
            f"The approximation is too far from the posterior, which its weighted draws do not represent "
            f"(Pareto k {k:.2f}, it should be below {limit:.2f})."
        )
    yield Check("pareto_k", k, float(limit), good, sentence)
    if "importance_ess" in datatree.attrs:
        ess = float(datatree.attrs["importance_ess"])
        words = "The weighted draws are worth" if ess >= LEAST_ESS else "Too few: the weighted draws are worth only"
        yield Check("importance_ess", ess, LEAST_ESS, ess >= LEAST_ESS, f"{words} {ess:,.0f} equally weighted ones.")
