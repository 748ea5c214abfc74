"""Text files as people have them: what pandas reads when it is told how, and one line that says what was assumed."""

import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from bayesgmm.cli import main
from bayesgmm.cli.options import Data, Model, Sampling
from bayesgmm.cli.steps import command_line
from bayesgmm.exceptions import InvalidDataError, ReadingNote
from bayesgmm.files import place_of, read_table, readable

number = st.integers(-99_999, 99_999).map(lambda n: n / 100)
NAMES = ["größe", "mass (g)", "c"]


def told(content, name="t.csv", columns=None):
    """The table, and what is said about it."""
    with TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = Path(folder, name)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        table = read_table(path, columns)
    assert all(issubclass(one.category, ReadingNote) for one in caught)
    assert len(caught) <= 1  # one line
    return table, "".join(str(one.message) for one in caught).partition(": ")[2]


def cell(value, decimal, thousands, gap):
    if np.isnan(value):
        return gap
    return f"{value:,.2f}".translate(str.maketrans({",": thousands, ".": decimal}))


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_a_table_is_read_back_however_it_was_written(data):
    D = data.draw(st.integers(2, 3), "columns")
    rows = data.draw(st.lists(st.lists(number, min_size=D, max_size=D), min_size=3, max_size=12), "rows")
    X = np.array(rows, dtype=float)
    for d in range(D):  # fewer than half: of a column that is mostly gaps nobody knows what it holds
        X[data.draw(st.lists(st.integers(0, len(X) - 1), max_size=(len(X) - 1) // 2), "gaps"), d] = np.nan
    separator = data.draw(st.sampled_from(",;\t|"), "separator")
    decimal = data.draw(st.sampled_from("." if separator == "," else ".,"), "decimal")
    marks = {"", "'", "\u00a0"} | (set() if separator == "," else {"." if decimal == "," else ","})
    thousands = data.draw(st.sampled_from(sorted(marks)), "thousands")
    gap = data.draw(st.sampled_from(["", "NA", "?", "-", "n.a."]), "gap")
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]), "encoding")
    above = data.draw(st.sampled_from(["", "sep", "# made by a program\n", "A title\n\n"]), "above")
    lines = [separator.join(NAMES[:D]), *(separator.join(cell(v, decimal, thousands, gap) for v in row) for row in X)]
    end = data.draw(st.sampled_from(["\n", "\r\n"]), "end")
    text = (f"sep={separator}\n" if above == "sep" else above) + "\n".join(lines) + "\n"
    units = data.draw(st.booleans(), "units")
    if units:
        text = text.replace(lines[0], f"{lines[0]}\n{separator.join(['cm', 'g', 's'][:D])}", 1)
    table, said = told(text.replace("\n", end).encode(encoding))
    assert list(table) == NAMES[:D]
    assert_array_equal(table.to_numpy(dtype=float), X)
    assert ("decimal comma" in said) == (decimal == "," and np.isfinite(X).any())
    assert ("between columns" in said) == (separator != ",")
    assert ("Latin-1" in said) == (encoding == "latin-1")
    assert ("(cm, g" in said) == units
    if gap in ("?", "-", "n.a.") and np.isnan(X).any():
        counts = [f"{n} cell{'' if n == 1 else 's'} of {name!r}" for name, n in zip(NAMES, np.isnan(X).sum(0), strict=False) if n]
        assert all(count in said for count in counts)


@given(rows=st.lists(st.lists(st.integers(-999, 999), min_size=3, max_size=3), min_size=2, max_size=9), words=st.booleans())
@settings(deadline=None)
def test_a_file_without_column_names_loses_no_row(rows, words):
    assume(rows[0] != [0, 1, 2])  # which pandas writes above columns without names
    lines = [",".join([*map(str, row), *(["Adelie"] if words else [])]) for row in rows]
    table, said = told("\n".join(lines) + "\n")
    assert list(table) == [f"x{d}" for d in range(3 + words)]
    assert_array_equal(table.iloc[:, :3].to_numpy(), rows)
    assert "because its first line holds values" in said


COUNTS = ["1,2,3\n4,5,6\n7,8,9\n", "0,1,2\n3,4,5\n", "2001,2002\n2003,2005\n", "1,2,3,4\n2,4,6,8\n", "7\n9\n8\n"]


@pytest.mark.parametrize("content", COUNTS)
def test_counts_that_begin_a_table_of_counts_name_nothing(content):
    assert len(told(content)[0]) == content.count("\n")


@given(
    rows=st.lists(st.tuples(number, number), min_size=3, max_size=8),
    separator=st.sampled_from([",", ";", "\t", " "]),
    words=st.booleans(),
)
@settings(deadline=None)
def test_rows_with_names_in_front_are_read_as_r_writes_them(rows, separator, words):
    names = [f'"car {i}"' if words and separator != " " else f'"car{i}"' if words else f'"{i + 1}"' for i in range(len(rows))]
    lines = [separator.join(['"a"', '"b"'])]
    lines += [separator.join([name, str(a), str(b)]) for name, (a, b) in zip(names, rows, strict=True)]
    table, _ = told("\n".join(lines) + "\n")
    assert list(table.columns) == ["Unnamed: 0", "a", "b"]
    assert_array_equal(table[["a", "b"]].to_numpy(), rows)


def test_a_number_in_front_of_a_decimal_comma_is_no_name_of_a_row():
    with pytest.raises(InvalidDataError, match="more values than"):
        told("a,b\n7,1,5\n3,2,5\n9,4,1\n")


def test_commas_in_words_say_nothing_of_decimals():
    table, said = told('a,note\n1.234,"3,5"\n2.345,about\n3.456,none of them\n')
    assert table["a"].tolist() == [1.234, 2.345, 3.456]
    assert said == ""


@pytest.mark.parametrize("columns", [None, ["a"], ["b"]])
def test_what_a_number_is_does_not_depend_on_the_columns_that_are_asked_for(columns):
    table, _ = told("a;b\n1.234;1,5\n2.500;2,5\n", columns=columns)
    both = pd.DataFrame({"a": [1234.0, 2500.0], "b": [1.5, 2.5]})
    pd.testing.assert_frame_equal(table, both[list(table)])


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("2019,2020\n1,2\n", ["2019", "2020"]),
        ("0,1,2\n5,9,7\n", ["0", "1", "2"]),
        ("1,2\n1.5,2.5\n0.5,3.5\n", ["1", "2"]),
        (",0,1\n0,5,6\n1,7,8\n", ["Unnamed: 0", "0", "1"]),
        ("7,mass\n1,2\n3,4\n", ["7", "mass"]),
        ("400,402,404,406\n1,2,4,3\n5,6,9,8\n", ["400", "402", "404", "406"]),
    ],
)
def test_numbers_that_name_columns(content, names):
    assert list(told(content)[0]) == names


READ = {
    "per cent": ("a,b\n12%,1\n7.5 %,2\n", [[12, 1], [7.5, 2]], "'12%' read as 12 in 'a'"),
    "Swiss": ("a,b\n1'200,1\n13,2\n", [[1200, 1], [13, 2]], "\"1'200\" read as 1200 in 'a'"),
    "quoted thousands": ('a,b\n"1,234",1\n"2,500",2\n', [[1234, 1], [2500, 2]], "'1,234' read as 1234 in 'a'"),
    "quoted decimals": ('a,b\n"1,5",1\n"2,5",2\n', [[1.5, 1], [2.5, 2]], "read with a decimal comma"),
    "points between thousands": ("a;b\n1.234;1,5\n2.500;2,5\n", [[1234, 1.5], [2500, 2.5]], "'1.234' read as 1234 in 'a'"),
    "semicolons and three decimals": ("a;b\n1,234;5\n2,345;6\n", [[1.234, 5], [2.345, 6]], "a decimal comma"),
    "one column": ("x\n1,5\n2,25\n", [[1.5], [2.25]], "a decimal comma"),
    "blanks": ("a b\n1  2\n3 4\n", [[1, 2], [3, 4]], "read with spaces between columns"),
    "names in a comment": ("# a,b\n1,2.5\n3,4\n", [[1, 2.5], [3, 4]], ""),
    "separators at the ends": ("a;b;\n1;2;\n3;4;\n", [[1, 2], [3, 4]], "read with ';' between columns"),
    "a number of rows without a name": (",a\n0,5\n1,6\n", [[0, 5], [1, 6]], ""),
    "a typesetter's minus": ("a,b\n\u22125,1\n3,2\n", [[-5, 1], [3, 2]], "read as -5 in 'a'"),
    "nothing but gaps": ("a,b\n1,?\n2,?\n", [[1, np.nan], [2, np.nan]], "'?' taken as missing in 2 cells of 'b'"),
    "plain": ("a,b\n1,2.5\n3,\n", [[1, 2.5], [3, np.nan]], ""),
}


@pytest.mark.parametrize("name", READ)
def test_what_can_be_read_is_read_and_told(name):
    content, rows, words = READ[name]
    table, said = told(content)
    assert_array_equal(table.to_numpy(dtype=float), np.array(rows, dtype=float))
    assert words in said
    assert bool(words) == bool(said)


def fails(capsys, *words):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["fit", *words, "-o", "m.json"]) == 2
    return capsys.readouterr().err.splitlines()[-1]


NOT_READ = {
    "a limit": ("a,pb\n1,0.2\n2,<0.01\n3,0.4\n", "Column 'pb' has '<0.01' in line 3, which is a limit, not a value: "),
    "a word": ("a,b\n1,2\n\n3,4\n4,high\n", "Column 'b' has 'high' in line 5, which is text"),
    "below a name in two lines": ('a,"b\nc"\n1,2\n3,4\n4,high\n5,6\n', "has 'high' in line 5, which is text"),
    "a point among decimal commas": ("a;b\n1,5;2,5\n1,5;0.5\n1,5;3,5\n", "Column 'b' has '0.5' in line 3"),
    "decimals of both kinds": (
        "a;b\n3.14;1,5\n2.5;2,5\n",
        "Column 'b' has '1,5' in line 2, which is text: write numbers without a",
    ),
    "per cent and not": ("a,b\n12%,1\n0.5,2\n0.7,3\n", "Column 'a' has '12%' in line 2"),
    "a date": ("t,x\n2020-01-01,5\n2020,6\n", "Column 't' has '2020-01-01' in line 2, which is a date or time: "),
    "comma of either kind": (
        "a\tb\n1,200\t1\n1,300\t2\n",
        "Column 'a' has '1,200' in line 2, which is text: write numbers without a comma",
    ),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_what_cannot_be_read_is_named_with_its_line(name, tmp_path, monkeypatch, capsys):
    content, words = NOT_READ[name]
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(content)
    assert words in fails(capsys, "t.csv", "-k", "1")
    assert not Path("m.json").exists()


@given(
    lines=st.lists(st.sampled_from(["1,2", "", "  ", '3,"4"', '"5",6']), min_size=1, max_size=12),
    header=st.sampled_from(["a,b", '"a\nx",b']),
)
@settings(deadline=None)
def test_the_line_of_a_row_is_the_files(lines, header):
    content = "\n".join([header, *lines]) + "\nlast,9\n"
    rows = [n for n, line in enumerate(lines) if line.strip()]
    with TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_text(content)
        first = header.count("\n") + 2
        assert [place_of(path, row) for row in range(len(rows) + 1)] == [f"line {first + n}" for n in [*rows, len(lines)]]


def refusal(content):
    """What is said of a file that is no table, "" of one that is."""
    try:
        return "" if len(told(content)[0]) else "no rows\n"
    except InvalidDataError as error:
        return str(error)


PIECES = [
    "1",
    "2.5",
    "-3",
    "1,5",
    "1'200",
    "12%",
    "?",
    "NA",
    "x",
    "ö",
    '"',
    "<0.1",
    *";,\t |",
    "\n",
    "\n",
    "\r\n",
    "#",
    "sep=;\n",
    "2019",
]
ODD = ["0", "True", "\x85", "\u2028", "'", "\x00", '""']


@given(
    text=st.lists(st.sampled_from(PIECES + ODD), max_size=40).map("".join), encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"])
)
@settings(deadline=None)
def test_whatever_a_file_holds_is_a_table_or_gets_one_sentence(text, encoding):
    assert "\n" not in refusal(text.encode(encoding, "replace"))


# Columns that are left out


@pytest.fixture
def with_ids(rng):
    z = np.repeat([0, 1], 30)
    return pd.DataFrame(
        {"Id": np.arange(1, 61), "a": rng.normal(size=60) + 6 * z, "unit": 3, "b": rng.normal(size=60) + 6 * z, "empty": np.nan}
    )


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_columns_that_tell_no_groups_apart_are_left_out_at_both_doors(with_ids, suffix, shuffled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = with_ids.sample(frac=1, random_state=1) if shuffled else with_ids
    table = table.rename(columns={"Id": "subject"}) if shuffled else table
    path = f"t{suffix}"
    _ = table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path, index=False)
    assert main(["fit", path, "-k", "2", "-o", "m.json", "-q"]) == 0
    assert json.loads(Path("m.json").read_text())["feature_names"] == ["a", "b"]
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    name = "subject" if shuffled else "Id"
    reasons = f"'{name}' (1 to 60, each once, as row numbers are), 'unit' (3 in every row), 'empty' (no value at all)"
    assert said == [f"t{suffix}: left out {reasons}; --columns takes them in by their names"]


@pytest.mark.filterwarnings("always")
def test_words_dates_and_marks_are_left_out_and_units_are_asked_about(with_ids, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = {"who": ["Ann", "B 2"] * 30, "day": ["2024-01-01", "2024-02-01"] * 30, "mark": [1, 2, 2] * 20}
    with_ids[["a", "b"]].assign(**words).to_csv("t.csv", index=False)
    assert main(["fit", "t.csv", "-k", "2", "-o", "m.json", "-q"]) == 0
    assert json.loads(Path("m.json").read_text())["feature_names"] == ["a", "b"]
    said = "'who' (text, such as 'Ann'), 'day' (a date or time), 'mark' (only 2 different values, as marks and codes have)"
    assert f"t.csv: left out {said}; --columns takes those that hold numbers in by their names" in capsys.readouterr().err
    for odd in ("3 cm", "<3", "$12.50", "(5)", "−5,1"):
        with_ids[["a"]].assign(c=[odd] * 60).to_csv("u.csv", index=False)
        assert "'c'" in fails(capsys, "u.csv", "-k", "2")


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_that_are_asked_for_are_used(with_ids, suffix, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = f"t{suffix}"
    _ = with_ids.to_csv(path, index=False) if suffix == ".csv" else with_ids.to_parquet(path, index=False)
    assert main(["fit", path, "-k", "2", "-o", "m.json", "-q", "--columns", "Id,a"]) == 0
    assert json.loads(Path("m.json").read_text())["feature_names"] == ["Id", "a"]
    assert "Warning: 'Id' (1 to 60, each once, as row numbers are)" in capsys.readouterr().err
    assert "'unit' the same value in every row" in fails(capsys, path, "-k", "2", "--columns", "unit,a").replace(" has", "")


@pytest.mark.filterwarnings("always")
def test_arrays_cannot_leave_columns_out_and_say_so(with_ids, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("t.npy", with_ids[["Id", "a"]])
    assert main(["fit", "t.npy", "-k", "1", "-o", "m.json", "-q"]) == 0
    assert "Warning: 'x0' (1 to 60, each once, as row numbers are)" in capsys.readouterr().err


@pytest.mark.filterwarnings("always")
def test_true_and_false_are_warned_of_in_every_file(tmp_path, monkeypatch, capsys, rng):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"x": rng.normal(size=40), "member": rng.random(40) < 0.5})
    table.to_csv("t.csv", index=False)
    table.to_csv("d.csv", index=False, sep=";", decimal=",")
    table.to_parquet("t.parquet")
    for words in (["t.csv"], ["d.csv"], ["t.parquet"], ["t.parquet", "--drop-missing"]):
        assert main(["fit", *words, "-k", "1", "-o", "m.json", "-q"]) == 0
        assert "Warning: Column 'member': True and False are fitted as 1 and 0" in capsys.readouterr().err


# Names of files


def test_bytes_of_a_name_that_are_no_utf_8_are_read_as_latin_1():
    name = os.fsdecode(b"K\xf6ln.csv")
    assert readable(name) == readable("Köln.csv") == "Köln.csv"
    assert Data(name).name == "Köln"
    command = command_line(Data(name), (2,), Model(2, random_state=1), Sampling(), "both")
    command.encode()
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, check=True).stdout.split(b"\n")
    assert words[2] == b"K\xf6ln.csv"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("suffix", [b".csv", b".parquet"])
def test_files_with_such_names_are_read_and_written(with_ids, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, out = os.fsdecode(b"K\xf6ln" + suffix), os.fsdecode(b"\xf6.parquet")
    # Bytes, not names: pandas would hand these to Arrow.
    Path(name).write_bytes(with_ids.to_csv(index=False).encode() if suffix == b".csv" else with_ids.to_parquet())
    assert main(["fit", name, "-k", "1", "-o", "m.json", "-q"]) == 0
    assert json.loads(Path("m.json").read_text())["data"] == "Köln" + suffix.decode()
    assert main(["predict", "m.json", name, "-o", out, "-q"]) == 0
    assert len(pd.read_parquet(io.BytesIO(Path(out).read_bytes()))) == 60


def test_columns_without_names_are_chosen_by_their_places():
    with pytest.raises(InvalidDataError, match="A column without a name is called 'Unnamed: 0'"):
        told(",a\n0,5\n1,6\n", columns=["", "a"])
    assert list(told(",a\n0,5\n1,6\n", columns=["Unnamed: 0"])[0]) == ["Unnamed: 0"]
