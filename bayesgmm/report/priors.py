"""What was believed before the data, in words, and how much it matters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bayesgmm.covariance import family
from bayesgmm.diagnostics import does_not_apply, prior_sensitivity
from bayesgmm.estimators import BayesianGaussianMixture
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.files import json_records
from bayesgmm.priors import ResolvedConjugatePriors, ResolvedPriors
from bayesgmm.priors.model import draw_mixtures
from bayesgmm.report.typography import number

__all__ = ["describe_priors", "sensitivity"]

type Row = tuple[str, str, str]

_TAILS = (0.025, 0.5, 0.975)
_MOST_COLUMNS = 12
_DRAWS = 4000


def describe_priors(
    priors: ResolvedPriors | ResolvedConjugatePriors | None, features: tuple[str, ...], covariance_type: str
) -> list[dict[str, str]]:
    """Return the priors in the data's units: of what, for which column, and what was believed.

    Parameters
    ----------
    priors : ResolvedPriors or ResolvedConjugatePriors or None
        None where it is not known, as of draws from elsewhere.
    features : tuple of str
    covariance_type : str
        Correlations are a matter of "full" and "tied" only.

    Returns
    -------
    list of dict
        Keys ``of``, ``column`` and ``belief``.
    """
    if priors is None:
        return []
    rows = _conjugate(priors) if isinstance(priors, ResolvedConjugatePriors) else _beliefs(priors, features, covariance_type)
    return [dict(zip(("of", "column", "belief"), row, strict=True)) for row in rows]


def _beliefs(priors: ResolvedPriors, features: tuple[str, ...], covariance_type: str) -> Iterator[Row]:
    yield "weights", "", _dirichlet(priors.concentration)
    # Along the columns, the means are sums of independent normal numbers.
    loc = priors.frame.center + priors.means_loc @ priors.frame.factor.T
    scale = np.sqrt(priors.means_scale**2 @ (priors.frame.factor**2).T)
    ends = np.stack([loc, loc - 1.96 * scale, loc + 1.96 * scale])
    for d, name in enumerate(features[:_MOST_COLUMNS]):
        said = [[number(value) for value in group] for group in ends[..., d].T]
        yield "means", name, _each([f"normal about {mean}, 95% between {lower} and {upper}" for mean, lower, upper in said])
    yield from _spreads(priors, features, covariance_type)
    if covariance_type in ("full", "tied") and len(features) > 1:
        etas = priors.correlations.etas
        about = _lkj(etas) if priors.frame.is_identity else "about those of all rows, a group's may be any"
        yield "correlations", "", f"{' or '.join(f'LKJ({eta:.4g})' for eta in etas)}: {about}"


def _dirichlet(concentration: np.ndarray) -> str:
    return f"Dirichlet({', '.join(f'{value:.4g}' for value in concentration)})"


def _each(said: list[str]) -> str:
    """One sentence if all groups have the same."""
    return said[0] if len(set(said)) == 1 else "; ".join(f"group {k}: {text}" for k, text in enumerate(said))


def _spreads(priors: ResolvedPriors, features: tuple[str, ...], covariance_type: str) -> Iterator[Row]:
    """Median and 95 % range of standard deviations, for each column that has its own."""
    name, rounding = type(priors.sds).__name__, np.zeros(len(features))
    if priors.frame.is_identity:
        lower, middle, upper = (np.asarray(priors.sds.frozen().ppf(q)) for q in _TAILS)
        if priors.rounding is not None:
            rounding = np.sqrt(np.diag(priors.rounding))
        rounding = rounding if "feature" in priors.sds_dims else rounding[:1]
    else:  # along the columns they have no name
        name = ""
        drawn = draw_mixtures(priors, family(covariance_type), _DRAWS, np.random.default_rng(0)).sds
        if all((np.asarray(p) == np.asarray(p)[:1]).all() for p in priors.sds.parameters()):
            # Groups of which the same is believed are told alike: by themselves their draws would differ by chance.
            drawn = drawn.reshape(-1, 1, len(features))
        lower, middle, upper = np.quantile(drawn, _TAILS, axis=0)
    table = np.vectorize(_spread, otypes=[object])(name, rounding, lower, middle, upper)
    names = features[:_MOST_COLUMNS] if "feature" in priors.sds_dims else ("",)
    table = np.atleast_2d(table) if names != ("",) else np.atleast_1d(table)[:, None]
    for name, said in zip(names, table.T, strict=False):
        yield "standard deviations", name, _each(list(said))


def _spread(name: str, rounding: float, lower: float, middle: float, upper: float) -> str:
    said = f"half below {number(middle)}, 95% between {number(lower)} and {number(upper)}"
    said = f"{name}, {said}" if name else said
    return said if rounding == 0 else f"{said}, and {number(rounding)} from the rounding of the data"


def _lkj(etas: tuple[float, ...]) -> str:
    if len(etas) > 1:
        return "how near zero is left to the data"
    if etas == (1.0,):
        return "every correlation matrix alike"
    return "correlations near zero a little more probable" if etas[0] > 1 else "correlations near ±1 more probable"


def _conjugate(priors: ResolvedConjugatePriors) -> Iterator[Row]:
    centre = ", ".join(number(value) for value in priors.means_loc)
    scale = "a given scale" if priors.scale_df is None else "a scale that is learned from the data"
    yield "weights", "", _dirichlet(priors.concentration)
    yield "means", "", f"normal about ({centre}), worth {priors.shrinkage:.4g} rows"
    yield "covariances", "", f"inverse Wishart with {priors.df:.4g} degrees of freedom, of {scale}"


def sensitivity(posterior: BayesianGaussianMixture) -> tuple[list[dict[str, Any]], str]:
    """Return what each part of the prior moves, or why that cannot be said.

    Parameters
    ----------
    posterior : BayesianGaussianMixture

    Returns
    -------
    list of dict, str
        Keys ``part``, ``parameter``, ``prior``, ``likelihood`` and ``sentence``; a reason where the list is empty.
    """
    reason = does_not_apply(posterior.datatree_, "power_scaling")
    if reason:
        return [], reason
    try:
        table = prior_sensitivity(posterior.datatree_)
    except InvalidDataError as error:
        return [], str(error)
    return json_records(table.rename_axis("part").reset_index()), ""
