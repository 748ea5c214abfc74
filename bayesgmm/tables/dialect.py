"""How a text file is written: its letters, what stands between columns, where its values begin and what its columns are called."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.tables.cells import is_gap, looks_numeric

__all__ = ["SPACES", "Dialect", "line_of", "sniff"]

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
    marked = 0
    while above + marked < len(lines) and lines[above + marked].startswith("#"):
        marked += 1
    body = lines[above + marked :]
    try:
        separator, title = (told[1], 0) if told else _separator(body, usual)
        records = list(_records(body, separator))[title:]
        # A comment that has as many names as there are columns is the header, as some programs write it.
        last = list(_records([lines[above + marked - 1].lstrip("# ")], separator)) if marked else []
    except csv.Error as error:
        raise InvalidDataError(f"{path} cannot be read: {error}.") from error
    if not records:
        raise InvalidDataError(f"{path} cannot be read: No columns to parse from file.")
    left_out = marked + title
    if last and records and len(last[0].cells) == len(records[0].cells) and _are_values(records[0].cells, records[1:]):
        left_out, records = left_out - 1, [_Record(last[0].cells, 0), *records]
    assumed = [] if separator == usual else [f"{_BETWEEN.get(separator, repr(separator))} between columns"]
    if encoding not in ("utf-8", "utf-8-sig"):
        assumed.append(f"{'UTF-16' if encoding == 'utf-16' else 'Latin-1'} letters")
    if left_out:
        assumed.append(f"{left_out} line{'' if left_out == 1 else 's'} above the column names left out")
    names, end, said = _header(records)
    if _has_row_names(names, records):
        names = ["", *names]
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
        stream.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while piece := stream.read(2**20):
                decoder.decode(piece)
            decoder.decode(b"", True)
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
    widths = [len(cells) for cells in records]
    for title in range(min(_PREAMBLE, len(records))):
        width, rows = widths[title], records[title + 1 :]
        if width >= 2 and not title and _has_row_names(records[0], [_Record(row, 0) for row in records]):
            width += 1
        if width >= 2 and rows and sum(len(cells) == width for cells in rows) >= _MOSTLY * len(rows):
            if title and _are_values(records[title], rows):
                return None
            cells = [cell for row in rows for cell in row if not is_gap(cell)]
            share = sum(looks_numeric(cell, separator == ",") for cell in cells) / max(1, len(cells))
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
    numbers = all(looks_numeric(",".join(row), False) for row in rows)
    # R writes the numbers of rows without a name above them.
    return (
        numbers and any(len(row) == 2 for row in rows) and not (len(rows) > 2 and _counts_rows([_Record(row, 0) for row in rows]))
    )


def _header(records: list[_Record]) -> tuple[list[str], int, list[str]]:
    """Return the names of columns, how many lines end above the first row of values, and what was assumed."""
    first = [cell.strip() for cell in records[0].cells]
    rows = records[1:]
    if _are_values(records[0].cells, rows):
        names = [f"x{d}" for d in range(len(first))]
        shown = names if len(names) < 4 else [names[0], "...", names[-1]]
        return names, 0, [f"the column names {', '.join(shown)}, because its first line holds values"]
    said = []
    if all(cell.isdecimal() for cell in first):
        said.append(f"its first line ({', '.join(first[:3])}{', ...' if len(first) > 3 else ''}) as column names")
    if len(rows) > 1 and _are_units(rows[0].cells, rows[1:]):
        units = [cell.strip() for cell in rows[0].cells if cell.strip()]
        said.append(f"the row below the column names ({', '.join(units[:3])}{', ...' if len(units) > 3 else ''}) as units")
        return first, rows[0].line, said
    return first, records[0].line, said


def _has_row_names(names: Sequence[str], records: Sequence[_Record]) -> bool:
    """Whether all rows begin with a cell more than there are names, as R writes tables: their number, or a word.

    Anything else in front may as well be what stands before a decimal comma.
    """
    rows = records[1:]
    if len(rows) < 2 or {len(row.cells) for row in rows} != {len(names) + 1}:
        return False
    words = not any(looks_numeric(row.cells[0], False) for row in rows)
    return (words or _counts_rows(rows)) and not all(is_gap(row.cells[-1]) for row in rows)


def _numeric_columns(rows: Sequence[_Record], width: int) -> list[int]:
    """Columns in which most of what is there looks like numbers."""
    found = []
    for d in range(width):
        cells = [row.cells[d] for row in rows if d < len(row.cells) and not is_gap(row.cells[d])]
        if cells and sum(looks_numeric(cell, False) for cell in cells) > len(cells) / 2:
            found.append(d)
    return found


def _are_values(cells: Sequence[str], rows: Sequence[_Record] | Sequence[list[str]]) -> bool:
    """Whether what could be a header is a row of values: it has numbers where the rows below have them.

    Years may be names, and so may numbers that count the columns.
    """
    below = [row if isinstance(row, _Record) else _Record(row, 0) for row in rows]
    numeric = _numeric_columns(below, len(cells))
    if not cells[0].strip() and all(cell.strip().isdecimal() for cell in cells[1:]) and _counts_rows(below):
        return False  # what pandas writes above the numbers of rows
    there = [cells[d].strip() for d in (numeric if below else range(len(cells)))]
    numbers = [cell for cell in there if looks_numeric(cell, False)]
    if not numbers or any(_is_word(cell) for cell in there):
        return False
    return not (_count(there) and not _alike(there, below, numeric))


def _counts_rows(rows: Sequence[_Record]) -> bool:
    first = [row.cells[0].strip() for row in rows]
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


def _alike(cells: Sequence[str], rows: Sequence[_Record], columns: Sequence[int]) -> bool:
    """Whether the rows could be of the same kind as a first line of whole numbers: then that is one of them."""
    some = [[row.cells[d].strip() for d in columns if d < len(row.cells)] for row in rows]
    if any(len(row) > 2 and _step(row) is not None for row in some):
        return True
    if _is_year(cells[0]):
        return any(_is_year(cell) for row in some for cell in row)
    # A few whole numbers may begin a table of whole numbers; 0, 1, 2 is what pandas calls columns without names.
    few = len(cells) < 3 or (len(cells) == 3 and cells[0] != "0")
    return few and any(cell.isdecimal() for row in some for cell in row)


def _is_word(cell: str) -> bool:
    """Whether a cell is neither a number, nor missing, nor the limit of one."""
    return not (looks_numeric(cell, False) or is_gap(cell) or cell[0] in "<>")


def _are_units(cells: Sequence[str], rows: Sequence[_Record]) -> bool:
    """Whether a row has words, or nothing, wherever the rows below have numbers."""
    columns = _numeric_columns(rows, len(cells))
    there = [cells[d].strip() for d in columns]
    words = [cell for cell in there if not is_gap(cell)]
    return bool(words) and all(_is_word(cell) and not cell[0].isdecimal() for cell in words)
