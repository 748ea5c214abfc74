"""The metric in which chains move: from second derivatives at a mode, stretched along what the warm-up finds to be slow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from bayesgmm.bayes._compiled_coordinates import log_density, unwhitened, whitened
from bayesgmm.bayes._compiled_log_posterior import LOG_POSTERIOR
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Geometry", "Metric"]

_STEP = float(np.cbrt(np.finfo(float).eps))
_LEAST_CURVATURE = 0.1
_MOST_DIRECTIONS = 10
_ABOVE_NOISE = 2.0
"""How far the variance along a direction has to be above what draws of a standard normal show by chance in their longest direction."""


class Metric(NamedTuple):
    """A square root of the inverse metric: a block-diagonal one, applied after stretches along a few directions.

    ``factors`` holds its lower triangular blocks, flat, one after the other; ``bounds`` where each begins among the coordinates, and
    ``order`` which these are. ``directions`` (R, n) are orthogonal to each other and of length one, in the blocks' order.
    """

    factors: FloatArray
    bounds: IntArray
    order: IntArray
    directions: FloatArray
    stretches: FloatArray


@dataclass(frozen=True, eq=False)
class Geometry:
    """The coordinates and the metrics in which a chain moves.

    Parameters
    ----------
    user : array
        The flat array of the posterior.
    roots : array of shape (covariances, D, D)
        Cholesky factors of the covariances that others are seen from.
    given_labels, given_rows : Metric
    """

    user: FloatArray
    roots: FloatArray
    given_labels: Metric
    given_rows: Metric

    @classmethod
    def at(cls, density: LogPosterior, modes: FloatArray) -> Geometry:
        """Return that of the first of the modes (M, n), with the average of the metrics of the components at each of them."""
        space, blocks = density.space, density.space.blocks()
        roots = space.scale_tril(modes[0])
        at_each = [_curvatures(density, mode, roots, blocks) for mode in modes]
        means = [np.mean(curvatures, axis=0) for curvatures in zip(*at_each, strict=True)]
        factors = [_root_along(mean, along) for mean, along in zip(means, space.moves(), strict=True)]
        bounds = np.cumsum([0, *map(len, blocks)])
        flat = np.concatenate([factor.ravel() for factor in factors])
        metric = Metric(flat, bounds, np.concatenate(blocks), np.empty((0, space.n_dim)), np.empty(0))
        return cls(density.user_data, roots, metric, metric)

    def about(self, mode: FloatArray, z: FloatArray) -> FloatArray:
        """Return the place (n,) at standard normal numbers z (n,) from a mode (n,)."""
        x, q, metric = self.coordinates(mode), np.empty(len(mode)), self.given_labels
        for here, factor in _blocks(metric):
            x[metric.order[here]] += factor @ z[here]
        unwhitened(x, self.user, self.roots, q)
        return q

    def coordinates(self, q: FloatArray) -> FloatArray:
        """Return the coordinates (n,) of a place q (n,)."""
        x = np.empty(len(q))
        whitened(q, self.user, self.roots, x)
        return x

    def learned(self, draws: FloatArray) -> Geometry:
        """Return the geometry with a metric given the rows that is stretched where draws (S, n) are wider than it says.

        What widens the posterior of the parameters beyond that given labels is that labels are in doubt, of some rows between some groups:
        a few directions. They are the principal components of the draws in the metric, as far as these stand out of the noise that so few
        draws make in so many dimensions (Johnstone 2001, Annals of Statistics 29, 295-327: the largest eigenvalue of S standard normal
        vectors is near ``(1 + sqrt(n / S))^2``).
        """
        x = np.array([self.coordinates(q) for q in draws])
        metric, z = self.given_labels, np.empty_like(x)
        for here, factor in _blocks(metric):
            own = x[:, metric.order[here]].T
            is_free = bool(np.diag(factor).all())
            z[:, here] = (solve_triangular(factor, own, lower=True) if is_free else np.linalg.pinv(factor) @ own).T
        S, n = z.shape
        _, roots, directions = np.linalg.svd(z - z.mean(0), full_matrices=False)
        variances = np.square(roots) / S
        r = min(int((variances > _ABOVE_NOISE * (1.0 + np.sqrt(n / S)) ** 2).sum()), _MOST_DIRECTIONS)
        stretched = metric._replace(directions=np.ascontiguousarray(directions[:r]), stretches=np.sqrt(variances[:r]))
        return replace(self, given_rows=stretched)


def _blocks(metric: Metric) -> list[tuple[slice, FloatArray]]:
    """Return where each block lies, and its factor."""
    found, at = [], 0
    for start, stop in zip(metric.bounds[:-1], metric.bounds[1:], strict=True):
        n = stop - start
        found.append((slice(start, stop), metric.factors[at : at + n * n].reshape(n, n)))
        at += n * n
    return found


def _curvatures(density: LogPosterior, mode: FloatArray, roots: FloatArray, blocks: list[IntArray]) -> list[FloatArray]:
    """Return the curvature of each block at a mode, all eigenvalues positive, given labels if there are any, otherwise given the rows.

    Second derivatives are central differences of gradients, in all blocks at once: given labels these know nothing of each other, but for
    what a joint prior of the standard deviations ties together.
    """
    user = density.user_data
    if density.can_draw_labels:
        user = density.given_labels()
        density.draw_labels(mode, np.empty(0), user)
    x, q, gradient = np.empty(len(mode)), np.empty(len(mode)), np.empty((2, len(mode)))
    whitened(mode, user, roots, x)
    curvatures = [np.zeros((len(block), len(block))) for block in blocks]
    for i in range(max(map(len, blocks))):
        here = np.array([block[i] for block in blocks if len(block) > i])
        up, down = x.copy(), x.copy()
        up[here] += _STEP * np.maximum(1.0, np.abs(x[here]))
        down[here] -= _STEP * np.maximum(1.0, np.abs(x[here]))
        for place, out in zip((up, down), gradient, strict=True):
            log_density(LOG_POSTERIOR, user, place, roots, q, out)
        for block, curvature in zip(blocks, curvatures, strict=True):
            if len(block) > i:
                curvature[:, i] = (gradient[1] - gradient[0])[block] / (up - down)[block[i]]
    return [_positive(curvature) for curvature in curvatures]


def _positive(curvature: FloatArray) -> FloatArray:
    """Return a symmetric matrix with its eigenvalues made positive."""
    values, vectors = np.linalg.eigh(0.5 * (curvature + curvature.T))
    return (vectors * np.maximum(np.abs(values), _LEAST_CURVATURE)) @ vectors.T


def _root_along(curvature: FloatArray, along: FloatArray) -> FloatArray:
    """Return a root (n, n) of the inverse metric that moves along some directions (n, a) only, lower triangular."""
    n, a = along.shape
    if a == n:
        return _root_of_inverse(curvature)
    root = np.zeros((n, n))
    if a:
        root[:, :a] = along @ _root_of_inverse(_positive(along.T @ curvature @ along))
    return root


def _root_of_inverse(curvature: FloatArray) -> FloatArray:
    """Return the Cholesky factor of the inverse of a positive matrix."""
    inverse = np.linalg.inv(curvature)
    factor: FloatArray = np.linalg.cholesky(0.5 * (inverse + inverse.T))
    return factor
