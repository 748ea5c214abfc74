"""One verdict over all checks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesgmm.diagnostics.modes import Modes, chain_words
from bayesgmm.diagnostics.switching import Switching
from bayesgmm.diagnostics.value import Check

__all__ = ["overall"]

# A working NUTS chain moves at nearly every draw.
_MOVING = 0.05
# From here up the chains are not merely short: they sit in different places.
_APART = 1.1
# These say something of speed or of the model, not of whether the draws can be used.
_NOT_JUDGED = ("tree_depth", "empty_components")


def overall(
    checks: tuple[Check, ...],
    sampler: pd.DataFrame,
    n_chains: int,
    modes: Modes | None,
    switching: Switching | None,
    slow_pair: str = "",
) -> Check:
    """Return the check "convergence"; its sentence begins with the outcome, up to a colon.

    The outcomes: converged, converged up to labels, switching within chains, different modes, not converged, convergence
    cannot be judged. ``slow_pair`` names two rows that are of one group for long stretches of
    the chains only.
    """
    judged = [check for check in checks if check.threshold is not None and check.name not in _NOT_JUDGED]
    failed = {check.name: check for check in judged if not check.passed}
    threshold = next((check.threshold for check in checks if check.name == "r_hat_label_free"), None)
    value = next((check.value for check in checks if check.name == "r_hat_label_free"), None)
    passed = n_chains >= 2 and not failed
    if n_chains < 2:
        sentence = "Convergence cannot be judged: only one chain was run. Run at least four."
    elif failed:
        sentence = _failure(failed, sampler, modes, switching, slow_pair)
    else:
        sentence = _success(checks, switching)
    empty = next((check for check in checks if check.name == "empty_components" and not check.passed), None)
    return Check("convergence", value, threshold, passed, sentence if empty is None else f"{sentence} {empty.sentence}")


def _success(checks: tuple[Check, ...], switching: Switching | None) -> str:
    """Words for success."""
    if switching is not None and switching.within:
        return (
            f"Switching within chains: the sampler's labels change within {chain_words(switching.within)}, "
            "which does no harm: once the groups are matched, the chains agree."
        )
    raw = next((check for check in checks if check.name == "r_hat_raw"), None)
    threshold = next((check.threshold for check in checks if check.name == "r_hat_label_free"), None)
    differ = raw is not None and raw.value is not None and threshold is not None and raw.value >= threshold
    if differ or (switching is not None and switching.between):
        return "Converged up to labels: the chains agree once the groups that swapped names are matched."
    return "Converged: the chains agree with each other, and there are draws enough."


def _failure(
    failed: dict[str, Check], sampler: pd.DataFrame, modes: Modes | None, switching: Switching | None, slow_pair: str
) -> str:
    """The most telling of what failed, in words."""
    stuck = _stuck(sampler)
    if stuck:
        return f"Not converged: {chain_words(stuck)} did not move. Run again with another random_state or longer tuning."
    if any(check.value is None or np.isnan(check.value) for check in failed.values()):
        return "Not converged: some draws are not finite or never move, so it cannot be shown that the chains agree."
    if modes is not None and len(modes.chains) > 1 and "r_hat_label_free" in failed:
        return _different(modes)
    if switching is not None and switching.within and set(failed) <= {"r_hat_relabelled", "ess_bulk", "ess_tail", "mcse"}:
        return (
            f"Switching within chains: the sampler's labels change within {chain_words(switching.within)}, and the relabelled "
            "groups still cannot be told apart: they overlap. Quantities that need no labels may be used; or try fewer components."
        )
    return f"Not converged: {_reason(failed, slow_pair)}"


def _different(modes: Modes) -> str:
    """Which chains found what."""
    places = "; ".join(chain_words(names) for names in modes.chains)
    return " ".join(
        [
            f"Different modes: the chains found different answers, which relabelling cannot mend ({places}).",
            *modes.sentences,
            "Try more tuning, or fewer components; stacking() weighs the chains by what they predict.",
        ]
    )


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


def _stuck(sampler: pd.DataFrame) -> list[str]:
    """Chains that hardly ever moved."""
    if "moved" not in sampler:
        return []
    return [str(chain) for chain in sampler.index[sampler["moved"] < _MOVING]]
