"""The partition of least posterior expected loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.threads import n_threads
from bayesgmm.partitions.exact import MOST_POINTS, best_of_all
from bayesgmm.partitions.inputs import Draws, by_size, check_count, check_draws
from bayesgmm.partitions.losses import Loss, loss_named, mean_loss
from bayesgmm.partitions.search import Attempts, run
from bayesgmm.partitions.state import TableSearch
from bayesgmm.progress import steps
from bayesgmm.random import generator
from bayesgmm.typing import FloatArray, IntArray, RandomState

__all__ = ["PartitionEstimate", "minimize"]


@dataclass(frozen=True, eq=False)
class PartitionEstimate:
    """A partition that stands for many; ``print`` it for the result in words.

    Attributes
    ----------
    labels : int array of shape (N,)
        Groups, numbered by decreasing size.
    expected_loss : float
        Posterior expected loss of the partition, by the loss named.
    loss : str
    split_cost : float
    method : str
        "search", "draw" or "linkage".
    run_losses : array of shape (n_runs,)
        What each run of the search came to, NaN for runs that were not begun; one number for the other methods.
    interrupted : bool
        Whether the search was stopped, by the user or the time limit, before its runs had ended: the labels are the best so far.

    Examples
    --------
    >>> found = minimize([[0, 0, 1], [0, 0, 1], [0, 1, 1]], n_runs=4, random_state=1)
    >>> found.n_groups, found.labels
    (2, array([0, 0, 1]))
    """

    labels: IntArray
    expected_loss: float
    loss: str
    split_cost: float = 1.0
    method: str = "search"
    run_losses: FloatArray = field(default_factory=lambda: np.empty(0), repr=False)
    interrupted: bool = False

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.labels.max()) + 1

    @property
    def n_runs(self) -> int:
        """Number of runs that gave a partition."""
        return int(np.isfinite(self.run_losses).sum())

    @property
    def n_runs_at_best(self) -> int:
        """Number of runs that came to this loss, within rounding: with few of them, ask for more runs."""
        return int((self.run_losses <= self.expected_loss + 1e-9).sum())

    def __str__(self) -> str:
        sizes = ", ".join(map(str, np.bincount(self.labels)[:_MOST_SIZES]))
        more = ", ..." if self.n_groups > _MOST_SIZES else ""
        text = (
            f"{len(self.labels)} points in {self.n_groups} group(s) of {sizes}{more}; "
            f"expected loss ({self.loss}) {self.expected_loss:.6g}"
        )
        if self.method == "search":
            text += f", reached by {self.n_runs_at_best} of {self.n_runs} runs"
        return text + ("; stopped early, so this is the best so far." if self.interrupted else ".")


_MOST_SIZES = 8


def minimize(
    draws: Any,
    loss: str = "vi",
    *,
    split_cost: float = 1.0,
    max_components: int | None = None,
    n_runs: int = 16,
    zealous: int = 10,
    random_state: RandomState = None,
    time_limit: float | None = None,
    progressbar: bool = False,
) -> PartitionEstimate:
    """Find the partition of least posterior expected loss.

    Parameters
    ----------
    draws : int array of shape (T, N)
        Draws of the partition, from any sampler, labels from 0 up; labels may switch between draws. Those of a fit come from
        :func:`bayesgmm.partitions.draw_labels`.
    loss : str
        As in :func:`bayesgmm.partitions.partition_loss`.
    split_cost : float
        For "binder" and "vi", the cost of parting what belongs together; more of it makes fewer groups.
    max_components : int, optional
        Most groups; by default as many as lower the loss. (R's salso does not go beyond the draws' largest number.)
    n_runs : int
        Runs of the search, each from a start of its own: even ones allocate points one after the other, odd ones start at random.
    zealous : int
        How many groups each run destroys and builds anew; between them it does so with a handful of points that hardly prefer their
        groups.
    random_state : int, Generator, RandomState or None
        The same seed gives the same partition whatever the number of threads, unless the search is stopped early.
    time_limit : float, optional
        Seconds after which the best so far is returned, marked as interrupted. The first run always gets as far as a partition.
    progressbar : bool
        Show progress on stderr, when that is a terminal.

    Returns
    -------
    PartitionEstimate
        Also when the search is interrupted (Ctrl-C), with the best so far, marked as such.

    Raises
    ------
    InvalidDataError, InvalidParameterError

    Notes
    -----
    The search is SALSO (Dahl, Johnson and Mueller 2022, Journal of Computational and Graphical Statistics 31, 1189-1201). It keeps the
    contingency tables of the partition with all draws; trying a point in every group, and moving it, cost time of the order of the
    draws. It finds a local optimum, which the runs make likely to be the global one; ``n_runs_at_best`` says how sure to be. Of at most
    8 points all partitions are looked at besides, so that the result is exact.

    Examples
    --------
    >>> draws = [[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]
    >>> found = minimize(draws, random_state=1)
    >>> found.labels
    array([1, 1, 0, 0, 0])
    >>> print(found)
    5 points in 2 group(s) of 3, 2; expected loss (vi) 0.367318, reached by 16 of 16 runs.
    """
    checked, chosen = check_draws(draws), loss_named(loss, split_cost)
    limit = check_limit(max_components, checked.n_points)
    check_count(n_runs, "n_runs"), check_count(zealous, "zealous", 0)
    if time_limit is not None and not time_limit > 0:
        raise InvalidParameterError(f"time_limit must be a positive number of seconds or None, got {time_limit!r}")
    make = partial(TableSearch, checked, chosen, limit)
    seeds = np.random.SeedSequence(generator(random_state).integers(2**32, size=4).tolist()).spawn(n_runs)
    n_groups = min(limit, checked.most_groups)
    tasks = [
        partial(run, attempts=Attempts(r % 2 == 0, n_groups, zealous), rng=np.random.default_rng(seed), tolerance=chosen.rounding)
        for r, seed in enumerate(seeds)
    ]
    with steps("Searching partitions", n_runs, shown=progressbar) as advance:
        found, interrupted = _run_all(make, tasks, time_limit, advance)
    labels, values = _distinct_values(found, checked, chosen)
    value = float(np.nanmin(values))
    if checked.n_points <= MOST_POINTS:
        certain = by_size(best_of_all(checked, chosen, limit))
        least = mean_loss(certain, checked, chosen)
        if least < value - chosen.rounding:
            labels, value = certain, least
    return PartitionEstimate(labels, value, chosen.name, chosen.split_cost, "search", values, interrupted)


def check_limit(max_components: int | None, n_points: int) -> int:
    """Return the most groups that are allowed."""
    if max_components is None:
        return n_points
    limit = check_count(max_components, "max_components")
    if limit > n_points:
        raise InvalidParameterError(f"max_components is {limit}, more than the {n_points} points: leave it out for no limit")
    return limit


type Task = Callable[..., TableSearch]


def _run_all(
    make: Callable[[], TableSearch], tasks: Sequence[Task], time_limit: float | None, advance: Callable[[], None]
) -> tuple[list[IntArray | None], bool]:
    """Return the labels that each run came to, None where it did not begin, and whether any was cut short."""
    deadline = None if time_limit is None else time.monotonic() + time_limit
    stop, cut = Event(), Event()

    def stopped() -> bool:
        if stop.is_set() or (deadline is not None and time.monotonic() > deadline):
            cut.set()
            return True
        return False

    found: list[IntArray | None] = [None] * len(tasks)

    def work(r: int) -> None:
        if r == 0 or not stopped():
            found[r] = tasks[r](make(), stopped=stopped).labels.copy()
            advance()

    with ThreadPoolExecutor(min(n_threads(), len(tasks)), thread_name_prefix="bayesgmm") as pool:
        futures: list[Future[None]] = []
        try:
            futures.extend(pool.submit(work, r) for r in range(len(tasks)))
            wait(futures)
        except KeyboardInterrupt:
            cut.set()
        finally:
            stop.set()  # leaving waits for the runs in hand, which end where they are
    for future in futures:
        future.result()
    if all(labels is None for labels in found):
        raise KeyboardInterrupt
    return found, cut.is_set()


def _distinct_values(found: list[IntArray | None], draws: Draws, loss: Loss) -> tuple[IntArray, FloatArray]:
    """Return the best partition and the exact expected losses of all, NaN for none; runs that met are looked at once."""
    known: dict[bytes, float] = {}
    values = np.full(len(found), np.nan)
    numbered = [None if labels is None else by_size(labels) for labels in found]
    for r, labels in enumerate(numbered):
        if labels is not None:
            key = labels.tobytes()
            if key not in known:
                known[key] = mean_loss(labels, draws, loss)
            values[r] = known[key]
    best = numbered[int(np.nanargmin(values))]
    assert best is not None
    return best, values
