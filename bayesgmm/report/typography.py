"""Numbers and names as a page writes them: with a minus sign, a dash and no more digits than they deserve; names in any script."""

from __future__ import annotations

import math
import unicodedata

import numpy as np

__all__ = ["apart", "for_console", "number", "percent", "within"]


def number(value: float | None) -> str:
    """Return a number with four significant digits and thousands set apart; a count as it is, and a dash for what is not a number.

    Examples
    --------
    >>> number(1234.567), number(-0.00012), number(None)
    ('1,235', '−0.00012', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int | np.integer) and -1e9 < value < 1e9:
        return f"{value:,}".replace("-", "−")
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    text = f"{value:,.{max(0, 3 - size)}f}" if -4 <= size < 9 else f"{value:.3e}"
    if size < 0 and "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def within(value: float | None, lower: float | None, upper: float | None) -> str:
    """Return a number beside its interval, with no more decimals than the ends of that have.

    Examples
    --------
    >>> within(8e-06, -0.25, 0.25)
    '0'
    """
    decimals = [len(end.partition(".")[2]) for end in map(number, (lower, upper)) if "e" not in end and end != "–"]
    own = number(value)
    if len(decimals) < 2 or own == "–" or ("e" not in own and len(own.partition(".")[2]) <= max(decimals)):
        return own
    text = f"{value:,.{max(decimals)}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else "0"


def percent(value: float | None) -> str:
    """Return a share in whole percent; near nought and one with a digit more, so that almost is not written as quite.

    Examples
    --------
    >>> percent(0.421), percent(0.004), percent(0.9999)
    ('42%', '0.4%', '>99.9%')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if 0 < value < 0.0005:
        return "<0.1%"
    if 0.9995 < value < 1:
        return ">99.9%"
    return f"{value:.0%}" if value in (0, 1) or 0.01 <= value <= 0.99 else f"{value:.1%}"


def for_console(text: str) -> str:
    """Return a number for a terminal, which may know no other characters than ASCII's."""
    return text.replace("−", "-").replace("–", "-")


def apart(text: str, names: tuple[str, ...]) -> str:
    """Return text in which names that are written from right to left are set apart, so that they leave the words around them in order."""
    for name in names:
        if any(unicodedata.bidirectional(letter) in ("R", "AL", "RLO", "RLE") for letter in name):
            text = text.replace(name, f"\u2068{name}\u2069")
    return text
