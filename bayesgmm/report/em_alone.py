"""What a report says where there is no posterior: EM's answer, under the names that a comparison has for the same things."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.comparison import Comparison, verdicts
from bayesgmm.comparison.groups import GroupsUsed, groups_used
from bayesgmm.comparison.tables import parameter_table
from bayesgmm.criticism.group_shapes import shapes_of
from bayesgmm.criticism.predictive_checks import predictive_check
from bayesgmm.diagnostics import Check
from bayesgmm.estimators import GaussianMixture
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.files import json_records, jsonable
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["EMAlone", "Findings", "em_alone", "judge"]

_MOST_LISTED = 1000
_MOST_REPLICATED = 40_000_000
"""Numbers to simulate for the predictive check: some ten seconds' work."""
_ERRORS = {"weight": "weights", "mean": "means", "sd": "sds"}


@dataclass(frozen=True, eq=False)
class EMAlone:
    """What EM says of the rows, as far as a page without a posterior needs it.

    Attributes
    ----------
    parameters : pandas.DataFrame
        One row a free scalar parameter: ``parameter``, ``component``, ``feature``, ``feature_bis``, ``em``, and ``se``, its standard error,
        NaN where there is none.
    responsibilities : pandas.DataFrame
        One row an observation: ``em_0 ...``, ``em_label``, ``em_doubt``.
    predictive : pandas.DataFrame
        As in a comparison; the data sets are simulated from EM's mixture.
    groups : GroupsUsed
        Of EM's mixture, taken for known.
    verdicts : tuple of Check
    features : tuple of str
    X : array of shape (N, D)
    em_params : MixtureParams
    replicates : array of shape (n_replicates, N, D)
    """

    parameters: pd.DataFrame
    responsibilities: pd.DataFrame
    predictive: pd.DataFrame
    groups: GroupsUsed
    verdicts: tuple[Check, ...]
    features: tuple[str, ...]
    X: FloatArray = field(repr=False)
    em_params: MixtureParams = field(repr=False)
    replicates: FloatArray = field(repr=False)

    @property
    def doubtful(self) -> pd.DataFrame:
        """Rows of ``responsibilities`` whose most probable group has less than 90%, the most doubtful first."""
        table = self.responsibilities
        return table[table["em_doubt"] > verdicts.DOUBT].sort_values("em_doubt", ascending=False)

    @property
    def mean_responsibilities(self) -> FloatArray:
        """Responsibilities (N, K)."""
        return self.responsibilities[[f"em_{k}" for k in range(self.em_params.n_components)]].to_numpy()

    def verdict(self, name: str) -> Check:
        """Return the verdict of this name."""
        return {check.name: check for check in self.verdicts}[name]

    def summary(self) -> dict[str, Any]:
        """Return the numbers ready for JSON."""
        return {
            "n_observations": len(self.X),
            "n_components": self.em_params.n_components,
            "features": list(self.features),
            "n_in_doubt": len(self.doubtful),
            "verdicts": [{name: jsonable(value) for name, value in vars(check).items()} for check in self.verdicts],
            "parameters": json_records(self.parameters),
            "in_doubt": json_records(self.doubtful.head(_MOST_LISTED).rename_axis("row").reset_index()),
            "groups": self.groups.summary(),
            "predictive": json_records(self.predictive),
        }


type Findings = Comparison | EMAlone
"""What a report has to say: of both fits, or of EM's alone."""


def judge(found: Findings) -> str:
    """Return whose word on rows counts, as columns of ``responsibilities`` begin with it: "posterior" where there is one, else "em"."""
    return "posterior" if isinstance(found, Comparison) else "em"


def em_alone(em: GaussianMixture, X: ArrayLike | pd.DataFrame | None) -> EMAlone:
    """Say what a page needs of an EM fit.

    Parameters
    ----------
    em : GaussianMixture
        Fitted.
    X : array-like or DataFrame of shape (N, D), optional
        The data; those that were fitted by default.

    Raises
    ------
    InvalidParameterError
        If the fit has a noise component or there is none, or X is missing and the fit kept no rows.
    InvalidDataError
        If X cannot be used.
    """
    if not hasattr(em, "params_"):
        raise InvalidParameterError("em is not fitted: call its fit(X) first.")
    if em.noise:
        raise InvalidParameterError("A report has no place for a noise component: fit GaussianMixture with noise=False.")
    rows = np.array(em.rows_.in_memory().values if X is None else X, dtype=float, order="C")
    # Of the rows of the fit more is known than their values.
    own = em.rows_.known is not None and em.rows_.is_in_memory and np.array_equal(em.rows_.values, rows, equal_nan=True)
    chunk, said = (
        Chunk(rows, em.rows_.weights if own else None, known=em.rows_.known if own else None),
        em.row_summary(None if own else X),
    )
    features, one = tuple(em.feature_names_), em.params_.reshape(1)
    table = pd.DataFrame(said["responsibility"].to_numpy(), index=said["obs"].to_index()).add_prefix("em_")
    table = table.assign(em_label=said["label"].to_numpy(), em_doubt=said["doubt"].to_numpy())
    n_replicates = int(np.clip(_MOST_REPLICATED // rows.size, 100, 400))
    check = predictive_check(one, chunk, features, n_replicates, 0)
    return EMAlone(
        parameters=_parameters(em, features),
        responsibilities=table,
        predictive=check.table,
        groups=groups_used(one, chunk, 0),
        verdicts=(
            verdicts.em_convergence(em),
            verdicts.predictive(check.probability, check.table, n_replicates),
            verdicts.doubt(table.rename(columns={"em_doubt": "posterior_doubt"}).assign(cause="overlap")),
            *verdicts.shapes(shapes_of(one, chunk, features, random_state=0)),
            *verdicts.columns(rows, features),
        ),
        features=features,
        X=rows,
        em_params=em.params_,
        replicates=check.replicates,
    )


def _parameters(em: GaussianMixture, features: tuple[str, ...]) -> pd.DataFrame:
    """Free scalar parameters, with the standard errors that the likelihood's slope and curvature give."""
    twice = em.params_.reshape(1)[np.zeros(2, dtype=int)]
    table = parameter_table(em, twice, features)[["parameter", "component", "feature", "feature_bis", "em"]]
    try:
        errors = em.standard_errors()
    except (InvalidParameterError, InvalidDataError):  # a prior, equal weights, or a family without
        return table.assign(se=np.nan)
    return table.assign(se=[_error(row, errors, features) for row in table.itertuples()])


def _error(row: Any, errors: xr.Dataset, features: tuple[str, ...]) -> float:
    """Standard error of a parameter; NaN where it has none, as of correlations."""
    if row.parameter not in _ERRORS:
        return np.nan
    # What all groups or all columns share stands in each of their places.
    place = [row.component if isinstance(row.component, int) else 0, features.index(row.feature) if row.feature in features else 0]
    values = errors[_ERRORS[row.parameter]].values
    return float(values[tuple(place[: values.ndim])])
