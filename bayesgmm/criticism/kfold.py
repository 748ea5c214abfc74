"""K-fold cross-validation of several models with the same folds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.utils import _safe_indexing

from bayesgmm.criticism.elpd import Elpd, pointwise
from bayesgmm.criticism.loo import Estimator
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.estimators.fitting import one_seed
from bayesgmm.exceptions import ConvergenceWarning, DrawsAdvice, InvalidDataError, InvalidParameterError
from bayesgmm.progress import steps
from bayesgmm.rows.check import index_of
from bayesgmm.text import listed
from bayesgmm.typing import ArrayLike, FloatArray, IntArray, RandomState
from bayesgmm.validation import check_weights

__all__ = ["Folds", "kfold"]


@dataclass(frozen=True, eq=False)
class Folds:
    """Models that were cross-validated with the same folds; ``print`` it for the result in words.

    Attributes
    ----------
    results : dict of str to Elpd
        To be given to :func:`compare_elpd`.
    folds : int array of shape (N,)
        Fold in which each row was held out.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> found = kfold(bg.GaussianMixture(1), bg.datasets.load_faithful(), 5, random_state=1, progressbar=False)
    >>> [int((found.folds == fold).sum()) for fold in range(5)]
    [55, 55, 54, 54, 54]
    """

    results: dict[str, Elpd]
    folds: IntArray = field(repr=False)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {elpd}" for name, elpd in sorted(self.results.items(), key=lambda item: -item[1].elpd))


def kfold(
    models: Estimator | Mapping[str, Estimator],
    X: ArrayLike,
    n_splits: int = 10,
    *,
    sample_weight: ArrayLike | None = None,
    random_state: RandomState = None,
    progressbar: bool = True,
) -> Folds:
    """Fit models to all rows but a fold, and see how well they predict it, for each fold; all models have the same folds.

    Parameters
    ----------
    models : estimator, or mapping of str to estimator
        GaussianMixture or BayesianGaussianMixture. They are copied, so it does not matter whether they were fitted.
    X : array-like of shape (N, D)
    n_splits : int
        Number of folds.
    sample_weight : array-like of shape (N,), optional
        How often each row counts, in the fits and in the sums.
    random_state : int, Generator, RandomState or None
        Of the folds. The models have their own.
    progressbar : bool
        Show on stderr how many fits are done, when that is a terminal.

    Returns
    -------
    Folds

    Raises
    ------
    InvalidParameterError
        If there are fewer than two folds, or something else than a model of this package.
    InvalidDataError
        If there are more folds than rows, or the models cannot be fitted to what a fold leaves.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import compare_elpd, kfold
    >>> models = {"two": bg.GaussianMixture(2, random_state=1), "five": bg.GaussianMixture(5, random_state=1)}
    >>> found = kfold(models, bg.datasets.load_faithful(), 5, random_state=1, progressbar=False)
    >>> compare_elpd(found.results).index[0]
    'two'
    """
    named = dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}
    n_rows = _check(named, X, n_splits)
    weight = check_weights(sample_weight, n_rows)
    splits = list(KFold(n_splits, shuffle=True, random_state=one_seed(random_state) % 2**32).split(np.empty(n_rows)))
    folds = np.empty(n_rows, dtype=np.intp)
    for number, (_, held) in enumerate(splits):
        folds[held] = number
    results = {}
    with steps("Cross-validating", len(named) * n_splits, shown=progressbar) as advance:
        for name, model in named.items():
            elpd, doubtful = np.empty(n_rows), []
            for number, (kept, held) in enumerate(splits):
                elpd[held], warned = _held_out(model, X, weight, kept, held)
                if warned:
                    doubtful.append(number)
                advance()
            results[name] = _elpd(model, X, elpd, weight, n_splits, doubtful)
    return Folds(results, folds)


def _check(models: Mapping[str, object], X: ArrayLike, n_splits: int) -> int:
    wrong = [name for name, model in models.items() if not isinstance(model, (GaussianMixture, BayesianGaussianMixture))]
    if wrong or not models:
        found = f"{wrong[0]!r} is not" if wrong else "there is none"
        raise InvalidParameterError(f"models must be GaussianMixture or BayesianGaussianMixture, {found}")
    if n_splits < 2:
        raise InvalidParameterError(f"n_splits must be at least 2, got {n_splits}")
    n_rows = int(np.shape(X)[0])
    if n_rows < n_splits:
        raise InvalidDataError(f"{n_splits} folds need as many rows, X has {n_rows}")
    return n_rows


def _held_out(model: Estimator, X: ArrayLike, weight: FloatArray | None, kept: IntArray, held: IntArray) -> tuple[FloatArray, bool]:
    """Return the log-densities of the rows held out, and whether the fit to the others warned that it had not converged."""
    fit = clone(model)
    if isinstance(fit, BayesianGaussianMixture):
        # An EM fit that was given has seen the rows held out.
        fit.set_params(progressbar=False, init=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        warnings.simplefilter("ignore", DrawsAdvice)  # what a fold predicts does not hang on last digits
        fit.fit(_safe_indexing(X, kept), sample_weight=None if weight is None else weight[kept])
    others = [one for one in caught if not issubclass(one.category, ConvergenceWarning)]
    for one in others:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return fit.score_samples(_safe_indexing(X, held)), len(others) < len(caught)


def _elpd(model: Estimator, X: ArrayLike, elpd: FloatArray, weight: FloatArray | None, n_splits: int, doubtful: list[int]) -> Elpd:
    times = np.ones(len(elpd)) if weight is None else weight
    table = pointwise(elpd, np.nan, times, np.nan, "held out", index_of(X, len(elpd)))
    n_draws = model.draws * model.chains if isinstance(model, BayesianGaussianMixture) else 1
    notes: tuple[str, ...] = ()
    if doubtful:
        notes = (f"Without fold{'' if len(doubtful) == 1 else 's'} {listed(doubtful)} the fit had not converged or had collapsed.",)
    return Elpd(table, "kfold", n_draws, n_splits, notes=notes)
