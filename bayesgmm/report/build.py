"""The function that makes a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesgmm.comparison import compare
from bayesgmm.report.facts import facts_of
from bayesgmm.report.page import page
from bayesgmm.report.value import Report
from bayesgmm.report.words import headline

if TYPE_CHECKING:
    from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture

__all__ = ["build_report"]


def build_report(
    em: GaussianMixture, posterior: BayesianGaussianMixture, X: Any = None, *, name: str, source: str | None = None
) -> Report:
    """Compare two fits and write the report of them.

    Parameters
    ----------
    em : GaussianMixture
        Fitted.
    posterior : BayesianGaussianMixture
        Fitted to the same data with the same settings.
    X : array-like or DataFrame of shape (N, D), optional
        The data; those the fits were made from by default.
    name : str
        What to call the data.
    source : str, optional
        Where they came from, such as a file's name.

    Returns
    -------
    Report

    Raises
    ------
    InvalidParameterError
        If the fits cannot be compared (see `bayesgmm.comparison.compare`).

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
    facts = facts_of(em, posterior, comparison, str(name), None if source is None else str(source))
    return Report(
        name=str(name),
        headline=headline(str(name), facts, comparison),
        html=page(facts, comparison),
        summary={**facts, **comparison.summary()},
        comparison=comparison,
        datatree=posterior.datatree_,
    )
