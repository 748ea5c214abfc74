"""Tables come in as they were written or with one sentence that says why not; files go out whole or not at all."""

import os
import stat
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgmm import datasets
from bayesgmm.exceptions import InvalidDataError, ReadingNote
from bayesgmm.files import atomic_write, atomic_write_text, check_writable, read_table

numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20)
names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1).map(str.strip).filter(bool)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestAtomicWrite:
    @given(text=st.text(st.characters(codec="utf-8")))
    def test_text_comes_back_to_the_byte(self, text: str) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "text.txt")
            atomic_write_text(path, text)
            assert path.read_bytes() == text.encode()
            assert entries(Path(folder)) == ["text.txt"]

    def test_the_old_file_stays_until_the_new_one_is_complete(self, tmp_path: Path) -> None:
        path = tmp_path / "model.json"
        path.write_text("old")
        with atomic_write(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old"
            assert (temporary.parent, temporary.suffix) == (tmp_path, ".json")
        assert path.read_text() == "new"

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
    @pytest.mark.parametrize("old", [None, "old"])
    def test_a_failure_leaves_what_was_there(self, tmp_path: Path, error: type[BaseException], old: str | None) -> None:
        path = tmp_path / "model.json"
        if old is not None:
            path.write_text(old)
        before = entries(tmp_path)

        def write_half() -> None:
            with atomic_write(path) as temporary:
                temporary.write_text("half of")
                raise error

        with pytest.raises(error):
            write_half()
        assert entries(tmp_path) == before
        assert old is None or path.read_text() == old

    def test_unencodable_text_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UnicodeEncodeError):
            atomic_write_text(tmp_path / "text.txt", "\ud800")
        assert entries(tmp_path) == []

    def test_a_writer_that_wrote_nothing_is_an_error(self, tmp_path: Path) -> None:
        def write_nothing() -> None:
            with atomic_write(tmp_path / "model.json"):
                pass

        with pytest.raises(FileNotFoundError):
            write_nothing()

    def test_missing_folders_are_made(self, tmp_path: Path) -> None:
        atomic_write_text(tmp_path / "a" / "b" / "c.txt", "there")
        assert (tmp_path / "a" / "b" / "c.txt").read_text() == "there"

    def test_a_link_is_written_through(self, tmp_path: Path) -> None:
        (tmp_path / "real.txt").write_text("old")
        (tmp_path / "link.txt").symlink_to("real.txt")
        atomic_write_text(tmp_path / "link.txt", "new")
        assert (tmp_path / "link.txt").is_symlink()
        assert (tmp_path / "real.txt").read_text() == "new"

    def test_others_may_read_what_they_could_have_read(self, tmp_path: Path) -> None:
        (tmp_path / "plain.txt").write_text("")
        atomic_write_text(tmp_path / "atomic.txt", "")
        modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain.txt", "atomic.txt")]
        assert modes[0] == modes[1]


class TestCheckWritable:
    def test_it_creates_nothing(self, tmp_path: Path) -> None:
        check_writable(tmp_path / "new" / "model.json")
        check_writable(tmp_path / "new" / "report", folder=True)
        assert entries(tmp_path) == []

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(IsADirectoryError):
            check_writable(tmp_path)
        check_writable(tmp_path, folder=True)

    @pytest.mark.parametrize("beyond", ["", "report", "report/deep"])
    def test_a_file_is_no_folder(self, tmp_path: Path, beyond: str) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(NotADirectoryError, match="file"):
            check_writable(tmp_path / "file" / beyond, folder=True)

    def test_a_locked_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write anywhere
        with pytest.raises(PermissionError):
            check_writable(tmp_path / "model.json")


class TestReadTable:
    @given(st.data())
    @settings(deadline=None)
    def test_numbers_come_back_exactly(self, data: st.DataObject) -> None:
        suffix = data.draw(st.sampled_from([".csv", ".tsv", ".parquet", ".CSV"]))
        values = data.draw(numbers)
        columns = data.draw(st.lists(names, min_size=1, max_size=3, unique=True).filter(is_header))
        table = pd.DataFrame({name: np.roll(values, place) for place, name in enumerate(columns)})
        with TemporaryDirectory() as folder:
            path = Path(folder, "table" + suffix)
            write(table, path)
            back = read_table(path)
            wanted = data.draw(st.permutations(columns))
            assert list(read_table(path, wanted)) == wanted
        assert list(back) == columns
        np.testing.assert_array_equal(back.to_numpy(dtype=float), table.to_numpy())

    @pytest.mark.parametrize("text", ["#,A\n1,2.5\n2,3.5\n", "#\tA\n1\t2.5\n2\t3.5\n"])
    def test_a_column_called_number_sign(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "t.tsv").write_text(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReadingNote)
            table = read_table(tmp_path / "t.tsv")
        assert table.to_dict("list") == {"#": [1, 2], "A": [2.5, 3.5]}

    @pytest.mark.parametrize("name", datasets.names())
    def test_shipped_data_by_name(self, name: str) -> None:
        table = datasets.load(name)
        pd.testing.assert_frame_equal(read_table(name), table)
        pd.testing.assert_frame_equal(read_table(name, list(table)[:1]), table.iloc[:, :1])

    def test_a_file_needs_its_suffix_to_win_over_a_shipped_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("faithful", "faithful.csv"):
            Path(name).write_text("mine\n1.5\n")
        assert list(read_table("faithful")) == ["eruptions", "waiting"]
        assert list(read_table("faithful.csv")) == ["mine"]

    def test_what_spreadsheets_write(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_bytes('\ufeffa, "b, c"\r\n1,2.5\r\n\r\n,3\r\n'.encode())
        table = read_table(path)
        assert table["a"].isna().tolist() == [False, True]

    def test_years_may_name_columns(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("2019,2020\n1,2\n")
        with pytest.warns(ReadingNote, match=r"read with its first line \(2019, 2020\) as column names"):
            assert list(read_table(path)) == ["2019", "2020"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("", r"is empty\.$"),
            ("\n\n", r"cannot be read: No columns"),
            ("a,b\n", r"has column names but no rows\.$"),
            ("a,b,a\n1,2,3\n", r"more than one column 'a'; rename"),
            ("a,b\n1,2,3\n4,5,6\n", r"rows with more values than its first line has column names"),
            ("a,b\n1,2\n1,2,3\n", r"Expected 2 fields in line 3, saw 3\.$"),
            ('a,b\n"1,2\n', r"EOF inside string"),
            (b"\x89PNG\r\n\0\0\0", r"is not text; save it as UTF-8\.$"),
        ],
    )
    def test_bad_text_is_named(self, tmp_path: Path, content: str | bytes, says: str) -> None:
        path = tmp_path / "table.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(InvalidDataError, match=says) as raised:
            read_table(path)
        assert str(path) in str(raised.value)

    @pytest.mark.parametrize("content", [b"PAR1 but not really", b"\0" * 100])
    def test_corrupt_parquet(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "table.parquet"
        path.write_bytes(content)
        with pytest.raises(InvalidDataError, match="is not a readable Parquet file"):
            read_table(path)

    def test_cut_off_parquet(self, tmp_path: Path) -> None:
        path = tmp_path / "table.parquet"
        datasets.load_penguins().to_parquet(path)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(InvalidDataError, match="is not a readable Parquet file"):
            read_table(path)

    @pytest.mark.parametrize(
        ("columns", "says"),
        [
            (["a", "z"], r"has no column 'z'; it has a, b\.$"),
            (["a", "a"], r"Column 'a' was asked for more than once"),
            ([], r"No columns were chosen"),
        ],
    )
    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_bad_columns(self, tmp_path: Path, suffix: str, columns: list[str], says: str) -> None:
        path = tmp_path / f"table{suffix}"
        write(pd.DataFrame({"a": [1.0], "b": [2.0]}), path)
        with pytest.raises(InvalidDataError, match=says):
            read_table(path, columns)

    def test_nothing_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("eruptions.csv").write_text("a\n1\n")
        with pytest.raises(InvalidDataError, match=r"'eruption.csv'; did you mean 'eruptions.csv'\?$"):
            read_table("eruption.csv")
        with pytest.raises(InvalidDataError, match=r"'faithfull'; did you mean 'faithful'\?$"):
            read_table("faithfull")
        with pytest.raises(InvalidDataError, match=r"'zzz'; the data sets that ship with bayesgmm are cyclists, faithful"):
            read_table("zzz")

    def test_folders_and_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "table.xlsx").write_bytes(b"x")
        with pytest.raises(InvalidDataError, match=r"must end in \.csv, \.tsv or \.parquet"):
            read_table(tmp_path / "table.xlsx")
        with pytest.raises(InvalidDataError, match="is a folder"):
            read_table(tmp_path)

    def test_an_unreadable_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "table.csv"
        path.write_text("a\n1\n")

        def refuse(*args: object, **options: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))  # the superuser may read anything

        monkeypatch.setattr(pd, "read_csv", refuse)
        with pytest.raises(InvalidDataError, match=r"cannot be read: .*Permission denied"):
            read_table(path)


def write(table: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def is_header(columns: list[str]) -> bool:
    """Whether no one could take these names for a row of numbers, missing ones among them, or for names in a comment."""
    if columns[0].startswith("#") and len(columns[0]) > 1:
        return False
    words = [name for name in columns if any(letter.isalpha() for letter in name) and name[0] not in "<>"]
    return any(pd.isna(pd.to_numeric(name, errors="coerce")) and name.lower() not in GAPS for name in words)


GAPS = ("na", "n/a", "n.a.", "nan", "null", "none")
