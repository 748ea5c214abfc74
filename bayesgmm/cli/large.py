"""``bayesgmm fit`` on data that need not fit into memory: Parquet files, folders and patterns of them, ``.npy`` files."""

import asyncio
import glob
import math
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from bayesgmm import datasets
from bayesgmm.cli.options import AUTO, Data, Large, Model
from bayesgmm.cli.steps import Progress, describe_em, describe_job, leave_out, new_em
from bayesgmm.em import Iteration
from bayesgmm.estimators import GaussianMixture
from bayesgmm.exceptions import BayesGMMError, InvalidParameterError
from bayesgmm.files import check_writable
from bayesgmm.rows import Rows, open_rows
from bayesgmm.tables.uninformative import Extent

__all__ = ["fit_large", "is_large"]

OFTEN = 1.0
"""Seconds between two lines about iterations where lines cannot be overwritten."""
PATIENCE = 5.0
"""Seconds in which a scheduler must answer, and have a worker."""
_IN_MEMORY = (".csv", ".tsv")


def is_large(data: Data, method: str) -> bool:
    """Whether data are fitted in chunks. One Parquet file alone is read into memory where that is what the other options need."""
    path = Path(data.source)
    if data.source in datasets.names() or path.suffix.lower() in _IN_MEMORY:
        return False
    if path.suffix.lower() == ".parquet" and path.is_file():
        return method == "em" and not data.drop_missing and not data.beside
    return path.suffix.lower() == ".npy" or path.is_dir() or glob.has_magic(data.source)


def fit_large(data: Data, model: Model, large: Large, method: str, progress: Progress) -> dict[str, Any]:
    """Fit by EM without ever holding all rows, and describe the fit, JSON-ready.

    Raises
    ------
    click.UsageError
        If something is asked for that takes all rows at once.
    InvalidDataError, InvalidParameterError
        As from :meth:`bayesgmm.GaussianMixture.fit`.
    """
    _check_possible(data, method)
    if large.checkpoint is not None:
        check_writable(large.checkpoint)
    with _connected(large.scheduler) if large.scheduler else nullcontext():
        with progress.step(f"Reading {data.source}"):
            rows = _measurements(open_rows(data.source, columns=data.columns, sample_weight=large.weights), data, large)
            about = _about(rows)
        progress.say(f"{data.source}: {about}")
        em = _fitted(rows, model, large, progress)
        progress.say(em.message_)
        return describe_job(data, model, len(rows), em.feature_names_) | describe_em(em)


def _check_possible(data: Data, method: str) -> None:
    if method != "em":
        raise click.UsageError(
            "--method posterior reads the table into memory: give one .csv or .parquet file, or fit these data in Python "
            "(BayesianGaussianMixture takes them)."
        )
    if data.drop_missing:
        raise click.UsageError(
            "--drop-missing is for tables in memory (one .csv or .parquet file): here rows with missing values are fitted as they are."
        )


def _measurements(rows: Rows, data: Data, large: Large) -> Rows:
    """Return the rows without columns that tell no groups apart, unless these were asked for by name."""
    aside = leave_out(_extents(rows), data, named=rows.names is not None)
    if not aside or rows.names is None:
        return rows
    left = [name for name in rows.names if name not in aside]
    return open_rows(data.source, columns=left, sample_weight=large.weights)


def _extents(rows: Rows) -> list[Extent]:
    """What the first pass over the rows tells of their columns; consecutive numbers are known by their range, mean and spread."""
    summary, n = rows.summary, len(rows)
    columns = zip(rows.feature_names, summary.lowest, summary.highest, summary.seen, summary.mean, summary.square, strict=True)
    found = []
    for name, lowest, highest, seen, mean, square in columns:
        is_whole = lowest == lowest // 1 and highest == highest // 1
        is_even = math.isclose(mean, (lowest + highest) / 2) and math.isclose(square, n * (n * n - 1) / 12)
        run = is_whole and seen == summary.weight == n and highest - lowest == n - 1 and is_even
        found.append(Extent(name, float(lowest), float(highest), float(seen), bool(is_whole), bool(run)))
    return found


def _about(rows: Rows) -> str:
    """Say how many rows and columns there are, and what is missing."""
    summary, names = rows.summary, rows.feature_names
    left_out = sum(summary.read) - len(rows)
    text = f"{len(rows)} rows{f' ({left_out} of weight zero left out)' if left_out else ''}, columns {', '.join(names)}"
    if not summary.has_gaps:
        return text
    missing = summary.weight - summary.seen
    counts = ", ".join(f"{name} ({count:.10g})" for name, count in zip(names, missing, strict=True) if count > 0)
    return f"{text}; values are missing in {counts}: their rows are fitted with what they have"


def _fitted(rows: Rows, model: Model, large: Large, progress: Progress) -> GaussianMixture:
    em = new_em(model)
    number = "the number of components by BIC" if model.components == AUTO else f"K = {model.components}"
    with progress.step(f"Fitting by EM, {number}"), _told(progress) as tell:
        try:
            return em.fit(rows, checkpoint=large.checkpoint, resume=large.resume, on_iteration=tell)
        except KeyboardInterrupt:
            if large.checkpoint is not None:
                progress.say(f"Interrupted: the same command with --resume {large.checkpoint} goes on from there.")
            raise


@contextmanager
def _told(progress: Progress) -> Iterator[Callable[[Iteration], None]]:
    """Yield what tells of iterations: in one line that changes on a terminal, otherwise in lines, not more of them than can be read."""
    last = -OFTEN
    with progress.line() as (show, overwrites):

        def tell(iteration: Iteration) -> None:
            nonlocal last
            now = time.perf_counter()
            if overwrites or iteration.number == 1 or now - last >= OFTEN:
                show(f"  {iteration}")
                last = now

        yield tell


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Let a cluster's workers read the data and do the sums as long as the block runs.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tcp://10.0.0.5:8786``.

    Raises
    ------
    InvalidParameterError
        If Dask is not installed, the address is none, nothing answers there within seconds, or the cluster has no workers.
    BayesGMMError
        If the scheduler goes away while the block runs.
    """
    try:
        from distributed import Client
        from distributed.comm.core import CommClosedError
    except ImportError:
        raise InvalidParameterError("--scheduler needs Dask, which is not installed: pip install 'bayesgmm[dask]'") from None
    _check_answers(address)
    with Client(address, timeout=PATIENCE) as client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise InvalidParameterError(
                f"The scheduler at {address} has no workers: start some with dask worker {address}"
            ) from None
        try:
            yield
        except (CommClosedError, CancelledError) as error:
            raise BayesGMMError(
                f"The connection to the scheduler at {address} broke off: see whether it still runs, then start again "
                "(with --checkpoint a fit can go on from where it was)"
            ) from error


def _check_answers(address: str) -> None:
    """Greet the scheduler first: Dask's own client would wait without end for a port that is open and says nothing."""
    from distributed.comm.addressing import parse_address, parse_host_port

    try:
        scheme, location = parse_address(address)
        if scheme in ("tcp", "tls"):
            # A port at which nobody listens says so at once, and Dask would try it again for seconds.
            socket.create_connection(parse_host_port(location), PATIENCE).close()
        asyncio.run(_greet(address))
    except ValueError as error:
        raise InvalidParameterError(f"--scheduler {address}: {error}; an address looks like tcp://10.0.0.5:8786") from None
    except TimeoutError:
        raise InvalidParameterError(f"No Dask scheduler answered at {address} within {PATIENCE:.0f} seconds.") from None
    # What speaks another language begins with what Dask takes for the length of a message.
    except (OSError, MemoryError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "what answers there is something else"
        raise InvalidParameterError(f"There is no Dask scheduler at {address}: {why}.") from None


async def _greet(address: str) -> None:
    from distributed import Security, connect

    async with asyncio.timeout(PATIENCE):
        comm = await connect(address, timeout=PATIENCE, **Security().get_connection_args("client"))
        comm.abort()
