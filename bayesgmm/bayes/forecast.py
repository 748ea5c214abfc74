"""How long sampling will take, from what was clocked of it so far."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Forecast", "Pace"]

_ENOUGH = 20
"""Cycles that tell what others will cost: steps are still adapted to what they meet, and trajectories are of different lengths."""


@dataclass(frozen=True)
class Forecast:
    """What is known of the time that sampling takes.

    Parameters
    ----------
    past, left : float
        Seconds since sampling began, and seconds that it will go on, whatever its limit.
    draws, done : int
        Draws of a chain that were asked for, and that there are.
    per_draw : float
        Seconds for one draw of every chain.
    is_least : bool
        Whether the chains are warming up: what a draw will cost is not known before they have, and much more than is said is possible.

    Examples
    --------
    >>> forecast = Forecast(past=30.0, left=90.0, draws=1000, done=100, per_draw=0.1, is_least=False)
    >>> forecast.total, forecast.draws_within(60.0), forecast.draws_within(500.0)
    (120.0, 400, 1000)
    """

    past: float
    left: float
    draws: int
    done: int
    per_draw: float
    is_least: bool

    @property
    def total(self) -> float:
        """Seconds from the beginning of sampling to its end."""
        return self.past + self.left

    def draws_within(self, seconds: float) -> int:
        """Return how many draws of a chain there will be after so many seconds of sampling."""
        before_draws = self.total - self.draws * self.per_draw
        return min(self.draws, max(0, int((seconds - before_draws) / self.per_draw)))


class Pace:
    """The clock of a run, which tells what is still to come.

    Parameters
    ----------
    tune, draws : int
        Cycles of the warm-up, at least, and draws after it.
    began : float
        When sampling began, by :func:`time.perf_counter`.
    """

    def __init__(self, tune: int, draws: int, began: float) -> None:
        self.tune, self.draws, self.began = tune, draws, began
        self.warmed_up = self.done = 0
        """Cycles of the warm-up and draws that there are."""
        self._warm_up: dict[Hashable, tuple[int, float]] = {}
        self._seconds, self._cycles, self._thin, self._is_first = 0.0, 0, 1, True

    def lap(self, road: Hashable, seconds: float, draws: int, thin: int, *, adapting: bool) -> None:
        """Take note of a round: so many draws, ``thin`` cycles of a road apart."""
        if adapting:
            self.warmed_up += draws * thin
            if not self._is_first:  # in which compiled functions were loaded, or made
                cycles, before = self._warm_up.get(road, (0, 0.0))
                self._warm_up[road] = cycles + draws * thin, before + seconds
        else:
            self.done, self._thin = self.done + draws, thin
            self._cycles += draws * thin
            self._seconds += seconds
        self._is_first = False

    def forecast(self) -> Forecast | None:
        """Return what is known now, if anything is."""
        past = time.perf_counter() - self.began
        if self.done and (self._cycles >= _ENOUGH or not self._warm_up):
            per_draw = self._thin * self._seconds / self._cycles
            return Forecast(past, (self.draws - self.done) * per_draw, self.draws, self.done, per_draw, is_least=False)
        clocked = sum(cycles for cycles, _ in self._warm_up.values())
        if clocked == 0 or (clocked < _ENOUGH and not self.done):
            return None
        # No road is cheaper than the cheapest that was tried, and a draw is one cycle of it at least.
        least = min(seconds / cycles for cycles, seconds in self._warm_up.values())
        left = max(self.tune - self.warmed_up, 0) + self.draws - self.done
        return Forecast(past, left * least, self.draws, self.done, least, is_least=True)
