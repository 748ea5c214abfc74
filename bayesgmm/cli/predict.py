"""What a model that ``bayesgmm fit`` wrote says of each row, chunk by chunk."""

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bayesgmm import datasets
from bayesgmm.cli.steps import Progress, in_numbers
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import responsibility_moments
from bayesgmm.files import arrow_path, atomic_write, check_writable, read_table
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from bayesgmm.rows.files import bounds
from bayesgmm.rows.open import stream_rows
from bayesgmm.rows.parquet import parquet_files
from bayesgmm.typing import FloatArray

__all__ = ["check_output", "read_model", "write_predictions"]

ROWS = 2**17
"""Rows that are predicted at a time: their predictions, in two formats, take several times the memory of the rows themselves."""
_TABLES = (".csv", ".tsv")
_KEYS = ("bayesgmm_version", "feature_names", "weights", "means", "covariances")


def check_output(output: str, model: str, source: str) -> None:
    """Refuse a name that predictions cannot be written to."""
    if Path(output).suffix.lower() != ".parquet":
        raise click.UsageError(f"--output {output}: predictions are written as Parquet, so the name must end in .parquet.")
    check_writable(output)
    for path in (model, source, *parquet_files(source)):
        if Path(path).resolve() == Path(output).resolve():
            raise click.UsageError(f"--output {output} is one of the files that are read: give another name.")


def write_predictions(params: MixtureParams, names: list[str], source: str, output: str, progress: Progress) -> int:
    """Write the predictions of all rows, and return how many there are.

    Raises
    ------
    InvalidDataError
        If the data cannot be read, or lack a column, or hold infinite values; nothing is then left at ``output`` that was not there.
    """
    n_rows = 0
    with progress.step(f"Predicting {source}"), progress.line() as (show, overwrites):
        pieces = _pieces(source, names)
        first = list(islice(pieces, 1))  # what is wrong with the data is said before anything is written
        with (
            atomic_write(output) as temporary,
            pq.ParquetWriter(arrow_path(temporary, "wb"), _schema(params.n_components)) as writer,
        ):
            for chunk in chain(first, pieces):
                writer.write_table(_predictions(params, chunk))
                n_rows += len(chunk.X)
                if overwrites:
                    show(f"{n_rows} rows")
    return n_rows


def _pieces(source: str, names: list[str]) -> Iterator[Chunk]:
    """Yield rows of the columns of these names with the place they come from."""
    if source in datasets.names() or Path(source).suffix.lower() in _TABLES:
        chunks = iter([Chunk(in_numbers(read_table(source, names), source).to_numpy(), place=source)])
    else:
        chunks = stream_rows(source, None if source.lower().endswith(".npy") else names)
    for chunk in chunks:
        if chunk.X.shape[1] != len(names):
            raise InvalidDataError(f"{chunk.place} has {chunk.X.shape[1]} columns and the model {len(names)}: {', '.join(names)}")
        for start, stop in bounds(len(chunk.X), len(names), ROWS):
            yield Chunk(chunk.X[start:stop], place=chunk.place, first=chunk.first + start)


def _schema(n_components: int) -> Any:
    probabilities = [(f"probability_{k}", pa.float64()) for k in range(n_components)]
    return pa.schema([("component", pa.int32()), *probabilities, ("log_density", pa.float64())])


def _predictions(params: MixtureParams, chunk: Chunk) -> pa.Table:
    """Return a table of the rows' predictions."""
    if np.isinf(chunk.X).any():
        row, column = (int(i[0]) for i in np.nonzero(np.isinf(chunk.X)))
        raise InvalidDataError(
            f"{chunk.place} has an infinite value in row {chunk.first + row}, column {column} (both counted from 0): replace or drop such "
            "rows first"
        )
    moments = responsibility_moments(chunk, *params.reshape(-1).arrays(), diagonal=params.is_diagonal)
    columns: list[np.ndarray] = [moments.mean.argmax(axis=1).astype(np.int32), *moments.mean.T, moments.log_density]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=_schema(params.n_components))


def read_model(path: str) -> tuple[MixtureParams, list[str]]:
    """Read a model that ``bayesgmm fit`` wrote, of a posterior the means over its draws, and the names of its columns.

    Raises
    ------
    InvalidDataError
        If there is no such file, or it holds something else.
    """
    if not Path(path).is_file():
        raise InvalidDataError(f"There is no file {path!r}; bayesgmm fit writes one.")
    try:
        return _parsed(Path(path).read_bytes())
    except ValueError as error:
        why = str(error).rstrip(".")
        raise InvalidDataError(f"{path} does not hold a model of bayesgmm: {why}; bayesgmm fit writes one.") from None


def _parsed(text: bytes) -> tuple[MixtureParams, list[str]]:
    """Return the mixture and its columns, or raise ValueError that says what is wrong."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({' '.join(str(error).split())[:100]})") from None
    missing = [key for key in _KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    names = content["feature_names"]
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)):
        raise ValueError("its feature_names are not a list of different names")
    arrays = {name: _numbers(content[name], name) for name in ("weights", "means", "covariances")}
    K, D = arrays["weights"].size, len(names)
    for (name, array), shape in zip(arrays.items(), ((K,), (K, D), (K, D, D)), strict=True):
        if array.shape != shape or K == 0:
            raise ValueError(f"its {name} have shape {array.shape}, not {shape}, for {K} weights and {D} columns")
    return MixtureParams.from_covariances(**arrays), names


def _numbers(values: Any, name: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=float)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"its {name} are not numbers in rows of one length") from None
    if not np.isfinite(array).all():
        raise ValueError(f"its {name} are not all finite")
    return array
