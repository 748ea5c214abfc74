"""Conjugate priors, with which EM's M-step stays a closed formula and Gibbs sampling needs no gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln, multigammaln

from bayesgmm.covariance import Family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.frame import Frame
from bayesgmm.typing import ArrayLike, FloatArray
from bayesgmm.underflow import guard
from bayesgmm.validation import broadcast, check_fields

__all__ = ["ConjugatePriors", "ResolvedConjugatePriors"]


_OF_ALL = 0.25
"""Share of the data's covariance that groups are expected to have each: half of the standard deviation."""


@dataclass(frozen=True, eq=False)
class ConjugatePriors:
    """Fraley and Raftery's conjugate prior, with which EM's M-step stays a closed formula.

    Covariances are inverse Wishart (variances of diagonal and spherical families inverse gamma), means normal given them, with
    ``shrinkage`` rows' worth of belief in a common centre (Fraley and Raftery 2007, Journal of Classification 24, 155-181). ``None``
    stands for their default.

    Parameters
    ----------
    concentration : float or array of shape (K,)
        Of the weights' Dirichlet distribution; 1 adds nothing to the likelihood.
    means_loc : float or array of shape (D,), optional
        Centre of the means; by default the column means.
    shrinkage : float
        How many rows the belief in that centre is worth.
    df : float, optional
        Degrees of freedom of the covariances; by default D + 2.
    scale : float, array of shape (D, D) or "learned", optional
        Scale matrix of the covariances (a number times the identity). "learned" leaves it to the data: it then has a Wishart
        distribution with as few degrees of freedom as columns, about a quarter of the data's covariance matrix (Richardson and Green
        1997, Journal of the Royal Statistical Society B 59, 731-792; Fruehwirth-Schnatter, Malsiner-Walli and Gruen 2021, Bayesian
        Analysis 16, 1279-1307), so that the prior goes along with any linear map of the data and is the same for every number of
        components. That is the default of Gibbs sampling. The default of EM is the data's covariance matrix over ``K^(2/D)``, as in
        mclust: it makes groups that lie far apart too wide, but holds up a component that closes in on repeated rows, where a
        learned scale would close in with it.

    Examples
    --------
    >>> ConjugatePriors(shrinkage=1.0).shrinkage
    1.0
    """

    concentration: ArrayLike = 1.0
    means_loc: ArrayLike | None = None
    shrinkage: float = 0.01
    df: float | None = None
    scale: ArrayLike | str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.scale, str) and self.scale != "learned":
            raise InvalidParameterError(f"ConjugatePriors: scale must be a number, a matrix or 'learned', got {self.scale!r}")
        check_fields(self, positive=("concentration", "shrinkage", "df"), finite=["means_loc"])

    def resolve(self, mean: FloatArray, covariance: FloatArray, n_components: int) -> ResolvedConjugatePriors:
        """Return these priors with every default filled in.

        Parameters
        ----------
        mean, covariance : arrays of shape (D,) and (D, D)
            Of the data.
        n_components : int

        Raises
        ------
        InvalidParameterError
            If an array does not have a shape that fits K and D, df is too small or the scale is not positive definite.
        """
        D = len(mean)
        df = float(D + 2 if self.df is None else self.df)
        if df <= D - 1:
            raise InvalidParameterError(f"ConjugatePriors: df must be above {D - 1} for {D} columns, got {df:g}")
        is_learned = isinstance(self.scale, str)
        default = _OF_ALL * covariance if is_learned else covariance / n_components ** (2 / D)
        scale = default if is_learned or self.scale is None else np.asarray(self.scale, dtype=float)
        scale = scale * np.eye(D) if scale.ndim == 0 else scale
        if scale.shape != (D, D) or not np.allclose(scale, scale.T) or not np.linalg.eigvalsh(scale)[0] > 0:
            singular = ", and the data's covariance matrix is none: leave out columns that follow from others"
            raise InvalidParameterError(
                f"ConjugatePriors: scale must be a positive number or a symmetric positive definite matrix of shape ({D}, {D})"
                + (singular if is_learned or self.scale is None else "")
            )
        loc = broadcast("priors: means_loc", mean if self.means_loc is None else self.means_loc, (D,))
        concentration = broadcast("priors: concentration", self.concentration, (n_components,))
        return ResolvedConjugatePriors(concentration, loc, self.shrinkage, df, scale, float(D) if is_learned else None)


@dataclass(frozen=True, eq=False)
class ResolvedConjugatePriors:
    """Conjugate priors with nothing left to decide.

    Parameters
    ----------
    concentration : array of shape (K,)
    means_loc : array of shape (D,)
    shrinkage, df : float
    scale : array of shape (D, D)
        Scale of the covariances; where it is learned, its expectation.
    scale_df : float, optional
        Degrees of freedom of the Wishart distribution that a learned scale has; none where the scale is given.
    rounding : array of shape (D, D), optional
        Covariance that is added to every component's: the prior is of what is beside it.

    Examples
    --------
    >>> resolved = ConjugatePriors().resolve(np.zeros(2), np.eye(2), 2)
    >>> resolved.df, resolved.scale
    (4.0, array([[0.5, 0. ],
           [0. , 0.5]]))
    """

    concentration: FloatArray
    means_loc: FloatArray
    shrinkage: float
    df: float
    scale: FloatArray
    scale_df: float | None = None
    rounding: FloatArray | None = None

    def seen_in(self, frame: Frame) -> ResolvedConjugatePriors:
        """Return the priors of the same mixture in the coordinates of a frame."""
        loc, scale = frame.standardise(self.means_loc[None])[0], frame.covariance_in(self.scale)
        rounding = None if self.rounding is None else frame.covariance_in(self.rounding)
        return replace(self, means_loc=loc, scale=scale, rounding=rounding)

    def scale_given(self, scale_tril: FloatArray, family: Family) -> FloatArray:
        """Return the scale as it is, or the expectation of a learned one given the covariances.

        Given these, a scale with a Wishart distribution has one again: with ``df`` degrees of freedom more for each, and the inverse of its
        own scale plus the sum of their inverses. In diagonal families the same holds for each column.

        Parameters
        ----------
        scale_tril : array of shape (K, D, D)
            Cholesky factors of the covariances.
        family : Family

        Returns
        -------
        array of shape (D, D)
        """
        if self.scale_df is None:
            return self.scale
        df, inverse = self.learned(scale_tril, family)
        return df * np.linalg.inv(inverse)

    def log_density_of_covariances(self, scale_tril: FloatArray, family: Family) -> FloatArray:
        """Return the log-density of covariances, a learned scale integrated out.

        Parameters
        ----------
        scale_tril : array of shape (..., K, D, D)
            Their Cholesky factors.
        family : Family

        Returns
        -------
        array of shape (...)
            In the measure of the free matrices, in diagonal families of the free variances.
        """
        df, own, D = self.df, self.scale_df, scale_tril.shape[-1]
        diagonal = np.diagonal(scale_tril, axis1=-2, axis2=-1)
        if family.diagonal:  # every variance is a matrix of one row
            spherical = family.sds_dims == ("component",)
            variances = diagonal[..., :1] ** 2 if spherical else diagonal**2
            scale = np.atleast_1d(np.trace(self.scale) / D if spherical else np.diag(self.scale))
            each = -0.5 * df * np.log(2.0) - gammaln(0.5 * df) - (0.5 * df + 1.0) * np.log(variances)
            if own is None:
                return (each + 0.5 * df * np.log(scale) - 0.5 * scale / variances).sum((-2, -1))
            total, inverse = self.learned(scale_tril, family)
            left = np.log(np.diagonal(inverse, axis1=-2, axis2=-1)[..., : len(scale)])
            constant = -0.5 * own * np.log(2.0 * scale / own) - gammaln(0.5 * own)
            return each.sum((-2, -1)) + (constant + 0.5 * total * (np.log(2.0) - left) + gammaln(0.5 * total)).sum(-1)
        free = slice(0, 1) if family.sds_dims == ("feature",) else slice(None)
        log_det = 2.0 * np.log(diagonal[..., free, :]).sum(-1)
        each = -0.5 * df * D * np.log(2.0) - multigammaln(0.5 * df, D) - 0.5 * (df + D + 1.0) * log_det
        if own is None:
            roots = scale_tril[..., free, :, :]
            half = np.linalg.solve(roots, np.broadcast_to(self.scale, roots.shape))
            trace = np.trace(np.linalg.solve(roots, np.swapaxes(half, -1, -2)), axis1=-2, axis2=-1)
            return (each + 0.5 * df * np.linalg.slogdet(self.scale)[1] - 0.5 * trace).sum(-1)
        total, inverse = self.learned(scale_tril, family)
        constant = -0.5 * own * (D * np.log(2.0) + np.linalg.slogdet(self.scale / own)[1]) - multigammaln(0.5 * own, D)
        integral = 0.5 * total * (D * np.log(2.0) - np.linalg.slogdet(inverse)[1]) + multigammaln(0.5 * total, D)
        return each.sum(-1) + constant + integral

    def learned(self, scale_tril: FloatArray, family: Family) -> tuple[float, FloatArray]:
        """Return the distribution of a learned scale given the covariances.

        Parameters
        ----------
        scale_tril : array of shape (..., K, D, D)
            Cholesky factors of the covariances.
        family : Family

        Returns
        -------
        float, array of shape (..., D, D)
            Degrees of freedom of the Wishart distribution, and the inverse of its scale.
        """
        assert self.scale_df is not None, "the scale is given"
        D = scale_tril.shape[-1]
        own = self.scale / self.scale_df
        if family.sds_dims == ("feature",):
            scale_tril = scale_tril[..., :1, :, :]
        df = self.scale_df + self.df * scale_tril.shape[-3]
        if not family.diagonal:
            roots = np.linalg.inv(scale_tril)
            return df, np.linalg.inv(own) + (np.swapaxes(roots, -1, -2) @ roots).sum(-3)
        precisions = (np.diagonal(scale_tril, axis1=-2, axis2=-1) ** -2.0).sum(-2)
        if family.sds_dims == ("component",):
            return df, (D / np.trace(own) + precisions[..., :1, None]) * np.eye(D)
        return df, (1.0 / np.diag(own) + precisions)[..., None] * np.eye(D)


guard(globals())
