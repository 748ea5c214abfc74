"""Checks of convergence, each a number, its threshold and one plain sentence, and one verdict over all of them: yes, with care, or no."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.diagnostics.chains import Modes, Switching, find_modes, find_switching, named_chains
from bayesgmm.diagnostics.convergence import KINDS, convergence_table, does_not_apply, draws_kind, sampler_table, varying
from bayesgmm.diagnostics.precision import Precision, in_words, precision
from bayesgmm.text import counted, listed

__all__ = ["Check", "diagnose", "pareto_k_limit", "verdict"]

R_HAT = 1.01
ESS_PER_CHAIN = 100
E_BFMI = 0.3
DIVERGENT = 0.001
"""Share of the trajectories."""
MCSE = 0.1
PARETO_K = 0.7
IMPORTANCE_ESS = 100.0
# A component with less than one row's worth of weight in more of the draws than this is as good as not there.
EMPTY = 0.05
CARE_R_HAT = 1.05
CARE_ESS_PER_CHAIN = 50
CARE_DIVERGENT = 0.002
CARE_PROBABILITY = 0.03
"""Standard error of any probability up to which draws are of use, with care: three of them are less than a tenth."""
# What may be rough in draws that are used with care.
_MAY_BE_ROUGH = {"r_hat_label_free", "r_hat_relabelled", "ess_bulk", "ess_tail", "divergences"}
# The probability that two rows are of one group has this standard deviation where draws are of more than one mind.
_UNDECIDED = 0.1
# A working chain moves at nearly every draw.
_MOVING = 0.05
# From this R-hat up the chains are not merely short: they sit in different places.
_APART = 1.1
# These say something of speed or of the model, not of whether the draws can be used.
_NOT_JUDGED = ("tree_depth", "empty_components")


@dataclass(frozen=True)
class Check:
    """One question asked of a fit, with its answer.

    Attributes
    ----------
    name : str
        Short name for programs, such as ``"divergences"``.
    value : float or None
        What was measured; None or NaN where it could not be.
    threshold : float or None
        What ``value`` was held to; None for a note that is held to nothing.
    passed : bool
        Whether all is well.
    sentence : str
        The answer in plain words.
    with_care : bool
        Whether it passed although something is rough; the sentence says what.

    Examples
    --------
    >>> check = Check("divergences", 0.0, 0.0, True, "No divergences.")
    >>> print(check)
    No divergences.
    """

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    sentence: str
    with_care: bool = False

    def __str__(self) -> str:
        return self.sentence


def diagnose(datatree: xr.DataTree) -> tuple[Check, ...]:
    """Check whether the chains of a posterior have converged; the first check is the overall verdict.

    Held to: R-hat < 1.01, bulk and tail ESS of at least 100 a chain, a Monte Carlo error of the mean of at most a tenth
    of the posterior standard deviation, divergences in at most one trajectory of a thousand, E-BFMI of at least 0.3, no draw at the
    greatest tree depth, and no component with less than one row's worth of weight in more than 5 % of the draws. Whatever cannot be
    computed counts as failed; only a quantity that does not vary, the entropy of groups that do not overlap, is left out, and named.
    The last two say something of speed and of the model, and do not fail the verdict. The sampler's own labels are reported
    and held to nothing: they may swap without harm (see the module's text).

    Draws that fail only by R-hat, ESS and divergences pass with care (``with_care``) if R-hat is below 1.05, ESS at least 50 a chain,
    divergences are in at most two trajectories of a thousand, no probability or weight has a Monte Carlo error above 0.03, and all chains
    are of one mode: what they tell is right, and its last digits are not.

    The verdict's sentence begins with one of: converged; converged, with care; converged up to labels; switching within chains;
    different modes (which chains, and how the modes differ); not converged; convergence cannot be judged. Of draws that are no chains
    (``attrs["draws"]``) other questions are asked, and the sentence begins with: reliable; not reliable; cannot be relied on.
    Weighted draws are held to their Pareto k (`pareto_k_limit`) and to an effective number of at least 100.

    Parameters
    ----------
    datatree : xarray.DataTree
        ``datatree_`` of a fitted ``BayesianGaussianMixture``.

    Returns
    -------
    tuple of Check

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> draws = np.random.default_rng(0).normal(size=(1, 500))
    >>> tree = xr.DataTree.from_dict({"label_free": xr.Dataset({"log_likelihood": (("chain", "draw"), draws)})})
    >>> diagnose(tree)[0].sentence
    'Convergence cannot be judged: only one chain was run. Run at least four.'
    """
    n_chains = next((int(node.sizes["chain"]) for node in datatree.children.values() if "chain" in node.sizes), 0)
    return verdict(convergence_table(datatree), sampler_table(datatree), n_chains, datatree)


def verdict(
    convergence: pd.DataFrame, sampler: pd.DataFrame, n_chains: int, datatree: xr.DataTree | None = None
) -> tuple[Check, ...]:
    """Return the checks made of tables that are there already; see `diagnose`.

    Parameters
    ----------
    convergence : pandas.DataFrame
        From `convergence_table`.
    sampler : pandas.DataFrame
        From `sampler_table`.
    n_chains : int
        How many chains were run.
    datatree : xarray.DataTree, optional
        The draws themselves. Without them it cannot be said which chains found different modes, whether labels switch
        within chains, and whether a component is empty.

    Returns
    -------
    tuple of Check
        The overall verdict first.

    Examples
    --------
    >>> row = {"quantity": "log_likelihood", "labels": "label-free", "sd": 1.0, "r_hat": 1.2, "ess_bulk": 9.0, "ess_tail": 9.0}
    >>> table = pd.DataFrame([row])
    >>> overall, *rest = verdict(table, pd.DataFrame(), n_chains=4)
    >>> overall.passed, [check.name for check in rest]
    (False, ['r_hat_label_free', 'ess_bulk', 'ess_tail'])
    """
    if datatree is not None and draws_kind(datatree) != "chains":
        return _without_chains(datatree)
    still = [] if "varies" not in convergence else sorted(set(convergence["quantity"]) - set(varying(convergence)["quantity"]))
    convergence = varying(convergence)
    switching = None if datatree is None else find_switching(datatree)
    modes = None if datatree is None else find_modes(datatree)
    checks = (
        *_r_hats(convergence, still),
        *_sizes(convergence, n_chains),
        *_errors(convergence),
        *_sampler_checks(sampler),
        *_labels(switching),
        *_empty(datatree),
    )
    n_draws = 0 if datatree is None or "label_free" not in datatree.children else datatree["label_free"].sizes["draw"]
    care = _care(checks, convergence, sampler, n_chains, n_draws, modes)
    overall = _overall(checks, sampler, n_chains, modes, switching, _slow_pair(convergence, n_chains), care)
    return (overall if datatree is None else _with_starts(overall, datatree.attrs), *checks)


def pareto_k_limit(n_draws: int) -> float:
    """Return the Pareto k up to which so many draws can be reweighted: 0.7, and less for few draws.

    Vehtari, Simpson, Gelman, Yao and Gabry 2024, Journal of Machine Learning Research 25 (72), section 3.2.4.

    Examples
    --------
    >>> pareto_k_limit(4000), round(pareto_k_limit(500), 2)
    (0.7, 0.63)
    """
    return float(min(1.0 - 1.0 / np.log10(n_draws), PARETO_K))


def _worst(rows: pd.DataFrame, column: str, *, greatest: bool) -> tuple[float, str]:
    """Worst value of a column, and whose it is; NaN beats everything."""
    if rows.empty:
        return nan, "nothing"
    values = rows[column].to_numpy(float)
    if np.isnan(values).any():
        at = int(np.isnan(values).argmax())
    else:
        at = int(values.argmax() if greatest else values.argmin())
    return float(values[at]), str(rows["quantity"].iloc[at])


def _r_hats(convergence: pd.DataFrame, still: list[str]) -> Iterator[Check]:
    """R-hat by kind of labels; kinds that are not there are not asked about, the label-free ones always; what stands still is named."""
    of_kind = dict(list(convergence.groupby("labels")))
    agree = True
    for labels, words in (("label-free", "quantities that need no labels"), ("relabelled", "the relabelled parameters")):
        if labels in of_kind or labels == "label-free":
            value, name = _worst(of_kind.get(labels, convergence[:0]), "r_hat", greatest=True)
            agree = agree and value < R_HAT
            sentence = _r_hat_sentence(value, name, words)
            if labels == "label-free":
                sentence += "".join(f" Of {quantity} there is nothing to judge: it does not vary." for quantity in still)
            yield Check(f"r_hat_{labels.replace('-', '_')}", value, R_HAT, value < R_HAT, sentence)
    if "raw" in of_kind:
        value, _ = _worst(of_kind["raw"], "r_hat", greatest=True)
        yield Check("r_hat_raw", value, None, True, _raw_sentence(value, agree=agree))


def _r_hat_sentence(value: float, name: str, words: str) -> str:
    if not isfinite(value) and not value > 0:
        return f"R-hat of {words} cannot be computed (first for {name})."
    if value < R_HAT:
        return f"The chains agree on {words}: largest R-hat {value:.3f}."
    return f"The chains disagree on {words}: R-hat {value:.3f} for {name}, it should be below {R_HAT}."


def _raw_sentence(value: float, *, agree: bool) -> str:
    """Whether the chains happened to use the same labels; no harm if not, provided that the rest agrees."""
    if np.isnan(value):
        return "Whether the sampler's own labels agree between chains cannot be judged; nothing here rests on them."
    if value < R_HAT:
        return f"The sampler kept the same labels in every chain (largest raw R-hat {value:.3f})."
    if agree:
        return f"The sampler's own labels swap (raw R-hat {value:.2f}), which does no harm: relabelled draws are used."
    return f"The draws as sampled, before relabelling, disagree as well (raw R-hat {value:.2f})."


def _sizes(convergence: pd.DataFrame, n_chains: int) -> Iterator[Check]:
    """Effective sample sizes, label-free and relabelled together."""
    needed = float(ESS_PER_CHAIN * n_chains)
    judged = convergence[convergence["labels"] != "raw"]
    for kind, words in (("bulk", "centre"), ("tail", "tails")):
        value, name = _worst(judged, f"ess_{kind}", greatest=False)
        if not isfinite(value):
            sentence = f"The effective sample size for the {words} cannot be computed (first for {name})."
        elif value >= needed:
            sentence = f"Draws enough for the {words}: smallest effective sample size {value:,.0f}."
        else:
            sentence = f"Too few draws for the {words}: effective sample size {value:,.0f} for {name}, it should be {needed:,.0f}."
        yield Check(f"ess_{kind}", value, needed, value >= needed, sentence)


def _errors(convergence: pd.DataFrame) -> Iterator[Check]:
    """Monte Carlo standard error of the means, in posterior standard deviations; tables without it are not asked."""
    judged = convergence[convergence["labels"] != "raw"]
    if not {"mcse_mean", "sd"} <= set(judged) or judged.empty:
        return
    value, name = _worst(judged.assign(ratio=judged["mcse_mean"] / judged["sd"]), "ratio", greatest=True)
    if not isfinite(value):
        sentence = f"The Monte Carlo error of the means cannot be computed (first for {name})."
    elif value <= MCSE:
        sentence = f"Means are known well: largest Monte Carlo error {value:.3f} posterior standard deviations."
    else:
        sentence = f"The mean of {name} has a Monte Carlo error of {value:.2f} posterior standard deviations, it should be {MCSE}."
    yield Check("mcse", value, MCSE, value <= MCSE, sentence)


def _sampler_checks(sampler: pd.DataFrame) -> Iterator[Check]:
    """Checks of the sampler's own statistics, as far as they are there."""
    if "divergences" in sampler:
        count, total = int(sampler["divergences"].sum()), _trajectories(sampler)
        most = DIVERGENT * total
        harm = "part of the posterior may not have been reached" if count > most else "too few to matter"
        sentence = f"{counted(count, 'divergence')} in {total:,} trajectories: {harm}."
        yield Check("divergences", float(count), most, count <= most, sentence if count else "No divergences.")
    if "max_depth_hits" in sampler:
        count, total = int(sampler["max_depth_hits"].sum()), int(sampler["draws"].sum())
        sentence = f"{count:,} of {total:,} draws reached the greatest tree depth: slow sampling, but valid draws."
        yield Check("tree_depth", float(count), 0.0, count == 0, sentence if count else "No draw reached the greatest tree depth.")
    if "e_bfmi" in sampler:
        value = float(sampler["e_bfmi"].min(skipna=False))
        if not isfinite(value):
            sentence = "E-BFMI cannot be computed: the energy of a chain never moves or is not finite."
        elif value >= E_BFMI:
            sentence = f"The chains explore the energy well (smallest E-BFMI {value:.2f})."
        else:
            sentence = f"E-BFMI is {value:.2f}, it should be at least {E_BFMI}: the tails of the posterior may be missed."
        yield Check("e_bfmi", value, E_BFMI, isfinite(value) and value >= E_BFMI, sentence)


def _trajectories(sampler: pd.DataFrame) -> int:
    return int(sampler["trajectories" if "trajectories" in sampler else "draws"].sum())


def _labels(switching: Switching | None) -> Iterator[Check]:
    """A note on labels that switch within chains."""
    if switching is None or not switching.shares:
        return
    sentence = "The sampler's labels do not switch within any chain."
    if switching.within:
        often = ", ".join(f"{switching.shares[chain]:.0%} of chain {chain}" for chain in switching.within)
        sentence = f"The sampler's labels switch within chains ({often}); relabelled draws are used."
    yield Check("label_switching", max(switching.shares.values()), None, True, sentence)


def _empty(datatree: xr.DataTree | None) -> Iterator[Check]:
    """Whether some component has less than one row's worth of weight; needs the draws and the data."""
    if datatree is None or not {"label_free", "observed_data"} <= set(datatree.children):
        return
    free, data = datatree["label_free"].to_dataset(), datatree["observed_data"].to_dataset()
    if "sorted_weights" not in free or "obs" not in data.sizes:
        return
    least = free["sorted_weights"].min("rank", skipna=False)
    share = float((~(least * data.sizes["obs"] >= 1)).mean())
    sentence = "Every group has weight for at least one row" + (f" in all but {share:.1%} of the draws." if share else ".")
    if share > EMPTY:
        sentence = f"A component is empty in {share:.0%} of the draws: the data may not need all {free.sizes['rank']}."
    yield Check("empty_components", share, EMPTY, share <= EMPTY, sentence)


def _with_starts(overall: Check, attrs: Mapping[Hashable, Any]) -> Check:
    """Add where chains started, if there was a choice: chains that agree from several modes are worth more than from one."""
    n = int(attrs.get("modes_started_in", 1))
    if n < 2:
        return overall
    ways = "they jumped between modes" if "jumps_accepted" in attrs else "they do not jump between modes"
    return replace(overall, sentence=f"{overall.sentence} The chains started in {n} different modes; {ways}.")


def _failed(checks: tuple[Check, ...]) -> dict[str, Check]:
    """Return the checks that did not pass, of those that are judged."""
    return {check.name: check for check in checks if not (check.passed or check.name in _NOT_JUDGED)}


def _overall(
    checks: tuple[Check, ...],
    sampler: pd.DataFrame,
    n_chains: int,
    modes: Modes | None,
    switching: Switching | None,
    slow_pair: str,
    care: str,
) -> Check:
    """Return the check "convergence"; its sentence begins with the outcome, up to a colon."""
    by_name = {check.name: check for check in checks}
    failed = _failed(checks)
    free = by_name.get("r_hat_label_free")
    if n_chains < 2:
        sentence = "Convergence cannot be judged: only one chain was run. Run at least four."
    elif care:
        sentence = care
    elif failed:
        sentence = _failure(failed, sampler, modes, switching, slow_pair)
    else:
        sentence = _success(by_name.get("r_hat_raw"), switching)
    empty = by_name.get("empty_components")
    if empty is not None and not empty.passed:
        sentence = f"{sentence} {empty.sentence}"
    value, threshold = (None, None) if free is None else (free.value, free.threshold)
    passed = n_chains >= 2 and (not failed or bool(care))
    return Check("convergence", value, threshold, passed, sentence, with_care=bool(care))


def _success(raw: Check | None, switching: Switching | None) -> str:
    if switching is not None and switching.within:
        return (
            f"Switching within chains: the sampler's labels change within {named_chains(switching.within)}, "
            "which does no harm: once the groups are matched, the chains agree."
        )
    differ = raw is not None and raw.value is not None and raw.value >= R_HAT
    if differ or (switching is not None and switching.between):
        return "Converged up to labels: the chains agree once the groups that swapped names are matched."
    return "Converged: the chains agree with each other, and there are draws enough."


def _care(
    checks: tuple[Check, ...], convergence: pd.DataFrame, sampler: pd.DataFrame, n_chains: int, n_draws: int, modes: Modes | None
) -> str:
    """Return the sentence of draws that may be used with care; "" if they may not, or need none.

    Whether chains are of different modes has to be known, and so has every number.
    """
    failed = _failed(checks)
    if not failed or not set(failed) <= _MAY_BE_ROUGH or n_chains < 2 or modes is None or len(modes.chains) != 1:
        return ""
    if sum(map(len, modes.chains)) < n_chains or any(check.value is None or not isfinite(check.value) for check in failed.values()):
        return ""
    found = precision(convergence[convergence["labels"] != "raw"], n_chains)
    enough = found.ess >= CARE_ESS_PER_CHAIN * n_chains
    divergent = failed.get("divergences")
    few = divergent is None or float(divergent.value or nan) <= CARE_DIVERGENT * _trajectories(sampler)
    if not (enough and few and found.r_hat < CARE_R_HAT and found.probability_error <= CARE_PROBABILITY):
        return ""
    return _care_sentence(found, n_chains, n_draws, divergent)


def _care_sentence(found: Precision, n_chains: int, n_draws: int, divergent: Check | None) -> str:
    """Words for what is rough, by how much it may be off, and what would mend it."""
    needed = ESS_PER_CHAIN * n_chains
    good = (
        f"Means are good to {found.error:.2f} posterior standard deviations, probabilities to {max(found.probability_error, 0.01):.2f} "
        "(one standard error)"
    )
    rough = [] if divergent is None else [divergent.sentence.partition(":")[0]]
    if found.r_hat >= R_HAT:
        rough.append(f"R-hat is {np.ceil(1000 * found.r_hat) / 1000:.3f} (it should be below {R_HAT})")
    if found.ess < needed:
        rough.append(f"the draws are worth {found.ess:,.0f} independent ones (it should be {needed:,})")
    more = found.draws_needed(n_draws, R_HAT, needed)
    remedy = f"; draws={more} would probably settle it." if more > n_draws else "."
    said = listed(rough)
    said = said[:1].upper() + said[1:]
    return (
        f"Converged, with care: the chains agree but for the last digits. {said}; roughest is {in_words(found.roughest)}. "
        f"{good}{remedy}"
    )


def _failure(
    failed: dict[str, Check], sampler: pd.DataFrame, modes: Modes | None, switching: Switching | None, slow_pair: str
) -> str:
    """The most telling of what failed, in words."""
    stuck = [] if "moved" not in sampler else [str(chain) for chain in sampler.index[sampler["moved"] < _MOVING]]
    if stuck:
        return f"Not converged: {named_chains(stuck)} did not move. Run again with another random_state or longer tuning."
    if any(check.value is None or np.isnan(check.value) for check in failed.values()):
        return "Not converged: some draws are not finite or never move, so it cannot be shown that the chains agree."
    if modes is not None and len(modes.chains) > 1 and "r_hat_label_free" in failed:
        places = "; ".join(named_chains(names) for names in modes.chains)
        said = f"Different modes: the chains found different answers, which relabelling cannot mend ({places})."
        remedy = "Try more tuning, or fewer components; stacking() weighs the chains by what they predict."
        return " ".join([said, *modes.sentences, remedy])
    if switching is not None and switching.within and set(failed) <= {"r_hat_relabelled", "ess_bulk", "ess_tail", "mcse"}:
        return (
            f"Switching within chains: the sampler's labels change within {named_chains(switching.within)}, and the relabelled "
            "groups still cannot be told apart: they overlap. Quantities that need no labels may be used; or try fewer components."
        )
    return f"Not converged: {_reason(failed, slow_pair)}"


def _reason(failed: dict[str, Check], slow_pair: str) -> str:
    """Words for chains that are of one mode, as far as can be seen, and have failed."""
    why = ""
    if slow_pair:
        why = f" They pass slowly between answers that put rows {slow_pair} into one group and answers that do not."
    if "r_hat_label_free" in failed and (failed["r_hat_label_free"].value or 0) > _APART:
        return f"the chains still wander and have not settled on one answer.{why} Try more tuning, or fewer components."
    if "r_hat_label_free" in failed:
        return f"the chains agree only roughly.{why} Run longer (more draws)."
    if "ess_bulk" in failed or "ess_tail" in failed:
        return "too few effective draws; run longer."
    if "r_hat_relabelled" in failed:
        return "the chains agree on the density but not on the groups, which overlap too much. Try fewer components."
    return next(iter(failed.values())).sentence


def _slow_pair(convergence: pd.DataFrame, n_chains: int) -> str:
    """Two rows, such as "3 and 8", that are of one group in some stretches of the chains and not in others; "" if there are none."""
    rows = convergence[(convergence["labels"] == "label-free") & convergence["quantity"].str.startswith("co_clustering[")]
    rows = rows[(rows["sd"] > _UNDECIDED) & (rows["ess_bulk"] < ESS_PER_CHAIN * n_chains)]
    if rows.empty:
        return ""
    name = str(rows["quantity"].iloc[int(rows["ess_bulk"].to_numpy().argmin())])
    return name.removeprefix("co_clustering[").removesuffix("]")


def _without_chains(datatree: xr.DataTree) -> tuple[Check, ...]:
    """Return the checks that apply to draws that are no chains, the overall verdict first, and notes on those that do not."""
    judged = tuple(_importance(datatree))
    refused = {name: does_not_apply(datatree, name) for name in ("r_hat", "ess")}
    notes = [Check(name, None, None, True, sentence) for name, sentence in refused.items() if sentence]
    kind = draws_kind(datatree)
    words, what = KINDS.get(kind, kind), str(datatree.attrs.get("inference", "these draws"))
    failed = [check for check in judged if not check.passed]
    first = next(iter((*failed, *judged)), Check("convergence", nan, None, False, ""))
    said = first.sentence[:1].lower() + first.sentence[1:]
    if not judged:
        sentence = f"Cannot be relied on as chains: these are {words}, and no check applies to them."
    elif failed:
        sentence = f"Not reliable ({what}): {said} Use sampler='hmc'."
    else:
        sentence = f"Reliable ({what}, {words}): {said}"
    overall = Check("convergence", first.value, first.threshold, bool(judged) and not failed, sentence)
    return (overall, *judged, *notes, *_empty(datatree))


def _importance(datatree: xr.DataTree) -> Iterator[Check]:
    """Checks of importance weights, where the draws have any."""
    if "pareto_k" not in datatree.attrs:
        return
    k = float(datatree.attrs["pareto_k"])
    size = int(np.prod([datatree["posterior"].sizes[dim] for dim in ("chain", "draw")])) if "posterior" in datatree.children else 0
    limit = pareto_k_limit(size) if size > 10 else PARETO_K
    good = isfinite(k) and k < limit
    if good:
        sentence = f"The approximation is close enough to the posterior for its draws to be weighted (Pareto k {k:.2f}, below {limit:.2f})."
    else:
        sentence = (
            f"The approximation is too far from the posterior, which its weighted draws do not represent "
            f"(Pareto k {k:.2f}, it should be below {limit:.2f})."
        )
    yield Check("pareto_k", k, float(limit), good, sentence)
    if "importance_ess" in datatree.attrs:
        ess = float(datatree.attrs["importance_ess"])
        words = "The weighted draws are worth" if ess >= IMPORTANCE_ESS else "Too few: the weighted draws are worth only"
        yield Check("importance_ess", ess, IMPORTANCE_ESS, ess >= IMPORTANCE_ESS, f"{words} {ess:,.0f} equally weighted ones.")
