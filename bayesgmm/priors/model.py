"""Priors of the PyMC model: Dirichlet weights; normal means, standard deviations and LKJ correlations along the axes of a frame."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from bayesgmm.covariance import WITH_PRIORS, Family
from bayesgmm.covariance import family as family_named
from bayesgmm.exceptions import DataAdvice, InvalidDataError, InvalidParameterError, warn
from bayesgmm.frame import Frame, total_moments
from bayesgmm.params import MixtureParams, has_full_rank
from bayesgmm.priors.axes import invariant_frame
from bayesgmm.priors.correlations import LEAST, LKJ
from bayesgmm.priors.number import Concentration, NumberPrior
from bayesgmm.priors.scales import LogNormal, ScalePrior
from bayesgmm.random import generator
from bayesgmm.resolution import MOST_ROWS, smallest_sds, with_rounding, without_rounding
from bayesgmm.rows import Rows, rows_to_fit
from bayesgmm.typing import ArrayLike, CovarianceType, FloatArray, RandomState
from bayesgmm.underflow import guard
from bayesgmm.validation import broadcast, check_count, check_fields, is_finite

__all__ = ["Priors", "ResolvedPriors", "draw_mixtures"]

_MOST = 1e150
"""Draws beyond this have squares that are no numbers."""

DEFAULT_MEANS_SCALE = 2.5  # prior standard deviation of a component's mean, in standard deviations of all rows
DEFAULT_LOG_SD = -0.5  # what is expected of the log of a component's standard deviation, in standard deviations of all rows
DEFAULT_SHARED, DEFAULT_OWN = 1.0, 0.2  # standard deviations of its parts: what all components share, and each has for itself
DEFAULT_FACTORS = (1.0, 2.0, 3.0)  # by one of which the latter is multiplied: components are alike, or they are not
DEFAULT_ETAS, ETA_OF_COLUMNS = (0.25, 1.0, 4.0), 2.0  # along axes that the data chose, and along the columns
_INVARIANT, _COLUMNS = "invariant", "columns"


@dataclass(frozen=True, eq=False)
class Priors:
    """Priors of a Gaussian mixture; ``None`` stands for a default scaled by the data, the same for every number of components.

    A mixture is drawn in coordinates z of its own and carried to the data by ``x = center + F z``: means are normal, standard deviations
    have the prior ``sds`` and correlations an LKJ distribution along the axes of z, so that a covariance matrix of the data is
    ``F diag(sd) R diag(sd) F'``.

    Parameters
    ----------
    concentration : float, array of shape (K,) or Concentration
        Of the weights' Dirichlet distribution. The default 2 is the least whole number that keeps every weight away from zero; it adds a
        row to every component, which draws a group of 2 % in 100 rows up by half of its posterior standard deviation.
        1 is uniform and does not, and Frühwirth-Schnatter (2006, Finite Mixture and Markov Switching Models, section 3.2) uses 4.
        A `Concentration` may depend on the number of components, and be learned where that is not known.
    means_loc : float or array of shape (D,) or (K, D), optional
        Centre of the Normal prior of the means, in the units of the columns; by default the column means.
    means_scale : float or array of shape (D,) or (K, D), optional
        Standard deviations of that prior along the axes; by default 2.5 times those of all rows, the weakly informative scale of rstanarm
        (Goodrich, Gabry, Ali and Brilleman), which covers the range of most data as Richardson and Green (1997) do.
    sds : ScalePrior, optional
        Prior of the standard deviations along the axes. By default ``LogNormal(log(s) - 0.5, 0.2, shared=1, factors=(1, 2, 3))`` with
        the standard deviation s of all rows: on which scale the components are and how alike they are is left to the data.
        It vanishes at zero faster than any power, so that the likelihood's infinite peaks at repeated rows cannot make the posterior
        improper.
    eta : float or tuple of float, optional
        Of the LKJ distribution of the correlations (Lewandowski, Kurowicka and Joe 2009); 1 is uniform over correlation matrices, and
        2 keeps a little away from the singular ones. Of several, each is as probable as the others and one holds for all components, so
        that the data say how near to zero correlations are. By default 2 along the columns and ``(0.25, 1, 4)`` along other axes.
    smallest_sd : float or array of shape (D,), optional
        What the rounding of each column adds to every component: its variance is the square of this, and no component is narrower. By
        default ``h / sqrt(12)`` for values recorded in steps of h (:func:`bayesgmm.resolution.smallest_sds`), and 0 for columns without
        visible rounding; spherical components take the smallest of the columns'. EM has floors of its own.
    frame : {"invariant", "columns"} or array of shape (D, D), optional
        The axes. "invariant" takes those of :func:`bayesgmm.priors.axes.invariant_frame`, along which all rows have unit variance:
        whatever the units of the columns and however they are combined, the posterior is the same, and columns that go together are no
        matter. An array is F itself. With "columns" z is x. By default "invariant" for full and tied covariances of two columns and more,
        and "columns" where ``sds`` or ``means_scale`` are given, for diagonal and spherical covariances, for a single column, and, with a
        warning, where columns are collinear.
    number : NumberPrior, optional
        Of the number of components, where it is not known (``n_components="auto"``); by default `BetaNegativeBinomial()`.

    Examples
    --------
    >>> from bayesgmm.priors import HalfNormal
    >>> Priors(concentration=1, sds=HalfNormal(2.0)).sds.kind
    0
    """

    concentration: ArrayLike | Concentration = 2.0
    means_loc: ArrayLike | None = None
    means_scale: ArrayLike | None = None
    sds: ScalePrior | None = None
    eta: float | tuple[float, ...] | None = None
    smallest_sd: ArrayLike | None = None
    frame: str | ArrayLike | None = None
    number: NumberPrior | None = None

    def __post_init__(self) -> None:
        eta: Any = self.eta
        least, frame = self.smallest_sd, self.frame
        is_named = isinstance(frame, str) and frame in (_INVARIANT, _COLUMNS)
        for name, is_right, wanted in (
            ("eta", np.ndim(eta) < 2 and np.size(eta) > 0, "one number, or several to choose from, for all components"),
            ("smallest_sd", is_finite(least) and (np.asarray(least) >= 0).all(), "finite and at least zero"),
            ("sds", isinstance(self.sds, ScalePrior), "a prior from bayesgmm.priors, such as HalfNormal(1.0)"),
            ("frame", is_named or _is_regular(frame), "'invariant', 'columns' or a square matrix of full rank"),
            ("number", isinstance(self.number, NumberPrior), "a prior from bayesgmm.priors, such as Uniform()"),
        ):
            if getattr(self, name) is not None and not is_right:
                raise InvalidParameterError(f"Priors: {name} must be {wanted}, got {getattr(self, name)!r}")
        named = ("means_scale", "eta") if isinstance(self.concentration, Concentration) else ("concentration", "means_scale", "eta")
        check_fields(self, positive=named, finite=["means_loc"])

    def __repr__(self) -> str:
        """Say what was stated; the rest is by default."""
        stated = {f.name: value for f in fields(self) if not _is_default(value := getattr(self, f.name), f.default)}
        return f"Priors({', '.join(f'{name}={value!r}' for name, value in stated.items())})"

    def sample(
        self,
        X: ArrayLike,
        n_components: int,
        covariance_type: CovarianceType = "full",
        *,
        n_draws: int = 500,
        random_state: RandomState = None,
    ) -> MixtureParams:
        """Draw mixtures from the prior, to see what it believes before it meets the data.

        The defaults are scaled by X, which is used for nothing else. Prior predictive data sets are rows drawn from the mixtures:
        ``priors.sample(X, K).sample(len(X))``.

        Parameters
        ----------
        X : array-like or DataFrame of shape (N, D)
            NaN stands for a missing value.
        n_components : int
            Number of components K.
        covariance_type : {"full", "tied", "diag", "spherical"}
        n_draws : int
        random_state : int, Generator, RandomState or None
            The same seed gives the same mixtures.

        Returns
        -------
        MixtureParams
            Batch shape ``(n_draws,)``, in the units of X.

        Raises
        ------
        InvalidParameterError
            If a setting cannot be used, a prior's shape does not fit, or the prior is so wide that its draws are no longer numbers.
        InvalidDataError
            If X cannot be used; the message says what to do.

        Notes
        -----
        Correlations are drawn by the onion method of Lewandowski, Kurowicka and Joe (2009), Journal of Multivariate Analysis 100,
        1989-2001, section 3.2.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> X = bg.datasets.load_faithful()
        >>> mixtures = bg.Priors().sample(X, 3, n_draws=100, random_state=1)
        >>> mixtures.means.shape
        (100, 3, 2)
        >>> data_sets, labels = mixtures.sample(50, random_state=2)
        >>> data_sets.shape
        (100, 50, 2)
        """
        check_count("n_components", n_components)
        check_count("n_draws", n_draws)
        kind = family_named(covariance_type)
        if kind.name not in WITH_PRIORS:
            raise InvalidParameterError(
                f"covariance_type must be one of {', '.join(map(repr, WITH_PRIORS))} for a prior, got {covariance_type!r}"
            )
        rows = rows_to_fit(BaseEstimator(), X, None, int(n_components), allow_missing=True)
        return draw_mixtures(self.resolve(rows, int(n_components), kind), kind, int(n_draws), generator(random_state))

    def resolve(self, rows: Rows, n_components: int, family: Family) -> ResolvedPriors:
        """Return these priors with every default filled in from the data and every array in its full shape.

        Parameters
        ----------
        rows : Rows
        n_components : int
        family : Family
            Decides how many standard deviations there are.

        Raises
        ------
        InvalidParameterError
            If an array does not have a shape that fits K and D, or a frame is given to a family without correlations.
        InvalidDataError
            If an invariant frame is asked for, and the columns are collinear.

        Warns
        -----
        DataAdvice
            If the columns are collinear, and the prior holds along them for want of an invariant frame.
        """
        D = rows.n_features
        given = self.concentration
        alpha = given.of(n_components) if isinstance(given, Concentration) else given
        concentration = broadcast("priors: concentration", alpha, (n_components,))
        frame, loc, spread = self._axes(rows, family)
        eta = self.eta if self.eta is not None else ETA_OF_COLUMNS if frame.is_identity else DEFAULT_ETAS
        if self.means_loc is not None:
            loc = frame.standardise(broadcast("priors: means_loc", self.means_loc, (n_components, D)))
        scale = DEFAULT_MEANS_SCALE * spread if self.means_scale is None else self.means_scale
        of_all = spread if family.has_scales_by_column else np.sqrt(np.mean(spread**2))
        default = LogNormal(np.log(of_all) + DEFAULT_LOG_SD, DEFAULT_OWN, DEFAULT_SHARED, DEFAULT_FACTORS)
        sds = default if self.sds is None else self.sds
        if not family.has_own_scales:
            sds = sds.without_components()
        return ResolvedPriors(
            concentration=concentration,
            means_loc=broadcast("priors: means_loc", loc, (n_components, D)),
            means_scale=broadcast("priors: means_scale", scale, (n_components, D)),
            sds=sds.broadcast(family.sds_shape(n_components, D)),
            correlations=LKJ(tuple(np.atleast_1d(eta).astype(float).tolist())),
            sds_dims=family.sds_dims,
            frame=frame,
            rounding=self._rounding(rows, family),
        )

    def _axes(self, rows: Rows, family: Family) -> tuple[Frame, FloatArray, FloatArray]:
        """Return the frame, and mean and standard deviations (D,) of all rows along its axes."""
        D, given = rows.n_features, self.frame
        if given is None:
            stated = self.sds is not None or self.means_scale is not None
            given = _COLUMNS if stated or not family.has_correlations(D) else _INVARIANT
        if isinstance(given, str) and given == _COLUMNS:
            return Frame.identity(D), rows.summary.mean, rows.summary.sd
        if family.diagonal:
            raise InvalidParameterError(
                f"Priors: covariance_type={family.name!r} has no correlations, and its standard deviations are those of the columns: "
                "leave frame out, or take covariance_type 'full' or 'tied'"
            )
        if isinstance(given, str):
            try:
                return invariant_frame(rows), np.zeros(D), np.ones(D)
            except InvalidDataError as error:
                if self.frame is not None:
                    raise
                # Nothing was asked for: a fit along the columns is worth something still, and says so.
                warn(f"{error} As it is, the prior holds along the columns, and correlations of one are not ruled out.", DataAdvice)
                return Frame.identity(D), rows.summary.mean, rows.summary.sd
        factor = np.asarray(given, dtype=float)
        if factor.shape != (D, D):
            raise InvalidParameterError(f"Priors: frame must be of shape ({D}, {D}) for {D} columns, got {factor.shape}")
        mean, covariance = total_moments(rows)
        frame = Frame(mean, factor)
        return frame, np.zeros(D), np.sqrt(np.diag(frame.covariance_in(covariance)))

    def _rounding(self, rows: Rows, family: Family) -> FloatArray | None:
        """Return the covariance (D, D) of the rounding, None where there is none."""
        D = rows.n_features
        if self.smallest_sd is not None:
            smallest = broadcast("priors: smallest_sd", self.smallest_sd, (D,))
        else:
            some = rows.some(MOST_ROWS)
            smallest = smallest_sds(some.values, some.weights)
        if not family.has_scales_by_column:
            smallest = np.full(D, smallest.min())
        return np.diag(smallest**2) if smallest.any() else None


@dataclass(frozen=True, eq=False)
class ResolvedPriors:
    """Priors with nothing left to decide.

    Parameters
    ----------
    concentration : array of shape (K,)
    means_loc, means_scale : arrays of shape (K, D)
        Along the axes of the frame.
    sds : ScalePrior
        Along the axes of the frame; parameters in the shape of the family's standard deviations: (K, D) for full and diag, (D,) for tied,
        (K,) for spherical.
    correlations : LKJ
        Of the correlations along the axes of the frame.
    sds_dims : tuple of str
        Names of the axes of the standard deviations.
    frame : Frame
        The coordinates z in which these priors hold, ``x = center + factor z``.
    rounding : array of shape (D, D), optional
        Covariance that is added to every component's, in the coordinates of the data.

    Examples
    --------
    >>> from bayesgmm.rows import MemoryRows
    >>> from bayesgmm.covariance import family
    >>> resolved = Priors().resolve(MemoryRows(np.array([[1.0], [2.0], [8.0], [9.0]])), 2, family("full"))
    >>> resolved.means_loc
    array([[5.],
           [5.]])
    """

    concentration: FloatArray
    means_loc: FloatArray
    means_scale: FloatArray
    sds: ScalePrior
    correlations: LKJ
    sds_dims: tuple[str, ...]
    frame: Frame
    rounding: FloatArray | None = None

    def standardised(self, center: FloatArray, covariance: FloatArray) -> ResolvedPriors:
        """Return the same priors with axes along which data of a mean (D,) and a covariance (D, D) have mean zero and unit variance.

        Standard deviations of the spherical family belong to no axis: all are divided by one number, the root mean square.

        Parameters
        ----------
        center, covariance : arrays of shape (D,) and (D, D)

        Returns
        -------
        ResolvedPriors
        """
        frame, by_column = self.frame, "feature" in self.sds_dims
        sd = np.sqrt(np.diag(frame.covariance_in(covariance)))
        sd = np.where(sd > 0, sd, 1.0)
        if not by_column:
            sd = np.full(len(sd), np.sqrt(np.mean(sd**2)))
        loc = (self.means_loc - frame.standardise(center[None])[0]) / sd
        sds, frame = self.sds.scaled(1 / sd if by_column else 1 / sd[0]), Frame(center, frame.factor * sd)
        return replace(self, means_loc=loc, means_scale=self.means_scale / sd, sds=sds, frame=frame)

    def seen_in(self, frame: Frame) -> ResolvedPriors:
        """Return the same priors for data in the coordinates of a frame.

        Parameters
        ----------
        frame : Frame

        Returns
        -------
        ResolvedPriors
        """
        rounding = None if self.rounding is None else frame.covariance_in(self.rounding)
        return replace(self, frame=self.frame.seen_in(frame), rounding=rounding)

    @property
    def is_direct(self) -> bool:
        """Whether the parameters that these priors are of are those of the mixture itself: there is neither frame nor rounding."""
        return self.frame.is_identity and self.rounding is None

    def to_data(self, mixture: MixtureParams) -> MixtureParams:
        """Return the mixture of the data that belongs to one in the frame, before rounding.

        Parameters
        ----------
        mixture : MixtureParams
            Any batch shape.

        Returns
        -------
        MixtureParams
        """
        if not self.frame.is_identity:
            mixture = self.frame.params_out(mixture)
        return mixture if self.rounding is None else with_rounding(mixture, self.rounding)

    def from_data(self, mixture: MixtureParams) -> MixtureParams:
        """Return the mixture in the frame, before rounding, that belongs to one of the data.

        Components that are no wider than rounding alone makes them are given a little of their own in every direction.

        Parameters
        ----------
        mixture : MixtureParams
            Any batch shape.

        Returns
        -------
        MixtureParams
        """
        if self.rounding is not None:
            mixture = without_rounding(mixture, self.rounding)
        return mixture if self.frame.is_identity else self.frame.params_in(mixture)


def _is_default(value: Any, default: Any) -> bool:
    """Whether a setting is what it is without being given."""
    return value is default or (np.ndim(value) == 0 and isinstance(value, str | float | int) and value == default)


def _is_regular(matrix: Any) -> bool:
    return (
        is_finite(matrix) and np.ndim(matrix) == 2 and len(set(np.shape(matrix))) == 1 and has_full_rank(np.asarray(matrix, float))
    )


def draw_mixtures(priors: ResolvedPriors, kind: Family, n_draws: int, rng: np.random.Generator) -> MixtureParams:
    """Draw so many mixtures of a family, batch shape ``(n_draws,)``.

    Raises
    ------
    InvalidParameterError
        If draws are too large to be numbers.
    """
    K, D = priors.means_loc.shape
    weights = rng.dirichlet(priors.concentration, n_draws)
    means = priors.means_loc + priors.means_scale * rng.standard_normal((n_draws, K, D))
    with np.errstate(over="ignore"):  # what overflows is refused below
        sds = priors.sds.draw(kind.sds_shape(K, D), n_draws, rng)
    for name, drawn in (("means", means), ("sds", sds)):
        if not (np.abs(drawn) < _MOST).all():
            raise InvalidParameterError(
                f"the prior of the {name} is so wide that draws from it overflow (beyond {_MOST:g}): narrow it"
            )
    factors = priors.correlations.draw_factors(D, n_draws, kind.n_blocks(K), rng) if kind.has_correlations(D) else np.eye(D)
    scale_tril = kind.full_sds(np.maximum(sds, LEAST), K, D)[..., None] * factors
    return priors.to_data(MixtureParams(weights, means, scale_tril))


guard(globals())
