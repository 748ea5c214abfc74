"""Weights for chains that found different answers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.diagnostics.chains import Modes, find_modes, named_chains
from bayesgmm.diagnostics.convergence import chain_names, require_valid
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.text import counted, listed

__all__ = ["Stacking", "stack"]

ENOUGH = 0.01
"""Weights below this are said to be nothing."""


@dataclass(frozen=True, eq=False)
class Stacking:
    """How much each chain should count; ``print`` it for the result in words.

    Attributes
    ----------
    table : pandas.DataFrame
        For each chain ``weight``, ``elpd`` (its expected log predictive density, by PSIS leave-one-out) and ``se``, and ``high_k``, the
        number of rows whose Pareto k says that this cannot be relied on.
    modes : Modes
        Which chains settled in the same place.

    Examples
    --------
    >>> table = pd.DataFrame({"weight": [1.0, 0.0], "elpd": [-9.0, -19.0], "se": [1.0, 1.0], "high_k": [0, 0]}, index=["0", "1"])
    >>> print(Stacking(table, Modes((("0",), ("1",)), ())))
    Stacking weights, by how well each predicts rows left out: chain 0 1.00; chain 1 nothing.
    """

    table: pd.DataFrame
    modes: Modes

    def __str__(self) -> str:
        groups = self.modes.chains or tuple((name,) for name in self.table.index)
        weights = [float(self.table.loc[list(names), "weight"].sum()) for names in groups]
        parts = [
            f"{named_chains(names)} {weight:.2f}" if weight >= ENOUGH else f"{named_chains(names)} nothing"
            for names, weight in sorted(zip(groups, weights, strict=True), key=lambda pair: -pair[1])
        ]
        text = f"Stacking weights, by how well each predicts rows left out: {'; '.join(parts)}."
        bad = int(self.table["high_k"].max())
        return text + (f" Pareto k is high for up to {counted(bad, 'row')} of a chain: the weights are rough." if bad else "")


def stack(datatree: xr.DataTree) -> Stacking:
    """Weigh chains that settled in different modes by how well they predict together.

    Where chains cannot cross between modes, their number in each mode says nothing of the mode's mass. Stacking weights are those with
    which the chains' mixture predicts rows that were left out best; a chain in a minor mode gets next to none.

    Parameters
    ----------
    datatree : xarray.DataTree
        With groups ``posterior`` and ``log_likelihood`` (pointwise, variable ``x``).

    Returns
    -------
    Stacking

    Raises
    ------
    InvalidDataError
        If there are no chains to weigh (independent draws, a bootstrap) or no pointwise log-likelihood, or the leave-one-out densities
        of a chain cannot be computed.

    Notes
    -----
    Yao, Vehtari and Gelman (2022), Journal of Machine Learning Research 23 (79), with PSIS leave-one-out densities of each chain
    (Vehtari, Gelman and Gabry 2017, Statistics and Computing 27, 1413-1432). The weights are not posterior probabilities of the modes:
    two chains that predict alike may share a weight in any way, so sums over the chains of a mode are what to read.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.diagnostics import stack
    >>> model = bg.BayesianGaussianMixture(2, draws=200, tune=200, random_state=1, progressbar=False)
    >>> stack(model.fit(bg.datasets.load_faithful()).datatree_).table["weight"].sum().round(6)
    np.float64(1.0)
    """
    require_valid(datatree, "loo")
    require_valid(datatree, "stacking")
    if "log_likelihood" not in datatree.children or "x" not in datatree["log_likelihood"]:
        raise InvalidDataError(
            "stacking needs the log-likelihood of every row under every draw, group 'log_likelihood' with variable 'x', and the DataTree "
            f"has only {listed(sorted(datatree.children))}"
        )
    from arviz_stats import compare, loo

    pointwise = datatree["log_likelihood"].to_dataset()
    names = chain_names(pointwise)
    found = {}
    for c, name in enumerate(names):
        one = {"log_likelihood": pointwise.isel(chain=[c]), "posterior": datatree["posterior"].to_dataset().isel(chain=[c])}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # high k is told in the table
                found[name] = loo(xr.DataTree.from_dict(one), pointwise=True, var_name="x")
        except ValueError as error:
            raise InvalidDataError(
                f"the leave-one-out densities of chain {name} cannot be computed, probably because it never moved: {error}"
            ) from error
    weights = {names[0]: 1.0}
    if len(names) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many models, of which one is chosen: chains are not models
            weights = compare(found, method="stacking", round_to="none")["weight"].to_dict()
    weight = np.clip([weights[name] for name in names], 0.0, None)
    table = pd.DataFrame(
        {
            "weight": weight / weight.sum(),
            "elpd": [found[name].elpd for name in names],
            "se": [found[name].se for name in names],
            "high_k": [int((found[name].pareto_k > found[name].good_k).sum()) for name in names],
        },
        index=pd.Index(names, name="chain"),
    )
    return Stacking(table, find_modes(datatree))
