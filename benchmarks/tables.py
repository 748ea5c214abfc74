"""Real tables of 31 to 600 rows and 1 to 6 columns, and simulated ones like them, for the study of maxima.

Simulated tables come from moments of labelled groups (species, cultivars, diagnoses), never from fits, so that they stay what they are
when the fits get better.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
from sklearn import datasets

import bayesgmm as bg


@cache
def tables() -> dict[str, np.ndarray]:
    """Return the tables by name, each (N, D)."""
    real = _real()
    return real | {f"like {name}": _like(*parts) for name, parts in _grouped().items()}


def _real() -> dict[str, np.ndarray]:
    faithful, galaxies = bg.datasets.load_faithful(), bg.datasets.load_galaxies()
    penguins, iris, wine, cancer, diabetes = (
        _penguins(),
        _frame("iris"),
        _frame("wine"),
        _frame("breast_cancer"),
        _frame("diabetes"),
    )
    cyclists = bg.datasets.cyclists()
    bill, measures = ["bill_length_mm", "bill_depth_mm"], list(penguins.columns[2:6])
    petals, sepals = ["petal length (cm)", "petal width (cm)"], ["sepal length (cm)", "sepal width (cm)"]
    worst = ["worst radius", "worst texture", "worst smoothness", "worst concavity", "worst symmetry", "worst fractal dimension"]
    chosen = {
        "cyclists": cyclists["speed"].repeat(cyclists["frequency"]).to_frame(),
        "faithful": faithful,
        "faithful waiting": faithful[["waiting"]],
        "galaxies": galaxies,
        "penguins": penguins[measures],
        "penguins bill": penguins[bill],
        "penguins flipper, mass": penguins[["flipper_length_mm", "body_mass_g"]],
        "penguins mass": penguins[["body_mass_g"]],
        "Adelie": penguins.loc[penguins["species"] == "Adelie", measures],
        "Gentoo": penguins.loc[penguins["species"] == "Gentoo", measures[:3]],
        "Chinstrap": penguins.loc[penguins["species"] == "Chinstrap", bill],
        "iris": iris.iloc[:, :4],
        "iris petals": iris[petals],
        "iris sepals": iris[sepals],
        "iris petal length": iris[petals[:1]],
        "virginica": iris.loc[iris["target"] == 2, sepals + petals],
        "versicolor, virginica": iris.loc[iris["target"] > 0, [*sepals, petals[0]]],
        "wine three": wine[["alcohol", "flavanoids", "color_intensity"]],
        "wine six": wine[["alcohol", "malic_acid", "ash", "flavanoids", "color_intensity", "proline"]],
        "wine acid, hue": wine[["malic_acid", "hue"]],
        "wine proline": wine[["proline"]],
        "cancer radius, texture": cancer[["mean radius", "mean texture"]],
        "cancer four": cancer[["mean smoothness", "mean compactness", "mean symmetry", "mean fractal dimension"]],
        "cancer worst six": cancer[worst],
        "benign radius": cancer.loc[cancer["target"] == 1, ["mean radius"]],
        "malignant three": cancer.loc[cancer["target"] == 0, ["mean texture", "mean area", "mean concavity"]],
        "diabetes bmi, bp": diabetes[["bmi", "bp"]],
        "diabetes serum": diabetes[["s1", "s3", "s5", "s6"]],
        "diabetes s5, target": diabetes[["s5", "target"]],
        "digits 0, 1, 2": _principal(range(3), 3),
        "digits 3, 8": _principal((3, 8), 5),
        "digits 7": _principal((7,), 4),
    }
    return {name: np.ascontiguousarray(table, dtype=float) for name, table in chosen.items()}


def _grouped() -> dict[str, tuple[np.ndarray, np.ndarray, int, int]]:
    """Tables to simulate: rows, their groups, how many rows to draw, and degrees of freedom (0: normal)."""
    penguins, iris, wine, cancer = _penguins(), _frame("iris"), _frame("wine"), _frame("breast_cancer")
    faithful = bg.datasets.load_faithful()
    measures = list(penguins.columns[2:6])
    species = penguins["species"].astype("category").cat.codes
    places = penguins.groupby(["species", "island", "sex"], observed=True).ngroup().fillna(-1)
    three = wine[["alcohol", "flavanoids", "color_intensity"]]
    four = cancer[["mean smoothness", "mean compactness", "mean symmetry", "mean fractal dimension"]]
    chosen = {
        "faithful": (faithful, faithful["eruptions"] > 3, 272, 0),
        "penguins": (penguins[measures], species, 342, 0),
        "penguins by place": (penguins[measures[:2]], places, 500, 0),
        "penguins, heavier tails": (penguins[measures[1:]], species, 342, 6),
        "iris": (iris.iloc[:, :4], iris["target"], 150, 0),
        "iris, heavier tails": (iris.iloc[:, 1:4], iris["target"], 300, 6),
        "wine three": (three, wine["target"], 178, 0),
        "cancer four": (four, cancer["target"], 400, 0),
        "cancer, heavier tails": (cancer[["mean radius", "mean texture"]], cancer["target"], 569, 6),
    }
    return {name: (np.asarray(rows, float), np.asarray(groups, int), N, df) for name, (rows, groups, N, df) in chosen.items()}


def _like(rows: np.ndarray, groups: np.ndarray, N: int, df: int) -> np.ndarray:
    """Draw rows from normal or t distributions with the moments of the groups."""
    rng = np.random.default_rng([N, df, len(rows)])
    known = [rows[groups == group] for group in np.unique(groups[groups >= 0])]
    known = [group for group in known if len(group) > 2 * rows.shape[1]]
    shares = np.array([len(group) for group in known]) / sum(len(group) for group in known)
    parts = []
    for group, n in zip(known, rng.multinomial(N, shares), strict=True):
        Z = rng.normal(size=(n, rows.shape[1])) @ np.linalg.cholesky(np.cov(group.T)).T
        if df:
            Z *= np.sqrt((df - 2) / rng.chisquare(df, size=(n, 1)))
        parts.append(group.mean(0) + Z)
    return np.concatenate(parts)


def _penguins() -> pd.DataFrame:
    return bg.datasets.load_penguins().dropna(subset=["bill_length_mm"])


def _frame(name: str) -> pd.DataFrame:
    loaders: dict[str, Callable[..., object]] = {
        "iris": datasets.load_iris,
        "wine": datasets.load_wine,
        "breast_cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
    }
    return loaders[name](as_frame=True).frame  # type: ignore[attr-defined]


def _principal(digits: tuple[int, ...] | range, D: int) -> np.ndarray:
    """Scores of some handwritten digits on their first principal components."""
    X, y = datasets.load_digits(return_X_y=True)
    X = X[np.isin(y, digits)]
    X = X - X.mean(0)
    return X @ np.linalg.svd(X, full_matrices=False)[2][:D].T
