"""What is told of a fit: its parameters in the user's place, how it ended, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.em.degeneracy import describe
from bayesgmm.em.m_step import Settings
from bayesgmm.em.noise import Noise
from bayesgmm.em.run import EMRun, seems_still
from bayesgmm.em.search import SAME_FOUND, SAME_OPTIMUM, Ended, Search
from bayesgmm.exceptions import InvalidDataError, LikelihoodDecreaseError
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Rows
from bayesgmm.text import counted, listed
from bayesgmm.typing import FloatArray

__all__ = ["EMFit", "Outcome", "seen_from_origin", "seen_together", "with_gross_rows"]

AGREEMENT = 3
"""Independent starts that must have ended at the maximum before nothing is said of a higher one."""
_UNSEEN = 1e-3
"""Nats that rounding may take from a log-likelihood before nothing is told of its maximum."""
_ROUNDING = 10 * float(np.finfo(float).eps)
"""Share of a matrix's largest eigenvalue that is lost of its smallest when it is formed."""
_MOST_NAMED = 5
_SAME = 1e-9
"""Relative difference of log-likelihoods that is rounding."""
_LOOKED_AT = 4
"""Log-likelihoods in a row that tell how much is left to gain."""


@dataclass(frozen=True)
class EMFit:
    """The best of the runs.

    Parameters
    ----------
    params : MixtureParams
    trace : array of shape (n_iter + 1,)
        Log-likelihood of the best run at its start and after every iteration.
    status : {"converged", "max_iter", "collapsed", "spurious"}
    message : str
        A sentence that says how the fit ended.
    n_starts, n_at_best : int
        Number of independent starts, and of those that ended at this maximum (within 0.1 nats before the last iterations).
    n_moves : int
        Number of moves from this maximum (components put elsewhere, or split) that led to none higher.
    n_saved : float
        Iterations that acceleration saved the best run: an estimate.
    log_prior : float
        Log-density of the prior at ``params``; zero without one. Traces and runs then are of log-likelihood plus log-prior.
    noise_weight : float
        Share of the rows that belong to no component; the weights in ``params`` are shares of the others.
    optima : tuple of (float, MixtureParams)
        The distinct regular maxima that runs were followed to, with what was climbed, best first.
    converged : bool
        Whether EM came to a standstill; also at a maximum that means nothing, as ``status`` then says.
    rejected : float
        By how many nats the highest degenerate maximum that was met is higher than this one; minus infinity if none is.
    """

    params: MixtureParams
    trace: FloatArray
    status: str
    message: str
    n_starts: int = 1
    n_at_best: int = 1
    n_moves: int = 0
    n_saved: float = 0.0
    log_prior: float = 0.0
    noise_weight: float = 0.0
    optima: tuple[tuple[float, MixtureParams], ...] = ()
    converged: bool = True
    rejected: float = -np.inf
    climb: FloatArray | None = None
    """The trace with what came before it, where the fit goes on from another."""
    noise: Noise | None = None
    """What takes the rows that belong to no component."""

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of ``params``."""
        return float(self.trace[-1]) - self.log_prior


@dataclass(frozen=True, eq=False)
class Outcome:
    """What is told of a fit: its parameters in the user's place, how it ended, and what that is worth."""

    rows: Rows
    settings: Settings
    origin: FloatArray
    keep_order: bool

    def of(
        self, search: Search, ended: list[Ended], n_starts: int, n_at_best: int, n_moves: int = 0, *, is_from_known: bool = False
    ) -> EMFit:
        """Return the fit that the first of the runs that ended is."""
        best = search.polished(search.alive(ended)[0])
        if not self.keep_order:
            best = best.permuted(best.run.mixture.params.canonical_order())
        if best.run.status == "fell" and best.health.is_regular:
            best = self._as_far_as_rounding_lets_it(best)
        mixture = best.run.mixture
        seen = [*ended, *search.ended] if search.sample.is_all else ended
        above = [end.height for end in seen if end.height > best.height and not end.health.is_regular]
        X = self.rows.values if self.rows.is_in_memory else search.sample.X
        optima = _optima([best, *ended[1:]], X, keep_order=self.keep_order)
        fit = EMFit(
            seen_from_origin(mixture.params, -self.origin),
            best.run.trace,
            best.run.status,
            "",
            n_starts,
            n_at_best,
            n_moves,
            best.run.n_saved,
            self.settings.log_prior(mixture),
            float(np.exp(mixture.log_weights[len(mixture.means) :]).sum()),
            tuple((height, seen_from_origin(params, -self.origin)) for height, params in optima),
            best.run.converged,
            max(above, default=-np.inf) - best.height,
        )
        if best.health.is_regular:
            return self._with_message(fit, best.run, is_from_known=is_from_known)
        message = describe(best.health, self.rows, mixture, self.settings)
        lower = best.height - max((end.height for end in seen if end.is_sound and end.run.converged), default=-np.inf)
        if np.isfinite(lower):
            message += f". The highest maximum without such a component is {lower:.1f} nats lower"
        return replace(fit, status=best.health.status, message=message)

    def _as_far_as_rounding_lets_it(self, best: Ended) -> Ended:
        """Return a run that lowered the log-likelihood as one that converged, if rounding of its covariances explains it.

        Raises
        ------
        InvalidDataError
            If rounding explains it, and leaves too few digits.
        LikelihoodDecreaseError
            If it does not.
        """
        run, family = best.run, self.settings.family
        fall = run.trace[-2] - run.trace[-1]
        spreads = np.linalg.eigvalsh(self.settings.inside(run.mixture.covariances))
        # M-steps form covariances, whose smallest eigenvalues know as many digits as their ratio to the largest leaves.
        lost = _ROUNDING * float(np.max(best.health.counts * spreads[:, -1] / np.maximum(spreads[:, 0], spreads[:, -1] * 1e-30)))
        if fall > lost * spreads.size:
            raise LikelihoodDecreaseError(
                f"EM lowered the log-likelihood by {fall:.3g} in iteration {run.n_iter}, which it never may: this is a mistake in "
                "bayesgmm; please report it with the data and settings"
            )
        if fall <= _UNSEEN:
            return replace(best, run=replace(run, status="converged"))
        why = (
            f"covariance_type {family.name!r} turns its axes, and the columns are in units too unlike for that: divide each column by its "
            "standard deviation"
            if family.invariance == "scale"
            else "the covariance of a component is nearly singular: leave out a column that nearly follows from others"
        )
        raise InvalidDataError(f"Rounding lowered the log-likelihood by {fall:.3g}, more than EM can tell maxima apart by: {why}")

    def _with_message(self, fit: EMFit, run: EMRun, *, is_from_known: bool) -> EMFit:
        if run.status == "max_iter":
            gain = run.trace[-1] - run.trace[-2] if run.n_iter else np.inf
            climbed = "log-likelihood" if self.settings.penalty is None else "log-posterior"
            message = (
                f"EM stopped after max_iter={self.settings.max_iter} iterations while the {climbed} still grew by {gain:.3g} per "
                "iteration: raise max_iter, or tol if that is close enough"
            )
            return replace(fit, message=message)
        message = f"EM converged after {counted(run.n_iter, 'iteration')}{_found_by(fit, is_from_known)}"
        if fit.rejected > SAME_OPTIMUM:
            message += (
                f". A maximum {fit.rejected:.1f} nats higher was rejected: in it a component rests on rows that do not determine it, and "
                "its likelihood means nothing"
            )
        return replace(fit, message=message)


def _found_by(fit: EMFit, is_from_known: bool) -> str:
    """Say how many of the independent starts ended at this maximum, and what was tried to find a higher one."""
    if fit.n_starts == 1:
        return ""
    if fit.n_moves == 0 and not is_from_known:
        return f"; {fit.n_at_best} of {fit.n_starts} starts ended at this maximum"
    how_many = {0: "none", 1: "one"}.get(fit.n_at_best, fit.n_at_best)
    other = (
        "which is that of a neighbouring model's fit"
        if is_from_known
        else f"and {fit.n_moves} moves away from it found none higher"
    )
    doubt = "" if fit.n_at_best >= AGREEMENT else ": there may be a higher one, which a larger effort may find"
    return f"; {how_many} of {fit.n_starts} independent starts ended at this maximum, {other}{doubt}"


def with_gross_rows(fit: EMFit, noise: Noise, rows: Rows) -> EMFit:
    """Return the fit to all rows, of one to those within the noise's limits.

    With the share g of the rows beyond, rows there have the density g / V of the box with volume V, and the others 1 - g times that of
    the mixture: maximum likelihood of the mixture is that of the rows within.
    """
    fit = replace(fit, noise=noise)
    if noise.gross == 0:
        return fit
    beyond = noise.limits.beyond(rows.values)
    if rows.weights is not None:
        beyond &= rows.weights > 0
    more, numbers = noise.log_likelihood_of_limits(rows.total), np.flatnonzero(beyond)
    rows_lie, are = ("row {} lies", "is") if len(numbers) == 1 else ("rows {} lie", "are")
    said = f"; {rows_lie.format(listed(numbers, _MOST_NAMED))} far beyond all others and {are} noise for certain"
    return replace(
        fit,
        trace=fit.trace + more,
        optima=tuple((height + more, params) for height, params in fit.optima),
        noise_weight=noise.share_of_all(fit.noise_weight),
        message=fit.message + said,
    )


def seen_together(fit: EMFit, before: FloatArray, tolerance: float, *, plain: bool) -> EMFit:
    """Return a fit that ran out of iterations as converged if it did by its rule, seen together with those that it goes on from.

    Parameters
    ----------
    fit : EMFit
    before : array
        Log-likelihoods of the last iterations before.
    tolerance : float
        Log-likelihood of all rows that is not worth an iteration.
    plain : bool
        Whether the rule is scikit-learn's, the last gain, and not all that is left to gain.
    """
    if abs(fit.trace[0] - before[-1]) > _SAME * (1 + abs(before[-1])):
        return fit
    trace = np.concatenate([before[-_LOOKED_AT:-1], fit.trace])
    fit = replace(fit, climb=trace)
    if fit.status != "max_iter" or len(trace) < _LOOKED_AT:
        return fit
    first, second, third = np.diff(trace[-_LOOKED_AT:]).tolist()
    if abs(third) >= tolerance if plain else not seems_still(first, second, third, float(trace[-1]), tolerance):
        return fit
    message = "EM converged, seen together with the fits that this warm start goes on from"
    return replace(fit, status="converged", converged=True, message=message)


def _optima(ended: list[Ended], X: FloatArray, *, keep_order: bool) -> list[tuple[float, MixtureParams]]:
    found: list[tuple[float, MixtureParams]] = []
    best, *others = ended  # polished, and no lower than what it was polished from but for rounding
    for end in [best, *sorted(others, key=lambda end: -end.height)]:
        if end.run.converged and end.is_sound:
            height, params = end.height, end.run.mixture.params
            # Different maxima may be of one height: in data with a symmetry they are.
            if not any(abs(height - other) < SAME_FOUND and params.resembles(known, X) for other, known in found):
                found.append((height, params if keep_order else params.permute(params.canonical_order())))
    return found


def seen_from_origin(params: MixtureParams, origin: FloatArray) -> MixtureParams:
    """Return a mixture of data that are counted from another origin (D,)."""
    return replace(params, means=params.means - origin) if origin.any() else params
