"""The covariance families: what each allows, how it is estimated, how its parameters are counted and shown.

A family is chosen once, by :func:`family`; nobody else asks for the name of a covariance type. A covariance matrix is taken apart into
volume, shape and orientation, ``lambda D A D'`` with ``|A| = 1``, and each may be equal in all components (E), vary (V), or be the
identity (I): mclust's three letters, in this order (Banfield and Raftery 1993, Biometrics 49, 803-821; Celeux and Govaert 1995, Pattern
Recognition 28, 781-793). Four of the fourteen go by scikit-learn's names: "full" is VVV, "tied" EEE, "diag" VVI, "spherical" VII.
"""

from bayesgmm.covariance.base import Family
from bayesgmm.covariance.decomposed import Decomposed
from bayesgmm.covariance.plain import Diagonal, Full, Spherical, Tied
from bayesgmm.exceptions import InvalidParameterError

__all__ = ["WITH_PRIORS", "Family", "family", "names", "single"]

WITH_PRIORS = ("full", "tied", "diag", "spherical")
"""Names of the families made of free standard deviations and correlations, which priors can be put on."""

_FAMILIES: dict[str, Family] = {f.name: f for f in (Full(), Tied(), Diagonal(), Spherical())}
_FAMILIES |= {name: Decomposed(name) for name in ("EII", "EEI", "VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV")}
_ALIASES = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}


def family(covariance_type: str) -> Family:
    """Return the family of that name.

    Parameters
    ----------
    covariance_type : str
        One of scikit-learn's four names or one of mclust's fourteen, which are written in capitals.

    Raises
    ------
    InvalidParameterError
        If there is none; the message names those there are.

    Examples
    --------
    >>> family("tied").n_parameters(n_components=3, n_features=2)
    11
    >>> family("EEE") is family("tied")
    True
    """
    try:
        return _FAMILIES[_ALIASES.get(covariance_type, covariance_type)]
    except (KeyError, TypeError):
        known = ", ".join(repr(name) for name in names(aliases=True))
        raise InvalidParameterError(f"covariance_type must be one of {known}, got {covariance_type!r}") from None


def single(kind: Family) -> Family:
    """Return the family that one is where there is one component: what components have in common is then no constraint.

    Examples
    --------
    >>> single(family("EEV")).name, single(family("VEI")).name, single(family("EII")).name
    ('full', 'diag', 'spherical')
    """
    if kind.letters[1] == "I":
        return family("VII")
    return family("VVI" if kind.letters[2] == "I" else "VVV")


def names(*, aliases: bool = False) -> tuple[str, ...]:
    """Return the name of each of the fourteen families, scikit-learn's four first.

    Parameters
    ----------
    aliases : bool
        Whether to add mclust's names of scikit-learn's four.

    Examples
    --------
    >>> names()[:5]
    ('full', 'tied', 'diag', 'spherical', 'EII')
    >>> len(names()), len(names(aliases=True))
    (14, 18)
    """
    return (*_FAMILIES, *_ALIASES) if aliases else tuple(_FAMILIES)
