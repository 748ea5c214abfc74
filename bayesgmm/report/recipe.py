"""How to make the report again: the lines of Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["recipe"]

_GIVEN = ("n_components", "init", "progressbar")
_LONGEST = 100


def recipe(em: Any, posterior: Any, facts: dict[str, Any]) -> str:
    """Return the Python code that makes the same fits and the same report.

    Parameters
    ----------
    em : GaussianMixture
    posterior : BayesianGaussianMixture
    facts : dict
        From `bayesgmm.report.facts.facts_of`.
    """
    return "\n".join(_lines(em, posterior, facts))


def _lines(em: Any, posterior: Any, facts: dict[str, Any]) -> Iterator[str]:
    data, known, source = facts["data"], facts["known_labels"], facts["source"]
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
    yield _call("em", em, ())
    yield _call("posterior", posterior, ("init=em",))
    labels = (
        f", labels=table.loc[X.index, {known['name']!r}]" if known and source is not None else ", labels=labels" if known else ""
    )
    yield f"bg.report.build_report(em, posterior, X, name={facts['name']!r}{labels}).write('report')"


def _dropping(data: dict[str, Any]) -> str:
    if not data["n_left_out"]:
        return ""
    return ".dropna(how='all')" if data["n_missing"] else ".dropna()"


def _call(name: str, estimator: Any, more: tuple[str, ...]) -> str:
    """``name = bg.Class(...).fit(X)`` with the settings that are not the defaults."""
    kind = type(estimator)
    defaults = kind().get_params(deep=False)
    settings = [
        f"{key}={_literal(value)}" for key, value in estimator.get_params(deep=False).items() if _differs(key, value, defaults)
    ]
    arguments = [repr(int(estimator.n_components)), *settings, *more]
    line = f"{name} = bg.{kind.__name__}({', '.join(arguments)}).fit(X)"
    if len(line) <= _LONGEST:
        return line
    inside = "".join(f"    {argument},\n" for argument in arguments)
    return f"{name} = bg.{kind.__name__}(\n{inside}).fit(X)"


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
