"""The last digits of a fit: where EM's steps lead, found by looking at the steps instead of the log-likelihood.

A log-likelihood is flat at its maximum, so that it knows parameters to half of the digits at best, and EM that is judged by it ends as far
from the maximum as is left to gain: where groups overlap that can be a thousandth of a standard deviation. An iteration's step is small
exactly where the maximum is, and known to nearly all digits. Few steps, combined, tell where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import override

import numpy as np

from bayesgmm.covariance import TO_THE_END
from bayesgmm.em._compiled_run import EMPTY, maximised, moments_at
from bayesgmm.em.m_step import Collapse, Mixture, Settings, assemble, moments_of
from bayesgmm.em.penalties import Moments
from bayesgmm.em.run import NO_WEIGHTS, EMRun, as_row, compiled_rows, e_step, from_row, m_step_of
from bayesgmm.expectation import statistics_pass
from bayesgmm.kernels.compile import plain
from bayesgmm.rows import Rows
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
_MOST_MIXED = 50
"""Steps that one is mixed from."""
_EXACT = 1e-14
_MOST_M_STEPS = 50


def polished(run: EMRun, rows: Rows, settings: Settings, after: Callable[[float], object] | None = None) -> EMRun:
    """Return a run that has come to its end, carried on to where EM stands still to about twelve digits.

    Each iteration of EM is mixed with those before so that their steps cancel as far as they can (Anderson 1965, Journal of the ACM 12,
    547-560; Walker and Ni 2011, SIAM Journal on Numerical Analysis 49, 1715-1735; for EM: Henderson and Varadhan 2019, Journal of
    Computational and Graphical Statistics 28, 834-846). Near a maximum that finds it in about as many iterations as there are
    parameters, and mostly in a few.

    Parameters
    ----------
    run : EMRun
    rows, settings
        Those of the run.
    after : callable, optional
        Takes the log-likelihood (with a prior: plus log-prior) after every E-step.

    Returns
    -------
    EMRun
        With one iteration more, for all of them, or the run itself: where it stands still already, or where nothing better was found.
    """
    is_quick = after is None and settings.ridge == 0 and compiled_rows(rows, settings) is not None
    climbed = (_Compiled if is_quick else _Climbed)(run.mixture, rows, settings, after)
    try:
        found = _standstill(climbed)
    except Collapse:
        return run
    if found is None or found[1] < run.log_likelihood - _ROUNDING * abs(run.log_likelihood):
        return run
    return replace(run, mixture=found[0], trace=np.append(run.trace, found[1]))


def _standstill(climbed: _Climbed) -> tuple[Mixture, float] | None:
    """Return where EM stands still, and how high that is; None where it stood still to begin with, or where that is not found."""
    here = climbed.base
    point, _ = climbed.step(here)
    points: list[FloatArray] = []
    steps: list[FloatArray] = []
    found, smallest, since = None, FARTHEST, 0
    while len(steps) < MOST_STEPS and since < PATIENCE and smallest > STILL:
        here = climbed.at(point, here)
        there, height = climbed.step(here)
        points.append(point)
        steps.append(there - point)
        step = _mixed(points[-_MOST_MIXED:], steps[-_MOST_MIXED:])
        size = float(np.abs(step).max())
        if not size < FARTHEST:  # nor where it is not a number
            return None
        point = point + step
        since += 1
        if size < smallest:
            found, smallest, since = (point, here, height), size, 0
    if found is None or smallest > NEAR or len(steps) == 1:
        return None
    point, here, height = found
    return climbed.at(point, here), height


@dataclass
class _Climbed:
    """What EM climbs, seen from the moments of the rows that a mixture expects in each component.

    All that an M-step needs to know are moments, and sums of moments are moments: mixed from some steps they give a mixture of the family,
    whatever it asks of its matrices. As a point they are numbers without units: shares of the rows, and means and covariances in the
    units of the components that the run ended with.
    """

    base: Mixture
    rows: Rows
    settings: Settings
    after: Callable[[float], object] | None

    def step(self, mixture: Mixture) -> tuple[FloatArray, float]:
        """Return the moments under a mixture, and how high it is."""
        statistics, height = e_step(self.rows, mixture, self.settings)
        if self.after is not None:
            self.after(height)
        counts, means, scatter, _ = moments_of(statistics, mixture)
        factors = self.base.scale_tril
        columns = np.concatenate([(means - self.base.means)[..., None], scatter / counts[: len(means), None, None]], axis=-1)
        half = np.linalg.solve(factors, columns)
        covariances = np.linalg.solve(factors, np.swapaxes(half[..., 1:], -1, -2))
        return np.concatenate([counts / counts.sum(), half[..., 0].ravel(), covariances.ravel()]), height

    def at(self, point: FloatArray, mixture: Mixture) -> Mixture:
        """Return the mixture that is best for given moments, found from another one near it."""
        K, D = self.base.means.shape
        factors = self.base.scale_tril
        first = len(self.base.log_weights)
        second = first + K * D
        counts = np.maximum(point[:first] * self.rows.total, EMPTY)
        means = self.base.means + (factors @ point[first:second].reshape(K, D, 1))[..., 0]
        half = factors @ point[second:].reshape(K, D, D) @ np.swapaxes(factors, -1, -2)
        scatter = 0.5 * counts[:K, None, None] * (half + np.swapaxes(half, -1, -2))
        return _maximised(Moments(counts, means, scatter), self.settings, mixture)


@dataclass
class _Compiled(_Climbed):
    """The same in two compiled calls, where a run is one."""

    def __post_init__(self) -> None:
        weight = NO_WEIGHTS[0] if self.rows.weights is None else plain(self.rows.weights)
        chunk, (K, D) = self.rows.in_memory().chunk, self.base.means.shape
        self._data = chunk.table(K), weight, statistics_pass(chunk), D, self.settings.family.diagonal
        self._m_step = *m_step_of(self.settings), self.settings.floor
        self._row = as_row(self.base)

    @override
    def step(self, mixture: Mixture) -> tuple[FloatArray, float]:
        out, sums = np.empty_like(self._row), np.empty_like(self._row)
        return out, moments_at(*self._data, self._row, as_row(mixture), sums, out)

    @override
    def at(self, point: FloatArray, mixture: Mixture) -> Mixture:
        out, sums = np.empty_like(self._row), np.empty_like(self._row)
        if not maximised(point, self.rows.total, *self._m_step, self._row, sums, out):
            raise Collapse
        return from_row(out, *self.base.means.shape)


def _maximised(moments: Moments, settings: Settings, mixture: Mixture) -> Mixture:
    """Return the mixture that is best for given moments, whichever it began with: some M-steps only come nearer to it."""
    if settings.penalty is None and settings.family.closed:
        return assemble(moments, settings, mixture)
    size = np.inf
    for _ in range(_MOST_M_STEPS):
        before, mixture, last = mixture, assemble(moments, settings, mixture, TO_THE_END), size
        moved = np.linalg.solve(before.scale_tril, mixture.scale_tril) - np.eye(len(mixture.means[0]))
        shift = np.linalg.solve(before.scale_tril, (mixture.means - before.means)[..., None])
        size = max(np.abs(moved).max(), np.abs(shift).max())
        if size < _EXACT or last <= size < NEAR:  # rounding moves it to and fro
            break
    return mixture


def _mixed(points: list[FloatArray], steps: list[FloatArray]) -> FloatArray:
    """Return the step from the last of some points to where EM's steps, were they linear between the points, would vanish.

    With ``f`` the last step, ``dF`` the changes of the steps and ``dX`` those of the points it is ``f - (dX + dF) g`` for the ``g`` that
    brings ``f - dF g`` nearest to nothing.
    """
    if len(steps) == 1:
        return steps[-1]
    changes, moves = (np.diff(np.stack(listed), axis=0).T for listed in (steps, points))
    units = np.linalg.norm(changes, axis=0)
    units[units == 0] = 1.0
    shares = np.linalg.lstsq(changes / units, steps[-1], rcond=1e-10)[0] / units
    return steps[-1] - (moves + changes) @ shares
