"""The Bayesian mixture as a PyMC model: what the posterior is, in PyMC's own words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import CholeskyCorrTransform
from pymc.logprob.transforms import LogTransform
from pytensor.tensor.variable import TensorVariable
from scipy.special import gammaln
from sklearn.base import BaseEstimator

from bayesgmm.bayes.op import mixture_log_density
from bayesgmm.bayes.unconstrained_space import COEFFICIENTS, CONCENTRATION
from bayesgmm.covariance import WITH_PRIORS, Family, family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.known import N_LINKS
from bayesgmm.priors import (
    LKJ,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Priors,
    ResolvedPriors,
    ScalePrior,
)
from bayesgmm.rows import Known, concomitant_of, rows_to_fit, rows_with
from bayesgmm.rows.concomitant import Concomitant, Covariates, Samples
from bayesgmm.typing import ArrayLike, CovarianceType, FloatArray
from bayesgmm.underflow import guard
from bayesgmm.validation import check_count

__all__ = ["build_model", "build_resolved", "variable_names"]

_SCALE_PRIORS: dict[type[ScalePrior], Callable[..., TensorVariable]] = {
    HalfNormal: lambda p, name, **kw: pm.HalfNormal(name, sigma=p.scale, **kw),
    HalfCauchy: lambda p, name, **kw: pm.HalfCauchy(name, beta=p.scale, **kw),
    HalfStudentT: lambda p, name, **kw: pm.HalfStudentT(name, nu=p.nu, sigma=p.scale, **kw),
    LogNormal: lambda p, name, **kw: pm.LogNormal(name, mu=p.mu, sigma=p.sigma, **kw),
    Exponential: lambda p, name, **kw: pm.Exponential(name, lam=1 / p.scale, **kw),
    Gamma: lambda p, name, **kw: pm.Gamma(name, alpha=p.alpha, beta=p.beta, **kw),
}


def _root_inverse_gamma(prior: ScalePrior, name: str, shape: tuple[int, ...], dims: tuple[str, ...]) -> TensorVariable:
    """Return standard deviations whose squares are inverse gamma."""

    def logp(value: TensorVariable, alpha: Any, beta: Any) -> TensorVariable:
        return np.log(2.0) + pm.logp(pm.InverseGamma.dist(alpha, beta), value**2) + pt.log(value)

    def dist(alpha: Any, beta: Any, size: Any) -> TensorVariable:
        return pt.sqrt(pm.InverseGamma.dist(alpha, beta, size=size))

    args = (np.broadcast_to(value, shape) for value in prior.parameters())
    return pm.CustomDist(name, *args, logp=logp, dist=dist, shape=shape, dims=dims, default_transform=LogTransform())


_SCALE_PRIORS[InverseGamma] = _root_inverse_gamma


class _CholeskyCorr(CholeskyCorrTransform):
    """PyMC's transform under a name of one word.

    PyMC 6.4 finds a variable's name by cutting one word off its transformed name, and its own ``cholesky_corr`` has
    two, so that ``pm.compute_log_likelihood`` fails on a model with an `LKJCorr`.
    """

    name = "choleskycorr"


class _JointCholeskyCorr(_CholeskyCorr):
    """The same of several factors that have one density together, so that the Jacobian is one number, too."""

    def log_jac_det(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        return super().log_jac_det(value, *inputs).sum()


class _JointLog(LogTransform):
    """The logarithm of many numbers that have one density together, so that the Jacobian is one number, too."""

    def log_jac_det(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        return value.sum()


def build_model(
    X: ArrayLike,
    n_components: int,
    covariance_type: CovarianceType = "full",
    priors: Priors | None = None,
    *,
    known: Any = None,
    components_per_class: Any = None,
    together: ArrayLike | None = None,
    errors: ArrayLike | None = None,
    samples: ArrayLike | None = None,
    covariates: ArrayLike | None = None,
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
    known, components_per_class, together, errors, samples, covariates : optional
        What is known of the rows beside their values, as in :meth:`bayesgmm.BayesianGaussianMixture.fit`.

    Returns
    -------
    pymc.Model
        Free variables ``weights (component)``; ``means_in_frame (component, axis)``, ``sds_in_frame`` (``component, axis``; ``axis`` for
        tied) and ``corr_cholesky_in_frame`` (K, D, D), or (D, D) for tied: means, standard deviations and Cholesky factors of the
        correlation matrices along the axes of the priors' frame, before rounding (:class:`bayesgmm.Priors`). Deterministic ``means
        (component, feature)``, ``sds (component, feature)``, ``covariances (component, feature, feature_bis)`` and, where there are
        correlations, ``corr`` of the same dims: those of the columns. Where there is neither a frame nor visible rounding, ``means``,
        ``sds`` (``component, feature``; ``feature`` for tied, ``component`` for spherical) and ``corr_cholesky`` are the free variables
        themselves.
        Observed ``x (obs, feature)``. The data are ``pm.Data`` named ``X``, so ``pm.set_data`` gives a compiled model
        other rows; priors stay those of the first. What else is known of the rows is
        ``pm.Data`` named ``known``. With samples there are ``sample_weights (sample, component)`` and their ``concentration``; with
        covariates ``coefficients (covariate, component)``, deterministic, of covariates with a standard deviation of one: its free part is
        ``free_coefficients``, and ``weights`` are those where covariates are at their means. With one component ``weights`` is a
        constant 1.

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
    ['weights', 'means_in_frame', 'sds_in_frame']
    >>> [variable.name for variable in model.deterministics]
    ['means', 'sds', 'covariances']
    """
    check_count("n_components", n_components)
    kind = family(covariance_type)
    if kind.name not in WITH_PRIORS:
        raise InvalidParameterError(
            f"covariance_type must be one of {', '.join(map(repr, WITH_PRIORS))} for a posterior, got {covariance_type!r}: "
            "mclust's other families can be fitted by EM"
        )
    rows = rows_to_fit(BaseEstimator(), X, None, int(n_components), allow_missing=False, in_memory=True)
    rows, _ = rows_with(
        rows, int(n_components), known=known, components_per_class=components_per_class, together=together, errors=errors
    )
    concomitant = concomitant_of(samples, covariates, rows)
    if concomitant is not None:
        rows = rows.in_memory().with_shares(concomitant.share_of, concomitant.n_shares)
    resolved = (Priors() if priors is None else priors).resolve(rows, int(n_components), kind)
    return build_resolved(rows.values, kind, resolved, rows.feature_names, rows.known, concomitant)


def build_resolved(
    X: FloatArray,
    kind: Family,
    priors: ResolvedPriors,
    names: Sequence[str],
    known: Known | None = None,
    concomitant: Concomitant | None = None,
) -> pm.Model:
    """Return the model of checked data (N, D), in whatever coordinates the data and the priors share."""
    K, D = priors.means_loc.shape
    coords = {"component": range(K), "feature": list(names), "feature_bis": list(names)}
    along = "feature" if priors.frame.is_identity else "axis"
    with pm.Model(coords=coords if along == "feature" else {**coords, "axis": range(D)}) as model:
        data = pm.Data("X", X, dims=("obs", "feature"))
        beside = None if known is None else pm.Data("known", known.table(X, None, K)[:, D:])
        weights = _weights(priors.concentration)
        logs = pt.log(weights) if concomitant is None else _log_shares(weights, concomitant, K)
        # Shapes beside dims: what PyTensor knows beforehand it need not compute.
        loc, scale = priors.means_loc, priors.means_scale
        name = variable_names(priors)
        means = pm.Normal(name["means"], mu=loc, sigma=scale, shape=loc.shape, dims=("component", along))
        sds_dims = tuple(along if dim == "feature" else dim for dim in kind.sds_dims)
        sds = _standard_deviations(priors.sds, name["sds"], kind.sds_shape(K, D), sds_dims)
        diagonal = not kind.has_correlations(D)
        factors = pt.eye(D) if diagonal else _correlation_factors(name["corr_cholesky"], K, D, kind, priors.correlations)
        scale_tril = _scale_tril(sds, factors, kind, (K, D))
        if not priors.is_direct:
            means, scale_tril = _to_data(means, scale_tril, priors, diagonal)
            pm.Deterministic("means", means, dims=("component", "feature"))
            pm.Deterministic("sds", pt.sqrt((scale_tril**2).sum(-1)), dims=("component", "feature"))
        dims = ("component", "feature", "feature_bis")
        pm.Deterministic("covariances", scale_tril @ scale_tril.mT, dims=dims)
        if not diagonal:
            unit = scale_tril / pt.sqrt((scale_tril**2).sum(-1, keepdims=True))
            pm.Deterministic("corr", unit @ unit.mT, dims=dims)
        _observe(data, beside, logs, means, scale_tril, diagonal, known is not None and known.error_of is not None)
    return model


def variable_names(priors: ResolvedPriors | None) -> dict[str, str]:
    """Return the names of the free variables that priors are of: those that are not the mixture's own say so."""
    return {name: name if priors is None or priors.is_direct else f"{name}_in_frame" for name in ("means", "sds", "corr_cholesky")}


def _to_data(
    means: TensorVariable, scale_tril: TensorVariable, priors: ResolvedPriors, diagonal: bool
) -> tuple[TensorVariable, TensorVariable]:
    """Carry means (K, D) and Cholesky factors (K, D, D) out of the priors' frame, and add the rounding."""
    frame, rounding = priors.frame, priors.rounding
    if diagonal:
        unit = np.diag(frame.factor)
        added = 0.0 if rounding is None else np.diag(rounding)
        sds = pt.sqrt((unit * pt.diagonal(scale_tril, axis1=-2, axis2=-1)) ** 2 + added)
        return frame.center + unit * means, sds[..., None] * pt.eye(len(unit))
    if frame.is_identity:
        roots = scale_tril
    else:
        means, roots = frame.center + means @ frame.factor.T, pt.constant(frame.factor) @ scale_tril
    covariances = roots @ roots.mT
    return means, pt.linalg.cholesky(covariances if rounding is None else covariances + rounding)


def _standard_deviations(prior: ScalePrior, name: str, shape: tuple[int, ...], dims: tuple[str, ...]) -> TensorVariable:
    if not prior.is_joint:
        return _SCALE_PRIORS[type(prior)](prior, name, shape=shape, dims=dims)
    joint = _joint_inverse_gamma if isinstance(prior, InverseGamma) else _joint_log_normal
    return joint(prior, name, shape, dims)


def _joint_inverse_gamma(prior: ScalePrior, name: str, shape: tuple[int, ...], dims: tuple[str, ...]) -> TensorVariable:
    """Return standard deviations whose squares are inverse gamma with one scale for all components, which come first."""
    alpha, beta = (np.broadcast_to(value, shape) for value in prior.parameters())
    rate, total = prior.shared / beta[0], prior.shared + alpha.sum(0)
    known = np.sum(np.log(2.0) - gammaln(alpha)) + np.sum(prior.shared * np.log(rate) - gammaln(prior.shared) + gammaln(total))

    def logp(value: TensorVariable, alpha: Any, rate: Any) -> TensorVariable:
        return known - ((2.0 * alpha + 1.0) * pt.log(value)).sum() - (total * pt.log(rate + (value**-2).sum(0))).sum()

    def dist(alpha: Any, rate: Any, size: Any) -> TensorVariable:
        return pt.sqrt(pm.Gamma.dist(prior.shared, rate, size=(1, *shape[1:])) / pm.Gamma.dist(alpha, 1.0, size=shape))

    core = ",".join("kd"[: len(shape)])
    inside = ",".join("d"[: len(shape) - 1])
    return pm.CustomDist(
        name,
        alpha,
        rate,
        logp=logp,
        dist=dist,
        signature=f"({core}),({inside})->({core})",
        shape=shape,
        dims=dims,
        default_transform=_JointLog(),
    )


def _joint_log_normal(prior: ScalePrior, name: str, shape: tuple[int, ...], dims: tuple[str, ...]) -> TensorVariable:
    """Return log-normal standard deviations whose logs have a part and a factor in common; components come first."""

    def log_density(logs: TensorVariable, mu: Any, sigma: Any) -> TensorVariable:
        precision, off = sigma**-2, logs - mu
        apart = -0.5 * precision * off**2 - pt.log(sigma) - 0.5 * np.log(2 * np.pi) - logs
        total, towards = precision.sum(0), (precision * off).sum(0)
        common = 1.0 + prior.shared**2 * total
        return apart.sum() + (0.5 * prior.shared**2 * towards**2 / common - 0.5 * pt.log(common)).sum()

    def logp(value: TensorVariable, mu: Any, sigma: Any) -> TensorVariable:
        each = [log_density(pt.log(value), mu, factor * sigma) for factor in prior.factors]
        return pt.logsumexp(pt.stack(each)) - np.log(len(each))

    def dist(mu: Any, sigma: Any, size: Any) -> TensorVariable:
        which = pm.Categorical.dist(p=np.full(len(prior.factors), 1 / len(prior.factors)))
        own = sigma * pt.constant(np.array(prior.factors))[which] * pm.Normal.dist(size=shape)
        return pt.exp(mu + own + prior.shared * pm.Normal.dist(size=(1, *shape[1:])))

    core = ",".join("kd"[: len(shape)])
    return pm.CustomDist(
        name,
        *(np.broadcast_to(value, shape) for value in prior.parameters()),
        logp=logp,
        dist=dist,
        signature=f"({core}),({core})->({core})",
        shape=shape,
        dims=dims,
        default_transform=_JointLog(),
    )


def _weights(concentration: FloatArray) -> TensorVariable:
    """Return the weights; a single component's is one, for which no distribution is needed."""
    if len(concentration) == 1:
        return pm.Deterministic("weights", pt.ones(1), dims="component")
    return pm.Dirichlet("weights", a=concentration, shape=concentration.shape, dims="component")


def _correlation_factors(name: str, K: int, D: int, kind: Family, prior: LKJ) -> TensorVariable:
    """Return Cholesky factors of correlation matrices: (K, D, D), or (D, D) where all components share one."""
    shape = (K, D, D) if kind.has_own_scales else (D, D)
    if len(prior.etas) == 1:
        # LKJCorr fails with dims: its shape says the same.
        return pm.LKJCorr(name, n=D, eta=prior.etas[0], shape=shape, default_transform=_CholeskyCorr(D))
    n_matrices = K if len(shape) == 3 else 1
    constants = n_matrices * prior.log_constants(D) - np.log(len(prior.etas))

    def logp(value: TensorVariable, etas: Any) -> TensorVariable:
        logs = pt.log(pt.diagonal(value, axis1=-2, axis2=-1))
        jacobian = ((D - 1.0 - np.arange(D)) * logs).sum()
        return pt.logsumexp(constants + 2.0 * (etas - 1.0) * logs.sum()) + jacobian

    def dist(etas: Any, size: Any) -> TensorVariable:
        which = pm.Categorical.dist(p=np.full(len(prior.etas), 1 / len(prior.etas)))
        return pm.LKJCorr.dist(n=D, eta=etas[which], shape=shape)

    signature = "(e)->" + ("(k,d,d)" if len(shape) == 3 else "(d,d)")
    args = {"signature": signature, "shape": shape, "default_transform": _JointCholeskyCorr(D)}
    return pm.CustomDist(name, np.array(prior.etas), logp=logp, dist=dist, **args)


def _scale_tril(sds: TensorVariable, factors: TensorVariable, kind: Family, shape: tuple[int, int]) -> TensorVariable:
    """Return the Cholesky factors (K, D, D) of the covariances."""
    spread = sds if kind.has_scales_by_column else sds[:, None]
    return pt.broadcast_to(spread, shape)[..., None] * factors


def _observe(
    data: TensorVariable,
    beside: TensorVariable | None,
    logs: TensorVariable,
    means: TensorVariable,
    scale_tril: TensorVariable,
    diagonal: bool,
    has_errors: bool,
) -> TensorVariable:
    """Add the observed variable, with its density by the Op and its draws by PyMC."""

    def logp(value: TensorVariable, logs: Any, means: Any, scale_tril: Any, *beside: Any) -> TensorVariable:
        table = pt.concatenate([value, *beside], axis=1) if beside else value
        return mixture_log_density(logs, means, scale_tril, table, diagonal=diagonal, known=bool(beside))

    return pm.CustomDist(
        "x",
        logs,
        means,
        scale_tril,
        *([] if beside is None else [beside]),
        logp=logp,
        dist=_draw if beside is None else partial(_draw_known, has_errors=has_errors),
        signature="(k),(k,d),(k,d,d)->(d)" if beside is None else "(s),(k,d),(k,d,d),(m)->(d)",
        observed=data,
        dims=("obs", "feature"),
    )


def _log_shares(weights: TensorVariable, concomitant: Concomitant, K: int) -> TensorVariable:
    """Return the log-weights (S K) of all shares, and add what they depend on to the model."""
    model = pm.modelcontext(None)
    if isinstance(concomitant, Covariates):
        names = list(concomitant.names)
        model.add_coords({"covariate": names})
        # Of all components they add up to zero: normal within that plane, and none of them another than the others.
        covariance = COEFFICIENTS**2 * (np.eye(K - 1) - np.full((K - 1, K - 1), 1.0 / K))
        free = pm.MvNormal("free_coefficients", mu=np.zeros(K - 1), cov=covariance, shape=(len(names), K - 1))
        coefficients = pm.Deterministic(
            "coefficients", pt.concatenate([free, -free.sum(-1, keepdims=True)], axis=1), dims=("covariate", "component")
        )
        shares = pt.special.log_softmax(pt.log(weights) + pt.constant(concomitant.design) @ coefficients, axis=-1)
        return shares.flatten()
    assert isinstance(concomitant, Samples)
    model.add_coords({"sample": list(map(str, concomitant.names))})
    concentration = pm.LogNormal("concentration", mu=CONCENTRATION[0], sigma=CONCENTRATION[1])
    about = pt.tile((concentration * weights)[None], (concomitant.n_shares, 1))
    own = pm.Dirichlet("sample_weights", a=about, shape=(concomitant.n_shares, K), dims=("sample", "component"))
    return pt.log(own).flatten()


def _draw(logs: TensorVariable, means: TensorVariable, scale_tril: TensorVariable, size: Any) -> TensorVariable:
    """Return random rows of the mixture: first the component, then a Normal."""
    labels = pm.Categorical.dist(p=pt.exp(logs), size=size)
    normal = pm.Normal.dist(size=(*labels.shape, means.shape[-1]))
    return means[labels] + (scale_tril[labels] @ normal[..., None])[..., 0]


def _draw_known(
    logs: TensorVariable, means: TensorVariable, scale_tril: TensorVariable, beside: TensorVariable, size: Any, *, has_errors: bool
) -> TensorVariable:
    """Return random rows of which is known what is known of the data: labels, sets, errors."""
    K, D = means.type.shape
    first, share = (pt.cast(beside[:, K + n], "int64") for n in (0, 2))
    # A set is of one component, which the labels of all its rows must allow.
    possible = pt.inc_subtensor(pt.zeros_like(beside[:, :K])[first], beside[:, :K])
    own = pt.special.log_softmax(logs.reshape((-1, K))[share] + possible, axis=-1)
    labels = pm.Categorical.dist(p=pt.exp(own))[first]
    rows = means[labels] + (scale_tril[labels] @ pm.Normal.dist(size=(*labels.shape, D))[..., None])[..., 0]
    if not has_errors:
        return rows
    factors = pt.zeros((labels.shape[0], D, D))[:, *np.tril_indices(D)].set(beside[:, K + N_LINKS :])
    return rows + (factors @ pm.Normal.dist(size=(*labels.shape, D))[..., None])[..., 0]


guard(globals())
