"""The doubt of a row, one less its largest responsibility: where it comes from, and what to classify in spite of it.

Doubt is the probability that the row's label is wrong. Its cause is read from the entropy of the row's responsibilities, in two parts: the
groups overlap where the row lies, or their parameters are not known well enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import entr

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import responsibility_summary, rows_of
from bayesgmm.params import MixtureParams
from bayesgmm.text import listed
from bayesgmm.typing import ArrayLike, FloatArray, IntArray
from bayesgmm.validation import check_weights

__all__ = [
    "ABSTAINED",
    "CAUSES",
    "CLEAR",
    "Abstention",
    "abstain",
    "cause_of_doubt",
    "check_uncertainty",
    "entropy_parts",
    "row_entropy",
    "uncertainty_of_draws",
    "uncertainty_of_one",
]

ABSTAINED = -1
"""Label of a row that is not classified."""
CLEAR = 0.9
"""A row whose most probable group has at least this probability, and so a doubt of at most 0.1, is called clear."""
CAUSES = ("clear", "overlap", "too little data")
"""What `cause_of_doubt` may say."""
_THRESHOLDS = np.arange(1, 100) / 100
_RULE = (
    f"clear: the most probable group has a probability of at least {CLEAR}; otherwise the greater part of total: "
    "overlap if aleatoric, too little data if epistemic"
)


def check_uncertainty(uncertainty: xr.Dataset, needed: Sequence[str]) -> None:
    """Raise InvalidParameterError unless this is what ``uncertainty()`` of a fit returns, with the variables that are needed."""
    if not isinstance(uncertainty, xr.Dataset):
        raise InvalidParameterError(
            f"uncertainty must be an xarray.Dataset, as fit.uncertainty() returns it, got {type(uncertainty).__name__}"
        )
    missing = [name for name in needed if name not in uncertainty.variables]
    if missing:
        raise InvalidParameterError(
            f"uncertainty lacks {listed(map(repr, missing))}: give the Dataset that fit.uncertainty() returns"
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


def entropy_parts(responsibilities: FloatArray, entropy: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return total, aleatoric and epistemic entropy (N,) of responsibilities (N, K) averaged over draws, whose mean entropy is (N,).

    Examples
    --------
    >>> [part.round(4).item() for part in entropy_parts(np.array([[0.5, 0.5]]), np.array([0.2]))]
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


def uncertainty_of_one(responsibilities: FloatArray, obs: pd.Index, components: IntArray) -> xr.Dataset:
    """Return the uncertainty that a single mixture admits: all of it overlap, since it takes its parameters for known.

    Parameters
    ----------
    responsibilities : array of shape (N, C)
    obs : Index of length N
    components : int array of shape (C,)
        Names of the columns; -1 for noise.

    Returns
    -------
    xarray.Dataset
        As of `uncertainty_of_draws`, with an epistemic part of exactly zero and intervals of no width.

    Examples
    --------
    >>> found = uncertainty_of_one(np.array([[0.5, 0.5]]), pd.RangeIndex(1, name="obs"), np.arange(2))
    >>> found.cause.values, found.epistemic.values
    (array(['overlap'], dtype='<U15'), array([0.]))
    """
    total = row_entropy(responsibilities)
    return _table(responsibilities, responsibilities, responsibilities, (total, total, np.zeros_like(total)), obs, components)


def uncertainty_of_draws(params: MixtureParams, X: FloatArray, obs: pd.Index, prob: float) -> xr.Dataset:
    """Return what is not known of each row's group under many mixtures with the same labels, as entropy in two parts.

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
        - ``label`` (obs): most probable group; its doubt is one less its ``responsibility``;
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
    >>> uncertainty_of_draws(draws, np.array([[0.0]]), pd.RangeIndex(1, name="obs"), 0.9).cause.values
    array(['too little data'], dtype='<U15')
    """
    flat = params.reshape(-1)
    said = responsibility_summary(rows_of(X), *flat.arrays(), prob=prob, diagonal=flat.is_diagonal)
    return _table(
        said.mean, said.lower, said.upper, entropy_parts(said.mean, said.entropy), obs, np.arange(params.n_components)
    ).assign_attrs(prob=prob)


@dataclass(frozen=True, eq=False)
class Abstention:
    """Groups of the rows that are sure enough; ``print`` it for the result in words.

    Attributes
    ----------
    labels : int array of shape (N,)
        Most probable group; -1 where the rule abstains. A row that a fit with a noise component takes for noise is -1 as well, and
        `classified` tells the two apart.
    classified : bool array of shape (N,)
    threshold : float
    expected_error : float
        Mean doubt of the classified rows, 1 - the probability of their group; NaN where no row is classified.
    curve : pandas.DataFrame
        ``share`` classified and ``expected_error`` for every ``threshold`` of 0.01, 0.02, ..., 0.99.
    weight : array of shape (N,)
        How often each row counts.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
    >>> round(abstain(em.uncertainty(), 0.99).share, 3)
    0.993
    """

    labels: IntArray
    classified: np.ndarray
    threshold: float
    expected_error: float
    curve: pd.DataFrame = field(repr=False)
    weight: FloatArray = field(repr=False)

    @property
    def share(self) -> float:
        """Share of the rows that are classified."""
        return float(self.weight @ self.classified / self.weight.sum())

    def __str__(self) -> str:
        n, N = int(self.classified.sum()), len(self.classified)
        if n == 0:
            return f"Classified: none of {N} rows, as no interval of a most probable group lies above {self.threshold:g}."
        if self.share == 0:  # a mean over rows that do not count is no number
            return f"Classified: {n} of {N} rows, but their weights are zero: no error can be expected of them."
        share = f"{self.share:.0%}{' by weight' if np.ptp(self.weight) > 0 else ''}"
        said = f"Classified: {n} of {N} rows ({share}); share of them expected in the wrong group: {self.expected_error:.2%}."
        return said if n == N else f"{said} Left open: {N - n}, where the group's interval reaches below {self.threshold:g}."


def abstain(uncertainty: xr.Dataset, threshold: float = 0.8, *, sample_weight: ArrayLike | None = None) -> Abstention:
    """Classify a row only if the lower bound of its most probable group's responsibility reaches a threshold.

    Parameters
    ----------
    uncertainty : xarray.Dataset
        What ``uncertainty()`` of a fit returns; ``label``, ``responsibility`` and ``lower`` are needed.
    threshold : float
        Between 0 and 1.
    sample_weight : array-like of shape (N,), optional
        How often each row counts in shares and in the expected error.

    Returns
    -------
    Abstention

    Raises
    ------
    InvalidParameterError
        If the threshold does not lie between 0 and 1, or the Dataset lacks a variable (it is named).
    InvalidDataError
        If there are not as many weights as rows, or a weight is negative.

    Notes
    -----
    A lower bound that must pass, rather than the mean, keeps a row open both where groups overlap and where the parameters are not known
    well enough: the rule of the R package mixAK (Komárek and Komárková 2014, Journal of Statistical Software 59(12)), with
    the central interval in place of the one of highest density. The expected error is the fit's own: it is right as far as
    the responsibilities are calibrated.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
    >>> print(abstain(em.uncertainty(), 0.99))
    Classified: 270 of 272 rows (99%); share of them expected in the wrong group: 0.01%. Left open: 2, where the group's interval \
reaches below 0.99.
    """
    if not 0 < threshold < 1:
        raise InvalidParameterError(f"threshold must lie between 0 and 1, got {threshold}")
    check_uncertainty(uncertainty, ("label", "component", "responsibility", "lower"))
    label = np.asarray(uncertainty["label"].values)
    own = uncertainty[["responsibility", "lower"]].sel(component=uncertainty["label"])
    lower, doubt = own["lower"].values, 1.0 - own["responsibility"].values
    classified = lower >= threshold
    labels = np.where(classified, label, ABSTAINED)
    given = check_weights(sample_weight, len(label))
    weight = np.ones(len(label)) if given is None else given
    expected = _mean(doubt, classified, weight)
    return Abstention(labels, classified, float(threshold), expected, _curve(lower, doubt, weight), weight)


def _mean(doubt: FloatArray, classified: np.ndarray, weight: FloatArray) -> float:
    counted = weight * classified
    return float(counted @ doubt / counted.sum()) if counted.any() else float("nan")


def _curve(lower: FloatArray, doubt: FloatArray, weight: FloatArray) -> pd.DataFrame:
    kept = [lower >= threshold for threshold in _THRESHOLDS]
    share = [float(weight @ rows / weight.sum()) for rows in kept]
    return pd.DataFrame({"threshold": _THRESHOLDS, "share": share, "expected_error": [_mean(doubt, rows, weight) for rows in kept]})


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
