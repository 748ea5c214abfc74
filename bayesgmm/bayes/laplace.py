"""Laplace's approximation: the normal distribution that has the posterior's mode and curvature, corrected by importance weights."""

from __future__ import annotations

import time

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.draws import Draws, SamplerSettings
from bayesgmm.bayes.importance import Normal, sample_weighted
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.typing import FloatArray

__all__ = ["climb", "find_mode", "hessian", "laplace", "log_mass", "sample_laplace"]

_STEP = float(np.cbrt(np.finfo(float).eps))
_NEWTON_STEPS = 8
_STILL = 1e-9
_IMPOSSIBLE = 1e100  # stands for a density of zero: SciPy's line search turns back from it, and not from infinity
_LEAST_CURVATURE = 1e-3  # a standard deviation of 32 on the unconstrained space: there the prior ends, if not before


def sample_laplace(density: LogPosterior, starts: FloatArray, settings: SamplerSettings) -> Draws:
    """Draw from Laplace's approximation of the posterior, weighted to the posterior itself.

    Parameters
    ----------
    density : LogPosterior
    starts : array of shape (chains, n_dim)
        The highest of the modes climbed to from here is taken. Other modes, and the mode's copies under other labels, are left out.
    settings : SamplerSettings

    Returns
    -------
    Draws
        Independent draws; ``details`` has ``pareto_k``, the check of the approximation (Yao, Vehtari, Simpson and Gelman 2018, ICML).
    """
    began = time.perf_counter()
    return sample_weighted(density, laplace(density, starts), settings, sampler="laplace", began=began)


def laplace(density: LogPosterior, starts: FloatArray) -> Normal:
    """Return the normal distribution with the log-posterior's mode and, there, its curvature.

    Parameters
    ----------
    density : LogPosterior
    starts : array of shape (n_starts, n_dim)

    Raises
    ------
    InvalidDataError
        If no start leads to a mode.

    Notes
    -----
    Tierney and Kadane (1986), Journal of the American Statistical Association 81, 82-86. The curvature comes from central
    differences of the analytic gradient.

    Examples
    --------
    >>> from bayesgmm.rows import MemoryRows
    >>> from bayesgmm.bayes.space import Space
    >>> from bayesgmm.covariance import family
    >>> from bayesgmm.priors import Priors
    >>> X = np.random.default_rng(0).normal(size=(200, 1))
    >>> kind = family("full")
    >>> density = LogPosterior(X, Space(1, 1, kind), Priors().resolve(MemoryRows(X), 1, kind))
    >>> normal = laplace(density, np.zeros((1, 2)))
    >>> bool(abs(normal.factor[0, 0] - X.std() / 200**0.5) < 1e-3)  # a mean's standard error
    True
    """
    modes = [find_mode(density, start) for start in np.unique(starts, axis=0)]
    heights = np.array([density(mode)[0] for mode in modes])
    if not np.isfinite(heights).any():
        raise InvalidDataError("the posterior's mode was not found from EM's solution; use sampler='auto'")
    mode = modes[int(np.nanargmax(heights))]
    # The inverse's square root from the curvature's: C = L L', so C^-1 = L^-T L^-1.
    lower = np.linalg.cholesky(_positive(-hessian(density, mode)))
    return Normal(mode, np.ascontiguousarray(solve_triangular(lower, np.eye(len(mode)), lower=True).T))


def climb(density: LogPosterior, start: FloatArray) -> FloatArray:
    """Return the end (n_dim,) of a quasi-Newton climb of the log-posterior from a start (n_dim,): L-BFGS."""

    def descend(q: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = density(q)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return _IMPOSSIBLE, np.zeros(len(q))
        return -value, -gradient

    options = {"maxiter": 2000, "gtol": 1e-7, "ftol": 1e-14}
    found: FloatArray = minimize(descend, start, jac=True, method="L-BFGS-B", options=options).x
    return found


def log_mass(density: LogPosterior, mode: FloatArray) -> float:
    """Return the log of the posterior mass about a mode (n_dim,), up to the posterior's constant, by Laplace's approximation."""
    value, curvature = density(mode)[0], _positive(-hessian(density, mode))
    return float(value - 0.5 * np.linalg.slogdet(curvature)[1] + 0.5 * len(mode) * np.log(2 * np.pi))


def find_mode(density: LogPosterior, start: FloatArray) -> FloatArray:
    """Climb the log-posterior from a start (n_dim,): L-BFGS first, then Newton's steps.

    Returns
    -------
    array of shape (n_dim,)
    """
    q = climb(density, start)
    value, gradient = density(q)
    for _ in range(_NEWTON_STEPS):
        step = np.linalg.solve(_positive(-hessian(density, q)), gradient)
        new_value, new_gradient = density(q + step)
        if not new_value >= value:
            break
        q, value, gradient = q + step, new_value, new_gradient
        if np.abs(step).max() < _STILL:
            break
    return q


def hessian(density: LogPosterior, q: FloatArray) -> FloatArray:
    """Return the second derivatives (n_dim, n_dim) of the log-posterior at q, by central differences of its gradient."""
    steps = np.diag(_STEP * np.maximum(1.0, np.abs(q)))
    up, down = q + steps, q - steps
    gradients = density.at_each(np.concatenate([up, down]))[1]
    # The difference of what was added and taken away, as rounding left it.
    out = (gradients[: len(q)] - gradients[len(q) :]) / (np.diag(up) - np.diag(down))[:, None]
    return 0.5 * (out + out.T)


def _positive(curvature: FloatArray) -> FloatArray:
    """Return the matrix with every eigenvalue positive: at a mode they are, but for rounding, and on the way there Newton needs it."""
    if not np.isfinite(curvature).all():
        raise InvalidDataError("the posterior has no finite curvature at its mode; use sampler='auto'")
    values, vectors = np.linalg.eigh(curvature)
    if values[0] >= _LEAST_CURVATURE:
        return curvature
    return (vectors * np.maximum(np.abs(values), _LEAST_CURVATURE)) @ vectors.T
