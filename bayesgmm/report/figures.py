"""Figures as text that fits inside the page."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from bayesgmm.report.words import counted, percent

if TYPE_CHECKING:
    from bayesgmm.comparison import Comparison

__all__ = ["Figure", "data_uri", "draw_all", "plain_style"]

# Beyond this many points a drawing made of lines is larger than its picture.
_MOST_VECTORS = 3_000
_MOST_CURVES = 4
_DPI = 140


@dataclass(frozen=True)
class Figure:
    """A picture of the page: its address (a data URI), what it shows in words, and whether it needs a wide page."""

    source: str
    alt: str
    wide: bool


def draw_all(comparison: Comparison) -> dict[str, Figure]:
    """Draw every figure of the report.

    Parameters
    ----------
    comparison : Comparison
    """
    kind = "svg" if len(comparison.X) <= _MOST_VECTORS else "png"
    n_features = len(comparison.features)
    curves = "svg" if n_features <= _MOST_CURVES else "png"
    with plain_style():
        figures = {
            "groups": Figure(_render(lambda: comparison.plot_groups(ax=_axes()), kind), _groups_alt(comparison), False),
            "uncertainty": Figure(
                _render(lambda: comparison.plot_uncertainty(ax=_axes()), kind), _uncertainty_alt(comparison), False
            ),
            "forest": Figure(_render(comparison.plot_forest, "svg"), _FOREST_ALT, True),
            "predictive": Figure(_render(comparison.plot_predictive, curves), _PREDICTIVE_ALT, n_features > 1),
            "trace": Figure(_render(comparison.plot_trace, "png"), _TRACE_ALT, True),
        }
        # Ranks compare chains; one chain has nothing to be compared with.
        if comparison.posterior_params.batch_shape[0] > 1:
            figures["rank"] = Figure(_render(comparison.plot_rank, "png"), _RANK_ALT, True)
    return figures


_FOREST_ALT = "Each parameter by EM beside its posterior mean and 95% interval; the table below has the numbers."
_PREDICTIVE_ALT = "Density of each column of the data among those of data sets simulated from the posterior."
_TRACE_ALT = "Distribution and course of the draws of each chain; the convergence table has the numbers."
_RANK_ALT = "Ranks of each chain's draws among all draws; lines near zero say that the chains agree."


def _groups_alt(comparison: Comparison) -> str:
    groups = counted(comparison.em_params.n_components, "group")
    agreement = comparison.verdict("agreement").sentence
    return f"The data in {groups}, with the outlines of each group by EM and by the posterior. {agreement}"


def _uncertainty_alt(comparison: Comparison) -> str:
    share = percent(len(comparison.doubtful) / len(comparison.X))
    return f"The data, coloured by how doubtful each point's group is. {share} of the points are in doubt."


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's own defaults whatever the user has set, and the same bytes each time."""
    settings: Any = {"svg.hashsalt": "bayesgmm", "svg.fonttype": "path", "figure.max_open_warning": 0}
    with plt.style.context("default"), plt.rc_context(settings), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes in the figure; the page's text still has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _axes() -> Any:
    return plt.subplots(figsize=(5.6, 4.2), layout="constrained")[1]


def _render(draw: Callable[[], Any], kind: str) -> str:
    """Draw, and return the picture as a data URI; no figure stays open."""
    before = set(plt.get_fignums())
    try:
        draw()
        figure = plt.figure(max(set(plt.get_fignums()) - before))
        return data_uri(figure, kind)
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def data_uri(figure: Any, kind: str) -> str:
    """Return a matplotlib figure as a data URI; ``kind`` is "svg" or "png"."""
    out = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    # Transparent, so that the page's own light or dark ground shows through.
    figure.savefig(out, format=kind, dpi=_DPI, transparent=True, metadata=metadata)
    media = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    return f"data:{media};base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
