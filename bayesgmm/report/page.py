"""The HTML page: what goes into the template."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from bayesgmm.comparison import Comparison
from bayesgmm.covariance import family
from bayesgmm.diagnostics import varying
from bayesgmm.files import json_records
from bayesgmm.plots.comparison import MOST_PANELS
from bayesgmm.report.answers import Answer, concerns
from bayesgmm.report.em_alone import Findings, judge
from bayesgmm.report.figures import Figure, shown_names
from bayesgmm.report.group_names import GroupNames
from bayesgmm.report.labels import KnownLabels
from bayesgmm.report.told import Told, odds
from bayesgmm.report.typography import apart, number, percent, within
from bayesgmm.selection import Choice
from bayesgmm.text import counted, listed

__all__ = ["Material", "page"]

_MOST_ROWS, _MOST_COLUMNS, _MOST_LISTED = 100, 6, 300
_WORTH_A_LINE = 0.005
_SHAPES = {
    "full": "each group has a shape and direction of its own",
    "tied": "all groups share one shape",
    "diag": "each group has its own spread in each column, without correlations",
    "spherical": "each group is round",
}
_SAMPLERS = {
    "hmc": "by HMC",
    "nuts": "by NUTS",
    "gibbs": "by Gibbs sampling",
    "laplace": "by Laplace's approximation, whose draws are weighted to the posterior",
    "mcmc": "by Markov chains",
}
"""How draws came about, by ``attrs["inference"]`` of a posterior."""


@dataclass(frozen=True, eq=False)
class Material:
    """All that a page is made of."""

    facts: dict[str, Any] = field(repr=False)
    found: Findings = field(repr=False)
    answers: tuple[Answer, ...]
    choice: Choice | None
    known: KnownLabels | None
    figures: dict[str, Figure] = field(repr=False)
    priors: list[dict[str, str]] = field(repr=False)
    sensitivity: list[dict[str, Any]] = field(repr=False)
    insensitive: str
    """Why nothing can be said of the priors' influence; empty if something can."""
    recipe: str = field(repr=False)
    group_names: GroupNames
    told: Told | None = None
    """What the fits were told of the rows beside their values."""
    missing: str | None = None
    """Why there is no posterior; None where there is one, or where none was asked for."""

    def summary(self) -> dict[str, Any]:
        """Return all figures ready for JSON."""
        of_posterior = {"priors": self.priors, "prior_sensitivity": self.sensitivity}
        return {
            **self.facts,
            **self.found.summary(),
            "answers": [vars(answer) | {"sentences": list(answer.sentences)} for answer in self.answers],
            "group_names": list(self.group_names.names),
            "told": None if self.told is None else self.told.summary(),
            "groups_used": self.found.groups.summary(),
            "choice": None if self.choice is None else self.choice.summary(),
            **(of_posterior if self.facts["posterior"] else {"posterior_missing": self.missing}),
        }


def page(material: Material) -> str:
    """Return the report as one self-contained HTML page.

    Parameters
    ----------
    material : Material
    """
    facts, found, known, script = material.facts, material.found, material.known, _script()
    bayes = isinstance(found, Comparison)
    return _template(material.group_names).render(
        facts,
        material=material,
        bayes=bayes,
        found=found,
        used=found.groups,
        choice=material.choice,
        known=known,
        figures=material.figures,
        names=(*found.features, *(() if known is None else (known.name, *known.values)), *_words(material.group_names)),
        script=Markup(script),
        script_hash=_hash(script),
        shape=_shape(facts["model"]["covariance_type"]),
        method=_SAMPLERS.get(facts["posterior"]["inference"], "") if bayes else "",
        concerns=concerns(found),
        numbered=[pair for pair in zip(shown_names(found.features), found.features, strict=True) if pair[0] != pair[1]],
        groups=list(_groups(found)),
        shown_features=list(found.features[:_MOST_COLUMNS]),
        points=lambda rows: _points(found, rows.head(_MOST_ROWS), known),
        strangers=None if known is None else found.responsibilities[known.differs].sort_values(f"{judge(found)}_doubt"),
        models=[] if material.choice is None else json_records(material.choice.models),
        numbers=list(_numbers(material.choice)),
        most_panels=MOST_PANELS,
        convergence_summary=list(_convergence_summary(found.convergence)) if isinstance(found, Comparison) else [],
        most=_MOST_LISTED,
    )


def _shape(covariance_type: str) -> str:
    """What the groups of a family look like; mclust's letters say what all have in common (E) or each has its own (V)."""
    name = family(covariance_type).name
    if name in _SHAPES:
        return _SHAPES[name]
    letters = dict(zip(("size", "shape", "direction"), name, strict=True))
    one, own = (listed(what for what, letter in letters.items() if letter == wanted) for wanted in "EV")
    kind = "round groups" if letters["shape"] == "I" else "groups along the columns," if letters["direction"] == "I" else "groups"
    return kind + (f" of one {one}" if one else "") + (f", each with a {own} of its own" if own else "")


def _words(names: GroupNames) -> Iterator[str]:
    """Names of groups that are no numbers."""
    return (name for k, name in enumerate(names.names) if name != str(k))


def _template(names: GroupNames) -> jinja2.Template:
    """The template; every value in it is escaped unless it was made here."""
    environment = _environment().overlay()
    environment.filters = {**environment.filters, "group": names, "group_name": names.short}
    return environment.get_template("report.html.jinja")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bayesgmm.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "counted": counted,
        "listed": listed,
        "within": within,
        "key": _key,
        "apart": apart,
        "records": _records,
        "odds": odds,
    }
    return environment


@cache
def _script() -> str:
    """The page's only script, which sorts tables."""
    return files("bayesgmm.report").joinpath("templates", "page.js").read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What the page's content security policy knows the script by: no other one runs."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _key(value: Any) -> str:
    """What a cell is sorted by; empty for what is not a number, which goes last."""
    return "" if value is None or not math.isfinite(value) else repr(float(value))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _numbers(choice: Choice | None) -> Iterator[dict[str, Any]]:
    """Probabilities of numbers of groups and of components, as far as any is worth a line."""
    if choice is not None and choice.number is not None:
        table = choice.number.probabilities
        worth = (table[["groups", "filled", "components"]] >= _WORTH_A_LINE).any(axis=1)
        yield from _records(table.loc[: worth[worth].index.max()].reset_index())


def _groups(found: Findings) -> Iterator[dict[str, Any]]:
    """Each group: its share, and its mean in the first columns."""
    table = found.parameters
    sizes = found.responsibilities[f"{judge(found)}_label"].value_counts()
    for k in range(found.em_params.n_components):
        own = table[table["component"] == k]
        weight = _records(own[own["parameter"] == "weight"])
        means = _records(own[own["parameter"] == "mean"])[:_MOST_COLUMNS]
        yield {"number": k, "points": int(sizes.get(k, 0)), "weight": weight[0] if weight else None, "means": means}


def _points(found: Findings, rows: pd.DataFrame, known: KnownLabels | None) -> list[dict[str, Any]]:
    """Rows of the responsibility table with the values of the first columns, and their labels where these are known."""
    index = found.responsibilities.index
    places = index.get_indexer(rows.index) if index.is_unique else np.full(len(rows), -1)
    order = rows[[f"em_{k}" for k in range(found.em_params.n_components)]].to_numpy().argsort(axis=1)
    return [
        {
            "row": row,
            "values": found.X[place, :_MOST_COLUMNS].tolist() if place >= 0 else [],
            "known": known.label(int(place)) if known is not None and place >= 0 else None,
            "second": int(best[-2]) if len(best) > 1 else None,
            **record,
        }
        for row, place, best, record in zip(rows.index, places, order, _records(rows), strict=True)
    ]


def _convergence_summary(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The worst of each kind of labels."""
    for labels, rows in varying(table).groupby("labels", sort=False):
        worst = {"r_hat": "max", "ess_bulk": "min", "ess_tail": "min"}
        yield {"labels": labels, "n": len(rows)} | {name: rows[name].agg(how, skipna=False) for name, how in worst.items()}
