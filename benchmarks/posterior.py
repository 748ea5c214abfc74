"""Whole posteriors: cold and warm processes, sampling alone, effective draws per second."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time

import arviz as az
import numpy as np

import bayesgmm as bg
from benchmarks.em import problem
from benchmarks.timing import Curves, Row, clock

OURS = """
import bayesgmm as bg
posterior = bg.BayesianGaussianMixture(2, draws=1000, tune=400, chains=4, cores=2, random_state=1, progressbar=False)
posterior.fit(bg.datasets.load_faithful())
print(posterior.params_.weights[..., 0].mean(), posterior.datatree_.attrs["sampling_time"])
"""
TEXTBOOK = """
import pymc as pm
from benchmarks.textbook import textbook_model
import bayesgmm as bg
with textbook_model(bg.datasets.load_faithful().to_numpy(float), 2):
    tree = pm.sample(1000, tune=400, chains=4, cores=2, random_seed=1, nuts_sampler="nutpie", progressbar=False)
print(tree["posterior"]["weights"].values.max(axis=-1).mean(), tree["posterior"].attrs["sampling_time"])
"""
NUMPYRO = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import time
import jax, jax.numpy as jnp, numpyro, numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS
import bayesgmm as bg
from benchmarks.textbook import textbook_priors
jax.config.update("jax_enable_x64", True)
X = bg.datasets.load_faithful().to_numpy(float)
priors = textbook_priors(X, 2)

def model(X):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.asarray(priors.concentration)))
    with numpyro.plate("component", 2):
        means = numpyro.sample("means", dist.Normal(jnp.asarray(priors.means_loc), jnp.asarray(priors.means_scale)).to_event(1))
        sds = numpyro.sample("sds", dist.LogNormal(jnp.asarray(priors.sds.mu), jnp.asarray(priors.sds.sigma)).to_event(1))
        factor = numpyro.sample("factor", dist.LKJCholesky(2, priors.correlations.etas[0]))
    groups = dist.MultivariateNormal(means, scale_tril=sds[..., None] * factor)
    numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(weights), groups), obs=X)

sampler = MCMC(NUTS(model), num_warmup=400, num_samples=1000, num_chains=4, chain_method="vectorized", progress_bar=False)
began = time.perf_counter()
sampler.run(jax.random.PRNGKey(1), jnp.asarray(X))
weights = jax.block_until_ready(sampler.get_samples()["weights"])
print(weights.max(axis=-1).mean(), time.perf_counter() - began)
"""


def rows(quick: bool = False) -> list[Row]:
    out = [_cold(quick)]
    if not quick:
        out += [*_warm_process(), _against_numpyro()]
    return out


def _run(code: str, **environment: str) -> tuple[float, float, float]:
    """Wall seconds of a process that runs the code, and the two numbers that it prints last: the larger weight, seconds of sampling."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment)
    weight, sampling = map(float, done.stdout.split()[-2:])
    return time.perf_counter() - began, weight, sampling


def _in_turn(peer: str, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Medians of `_run` for ours and the peer's code, after one run of each that does not count; the posteriors have to agree."""
    _run(OURS), _run(peer)
    mine, theirs = np.median([(_run(OURS), _run(peer)) for _ in range(pairs)], axis=0)
    if abs(mine[1] - theirs[1]) > 0.01:  # the weight's posterior sd is 0.03, its Monte Carlo error below 0.001
        raise AssertionError(f"the posteriors differ: {mine[1]:.3f} and {theirs[1]:.3f}")
    return mine, theirs


def _cold(quick: bool) -> Row:
    """Every cache deleted: numba compiles all kernels into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, *_ = _run(OURS, NUMBA_CACHE_DIR=folder, PYTENSOR_FLAGS=f"base_compiledir={folder}")
    return Row("fresh process, every cache deleted: import to 4 x 1000 draws of faithful", seconds, None, "", 45.0)


WARM = "fresh process, warm disk cache: import to 4 x 1000 draws of faithful"


def _warm_process() -> list[Row]:
    mine, peer = _in_turn(TEXTBOOK, 5)
    return [
        Row(WARM, mine[0], peer[0], "pm.sample, nutpie, textbook model", 8.0, note="posteriors agree"),
        Row(WARM, mine[0], None, "", 6.0),
        *_sampling_alone(peer[2]),
    ]


def _against_numpyro() -> Row:
    if importlib.util.find_spec("numpyro") is None:
        return Row(WARM, float("nan"), None, "", note="left out: NumPyro is not installed")
    mine, peer = _in_turn(NUMPYRO, 3)
    return Row(
        WARM, mine[0], peer[0], "NumPyro's NUTS, 4 chains vectorised", note=f"posteriors agree; it samples for {peer[2]:.0f} s"
    )


def growth() -> Curves:
    """Seconds of a whole fit in a warm process against N, D = 2, K = 3."""
    points = []
    for N in (100, 1_000, 10_000, 50_000):
        X, _, _ = problem(N, 2, 3)
        points.append((N, clock(lambda: _fit(X, 3, 2))))  # noqa: B023
    return Curves("posterior, 4 x (400 + 1000) draws, D = 2, K = 3, two cores", {"bayesgmm": points})


def _fit(X, K: int, cores: int, **how) -> bg.BayesianGaussianMixture:
    model = bg.BayesianGaussianMixture(K, tune=400, cores=cores, random_state=1, progressbar=False, **how)
    return model.fit(X)


def _sampling_alone(peer: float) -> list[Row]:
    X = bg.datasets.load_faithful()
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    pairs = [[_fit(X, 2, cores, init=em).datatree_.attrs["sampling_time"] for cores in (1, 2)] for _ in range(11)]
    one, two = np.median(pairs, axis=0)
    return [
        Row("faithful, sampling alone, 4 x (400 + 1000), 2 cores", two, peer, "pm.sample's sampling phase", 4.0),
        Row("faithful, sampling alone, 2 cores against 1", two, one, "ourselves on one core", 1.5),
    ]


def effective_draws(quick: bool = False) -> list[Row]:
    """Least bulk ESS of relabelled weights, means and sds per second of fit, N = 5000, D = 4, K = 4."""
    import pymc as pm

    from benchmarks.textbook import textbook_model

    X, _, _ = problem(5000, 4, 4)
    _fit(X[:100], 4, 2, draws=50)
    began = time.perf_counter()
    ours = _fit(X, 4, 2).datatree_["posterior"]
    mine = least_ess(ours) / (time.perf_counter() - began)
    began = time.perf_counter()
    with textbook_model(X, 4):
        tree = pm.sample(1000, tune=400, chains=4, cores=2, random_seed=1, nuts_sampler="nutpie", progressbar=False)
    seconds = time.perf_counter() - began
    peer = least_ess(_relabelled(tree["posterior"])) / seconds
    return [
        Row(
            "least bulk ESS of weights, means, sds per second of fit, N=5,000 D=4 K=4",
            mine,
            peer,
            "pm.sample, nutpie, textbook model",
            30.0,
            unit="ESS/s",
            higher_is_better=True,
        )
    ]


def _relabelled(posterior):
    """Sort the peer's components by their first mean, which is enough for groups that lie apart."""
    order = np.argsort(posterior["means"].values[..., 0], axis=-1)
    out = {"weights": np.take_along_axis(posterior["weights"].values, order, -1)}
    for name in ("means", "sds"):
        out[name] = np.take_along_axis(posterior[name].values, order[..., None], -2)
    return out


def least_ess(variables) -> float:
    """Return the least bulk ESS of weights, means and standard deviations, each (chain, draw, ...)."""
    values = (np.asarray(variables[name]) for name in ("weights", "means", "sds"))
    return float(min(az.ess(v.reshape(*v.shape[:2], -1)[..., i]) for v in values for i in range(int(np.prod(v.shape[2:])))))
