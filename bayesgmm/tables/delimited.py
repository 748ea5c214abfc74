"""Text files as people have them: CSV and its relatives, however they are written, with a line that says what was assumed.

First a file is looked at: its letters, what stands between columns, where its values begin, what its columns are called. Then pandas reads
it as told, and what is still text is read cell by cell: decimal commas, marks between thousands, per cent, marks for what is missing.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.tables.numeric import reads_as_number
from bayesgmm.text import counted, listed

__all__ = ["Dialect", "first_sentence", "line_of", "read_text", "sniff"]

SPACES = r"\s+"
"""Stands for any number of blanks between columns."""
_BETWEEN = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'", SPACES: "spaces"}
_HEAD = 2**17
"""Bytes that are looked at."""
_BLANKS = " \t\r\n"
_MOSTLY = 0.9
_PREAMBLE = 10
"""Lines with a title or remarks above the column names, at most."""
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BETWEEN_SPACES = re.compile(r'"[^"]*"|[^ \t]+')
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_MISSING = ("", "?", ".", "..", "...", "…", "-", "--", "–", "—", *("n.a.", "na", "n/a", "nan", "null", "none"))
"""What stands for a missing value among numbers."""
_ENGLISH = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_DOTS = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?")
_MARKED = re.compile(r"[-+]?[1-9]\d{0,2}(['’\u00a0\u202f ]\d{3})+([.,]\d*)?")
_MARKS = re.compile(r"['’\u00a0\u202f ]")
_WHOLE = re.compile(r"[-+]?\d+")
_MINUS = "\u2212"
"""What typesetting programs write for a minus."""
_HALF = 0.5
# Before pandas 3.1 the last digit of a third of all numbers was lost unless this was said; since then saying it is deprecated.
_EXACT = {"float_precision": "round_trip"} if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1) else {}


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
            table[table.columns[d]] = _to_numbers(column, mark or ".", said)
    parts = [f"read with {listed(assumed)}"] if assumed else []
    parts += [f"{what} in {listed(where)}" for what, where in said.items()]
    table = table.set_axis([name or f"Unnamed: {d}" for d, name in enumerate(names)], axis="columns")
    return table, f"{path}: {'; '.join(parts)}" if parts else ""


def _decimal_mark(path: Path, dialect: Dialect, table: pd.DataFrame) -> str | None:
    """Return what stands before decimals in all of a file, whichever columns are asked for; None where that cannot be told."""
    texts = [table[d] for d in table if _is_text(table[d])]
    if not any(map(_has_commas, texts)):
        return "."
    floats = [d for d in table if table[d].dtype.kind == "f"]
    # Numbers with points may be thousands: only as they are written can that be told.
    written = _parse(path, dialect, dtype=str, usecols=floats) if floats else pd.DataFrame()
    return _mark_in(texts, [written[d] for d in written], dialect.separator)


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
            return pd.read_csv(stream, **settings, **_EXACT, low_memory=False, **options)  # type: ignore[call-overload]
    except pd.errors.EmptyDataError:
        return pd.DataFrame(columns=range(len(dialect.names)))
    except pd.errors.ParserWarning as error:
        hint = "; if its numbers have decimal commas, save it with decimal points" if dialect.separator == "," else ""
        raise InvalidDataError(f"{path} has rows with more values than its first line has column names{hint}.") from error
    except (pd.errors.ParserError, OSError) as error:
        raise InvalidDataError(f"{path} cannot be read: {_in_the_file(error, dialect.skipped)}.") from error


def _in_the_file(error: BaseException, skipped: int) -> str:
    """Return what a parser's error says, with lines counted as in the file."""
    return re.sub(r"\b(line|row) (\d+)", lambda found: f"{found[1]} {int(found[2]) + skipped}", first_sentence(error))


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of a parser's error, without its full stop; the type's name if it says nothing."""
    message = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
    return message.split(". ")[0].rstrip(".") or type(error).__name__


# How a file is written


@dataclass(frozen=True)
class Dialect:
    """How a text file is to be read.

    Parameters
    ----------
    encoding : str
    separator : str
        One letter, or SPACES.
    names : tuple of str
        Of the columns, "" for one without.
    skipped : int
        Lines above the first row of values.
    assumed : tuple of str
        What is not as in a plain file of its kind.
    """

    encoding: str
    separator: str
    names: tuple[str, ...]
    skipped: int
    assumed: tuple[str, ...]


def sniff(path: Path, usual: str) -> Dialect:
    """Look at the beginning of a file.

    Parameters
    ----------
    path : Path
    usual : str
        What stands between columns in files of this suffix.

    Raises
    ------
    InvalidDataError
        If it holds no text, or no line.
    """
    encoding = _encoding(path)
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    whole = len(head) < _HEAD
    text = codecs.getincrementaldecoder(encoding)().decode(head, whole)
    lines = list(io.StringIO(text, newline=""))[: None if whole else -1]
    told = _SEP_LINE.fullmatch(lines[0].rstrip("\r\n")) if lines else None
    above = 1 if told else 0
    marked = sum(1 for _ in takewhile(lambda line: line.startswith("#"), lines[above:]))
    body = lines[above + marked :]
    try:
        separator, title = (told[1], 0) if told else _separator(body, usual)
        records = list(_records(body, separator))[title:]
        comment = next(_records([lines[above + marked - 1].lstrip("# ")], separator), None) if marked else None
    except csv.Error as error:
        raise InvalidDataError(f"{path} cannot be read: {error}.") from error
    if not records:
        raise InvalidDataError(f"{path} cannot be read: No columns to parse from file.")
    rows, ends = [record.cells for record in records], [record.line for record in records]
    left_out = marked + title
    # A comment that has as many names as there are columns is the header, as some programs write it; or its first name is "#".
    if comment and len(comment.cells) == len(rows[0]) and _are_values(rows[0], rows[1:]):
        left_out, rows, ends = left_out - 1, [[comment.cells[0] or "#", *comment.cells[1:]], *rows], [0, *ends]
    assumed = [] if separator == usual else [f"{_BETWEEN.get(separator, repr(separator))} between columns"]
    if encoding not in ("utf-8", "utf-8-sig"):
        assumed.append(f"{'UTF-16' if encoding == 'utf-16' else 'Latin-1'} letters")
    if left_out:
        assumed.append(f"{counted(left_out, 'line')} above the column names left out")
    names, n_header, said = _header(rows)
    if _has_row_names(names, rows[1:]):
        names = ["", *names]
    end = ends[n_header - 1] if n_header else 0
    return Dialect(encoding, separator, tuple(names), above + marked + end, (*assumed, *said))


def line_of(path: Path, dialect: Dialect, row: int) -> int | None:
    """Return the line of a file, from 1, in which a row of values stands, from 0; None if there is none."""
    with path.open(encoding=dialect.encoding, newline="") as stream:
        for _ in range(dialect.skipped):
            stream.readline()
        for number, record in enumerate(_records(stream, dialect.separator)):
            if number == row:
                return dialect.skipped + record.line - sum(cell.count("\n") for cell in record.cells)
    return None


@dataclass(frozen=True)
class _Record:
    cells: list[str]
    line: int
    """The last of its lines, from 1."""


def _records(lines: Sequence[str] | io.TextIOBase, separator: str) -> Iterator[_Record]:
    """Split lines as pandas does, which passes over blank ones."""
    if separator == SPACES:
        bare = ((line.strip(_BLANKS), n) for n, line in enumerate(lines, 1))
        yield from (_Record([cell.strip('"') for cell in _BETWEEN_SPACES.findall(line)], n) for line, n in bare if line)
        return
    reader = csv.reader(lines, delimiter=separator)
    for cells in reader:
        if len(cells) > 1 or (cells and (cells[0] == "" or cells[0].strip(_BLANKS))):  # "" is a value, a blank line is none
            yield _Record(cells, reader.line_num)


def _encoding(path: Path) -> str:
    with path.open("rb") as stream:
        first = stream.read(4096)
    for mark, name in _BOMS:
        if first.startswith(mark):
            return name
    if b"\0" in first:
        raise InvalidDataError(f"{path} is not text; save it as UTF-8.")
    try:
        with path.open(encoding="utf-8", newline="") as text:
            while text.read(2**20):
                pass
    except UnicodeDecodeError:
        return _western(path)
    return "utf-8"


def _western(path: Path) -> str:
    """Windows' letters, which are Latin-1 and some more, unless there are bytes to which it gives none."""
    with path.open("rb") as stream:
        holes = any(set(piece) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} for piece in iter(lambda: stream.read(2**20), b""))
    return "latin-1" if holes else "cp1252"


def _separator(lines: Sequence[str], usual: str) -> tuple[str, int]:
    """Return what stands between columns, and how many records are a title above the column names."""
    found = {separator: _fits(lines, separator) for separator in dict.fromkeys((usual, ";", "\t", ",", "|"))}
    fitting = [(fit[0], separator, fit[1]) for separator, fit in found.items() if fit is not None]
    if fitting:
        _, separator, title = max(fitting, key=lambda fit: fit[0])  # the first of equals
        return separator, title
    if usual == "," and _is_one_column(lines):
        return ";", 0
    spaced = _fits(lines, SPACES)
    return (usual, 0) if spaced is None else (SPACES, spaced[1])


def _fits(lines: Sequence[str], separator: str) -> tuple[float, int] | None:
    """Return the share of numbers among the cells, and the number of titles, if the lines are columns set apart so."""
    try:
        records = [record.cells for record in _records(lines, separator)]
    except csv.Error:
        return None
    for title in range(min(_PREAMBLE, len(records))):
        width, rows = len(records[title]), records[title + 1 :]
        if width >= 2 and not title and _has_row_names(records[0], rows):
            width += 1
        if width >= 2 and rows and sum(len(cells) == width for cells in rows) >= _MOSTLY * len(rows):
            if title and _are_values(records[title], rows):
                return None
            cells = [cell for row in rows for cell in row if not _is_gap(cell)]
            share = sum(_looks_numeric(cell, separator == ",") for cell in cells) / max(1, len(cells))
            return None if share == 0 and (title or separator == SPACES) else (share, title)
        if width > 1:
            return None
    return None


def _is_one_column(lines: Sequence[str]) -> bool:
    """Whether the commas are those of decimal numbers in a single column."""
    records = [record.cells for record in _records(lines, ",")]
    if len(records) < 2 or len(records[0]) != 1 or any(";" in line for line in lines):
        return False
    rows = records[1:]
    numbers = all(_looks_numeric(",".join(row), False) for row in rows)
    # R writes the numbers of rows without a name above them.
    return numbers and any(len(row) == 2 for row in rows) and not (len(rows) > 2 and _counts_rows(rows))


def _header(records: Sequence[list[str]]) -> tuple[list[str], int, list[str]]:
    """Return the names of columns, how many records are above the first row of values, and what was assumed."""
    first, rows = [cell.strip() for cell in records[0]], records[1:]
    if _are_values(records[0], rows):
        names = [f"x{d}" for d in range(len(first))]
        shown = names if len(names) < 4 else [names[0], "...", names[-1]]
        return names, 0, [f"the column names {', '.join(shown)}, because its first line holds values"]
    said = []
    if all(cell.isdecimal() for cell in first):
        said.append(f"its first line ({', '.join(first[:3])}{', ...' if len(first) > 3 else ''}) as column names")
    if len(rows) > 1 and _are_units(rows[0], rows[1:]):
        units = [cell.strip() for cell in rows[0] if cell.strip()]
        said.append(f"the row below the column names ({', '.join(units[:3])}{', ...' if len(units) > 3 else ''}) as units")
        return first, 2, said
    return first, 1, said


def _has_row_names(names: Sequence[str], rows: Sequence[list[str]]) -> bool:
    """Whether all rows begin with a cell more than there are names, as R writes tables: their number, or a word.

    Anything else in front may as well be what stands before a decimal comma.
    """
    if len(rows) < 2 or {len(row) for row in rows} != {len(names) + 1}:
        return False
    words = not any(_looks_numeric(row[0], False) for row in rows)
    return (words or _counts_rows(rows)) and not all(_is_gap(row[-1]) for row in rows)


def _numeric_columns(rows: Sequence[list[str]], width: int) -> list[int]:
    """Columns in which most of what is there looks like numbers."""
    found = []
    for d in range(width):
        cells = [row[d] for row in rows if d < len(row) and not _is_gap(row[d])]
        if cells and sum(_looks_numeric(cell, False) for cell in cells) > len(cells) / 2:
            found.append(d)
    return found


def _are_values(cells: Sequence[str], rows: Sequence[list[str]]) -> bool:
    """Whether what could be a header is a row of values: it has numbers where the rows below have them.

    Years may be names, and so may numbers that count the columns.
    """
    numeric = _numeric_columns(rows, len(cells))
    if not cells[0].strip() and all(cell.strip().isdecimal() for cell in cells[1:]) and _counts_rows(rows):
        return False  # what pandas writes above the numbers of rows
    there = [cells[d].strip() for d in (numeric if rows else range(len(cells)))]
    numbers = [cell for cell in there if _looks_numeric(cell, False)]
    if not numbers or any(_is_word(cell) for cell in there):
        return False
    return not (_count(there) and not _alike(there, rows, numeric))


def _counts_rows(rows: Sequence[list[str]]) -> bool:
    first = [row[0].strip() for row in rows]
    return all(cell.isdecimal() for cell in first) and [int(cell) - int(first[0]) for cell in first] == list(range(len(first)))


def _count(cells: Sequence[str]) -> bool:
    """Whether cells are years or wavelengths, say, in equal steps, or 0, 1, 2 or 1, 2, 3 and so on."""
    step = _step(cells)
    if step is None:
        return False
    return len(cells) > 3 or _is_year(cells[0]) or (step == 1 and cells[0] in ("0", "1"))


def _step(cells: Sequence[str]) -> int | None:
    """Return by how much whole numbers grow from each to the next, None if they do not by the same."""
    if len(cells) < 2 or not all(cell.isdecimal() for cell in cells):
        return None
    steps = {int(after) - int(before) for before, after in pairwise(cells)}
    return steps.pop() if len(steps) == 1 and min(steps) > 0 else None


def _is_year(cell: str) -> bool:
    return cell.isdecimal() and 1800 <= int(cell) <= 2200


def _alike(cells: Sequence[str], rows: Sequence[list[str]], columns: Sequence[int]) -> bool:
    """Whether the rows could be of the same kind as a first line of whole numbers: then that is one of them."""
    some = [[row[d].strip() for d in columns if d < len(row)] for row in rows]
    if any(len(row) > 2 and _step(row) is not None for row in some):
        return True
    if _is_year(cells[0]):
        return any(_is_year(cell) for row in some for cell in row)
    # A few whole numbers may begin a table of whole numbers; 0, 1, 2 is what pandas calls columns without names.
    few = len(cells) < 3 or (len(cells) == 3 and cells[0] != "0")
    return few and any(cell.isdecimal() for row in some for cell in row)


def _is_word(cell: str) -> bool:
    """Whether a cell is neither a number, nor missing, nor the limit of one."""
    return not (_looks_numeric(cell, False) or _is_gap(cell) or cell[0] in "<>")


def _are_units(cells: Sequence[str], rows: Sequence[list[str]]) -> bool:
    """Whether a row has words, or nothing, wherever the rows below have numbers."""
    columns = _numeric_columns(rows, len(cells))
    there = [cells[d].strip() for d in columns]
    words = [cell for cell in there if not _is_gap(cell)]
    return bool(words) and all(_is_word(cell) and not cell[0].isdecimal() for cell in words)


# What a cell holds


def _is_gap(cell: str) -> bool:
    """Whether a cell stands for a missing value."""
    return cell.strip().lower() in _MISSING


def _looks_numeric(cell: str, comma_is_between: bool) -> bool:
    """Whether a cell is a number, in whatever country it was written; not with a comma where commas stand between columns."""
    cell = _bare(cell)
    if reads_as_number(cell):
        return True
    return bool(_MARKED.fullmatch(cell)) or (not comma_is_between and any(p.fullmatch(cell) for p in (_COMMA, _ENGLISH, _DOTS)))


def _mark_in(texts: Sequence[pd.Series], pointed: Sequence[pd.Series], separator: str) -> str | None:
    """Return "," or "." for what stands before decimals, None where that cannot be told.

    ``texts`` are the columns that are no numbers with a decimal point, ``pointed`` those that are, if the point is not one between
    thousands, as they stand in the file.
    """
    cells = {_bare(cell) for column in texts if _is_mostly_numeric(column) for cell in column.dropna().unique() if "," in cell}
    with_comma = {cell for cell in cells if _looks_numeric(cell, False)}
    comma = any((_COMMA.fullmatch(c) and not _ENGLISH.fullmatch(c)) or _has_marks(c) for c in with_comma)
    point = any(c.count(",") > 1 or "." in c[c.rfind(",") :] for c in with_comma) or any(
        "." in cell and not _DOTS.fullmatch(cell.strip()) for column in pointed for cell in column.dropna().unique()
    )
    if comma or point or not with_comma:
        return None if comma and point else "," if comma else "."
    # Only such as 1,200. Spreadsheets write semicolons where the comma is taken, and commas where it is not.
    return {";": ",", ",": "."}.get(separator)


def _is_mostly_numeric(column: pd.Series) -> bool:
    cells = [cell for cell in column.dropna().unique() if not _is_gap(str(cell))]
    return sum(_looks_numeric(cell, False) for cell in cells) > _HALF * len(cells)


def _has_marks(cell: str) -> bool:
    """Whether a number has marks between thousands and a comma before its decimals."""
    found = _DOTS.fullmatch(cell) or _MARKED.fullmatch(cell)
    return found is not None and (found[2] or "").startswith(",")


def _to_numbers(column: pd.Series, decimal: str, said: dict[str, list[str]]) -> pd.Series:
    """Return a column of text as numbers, if most of it can be read as such; what cannot stays text among them.

    ``decimal`` is what stands before decimals; ``said`` receives what was assumed, and of which columns.
    """
    codes, cells = pd.factorize(column.to_numpy(dtype=object), use_na_sentinel=True)
    texts = [str(cell) for cell in cells]
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))

    def which(test: Callable[[str], bool]) -> np.ndarray:
        return np.array([test(text) for text in texts], dtype=bool)

    gaps, percent = which(_is_gap), which(lambda text: text.rstrip().endswith("%"))
    values = [np.nan if gap else _number(_bare(text), decimal) for text, gap in zip(texts, gaps, strict=True)]
    read = ~gaps & np.array([value is not None for value in values], dtype=bool)
    if percent[read].any() and not percent[read].all():  # 12 % beside 0.12
        read &= ~percent
    if not gaps.all() and counts[read].sum() <= _HALF * counts[~gaps].sum():
        return column
    for place in np.flatnonzero(gaps & which(lambda text: bool(text.strip()))):
        said.setdefault(f"{texts[place].strip()!r} taken as missing", []).append(
            f"{counted(int(counts[place]), 'cell')} of {column.name!r}"
        )
    for kind in (percent, which(lambda text: _is_marked(text, decimal))):
        for place in np.flatnonzero(kind & read)[:1]:
            said.setdefault(f"{texts[place].strip()!r} read as {values[place]:.10g}", []).append(f"{column.name!r}")
    known = read | gaps
    found = [value if is_known else text for text, value, is_known in zip(texts, values, known, strict=True)]
    table = np.array([*found, np.nan], dtype=float if known.all() else object)
    return pd.Series(table[codes], index=column.index, name=column.name)


def _bare(cell: str) -> str:
    text = str(cell).strip().replace(_MINUS, "-")
    return text[:-1].rstrip() if text.endswith("%") else text


def _is_marked(text: str, decimal: str) -> bool:
    cell = _bare(text)
    return _MINUS in text or any(pattern.fullmatch(cell) for pattern in (_MARKED, _ENGLISH if decimal == "." else _DOTS))


def _number(cell: str, decimal: str) -> float | None:
    """Return the number that a cell holds, None if it is none."""
    if _MARKED.fullmatch(cell):
        cell = _MARKS.sub("", cell)
    if decimal == ".":
        cell = cell.replace(",", "") if _ENGLISH.fullmatch(cell) else cell
        return float(cell) if reads_as_number(cell) else None
    if _DOTS.fullmatch(cell):
        cell = cell.replace(".", "")
    if _COMMA.fullmatch(cell) or re.fullmatch(r"[-+]?\d+,", cell):
        return float(cell.replace(",", "."))
    if _WHOLE.fullmatch(cell) or ("." not in cell and reads_as_number(cell)):
        return float(cell)
    return None
