"""The number of groups that a selection takes, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import json_records
from bayesgmm.selection.selection import Selection, predicts_as_well
from bayesgmm.text import counted, listed

__all__ = ["Choice", "choose"]

_COLUMNS = (
    "n_components",
    "log_likelihood",
    "n_parameters",
    "bic",
    "icl",
    "elpd",
    "elpd_difference",
    "elpd_difference_se",
    "high_k",
    "occupied",
    "status",
    "posterior_verdict",
)


@dataclass(frozen=True, eq=False)
class Choice:
    """One model of several, and why.

    Attributes
    ----------
    selection : Selection
    row : int
        Of ``selection.table``.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> found = bg.select(bg.datasets.load_faithful(), [1, 2, 3], "full", random_state=1, progressbar=False)
    >>> print(Choice(found, 1).sentences[1])
    ICL, which counts groups that stand apart, takes the same.
    """

    selection: Selection = field(repr=False)
    row: int

    @property
    def n_components(self) -> int:
        """How many groups were chosen."""
        return int(self.selection.table["n_components"].iloc[self.row])

    @property
    def em(self) -> GaussianMixture:
        """EM's fit of the model chosen."""
        model = self.selection.models[self.row]
        assert model is not None
        return model

    @property
    def posterior(self) -> BayesianGaussianMixture:
        """The posterior of the model chosen.

        Raises
        ------
        InvalidParameterError
            If the selection was made without posteriors, or this model has none because EM found no proper maximum.
        """
        if not self.selection.posteriors:
            raise InvalidParameterError("The selection has no posteriors: call select(..., posterior=True).")
        fit = self.selection.posteriors[self.row]
        if fit is None:
            raise InvalidParameterError(
                f"There is no posterior to report: EM found no proper maximum for any number of groups. {self.em.message_}"
            )
        return fit

    @property
    def numbers(self) -> list[int]:
        """The numbers of groups that were tried."""
        return sorted(int(n) for n in self.selection.table["n_components"].unique())

    def by(self, criterion: str) -> int:
        """Return the number of groups that a criterion takes: "bic", "icl" or "elpd"."""
        table = self.selection.table
        if criterion == "elpd":
            return int(table["n_components"].to_numpy()[np.nanargmax(table["elpd"].to_numpy(float))])
        return int(self.selection.ranking(criterion)["n_components"].iloc[0])

    @property
    def predicts_as_well(self) -> list[int]:
        """Numbers of groups whose posterior predicts rows left out about as well as the best one: within 4, or two standard errors."""
        if not self.has_posteriors:
            return []
        rows = self.selection.table.dropna(subset="elpd")
        return sorted(int(n) for n in rows.loc[predicts_as_well(rows), "n_components"])

    @cached_property
    def unsettled(self) -> list[int]:
        """Numbers of groups whose posterior's draws failed their checks, so that what it predicts is not to be relied on."""
        fits = zip(self.selection.table["n_components"], self.selection.posteriors, strict=False)
        return sorted(int(n) for n, fit in fits if fit is not None and not fit.diagnose()[0].passed)

    @property
    def has_posteriors(self) -> bool:
        """Whether any posterior could be sampled."""
        return "elpd" in self.selection.table and bool(self.selection.table["elpd"].notna().any())

    @property
    def unanimous(self) -> bool:
        """Whether every criterion takes the number chosen, or has nothing against it."""
        posterior = not self.has_posteriors or self.n_components in self.predicts_as_well
        return self.by("bic") == self.by("icl") == self.n_components and posterior

    @property
    def sentences(self) -> tuple[str, ...]:
        """The choice in plain words."""
        return tuple(_sentences(self))

    @property
    def models(self) -> pd.DataFrame:
        """The table of the selection, one row for each number of groups, with differences to the best BIC and ICL, and which is chosen."""
        table = self.selection.table
        kept = table[[name for name in _COLUMNS if name in table]].copy()
        for name in ("bic", "icl"):
            kept[f"{name}_difference"] = table[name] - self.selection.ranking(name)[name].iloc[0]
        return kept.assign(chosen=np.arange(len(table)) == self.row)

    def summary(self) -> dict[str, Any]:
        """Return the numbers ready for JSON."""
        return {"n_components": self.n_components, "sentences": list(self.sentences), "models": json_records(self.models)}


def choose(selection: Selection) -> Choice:
    """Choose the model with the least BIC; of models too close to tell apart, the one with the fewest groups.

    Parameters
    ----------
    selection : Selection
        Of one covariance type, so that models differ in the number of components alone.

    Returns
    -------
    Choice

    Raises
    ------
    InvalidParameterError
        If the models are of several covariance types.

    Notes
    -----
    Models whose BIC is less than 2 above the least count as ties (Kass and Raftery 1995, JASA 90, 773-795, section 3.2).

    Examples
    --------
    >>> import bayesgmm as bg
    >>> found = bg.select(bg.datasets.load_faithful(), [1, 2, 3], "full", random_state=1, progressbar=False)
    >>> choose(found).n_components
    2
    """
    kinds = selection.table["covariance_type"].unique()
    if len(kinds) > 1:
        raise InvalidParameterError(f"choose takes models of one covariance type, got {', '.join(kinds)}.")
    fewest = selection.ties("bic")["n_components"].astype(int).idxmin()
    return Choice(selection, int(np.flatnonzero(selection.table.index == fewest)[0]))


def _sentences(choice: Choice) -> Iterator[str]:
    K, ranking = choice.n_components, choice.selection.ranking("bic")
    best, own = int(ranking["n_components"].iloc[0]), float(choice.selection.table["bic"].iloc[choice.row])
    others = ranking[ranking["n_components"] != K]
    gaps = [f"{row['bic'] - own:.1f} for {row['n_components']}" for _, row in others.iterrows()]
    if best != K:
        yield f"BIC is least for {best} groups, but {K} come within 2 of it, too little to tell them apart: the fewer are taken."
    elif gaps:
        yield f"Of {listed(choice.numbers)} groups, BIC takes {K}; it is higher by {listed(gaps[:3])}."
    yield f"ICL, which counts groups that stand apart, takes {'the same' if choice.by('icl') == K else choice.by('icl')}."
    if choice.has_posteriors:
        yield _prediction(choice) + _unsettled(choice)
    rows = choice.selection.table.drop(ranking.index)
    if len(rows):
        said = listed(f"{row['n_components']} ({row['status']})" for _, row in rows.iterrows())
        yield f"Not to be chosen, because EM found no proper maximum: {said}."


def _prediction(choice: Choice) -> str:
    best, near, K = choice.by("elpd"), choice.predicts_as_well, choice.n_components
    rest = [n for n in near if n != K]
    posterior = f"the posterior with {counted(best, 'group')}"
    if int(choice.selection.table["elpd"].notna().sum()) == 1:
        return f"Only {posterior} could be asked to predict rows left out."
    if best == K:
        others = f", and with {listed(rest)} about as well." if rest else ", clearly better than by the others."
        return f"Rows left out are predicted best by {posterior}{others}"
    if K in near:
        return f"Rows left out are predicted best by {posterior}, but with {K} about as well."
    return f"Rows left out are predicted clearly better by {posterior}: look at that model, too."


def _unsettled(choice: Choice) -> str:
    """A word on draws that failed their checks: what they predict is rough, whatever its standard error."""
    numbers = choice.unsettled
    if not numbers:
        return ""
    posterior = "posterior" if len(numbers) == 1 else "posteriors"
    return f" The {posterior} with {listed(numbers)} did not pass the checks of the draws, so this comparison is rough."
