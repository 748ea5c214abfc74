"""The shipped data are those of the papers, complete and untouched by their users."""

import pandas as pd
import pytest

from bayesgmm import datasets
from bayesgmm.exceptions import InvalidParameterError


@pytest.mark.parametrize("name", datasets.names())
def test_each_name_loads_a_fresh_table(name: str) -> None:
    first = datasets.load(name)
    original = first.copy()
    first.iloc[:, 0] = first.iloc[::-1, 0].to_numpy()
    pd.testing.assert_frame_equal(datasets.load(name), original)
    assert len(original) > 0


@pytest.mark.parametrize("name", ["faithful", "galaxies", "penguins"])
def test_each_loader_is_what_its_name_loads(name: str) -> None:
    pd.testing.assert_frame_equal(getattr(datasets, f"load_{name}")(), datasets.load(name))


def test_faithful() -> None:
    table = datasets.load_faithful()
    assert table.shape == (272, 2)
    assert table.notna().all(axis=None)
    assert table["eruptions"].between(1, 6).all()  # minutes
    assert table["waiting"].between(40, 100).all()  # minutes
    assert table["eruptions"].corr(table["waiting"]) > 0.8  # why people look at these data


def test_galaxies() -> None:
    velocity = datasets.load_galaxies()["velocity"]
    assert velocity.size == 82
    assert velocity.is_monotonic_increasing
    assert velocity.iloc[77] == 26.690  # the variant that the docstring names, not the paper's 26.960


def test_penguins() -> None:
    table = datasets.load_penguins()
    assert table["species"].value_counts().to_dict() == {
        "Adelie": 152,
        "Gentoo": 124,
        "Chinstrap": 68,
    }  # the paper's table 1
    measurements = table[["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]]
    assert measurements.isna().all(axis="columns").sum() == 2
    assert measurements.isna().any(axis="columns").sum() == 2
    assert table["sex"].isna().sum() == 11


def test_cyclists() -> None:
    table = datasets.cyclists()
    assert table["speed"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["frequency"].sum() == 31


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidParameterError, match=r"'iris'; there are cyclists, faithful, galaxies, penguins"):
        datasets.load("iris")
