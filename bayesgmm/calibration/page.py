"""The page on which calibration is written."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from bayesgmm import __version__
from bayesgmm.calibration.coverage import ALL_LIMITS, CELL_LIMITS, LEVEL, PARTS, Coverage
from bayesgmm.calibration.figures import draw_coverage, draw_ranks, draw_reliability
from bayesgmm.calibration.reliability import MEASURES, METHODS, Reliability
from bayesgmm.calibration.replicate import LEVELS, N_DRAWS
from bayesgmm.calibration.value import LEAST_P, MOST_ERRORS, Calibration, Group
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import atomic_write_text
from bayesgmm.report.typography import number, percent
from bayesgmm.text import counted

__all__ = ["page", "write"]

_GENERATOR = "bayesgmm.calibration"


def page(calibration: Calibration) -> str:
    """Return what was found as one self-contained HTML page, in the look of the reports."""
    loaders = [jinja2.PackageLoader("bayesgmm.calibration"), jinja2.PackageLoader("bayesgmm.report")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "counted": counted}
    return environment.get_template("calibration.html.jinja").render(
        generator=f"{_GENERATOR} {__version__}",
        version=__version__,
        calibration=calibration,
        concerns=[check for check in calibration.checks if not check.passed],
        groups=[_section(group) for group in calibration.groups],
        reliability=None if calibration.reliability is None else _reliability(calibration.reliability),
        coverage=None if calibration.coverage is None else _coverage(calibration.coverage),
        seconds=calibration.seconds + sum(study.seconds for study in (calibration.reliability, calibration.coverage) if study),
        levels=LEVELS,
        n_draws=N_DRAWS,
        least_p=LEAST_P,
        most_errors=MOST_ERRORS,
    )


def write(calibration: Calibration, directory: str | os.PathLike[str]) -> Path:
    """Write ``index.html`` and ``summary.json`` to a folder, each completely or not at all, and return the page's path.

    Raises
    ------
    InvalidParameterError
        If the folder is a file, or holds a file of one of these names that calibration did not write.
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
    summary = {"generator": f"{_GENERATOR} {__version__}", **calibration.summary()}
    atomic_write_text(folder / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    atomic_write_text(folder / "index.html", page(calibration))
    return folder / "index.html"


def _section(group: Group) -> dict[str, Any]:
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
