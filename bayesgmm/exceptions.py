"""The errors and warnings a user of bayesgmm can meet."""

from sklearn.exceptions import ConvergenceWarning

__all__ = [
    "BayesGMMError",
    "ConvergenceWarning",
    "InvalidDataError",
    "InvalidParameterError",
    "LikelihoodDecreaseError",
    "SizeAdvice",
]


class BayesGMMError(Exception):
    """Root of the errors that bayesgmm raises on purpose; the message is written for the user."""


class InvalidDataError(BayesGMMError, ValueError):
    """The data cannot be used as given; the message says what, where and what to do."""


class InvalidParameterError(BayesGMMError, ValueError):
    """A setting or a parameter value cannot be used; the message says which and what is allowed."""


class LikelihoodDecreaseError(BayesGMMError, RuntimeError):
    """An iteration of EM lowered the log-likelihood by more than rounding can: a mistake in bayesgmm, not in the data."""


class SizeAdvice(UserWarning):
    """What was asked for will take long on so many rows, and there is something quicker."""
