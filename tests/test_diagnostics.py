"""Convergence checks find failures that were planted, and pass what is sound."""

import numpy as np
import pytest
import xarray as xr

from bayesgmm.diagnostics import Check, convergence_table, diagnose, sampler_table

CHAINS, DRAWS = 4, 500
DIMS = {"weights": ("component",), "means": ("component", "feature"), "sds": ("component", "feature")}


def sound(rng: np.random.Generator, chains: int = CHAINS, K: int = 2) -> dict[str, xr.Dataset]:
    """Groups of a posterior whose draws are independent, so that every diagnostic must pass."""
    shape = (chains, DRAWS)
    weights = rng.dirichlet(np.arange(K, 0, -1) * 50.0, size=shape)
    means = rng.normal(size=(*shape, K, 2)) + 10 * np.arange(K)[:, None]
    sds = rng.gamma(50, 0.02, size=(*shape, K, 2))
    rho = rng.uniform(-0.3, 0.3, size=(*shape, K))
    corr = np.broadcast_to(np.eye(2), (*shape, K, 2, 2)).copy()
    corr[..., 0, 1] = corr[..., 1, 0] = rho
    posterior = dataset({"weights": weights, "means": means, "sds": sds}, K)
    posterior["corr"] = (("chain", "draw", "component", "feature", "feature_bis"), corr)
    log_likelihood = rng.normal(-500, 2, size=shape)
    free = xr.Dataset(
        {
            "log_likelihood": (("chain", "draw"), log_likelihood),
            "sorted_weights": (("chain", "draw", "rank"), -np.sort(-weights)),
            "entropy": (("chain", "draw"), rng.gamma(20, 0.01, size=shape) * (K > 1)),
        }
    )
    stats = {
        "lp": log_likelihood,
        "diverging": np.zeros(shape, bool),
        "energy": rng.normal(500, 2, size=shape),
        "reached_max_treedepth": np.zeros(shape, bool),
        "tree_depth": np.full(shape, 3),
    }
    return {
        "posterior": posterior,
        "unlabelled_posterior": posterior.copy(),
        "label_free": free,
        "sample_stats": xr.Dataset({name: (("chain", "draw"), values) for name, values in stats.items()}),
    }


def dataset(values: dict[str, np.ndarray], K: int) -> xr.Dataset:
    coords = {"component": np.arange(K), "feature": ["a", "b"], "feature_bis": ["a", "b"]}
    variables = {name: (("chain", "draw", *DIMS[name]), array) for name, array in values.items()}
    return xr.Dataset(variables, coords={**coords, "chain": np.arange(len(next(iter(values.values()))))})


def checks(groups: dict[str, xr.Dataset]) -> dict[str, Check]:
    return {check.name: check for check in diagnose(xr.DataTree.from_dict(groups))}


def test_sound_draws_pass_every_check(rng):
    found = checks(sound(rng))
    assert [check.name for check in found.values() if not check.passed] == []
    assert found["convergence"].sentence.startswith("Converged: ")


def test_permuted_chains_have_converged_up_to_labels(rng):
    groups = sound(rng)
    raw = groups["unlabelled_posterior"].copy(deep=True)
    for name in DIMS:
        raw[name][1] = raw[name][1].values[:, ::-1]
    found = checks(groups | {"unlabelled_posterior": raw})
    assert found["convergence"].passed
    assert found["convergence"].sentence.startswith("Converged up to labels")
    assert found["r_hat_raw"].value > 1.5
    assert found["r_hat_raw"].threshold is None


def test_a_chain_in_another_place_is_found_and_not_blamed_on_labels(rng):
    groups = sound(rng)
    groups["label_free"]["log_likelihood"][2] -= 40
    found = checks(groups)
    assert not found["convergence"].passed
    assert "different answers" in found["convergence"].sentence
    assert "log_likelihood" in found["r_hat_label_free"].sentence


def test_a_stuck_chain_is_named(rng):
    groups = sound(rng)
    for group in ("posterior", "label_free", "sample_stats"):
        for name in groups[group].data_vars:
            groups[group][name][3] = groups[group][name][3].values[:1]
    found = checks(groups)
    assert not found["convergence"].passed
    assert "chain 3 did not move" in found["convergence"].sentence


@pytest.mark.parametrize("frozen", ["apart", "together"])
def test_chains_that_never_move_fail(rng, frozen):
    groups = sound(rng)
    place = np.arange(CHAINS)[:, None] if frozen == "apart" else 0.0
    groups["label_free"]["log_likelihood"][:] = np.zeros((CHAINS, DRAWS)) + place
    found = checks(groups)
    assert not found["r_hat_label_free"].passed
    assert not found["convergence"].passed


def test_one_chain_cannot_be_judged(rng):
    found = checks(sound(rng, chains=1))
    assert not found["convergence"].passed
    assert "cannot be judged" in found["convergence"].sentence
    assert not found["r_hat_label_free"].passed
    assert np.isnan(found["r_hat_label_free"].value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("group", "name"), [("label_free", "log_likelihood"), ("posterior", "means")])
def test_draws_that_are_not_finite_fail(rng, value, group, name):
    groups = sound(rng)
    groups[group] = groups[group].copy(deep=True)
    groups[group][name][0, 7] = value
    found = checks(groups)
    assert not found["convergence"].passed
    assert "not finite" in found["convergence"].sentence
    assert not found["ess_bulk"].passed


def test_more_divergences_than_one_in_a_thousand_trajectories_ask_for_care_and_more_than_two_fail(rng):
    groups = sound(rng)
    groups["sample_stats"]["diverging"][1, 5:7] = True
    found = checks(groups)
    assert found["divergences"].passed
    assert found["divergences"].sentence == "2 divergences in 2,000 trajectories: too few to matter."
    assert found["convergence"].sentence.startswith("Converged: ")
    groups["sample_stats"]["diverging"][1, 7] = True
    found = checks(groups)
    assert found["divergences"].value == 3
    assert not found["divergences"].passed
    assert found["convergence"].with_care
    assert "3 divergences in 2,000 trajectories" in found["convergence"].sentence
    groups["sample_stats"]["diverging"][2, 7:9] = True
    found = checks(groups)
    assert not found["convergence"].passed
    assert "5 divergences in 2,000 trajectories" in found["convergence"].sentence


def test_divergences_are_counted_against_all_trajectories_between_draws(rng):
    groups = sound(rng)
    groups["sample_stats"]["diverging"][1, :12] = True
    assert not checks(groups)["divergences"].passed
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(cycles_per_draw=3, length_given_labels=1.6, length_given_rows=4.7)
    assert sampler_table(tree)["trajectories"].tolist() == [6 * DRAWS] * CHAINS
    assert {check.name: check for check in diagnose(tree)}["divergences"].passed
    tree.attrs["length_given_rows"] = 0.0
    assert sampler_table(tree)["trajectories"].tolist() == [3 * DRAWS] * CHAINS
    assert not {check.name: check for check in diagnose(tree)}["divergences"].passed


def test_tree_depth_warns_without_failing_the_verdict(rng):
    groups = sound(rng)
    groups["sample_stats"]["reached_max_treedepth"][0, :9] = True
    found = checks(groups)
    assert not found["tree_depth"].passed
    assert found["convergence"].passed


def test_few_effective_draws_fail_although_the_chains_agree(rng):
    groups = sound(rng)
    means = groups["posterior"]["means"].values
    slow = np.repeat(means[:, :: DRAWS // 50], DRAWS // 50, axis=1)
    groups["posterior"] = groups["posterior"].assign(means=groups["posterior"]["means"].copy(data=slow))
    found = checks(groups)
    assert found["ess_bulk"].value < found["ess_bulk"].threshold == 400
    assert not found["convergence"].passed


def test_a_slow_energy_fails(rng):
    groups = sound(rng)
    groups["sample_stats"]["energy"][:] = np.cumsum(rng.normal(size=(CHAINS, DRAWS)), axis=1)
    found = checks(groups)
    assert not found["e_bfmi"].passed
    assert not found["convergence"].passed


def test_missing_groups_are_not_asked_about_but_never_pass(rng):
    found = checks({"posterior": sound(rng)["posterior"]})
    assert "divergences" not in found
    assert not found["convergence"].passed


def test_the_table_leaves_out_what_the_model_fixes(rng):
    groups = sound(rng)
    tied = groups["posterior"].copy(deep=True)
    for name in ("sds", "corr"):
        tied[name][:] = tied[name].isel(component=[0, 0]).values
    table = convergence_table(xr.DataTree.from_dict({"posterior": tied}))
    names = [name.split("[")[0] for name in table["quantity"]]
    assert {name: names.count(name) for name in set(names)} == {"weights": 2, "means": 4, "sds": 2, "corr": 1}
    full = convergence_table(xr.DataTree.from_dict({"posterior": groups["posterior"]}))
    assert [name for name in full["quantity"] if "corr" in name] == ["corr[0, b, a]", "corr[1, b, a]"]


def test_an_only_component_has_nothing_constant_to_judge(rng):
    found = checks(sound(rng, K=1))
    assert found["convergence"].passed


def test_e_bfmi_is_that_of_its_definition(rng):
    groups = sound(rng)
    energy = groups["sample_stats"]["energy"].values
    expected = [np.sum(np.diff(e) ** 2) / np.sum((e - e.mean()) ** 2) for e in energy]
    np.testing.assert_allclose(sampler_table(xr.DataTree.from_dict(groups))["e_bfmi"], expected)


def test_the_posterior_of_faithful_has_converged(posterior_faithful):
    found = {check.name: check for check in diagnose(posterior_faithful.datatree_)}
    assert [check.sentence for check in found.values() if not check.passed] == []
    table = convergence_table(posterior_faithful.datatree_)
    assert set(table["labels"]) == {"label-free", "relabelled", "raw"}
    assert table[["r_hat", "ess_bulk", "ess_tail", "mcse_mean"]].notna().all(axis=None)
