"""Draws of anybody's Gaussian mixture become a fit, or are refused in one sentence."""

import warnings

import numpy as np
import pymc as pm
import pytensor
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.bayes.read_draws import read_mixtures
from bayesgmm.exceptions import ConvergenceWarning, DataAdvice, InvalidDataError, InvalidParameterError
from tests.conftest import random_mixture


def random_draws(rng, K, D, shape=(2, 5)):
    mixtures = [random_mixture(rng, K, D) for _ in range(int(np.prod(shape)))]
    weights, means, covariances = (np.stack([getattr(m, name) for m in mixtures]) for name in ("weights", "means", "covariances"))
    return bg.MixtureParams.from_covariances(weights, means, covariances).reshape(*shape)


def spread_of(params, how):
    """Variables that say the covariances in one way or another."""
    corr_factor = params.scale_tril / params.sds[..., None]
    return {
        "covariances": {"cov": params.covariances},
        "scale_tril": {"chol": params.scale_tril},
        "precisions": {"tau": np.linalg.inv(params.covariances)},
        "sds": {"sigma": params.sds, "R": params.correlations},
        "factors": {"sigma": params.sds, "L_Omega": corr_factor},
        "misnamed": {"sigma": params.sds, "L": corr_factor},
        "all": {"sds": params.sds, "covariances": params.covariances, "corr": params.correlations},
    }[how]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    K=st.integers(1, 4),
    D=st.integers(1, 4),
    how=st.sampled_from(["covariances", "scale_tril", "precisions", "sds", "factors", "misnamed", "all"]),
    as_tree=st.booleans(),
)
def test_every_way_to_say_a_mixture_is_read(seed, K, D, how, as_tree):
    params = random_draws(np.random.default_rng(seed), K, D)
    arrays = {"w": params.weights, "mu": params.means, **spread_of(params, how)}
    source = arrays
    if as_tree:
        posterior = xr.Dataset(
            {name: (("chain", "draw", *(f"{name}_{i}" for i in range(v.ndim - 2))), v) for name, v in arrays.items()}
        )
        source = xr.DataTree.from_dict({"posterior": posterior.transpose(..., "draw", "chain")})
    found = read_mixtures(source, D)
    np.testing.assert_allclose(found.weights, params.weights, rtol=1e-12)
    np.testing.assert_array_equal(found.means, params.means)
    np.testing.assert_allclose(found.covariances, params.covariances, rtol=1e-6, atol=1e-8 * params.sds.max() ** 2)


def test_one_column_and_shared_spreads_come_without_axes_of_their_own():
    params = random_draws(np.random.default_rng(0), 3, 1)
    sd = params.sds[..., 0]
    plain = {"w": params.weights, "mu": params.means[..., 0]}
    for more in ({"sigma": sd}, {"tau": sd**-2}, {"covariances": sd**2}):
        np.testing.assert_allclose(read_mixtures(plain | more, 1).sds[..., 0], sd, rtol=1e-10)
    shared = read_mixtures(plain | {"sigma": sd[..., 0]}, 1)
    np.testing.assert_allclose(shared.sds[..., 0], np.repeat(sd[..., :1], 3, axis=-1))
    wide = random_draws(np.random.default_rng(0), 3, 2)
    one = read_mixtures({"w": wide.weights, "mu": wide.means, "cov": wide.covariances[:, :, 0]}, 2)
    np.testing.assert_allclose(one.covariances[:, :, 2], wide.covariances[:, :, 0], rtol=1e-10)


def test_names_may_be_one_for_each_component():
    params = random_draws(np.random.default_rng(1), 2, 3)
    arrays = {"share": params.weights, "at_0": params.means[:, :, 0], "at_1": params.means[:, :, 1]}
    arrays |= {f"S{k}": params.covariances[:, :, k] for k in range(2)}
    names = {"weights": "share", "means": ["at_0", "at_1"], "covariances": ["S0", "S1"]}
    np.testing.assert_array_equal(read_mixtures(arrays, 3, names).means, params.means)


def test_what_is_named_is_taken_whatever_else_there_is():
    """A scale of a prior is often called sigma, too."""
    params = random_draws(np.random.default_rng(1), 2, 3)
    arrays = {"w": params.weights, "mu": params.means, "cov": params.covariances, "sigma": np.full((2, 5), 7.0)}
    np.testing.assert_allclose(read_mixtures(arrays, 3, {"covariances": "cov"}).covariances, params.covariances, rtol=1e-10)
    with pytest.raises(InvalidDataError, match="say which to take"):
        read_mixtures(arrays, 3)


def changed(**changes):
    params = random_draws(np.random.default_rng(2), 2, 3)
    arrays = {"w": params.weights, "mu": params.means, "cov": params.covariances}
    return {name: v for name, v in (arrays | {k: f(params) for k, f in changes.items()}).items() if v is not None}


def with_nan(values):
    values = values.copy()
    values[1, 3] = np.nan
    return values


@pytest.mark.parametrize(
    ("source", "names", "error", "words"),
    [
        (changed(mu=lambda p: None), None, InvalidDataError, "no variable is known for the means.*there are w, cov"),
        (changed(w=lambda p: None), None, InvalidDataError, "no variable is known for the weights"),
        (changed(cov=lambda p: None), None, InvalidDataError, "says how wide components are"),
        (changed(), {"middles": "mu"}, InvalidParameterError, "no part 'middles'"),
        (changed(), {"means": "middles"}, InvalidDataError, "no variable 'middles'; they have w, mu, cov"),
        (changed(mu=lambda p: np.swapaxes(p.means, -1, -2)), None, InvalidDataError, "turn the last two round"),
        (changed(mu=lambda p: p.means[..., :2]), None, InvalidDataError, "means must have shape"),
        (changed(w=lambda p: 2 * p.weights), None, InvalidDataError, "sums lie between 2 and 2"),
        (changed(w=lambda p: p.weights[..., :1]), None, InvalidDataError, "weights must have shape"),
        (changed(mu=lambda p: with_nan(p.means)), None, InvalidDataError, "in 1 of 10 draws, first in chain 1, draw 3"),
        (changed(cov=lambda p: -p.covariances), None, InvalidDataError, "not those of a mixture: covariances must be positive"),
        (changed(cov=lambda p: p.scale_tril), None, InvalidDataError, "covariances must be symmetric"),
        (changed(cov=lambda p: None, sd=lambda p: np.log(p.sds / p.sds.max())), None, InvalidDataError, "are they logs"),
        (
            changed(cov=lambda p: None, sd=lambda p: p.sds, R=lambda p: p.covariances),
            None,
            InvalidDataError,
            "are they covariances",
        ),
        (changed(cov=lambda p: None, chol=lambda p: p.covariances), None, InvalidDataError, "must be lower triangular"),
        (
            changed(cov=lambda p: None, L=lambda p: p.scale_tril / p.sds[..., None]),
            None,
            InvalidDataError,
            "are factors of correlations .* say names=",
        ),
        (changed(sigma=lambda p: 2 * p.sds), None, InvalidDataError, "known for covariances and for sds say different widths"),
        (xr.Dataset({"w": ("sample", np.ones(3))}), None, InvalidDataError, "dims chain and draw"),
        (xr.DataTree(), None, InvalidDataError, "no group 'posterior'"),
        ([1.0], None, InvalidDataError, "draws must be an xarray.DataTree"),
    ],
)
def test_what_is_no_mixture_is_refused(source, names, error, words):
    with pytest.raises(error, match=words):
        read_mixtures(source, 3, names)


@pytest.fixture(scope="module")
def again(posterior_faithful, faithful):
    return bg.BayesianGaussianMixture.from_draws(posterior_faithful.datatree_, faithful, init=posterior_faithful.em_)


class TestWhatAFitHas:
    def test_parameters_labels_and_verdict(self, again, posterior_faithful, faithful):
        np.testing.assert_allclose(again.params_.means, posterior_faithful.params_.means, rtol=1e-12)
        np.testing.assert_allclose(again.predict_proba(faithful), posterior_faithful.predict_proba(faithful), atol=1e-9)
        assert again.priors_ is None
        assert [c.sentence for c in again.diagnose() if c.name == "convergence"] == [
            c.sentence for c in posterior_faithful.diagnose() if c.name == "convergence"
        ]
        ours, theirs = again.datatree_, posterior_faithful.datatree_
        np.testing.assert_allclose(ours["sample_stats"]["lp"], theirs["sample_stats"]["lp"])
        np.testing.assert_allclose(ours["label_free"]["log_likelihood"], theirs["label_free"]["log_likelihood"], rtol=1e-9)
        assert ours.attrs["prior"] == "unknown"

    def test_components_in_another_order_get_the_same_labels(self, posterior_faithful, faithful):
        params = posterior_faithful.params_
        flips = np.random.default_rng(0).integers(2, size=params.batch_shape)
        mixed = params.permute(np.stack([flips, 1 - flips], axis=-1))
        arrays = {"w": mixed.weights, "mu": mixed.means, "cov": mixed.covariances}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = bg.BayesianGaussianMixture.from_draws(arrays, faithful, init=posterior_faithful.em_)
        np.testing.assert_allclose(fit.params_.means, params.means, rtol=1e-12)

    def test_comparison_leave_one_out_and_report(self, again, posterior_faithful, faithful, tmp_path):
        ours = bg.compare(again.em_, again, faithful)
        assert str(ours.verdict("agreement").sentence) == str(
            bg.compare(posterior_faithful.em_, posterior_faithful, faithful).verdict("agreement").sentence
        )
        assert bg.criticism.loo(again).elpd == pytest.approx(bg.criticism.loo(posterior_faithful).elpd, rel=1e-9)
        report = bg.report.build_report(again.em_, again, faithful, name="faithful")
        assert "with them came no priors" in report.html
        assert "sampled elsewhere and read" in report.html
        assert "from_draws(draws, X, init=em)" in report.html

    def test_it_travels(self, again, faithful, tmp_path):
        again.datatree_.to_netcdf(tmp_path / "draws.nc", engine="h5netcdf")
        tree = xr.open_datatree(tmp_path / "draws.nc", engine="h5netcdf").load()
        third = bg.BayesianGaussianMixture.from_draws(tree, faithful, init=again.em_)
        np.testing.assert_allclose(third.means_, again.means_)


def test_rows_in_other_units_are_told(posterior_faithful, faithful):
    arrays = {name: posterior_faithful.datatree_["posterior"][name].values for name in ("weights", "means", "covariances")}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bg.BayesianGaussianMixture.from_draws(arrays, (faithful - faithful.mean()) / faithful.std(), random_state=1)
    told = [str(w.message) for w in caught if issubclass(w.category, DataAdvice)]
    assert any("do not seem to be in the same units" in words for words in told)


def test_draws_of_the_models_of_pymc(faithful):
    """`build_model`, and the mixture of a textbook, sampled by PyMC."""
    X = faithful.to_numpy()[::4]
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        with bg.build_model(X, 2):
            ours = pm.sample_prior_predictive(6, random_seed=1, var_names=["weights", "means", "covariances"])
        with pm.Model():
            pm.Dirichlet("w", np.ones(2))
            pm.Normal("mu", X[:, 0].mean(), 1.0, shape=2)
            pm.HalfNormal("sigma", 1.0, shape=2)
            theirs = pm.sample_prior_predictive(6, random_seed=1)
    for tree, rows in ((ours, X), (theirs, X[:, :1])):
        draws = xr.DataTree.from_dict({"posterior": tree["prior"].to_dataset()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = bg.BayesianGaussianMixture.from_draws(draws, rows, random_state=1)
        assert fit.params_.batch_shape == (1, 6)
        assert fit.predict_proba(rows).shape == (len(rows), 2)
        assert fit.diagnose()[0].passed is False
