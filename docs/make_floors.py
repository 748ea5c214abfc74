"""Draws docs/_static/floors.png from the table of layers in docs/design.md: `python docs/make_floors.py`, a second.

Every floor may use those below it. The numbers are the way of X from `GaussianMixture.fit` to the E-step and back.
"""

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
WAY = [
    ("estimators", "estimators/em.py"),
    ("rows", "rows/check.py"),
    ("em", "em/fit.py"),
    ("em", "em/search.py"),
    ("em", "em/run.py"),
    ("expectation", "expectation/estep.py"),
]
"""Files that X enters, each with the room it is in; the page says what becomes of X there."""
INK, GROUND, LINE = "#1f2933", "#eef2f6", "#c2410c"


def floors() -> list[tuple[int, list[str]]]:
    """Return each floor's number and the packages and modules on it, the ground last."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", (HERE / "design.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [(int(number), re.findall(r"`(\w+)`", names)) for number, names in rows]


def draw_house(ax: Axes) -> dict[str, float]:
    """Draw the floors, and return the height of each room."""
    heights = {}
    for number, names in floors():
        ax.add_patch(plt.Rectangle((0, number + 0.08), 6.4, 0.84, color=GROUND, lw=0))
        ax.text(-0.15, number + 0.5, str(number), ha="right", va="center", color="#7b8794")
        listed = names if len(names) <= 6 else [*names[:5], "..."]
        ax.text(0.2, number + 0.5, "   ".join(listed), va="center", color=INK, fontsize=11)
        heights |= dict.fromkeys(names, number + 0.5)
    return heights


def draw_way(ax: Axes, heights: dict[str, float]) -> None:
    """Draw the way of X: a numbered stop for each file, beside the floor that it is on."""
    there = [room for room, _ in WAY]
    for i, (room, file) in enumerate(WAY):
        rank, stops = there[:i].count(room), there.count(room)
        y = heights[room] + 0.36 * ((stops - 1) / 2 - rank)
        ax.text(
            6.9,
            y,
            str(i + 1),
            ha="center",
            va="center",
            color="white",
            fontsize=9,
            bbox={"boxstyle": "circle", "fc": LINE, "lw": 0},
        )
        ax.text(7.2, y, file, va="center", color=LINE, fontsize=11, fontweight="bold")


def main() -> None:
    """Draw and store the picture."""
    figure, ax = plt.subplots(figsize=(8.2, 6.8), layout="constrained")
    draw_way(ax, draw_house(ax))
    ax.set_xlim(-0.4, 9.9)
    ax.set_ylim(0, max(number for number, _ in floors()) + 1.1)
    ax.axis("off")
    figure.savefig(HERE / "_static" / "floors.png", dpi=110)


if __name__ == "__main__":
    main()
