"""The local maxima of a mixture's density, and whether two components share one."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels import hills as _hills
from bayesgmm.kernels.threads import chunks
from bayesgmm.mixture import Mixture
from bayesgmm.mixture.marginal import lower_factor
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["hills", "modes", "unimodal_pairs"]

DEPTH = 0.3
"""Depth of a valley, as a share of the lower top beside it, from which on groups stand apart."""
_DIP = 1e-9
_MOST_STEPS = 2000
_ARRIVED = 1e-9  # length of the last step in the components' own units; Newton's leaves its square
_NEAR = 0.1  # a Newton step of at most this length is trusted
_SAME = 0.5  # ends this close may be the same mode
_ROUNDING = 1e-12  # of differences of log-densities
_GRID = 256  # places at which the slope is looked at; it changes over a unit of log-odds or more
_HALVINGS = 50
_NUMBERS = 2e6  # slopes of single columns that are in memory at a time


def modes(params: Mixture) -> FloatArray:
    """Return the modes of the mixture's density, the highest first.

    Points climb by the fixed-point step ``x <- (sum_k r_k P_k)^-1 sum_k r_k P_k mu_k``, with responsibilities r_k at x and precisions P_k,
    which never lowers the density, and finish by Newton's method (Carreira-Perpiñán 2000, IEEE Transactions on Pattern Analysis and
    Machine Intelligence 22, 1318-1323). They start from every mean, from the middle of every pair, from the middle of every pair's
    ridge and of all components' (Ray and Lindsay 2005, Annals of Statistics 33, 2042-2065, on which all modes lie), because
    there can be more modes than components: two crossing ellipses have one where they cross.
    An end is kept if the Hessian of the log-density is negative definite there. Two ends are one mode if the density does not dip
    between them, which needs no tolerance in the data's units.

    Returns
    -------
    array of shape (M, D)

    Raises
    ------
    InvalidParameterError
        For a batch of mixtures, which may have different numbers of modes.

    Notes
    -----
    The number of modes differs from the number of components in both directions: two equal components of one column merge into one mode
    unless their means are more than two standard deviations apart. No method is known that proves that no mode was missed in two or more
    columns; in 400 random mixtures of up to six components, round and elongated, hundreds of further starts each found none.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> def two(distance):
    ...     return MixtureParams.from_covariances([0.5, 0.5], [[0.0], [distance]], [[[1.0]], [[1.0]]])
    >>> two(3.0).modes().round(2).ravel(), two(1.9).modes().round(2).ravel()
    (array([0.04, 2.96]), array([0.95]))
    """
    if params.batch_shape:
        raise InvalidParameterError(
            f"modes is for one mixture, this is a batch of shape {params.batch_shape}: index it first, as in params[0].modes()"
        )
    present = params.weights > 0
    kept = type(params)(params.weights[present], params.means[present], params.scale_tril[present])
    # Climb in coordinates where the mixture has mean zero and covariance one: offset and units cost no digits.
    centre, factor = _moments(kept)
    inverse = np.tril(np.linalg.inv(factor))
    standard = kept.transform(-inverse @ centre, inverse)
    density = _Density.of(standard)
    found = _distinct(density, density.climb(_starts(standard, density.precisions)))
    return np.asarray(centre + found @ factor.T)


class _Place(NamedTuple):
    """The log-density around S points, to second order."""

    gradient: FloatArray
    hessian: FloatArray
    precision: FloatArray
    """(S, D, D): the mean of the components' precisions under the responsibilities, the metric of the fixed-point step."""


class _Density(NamedTuple):
    mixture: Mixture
    precisions: FloatArray

    @classmethod
    def of(cls, params: Mixture) -> _Density:
        inverse = np.linalg.inv(params.scale_tril)
        return cls(params, np.swapaxes(inverse, -1, -2) @ inverse)

    def at(self, x: FloatArray) -> _Place:
        """Return gradient and Hessian of the log-density at x (S, D): averages over components under the responsibilities."""
        r = self.mixture.responsibilities(x)
        pull = np.einsum("kde,ske->skd", self.precisions, self.mixture.means - x[:, None])
        gradient = np.einsum("sk,skd->sd", r, pull)
        precision = np.einsum("sk,kde->sde", r, self.precisions)
        spread = np.einsum("sk,skd,ske->sde", r, pull, pull)
        return _Place(gradient, spread - precision - gradient[:, :, None] * gradient[:, None], precision)

    def climb(self, x: FloatArray) -> FloatArray:
        """Return where the starts x (S, D) end, of those that end on top."""
        x, moving = x.copy(), np.arange(len(x))
        for _ in range(_MOST_STEPS):
            step, length = _step(self.at(x[moving]))
            x[moving] += step
            moving = moving[length > _ARRIVED]
            if not len(moving):
                break
        return x[_curvature(self.at(x)) < 0]


def _step(place: _Place) -> tuple[FloatArray, FloatArray]:
    """Return the next step (S, D) of each point and its length: Newton's once it is short and uphill, otherwise the fixed point's."""
    step = np.linalg.solve(place.precision, place.gradient[..., None])[..., 0]
    sure = _curvature(place) < 0
    newton = step.copy()
    newton[sure] = -np.linalg.solve(place.hessian[sure], place.gradient[sure][..., None])[..., 0]
    newton = np.where((_length(newton, place.precision) < _NEAR)[:, None], newton, step)
    return newton, _length(newton, place.precision)


def _length(step: FloatArray, precision: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(np.einsum("sd,sde,se->s", step, precision, step), 0.0))


def _curvature(place: _Place) -> FloatArray:
    """Return the largest eigenvalue of each Hessian, in units of the components' own curvature: negative on top."""
    factor = np.linalg.inv(np.linalg.cholesky(place.precision))
    return np.linalg.eigvalsh(factor @ place.hessian @ np.swapaxes(factor, -1, -2))[..., -1]


def _starts(params: Mixture, precisions: FloatArray) -> FloatArray:
    """Return means, midpoints of pairs, and the middles of the ridges of pairs and of all components."""
    first, second = np.triu_indices(params.n_components, 1)
    middles = (params.means[first] + params.means[second]) / 2
    pulls = (precisions @ params.means[..., None])[..., 0]
    ridges = np.linalg.solve(precisions[first] + precisions[second], (pulls[first] + pulls[second])[..., None])[..., 0]
    centre = np.linalg.solve(precisions.sum(0), pulls.sum(0))
    return np.concatenate([params.means, middles, ridges, centre[None]])


def _distinct(density: _Density, ends: FloatArray) -> FloatArray:
    """Return each mode once, by decreasing density."""
    height = density.mixture.log_density(ends)
    kept: list[int] = []
    for i in np.argsort(-height, kind="stable"):
        if not any(_same(density, ends[i], ends[j], height[i]) for j in kept):
            kept.append(int(i))
    return ends[kept]


def _same(density: _Density, low: FloatArray, high: FloatArray, height: float) -> bool:
    """Whether there is no dip between two ends: every strict maximum is followed by one on the way to another."""
    metric = density.at(low[None]).precision
    if _length((high - low)[None], metric)[0] > _SAME:
        return False
    between = low + np.linspace(0.0, 1.0, 11)[1:-1, None] * (high - low)
    return bool(density.mixture.log_density(between).min() >= height - _ROUNDING * (1.0 + abs(height)))


def _moments(params: Mixture) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the Cholesky factor of the covariance of the mixture."""
    centre = params.weights @ params.means
    # The covariance as a product of one wide matrix with itself, so that its factor comes without squaring.
    roots = np.sqrt(params.weights)
    apart = roots[:, None, None] * (params.means - centre)[..., None]
    wide = np.concatenate([*(roots[:, None, None] * params.scale_tril), *apart], axis=1)
    return centre, lower_factor(wide)


def unimodal_pairs(params: Mixture) -> np.ndarray:
    """Return whether each pair of components, taken alone, has a density with only one mode.

    The modes of two normal components lie on their ridge, ``x(a) = ((1 - a) P_i + a P_j)^-1 ((1 - a) P_i m_i + a P_j m_j)`` for a from 0
    to 1 with precisions P (Ray and Lindsay 2005, Annals of Statistics 33, 2042-2065, theorem 1). The density's slope along it is zero
    where a equals the probability of component j at x(a), and there are two modes or more if that happens more than once.

    Returns
    -------
    bool array of shape (..., K, K)
        Symmetric, True on the diagonal. A component of weight zero makes no mode of its own. The other components are left out, although
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
    >>> two(1.9).unimodal_pairs()[0, 1], two(2.1).unimodal_pairs()[0, 1]
    (np.True_, np.False_)
    """
    flat = params.reshape(-1)
    K = flat.n_components
    out = np.ones((len(flat.weights), K, K), dtype=bool)
    for start, stop in chunks(len(out), max(1, int(_NUMBERS / (_GRID * flat.n_features)))):
        some, found = flat[start:stop], out[start:stop]
        for i, j in combinations(range(K), 2):
            found[:, i, j] = found[:, j, i] = ~_two_modes(*_along_the_ridge(some, i, j))
    return out.reshape(*params.batch_shape, K, K)


def hills(params: Mixture, present: np.ndarray | None = None, *, depth: float = DEPTH) -> IntArray:
    """Return which hill of the density each component is on.

    Two components are on one hill if the density of the whole mixture has no valley between them, on the straight line between their means
    or on the ridge of the two (Ray and Lindsay 2005); so are those that a chain of such pairs joins.

    Parameters
    ----------
    present : bool array of shape (..., K), optional
        The components that count; by default those that weigh anything. The others are left out of the density, too.
    depth : float
        A valley is where the density is lower than both tops beside it, by at least this share of the lower one. With 0 every dip counts.

    Returns
    -------
    int array of shape (..., K)
        Hills are numbered from 0 in the order of their first components; -1 of a component that does not count.

    Notes
    -----
    Components are what a density is made of, hills are groups that stand apart: a skewed group is one hill of several components. Hennig
    (2010, Advances in Data Analysis and Classification 4, 3-34, section 4.2) merges by the depth of the valley, too. The default, 0.3,
    takes two equal round components less than 2.9 standard deviations apart for one hill.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> skewed = MixtureParams.from_covariances([0.4, 0.2, 0.4], [[0.0], [9.0], [1.5]], [[[1.0]]] * 3)
    >>> skewed.hills()
    array([0, 1, 0])
    """
    if not 0.0 <= depth < 1.0:
        raise InvalidParameterError(f"depth must be from 0 up to 1, got {depth}")
    flat = params.reshape(-1)
    counts = (params.weights > 0 if present is None else np.asarray(present)).reshape(-1, flat.n_components)
    identity = np.eye(flat.n_features)
    inverse = np.tril(np.linalg.solve(np.where(counts[..., None, None], flat.scale_tril, identity), identity))
    labels = np.empty(counts.shape, dtype=np.intp)
    # A dip of nothing but rounding is none.
    _hills.hills(flat.log_weights, np.ascontiguousarray(flat.means), inverse, counts, max(depth, _DIP), labels)
    return labels.reshape(*params.batch_shape, flat.n_components)


def _along_the_ridge(params: Mixture, i: int, j: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the constant of g (T,), the eigenvalues l (T, D) and the squared distances d^2 (T, D) of a pair."""
    gap = (params.means[:, j] - params.means[:, i])[..., None]
    both = np.linalg.solve(params.scale_tril[:, i], np.concatenate([params.scale_tril[:, j], gap], axis=-1))
    axes, scale, _ = np.linalg.svd(both[..., :-1])
    distance = np.einsum("tde,td->te", axes, both[..., -1])
    with np.errstate(invalid="ignore"):  # two weights of zero: no mode at all, and NaN is on no side of zero
        odds = params.log_weights[:, i] - params.log_weights[:, j]
    return odds + np.log(scale).sum(-1), scale**2, distance**2


def _two_modes(constant: FloatArray, ratio: FloatArray, square: FloatArray) -> np.ndarray:
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
