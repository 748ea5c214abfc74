"""Every free parameter by EM and by the posterior, and how far apart they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.estimators import GaussianMixture
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["parameter_table"]

_ALL = "all"


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
