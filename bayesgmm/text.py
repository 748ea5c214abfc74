"""How numbers of things, lists of them and long values are written in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["counted", "duration", "listed", "shortened"]


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


def duration(seconds: float) -> str:
    """Return a length of time as one says it, to two digits.

    Examples
    --------
    >>> [duration(seconds) for seconds in (0.2, 45.2, 88.0, 100.0, 1234.0, 7000.0, 30_000.0, 200_000.0)]
    ['1 second', '45 seconds', '88 seconds', '1.7 minutes', '21 minutes', '1.9 hours', '8.3 hours', '2.3 days']
    """
    if seconds < 89.5:
        return counted(max(1, round(seconds)), "second")
    size, unit = (60, "minute") if seconds < 90 * 60 else (3600, "hour") if seconds < 36 * 3600 else (86400, "day")
    return f"{float(f'{seconds / size:.2g}'):,g} {unit}s"


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
