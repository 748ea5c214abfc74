"""What is written of a posterior is small, and what is read back is all that there was."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.exceptions import InvalidDataError
from tests.conftest import random_mixture

FEW = {"draws": 60, "tune": 60, "chains": 3, "random_state": 1, "progressbar": False}


def written_and_read(fit, folder) -> xr.DataTree:
    bg.save_draws(fit, folder / "draws.nc")
    found = bg.load_draws(folder / "draws.nc")
    (folder / "draws.nc").unlink()  # nothing is left to be read from it
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_all_comes_back_as_it_was(kind, faithful, tmp_path):
    table = faithful.mask(np.random.default_rng(0).random(faithful.shape) < 0.05).dropna(how="all")
    fit = bg.BayesianGaussianMixture(3, covariance_type=kind, **FEW).fit(table.set_index(table.index + 5))
    xr.testing.assert_identical(written_and_read(fit, tmp_path), fit.datatree_)


@pytest.mark.filterwarnings("ignore")
def test_labels_that_switch_come_back(rng, tmp_path):
    """Every draw calls its four groups by other numbers."""
    centre = 6.0 * np.arange(4)[:, None] + np.zeros(2)
    draws = random_mixture(rng, 4, 2, (3, 50))
    tree = {"weights": draws.weights, "means": centre + 0.1 * draws.means, "scale_tril": draws.scale_tril}
    order = rng.permuted(np.broadcast_to(np.arange(4), (3, 50, 4)), axis=-1)
    tree = {name: np.take_along_axis(v, order.reshape(*order.shape, *[1] * (v.ndim - 3)), 2) for name, v in tree.items()}
    X = centre[rng.integers(4, size=100)] + rng.normal(size=(100, 2))
    fit = bg.BayesianGaussianMixture.from_draws(tree, X, random_state=1)
    raw = fit.datatree_["unlabelled_posterior"]["means"]
    np.testing.assert_array_equal(raw, tree["means"])
    assert not fit.datatree_["posterior"]["means"].equals(raw)
    found = written_and_read(fit, tmp_path)
    xr.testing.assert_identical(found, fit.datatree_)
    assert fit.diagnose() == bg.diagnostics.diagnose(found)


@pytest.mark.filterwarnings("ignore")
def test_what_was_not_there_is_not_made_up(faithful, tmp_path, monkeypatch):
    monkeypatch.setattr("bayesgmm.estimators._posterior_tree.MOST_POINTWISE", 0)
    fit = bg.BayesianGaussianMixture(2, **FEW).fit(faithful)
    found = written_and_read(fit, tmp_path)
    assert "log_likelihood" not in found.children
    xr.testing.assert_identical(found, fit.datatree_)


@pytest.mark.filterwarnings("ignore")
def test_xarray_alone_reads_draws_of_which_a_fit_can_be_made(faithful, tmp_path):
    fit = bg.BayesianGaussianMixture(2, **FEW).fit(faithful)
    bg.save_draws(fit, tmp_path / "draws.nc")
    with xr.open_datatree(tmp_path / "draws.nc", engine="h5netcdf") as tree:
        factors = tree["posterior"]["scale_tril"].values
        again = bg.BayesianGaussianMixture.from_draws(tree.load(), faithful, init=fit.em_)
    np.testing.assert_allclose(factors @ np.swapaxes(factors, -1, -2), fit.params_.covariances, rtol=1e-12)
    np.testing.assert_allclose(again.means_, fit.means_, rtol=1e-12)


@pytest.mark.parametrize("n_features", [3, 10])
def test_four_thousand_draws_given_2500_rows_take_little(n_features, rng, tmp_path):
    """Draws that never repeat, which nothing can pack, of four groups: 88 and 142 MB with log-likelihoods and both labels."""
    draws = random_mixture(rng, 4, n_features, (4, 1000))
    centre = 6.0 * np.arange(4)[:, None] + np.zeros(n_features)
    tree = {"weights": draws.weights, "means": centre + 0.1 * draws.means, "scale_tril": draws.scale_tril}
    X = pd.DataFrame(centre[rng.integers(4, size=2500)] + rng.normal(size=(2500, n_features)))
    with warnings.catch_warnings(action="ignore"):
        fit = bg.BayesianGaussianMixture.from_draws(tree, X, random_state=1)
    bg.save_draws(fit, tmp_path / "draws.nc")
    assert fit.datatree_.nbytes > 85e6
    assert (tmp_path / "draws.nc").stat().st_size < {3: 4e6, 10: 15e6}[n_features]
    xr.testing.assert_identical(bg.load_draws(tmp_path / "draws.nc"), fit.datatree_)


def test_a_tree_that_xarray_wrote_is_read_too(posterior_faithful, tmp_path):
    posterior_faithful.datatree_.to_netcdf(tmp_path / "whole.nc", engine="h5netcdf")
    xr.testing.assert_identical(bg.load_draws(tmp_path / "whole.nc"), posterior_faithful.datatree_)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InvalidDataError, match="There is no file"):
        bg.load_draws(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("a,b\n1,2\n")
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    for name in ("text.nc", "other.nc"):
        with pytest.raises(InvalidDataError, match="does not hold draws that bayesgmm wrote"):
            bg.load_draws(tmp_path / name)


def test_attributes_that_netcdf_lacks_are_stored_in_other_words(faithful, posterior_faithful, tmp_path, monkeypatch):
    monkeypatch.setitem(posterior_faithful.datatree_.attrs, "flag", True)
    monkeypatch.setitem(posterior_faithful.datatree_.attrs, "nothing", None)
    monkeypatch.setitem(posterior_faithful.datatree_.attrs, "thing", object)
    loaded = written_and_read(posterior_faithful, tmp_path)
    assert loaded.attrs["flag"] == 1
    assert "nothing" not in loaded.attrs
    assert "object" in loaded.attrs["thing"]
    assert posterior_faithful.datatree_.attrs["nothing"] is None
