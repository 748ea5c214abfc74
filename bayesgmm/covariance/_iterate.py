"""What M-steps have to iterate, compiled: an M-step is short, and comes once for every pass over the data.

All functions of a family live in this one file, whose content is what tells numba's cache that something has changed.
"""

import math

import numpy as np

from bayesgmm.expectation._compile import compiled, never_inline
from bayesgmm.typing import FloatArray

MOST_ROUNDS = 500
SETTLED = 1e-10  # relative change of a volume; the likelihood is then flat to the square of it
MOST_SWEEPS = 200
STILL = 1e-14  # what a sweep of rotations may still gain, per row and feature, when it was the last
NEAR = 0.3  # radians: farther away, a parabola says little about the objective
HALVINGS = 80


@compiled()
def equal_shapes(spread: FloatArray, counts: FloatArray, shape: FloatArray, least_volume: float, least_shape: float) -> FloatArray:
    """Return variances ``volume_k shape_j`` (K, D) for spreads (K, D): volumes and shape (D,), overwritten, in turn."""
    K, D = spread.shape
    total, volumes = 0.0, np.zeros(K)
    for k in range(K):
        total += counts[k]
    for _ in range(MOST_ROUNDS):
        settled = _fill_volumes(spread, counts, shape, least_volume, volumes)
        for j in range(D if not settled else 0):
            _fill_shape(spread, volumes, total, least_shape, j, shape)
        if settled:
            break
    return _products(volumes, shape)


@compiled()
def _products(volumes: FloatArray, shape: FloatArray) -> FloatArray:
    """Return the variances ``volume_k shape_j`` (K, D)."""
    variances = np.empty((len(volumes), len(shape)))
    for k in range(len(volumes)):
        for j in range(len(shape)):
            variances[k, j] = volumes[k] * shape[j]
    return variances


@compiled()
def _fill_volumes(spread: FloatArray, counts: FloatArray, shape: FloatArray, least: float, volumes: FloatArray) -> bool:
    """Fill in the best volumes (K,) for a shape, and say whether they are those that were there."""
    K, D = spread.shape
    settled = True
    for k in range(K):
        s = 0.0
        for j in range(D):
            s += spread[k, j] / shape[j]
        s = max(s / (D * counts[k]), least)
        settled &= abs(s - volumes[k]) <= SETTLED * volumes[k]
        volumes[k] = s
    return settled


@compiled()
def _fill_shape(spread: FloatArray, volumes: FloatArray, total: float, least: float, j: int, shape: FloatArray) -> None:
    """Fill in entry j of the best shape (D,) for volumes (K,)."""
    s = 0.0
    for k in range(len(volumes)):
        s += spread[k, j] / volumes[k]
    shape[j] = max(s / total, least)


@compiled()
def equal_forms(
    scatter: FloatArray,
    counts: FloatArray,
    form: FloatArray,
    least: FloatArray,
    least_volume: float,
    least_shape: float,
) -> tuple[FloatArray, FloatArray]:
    """Return variances (K, D) and axes (D, D) of multiples of one matrix, from a first guess ``form`` (D, D) at it: VEE."""
    K, D, _ = scatter.shape
    total, volumes, spread = 0.0, np.zeros(K), np.zeros((K, D))
    for k in range(K):
        total += counts[k]
    values, axes = np.linalg.eigh(form)
    shape = np.empty(D)
    for j in range(D):
        shape[j] = max(values[j] / max(values[-1], 1e-300), 1e-30)
    for j in range(D - 1, -1, -1):
        shape[j] /= shape[0]
    for _ in range(MOST_ROUNDS):
        _fill_spread(scatter, axes, least, spread)
        if _fill_volumes(spread, counts, shape, least_volume, volumes):
            break
        _, axes = np.linalg.eigh(_pooled(scatter, volumes))
        _fill_spread(scatter, axes, least, spread)
        for j in range(D):
            _fill_shape(spread, volumes, total, least_shape, j, shape)
    return _products(volumes, shape), axes


@compiled()
def _pooled(scatter: FloatArray, volumes: FloatArray) -> FloatArray:
    """Return the sum (D, D) of scatter matrices (K, D, D) divided by volumes (K,)."""
    K, D, _ = scatter.shape
    pooled = np.zeros((D, D))
    for k in range(K):
        for i in range(D):
            for j in range(D):
                pooled[i, j] += scatter[k, i, j] / volumes[k]
    return pooled


@compiled()
def _fill_spread(scatter: FloatArray, axes: FloatArray, least: FloatArray, spread: FloatArray) -> None:
    """Fill in the spreads (K, D) of scatter matrices (K, D, D) along axes (D, D), none below ``least`` (K,)."""
    K, D = spread.shape
    for k in range(K):
        for j in range(D):
            s = 0.0
            for a in range(D):
                for b in range(D):
                    s += axes[a, j] * scatter[k, a, b] * axes[b, j]
            spread[k, j] = max(s, least[k])


@compiled()
def equal_volumes(spread: FloatArray, counts: FloatArray, smallest: float) -> FloatArray:
    """Return variances (K, D) whose product is the same for all components."""
    never_inline()
    K, D = spread.shape
    total = volume = 0.0
    variances = np.empty((K, D))
    for k in range(K):
        middle = 0.0
        for j in range(D):
            variances[k, j] = math.log(spread[k, j])
            middle += variances[k, j] / D
        for j in range(D):
            variances[k, j] = math.exp(variances[k, j] - middle)
        volume += math.exp(middle)
        total += counts[k]
    kept = True
    for k in range(K):
        for j in range(D):
            variances[k, j] *= volume / total
            kept &= variances[k, j] >= smallest
    if not kept:
        _bound_shapes(spread, total, smallest, variances)
    return variances


@compiled()
def _bound_shapes(spread: FloatArray, total: float, smallest: float, variances: FloatArray) -> None:
    """Fill in the variances under a bound: those not at it are ``s_kj / m_k``.

    The ``m_k`` are the multipliers of "the logs of a component's variances add up to L". They fall as L grows, and at the best L, if the
    bound allows it, they add up to the number of rows: one unknown, found by halving.
    """
    never_inline()
    K, D = spread.shape
    bound = math.log(smallest)
    low = high = D * bound
    descending = np.empty((K, D))
    for k in range(K):
        for j in range(D):
            x = math.log(spread[k, j])
            i = j
            while i > 0 and descending[k, i - 1] < x:
                descending[k, i] = descending[k, i - 1]
                i -= 1
            descending[k, i] = x
        high = max(high, D * (descending[k, 0] - math.log(total / K)))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        share = 0.0
        for k in range(K):
            share += math.exp(min(_multiplier(descending[k], middle, bound) - math.log(total), 700.0))
        if share > 1:
            low = middle
        else:
            high = middle
    for k in range(K):
        multiplier = math.exp(_multiplier(descending[k], high, bound))
        for j in range(D):
            variances[k, j] = max(spread[k, j] / multiplier, smallest)


@compiled()
def _multiplier(descending: FloatArray, log_volume: float, bound: float) -> float:
    """Return log m for one component; with the largest spreads free, as many as give the largest m."""
    never_inline()
    D = len(descending)
    best, summed = -np.inf, 0.0
    for free in range(1, D + 1):
        summed += descending[free - 1]
        best = max(best, (summed + (D - free) * bound - log_volume) / free)
    return best


@compiled()
def _evaluate(spread: FloatArray, counts: FloatArray, same_volume: bool, smallest: float) -> tuple[FloatArray, float]:
    """Return the best variances (K, D) along axes, and what the M-step minimises, but for a constant."""
    never_inline()
    K, D = spread.shape
    value = 0.0
    if same_volume:
        variances = equal_volumes(spread, counts, smallest)
    else:
        variances = np.empty((K, D))
    for k in range(K):
        for j in range(D):
            if not same_volume:
                variances[k, j] = max(spread[k, j] / counts[k], smallest)
            value += counts[k] * math.log(variances[k, j]) + spread[k, j] / variances[k, j]
    return variances, value


@compiled()
def value_along(
    scatter: FloatArray, axes: FloatArray, counts: FloatArray, same_volume: bool, smallest: float, least: FloatArray
) -> float:
    """Return what the M-step minimises, but for a constant, for given common axes (D, D)."""
    spread = np.empty((len(scatter), len(axes)))
    _fill_spread(scatter, axes, least, spread)
    return _evaluate(spread, counts, same_volume, smallest)[1]


@compiled()
def common_axes(
    scatter: FloatArray, axes: FloatArray, counts: FloatArray, same_volume: bool, smallest: float, least: FloatArray
) -> FloatArray:
    """Turn the axes (D, D), in place, to the best that the components can have in common; return the variances (K, D).

    Each plane of two axes is turned by the angle that is best for the variances as they are, which never raises the objective, or by
    Newton's, where that takes it lower still.
    """
    D = len(axes)
    total, turned = 0.0, scatter.copy()
    _turn(turned, axes)
    for k in range(len(counts)):
        total += counts[k]
    spread = np.empty((len(scatter), D))
    _fill_diagonals(turned, least, spread)
    variances, value = _evaluate(spread, counts, same_volume, smallest)
    for _ in range(MOST_SWEEPS):
        promised = 0.0
        for p in range(D):
            for q in range(p + 1, D):
                angle, gain = _safe_angle(turned, variances, p, q)
                promised += gain
                faster = _newton_angle(turned, variances, p, q, same_volume) if abs(angle) < NEAR else angle
                _rotate(turned, axes, p, q, faster)
                _fill_diagonals(turned, least, spread)
                variances, new = _evaluate(spread, counts, same_volume, smallest)
                if faster != angle and not new <= value - gain:
                    _rotate(turned, axes, p, q, angle - faster)
                    _fill_diagonals(turned, least, spread)
                variances, new = _evaluate(spread, counts, same_volume, smallest)
                value = new
        if promised <= STILL * total * D:
            break
    return variances


@compiled()
def _turn(matrices: FloatArray, axes: FloatArray) -> None:
    """Put matrices (K, D, D), in place, in the coordinates of axes (D, D)."""
    D = len(axes)
    half = np.empty((D, D))
    for k in range(len(matrices)):
        for i in range(D):
            for j in range(D):
                s = 0.0
                for m in range(D):
                    s += matrices[k, i, m] * axes[m, j]
                half[i, j] = s
        for i in range(D):
            for j in range(D):
                s = 0.0
                for m in range(D):
                    s += axes[m, i] * half[m, j]
                matrices[k, i, j] = s


@compiled()
def _fill_diagonals(matrices: FloatArray, least: FloatArray, spread: FloatArray) -> None:
    """Fill in the diagonals (K, D) of matrices (K, D, D), nothing below ``least`` (K,)."""
    for k in range(spread.shape[0]):
        for j in range(spread.shape[1]):
            spread[k, j] = max(matrices[k, j, j], least[k])


@compiled()
def _safe_angle(turned: FloatArray, variances: FloatArray, p: int, q: int) -> tuple[float, float]:
    """Return the angle that is best for the variances as they are, and what it gains.

    Turning axes p and q by an angle t changes the objective by ``A cos 2t + B sin 2t`` and a constant, which is smallest opposite (A, B).
    """
    cosine = sine = 0.0
    for k in range(len(turned)):
        contrast = 1 / variances[k, p] - 1 / variances[k, q]
        cosine += contrast * (turned[k, p, p] - turned[k, q, q]) / 2
        sine += contrast * turned[k, p, q]
    length = math.hypot(cosine, sine)
    if cosine < 0:
        gain = sine * sine / (length - cosine)  # without cancellation where the axes are nearly right
    else:
        gain = cosine + length
    return (math.atan2(-sine, -cosine) / 2 if gain > 0 else 0.0), gain


@compiled()
def _newton_angle(turned: FloatArray, variances: FloatArray, p: int, q: int, same_volume: bool) -> float:
    """Return the angle for which the variances follow the axes, as Newton's method gives it, or none where that is far away.

    The safe angle holds the variances and so goes too short a way. These are two derivatives of the objective as a function of the axes
    alone: ``sum_kj n_k log s_kj`` or, with equal volumes, ``N D log sum_k (prod_j s_kj)^(1/D)``.
    """
    D = turned.shape[1]
    slope = bend = first = second = shares = 0.0
    for k in range(len(turned)):
        a, b, d = turned[k, p, p], turned[k, p, q], turned[k, q, q]
        u, v = 1 / variances[k, p], 1 / variances[k, q]
        slope += 2 * b * (u - v)
        bend += 2 * (d - a) * (u - v) - 4 * b * b * (u / a + v / d)
        change = 2 * b * (1 / a - 1 / d)
        shares += u * a
        first += u * a * change
        second += u * a * change * change
    if same_volume:
        bend += (second - first * first / shares) / D
    angle = -slope / bend
    return angle if bend > 0 and abs(angle) < NEAR else 0.0


@compiled()
def _rotate(turned: FloatArray, axes: FloatArray, p: int, q: int, angle: float) -> None:
    """Turn axes p and q, and the matrices seen along them, by an angle."""
    never_inline()
    c, s = math.cos(angle), math.sin(angle)
    D = len(axes)
    for i in range(D):
        x, y = axes[i, p], axes[i, q]
        axes[i, p], axes[i, q] = c * x + s * y, c * y - s * x
    for k in range(len(turned)):
        for i in range(D):
            x, y = turned[k, i, p], turned[k, i, q]
            turned[k, i, p], turned[k, i, q] = c * x + s * y, c * y - s * x
        for i in range(D):
            x, y = turned[k, p, i], turned[k, q, i]
            turned[k, p, i], turned[k, q, i] = c * x + s * y, c * y - s * x
