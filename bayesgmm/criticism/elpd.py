"""How well a fit predicts rows that it has not seen, as a value, and what the weights of rows mean when one is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.diagnostics.verdict import PARETO_K
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.text import listed
from bayesgmm.typing import FloatArray

__all__ = ["MOST_LISTED", "Elpd", "times_each", "without"]

MOST_LISTED = 5
_WORDS = {
    "psis": "by importance sampling (PSIS)",
    "refit": "by fitting again without the row",
    "exact": "by fitting again without the row",
    "one-step": "by one step from the fit",
}


@dataclass(frozen=True, eq=False)
class Elpd:
    """Expected log predictive density of rows that were left out; ``print`` it for the result in words.

    Attributes
    ----------
    table : pandas.DataFrame
        For each row ``elpd`` (log of the density that it has when it is left out), ``in_sample`` (the same when it is not), ``weight``
        (how often the row counts), ``pareto_k`` (NaN where nothing was reweighted) and ``how`` the elpd was found: "psis", "refit" (the
        posterior sampled without the row), "exact" (EM without the row), "one-step" (EM's change to first order) or "held out" (in a fold).
        Rows of weight zero have NaN.
    kind : {"loo", "kfold"}
    n_draws : int
        Draws behind each number; 1 for EM.
    n_folds : int
        Folds of a ``kfold``, otherwise the number of rows left out one at a time.
    good_k : float
        Pareto k above which importance sampling cannot be relied on; 0.7, and less with few draws (Vehtari, Simpson, Gelman, Yao and Gabry
        2024, Journal of Machine Learning Research 25:72).
    notes : tuple of str
        What to know before trusting the numbers.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import loo
    >>> found = loo(bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful()), progressbar=False)
    >>> round(found.elpd, 1), round(found.se, 1)
    (-1142.3, 17.8)
    """

    table: pd.DataFrame
    kind: str
    n_draws: int
    n_folds: int
    good_k: float = PARETO_K
    notes: tuple[str, ...] = ()

    @property
    def elpd(self) -> float:
        """Sum of the rows' log predictive densities; larger is better."""
        return self._total(self._rows["elpd"])

    @property
    def se(self) -> float:
        """Standard error of :attr:`elpd`, from the rows (Vehtari, Gelman and Gabry 2017, Statistics and Computing 27, eq. 23)."""
        rows = self._rows
        return float(np.sqrt(self._total((rows["elpd"] - self.elpd / rows["weight"].sum()) ** 2)))

    @property
    def p(self) -> float:
        """How much better rows look that were seen, in sum: the effective number of parameters. NaN for folds."""
        return self._total(self._rows["in_sample"] - self._rows["elpd"])

    @property
    def high_k(self) -> pd.Index:
        """Names of the rows whose Pareto k is too high and that were not fitted again."""
        return self._rows.index[(self._rows["how"] == "psis") & ~(self._rows["pareto_k"] <= self.good_k)]

    @property
    def _rows(self) -> pd.DataFrame:
        return self.table[self.table["weight"] > 0]

    def _total(self, values: pd.Series) -> float:
        """Return the sum over rows, each as often as it counts."""
        return float(self._rows["weight"].to_numpy() @ values.to_numpy())

    def to_arviz(self) -> Any:
        """Return the same as ArviZ's ``ELPDData``, which ``arviz.compare`` takes; a row of weight two is there twice.

        Raises
        ------
        InvalidDataError
            If weights are not whole numbers, which ArviZ's comparison cannot count.
        """
        from arviz_stats.utils import ELPDDataLOO, ELPDDataLOOKFold

        rows = self._rows
        if (rows["weight"] != rows["weight"].round()).any():
            raise InvalidDataError("ArviZ compares row by row, so sample_weight must be whole numbers; `elpd` and `se` take any")
        rows = rows.loc[rows.index.repeat(rows["weight"].astype(int))]
        elpd_i, pareto_k = (xr.DataArray(rows[name], {"obs": range(len(rows))}, "obs") for name in ("elpd", "pareto_k"))
        sums = {"elpd": self.elpd, "se": self.se, "p": self.p, "n_samples": self.n_draws, "n_data_points": len(rows)}
        common = {**sums, "scale": "log", "warning": len(self.high_k) > 0, "elpd_i": elpd_i}
        if self.kind == "kfold":
            return ELPDDataLOOKFold(**common, good_k=None, n_folds=self.n_folds)
        return ELPDDataLOO(**common, good_k=self.good_k, pareto_k=pareto_k)

    def __str__(self) -> str:
        n = self._rows["weight"].sum()
        what = f"{self.n_folds}-fold cross-validation" if self.kind == "kfold" else "Leaving out one row at a time"
        said = f"{what}: elpd {self.elpd:.1f}, standard error {self.se:.1f}, over {n:g} rows."
        if not np.isnan(self.p):
            said += f" Rows look better by {self.p:.1f} in sum when they are seen (effective number of parameters)."
        return "\n".join(part for part in (said, self._how(), *self.notes) if part)

    def _how(self) -> str:
        counts = self._rows["how"].value_counts()
        parts = [f"{counts[how]} {words}" for how, words in _WORDS.items() if how in counts]
        if not parts:
            return ""
        high = (
            f" Pareto k is above {self.good_k:.2f} for rows {listed(self.high_k, MOST_LISTED)}, whose numbers cannot be relied on: "
            "raise max_refits to fit again without them."
        )
        return f"How the rows were left out: {'; '.join(parts)}.{high if len(self.high_k) else ''}"

    def __repr__(self) -> str:
        return f"<Elpd {self.elpd:.1f}>\n{self}"


def pointwise(
    elpd: FloatArray,
    in_sample: FloatArray | float,
    weight: FloatArray,
    k: FloatArray | float,
    how: np.ndarray | str,
    names: pd.Index,
) -> pd.DataFrame:
    """Return the table of an `Elpd`."""
    table = pd.DataFrame({"elpd": elpd, "in_sample": in_sample, "weight": weight, "pareto_k": k, "how": how}, index=names)
    table.loc[table["weight"] == 0, ["elpd", "in_sample", "pareto_k"]] = np.nan
    return table


def times_each(sample_weight: FloatArray | None, n_rows: int) -> FloatArray:
    """Return how often each row (N,) counts.

    Raises
    ------
    InvalidDataError
        If a weight is not a whole number: half a row cannot be left out.
    """
    weight = np.ones(n_rows) if sample_weight is None else sample_weight
    broken = np.flatnonzero(weight != np.round(weight))
    if len(broken):
        raise InvalidDataError(
            "one row is left out at a time, so the sample_weight of the fit must be whole numbers: "
            f"it is {weight[broken[0]]:g} in row {broken[0]}. Use kfold, which takes any weights"
        )
    return weight


def without(sample_weight: FloatArray | None, n_rows: int, row: int) -> FloatArray:
    """Return the weights (N,) with one less for a row."""
    weight = np.ones(n_rows) if sample_weight is None else sample_weight.copy()
    weight[row] -= 1.0
    return weight
