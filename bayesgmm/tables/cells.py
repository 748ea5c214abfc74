"""From the cells of a text file to numbers: decimal commas, marks between thousands, per cent, marks for what is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesgmm.tables.kinds import reads_as_number

__all__ = ["decimal_mark", "is_gap", "looks_numeric", "understood"]

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


def is_gap(cell: str) -> bool:
    """Whether a cell stands for a missing value."""
    return cell.strip().lower() in _MISSING


def looks_numeric(cell: str, comma_is_between: bool) -> bool:
    """Whether a cell is a number, in whatever country it was written; not with a comma where commas stand between columns."""
    cell = _bare(cell)
    if reads_as_number(cell):
        return True
    return bool(_MARKED.fullmatch(cell)) or (not comma_is_between and any(p.fullmatch(cell) for p in (_COMMA, _ENGLISH, _DOTS)))


def decimal_mark(texts: Sequence[pd.Series], pointed: Sequence[pd.Series], separator: str) -> str | None:
    """Return "," or "." for what stands before decimals, None where that cannot be told.

    Parameters
    ----------
    texts : sequence of Series of str
        Columns that are no numbers with a decimal point.
    pointed : sequence of Series of str
        Columns that are, if the point is not one between thousands, as they stand in the file.
    separator : str
    """
    cells = {_bare(cell) for column in texts if _is_mostly_numeric(column) for cell in column.dropna().unique() if "," in cell}
    with_comma = {cell for cell in cells if looks_numeric(cell, False)}
    comma = any((_COMMA.fullmatch(c) and not _ENGLISH.fullmatch(c)) or _has_marks(c) for c in with_comma)
    point = any(c.count(",") > 1 or "." in c[c.rfind(",") :] for c in with_comma) or any(
        "." in cell and not _DOTS.fullmatch(cell.strip()) for column in pointed for cell in column.dropna().unique()
    )
    if comma or point or not with_comma:
        return None if comma and point else "," if comma else "."
    # Only such as 1,200. Spreadsheets write semicolons where the comma is taken, and commas where it is not.
    return {";": ",", ",": "."}.get(separator)


def _is_mostly_numeric(column: pd.Series) -> bool:
    cells = [cell for cell in column.dropna().unique() if not is_gap(str(cell))]
    return sum(looks_numeric(cell, False) for cell in cells) > _HALF * len(cells)


def _has_marks(cell: str) -> bool:
    """Whether a number has marks between thousands and a comma before its decimals."""
    found = _DOTS.fullmatch(cell) or _MARKED.fullmatch(cell)
    return found is not None and (found[2] or "").startswith(",")


def understood(column: pd.Series, decimal: str, said: dict[str, list[str]]) -> pd.Series:
    """Return a column of text as numbers, if most of it can be read as such; what cannot stays text among them.

    Parameters
    ----------
    column : Series of str
    decimal : str
        What stands before decimals.
    said : dict
        Receives what was assumed, and of which columns.
    """
    codes, cells = pd.factorize(column.to_numpy(dtype=object), use_na_sentinel=True)
    texts = [str(cell) for cell in cells]
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    gaps = np.array([is_gap(text) for text in texts], dtype=bool)
    percent = np.array([text.strip().endswith("%") for text in texts], dtype=bool)
    values = [None if gap else _number(_bare(text), decimal) for text, gap in zip(texts, gaps, strict=True)]
    read = np.array([value is not None for value in values], dtype=bool)
    if percent[read].any() and not percent[read].all():  # 12 % beside 0.12
        read &= ~percent
    if not gaps.all() and counts[read].sum() <= _HALF * counts[~gaps].sum():
        return column
    for place in np.flatnonzero(gaps & np.array([bool(text.strip()) for text in texts], dtype=bool)):
        n = int(counts[place])
        said.setdefault(f"{texts[place].strip()!r} taken as missing", []).append(
            f"{n} cell{'' if n == 1 else 's'} of {column.name!r}"
        )
    marked = np.array([_is_marked(text, decimal) for text in texts], dtype=bool)
    for kind in (percent, marked):
        for place in np.flatnonzero(kind & read)[:1]:
            said.setdefault(f"{texts[place].strip()!r} read as {values[place]:.10g}", []).append(f"{column.name!r}")
    found = [np.nan if gap else value if ok else text for text, value, gap, ok in zip(texts, values, gaps, read, strict=True)]
    all_read = bool((read | gaps).all())
    table = np.array([*found, np.nan], dtype=float if all_read else object)
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
