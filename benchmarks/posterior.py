"""Whole posteriors: cold and warm processes, sampling alone, effective draws per second."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import arviz as az
import numpy as np

import bayesgmm as bg
from benchmarks.em import problem
from benchmarks.timing import Row

OURS = """
import bayesgmm as bg
posterior = bg.BayesianGaussianMixture(2, draws=1000, tune=400, chains=4, cores=2, random_state=1, progressbar=False)
posterior.fit(bg.datasets.load_faithful())
print(posterior.datatree_.attrs["sampling_time"])
"""
TEXTBOOK = """
import pymc as pm
from benchmarks.textbook import textbook_model
import bayesgmm as bg
with textbook_model(bg.datasets.load_faithful().to_numpy(float), 2):
    tree = pm.sample(1000, tune=400, chains=4, cores=2, random_seed=1, nuts_sampler="nutpie", progressbar=False)
print(tree["posterior"].attrs["sampling_time"])
"""


def rows(quick: bool = False) -> list[Row]:
    out = [_cold(quick)]
    if not quick:
        out += _warm_process()
    return out


def _run(code: str, **environment: str) -> tuple[float, float]:
    """Wall seconds of a process that runs the code, and the number it prints last."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment)
    return time.perf_counter() - began, float(done.stdout.split()[-1])


def _cold(quick: bool) -> Row:
    """Every cache deleted: numba compiles all kernels into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = _run(OURS, NUMBA_CACHE_DIR=folder, PYTENSOR_FLAGS=f"base_compiledir={folder}")
    return Row("fresh process, every cache deleted: import to 4 x 1000 draws of faithful", seconds, None, "", 45.0)


def _warm_process() -> list[Row]:
    _run(OURS), _run(TEXTBOOK)
    pairs = [(_run(OURS), _run(TEXTBOOK)) for _ in range(3)]
    (mine, _), (peer, sampling) = (np.median(times, axis=0) for times in zip(*pairs, strict=True))
    work = "fresh process, warm disk cache: import to 4 x 1000 draws of faithful"
    return [
        Row(work, mine, peer, "pm.sample, nutpie, textbook model", 8.0),
        Row(work, mine, None, "", 6.0),
        *_sampling_alone(sampling),
    ]


def _fit(X, K: int, cores: int, **how) -> bg.BayesianGaussianMixture:
    model = bg.BayesianGaussianMixture(K, tune=400, cores=cores, random_state=1, progressbar=False, **how)
    return model.fit(X)


def _sampling_alone(peer: float) -> list[Row]:
    X = bg.datasets.load_faithful()
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    pairs = [[_fit(X, 2, cores, init=em).datatree_.attrs["sampling_time"] for cores in (1, 2)] for _ in range(7)]
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
    mine = _least_ess(ours) / (time.perf_counter() - began)
    began = time.perf_counter()
    with textbook_model(X, 4):
        tree = pm.sample(1000, tune=400, chains=4, cores=2, random_seed=1, nuts_sampler="nutpie", progressbar=False)
    seconds = time.perf_counter() - began
    peer = _least_ess(_relabelled(tree["posterior"])) / seconds
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


def _least_ess(variables) -> float:
    values = (np.asarray(variables[name]) for name in ("weights", "means", "sds"))
    return float(min(az.ess(v.reshape(*v.shape[:2], -1)[..., i]) for v in values for i in range(int(np.prod(v.shape[2:])))))
