"""``python -m benchmarks [--quick] [--only NAME ...]``: measure, and write results.md, results.json and the plots beside it."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

from benchmarks import em, gradient, interface, mclust, posterior
from benchmarks.results import draw, environment, write_table
from benchmarks.timing import Row

PARTS = {
    "em": em.rows,
    "mclust": mclust.rows,
    "gradient": gradient.rows,
    "interface": interface.rows,
    "posterior": posterior.rows,
    "ess": posterior.effective_draws,  # the textbook model alone samples for many minutes here
}
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and repetitions; nothing is written")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts to run")
    parser.add_argument("--write", action="store_true", help="write the results of the parts that were run; always done for all")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.only:
        for row in PARTS[name](options.quick):
            rows.append(row)
            print(describe(row), flush=True)
    if options.quick or not (options.write or set(options.only) == set(PARTS)):
        return
    curves = [part.growth() for part in (em, gradient, interface, posterior)]
    facts = environment()
    (HERE / "results.json").write_text(
        json.dumps({"environment": facts, "rows": [asdict(r) for r in rows], "growth": [asdict(c) for c in curves]}, indent=1)
    )
    draw(curves, HERE / "growth.png")
    write_table(rows, facts, HERE / "results.md")
    print(f"written: {HERE.name}/results.md")


def describe(row: Row) -> str:
    """One line for the terminal."""
    if math.isnan(row.ours):
        return f"{row.work}: {row.note}"
    ratio = "" if row.ratio is None else f", {row.ratio:.1f} x {row.peer_name}"
    met = {None: "", True: " (met)", False: " (NOT met)"}[row.met]
    return f"{row.work}: {row.ours:.4g} {row.unit}{ratio}{met}"


if __name__ == "__main__":
    main()
