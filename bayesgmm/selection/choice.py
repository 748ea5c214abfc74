"""The number of groups that a selection takes, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import json_records
from bayesgmm.selection.number import NumberOfGroups
from bayesgmm.selection.selection import BARE_MENTION, Selection, predicts_as_well
from bayesgmm.text import counted, listed
from bayesgmm.typing import IntArray

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
    "log_evidence",
    "log_evidence_error",
    "probability",
    "status",
    "posterior_verdict",
)


@dataclass(frozen=True, eq=False)
class Choice:
    """One model of several, and why.

    Attributes
    ----------
    selection : Selection
        The models of one covariance type.
    row : int
        Of ``selection.table``.
    number : NumberOfGroups or None
        What a posterior in which the number is not known says of it, if it chose.
    n_groups : int or None
        How many groups stand apart, where components may be more; None where components are taken for groups.
    types : tuple of str
        The covariance types that there were to choose among.
    is_best : bool
        Whether no model of another type has less BIC.
    reasons : tuple of str
        How the covariance type came about, and the groups, where these were chosen, too.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> found = bg.select(bg.datasets.load_faithful(), [1, 2, 3], "full", random_state=1, progressbar=False)
    >>> print(Choice(found, 1).sentences[1])
    ICL, which counts groups that stand apart, takes the same.
    """

    selection: Selection = field(repr=False)
    row: int
    number: NumberOfGroups | None = None
    n_groups: int | None = None
    is_best: bool = True
    types: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

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
        """Whether every criterion takes the number chosen, or has nothing against it; where a posterior chose it, whether that is sure."""
        if self.number is not None:
            return self.number.is_clear and self.number.most_probable == self.n_components
        posterior = not self.has_posteriors or self.n_components in self.predicts_as_well
        if not self.is_best or self.n_groups not in (None, self.n_components):
            return False
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
        number = None if self.number is None else self.number.summary()
        sentences, models = list(self.sentences), json_records(self.models)
        return {"n_components": self.n_components, "sentences": sentences, "number_of_groups": number, "models": models}


def choose(selection: Selection, posterior: BayesianGaussianMixture | None = None) -> Choice:
    """Choose the model that describes the groups that stand apart.

    Of models of one covariance type it is that with the least BIC; of models too close to tell apart, the one with the fewest components.
    Of several types, that with the least BIC among those of which every component is a group of its own, and the same groups as those
    of the model with the least BIC of all, whose components may be more: where a few round components cost less than a long one, BIC
    takes them. With a posterior of the number of components its most probable number of groups is taken instead, if its draws
    hold or more than half of them have that number.

    Parameters
    ----------
    selection : Selection
    posterior : BayesianGaussianMixture, optional
        Fitted to the same rows with ``n_components="auto"``.

    Returns
    -------
    Choice

    Notes
    -----
    Models whose BIC is less than 2 above the least count as ties (Kass and Raftery 1995, JASA 90, 773-795, section 3.2). Groups are the
    same where the adjusted Rand index is at least 0.8 (Hubert and Arabie 1985, Journal of Classification 2, 193-218).

    Examples
    --------
    >>> import bayesgmm as bg
    >>> found = bg.select(bg.datasets.load_faithful(), [1, 2, 3], random_state=1, progressbar=False)
    >>> choice = choose(found)
    >>> choice.n_components, choice.em.covariance_type
    (2, 'full')
    """
    fewest: Any = selection.ties("bic")["n_components"].astype(int).idxmin()
    if posterior is None and selection.table["covariance_type"].nunique() == 1:
        return _chosen(selection, fewest)
    number = None if posterior is None else NumberOfGroups.of(posterior)
    if posterior is None or number is None or not number.is_usable:
        members, own = selection.groups(fewest), _labels(selection, fewest)
        n, labels, instead = int(members.max()) + 1, np.where(own < 0, -1, members[own]), fewest
    else:
        n, labels, instead = number.most_probable, posterior.rows_in_groups(), _with_as_many(selection, posterior, fewest)
        n_rows = len(_labels(selection, fewest))
        if len(labels) != n_rows:
            raise InvalidParameterError(
                f"The posterior was fitted to {len(labels)} rows and the selection to {n_rows}: fit both to one table."
            )
    table = selection.ranking("bic")
    of_groups = (row for row in table.index[table["n_components"] == n] if _are_groups(selection, row, labels))
    matched = next(of_groups, None)
    row = instead if matched is None else matched
    found = _chosen(selection, row, number, _reasons(selection, fewest, row, n, as_groups=matched is not None))
    return replace(found, n_groups=n, is_best=row == fewest)


_SAME_GROUPS = 0.8
_WORTH_SAYING, _ROUGH = 0.05, 0.3


def _chosen(selection: Selection, row: int, number: NumberOfGroups | None = None, reasons: Iterable[str] = ()) -> Choice:
    kinds = selection.table["covariance_type"]
    place = int((kinds.loc[:row] == kinds[row]).sum()) - 1
    return Choice(selection.of_type(kinds[row]), place, number, types=tuple(kinds.unique()), reasons=tuple(reasons))


def _labels(selection: Selection, row: int) -> IntArray:
    model = selection.models[row]
    assert model is not None
    return model.predict(selection.X)


def _are_groups(selection: Selection, row: int, labels: IntArray) -> bool:
    """Whether every component of a model is a group of its own, and these are the groups of the labels."""
    apart = len(np.unique(selection.groups(row))) == int(selection.table["n_components"][row])
    return apart and adjusted_rand_score(labels, _labels(selection, row)) >= _SAME_GROUPS


def _with_as_many(selection: Selection, posterior: BayesianGaussianMixture, otherwise: int) -> int:
    """Return the row of the model with the posterior's components, if EM found a proper maximum of it."""
    table = selection.ranking("bic")
    alike = (table["n_components"] == posterior.n_components_) & (table["covariance_type"] == posterior.family_.name)
    return int(table.index[alike][0]) if alike.any() else otherwise


def _reasons(selection: Selection, best: int, row: int, n_groups: int, *, as_groups: bool) -> Iterator[str]:
    """Say how the shape came about, and what is described in place of groups where these are not normal."""
    table, kinds = selection.table, selection.table["covariance_type"].unique()
    of_best: Any = table.loc[best]
    of_row: Any = table.loc[row]
    among = f" and {counted(len(kinds), 'covariance type')}" if len(kinds) > 1 else ""
    numbers = sorted(int(n) for n in table["n_components"].unique())
    components = counted(int(of_best["n_components"]), "component")
    yield (
        f'Of {_reach(numbers)} components{among}, EM takes {components} of type "{of_best["covariance_type"]}" by BIC'
        + (f", which are {counted(len(np.unique(selection.groups(best))), 'group')}." if of_best["n_components"] > 1 else ".")
    )
    groups = f"the {n_groups} groups" if n_groups > 1 else "the one group"
    if as_groups:
        if row != best:
            each = "each of " if n_groups > 1 else ""
            kind = f'type "{of_row["covariance_type"]}"'
            yield f"Of models with one component for {each}{groups}, BIC takes {kind}, described here."
        return
    K = int(of_row["n_components"])
    together = ", some of which are one group together" if n_groups < K else ", which divide the rows otherwise"
    yield f"No model with one component a group finds {groups}: what follows describes {counted(K, 'component')}{together}."


def _reach(numbers: list[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if numbers == list(range(numbers[0], numbers[-1] + 1)) else listed(numbers)


def _sentences(choice: Choice) -> Iterator[str]:
    K, ranking = choice.n_components, choice.selection.ranking("bic")
    best, own = int(ranking["n_components"].iloc[0]), float(choice.selection.table["bic"].iloc[choice.row])
    others = ranking[ranking["n_components"] != K]
    gaps = [f"{row['bic'] - own:.1f} for {row['n_components']}" for _, row in others.iterrows()]
    if choice.number is not None:
        yield from choice.number.sentences
        yield from () if choice.number.is_usable else ("So the number is taken from EM.",)
    yield from choice.reasons
    near = own - ranking["bic"].iloc[0] < BARE_MENTION
    if best != K and near and best < K:
        yield f"BIC is least for {best} components; {K} come within 2 of it, too little to tell them apart."
    elif best != K and near:
        yield f"BIC is least for {best} groups, but {K} come within 2 of it, too little to tell them apart: the fewer are taken."
    elif best != K:
        yield f"With this covariance type BIC is least for {counted(best, 'component')}."
    elif gaps:
        noun = "groups" if choice.n_groups in (None, K) else "components"
        yield f"Of {_reach(choice.numbers)} {noun}, BIC takes {K}; it is higher by {listed(gaps[:3])}."
    yield f"ICL, which counts groups that stand apart, takes {'the same' if choice.by('icl') == K else choice.by('icl')}."
    if choice.has_posteriors:
        yield from _evidence(choice)
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


def _evidence(choice: Choice) -> Iterator[str]:
    """How probable the numbers of groups are by the evidence of their models."""
    table = choice.selection.table.dropna(subset="probability").sort_values("probability", ascending=False, kind="stable")
    worth = table[table["probability"] >= _WORTH_SAYING]
    if len(table) > 1:
        said = [f"{row['n_components']} ({row['probability']:.0%})" for _, row in worth.iterrows()]
        rough = (
            " Where the errors of the evidence are large, that is rough." if (worth["log_evidence_error"] > _ROUGH).any() else ""
        )
        yield f"By their evidence the numbers of components are as probable as this: {listed(said)}.{rough}"


def _unsettled(choice: Choice) -> str:
    """A word on draws that failed their checks: what they predict is rough, whatever its standard error."""
    numbers = choice.unsettled
    if not numbers:
        return ""
    posterior = "posterior" if len(numbers) == 1 else "posteriors"
    return f" The {posterior} with {listed(numbers)} did not pass the checks of the draws, so this comparison is rough."
