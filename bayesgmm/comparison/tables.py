"""What two fits say, side by side: brought to one set of labels, and their tables of parameters and of rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from bayesgmm.covariance import family
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import responsibility_moments
from bayesgmm.params import MixtureParams
from bayesgmm.partitions.doubt import row_doubt, row_entropy
from bayesgmm.rows import Chunk, Known, same_labels
from bayesgmm.text import listed
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["MatchedFits", "match", "parameter_table", "responsibility_table"]

_ALL = "all"


@dataclass(frozen=True, eq=False)
class MatchedFits:
    """Two fits in one labelling, the rows they are compared on, and the responsibilities of those rows."""

    X: FloatArray
    known: Known | None
    """What is known of the rows beside their values, if they are those of the fits."""
    weight: FloatArray | None
    """How often rows count in their sets."""
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
    known = _known(em, posterior, rows)
    weight = None if known is None else posterior.rows_.weights
    chunk = Chunk(rows, weight, known=known)
    reference = em.params_.responsibilities(chunk)
    flat = posterior.params_.reshape(-1)
    moments = responsibility_moments(chunk, *flat.arrays(chunk), diagonal=flat.is_diagonal)
    order = _order(em, posterior, reference, moments.mean)
    return MatchedFits(
        X=rows,
        known=known,
        weight=weight,
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
        if len(fit.rows_) == 0:
            raise InvalidParameterError(f"{name} was put together by hand and has not been fitted: call its fit(X) first.")
        if len(fit.params_.batch_shape) != batch:
            kind = "GaussianMixture" if batch == 0 else "BayesianGaussianMixture"
            raise InvalidParameterError(f"{name} must be a fitted {kind}: compare(em, posterior, X), in this order.")


def _check_alike(em: GaussianMixture, posterior: BayesianGaussianMixture) -> None:
    """Two fits can be compared if they are of one model and one table."""
    ours, theirs = list(em.feature_names_), list(posterior.feature_names_)
    if ours != theirs:
        raise InvalidParameterError(f"The fits have different columns: EM {listed(ours, 5)}, the posterior {listed(theirs, 5)}.")
    for setting in ("n_components_", "covariance_type"):
        left, right = getattr(em, setting), getattr(posterior, setting)
        # One family may go by two names.
        if left != right and (setting != "covariance_type" or family(left) is not family(right)):
            raise InvalidParameterError(f"The fits differ in {setting.rstrip('_')}: EM has {left!r}, the posterior {right!r}.")
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


def _known(em: GaussianMixture, posterior: BayesianGaussianMixture, rows: FloatArray) -> Known | None:
    """Return what the fits know of these rows beside their values, if the rows are theirs."""
    ours, theirs = em.rows_.known, posterior.rows_.known
    if (ours is None) != (theirs is None):
        without = "EM" if ours is None else "the posterior"
        raise InvalidParameterError(f"Only one of the fits was given labels, errors or sets of rows: give them to {without}, too.")
    if ours is None or theirs is None or not posterior.rows_.is_in_memory:
        return None
    if not same_labels(ours, theirs):
        raise InvalidParameterError("The fits were given different labels, so their components are others: give both the same.")
    if not np.array_equal(posterior.rows_.values, rows, equal_nan=True):
        raise InvalidParameterError(
            f"X are other rows than those of the fits, of which more was known than their values ({theirs.names}): leave X out."
        )
    return theirs


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


def responsibility_table(fits: MatchedFits) -> pd.DataFrame:
    """One row an observation; see ``Comparison.responsibilities``."""
    named = (("em", fits.em_responsibilities), ("posterior", fits.mean), ("sd", fits.sd))
    columns: dict[str, np.ndarray] = {f"{name}_{k}": values[:, k] for name, values in named for k in range(values.shape[1])}
    components = range(fits.mean.shape[1])
    em = row_doubt(fits.em_responsibilities, row_entropy(fits.em_responsibilities), components)
    posterior = row_doubt(fits.mean, fits.entropy, components)
    for name, found in (("em", em), ("posterior", posterior)):
        columns |= {f"{name}_label": found["label"], f"{name}_doubt": found["doubt"]}
    columns["cause"] = posterior["cause"]
    columns["largest_gap"] = np.abs(fits.em_responsibilities - fits.mean).max(axis=1)
    columns["divergence"] = _divergence(fits.em_responsibilities, fits.mean)
    return pd.DataFrame(columns, index=fits.index)


def _divergence(p: FloatArray, q: FloatArray) -> FloatArray:
    """Jensen-Shannon divergence of each row's two distributions, in bits: 0 where they are the same, 1 where they share nothing.

    Lin (1991), IEEE Transactions on Information Theory 37, 145-151, equation 5.1.
    """
    apart = row_entropy((p + q) / 2) - (row_entropy(p) + row_entropy(q)) / 2
    return np.clip(apart / np.log(2), 0.0, 1.0)


type _Place = tuple[int | str, str, str]
"""Whose a parameter is: component, feature and feature_bis."""


def parameter_table(em: GaussianMixture, posterior: MixtureParams, features: tuple[str, ...]) -> pd.DataFrame:
    """One row a free scalar parameter; see ``Comparison.parameters``."""
    flat = posterior.reshape(-1)
    names, places, points, drawn, errors = zip(*_free_parameters(em, flat, features), strict=True)
    index = [(name, *place) for name, some in zip(names, places, strict=True) for place in some]
    point, error = (np.concatenate([values.ravel() for values in each]) for each in (points, errors))
    draws = np.concatenate([np.ascontiguousarray(values.reshape(len(flat.weights), -1).T) for values in drawn])
    mean, (lower, upper) = draws.mean(axis=1), np.quantile(draws, [0.025, 0.975], axis=1)
    # The standard deviation of equal numbers is only zero to rounding.
    sd = np.where(np.ptp(draws, axis=1) > 0, draws.std(axis=1, ddof=1), 0.0)
    # Infinite if the posterior never moves from another value.
    still = np.where(np.isclose(point - mean, 0), 0.0, np.copysign(np.inf, point - mean))
    table = pd.DataFrame(index, columns=["parameter", "component", "feature", "feature_bis"])
    table = table.assign(em=point, mean=mean, sd=sd, lower=lower, upper=upper)
    return table.assign(
        distance=np.divide(point - mean, sd, out=still, where=sd > 0),
        rank=(draws < point[:, None]).mean(axis=1) + (draws == point[:, None]).mean(axis=1) / 2,
        se_ratio=np.divide(error, sd, out=np.full_like(sd, np.nan), where=sd > 0),
    )


def _standard_errors(em: GaussianMixture) -> dict[str, FloatArray]:
    """EM's standard errors by the likelihood's curvature, which the posterior's sd comes to with many rows; NaN where there are none."""
    errors = {name: np.full_like(getattr(em.params_, name), np.nan) for name in ("weights", "means", "sds")}
    with contextlib.suppress(InvalidParameterError, InvalidDataError):  # a prior, equal weights, or a family without
        errors |= {str(name): values.to_numpy() for name, values in em.standard_errors("observed").items()}
    return errors


def _free_parameters(
    em: GaussianMixture, posterior: MixtureParams, features: tuple[str, ...]
) -> Iterator[tuple[str, list[_Place], FloatArray, FloatArray, FloatArray]]:
    """Yield each kind of free parameters, once where the family shares them: their name and places, EM's values, draws, EM's errors."""
    point, errors, K = em.params_, _standard_errors(em), em.params_.n_components
    if K > 1:
        yield "weight", [(k, "", "") for k in range(K)], point.weights, posterior.weights, errors["weights"]
    yield "mean", [(k, name, "") for k in range(K) for name in features], point.means, posterior.means, errors["means"]
    components, of = _once(range(K), posterior.sds, axis=1)
    columns, along = _once(features, posterior.sds, axis=2)
    places: list[_Place] = [(k, name, "") for k in components for name in columns]
    yield "sd", places, point.sds[of, along], posterior.sds[:, of, along], errors["sds"][of, along]
    if not posterior.is_diagonal:
        i, j = np.triu_indices(len(features), 1)
        correlations, draws = point.correlations[:, i, j], posterior.correlations[:, :, i, j]
        components, of = _once(range(K), draws, axis=1)
        places = [(k, *pair) for k, pair in product(components, combinations(features, 2))]
        yield "correlation", places, correlations[of], draws[:, of], np.full_like(correlations[of], np.nan)


def _once[T](names: Sequence[T], values: FloatArray, axis: int) -> tuple[Sequence[T | str], slice]:
    """Names along an axis and where they are; one for "all" where all entries along it are one number in every draw."""
    first = np.take(values, [0], axis=axis)
    is_one = len(names) > 1 and bool(np.allclose(values, first, rtol=1e-9, atol=1e-12))
    return ([_ALL], slice(1)) if is_one else (names, slice(None))
