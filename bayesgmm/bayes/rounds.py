"""Chains side by side, a short round at a time: between rounds there is time for the clock, for Ctrl-C and for the progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from bayesgmm.bayes.draws import FEWEST, SamplerSettings
from bayesgmm.bayes.forecast import Forecast, Pace
from bayesgmm.progress import Tell
from bayesgmm.typing import FloatArray

type Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["APART", "Chain", "Rounds", "mix_slowly"]

_ENOUGH = 0.2
"""Effective draws, of each that is kept, below which every other one is left out and as many cycles are run again."""
APART = 1.2
"""R-hat from which on chains are not slow: they are in different places, and more cycles would not bring them together."""
_ROUND = 0.2  # seconds between two looks at the clock and at Ctrl-C
_MOST_NUMBERS = 2_000_000  # that a chain makes in one round


class Chain[Road](Protocol):
    """One chain of a sampler."""

    @property
    def numbers_per_cycle(self) -> int:
        """How many numbers a cycle takes or gives, for the room in memory."""

    def run(self, road: Road, draws: int, thin: int, *, adapting: bool) -> tuple[Array, ...]:
        """Return arrays with so many draws along the first axis, ``thin`` cycles apart."""


class Rounds[Road]:
    """All chains of a fit.

    Parameters
    ----------
    chains : sequence of Chain
    pool : ThreadPoolExecutor
    settings : SamplerSettings
    began : float
        When sampling began, by :func:`time.perf_counter`.
    tell : Tell, optional
        The progress bar.
    on_forecast : callable, optional
        Is told after every round how long sampling will take.
    warm_up : int
        Cycles before the draws, at least.
    """

    def __init__(
        self,
        chains: Sequence[Chain[Road]],
        pool: ThreadPoolExecutor,
        settings: SamplerSettings,
        began: float,
        tell: Tell | None,
        on_forecast: Callable[[Forecast], object] | None,
        warm_up: int,
    ) -> None:
        self._chains, self._pool, self._settings = chains, pool, settings
        self.cut_short: dict[str, float] = {}
        """Why there are fewer draws than were asked for, if there are."""
        self._pace = Pace(warm_up, settings.draws, began)
        self._deadline = np.inf if settings.max_time is None else began + settings.max_time
        self._tell, self._on_forecast = tell, on_forecast
        self._seconds_per_cycle = 0.01

    def go(self, road: Road, draws: int, thin: int = 1, *, adapting: bool = False) -> tuple[Array, ...]:
        """Return arrays (chains, draws, ...), with fewer draws than asked for if they are cut short."""
        rounds: list[list[tuple[Array, ...]]] = []
        done = 0
        try:
            while done < draws and not (done >= FEWEST and self._is_late(adapting=adapting)):
                n = self._draws_at_once(thin, draws - done)
                clock = time.perf_counter()
                waiting = [self._pool.submit(chain.run, road, n, thin, adapting=adapting) for chain in self._chains]
                rounds.append([future.result() for future in waiting])
                seconds = time.perf_counter() - clock
                self._seconds_per_cycle = seconds / (n * thin)
                done += n
                self._pace.lap(road, seconds, n, thin, adapting=adapting)
                self._report()
        except KeyboardInterrupt:
            if not (self._settings.keep_interrupted and done >= FEWEST) or adapting:
                raise
            self.cut_short["interrupted"] = 1
        kinds, chains = range(len(rounds[0][0])), range(len(self._chains))
        return tuple(np.stack([np.concatenate([part[c][i] for part in rounds]) for c in chains]) for i in kinds)

    def draw(
        self,
        road: Road,
        most: float,
        is_slow: Callable[..., bool],
        thinned: Callable[..., tuple[Array, ...]],
    ) -> tuple[tuple[Array, ...], int]:
        """Return the draws, and how many cycles they are apart.

        That is one cycle, unless too few of the draws are effective. Then every other one is left out and as many cycles are run again,
        while there is time.

        Parameters
        ----------
        road : Road
        most : float
            Cycles that draws may be apart.
        is_slow : callable
            Whether more cycles between draws would make more of them, given the arrays of all draws.
        thinned : callable
            The arrays without every other draw.
        """
        draws, thin = self._settings.draws, 1
        kept = self.go(road, draws)
        while 2 * thin <= most and self._has_time_for(draws * thin) and is_slow(*kept):
            half = thinned(*kept)
            missing = draws - half[0].shape[1]
            self._pace.done -= missing
            try:
                more = self.go(road, missing, 2 * thin)
            except KeyboardInterrupt:
                if not self._settings.keep_interrupted:
                    raise
                self.cut_short["interrupted"] = 1
                break
            kept = tuple(np.concatenate(pair, axis=1) for pair in zip(half, more, strict=True))
            thin *= 2
        return kept, thin

    def _has_time_for(self, n_cycles: int) -> bool:
        """Whether so many cycles end before the deadline, and nothing has cut sampling short."""
        end = time.perf_counter() + n_cycles * self._seconds_per_cycle
        return not self.cut_short and end < self._deadline

    def _draws_at_once(self, thin: int, left: int) -> int:
        """Return how many draws make a round, by the time that the last one took and by the memory for their numbers."""
        most = _MOST_NUMBERS / self._chains[0].numbers_per_cycle
        return int(np.clip(min(_ROUND / self._seconds_per_cycle, most) / thin, 1, left))

    def _is_late(self, *, adapting: bool) -> bool:
        if time.perf_counter() <= self._deadline:
            return False
        self.cut_short["out_of_time_in_warm_up" if adapting else "out_of_time"] = 1
        if (forecast := self._pace.forecast()) is not None:
            self.cut_short["least_seconds_for_all" if forecast.is_least else "seconds_for_all"] = forecast.total
        return True

    def _report(self) -> None:
        pace = self._pace
        forecast = pace.forecast()
        if self._tell is not None:
            most = self._deadline - time.perf_counter()
            left = None if forecast is None else max(0.0, min(forecast.left, most))
            self._tell(min(pace.warmed_up, pace.tune) + pace.done, pace.tune + pace.draws, left)
        if forecast is not None and self._on_forecast is not None:
            self._on_forecast(forecast)


def mix_slowly(values: FloatArray, apart: float = APART) -> bool:
    """Say whether more cycles between draws would make more of them: too few are effective, but chains are of one mind.

    Parameters
    ----------
    values : array of shape (chains, draws, M)
        Numbers that labels do not matter to.
    apart : float
        R-hat from which on chains are taken to be in places between which they do not travel.
    """
    from arviz_stats.base import array_stats

    values = values[..., np.ptp(values, axis=(0, 1)) > 1e-12]
    if not values.size:
        return False
    # ESS is not defined for very few draws, R-hat not for one chain either: what cannot be told is no reason for more cycles.
    ess, rhat = (np.asarray(of(values, chain_axis=0, draw_axis=1)) for of in (array_stats.ess, array_stats.rhat))
    ess, rhat = ess[~np.isnan(ess)], rhat[~np.isnan(rhat)]
    if not ess.size or ess.min() > _ENOUGH * values[..., 0].size:
        return False
    return apart == np.inf or bool(rhat.size and rhat.max() < apart)
