"""Draws from a normal distribution close to the posterior, weighted so that they are draws of the posterior itself."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.draws import Draws, SamplerSettings
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Normal", "Weights", "pareto_smoothed", "resample", "sample_weighted"]


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
            "it cannot be weighted; use sampler='auto'"
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


def sample_weighted(density: LogPosterior, normal: Normal, settings: SamplerSettings, *, sampler: str, began: float) -> Draws:
    """Draw from a normal approximation, weigh by the posterior and draw again by the weights.

    Parameters
    ----------
    density : LogPosterior
    normal : Normal
    settings : SamplerSettings
        ``chains * draws`` draws are made.
    sampler : str
        Name of the approximation.
    began : float
        When it was begun, by ``time.perf_counter()``.

    Returns
    -------
    Draws
        Batch shape ``(1, chains * draws)``: the draws are independent, and several chains of them would only look like chains.
        ``details`` has ``pareto_k`` and ``importance_ess``.
    """
    rng = np.random.default_rng(settings.seed)
    size = settings.draws * settings.chains
    q, log_q = normal.draw(size, rng)
    lp = log_densities(density, q)
    weights = pareto_smoothed(lp - log_q)
    chosen = resample(weights.weights, size, rng)
    details = {"pareto_k": weights.pareto_k, "importance_ess": weights.ess, "resampled": "psis"}
    params = density.space.constrain(q[chosen][None])
    return Draws(params, {"lp": lp[chosen][None]}, sampler, time.perf_counter() - began, 0, details)


def log_densities(density: LogPosterior, q: FloatArray) -> FloatArray:
    """Return the log-posterior at each row of q (S, n); minus infinity where it cannot be computed."""
    with np.errstate(all="ignore"):
        values = density.at_each(q)[0]
    return np.where(np.isfinite(values), values, -np.inf)
