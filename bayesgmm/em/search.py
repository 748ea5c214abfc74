"""The runs of one fit: short ones from many starts, the most promising of them to their ends, and the last digits of the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from bayesgmm.em.checkpoint import Checkpoint
from bayesgmm.em.health import Health, examine
from bayesgmm.em.iterate import EMRun, run_each
from bayesgmm.em.polish import polished
from bayesgmm.em.starts import Sample
from bayesgmm.em.steps import Mixture, Rows, Settings, total_weight
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.typing import FloatArray

__all__ = ["REFINED", "SAME_HEIGHT", "Ended", "Search"]

SHORT_RUN = 25  # iterations of a first, short run
REFINED = 4  # short runs that are continued to the end
FINE = 1e-6
"""Nats per row: who takes a larger gain for none wants a quick fit, not its last digits."""
SAME_HEIGHT = 1e-10
"""Nats per row: log-likelihoods as close as that may differ by rounding, or by the last digits of a tolerance, and by nothing else."""


@dataclass(frozen=True)
class Ended:
    """A run and the state of its components."""

    run: EMRun
    health: Health


@dataclass(frozen=True)
class Search:
    """What the runs of one fit have in common.

    Parameters
    ----------
    X : array of shape (N, D), Gaps or Chunked
    sample : Sample
        Some rows, to start from.
    settings : Settings
    sample_weight : array of shape (N,), optional
    on_run : callable, optional
        Takes every run from a start as it ends.
    n_followed : int
        How many of the short runs are followed to their ends; those beyond the four most promising are kept in ``only_reported``.
    checkpoint : Checkpoint, optional
        Keeps the runs on all rows.
    """

    X: Rows
    sample: Sample
    settings: Settings
    sample_weight: FloatArray | None
    on_run: Callable[[EMRun], None] | None
    n_followed: int = REFINED
    checkpoint: Checkpoint | None = None
    only_reported: list[Ended] = field(default_factory=list)

    @property
    def total(self) -> float:
        """How many rows the data count as."""
        return total_weight(self.X, self.sample_weight)

    def from_points(self, first: list[Mixture], *, short: bool) -> list[Ended]:
        """Run EM from every starting point; with ``short``, only the most promising go to the end.

        Short runs see some rows only when there are very many; the best of them then start on all rows.
        """
        short = short and len(first) > 1
        sampled = short and not self.sample.is_all
        trial = replace(self.settings, max_iter=min(SHORT_RUN, self.settings.max_iter)) if short else self.settings
        ended = []
        runs_of = run_each(self.sample.rows, first, trial, self.sample.row_weight) if short else self._run(first, trial)
        for run in runs_of:
            ended.append(self._ended(run))
            if self.on_run is not None:
                self.on_run(run)
        ended = self._in_order(ended)
        if not short:
            return ended
        promising, others = ended[:REFINED], ended[REFINED:]
        runs = [end.run for end in promising if np.isfinite(end.run.log_likelihood)]
        refined = self._from_some_rows(runs) if sampled else self._continued(runs)
        self._report(others[: self.n_followed - REFINED], sampled=sampled)
        # Log-likelihoods of runs on some rows cannot be compared with those on all.
        return [self._ended(run) for run in refined] + ([] if sampled else others)

    def _report(self, ended: list[Ended], *, sampled: bool) -> None:
        runs = [end.run for end in ended if np.isfinite(end.run.log_likelihood)]
        self.only_reported.extend(self._ended(run) for run in (self._from_some_rows(runs) if sampled else self._continued(runs)))

    def _from_some_rows(self, runs: list[EMRun]) -> list[EMRun]:
        return list(self._run([run.mixture for run in runs], self.settings))

    def _continued(self, runs: list[EMRun]) -> list[EMRun]:
        """Return the runs carried on to the end, their traces joined to those so far."""
        out = {id(run): run for run in runs}
        for n in {run.n_iter for run in runs if run.can_go_on(self.settings.max_iter)}:
            these = [run for run in runs if run.n_iter == n and run.can_go_on(self.settings.max_iter)]
            rest = replace(self.settings, max_iter=self.settings.max_iter - n)
            more = self._run([run.mixture for run in these], rest)
            out |= {id(run): run.joined(on) for run, on in zip(these, more, strict=True)}
        return [out[id(run)] for run in runs]

    def _run(self, starts: list[Mixture], settings: Settings) -> Iterator[EMRun]:
        """Yield the runs from some starts on all rows."""
        if self.checkpoint is None:
            return run_each(self.X, starts, settings, self.sample_weight)
        return (self.checkpoint.run(self.X, start, settings, self.sample_weight) for start in starts)

    def polished(self, best: Ended) -> Ended:
        """Return the best run with the last digits of its maximum, if it found one that means something.

        Not where scikit-learn's iterations are asked for, or fewer digits.
        """
        wanted = self.settings.accelerate and self.settings.tol <= FINE
        if not (wanted and best.run.converged and best.health.is_regular):
            return best
        polish = polished if self.checkpoint is None else self.checkpoint.polished
        better = self._ended(polish(best.run, self.X, self.settings, self.sample_weight))
        return better if better.health.is_regular else best

    def _ended(self, run: EMRun) -> Ended:
        return Ended(run, examine(run.mixture, self.settings, self.total))

    def ranked(self, ended: list[Ended], *, by_health: bool) -> list[Ended]:
        """Return the runs that did not end without a covariance, best first; ``by_health`` puts regular ones before degenerate ones."""
        alive = [end for end in ended if np.isfinite(end.run.log_likelihood)]
        if not alive:
            raise InvalidParameterError(
                "every start of EM ended in a component without spread: ask for fewer components, "
                "or leave reg_covar at None, so that variances have a floor"
            )
        return self._in_order(alive, by_health=by_health)

    def _in_order(self, ended: list[Ended], *, by_health: bool = True) -> list[Ended]:
        """Return the runs, regular before degenerate ones and higher before lower; what rounding may have decided, their order decides.

        Many runs end at one maximum, and the order in which rows are summed would choose among them.
        """
        heights = np.array([end.run.log_likelihood for end in ended])
        order = np.argsort(-heights, kind="stable")
        level, levels, top = 0, {}, heights.max(initial=-np.inf)
        for i in order:
            if top - heights[i] > SAME_HEIGHT * self.total or not np.isfinite(heights[i]):
                level, top = level + 1, heights[i]
            levels[i] = level
        return [ended[i] for i in sorted(levels, key=lambda i: (by_health and not ended[i].health.is_regular, levels[i], i))]
