"""What a selection says, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesgmm.resolution import advice_on_repeats
from bayesgmm.selection.criteria import repeated
from bayesgmm.selection.value import predicts_as_well

if TYPE_CHECKING:
    from bayesgmm.selection.value import Selection

__all__ = ["describe", "model_name"]

_MOST_LISTED = 5
_FAULTS = {
    "failed": "could not be fitted",
    "collapsed": "collapsed onto few rows and cannot be chosen",
    "spurious": "ended with too few rows in a component and cannot be chosen",
    "max_iter": "had not converged at max_iter",
}
_SHORT = {"aic": "AIC", "bic": "BIC", "icl": "ICL", "icl_entropy": "soft ICL"}


def describe(selection: Selection) -> str:
    """Return the sentences: the best model, its ties, what other criteria say, what could not be used."""
    parts = [
        _best(selection),
        _ties(selection),
        _agreement(selection),
        _posterior(selection),
        _left_out(selection),
        _repeats(selection),
    ]
    return "\n".join(part for part in parts if part)


def model_name(row: Any) -> str:
    """Return ``3 components, "tied"``."""
    K = row["n_components"]
    return f'{K} component{"" if K == 1 else "s"}, "{row["covariance_type"]}"'


def _best(selection: Selection) -> str:
    row = selection.ranking("bic").iloc[0]
    starts = f"{row['n_starts_at_best']} of {row['n_starts']} starts of EM found this maximum" if row["n_starts"] > 1 else ""
    doubt = "" if row["status"] == "converged" else f" But: {row['message']}."
    return (
        f"Best of {len(selection.table)} models by BIC (smaller is better): {model_name(row)}, BIC {row['bic']:.1f}"
        f"{f' ({starts})' if starts else ''}.{doubt}"
    )


def _ties(selection: Selection) -> str:
    others = selection.ties("bic").iloc[1:]
    if others.empty:
        ranking = selection.ranking("bic")
        runner_up = ranking.loc[~repeated(ranking), "bic"]
        gap = f"the next is {runner_up.iloc[1] - runner_up.iloc[0]:.1f} above" if len(runner_up) > 1 else "there is no other"
        return f"No other model comes within 2 of its BIC, which would be a tie: {gap}."
    listed = _listed([f"{model_name(row)} ({row['difference']:+.1f})" for _, row in others.iterrows()])
    return f"Within 2 of its BIC, too little to tell them apart: {listed}."


def _agreement(selection: Selection) -> str:
    best = {name: selection.ranking(criterion).iloc[0] for criterion, name in _SHORT.items()}
    if len({model_name(row) for row in best.values()}) == 1:
        return "All criteria (AIC, BIC and both kinds of ICL) take this model."
    said = "; ".join(f"{name} {model_name(row)}" for name, row in best.items())
    numbers = {int(row["n_components"]) for row in best.values()}
    if len(numbers) == 1:
        return f"All criteria take {numbers.pop()} component(s), but not the same shape: {said}."
    return (
        f"The criteria disagree on the number of components: {said}. AIC looks for the best prediction and tends to take more; "
        "BIC counts the components that the density needs; ICL counts groups that stand apart."
    )


def _posterior(selection: Selection) -> str:
    if not selection.posteriors:
        return ""
    rows = selection.table.dropna(subset="elpd").sort_values("elpd", ascending=False, kind="stable")
    if rows.empty:
        return "No posterior could be sampled."
    best = rows.iloc[0]
    text = (
        f"The posterior that predicts rows left out best: {model_name(best)}, elpd {best['elpd']:.1f} (larger is better), "
        f"with {best['occupied']:.1f} components occupied."
    )
    near = rows.iloc[1:][predicts_as_well(rows.iloc[1:])]
    if len(near):
        listed = _listed([f"{model_name(row)} ({row['elpd_difference']:.1f})" for _, row in near.iterrows()])
        text += f" Too close to it to tell apart (within 4, or two standard errors): {listed}."
    doubtful = rows[rows["high_k"] > 0]
    if len(doubtful):
        text += f" Pareto k is high in: {_listed([model_name(row) for _, row in doubtful.iterrows()])}; these numbers are rough."
    return text


def _left_out(selection: Selection) -> str:
    table = selection.table
    sentences = []
    for status, what in _FAULTS.items():
        rows = table[table["status"] == status]
        if len(rows):
            listed = _listed([model_name(row) for _, row in rows.iterrows()])
            sentences.append(f"{len(rows)} model{'' if len(rows) == 1 else 's'} {what}: {listed}.")
    return "\n".join(sentences)


def _repeats(selection: Selection) -> str:
    """Name the columns of which a mixture may make groups that are nothing but equal values."""
    advice = advice_on_repeats(selection.repeats())
    return f"{advice}." if advice else ""


def _listed(items: list[str]) -> str:
    more = f"; and {len(items) - _MOST_LISTED} more" if len(items) > _MOST_LISTED else ""
    return "; ".join(items[:_MOST_LISTED]) + more
