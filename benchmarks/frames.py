"""In which coordinates should the prior of covariances be stated? Coverage of posterior intervals under one prior in several frames.

``python -m benchmarks.frames [--n 20] [--cells 0 3 5] [--frames columns ics] [--processes 1]``

Every data set is fitted in new coordinates ``z``, ``x = center + F z``, under today's default priors there, and the draws are turned back:
what changes is only where LKJ, log-normal and normal priors hold. Truths are fixed by design and not drawn from any prior. Frames:

- ``columns``: the columns as they are, each divided by its standard deviation;
- ``total``: principal axes of the total covariance, each with unit variance;
- ``ics``: axes that covariance and fourth-moment scatter share (Tyler, Critchley, Duembgen and Oja 2009, Journal of the Royal Statistical
  Society B 71, 549-592), with unit variance;
- ``robust``: the same of two scatters of Student's t, with one and with five degrees of freedom (maximum likelihood), which far rows hardly
  move; units are those of the second.

Columns of the table: coverage of 90 % intervals for weights, means, sds and correlations in percent; mean bias of log sds in percent; mean
log density of new rows under the posterior predictive less that under EM, in nats a row.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.params import MixtureParams
from benchmarks import judges

LEVEL = 0.9
NEW_ROWS = 500
HOW = {"chains": 2, "draws": 400, "tune": 400, "cores": 1, "progressbar": False}


@dataclass(frozen=True)
class Cell:
    """A design: rows, columns, groups, what their correlations are like, how many sds they lie apart, and what is done to the rows."""

    N: int
    D: int
    K: int
    correlations: str
    distance: float
    spoilt: str = ""

    def __str__(self) -> str:
        spoilt = f", {self.spoilt}" if self.spoilt else ""
        return f"{self.N}, {self.D}, {self.K}, {self.correlations}, {self.distance:g}{spoilt}"


CELLS = [
    Cell(100, 8, 1, "0.9 shared", 0),
    Cell(150, 6, 2, "own", 4),
    Cell(150, 6, 2, "0.9 shared", 30),
    Cell(150, 6, 2, "mild", 4),
    Cell(200, 6, 3, "0.9 shared", 5),
    Cell(200, 6, 3, "own", 20),
    Cell(60, 5, 2, "own", 4),
    Cell(60, 5, 2, "mild", 4),
    Cell(150, 6, 2, "own", 4, "5 % gross errors"),
    Cell(150, 6, 2, "mild", 4, "tails of t(3)"),
    Cell(150, 6, 2, "own", 4, "rounded"),
]


def truth_of(cell: Cell) -> MixtureParams:
    """Return the mixture of a cell."""
    rng = np.random.default_rng(17)
    K, D = cell.K, cell.D
    covariances = np.empty((K, D, D))
    for k in range(K):
        if cell.correlations == "0.9 shared":
            R = np.full((D, D), 0.9) + 0.1 * np.eye(D)
        elif cell.correlations == "own":  # +-0.9, each group its own signs
            sign = np.where(np.arange(D) % (k + 2) == 0, -1.0, 1.0)
            R = 0.9 * np.outer(sign, sign) + 0.1 * np.eye(D)
        else:
            A = np.random.default_rng([k, D]).normal(size=(D, 2))
            A *= 0.6 / np.linalg.norm(A, axis=1, keepdims=True)
            R = A @ A.T
            np.fill_diagonal(R, 1.0)
        covariances[k] = R
    directions = rng.normal(size=(K, D))
    means = np.array([cell.distance * k * directions[0] / np.linalg.norm(directions[0]) for k in range(K)])
    return MixtureParams.from_covariances(np.arange(K + 1, 1, -1) / np.arange(K + 1, 1, -1).sum(), means, covariances)


def rows_of(cell: Cell, truth: MixtureParams, rng: np.random.Generator) -> np.ndarray:
    """Return a data set."""
    X, _ = truth.sample(cell.N, rng)
    if cell.spoilt == "5 % gross errors":
        bad = rng.choice(cell.N, cell.N // 20, replace=False)
        X[bad] += rng.normal(size=(len(bad), cell.D)) * 20
    elif cell.spoilt == "tails of t(3)":
        middle = truth.means[truth.responsibilities(X).argmax(-1)]
        X = middle + (X - middle) / np.sqrt(rng.chisquare(3, cell.N) / 3)[:, None]
    elif cell.spoilt == "rounded":
        X = X.round(0)
    return X


def columns(X: np.ndarray) -> np.ndarray:
    """Return a factor F (D, D) of the frame that bears this name."""
    return np.diag(X.std(0))


def total(X: np.ndarray) -> np.ndarray:
    """Return a factor F (D, D) of the frame that bears this name."""
    values, vectors = np.linalg.eigh(np.cov(X.T, bias=True))
    return vectors * np.sqrt(values)


def ics(X: np.ndarray) -> np.ndarray:
    """Return a factor F (D, D) of the frame that bears this name."""
    S = np.cov(X.T, bias=True)
    root = np.linalg.cholesky(S)
    white = np.linalg.solve(root, (X - X.mean(0)).T).T
    fourth = ((white**2).sum(1)[:, None] * white).T @ white / len(X)
    return root @ np.linalg.eigh(fourth)[1]


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


FRAMES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"columns": columns, "total": total, "ics": ics, "robust": robust}


@dataclass
class Result:
    """What came of one data set in one frame."""

    cell: int
    frame: str
    weights: list[bool]
    means: list[bool]
    sds: list[bool]
    corr: list[bool]
    bias: float
    gain: float
    seconds: float


def one(task: tuple[int, str, int]) -> Result:
    """Fit one data set in one frame."""
    number, frame, seed = task
    cell = CELLS[number]
    truth = truth_of(cell)
    rng = np.random.default_rng([seed, number])
    X = rows_of(cell, truth, rng)
    new, _ = truth.sample(NEW_ROWS, rng)
    factor, center = FRAMES[frame](X), X.mean(0)
    Z = np.linalg.solve(factor, (X - center).T).T
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = bg.BayesianGaussianMixture(cell.K, random_state=seed, **HOW).fit(Z)
    seconds = time.process_time() - began
    draws = fit.params_.reshape(-1)
    means = draws.means @ factor.T + center
    covariances = factor @ draws.covariances @ factor.T
    order = np.argsort(linear_sum_assignment(((means.mean(0)[:, None] - truth.means) ** 2).sum(-1))[1])
    means, covariances, weights = means[:, order], covariances[:, order], draws.weights[:, order]
    sds = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    i, j = np.tril_indices(cell.D, -1)
    corr = (covariances / (sds[..., :, None] * sds[..., None, :]))[..., i, j]
    log_det = np.linalg.slogdet(factor)[1]
    standard = np.linalg.solve(factor, (new - center).T).T
    ours = float((logsumexp(draws.thin(200).log_density(standard), axis=0) - np.log(200) - log_det).mean())
    theirs = float((fit.em_.score_samples(standard) - log_det).mean())
    return Result(
        number,
        frame,
        *(
            _holds(*pair)
            for pair in ((weights, truth.weights), (means, truth.means), (sds, truth.sds), (corr, truth.correlations[..., i, j]))
        ),
        float(np.log(sds.mean(0) / truth.sds).mean()),
        ours - theirs,
        seconds,
    )


def _holds(draws: np.ndarray, truth: np.ndarray) -> list[bool]:
    if draws.shape[-1] == 1 and draws.ndim == 2:
        return []
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    return ((low <= truth) & (truth <= high)).ravel().tolist()


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--n", type=int, default=20, help="data sets a cell")
    parser.add_argument("--cells", type=int, nargs="+", default=list(range(len(CELLS))))
    parser.add_argument("--frames", nargs="+", choices=list(FRAMES), default=list(FRAMES))
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    tasks = [(cell, frame, seed) for cell in options.cells for seed in range(options.n) for frame in options.frames]
    found = list(judges.over(one, tasks, options.processes))
    print("| N, D, K, correlations, distance | frame | weights | means | sds | corr | bias of sds % | gain on EM | s |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for cell in options.cells:
        for frame in options.frames:
            these = [result for result in found if (result.cell, result.frame) == (cell, frame)]
            held = [
                np.mean([h for r in these for h in getattr(r, name)] or [np.nan]) * 100
                for name in ("weights", "means", "sds", "corr")
            ]
            rest = [np.mean([r.bias for r in these]) * 100, np.mean([r.gain for r in these]), np.median([r.seconds for r in these])]
            shares = " | ".join(f"{h:.0f}" for h in held)
            print(f"| {CELLS[cell]} | {frame} | {shares} | {rest[0]:+.0f} | {rest[1]:+.3f} | {rest[2]:.1f} |")


if __name__ == "__main__":
    main()
