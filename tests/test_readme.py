"""What the README promises is there: its example runs, its commands and targets exist."""

import re
import shlex
from pathlib import Path

import pytest

from bayesgmm.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[str]:
    return [line for block in blocks("console") for line in block.splitlines() if line.startswith(f"{program} ")]


def targets() -> list[str]:
    return re.findall(r"`make ([a-z-]+)`", README)


def pictures() -> list[str]:
    return re.findall(r"!\[[^\]]{40,}\]\(([^)]+)\)", README)


def test_the_notebook_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [check.sentence for check in names["comparison"].verdicts]  # type: ignore[attr-defined]
    assert len(lines) == 7  # "in seven sentences"


@pytest.mark.parametrize("target", targets())
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [line for line in commands("bayesgmm") if "--help" not in line])
def test_commands_parse(command: str) -> None:
    _, name, *words = shlex.split(command)
    cli.commands[name].make_context(name, words)


def test_each_kind_of_promise_was_found() -> None:
    assert len(commands("bayesgmm")) == 3
    assert len(targets()) == 2
    assert len(pictures()) == 1


def test_the_picture_is_there_and_small_and_made_here() -> None:
    picture = ROOT / pictures()[0]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 150_000
    assert picture.name in (ROOT / "docs" / "make_picture.py").read_text(encoding="utf-8")
