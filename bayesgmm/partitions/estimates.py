"""One partition for a posterior, that of least expected loss, or a few with weights where one cannot stand for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.threads import n_threads
from bayesgmm.partitions.draws import Draws, LabelDraws, by_size, check_count, check_draws
from bayesgmm.partitions.losses import Loss, draw_losses, loss_named, mean_loss, metric_named
from bayesgmm.partitions.search import MOST_POINTS, TableSearch, best_of_all, run
from bayesgmm.progress import steps
from bayesgmm.random import generator
from bayesgmm.text import counted
from bayesgmm.typing import FloatArray, IntArray, RandomState

__all__ = ["PartitionEstimate", "PartitionSummary", "point_estimate", "wasserstein_summary"]

MOST_ROUNDS = 50
_MOST_SIZES = 8


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
    run_losses : array of shape (n_runs,)
        What each run of the search came to, NaN for runs that were not begun.
    interrupted : bool
        Whether the search was stopped by the user before its runs had ended: the labels are the best so far.

    Examples
    --------
    >>> found = point_estimate([[0, 0, 1], [0, 0, 1], [0, 1, 1]], n_runs=4, random_state=1)
    >>> found.n_groups, found.labels
    (2, array([0, 0, 1]))
    """

    labels: IntArray
    expected_loss: float
    loss: str
    split_cost: float
    run_losses: FloatArray = field(repr=False)
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
        return (
            f"{counted(len(self.labels), 'point')} in {counted(self.n_groups, 'group')} of {sizes}{more}; expected loss ({self.loss}) "
            f"{self.expected_loss:.6g}, reached by {self.n_runs_at_best} of {self.n_runs} runs"
            + ("; stopped early, so this is the best so far." if self.interrupted else ".")
        )


def point_estimate(
    draws: LabelDraws,
    loss: str = "vi",
    *,
    split_cost: float = 1.0,
    max_components: int | None = None,
    n_runs: int = 16,
    zealous: int = 10,
    random_state: RandomState = None,
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
        The same seed gives the same partition whatever the number of threads, unless the search is interrupted.
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
    >>> found = point_estimate(draws, random_state=1)
    >>> found.labels
    array([1, 1, 0, 0, 0])
    >>> print(found)
    5 points in 2 groups of 3, 2; expected loss (vi) 0.367318, reached by 16 of 16 runs.
    """
    checked, chosen = check_draws(draws), loss_named(loss, split_cost)
    limit = _check_limit(max_components, checked.n_points)
    check_count(n_runs, "n_runs"), check_count(zealous, "zealous", 0)
    seeds = np.random.SeedSequence(generator(random_state).integers(2**32, size=4).tolist()).spawn(n_runs)
    n_groups = min(limit, checked.most_groups)

    def search(r: int, stopped: Callable[[], bool]) -> IntArray:
        state = TableSearch(checked, chosen, limit)
        return run(state, n_groups if r % 2 else None, zealous, np.random.default_rng(seeds[r]), stopped).labels.copy()

    with steps("Searching partitions", n_runs, shown=progressbar) as advance:
        found, interrupted = _run_all(search, n_runs, advance)
    labels, values = _distinct_values(found, checked, chosen)
    value = float(np.nanmin(values))
    if checked.n_points <= MOST_POINTS:
        exact = by_size(best_of_all(checked, chosen, limit))
        least = mean_loss(exact, checked, chosen)
        if least < value - chosen.rounding:
            labels, value = exact, least
    return PartitionEstimate(labels, value, chosen.name, chosen.split_cost, values, interrupted)


@dataclass(frozen=True, eq=False)
class PartitionSummary:
    """Partitions that share out the draws; ``print`` it for the result in words.

    Attributes
    ----------
    labels : int array of shape (L, N)
        The partitions, by decreasing weight, groups numbered by decreasing size.
    weights : array of shape (L,)
        Share of the draws that each stands for.
    assignment : int array of shape (T,)
        Which of them each draw is closest to.
    distance : float
        Mean distance of the draws from theirs: the Wasserstein distance between posterior and summary.
    loss : str

    Examples
    --------
    >>> found = wasserstein_summary([[0, 0, 1, 1]] * 3 + [[0, 1, 0, 1]], 2, random_state=1)
    >>> found.labels
    array([[0, 0, 1, 1],
           [0, 1, 0, 1]])
    """

    labels: IntArray
    weights: FloatArray
    assignment: IntArray
    distance: float
    loss: str

    def __str__(self) -> str:
        pairs = zip(self.weights, self.labels, strict=True)
        parts = (f"{100 * w:.0f} % near one of {counted(int(z.max()) + 1, 'group')}" for w, z in pairs)
        return f"{'; '.join(parts)}; mean distance ({self.loss}) {self.distance:.4g}."


def wasserstein_summary(
    draws: LabelDraws,
    n_partitions: int = 2,
    *,
    loss: str = "vi",
    n_starts: int = 4,
    n_runs: int = 4,
    random_state: RandomState = None,
) -> PartitionSummary:
    """Summarise the draws by a few partitions, each the estimate from the draws that are closest to it.

    Compare ``distance`` for 1, 2, 3, ... partitions: where it stops to fall much, more of them say little more.

    Parameters
    ----------
    draws : int array of shape (T, N)
    n_partitions : int
        How many, L; fewer come back where fewer are different.
    loss : str
        "vi" or "binder", which are distances.
    n_starts : int
        Random starts, of which the one with the least ``distance`` is kept.
    n_runs : int
        Runs of each search, see :func:`point_estimate`.
    random_state : int, Generator, RandomState or None

    Returns
    -------
    PartitionSummary

    Raises
    ------
    InvalidDataError, InvalidParameterError

    Notes
    -----
    As in WASABI (Balocchi and Wade 2025, arXiv:2506.16295): give every draw to the closest partition, replace each by the one of least
    expected loss over its draws, until nothing changes; neither step can raise the mean distance. Starts are draws, each next one
    the more likely the farther it is from those before.

    Examples
    --------
    >>> draws = [[0, 0, 0, 1, 1, 1]] * 7 + [[0, 1, 2, 2, 1, 0]] * 3
    >>> found = wasserstein_summary(draws, 2, random_state=1)
    >>> found.weights
    array([0.7, 0.3])
    """
    checked, chosen = check_draws(draws), metric_named(loss)
    check_count(n_partitions, "n_partitions"), check_count(n_starts, "n_starts"), check_count(n_runs, "n_runs")
    rng = generator(random_state)
    starts = 1 if n_partitions == 1 else n_starts
    found = [_settle(_spread(checked, chosen, n_partitions, rng), checked, chosen, n_runs, rng) for _ in range(starts)]
    labels, distances = min(found, key=lambda one: float(one[1].min(axis=0).mean()))
    return _summary(labels, distances, loss)


def _check_limit(max_components: int | None, n_points: int) -> int:
    """Return the most groups that are allowed."""
    if max_components is None:
        return n_points
    limit = check_count(max_components, "max_components")
    if limit > n_points:
        raise InvalidParameterError(f"max_components is {limit}, more than the {n_points} points: leave it out for no limit")
    return limit


def _run_all(
    search: Callable[[int, Callable[[], bool]], IntArray], n_runs: int, advance: Callable[[], None]
) -> tuple[list[IntArray | None], bool]:
    """Return the labels that each run came to, None where it did not begin, and whether the search was interrupted."""
    stop, interrupted = Event(), False
    found: list[IntArray | None] = [None] * n_runs

    def work(r: int) -> None:
        if r == 0 or not stop.is_set():
            found[r] = search(r, stop.is_set)
            advance()

    with ThreadPoolExecutor(min(n_threads(), n_runs), thread_name_prefix="bayesgmm") as pool:
        futures: list[Future[None]] = []
        try:
            futures.extend(pool.submit(work, r) for r in range(n_runs))
            wait(futures)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            stop.set()  # leaving waits for the runs in hand, which end where they are
    for future in futures:
        future.result()
    if all(labels is None for labels in found):
        raise KeyboardInterrupt
    return found, interrupted


def _distinct_values(found: list[IntArray | None], draws: Draws, loss: Loss) -> tuple[IntArray, FloatArray]:
    """Return the best partition and the exact expected losses of all, NaN for none; runs that met are looked at once."""
    numbered = [None if labels is None else by_size(labels) for labels in found]
    distinct = {labels.tobytes(): labels for labels in numbered if labels is not None}
    known = {key: mean_loss(labels, draws, loss) for key, labels in distinct.items()}
    best = distinct[min(known, key=known.__getitem__)]
    return best, np.array([np.nan if labels is None else known[labels.tobytes()] for labels in numbered])


def _spread(draws: Draws, loss: Loss, n: int, rng: np.random.Generator) -> list[IntArray]:
    """Choose draws to start from, far apart; fewer than n where there are not so many different ones."""
    chosen = [draws.partition(int(rng.integers(draws.n_draws)))]
    nearest = draw_losses(chosen[0], draws, loss)
    while len(chosen) < n and nearest.max() > loss.rounding:
        weight = np.maximum(nearest, 0.0)
        chosen.append(draws.partition(int(rng.choice(draws.n_draws, p=weight / weight.sum()))))
        nearest = np.minimum(nearest, draw_losses(chosen[-1], draws, loss))
    return chosen


def _settle(
    labels: list[IntArray], draws: Draws, loss: Loss, n_runs: int, rng: np.random.Generator
) -> tuple[list[IntArray], FloatArray]:
    """Assign and estimate in turn; returns the partitions, none of which is without draws, and their distances (L, T) to all draws."""
    distances = np.array([draw_losses(partition, draws, loss) for partition in labels])
    for _ in range(MOST_ROUNDS):
        assignment = distances.argmin(axis=0)
        used = np.unique(assignment)
        labels = [_better(labels[which], _some(draws, assignment == which), loss, n_runs, rng) for which in used]
        before, distances = distances[used], np.array([draw_losses(partition, draws, loss) for partition in labels])
        if distances.min(axis=0).mean() >= before.min(axis=0).mean() - loss.rounding:
            break
    return labels, distances


def _better(labels: IntArray, draws: Draws, loss: Loss, n_runs: int, rng: np.random.Generator) -> IntArray:
    """Return the estimate from these draws, unless the partition that there is does as well."""
    found = point_estimate(draws, loss.name, n_runs=n_runs, random_state=rng)
    return found.labels if found.expected_loss < draw_losses(labels, draws, loss).mean() - loss.rounding else labels


def _some(draws: Draws, which: np.ndarray) -> Draws:
    return Draws(np.ascontiguousarray(draws.by_point[:, which]), draws.n_groups[which])


def _summary(labels: list[IntArray], distances: FloatArray, loss: str) -> PartitionSummary:
    assignment = distances.argmin(axis=0)
    counts = np.bincount(assignment, minlength=len(labels))
    order = [int(which) for which in np.argsort(-counts, kind="stable") if counts[which]]
    place = np.zeros(len(labels), dtype=np.intp)
    place[order] = np.arange(len(order))
    mean = float(distances.min(axis=0).mean())
    kept = np.array([by_size(labels[which]) for which in order])
    return PartitionSummary(kept, counts[order] / counts.sum(), place[assignment], mean, loss)
