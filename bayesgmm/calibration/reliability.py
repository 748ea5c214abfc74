"""Are responsibilities right as often as they say, from few rows? EM's beside the posterior's, where the truth is known."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.calibration.jobs import run_jobs
from bayesgmm.diagnostics import Check
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import ConvergenceWarning, InvalidParameterError
from bayesgmm.kernels.threads import n_threads
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import brier_score, calibration_error, log_score, match_to_truth
from bayesgmm.progress import steps
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["SMALL_SAMPLES", "FreshRows", "Reliability", "SmallSample", "measure_reliability", "run_small_sample"]

METHODS = ("EM", "posterior", "truth")
"""Whose responsibilities are judged; those of the true mixture are what no fit can surpass but by chance."""
MEASURES = {"calibration_error": calibration_error, "log_score": log_score, "brier_score": brier_score}
LEAST_SHARE = 0.9
"""Share of the designs in which the posterior must be at least as reliable as EM."""
_FRESH = 500  # rows on which a fit is judged
_TASK = 4
_SAMPLER: dict[str, Any] = {"draws": 400, "tune": 400, "chains": 2, "cores": 1, "progressbar": False}


@dataclass(frozen=True, eq=False)
class SmallSample:
    """A true mixture, and how few rows of it are fitted.

    Parameters
    ----------
    title : str
    truth : MixtureParams
        Batch shape ``()``.
    n_rows : int

    Examples
    --------
    >>> truth = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]])
    >>> SmallSample("2 groups, 20 rows", truth, 20).n_rows
    20
    """

    title: str
    truth: MixtureParams
    n_rows: int


def _sample(n_rows: int, words: str, weights: list[float], means: Any, covariances: Any = None) -> SmallSample:
    """Return a design; covariances are those of unit spheres unless given."""
    means = np.asarray(means, dtype=float).reshape(len(weights), -1)
    K, D = means.shape
    given = np.broadcast_to(np.eye(D) if covariances is None else np.asarray(covariances, dtype=float), (K, D, D))
    title = f"{K} {words} in {D} column{'s' if D > 1 else ''}, {n_rows} rows"
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
    """Responsibilities of one replicate for rows that no fit has seen.

    Parameters
    ----------
    groups : int array of shape (M,)
        The rows' true groups.
    responsibilities : dict of str to array of shape (M, K)
        For every method, with the columns matched to the true groups.

    Examples
    --------
    >>> fresh = FreshRows(np.array([0, 1]), {"EM": np.array([[0.9, 0.1], [0.3, 0.7]])})
    >>> fresh.responsibilities["EM"].argmax(axis=1) == fresh.groups
    array([ True,  True])
    """

    groups: IntArray
    responsibilities: dict[str, FloatArray]


def run_small_sample(design: SmallSample, seed: np.random.SeedSequence) -> FreshRows:
    """Simulate a small sample, fit it both ways, and ask both of fresh rows.

    Parameters
    ----------
    design : SmallSample
    seed : SeedSequence
        The same seed gives the same outcome.

    Returns
    -------
    FreshRows

    Examples
    --------
    >>> fresh = run_small_sample(SMALL_SAMPLES[0], np.random.SeedSequence(1))
    >>> sorted(fresh.responsibilities)
    ['EM', 'posterior', 'truth']
    """
    simulation, fits = seed.spawn(2)
    rng, start = np.random.default_rng(simulation), int(fits.generate_state(1)[0])
    X, _ = design.truth.sample(design.n_rows, rng)
    fresh, groups = design.truth.sample(_FRESH, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what the answers are worth is what is measured here
        em = GaussianMixture(design.truth.n_components, random_state=start).fit(X)
        posterior = BayesianGaussianMixture(design.truth.n_components, init=em, random_state=start, **_SAMPLER).fit(X)
    tables = (em.predict_proba(fresh), posterior.predict_proba(fresh), design.truth.responsibilities(fresh))
    return FreshRows(groups, {name: match_to_truth(table, groups) for name, table in zip(METHODS, tables, strict=True)})


@dataclass(frozen=True, eq=False)
class Reliability:
    """How reliable responsibilities are in every design.

    Parameters
    ----------
    designs : tuple of SmallSample
    tested : tuple of tuple of FreshRows
        The replicates of each design.
    random_state : int
    seconds : float

    Examples
    --------
    >>> fresh = FreshRows(np.array([0, 1]), {name: np.array([[0.9, 0.1], [0.1, 0.9]]) for name in METHODS})
    >>> found = Reliability(SMALL_SAMPLES[:1], ((fresh,),), random_state=1, seconds=0.1)
    >>> found.n_won("log_score")
    1
    """

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
        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for i, design in enumerate(self.designs):
            tables, groups = self.pooled(i)
            for name, table in tables.items():
                yield {"design": design.title, "method": name, **{key: f(table, groups) for key, f in MEASURES.items()}}

    def n_won(self, measure: str) -> int:
        """Return the number of designs in which the posterior is at least as good as EM.

        Parameters
        ----------
        measure : {"calibration_error", "log_score", "brier_score"}

        Returns
        -------
        int
        """
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
        """Return the numbers as plain dicts and lists, ready for JSON."""
        rows = [{str(key): value for key, value in row.items()} for row in self.table.to_dict("records")]
        return {"n_replicates": len(self.tested[0]), "random_state": self.random_state, "designs": rows}


def measure_reliability(
    n_replicates: int = 40,
    *,
    designs: Sequence[SmallSample] = SMALL_SAMPLES,
    random_state: int = 1,
    n_jobs: int | None = None,
    progressbar: bool = False,
) -> Reliability:
    """Fit many small samples by EM and by posterior, and judge the responsibilities of fresh rows.

    Parameters
    ----------
    n_replicates : int
        Samples of each design.
    designs : sequence of SmallSample
    random_state : int
        The same number gives the same answer, for any number of processes.
    n_jobs : int, optional
        Processes; by default as many as there are cores.
    progressbar : bool
        Show on stderr how much is done, when that is a terminal.

    Returns
    -------
    Reliability

    Raises
    ------
    InvalidParameterError
        If a number is below 1 or there are no designs.

    Examples
    --------
    >>> found = measure_reliability(1, designs=SMALL_SAMPLES[:1], n_jobs=1)
    >>> found.table["method"].tolist()
    ['EM', 'posterior', 'truth']
    """
    jobs_asked = n_threads() if n_jobs is None else n_jobs
    for name, value, least in (
        ("n_replicates", n_replicates, 1),
        ("designs", len(designs), 1),
        ("random_state", random_state, 0),
        ("n_jobs", jobs_asked, 1),
    ):
        if value < least:
            raise InvalidParameterError(f"{name} must be at least {least}, got {value}")
    began = time.perf_counter()
    seeds = np.random.SeedSequence(random_state).spawn(len(designs))
    # Every replicate has a seed of its own, so that more replicates leave the first ones as they were.
    each = list(chain.from_iterable(((d, s) for s in seed.spawn(n_replicates)) for d, seed in zip(designs, seeds, strict=True)))
    jobs = [each[start : start + _TASK] for start in range(0, len(each), _TASK)]
    with steps("Fitting small samples", len(jobs), shown=progressbar) as step:
        done = chain.from_iterable(run_jobs(_do, jobs, jobs_asked, step))
        tested = tuple(tuple(islice(done, n_replicates)) for _ in designs)
    return Reliability(tuple(designs), tested, random_state, time.perf_counter() - began)


def _do(job: list[tuple[SmallSample, np.random.SeedSequence]]) -> list[FreshRows]:
    return [run_small_sample(design, seed) for design, seed in job]
