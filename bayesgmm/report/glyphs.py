"""Names of columns in scripts that the figures' font lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import xarray as xr
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

if TYPE_CHECKING:
    from bayesgmm.comparison import Comparison

__all__ = ["drawable", "families", "shown_names"]

_FAMILY = "DejaVu Sans"
# Fonts for Chinese, Japanese and Korean that systems bring along; the first that has the letters is used.
_OTHERS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR", "Source Han Sans", "Hiragino Sans"),
    *("PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "IPAGothic"),
    *("Arial Unicode MS", "Droid Sans Fallback"),
)


@cache
def _letters(family: str) -> frozenset[int]:
    """Code points that an installed font can draw; none if it is not installed."""
    try:
        path = font_manager.findfont(family, fallback_to_default=False)
    except ValueError:
        return frozenset()
    return frozenset(FT2Font(path).get_charmap())


def _lacks(names: Iterable[str], known: Iterable[str]) -> set[int]:
    """Letters of these names that none of the fonts has."""
    needed = {ord(letter) for name in names for letter in name if not letter.isspace()}
    return needed.difference(*(_letters(family) for family in known))


def families(names: Iterable[str]) -> list[str]:
    """Fonts that figures with these names need, as far as they are installed; the usual one alone for most names.

    Parameters
    ----------
    names : iterable of str
    """
    names, chosen = list(names), [_FAMILY]
    for family in _OTHERS:
        missing = _lacks(names, chosen)
        if missing and missing & _letters(family):
            chosen.append(family)
    return chosen


def shown_names(names: tuple[str, ...]) -> tuple[str, ...]:
    r"""Names as figures can show them: a column whose name no font can draw goes by its number, counted from 1.

    Parameters
    ----------
    names : tuple of str

    Examples
    --------
    >>> shown_names(("height", "\ue000"))
    ('height', 'column 2')
    """
    known = families(names)
    taken = set(names)
    numbered = (f"column {d}" for d in range(1, len(names) + 1))
    return tuple(
        number if _lacks([name], known) and number not in taken else name for name, number in zip(names, numbered, strict=True)
    )


def drawable(comparison: Comparison) -> Comparison:
    """Return the comparison with its columns named as figures can show them; the same one where they can show them all.

    Parameters
    ----------
    comparison : Comparison
    """
    names = shown_names(comparison.features)
    if names == comparison.features:
        return comparison
    instead = dict(zip(comparison.features, names, strict=True))
    parameters = comparison.parameters.assign(
        **{column: comparison.parameters[column].map(lambda name: instead.get(name, name)) for column in ("feature", "feature_bis")}
    )
    tree = comparison.datatree.map_over_datasets(lambda data: _renamed(data, instead))
    return replace(comparison, features=names, parameters=parameters, datatree=tree)


def _renamed(data: xr.Dataset, instead: dict[str, str]) -> xr.Dataset:
    """A group of the draws with its columns named otherwise."""
    found = {
        dim: [instead.get(str(name), str(name)) for name in data[dim].values]
        for dim in ("feature", "feature_bis")
        if dim in data.coords
    }
    return data.assign_coords(found) if found else data
