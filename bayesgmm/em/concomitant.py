"""EM of a mixture whose weights differ by sample or follow covariates, from a fit with one vector of weights for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import override

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.coordinates import Coordinates
from bayesgmm.em.m_step import Collapse, Mixture, Settings, assemble, moments_of
from bayesgmm.em.result import EMFit
from bayesgmm.em.run import Stepper
from bayesgmm.expectation import Statistics, expectation
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows
from bayesgmm.rows.concomitant import Concomitant, Covariates
from bayesgmm.typing import FloatArray

__all__ = ["covariance_of_coefficients", "with_shares"]

_STEP = 0.01
"""Of standard errors, in which second derivatives are taken."""


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


def covariance_of_coefficients(rows: MemoryRows, params: MixtureParams, family: Family, covariates: Covariates) -> FloatArray:
    """Return the covariance (n, n) of the free coefficients, n = (1 + P) (K - 1), by the observed information of all parameters.

    Second derivatives are central differences of the log-likelihood, in steps of a hundredth of a standard error.

    Parameters
    ----------
    rows : MemoryRows
        That know their shares.
    params : MixtureParams
        The maximum.
    family : Family
    covariates : Covariates

    Raises
    ------
    InvalidParameterError
        If the family has no coordinates without constraints.
    """
    K, D = params.means.shape
    coordinates, chunk = Coordinates.of(family, K, D), rows.chunk
    weight = np.ones(len(rows)) if rows.weights is None else rows.weights
    assert params.shares is not None
    free = covariates.coefficients(params.shares)[:, :-1]
    # The weights of all say nothing here: rows have those of their shares.
    vector = np.concatenate([coordinates.vector(params)[K - 1 :], free.ravel()])
    n_rest = len(vector) - free.size

    def heights(vectors: FloatArray) -> FloatArray:
        """Log-likelihoods of rows, (T, N)."""
        rest = np.concatenate([np.zeros((len(vectors), K - 1)), vectors[:, :n_rest]], axis=1)
        B = vectors[:, n_rest:].reshape(len(vectors), -1, K - 1)
        shares = covariates.shares(np.concatenate([B, -B.sum(-1, keepdims=True)], axis=-1))
        return replace(coordinates.params(rest), shares=shares).log_density(chunk)

    n, small = len(vector), 1e-5
    up, down = (heights(vector + sign * small * np.eye(n)) for sign in (1.0, -1.0))
    scores = (up - down) / (2 * small)
    steps = _STEP / np.sqrt(np.maximum(np.square(scores) @ weight, 1e-12))
    information, here = np.empty((n, n)), float(heights(vector[None])[0] @ weight)
    for i in range(n):
        j = np.arange(i + 1)
        one, other = np.zeros((len(j), n)), np.zeros((len(j), n))
        one[:, i] = steps[i]
        other[j, j] = steps[j]
        totals = [heights(vector + a * one + b * other) @ weight for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        second = (totals[0] - totals[1] - totals[2] + totals[3]) / (4 * steps[i] * steps[j])
        # Along one coordinate both steps are the same: twice the step, or none.
        second[-1] = (totals[0][-1] - 2 * here + totals[3][-1]) / (4 * steps[i] ** 2)
        information[i, j] = information[j, i] = -second
    return np.linalg.pinv(information, hermitian=True)[n_rest:, n_rest:]
