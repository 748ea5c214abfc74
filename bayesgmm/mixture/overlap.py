"""How often one component of a mixture is taken for another.

That is the distribution function of ``sum_l (lambda_l y_l^2 + a_l y_l)`` for independent standard normal y_l.
Its moment generating function ``exp K(s)``, with ``K(s) = sum_l (-log(1 - 2 lambda_l s) + a_l^2 s^2 / (1 - 2 lambda_l s)) / 2``, is
inverted by an integral over a path in the complex plane. The usual path is the imaginary axis (Imhof 1961, Biometrika 48, 419-426;
Davies 1980, Applied Statistics 29, 323-333); there the integrand may decay like a power and oscillate. Its only singularities are on the
real axis, so the path may leave the real axis anywhere between them and lean to the side where the integrand dies out. It leaves at
the saddle point, which keeps the digits of small probabilities (Rice 1980, SIAM Journal on Scientific and Statistical Computing 1,
438-448), and runs straight; on a logarithmic scale the integrand is then smooth and the trapezoidal rule converges exponentially.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesgmm.mixture import Mixture
from bayesgmm.typing import FloatArray

__all__ = ["overlap", "probability_below"]

_BLOCK = 128  # problems at a time, for the sake of memory
# From the vertical: at 0 degrees exp(i s) oscillates faster than any grid on a logarithmic scale, at 45 exp(s^2) stops decaying.
_LEANS = np.deg2rad([-30.0, -22.5, -15.0, 15.0, 22.5, 30.0])
_LOG_RADII = np.arange(-30.0, 46.0, 0.06)
_COARSE = slice(None, None, 10)
_DEAD = 50.0  # below the integrand's peak, in logarithms: nothing that comes later counts
_STRIP = 0.98  # of the way to the nearest singularity
_FLAT = 1e-10  # a spread below which the variable counts as a constant


def overlap(params: Mixture) -> FloatArray:
    """Return how often a draw from one component would be taken for another, in a contest of the two alone.

    Entry [i, j] is ``P(w_i N(x | m_i, S_i) < w_j N(x | m_j, S_j))`` for x from component i (Maitra and Melnykov 2010, Journal of
    Computational and Graphical Statistics 19, 354-376, section 2): the probability that a quadratic form of normal variables falls
    below a constant. It is found by integrating the form's moment generating function in the complex plane, to eight digits or better
    and without random numbers. The sum of entries [i, j] and [j, i] is those authors' measure of how much two components overlap.

    Returns
    -------
    array of shape (..., K, K)
        Rows are the truth, columns what it is taken for. Ones on the diagonal, as the authors have it. Two equal components with equal
        weights cannot be told apart and count half; a component of weight zero is never preferred.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [2.0]], [[[1.0]], [[1.0]]])
    >>> params.overlap().round(4)
    array([[1.    , 0.1587],
           [0.1587, 1.    ]])
    """
    ratio, shift, log_det = _pairs(params)
    # With x = m_i + L_i z, the squared distances to j and i differ by |M z + d|^2 - |z|^2. The singular values of M split this into one
    # variable at a time.
    left, scale, _ = np.linalg.svd(ratio)
    shift = (np.swapaxes(left, -1, -2) @ shift[..., None])[..., 0]
    log_weights = params.log_weights
    with np.errstate(invalid="ignore"):
        odds = log_weights[..., None, :] - log_weights[..., :, None]
    bound = 2.0 * (odds - log_det) - (shift**2).sum(-1)
    usual = ~np.eye(params.n_components, dtype=bool) & np.isfinite(bound)
    out = np.where(odds > 0, 1.0, 0.0) + np.eye(params.n_components)
    # s^2 - 1 = (s - 1)(s + 1) keeps its digits when s is close to one.
    square = (scale - 1.0) * (scale + 1.0)
    out[usual] = probability_below(bound[usual], square[usual], 2.0 * (scale * shift)[usual])
    return np.minimum(out, 1.0)


def _pairs(params: Mixture) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return ``L_j^-1 L_i`` (..., K, K, D, D), ``L_j^-1 (m_i - m_j)`` (..., K, K, D) and ``log|L_j| - log|L_i|`` (..., K, K)."""
    shape = (*params.batch_shape, params.n_components, *params.scale_tril.shape[-3:])
    of_i = np.broadcast_to(params.scale_tril[..., :, None, :, :], shape)
    of_j = np.broadcast_to(params.scale_tril[..., None, :, :, :], shape)
    apart = params.means[..., :, None, :] - params.means[..., None, :, :]
    both = np.linalg.solve(of_j, np.concatenate([of_i, apart[..., None]], axis=-1))
    log_det = np.log(np.diagonal(params.scale_tril, axis1=-2, axis2=-1)).sum(-1)
    return both[..., :-1], both[..., -1], log_det[..., None, :] - log_det[..., :, None]


def probability_below(bound: FloatArray, square: FloatArray, linear: FloatArray) -> FloatArray:
    """Return ``P(sum_l (square_l y_l^2 + linear_l y_l) < bound)`` for n problems of D variables each.

    Parameters
    ----------
    bound : array of shape (n,)
    square, linear : arrays of shape (n, D)

    Returns
    -------
    array of shape (n,)
        To an error of 1e-8 at most, 1e-11 as a rule; one half where both sides are the same constant.
    """
    # Normal variables: a variable without spread is a constant, its sum with nothing random either below the bound or not.
    spread = np.sqrt((2.0 * square**2 + linear**2).sum(-1))
    out = 0.5 * (1.0 + np.sign(np.where(np.abs(bound) > _FLAT, bound, 0.0)))
    for rows in np.array_split(np.flatnonzero(spread > _FLAT), max(1, len(bound) // _BLOCK)):
        if len(rows):
            unit = spread[rows, None]
            out[rows] = _invert(bound[rows] / unit[:, 0], square[rows] / unit, linear[rows] / unit)
    return out


def _invert(bound: FloatArray, square: FloatArray, linear: FloatArray) -> FloatArray:
    """Integrate along the best of a few straight paths, for variables of standard deviation one."""
    start = _saddle(bound, square, linear)
    radii = np.exp(_LOG_RADII[_COARSE])
    angles = np.pi / 2 + _LEANS
    mass = [np.exp(_log_integrand(start, angle, radii, bound, square, linear).real).sum(-1) for angle in angles]
    angle = angles[np.argmin(mass, axis=0)]
    values = np.exp(_log_integrand(start, angle, np.exp(_LOG_RADII), bound, square, linear))
    tail = values.imag.sum(-1) * (_LOG_RADII[1] - _LOG_RADII[0]) / np.pi
    # Left of the pole at zero the integral is minus the probability below, right of it the probability above.
    return np.clip(np.where(start < 0, -tail, 1.0 - tail), 0.0, 1.0)


def _log_integrand(
    start: FloatArray, angle: FloatArray | float, radii: FloatArray, bound: FloatArray, square: FloatArray, linear: FloatArray
) -> NDArray[np.complex128]:
    """Return the log of ``exp(K(s) - s bound) / s ds/du`` at ``s = start + e^u e^(i angle)``, (n, number of radii)."""
    turn = np.reshape(np.exp(1j * angle), (-1, 1)) * radii
    s = start[:, None] + turn
    out = np.log(turn) - np.log(s) - s * bound[:, None]
    for lam, a in zip(square.T[..., None], linear.T[..., None], strict=True):
        rest = 1.0 - 2.0 * lam * s
        out += 0.5 * ((a * s) * (a * (s / rest)) - np.log(rest))
    # A term of small lambda decays like exp(s^2) before it becomes linear: then the integral is over, whichever way the rest would go.
    peak = np.maximum.accumulate(out.real, axis=-1)
    dead = np.logical_or.accumulate(out.real < peak - _DEAD, axis=-1)
    # On a path that leans to the wrong side the exponent may leave what exp can take; it is not chosen.
    return np.where(dead, -800.0, np.minimum(out.real, 700.0) + 1j * out.imag)


def _saddle(bound: FloatArray, square: FloatArray, linear: FloatArray) -> FloatArray:
    """Return where ``K'(s) = bound`` on the real axis between the singularities, kept off the pole at zero."""
    least, greatest = np.minimum(square.min(-1), -1e-3), np.maximum(square.max(-1), 1e-3)
    low, high = _STRIP / (2.0 * least), _STRIP / (2.0 * greatest)
    for _ in range(60):
        middle = 0.5 * (low + high)
        rest = 1.0 - 2.0 * square * middle[:, None]
        slope = (square / rest + linear**2 * middle[:, None] * (1.0 - square * middle[:, None]) / rest**2).sum(-1)
        low, high = np.where(slope < bound, middle, low), np.where(slope < bound, high, middle)
    saddle = 0.5 * (low + high)
    return np.where(np.abs(saddle) < 0.01, np.where(saddle < 0, -0.01, 0.01), saddle)
