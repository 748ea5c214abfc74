"""Do default intervals of the posterior hold what they claim, whatever the truth? Truths are fixed here, not drawn from the prior."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from bayesgmm.diagnostics import Check
from bayesgmm.estimators import BayesianGaussianMixture
from bayesgmm.exceptions import ConvergenceWarning, DataAdvice
from bayesgmm.params import MixtureParams
from bayesgmm.priors import Priors
from bayesgmm.text import counted
from bayesgmm.typing import FloatArray
from benchmarks.calibration.processes import replicate

__all__ = ["CELLS", "Cell", "Coverage", "Held", "measure_coverage", "run_cell"]

LEVEL = 0.9
PARTS = ("weights", "means", "sds", "correlations")
CELL_LIMITS, ALL_LIMITS = (0.83, 0.96), (0.87, 0.93)
"""Between which the share of intervals that hold the truth must be: in every cell, and over all of them."""
_FRESH = 500
_DRAWS_OF_DENSITY = 200
_SAMPLER: dict[str, Any] = {"draws": 150, "tune": 250, "chains": 4, "cores": 1, "progressbar": False}


@dataclass(frozen=True)
class Cell:
    """A true mixture, and how many rows of it are fitted.

    Standard deviations are one. Groups lie at equal distances from each other, in directions drawn once for all.
    """

    n_rows: int
    n_features: int
    n_components: int
    correlations: str
    """"mild": those of two factors with loadings of 0.6, of each group its own; "0.9 shared": 0.9 everywhere; "0.9 own": 0.9 in size,
    with signs of each group's own."""
    distance: float
    """Between the groups' means, in standard deviations."""

    def __str__(self) -> str:
        groups = counted(self.n_components, "group") + (f" {self.distance:g} sds apart" if self.n_components > 1 else "")
        return f"{self.n_rows} rows, {self.n_features} columns, {groups}, {self.correlations} correlations"

    @property
    def truth(self) -> MixtureParams:
        """The true mixture, batch shape ``()``."""
        K, D = self.n_components, self.n_features
        axes = np.linalg.qr(np.random.default_rng(17).normal(size=(D, D)))[0]
        means = np.zeros((K, D))
        for k in range(1, K):  # an edge of an equilateral triangle each
            angle = np.pi / 3 * (k - 1)
            means[k] = self.distance * (np.cos(angle) * axes[0] + np.sin(angle) * axes[1])
        weights = np.arange(K + 1.0, 1.0, -1.0)
        return MixtureParams.from_covariances(weights / weights.sum(), means, [self._correlations(k) for k in range(K)])

    def _correlations(self, k: int) -> FloatArray:
        D = self.n_features
        if self.correlations == "0.9 shared":
            R = np.full((D, D), 0.9)
        elif self.correlations == "0.9 own":
            sign = np.where(np.arange(D) % (k + 2) == 0, -1.0, 1.0)
            R = 0.9 * np.outer(sign, sign)
        else:
            loadings = np.random.default_rng([k, D]).normal(size=(D, 2))
            loadings *= 0.6 / np.linalg.norm(loadings, axis=1, keepdims=True)
            R = loadings @ loadings.T
        np.fill_diagonal(R, 1.0)
        return R


CELLS = tuple(
    Cell(N, D, K, kind, distance)
    for N in (60, 150, 500)
    for D in (2, 5, 8)
    for K in (1, 2, 3)
    for kind in ("mild", "0.9 shared", "0.9 own")
    for distance in ((4.0, 30.0) if K > 1 else (0.0,))
    if N > 60 or (D <= 5 and K <= 2)
)


@dataclass(frozen=True)
class Held:
    """What became of one data set."""

    share: dict[str, float]
    """Share of a part's intervals that hold the truth; NaN where there are none."""
    bias: float
    """Mean log of the posterior means of the standard deviations over the true ones."""
    gain: float
    """Mean log-density of fresh rows under the posterior predictive less that under EM, in nats a row."""


def run_cell(
    cell: Cell,
    seed: np.random.SeedSequence,
    priors: Callable[[FloatArray], Priors] | None = None,
    spoil: Callable[[FloatArray, np.random.Generator], FloatArray] | None = None,
) -> Held:
    """Simulate a data set and fit it under default priors.

    ``priors`` returns others, given the rows (N, D); ``spoil`` returns other rows in the place of those that were simulated.
    """
    simulation, fits = seed.spawn(2)
    rng, start, truth = np.random.default_rng(simulation), int(fits.generate_state(1)[0]), cell.truth
    X, _ = truth.sample(cell.n_rows, rng)
    fresh, _ = truth.sample(_FRESH, rng)
    X = X if spoil is None else spoil(X, rng)
    of_rows = None if priors is None else priors(X)
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, DataAdvice):  # what the answers are worth is what is measured here
            warnings.simplefilter("ignore", category)
        fit = BayesianGaussianMixture(cell.n_components, priors=of_rows, random_state=start, **_SAMPLER).fit(X)
    draws = fit.params_.reshape(-1)
    away = np.linalg.norm(draws.means.mean(0)[:, None] - truth.means, axis=-1)
    draws = draws.permute(np.argsort(linear_sum_assignment(away)[1]))
    few = draws.thin(_DRAWS_OF_DENSITY)
    ours = float((logsumexp(few.log_density(fresh), axis=0) - np.log(len(few.weights))).mean())
    theirs = float(fit.em_.params_.log_density(fresh).mean())
    share = {name: _share(values, true) for name, values, true in zip(PARTS, _parts(draws), _parts(truth), strict=True)}
    return Held(share, float(np.log(draws.sds.mean(0) / truth.sds).mean()), ours - theirs)


def _parts(params: MixtureParams) -> tuple[FloatArray, ...]:
    rows, columns = np.tril_indices(params.n_features, -1)
    weights = params.weights if params.n_components > 1 else params.weights[..., :0]
    return weights, params.means, params.sds, params.correlations[..., rows, columns]


def _share(draws: FloatArray, truth: FloatArray) -> float:
    if truth.size == 0:
        return float("nan")
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    return float(((low <= truth) & (truth <= high)).mean())


@dataclass(frozen=True, eq=False)
class Coverage:
    """How often intervals hold the truth in the data sets of every cell."""

    cells: tuple[Cell, ...]
    held: tuple[tuple[Held, ...], ...]
    random_state: int
    seconds: float

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each cell: the shares of each part's intervals that hold the truth, bias of the sds, gain on EM and its error."""
        rows = []
        for cell, held in zip(self.cells, self.held, strict=True):
            shares = {name: float(np.mean([one.share[name] for one in held])) for name in PARTS}
            gain = np.array([one.gain for one in held])
            error = float(gain.std() / np.sqrt(len(gain)))
            bias = float(np.mean([one.bias for one in held]))
            rows.append({"cell": str(cell), **shares, "bias": bias, "gain": float(gain.mean()), "gain_error": error})
        return pd.DataFrame(rows)

    @property
    def overall(self) -> dict[str, float]:
        """Mean over the cells, of each part."""
        return {name: float(self.table[name].mean()) for name in PARTS}

    @property
    def checks(self) -> tuple[Check, ...]:
        """Whether every cell, all of them and the predictive density are as they must be."""
        low, high = CELL_LIMITS
        table, n_sets = self.table, len(self.held[0])
        shares = [(cell, name, float(table[name].iloc[i])) for i, cell in enumerate(table["cell"]) for name in PARTS]
        shares = [one for one in shares if not np.isnan(one[2])]
        outside = [one for one in shares if not low <= one[2] <= high]
        # With so many shares some are outside by chance.
        clearly = sum(max(low - share, share - high) > 2.0 * self._error(cell, name) for cell, name, share in outside)
        worst = max(outside, key=lambda one: abs(one[2] - LEVEL), default=None)
        where = "" if worst is None else f"; the worst is {worst[2]:.0%} for the {worst[1]} of {worst[0]}"
        each = Check(
            "coverage_of_cells",
            float(len(outside)),
            0.0,
            not outside,
            f"Of {len(shares)} shares of 90% intervals that hold the truth ({len(self.cells)} cells, {n_sets} data sets each) "
            f"{len(outside)} are outside {low:.0%} to {high:.0%}, {clearly} of them by more than two standard errors{where}.",
        )
        overall = {name: value for name, value in self.overall.items() if not np.isnan(value)}
        away = max(abs(value - LEVEL) for value in overall.values())
        words = ", ".join(f"{value:.0%} of the {name}" for name, value in overall.items())
        most = ALL_LIMITS[1] - LEVEL
        whole = Check("coverage_over_all", away, most, away <= most, f"Over all cells 90% intervals hold {words}.")
        worse = int((table["gain"] < -2.0 * table["gain_error"]).sum())
        gain = Check(
            "predictive_density",
            float(worse),
            0.0,
            worse == 0,
            f"In {worse} of {len(self.cells)} cells the posterior predicts fresh rows worse than EM, by more than two standard errors.",
        )
        return each, whole, gain

    def _error(self, cell: str, part: str) -> float:
        """Return the standard error of a share over data sets, within which intervals err together."""
        held = next(held for own, held in zip(self.cells, self.held, strict=True) if str(own) == cell)
        return float(np.std([one.share[part] for one in held]) / np.sqrt(len(held)))

    def summary(self) -> dict[str, Any]:
        """Return the numbers, for a file."""
        return {
            "random_state": self.random_state,
            "seconds": self.seconds,
            "n_data_sets": len(self.held[0]),
            "level": LEVEL,
            "cells": self.table.to_dict("records"),
            "overall": self.overall,
        }


def measure_coverage(n_replicates: int = 100, *, cells: Sequence[Cell] = CELLS, random_state: int = 1, **settings: Any) -> Coverage:
    """Simulate data sets of every cell, fit them, and count how often intervals hold the truth."""
    began = time.perf_counter()
    seeds = [np.random.SeedSequence([random_state, number]).spawn(n_replicates) for number in range(len(cells))]
    held = replicate(run_cell, cells, seeds, title="Covering", **settings)
    return Coverage(tuple(cells), held, random_state, time.perf_counter() - began)
