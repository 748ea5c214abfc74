"""The DataTree of a posterior fit: draws under both labels, what can be asked of them without labels, and how they came about."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.bayes.draws import Draws
from bayesgmm.bayes.prior_terms import log_prior_terms
from bayesgmm.bayes.roads import ROADS
from bayesgmm.bayes.space import Space
from bayesgmm.bayes.streamed import StreamedPosterior
from bayesgmm.diagnostics import label_free
from bayesgmm.estimators import _trees
from bayesgmm.expectation import Chunked
from bayesgmm.frame import Frame
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.typing import FloatArray

__all__ = ["posterior_tree"]

MOST_POINTWISE = 5e7
"""Most numbers of draws x rows for which the pointwise log-likelihood is kept (400 MB)."""


def posterior_tree(
    fit: Any, draws: Draws, raw: MixtureParams, frame: Frame, some: FloatArray, rows: FloatArray | Chunked
) -> xr.DataTree:
    """Return the tree of a fit whose ``params_`` are the draws with EM's labels, and ``raw`` those with the sampler's own.

    Parameters
    ----------
    fit : BayesianGaussianMixture
        Fitted but for its tree.
    draws : Draws
        As the sampler gave them, in the frame's coordinates.
    raw : MixtureParams
        The same in the user's units.
    frame : Frame
    some : array of shape (n, D)
        Rows to look at closely: all of them, or some of those in chunks.
    rows : array of shape (N, D), or Chunked
        Those that were fitted. Of rows in chunks, the tree holds nothing that has a number for each.
    """
    moments = fit._moments(some)
    names, family, in_chunks = fit.feature_names_, fit._family, isinstance(rows, Chunked)
    shape, statistics = raw.batch_shape, _statistics(fit, draws, frame, rows)
    if isinstance(rows, Chunked):
        log_likelihood = _from_lp(fit, draws, raw, frame, rows)
    else:
        log_likelihood = _log_likelihoods(fit, moments.draw_log_likelihood).reshape(shape)
    groups = {
        "posterior": _trees.parameters(fit.params_, family, names, ("chain", "draw")),
        "unlabelled_posterior": _trees.parameters(raw, family, names, ("chain", "draw")),
        "label_free": label_free(
            fit.params_,
            some,
            features=names,
            log_likelihood=log_likelihood,
            entropy=moments.draw_entropy.reshape(shape),
            lp=statistics.get("lp"),
        ),
        "sample_stats": _trees.per_draw({name: ((), v) for name, v in statistics.items()}, {}),
    }
    if not in_chunks:
        groups["responsibilities"] = _trees.responsibilities(_trees.responsibility_array(moments.mean, fit._fit_obs))
        groups["observed_data"] = _trees.observed(fit._fit_X, fit._fit_obs, names)
    if isinstance(fit.priors_, ResolvedPriors):
        terms = log_prior_terms(raw, fit.priors_, family)
        groups["log_prior"] = _trees.per_draw({name: ((), term) for name, term in terms.items()}, {})
    if not in_chunks and np.prod(shape) * len(some) <= MOST_POINTWISE:
        pointwise = {"x": (("obs",), fit.params_.log_density(fit._fit_X))}
        groups["log_likelihood"] = _trees.per_draw(pointwise, {"obs": fit._fit_obs})
    attrs = {
        "inference": ROADS[fit.sampler].inference,
        "draws": ROADS[fit.sampler].draws,
        "prior": "conjugate" if fit.sampler == "gibbs" else "model",
        "relabelled": "em-pivot",
        "sampler": draws.sampler,
        "sampling_time": draws.sampling_time,
        "tuning_steps": draws.tuning_steps,
        **_details(fit, draws, frame),
        **_trees.provenance(fit),
    }
    return _trees.tree(groups, attrs)


def _details(fit: Any, draws: Draws, frame: Frame) -> dict[str, Any]:
    """Return what else is to be said of the draws, in the user's units: an evidence is a density of the data."""
    details = dict(draws.details)
    if "log_marginal_likelihood" in details:
        details["log_marginal_likelihood"] -= float((~np.isnan(fit._fit_X)).sum(0) @ np.log(np.diag(frame.factor)))
    return details


def _log_likelihoods(fit: Any, of_rows: FloatArray) -> FloatArray:
    """Return each draw's log-likelihood, given that of rows which count once each."""
    weight = fit._fit_weight
    if weight is None:
        return of_rows
    flat, total = fit.params_.reshape(-1), np.zeros(len(of_rows))
    size = max(1, int(MOST_POINTWISE // len(of_rows)))
    for start in range(0, len(weight), size):
        rows = slice(start, start + size)
        total += flat.log_density(fit._fit_X[rows]) @ weight[rows]
    return total


def _from_lp(fit: Any, draws: Draws, raw: MixtureParams, frame: Frame, rows: Chunked) -> FloatArray:
    """Return each draw's log-likelihood of all rows without another pass over them: what the prior leaves of the log-posterior."""
    space = Space(raw.n_components, raw.n_features, fit._family)
    density = StreamedPosterior(rows, space, fit.priors_.standardised(frame.center, np.diag(frame.factor)), None, frame)
    flat = draws.params.reshape(-1)
    prior = density.log_prior(space.unconstrain(flat)).reshape(raw.batch_shape)
    return draws.statistics["lp"] - prior - float(rows.summary.seen @ np.log(np.diag(frame.factor)))


def _statistics(fit: Any, draws: Draws, frame: Frame, rows: FloatArray | Chunked) -> dict[str, FloatArray]:
    """Return the sampler's statistics with the log-posterior density in the user's units, as PyMC's model has it there."""
    # The densities of all values and of K means each change by the Jacobian of the scaling; those of logs of scales do not.
    if isinstance(rows, Chunked):
        seen = rows.summary.seen
    else:
        weight = np.ones(len(rows)) if fit._fit_weight is None else fit._fit_weight
        seen = weight @ ~np.isnan(rows)
    shift = float((seen + fit.n_components) @ np.log(np.diag(frame.factor)))
    statistics = dict(draws.statistics)
    if "lp" in statistics:
        statistics["lp"] = statistics["lp"] - shift
    if "energy" in statistics:
        statistics["energy"] = statistics["energy"] + shift
    return statistics
