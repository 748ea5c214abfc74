"""Mixtures drawn from a prior, without PyMC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator

from bayesgmm.covariance import WITH_PRIORS, Family, family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.random import generator
from bayesgmm.rows import rows_to_fit
from bayesgmm.typing import ArrayLike, CovarianceType, FloatArray, RandomState

if TYPE_CHECKING:
    from bayesgmm.priors import Priors, ResolvedPriors

__all__ = ["draw_mixtures", "sample"]

_LEAST = 1e-150
"""Nothing that must be positive is drawn below this: its square is still a number."""
_MOST = 1e150


def sample(
    self: Priors,
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
    _check_count("n_components", n_components)
    _check_count("n_draws", n_draws)
    kind = family(covariance_type)
    if kind.name not in WITH_PRIORS:
        raise InvalidParameterError(
            f"covariance_type must be one of {', '.join(map(repr, WITH_PRIORS))} for a prior, got {covariance_type!r}"
        )
    rows = rows_to_fit(BaseEstimator(), X, None, int(n_components), allow_missing=True)
    return draw_mixtures(self.resolve(rows, int(n_components), kind), kind, int(n_draws), generator(random_state))


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
        drawn = priors.sds.draw(kind.sds_shape(K, D), n_draws, rng)
    _refuse_overflow(means, drawn)
    sds = _full_shape(np.maximum(drawn, _LEAST), kind, (n_draws, K, D))
    return priors.to_data(MixtureParams(weights, means, sds[..., None] * _factors(priors, kind, (n_draws, K, D), rng)))


def _factors(priors: ResolvedPriors, kind: Family, shape: tuple[int, int, int], rng: np.random.Generator) -> FloatArray:
    """Return the correlations' factors (n, K, D, D): one for each component, or one for all, or none."""
    n, K, D = shape
    if not kind.has_correlations(D):
        return np.broadcast_to(np.eye(D), (n, K, D, D))
    own = "component" in kind.sds_dims
    return np.broadcast_to(priors.correlations.draw_factors(D, n, K if own else 1, rng), (n, K, D, D))


def _full_shape(sds: FloatArray, kind: Family, shape: tuple[int, int, int]) -> FloatArray:
    """Give the family's free standard deviations the shape (n, K, D)."""
    if "component" not in kind.sds_dims:
        sds = sds[:, None, :]
    if "feature" not in kind.sds_dims:
        sds = sds[:, :, None]
    return np.broadcast_to(sds, shape)


def _refuse_overflow(means: FloatArray, sds: FloatArray) -> None:
    for name, drawn in (("means", means), ("sds", sds)):
        if not (np.abs(drawn) < _MOST).all():
            raise InvalidParameterError(
                f"priors: the prior of the {name} is so wide that draws from it overflow (beyond {_MOST:g}): narrow it"
            )


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidParameterError(f"{name} must be a whole number of at least 1, got {value!r}")
