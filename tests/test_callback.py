"""nutpie on our C callbacks: its private names are where we expect them, the draws follow a known law, seeds and cores."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats

from bayesgmm.bayes import nutpie_callback, nuts
from bayesgmm.bayes.draws import STATISTICS, SamplerSettings
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.nuts import sample_nuts
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.priors import HalfNormal, Priors
from bayesgmm.rows import MemoryRows


@pytest.fixture(scope="module")
def normal_problem():
    """One component in one dimension: the posterior of mean and sd can be integrated on a grid."""
    X = np.random.default_rng(5).normal(1.0, 2.0, size=(25, 1))
    fam = family("full")
    priors = Priors(sds=HalfNormal(3.0), means_loc=0.0, means_scale=5.0).resolve(MemoryRows(X), 1, fam)
    return LogPosterior(X, Space(priors, fam))


def run(density, **changes):
    how = {"jitter": 0.1, "draws": 1500, "tune": 500, "chains": 4, "cores": 2, "seed": 3, "progressbar": False} | changes
    callback = how.pop("callback", "c")
    return sample_nuts(density, np.zeros((how["chains"], density.space.n_dim)), SamplerSettings(**how), callback=callback)


def test_nutpie_still_has_the_private_names_we_use():
    """If this fails, nutpie has changed inside: adapt bayesgmm/bayes/nutpie_callback.py and the version range in pyproject.toml."""
    from nutpie import _lib
    from nutpie.sample import CompiledModel

    for owner, name in [
        (_lib, "PySampler"),
        (_lib.PySampler, "from_pymc"),
        (_lib, "PyMcModel"),
        (_lib, "LogpFunc"),
        (_lib, "ExpandFunc"),
        (_lib.PyVariable, "new_variables"),
        (CompiledModel, "_make_sampler"),
    ]:
        assert hasattr(owner, name), f"nutpie no longer has {name}"


def test_draws_follow_the_grid_posterior(normal_problem):
    """Mean and sd of both parameters against a brute-force grid integral; tolerance five Monte Carlo standard errors."""
    import arviz as az

    draws = run(normal_problem)
    mu = np.linspace(-2.5, 4.5, 500)
    sd = np.linspace(0.8, 5.5, 500)
    X = normal_problem.X[:, 0]
    residual = ((X[:, None] - mu) ** 2).sum(0)
    log_p = -len(X) * np.log(sd)[None, :] - residual[:, None] / (2 * sd[None, :] ** 2)
    log_p += stats.norm(0, 5).logpdf(mu)[:, None] + stats.halfnorm(scale=3).logpdf(sd)[None, :]
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    for values, grid, marginal in [(draws.params.means, mu, p.sum(1)), (draws.params.sds, sd, p.sum(0))]:
        chains = values.reshape(4, 1500)
        assert az.ess(chains) > 1000
        mean = (marginal * grid).sum()
        assert chains.mean() == pytest.approx(mean, abs=5 * az.mcse(chains))
        spread = np.sqrt((marginal * (grid - mean) ** 2).sum())
        assert chains.std() == pytest.approx(spread, abs=5 * az.mcse(chains, method="sd") + 1e-3)


def test_statistics_have_pymcs_names_and_shapes(normal_problem):
    draws = run(normal_problem, draws=50)
    assert set(STATISTICS) <= set(draws.statistics)
    assert {v.shape for v in draws.statistics.values()} == {(4, 50)}
    assert not draws.statistics["diverging"].any()
    q = normal_problem.space.unconstrain(draws.params)
    expected = [normal_problem(point)[0] for point in q.reshape(-1, 2)]
    np.testing.assert_allclose(draws.statistics["lp"].ravel(), expected, rtol=1e-9)


def test_same_seed_same_bits_whatever_the_cores(normal_problem):
    one, two = run(normal_problem, draws=100, cores=1), run(normal_problem, draws=100, cores=2)
    np.testing.assert_array_equal(one.params.means, two.params.means)
    other = run(normal_problem, draws=100, seed=4)
    assert not np.array_equal(one.params.means, other.params.means)
    assert not np.array_equal(one.params.means[0], one.params.means[1])


def test_the_way_through_python_gives_the_same_draws(normal_problem):
    c, python = (run(normal_problem, draws=50, tune=100, chains=2, callback=how) for how in ("c", "python"))
    np.testing.assert_allclose(python.params.means, c.params.means, rtol=1e-9)
    assert set(python.statistics) == set(c.statistics)


def test_a_changed_nutpie_is_said_and_survived(normal_problem, monkeypatch):
    monkeypatch.delattr(nutpie_callback._lib, "LogpFunc")
    with pytest.warns(UserWarning, match="nutpie .* has changed inside"):
        draws = run(normal_problem, draws=20, tune=50, chains=2)
    assert draws.params.batch_shape == (2, 20)


def test_a_point_of_the_wrong_length_is_refused(normal_problem):
    with pytest.raises(ValueError, match="length 2"):
        normal_problem(np.zeros(3))


def interrupted(last, announced="ready", pause=1.0):
    """Run a fit that would take very long, interrupt it, and return its output, its errors and the seconds that it took to end."""
    code = (
        # A process started in the background of a shell inherits that interrupts are ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import bayesgmm as bg\n"
        "X = bg.datasets.load_faithful()\n"
        "em = bg.GaussianMixture(3, random_state=1).fit(X)\n"
        "bg.BayesianGaussianMixture(3, init=em, draws=20, tune=20, random_state=1, progressbar=False).fit(X)\n"
        f"print('ready', flush=True)\n{last}"
    )
    command = [sys.executable, "-X", "faulthandler", "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(pause)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        output, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # the fault handler then says where it hangs
        output, errors = process.communicate()
    return output, errors, time.monotonic() - began


LONG = "bg.BayesianGaussianMixture(3, init=em, draws={}, chains=2, random_state=1, progressbar=False{}).fit(X)\n"


def test_an_interrupt_returns_at_once():
    """Ctrl-C in the middle of very many draws: the process ends within seconds, with Python's own exception."""
    _, errors, seconds = interrupted(LONG.format(2_000_000, ""))
    assert "KeyboardInterrupt" in errors, errors
    assert seconds < 10


def test_what_is_finished_is_kept_if_asked():
    """As many draws as there were; of a fit that could not have ended by itself in that time."""
    fit = LONG.format(400_000, ", keep_interrupted=True")
    output, errors, _ = interrupted(f"fit = {fit}print(*fit.params_.batch_shape, fit.datatree_.attrs['interrupted'])", pause=4.0)
    assert "sampling was interrupted; " in errors, errors
    chains, draws, mark = map(int, output.split())
    assert 1 <= chains <= 2
    assert 4 <= draws < 400_000
    assert mark == 1
    assert f"{draws:,} draws of {chains} chain" in errors


def test_chains_that_lag_behind_are_left_out():
    chains = [(np.arange(2.0 * n).reshape(n, 2), {"lp": np.arange(n)}) for n in (100, 40, 60, 0)]
    kept = nuts._usable(chains)
    assert [len(q) for q, _ in kept] == [60, 60]
    np.testing.assert_array_equal(kept[1][1]["lp"], np.arange(60))
    with pytest.raises(KeyboardInterrupt, match="during the warm-up"):
        nuts._usable(chains[3:])
