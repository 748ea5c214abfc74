"""The runs of a fit on all rows, one after the other, and who is told of them: where rows are many, each of them takes a while.

All that a fit does before its runs on all rows is quick and follows from the seed. Of these runs, those that have ended are recorded as
they ended, and the one in progress as what its next iteration needs: whoever has the record can go on from there, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from bayesgmm.em.m_step import Mixture, Settings
from bayesgmm.em.polish import polished
from bayesgmm.em.run import EMRun, RunState, Stepper, run_em
from bayesgmm.rows import Rows
from bayesgmm.typing import FloatArray

__all__ = ["Iteration", "Journal", "Listener", "Record"]


@dataclass(frozen=True)
class Iteration:
    """What is told of one iteration over all rows.

    Parameters
    ----------
    run : int
        Which of the runs on all rows, counted from 1; 0 when the last digits of the best of them are found.
    number : int
        Which of the run's iterations; an accepted extrapolation counts as one, and is told with the step before it.
    log_likelihood : float
        With a prior: plus log-prior.
    gain : float
        Since what was told before.
    seconds : float
        Likewise.
    """

    run: int
    number: int
    log_likelihood: float
    gain: float
    seconds: float

    def __str__(self) -> str:
        where = f"Run {self.run}, iteration" if self.run else "Last digits, iteration"
        return f"{where} {self.number}: log-likelihood {self.log_likelihood:.6f}, gain {self.gain:.3g}, {self.seconds:.2f} s"


@dataclass
class Record:
    """How far the runs of a fit on all rows are.

    Parameters
    ----------
    origin : array of shape (D,), optional
        What the mixtures' means are counted from.
    ended : list of EMRun
        Runs that have ended.
    state : RunState, optional
        Where the run after them is.
    """

    origin: FloatArray | None = None
    ended: list[EMRun] = field(default_factory=list)
    state: RunState | None = None


type Listener = Callable[[Record, Iteration | None], object]
"""Is told how far the runs are: after an iteration of which one, or, with None, that a run has ended or was interrupted."""


class Journal:
    """Makes the runs on all rows, goes on from a record of them, and tells listeners.

    Parameters
    ----------
    record : Record, optional
        Of the same fit, to go on from.
    listeners : sequence of callables
    """

    def __init__(self, record: Record | None = None, listeners: Sequence[Listener] = ()) -> None:
        self.record, self.listeners = record or Record(), listeners
        self._number = 0
        self._told = 0.0, 0.0

    def run(self, rows: Rows, start: Mixture, settings: Settings) -> EMRun:
        """Return the next run: as it ended before, or from where it was, or from its start."""
        record, self._number = self.record, self._number + 1
        if self._number <= len(record.ended):
            return record.ended[self._number - 1]
        self._told = -float("inf"), time.perf_counter()
        if record.state is not None:
            self._told = record.state.trace[-1], self._told[1]
        try:
            run = run_em(rows, start, settings, record.state, self._after)
        except BaseException:  # an interrupt, a file that has gone, a cluster that has died
            self._tell(None)
            raise
        record.ended.append(run)
        record.state = None
        self._tell(None)
        return run

    def polished(self, run: EMRun, rows: Rows, settings: Settings) -> EMRun:
        """Return a run with its last digits: not recorded, since they follow from what is."""
        self._number, self._told = 0, (run.log_likelihood, time.perf_counter())
        steps = count(1)
        return polished(run, rows, settings, lambda height: self._tell(self._iteration(next(steps), height)))

    def _after(self, stepper: Stepper) -> None:
        self.record.state = stepper.state
        if self._told[0] == -float("inf"):
            self._told = stepper.trace[0], self._told[1]
        self._tell(self._iteration(stepper.n_iter, stepper.trace[-1]))

    def _iteration(self, number: int, height: float) -> Iteration:
        (before, since), now = self._told, time.perf_counter()
        self._told = height, now
        return Iteration(self._number, number, height, height - before, now - since)

    def _tell(self, iteration: Iteration | None) -> None:
        for listener in self.listeners:
            listener(self.record, iteration)
