"""The HTML page: what goes into the template."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

from bayesgmm.report.figures import draw_all
from bayesgmm.report.words import SHAPES, counted, number, percent, some

if TYPE_CHECKING:
    from bayesgmm.comparison import Comparison

__all__ = ["page"]

_MOST_ROWS, _MOST_COLUMNS, _MOST_LISTED = 10, 6, 300


def page(facts: dict[str, Any], comparison: Comparison) -> str:
    """Return the report as one self-contained HTML page.

    Parameters
    ----------
    facts : dict
        From `bayesgmm.report.facts.facts_of`.
    comparison : Comparison
    """
    doubtful, changed = comparison.doubtful, comparison.changed
    return _template().render(
        facts,
        shape=SHAPES.get(facts["model"]["covariance_type"], "groups of one family"),
        verdicts=comparison.verdicts,
        concerns=[check for check in comparison.verdicts if not check.passed],
        checks=comparison.checks,
        figures=draw_all(comparison),
        groups=list(_groups(comparison)),
        shown_features=list(comparison.features[:_MOST_COLUMNS]),
        doubtful=_points(comparison, doubtful.head(_MOST_ROWS)),
        n_doubtful=len(doubtful),
        changed=_points(comparison, changed.head(_MOST_ROWS)),
        n_changed=len(changed),
        partition=comparison.partition,
        partition_sentence=comparison.verdict("partition").sentence,
        components=range(comparison.em_params.n_components),
        parameters=_records(comparison.parameters),
        predictive=_records(comparison.predictive),
        convergence=_records(comparison.convergence),
        convergence_summary=list(_convergence_summary(comparison.convergence)),
        sampler=_records(comparison.sampler.reset_index()),
        most=_MOST_LISTED,
    )


@cache
def _template() -> jinja2.Template:
    """The template; every value in it is escaped unless it was made here."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bayesgmm.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "counted": counted, "some": some}
    return environment.get_template("report.html.jinja")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _groups(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Each group: its share by both fits, and its mean in the first columns."""
    table = comparison.parameters
    sizes = comparison.responsibilities["posterior_label"].value_counts()
    for k in range(comparison.em_params.n_components):
        own = table[table["component"] == k]
        weight = _records(own[own["parameter"] == "weight"])
        means = _records(own[own["parameter"] == "mean"])[:_MOST_COLUMNS]
        yield {"number": k, "points": int(sizes.get(k, 0)), "weight": weight[0] if weight else None, "means": means}


def _points(comparison: Comparison, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the responsibility table with the values of the first columns."""
    index = comparison.responsibilities.index
    values: list[list[float]] = [[] for _ in range(len(rows))]
    if index.is_unique and len(rows):
        values = comparison.X[index.get_indexer(rows.index), :_MOST_COLUMNS].tolist()
    return [{"row": row, "values": own, **record} for row, own, record in zip(rows.index, values, _records(rows), strict=True)]


def _convergence_summary(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The worst of each kind of labels."""
    for labels, rows in table.groupby("labels", sort=False):
        yield {
            "labels": labels,
            "n": len(rows),
            "r_hat": rows["r_hat"].max(skipna=False),
            "ess_bulk": rows["ess_bulk"].min(skipna=False),
            "ess_tail": rows["ess_tail"].min(skipna=False),
        }
