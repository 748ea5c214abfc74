"""Priors of standard deviations: the menu."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy import stats
from scipy.special import gammaln, logsumexp, softmax

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.typing import FloatArray
from bayesgmm.underflow import guard
from bayesgmm.validation import check_fields, is_finite, is_positive

__all__ = ["Exponential", "Gamma", "HalfCauchy", "HalfNormal", "HalfStudentT", "InverseGamma", "LogNormal", "ScalePrior"]

Numbers = float | FloatArray

_IN_OTHER_UNITS: dict[str, Callable[[Any, Any], Any]] = {
    "scale": np.multiply,
    "beta": np.divide,
    "mu": lambda mu, factor: mu + np.log(factor),
    **dict.fromkeys(("nu", "sigma", "alpha"), lambda value, factor: value),
}
"""What becomes of a parameter when standard deviations are multiplied by a factor."""


class ScalePrior(ABC):
    """A prior for standard deviations. Its parameters are numbers, or arrays that broadcast to the standard deviations' shape.

    A family is a frozen dataclass of its parameters with a ``kind``, `log_kernel`, `slope` and `frozen`. The compiled density and the
    PyMC model each say its density once more.

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number above zero (``mu``: not a finite number).

    Examples
    --------
    A change of units, from metres to millimetres:

    >>> prior = HalfNormal(0.5)
    >>> float(prior.scaled(1000.0).parameters()[0])
    500.0
    """

    kind: ClassVar[int]
    """Number under which the compiled density knows the family."""

    shared: float = 0.0
    factors: tuple[float, ...] = (1.0,)
    """What standard deviations have in common: see `LogNormal`. By default they are independent."""

    def __post_init__(self) -> None:
        given = self._of_each_sd()
        check_fields(self, positive=[name for name in given if name != "mu"], finite=["mu"] if "mu" in given else [])
        for name, value in given.items():
            object.__setattr__(self, name, np.asarray(value, dtype=float))

    @abstractmethod
    def log_kernel(self, sd: FloatArray) -> FloatArray:
        """Return the log-density at a standard deviation ``sd``, but for a constant: cheap, for searches that look at differences."""

    @abstractmethod
    def slope(self, sd: FloatArray) -> FloatArray:
        """Return the derivative of the log-density of a standard deviation ``sd`` in log ``sd``, without the Jacobian of the log."""

    @abstractmethod
    def frozen(self) -> Any:
        """Return the distribution in SciPy's terms."""

    @property
    def is_joint(self) -> bool:
        """Whether the standard deviations of a mixture depend on each other."""
        return self.shared > 0 or len(self.factors) > 1

    def parameters(self) -> tuple[FloatArray, FloatArray]:
        """Return the two parameters that the compiled density takes (the second is zero where there is one only)."""
        first, *rest = self._of_each_sd().values()
        return first, rest[0] if rest else np.zeros_like(first)

    def scaled(self, factor: Numbers) -> ScalePrior:
        """Return the prior of ``sd * factor`` when this is the prior of ``sd``: a change of units."""
        return self._with({name: _IN_OTHER_UNITS[name](value, factor) for name, value in self._of_each_sd().items()})

    def log_density(self, sds: FloatArray, axes: int) -> FloatArray:
        """Return the joint log-density of all standard deviations of a mixture.

        Parameters
        ----------
        sds : array of shape ``(..., *shape)``
        axes : int
            Length of the family's shape.

        Returns
        -------
        array of shape (...)
        """
        return np.asarray(self.frozen().logpdf(sds).sum(tuple(range(-axes, 0))))

    def draw(self, shape: tuple[int, ...], n_draws: int, rng: np.random.Generator) -> FloatArray:
        """Draw standard deviations of mixtures.

        Parameters
        ----------
        shape : tuple of int
            The family's.
        n_draws : int
        rng : Generator

        Returns
        -------
        array of shape ``(n_draws, *shape)``
        """
        return np.asarray(self.frozen().rvs(size=(n_draws, *shape), random_state=rng))

    def given(self, sds: FloatArray) -> ScalePrior:
        """Return the prior of each standard deviation apart, where what components have in common is as expected given those of all.

        Parameters
        ----------
        sds : array of the family's shape, components first
        """
        return self

    def without_components(self) -> ScalePrior:
        """Return the prior of standard deviations that no two components have: nothing is shared then."""
        return self

    def independent(self) -> ScalePrior:
        """Return the prior of each standard deviation where what components have in common is known, and in the middle of its prior."""
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
            return self._with({name: np.broadcast_to(value, shape) for name, value in self._of_each_sd().items()})
        except ValueError:
            raise InvalidParameterError(
                f"{type(self).__name__}: parameters must be numbers or have a shape that fits {shape}, the standard deviations' shape"
            ) from None

    def _of_each_sd(self) -> dict[str, Any]:
        """Return the parameters that may differ between standard deviations, by name."""
        return {name: value for name, value in vars(self).items() if name not in ("shared", "factors")}

    def _with(self, changes: dict[str, Any]) -> Self:
        return type(self)(**{**vars(self), **changes})


@dataclass(frozen=True, eq=False)
class HalfNormal(ScalePrior):
    """Half-normal with the given scale (the standard deviation of the normal that is folded).

    Parameters
    ----------
    scale : float or array
        In the units of the standard deviations.

    Examples
    --------
    >>> float(HalfNormal(2.0).frozen().mean().round(3))
    1.596
    """

    scale: Numbers
    kind = 0

    def slope(self, sd: FloatArray) -> FloatArray:
        return -np.square(sd / self.scale)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return -0.5 * np.square(sd / self.scale)

    def frozen(self) -> Any:
        return stats.halfnorm(scale=self.scale)


@dataclass(frozen=True, eq=False)
class HalfCauchy(ScalePrior):
    """Half-Cauchy with the given scale (its median).

    Parameters
    ----------
    scale : float or array
        In the units of the standard deviations.

    Examples
    --------
    >>> float(HalfCauchy(2.0).frozen().median().round(3))
    2.0
    """

    scale: Numbers
    kind = 1

    def slope(self, sd: FloatArray) -> FloatArray:
        t = np.square(sd / self.scale)
        return -2.0 * t / (1.0 + t)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return -np.log1p(np.square(sd / self.scale))

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

    Examples
    --------
    >>> HalfStudentT(3.0, 2.0).parameters()
    (array(3.), array(2.))
    """

    nu: Numbers
    scale: Numbers
    kind = 2

    def slope(self, sd: FloatArray) -> FloatArray:
        t = np.square(sd / self.scale) / self.nu
        return -(self.nu + 1.0) * t / (1.0 + t)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return -0.5 * (self.nu + 1.0) * np.log1p(np.square(sd / self.scale) / self.nu)

    def frozen(self) -> Any:
        return FoldedT(self.nu, self.scale)


@dataclass(frozen=True, eq=False)
class LogNormal(ScalePrior):
    """Log-normal: the log of the standard deviation is normal with mean ``mu`` and standard deviation ``sigma``.

    Parameters
    ----------
    mu, sigma : float or array
        Of the logarithm.
    shared : float
        Standard deviation of a part of the logarithm that all components have in common, so that the data say on which scale groups are:
        the logs are ``mu + shared u + sigma e_k`` with independent standard normal u (one for each column or axis) and e_k. The
        default 0 makes components independent.
    factors : tuple of float
        ``sigma`` is multiplied by one of these, each as probable as the others and the same for all standard deviations of a mixture, so
        that the data say how alike groups are.

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number, or shared is negative.

    Examples
    --------
    >>> float(LogNormal(0.0, 1.0).frozen().median().round(3))
    1.0
    """

    mu: Numbers
    sigma: Numbers
    shared: float = 0.0
    factors: tuple[float, ...] = (1.0,)
    kind = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (np.ndim(self.shared) == 0 and is_finite(self.shared) and self.shared >= 0):
            raise InvalidParameterError(f"LogNormal: shared must be one finite number of at least zero, got {self.shared!r}")
        if not (np.ndim(self.factors) == 1 and is_positive(self.factors)):
            raise InvalidParameterError(f"LogNormal: factors must be positive, finite numbers, got {self.factors!r}")
        object.__setattr__(self, "factors", tuple(float(factor) for factor in self.factors))

    def slope(self, sd: FloatArray) -> FloatArray:
        return -1.0 - (np.log(sd) - self.mu) / np.square(self.sigma)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        log_sd = np.log(sd)
        return -log_sd - 0.5 * np.square((log_sd - self.mu) / self.sigma)

    def frozen(self) -> Any:
        return LogNormals(self.mu, [np.hypot(self.sigma * factor, self.shared) for factor in self.factors])

    def log_density(self, sds: FloatArray, axes: int) -> FloatArray:
        if not self.is_joint:
            return super().log_density(sds, axes)
        logs = np.log(sds)
        each = np.stack([self._log_density(logs, axes, factor) for factor in self.factors])
        return np.asarray(logsumexp(each, axis=0) - np.log(len(self.factors)) - logs.sum(tuple(range(-axes, 0))))

    def _log_density(self, logs: FloatArray, axes: int, factor: float) -> FloatArray:
        """Return the log-density of logs under one factor: normal, with the covariance diag(sigma^2) + shared^2 over components.

        Sherman and Morrison's formulae give its inverse and its determinant.
        """
        apart = stats.norm.logpdf(logs, self.mu, self.sigma * factor)
        precision, off = self._from_common(logs, axes, factor)
        ratio = 1.0 + self.shared**2 * precision
        joint = -0.5 * np.log(ratio) + 0.5 * self.shared**2 * off**2 / ratio
        return np.asarray(apart.sum(tuple(range(-axes, 0))) + joint.sum(tuple(range(1 - axes, 0))))

    def _from_common(self, logs: FloatArray, axes: int, factor: float) -> tuple[FloatArray, FloatArray]:
        """Return sums over components of the precisions, and of precisions times what logs are away from their means."""
        precision = np.broadcast_to(np.square(self.sigma * factor) ** -1.0, logs.shape)
        return precision.sum(-axes), (precision * (logs - self.mu)).sum(-axes)

    def draw(self, shape: tuple[int, ...], n_draws: int, rng: np.random.Generator) -> FloatArray:
        factor = rng.choice(self.factors, n_draws).reshape(-1, *[1] * len(shape))
        common = self.shared * rng.standard_normal((n_draws, 1, *shape[1:]))
        return np.exp(self.mu + self.sigma * factor * rng.standard_normal((n_draws, *shape)) + common)

    def given(self, sds: FloatArray) -> ScalePrior:
        if not self.is_joint:
            return self
        logs, axes = np.log(sds), np.ndim(sds)
        weight = softmax([self._log_density(logs, axes, factor) for factor in self.factors])
        precision, towards = np.zeros_like(logs), np.zeros_like(logs)
        for share, factor in zip(weight, self.factors, strict=True):
            total, off = self._from_common(logs, axes, factor)
            own = np.square(self.sigma * factor) ** -1.0
            precision = precision + share * own
            towards = towards + share * own * (self.mu + self.shared**2 * off / (1.0 + self.shared**2 * total))
        return LogNormal(towards / precision, precision**-0.5)

    def independent(self) -> ScalePrior:
        return LogNormal(self.mu, self.sigma)

    def without_components(self) -> ScalePrior:
        return LogNormal(self.mu, np.hypot(self.sigma * np.sqrt(np.mean(np.square(self.factors))), self.shared))


@dataclass(frozen=True)
class LogNormals:
    """A mixture of log-normal distributions with equal weights, in the methods of SciPy's distributions that are used here."""

    mu: Numbers
    sigmas: list[Any]

    @property
    def _parts(self) -> list[Any]:
        return [stats.lognorm(s=sigma, scale=np.exp(self.mu)) for sigma in self.sigmas]

    def logpdf(self, x: Numbers) -> FloatArray:
        """Log-density."""
        return np.asarray(logsumexp(np.stack([part.logpdf(x) for part in self._parts]), axis=0) - np.log(len(self.sigmas)))

    def ppf(self, q: float) -> FloatArray:
        """Quantiles, by bisection of the logs between those of the narrowest and of the widest part."""
        parts = self._parts
        low, high = (np.asarray(pick([part.ppf(q) for part in parts], axis=0)) for pick in (np.min, np.max))
        for _ in range(60 if len(parts) > 1 else 0):
            middle = np.sqrt(low * high)
            below = np.mean([part.cdf(middle) for part in parts], axis=0) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(low)

    def median(self) -> FloatArray:
        """The median, which all parts have in common."""
        return np.exp(np.asarray(self.mu))

    def rvs(self, size: Any = None, random_state: Any = None) -> FloatArray:
        """Random draws."""
        rng = np.random.default_rng(random_state)
        shape = np.shape(self.mu) if size is None else size
        which = rng.integers(len(self.sigmas), size=shape)
        sigma = np.choose(which, [np.broadcast_to(sigma, shape) for sigma in self.sigmas])
        return np.exp(self.mu + sigma * rng.standard_normal(shape))


@dataclass(frozen=True, eq=False)
class Exponential(ScalePrior):
    """Exponential with the given scale (its mean).

    Parameters
    ----------
    scale : float or array
        In the units of the standard deviations.

    Examples
    --------
    >>> float(Exponential(2.0).frozen().mean().round(3))
    2.0
    """

    scale: Numbers
    kind = 4

    def slope(self, sd: FloatArray) -> FloatArray:
        return -sd / self.scale

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return -sd / self.scale

    def frozen(self) -> Any:
        return stats.expon(scale=self.scale)


@dataclass(frozen=True, eq=False)
class Gamma(ScalePrior):
    """Gamma with shape ``alpha`` and rate ``beta`` (PyMC's and Stan's parameters): mean ``alpha / beta``.

    Parameters
    ----------
    alpha, beta : float or array
        Shape, and rate in one over the units of the standard deviations.

    Examples
    --------
    >>> float(Gamma(3.0, 2.0).frozen().mean().round(3))
    1.5
    """

    alpha: Numbers
    beta: Numbers
    kind = 5

    def slope(self, sd: FloatArray) -> FloatArray:
        return self.alpha - 1.0 - self.beta * sd

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return (self.alpha - 1.0) * np.log(sd) - self.beta * sd

    def frozen(self) -> Any:
        return stats.gamma(self.alpha, scale=1 / self.beta)


@dataclass(frozen=True, eq=False)
class InverseGamma(ScalePrior):
    """The variance is inverse gamma: one over it is gamma with shape ``alpha`` and rate ``beta``.

    Parameters
    ----------
    alpha, beta : float or array
        Shape, and rate in the units of the variances.
    shared : float
        Above zero, beta is learned: all components have one (each column or axis its own) with a gamma distribution of this shape, whose
        expectation is ``beta``. Richardson and Green (1997, Journal of the Royal Statistical Society B 59, 731-792) take
        ``InverseGamma(2.0, 0.02 * R**2, shared=0.2)`` for data that range over R. Tied covariances, which are one, have beta itself.

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number above zero, or shared is negative.

    Examples
    --------
    >>> float(InverseGamma(2.0, 8.0).frozen().median().round(3))
    2.183
    """

    alpha: Numbers
    beta: Numbers
    shared: float = 0.0
    kind = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (np.ndim(self.shared) == 0 and is_finite(self.shared) and self.shared >= 0):
            raise InvalidParameterError(f"InverseGamma: shared must be one finite number of at least zero, got {self.shared!r}")

    def slope(self, sd: FloatArray) -> FloatArray:
        return -2.0 * self.alpha - 1.0 + 2.0 * self.beta / np.square(sd)

    def log_kernel(self, sd: FloatArray) -> FloatArray:
        return -(2.0 * self.alpha + 1.0) * np.log(sd) - self.beta / np.square(sd)

    def scaled(self, factor: Numbers) -> ScalePrior:
        return self._with({"beta": np.multiply(self.beta, np.square(factor))})

    def frozen(self) -> Any:
        return RootInverseGamma(self.alpha, self.beta, self.shared)

    def log_density(self, sds: FloatArray, axes: int) -> FloatArray:
        if not self.is_joint:
            return super().log_density(sds, axes)
        shape, rate = self._given(sds, axes)
        own = np.log(2.0) - gammaln(self.alpha) - (2.0 * self.alpha + 1.0) * np.log(sds)
        common = self.shared * np.log(self._rate(sds, axes)) - gammaln(self.shared) + gammaln(shape) - shape * np.log(rate)
        return np.asarray(own.sum(tuple(range(-axes, 0))) + common.sum(tuple(range(1 - axes, 0))))

    def draw(self, shape: tuple[int, ...], n_draws: int, rng: np.random.Generator) -> FloatArray:
        alpha, beta = (np.broadcast_to(value, (n_draws, *shape)) for value in (self.alpha, self.beta))
        if self.is_joint:
            beta = beta[:, :1] * rng.gamma(self.shared, 1.0 / self.shared, (n_draws, 1, *shape[1:]))
        return np.sqrt(beta / rng.gamma(alpha))

    def given(self, sds: FloatArray) -> ScalePrior:
        if not self.is_joint:
            return self
        shape, rate = self._given(sds, np.ndim(sds))
        return InverseGamma(self.alpha, np.broadcast_to(shape / rate, np.shape(sds)))

    def independent(self) -> ScalePrior:
        return InverseGamma(self.alpha, self.beta)

    def without_components(self) -> ScalePrior:
        return self.independent()

    def _rate(self, sds: FloatArray, axes: int) -> FloatArray:
        """Return the rate of beta's distribution, for each column of standard deviations whose components come first."""
        return np.asarray(self.shared / np.broadcast_to(self.beta, sds.shape).mean(-axes))

    def _given(self, sds: FloatArray, axes: int) -> tuple[FloatArray, FloatArray]:
        """Return shape and rate of beta's gamma distribution given all standard deviations."""
        shape = self.shared + np.broadcast_to(self.alpha, sds.shape).sum(-axes)
        return shape, self._rate(sds, axes) + np.square(1.0 / sds).sum(-axes)


@dataclass(frozen=True)
class RootInverseGamma:
    """The root of an inverse gamma variable, whose rate may be gamma itself, in the methods of SciPy's distributions that are used here."""

    alpha: Numbers
    beta: Numbers
    shared: float

    @property
    def _variance(self) -> Any:
        if self.shared > 0:  # a ratio of gamma variables
            return stats.betaprime(self.shared, self.alpha, scale=np.asarray(self.beta) / self.shared)
        return stats.invgamma(self.alpha, scale=self.beta)

    def logpdf(self, x: Numbers) -> FloatArray:
        """Log-density."""
        return np.asarray(np.log(2.0) + np.log(x) + self._variance.logpdf(np.square(x)))

    def ppf(self, q: Numbers) -> FloatArray:
        """Quantiles."""
        return np.sqrt(self._variance.ppf(q))

    def median(self) -> FloatArray:
        """The median."""
        return np.sqrt(self._variance.median())

    def rvs(self, size: Any = None, random_state: Any = None) -> FloatArray:
        """Random draws."""
        return np.sqrt(self._variance.rvs(size=size, random_state=random_state))


@dataclass(frozen=True)
class FoldedT:
    """The absolute value of a scaled Student t, in the methods of SciPy's distributions that are used here."""

    nu: Numbers
    scale: Numbers

    def logpdf(self, x: Numbers) -> FloatArray:
        """Log-density at x >= 0."""
        return np.log(2.0) + stats.t(self.nu, scale=self.scale).logpdf(x)

    def ppf(self, q: Numbers) -> FloatArray:
        """Quantiles."""
        return np.asarray(stats.t(self.nu, scale=self.scale).ppf(0.5 + 0.5 * np.asarray(q)))

    def rvs(self, size: Any = None, random_state: Any = None) -> FloatArray:
        """Random draws."""
        return np.abs(stats.t(self.nu, scale=self.scale).rvs(size=size, random_state=random_state))


guard(globals())
