"""Dask's collections without a cluster of processes: frames of all kinds of columns, predictions of them, and what is refused."""

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from bayesgmm import GaussianMixture, open_rows
from bayesgmm.exceptions import InvalidDataError

distributed = pytest.importorskip("distributed")


@pytest.fixture(autouse=True)
def on_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    rng = np.random.default_rng(12)
    return rng.normal(size=(900, 3)) + np.array([[0.0, 0, 0], [5, 1, -2], [0, 6, 3]])[rng.integers(3, size=900)]


@pytest.fixture(scope="module")
def em(X) -> GaussianMixture:
    return GaussianMixture(3, random_state=1).fit(X)


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_columns_with_nulls_are_predicted_as_they_are_fitted(X, backend):
    gaps = X.copy()
    gaps[np.random.default_rng(1).random(X.shape) < 0.05] = np.nan
    plain = pd.DataFrame(gaps, columns=["a", "b", "c"])
    inside = GaussianMixture(3, random_state=1).fit(plain)
    frame = dd.from_pandas(plain.convert_dtypes(dtype_backend=backend).assign(t="word"), npartitions=4)
    fitted = GaussianMixture(3, random_state=1).fit(frame[["a", "b", "c"]])
    np.testing.assert_allclose(fitted.means_, inside.means_, rtol=1e-9)
    for method in ("predict_proba", "score_samples"):
        np.testing.assert_allclose(getattr(fitted, method)(frame).compute(), getattr(inside, method)(plain), atol=1e-8)
    np.testing.assert_array_equal(fitted.predict(frame), inside.predict(plain))
    np.testing.assert_allclose(fitted.responsibilities(frame), inside.predict_proba(plain), atol=1e-8)


def test_columns_whose_names_are_numbers(X, em):
    frame = dd.from_pandas(pd.DataFrame(X).assign(**{"7": 1.0}).rename(columns={"7": 7}), npartitions=3)
    fitted = GaussianMixture(3, random_state=1).fit(open_rows(frame, sample_weight="7"))
    assert list(fitted.feature_names_in_) == ["0", "1", "2"]
    np.testing.assert_allclose(fitted.predict_proba(frame).compute(), em.predict_proba(X), atol=1e-8)
    np.testing.assert_array_equal(fitted.predict(frame[[2, 0, 1]]), em.predict(X))
    assert fitted.responsibilities(frame).shape == (900, 3)


def test_there_is_one_result_for_each_row_whatever_it_weighs(X, em):
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    array = da.from_array(X, chunks=(200, 3))
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]).assign(w=weight), npartitions=3)
    for rows in (open_rows(array, sample_weight=da.from_array(weight, chunks=200)), open_rows(frame, sample_weight="w")):
        np.testing.assert_array_equal(em.predict(rows), em.predict(X))
        np.testing.assert_allclose(em.score_samples(rows), em.score_samples(X), rtol=1e-12)
        assert em.score(rows) == pytest.approx(em.score(X, sample_weight=weight), rel=1e-12)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "bic"])
def test_infinite_values_are_refused_with_their_block(X, em, method):
    bad = X.copy()
    bad[550, 1] = np.inf
    array, frame = da.from_array(bad, chunks=(200, 3)), dd.from_pandas(pd.DataFrame(bad), npartitions=3)
    for rows, place in ((array, r"block 2 of the Dask array"), (frame, r"partition 1 of the Dask DataFrame")):
        row = 150 if rows is array else 250
        with pytest.raises(InvalidDataError, match=rf"{place} \(counted from 0\) has an infinite value in row {row}, column 1"):
            np.asarray(getattr(em, method)(rows))


def test_null_rows_that_are_text_are_named_when_they_are_predicted(X, em):
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]), npartitions=3)
    with dask.config.set({"dataframe.convert-string": False}):
        words = frame.assign(b=frame["b"].map(lambda x: "word" if x > 8 else x, meta=("b", object)))
    with pytest.raises(
        InvalidDataError, match=r"'b' of partition \d of the Dask DataFrame .* is not numeric: .*\('word' in row \d+ is text\)"
    ):
        em.predict(words).compute()
    with pytest.raises(
        InvalidDataError, match=r"'b' of partition \d of the Dask DataFrame .* is not numeric: .*\('word' in row \d+ is text\)"
    ):
        GaussianMixture(3).fit(words)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: f.rename(columns={"b": "a"}), "more than one column 'a': rename"),
        (lambda f: f["a"], r"Dask Series and must have rows and columns.*to_frame"),
        (lambda f: f.index, "Dask Index and must have rows and columns"),
        (lambda f: db.from_sequence([1, 2, 3]), "Dask Bag and must have rows and columns"),
    ],
)
def test_collections_that_are_no_tables_get_one_sentence(X, em, make, words):
    rows = make(dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]), npartitions=3))
    for method in (GaussianMixture(2).fit, em.predict, em.responsibilities, em.score):
        with pytest.raises(InvalidDataError, match=words):
            method(rows)


def test_a_column_that_is_there_twice_does_not_hinder_if_it_is_not_used(X):
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]).assign(d=0.0), npartitions=3).rename(columns={"d": "c"})
    assert open_rows(frame, columns=["a", "b"]).shape == (900, 2)


def test_weights_that_are_text_are_named(X):
    array = da.from_array(X, chunks=(300, 3))
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]).assign(t="heavy"), npartitions=3)
    with pytest.raises(InvalidDataError, match=r"'sample_weight' of block \d of the Dask array .*\('heavy' in row 0 is text\)"):
        GaussianMixture(2).fit(array, sample_weight=da.from_array(np.full(900, "heavy"), chunks=300))
    with pytest.raises(InvalidDataError, match=r"'sample_weight' of partition \d of the Dask DataFrame .*'heavy' in row 0"):
        GaussianMixture(2).fit(frame[["a", "b", "c"]], sample_weight=frame["t"])
    with pytest.raises(InvalidDataError, match=r"'t' of partition \d .*'heavy' in row 0"):
        GaussianMixture(2).fit(open_rows(frame, sample_weight="t"))


def test_rows_that_a_cluster_kept_can_be_used_when_it_is_gone(X, em, tmp_path):
    np.save(tmp_path / "x.npy", X)
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    inside = GaussianMixture(3, random_state=1).fit(X, sample_weight=weight)
    settings = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with dask.config.set(scheduler=None):
        with distributed.Client(**settings):
            rows = open_rows(tmp_path / "x.npy", sample_weight=weight, chunk_rows=200)
            collection = open_rows(da.from_array(X, chunks=(300, 3)))
            fits = [GaussianMixture(3, random_state=1).fit(given) for given in (rows, collection)]
            np.testing.assert_array_equal(em.predict(rows), em.predict(X))
            switched = open_rows(tmp_path / "x.npy", chunk_rows=200)
            GaussianMixture(3, random_state=1).fit(switched)
        for given, first in zip((rows, collection), fits, strict=True):
            np.testing.assert_allclose(GaussianMixture(3, random_state=1).fit(given).means_, first.means_, rtol=1e-10)
        np.testing.assert_allclose(fits[0].means_, inside.means_, rtol=1e-8)
        with distributed.Client(**settings):
            assert GaussianMixture(3, random_state=1).fit(rows).log_likelihood_ == pytest.approx(inside.log_likelihood_, rel=1e-12)
            assert GaussianMixture(3, random_state=1).fit(switched).log_likelihood_ == pytest.approx(em.log_likelihood_, rel=1e-12)
