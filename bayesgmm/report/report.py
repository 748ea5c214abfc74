"""The report of two fits: how it is made, and how it is written to a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.comparison import Comparison, compare
from bayesgmm.covariance import family
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import atomic_write, atomic_write_text, readable
from bayesgmm.report.answers import answers, headline
from bayesgmm.report.labels import score_labels
from bayesgmm.report.page import Material, page
from bayesgmm.report.priors import describe_priors, sensitivity
from bayesgmm.report.provenance import Origin, facts_of, recipe
from bayesgmm.selection import Choice, Selection, choose
from bayesgmm.typing import ArrayLike

__all__ = ["Report", "build_report"]


@dataclass(frozen=True, eq=False)
class Report:
    """A report of two fits.

    Attributes
    ----------
    name : str
        What the data are called.
    headline : list of str
        Exactly five plain lines: data and model, EM, posterior, groups, agreement.
    html : str
        The page, self-contained.
    summary : dict
        The same figures for programs, ready for JSON.
    comparison : Comparison
    datatree : xarray.DataTree
        The posterior.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> em = bg.GaussianMixture(2, random_state=0).fit(X)
    >>> settings = {"draws": 200, "tune": 200, "random_state": 0, "progressbar": False}
    >>> posterior = bg.BayesianGaussianMixture(2, init=em, **settings).fit(X)
    >>> report = bg.report.build_report(em, posterior, X, name="Old Faithful")
    >>> report.name, "<html" in report.html
    ('Old Faithful', True)
    """

    name: str
    headline: list[str]
    html: str = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    comparison: Comparison = field(repr=False)
    datatree: xr.DataTree = field(repr=False)

    def write(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``index.html``, ``summary.json`` and ``posterior.nc`` to a folder, each completely or not at all.

        Parameters
        ----------
        directory : str or path-like
            Made if it is missing. Reports that bayesgmm wrote there before are replaced; nothing else is touched.

        Returns
        -------
        pathlib.Path
            The page.

        Raises
        ------
        InvalidParameterError
            If ``directory`` is a file, or holds a file of one of these names that bayesgmm did not write.
        OSError
            If a file cannot be written.
        """
        folder = Path(directory)
        _check_folder(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(error.errno, f"Cannot write ({error.strerror})", str(folder)) from error
        with atomic_write(folder / "posterior.nc") as temporary:
            _storable(self.datatree).to_netcdf(temporary, engine="h5netcdf")
        text = json.dumps(self.summary, indent=2, ensure_ascii=False, allow_nan=False)
        atomic_write_text(folder / "summary.json", text + "\n")
        atomic_write_text(folder / "index.html", self.html)
        return folder / "index.html"


def _check_folder(folder: Path) -> None:
    """Refuse to write over what is not ours."""
    if folder.exists() and not folder.is_dir():
        raise InvalidParameterError(f"{folder} is a file; give a folder for the report.")
    for name, ours in _OURS.items():
        path = folder / name
        if path.exists() and not (path.is_file() and ours(path)):
            raise InvalidParameterError(f"{path} was not written by bayesgmm; choose another folder.")


def _is_our_text(mark: str) -> Callable[[Path], bool]:
    """A test for a mark near the beginning of a text file."""

    def ours(path: Path) -> bool:
        with path.open("rb") as file:
            return mark.encode() in file.read(4096)

    return ours


def _is_our_netcdf(path: Path) -> bool:
    """Whether a netCDF file bears our version at its root."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return "bayesgmm_version" in file.attrs


_OURS: dict[str, Callable[[Path], bool]] = {
    "index.html": _is_our_text('name="generator" content="bayesgmm'),
    "summary.json": _is_our_text('"generator": "bayesgmm'),
    "posterior.nc": _is_our_netcdf,
}


def _storable(tree: xr.DataTree) -> xr.DataTree:
    """The tree with attributes that netCDF can hold: no truth values, no None."""
    copy = tree.copy(deep=False)
    for node in copy.subtree:
        node.attrs = {key: _attribute(value) for key, value in node.attrs.items() if value is not None}
    return copy


def _attribute(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        return int(value)
    return value if isinstance(value, str | int | float | np.generic | np.ndarray | list | tuple) else str(value)


def build_report(
    em: GaussianMixture,
    posterior: BayesianGaussianMixture,
    X: ArrayLike | pd.DataFrame | None = None,
    *,
    name: str,
    source: str | None = None,
    labels: ArrayLike | pd.Series | None = None,
    selection: Selection | None = None,
    command: str | None = None,
    left_out: int = 0,
) -> Report:
    """Compare two fits and write the report of them.

    Parameters
    ----------
    em : GaussianMixture
        Fitted.
    posterior : BayesianGaussianMixture
        Fitted to the same data with the same settings.
    X : array-like or DataFrame of shape (N, D), optional
        The data, in which values may be missing (NaN); those the fits were made from by default.
    name : str
        What to call the data.
    source : str, optional
        Where they came from, such as a file's name.
    labels : array-like of shape (N,) or Series, optional
        Known labels to score the groups against, in the order of the rows; the name of a Series is shown. Some may be missing.
    selection : Selection, optional
        The models among which this one was chosen: what ``select(..., posterior=True)`` returned, of one covariance type.
    command : str, optional
        The shell command that makes this report.
    left_out : int
        How many rows of the source are not among X.

    Returns
    -------
    Report

    Raises
    ------
    InvalidParameterError
        If the fits cannot be compared (see `bayesgmm.comparison.compare`), or the selection chose another number of groups.
    InvalidDataError
        If labels are not one a row, or too many different ones.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> em = bg.GaussianMixture(2, random_state=0).fit(X)
    >>> settings = {"draws": 200, "tune": 200, "random_state": 0, "progressbar": False}
    >>> posterior = bg.BayesianGaussianMixture(2, init=em, **settings).fit(X)
    >>> report = build_report(em, posterior, X, name="Old Faithful")
    >>> print(report.headline[0])
    Old Faithful: 272 rows, 2 columns (eruptions, waiting); 2 groups, full covariance.
    """
    comparison = compare(em, posterior, X)
    choice = None if selection is None else _choice(selection, comparison.em_params.n_components)
    known = None if labels is None else score_labels(labels, comparison)
    origin = Origin(readable(str(name)), None if source is None else readable(str(source)), command, int(left_out))
    facts = facts_of(em, posterior, comparison, origin, known)
    moved, reason = sensitivity(posterior)
    material = Material(
        facts=facts,
        comparison=comparison,
        answers=answers(comparison, choice, moved),
        choice=choice,
        known=known,
        priors=describe_priors(posterior.priors_, comparison.features, family(em.covariance_type).name),
        sensitivity=moved,
        insensitive=reason,
        recipe=recipe(em, posterior, {**facts, "source": source}, choice),
    )
    return Report(
        name=origin.name,
        headline=headline(origin.name, facts, comparison, choice),
        html=page(material),
        summary={**facts, **comparison.summary(), **material.summary()},
        comparison=comparison,
        datatree=posterior.datatree_,
    )


def _choice(selection: Selection, n_components: int) -> Choice:
    choice = choose(selection)
    if choice.n_components != n_components:
        raise InvalidParameterError(
            f"The selection takes {choice.n_components} components and the fits have {n_components}: "
            "give the fits of choose(selection), or leave out selection."
        )
    return choice
