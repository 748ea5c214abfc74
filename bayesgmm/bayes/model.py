"""The Bayesian mixture as a PyMC model: what the posterior is, in PyMC's own words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import CholeskyCorrTransform
from pytensor.tensor.variable import TensorVariable
from sklearn.base import BaseEstimator

from bayesgmm.bayes.op import mixture_log_density
from bayesgmm.bayes.space import FAMILIES
from bayesgmm.covariance import Family, family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.priors import (
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    LogNormal,
    Priors,
    ResolvedPriors,
    ScalePrior,
    Truncated,
)
from bayesgmm.tables import column_names
from bayesgmm.typing import ArrayLike, CovarianceType, FloatArray
from bayesgmm.underflow import guard
from bayesgmm.validation import check_data, check_fittable

__all__ = ["build_model", "build_resolved"]

_SCALE_PRIORS: dict[type[ScalePrior], Callable[..., TensorVariable]] = {
    HalfNormal: lambda p, name, **kw: pm.HalfNormal(name, sigma=p.scale, **kw),
    HalfCauchy: lambda p, name, **kw: pm.HalfCauchy(name, beta=p.scale, **kw),
    HalfStudentT: lambda p, name, **kw: pm.HalfStudentT(name, nu=p.nu, sigma=p.scale, **kw),
    LogNormal: lambda p, name, **kw: pm.LogNormal(name, mu=p.mu, sigma=p.sigma, **kw),
    Exponential: lambda p, name, **kw: pm.Exponential(name, lam=1 / p.scale, **kw),
    Gamma: lambda p, name, **kw: pm.Gamma(name, alpha=p.alpha, beta=p.beta, **kw),
}

_WHOLE: dict[type[ScalePrior], Callable[..., TensorVariable]] = {
    HalfNormal: lambda p: pm.HalfNormal.dist(sigma=p.scale),
    HalfCauchy: lambda p: pm.HalfCauchy.dist(beta=p.scale),
    # Above a bound that is not negative, a Student t is a half-Student-t, whose distribution function PyMC does not know.
    HalfStudentT: lambda p: pm.StudentT.dist(nu=p.nu, mu=0.0, sigma=p.scale),
    LogNormal: lambda p: pm.LogNormal.dist(mu=p.mu, sigma=p.sigma),
    Exponential: lambda p: pm.Exponential.dist(lam=1 / p.scale),
    Gamma: lambda p: pm.Gamma.dist(alpha=p.alpha, beta=p.beta),
}


class _CholeskyCorr(CholeskyCorrTransform):
    """PyMC's transform under a name of one word.

    PyMC 6.4 finds a variable's name by cutting one word off its transformed name, and its own ``cholesky_corr`` has
    two, so that ``pm.compute_log_likelihood`` fails on a model with an `LKJCorr`.
    """

    name = "choleskycorr"


def build_model(
    X: ArrayLike, n_components: int, covariance_type: CovarianceType = "full", priors: Priors | None = None
) -> pm.Model:
    """Return the PyMC model of a Gaussian mixture, its labels summed out exactly.

    Dirichlet weights, Normal means, standard deviations times Cholesky factors of LKJ correlations. The likelihood and
    its gradient cost one pass over the data (:class:`bayesgmm.bayes.op.MixtureLogLikelihood`). Everything PyMC does
    with a model works: ``pm.sample`` with any of its samplers, prior and posterior predictive draws,
    ``pm.compute_log_likelihood``.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
        Data; the columns of a DataFrame name the ``feature`` coordinate, otherwise ``x0, x1, ...``.
    n_components : int
        Number of components K.
    covariance_type : {"full", "tied", "diag", "spherical"}
        The covariance family, as in scikit-learn.
    priors : Priors, optional
        In the units of X; by default `Priors`, scaled by the data.

    Returns
    -------
    pymc.Model
        Free variables ``weights (component)``, ``means (component, feature)``, ``sds`` (``component, feature``;
        ``feature`` for tied, ``component`` for spherical) and, where there are correlations to estimate,
        ``corr_cholesky`` (K, D, D), or (D, D) for tied: the Cholesky factors of correlation matrices. Deterministic
        ``covariances (component, feature, feature_bis)``, and ``corr`` of the same dims where there are correlations.
        Observed ``x (obs, feature)``. The data are ``pm.Data`` named ``X``, so ``pm.set_data`` gives a compiled model
        other rows; priors stay those of the first. With one component ``weights`` is a constant 1.

    Raises
    ------
    InvalidDataError
        If X cannot be fitted: missing values, columns that are not numbers or constant, too few distinct rows.
    InvalidParameterError
        If n_components is not a whole number of at least 1, covariance_type is unknown or a prior's shape does not fit.

    Notes
    -----
    ``pm.sample`` compiles the model for a minute or so the first time on a machine;
    :class:`bayesgmm.BayesianGaussianMixture` samples the same posterior without compiling anything.
    ``pm.sample_prior_predictive`` compiles for longer, because of PyMC's generator of LKJ matrices: with
    ``compile_kwargs={"mode": "FAST_COMPILE"}`` it draws at once.

    Examples
    --------
    >>> model = build_model([[1.0], [2.0], [8.0], [9.0]], n_components=2)
    >>> [variable.name for variable in model.free_RVs]
    ['weights', 'means', 'sds']
    """
    _check_n_components(n_components)
    kind = family(covariance_type)
    if kind.name not in FAMILIES:
        raise InvalidParameterError(
            f"covariance_type must be one of {', '.join(map(repr, FAMILIES))} for a posterior, got {covariance_type!r}: "
            "mclust's other families can be fitted by EM"
        )
    values = check_data(BaseEstimator(), X, reset=True)
    names = column_names(X, values.shape[1])
    check_fittable(values, names, n_components)
    resolved = (Priors() if priors is None else priors).resolve(values, n_components, kind)
    return build_resolved(values, int(n_components), kind, resolved, names)


def _check_n_components(n_components: object) -> None:
    if not isinstance(n_components, (int, np.integer)) or n_components < 1:
        raise InvalidParameterError(f"n_components must be a whole number of at least 1, got {n_components!r}")


def build_resolved(X: FloatArray, n_components: int, kind: Family, priors: ResolvedPriors, names: Sequence[str]) -> pm.Model:
    """Return the model of checked data (N, D), in whatever coordinates the data and the priors share."""
    D = X.shape[1]
    coords = {"component": range(n_components), "feature": list(names), "feature_bis": list(names)}
    with pm.Model(coords=coords) as model:
        data = pm.Data("X", X, dims=("obs", "feature"))
        weights = _weights(priors.concentration)
        # Shapes beside dims: what PyTensor knows beforehand it need not compute.
        loc, scale = priors.means_loc, priors.means_scale
        means = pm.Normal("means", mu=loc, sigma=scale, shape=loc.shape, dims=("component", "feature"))
        sds_shape = kind.sds_shape(n_components, D)
        sds = _standard_deviations(priors.sds, shape=sds_shape, dims=kind.sds_dims)
        diagonal = not kind.has_correlations(D)
        factors = pt.eye(D) if diagonal else _correlation_factors(n_components, D, kind, priors.eta)
        scale_tril = _scale_tril(sds, factors, kind, (n_components, D))
        dims = ("component", "feature", "feature_bis")
        pm.Deterministic("covariances", scale_tril @ scale_tril.mT, dims=dims)
        if not diagonal:
            corr = factors @ factors.mT
            pm.Deterministic("corr", pt.broadcast_to(corr, (n_components, D, D)), dims=dims)
        _observe(data, weights, means, scale_tril, diagonal)
    return model


def _standard_deviations(prior: ScalePrior, **kwargs: Any) -> TensorVariable:
    if isinstance(prior, Truncated):
        return pm.Truncated("sds", _WHOLE[type(prior.prior)](prior.prior), lower=prior.lower, **kwargs)
    return _SCALE_PRIORS[type(prior)](prior, "sds", **kwargs)


def _weights(concentration: FloatArray) -> TensorVariable:
    """Return the weights; a single component's is one, for which no distribution is needed."""
    if len(concentration) == 1:
        return pm.Deterministic("weights", pt.ones(1), dims="component")
    return pm.Dirichlet("weights", a=concentration, shape=concentration.shape, dims="component")


def _correlation_factors(K: int, D: int, kind: Family, eta: float) -> TensorVariable:
    """Return Cholesky factors of correlation matrices: (K, D, D), or (D, D) where all components share one."""
    shape = (K, D, D) if "component" in kind.sds_dims else (D, D)
    # LKJCorr fails with dims: its shape says the same.
    return pm.LKJCorr("corr_cholesky", n=D, eta=eta, shape=shape, default_transform=_CholeskyCorr(D))


def _scale_tril(sds: TensorVariable, factors: TensorVariable, kind: Family, shape: tuple[int, int]) -> TensorVariable:
    """Return the Cholesky factors (K, D, D) of the covariances."""
    spread = sds[:, None] if kind.sds_dims == ("component",) else sds
    return pt.broadcast_to(spread, shape)[..., None] * factors


def _observe(
    data: TensorVariable, weights: TensorVariable, means: TensorVariable, scale_tril: TensorVariable, diagonal: bool
) -> TensorVariable:
    """Add the observed variable, with its density by the Op and its draws by PyMC."""

    def logp(value: TensorVariable, weights: Any, means: Any, scale_tril: Any) -> TensorVariable:
        return mixture_log_density(pt.log(weights), means, scale_tril, value, diagonal=diagonal)

    return pm.CustomDist(
        "x",
        weights,
        means,
        scale_tril,
        logp=logp,
        dist=_draw,
        signature="(k),(k,d),(k,d,d)->(d)",
        observed=data,
        dims=("obs", "feature"),
    )


def _draw(weights: TensorVariable, means: TensorVariable, scale_tril: TensorVariable, size: Any) -> TensorVariable:
    """Return random rows of the mixture: first the component, then a Normal."""
    labels = pm.Categorical.dist(p=weights, size=size)
    normal = pm.Normal.dist(size=(*labels.shape, means.shape[-1]))
    return means[labels] + (scale_tril[labels] @ normal[..., None])[..., 0]


guard(globals())
