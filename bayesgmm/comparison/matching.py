"""Two fits of one model and table, checked and brought to one set of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import responsibility_moments, rows_of
from bayesgmm.params import MixtureParams
from bayesgmm.text import listed
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

if TYPE_CHECKING:
    from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture

__all__ = ["MatchedFits", "match"]


@dataclass(frozen=True, eq=False)
class MatchedFits:
    """Two fits in one labelling, the rows they are compared on, and the responsibilities of those rows."""

    X: FloatArray
    index: pd.Index
    features: tuple[str, ...]
    em: MixtureParams
    posterior: MixtureParams
    em_responsibilities: FloatArray
    mean: FloatArray
    """Posterior mean responsibilities (N, K)."""
    sd: FloatArray
    """Their standard deviation across draws (N, K)."""
    entropy: FloatArray
    """Mean over draws of the entropy of each row's responsibilities, in nats (N,)."""
    order: tuple[int, ...]
    """Component k here is component ``order[k]`` of the posterior as it was fitted."""


def match(em: GaussianMixture, posterior: BayesianGaussianMixture, X: ArrayLike | pd.DataFrame | None) -> MatchedFits:
    """Check two fits and the rows, and match the posterior's components to EM's where another EM fit named them."""
    _check_fitted(em, posterior)
    _check_alike(em, posterior)
    rows, index = _rows(em, posterior, X)
    reference = em.params_.responsibilities(rows)
    flat = posterior.params_.reshape(-1)
    moments = responsibility_moments(rows_of(rows), *flat.arrays(), diagonal=flat.is_diagonal)
    order = _order(em, posterior, reference, moments.mean)
    return MatchedFits(
        X=rows,
        index=index,
        features=tuple(em.feature_names_),
        em=em.params_,
        posterior=posterior.params_ if (order == np.arange(len(order))).all() else posterior.params_.permute(order),
        em_responsibilities=reference,
        mean=moments.mean[:, order],
        sd=moments.sd[:, order],
        entropy=moments.entropy,
        order=tuple(int(k) for k in order),
    )


def _check_fitted(em: GaussianMixture, posterior: BayesianGaussianMixture) -> None:
    fit: GaussianMixture | BayesianGaussianMixture
    for name, fit, batch in (("em", em, 0), ("posterior", posterior, 2)):
        if not hasattr(fit, "params_"):
            raise InvalidParameterError(f"{name} is not fitted: call its fit(X) first.")
        if getattr(fit, "_fit_rows", ...) is None:
            raise InvalidParameterError(f"{name} was put together by hand and has not been fitted: call its fit(X) first.")
        if len(fit.params_.batch_shape) != batch:
            kind = "GaussianMixture" if batch == 0 else "BayesianGaussianMixture"
            raise InvalidParameterError(f"{name} must be a fitted {kind}: compare(em, posterior, X), in this order.")


def _check_alike(em: GaussianMixture, posterior: BayesianGaussianMixture) -> None:
    """Two fits can be compared if they are of one model and one table."""
    names = (list(em.feature_names_), list(posterior.feature_names_))
    if names[0] != names[1]:
        raise InvalidParameterError(
            f"The fits have different columns: EM {listed(names[0], 5)}, the posterior {listed(names[1], 5)}."
        )
    for setting in ("n_components", "covariance_type"):
        left, right = getattr(em, setting), getattr(posterior, setting)
        # One family may go by two names.
        if left != right and (setting != "covariance_type" or family(left) is not family(right)):
            raise InvalidParameterError(f"The fits differ in {setting}: EM has {left!r}, the posterior {right!r}.")
    if getattr(em, "noise", False):
        raise InvalidParameterError("EM has a noise component and the posterior none: fit GaussianMixture with noise=False.")
    left, right = _training(em), _training(posterior)
    if left is not None and right is not None and not np.array_equal(left, right, equal_nan=True):
        raise InvalidParameterError("The fits were made from different data; fit both to the same table.")


def _training(fit: GaussianMixture | BayesianGaussianMixture) -> FloatArray | None:
    """Training data of a fit, if it kept them."""
    tree = fit.datatree_
    return np.asarray(tree["observed_data"]["x"].values, dtype=float) if "observed_data" in tree.children else None


def _rows(
    em: GaussianMixture, posterior: BayesianGaussianMixture, X: ArrayLike | pd.DataFrame | None
) -> tuple[FloatArray, pd.Index]:
    """Rows to compare on, and their names."""
    names = list(em.feature_names_)
    if X is None:
        X = _training(posterior)
        if X is None:
            raise InvalidParameterError("The posterior did not keep its training data: give X.")
    if isinstance(X, pd.DataFrame) and [str(name) for name in X.columns] != names:
        raise InvalidParameterError(f"X has other columns than the fits: {listed(X.columns, 5)}, not {listed(names, 5)}.")
    rows = np.array(X, dtype=float, order="C")  # a copy: the comparison keeps it
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise InvalidParameterError(f"X must have shape (rows, {len(names)}) as the fits have, got {rows.shape}.")
    _check_values(rows, names)
    return rows, X.index if isinstance(X, pd.DataFrame) else pd.RangeIndex(len(rows))


def _check_values(rows: FloatArray, names: list[str]) -> None:
    """Values may be missing (NaN), but not a whole column of them: there would be nothing to compare with."""
    if not len(rows) or np.isinf(rows).any():
        raise InvalidDataError("X must have at least one row, and no infinite values.")
    empty = [name for name, values in zip(names, rows.T, strict=True) if np.isnan(values).all()]
    if empty:
        raise InvalidDataError(f"X has only missing values in {listed(empty, 5)}: leave the column out, or give rows that have it.")


def _order(em: GaussianMixture, posterior: BayesianGaussianMixture, reference: FloatArray, mean: FloatArray) -> IntArray:
    """Which component of the posterior is each of EM's; in order if this very EM fit gave the posterior its labels."""
    pivot = getattr(posterior, "em_", None)
    if pivot is not None and np.array_equal(pivot.params_.means, em.params_.means):
        return np.arange(mean.shape[1])
    return linear_sum_assignment(-reference.T @ mean)[1]
