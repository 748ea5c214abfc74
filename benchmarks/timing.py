"""How things are timed: ours and the peer's in alternation, so that whatever else the machine does hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """One line of the table."""

    work: str
    ours: float
    peer: float | None
    peer_name: str
    floor: float | None = None
    absolute: bool = False
    """Whether the floor is a number of ours, not to be exceeded, or to be reached where higher is better, rather than a ratio."""
    unit: str = "s"
    note: str = ""
    higher_is_better: bool = False
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer."""
        if self.peer is None:
            return None
        return self.ours / self.peer if self.higher_is_better else self.peer / self.ours

    @property
    def ratio_in_words(self) -> str:
        """The ratio with one decimal, or one or two digits where that says nothing; empty where there is none."""
        if self.ratio is None:
            return ""
        if self.ratio >= 1e5:
            return f"{self.ratio:.0e}".replace("e+", "e")
        return f"{self.ratio:.1f}" if self.ratio >= 0.095 else f"{self.ratio:.2g}"

    @property
    def met(self) -> bool | None:
        """Whether the floor is met; None where there is none."""
        if self.floor is None:
            return None
        if self.absolute or self.ratio is None:
            return self.ours >= self.floor if self.higher_is_better else self.ours < self.floor
        return self.ratio >= self.floor


@dataclass
class Curves:
    """Seconds against the number of rows, one curve for each name."""

    title: str
    points: dict[str, list[tuple[int, float]]]


def clock(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternate(ours: Callable[[], Any], peer: Callable[[], Any], pairs: int = 5) -> tuple[float, float]:
    """Median seconds of each, timed in turn after one call of each that does not count."""
    ours(), peer()
    times = [(clock(ours), clock(peer)) for _ in range(pairs)]
    return statistics.median(t for t, _ in times), statistics.median(t for _, t in times)


def per_call(work: Callable[[], Any], seconds: float = 0.3) -> Callable[[], float]:
    """Turn a very short call into a repeated one that returns the seconds of one repetition."""
    once = max(clock(work), 1e-7)
    repeats = max(1, int(seconds / once))

    def repeated() -> float:
        return clock(lambda: [work() for _ in range(repeats)]) / repeats

    return repeated
