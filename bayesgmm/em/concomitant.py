"""EM of a mixture whose weights differ by sample or follow covariates, from a fit with one vector of weights for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import override

import numpy as np

from bayesgmm.concomitant import Concomitant
from bayesgmm.em.m_step import Collapse, Mixture, Settings, assemble, moments_of
from bayesgmm.em.result import EMFit
from bayesgmm.em.run import Stepper
from bayesgmm.expectation import Statistics, expectation
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows
from bayesgmm.typing import FloatArray

__all__ = ["with_shares"]


class _Shared(Stepper):
    """A run in which the E-step has log-weights (S K) of all shares, and the M-step finds them again."""

    def __init__(self, rows: MemoryRows, start: Mixture, settings: Settings, concomitant: Concomitant) -> None:
        self.concomitant = concomitant
        self.shares = np.tile(np.exp(start.log_weights), (concomitant.n_shares, 1))
        super().__init__(rows, start, settings)

    @override
    def step(self) -> None:
        counts = self.statistics.labels.reshape(self.shares.shape)
        self.shares = self.concomitant.maximise(counts, self.shares)
        moments = moments_of(self.statistics._replace(labels=self.statistics.counts), self.mixture)
        mixture = assemble(moments, self.settings, self.mixture)
        overall = counts.sum(0) / counts.sum()
        self.mixture = mixture._replace(log_weights=np.log(np.maximum(overall, 1e-300)))
        self.statistics, height = self._e_step(self.mixture)
        self.trace.append(height)
        self.last.append(self.mixture)

    @override
    def _e_step(self, mixture: Mixture) -> tuple[Statistics, float]:
        with np.errstate(divide="ignore"):
            logs = np.log(self.shares).ravel()
        statistics = expectation(self.rows, logs, mixture.means, mixture.scale_tril, diagonal=self.settings.family.diagonal)
        return statistics, statistics.log_likelihood


def with_shares(
    rows: MemoryRows, fit: EMFit, starts: Sequence[MixtureParams], settings: Settings, concomitant: Concomitant
) -> EMFit:
    """Return the fit with weights of each share.

    Parameters
    ----------
    rows : MemoryRows
        That know their shares.
    fit : EMFit
        With one vector of weights for all.
    starts : sequence of MixtureParams
        Maxima of that model.
    settings : Settings
    concomitant : Concomitant

    Returns
    -------
    EMFit
        The best of the runs from these starts; its parameters have ``shares``.
    """
    runs = [run for start in starts if (run := _run(rows.distinct(), start, settings, concomitant)) is not None]
    if not runs:
        return fit
    best = max(runs, key=lambda run: run.trace[-1])
    weights = np.exp(best.mixture.log_weights)
    params = MixtureParams(weights / weights.sum(), best.mixture.means, best.mixture.scale_tril, _proper(best.shares))
    done = best.stands_still
    told = f"EM with weights of {concomitant.n_shares} kinds of rows " + (
        f"converged after {best.n_iter} iterations" if done else f"had not converged after {best.n_iter} iterations"
    )
    return replace(
        fit,
        params=params,
        trace=np.array(best.trace),
        status=fit.status if fit.status in ("collapsed", "spurious") else "converged" if done else "max_iter",
        message=told,
        optima=((best.trace[-1], params),),
        converged=done,
    )


def _proper(shares: FloatArray) -> FloatArray:
    return shares / shares.sum(1, keepdims=True)


def _run(rows: MemoryRows, start: MixtureParams, settings: Settings, concomitant: Concomitant) -> _Shared | None:
    run = _Shared(rows, Mixture.of(start), settings, concomitant)
    try:
        while not run.is_over:
            run.step()
    except Collapse:
        return None
    return run
