"""Pictures show what the fits say: read back from the axes, and drawn to pixels."""

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from scipy.special import erf

from bayesgmm.comparison import compare
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.plots import plot_doubt, plot_forest, plot_groups, plot_predictive, plot_rank, plot_trace
from bayesgmm.plots.geometry import ellipse, plane_for
from bayesgmm.plots.style import colour, plain
from tests.conftest import random_mixture


@pytest.fixture(autouse=True)
def close_figures():
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def comparison(em_faithful, posterior_faithful, faithful):
    return compare(em_faithful, posterior_faithful, faithful)


def ink(figure) -> float:
    """Share of the pixels that are not white."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=50)
    out.seek(0)
    return float((plt.imread(out)[..., :3] < 0.97).any(axis=-1).mean())


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_an_ellipse_holds_its_share(rng, level):
    mean, factor = np.array([3.0, -1.0]), np.array([[2.0, 0.0], [1.5, 0.3]])
    outline = ellipse(mean, factor, level)
    radius = np.linalg.norm(np.linalg.solve(factor, (outline - mean).T), axis=0)
    assert radius.max() - radius.min() < 1e-12
    # In two dimensions the squared distance is exponential with mean 2.
    assert 1 - np.exp(-(radius[0] ** 2) / 2) == pytest.approx(level)
    draws = rng.standard_normal((20_000, 2))
    inside = (np.linalg.norm(draws, axis=1) <= radius[0]).mean()
    assert abs(inside - level) < 4 * np.sqrt(level * (1 - level) / 20_000)


def test_the_ellipses_drawn_are_those_of_both_fits(comparison, em_faithful, posterior_faithful):
    ax = comparison.plot_groups()
    lines = {line.get_gid(): line for line in ax.lines if line.get_gid()}
    assert set(lines) == {"em-0", "em-1", "posterior-0", "posterior-1"}
    fits = {"em": (em_faithful.means_, em_faithful.covariances_)}
    fits["posterior"] = (posterior_faithful.means_, posterior_faithful.covariances_)
    for name, (means, covariances) in fits.items():
        for k in range(2):
            gap = np.array(lines[f"{name}-{k}"].get_data()).T - means[k]
            distance = np.einsum("ni,ij,nj->n", gap, np.linalg.inv(covariances[k]), gap)
            np.testing.assert_allclose(distance, -2 * np.log(0.1))
    assert lines["em-0"].is_dashed() != lines["posterior-0"].is_dashed()


def test_groups_are_named_coloured_and_complete(comparison, faithful, posterior_faithful):
    ax = comparison.plot_groups()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("eruptions", "waiting")
    assert texts(ax)[:2] == [f"group {k} ({w:.0%})" for k, w in enumerate(posterior_faithful.weights_)]
    assert any("EM" in text for text in texts(ax))
    drawn = [c for c in ax.collections if hasattr(c, "get_sizes") and len(c.get_sizes())]
    labels = posterior_faithful.predict(faithful)
    for k, points in enumerate(drawn):
        np.testing.assert_allclose(points.get_offsets(), faithful[labels == k])
        assert to_rgb(points.get_facecolor()[0]) == to_rgb(colour(k))


def test_one_column_shows_densities_that_integrate_to_one(rng):
    em = random_mixture(rng, 3, 1)
    X, _ = em.sample(300, random_state=rng)
    posterior = random_mixture(rng, 3, 1, batch=(2, 30))
    ax = plot_groups(pd.DataFrame(X, columns=["speed"]), em, posterior)
    line = next(line for line in ax.lines if line.get_gid() == "em")
    x, y = line.get_data()
    low, high = ((x[end] - em.means[:, 0]) / em.scale_tril[:, 0, 0] for end in (0, -1))
    inside = (erf(high / 2**0.5) - erf(low / 2**0.5)) / 2
    assert np.trapezoid(y, x) == pytest.approx(em.weights @ inside, abs=1e-4)
    assert ax.get_xlabel() == "speed"
    assert sum(bar.get_height() * bar.get_width() for bar in ax.patches) == pytest.approx(1)


def test_many_columns_are_seen_where_the_groups_part(rng):
    """Two groups that differ along one hidden direction: the first axis must find it, and the projection is exact."""
    D = 5
    direction = rng.normal(size=D)
    factor = np.tril(rng.normal(size=(D, D)) * 0.3, -1) + np.eye(D)
    means = np.stack([np.zeros(D), 6 * direction])
    em = MixtureParams([0.5, 0.5], means, np.stack([factor, factor]))
    names = list("abcde")
    plane = plane_for(em, names, None)
    fisher = np.linalg.solve(factor @ factor.T, direction)
    cosine = plane.matrix[:, 0] @ fisher / np.linalg.norm(plane.matrix[:, 0]) / np.linalg.norm(fisher)
    assert abs(cosine) == pytest.approx(1)
    flat = plane.mixture(em)
    np.testing.assert_allclose(flat.covariances[0], plane.matrix.T @ factor @ factor.T @ plane.matrix)
    X, _ = em.sample(100, random_state=rng)
    ax = plot_groups(pd.DataFrame(X, columns=names), em)
    assert ax.get_xlabel().startswith("1st discriminant axis")
    assert ax.get_ylabel().startswith("principal axis")
    chosen = plot_groups(pd.DataFrame(X, columns=names), em, features=("d", "b"))
    assert (chosen.get_xlabel(), chosen.get_ylabel()) == ("d", "b")


@pytest.mark.parametrize("features", [("a",), ("a", "a"), ("a", "z")])
def test_features_must_be_two_columns(rng, features):
    em = random_mixture(rng, 2, 3)
    with pytest.raises(InvalidParameterError, match="two different columns"):
        plot_groups(pd.DataFrame(rng.normal(size=(9, 3)), columns=["a", "b", "c"]), em, features=features)


def test_something_must_be_given_to_draw(rng):
    with pytest.raises(InvalidParameterError, match="em, posterior or both"):
        plot_groups(rng.normal(size=(9, 2)))
    with pytest.raises(InvalidParameterError, match="fitted estimator"):
        plot_groups(rng.normal(size=(9, 2)), "em")


@pytest.mark.parametrize("D", [1, 2, 4])
def test_doubt_is_drawn_by_size_and_colour(rng, D):
    em = random_mixture(rng, 3, D)
    X, _ = em.sample(120, random_state=rng)
    ax = plot_doubt(X, em)
    points = next(c for c in ax.collections if c.get_array() is not None)
    doubt = np.sort(1 - em.responsibilities(X).max(1))
    np.testing.assert_allclose(np.sort(points.get_array()), doubt)
    order = np.argsort(points.get_array())
    assert (np.diff(points.get_sizes()[order]) >= 0).all()
    assert points.get_clim() == (0, pytest.approx(2 / 3))
    assert any("doubt" in other.get_ylabel() for other in ax.figure.axes if other is not ax)


def test_the_forest_has_em_beside_every_interval(comparison):
    axes = comparison.plot_forest()
    table = comparison.parameters
    assert len(axes) == len(table.groupby(["parameter", "feature", "feature_bis"]))
    drawn = [ax.lines[i : i + 3] for ax in axes for i in range(0, len(ax.lines), 3)]
    assert len(drawn) == len(table)
    ends = sorted((tuple(bar.get_xdata()), dot.get_xdata()[0], em.get_xdata()[0]) for bar, dot, em in drawn)
    rows = table.sort_values(["lower", "upper"])
    assert ends == [((r["lower"], r["upper"]), r["mean"], r["em"]) for r in rows.to_dict("records")]


def test_axes_that_are_given_are_used_and_counted(comparison, faithful):
    figure, axes = plt.subplots(3, 2)
    assert list(comparison.plot_forest(axs=axes)) == list(axes.ravel())
    with pytest.raises(InvalidParameterError, match="6 axes"):
        plot_forest(comparison.parameters, axs=axes[0])
    with pytest.raises(InvalidParameterError, match="2 axes"):
        plot_predictive(faithful, comparison.replicates, axs=axes[0, 0])
    ax = plt.subplots()[1]
    assert comparison.plot_groups(ax=ax) is ax
    assert comparison.plot_doubt(ax=plt.subplots()[1]).figure is not figure


def test_a_forest_of_very_many_parameters_shows_the_farthest():
    row = {"parameter": "mean", "feature_bis": "", "em": 0.0, "mean": 0.1, "sd": 1.0, "lower": -1.0, "upper": 1.0}
    table = pd.DataFrame([row | {"component": 0, "feature": f"x{d}", "distance": float(d)} for d in range(40)])
    titles = [ax.get_title(loc="left") for ax in plot_forest(table)]
    assert titles == [f"mean of x{d}" for d in range(16, 40)]


def test_the_predictive_curves_are_densities(comparison, faithful):
    axes = comparison.plot_predictive()
    assert [ax.get_xlabel() for ax in axes] == list(faithful)
    for ax in axes:
        assert np.trapezoid(ax.lines[0].get_ydata(), ax.lines[0].get_xdata()) == pytest.approx(1, abs=0.01)
        assert len(ax.collections[0].get_paths()) == len(comparison.replicates)


def test_chains_are_drawn_by_arviz(posterior_faithful):
    names = ["log-likelihood", "entropy", "weight of group 0", "weight of group 1"]
    for function in (plot_trace, plot_rank):
        figure = function(posterior_faithful.datatree_).viz["figure"].item()
        titles = [ax.get_title(loc="left") for ax in figure.axes]
        assert [title for title in titles if title][:4] == names
        assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"chain {i}" for i in range(4)]


def test_one_chain_has_a_trace_but_no_ranks(rng):
    free = xr.Dataset({"log_likelihood": (("chain", "draw"), rng.normal(size=(1, 100)))})
    tree = xr.DataTree.from_dict({"label_free": free})
    assert ink(plot_trace(tree).viz["figure"].item()) > 0.01
    with pytest.raises(InvalidParameterError, match="only one chain"):
        plot_rank(tree)
    with pytest.raises(InvalidParameterError, match="no draws"):
        plot_trace(xr.DataTree())


def test_every_picture_has_ink_and_nothing_is_cut_off(comparison):
    pictures = {name: getattr(comparison, f"plot_{name}") for name in ("groups", "doubt", "forest", "predictive")}
    pictures |= {draw.__name__: lambda draw=draw: draw(comparison.datatree) for draw in (plot_trace, plot_rank)}
    for name, draw in pictures.items():
        plt.close("all")
        draw()
        figure = plt.gcf()
        assert 0.01 < ink(figure) < 0.6, name
        page, drawn = figure.bbox_inches, figure.get_tightbbox()
        assert drawn.x0 >= -0.02, name
        assert drawn.y0 >= -0.02, name
        assert drawn.x1 <= page.x1 + 0.02, name
        assert drawn.y1 <= page.y1 + 0.02, name


@pytest.mark.parametrize("name", ["price ($) in $", "$x_{", "a\nb", "x" * 99, "<b>&amp;", "_hidden", "a/b", r"\alpha"])
def test_names_from_the_data_are_shown_as_they_are(rng, name):
    em = random_mixture(rng, 2, 3)
    X, _ = em.sample(50, random_state=rng)
    ax = plot_groups(pd.DataFrame(X, columns=[name, "b", "c"]), em, features=(name, "b"))
    ax.figure.canvas.draw()
    assert ax.get_xlabel() == plain(name)
    assert len(plain(name).replace("\\$", "$")) <= 32
    posterior = random_mixture(rng, 2, 3, batch=(2, 50))
    means = (("chain", "draw", "component", "feature"), posterior.means)
    group = xr.Dataset({"weights": (("chain", "draw", "component"), posterior.weights), "means": means})
    tree = xr.DataTree.from_dict({"posterior": group.assign_coords(feature=[name, "b", "c"])})
    assert ink(plot_trace(tree).viz["figure"].item()) > 0.01


def test_two_dollar_signs_do_not_make_a_formula(rng):
    """Matplotlib would set what stands between them in italics and drop the signs."""
    figure, ax = plt.subplots()
    shown = ax.text(0, 0, plain("$a$"))
    figure.canvas.draw()
    literal = ax.text(0, 0.5, "$a$", parse_math=False)
    assert shown.get_window_extent().width == pytest.approx(literal.get_window_extent().width, rel=0.01)
