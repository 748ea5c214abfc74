"""What data simulated from a fit look like beside the data: a few statistics and their tail probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy.spatial import KDTree
from scipy.stats import skew
from sklearn.utils.validation import check_is_fitted

from bayesgmm.criticism.predictive import with_replicates
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import has_gaps
from bayesgmm.random import seed_sequence
from bayesgmm.typing import FloatArray, RandomState

__all__ = ["predictive_statistics"]

type Statistic = Callable[[FloatArray], FloatArray | float]

_BY_COLUMN: dict[str, Statistic] = {
    "minimum": lambda X: X.min(axis=0),
    "maximum": lambda X: X.max(axis=0),
    "sd": lambda X: X.std(axis=0),
    "skewness": lambda X: skew(X, axis=0),
}


def predictive_statistics(
    fit: GaussianMixture | BayesianGaussianMixture,
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
    if not isinstance(fit, (GaussianMixture, BayesianGaussianMixture)):
        raise InvalidParameterError(
            f"predictive_statistics takes a fitted GaussianMixture or BayesianGaussianMixture, got {type(fit).__name__}"
        )
    check_is_fitted(fit, "params_")
    if n_replicates < 1:
        raise InvalidParameterError(f"n_replicates must be at least 1, got {n_replicates}")
    X = fit._fit_X
    if has_gaps(X) or fit._fit_weight is not None:
        what = "missing values" if fit._fit_weight is None else "sample_weight"
        raise InvalidDataError(f"the fit's data have {what}, which data simulated from it would not have")
    chosen = dict(statistics) if statistics is not None else _defaults(X)
    rng = np.random.default_rng(seed_sequence(fit.random_state if random_state is None else random_state))
    names, observed = _evaluate(chosen, X, fit.feature_names_)
    replicated = np.stack([_evaluate(chosen, _replicate(fit, rng), fit.feature_names_)[1] for _ in range(n_replicates)])
    table = with_replicates(pd.DataFrame(names, columns=["statistic", "feature"]), observed, replicated)
    above = table["tail_probability"]
    return table.rename(columns={"tail_probability": "p_value"}).assign(two_sided=2 * np.minimum(above, 1 - above))


def _defaults(X: FloatArray) -> dict[str, Statistic]:
    scale = X.std(axis=0)
    # Rows that are there twice have a neighbour at distance zero, which a density cannot make.
    return {**_BY_COLUMN, "nearest neighbour": lambda Y: float(KDTree(Y / scale).query(Y / scale, k=2)[0][:, 1].mean())}


def _replicate(fit: GaussianMixture | BayesianGaussianMixture, rng: np.random.Generator) -> FloatArray:
    """Draw a data set from one mixture of the fit."""
    if isinstance(fit, GaussianMixture):
        return fit.sample(len(fit._fit_X), rng)[0]
    chains, draws = fit.params_.batch_shape
    return fit.params_[rng.integers(chains), rng.integers(draws)].sample(len(fit._fit_X), rng)[0]


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
