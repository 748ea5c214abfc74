"""Are responsibilities right as often as they say, from few rows? EM's beside the posterior's, where the truth is known."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.diagnostics import Check
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import ConvergenceWarning, DataAdvice
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import brier_score, calibration_error, log_score, match_to_truth
from bayesgmm.text import counted
from bayesgmm.typing import FloatArray, IntArray
from benchmarks.calibration.processes import replicate

__all__ = ["SMALL_SAMPLES", "FreshRows", "Reliability", "SmallSample", "measure_reliability", "run_small_sample"]

METHODS = ("EM", "posterior", "truth")
"""Whose responsibilities are judged; those of the true mixture are what no fit can surpass but by chance."""
MEASURES = {"calibration_error": calibration_error, "log_score": log_score, "brier_score": brier_score}
LEAST_SHARE = 0.9
"""Share of the designs in which the posterior must be at least as reliable as EM."""
_FRESH = 500  # rows on which a fit is judged
_SAMPLER: dict[str, Any] = {"draws": 400, "tune": 400, "chains": 2, "cores": 1, "progressbar": False}


@dataclass(frozen=True, eq=False)
class SmallSample:
    """A true mixture of batch shape ``()``, and how few rows of it are fitted."""

    title: str
    truth: MixtureParams
    n_rows: int


def _sample(n_rows: int, words: str, weights: list[float], means: Any, covariances: Any = None) -> SmallSample:
    """Return a design; covariances are those of unit spheres unless given."""
    means = np.asarray(means, dtype=float).reshape(len(weights), -1)
    K, D = means.shape
    given = np.broadcast_to(np.eye(D) if covariances is None else np.asarray(covariances, dtype=float), (K, D, D))
    title = f"{K} {words} in {counted(D, 'column')}, {n_rows} rows"
    return SmallSample(title, MixtureParams.from_covariances(weights, means, given), n_rows)


_TILTED = [[[1.0, 0.7], [0.7, 1.0]], [[1.0, -0.4], [-0.4, 0.6]]]

SMALL_SAMPLES = (
    _sample(20, "groups 3 sd apart", [0.5, 0.5], [0, 3]),
    _sample(50, "groups 2.5 sd apart", [0.6, 0.4], [0, 2.5]),
    _sample(100, "groups 2 sd apart", [0.5, 0.5], [0, 2]),
    _sample(150, "groups of different width", [0.7, 0.3], [0, 3], [[[1.0]], [[0.16]]]),
    _sample(100, "groups in a line", [0.4, 0.3, 0.3], [0, 3, 6]),
    _sample(30, "groups 3 sd apart", [0.5, 0.5], [[0, 0], [3, 0]]),
    _sample(60, "tilted groups", [0.6, 0.4], [[0, 0], [2.5, 0]], _TILTED),
    _sample(60, "groups in a triangle", [0.4, 0.3, 0.3], [[0, 0], [3, 0], [0, 3]]),
    _sample(200, "groups that overlap", [0.4, 0.3, 0.3], [[0, 0], [2, 0], [0, 2]]),
    _sample(80, "groups 3 sd apart", [0.5, 0.5], [[0, 0, 0, 0], [3, 0, 0, 0]]),
)
"""Small samples as users have them: fitted with default priors, which know nothing of the truth."""


@dataclass(frozen=True, eq=False)
class FreshRows:
    """Responsibilities of one replicate for rows that no fit has seen."""

    groups: IntArray
    """The rows' true groups (M,)."""
    responsibilities: dict[str, FloatArray]
    """(M, K) for every method, with the columns matched to the true groups."""


def run_small_sample(design: SmallSample, seed: np.random.SeedSequence) -> FreshRows:
    """Simulate a small sample, fit it both ways, and ask both of fresh rows."""
    simulation, fits = seed.spawn(2)
    rng, start = np.random.default_rng(simulation), int(fits.generate_state(1)[0])
    X, _ = design.truth.sample(design.n_rows, rng)
    fresh, groups = design.truth.sample(_FRESH, rng)
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, DataAdvice):  # what the answers are worth is what is measured here
            warnings.simplefilter("ignore", category)
        em = GaussianMixture(design.truth.n_components, random_state=start).fit(X)
        posterior = BayesianGaussianMixture(design.truth.n_components, init=em, random_state=start, **_SAMPLER).fit(X)
    tables = (em.predict_proba(fresh), posterior.predict_proba(fresh), design.truth.responsibilities(fresh))
    return FreshRows(groups, {name: match_to_truth(table, groups) for name, table in zip(METHODS, tables, strict=True)})


@dataclass(frozen=True, eq=False)
class Reliability:
    """How reliable responsibilities are in every design, over its replicates."""

    designs: tuple[SmallSample, ...]
    tested: tuple[tuple[FreshRows, ...], ...]
    random_state: int
    seconds: float

    def pooled(self, design: int) -> tuple[dict[str, FloatArray], IntArray]:
        """Return the responsibilities (rows, K) of every method, and the true groups (rows,), over all replicates of a design."""
        parts = self.tested[design]
        tables = {name: np.concatenate([part.responsibilities[name] for part in parts]) for name in METHODS}
        return tables, np.concatenate([part.groups for part in parts])

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each design and method: ``calibration_error``, ``log_score`` and ``brier_score``, the less the better."""
        rows = []
        for i, design in enumerate(self.designs):
            tables, groups = self.pooled(i)
            for name, table in tables.items():
                rows.append({"design": design.title, "method": name, **{key: f(table, groups) for key, f in MEASURES.items()}})
        return pd.DataFrame(rows)

    def n_won(self, measure: str) -> int:
        """Return the number of designs in which the posterior is at least as good as EM."""
        wide = self.table.pivot(index="design", columns="method", values=measure)
        return int((wide["posterior"] <= wide["EM"]).sum())

    @property
    def checks(self) -> tuple[Check, ...]:
        """Whether the posterior's averaged responsibilities are at least as reliable as EM's in nine designs of ten."""
        n, won = len(self.designs), self.n_won("calibration_error")
        passed = won >= math.ceil(LEAST_SHARE * n)
        sentence = (
            f"From few rows, the posterior's averaged responsibilities are at least as reliable as EM's in {won} of {n} designs by "
            f"calibration error ({self.n_won('log_score')} by log score, {self.n_won('brier_score')} by Brier score)."
        )
        return (Check("reliability", won / n, LEAST_SHARE, passed, sentence),)

    def summary(self) -> dict[str, Any]:
        """Return the numbers, for a file."""
        rows = self.table.to_dict("records")
        return {"n_replicates": len(self.tested[0]), "random_state": self.random_state, "designs": rows}


def measure_reliability(
    n_replicates: int = 40, *, designs: Sequence[SmallSample] = SMALL_SAMPLES, random_state: int = 1, **settings: Any
) -> Reliability:
    """Fit many small samples of each design by EM and by posterior, and judge the responsibilities of fresh rows."""
    began = time.perf_counter()
    seeds = [seed.spawn(n_replicates) for seed in np.random.SeedSequence(random_state).spawn(len(designs))]
    tested = replicate(run_small_sample, designs, seeds, title="Fitting small samples", **settings)
    return Reliability(tuple(designs), tested, random_state, time.perf_counter() - began)
