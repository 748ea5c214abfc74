"""What draws may be asked, by what they are: steps of chains, independent draws, refits of a bootstrap."""

from __future__ import annotations

import xarray as xr

from bayesgmm.exceptions import InvalidDataError

__all__ = ["does_not_apply", "draws_kind", "require_valid"]

KINDS = {
    "chains": "steps of Markov chains",
    "independent": "independent draws",
    "stacked": "draws picked from several chains",
    "bootstrap": "refits of a bootstrap, not draws of a posterior",
    "sampling": "normal draws from EM's sampling distribution, not draws of a posterior",
}
"""Values of ``attrs["draws"]``, in words."""

_QUESTIONS = {
    "r_hat": ("R-hat", ("chains",), "it compares chains with each other"),
    "ess": ("The effective sample size", ("chains",), "it corrects for the memory of a chain"),
    "loo": ("PSIS-LOO", ("chains", "independent", "stacked"), "it reweights draws of a posterior"),
    "stacking": ("Stacking of chains", ("chains",), "it weighs chains that settled in different modes"),
    "power_scaling": (
        "Power-scaling of priors",
        ("chains", "independent", "stacked"),
        "it reweights draws of a posterior",
    ),
}


def draws_kind(datatree: xr.DataTree) -> str:
    """Return what the draws are: ``attrs["draws"]``, "chains" where it says nothing.

    Parameters
    ----------
    datatree : xarray.DataTree

    Returns
    -------
    str

    Examples
    --------
    >>> draws_kind(xr.DataTree())
    'chains'
    """
    return str(datatree.attrs.get("draws", "chains"))


def does_not_apply(datatree: xr.DataTree, question: str) -> str | None:
    """Say why a question cannot be asked of these draws.

    Parameters
    ----------
    datatree : xarray.DataTree
        With ``attrs["draws"]``: "chains", "independent", "stacked", "bootstrap" or "sampling".
    question : {"r_hat", "ess", "loo", "stacking", "power_scaling"}

    Returns
    -------
    str or None
        A sentence; None if it can be asked.

    Examples
    --------
    >>> does_not_apply(xr.DataTree(xr.Dataset(attrs={"draws": "bootstrap"})), "loo")
    'PSIS-LOO does not apply: it reweights draws of a posterior, and these are refits of a bootstrap, not draws of a posterior.'
    """
    kind = draws_kind(datatree)
    name, allowed, reason = _QUESTIONS[question]
    if kind in allowed:
        return None
    return f"{name} does not apply: {reason}, and these are {KINDS.get(kind, repr(kind))}."


def require_valid(datatree: xr.DataTree, question: str) -> None:
    """Refuse a question that cannot be asked of these draws; see `does_not_apply`.

    Parameters
    ----------
    datatree : xarray.DataTree
    question : {"r_hat", "ess", "loo", "stacking", "power_scaling"}

    Raises
    ------
    InvalidDataError
        With the sentence of `does_not_apply`.

    Examples
    --------
    >>> require_valid(xr.DataTree(), "r_hat")
    >>> require_valid(xr.DataTree(xr.Dataset(attrs={"draws": "bootstrap"})), "r_hat")
    Traceback (most recent call last):
    ...
    bayesgmm.exceptions.InvalidDataError: R-hat does not apply: ...
    """
    sentence = does_not_apply(datatree, question)
    if sentence is not None:
        raise InvalidDataError(sentence)
