"""Along which axes should the prior of covariances be stated? Coverage of posterior intervals under one prior in several frames.

``python -m benchmarks.frames [--n 20] [--cells 0 3 5] [--frames columns ics] [--processes 1]``

Every data set is fitted under default priors along other axes. Truths are fixed by design and not drawn from any prior
(``benchmarks.calibration.coverage``). Frames:

- ``columns``: the columns as they are;
- ``total``: principal axes of the total covariance, which do not go along with linear maps;
- ``ics``: axes that covariance and fourth-moment scatter share (Tyler, Critchley, Duembgen and Oja 2009, Journal of the Royal Statistical
  Society B 71, 549-592);
- ``directions``: axes that covariance and the scatter of directions share, the package's own (``bayesgmm.priors.axes.invariant_frame``);
- ``robust``: axes that two scatters of Student's t share, with one and with five degrees of freedom (maximum likelihood), which far rows
  hardly move; units are those of the second;
- ``ica``: independent components by scikit-learn's FastICA, from those axes.

Columns of the table: coverage of 90 % intervals for weights, means, sds and correlations in percent; mean bias of log sds in percent; mean
log density of new rows under the posterior predictive less that under EM, in nats a row; seconds of processor time a fit.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.decomposition import FastICA

from bayesgmm.params import MixtureParams
from bayesgmm.priors import Priors
from bayesgmm.priors.axes import invariant_frame
from benchmarks import judges
from benchmarks.calibration.coverage import PARTS, Cell, Held, run_cell

CELLS = [
    (Cell(100, 8, 1, "0.9 shared", 0.0), ""),
    (Cell(150, 5, 2, "0.9 own", 4.0), ""),
    (Cell(150, 5, 2, "0.9 shared", 30.0), ""),
    (Cell(150, 5, 2, "mild", 4.0), ""),
    (Cell(150, 5, 3, "0.9 own", 30.0), ""),
    (Cell(150, 8, 3, "0.9 shared", 4.0), ""),
    (Cell(60, 5, 2, "0.9 own", 4.0), ""),
    (Cell(60, 5, 2, "mild", 4.0), ""),
    (Cell(150, 5, 2, "0.9 own", 4.0), "5 % gross errors"),
    (Cell(150, 5, 2, "mild", 4.0), "tails of t(3)"),
    (Cell(150, 5, 2, "0.9 own", 4.0), "rounded"),
]


def spoil(X: np.ndarray, truth: MixtureParams, how: str, rng: np.random.Generator) -> np.ndarray:
    """Return rows that the model is not made for."""
    if how == "5 % gross errors":
        bad = rng.choice(len(X), len(X) // 20, replace=False)
        X = X.copy()
        X[bad] += rng.normal(size=(len(bad), X.shape[1])) * 20
    elif how == "tails of t(3)":
        middle = truth.means[truth.responsibilities(X).argmax(-1)]
        X = middle + (X - middle) / np.sqrt(rng.chisquare(3, len(X)) / 3)[:, None]
    elif how == "rounded":
        X = X.round(0)
    return X


def total(X: np.ndarray) -> np.ndarray:
    """Return a factor F (D, D) of the frame that bears this name."""
    values, vectors = np.linalg.eigh(np.cov(X.T, bias=True))
    return vectors * np.sqrt(values)


def ics(X: np.ndarray) -> np.ndarray:
    """Return a factor F (D, D) of the frame that bears this name."""
    root = np.linalg.cholesky(np.cov(X.T, bias=True))
    white = np.linalg.solve(root, (X - X.mean(0)).T).T
    fourth = ((white**2).sum(1)[:, None] * white).T @ white / len(X)
    return root @ np.linalg.eigh(fourth)[1]


def directions(X: np.ndarray) -> np.ndarray:
    """Return a factor F (D, D) of the frame that bears this name."""
    return invariant_frame(X).factor


def robust(X: np.ndarray) -> np.ndarray:
    """Return a factor F (D, D) of the frame that bears this name."""
    root = np.linalg.cholesky(t_scatter(X, 5.0))
    white = np.linalg.solve(root, (X - np.median(X, axis=0)).T).T
    return root @ np.linalg.eigh(t_scatter(white, 1.0))[1]


def t_scatter(X: np.ndarray, nu: float, steps: int = 200) -> np.ndarray:
    """Return the scatter (D, D) of a multivariate t distribution by maximum likelihood (Kent and Tyler 1991, Annals of Statistics 19)."""
    D = X.shape[1]
    mean, S = np.median(X, axis=0), np.cov(X.T, bias=True)
    for _ in range(steps):
        off = X - mean
        weight = (nu + D) / (nu + (off * np.linalg.solve(S, off.T).T).sum(1))
        mean = weight @ X / weight.sum()
        new = (weight[:, None] * (X - mean)).T @ (X - mean) / len(X)
        done = np.abs(np.linalg.solve(S, new) - np.eye(D)).max() < 1e-8
        S = new
        if done:
            break
    return S


def ica(X: np.ndarray) -> np.ndarray:
    """Return a factor F (D, D) of the frame that bears this name."""
    frame = invariant_frame(X)
    start = np.eye(X.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # among normal columns there is nothing to converge to
        found = FastICA(whiten=False, fun="exp", w_init=start, max_iter=500).fit(frame.standardise(X))
    left, _, right = np.linalg.svd(found.components_)
    return frame.factor @ (left @ right).T


FRAMES: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {
    "columns": None,
    "total": total,
    "ics": ics,
    "directions": directions,
    "robust": robust,
    "ica": ica,
}


def one(task: tuple[int, str, int]) -> tuple[int, str, Held, float]:
    """Fit one data set in one frame."""
    number, name, seed = task
    cell, how = CELLS[number]
    make = FRAMES[name]
    began = time.process_time()

    def priors(X: np.ndarray) -> Priors:
        return Priors(frame="columns") if make is None else Priors(frame=make(X))

    held = run_cell(cell, np.random.SeedSequence([seed, number]), priors, lambda X, rng: spoil(X, cell.truth, how, rng))
    return number, name, held, time.process_time() - began


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--n", type=int, default=20, help="data sets a cell")
    parser.add_argument("--cells", type=int, nargs="+", default=list(range(len(CELLS))))
    parser.add_argument("--frames", nargs="+", choices=list(FRAMES), default=list(FRAMES))
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    tasks = [(cell, name, seed) for cell in options.cells for seed in range(options.n) for name in options.frames]
    found = list(judges.over(one, tasks, options.processes))
    print("| truth | frame | weights | means | sds | corr | bias of sds % | gain on EM | s |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for number in options.cells:
        cell, how = CELLS[number]
        for name in options.frames:
            held = [(one, seconds) for i, frame, one, seconds in found if (i, frame) == (number, name)]
            shares = " | ".join(f"{100 * np.mean([one.share[part] for one, _ in held]):.0f}" for part in PARTS)
            bias, gain = (float(np.mean([getattr(one, what) for one, _ in held])) for what in ("bias", "gain"))
            seconds = float(np.median([seconds for _, seconds in held]))
            words = f"{cell}{', ' + how if how else ''}"
            print(f"| {words} | {name} | {shares.replace('nan', '')} | {100 * bias:+.0f} | {gain:+.3f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
