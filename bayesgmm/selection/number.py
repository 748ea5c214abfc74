"""The number of groups in a posterior's eyes, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.diagnostics import Check
from bayesgmm.estimators import BayesianGaussianMixture
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import json_records, jsonable
from bayesgmm.text import counted, listed

__all__ = ["NumberOfGroups"]

_WORTH_SAYING = 0.05
_MOST_SAID = 3
_CLEAR = 0.9
"""Probability from which on a number of groups is settled."""
_MOST = 0.5
"""Probability from which on a number is taken although its draws are rough."""
_MOVED = 0.1
"""Change of that probability from which on the prior matters."""


@dataclass(frozen=True, eq=False)
class NumberOfGroups:
    """How many groups there are, with probabilities, how many components their density takes, and how much of that is the prior's doing.

    Attributes
    ----------
    probabilities : pandas.DataFrame
        ``number_of_components()`` of the posterior.
    sensitivity : pandas.DataFrame or None
        Its ``sensitivity_of_number()``; None where the concentration of the weights was learned.
    check : Check
        Whether its draws can be relied on.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> posterior = bg.BayesianGaussianMixture("auto", draws=200, tune=100, random_state=1, progressbar=False).fit(X)
    >>> NumberOfGroups.of(posterior).most_probable
    2
    """

    probabilities: pd.DataFrame = field(repr=False)
    sensitivity: pd.DataFrame | None = field(repr=False)
    check: Check

    @classmethod
    def of(cls, posterior: BayesianGaussianMixture) -> NumberOfGroups:
        """Return what a posterior says whose number of components is not known."""
        probabilities = posterior.number_of_components()
        try:
            sensitivity = posterior.sensitivity_of_number()
        except InvalidParameterError:  # the concentration was learned
            sensitivity = None
        return cls(probabilities, sensitivity, posterior.diagnose()[0])

    @property
    def most_probable(self) -> int:
        """The most probable number of groups."""
        best: Any = self.probabilities["groups"].idxmax()
        return int(best)

    @property
    def probability(self) -> float:
        """Its probability."""
        return float(self.probabilities["groups"].max())

    @property
    def is_usable(self) -> bool:
        """Whether the most probable number may be taken: the draws hold, or it has most of them all the same."""
        return self.check.passed or self.probability >= _MOST

    @property
    def is_clear(self) -> bool:
        """Whether no other number has more than 10 %, whatever the prior among those compared, and the draws can be relied on."""
        told = self.sensitivity is None or not self.sensitivity.isna().any(axis=None)
        return self.probability >= _CLEAR and self.check.passed and told and not list(self._leaning())

    @property
    def headline(self) -> str:
        """As "3 groups (81%), 4 (17%)"."""
        shares = self._shares("groups")
        (first, p), others = shares[0], shares[1:]
        return ", ".join([f"{counted(first, 'group')} ({_percent(p)})", *(f"{n} ({_percent(q)})" for n, q in others)])

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer, what the density takes, and what the prior has to do with it."""
        return tuple(self._sentences())

    def summary(self) -> dict[str, Any]:
        """Return the numbers ready for JSON."""
        moved = self.sensitivity
        return {
            "n_groups": self.most_probable,
            "sentences": list(self.sentences),
            "probabilities": json_records(self.probabilities.reset_index()),
            "sensitivity": None if moved is None else json_records(moved.rename(columns=str).rename_axis("prior").reset_index()),
            "check": {name: jsonable(value) for name, value in vars(self.check).items()},
        }

    def _shares(self, column: str) -> list[tuple[int, float]]:
        """Numbers worth saying with their probabilities, the most probable first."""
        ordered = self.probabilities[column].sort_values(ascending=False, kind="stable")
        said = ordered[ordered >= _WORTH_SAYING].head(_MOST_SAID)
        kept = said if len(said) else ordered.head(1)
        return list(zip(map(int, kept.index), map(float, kept), strict=True))

    def _sentences(self) -> Iterator[str]:
        groups = [f"{_percent(p)} to {n}" for n, p in self._shares("groups")]
        noun = "group" if groups[-1].endswith(" to 1") else "groups"
        error = 2 * float(self.probabilities["groups_mcse"].loc[self.most_probable])
        exact = f" (give or take {100 * error:.0f} points by simulation)" if error >= 0.02 else ""
        yield f"With the number left open, the posterior gives {listed(groups)} {noun}{exact}."
        filled = self._shares("filled")
        if [n for n, _ in filled] != [n for n, _ in self._shares("groups")]:
            said = listed([f"{n} ({_percent(p)})" for n, p in filled], conjunction=" or ")
            yield f"Their shapes take {said} normal components: a group is a hill of the density, whatever it is made of."
        if not self.check.passed:
            yield f"These probabilities are rough, as their chains did not pass the checks. {self.check.sentence}"
        yield from self._priors()

    def _priors(self) -> Iterator[str]:
        if self.sensitivity is None:
            return
        leaning = list(self._leaning())
        if leaning:
            yield f"That leans on the prior: {'; '.join(leaning)}."
        silent = self.sensitivity.index[self.sensitivity[self.most_probable].isna()]
        if len(silent):
            yield f"What it would be with {listed(silent, conjunction=' or ')} these draws cannot tell."
        if leaning:
            return
        told = self.sensitivity[self.most_probable].dropna()
        if len(told) > 1:
            low, high = _percent(told.min()), _percent(told.max())
            same = f"at {low}" if low == high else f"between {low} and {high}"
            yield f"Under {counted(len(told) - 1, 'other prior')} that of {self.most_probable} stays {same}."

    def _leaning(self) -> Iterator[str]:
        """Other priors under which another number is the most probable, or this one moves much."""
        if self.sensitivity is None:
            return
        table = self.sensitivity.drop(columns="share")
        own = table.iloc[0]
        for prior, row in table.iloc[1:].dropna().iterrows():
            best: Any = row.idxmax()
            if best != self.most_probable or abs(row[best] - own[best]) > _MOVED:
                yield f"with {prior} it is {_percent(row[best])} for {best}"


def _percent(p: float) -> str:
    """A probability in whole percent; what rounds to none or all is not said to be that."""
    if 0.0 < p < 0.005:
        return "under 1%"
    return "over 99%" if 0.995 <= p < 1.0 else f"{np.round(100 * p):.0f}%"
