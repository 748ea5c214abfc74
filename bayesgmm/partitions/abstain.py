"""Groups only for the rows whose group is sure enough."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions.doubt import check_doubt
from bayesgmm.typing import ArrayLike, FloatArray, IntArray
from bayesgmm.validation import check_weights

__all__ = ["ABSTAINED", "Abstention", "abstain"]

ABSTAINED = -1
"""Label of a row that is not classified."""
_THRESHOLDS = np.arange(1, 100) / 100


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
        Mean over the classified rows of 1 - the probability of their group; NaN where no row is classified.
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
    check_doubt(uncertainty, ("label", "component", "responsibility", "lower"))
    label = np.asarray(uncertainty["label"].values)
    own = uncertainty[["responsibility", "lower"]].sel(component=uncertainty["label"])
    lower, error = own["lower"].values, 1.0 - own["responsibility"].values
    classified = lower >= threshold
    labels = np.where(classified, label, ABSTAINED)
    given = check_weights(sample_weight, len(label))
    weight = np.ones(len(label)) if given is None else given
    expected = _mean_error(error, classified, weight)
    return Abstention(labels, classified, float(threshold), expected, _curve(lower, error, weight), weight)


def _mean_error(error: FloatArray, classified: np.ndarray, weight: FloatArray) -> float:
    counted = weight * classified
    return float(counted @ error / counted.sum()) if counted.any() else float("nan")


def _curve(lower: FloatArray, error: FloatArray, weight: FloatArray) -> pd.DataFrame:
    kept = [lower >= threshold for threshold in _THRESHOLDS]
    return pd.DataFrame(
        {
            "threshold": _THRESHOLDS,
            "share": [float(weight @ rows / weight.sum()) for rows in kept],
            "expected_error": [_mean_error(error, rows, weight) for rows in kept],
        }
    )
