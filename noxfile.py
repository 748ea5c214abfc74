"""The tests on other versions: of Python (`make test-pythons`), and of what the package depends on (`make test-oldest`).

`nox -s oldest -- tests/test_em.py` runs some of the tests; without names all that are not marked slow are run.
"""

from __future__ import annotations

from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False  # nox says which Python it did not find, and skips its session

PROJECT = nox.project.load_toml(Path(__file__).with_name("pyproject.toml"))["project"]
PYTHONS = ["3.12", "3.13", "3.14"]
TOOLS = ["hypothesis", "nbformat", "packaging", "polars", "pytest>=9", "pytest-timeout", "pytest-xdist", "ruff"]


def oldest() -> list[str]:
    """The dependencies at the lowest versions that pyproject.toml allows, those for Dask's rows among them."""
    requirements = map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dask"]])
    return [_at_lowest(requirement) for requirement in requirements]


def _at_lowest(requirement: Requirement) -> str:
    lowest = [bound.version for bound in requirement.specifier if bound.operator == ">="]
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}=={lowest[0]}" if lowest else f"{requirement.name}{extras}"


def install(session: nox.Session, *packages: str) -> None:
    """Install these and the package, or skip the session with a sentence where one has no wheel for this Python."""
    try:
        session.install("--only-binary", ":all:", *packages)
    except nox.command.CommandFailed:
        session.skip(f"a dependency cannot be installed on Python {session.python}: see pip's message above")
    session.install("--no-deps", "--editable", ".")


def test(session: nox.Session, *options: str) -> None:
    """Run the tests that were asked for, or all."""
    session.run("python", "-m", "pytest", "-n", "2", "--dist", "loadfile", *options, *session.posargs)


@nox.session(python=PYTHONS[0], name="oldest")
def test_on_oldest_dependencies(session: nox.Session) -> None:
    """Run the tests with every dependency at the lowest version that pyproject.toml allows."""
    install(session, *oldest(), *TOOLS)
    # Old packages warn of what newer ones below them are about to drop: no concern of ours.
    test(session, "-o", "filterwarnings=")


@nox.session(python=PYTHONS, name="pythons")
def test_on_other_pythons(session: nox.Session) -> None:
    """Run the tests with the dependencies that we develop with, on each Python."""
    install(session, *PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dask"], *TOOLS, "--constraint", "constraints.txt")
    test(session)
