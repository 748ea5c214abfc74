"""The tools are set up for what is there: exceptions name files that exist and need them, and CI runs everything."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
PER_FILE = CONFIG["ruff"]["lint"]["per-file-ignores"]


def broken(rules: str) -> set[str]:
    """Files of the package and the benchmarks that break these rules, no exceptions made."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", rules, "--output-format", "json", "--no-cache"]
    run = subprocess.run([*command, "bayesgmm", "benchmarks"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {Path(found["filename"]).relative_to(ROOT).as_posix() for found in json.loads(run.stdout)}


@pytest.mark.parametrize("rule", ["SLF001", "C901"])
def test_exceptions_are_as_few_as_they_can_be(rule: str) -> None:
    excused = {name for name, rules in PER_FILE.items() if rule in rules and "*" not in name}
    assert sorted(excused - broken(rule)) == [], "these need no exception any more: take them off the list in pyproject.toml"


def test_settings_name_files_that_exist() -> None:
    untyped = next(part["module"] for part in CONFIG["mypy"]["overrides"] if part.get("disallow_untyped_defs") is False)
    files = [*(name for name in PER_FILE if "*" not in name), *(f"{name.replace('.', '/')}.py" for name in untyped)]
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_hooks_are_local_programs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"repo: (\S+)", hooks) == ["local"]
    assert set(re.findall(r"language: (\S+)", hooks)) == {"system"}


def test_ci_runs_everything() -> None:
    run = re.findall(r"^make (\w+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert run == ["setup", "lint", "test", "notebooks", "docs", "wheel"]
    assert "sphinx -W" in (ROOT / "Makefile").read_text(encoding="utf-8")
