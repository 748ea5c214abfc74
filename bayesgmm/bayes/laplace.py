"""Laplace's approximation: the normal distribution that has the posterior's mode and curvature, corrected by importance weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from bayesgmm.bayes.draws import Draws, SamplerSettings
from bayesgmm.bayes.log_posterior import LogDensity
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.typing import FloatArray, IntArray

__all__ = [
    "Normal",
    "Weights",
    "climb",
    "find_mode",
    "hessian",
    "laplace",
    "log_densities",
    "log_mass",
    "normal_about",
    "pareto_smoothed",
    "resample",
    "sample_laplace",
]

_STEP = float(np.cbrt(np.finfo(float).eps))
_NEWTON_STEPS = 8
_STILL = 1e-9
_IMPOSSIBLE = 1e100  # stands for a density of zero: SciPy's line search turns back from it, and not from infinity
_LEAST_CURVATURE = 1e-3  # a standard deviation of 32 on the unconstrained space: there the prior ends, if not before


@dataclass(frozen=True, eq=False)
class Normal:
    """A normal distribution on the unconstrained space, with covariance ``factor factor'``.

    Parameters
    ----------
    center : array of shape (n,)
    factor : array of shape (n, n)
        Any square root of the covariance.
    """

    center: FloatArray
    factor: FloatArray

    def draw(self, n_draws: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Return draws (n_draws, n) and their log-densities (n_draws,)."""
        z = rng.standard_normal((n_draws, len(self.center)))
        constant = np.linalg.slogdet(self.factor)[1] + 0.5 * len(self.center) * np.log(2 * np.pi)
        return self.center + z @ self.factor.T, -0.5 * np.square(z).sum(1) - constant


@dataclass(frozen=True, eq=False)
class Weights:
    """Importance weights, smoothed.

    Parameters
    ----------
    weights : array of shape (S,)
        Adding up to one.
    pareto_k : float
        Shape of the tail of the raw weights: below 0.7 the weights can be relied on.
    """

    weights: FloatArray
    pareto_k: float

    @property
    def ess(self) -> float:
        """How many equally weighted draws are worth as much (Kish)."""
        return float(1.0 / np.square(self.weights).sum())


def pareto_smoothed(log_ratio: FloatArray) -> Weights:
    """Smooth the tail of importance ratios.

    Parameters
    ----------
    log_ratio : array of shape (S,)
        Log of target density over density of the draws, up to a constant; minus infinity where the target is zero.

    Returns
    -------
    Weights

    Raises
    ------
    InvalidDataError
        If fewer than ten ratios are finite.

    Notes
    -----
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), Journal of Machine Learning Research 25 (72).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal(2000)
    >>> narrower = pareto_smoothed(-(x**2) / (2 * 0.9**2) + x**2 / 2)
    >>> narrower.pareto_k < 0.5, round(float(narrower.weights @ x**2), 1)
    (True, 0.8)
    """
    # ArviZ's numbers without its plots, and only when they are asked for: with what it imports they take half a second.
    from arviz_stats.base import array_stats

    usable = np.isfinite(log_ratio)
    if usable.sum() < 10:
        raise InvalidDataError(
            f"only {usable.sum()} of {len(log_ratio)} draws of the approximation have a posterior density at all: "
            "it cannot be weighted; use sampler='hmc'"
        )
    # ArviZ's function is made for leave-one-out, and takes the negative of the log ratios.
    log_weights, k = array_stats.psislw(-log_ratio[usable])
    weights = np.zeros(len(log_ratio))
    weights[usable] = np.exp(log_weights - np.max(log_weights))
    return Weights(weights / weights.sum(), float(k))


def resample(weights: FloatArray, size: int, rng: np.random.Generator) -> IntArray:
    """Return ``size`` indices in the proportions of the weights, in random order.

    Systematic resampling: one uniform number for all, so that each index comes ``size * weight`` times, rounded up or down, and the
    weights add hardly any noise of their own (Kitagawa 1996, Journal of Computational and Graphical Statistics 5, 1-25).

    Examples
    --------
    >>> sorted(resample(np.array([0.5, 0.0, 0.25, 0.25]), 4, np.random.default_rng(0)).tolist())
    [0, 0, 2, 3]
    """
    steps = (np.arange(size) + rng.uniform()) / size
    edges = np.cumsum(weights)
    return rng.permutation(np.searchsorted(edges / edges[-1], steps, side="right"))


def sample_laplace(density: LogDensity, starts: FloatArray, settings: SamplerSettings) -> Draws:
    """Draw from Laplace's approximation of the posterior, weighted to the posterior itself.

    Parameters
    ----------
    density : LogDensity
    starts : array of shape (chains, n_dim)
        The highest of the modes climbed to from here is taken. Other modes, and the mode's copies under other labels, are left out.
    settings : SamplerSettings

    Returns
    -------
    Draws
        Batch shape ``(1, chains * draws)``: the draws are independent, and several chains of them would only look like chains.
        ``details`` has ``pareto_k``, the check of the approximation (Yao, Vehtari, Simpson and Gelman 2018, ICML), and
        ``importance_ess``.
    """
    began = time.perf_counter()
    normal = laplace(density, starts)
    rng, size = np.random.default_rng(settings.seed), settings.draws * settings.chains
    q, log_q = normal.draw(size, rng)
    lp = log_densities(density, q)
    weights = pareto_smoothed(lp - log_q)
    chosen = resample(weights.weights, size, rng)
    details = {"pareto_k": weights.pareto_k, "importance_ess": weights.ess, "resampled": "psis"}
    params = density.space.constrain(q[chosen][None])
    return Draws(params, {"lp": lp[chosen][None]}, "laplace", time.perf_counter() - began, 0, details)


def laplace(density: LogDensity, starts: FloatArray) -> Normal:
    """Return the normal distribution with the log-posterior's mode and, there, its curvature.

    Parameters
    ----------
    density : LogDensity
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
    >>> from bayesgmm.bayes.log_posterior import LogPosterior
    >>> from bayesgmm.bayes.unconstrained_space import Space
    >>> from bayesgmm.covariance import family
    >>> from bayesgmm.priors import Priors
    >>> X = np.random.default_rng(0).normal(size=(200, 1))
    >>> kind = family("full")
    >>> density = LogPosterior(X, Space(Priors().resolve(MemoryRows(X), 1, kind), kind))
    >>> normal = laplace(density, np.zeros((1, 2)))
    >>> bool(abs(normal.factor[0, 0] - X.std() / 200**0.5) < 1e-3)  # a mean's standard error
    True
    """
    modes = [find_mode(density, start) for start in np.unique(starts, axis=0)]
    heights = np.array([density(mode)[0] for mode in modes])
    if not np.isfinite(heights).any():
        raise InvalidDataError("the posterior's mode was not found from EM's solution; use sampler='hmc'")
    return normal_about(density, modes[int(np.nanargmax(heights))])


def climb(density: Callable[[FloatArray], tuple[float, FloatArray]], start: FloatArray, most_steps: int = 2000) -> FloatArray:
    """Return the end (n_dim,) of a quasi-Newton climb of a log-density, given with its gradient, from a start (n_dim,): L-BFGS."""

    def descend(q: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = density(q)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return _IMPOSSIBLE, np.zeros(len(q))
        return -value, -gradient

    options = {"maxiter": most_steps, "gtol": 1e-7, "ftol": 1e-14}
    found: FloatArray = minimize(descend, start, jac=True, method="L-BFGS-B", options=options).x
    return found


def normal_about(density: LogDensity, mode: FloatArray) -> Normal:
    """Return the normal distribution with a mode (n_dim,) of the log-posterior and its curvature there."""
    # The inverse's square root from the curvature's: C = L L', so C^-1 = L^-T L^-1.
    lower = np.linalg.cholesky(_positive(-hessian(density, mode)))
    return Normal(mode, np.ascontiguousarray(solve_triangular(lower, np.eye(len(mode)), lower=True).T))


def log_mass(density: LogDensity, normal: Normal) -> float:
    """Return the log of the posterior mass about a normal's center, up to the posterior's constant, by Laplace's approximation."""
    n = len(normal.center)
    return float(density(normal.center)[0] + np.linalg.slogdet(normal.factor)[1] + 0.5 * n * np.log(2 * np.pi))


def find_mode(density: LogDensity, start: FloatArray) -> FloatArray:
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


def hessian(density: LogDensity, q: FloatArray) -> FloatArray:
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
        raise InvalidDataError("the posterior has no finite curvature at its mode; use sampler='hmc'")
    values, vectors = np.linalg.eigh(curvature)
    if values[0] >= _LEAST_CURVATURE:
        return curvature
    return (vectors * np.maximum(np.abs(values), _LEAST_CURVATURE)) @ vectors.T


def log_densities(density: LogDensity, q: FloatArray) -> FloatArray:
    """Return the log-posterior at each row of q (S, n); minus infinity where it cannot be computed."""
    with np.errstate(all="ignore"):
        values = density.at_each(q)[0]
    return np.where(np.isfinite(values), values, -np.inf)
