"""The first screen, how many groups, how sure, and whether to believe it; and the same in five lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bayesgmm.comparison import Comparison
from bayesgmm.comparison.groups import GroupsUsed
from bayesgmm.comparison.verdicts import causes
from bayesgmm.diagnostics import Check, draws_kind
from bayesgmm.diagnostics.sensitivity import THRESHOLD
from bayesgmm.report.typography import for_console, number, percent
from bayesgmm.selection import Choice
from bayesgmm.text import counted, listed

__all__ = ["Answer", "answers", "concerns", "headline"]

_PARTS = {"weights": "weights", "means": "means", "sds": "standard deviations", "corr": "correlations"}
_ENDINGS = {
    "converged": "converged",
    "collapsed": "collapsed onto few rows or a plane",
    "spurious": "ended with too few rows in a group",
}

# What no answer survives, and what is a fact about the data rather than a fault of the fits.
_FATAL = ("convergence", "em_convergence")
_NO_FAULT = ("doubt",)
# Below the first of these probabilities the groups may not all be there; from the second on two of them may be one.
_ALL_USED, _ONE_HILL = 0.95, 0.05


@dataclass(frozen=True)
class Answer:
    """One of the three questions of the first screen: the answer in a word or two, what it means, and whether to worry."""

    question: str
    answer: str
    sentences: tuple[str, ...]
    kind: str
    """"pass", "note" or "warn"."""


def concerns(comparison: Comparison) -> list[Check]:
    """Return the checks that failed and bear on whether the answers can be believed, the gravest first.

    Parameters
    ----------
    comparison : Comparison
    """
    every = {check.name: check for check in (*comparison.verdicts, *comparison.checks)}
    failed = [check for check in every.values() if not check.passed and check.name not in _NO_FAULT]
    overall = any(check.name == "convergence" for check in failed)
    # The overall verdict speaks for the checks that it is made from.
    parts = {check.name for check in comparison.checks} - {"convergence"}
    kept = [check for check in failed if not (overall and check.name in parts)]
    return sorted(kept, key=lambda check: check.name not in _FATAL)


def answers(
    comparison: Comparison, choice: Choice | None, sensitivity: Sequence[Mapping[str, Any]] = ()
) -> tuple[Answer, Answer, Answer]:
    """Answer the three questions that come first.

    Parameters
    ----------
    comparison : Comparison
    choice : Choice or None
        If the number of groups was chosen.
    sensitivity : sequence of dict
        What each part of the prior moves: from `bayesgmm.report.priors.sensitivity`.
    """
    trust, doubts = _trust(comparison), (*_priors(sensitivity), *_fewer(comparison))
    if doubts and trust.kind == "pass":
        # Every check passed, but the result rests on a belief or on a number of groups that the data do not settle.
        trust = replace(trust, answer="With care", kind="note")
    trust = replace(trust, sentences=(*trust.sentences, *doubts))
    return _how_many(comparison.groups, choice), _how_sure(comparison), trust


def _fewer(comparison: Comparison) -> Iterator[str]:
    """A word on groups that may not be there, where no check that failed has said so."""
    used = comparison.groups
    said = any(check.name == "groups" and not check.passed for check in comparison.verdicts)
    if not said and (used.all_used < _ALL_USED or list(_one_hill(used))):
        yield f"There may be fewer than {counted(len(used.occupied), 'group')}: see How many groups."


def _priors(sensitivity: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A word on priors that show in the result."""
    parts = [_PARTS[row["part"]] for row in sensitivity if (row["prior"] or 0.0) >= THRESHOLD]
    if parts:
        yield f"The result leans on the prior of the {listed(parts)}: more rows, fewer groups or a stated belief would help. See Priors."


def _how_many(used: GroupsUsed, choice: Choice | None) -> Answer:
    K = len(used.occupied)
    said = [_origin(K, choice), _use(K, used), *_one_hill(used)]
    clear = (choice is None or choice.unanimous) and used.all_used >= _ALL_USED and not list(_one_hill(used))
    return Answer("How many groups?", counted(K, "group"), tuple(text for text in said if text), "pass" if clear else "note")


def _origin(K: int, choice: Choice | None) -> str:
    if choice is None:
        return f"As asked for: {K} was given, not chosen."
    tried = choice.numbers
    reach = f"{tried[0]} to {tried[-1]}" if tried == list(range(tried[0], tried[-1] + 1)) else ", ".join(map(str, tried))
    if choice.unanimous:
        agree = "ICL and prediction do" if choice.has_posteriors else "ICL does"
        return f"Chosen among {reach} by BIC, which {agree} not contradict."
    others = {
        name: choice.by(key) for name, key in (("ICL", "icl"), ("prediction", "elpd")) if key != "elpd" or choice.has_posteriors
    }
    said = ", ".join(f"{name} would take {n}" for name, n in others.items() if n != K)
    return f"Chosen among {reach} by BIC" + (f"; {said}." if said else ", from near ties.")


def _use(K: int, used: GroupsUsed) -> str:
    if K == 1:
        return ""
    if used.all_used >= _ALL_USED:
        return f"The posterior has points in {'both' if K == 2 else f'all {K}'}."
    return f"The posterior gives {percent(1 - used.all_used)} to fewer groups that have any points."


def _one_hill(used: GroupsUsed) -> Iterator[str]:
    for j, k, probability in used.pairs[:1]:
        if probability >= _ONE_HILL:
            yield f"Groups {j} and {k} may be one: together they have a single peak in {percent(probability)} of the draws."


def _how_sure(comparison: Comparison) -> Answer:
    total, doubtful = len(comparison.X), comparison.doubtful
    share = 1 - len(doubtful) / total
    if comparison.em_params.n_components == 1:
        return Answer("How sure is each point?", "Certain", ("There is one group only, so every point is in it.",), "pass")
    said = [f"{percent(share)} of the {total:,} points have a group with at least 90% probability."]
    if len(doubtful):
        said.append(f"{counted(len(doubtful), 'point')} {'is' if len(doubtful) == 1 else 'are'} in doubt, {_causes(comparison)}.")
    kind = "pass" if comparison.verdict("doubt").passed else "note"
    return Answer("How sure is each point?", f"{percent(share)} clear", tuple(said), kind)


def _causes(comparison: Comparison) -> str:
    overlap, little = causes(comparison.doubtful)
    if not little:
        return "because the groups overlap there; more rows would not help"
    if not overlap:
        return "because the groups are not known well enough; more rows would help"
    return f"{overlap:,} because the groups overlap there, {little:,} for want of data"


def _trust(comparison: Comparison) -> Answer:
    found = concerns(comparison)
    question = "May it be trusted?"
    if not found:
        n_chains = comparison.posterior_params.batch_shape[0]
        drawn = f" ({counted(n_chains, 'chain')})" if draws_kind(comparison.datatree) == "chains" else ""
        said = f"EM and the posterior{drawn} passed every check, and data simulated from the model look like these."
        return Answer(question, "Yes", (said,), "pass")
    if found[0].name in _FATAL:
        return Answer(question, "No", (found[0].sentence, *_more(len(found) - 1)), "warn")
    return Answer(question, "With care", (found[0].sentence, *_more(len(found) - 1)), "warn")


def _more(count: int) -> tuple[str, ...]:
    return (f"{counted(count, 'more check')} {'needs' if count == 1 else 'need'} a look, below.",) if count else ()


def headline(name: str, facts: dict[str, Any], comparison: Comparison, choice: Choice | None = None) -> list[str]:
    """Five plain lines for a terminal: data and model, EM, posterior, groups, agreement.

    Parameters
    ----------
    name : str
    facts : dict
        From `bayesgmm.report.provenance.facts_of`.
    comparison : Comparison
    choice : Choice, optional
        If the number of groups was chosen.
    """
    data, model, em, posterior = (facts[key] for key in ("data", "model", "em", "posterior"))
    rows, groups = counted(data["n_observations"], "row"), counted(model["n_components"], "group")
    columns = f"{counted(data['n_features'], 'column')} ({listed(data['features'], 4, conjunction=', ')})"
    chosen = "" if choice is None else f" (chosen by BIC among {', '.join(map(str, choice.numbers))})"
    ending = _ENDINGS.get(em["status"], "did not converge")
    steps = counted(em["n_iter"], "iteration")
    chains = f"{counted(posterior['chains'], 'chain')} of {counted(posterior['draws'], 'draw')}"
    return [
        f"{name}: {rows}, {columns}; {groups}{chosen}, {model['covariance_type']} covariance.",
        f"EM: log-likelihood {em['log_likelihood']:,.3f}, {ending} after {steps}.",
        f"Posterior, {chains}: {_convergence(comparison)}",
        f"Groups: {_groups(comparison)}.",
        f"{comparison.verdict('agreement').sentence[:-1]}; {counted(len(comparison.doubtful), 'point')} in doubt.",
    ]


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
    table, K = comparison.parameters, comparison.em_params.n_components
    words = []
    for k in range(min(K, 4)):
        own = table[table["component"] == k]
        weight, means = own[own["parameter"] == "weight"]["mean"], own[own["parameter"] == "mean"].head(2)
        at = ", ".join(f"{row['feature']} {for_console(number(row['mean']))}" for row in means.to_dict("records"))
        words.append(f"{percent(float(weight.iloc[0])) if len(weight) else '100%'} ({at})")
    return "; ".join(words) + (f" and {K - 4} more" if K > 4 else "")
