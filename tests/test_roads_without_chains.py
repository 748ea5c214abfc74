"""What draws that are no chains may be asked, and PyMC's roads to such draws."""

import sys
from types import ModuleType

import arviz as az
import numpy as np
import pytensor
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.bayes import pymc_road
from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.draws import SamplerSettings
from bayesgmm.bayes.importance import log_densities, pareto_smoothed
from bayesgmm.bayes.laplace import laplace
from bayesgmm.bayes.model import build_resolved
from bayesgmm.bayes.pymc_without_chains import sample_advi, sample_pathfinder, sample_smc
from bayesgmm.bayes.roads import ROADS
from bayesgmm.bayes.space import Space
from bayesgmm.covariance import family
from bayesgmm.diagnostics import convergence_table, diagnose, does_not_apply, require_valid, stack
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.priors import Priors


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
    def test_the_same_tree_as_nuts(self, laplace_faithful, posterior_faithful):
        ours, theirs = laplace_faithful.datatree_, posterior_faithful.datatree_
        assert set(ours.children) == set(theirs.children)
        for name in ("posterior", "unlabelled_posterior", "label_free", "log_likelihood"):
            for variable in theirs[name].data_vars:
                assert ours[name][variable].dims == theirs[name][variable].dims
        for coord in ("component", "feature", "feature_bis"):
            np.testing.assert_array_equal(ours["posterior"][coord], theirs["posterior"][coord])
        assert set(theirs.attrs) <= set(ours.attrs)

    def test_attrs_say_what_it_is(self, laplace_faithful, posterior_faithful, tmp_path):
        attrs = laplace_faithful.datatree_.attrs
        assert (attrs["inference"], attrs["draws"], attrs["prior"]) == ("laplace", "independent", "model")
        assert posterior_faithful.datatree_.attrs["draws"] == "chains"
        laplace_faithful.datatree_.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
        again = xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf").load()
        assert again.attrs["pareto_k"] == attrs["pareto_k"]

    def test_lp_is_the_posterior_in_the_users_units(self, laplace_faithful, faithful):
        X, kind = np.ascontiguousarray(faithful, dtype=float), family("full")
        density = LogPosterior(X, Space(2, 2, kind), laplace_faithful.priors_)
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

    def test_populations_are_compared_with_each_other(self):
        tree, checks = judge("particles")
        assert checks[0].passed
        assert "ess" in {check.name for check in checks if "does not apply" in check.sentence}
        apart = tree["label_free"].to_dataset() + xr.DataArray([0.0, 3.0], dims="chain")
        moved = xr.DataTree.from_dict({"label_free": apart})
        moved.attrs = tree.attrs
        assert "populations disagree" in diagnose(moved)[0].sentence
        alone = xr.DataTree.from_dict({"label_free": apart.isel(chain=[0])})
        alone.attrs = tree.attrs
        assert "cannot be judged" in diagnose(alone)[0].sentence


@pytest.fixture(scope="module")
def line():
    """Two groups on a line: the density, its mode, and the normal distribution there."""
    X = MixtureParams.from_covariances([0.6, 0.4], [[-2.0], [2.0]], [[[1.0]], [[1.0]]]).sample(80, random_state=3)[0]
    kind = family("tied")
    density = LogPosterior(X, Space(2, 1, kind), Priors().resolve(X, 2, kind))
    start = density.space.unconstrain(MixtureParams.from_covariances([0.6, 0.4], [[-2.0], [2.0]], [[[1.0]], [[1.0]]]))
    return density, start, laplace(density, start[None])


@pytest.fixture
def interpreted():
    """Run graphs node by node in Python: compiling them takes longer than these few steps."""
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        yield


def how(**changes):
    return SamplerSettings(
        **({"draws": 150, "tune": 10, "chains": 2, "cores": 1, "seed": 1, "progressbar": False, "jitter": 0.1} | changes)
    )


class TestPyMC:
    def test_smc_finds_the_posterior_and_its_evidence(self, interpreted):
        """One group, whose posterior is close to normal: importance sampling from Laplace's approximation knows it well."""
        X, kind = np.random.default_rng(0).normal(size=(25, 1)), family("full")
        density = LogPosterior(X, Space(1, 1, kind), Priors().resolve(X, 1, kind))
        start = np.zeros((2, 2))
        normal = laplace(density, start)
        q, log_q = normal.draw(4000, np.random.default_rng(0))
        log_weight = log_densities(density, q) - log_q
        assert pareto_smoothed(log_weight).pareto_k < 0.5
        weight = np.exp(log_weight - log_weight.max())
        mean = weight @ q / weight.sum()
        sd = np.sqrt(weight @ (q - mean) ** 2 / weight.sum())
        draws = sample_smc(density, start, how())
        assert draws.params.batch_shape == (2, 150)
        ours = density.space.unconstrain(draws.params).reshape(-1, 2)
        np.testing.assert_allclose(draws.statistics["lp"].ravel(), log_densities(density, ours))
        assert (np.abs(ours.mean(0) - mean) < 0.4 * sd).all()
        np.testing.assert_allclose(ours.std(0), sd, rtol=0.3)
        evidence = log_weight.max() + np.log(weight.mean())
        assert draws.details["log_marginal_likelihood"] == pytest.approx(evidence, abs=0.5)

    def test_advi_is_weighted_to_the_posterior(self, line, interpreted):
        density, start, normal = line
        draws = sample_advi(density, start[None], how(tune=20))
        assert draws.params.batch_shape == (1, 300)
        assert draws.details["pareto_k"] < 0.7
        sd = np.sqrt(np.diag(normal.factor @ normal.factor.T))
        q = density.space.unconstrain(draws.params)[0]
        assert (np.abs(q.mean(0) - normal.center) < sd).all()

    def test_pathfinder_says_what_to_install(self, line, monkeypatch):
        monkeypatch.setattr(pymc_road, "find_spec", lambda name: None)
        with pytest.raises(
            InvalidParameterError, match=r"needs pymc_extras, which is not installed: pip install .*pymc-extras.*'auto'"
        ):
            sample_pathfinder(line[0], line[1][None], how())

    def test_pathfinders_draws_are_handed_on(self, line, monkeypatch):
        """A stand-in for pymc-extras: what it is asked, and that what it answers in its tree becomes draws."""
        density, start, normal = line
        asked = {}

        def fit_pathfinder(**options):
            asked.update(options)
            drawn = density.space.constrain(normal.draw(options["num_draws"], np.random.default_rng(0))[0][None])
            names = {"weights": drawn.weights, "means": drawn.means, "sds": density.space.free_sds(drawn)}
            dims = {"weights": "k", "means": "kd", "sds": "d"}
            posterior = xr.Dataset({name: (("chain", "draw", *dims[name]), values) for name, values in names.items()})
            return xr.DataTree.from_dict({"posterior": posterior, "pathfinder": xr.Dataset({"pareto_k": 0.2})})

        module = ModuleType("pymc_extras")
        module.fit_pathfinder = fit_pathfinder
        monkeypatch.setitem(sys.modules, "pymc_extras", module)
        monkeypatch.setattr(pymc_road, "find_spec", lambda name: name)
        draws = sample_pathfinder(density, start[None], how())
        assert (asked["num_draws"], asked["num_paths"]) == (300, 2)
        assert draws.params.batch_shape == (1, 300)
        assert draws.details["pareto_k"] == 0.2
        np.testing.assert_allclose(asked["initvals"]["means"], [[-2.0], [2.0]])

    def test_the_models_variables_come_in_the_order_of_the_space(self):
        """ADVI's mean and covariance are taken as they come."""
        X, kind = np.random.default_rng(0).normal(size=(20, 3)), family("full")
        model = build_resolved(X, 2, kind, Priors().resolve(X, 2, kind), ["a", "b", "c"])
        sizes = [int(np.prod(value.shape)) for value in model.initial_point().values()]
        assert sizes == list(Space(2, 3, kind).sizes)


def test_every_road_is_offered_and_weights_are_refused_where_unknown(faithful):
    for name in ROADS:
        assert bg.BayesianGaussianMixture(2, sampler=name).sampler == name
    for name in ("smc", "advi", "gibbs"):
        fit = bg.BayesianGaussianMixture(2, sampler=name, progressbar=False)
        with pytest.raises(InvalidParameterError, match=f"sampler='{name}' .* complete rows that count once"):
            fit.fit(faithful, sample_weight=np.ones(len(faithful)))
    with pytest.raises(InvalidParameterError, match="'laplace'"):
        bg.BayesianGaussianMixture(2, sampler="guesswork").fit(faithful)
