"""How finely columns were recorded: rounding a continuous column to a grid finds the grid, and nothing else has one."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgmm import datasets
from bayesgmm.resolution import _columns, _step, repeats, smallest_sds
from bayesgmm.typing import FloatArray

quick = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)
shapes = st.sampled_from(["normal", "uniform", "exponential", "standard_cauchy", "two groups"])
powers = st.integers(-6, 6)


def resolution(X: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """The step of each column, 0.0 where no rounding is to be seen."""
    return np.array([_step(*column) for column in _columns(X, weight)])


def drawn(shape: str, n: int, rng: np.random.Generator) -> FloatArray:
    if shape == "two groups":
        return np.r_[rng.normal(size=n // 2), rng.normal(40.0, 0.2, n - n // 2)]
    return np.asarray(getattr(rng, shape)(size=n))


def rounded(shape: str, n: int, per_sd: float, rng: np.random.Generator) -> FloatArray:
    """Whole numbers, as a column becomes that is rounded to so many steps in a standard deviation; ten of them are known."""
    return np.r_[np.rint(per_sd * drawn(shape, n, rng)), np.arange(10.0)]


@quick
@given(shapes, st.integers(5, 400), st.sampled_from([0.5, 2.0, 30.0, 1000.0]), powers, st.integers(-1000, 1000), seeds)
def test_decimals_are_found_wherever_they_lie(shape: str, n: int, per_sd: float, power: int, offset: int, seed: int) -> None:
    whole = rounded(shape, n, per_sd, np.random.default_rng(seed)) + offset
    column = np.array([float(f"{value:.0f}e{power}") for value in whole])
    assert resolution(column[:, None]) == [float(f"1e{power}")]


@quick
@given(
    st.sampled_from(["normal", "uniform", "exponential", "two groups"]),
    st.integers(5, 400),
    st.sampled_from([0.5, 2.0, 30.0, 1000.0]),
    st.floats(0.01, 100.0),
    st.floats(-100.0, 100.0),
    seeds,
)
def test_any_grid_is_found(shape: str, n: int, per_sd: float, step: float, offset: float, seed: int) -> None:
    column = offset + step * rounded(shape, n, per_sd, np.random.default_rng(seed))
    np.testing.assert_allclose(resolution(column[:, None]), step, rtol=1e-6)


@quick
@given(shapes, st.integers(5, 400), powers, st.floats(-100.0, 100.0), seeds)
def test_continuous_columns_have_no_step(shape: str, n: int, power: int, offset: float, seed: int) -> None:
    column = 10.0**power * (offset + drawn(shape, n, np.random.default_rng(seed)))
    assert resolution(column[:, None]) == [0.0]


@quick
@given(st.integers(10, 300), st.floats(0.05, 0.9), seeds)
def test_an_atom_in_a_continuous_column_leaves_a_small_step(n: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(5.0, 1.0, n)
    x[: max(3, int(share * n))] = 0.0
    (step,) = resolution(x[:, None])
    rest = np.unique(x)
    assert 0 < step <= np.diff(rest).mean()
    assert (np.diff(rest) <= step * (1 + 1e-9)).mean() >= 0.25  # a step is told to eleven digits


@quick
@given(
    st.sampled_from(["grid", "decimals", "atom", "continuous"]),
    st.floats(1e-6, 1e6) | powers.map(lambda p: 10.0**p),
    st.booleans(),
    seeds,
)
def test_the_step_is_in_the_columns_units(kind: str, factor: float, flip: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(3.0, 1.0, 200)
    x = {"grid": np.rint(7 * x) / 7, "decimals": x.round(1), "atom": np.where(x < 3, 0.0, x), "continuous": x}[kind]
    c = -factor if flip else factor
    np.testing.assert_allclose(resolution(c * x[:, None]), factor * resolution(x[:, None]), rtol=1e-6)


@quick
@given(st.sampled_from(["grid", "decimals", "atom"]), seeds)
def test_neither_order_nor_gaps_nor_the_form_of_copies_matters(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(3.0, 1.0, (100, 2))
    X = {"grid": np.rint(7 * X) / 7, "decimals": X.round(1), "atom": np.where(X < 3, 0.0, X)}[kind]
    weight = rng.integers(0, 4, 100)
    step = resolution(X, weight)
    order = rng.permutation(100)
    np.testing.assert_array_equal(resolution(X[order], weight[order]), step)
    np.testing.assert_array_equal(resolution(np.repeat(X, weight, axis=0)), step)
    np.testing.assert_array_equal(resolution(np.insert(X, 50, np.nan, axis=0), np.insert(weight, 50, 7)), step)
    names = ["a", "b"]
    assert repeats(np.repeat(X, weight, axis=0), names) == repeats(X, names, weight)


def test_copies_of_a_bootstrap_have_a_step() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=500)
    (step,) = resolution(rng.choice(x, 500)[:, None])
    assert 0 < step < 0.02


def test_numbers_that_were_float32_keep_their_decimals() -> None:
    x = np.random.default_rng(0).normal(size=300).round(2).astype(np.float32)
    assert resolution(np.asarray(x, dtype=float)[:, None]) == [0.01]


def test_a_code_for_missing_does_not_hide_the_decimals() -> None:
    x = np.r_[np.random.default_rng(0).normal(size=300).round(2), -999999.0]
    assert resolution(x[:, None]) == [0.01]


def test_what_says_nothing_of_a_step_has_none() -> None:
    X = np.array([[np.nan, 3.0, 1.2], [np.nan, 3.0, 3.7]])
    np.testing.assert_allclose(resolution(X), [0.0, 0.0, 0.1])


@quick
@given(st.floats(0.05, 2.0), seeds)
def test_the_smallest_sd_is_that_of_the_rounding_error(step: float, seed: int) -> None:
    # Sheppard: what rounding adds to a variance is h^2 / 12.
    x = np.random.default_rng(seed).normal(size=20_000)
    grid = step * np.rint(x / step)
    (smallest,) = smallest_sds(grid[:, None])
    error = grid - x
    assert smallest == pytest.approx(error.std(), rel=0.05)


def test_it_takes_no_time() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100_000, 10))
    X[:, 1::2] = X[:, 1::2].round(2)
    resolution(X[:100])
    began = time.process_time()
    resolution(X)
    assert time.process_time() - began < 2.0


def test_measurements_are_not_called_repeated() -> None:
    for load in (datasets.load_faithful, datasets.load_galaxies):
        table = load()
        assert repeats(table.to_numpy(), list(table.columns)) == ()


def test_marks_and_a_count_of_zeros_are_named() -> None:
    rng = np.random.default_rng(7)
    marks = rng.integers(1, 6, 595).astype(float)
    visits = np.where(rng.uniform(size=595) < 0.82, 0.0, rng.integers(1, 40, 595))
    said = [str(found) for found in repeats(np.c_[marks, rng.normal(size=595), visits], ["item", "age", "visits"])]
    assert said == [
        "'item' has 5 distinct values in 595 rows",
        f"'visits' is 0 in {(visits == 0).sum()} of 595 rows",
    ]
