"""Draw how the number of components grows with the number of rows where groups are not normal, and that of groups does not.

Run `python docs/make_growth.py`; it writes `docs/_static/growth.png` (two minutes).
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import bayesgmm as bg

ROWS = (100, 300, 1000, 3000)
SHOWN = 11


def rows(n: int) -> np.ndarray:
    """Return rows of two skewed groups (n, 1)."""
    rng = np.random.default_rng(5)
    places = np.where(rng.random(n) < 0.6, rng.gamma(2.0, 1.0, n), 14.0 + rng.gamma(2.0, 1.0, n))
    return places[:, None]


def main() -> None:
    """Fit, and draw both tables of probabilities."""
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), sharey=True, layout="constrained")
    shares = {"filled": [], "groups": []}
    for n in ROWS:
        posterior = bg.BayesianGaussianMixture("auto", random_state=1, progressbar=False).fit(rows(n))
        table = posterior.number_of_components().reindex(range(1, SHOWN + 1), fill_value=0.0)
        for name, found in shares.items():
            found.append(table[name].to_numpy())
    for ax, (name, found) in zip(axes, shares.items(), strict=True):
        ax.imshow(np.array(found), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (i, j), share in np.ndenumerate(np.array(found)):
            if share >= 0.005:
                ax.text(j, i, f"{share:.0%}", ha="center", va="center", fontsize=8.5, color="white" if share > 0.5 else "black")
        ax.set_xticks(range(SHOWN), range(1, SHOWN + 1))
        ax.set_yticks(range(len(ROWS)), [f"{n:,}" for n in ROWS])
        ax.set_xlabel({"filled": "components with rows", "groups": "groups that stand apart"}[name])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("rows")
    figure.savefig(Path(__file__).parent / "_static" / "growth.png", dpi=140, metadata={"Software": None})


if __name__ == "__main__":
    main()
