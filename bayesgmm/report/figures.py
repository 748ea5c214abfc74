"""Figures as text that fits inside the page, in fonts that have the letters of the columns' names."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import matplotlib.figure
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image

from bayesgmm import plots
from bayesgmm.comparison import Comparison
from bayesgmm.em import impute
from bayesgmm.partitions import row_summary
from bayesgmm.plots.selection import plot_choice
from bayesgmm.report.em_alone import EMAlone, Findings, judge
from bayesgmm.report.group_names import GroupNames
from bayesgmm.report.labels import KnownLabels
from bayesgmm.report.told import Told
from bayesgmm.report.typography import number, percent
from bayesgmm.selection import Choice
from bayesgmm.text import counted

__all__ = ["Figure", "data_uri", "draw_all", "plain_style", "shown_names"]

_MOST_BARS = 24
_MOST_DRAWN = 30
_DPI = 170
_COLOURS = 256
_FAMILY = "DejaVu Sans"
# Fonts for Chinese, Japanese and Korean that systems bring along; the first that has the letters is used.
_OTHERS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR", "Source Han Sans", "Hiragino Sans"),
    *("PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "IPAGothic"),
    *("Arial Unicode MS", "Droid Sans Fallback"),
)


@dataclass(frozen=True)
class Figure:
    """A picture of the page: its address (a data URI), what it shows in words, and whether it needs a wide page."""

    source: str
    alt: str
    wide: bool


def draw_all(
    found: Findings, known: KnownLabels | None, choice: Choice | None, names: GroupNames, told: Told | None = None
) -> dict[str, Figure]:
    """Draw every figure of the report.

    Parameters
    ----------
    found : Comparison or EMAlone
    known : KnownLabels or None
    choice : Choice or None
    names : GroupNames
    told : Told, optional
    """
    with plain_style(), plt.rc_context({"font.family": _families(found.features)}):
        found = _drawable(found)
        figures = _of_any(found, names) | (_of_both(found, names) if isinstance(found, Comparison) else {})
        if choice is not None:
            models = choice.models
            bic, icl = (counted(choice.by(criterion), "group") for criterion in ("bic", "icl"))
            alt = f"Criteria by number of groups. BIC is least for {bic}, ICL for {icl}."
            figures["choice"] = Figure(_render(names, lambda: plot_choice(models), "svg"), alt, choice.has_posteriors)
        if told is not None and told.samples is not None:
            table = told.samples
            alt = f"The share of each group in each of {counted(table['sample'].nunique(), 'sample')}; the table below has the numbers."
            figures["sample_weights"] = Figure(_render(names, lambda: plots.plot_sample_weights(table), "svg"), alt, False)
        if known is not None and known.calibration is not None:
            drawn = _render(names, lambda: _reliability(found, known), "svg")
            alt = (
                "How often points have the label that stands for their group, against the probability that the group was given. "
                f"Mean distance from the diagonal, by {'the posterior' if judge(found) == 'posterior' else 'EM'}: "
                f"{number(known.calibration)}."
            )
            figures["reliability"] = Figure(drawn, alt, False)
    return figures


def _of_any(found: Findings, names: GroupNames) -> dict[str, Figure]:
    """Groups, the map of doubt (in an only group no point can be in doubt), and simulated data."""
    K, rows, of_rows, draws = found.em_params.n_components, found.X, found.responsibilities, None
    outlines = "with the outlines of each group by EM."
    if isinstance(found, Comparison):
        outlines = f"with the outlines of each group by EM and by the posterior. {found.verdict('agreement').sentence}"
        draws = found.posterior_params
    # Rows with gaps are shown where the mixture expects them.
    filled = impute(rows, found.em_params, None, np.random.default_rng())
    labels, doubt = (of_rows[f"{judge(found)}_{name}"].to_numpy() for name in ("label", "doubt"))
    columns: dict[str, Any] = {"feature_names": found.features}

    def groups() -> Any:
        return plots.plot_groups(filled, found.em_params, draws, labels=labels, ax=_axes(), **columns)

    def doubts() -> Any:
        summary = xr.Dataset({"doubt": ("obs", doubt)}, coords={"component": np.arange(K)})
        return plots.plot_doubt(filled, summary, mixture=found.em_params, ax=_axes(), **columns)

    figures = {"groups": Figure(_render(names, groups, "png"), f"The data in {counted(K, 'group')}, {outlines}", False)}
    if K > 1:
        share = percent(len(found.doubtful) / len(rows))
        alt = f"The data, coloured by how doubtful each point's group is. {share} of the points are in doubt."
        figures["doubt"] = Figure(_render(names, doubts, "png"), alt, False)
    drawn = _render(names, lambda: plots.plot_predictive(rows, found.replicates, **columns), "png8")
    alt = f"Density of each column of the data among those of simulated data sets. {found.verdict('predictive').sentence}"
    figures["predictive"] = Figure(drawn, alt, len(found.features) > 1)
    return figures


def _of_both(comparison: Comparison, names: GroupNames) -> dict[str, Figure]:
    """Parameters, points in doubt, and chains: what only a posterior has."""
    tree, doubtful = comparison.datatree, comparison.doubtful
    alt = "Each parameter by EM beside its posterior mean and 95% interval; the table below has the numbers. "
    # Points, curves and traces by the hundred are larger as a drawing than as its picture.
    drawn = _render(names, comparison.plot_forest, "svg" if len(comparison.parameters) <= _MOST_DRAWN else "png8")
    figures = {"forest": Figure(drawn, alt + comparison.verdict("parameters").sentence, True)}
    alt = "Distribution and course of the draws of each chain; the convergence table has the numbers."
    figures["trace"] = Figure(_render(names, lambda: plots.plot_trace(tree), "png8"), alt, True)
    # Ranks compare chains; one chain has nothing to be compared with.
    if comparison.posterior_params.batch_shape[0] > 1:
        alt = "Ranks of each chain's draws among all draws; lines near zero say that the chains agree."
        figures["rank"] = Figure(_render(names, lambda: plots.plot_rank(tree), "png8"), alt, True)
    if len(doubtful):
        shown, best = min(len(doubtful), _MOST_BARS), 1 - float(doubtful["posterior_doubt"].iloc[0])
        alt = (
            f"Probabilities of the groups of {'the point' if shown == 1 else f'the {shown} points'} most in doubt, with intervals. "
            f"The most doubtful has {percent(best)} for its most probable group."
        )
        figures["doubtful"] = Figure(_render(names, lambda: _bars(comparison), "svg"), alt, True)
    return figures


def _bars(comparison: Comparison) -> Any:
    """Draw the most doubtful points, a bar each."""
    order = np.argsort(-comparison.responsibilities["posterior_doubt"].to_numpy(), kind="stable")
    rows = order[: min(len(comparison.doubtful), _MOST_BARS)]
    names = comparison.responsibilities.index[rows].rename("obs")
    ax = plots.plot_responsibilities(row_summary(comparison.posterior_params, comparison.X[rows], names, 0.9), _MOST_BARS)
    ax.set_xlabel(f"row, the most doubtful first ({len(rows)} of {len(comparison.X):,})")
    return ax


def _reliability(found: Findings, known: KnownLabels) -> Any:
    rows, K = known.truth >= 0, found.em_params.n_components
    both = {"EM": found.responsibilities[[f"em_{k}" for k in range(K)]].to_numpy()[rows]}
    if isinstance(found, Comparison):
        both["posterior"] = found.mean_responsibilities[rows]
    return plots.plot_reliability(both, known.truth[rows], n_bins=5, ax=_axes())


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's own defaults whatever the user has set, and the same bytes each time."""
    settings: Any = {"svg.hashsalt": "bayesgmm", "svg.fonttype": "path", "figure.max_open_warning": 0}
    with plt.style.context("default"), plt.rc_context(settings), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes in the figure; the page's text still has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Chains that never moved: the checks say so.
        warnings.filterwarnings("ignore", message="Your data appears to have a single value")
        yield


def _axes() -> Any:
    return plt.subplots(figsize=(5.6, 4.2), layout="constrained")[1]


def _render(names: GroupNames, draw: Callable[[], Any], kind: str) -> str:
    """Draw, and return the picture as a data URI; no figure stays open."""
    before = set(plt.get_fignums())
    try:
        draw()
        figure = plt.figure(max(set(plt.get_fignums()) - before))
        names.on_figure(figure)
        return data_uri(figure, kind)
    finally:
        for number_of_figure in set(plt.get_fignums()) - before:
            plt.close(number_of_figure)


def data_uri(figure: matplotlib.figure.Figure, kind: str) -> str:
    """Return a matplotlib figure as a data URI; ``kind`` is "svg", "png", or "png8" with a palette."""
    few, kind = kind == "png8", kind[:3]
    out = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    # Transparent, so that the page's own light or dark ground shows through.
    figure.savefig(out, format=kind, dpi=_DPI, transparent=True, metadata=metadata)
    content = _few_colours(out) if few else out.getvalue()
    media = {"svg": "svg+xml"}.get(kind, kind)
    return f"data:image/{media};base64,{base64.b64encode(content).decode('ascii')}"


def _few_colours(png: io.BytesIO) -> bytes:
    """The picture with a palette: a third of the size, and nobody sees the difference."""
    out = io.BytesIO()
    picture = Image.open(png).quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(out, format="png", optimize=True)
    return out.getvalue()


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


def _families(names: Iterable[str]) -> list[str]:
    """Fonts that figures with these names need, as far as they are installed; the usual one alone for most names."""
    names, chosen = list(names), [_FAMILY]
    for family in _OTHERS:
        if _lacks(names, chosen) & _letters(family):
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
    known = _families(names)
    taken = set(names)
    numbered = (f"column {d}" for d in range(1, len(names) + 1))
    return tuple(
        number if _lacks([name], known) and number not in taken else name for name, number in zip(names, numbered, strict=True)
    )


def _drawable(found: Findings) -> Findings:
    """Return what was found with its columns named as figures can show them; the same where they can show them all."""
    names = shown_names(found.features)
    if names == found.features:
        return found
    instead = dict(zip(found.features, names, strict=True))
    parameters = found.parameters.replace({"feature": instead, "feature_bis": instead})
    if isinstance(found, EMAlone):
        return replace(found, features=names, parameters=parameters)
    tree = found.datatree.map_over_datasets(lambda data: _renamed(data, instead))
    return replace(found, features=names, parameters=parameters, datatree=tree)


def _renamed(data: xr.Dataset, instead: dict[str, str]) -> xr.Dataset:
    """A group of the draws with its columns named otherwise."""
    dims = [dim for dim in ("feature", "feature_bis") if dim in data.coords]
    return data.assign_coords({dim: [instead.get(str(name), str(name)) for name in data[dim].values] for dim in dims})
