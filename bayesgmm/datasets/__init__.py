"""Small data sets that ship with the package, as pandas DataFrames.

>>> names()
('cyclists', 'faithful', 'galaxies', 'penguins')
>>> load("faithful").shape
(272, 2)
"""

from importlib.resources import files

import pandas as pd

from bayesgmm.exceptions import InvalidParameterError

__all__ = ["cyclists", "load", "load_faithful", "load_galaxies", "load_penguins", "names"]


def load_faithful() -> pd.DataFrame:
    """Eruptions of the Old Faithful geyser, Yellowstone: two groups, short and long.

    Returns
    -------
    pandas.DataFrame, (272, 2)
        ``eruptions``: duration of an eruption in minutes; ``waiting``: minutes until the next one.

    References
    ----------
    Azzalini and Bowman (1990), A look at some data on the Old Faithful geyser, Applied Statistics 39, 357-365.

    Examples
    --------
    >>> list(load_faithful().columns)
    ['eruptions', 'waiting']
    """
    return _read("faithful")


def load_galaxies() -> pd.DataFrame:
    """Velocities of galaxies in the Corona Borealis region, where clumps are groups of galaxies: univariate.

    Returns
    -------
    pandas.DataFrame, (82, 1)
        ``velocity`` in 1,000 km/s, increasing.

    Notes
    -----
    The 78th value is 26.690, as in most copies of the data; the paper prints 26.960, which Richardson and Green (1997)
    used.

    References
    ----------
    Roeder (1990), Density estimation with confidence sets exemplified by superclusters and voids in the galaxies,
    Journal of the American Statistical Association 85, 617-624.

    Examples
    --------
    >>> load_galaxies()["velocity"].agg(["min", "max"]).tolist()
    [9.172, 34.279]
    """
    return _read("galaxies")


def load_penguins() -> pd.DataFrame:
    """Penguins of three species on three islands of the Palmer Archipelago, Antarctica, with missing values.

    Returns
    -------
    pandas.DataFrame, (344, 8)
        ``species``, ``island`` and ``sex`` (text); ``bill_length_mm``, ``bill_depth_mm`` and ``flipper_length_mm`` in
        mm; ``body_mass_g`` in g; ``year`` of the observation. Two penguins were not measured, eleven have no ``sex``.

    References
    ----------
    Gorman, Williams and Fraser (2014), Ecological sexual dimorphism and environmental variability within a community of
    Antarctic penguins (genus Pygoscelis), PLoS ONE 9(3), e90081. Public domain (CC0).

    Examples
    --------
    >>> penguins = load_penguins()
    >>> sorted(penguins["species"].unique())
    ['Adelie', 'Chinstrap', 'Gentoo']
    >>> penguins.filter(like="_").dropna().shape
    (342, 4)
    """
    return _read("penguins")


def cyclists() -> pd.DataFrame:
    """Speeds of 31 cyclists as a table of frequencies, the smallest example of grouped data.

    Returns
    -------
    pandas.DataFrame, (6, 2)
        ``speed`` in km/h, rounded to whole numbers, and ``frequency``: how many cyclists rode at it.

    Examples
    --------
    One row per cyclist:

    >>> table = cyclists()
    >>> table["speed"].repeat(table["frequency"]).size
    31
    """
    return pd.DataFrame({"speed": [1, 2, 3, 4, 5, 6], "frequency": [4, 9, 6, 7, 3, 2]})


_LOADERS = {
    "cyclists": cyclists,
    "faithful": load_faithful,
    "galaxies": load_galaxies,
    "penguins": load_penguins,
}


def names() -> tuple[str, ...]:
    """Return the names of the data sets that ship with the package, in alphabetical order.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> names()
    ('cyclists', 'faithful', 'galaxies', 'penguins')
    """
    return tuple(sorted(_LOADERS))


def load(name: str) -> pd.DataFrame:
    """Load a shipped data set by its name.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    pandas.DataFrame
        A fresh copy: changing it changes nothing else.

    Raises
    ------
    InvalidParameterError
        If there is no data set of that name.

    Examples
    --------
    >>> load("galaxies").shape
    (82, 1)
    """
    if name not in _LOADERS:
        raise InvalidParameterError(f"There is no data set named {name!r}; there are {', '.join(names())}.")
    return _LOADERS[name]()


def _read(name: str) -> pd.DataFrame:
    """Read a data set's file from the installed package, wherever that is (a folder or a zip file)."""
    with (files(__package__) / f"{name}.csv").open("rb") as stream:
        return pd.read_csv(stream)
