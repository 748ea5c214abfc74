"""The commands themselves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bayesgmm import __version__
from bayesgmm.cli.options import (
    AUTO,
    Data,
    Large,
    Model,
    Sampling,
    components_option,
    counts_option,
    data_options,
    for_posterior,
    known_options,
    label_option,
    large_options,
    model_options,
    sampling_options,
    seeded,
    values,
)

if TYPE_CHECKING:
    from bayesgmm.cli.steps import Progress
    from bayesgmm.report import Report

__all__ = ["cli"]

_quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bayesgmm")
def cli() -> None:
    """Find the groups in a table of measurements, and how sure that is.

    bayesgmm fits a Gaussian mixture twice: by EM, which gives one answer quickly, and by full Bayesian inference, which
    says how uncertain that answer is. `report` does both and compares them on a page you can open in a browser; `fit`
    writes the parameters of one of them for another program to read.

    Try it on data that ship with it:

      bayesgmm report faithful
    """


@cli.command(short_help="Fit a table both ways, compare, and write a report.")
@data_options
@label_option
@known_options
@counts_option
@model_options
@click.option(
    "--method",
    type=click.Choice(("both", "em")),
    default="both",
    show_default=True,
    help="EM and posterior, or EM alone, which takes a moment.",
)
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    help="Folder for the report; made if missing, never emptied. By default reports/ and the name of the table.",
)
@sampling_options
@_quiet_option
def report(quiet: bool, method: str, output: str | None, counts: tuple[int, ...], **settings: Any) -> None:
    """Fit DATA by EM and by posterior, compare the two, and write a report.

    DATA is a .csv, .tsv or .parquet file, or the name of a data set that ships with bayesgmm (see `bayesgmm datasets`).
    What is assumed about a text file is said on stderr, and so are columns left out because they hold words or marks, number the
    rows or never vary.

    How many groups there are need not be known: without --components every number gets its probability, from a posterior in
    which it is left open, and the most probable one is described. There are then two posteriors, and --max-time is for each.

    DIR receives index.html, which holds everything and needs no network,
    summary.json with the same figures for programs, and posterior.nc with the draws. Where the page is and what was
    found are printed in a few lines.

    A page of EM's fit is written first, and has the posterior once that is there. If that fails or is stopped (Ctrl-C),
    EM's page stays, and says why it is all.

    Values may be missing: a row then counts by what it has. Rows with nothing at all are left out. With --known and no --components there
    is a group for each of the names in that column, and the page lists the rows whose name their values contradict.
    """
    from bayesgmm.cli.steps import Progress, command_line, fit_first, load, sample_after, with_number
    from bayesgmm.files import check_writable
    from bayesgmm.report import build_report
    from bayesgmm.report.labels import check_labels

    data, model, sampling = values({**settings, "components": counts[0] if counts else AUTO})
    if not counts and sampling.sampler not in (None, "hmc"):
        raise click.UsageError(f"--sampler {sampling.sampler} needs a number of groups: give --components, or leave it out.")
    output = str(Path("reports") / data.name) if output is None else output
    if method == "em":
        sampling.refuse()
    else:
        model = for_posterior(model, "bayesgmm report --method em")
    model = seeded(model)
    progress = Progress(quiet)
    check_writable(output, folder=True)
    table = load(data, progress)
    if table.labels is not None:
        check_labels(table.labels, len(table.X))
    about: dict[str, Any] = {
        "name": data.name,
        "source": data.source,
        "labels": table.labels,
        "command": command_line(data, counts, model, sampling, method),
        "left_out": table.left_out,
    }
    if table.told and not counts:
        model = with_number(model, table.told)
        counts = () if model.components == AUTO else (int(model.components),)
    em, selection = fit_first(table.X, counts, model, progress, table.told)
    with progress.step("Drawing EM's report"):
        written = build_report(em, X=table.X, selection=selection, missing=None if method == "em" else _pending(), **about)
        page = written.write(output)
    if method == "both":
        progress.say(f"EM's page is there: {page}")
        with _em_kept(written, output):
            fits = sample_after(table.X, em, selection, counts, model, sampling, progress, table.told)
            with progress.step("Comparing the two and drawing the report"):
                chosen: dict[str, Any] = {"selection": fits.selection, "number": fits.number}
                written = build_report(fits.em, fits.posterior, table.X, **chosen, **about)
                page = written.write(output)
    for line in (page, *written.headline):
        click.echo(line)


@cli.command(short_help="Fit a table one way and write the parameters as JSON.")
@data_options
@known_options
@components_option
@model_options
@click.option(
    "--method",
    type=click.Choice(("em", "posterior")),
    default="em",
    show_default=True,
    help="The most likely parameters, or their posterior means and standard deviations.",
)
@click.option("--output", "-o", required=True, metavar="FILE", help="JSON file for the parameters.")
@click.option("--save-draws", metavar="FILE", help="netCDF file for the posterior's draws (with --method posterior).")
@large_options
@sampling_options
@_quiet_option
def fit(quiet: bool, method: str, output: str, save_draws: str | None, **settings: Any) -> None:
    """Fit DATA and write the mixture's parameters as JSON.

    DATA is a .csv, .tsv or .parquet file, or the name of a data set that ships with bayesgmm (see `bayesgmm datasets`).
    What is assumed about a text file is said on stderr, and so are columns left out because they hold words or marks, number the
    rows or never vary. The file holds weights, means and covariances in the data's units, and their
    log-likelihood; for a posterior these are means over the draws, beside their standard deviations and what the checks
    say.

    Values may be missing: a row then counts by what it has. Rows with nothing at all are left out. With --known and no --components there
    is a group for each of the names in that column.

    EM also takes data larger than memory: Parquet files, a folder of them, a quoted pattern such as 'data/*.parquet', or
    an .npy file. These are read in chunks.
    """
    from bayesgmm.cli.large import fit_large, is_large
    from bayesgmm.cli.steps import Progress, found
    from bayesgmm.files import atomic_write_text, check_writable

    chosen = {name: settings.pop(name) for name in ("weights", "scheduler", "checkpoint", "resume")}
    data, model, sampling = values(settings)
    if method == "posterior":
        model = for_posterior(model, "bayesgmm fit --method em")
    elif save_draws is not None:
        raise click.UsageError("EM has no draws to save: --save-draws goes with --method posterior.")
    else:
        sampling.refuse()
    for path in filter(None, (output, save_draws)):
        check_writable(path)
    progress = Progress(quiet)
    large = Large(**chosen)
    if is_large(data, method):
        if data.beside:
            raise click.UsageError("What is known of rows needs all of them in memory: give one .csv or .parquet file.")
        result = fit_large(data, model, large, method, progress)
    else:
        large.refuse(data.source)
        result = _fit_in_memory(data, model, sampling, method, save_draws, progress)
    atomic_write_text(output, json.dumps(result, indent=2, allow_nan=False) + "\n")
    for line in (output, *found(result)):
        click.echo(line)


@cli.command(short_help="Say of each row which group it is in, and how surely.")
@click.argument("model", metavar="MODEL")
@click.argument("source", metavar="DATA")
@click.option("--output", "-o", required=True, metavar="FILE", help="Parquet file, with a row for each row of the data.")
@_quiet_option
def predict(model: str, source: str, output: str, quiet: bool) -> None:
    """Write for each row of DATA what MODEL says of it.

    MODEL is what `bayesgmm fit` wrote; a posterior is represented by its means, without what is uncertain about them. DATA is a .csv,
    .tsv, .parquet or .npy file, a folder of Parquet files or a quoted pattern such as 'data/*.parquet', or the name of a data set that
    ships with bayesgmm. Of a table the columns that were fitted are used, by their names.

    FILE receives, in the order of the data (files in the order of their names): component, the most probable one, counted from 0;
    probability_0, probability_1, ... of each component; log_density of the row under the mixture. The data are read in chunks, and the
    file appears when it is complete.
    """
    from bayesgmm.cli.predict import check_output, read_model, write_predictions
    from bayesgmm.cli.steps import Progress

    check_output(output, model, source)
    params, names = read_model(model)
    n_rows = write_predictions(params, names, source, output, Progress(quiet))
    click.echo(output)
    click.echo(f"{n_rows} rows, {params.n_components} components")


@cli.command("datasets")
def list_datasets() -> None:
    """List the data sets that ship with bayesgmm."""
    from bayesgmm import datasets

    for name in datasets.names():
        table = datasets.load(name)
        click.echo(f"{name:<10} {len(table):>4} rows: {', '.join(table.columns)}")


def _pending() -> str:
    return (
        f"The posterior is being computed since {datetime.now(UTC):%H:%M UTC on %Y-%m-%d}. When it is there, this page has it: reload "
        "it then. If no bayesgmm runs any more, it was cut off; the command below starts again."
    )


@contextmanager
def _em_kept(written: "Report", output: str) -> Iterator[None]:
    """Let EM's report say why it is all, if the posterior fails or is stopped."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        told = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        stopped = "it was stopped before it was done. The command below makes the whole report"
        reason = f"There is no posterior: {stopped if isinstance(error, KeyboardInterrupt) else told}."
        page = written.without_posterior(reason).write(output)
        click.echo(f"EM's report, without the posterior: {page}", err=True)
        raise


def _fit_in_memory(
    data: Data, model: Model, sampling: Sampling, method: str, save_draws: str | None, progress: "Progress"
) -> dict[str, Any]:
    from bayesgmm.cli.steps import describe_em, describe_job, describe_posterior, fit_em, fit_posterior, load, with_number
    from bayesgmm.estimators.draws_file import save_draws as write_draws

    table = load(data, progress)
    X, told, model = table.X.reset_index(drop=True), table.told, with_number(model, table.told)
    if method == "em":
        em = fit_em(X, model, progress, told)
        if model.components == AUTO:
            progress.say(f"{em.message_}.")
        fitted = describe_em(em)
    else:
        is_open = model.components == AUTO
        em_first = None if is_open else fit_em(X, model, progress, told)
        posterior = fit_posterior(X, em_first, model, sampling, progress, told)
        fitted = describe_posterior(posterior.em_, posterior, X)
        if save_draws is not None:
            write_draws(posterior, save_draws)
    return describe_job(data, model, len(X), list(X.columns)) | fitted
