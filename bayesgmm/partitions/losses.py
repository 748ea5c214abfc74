"""How far one partition is from another, and from a posterior's on average.

With a contingency table's row sums a (groups of the estimate), column sums b (groups of the truth) and cells n, every loss is a
function of three sums, over a, b and n, of ``x^2`` (losses that count pairs) or of ``x log2 x`` (losses that count bits).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.threads import ordered_map
from bayesgmm.partitions import _kernels
from bayesgmm.partitions.draws import Draws, LabelDraws, check_draws, check_partition
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = [
    "LOSSES",
    "Loss",
    "column_sums",
    "draw_losses",
    "expected_loss",
    "loss_named",
    "mean_loss",
    "metric_named",
    "partition_loss",
]


@dataclass(frozen=True)
class Loss:
    """A loss between two partitions.

    Attributes
    ----------
    name : str
    code : int
        How the three sums are put together.
    counts_pairs : bool
        Whether the sums are of squares; otherwise of ``x log2 x``.
    of_means : bool
        Whether the loss in posterior expectation comes from the sums' means: true of linear ones, and of PEAR by its definition.
    split_cost : float
        Cost of parting what belongs together; joining what does not costs 2 less this.
    """

    name: str
    code: int
    counts_pairs: bool
    of_means: bool
    split_cost: float = 1.0

    @property
    def rounding(self) -> float:
        """A difference of so little is none; two partitions that differ do so by far more."""
        return 1e-14 if self.counts_pairs else 1e-12

    def table(self, n: int) -> FloatArray:
        """Return the terms of the sums for counts 0 to n."""
        x = np.arange(n + 1.0)
        return x * x if self.counts_pairs else x * np.log2(np.maximum(x, 1.0))

    def combine(self, rows: float, columns: FloatArray, cells: FloatArray, n: int) -> FloatArray:
        """Return the loss from sums over rows and, one for each draw (T,), over columns and cells."""
        out = np.empty(len(cells))
        _kernels.losses(self.code, self.split_cost, rows, columns, cells, n, out)
        return out

    def mean(self, rows: float, columns: FloatArray, cells: FloatArray, n: int) -> float:
        """Return the expected loss from the same sums."""
        if self.of_means:
            columns, cells = columns.mean(keepdims=True), cells.mean(keepdims=True)
        return float(self.combine(rows, columns, cells, n).mean())


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("binder", _kernels.BINDER, counts_pairs=True, of_means=True),
        Loss("vi", _kernels.VI, counts_pairs=False, of_means=True),
        Loss("nvi", _kernels.NVI, counts_pairs=False, of_means=False),
        Loss("id", _kernels.ID, counts_pairs=False, of_means=False),
        Loss("nid", _kernels.NID, counts_pairs=False, of_means=False),
        Loss("omari", _kernels.OMARI, counts_pairs=True, of_means=False),
        Loss("pear", _kernels.OMARI, counts_pairs=True, of_means=True),
    )
}
"""Every loss by its name."""


def loss_named(name: str, split_cost: float = 1.0) -> Loss:
    """Return a loss, or say which there are.

    Raises
    ------
    InvalidParameterError
        For a name that does not exist, or a ``split_cost`` that is not between 0 and 2 or does not go with the loss.
    """
    if name not in LOSSES:
        raise InvalidParameterError(f"loss must be one of {', '.join(map(repr, LOSSES))}, got {name!r}")
    if not 0 < split_cost < 2:
        raise InvalidParameterError(f"split_cost must lie between 0 and 2 (1 weighs both mistakes alike), got {split_cost}")
    if split_cost != 1 and name not in ("binder", "vi"):
        raise InvalidParameterError(f"split_cost goes with the losses 'binder' and 'vi' only, not with {name!r}: leave it at 1")
    return replace(LOSSES[name], split_cost=float(split_cost))


def metric_named(name: str) -> Loss:
    """Return a loss that is a distance, and for which credible balls and Wasserstein distances are defined."""
    if name not in ("vi", "binder"):
        raise InvalidParameterError(f"loss must be 'vi' or 'binder', which are distances, got {name!r}")
    return LOSSES[name]


def partition_loss(estimate: ArrayLike, truth: ArrayLike, loss: str = "vi", *, split_cost: float = 1.0) -> float:
    """Return the loss of one partition when another is true.

    Parameters
    ----------
    estimate, truth : int array of shape (N,)
        Labels from 0 up; only who shares one matters.
    loss : str
        "vi", "binder", "nvi", "id", "nid", "omari" or "pear": see the notes.
    split_cost : float
        For "binder" and "vi": the cost of parting what belongs together, between 0 and 2; joining what does not costs ``2 - split_cost``.

    Returns
    -------
    float
        0 for the same partition.

    Raises
    ------
    InvalidDataError, InvalidParameterError

    Notes
    -----
    With H entropies of the partitions in bits and I their mutual information:

    ========  =====================================================================================================================
    vi        variation of information in bits, ``split_cost H(estimate | truth) + (2 - split_cost) H(truth | estimate)``: Meila
              (2007), Journal of Multivariate Analysis 98, 873-895; with unequal costs Dahl, Johnson and Mueller (2022), Journal of
              Computational and Graphical Statistics 31, 1189-1201
    binder    Binder (1978), Biometrika 65, 31-38: costs of the pairs split or joined wrongly, both orders of a pair counted, over N^2;
              at equal costs the share of all N^2 ordered pairs in dispute
    nvi       ``1 - I / H(estimate, truth)``
    id        ``max(H) - I``; with nvi and nid Vinh, Epps and Bailey (2010), Journal of Machine Learning Research 11, 2837-2854
    nid       ``1 - I / max(H)``
    omari     one minus the adjusted Rand index of Hubert and Arabie (1985)
    pear      the same between two partitions; the index of mean pair counts in expectation (Fritsch and Ickstadt 2009, Bayesian
              Analysis 4, 367-392)
    ========  =====================================================================================================================

    R's mcclust counts each pair once and does not divide: its Binder loss is ours times ``N^2 / 2``; its VI is in bits as ours is.

    Examples
    --------
    >>> partition_loss([0, 0, 1, 1], [0, 0, 0, 0], "vi")
    1.0
    >>> partition_loss([0, 0, 1, 1], [0, 0, 0, 0], "binder")
    0.5
    """
    first = check_partition(estimate, None, "estimate")
    second = check_partition(truth, len(first), "truth")
    return float(draw_losses(first, check_draws(second[None]), loss_named(loss, split_cost))[0])


def expected_loss(labels: ArrayLike, draws: LabelDraws, loss: str = "vi", *, split_cost: float = 1.0) -> float:
    """Return the posterior expected loss of a partition.

    Parameters
    ----------
    labels : int array of shape (N,)
    draws : int array of shape (T, N)
        Draws of the partition; see :func:`bayesgmm.partitions.draw_labels` for those of a fit.
    loss : str
        As in :func:`partition_loss`. All but "pear" are averages over the draws.
    split_cost : float
        As in :func:`partition_loss`.

    Returns
    -------
    float

    Raises
    ------
    InvalidDataError, InvalidParameterError

    Examples
    --------
    >>> expected_loss([0, 0, 1, 1], [[0, 0, 0, 0], [3, 3, 2, 2]])
    0.5
    """
    checked = check_draws(draws)
    return mean_loss(check_partition(labels, checked.n_points), checked, loss_named(loss, split_cost))


def draw_losses(labels: IntArray, draws: Draws, loss: Loss) -> FloatArray:
    """Return the losses (T,) of checked labels against checked draws."""
    return loss.combine(*_sums(labels, draws, loss), draws.n_points)


def mean_loss(labels: IntArray, draws: Draws, loss: Loss) -> float:
    """Return the expected loss of checked labels."""
    return loss.mean(*_sums(labels, draws, loss), draws.n_points)


def column_sums(draws: Draws, loss: Loss) -> FloatArray:
    """Return the sums (T,) over the columns of each draw's table, which do not depend on the estimate."""
    return _table_sums(np.zeros(draws.n_points, dtype=np.intp), draws, loss.table(draws.n_points))


def _sums(labels: IntArray, draws: Draws, loss: Loss) -> tuple[float, FloatArray, FloatArray]:
    g = loss.table(draws.n_points)
    return float(g[np.bincount(labels)].sum()), column_sums(draws, loss), _table_sums(labels, draws, g)


def _table_sums(labels: IntArray, draws: Draws, g: FloatArray) -> FloatArray:
    """Return the sums (T,) of g over the cells of each draw's table."""
    groups = int(labels.max()) + 1

    def task(start: int, stop: int) -> FloatArray:
        cells = np.empty((stop - start, draws.most_groups, groups), dtype=np.int32)
        out = np.empty(stop - start)
        _kernels.table_sums(draws.by_point, labels, start, g, cells, out)
        return out

    return np.concatenate(list(ordered_map(task, draws.parts(groups))))
