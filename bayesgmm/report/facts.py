"""What was fitted to what, and with which versions: plain dicts for the page and for ``summary.json``."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm import __version__
from bayesgmm.comparison.value import jsonable

if TYPE_CHECKING:
    from bayesgmm.comparison import Comparison
    from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
    from bayesgmm.report.known import Known

__all__ = ["GENERATOR", "Origin", "facts_of"]

GENERATOR = f"bayesgmm {__version__}"
_PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "pymc", "pytensor", "nutpie", "arviz", "xarray")


@dataclass(frozen=True)
class Origin:
    """What the data are called and where they came from.

    Attributes
    ----------
    name : str
    source : str or None
        Such as a file's name.
    command : str or None
        The shell command that made the report.
    left_out : int
        Rows of the source that were not used.
    """

    name: str
    source: str | None = None
    command: str | None = None
    left_out: int = 0


def facts_of(
    em: GaussianMixture, posterior: BayesianGaussianMixture, comparison: Comparison, origin: Origin, known: Known | None
) -> dict[str, Any]:
    """Return what a reader needs to know about data, model, fits and versions.

    Parameters
    ----------
    em, posterior : fitted estimators
    comparison : Comparison
    origin : Origin
        What the data are called, and where they came from.
    known : Known or None
        Labels that were known.
    """
    return {
        "generator": GENERATOR,
        "name": origin.name,
        "source": origin.source,
        "command": origin.command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": _data(comparison, origin),
        "known_labels": None if known is None else known.summary(),
        "model": _model(em),
        "em": _em(em),
        "posterior": _posterior(posterior, comparison),
        "versions": {"python": platform.python_version(), "bayesgmm": __version__, **_versions()},
    }


def _data(comparison: Comparison, origin: Origin) -> dict[str, Any]:
    X = comparison.X
    missing = np.isnan(X)
    columns = {
        name: {key: jsonable(getattr(np, f"nan{key}")(X[:, d])) for key in ("min", "mean", "max", "std")}
        | {"missing": int(missing[:, d].sum())}
        for d, name in enumerate(comparison.features)
    }
    return {
        "n_observations": len(X),
        "n_features": X.shape[1],
        "features": list(comparison.features),
        "n_missing": int(missing.sum()),
        "n_rows_with_gaps": int(missing.any(axis=1).sum()),
        "n_left_out": origin.left_out,
        "columns": columns,
    }


def _model(em: GaussianMixture) -> dict[str, Any]:
    return {"n_components": int(em.n_components), "covariance_type": str(em.covariance_type)}


def _em(em: GaussianMixture) -> dict[str, Any]:
    return {
        "log_likelihood": jsonable(em.log_likelihood_),
        "converged": bool(em.converged_),
        "status": str(em.status_),
        "n_iter": int(em.n_iter_),
        "n_starts": int(em.n_starts_),
        "n_moves": int(em.n_moves_),
        "n_starts_at_best": int(em.n_starts_at_best_),
        "random_state": _seed(em),
    }


def _posterior(posterior: BayesianGaussianMixture, comparison: Comparison) -> dict[str, Any]:
    attrs = comparison.datatree.attrs
    chains, draws = comparison.posterior_params.batch_shape
    return {
        "sampler": str(attrs.get("sampler", "unknown")),
        "inference": str(attrs.get("inference", "nuts")),
        "prior": str(attrs.get("prior", "unknown")),
        "chains": int(chains),
        "draws": int(draws),
        "tune": jsonable(attrs.get("tuning_steps")),
        "sampling_time": jsonable(attrs.get("sampling_time")),
        "relabelled": str(attrs.get("relabelled", "unknown")),
        "priors": None if posterior.priors is None else repr(posterior.priors),
        "random_state": _seed(posterior),
    }


def _seed(estimator: Any) -> int | None:
    """The seed if it is a number; generators can't be written down."""
    seed = getattr(estimator, "random_state", None)
    return int(seed) if isinstance(seed, int | np.integer) else None


def _versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on, as far as they are installed."""
    found = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
