"""Fits on a real cluster: a scheduler and workers in processes of their own, started and stopped here."""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesgmm import BayesianGaussianMixture, GaussianMixture, open_rows
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.rows.dask import DaskRows

distributed = pytest.importorskip("distributed")
PATIENCE = 60  # seconds until a cluster that does not come up is given up


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    rng = np.random.default_rng(12)
    return rng.normal(size=(3000, 3)) + np.array([[0.0, 0, 0], [5, 1, -2], [0, 6, 3]])[rng.integers(3, size=3000)]


@pytest.fixture(scope="module")
def em(X) -> GaussianMixture:
    return GaussianMixture(3, random_state=1).fit(X)


class Cluster:
    """`dask scheduler` and two `dask worker`, as a user would start them."""

    def __init__(self, folder):
        self.folder = folder
        self.port = _free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes = [self._start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")]
        for _ in range(2):
            self.add_worker()
        self.client = distributed.Client(self.address, timeout=PATIENCE)
        self.client.wait_for_workers(2, timeout=PATIENCE)

    def _start(self, *words):
        environment = {**os.environ, "BAYESGMM_NUM_THREADS": "1", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10"}
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def add_worker(self):
        worker = self._start(
            "worker",
            self.address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--memory-limit",
            "0",
            "--death-timeout",
            "60",
        )
        self.processes.append(worker)
        return worker

    def close(self):
        with contextlib.suppress(Exception):
            self.client.close(timeout=5)
        for process in reversed(self.processes):
            process.kill()
        for process in self.processes:
            process.wait(timeout=20)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


@pytest.fixture
def no_cluster():
    """These tests come before the cluster's, and see none."""
    assert "bayesgmm" not in str(distributed.client._get_global_client())
    with pytest.raises(ValueError, match="client"):
        distributed.get_client()


def assert_same_fit(one: GaussianMixture, other: GaussianMixture) -> None:
    np.testing.assert_allclose(other.weights_, one.weights_, rtol=1e-10)
    np.testing.assert_allclose(other.means_, one.means_, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(other.covariances_, one.covariances_, rtol=1e-8, atol=1e-9)
    assert other.log_likelihood_ == pytest.approx(one.log_likelihood_, rel=1e-12)


# Without a cluster


@pytest.mark.parametrize("chunks", [(1000, 3), (777, 2), (3000, 1)])
def test_a_dask_array_is_fitted_without_a_cluster(no_cluster, X, em, chunks):
    assert_same_fit(em, GaussianMixture(3, random_state=1).fit(da.from_array(X, chunks=chunks)))


def test_a_dask_frame_is_fitted_by_the_names_of_its_columns(no_cluster, X, em):
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]).assign(count=1.0, d=0.0), npartitions=4)
    fitted = GaussianMixture(3, random_state=1).fit(open_rows(frame, columns=["a", "b", "c"], sample_weight="count"))
    assert_same_fit(em, fitted)
    assert list(fitted.feature_names_in_) == ["a", "b", "c"]
    np.testing.assert_allclose(fitted.predict_proba(frame).compute(), em.predict_proba(X), atol=1e-9)


def test_weights_gaps_empty_and_unknown_chunks(no_cluster, X):
    gaps = X.copy()
    gaps[np.random.default_rng(1).random(X.shape) < 0.03] = np.nan
    weight = np.random.default_rng(2).integers(0, 3, len(X)).astype(float)
    inside = GaussianMixture(3, random_state=1).fit(gaps, sample_weight=weight)
    assert_same_fit(
        inside,
        GaussianMixture(3, random_state=1).fit(
            da.from_array(gaps, chunks=(900, 3)), sample_weight=da.from_array(weight, chunks=900)
        ),
    )
    array = da.from_array(X, chunks=(500, 3))
    unknown = array[array[:, 0] > -100]
    assert np.isnan(unknown.shape[0])
    empty = da.concatenate([unknown, array[array[:, 0] > 1e9], array[:0]])
    fitted = GaussianMixture(3, random_state=1).fit(empty)
    assert_same_fit(GaussianMixture(3, random_state=1).fit(X), fitted)
    table = fitted.responsibilities(empty)  # computes the sizes, once
    assert table.shape == (3000, 3)
    assert fitted.score_samples(empty).compute().shape == (3000,)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The inplace keyword")  # Dask's use of pandas
def test_predictions_are_lazy_and_keep_the_chunks(no_cluster, X, em, tmp_path):
    array = da.from_array(X, chunks=((1200, 800, 1000), (2, 1)))
    for name in ("predict_proba", "score_samples", "predict"):
        lazy = getattr(em, name)(array)
        assert isinstance(lazy, da.Array)
        assert lazy.chunks[0] == (1200, 800, 1000)
        np.testing.assert_allclose(lazy.compute(), getattr(em, name)(X), atol=1e-12)
    table = em.responsibilities(array)
    assert table.dims == ("obs", "component")
    assert table.chunks == ((1200, 800, 1000), (3,))
    table = em.responsibilities(da.from_array(X, chunks=(1000, 3)))  # Zarr wants chunks of one size
    table.to_dataset().to_zarr(tmp_path / "r.zarr", consolidated=False)
    np.testing.assert_allclose(
        xr.open_zarr(tmp_path / "r.zarr", consolidated=False).responsibilities, em.predict_proba(X), atol=1e-12
    )
    frame = em.predict_proba(array).to_dask_dataframe(columns=["p0", "p1", "p2"])
    frame.to_parquet(tmp_path / "r.parquet")
    np.testing.assert_allclose(pd.read_parquet(tmp_path / "r.parquet"), em.predict_proba(X), atol=1e-12)
    assert em.score(array) == pytest.approx(em.score(X), rel=1e-12)
    assert em.bic(array) == pytest.approx(em.bic(X), rel=1e-12)


def test_a_posterior_predicts_lazily_too(no_cluster, X):
    few = X[:150]
    posterior = BayesianGaussianMixture(2, sampler="laplace", draws=50, chains=2, random_state=1, progressbar=False).fit(few)
    lazy = posterior.responsibilities(da.from_array(few, chunks=(40, 3)))
    np.testing.assert_allclose(lazy, posterior.responsibilities(), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda X: da.from_array(X[:, 0], chunks=100), r"1 dimension\(s\)"),
        (lambda X: da.from_array(X.astype(str), chunks=(100, 3)), "not numbers"),
        (
            lambda X: da.from_array(np.where(X > 8, np.inf, X), chunks=(100, 3)),
            r"block \d+ of the Dask array .* infinite value in row",
        ),
        (
            lambda X: da.from_array(X, chunks=(100, 3)).map_blocks(lambda b: b[:, :2], dtype=float, chunks=(100, 3)),
            "3 columns are needed",
        ),
        (
            lambda X: dd.from_pandas(pd.DataFrame(X).assign(t="word"), npartitions=3),
            r"'t' of partition \d .* \('word' in row 0 is text\)",
        ),
    ],
)
def test_bad_collections_get_one_sentence(no_cluster, X, make, words):
    with pytest.raises(InvalidDataError, match=words):
        GaussianMixture(2).fit(make(X))


def test_bad_columns_and_weights_get_one_sentence(no_cluster, X):
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]), npartitions=3)
    with pytest.raises(InvalidDataError, match="no column 'z'; it has a, b, c"):
        open_rows(frame, columns=["a", "z"])
    with pytest.raises(InvalidDataError, match="same chunks, or a column's name"):
        GaussianMixture(2).fit(frame, sample_weight=np.ones(3000))
    with pytest.raises(InvalidDataError, match="has 2 chunks and X has 3"):
        GaussianMixture(2).fit(frame, sample_weight=da.ones(3000, chunks=1500))
    fitted = GaussianMixture(2, random_state=1).fit(frame)
    with pytest.raises(InvalidDataError, match="no column 'a'"):
        fitted.predict(frame[["c", "b"]])
    np.testing.assert_array_equal(
        fitted.predict(frame[["c", "b", "a"]]), fitted.predict(frame.compute())
    )  # columns are found by name
    with pytest.raises(InvalidDataError, match="infinite"):
        fitted.predict(frame.assign(a=np.inf)).compute()


# On a cluster


def test_the_cluster_gives_the_fit_in_memory(cluster, X, em):
    array = da.from_array(X, chunks=(400, 3))
    assert_same_fit(em, GaussianMixture(3, random_state=1).fit(array))


def test_files_are_read_by_the_workers(cluster, X, em, tmp_path):
    np.save(tmp_path / "x.npy", X)
    for i in range(3):
        pd.DataFrame(X[i * 1000 : (i + 1) * 1000], columns=["a", "b", "c"]).to_parquet(tmp_path / f"{i}.parquet", index=False)
    for source in (open_rows(tmp_path / "x.npy", chunk_rows=700), open_rows(tmp_path / "*.parquet")):
        assert isinstance(source, DaskRows)
        assert_same_fit(em, GaussianMixture(3, random_state=1).fit(source))
    np.testing.assert_allclose(em.predict_proba(tmp_path / "x.npy"), em.predict_proba(X), atol=1e-12)


def test_nothing_of_the_size_of_the_data_comes_back(cluster, X):
    wide = da.from_array(np.tile(X, (20, 1)), chunks=(5000, 3))
    rows = open_rows(wide)
    largest = []
    gather = cluster.client._gather

    def measured(futures, *args, **kwargs):
        result = gather(futures, *args, **kwargs)

        async def counted():
            found = await result
            largest.append(len(pickle.dumps(found)))
            return found

        return counted()

    cluster.client._gather = measured
    try:
        GaussianMixture(3, random_state=1, n_init=1).fit(rows)
    finally:
        cluster.client._gather = gather
    assert largest
    # The sample in which starts are found: 20,000 of 60,000 rows, once.
    assert sorted(largest)[-1] <= 20_000 * 3 * 8 * 1.2
    assert sorted(largest)[-2] < 20_000


def test_a_worker_that_is_killed_in_mid_fit_changes_nothing(cluster, X):
    """Its chunks are made again from what they came from, and added in the same order."""
    rng = np.random.default_rng(3)
    slow = rng.normal(size=(4000, 3)) + np.array([[0.0, 0, 0], [1.8, 0.5, 0], [0, 2.0, 0.5]])[rng.integers(3, size=4000)]
    array = da.from_array(slow, chunks=(400, 3))
    model = GaussianMixture(3, random_state=1, n_init=1, init_params="random_from_data", max_iter=60, tol=0)
    with pytest.warns(UserWarning, match="max_iter"):
        whole = GaussianMixture(**model.get_params()).fit(array)
    victim = cluster.processes[-1]
    killed = []

    import bayesgmm.em.run as iterate

    step = iterate.Stepper.step

    def step_and_kill(climb):
        if climb.n_iter == 20 and not killed:
            victim.send_signal(signal.SIGKILL)
            victim.wait(timeout=20)
            killed.append(time.monotonic())
        step(climb)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iterate.Stepper, "step", step_and_kill)
        with pytest.warns(UserWarning, match="max_iter"):
            fitted = GaussianMixture(**model.get_params()).fit(array)
    assert killed
    np.testing.assert_array_equal(fitted.means_, whole.means_)
    np.testing.assert_array_equal(fitted.log_likelihood_trace_, whole.log_likelihood_trace_)
    cluster.add_worker()
    cluster.client.wait_for_workers(2, timeout=PATIENCE)


def test_a_chunk_that_cannot_be_read_is_named(cluster, X, tmp_path):
    np.save(tmp_path / "x.npy", X)
    rows = open_rows(tmp_path / "x.npy", chunk_rows=1000)
    with (tmp_path / "x.npy").open("r+b") as stream:
        stream.truncate(128 + 24 * 1500)
    model = GaussianMixture(2)
    with pytest.raises(InvalidDataError, match=r"x.npy ends in row (1500|2000)"):
        model.fit(rows)
    assert not hasattr(model, "params_")


def test_the_posterior_is_sampled_on_the_cluster(cluster, X):
    few = X[:300]
    how = {"sampler": "laplace", "draws": 50, "chains": 2, "random_state": 1, "progressbar": False}
    inside = BayesianGaussianMixture(2, **how).fit(few)
    there = BayesianGaussianMixture(2, **how).fit(da.from_array(few, chunks=(110, 3)))
    np.testing.assert_allclose(there.params_.means, inside.params_.means, rtol=1e-4, atol=1e-4)


def test_dask_that_is_not_installed_is_not_needed():
    code = "import sys; sys.modules['dask'] = None; sys.modules['distributed'] = None\n"
    code += "import numpy as np, tempfile; from bayesgmm import GaussianMixture\n"
    code += "d = tempfile.mkdtemp(); np.save(d + '/x.npy', np.random.default_rng(0).normal(size=(50, 2)))\n"
    code += "print(GaussianMixture(1).fit(d + '/x.npy').n_features_in_)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout.strip() == "2"
