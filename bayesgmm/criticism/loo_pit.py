"""Whether each column's values fall where the rows left in say they would."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import kstest

from bayesgmm.criticism.elpd import times_each
from bayesgmm.criticism.loo import Estimator, blocks, check_fit, is_likelihood, refitted_without
from bayesgmm.diagnostics.verdict import pareto_k_limit
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["loo_pit", "pit_table"]


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
    X, obs = fit._fit_X, fit._fit_obs
    weight = times_each(fit._fit_weight, len(X))
    values, n_high = _of_em(fit, X, weight) if isinstance(fit, GaussianMixture) else _of_posterior(fit, X)
    values[weight == 0] = np.nan
    coords = {"obs": obs, "feature": fit.feature_names_}
    return xr.DataArray(values, dims=("obs", "feature"), coords=coords, name="loo_pit", attrs={"n_high_k": n_high})


def _of_em(em: GaussianMixture, X: FloatArray, weight: FloatArray) -> tuple[FloatArray, int]:
    if not is_likelihood(em):
        raise InvalidParameterError("loo_pit needs an EM fit without priors, noise or equal_weights")
    out = np.full_like(X, np.nan)
    for i, mixture, _, _ in refitted_without(em, np.flatnonzero(weight)):
        out[i] = _below(MixtureParams(*mixture).reshape(1), X[i : i + 1])[0, 0]
    return out, 0


def _of_posterior(fit: BayesianGaussianMixture, X: FloatArray) -> tuple[FloatArray, int]:
    out = np.full_like(X, np.nan)
    flat, n_high = fit.params_.reshape(-1), 0
    limit = pareto_k_limit(len(flat.weights))
    for block in blocks(fit):
        start, stop, _ = block.rows.indices(len(out))
        for i in range(start, stop):
            out[i] = np.exp(block.log_weights[i - start]) @ _below(flat, X[i : i + 1])[:, 0]
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
    rows = {}
    for name in pit["feature"].values:
        values = pit.sel(feature=name).values
        values = values[~np.isnan(values)]
        n, missing = len(values), (np.nan,) * 4
        rows[str(name)] = (n, values.mean(), values.std(), *kstest(values, "uniform")) if n else (n, *missing)
    columns = ["n", "mean", "sd", "distance", "p_value"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("feature")
    table["sentence"] = [_sentence(row) for _, row in table.iterrows()]
    return table


def _sentence(row: pd.Series) -> str:
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
