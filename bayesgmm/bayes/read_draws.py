"""Mixtures read from the draws of anybody's sampler: PyMC, Stan, NumPyro, or arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.covariance import diagonals
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray
from bayesgmm.underflow import guard

__all__ = ["PARTS", "read_attributes", "read_mixtures", "read_statistics"]

PARTS: dict[str, tuple[str, ...]] = {
    "weights": ("weights", "weight", "w", "pi", "theta", "p", "phi", "probs", "mixture_weights"),
    "means": ("means", "mean", "mu", "mus", "m", "loc", "locs", "centers", "locations"),
    "covariances": ("covariances", "covariance", "cov", "covs", "Sigma", "Sigmas", "covariance_matrix", "Cov"),
    "scale_tril": ("scale_tril", "cholesky", "chol", "chols", "L", "L_Sigma", "chol_cov"),
    "precisions": ("precisions", "precision", "prec", "tau", "Tau", "Lambda", "precision_matrix"),
    "sds": ("sds", "sd", "sigma", "sigmas", "std", "stds", "scale", "scales"),
    "correlations": ("correlations", "corr", "corrs", "R", "Omega", "rho", "corr_cholesky", "L_Omega", "L_corr"),
}
"""The parts of a mixture, and the names by which variables are taken for them where nothing is said."""
_SPREADS = ("covariances", "scale_tril", "precisions", "sds")
"""Any of these says how wide components are; standard deviations alone, or beside correlations."""
_CLOSE = 1e-4
"""By how much weights may miss one: single precision."""


def read_mixtures(draws: Any, n_features: int, names: Mapping[str, str | Sequence[str]] | None = None) -> MixtureParams:
    """Return draws as mixtures of batch shape (chain, draw), components in the order in which they are found.

    Parameters
    ----------
    draws : xarray.DataTree, xarray.Dataset or mapping of arrays
        A tree has a group ``posterior``. Of arrays the first two axes are chain and draw.
    n_features : int
        Number of columns D of the rows.
    names : mapping, optional
        From a part (a key of `PARTS`) to the name of its variable, or to a list of names, one for each component. What is not named is
        looked for under the names of `PARTS`.

    Returns
    -------
    MixtureParams

    Raises
    ------
    InvalidDataError
        If a variable is not there, has a shape that fits nothing, or values that no mixture has.
    InvalidParameterError
        If names name no part of a mixture.

    Examples
    --------
    >>> arrays = {"w": np.full((1, 4, 2), 0.5), "mu": np.zeros((1, 4, 2)), "sigma": np.ones((1, 4, 2))}
    >>> read_mixtures(arrays, n_features=1).means.shape
    (1, 4, 2, 1)
    """
    variables, given = _variables(draws), dict(names or {})
    for part in given:
        if part not in PARTS:
            raise InvalidParameterError(f"names: a mixture has no part {part!r}; its parts are {', '.join(PARTS)}")
    found = {part: values for part in PARTS if (values := _find(part, given.get(part), variables)) is not None}
    if "means" not in found:
        raise InvalidDataError(f"no variable is known for the means: say names={{'means': ...}}; there are {', '.join(variables)}")
    means = _means(found["means"], n_features)
    weights = _weights(found.get("weights"), means.shape[2], means.shape[:2])
    return _mixture(weights, means, _covariances(found, given, variables, means.shape))


def read_statistics(draws: Any, shape: tuple[int, ...], names: Sequence[str]) -> dict[str, FloatArray]:
    """Return the sampler's statistics of these names that a tree holds in its group ``sample_stats``."""
    if not isinstance(draws, xr.DataTree) or "sample_stats" not in draws.children:
        return {}
    stats = draws["sample_stats"].to_dataset()
    kept = {name: stats[name].transpose("chain", "draw", ...).to_numpy() for name in names if name in stats.data_vars}
    return {name: values for name, values in kept.items() if values.shape == shape and np.isfinite(values.astype(float)).all()}


def read_attributes(draws: Any) -> dict[str, Any]:
    """Return what a tree or a dataset says of itself: how it was sampled, by what and how long."""
    inner = draws["posterior"].attrs if isinstance(draws, xr.DataTree) else {}
    return {**inner, **dict(getattr(draws, "attrs", {}))}


def _variables(draws: Any) -> dict[str, np.ndarray]:
    """Return variables by name, as arrays (chain, draw, ...)."""
    if isinstance(draws, xr.DataTree):
        if "posterior" not in draws.children:
            raise InvalidDataError(f"the tree has no group 'posterior': its groups are {', '.join(draws.children) or 'none'}")
        draws = draws["posterior"].to_dataset()
    elif not isinstance(draws, (xr.Dataset, Mapping)) and hasattr(draws, "posterior"):  # ArviZ's InferenceData
        draws = draws.posterior
    if isinstance(draws, xr.Dataset):
        for dim in ("chain", "draw"):
            if dim not in draws.sizes:
                raise InvalidDataError(
                    f"draws need the dims chain and draw, and {dim} is not among {', '.join(map(str, draws.sizes))}"
                )
        kept = {name: v for name, v in draws.data_vars.items() if {"chain", "draw"} <= set(v.dims)}
        return {str(name): v.transpose("chain", "draw", ...).to_numpy() for name, v in kept.items()}
    if isinstance(draws, Mapping):
        return {str(name): np.asarray(values) for name, values in draws.items()}
    raise InvalidDataError(
        f"draws must be an xarray.DataTree, an xarray.Dataset or a mapping of arrays (chain, draw, ...), got {type(draws).__name__}"
    )


def _find(part: str, wanted: str | Sequence[str] | None, variables: dict[str, np.ndarray]) -> np.ndarray | None:
    """Return the values of a part, under the names that are wanted or else those that are known; None if there is no such variable."""
    if wanted is not None and not isinstance(wanted, str):
        return np.stack([_values(name, variables) for name in wanted], axis=2)
    name = wanted if wanted is not None else next((name for name in PARTS[part] if name in variables), None)
    return None if name is None else _values(name, variables)


def _values(name: str, variables: dict[str, np.ndarray]) -> np.ndarray:
    if name not in variables:
        raise InvalidDataError(f"the draws have no variable {name!r}; they have {', '.join(variables)}")
    values = variables[name]
    if values.ndim < 2 or values.dtype.kind not in "fiu":
        raise InvalidDataError(f"variable {name!r} must hold numbers with the axes chain and draw first, got shape {values.shape}")
    bad = ~np.isfinite(values.reshape(*values.shape[:2], -1)).all(-1)
    if bad.any():
        chain, draw = np.argwhere(bad)[0]
        raise InvalidDataError(
            f"variable {name!r} has values that are not finite numbers in {bad.sum():,} of {bad.size:,} draws, first in chain {chain}, "
            f"draw {draw}: leave these draws out"
        )
    return values.astype(float)


def _means(values: np.ndarray, D: int) -> np.ndarray:
    """Return means (chain, draw, K, D); one column may come without an axis of its own, and so may one component."""
    if values.ndim == 4 and values.shape[3] == D:
        return values
    if values.ndim == 3 and D == 1:
        return values[..., None]
    if values.ndim == 3 and values.shape[2] == D:
        return values[:, :, None]
    if values.ndim == 2 and D == 1:
        return values[:, :, None, None]
    turned = (
        ": its last axis must be that of the columns, so turn the last two round"
        if values.ndim == 4 and values.shape[2] == D
        else ""
    )
    raise InvalidDataError(f"means must have shape (chain, draw, K, {D}) beside rows of {D} columns, got {values.shape}{turned}")


def _weights(values: np.ndarray | None, K: int, shape: tuple[int, ...]) -> np.ndarray:
    if values is None and K == 1:
        return np.ones((*shape, 1))
    if values is None:
        raise InvalidDataError("no variable is known for the weights: say names={'weights': ...}")
    if values.shape == shape and K == 2:  # the probability of one of two
        values = np.stack([values, 1.0 - values], axis=-1)
    if values.shape != (*shape, K):
        raise InvalidDataError(f"weights must have shape {(*shape, K)} beside means of {K} components, got {values.shape}")
    total = values.sum(-1, keepdims=True)
    if values.min() < 0 or np.abs(total - 1.0).max() > _CLOSE:
        raise InvalidDataError(
            f"weights must be at least zero and add up to one in every draw; the least is {values.min():.3g} and sums lie between "
            f"{total.min():.4g} and {total.max():.4g}"
        )
    return values / total


def _covariances(
    found: dict[str, np.ndarray], named: Mapping[str, Any], variables: Mapping[str, Any], shape: tuple[int, ...]
) -> FloatArray:
    """Return covariances (chain, draw, K, D, D) from what is named, or else from all that is known, which must agree."""
    found = _factors_of_correlations(found, named)
    there = [part for part in _SPREADS if part in found]
    if not there:
        raise InvalidDataError(
            "no variable is known that says how wide components are: say names={'covariances': ...} (or scale_tril, precisions, or sds "
            f"with correlations); there are {', '.join(variables)}"
        )
    chosen = next((part for part in there if part in named), there[0])
    covariances = _from_part(chosen, found, shape)
    if chosen in named:
        return covariances
    sds = np.sqrt(np.abs(diagonals(covariances)))
    for part in there[1:]:
        if not np.allclose(np.sqrt(np.abs(diagonals(_from_part(part, found, shape)))), sds, rtol=1e-3, atol=0.0):
            raise InvalidDataError(
                f"the variables that are known for {chosen} and for {part} say different widths of components: say which to take, such as "
                f"names={{{chosen!r}: ...}}; there are {', '.join(variables)}"
            )
    return covariances


def _factors_of_correlations(found: dict[str, np.ndarray], named: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Take factors whose rows have unit length for what they are, whatever their name: those of correlations."""
    factors = found.get("scale_tril")
    if factors is None or "scale_tril" in named or factors.ndim < 4:
        return found
    if np.abs(np.square(factors).sum(-1) - 1.0).max() > _CLOSE:
        return found
    if "sds" in found:
        return {part: values for part, values in found.items() if part != "scale_tril"} | {"correlations": factors}
    if factors.shape[-1] == 1:
        return found
    raise InvalidDataError(
        "what is known for scale_tril are factors of correlations (their rows have unit length): "
        "say names={'sds': ..., 'correlations': ...}"
    )


def _from_part(part: str, found: dict[str, np.ndarray], shape: tuple[int, ...]) -> FloatArray:
    """Return the covariances that one part says."""
    values, D = found[part], shape[-1]
    if part == "sds":
        sds, corr = _sds(values, shape), np.eye(D)
        if "correlations" in found:
            corr = _correlations(_matrices("correlations", found["correlations"], shape))
        return sds[..., :, None] * corr * sds[..., None, :]
    if D == 1 and values.ndim == 3:  # one number for each component: a variance, a standard deviation, a precision
        values = values[..., None, None]
    matrices = _matrices(part, values, shape)
    if part == "scale_tril":
        if np.triu(matrices, 1).any():
            raise InvalidDataError("scale_tril must be lower triangular: Cholesky factors of covariances")
        return matrices @ np.swapaxes(matrices, -1, -2)
    if part == "precisions":
        try:
            return np.linalg.inv(matrices)
        except np.linalg.LinAlgError:
            raise InvalidDataError("precisions must be positive definite in every draw") from None
    return matrices


def _sds(values: np.ndarray, shape: tuple[int, ...]) -> FloatArray:
    """Return standard deviations (chain, draw, K, D), which may be shared by components, by columns or by all."""
    given, (K, D) = values.shape, shape[2:]
    if given[2:] == (K,) and K == D > 1:
        raise InvalidDataError(
            f"sds of shape {given} may be of {K} components or of {D} columns: give them as (chain, draw, K, D), "
            "(chain, draw, K, 1) or (chain, draw, 1, D)"
        )
    if values.ndim == 3:
        values = values[..., None] if given[2] == K else values[:, :, None]
    if values.ndim == 2:
        values = np.broadcast_to(values[:, :, None, None], (*given, K, 1))
    if values.shape[2:] not in ((K, D), (K, 1), (1, D)):
        raise InvalidDataError(f"sds must have shape {shape} or one that stands for it, got {given}")
    if values.min() <= 0:
        raise InvalidDataError(f"sds must be above zero, the least is {values.min():.3g}: are they logs?")
    return np.broadcast_to(values, shape)


def _matrices(part: str, values: np.ndarray, shape: tuple[int, ...]) -> FloatArray:
    """Give matrices the shape (chain, draw, K, D, D); one may be shared by all components."""
    full = (*shape, shape[-1])
    if values.shape == full:
        return values
    if values.shape == (*shape[:2], *full[3:]):
        return np.broadcast_to(values[:, :, None], full)
    raise InvalidDataError(
        f"{part} must have shape {full}, or {(*shape[:2], *full[3:])} where components share them, got {values.shape}"
    )


def _correlations(values: FloatArray) -> FloatArray:
    """Return correlation matrices, given them or their Cholesky factors."""
    if np.tril(values, -1).any() and not np.triu(values, 1).any():
        values = values @ np.swapaxes(values, -1, -2)
    if np.abs(diagonals(values) - 1.0).max() > _CLOSE:
        raise InvalidDataError("correlations must have ones on their diagonal: are they covariances?")
    return values


def _mixture(weights: FloatArray, means: FloatArray, covariances: FloatArray) -> MixtureParams:
    symmetric = 0.5 * (covariances + np.swapaxes(covariances, -1, -2))
    variances = diagonals(covariances)
    scale = np.sqrt(np.abs(variances[..., :, None] * variances[..., None, :]))
    if (np.abs(covariances - symmetric) > _CLOSE * scale).any():
        raise InvalidDataError("covariances must be symmetric matrices")
    try:
        return MixtureParams.from_covariances(weights, means, symmetric)
    except InvalidParameterError as error:
        raise InvalidDataError(f"these draws are not those of a mixture: {error}") from None


guard(globals())
