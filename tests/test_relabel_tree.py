"""Relabelling anybody's posterior: every variable with components follows, nothing else does, and the draws as they came are kept."""

import warnings

import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.labels import relabel
from bayesgmm.params import MixtureParams

CHAINS, DRAWS, K, N = 2, 60, 3, 40
MEANS = np.array([-9.0, 0.0, 9.0])


def foreign(seed=3):
    """A tree like PyMC's of a mixture on the line, with the same labels in all draws; and permutations to plant in it."""
    rng = np.random.default_rng(seed)
    shape = (CHAINS, DRAWS)
    mu = MEANS + 0.3 * rng.normal(size=(*shape, K))
    w = rng.dirichlet([20, 30, 40], size=shape)
    x = rng.choice(MEANS, N) + rng.normal(size=N)
    r = w[..., None, :] * np.exp(-0.5 * (x[:, None] - mu[..., None, :]) ** 2)
    r /= r.sum(-1, keepdims=True)
    z = (rng.random((*shape, N))[..., None] > r.cumsum(-1)).sum(-1)
    variables = {
        "mu": (("chain", "draw", "component"), mu),
        "w": (("component", "draw", "chain"), w.transpose(2, 1, 0)),
        "overlap": (("chain", "draw", "component", "other"), mu[..., :, None] - 2 * mu[..., None, :]),
        "loadings": (("chain", "draw", "feature", "component"), rng.normal(size=(*shape, 2, K)) + MEANS),
        "r": (("chain", "draw", "obs", "component"), r),
        "z": (("chain", "draw", "obs"), z),
        "sigma": (("chain", "draw"), rng.gamma(2, size=shape)),
    }
    groups = {
        "posterior": xr.Dataset(variables, attrs={"made_by": "hand"}),
        "sample_stats": xr.Dataset({"lp": (("chain", "draw"), rng.normal(size=shape))}),
        "posterior_predictive": xr.Dataset({"mu_new": (("chain", "draw", "component"), mu + 100)}),
        "prior": xr.Dataset({"mu": (("chain", "draw", "component"), mu + 50)}),
        "observed_data": xr.Dataset({"x": ("obs", x)}),
    }
    return xr.DataTree.from_dict(groups, name="theirs"), np.array(
        [[rng.permutation(K) for _ in range(DRAWS)] for _ in range(CHAINS)]
    )


def planted(tree, orders):
    """The tree with permuted labels, done one draw at a time."""
    groups = {path: dataset.copy(deep=True) for path, dataset in tree.to_dict().items()}
    for c in range(CHAINS):
        for d in range(DRAWS):
            order = orders[c, d]
            here = {"chain": c, "draw": d}
            for path in ("/posterior", "/posterior_predictive"):
                for name, variable in tree[path].to_dataset().items():
                    dims = {dim: order for dim in ("component", "other") if dim in variable.dims}
                    groups[path][name][here] = variable[here].isel(dims).values
            groups["/posterior"]["z"][here] = np.argsort(order)[tree["posterior"]["z"][here].values]
    return xr.DataTree.from_dict(groups)


@pytest.fixture(scope="module")
def switched():
    tree, orders = foreign()
    # The first draws keep their labels, so that most of them say what the names are.
    orders[:, : DRAWS // 2] = np.arange(K)
    return tree, planted(tree, orders), orders


@pytest.mark.parametrize(
    ("method", "given", "chosen"),
    [
        (None, {"responsibilities": "r", "allocations": "z"}, "stephens"),
        (None, {"allocations": "z"}, "ecr-iterative-1"),
        (None, {"parameters": ["mu"]}, "pra"),
        ("ecr", {"allocations": "z"}, "ecr"),
        ("ecr-iterative-2", {"responsibilities": "r"}, "ecr-iterative-2"),
        ("sort", {"functional": "mu"}, "sort"),
    ],
)
def test_what_was_planted_is_undone_in_every_variable(switched, method, given, chosen):
    tree, mixed, orders = switched
    before = mixed.copy(deep=True)
    found = relabel(mixed, method, component_dim=("component", "other"), **given)
    names = set(tree["posterior"].data_vars) - ({"z"} if "allocations" not in given else set())
    for name in names:
        xr.testing.assert_equal(found["posterior"][name], tree["posterior"][name])
    xr.testing.assert_equal(found["posterior_predictive"]["mu_new"], tree["posterior_predictive"]["mu_new"])
    np.testing.assert_array_equal(
        np.take_along_axis(orders, found["relabelling"]["order"].values, -1), np.tile(np.arange(K), (2, DRAWS, 1))
    )
    assert found["relabelling"].attrs["method"] == found["posterior"].attrs["relabelled"] == chosen
    assert not found["relabelling"]["ambiguous"].any()
    # Nothing else has changed.
    xr.testing.assert_identical(mixed, before)
    for group in ("prior", "sample_stats", "observed_data"):
        xr.testing.assert_identical(found[group].to_dataset(), mixed[group].to_dataset())
    xr.testing.assert_identical(found["unlabelled_posterior"].to_dataset(), mixed["posterior"].to_dataset())


def test_values_may_be_given_instead_of_names(switched):
    tree, mixed, _ = switched
    r = mixed["posterior"]["r"]
    for given in (r, r.values, r.transpose("component", "draw", "obs", "chain")):
        found = relabel(mixed, "stephens", responsibilities=given)
        xr.testing.assert_equal(found["posterior"]["mu"], tree["posterior"]["mu"])


def test_mixtures_and_rows_may_be_given(switched):
    tree, mixed, _ = switched
    posterior = mixed["posterior"]
    weights = posterior["w"].transpose("chain", "draw", "component").values
    params = MixtureParams(weights, posterior["mu"].values[..., None], np.ones((CHAINS, DRAWS, K, 1, 1)))
    rows = mixed["observed_data"]["x"].values[:, None]
    truth = MixtureParams.from_covariances(np.full(K, 1 / K), MEANS[:, None], np.ones((K, 1, 1)))
    found = relabel(mixed, params=params, X=rows, reference=truth)
    assert found["relabelling"].attrs["method"] == "em-pivot"
    xr.testing.assert_equal(found["posterior"]["mu"], tree["posterior"]["mu"])


def test_components_may_have_other_dims_in_every_variable(switched):
    tree, mixed, _ = switched
    posterior = mixed["posterior"].to_dataset()[["mu", "w"]]
    named = xr.Dataset({"mu": posterior["mu"].rename(component="mu_dim_0"), "w": posterior["w"].rename(component="w_dim_0")})
    found = relabel(xr.DataTree.from_dict({"posterior": named}), component_dim=("w_dim_0", "mu_dim_0"))
    np.testing.assert_array_equal(found["posterior"]["mu"].values, tree["posterior"]["mu"].values)
    np.testing.assert_array_equal(found["posterior"]["w"].values, tree["posterior"]["w"].values)


def test_a_relabelled_tree_survives_a_file_and_keeps_the_first_draws(switched, tmp_path):
    _, mixed, _ = switched
    found = relabel(mixed, allocations="z")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.to_netcdf(tmp_path / "found.nc", engine="h5netcdf")
    again = xr.open_datatree(tmp_path / "found.nc", engine="h5netcdf").load()
    xr.testing.assert_equal(again, found)
    twice = relabel(again, "sort", functional="mu")
    xr.testing.assert_equal(twice["unlabelled_posterior"].to_dataset(), mixed["posterior"].to_dataset())
    assert twice["relabelling"].attrs["method"] == "sort"


def test_our_own_posterior_by_other_methods(posterior_faithful):
    tree = posterior_faithful.datatree_
    found = relabel(tree, "stephens")
    np.testing.assert_array_equal(found["relabelling"]["order"].values, np.broadcast_to([0, 1], (4, 1000, 2)))
    xr.testing.assert_allclose(found["responsibilities"]["mean"], tree["responsibilities"]["mean"], atol=1e-9)
    xr.testing.assert_identical(found["unlabelled_posterior"].to_dataset(), tree["unlabelled_posterior"].to_dataset())
    swapped = relabel(tree, "em-pivot", reference=posterior_faithful.em_.params_.permute([1, 0]))
    np.testing.assert_allclose(swapped["posterior"]["weights"].values, tree["posterior"]["weights"].values[..., ::-1])
    np.testing.assert_allclose(
        swapped["responsibilities"]["mean"].values, tree["responsibilities"]["mean"].values[:, ::-1], atol=1e-9
    )


def test_the_raw_draws_of_our_posterior_can_be_relabelled(posterior_faithful):
    tree = posterior_faithful.datatree_
    found = relabel(tree, reference=posterior_faithful.em_.params_, group="unlabelled_posterior")
    xr.testing.assert_allclose(found["unlabelled_posterior"]["means"], tree["posterior"]["means"])
    assert "unlabelled_unlabelled_posterior" in found.children


def test_means_that_cannot_be_worked_out_again_are_left_out(switched):
    _, mixed, _ = switched
    groups = {**mixed.to_dict(), "/responsibilities": xr.Dataset({"mean": (("obs", "component"), np.ones((N, K)) / K)})}
    found = relabel(xr.DataTree.from_dict(groups), parameters=["mu"])
    assert "responsibilities" not in found.children


def test_relabel_is_public():
    assert bg.labels.relabel is relabel


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"group": "posteriour"}, "the tree has no group 'posteriour': its groups are posterior, sample_stats"),
        (
            {"component_dim": "k"},
            "group 'posterior' has no dim 'k': name the dim of the components with component_dim; its dims are",
        ),
        ({"component_dim": ("component", "feature")}, "must all have the same size, got .*'component': 3, 'feature': 2"),
        ({"group": "observed_data"}, "group 'observed_data' has no dim 'chain'; its dims are obs"),
        (
            {"responsibilities": "p"},
            "group 'posterior' has no variable 'p', which responsibilities are to be in: it has mu, w",
        ),
        ({"allocations": "zeta"}, "no variable 'zeta', which allocations are to be in"),
        ({"parameters": ["mu", "nu"]}, "group 'posterior' has no variable 'nu'"),
        ({"parameters": ["sigma"]}, "variable 'sigma' must be numbers with draws and one component dim, its dims are chain, draw"),
        (
            {"responsibilities": "z"},
            r"responsibilities must have dims like \(chain, draw, obs, component\), 'z' has \(chain, draw, obs\)",
        ),
        ({"functional": "loadings"}, r"functional must have dims like \(chain, draw, component\)"),
        ({"method": "stephens"}, "method 'stephens' needs responsibilities or allocations of the rows, which are not given"),
        ({"method": "em-pivot", "responsibilities": "r"}, "method 'em-pivot' needs responsibilities of a reference"),
        ({"method": "best"}, "method must be one of .* got 'best'"),
        ({"allocations": np.zeros((2, 60, 5), int) + 3}, "allocations must lie between 0 and 2: row 0 of draw 0 .* is in 3"),
        ({"allocations": np.zeros((60, 5), int)}, r"must be of the same draws, .* allocations \(60,\), log_posterior \(2, 60\)"),
        (
            {"params": MixtureParams([1.0], [[0.0]], [[[1.0]]])},
            r"must be of the same draws, .* params \(\), log_posterior \(2, 60\)",
        ),
        ({"parameters": []}, "no variable by which components could be told apart: give responsibilities"),
    ],
)
def test_what_is_missing_is_named(switched, given, words):
    with pytest.raises((InvalidDataError, InvalidParameterError), match=words):
        relabel(switched[1], **given)


def test_a_tree_of_one_component_and_one_draw():
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": (("chain", "draw", "component"), [[[1.0]]])})})
    xr.testing.assert_equal(relabel(tree)["posterior"]["mu"], tree["posterior"]["mu"])
