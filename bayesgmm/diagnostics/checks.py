"""Checks of convergence: each a number, its threshold, and one plain sentence."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.diagnostics.tables import convergence_table, sampler_table

__all__ = ["Check", "diagnose", "verdict"]

R_HAT = 1.01
ESS_PER_CHAIN = 100
E_BFMI = 0.3
# From here up the chains are not merely short: they sit in different places.
_APART = 1.1
# A working NUTS chain moves at nearly every draw.
_MOVING = 0.05
_KINDS = (("label-free", "quantities that need no labels"), ("relabelled", "the relabelled parameters"))


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
    """

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def diagnose(datatree: xr.DataTree) -> tuple[Check, ...]:
    """Check whether the chains of a posterior have converged; the first check is the overall verdict.

    Held to: R-hat < 1.01, bulk and tail ESS of at least 100 a chain, no divergences, E-BFMI of at least 0.3, no draw
    at the greatest tree depth. Whatever cannot be computed counts as failed. The sampler's own labels are reported and
    held to nothing: they may swap between chains without harm (see the module's text).

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
    return verdict(convergence_table(datatree), sampler_table(datatree), _n_chains(datatree))


def verdict(convergence: pd.DataFrame, sampler: pd.DataFrame, n_chains: int) -> tuple[Check, ...]:
    """Checks from tables already made; see `diagnose`.

    Parameters
    ----------
    convergence : pandas.DataFrame
        From `convergence_table`.
    sampler : pandas.DataFrame
        From `sampler_table`.
    n_chains : int
        How many chains were run.

    Returns
    -------
    tuple of Check
        The overall verdict first.
    """
    checks = (*_r_hats(convergence), *_sizes(convergence, n_chains), *_sampler_checks(sampler))
    return (_overall(checks, sampler, n_chains), *checks)


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


def _r_hats(convergence: pd.DataFrame) -> Iterator[Check]:
    """R-hat by kind of labels; kinds that are not there are not asked about, the label-free ones always."""
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
    return f"The chains disagree on {words}: R-hat {value:.2f} for {name}, it should be below {R_HAT}."


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


def _overall(checks: tuple[Check, ...], sampler: pd.DataFrame, n_chains: int) -> Check:
    """The verdict over all checks; slow sampling alone does not fail it."""
    judged = [check for check in checks if check.threshold is not None and check.name != "tree_depth"]
    failed = {check.name: check for check in judged if not check.passed}
    value = next((check.value for check in checks if check.name == "r_hat_label_free"), None)
    if n_chains < 2:
        sentence = "Convergence cannot be judged: only one chain was run. Run at least four."
        return Check("convergence", value, R_HAT, False, sentence)
    if not failed:
        return Check("convergence", value, R_HAT, True, _converged(checks))
    return Check("convergence", value, R_HAT, False, f"Not converged: {_reason(failed, sampler)}")


def _converged(checks: tuple[Check, ...]) -> str:
    """Words for success."""
    raw = next((check.value for check in checks if check.name == "r_hat_raw"), None)
    if raw is not None and raw >= R_HAT:
        return "Converged up to labels: the chains agree once the groups that swapped names are matched."
    return "Converged: the chains agree with each other, and there are draws enough."


def _reason(failed: dict[str, Check], sampler: pd.DataFrame) -> str:
    """The most telling of the failed checks, in words."""
    stuck = _stuck(sampler)
    if stuck:
        return f"chain {', '.join(stuck)} did not move. Run again with another random_state or longer tuning."
    if any(check.value is None or np.isnan(check.value) for check in failed.values()):
        return "some draws are not finite or never move, so it cannot be shown that the chains agree."
    if "r_hat_label_free" in failed and (failed["r_hat_label_free"].value or 0) > _APART:
        return "the chains found different answers, which relabelling cannot mend. Try more tuning, or fewer components."
    if "r_hat_label_free" in failed or "ess_bulk" in failed or "ess_tail" in failed:
        return (
            "the chains agree only roughly; run longer (more draws)."
            if "r_hat_label_free" in failed
            else "too few effective draws; run longer."
        )
    if "r_hat_relabelled" in failed:
        return "the chains agree on the density but not on the groups, which overlap too much. Try fewer components."
    return next(iter(failed.values())).sentence


def _stuck(sampler: pd.DataFrame) -> list[str]:
    """Chains that hardly ever moved."""
    if "moved" not in sampler:
        return []
    return [str(chain) for chain in sampler.index[sampler["moved"] < _MOVING]]
