"""One mixture and data: sufficient statistics, or responsibilities and densities row by row."""

from typing import NamedTuple

import numpy as np

from bayesgmm.expectation import _kernel
from bayesgmm.expectation._threads import chunks, ordered_map, run_shared
from bayesgmm.typing import FloatArray

_NO_WEIGHTS = np.empty(0)


class Statistics(NamedTuple):
    """What the E-step knows about the data: enough for the M-step and for the gradient.

    Sums run over rows with responsibilities r (times the row's weight), in the coordinates ``z = L_k^-1 (x - mu_k)`` of the component
    under which they were computed. Statistics of different rows under the same mixture add up.
    """

    log_likelihood: float
    counts: FloatArray
    """(K,): sum of r."""
    first: FloatArray
    """(K, D): sum of r z."""
    second: FloatArray
    """(K, D, D): sum of r z z'; symmetric, or diagonal under ``diagonal=True``."""


def expectation(
    X: FloatArray,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    sample_weight: FloatArray | None = None,
    diagonal: bool = False,
) -> Statistics:
    """Run the E-step: log-likelihood and expected sufficient statistics in one pass over the data.

    Parameters
    ----------
    X : array of shape (N, D)
        Data, float64 and C-contiguous.
    log_weights, means, scale_tril : arrays of shape (K,), (K, D), (K, D, D)
        The mixture.
    sample_weight : array of shape (N,), optional
        Frequency of each row; one each when absent.
    diagonal : bool
        Whether the scale factors are diagonal: the work then grows with D, not with its square, and ``second`` is diagonal.

    Returns
    -------
    Statistics

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[-1.0], [1.0]])
    >>> stats = expectation(X, np.zeros(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
    >>> stats.counts, stats.second.ravel()
    (array([2.]), array([2.]))
    """
    X, log_weights, means, scale_tril = map(writable, (X, log_weights, means, scale_tril))
    weight = _NO_WEIGHTS if sample_weight is None else writable(sample_weight)
    size = chunk_size(len(X))
    n = -(-len(X) // size)
    if n <= 1:
        return Statistics(*_kernel.statistics(X, weight, log_weights, means, scale_tril, diagonal)[:4])
    K, D = means.shape
    totals, counts, first, second = np.empty(n), np.zeros((n, K)), np.zeros((n, K, D)), np.zeros((n, K, D, D))

    def task(start: int, stop: int) -> None:
        mixture = log_weights, means, scale_tril, diagonal
        _kernel.statistics_chunks(_kernel.STATISTICS, X, weight, size, start, stop, *mixture, totals, counts, first, second)

    run_shared(task, n)
    return Statistics(float(totals.sum()), counts.sum(0), first.sum(0), second.sum(0))


def writable(array: FloatArray) -> FloatArray:
    """Return the array, or a copy if it is read-only: the kernels are compiled once, for arrays that may be written to."""
    return array if array.flags.writeable else array.copy()


def chunk_size(n_rows: int) -> int:
    """Return the rows of a chunk, whose statistics are summed apart: at most 64 chunks, none smaller than 4,096 rows.

    It depends on the data only, so the order of summation, and every bit of the result, is the same for any number of threads.
    """
    return max(4096, -(-n_rows // 64))


def evaluate(
    X: FloatArray,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    diagonal: bool = False,
    joint: bool = False,
    responsibilities: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Evaluate a mixture row by row.

    Parameters
    ----------
    X, log_weights, means, scale_tril, diagonal
        As in :func:`expectation`.
    joint, responsibilities : bool
        Which (N, K) array to return; at most one.

    Returns
    -------
    table : array of shape (N, K)
        ``log w_k + log N(x_i | mu_k, Sigma_k)`` for ``joint``, responsibilities for ``responsibilities``, otherwise empty.
    log_density : array of shape (N,)
        ``log p(x_i)``.
    """
    X, log_weights, means, scale_tril = map(writable, (X, log_weights, means, scale_tril))
    prepared = _kernel.prepare(log_weights, means, scale_tril, diagonal)
    N, K = len(X), len(means)
    empty = np.empty((0, K))
    table = np.empty((N, K)) if joint or responsibilities else empty
    log_density = np.empty(N)

    def task(start: int, stop: int) -> float:
        rows = slice(start, stop)
        outputs = (table[rows] if joint else empty, table[rows] if responsibilities else empty, log_density[rows])
        return _kernel.evaluate_rows(X, start, stop, prepared, diagonal, *outputs)

    for _ in ordered_map(task, chunks(N, chunk_size(N))):
        pass
    return table, log_density
