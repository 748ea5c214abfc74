"""The local maxima of a mixture's density."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesgmm.mixture import checks
from bayesgmm.typing import FloatArray

if TYPE_CHECKING:
    from bayesgmm.params import MixtureParams

__all__ = ["modes"]

_MOST_STEPS = 2000
_ARRIVED = 1e-9  # length of the last step in the components' own units; Newton's leaves its square
_NEAR = 0.1  # a Newton step of at most this length is trusted
_SAME = 0.5  # ends this close may be the same mode
_ROUNDING = 1e-12  # of differences of log-densities


def modes(params: MixtureParams) -> FloatArray:
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
    checks.single(params, "modes")
    present = params.weights > 0
    kept = replace(params, weights=params.weights[present], means=params.means[present], scale_tril=params.scale_tril[present])
    # Climb in coordinates where the mixture has mean zero and covariance one: offset and units cost no digits.
    centre, factor = _moments(kept)
    inverse = np.tril(np.linalg.inv(factor))
    standard = kept.transform(-inverse @ centre, inverse)
    hill = _Hill.of(standard)
    found = _distinct(hill, hill.climb(_starts(standard, hill.precisions)))
    return np.asarray(centre + found @ factor.T)


class _Place(NamedTuple):
    """The log-density around S points, to second order."""

    gradient: FloatArray
    hessian: FloatArray
    precision: FloatArray
    """(S, D, D): the mean of the components' precisions under the responsibilities, the metric of the fixed-point step."""


class _Hill(NamedTuple):
    mixture: MixtureParams
    precisions: FloatArray

    @classmethod
    def of(cls, params: MixtureParams) -> _Hill:
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
        x = x.copy()
        moving = np.arange(len(x))
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


def _starts(params: MixtureParams, precisions: FloatArray) -> FloatArray:
    """Return means, midpoints of pairs, and the middles of the ridges of pairs and of all components."""
    first, second = np.triu_indices(params.n_components, 1)
    middles = (params.means[first] + params.means[second]) / 2
    pulls = (precisions @ params.means[..., None])[..., 0]
    ridges = np.linalg.solve(precisions[first] + precisions[second], (pulls[first] + pulls[second])[..., None])[..., 0]
    centre = np.linalg.solve(precisions.sum(0), pulls.sum(0))
    return np.concatenate([params.means, middles, ridges, centre[None]])


def _distinct(hill: _Hill, ends: FloatArray) -> FloatArray:
    """Return each mode once, by decreasing density."""
    height = hill.mixture.log_density(ends)
    order = np.argsort(-height, kind="stable")
    kept: list[int] = []
    for i in order:
        if not any(_same(hill, ends[i], ends[j], height[i]) for j in kept):
            kept.append(int(i))
    return ends[kept]


def _same(hill: _Hill, low: FloatArray, high: FloatArray, height: float) -> bool:
    """Whether there is no dip between two ends: every strict maximum is followed by one on the way to another."""
    metric = hill.at(low[None]).precision
    if _length((high - low)[None], metric)[0] > _SAME:
        return False
    between = low + np.linspace(0.0, 1.0, 11)[1:-1, None] * (high - low)
    return bool(hill.mixture.log_density(between).min() >= height - _ROUNDING * (1.0 + abs(height)))


def _moments(params: MixtureParams) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the Cholesky factor of the covariance of the mixture."""
    centre = params.weights @ params.means
    # The covariance as a product of one wide matrix with itself, so that its factor comes without squaring.
    roots = np.sqrt(params.weights)
    apart = roots[:, None, None] * (params.means - centre)[..., None]
    wide = np.concatenate([*(roots[:, None, None] * params.scale_tril), *apart], axis=1)
    upper = np.linalg.qr(wide.T, mode="r")
    return centre, upper.T * np.where(np.diag(upper) < 0, -1.0, 1.0)
