"""The DataTree of a posterior fit: draws under both labels, what can be asked of them without labels, and how they came about."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.bayes.draws import Draws
from bayesgmm.bayes.prior_terms import log_prior_terms
from bayesgmm.bayes.samplers import Sampler
from bayesgmm.bayes.space import Space
from bayesgmm.bayes.streamed import log_prior
from bayesgmm.diagnostics import label_free
from bayesgmm.estimators import _trees
from bayesgmm.expectation import Chunked
from bayesgmm.frame import Frame
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.typing import FloatArray

__all__ = ["posterior_tree"]

type Inside = tuple[Frame, ResolvedPriors]

MOST_POINTWISE = 5e7
"""Most numbers of draws x rows for which the pointwise log-likelihood is kept (400 MB)."""


MOST_RESPONSIBILITIES = 2e8
"""Most draws x rows for which a fit finds all rows' responsibilities unasked (some 5 s): 50,000 rows with 4,000 draws."""


def posterior_tree(
    fit: Any,
    draws: Draws,
    raw: MixtureParams,
    inside: Inside | None,
    some: FloatArray,
    rows: FloatArray | Chunked,
    kind: Sampler,
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
    inside : (Frame, ResolvedPriors), optional
        The sampler's coordinates, and the priors for data in them; by default the user's, and nothing is known of priors.
    some : array of shape (n, D)
        Rows that are looked at closely where there are too many to do so with all.
    rows : array of shape (N, D), or Chunked
        Those that were fitted. Of rows in chunks, the tree holds nothing that has a number for each; of very many in memory, it holds
        neither responsibilities nor log-likelihoods of each.
    kind : Sampler
        What drew them.
    """
    names, family, in_chunks = fit.feature_names_, fit._family, isinstance(rows, Chunked)
    shape, seen = raw.batch_shape, _seen(fit, rows)
    statistics = draws.statistics if inside is None else _statistics(fit, draws, inside, seen)
    all_looked_at = False
    if not isinstance(rows, Chunked):
        all_looked_at = bool(np.prod(shape) * len(rows) <= MOST_RESPONSIBILITIES) or not kind.has_exact_lp
        some = rows if all_looked_at else some
    moments = fit._moments(some)
    if all_looked_at:
        log_likelihood = _log_likelihoods(fit, moments.draw_log_likelihood).reshape(shape)
    else:
        assert inside is not None
        log_likelihood = _from_lp(fit, draws, raw, inside, seen)
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
    }
    if statistics:
        groups["sample_stats"] = _trees.per_draw({name: ((), v) for name, v in statistics.items()}, {})
    if all_looked_at:
        groups["responsibilities"] = _trees.responsibilities(_trees.responsibility_array(moments.mean, fit._fit_obs))
    if not in_chunks:
        groups["observed_data"] = _trees.observed(fit._fit_X, fit._fit_obs, names)
    if isinstance(fit.priors_, ResolvedPriors):
        terms = log_prior_terms(raw, fit.priors_, family)
        groups["log_prior"] = _trees.per_draw({name: ((), term) for name, term in terms.items()}, {})
    if all_looked_at and np.prod(shape) * len(some) <= MOST_POINTWISE:
        pointwise = {"x": (("obs",), fit.params_.log_density(fit._fit_X))}
        groups["log_likelihood"] = _trees.per_draw(pointwise, {"obs": fit._fit_obs})
    attrs = {
        "inference": kind.inference,
        "draws": kind.draws,
        "prior": "unknown" if fit.priors_ is None else "model" if isinstance(fit.priors_, ResolvedPriors) else "conjugate",
        "relabelled": "em-pivot",
        "sampler": draws.sampler,
        "sampling_time": draws.sampling_time,
        "tuning_steps": draws.tuning_steps,
        **draws.details,
        **_trees.provenance(fit),
    }
    return _trees.tree(groups, attrs)


def _volume(frame: Frame, seen: FloatArray) -> float:
    """Return the log of the volume of what was seen, in the user's units, where it has unit volume in a frame: of values (D,) by column.

    Where the frame mixes columns, no row lacks a value.
    """
    return float(seen @ np.log(np.diag(frame.factor))) if frame.is_along_columns else float(seen[0] * frame.log_det)


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


def _seen(fit: Any, rows: FloatArray | Chunked) -> FloatArray:
    """Return how many values (D,) each column has, counted by the rows' weights."""
    if isinstance(rows, Chunked):
        return rows.summary.seen
    weight = np.ones(len(rows)) if fit._fit_weight is None else fit._fit_weight
    return weight @ ~np.isnan(rows)


def _from_lp(fit: Any, draws: Draws, raw: MixtureParams, inside: Inside, seen: FloatArray) -> FloatArray:
    """Return each draw's log-likelihood of all rows without another pass over them: what the prior leaves of the log-posterior."""
    flat = draws.params.reshape(-1)
    frame, priors = inside
    space = Space.under(priors, fit._family)
    prior = log_prior(space.unconstrain(flat), space, priors).reshape(raw.batch_shape)
    return draws.statistics["lp"] - prior - _volume(frame, seen)


def _statistics(fit: Any, draws: Draws, inside: Inside, seen: FloatArray) -> dict[str, FloatArray]:
    """Return the sampler's statistics with the log-posterior density in the user's units, as PyMC's model has it there."""
    # The density of all values changes by the Jacobian of the frame, and those of K means by that of the units of their axes.
    frame, priors = inside
    own = fit.priors_.frame.log_det if isinstance(fit.priors_, ResolvedPriors) else priors.frame.log_det
    shift = _volume(frame, seen) + fit.n_components * (frame.log_det + priors.frame.log_det - own)
    statistics = dict(draws.statistics)
    if "lp" in statistics:
        statistics["lp"] = statistics["lp"] - shift
    if "energy" in statistics:
        statistics["energy"] = statistics["energy"] + shift
    return statistics
