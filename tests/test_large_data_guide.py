"""The guide for data larger than memory: its examples run, its commands parse."""

import re
import shlex
from pathlib import Path

import pytest

from bayesgmm.cli import cli
from bayesgmm.estimators._size import LARGE

PAGE = (Path(__file__).parents[1] / "docs" / "guide" / "large_data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


COMMANDS = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]


def test_the_examples_run_one_after_another(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed in ("distributed", "zarr"):
        pytest.importorskip(needed)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, object] = {}
    printed = []
    for block in blocks("python"):
        exec(compile(block, "large_data.md", "exec"), names)
        printed.append(capsys.readouterr().out)
    setup, em, verbose, predicted, dask, cluster, resumed, posterior = printed
    assert setup == ""
    assert em.startswith("EM converged")
    assert cluster.startswith("EM converged")
    assert "Start 1: " in verbose
    assert "(6000, 3) ['a' 'b' 'c']" in verbose
    assert predicted.startswith("(6000,) -")
    assert "dask.array" in dask
    assert "((1500, 1500, 1500, 1500), (3,))" in dask
    assert "(6000, 2)" in dask
    assert resumed == "True\n"
    assert posterior.startswith("(1, 200) ")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("bayesgmm ")])
def test_commands_parse(command: str) -> None:
    _, name, *words = shlex.split(command)
    cli.commands[name].make_context(name, words)


def test_every_command_is_one_that_is_known() -> None:
    assert len(COMMANDS) >= 8
    assert {command.split()[0] for command in COMMANDS} == {"bayesgmm", "dask"}


def test_the_size_from_which_laplace_is_advised() -> None:
    assert f"advises it from {LARGE:,}\nrows on" in PAGE
