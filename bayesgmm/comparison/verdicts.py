"""The comparison in plain words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesgmm.comparison.groups import EMPartition, GroupsUsed
from bayesgmm.diagnostics import Check
from bayesgmm.estimators import GaussianMixture
from bayesgmm.partitions.doubt import CLEAR
from bayesgmm.tables.uninformative import dependent_columns
from bayesgmm.text import counted, listed
from bayesgmm.typing import FloatArray

__all__ = [
    "DOUBT",
    "agreement",
    "alignment",
    "causes",
    "columns",
    "doubt",
    "em_convergence",
    "groups",
    "parameters",
    "partition",
    "predictive",
    "shapes",
]

# A point counts as in doubt if its label is wrong with more than this probability.
DOUBT = 1 - CLEAR
_CHANGED, _IN_DOUBT, _DISTANCE, _PREDICTIVE = 0.01, 0.1, 2.0, 0.01
_FEWER, _ONE_GROUP = 0.05, 0.5
_MOST_PAIRS = 2
_MOST_SHAPES = 3
_BY_CHANCE, _SKEWED, _HEAVY = 0.01, 0.5, 1.25
"""Share of simulated groups that are as odd, below which it is no chance; and skewness and tails from which on it matters."""


def agreement(responsibilities: pd.DataFrame) -> Check:
    """Whether EM and the posterior put the points into the same groups."""
    changed = int((responsibilities["em_label"] != responsibilities["posterior_label"]).sum())
    total, gap = len(responsibilities), float(responsibilities["largest_gap"].max())
    share = changed / total
    if changed == 0:
        said = "agree: no point changes group"
    elif share <= _CHANGED:
        said = f"agree on all but {changed:,} of {total:,} points"
    else:
        said = f"disagree: {changed:,} of {total:,} points {'changes' if changed == 1 else 'change'} group"
    sentence = f"EM and the posterior {said}, largest responsibility gap {gap:.2g}."
    return Check("agreement", share, _CHANGED, share <= _CHANGED, sentence)


def partition(found: EMPartition) -> Check:
    """Whether EM's groups are credible to the posterior."""
    best = int(found.best.labels.max()) + 1
    groups = counted(best, "group")
    if found.distance <= 1e-10:
        sentence = f"EM's groups are the ones that the posterior would choose ({groups})."
    elif found.inside:
        sentence = (
            f"EM's groups are credible to the posterior, though it would choose others ({groups}), {found.distance:.2g} bits away: "
            f"{found.rank:.0%} of its draws are farther from those."
        )
    else:
        sentence = (
            f"EM's groups are not credible to the posterior: only {found.rank:.1%} of its draws are farther from the groups that it "
            f"would choose ({groups})."
        )
    return Check("partition", found.distance, found.radius, found.inside, sentence)


def groups(used: GroupsUsed) -> tuple[Check, ...]:
    """A doubt that there are as many groups as were asked for, if there is one; otherwise nothing."""
    K = len(used.occupied)
    fewer = 1.0 - used.all_used
    pairs = [pair for pair in used.pairs if pair[2] >= _ONE_GROUP]
    if fewer < _FEWER and not pairs:
        return ()
    said = []
    if fewer >= _FEWER:
        likely = int(used.occupied.to_numpy().argmax()) + 1
        said.append(f"Fewer than {K} groups have any points with {fewer:.0%} probability; {likely} is the most probable number.")
    for j, k, probability in pairs[:_MOST_PAIRS]:
        said.append(f"Groups {j} and {k} are one hill of the density with {probability:.0%} probability.")
    if len(pairs) > _MOST_PAIRS:
        said.append(f"So are {len(pairs) - _MOST_PAIRS} more pairs, each with at least {_ONE_GROUP:.0%}.")
    doubt = max([fewer, *(pair[2] for pair in pairs)])
    return (
        Check("groups", doubt, _ONE_GROUP, doubt < _ONE_GROUP, " ".join([*said, "There may be fewer groups than were asked for."])),
    )


def shapes(table: pd.DataFrame) -> tuple[Check, ...]:
    """A doubt that the groups are normal distributions, if there is one; otherwise nothing."""
    level = _BY_CHANCE / len(table)
    skewed = (table["skewness_tail"] <= level) & (table["skewness"].abs() >= _SKEWED)
    heavy = (table["tails_tail"] <= level) & (table["tails"] >= _HEAVY)
    if not (skewed | heavy).any():
        return ()
    said = []
    for k in np.flatnonzero(skewed | heavy):
        row = table.iloc[k]
        side = f"to the {'right' if row['skewness'] > 0 else 'left'} in {row['column']}"
        tails = "has heavier tails" + (f", longer {side}" if skewed.iloc[k] else "")
        said.append(f"group {k} {tails if heavy.iloc[k] else f'is skewed {side}'}")
    which = "Not every group is" if len(table) > 1 else "The group is not"
    sentence = (
        f"{which} shaped like a normal distribution: {listed(said, _MOST_SHAPES, separator='; ', conjunction='; ')}. Such a "
        "group may take two components, so more components need not be more groups."
    )
    worst = float(np.nanmin(table[["skewness_tail", "tails_tail"]].to_numpy()))
    return (Check("shapes", worst, level, False, sentence),)


def parameters(table: pd.DataFrame) -> Check:
    """Whether EM's parameters lie within two posterior standard deviations."""
    distances = table["distance"].abs()
    worst = float(distances.max(skipna=False))
    far, total = int((~(distances <= _DISTANCE)).sum()), len(table)
    said = f"All {total} parameters of EM lie within 2 posterior sds of"
    if far:
        said = f"{far} of {total} parameters of EM {'lies' if far == 1 else 'lie'} over 2 posterior sds from"
    farthest = _name(table.iloc[int(distances.fillna(np.inf).to_numpy().argmax())])
    sentence = f"{said} the posterior mean; farthest: {farthest}, {worst:.1f}."
    return Check("parameters", worst, _DISTANCE, far == 0, sentence)


def _name(row: pd.Series) -> str:
    """A parameter as a person would call it."""
    where = "all groups" if row["component"] == "all" else f"group {row['component']}"
    return f"weight of {where}" if row["parameter"] == "weight" else f"{row['parameter']} of {_features(row)} in {where}"


def _features(row: pd.Series) -> str:
    return " and ".join(filter(None, (row["feature"], row["feature_bis"])))


def em_convergence(em: GaussianMixture) -> Check:
    """Whether EM stopped by itself, at a maximum that means something: a group that has closed in on a few rows does not."""
    n_iter = int(em.n_iter_)
    steps = counted(n_iter, "iteration")
    height = f"{em.log_likelihood_:,.3f}"
    passed, sentence = True, f"EM converged in {steps} (log-likelihood {height})."
    if em.status_ in ("collapsed", "spurious"):
        passed, sentence = False, f"EM found no proper maximum: {em.message_[:1].lower()}{em.message_[1:]}."
    elif not em.converged_:
        passed, sentence = False, f"EM did not converge in {steps}; raise max_iter."
    return Check("em_convergence", float(n_iter), None, passed, sentence)


def predictive(probability: float, table: pd.DataFrame, n_replicates: int) -> Check:
    """Whether the data look like data from the model."""
    passed = probability >= _PREDICTIVE
    if np.isnan(probability):
        sentence = "The posterior predictive check cannot be computed for these rows."
    elif passed:
        sentence = (
            f"The data look like data from the model: of {n_replicates} simulated data sets, "
            f"{probability:.0%} deviate at least as much as the real one."
        )
    else:
        tails = np.minimum(table["tail_probability"].to_numpy(), 1 - table["tail_probability"].to_numpy())
        row = table.iloc[int(np.nan_to_num(tails, nan=1.0).argmin())]
        sentence = f"The data do not look like data from the model; the {row['statistic']} of {_features(row)} gives it away most."
    return Check("predictive", probability, _PREDICTIVE, bool(passed), sentence)


def doubt(responsibilities: pd.DataFrame) -> Check:
    """How many points have no clear group."""
    total = len(responsibilities)
    count = int((responsibilities["posterior_doubt"] > DOUBT).sum())
    share = count / total
    sentence = f"No point is in doubt: each of {total:,} has a group with at least {1 - DOUBT:.0%} probability."
    if count:
        points = f"{count:,} of {total:,} points {'is' if count == 1 else 'are'}"
        sentence = f"{points} in doubt: less than {1 - DOUBT:.0%} probability for any one group."
    if share > _IN_DOUBT:
        sentence += _cause(responsibilities[responsibilities["posterior_doubt"] > DOUBT])
    return Check("doubt", share, _IN_DOUBT, share <= _IN_DOUBT, sentence)


def causes(doubtful: pd.DataFrame) -> tuple[int, int]:
    """Return how many of these rows are in doubt because the groups overlap, and how many for want of data."""
    counts = doubtful["cause"].value_counts()
    return int(counts.get("overlap", 0)), int(counts.get("too little data", 0))


def _cause(doubtful: pd.DataFrame) -> str:
    """Why so many are in doubt, in a sentence that follows another one."""
    overlap, little = causes(doubtful)
    if not little:
        return " The groups overlap."
    if not overlap:
        return " The groups are not known well enough."
    return f" Of these, {overlap:,} are where the groups overlap, {little:,} lack data."


def columns(X: FloatArray, names: Sequence[str]) -> tuple[Check, ...]:
    """A warning if a column follows exactly from others; otherwise nothing."""
    sentence = dependent_columns(X, names)
    return (Check("columns", None, None, False, sentence),) if sentence else ()


def alignment(order: tuple[int, ...]) -> tuple[Check, ...]:
    """A note if the posterior's components had to be renamed to meet EM's; otherwise nothing."""
    moved = [k for k, other in enumerate(order) if k != other]
    if not moved:
        return ()
    pairs = ", ".join(f"{order[k]} to {k}" for k in moved)
    sentence = f"The posterior was labelled by another EM fit; its groups were renamed to match this one ({pairs})."
    return (Check("alignment", float(len(moved)), None, True, sentence),)
