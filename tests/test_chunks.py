"""Rows in chunks: whatever they are cut into and wherever they come from, the fit is that of the rows in memory."""

import contextlib
import gc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgmm import BayesianGaussianMixture, ConjugatePriors, GaussianMixture, Priors, open_rows
from bayesgmm.em import initialization
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError, SizeAdvice
from bayesgmm.expectation import expectation
from bayesgmm.rows import MemoryRows
from bayesgmm.rows.summary import Summary

NAMES = ["length", "width", "mass"]


def three_groups(n: int, rng: np.random.Generator, *, offset: float = 0.0, missing: float = 0.0) -> np.ndarray:
    centres = np.array([[0.0, 0.0, 0.0], [4.0, 1.0, -2.0], [0.0, 5.0, 3.0]])
    X = rng.normal(size=(n, 3)) + centres[rng.choice(3, n, p=[0.5, 0.3, 0.2])] + offset
    X[rng.random(X.shape) < missing] = np.nan
    return X


def assert_same_fit(one: GaussianMixture, other: GaussianMixture, X: np.ndarray) -> None:
    """The same to rounding, in units of the data's spread."""
    sd = np.nanstd(X, axis=0)
    np.testing.assert_allclose(other.weights_, one.weights_, rtol=1e-10)
    # A number of a million has steps of 1e-10: the means cannot be told apart any better.
    np.testing.assert_allclose((other.means_ - one.means_) / sd, 0, atol=1e-10 + 8 * np.spacing(np.nanmax(np.abs(X))))
    np.testing.assert_allclose((other.params_.covariances - one.params_.covariances) / np.outer(sd, sd), 0, atol=1e-10)
    assert other.log_likelihood_ == pytest.approx(one.log_likelihood_, rel=1e-12)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.DataFrame(three_groups(600, np.random.default_rng(5)), columns=NAMES)


@pytest.fixture(scope="module")
def in_memory(table) -> GaussianMixture:
    return GaussianMixture(3, random_state=1).fit(table)


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    """The table as files of all kinds."""
    path = tmp_path_factory.mktemp("table")
    np.save(path / "rows.npy", table.to_numpy())
    np.save(path / "columns.npy", np.asfortranarray(table.to_numpy()))
    parts = path / "parts"
    parts.mkdir()
    for i, (start, stop) in enumerate([(0, 100), (100, 100), (100, 457), (457, 600)]):
        pq.write_table(pa.Table.from_pandas(table[start:stop], preserve_index=False), parts / f"{i}.parquet", row_group_size=150)
    table.to_parquet(path / "one.parquet", index=False)
    return path


# Every chunking


def overlapping(n: int, distance: float, rng: np.random.Generator) -> np.ndarray:
    centres = distance * np.array([[0.0, 0.0], [1.0, 0.0]])
    return rng.normal(size=(n, 2)) + centres[rng.integers(2, size=n)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"offset": 1e6},
        {"missing": 0.1},
        {"offset": -1e6, "missing": 0.1, "weights": True},
        {"covariance_type": "VEV"},
        {"covariance_type": "VVE", "offset": 1e6},
        {"covariance_type": "tied", "weights": True},
        {"noise": True, "offset": 1e6},
        {"priors": ConjugatePriors(), "offset": 1e6},
        {"priors": Priors(), "offset": 1e6},
        {"n_init": 2, "init_params": "random_from_data", "offset": 1e6},
    ],
    ids=str,
)
@pytest.mark.parametrize("distance", [2.0, 3.0])
def test_rounding_decides_nothing_where_groups_overlap(settings, distance, tmp_path):
    """Sums in another order differ in their last digits; EM that takes hundreds of iterations must not end elsewhere for it."""
    settings = dict(settings)
    offset, missing, weighted = (settings.pop(name, 0.0) for name in ("offset", "missing", "weights"))
    rng = np.random.default_rng(11)
    X = overlapping(1500, distance, rng) + offset
    X[rng.random(X.shape) < missing] = np.nan
    X = X[~np.isnan(X).all(1)]
    weight = rng.uniform(0.5, 2.0, len(X)) if weighted else None
    np.save(tmp_path / "rows.npy", X)
    one = GaussianMixture(2, random_state=1, **settings).fit(X, sample_weight=weight)
    rows = open_rows(tmp_path / "rows.npy", chunk_rows=470, sample_weight=weight)
    assert one.n_iter_ > 15  # no quick fit
    assert one.status_ == "converged"
    assert_same_fit(one, GaussianMixture(2, random_state=1, **settings).fit(rows), X)


@pytest.mark.parametrize("chunk_rows", [7, 100, 599, 600, None])
def test_every_chunking_gives_the_fit_in_memory(folder, table, in_memory, chunk_rows):
    chunked = GaussianMixture(3, random_state=1).fit(open_rows(folder / "rows.npy", chunk_rows=chunk_rows))
    assert_same_fit(in_memory, chunked, table.to_numpy())
    assert chunked.bic(open_rows(folder / "rows.npy", chunk_rows=chunk_rows)) == pytest.approx(in_memory.bic(table), rel=1e-12)
    assert chunked.icl(folder / "rows.npy") == pytest.approx(in_memory.icl(table), rel=1e-12)
    assert chunked.score(folder / "rows.npy") == pytest.approx(in_memory.score(table), rel=1e-12)


@pytest.mark.parametrize(("n", "offset", "missing"), [(900, 1e6, 0.0), (900, 0.0, 0.1), (21_000, 0.0, 0.0), (51_000, 1e6, 0.0)])
def test_offsets_gaps_and_samples_of_many_rows(tmp_path, n, offset, missing):
    X = three_groups(n, np.random.default_rng(n), offset=offset, missing=missing)
    weight = np.random.default_rng(1).integers(0, 3, n).astype(float)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "w.npy", weight)
    inside = GaussianMixture(3, random_state=2).fit(X, sample_weight=weight)
    chunked = GaussianMixture(3, random_state=2).fit(tmp_path / "x.npy", sample_weight=weight)
    assert_same_fit(inside, chunked, X)
    rows = open_rows(tmp_path / "x.npy", sample_weight=tmp_path / "w.npy", chunk_rows=n // 7)
    assert_same_fit(inside, GaussianMixture(3, random_state=2).fit(rows), X)
    assert len(rows) == (weight > 0).sum()
    assert rows.summary.weight == weight.sum()


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=6),
    seed=st.integers(0, 999),
    offset=st.sampled_from([0.0, 1e6, -1e9]),
    plain=st.booleans(),
)
def test_summaries_of_pieces_are_the_summary_of_the_whole(cuts, seed, offset, plain):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 2)) + offset
    X[rng.random(X.shape) < (0.0 if plain else 0.2)] = np.nan
    weight = np.ones(60) if plain else rng.uniform(0.1, 3.0, 60)
    bounds = [0, *sorted(cuts), 60]
    merged = None
    for start, stop in pairwise(bounds):
        part = Summary.of(X[start:stop], None if plain else weight[start:stop], stop - start)
        merged = part if merged is None else merged.merged(part)
    there = ~np.isnan(X)
    for d in range(2):
        w, x = weight[there[:, d]], X[there[:, d], d] - offset
        assert merged.seen[d] == pytest.approx(w.sum())
        np.testing.assert_allclose(merged.mean[d] - offset, np.average(x, weights=w), atol=1e-9 + 4 * np.spacing(abs(offset)))
        spread = np.sqrt(np.average((x - np.average(x, weights=w)) ** 2, weights=w))
        np.testing.assert_allclose(merged.sd[d], spread, rtol=1e-7 if offset == -1e9 else 1e-9)
    np.testing.assert_array_equal(merged.lowest, np.nanmin(X, axis=0))
    np.testing.assert_array_equal(merged.highest, np.nanmax(X, axis=0))
    assert sum(merged.read) == 60


def test_the_sum_over_chunks_is_the_e_step(tmp_path):
    X = three_groups(1000, np.random.default_rng(0), offset=1e6, missing=0.05)
    np.save(tmp_path / "x.npy", X)
    mixture = np.log([0.4, 0.6]), np.array([[1e6] * 3, [1e6 + 2] * 3]), np.stack([np.eye(3), 2 * np.eye(3)])
    whole = expectation(MemoryRows(X), *mixture)
    parts = expectation(open_rows(tmp_path / "x.npy", chunk_rows=13), *mixture)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12 * np.max(np.abs(one)))


# Every container


def test_files_and_frames_of_all_kinds_give_the_same_fit(folder, table, in_memory):
    containers = [
        str(folder / "rows.npy"),
        folder / "columns.npy",
        np.load(folder / "rows.npy", mmap_mode="r"),
        folder / "one.parquet",
        folder / "parts",
        str(folder / "parts" / "*.parquet"),
        open_rows(folder / "parts", columns=NAMES, chunk_rows=99),
        ds.dataset(folder / "parts"),
        pl.from_pandas(table),
        table.to_numpy(np.float64, copy=True),
    ]
    for X in containers:
        assert_same_fit(in_memory, GaussianMixture(3, random_state=1).fit(X), table.to_numpy())


def test_a_part_of_a_mapped_array_is_read_where_it_lies(folder, table):
    mapped = np.load(folder / "rows.npy", mmap_mode="r")
    for part in (mapped[50:], mapped[50:300], mapped[::2], mapped[:, 1:], mapped[::-1]):
        rows = open_rows(part, chunk_rows=64)
        np.testing.assert_array_equal(rows.take(np.arange(len(rows))).values, part)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i4", "|u1", "?"])
def test_numbers_of_other_types_are_read_as_float64(tmp_path, dtype):
    values = (np.arange(60).reshape(20, 3) % 7).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(open_rows(tmp_path / "x.npy", chunk_rows=6).take(np.arange(20)).values, values.astype(float))


def test_columns_are_chosen_by_name_and_nulls_are_missing_values(folder, table, tmp_path):
    rows = open_rows(folder / "parts", columns=["mass", "length"])
    np.testing.assert_array_equal(rows.take(np.arange(600)).values, table[["mass", "length"]].to_numpy())
    assert rows.names == ["mass", "length"]
    pq.write_table(pa.table({"a": [1.0, None, 3.0], "b": pa.array([1, 2, None], pa.int32())}), tmp_path / "n.parquet")
    found = open_rows(tmp_path / "n.parquet").take(np.arange(3)).values
    np.testing.assert_array_equal(found, [[1, 1], [np.nan, 2], [3, np.nan]])


def test_a_column_of_a_table_can_be_the_weights(tmp_path, table):
    weighted = table.assign(count=np.random.default_rng(3).integers(0, 4, len(table)))
    for i in range(3):
        weighted[i * 200 : (i + 1) * 200].to_parquet(tmp_path / f"{i}.parquet", index=False)
    inside = GaussianMixture(3, random_state=1).fit(table, sample_weight=weighted["count"])
    chunked = GaussianMixture(3, random_state=1).fit(tmp_path, sample_weight="count")
    assert_same_fit(inside, chunked, table.to_numpy())
    assert chunked.feature_names_ == NAMES
    given = GaussianMixture(3, random_state=1).fit(tmp_path, sample_weight=weighted["count"].to_numpy())
    assert given.n_features_in_ == 4  # unless it is named, the column is one of the data


def files_open_in(folder) -> list[str]:
    """Files of a folder that this process has open, whether they still have a name or not."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            targets.append(str(link.readlink()))
    return [target for target in targets if target.startswith(f"{folder}/bayesgmm-")]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_the_scratch_file_has_no_name_so_that_a_killed_process_leaves_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = open_rows(folder / "parts")
    assert list(tmp_path.iterdir()) == []
    assert len(files_open_in(tmp_path)) == 1
    named = GaussianMixture(2, random_state=1).fit(rows)
    del rows
    gc.collect()
    assert files_open_in(tmp_path) == []
    assert named.log_likelihood_ == GaussianMixture(2, random_state=1).fit(folder / "parts").log_likelihood_


def test_where_files_need_their_names_the_scratch_file_goes_with_the_rows(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("bayesgmm.rows.parquet.os.access", lambda *_: False)
    rows = open_rows(folder / "parts")
    assert len(list(tmp_path.iterdir())) == 1
    GaussianMixture(2, random_state=1).fit(rows)
    del rows
    gc.collect()
    assert list(tmp_path.iterdir()) == []


# What is asked of a fit


def test_predictions_in_chunks_are_those_in_memory(folder, table, in_memory):
    for X in (folder / "rows.npy", folder / "parts", open_rows(folder / "rows.npy", chunk_rows=77)):
        np.testing.assert_allclose(in_memory.predict_proba(X), in_memory.predict_proba(table), rtol=0, atol=1e-13)
        np.testing.assert_array_equal(in_memory.predict(X), in_memory.predict(table))
        np.testing.assert_allclose(in_memory.score_samples(X), in_memory.score_samples(table), rtol=1e-12)
        np.testing.assert_allclose(in_memory.responsibilities(X), in_memory.responsibilities(table), atol=1e-13)


def test_noise_priors_and_families_in_chunks(folder, table):
    for how in ({"noise": True}, {"covariance_type": "VEV"}, {"covariance_type": "tied", "n_init": 2}):
        inside = GaussianMixture(2, random_state=1, **how).fit(table)
        chunked = GaussianMixture(2, random_state=1, **how).fit(open_rows(folder / "rows.npy", chunk_rows=150))
        assert_same_fit(inside, chunked, table.to_numpy())
        assert chunked.noise_weight_ == pytest.approx(inside.noise_weight_, rel=1e-8)
        np.testing.assert_array_equal(chunked.predict(folder / "rows.npy"), inside.predict(table))


def test_priors_and_equal_weights_in_chunks(folder, table):
    for how in ({"equal_weights": True}, {"priors": Priors()}, {"priors": ConjugatePriors(), "covariance_type": "diag"}):
        inside = GaussianMixture(3, random_state=1, **how).fit(table)
        chunked = GaussianMixture(3, random_state=1, **how).fit(open_rows(folder / "rows.npy", chunk_rows=150))
        # The last, smallest steps are taken or not by rounding.
        np.testing.assert_allclose(chunked.means_, inside.means_, atol=1e-5)
        assert chunked.log_likelihood_ + chunked.log_prior_ == pytest.approx(inside.log_likelihood_ + inside.log_prior_, rel=1e-10)


def test_a_chunk_whose_rows_all_weigh_nothing_is_no_trouble(folder, table):
    weight = np.r_[np.zeros(200), np.ones(400)]
    rows = open_rows(folder / "rows.npy", sample_weight=weight, chunk_rows=100)
    chunked = GaussianMixture(3, random_state=1).fit(rows)
    assert_same_fit(GaussianMixture(3, random_state=1).fit(table[200:]), chunked, table.to_numpy())
    assert chunked.icl(rows) == pytest.approx(chunked.icl(table[200:].to_numpy()), rel=1e-12)


def test_what_needs_the_rows_says_that_they_are_not_kept(folder):
    chunked = GaussianMixture(2, random_state=1).fit(folder / "rows.npy")
    with pytest.raises(InvalidDataError, match="600 rows in chunks and keeps none"):
        chunked.responsibilities()
    with pytest.raises(InvalidDataError, match="keeps none"):
        chunked.standard_errors()
    with pytest.raises(InvalidDataError, match="takes rows in memory"):
        chunked.row_summary(folder / "rows.npy")
    assert set(chunked.datatree_.children) == {"point_estimate", "optimization"}


def test_a_degenerate_component_is_named_with_its_rows(tmp_path):
    X = np.random.default_rng(0).normal(size=(300, 2))
    X[[40, 170, 171]] = [[9.0, 9.0], [9.0, 9.0 + 1e-9], [9.0 + 1e-9, 9.0]]
    np.save(tmp_path / "x.npy", X)
    weight = np.ones(300)
    weight[:10] = 0
    rows = open_rows(tmp_path / "x.npy", chunk_rows=50, sample_weight=weight)
    with pytest.warns(UserWarning, match="40, 170, 171"):
        GaussianMixture(
            2, means_init=[[0, 0], [9, 9]], weights_init=[0.99, 0.01], precisions_init=[np.eye(2), 1e6 * np.eye(2)]
        ).fit(rows)


# The posterior


def test_the_posterior_of_rows_in_chunks_is_that_of_the_rows(tmp_path):
    X = three_groups(400, np.random.default_rng(1), missing=0.02)[:, :2]
    weight = np.random.default_rng(2).integers(1, 3, 400).astype(float)
    np.save(tmp_path / "x.npy", X)
    how = {"sampler": "laplace", "draws": 100, "chains": 2, "random_state": 1, "progressbar": False}
    inside = BayesianGaussianMixture(2, **how).fit(X, sample_weight=weight)
    chunked = BayesianGaussianMixture(2, **how).fit(open_rows(tmp_path / "x.npy", sample_weight=weight, chunk_rows=90))
    np.testing.assert_allclose(chunked.params_.means, inside.params_.means, rtol=1e-5, atol=1e-5)
    assert chunked.datatree_.attrs["pareto_k"] == pytest.approx(inside.datatree_.attrs["pareto_k"], abs=1e-4)
    for group, name in (("sample_stats", "lp"), ("label_free", "log_likelihood"), ("label_free", "log_prior")):
        np.testing.assert_allclose(chunked.datatree_[group][name], inside.datatree_[group][name], rtol=1e-6)
    assert "log_likelihood" not in chunked.datatree_.children
    assert len(chunked.diagnose()) > 0


def test_density_and_gradient_in_chunks_are_those_in_memory(tmp_path):
    from bayesgmm.bayes.log_posterior import ChunkedLogPosterior, LogPosterior
    from bayesgmm.bayes.unconstrained_space import Space
    from bayesgmm.covariance import family
    from bayesgmm.frame import Frame, total_moments
    from bayesgmm.priors import Priors

    X = three_groups(200, np.random.default_rng(1), offset=1e3, missing=0.05)
    np.save(tmp_path / "x.npy", X)
    for name in ("full", "tied", "diag", "spherical"):
        kind = family(name)
        frame = Frame.of(MemoryRows(X), "scale" if kind.invariance == "scale" else "columns")
        priors = Priors().resolve(MemoryRows(X), 2, kind).standardised(*total_moments(MemoryRows(X))).seen_in(frame)
        space = Space(priors, kind)
        inside = LogPosterior(frame.standardise(X), space)
        chunked = ChunkedLogPosterior(open_rows(tmp_path / "x.npy", chunk_rows=60), space, frame)
        q = np.random.default_rng(2).normal(scale=0.4, size=(5, space.n_dim))
        for one, other in zip(inside.at_each(q), chunked.at_each(q), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-8)
        value, gradient = chunked(q[0])
        assert value == chunked.at_each(q)[0][0]
        assert gradient.shape == (space.n_dim,)
    with pytest.raises(ValueError, match="length"):
        chunked(np.zeros(3))


def test_chains_pass_over_rows_in_chunks(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 1)) + np.array([[0.0], [6.0]])[np.arange(60) % 2]
    np.save(tmp_path / "x.npy", X)
    how = {"draws": 60, "tune": 60, "chains": 2, "random_state": 1, "progressbar": False}
    chunked = BayesianGaussianMixture(2, **how).fit(tmp_path / "x.npy")
    inside = BayesianGaussianMixture(2, **how).fit(X)
    apart = np.abs(chunked.means_ - inside.means_) / inside.params_.means.std((0, 1))
    assert (apart < 5 * np.sqrt(2 / 60)).all()  # as if only every other of the 120 draws were worth one


def test_samplers_that_need_all_rows_are_refused(folder):
    with pytest.raises(InvalidParameterError, match="'laplace', which is quick"):
        BayesianGaussianMixture(2, sampler="gibbs", progressbar=False).fit(folder / "rows.npy")


def test_very_many_rows_are_told_the_quicker_road(folder, monkeypatch):
    monkeypatch.setattr("bayesgmm.estimators._size.LARGE", 500)
    few = BayesianGaussianMixture(1, progressbar=False, draws=10, tune=20, chains=1, random_state=1)
    with pytest.warns(SizeAdvice, match="600 rows.*sampler='laplace'"):
        few.fit(folder / "rows.npy")


# Bad input


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: d / "none.npy", r"no file '.*none.npy'"),
        (lambda d: str(d / "*.parquet"), "No file matches"),
        (lambda d: d, "no .parquet file in the folder"),
        (lambda d: _written(d / "x.csv", "a,b\n1,2\n"), "must end in .npy or .parquet"),
        (lambda d: _written(d / "x.npy", "not an array"), "not an .npy file of plain numbers"),
        (lambda d: _written(d / "x.parquet", "not a table"), "not a readable Parquet file"),
        (lambda d: _saved(d / "x.npy", np.arange(5.0)), r"1 dimension\(s\) and must have two"),
        (lambda d: _saved(d / "x.npy", np.array([["a", "b"]])), "holds <U1, not numbers"),
        (lambda d: _saved(d / "x.npy", np.empty((0, 2))), "is empty"),
        (lambda d: _parquet(d, a=[]), "column names but no rows"),
        (lambda d: _parquet(d, a=[1.0, 2.0, 3.0], b=["x", "y", "z"]), r"'b' of .* is not numeric: .*\('x' in row 0 is text\)"),
        (lambda d: _saved(d / "x.npy", np.array([[1.0, 2.0], [3.0, np.inf], [0, 1]])), "infinite value in row 1, column 1"),
        (lambda d: _saved(d / "x.npy", np.array([[1.0, 2.0], [3.0, 2.0], [0, 2.0]])), "'x1' has the same value in every row"),
        (lambda d: _parquet(d, a=[1.0, 2.0, 3.0], b=pa.array([None] * 3, pa.float64())), "'b' has no value at all"),
        (lambda d: _saved(d / "x.npy", np.arange(2.0)[:, None]), "3 component.* cannot be fitted to n_samples = 2"),
        (lambda d: _saved(d / "x.npy", np.repeat(np.arange(3.0), 100)[:, None]), "more than 3 distinct rows, the data have 3"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path, make, words):
    estimator = GaussianMixture(3)
    with pytest.raises(InvalidDataError, match=words):
        estimator.fit(make(tmp_path))
    assert not hasattr(estimator, "params_")


def _written(path, text):
    path.write_text(text)
    return path


def _saved(path, array):
    np.save(path, array)
    return path


def _parquet(folder, **columns):
    pq.write_table(pa.table(columns), folder / "x.parquet")
    return folder / "x.parquet"


def test_files_whose_columns_differ_are_named(tmp_path):
    pq.write_table(pa.table({"a": [1.0, 2.0], "b": [1.0, 2.0]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [1.0, 2.0]}), tmp_path / "2.parquet")
    with pytest.raises(InvalidDataError, match=r"2.parquet has no column 'b'; it has a; .*1.parquet has a, b"):
        open_rows(tmp_path)
    pq.write_table(pa.table({"a": [1.0], "b": [2.0], "c": [3.0]}), tmp_path / "2.parquet")
    with pytest.raises(InvalidDataError, match=r"2.parquet has column 'c', which .*1.parquet has not"):
        open_rows(tmp_path)
    assert len(open_rows(tmp_path, columns=["a"])) == 3
    pq.write_table(pa.table({"a": pa.array([1, 2, 3], pa.int16()), "b": pa.array([1, 2, 3], pa.float32())}), tmp_path / "2.parquet")
    assert len(open_rows(tmp_path)) == 5  # numbers of other types are numbers


def test_a_file_that_is_cut_short_is_named_with_the_row(tmp_path):
    path = _saved(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(100, 2)))
    rows = open_rows(path, chunk_rows=30)
    with path.open("r+b") as stream:
        stream.truncate(128 + 16 * 70 + 5)
    with pytest.raises(InvalidDataError, match=r"x.npy ends in row 70"):
        GaussianMixture(2).fit(rows)
    with pytest.raises(InvalidDataError, match=r"ends in row 70 of 100"):
        GaussianMixture(2).fit(path)


def test_a_damaged_chunk_is_named_and_nothing_is_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    whole = (folder / "one.parquet").read_bytes()
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(whole[:4] + b"\xff" * 60 + whole[64:])
    with pytest.raises(InvalidDataError, match=r"damaged.parquet"):
        GaussianMixture(2).fit(damaged)
    assert list(tmp_path.glob("bayesgmm-*")) == []


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.ones(599), "one number for each of the 600 rows"),
        (np.r_[np.ones(350), -1.0, np.ones(249)], "it is -1.0 in row 350"),
        (np.zeros(600), "no rows of positive weight"),
        (np.full(600, np.nan), "it is nan in row 0"),
        ("weights.npy", "no file"),
        ("weights", "must be an .npy file"),
    ],
)
def test_bad_weights_are_refused(folder, weight, words):
    with pytest.raises(InvalidDataError, match=words):
        GaussianMixture(2).fit(open_rows(folder / "rows.npy", sample_weight=weight, chunk_rows=100))


def test_settings_that_rows_in_chunks_cannot_have(folder, table):
    with pytest.raises(InvalidParameterError, match="labels or responsibilities"):
        GaussianMixture(2, init_params=np.arange(600) % 2).fit(folder / "rows.npy")
    with pytest.raises(InvalidParameterError, match="at least 1"):
        open_rows(folder / "rows.npy", chunk_rows=0)
    with pytest.raises(InvalidParameterError, match="open already"):
        GaussianMixture(2).fit(open_rows(folder / "rows.npy"), sample_weight=np.ones(600))
    with pytest.raises(InvalidParameterError, match="no column names"):
        open_rows(folder / "rows.npy", columns=["a"])
    fitted = GaussianMixture(2, random_state=1).fit(folder / "parts")
    with pytest.raises(InvalidDataError, match="has no column 'length'"):
        fitted.predict(_parquet(folder, other=[1.0]))
    with pytest.raises(InvalidDataError, match="2 columns, and the estimator was fitted to 3"):
        fitted.predict(_saved(folder / "narrow.npy", np.zeros((4, 2))))


def test_starts_are_those_of_the_same_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(initialization, "MOST_SORTED", 100)
    monkeypatch.setattr(initialization, "MOST_ROWS", 80)
    X = three_groups(500, np.random.default_rng(4), missing=0.03)
    np.save(tmp_path / "x.npy", X)
    inside = GaussianMixture(3, random_state=7).fit(X)
    assert_same_fit(inside, GaussianMixture(3, random_state=7).fit(open_rows(tmp_path / "x.npy", chunk_rows=41)), X)
