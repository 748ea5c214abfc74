"""The page on which calibration is written, and its figures."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesgmm import __version__
from bayesgmm.diagnostics import Check
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import atomic_write_text
from bayesgmm.plots import plot_reliability
from bayesgmm.plots.style import colour, marker, tidy
from bayesgmm.report.figures import Figure, data_uri, plain_style
from bayesgmm.report.typography import apart, number, percent
from bayesgmm.text import counted
from bayesgmm.typing import FloatArray
from benchmarks.calibration.coverage import ALL_LIMITS, CELL_LIMITS, LEVEL, PARTS, Coverage
from benchmarks.calibration.ranks import Uniformity, envelope
from benchmarks.calibration.reliability import MEASURES, METHODS, Reliability
from benchmarks.calibration.sbc import LEAST_P, LEVELS, MOST_ERRORS, N_DRAWS, SBC, Group

__all__ = ["Studies", "draw_coverage", "draw_ranks", "draw_reliability", "page", "write"]

_GENERATOR = "benchmarks.calibration"
_COLUMNS = 4
# PNG throughout: as lines, the panels of one design would take 300 kB.
_PALETTE = 128  # colours
_SHIFT = 0.16  # between the methods' points, in steps of the levels


@dataclass(frozen=True, eq=False)
class Studies:
    """What is on the page: simulation-based calibration, and the other studies where they were made."""

    sbc: SBC
    reliability: Reliability | None = None
    coverage: Coverage | None = None

    @property
    def made(self) -> dict[str, SBC | Reliability | Coverage]:
        """The studies that were made, by name."""
        return {name: study for name, study in vars(self).items() if study is not None}

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks of all studies."""
        return tuple(check for study in self.made.values() for check in study.checks)

    @property
    def passed(self) -> bool:
        """Whether all is as it should be, planted mistakes found included."""
        return all(check.passed for check in self.checks)

    def summary(self) -> dict[str, Any]:
        """Return the numbers as plain dicts and lists, ready for JSON."""
        parts: dict[str, Any] = {"reliability": None, "coverage": None}
        parts |= {name: study.summary() for name, study in self.made.items()}
        checks = [vars(check) for check in self.checks]
        return _finite({**parts.pop("sbc"), "passed": self.passed, "checks": checks, **parts})


def _finite(value: Any) -> Any:
    """Return the same with None for what is not a number: JSON has no word for it."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def page(found: Studies) -> str:
    """Return what was found as one self-contained HTML page, in the look of the reports."""
    loaders = [jinja2.FileSystemLoader(Path(__file__).parent), jinja2.PackageLoader("bayesgmm.report")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "counted": counted, "apart": apart}
    return environment.get_template("page.html.jinja").render(
        generator=f"{_GENERATOR} {__version__}",
        version=__version__,
        names=(),
        sbc=found.sbc,
        checks=found.checks,
        concerns=[check for check in found.checks if not check.passed],
        groups=[_group(group) for group in found.sbc.groups],
        reliability=None if found.reliability is None else _reliability(found.reliability),
        coverage=None if found.coverage is None else _coverage(found.coverage),
        seconds=sum(study.seconds for study in found.made.values()),
        levels=LEVELS,
        n_draws=N_DRAWS,
        least_p=LEAST_P,
        most_errors=MOST_ERRORS,
    )


def write(found: Studies, directory: str | os.PathLike[str]) -> Path:
    """Write ``index.html`` and ``summary.json`` to a folder, each completely or not at all, and return the page's path.

    Raises
    ------
    InvalidParameterError
        If the folder is a file, or holds a file of one of these names that was not written here.
    OSError
        If a file cannot be written.
    """
    folder = Path(directory)
    if folder.exists() and not folder.is_dir():
        raise InvalidParameterError(f"{folder} is a file; give a folder for the page.")
    for name in ("index.html", "summary.json"):
        path = folder / name
        if path.exists() and _GENERATOR not in path.read_text(encoding="utf-8", errors="replace")[:4096]:
            raise InvalidParameterError(f"{path} was not written by {_GENERATOR}; choose another folder.")
    summary = {"generator": f"{_GENERATOR} {__version__}", **found.summary()}
    atomic_write_text(folder / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    atomic_write_text(folder / "index.html", page(found))
    return folder / "index.html"


def _group(group: Group) -> dict[str, Any]:
    outcomes = group.outcomes
    return {
        "design": group.design,
        "checks": group.checks,
        "n_replicates": len(outcomes),
        "converged": sum(outcome.converged for outcome in outcomes),
        "short": sum(outcome.ess < N_DRAWS for outcome in outcomes),
        "ranks": draw_ranks(group),
        "coverage": draw_coverage(group) if group.design.is_right else None,
        "rows": list(_rows(group)),
        "uniformity": group.uniformity,
    }


def _reliability(found: Reliability) -> dict[str, Any]:
    table = found.table.set_index(["design", "method"])
    cells = {
        design.title: [[float(table[measure][design.title, name]) for name in METHODS] for measure in MEASURES]
        for design in found.designs
    }
    return {
        "n_replicates": len(found.tested[0]),
        "n_fresh": len(found.tested[0][0].groups),
        "figure": draw_reliability(found),
        "measures": [measure.replace("_", " ") for measure in MEASURES],
        "methods": METHODS,
        "cells": cells,
    }


def _coverage(found: Coverage) -> dict[str, Any]:
    low, high = CELL_LIMITS
    rows = [
        {
            "cell": row["cell"],
            "shares": [_percent(row[name], low, high) for name in PARTS],
            "bias": f"{100 * row['bias']:+.1f}%",
            "gain": f"{row['gain']:+.3f}",
        }
        for row in found.table.to_dict("records")
    ]
    overall = [_percent(value, *ALL_LIMITS) for value in found.overall.values()]
    return {
        "n_sets": len(found.held[0]),
        "level": LEVEL,
        "parts": PARTS,
        "rows": rows,
        "overall": overall,
        "low": low,
        "high": high,
    }


def _percent(share: float, low: float, high: float) -> tuple[str, bool]:
    """Return a share in words, and whether it lies where it should."""
    return ("", True) if math.isnan(share) else (f"{100 * share:.0f}%", low <= share <= high)


def _rows(group: Group) -> Iterator[dict[str, Any]]:
    """Rows of the table of coverage: a method, what its intervals are of, and its numbers at every level."""
    table = group.coverage
    kinds = pd.Categorical(table["what"], list(dict.fromkeys(table["what"])))  # all methods of one kind below each other
    for (what, method), rows in (
        table.assign(what=kinds).sort_values("what", kind="stable").groupby(["what", "method"], sort=False, observed=True)
    ):
        cells = [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
        yield {"what": what, "method": method, "cells": cells, "missing": cells[0]["missing"]}


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


def _draw_difference(ax: Axes, name: str, found: Uniformity, lower: FloatArray, upper: FloatArray) -> None:
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


def _draw_points(ax: Axes, m: int, method: str, coverage: FloatArray, se: FloatArray) -> None:
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
