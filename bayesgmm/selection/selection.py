"""What `select` returns: many models, their criteria, and what these say in words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import entr

from bayesgmm.estimators import GaussianMixture
from bayesgmm.estimators.criteria import aic, bic, log_certainty
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.resolution import Repeats, advice_on_repeats, repeats
from bayesgmm.text import counted, listed
from bayesgmm.typing import ArrayLike, FloatArray, IntArray
from bayesgmm.validation import check_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesgmm.estimators import BayesianGaussianMixture

__all__ = ["CRITERIA", "Selection", "effective_components", "failed_row", "model_row", "predicts_as_well", "soft_entropy"]

_NAMES = {"aic": "AIC", "bic": "BIC", "icl": "ICL", "icl_entropy": "soft ICL"}
CRITERIA = tuple(_NAMES)
_FAULTS = {
    "failed": "could not be fitted",
    "collapsed": "collapsed onto few rows and cannot be chosen",
    "spurious": "ended with too few rows in a component and cannot be chosen",
    "max_iter": "had not converged at max_iter",
}
_MOST_LISTED, _WORTH_SAYING = 5, 0.05

BARE_MENTION = 2.0
"""Kass and Raftery (1995), JASA 90, 773-795, section 3.2: twice the log Bayes factor below 2 is not worth more than a bare mention."""
STANDARD_ERRORS = 2.0
SMALL_ELPD = 4.0
"""Differences of elpd below this are small, and their standard errors too short (Sivula, Magnusson, Matamoros and Vehtari 2020,
arXiv:2008.10296)."""

SAME_FIT = 1e-6  # relative: two fits as close in log-likelihood, with equal counts, are one model under two names


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
        - ``log_evidence`` and ``log_evidence_error``: log-density of the rows under the prior, all parameters integrated out
          (:meth:`bayesgmm.BayesianGaussianMixture.log_evidence`);
        - ``probability``: of each of these models, from its evidence and the prior of the number of components (``priors.number``), all
          covariance types being as probable beforehand; NaN if the evidence of one is not known;
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
        return self._fit(self.ranking(criterion).index[0])

    def of_type(self, covariance_type: str) -> Selection:
        """Return the models of one covariance type.

        Parameters
        ----------
        covariance_type : str
            As in ``table``.

        Returns
        -------
        Selection
        """
        at = np.flatnonzero(self.table["covariance_type"] == covariance_type)
        if not len(at):
            raise InvalidParameterError(
                f"no model is {covariance_type!r}: there are {', '.join(self.table['covariance_type'].unique())}"
            )
        table = self.table.iloc[at].reset_index(drop=True)
        posteriors = tuple(self.posteriors[i] for i in at) if self.posteriors else ()
        return replace(self, table=table, models=tuple(self.models[i] for i in at), posteriors=posteriors)

    def groups(self, row: int | None = None) -> IntArray:
        """Return which group each component of a model is in (``groups_`` of `GaussianMixture`): how many groups stand apart.

        Parameters
        ----------
        row : int, optional
            Of the table; by default that of the best model by BIC.

        Returns
        -------
        int array of shape (K,)
        """
        return self._fit(self.ranking().index[0] if row is None else row).groups_

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
        return out[tied & ~_repeated(ranking)]

    def _noise(self, order: pd.Index) -> list[float]:
        """Two standard errors of the difference in ``-2 log L`` between the first model and each."""
        best = self._fit(order[0]).score_samples(self.X)
        given = check_weights(self.sample_weight, len(best))
        weight = np.ones(len(best)) if given is None else given
        return [2 * STANDARD_ERRORS * _error_of_sum(best - self._fit(i).score_samples(self.X), weight) for i in order]

    def _fit(self, row: int) -> GaussianMixture:
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
        from bayesgmm.plots.selection import plot_criterion

        usable, ties = self.ranking(criterion).index, self.ties(criterion).index
        return plot_criterion(self.table, criterion, usable=usable, ties=ties, name=_NAMES[criterion], ax=ax)

    def repeats(self) -> tuple[Repeats, ...]:
        """Return the columns whose values repeat so much that the choice may rest on ties (:func:`bayesgmm.resolution.repeats`)."""
        model = next(model for model in self.models if model is not None)
        return repeats(model.rows_.values, model.feature_names_, model.rows_.weights)

    def __str__(self) -> str:
        parts = (_best, _ties, _agreement, _prediction, _left_out, _repeats)
        return "\n".join(text for text in (part(self) for part in parts) if text)

    def __repr__(self) -> str:
        return f"<Selection among {len(self.table)} models>\n{self}"


def model_row(model: GaussianMixture) -> dict[str, Any]:
    """Return the row of the table for a fitted model."""
    # What the model's own methods would say of the training data, from one look at these and without their labels.
    r, weight = model.predictor_.responsibilities(model.rows_.in_memory().chunk), model.rows_.weights
    least = bic(model.log_likelihood_, model.n_parameters_, model.rows_.total)
    return {
        "covariance_type": model.covariance_type,
        "n_components": int(model.n_components),
        "log_likelihood": model.log_likelihood_,
        "n_parameters": model.n_parameters_,
        "aic": aic(model.log_likelihood_, model.n_parameters_),
        "bic": least,
        "icl": least - 2 * log_certainty(r, weight),
        "icl_entropy": least + 2 * soft_entropy(r, weight),
        "effective_components": effective_components(model.params_.weights),
        "converged": bool(model.converged_),
        "n_starts": model.n_starts_,
        "n_starts_at_best": model.n_starts_at_best_,
        "status": model.status_,
        "message": model.message_,
    }


def failed_row(covariance_type: str, n_components: int, error: Exception) -> dict[str, Any]:
    """Return what there is of the row of the table for a model that could not be fitted."""
    return {
        "covariance_type": covariance_type,
        "n_components": n_components,
        "converged": False,
        "status": "failed",
        "message": f"Could not be fitted: {error}",
    }


def soft_entropy(responsibilities: FloatArray, sample_weight: ArrayLike | None = None) -> float:
    """Return ``-sum_i sum_k r_ik log r_ik`` in nats: 0 where every row's group is certain, at most ``N log K``.

    With weights (N,), row i counts so many times.

    Celeux and Soromenho (1996), Journal of Classification 13, 195-212.

    Examples
    --------
    >>> import numpy as np
    >>> round(soft_entropy(np.array([[0.5, 0.5], [1.0, 0.0]])), 4)
    0.6931
    """
    rows = entr(responsibilities).sum(axis=1)
    weight = check_weights(sample_weight, len(rows))
    return float(rows.sum() if weight is None else weight @ rows)


def effective_components(weights: FloatArray) -> float:
    """Return ``exp(-sum_k w_k log w_k)``: K when all K weights are equal, close to one when one component has nearly everything.

    Hill (1973), Ecology 54, 427-432: the diversity of order one.
    """
    return float(np.exp(entr(weights).sum()))


def _repeated(rows: pd.DataFrame) -> pd.Series:
    """Say which rows have the numbers of an earlier one: the same K, parameters and log-likelihood, so the same model."""
    numbers = rows[["n_components", "n_parameters", "log_likelihood"]].to_numpy(float)
    same = np.abs(numbers[:, None] - numbers) <= np.array([0.0, 0.0, SAME_FIT]) * (1 + np.abs(numbers))
    return pd.Series(np.tril(same.all(-1), -1).any(1), index=rows.index)


def predicts_as_well(rows: pd.DataFrame) -> pd.Series:
    """Whether the posterior of each of these rows of a table predicts about as well as the best one: within 4, or two standard errors."""
    behind = -rows["elpd_difference"]
    return (behind <= SMALL_ELPD) | (behind <= STANDARD_ERRORS * rows["elpd_difference_se"])


def _error_of_sum(values: FloatArray, weight: FloatArray) -> float:
    """Return the standard error of ``sum_i w_i v_i`` where row i was seen w_i times."""
    n = weight.sum()
    variance = weight @ (values - weight @ values / n) ** 2 / (n - 1)
    return float(np.sqrt(n * variance))


def _model(row: pd.Series) -> str:
    """Return ``3 components, "tied"``."""
    return f'{counted(int(row["n_components"]), "component")}, "{row["covariance_type"]}"'


def _models(rows: pd.DataFrame, beside: str = "", form: str = "") -> str:
    """The models of a table's rows in a list, the first few by name, perhaps with a number of each in brackets."""
    said = [_model(row) + (f" ({row[beside]:{form}})" if beside else "") for _, row in rows.iterrows()]
    return listed(said, _MOST_LISTED, separator="; ", conjunction="; ")


def _best(selection: Selection) -> str:
    row = selection.ranking("bic").iloc[0]
    starts = f" ({row['n_starts_at_best']} of {row['n_starts']} starts of EM found this maximum)" if row["n_starts"] > 1 else ""
    doubt = "" if row["status"] == "converged" else f" But: {row['message']}."
    best = f"Best of {counted(len(selection.table), 'model')} by BIC (smaller is better)"
    n = int(selection.groups().max()) + 1
    groups = f" {counted(n, 'group')} {'stands' if n == 1 else 'stand'} apart." if n < row["n_components"] else ""
    return f"{best}: {_model(row)}, BIC {row['bic']:.1f}{starts}.{groups}{doubt}"


def _ties(selection: Selection) -> str:
    others = selection.ties("bic").iloc[1:]
    if len(others):
        return f"Within 2 of its BIC, too little to tell them apart: {_models(others, 'difference', '+.1f')}."
    ranking = selection.ranking("bic")
    bic = ranking.loc[~_repeated(ranking), "bic"]
    gap = f"the next is {bic.iloc[1] - bic.iloc[0]:.1f} above" if len(bic) > 1 else "there is no other"
    return f"No other model comes within 2 of its BIC, which would be a tie: {gap}."


def _agreement(selection: Selection) -> str:
    best = {name: selection.ranking(criterion).iloc[0] for criterion, name in _NAMES.items()}
    if len({_model(row) for row in best.values()}) == 1:
        return "All criteria (AIC, BIC and both kinds of ICL) take this model."
    said = "; ".join(f"{name} {_model(row)}" for name, row in best.items())
    numbers = {int(row["n_components"]) for row in best.values()}
    if len(numbers) == 1:
        return f"All criteria take {counted(numbers.pop(), 'component')}, but not the same shape: {said}."
    return (
        f"The criteria disagree on the number of components: {said}. AIC looks for the best prediction and tends to take more; "
        "BIC counts the components that the density needs; ICL counts groups that stand apart."
    )


def _prediction(selection: Selection) -> str:
    if not selection.posteriors:
        return ""
    rows = selection.table.dropna(subset="elpd").sort_values("elpd", ascending=False, kind="stable")
    if rows.empty:
        return "No posterior could be sampled."
    best, others = rows.iloc[0], rows.iloc[1:]
    text = (
        f"The posterior that predicts rows left out best: {_model(best)}, elpd {best['elpd']:.1f} (larger is better), "
        f"with {best['occupied']:.1f} components occupied."
    )
    sure = rows.dropna(subset="probability").sort_values("probability", ascending=False, kind="stable")
    if len(sure):
        said = _models(sure[sure["probability"] >= _WORTH_SAYING].head(_MOST_LISTED), "probability", ".0%")
        text += f" By their evidence the most probable of these: {said}."
    near, rough = others[predicts_as_well(others)], rows[rows["high_k"] > 0]
    if len(near):
        text += f" Too close to it to tell apart (within 4, or two standard errors): {_models(near, 'elpd_difference', '.1f')}."
    return text + (f" Pareto k is high in: {_models(rough)}; these numbers are rough." if len(rough) else "")


def _left_out(selection: Selection) -> str:
    table = selection.table
    rows = {what: table[table["status"] == status] for status, what in _FAULTS.items()}
    return "\n".join(f"{counted(len(some), 'model')} {what}: {_models(some)}." for what, some in rows.items() if len(some))


def _repeats(selection: Selection) -> str:
    """Name the columns of which a mixture may make groups that are nothing but equal values."""
    advice = advice_on_repeats(selection.repeats())
    return f"{advice}." if advice else ""
