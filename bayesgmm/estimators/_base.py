"""What both estimators do alike: everything that only needs parameters and data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, Self

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import InvalidParameterError as SklearnParameterError
from sklearn.utils.validation import check_is_fitted

from bayesgmm.covariance import Family, family
from bayesgmm.em import impute
from bayesgmm.estimators._dependent import Dependent
from bayesgmm.estimators._labelled import Labelled
from bayesgmm.estimators._prediction import Predictor, Sums, sums_over
from bayesgmm.estimators._starts import is_fit
from bayesgmm.estimators._trees import responsibility_array
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import values_behind
from bayesgmm.params import MixtureParams
from bayesgmm.partitions.doubt import row_summary
from bayesgmm.random import generator
from bayesgmm.rows import Classes, MemoryRows, NoRows, Rows, rows_to_predict, rows_with
from bayesgmm.rows.concomitant import Concomitant, Covariates, Samples
from bayesgmm.typing import ArrayLike, CovarianceType, FloatArray, IntArray, RandomState
from bayesgmm.validation import check_prob

LARGEST_TABLE = 4e8
"""Most numbers that draws x rows x components may come to in memory (3.2 GB)."""


DRAWS_OF_A_MEAN = 200
"""Draws that suffice for the mean of values that were not seen."""


class MixtureEstimator(Labelled, Dependent, DensityMixin, BaseEstimator):
    """A fitted mixture, or a batch of them, seen as a scikit-learn estimator."""

    n_components: int
    covariance_type: CovarianceType
    random_state: RandomState
    params_: MixtureParams
    feature_names_: list[str]
    n_features_in_: int
    feature_names_in_: np.ndarray
    rows_: Rows = NoRows("This mixture was put together by hand and has seen no rows: give rows (X), or fit it")
    """What was fitted, as far as it is in memory."""

    _takes_missing = False
    _classes: Classes | None = None
    _concomitant: Concomitant | None = None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._takes_missing
        return tags

    def _know_columns_of(self, rows: Rows) -> None:
        self.feature_names_, self.n_features_in_ = rows.feature_names, rows.n_features
        if rows.feature_names_in is not None:
            self.feature_names_in_ = rows.feature_names_in
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _check_settings(self) -> None:
        try:
            self._validate_params()
        except SklearnParameterError as error:
            raise InvalidParameterError(str(error)) from None

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted estimator with the same settings; a fit among these stays fitted, for it is a value here, not a step."""
        copy: Self = super().__sklearn_clone__()
        for name, value in self.get_params(deep=False).items():
            if is_fit(value):
                setattr(copy, name, value)
        return copy

    @property
    def family_(self) -> Family:
        """The covariance family."""
        return family(self.covariance_type)

    @property
    def mixtures_(self) -> MixtureParams:
        """All mixtures of the fit: those of ``params_``, unless these are for one of several numbers of components."""
        check_is_fitted(self, "params_")
        return self.params_

    @property
    def predictor_(self) -> Predictor:
        """All that it takes of the fit to predict."""
        check_is_fitted(self, "params_")
        return Predictor(self.params_)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = getattr(type(self), name, None)
        if name.endswith("_") and isinstance(kind, property) and kind.fset is None:
            raise AttributeError(
                f"{name} of a {type(self).__name__} cannot be set: it follows from params_. Build a mixture of numbers of your own with "
                "MixtureParams.from_parameters"
            )
        super().__setattr__(name, value)

    @property
    def n_components_(self) -> int:
        """Number of components of ``params_``."""
        check_is_fitted(self, "params_")
        return self.params_.n_components

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
        return self.family_.pack(self._point("covariances"))

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

    def predict(
        self,
        X: ArrayLike,
        *,
        errors: ArrayLike | None = None,
        together: ArrayLike | None = None,
        samples: ArrayLike | None = None,
        covariates: ArrayLike | None = None,
    ) -> IntArray:
        """Return the most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.
        samples : array-like of shape (N,), optional
            Which sample each row is of, as in ``fit``; without it rows have the weights of all samples together.
        covariates : array-like of shape (N, P), optional
            The rows' covariates, as in ``fit``; without them rows have the weights of all rows on average.

        Returns
        -------
        int array of shape (N,)
        """
        rows, predictor = self._asked(X, errors, together, samples, covariates)
        return rows.map_rows(predictor.labels, dtype=np.intp)

    def predict_proba(
        self,
        X: ArrayLike,
        *,
        errors: ArrayLike | None = None,
        together: ArrayLike | None = None,
        samples: ArrayLike | None = None,
        covariates: ArrayLike | None = None,
    ) -> FloatArray:
        """Return the responsibilities of each row: the values of :meth:`responsibilities`.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.
        samples : array-like of shape (N,), optional
            Which sample each row is of, as in ``fit``; without it rows have the weights of all samples together.
        covariates : array-like of shape (N, P), optional
            The rows' covariates, as in ``fit``; without them rows have the weights of all rows on average.

        Returns
        -------
        array of shape (N, K)
            With noise in the model, (N, K + 1), the noise last.
        """
        rows, predictor = self._asked(X, errors, together, samples, covariates)
        return rows.map_rows(predictor.responsibilities, len(predictor.components))

    def score_samples(
        self,
        X: ArrayLike,
        *,
        errors: ArrayLike | None = None,
        together: ArrayLike | None = None,
        samples: ArrayLike | None = None,
        covariates: ArrayLike | None = None,
    ) -> FloatArray:
        """Return the log-density of each row; for a posterior the log of the posterior predictive density.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.
        samples : array-like of shape (N,), optional
            Which sample each row is of, as in ``fit``; without it rows have the weights of all samples together.
        covariates : array-like of shape (N, P), optional
            The rows' covariates, as in ``fit``; without them rows have the weights of all rows on average.

        Returns
        -------
        array of shape (N,)
            In nats, per unit of every column.
        """
        rows, predictor = self._asked(X, errors, together, samples, covariates)
        return rows.map_rows(predictor.log_density)

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
        sums = self._sums(X, sample_weight)
        return sums.log_density / sums.weight

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
        if not self.mixtures_.batch_shape:
            return self.mixtures_.sample(n_samples, rng)
        if n_samples < 1:
            raise InvalidParameterError(f"n_samples must be at least 1, got {n_samples}")
        flat = self.mixtures_.reshape(-1)
        X, labels = flat[rng.integers(len(flat.weights), size=n_samples)].sample(1, rng)
        return X[:, 0], labels[:, 0]

    def responsibilities(
        self,
        X: ArrayLike | None = None,
        *,
        errors: ArrayLike | None = None,
        together: ArrayLike | None = None,
        samples: ArrayLike | None = None,
        covariates: ArrayLike | None = None,
    ) -> xr.DataArray:
        """Return the probability of each component for each row.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            The training data, with all that is known of them, when absent.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.
        samples : array-like of shape (N,), optional
            Which sample each row is of, as in ``fit``; without it rows have the weights of all samples together.
        covariates : array-like of shape (N, P), optional
            The rows' covariates, as in ``fit``; without them rows have the weights of all rows on average.

        Returns
        -------
        xarray.DataArray, dims (obs, component)
            For a posterior the mean over its aligned draws. A DataFrame's index becomes the ``obs`` coordinate.
        """
        rows, predictor = (
            (self.rows_.in_memory(), self.predictor_) if X is None else self._asked(X, errors, together, samples, covariates)
        )
        rows = rows.sized()
        table = rows.map_rows(predictor.responsibilities, len(predictor.components))
        # Row numbers of rows in chunks would be an array of all rows: xarray counts them without.
        coords = {"component": predictor.components} | ({"obs": rows.index} if rows.is_in_memory else {})
        return xr.DataArray(table, dims=("obs", "component"), coords=coords, name="responsibilities")

    def row_summary(
        self,
        X: ArrayLike | None = None,
        *,
        prob: float = 0.9,
        errors: ArrayLike | None = None,
        together: ArrayLike | None = None,
    ) -> xr.Dataset:
        """Return all that the fit says of each row: its group, how doubtful that is and why, its density, and whether it is an outlier.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            The training data when absent.
        prob : float
            Share of the draws that the central intervals hold.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.

        Returns
        -------
        xarray.Dataset
            - ``label`` (obs): the most probable component; -1 for noise;
            - ``doubt`` (obs): 1 - the probability of that component: the probability that the label is wrong;
            - ``cause`` (obs): "clear" where the doubt is at most 0.1, otherwise "overlap" or "too little data", whichever part of the
              entropy is greater;
            - ``responsibility`` (obs, component): the mean over draws; with ``..._sd``, ``..._lower`` and ``..._upper``;
            - ``entropy`` (obs): of the averaged responsibilities, in nats, the sum of ``aleatoric``, the mean over draws of the entropy,
              and ``epistemic``, the mutual information of a row's group and the parameters;
            - ``log_density`` (obs): of a posterior the log of the posterior predictive density;
            - ``tail_probability`` (obs): of the nearest component's own rows, the share that lies farther from its mean (by Mahalanobis
              distance; a chi-squared tail). Small for outliers; the mean over draws;
            - ``label_share`` (obs), where there are draws: the share of them under which the row has this label.

            Log-density and tail probability have central intervals over the draws as well, ``..._lower`` and ``..._upper``. A
            DataFrame's index becomes the ``obs`` coordinate. The attributes say what was averaged over: ``inference``, ``n_draws``.

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
        >>> X = bg.datasets.load_faithful()
        >>> posterior = bg.BayesianGaussianMixture(2, draws=200, tune=200, random_state=1, progressbar=False).fit(X)
        >>> posterior.row_summary(X.iloc[243:245]).cause.values
        array(['overlap', 'clear'], dtype='<U15')
        """
        predictor = self.predictor_
        check_prob(prob)
        rows = self._rows(X, errors=errors, together=together)
        moments = None if predictor.noise is None else predictor.moments(rows.chunk)
        said = row_summary(predictor.params, rows.chunk, rows.index, prob, moments=moments, grouping=predictor.grouping)
        return said.assign_attrs(inference="posterior" if predictor.params.batch_shape else "em")

    def impute(
        self,
        X: ArrayLike,
        *,
        n_draws: int | None = None,
        errors: ArrayLike | None = None,
        together: ArrayLike | None = None,
        random_state: RandomState = None,
    ) -> FloatArray:
        """Fill what is missing in X (N, D), where NaN stands for it.

        Parameters
        ----------
        X : array-like of shape (N, D)
        n_draws : int, optional
            Draw so many fillings instead of one of conditional means. Draws have the spread that missing values have, and of a posterior
            that of the parameters, too; means have none, and data filled with them look more certain than they are.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``. What is filled in is without error.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.
        random_state : int, Generator, RandomState or None
            Source of the draws; None takes the estimator's.

        Returns
        -------
        array of shape (N, D), or (n_draws, N, D)
            What is there stays as it is. Means of a posterior are those of 200 of its draws.

        Notes
        -----
        Given what a row has, the rest of it is a mixture of normals: the components' conditional ones, weighted by the row's
        responsibilities (Ghahramani and Jordan 1994, Advances in Neural Information Processing Systems 6, 120-127).

        Examples
        --------
        >>> import bayesgmm as bg
        >>> faithful = bg.datasets.load_faithful().to_numpy()
        >>> em = bg.GaussianMixture(2, random_state=1).fit(faithful)
        >>> em.impute([[4.5, float("nan")]]).round(1)
        array([[ 4.5, 81.1]])
        """
        chunk = self._rows_without_noise(X, errors, together).chunk
        if n_draws is None:
            few = self._few_mixtures
            total = sum(impute(chunk, few[t], None, generator(0)) for t in range(len(few.weights)))
            return np.where(np.isnan(chunk.X), total / len(few.weights), chunk.X)
        if n_draws < 1:
            raise InvalidParameterError(f"n_draws must be at least 1, got {n_draws}")
        rng, flat = generator(self.random_state if random_state is None else random_state), self.mixtures_.reshape(-1)
        chosen = rng.choice(len(flat.weights), n_draws, replace=n_draws > len(flat.weights))
        return np.concatenate([impute(chunk, flat[t], 1, rng) for t in chosen])

    def deconvolved(
        self, X: ArrayLike | None = None, *, errors: ArrayLike | None = None, together: ArrayLike | None = None
    ) -> xr.Dataset:
        """Return what each row's values are without error of measurement, given the row, its error and the mixture.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            NaN stands for a missing value. The training data, with all that is known of them, when absent.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.

        Returns
        -------
        xarray.Dataset
            ``value`` and ``sd`` (obs, feature): expectation and standard deviation; of a posterior those over 200 of its draws, too.
            A value without error is itself, and its standard deviation zero.

        Notes
        -----
        Bovy, Hogg and Roweis 2011, Annals of Applied Statistics 5, 1657-1677, section 2. Values are drawn towards their groups, the more
        the larger their error, so that together they spread less than the groups do.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> X = bg.datasets.load_faithful().to_numpy()
        >>> em = bg.GaussianMixture(2, random_state=1).fit(X, errors=[0.2, 5.0])
        >>> em.deconvolved([[2.0, 70.0]], errors=[0.2, 5.0]).value.values.round(1)
        array([[ 2.1, 57.3]])
        """
        rows, few = self._rows_without_noise(X, errors, together), self._few_mixtures
        total, square, within = (np.zeros(rows.shape) for _ in range(3))
        for t in range(len(few.weights)):
            value, variance = values_behind(rows.chunk, *few[t].arrays(rows.chunk), diagonal=few.is_diagonal)
            total, square, within = total + value, square + value**2, within + variance
        T = len(few.weights)
        sd = np.sqrt(np.maximum((within + square) / T - (total / T) ** 2, 0.0))
        exact = ~np.isnan(rows.values) & ~self._has_error(rows)
        parts = {"value": np.where(exact, rows.values, total / T), "sd": np.where(exact, 0.0, sd)}
        coords = {"obs": rows.index, "feature": self.feature_names_}
        return xr.Dataset({name: (("obs", "feature"), part) for name, part in parts.items()}, coords=coords)

    @staticmethod
    def _has_error(rows: MemoryRows) -> np.ndarray:
        """Say of which values (N, D) the error is not zero."""
        if rows.known is None or rows.known.error_of is None or rows.known.error_tril is None:
            return np.zeros(rows.shape, dtype=bool)
        has: np.ndarray = (rows.known.error_tril != 0).any(-1)[rows.known.error_of]
        return has

    @property
    def _few_mixtures(self) -> MixtureParams:
        """The mixture, or as many draws as suffice for a mean: its Monte Carlo error is then a fourteenth of their spread."""
        flat = self.mixtures_.reshape(-1)
        return flat.thin(DRAWS_OF_A_MEAN) if len(flat.weights) > DRAWS_OF_A_MEAN else flat

    def _rows_without_noise(self, X: ArrayLike | None, errors: ArrayLike | None, together: ArrayLike | None) -> MemoryRows:
        if getattr(self, "noise", False):
            raise InvalidParameterError("rows that may be noise say nothing about what they lack: set noise=False to impute")
        check_is_fitted(self, "params_")
        return self._rows(X, errors=errors, together=together)

    def _rows_of(
        self,
        X: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        errors: ArrayLike | None = None,
        together: ArrayLike | None = None,
    ) -> Rows:
        """Return what is to be predicted, checked."""
        check_is_fitted(self, "params_")
        rows = rows_to_predict(self, X, sample_weight, allow_missing=self._takes_missing)
        return self._knowing(rows, errors, together)

    def _rows(self, X: ArrayLike | None, *, errors: ArrayLike | None = None, together: ArrayLike | None = None) -> MemoryRows:
        """Return rows in memory, those that were fitted when there are none."""
        if X is None:
            if errors is not None or together is not None:
                raise InvalidParameterError("errors= and together= go with rows of their own: give X, or leave them out")
            return self.rows_.in_memory()
        rows = rows_to_predict(self, X, allow_missing=self._takes_missing, in_memory=True)
        return self._knowing(rows, errors, together).in_memory()

    def _asked(
        self,
        X: ArrayLike,
        errors: ArrayLike | None,
        together: ArrayLike | None,
        samples: ArrayLike | None,
        covariates: ArrayLike | None,
    ) -> tuple[Rows, Predictor]:
        """Return rows that are to be predicted, and what predicts them: with the weights of their samples or covariates."""
        rows, predictor = self._rows_of(X, errors=errors, together=together), self.predictor_
        if samples is None and covariates is None:
            return rows, predictor
        concomitant = self._concomitant
        given, name = (samples, "samples") if covariates is None else (covariates, "covariates")
        is_it = isinstance(concomitant, Samples if covariates is None else Covariates)
        if concomitant is None or not is_it or (samples is not None and covariates is not None):
            raise InvalidParameterError(f"the fit was given no {name}: give {name}= to fit")
        held = rows.in_memory()
        again = concomitant.again(given, len(held))
        params = predictor.params
        if isinstance(concomitant, Covariates) and isinstance(again, Covariates):
            assert params.shares is not None
            params = replace(params, shares=again.shares(concomitant.coefficients(params.shares)))
        return held.with_shares(again.share_of, again.n_shares), replace(predictor, params=params)

    def _knowing(self, rows: Rows, errors: ArrayLike | None, together: ArrayLike | None) -> Rows:
        if getattr(self, "noise", False) and not (errors is None and together is None):
            raise InvalidParameterError("errors= and together= cannot go with noise=True yet: leave them out, or fit without noise")
        return rows_with(rows, self.mixtures_.n_components, errors=errors, together=together)[0]

    def _sums(self, X: ArrayLike | None, sample_weight: ArrayLike | None) -> Sums:
        predictor = self.predictor_
        if X is not None:
            return sums_over(self._rows_of(X, sample_weight), predictor)
        if sample_weight is not None:
            raise InvalidParameterError("sample_weight goes with rows of its own: give X, or leave it out")
        return sums_over(self.rows_.in_memory(), predictor)

    def _draw_table(self, params: MixtureParams, X: ArrayLike | None, dims: tuple[str, ...]) -> xr.DataArray:
        """Return responsibilities of a batch, dims ``(*dims, obs, component)``, unless they would not fit into memory."""
        rows = self._rows(X)
        size = params.weights.size * len(rows)
        if size > LARGEST_TABLE:
            raise InvalidParameterError(
                f"{size:.1e} responsibilities would take {size * 8 / 1e9:.0f} GB: ask for fewer draws or rows, "
                "or use responsibilities(), which streams"
            )
        return responsibility_array(params.responsibilities(rows.chunk), rows.index, dims)

    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Fit to X (N, D)."""
        raise NotImplementedError


def unchanged_on_failure[**P, T](method: Callable[P, T]) -> Callable[P, T]:
    """Let a method of an estimator leave the estimator as it was if it fails, or is interrupted."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        estimator: object = args[0]
        before = dict(vars(estimator))
        try:
            return method(*args, **kwargs)
        except BaseException:
            vars(estimator).clear()
            vars(estimator).update(before)
            raise

    return guarded
