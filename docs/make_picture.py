"""Draws the README's picture, docs/_static/certainty.png: `python docs/make_picture.py`, half a minute at most.

Thirty eruptions of Old Faithful, fitted by EM and by posterior. The ground is coloured by the probability that an eruption there would
belong to the long ones: EM's changes from one group to the other within a hair, the posterior's as gradually as thirty rows warrant.
"""

from io import BytesIO
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from PIL import Image

from bayesgmm import BayesianGaussianMixture, GaussianMixture, MixtureParams
from bayesgmm.datasets import load_faithful
from bayesgmm.plots.geometry import ellipse
from bayesgmm.plots.style import colour

ROWS, SEED, ELLIPSES = 30, 3, 60
GRID = 220
HERE = Path(__file__).parent


def fits(X: pd.DataFrame) -> tuple[GaussianMixture, BayesianGaussianMixture]:
    """Fit the rows both ways."""
    em = GaussianMixture(2, random_state=1).fit(X)
    return em, BayesianGaussianMixture(2, init=em, random_state=1, progressbar=False).fit(X)


def ground(X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the two axes of the picture's area."""
    low, high = X.min() - 0.18 * (X.max() - X.min()), X.max() + 0.18 * (X.max() - X.min())
    first, second = (np.linspace(low.iloc[i], high.iloc[i], GRID) for i in range(2))
    return first, second


def draw(ax: Axes, X: pd.DataFrame, fit: GaussianMixture | BayesianGaussianMixture, mixtures: list[MixtureParams]) -> None:
    """Draw the ground, the groups' ellipses under each mixture, and the rows."""
    x, y = ground(X)
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    share = fit.predict_proba(pd.DataFrame(points, columns=X.columns))[:, 0].reshape(GRID, GRID)
    between = LinearSegmentedColormap.from_list("groups", [colour(1), "white", colour(0)], N=64)
    ax.imshow(share, extent=(x[0], x[-1], y[0], y[-1]), origin="lower", aspect="auto", cmap=between, vmin=0, vmax=1, alpha=0.45)
    strength = 0.9 if len(mixtures) == 1 else 0.16
    for mixture in mixtures:
        for k in range(2):
            edge = ellipse(mixture.means[k], mixture.scale_tril[k], 0.9)
            ax.plot(*edge.T, color=colour(k), lw=2 if len(mixtures) == 1 else 0.8, alpha=strength)
    ax.scatter(*X.to_numpy().T, s=16, color="black", zorder=3)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="eruption, minutes")
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.spines[["top", "right"]].set_visible(False)


def most_different(X: pd.DataFrame, em: GaussianMixture, posterior: BayesianGaussianMixture) -> tuple[int, str, str]:
    """Return the row on which the two differ most, and how probable each finds it that it is a short eruption."""
    certain, summary = em.predict_proba(X), posterior.row_summary(X)
    row = int(np.abs(certain - summary["responsibility"].values).max(axis=1).argmax())
    k = int(em.means_[:, 0].argmin())
    mean, lower, upper = (float(summary[f"responsibility{end}"][row, k]) for end in ("", "_lower", "_upper"))
    return row, f"{certain[row, k]:.0%} short", f"{mean:.0%} short\n90% interval {lower:.0%} to {upper:.0%}"


def say(ax: Axes, point: pd.Series, text: str) -> None:
    """Point at a row and say something of it."""
    ax.scatter(*point, s=90, facecolor="none", edgecolor="black", lw=1.4, zorder=4)
    arrow = {"arrowstyle": "-", "shrinkB": 6}
    ax.annotate(text, point, (-136, 74), textcoords="offset points", arrowprops=arrow, fontsize=10, linespacing=1.25)


def main() -> None:
    """Fit, draw, write."""
    X = load_faithful().sample(ROWS, random_state=SEED)
    em, posterior = fits(X)
    flat = posterior.params_.reshape(-1)
    drawn = [flat[t] for t in np.linspace(0, len(flat.weights) - 1, ELLIPSES).astype(int)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.5), sharey=True, layout="constrained")
    draw(left, X, em, [em.params_])
    draw(right, X, posterior, drawn)
    left.set(ylabel="waiting, minutes", title=f"EM: one answer ({ROWS} rows)")
    right.set(title="Posterior: every answer the rows allow")
    row, certain, doubtful = most_different(X, em, posterior)
    say(left, X.iloc[row], certain)
    say(right, X.iloc[row], doubtful)
    write(figure, HERE / "_static" / "certainty.png")


def write(figure: Figure, path: Path) -> None:
    """Write a picture in 256 colours, which look the same here and take a third of the space."""
    stream = BytesIO()
    figure.savefig(stream, dpi=130)
    Image.open(stream).convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main()
