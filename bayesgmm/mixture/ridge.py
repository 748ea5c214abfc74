"""Whether two components make one hill or two: a look along the ridge between them, on which all their modes lie."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from bayesgmm.kernels.threads import chunks
from bayesgmm.typing import FloatArray

if TYPE_CHECKING:
    from bayesgmm.params import MixtureParams

__all__ = ["one_hill"]

_GRID = 256  # places at which the slope is looked at; it changes over a unit of log-odds or more
_HALVINGS = 50
_NUMBERS = 2e6  # slopes of single columns that are in memory at a time


def one_hill(params: MixtureParams) -> np.ndarray:
    """Return whether each pair of components, taken alone, has a density with only one mode.

    The modes of two normal components lie on their ridge, ``x(a) = ((1 - a) P_i + a P_j)^-1 ((1 - a) P_i m_i + a P_j m_j)`` for a from 0
    to 1 with precisions P (Ray and Lindsay 2005, Annals of Statistics 33, 2042-2065, theorem 1). The density's slope along it is zero
    where a equals the probability of component j at x(a), and there are two modes or more if that happens more than once.

    Returns
    -------
    bool array of shape (..., K, K)
        Symmetric, True on the diagonal. A component of weight zero makes no hill of its own. The other components are left out, although
        one that lies between two may fill the valley between them.

    Notes
    -----
    With ``t = log(a / (1 - a))`` and the two covariances brought to the identity and to diag(l), whose means are then d apart, the
    logarithm of the ratio of both sides of that equation is ``g(t) = t + log(w_i / w_j) + sum(log(l) + d^2 (l - e^2t) / (l + e^t)^2) / 2``,
    in any number of columns. Its stationary points are bracketed on a grid and halved to rounding: two modes if a maximum above zero is
    followed by a minimum below it.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> def two(distance):
    ...     return MixtureParams.from_covariances([0.5, 0.5], [[0.0], [distance]], [[[1.0]], [[1.0]]])
    >>> two(1.9).one_hill()[0, 1], two(2.1).one_hill()[0, 1]
    (np.True_, np.False_)
    """
    flat = params.reshape(-1)
    K = flat.n_components
    out = np.ones((len(flat.weights), K, K), dtype=bool)
    for start, stop in chunks(len(out), max(1, int(_NUMBERS / (_GRID * flat.n_features)))):
        some, found = flat[start:stop], out[start:stop]
        for i, j in combinations(range(K), 2):
            found[:, i, j] = found[:, j, i] = ~_two_hills(*_along_the_ridge(some, i, j))
    return out.reshape(*params.batch_shape, K, K)


def _along_the_ridge(params: MixtureParams, i: int, j: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the constant of g (T,), the eigenvalues l (T, D) and the squared distances d^2 (T, D) of a pair."""
    gap = (params.means[:, j] - params.means[:, i])[..., None]
    both = np.linalg.solve(params.scale_tril[:, i], np.concatenate([params.scale_tril[:, j], gap], axis=-1))
    axes, scale, _ = np.linalg.svd(both[..., :-1])
    distance = np.einsum("tde,td->te", axes, both[..., -1])
    with np.errstate(invalid="ignore"):  # two weights of zero: no hill at all, and NaN is on no side of zero
        odds = params.log_weights[:, i] - params.log_weights[:, j]
    return odds + np.log(scale).sum(-1), scale**2, distance**2


def _two_hills(constant: FloatArray, ratio: FloatArray, square: FloatArray) -> np.ndarray:
    """Return whether g (T,) crosses zero more than once."""
    # Outside of these bounds the slope is positive: each column's term is at most 2 d^2 e^t / l^2 on the left, 2 d^2 l / e^t on the right.
    low = np.minimum(np.log(ratio).min(-1), 0.0) - np.log1p(2.0 * (square / ratio**2).sum(-1))
    high = np.maximum(np.log(ratio).max(-1), 0.0) + np.log1p(2.0 * (square * ratio).sum(-1))
    t = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, _GRID)
    falling = _slope(t, ratio[:, None], square[:, None]) < 0
    which, place = np.nonzero(falling[:, 1:] != falling[:, :-1])
    turning = _halved(t[which, place], t[which, place + 1], ~falling[which, place], ratio[which], square[which])
    value = turning + constant[which] + 0.5 * _rise(turning, ratio[which], square[which])
    maximum = ~falling[which, place]
    valley = maximum[:-1] & (value[:-1] > 0) & (value[1:] < 0) & (which[:-1] == which[1:])
    out = np.zeros(len(constant), dtype=bool)
    out[which[:-1][valley]] = True
    return out


def _halved(low: FloatArray, high: FloatArray, positive: np.ndarray, ratio: FloatArray, square: FloatArray) -> FloatArray:
    """Return the places (n,) between low and high at which the slope changes its sign, which is ``positive`` at low."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        before = (_slope(middle, ratio, square) >= 0) == positive
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return 0.5 * (low + high)


def _rise(t: FloatArray, ratio: FloatArray, square: FloatArray) -> FloatArray:
    """Return ``sum d^2 (l - e^2t) / (l + e^t)^2`` at t (...) for l and d^2 (..., D)."""
    u = np.exp(t)[..., None]
    return np.asarray((square * (ratio - u * u) / (ratio + u) ** 2).sum(-1))


def _slope(t: FloatArray, ratio: FloatArray, square: FloatArray) -> FloatArray:
    """Return the derivative of g at t (...)."""
    u = np.exp(t)[..., None]
    return np.asarray(1.0 - (square * ratio * u * (1.0 + u) / (ratio + u) ** 3).sum(-1))
