"""What was fitted to what, with which versions, and the lines of Python that do it again."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np

from bayesgmm import __version__
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.files import jsonable
from bayesgmm.priors import Priors
from bayesgmm.report.em_alone import Findings
from bayesgmm.report.labels import KnownLabels
from bayesgmm.report.told import arguments_of
from bayesgmm.selection import Choice
from bayesgmm.text import listed, shortened

__all__ = ["Origin", "facts_of", "recipe"]

type Fit = GaussianMixture | BayesianGaussianMixture

_PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "pymc", "pytensor", "nutpie", "arviz", "xarray")

_GIVEN = ("n_components", "init", "progressbar")
_OF_THE_SELECTION = ("covariance_type", "random_state")
"""Settings that `select` takes itself and passes on."""
_LONGEST = 100


@dataclass(frozen=True)
class Origin:
    """What the data are called and where they came from.

    Attributes
    ----------
    name : str
    source : str or None
        Such as a file's name.
    command : str or None
        The shell command that made the report.
    left_out : int
        Rows of the source that were not used.
    """

    name: str
    source: str | None = None
    command: str | None = None
    left_out: int = 0


def facts_of(
    em: GaussianMixture, posterior: BayesianGaussianMixture | None, found: Findings, origin: Origin, known: KnownLabels | None
) -> dict[str, Any]:
    """Return what a reader needs to know about data, model, fits and versions.

    Parameters
    ----------
    em, posterior : fitted estimators
        Without a posterior there is nothing to know about it.
    found : Comparison or EMAlone
    origin : Origin
        What the data are called, and where they came from.
    known : KnownLabels or None
        Labels that were known.
    """
    return {
        "generator": f"bayesgmm {__version__}",
        "name": origin.name,
        "source": origin.source,
        "command": origin.command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": _data(found, origin),
        "known_labels": None if known is None else known.summary(),
        "model": {"n_components": int(em.n_components_), "covariance_type": str(em.covariance_type)},
        "em": _em(em),
        "posterior": None if posterior is None else _posterior(posterior),
        "versions": {"python": platform.python_version(), "bayesgmm": __version__}
        | {name: metadata.version(name) for name in _PACKAGES},
    }


def _data(found: Findings, origin: Origin) -> dict[str, Any]:
    X = found.X
    missing = np.isnan(X)
    columns = {
        name: {key: jsonable(getattr(np, f"nan{key}")(X[:, d])) for key in ("min", "mean", "max", "std")}
        | {"missing": int(missing[:, d].sum())}
        for d, name in enumerate(found.features)
    }
    return {
        "n_observations": len(X),
        "n_features": X.shape[1],
        "features": list(found.features),
        "n_missing": int(missing.sum()),
        "n_rows_with_gaps": int(missing.any(axis=1).sum()),
        "n_left_out": origin.left_out,
        "columns": columns,
    }


def _em(em: GaussianMixture) -> dict[str, Any]:
    counts = {name: int(getattr(em, f"{name}_")) for name in ("n_iter", "n_starts", "n_moves", "n_starts_at_best")}
    return {
        "log_likelihood": jsonable(em.log_likelihood_),
        "converged": bool(em.converged_),
        "status": str(em.status_),
        **counts,
        "random_state": _seed(em),
    }


def _posterior(posterior: BayesianGaussianMixture) -> dict[str, Any]:
    attrs, (chains, draws) = posterior.datatree_.attrs, posterior.params_.batch_shape
    said = {"sampler": "unknown", "inference": "nuts", "prior": "unknown", "relabelled": "unknown"}
    return {name: str(attrs.get(name, otherwise)) for name, otherwise in said.items()} | {
        "chains": int(chains),
        "draws": int(draws),
        "tune": jsonable(attrs.get("tuning_steps")),
        "sampling_time": jsonable(attrs.get("sampling_time")),
        "priors": None if posterior.priors is None else repr(posterior.priors),
        "random_state": _seed(posterior),
    }


def _seed(fit: Fit) -> int | None:
    """The seed if it is a number; generators can't be written down."""
    seed = fit.random_state
    return int(seed) if isinstance(seed, int | np.integer) else None


def recipe(
    em: GaussianMixture,
    posterior: BayesianGaussianMixture | None,
    facts: dict[str, Any],
    choice: Choice | None = None,
    number: BayesianGaussianMixture | None = None,
) -> str:
    """Return the Python code that makes the same fits, the same choice and the same report.

    Parameters
    ----------
    em : GaussianMixture
    posterior : BayesianGaussianMixture or None
    facts : dict
        From `facts_of`.
    choice : Choice, optional
        Of the number of groups, if there was one.
    number : BayesianGaussianMixture, optional
        The posterior that chose it.
    """
    data, known, source = facts["data"], facts["known_labels"], facts["source"]
    report = ["em", *(["X=X"] if posterior is None else ["posterior", "X"]), f"name={facts['name']!r}"]
    if source is None:
        lines = ["", f"# X: your table with the columns {shortened(listed(data['features'], conjunction=', '), _LONGEST)!r}"]
        report += ["labels=labels"] if known else []
    else:
        names = [*data["features"], *([known["name"]] if known else [])]
        dropping = (".dropna(how='all')" if data["n_missing"] else ".dropna()") if data["n_left_out"] else ""
        features = f"table[{data['features']!r}]" if known else "table"
        lines = ["from bayesgmm.files import read_table", "", f"table = read_table({source!r}, columns={names!r})"]
        lines.append(f"X = {features}{dropping}")
        report.append(f"source={source!r}")
        report += ["left_out=len(table) - len(X)"] if data["n_left_out"] else []
        report += [f"labels=table.loc[X.index, {known['name']!r}]"] if known else []
    if told := arguments_of(em if posterior is None else posterior):
        lines.append(f"# {listed(told)}: what the fits were told of these rows")
    if choice is None:
        lines += _fitting(em, posterior, facts)
    else:
        lines += _selecting(em, posterior, choice, number)
        report += ["selection=selection", *([] if number is None else ["number=number"])]
    return "\n".join(["import bayesgmm as bg", *lines, _call("report = bg.report.build_report", report), "report.write('report')"])


def _fitting(em: GaussianMixture, posterior: BayesianGaussianMixture | None, facts: dict[str, Any]) -> Iterator[str]:
    yield _call("em = bg.GaussianMixture", [repr(em.n_components), *_settings(em)], _fit(em))
    if posterior is not None and facts["posterior"]["prior"] == "unknown":
        yield "# draws: the posterior that was sampled elsewhere"
        yield "posterior = bg.BayesianGaussianMixture.from_draws(draws, X, init=em)"
    elif posterior is not None:
        arguments = [repr(posterior.n_components), *_settings(posterior), "init=em"]
        yield _call("posterior = bg.BayesianGaussianMixture", arguments, _fit(posterior))


def _fit(fit: Fit) -> str:
    return f".fit({', '.join(['X', *(f'{name}={name}' for name in arguments_of(fit))])})"


def _selecting(
    em: GaussianMixture,
    posterior: BayesianGaussianMixture | None,
    choice: Choice,
    number: BayesianGaussianMixture | None,
) -> Iterator[str]:
    # Posteriors of all models, unless one in which the number is not known chose it.
    with_all = posterior is not None and number is None
    sampling = _settings(posterior, _OF_THE_SELECTION, as_dict=True) if posterior is not None and with_all else []
    as_mapping = f"posterior={{{', '.join(sampling)}}}" if sampling else "posterior=True"
    arguments = [
        "X",
        repr(choice.numbers),
        repr(list(choice.types) if len(choice.types) > 1 else str(em.covariance_type)),
        *([as_mapping] if with_all else []),
        *(text for text in _settings(em) if text.startswith("random_state=")),
        *_settings(em, _OF_THE_SELECTION),
    ]
    yield _call("selection = bg.select", arguments)
    if number is not None:
        yield _call("number = bg.BayesianGaussianMixture", ["'auto'", *_settings(number)], ".fit(X)")
    yield f"choice = bg.selection.choose(selection{', number' if number is not None else ''})"
    yield "em = choice.em"
    if with_all:
        yield "posterior = choice.posterior"
    elif posterior is not None:
        arguments = [repr(posterior.n_components), *_settings(posterior), "init=em"]
        yield _call("posterior = bg.BayesianGaussianMixture", arguments, ".fit(X)")


def _settings(fit: Fit, without: tuple[str, ...] = (), *, as_dict: bool = False) -> list[str]:
    """``name=value`` of the settings that are not the defaults, or ``'name': value``."""
    defaults = type(fit)().get_params(deep=False)
    return [
        f"{key!r}: {_literal(value)}" if as_dict else f"{key}={_literal(value)}"
        for key, value in fit.get_params(deep=False).items()
        if key not in without and _differs(key, value, defaults)
    ]


def _call(what: str, arguments: list[str], then: str = "") -> str:
    """``what(arguments)then``, on several lines if it is long."""
    line = f"{what}({', '.join(arguments)}){then}"
    if len(line) <= _LONGEST:
        return line
    inside = "".join(f"    {argument},\n" for argument in arguments)
    return f"{what}(\n{inside}){then}"


def _differs(key: str, value: Any, defaults: dict[str, Any]) -> bool:
    plain = str | int | float | bool | None
    return key not in _GIVEN and not (isinstance(value, plain) and isinstance(defaults[key], plain) and value == defaults[key])


def _literal(value: Any) -> str:
    """Code for a setting; three dots for what has none, such as a generator."""
    if isinstance(value, str | int | float | bool | None):
        return repr(value)
    return f"bg.{value!r}" if isinstance(value, Priors) and len(repr(value)) < _LONGEST else "..."
