"""The errors and warnings a user of bayesgmm can meet."""

import contextlib
import warnings
from pathlib import Path

from sklearn.exceptions import ConvergenceWarning

__all__ = [
    "BayesGMMError",
    "ConvergenceWarning",
    "DataAdvice",
    "DrawsAdvice",
    "InvalidDataError",
    "InvalidParameterError",
    "LikelihoodDecreaseError",
    "ReadingNote",
    "SizeAdvice",
    "warn",
]

_OURS = (str(Path(__file__).parent), contextlib.__file__.removesuffix(".py"))
"""Where frames lie that nobody is to be pointed at; a prefix that is a whole name would not be taken for one."""


class BayesGMMError(Exception):
    """Root of the errors that bayesgmm raises on purpose; the message is written for the user.

    Examples
    --------
    >>> issubclass(InvalidDataError, BayesGMMError)
    True
    """


class InvalidDataError(BayesGMMError, ValueError):
    """The data cannot be used as given; the message says what, where and what to do.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> try:
    ...     bg.GaussianMixture(2).fit([[1.0], [float("inf")], [3.0]])
    ... except InvalidDataError as error:
    ...     print(error)
    X contains 1 infinite value(s): 1 in 'x0', in 1 of 3 rows. Replace or drop these rows first
    """


class InvalidParameterError(BayesGMMError, ValueError):
    """A setting or a parameter value cannot be used; the message says which and what is allowed.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> try:
    ...     bg.Priors(eta=-1.0)
    ... except InvalidParameterError as error:
    ...     print(error)
    Priors: eta must be positive and finite, got -1.0
    """


class LikelihoodDecreaseError(BayesGMMError, RuntimeError):
    """An iteration of EM lowered the log-likelihood by more than rounding can: a mistake in bayesgmm, not in the data.

    Examples
    --------
    It is nothing that other data or settings would mend, and so no ``ValueError``:

    >>> issubclass(LikelihoodDecreaseError, ValueError)
    False
    """


class DataAdvice(UserWarning):
    """The data have something that groups of a normal mixture may be mistaken for, such as one value in most of the rows.

    Examples
    --------
    >>> issubclass(DataAdvice, UserWarning)
    True
    """


class DrawsAdvice(UserWarning):
    """The chains of a posterior agree but for the last digits, and more draws would settle those.

    Examples
    --------
    >>> issubclass(DrawsAdvice, ConvergenceWarning)
    False
    """


class SizeAdvice(UserWarning):
    """What was asked for will take long, and there is something quicker.

    Examples
    --------
    >>> issubclass(SizeAdvice, UserWarning)
    True
    """


class ReadingNote(UserWarning):
    """What was assumed about a file in order to read it, or which of its columns were left out.

    Examples
    --------
    >>> issubclass(ReadingNote, UserWarning)
    True
    """


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line that called the package, however deep in it the reason was found.

    Parameters
    ----------
    message : str
    category : type of Warning

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     warn("It takes long.", SizeAdvice)
    >>> [str(each.message) for each in said]
    ['It takes long.']
    """
    warnings.warn(message, category, stacklevel=2, skip_file_prefixes=_OURS)
