"""Files as other programs leave them: what they mean is read, or refused with a sentence that says what to do."""

import errno
import json
import os
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from bayesgmm import GaussianMixture, open_rows
from bayesgmm.cli import cli
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.rows import is_chunked
from bayesgmm.rows.open import stream_rows
from bayesgmm.rows.parquet import ParquetPart, parquet_files


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, 2)) + np.array([[0.0, 0.0], [6.0, 3.0]])[np.arange(90) % 2]
    return pd.DataFrame(X, columns=["a", "b"]).assign(year=2000 + np.arange(90) // 45)


def written(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def values(source, **how):
    rows = open_rows(source, **how)
    return rows.take(np.arange(len(rows))).values


# Datasets


def test_a_filter_of_a_dataset_holds(table, tmp_path):
    table.to_parquet(tmp_path / "x.parquet", index=False)
    whole = ds.dataset(tmp_path)
    for rows in (values(whole.filter(ds.field("a") > 2)), values(whole.filter(ds.field("a") > 2), chunk_rows=7)):
        np.testing.assert_array_equal(rows, table[table.a > 2].to_numpy())
    np.testing.assert_array_equal(values(whole), table.to_numpy())
    rows = open_rows(whole.filter(ds.field("a") > 2), columns=["a", "b"], sample_weight="year")
    assert rows.summary.weight == table.year[table.a > 2].sum()
    with pytest.raises(InvalidDataError, match=r"for each of the \d+ rows of X"):
        open_rows(whole.filter(ds.field("a") > 2), sample_weight=np.ones(90))
    with pytest.raises(InvalidDataError, match="no rows: check its files and its filter"):
        open_rows(whole.filter(ds.field("a") > 1e9))


def test_columns_that_only_folders_name_are_read(table, tmp_path):
    pq.write_to_dataset(pa.Table.from_pandas(table, preserve_index=False), tmp_path, partition_cols=["year"])
    partitioned = ds.dataset(tmp_path, partitioning="hive")
    np.testing.assert_array_equal(values(partitioned), table.to_numpy())
    np.testing.assert_array_equal(values(partitioned, columns=["year", "a"], chunk_rows=11), table[["year", "a"]].to_numpy())
    fitted = GaussianMixture(2, random_state=1).fit(ds.dataset(tmp_path, partitioning="hive"))
    np.testing.assert_array_equal(fitted.predict(partitioned), fitted.predict(table))


def test_datasets_of_every_kind_are_read(table, tmp_path):
    frame = pa.Table.from_pandas(table, preserve_index=False)
    pa.csv.write_csv(frame, tmp_path / "x.csv")
    pa.feather.write_feather(frame, tmp_path / "x.feather")
    pq.write_table(frame, tmp_path / "x.parquet", row_group_size=30)
    parquet = ds.dataset(tmp_path / "x.parquet")
    (fragment,) = parquet.get_fragments()
    elsewhere = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    kinds = {
        "memory": (ds.dataset(frame), table),
        "csv": (ds.dataset(tmp_path / "x.csv", format="csv"), table),
        "feather": (ds.dataset(tmp_path / "x.feather", format="feather"), table),
        "union": (ds.dataset([parquet, ds.dataset(frame)]), pd.concat([table, table])),
        "subtree": (ds.dataset("x.parquet", filesystem=elsewhere), table),
        "schema": (ds.dataset(tmp_path / "x.parquet", schema=pa.schema({"b": pa.float32()})), table[["b"]].astype(np.float32)),
        "some row groups": (
            ds.FileSystemDataset([fragment.subset(row_group_ids=[1])], parquet.schema, parquet.format, parquet.filesystem),
            table[30:60],
        ),
    }
    for kind, (dataset, expected) in kinds.items():
        assert is_chunked(dataset), kind
        np.testing.assert_array_equal(values(dataset, chunk_rows=40), expected.to_numpy(), err_msg=kind)


def test_bad_datasets_get_one_sentence(table, tmp_path, monkeypatch):
    table.assign(name="x").to_csv(tmp_path / "x.csv", index=False)
    dataset = ds.dataset(tmp_path / "x.csv", format="csv")
    with pytest.raises(
        InvalidDataError, match=r"'name' of .*x.csv \(its rows in the dataset\) is not numeric: .*\('x' in row 0 is text\)"
    ):
        open_rows(dataset)
    with pytest.raises(InvalidDataError, match="The dataset has no column 'c'; it has a, b, year, name"):
        open_rows(dataset, columns=["c"])
    (tmp_path / "x.csv").write_text("a,b,year,name\n1,2,3,x\n4,5\n")
    with pytest.raises(InvalidDataError, match=r"The dataset cannot be read: .*x.csv"):
        open_rows(dataset, columns=["a"])
    table.to_parquet(tmp_path / "y.parquet", index=False)
    plain = ds.dataset(tmp_path / "y.parquet")
    monkeypatch.setattr("bayesgmm.rows.open.cluster", object)
    with pytest.raises(InvalidDataError, match="is not read by a cluster's workers: give the Parquet files"):
        open_rows(plain.filter(ds.field("a") > 2))
    assert open_rows(plain).n_features == 3  # which the workers read as they do the file


# Indexes


def test_an_index_is_no_feature_unless_it_is_asked_for(table, tmp_path):
    named = table.set_index(pd.Index(np.arange(90) * 1.5, name="id"))
    named.to_parquet(tmp_path / "x.parquet")
    assert open_rows(tmp_path / "x.parquet").names == ["a", "b", "year"]
    np.testing.assert_array_equal(values(tmp_path / "x.parquet", columns=["id"])[:, 0], named.index)
    assert open_rows(tmp_path / "x.parquet", sample_weight="id").names == ["a", "b", "year"]
    assert open_rows(ds.dataset(tmp_path)).names == ["a", "b", "year"]
    assert open_rows(ds.dataset(tmp_path).filter(ds.field("a") > 2)).names == ["a", "b", "year"]


def test_an_index_that_only_some_files_have_or_call_so(table, tmp_path):
    table[:15].set_index(pd.Index(np.arange(15.0), name="id")).to_parquet(tmp_path / "2.parquet")
    table[15:30].rename_axis("id").to_parquet(tmp_path / "4.parquet")  # it only counts, and is no column
    table.loc[[30, 31, 35]].to_parquet(tmp_path / "3.parquet")
    assert [len(pq.read_schema(tmp_path / f"{i}.parquet").names) for i in (2, 3, 4)] == [4, 4, 3]
    pl.from_pandas(table[60:].assign(id=1)).write_parquet(tmp_path / "1.parquet")  # without metadata
    rows = open_rows(tmp_path)
    assert rows.names == ["a", "b", "year"]
    assert len(rows) == 63


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # Dask's way with pandas
def test_what_dask_writes_has_the_columns_of_the_frame(table, tmp_path):
    dask = pytest.importorskip("dask.dataframe")
    dask.from_pandas(table, npartitions=3).to_parquet(tmp_path / "table.parquet")
    assert "__null_dask_index__" in pq.read_schema(tmp_path / "table.parquet" / "part.0.parquet").names
    np.testing.assert_array_equal(values(tmp_path / "table.parquet"), table.to_numpy())
    np.testing.assert_array_equal(values(tmp_path / "*.parquet"), table.to_numpy())
    bare = pq.read_table(tmp_path / "table.parquet" / "part.0.parquet").replace_schema_metadata(None)
    pq.write_table(bare, tmp_path / "bare.parquet")
    assert open_rows(tmp_path / "bare.parquet").names == ["a", "b", "year"]


@pytest.mark.parametrize("said", [b"no json", b"[]", b"{}", json.dumps({"index_columns": None}).encode()])
def test_metadata_that_say_nothing_of_an_index_do_no_harm(tmp_path, said):
    frame = pa.table({"a": [1.0, 2.0]}).replace_schema_metadata({b"pandas": said})
    pq.write_table(frame, tmp_path / "x.parquet")
    assert open_rows(tmp_path / "x.parquet").names == ["a"]


# Values


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**60 + 1, -(2**63), None]),
        pa.array([2**64 - 1, 0, None], pa.uint64()),
        pa.array([Decimal("12345678901234567890.123"), Decimal(1), None]),
        pa.array([True, False, None]),
    ],
)
def test_numbers_that_float64_cannot_hold_are_rounded_as_numpy_does(tmp_path, column):
    path = written(tmp_path / "x.parquet", a=column)
    expected = np.array([float(value) if value is not None else np.nan for value in column.to_pylist()])[:, None]
    np.testing.assert_array_equal(values(path), expected)
    np.testing.assert_array_equal(ParquetPart(str(path), 0, 3, 0, ("a",)).read()[0], expected)


def test_a_column_without_any_value_in_one_file_is_missing_there(tmp_path):
    written(tmp_path / "1.parquet", a=[1.0, 2.0], b=pa.nulls(2))
    written(tmp_path / "2.parquet", a=[3.0], b=[4.0])
    np.testing.assert_array_equal(values(tmp_path), [[1, np.nan], [2, np.nan], [3, 4]])


def test_two_columns_of_one_name_are_refused_where_they_are_used(tmp_path):
    twice = pa.Table.from_arrays([pa.array([1.0, 2.0]), pa.array([3.0, 4.0]), pa.array([5.0, 6.0])], names=["a", "a", "b"])
    pq.write_table(twice, tmp_path / "x.parquet")
    for how in ({}, {"columns": ["a"]}, {"columns": ["b"], "sample_weight": "a"}):
        with pytest.raises(InvalidDataError, match=r"x.parquet has more than one column 'a': rename all but one"):
            open_rows(tmp_path / "x.parquet", **how)
    np.testing.assert_array_equal(values(tmp_path / "x.parquet", columns=["b"]), [[5], [6]])
    done = CliRunner().invoke(cli, ["fit", str(tmp_path / "x.parquet"), "-k", "1", "-o", str(tmp_path / "m.json")])
    assert done.exit_code == 1
    assert "x.parquet has more than one column 'a'" in str(done.exception)


# Which files


def test_folders_that_match_a_pattern_are_tables(tmp_path):
    folder = tmp_path / "spark"
    one = [written(folder / "one.parquet" / f"part-{i}.parquet", a=[1.0 * i]) for i in range(2)]
    two = [written(folder / "two.parquet", a=[7.0]), written(folder / "year=3" / "x.PARQUET", a=[8.0])]
    for hidden in ("one.parquet/_temporary/0/x.parquet", "one.parquet/.part.1f.parquet", ".two.5a.parquet", "_x.parquet"):
        (folder / hidden).parent.mkdir(parents=True, exist_ok=True)
        (folder / hidden).write_bytes(b"PAR1 half")
    (folder / "one.parquet" / "_SUCCESS").touch()
    (folder / "one.parquet" / "_metadata").write_bytes(b"PAR1")
    everything = [str(path) for path in sorted([*one, *two])]
    assert parquet_files(folder / "*.parquet") == [str(path) for path in [*one, two[0]]]
    assert parquet_files(folder) == everything
    assert parquet_files(str(folder / "**")) == everything
    assert parquet_files(str(folder / "**" / "*.parquet")) == [str(path) for path in [*one, two[0]]]
    assert parquet_files(f"{folder}/*") == everything
    np.testing.assert_array_equal(values(folder / "*.parquet"), [[0], [1], [7]])


def test_hidden_files_that_are_named_are_read(tmp_path):
    spelled = written(tmp_path / "_raw" / "x.parquet", a=[1.0])
    dotted = written(tmp_path / "_raw" / ".y.parquet", a=[1.0])
    assert parquet_files(spelled.parent) == [str(spelled)]
    assert parquet_files(dotted) == [str(dotted)]
    assert parquet_files(tmp_path / "_r*" / "*.parquet") == [str(spelled)]
    assert parquet_files(tmp_path / "_raw" / ".*.parquet") == [str(dotted)]
    assert parquet_files(tmp_path / "*" / "*.parquet") == []


def test_predict_takes_folders_that_match_and_guards_the_files_in_them(table, tmp_path):
    (tmp_path / "d" / "t.parquet").mkdir(parents=True)
    table[["a", "b"]].to_parquet(tmp_path / "d" / "t.parquet" / "x.parquet")
    (tmp_path / "d" / ".out.3f.parquet").write_bytes(b"PAR1 half")  # what a killed process left
    data, model = str(tmp_path / "d" / "*.parquet"), str(tmp_path / "m.json")
    fitted = CliRunner().invoke(cli, ["fit", data, "-k", "2", "-o", model])
    assert fitted.exit_code == 0, fitted.output
    done = CliRunner().invoke(cli, ["predict", model, data, "-o", str(tmp_path / "out.parquet")])
    assert done.exit_code == 0, done.output
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 90
    refused = CliRunner().invoke(cli, ["predict", model, data, "-o", str(tmp_path / "d" / "t.parquet" / "x.parquet")])
    assert refused.exit_code == 2
    assert "is one of the files that are read" in refused.output


@pytest.mark.parametrize("place", ["0", "5"])
def test_an_empty_table_without_columns_is_passed_over(tmp_path, place):
    pd.DataFrame().to_parquet(tmp_path / f"{place}.parquet")
    written(tmp_path / "1.parquet", a=[1.0, 2.0])
    np.testing.assert_array_equal(values(tmp_path), [[1], [2]])
    np.testing.assert_array_equal(values(tmp_path, columns=["a"]), [[1], [2]])
    np.testing.assert_array_equal(next(stream_rows(tmp_path)).X, [[1], [2]])
    np.testing.assert_array_equal(values(ds.dataset(tmp_path, format="parquet")), [[1], [2]])
    with pytest.raises(InvalidDataError, match=rf"{place}.parquet has no columns"):
        open_rows(tmp_path / f"{place}.parquet")


def test_a_table_without_columns_but_with_rows_is_refused(tmp_path):
    written(tmp_path / "1.parquet", a=[1.0, 2.0])
    pd.DataFrame(index=pd.Index([3, 4], name="id")).to_parquet(tmp_path / "2.parquet")
    with pytest.raises(InvalidDataError, match=r"2.parquet has no column 'a'"):
        open_rows(tmp_path)


# .npy files


@pytest.mark.parametrize(("order", "words"), [("C", "ends in row 70 of 100"), ("F", "ends in column 2 of 3")])
def test_a_file_cut_short_is_told_whatever_its_order(tmp_path, order, words):
    np.save(tmp_path / "x.npy", np.ones((100, 3), order=order))
    os.truncate(tmp_path / "x.npy", 128 + 8 * 210)
    with pytest.raises(InvalidDataError, match=rf"x.npy {words}: it is shorter than it says, copy or write it again"):
        open_rows(tmp_path / "x.npy")


def test_weights_in_a_file_go_with_parquet_by_name(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table.to_parquet("x.parquet", index=False)
    weight = np.arange(90) % 3
    np.save("w.npy", weight)
    for rows in (open_rows("x.parquet", sample_weight="w.npy"), open_rows(ds.dataset(table_of(table)), sample_weight="w.npy")):
        assert (rows.n_features, rows.summary.weight) == (3, weight.sum())
    done = CliRunner().invoke(cli, ["fit", "x.parquet", "-k", "2", "--columns", "a,b", "--weights", "w.npy", "-o", "m.json"])
    assert done.exit_code == 0, done.output
    assert "30 of weight zero left out" in done.output
    with pytest.raises(InvalidDataError, match="has no column 'w'"):
        open_rows("x.parquet", sample_weight="w")
    table.rename(columns={"year": "w.npy"}).to_parquet("x.parquet", index=False)
    assert open_rows("x.parquet", sample_weight="w.npy").summary.weight == table.year.sum()  # the column goes first


def table_of(frame):
    return pa.Table.from_pandas(frame, preserve_index=False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an .npy file of plain numbers"),
        (b"1.0\n2.0\n", "is not an .npy file of plain numbers"),
        (np.array(["x", None], dtype=object), r"one number for each of the 2 rows of X, got object of shape \(2,\) in .*w.npy"),
        (np.array(["x", "y"]), r"got <U1 of shape \(2,\) in .*w.npy"),
        (np.ones(3), r"got float64 of shape \(3,\) in .*w.npy"),
        ("cut", "w.npy ends in row 1 of 2: it is shorter than it says"),
    ],
)
def test_files_that_hold_no_weights_are_named(tmp_path, content, words):
    np.save(tmp_path / "x.npy", np.ones((2, 1)))
    path = tmp_path / "w.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, np.ones(2) if isinstance(content, str) else content, allow_pickle=True)
    if isinstance(content, str):
        os.truncate(path, 128 + 8)
    for data in (tmp_path / "x.npy", written(tmp_path / "x.parquet", a=[1.0, 2.0])):
        with pytest.raises(InvalidDataError, match=words):
            open_rows(data, sample_weight=str(path))


def test_a_pattern_of_npy_files_says_what_patterns_are_for(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 1)))
    with pytest.raises(InvalidDataError, match=r"patterns are for these; give one \.npy file at a time"):
        GaussianMixture(1).fit(f"{tmp_path}/*.npy")
    with pytest.raises(InvalidDataError, match="No file matches"):
        open_rows(f"{tmp_path}/none*.npy")
    np.save(tmp_path / "[x].npy", np.ones((5, 1)))
    assert len(open_rows(tmp_path / "[x].npy")) == 5


# Arguments


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.DataFrame, pa.table, lambda d: d["a"], lambda d: np.array(d["a"]), lambda _: None]
)
def test_tables_in_memory_are_told_to_go_to_fit(make):
    with pytest.raises(InvalidDataError, match=r"takes a path, a numpy.memmap.*not .*: tables and arrays in memory go to fit"):
        open_rows(make({"a": [1.0, 2.0]}))


def test_rows_of_a_chunk_may_be_any_whole_number(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2500, 1)))
    assert len(open_rows(tmp_path / "x.npy", chunk_rows=1e3).parts) == 3
    assert len(open_rows(tmp_path / "x.npy", chunk_rows=np.int32(1000)).parts) == 3
    for wrong in (2.5, 0, -1, "10", np.nan, np.inf, [10]):
        with pytest.raises(InvalidParameterError, match="chunk_rows must be a whole number, at least 1"):
            open_rows(tmp_path / "x.npy", chunk_rows=wrong)


def test_a_scratch_folder_that_fills_up_is_named(tmp_path, monkeypatch):
    path = written(tmp_path / "x.parquet", a=np.arange(5000.0))

    class Full:
        def __getattr__(self, name):
            return getattr(stream, name)

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    stream = (tmp_path / "scratch").open("wb")
    monkeypatch.setattr("bayesgmm.rows.parquet.os.fdopen", lambda handle, _: (os.close(handle), Full())[1])
    with pytest.raises(InvalidDataError, match="is full: set TMPDIR to a folder with room"):
        open_rows(path)
    assert stream.closed
