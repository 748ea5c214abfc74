"""What is a table of numbers: the same answer at every door, with pandas and NumPy as the other route."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse

import bayesgmm as bg
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.tables.numeric import Wrong, as_numbers, boolean_columns, column_names, numbers_in
from bayesgmm.tables.uninformative import constant, extents, numbering

NAN = float("nan")
# Numbers that every one of the ways below can hold: quarters, far from the ends of the smallest type.
cell = st.none() | st.integers(-400, 400).map(lambda n: n / 4)
DOORS = ["frame", "objects", "lists"]


def rows_of_width(D):
    return st.lists(st.lists(cell, min_size=D, max_size=D), min_size=1, max_size=8)


def masked(values):
    there = ~np.isnan(values)
    return np.ma.MaskedArray(np.where(there, values, 1e20), mask=~there)


def with_none(values, kind=lambda v: v):
    return [[None if np.isnan(v) else kind(v) for v in row] for row in values.tolist()]


def objects(values, missing, kind=float):
    return np.array([[missing if np.isnan(v) else kind(v) for v in row] for row in values], dtype=object)


def frame(values):
    return pd.DataFrame(values, columns=[f"c{d}" for d in range(values.shape[1])])


def polars(values):
    pl = pytest.importorskip("polars")
    return pl.DataFrame(
        {f"c{d}": with_none(values[:, [d]].T)[0] for d in range(values.shape[1])}, schema_overrides=None, strict=False
    )


WAYS = {
    "array": lambda X: X,
    "float16": lambda X: X.astype(np.float16),
    "float32": lambda X: X.astype(np.float32),
    "long double": lambda X: X.astype(np.longdouble),
    "big-endian": lambda X: X.astype(">f8"),
    "Fortran": np.asfortranarray,
    "every other": lambda X: np.repeat(X, 2, axis=0)[::2],
    "masked": masked,
    "masked objects": lambda X: masked(X).astype(object),
    "list of masked rows": lambda X: list(masked(X)),
    "lists with None": with_none,
    "lists of Decimal": lambda X: with_none(X, lambda v: Decimal(str(v))),
    "lists of Fraction": lambda X: with_none(X, Fraction),
    "objects with NA": lambda X: objects(X, pd.NA),
    "objects with NaN": lambda X: objects(X, NAN, np.float32),
    "frame": frame,
    "frame of float32": lambda X: frame(X).astype(np.float32),
    "nullable": lambda X: frame(X).astype("Float64"),
    "nullable by inference": lambda X: frame(X).convert_dtypes(),
    "arrow": lambda X: frame(X).astype("double[pyarrow]"),
    "arrow decimals": lambda X: frame(X).astype(pd.ArrowDtype(pa.decimal128(8, 2))),
    "sparse frame": lambda X: frame(X).astype(pd.SparseDtype(float, NAN)),
    "frame of objects": lambda X: pd.DataFrame(objects(X, None), dtype=object),
    "frame of Decimal": lambda X: pd.DataFrame(objects(X, None, lambda v: Decimal(str(v))), dtype=object),
    "transposed frame": lambda X: pd.DataFrame(objects(X.T, pd.NA), dtype=object).T,
    "pyarrow": lambda X: pa.Table.from_pandas(frame(X)),
    "polars": polars,
}


@given(
    X=st.integers(1, 3).flatmap(lambda D: st.lists(st.lists(cell, min_size=D, max_size=D), min_size=1, max_size=8)),
    way=st.sampled_from(sorted(WAYS)),
)
@settings(deadline=None, max_examples=300)
def test_the_same_numbers_in_whatever_they_come(X, way):
    expected = np.array(X, dtype=float)
    given_table = WAYS[way](expected)
    found = numbers_in(given_table)
    assert (found.dtype, found.flags.c_contiguous, found.dtype.isnative) == (np.float64, True, True)
    assert_array_equal(found, expected)
    assert boolean_columns(given_table) == []


def test_what_needs_no_change_is_not_copied():
    X = np.arange(6.0).reshape(3, 2)
    X.setflags(write=False)
    assert np.shares_memory(numbers_in(X), X)


def test_large_whole_numbers_and_integers():
    X = [[2**70, 1], [3, 10**15]]
    assert_array_equal(numbers_in(X), np.array(X, dtype=float))
    assert_array_equal(numbers_in(pd.DataFrame(X).astype({1: "UInt64"})), np.array(X, dtype=float))


BAD = {
    "text": ("v", "text"),
    "number as text": ("1.5", "text"),
    "bytes": (b"v", "text"),
    "a limit": ("<0.01", "a limit, not a value"),
    "a comma": ("1,5", "without a comma"),
    "date": (date(2020, 1, 1), "days"),
    "time stamp": (pd.Timestamp("2020-01-01"), "days"),
    "no time": (pd.NaT, "days"),
    "datetime64": (np.datetime64("2020-01-01"), "days"),
    "period": (pd.Period("2020-01"), "days"),
    "span": (timedelta(1), "days"),
    "timedelta64": (np.timedelta64(3, "s"), "days"),
    "complex": (1 + 2j, "real and imaginary"),
    "too large": (10**400, "other units"),
    "list": ([1.0], "numeric columns"),
    "dict": ({}, "numeric columns"),
}


@given(
    name=st.sampled_from(sorted(BAD)),
    row=st.integers(0, 3),
    column=st.integers(0, 1),
    door=st.sampled_from(DOORS),
)
@settings(deadline=None)
def test_what_is_no_number_is_named_with_its_row_and_column(name, row, column, door):
    value, words = BAD[name]
    table = np.array([[1.5, 2.5]] * 4, dtype=object)
    table[row, column] = value
    X = {"frame": pd.DataFrame({"a": table[:, 0], "b": table[:, 1]}, dtype=object), "objects": table, "lists": table.tolist()}[door]
    with pytest.raises(InvalidDataError) as raised:
        numbers_in(X)
    said = str(raised.value)
    assert words in said
    assert "\n" not in said
    if name != "complex" or door == "frame":  # of complex arrays scikit-learn has a sentence of its own
        assert f"row {row}" in said
        assert (f"Column '{'ab'[column]}'" if door == "frame" else f"column {column}") in said


COLUMNS = {
    "dates": (pd.to_datetime(["2020-01-01", None, "2020-01-03"]), "2020-01-01"),
    "dates with a zone": (pd.to_datetime(["2020-01-01", None, "2020-01-03"]).tz_localize("UTC"), "2020-01-01"),
    "spans": (pd.to_timedelta([1, 2, 3], unit="D"), "1 day"),
    "words": (["x", "y", "z"], "'x'"),
    "categories": (pd.Categorical(["m", "f", "m"]), "several categories"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_other_kinds_get_the_same_answer_at_every_door(name, tmp_path):
    values, shown = COLUMNS[name]
    table = pd.DataFrame({"a": [1.0, 2.0, 5.0], "b": values})
    path = tmp_path / "t.parquet"
    table.to_parquet(path)
    doors = [table, pa.Table.from_pandas(table), str(path), ds.dataset(path), dd.from_pandas(table, npartitions=1)]
    pl = pytest.importorskip("polars")
    said = set()
    for door in [*doors, pl.from_pandas(table)]:
        with pytest.raises(InvalidDataError, match=r"Column 'b'.* is not numeric: .*row 0") as raised:
            bg.GaussianMixture(1).fit(door)
        assert shown in str(raised.value)
        said.add(str(raised.value).partition(" is not numeric: ")[2].partition(" (")[0])
    assert len(said) == 1  # the advice


def test_numbers_that_stand_for_categories_are_no_measurements(tmp_path):
    table = pd.DataFrame({"a": [1.0, 2.0, 5.0], "b": pd.Categorical([3, 1, 3])})
    table.to_parquet(tmp_path / "t.parquet")
    for door in (table, tmp_path / "t.parquet"):
        with pytest.raises(InvalidDataError, match=r"Column 'b'.* categories have no distances"):
            bg.GaussianMixture(1).fit(door)


def test_true_and_false_are_1_and_0_with_a_word_at_every_door(tmp_path, rng):
    z = rng.random(60) < 0.5
    table = pd.DataFrame({"x": rng.normal(size=60) + 6 * z, "member": (rng.random(60) < 0.2) | z})
    table.to_parquet(tmp_path / "t.parquet")
    plain = bg.GaussianMixture(1).fit(table.astype(float)).means_
    doors = [
        table,
        table.astype({"member": "boolean"}),
        table.astype({"member": "bool[pyarrow]"}),
        table.astype({"member": object}),
        pa.Table.from_pandas(table),
        tmp_path / "t.parquet",
        dd.from_pandas(table, npartitions=2),
    ]
    for door in doors:
        with pytest.warns(UserWarning, match="Column 'member': True and False are fitted as 1 and 0"):
            em = bg.GaussianMixture(1).fit(door)
        np.testing.assert_allclose(em.means_, plain, rtol=1e-12)
    both = np.column_stack([z, rng.random(60) < 0.5])
    np.save(tmp_path / "t.npy", both)
    for door in (both, both.tolist(), both.astype(object), tmp_path / "t.npy", da.from_array(both, chunks=(30, 2))):
        with pytest.warns(UserWarning, match="Columns 'x0' and 'x1': True and False"):
            bg.GaussianMixture(1).fit(door)


def test_several_columns_are_named_together():
    table = pd.DataFrame({"s": ["x"], "x": [1.0], "t": pd.to_datetime(["2020-01-01"])})
    with pytest.raises(
        InvalidDataError, match=r"Columns 's' and 't' are not numeric: leave them out .* \('x' in row 0 of 's' is text\)"
    ):
        numbers_in(table)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (pd.Series([1.0, 2.0], name="w"), r"give X.to_frame\(\), or choose it as df\[\['w'\]\]"),
        ([1.0, 2.0, 3.0], "one dimension"),
        (np.ones(3), r"Reshape your data: X.reshape\(-1, 1\)"),
        ([[1.0], [2.0, 3.0]], "different lengths"),
        (np.zeros(2, dtype=[("a", float), ("b", float)]), r"fields a, b: give pd.DataFrame\(X\)"),
        ({"a": [1.0, 2.0]}, "X must be a table of numbers, with rows and columns, and is of the type 'dict'"),
        ({1.0, 2.0}, "of the type 'set'"),
        (np.array([[1 + 1j]]), "Complex data not supported"),
        (np.array([["2020-01-01"]], dtype="M8[D]"), "row 0, column 0, which is not a number but a date"),
    ],
)
def test_what_is_no_table_gets_one_sentence(X, words):
    with pytest.raises(InvalidDataError, match=words):
        numbers_in(X)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_sparse_arrays_and_matrices_are_refused_in_scikit_learns_words():
    for X in (sparse.csr_array(np.eye(2)), np.matrix([[1.0]])):
        with pytest.raises(TypeError, match=r"Sparse data was passed|np\.matrix is not supported"):
            numbers_in(X)


def test_names_of_columns_are_those_of_the_table():
    table = pd.DataFrame({"a": [1.0], "column_names": [2.0]})
    assert column_names(table, 2) == column_names(pa.Table.from_pandas(table), 2) == ["a", "column_names"]
    assert column_names(np.ones((1, 2)), 2) == ["x0", "x1"]


def test_dask_arrays_know_what_is_masked(rng):
    X = rng.normal(size=(40, 2))
    X[::5, 1] = NAN
    blocks = da.from_array(X, chunks=(20, 2)).map_blocks(
        lambda block: np.ma.MaskedArray(np.nan_to_num(block, nan=-9e9), np.isnan(block))
    )
    np.testing.assert_allclose(bg.GaussianMixture(1).fit(blocks).means_, bg.GaussianMixture(1).fit(X).means_, rtol=1e-9)


def test_weights_are_numbers_of_the_same_kinds(faithful):
    once = bg.GaussianMixture(1).fit(faithful, sample_weight=[True, False] * 136).means_
    np.testing.assert_allclose(once, bg.GaussianMixture(1).fit(faithful.iloc[::2]).means_, rtol=1e-9)
    for weight in (np.ma.MaskedArray(np.ones(272), np.arange(272) == 3), pd.Series([1, 1, 1, pd.NA] + [1] * 268, dtype="Int64")):
        with pytest.raises(InvalidDataError, match="it is nan in row 3"):
            bg.GaussianMixture(1).fit(faithful, sample_weight=weight)


# Columns that tell no groups apart


@given(n=st.integers(10, 40), start=st.integers(-5, 5), seed=st.integers(0, 99))
def test_consecutive_numbers_in_any_order_number_the_rows(n, start, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    table = pd.DataFrame(
        {"x": order + start, "y": rng.normal(size=n), "twice": np.where(order == n - 1, 0, order), "same": 2.5, "none": NAN}
    )
    found = extents(table)
    assert list(numbering(found)) == ["x"]
    assert constant(found) == {"same": "2.5 in every row", "none": "no value at all"}


@pytest.mark.parametrize("name", ["id", "ID", "Index", "Unnamed: 0", "row", "PassengerId", "customer_id", "Patient ID"])
def test_names_of_columns_that_number_rows(name):
    numbers = [7, 1, 30, 12, 9]
    assert list(numbering(extents(pd.DataFrame({name: numbers})))) == [name]
    assert not numbering(extents(pd.DataFrame({name: np.array(numbers) + 0.5})))


@pytest.mark.parametrize("name", ["Fluid", "ACID", "humid", "width", "indexed"])
def test_names_that_only_look_so(name):
    assert not numbering(extents(pd.DataFrame({name: [7, 1, 30, 12, 9]})))


def test_a_value_is_shown_in_a_line():
    wrong = as_numbers(np.array(["a\nb" * 40], dtype=object))
    assert isinstance(wrong, Wrong)
    assert "\n" not in wrong.shown
    assert len(wrong.shown) <= 40
