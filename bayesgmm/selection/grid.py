"""Fit a grid of models by EM, and sample their posteriors where that is asked for; write down how each did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from bayesgmm.bayes.draws import Evidence
from bayesgmm.covariance import WITH_PRIORS, family
from bayesgmm.em import Fitting
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.estimators.criteria import bic
from bayesgmm.estimators.fitting import check_settings, one_seed, quiet
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError, LikelihoodDecreaseError
from bayesgmm.kernels.threads import chunks, libraries_on_one_thread, map_in_turns
from bayesgmm.params import MixtureParams
from bayesgmm.partitions.number_of_groups import mean_occupied
from bayesgmm.priors import BetaNegativeBinomial, NumberPrior
from bayesgmm.progress import steps
from bayesgmm.rows import Rows, rows_to_fit
from bayesgmm.rows.check import check_rows
from bayesgmm.selection.selection import CRITERIA, Selection, failed_row, model_row
from bayesgmm.typing import ArrayLike, FloatArray, RandomState
from bayesgmm.validation import check_count, check_weights

if TYPE_CHECKING:
    from bayesgmm.criticism import Elpd

__all__ = ["select", "with_posteriors"]

FEWEST_TOGETHER, MOST_TOGETHER = 500, 4096
"""Rows from which, and up to which, models are fitted side by side: of fewer, Python is most of the work; more, each shares out itself."""
OF_THE_EFFORT = 0.25
"""Share of the effort of a fit alone that each of many takes, which start from their neighbours as well."""
BEST_FAMILIES = 2
"""Families, the best by BIC, whose fits others of as many components start from."""
_TAKEN = {"n_components": "n_components", "max_components": "n_components", "covariance_type": "covariance_types"}
_GIVEN = ("n_components", "covariance_type", "init", "random_state", "progressbar")
"""Settings of a posterior that its model gives."""


def select(
    X: ArrayLike,
    n_components: int | Iterable[int] = range(1, 8),
    covariance_types: str | Iterable[str] = ("full", "tied", "diag", "spherical"),
    *,
    sample_weight: ArrayLike | None = None,
    posterior: bool | Mapping[str, Any] = False,
    random_state: RandomState = None,
    progressbar: bool = True,
    **settings: Any,
) -> Selection:
    """Fit every number of components with every covariance type by EM, and compare the models.

    Every model starts from several views of the rows and from the fits of its neighbours: one component fewer, one more, and the best
    other covariance types.

    Smaller is better for every criterion here: AIC, BIC and both ICL are ``-2 log L`` plus a price (R's mclust reports BIC and ICL
    with the opposite sign, and there larger is better).

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
    n_components : int or iterable of int
        Numbers of components to try.
    covariance_types : str or iterable of str
        Covariance types to try, as `GaussianMixture` takes them.
    sample_weight : array-like of shape (N,), optional
        How often each row counts; the N of BIC is then their sum.
    posterior : bool or mapping
        Also sample the posterior of every model that EM could fit (full, tied, diag and spherical), and add what it says of rows left out,
        of occupied components, and of the models' probabilities to the table. A mapping has settings for `BayesianGaussianMixture`, such as
        ``priors`` and ``draws``: ``{"priors": Priors(concentration=0.1)}`` is a sparse prior, which leaves components empty that the data
        do not need.
    random_state : int, Generator, RandomState or None
        A number goes to every model as it is. Fits start from those of their neighbours as well, so that one of them fitted on its own
        may end lower.
    progressbar : bool
        Show progress on stderr, when that is a terminal.
    **settings
        Passed to every `GaussianMixture`, for example ``effort``, ``n_init`` or ``max_iter``. Of the effort each model takes a quarter: it
        starts from its neighbours as well.

    Returns
    -------
    Selection
        ``print`` it for the result in words. Models that cannot be fitted are rows of its table with NaN and the reason.

    Raises
    ------
    InvalidParameterError
        If a setting is unknown, or there is nothing to try.
    InvalidParameterError or InvalidDataError
        If not one of the models can be fitted: the first one's error.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.selection import select
    >>> found = select(bg.datasets.load_faithful(), [1, 2, 3], ["full", "diag"], n_init=2, random_state=1)
    >>> found.best().n_components
    2
    """
    check_settings(settings, _TAKEN)
    models = list(product(_types(covariance_types), _numbers(n_components)))
    seed = one_seed(random_state)
    rows = rows_to_fit(GaussianMixture(), X, sample_weight, 1, allow_missing=True)
    if not rows.is_in_memory:
        raise InvalidDataError("select needs rows in memory: read the file first, or choose among some of its rows")
    sampling = {} if isinstance(posterior, bool) else posterior
    if posterior is not False:
        _check_sampling(sampling, settings, sample_weight, len(rows))
    together = FEWEST_TOGETHER <= len(rows) <= MOST_TOGETHER
    grid = _Grid(rows, {**settings, "random_state": seed}, together)
    with libraries_on_one_thread(), quiet(), steps("Fitting mixtures", 3 * len(models), shown=progressbar) as advance:
        fits = grid.fit(models, advance)
    fitted = tuple(fit.estimator for fit in fits)
    if not any(fitted):
        raise next(fit.error for fit in fits if fit.error is not None)
    table = [
        model_row(fit.estimator) if fit.estimator is not None else failed_row(kind, K, fit.error or ValueError("not fitted"))
        for (kind, K), fit in zip(models, fits, strict=True)
    ]
    # Copies: ties are asked of the rows later, when the caller's arrays may have changed.
    found = Selection(_table(table), fitted, deepcopy(X), deepcopy(sample_weight))
    return found if posterior is False else with_posteriors(found, sampling, seed, progressbar=progressbar)


@dataclass
class _Fit:
    """What has become of a model: its fit so far, or why there is none."""

    estimator: GaussianMixture | None = None
    fitting: Fitting | None = None
    error: Exception | None = None

    @property
    def rank(self) -> float:
        """BIC of a maximum that means something; infinity of any other."""
        fit = self.fitting
        if fit is None or not fit.is_sound:
            return np.inf
        return bic(fit.log_likelihood, fit.n_parameters, fit.view.sample.rows.total)

    def go_on(self, step: Callable[[Fitting], object]) -> None:
        """Take a step of the fit, or keep the reason why it cannot be taken instead."""
        try:
            if self.fitting is not None:
                step(self.fitting)
        except (ValueError, LikelihoodDecreaseError) as error:
            self.estimator, self.fitting, self.error = None, None, error


@dataclass(frozen=True)
class _Grid:
    """The models over numbers of components and families, each fitted knowing its neighbours.

    First numbers of components go up, and every search starts from what was found for one component fewer, too. Then they go down, and it
    is tried whether what was found for one more, or for the best other families, leads higher. Only then are the fits brought to their
    end, all digits of each.
    """

    rows: Rows
    settings: dict[str, Any]
    together: bool

    def fit(self, models: list[tuple[str, int]], advance: Callable[[], None]) -> list[_Fit]:
        fits: dict[tuple[str, int], _Fit] = {}
        like: Fitting | None = None
        for kind, K in models:
            fits[kind, K] = fit = self._begin(kind, K, like)
            like = like or fit.fitting
        numbers = sorted({K for _, K in models})

        def known(*names: tuple[str, int]) -> list[MixtureParams]:
            found = [fits[name].fitting for name in names if name in fits]
            return [one.params for one in found if one is not None]

        def search(name: tuple[str, int]) -> None:
            near = known((name[0], name[1] - 1))
            fits[name].go_on(lambda fitting: fitting.search(near, OF_THE_EFFORT))

        def end(name: tuple[str, int]) -> None:
            estimator = fits[name].estimator
            if estimator is not None:
                fits[name].go_on(lambda fitting: estimator.take(fitting.end(), self.rows))

        for K in numbers:
            self._each([name for name in models if name[1] == K], search, advance)
        for K in reversed(numbers):
            wave = [name for name in models if name[1] == K]
            best = [name for name in sorted(wave, key=lambda name: fits[name].rank)[:BEST_FAMILIES] if fits[name].rank < np.inf]
            near = {name: known((name[0], K + 1), *(other for other in best if other != name)) for name in wave}

            def look_again(name: tuple[str, int], near: dict[tuple[str, int], list[MixtureParams]] = near) -> None:
                fits[name].go_on(lambda fitting: fitting.search_near(near[name]))

            self._each(wave, look_again, advance)
        self._each(models, end, advance)
        return [fits[name] for name in models]

    def _begin(self, kind: str, K: int, like: Fitting | None) -> _Fit:
        try:
            check_rows(self.rows.in_memory(), K)
            estimator = GaussianMixture(K, **{**self.settings, "covariance_type": kind})
            return _Fit(estimator, estimator.fitting(self.rows, like=like))
        except ValueError as error:
            return _Fit(error=error)

    def _each(self, wave: list[tuple[str, int]], step: Callable[[tuple[str, int]], None], advance: Callable[[], None]) -> None:
        """Take a step with each of some models, side by side where that is quicker."""
        parts = chunks(len(wave), 1)

        def task(i: int, _: int) -> int:
            step(wave[i])
            return i

        for _ in map_in_turns(task, parts) if self.together else (task(*part) for part in parts):
            advance()


def _check_sampling(sampling: Mapping[str, Any], settings: dict[str, Any], sample_weight: ArrayLike | None, n_rows: int) -> None:
    """Check what is asked of the posterior before anything is fitted.

    Raises
    ------
    InvalidParameterError
        If `BayesianGaussianMixture` has no such setting or gets it from elsewhere, or EM fits what has no posterior here.
    InvalidDataError
        If weights are not whole numbers: rows are left out one at a time.
    """
    # Loaded here: criteria of EM alone leave no rows out.
    from bayesgmm.criticism.elpd import times_each

    if not isinstance(sampling, Mapping):
        raise InvalidParameterError(f"posterior must be True, False or a mapping of settings, got {type(sampling).__name__}")
    known = sorted(set(BayesianGaussianMixture().get_params()) - set(_GIVEN))
    wrong = [name for name in sampling if name not in known]
    if wrong:
        raise InvalidParameterError(f"posterior has no setting {wrong[0]!r} here; it has {', '.join(known)}")
    for name in ("noise", "equal_weights"):
        if settings.get(name):
            raise InvalidParameterError(f"there is no posterior of models with {name}: leave out {name} or posterior")
    times_each(check_weights(sample_weight, n_rows), n_rows)


def with_posteriors(found: Selection, sampling: Mapping[str, Any], seed: int, *, progressbar: bool) -> Selection:
    """Return a selection with the posteriors of its models and what they say of rows left out and of occupied components.

    Parameters
    ----------
    found : Selection
    sampling : mapping
        Settings of the posteriors, as `select` takes them.
    seed : int
    progressbar : bool
    """
    from bayesgmm.criticism import loo

    sampled: list[_Sampled | None] = []
    with quiet(), steps("Sampling posteriors", len(found.models), shown=progressbar) as advance:
        for model, status in zip(found.models, found.table["status"], strict=True):
            one = None
            if model is not None and status in ("converged", "max_iter") and family(model.covariance_type).name in WITH_PRIORS:
                fit = BayesianGaussianMixture(
                    model.n_components,
                    covariance_type=model.covariance_type,
                    init=model,
                    random_state=seed,
                    progressbar=False,
                    **sampling,
                ).fit(found.X, sample_weight=found.sample_weight)
                one = fit, loo(fit, max_refits=0, progressbar=False), _log_evidence(fit)
            sampled.append(one)
            advance()
    number = getattr(sampling.get("priors"), "number", None) or BetaNegativeBinomial()
    table = found.table.join(_posterior_columns(sampled).set_index(found.table.index))
    table["probability"] = _probabilities(table, number)
    table.attrs = {**found.table.attrs, "larger is better": ["elpd", "elpd_difference", "log_evidence", "probability"]}
    return replace(found, table=table, posteriors=tuple(one and one[0] for one in sampled))


type _Sampled = tuple[BayesianGaussianMixture, Elpd, Evidence]
"""A posterior, what it predicts, and its evidence."""


def _log_evidence(fit: BayesianGaussianMixture) -> Evidence:
    try:
        return fit.log_evidence()
    except (InvalidParameterError, InvalidDataError):  # no chains under these priors, or too many orders of components
        return Evidence(np.nan, np.nan)


def _probabilities(table: pd.DataFrame, prior: NumberPrior) -> FloatArray:
    """Return posterior probabilities of the models of a table, their types alike before the data; NaN if one has no evidence."""
    logs = table["log_evidence"].to_numpy(float)
    known = ~np.isnan(logs)
    if (table["posterior_verdict"].ne("") & ~known).any() or not known.any():
        return np.full(len(table), np.nan)
    numbers = table["n_components"].to_numpy(int)
    logs = np.where(known, logs + prior.log_probability(numbers.max())[numbers - 1], -np.inf)
    return np.where(known, special.softmax(logs), np.nan)


def _posterior_columns(sampled: Sequence[_Sampled | None]) -> pd.DataFrame:
    best = max((one[1] for one in sampled if one is not None), key=lambda elpd: elpd.elpd, default=None)
    rows = []
    for one in sampled:
        if one is None or best is None:
            rows.append((np.nan,) * 8 + ("",))
            continue
        fit, elpd, evidence = one
        difference = replace(elpd, table=elpd.table.assign(elpd=elpd.table["elpd"] - best.table["elpd"]))
        predicted = elpd.elpd, elpd.se, difference.elpd, difference.se, len(elpd.high_k)
        rows.append((*predicted, mean_occupied(fit), evidence.log_evidence, evidence.error, fit.diagnose()[0].sentence))
    names = ["elpd", "elpd_se", "elpd_difference", "elpd_difference_se", "high_k", "occupied"]
    return pd.DataFrame(rows, columns=[*names, "log_evidence", "log_evidence_error", "posterior_verdict"])


def _table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    columns: list[str] = max((list(row) for row in rows), key=len)  # of models that could not be fitted there is less to say
    table = pd.DataFrame(rows, columns=columns)
    counts = ["n_parameters", "n_starts", "n_starts_at_best"]
    table[counts] = table[counts].astype("Int64")
    table.attrs = {"direction": "smaller is better", "criteria": list(CRITERIA)}
    return table


def _numbers(n_components: int | Iterable[int]) -> list[int]:
    numbers = list(n_components) if isinstance(n_components, Iterable) else [n_components]
    if not numbers:
        raise InvalidParameterError("n_components must be whole numbers from 1 up, there is none")
    for n in numbers:
        check_count("n_components", n)
    return list(dict.fromkeys(map(int, numbers)))


def _types(covariance_types: str | Iterable[str]) -> list[str]:
    types = [covariance_types] if isinstance(covariance_types, str) else list(covariance_types)
    if not types:
        raise InvalidParameterError("covariance_types must name at least one covariance type, there is none")
    for name in types:
        family(name)
    return list(dict.fromkeys(types))
