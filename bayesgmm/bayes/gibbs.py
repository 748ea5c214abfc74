"""A Gibbs sampler under conjugate priors: without gradients or transforms, and so an independent witness of the other samplers.

Each sweep draws the rows' groups given the parameters, then weights, covariances and means given the groups (Diebolt and Robert 1994,
Journal of the Royal Statistical Society B 56, 363-375). The prior is that of :class:`bayesgmm.ConjugatePriors`: Dirichlet weights;
inverse Wishart covariances (inverse gamma variances for the diagonal families); means that are normal given them.

Rows that were rounded are first drawn as they may have been before: normal about what was recorded, given their group (data augmentation:
Tanner and Wong 1987, Journal of the American Statistical Association 82, 528-540). The parameters are then those of rows that no value
repeats in, and the rounding is added to every covariance at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesgmm.bayes.draws import Draws, SamplerSettings
from bayesgmm.covariance import Family, diagonals
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import evaluate
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedConjugatePriors
from bayesgmm.priors.log_prior import log_conjugate_prior
from bayesgmm.progress import steps
from bayesgmm.resolution import with_rounding, without_rounding
from bayesgmm.rows import Chunk
from bayesgmm.rows.missing import has_missing
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["sample_gibbs"]

Parameters = tuple[FloatArray, FloatArray, FloatArray]
"""Weights (K,), means (K, D) and Cholesky factors (K, D, D)."""


def sample_gibbs(
    X: FloatArray, family: Family, priors: ResolvedConjugatePriors, starts: MixtureParams, settings: SamplerSettings
) -> Draws:
    """Draw from the posterior under conjugate priors.

    Parameters
    ----------
    X : array of shape (N, D)
    family : Family
        "full", "tied", "diag" or "spherical".
    priors : ResolvedConjugatePriors
        In the coordinates of X.
    starts : MixtureParams
        One mixture for each chain, batch shape ``(chains,)``.
    settings : SamplerSettings

    Returns
    -------
    Draws
        With ``lp``, the log-likelihood plus the log-prior of :func:`bayesgmm.priors.log_prior.log_conjugate_prior`.

    Raises
    ------
    InvalidDataError
        If values are missing.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.covariance import family
    >>> X = bg.datasets.load_faithful().to_numpy()
    >>> em = bg.GaussianMixture(2, random_state=1).fit(X)
    >>> priors = bg.ConjugatePriors().resolve(X.mean(0), np.cov(X.T), 2)
    >>> settings = SamplerSettings(draws=200, tune=50, chains=1, cores=1, seed=0, progressbar=False, jitter=0.0)
    >>> sample_gibbs(X, family("full"), priors, em.params_.reshape(1), settings).params.weights.mean((0, 1)).round(1)
    array([0.6, 0.4])
    """
    if has_missing(X):
        raise InvalidDataError("sampler='gibbs' takes complete rows, and values are missing: leave sampler at 'hmc'")
    began = time.perf_counter()
    seeds = np.random.SeedSequence(settings.seed).spawn(settings.chains)
    chains = []
    with steps("Sampling", settings.chains * (settings.tune + settings.draws), shown=settings.progressbar) as tell:
        for c, seed in enumerate(seeds):
            sweep = _Sweep(X, family, priors, np.random.default_rng(seed))
            chains.append(_chain(sweep, starts[c], settings, tell))
    weights, means, scale_tril, log_likelihood = (np.stack(parts) for parts in zip(*chains, strict=True))
    before = MixtureParams(weights, means, scale_tril)
    lp = log_likelihood + log_conjugate_prior(before, priors, family)
    params = before if priors.rounding is None else with_rounding(before, priors.rounding)
    return Draws(params, {"lp": lp}, "gibbs", time.perf_counter() - began, settings.tune)


def _chain(
    sweep: _Sweep, start: MixtureParams, settings: SamplerSettings, tell: Callable[[], None]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return a chain's weights, means, factors and log-likelihoods, warm-up left out."""
    kept, heights = [], []
    if sweep.priors.rounding is not None:
        start = without_rounding(start, sweep.priors.rounding)
    groups, rows, _ = sweep.rows((start.weights, start.means, start.scale_tril))
    scale = sweep.priors.scale_given(start.scale_tril, sweep.family)
    for t in range(settings.tune + settings.draws):
        parameters = sweep.parameters(groups, rows, scale)
        scale = sweep.scale(parameters[2])
        groups, rows, log_likelihood = sweep.rows(parameters)
        if t >= settings.tune:
            kept.append(parameters)
            heights.append(log_likelihood)
        tell()
    weights, means, scale_tril = (np.stack(parts) for parts in zip(*kept, strict=True))
    return weights, means, scale_tril, np.array(heights)


@dataclass(frozen=True, eq=False)
class _Sweep:
    """Both halves of a sweep.

    Parameters
    ----------
    X : array of shape (N, D)
    family : Family
    priors : ResolvedConjugatePriors
    rng : Generator
    """

    X: FloatArray
    family: Family
    priors: ResolvedConjugatePriors
    rng: np.random.Generator

    def rows(self, parameters: Parameters) -> tuple[FloatArray, FloatArray, float]:
        """Draw each row's group, zeros and ones (N, K), and the rows (N, D) before rounding; and return the log-likelihood."""
        weights, means, scale_tril = parameters
        rounding = self.priors.rounding
        if rounding is not None:
            scale_tril = with_rounding(MixtureParams(weights, means, scale_tril), rounding).scale_tril
        with np.errstate(divide="ignore"):
            log_weights = np.log(weights)
        probability, log_density = evaluate(
            Chunk(self.X), log_weights, means, scale_tril, diagonal=self.family.diagonal, responsibilities=True
        )
        edges = np.cumsum(probability, axis=1)
        chosen = (self.rng.uniform(size=(len(self.X), 1)) * edges[:, -1:] >= edges).sum(1)
        chosen = np.minimum(chosen, len(weights) - 1)
        rows = self.X if rounding is None else self._before_rounding(chosen, means, scale_tril, rounding)
        return np.eye(len(weights))[chosen], rows, float(log_density.sum())

    def _before_rounding(self, chosen: IntArray, means: FloatArray, scale_tril: FloatArray, rounding: FloatArray) -> FloatArray:
        """Draw rows as they may have been: normal given what was recorded, their group, and its covariance with the rounding."""
        rows, noise = np.empty_like(self.X), self.rng.standard_normal(self.X.shape)
        for k in np.unique(chosen):
            here = chosen == k
            share = np.linalg.solve(scale_tril[k] @ scale_tril[k].T, rounding)
            values, vectors = np.linalg.eigh(rounding - rounding @ share)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
            rows[here] = self.X[here] - (self.X[here] - means[k]) @ share + noise[here] @ root.T
        return rows

    def scale(self, scale_tril: FloatArray) -> FloatArray:
        """Draw the scale (D, D) of the covariances given their Cholesky factors (K, D, D), if it is learned."""
        p, D = self.priors, scale_tril.shape[-1]
        if p.scale_df is None:
            return p.scale
        df, inverse = p.learned(scale_tril, self.family)
        if not self.family.diagonal:
            root = np.linalg.solve(np.linalg.cholesky(inverse).T, self._bartlett(np.array([df]), D)[0])
            return root @ root.T
        if not self.family.has_scales_by_column:
            return self.rng.chisquare(df) / inverse[0, 0] * np.eye(D)
        return np.diag(self.rng.chisquare(df, size=D) / np.diag(inverse))

    def parameters(self, groups: FloatArray, rows: FloatArray, scale: FloatArray) -> Parameters:
        """Draw weights, covariances and means given the rows' groups (N, K), the rows (N, D) and the covariances' scale (D, D)."""
        p = self.priors
        n = groups.sum(0)
        weights = self.rng.dirichlet(p.concentration + n)
        own = groups.T @ rows / np.maximum(n, 1.0)[:, None]
        centred = rows[None] - own[:, None]
        scatter = np.swapaxes(groups.T[..., None] * centred, 1, 2) @ centred
        off = own - p.means_loc
        scatter += (p.shrinkage * n / (p.shrinkage + n))[:, None, None] * off[:, :, None] * off[:, None, :]
        factors = self._factors(n, scatter, scale)
        center = p.means_loc + (n / (p.shrinkage + n))[:, None] * off
        noise = factors @ self.rng.standard_normal((*own.shape, 1))
        return weights, center + noise[..., 0] / np.sqrt(p.shrinkage + n)[:, None], factors

    def _factors(self, n: FloatArray, scatter: FloatArray, scale: FloatArray) -> FloatArray:
        """Draw the covariances' Cholesky factors (K, D, D), given counts and scatter with the means' share of it."""
        p, (K, D) = self.priors, scatter.shape[:2]
        if not self.family.has_scales_by_column:
            rate = np.trace(scale) / D + np.trace(scatter, axis1=1, axis2=2)
            return np.sqrt(rate / self.rng.chisquare(p.df + D * n))[:, None, None] * np.eye(D)
        if self.family.diagonal:
            rate = np.diag(scale) + diagonals(scatter)
            return np.sqrt(rate / self.rng.chisquare(p.df + n[:, None], size=(K, D)))[:, None] * np.eye(D)
        if not self.family.has_own_scales:
            one = self._wishart(np.array([p.df + n.sum()]), (scale + scatter.sum(0))[None])
            return np.broadcast_to(one, scatter.shape)
        return self._wishart(p.df + n, scale + scatter)

    def _wishart(self, df: FloatArray, scale: FloatArray) -> FloatArray:
        """Draw Cholesky factors of inverse Wishart matrices with degrees of freedom (B,) and scales (B, D, D).

        Bartlett's decomposition: with ``scale = P P'`` and A lower triangular, chi-distributed on the diagonal and normal below it,
        ``P (A A')^-1 P'`` has the distribution.
        """
        A = self._bartlett(df, scale.shape[-1])
        root = np.linalg.cholesky(scale) @ np.swapaxes(np.linalg.inv(A), -1, -2)
        return np.linalg.cholesky(root @ np.swapaxes(root, -1, -2))

    def _bartlett(self, df: FloatArray, D: int) -> FloatArray:
        """Draw lower triangular roots (B, D, D) of Wishart matrices with the identity as their scale."""
        A = np.tril(self.rng.standard_normal((len(df), D, D)), -1)
        A[:, np.arange(D), np.arange(D)] = np.sqrt(self.rng.chisquare(df[:, None] - np.arange(D)))
        return A
