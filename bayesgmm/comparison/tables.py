"""What two fits say, side by side: brought to one set of labels, and their tables of parameters and of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import linear_sum_assignment

from bayesgmm.covariance import family
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import responsibility_moments
from bayesgmm.params import MixtureParams
from bayesgmm.partitions.doubt import row_doubt, row_entropy
from bayesgmm.rows import Chunk
from bayesgmm.text import listed
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["MatchedFits", "match", "parameter_table", "responsibility_table"]

_ALL = "all"


@dataclass(frozen=True, eq=False)
class MatchedFits:
    """Two fits in one labelling, the rows they are compared on, and the responsibilities of those rows."""

    X: FloatArray
    index: pd.Index
    features: tuple[str, ...]
    em: MixtureParams
    posterior: MixtureParams
    em_responsibilities: FloatArray
    mean: FloatArray
    """Posterior mean responsibilities (N, K)."""
    sd: FloatArray
    """Their standard deviation across draws (N, K)."""
    entropy: FloatArray
    """Mean over draws of the entropy of each row's responsibilities, in nats (N,)."""
    order: tuple[int, ...]
    """Component k here is component ``order[k]`` of the posterior as it was fitted."""


def match(em: GaussianMixture, posterior: BayesianGaussianMixture, X: ArrayLike | pd.DataFrame | None) -> MatchedFits:
    """Check two fits and the rows, and match the posterior's components to EM's where another EM fit named them."""
    _check_fitted(em, posterior)
    _check_alike(em, posterior)
    rows, index = _rows(em, posterior, X)
    reference = em.params_.responsibilities(rows)
    flat = posterior.params_.reshape(-1)
    moments = responsibility_moments(Chunk(rows), *flat.arrays(), diagonal=flat.is_diagonal)
    order = _order(em, posterior, reference, moments.mean)
    return MatchedFits(
        X=rows,
        index=index,
        features=tuple(em.feature_names_),
        em=em.params_,
        posterior=posterior.params_ if (order == np.arange(len(order))).all() else posterior.params_.permute(order),
        em_responsibilities=reference,
        mean=moments.mean[:, order],
        sd=moments.sd[:, order],
        entropy=moments.entropy,
        order=tuple(int(k) for k in order),
    )


def _check_fitted(em: GaussianMixture, posterior: BayesianGaussianMixture) -> None:
    fit: GaussianMixture | BayesianGaussianMixture
    for name, fit, batch in (("em", em, 0), ("posterior", posterior, 2)):
        if not hasattr(fit, "params_"):
            raise InvalidParameterError(f"{name} is not fitted: call its fit(X) first.")
        if len(fit.rows_) == 0:
            raise InvalidParameterError(f"{name} was put together by hand and has not been fitted: call its fit(X) first.")
        if len(fit.params_.batch_shape) != batch:
            kind = "GaussianMixture" if batch == 0 else "BayesianGaussianMixture"
            raise InvalidParameterError(f"{name} must be a fitted {kind}: compare(em, posterior, X), in this order.")


def _check_alike(em: GaussianMixture, posterior: BayesianGaussianMixture) -> None:
    """Two fits can be compared if they are of one model and one table."""
    names = (list(em.feature_names_), list(posterior.feature_names_))
    if names[0] != names[1]:
        raise InvalidParameterError(
            f"The fits have different columns: EM {listed(names[0], 5)}, the posterior {listed(names[1], 5)}."
        )
    for setting in ("n_components", "covariance_type"):
        left, right = getattr(em, setting), getattr(posterior, setting)
        # One family may go by two names.
        if left != right and (setting != "covariance_type" or family(left) is not family(right)):
            raise InvalidParameterError(f"The fits differ in {setting}: EM has {left!r}, the posterior {right!r}.")
    if getattr(em, "noise", False):
        raise InvalidParameterError("EM has a noise component and the posterior none: fit GaussianMixture with noise=False.")
    left, right = _training(em), _training(posterior)
    if left is not None and right is not None and not np.array_equal(left, right, equal_nan=True):
        raise InvalidParameterError("The fits were made from different data; fit both to the same table.")


def _training(fit: GaussianMixture | BayesianGaussianMixture) -> FloatArray | None:
    """Training data of a fit, if it kept them."""
    tree = fit.datatree_
    return np.asarray(tree["observed_data"]["x"].values, dtype=float) if "observed_data" in tree.children else None


def _rows(
    em: GaussianMixture, posterior: BayesianGaussianMixture, X: ArrayLike | pd.DataFrame | None
) -> tuple[FloatArray, pd.Index]:
    """Rows to compare on, and their names."""
    names = list(em.feature_names_)
    if X is None:
        X = _training(posterior)
        if X is None:
            raise InvalidParameterError("The posterior did not keep its training data: give X.")
    if isinstance(X, pd.DataFrame) and [str(name) for name in X.columns] != names:
        raise InvalidParameterError(f"X has other columns than the fits: {listed(X.columns, 5)}, not {listed(names, 5)}.")
    rows = np.array(X, dtype=float, order="C")  # a copy: the comparison keeps it
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise InvalidParameterError(f"X must have shape (rows, {len(names)}) as the fits have, got {rows.shape}.")
    _check_values(rows, names)
    return rows, X.index if isinstance(X, pd.DataFrame) else pd.RangeIndex(len(rows))


def _check_values(rows: FloatArray, names: list[str]) -> None:
    """Values may be missing (NaN), but not a whole column of them: there would be nothing to compare with."""
    if not len(rows) or np.isinf(rows).any():
        raise InvalidDataError("X must have at least one row, and no infinite values.")
    empty = [name for name, values in zip(names, rows.T, strict=True) if np.isnan(values).all()]
    if empty:
        raise InvalidDataError(f"X has only missing values in {listed(empty, 5)}: leave the column out, or give rows that have it.")


def _order(em: GaussianMixture, posterior: BayesianGaussianMixture, reference: FloatArray, mean: FloatArray) -> IntArray:
    """Which component of the posterior is each of EM's; in order if this very EM fit gave the posterior its labels."""
    pivot = getattr(posterior, "em_", None)
    if pivot is not None and np.array_equal(pivot.params_.means, em.params_.means):
        return np.arange(mean.shape[1])
    return linear_sum_assignment(-reference.T @ mean)[1]


def responsibility_table(fits: MatchedFits) -> pd.DataFrame:
    """One row an observation; see ``Comparison.responsibilities``."""
    named = (("em", fits.em_responsibilities), ("posterior", fits.mean), ("sd", fits.sd))
    columns: dict[str, np.ndarray] = {f"{name}_{k}": values[:, k] for name, values in named for k in range(values.shape[1])}
    components = range(fits.mean.shape[1])
    em = row_doubt(fits.em_responsibilities, row_entropy(fits.em_responsibilities), components)
    posterior = row_doubt(fits.mean, fits.entropy, components)
    for name, found in (("em", em), ("posterior", posterior)):
        columns |= {f"{name}_label": found["label"], f"{name}_doubt": found["doubt"]}
    columns["cause"] = posterior["cause"]
    columns["largest_gap"] = np.abs(fits.em_responsibilities - fits.mean).max(axis=1)
    columns["divergence"] = _divergence(fits.em_responsibilities, fits.mean)
    return pd.DataFrame(columns, index=fits.index)


def _divergence(p: FloatArray, q: FloatArray) -> FloatArray:
    """Jensen-Shannon divergence of each row's two distributions, in bits: 0 where they are the same, 1 where they share nothing.

    Lin (1991), IEEE Transactions on Information Theory 37, 145-151, equation 5.1.
    """
    apart = row_entropy((p + q) / 2) - (row_entropy(p) + row_entropy(q)) / 2
    return np.clip(apart / np.log(2), 0.0, 1.0)


class _Scalar(NamedTuple):
    """One scalar parameter: whose it is, EM's value, the posterior's draws."""

    parameter: str
    component: int | str
    feature: str
    feature_bis: str
    em: float
    draws: FloatArray


def parameter_table(em: GaussianMixture, posterior: MixtureParams, features: tuple[str, ...]) -> pd.DataFrame:
    """One row a free scalar parameter; see ``Comparison.parameters``."""
    scalars = list(_scalars(em.params_, posterior.reshape(-1), features))
    table = pd.DataFrame([scalar[:5] for scalar in scalars], columns=list(_Scalar._fields[:5]))
    draws = np.stack([scalar.draws for scalar in scalars])
    lower, upper = np.quantile(draws, [0.025, 0.975], axis=1)
    # The standard deviation of equal numbers is only zero to rounding.
    sd = np.where(np.ptp(draws, axis=1) > 0, draws.std(axis=1, ddof=1), 0.0)
    table = table.assign(mean=draws.mean(axis=1), sd=sd, lower=lower, upper=upper)
    point = table["em"].to_numpy()[:, None]
    rank = (draws < point).mean(axis=1) + (draws == point).mean(axis=1) / 2
    errors = _standard_errors(em)
    error = np.array([_error(scalar, errors, features) for scalar in scalars])
    ratio = np.divide(error, sd, out=np.full_like(sd, np.nan), where=sd > 0)
    return table.assign(distance=_distance(table), rank=rank, se_ratio=ratio)


def _standard_errors(em: GaussianMixture) -> xr.Dataset | None:
    """EM's standard errors by the likelihood's curvature, which the posterior's sd comes to with many rows; None where there are none."""
    try:
        return em.standard_errors("observed")
    except (InvalidParameterError, InvalidDataError):  # a prior, equal weights, or a family without
        return None


def _error(scalar: _Scalar, errors: xr.Dataset | None, features: tuple[str, ...]) -> float:
    """EM's standard error of a parameter; NaN where it has none, as of correlations."""
    name = {"weight": "weights", "mean": "means", "sd": "sds"}.get(scalar.parameter)
    if errors is None or name not in errors:
        return np.nan
    k = 0 if isinstance(scalar.component, str) else scalar.component
    if name == "weights":
        return float(errors[name].values[k])
    return float(errors[name].values[k, 0 if scalar.feature == _ALL else features.index(scalar.feature)])


def _distance(table: pd.DataFrame) -> FloatArray:
    """(EM - posterior mean) / posterior sd; infinite if the posterior never moves from another value."""
    gap, sd = (table["em"] - table["mean"]).to_numpy(), table["sd"].to_numpy()
    still = np.where(np.isclose(gap, 0), 0.0, np.copysign(np.inf, gap))
    return np.divide(gap, sd, out=still, where=sd > 0)


def _scalars(em: MixtureParams, posterior: MixtureParams, features: tuple[str, ...]) -> Iterator[_Scalar]:
    K = em.n_components
    if K > 1:
        yield from (_Scalar("weight", k, "", "", em.weights[k], posterior.weights[:, k]) for k in range(K))
    for k in range(K):
        for d, name in enumerate(features):
            yield _Scalar("mean", k, name, "", em.means[k, d], posterior.means[:, k, d])
    yield from _sds(em, posterior, features)
    yield from _correlations(em, posterior, features)


def _sds(em: MixtureParams, posterior: MixtureParams, features: tuple[str, ...]) -> Iterator[_Scalar]:
    """Standard deviations, once where the family shares them between components or features."""
    tied, round_ = _shared(posterior.sds, axis=1), _shared(posterior.sds, axis=2)
    for k in range(1 if tied else em.n_components):
        for d in range(1 if round_ else em.n_features):
            names = (_ALL if tied else k, _ALL if round_ else features[d])
            yield _Scalar("sd", *names, "", em.sds[k, d], posterior.sds[:, k, d])


def _correlations(em: MixtureParams, posterior: MixtureParams, features: tuple[str, ...]) -> Iterator[_Scalar]:
    """Correlations of each pair of features, if the family has any."""
    if posterior.is_diagonal:
        return
    point, draws = em.correlations, posterior.correlations
    tied = _shared(draws, axis=1)
    for k in range(1 if tied else em.n_components):
        for i, j in zip(*np.triu_indices(em.n_features, 1), strict=True):
            names = (_ALL if tied else k, features[i], features[j])
            yield _Scalar("correlation", *names, point[k, i, j], draws[:, k, i, j])


def _shared(values: FloatArray, axis: int) -> bool:
    """Whether all entries along an axis are one number in every draw."""
    first = np.take(values, [0], axis=axis)
    return values.shape[axis] > 1 and bool(np.allclose(values, first, rtol=1e-9, atol=1e-12))
