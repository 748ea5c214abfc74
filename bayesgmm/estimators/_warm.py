"""What a warm start goes on from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em import EMFit
from bayesgmm.em.iterate import seems_still
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["Before", "ended"]

_SAME = 1e-9
"""Relative difference of log-likelihoods that is rounding."""
_LOOKED_AT = 4
"""Log-likelihoods in a row that tell how much is left to gain."""


@dataclass(frozen=True, eq=False)
class Before:
    """The last fit of an estimator.

    Parameters
    ----------
    params : MixtureParams
    family : Family
    names : list of str, optional
        Of the columns, where they are known.
    trace : array
        Log-likelihoods of its last iterations; empty of a mixture put together by hand.
    """

    params: MixtureParams
    family: Family
    names: list[str] | None
    trace: FloatArray

    @classmethod
    def of(cls, estimator: Any) -> Self | None:
        """Return the last fit of an estimator, if there is one."""
        if not hasattr(estimator, "params_"):
            return None
        trace = getattr(estimator, "_warm_trace", getattr(estimator, "log_likelihood_trace_", np.empty(0)))
        return cls(
            estimator.params_,
            getattr(estimator, "_fit_family", estimator._family),
            getattr(estimator, "feature_names_", None),
            trace,
        )

    def is_of_the_model_of(self, estimator: Any) -> bool:
        """Whether a fit of the estimator, which has seen its data, can start there: as many components, one family, the same columns."""
        return (
            self.params.n_components == estimator.n_components
            and self.family is estimator._family
            and self.names in (None, estimator.feature_names_)
        )

    def trace_to(self, fit: EMFit) -> FloatArray:
        """Return the log-likelihoods of this fit's iterations with those before them, as far as they are of the same climb."""
        goes_on = len(self.trace) > 0 and abs(fit.trace[0] - self.trace[-1]) <= _SAME * (1 + abs(self.trace[-1]))
        return np.concatenate([self.trace[-_LOOKED_AT:-1], fit.trace]) if goes_on else fit.trace


def ended(fit: EMFit, trace: FloatArray, tolerance: float, *, plain: bool) -> EMFit:
    """Return a fit that ran out of iterations as converged if it did by its rule, seen together with the fits that it goes on from.

    Parameters
    ----------
    fit : EMFit
    trace : array
        As of :meth:`Before.trace_to`.
    tolerance : float
        Log-likelihood of all rows that is not worth an iteration.
    plain : bool
        Whether the rule is scikit-learn's, the last gain, and not all that is left to gain.
    """
    if fit.status != "max_iter" or len(trace) < _LOOKED_AT:
        return fit
    first, second, third = np.diff(trace[-_LOOKED_AT:]).tolist()
    if abs(third) >= tolerance if plain else not seems_still(first, second, third, float(trace[-1]), tolerance):
        return fit
    message = "EM converged, seen together with the fits that this warm start goes on from"
    return replace(fit, status="converged", converged=True, message=message)
