"""``python -m benchmarks [--quick] [--only NAME ...]``: measure, and write results.md, results.json and the plots beside it."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import (
    awkward,
    em,
    families,
    gaps,
    gradient,
    how_many,
    interface,
    known,
    large,
    maxima,
    mclust,
    partitions,
    planted,
    posterior,
    real_tables,
    samplers,
    scale,
    selecting,
    trust,
    unknown_number,
)
from benchmarks.results import draw, environment, write_table
from benchmarks.timing import Curves, Row

PARTS = {
    "em": em.rows,
    "mclust": mclust.rows,
    "families": families.rows,
    "gaps": gaps.rows,
    "selecting": selecting.rows,
    "gradient": gradient.rows,
    "interface": interface.rows,
    "partitions": partitions.rows,
    "posterior": posterior.rows,
    "samplers": samplers.rows,
    "tables": real_tables.rows,
    "number": unknown_number.rows,
    "known": known.rows,  # hundreds of fits
    "how-many": how_many.rows,  # hundreds of searches and posteriors
    "ess": posterior.effective_draws,  # the textbook model alone samples for many minutes here
    "planted": planted.rows,  # thousands of fits, and of their judges
    "awkward": awkward.rows,
    "maxima": maxima.rows,
    "trust": trust.rows,  # two thousand posteriors, and four hundred references
    "large": large.rows,
    "scale": scale.rows,  # gigabytes of files, a cluster, Spark
}
ASKED_FOR = ("known", "how-many", "planted", "awkward", "maxima", "trust", "large", "scale")
"""Parts that run only when they are named (`make bench-search`, `make bench-scale`)."""
GROWTH = {
    "em": em.growth,
    "gradient": gradient.growth,
    "interface": interface.growth,
    "posterior": posterior.growth,
    "scale": scale.growth,
}
HERE = Path(__file__).parent
STORE = HERE / "results.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and repetitions; nothing is written")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="parts to run")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write the results of these parts beside earlier ones of the others",
    )
    options = parser.parse_args()
    everything = [name for name in PARTS if name not in ASKED_FOR]
    options.only = options.only or everything
    facts = environment()
    stored = json.loads(STORE.read_text()) if STORE.exists() else {}
    for name in options.only:
        rows = []
        for row in PARTS[name](options.quick):
            rows.append(row)
            print(describe(row), flush=True)
        if options.quick or not (options.write or options.only == everything):
            continue
        part: dict[str, Any] = {"environment": facts, "rows": [asdict(row) for row in rows]}
        if name in GROWTH:
            part["growth"] = asdict(GROWTH[name]())
        stored[name] = part
        # After every part, so that nothing is lost when a long one is interrupted.
        write(stored)


def write(stored: dict[str, Any]) -> None:
    """Write what has been measured so far, by this run and by earlier ones of other parts."""
    STORE.write_text(json.dumps(stored, indent=1) + "\n")
    order = [stored[name] for name in PARTS if name in stored]
    write_table([(part["environment"], [Row(**row) for row in part["rows"]]) for part in order], HERE / "results.md")
    draw([Curves(**part["growth"]) for part in order if "growth" in part], HERE / "growth.png")
    print(f"written: {HERE.name}/results.md", flush=True)


def describe(row: Row) -> str:
    """One line for the terminal."""
    if math.isnan(row.ours):
        return f"{row.work}: {row.note}"
    ratio = "" if row.ratio is None else f", {row.ratio_in_words} x {row.peer_name}"
    met = {None: "", True: " (met)", False: " (NOT met)"}[row.met]
    return f"{row.work}: {row.ours:.4g} {row.unit}{ratio}{met}"


if __name__ == "__main__":
    main()
