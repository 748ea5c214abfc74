"""Why the group of a row is in doubt: the groups overlap there, or their parameters are not known well enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import entr

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import responsibility_summary
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["CAUSES", "CLEAR", "cause_of_doubt", "check_doubt", "doubt_of_draws", "doubt_of_one", "parts_of_doubt", "row_entropy"]

CLEAR = 0.9
"""A row whose most probable group has at least this probability is called clear."""
CAUSES = ("clear", "overlap", "too little data")
"""What `cause_of_doubt` may say."""
_RULE = (
    f"clear: the most probable group has a probability of at least {CLEAR}; otherwise the greater part of total: "
    "overlap if aleatoric, too little data if epistemic"
)


def check_doubt(uncertainty: Any, needed: Sequence[str]) -> None:
    """Raise InvalidParameterError unless this is what ``uncertainty()`` of a fit returns, with the variables that are needed."""
    if not isinstance(uncertainty, xr.Dataset):
        raise InvalidParameterError(
            f"uncertainty must be an xarray.Dataset, as fit.uncertainty() returns it, got {type(uncertainty).__name__}"
        )
    missing = [name for name in needed if name not in uncertainty.variables]
    if missing:
        raise InvalidParameterError(
            f"uncertainty lacks {', '.join(map(repr, missing))}: give the Dataset that fit.uncertainty() returns"
        )


def row_entropy(responsibilities: FloatArray) -> FloatArray:
    """Return the entropy (...) of responsibilities (..., K) in nats, ``- sum_k r_k log r_k``.

    Parameters
    ----------
    responsibilities : array of shape (..., K)

    Returns
    -------
    array of shape (...)

    Examples
    --------
    >>> row_entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).round(4)
    array([0.6931, 0.    ])
    """
    return np.asarray(entr(responsibilities).sum(axis=-1))


def parts_of_doubt(responsibilities: FloatArray, entropy: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return total, aleatoric and epistemic entropy (N,) of responsibilities (N, K) averaged over draws, whose mean entropy is (N,).

    Examples
    --------
    >>> [part.round(4).item() for part in parts_of_doubt(np.array([[0.5, 0.5]]), np.array([0.2]))]
    [0.6931, 0.2, 0.4931]
    """
    total = row_entropy(responsibilities)
    aleatoric = np.clip(entropy, 0.0, total)
    return total, aleatoric, total - aleatoric


def cause_of_doubt(responsibilities: FloatArray, aleatoric: FloatArray, epistemic: FloatArray) -> np.ndarray:
    """Return for each row one of `CAUSES`.

    Parameters
    ----------
    responsibilities : array of shape (N, K)
        Averaged over draws.
    aleatoric, epistemic : array of shape (N,)
        The two parts of the row's entropy. The greater one is the cause: more data of the same kind take away the epistemic part, and
        leave the aleatoric one.

    Returns
    -------
    array of str, shape (N,)

    Examples
    --------
    >>> r = np.array([[0.99, 0.01], [0.6, 0.4], [0.6, 0.4]])
    >>> cause_of_doubt(r, np.array([0.05, 0.6, 0.2]), np.array([0.0, 0.07, 0.47]))
    array(['clear', 'overlap', 'too little data'], dtype='<U15')
    """
    named = np.where(epistemic > aleatoric, CAUSES[2], CAUSES[1])
    return np.where(responsibilities.max(axis=1) >= CLEAR, CAUSES[0], named)


def doubt_of_one(responsibilities: FloatArray, obs: pd.Index, components: IntArray) -> xr.Dataset:
    """Return the doubt that a single mixture admits: all of it overlap, since it takes its parameters for known.

    Parameters
    ----------
    responsibilities : array of shape (N, C)
    obs : Index of length N
    components : int array of shape (C,)
        Names of the columns; -1 for noise.

    Returns
    -------
    xarray.Dataset
        As of `doubt_of_draws`, with an epistemic part of exactly zero and intervals of no width.

    Examples
    --------
    >>> doubt = doubt_of_one(np.array([[0.5, 0.5]]), pd.RangeIndex(1, name="obs"), np.arange(2))
    >>> doubt.cause.values, doubt.epistemic.values
    (array(['overlap'], dtype='<U15'), array([0.]))
    """
    total = row_entropy(responsibilities)
    return _table(responsibilities, responsibilities, responsibilities, (total, total, np.zeros_like(total)), obs, components)


def doubt_of_draws(params: MixtureParams, X: FloatArray, obs: pd.Index, prob: float) -> xr.Dataset:
    """Return the doubt of each row under many mixtures with the same labels, split into its two causes.

    Parameters
    ----------
    params : MixtureParams
        Batch of any shape with equally probable draws.
    X : array of shape (N, D)
        NaN stands for a missing value.
    obs : Index of length N
    prob : float
        Share of the draws that the central intervals hold.

    Returns
    -------
    xarray.Dataset
        - ``total`` (obs): entropy of the averaged responsibilities, in nats;
        - ``aleatoric`` (obs): mean over draws of the entropy;
        - ``epistemic`` (obs): their difference, at least zero: the mutual information of a row's group and the parameters;
        - ``label`` (obs): most probable group;
        - ``cause`` (obs): see `cause_of_doubt`;
        - ``responsibility``, ``lower``, ``upper`` (obs, component): mean over draws and ends of the central interval.

    Notes
    -----
    Houlsby, Huszár, Ghahramani and Lengyel 2011, arXiv:1112.5745, equation 2. Entropy is concave, so the difference is never negative but
    for rounding. A few rows at a time see all draws: draws x rows x components never exist together.

    Examples
    --------
    Two draws, each sure of the row, that disagree:

    >>> sharp = [[[0.01]], [[0.01]]]
    >>> draws = MixtureParams.from_covariances([[0.5, 0.5]] * 2, [[[0.0], [9.0]], [[9.0], [0.0]]], [sharp, sharp])
    >>> doubt_of_draws(draws, np.array([[0.0]]), pd.RangeIndex(1, name="obs"), 0.9).cause.values
    array(['too little data'], dtype='<U15')
    """
    flat = params.reshape(-1)
    said = responsibility_summary(Chunk(X), *flat.arrays(), prob=prob, diagonal=flat.is_diagonal)
    return _table(
        said.mean, said.lower, said.upper, parts_of_doubt(said.mean, said.entropy), obs, np.arange(params.n_components)
    ).assign_attrs(prob=prob)


def _table(
    mean: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    parts: tuple[FloatArray, FloatArray, FloatArray],
    obs: pd.Index,
    components: IntArray,
) -> xr.Dataset:
    total, aleatoric, epistemic = parts
    variables = {
        "total": ("obs", total),
        "aleatoric": ("obs", aleatoric),
        "epistemic": ("obs", epistemic),
        "label": ("obs", components[mean.argmax(axis=1)]),
        "cause": ("obs", cause_of_doubt(mean, aleatoric, epistemic)),
        "responsibility": (("obs", "component"), mean),
        "lower": (("obs", "component"), lower),
        "upper": (("obs", "component"), upper),
    }
    return xr.Dataset(variables, coords={"obs": obs, "component": components}, attrs={"units": "nats", "rule": _RULE})
