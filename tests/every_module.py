"""A pytest plugin, `-p tests.every_module`: the run fails when the functions of a module are run by no test.

It reads pytest-cov's measurements, so it needs `--cov`, and means something only for the whole suite.
"""

import ast
from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[1] / "bayesgmm"
UNTESTED = pytest.StashKey[list[str]]()
COMPILED = {"cfunc", "compiled", "compiled_callback", "guvectorize", "intrinsic", "jit", "njit", "vectorize"}

type Function = ast.FunctionDef | ast.AsyncFunctionDef


def untested(package: Path, executed: Callable[[Path], Collection[int]]) -> list[str]:
    """Modules that have functions of which not one line was executed."""
    files = sorted(package.rglob("*.py"))
    lines = {path: function_lines(path.read_text(encoding="utf-8")) for path in files}
    return [str(path.relative_to(package.parent)) for path in files if lines[path] and not lines[path] & set(executed(path))]


def function_lines(source: str) -> set[int]:
    """First lines of the statements inside functions, except those that a compiler takes away from Python's tracing."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {line for function in functions if not is_compiled(function) for line in statement_lines(function)}


def is_compiled(function: Function) -> bool:
    names = {name for decorator in function.decorator_list for name in names_in(decorator)}
    return bool(names & COMPILED)


def names_in(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


def statement_lines(function: Function) -> Iterator[int]:
    for statement in function.body:
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not is_text:
            yield from (part.lineno for part in ast.walk(statement) if isinstance(part, ast.stmt))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    result = yield
    measuring = session.config.pluginmanager.getplugin("_cov")
    is_worker = hasattr(session.config, "workerinput")  # one of pytest-xdist's, which has seen a part of the suite
    if not is_worker and getattr(measuring, "cov_controller", None) is not None:
        data = measuring.cov_controller.cov.get_data()
        found = untested(PACKAGE, lambda path: data.lines(str(path)) or ())
        session.config.stash[UNTESTED] = found
        session.testsfailed += len(found)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found = terminalreporter.config.stash.get(UNTESTED, None)
    if found:
        terminalreporter.section("modules without a test", red=True)
        terminalreporter.write_line("\n".join(found))
    elif found is not None:
        terminalreporter.write_line("Every module is run by a test.")
