"""The shell and data larger than memory: fitted and predicted in chunks, on a cluster if one is named."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayesgmm as bg
import bayesgmm.em.run as iterate
from bayesgmm.cli import main
from bayesgmm.cli import predict as predicting
from bayesgmm.cli.large import OFTEN, PATIENCE, _told
from bayesgmm.cli.steps import Progress
from bayesgmm.em import Iteration

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(900, 3)) + np.array([[0.0, 0, 0], [5, 1, -2]])[rng.integers(2, size=900)]
    X[[3, 400], [1, 2]] = np.nan
    return X


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, X: np.ndarray) -> Path:
    """A folder with the rows in three Parquet files with a column too many, as .npy and as .csv."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    frame = pd.DataFrame(X, columns=NAMES).assign(note="x", times=np.arange(900) % 3)
    for i in range(3):
        frame[300 * i : 300 * (i + 1)].to_parquet(f"data/{i}.parquet", row_group_size=110)
    np.save("x.npy", X)
    frame[NAMES].to_csv("x.csv", index=False)
    return tmp_path


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command fails, and nothing written."""
    before = sorted(Path().rglob("*"))
    assert main(words) == 2
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert out == ""
    assert last.startswith("Error: ")
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before
    return last


def fit(*words: str, output: str = "model.json") -> dict:
    assert main(["fit", *words, "-k", "2", "-o", output, "--n-init", "1", "--seed", "1"]) == 0
    return json.loads(Path(output).read_text())


COLUMNS = ("--columns", "a,b,c")


class TestFit:
    @pytest.mark.parametrize("source", ["data/*.parquet", "data", "x.npy"])
    def test_is_the_fit_in_memory(self, here: Path, X: np.ndarray, capsys: pytest.CaptureFixture[str], source: str) -> None:
        model = fit(source, *(COLUMNS if source != "x.npy" else ()))
        em = bg.GaussianMixture(2, n_init=1, random_state=1).fit(X)
        for key in ("weights", "means", "covariances"):
            np.testing.assert_allclose(model[key], getattr(em.params_, key), rtol=1e-9, atol=1e-10)
        assert model["log_likelihood"] == pytest.approx(em.log_likelihood_, rel=1e-12)
        assert (model["n_rows"], model["data"], model["n_components"]) == (900, source, 2)
        assert model["feature_names"] == (NAMES if source != "x.npy" else ["x0", "x1", "x2"])
        err = capsys.readouterr().err
        assert "900 rows" in err
        second, third = model["feature_names"][1:]
        assert f"values are missing in {second} (1), {third} (1): their rows are fitted with what they have" in err
        assert "Run 1, iteration 1: log-likelihood -" in err
        assert em.message_ in err

    def test_keys_are_those_of_a_fit_in_memory(self, here: Path) -> None:
        inside = fit("data/0.parquet", *COLUMNS, "--drop-missing")
        chunked = fit("data/0.parquet", *COLUMNS)
        assert list(inside) == list(chunked)
        assert (inside["n_rows"], chunked["n_rows"]) == (299, 300)

    def test_weights_are_a_column(self, here: Path, X: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
        model = fit("data", *COLUMNS, "--weights", "times")
        em = bg.GaussianMixture(2, n_init=1, random_state=1).fit(np.repeat(X, np.arange(900) % 3, axis=0))
        np.testing.assert_allclose(model["means"], em.means_, rtol=1e-5, atol=1e-5)
        assert model["n_rows"] == 600
        assert "600 rows (300 of weight zero left out)" in capsys.readouterr().err

    def test_weights_beside_an_array(self, here: Path) -> None:
        np.save("times.npy", np.arange(900) % 3)
        by_file = fit("x.npy", "--weights", "times.npy")
        np.testing.assert_allclose(by_file["means"], fit("data", *COLUMNS, "--weights", "times")["means"], rtol=1e-9)

    def test_quiet_is_quiet(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fit("x.npy", "--quiet")
        assert capsys.readouterr().err == ""

    @pytest.fixture
    def interruptible(self) -> Iterator[None]:
        """A shell that runs tests in the background has them ignore interrupts."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.usefixtures("interruptible")
    @pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_an_interrupted_fit_goes_on(
        self,
        here: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        signal_: signal.Signals,
        code: int,
    ) -> None:
        whole = fit("x.npy", output="whole.json")
        words = ["fit", "x.npy", "-k", "2", "-o", "model.json", "--n-init", "1", "--seed", "1", "--checkpoint", "kept.npz"]
        step, taken = iterate.Stepper.step, []

        def stop(climb: iterate.Stepper) -> None:
            taken.append(climb.n_iter)
            if len(taken) == 4:
                os.kill(os.getpid(), signal_)
            step(climb)

        handler = signal.getsignal(signal.SIGTERM)
        with monkeypatch.context() as patch:
            patch.setattr(iterate.Stepper, "step", stop)
            assert main(words) == code
        assert signal.getsignal(signal.SIGTERM) is handler
        assert len(taken) == 4
        assert not Path("model.json").exists()
        assert not list(Path().glob(".*"))  # nothing half-written
        assert "--resume kept.npz" in capsys.readouterr().err
        assert fit("x.npy", "--resume", "kept.npz") == whole


class TestProgress:
    def told(self, monkeypatch: pytest.MonkeyPatch, numbers: range, pause: float, terminal: bool) -> str:
        clock, stream = [0.0], io.StringIO()
        monkeypatch.setattr("bayesgmm.cli.large.time.perf_counter", lambda: clock[0])
        progress = Progress()
        progress._console = Console(file=stream, force_terminal=terminal, width=200)
        with _told(progress) as tell:
            for number in numbers:
                tell(Iteration(1, number, -12.5, 0.25, pause))
                clock[0] += pause
        return stream.getvalue()

    @pytest.mark.parametrize(("pause", "shown"), [(OFTEN, 50), (OFTEN / 10, 5)])
    def test_lines_are_as_many_as_can_be_read(self, monkeypatch: pytest.MonkeyPatch, pause: float, shown: int) -> None:
        lines = self.told(monkeypatch, range(1, 51), pause, terminal=False).splitlines()
        assert abs(len(lines) - shown) <= 1
        assert lines[0] == f"  Run 1, iteration 1: log-likelihood -12.500000, gain 0.25, {pause:.2f} s"

    def test_a_terminal_shows_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = self.told(monkeypatch, range(1, 4), 0.01, terminal=True)
        assert "iteration 3" in text
        assert "\r" in text


class TestBadInput:
    FIT = ("fit", "-o", "model.json", "-k", "2")

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("nowhere/*.parquet",), "No file matches 'nowhere/*.parquet'."),
            (("nothing.npy",), "There is no file 'nothing.npy'."),
            (("nothing.parquet",), "'nothing.parquet'"),
            (("data", "--columns", "a,z"), "no column 'z'"),
            (("data", "--columns", "a,a"), "'a' was asked for more than once"),
            (("data",), "Column 'note' of data/0.parquet is not numeric"),
            (("x.npy", "--columns", "a"), "columns is for tables"),
            (("data", *COLUMNS, "--weights", "z"), "no column 'z'"),
            (("x.npy", "--weights", "z"), ".npy"),
            (("data", *COLUMNS, "--drop-missing"), "--drop-missing is for tables in memory"),
            (("data", *COLUMNS, "--method", "posterior"), "--method posterior reads the table into memory"),
            (("x.csv", "--scheduler", "tcp://127.0.0.1:1"), "--scheduler goes with data that are read in chunks"),
            (("faithful", "--checkpoint", "kept.npz"), "faithful is read into memory"),
            (("x.npy", "--resume", "kept.npz"), "There is no checkpoint 'kept.npz'"),
            (("x.npy", "--resume", "x.csv"), "x.csv does not hold a checkpoint"),
        ],
    )
    def test_one_sentence(self, here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str) -> None:
        assert says in fails(capsys, *self.FIT, *words)

    def test_files_with_different_columns(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pd.DataFrame({"a": [1.0], "b": [2.0]}).to_parquet("data/3.parquet")
        assert "data/3.parquet has no column 'c'; it has a, b; data/0.parquet has a, b, c." in fails(
            capsys, *self.FIT, "data", *COLUMNS
        )

    def test_another_type_in_one_file(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pd.DataFrame({"a": [1.0, 2.0], "b": [None, "two"], "c": [1, 2]}).to_parquet("data/3.parquet")
        says = fails(capsys, *self.FIT, "data", *COLUMNS)
        assert "Column 'b' of data/3.parquet is not numeric" in says
        assert "('two' in row 1 is text)" in says

    def test_empty_files_are_passed_over(self, here: Path) -> None:
        pd.DataFrame(np.empty((0, 3)), columns=NAMES).to_parquet("data/1a.parquet")
        assert fit("data", *COLUMNS)["n_rows"] == 900

    def test_nothing_but_empty_files(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("empty").mkdir()
        assert "There is no .parquet file in the folder 'empty'." in fails(capsys, *self.FIT, "empty")
        pd.DataFrame(np.empty((0, 3)), columns=NAMES).to_parquet("empty/0.parquet")
        assert "has column names but no rows" in fails(capsys, *self.FIT, "empty")
        np.save("none.npy", np.empty((0, 3)))
        assert "none.npy is empty" in fails(capsys, *self.FIT, "none.npy")

    def test_nulls_are_missing_values(self, here: Path, X: np.ndarray) -> None:
        Path("nulls").mkdir()
        columns = {name: pa.array(X[:, i], from_pandas=True) for i, name in enumerate(NAMES)}
        assert columns["b"].null_count == 1
        pq.write_table(pa.table(columns), "nulls/0.parquet")
        np.testing.assert_allclose(fit("nulls")["means"], fit("x.npy")["means"], rtol=1e-9)

    def test_a_file_that_is_no_parquet(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("data/3.parquet").write_bytes(b"PAR1 and nothing else")
        assert "data/3.parquet is not a readable Parquet file" in fails(capsys, *self.FIT, "data", *COLUMNS)

    def test_infinite_values(self, here: Path, X: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
        np.save("x.npy", np.where(np.arange(900)[:, None] == 7, np.inf, X))
        assert "x.npy has an infinite value in row 7, column 0" in fails(capsys, *self.FIT, "x.npy")

    def test_a_checkpoint_of_another_model_or_other_data(
        self, here: Path, X: np.ndarray, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fit("x.npy", "--checkpoint", "kept.npz")
        capsys.readouterr()
        again = ("x.npy", "--resume", "kept.npz", "--n-init", "1")
        assert "its n_components is 2, here it is 3" in fails(capsys, "fit", "-o", "m.json", "-k", "3", *again)
        np.save("x.npy", X[:-1])
        assert "its total weight of the rows is 900.0, here it is 899.0" in fails(capsys, *self.FIT, *again)


class TestPredict:
    MODEL = ("predict", "model.json")

    @pytest.fixture
    def em(self, here: Path, X: np.ndarray) -> bg.GaussianMixture:
        """A fit, and the same in model.json."""
        fit("data", *COLUMNS, "--quiet")
        stored = json.loads(Path("model.json").read_text())
        em = bg.GaussianMixture(2, n_init=1, random_state=1).fit(pd.DataFrame(X, columns=NAMES))
        em.params_ = bg.MixtureParams.from_covariances(stored["weights"], stored["means"], stored["covariances"])
        return em

    @pytest.mark.parametrize("source", ["data/*.parquet", "data", "x.npy", "x.csv"])
    @pytest.mark.usefixtures("em")
    def test_equals_predict_proba(
        self, em: bg.GaussianMixture, X: np.ndarray, source: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bayesgmm.rows.parquet.BATCH_ROWS", 70)
        monkeypatch.setattr("bayesgmm.rows.files.CHUNK_BYTES", 8 * 3 * 128)
        monkeypatch.setattr(predicting, "ROWS", 50)
        assert main([*self.MODEL, source, "-o", "new/out.parquet", "--quiet"]) == 0
        table = pq.read_table("new/out.parquet")
        assert table.column_names == ["component", "probability_0", "probability_1", "log_density"]
        assert table.schema.field("component").type == pa.int32()
        frame = pd.DataFrame(X, columns=NAMES)
        out = table.to_pandas()
        np.testing.assert_allclose(out[["probability_0", "probability_1"]], em.predict_proba(frame), rtol=0, atol=1e-12)
        np.testing.assert_allclose(out["log_density"], em.score_samples(frame), rtol=1e-12)
        np.testing.assert_array_equal(out["component"], em.predict(frame))
        # An independent route for complete rows: SciPy's densities of what stands in the file.
        model = json.loads(Path("model.json").read_text())
        complete = ~np.isnan(X).any(1)
        parts = zip(model["weights"], model["means"], model["covariances"], strict=True)
        logs = np.stack([np.log(w) + multivariate_normal(m, c).logpdf(X[complete]) for w, m, c in parts], axis=1)
        np.testing.assert_allclose(out["log_density"][complete], logsumexp(logs, axis=1), rtol=1e-10)

    @pytest.mark.usefixtures("em")
    def test_columns_are_found_by_name_wherever_they_stand(self, X: np.ndarray) -> None:
        Path("other").mkdir()
        pd.DataFrame(X, columns=NAMES).assign(z="?")[["z", "c", "a", "b"]].to_parquet("other/x.parquet")
        for source, output in (("other", "one.parquet"), ("data", "two.parquet")):
            assert main([*self.MODEL, source, "-o", output, "--quiet"]) == 0
        assert pq.read_table("one.parquet").equals(pq.read_table("two.parquet"))

    @pytest.mark.usefixtures("em")
    @pytest.mark.parametrize("stop", [KeyboardInterrupt, None])
    def test_stopped_leaves_what_was_there(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stop: type[BaseException] | None
    ) -> None:
        Path("out.parquet").write_text("mine")
        before, written = sorted(here.rglob("*")), []
        predictions = predicting._predictions

        def fail_later(*args: object) -> object:
            written.append(len(list(here.glob(".out.*"))))
            if len(written) == 3 and stop is not None:
                raise stop
            return predictions(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(predicting, "_predictions", fail_later)
        if stop is None:  # a file that cannot be read to its end
            broken = Path("data/2.parquet").read_bytes()
            Path("data/2.parquet").write_bytes(broken[:4] + b"\xff" * 2000 + broken[2004:])
        assert main([*self.MODEL, "data", "-o", "out.parquet"]) == (2 if stop is None else 130)
        assert written[-1] == 1  # it was on its way
        assert "data/2.parquet cannot be read" in capsys.readouterr().err or stop is not None
        assert sorted(here.rglob("*")) == before
        assert Path("out.parquet").read_text() == "mine"

    @pytest.mark.usefixtures("em")
    @pytest.mark.parametrize(
        ("source", "output", "says"),
        [
            ("nowhere/*.parquet", "out.parquet", "No file matches"),
            ("nothing.npy", "out.parquet", "There is no file 'nothing.npy'."),
            ("faithful", "out.parquet", "no column 'a'"),
            ("data", "out.csv", "the name must end in .parquet"),
            ("data", "data/1.parquet", "is one of the files that are read"),
            ("data/0.parquet", "x.npy/out.parquet", "a folder is needed"),
        ],
    )
    def test_bad_input(self, capsys: pytest.CaptureFixture[str], source: str, output: str, says: str) -> None:
        assert says in fails(capsys, *self.MODEL, source, "-o", output)

    @pytest.mark.usefixtures("em")
    def test_arrays_of_another_width_and_infinite_values(self, X: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
        np.save("x.npy", X[:, :2])
        assert "x.npy has 2 columns and the model 3: a, b, c" in fails(capsys, *self.MODEL, "x.npy", "-o", "out.parquet")
        np.save("x.npy", np.where(np.arange(900)[:, None] == 7, np.inf, X))
        assert "x.npy has an infinite value in row 7, column 0" in fails(capsys, *self.MODEL, "x.npy", "-o", "out.parquet")

    @pytest.mark.usefixtures("em")
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"weights": "half"}, "its weights are not numbers"),
            ({"weights": [0.5, 0.6]}, "add up to"),
            ({"weights": [1.0]}, "its means have shape (2, 3), not (1, 3)"),
            ({"means": [[0, 0], [1, 1]]}, "its means have shape (2, 2), not (2, 3)"),
            ({"means": [[0, 0, 0], [1, 1]]}, "its means are not numbers in rows of one length"),
            ({"means": [[0, 0, 0], [1, 1, float("nan")]]}, "its means are not all finite"),
            ({"covariances": [np.eye(3).tolist(), (-np.eye(3)).tolist()]}, "positive definite"),
            ({"feature_names": ["a", "a", "c"]}, "its feature_names are not a list of different names"),
            ({"feature_names": ["a", "b"]}, "for 2 weights and 2 columns"),
        ],
    )
    def test_a_model_that_is_wrong(self, capsys: pytest.CaptureFixture[str], change: dict[str, object], says: str) -> None:
        model = json.loads(Path("model.json").read_text())
        Path("model.json").write_text(json.dumps(model | change))
        told = fails(capsys, *self.MODEL, "data", "-o", "out.parquet")
        assert told.startswith("Error: model.json does not hold a model of bayesgmm: ")
        assert says in told

    @pytest.mark.parametrize(
        ("content", "says"),
        [("", "it is not JSON"), ("[1]", "it lacks"), ("{}", "it lacks"), ("[" * 100_000, "it is not JSON"), ("\xff", "it is")],
    )
    def test_a_file_that_is_no_model(self, here: Path, capsys: pytest.CaptureFixture[str], content: str, says: str) -> None:
        Path("model.json").write_bytes(content.encode("latin-1"))
        assert says in fails(capsys, *self.MODEL, "data", "-o", "out.parquet")

    def test_no_model(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "There is no file 'no.json'" in fails(capsys, "predict", "no.json", "data", "-o", "out.parquet")


@pytest.fixture
def listening() -> Iterator[Callable[[bytes], str]]:
    """Start something that listens at a port, sends these bytes and nothing more."""
    sockets: list[socket.socket] = []

    def start(says: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    sockets.append(connection)
                    connection.sendall(says)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"

    yield start
    for opened in sockets:
        opened.close()


class TestScheduler:
    FIT = ("fit", "x.npy", "-o", "model.json", "-k", "2", "--scheduler")

    @pytest.fixture(autouse=True)
    def needs_dask(self) -> None:
        pytest.importorskip("distributed")

    def test_a_closed_port_is_refused_at_once(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        began = time.perf_counter()
        assert f"There is no Dask scheduler at {address}: Connection refused." in fails(capsys, *self.FIT, address)
        assert time.perf_counter() - began < PATIENCE

    def test_a_port_that_says_nothing(
        self, here: Path, capsys: pytest.CaptureFixture[str], listening: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bayesgmm.cli.large.PATIENCE", 1.0)
        address, began = listening(b""), time.perf_counter()
        assert f"No Dask scheduler answered at {address} within 1 seconds." in fails(capsys, *self.FIT, address)
        assert time.perf_counter() - began < 10

    def test_something_else_listens(
        self, here: Path, capsys: pytest.CaptureFixture[str], listening: Callable[[bytes], str]
    ) -> None:
        address = listening(b"SSH-2.0-OpenSSH_9.6\r\n")
        assert f"There is no Dask scheduler at {address}: what answers there is something else." in fails(
            capsys, *self.FIT, address
        )

    @pytest.mark.parametrize("address", ["nonsense", "tcp://", "ftp://127.0.0.1:1"])
    def test_no_address(self, here: Path, capsys: pytest.CaptureFixture[str], address: str) -> None:
        assert "an address looks like tcp://10.0.0.5:8786" in fails(capsys, *self.FIT, address)

    def test_dask_is_not_installed(self, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "distributed", None)
        assert "pip install 'bayesgmm[dask]'" in fails(capsys, *self.FIT, "tcp://127.0.0.1:1")

    def test_a_cluster_fits(self, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        from distributed import LocalCluster, get_client

        monkeypatch.setattr("bayesgmm.cli.large.PATIENCE", 2.0)
        inside = fit("data", *COLUMNS)
        capsys.readouterr()
        with LocalCluster(n_workers=0, processes=False, host="127.0.0.1", protocol="tcp://", dashboard_address=":0") as cluster:
            address = cluster.scheduler_address
            assert "has no workers: start some with dask worker" in fails(capsys, *self.FIT, address)
            cluster.scale(1)
            monkeypatch.setattr("bayesgmm.cli.large.PATIENCE", 20.0)
            before = cluster.scheduler.transition_counter
            there = fit("data", *COLUMNS, "--scheduler", address)
            assert cluster.scheduler.transition_counter > before + 10  # it was the workers that did it
            capsys.readouterr()
            Path("data/9.parquet").write_bytes(b"no")
            assert "9.parquet is not a readable" in fails(capsys, *self.FIT[:1], "data", *self.FIT[2:], address)
        np.testing.assert_allclose(there["means"], inside["means"], rtol=1e-9)
        assert there["log_likelihood"] == pytest.approx(inside["log_likelihood"], rel=1e-12)
        with pytest.raises(ValueError, match="client"):
            get_client()


def test_help_does_not_load_what_it_does_not_need() -> None:
    code = (
        "import sys; from bayesgmm.cli import cli; print([m for m in ('numpy', 'pandas', 'pyarrow', 'dask') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
