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
from bayesgmm.expectation import (
    DrawMoments,
    Estimate,
    Grouping,
    ResponsibilitySummary,
    predictions,
    responsibility_moments,
    responsibility_summary,
)
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk, as_chunk
from bayesgmm.text import listed
from bayesgmm.typing import ArrayLike, FloatArray, IntArray
from bayesgmm.validation import check_weights

__all__ = [
    "ABSTAINED",
    "CAUSES",
    "CLEAR",
    "NOISE",
    "Abstention",
    "abstain",
    "cause_of_doubt",
    "check_row_summary",
    "group_summary",
    "row_doubt",
    "row_entropy",
    "row_summary",
    "taken_for_known",
]

ABSTAINED = -1
"""Label of a row that is not classified."""
NOISE = -1
"""Label of a row that belongs to no group."""
CLEAR = 0.9
"""A row whose most probable group has at least this probability, and so a doubt of at most 0.1, is called clear."""
CAUSES = ("clear", "overlap", "too little data")
"""What `cause_of_doubt` may say."""
_THRESHOLDS = np.arange(1, 100) / 100
_RULE = (
    f"clear: the most probable group has a probability of at least {CLEAR}; otherwise the greater part of entropy: "
    "overlap if aleatoric, too little data if epistemic"
)
_ATTRS = {"cause": {"rule": _RULE}, **{name: {"units": "nats"} for name in ("entropy", "aleatoric", "epistemic")}}


def check_row_summary(summary: xr.Dataset, needed: Sequence[str]) -> None:
    """Raise InvalidParameterError unless this is what ``row_summary()`` of a fit returns, with the variables that are needed."""
    if not isinstance(summary, xr.Dataset):
        raise InvalidParameterError(
            f"summary must be an xarray.Dataset, as fit.row_summary() returns it, got {type(summary).__name__}"
        )
    missing = [name for name in needed if name not in summary.variables]
    if missing:
        raise InvalidParameterError(f"summary lacks {listed(map(repr, missing))}: give the Dataset that fit.row_summary() returns")


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


def row_doubt(responsibility: FloatArray, entropy: FloatArray, components: Sequence[int]) -> dict[str, np.ndarray]:
    """Return label, doubt, cause and entropies (N,) of rows, by their names in `row_summary`.

    Parameters
    ----------
    responsibility : array of shape (N, C)
        Averaged over draws.
    entropy : array of shape (N,)
        Mean over draws of the responsibilities' entropy.
    components : sequence of int
        Names of the columns.

    Examples
    --------
    >>> found = row_doubt(np.array([[0.5, 0.5]]), np.array([0.2]), [0, 1])
    >>> {name: values.tolist() for name, values in found.items() if name in ("doubt", "cause")}
    {'doubt': [0.5], 'cause': ['too little data']}
    """
    total = row_entropy(responsibility)
    aleatoric = np.clip(entropy, 0.0, total)  # entropy is concave, so more is rounding
    return {
        "label": np.asarray(components)[responsibility.argmax(axis=1)],
        "doubt": 1.0 - responsibility.max(axis=1),
        "cause": cause_of_doubt(responsibility, aleatoric, total - aleatoric),
        "entropy": total,
        "aleatoric": aleatoric,
        "epistemic": total - aleatoric,
    }


def row_summary(
    params: MixtureParams,
    X: FloatArray | Chunk,
    obs: pd.Index | None = None,
    prob: float = 0.9,
    *,
    moments: DrawMoments | None = None,
    grouping: Grouping | None = None,
) -> xr.Dataset:
    """Return all that mixtures say of rows: what the method of this name of a fit returns.

    Parameters
    ----------
    params : MixtureParams
        One mixture, which is taken for known, or a batch of any shape: equally probable draws with the same labels.
    X : array of shape (N, D), or Chunk
        NaN stands for a missing value; a chunk knows what else is known of its rows.
    obs : Index of length N, optional
        Names of the rows.
    prob : float
        Share of the draws that the central intervals hold.
    moments : DrawMoments, optional
        What one mixture says of the rows with noise beside it, which is the last of C components.
    grouping : Grouping, optional
        Of the components of draws that differ in their number.

    Returns
    -------
    xarray.Dataset
        The variables that :meth:`bayesgmm.BayesianGaussianMixture.row_summary` lists; ``label_share`` of draws only.

    Notes
    -----
    Houlsby, Huszár, Ghahramani and Lengyel 2011, arXiv:1112.5745, equation 2. A few rows at a time see all draws: draws x rows x components
    never exist together.

    Examples
    --------
    Two draws, each sure of the row, that disagree:

    >>> sharp = [[[0.01]], [[0.01]]]
    >>> draws = MixtureParams.from_covariances([[0.5, 0.5]] * 2, [[[0.0], [9.0]], [[9.0], [0.0]]], [sharp, sharp])
    >>> row_summary(draws, np.array([[0.0]])).cause.values
    array(['too little data'], dtype='<U15')
    """
    flat, chunk = params.reshape(-1), as_chunk(X)
    arrays, diagonal = flat.arrays(chunk), flat.is_diagonal
    said = predictions(chunk, *arrays, prob=prob, diagonal=diagonal, grouping=grouping)
    if params.batch_shape:
        share = responsibility_summary(chunk, *arrays, prob=prob, diagonal=diagonal, grouping=grouping)
        log_density = said.log_density
    else:
        one = responsibility_moments(chunk, *arrays, diagonal=diagonal) if moments is None else moments
        share, log_density = taken_for_known(one.mean), Estimate(*(one.log_density.copy() for _ in range(3)))
    obs = pd.RangeIndex(len(X), name="obs") if obs is None else obs
    K = params.n_components if grouping is None else grouping.n_groups
    components = [k if k < K else NOISE for k in range(share.mean.shape[1])]
    table = group_summary(share, obs, components).assign(
        {
            f"{name}{end}": ("obs", values)
            for name, estimate in (("log_density", log_density), ("tail_probability", said.tail))
            for end, values in zip(("", "_lower", "_upper"), estimate, strict=True)
        }
    )
    if not params.batch_shape:
        return table.assign_attrs(prob=prob)
    votes = np.take_along_axis(said.votes, table["label"].values[:, None], axis=1)[:, 0]
    return table.assign(label_share=("obs", votes)).assign_attrs(prob=prob, n_draws=len(flat.weights))


def taken_for_known(responsibilities: FloatArray) -> ResponsibilitySummary:
    """Return responsibilities (N, C) as one mixture says them, which takes its parameters for known: all doubt is overlap."""
    r = responsibilities
    return ResponsibilitySummary(r, np.zeros_like(r), r.copy(), r.copy(), row_entropy(r))


def group_summary(share: ResponsibilitySummary, obs: pd.Index, components: Sequence[int]) -> xr.Dataset:
    """Return the part of `row_summary` that follows from responsibilities.

    Examples
    --------
    >>> found = group_summary(taken_for_known(np.array([[0.5, 0.5]])), pd.RangeIndex(1, name="obs"), [0, 1])
    >>> found.cause.values, found.epistemic.values
    (array(['overlap'], dtype='<U15'), array([0.]))
    """
    of_rows = row_doubt(share.mean, share.entropy, components)
    of_groups = zip(("", "_sd", "_lower", "_upper"), share[:4], strict=True)
    variables = {name: ("obs", values, _ATTRS.get(name)) for name, values in of_rows.items()}
    table = xr.Dataset(variables, coords={"obs": obs, "component": list(components)})
    return table.assign({f"responsibility{end}": (("obs", "component"), values) for end, values in of_groups})


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
    >>> round(abstain(em.row_summary(), 0.99).share, 3)
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


def abstain(summary: xr.Dataset, threshold: float = 0.8, *, sample_weight: ArrayLike | None = None) -> Abstention:
    """Classify a row only if the lower bound of its most probable group's responsibility reaches a threshold.

    Parameters
    ----------
    summary : xarray.Dataset
        What ``row_summary()`` of a fit returns; ``label``, ``doubt`` and ``responsibility_lower`` are needed.
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
    >>> print(abstain(em.row_summary(), 0.99))
    Classified: 270 of 272 rows (99%); share of them expected in the wrong group: 0.01%. Left open: 2, where the group's interval \
reaches below 0.99.
    """
    if not 0 < threshold < 1:
        raise InvalidParameterError(f"threshold must lie between 0 and 1, got {threshold}")
    check_row_summary(summary, ("label", "component", "doubt", "responsibility_lower"))
    label, doubt = np.asarray(summary["label"].values), summary["doubt"].values
    lower = summary["responsibility_lower"].sel(component=summary["label"]).values
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
