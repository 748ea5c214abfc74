"""Predictive checks: where values fall under the fit without their rows, and statistics of data simulated from a fit beside the data's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.spatial import KDTree
from scipy.stats import kstest, skew

from bayesgmm.criticism.elpd import times_each
from bayesgmm.criticism.loo import Estimator, blocks, check_fit, is_likelihood, refitted_without
from bayesgmm.diagnostics.verdict import pareto_k_limit
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.random import seed_sequence
from bayesgmm.rows import Chunk, Known, as_chunk
from bayesgmm.typing import FloatArray, RandomState

__all__ = ["loo_pit", "pit_table", "predictive_check", "predictive_statistics"]

_MOMENTS = ("mean", "sd", "skewness", "kurtosis", "minimum", "maximum")
_MOST_NUMBERS = 4_000_000
_MOST_CORRELATED = 10
_SHOWN, _SHOWN_ROWS = 40, 5_000

type Statistic = Callable[[FloatArray], FloatArray | float]

_BY_COLUMN: dict[str, Statistic] = {
    "minimum": lambda X: X.min(axis=0),
    "maximum": lambda X: X.max(axis=0),
    "sd": lambda X: X.std(axis=0),
    "skewness": lambda X: skew(X, axis=0),
}


def loo_pit(fit: Estimator) -> xr.DataArray:
    """Return the probability that a row's value in a column would be smaller, judged by the fit without that row.

    If the model is right these are uniform between 0 and 1: too many near 0 and 1 say that the fit is too narrow, too many in the middle
    that it is too wide. :func:`pit_table` judges them.

    Parameters
    ----------
    fit : GaussianMixture or BayesianGaussianMixture
        Fitted. A posterior's draws are reweighted (PSIS); EM is refitted without each row.

    Returns
    -------
    xarray.DataArray, dims (obs, feature)
        NaN for missing values and rows of weight zero; ``attrs["n_high_k"]`` is the number of rows whose Pareto k is too high.

    Raises
    ------
    InvalidParameterError
        If an EM fit has priors, noise or equal weights.
    InvalidDataError
        If the fit's ``sample_weight`` are not whole numbers.

    Notes
    -----
    Gelfand, Dey and Chang (1992), Bayesian Statistics 4, 147-167. The distribution function of each draw is that of its mixture, so
    nothing is simulated.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import loo_pit
    >>> pit = loo_pit(bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful()))
    >>> pit.dims, round(float(pit.mean()), 2)
    (('obs', 'feature'), 0.5)
    """
    check_fit(fit, "loo_pit")
    rows = fit.rows_.in_memory()
    X, weight = rows.values, times_each(rows.weights, len(rows))
    values, n_high = _pit_of_em(fit, X, weight) if isinstance(fit, GaussianMixture) else _pit_of_posterior(fit, X)
    values[weight == 0] = np.nan
    coords = {"obs": rows.index, "feature": fit.feature_names_}
    return xr.DataArray(values, dims=("obs", "feature"), coords=coords, name="loo_pit", attrs={"n_high_k": n_high})


def pit_table(pit: xr.DataArray) -> pd.DataFrame:
    """Judge whether the values of :func:`loo_pit` are uniform.

    Parameters
    ----------
    pit : xarray.DataArray, dims (obs, feature)

    Returns
    -------
    pandas.DataFrame
        For each feature ``n``, ``mean`` (0.5 expected), ``sd`` (0.289 expected), ``distance`` of Kolmogorov and Smirnov from the uniform
        distribution, its ``p_value`` (a guide: values that share a fit are not quite independent), and a ``sentence``.

    Examples
    --------
    >>> even = xr.DataArray((np.arange(100)[:, None] + 0.5) / 100, dims=("obs", "feature"), coords={"feature": ["a"]})
    >>> pit_table(even).loc["a", ["mean", "p_value"]].tolist()
    [0.5, 1.0]
    """
    rows = []
    for column in pit.transpose("feature", "obs").values:
        values = column[~np.isnan(column)]
        rows.append((len(values), values.mean(), values.std(), *kstest(values, "uniform")) if len(values) else (0, *[np.nan] * 4))
    names = pd.Index(pit["feature"].values.astype(str), name="feature", dtype=object)
    table = pd.DataFrame(rows, index=names, columns=["n", "mean", "sd", "distance", "p_value"])
    table["sentence"] = [_pit_sentence(row) for _, row in table.iterrows()]
    return table


def predictive_statistics(
    fit: Estimator,
    statistics: Mapping[str, Statistic] | None = None,
    *,
    n_replicates: int = 500,
    random_state: RandomState = None,
) -> pd.DataFrame:
    """Compare statistics of the data with those of data sets of as many rows simulated from the fit.

    Parameters
    ----------
    fit : GaussianMixture or BayesianGaussianMixture
        Fitted. Each data set comes from one draw of a posterior, so that the spread between data sets has what is not known of the
        parameters; from EM all come from the one fit.
    statistics : mapping of str to callable, optional
        Functions of data (N, D) that return D numbers, one for each column, or a single one. By default the least and greatest value,
        standard deviation and skewness of each column, and the mean distance of a row to its nearest neighbour, in standard deviations
        of the columns.
    n_replicates : int
    random_state : int, Generator, RandomState or None
        None takes the fit's.

    Returns
    -------
    pandas.DataFrame
        For each ``statistic`` and ``feature`` (empty for those of whole rows): ``observed``, mean and central 95 % interval of the
        replicates (``mean``, ``lower``, ``upper``), ``p_value``, the share of replicates above the observed value, ties by half, and
        ``two_sided``, twice the smaller tail. Both near 0 or 1 in ``p_value`` speak against the fit. One in twenty of many statistics
        lies outside its interval by chance.

    Raises
    ------
    InvalidParameterError
        If there are no replicates, or a statistic returns something else than one or D numbers.
    InvalidDataError
        If the data have missing values or weights, which the simulated ones would not have.

    Notes
    -----
    Gelman, Meng and Stern (1996), Statistica Sinica 6, 733-807. Data that were also fitted look better than new data would.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import predictive_statistics
    >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
    >>> found = predictive_statistics(em, n_replicates=100).set_index(["statistic", "feature"])
    >>> bool(found.loc[("sd", "waiting"), "two_sided"] > 0.1)
    True
    """
    check_fit(fit, "predictive_statistics")
    if n_replicates < 1:
        raise InvalidParameterError(f"n_replicates must be at least 1, got {n_replicates}")
    rows = fit.rows_.in_memory()
    X = rows.values
    if rows.has_gaps or rows.weights is not None:
        what = "missing values" if rows.weights is None else "sample_weight"
        raise InvalidDataError(f"the fit's data have {what}, which data simulated from it would not have")
    chosen = dict(statistics) if statistics is not None else _defaults(X)
    rng = np.random.default_rng(seed_sequence(fit.random_state if random_state is None else random_state))
    names, observed = _evaluate(chosen, X, fit.feature_names_)
    replicated = np.stack([_evaluate(chosen, _replicate(fit, len(X), rng), fit.feature_names_)[1] for _ in range(n_replicates)])
    table = _with_replicates(pd.DataFrame(names, columns=["statistic", "feature"]), observed, replicated)
    above = table["tail_probability"]
    return table.rename(columns={"tail_probability": "p_value"}).assign(two_sided=2 * np.minimum(above, 1 - above))


def _defaults(X: FloatArray) -> dict[str, Statistic]:
    scale = X.std(axis=0)
    # Rows that are there twice have a neighbour at distance zero, which a density cannot make.
    return {**_BY_COLUMN, "nearest neighbour": lambda Y: float(KDTree(Y / scale).query(Y / scale, k=2)[0][:, 1].mean())}


def _replicate(fit: Estimator, n_rows: int, rng: np.random.Generator) -> FloatArray:
    """Draw a data set from one mixture of the fit."""
    if isinstance(fit, GaussianMixture):
        return fit.sample(n_rows, rng)[0]
    chains, draws = fit.params_.batch_shape
    return fit.params_[rng.integers(chains), rng.integers(draws)].sample(n_rows, rng)[0]


def _evaluate(statistics: Mapping[str, Statistic], X: FloatArray, features: list[str]) -> tuple[list[tuple[str, str]], FloatArray]:
    names, values = [], []
    for name, statistic in statistics.items():
        found = np.asarray(statistic(X), dtype=float)
        if found.shape not in ((), (len(features),)):
            raise InvalidParameterError(
                f"the statistic {name!r} must return one number, or {len(features)}, one for each column; it returned shape {found.shape}"
            )
        names += [(name, feature) for feature in (features if found.ndim else [""])]
        values.append(np.atleast_1d(found))
    if not names:
        raise InvalidParameterError("statistics must name at least one function, there is none")
    return names, np.concatenate(values)


def _pit_of_em(em: GaussianMixture, X: FloatArray, weight: FloatArray) -> tuple[FloatArray, int]:
    if not is_likelihood(em):
        raise InvalidParameterError("loo_pit needs an EM fit without priors, noise or equal_weights")
    out, rows = np.full_like(X, np.nan), np.flatnonzero(weight)
    for i, fit in zip(rows, refitted_without(em, rows), strict=True):
        out[i] = _below(MixtureParams(*fit.mixture).reshape(1), X[i : i + 1])[0, 0]
    return out, 0


def _pit_of_posterior(fit: BayesianGaussianMixture, X: FloatArray) -> tuple[FloatArray, int]:
    out = np.full_like(X, np.nan)
    flat, n_high = fit.params_.reshape(-1), 0
    limit = pareto_k_limit(len(flat.weights))
    for block in blocks(fit):
        for i, log_weights in enumerate(block.log_weights, block.rows.start):
            out[i] = np.exp(log_weights) @ _below(flat, X[i : i + 1])[:, 0]
        n_high += int((~(block.pareto_k <= limit)).sum())
    return np.clip(out, 0.0, 1.0), n_high


def _below(params: MixtureParams, X: FloatArray) -> FloatArray:
    """Return the probabilities (T, n, D) below the values of X (n, D) in each column's own mixture; NaN where X is."""
    out = np.full((len(params.weights), *X.shape), np.nan)
    for d in range(X.shape[1]):
        seen = ~np.isnan(X[:, d])
        if seen.any():
            out[:, seen, d] = params.marginal(d).cdf(X[seen, d])
    return out


def _pit_sentence(row: pd.Series) -> str:
    if not row["n"]:
        return "There are no values."
    if row["p_value"] > 0.01:
        return "Values fall where the fit without them says."
    wrong = "higher" if row["mean"] > 0.5 else "lower"
    if abs(row["mean"] - 0.5) * np.sqrt(12 * row["n"]) > 3:
        return f"Values are {wrong} than the fit without them says."
    if row["sd"] > np.sqrt(1 / 12):
        return "Values stray farther than the fit without them says."
    return "Values are not spread as the fit without them says."


class Predictive(NamedTuple):
    """Outcome of the check."""

    table: pd.DataFrame
    probability: float
    """Share of replicated data sets that stray at least as far from the rest as the observed one does."""
    replicates: FloatArray
    """Some of the replicated data sets (replicate, row, feature), for figures."""


def predictive_check(
    posterior: MixtureParams, rows: FloatArray | Chunk, features: tuple[str, ...], n_replicates: int, seed: int
) -> Predictive:
    """Replicate the data from draws of the posterior and compare statistics.

    After Gelman, Meng & Stern 1996, Statistica Sinica 6:733-807. Each statistic's own tail probability is in the
    table. As many statistics are compared at once, the verdict rests on one number: the data set's greatest deviation,
    in half widths of the replicates' 95% interval, against the greatest deviation of each replicate. Where the data have
    gaps (NaN), so have the replicates: both are summarised by the same values. So it is with errors of measurement. Rows that
    belong together are of one component in a replicate, too, and labelled rows of one of those that their labels allow.
    """
    chunk, rng = as_chunk(rows), np.random.default_rng(seed)
    X, known = chunk.X, chunk.known
    gaps = np.isnan(X)
    flat = posterior.reshape(-1)
    chosen = rng.choice(len(flat.weights), size=n_replicates, replace=n_replicates > len(flat.weights))
    block = max(1, _MOST_NUMBERS // (X.size * max(flat.n_components, 2)))
    statistics, shown = [], []
    for start in range(0, n_replicates, block):
        some = flat[chosen[start : start + block]]
        replicates = some.sample(len(X), rng)[0] if known is None else _of_known(some, known, len(X), rng)
        replicates[:, gaps] = np.nan
        statistics.append(_statistics(replicates))
        shown.append(replicates[: max(0, _SHOWN - start), :_SHOWN_ROWS])
    replicated, observed = np.concatenate(statistics), _statistics(X[None])[0]
    return Predictive(_table(observed, replicated, features), _joint(observed, replicated), np.concatenate(shown))


def _of_known(params: MixtureParams, known: Known, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw values (T, n, D) of rows with the errors, labels and sets that these have."""
    T, K = params.weights.shape
    sets = np.arange(n) if known.sets is None else np.unique(known.sets, return_inverse=True)[1]
    first = np.unique(sets, return_index=True)[1]
    weights = (
        params.weights[:, None] if known.share_of is None or params.shares is None else params.shares[:, known.share_of[first]]
    )
    possible = np.zeros((len(first), K))
    if known.log_weights is not None:
        np.add.at(possible, sets, known.log_weights)
    with np.errstate(divide="ignore"):
        logs = np.log(weights) + possible
    # The greatest of log-probabilities with Gumbel noise is a draw from them (Gumbel 1954).
    labels = (logs + rng.gumbel(size=(T, len(first), K))).argmax(-1)[:, sets]
    t = np.arange(T)[:, None]
    values = params.means[t, labels] + (params.scale_tril[t, labels] @ rng.standard_normal((T, n, params.n_features, 1)))[..., 0]
    if known.error_of is not None and known.error_tril is not None:
        values += (known.error_tril[known.error_of] @ rng.standard_normal((*values.shape, 1)))[..., 0]
    return values


def _statistics(data: FloatArray) -> FloatArray:
    """Statistics (replicate, statistic) of data sets (replicate, row, feature): moments, then correlations."""
    has_gaps = np.isnan(data[0]).any()
    average, least, most = (np.nanmean, np.nanmin, np.nanmax) if has_gaps else (np.mean, np.min, np.max)
    mean = average(data, axis=1)
    centred = data - mean[:, None]
    sd = np.sqrt(average(centred**2, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = centred / sd[:, None]
    moments = [mean, sd, average(z**3, axis=1), average(z**4, axis=1) - 3, least(data, axis=1), most(data, axis=1)]
    pairs = [_correlation(z[..., i], z[..., j])[:, None] for i, j in _pairs(data.shape[-1])]
    return np.concatenate(moments + pairs, axis=1)


def _correlation(left: FloatArray, right: FloatArray) -> FloatArray:
    """Mean product (replicate,) over the rows that have both values; NaN where there are none."""
    product = left * right
    known = ~np.isnan(product)
    with np.errstate(invalid="ignore"):
        return np.where(known, product, 0.0).sum(axis=1) / known.sum(axis=1)


def _pairs(n_features: int) -> list[tuple[int, int]]:
    """Pairs of features; none where there would be too many to look at."""
    return list(combinations(range(n_features), 2)) if n_features <= _MOST_CORRELATED else []


def _table(observed: FloatArray, replicated: FloatArray, features: tuple[str, ...]) -> pd.DataFrame:
    names = [(moment, name, "") for moment in _MOMENTS for name in features]
    names += [("correlation", features[i], features[j]) for i, j in _pairs(len(features))]
    return _with_replicates(pd.DataFrame(names, columns=["statistic", "feature", "feature_bis"]), observed, replicated)


def _with_replicates(names: pd.DataFrame, observed: FloatArray, replicated: FloatArray) -> pd.DataFrame:
    """Return a table of statistics with their values: of the data, and of replicates the mean, the 95 % interval and the tail."""
    lower, upper = np.quantile(replicated, [0.025, 0.975], axis=0)
    above = (replicated > observed).mean(axis=0) + (replicated == observed).mean(axis=0) / 2
    return names.assign(observed=observed, mean=replicated.mean(axis=0), lower=lower, upper=upper, tail_probability=above)


def _joint(observed: FloatArray, replicated: FloatArray) -> float:
    """Share of replicates whose greatest deviation is at least the observed one; NaN if nothing can be computed."""
    lower, middle, upper = np.quantile(replicated, [0.025, 0.5, 0.975], axis=0)
    usable = np.isfinite(observed) & np.isfinite(replicated).all(axis=0) & (lower < middle) & (middle < upper)
    if not usable.any():
        return float("nan")

    def greatest(values: FloatArray) -> FloatArray:
        gap = values - middle
        return np.where(gap > 0, gap / (upper - middle), -gap / (middle - lower)).max(axis=-1)

    observed, replicated, lower, middle, upper = (a[..., usable] for a in (observed, replicated, lower, middle, upper))
    return float((greatest(replicated) >= greatest(observed)).mean())
