"""The value that `select` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesgmm.estimators import GaussianMixture
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.resolution import Repeats, repeats
from bayesgmm.selection.criteria import repeated
from bayesgmm.typing import ArrayLike, FloatArray
from bayesgmm.validation import check_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesgmm.estimators import BayesianGaussianMixture

__all__ = ["CRITERIA", "NAMES", "Selection"]

NAMES = {"aic": "AIC", "bic": "BIC", "icl": "ICL", "icl_entropy": "ICL with soft entropy"}
CRITERIA = tuple(NAMES)

BARE_MENTION = 2.0
"""Kass and Raftery (1995), JASA 90, 773-795, section 3.2: twice the log Bayes factor below 2 is not worth more than a bare mention."""
STANDARD_ERRORS = 2.0
SMALL_ELPD = 4.0
"""Differences of elpd below this are small, and their standard errors too short (Sivula, Magnusson, Matamoros and Vehtari 2020,
arXiv:2008.10296)."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Many fitted models and their criteria; ``print`` it for the result in words.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a model. For all criteria **smaller is better** (so say ``table.attrs["direction"]``), with N rows, p parameters and
        responsibilities r:

        - ``covariance_type``, ``n_components``, ``log_likelihood`` (log L), ``n_parameters`` (p);
        - ``aic``: -2 log L + 2 p (Akaike 1974);
        - ``bic``: -2 log L + p log N (Schwarz 1978);
        - ``icl``: BIC - 2 sum_i log max_k r_ik, every row put into its most probable group (Biernacki, Celeux and Govaert 2000);
        - ``icl_entropy``: BIC - 2 sum_ik r_ik log r_ik, rows shared out between groups (McLachlan and Peel 2000, section 6.10.3).
          The two agree where no row is in doubt, and both then equal BIC; this one is never below ``icl``;
        - ``effective_components``: exp(-sum_k w_k log w_k) of the weights w, the number of components of equal weight that would be as
          diverse (Hill 1973);
        - ``converged``, ``status`` and a sentence, ``message``; ``n_starts`` and ``n_starts_at_best``, how many independent starts of EM
          there were and how many of these ended at the maximum reported: where few did, a better one may have been missed. None of them
          did where the fit came from that of a neighbouring model.

        With ``posterior``, also the following, NaN for models without one; here **larger is better**:

        - ``elpd`` and ``elpd_se``: log predictive density of rows left out one at a time, and its standard error
          (:func:`bayesgmm.criticism.loo`);
        - ``elpd_difference`` to the best model, zero or less, and ``elpd_difference_se``, from the rows' differences;
        - ``high_k``: rows whose Pareto k says that their part of ``elpd`` cannot be relied on;
        - ``occupied``: posterior mean of the number of components that hold at least one row;
        - ``posterior_verdict``: whether the draws can be relied on.

        Criteria of a model that could not be fitted are NaN, its status is "failed" and its message says why.
    models : tuple of GaussianMixture or None
        The fitted models in the table's order.
    X : array-like
        The data.
    sample_weight : array-like or None
        How often each row counts.
    posteriors : tuple of BayesianGaussianMixture or None
        Those of the models, in the table's order; empty unless asked for.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> found = bg.select(bg.datasets.load_faithful(), [1, 2], "full", n_init=2, progressbar=False, random_state=1)
    >>> found.table[["n_components", "n_parameters", "bic"]].round(1).values.tolist()
    [[1, 5, 2607.6], [2, 11, 2322.2]]
    """

    table: pd.DataFrame
    models: tuple[GaussianMixture | None, ...] = field(repr=False)
    X: ArrayLike = field(repr=False)
    sample_weight: ArrayLike | None = field(repr=False, default=None)
    posteriors: tuple[BayesianGaussianMixture | None, ...] = field(repr=False, default=())

    def ranking(self, criterion: str = "bic") -> pd.DataFrame:
        """Return the rows of the table that may be chosen, the best first.

        Models with a component that collapsed or rests on too few rows, or with a covariance that only its floor holds up, have a high
        likelihood that means nothing: they are left out unless there are no others.

        Parameters
        ----------
        criterion : {"aic", "bic", "icl", "icl_entropy"}
        """
        if criterion not in CRITERIA:
            raise InvalidParameterError(f"criterion must be one of {', '.join(map(repr, CRITERIA))}, got {criterion!r}")
        usable = self.table["status"].isin(["converged", "max_iter"])
        if not usable.any():
            usable = self.table["status"] != "failed"
        rows = self.table[usable]
        # One model under two names differs by rounding: the table's order decides then.
        return rows.loc[rows[criterion].round(6).sort_values(kind="stable").index]

    def best(self, criterion: str = "bic") -> GaussianMixture:
        """Return the fitted model with the smallest criterion.

        Parameters
        ----------
        criterion : {"aic", "bic", "icl", "icl_entropy"}

        Returns
        -------
        GaussianMixture
        """
        return self._model(self.ranking(criterion).index[0])

    def ties(self, criterion: str = "bic") -> pd.DataFrame:
        """Return the best model and those that the data cannot tell from it by this criterion.

        Parameters
        ----------
        criterion : {"aic", "bic", "icl", "icl_entropy"}
            For BIC and both ICL, models less than 2 above the best are ties: the evidence is "not worth more than a bare mention" (Kass
            and Raftery 1995). AIC estimates a log-likelihood, a sum over rows: models are ties up to two standard errors of their
            difference, from the spread of the rows' differences (Vuong 1989, Econometrica 57, 307-333).

        Returns
        -------
        pandas.DataFrame
            Index and first columns as in ``table``, then the criterion, ``difference`` to the best and ``noise``, the difference up to
            which models are ties. The best comes first. A model that is another one under a second name (one component,
            "full" and "tied") is left out.
        """
        ranking = self.ranking(criterion)
        out = ranking[["covariance_type", "n_components", criterion]].copy()
        out.attrs = {}
        out["difference"] = ranking[criterion] - ranking[criterion].iloc[0]
        out["noise"] = self._noise(ranking.index) if criterion == "aic" else BARE_MENTION
        tied = out["difference"] < out["noise"]
        tied.iloc[0] = True
        return out[tied & ~repeated(ranking)]

    def _noise(self, order: pd.Index) -> list[float]:
        """Two standard errors of the difference in ``-2 log L`` between the first model and each."""
        best = self._model(order[0]).score_samples(self.X)
        given = check_weights(self.sample_weight, len(best))
        weight = np.ones(len(best)) if given is None else given
        return [2 * STANDARD_ERRORS * _error_of_sum(best - self._model(i).score_samples(self.X), weight) for i in order]

    def _model(self, row: Any) -> GaussianMixture:
        model = self.models[row]
        assert model is not None
        return model

    def plot(self, criterion: str = "bic", *, ax: Axes | None = None) -> Axes:
        """Draw the criterion against the number of components, a line for each covariance type; the best and its ties are ringed.

        Parameters
        ----------
        criterion : {"aic", "bic", "icl", "icl_entropy"}
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        from bayesgmm.selection import pictures

        return pictures.plot_criterion(self, criterion, ax)

    def repeats(self) -> tuple[Repeats, ...]:
        """Return the columns whose values repeat so much that the choice may rest on ties (:func:`bayesgmm.resolution.repeats`)."""
        model = next(model for model in self.models if model is not None)
        return repeats(model.rows_.values, model.feature_names_, model.rows_.weights)

    def __str__(self) -> str:
        from bayesgmm.selection import words

        return words.describe(self)

    def __repr__(self) -> str:
        return f"<Selection among {len(self.table)} models>\n{self}"


def predicts_as_well(rows: pd.DataFrame) -> pd.Series:
    """Whether the posterior of each of these rows of a table predicts about as well as the best one: within 4, or two standard errors."""
    behind = -rows["elpd_difference"]
    return (behind <= SMALL_ELPD) | (behind <= STANDARD_ERRORS * rows["elpd_difference_se"])


def _error_of_sum(values: FloatArray, weight: FloatArray) -> float:
    """Return the standard error of ``sum_i w_i v_i`` where row i was seen w_i times."""
    n = weight.sum()
    variance = weight @ (values - weight @ values / n) ** 2 / (n - 1)
    return float(np.sqrt(n * variance))
