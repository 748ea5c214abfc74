"""The table and the plot of a run."""

from __future__ import annotations

import math
import platform
import textwrap
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.kernels.threads import n_threads
from benchmarks.timing import Curves, Row, clock

PACKAGES = ("bayesgmm", "numpy", "scipy", "numba", "scikit-learn", "pymc", "pytensor", "nutpie")


def environment() -> dict[str, Any]:
    """Machine, versions, date, and what the machine can do at most."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{model or platform.processor()}, {n_threads()} threads",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "limits": limits(),
    }


def limits() -> dict[str, float]:
    """Matrix products (GFlop/s, all threads), memory (GB/s, one thread) and exponentials (ns each, one thread)."""
    from numba import njit

    from bayesgmm.kernels.exp import exp_nonpositive

    A = np.random.default_rng(0).normal(size=(1500, 1500))
    product = min(clock(lambda: A @ A) for _ in range(5))
    big, target = np.ones(20_000_000), np.empty(20_000_000)
    copy = min(clock(lambda: np.copyto(target, big)) for _ in range(5))

    @njit(fastmath=True)
    def exponentials(x, out, repeats):
        for _ in range(repeats):
            for i in range(len(x)):
                out[i] = exp_nonpositive(x[i])

    x, out = -np.random.default_rng(0).random(1024), np.empty(1024)
    exponentials(x, out, 1)
    seconds = min(clock(lambda: exponentials(x, out, 2000)) for _ in range(5))
    return {
        "matrix_product_gflops": 2 * 1500**3 / product / 1e9,
        "memory_gb_per_s": 16 * 20_000_000 / copy / 1e9,
        "exp_ns": seconds / 2000 / 1024 * 1e9,
    }


def write_table(parts: list[tuple[dict[str, Any], list[Row]]], path: Path) -> None:
    """Write the Markdown page from the parts of the benchmarks, each with the environment it ran in."""
    facts = parts[-1][0]
    days = sorted({environment["date"] for environment, _ in parts})
    lines = [
        "# Results",
        "",
        f"{', '.join(days[:-1])}{' and ' if days[1:] else ''}{days[-1]}, {facts['machine']}, Python {facts['python']}; "
        + ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
        + ".",
        "Ours and the peer's run in alternation in one process; numbers are medians, ratios above 1 are in our favour. Absolute times move",
        "by a factor of two with what else the machine is doing; ratios less.",
        "",
        "| work | ours | peer | ratio | to reach | met | note |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for _, rows in parts for row in rows]
    limit = facts["limits"]
    lines += [
        "",
        "## How far from the machine's limit",
        "",
        (
            f"Measured in the same run: matrix products {limit['matrix_product_gflops']:.0f} GFlop/s on all threads, memory "
            f"{limit['memory_gb_per_s']:.0f} GB/s on one, a vectorised exponential {limit['exp_ns']:.1f} ns on one."
        ),
        "",
        "An EM iteration at D = 30 does its whitening as matrix products over the whole square of each Cholesky factor, of which half is",
        "zeros, and the products' sums in register tiles. The flops in the notes count the triangle only; a triangular product that",
        "skips the zeros would close some of the gap. At D up to 4 the pass is bound by the exponentials (a third of its time) and by",
        "starting some forty short loops for every block of 256 rows, each with its check that arrays do not overlap; fewer, longer",
        "loops would need more first-level cache, or a compiler that takes our word that they do not. A call of the density costs four",
        "microseconds beside the pass over the rows: on 272 rows that is half of it. A warm process spends nearly all its time importing",
        "(SciPy's statistics for scikit-learn, pandas for xarray, numba).",
        "",
        "How often the verdict on a posterior errs has [a page of its own](trust.md).",
        "",
        "![Seconds against N](growth.png)",
        "",
    ]
    path.write_text("\n".join(lines))


def _line(row: Row) -> str:
    if math.isnan(row.ours):
        return f"| {row.work} | | | | | | {row.note} |"
    unit = row.unit
    peer = "" if row.peer is None else f"{row.peer:.4g} {unit} ({row.peer_name})"
    if row.floor is None:
        floor = ""
    elif row.absolute or row.ratio is None:
        floor = f"{'at least' if row.higher_is_better else 'under'} {row.floor:g} {unit}"
    else:
        floor = f"{row.floor:g} x"
    met = {None: "", True: "yes", False: "**no**"}[row.met]
    return f"| {row.work} | {row.ours:.4g} {unit} | {peer} | {row.ratio_in_words} | {floor} | {met} | {row.note} |"


def draw(growth: list[Curves], path: Path) -> None:
    """Draw cost against N, a panel for each kind of work."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    columns = -(-len(growth) // 2)
    figure, axes = plt.subplots(2, columns, figsize=(4.5 * columns, 7), layout="constrained")
    for ax in axes.flat[len(growth) :]:
        ax.set_visible(False)
    for ax, curves in zip(axes.flat, growth, strict=False):
        for (name, points), colour in zip(curves.points.items(), ("#0072B2", "#D55E00"), strict=False):
            ax.loglog(*zip(*points, strict=True), "o-", label=name, color=colour)
        ax.set(xlabel="rows N", ylabel="seconds")
        ax.set_title(textwrap.fill(curves.title, 48), fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    figure.savefig(path, dpi=100)
