"""Reading tables, and writing files so that nobody ever sees half of one."""

import os
import secrets
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

from bayesgmm import datasets
from bayesgmm.exceptions import InvalidDataError

__all__ = ["atomic_write", "atomic_write_text", "check_writable", "read_table"]

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_NAMES = {",": "a comma", "\t": "a tab"}
_OTHERS = {";": "';'", "\t": "tabs", ",": "commas", "|": "'|'"}
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
            _flush_to_disk(temporary)
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


def _flush_to_disk(path: Path) -> None:
    """Wait for the disk: a rename can reach it before the content does, and a power cut would leave an empty file."""
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def read_table(source: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table from a file or from the data sets that ship with the package.

    Parameters
    ----------
    source : str or path-like
        A file whose suffix says what it is (``.csv``, ``.tsv`` or ``.parquet``), or the name of a shipped data set
        (:func:`bayesgmm.datasets.names`). A bare ``faithful`` is the data set even if there is a file of that name;
        ``faithful.csv`` is always yours. Text files are UTF-8 and begin with a line of column names.
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
        columns of the same name or one without a name among those to keep, or lacks one of ``columns``.

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
        raise InvalidDataError(f"{path} is not a table bayesgmm can read: its name must end in {_either(_SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise InvalidDataError(f"{path} is empty.")


def _suggestion(path: Path) -> str:
    """What the user may have meant: a file beside it, or a shipped data set."""
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    tables = [entry.name for entry in beside if entry.suffix.lower() in _SUFFIXES and entry.is_file()]
    near = [str(path.parent / name) for name in get_close_matches(path.name, tables)]
    options = near + get_close_matches(path.name, datasets.names())
    if options:
        return f"did you mean {_either(repr(option) for option in options)}?"
    return f"the data sets that ship with bayesgmm are {', '.join(datasets.names())}."


def _read_text(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    """A CSV or TSV file; the header is read by itself first, because pandas renames columns of the same name."""
    try:
        _check_separator(path)
        names = _header(path)
        chosen = _choose(names, columns, str(path))
        table = _parse(path, header=0, names=range(len(names)), low_memory=False)
    except UnicodeDecodeError as error:
        raise InvalidDataError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    except pd.errors.ParserWarning as error:
        hint = "; if its numbers have decimal commas, save it with decimal points" if path.suffix.lower() == ".csv" else ""
        raise InvalidDataError(f"{path} has rows with more values than its first line has column names{hint}.") from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError, OSError) as error:
        raise InvalidDataError(f"{path} cannot be read: {_one_line(error)}.") from error
    return table.set_axis(names, axis="columns")[chosen]


def _check_separator(path: Path) -> None:
    """Turn away a table whose values are set apart by something else than its suffix says, as spreadsheets write in many countries."""
    expected = _SEPARATORS[path.suffix.lower()]
    with path.open(encoding="utf-8-sig") as stream:
        lines = [line for line in (stream.readline() for _ in range(2)) if line.strip()]
    for other, name in _OTHERS.items():
        if (
            other != expected
            and len(lines) == 2
            and expected not in lines[0]
            and 0 < lines[0].count(other) == lines[1].count(other)
        ):
            raise InvalidDataError(
                f"{path} seems to be separated by {name}, where {_NAMES[expected]} is expected: save it with {_NAMES[expected]} "
                "between values, and decimal points in numbers."
            )


def _parse(path: Path, **options: Any) -> pd.DataFrame:
    """``pandas.read_csv`` that refuses rows longer than the header instead of dropping or shifting their fields."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(path, sep=_SEPARATORS[path.suffix.lower()], encoding="utf-8-sig", index_col=False, **options)


def _header(path: Path) -> list[str]:
    """The column names as they stand in the file's first line; ``""`` for a column without one."""
    first = _parse(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
    names = [str(name).strip() for name in first.fillna("")]
    if _are_numbers(names):
        raise InvalidDataError(
            f"{path} begins with numbers ({', '.join(names[:3])}) where column names belong; add a first line of names."
        )
    return names


def _are_numbers(names: list[str]) -> bool:
    """Whether a header is a row of data. Whole numbers alone may be names, such as years."""
    numbers = pd.to_numeric(pd.Series(names), errors="coerce")
    return bool(numbers.notna().all() and (numbers % 1 != 0).any())


def _read_parquet(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    """A Parquet file; pyarrow's many errors become one."""
    import pyarrow as pa

    try:
        table = pd.read_parquet(path)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InvalidDataError(f"{path} is not a readable Parquet file: {_one_line(error)}.") from error
    return table[_choose(table.columns.map(str), columns, str(path))]


def _choose(names: Sequence[str] | pd.Index, wanted: Sequence[str] | None, where: str) -> list[str]:
    """The columns to keep, checked: they exist, once each, and have names."""
    names = list(names)
    chosen = list(dict.fromkeys(names)) if wanted is None else list(wanted)
    if not chosen:
        raise InvalidDataError(f"No columns were chosen; {where} has {', '.join(names)}.")
    missing = [name for name in chosen if name not in names]
    if missing:
        raise InvalidDataError(f"{where} has no column {_either(map(repr, missing))}; it has {', '.join(names)}.")
    if "" in chosen:
        place = names.index("") + 1
        raise InvalidDataError(f"Column {place} of {where} has no name; name it in the first line, or choose columns.")
    if twice := _repeated(chosen):
        raise InvalidDataError(f"Column {_either(map(repr, twice))} was asked for more than once.")
    if twice := [name for name in chosen if names.count(name) > 1]:
        raise InvalidDataError(f"{where} has more than one column {_either(map(repr, twice))}; rename all but one.")
    return chosen


def _repeated(names: Sequence[str]) -> list[str]:
    """The names that occur more than once, in the order of their first occurrence."""
    return [name for name, count in Counter(names).items() if count > 1]


def _either(options: Iterable[str]) -> str:
    """``a, b or c``."""
    *most, last = options
    return f"{', '.join(most)} or {last}" if most else last


def _one_line(error: BaseException) -> str:
    """The first sentence of a parser's error, without its full stop; the type's name if it says nothing."""
    message = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
    return message.split(". ")[0].rstrip(".") or type(error).__name__
