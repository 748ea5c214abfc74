"""What was fitted to what, and with which versions: plain dicts for the page and for ``summary.json``."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm import __version__
from bayesgmm.comparison.value import jsonable

if TYPE_CHECKING:
    from bayesgmm.comparison import Comparison
    from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture

__all__ = ["GENERATOR", "facts_of"]

GENERATOR = f"bayesgmm {__version__}"
_PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "pymc", "pytensor", "nutpie", "arviz", "xarray")


def facts_of(
    em: GaussianMixture, posterior: BayesianGaussianMixture, comparison: Comparison, name: str, source: str | None
) -> dict[str, Any]:
    """Return what a reader needs to know about data, model, fits and versions.

    Parameters
    ----------
    em, posterior : fitted estimators
    comparison : Comparison
    name : str
        What to call the data.
    source : str or None
        Where they came from.
    """
    return {
        "generator": GENERATOR,
        "name": name,
        "source": source,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": _data(comparison),
        "model": _model(em),
        "em": _em(em),
        "posterior": _posterior(posterior, comparison),
        "versions": {"python": platform.python_version(), "bayesgmm": __version__, **_versions()},
    }


def _data(comparison: Comparison) -> dict[str, Any]:
    X = comparison.X
    columns = {
        name: {key: jsonable(getattr(np, key)(X[:, d])) for key in ("min", "mean", "max", "std")}
        for d, name in enumerate(comparison.features)
    }
    return {
        "n_observations": len(X),
        "n_features": X.shape[1],
        "features": list(comparison.features),
        "columns": columns,
    }


def _model(em: GaussianMixture) -> dict[str, Any]:
    return {"n_components": int(em.n_components), "covariance_type": str(em.covariance_type)}


def _em(em: GaussianMixture) -> dict[str, Any]:
    return {
        "log_likelihood": jsonable(em.log_likelihood_),
        "converged": bool(em.converged_),
        "n_iter": int(em.n_iter_),
        "random_state": _seed(em),
    }


def _posterior(posterior: BayesianGaussianMixture, comparison: Comparison) -> dict[str, Any]:
    attrs = comparison.datatree.attrs
    chains, draws = comparison.posterior_params.batch_shape
    priors = getattr(posterior, "priors", None)
    return {
        "sampler": str(attrs.get("sampler", "unknown")),
        "chains": int(chains),
        "draws": int(draws),
        "tune": jsonable(attrs.get("tuning_steps")),
        "sampling_time": jsonable(attrs.get("sampling_time")),
        "relabelled": str(attrs.get("relabelled", "unknown")),
        "priors": None if priors is None else repr(priors),
        "random_state": _seed(posterior),
    }


def _seed(estimator: Any) -> int | None:
    """The seed if it is a number; generators can't be written down."""
    seed = getattr(estimator, "random_state", None)
    return int(seed) if isinstance(seed, int | np.integer) else None


def _versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on, as far as they are installed."""
    installed = {distribution.name.lower() for distribution in metadata.distributions() if distribution.name}
    return {name: metadata.version(name) for name in _PACKAGES if name in installed}
