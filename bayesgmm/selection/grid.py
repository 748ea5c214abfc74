"""Fit many models, write down how each did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.covariance import family
from bayesgmm.estimators import GaussianMixture
from bayesgmm.estimators.fitting import check_settings, one_seed, quiet
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError, LikelihoodDecreaseError
from bayesgmm.expectation import libraries_on_one_thread
from bayesgmm.expectation._threads import chunks, map_in_turns
from bayesgmm.params import MixtureParams
from bayesgmm.progress import steps
from bayesgmm.selection.criteria import describe, failed
from bayesgmm.selection.value import CRITERIA, Selection
from bayesgmm.sources import is_chunked
from bayesgmm.typing import ArrayLike, RandomState

__all__ = ["select"]

MOST_ALONE = 4096
"""Rows up to which models are fitted side by side."""
OF_THE_EFFORT = 0.25
"""Share of the effort of a fit alone that each of many takes, which start from their neighbours as well."""
SAME_MAXIMUM = 0.01
"""Nats by which a fit has to be higher to take the place of another."""
BEST_FAMILIES = 2
"""Families, the best by BIC, whose fits others of as many components start from."""
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
        Also sample the posterior of every model that EM could fit (full, tied, diag and spherical), and add what it says of rows left out
        and of occupied components to the table. A mapping has settings for `BayesianGaussianMixture`, such as ``priors`` and ``draws``:
        ``{"priors": Priors(concentration=0.1)}`` is a sparse prior, which leaves components empty that the data do not need.
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
    if is_chunked(X):
        raise InvalidDataError("select needs rows in memory: read the file first, or choose among some of its rows")
    n_rows = _n_rows(X)
    ask = None if posterior is False else _asking(posterior, settings, sample_weight, n_rows, seed, progressbar=progressbar)
    together = n_rows <= MOST_ALONE  # more rows than these each fit shares out among all cores itself
    grid = _Grid(X, sample_weight, {**settings, "random_state": seed}, together)
    with libraries_on_one_thread(), quiet(), steps("Fitting mixtures", 2 * len(models), shown=progressbar) as advance:
        fits = grid.fit(models, advance)
    fitted = tuple(fit.model for fit in fits)
    if not any(fitted):
        raise next(fit.error for fit in fits if fit.error is not None)
    rows = [
        describe(fit.model, sample_weight) if fit.model is not None else failed(kind, K, fit.error or ValueError("not fitted"))
        for (kind, K), fit in zip(models, fits, strict=True)
    ]
    # Copies: ties are asked of the rows later, when the caller's arrays may have changed.
    found = Selection(_table(rows), fitted, _own(X), _own(sample_weight))
    return found if ask is None else ask(found)


def _n_rows(X: Any) -> int:
    """Return how many rows there are, as far as that can be told of what no fit has looked at yet: of what is no table, none."""
    if isinstance(X, (list, tuple)):
        return len(X)
    shape: tuple[Any, ...] = getattr(X, "shape", ())
    if len(shape) > 0 and isinstance(shape[0], (int, np.integer)):
        return int(shape[0])
    return 0


def _own(data: Any) -> Any:
    """Return a copy of data in memory."""
    return deepcopy(data)


@dataclass
class _Fit:
    """What became of a model: its fit, or why there is none."""

    model: GaussianMixture | None = None
    error: Exception | None = None

    @property
    def is_sound(self) -> bool:
        """Whether it is a maximum that means something."""
        return self.model is not None and self.model.status_ in ("converged", "max_iter")

    @property
    def height(self) -> float:
        """What EM climbed."""
        return -np.inf if self.model is None else self.model.log_likelihood_ + self.model.log_prior_

    def better(self, other: _Fit) -> _Fit:
        """Return the other fit of the same model if it is the better one."""
        ahead = other.height > self.height + SAME_MAXIMUM
        return other if (other.is_sound, ahead) > (self.is_sound, False) or (other.is_sound == self.is_sound and ahead) else self


@dataclass(frozen=True)
class _Grid:
    """The models over numbers of components and families, each fitted knowing its neighbours.

    First numbers of components go up, and every fit starts from that of one component fewer, too. Then they go down, and it is tried
    whether the fit of one more, or those of the best other families, lead higher.
    """

    X: ArrayLike
    sample_weight: ArrayLike | None
    settings: dict[str, Any]
    together: bool

    def fit(self, models: list[tuple[str, int]], advance: Callable[[], None]) -> list[_Fit]:
        fits: dict[tuple[str, int], _Fit] = {}
        numbers = sorted({K for _, K in models})

        def known(*names: tuple[str, int]) -> list[MixtureParams]:
            return [fits[name].model.params_ for name in names if name in fits and fits[name].model is not None]  # type: ignore[union-attr]

        for K in numbers:
            wave = [name for name in models if name[1] == K]
            fits |= zip(wave, self._each(wave, [known((kind, K - 1)) for kind, _ in wave], advance), strict=True)
        searches = self.settings.get("n_init", "auto") == "auto" and isinstance(self.settings.get("init_params", "auto"), str)
        for K in reversed(numbers):
            wave = [name for name in models if name[1] == K and K > 1 and searches and fits[name].model is not None]
            best = sorted((name for name in wave if fits[name].is_sound), key=lambda name: _bic(fits[name]))[:BEST_FAMILIES]
            near = [known((kind, K + 1), *(other for other in best if other != (kind, K))) for kind, _ in wave]
            for name, again in zip(wave, self._each(wave, near, advance, only_known=True), strict=True):
                fits[name] = fits[name].better(again)
            for _ in range(sum(name[1] == K for name in models) - len(wave)):
                advance()
        return [fits[name] for name in models]

    def _each(
        self,
        wave: list[tuple[str, int]],
        known: list[list[MixtureParams]],
        advance: Callable[[], None],
        *,
        only_known: bool = False,
    ) -> list[_Fit]:
        """Return the fits of some models of one number of components, side by side if the rows are few."""

        def fit(i: int, _: int) -> _Fit:
            kind, K = wave[i]
            if only_known and not known[i]:
                return _Fit()
            model = GaussianMixture(K, **{**self.settings, "covariance_type": kind})
            model._known, model._share = known[i], 0.0 if only_known else OF_THE_EFFORT
            try:
                model.fit(self.X, sample_weight=self.sample_weight)
            except (ValueError, LikelihoodDecreaseError) as error:
                return _Fit(error=error)
            finally:
                del model._known, model._share
            return _Fit(model)

        parts = chunks(len(wave), 1)
        ended = []
        for end in map_in_turns(fit, parts) if self.together else (fit(*part) for part in parts):
            ended.append(end)
            advance()
        return ended


def _bic(fit: _Fit) -> float:
    model = fit.model
    assert model is not None
    return -2.0 * model.log_likelihood_ + model.n_parameters_ * float(np.log(model._total_weight))


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
    counts = ["n_parameters", "n_starts", "n_starts_at_best"]
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
