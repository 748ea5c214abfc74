"""The report of two fits, or of EM's alone: how it is made, and how it is written to a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bayesgmm.comparison import Comparison, compare
from bayesgmm.covariance import family
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.estimators.draws_file import holds_draws, save_draws
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import atomic_write_text, readable
from bayesgmm.report.answers import Answer, answers, headline
from bayesgmm.report.em_alone import em_alone
from bayesgmm.report.figures import draw_all
from bayesgmm.report.group_names import GroupNames
from bayesgmm.report.labels import score_labels
from bayesgmm.report.page import Material, page
from bayesgmm.report.priors import describe_priors, sensitivity
from bayesgmm.report.provenance import Origin, facts_of, recipe
from bayesgmm.report.told import told_of
from bayesgmm.selection import Choice, Selection, choose
from bayesgmm.typing import ArrayLike

__all__ = ["Report", "build_report"]

_PAGE, _SUMMARY, _DRAWS, _OLD_DRAWS = "index.html", "summary.json", "posterior.nc", "posterior.previous.nc"


@dataclass(frozen=True, eq=False)
class Report:
    """A report of two fits, or of EM's alone.

    Attributes
    ----------
    name : str
        What the data are called.
    material : Material
        All that the page says.
    posterior : BayesianGaussianMixture or None
        Whose draws are written.

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
    material: Material = field(repr=False)
    posterior: BayesianGaussianMixture | None = field(repr=False)

    @property
    def headline(self) -> list[str]:
        """Five plain lines: data and model, EM, posterior, groups, agreement; without a posterior four, and why if it was asked for."""
        material = self.material
        return headline(self.name, material.facts, material.found, material.choice, material.missing, material.group_names)

    @cached_property
    def html(self) -> str:
        """The page, self-contained."""
        return page(self.material)

    @property
    def summary(self) -> dict[str, Any]:
        """The same figures for programs, ready for JSON."""
        return self.material.summary()

    @property
    def comparison(self) -> Comparison | None:
        """Both fits side by side; None without a posterior."""
        return self.material.found if isinstance(self.material.found, Comparison) else None

    def without_posterior(self, reason: str) -> Report:
        """Return the report of EM alone with another reason why there is no posterior.

        Parameters
        ----------
        reason : str
            A sentence for the page.

        Returns
        -------
        Report

        Raises
        ------
        InvalidParameterError
            If there is one.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> em = bg.GaussianMixture(2, random_state=0).fit(bg.datasets.load_faithful())
        >>> report = bg.report.build_report(em, name="Old Faithful").without_posterior("There is no posterior: the lights went out.")
        >>> report.headline[2], report.summary["posterior_missing"] in report.html
        ('There is no posterior: the lights went out.', True)
        """
        if self.posterior is not None:
            raise InvalidParameterError("This report has a posterior: build_report(em, X=X, name=...) makes one without.")
        return replace(self, material=replace(self.material, missing=reason))

    def write(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``index.html``, ``summary.json`` and, of a posterior, ``posterior.nc`` to a folder, each completely or not at all.

        Parameters
        ----------
        directory : str or path-like
            Made if it is missing. Reports that bayesgmm wrote there before are replaced; nothing else is touched. If there
            is no posterior now, the draws of one that was there are kept as ``posterior.previous.nc``.

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
        if self.posterior is not None:
            save_draws(self.posterior, folder / _DRAWS)
        elif (folder / _DRAWS).exists():
            (folder / _DRAWS).replace(folder / _OLD_DRAWS)
        text = json.dumps(self.summary, indent=2, ensure_ascii=False, allow_nan=False)
        atomic_write_text(folder / _SUMMARY, text + "\n")
        atomic_write_text(folder / _PAGE, self.html)
        if self.posterior is not None:
            (folder / _OLD_DRAWS).unlink(missing_ok=True)
        return folder / _PAGE


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


_OURS: dict[str, Callable[[Path], bool]] = {
    _PAGE: _is_our_text('name="generator" content="bayesgmm'),
    _SUMMARY: _is_our_text('"generator": "bayesgmm'),
    _DRAWS: holds_draws,
    _OLD_DRAWS: holds_draws,
}


def build_report(
    em: GaussianMixture,
    posterior: BayesianGaussianMixture | None = None,
    X: ArrayLike | pd.DataFrame | None = None,
    *,
    name: str,
    source: str | None = None,
    labels: ArrayLike | pd.Series | None = None,
    selection: Selection | None = None,
    number: BayesianGaussianMixture | None = None,
    command: str | None = None,
    left_out: int = 0,
    missing: str | None = None,
) -> Report:
    """Compare two fits and write the report of them, or of EM's alone.

    Parameters
    ----------
    em : GaussianMixture
        Fitted.
    posterior : BayesianGaussianMixture, optional
        Fitted to the same data with the same settings. Without it the report says what EM says.
    X : array-like or DataFrame of shape (N, D), optional
        The data, in which values may be missing (NaN); those the fits were made from by default.
    name : str
        What to call the data.
    source : str, optional
        Where they came from, such as a file's name.
    labels : array-like of shape (N,) or Series, optional
        Known labels to score the groups against, in the order of the rows; the name of a Series is shown. Some may be missing.
    selection : Selection, optional
        The models among which this one was chosen by :func:`bayesgmm.selection.choose`.
    number : BayesianGaussianMixture, optional
        The posterior with ``n_components="auto"`` that chose the number of groups in this selection.
    command : str, optional
        The shell command that makes this report.
    left_out : int
        How many rows of the source are not among X.
    missing : str, optional
        A sentence that says why there is no posterior, if it was asked for.

    Returns
    -------
    Report

    Raises
    ------
    InvalidParameterError
        If the fits cannot be compared (see `bayesgmm.comparison.compare`), the selection chose another model, a number is given without a
        selection, or EM has a noise component.
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

    EM alone:

    >>> build_report(em, name="Old Faithful").headline[-1]
    '1 point in doubt.'
    """
    plain = em_alone(em, X) if posterior is None else compare(em, posterior, X)
    names = GroupNames(tuple((em if posterior is None else posterior).component_names_))
    found = names.in_findings(plain)
    choice = _choice(selection, number, em)
    known = None if labels is None else score_labels(labels, found)
    origin = Origin(readable(str(name)), None if source is None else readable(str(source)), command, int(left_out))
    facts = facts_of(em, posterior, found, origin, known)
    moved, reason = ([], "") if posterior is None else sensitivity(posterior)
    kind = family(em.covariance_type).name
    told = told_of(em if posterior is None else posterior)
    material = Material(
        facts=facts,
        found=found,
        answers=tuple(_named(answer, names) for answer in answers(plain, choice, moved)),
        choice=choice,
        known=known,
        figures=draw_all(plain, known, choice, names, told),
        priors=[] if posterior is None else describe_priors(posterior.priors_, found.features, kind),
        sensitivity=moved,
        insensitive=reason,
        group_names=names,
        told=told,
        recipe=recipe(em, posterior, {**facts, "source": source}, choice, number),
        missing=missing,
    )
    return Report(origin.name, material, posterior)


def _named(answer: Answer, names: GroupNames) -> Answer:
    return replace(answer, sentences=tuple(map(names.in_text, answer.sentences)))


def _choice(selection: Selection | None, number: BayesianGaussianMixture | None, em: GaussianMixture) -> Choice | None:
    if selection is None:
        if number is not None:
            raise InvalidParameterError("number goes with the selection in which it chose: give selection, too.")
        return None
    choice = choose(selection, number)
    ours, theirs = ((fit.n_components_, family(fit.covariance_type).name) for fit in (choice.em, em))
    if ours != theirs:
        raise InvalidParameterError(
            f"The selection takes {ours[0]} components of type {ours[1]!r}, and the fits have {theirs[0]} of type {theirs[1]!r}: "
            "give the fits of bayesgmm.selection.choose(selection, number), or leave out selection and number."
        )
    return choice
