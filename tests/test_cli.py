"""The shell: what a user types, what comes back on which stream, and which exit code."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.bayes import draws as bayes
from bayesgmm.cli import main
from bayesgmm.cli.options import (
    COVARIANCE_TYPES,
    POSTERIOR_COVARIANCE_TYPES,
    SAMPLERS,
    Counts,
    Data,
    Model,
    Sampling,
    for_posterior,
    seeded,
)
from bayesgmm.cli.steps import Table, command_line
from bayesgmm.covariance import WITH_PRIORS
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.typing import CovarianceType

BAYESGMM = Path(sys.executable).with_name("bayesgmm")
SHORT = ["--draws", "150", "--tune", "150", "--chains", "2", "--random-state", "1", "--quiet"]


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on stderr with which a command fails, checked for manners."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]  # progress may come before it
    assert out == ""
    assert last.startswith("Error: ")
    assert "Traceback" not in err
    return last


class TestHelp:
    @pytest.mark.parametrize("words", [["--help"], ["-h"], ["report", "--help"], ["fit", "-h"], ["datasets", "--help"]])
    def test_help_is_a_result(self, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert out.startswith("Usage: bayesgmm")
        assert err == ""

    def test_the_version_is_the_package_s(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert bg.__version__ in capsys.readouterr().out

    def test_no_command_shows_the_help_but_did_no_job(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 2
        out, err = capsys.readouterr()
        assert (out, err.startswith("Usage: bayesgmm")) == ("", True)

    def test_datasets_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["datasets"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == list(bg.datasets.names())

    def test_names_are_those_of_the_estimators(self) -> None:
        assert get_args(CovarianceType) == COVARIANCE_TYPES
        assert POSTERIOR_COVARIANCE_TYPES == WITH_PRIORS
        assert tuple(bayes.SAMPLERS) == SAMPLERS

    def test_settings_left_out_are_left_to_the_estimator(self) -> None:
        assert Sampling(draws=5).chosen() == {"draws": 5}

    def test_a_report_is_named_after_its_file(self) -> None:
        assert Data("some/where/measurements.csv").name == "measurements"


class TestBadInput:
    FIT = ("fit", "--output", "model.json", "--components")
    REPORT = ("report", "--output", "out", "--components")

    @pytest.mark.parametrize("command", [FIT, REPORT])
    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("2", "nothing.csv"), "'nothing.csv'"),
            (("2", "faithfull"), "did you mean 'faithful'?"),
            (("2", "faithful", "--columns", "eruptions,wait"), "no column 'wait'; it has eruptions, waiting."),
            (("2", "penguins", "--columns", "species"), "none of its columns does"),
            (("2", "faithful", "--draws", "0"), "--draws"),
            (("2", "faithful", "--covariance-type", "round"), "'full', 'tied', 'diag', 'spherical'"),
            (("2", "faithful", "--nonsense"), "--nonsense"),
            (("2",), "Missing argument 'DATA'"),
        ],
    )
    def test_one_sentence_and_nothing_written(
        self,
        here: Path,
        capsys: pytest.CaptureFixture[str],
        command: tuple[str, ...],
        words: tuple[str, ...],
        says: str,
    ) -> None:
        assert says in fails(capsys, *command, *words)
        assert entries(here) == []

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("two", "faithful"), "'two' is not a valid integer"),
        ],
    )
    def test_what_fit_alone_refuses(
        self, here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
    ) -> None:
        assert says in fails(capsys, *self.FIT, *words)
        assert entries(here) == []

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("two", "faithful"), "'two' is neither a number of groups, such as 3, nor a range of them, such as 2..6."),
            (("6..2", "faithful"), "'6..2' is no range"),
            (("0..2", "faithful"), "'0..2' is no range"),
            (("1..99", "faithful"), "more than 30 numbers"),
            (("2..", "faithful"), "'2..' is neither"),
            (("2", "faithful", "--label", "species"), "no column 'species'; it has eruptions, waiting."),
            (("2", "faithful", "--columns", "eruptions", "--label", "kind"), "no column 'kind'"),
            (("2", "faithful", "--columns", "waiting", "--label", "waiting"), "no column besides waiting"),
            (
                ("2", "penguins", "--label", "species", "--known", "species"),
                "labels that the fit is given say nothing about how good",
            ),
            (("2", "faithful", "--label", "eruptions"), "eruptions has 126 different values, too many for labels"),
            (("auto", "faithful", "--sampler", "laplace"), "--sampler laplace needs a number of groups"),
        ],
    )
    def test_what_the_report_alone_refuses(
        self, here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
    ) -> None:
        assert says in fails(capsys, *self.REPORT, *words, "--draws", "20", "--tune", "20", "--chains", "2", "--quiet")
        assert entries(here) == []

    @pytest.mark.parametrize("command", [FIT, REPORT])
    @pytest.mark.parametrize("components", ["0", "-1"])
    def test_no_components(self, here: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], components: str) -> None:
        assert components in fails(capsys, *command, components, "faithful")
        assert entries(here) == []

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("", "empty"),
            ("a,b\n", "no rows"),
            ("a,b\n1,2\n", "row"),
            (
                "a,b\n1,2\n1,2\n1,2\n1,2\n",
                "No column of table.csv is left to fit: 'a' (1 in every row), 'b' (2 in every row); --columns",
            ),
            ("a,b\n1,2\n2,inf\n3,4\n5,6\n", "b"),
            ("a,b\n1,\n,2\n", "'a' and 'b'"),
            (
                "a,b\n1,2\n2,x\n",
                "These columns do not hold numbers: b; choose columns that do: --columns a. Column 'b' has 'x' in line 3, which is text",
            ),
            ('a,"b, c"\n1 cm,2\n2 cm,3\n', "--columns '\"b, c\"'"),
        ],
    )
    def test_bad_tables(self, here: Path, capsys: pytest.CaptureFixture[str], content: str, says: str) -> None:
        Path("table.csv").write_text(content)
        assert says in fails(capsys, *self.FIT, "3", "table.csv")
        assert entries(here) == ["table.csv"]

    def test_dropping_every_row(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("table.csv").write_text("a,b\n1,\n,2\n")
        assert "Every row has a missing value" in fails(capsys, *self.FIT, "1", "table.csv", "--drop-missing")

    def test_a_folder_where_a_file_should_go(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("model.json").mkdir()
        assert fails(capsys, *self.FIT, "2", "faithful").endswith("a file is to be written: model.json")

    def test_a_file_where_a_folder_should_go(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("out").write_text("mine")
        assert fails(capsys, *self.REPORT, "2", "faithful").endswith("a folder is needed: out")
        assert Path("out").read_text() == "mine"

    def test_em_has_no_draws(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "--method posterior" in fails(capsys, *self.FIT, "2", "faithful", "--save-draws", "draws.nc")

    @pytest.mark.parametrize(
        ("command", "alone"), [(REPORT, "report"), (("fit", "--method", "posterior", *FIT[1:]), "fit")], ids=["report", "fit"]
    )
    def test_a_covariance_type_that_no_posterior_has(
        self, here: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], alone: str
    ) -> None:
        says = fails(capsys, *command, "2", "faithful", "--covariance-type", "VEV")
        assert says.endswith(
            f"VEV is for EM alone (bayesgmm {alone} --method em): a posterior can have full, tied, diag, spherical."
        )
        assert entries(here) == []

    def test_an_unknown_sampler(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "guesswork" in fails(capsys, *self.REPORT, "2", "faithful", "--sampler", "guesswork")
        assert entries(here) == []


class TestEnds:
    FIT = ("fit", "faithful", "--components", "2", "--output", "model.json")

    @pytest.fixture
    def load_raises(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        def plant(error: BaseException) -> None:
            def load(*args: object) -> None:
                raise error

            monkeypatch.setattr("bayesgmm.cli.steps.load", load)

        return plant

    def test_ctrl_c(self, here: Path, load_raises: Any, capsys: pytest.CaptureFixture[str]) -> None:
        load_raises(KeyboardInterrupt())
        assert main(self.FIT) == 130
        assert capsys.readouterr().err.strip() == "Stopped."
        assert entries(here) == []

    def test_a_full_disk_is_the_user_s_to_mend(self, here: Path, load_raises: Any, capsys: pytest.CaptureFixture[str]) -> None:
        load_raises(OSError(28, "No space left on device"))
        assert fails(capsys, *self.FIT) == "Error: No space left on device"

    @pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError("not from the system"), ValueError("a bug")])
    def test_our_own_faults_show_where_they_are(self, here: Path, load_raises: Any, error: Exception) -> None:
        load_raises(error)
        with pytest.raises(type(error), match=str(error)):
            main(self.FIT)

    @pytest.mark.filterwarnings("always")
    def test_warnings_are_one_line(self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def load(*args: object) -> Table:
            warnings.warn("take care", UserWarning, stacklevel=1)
            return Table(bg.datasets.load_faithful(), None, 0)

        monkeypatch.setattr("bayesgmm.cli.steps.load", load)
        assert main([*self.FIT, "--quiet"]) == 0
        assert capsys.readouterr().err == "Warning: take care\n"


class TestFit:
    def test_what_is_written_is_the_fit(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["fit", "faithful", "-k", "2", "-o", "new/model.json", "--n-init", "2", "--seed", "3"]
        assert main(words) == 0
        out, err = capsys.readouterr()
        model = json.loads(Path("new/model.json").read_text())
        X = bg.datasets.load_faithful()
        em = bg.GaussianMixture(2, n_init=2, random_state=3).fit(X)
        assert model["feature_names"] == ["eruptions", "waiting"]
        assert (model["method"], model["n_rows"], model["random_state"]) == ("em", 272, 3)
        for key in ("weights", "means", "covariances"):
            np.testing.assert_array_equal(model[key], getattr(em.params_, key))
        # An independent route from what was written: scipy's densities.
        from scipy.stats import multivariate_normal

        parts = zip(model["weights"], model["means"], model["covariances"], strict=True)
        density = sum(weight * multivariate_normal(mean, covariance).pdf(X) for weight, mean, covariance in parts)
        assert model["log_likelihood"] == pytest.approx(np.log(density).sum(), rel=1e-10)
        assert out.splitlines()[0] == "new/model.json"
        assert f"{model['log_likelihood']:.3f}" in out
        assert "faithful: 272 rows" in err

    def test_columns_and_missing_rows(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = [
            "fit",
            "penguins",
            "--columns",
            "body_mass_g, bill_length_mm",
            "--drop-missing",
            "-k",
            "2",
            "-o",
            "m.json",
        ]
        assert main([*words, "--covariance-type", "diag"]) == 0
        model = json.loads(Path("m.json").read_text())
        assert (model["n_rows"], model["covariance_type"]) == (342, "diag")
        assert model["feature_names"] == ["body_mass_g", "bill_length_mm"]
        assert "342 rows (2 with missing values left out)" in capsys.readouterr().err

    @pytest.mark.parametrize("method", ["em", "posterior"])
    def test_rows_count_by_what_they_have(
        self, here: Path, capsys: pytest.CaptureFixture[str], faithful: pd.DataFrame, method: str
    ) -> None:
        table = faithful.mask(np.random.default_rng(0).random(faithful.shape) < 0.1)
        table.to_csv("gaps.csv", index=False)
        words = ["fit", "gaps.csv", "-k", "2", "-o", "m.json", "--seed", "1", "--method", method, "--draws", "50", "--tune", "50"]
        assert main(words if method == "posterior" else words[:-4]) == 0
        model = json.loads(Path("m.json").read_text())
        with_something = table.dropna(how="all")
        assert model["n_rows"] == len(with_something) < len(table)
        em = bg.GaussianMixture(2, random_state=1).fit(with_something)
        np.testing.assert_allclose(model["means"], em.means_, rtol=0.02 if method == "posterior" else 1e-6)
        assert f"{int(with_something.isna().to_numpy().sum())} missing values, which count for nothing" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["EEV", "VVI"])
    def test_mclust_s_families(self, here: Path, name: str) -> None:
        assert main(["fit", "faithful", "-k", "2", "-o", "m.json", "--covariance-type", name, "--n-init", "2", "--seed", "3"]) == 0
        model = json.loads(Path("m.json").read_text())
        em = bg.GaussianMixture(2, covariance_type=name, n_init=2, random_state=3).fit(bg.datasets.load_faithful())
        assert model["covariance_type"] == name
        np.testing.assert_array_equal(model["covariances"], em.params_.covariances)

    def test_quiet(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["fit", "galaxies", "-k", "3", "-o", "m.json", "--quiet"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert len(out.splitlines()) == 5  # the path, the log-likelihood and three components

    def test_an_existing_file_is_replaced_and_its_neighbours_stay(self, here: Path) -> None:
        Path("m.json").write_text("old")
        Path("mine.txt").write_text("mine")
        assert main(["fit", "galaxies", "-k", "1", "-o", "m.json", "-q"]) == 0
        assert json.loads(Path("m.json").read_text())["n_components"] == 1
        assert entries(here) == ["m.json", "mine.txt"]

    def test_posterior(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["fit", "faithful", "-k", "2", "-o", "m.json", "--method", "posterior", "--save-draws", "d.nc", *SHORT]
        assert main(words) == 0
        model = json.loads(Path("m.json").read_text())
        posterior = bg.load_draws("d.nc")["posterior"]
        assert (model["chains"], model["draws"]) == (2, 150) == (posterior.sizes["chain"], posterior.sizes["draw"])
        for key in ("weights", "means", "covariances"):
            np.testing.assert_allclose(model[key], posterior[key].mean(("chain", "draw")))
            np.testing.assert_allclose(model["sd"][key], posterior[key].std(("chain", "draw")))
        assert model["verdicts"]
        assert capsys.readouterr().out.splitlines()[-1] == model["verdicts"][-1]["sentence"]

    def test_a_posterior_s_family_by_mclust_s_name(self) -> None:
        assert for_posterior(Model(2, "VVI"), "") == Model(2, "diag")
        assert for_posterior(Model(2, "tied"), "") == Model(2, "tied")


class TestReport:
    def test_page_summary_and_draws(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = Path("reports", "mine")
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
        assert main(["report", "faithful", "--components", "2", "--output", str(folder), *SHORT]) == 0
        page, *headline = capsys.readouterr().out.splitlines()
        assert Path(page) == folder / "index.html"
        assert len(headline) == 5
        assert entries(folder) == ["index.html", "notes.txt", "posterior.nc", "summary.json"]
        assert json.loads((folder / "summary.json").read_text())
        assert "faithful" in (folder / "index.html").read_text()

    @pytest.mark.usefixtures("undrawn")
    @pytest.mark.parametrize("counts", ["2", "1..2"])
    def test_em_s_page_is_there_before_the_posterior(
        self, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, counts: str
    ) -> None:
        seen, fit = [], bg.BayesianGaussianMixture.fit

        def look_first(self: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append((entries(Path("out")), Path("out", "index.html").read_text(), self.init.log_likelihood_))
            return fit(self, *args, **kwargs)

        monkeypatch.setattr(bg.BayesianGaussianMixture, "fit", look_first)
        assert main(["report", "faithful", "-k", counts, "-o", "out", *SHORT]) == 0
        files, page, log_likelihood = seen[-1]
        assert files == ["index.html", "summary.json"]
        assert "The posterior is being computed since" in page
        assert f"{log_likelihood:,.3f}".replace("-", "−") in page
        final = Path("out", "index.html").read_text()
        assert "being computed" not in final
        assert 'id="chains"' in final
        assert 'id="chains"' not in page
        assert ("The models that were tried" in page) == (counts != "2")
        assert entries(Path("out")) == ["index.html", "posterior.nc", "summary.json"]

    @pytest.mark.usefixtures("undrawn")
    @pytest.mark.parametrize(
        ("error", "code", "says"),
        [
            (KeyboardInterrupt(), 130, "There is no posterior: it was stopped before it was done."),
            (InvalidParameterError("The priors do not fit."), 2, "There is no posterior: The priors do not fit."),
            (MemoryError(), None, "There is no posterior: MemoryError."),
        ],
    )
    @pytest.mark.parametrize("where", ["bayesgmm.estimators.BayesianGaussianMixture.fit", "bayesgmm.report.report.compare"])
    def test_em_s_page_outlives_the_posterior(
        self,
        here: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
        code: int | None,
        says: str,
        where: str,
    ) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(where, fail)
        words = ["report", "faithful", "-k", "2", "-o", "out", *SHORT]
        if code is None:  # a fault of the program's own shows where it is
            with pytest.raises(MemoryError):
                main(words)
        else:
            assert main(words) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert f"EM's report, without the posterior: {Path('out', 'index.html')}" in err
        page, summary = Path("out", "index.html").read_text(), json.loads(Path("out", "summary.json").read_text())
        assert says in page
        assert "being computed" not in page
        assert summary["posterior_missing"].startswith(says)
        assert summary["posterior"] is None
        assert summary["command"].startswith("bayesgmm report faithful --components 2")
        assert entries(Path("out")) == ["index.html", "summary.json"]

    @pytest.mark.usefixtures("undrawn")
    def test_draws_of_the_report_before_are_kept_until_there_are_new_ones(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = ["report", "faithful", "-k", "2", "-o", "out", *SHORT]
        assert main(words) == 0
        before = Path("out", "posterior.nc").read_bytes()
        assert main([*words[:6], "--method", "em", "--quiet"]) == 0
        assert entries(Path("out")) == ["index.html", "posterior.previous.nc", "summary.json"]
        assert Path("out", "posterior.previous.nc").read_bytes() == before
        assert main(words) == 0
        assert entries(Path("out")) == ["index.html", "posterior.nc", "summary.json"]

    def test_em_alone(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["report", "faithful", "-k", "2", "-o", "out", "--method", "em", "--seed", "1", "--covariance-type", "VEV"]
        assert main([*words, "--quiet"]) == 0
        page, *headline = capsys.readouterr().out.splitlines()
        assert page == str(Path("out", "index.html"))
        assert len(headline) == 4
        assert entries(Path("out")) == ["index.html", "summary.json"]
        found = json.loads(Path("out", "summary.json").read_text())
        em = bg.GaussianMixture(2, covariance_type="VEV", random_state=1).fit(bg.datasets.load_faithful())
        assert found["em"]["log_likelihood"] == em.log_likelihood_
        assert "--method em" in found["command"]
        assert "osterior" not in Path(page).read_text()

    @pytest.mark.parametrize("command", [["report", "--method", "em"], ["fit"]])
    def test_em_alone_takes_no_settings_of_a_sampler(
        self, here: Path, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        words = [*command, "faithful", "-k", "2", "-o", "out", "--draws", "100"]
        assert fails(capsys, *words) == "Error: --draws is for the posterior, which --method em leaves out."
        assert entries(here) == []

    @pytest.mark.usefixtures("undrawn")
    def test_gaps_labels_and_a_choice(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        table = bg.datasets.load_penguins()[["species", "bill_length_mm", "flipper_length_mm"]]
        table.loc[5:9, "bill_length_mm"] = np.nan
        table.to_csv("birds.csv", index=False)
        words = [
            "report",
            "birds.csv",
            "--components",
            "2..3",
            "--label",
            "species",
            "--output",
            "out",
            "--draws",
            "60",
            "--tune",
            "60",
        ]
        assert main([*words, "--chains", "2", "--seed", "1"]) == 0
        out, err = capsys.readouterr()
        assert "birds.csv: 342 rows (2 with no value at all left out)" in err
        assert "5 missing values" in err
        assert "groups, BIC takes" in err
        assert "(chosen by BIC among 2, 3)" in out
        found = json.loads(Path("out", "summary.json").read_text())
        assert (found["data"]["n_missing"], found["data"]["n_rows_with_gaps"], found["data"]["n_left_out"]) == (5, 5, 2)
        assert found["data"]["features"] == ["bill_length_mm", "flipper_length_mm"]
        assert found["known_labels"]["name"] == "species"
        assert [row["n_components"] for row in found["choice"]["models"]] == [2, 3]
        draws = "--draws 60 --tune 60 --chains 2 --random-state 1 --output report"
        assert found["command"] == f"bayesgmm report birds.csv --components 2..3 --label species {draws}"

    def test_the_command_is_ready_for_a_shell(self) -> None:
        data = Data("my table.csv", columns=("a", "b,c"), drop_missing=True, label="it's")
        words = shlex.split(command_line(data, (2, 5), Model(2, "tied", n_init=3, random_state=7), Sampling(draws=9), "both"))
        assert words[:5] == ["bayesgmm", "report", "my table.csv", "--components", "2,5"]
        given = dict(zip(words[3::2], words[4::2], strict=False))
        assert given["--columns"] == 'a,"b,c"'
        rest = ["--label", "it's", "--drop-missing", "--covariance-type", "tied", "--n-init", "3", "--draws", "9"]
        assert words[7:] == [*rest, "--random-state", "7", "--output", "report"]

    def test_a_report_always_has_a_seed(self) -> None:
        assert seeded(Model(2)).random_state is not None
        assert seeded(Model(2, random_state=3)) == Model(2, random_state=3)

    @pytest.mark.parametrize(("text", "numbers"), [("3", (3,)), ("2..4", (2, 3, 4)), ("5,2, 5", (2, 5)), (" 1 .. 1 ", (1,))])
    def test_numbers_of_groups(self, text: str, numbers: tuple[int, ...]) -> None:
        assert Counts().convert(text, None, None) == numbers


class TestInstalled:
    """The installed script in a process of its own: the exit codes that a shell sees."""

    @pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["fit", "none.csv", "-k", "1", "-o", "m.json"], 2)])
    def test_exit_codes(self, here: Path, words: list[str], code: int) -> None:
        run = subprocess.run([BAYESGMM, *words], capture_output=True, text=True, check=False)
        assert run.returncode == code
        assert "Traceback" not in run.stderr
        assert (run.stdout == "") == (code != 0)

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
    def test_ctrl_c_while_the_posterior_is_sampled(self, here: Path) -> None:
        page = Path("out", "index.html")
        words = [BAYESGMM, "report", "faithful", "-k", "2", "-o", "out", "--draws", "1000000"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            while run.poll() is None and not page.exists():
                time.sleep(0.1)
            assert "being computed" in page.read_text()
            time.sleep(2.0)
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=120)
        assert run.returncode == 130, err
        assert "it was stopped before it was done" in page.read_text()
        assert f"EM's report, without the posterior: {page}" in err.splitlines()
        assert err.splitlines()[-1] == "Stopped."
        assert out == ""

    def test_a_terminal_that_lacks_a_letter(self, here: Path) -> None:
        Path("table.csv").write_text("λ\n1\n2\n4\n", encoding="utf-8")
        words = [BAYESGMM, "fit", "table.csv", "-k", "1", "-o", "m.json"]
        environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
        run = subprocess.run(words, capture_output=True, encoding="cp1252", check=False, env=environment)
        assert run.returncode == 0, run.stderr
        assert r"\u03bb" in run.stdout
        assert json.loads(Path("m.json").read_text())["feature_names"] == ["λ"]

    def test_a_bug_shows_its_traceback(self, here: Path) -> None:
        code = (
            "import sys, bayesgmm.cli.steps as steps\n"
            "from bayesgmm.cli import main\n"
            "steps.load = None\n"
            "sys.exit(main(['fit', 'faithful', '-k', '1', '-o', 'm.json']))"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert run.returncode == 1
        assert "Traceback" in run.stderr
        assert entries(here) == []
