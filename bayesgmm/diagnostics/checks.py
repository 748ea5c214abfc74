"""Checks of convergence: each a number, its threshold, and one plain sentence."""

from collections.abc import Iterator
from math import isfinite, nan

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.diagnostics.independent import verdict_without_chains
from bayesgmm.diagnostics.modes import find_modes
from bayesgmm.diagnostics.outcome import overall
from bayesgmm.diagnostics.switching import Switching, find_switching
from bayesgmm.diagnostics.tables import convergence_table, sampler_table, varying
from bayesgmm.diagnostics.validity import draws_kind
from bayesgmm.diagnostics.value import Check

__all__ = ["diagnose", "verdict"]

R_HAT = 1.01
ESS_PER_CHAIN = 100
E_BFMI = 0.3
MCSE = 0.1
# A component with less than one row's worth of weight in more of the draws than this is as good as not there.
EMPTY = 0.05
# The probability that two rows are of one group has this standard deviation where draws are of more than one mind.
_UNDECIDED = 0.1


def diagnose(datatree: xr.DataTree) -> tuple[Check, ...]:
    """Check whether the chains of a posterior have converged; the first check is the overall verdict.

    Held to: R-hat < 1.01, bulk and tail ESS of at least 100 a chain, a Monte Carlo error of the mean of at most a tenth
    of the posterior standard deviation, no divergences, E-BFMI of at least 0.3, no draw at the greatest tree depth, and
    no component with less than one row's worth of weight in more than 5 % of the draws. Whatever cannot be computed
    counts as failed; only a quantity that does not vary, the entropy of groups that do not overlap, is left out, and named.
    The last two say something of speed and of the model, and do not fail the verdict. The sampler's own labels are reported
    and held to nothing: they may swap without harm (see the module's text).

    The verdict's sentence begins with one of: converged; converged up to labels; switching within chains; different modes
    (which chains, and how the modes differ); not converged; convergence cannot be judged. Of draws that are no chains
    (``attrs["draws"]``) other questions are asked, and the sentence begins with: reliable; not reliable; cannot be relied on.

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
    return verdict(convergence_table(datatree), sampler_table(datatree), _n_chains(datatree), datatree)


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
    still = [] if "varies" not in convergence else sorted(set(convergence["quantity"]) - set(varying(convergence)["quantity"]))
    convergence = varying(convergence)
    if datatree is not None and draws_kind(datatree) != "chains":
        return verdict_without_chains(convergence, datatree, (*_empty(datatree),))
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
    return (overall(checks, sampler, n_chains, modes, switching, _slow_pair(convergence, n_chains)), *checks)


def _slow_pair(convergence: pd.DataFrame, n_chains: int) -> str:
    """Two rows, such as "3 and 8", that are of one group in some stretches of the chains and not in others; "" if there are none."""
    rows = convergence[(convergence["labels"] == "label-free") & convergence["quantity"].str.startswith("co_clustering[")]
    rows = rows[(rows["sd"] > _UNDECIDED) & (rows["ess_bulk"] < ESS_PER_CHAIN * n_chains)]
    if rows.empty:
        return ""
    name = str(rows["quantity"].iloc[int(rows["ess_bulk"].to_numpy().argmin())])
    return name.removeprefix("co_clustering[").removesuffix("]")


def _n_chains(datatree: xr.DataTree) -> int:
    """Chains of the first group that has any."""
    return next((int(node.sizes["chain"]) for node in datatree.children.values() if "chain" in node.sizes), 0)


def _worst(convergence: pd.DataFrame, labels: str, column: str, *, greatest: bool) -> tuple[float, str]:
    """Worst value of a column over one kind of labels, and whose it is; NaN beats everything."""
    rows = convergence[convergence["labels"] == labels]
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
    present = set(convergence["labels"])
    agree = True
    for labels, words in (
        ("label-free", "quantities that need no labels"),
        ("relabelled", "the relabelled parameters"),
    ):
        if labels in present or labels == "label-free":
            value, name = _worst(convergence, labels, "r_hat", greatest=True)
            agree = agree and value < R_HAT
            sentence = _r_hat_sentence(value, name, words)
            if labels == "label-free":
                sentence += "".join(f" Of {name} there is nothing to judge: it does not vary." for name in still)
            yield Check(f"r_hat_{labels.replace('-', '_')}", value, R_HAT, value < R_HAT, sentence)
    if "raw" in present:
        value, _ = _worst(convergence, "raw", "r_hat", greatest=True)
        yield Check("r_hat_raw", value, None, True, _raw_sentence(value, agree=agree))


def _r_hat_sentence(value: float, name: str, words: str) -> str:
    """R-hat in words."""
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
    judged = convergence[convergence["labels"] != "raw"].assign(labels="judged")
    for kind, words in (("bulk", "centre"), ("tail", "tails")):
        value, name = _worst(judged, "judged", f"ess_{kind}", greatest=False) if len(judged) else (nan, "nothing")
        yield Check(f"ess_{kind}", value, needed, value >= needed, _ess_sentence(value, name, needed, words))


def _ess_sentence(value: float, name: str, needed: float, words: str) -> str:
    """Effective sample size in words."""
    if not isfinite(value):
        return f"The effective sample size for the {words} cannot be computed (first for {name})."
    if value >= needed:
        return f"Draws enough for the {words}: smallest effective sample size {value:,.0f}."
    return f"Too few draws for the {words}: effective sample size {value:,.0f} for {name}, it should be {needed:,.0f}."


def _errors(convergence: pd.DataFrame) -> Iterator[Check]:
    """Monte Carlo standard error of the means, in posterior standard deviations; tables without it are not asked."""
    judged = convergence[convergence["labels"] != "raw"]
    if not {"mcse_mean", "sd"} <= set(judged) or judged.empty:
        return
    value, name = _worst(judged.assign(labels="judged", ratio=judged["mcse_mean"] / judged["sd"]), "judged", "ratio", greatest=True)
    if not isfinite(value):
        sentence = f"The Monte Carlo error of the means cannot be computed (first for {name})."
    elif value <= MCSE:
        sentence = f"Means are known well: largest Monte Carlo error {value:.3f} posterior standard deviations."
    else:
        sentence = f"The mean of {name} has a Monte Carlo error of {value:.2f} posterior standard deviations, it should be {MCSE}."
    yield Check("mcse", value, MCSE, value <= MCSE, sentence)


def _labels(switching: Switching | None) -> Iterator[Check]:
    """A note on labels that switch within chains."""
    if switching is None or not switching.shares:
        return
    worst = max(switching.shares.values())
    sentence = "The sampler's labels do not switch within any chain."
    if switching.within:
        often = ", ".join(f"{switching.shares[chain]:.0%} of chain {chain}" for chain in switching.within)
        sentence = f"The sampler's labels switch within chains ({often}); relabelled draws are used."
    yield Check("label_switching", worst, None, True, sentence)


def _empty(datatree: xr.DataTree | None) -> Iterator[Check]:
    """Whether some component has less than one row's worth of weight; needs the draws and the data."""
    if datatree is None or not {"label_free", "observed_data"} <= set(datatree.children):
        return
    free, data = datatree["label_free"].to_dataset(), datatree["observed_data"].to_dataset()
    if "sorted_weights" not in free or "obs" not in data.sizes:
        return
    least = free["sorted_weights"].min("rank", skipna=False)
    share = float((~(least * data.sizes["obs"] >= 1)).mean())
    K = free.sizes["rank"]
    sentence = "Every group has weight for at least one row" + (f" in all but {share:.1%} of the draws." if share else ".")
    if share > EMPTY:
        sentence = f"A component is empty in {share:.0%} of the draws: the data may not need all {K}."
    yield Check("empty_components", share, EMPTY, share <= EMPTY, sentence)


def _sampler_checks(sampler: pd.DataFrame) -> Iterator[Check]:
    """Checks of the sampler's own statistics, as far as they are there."""
    if "divergences" in sampler:
        yield _divergences(int(sampler["divergences"].sum()), int(sampler["draws"].sum()))
    if "max_depth_hits" in sampler:
        yield _depth(int(sampler["max_depth_hits"].sum()), int(sampler["draws"].sum()))
    if "e_bfmi" in sampler:
        yield _energy(float(sampler["e_bfmi"].min(skipna=False)))


def _divergences(count: int, total: int) -> Check:
    sentence = "No divergences."
    if count:
        what = "divergence" if count == 1 else "divergences"
        sentence = f"{count:,} {what} in {total:,} draws: part of the posterior may not have been reached."
    return Check("divergences", float(count), 0.0, count == 0, sentence)


def _depth(count: int, total: int) -> Check:
    sentence = "No draw reached the greatest tree depth."
    if count:
        sentence = f"{count:,} of {total:,} draws reached the greatest tree depth: slow sampling, but valid draws."
    return Check("tree_depth", float(count), 0.0, count == 0, sentence)


def _energy(value: float) -> Check:
    if not isfinite(value):
        return Check(
            "e_bfmi",
            value,
            E_BFMI,
            False,
            "E-BFMI cannot be computed: the energy of a chain never moves or is not finite.",
        )
    good = value >= E_BFMI
    sentence = f"The chains explore the energy well (smallest E-BFMI {value:.2f})."
    if not good:
        sentence = f"E-BFMI is {value:.2f}, it should be at least {E_BFMI}: the tails of the posterior may be missed."
    return Check("e_bfmi", value, E_BFMI, good, sentence)
