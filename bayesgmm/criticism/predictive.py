"""Posterior predictive check: whether data from the fitted model would look like the data."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["Predictive", "predictive_check", "with_replicates"]

_MOMENTS = ("mean", "sd", "skewness", "kurtosis", "minimum", "maximum")
_MOST_NUMBERS = 4_000_000
_MOST_CORRELATED = 10
_SHOWN, _SHOWN_ROWS = 40, 5_000


class Predictive(NamedTuple):
    """Outcome of the check."""

    table: pd.DataFrame
    probability: float
    """Share of replicated data sets that stray at least as far from the rest as the observed one does."""
    replicates: FloatArray
    """Some of the replicated data sets (replicate, row, feature), for figures."""


def predictive_check(
    posterior: MixtureParams, X: FloatArray, features: tuple[str, ...], n_replicates: int, seed: int
) -> Predictive:
    """Replicate the data from draws of the posterior and compare statistics.

    After Gelman, Meng & Stern 1996, Statistica Sinica 6:733-807. Each statistic's own tail probability is in the
    table. As many statistics are compared at once, the verdict rests on one number: the data set's greatest deviation,
    in half widths of the replicates' 95% interval, against the greatest deviation of each replicate. Where the data have
    gaps (NaN), so have the replicates: both are summarised by the same values.
    """
    rng = np.random.default_rng(seed)
    gaps = np.isnan(X)
    flat = posterior.reshape(-1)
    chosen = rng.choice(len(flat.weights), size=n_replicates, replace=n_replicates > len(flat.weights))
    block = max(1, _MOST_NUMBERS // (X.size * max(flat.n_components, 2)))
    statistics, shown = [], []
    for start in range(0, n_replicates, block):
        replicates = flat[chosen[start : start + block]].sample(len(X), rng)[0]
        replicates[:, gaps] = np.nan
        statistics.append(_statistics(replicates))
        shown.append(replicates[: max(0, _SHOWN - start), :_SHOWN_ROWS])
    replicated, observed = np.concatenate(statistics), _statistics(X[None])[0]
    return Predictive(_table(observed, replicated, features), _joint(observed, replicated), np.concatenate(shown))


def _statistics(data: FloatArray) -> FloatArray:
    """Statistics (replicate, statistic) of data sets (replicate, row, feature): moments, then correlations."""
    if np.isnan(data[0]).any():
        average, least, most = np.nanmean, np.nanmin, np.nanmax
    else:
        average, least, most = np.mean, np.min, np.max
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
    return with_replicates(pd.DataFrame(names, columns=["statistic", "feature", "feature_bis"]), observed, replicated)


def with_replicates(names: pd.DataFrame, observed: FloatArray, replicated: FloatArray) -> pd.DataFrame:
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
