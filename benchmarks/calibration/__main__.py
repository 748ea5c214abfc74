"""``python -m benchmarks.calibration``: simulate, fit, judge, and write the page."""

from __future__ import annotations

import sys
from typing import Any

import click

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.files import check_writable
from benchmarks.calibration.coverage import measure_coverage
from benchmarks.calibration.page import Studies, write
from benchmarks.calibration.reliability import measure_reliability
from benchmarks.calibration.sbc import CONTROLS, DESIGNS, run_sbc
from benchmarks.calibration.unknown_number import OPEN_CONTROLS, OPEN_DESIGNS

__all__ = ["main"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--replicates", default=200, show_default=True, type=click.IntRange(min=1), help="Data sets of each kind.")
@click.option("--samples", default=40, show_default=True, type=click.IntRange(min=1), help="Small samples of each kind.")
@click.option(
    "--sets", default=100, show_default=True, type=click.IntRange(min=0), help="Data sets of each fixed truth; 0 for none."
)
@click.option("--random-state", default=1, show_default=True, type=click.IntRange(min=0), help="The same number, the same ranks.")
@click.option("--output", default="reports/calibration", show_default=True, metavar="DIR", help="Folder for index.html.")
@click.option("--jobs", default=None, type=click.IntRange(min=1), help="Processes; by default one for each core.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def main(replicates: int, samples: int, sets: int, random_state: int, output: str, jobs: int | None, quiet: bool) -> None:
    """Check that intervals hold what they claim, on data simulated from the prior and from fixed truths, and responsibilities, too.

    The exit status is 1 if a check failed; the page is written all the same.
    """
    try:
        check_writable(output, folder=True)
        settings: dict[str, Any] = {"random_state": random_state, "n_jobs": jobs or -1, "progressbar": not quiet}
        found = Studies(
            run_sbc(replicates, designs=(*DESIGNS, *OPEN_DESIGNS, *CONTROLS, *OPEN_CONTROLS), **settings),
            measure_reliability(samples, **settings),
            measure_coverage(sets, **settings) if sets else None,
        )
        click.echo(write(found, output))
    except (InvalidParameterError, OSError) as error:
        raise click.ClickException(str(error)) from None
    for check in found.checks:
        click.echo(f"{'ok  ' if check.passed else 'LOOK'}  {check.sentence}")
    if not found.passed:
        sys.exit(1)


if __name__ == "__main__":
    main()
