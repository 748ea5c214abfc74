"""The check that no module is untested finds one that is."""

from pathlib import Path

from tests.every_module import function_lines, untested

SOURCE = '''
"""A module."""
LIMIT = 3


def run(x):
    """Say what it does."""
    if x:
        return 1
    return 2


@numba.njit(cache=True)
def compiled(x):
    return x
'''


def test_only_lines_that_python_runs_are_counted() -> None:
    lines = SOURCE.splitlines()
    assert [lines[number - 1].strip() for number in sorted(function_lines(SOURCE))] == ["if x:", "return 1", "return 2"]


def test_a_module_is_tested_when_a_line_in_a_function_ran(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(SOURCE)
    (tmp_path / "constants.py").write_text("X = 1\n")
    imported = {number for number, line in enumerate(SOURCE.splitlines(), start=1) if line.startswith(("LIMIT", "def"))}
    name = f"{tmp_path.name}/module.py"
    assert untested(tmp_path, lambda path: imported) == [name]
    assert untested(tmp_path, lambda path: imported | {8}) == []
    assert untested(tmp_path, lambda path: ()) == [name]
