"""Does the prior matter? Power-scaling of each of its parts, in numbers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.diagnostics.convergence import scalars
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.text import listed
from bayesgmm.typing import FloatArray

__all__ = ["prior_sensitivity"]

THRESHOLD = 0.05
"""Sensitivity from which a parameter counts as moved: the value that Kallioinen et al. (2024) propose, and ArviZ takes."""
LEAST_DRAWS = 25
"""Fewer do not give ArviZ the five draws in each tail that its weights are smoothed by."""
_PARTS = {"weights": "weights", "means": "means", "sds": "standard deviations", "corr": "correlations"}
_NEEDED = ("posterior", "log_prior", "label_free")


def prior_sensitivity(datatree: xr.DataTree) -> pd.DataFrame:
    """Ask how much each part of the prior matters for the posterior, by scaling that part's power up and down.

    For each part (weights, means, standard deviations, correlations) the posterior is reweighted as if the part's density were
    raised to powers near one, and the change of every parameter's distribution is measured; nothing is sampled again. The table
    names the parameter that moves most. Parameters are those after relabelling. Draws that have not converged say little about any
    part, so ask :func:`diagnose` first.

    Parameters
    ----------
    datatree : xarray.DataTree
        ``datatree_`` of a fitted ``BayesianGaussianMixture``.

    Returns
    -------
    pandas.DataFrame
        One row for each part of the prior: ``parameter`` that it moves most, its sensitivity to that part (``prior``) and to the
        ``likelihood``, and a ``sentence`` that says what this means.

    Raises
    ------
    InvalidDataError
        If the tree lacks what is needed; the message says which groups.

    Notes
    -----
    Kallioinen, Paananen, Bürkner and Vehtari (2024), Statistics and Computing 34, 57, with ArviZ's ``psense``. Densities are scaled
    as those of weights, means, standard deviations and Cholesky factors of correlations; on another scale (the log of a standard
    deviation, say) a part of the prior has other powers.

    ``arviz.psense`` takes the ``datatree_`` as it is. ``arviz.psense_summary`` (ArviZ 1.3) calls an axis of its own "component", so it
    is asked about one component at a time: ``arviz.psense_summary(tree, var_names=["means", "sds"], coords={"component": 0})``.
    Both add up the log-likelihoods of rows as they are; here each row counts as often as its weight says.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> fit = bg.BayesianGaussianMixture(2, draws=200, tune=200, random_state=1, progressbar=False).fit(X)
    >>> list(prior_sensitivity(fit.datatree_).index)
    ['weights', 'means', 'sds', 'corr']
    """
    if not isinstance(datatree, xr.DataTree):
        raise InvalidDataError(
            f"prior_sensitivity needs the datatree_ of a fitted BayesianGaussianMixture, got {type(datatree).__name__}"
        )
    if "mixtures" in datatree.children:
        raise InvalidDataError(
            "prior_sensitivity: the draws have different numbers of components, and so different priors: fit with the number that is most "
            "probable, or with other priors, and compare"
        )
    missing = [name for name in _NEEDED if name not in datatree.children]
    if missing:
        raise InvalidDataError(
            f"prior_sensitivity: the tree has no group {listed(missing)}: only draws that bayesgmm sampled come with it"
        )
    names, draws = zip(
        *scalars(datatree["posterior"].to_dataset(), "relabelled", given=bool(datatree.attrs.get("fixed"))), strict=True
    )
    flat = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"theta": (("chain", "draw", "parameter"), np.stack(draws, -1))}),
            "log_prior": datatree["log_prior"].to_dataset(),
            # The sum over rows counts their weights, and is there however many rows there are.
            "log_likelihood": datatree["label_free"].to_dataset()[["log_likelihood"]],
        }
    )
    by_likelihood = _sensitivity(flat, "likelihood", "log_likelihood")
    parts = [part for part in _PARTS if part in flat["log_prior"]]
    rows = [_row(part, names, _sensitivity(flat, "prior", part), by_likelihood) for part in parts]
    return pd.DataFrame(rows, index=pd.Index(parts, name="part of the prior"))


def _sensitivity(tree: xr.DataTree, group: str, variable: str) -> FloatArray:
    """Power-scaling sensitivity of every parameter to one term; NaN where it cannot be measured."""
    import arviz_stats  # imported late, as it takes a second

    term = tree["log_prior" if group == "prior" else "log_likelihood"].to_dataset()[variable].values
    draws = tree["posterior"].to_dataset()["theta"].values
    moving = np.ptp(draws, axis=(0, 1)).any()
    if not np.isfinite(term).all() or term.size < LEAST_DRAWS or not moving:
        return np.full(draws.shape[-1], np.nan)
    if np.ptp(term) <= 1e-12 * np.abs(term).max():  # ArviZ warns about weights that are all equal, such as a flat density gives
        return np.zeros(draws.shape[-1])
    try:
        return np.asarray(arviz_stats.psense(tree, group=group, group_var_names=variable)["theta"], dtype=float)
    except ValueError:  # draws that hardly moved: the weights' tails are all one value, to which no tail can be fitted
        return np.full(draws.shape[-1], np.nan)


def _row(part: str, names: tuple[str, ...], prior: FloatArray, likelihood: FloatArray) -> dict[str, Any]:
    # What cannot be measured counts as failure: argmax stops at the first NaN.
    most = int(np.argmax(prior))
    return {
        "parameter": names[most],
        "prior": float(prior[most]),
        "likelihood": float(likelihood[most]),
        "sentence": _sentence(_PARTS[part], names[most], float(prior[most]), float(likelihood[most])),
    }


def _sentence(part: str, parameter: str, prior: float, likelihood: float) -> str:
    if not np.isfinite([prior, likelihood]).all():
        return f"Whether the prior of the {part} matters cannot be measured for {parameter}: take more draws, check convergence."
    if prior == 0:
        return f"The prior of the {part} is flat: no power of it says anything else."
    if prior < THRESHOLD:
        return f"The prior of the {part} hardly matters: even {parameter}, which it moves most, stays ({prior:.2f})."
    if likelihood >= THRESHOLD:
        return (
            f"The prior of the {part} moves {parameter} ({prior:.2f}), and so do the data ({likelihood:.2f}): they may pull in "
            "different directions, so compare with a wider prior."
        )
    return (
        f"The prior of the {part} decides {parameter} ({prior:.2f}), about which the data say little ({likelihood:.2f}): "
        "report the prior with the result. More rows, fewer groups or a simpler covariance would help, longer chains would not."
    )
