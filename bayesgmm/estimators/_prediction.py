"""All that a fit says of rows, as one labelled table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.expectation import DrawMoments, Estimate, predictions, responsibility_summary, rows_of
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray


def of_one(params: MixtureParams, X: FloatArray, obs: pd.Index, moments: DrawMoments) -> xr.Dataset:
    """Return what one mixture says of X (N, D); a column of the responsibilities beyond the components' is that of noise, component -1."""
    K = params.n_components
    best = moments.mean.argmax(axis=1)
    components = [k if k < K else -1 for k in range(moments.mean.shape[1])]
    flat = params.reshape(-1)
    tail = predictions(rows_of(X), *flat.arrays(), prob=0.5, diagonal=flat.is_diagonal).tail
    variables = {
        "responsibilities": (("obs", "component"), moments.mean),
        "label": (("obs",), np.where(best == K, -1, best)),
        "log_density": (("obs",), moments.log_density),
        "tail_probability": (("obs",), tail.value),
    }
    return xr.Dataset(variables, coords={"obs": obs, "component": components})


def over_draws(params: MixtureParams, X: FloatArray, obs: pd.Index, prob: float) -> xr.Dataset:
    """Return what the draws of a posterior say of X (N, D), with central intervals that hold ``prob`` of them."""
    flat, rows = params.reshape(-1), rows_of(X)
    arrays = flat.arrays()
    share = responsibility_summary(rows, *arrays, prob=prob, diagonal=flat.is_diagonal)
    said = predictions(rows, *arrays, prob=prob, diagonal=flat.is_diagonal)
    label = share.mean.argmax(axis=1)
    variables = {
        "responsibilities": (("obs", "component"), share.mean),
        "responsibilities_lower": (("obs", "component"), share.lower),
        "responsibilities_upper": (("obs", "component"), share.upper),
        "label": (("obs",), label),
        "label_share": (("obs",), said.votes[np.arange(len(label)), label]),
        **_with_interval("log_density", said.log_density),
        **_with_interval("tail_probability", said.tail),
    }
    return xr.Dataset(variables, coords={"obs": obs, "component": np.arange(params.n_components)}, attrs={"prob": prob})


def _with_interval(name: str, estimate: Estimate) -> dict[str, tuple[tuple[str], FloatArray]]:
    return {f"{name}{end}": (("obs",), values) for end, values in zip(("", "_lower", "_upper"), estimate, strict=True)}
