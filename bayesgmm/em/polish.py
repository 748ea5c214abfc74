"""The last digits of a fit: where EM's steps lead, found by looking at the steps instead of the log-likelihood.

A log-likelihood is flat at its maximum, so that it knows parameters to half of the digits at best, and EM that is judged by it ends as far
from the maximum as is left to gain: where groups overlap that can be a thousandth of a standard deviation. An iteration's step is small
exactly where the maximum is, and known to nearly all digits. Few steps, combined, tell where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bayesgmm.em.iterate import EMRun
from bayesgmm.em.points import mixture_at, point_of
from bayesgmm.em.steps import Collapse, Mixture, Rows, Settings, m_step
from bayesgmm.expectation import expectation
from bayesgmm.typing import FloatArray

__all__ = ["polished"]

STILL = 1e-12
"""A last step of so little is none: in shares of all rows for weights, in standard deviations and their shares for the rest."""
NEAR = 1e-9
"""What is left of steps that rounding keeps from becoming smaller."""
MOST_STEPS = 100
PATIENCE = 25
"""Steps after which one must have become smaller than all before."""
FARTHEST = 0.1
"""Where a step would go farther than this the run had not come to its end."""
_ROUNDING = 1e-12
"""Share of itself by which a log-likelihood may be lower from rounding alone."""


def polished(
    run: EMRun,
    X: Rows,
    settings: Settings,
    sample_weight: FloatArray | None = None,
    after: Callable[[float], object] | None = None,
) -> EMRun:
    """Return a run that has come to its end, carried on to where EM stands still to about twelve digits.

    Each iteration of EM is mixed with those before so that their steps cancel as far as they can (Anderson 1965, Journal of the ACM 12,
    547-560; Walker and Ni 2011, SIAM Journal on Numerical Analysis 49, 1715-1735; for EM: Henderson and Varadhan 2019, Journal of
    Computational and Graphical Statistics 28, 834-846). Near a maximum that finds it in about as many iterations as there are
    parameters, and mostly in a few.

    Parameters
    ----------
    run : EMRun
    X, settings, sample_weight
        Those of the run.
    after : callable, optional
        Takes the log-likelihood (with a prior: plus log-prior) after every E-step.

    Returns
    -------
    EMRun
        With one iteration more, for all of them, or the run itself: where it stands still already, or where nothing better was found.
    """
    base = run.mixture
    here, point = base, point_of(base, base)
    if not np.isfinite(point).all():  # a weight of zero
        return run
    units = np.ones_like(point)
    units[: len(base.log_weights)] = np.exp(base.log_weights)
    points: list[FloatArray] = []
    steps: list[FloatArray] = []
    smallest, best, best_height, since = FARTHEST, base, run.log_likelihood, 0
    while len(steps) < MOST_STEPS and since < PATIENCE and smallest > STILL:
        try:
            height, there = _iteration(X, here, settings, sample_weight)
        except Collapse:
            return run
        if after is not None:
            after(height)
        points.append(point * units)
        steps.append((point_of(there, base) - point) * units)
        step = _mixed(points, steps)
        size = float(np.abs(step).max(initial=0.0))
        if not size < FARTHEST:  # nor where it is not a number
            return run
        point = point + step / units
        here = mixture_at(point, base)
        since += 1
        if size < smallest:
            smallest, best, best_height, since = size, here, height, 0
    was_still = len(steps) == 1
    is_lower = best_height < run.log_likelihood - _ROUNDING * abs(run.log_likelihood)
    if was_still or is_lower or smallest > NEAR:
        return run
    return replace(run, mixture=best, trace=np.append(run.trace, best_height))


def _iteration(X: Rows, mixture: Mixture, settings: Settings, sample_weight: FloatArray | None) -> tuple[float, Mixture]:
    """Return what is climbed at a mixture, and where EM goes from it."""
    statistics = expectation(X, *settings.arrays(mixture), sample_weight=sample_weight, diagonal=settings.family.diagonal)
    return statistics.log_likelihood + settings.log_prior(mixture), m_step(statistics, mixture, settings)


def _mixed(points: list[FloatArray], steps: list[FloatArray]) -> FloatArray:
    """Return the step from the last of some points to where EM's steps, were they linear between the points, would vanish.

    With ``f`` the last step, ``dF`` the changes of the steps and ``dX`` those of the points it is ``f - (dX + dF) g`` for the ``g`` that
    brings ``f - dF g`` nearest to nothing.
    """
    if len(steps) == 1:
        return steps[-1]
    changes, moves = np.diff(steps, axis=0).T, np.diff(points, axis=0).T
    units = np.linalg.norm(changes, axis=0)
    units[units == 0] = 1.0
    shares = np.linalg.lstsq(changes / units, steps[-1], rcond=1e-10)[0] / units
    return steps[-1] - (moves + changes) @ shares
