"""The function that makes a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesgmm.comparison import compare
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import readable
from bayesgmm.report.answer import answers
from bayesgmm.report.belief import beliefs, sensitivity
from bayesgmm.report.choice import Choice, choose
from bayesgmm.report.facts import Origin, facts_of
from bayesgmm.report.known import score_labels
from bayesgmm.report.page import Material, page
from bayesgmm.report.recipe import recipe
from bayesgmm.report.value import Report
from bayesgmm.report.words import headline

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
    from bayesgmm.selection import Selection
    from bayesgmm.typing import ArrayLike

__all__ = ["build_report"]


def build_report(
    em: GaussianMixture,
    posterior: BayesianGaussianMixture,
    X: Any = None,
    *,
    name: str,
    source: str | None = None,
    labels: ArrayLike | pd.Series | None = None,
    selection: Selection | None = None,
    command: str | None = None,
    left_out: int = 0,
) -> Report:
    """Compare two fits and write the report of them.

    Parameters
    ----------
    em : GaussianMixture
        Fitted.
    posterior : BayesianGaussianMixture
        Fitted to the same data with the same settings.
    X : array-like or DataFrame of shape (N, D), optional
        The data, in which values may be missing (NaN); those the fits were made from by default.
    name : str
        What to call the data.
    source : str, optional
        Where they came from, such as a file's name.
    labels : array-like of shape (N,) or Series, optional
        Known labels to score the groups against, in the order of the rows; the name of a Series is shown. Some may be missing.
    selection : Selection, optional
        The models among which this one was chosen: what ``select(..., posterior=True)`` returned, of one covariance type.
    command : str, optional
        The shell command that makes this report.
    left_out : int
        How many rows of the source are not among X.

    Returns
    -------
    Report

    Raises
    ------
    InvalidParameterError
        If the fits cannot be compared (see `bayesgmm.comparison.compare`), or the selection chose another number of groups.
    InvalidDataError
        If labels are not one a row, or too many different ones.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> em = bg.GaussianMixture(2, random_state=0).fit(X)
    >>> settings = {"draws": 200, "tune": 200, "random_state": 0, "progressbar": False}
    >>> posterior = bg.BayesianGaussianMixture(2, init=em, **settings).fit(X)
    >>> report = build_report(em, posterior, X, name="Old Faithful")
    >>> print(report.headline[0])
    Old Faithful: 272 rows, 2 columns (eruptions, waiting); 2 groups, full covariance.
    """
    comparison = compare(em, posterior, X)
    choice = None if selection is None else _choice(selection, comparison.em_params.n_components)
    known = None if labels is None else score_labels(labels, comparison)
    used = comparison.groups
    origin = Origin(readable(str(name)), None if source is None else readable(str(source)), command, int(left_out))
    facts = facts_of(em, posterior, comparison, origin, known)
    moved, reason = sensitivity(posterior)
    material = Material(
        facts=facts,
        comparison=comparison,
        answers=answers(comparison, used, choice, moved),
        used=used,
        choice=choice,
        known=known,
        beliefs=beliefs(posterior.priors_, comparison.features, em.family_.name),
        sensitivity=moved,
        insensitive=reason,
        recipe=recipe(em, posterior, {**facts, "source": source}, choice),
    )
    return Report(
        name=origin.name,
        headline=headline(origin.name, facts, comparison, choice),
        html=page(material),
        summary={**facts, **comparison.summary(), **material.summary()},
        comparison=comparison,
        datatree=posterior.datatree_,
    )


def _choice(selection: Selection, n_components: int) -> Choice:
    choice = choose(selection)
    if choice.n_components != n_components:
        raise InvalidParameterError(
            f"The selection takes {choice.n_components} components and the fits have {n_components}: "
            "give the fits of choose(selection), or leave out selection."
        )
    return choice
