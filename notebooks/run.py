"""Run the notebooks from top to bottom, as `make notebooks` does.

    python notebooks/run.py                    # all of them, two at a time; no file is changed
    python notebooks/run.py 03 faithful        # those whose names hold one of the words
    python notebooks/run.py --write 03         # and store what they print and draw

What is stored depends on the notebook alone: no times, no versions, no numbers of earlier runs.
"""

import argparse
import asyncio
import base64
import io
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image

FOLDER = Path(__file__).resolve().parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SECONDS_A_CELL = 300
UNSEEN = 3.0
"""Levels of 256 by which pixels may differ (root mean square) without anybody seeing it."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Outcome:
    """How the run of one notebook ended."""

    name: str
    seconds: float
    error: str | None
    """What went wrong, or None."""

    @property
    def line(self) -> str:
        """The outcome as `make notebooks` prints it."""
        state = "ok" if self.error is None else "FAILED"
        return f"{self.name:<40} {self.seconds:6.1f} s  {state}"


def main(arguments: list[str] | None = None) -> int:
    """Run notebooks, print a line for each and the errors of those that failed, and return the exit code."""
    options = parser().parse_args(arguments)
    paths = chosen(options.words, options.folder)
    if not paths:
        print(
            f"No notebook in {options.folder} has a name with {' or '.join(options.words) or 'the ending .ipynb'}.", file=sys.stderr
        )
        return 2
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as empty:
        outcomes = asyncio.run(run_all(paths, options.jobs, options.write, options.timeout, quiet(empty)))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        print(f"\n{outcome.name}\n{outcome.error}", file=sys.stderr)
    words = "all ok" if not failed else f"{len(failed)} failed"
    print(f"{len(outcomes)} {'notebook' if len(outcomes) == 1 else 'notebooks'} in {time.monotonic() - begin:.0f} s: {words}")
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description="Run the notebooks from top to bottom.")
    made.add_argument("words", nargs="*", help="run only notebooks whose names hold one of these words")
    made.add_argument("--write", action="store_true", help="store the outputs in the files")
    made.add_argument("--jobs", type=int, default=2, help="notebooks that run at once (default: 2)")
    made.add_argument("--timeout", type=int, default=SECONDS_A_CELL, help="most seconds for one cell (default: %(default)s)")
    made.add_argument("--folder", type=Path, default=FOLDER, help="where the notebooks are (default: beside this file)")
    return made


def chosen(words: list[str], folder: Path) -> list[Path]:
    """Return the notebooks of a folder whose names hold one of the words, in the order of their names; all if there are no words."""
    return [path for path in sorted(folder.glob("*.ipynb")) if not words or any(word in path.stem for word in words)]


def quiet(folder: str) -> dict[str, str]:
    """Return the environment of kernels that start from nothing: without the user's settings or the debugger's warnings."""
    ours = {
        "IPYTHONDIR": folder,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    return {**os.environ, **ours}


async def run_all(paths: list[Path], jobs: int, write: bool, timeout: int, environment: dict[str, str]) -> list[Outcome]:
    """Run notebooks, at most so many at once; lines are printed as they end."""
    free = asyncio.Semaphore(jobs)

    async def one(path: Path) -> Outcome:
        async with free:
            outcome = await run_one(path, write, timeout, environment)
        print(outcome.line, flush=True)
        return outcome

    return list(await asyncio.gather(*(one(path) for path in paths)))


async def run_one(path: Path, write: bool, timeout: int, environment: dict[str, str]) -> Outcome:
    """Run one notebook in the folder it lies in."""
    begin = time.monotonic()
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # that kernels on one machine talk unencrypted is no news
    )
    try:
        await client.async_execute(env=environment)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return Outcome(path.stem, time.monotonic() - begin, COLOURS.sub("", str(error)).strip())
    if write:
        nbformat.write(normalised(notebook), path)
    return Outcome(path.stem, time.monotonic() - begin, None)


def normalised(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook without what differs from run to run or from machine to machine and says nothing."""
    stored = nbformat.from_dict(notebook)
    stored.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    stored.nbformat, stored.nbformat_minor = 4, 5
    for cell in stored.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            picture = output.get("data", {}).get("image/png")
            if picture:
                output.data["image/png"] = base64.b64encode(smaller(base64.b64decode(picture))).decode()
    return stored


def smaller(png: bytes) -> bytes:
    """Return a picture in 256 colours, a third of its size, if nobody sees the difference; otherwise as it is, packed more tightly."""
    picture = Image.open(io.BytesIO(png))
    if picture.mode == "P":
        return png
    full = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA")).convert("RGB")
    few = full.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    apart = np.asarray(few.convert("RGB"), dtype=float) - np.asarray(full, dtype=float)
    packed = io.BytesIO()
    (few if np.sqrt((apart**2).mean()) < UNSEEN else full).save(packed, "PNG", optimize=True)
    return min(packed.getvalue(), png, key=len)


if __name__ == "__main__":
    sys.exit(main())
