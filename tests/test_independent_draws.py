"""What draws that are no chains may be asked."""

import arviz as az
import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.bayes.draws import SAMPLERS
from bayesgmm.bayes.laplace import log_densities
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.diagnostics import convergence_table, diagnose, does_not_apply, stack
from bayesgmm.diagnostics.convergence import require_valid
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError


@pytest.fixture(scope="module")
def laplace_faithful(faithful):
    return bg.BayesianGaussianMixture(2, sampler="laplace", random_state=1, progressbar=False).fit(faithful)


def judge(name, **attrs):
    """The verdict on draws of a given kind, with two populations of 500."""
    draws = np.random.default_rng(0).normal(size=(2, 500))
    groups = {group: xr.Dataset({"log_likelihood": (("chain", "draw"), draws)}) for group in ("label_free", "posterior")}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"draws": name, **attrs}
    return tree, diagnose(tree)


class TestSchema:
    def test_the_same_tree_as_hmc(self, laplace_faithful, posterior_faithful):
        ours, theirs = laplace_faithful.datatree_, posterior_faithful.datatree_
        assert set(ours.children) == set(theirs.children)
        for name in ("posterior", "unlabelled_posterior", "label_free", "log_likelihood"):
            for variable in theirs[name].data_vars:
                assert ours[name][variable].dims == theirs[name][variable].dims
        for coord in ("component", "feature", "feature_bis"):
            np.testing.assert_array_equal(ours["posterior"][coord], theirs["posterior"][coord])
        of_hmc = {"cycles_per_draw", "length_given_labels", "length_given_rows"}
        assert set(theirs.attrs) - of_hmc <= set(ours.attrs)

    def test_attrs_say_what_it_is(self, laplace_faithful, posterior_faithful, tmp_path):
        attrs = laplace_faithful.datatree_.attrs
        assert (attrs["inference"], attrs["draws"], attrs["prior"]) == ("laplace", "independent", "model")
        assert posterior_faithful.datatree_.attrs["draws"] == "chains"
        laplace_faithful.datatree_.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
        again = xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf").load()
        assert again.attrs["pareto_k"] == attrs["pareto_k"]

    def test_lp_is_the_posterior_in_the_users_units(self, laplace_faithful, faithful):
        X, kind = np.ascontiguousarray(faithful, dtype=float), family("full")
        density = LogPosterior(X, Space(laplace_faithful.priors_, kind))
        expected = log_densities(density, density.space.unconstrain(laplace_faithful.params_[0, :20]))
        np.testing.assert_allclose(laplace_faithful.datatree_["sample_stats"]["lp"][0, :20], expected, rtol=1e-9)

    def test_comparison_and_prediction_work(self, laplace_faithful, faithful):
        comparison = bg.compare(laplace_faithful.em_, laplace_faithful)
        assert comparison.verdict("agreement").passed
        assert "Pareto k" in str(comparison)
        assert laplace_faithful.responsibilities(faithful).shape == (272, 2)


class TestValidity:
    def test_r_hat_and_ess_do_not_apply_to_independent_draws(self, laplace_faithful):
        tree = laplace_faithful.datatree_
        table = convergence_table(tree)
        assert table[["r_hat", "ess_bulk", "ess_tail", "mcse_mean"]].isna().all(axis=None)
        assert np.isfinite(table["sd"]).all()
        assert "R-hat does not apply" in table.attrs["r_hat"]
        checks = {check.name: check for check in laplace_faithful.diagnose()}
        assert checks["convergence"].passed
        assert checks["convergence"].sentence.startswith("Reliable (laplace, independent draws)")
        for name in ("r_hat", "ess"):
            assert checks[name].threshold is None
            assert "does not apply" in checks[name].sentence
        with pytest.raises(InvalidDataError, match="R-hat does not apply"):
            require_valid(tree, "r_hat")
        with pytest.raises(InvalidDataError, match="Stacking of chains does not apply"):
            laplace_faithful.stacking()
        assert does_not_apply(tree, "loo") is None
        assert np.isfinite(az.loo(tree).elpd)

    @pytest.mark.parametrize(("kind", "draws"), [("nonparametric", "bootstrap"), ("sandwich", "sampling")])
    def test_psis_loo_refuses_ems_draws(self, em_faithful, kind, draws):
        tree = em_faithful.sampling_distribution(kind, n_draws=5)
        assert tree.attrs["draws"] == draws
        with pytest.raises(InvalidDataError, match=r"PSIS-LOO does not apply.*not draws of a posterior"):
            stack(tree)
        assert not diagnose(tree)[0].passed

    def test_chains_are_asked_everything(self, posterior_faithful):
        for question in ("r_hat", "ess", "loo", "stacking", "power_scaling"):
            require_valid(posterior_faithful.datatree_, question)

    def test_few_draws_ask_for_a_smaller_k(self):
        assert judge("independent", pareto_k=0.65, importance_ess=500.0)[1][0].passed is True
        tree, _ = judge("independent", pareto_k=0.65, importance_ess=500.0)
        few = tree.isel(draw=slice(0, 50))
        few.attrs = tree.attrs
        assert diagnose(few)[0].passed is False

    @pytest.mark.parametrize(
        ("attrs", "words"),
        [
            ({"pareto_k": 0.9}, "Pareto k 0.90"),
            ({"pareto_k": np.nan}, "Pareto k nan"),
            ({"pareto_k": 0.1, "importance_ess": 9.0}, "only 9"),
        ],
    )
    def test_planted_failures_of_weights(self, attrs, words):
        verdict = judge("independent", **attrs)[1][0]
        assert not verdict.passed
        assert words in verdict.sentence


def test_every_sampler_is_offered_and_weights_are_refused_where_unknown(faithful):
    for name in SAMPLERS:
        assert bg.BayesianGaussianMixture(2, sampler=name).sampler == name
    for name in ("pymc", "gibbs"):
        fit = bg.BayesianGaussianMixture(2, sampler=name, progressbar=False)
        with pytest.raises(InvalidParameterError, match=f"sampler='{name}' .* complete rows that count once"):
            fit.fit(faithful, sample_weight=np.ones(len(faithful)))
    with pytest.raises(InvalidParameterError, match="'laplace'"):
        bg.BayesianGaussianMixture(2, sampler="guesswork").fit(faithful)
    with pytest.raises(InvalidParameterError, match="sampler_options are for sampler='pymc'; sampler='hmc' takes none"):
        bg.BayesianGaussianMixture(2, sampler_options={"target_accept": 0.9}).fit(faithful)
