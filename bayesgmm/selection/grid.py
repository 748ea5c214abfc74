"""Fit many models, write down how each did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.covariance import family
from bayesgmm.em import Partitions
from bayesgmm.estimators import GaussianMixture
from bayesgmm.estimators.fitting import check_settings, one_seed, quiet
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import libraries_on_one_thread
from bayesgmm.expectation._threads import chunks, map_in_turns
from bayesgmm.progress import steps
from bayesgmm.selection.criteria import describe, failed
from bayesgmm.selection.value import CRITERIA, Selection
from bayesgmm.sources import is_chunked
from bayesgmm.typing import ArrayLike, RandomState

__all__ = ["select"]

MOST_ALONE = 4096
"""Rows up to which models are fitted side by side."""
_TAKEN = {"n_components": "n_components", "covariance_type": "covariance_types"}


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
        Also sample the posterior of every model that EM could fit (full, tied, diag and spherical), and add what it says of rows left out
        and of occupied components to the table. A mapping has settings for `BayesianGaussianMixture`, such as ``priors`` and ``draws``:
        ``{"priors": Priors(concentration=0.1)}`` is a sparse prior, which leaves components empty that the data do not need.
    random_state : int, Generator, RandomState or None
        A number goes to every model as it is, so that each can be fitted again on its own with the same result.
    progressbar : bool
        Show progress on stderr, when that is a terminal.
    **settings
        Passed to every `GaussianMixture`, for example ``n_init`` or ``max_iter``.

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
    shared = Partitions()
    ask = None if posterior is False else _asking(posterior, settings, sample_weight, np.shape(X)[0], seed, progressbar=progressbar)

    def fit(i: int, _: int) -> tuple[GaussianMixture | None, dict[str, Any], ValueError | None]:
        kind, K = models[i]
        model = GaussianMixture(K, **{**settings, "covariance_type": kind, "random_state": seed})
        model._partitions = shared
        try:
            model.fit(X, sample_weight=sample_weight)
            return model, describe(model, sample_weight), None
        except ValueError as error:
            return None, failed(kind, K, error), error
        finally:
            del model._partitions

    with libraries_on_one_thread(), quiet(), steps("Fitting mixtures", len(models), shown=progressbar) as advance:
        ended = []
        parts = chunks(len(models), 1)
        # More rows than these each fit shares out among all cores itself.
        for end in map_in_turns(fit, parts) if np.shape(X)[0] <= MOST_ALONE else (fit(*part) for part in parts):
            ended.append(end)
            advance()
    fitted, rows, errors = zip(*ended, strict=True)
    if not any(fitted):
        raise errors[0]
    # Copies: ties are asked of the rows later, when the caller's arrays may have changed.
    found = Selection(_table(rows), fitted, _own(X), _own(sample_weight))
    return found if ask is None else ask(found)


def _own(data: Any) -> Any:
    """Return a copy of data in memory."""
    return data if is_chunked(data) else deepcopy(data)


def _asking(
    posterior: bool | Mapping[str, Any], settings: dict[str, Any], sample_weight: Any, n_rows: int, seed: int, *, progressbar: bool
) -> Callable[[Selection], Selection]:
    """Check what is asked of the posterior before anything is fitted, and return the function that asks."""
    # Loaded here: criteria of EM alone need no sampler.
    from bayesgmm.selection.posterior import Question

    return Question.of(
        {} if isinstance(posterior, bool) else posterior, settings, sample_weight, n_rows, seed, progressbar=progressbar
    )


def _table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    counts = ["n_parameters", "n_starts", "n_starts_followed", "n_starts_at_best"]
    table[counts] = table[counts].astype("Int64")
    table.attrs = {"direction": "smaller is better", "criteria": list(CRITERIA)}
    return table


def _numbers(n_components: int | Iterable[int]) -> list[int]:
    numbers = [n_components] if isinstance(n_components, (int, np.integer)) else list(n_components)
    wrong = [n for n in numbers if not _is_count(n)]
    if wrong or not numbers:
        what = f"got {wrong[0]!r}" if wrong else "there is none"
        raise InvalidParameterError(f"n_components must be whole numbers from 1 up, {what}")
    return list(dict.fromkeys(int(n) for n in numbers))


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1


def _types(covariance_types: str | Iterable[str]) -> list[str]:
    types = [covariance_types] if isinstance(covariance_types, str) else list(covariance_types)
    if not types:
        raise InvalidParameterError("covariance_types must name at least one covariance type, there is none")
    for name in types:
        family(name)
    return list(dict.fromkeys(types))
