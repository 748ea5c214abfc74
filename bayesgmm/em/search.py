"""The search for the highest maximum: independent starts, steps away from the best, and the last digits of what was found.

A run of EM ends at the maximum at whose foot it starts, and mixtures have many. So EM starts from several views of the rows, and then
goes on from the best maximum so far by moves that EM cannot make (:mod:`bayesgmm.em.moves`). A few iterations tell whether a move leads
up. It ends when looking on does not pay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bayesgmm.em.degeneracy import Health, examine, widened
from bayesgmm.em.initialization import Sample
from bayesgmm.em.journal import Journal
from bayesgmm.em.known import arranged
from bayesgmm.em.m_step import Mixture, Settings, mixture_of
from bayesgmm.em.moves import Moves
from bayesgmm.em.polish import polished
from bayesgmm.em.run import EMRun, e_step, run_each
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import evaluate
from bayesgmm.rows import Chunk, Rows
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["SAME_HEIGHT", "SAME_OPTIMUM", "Ended", "Search"]

SAME_OPTIMUM = 0.01
"""Nats: what may be left to gain where a run of the search ends."""
SAME_FOUND = 0.1
"""Nats: runs of the search that end closer than this have found the same maximum."""
FINE = 1e-6
"""Nats per row: who takes a larger gain for none wants a quick fit, not its last digits."""
SAME_HEIGHT = 1e-10
"""Nats per row: log-likelihoods as close as that may differ by rounding, or by the last digits of a tolerance, and by nothing else."""
_LONGEST = 200
"""Iterations after which a run of the search is judged by where it is: only the best goes on."""
_LOOK = 10
"""Iterations after which a move is judged."""
_TOGETHER = 4
"""Moves from one mixture that are judged in one call."""
_MOVES, _MOVES_A_COMPONENT = 8, 4
"""Moves without success after which looking on does not pay, and so many more for each component."""
_FEW_COLUMNS, _MOST_TIMES = 8, 5.0
"""Columns up to which this holds; with more, directions to look in are more, and moves in proportion, up to so many times as many."""
_HOPE = 3.0
"""How many times what seems to be left to gain a move may stay below the best to be followed."""
_FROM_ALL_ROWS = 3
"""Maxima on some of the rows that are followed on all of them."""
_DOUBT = 10.0
"""Nats by which a degenerate mixture, its components widened, must be ahead of a regular one to be told instead of it."""
_NEVER = 1e300
_OPTIMA = 4
"""Distinct maxima that are carried on to the end, the best and those that are told of beside it."""
_COMPARED = 200
_SAME_DENSITY = 0.05
"""Nats: mixtures whose densities differ by less at some 200 rows are the same."""


@dataclass(frozen=True, eq=False)
class Ended:
    """A run and the state of its components, looked at when it is asked for: most runs end too low for that to matter.

    Parameters
    ----------
    run : EMRun
    rows : Rows
        What it ran on.
    settings : Settings
    """

    run: EMRun
    rows: Rows
    settings: Settings

    @cached_property
    def health(self) -> Health:
        """The state of its components."""
        return examine(self.run.mixture, self.settings, self.rows)

    @cached_property
    def worth(self) -> float:
        """What runs are ranked by: the height, or of a run that may not be chosen what is left of it with its components widened."""
        settings = self.settings
        if not np.isfinite(self.height):
            return -np.inf
        if self.health.is_regular:
            return self.height - (_DOUBT if self.run.status == "fell" else 0.0)
        if settings.noise is not None:  # rows that make a component degenerate are what the noise is for
            return -_NEVER
        mixture = widened(self.run.mixture, self.health, settings)
        return min(e_step(self.rows, mixture, settings)[1] - _DOUBT, self.height)

    @property
    def is_sound(self) -> bool:
        """Whether it may be chosen: its components are regular, and its log-likelihood never fell."""
        return self.health.is_regular and self.run.status != "fell"

    def permuted(self, order: IntArray) -> Ended:
        """Return the same with its components in another order (K,)."""
        log_weights, means, scale_tril = self.run.mixture
        noise = np.arange(len(order), len(log_weights))
        mixture = Mixture(log_weights[np.r_[order, noise]], means[order], scale_tril[order])
        return replace(self, run=replace(self.run, mixture=mixture))

    @property
    def height(self) -> float:
        """Log-likelihood (with a prior: plus log-prior)."""
        return self.run.log_likelihood


@dataclass(frozen=True)
class Search:
    """What the runs of one fit have in common.

    Parameters
    ----------
    rows : Rows
    sample : Sample
        Some rows, to search in.
    settings : Settings
    on_run : callable, optional
        Takes every run from a start as it ends.
    journal : Journal, optional
        Makes the runs on all rows, where somebody is told of them.
    ended : list of Ended
        Every run that came to an end, on the rows of the sample.
    """

    rows: Rows
    sample: Sample
    settings: Settings
    on_run: Callable[[EMRun], None] | None
    journal: Journal | None = None
    ended: list[Ended] = field(default_factory=list)

    def each_to_the_end(self, starts: list[Mixture]) -> list[Ended]:
        """Run EM from every start, on all rows, as far as it goes."""
        return self.in_order(self._told(self._run(list(self._arranged(starts)), self.settings)))

    def _told(self, runs: Iterable[Ended]) -> list[Ended]:
        """Return runs from starts, of each of which is told as it ends."""
        ended = []
        for end in runs:
            ended.append(end)
            if self.on_run is not None:
                self.on_run(end.run)
        return ended

    def closed(self, mean: FloatArray, covariance: FloatArray) -> Ended:
        """Return the maximum of one component, which is a formula of the rows' mean (D,) and covariance (D, D)."""
        total, D = self.rows.total, len(mean)
        ridge = self.settings.ridge * np.eye(D)
        mixture = mixture_of(np.array([total]), mean[None], (covariance + ridge)[None], self.settings)
        factor = mixture.scale_tril[0]
        half = np.linalg.solve(factor, np.linalg.solve(factor, covariance).T)
        height = -0.5 * total * (D * np.log(2.0 * np.pi) + 2.0 * np.log(np.diag(factor)).sum() + np.trace(half))
        return Ended(EMRun(mixture, np.array([height, height]), "converged"), self.rows, self.settings)

    @cached_property
    def loose(self) -> Settings:
        """What governs the runs of the search: they end where little is left to gain."""
        tol = max(self.settings.tol, SAME_OPTIMUM / max(self.sample.rows.total, 1.0))
        return replace(self.settings, tol=tol, max_iter=min(self.settings.max_iter, _LONGEST))

    def best_of(
        self, starts: list[Mixture], known: Sequence[Mixture], effort: float, rng: np.random.Generator
    ) -> tuple[Ended, FloatArray, int]:
        """Search from independent starts and from mixtures that are known, then by moves from the best.

        Parameters
        ----------
        starts : list of Mixture
        known : sequence of Mixture
            Of other fits to the same rows.
        effort : float
            How long to look on for moves that succeed.
        rng : Generator

        Returns
        -------
        Ended
            The best, on the rows that were searched in.
        array
            Heights at which the independent starts ended.
        int
            How many moves from the best failed.
        """
        first = self._told(self._in_sample(starts, self.loose))
        self.ended.extend(first)
        best, failed = self.better(self._best(self.alive(first)), known), 0
        if len(best.run.mixture.means) > 1 and effort > 0 and np.isfinite(best.height):
            best, failed = self._moved_on(best, effort, rng)
        return best, np.array([end.height for end in first]), failed

    def better(self, best: Ended, known: Sequence[Mixture]) -> Ended:
        """Return the best that some other mixtures lead to, if it is better; those that a few iterations show no hope of are let go."""
        short = replace(self.loose, max_iter=min(_LOOK, self.loose.max_iter))
        hopeful = [end for end in self._in_sample(known, short) if self._has_hope(end, best)]
        if not hopeful:
            return best
        followed = [self._carried_on(end, self.loose, self._in_sample) if end.run.status == "max_iter" else end for end in hopeful]
        self.ended.extend(followed)
        found = self._best([best, *followed])
        return found if found.worth > best.worth + SAME_OPTIMUM else best

    def _best(self, ended: list[Ended]) -> Ended:
        """Return the first of the runs in their order; those that end lower than others are worth are not looked at."""
        top, seen = -np.inf, []
        for i in np.argsort([-end.height for end in ended], kind="stable"):
            if ended[i].height < top - SAME_HEIGHT * self.rows.total:
                break
            seen.append(int(i))
            top = max(top, ended[i].worth)
        return self.in_order([ended[i] for i in sorted(seen)])[0]

    def _moved_on(self, best: Ended, effort: float, rng: np.random.Generator) -> tuple[Ended, int]:
        """Return the best maximum that moves lead to, and how many from there led nowhere."""
        # Under a prior an iteration takes far longer.
        each = _MOVES_A_COMPONENT / (1 if self.settings.penalty is None else 2)
        K, D = best.run.mixture.means.shape
        patience = max(1, round(effort * (_MOVES + each * K) * min(max(1.0, D / _FEW_COLUMNS), _MOST_TIMES)))
        failed, moves = 0, Moves(best.run.mixture, self.sample, self.loose)
        while failed < patience:
            made = moves.some(min(_TOGETHER, patience - failed), rng)
            failed += _TOGETHER
            better = self.better(best, made)
            if better is not best:
                best, failed, moves = better, 0, Moves(better.run.mixture, self.sample, self.loose)
        return best, min(failed, patience)

    def _has_hope(self, end: Ended, best: Ended) -> bool:
        """Say whether a move may lead above the best: its gains, a geometric series, may add up to what it is below."""
        run = end.run
        if not np.isfinite(end.height) or run.status == "fell":
            return False
        # Where the best is not sound, what is higher may be so by density alone.
        below = best.worth + SAME_OPTIMUM - (end.height if best.is_sound else end.worth)
        if below < 0:
            return True
        if run.status != "max_iter" or run.n_iter < 2:
            return False
        gain, before = np.diff(run.trace[-3:])[::-1]
        rate = min(gain / before, 0.95) if 0 < gain < before else 0.95
        return bool(_HOPE * gain * rate / (1.0 - rate) > below)

    def _in_sample(self, starts: Sequence[Mixture], settings: Settings) -> list[Ended]:
        starts = self._arranged(starts)
        return [Ended(run, self.sample.rows, self.settings) for run in run_each(self.sample.rows, starts, settings)]

    def _arranged(self, starts: Sequence[Mixture]) -> Sequence[Mixture]:
        """Return starts with what is fixed in its place, whose components stand in the order that fits what is known of rows."""
        if self.settings.fixed is not None:
            starts = [self.settings.keeping(start) for start in starts]
        known = self.sample.rows.known
        if known is None or known.log_weights is None or self.settings.fixed is not None:
            return starts
        return [arranged(start, self.sample.rows, self.sample.X) for start in starts]

    def on_all_rows(self, best: Ended) -> list[Ended]:
        """Return the best maximum of the search, and others that it found, carried on to the end on all rows."""
        if not self.sample.is_all:
            starts = [end.run.mixture for end in self._distinct(best, _FROM_ALL_ROWS)]
            return self.in_order(list(self._run(starts, self.settings)))
        if not best.is_sound:  # the last digits of what means nothing are not worth an iteration
            return [replace(best, rows=self.rows)]
        # The others, too: where a run of the search stands still for a while need not be a maximum.
        ended: list[Ended] = []
        for end in self._distinct(best, _OPTIMA):
            ended.append(self._carried_on(replace(end, rows=self.rows), self.settings, self._run))
            if not self.rows.is_in_memory and ended[-1].is_sound:  # a pass over other rows may take minutes
                break
        return self.in_order(ended)

    def _distinct(self, best: Ended, most: int) -> list[Ended]:
        """Return the best and other runs to different maxima, the highest first, which may be chosen unless the best may not either."""
        found = [best]
        for end in self.in_order([end for end in self.ended if end is not best and np.isfinite(end.height)], by_height=True):
            if len(found) == most:
                break
            # Maxima of one height may be others: in data with a symmetry they are.
            if (end.is_sound or not best.is_sound) and not any(
                abs(end.height - other.height) < SAME_FOUND
                and _resembles(end.run.mixture, other.run.mixture, self.sample.X, self.settings)
                for other in found
            ):
                found.append(end)
        return found

    @staticmethod
    def _carried_on(end: Ended, settings: Settings, run: Callable[[list[Mixture], Settings], Iterable[Ended]]) -> Ended:
        """Return a run carried on as far as it goes, its trace joined to what was before."""
        going = settings.max_iter - end.run.n_iter
        if going < 1 or not np.isfinite(end.height):
            return end
        (on,) = run([end.run.mixture], replace(settings, max_iter=going))
        return replace(on, run=end.run.joined(on.run))

    def _run(self, starts: list[Mixture], settings: Settings) -> Iterator[Ended]:
        """Yield the runs from some starts on all rows."""
        journal = self.journal
        runs = (
            run_each(self.rows, starts, settings) if journal is None else (journal.run(self.rows, one, settings) for one in starts)
        )
        return (Ended(run, self.rows, self.settings) for run in runs)

    def polished(self, best: Ended) -> Ended:
        """Return the best run with the last digits of its maximum, if it found one that means something.

        Not where scikit-learn's iterations are asked for, or fewer digits, nor where rows are of sets, whose labels are counted apart.
        """
        has_sets = self.rows.known is not None and self.rows.known.sets is not None
        wanted = self.settings.accelerate and self.settings.tol <= FINE and not has_sets
        if not (wanted and best.run.converged and best.health.is_regular):
            return best
        polish = polished if self.journal is None else self.journal.polished
        better = replace(best, run=polish(best.run, self.rows, self.settings))
        return better if better.health.is_regular else best

    def alive(self, ended: list[Ended]) -> list[Ended]:
        """Return the runs that did not end without a covariance.

        Raises
        ------
        InvalidParameterError
            If there is none.
        """
        found = [end for end in ended if np.isfinite(end.height)]
        if not found:
            remedy = (
                "leave reg_covar at None, so that variances have a floor"
                if self.settings.penalty is None
                else "leave out columns that follow from others, beside which the prior has no density"
            )
            raise InvalidParameterError(
                f"every start of EM ended in a component without spread: ask for fewer components, or {remedy}"
            )
        return found

    def in_order(self, ended: list[Ended], *, by_height: bool = False) -> list[Ended]:
        """Return the runs, those of more worth before others; what rounding may have decided, their order decides.

        Many runs end at one maximum, and the order in which rows are summed would choose among them.
        """
        if len(ended) == 1:
            return ended
        heights = np.array([end.height if by_height else end.worth for end in ended])
        order = np.argsort(-heights, kind="stable")
        level, levels, top = 0, {}, heights.max(initial=-np.inf)
        for i in order:
            if not np.isfinite(heights[i]) or top - heights[i] > SAME_HEIGHT * self.rows.total:
                level, top = level + 1, heights[i]
            levels[i] = level
        return [ended[i] for i in sorted(levels, key=lambda i: (levels[i], i))]


def _resembles(one: Mixture, other: Mixture, X: FloatArray, settings: Settings) -> bool:
    """Say whether two mixtures give some rows about the same density: then they are one, but for the components' order."""
    some = Chunk(X[:: -(-len(X) // _COMPARED)])
    first, second = (evaluate(some, *settings.arrays(mixture), diagonal=settings.family.diagonal)[1] for mixture in (one, other))
    return bool((np.abs(first - second) < _SAME_DENSITY).all())
