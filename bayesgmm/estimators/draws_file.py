"""Posteriors as netCDF files: what takes most room follows from the rest, and is computed again where it is asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from bayesgmm.covariance import family
from bayesgmm.estimators import _trees
from bayesgmm.estimators.posterior import BayesianGaussianMixture
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.files import atomic_write
from bayesgmm.params import MixtureParams

__all__ = ["holds_draws", "load_draws", "save_draws"]

_POINTWISE, _UNLABELLED = "log_likelihood", "unlabelled_posterior"
_FACTORS = "lower Cholesky factors: a covariance is scale_tril @ scale_tril.T"
_ORDER = "component k by the sampler's own labels is component order[k] of group posterior"
_LEFT_OUT = "covariances, correlations and pointwise log-likelihoods follow from these: bayesgmm.load_draws computes them again"
_ENGINE: Any = "h5netcdf"


def save_draws(posterior: BayesianGaussianMixture, path: str | os.PathLike[str]) -> None:
    """Write the draws of a posterior to a netCDF file, the whole of it or nothing.

    The file holds the groups of ``datatree_``, every number to the last bit, but not what :func:`load_draws` finds again from the rest:
    of the parameters weights, means, standard deviations and Cholesky factors are written, of the sampler's own labels their order, and
    no log-likelihoods of single rows. 4,000 draws of four groups in ten columns, given 2,500 rows, take 14 MB in place of 142.

    Parameters
    ----------
    posterior : BayesianGaussianMixture
        Fitted.
    path : str or path-like
        Missing folders are created, a file that is there is replaced.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> fit = bg.BayesianGaussianMixture(2, draws=200, tune=200, random_state=1, progressbar=False).fit(X)
    >>> with TemporaryDirectory() as folder:
    ...     bg.save_draws(fit, f"{folder}/posterior.nc")
    ...     again = bg.load_draws(f"{folder}/posterior.nc")
    >>> again.identical(fit.datatree_)
    True
    """
    params, tree = posterior.params_, posterior.datatree_
    # Where more is known of rows than their values, these do not follow from what is written.
    keeps_pointwise = posterior.rows_.known is not None
    groups = {str(name): node.to_dataset() for name, node in tree.children.items() if name != _POINTWISE or keeps_pointwise}
    ends = groups["posterior"]["feature_bis"]
    factors = xr.Variable(("chain", "draw", "component", "feature", "feature_bis"), params.scale_tril, {"long_name": _FACTORS})
    groups["posterior"] = (
        groups["posterior"][["weights", "means", "sds", *_dependent(groups["posterior"])]]
        .assign(scale_tril=factors)
        .assign_coords(feature_bis=ends)
    )
    order = xr.Variable(("chain", "draw", "component"), _order(groups[_UNLABELLED], groups["posterior"]), {"long_name": _ORDER})
    groups[_UNLABELLED] = groups[_UNLABELLED][["component"]].assign(order=order)
    attrs = {**tree.attrs, "left_out": _LEFT_OUT, "pointwise": _POINTWISE in tree.children and not keeps_pointwise}
    stored = _trees.tree(groups, {str(name): _attribute(value) for name, value in attrs.items() if value is not None})
    packed = {"zlib": True, "complevel": 4, "shuffle": True}
    encoding = {
        f"/{name}": {str(key): packed for key, values in group.data_vars.items() if values.dtype.kind in "fi"}
        for name, group in groups.items()
    }
    with atomic_write(path) as temporary:
        stored.to_netcdf(temporary, engine=_ENGINE, encoding=encoding)


def load_draws(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read the draws that :func:`save_draws`, a report or ``bayesgmm fit --save-draws`` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    xarray.DataTree
        With all groups that ``datatree_`` of the fit had, and every number as it was.

    Raises
    ------
    InvalidDataError
        If there is no such file, or it holds something else.

    Examples
    --------
    A file that holds something else is refused:

    >>> import bayesgmm as bg
    >>> try:
    ...     bg.load_draws("measurements.csv")
    ... except bg.exceptions.InvalidDataError as error:
    ...     print(error)
    There is no file 'measurements.csv'.
    """
    source = Path(path)
    if not source.is_file():
        raise InvalidDataError(f"There is no file {str(source)!r}.")
    if not holds_draws(source):
        raise InvalidDataError(f"{source} does not hold draws that bayesgmm wrote: give the posterior.nc of a report.")
    with xr.open_datatree(source, engine=_ENGINE) as file:
        groups = {str(name): node.to_dataset().load() for name, node in file.children.items()}
        attrs = {str(name): value for name, value in file.attrs.items()}
    if attrs.pop("left_out", None) is None:  # written as a whole, by xarray
        return _trees.tree(groups, attrs)
    kind, read = family(attrs["covariance_type"]), groups["posterior"]
    features = [str(name) for name in read["feature"].values]
    params = MixtureParams(*(read[name].to_numpy() for name in ("weights", "means", "scale_tril")))
    raw = params.permute(groups[_UNLABELLED]["order"].to_numpy())
    more = read[_dependent(read)].drop_vars("feature_bis", errors="ignore")
    for name, mixtures in (("posterior", params), (_UNLABELLED, raw)):
        groups[name] = _trees.parameters(mixtures, kind, features, ("chain", "draw"))
    if more.data_vars:
        groups["posterior"] = groups["posterior"].merge(more)
    if attrs.pop("pointwise"):
        rows, every = groups["observed_data"]["x"], params
        if (all_draws := groups.get("mixtures")) is not None:
            every = MixtureParams(*(all_draws[name].to_numpy() for name in ("weights", "means", "scale_tril")))
        groups[_POINTWISE] = _trees.per_draw({"x": (("obs",), every.log_density(rows.to_numpy()))}, {"obs": rows["obs"].to_index()})
    return _trees.tree(groups, attrs)


def _dependent(group: xr.Dataset) -> list[str]:
    """Names of what weights depend on, as far as the group has them."""
    return [name for name in ("sample_weights", "coefficients") if name in group]


def holds_draws(path: Path) -> bool:
    """Whether a file is netCDF and bears our version at its root."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return "bayesgmm_version" in file.attrs


def _order(raw: xr.Dataset, named: xr.Dataset) -> np.ndarray:
    """Which component of the named draws each one of the sampler's is (chain, draw, component): they have the same numbers."""
    same = np.stack([(raw["weights"].values[..., k, None] == named["weights"].values) for k in raw["component"].values], axis=-2)
    for name in ("means", "sds"):
        same &= (raw[name].values[..., :, None, :] == named[name].values[..., None, :, :]).all(-1)
    return same.argmax(-1).astype(np.int32)


def _attribute(value: Any) -> Any:
    """An attribute as netCDF can hold it, which knows no truth values."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    return value if isinstance(value, str | int | float | np.generic | np.ndarray | list | tuple) else str(value)
