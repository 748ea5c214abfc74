"""A run of EM: iterate, extrapolate where it is slow, and know when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.em import _replicates
from bayesgmm.em._replicates import ROUNDING
from bayesgmm.em.steps import Collapse, Mixture, Rows, Settings, m_step
from bayesgmm.exceptions import LikelihoodDecreaseError
from bayesgmm.expectation import Statistics, expectation
from bayesgmm.typing import FloatArray

# The rule of the compiled replicates, as the plain function that it was compiled from: one rule, and nothing compiled for EM's sake.
seems_still: Callable[[float, float, float, float], bool] = _replicates.seems_still.py_func
_FALL = 1e-8  # a log-likelihood may fall by this much of itself, or by this much per row, from rounding alone
_SLOW = 1.0  # nats: where an iteration gains less, the basin is decided and extrapolation cannot leave it
_CONFIRM = 5  # plain steps after an extrapolation before its end is believed: what it stirred up dies first, and hides a slow climb
_LONGEST = 1e4
_LONGEST_FIRST = 4.0  # how far the first extrapolation may go, in iterations


@dataclass(frozen=True)
class EMRun:
    """Where one run of EM ended and how.

    Parameters
    ----------
    mixture : Mixture
    trace : array of shape (n_iter + 1,)
        Log-likelihood (with a prior: plus log-prior) at the start and after every iteration; an accepted extrapolation counts as one.
    status : {"converged", "max_iter", "collapsed"}
    n_saved : float
        Iterations that plain EM would have needed, at the rate it had, for what extrapolation gained: an estimate.
    """

    mixture: Mixture
    trace: FloatArray
    status: str
    n_saved: float = 0.0

    @property
    def converged(self) -> bool:
        """Whether the run came to a standstill."""
        return self.status == "converged"

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood (with a prior: plus log-prior) of ``mixture``."""
        return float(self.trace[-1])

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.trace) - 1

    def continued(self, X: Rows, settings: Settings, sample_weight: FloatArray | None = None) -> EMRun:
        """Return this run carried on under ``settings``, its trace joined to the one so far."""
        if self.status != "max_iter" or self.n_iter >= settings.max_iter:
            return self
        rest = replace(settings, max_iter=settings.max_iter - self.n_iter)
        run = run_em(X, self.mixture, rest, sample_weight)
        return replace(run, trace=np.concatenate([self.trace, run.trace[1:]]), n_saved=self.n_saved + run.n_saved)


def run_em(X: Rows, start: Mixture, settings: Settings, sample_weight: FloatArray | None = None) -> EMRun:
    """Iterate EM from ``start`` until the log-likelihood stands still.

    Dempster, Laird and Rubin (1977), Journal of the Royal Statistical Society B 39, 1-38; the extrapolation is SQUAREM (Varadhan and
    Roland 2008, Scandinavian Journal of Statistics 35, 335-353), taken only where EM is slow and only where it does not lower the
    log-likelihood.

    Parameters
    ----------
    X : array of shape (N, D), or Gaps
    start : Mixture
    settings : Settings
    sample_weight : array of shape (N,), optional
        Frequencies of the rows.

    Returns
    -------
    EMRun
        With a last log-likelihood of minus infinity if a component collapsed.

    Raises
    ------
    LikelihoodDecreaseError
        If an iteration lowers the log-likelihood by more than rounding can: a mistake in this package.
    """
    climb = Climb(X, start, settings, sample_weight)
    try:
        while not climb.is_over:
            climb.step()
            if settings.accelerate:
                climb.extrapolate()
    except Collapse:
        return EMRun(climb.mixture, np.array([*climb.trace, -np.inf]), "collapsed", climb.n_saved)
    status = "converged" if climb.stands_still else "max_iter"
    return EMRun(climb.mixture, np.array(climb.trace), status, climb.n_saved)


class Climb:
    """The state of a run: where it is, how high, and the last steps, from which the next are guessed."""

    def __init__(self, X: Rows, start: Mixture, settings: Settings, sample_weight: FloatArray | None) -> None:
        self.X, self.settings, self.sample_weight = X, settings, sample_weight
        self.total = len(X) if sample_weight is None else float(sample_weight.sum())
        self.mixture = start = settings.started(start)
        self.statistics = self._e_step(start)
        self.trace = [self._height(start, self.statistics)]
        self.last: list[Mixture] = [start]  # mixtures of the plain steps since the last extrapolation
        self.longest = _LONGEST_FIRST
        self.n_saved = 0.0

    @property
    def n_iter(self) -> int:
        """Iterations so far."""
        return len(self.trace) - 1

    def step(self) -> None:
        """One iteration of EM."""
        self._move_to(m_step(self.statistics, self.mixture, self.settings))
        fall = self.trace[-2] - self.trace[-1]
        if fall > _FALL * (abs(self.trace[-1]) + self.total) and self.settings.ridge == 0:
            raise LikelihoodDecreaseError(
                f"EM lowered the log-likelihood by {fall:.3g} in iteration {self.n_iter}, which it never may: "
                "this is a mistake in bayesgmm; please report it with the data and settings"
            )
        self.last.append(self.mixture)

    @property
    def is_over(self) -> bool:
        """Whether there is no next iteration."""
        return self.n_iter >= self.settings.max_iter or self.stands_still

    @property
    def stands_still(self) -> bool:
        """Whether there is nothing left to gain that is worth an iteration.

        Plain: the last gain was below the tolerance (scikit-learn's rule). Accelerated: gains of linear convergence are a geometric
        series, whose rest is known from the last two (Aitken; Boehning et al. 1994, Annals of the Institute of Statistical Mathematics
        46, 373-388). A slow climb with small gains is then not taken for its end.
        """
        if self.n_iter == 0:
            return False
        gain = self.trace[-1] - self.trace[-2]
        if not self.settings.accelerate:
            return abs(gain) < self.settings.tol * self.total
        if gain <= ROUNDING * abs(self.trace[-1]):
            return True
        return len(self.last) > _CONFIRM and self._seems_still

    @property
    def _seems_still(self) -> bool:
        if len(self.last) < 4:
            return False
        a, b, c, d = self.trace[-4:]
        return seems_still(b - a, c - b, d - c, self.settings.tol * self.total)

    def extrapolate(self) -> None:
        """After two slow steps, try one long one in their direction; it is taken if the log-likelihood does not fall."""
        gain = self.trace[-1] - self.trace[-2]
        if len(self.last) < 3 or gain > _SLOW or not self.settings.extrapolates:
            return
        if self.n_iter >= self.settings.max_iter or self._seems_still:
            return
        first, second, third = self.last[-3:]
        found = _squarem(first, second, third, self.longest)
        if found is None:
            return
        mixture, length = found
        statistics = self._e_step(mixture)
        height = self._height(mixture, statistics)
        if height >= self.trace[-1] and self._is_allowed(mixture):
            self.n_saved += _iterations_worth(height - self.trace[-1], gain, self.trace[-2] - self.trace[-3])
            self.mixture, self.statistics = mixture, statistics
            self.trace.append(height)
            self.longest = min(4 * self.longest, _LONGEST) if length >= self.longest else self.longest
        else:
            self.longest = max(2.0, self.longest / 4)
        self.last = [self.mixture]

    def _move_to(self, mixture: Mixture) -> None:
        self.statistics = self._e_step(mixture)
        self.mixture = mixture
        self.trace.append(self._height(mixture, self.statistics))

    def _height(self, mixture: Mixture, statistics: Statistics) -> float:
        return statistics.log_likelihood + self.settings.log_prior(mixture)

    def _e_step(self, mixture: Mixture) -> Statistics:
        return expectation(
            self.X, *self.settings.arrays(mixture), sample_weight=self.sample_weight, diagonal=self.settings.family.diagonal
        )

    def _is_allowed(self, mixture: Mixture) -> bool:
        """Whether the floor leaves the covariances as they are: the next M-step would have to take the gain back."""
        covariances = mixture.covariances
        return self.settings.bounded(covariances) is covariances


def _squarem(first: Mixture, second: Mixture, third: Mixture, longest: float) -> tuple[Mixture, float] | None:
    """Return where two steps lead if they go on as they began, and the length in steps; None where that is no further than they went.

    Coordinates are log weights, and means and Cholesky factors in the first mixture's own units, the factors' diagonals as logs.
    """
    points = np.stack([_coordinates(m, first) for m in (first, second, third)])
    if not np.isfinite(points).all():
        return None
    r = points[1] - points[0]
    v = points[2] - points[1] - r
    size = float(np.linalg.norm(v))
    length = min(float(np.linalg.norm(r)) / size, longest) if size > 0 else 0.0
    if not length > 1:
        return None
    return _mixture(points[0] + 2 * length * r + length**2 * v, first), length


def _coordinates(mixture: Mixture, base: Mixture) -> FloatArray:
    means = np.linalg.solve(base.scale_tril, mixture.means[..., None])[..., 0]
    factors = np.linalg.solve(base.scale_tril, mixture.scale_tril)
    i = np.arange(factors.shape[-1])
    factors[:, i, i] = np.log(np.maximum(factors[:, i, i], np.finfo(float).tiny))
    return np.concatenate([mixture.log_weights, means.ravel(), factors.ravel()])


def _mixture(point: FloatArray, base: Mixture) -> Mixture:
    K, D = base.means.shape
    logs, means, factors = np.split(point, np.cumsum([len(base.log_weights), K * D]))
    means = (base.scale_tril @ means.reshape(K, D, 1))[..., 0]
    factors = np.tril(factors.reshape(K, D, D))
    i = np.arange(D)
    factors[:, i, i] = np.exp(np.clip(factors[:, i, i], -50, 50))
    return Mixture(logs - np.logaddexp.reduce(logs), means, np.tril(base.scale_tril @ factors))


def _iterations_worth(gained: float, last_gain: float, gain_before: float) -> float:
    """Return how many iterations would have gained as much, each gaining the same share of the one before."""
    rate = last_gain / gain_before if gain_before > 0 else 0.0
    if not 0 < rate < 1:
        return 1.0
    rest = 1 - gained * (1 - rate) / (last_gain * rate)
    return float(np.log(max(rest, 1e-6)) / np.log(rate))
