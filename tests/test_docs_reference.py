"""Every public name is described: summary, parameters as in the signature, what it returns, an example that runs as a doctest."""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from numpydoc.validate import validate

import bayesgmm as bg

# From numpydoc's list: no docstring; no summary, or one that does not begin with a capital or end; parameters that differ from the
# signature, are in another order or have no type; nothing said of what is returned or yielded; no example.
CODES = {"GL08", "SS01", "SS02", "SS04", "PR01", "PR02", "PR03", "PR04", "RT01", "YD01", "EX01"}
ESTIMATORS = ("GaussianMixture", "BayesianGaussianMixture")


def public() -> Iterator[tuple[str, Any]]:
    """Every public function and class under its public name."""
    for name in bg.__all__:
        value = getattr(bg, name)
        if inspect.ismodule(value):
            yield from ((f"{value.__name__}.{inner}", getattr(value, inner)) for inner in value.__all__)
        else:
            yield f"bayesgmm.{name}", value


FUNCTIONS = sorted(name for name, value in public() if inspect.isfunction(value))
CLASSES = sorted(name for name, value in public() if inspect.isclass(value) and value.__module__.startswith("bayesgmm"))


def resolve(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def methods(owner: type) -> Iterator[tuple[str, Any]]:
    """Public methods written in this package, its own or inherited."""
    for name in dir(owner):
        where = next(base for base in owner.__mro__ if name in vars(base))
        raw = vars(where)[name]
        if not name.startswith("_") and where.__module__.startswith("bayesgmm"):
            call = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
            if inspect.isfunction(call) or isinstance(call, property):
                yield name, call


def wrong(name: str, codes: set[str]) -> list[str]:
    return [f"{name}: {code} {message}" for code, message in validate(name)["errors"] if code in codes]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_described(name: str) -> None:
    asked = CODES if returns_something(resolve(name)) else CODES - {"RT01"}
    assert wrong(name, asked) == []


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_described(name: str) -> None:
    owner = resolve(name)
    text = ClassDoc(owner)
    described = [part for section in ("Parameters", "Attributes") for item in text[section] for part in names_of(item.name)]
    errors = issubclass(owner, Exception)
    assert [parameter for parameter in ([] if errors else arguments(owner)) if parameter not in described] == []
    assert wrong(name, CODES - {"PR01"}) == []


@pytest.mark.parametrize("name", CLASSES)
def test_methods_say_what_they_take_and_return(name: str) -> None:
    for method, call in methods(resolve(name)):
        where = f"{name}.{method}"
        text = inspect.getdoc(getattr(resolve(name), method)) or ""
        assert text, f"{where} has no docstring"
        if isinstance(call, property):
            continue
        sections = FunctionDoc(call, doc=text)
        # Of what is described in one line, the line names the parameters.
        described = {part for item in sections["Parameters"] for part in names_of(item.name)}
        named = described or set(re.findall(r"\w+", " ".join([*sections["Summary"], *sections["Extended Summary"]])))
        assert [p for p in arguments(call)[1:] if p not in named] == [], where
        summary = " ".join(sections["Summary"])
        assert not returns_something(call) or sections["Returns"] or re.match(r"(Return|Whether)", summary), where


@pytest.mark.parametrize("name", [f"bayesgmm.{name}" for name in ESTIMATORS])
def test_methods_of_estimators_are_described_in_full(name: str) -> None:
    names = [f"{name}.{method}" for method, call in methods(resolve(name)) if inspect.isfunction(call)]
    assert len(names) >= 15
    assert [line for each in names for line in wrong(each, CODES - {"EX01"})] == []


def arguments(call: Any) -> list[str]:
    return list(inspect.signature(call).parameters)


def names_of(entry: str) -> list[str]:
    """``"a, b"`` as two names, without stars."""
    return [part.strip().lstrip("*") for part in entry.split(",")]


def returns_something(call: Any) -> bool:
    return inspect.signature(call).return_annotation not in (None, "None", inspect.Signature.empty)


def test_a_poor_docstring_would_be_found() -> None:
    def poor(x: int) -> int:
        """Does something with a number"""
        return x

    assert returns_something(poor)
    assert arguments(poor) == ["x"]
    assert not FunctionDoc(poor)["Parameters"]
