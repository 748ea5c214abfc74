"""What a user gives EM to start from, read and checked; and what ``verbose`` prints of every start."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from bayesgmm.covariance import Family
from bayesgmm.em import EMRun, Iteration, Record, Start
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams, cholesky
from bayesgmm.priors import ConjugatePriors, Priors
from bayesgmm.rows import Rows
from bayesgmm.typing import ArrayLike, FloatArray
from bayesgmm.validation import check_same_columns

__all__ = ["EMSettings", "Reporter", "fitted_to", "is_fit", "start_at", "user_start"]


class EMSettings(Protocol):
    """What of an EM estimator says where it starts."""

    n_components: int
    init_params: Any
    weights_init: ArrayLike | None
    means_init: ArrayLike | None
    precisions_init: ArrayLike | None
    fixed: dict[str, Any] | None
    priors: Priors | ConjugatePriors | None

    @property
    def family_(self) -> Family:
        """The covariance family."""


def is_fit(value: object) -> bool:
    """Whether a setting is a fitted estimator."""
    if not isinstance(value, BaseEstimator):
        return False
    try:
        check_is_fitted(value)
    except (NotFittedError, TypeError):  # the second of what cannot be fitted at all
        return False
    return True


def fitted_to(value: BaseEstimator, rows: Rows) -> BaseEstimator:
    """Return a fitted estimator as it is, and of one that is not fitted a copy fitted to rows: what scikit-learn expects of its tools."""
    if is_fit(value):
        return value
    if not rows.is_in_memory:
        return clone(value).fit(rows)
    X, weights = rows.values, rows.weights
    return clone(value).fit(X) if weights is None else clone(value).fit(X, sample_weight=weights)


_SAME = 1e-9
"""Covariances that differ by less than this share of the variances differ by rounding."""


def user_start(estimator: EMSettings, rows: Rows) -> tuple[str | FloatArray, Start]:
    """Return how to find a start for rows, and what of it the user has given."""
    K, (n_rows, D) = estimator.n_components, rows.shape
    weights = _given("weights_init", estimator.weights_init, (K,))
    if weights is not None and ((weights < 0).any() or not np.isclose(weights.sum(), 1.0)):
        raise InvalidParameterError("weights_init must be at least zero and add up to one")
    means = _given("means_init", _in_order("means_init", estimator.means_init, estimator), (K, D))
    packed = _given("precisions_init", estimator.precisions_init, estimator.family_.packed_shape(K, D))
    start = Start(weights, means, None if packed is None else _covariances_of(estimator, packed, D))
    given = estimator.init_params
    if isinstance(given, str):
        return given, start
    if hasattr(given, "predict_proba"):
        given = fitted_to(given, rows)
        check_same_columns("init_params", given, estimator)
    params = getattr(given, "params_", given)
    if isinstance(params, MixtureParams):
        if (params.batch_shape, params.n_components, params.n_features) != ((), K, D):
            raise InvalidParameterError(
                f"init_params is a mixture of {params.n_components} components in {params.n_features} columns"
                f"{' (a batch of them)' if params.batch_shape else ''}: one of {K} in {D} is needed"
            )
        return "auto", start_at(params, estimator.family_)
    if not rows.is_in_memory:
        raise InvalidParameterError(
            "labels or responsibilities cannot be given as init_params for rows in chunks: give a mixture, a fit, or means_init"
        )
    if hasattr(given, "predict_proba"):  # somebody else's estimator
        named = hasattr(given, "feature_names_in_")
        given = given.predict_proba(pd.DataFrame(rows.values, columns=rows.feature_names) if named else rows.values)
    return _given_responsibilities(given, n_rows, K), start


def _covariances_of(estimator: EMSettings, precisions: FloatArray, n_features: int) -> FloatArray:
    matrices = estimator.family_.unpack(precisions, estimator.n_components, n_features)
    if not np.allclose(matrices, np.swapaxes(matrices, -1, -2)):
        raise InvalidParameterError("precisions_init: every matrix must be equal to its transpose")
    try:
        cholesky(matrices)
    except InvalidParameterError as error:
        raise InvalidParameterError(f"precisions_init: {str(error).replace('covariances', 'precisions')}") from None
    return np.linalg.inv(matrices)


def start_at(params: MixtureParams, family: Family) -> Start:
    """Return the mixture as a complete start, with the nearest covariances that the family has.

    From others the first step of EM might lead down: no mixture of the family need be as high as one that is outside it.
    """
    return Start(params.weights, params.means, _in_family(params.covariances, params.weights, family))


def _in_family(covariances: FloatArray, weights: FloatArray, family: Family) -> FloatArray:
    """Return covariances (K, D, D) as they are if the family has them, otherwise the M-step of the rows that they describe."""
    counts = np.maximum(weights, np.finfo(float).eps)
    nearest = family.update(counts[:, None, None] * covariances, counts, covariances)
    sds = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    off = np.abs(nearest - covariances) / (sds[:, :, None] * sds[:, None, :])
    return covariances if off.max() < _SAME else nearest


class Reporter:
    """Prints how the runs of a fit end and, of iterations over rows in chunks, how each did: it may take a while."""

    def __init__(self, verbose: int, interval: int) -> None:
        self.count, self.verbose, self.interval = 0, verbose, interval

    def run(self, run: EMRun) -> None:
        """Print how a run from a start ended."""
        self.count += 1
        print(f"Start {self.count}: {run.n_iter} iterations, log-likelihood {run.log_likelihood:.6f}")  # noqa: T201
        if self.verbose > 1:
            for i in range(self.interval, run.n_iter, self.interval):
                print(f"  iteration {i}: {run.trace[i]:.6f}")  # noqa: T201

    def iteration(self, record: Record, iteration: Iteration | None) -> None:
        """Print how an iteration over rows in chunks ended."""
        if iteration is not None:
            print(iteration, flush=True)  # noqa: T201


def _in_order(name: str, value: Any, estimator: EMSettings) -> Any:
    """Return a frame's columns in the order of those that are fitted, where both have names; anything else as it is."""
    fitted = getattr(estimator, "feature_names_in_", None)
    if not isinstance(value, pd.DataFrame) or fitted is None:
        return value
    theirs = [str(column) for column in value.columns]
    if theirs == [str(d) for d in range(len(theirs))]:  # pandas' own
        return value
    if sorted(theirs) != sorted(fitted):
        raise InvalidParameterError(
            f"{name} has the columns {', '.join(theirs)}, and X has {', '.join(fitted)}: give one for each, or an array"
        )
    return value.to_numpy()[:, [theirs.index(column) for column in fitted]]


def _given(name: str, value: Any, shape: tuple[int, ...]) -> FloatArray | None:
    if value is None:
        return None
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InvalidParameterError(f"{name} must be an array of numbers of shape {shape}, got {value!r}") from None
    if array.shape != shape:
        raise InvalidParameterError(f"{name} must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidParameterError(f"{name} must be finite numbers")
    return array


def _given_responsibilities(value: Any, n_rows: int, n_components: int) -> FloatArray:
    """Return the user's labels (N,) or responsibilities (N, K) as responsibilities."""
    array = np.asarray(value)
    if array.shape == (n_rows,):
        if array.dtype.kind not in "iub" or not np.array_equal(np.unique(array), np.arange(n_components)):
            raise InvalidParameterError(
                f"labels given as init_params must be whole numbers from 0 to {n_components - 1}, each of them in some row"
            )
        return np.eye(n_components)[array.astype(int)]
    r = np.asarray(value, dtype=float)
    if r.shape != (n_rows, n_components):
        raise InvalidParameterError(
            f"init_params must be the name of a method, a mixture, labels of shape ({n_rows},) or responsibilities of shape "
            f"({n_rows}, {n_components}), got an array of shape {r.shape}"
        )
    if not (r >= 0).all() or not np.allclose(r.sum(1), 1.0):
        raise InvalidParameterError("responsibilities given as init_params must be at least zero and add up to one in every row")
    return np.ascontiguousarray(r)
