"""EM and the posterior side by side: the function that compares, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.comparison import verdicts
from bayesgmm.comparison.groups import EMPartition, GroupsUsed, em_partition, groups_used
from bayesgmm.comparison.tables import match, parameter_table, responsibility_table
from bayesgmm.criticism.group_shapes import shapes_of
from bayesgmm.criticism.predictive_checks import predictive_check
from bayesgmm.diagnostics import Check, convergence_table, sampler_table
from bayesgmm.diagnostics.verdict import verdict
from bayesgmm.em import impute
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import json_records, jsonable
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from bayesgmm.typing import ArrayLike, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Comparison", "compare"]

_MOST_LISTED = 1000
# Numbers to simulate for the posterior predictive check where the user leaves it open: some ten seconds' work.
_MOST_REPLICATED = 40_000_000


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
        One row an observation: ``em_0 ...``, ``posterior_0 ...`` (mean over draws), ``sd_0 ...`` (across draws);
        ``em_label``, ``em_doubt``, ``posterior_label``, ``posterior_doubt``, and the ``cause`` of the latter, as in ``row_summary()`` of
        the fits; ``largest_gap``, and ``divergence``, that of Jensen and Shannon between the two fits' responsibilities in bits (0 to 1).
    partition : EMPartition
        EM's partition of the rows in the posterior's eyes.
    convergence, sampler : pandas.DataFrame
        See ``bayesgmm.diagnostics``.
    predictive : pandas.DataFrame
        One row a statistic of the posterior predictive check: ``observed``, the replicates' ``mean``, ``lower`` and
        ``upper`` (95%), and ``tail_probability``, the share of replicates above the observed value (ties count half).
    groups : GroupsUsed
        How many of the components have points, and which two may be one group: ``occupied``, the posterior probability of each number of
        components with points, and ``same`` (K, K), the probability that two components are one hill of the density.
    shapes : pandas.DataFrame
        Whether each group is shaped like a normal distribution (:func:`bayesgmm.criticism.group_shapes`).
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
    partition: EMPartition
    groups: GroupsUsed
    shapes: pd.DataFrame
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
        return table[table["posterior_doubt"] > verdicts.DOUBT].sort_values("posterior_doubt", ascending=False)

    @property
    def mean_responsibilities(self) -> FloatArray:
        """Posterior mean responsibilities (N, K)."""
        return self.responsibilities[[f"posterior_{k}" for k in range(self.em_params.n_components)]].to_numpy()

    @property
    def filled(self) -> FloatArray:
        """``X`` (N, D) with its gaps at their conditional means under EM's mixture: where pictures show such rows."""
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
            ``partition``, ``groups``, ``shapes``, ``convergence``, ``sampler``, ``predictive``.
        """
        tables = {"changed": self.changed.head(_MOST_LISTED), "in_doubt": self.doubtful.head(_MOST_LISTED)}
        return {
            "n_observations": len(self.X),
            "n_components": self.em_params.n_components,
            "features": list(self.features),
            "n_changed": len(self.changed),
            "largest_gap": jsonable(self.responsibilities["largest_gap"].max()),
            "n_in_doubt": len(self.doubtful),
            **{name: [_plain(check) for check in getattr(self, name)] for name in ("verdicts", "checks")},
            "parameters": json_records(self.parameters),
            **{name: json_records(table.rename_axis("row").reset_index()) for name, table in tables.items()},
            "partition": self.partition.summary(),
            "groups": self.groups.summary(),
            "shapes": json_records(self.shapes.reset_index()),
            "convergence": json_records(self.convergence),
            "sampler": json_records(self.sampler.reset_index()),
            "predictive": json_records(self.predictive),
        }

    def plot_groups(self, **kwargs: Any) -> Axes:
        """Draw the groups with both fits.

        Parameters
        ----------
        **kwargs
            For `bayesgmm.plots.plot_groups`.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from bayesgmm import plots

        labels = self.responsibilities["posterior_label"].to_numpy()
        return plots.plot_groups(
            self.filled, self.em_params, self.posterior_params, labels=labels, feature_names=self.features, **kwargs
        )

    def plot_doubt(self, **kwargs: Any) -> Axes:
        """Draw each point in the colour and size of its doubt under the posterior.

        Parameters
        ----------
        **kwargs
            For `bayesgmm.plots.plot_doubt`.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from bayesgmm import plots

        doubt = xr.Dataset(
            {"doubt": ("obs", self.responsibilities["posterior_doubt"])},
            coords={"component": np.arange(self.em_params.n_components)},
        )
        return plots.plot_doubt(self.filled, doubt, mixture=self.em_params, feature_names=self.features, **kwargs)

    def plot_forest(self, **kwargs: Any) -> Any:
        """Draw every parameter by both fits.

        Parameters
        ----------
        **kwargs
            For `bayesgmm.plots.plot_forest`.

        Returns
        -------
        array of matplotlib.axes.Axes
        """
        from bayesgmm import plots

        return plots.plot_forest(self.parameters, **kwargs)

    def plot_predictive(self, **kwargs: Any) -> Any:
        """Draw the data among replicated data sets.

        Parameters
        ----------
        **kwargs
            For `bayesgmm.plots.plot_predictive`.

        Returns
        -------
        array of matplotlib.axes.Axes
        """
        from bayesgmm import plots

        return plots.plot_predictive(self.X, self.replicates, feature_names=self.features, **kwargs)


def _plain(check: Check) -> dict[str, Any]:
    return {name: jsonable(value) for name, value in vars(check).items()}


def compare(
    em: GaussianMixture,
    posterior: BayesianGaussianMixture,
    X: ArrayLike | pd.DataFrame | None = None,
    *,
    n_replicates: int | None = None,
    random_state: int = 0,
) -> Comparison:
    """Put an EM fit and a posterior of the same model and data side by side.

    Parameters
    ----------
    em : GaussianMixture
        Fitted.
    posterior : BayesianGaussianMixture
        Fitted to the same data, with the same number of components and covariance type. If another EM fit gave it its
        labels, its components are matched to those of ``em`` by optimal assignment on the mean responsibilities, and a
        verdict says so.
    X : array-like or DataFrame of shape (N, D), optional
        Rows to compare on; the training data by default.
    n_replicates : int, optional
        Replicated data sets of the posterior predictive check, at least 20; by default 400, for large data down to 100.
    random_state : int
        Seed of the replicated data sets.

    Returns
    -------
    Comparison

    Raises
    ------
    InvalidParameterError
        If the fits differ in components, covariance type, columns or data, or X has other columns.
    InvalidDataError
        If X has infinite values, or a column with none at all.

    Notes
    -----
    Missing values (NaN) are taken as the fits take them: a row has the marginal density of what it has. The simulated data sets of the
    predictive check get the same gaps as the data.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> em = bg.GaussianMixture(2, random_state=0).fit(X)
    >>> settings = {"draws": 200, "tune": 200, "random_state": 0, "progressbar": False}
    >>> posterior = bg.BayesianGaussianMixture(2, init=em, **settings).fit(X)
    >>> compare(em, posterior).verdict("agreement").passed
    True
    """
    if n_replicates is not None and n_replicates < 20:
        raise InvalidParameterError(f"n_replicates must be at least 20, got {n_replicates}.")
    fits = match(em, posterior, X)
    if n_replicates is None:
        n_replicates = int(np.clip(_MOST_REPLICATED // fits.X.size, 100, 400))
    tree = posterior.datatree_
    responsibilities = responsibility_table(fits)
    table = parameter_table(em, fits.posterior, fits.features)
    rows = Chunk(fits.X, fits.weight, known=fits.known)
    partition = em_partition(fits.em_responsibilities, fits.posterior, rows, random_state)
    used = groups_used(fits.posterior, rows, random_state)
    check = predictive_check(fits.posterior, rows, fits.features, n_replicates, random_state)
    shapes = shapes_of(fits.posterior, rows, fits.features, random_state=random_state)
    convergence, sampler = convergence_table(tree), sampler_table(tree)
    checks = verdict(convergence, sampler, fits.posterior.batch_shape[0], tree)
    return Comparison(
        parameters=table,
        responsibilities=responsibilities,
        convergence=convergence,
        sampler=sampler,
        predictive=check.table,
        partition=partition,
        groups=used,
        shapes=shapes,
        verdicts=(
            verdicts.agreement(responsibilities),
            verdicts.partition(partition),
            verdicts.parameters(table),
            checks[0],
            verdicts.em_convergence(em),
            verdicts.predictive(check.probability, check.table, n_replicates),
            verdicts.doubt(responsibilities),
            *verdicts.groups(used),
            *verdicts.shapes(shapes),
            *verdicts.columns(fits.X, fits.features),
            *verdicts.alignment(fits.order),
        ),
        checks=checks,
        order=fits.order,
        features=fits.features,
        X=fits.X,
        em_params=fits.em,
        posterior_params=fits.posterior,
        replicates=check.replicates,
        datatree=tree,
    )
