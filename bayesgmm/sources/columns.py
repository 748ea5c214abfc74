"""Which columns of Parquet files are used: those of a table's index are no features, and all files must have the same."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.files import arrow_path
from bayesgmm.tables import has_booleans, refuse_categories

__all__ = ["Header", "chosen_columns", "in_one_line", "weight_column"]


@dataclass(frozen=True)
class Header:
    """What a table says of itself before any row is read.

    Parameters
    ----------
    place : str
        For messages.
    names : list of str
        Of all columns.
    sizes : list of int
        Rows of each row group.
    index : frozenset of str
        Columns that are the table's index, which pandas and Dask write beside the others.
    booleans : frozenset of str
        Columns of True and False.
    categories : frozenset of str
        Columns whose values stand for categories although they are stored as numbers.
    """

    place: str
    names: list[str]
    sizes: list[int]
    index: frozenset[str]
    booleans: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()

    @classmethod
    def of_file(cls, file: str) -> Header:
        """Read the header of a Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(arrow_path(file)) as opened:
                meta, schema = opened.metadata, opened.schema_arrow
                return cls.of_schema(file, schema, [meta.row_group(i).num_rows for i in range(meta.num_row_groups)])
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InvalidDataError(f"{file} is not a readable Parquet file: {in_one_line(error)}") from error

    @classmethod
    def of_schema(cls, place: str, schema: Any, sizes: Sequence[int] = ()) -> Header:
        """Return the header that belongs to a schema of pyarrow's."""
        booleans = frozenset(field.name for field in schema if has_booleans(field))
        said = _said_by_pandas(schema)
        known = {str(column.get("name")) for column in said.get("columns", ()) if column.get("pandas_type") == "categorical"}
        plain = frozenset(field.name for field in schema if field.name in known and not str(field.type).startswith("dictionary"))
        return cls(place, list(schema.names), list(sizes), _index_of(schema, said), booleans, plain)


def _said_by_pandas(schema: Any) -> dict[str, Any]:
    """Return what pandas wrote of the columns' types beside them; nothing where it was another program, or its words make no sense."""
    try:
        said = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    except ValueError:
        return {}
    is_ours = isinstance(said, dict) and all(isinstance(column, dict) for column in said.get("columns", ()))
    return said if is_ours else {}


def _index_of(schema: Any, said: dict[str, Any]) -> frozenset[str]:
    """Return the names of the columns that hold an index: as pandas' metadata say, or by the names they have without it."""
    names = {name for name in schema.names if name.startswith("__index_level_") or name == "__null_dask_index__"}
    try:
        for entry in said["index_columns"]:
            if isinstance(entry, str):
                names.add(entry)
            elif isinstance(entry["name"], str) and entry["name"] not in schema.names:
                names.add(entry["name"])  # one that only counts is no column here, but may be one in the next file
    except (KeyError, TypeError):  # metadata of other programs
        pass
    return frozenset(names)


def weight_column(headers: Sequence[Header], sample_weight: Any) -> str | None:
    """Return the name of the column that ``sample_weight`` means, None if it is none: an array, or an ``.npy`` file."""
    if not isinstance(sample_weight, str):
        return None
    is_file = os.path.splitext(sample_weight)[1].lower() == ".npy"  # noqa: PTH122 - it may be no path at all
    return None if is_file and all(sample_weight not in header.names for header in headers) else sample_weight


def chosen_columns(headers: Sequence[Header], columns: Sequence[str] | None, weight: str | None) -> list[str]:
    """Return the names of the columns to use, which are in each of the tables.

    Parameters
    ----------
    headers : sequence of Header
        Tables with neither rows nor columns are passed over.
    columns : sequence of str, optional
        What the user chose; by default all columns but the weights and those that any of the tables has for its index.
    weight : str, optional
        Name of the column with the rows' weights.

    Raises
    ------
    InvalidDataError
        If a table lacks a column, or has two of its name, or more than the first has.
    """
    index = frozenset[str]().union(*(header.index for header in headers))
    tables = [header for header in headers if sum(header.sizes) or set(header.names) - index] or list(headers[:1])
    first = tables[0]
    names = _names(first, index, columns, weight)
    for header in tables:
        _check(header, first, [*names, *([] if weight is None else [weight])])
        refuse_categories([name for name in names if name in header.categories], header.place)
        more = [name for name in header.names if name not in first.names and name not in index]
        if more and columns is None:
            raise InvalidDataError(
                f"{header.place} has column {', '.join(map(repr, more[:5]))}, which {first.place} has not: "
                "choose the columns to use (columns=[...])."
            )
    return names


def _names(first: Header, index: frozenset[str], columns: Sequence[str] | None, weight: str | None) -> list[str]:
    if columns is not None:
        chosen = [str(name) for name in columns]
        if not chosen:
            raise InvalidDataError(f"No columns were chosen; {first.place} has {', '.join(first.names)}.")
        if twice := [name for name in dict.fromkeys(chosen) if chosen.count(name) > 1]:
            raise InvalidDataError(f"Column {', '.join(map(repr, twice))} was asked for more than once.")
        return chosen
    names = [name for name in first.names if name != weight and name not in index]
    if not names:
        raise InvalidDataError(f"{first.place} has no columns.")
    return names


def _check(header: Header, first: Header, wanted: list[str]) -> None:
    missing = [name for name in wanted if name not in header.names]
    if missing:
        beside = "" if header is first else f"; {first.place} has {', '.join(wanted)}"
        raise InvalidDataError(
            f"{header.place} has no column {', '.join(map(repr, missing[:5]))}; it has {', '.join(header.names)}{beside}."
        )
    if twice := [name for name in dict.fromkeys(wanted) if header.names.count(name) > 1]:
        raise InvalidDataError(
            f"{header.place} has more than one column {', '.join(map(repr, twice[:5]))}: rename all but one, or choose other columns."
        )


def in_one_line(error: BaseException) -> str:
    """Return the beginning of what an error says."""
    return " ".join(str(error).split())[:200]
