"""Compiled functions and their files: current, and never a reason to fail."""

import importlib.util
import sys

import numpy as np
import pytest

from bayesgmm.kernels import compile as _compile

SOURCE = """
from bayesgmm.kernels.compile import compiled

@compiled()
def double(x):
    return 2 * x
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write and import a module with one compiled function; its cache lies beside it."""
    monkeypatch.setattr(_compile, "_warned", False)
    path = tmp_path / "compiled_for_a_test.py"

    def load(source=SOURCE):
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    load.folder = tmp_path / "__pycache__"
    return load


def hits(function):
    return sum(function.stats.cache_hits.values())


def test_a_second_process_finds_what_the_first_compiled(module):
    assert module().double(2.0) == 4.0
    again = module()
    assert again.double(3.0) == 6.0
    assert hits(again.double) == 1


def test_a_change_in_any_kernel_compiles_again(module, monkeypatch):
    module().double(2.0)
    stamp = _compile.source_stamp
    monkeypatch.setattr(_compile, "source_stamp", lambda *paths: stamp(*paths) + "changed")
    again = module()
    assert again.double(3.0) == 6.0
    assert hits(again.double) == 0


def test_the_stamp_covers_kernels_and_the_file_itself(tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("a")
    two.write_text("b")
    stamps = {_compile.source_stamp(), _compile.source_stamp(str(one)), _compile.source_stamp(str(two))}
    assert len(stamps) == 3


def test_a_full_disk_is_one_warning(module, monkeypatch):
    def full(self, key, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_compile.IndexDataCacheFile, "save", full)
    loaded = module()
    with pytest.warns(UserWarning, match="No space left on device.*NUMBA_CACHE_DIR") as seen:
        results = [loaded.double(2.0), loaded.double(2)]
    assert results == [4.0, 4]
    assert len(seen) == 1


def test_no_folder_to_write_to_is_one_warning(module, monkeypatch):
    def nowhere(self, function):
        raise RuntimeError("no locator available")

    monkeypatch.setattr(_compile._Cache, "__init__", nowhere)
    with pytest.warns(UserWarning, match="no locator available"):
        loaded = module()
    assert loaded.double(2.0) == 4.0


def test_a_broken_file_is_thrown_away(module):
    module().double(2.0)
    for index in module.folder.glob("*.nbi"):
        index.write_bytes(b"not a pickle")
    again = module()
    assert again.double(3.0) == 6.0
    assert np.isfinite(module().double(1.0))


PAIRS = """
from typing import NamedTuple
from bayesgmm.kernels.compile import compiled

class {name}(NamedTuple):
    first: float
    second: float

@compiled()
def total(pair):
    return pair.first + pair.second
"""


def test_an_index_that_names_a_class_of_another_version_is_thrown_away(module):
    old = module(PAIRS.format(name="Pair"))
    assert old.total(old.Pair(1.0, 2.0)) == 3.0
    new = module(PAIRS.format(name="Two"))
    assert new.total(new.Two(1.0, 3.0)) == 4.0
