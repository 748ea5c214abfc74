"""The gradient of the log-likelihood from the E-step's statistics."""

from typing import NamedTuple

from bayesgmm.expectation.estep import Statistics
from bayesgmm.kernels.score import empty_score, score_from_statistics
from bayesgmm.typing import FloatArray


class Score(NamedTuple):
    """Derivatives of the log-likelihood.

    ``log_weights`` (K,) as if the weights were free (before the simplex), ``means`` (K, D), ``scale_tril`` (K, D, D), lower triangular.
    """

    log_weights: FloatArray
    means: FloatArray
    scale_tril: FloatArray


def score(statistics: Statistics, whiten: FloatArray) -> Score:
    """Return the gradient of the observed-data log-likelihood by Fisher's identity.

    The score of the observed data is the expected score of the complete data (Fisher 1925; Dempster, Laird and Rubin 1977,
    section 3). With counts n, ``s = sum r z``, ``S = sum r z z'`` and ``W = L^-1`` for each component: n for the log weights, ``W' s``
    for the mean, and the lower triangle of ``W' (S - n I)`` for the Cholesky factor.

    Parameters
    ----------
    statistics : Statistics
        Under the mixture at which the gradient is wanted.
    whiten : array of shape (K, D, D)
        Inverses of the mixture's Cholesky factors.
    """
    means, scale = empty_score(*statistics.first.shape)
    score_from_statistics(statistics.counts, statistics.first, statistics.second, whiten, False, means, scale)
    return Score(statistics.counts, means, scale)
