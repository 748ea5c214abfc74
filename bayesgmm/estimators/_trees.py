"""The one place where fits become ``xarray.DataTree`` in ArviZ's schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.base import BaseEstimator

from bayesgmm import __version__
from bayesgmm.covariance import Family
from bayesgmm.em.fisher_information import ParameterErrors
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray


def tree(groups: dict[str, xr.Dataset], attrs: dict[str, Any]) -> xr.DataTree:
    """Return the tree of these groups; ``attrs`` go on its root."""
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **groups})


def provenance(estimator: BaseEstimator) -> dict[str, Any]:
    """Return attributes that say what was fitted, in types that netCDF can hold."""
    attrs = {
        "bayesgmm_version": __version__,
        "covariance_type": estimator.covariance_type,
        "n_components": estimator.params_.n_components,
    }
    if isinstance(estimator.random_state, (int, np.integer)):
        attrs["random_state"] = int(estimator.random_state)
    return attrs


def parameters(params: MixtureParams, family: Family, features: list[str], sample_dims: tuple[str, ...]) -> xr.Dataset:
    """Return weights, means, sds, covariances and, where they are free, correlations, with their dims named."""
    variables = {
        "weights": (("component",), params.weights),
        "means": (("component", "feature"), params.means),
        "sds": (("component", "feature"), params.sds),
        "covariances": (("component", "feature", "feature_bis"), params.covariances),
    }
    if family.has_correlations(params.n_features):
        variables["corr"] = (("component", "feature", "feature_bis"), params.correlations)
    coords: dict[str, Any] = {dim: np.arange(size) for dim, size in zip(sample_dims, params.batch_shape, strict=True)}
    coords |= {"component": np.arange(params.n_components), "feature": features, "feature_bis": features}
    return xr.Dataset({name: ((*sample_dims, *dims), values) for name, (dims, values) in variables.items()}, coords=coords)


def mixtures(params: MixtureParams, features: list[str]) -> xr.Dataset:
    """Return draws in which the number of components differs: those that one does not have weigh nothing."""
    variables = {
        "weights": (("slot",), params.weights),
        "means": (("slot", "feature"), params.means),
        "scale_tril": (("slot", "feature", "feature_bis"), params.scale_tril),
    }
    coords = {"slot": np.arange(params.n_components), "feature": features, "feature_bis": features}
    return per_draw(variables, coords)


def errors(values: ParameterErrors, features: list[str], attrs: dict[str, Any]) -> xr.Dataset:
    """Return standard errors of weights, means, sds and covariances, with their dims named."""
    variables = {
        "weights": (("component",), values.weights),
        "means": (("component", "feature"), values.means),
        "sds": (("component", "feature"), values.sds),
        "covariances": (("component", "feature", "feature_bis"), values.covariances),
    }
    coords = {"component": np.arange(len(values.weights)), "feature": features, "feature_bis": features}
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def responsibility_array(values: FloatArray, obs: pd.Index, dims: tuple[str, ...] = ()) -> xr.DataArray:
    """Return responsibilities (..., N, K) with their dims named."""
    coords: dict[str, Any] = {dim: np.arange(size) for dim, size in zip(dims, values.shape, strict=False)}
    coords |= {"obs": obs, "component": np.arange(values.shape[-1])}
    return xr.DataArray(values, dims=(*dims, "obs", "component"), coords=coords, name="responsibilities")


def responsibilities(table: xr.DataArray) -> xr.Dataset:
    """Return mean responsibilities as a group of their own."""
    return xr.Dataset({"mean": table})


def observed(X: FloatArray, obs: pd.Index, features: list[str]) -> xr.Dataset:
    """Return the data."""
    return xr.Dataset({"x": (("obs", "feature"), X)}, coords={"obs": obs, "feature": features})


def per_draw(variables: Mapping[str, tuple[tuple[str, ...], FloatArray]], coords: dict[str, Any]) -> xr.Dataset:
    """Return variables that have one value (or array) for each chain and draw."""
    chain, draw = next(iter(variables.values()))[1].shape[:2]
    return xr.Dataset(
        {name: (("chain", "draw", *dims), values) for name, (dims, values) in variables.items()},
        coords={"chain": np.arange(chain), "draw": np.arange(draw), **coords},
    )
