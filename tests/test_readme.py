"""What the README promises is there: its example runs, its commands and targets exist."""

import re
import shlex
from pathlib import Path

import pytest

from bayesgmm.cli import cli

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[str]:
    return [line for block in blocks("console") for line in block.splitlines() if line.startswith(f"{program} ")]


def test_the_notebook_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    both, em_alone = blocks("python")
    names: dict[str, object] = {}
    exec(compile(both, "README.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == len(names["comparison"].verdicts) > 0  # type: ignore[attr-defined]
    exec(compile(em_alone, "README.md", "exec"), names)
    assert "starts ended at this maximum" in capsys.readouterr().out


@pytest.mark.parametrize("command", commands("make"))
def test_make_targets_exist(command: str) -> None:
    target = command.split()[1]
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [line for line in commands("bayesgmm") if "--help" not in line])
def test_commands_parse(command: str) -> None:
    _, name, *words = shlex.split(command)
    cli.commands[name].make_context(name, words)


def test_each_kind_of_promise_was_found() -> None:
    assert len(commands("make")) == 2
    assert len(commands("bayesgmm")) >= 3
