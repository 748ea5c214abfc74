"""One iteration of EM on plain arrays, and what governs it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bayesgmm.covariance import A_FEW, Family
from bayesgmm.em._compiled_run import EMPTY
from bayesgmm.em.noise import START, Arrays, Noise
from bayesgmm.em.penalties import Components, Moments, Penalty
from bayesgmm.expectation import Statistics
from bayesgmm.fixed import Fixed
from bayesgmm.frame import factor_of
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray


class Collapse(ArithmeticError):
    """A covariance estimate has no Cholesky factor: a component has lost its spread, and nothing keeps it from doing so."""


class Mixture(NamedTuple):
    """Parameters inside the iteration: plain arrays, not checked at every step.

    Log weights (K,), means (K, D) and Cholesky factors (K, D, D); where there is noise, its log weight comes last of (K + 1,).
    """

    log_weights: FloatArray
    means: FloatArray
    scale_tril: FloatArray

    @classmethod
    def of(cls, params: MixtureParams) -> Mixture:
        """Return a mixture as EM has it."""
        return cls(*params.arrays())

    @property
    def params(self) -> MixtureParams:
        """The same as a value."""
        return MixtureParams(self.weights, self.means, self.scale_tril)

    @property
    def weights(self) -> FloatArray:
        """Weights (K,) as shares of what is not noise."""
        weights = np.exp(self.log_weights[: len(self.means)])
        return weights / weights.sum()

    @property
    def covariances(self) -> FloatArray:
        """Covariance matrices (K, D, D)."""
        return self.scale_tril @ np.swapaxes(self.scale_tril, -1, -2)


@dataclass(frozen=True, eq=False)
class Settings:
    """What governs one run of EM.

    Parameters
    ----------
    family : Family
    tol : float
        Log-likelihood per row. A plain run stops when one iteration gains less; an accelerated one when all that is left to gain, by
        Aitken's extrapolation, is less.
    max_iter : int
    smallest : array of shape (D,)
        Smallest standard deviation of each column. Components with less are degenerate, and M-steps take place in these units.
    digits : float
        Smallest standard deviation that families with one scale for all columns are allowed: what doubles can tell apart in the widest.
    reg_covar : float, optional
        Added to every variance, in squared units of the data, as scikit-learn does. By default nothing is, and no covariance may have a
        standard deviation below one such unit in any direction.
    accelerate : bool
        Whether to extrapolate (SQUAREM) where EM is slow.
    penalty : Penalty, optional
        A prior: EM then climbs log-likelihood plus log-prior.
    equal_weights : bool
        Whether all components have the same weight.
    noise : Noise, optional
        Takes rows that belong to no component.
    in_one_call : bool
        Whether runs on few complete rows are made by one compiled call. It is quick, and takes seconds to compile once on a machine.
    fixed : Fixed, optional
        Parameters that are given and kept.
    """

    family: Family
    tol: float
    max_iter: int
    smallest: FloatArray
    reg_covar: float | None = None
    accelerate: bool = False
    penalty: Penalty | None = None
    equal_weights: bool = False
    noise: Noise | None = None
    in_one_call: bool = True
    digits: float = 0.0
    fixed: Fixed | None = None

    @cached_property
    def units(self) -> FloatArray:
        """Units (D,) in which the floor is one in every direction: of each column, or one for all in families with one scale for all."""
        if self.family.invariance != "scale":
            return self.smallest
        return np.full_like(self.smallest, max(self.smallest.min(), self.digits))

    @cached_property
    def _squared_units(self) -> FloatArray:
        return np.outer(self.units, self.units)

    def inside(self, covariances: FloatArray) -> FloatArray:
        """Return covariances (..., D, D) in these units."""
        return covariances / self._squared_units

    def outside(self, covariances: FloatArray) -> FloatArray:
        """Return covariances (..., D, D) in the units of the data."""
        return covariances * self._squared_units

    @property
    def ridge(self) -> float:
        """What is added to every variance."""
        return float(self.reg_covar or 0.0)

    @property
    def floor(self) -> float:
        """Smallest eigenvalue that a covariance may have in these units; zero for no floor."""
        return float(self.reg_covar is None)

    @property
    def is_plain(self) -> bool:
        """Whether a compiled run knows all that these settings ask for, and may be used."""
        plain = self.penalty is None and self.noise is None and self.fixed is None
        return self.in_one_call and plain and not self.equal_weights

    @property
    def extrapolates(self) -> bool:
        """Whether a family's covariances stay in it when their Cholesky factors (diagonals as logs) are extrapolated."""
        if self.fixed is not None and self.fixed.has_weight.any():  # the others alone add up to what these leave
            return False
        return self.family.diagonal or self.family.separable

    def bounded(self, covariances: FloatArray) -> FloatArray:
        """Return the covariances with eigenvalues below the floor raised to it; the same array if there are none."""
        if self.floor == 0:
            return covariances
        inside = self.inside(covariances)
        raised = self.family.floor(inside, self.floor)
        return covariances if raised is inside else self.outside(raised)

    def started(self, mixture: Mixture) -> Mixture:
        """Return a starting mixture as the model has it: with equal weights, or with some weight for the noise, where that is asked for."""
        if self.equal_weights:
            K, logs = len(mixture.means), mixture.log_weights.copy()
            logs[:K] = np.logaddexp.reduce(logs[:K]) - np.log(K)
            mixture = mixture._replace(log_weights=logs)
        if self.noise is None or len(mixture.log_weights) > len(mixture.means):
            return mixture
        return mixture._replace(log_weights=np.append(mixture.log_weights + np.log1p(-START), np.log(START)))

    def arrays(self, mixture: Mixture) -> Arrays:
        """Return the mixture as the E-step takes it."""
        return mixture if self.noise is None else self.noise.beside(*mixture)

    def log_weights(self, counts: FloatArray, n_components: int) -> FloatArray:
        """Return the logs of the weights for expected counts (K,), or (K + 1,) with the noise's."""
        counts = counts.copy()
        own = slice(n_components)
        if self.equal_weights:
            counts[own] = counts[own].mean()
        elif self.penalty is not None:
            shares = self.penalty.weights(counts[own])  # of what is not noise
            counts[own] = counts[own].sum() * shares / shares.sum()
        logs = np.log(counts / counts.sum())
        return logs if self.fixed is None else self.fixed.log_weights(logs)

    def keeping(self, mixture: Mixture) -> Mixture:
        """Return a mixture to start from with what is fixed in its place."""
        fixed = self.fixed
        if fixed is None:
            return mixture
        order = fixed.places(mixture.means, mixture.scale_tril)
        means = np.where(fixed.has_mean[:, None], fixed.means, mixture.means[order])
        scale_tril = mixture.scale_tril[order].copy()
        for k in np.flatnonzero(fixed.has_covariance):
            scale_tril[k] = np.linalg.cholesky(fixed.covariances[k])
        return Mixture(fixed.log_weights(mixture.log_weights[order]), means, scale_tril)

    def log_prior(self, mixture: Mixture) -> float:
        """Return what EM climbs beside the log-likelihood: the log-density of the prior, if there is one."""
        if self.penalty is None:
            return 0.0
        return self.penalty.log_density(mixture.weights, mixture.means, mixture.scale_tril)

    def covariances(self, scatter: FloatArray, counts: FloatArray, previous: Mixture | None, rounds: int = A_FEW) -> FloatArray:
        """Return the covariances (K, D, D) that maximise the expected log-likelihood in the family, above the floor."""
        # A ridge inside the scatters is scikit-learn's for its four families, and keeps the others in their family.
        scatter = scatter + self.ridge * counts[:, None, None] * np.eye(scatter.shape[-1])
        before = None if previous is None else self.inside(previous.covariances)
        return self.outside(self.family.update(self.inside(scatter), counts, before, self.floor, rounds))

    def penalised(self, moments: Moments, previous: Mixture | None) -> Components:
        """Return means and covariances under the prior: better ones than before, or, at the start, than those without it."""
        assert self.penalty is not None
        if previous is None:
            means, covariances = moments.means, self.covariances(moments.scatter, moments.counts, None)
        else:
            means, covariances = previous.means, previous.covariances
        return self.penalty.update(moments, means, covariances, self.outside(self.floor * np.eye(means.shape[1])))


def m_step(statistics: Statistics, mixture: Mixture, settings: Settings) -> Mixture:
    """Return the mixture that maximises the expected complete-data log-likelihood."""
    return assemble(moments_of(statistics, mixture), settings, mixture)


def moments_of(statistics: Statistics, mixture: Mixture) -> Moments:
    """Return expected counts, of the noise too if there is any, means (K, D) and scatters about them (K, D, D).

    The statistics are in coordinates whitened by ``mixture``; shifts and scatters are turned back by its Cholesky factors.
    """
    K = len(mixture.means)
    counts = np.maximum(statistics.counts, EMPTY)
    own = counts[:K, None, None]
    shift = statistics.first[:K] / own[..., 0]
    means = mixture.means + (mixture.scale_tril @ shift[..., None])[..., 0]
    whitened = statistics.second[:K] - own * shift[:, :, None] * shift[:, None, :]
    scatter = mixture.scale_tril @ whitened @ np.swapaxes(mixture.scale_tril, -1, -2)
    return Moments(counts, means, scatter, None if statistics.labels is statistics.counts else np.maximum(statistics.labels, EMPTY))


def assemble(moments: Moments, settings: Settings, previous: Mixture | None = None, rounds: int = A_FEW) -> Mixture:
    """Return the mixture with these expected counts, of the noise too if there is any, means (K, D) and scatters (K, D, D)."""
    counts, means, scatter, labels = moments
    fixed = settings.fixed
    if fixed is not None and fixed.has_mean.any():
        about = np.where(fixed.has_mean[:, None], fixed.means, means)
        means, scatter = about, moments.about(about)
    own = moments._replace(counts=counts[: len(means)])
    try:
        if settings.penalty is None:
            covariances = settings.covariances(scatter, own.counts, previous, rounds)
            if fixed is not None:
                covariances = np.where(fixed.has_covariance[:, None, None], fixed.covariances, covariances)
        else:
            means, covariances = settings.penalised(own, previous)
        return Mixture(
            settings.log_weights(counts if labels is None else labels, len(means)), means, np.linalg.cholesky(covariances)
        )
    except np.linalg.LinAlgError:
        raise Collapse from None


def from_responsibilities(
    X: FloatArray, responsibilities: FloatArray, settings: Settings, sample_weight: FloatArray | None = None
) -> Mixture:
    """Return the M-step of given responsibilities (N, K): how a run starts from a partition."""
    r = responsibilities if sample_weight is None else responsibilities * sample_weight[:, None]
    return assemble(moments_in(X, r), settings)


def moments_in(X: FloatArray, shares: FloatArray) -> Moments:
    """Return counts, means and scatters of rows X (N, D) that belong to each group by these shares (N, K)."""
    counts = np.maximum(shares.sum(0), EMPTY)
    means = shares.T @ X / counts[:, None]
    scatter = np.stack([(shares[:, k] * (X - m).T) @ (X - m) for k, m in enumerate(means)])
    return Moments(counts, means, scatter)


def mixture_of(counts: FloatArray, means: FloatArray, covariances: FloatArray, settings: Settings) -> Mixture:
    """Return the mixture of the family, above the floor, that is nearest to components with these counts, means and covariances.

    Nearest in the sense of Kullback and Leibler, each component with its share: covariances are what an M-step makes of such rows.
    """
    inside = settings.family.update(settings.inside(counts[:, None, None] * covariances), counts, None, settings.floor)
    found = settings.outside(inside)
    try:
        factors = np.linalg.cholesky(found)
    except np.linalg.LinAlgError:
        if settings.floor == 0:
            raise Collapse from None
        # At the floor rounding may leave a matrix no factor: to start from, one that is hardly another will do.
        factors = np.stack([factor_of(covariance) for covariance in found])
    return Mixture(np.log(counts / counts.sum()), np.array(means), factors)
