"""What the pictures share: colours, markers, names made safe for matplotlib."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.tables import column_names
from bayesgmm.typing import FloatArray
from bayesgmm.validation import check_same_columns

__all__ = [
    "DOUBT",
    "axes_or_new",
    "colour",
    "feature_names_or_default",
    "marker",
    "mixture_of",
    "new_axes",
    "plain",
    "tidy",
]

# Okabe & Ito, "Color Universal Design" (2008), without the yellow that vanishes on white.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
# Lightness falls evenly from sure to unsure, so that the map also reads in grey.
DOUBT = LinearSegmentedColormap.from_list("doubt", ["#c9d3da", "#E69F00", "#9c1f00"])


def colour(component: int) -> str:
    """Colour of a group; repeats after seven, when the markers go on to differ."""
    return _PALETTE[component % len(_PALETTE)]


def marker(component: int) -> str:
    """Marker of a group."""
    return _MARKERS[component % len(_MARKERS)]


def plain(name: object, longest: int = 32) -> str:
    """A name from the data as matplotlib should show it: no formulas between dollar signs, one line, not too long."""
    text = " ".join(str(name).split())
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return text.replace("$", r"\$")


def new_axes(n_rows: int = 1, n_cols: int = 1, size: tuple[float, float] = (6.4, 4.4)) -> tuple[Figure, FloatArray]:
    """A figure with constrained layout and its axes as a two-dimensional array."""
    return plt.subplots(n_rows, n_cols, figsize=size, layout="constrained", squeeze=False)


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (6.4, 4.4)) -> Axes:
    """The axes given, or those of a new figure."""
    return new_axes(size=size)[1][0, 0] if ax is None else ax


def tidy(ax: Axes) -> Axes:
    """Take away the ink that carries nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
    return ax


def mixture_of(fit: Any, name: str, X: Any) -> MixtureParams | None:
    """The mixture of a fitted estimator, or the mixture itself, which is to be drawn beside the rows X."""
    check_same_columns(name, fit, X)
    params = getattr(fit, "params_", fit)
    if params is None or isinstance(params, MixtureParams):
        return params
    raise InvalidParameterError(f"{name} must be a fitted estimator or MixtureParams, got {type(fit).__name__}.")


def feature_names_or_default(X: Any, feature_names: Sequence[str] | None) -> list[str]:
    """Names of the columns: those given, those of a DataFrame, or x0, x1, ..."""
    if feature_names is not None:
        return [str(name) for name in feature_names]
    return column_names(X, np.shape(X)[1])
