"""Rows left out of a posterior: Pareto-smoothed importance sampling, and sampling again where that fails."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import NamedTuple

import numpy as np
import pandas as pd
from arviz_stats.base import array_stats

from bayesgmm.criticism.value import Elpd
from bayesgmm.criticism.weights import times_each, without
from bayesgmm.diagnostics.convergence import require_valid
from bayesgmm.estimators import BayesianGaussianMixture
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.progress import steps
from bayesgmm.random import seed_sequence
from bayesgmm.typing import FloatArray, RandomState

__all__ = ["Block", "blocks", "good_k", "psis_loo", "sample_without"]

BLOCK_NUMBERS = 4e6  # pointwise log-likelihoods that are in memory at a time


class Block(NamedTuple):
    """Some rows, and the draws as they would be without each of them."""

    rows: slice
    log_density: FloatArray
    """(n, T)"""
    log_weights: FloatArray
    """(n, T): logs of weights of the draws that add up to one."""
    pareto_k: FloatArray
    """(n,)"""


def good_k(n_draws: int) -> float:
    """Return the Pareto k up to which so many draws can be reweighted (Vehtari et al. 2024, section 3.2.4)."""
    return min(1.0 - 1.0 / np.log10(n_draws), 0.7)


def blocks(fit: BayesianGaussianMixture) -> Iterator[Block]:
    """Yield the rows of the training data, each with weights of the draws that take its likelihood out.

    Draws x rows never exist together where they are many.
    """
    require_valid(fit.datatree_, "loo")
    X, flat = fit._fit_X, fit.params_.reshape(-1)
    T = len(flat.weights)
    efficiency = _efficiency(fit)
    size = max(1, int(BLOCK_NUMBERS / T))
    for start in range(0, len(X), size):
        rows = slice(start, min(start + size, len(X)))
        logs = np.ascontiguousarray(flat.log_density(X[rows]).T)
        # Draws under which a row has the same density to rounding need no weights, and have no tail to smooth.
        flat_rows = np.ptp(logs, axis=1) < 1e-12
        weights, k = np.full_like(logs, -np.log(T)), np.full(len(logs), -np.inf)
        if not flat_rows.all():
            weights[~flat_rows], k[~flat_rows] = array_stats.psislw(logs[~flat_rows], r_eff=efficiency, axis=-1)
        yield Block(rows, logs, weights, k)


def _efficiency(fit: BayesianGaussianMixture) -> float:
    """Relative effective sample size of the log-likelihood, which no labels matter to."""
    values = fit.datatree_["label_free"].to_dataset()["log_likelihood"].to_numpy()
    ess = float(array_stats.ess(values, chain_axis=0, draw_axis=1, method="mean"))
    return min(1.0, ess / values.size) if np.isfinite(ess) else 1.0


def psis_loo(fit: BayesianGaussianMixture, max_refits: int, random_state: RandomState, *, progressbar: bool) -> Elpd:
    """Leave out each row of the training data; the worst ``max_refits`` rows that reweighting cannot reach are sampled without."""
    weight = times_each(fit._fit_weight, len(fit._fit_X))
    n_draws = int(np.prod(fit.params_.batch_shape))
    elpd, seen, k = (np.empty(len(weight)) for _ in range(3))
    for block in blocks(fit):
        elpd[block.rows] = np.logaddexp.reduce(block.log_weights + block.log_density, axis=1)
        seen[block.rows] = np.logaddexp.reduce(block.log_density, axis=1) - np.log(n_draws)
        k[block.rows] = block.pareto_k
    how = np.full(len(weight), "psis", dtype=object)
    limit = good_k(n_draws)
    high = np.flatnonzero(~(k <= limit) & (weight > 0))
    max_refits = (
        max_refits if isinstance(fit.priors_, ResolvedPriors) else 0
    )  # Gibbs sampling knows no weights, and priors may not be known
    chosen = high[np.argsort(-np.nan_to_num(k[high], nan=np.inf), kind="stable")][:max_refits]
    seeds = seed_sequence(fit.random_state if random_state is None else random_state).spawn(len(chosen))
    with steps("Sampling without a row", len(chosen), shown=progressbar) as advance:
        for i, seed in zip(chosen, seeds, strict=True):
            draws = sample_without(fit, int(i), int(seed.generate_state(1)[0]))
            elpd[i] = np.logaddexp.reduce(draws.log_density(fit._fit_X[i : i + 1])[:, 0]) - np.log(len(draws.weights))
            how[i] = "refit"
            advance()
    columns = {"elpd": elpd, "in_sample": seen, "weight": weight, "pareto_k": k, "how": how}
    table = pd.DataFrame(columns, index=fit._fit_obs)
    table.loc[table["weight"] == 0, ["elpd", "in_sample", "pareto_k"]] = np.nan
    return Elpd(table, "loo", n_draws, int((weight > 0).sum()), limit)


def sample_without(fit: BayesianGaussianMixture, row: int, seed: int) -> MixtureParams:
    """Sample the posterior without a row, under the very priors of the fit; batch shape ``(draws,)``, labels as they come."""
    model, X, priors = copy(fit), fit._fit_X, fit.priors_
    assert isinstance(priors, ResolvedPriors)
    # The same posterior by a sampler that knows weights.
    model.random_state, model.progressbar, model.sampler = seed, False, "nuts"
    model._fit_weight = without(fit._fit_weight, len(X), row)
    frame, inside = model._coordinates(X, priors)
    draws = model._sample(frame, X, inside, None, [fit.em_.params_])
    return frame.params_out(draws.params).reshape(-1)
