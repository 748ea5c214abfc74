"""How to make the report again: the lines of Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesgmm.report.choice import Choice

__all__ = ["recipe"]

_GIVEN = ("n_components", "init", "progressbar")
_OF_THE_SELECTION = ("covariance_type", "random_state")
"""Settings that `select` takes itself and passes on."""
_LONGEST = 100


def recipe(em: Any, posterior: Any, facts: dict[str, Any], choice: Choice | None = None) -> str:
    """Return the Python code that makes the same fits, the same choice and the same report.

    Parameters
    ----------
    em : GaussianMixture
    posterior : BayesianGaussianMixture
    facts : dict
        From `bayesgmm.report.facts.facts_of`.
    choice : Choice, optional
        Of the number of groups, if there was one.
    """
    return "\n".join(_lines(em, posterior, facts, choice))


def _lines(em: Any, posterior: Any, facts: dict[str, Any], choice: Choice | None) -> Iterator[str]:
    data, known, source = facts["data"], facts["known_labels"], facts["source"]
    report = ["em", "posterior", "X", f"name={facts['name']!r}"]
    yield "import bayesgmm as bg"
    if source is None:
        yield ""
        yield f"# X: your table with the columns {_short(', '.join(data['features']))!r}"
    else:
        yield "from bayesgmm.files import read_table"
        yield ""
        columns = [*data["features"], *([known["name"]] if known else [])]
        yield f"table = read_table({source!r}, columns={columns!r})"
        features = f"table[{data['features']!r}]" if known else "table"
        yield f"X = {features}{_dropping(data)}"
        report.append(f"source={source!r}")
        if data["n_left_out"]:
            report.append("left_out=len(table) - len(X)")
    if known:
        report.append(f"labels=table.loc[X.index, {known['name']!r}]" if source is not None else "labels=labels")
    if choice is None:
        yield _call("em = bg.GaussianMixture", [_components(em), *_settings(em)], ".fit(X)")
        if facts["posterior"]["prior"] == "unknown":
            yield "# draws: the posterior that was sampled elsewhere"
            yield "posterior = bg.BayesianGaussianMixture.from_draws(draws, X, init=em)"
        else:
            yield _call(
                "posterior = bg.BayesianGaussianMixture", [_components(posterior), *_settings(posterior), "init=em"], ".fit(X)"
            )
    else:
        yield from _selecting(em, posterior, choice)
        report.append("selection=selection")
    yield _call("report = bg.report.build_report", report)
    yield "report.write('report')"


def _selecting(em: Any, posterior: Any, choice: Choice) -> Iterator[str]:
    sampling = _settings(posterior, _OF_THE_SELECTION, as_dict=True)
    arguments = [
        "X",
        repr(choice.numbers),
        repr(str(em.covariance_type)),
        f"posterior={{{', '.join(sampling)}}}" if sampling else "posterior=True",
        *(text for text in _settings(em) if text.startswith("random_state=")),
        *_settings(em, _OF_THE_SELECTION),
    ]
    yield _call("selection = bg.select", arguments)
    yield f"chosen = list(selection.table['n_components']).index({choice.n_components})"
    yield "em, posterior = selection.models[chosen], selection.posteriors[chosen]"


def _dropping(data: dict[str, Any]) -> str:
    if not data["n_left_out"]:
        return ""
    return ".dropna(how='all')" if data["n_missing"] else ".dropna()"


def _components(estimator: Any) -> str:
    return repr(int(estimator.n_components))


def _settings(estimator: Any, without: tuple[str, ...] = (), *, as_dict: bool = False) -> list[str]:
    """``name=value`` of the settings that are not the defaults, or ``'name': value``."""
    defaults = type(estimator)().get_params(deep=False)
    return [
        f"{key!r}: {_literal(value)}" if as_dict else f"{key}={_literal(value)}"
        for key, value in estimator.get_params(deep=False).items()
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
    if key in _GIVEN:
        return False
    plain = str | int | float | bool | None
    return not (isinstance(value, plain) and isinstance(defaults[key], plain) and value == defaults[key])


def _literal(value: Any) -> str:
    """Code for a setting; three dots for what has none, such as a generator."""
    if isinstance(value, str | int | float | bool | None):
        return repr(value)
    return f"bg.{value!r}" if type(value).__name__ == "Priors" and len(repr(value)) < _LONGEST else "..."


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
