"""What fits were told of the rows beside their values, for a reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.files import json_records
from bayesgmm.rows import Known, MemoryRows
from bayesgmm.text import counted, listed

__all__ = ["Told", "arguments_of", "odds", "told_of"]

_MOST_SHOWN = 100
_MOST_CELLS = 600
_MOST_NAMED = 6
_MOST_ODDS = 1000


@dataclass(frozen=True, eq=False)
class Told:
    """What was known of the rows.

    Parameters
    ----------
    sentences : tuple of str
    has_labels : bool
        Whether rows had labels.
    table : pandas.DataFrame
        Rows whose label their values contradict, as :meth:`bayesgmm.GaussianMixture.contradictions` has them.
    """

    sentences: tuple[str, ...]
    has_labels: bool
    table: pd.DataFrame
    samples: pd.DataFrame | None = None
    """Weights by sample: :meth:`bayesgmm.GaussianMixture.sample_weights`."""
    coefficients: pd.DataFrame | None = None
    """Of covariates: :meth:`bayesgmm.GaussianMixture.coefficients`."""

    @property
    def n_contradictions(self) -> int:
        """How many labels are contradicted."""
        return len(self.table)

    @property
    def contradictions(self) -> list[dict[str, Any]]:
        """The most contradicted rows."""
        return json_records(self.table.head(_MOST_SHOWN).rename_axis("row").reset_index())

    def summary(self) -> dict[str, Any]:
        """Return all of it ready for JSON."""
        found = {
            "sentences": list(self.sentences),
            "n_contradictions": self.n_contradictions,
            "contradictions": self.contradictions,
        }
        parts = {"sample_weights": self.samples, "coefficients": self.coefficients}
        return found | {name: json_records(part) for name, part in parts.items() if part is not None}

    def by_first(self, table: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
        """Return the rows of one of the tables by what stands in its first column."""
        return [(str(name), json_records(rows)) for name, rows in table.head(_MOST_CELLS).groupby(table.columns[0], sort=False)]


def told_of(fit: GaussianMixture | BayesianGaussianMixture) -> Told | None:
    """Return what a fit was told of its rows; None for nothing.

    Parameters
    ----------
    fit : GaussianMixture or BayesianGaussianMixture
        Fitted; a posterior rather than EM, where there is one.
    """
    if fit.rows_.known is None or not fit.rows_.is_in_memory:
        return None
    rows = fit.rows_.in_memory()
    has_labels = fit.rows_.known.log_weights is not None
    table = fit.contradictions() if has_labels else pd.DataFrame({"known": [], "likelier": [], "odds": []})
    told = Told(tuple(_sentences(fit.rows_.known, rows, fit.component_names_)), has_labels, table)
    if "samples" in fit.depends_on:
        return replace(told, samples=fit.sample_weights())
    return replace(told, coefficients=fit.coefficients()) if fit.depends_on else told


def arguments_of(fit: GaussianMixture | BayesianGaussianMixture) -> list[str]:
    """Return the names of the arguments by which ``fit`` was told something of the rows beside their values."""
    known = fit.rows_.known
    if known is None:
        return []
    parts = {"known": known.log_weights, "together": known.sets, "errors": known.error_of}
    return [*(name for name, part in parts.items() if part is not None), *filter(None, [fit.depends_on])]


def _sentences(known: Known, rows: MemoryRows, names: list[str]) -> Iterator[str]:
    if known.log_weights is not None:
        told = (known.log_weights < 0).any(1)
        sure = (np.isneginf(known.log_weights).sum(1) == known.log_weights.shape[1] - 1).sum()
        what = counted(int(told.sum()), "row has a label", "rows have a label")
        some = f", {int(sure):,} of them one that leaves a single group" if sure < told.sum() else ""
        yield f"{what}{some}, of {len(rows):,}: they are kept in the fits. Groups: {listed(names, _MOST_NAMED)}."
    if known.sets is not None:
        sizes = np.bincount(np.unique(known.sets, return_inverse=True)[1])
        n_rows = int(sizes[sizes > 1].sum())
        yield (
            f"{n_rows:,} rows belong together in {counted(int((sizes > 1).sum()), 'set')} of up to {sizes.max()}: each set is in one group "
            "as a whole, and counts as one in the shares of the groups."
        )
    if known.share_of is not None:
        yield "The groups are the same for all rows, and how large each of them is differs: see the table below."
    if known.error_tril is not None and known.error_of is not None:
        sds = np.sqrt(np.square(known.error_tril).sum(-1))[known.error_of]
        middle = ", ".join(
            f"{np.median(sd):.3g} in {name}" for sd, name in zip(sds.T[:_MOST_NAMED], rows.feature_names, strict=False)
        )
        yield f"Values have errors of measurement, with a median standard deviation of {middle}: groups are of the values without error."


def odds(value: float) -> str:
    """Return odds as one says them.

    Examples
    --------
    >>> [odds(value) for value in (1.24, 12.6, 5e7)]
    ['1.2 to 1', '13 to 1', 'more than 1000 to 1']
    """
    if value > _MOST_ODDS:
        return f"more than {_MOST_ODDS} to 1"
    return f"{value:.1f} to 1" if value < 10 else f"{value:.0f} to 1"
