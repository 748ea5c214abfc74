"""A run of EM: iterate, extrapolate where it is slow, and know when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesgmm.em import _compiled_run as _compiled
from bayesgmm.em._compiled_run import CONFIRM, FALL, LONGEST, LONGEST_FIRST
from bayesgmm.em.m_step import Collapse, Mixture, Settings, m_step
from bayesgmm.expectation import Statistics, expectation, statistics_pass
from bayesgmm.kernels.compile import plain
from bayesgmm.kernels.threads import beside_others
from bayesgmm.rows import Chunk, Rows
from bayesgmm.rows.base import chunk_size
from bayesgmm.typing import FloatArray

# Of the compiled runs, as the plain functions that they were compiled from.
seems_still: Callable[[float, float, float, float, float], bool] = _compiled.seems_still.py_func
iterations_worth: Callable[[float, float, float], float] = _compiled.iterations_worth.py_func
_PAUSE = 5e7  # multiplications between two moments at which an interrupt is heard: a tenth of a second
_GAPS = 5  # times as long as complete rows take those with gaps, as a rule
_MEMORY = 1e7  # numbers that runs made together may take
NO_WEIGHTS = np.empty((1, 0))


@dataclass(frozen=True)
class EMRun:
    """Where one run of EM ended and how.

    Parameters
    ----------
    mixture : Mixture
    trace : array of shape (n_iter + 1,)
        Log-likelihood (with a prior: plus log-prior) at the start and after every iteration; an accepted extrapolation counts as one.
    status : {"converged", "max_iter", "collapsed", "fell"}
        "collapsed" where a covariance has no factor any more, "fell" where an iteration lowered the log-likelihood by more than rounding
        makes of regular components: rounding is then all that is left of one's spread.
    n_saved : float
        Iterations that plain EM would have needed, at the rate it had, for what extrapolation gained: an estimate.
    """

    mixture: Mixture
    trace: FloatArray
    status: str
    n_saved: float = 0.0

    @property
    def converged(self) -> bool:
        """Whether the run came to a standstill."""
        return self.status == "converged"

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood (with a prior: plus log-prior) of ``mixture``."""
        return float(self.trace[-1])

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.trace) - 1

    def joined(self, run: EMRun) -> EMRun:
        """Return ``run``, which goes on from this one, with all that was before."""
        return replace(run, trace=np.concatenate([self.trace, run.trace[1:]]), n_saved=self.n_saved + run.n_saved)


def run_em(
    rows: Rows, start: Mixture, settings: Settings, state: RunState | None = None, after: Callable[[Stepper], object] | None = None
) -> EMRun:
    """Iterate EM from ``start`` until the log-likelihood stands still.

    Dempster, Laird and Rubin (1977), Journal of the Royal Statistical Society B 39, 1-38; the extrapolation is SQUAREM (Varadhan and
    Roland 2008, Scandinavian Journal of Statistics 35, 335-353), taken only where EM is slow and only where it does not lower the
    log-likelihood.

    Parameters
    ----------
    rows : Rows
    start : Mixture
    settings : Settings
    state : RunState, optional
        To go on from there, and not from the start.
    after : callable, optional
        Called after every iteration, before there may be a next.

    Returns
    -------
    EMRun
        With a last log-likelihood of minus infinity if a component collapsed.
    """
    if after is None and state is None and (chunk := compiled_rows(rows, settings)) is not None:
        return compiled_runs(chunk, [start], settings, rows.weights)[0]
    stepper = Stepper(rows, start, settings, state)
    try:
        while not stepper.is_over:
            stepper.step()
            if settings.accelerate and not stepper.fell:
                stepper.extrapolate()
            if after is not None:
                after(stepper)
    except Collapse:
        return EMRun(stepper.mixture, np.array([*stepper.trace, -np.inf]), "collapsed", stepper.n_saved)
    status = "fell" if stepper.fell else "converged" if stepper.stands_still else "max_iter"
    return EMRun(stepper.mixture, np.array(stepper.trace), status, stepper.n_saved)


def e_step(rows: Rows, mixture: Mixture, settings: Settings) -> tuple[Statistics, float]:
    """Return what rows say of a mixture, and its log-likelihood (with a prior: plus log-prior)."""
    statistics = expectation(rows, *settings.arrays(mixture), diagonal=settings.family.diagonal)
    return statistics, statistics.log_likelihood + settings.log_prior(mixture)


def compiled_rows(rows: Rows, settings: Settings) -> Chunk | None:
    """Return the rows if a run on them is made by one call: in memory, and so few that threads would not share them out."""
    has_sets = rows.known is not None and rows.known.sets is not None  # with one label for all their rows
    if settings.is_plain and rows.is_in_memory and len(rows) <= chunk_size(len(rows)) and not has_sets:
        return rows.in_memory().chunk
    return None


def run_each(rows: Rows, starts: Sequence[Mixture], settings: Settings) -> Iterator[EMRun]:
    """Yield what :func:`run_em` returns for each of some starts."""
    chunk = compiled_rows(rows, settings) if starts else None
    if chunk is None:
        yield from (run_em(rows, start, settings) for start in starts)
        return
    K, D = starts[0].means.shape
    together = max(1, int(_MEMORY / (_compiled.ROWS * K * (1 + D + D * D))))
    for first in range(0, len(starts), together):
        yield from compiled_runs(chunk, starts[first : first + together], settings, rows.weights)


def compiled_runs(
    chunk: Chunk, starts: Sequence[Mixture], settings: Settings, sample_weight: FloatArray | None, *, aitken: bool | None = None
) -> list[EMRun]:
    """Do the work of :func:`run_em` for some starts without Python between the iterations.

    ``sample_weight`` is (N,), or (runs, N) with weights of its own for each run.
    ``aitken`` says whether to stop by what is left to gain; by default accelerated runs do.
    """
    K, D = starts[0].means.shape
    X, pass_over = chunk.table(K), statistics_pass(chunk)
    weights = NO_WEIGHTS if sample_weight is None else plain(np.atleast_2d(sample_weight))
    memory = np.zeros((len(starts), _compiled.ROWS, K * (1 + D + D * D)))
    memory[:, _compiled.CURRENT] = [as_row(start) for start in starts]
    traces = np.empty((len(starts), settings.max_iter + 1))
    states = np.tile([_compiled.RUNNING, 0.0, 0.0, LONGEST_FIRST, 0.0, 0.0], (len(starts), 1))
    aitken = (settings.accelerate if aitken is None else aitken) and settings.ridge == 0
    rule = settings.accelerate and settings.extrapolates, settings.accelerate, aitken
    numbers = float(settings.ridge), float(settings.floor), float(settings.tol)
    at_once = max(1, int(_PAUSE / (len(X) * K * (4 + D * D) * (1 if chunk.is_complete and chunk.known is None else _GAPS))))
    step = len(starts) if at_once >= settings.max_iter else 1
    for i in range(0, len(starts), step):
        some = slice(i, i + step)
        while (states[some, 0] == _compiled.RUNNING).any():
            states[some, 5] = np.minimum(states[some, 1] + at_once, settings.max_iter)
            own = weights if len(weights) == 1 else weights[some]
            with beside_others():
                _compiled.runs(X, own, pass_over, *m_step_of(settings), *numbers, rule, memory[some], traces[some], states[some])
    return [
        EMRun(from_row(row, K, D), trace[: int(state[1]) + 1].copy(), _compiled.STATUS[int(state[0])], float(state[4]))
        for row, trace, state in zip(memory[:, _compiled.CURRENT], traces, states, strict=True)
    ]


def m_step_of(settings: Settings) -> tuple[Any, ...]:
    """Return what a compiled M-step needs to know of the family and of the units of the floor."""
    family = settings.family
    return *family.compiled_update, family.diagonal, family.letters == "VVV", np.diag(1.0 / settings.units), np.diag(settings.units)


def as_row(mixture: Mixture) -> FloatArray:
    """Return a mixture as compiled runs have it: all its numbers in a row."""
    return np.concatenate([array.ravel() for array in mixture])


def from_row(row: FloatArray, K: int, D: int) -> Mixture:
    """Undo :func:`as_row`."""
    means, factors = len(row) - K * D * (D + 1), len(row) - K * D * D  # where they begin
    return Mixture(row[:means].copy(), row[means:factors].reshape(K, D).copy(), row[factors:].reshape(K, D, D).copy())


@dataclass(frozen=True, eq=False)
class RunState:
    """Where a run is between two iterations: all that the next ones depend on, beside rows and settings.

    Parameters
    ----------
    mixture : Mixture
    trace : tuple of float
        So far.
    last : tuple of Mixture
        Those of the plain steps since the last extrapolation.
    longest : float
        How far the next extrapolation may go, in iterations.
    n_saved : float
    """

    mixture: Mixture
    trace: tuple[float, ...]
    last: tuple[Mixture, ...]
    longest: float
    n_saved: float


class Stepper:
    """A run step by step, for E-steps that threads or chunks make, and for priors and noise.

    Its rules are the compiled functions of :mod:`bayesgmm.em._compiled_run`, where the loop of small runs is.
    """

    def __init__(self, rows: Rows, start: Mixture, settings: Settings, state: RunState | None = None) -> None:
        self.rows, self.settings, self.total = rows, settings, rows.total
        self.enough = settings.tol * self.total
        if state is None:
            start = settings.started(start)
            state = RunState(start, (), (start,), LONGEST_FIRST, 0.0)
        self.mixture, self.longest, self.n_saved = state.mixture, state.longest, state.n_saved
        self.last = list(state.last)  # mixtures of the plain steps since the last extrapolation
        self.statistics, height = self._e_step(self.mixture)
        self.trace = list(state.trace) or [height]

    @property
    def state(self) -> RunState:
        """Where the run is, to go on from there."""
        # No rule looks further back than what it takes to believe an end.
        last = tuple(self.last[-(CONFIRM + 1) :])
        return RunState(self.mixture, tuple(self.trace), last, self.longest, self.n_saved)

    @property
    def n_iter(self) -> int:
        """Iterations so far."""
        return len(self.trace) - 1

    def step(self) -> None:
        """Make one iteration of EM."""
        mixture = m_step(self.statistics, self.mixture, self.settings)
        self.statistics, height = self._e_step(mixture)
        self.mixture = mixture
        self.trace.append(height)
        self.last.append(mixture)

    @property
    def fell(self) -> bool:
        """Whether the last iteration lowered the log-likelihood by more than rounding makes of regular components."""
        if self.n_iter == 0 or self.settings.ridge > 0:
            return False
        return self.trace[-2] - self.trace[-1] > FALL * (abs(self.trace[-1]) + self.total)

    @property
    def is_over(self) -> bool:
        """Whether there is no next iteration."""
        return self.n_iter >= self.settings.max_iter or self.stands_still or self.fell

    @property
    def stands_still(self) -> bool:
        """Whether there is nothing left to gain that is worth an iteration."""
        return bool(_compiled.stands_still(*self._lately(), True, self.settings.accelerate, self.enough))

    def _lately(self) -> tuple[FloatArray, int, int]:
        """Return the end of the trace that the rules look at, the index of its last value, and how many plain steps led there."""
        trace = np.array(self.trace[-4:])
        return trace, len(trace) - 1, len(self.last) - 1

    def extrapolate(self) -> None:
        """After two slow steps, try one long one in their direction; it is taken if the log-likelihood does not fall."""
        if not self.settings.extrapolates or self.n_iter >= self.settings.max_iter:
            return
        if not _compiled.is_worth_a_jump(*self._lately(), self.enough):
            return
        gain = self.trace[-1] - self.trace[-2]
        rows, (K, D) = [as_row(mixture) for mixture in self.last[-3:]], self.mixture.means.shape
        W, out = len(self.mixture.log_weights), np.empty_like(rows[0])
        length = _compiled.squarem(*rows, self.longest, W, K, D, out)
        if length == 0.0:
            return
        mixture = from_row(out, K, D)
        statistics, height = self._e_step(mixture)
        covariances = mixture.covariances
        # Where the floor changes the covariances, the next M-step would have to take the gain back.
        if height >= self.trace[-1] and self.settings.bounded(covariances) is covariances:
            self.n_saved += iterations_worth(height - self.trace[-1], gain, self.trace[-2] - self.trace[-3])
            self.mixture, self.statistics = mixture, statistics
            self.trace.append(height)
            self.longest = min(4 * self.longest, LONGEST) if length >= self.longest else self.longest
        else:
            self.longest = max(2.0, self.longest / 4)
        self.last = [self.mixture]

    def _e_step(self, mixture: Mixture) -> tuple[Statistics, float]:
        return e_step(self.rows, mixture, self.settings)
