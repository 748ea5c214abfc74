"""Rows left out one at a time: of EM by fitting again or by one step, of a posterior by importance sampling (PSIS) or by sampling again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from arviz_stats.base import array_stats
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from bayesgmm.covariance import WITH_PRIORS
from bayesgmm.criticism.elpd import MOST_LISTED, Elpd, pointwise, times_each, without
from bayesgmm.diagnostics.convergence import require_valid
from bayesgmm.diagnostics.verdict import pareto_k_limit
from bayesgmm.em.bootstrap import Original, Refit, Refitted
from bayesgmm.em.fisher_information import add_information, in_coordinates, inverse, row_scores
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.estimators.fitting import quiet
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.kernels.threads import chunks, libraries_on_one_thread, map_in_turns
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.progress import steps
from bayesgmm.random import seed_sequence
from bayesgmm.rows import refuse_known
from bayesgmm.text import listed
from bayesgmm.typing import FloatArray, RandomState

__all__ = [
    "Block",
    "Estimator",
    "blocks",
    "check_fit",
    "compare_elpd",
    "is_likelihood",
    "loo",
    "refitted_without",
    "sample_without",
]

_METHODS = ("auto", "exact", "one-step")
MOST_EXACT = 5_000
"""Rows up to which every one is left out by a refit unless one step is asked for."""
MOST_LEVERAGE = 0.1
"""Leverage of a row from which one step is too rough and EM runs again."""
_TASK = 16  # refits of one compiled call
BLOCK_NUMBERS = 4e6  # pointwise log-likelihoods that are in memory at a time

type Estimator = GaussianMixture | BayesianGaussianMixture


def loo(
    fit: Estimator,
    *,
    method: str = "auto",
    max_refits: int = 10,
    random_state: RandomState = None,
    progressbar: bool = True,
) -> Elpd:
    """Estimate how well a fit predicts rows that it has not seen, by leaving out each of its own.

    Parameters
    ----------
    fit : GaussianMixture or BayesianGaussianMixture
        Fitted.
    method : {"auto", "exact", "one-step"}
        For EM: refit without each row, starting from the fit; or find by one step where it would go, with refits for rows that pull
        hard. "auto" is exact up to 5,000 rows. Not used for a posterior.
    max_refits : int
        For a posterior: so many rows at most, those of highest Pareto k above the limit, are left out by sampling again; the others by
        Pareto-smoothed importance sampling. Not used for EM.
    random_state : int, Generator, RandomState or None
        Of the sampling; None takes the fit's.
    progressbar : bool
        Show on stderr how many refits are done, when that is a terminal.

    Returns
    -------
    Elpd
        ``print`` it for the result in words; its ``table`` says of each row how it was left out.

    Raises
    ------
    InvalidParameterError
        If a setting or the fit cannot be used.
    InvalidDataError
        If the fit's ``sample_weight`` are not whole numbers. A row of weight two is two rows, of which one is left out.

    Notes
    -----
    Vehtari, Gelman and Gabry (2017), Statistics and Computing 27, 1413-1432; Vehtari, Simpson, Gelman, Yao and Gabry (2024), Journal of
    Machine Learning Research 25:72. The posterior without a row keeps the priors of the fit as they are, also where the data had set
    their scale. EM's refits stay with the maximum that was found.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import loo
    >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
    >>> print(loo(em, progressbar=False))
    Leaving out one row at a time: elpd -1142.3, standard error 17.8, over 272 rows. Rows look better by 12.1 in sum when they are seen
    (effective number of parameters).
    How the rows were left out: 272 by fitting again without the row.
    """
    check_fit(fit, "loo")
    if method not in _METHODS:
        raise InvalidParameterError(f"method must be one of {', '.join(map(repr, _METHODS))}, got {method!r}")
    if max_refits < 0:
        raise InvalidParameterError(f"max_refits must be zero or more, got {max_refits}")
    if isinstance(fit, GaussianMixture):
        return _em_loo(fit, method, progressbar=progressbar)
    return _psis_loo(fit, max_refits, random_state, progressbar=progressbar)


def compare_elpd(fits: Mapping[str, Elpd | Estimator], **settings: Any) -> pd.DataFrame:
    """Compare fits by the density that they give to rows left out, EM's and posteriors alike.

    Parameters
    ----------
    fits : mapping of str to Elpd or fitted estimator
        For an estimator :func:`loo` is called first; ``results`` of :func:`kfold` are a mapping of this kind.
    **settings
        For :func:`loo`.

    Returns
    -------
    pandas.DataFrame
        ``arviz.compare``'s table, not rounded, the best first: ``elpd_diff`` is the difference in elpd to the best (zero or less), ``dse``
        its standard error, from the rows' differences, and ``weight`` the stacking weight.

    Raises
    ------
    InvalidParameterError
        If there are fewer than two, or rows left out one at a time are to be compared with folds.
    InvalidDataError
        If they are not of the same rows, or rows have weights that are not whole numbers.

    Notes
    -----
    Sivula, Magnusson, Matamoros and Vehtari (2025), Bayesian Analysis: with fewer than 100 rows, or a difference below 4, the standard
    error of a difference is too small, which the columns ``diag_diff`` and ``diag_elpd`` then say.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import compare_elpd
    >>> X = bg.datasets.load_faithful()
    >>> fits = {f"K={K}": bg.GaussianMixture(K, random_state=1).fit(X) for K in (1, 2)}
    >>> compare_elpd(fits, progressbar=False).index.tolist()
    ['K=2', 'K=1']
    """
    from arviz_stats import compare

    if len(fits) < 2:
        raise InvalidParameterError("give at least two fits to compare, each under a name")
    found = {name: fit if isinstance(fit, Elpd) else loo(fit, **settings) for name, fit in fits.items()}
    _check_alike(found)
    return compare({name: elpd.to_arviz() for name, elpd in found.items()}, method="stacking", round_to="none")


def _check_alike(found: Mapping[str, Elpd]) -> None:
    (first, reference), *others = found.items()
    for name, elpd in others:
        if elpd.kind != reference.kind:
            raise InvalidParameterError(
                f"{first!r} is from {reference.kind} and {name!r} from {elpd.kind}: leave out the same rows together for all of them"
            )
        ours, theirs = reference.table, elpd.table
        if not (ours.index.equals(theirs.index) and np.array_equal(ours["weight"], theirs["weight"])):
            raise InvalidDataError(f"{first!r} and {name!r} were not fitted to the same rows, or with other weights")


def check_fit(fit: Estimator, caller: str) -> None:
    """Raise unless this is a fitted estimator."""
    if not isinstance(fit, (GaussianMixture, BayesianGaussianMixture)):
        raise InvalidParameterError(f"{caller} takes a fitted GaussianMixture or BayesianGaussianMixture, got {type(fit).__name__}")
    check_is_fitted(fit, "params_")
    refuse_known(fit.rows_, caller)
    if fit.fixed is not None:
        raise InvalidParameterError(f"{caller} does not know of fixed parameters yet: fit without fixed")


class _LeftOut(NamedTuple):
    """What EM says of a row without it."""

    log_density: float
    converged: bool
    at_floor: bool


def _em_loo(em: GaussianMixture, method: str, *, progressbar: bool) -> Elpd:
    """Leave out each row of the training data."""
    known = em.rows_.in_memory()
    obs, weight, seen = known.index, times_each(known.weights, len(known)), em.predictor_.log_density(known.chunk)
    rows = np.flatnonzero(weight)
    elpd, how = np.full(len(weight), np.nan), np.full(len(weight), "exact", dtype=object)
    if method == "one-step" or (method == "auto" and len(rows) > MOST_EXACT and _is_plain(em)):
        rough = _one_step(em)
        near = np.isfinite(rough)
        elpd[near], how[near] = rough[near], "one-step"
        rows = rows[~near[rows]]
    ended: list[_LeftOut] = []
    with steps("Refitting without a row", len(rows), shown=progressbar) as advance:
        for left in _without_each(em, rows):
            ended.append(left)
            advance()
    elpd[rows] = [left.log_density for left in ended]
    table = pointwise(elpd, seen, weight, np.nan, how, obs)
    return Elpd(table, "loo", 1, int((weight > 0).sum()), notes=_notes(obs[rows], ended))


def _notes(names: pd.Index, ended: list[_LeftOut]) -> tuple[str, ...]:
    """Say what went wrong without some of these rows."""
    faults = {
        "a component lost its spread": [name for name, left in zip(names, ended, strict=True) if left.at_floor],
        "EM had not converged at max_iter": [
            name for name, left in zip(names, ended, strict=True) if not (left.converged or left.at_floor)
        ],
    }
    return tuple(
        f"Without row {listed(at_fault, MOST_LISTED)} {what}: the fit rests on single rows, fit fewer components."
        for what, at_fault in faults.items()
        if at_fault
    )


def _is_plain(em: GaussianMixture) -> bool:
    """Whether a fit is maximum likelihood with free weights and no noise, of a family whose likelihood has a gradient here."""
    return is_likelihood(em) and em.family_.name in WITH_PRIORS


def is_likelihood(em: GaussianMixture) -> bool:
    """Whether a fit is maximum likelihood with free weights and no noise."""
    return em.priors is None and not em.noise and not em.equal_weights


def _without_each(em: GaussianMixture, rows: np.ndarray) -> Iterator[_LeftOut]:
    """Yield what EM without each of the rows says of it."""
    if not is_likelihood(em):
        yield from (_estimator_without(em, int(i)) for i in rows)
        return
    X = em.rows_.values
    for i, (mixture, *ended) in zip(rows, refitted_without(em, rows), strict=True):
        yield _LeftOut(float(MixtureParams(*mixture).log_density(X[i : i + 1])[0]), *ended)


@libraries_on_one_thread()
def refitted_without(em: GaussianMixture, rows: np.ndarray) -> list[Refitted]:
    """Return, for each of these rows, the fit without it."""
    known = em.rows_.in_memory()
    refit = Refit.of(Original(known, em.params_), em.family_, em.tol, em.max_iter, em.reg_covar)

    def task(start: int, stop: int) -> list[Refitted]:
        return refit([known.weighted(without(known.weights, len(known), int(i))) for i in rows[start:stop]])

    parts = chunks(len(rows), _TASK)
    done = map_in_turns(task, parts) if refit.is_compiled and parts else (task(*part) for part in parts)
    return [one for part in done for one in part]


def _estimator_without(em: GaussianMixture, row: int) -> _LeftOut:
    """Fit the estimator itself without a row, from the fit: with its priors, noise or equal weights."""
    model = clone(em).set_params(warm_start=True, verbose=0)
    model.params_ = em.params_
    known = em.rows_.in_memory()
    with quiet():
        model.fit(known.values, sample_weight=without(known.weights, len(known), row))
    log_density = float(model.score_samples(known.values[row : row + 1])[0])
    return _LeftOut(log_density, model.converged_, model.status_ == "collapsed")


def _one_step(em: GaussianMixture) -> FloatArray:
    """Return the log-densities (N,) of rows left out, to first order; NaN where a row pulls too hard for that.

    With the score s of a row and the observed information H, EM without the row would go to about ``theta - H^-1 s``: the infinitesimal
    jackknife (Jaeckel 1972; Giordano, Stephenson, Liu, Jordan and Broderick 2019, AISTATS, "A Swiss Army infinitesimal jackknife"). How
    hard a row pulls is its leverage ``s' H^-1 s``.

    Raises
    ------
    InvalidParameterError
        If the fit has no such likelihood.
    """
    if not _is_plain(em):
        raise InvalidParameterError(
            "one step needs the gradient of a plain likelihood: covariance_type full, tied, diag or spherical, and no priors, noise or "
            "equal_weights. Use method='exact'"
        )
    rows, params, family = em.rows_.in_memory(), em.params_, em.family_
    out = np.full(len(rows), np.nan)
    coordinates, vector = in_coordinates(rows, params, family)
    is_finite = np.isfinite(vector).all()
    bread = inverse(add_information(rows, params, family, coordinates).observed) if is_finite else None
    if bread is None:
        return out
    scores = row_scores(rows, params, family)
    moves = scores @ bread
    for i in np.flatnonzero((moves * scores).sum(axis=1) < MOST_LEVERAGE):
        out[i] = coordinates.params((vector - moves[i])[None]).log_density(rows.values[i : i + 1])[0, 0]
    return out


class Block(NamedTuple):
    """Some rows, and the draws as they would be without each of them."""

    rows: slice
    log_density: FloatArray
    """(n, T)"""
    log_weights: FloatArray
    """(n, T): logs of weights of the draws that add up to one."""
    pareto_k: FloatArray
    """(n,)"""


def blocks(fit: BayesianGaussianMixture) -> Iterator[Block]:
    """Yield the rows of the training data, each with weights of the draws that take its likelihood out.

    Draws x rows never exist together where they are many.
    """
    require_valid(fit.datatree_, "loo")
    X, flat = fit.rows_.values, fit.params_.reshape(-1)
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


def _psis_loo(fit: BayesianGaussianMixture, max_refits: int, random_state: RandomState, *, progressbar: bool) -> Elpd:
    """Leave out each row of the training data; the worst ``max_refits`` rows that reweighting cannot reach are sampled without."""
    known = fit.rows_.in_memory()
    X, obs, weight = known.values, known.index, times_each(known.weights, len(known))
    n_draws = int(np.prod(fit.params_.batch_shape))
    elpd, seen, k = (np.empty(len(weight)) for _ in range(3))
    for block in blocks(fit):
        elpd[block.rows] = np.logaddexp.reduce(block.log_weights + block.log_density, axis=1)
        seen[block.rows] = np.logaddexp.reduce(block.log_density, axis=1) - np.log(n_draws)
        k[block.rows] = block.pareto_k
    how = np.full(len(weight), "psis", dtype=object)
    limit = pareto_k_limit(n_draws)
    high = np.flatnonzero(~(k <= limit) & (weight > 0))
    # Gibbs sampling knows no weights, and priors may not be known.
    most = max_refits if isinstance(fit.priors_, ResolvedPriors) else 0
    chosen = high[np.argsort(-np.nan_to_num(k[high], nan=np.inf), kind="stable")][:most]
    seeds = seed_sequence(fit.random_state if random_state is None else random_state).spawn(len(chosen))
    with steps("Sampling without a row", len(chosen), shown=progressbar) as advance:
        for i, seed in zip(chosen, seeds, strict=True):
            draws = sample_without(fit, int(i), int(seed.generate_state(1)[0]))
            elpd[i] = np.logaddexp.reduce(draws.log_density(X[i : i + 1])[:, 0]) - np.log(len(draws.weights))
            how[i] = "refit"
            advance()
    return Elpd(pointwise(elpd, seen, weight, k, how, obs), "loo", n_draws, int((weight > 0).sum()), limit)


def sample_without(fit: BayesianGaussianMixture, row: int, seed: int) -> MixtureParams:
    """Sample the posterior without a row, under the very priors of the fit; batch shape ``(draws,)``, labels as they come."""
    # Loaded here: nothing else of what is asked of a posterior needs a sampler.
    from bayesgmm.bayes.sampling import sample

    known, priors = fit.rows_.in_memory(), fit.priors_
    assert isinstance(priors, ResolvedPriors)
    others = known.weighted(without(known.weights, len(known), row))
    settings = fit.settings_for(int(seed_sequence(seed).generate_state(1)[0]), progressbar=False)
    # By "hmc", whatever the fit's sampler: it knows weights.
    draws = sample(others, fit.family_, priors, [fit.em_.params_], settings)
    return draws.params.reshape(-1)
