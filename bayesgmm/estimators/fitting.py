"""What every fit of many has in common: settings checked once, one seed, no warnings, no idle threads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bayesgmm.estimators import GaussianMixture
from bayesgmm.exceptions import ConvergenceWarning, DataAdvice, DrawsAdvice, InvalidParameterError
from bayesgmm.random import seed_sequence
from bayesgmm.typing import RandomState

__all__ = ["check_settings", "one_seed", "quiet"]

_OF_ROWS = ("known", "components_per_class", "together", "errors", "samples", "covariates")
"""What ``fit`` of the estimators is told of rows beside their values."""


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out the warning that EM ended badly: it would be one of many, and the fits remember it. Not to be entered in threads."""
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, DataAdvice, DrawsAdvice):
            warnings.simplefilter("ignore", category)
        yield


def one_seed(random_state: RandomState) -> int:
    """Return the number given, or one drawn from the source of randomness."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(seed_sequence(random_state).generate_state(1)[0])


def check_settings(settings: dict[str, Any], taken: dict[str, str]) -> None:
    """Raise InvalidParameterError for settings that `GaussianMixture` does not have, or that have another name here."""
    known = set(GaussianMixture().get_params())
    for name in settings:
        if name in taken:
            raise InvalidParameterError(f"{name} is not a setting here: use {taken[name]}")
        if name in _OF_ROWS:
            raise InvalidParameterError(
                f"{name}= is not known here yet: fit each number of components with it, and compare their bic() without X"
            )
        if name not in known:
            raise InvalidParameterError(f"GaussianMixture has no setting {name!r}; it has {', '.join(sorted(known - set(taken)))}")
