"""The groups found against labels that were known all along."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from bayesgmm.comparison import Comparison
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.partitions import calibration_error, draw_labels
from bayesgmm.report.em_alone import Findings, judge
from bayesgmm.typing import ArrayLike, IntArray

__all__ = ["KnownLabels", "check_labels", "score_labels"]

MOST_LABELS = 40
"""More different values than these are a measurement rather than labels."""
_MOST_DRAWS, _MOST_ROWS = 500, 5_000
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """How well groups and known labels go together; the labels took no part in the fits.

    Attributes
    ----------
    name : str
        Of the labels.
    values : tuple of str
        The different labels.
    truth : int array of shape (N,)
        Position of each row's label in ``values``; -1 where it has none.
    table : pandas.DataFrame
        Rows by label and group: the posterior's where there is one, EM's where not.
    ari_em, ari_posterior : float
        Adjusted Rand index of EM's groups and of the posterior's, if there is one: 1 for the same partition, about 0 for one made by chance
        (Hubert and Arabie 1985, Journal of Classification 2, 193-218).
    ari_interval : pair of float, or None
        Holds 95 % of the indices of partitions drawn from the posterior.
    group_of : dict of int to str
        The label that each group stands for, where there are as many groups as labels: of all ways to pair them the one with the most
        rows in common.
    differs : bool array of shape (N,)
        Rows with a label that is not their group's; all False where groups stand for no labels.
    doubtful : bool array of shape (N,)
        Rows whose group is in doubt.
    calibration : float or None
        How far responsibilities are from the share of rows that have the group's label (expected calibration error).
    """

    name: str
    values: tuple[str, ...]
    truth: IntArray = field(repr=False)
    table: pd.DataFrame = field(repr=False)
    ari_em: float
    ari_posterior: float | None
    ari_interval: tuple[float, float] | None
    group_of: dict[int, str]
    differs: np.ndarray = field(repr=False)
    doubtful: np.ndarray = field(repr=False)
    calibration: float | None

    @property
    def n_labelled(self) -> int:
        """Rows that have a label."""
        return int((self.truth >= 0).sum())

    @property
    def n_differ(self) -> int:
        """Rows whose label is not their group's."""
        return int(self.differs.sum())

    @property
    def n_differ_in_doubt(self) -> int:
        """Those of them whose group is in doubt anyway."""
        return int((self.differs & self.doubtful).sum())

    def label(self, position: int) -> str:
        """Label of a row; a dash where it has none."""
        return self.values[self.truth[position]] if self.truth[position] >= 0 else "–"

    def summary(self) -> dict[str, Any]:
        """Return the numbers ready for JSON."""
        return {
            "name": self.name,
            "n_labelled": self.n_labelled,
            "adjusted_rand_index": {
                "em": self.ari_em,
                "posterior": self.ari_posterior,
                "interval": self.ari_interval and list(self.ari_interval),
            },
            "table": {label: [int(n) for n in row] for label, row in zip(self.values, self.table.to_numpy(), strict=True)},
            "group_of": {str(k): label for k, label in self.group_of.items()},
            "n_differ": self.n_differ,
            "n_differ_in_doubt": self.n_differ_in_doubt,
            "calibration_error": self.calibration,
        }


def score_labels(labels: ArrayLike | pd.Series, found: Findings) -> KnownLabels:
    """Score what was found against known labels.

    Parameters
    ----------
    labels : array-like of shape (N,)
        Anything with few different values, in the order of the rows; those where it is missing are left out. A Series says by its name
        what they are.
    found : Comparison or EMAlone

    Returns
    -------
    KnownLabels

    Raises
    ------
    InvalidDataError
        If there are not as many labels as rows, none, or too many different ones.
    """
    series = labels if isinstance(labels, pd.Series) else pd.Series(np.asarray(labels).ravel())
    called = "label" if series.name is None else str(series.name)
    truth, values = _coded(series, len(found.X), called)
    table, K, rows = found.responsibilities, found.em_params.n_components, truth >= 0
    groups = table[f"{judge(found)}_label"].to_numpy()
    index = {name: float(adjusted_rand_score(truth[rows], table[f"{name}_label"][rows])) for name in ("em", judge(found))}
    counts = np.zeros((len(values), K), dtype=int)
    np.add.at(counts, (truth[rows], groups[rows]), 1)
    # Which group stands for each label, if there are as many of either.
    order = linear_sum_assignment(-counts)[1] if len(values) == K else np.array([], dtype=int)
    group_of = {int(k): label for k, label in zip(order, values, strict=False)}
    differs = np.zeros(len(truth), dtype=bool)
    if group_of:
        differs[rows] = np.array([group_of[k] for k in groups[rows]]) != np.array(values)[truth[rows]]
    return KnownLabels(
        name=called,
        values=values,
        truth=truth,
        table=pd.DataFrame(counts, index=pd.Index(values, name=called), columns=pd.RangeIndex(K, name="group")),
        ari_em=index["em"],
        ari_posterior=index.get("posterior"),
        ari_interval=_interval(truth, found) if isinstance(found, Comparison) else None,
        group_of=group_of,
        differs=differs,
        doubtful=table.index.isin(found.doubtful.index),
        calibration=calibration_error(found.mean_responsibilities[rows][:, order], truth[rows]) if group_of else None,
    )


def check_labels(labels: pd.Series, n_rows: int) -> None:
    """Raise InvalidDataError unless these can be labels of so many rows: before hours of fitting rather than after."""
    _coded(labels, n_rows, str(labels.name))


def _coded(series: pd.Series, n_rows: int, name: str) -> tuple[IntArray, tuple[str, ...]]:
    """Labels as numbers (N,), -1 where missing, and their names in order."""
    if len(series) != n_rows:
        raise InvalidDataError(f"There are {len(series)} labels ({name}) for {n_rows} rows: give one for each row.")
    codes, values = pd.factorize(series.map(str, na_action="ignore").to_numpy(dtype=object), sort=True)
    if not len(values):
        raise InvalidDataError(f"The labels ({name}) are all missing.")
    if len(values) > MOST_LABELS:
        raise InvalidDataError(
            f"{name} has {len(values)} different values, too many for labels (at most {MOST_LABELS}): give a column that names groups."
        )
    return codes, tuple(values)


def _interval(truth: IntArray, comparison: Comparison) -> tuple[float, float]:
    """Adjusted Rand indices of partitions drawn from the posterior."""
    rows = np.flatnonzero(truth >= 0)
    rows = rows if len(rows) <= _MOST_ROWS else rows[np.linspace(0, len(rows) - 1, _MOST_ROWS).astype(int)]
    draws = draw_labels(comparison.posterior_params.thin(_MOST_DRAWS), np.ascontiguousarray(comparison.X[rows]), random_state=0)
    found = [adjusted_rand_score(truth[rows], labels) for labels in draws]
    lower, upper = np.quantile(found, _INTERVAL)
    return float(lower), float(upper)
