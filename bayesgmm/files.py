"""Reading tables, and writing files so that nobody ever sees half of one."""

import math
import os
import secrets
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm import datasets
from bayesgmm.exceptions import InvalidDataError, ReadingNote
from bayesgmm.tables.delimited import first_sentence, line_of, read_text, sniff
from bayesgmm.text import listed

__all__ = [
    "arrow_path",
    "atomic_write",
    "atomic_write_text",
    "check_writable",
    "json_records",
    "jsonable",
    "place_of",
    "read_table",
    "readable",
]

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (*_SEPARATORS, ".parquet")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file under a temporary name and rename it when it is complete.

    Whoever reads ``path`` sees the old file or the new one, never a part. If the block fails, the temporary file is
    removed and what was at ``path`` stays as it was. Missing folders are created; a symbolic link is written through.

    Parameters
    ----------
    path : str or path-like
        The file to write.

    Yields
    ------
    pathlib.Path
        A name in the same folder, with the same suffix, at which nothing exists yet: write there.

    Raises
    ------
    OSError
        If the folder cannot be made or the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     target = Path(folder, "new", "table.csv")
    ...     with atomic_write(target) as temporary:
    ...         _ = temporary.write_text("a,b")
    ...         early = target.exists()
    ...     early, target.read_text()
    (False, 'a,b')
    """
    target = Path(path).resolve()
    with _naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}{target.suffix}")
    try:
        with _naming(target, temporary):
            yield temporary
            # A rename can reach the disk before the content does, and a power cut would leave an empty file.
            with temporary.open("r+b") as stream:
                os.fsync(stream.fileno())
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _naming(target: Path, temporary: Path | None = None) -> Iterator[None]:
    """Say of what could not be written under its temporary name which file that was to become."""
    try:
        yield
    except OSError as error:
        ours = temporary is None or str(error.filename) == str(temporary)
        if error.errno is None or not ours:
            raise
        raise OSError(error.errno, f"Cannot write ({error.strerror})", str(target)) from error


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write text as UTF-8, the whole of it or nothing (see :func:`atomic_write`).

    Parameters
    ----------
    path : str or path-like
        The file to write.
    text : str
        Its new content, written as it is: line ends are not translated.

    Raises
    ------
    OSError
        If the folder cannot be made or the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     atomic_write_text(Path(folder, "note.txt"), "naïve\n")
    ...     Path(folder, "note.txt").read_bytes()
    b'na\xc3\xafve\n'
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def jsonable(value: Any) -> Any:
    """Return a scalar as JSON has it: plain numbers and strings, None for what is not finite.

    Parameters
    ----------
    value : scalar

    Examples
    --------
    >>> jsonable(np.float64(0.5)), jsonable(float("nan")), jsonable(pd.NA)
    (0.5, None, None)
    """
    if value is pd.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def json_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dicts that JSON can hold.

    Examples
    --------
    >>> json_records(pd.DataFrame({"a": [1, 2], "b": [0.5, float("inf")]}))
    [{'a': 1, 'b': 0.5}, {'a': 2, 'b': None}]
    """
    return [{str(key): jsonable(value) for key, value in row.items()} for row in table.to_dict("records")]


def readable(name: str) -> str:
    r"""Return a file's name as text that can be written anywhere.

    Names of other times and systems may hold bytes that are no UTF-8, which Python keeps as halves of letters: these are read as Latin-1.

    Parameters
    ----------
    name : str

    Examples
    --------
    >>> readable("K\udcf6ln.csv")
    'Köln.csv'
    """
    return "".join(_letter(letter) if "\ud800" <= letter <= "\udfff" else letter for letter in name)


def _letter(half: str) -> str:
    byte = ord(half) - 0xDC00
    return bytes([byte]).decode("cp1252", "replace") if 0x80 <= byte <= 0xFF else "\ufffd"


def arrow_path(path: str | os.PathLike[str], mode: str = "rb") -> Any:
    """Return what Arrow can open for a file's name: the name itself unless it holds bytes that are no UTF-8."""
    name = os.fspath(path)
    if readable(name) == name:
        return name
    import pyarrow as pa

    return pa.OSFile(os.fsencode(name), mode)


def check_writable(path: str | os.PathLike[str], *, folder: bool = False) -> None:
    """Say now, rather than after minutes of computing, that a result could not be written at ``path``. Creates nothing.

    Parameters
    ----------
    path : str or path-like
        Where a result is to go.
    folder : bool
        Whether ``path`` is to be a folder rather than a file.

    Raises
    ------
    OSError
        If ``path`` is a folder and should be a file, or the other way round, or nothing may be written there.

    Examples
    --------
    >>> check_writable("somewhere/new/model.json")
    >>> check_writable(".")
    Traceback (most recent call last):
    IsADirectoryError: [Errno 21] It is a folder, a file is to be written: '.'
    """
    target = Path(path)
    if target.is_dir() and not folder:
        raise IsADirectoryError(21, "It is a folder, a file is to be written", str(target))
    holder = target if folder else target.absolute().parent
    while not holder.exists():
        holder = holder.absolute().parent
    if not holder.is_dir():
        raise NotADirectoryError(20, "It is a file, a folder is needed", str(holder))
    if not os.access(holder, os.W_OK | os.X_OK):
        raise PermissionError(13, "Cannot write in this folder", str(holder))


def read_table(source: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table from a file or from the data sets that ship with the package.

    Parameters
    ----------
    source : str or path-like
        A file whose suffix says what it is (``.csv``, ``.tsv`` or ``.parquet``), or the name of a shipped data set
        (:func:`bayesgmm.datasets.names`). A bare ``faithful`` is the data set even if there is a file of that name;
        ``faithful.csv`` is always yours. Text files may be written in many ways; what is assumed about one that is not plain, a
        decimal comma say, is told in a :class:`~bayesgmm.exceptions.ReadingNote`.
    columns : sequence of str, optional
        The columns to keep, in this order; all by default.

    Returns
    -------
    pandas.DataFrame, (N, D)
        At least one row, columns with distinct names. Columns may hold anything, numbers or not; values may be missing.

    Raises
    ------
    InvalidDataError
        If there is no such file or data set, the file cannot be read as what its suffix says, has no rows, has two
        columns of the same name among those to keep, or lacks one of ``columns``.

    Examples
    --------
    >>> read_table("penguins", ["body_mass_g", "year"]).dropna().shape
    (342, 2)
    >>> read_table("penguin")
    Traceback (most recent call last):
    bayesgmm.exceptions.InvalidDataError: There is no file or data set 'penguin'; did you mean 'penguins'?
    """
    if os.fspath(source) in datasets.names():
        table = datasets.load(os.fspath(source))
        return table[_choose(table.columns, columns, f"The data set {os.fspath(source)!r}")]
    path = Path(source)
    _check_file(path)
    table = _read_parquet(path, columns) if path.suffix.lower() == ".parquet" else _read_text(path, columns)
    if table.empty:
        raise InvalidDataError(f"{path} has column names but no rows.")
    return table


def _check_file(path: Path) -> None:
    """Turn away what cannot be a table before any parser sees it."""
    if not path.exists():
        raise InvalidDataError(f"There is no file or data set {str(path)!r}; {_suggestion(path)}")
    if path.is_dir():
        raise InvalidDataError(f"{path} is a folder; give one of the files in it.")
    if path.suffix.lower() not in _SUFFIXES:
        raise InvalidDataError(f"{path} is not a table bayesgmm can read: its name must end in {_or(_SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise InvalidDataError(f"{path} is empty.")


def _suggestion(path: Path) -> str:
    """What the user may have meant: a file beside it, or a shipped data set."""
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    tables = [entry.name for entry in beside if entry.suffix.lower() in _SUFFIXES and entry.is_file()]
    near = [str(path.parent / name) for name in get_close_matches(path.name, tables)]
    options = near + get_close_matches(path.name, datasets.names())
    if options:
        return f"did you mean {_or(map(repr, options))}?"
    return f"the data sets that ship with bayesgmm are {', '.join(datasets.names())}."


def _read_text(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    """A CSV or TSV file, however it is written."""
    try:
        table, assumed = read_text(path, _SEPARATORS[path.suffix.lower()], columns)
    except OSError as error:
        raise InvalidDataError(f"{path} cannot be read: {first_sentence(error)}.") from error
    names = list(table.columns)
    if columns is not None and "" in columns:
        raise InvalidDataError(f"A column without a name is called 'Unnamed: 0' after its place; {path} has {', '.join(names)}.")
    chosen = _choose(names, columns, str(path))
    if assumed:
        warnings.warn(assumed, ReadingNote, stacklevel=3)
    return table[chosen]


def place_of(source: str | os.PathLike[str], row: int) -> str:
    """Return where a row of a table, counted from 0, is found in its source: the line of a text file, or its number."""
    path = Path(source)
    if path.suffix.lower() not in _SEPARATORS or not path.is_file():
        return f"row {row}"
    line = line_of(path, sniff(path, _SEPARATORS[path.suffix.lower()]), row)
    return f"row {row}" if line is None else f"line {line}"


def _read_parquet(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    """A Parquet file; pyarrow's many errors become one."""
    import pyarrow as pa

    try:
        table = pd.read_parquet(arrow_path(path))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InvalidDataError(f"{path} is not a readable Parquet file: {first_sentence(error)}.") from error
    return table[_choose(table.columns.map(str), columns, str(path))]


def _choose(names: Sequence[str] | pd.Index, wanted: Sequence[str] | None, where: str) -> list[str]:
    """The columns to keep, checked: they exist, once each, and have names."""
    names = list(names)
    chosen = list(dict.fromkeys(names)) if wanted is None else list(wanted)
    if not chosen:
        raise InvalidDataError(f"No columns were chosen; {where} has {', '.join(names)}.")
    missing = [name for name in chosen if name not in names]
    if missing:
        raise InvalidDataError(f"{where} has no column {_or(map(repr, missing))}; it has {', '.join(names)}.")
    if twice := [name for name, count in Counter(chosen).items() if count > 1]:
        raise InvalidDataError(f"Column {_or(map(repr, twice))} was asked for more than once.")
    if twice := [name for name in chosen if names.count(name) > 1]:
        raise InvalidDataError(f"{where} has more than one column {_or(map(repr, twice))}; rename all but one.")
    return chosen


def _or(words: Iterable[str]) -> str:
    return listed(words, conjunction=" or ")
