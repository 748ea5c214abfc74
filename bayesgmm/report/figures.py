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
import numpy as np
from PIL import Image

from bayesgmm import plots
from bayesgmm.partitions.doubt import uncertainty_of_draws
from bayesgmm.report.glyphs import drawable, families
from bayesgmm.report.pictures import plot_choice
from bayesgmm.report.words import counted, number, percent

if TYPE_CHECKING:
    from bayesgmm.comparison import Comparison
    from bayesgmm.report.page import Material

__all__ = ["Figure", "data_uri", "draw_all", "plain_style"]

_MOST_BARS = 24
_MOST_DRAWN = 30
_DPI = 170
_COLOURS = 256


@dataclass(frozen=True)
class Figure:
    """A picture of the page: its address (a data URI), what it shows in words, and whether it needs a wide page."""

    source: str
    alt: str
    wide: bool


def draw_all(material: Material) -> dict[str, Figure]:
    """Draw every figure of the report.

    Parameters
    ----------
    material : Material
    """
    comparison, known, choice = drawable(material.comparison), material.known, material.choice
    with plain_style(), plt.rc_context({"font.family": families(comparison.features)}):
        figures = _always(comparison)
        # Ranks compare chains; one chain has nothing to be compared with.
        if comparison.posterior_params.batch_shape[0] > 1:
            figures["rank"] = Figure(_render(comparison.plot_rank, "png8"), _RANK_ALT, True)
        # In an only group no point can be in doubt.
        if comparison.em_params.n_components > 1:
            drawn = _render(lambda: comparison.plot_uncertainty(ax=_axes()), "png")
            figures["uncertainty"] = Figure(drawn, _uncertainty_alt(comparison), False)
        if len(comparison.doubtful):
            figures["doubtful"] = Figure(_render(lambda: _bars(comparison), "svg"), _doubtful_alt(comparison), True)
        if choice is not None:
            best = f"BIC is least for {counted(choice.by('bic'), 'group')}, ICL for {counted(choice.by('icl'), 'group')}."
            figures["choice"] = Figure(_render(lambda: plot_choice(choice), "svg"), f"Criteria by number of groups. {best}", True)
        if known is not None and known.calibration is not None:
            figures["reliability"] = Figure(_render(lambda: _reliability(material), "svg"), _reliability_alt(material), False)
    return figures


def _always(comparison: Comparison) -> dict[str, Figure]:
    """The figures that every report has."""
    # Points, curves and traces by the hundred are larger as a drawing than as its picture.
    few = len(comparison.parameters) <= _MOST_DRAWN
    return {
        "groups": Figure(_render(lambda: comparison.plot_groups(ax=_axes()), "png"), _groups_alt(comparison), False),
        "forest": Figure(_render(comparison.plot_forest, "svg" if few else "png8"), _forest_alt(comparison), True),
        "predictive": Figure(
            _render(comparison.plot_predictive, "png8"), _predictive_alt(comparison), len(comparison.features) > 1
        ),
        "trace": Figure(_render(comparison.plot_trace, "png8"), _TRACE_ALT, True),
    }


_TRACE_ALT = "Distribution and course of the draws of each chain; the convergence table has the numbers."
_RANK_ALT = "Ranks of each chain's draws among all draws; lines near zero say that the chains agree."


def _groups_alt(comparison: Comparison) -> str:
    groups = counted(comparison.em_params.n_components, "group")
    agreement = comparison.verdict("agreement").sentence
    return f"The data in {groups}, with the outlines of each group by EM and by the posterior. {agreement}"


def _uncertainty_alt(comparison: Comparison) -> str:
    share = percent(len(comparison.doubtful) / len(comparison.X))
    return f"The data, coloured by how doubtful each point's group is. {share} of the points are in doubt."


def _forest_alt(comparison: Comparison) -> str:
    return (
        "Each parameter by EM beside its posterior mean and 95% interval; the table below has the numbers. "
        f"{comparison.verdict('parameters').sentence}"
    )


def _predictive_alt(comparison: Comparison) -> str:
    return f"Density of each column of the data among those of simulated data sets. {comparison.verdict('predictive').sentence}"


def _doubtful_alt(comparison: Comparison) -> str:
    shown, worst = min(len(comparison.doubtful), _MOST_BARS), 1 - float(comparison.doubtful["posterior_doubt"].iloc[0])
    return (
        f"Probabilities of the groups of {'the point' if shown == 1 else f'the {shown} points'} most in doubt, with intervals. "
        f"The most doubtful has {percent(worst)} for its most probable group."
    )


def _reliability_alt(material: Material) -> str:
    error = None if material.known is None else material.known.calibration
    return (
        "How often points have the label that stands for their group, against the probability that the group was given. "
        f"Mean distance from the diagonal, by the posterior: {number(error)}."
    )


def _bars(comparison: Comparison) -> Any:
    """Draw the most doubtful points, a bar each."""
    order = np.argsort(-comparison.responsibilities["posterior_doubt"].to_numpy(), kind="stable")
    rows = order[: min(len(comparison.doubtful), _MOST_BARS)]
    names = comparison.responsibilities.index[rows].rename("obs")
    ax = plots.plot_responsibilities(uncertainty_of_draws(comparison.posterior_params, comparison.X[rows], names, 0.9), _MOST_BARS)
    ax.set_xlabel(f"row, the most doubtful first ({len(rows)} of {len(comparison.X):,})")
    return ax


def _reliability(material: Material) -> Any:
    known, comparison = material.known, material.comparison
    assert known is not None
    rows, K = known.truth >= 0, comparison.em_params.n_components
    em = comparison.responsibilities[[f"em_{k}" for k in range(K)]].to_numpy()
    both = {"EM": em[rows], "posterior": comparison.mean_responsibilities[rows]}
    return plots.plot_reliability(both, known.truth[rows], n_bins=5, ax=_axes())


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's own defaults whatever the user has set, and the same bytes each time."""
    settings: Any = {"svg.hashsalt": "bayesgmm", "svg.fonttype": "path", "figure.max_open_warning": 0}
    with plt.style.context("default"), plt.rc_context(settings), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes in the figure; the page's text still has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Chains that never moved: the checks say so.
        warnings.filterwarnings("ignore", message="Your data appears to have a single value")
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
        for number_of_figure in set(plt.get_fignums()) - before:
            plt.close(number_of_figure)


def data_uri(figure: Any, kind: str) -> str:
    """Return a matplotlib figure as a data URI; ``kind`` is "svg", "png", or "png8" with a palette."""
    few, kind = kind == "png8", kind[:3]
    out = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    # Transparent, so that the page's own light or dark ground shows through.
    figure.savefig(out, format=kind, dpi=_DPI, transparent=True, metadata=metadata)
    content = _few_colours(out) if few else out.getvalue()
    media = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"


def _few_colours(png: io.BytesIO) -> bytes:
    """The picture with a palette: a third of the size, and nobody sees the difference."""
    out = io.BytesIO()
    picture = Image.open(png).quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(out, format="png", optimize=True)
    return out.getvalue()
