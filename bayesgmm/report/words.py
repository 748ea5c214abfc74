"""Numbers and facts as a person would say them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bayesgmm.comparison import Comparison
    from bayesgmm.report.choice import Choice

__all__ = ["SAMPLERS", "SHAPES", "counted", "headline", "number", "percent", "some", "within"]

SHAPES = {
    "full": "each group has a shape and direction of its own",
    "tied": "all groups share one shape",
    "diag": "each group has its own spread in each column, without correlations",
    "spherical": "each group is round",
}


SAMPLERS = {
    "nuts": "by NUTS",
    "gibbs": "by Gibbs sampling",
    "laplace": "by Laplace's approximation, whose draws are weighted to the posterior",
    "mcmc": "by Markov chains",
}
"""How draws came about, by ``attrs["inference"]`` of a posterior."""


_ENDINGS = {
    "converged": "converged",
    "collapsed": "collapsed onto few rows or a plane",
    "spurious": "ended with too few rows in a group",
}


def number(value: Any) -> str:
    """A number with four significant digits and thousands set apart; a count as it is, and a dash for what is not a number."""
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int | np.integer) and -1e9 < value < 1e9:
        return f"{value:,}".replace("-", "−")
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    text = f"{value:,.{max(0, 3 - size)}f}" if -4 <= size < 9 else f"{value:.3e}"
    if size < 0 and "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def within(value: Any, lower: Any, upper: Any) -> str:
    """A number beside its interval, with no more decimals than the ends of that have: a mean of 8e-06 between −0.25 and 0.25 is 0."""
    decimals = [len(end.partition(".")[2]) for end in map(number, (lower, upper)) if "e" not in end and end != "–"]
    own = number(value)
    if len(decimals) < 2 or own == "–" or ("e" not in own and len(own.partition(".")[2]) <= max(decimals)):
        return own
    text = f"{value:,.{max(decimals)}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else "0"


def percent(value: Any) -> str:
    """A share in whole percent; near nought and one with a digit more, so that almost is not written as quite."""
    if value is None or not math.isfinite(value):
        return "–"
    if 0 < value < 0.0005:
        return "<0.1%"
    if 0.9995 < value < 1:
        return ">99.9%"
    return f"{value:.0%}" if value in (0, 1) or 0.01 <= value <= 0.99 else f"{value:.1%}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def some(names: list[str], most: int = 6) -> str:
    """The first names of a list, and how many more there are."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


def headline(name: str, facts: dict[str, Any], comparison: Comparison, choice: Choice | None = None) -> list[str]:
    """Five plain lines for a terminal: data and model, EM, posterior, groups, agreement.

    Parameters
    ----------
    name : str
    facts : dict
        From `bayesgmm.report.facts.facts_of`.
    comparison : Comparison
    choice : Choice, optional
        If the number of groups was chosen.
    """
    data, model, em, posterior = (facts[key] for key in ("data", "model", "em", "posterior"))
    rows, groups = counted(data["n_observations"], "row"), counted(model["n_components"], "group")
    columns = f"{counted(data['n_features'], 'column')} ({some(data['features'], 4)})"
    ending = _ENDINGS.get(em["status"], "did not converge")
    steps = counted(em["n_iter"], "iteration")
    chains = f"{counted(posterior['chains'], 'chain')} of {counted(posterior['draws'], 'draw')}"
    return [
        f"{name}: {rows}, {columns}; {groups}{_chosen(choice)}, {model['covariance_type']} covariance.",
        f"EM: log-likelihood {em['log_likelihood']:,.3f}, {ending} after {steps}.",
        f"Posterior, {chains}: {_convergence(comparison)}",
        f"Groups: {_groups(comparison)}.",
        f"{comparison.verdict('agreement').sentence[:-1]}; {counted(len(comparison.doubtful), 'point')} in doubt.",
    ]


def _plain(text: str) -> str:
    """A number for a terminal, which may know no other characters than ASCII's: pages have a minus sign and a dash of their own."""
    return text.replace("−", "-").replace("–", "-")


def _chosen(choice: Choice | None) -> str:
    return "" if choice is None else f" (chosen by BIC among {', '.join(map(str, choice.numbers))})"


def _convergence(comparison: Comparison) -> str:
    """The verdict on the chains, with its figures if it is good."""
    checks = {check.name: check for check in comparison.checks}
    verdict = checks["convergence"].sentence
    if not checks["convergence"].passed or "ess_bulk" not in checks:
        return verdict[:1].lower() + verdict[1:]
    divergences = f", {checks['divergences'].value:.0f} divergences" if "divergences" in checks else ""
    r_hat = max(checks[name].value or 0 for name in ("r_hat_label_free", "r_hat_relabelled") if name in checks)
    ess = min(checks[name].value or 0 for name in ("ess_bulk", "ess_tail"))
    return f"{verdict.partition(':')[0].lower()} (R-hat at most {r_hat:.3f}, ESS at least {ess:,.0f}{divergences})."


def _groups(comparison: Comparison) -> str:
    """Share and first two means of the first groups."""
    table = comparison.parameters
    K = comparison.em_params.n_components
    words = []
    for k in range(min(K, 4)):
        weight = table[(table["parameter"] == "weight") & (table["component"] == k)]["mean"]
        means = table[(table["parameter"] == "mean") & (table["component"] == k)].head(2)
        at = ", ".join(f"{row['feature']} {_plain(number(row['mean']))}" for row in means.to_dict("records"))
        words.append(f"{_plain(percent(float(weight.iloc[0]))) if len(weight) else '100%'} ({at})")
    return "; ".join(words) + (f" and {K - 4} more" if K > 4 else "")
