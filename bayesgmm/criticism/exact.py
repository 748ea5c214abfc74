"""Rows left out of a maximum-likelihood fit: EM again from the fit, or one step towards where it would go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone

from bayesgmm.criticism.value import Elpd
from bayesgmm.criticism.weights import times_each, without
from bayesgmm.em.bootstrap import Original, Refit
from bayesgmm.em.standard_errors import add_information, in_coordinates, inverse, row_scores
from bayesgmm.estimators import GaussianMixture
from bayesgmm.estimators.fitting import quiet
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import evaluate
from bayesgmm.kernels.threads import chunks, libraries_on_one_thread, map_in_turns
from bayesgmm.progress import steps
from bayesgmm.rows import Chunk
from bayesgmm.typing import FloatArray

__all__ = ["em_loo", "is_likelihood", "is_plain", "refitted_without"]

MOST_EXACT = 5_000
"""Rows up to which every one is left out by a refit unless one step is asked for."""
MOST_LEVERAGE = 0.1
"""Leverage of a row from which one step is too rough and EM runs again."""
_TASK = 16  # refits of one compiled call
_SIMPLE = ("full", "tied", "diag", "spherical")

type Mixture = tuple[FloatArray, FloatArray, FloatArray]


class LeftOut(NamedTuple):
    """What EM says of a row without it."""

    log_density: float
    converged: bool
    at_floor: bool


def em_loo(em: GaussianMixture, method: str, *, progressbar: bool) -> Elpd:
    """Leave out each row of the training data."""
    known = em.rows_.in_memory()
    weight = times_each(known.weights, len(known))
    rows = np.flatnonzero(weight)
    elpd, how = np.full(len(weight), np.nan), np.full(len(weight), "exact", dtype=object)
    if method == "one-step" or (method == "auto" and len(rows) > MOST_EXACT and is_plain(em)):
        rough = one_step(em)
        near = np.isfinite(rough)
        elpd[near], how[near] = rough[near], "one-step"
        rows = rows[~near[rows]]
    ended: list[LeftOut] = []
    with steps("Refitting without a row", len(rows), shown=progressbar) as advance:
        for left in _without_each(em, rows):
            ended.append(left)
            advance()
    elpd[rows] = [left.log_density for left in ended]
    columns = {"elpd": elpd, "in_sample": em.predictor_.log_density(known.chunk), "weight": weight, "pareto_k": np.nan, "how": how}
    table = pd.DataFrame(columns, index=known.index)
    table.loc[table["weight"] == 0, ["elpd", "in_sample"]] = np.nan
    return Elpd(table, "loo", 1, int((weight > 0).sum()), notes=_notes(em, rows, ended))


def _notes(em: GaussianMixture, rows: np.ndarray, ended: list[LeftOut]) -> tuple[str, ...]:
    out = []
    for what, at_fault in (
        ("a component lost its spread", [left.at_floor for left in ended]),
        ("EM had not converged at max_iter", [not (left.converged or left.at_floor) for left in ended]),
    ):
        names = [str(em.rows_.index[i]) for i in rows[np.array(at_fault, dtype=bool)]]
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            out.append(f"Without row {', '.join(names[:5])}{more} {what}: the fit rests on single rows, fit fewer components.")
    return tuple(out)


def is_plain(em: GaussianMixture) -> bool:
    """Whether a fit is maximum likelihood with free weights and no noise, of a family whose likelihood has a gradient here."""
    return is_likelihood(em) and em.family_.name in _SIMPLE


def is_likelihood(em: GaussianMixture) -> bool:
    """Whether a fit is maximum likelihood with free weights and no noise."""
    return em.priors is None and not em.noise and not em.equal_weights


def _without_each(em: GaussianMixture, rows: np.ndarray) -> Iterator[LeftOut]:
    """Yield what EM without each of the rows says of it."""
    if not is_likelihood(em):
        yield from (_estimator_without(em, int(i)) for i in rows)
        return
    for i, mixture, converged, at_floor in refitted_without(em, rows):
        yield LeftOut(_log_density(em.rows_.values[i : i + 1], mixture), converged, at_floor)


@libraries_on_one_thread()
def refitted_without(em: GaussianMixture, rows: np.ndarray) -> list[tuple[int, Mixture, bool, bool]]:
    """Return, for each row, the mixture (weights, means, scale_tril) without it, whether EM converged, and whether it is at its floor."""
    known = em.rows_.in_memory()
    refit = Refit.of(Original(known, em.params_), em.family_, em.tol, em.max_iter, em.reg_covar)

    def task(start: int, stop: int) -> list[tuple[int, Mixture, bool, bool]]:
        some = [int(i) for i in rows[start:stop]]
        found = refit([known.weighted(without(known.weights, len(known), i)) for i in some])
        return [(i, fit.mixture, fit.converged, fit.at_floor) for i, fit in zip(some, found, strict=True)]

    parts = chunks(len(rows), _TASK)
    done = map_in_turns(task, parts) if refit.is_compiled and parts else (task(*part) for part in parts)
    return [one for part in done for one in part]


def _estimator_without(em: GaussianMixture, row: int) -> LeftOut:
    """Fit the estimator itself without a row, from the fit: with its priors, noise or equal weights."""
    known = em.rows_.in_memory()
    model = clone(em).set_params(warm_start=True, verbose=0)
    model.params_ = em.params_
    with quiet():
        model.fit(known.values, sample_weight=without(known.weights, len(known), row))
    log_density = float(model.score_samples(known.values[row : row + 1])[0])
    return LeftOut(log_density, model.converged_, model.status_ == "collapsed")


def _log_density(row: FloatArray, mixture: Mixture) -> float:
    weights, means, scale_tril = mixture
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    return float(evaluate(Chunk(row), log_weights, means, scale_tril)[1][0])


def one_step(em: GaussianMixture) -> FloatArray:
    """Return the log-densities (N,) of rows left out, to first order; NaN where a row pulls too hard for that.

    With the score s of a row and the observed information H, EM without the row would go to about ``theta - H^-1 s``: the infinitesimal
    jackknife (Jaeckel 1972; Giordano, Stephenson, Liu, Jordan and Broderick 2019, AISTATS, "A Swiss Army infinitesimal jackknife"). How
    hard a row pulls is its leverage ``s' H^-1 s``.

    Raises
    ------
    InvalidParameterError
        If the fit has no such likelihood.
    """
    if not is_plain(em):
        raise InvalidParameterError(
            "one step needs the gradient of a plain likelihood: covariance_type full, tied, diag or spherical, and no priors, noise or "
            "equal_weights. Use method='exact'"
        )
    rows, params, family = em.rows_.in_memory(), em.params_, em.family_
    out = np.full(len(rows), np.nan)
    coordinates, vector = in_coordinates(rows, params, family)
    if not np.isfinite(vector).all():
        return out
    bread = inverse(add_information(rows, params, family, coordinates).observed)
    if bread is None:
        return out
    scores = row_scores(rows, params, family)
    moves = scores @ bread
    for i in np.flatnonzero((moves * scores).sum(axis=1) < MOST_LEVERAGE):
        moved = coordinates.params((vector - moves[i])[None])
        out[i] = _log_density(rows.values[i : i + 1], (moved.weights[0], moved.means[0], moved.scale_tril[0]))
    return out
