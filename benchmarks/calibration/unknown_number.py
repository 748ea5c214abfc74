"""Simulation-based calibration where the number of components is not known either: it is drawn from its prior like everything else."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from arviz_stats.base import array_stats

from bayesgmm.diagnostics import label_free
from bayesgmm.estimators import BayesianGaussianMixture
from bayesgmm.exceptions import ConvergenceWarning, DataAdvice, DrawsAdvice
from bayesgmm.params import MixtureParams
from bayesgmm.priors import LogNormal, Poisson, Priors
from bayesgmm.typing import FloatArray
from benchmarks.calibration.sbc import N_DRAWS, Design, Outcome, held, rank

__all__ = ["OPEN_CONTROLS", "OPEN_DESIGNS", "OpenDesign"]

_MOST = 8
_CHAINS, _LENGTHS = 2, (600, 3000)
_FEW = Priors(concentration=2.0, means_loc=0.0, means_scale=5.0, sds=LogNormal(0.0, 0.3), eta=2.0, number=Poisson(1.5))
_MANY = replace(_FEW, number=Poisson(6.0))
_COUNTS = ("components", "components with rows")
_LUMPY = (*_COUNTS, "largest weight", "entropy of the responsibilities")
"""Numbers that many draws have exactly, as with one component: their central intervals hold more than they claim."""
_DIGITS = 12
"""After the point: what differs by rounding only is a tie, as the entropy of one component is, padded or not."""


@dataclass(frozen=True)
class OpenDesign(Design):
    """A design whose number of components is drawn from the prior, too; ``n_components`` is the largest."""

    priors: Priors = _FEW

    def draw(self, rng: np.random.Generator) -> tuple[MixtureParams, FloatArray, int]:
        """Draw a mixture of batch shape ``()``, data (N, D) from it, and how many of its components have rows."""
        assert self.priors.number is not None
        K = int(rng.choice(np.arange(1, self.n_components + 1), p=np.exp(self.priors.number.log_probability(self.n_components))))
        anything = rng.standard_normal((50, self.n_features))
        truth = replace(self.priors, number=None).sample(anything, K, n_draws=1, random_state=rng)[0]
        X, labels = truth.sample(self.n_rows, rng)
        return truth, X, len(np.unique(labels))

    def replicate(self, seed: np.random.SeedSequence) -> Outcome:
        """Simulate a data set, fit it with an open number, and rank the truth."""
        simulation, sampler, ties = seed.spawn(3)
        truth, X, filled = self.draw(np.random.default_rng(simulation))
        posterior, found, ess = self._fit(X, int(sampler.generate_state(1)[0]))
        true = _quantities(truth.reshape(1, 1), X) | {
            _COUNTS[0]: np.full((1, 1), truth.n_components),
            _COUNTS[1]: np.full((1, 1), filled),
        }
        rng = np.random.default_rng(ties)
        ranks = {name: rank(draws, float(true[name][0, 0]), rng) for name, draws in found.items()}
        lengths = [name for name in found if name not in _LUMPY]
        stacked = np.stack([found[name].ravel() for name in lengths], axis=-1)
        covered = {("posterior", "label-free quantities"): held(stacked, np.array([true[name][0, 0] for name in lengths]))}
        return Outcome(ranks, covered, ess, posterior.diagnose()[0].passed)

    def _fit(self, X: FloatArray, seed: int) -> tuple[BayesianGaussianMixture, dict[str, FloatArray], float]:
        """Return a posterior with as many independent draws as are ranked, if that can be, its quantities, and how many it has."""
        settings: dict[str, Any] = {"chains": _CHAINS, "cores": 1, "random_state": seed, "progressbar": False}
        priors = self.priors if self.fitted is None else self.fitted
        for draws in _LENGTHS:
            with warnings.catch_warnings():
                for category in (ConvergenceWarning, DataAdvice, DrawsAdvice):
                    warnings.simplefilter("ignore", category)
                posterior = BayesianGaussianMixture(
                    "auto", max_components=self.n_components, priors=priors, draws=draws, **settings
                ).fit(X)
            statistics = posterior.datatree_["sample_stats"].to_dataset()
            found = _quantities(posterior.mixtures_, X)
            found |= {_COUNTS[0]: statistics["n_components"].values, _COUNTS[1]: statistics["n_filled"].values}
            moving = np.stack([values for values in found.values() if np.ptp(values) > 0], axis=-1)
            ess = float(array_stats.ess(moving.astype(float), method="bulk", chain_axis=0, draw_axis=1).min())
            if ess >= N_DRAWS:
                break
        return posterior, found, ess


def _quantities(params: MixtureParams, X: FloatArray) -> dict[str, FloatArray]:
    """Return numbers (chain, draw) that a draw and the truth both have, whatever their number of components."""
    log_density = params.log_density(X)
    order = np.argsort(X[:, 0])
    free = label_free(params, X, log_likelihood=log_density.sum(-1))
    out = {
        "log-likelihood": free["log_likelihood"].values,
        "entropy of the responsibilities": np.round(free["entropy"].values, _DIGITS),
        "largest weight": np.round(params.weights.max(-1), _DIGITS),
        "log-density at the edge": log_density[..., order[0]],
        "log-density in the middle": log_density[..., order[len(X) // 2]],
    }
    for d in range(X.shape[1]):
        column = f" of column {d + 1}" if X.shape[1] > 1 else ""
        out[f"total mean{column}"] = free["total_mean"].values[..., d]
        out[f"total sd{column}"] = free["total_sd"].values[..., d]
    return out


OPEN_DESIGNS = (
    OpenDesign("An unknown number of groups in 1 column", _MOST, 1, 60),
    OpenDesign("An unknown number of groups in 2 columns", _MOST, 2, 80),
)
OPEN_CONTROLS = (OpenDesign("Far more groups believed in than there are", _MOST, 1, 60, fitted=_MANY),)
