"""Axes that rows choose by themselves, and that go along with every linear map of them: invariant coordinates."""

from __future__ import annotations

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import expectation, filled
from bayesgmm.frame import Frame, total_moments
from bayesgmm.rows import Rows
from bayesgmm.typing import FloatArray
from bayesgmm.underflow import guard

__all__ = ["invariant_frame"]

_MOST_ROWS = 100_000
"""Axes are looked for in no more than that, evenly spread."""
_COLLINEAR = 1e-10  # smallest eigenvalue of the correlation matrix that is still taken for information


def invariant_frame(rows: Rows) -> Frame:
    """Return the frame of rows that goes along with every linear map of them, by invariant coordinate selection.

    Its axes are those that two scatter matrices have in common: the total covariance S, which gives them unit variance, and the covariance
    of the rows divided by their Mahalanobis distance under S. Far rows count little in the second, so that the two differ along the
    directions in which the rows are not normal, such as those between groups. Nothing is fitted, and no number of groups is looked at.
    Axes come in the order of the second scatter, the largest first, and point to where the rows' third moment is positive.

    Parameters
    ----------
    rows : Rows
        One that lacks values counts with what is expected of it under one normal distribution of all rows. Of more than 100,000 rows,
        as many that are evenly spread are looked at for the axes, and all for the covariance.

    Raises
    ------
    InvalidDataError
        If the rows vary in fewer directions than there are columns.

    Notes
    -----
    Tyler, Critchley, Duembgen and Oja (2009), Journal of the Royal Statistical Society B 71, 549-592. The second scatter is Tyler's after
    one step, that of principal axis analysis (Critchley, Pires and Amado 2006).

    Examples
    --------
    Whatever the units, the coordinates are the same:

    >>> from bayesgmm.rows import MemoryRows
    >>> X = np.random.default_rng(0).gamma(2.0, size=(300, 2))
    >>> A = np.array([[1.0, 2.0], [-3.0, 100.0]])
    >>> bool(np.allclose(invariant_frame(MemoryRows(X)).standardise(X), invariant_frame(MemoryRows(X @ A)).standardise(X @ A)))
    True
    """
    center, covariance = total_moments(rows)
    sd = np.sqrt(np.diag(covariance))
    _refuse_collinear(covariance, sd, len(rows))
    white = Frame(center, sd[:, None] * np.linalg.cholesky(covariance / np.outer(sd, sd)))
    some = rows.values_alone().some(_MOST_ROWS)
    normal = np.zeros(1), white.center[None], white.factor[None]
    Z = white.standardise(filled(some.chunk, *normal))
    squares = (Z**2).sum(1) + np.isnan(some.values).sum(1)  # whitened, what a row lacks has a variance of one in as many directions
    weight = (1.0 if some.weights is None else some.weights) / np.maximum(squares, np.finfo(float).tiny ** 0.5)
    # Of one component second moments are about its centre, with what is left of the variance of what rows lack.
    second = expectation(some.weighted(weight), *normal).second[0]
    axes = np.linalg.eigh(0.5 * (second + second.T))[1][:, ::-1]
    skew = (weight[:, None] * (Z @ axes) ** 3).sum(0)
    return Frame(center, white.factor @ (axes * np.where(skew < 0, -1.0, 1.0)))


def _refuse_collinear(covariance: FloatArray, sd: FloatArray, n_rows: int) -> None:
    D = len(sd)
    singular = (sd == 0).any()
    if not singular:
        values = np.linalg.eigvalsh(covariance / np.outer(sd, sd))
        singular = values[0] < _COLLINEAR * values[-1]
    if singular:
        why = f"{n_rows} rows do" if n_rows <= D else "some columns follow from others, and the rows do"
        raise InvalidDataError(
            f"{why} not vary in {D} directions, which a prior of correlations needs: leave out columns, or take covariance_type='diag'."
        )


guard(globals())
