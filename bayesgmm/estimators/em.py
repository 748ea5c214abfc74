"""The maximum-likelihood estimator."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from sklearn.base import clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from bayesgmm.covariance import Family, names
from bayesgmm.em import START_METHODS, EMFit, Fitting, Iteration, Listener, Noise, Record, Specification
from bayesgmm.estimators import _trees
from bayesgmm.estimators._base import unchanged_on_failure
from bayesgmm.estimators._by_hand import ByHand
from bayesgmm.estimators._checkpoint import checkpoint_of
from bayesgmm.estimators._errors import SamplingErrors
from bayesgmm.estimators._prediction import Predictor
from bayesgmm.estimators._size import advise_on_parameters, advise_on_values, most_components
from bayesgmm.estimators._starts import Reporter, start_at, user_start
from bayesgmm.estimators.criteria import Criteria, bic
from bayesgmm.estimators.groups_apart import groups_apart
from bayesgmm.estimators.least_bic import least_bic
from bayesgmm.exceptions import ConvergenceWarning, InvalidParameterError, warn
from bayesgmm.fixed import Fixed
from bayesgmm.kernels.threads import libraries_on_one_thread
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ConjugatePriors, Priors
from bayesgmm.random import generator, seed_sequence
from bayesgmm.resolution import repeats
from bayesgmm.rows import Classes, MemoryRows, Rows, concomitant_of, rows_to_fit, rows_with
from bayesgmm.rows.check import check_rows
from bayesgmm.rows.concomitant import Concomitant
from bayesgmm.text import listed
from bayesgmm.typing import ArrayLike, CovarianceType, FloatArray, IntArray, RandomState


@dataclass(frozen=True, eq=False)
class Before:
    """The last fit of an estimator, to start from.

    Parameters
    ----------
    params : MixtureParams
    family : Family
    names : list of str, optional
        Of the columns, where they are known.
    trace : array
        Log-likelihoods of its last iterations; empty of a mixture put together by hand.
    """

    params: MixtureParams
    family: Family
    names: list[str] | None
    trace: FloatArray

    def is_of(self, model: tuple[int, Family, list[str]]) -> bool:
        """Whether a model can start there: one with as many components, of the same family and of the same columns."""
        n_components, family, names = model
        return self.params.n_components == n_components and self.family is family and self.names in (None, names)


class GaussianMixture(ByHand, Criteria, SamplingErrors):
    """Gaussian mixture by maximum likelihood, with scikit-learn's interface.

    Parameters
    ----------
    n_components : int or "auto"
        Number of components K. "auto" takes the number with the least BIC: one component more is tried at a time until BIC has not
        fallen three times in a row. Components are not groups: ``groups_`` tells which components are one.
    max_components : int, optional
        Most components, with "auto"; by default 30.
    covariance_type : {"full", "tied", "diag", "spherical"} or one of mclust's fourteen
        Each component its own covariance matrix, one for all, a diagonal one each, or one variance each. mclust's names say with three
        letters whether volume, shape and orientation are equal (E), varying (V) or those of the identity (I): "EII", "VII", "EEI",
        "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV" (Celeux and Govaert 1995, Pattern Recognition 28,
        781-793).
    tol : float
        EM stops when what is left to gain in the mean log-likelihood of a row is less (with ``n_init`` a number: when one iteration gains
        less). Tighter than scikit-learn's 1e-3, at which EM often stops long before the maximum.
    reg_covar : float, optional
        Added to the variances, in squared units of the data, as in scikit-learn. By default nothing is added; instead no standard
        deviation may fall, in any direction, below what the data can tell: that of their rounding, or 2e-5 of the spread of the
        groups. A component that only this floor holds up is called collapsed.
    max_iter : int
        Most iterations of one run; with 0 the fit is where EM would have started.
    n_init : int or "auto"
        Number of starts. "auto" searches: it makes six independent starts, goes on from the best maximum by moving and splitting
        components, and ends when looking on does not pay. A number carries so many starts to the end, as scikit-learn does.
    effort : float
        How long "auto" searches: the time grows with it, in about the same proportion. 1 by default.
    init_params : {"auto", "kmeans", "k-means++", "random", "random_from_data", "hierarchical"}, array or mixture
        How to start; "auto" takes one start after the other from several views of the rows: random rows, projections in which groups
        show, rows far apart, and a tree of mergers. Or your own labels (N,), responsibilities (N, K), a MixtureParams or another fit: the
        components then keep its order. A fit that is not fitted yet is fitted first; one that is stays so in scikit-learn's ``clone``,
        and so in its searches and cross-validation.
    weights_init, means_init, precisions_init : array-like, optional
        Starting values of shape (K,), (K, D), and precisions in scikit-learn's shape for the covariance type; what is not given is
        found from the data. If any is given, components keep its order.
    priors : Priors or ConjugatePriors, optional
        Then EM climbs log-likelihood plus log-prior and ends at the posterior's mode (maximum a posteriori). `Priors` are those of the
        posterior estimator; `ConjugatePriors` Fraley and Raftery's. Covariance families "full", "tied", "diag", "spherical".
    equal_weights : bool
        Whether all components have the weight 1 / K (of what is not noise).
    fixed : dict, optional
        Parameters of some components that are known and kept: for any of "weights", "means" and "covariances" a dict from the component's
        number to its value, or an array of shape (K,), (K, D), (K, D, D) with NaN for what is free. Components then keep their order.
    noise : bool
        Whether to add a component for rows that belong to no group, spread evenly over a box around the data (Banfield and Raftery 1993).
        Its label is -1, and its responsibilities are the last column. Rows that lie far beyond all others in some column (an empty
        stretch ten times as wide as where nine tenths of the rows lie, and no group beyond it) do not stretch the box: they are noise for
        certain, at the box's density, and ``message_`` names them.
    random_state : int, Generator, RandomState or None
    warm_start : bool
        Start from the last fit, if there is one of as many components, of this covariance type and of the same columns; otherwise as
        without it.
    verbose : int
        1 prints a line per start, and of rows in chunks one per iteration over all of them; 2 also every ``verbose_interval``-th
        log-likelihood.
    verbose_interval : int

    Attributes
    ----------
    params_ : MixtureParams
        Weights, means and Cholesky factors; batch shape ``()``.
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : array
        In scikit-learn's shapes. They can be set: weights, means and one of the other three make a mixture that has seen no rows, which
        predicts, draws and starts other fits. All at once and checked together: :meth:`MixtureParams.from_parameters`.
    log_likelihood_ : float
        Of the data, in their units.
    log_likelihood_trace_ : array of shape (iterations + 1,)
        At the start and after every iteration of the best run; with priors, of log-likelihood plus log-prior.
    noise_weight_ : float
        Share of the rows that belong to no group; ``weights_`` are shares of the others. 0 without ``noise``.
    log_prior_ : float
        Log-density of the prior at the fit, of weights, means, standard deviations and correlation matrices themselves; 0 without priors.
    converged_ : bool
    status_ : {"converged", "max_iter", "collapsed", "spurious"}
        How the fit ended; "collapsed" and "spurious" mean that no maximum was found whose components the data determine: in a collapsed
        one only the floor holds a covariance up, in a spurious one a component has too few rows, or rows that do not predict each other.
    groups_ : int array of shape (K,)
        Which group each component is in, from 0 on. Components are one group if they are on one hill of the density
        (:meth:`MixtureParams.hills`; of rows in chunks this alone is asked), or if there is no valley among their rows, seen along the
        line that tells them best apart.
    bic_ : dict of int to float
        With "auto", BIC of each number of components that was tried; infinite where no proper maximum was found.
    message_ : str
        The same as a sentence: how many independent starts ended at this maximum and how many moves found none higher, by how much a
        degenerate maximum that was rejected is higher, and the components, columns and rows at fault.
    n_iter_ : int
    n_iter_saved_ : float
        Iterations that plain EM would have needed on top (an estimate), had no step been extrapolated.
    lower_bounds_ : array of shape (iterations,)
        Mean log-likelihood of a row at the beginning of every iteration, as scikit-learn has it.
    lower_bound_ : float
        Mean log-likelihood of a row; once converged with ``n_init`` a number, that at the beginning of the last iteration, as in
        scikit-learn.
    optima_ : tuple of (float, MixtureParams)
        The distinct regular maxima that were found, the best four, with the log-likelihood (with priors: plus log-prior) of each, best
        first: local optima.
    n_starts_, n_starts_at_best_ : int
        Number of independent starts, and of those that ended at this maximum (within 0.1 nats). None may have where a move from a lower
        maximum led to this one.
    n_moves_ : int
        Number of moves from this maximum, a component put elsewhere or split, that led to none higher.
    feature_names_ : list of str
    n_features_in_ : int

    Notes
    -----
    Components come in order of decreasing weight. Results don't depend on the units or the offset of the data, nor on the order of its
    rows. Where a column lies more than 64 standard deviations from zero, EM works on a copy of the rows that is counted from near the
    mean, so that no digits are lost; rows in chunks are not copied.

    With one component, nothing missing and neither priors nor noise the maximum is a formula, and takes one pass over the rows.

    With ``n_init="auto"`` slow runs are extrapolated (SQUAREM) and stop when Aitken's estimate of all that is left to gain falls below
    ``tol`` per row. Unless ``tol`` is larger than 1e-6, the best run's last digits are then found by Anderson's mixing of EM's steps
    (Walker and Ni 2011, SIAM Journal on Numerical Analysis 49, 1715-1735), all of which counts as one iteration: parameters are those
    of the maximum to about ten digits. With a number, iterations and stopping rule are scikit-learn's.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
    >>> round(em.log_likelihood_, 3)
    -1130.264
    """

    _takes_missing = True
    noise_: Noise | None = None
    _climb: FloatArray
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_components": [Interval(Integral, 1, None, closed="left"), None],
        "covariance_type": [StrOptions(set(names(aliases=True)))],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left"), None],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "effort": [Interval(Real, 0.0, None, closed="neither")],
        "init_params": [StrOptions({"auto", *START_METHODS}), "array-like", MixtureParams, HasMethods(["fit", "predict_proba"])],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        "priors": [Priors, ConjugatePriors, None],
        "equal_weights": ["boolean"],
        "fixed": [dict, None],
        "noise": ["boolean"],
        "random_state": ["random_state", np.random.Generator],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | str = 1,
        *,
        max_components: int | None = None,
        covariance_type: CovarianceType = "full",
        tol: float = 1e-8,
        reg_covar: float | None = None,
        max_iter: int = 1000,
        n_init: int | str = "auto",
        effort: float = 1.0,
        init_params: Any = "auto",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        priors: Priors | ConjugatePriors | None = None,
        equal_weights: bool = False,
        fixed: dict[str, Any] | None = None,
        noise: bool = False,
        random_state: RandomState = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components: Any = n_components  # a number, or "auto"
        self.max_components = max_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.effort = effort
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.priors = priors
        self.equal_weights = equal_weights
        self.fixed = fixed
        self.noise = noise
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    @unchanged_on_failure
    @libraries_on_one_thread()
    def fit(
        self,
        X: Any,
        y: None = None,
        sample_weight: Any = None,
        *,
        known: Any = None,
        components_per_class: int | Mapping[Any, int] | Sequence[int] | None = None,
        together: ArrayLike | None = None,
        errors: ArrayLike | None = None,
        samples: ArrayLike | None = None,
        covariates: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: str | os.PathLike[str] | None = None,
        on_iteration: Callable[[Iteration], object] | None = None,
    ) -> Self:
        """Fit the mixture to X (N, D).

        Parameters
        ----------
        X : array-like of shape (N, D), or data in chunks
            NaN stands for a missing value. Data that do not fit into memory are given as a path (``.npy``, ``.parquet``, a folder or a
            pattern), a memory-mapped array, a Dask collection, or what :func:`bayesgmm.open_rows` returns; the fit is the same as in
            memory.
        y : None
            Not used.
        sample_weight : array-like of shape (N,), optional
            How often each row was seen: weight 2 is the row twice, weight 0 the row left out. Weights that only say how much rows count
            beside each other (of a survey, of importance sampling, divided by their sum) are to be scaled to the number of rows that they
            are worth, on which every criterion and error depends. Of a table in chunks also a column's name.
        known : array-like of shape (N,) or (N, K), optional
            What is known of the rows' components. One label for each row, NaN, None or -1 where there is none: whole numbers are the
            numbers of components, other labels name classes, each with a component of its own, in sorted order (components left over have
            no class). Or for each row and component True and False, whether the row may be of it; or how plausible that is, a number
            between 0 and 1 by which the component's weight is multiplied for this row (Côme, Oukhellou, Denoeux and Aknin 2009, Pattern
            Recognition 42, 334-348): only ratios matter, and a row of equal ones says nothing. Components keep the order of the labels.
        components_per_class : int, dict or sequence of int, optional
            How many components each class has, if not one (Hastie and Tibshirani 1996, Journal of the Royal Statistical Society B 58,
            155-176).
        together : array-like of shape (N,), optional
            Which rows are of one component, whichever it is: the measurements of one person, or rows that must be linked. Rows with the
            same value are (NaN or None for a row on its own). A set has one label, drawn once (Shental, Bar-Hillel, Hertz and Weinshall
            2003, Advances in Neural Information Processing Systems 16, 465-472); its rows have the same responsibilities, and share its
            log-density evenly.
        errors : array-like of shape (D,), (N, D), (D, D) or (N, D, D), optional
            Errors of measurement: standard deviations, for all rows or for each, or covariances. The mixture is that of the values without
            error (extreme deconvolution: Bovy, Hogg and Roweis 2011, Annals of Applied Statistics 5, 1657-1677). The error of a
            value that is rounded to h is h / sqrt(12).
        samples : array-like of shape (N,), optional
            Which sample each row is of: patients, plates, stores. Components are the same for all, weights are those of each sample
            (:meth:`sample_weights`, :meth:`contrast`).
        covariates : array-like of shape (N, P), optional
            What the weights depend on, by a multinomial logit (concomitant variables: Dayton and Macready 1988, Journal of the American
            Statistical Association 83, 173-178), fitted in one step with the rest (:meth:`coefficients`).
        checkpoint : path, optional
            Keep in this file (``.npz``), every few iterations over all rows, where the fit is.
        resume : path, optional
            A checkpoint of the same fit, to go on from there: the result is the same to the last bit.
        on_iteration : callable, optional
            Takes a :class:`bayesgmm.em.Iteration` after every iteration over all rows, those of the search on some of them before left out.

        Returns
        -------
        GaussianMixture
            Itself, fitted.

        Raises
        ------
        InvalidDataError
            If the data cannot be used; the message says what to do.
        InvalidParameterError
            If a setting or a starting value cannot be used, or ``resume`` is the checkpoint of another fit.
        """
        before = self._before() if self.warm_start else None
        self._check_settings()
        is_auto = self.n_components == "auto"
        rows = rows_to_fit(self, X, sample_weight, 1 if is_auto else int(self.n_components), allow_missing=True)
        told = {"known": known, "components_per_class": components_per_class, "together": together, "errors": errors}
        rows, self._classes = self._told(rows, **told)
        self._concomitant = self._depends(samples, covariates, rows)
        if is_auto:
            return self._fit_number(rows, {"checkpoint": checkpoint, "resume": resume}, on_iteration)
        if self.max_components is not None:
            raise InvalidParameterError("max_components is for n_components='auto'; with a number of components leave it out")
        journal, seeds = checkpoint_of(self, rows, seed_sequence(self.random_state), checkpoint, resume)
        listeners: list[Listener] = [*([] if journal is None else [journal]), *_listeners(on_iteration)]
        record = None if journal is None else journal.record
        fitting = self.fitting(rows, seeds=seeds, record=record, listeners=listeners, before=before)
        fitting.search()
        return self.finish(fitting, rows, self._classes, self._concomitant)

    def finish(self, fitting: Fitting, rows: Rows, classes: Classes | None = None, concomitant: Concomitant | None = None) -> Self:
        """Bring a fit that has been searched for to its end, and make it this estimator's own.

        Parameters
        ----------
        fitting : Fitting
        rows : Rows
        classes : Classes, optional
            That labels of the rows name.
        concomitant : Concomitant, optional
            What the weights depend on.

        Returns
        -------
        GaussianMixture
            Itself, fitted.
        """
        ended = fitting.end()
        if concomitant is not None:
            rows = rows.in_memory().with_shares(concomitant.share_of, concomitant.n_shares)
            ended = fitting.with_shares(ended, rows, concomitant)
        self._classes, self._concomitant = classes, concomitant
        return self.take(ended, rows)

    def _depends(self, samples: Any, covariates: Any, rows: Rows) -> Concomitant | None:
        """Return what the weights depend on, if on anything."""
        found = concomitant_of(samples, covariates, rows)
        if found is None:
            return None
        name = "samples=" if covariates is None else "covariates="
        for setting in ("noise", "equal_weights", "priors"):
            if getattr(self, setting):
                raise InvalidParameterError(f"{name} cannot go with {setting} yet: leave out one of them")
        if self.fixed is not None and "weights" in self.fixed:
            raise InvalidParameterError(f"{name} and fixed weights both say what weights are: give one of them")
        if self.n_components == "auto":
            raise InvalidParameterError(f"{name} goes with a number of components: give n_components a number")
        return found

    def _told(self, rows: Rows, **told: Any) -> tuple[Rows, Classes | None]:
        """Return rows with what is known of them, and the classes of their labels."""
        if self.noise and (names := [f"{name}=" for name, value in told.items() if value is not None]):
            raise InvalidParameterError(f"{listed(names)} cannot go with noise=True yet: leave out one of them")
        if self.n_components == "auto" and told["known"] is not None:
            raise InvalidParameterError("known= goes with a number of components: give n_components, at least one for each class")
        return rows_with(rows, 1 if self.n_components == "auto" else int(self.n_components), **told)

    def _fit_number(self, rows: Rows, of_one_fit: dict[str, Any], on_iteration: Callable[[Iteration], object] | None) -> Self:
        """Fit with the number of components that BIC takes."""
        of_one_number = {name: getattr(self, name) for name in ("weights_init", "means_init", "precisions_init")}
        of_one_number |= {} if isinstance(self.init_params, str) else {"init_params": self.init_params}
        of_one_number |= {"warm_start": True} if self.warm_start else {}
        of_one_number |= {"fixed": self.fixed}
        for name, value in (of_one_number | of_one_fit).items():
            if value is not None:
                raise InvalidParameterError(f"{name} goes with a number of components: give n_components, or leave it out")
        most, seeds = most_components(self.max_components, rows), seed_sequence(self.random_state)
        like: list[Fitting] = []

        def fit(n: int, near: list[MixtureParams]) -> tuple[EMFit, float]:
            if isinstance(rows, MemoryRows):
                check_rows(rows, n)
            estimator = clone(self).set_params(n_components=n, max_components=None)
            same = np.random.SeedSequence(seeds.entropy, spawn_key=seeds.spawn_key)  # as a fit with this number alone has
            listeners = _listeners(on_iteration)
            fitting = estimator.fitting(rows, seeds=same, listeners=listeners, like=like[0] if like else None)
            like[:] = [fitting]
            fitting.search(near)
            ended = fitting.end()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is to be said of the fit that is taken is said when it is
                estimator.take(ended, rows)
            proper = ended.status in ("converged", "max_iter")
            return ended, bic(estimator.log_likelihood_, estimator.n_parameters_, rows.total) if proper else np.inf

        found = least_bic(fit, most)
        message = found.fit.message
        self.take(replace(found.fit, message=f"{found.sentence}. {message[:1].upper()}{message[1:]}"), rows)
        self.bic_ = found.bic
        return self

    def fitting(
        self,
        rows: Rows,
        *,
        seeds: np.random.SeedSequence | None = None,
        record: Record | None = None,
        listeners: Sequence[Listener] = (),
        before: Before | None = None,
        like: Fitting | None = None,
        in_one_call: bool = True,
    ) -> Fitting:
        """Return the fit in the making, to be searched for, ended and given to :meth:`take`: for who fits many models to the same rows.

        Parameters
        ----------
        rows : Rows
        seeds : SeedSequence, optional
            By default that of ``random_state``.
        record : Record, optional
            How far the runs on all rows were when the same fit was interrupted.
        listeners : sequence of callables
            Are told of the runs on all rows (:class:`bayesgmm.em.journal.Journal`).
        before : Before, optional
            A fit of the same estimator to start from, if it is one of the same model.
        like : Fitting, optional
            Another fit to the same rows.
        in_one_call : bool
            As in :class:`bayesgmm.em.Specification`.

        Returns
        -------
        Fitting

        Examples
        --------
        >>> import bayesgmm as bg
        >>> from bayesgmm.rows import MemoryRows
        >>> rows = MemoryRows(bg.datasets.load_faithful().to_numpy())
        >>> em = bg.GaussianMixture(2, random_state=1)
        >>> fitting = em.fitting(rows)
        >>> fitting.search()
        >>> round(em.take(fitting.end(), rows).log_likelihood_, 3)
        -1130.264
        """
        self._check_settings()
        if self.n_components == "auto":
            raise InvalidParameterError("a fit in the making has a number of components: give n_components a number")
        trace: FloatArray | None = None
        method: str | FloatArray
        if before is not None and before.is_of((self.n_components, self.family_, rows.feature_names)):
            method, start, trace = "auto", start_at(before.params, self.family_), before.trace
        else:
            method, start = user_start(self, rows)
        specification = Specification(
            self.n_components,
            self.family_,
            tol=self.tol,
            max_iter=self.max_iter,
            reg_covar=self.reg_covar,
            n_init=self.n_init,
            effort=self.effort,
            init_params=method,
            start=start,
            priors=self.priors,
            equal_weights=self.equal_weights,
            noise=self.noise,
            in_one_call=in_one_call,
            fixed=self._fixed(rows.n_features),
        )
        reporter = Reporter(self.verbose, self.verbose_interval) if self.verbose else None
        if reporter is not None and not rows.is_in_memory:
            listeners = [*listeners, reporter.iteration]
        return Fitting(
            rows,
            specification,
            seeds=seed_sequence(self.random_state) if seeds is None else seeds,
            record=record,
            listeners=listeners,
            on_run=None if reporter is None else reporter.run,
            before=trace,
            like=like,
        )

    def _fixed(self, n_features: int) -> Fixed | None:
        """Return what is fixed of the components."""
        if self.fixed is None:
            return None
        for name in ("priors", "noise", "equal_weights"):
            if getattr(self, name):
                raise InvalidParameterError(f"fixed parameters cannot go with {name} yet: leave out one of them")
        return Fixed.of(self.fixed, int(self.n_components), n_features, self.family_)

    def _before(self) -> Before | None:
        """Return the last fit, if there is one."""
        if not hasattr(self, "params_"):
            return None
        trace = vars(self).get("_climb", np.empty(0))
        return Before(self.params_, vars(self).get("_fit_family", self.family_), getattr(self, "feature_names_", None), trace)

    def take(self, fit: EMFit, rows: Rows) -> Self:
        """Make a fit to rows this estimator's own.

        Parameters
        ----------
        fit : EMFit
            From :meth:`fitting`.
        rows : Rows

        Returns
        -------
        GaussianMixture
            Itself, fitted.
        """
        if hasattr(self, "bic_"):
            del self.bic_  # of an earlier fit that chose the number
        self.rows_ = rows.remembered()
        self._know_columns_of(rows)
        self.params_ = fit.params
        self.log_likelihood_trace_ = fit.trace
        self.log_likelihood_ = fit.log_likelihood
        self.log_prior_ = fit.log_prior
        self.noise_, self.noise_weight_ = fit.noise, fit.noise_weight
        self._fit_family, self._parts, self._climb = self.family_, {}, fit.trace if fit.climb is None else fit.climb
        mean = fit.trace / rows.total
        self.lower_bounds_ = mean[:-1]
        # Without convergence the last iteration counts: with more starts it is higher, and what was before it need not be.
        self.lower_bound_ = float(mean[-1 if self.n_init == "auto" or not fit.converged else -2])
        self.converged_ = fit.converged
        self.status_ = fit.status
        self.message_ = fit.message
        self.n_iter_ = len(fit.trace) - 1
        self.n_iter_saved_ = fit.n_saved
        self.optima_ = fit.optima
        self.n_starts_ = fit.n_starts
        self.n_starts_at_best_ = fit.n_at_best
        self.n_moves_ = fit.n_moves
        # scikit-learn's own starts and floor end in such maxima without a word; with them asked for, so do these.
        if (fit.status == "max_iter" and self.max_iter > 0) or (
            fit.status not in ("converged", "max_iter") and self.n_init == "auto"
        ):
            warn(fit.message, ConvergenceWarning)
        if self.n_init == "auto" and rows.is_in_memory and (fit.status == "collapsed" or self.n_components_ > 1):
            # Shared covariances do not collapse on a value of most rows: they make groups of the others.
            found = repeats(rows.values, self.feature_names_, rows.weights)
            advise_on_values([column for column in found if fit.status == "collapsed" or column.is_mostly_one_value])
        if (
            self.n_init == "auto" and self.priors is None and fit.status == "converged"
        ):  # otherwise it was said that they are degenerate
            advise_on_parameters(fit.params, rows, self.family_, "chance", fit.noise_weight)
        return self

    @property
    def groups_(self) -> IntArray:
        """Which group each component is in (:func:`bayesgmm.estimators.groups_apart.groups_apart`)."""
        check_is_fitted(self, "params_")
        if not self.rows_.is_in_memory or not len(self.rows_):
            return self.params_.hills()
        return groups_apart(self.params_, self.rows_.in_memory())

    @property
    def predictor_(self) -> Predictor:
        """All that it takes of the fit to predict."""
        check_is_fitted(self, "params_")
        return Predictor(self.params_, self.noise_, getattr(self, "noise_weight_", 0.0))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> tuple[FloatArray, IntArray]:
        """Draw new rows.

        Parameters
        ----------
        n_samples : int
        random_state : int, Generator, RandomState or None
            Source of randomness; None takes the estimator's.

        Returns
        -------
        X : array of shape (n_samples, D)
        labels : int array of shape (n_samples,)
            -1 for noise.
        """
        rng = generator(self.random_state if random_state is None else random_state)
        X, labels = super().sample(n_samples, rng)
        if self.noise_ is not None:
            is_noise = rng.random(n_samples) < self.noise_weight_
            X[is_noise] = self.noise_.sample(int(is_noise.sum()), rng)
            labels[is_noise] = -1
        return X, labels

    @property
    def datatree_(self) -> xr.DataTree:
        """The fit as an ``xarray.DataTree``: groups point_estimate, optimization, and of rows in memory responsibilities, observed_data."""
        check_is_fitted(self, "params_")
        attrs = {"inference": "em", **_trees.provenance(self)}
        groups = {"point_estimate": _trees.parameters(self.params_, self.family_, self.feature_names_, ())}
        if hasattr(self, "log_likelihood_trace_"):  # a mixture put together by hand has seen no rows
            groups["optimization"] = xr.Dataset({"log_likelihood_trace": ("iteration", self.log_likelihood_trace_)})
        if self.rows_.is_in_memory:
            groups["responsibilities"] = _trees.responsibilities(self.responsibilities())
            groups["observed_data"] = _trees.observed(self.rows_.values, self.rows_.index, self.feature_names_)
        return _trees.tree(groups, attrs)


def _listeners(on_iteration: Callable[[Iteration], object] | None) -> list[Listener]:
    if on_iteration is None:
        return []
    return [lambda record, iteration: None if iteration is None else on_iteration(iteration)]
