"""Rows in chunks beside the fit itself: predictions, checkpoints of other data, and what is refused in one sentence."""

import json
import struct
import zipfile
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgmm import GaussianMixture, open_rows
from bayesgmm.em.checkpoint import Checkpoint
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.rows.summary import fingerprint


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.normal(size=(900, 3)) + np.array([[0.0, 0, 0], [5, 1, -2], [0, 6, 3]])[rng.integers(3, size=900)]


@pytest.fixture(scope="module")
def em(X) -> GaussianMixture:
    return GaussianMixture(3, random_state=1).fit(X)


@pytest.fixture
def path(X, tmp_path):
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


# Predictions


@pytest.mark.parametrize("kind", ["npy", "mapped", "parquet", "column"])
def test_there_is_one_result_for_each_row_whatever_it_weighs(X, em, path, kind):
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    weight[:300] = 0  # whole chunks of it
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(w=weight)
    frame.to_parquet(path.parent / "x.parquet", index=False)
    rows = {
        "npy": lambda: open_rows(path, sample_weight=weight, chunk_rows=130),
        "mapped": lambda: open_rows(np.load(path, mmap_mode="r")[::-1], sample_weight=weight, chunk_rows=130),
        "parquet": lambda: open_rows(path.parent / "x.parquet", columns=["a", "b", "c"], sample_weight=weight, chunk_rows=130),
        "column": lambda: open_rows(path.parent / "x.parquet", sample_weight="w", chunk_rows=130),
    }[kind]()
    expected = X[::-1] if kind == "mapped" else X
    np.testing.assert_array_equal(em.predict(rows), em.predict(expected))
    np.testing.assert_allclose(em.predict_proba(rows), em.predict_proba(expected), atol=1e-12)
    np.testing.assert_allclose(em.score_samples(rows), em.score_samples(expected), rtol=1e-12)
    assert em.responsibilities(rows).shape == (900, 3)
    weight = weight[::-1] if kind == "mapped" else weight
    assert em.score(rows) == pytest.approx(em.score(X, sample_weight=weight), rel=1e-12)  # weights still count where they are to


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "bic", "aic", "icl"])
def test_infinite_values_are_refused_with_their_place(X, em, tmp_path, method):
    bad = X.copy()
    bad[777, 2] = -np.inf
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(InvalidDataError, match=r"bad.npy has an infinite value in row 777, column 2 "):
        getattr(em, method)(open_rows(tmp_path / "bad.npy", chunk_rows=100))


def test_the_row_of_an_infinite_value_is_counted_in_the_file(X, em, tmp_path):
    bad, weight = X.copy(), np.ones(len(X))
    bad[777, 2], weight[700:750] = np.inf, 0
    np.save(tmp_path / "bad.npy", bad)
    for method in ("score", "predict"):
        with pytest.raises(InvalidDataError, match="in row 777, column 2"):
            getattr(em, method)(open_rows(tmp_path / "bad.npy", sample_weight=weight))


def test_attributes_of_a_fit_in_chunks_can_be_listed(path):
    fitted = GaussianMixture(3, random_state=1).fit(path)
    assert {"predict", "means_", "bic"} <= set(dir(fitted))
    with pytest.raises(InvalidDataError, match="900 rows in chunks and keeps none"):
        fitted.responsibilities()
    assert isinstance(fitted.impute([[0.0, 1.0, np.nan]]), np.ndarray)


def test_what_takes_rows_in_memory_says_so(path, em):
    for rows in (str(path), path, open_rows(path)):
        with pytest.raises(InvalidDataError, match="takes rows in memory"):
            em.impute(rows)
    np.testing.assert_array_equal(em.impute(np.load(path, mmap_mode="r")), np.load(path))


@pytest.mark.parametrize("files", [["a.npy", "b.npy"], ("a.parquet", "b.parquet")])
def test_a_list_of_files_is_refused_with_advice(em, files):
    for method in (GaussianMixture(2).fit, em.predict):
        with pytest.raises(InvalidDataError, match=r"list of files.*folder.*pattern"):
            method(files)


def test_a_lazy_frame_is_refused_with_advice(X, em):
    lazy = pl.DataFrame(X, schema=["a", "b", "c"]).lazy()
    for method in (GaussianMixture(2).fit, em.predict):
        with pytest.raises(InvalidDataError, match=r"LazyFrame.*X.collect\(\)"):
            method(lazy)
    fitted = GaussianMixture(3, random_state=1).fit(lazy.collect())
    np.testing.assert_array_equal(fitted.predict(lazy.collect()), em.predict(X))


# Columns that cannot be squared


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("scale", "size"), [(1e200, "large"), (1e153, "large"), (4e307, "large"), (1e-160, "small"), (1e-250, "small")]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_columns_whose_squares_are_no_numbers_are_named(X, tmp_path, scale, size, chunked):
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    table["b"] = np.clip(table["b"], -4, 4) * scale
    table.to_parquet(tmp_path / "x.parquet", index=False)
    with pytest.raises(InvalidDataError, match=f"Column 'b' has values too {size} to be squared: rescale it"):
        GaussianMixture(3).fit(open_rows(tmp_path / "x.parquet", chunk_rows=200) if chunked else table)


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_columns_whose_squares_are_numbers_are_fitted(X, em, scale):
    fitted = GaussianMixture(3, random_state=1).fit(X * [1.0, scale, 1.0])
    np.testing.assert_allclose(fitted.weights_, em.weights_, atol=1e-8)


# Checkpoints


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=5), seed=st.integers(0, 999), weighted=st.booleans())
def test_the_fingerprint_is_that_of_the_rows_in_any_order_and_pieces(cuts, seed, weighted):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, (60, 4)).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    weight = rng.integers(0, 3, 60).astype(float) if weighted else None
    whole = fingerprint(X, weight)
    order = rng.permutation(60)
    pieces = [order[start:stop] for start, stop in pairwise([0, *sorted(cuts), 60])]
    assert whole == sum(fingerprint(X[i], None if weight is None else weight[i]) for i in pieces) % 2**64
    if weight is not None:
        there = weight > 0
        assert whole == fingerprint(X[there], weight[there])
    else:
        assert whole == fingerprint(X, np.ones(60)) == fingerprint(np.where(X == 0, -0.0, X))
    row, column = int(rng.integers(60)), int(rng.integers(4))
    if weight is None or weight[row]:
        other = X.copy()
        other[row, column] = 300.0
        assert fingerprint(other, weight) != whole
        assert fingerprint(X, (np.ones(60) if weight is None else weight) + (np.arange(60) == row)) != whole


def test_the_fingerprint_sees_which_values_share_a_row_and_a_column():
    X = np.array([[0.0, 1.0], [1.0, 0.0], [255.0, 3.0], [3.0, 255.0], [2.0, 7.0]])
    seen = {fingerprint(X), fingerprint(X[[0, 1, 2, 2, 4]]), fingerprint(X[[0, 0, 2, 3, 4]])}
    seen |= {fingerprint(X[:-1]), fingerprint(np.c_[X[:, 0], X[::-1, 1]])}
    assert len(seen) == 5
    lopsided = X[[0, 2, 4]]
    assert fingerprint(lopsided) != fingerprint(lopsided[:, ::-1])


@pytest.mark.parametrize("begun", ["in memory", "in chunks"])
def test_other_data_of_the_same_sizes_and_ranges_are_refused(tmp_path, begun):
    rng = np.random.default_rng(3)
    pixels, others = (np.r_[rng.integers(0, 256, (400, 3)), [[0] * 3, [255] * 3]].astype(float) for _ in range(2))
    np.save(tmp_path / "pixels.npy", pixels)
    np.save(tmp_path / "others.npy", others)
    settings = {"n_components": 2, "n_init": 1, "max_iter": 20, "tol": 0.1, "random_state": 1}
    GaussianMixture(**settings).fit(pixels if begun == "in memory" else tmp_path / "pixels.npy", checkpoint=tmp_path / "c.npz")
    for rows in (others, tmp_path / "others.npy", open_rows(tmp_path / "others.npy", chunk_rows=30)):
        with pytest.raises(InvalidParameterError, match=r"another fit: .*its values \(or weights\) are others"):
            GaussianMixture(**settings).fit(rows, resume=tmp_path / "c.npz")
    shuffled = rng.permutation(pixels)
    for rows in (pixels, shuffled, tmp_path / "pixels.npy", open_rows(tmp_path / "pixels.npy", chunk_rows=30)):
        assert GaussianMixture(**settings).fit(rows, resume=tmp_path / "c.npz").n_iter_ > 0
    weight = np.ones(len(pixels))
    weight[:2] = [0.5, 1.5]
    with pytest.raises(InvalidParameterError, match="its values"):
        GaussianMixture(**settings).fit(pixels, sample_weight=weight, resume=tmp_path / "c.npz")


def test_a_checkpoint_of_weighted_rows_is_of_memory_and_of_chunks(X, path):
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    kept = path.parent / "c.npz"
    inside = GaussianMixture(3, random_state=1).fit(X, sample_weight=weight, checkpoint=kept)
    chunked = GaussianMixture(3).fit(open_rows(path, sample_weight=weight, chunk_rows=70), resume=kept)
    np.testing.assert_allclose(chunked.means_, inside.means_, rtol=1e-10, atol=1e-12)


def test_a_total_weight_that_is_rounded_otherwise_is_the_same(X, path):
    weight = np.random.default_rng(0).random(len(X)) * 1e9
    rows, others = (open_rows(path, sample_weight=weight, chunk_rows=n) for n in (7, 1000))
    assert round(rows.summary.weight, 6) != round(others.summary.weight, 6)
    GaussianMixture(3, random_state=1).fit(rows, checkpoint=path.parent / "c.npz")
    assert GaussianMixture(3).fit(others, resume=path.parent / "c.npz").converged_


def test_settings_may_be_numbers_of_numpy(X, tmp_path):
    odd = GaussianMixture(np.int64(3), tol=np.float32(0.5), max_iter=np.int32(50), n_init=np.int64(2), noise=np.bool_(True))
    odd.set_params(random_state=np.int64(4)).fit(X, checkpoint=tmp_path / "c.npz")
    plain = GaussianMixture(3, tol=0.5, max_iter=50, n_init=2, noise=True).fit(X, resume=tmp_path / "c.npz")
    np.testing.assert_array_equal(plain.means_, odd.means_)


def test_only_a_checkpoint_is_overwritten(X, path):
    before = path.read_bytes()
    archive = path.parent / "arrays.npz"
    np.savez(archive, a=np.zeros(3))
    for target in (path, archive):
        with pytest.raises(InvalidParameterError, match=r"no checkpoint of bayesgmm and would be overwritten"):
            GaussianMixture(3).fit(path, checkpoint=target)
    assert path.read_bytes() == before
    assert np.load(archive)["a"].shape == (3,)
    kept = path.parent / "c.npz"
    GaussianMixture(2, random_state=1).fit(path, checkpoint=kept)
    fitted = GaussianMixture(3, random_state=1).fit(path, checkpoint=kept)  # an older one goes
    assert Checkpoint.read(kept).about["n_components"] == 3
    again = GaussianMixture(3).fit(path, checkpoint=kept, resume=kept)
    np.testing.assert_array_equal(again.means_, fitted.means_)


def test_a_checkpoint_of_an_older_version_is_refused_and_may_be_replaced(X, tmp_path):
    kept = tmp_path / "c.npz"
    np.savez(kept, head=np.array(json.dumps({"format": "bayesgmm.Checkpoint", "version": 1, "about": {}})))
    with pytest.raises(InvalidDataError, match=r"another version of bayesgmm \(format 1, this one reads 4\)"):
        GaussianMixture(3).fit(X, resume=kept)
    GaussianMixture(3, random_state=1).fit(X, checkpoint=kept)
    assert Checkpoint.read(kept).about["n_components"] == 3


def test_damaged_checkpoints_are_refused_in_our_words(X, tmp_path):
    whole = tmp_path / "whole.npz"
    GaussianMixture(2, random_state=1).fit(X, checkpoint=whole)
    content = bytearray(whole.read_bytes())
    with zipfile.ZipFile(whole) as archive:
        places = [info.header_offset for info in archive.infolist()]
    directory = content.index(b"PK\x01\x02")
    for name, position, value in (
        ("flags", directory + 8, struct.pack("<H", 0x20)),  # patched data, which zipfile does not implement
        ("method", directory + 10, struct.pack("<H", 97)),
        ("encrypted", directory + 8, struct.pack("<H", 0x1)),
        ("content", places[0] + 200, b"\xff" * 40),
    ):
        damaged = content.copy()
        damaged[position : position + len(value)] = value
        (tmp_path / f"{name}.npz").write_bytes(damaged)
        with pytest.raises(InvalidDataError, match=f"{name}.npz does not hold a checkpoint of bayesgmm"):
            GaussianMixture(2).fit(X, resume=tmp_path / f"{name}.npz")
    (tmp_path / "text.npz").write_text("words")
    with pytest.raises(InvalidDataError, match="does not hold a checkpoint") as caught:
        GaussianMixture(2).fit(X, resume=tmp_path / "text.npz")
    assert "pickle" not in str(caught.value)
