"""Axes that all components share, compiled: the M-steps of the families VEE, EVE and VVE.

For EVE and VVE no formula gives the axes. They are turned in one plane after the other, as in the principal components that groups have in
common (Flury and Gautschi 1986, SIAM Journal on Scientific and Statistical Computing 7, 169-184); Browne and McNicholas (2014), Advances
in Data Analysis and Classification 8, 217-226, have the same objective. Every step raises the likelihood or leaves it.
"""

import math

import numpy as np

from bayesgmm.covariance._m_steps import (
    ARGUMENTS,
    MOST_ROUNDS,
    RESULT,
    compose,
    equal_volumes,
    fill_shape,
    fill_volumes,
    least_spreads,
    meets,
    products,
    summed,
)
from bayesgmm.kernels.compile import Pointer, compiled, never_inline
from bayesgmm.kernels.linalg import sorted_eigen

MOST_SWEEPS = 200
STILL = 1e-22  # what a sweep of rotations may still gain, per row and feature, when it was the last: angles are known to 1e-11
UNSEEN = 1e-13  # share of the objective by which it may change from rounding alone
NEAR = 0.3  # radians: farther away, a parabola says little about the objective
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@compiled()
def common_form(scatter, counts, previous, rounds, variant, smallest, out):
    """VEE, one matrix up to its volume; see :mod:`bayesgmm.covariance._m_steps` for what the arguments are."""
    K, least = len(scatter), least_spreads(scatter, counts, smallest)
    form = previous[0] if rounds > 0 else _pooled(scatter, np.ones(K))
    most = rounds if rounds > 0 else MOST_ROUNDS
    variances, axes = _equal_forms(scatter, counts, form, least, 0.0, 0.0, most)
    if smallest > 0.0 and meets(variances, smallest):
        variances, axes = _equal_forms(scatter, counts, form, least, smallest, 1.0, most)
    for k in range(K):
        compose(axes, variances[k], smallest, out[k])
    return meets(variances, smallest)


@compiled()
def common_axes(scatter, counts, previous, rounds, variant, smallest, out):
    """EVE, which shares the volume too (variant 1), and VVE, which shares no more than the axes (0).

    Without ``previous`` the search starts from the best among the axes of each component and of all.
    """
    K, D, _ = scatter.shape
    least, axes = least_spreads(scatter, counts, smallest), np.empty((D, D))
    same_volume = variant == 1
    if rounds > 0:
        _shared_axes(previous, axes)
    else:
        _first_axes(scatter, counts, same_volume, smallest, least, axes)
    variances = _turn_axes(scatter, axes, counts, same_volume, smallest, least, rounds if rounds > 0 else MOST_SWEEPS)
    if rounds == 0 and smallest > 0.0 and meets(variances, smallest):
        variances = _from_free_axes(scatter, axes, variances, counts, same_volume, smallest, least)
    for k in range(K):
        compose(axes, variances[k], smallest, out[k])
    return meets(variances, smallest)


@compiled()
def _from_free_axes(scatter, axes, variances, counts, same_volume, smallest, least):
    """Search once more from the axes that are best without the bound; fill the better axes (D, D) and return their variances (K, D)."""
    never_inline()
    others, free = np.empty_like(axes), least_spreads(scatter, counts, 0.0)
    _first_axes(scatter, counts, same_volume, 0.0, free, others)
    _turn_axes(scatter, others, counts, same_volume, 0.0, free, MOST_SWEEPS)
    found = _turn_axes(scatter, others, counts, same_volume, smallest, least, MOST_SWEEPS)
    before = _value_along(scatter, axes, counts, same_volume, smallest, least)
    if _value_along(scatter, others, counts, same_volume, smallest, least) < before:
        axes[:] = others
        return found
    return variances


@compiled()
def _first_axes(scatter, counts, same_volume, smallest, least, axes):
    """Fill the best (D, D) among the axes of each component, of all together and of an uneven mixture."""
    never_inline()
    K, D, _ = scatter.shape
    _shared_axes(scatter, axes)
    best = _value_along(scatter, axes, counts, same_volume, smallest, least)
    values, others = np.empty(D), np.empty((D, D))
    for k in range(-1, K):
        sorted_eigen(scatter[k] if k >= 0 else _pooled(scatter, np.ones(K)), values, others)
        value = _value_along(scatter, others, counts, same_volume, smallest, least)
        if value < best:
            best = value
            axes[:] = others


@compiled()
def _shared_axes(matrices, axes):
    """Fill the axes (D, D), as columns, of matrices (K, D, D) that have them in common.

    Any mixture of the matrices has these axes. Uneven weights keep it from being round where the matrices are not.
    """
    form = np.zeros_like(axes)
    for k in range(len(matrices)):
        weight = (1.0 + ((k + 1) * _GOLDEN) % 1.0) / max(np.trace(matrices[k]), 1e-300)
        form += weight * matrices[k]
    sorted_eigen(form, np.empty(len(axes)), axes)


@compiled()
def _equal_forms(scatter, counts, form, least, least_volume, least_shape, rounds):
    """Return variances (K, D) and axes (D, D) of multiples of one matrix, from a first guess ``form`` (D, D) at it."""
    never_inline()
    K, D, _ = scatter.shape
    total, volumes, spread = summed(counts), np.zeros(K), np.zeros((K, D))
    values, axes = np.empty(D), np.empty((D, D))
    sorted_eigen(form, values, axes)
    shape = np.maximum(values / max(values[-1], 1e-300), 1e-30)
    shape /= shape[0]
    for _ in range(rounds):
        _fill_spread(scatter, axes, least, spread)
        if fill_volumes(spread, counts, shape, least_volume, volumes):
            break
        sorted_eigen(_pooled(scatter, volumes), values, axes)
        _fill_spread(scatter, axes, least, spread)
        for j in range(D):
            fill_shape(spread, volumes, total, least_shape, j, shape)
    return products(volumes, shape), axes


@compiled()
def _pooled(scatter, volumes):
    """Return the sum (D, D) of scatter matrices (K, D, D) divided by volumes (K,)."""
    pooled = np.zeros_like(scatter[0])
    for k in range(len(scatter)):
        pooled += scatter[k] / volumes[k]
    return pooled


@compiled()
def _fill_spread(scatter, axes, least, spread):
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
def _evaluate(spread, counts, same_volume, smallest):
    """Return the best variances (K, D) along axes, and what the M-step minimises, but for a constant."""
    never_inline()
    K, D = spread.shape
    value, variances = 0.0, equal_volumes(spread, counts, smallest) if same_volume else np.empty((K, D))
    for k in range(K):
        for j in range(D):
            if not same_volume:
                variances[k, j] = max(spread[k, j] / counts[k], smallest)
            value += counts[k] * math.log(variances[k, j]) + spread[k, j] / variances[k, j]
    return variances, value


@compiled()
def _value_along(scatter, axes, counts, same_volume, smallest, least):
    """Return what the M-step minimises, but for a constant, for given common axes (D, D)."""
    spread = np.empty((len(scatter), len(axes)))
    _fill_spread(scatter, axes, least, spread)
    return _evaluate(spread, counts, same_volume, smallest)[1]


@compiled()
def _turn_axes(scatter, axes, counts, same_volume, smallest, least, most):
    """Turn the axes (D, D), in place, to the best that the components can have in common; return the variances (K, D).

    Each plane of two axes is turned by the angle that is best for the variances as they are, which never raises the objective, or by
    Newton's, where that takes it lower still.
    """
    D = len(axes)
    turned, spread = scatter.copy(), np.empty((len(scatter), D))
    _turn(turned, axes)
    _fill_diagonals(turned, least, spread)
    variances, value = _evaluate(spread, counts, same_volume, smallest)
    for _ in range(most):
        promised = 0.0
        for p in range(D):
            for q in range(p + 1, D):
                angle, gain = _safe_angle(turned, variances, p, q)
                promised += gain
                faster = _newton_angle(turned, variances, p, q, same_volume) if abs(angle) < NEAR else angle
                _rotate(turned, axes, p, q, faster)
                _fill_diagonals(turned, least, spread)
                variances, new = _evaluate(spread, counts, same_volume, smallest)
                if faster != angle and gain > UNSEEN * abs(value) and not new <= value - gain:
                    _rotate(turned, axes, p, q, angle - faster)
                    _fill_diagonals(turned, least, spread)
                    variances, new = _evaluate(spread, counts, same_volume, smallest)
                value = new
        if promised <= STILL * summed(counts) * D:
            break
    return variances


@compiled()
def _turn(matrices, axes):
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
def _fill_diagonals(matrices, least, spread):
    """Fill in the diagonals (K, D) of matrices (K, D, D), nothing below ``least`` (K,)."""
    for k in range(spread.shape[0]):
        for j in range(spread.shape[1]):
            spread[k, j] = max(matrices[k, j, j], least[k])


@compiled()
def _safe_angle(turned, variances, p, q):
    """Return the angle that is best for the variances as they are, and what it gains.

    Turning axes p and q by an angle t changes the objective by ``A cos 2t + B sin 2t`` and a constant, which is smallest opposite (A, B).
    """
    cosine = sine = 0.0
    for k in range(len(turned)):
        contrast = 1 / variances[k, p] - 1 / variances[k, q]
        cosine += contrast * (turned[k, p, p] - turned[k, q, q]) / 2
        sine += contrast * turned[k, p, q]
    length = math.hypot(cosine, sine)
    # Without cancellation where the axes are nearly right.
    gain = sine * sine / (length - cosine) if cosine < 0 else cosine + length
    return (math.atan2(-sine, -cosine) / 2 if gain > 0 else 0.0), gain


@compiled()
def _newton_angle(turned, variances, p, q, same_volume):
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
def _rotate(turned, axes, p, q, angle):
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


COMMON_FORM, COMMON_AXES = Pointer(common_form, RESULT, ARGUMENTS), Pointer(common_axes, RESULT, ARGUMENTS)
