"""`make wheel`: build the wheel, install it into an empty environment, and run the quick start there.

It downloads what a user would (about 1 GB), so `.ci/run` does it and `make test` does not.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MUST_HOLD = ("bayesgmm/py.typed", "bayesgmm/datasets/faithful.csv", "bayesgmm/report/templates/report.html.jinja")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder))


def check(folder: Path) -> None:
    """Build, install, run; any step that fails ends the whole."""
    step("Building", sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT), cwd=folder)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in MUST_HOLD if name not in names]
    strays = [name for name in names if not name.startswith("bayesgmm")]
    if missing or strays:
        sys.exit(f"{wheel.name} lacks {missing} and should not hold {strays}")
    venv.create(folder / "empty", with_pip=True)
    programs = folder / "empty" / ("Scripts" if os.name == "nt" else "bin")
    constraints = str(ROOT / "constraints.txt")
    step("Installing", str(programs / "python"), "-m", "pip", "install", "--quiet", str(wheel), "-c", constraints, cwd=folder)
    script = folder / "quickstart.py"
    script.write_text("\n".join(blocks(ROOT / "docs" / "quickstart.md")), encoding="utf-8")
    step("Running the quick start", str(programs / "python"), str(script), cwd=folder)
    data = "".join(f"{i % 7 + (9 if i % 2 else 0)},{i % 5 + (9 if i % 2 else 0)}\n" for i in range(60))
    (folder / "own.csv").write_text(f"length,width\n{data}", encoding="utf-8")
    step("Writing a report", str(programs / "bayesgmm"), "report", "own.csv", "-k", "2", "-o", "report", "--seed", "1", cwd=folder)
    if not (folder / "report" / "index.html").stat().st_size:
        sys.exit("the report is empty")
    print(f"{wheel.name} works in an empty environment.")


def blocks(page: Path) -> list[str]:
    """Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def step(what: str, *command: str, cwd: Path) -> None:
    """Run a program away from the repository, and say how long it took."""
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # Kernels must compile there as for a newcomer, not come out of another environment's cache.
    environment["NUMBA_CACHE_DIR"] = str(cwd / "cache")
    run = subprocess.run(command, cwd=cwd, env=environment, check=False)
    if run.returncode:
        sys.exit(f"{what} failed: {' '.join(command)}")
    print(f"{what}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
