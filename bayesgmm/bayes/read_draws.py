"""Mixtures read from the draws of anybody's sampler: PyMC, Stan, NumPyro, or arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

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
    source = _Source.of(draws)
    given = dict(names or {})
    for part in given:
        if part not in PARTS:
            raise InvalidParameterError(f"names: a mixture has no part {part!r}; its parts are {', '.join(PARTS)}")
    found = {part: source.find(part, given) for part in PARTS}
    means = found["means"]
    if means is None:
        raise InvalidDataError(
            f"no variable is known for the means: say names={{'means': ...}}; there are {', '.join(source.variables)}"
        )
    K, means = _means(means, n_features)
    weights = _weights(found["weights"], K, means.shape[:2])
    return _mixture(weights, means, _covariances(found, given, source, (*means.shape[:2], K, n_features)))


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


@dataclass(frozen=True)
class _Source:
    """Variables by name, as arrays (chain, draw, ...)."""

    variables: dict[str, np.ndarray]

    @classmethod
    def of(cls, draws: Any) -> _Source:
        if isinstance(draws, xr.DataTree) or (not isinstance(draws, (xr.Dataset, Mapping)) and hasattr(draws, "posterior")):
            children = getattr(draws, "children", None)
            if children is not None and "posterior" not in children:
                raise InvalidDataError(f"the tree has no group 'posterior': its groups are {', '.join(children) or 'none'}")
            draws = draws["posterior"].to_dataset() if isinstance(draws, xr.DataTree) else draws.posterior
        if isinstance(draws, xr.Dataset):
            for dim in ("chain", "draw"):
                if dim not in draws.sizes:
                    raise InvalidDataError(
                        f"draws need the dims chain and draw, and {dim} is not among {', '.join(map(str, draws.sizes))}"
                    )
            kept = {name: v for name, v in draws.data_vars.items() if {"chain", "draw"} <= set(v.dims)}
            return cls({str(name): v.transpose("chain", "draw", ...).to_numpy() for name, v in kept.items()})
        if isinstance(draws, Mapping):
            return cls({str(name): np.asarray(values) for name, values in draws.items()})
        raise InvalidDataError(
            f"draws must be an xarray.DataTree, an xarray.Dataset or a mapping of arrays (chain, draw, ...), got {type(draws).__name__}"
        )

    def find(self, part: str, names: dict[str, str | Sequence[str]]) -> np.ndarray | None:
        """Return the values of a part, or None if there is no such variable."""
        wanted = names.get(part)
        if wanted is not None:
            each = [self._values(name) for name in ([wanted] if isinstance(wanted, str) else wanted)]
            return each[0] if isinstance(wanted, str) else np.stack(each, axis=2)
        known = [name for name in PARTS[part] if name in self.variables]
        return self._values(known[0]) if known else None

    def _values(self, name: str) -> np.ndarray:
        if name not in self.variables:
            raise InvalidDataError(f"the draws have no variable {name!r}; they have {', '.join(self.variables)}")
        values = self.variables[name]
        if values.ndim < 2 or values.dtype.kind not in "fiu":
            raise InvalidDataError(
                f"variable {name!r} must hold numbers with the axes chain and draw first, got shape {values.shape}"
            )
        bad = ~np.isfinite(values.reshape(*values.shape[:2], -1)).all(-1)
        if bad.any():
            chain, draw = np.argwhere(bad)[0]
            raise InvalidDataError(
                f"variable {name!r} has values that are not finite numbers in {bad.sum():,} of {bad.size:,} draws, first in chain {chain}, "
                f"draw {draw}: leave these draws out"
            )
        return values.astype(float)


def _means(values: np.ndarray, D: int) -> tuple[int, np.ndarray]:
    """Return K and means (chain, draw, K, D); one column may come without an axis of its own, and so may one component."""
    if values.ndim == 4 and values.shape[3] == D:
        return values.shape[2], values
    if values.ndim == 3 and D == 1:
        return values.shape[2], values[..., None]
    if values.ndim == 3 and values.shape[2] == D:
        return 1, values[:, :, None]
    if values.ndim == 2 and D == 1:
        return 1, values[:, :, None, None]
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
    found: dict[str, np.ndarray | None], named: Mapping[str, Any], source: _Source, shape: tuple[int, ...]
) -> FloatArray:
    """Return covariances (chain, draw, K, D, D) from what is named, or else from all that is known, which must agree."""
    found = _factors_of_correlations(found, named)
    there = [part for part in _SPREADS if found[part] is not None]
    if not there:
        raise InvalidDataError(
            "no variable is known that says how wide components are: say names={'covariances': ...} (or scale_tril, precisions, or sds "
            f"with correlations); there are {', '.join(source.variables)}"
        )
    chosen = next((part for part in there if part in named), there[0])
    covariances = _from_part(chosen, found, shape)
    if chosen in named:
        return covariances
    sds = np.sqrt(np.einsum("...ii->...i", np.abs(covariances)))
    for part in there[1:]:
        other = np.sqrt(np.einsum("...ii->...i", np.abs(_from_part(part, found, shape))))
        if not np.allclose(other, sds, rtol=1e-3, atol=0.0):
            raise InvalidDataError(
                f"the variables that are known for {chosen} and for {part} say different widths of components: say which to take, such as "
                f"names={{{chosen!r}: ...}}; there are {', '.join(source.variables)}"
            )
    return covariances


def _factors_of_correlations(found: dict[str, np.ndarray | None], named: Mapping[str, Any]) -> dict[str, np.ndarray | None]:
    """Take factors whose rows have unit length for what they are, whatever their name: those of correlations."""
    factors = found["scale_tril"]
    if factors is None or "scale_tril" in named or factors.ndim < 4:
        return found
    if np.abs(np.square(factors).sum(-1) - 1.0).max() > _CLOSE:
        return found
    if found["sds"] is None and factors.shape[-1] == 1:
        return found
    if found["sds"] is None:
        raise InvalidDataError(
            "what is known for scale_tril are factors of correlations (their rows have unit length): "
            "say names={'sds': ..., 'correlations': ...}"
        )
    return {**found, "scale_tril": None, "correlations": factors}


def _from_part(part: str, found: dict[str, np.ndarray | None], shape: tuple[int, ...]) -> FloatArray:
    """Return the covariances that one part says."""
    values, D = found[part], shape[-1]
    assert values is not None
    if part == "sds":
        sds = _sds(values, shape)
        corr = (
            np.eye(D) if found["correlations"] is None else _correlations(_matrices("correlations", found["correlations"], shape))
        )
        return sds[..., :, None] * corr * sds[..., None, :]
    if D == 1 and values.ndim == 3:  # one number for each component: a variance, a standard deviation, a precision
        values = values[..., None, None]
    matrices = _matrices(part, values, shape)
    if part == "scale_tril":
        if np.abs(np.triu(matrices, 1)).max(initial=0.0) > 0:
            raise InvalidDataError("scale_tril must be lower triangular: Cholesky factors of covariances")
        return matrices @ np.swapaxes(matrices, -1, -2)
    return _inverse(matrices) if part == "precisions" else matrices


def _sds(values: np.ndarray, shape: tuple[int, ...]) -> FloatArray:
    """Return standard deviations (chain, draw, K, D), which may be shared by components, by columns or by all."""
    batch, (K, D) = shape[:2], shape[2:]
    trailing = values.shape[2:]
    if trailing == (K, D):
        out = values
    elif trailing == (K,) and (K != D or D == 1):
        out = values[..., None]
    elif trailing == (D,) and K != D:
        out = values[:, :, None]
    elif trailing == (K, 1):
        out = values
    elif trailing == ():
        out = values[:, :, None, None]
    elif trailing == (K,):
        raise InvalidDataError(
            f"sds of shape {values.shape} may be of {K} components or of {D} columns: give them as (chain, draw, K, D), "
            "(chain, draw, K, 1) or (chain, draw, 1, D)"
        )
    elif trailing == (1, D):
        out = values
    else:
        raise InvalidDataError(f"sds must have shape {shape} or one that stands for it, got {values.shape}")
    if out.min() <= 0:
        raise InvalidDataError(f"sds must be above zero, the least is {out.min():.3g}: are they logs?")
    return np.broadcast_to(out, (*batch, K, D))


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
    if np.abs(np.triu(values, 1)).max(initial=0.0) == 0 and np.abs(np.tril(values, -1)).max(initial=0.0) > 0:
        values = values @ np.swapaxes(values, -1, -2)
    diagonal = np.diagonal(values, axis1=-2, axis2=-1)
    if np.abs(diagonal - 1.0).max() > _CLOSE:
        raise InvalidDataError("correlations must have ones on their diagonal: are they covariances?")
    return values


def _inverse(matrices: FloatArray) -> FloatArray:
    try:
        return np.linalg.inv(matrices)
    except np.linalg.LinAlgError:
        raise InvalidDataError("precisions must be positive definite in every draw") from None


def _mixture(weights: FloatArray, means: FloatArray, covariances: FloatArray) -> MixtureParams:
    symmetric = 0.5 * (covariances + np.swapaxes(covariances, -1, -2))
    scale = np.sqrt(np.abs(np.einsum("...ii,...jj->...ij", covariances, covariances)))
    if (np.abs(covariances - symmetric) > _CLOSE * scale).any():
        raise InvalidDataError("covariances must be symmetric matrices")
    try:
        return MixtureParams.from_covariances(weights, means, symmetric)
    except InvalidParameterError as error:
        raise InvalidDataError(f"these draws are not those of a mixture: {error}") from None


guard(globals())
