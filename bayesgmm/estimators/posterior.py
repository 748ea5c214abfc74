"""The Bayesian estimator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from sklearn.base import clone
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from bayesgmm.bayes.draws import (
    SAMPLERS,
    STATISTICS,
    TELESCOPING,
    Draws,
    Evidence,
    NumberModel,
    Sampler,
    SamplerSettings,
    sampler_statistics,
)
from bayesgmm.bayes.read_draws import read_attributes, read_mixtures, read_statistics
from bayesgmm.covariance import WITH_PRIORS, family, names
from bayesgmm.diagnostics import Check, Stacking, convergence_table, diagnose, sampler_table, stack
from bayesgmm.diagnostics.verdict import verdict
from bayesgmm.estimators import _trees
from bayesgmm.estimators._base import LARGEST_TABLE, unchanged_on_failure
from bayesgmm.estimators._dependent import dependent_variables
from bayesgmm.estimators._number import NumberDraws, grouping_of, most_likely, parts_of_prior
from bayesgmm.estimators._posterior_tree import Everything, posterior_tree
from bayesgmm.estimators._prediction import Predictor
from bayesgmm.estimators._size import (
    TimeAdvice,
    advise_on_parameters,
    advise_on_size,
    advise_on_units,
    advise_on_values,
    most_components,
    quicker,
)
from bayesgmm.estimators._starts import is_fit
from bayesgmm.estimators._unknown_number import UnknownNumber
from bayesgmm.estimators.em import GaussianMixture
from bayesgmm.exceptions import ConvergenceWarning, DataAdvice, DrawsAdvice, InvalidDataError, InvalidParameterError, warn
from bayesgmm.expectation import Grouping
from bayesgmm.fixed import Fixed
from bayesgmm.frame import total_moments
from bayesgmm.kernels.threads import libraries_on_one_thread
from bayesgmm.labels import align
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ConjugatePriors, Priors, ResolvedConjugatePriors, ResolvedPriors
from bayesgmm.random import generator, seed_sequence
from bayesgmm.resolution import repeats
from bayesgmm.rows import Rows, concomitant_of, rows_to_fit, rows_with, same_labels
from bayesgmm.rows.check import check_rows
from bayesgmm.rows.concomitant import Concomitant
from bayesgmm.text import counted, duration, listed
from bayesgmm.typing import ArrayLike, CovarianceType, RandomState
from bayesgmm.validation import check_same_columns

ROWS_FOR_LABELS = 20_000
"""Rows of many that are looked at closely: for the draws' labels and, of rows in chunks, for what else is asked of every draw."""


def _cut_short(shape: tuple[int, ...], details: Mapping[str, Any], covariance_type: str) -> str:
    """Say why there are fewer draws than were asked for, how many, and what could be had; "" if there are not."""
    chains, draws = shape
    kept = f"{draws:,} draws of {counted(chains, 'chain')} were kept"
    if "interrupted" in details:
        return f"sampling was interrupted; {kept}. "
    if "out_of_time" not in details:
        return ""
    even = ", not even for its warm-up" if "out_of_time_in_warm_up" in details else ""
    known = {"seconds_for_all": "about", "least_seconds_for_all": "at least"}
    needed = next((f"; all would take {word} {duration(details[name])}" for name, word in known.items() if name in details), "")
    return f"sampling had no more time (max_time){even}; {kept}{needed}. {quicker(covariance_type)}. "


def _draws_from(source: Any, params: MixtureParams) -> tuple[Draws, Sampler]:
    """Return draws of mixtures with what is said, beside them, of the sampler, and what kind of sampler it was."""
    statistics = sampler_statistics(read_statistics(source, params.batch_shape, STATISTICS))
    said = read_attributes(source)
    program = str(said.get("sampler", said.get("inference_library", "another program")))
    details: dict[str, Any] = {name: said[name] for name in ("pareto_k", "importance_ess") if name in said}
    seconds, steps = float(said.get("sampling_time", np.nan)), int(said.get("tuning_steps", 0))
    kind = Sampler(str(said.get("inference", "mcmc")), str(said.get("draws", "chains")))
    return Draws(params, statistics, program, seconds, steps, details), kind


def _check_size(concomitant: Concomitant, n_draws: int, n_components: int) -> None:
    """Raise InvalidParameterError if the weights of all shares under all draws would not fit into memory."""
    size = concomitant.n_shares * n_draws * n_components
    if size > LARGEST_TABLE:
        raise InvalidParameterError(
            f"the weights of {concomitant.n_shares:,} kinds of rows under {n_draws:,} draws would take {size * 8 / 1e9:.0f} GB: ask for "
            "fewer draws, or round the covariates so that more rows are alike"
        )


class BayesianGaussianMixture(UnknownNumber):
    """Gaussian mixture by full Bayesian inference: the posterior of weights, means and covariances.

    Parameters
    ----------
    n_components : int or "auto"
        Number of components K. With "auto" it has a posterior, of which :meth:`number_of_components` is the table: see Notes.
    max_components : int, optional
        Most components, with "auto"; by default 30.
    covariance_type : {"full", "tied", "diag", "spherical"} or mclust's names of these, "VVV", "EEE", "VVI", "VII"
        As in :class:`GaussianMixture`.
    priors : Priors, optional
        What is believed before the data; by default `Priors()`, scaled by the data and the same whatever linear map these went through.
        ``sampler="gibbs"`` takes `ConjugatePriors` instead.
    draws, tune, chains : int
        Kept draws and warm-up draws of each chain, and number of chains. Independent draws come as one chain of ``chains * draws``. Where
        draws of "hmc" would be worth too little, up to eight cycles are run for each, or 32 where they cost little
        (``attrs["cycles_per_draw"]`` of ``datatree_``).
    cores : int, optional
        Chains that run at once; by default as many as there are cores.
    sampler : {"hmc", "nuts", "laplace", "gibbs", "pymc"}
        "hmc" is Hamiltonian Monte Carlo on a compiled log-density, in turn given the rows and given labels that are drawn for them, with
        trajectories that are fitted to the problem while the chains warm up. "nuts" runs nutpie's NUTS on the same density: slower, a
        second opinion, and what rows in chunks get in place of "hmc". "laplace" draws from the normal approximation at the
        posterior's mode and weighs the draws to the posterior: independent draws in a fraction of a second, with ``attrs["pareto_k"]`` of
        ``datatree_`` to say whether they can be relied on. "gibbs" is a Gibbs sampler under conjugate priors, which are not the model's: a
        check on the others. "pymc" hands the model of :func:`bayesgmm.build_model` to ``pymc.sample``: the same posterior as "hmc",
        after PyMC has compiled it. ``attrs["draws"]`` says what the draws are, and :meth:`diagnose` which questions apply to them.
        Draws of any other sampler come in by :meth:`from_draws`.
    sampler_options : dict, optional
        Arguments of ``pymc.sample`` for "pymc", such as ``{"nuts_sampler": "numpyro", "target_accept": 0.95}``.
    init : GaussianMixture, optional
        A fitted EM estimate whose labels the draws take; one that is not fitted, and by default one with the settings of this estimator,
        is fitted first. A fitted one stays fitted in scikit-learn's ``clone``, and so in its searches and cross-validation. Chains start
        in modes of the posterior that its ``optima_``, and other partitions of complete rows, lead to: the first in the heaviest, the last
        in the heaviest of the others, if it is credible, and those between by their mass.
    random_state : int, Generator, RandomState or None
    progressbar : bool
    keep_interrupted : bool
        Whether an interrupt (Ctrl-C) while chains run ends the fit with the draws so far, of the chains that are at least half as long
        as the longest, instead of leaving the estimator as it was. For ``sampler="hmc"`` and ``"nuts"``.
    max_time : float, optional
        Seconds that sampling may take, warm-up included. What has been drawn by then is kept, and a warning says how much that is, how
        long all of it would take, and what is quicker. For ``sampler="hmc"``.
    fixed : dict, optional
        Parameters of some components that are known and kept, as in :class:`GaussianMixture`: the posterior is that of the others given
        these. For ``sampler="hmc"``.

    Attributes
    ----------
    params_ : MixtureParams
        All draws, batch shape ``(chain, draw)``, with the component order of ``em_``. With "auto", those in which the most probable number
        of components have rows.
    n_components_ : int
        Number of components of ``params_``.
    n_groups_ : int
        With "auto", the most probable number of groups that stand apart.
    mixtures_ : MixtureParams
        With "auto" all draws, whatever their number of components: those that a draw does not have weigh nothing. Otherwise ``params_``.
    em_ : GaussianMixture
        The EM fit behind starts and labels.
    datatree_ : xarray.DataTree
        Groups posterior (relabelled), unlabelled_posterior, label_free, sample_stats, log_prior (one term for each group
        of parameters), log_likelihood (unless it would be very large), responsibilities, observed_data. With more than 2e8 rows times
        draws, as with rows in chunks, responsibilities are left to :meth:`responsibilities`.
    priors_ : ResolvedPriors, ResolvedConjugatePriors or None
        The priors in full, in the data's units or in the frame that they name; None for draws from elsewhere.
    weights_, means_, covariances_ : array
        Posterior means, in scikit-learn's shapes.
    feature_names_ : list of str
    n_features_in_ : int

    Warns
    -----
    ConvergenceWarning
        From :meth:`fit`, once, if the draws cannot be relied on or sampling was interrupted; the
        message is the verdict of :meth:`diagnose`.
    DrawsAdvice
        From :meth:`fit`, once, if the draws are to be used with care: the message says what is rough, and how many draws would settle it.
    DataAdvice
        From :meth:`fit`, before it samples, if components have fewer than two rows for each direction of their covariance, and if one value
        fills a large share of a column or a column has few distinct values. What
        the rounding of a column adds to every group is part of the model: see ``smallest_sd`` of :class:`Priors`.
    SizeAdvice
        From :meth:`fit`, with ``sampler="hmc"`` soon after it begins to sample, if that will take more than a minute: how long, and what
        is quicker. Before that, if there are very many rows.

    Notes
    -----
    The labels of components are arbitrary in a mixture's posterior and may switch between and within chains. Every draw is given the
    labels that bring its responsibilities closest to those of the EM fit (:func:`bayesgmm.labels.align`), so component 0 here and
    component 0 there are the same group. The draws with the sampler's own labels are kept in ``unlabelled_posterior``.

    With ``n_components="auto"`` the model is a mixture of finite mixtures: the number of components has the prior ``priors.number``, and
    the rest of the prior is the same for all of them. It is drawn from by telescoping sampling with splits and merges
    (Frühwirth-Schnatter, Malsiner-Walli and Grün 2021, Bayesian Analysis 16, 1279-1307). Of K components some may have no rows; those that
    do are called filled. What belongs to a component (``params_``, ``weights_``, the group ``posterior`` of ``datatree_``) is that of the
    draws with the most probable number of filled components, or with another one (:meth:`given_number`). Everything else is of all draws:
    densities, new rows, partitions, and responsibilities, to which every component of a draw adds in the column of the group of ``em_``
    that it shares most rows with. Components are not groups: a skewed group takes two.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> posterior = bg.BayesianGaussianMixture(2, draws=200, tune=200, random_state=1, progressbar=False).fit(X)
    >>> posterior.weights_.round(1)
    array([0.6, 0.4])
    """

    priors_: ResolvedPriors | ResolvedConjugatePriors | None

    _takes_missing = True
    _grouping: Grouping | None = None
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_components": [Interval(Integral, 1, None, closed="left"), None],
        "covariance_type": [StrOptions({name for name in names(aliases=True) if family(name).name in WITH_PRIORS})],
        "priors": [Priors, ConjugatePriors, None],
        "draws": [Interval(Integral, 4, None, closed="left")],
        "tune": [Interval(Integral, 20, None, closed="left")],
        "chains": [Interval(Integral, 1, None, closed="left")],
        "cores": [Interval(Integral, 1, None, closed="left"), None],
        "sampler": [StrOptions(set(SAMPLERS))],
        "sampler_options": [dict, None],
        "init": [GaussianMixture, None],
        "random_state": ["random_state", np.random.Generator],
        "progressbar": ["boolean"],
        "keep_interrupted": ["boolean"],
        "fixed": [dict, None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        n_components: int | str = 1,
        *,
        max_components: int | None = None,
        covariance_type: CovarianceType = "full",
        priors: Priors | ConjugatePriors | None = None,
        draws: int = 1000,
        tune: int = 400,
        chains: int = 4,
        cores: int | None = None,
        sampler: str = "hmc",
        sampler_options: dict[str, Any] | None = None,
        init: GaussianMixture | None = None,
        random_state: RandomState = None,
        progressbar: bool = True,
        keep_interrupted: bool = False,
        max_time: float | None = None,
        fixed: dict[str, Any] | None = None,
    ) -> None:
        self.n_components: Any = n_components  # a number, or "auto"
        self.max_components = max_components
        self.covariance_type = covariance_type
        self.priors = priors
        self.draws = draws
        self.tune = tune
        self.chains = chains
        self.cores = cores
        self.sampler = sampler
        self.sampler_options = sampler_options
        self.init = init
        self.random_state = random_state
        self.progressbar = progressbar
        self.keep_interrupted = keep_interrupted
        self.max_time = max_time
        self.fixed = fixed

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
    ) -> Self:
        """Sample the posterior given X (N, D).

        Parameters
        ----------
        X : array-like of shape (N, D), or data in chunks
            NaN stands for a missing value: such a row has the marginal density of what it has. Data that do not fit into memory are given
            as in :meth:`GaussianMixture.fit`; the sampler is then "laplace" or "nuts", for which every step of a chain is a pass over them.
        y : None
            Not used.
        sample_weight : array-like of shape (N,), optional
            How often each row was seen: weight 2 is the row twice, weight 0 the row left out, and the posterior is as narrow as that many
            rows make it. Weights that only say how much rows count beside each other are to be scaled to the number of rows that they
            are worth.
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
            Which sample each row is of: patients, plates, stores. Components are the same for all; weights are those of each sample,
            Dirichlet about the weights of all with a concentration that is learned (:meth:`sample_weights`, :meth:`contrast`).
        covariates : array-like of shape (N, P), optional
            What the weights depend on, by a multinomial logit (concomitant variables: Dayton and Macready 1988, Journal of the American
            Statistical Association 83, 173-178). Coefficients (:meth:`coefficients`) of covariates with a standard deviation of one have a
            normal prior with one of 2.5.

        Returns
        -------
        BayesianGaussianMixture
            Itself, fitted.

        Raises
        ------
        InvalidDataError
            If the data cannot be used; the message says what to do.
        InvalidParameterError
            If a setting, the priors or ``init`` cannot be used.
        """
        self._check_settings()
        is_auto = self.n_components == "auto"
        rows = rows_to_fit(self, X, sample_weight, 1 if is_auto else int(self.n_components), allow_missing=True)
        self._know_columns_of(rows)
        if self.sampler in ("hmc", "nuts"):
            advise_on_size(len(rows))
        if rows.is_in_memory:
            advise_on_values(repeats(rows.values, self.feature_names_, rows.weights))
        self._check_sampling()
        told = {"known": known, "components_per_class": components_per_class, "together": together, "errors": errors}
        if is_auto and (names := [f"{name}=" for name, value in told.items() if value is not None]):
            raise InvalidParameterError(f"{listed(names)} cannot go with n_components='auto' yet: give a number of components")
        rows, self._classes = rows_with(rows, 1 if is_auto else int(self.n_components), **told)
        self._concomitant = concomitant_of(samples, covariates, rows)
        if is_auto and self._concomitant is not None:
            raise InvalidParameterError("samples= and covariates= go with a number of components: give n_components a number")
        if is_auto:
            return self._fit_number(rows)
        if self.max_components is not None:
            raise InvalidParameterError("max_components is for n_components='auto'; with a number of components leave it out")
        K = int(self.n_components)
        fixed = None if self.fixed is None else Fixed.of(self.fixed, K, rows.n_features, self.family_)
        if fixed is not None and fixed.has_mean.all() and fixed.has_covariance.all() and fixed.has_weight.sum() >= K - 1:
            raise InvalidParameterError(
                "all parameters are fixed, and there is nothing left to sample: MixtureParams is such a mixture"
            )
        priors, conjugate = self._priors(rows, K)
        em = self._em(rows, K)
        if self._concomitant is not None:
            rows = rows.in_memory().with_shares(self._concomitant.share_of, self._concomitant.n_shares)
            _check_size(self._concomitant, self.chains * self.draws, K)
        advise_on_parameters(em.params_, rows, self.family_, "the prior")
        # Labels of rows in chunks would have to be kept somewhere; NUTS needs none.
        sampler = "nuts" if self.sampler == "hmc" and not rows.is_in_memory else self.sampler
        # Imported here so that an EM fit never waits for PyMC.
        from bayesgmm.bayes.sampling import sample

        draws = sample(
            rows,
            self.family_,
            priors,
            [em.params_, *(params for _, params in getattr(em, "optima_", ()))],
            self.settings_for(int(seed_sequence(self.random_state).generate_state(1)[0])),
            sampler=sampler,
            conjugate=conjugate,
            options=self.sampler_options,
            fixed=fixed,
            concomitant=self._concomitant,
            on_forecast=TimeAdvice(self.family_.name, self.family_.n_parameters(K, rows.n_features), len(rows), self.max_time),
        )
        return self.take(draws, SAMPLERS[sampler], rows, em, priors if conjugate is None else conjugate)

    def _check_sampling(self) -> None:
        """Refuse settings that the sampler does not know."""
        if self.keep_interrupted and self.sampler not in ("hmc", "nuts"):
            raise InvalidParameterError(
                f"keep_interrupted is for sampler='hmc' and 'nuts'; sampler={self.sampler!r} cannot keep what it has"
            )
        if self.max_time is not None and self.sampler != "hmc":
            raise InvalidParameterError(f"max_time is for sampler='hmc'; sampler={self.sampler!r} cannot say when it ends")
        if self.sampler_options and self.sampler != "pymc":
            raise InvalidParameterError(f"sampler_options are for sampler='pymc'; sampler={self.sampler!r} takes none")
        if self.fixed is not None and self.sampler != "hmc":
            raise InvalidParameterError(f"fixed parameters are for sampler='hmc'; sampler={self.sampler!r} cannot keep them")
        if self.n_components == "auto" and self.fixed is not None:
            raise InvalidParameterError("fixed goes with a number of components: give n_components, or leave it out")

    def settings_for(self, seed: int, *, progressbar: bool | None = None) -> SamplerSettings:
        """Return what a sampler needs to know beside rows and model.

        Parameters
        ----------
        seed : int
        progressbar : bool, optional
            By default the estimator's own.

        Returns
        -------
        SamplerSettings
        """
        return SamplerSettings(
            draws=self.draws,
            tune=self.tune,
            chains=self.chains,
            cores=self.cores,
            seed=seed,
            progressbar=self.progressbar if progressbar is None else progressbar,
            keep_interrupted=self.keep_interrupted,
            max_time=self.max_time,
        )

    @classmethod
    def from_draws(
        cls,
        draws: Any,
        X: ArrayLike,
        *,
        names: Mapping[str, str | Sequence[str]] | None = None,
        covariance_type: CovarianceType = "full",
        init: GaussianMixture | None = None,
        sample_weight: ArrayLike | None = None,
        random_state: RandomState = None,
    ) -> Self:
        """Return a fit made of draws that somebody else has sampled: of `build_model`, or of any model in PyMC, Stan or NumPyro.

        It has what a fit of this class has: labels, responsibilities, what is said of rows, partitions, leave-one-out densities, the
        diagnostics that apply, :func:`bayesgmm.compare` and reports. Priors are not known, and so is not how much they matter.

        Parameters
        ----------
        draws : xarray.DataTree, xarray.Dataset or mapping of arrays
            A tree has a group ``posterior``, and may have ``sample_stats``. Arrays have the axes chain and draw first.
        X : array-like of shape (N, D)
            The rows that were sampled for, in the same units.
        names : mapping, optional
            From "weights", "means", and "covariances", "scale_tril" (Cholesky factors), "precisions" or "sds" with "correlations" (or
            their Cholesky factors) to the name of the variable, or a list of names, one for each component. What is not named is looked for
            under usual names, such as ``w``, ``mu``, ``sigma``, ``cov``, ``chol`` (:data:`bayesgmm.bayes.read_draws.PARTS`).
        covariance_type : {"full", "tied", "diag", "spherical"}
            Of the EM fit that gives the labels.
        init : GaussianMixture, optional
            That fit; by default one is made.
        sample_weight : array-like of shape (N,), optional
            How often each row counted.
        random_state : int, Generator, RandomState or None

        Returns
        -------
        BayesianGaussianMixture
            Fitted; ``priors_`` is None.

        Raises
        ------
        InvalidDataError
            If the draws lack a part of a mixture or hold what no mixture has; the message names the variable and says what there is.
        InvalidParameterError
            If names or settings cannot be used.

        Warns
        -----
        DataAdvice
            If the rows are far less probable under the draws than under a single normal distribution, as in other units.
        ConvergenceWarning, DrawsAdvice
            As from :meth:`fit`.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> X = bg.datasets.load_faithful()
        >>> fit = bg.BayesianGaussianMixture(2, draws=200, tune=200, random_state=1, progressbar=False).fit(X)
        >>> again = bg.BayesianGaussianMixture.from_draws(fit.datatree_, X, random_state=1)
        >>> bool(np.allclose(again.means_, fit.means_))
        True
        """
        rows = rows_to_fit(cls(), X, sample_weight, 1, allow_missing=True, in_memory=True).in_memory()
        params = read_mixtures(draws, rows.n_features, names)
        chains, n = params.batch_shape
        fit = cls(
            params.n_components,
            covariance_type=covariance_type,
            draws=n,
            chains=chains,
            init=init,
            random_state=random_state,
            progressbar=False,
        )
        check_rows(rows, params.n_components)
        if knew := read_attributes(draws).get("known_of_rows"):
            warn(
                f"these draws knew more of the rows than their values ({knew}), and X does not say it: responsibilities and labels are "
                "those of the values alone, and components may have other numbers",
                DataAdvice,
            )
        advise_on_units(params, rows.values)
        return fit.take(*_draws_from(draws, params), rows)

    @libraries_on_one_thread()
    def take(
        self,
        draws: Draws,
        kind: Sampler,
        rows: Rows,
        em: GaussianMixture | None = None,
        priors: ResolvedPriors | ResolvedConjugatePriors | None = None,
        *,
        everything: NumberDraws | None = None,
    ) -> Self:
        """Make draws given rows this estimator's own: give them EM's labels, and judge them.

        Parameters
        ----------
        draws : Draws
            With the sampler's own labels.
        kind : Sampler
            What drew them.
        rows : Rows
        em : GaussianMixture, optional
            The fit whose labels they take; by default ``init``, or one that is made.
        priors : ResolvedPriors or ResolvedConjugatePriors, optional
            If they are known.
        everything : NumberDraws, optional
            All draws, if ``draws`` are those with one number of components.

        Returns
        -------
        BayesianGaussianMixture
            Itself, fitted.
        """
        self._check_settings()
        self._know_columns_of(rows)
        self.rows_, self.priors_ = rows.remembered(), priors
        if em is None:
            # With as many components as the posterior wants, EM by itself may close in on a few rows; from a draw it has less far to go.
            known = [] if everything is None else most_likely(draws.params, rows.some(ROWS_FOR_LABELS))
            em = self._em(rows, draws.params.n_components, known)
        self.em_ = em
        # Labels are the same to all rows, so some of many tell which component is which.
        some, raw = rows.some(ROWS_FOR_LABELS), draws.params
        reference = em.params_.responsibilities(some.chunk)
        alike = None if self.fixed is None else Fixed.of(self.fixed, raw.n_components, rows.n_features, self.family_).is_alike
        self.params_ = raw.permute(align(some.chunk, raw, reference, some.weights, alike=alike))
        self._number, self._grouping = everything, None
        if hasattr(self, "n_groups_"):
            del self.n_groups_  # of an earlier fit
        if everything is not None:
            self.n_groups_ = int(np.bincount(everything.n_groups.ravel()).argmax())
            self._grouping = grouping_of(everything.draws.params, some, reference)
        told = Everything(draws if everything is None else everything.draws, self.predictor_)
        dependent = dependent_variables(self._concomitant, self.params_) if self._concomitant is not None else None
        self.datatree_ = posterior_tree(
            self.params_, draws, self.family_, self.priors_, some, rows, kind, _trees.provenance(self), told, dependent
        )
        shape = self.mixtures_.batch_shape
        # The sampler's own labels can't fail the verdict, and asking about them is half of the work.
        judged = convergence_table(self.datatree_, ("label-free", "relabelled"))
        check = verdict(judged, sampler_table(self.datatree_), shape[0], self.datatree_)[0]
        kept = _cut_short(shape, draws.details, self.family_.name)
        if kept or not check.passed or check.with_care:
            category = DrawsAdvice if check.with_care and not kept else ConvergenceWarning
            warn(f"BayesianGaussianMixture: {kept}{check.sentence} See diagnose().", category)
        return self

    @property
    def predictor_(self) -> Predictor:
        """All that it takes of the fit to predict."""
        return Predictor(self.mixtures_, grouping=self._grouping)

    def log_evidence(self) -> Evidence:
        """Return the log of the evidence: of the density of the rows under the prior, all parameters integrated out.

        Of several numbers of components fitted with one prior, those with more evidence are the more probable.

        Returns
        -------
        Evidence
            ``log_evidence`` in nats, and its standard ``error``. Where the chains have not converged, the error does not know of what they
            have not seen.

        Raises
        ------
        InvalidParameterError
            If the number of components is not known (it has a posterior then), or the draws are no chains under `Priors`.
        InvalidDataError
            If the rows are not in memory, or so many components overlap that their orders cannot all be looked at.

        Notes
        -----
        Bridge sampling (Meng and Wong 1996, Statistica Sinica 6, 831-860) from a normal distribution that is fitted to half of the draws,
        symmetrised over the orders of the components (Frühwirth-Schnatter 2004, Econometrics Journal 7, 143-167).

        Examples
        --------
        >>> import bayesgmm as bg
        >>> X = bg.datasets.load_faithful()
        >>> fits = [bg.BayesianGaussianMixture(k, draws=200, tune=200, random_state=1, progressbar=False).fit(X) for k in (1, 2)]
        >>> one, two = (fit.log_evidence().log_evidence for fit in fits)
        >>> two - one > 100
        True
        """
        check_is_fitted(self, "params_")
        if self.fixed is not None:
            raise InvalidParameterError("log_evidence has no constant for parameters that are fixed: fit without them for it")
        if self._number is not None:
            raise InvalidParameterError(
                "log_evidence is of a known number of components: number_of_components() has their probabilities"
            )
        attrs = self.datatree_.attrs
        if not isinstance(self.priors_, ResolvedPriors) or attrs["draws"] != "chains":
            raise InvalidParameterError(
                f"log_evidence needs chains that were drawn under Priors; these are draws of {attrs['inference']!r}: fit with sampler='hmc'"
            )
        if not self.rows_.is_in_memory:
            raise InvalidDataError("log_evidence needs all rows in memory: fit a sample of the rows")
        # Imported here so that an EM fit never waits for PyMC.
        from bayesgmm.bayes.evidence import bridge
        from bayesgmm.bayes.log_posterior import LogPosterior
        from bayesgmm.bayes.unconstrained_space import Space

        rows = self.rows_.in_memory()
        if rows.known is not None and rows.known.log_weights is not None:
            raise InvalidParameterError(
                "log_evidence exchanges the components, and known= tells them apart: compare numbers of components without labels"
            )
        density = LogPosterior(rows.values, Space(self.priors_, self.family_), rows.weights, rows.known)
        return bridge(density, density.space.unconstrain(self.params_), generator(self.random_state))

    def _fit_number(self, rows: Rows) -> Self:
        """Sample a posterior in which the number of components is not known."""
        if self.sampler != "hmc":
            raise InvalidParameterError(
                f"sampler={self.sampler!r} needs a number of components: n_components='auto' has a sampler of its own, leave sampler out"
            )
        if self.init is not None and is_fit(self.init):
            raise InvalidParameterError(
                "init is fitted to one number of components: with n_components='auto' give an EM estimator that is not fitted, or none"
            )
        if isinstance(self.priors, ConjugatePriors):
            raise InvalidParameterError("n_components='auto' takes Priors, not ConjugatePriors: give priors=Priors(...)")
        if not rows.is_in_memory:
            raise InvalidDataError(
                "n_components='auto' needs all rows in memory: give a number of components, or a sample of the rows"
            )
        held = rows.in_memory()
        one, prior, concentration = parts_of_prior(self._given_priors(), self.family_, held)
        most = most_components(self.max_components, held)
        model = NumberModel(self.family_, one.resolve(rows, 1, self.family_), prior, concentration, most)
        # Imported here so that an EM fit never waits for PyMC.
        from bayesgmm.bayes.sampling import sample_number

        advice = TimeAdvice(self.family_.name, self.family_.n_parameters(1, rows.n_features), len(rows), self.max_time)
        settings = self.settings_for(int(seed_sequence(self.random_state).generate_state(1)[0]))
        number = NumberDraws(*sample_number(held, model, settings, on_forecast=advice))
        n = number.most_probable
        return self.take(number.given(n), TELESCOPING, rows, None, self._priors_given(n, number, rows), everything=number)

    def diagnose(self) -> tuple[Check, ...]:
        """Return every check of convergence, the overall verdict first; see :func:`bayesgmm.diagnostics.diagnose`.

        Returns
        -------
        tuple of Check
        """
        check_is_fitted(self, "datatree_")
        return diagnose(self.datatree_)

    def stacking(self) -> Stacking:
        """Return weights for the chains, where they found different modes; see :func:`bayesgmm.diagnostics.stack`.

        Returns
        -------
        Stacking

        Raises
        ------
        InvalidDataError
            If the fit was weighted (the rows left out would be groups of rows), or keeps no pointwise log-likelihood.
        """
        check_is_fitted(self, "datatree_")
        if self.rows_.is_in_memory and self.rows_.weights is not None:
            raise InvalidDataError(
                "stacking leaves out one row at a time, and rows with a sample_weight stand for many: repeat the rows"
            )
        return stack(self.datatree_)

    def _em(self, rows: Rows, n_components: int, known: Sequence[MixtureParams] = ()) -> GaussianMixture:
        """Return the EM fit that gives the labels; if it is made here, ``known`` mixtures are started from, too."""
        em = self.init
        if em is not None and rows.known is not None and em.noise:
            raise InvalidParameterError("init has noise, which cannot go with what is known of rows yet: give it noise=False")
        if em is None or not is_fit(em):
            default = GaussianMixture(
                n_components, covariance_type=self.covariance_type, fixed=self.fixed, random_state=self.random_state
            )
            em = default if em is None else clone(em)
            if em is not default and self.fixed is not None:
                em.set_params(fixed=self.fixed)
            if "auto" in (self.n_components, em.n_components):
                em.set_params(n_components=n_components, max_components=None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataAdvice)  # it was given already
                fitting = em.fitting(rows, in_one_call=False)  # one fit is quicker than what makes many quick is compiled
                fitting.search(known)
                em.finish(fitting, rows, self._classes, self._concomitant)
        else:
            self._check_init(em, rows)
        ours = (n_components, self.family_.name, self.n_features_in_)
        theirs = (em.params_.n_components, em.family_.name, em.params_.n_features)
        if ours != theirs:
            raise InvalidParameterError(
                "init was fitted to another model: it has (n_components, covariance_type, number of columns) = "
                f"{theirs}, this estimator {ours}"
            )
        check_same_columns("init", em, self)
        return em

    def _check_init(self, em: GaussianMixture, rows: Rows) -> None:
        """Refuse a fitted init whose components are others than those that labels or fixed parameters make here."""
        if not same_labels(em.rows_.known, rows.known):
            raise InvalidParameterError(
                "init was fitted with other labels (known=), so its components are others: fit it with the same, or leave init out"
            )
        if self.fixed is None or em.n_components_ != self.n_components:
            return
        fixed, params = Fixed.of(self.fixed, em.n_components_, em.n_features_in_, self.family_), em.params_
        parts = (
            (fixed.has_weight, fixed.weights, params.weights),
            (fixed.has_mean, fixed.means, params.means),
            (fixed.has_covariance, fixed.covariances, params.covariances),
        )
        if not all(np.allclose(given[has], found[has], rtol=1e-6) for has, given, found in parts):
            raise InvalidParameterError(
                "init was fitted without these fixed parameters, so its components are others: give it the same fixed, or leave init out"
            )

    def _priors(self, rows: Rows, n_components: int) -> tuple[ResolvedPriors, ResolvedConjugatePriors | None]:
        """Return the model's priors, and the conjugate ones that the Gibbs sampler has in their place."""
        given, gibbs = self.priors, self.sampler == "gibbs"
        if gibbs and isinstance(given, Priors):
            raise InvalidParameterError(
                "sampler='gibbs' works under conjugate priors only, and Priors are not: give priors=ConjugatePriors(...), or choose "
                "another sampler"
            )
        if isinstance(given, ConjugatePriors) and not gibbs:
            raise InvalidParameterError(
                f"ConjugatePriors are for sampler='gibbs'; sampler={self.sampler!r} takes Priors: give priors=Priors(...)"
            )
        priors = given if isinstance(given, Priors) else Priors()
        resolved = priors.resolve(rows, n_components, self.family_)
        if not gibbs:
            return resolved, None
        conjugate = given if isinstance(given, ConjugatePriors) else ConjugatePriors()
        conjugate = replace(conjugate, scale="learned") if conjugate.scale is None else conjugate
        of_rows = conjugate.resolve(*total_moments(rows), n_components)
        return resolved, replace(of_rows, rounding=resolved.rounding)

    def responsibility_draws(self, X: ArrayLike | None = None, *, n_draws: int | None = None) -> xr.DataArray:
        """Return the responsibilities under every draw.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            The training data when absent.
        n_draws : int, optional
            So many draws of each chain, evenly spread, instead of all of them.

        Returns
        -------
        xarray.DataArray, dims (chain, draw, obs, component)
        """
        check_is_fitted(self, "params_")
        total = self.params_.batch_shape[1]
        if n_draws is not None and not 1 <= n_draws <= total:
            raise InvalidParameterError(f"n_draws must be between 1 and {total}, the draws of a chain, got {n_draws}")
        kept = np.arange(total) if n_draws is None else np.linspace(0, total - 1, n_draws).round().astype(int)
        return self._draw_table(self.params_[:, kept], X, ("chain", "draw")).assign_coords(draw=kept)
