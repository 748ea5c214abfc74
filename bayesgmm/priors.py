"""What is believed before the data: values, in the user's units, with data-scaled defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from scipy import stats
from scipy.special import gammaln, multigammaln

from bayesgmm import prior_draws
from bayesgmm.covariance import Family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import Chunked
from bayesgmm.expectation.chunks import spread_rows
from bayesgmm.resolution import MOST_ROWS, smallest_sds
from bayesgmm.typing import ArrayLike, FloatArray
from bayesgmm.underflow import guard

__all__ = [
    "ConjugatePriors",
    "Exponential",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "LogNormal",
    "Priors",
    "ResolvedConjugatePriors",
    "ResolvedPriors",
    "ScalePrior",
    "Truncated",
    "lkj_log_constant",
]

Numbers = float | FloatArray
Pair = tuple[Numbers, Numbers]

DEFAULT_MEANS_SDS = 2.5  # prior standard deviation of a component's mean, in standard deviations of its column
_LEAST_LOG_MASS = -690.0  # what is left of a prior must be a number
DEFAULT_LOG_SD = 1.0  # prior standard deviation of the log of a component's standard deviation


class ScalePrior(ABC):
    """A prior for standard deviations. Its parameters are numbers, or arrays that broadcast to the standard deviations' shape.

    Examples
    --------
    A change of units, from metres to millimetres:

    >>> prior = HalfNormal(0.5)
    >>> float(prior.scaled(1000.0).parameters()[0])
    500.0
    """

    kind: ClassVar[int]
    """Number under which the compiled density knows the family."""

    lower: Numbers = 0.0
    """The smallest standard deviation that is possible at all: zero, unless the prior is `Truncated`."""

    @abstractmethod
    def parameters(self) -> Pair:
        """Return the two parameters that the compiled density takes (the second is zero where there is one only)."""

    @abstractmethod
    def slope(self, sd: FloatArray) -> FloatArray:
        """Return the derivative of the log-density of a standard deviation ``sd`` in log ``sd``, without the Jacobian of the log."""

    @abstractmethod
    def log_kernel(self, sd: FloatArray) -> FloatArray:
        """Return the log-density at a standard deviation ``sd``, but for a constant: cheap, for searches that look at differences."""

    @abstractmethod
    def scaled(self, factor: Numbers) -> ScalePrior:
        """Return the prior of ``sd * factor`` when this is the prior of ``sd``: a change of units."""

    @abstractmethod
    def frozen(self) -> Any:
        """Return the distribution in SciPy's terms."""

    @property
    def untruncated(self) -> ScalePrior:
        """The prior whose parameters these are: itself, unless it is `Truncated`."""
        return self

    def broadcast(self, shape: tuple[int, ...]) -> ScalePrior:
        """Return the same prior with every parameter an array of that shape.

        Parameters
        ----------
        shape : tuple of int

        Returns
        -------
        ScalePrior

        Raises
        ------
        InvalidParameterError
            If a parameter has a shape that does not fit.
        """
        try:
            return replace(self, **{f.name: np.broadcast_to(getattr(self, f.name), shape) for f in fields(self)})  # type: ignore[type-var, arg-type]
        except ValueError:
            raise InvalidParameterError(
                f"{type(self).__name__}: parameters must be numbers or have a shape that fits {shape}, the standard deviations' shape"
            ) from None

    def _require_positive(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            given = getattr(self, field.name)
            finite_only = field.name == "mu"
            if not (_finite(given) if finite_only else _positive(given)):
                wanted = "a finite number" if finite_only else "a positive, finite number"
                raise InvalidParameterError(f"{type(self).__name__}: {field.name} must be {wanted}, got {given!r}")
            object.__setattr__(self, field.name, np.asarray(given, dtype=float))


@dataclass(frozen=True, eq=False)
class HalfNormal(ScalePrior):
    """Half-normal with the given scale (the standard deviation of the normal that is folded).

    Parameters
    ----------
    scale : float or array
        In the units of the standard deviations.

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number above zero.

    Examples
    --------
    >>> float(HalfNormal(2.0).frozen().mean().round(3))
    1.596
    """

    scale: Numbers
    kind = 0

    def __post_init__(self) -> None:
        self._require_positive()

    def parameters(self) -> Pair:
        return self.scale, np.zeros_like(self.scale)

    def slope(self, sd: FloatArray) -> FloatArray:
        return -np.square(sd / self.scale)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return -0.5 * np.square(sd / self.scale)

    def scaled(self, factor: Numbers) -> ScalePrior:
        return HalfNormal(self.scale * factor)

    def frozen(self) -> Any:
        return stats.halfnorm(scale=self.scale)


@dataclass(frozen=True, eq=False)
class HalfCauchy(ScalePrior):
    """Half-Cauchy with the given scale (its median).

    Parameters
    ----------
    scale : float or array
        In the units of the standard deviations.

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number above zero.

    Examples
    --------
    >>> float(HalfCauchy(2.0).frozen().median().round(3))
    2.0
    """

    scale: Numbers
    kind = 1

    def __post_init__(self) -> None:
        self._require_positive()

    def parameters(self) -> Pair:
        return self.scale, np.zeros_like(self.scale)

    def slope(self, sd: FloatArray) -> FloatArray:
        t = np.square(sd / self.scale)
        return -2.0 * t / (1.0 + t)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return -np.log1p(np.square(sd / self.scale))

    def scaled(self, factor: Numbers) -> ScalePrior:
        return HalfCauchy(self.scale * factor)

    def frozen(self) -> Any:
        return stats.halfcauchy(scale=self.scale)


@dataclass(frozen=True, eq=False)
class HalfStudentT(ScalePrior):
    """Half-Student-t with ``nu`` degrees of freedom and the given scale.

    Parameters
    ----------
    nu : float or array
        Degrees of freedom.
    scale : float or array
        In the units of the standard deviations.

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number above zero.

    Examples
    --------
    >>> HalfStudentT(3.0, 2.0).parameters()
    (array(3.), array(2.))
    """

    nu: Numbers
    scale: Numbers
    kind = 2

    def __post_init__(self) -> None:
        self._require_positive()

    def parameters(self) -> Pair:
        return self.nu, self.scale

    def slope(self, sd: FloatArray) -> FloatArray:
        t = np.square(sd / self.scale) / self.nu
        return -(self.nu + 1.0) * t / (1.0 + t)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return -0.5 * (self.nu + 1.0) * np.log1p(np.square(sd / self.scale) / self.nu)

    def scaled(self, factor: Numbers) -> ScalePrior:
        return HalfStudentT(self.nu, self.scale * factor)

    def frozen(self) -> Any:
        return FoldedT(self.nu, self.scale)


@dataclass(frozen=True, eq=False)
class LogNormal(ScalePrior):
    """Log-normal: the log of the standard deviation is normal with mean ``mu`` and standard deviation ``sigma``.

    Parameters
    ----------
    mu, sigma : float or array
        Of the logarithm.

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number.

    Examples
    --------
    >>> float(LogNormal(0.0, 1.0).frozen().median().round(3))
    1.0
    """

    mu: Numbers
    sigma: Numbers
    kind = 3

    def __post_init__(self) -> None:
        self._require_positive()

    def parameters(self) -> Pair:
        return self.mu, self.sigma

    def slope(self, sd: FloatArray) -> FloatArray:
        return -1.0 - (np.log(sd) - self.mu) / np.square(self.sigma)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        log_sd = np.log(sd)
        return -log_sd - 0.5 * np.square((log_sd - self.mu) / self.sigma)

    def scaled(self, factor: Numbers) -> ScalePrior:
        return LogNormal(self.mu + np.log(factor), self.sigma)

    def frozen(self) -> Any:
        return stats.lognorm(s=self.sigma, scale=np.exp(self.mu))


@dataclass(frozen=True, eq=False)
class Exponential(ScalePrior):
    """Exponential with the given scale (its mean).

    Parameters
    ----------
    scale : float or array
        In the units of the standard deviations.

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number above zero.

    Examples
    --------
    >>> float(Exponential(2.0).frozen().mean().round(3))
    2.0
    """

    scale: Numbers
    kind = 4

    def __post_init__(self) -> None:
        self._require_positive()

    def parameters(self) -> Pair:
        return self.scale, np.zeros_like(self.scale)

    def slope(self, sd: FloatArray) -> FloatArray:
        return -sd / self.scale

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return -sd / self.scale

    def scaled(self, factor: Numbers) -> ScalePrior:
        return Exponential(self.scale * factor)

    def frozen(self) -> Any:
        return stats.expon(scale=self.scale)


@dataclass(frozen=True, eq=False)
class Gamma(ScalePrior):
    """Gamma with shape ``alpha`` and rate ``beta`` (PyMC's and Stan's parameters): mean ``alpha / beta``.

    Parameters
    ----------
    alpha, beta : float or array
        Shape, and rate in one over the units of the standard deviations.

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number above zero.

    Examples
    --------
    >>> float(Gamma(3.0, 2.0).frozen().mean().round(3))
    1.5
    """

    alpha: Numbers
    beta: Numbers
    kind = 5

    def __post_init__(self) -> None:
        self._require_positive()

    def parameters(self) -> Pair:
        return self.alpha, self.beta

    def slope(self, sd: FloatArray) -> FloatArray:
        return self.alpha - 1.0 - self.beta * sd

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return (self.alpha - 1.0) * np.log(sd) - self.beta * sd

    def scaled(self, factor: Numbers) -> ScalePrior:
        return Gamma(self.alpha, self.beta / factor)

    def frozen(self) -> Any:
        return stats.gamma(self.alpha, scale=1 / self.beta)


@dataclass(frozen=True, eq=False)
class Truncated(ScalePrior):
    """Another prior without what lies below a smallest standard deviation, normalised again.

    Data that were rounded to a step h say nothing of standard deviations below that of the rounding, ``h / sqrt(12)``, and there the
    likelihood has infinite peaks at values that repeat. :meth:`Priors.resolve` cuts every prior off there.

    Parameters
    ----------
    prior : ScalePrior
    lower : float or array
        Smallest standard deviation; zero where nothing is cut off.

    Raises
    ------
    InvalidParameterError
        If a bound is not a finite number of at least zero, or the prior has no mass above it.

    Examples
    --------
    An exponential distribution forgets where it was cut off:

    >>> cut = Truncated(Exponential(2.0), 3.0)
    >>> bool(np.isclose(cut.frozen().ppf(0.5) - 3.0, Exponential(2.0).frozen().median()))
    True
    """

    prior: ScalePrior
    lower: Numbers = 0.0
    kind = -1

    def __post_init__(self) -> None:
        if not (_finite(self.lower) and (np.asarray(self.lower) >= 0).all()):
            raise InvalidParameterError(f"Truncated: lower must be a finite number of at least zero, got {self.lower!r}")
        object.__setattr__(self, "lower", np.asarray(self.lower, dtype=float))
        if not (self.frozen().log_mass > _LEAST_LOG_MASS).all():
            raise InvalidParameterError(
                f"the prior of the standard deviations ({type(self.prior).__name__}) has no mass above {np.max(self.lower):g}, the "
                "smallest that the rounding of the data lets be told: give a wider one, or Priors(smallest_sd=0)"
            )

    @property
    def untruncated(self) -> ScalePrior:
        return self.prior

    def broadcast(self, shape: tuple[int, ...]) -> ScalePrior:
        return Truncated(self.prior.broadcast(shape), np.broadcast_to(self.lower, shape))

    def parameters(self) -> Pair:
        return self.prior.parameters()

    def slope(self, sd: FloatArray) -> FloatArray:
        return self.prior.slope(sd)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return self.prior.log_kernel(sd)

    def scaled(self, factor: Numbers) -> ScalePrior:
        return Truncated(self.prior.scaled(factor), self.lower * factor)

    def frozen(self) -> Any:
        return CutBelow(self.prior.frozen(), self.lower)


@dataclass(frozen=True)
class CutBelow:
    """A distribution without its part below a bound, in the methods of SciPy's distributions that are used here."""

    whole: Any
    lower: Numbers

    @property
    def log_mass(self) -> FloatArray:
        """Log of the share of the whole that is left."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.whole.logsf(self.lower))

    def logpdf(self, x: Numbers) -> FloatArray:
        """Log-density; minus infinity below the bound."""
        x = np.asarray(x)
        within = x >= self.lower
        return np.where(within, self.whole.logpdf(np.where(within, x, self.lower)) - self.log_mass, -np.inf)

    def ppf(self, q: Numbers) -> FloatArray:
        """Quantiles."""
        return np.maximum(self.whole.isf((1.0 - np.asarray(q)) * np.exp(self.log_mass)), self.lower)

    def rvs(self, size: Any = None, random_state: Any = None) -> FloatArray:
        """Random draws."""
        shape = np.shape(self.log_mass) if size is None else size
        return self.ppf(np.random.default_rng(random_state).uniform(size=shape))


@dataclass(frozen=True)
class FoldedT:
    """The absolute value of a scaled Student t, in the methods of SciPy's distributions that are used here."""

    nu: Numbers
    scale: Numbers

    def logpdf(self, x: Numbers) -> FloatArray:
        """Log-density at x >= 0."""
        return np.log(2.0) + stats.t(self.nu, scale=self.scale).logpdf(x)

    def logsf(self, x: Numbers) -> FloatArray:
        """Log of the probability of more than x >= 0."""
        return np.log(2.0) + stats.t(self.nu, scale=self.scale).logsf(x)

    def isf(self, p: Numbers) -> FloatArray:
        """Value that is exceeded with probability p."""
        return np.asarray(stats.t(self.nu, scale=self.scale).isf(0.5 * np.asarray(p)))

    def rvs(self, size: Any = None, random_state: Any = None) -> FloatArray:
        """Random draws."""
        return np.abs(stats.t(self.nu, scale=self.scale).rvs(size=size, random_state=random_state))


@dataclass(frozen=True, eq=False)
class Priors:
    """Priors of a Gaussian mixture, in the units of the data; ``None`` stands for a default scaled by the data.

    Parameters
    ----------
    concentration : float or array of shape (K,)
        Of the weights' Dirichlet distribution. The default 2 is the least whole number that keeps every weight away from zero;
        1 is uniform, and Frühwirth-Schnatter (2006, Finite Mixture and Markov Switching Models, section 3.2) uses 4.
    means_loc : float or array of shape (D,) or (K, D), optional
        Centre of the Normal prior of the means; by default the column means.
    means_scale : float or array of shape (D,) or (K, D), optional
        Standard deviation of that prior; by default 2.5 column standard deviations, the weakly informative scale of rstanarm
        (Goodrich, Gabry, Ali and Brilleman), which covers the range of most data as Richardson and Green (1997) do.
    sds : ScalePrior, optional
        Prior of the standard deviations. By default ``LogNormal(log(column sd / K^(1/D)), 1)``: its median is Fraley and Raftery's
        (2007, Journal of Classification 24, 155-181) scale for the spread of K groups in D dimensions, 95 % of it lies within a
        factor of 7 of the median, and it vanishes at zero faster than any power, so that the likelihood's infinite peaks at
        repeated rows cannot make the posterior improper.
    eta : float
        Of the LKJ distribution of the correlations (Lewandowski, Kurowicka and Joe 2009); 1 is uniform over correlation matrices,
        the default 2 keeps a little away from the singular ones.
    smallest_sd : float or array of shape (D,), optional
        Below this the prior of the standard deviations is cut off, by column (spherical: the smallest of the columns'). By default it is
        what the rounding of the data lets be told, ``h / sqrt(12)`` for values recorded in steps of h
        (:func:`bayesgmm.resolution.smallest_sds`), and 0 for columns without visible rounding. EM has floors of its own.

    Examples
    --------
    >>> Priors(concentration=1, sds=HalfNormal(2.0)).eta
    2.0
    """

    concentration: ArrayLike = 2.0
    means_loc: ArrayLike | None = None
    means_scale: ArrayLike | None = None
    sds: ScalePrior | None = None
    eta: float = 2.0
    smallest_sd: ArrayLike | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.eta) > 0:
            raise InvalidParameterError(f"Priors: eta must be one number for all components, got {self.eta!r}")
        for name in ("concentration", "means_scale", "eta"):
            value = getattr(self, name)
            if value is not None and not _positive(value):
                raise InvalidParameterError(f"Priors: {name} must be positive and finite, got {value!r}")
        if self.means_loc is not None and not _finite(self.means_loc):
            raise InvalidParameterError(f"Priors: means_loc must be finite, got {self.means_loc!r}")
        if self.smallest_sd is not None and not (_finite(self.smallest_sd) and (np.asarray(self.smallest_sd) >= 0).all()):
            raise InvalidParameterError(f"Priors: smallest_sd must be finite and at least zero, got {self.smallest_sd!r}")
        if self.sds is not None and not isinstance(self.sds, ScalePrior):
            raise InvalidParameterError(
                f"Priors: sds must be a prior from bayesgmm.priors, such as HalfNormal(1.0), got {self.sds!r}"
            )

    sample = prior_draws.sample

    def resolve(
        self, X: FloatArray | Chunked, n_components: int, family: Family, sample_weight: FloatArray | None = None
    ) -> ResolvedPriors:
        """Return these priors with every default filled in from the data and every array in its full shape.

        Parameters
        ----------
        X : array of shape (N, D)
            NaN stands for a missing value.
        n_components : int
        family : Family
            Decides how many standard deviations there are.
        sample_weight : array of shape (N,), optional
            Frequencies of the rows.

        Raises
        ------
        InvalidParameterError
            If an array does not have a shape that fits K and D.
        """
        D = X.shape[1]
        column_mean, column_sd = _columns(X, sample_weight)
        spread = column_sd if "feature" in family.sds_dims else np.sqrt(np.mean(column_sd**2))
        default = LogNormal(np.log(spread) - np.log(n_components) / D, DEFAULT_LOG_SD)
        sds_shape = family.sds_shape(n_components, D)
        sds = (default if self.sds is None else self.sds).broadcast(sds_shape)
        lower = self._smallest_sds(X, sample_weight, family)
        return ResolvedPriors(
            concentration=_broadcast("concentration", self.concentration, (n_components,)),
            means_loc=_broadcast("means_loc", column_mean if self.means_loc is None else self.means_loc, (n_components, D)),
            means_scale=_broadcast(
                "means_scale", DEFAULT_MEANS_SDS * column_sd if self.means_scale is None else self.means_scale, (n_components, D)
            ),
            sds=sds if lower is None else Truncated(sds, np.broadcast_to(lower, sds_shape)),
            eta=float(self.eta),
            sds_dims=family.sds_dims,
        )

    def _smallest_sds(self, X: FloatArray | Chunked, sample_weight: FloatArray | None, family: Family) -> FloatArray | None:
        """Return where the prior of the standard deviations is cut off, None where it is not."""
        if self.smallest_sd is not None:
            smallest = _broadcast("smallest_sd", self.smallest_sd, (X.shape[1],))
        elif isinstance(X, Chunked):
            smallest = smallest_sds(*X.take(spread_rows(len(X), MOST_ROWS)))
        else:
            smallest = smallest_sds(X, sample_weight)
        if "feature" not in family.sds_dims:
            smallest = smallest.min(keepdims=True)
        return smallest if smallest.any() else None


@dataclass(frozen=True, eq=False)
class ResolvedPriors:
    """Priors with nothing left to decide.

    Parameters
    ----------
    concentration : array of shape (K,)
    means_loc, means_scale : arrays of shape (K, D)
    sds : ScalePrior
        Parameters in the shape of the family's standard deviations: (K, D) for full and diag, (D,) for tied, (K,) for spherical.
    eta : float
    sds_dims : tuple of str
        Names of the axes of the standard deviations.

    Examples
    --------
    >>> from bayesgmm.covariance import family
    >>> resolved = Priors().resolve(np.array([[1.0], [2.0], [8.0], [9.0]]), 2, family("full"))
    >>> resolved.means_loc
    array([[5.],
           [5.]])
    """

    concentration: FloatArray
    means_loc: FloatArray
    means_scale: FloatArray
    sds: ScalePrior
    eta: float
    sds_dims: tuple[str, ...]

    def standardised(self, center: FloatArray, scale: FloatArray) -> ResolvedPriors:
        """Return the priors of the same mixture in the coordinates ``(x - center) / scale``, with ``scale`` of shape (D,).

        Standard deviations of the spherical family belong to no column: for them all entries of ``scale`` must be equal.
        """
        factor = 1 / scale if "feature" in self.sds_dims else 1 / scale[0]
        return replace(
            self,
            means_loc=(self.means_loc - center) / scale,
            means_scale=self.means_scale / scale,
            sds=self.sds.scaled(factor),
        )


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
        Scale matrix of the covariances (a number times the identity); by default the data's covariance matrix over ``K^(2/D)``, which
        makes groups that lie far apart too wide. "learned" leaves it to the data: it then has a Wishart distribution with as few degrees
        of freedom as columns, about a quarter of the data's covariance matrix (Richardson and Green 1997, Journal of the Royal
        Statistical Society B 59, 731-792; Fruehwirth-Schnatter, Malsiner-Walli and Gruen 2021, Bayesian Analysis 16, 1279-1307). That
        prior goes along with any linear map of the data and is the same for every number of components, but holds up no component
        that closes in on repeated rows: the scale closes in with it.

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
        for name in ("concentration", "shrinkage", "df"):
            value = getattr(self, name)
            if value is not None and not _positive(value):
                raise InvalidParameterError(f"ConjugatePriors: {name} must be positive and finite, got {value!r}")
        if self.means_loc is not None and not _finite(self.means_loc):
            raise InvalidParameterError(f"ConjugatePriors: means_loc must be finite, got {self.means_loc!r}")

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
        if is_learned:
            scale = _OF_ALL * covariance
        else:
            scale = covariance / n_components ** (2 / D) if self.scale is None else np.asarray(self.scale, dtype=float)
        scale = scale * np.eye(D) if scale.ndim == 0 else scale
        if scale.shape != (D, D) or not np.allclose(scale, scale.T) or not np.linalg.eigvalsh(scale)[0] > 0:
            singular = ", and the data's covariance matrix is none: leave out columns that follow from others"
            raise InvalidParameterError(
                f"ConjugatePriors: scale must be a positive number or a symmetric positive definite matrix of shape ({D}, {D})"
                + (singular if is_learned or self.scale is None else "")
            )
        loc = _broadcast("means_loc", mean if self.means_loc is None else self.means_loc, (D,))
        return ResolvedConjugatePriors(
            _broadcast("concentration", self.concentration, (n_components,)),
            *(loc, self.shrinkage, df, scale, float(D) if is_learned else None),
        )


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


def lkj_log_constant(eta: float, n_features: int) -> float:
    """Return the log of the LKJ density's normalising constant.

    Parameters
    ----------
    eta : float
        The density is proportional to ``|R|^(eta - 1)``.
    n_features : int
        Rows of the correlation matrix R.

    Returns
    -------
    float

    Notes
    -----
    Lewandowski, Kurowicka and Joe (2009), Journal of Multivariate Analysis 100, 1989-2001, equation 16.

    Examples
    --------
    Uniform over the one correlation of two columns, whose density is 1/2:

    >>> round(float(lkj_log_constant(1.0, 2)), 4) == round(-float(np.log(2)), 4)
    True
    """
    k = np.arange(1, n_features)
    pis = np.sum(0.5 * k * np.log(np.pi) + gammaln(eta + 0.5 * (n_features - 1 - k)))
    return float((n_features - 1) * gammaln(eta + 0.5 * (n_features - 1)) - pis)


def _columns(X: FloatArray | Chunked, sample_weight: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return means and standard deviations (D,) of what is there in each column."""
    if isinstance(X, Chunked):
        return X.summary.mean, X.summary.sd
    if sample_weight is None and not np.isnan(X).any():
        return X.mean(0), X.std(0)
    weight = np.where(np.isnan(X), 0.0, 1.0 if sample_weight is None else sample_weight[:, None])
    filled = np.nan_to_num(X)
    mean = (weight * filled).sum(0) / weight.sum(0)
    return mean, np.sqrt((weight * (filled - mean) ** 2).sum(0) / weight.sum(0))


def _positive(value: ArrayLike) -> bool:
    return _finite(value) and bool((np.asarray(value, dtype=float) > 0).all())


def _finite(value: ArrayLike) -> bool:
    """Whether these are numbers, at least one, and all finite."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return False
    return array.size > 0 and bool(np.isfinite(array).all())


def _broadcast(name: str, value: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    try:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype=float), shape))
    except ValueError:
        raise InvalidParameterError(
            f"priors: {name} must be a number or have a shape that fits {shape}, got {np.shape(value)}"
        ) from None


guard(globals())
