"""The maximum-likelihood estimator."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from scipy.linalg import solve_triangular
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from bayesgmm.em import START_METHODS, EMFit, EMRun, bootstrap, fit_em
from bayesgmm.em.fit import Start
from bayesgmm.estimators import _trees
from bayesgmm.estimators._base import MixtureEstimator, seed_sequence
from bayesgmm.exceptions import ConvergenceWarning, InvalidParameterError
from bayesgmm.expectation import blas_on_one_thread
from bayesgmm.params import MixtureParams, cholesky
from bayesgmm.typing import ArrayLike, CovarianceType, FloatArray, RandomState


class GaussianMixture(MixtureEstimator):
    """Gaussian mixture by maximum likelihood, with scikit-learn's interface.

    Parameters
    ----------
    n_components : int
        Number of components K.
    covariance_type : {"full", "tied", "diag", "spherical"}
        Each component its own covariance matrix, one for all, a diagonal one each, or one variance each.
    tol : float
        EM stops when the mean log-likelihood of a row grows by less in one iteration. Tighter than scikit-learn's 1e-3, at which EM
        often stops long before the maximum.
    reg_covar : float, optional
        Added to the variances, in squared units of the data, as in scikit-learn. By default nothing is added; instead no covariance
        may have a spread below 1e-3 of the data's total spread in any direction (1e-6 in variance), whatever the units.
    max_iter : int
        Most iterations of one run.
    n_init : int or "auto"
        Number of starts. "auto" makes 20 short runs and carries the best four to the end; a number carries each to the end.
    init_params : {"auto", "kmeans", "k-means++", "random", "random_from_data"}
        How to start; "auto" takes k-means, k-means++ and random rows in turn, on standardised data.
    weights_init, means_init, precisions_init : array-like, optional
        Starting values of shape (K,), (K, D), and precisions in scikit-learn's shape for the covariance type; what is not given is
        found from the data. If any is given, components keep its order.
    random_state : int, Generator, RandomState or None
    warm_start : bool
        Start from the last fit, if there is one.
    verbose : int
        1 prints a line per start, 2 also every ``verbose_interval``-th log-likelihood.
    verbose_interval : int

    Attributes
    ----------
    params_ : MixtureParams
        Weights, means and Cholesky factors; batch shape ``()``.
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : array
        In scikit-learn's shapes.
    log_likelihood_ : float
        Of the data, in their units.
    log_likelihood_trace_ : array of shape (n_iter_ + 1,)
        At the start and after every iteration of the best run.
    converged_ : bool
    n_iter_ : int
    lower_bound_ : float
        Mean log-likelihood of a row.
    n_starts_at_best_ : int
        Number of starts that ended within 0.01 of the best log-likelihood, of ``n_starts_`` in all.
    feature_names_ : list of str
    n_features_in_ : int

    Notes
    -----
    Components come in order of decreasing weight. Results don't depend on the units or the offset of the data.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
    >>> round(em.log_likelihood_, 3)
    -1130.264
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions({"full", "tied", "diag", "spherical"})],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "init_params": [StrOptions({"auto", *START_METHODS})],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        "random_state": ["random_state", np.random.Generator],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: CovarianceType = "full",
        tol: float = 1e-8,
        reg_covar: float | None = None,
        max_iter: int = 1000,
        n_init: int | str = "auto",
        init_params: str = "auto",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: RandomState = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    @blas_on_one_thread()
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Fit the mixture to X (N, D).

        Raises
        ------
        InvalidDataError
            If the data cannot be used; the message says what to do.
        InvalidParameterError
            If a setting or a starting value cannot be used.
        """
        previous = getattr(self, "params_", None) if self.warm_start else None
        values = self._start_fit(X)
        start = self._user_start(values.shape[1]) if previous is None else _start_at(previous)
        fit = fit_em(
            values,
            self.n_components,
            self._family,
            tol=self.tol,
            max_iter=self.max_iter,
            reg_covar=self.reg_covar,
            n_init=self.n_init,
            init_params=self.init_params,
            start=start,
            seeds=seed_sequence(self.random_state),
            on_run=_Reporter(self.verbose, self.verbose_interval) if self.verbose else None,
        )
        self._store(fit, fit.params if start.is_given else fit.params.permute(fit.params.canonical_order()))
        return self

    def _store(self, fit: EMFit, params: MixtureParams) -> None:
        self.params_ = params
        self.log_likelihood_trace_ = fit.trace
        self.log_likelihood_ = fit.log_likelihood
        self.lower_bounds_ = fit.trace / len(self._fit_X)
        self.lower_bound_ = float(self.lower_bounds_[-1])
        self.converged_ = fit.converged
        self.n_iter_ = len(fit.trace) - 1
        self.n_starts_ = len(fit.run_log_likelihoods)
        self.n_starts_at_best_ = fit.n_at_best
        if not fit.converged:
            gain = fit.trace[-1] - fit.trace[-2]
            warnings.warn(
                f"EM stopped after max_iter={self.max_iter} iterations while the log-likelihood still grew by {gain:.3g} per iteration: "
                "raise max_iter, or tol if that is close enough",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _user_start(self, n_features: int) -> Start:
        K, D = self.n_components, n_features
        weights = _given("weights_init", self.weights_init, (K,))
        if weights is not None and ((weights < 0).any() or not np.isclose(weights.sum(), 1.0)):
            raise InvalidParameterError("weights_init must be at least zero and add up to one")
        means = _given("means_init", self.means_init, (K, D))
        packed = _given("precisions_init", self.precisions_init, self._family.packed_shape(K, D))
        return Start(weights, means, None if packed is None else self._covariances_of(packed, D))

    def _covariances_of(self, precisions: FloatArray, n_features: int) -> FloatArray:
        matrices = self._family.unpack(precisions, self.n_components, n_features)
        try:
            cholesky(matrices)
        except InvalidParameterError as error:
            raise InvalidParameterError(f"precisions_init: {str(error).replace('covariances', 'precisions')}") from None
        return np.linalg.inv(matrices)

    @property
    def precisions_cholesky_(self) -> FloatArray:
        """Upper triangular square roots of the precisions, in scikit-learn's shape for the covariance type."""
        check_is_fitted(self, "params_")
        identity = np.eye(self.params_.n_features)
        factors = np.stack([solve_triangular(L, identity, lower=True).T for L in self.params_.scale_tril])
        return self._family.pack(factors)

    @property
    def precisions_(self) -> FloatArray:
        """Inverses of the covariances, in scikit-learn's shape for the covariance type."""
        check_is_fitted(self, "params_")
        return self._family.pack(np.linalg.inv(self.params_.covariances))

    @property
    def n_parameters_(self) -> int:
        """Number of free parameters."""
        return self._family.n_parameters(self.n_components, self.n_features_in_)

    def bic(self, X: ArrayLike) -> float:
        """Return the Bayesian information criterion on X (N, D): lower is better (Schwarz 1978)."""
        log_density = self.score_samples(X)
        return float(-2 * log_density.sum() + self.n_parameters_ * np.log(len(log_density)))

    def aic(self, X: ArrayLike) -> float:
        """Return Akaike's information criterion on X (N, D): lower is better (Akaike 1974)."""
        return float(-2 * self.score_samples(X).sum() + 2 * self.n_parameters_)

    def icl(self, X: ArrayLike) -> float:
        """Return the integrated complete-data likelihood criterion on X (N, D): lower is better.

        BIC plus ``-2 sum_i log max_k r_ik``, the price of rows whose group is in doubt (Biernacki, Celeux and Govaert 2000, IEEE PAMI 22,
        719-725): it favours groups that are apart.
        """
        log_r = self.params_.log_responsibilities(self._check(X))
        return self.bic(X) - 2 * float(log_r.max(axis=1).sum())

    def responsibility_draws(
        self, X: ArrayLike | None = None, *, n_replicates: int = 100, random_state: RandomState = None
    ) -> xr.DataArray:
        """Return responsibilities under bootstrap replicates of the fit: how much they would move with other data of the same kind.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            Rows to judge; the training data when absent. Replicates are always refitted to resampled training data.
        n_replicates : int
        random_state : int, Generator, RandomState or None
            None takes the estimator's.

        Returns
        -------
        xarray.DataArray, dims (replicate, obs, component)
        """
        check_is_fitted(self, "params_")
        if n_replicates < 1:
            raise InvalidParameterError(f"n_replicates must be at least 1, got {n_replicates}")
        replicates = bootstrap(
            self._fit_X,
            self.params_,
            self._family,
            n_replicates=n_replicates,
            tol=self.tol,
            max_iter=self.max_iter,
            reg_covar=self.reg_covar,
            seeds=seed_sequence(self.random_state if random_state is None else random_state),
        )
        return self._draw_table(replicates, X, ("replicate",))

    @property
    def datatree_(self) -> xr.DataTree:
        """The fit as an ``xarray.DataTree``: groups point_estimate, responsibilities, optimization, observed_data."""
        check_is_fitted(self, "params_")
        attrs = {"inference": "em", **_trees.provenance(self)}
        groups = {
            "point_estimate": _trees.parameters(self.params_, self._family, self.feature_names_, ()),
            "responsibilities": _trees.responsibilities(self.responsibilities()),
            "optimization": xr.Dataset({"log_likelihood_trace": ("iteration", self.log_likelihood_trace_)}),
            "observed_data": _trees.observed(self._fit_X, self._fit_obs, self.feature_names_),
        }
        return _trees.tree(groups, attrs)


class _Reporter:
    """Prints how the runs of a fit end."""

    def __init__(self, verbose: int, interval: int) -> None:
        self.count, self.verbose, self.interval = 0, verbose, interval

    def __call__(self, run: EMRun) -> None:
        self.count += 1
        print(f"Start {self.count}: {run.n_iter} iterations, log-likelihood {run.log_likelihood:.6f}")  # noqa: T201
        if self.verbose > 1:
            for i in range(self.interval, run.n_iter, self.interval):
                print(f"  iteration {i}: {run.trace[i]:.6f}")  # noqa: T201


def _given(name: str, value: Any, shape: tuple[int, ...]) -> FloatArray | None:
    if value is None:
        return None
    array = np.asarray(value, dtype=float)
    if array.shape != shape:
        raise InvalidParameterError(f"{name} must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidParameterError(f"{name} must be finite numbers")
    return array


def _start_at(params: MixtureParams) -> Start:
    return Start(params.weights, params.means, params.covariances)
