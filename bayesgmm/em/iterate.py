"""The EM iteration: E-step, M-step, when to stop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.expectation import Statistics, expectation
from bayesgmm.frame import Frame
from bayesgmm.typing import FloatArray

_EMPTY = 10 * np.finfo(float).eps  # a component with less than this expected number of rows keeps its old shape


class Collapse(ArithmeticError):
    """A covariance estimate has no Cholesky factor: a component has lost its spread, and nothing keeps it from doing so."""


class Mixture(NamedTuple):
    """Parameters inside the iteration: plain arrays, not checked at every step."""

    log_weights: FloatArray
    means: FloatArray
    scale_tril: FloatArray


@dataclass(frozen=True)
class Settings:
    """What governs one run of EM.

    Parameters
    ----------
    family : Family
    tol : float
        The run has converged when the mean log-likelihood of a row grows by less than this in one iteration.
    max_iter : int
    frame : Frame
        The coordinates in which the floor is meant.
    floor : float
        Smallest eigenvalue that a covariance may have in that frame; zero for no floor.
    ridge : float
        Added to every variance, in squared units of the data (scikit-learn's ``reg_covar``).
    """

    family: Family
    tol: float
    max_iter: int
    frame: Frame
    floor: float = 0.0
    ridge: float = 0.0

    def bounded(self, covariances: FloatArray) -> FloatArray:
        """Return the covariances with eigenvalues below the floor raised to it."""
        if self.floor == 0:
            return covariances
        inside = self.frame.covariance_in(covariances)
        raised = self.family.floor(inside, self.floor)
        return covariances if raised is inside else self.frame.covariance_out(raised)


@dataclass(frozen=True)
class EMRun:
    """Where one run of EM ended and how.

    Parameters
    ----------
    mixture : Mixture
    trace : array of shape (n_iter + 1,)
        Log-likelihood at the start and after every iteration.
    converged : bool
    """

    mixture: Mixture
    trace: FloatArray
    converged: bool

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of ``mixture``."""
        return float(self.trace[-1])

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.trace) - 1

    def continued(self, X: FloatArray, settings: Settings, sample_weight: FloatArray | None = None) -> EMRun:
        """Return this run carried on under ``settings``, its trace joined to the one so far."""
        if self.converged or self.n_iter >= settings.max_iter:
            return self
        rest = replace(settings, max_iter=settings.max_iter - self.n_iter)
        run = run_em(X, self.mixture, rest, sample_weight)
        return replace(run, trace=np.concatenate([self.trace, run.trace[1:]]))


def run_em(X: FloatArray, start: Mixture, settings: Settings, sample_weight: FloatArray | None = None) -> EMRun:
    """Iterate EM from ``start`` until the log-likelihood stands still.

    Dempster, Laird and Rubin (1977), Journal of the Royal Statistical Society B 39, 1-38.

    Parameters
    ----------
    X : array of shape (N, D)
    start : Mixture
    settings : Settings
    sample_weight : array of shape (N,), optional
        Frequencies of the rows.

    Returns
    -------
    EMRun
        With a last log-likelihood of minus infinity if a component collapsed.
    """
    diagonal = settings.family.diagonal
    total = len(X) if sample_weight is None else float(sample_weight.sum())
    mixture = start
    statistics = expectation(X, *mixture, sample_weight=sample_weight, diagonal=diagonal)
    trace = [statistics.log_likelihood]
    converged = False
    while not converged and len(trace) <= settings.max_iter:
        try:
            mixture = m_step(statistics, mixture, settings)
        except Collapse:
            return EMRun(mixture, np.array([*trace, -np.inf]), converged=False)
        statistics = expectation(X, *mixture, sample_weight=sample_weight, diagonal=diagonal)
        trace.append(statistics.log_likelihood)
        converged = abs(trace[-1] - trace[-2]) < settings.tol * total
    return EMRun(mixture, np.array(trace), converged)


def m_step(statistics: Statistics, mixture: Mixture, settings: Settings) -> Mixture:
    """Return the mixture that maximises the expected complete-data log-likelihood.

    The statistics are in coordinates whitened by ``mixture``; shifts and scatters are turned back by its Cholesky factors.
    """
    counts = np.maximum(statistics.counts, _EMPTY)
    shift = statistics.first / counts[:, None]
    means = mixture.means + (mixture.scale_tril @ shift[..., None])[..., 0]
    whitened = statistics.second - counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
    scatter = mixture.scale_tril @ whitened @ np.swapaxes(mixture.scale_tril, -1, -2)
    return assemble(counts, means, scatter, settings)


def assemble(counts: FloatArray, means: FloatArray, scatter: FloatArray, settings: Settings) -> Mixture:
    """Return the mixture with these expected counts (K,), means (K, D) and scatters about them (K, D, D)."""
    covariances = settings.bounded(settings.family.update(scatter, counts) + settings.ridge * np.eye(means.shape[1]))
    try:
        return Mixture(np.log(counts / counts.sum()), means, np.linalg.cholesky(covariances))
    except np.linalg.LinAlgError:
        raise Collapse from None


def from_responsibilities(
    X: FloatArray, responsibilities: FloatArray, settings: Settings, sample_weight: FloatArray | None = None
) -> Mixture:
    """Return the M-step of given responsibilities (N, K): how a run starts from a partition."""
    r = responsibilities if sample_weight is None else responsibilities * sample_weight[:, None]
    counts = np.maximum(r.sum(0), _EMPTY)
    means = r.T @ X / counts[:, None]
    scatter = np.stack([(r[:, k] * (X - m).T) @ (X - m) for k, m in enumerate(means)])
    return assemble(counts, means, scatter, settings)
