"""The first screen, how many groups, how sure, and whether to believe it; and the same in five lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bayesgmm.comparison import Comparison
from bayesgmm.comparison.verdicts import causes
from bayesgmm.diagnostics import Check, draws_kind
from bayesgmm.diagnostics.sensitivity import THRESHOLD
from bayesgmm.report.em_alone import EMAlone, Findings
from bayesgmm.report.group_names import GroupNames
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


def concerns(found: Findings) -> list[Check]:
    """Return the checks that failed, or passed with care, and bear on whether the answers can be believed, the gravest first.

    Parameters
    ----------
    found : Comparison or EMAlone
    """
    checks = found.checks if isinstance(found, Comparison) else ()
    every = (*found.verdicts, *checks)
    failed = {check.name: check for check in every if (check.with_care or not check.passed) and check.name not in _NO_FAULT}
    # The overall verdict speaks for the checks that it is made from.
    parts = {check.name for check in checks} - {"convergence"} if "convergence" in failed else ()
    return sorted(
        (check for name, check in failed.items() if name not in parts), key=lambda check: (not _is_fatal(check), check.passed)
    )


def _is_fatal(check: Check) -> bool:
    return check.name in _FATAL and not check.passed


def answers(found: Findings, choice: Choice | None, sensitivity: Sequence[Mapping[str, Any]] = ()) -> tuple[Answer, Answer, Answer]:
    """Answer the three questions that come first.

    Parameters
    ----------
    found : Comparison or EMAlone
    choice : Choice or None
        If the number of groups was chosen.
    sensitivity : sequence of dict
        What each part of the prior moves: from `bayesgmm.report.priors.sensitivity`.
    """
    trust, doubts = _trust(found), (*_priors(sensitivity), *_fewer(found), *_rough_number(choice))
    if doubts and trust.kind == "pass":
        # Every check passed, but the result rests on a belief or on a number of groups that the data do not settle.
        trust = replace(trust, answer="With care", kind="note")
    trust = replace(trust, sentences=(*trust.sentences, *doubts))
    return _how_many(found, choice), _how_sure(found), trust


def _fewer(found: Findings) -> Iterator[str]:
    """A word on groups that may not be there, where no check that failed has said so."""
    used = found.groups
    said = any(check.name == "groups" and not check.passed for check in found.verdicts)
    if not said and (used.all_used < _ALL_USED or list(_one_hill(found))):
        yield f"There may be fewer than {counted(len(used.occupied), 'group')}: see How many groups."


def _rough_number(choice: Choice | None) -> Iterator[str]:
    """A word on chains with an open number of components that did not converge."""
    if choice is not None and choice.number is not None and not choice.number.check.passed:
        yield "The probabilities of the number of groups are rough: see How many groups."


def _priors(sensitivity: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A word on priors that show in the result."""
    parts = [_PARTS[row["part"]] for row in sensitivity if (row["prior"] or 0.0) >= THRESHOLD]
    if parts:
        yield f"The result leans on the prior of the {listed(parts)}: more rows, fewer groups or a stated belief would help. See Priors."


def _how_many(found: Findings, choice: Choice | None) -> Answer:
    K, hill = len(found.groups.occupied), list(_one_hill(found))
    clear = (choice is None or choice.unanimous) and found.groups.all_used >= _ALL_USED and not hill
    number = None if choice is None else choice.number
    groups = K if choice is None or choice.n_groups is None else choice.n_groups
    answer = counted(groups, "group") if number is None else number.headline
    said = (*_origin(K, choice), *_use(found, K), *hill)
    return Answer("How many groups?", answer, said, "pass" if clear else "note")


def _origin(K: int, choice: Choice | None) -> Iterator[str]:
    if choice is None:
        yield f"As asked for: {K} was given, not chosen."
        return
    if choice.number is not None:
        yield from choice.number.sentences[1:] if len(choice.number.sentences) > 1 else choice.number.sentences
        if not choice.number.is_usable:
            yield "So the number is taken from EM."
        if choice.n_groups in (None, K):
            yield f"This page describes {counted(K, 'group')}, as if that number were known."
        else:
            together = counted(choice.n_groups or K, "group")
            yield f"This page describes {counted(K, 'component')}, which are {together} together: see How many groups."
        return
    if choice.reasons:
        yield from choice.reasons
        return
    tried = choice.numbers
    reach = f"{tried[0]} to {tried[-1]}" if tried == list(range(tried[0], tried[-1] + 1)) else ", ".join(map(str, tried))
    if choice.unanimous:
        agree = "ICL and prediction do" if choice.has_posteriors else "ICL does"
        yield f"Chosen among {reach} by BIC, which {agree} not contradict."
        return
    others = {"ICL": "icl"} | ({"prediction": "elpd"} if choice.has_posteriors else {})
    said = ", ".join(f"{name} would take {n}" for name, criterion in others.items() if (n := choice.by(criterion)) != K)
    yield f"Chosen among {reach} by BIC" + (f"; {said}." if said else ", from near ties.")


def _use(found: Findings, K: int) -> Iterator[str]:
    used = found.groups.all_used
    if K > 1 and isinstance(found, Comparison):
        all_used = f"The posterior has points in {'both' if K == 2 else f'all {K}'}."
        yield all_used if used >= _ALL_USED else f"The posterior gives {percent(1 - used)} to fewer groups that have any points."


def _one_hill(found: Findings) -> Iterator[str]:
    for j, k, probability in found.groups.pairs[:1]:
        if probability >= _ONE_HILL:
            draws = f" in {percent(probability)} of the draws" if isinstance(found, Comparison) else ""
            yield f"Groups {j} and {k} may be one: together they have a single peak{draws}."


def _how_sure(found: Findings) -> Answer:
    total, doubtful = len(found.X), found.doubtful
    share = 1 - len(doubtful) / total
    if found.em_params.n_components == 1:
        return Answer("How sure is each point?", "Certain", ("There is one group only, so every point is in it.",), "pass")
    said = [f"{percent(share)} of the {total:,} points have a group with at least 90% probability."]
    if isinstance(found, EMAlone):
        said.append("This takes EM's groups for exactly known; with few points in a group it is too sure.")
    elif len(doubtful):
        said.append(f"{counted(len(doubtful), 'point')} {'is' if len(doubtful) == 1 else 'are'} in doubt, {_causes(found)}.")
    return Answer(
        "How sure is each point?", f"{percent(share)} clear", tuple(said), "pass" if found.verdict("doubt").passed else "note"
    )


def _causes(comparison: Comparison) -> str:
    overlap, little = causes(comparison.doubtful)
    if overlap and little:
        return f"{overlap:,} because the groups overlap there, {little:,} for want of data"
    return "because the groups " + (
        "are not known well enough; more rows would help" if little else "overlap there; more rows would not help"
    )


def _trust(found: Findings) -> Answer:
    failed, question = concerns(found), "May it be trusted?"
    if failed:
        answer = "No" if _is_fatal(failed[0]) else "With care"
        return Answer(question, answer, (failed[0].sentence, *_more(len(failed) - 1)), "warn")
    if isinstance(found, EMAlone):
        said = (
            "EM converged, and data simulated from its groups look like these.",
            "It gives the one most likely answer; how far off that may be, its standard errors say only roughly.",
        )
        return Answer(question, "In part", said, "note")
    n_chains = found.posterior_params.batch_shape[0]
    drawn = f" ({counted(n_chains, 'chain')})" if draws_kind(found.datatree) == "chains" else ""
    sentence = f"EM and the posterior{drawn} passed every check, and data simulated from the model look like these."
    return Answer(question, "Yes", (sentence,), "pass")


def _more(count: int) -> tuple[str, ...]:
    return (f"{counted(count, 'more check')} {'needs' if count == 1 else 'need'} a look, below.",) if count else ()


def headline(
    name: str,
    facts: dict[str, Any],
    found: Findings,
    choice: Choice | None = None,
    missing: str | None = None,
    names: GroupNames | None = None,
) -> list[str]:
    """At most five plain lines for a terminal: data and model, EM, posterior, groups, agreement.

    Parameters
    ----------
    name : str
    facts : dict
        From `bayesgmm.report.provenance.facts_of`.
    found : Comparison or EMAlone
    choice : Choice, optional
        If the number of groups was chosen.
    missing : str, optional
        Why there is no posterior, if one was asked for.
    names : GroupNames, optional
        What the groups are called.
    """
    data, model, em, posterior = (facts[key] for key in ("data", "model", "em", "posterior"))
    K = model["n_components"]
    rows, groups = counted(data["n_observations"], "row"), counted(K, "group")
    if choice is not None and choice.n_groups not in (None, K):
        groups = f"{counted(choice.n_groups or K, 'group')} in {counted(K, 'component')}"
    columns = f"{counted(data['n_features'], 'column')} ({listed(data['features'], 4, conjunction=', ')})"
    chosen = _chosen(choice)
    ending = _ENDINGS.get(em["status"], "did not converge")
    lines = [
        f"{name}: {rows}, {columns}; {groups}{chosen}, {model['covariance_type']} covariance.",
        f"EM: log-likelihood {em['log_likelihood']:,.3f}, {ending} after {counted(em['n_iter'], 'iteration')}.",
    ]
    groups, doubt = f"Groups: {_groups(found, names)}.", f"{counted(len(found.doubtful), 'point')} in doubt."
    if isinstance(found, EMAlone):
        return [*lines, *([missing] if missing else []), groups, doubt]
    chains = f"{counted(posterior['chains'], 'chain')} of {counted(posterior['draws'], 'draw')}"
    agreement = found.verdict("agreement").sentence[:-1]
    return [*lines, f"Posterior, {chains}: {_convergence(found)}", groups, f"{agreement}; {doubt}"]


def _chosen(choice: Choice | None) -> str:
    """How the number of groups came about, in brackets."""
    if choice is None:
        return ""
    if choice.number is not None:
        return f" (number open: {choice.number.headline})"
    return f" (chosen by BIC among {', '.join(map(str, choice.numbers))})"


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


def _groups(found: Findings, names: GroupNames | None) -> str:
    """Share and first two means of the first groups."""
    table, K = found.parameters, found.em_params.n_components
    best = "mean" if isinstance(found, Comparison) else "em"
    words = []
    for k in range(min(K, 4)):
        own = table[table["component"] == k]
        weight, means = own[own["parameter"] == "weight"][best], own[own["parameter"] == "mean"].head(2)
        at = ", ".join(f"{row['feature']} {for_console(number(row[best]))}" for row in means.to_dict("records"))
        name = "" if names is None or names.are_numbers else f"{for_console(names(k))} "
        words.append(f"{name}{percent(float(weight.iloc[0])) if len(weight) else '100%'} ({at})")
    return "; ".join(words) + (f" and {K - 4} more" if K > 4 else "")
