"""Priors of the number of components, and of the weights when it is not known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.typing import ArrayLike, FloatArray
from bayesgmm.underflow import guard
from bayesgmm.validation import check_fields

__all__ = ["BetaNegativeBinomial", "Concentration", "NumberPrior", "Poisson", "Probabilities", "Uniform"]


class NumberPrior(ABC):
    """A prior of the number of components K, from one up to a largest number.

    Examples
    --------
    >>> Uniform().log_probability(4).round(3)
    array([-1.386, -1.386, -1.386, -1.386])
    """

    @abstractmethod
    def _log_kernel(self, n: FloatArray) -> FloatArray:
        """Return log-probabilities of K = n (M,), up to a constant."""

    def log_probability(self, most: int) -> FloatArray:
        """Return the log-probabilities of 1 to ``most`` components; they add up to one.

        Parameters
        ----------
        most : int

        Returns
        -------
        array of shape (most,)
        """
        logs = self._log_kernel(np.arange(1.0, most + 1.0))
        return np.asarray(logs - logsumexp(logs))


@dataclass(frozen=True)
class BetaNegativeBinomial(NumberPrior):
    """K - 1 is beta-negative-binomial: Poisson with a gamma rate whose own scale is drawn, so that its tail is heavy.

    Parameters
    ----------
    alpha, a, b : float
        The defaults, 1, 4 and 3, expect two components, have 57 % of the mass on one, and little beyond ten (Frühwirth-Schnatter,
        Malsiner-Walli and Grün 2021, Bayesian Analysis 16, 1279-1307, section 2.2).

    Raises
    ------
    InvalidParameterError
        If a parameter is not a finite number above zero.

    Examples
    --------
    >>> np.exp(BetaNegativeBinomial().log_probability(100)[:3]).round(3)
    array([0.571, 0.214, 0.095])
    """

    alpha: float = 1.0
    a: float = 4.0
    b: float = 3.0

    def __post_init__(self) -> None:
        check_fields(self, positive=("alpha", "a", "b"), finite=[])

    def _log_kernel(self, n: FloatArray) -> FloatArray:
        return np.asarray(stats.betanbinom(self.alpha, self.a, self.b).logpmf(n - 1.0))


@dataclass(frozen=True)
class Poisson(NumberPrior):
    """K - 1 is Poisson.

    Parameters
    ----------
    mu : float
        Expectation of K - 1.

    Raises
    ------
    InvalidParameterError
        If mu is not a finite number above zero.

    Examples
    --------
    >>> np.exp(Poisson(1.0).log_probability(30)[:3]).round(3)
    array([0.368, 0.368, 0.184])
    """

    mu: float

    def __post_init__(self) -> None:
        check_fields(self, positive=("mu",), finite=[])

    def _log_kernel(self, n: FloatArray) -> FloatArray:
        return np.asarray(stats.poisson(self.mu).logpmf(n - 1.0))


@dataclass(frozen=True)
class Uniform(NumberPrior):
    """Every number up to the largest is as probable as the others.

    Examples
    --------
    >>> np.exp(Uniform().log_probability(2))
    array([0.5, 0.5])
    """

    def _log_kernel(self, n: FloatArray) -> FloatArray:
        return np.zeros(len(n))


@dataclass(frozen=True, eq=False)
class Probabilities(NumberPrior):
    """Probabilities of one, two and more components, as they are given; none is more probable than those that are not.

    Parameters
    ----------
    values : array of shape (M,)

    Raises
    ------
    InvalidParameterError
        If they are not finite numbers of at least zero that add up to one.

    Examples
    --------
    >>> np.exp(Probabilities([0.25, 0.75]).log_probability(4))
    array([0.25, 0.75, 0.  , 0.  ])
    """

    values: ArrayLike

    def __post_init__(self) -> None:
        try:
            given = np.asarray(self.values, dtype=float)
        except (TypeError, ValueError):
            given = np.empty(0)
        if given.ndim != 1 or not given.size or not np.isfinite(given).all() or (given < 0).any() or abs(given.sum() - 1.0) > 1e-8:
            raise InvalidParameterError(
                f"Probabilities: values must be probabilities of 1, 2, ... components that add up to one, got {self.values!r}"
            )
        object.__setattr__(self, "values", given)

    def _log_kernel(self, n: FloatArray) -> FloatArray:
        given = np.asarray(self.values)
        inside = np.zeros(len(n))
        inside[: len(given)] = given[: len(n)]
        if not inside.any():
            raise InvalidParameterError(
                f"Probabilities: the first {len(n)} numbers of components, which max_components leaves, have no probability"
            )
        with np.errstate(divide="ignore"):
            return np.log(inside)


@dataclass(frozen=True)
class Concentration:
    """The concentration of the weights' Dirichlet distribution, by the number of components K.

    Parameters
    ----------
    alpha : float or tuple
        A number; or what it is learned from: ``("gamma", a, b)`` with shape and rate, or ``("F", a, b)`` with its degrees of freedom, of
        which Frühwirth-Schnatter, Malsiner-Walli and Grün (2021) take 6 and 3.
    dynamic : bool
        Whether each of K weights has the concentration alpha / K ("dynamic"), so that more components leave more of them empty, instead of
        alpha ("static").

    Raises
    ------
    InvalidParameterError
        If alpha is neither.

    Examples
    --------
    >>> Concentration(1.0, dynamic=True).of(4)
    0.25
    """

    alpha: float | tuple[str, float, float] = 2.0
    dynamic: bool = False

    def __post_init__(self) -> None:
        alpha: Any = self.alpha
        numbers = alpha[1:] if self.is_learned else (alpha,)
        named = not self.is_learned or (len(alpha) == 3 and alpha[0] in ("gamma", "F"))
        if not named or not all(isinstance(x, int | float) and np.isfinite(x) and x > 0 for x in numbers):
            raise InvalidParameterError(
                f"Concentration: alpha must be a positive number, ('gamma', a, b) or ('F', a, b) with positive a and b, got {alpha!r}"
            )

    @property
    def is_learned(self) -> bool:
        """Whether alpha is left to the data."""
        return isinstance(self.alpha, tuple)

    def of(self, n_components: int) -> float:
        """Return the concentration of each of so many weights.

        Parameters
        ----------
        n_components : int

        Returns
        -------
        float

        Raises
        ------
        InvalidParameterError
            If alpha is learned, which takes an unknown number of components.
        """
        if isinstance(self.alpha, tuple):
            raise InvalidParameterError(
                "Concentration: alpha is learned with n_components='auto' only; for a known number of components give one number"
            )
        return self.alpha / n_components if self.dynamic else float(self.alpha)


guard(globals())
