"""What `compare` was given, checked, and brought to one set of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import linear_sum_assignment

from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import responsibility_moments
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from bayesgmm.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture

__all__ = ["Inputs", "gather"]


@dataclass(frozen=True, eq=False)
class Inputs:
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


def gather(em: GaussianMixture, posterior: BayesianGaussianMixture, X: Any) -> Inputs:
    """Check two fits and the rows, and match the posterior's components to EM's where another EM fit named them."""
    _check_fitted(em, posterior)
    _check_alike(em, posterior)
    rows, index = _rows(em, posterior, X)
    reference = em.params_.responsibilities(rows)
    moments = _moments(posterior.params_, rows)
    order = _order(em, posterior, reference, moments[0])
    mixtures = posterior.params_ if _is_identity(order) else posterior.params_.permute(order)
    mean, sd, entropy = moments[0][:, order], moments[1][:, order], moments[2]
    names, places = tuple(em.feature_names_), tuple(int(k) for k in order)
    return Inputs(rows, index, names, em.params_, mixtures, reference, mean, sd, entropy, places)


def _check_fitted(em: Any, posterior: Any) -> None:
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
        raise InvalidParameterError(f"The fits have different columns: EM {_few(names[0])}, the posterior {_few(names[1])}.")
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


def _training(fit: Any) -> FloatArray | None:
    """Training data of a fit, if it kept them."""
    tree: xr.DataTree = fit.datatree_
    return np.asarray(tree["observed_data"]["x"].values, dtype=float) if "observed_data" in tree.children else None


def _rows(em: GaussianMixture, posterior: BayesianGaussianMixture, X: Any) -> tuple[FloatArray, pd.Index]:
    """Rows to compare on, and their names."""
    names = list(em.feature_names_)
    if X is None:
        X = _training(posterior)
        if X is None:
            raise InvalidParameterError("The posterior did not keep its training data: give X.")
    if isinstance(X, pd.DataFrame) and [str(name) for name in X.columns] != names:
        raise InvalidParameterError(f"X has other columns than the fits: {_few(map(str, X.columns))}, not {_few(names)}.")
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
        raise InvalidDataError(f"X has only missing values in {_few(empty)}: leave the column out, or give rows that have it.")


def _few(names: Any) -> str:
    """The first names of a list, for a message."""
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _moments(params: MixtureParams, rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean and sd of the responsibilities over all draws, and the mean of their entropy, streamed."""
    flat = params.reshape(-1)
    moments = responsibility_moments(Chunk(rows), flat.log_weights, flat.means, flat.scale_tril, diagonal=flat.is_diagonal)
    return moments.mean, moments.sd, moments.entropy


def _order(em: Any, posterior: Any, reference: FloatArray, mean: FloatArray) -> IntArray:
    """Which component of the posterior is each of EM's; in order if this very EM fit gave the posterior its labels."""
    pivot = getattr(posterior, "em_", None)
    if pivot is not None and np.array_equal(pivot.params_.means, em.params_.means):
        return np.arange(mean.shape[1])
    return linear_sum_assignment(-reference.T @ mean)[1]


def _is_identity(order: IntArray) -> bool:
    return bool((order == np.arange(len(order))).all())
