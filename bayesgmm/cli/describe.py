"""What ``bayesgmm fit`` writes and prints: the same keys hold the same things for both methods."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bayesgmm import __version__
from bayesgmm.cli.options import Data, Model
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.files import readable

__all__ = ["describe_em", "describe_job", "describe_posterior", "found"]


def describe_job(data: Data, model: Model, n_rows: int, feature_names: Sequence[str]) -> dict[str, Any]:
    """Describe what was asked for, JSON-ready."""
    return {
        "bayesgmm_version": __version__,
        "data": readable(data.source),
        "n_rows": n_rows,
        "feature_names": list(feature_names),
        "n_components": model.components,
        "covariance_type": model.covariance_type,
        "random_state": model.random_state,
    }


def describe_em(em: GaussianMixture) -> dict[str, Any]:
    """Describe EM's mixture: ``weights (K,)``, ``means (K, D)``, ``covariances (K, D, D)``, in the data's units."""
    params = em.params_
    return {
        "method": "em",
        "weights": params.weights.tolist(),
        "means": params.means.tolist(),
        "covariances": params.covariances.tolist(),
        "log_likelihood": float(em.log_likelihood_),
        "converged": bool(em.converged_),
        "status": str(em.status_),
        "message": str(em.message_),
        "n_iter": int(em.n_iter_),
    }


def describe_posterior(em: GaussianMixture, posterior: BayesianGaussianMixture, X: pd.DataFrame) -> dict[str, Any]:
    """Describe the posterior: means over draws at EM's keys, standard deviations of the same shapes under ``sd``."""
    from bayesgmm.comparison import compare

    params = posterior.params_
    n_chains, n_draws = params.batch_shape
    draws = {
        "weights": params.weights,
        "means": params.means,
        "covariances": params.covariances,
        "log_likelihood": posterior.datatree_.children["label_free"].to_dataset()["log_likelihood"].to_numpy(),
    }
    verdicts = compare(em, posterior, X).verdicts
    return {
        "method": "posterior",
        **{name: values.mean((0, 1)).tolist() for name, values in draws.items()},
        "sd": {name: values.std((0, 1)).tolist() for name, values in draws.items()},
        "chains": n_chains,
        "draws": n_draws,
        "verdicts": [{"name": v.name, "passed": bool(v.passed), "sentence": v.sentence} for v in verdicts],
    }


def found(fitted: dict[str, Any]) -> Iterator[str]:
    """Say what a written model is, in a few lines."""
    yield f"Log-likelihood {fitted['log_likelihood']:.3f}"
    for component, (weight, means) in enumerate(zip(fitted["weights"], fitted["means"], strict=True)):
        place = ", ".join(f"{name} {mean:.4g}" for name, mean in zip(fitted["feature_names"], means, strict=True))
        yield f"Component {component}: weight {weight:.3f}, mean {place}"
    if fitted.get("status", "converged") != "converged":
        yield f"EM found no proper maximum: {fitted['message']}." if fitted["converged"] else f"{fitted['message']}."
    for verdict in fitted.get("verdicts", ()):
        yield verdict["sentence"]
