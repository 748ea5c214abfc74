"""Pictures of ranks and of coverage."""

from __future__ import annotations

import base64
import io
import math
import textwrap

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesgmm.calibration.reliability import METHODS, Reliability
from bayesgmm.calibration.replicate import LEVELS, N_DRAWS
from bayesgmm.calibration.uniformity import Uniformity, envelope
from bayesgmm.calibration.value import Group
from bayesgmm.plots import plot_reliability
from bayesgmm.plots.style import colour, marker, tidy
from bayesgmm.report.figures import Figure, data_uri, plain_style

__all__ = ["draw_coverage", "draw_ranks", "draw_reliability"]

_COLUMNS = 4
# PNG throughout: as lines, the panels of one design would take 300 kB.
_PALETTE = 128  # colours
_SHIFT = 0.16  # between the methods' points, in steps of the levels


def draw_ranks(group: Group) -> Figure:
    """Draw, for every quantity, how far the distribution function of its ranks lies from the uniform one."""
    found = group.uniformity
    rows = math.ceil(len(found) / _COLUMNS)
    with plain_style():
        canvas = Canvas(figsize=(9.6, 1.75 * rows + 0.4), layout="constrained")
        axes = canvas.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True)
        lower, upper = envelope(len(group.outcomes), N_DRAWS + 1)
        for ax, (name, uniformity) in zip(axes.flat, found.items(), strict=False):
            _draw_difference(ax, name, uniformity, lower, upper)
        for ax in axes.flat[len(found) :]:
            ax.set_axis_off()
        for ax in axes.flat[: len(found)][-_COLUMNS:]:
            ax.tick_params(labelbottom=True)
        canvas.supxlabel(f"rank of the truth among {N_DRAWS} draws", fontsize=9)
        canvas.supylabel("share of ranks up to there, less the uniform share", fontsize=9)
        source = data_uri(canvas, "png")
    alt = f"{group.design.title}: distribution of the ranks of {len(found)} quantities, less the uniform one, with 95% envelopes."
    return Figure(source, alt, True)


def _draw_difference(ax: Axes, name: str, found: Uniformity, lower: np.ndarray, upper: np.ndarray) -> None:
    ranks = np.arange(len(found.ecdf))
    uniform = (ranks + 1) / len(ranks)
    ax.fill_between(ranks, lower - uniform, upper - uniform, step="mid", color="#c9d3da", linewidth=0)
    outside = ((found.ecdf < lower) | (found.ecdf > upper)).any()
    ax.step(ranks, found.ecdf - uniform, where="mid", color=colour(1 if outside else 0), linewidth=1.4)
    ax.axhline(0.0, color="#566069", linewidth=0.6)
    ax.set_title(f"{name}\np = {found.p_value:.2g}", fontsize=8.5)
    ax.set_xticks([0, (len(ranks) - 1) // 2, len(ranks) - 1])
    tidy(ax).tick_params(labelsize=8)


def draw_coverage(group: Group) -> Figure:
    """Draw, for every kind of parameter, what share of the intervals hold the truth against what they claim."""
    table = group.coverage
    kinds = list(dict.fromkeys(table["what"]))
    methods = list(dict.fromkeys(table["method"]))
    with plain_style():
        canvas = Canvas(figsize=(9.6, 2.7), layout="constrained")
        axes = canvas.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
        for ax, kind in zip(axes, kinds, strict=True):
            for m, method in enumerate(methods):
                rows = table[(table["what"] == kind) & (table["method"] == method)]
                if len(rows):
                    _draw_points(ax, m, method, rows["coverage"].to_numpy(), rows["se"].to_numpy())
            _mark_levels(ax, kind)
        axes[0].set_ylabel("share that hold the truth", fontsize=9)
        handles, labels = axes[-1].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=len(methods), frameon=False, fontsize=9)
        source = data_uri(canvas, "png")
    alt = f"{group.design.title}: coverage of 50, 80 and 95% intervals by method; the table has the numbers."
    return Figure(source, alt, True)


def _draw_points(ax: Axes, m: int, method: str, coverage: np.ndarray, se: np.ndarray) -> None:
    places = np.arange(len(LEVELS)) + _SHIFT * (m - 1)
    ax.errorbar(places, coverage, yerr=2 * se, fmt=marker(m), color=colour(m), label=method, markersize=4.5, linewidth=1.2)


def _mark_levels(ax: Axes, kind: str) -> None:
    for i, level in enumerate(LEVELS):
        ax.plot([i - 0.4, i + 0.4], [level, level], color="#566069", linewidth=1.0)
    ax.set_title(kind, fontsize=9.5)
    ax.set_xticks(range(len(LEVELS)), [f"{level:.0%}" for level in LEVELS])
    tidy(ax)


def draw_reliability(found: Reliability) -> Figure:
    """Draw, for every design, how often the most probable group is the true one against its probability."""
    rows = math.ceil(len(found.designs) / _COLUMNS)
    with plain_style():
        canvas = Canvas(figsize=(9.6, 2.3 * rows + 0.5), layout="constrained")
        axes = canvas.subplots(rows, _COLUMNS, squeeze=False)
        for i, (ax, design) in enumerate(zip(axes.flat, found.designs, strict=False)):
            legend = plot_reliability(*found.pooled(i), ax=ax).get_legend()
            if legend is not None:  # one for all is below
                legend.remove()
            ax.set(xlabel="", ylabel="")
            ax.set_title(textwrap.fill(design.title, 30), fontsize=8.5)
            ax.tick_params(labelsize=8)
        for ax in axes.flat[len(found.designs) :]:
            ax.set_axis_off()
        canvas.supxlabel("probability of the most probable group", fontsize=9)
        canvas.supylabel("share of rows that are in it", fontsize=9)
        canvas.legend(axes[0, 0].containers, METHODS, loc="outside upper right", ncols=len(METHODS), frameon=False, fontsize=9)
        source = _of_few_colours(data_uri(canvas, "png"))
    return Figure(
        source, f"Calibration curves of {', '.join(METHODS)} in {len(found.designs)} designs; the table has the numbers.", True
    )


def _of_few_colours(source: str) -> str:
    """Return a PNG's data URI with a palette of its own: a third of the size, and no difference to the eye in a drawing of lines."""
    head, _, body = source.partition(",")
    out = io.BytesIO()
    with PIL.Image.open(io.BytesIO(base64.b64decode(body))) as picture:
        picture.quantize(_PALETTE, method=PIL.Image.Quantize.FASTOCTREE).save(out, format="png", optimize=True)
    return f"{head},{base64.b64encode(out.getvalue()).decode('ascii')}"
