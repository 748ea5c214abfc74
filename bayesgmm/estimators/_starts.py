"""What a user gives EM to start from, read and checked; and what ``verbose`` prints of every start."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesgmm.em import EMRun, Iteration, Start
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import Chunked
from bayesgmm.params import MixtureParams, cholesky
from bayesgmm.typing import FloatArray

__all__ = ["Reporter", "start_at", "user_start"]


def user_start(estimator: Any, rows: FloatArray | Chunked) -> tuple[str | FloatArray, Start]:
    """Return how to find a start for rows (N, D), and what of it the user has given."""
    K, (n_rows, D) = estimator.n_components, rows.shape
    weights = _given("weights_init", estimator.weights_init, (K,))
    if weights is not None and ((weights < 0).any() or not np.isclose(weights.sum(), 1.0)):
        raise InvalidParameterError("weights_init must be at least zero and add up to one")
    means = _given("means_init", estimator.means_init, (K, D))
    packed = _given("precisions_init", estimator.precisions_init, estimator._family.packed_shape(K, D))
    start = Start(weights, means, None if packed is None else _covariances_of(estimator, packed, D))
    if isinstance(estimator.init_params, str):
        return estimator.init_params, start
    params = getattr(estimator.init_params, "params_", estimator.init_params)
    if isinstance(params, MixtureParams):
        if (params.batch_shape, params.n_components, params.n_features) != ((), K, D):
            raise InvalidParameterError(
                f"init_params is a mixture of {params.n_components} components in {params.n_features} columns"
                f"{' (a batch of them)' if params.batch_shape else ''}: one of {K} in {D} is needed"
            )
        return "auto", start_at(params)
    if isinstance(rows, Chunked):
        raise InvalidParameterError(
            "labels or responsibilities cannot be given as init_params for rows in chunks: give a mixture, a fit, or means_init"
        )
    return _given_responsibilities(estimator.init_params, n_rows, K), start


def _covariances_of(estimator: Any, precisions: FloatArray, n_features: int) -> FloatArray:
    matrices = estimator._family.unpack(precisions, estimator.n_components, n_features)
    if not np.allclose(matrices, np.swapaxes(matrices, -1, -2)):
        raise InvalidParameterError("precisions_init: every matrix must be equal to its transpose")
    try:
        cholesky(matrices)
    except InvalidParameterError as error:
        raise InvalidParameterError(f"precisions_init: {str(error).replace('covariances', 'precisions')}") from None
    return np.linalg.inv(matrices)


def start_at(params: MixtureParams) -> Start:
    """Return the mixture as a complete start."""
    return Start(params.weights, params.means, params.covariances)


class Reporter:
    """Prints how the runs of a fit end."""

    def __init__(self, verbose: int, interval: int) -> None:
        self.count, self.verbose, self.interval = 0, verbose, interval

    def __call__(self, run: EMRun) -> None:
        self.count += 1
        print(f"Start {self.count}: {run.n_iter} iterations, log-likelihood {run.log_likelihood:.6f}")  # noqa: T201
        if self.verbose > 1:
            for i in range(self.interval, run.n_iter, self.interval):
                print(f"  iteration {i}: {run.trace[i]:.6f}")  # noqa: T201

    def iteration(self, iteration: Iteration) -> None:
        """Print how an iteration over rows in chunks ended: it may take a while."""
        print(iteration, flush=True)  # noqa: T201


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
