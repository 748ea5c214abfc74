"""Calibration: its yardstick is right, it passes what is right, and it catches what is wrong."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bayesgmm.covariance import family
from bayesgmm.diagnostics import label_free
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.priors import Priors
from bayesgmm.report.figures import Figure
from bayesgmm.rows import MemoryRows
from benchmarks.calibration.__main__ import main
from benchmarks.calibration.coverage import CELLS, Cell, Coverage, Held, run_cell
from benchmarks.calibration.page import Studies, page, write
from benchmarks.calibration.ranks import envelope, judge_ranks
from benchmarks.calibration.reliability import SMALL_SAMPLES, Reliability, measure_reliability, run_small_sample
from benchmarks.calibration.sbc import (
    CONTROLS,
    DESIGNS,
    LEVELS,
    N_DRAWS,
    SBC,
    Group,
    held,
    held_by_normal,
    quantities,
    quantities_of_truth,
    rank,
    run_replicate,
    run_sbc,
    share_held,
)
from tests.conftest import scipy_log_likelihood

N_RANKS = N_DRAWS + 1
SMALL = replace(DESIGNS[0], n_rows=40)


@pytest.fixture(scope="module")
def small() -> SBC:
    """A right design and a wrong prior, few replicates of each."""
    wrong = replace(CONTROLS[0], n_rows=40)
    return run_sbc(16, designs=[SMALL, wrong], n_jobs=1, random_state=3)


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures: drawing takes seconds, and the first test of the page draws them all."""
    for name in ("draw_ranks", "draw_coverage"):
        monkeypatch.setattr(f"benchmarks.calibration.page.{name}", lambda group: Figure("data:,", group.design.title, True))


# --- the yardstick ---


def test_uniform_ranks_are_called_uneven_as_often_as_the_level_says(rng: np.random.Generator) -> None:
    p = np.array([judge_ranks(rng.integers(N_RANKS, size=60), N_RANKS).p_value for _ in range(1000)])
    # Counts of a discrete statistic: at most as often as the level, and not much less.
    for level in (0.05, 0.2, 0.5):
        assert abs((p <= level).mean() - level) < 4 * np.sqrt(level * (1 - level) / len(p)) + 0.02


def test_the_envelope_holds_whole_lines_as_often_as_it_claims(rng: np.random.Generator) -> None:
    lower, upper = envelope(80, N_RANKS, 0.9)
    ranks = rng.integers(N_RANKS, size=(4000, 80))
    ecdf = (ranks[:, None, :] <= np.arange(N_RANKS)[:, None]).mean(-1)
    inside = ((ecdf >= lower) & (ecdf <= upper)).all(1).mean()
    assert inside == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 4000) + 0.01)


def test_p_value_and_envelope_agree(rng: np.random.Generator) -> None:
    lower, upper = envelope(50, N_RANKS, 0.95)
    for _ in range(200):
        found = judge_ranks(np.minimum(rng.integers(N_RANKS, size=50), rng.integers(60, N_RANKS)), N_RANKS)
        inside = ((found.ecdf >= lower) & (found.ecdf <= upper)).all()
        assert inside == (found.p_value > 0.05) or abs(found.p_value - 0.05) < 0.005


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((2.0, 2.0), id="intervals too wide"),
        pytest.param((0.5, 0.5), id="intervals too narrow"),
        pytest.param((1.0, 1.6), id="shifted"),
    ],
)
def test_uneven_ranks_are_found(shape: tuple[float, float], rng: np.random.Generator) -> None:
    ranks = (rng.beta(*shape, size=200) * N_RANKS).astype(int)
    found = judge_ranks(ranks, N_RANKS)
    assert found.p_value < 0.001
    assert found.chi_square_p_value < 0.01


def test_chi_square_is_scipys() -> None:
    ranks = np.arange(200) ** 2 % N_RANKS
    expected = stats.chisquare(np.histogram(ranks, 20, (0, N_RANKS))[0]).pvalue
    assert judge_ranks(ranks, N_RANKS).chi_square_p_value == pytest.approx(expected, rel=1e-12)
    assert np.isnan(judge_ranks([3], N_RANKS).chi_square_p_value)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, N_RANKS - 1), min_size=30, max_size=30))
def test_turning_ranks_round_changes_no_p_value(ranks: list[int]) -> None:
    turned = [N_RANKS - 1 - rank for rank in ranks]
    assert judge_ranks(ranks, N_RANKS).p_value == judge_ranks(turned, N_RANKS).p_value


@pytest.mark.parametrize("ranks", [[], [-1], [N_RANKS]])
def test_impossible_ranks_are_refused(ranks: list[int]) -> None:
    with pytest.raises(InvalidParameterError, match="ranks must be"):
        judge_ranks(ranks, N_RANKS)


def test_a_draw_among_draws_has_a_uniformrank(rng: np.random.Generator) -> None:
    ranks = [rank(rng.normal(size=(2, 300)), rng.normal(), rng) for _ in range(400)]
    assert judge_ranks(ranks, N_RANKS).p_value > 0.01
    equal = [rank(np.zeros((2, 300)), 0.0, rng) for _ in range(400)]
    assert judge_ranks(equal, N_RANKS).p_value > 0.01
    assert rank(np.zeros((2, 300)), 1.0, rng) == N_DRAWS


# --- intervals ---


def test_intervals_of_an_exact_posterior_hold_what_they_claim(rng: np.random.Generator) -> None:
    """A normal mean with a known spread: posterior known, and the normal interval the same."""
    by_draws, by_normal = [], []
    for _ in range(600):
        truth = rng.normal(size=3)
        data = truth + rng.normal(size=3)
        by_draws.append(held(data / 2 + rng.normal(size=(1000, 3)) * np.sqrt(0.5), truth))
        by_normal.append(held_by_normal(data / 2, np.full(3, np.sqrt(0.5)), truth))
    for found in (np.stack(by_draws), np.stack(by_normal)):
        for i, level in enumerate(LEVELS):
            share, se = share_held(found[:, i], level)
            assert abs(share - level) < 3.5 * se


def test_no_standard_error_is_no_interval() -> None:
    found = held_by_normal(np.array([0.0, 0.0]), np.array([1.0, np.nan]), np.array([0.1, 0.1]))
    assert np.isnan(found[:, 1]).all()
    assert (found[:, 0] == 1).all()
    share, se = share_held(found[None, 0], 0.5)
    assert share == 1.0
    assert se > 0
    assert np.isnan(share_held(np.full((3, 2), np.nan), 0.5)[0])


def test_the_error_of_a_share_sees_that_parameters_err_together(rng: np.random.Generator) -> None:
    one = (rng.random((300, 1)) < 0.8).astype(float)
    alone, together = share_held(one, 0.8)[1], share_held(np.repeat(one, 10, axis=1), 0.8)[1]
    assert together == pytest.approx(alone, rel=0.1)


# --- what is ranked ---


def test_the_truths_quantities_are_those_of_a_draw_that_equals_it(rng: np.random.Generator) -> None:
    truth, X, _ = DESIGNS[3].simulate(rng)
    weight = np.full(len(X), 1.0)
    priors = DESIGNS[3].priors.resolve(MemoryRows(X), 3, family("full"))
    found = quantities_of_truth(truth, X, weight, priors, family("full"))
    free = label_free(truth.permute([2, 0, 1]).reshape(1, 1), X, lp=np.zeros((1, 1)))
    again = quantities(free)
    assert list(found) == list(again)
    for name in set(found) - {"log-prior"}:
        assert found[name] == pytest.approx(again[name][0, 0], rel=1e-9)
    assert found["log-likelihood"] == pytest.approx(scipy_log_likelihood(X, truth), rel=1e-9)
    renamed = quantities_of_truth(truth.permute([2, 0, 1]), X, weight, priors, family("full"))
    assert found["log-prior"] == pytest.approx(renamed["log-prior"], rel=1e-9)


def test_the_log_prior_is_that_of_the_sampler(rng: np.random.Generator) -> None:
    """Differences between two mixtures, by SciPy, with the Jacobians of the sampler's space."""
    design = replace(DESIGNS[0], n_rows=30)
    (one, X, _), (other, *_) = design.simulate(rng), design.simulate(rng)
    priors = design.priors.resolve(MemoryRows(X), 2, family("full"))

    def by_scipy(m: MixtureParams) -> float:
        density = stats.dirichlet([4.0, 4.0]).logpdf(m.weights) + stats.norm(0, 5).logpdf(m.means).sum()
        # d(weights)/d(free numbers) is the product of the weights, d(sd)/d(log sd) the sd.
        return density + stats.lognorm(0.3).logpdf(m.sds).sum() + np.log(m.weights).sum() + np.log(m.sds).sum()

    found = [quantities_of_truth(m, X, np.ones(30), priors, family("full"))["log-prior"] for m in (one, other)]
    assert found[0] - found[1] == pytest.approx(by_scipy(one) - by_scipy(other), rel=1e-8)


# --- the whole ---


def test_a_right_fit_passes_and_a_wrong_prior_is_caught(small: SBC) -> None:
    right, wrong = small.groups
    assert all(check.passed for check in right.checks), [check.sentence for check in right.checks]
    assert wrong.p_value < 0.01
    assert wrong.checks[0].passed
    assert "was found out" in wrong.checks[0].sentence


def test_a_wrong_fit_called_right_fails(small: SBC) -> None:
    """The same ranks under the name of a right design: the checks must fail them."""
    mislabelled = Group(SMALL, small.groups[1].outcomes)
    assert not any(check.passed for check in mislabelled.checks)
    assert not Studies(SBC((mislabelled,), 16, 3, 1.0)).passed


def test_a_right_fit_called_a_mistake_is_not_found_out(small: SBC) -> None:
    harmless = Group(small.groups[1].design, small.groups[0].outcomes)
    (check,) = harmless.checks
    assert not check.passed
    assert "was not found out" in check.sentence


def test_coverage_counts_the_intervals_that_hold_the_truth(small: SBC) -> None:
    group = small.groups[0]
    table = group.coverage.set_index(["method", "what", "level"])
    held = np.mean([outcome.covered["EM, sandwich", "means"][2] for outcome in group.outcomes])
    assert table.loc[("EM, sandwich", "means", 0.95), "coverage"] == pytest.approx(held)
    wide = table["coverage"].unstack("level")
    assert (wide[0.5] <= wide[0.8]).all()
    assert (wide[0.8] <= wide[0.95]).all()


def test_a_replicate_is_the_same_again(small: SBC) -> None:
    seed = np.random.SeedSequence(3).spawn(2)[0].spawn(16)[4]
    again, first = run_replicate(SMALL, seed), small.groups[0].outcomes[4]
    assert again.ranks == first.ranks
    for key, answers in again.covered.items():
        np.testing.assert_array_equal(answers, first.covered[key])


def test_the_page_says_what_was_found(small: SBC, tmp_path) -> None:
    written = write(Studies(small), tmp_path / "calibration")
    html = written.read_text(encoding="utf-8")
    assert html.count("<img") == 3
    assert "http" not in html.replace("http-equiv", "")
    assert all(check.sentence.split(":")[0].split("(")[0] in html for check in small.checks)
    assert len(html) < 1_000_000
    summary = json.loads((tmp_path / "calibration" / "summary.json").read_text(encoding="utf-8"))
    assert [design["p_value"] for design in summary["designs"]] == [group.p_value for group in small.groups]


@pytest.mark.usefixtures("drawn_once")
def test_a_page_written_before_is_replaced(small: SBC, tmp_path) -> None:
    failed = SBC((Group(SMALL, small.groups[1].outcomes),), 16, 3, 1.0)
    assert write(Studies(failed), tmp_path) == write(Studies(small), tmp_path)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == page(Studies(small))


@pytest.mark.usefixtures("drawn_once")
def test_the_page_warns_of_what_failed(small: SBC) -> None:
    failed = SBC((Group(SMALL, small.groups[1].outcomes),), 16, 3, 1.0)
    assert "Read with care" in page(Studies(failed))
    assert "Read with care" not in page(Studies(small))


def test_files_of_others_are_left_alone(small: SBC, tmp_path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(InvalidParameterError, match="not written by"):
        write(Studies(small), tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"
    assert not (tmp_path / "summary.json").exists()
    with pytest.raises(InvalidParameterError, match="is a file"):
        write(Studies(small), tmp_path / "index.html")


@pytest.mark.usefixtures("drawn_once")
def test_the_command_writes_the_page(small: SBC, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.calibration.__main__.run_sbc", lambda *args, **kwargs: small)
    monkeypatch.setattr("benchmarks.calibration.__main__.measure_reliability", lambda *args, **kwargs: None)
    monkeypatch.setattr("benchmarks.calibration.__main__.measure_coverage", lambda *args, **kwargs: None)
    result = CliRunner().invoke(main, ["--replicates", "16", "--output", str(tmp_path / "out"), "--quiet"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "index.html").exists()
    assert result.output.count("ok  ") == len(small.checks)
    (tmp_path / "file").write_text("mine")
    refused = CliRunner().invoke(main, ["--output", str(tmp_path / "file")])
    assert refused.exit_code == 1
    assert "Error" in refused.output


@pytest.mark.usefixtures("drawn_once")
def test_the_command_fails_when_a_check_fails(small: SBC, tmp_path, monkeypatch) -> None:
    failed = SBC((Group(SMALL, small.groups[1].outcomes),), 16, 3, 1.0)
    monkeypatch.setattr("benchmarks.calibration.__main__.run_sbc", lambda *args, **kwargs: failed)
    monkeypatch.setattr("benchmarks.calibration.__main__.measure_reliability", lambda *args, **kwargs: None)
    result = CliRunner().invoke(main, ["--output", str(tmp_path / "out"), "--sets", "0", "--quiet"])
    assert result.exit_code == 1
    assert "LOOK" in result.output


@pytest.mark.parametrize("option", ["--replicates=0", "--samples=0", "--sets=-1", "--jobs=0", "--random-state=-1"])
def test_impossible_settings_are_refused(option: str) -> None:
    result = CliRunner().invoke(main, [option])
    assert result.exit_code == 2
    assert option.split("=")[0] in result.output


@pytest.mark.slow
def test_processes_give_the_same_ranks(small: SBC) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run_sbc(10, designs=[SMALL, CONTROLS[1]], n_jobs=2, random_state=3)
    assert found.groups[0].ranks.equals(small.groups[0].ranks.head(10))
    assert all(check.passed for check in found.groups[1].checks)


# --- truths that are fixed ---


def test_truths_of_the_cells_are_as_they_say() -> None:
    assert len(CELLS) == 108
    assert len({str(cell) for cell in CELLS}) == 108
    for cell in CELLS:
        truth, K = cell.truth, cell.n_components
        np.testing.assert_allclose(truth.sds, 1.0)
        away = np.linalg.norm(truth.means[:, None] - truth.means, axis=-1)[np.triu_indices(K, 1)]
        np.testing.assert_allclose(away, cell.distance)
        off = np.abs(truth.correlations[..., *np.tril_indices(cell.n_features, -1)])
        assert (off < 0.6).all() if cell.correlations == "mild" else np.allclose(off, 0.9)


def test_coverage_counts_what_is_held_and_says_what_is_outside(tmp_path) -> None:
    cells = CELLS[:2]
    good = Held({"weights": np.nan, "means": 0.9, "sds": 0.9, "correlations": 0.9}, 0.01, 0.1)
    bad = Held({"weights": np.nan, "means": 0.2, "sds": 0.9, "correlations": 0.9}, -0.5, -0.3)
    found = Coverage(cells, ((good, good, good), (bad, bad, good)), 1, 60.0)
    assert found.table["means"].tolist() == pytest.approx([0.9, 1.3 / 3])
    assert found.table["bias"].tolist() == pytest.approx([0.01, -0.33])
    each, whole, gain = found.checks
    assert not each.passed
    assert "6 shares" in each.sentence
    assert "1 are outside 83% to 96%" in each.sentence
    assert f"43% for the means of {cells[1]}" in each.sentence
    assert not whole.passed
    assert gain.passed  # a mean of -0.17 with an error of 0.11
    assert all(check.passed for check in Coverage(cells, ((good,), (good,)), 1, 1.0).checks)
    studies = Studies(SBC((), 16, 1, 1.0), coverage=found)
    assert json.loads(json.dumps(studies.summary(), allow_nan=False))["coverage"]["cells"][0]["weights"] is None
    text = page(studies)
    assert "43% !" in text
    assert str(cells[0]) in text


def test_a_default_posterior_of_one_group_holds_what_it_should_where_columns_go_together() -> None:
    """Eight columns with correlations of 0.9: along the columns, intervals of the sds hold the truth in 1 of 100 data sets."""
    cell = Cell(100, 8, 1, "0.9 shared", 0.0)
    held = [run_cell(cell, np.random.SeedSequence([4, i])) for i in range(24)]
    old = [run_cell(cell, np.random.SeedSequence([4, i]), lambda X: Priors(frame="columns")) for i in range(4)]
    assert 0.8 < np.mean([one.share["sds"] for one in held]) <= 1.0
    assert 0.8 < np.mean([one.share["correlations"] for one in held]) <= 1.0
    assert abs(np.mean([one.bias for one in held])) < 0.05
    assert np.mean([one.share["sds"] for one in old]) < 0.4
    assert np.mean([one.gain for one in held]) > 0 > np.mean([one.bias for one in old]) + 0.1


# --- responsibilities from few rows ---


@pytest.fixture(scope="module")
def reliability() -> Reliability:
    return measure_reliability(5, designs=SMALL_SAMPLES[:1], n_jobs=1)


def test_the_posterior_is_more_reliable_than_em_on_few_rows(reliability: Reliability) -> None:
    table = reliability.table.set_index("method")
    for measure in ("calibration_error", "log_score", "brier_score"):
        truth, posterior, em = table.loc[["truth", "posterior", "EM"], measure]
        assert truth < posterior < em
    check = reliability.checks[0]
    assert check.passed
    assert "in 1 of 1 designs" in check.sentence
    assert reliability.summary()["n_replicates"] == 5


def test_the_page_has_the_numbers(reliability: Reliability) -> None:
    studies = Studies(SBC((), 0, 1, 1.0), reliability)
    html = page(studies)
    assert html.count("<img") == 1
    assert len(html) < 150_000
    for value in reliability.table[["calibration_error", "log_score", "brier_score"]].to_numpy().ravel():
        assert f"{value:.3f}</td>" in html
    assert studies.checks == reliability.checks
    assert studies.summary()["reliability"]["designs"][0]["method"] == "EM"
    assert "Are responsibilities right" not in page(Studies(SBC((), 0, 1, 1.0)))


def test_a_fit_that_is_worse_fails_the_check(reliability: Reliability) -> None:
    """The same responsibilities under each other's name."""
    part = reliability.tested[0][0]
    r = part.responsibilities
    swapped = type(part)(part.groups, {"EM": r["truth"], "posterior": r["EM"], "truth": r["truth"]})
    assert not Reliability(reliability.designs, ((swapped,),), 1, 0.0).checks[0].passed


def test_a_small_sample_is_the_same_again(reliability: Reliability) -> None:
    seed = np.random.SeedSequence(1).spawn(1)[0].spawn(5)[3]
    again, first = run_small_sample(SMALL_SAMPLES[0], seed), reliability.tested[0][3]
    np.testing.assert_array_equal(again.groups, first.groups)
    for name, table in again.responsibilities.items():
        np.testing.assert_array_equal(table, first.responsibilities[name])
