"""What both estimators do alike: everything that only needs parameters and data."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import InvalidParameterError as SklearnParameterError
from sklearn.utils.validation import check_is_fitted

from bayesgmm.covariance import Family, family
from bayesgmm.estimators import _prediction
from bayesgmm.estimators._chunked import NotKept, names_of, opened, predicted, responsibility_table, sums_over
from bayesgmm.estimators._nested import is_fit
from bayesgmm.estimators._trees import responsibility_array
from bayesgmm.estimators._weights import check_worth
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import Chunked, DrawMoments, responsibility_moments, rows_of
from bayesgmm.params import MixtureParams
from bayesgmm.random import generator
from bayesgmm.sources import is_chunked
from bayesgmm.tables import column_names
from bayesgmm.typing import ArrayLike, CovarianceType, FloatArray, IntArray, RandomState
from bayesgmm.validation import check_data, check_fittable, check_prob, check_weights

LARGEST_TABLE = 4e8
"""Most numbers that draws x rows x components may come to in memory (3.2 GB)."""


_IN_MEMORY = (
    "This takes rows in memory: give it some of them at a time. In chunks can be had: predict, predict_proba, score_samples, "
    "score and responsibilities"
)


class _NotKeptError(InvalidDataError, AttributeError):
    """The rows that were fitted are not in memory: an AttributeError, too, so that whoever lists attributes passes them over."""


class MixtureEstimator(DensityMixin, BaseEstimator):
    """A fitted mixture, or a batch of them, seen as a scikit-learn estimator."""

    n_components: int
    covariance_type: CovarianceType
    random_state: RandomState
    params_: MixtureParams
    feature_names_: list[str]
    n_features_in_: int
    _fit_rows: FloatArray | NotKept | None = None
    _fit_obs: pd.Index
    _fit_weight: FloatArray | None

    _takes_missing = False

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._takes_missing
        return tags

    @property
    def _fit_X(self) -> FloatArray:
        """The rows that were fitted, as far as they are in memory."""
        rows = self._fit_rows
        if rows is None:
            raise _NotKeptError("This mixture was put together by hand and has seen no rows: give rows (X), or fit it")
        if isinstance(rows, NotKept):
            raise _NotKeptError(
                f"This fit saw its {len(rows):,} rows in chunks and keeps none of them: give rows (X), or fit to some that are in memory"
            )
        return rows

    def _start_fit(self, X: Any, sample_weight: Any = None) -> FloatArray | Chunked:
        """Check settings, data and weights, then remember the data, or of data in chunks their sizes."""
        self._check_settings()
        if is_chunked(X):
            rows = opened(self, X, sample_weight, reset=True)
            check_worth(rows.summary.weight, len(rows), self.n_components, rows.n_features)
            self.feature_names_ = names_of(rows)
            self._fit_rows, self._fit_weight, self._fit_obs = NotKept.of(rows), None, pd.RangeIndex(len(rows), name="obs")
            return rows
        values = check_data(self, X, reset=True, allow_missing=self._takes_missing)
        names = column_names(X, values.shape[1])
        weight = check_weights(sample_weight, len(values))
        self._check_rows(values, names, weight)
        self.feature_names_ = names
        # Copies: what the fit says later must not change when the caller's arrays do.
        self._fit_rows = values = np.array(values, order="C")
        self._fit_weight = None if weight is None else weight.copy()
        self._fit_obs = observations(X, len(values))
        return values

    def _start_like(self, other: MixtureEstimator) -> FloatArray | Chunked:
        """Remember the data that another estimator has checked; they are never written to, so all may have the same."""
        self._check_settings()
        for name in ("n_features_in_", "feature_names_in_", "feature_names_", "_fit_rows", "_fit_weight", "_fit_obs"):
            if hasattr(other, name):
                setattr(self, name, getattr(other, name))
        self._check_rows(self._fit_X, self.feature_names_, self._fit_weight)
        return self._fit_X

    def _check_settings(self) -> None:
        try:
            self._validate_params()
        except SklearnParameterError as error:
            raise InvalidParameterError(str(error)) from None

    def _check_rows(self, values: FloatArray, names: list[str], weight: FloatArray | None) -> None:
        """Raise InvalidDataError unless these rows and weights suffice for the components."""
        check_fittable(values if weight is None else values[weight > 0], names, self.n_components)
        if weight is not None:
            check_worth(float(weight.sum()), int((weight > 0).sum()), self.n_components, values.shape[1])

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted estimator with the same settings; a fit among these stays fitted, for it is a value here, not a step."""
        copy: Self = super().__sklearn_clone__()
        for name, value in self.get_params(deep=False).items():
            if is_fit(value):
                setattr(copy, name, value)
        return copy

    @property
    def _family(self) -> Family:
        return family(self.covariance_type)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = getattr(type(self), name, None)
        if name.endswith("_") and isinstance(kind, property) and kind.fset is None:
            raise AttributeError(
                f"{name} of a {type(self).__name__} cannot be set: it follows from params_. Build a mixture of numbers of your own with "
                "MixtureParams.from_parameters"
            )
        super().__setattr__(name, value)

    @property
    def weights_(self) -> FloatArray:
        """Weights (K,); for a posterior their posterior means."""
        return self._point("weights")

    @property
    def means_(self) -> FloatArray:
        """Means (K, D), in the data's units; for a posterior their posterior means."""
        return self._point("means")

    @property
    def covariances_(self) -> FloatArray:
        """Covariances in scikit-learn's shape for the covariance type; for a posterior their posterior means."""
        return self._family.pack(self._point("covariances"))

    def _point(self, name: str) -> FloatArray:
        check_is_fitted(self, "params_")
        values = getattr(self.params_, name)
        return values.mean(axis=tuple(range(len(self.params_.batch_shape))))

    def fit_predict(self, X: ArrayLike, y: None = None) -> IntArray:
        """Fit and return the labels of the same rows: ``fit(X).predict(X)``.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        y : None
            Not used.

        Returns
        -------
        int array of shape (N,)
        """
        return self.fit(X).predict(X)

    def predict(self, X: ArrayLike) -> IntArray:
        """Return the most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.

        Returns
        -------
        int array of shape (N,)
        """
        if is_chunked(X):
            return self._in_chunks(X, "predict")
        return self.predict_proba(X).argmax(axis=1)

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the responsibilities of each row: the values of :meth:`responsibilities`.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.

        Returns
        -------
        array of shape (N, K)
            With noise in the model, (N, K + 1), the noise last.
        """
        if is_chunked(X):
            return self._in_chunks(X, "predict_proba")
        return self._moments(self._check(X)).mean

    def score_samples(self, X: ArrayLike) -> FloatArray:
        """Return the log-density of each row; for a posterior the log of the posterior predictive density.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.

        Returns
        -------
        array of shape (N,)
            In nats, per unit of every column.
        """
        if is_chunked(X):
            return self._in_chunks(X, "score_samples")
        return self._moments(self._check(X)).log_density

    def score(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-density of the rows, in nats.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        y : None
            Not used.
        sample_weight : array-like of shape (N,), optional
            How often each row counts.

        Returns
        -------
        float
        """
        if is_chunked(X):
            check_is_fitted(self, "params_")
            sums = sums_over(self, X, sample_weight)
            return sums.log_density / sums.weight
        log_density = self.score_samples(X)
        return float(np.average(log_density, weights=check_weights(sample_weight, len(log_density))))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> tuple[FloatArray, IntArray]:
        """Draw new rows; from a posterior each row comes from a draw of its own (the posterior predictive distribution).

        Parameters
        ----------
        n_samples : int
        random_state : int, Generator, RandomState or None
            Source of randomness; None takes the estimator's.

        Returns
        -------
        X : array of shape (n_samples, D)
        labels : int array of shape (n_samples,)
        """
        check_is_fitted(self, "params_")
        rng = generator(self.random_state if random_state is None else random_state)
        if not self.params_.batch_shape:
            return self.params_.sample(n_samples, rng)
        if n_samples < 1:
            raise InvalidParameterError(f"n_samples must be at least 1, got {n_samples}")
        flat = self.params_.reshape(-1)
        X, labels = flat[rng.integers(len(flat.weights), size=n_samples)].sample(1, rng)
        return X[:, 0], labels[:, 0]

    def responsibilities(self, X: ArrayLike | None = None) -> xr.DataArray:
        """Return the probability of each component for each row.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            The training data when absent.

        Returns
        -------
        xarray.DataArray, dims (obs, component)
            For a posterior the mean over its aligned draws. A DataFrame's index becomes the ``obs`` coordinate.
        """
        check_is_fitted(self, "params_")
        if is_chunked(X):
            return responsibility_table(self, X)
        values, obs = self._rows(X)
        return responsibility_array(self._moments(values).mean, obs)

    def _in_chunks(self, X: Any, what: str) -> Any:
        check_is_fitted(self, "params_")
        return predicted(self, X, what)

    def prediction_summary(self, X: ArrayLike | None = None, *, prob: float = 0.9) -> xr.Dataset:
        """Return all that the fit says of each row, with its uncertainty: component, density, and whether it is an outlier.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            The training data when absent.
        prob : float
            Share of a posterior's draws that the central intervals hold.

        Returns
        -------
        xarray.Dataset
            - ``responsibilities`` (obs, component);
            - ``label`` (obs): the most probable component;
            - ``log_density`` (obs): of a posterior the log of the posterior predictive density;
            - ``tail_probability`` (obs): of the nearest component's own rows, the share that lies farther from its mean (by Mahalanobis
              distance; a chi-squared tail). Small for outliers; for a posterior the mean over draws.

            For a posterior, responsibilities, log-density and tail probability have central intervals over the draws, ``..._lower`` and
            ``..._upper``, and ``label_share`` is the share of the draws under which the row has this label. They are what is not known
            of the parameters. A DataFrame's index becomes the ``obs`` coordinate.

        Raises
        ------
        InvalidParameterError
            If ``prob`` does not lie between 0 and 1.

        Notes
        -----
        A few rows at a time see all draws: draws x rows x components never exist together.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful().to_numpy())
        >>> said = em.prediction_summary([[4.4, 80.0], [3.0, 95.0]])
        >>> said.label.values, said.tail_probability.round(2).values
        (array([0, 0]), array([0.96, 0.  ]))
        """
        check_is_fitted(self, "params_")
        check_prob(prob)
        values, obs = self._rows(X)
        if self.params_.batch_shape:
            return _prediction.over_draws(self.params_, values, obs, prob)
        return _prediction.of_one(self.params_, values, obs, self._moments(values))

    def _check(self, X: ArrayLike) -> FloatArray:
        check_is_fitted(self, "params_")
        if is_chunked(X) and not hasattr(X, "__array__"):  # a mapped array can be had in memory
            raise InvalidDataError(_IN_MEMORY)
        return check_data(self, X, reset=False, allow_missing=self._takes_missing)

    def _rows(self, X: ArrayLike | None) -> tuple[FloatArray, pd.Index]:
        if X is None:
            return self._fit_X, self._fit_obs
        if is_chunked(X):
            raise InvalidDataError(_IN_MEMORY)
        values = self._check(X)
        return values, observations(X, len(values))

    def _moments(self, X: FloatArray) -> DrawMoments:
        flat = self.params_.reshape(-1)
        return responsibility_moments(rows_of(X), *flat.arrays(), diagonal=flat.is_diagonal)

    def _draw_table(self, params: MixtureParams, X: ArrayLike | None, dims: tuple[str, ...]) -> xr.DataArray:
        """Return responsibilities of a batch, dims ``(*dims, obs, component)``, unless they would not fit into memory."""
        values, obs = self._rows(X)
        size = params.weights.size * len(values)
        if size > LARGEST_TABLE:
            raise InvalidParameterError(
                f"{size:.1e} responsibilities would take {size * 8 / 1e9:.0f} GB: ask for fewer draws or rows, "
                "or use responsibilities(), which streams"
            )
        return responsibility_array(params.responsibilities(values), obs, dims)

    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Fit to X (N, D)."""
        raise NotImplementedError


def unchanged_on_failure[**P, T](method: Callable[P, T]) -> Callable[P, T]:
    """Let a method of an estimator leave the estimator as it was if it fails, or is interrupted."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        estimator: Any = args[0]
        before = dict(vars(estimator))
        try:
            return method(*args, **kwargs)
        except BaseException:
            vars(estimator).clear()
            vars(estimator).update(before)
            raise

    return guarded


def observations(X: Any, n: int) -> pd.Index:
    """Return a DataFrame's index if it can name rows, otherwise row numbers."""
    index = getattr(X, "index", None)
    if isinstance(index, pd.Index) and not isinstance(index, pd.MultiIndex) and index.is_unique and index.dtype.kind in "iuf":
        return pd.Index(index.to_numpy(), name="obs")
    if isinstance(index, pd.Index) and index.is_unique and not isinstance(index, pd.MultiIndex):
        return pd.Index([str(label) for label in index], name="obs")
    return pd.RangeIndex(n, name="obs")
