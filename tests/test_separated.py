"""Groups that do not overlap have a posterior in closed form; draws from it are perfect, however far apart the groups are."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.diagnostics import Check, convergence_table, diagnose, label_free
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

CHAINS, DRAWS = 4, 400


def groups(K: int, D: int, gap: float, rng: np.random.Generator) -> FloatArray:
    """Return K groups (K, n, D) of rows of unit spread, their centres ``gap`` apart along a random direction."""
    direction = rng.normal(size=D)
    direction /= np.linalg.norm(direction)
    return rng.normal(size=(K, 60, D)) + gap * np.arange(K)[:, None, None] * direction


def perfect(rows: FloatArray, rng: np.random.Generator) -> MixtureParams:
    """Draw from the posterior of separate normal samples under Jeffreys' priors, columns apart: independent draws of every chain."""
    K, n, D = rows.shape
    shape = (CHAINS, DRAWS)
    weights = rng.dirichlet(np.full(K, n + 1.0), shape)
    sds = rows.std(1) * np.sqrt(n / rng.chisquare(n - 1, (*shape, K, D)))
    means = rows.mean(1) + sds / np.sqrt(n) * rng.normal(size=(*shape, K, D))
    return MixtureParams(weights, means, sds[..., None] * np.eye(D))


def verdict(free: xr.Dataset) -> dict[str, Check]:
    return {check.name: check for check in diagnose(xr.DataTree.from_dict({"label_free": free}))}


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.floats(6.0, 1e4), st.integers(0, 2**32 - 1))
def test_perfect_draws_pass_at_any_distance(K: int, D: int, gap: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = groups(K, D, gap, rng)
    free = label_free(perfect(rows, rng), rows.reshape(-1, D))
    found = verdict(free)
    # Independent draws meet R-hat < 1.01 only nearly always: what is asked is that nothing is called impossible to judge.
    assert np.isfinite([found[name].value for name in ("r_hat_label_free", "ess_bulk", "ess_tail", "mcse")]).all()
    assert found["r_hat_label_free"].value < 1.03
    still = float(np.ptp(free["entropy"].values)) < 1e-6 * np.log(K)
    assert ("entropy there is nothing to judge" in found["r_hat_label_free"].sentence) == still


@settings(max_examples=15, deadline=None)
@given(st.floats(30.0, 1e4), st.sampled_from(["one chain", "all apart", "all together"]), st.integers(0, 2**32 - 1))
def test_chains_that_stand_still_fail_at_any_distance(gap: float, frozen: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = groups(2, 1, gap, rng)
    params = perfect(rows, rng)
    first = params[:, :1]
    arrays = [
        np.broadcast_to(array, (CHAINS, DRAWS, *array.shape[2:])).copy() for array in (first.weights, first.means, first.scale_tril)
    ]
    if frozen == "all together":
        arrays = [np.broadcast_to(array[:1], array.shape).copy() for array in arrays]
    if frozen == "one chain":
        for array, moving in zip(arrays, (params.weights, params.means, params.scale_tril), strict=True):
            array[1:] = moving[1:]
    found = verdict(label_free(MixtureParams(*arrays), rows.reshape(-1, 1)))
    assert not found["convergence"].passed
    assert "did not move" in found["convergence"].sentence


def test_entropies_that_stand_still_in_different_places_fail(rng: np.random.Generator) -> None:
    rows = groups(2, 1, 50.0, rng)
    free = label_free(perfect(rows, rng), rows.reshape(-1, 1))
    free["entropy"][:] = np.arange(CHAINS)[:, None] * 0.01
    found = verdict(free)
    assert found["r_hat_label_free"].value == np.inf
    assert not found["convergence"].passed


def test_the_table_shows_what_does_not_vary(rng: np.random.Generator) -> None:
    rows = groups(2, 1, 50.0, rng)
    free = label_free(perfect(rows, rng), rows.reshape(-1, 1))
    table = convergence_table(xr.DataTree.from_dict({"label_free": free})).set_index("quantity")
    assert table.index[~table["varies"]].tolist() == ["entropy"]
    assert np.isnan(table.loc["entropy", "r_hat"])
    assert table.drop("entropy")[["r_hat", "ess_bulk", "ess_tail"]].notna().all(axis=None)


@pytest.mark.parametrize(("D", "gap"), [(1, 40.0), (2, 200.0)])
def test_the_fit_converges(D: int, gap: float) -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(0, 1, (80, D)), rng.normal(gap, 1, (60, D))
    posterior = bg.BayesianGaussianMixture(2, draws=1000, tune=500, random_state=1, progressbar=False).fit(np.r_[first, second])
    assert posterior.diagnose()[0].passed
    means = posterior.params_.means[..., 0, 0]
    assert means.mean() == pytest.approx(first[:, 0].mean(), abs=0.05)
