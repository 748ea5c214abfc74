"""What many replicates say together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.calibration.coverage import Coverage
from bayesgmm.calibration.designs import Design
from bayesgmm.calibration.reliability import Reliability
from bayesgmm.calibration.replicate import LEVELS, N_DRAWS, Outcome
from bayesgmm.calibration.uniformity import Uniformity, judge_ranks
from bayesgmm.diagnostics import Check

__all__ = ["Calibration", "Group"]

LEAST_P = 0.01
"""Ranks are called uneven below this, after multiplying by the number of quantities (Bonferroni)."""
MOST_ERRORS = 3.0
"""A coverage is called wrong when it lies further from what is claimed, in standard errors."""


@dataclass(frozen=True, eq=False)
class Group:
    """All replicates of one design.

    Parameters
    ----------
    design : Design
    outcomes : tuple of Outcome

    Examples
    --------
    >>> from bayesgmm.calibration.designs import DESIGNS
    >>> outcome = Outcome(ranks={"log_likelihood": 37}, covered={}, ess=812.0, converged=True)
    >>> Group(DESIGNS[0], (outcome,)).ranks.shape
    (1, 1)
    """

    design: Design
    outcomes: tuple[Outcome, ...]

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Ranks of the truth: one row a replicate, one column a quantity."""
        return pd.DataFrame([outcome.ranks for outcome in self.outcomes])

    @cached_property
    def uniformity(self) -> dict[str, Uniformity]:
        """How uniform the ranks of each quantity are."""
        return {str(name): judge_ranks(ranks.to_numpy(), N_DRAWS + 1) for name, ranks in self.ranks.items()}

    @property
    def p_value(self) -> float:
        """Least p-value of all quantities, times their number; at most one."""
        return min(1.0, len(self.uniformity) * min(found.p_value for found in self.uniformity.values()))

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """Share of the intervals that hold the truth.

        One row for each method, what the intervals are of, and claimed ``level``: ``coverage``, its standard error ``se`` (over
        replicates, as parameters of one data set err together; at least that of independent intervals), ``errors`` (distance from the
        level in standard errors) and ``missing`` (share of parameters that have no interval, which are left out).
        """
        keys = self.outcomes[0].covered
        return pd.DataFrame([row for key in keys for row in self._coverage(key)])

    def _coverage(self, key: tuple[str, str]) -> list[dict[str, Any]]:
        held = np.stack([outcome.covered[key] for outcome in self.outcomes])  # (replicate, level, parameter)
        missing = float(np.isnan(held).mean())
        rows: list[dict[str, Any]] = []
        for i, level in enumerate(LEVELS):
            coverage, se = _share(held[:, i], level)
            head = {"method": key[0], "what": key[1], "level": level}
            rows.append({**head, "coverage": coverage, "se": se, "errors": (coverage - level) / se, "missing": missing})
        return rows

    @property
    def checks(self) -> tuple[Check, ...]:
        """Whether ranks are uniform and the posterior's intervals hold what they claim; for a planted mistake, whether it is found."""
        return (self._rank_check(), self._coverage_check()) if self.design.is_right else (self._control_check(),)

    def _rank_check(self) -> Check:
        passed = self.p_value > LEAST_P
        words = "are uniform, as they must be" if passed else f"are not uniform: look at the {self._worst()}"
        return Check(
            "ranks", self.p_value, LEAST_P, passed, f"{self.design.title}: the ranks of the truth {words} ({self._says()})."
        )

    def _control_check(self) -> Check:
        found = self.p_value <= LEAST_P
        words = f"was found out, most clearly by the {self._worst()}" if found else "was not found out"
        title = self.design.title[:1].lower() + self.design.title[1:]
        return Check("control", self.p_value, LEAST_P, found, f"The planted mistake ({title}) {words} ({self._says()}).")

    def _coverage_check(self) -> Check:
        table = self.coverage[self.coverage["method"] == "posterior"]
        worst = table.iloc[int(table["errors"].abs().to_numpy().argmax())]
        away = abs(float(worst["errors"]))
        passed = away <= MOST_ERRORS
        words = "hold what they claim" if passed else "do not hold what they claim"
        sentence = (
            f"{self.design.title}: the posterior's intervals {words} (furthest off: {worst['coverage']:.1%} for {worst['level']:.0%} "
            f"intervals of {worst['what']}, {away:.1f} standard errors)."
        )
        return Check("coverage", away, MOST_ERRORS, passed, sentence)

    def _worst(self) -> str:
        return min(self.uniformity, key=lambda name: self.uniformity[name].p_value)

    def _says(self) -> str:
        p = f"p = {self.p_value:.2g}" if self.p_value < 1 else "p = 1"
        return f"{p} over {len(self.uniformity)} quantities"


@dataclass(frozen=True, eq=False)
class Calibration:
    """What calibration found.

    Parameters
    ----------
    groups : tuple of Group
        One for each design, planted mistakes last.
    n_replicates : int
        Of each design.
    random_state : int
    seconds : float
    reliability : Reliability, optional
        How reliable responsibilities from few rows are, where that was measured.
    coverage : Coverage, optional
        How often intervals hold truths that were fixed by design, where that was measured.

    Examples
    --------
    >>> Calibration(groups=(), n_replicates=200, random_state=1, seconds=0.0).n_replicates
    200
    """

    groups: tuple[Group, ...]
    n_replicates: int
    random_state: int
    seconds: float
    reliability: Reliability | None = None
    coverage: Coverage | None = None

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks of all designs."""
        of_groups = tuple(check for group in self.groups for check in group.checks)
        studies = (study for study in (self.reliability, self.coverage) if study is not None)
        return (*of_groups, *(check for study in studies for check in study.checks))

    @property
    def passed(self) -> bool:
        """Whether all is as it should be, planted mistakes found included."""
        return all(check.passed for check in self.checks)

    def summary(self) -> dict[str, Any]:
        """Return the numbers as plain dicts and lists, ready for JSON."""
        return {
            "n_replicates": self.n_replicates,
            "random_state": self.random_state,
            "passed": self.passed,
            "checks": [vars(check) for check in self.checks],
            "designs": [_group_summary(group) for group in self.groups],
            "reliability": None if self.reliability is None else self.reliability.summary(),
            "coverage": None if self.coverage is None else self.coverage.summary(),
        }


def _group_summary(group: Group) -> dict[str, Any]:
    tests = {
        name: {"p_value": found.p_value, "chi_square_p_value": _or_none(found.chi_square_p_value)}
        for name, found in group.uniformity.items()
    }
    rows = group.coverage.to_dict("records")
    return {
        "title": group.design.title,
        "p_value": group.p_value,
        "least_ess": min(outcome.ess for outcome in group.outcomes),
        "share_converged": float(np.mean([outcome.converged for outcome in group.outcomes])),
        "ranks": tests,
        "coverage": [{str(key): _or_none(value) for key, value in row.items()} for row in rows],
    }


def _share(held: np.ndarray, level: float) -> tuple[float, float]:
    """Return the share of intervals (replicate, parameter) that hold the truth, and its standard error; NaN is no interval."""
    there = ~np.isnan(held)
    n, total = there.sum(1), np.nan_to_num(held).sum(1)
    if not n.any():
        return float("nan"), float("nan")
    share = total.sum() / n.sum()
    # A ratio of two sums over replicates: Cochran 1977, Sampling Techniques, equation 2.46.
    spread = np.sqrt(np.sum((total - share * n) ** 2) * len(n) / max(len(n) - 1, 1)) / n.sum()
    return float(share), float(max(spread, np.sqrt(level * (1 - level) / n.sum())))


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
