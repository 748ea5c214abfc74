"""Text files as people have them: CSV and its relatives, read by pandas as told by how they are written."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.tables.cells import decimal_mark, understood
from bayesgmm.tables.dialect import Dialect, sniff

__all__ = ["read_text"]


def read_text(path: Path, usual: str, columns: Sequence[str] | None = None) -> tuple[pd.DataFrame, str]:
    """Read a text file, and say what was assumed.

    Parameters
    ----------
    path : Path
    usual : str
        What stands between columns in files of this suffix.
    columns : sequence of str, optional
        Those that are looked at closely; all by default.

    Returns
    -------
    table : DataFrame
        All columns; several may have the same name.
    assumed : str
        A line; empty where nothing had to be.
    """
    dialect = sniff(path, usual)
    table = _parse(path, dialect)
    names, assumed = list(dialect.names), list(dialect.assumed)
    if names[-1] == "" and len(names) > 1 and table.iloc[:, -1].isna().all():  # a separator at the end of every line
        names, table = names[:-1], table.iloc[:, :-1]
    mark = _decimal_mark(path, dialect, table)
    if mark == ",":
        assumed.append("a decimal comma")
        table = _parse(path, dialect, decimal=",").iloc[:, : len(names)]
    said: dict[str, list[str]] = {}
    for d, name in enumerate(names):
        column = table.iloc[:, d].rename(name)
        if _is_text(column) and (columns is None or name in columns) and (mark or not _has_commas(column)):
            table[table.columns[d]] = understood(column, mark or ".", said)
    parts = [f"read with {_joined(assumed)}"] if assumed else []
    parts += [f"{what} in {_joined(where)}" for what, where in said.items()]
    table = table.set_axis([name or f"Unnamed: {d}" for d, name in enumerate(names)], axis="columns")
    return table, f"{path}: {'; '.join(parts)}" if parts else ""


def _joined(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _decimal_mark(path: Path, dialect: Dialect, table: pd.DataFrame) -> str | None:
    """Return what stands before decimals in all of a file, whichever columns are asked for; None where that cannot be told."""
    texts = [table[d] for d in table if _is_text(table[d])]
    if not any(map(_has_commas, texts)):
        return "."
    floats = [d for d in table if table[d].dtype.kind == "f"]
    # Numbers with points may be thousands: only as they are written can that be told.
    written = _parse(path, dialect, dtype=str, usecols=floats) if floats else pd.DataFrame()
    return decimal_mark(texts, [written[d] for d in written], dialect.separator)


def _has_commas(column: pd.Series) -> bool:
    return bool(column.astype(str).str.contains(",", regex=False).any())


def _is_text(column: pd.Series) -> bool:
    return column.dtype == object or isinstance(column.dtype, pd.StringDtype)


def _parse(path: Path, dialect: Dialect, **options: Any) -> pd.DataFrame:
    """``pandas.read_csv`` that refuses rows longer than the header instead of dropping or shifting their fields."""
    settings = {"sep": dialect.separator, "header": None, "names": range(len(dialect.names)), "index_col": False}
    try:
        with path.open(encoding=dialect.encoding, newline="") as stream, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            for _ in range(dialect.skipped):
                stream.readline()
            return pd.read_csv(stream, **settings, low_memory=False, **options)  # type: ignore[call-overload]
    except pd.errors.EmptyDataError:
        return pd.DataFrame(columns=range(len(dialect.names)))
    except pd.errors.ParserWarning as error:
        hint = "; if its numbers have decimal commas, save it with decimal points" if dialect.separator == "," else ""
        raise InvalidDataError(f"{path} has rows with more values than its first line has column names{hint}.") from error
    except (pd.errors.ParserError, OSError) as error:
        raise InvalidDataError(f"{path} cannot be read: {_in_the_file(error, dialect.skipped)}.") from error


def _in_the_file(error: BaseException, skipped: int) -> str:
    """The first sentence of a parser's error, without its full stop, with lines counted as in the file; its type if it says nothing."""
    message = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
    told = re.sub(r"\b(line|row) (\d+)", lambda found: f"{found[1]} {int(found[2]) + skipped}", message.split(". ")[0].rstrip("."))
    return told or type(error).__name__
