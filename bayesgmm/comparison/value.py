"""The value that `compare` returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.comparison.groups import GroupsUsed
from bayesgmm.comparison.partition import PartitionView
from bayesgmm.comparison.verdicts import DOUBT
from bayesgmm.diagnostics import Check
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Comparison", "jsonable"]

_MOST_LISTED = 1000


@dataclass(frozen=True, eq=False)
class Comparison:
    """EM and the posterior side by side; ``print`` it for the verdicts.

    Attributes
    ----------
    parameters : pandas.DataFrame
        One row a free scalar parameter, in the data's units: ``parameter`` ("weight", "mean", "sd", "correlation"),
        ``component`` (a number, or "all" where the family shares it), ``feature`` and ``feature_bis`` ("" where there
        is none), ``em``, the posterior's ``mean``, ``sd`` and 95% interval ``lower`` to ``upper`` (the 2.5% and 97.5
        % quantiles), ``distance``, which is (em - mean) / sd, ``rank``, the share of draws below EM's value (ties count
        half), and ``se_ratio``, EM's standard error over the posterior's sd; NaN where the likelihood's curvature gives none.
    responsibilities : pandas.DataFrame
        One row an observation: ``em_0 ...``, ``posterior_0 ...`` (mean over draws), ``sd_0 ...`` (across draws),
        ``em_label``, ``posterior_label``, ``largest_gap``, ``em_doubt`` and ``posterior_doubt`` (1 - the largest
        responsibility), ``divergence``, that of Jensen and Shannon between the two fits' responsibilities in bits (0 to 1), and
        ``cause``, why the posterior is in doubt: "clear", "overlap" or "too little data".
    partition : PartitionView
        EM's partition of the rows in the posterior's eyes.
    convergence, sampler : pandas.DataFrame
        See ``bayesgmm.diagnostics``.
    predictive : pandas.DataFrame
        One row a statistic of the posterior predictive check: ``observed``, the replicates' ``mean``, ``lower`` and
        ``upper`` (95%), and ``tail_probability``, the share of replicates above the observed value (ties count half).
    groups : GroupsUsed
        How many of the components have points, and which two may be one group: ``occupied``, the posterior probability of each number of
        components with points, and ``same`` (K, K), the probability that two components are one hill of the density.
    verdicts : tuple of Check
        The comparison in plain words.
    checks : tuple of Check
        Every check of convergence.
    order : tuple of int
        Component k here is component ``order[k]`` of the posterior as it was fitted.
    features : tuple of str
        Names of the columns.
    X : array of shape (N, D)
        The rows compared.
    em_params, posterior_params : MixtureParams
        Of EM, batch shape ``()``, and of the posterior, ``(chain, draw)``, with the components in the same order.
    replicates : array of shape (n_replicates, N, D)
        Simulated data sets of the predictive check.
    datatree : xarray.DataTree
        The posterior's draws.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> em = bg.GaussianMixture(2, random_state=0).fit(X)
    >>> settings = {"draws": 200, "tune": 200, "random_state": 0, "progressbar": False}
    >>> comparison = bg.compare(em, bg.BayesianGaussianMixture(2, init=em, **settings).fit(X))
    >>> len(comparison.changed), comparison.parameters["parameter"].unique().tolist()
    (0, ['weight', 'mean', 'sd', 'correlation'])
    """

    parameters: pd.DataFrame
    responsibilities: pd.DataFrame
    convergence: pd.DataFrame
    sampler: pd.DataFrame
    predictive: pd.DataFrame
    partition: PartitionView
    groups: GroupsUsed
    verdicts: tuple[Check, ...]
    checks: tuple[Check, ...]
    order: tuple[int, ...]
    features: tuple[str, ...]
    X: FloatArray = field(repr=False)
    em_params: MixtureParams = field(repr=False)
    posterior_params: MixtureParams = field(repr=False)
    replicates: FloatArray = field(repr=False)
    datatree: xr.DataTree = field(repr=False)

    def __str__(self) -> str:
        return "\n".join(check.sentence for check in self.verdicts)

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.X):,} points in {self.em_params.n_components} groups>\n{self}"

    @property
    def changed(self) -> pd.DataFrame:
        """Rows of ``responsibilities`` whose label differs between EM and the posterior, the largest gap first."""
        table = self.responsibilities
        return table[table["em_label"] != table["posterior_label"]].sort_values("largest_gap", ascending=False)

    @property
    def doubtful(self) -> pd.DataFrame:
        """Rows of ``responsibilities`` whose most probable group has less than 90%, the most doubtful first."""
        table = self.responsibilities
        return table[table["posterior_doubt"] > DOUBT].sort_values("posterior_doubt", ascending=False)

    @property
    def mean_responsibilities(self) -> FloatArray:
        """Posterior mean responsibilities (N, K)."""
        return self.responsibilities[[f"posterior_{k}" for k in range(self.em_params.n_components)]].to_numpy()

    @property
    def filled(self) -> FloatArray:
        """``X`` (N, D) with its gaps at their conditional means under EM's mixture: where pictures show such rows."""
        from bayesgmm.em import impute

        return impute(self.X, self.em_params, None, np.random.default_rng())

    def verdict(self, name: str) -> Check:
        """Return the verdict of this name, such as ``"agreement"``.

        Parameters
        ----------
        name : str

        Returns
        -------
        Check

        Raises
        ------
        KeyError
            If there is none.
        """
        return {check.name: check for check in self.verdicts}[name]

    def summary(self) -> dict[str, Any]:
        """Return the comparison as plain dicts, lists, numbers and strings, ready for JSON; what is not finite is None.

        Returns
        -------
        dict
            Keys ``n_observations``, ``n_components``, ``features``, ``n_changed``, ``largest_gap``, ``n_in_doubt``,
            ``verdicts``, ``checks``, ``parameters``, ``changed``, ``in_doubt`` (at most 1000 rows each),
            ``partition``, ``groups``, ``convergence``, ``sampler``, ``predictive``.
        """
        tables = {"changed": self.changed.head(_MOST_LISTED), "in_doubt": self.doubtful.head(_MOST_LISTED)}
        records = {name: _records(table.rename_axis("row").reset_index()) for name, table in tables.items()}
        return {
            "n_observations": len(self.X),
            "n_components": self.em_params.n_components,
            "features": list(self.features),
            "n_changed": len(self.changed),
            "largest_gap": jsonable(self.responsibilities["largest_gap"].max()),
            "n_in_doubt": len(self.doubtful),
            "verdicts": [_check(check) for check in self.verdicts],
            "checks": [_check(check) for check in self.checks],
            "parameters": _records(self.parameters),
            **records,
            "partition": _partition(self.partition),
            "groups": self.groups.summary(),
            "convergence": _records(self.convergence),
            "sampler": _records(self.sampler.reset_index()),
            "predictive": _records(self.predictive),
        }

    def plot_groups(self, **kwargs: Any) -> Axes:
        """Draw the groups with both fits; see `bayesgmm.plots.plot_groups`.

        Parameters
        ----------
        **kwargs
            Passed on.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from bayesgmm import plots

        return plots.plot_groups(
            self.filled, self.em_params, self.posterior_params, **self._labelled(), feature_names=self.features, **kwargs
        )

    def plot_uncertainty(self, **kwargs: Any) -> Axes:
        """Draw how unsure each point's group is; see `bayesgmm.plots.plot_uncertainty`.

        Parameters
        ----------
        **kwargs
            Passed on.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from bayesgmm import plots

        return plots.plot_uncertainty(
            self.filled, self.em_params, self.mean_responsibilities, feature_names=self.features, **kwargs
        )

    def plot_occupied(self, **kwargs: Any) -> Axes:
        """Draw how many of the groups have points; see `bayesgmm.plots.plot_occupied`.

        Parameters
        ----------
        **kwargs
            Passed on.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from bayesgmm import plots

        return plots.plot_occupied(self.groups.occupied, **kwargs)

    def plot_forest(self, **kwargs: Any) -> Any:
        """Draw every parameter by both fits; see `bayesgmm.plots.plot_forest`.

        Parameters
        ----------
        **kwargs
            Passed on.

        Returns
        -------
        array of matplotlib.axes.Axes
        """
        from bayesgmm import plots

        return plots.plot_forest(self.parameters, **kwargs)

    def plot_predictive(self, **kwargs: Any) -> Any:
        """Draw the data among replicated data sets; see `bayesgmm.plots.plot_predictive`.

        Parameters
        ----------
        **kwargs
            Passed on.

        Returns
        -------
        array of matplotlib.axes.Axes
        """
        from bayesgmm import plots

        return plots.plot_predictive(self.X, self.replicates, feature_names=self.features, **kwargs)

    def plot_trace(self, **kwargs: Any) -> Any:
        """Draw the chains; see `bayesgmm.plots.plot_trace`.

        Parameters
        ----------
        **kwargs
            Passed on.

        Returns
        -------
        arviz_plots.PlotCollection
        """
        from bayesgmm import plots

        return plots.plot_trace(self.datatree, **kwargs)

    def plot_rank(self, **kwargs: Any) -> Any:
        """Draw the ranks of the chains' draws; see `bayesgmm.plots.plot_rank`.

        Parameters
        ----------
        **kwargs
            Passed on.

        Returns
        -------
        arviz_plots.PlotCollection
        """
        from bayesgmm import plots

        return plots.plot_rank(self.datatree, **kwargs)

    def _labelled(self) -> dict[str, Any]:
        return {"labels": self.responsibilities["posterior_label"].to_numpy()}


def _check(check: Check) -> dict[str, Any]:
    """A check as a plain dict."""
    return {name: jsonable(getattr(check, name)) for name in ("name", "value", "threshold", "passed", "sentence")}


def _partition(view: PartitionView) -> dict[str, Any]:
    """EM's partition in the posterior's eyes as a plain dict."""
    numbers = {
        name: jsonable(getattr(view, name)) for name in ("inside", "distance", "radius", "rank", "em_expected_loss", "n_draws")
    }
    least = {"expected_loss": jsonable(view.best.expected_loss), "n_groups": int(view.best.labels.max()) + 1}
    return {**numbers, **least, "n_rows": len(view.rows)}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as plain dicts."""
    return [{str(key): jsonable(value) for key, value in row.items()} for row in table.to_dict("records")]


def jsonable(value: Any) -> Any:
    """Return a scalar as JSON has it: plain numbers and strings, None for what is not finite.

    Parameters
    ----------
    value : scalar
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
