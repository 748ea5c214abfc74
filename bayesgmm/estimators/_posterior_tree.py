"""The DataTree of a posterior fit: draws under both labels, what can be asked of them without labels, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.bayes.draws import Draws, Sampler
from bayesgmm.bayes.log_posterior import log_prior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import Family
from bayesgmm.diagnostics import label_free
from bayesgmm.estimators import _trees
from bayesgmm.estimators._prediction import Predictor
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedConjugatePriors, ResolvedPriors
from bayesgmm.priors.log_prior import log_prior_terms
from bayesgmm.rows import MemoryRows, Rows
from bayesgmm.typing import FloatArray

__all__ = ["Everything", "posterior_tree"]

MOST_POINTWISE = 5e7
"""Most numbers of draws x rows for which the pointwise log-likelihood is kept (400 MB)."""


MOST_RESPONSIBILITIES = 2e8
"""Most draws x rows for which a fit finds all rows' responsibilities unasked (some 5 s): 50,000 rows with 4,000 draws."""


@dataclass(frozen=True, eq=False)
class Everything:
    """All draws of a posterior, and what they say of rows.

    Parameters
    ----------
    draws : Draws
    predictor : Predictor
        Of the same mixtures.
    """

    draws: Draws
    predictor: Predictor


def posterior_tree(
    params: MixtureParams,
    draws: Draws,
    family: Family,
    priors: ResolvedPriors | ResolvedConjugatePriors | None,
    some: MemoryRows,
    rows: Rows,
    kind: Sampler,
    provenance: dict[str, Any],
    everything: Everything | None = None,
    dependent: xr.Dataset | None = None,
) -> xr.DataTree:
    """Return the tree of a posterior.

    Parameters
    ----------
    params : MixtureParams
        The draws with EM's labels.
    draws : Draws
        The same with the sampler's own labels.
    family : Family
    priors : ResolvedPriors or ResolvedConjugatePriors, optional
        If they are known.
    some : MemoryRows
        Those that are looked at closely where there are too many to do so with all.
    rows : Rows
        Those that were fitted. Of rows in chunks, the tree holds nothing that has a number for each; of very many in memory, it holds
        neither responsibilities nor log-likelihoods of each.
    kind : Sampler
        What drew them.
    provenance : dict
        What else is to be said of the fit, for the root's ``attrs``.
    everything : Everything, optional
        Where the number of components is not known: all draws, while ``params`` and ``draws`` are those with one number of them.
    dependent : Dataset, optional
        What the weights depend on, for the group ``posterior``.
    """
    names, raw = rows.feature_names, draws.params
    everything = Everything(draws, Predictor(params)) if everything is None else everything
    statistics, every = everything.draws.statistics, everything.predictor.params
    shape = every.batch_shape
    # Of weights that depend on something, and where something is fixed, the log-posterior has terms that are not told apart.
    has_exact_lp = kind.has_exact_lp and dependent is None and "fixed" not in draws.details
    all_looked_at = rows.is_in_memory and bool(np.prod(shape) * len(rows) <= MOST_RESPONSIBILITIES or not has_exact_lp)
    looked_at = rows.in_memory() if all_looked_at else some
    moments = everything.predictor.moments(looked_at.chunk)
    if all_looked_at:
        log_likelihood = _log_likelihoods(every, looked_at, moments.draw_log_likelihood).reshape(shape)
    else:
        log_likelihood = _from_lp(draws, priors, family)
    groups = {
        "posterior": _trees.parameters(params, family, names, ("chain", "draw")),
        "unlabelled_posterior": _trees.parameters(raw, family, names, ("chain", "draw")),
        "label_free": label_free(
            every,
            looked_at.values,
            features=names,
            log_likelihood=log_likelihood,
            entropy=moments.draw_entropy.reshape(shape),
            lp=statistics.get("lp"),
            n_filled=statistics.get("n_filled"),
        ),
    }
    if dependent is not None:
        groups["posterior"] = groups["posterior"].merge(dependent)
    if statistics:
        groups["sample_stats"] = _trees.per_draw({name: ((), v) for name, v in statistics.items()}, {})
    if all_looked_at:
        groups["responsibilities"] = _trees.responsibilities(_trees.responsibility_array(moments.mean, rows.index))
    if rows.is_in_memory:
        groups["observed_data"] = _trees.observed(rows.values, rows.index, names)
    if isinstance(priors, ResolvedPriors) and everything.predictor.grouping is None:
        terms = log_prior_terms(raw, priors, family)
        groups["log_prior"] = _trees.per_draw({name: ((), term) for name, term in terms.items()}, {})
    if all_looked_at and np.prod(shape) * len(looked_at) <= MOST_POINTWISE:
        pointwise = {"x": (("obs",), every.log_density(looked_at.chunk))}
        groups["log_likelihood"] = _trees.per_draw(pointwise, {"obs": rows.index})
    if everything.predictor.grouping is not None:
        groups["mixtures"] = _trees.mixtures(every, names)
    attrs = {
        "inference": kind.inference,
        "draws": kind.draws,
        "prior": "unknown" if priors is None else "model" if isinstance(priors, ResolvedPriors) else "conjugate",
        "relabelled": "em-pivot",
        "sampler": draws.sampler,
        "sampling_time": draws.sampling_time,
        "tuning_steps": draws.tuning_steps,
        **({} if rows.known is None else {"known_of_rows": rows.known.names}),
        **draws.details,
        **provenance,
    }
    return _trees.tree(groups, attrs)


def _log_likelihoods(params: MixtureParams, rows: MemoryRows, of_rows: FloatArray) -> FloatArray:
    """Return each draw's log-likelihood, given that of rows which count once each."""
    if rows.weights is None:
        return of_rows
    flat, total = params.reshape(-1), np.zeros(len(of_rows))
    # Sets are not cut.
    size = max(1, int(MOST_POINTWISE // len(of_rows))) if rows.known is None or rows.known.sets is None else len(rows)
    for start in range(0, len(rows), size):
        some = rows.take(np.arange(start, min(start + size, len(rows))))
        total += flat.log_density(some.chunk) @ rows.weights[start : start + size]
    return total


def _from_lp(draws: Draws, priors: ResolvedPriors | ResolvedConjugatePriors | None, family: Family) -> FloatArray:
    """Return each draw's log-likelihood of all rows without another pass over them: what the prior leaves of the log-posterior."""
    assert draws.frame is not None
    assert draws.priors is not None
    frame, inside, shape = draws.frame, draws.priors, draws.params.batch_shape
    own = priors.frame.log_det if isinstance(priors, ResolvedPriors) else inside.frame.log_det
    space = Space(inside, family)
    prior = log_prior(space.unconstrain(frame.params_in(draws.params.reshape(-1))), space).reshape(shape)
    return draws.statistics["lp"] - prior + draws.params.n_components * (frame.log_det + inside.frame.log_det - own)
