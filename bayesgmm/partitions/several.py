"""Several partitions with weights, where one cannot stand for a posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions.inputs import Draws, by_size, check_count, check_draws
from bayesgmm.partitions.losses import Loss, draw_losses, loss_named
from bayesgmm.partitions.minimise import minimize
from bayesgmm.random import generator
from bayesgmm.typing import FloatArray, IntArray, RandomState

__all__ = ["PartitionSummary", "summarize"]

MOST_ROUNDS = 50


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
    >>> found = summarize([[0, 0, 1, 1]] * 3 + [[0, 1, 0, 1]], 2, random_state=1)
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
        parts = (f"{100 * w:.0f} % near one of {int(z.max()) + 1} group(s)" for w, z in zip(self.weights, self.labels, strict=True))
        return f"{'; '.join(parts)}; mean distance ({self.loss}) {self.distance:.4g}."


def summarize(
    draws: Any,
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
        Runs of each search, see :func:`minimize`.
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
    >>> found = summarize(draws, 2, random_state=1)
    >>> found.weights
    array([0.7, 0.3])
    """
    checked, chosen = check_draws(draws), loss_named(loss)
    if loss not in ("vi", "binder"):
        raise InvalidParameterError(f"loss must be 'vi' or 'binder', which are distances, got {loss!r}")
    check_count(n_partitions, "n_partitions"), check_count(n_starts, "n_starts"), check_count(n_runs, "n_runs")
    rng = generator(random_state)
    starts = 1 if n_partitions == 1 else n_starts
    found = [_settle(_spread(checked, chosen, n_partitions, rng), checked, chosen, n_runs, rng) for _ in range(starts)]
    labels, distances = min(found, key=lambda one: float(one[1].min(axis=0).mean()))
    return _summary(labels, distances, loss)


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
    found = minimize(draws, loss.name, n_runs=n_runs, random_state=rng)
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
