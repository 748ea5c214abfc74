"""How numbers of things, lists of them and long values are written in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["counted", "listed", "shortened"]


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun.

    Parameters
    ----------
    count : int
    one : str
        The noun of one thing.
    many : str, optional
        That of several; by default with an s at its end.

    Examples
    --------
    >>> counted(1, "group"), counted(1200, "row"), counted(2, "axis", "axes")
    ('1 group', '1,200 rows', '2 axes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(items: Iterable[Any], most: int | None = None, *, separator: str = ", ", conjunction: str = " and ") -> str:
    """Return things as a sentence lists them.

    Parameters
    ----------
    items : iterable
    most : int, optional
        How many are named before the rest are only counted; by default all are.
    separator, conjunction : str
        What stands between two of them, and before the last.

    Examples
    --------
    >>> listed([1, 2, 3]), listed(["a"]), listed("abcdef", 3)
    ('1, 2 and 3', 'a', 'a, b, c and 3 more')
    """
    words = [str(item) for item in items]
    if most is not None and len(words) > most:
        return f"{separator.join(words[:most])}{conjunction}{len(words) - most:,} more"
    *first, last = words or [""]
    return f"{separator.join(first)}{conjunction}{last}" if first else last


def shortened(value: Any, most: int = 80) -> str:
    """Return a value as text, cut where it is longer than ``most`` characters.

    Examples
    --------
    >>> shortened("abcdefgh", 6)
    'abc...'
    """
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
