"""The pictures of doubt show what was computed: read back from the axes, and drawn to pixels."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.partitions import calibration_error, reliability_curve, row_summary
from bayesgmm.plots import plot_doubt, plot_entropy, plot_reliability, plot_responsibilities
from bayesgmm.plots.style import colour, plain
from tests.conftest import random_mixture, table_of
from tests.test_plots import ink

ODD = ["price ($) in $", "$x_{", "a\nb", "x" * 99, "<b>&amp;", "_hidden", "a/b", r"\alpha"]


@pytest.fixture(autouse=True)
def close_figures():
    mpl.use("agg")
    yield
    plt.close("all")


def case(rng: np.random.Generator, K: int, D: int, n: int = 80) -> tuple[np.ndarray, xr.Dataset]:
    params = random_mixture(rng, K, D, batch=(40,))
    X, _ = params[0].sample(n, random_state=rng)
    return X, row_summary(params, X)


def whole(figure) -> bool:
    """Whether nothing is cut off at the edges of the page."""
    page, drawn = figure.bbox_inches, figure.get_tightbbox()
    return drawn.x0 >= -0.02 and drawn.y0 >= -0.02 and drawn.x1 <= page.x1 + 0.02 and drawn.y1 <= page.y1 + 0.02


@pytest.mark.parametrize(("K", "D"), [(3, 1), (2, 2), (3, 4), (2, 3), (1, 3)])
def test_both_causes_are_drawn_on_one_scale(rng, K: int, D: int) -> None:
    X, table = case(rng, K, D)
    axes = plot_entropy(X, table)
    clims = []
    for ax, name in zip(axes, ("aleatoric", "epistemic"), strict=True):
        points = next(c for c in ax.collections if c.get_array() is not None)
        np.testing.assert_allclose(np.sort(points.get_array()), np.sort(table[name]))
        assert (np.diff(points.get_sizes()[np.argsort(points.get_array())]) >= 0).all()
        assert name in ax.get_title(loc="left")
        clims.append(points.get_clim())
    assert clims[0] == clims[1]
    assert clims[0][1] == pytest.approx(max(float(table.aleatoric.max()), float(table.epistemic.max()), 0.1))
    figure = axes[0].figure
    assert any("nats" in other.get_ylabel() for other in figure.axes)
    assert 0.01 < ink(figure) < 0.6
    assert whole(figure)


def test_a_fit_or_its_table_make_the_same_picture(faithful, em_faithful) -> None:
    def values(ax):
        return next(c for c in ax.collections if c.get_array() is not None).get_array()

    table = em_faithful.row_summary(faithful)
    np.testing.assert_array_equal(values(plot_doubt(faithful, em_faithful)), np.sort(table.doubt))
    np.testing.assert_array_equal(values(plot_doubt(faithful, table)), np.sort(table.doubt))
    for one, other in zip(plot_entropy(faithful, em_faithful), plot_entropy(faithful, table), strict=True):
        np.testing.assert_array_equal(values(one), values(other))
    tops = [[bar.get_height() for bar in plot_responsibilities(of, most=9).patches] for of in (em_faithful, table)]
    assert tops[0] == tops[1]


@pytest.mark.parametrize("D", [1, 2, 4])
def test_doubt_of_a_table_needs_no_mixture(rng, D: int) -> None:
    X, table = case(rng, 3, D)
    ax = plot_doubt(X, table, features=None if D < 4 else ("x3", "x0"))
    points = next(c for c in ax.collections if c.get_array() is not None)
    np.testing.assert_array_equal(np.sort(points.get_array()), np.sort(table.doubt))
    assert points.get_clim() == (0, pytest.approx(2 / 3))
    assert D < 4 or ax.get_xlabel() == "x3"
    assert whole(ax.figure)


def test_axes_say_what_they_are(rng) -> None:
    X, table = case(rng, 3, 4)
    frame = pd.DataFrame(X, columns=list("abcd"))
    ax = plot_entropy(frame, table)[0]
    assert ax.get_xlabel().startswith("1st discriminant axis:\n")
    assert ax.get_ylabel().startswith("2nd discriminant axis:\n")
    for labels, start in ((np.arange(80) % 2, "principal axis of the rest:\n"), (np.zeros(80, int), "principal axis:\n")):
        assert plot_entropy(frame, table.assign(label=("obs", labels)))[1].get_ylabel().startswith(start)
    assert [f(frame[["a", "b"]], table)[0].get_ylabel() for f in (plot_entropy,)] == ["b"]


def test_discriminant_axes_part_the_labels(rng) -> None:
    """Groups that differ along one hidden direction, drowned in columns of noise."""
    labels = np.arange(200) % 2
    X = rng.normal(size=(200, 5)) * [1, 5, 1, 9, 1]
    X[:, 2] += 8 * labels
    table = table_of(np.eye(2)[labels])
    points = next(c for c in plot_entropy(X, table)[0].collections if c.get_array() is not None)
    x = np.asarray(points.get_offsets())[:, 0]  # all doubts are equal, so that the rows keep their order
    assert abs(x[labels == 0].mean() - x[labels == 1].mean()) > 5 * x[labels == 0].std()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows_and_constant_columns_are_drawn(rng, rows: int) -> None:
    _, table = case(rng, 3, 4)
    for values in (rng.normal(size=(rows, 4)), np.ones((rows, 4)), rng.normal(size=(rows, 2)), rng.normal(size=(rows, 1))):
        assert ink(plot_entropy(values, table.isel(obs=slice(rows)))[0].figure) > 0.005


def test_rows_with_gaps_are_counted(rng) -> None:
    X, table = case(rng, 2, 3)
    X[:5, 1] = np.nan
    axes = plot_entropy(X, table)
    assert [text.get_text() for text in axes[0].texts] == ["5 rows with gaps not shown"]
    points = next(c for c in axes[0].collections if c.get_array() is not None)
    np.testing.assert_allclose(np.sort(points.get_array()), np.sort(table.aleatoric[5:]))
    with pytest.raises(InvalidDataError, match="every row"):
        plot_entropy(np.full((80, 3), np.nan), table)


def test_what_does_not_fit_together_is_refused(rng) -> None:
    X, table = case(rng, 2, 2)
    with pytest.raises(InvalidParameterError, match="79 rows and summary 80"):
        plot_entropy(X[1:], table)
    with pytest.raises(InvalidParameterError, match="79 rows and summary 80"):
        plot_doubt(X[1:], table)
    with pytest.raises(InvalidParameterError, match=r"xarray\.Dataset"):
        plot_responsibilities("em")
    with pytest.raises(InvalidParameterError, match="lacks 'aleatoric'"):
        plot_entropy(X, table.drop_vars("aleatoric"))
    with pytest.raises(InvalidParameterError, match="two axes"):
        plot_entropy(X, table, axs=plt.subplots()[1])
    with pytest.raises(InvalidParameterError, match="at least 1"):
        plot_responsibilities(table, most=0)
    with pytest.raises(InvalidParameterError, match="lacks 'responsibility_lower'"):
        plot_responsibilities(table.drop_vars("responsibility_lower"))
    with pytest.raises(InvalidParameterError, match="at least one fit"):
        plot_reliability({}, [0])


def test_axes_that_are_given_are_used(rng) -> None:
    X, table = case(rng, 2, 2)
    axes = plt.subplots(1, 2)[1]
    assert list(plot_entropy(X, table, axs=axes)) == list(axes)
    assert plot_responsibilities(table, ax=axes[0]) is axes[0]
    assert plot_reliability(table.responsibility.values, table.label.values, ax=axes[1]) is axes[1]


@pytest.mark.parametrize("K", [1, 3, 9])
def test_bars_are_the_responsibilities_of_the_most_doubtful(rng, K: int) -> None:
    _, table = case(rng, K, 2)
    ax = plot_responsibilities(table, most=12)
    order = np.argsort(-table.doubt.values, kind="stable")[:12]
    shown = table.isel(obs=order)
    heights = np.array([bar.get_height() for bar in ax.patches]).reshape(K, 12).T
    np.testing.assert_allclose(heights, shown.responsibility)
    best = shown.responsibility.values.argmax(1)
    for i, k in enumerate(best):
        own = ax.patches[12 * k + i]
        assert own.get_y() == 0
        assert to_rgb(own.get_facecolor()) == to_rgb(colour(k))
    tops = np.array([bar.get_y() + bar.get_height() for bar in ax.patches]).reshape(K, 12).max(0)
    np.testing.assert_allclose(tops, 1)
    ends = [[part[0, 1], part[1, 1]] for part in ax.collections[0].get_segments()]
    expected = np.stack([shown[f"responsibility_{end}"].values[np.arange(12), best] for end in ("lower", "upper")], axis=1)
    np.testing.assert_allclose(ends, expected)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [str(name) for name in order]
    assert "90% interval" in ax.get_legend().get_texts()[-1].get_text()
    assert 0.05 < ink(ax.figure) < 0.95
    assert whole(ax.figure)


def test_very_many_bars_have_no_names(rng) -> None:
    _, table = case(rng, 2, 2)
    ax = plot_responsibilities(table, most=500)
    assert len(ax.get_xticks()) == 0
    assert "80 of 80" in ax.get_xlabel()
    assert whole(ax.figure)


def test_noise_has_a_colour_of_no_group() -> None:
    r = np.array([[0.2, 0.3, 0.5], [0.9, 0.05, 0.05]])
    ax = plot_responsibilities(table_of(r, [0, 1, -1]))
    grey = to_rgb(ax.patches[-1].get_facecolor())
    assert grey not in {to_rgb(colour(k)) for k in range(7)}
    assert "noise" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_curve_is_that_of_the_table(rng) -> None:
    r = rng.dirichlet([0.5, 0.5, 0.5], size=300)
    truth = np.array([rng.choice(3, p=row) for row in r])
    ax = plot_reliability({"one": r[:, [2, 0, 1]], "two": np.full((300, 3), 1 / 3)}, truth, n_bins=5)
    curve = reliability_curve(r, truth, n_bins=5)
    line = next(line for line in ax.lines if len(line.get_xdata()) == len(curve) and line.get_marker() == "o")
    np.testing.assert_allclose(line.get_xydata(), curve[["predicted", "correct"]])
    bars = ax.containers[0][2][0].get_segments()
    np.testing.assert_allclose([[part[0, 1], part[1, 1]] for part in bars], curve[["lower", "upper"]])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[0] == f"one (mean distance {calibration_error(r, truth, n_bins=5):.3f})"
    assert labels[1].startswith("two")
    assert 0.005 < ink(ax.figure) < 0.5
    assert whole(ax.figure)


def test_a_single_component_is_always_right() -> None:
    ax = plot_reliability(np.ones((5, 1)), np.zeros(5, int))
    assert ax.containers[0][0].get_xydata().tolist() == [[1.0, 1.0]]
    assert ink(ax.figure) > 0.003


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_shown_as_they_are(rng, name: str) -> None:
    X, table = case(rng, 2, 2, n=12)
    axes = plot_entropy(pd.DataFrame(X, columns=[name, "b"]), table)
    axes[0].figure.canvas.draw()
    assert axes[0].get_xlabel() == plain(name)
    bars = plot_responsibilities(table.assign_coords(obs=[name, *map(str, range(11))]))
    bars.figure.canvas.draw()
    assert plain(name, 14) in [tick.get_text() for tick in bars.get_xticklabels()]
    curve = plot_reliability({name: table.responsibility.values}, table.label.values)
    curve.figure.canvas.draw()
    assert curve.get_legend().get_texts()[0].get_text().startswith(plain(name))
