"""A posterior sampled, by whichever sampler: in coordinates that suit it, and given back in the user's units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayesgmm.bayes.draws import Draws, NumberModel, SamplerSettings
from bayesgmm.bayes.forecast import Forecast
from bayesgmm.bayes.gibbs import sample_gibbs
from bayesgmm.bayes.hmc import sample_hmc
from bayesgmm.bayes.initial_points import initial_points
from bayesgmm.bayes.laplace import sample_laplace
from bayesgmm.bayes.log_posterior import ChunkedLogPosterior, LogPosterior
from bayesgmm.bayes.nuts import sample_nuts
from bayesgmm.bayes.telescoping import sample_telescoping
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import Family
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.fixed import Fixed
from bayesgmm.frame import Frame, total_moments
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedConjugatePriors, ResolvedPriors
from bayesgmm.rows import MemoryRows, Rows
from bayesgmm.rows.concomitant import Concomitant
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["frame_volume", "sample", "sample_number"]

ROWS_COMPARED = 1000
"""Rows in chunks at which modes are compared."""


def sample(
    rows: Rows,
    family: Family,
    priors: ResolvedPriors,
    modes: Sequence[MixtureParams],
    settings: SamplerSettings,
    *,
    sampler: str = "hmc",
    conjugate: ResolvedConjugatePriors | None = None,
    options: Mapping[str, Any] | None = None,
    fixed: Fixed | None = None,
    concomitant: Concomitant | None = None,
    on_forecast: Callable[[Forecast], object] | None = None,
) -> Draws:
    """Draw from the posterior of a mixture given rows.

    Complete rows are turned into the priors' own axes. Rows with missing values, rows in chunks and those for Gibbs sampling, whose priors
    have no axes, have their columns scaled only, and every mixture is turned instead.

    Parameters
    ----------
    rows : Rows
    family : Family
    priors : ResolvedPriors
    modes : sequence of MixtureParams
        Where chains may start (:func:`bayesgmm.bayes.initial_points.initial_points`).
    settings : SamplerSettings
    sampler : str
        One of :data:`bayesgmm.bayes.draws.SAMPLERS`.
    conjugate : ResolvedConjugatePriors, optional
        The prior of "gibbs"; ``priors`` then only help to choose where chains start.
    options : mapping, optional
        Arguments of ``pm.sample``, for "pymc".
    fixed : Fixed, optional
        Parameters that are given and kept, in the rows' units, for "hmc".
    concomitant : Concomitant, optional
        What the weights depend on, if on anything.
    on_forecast : callable, optional
        Is told by "hmc", after every round, how long sampling will take.

    Returns
    -------
    Draws

    Raises
    ------
    InvalidParameterError
        If values are missing, rows weighted or rows in chunks, and the sampler does not know how to take them.
    """
    _check_takes(sampler, rows, concomitant)
    center, covariance = total_moments(rows)
    own = priors.standardised(center, covariance)
    frame = own.frame
    if sampler == "gibbs" or not rows.is_in_memory or rows.has_gaps:
        frame = Frame.from_moments(center, covariance, "scale" if family.invariance == "scale" else "columns")
    inside = own.seen_in(frame)
    space = Space(inside, family, None if fixed is None else _fixed_in(fixed, frame, inside, family), concomitant)
    X = frame.standardise((rows if rows.is_in_memory else rows.some(ROWS_COMPARED)).values)
    known = None if rows.known is None else rows.known.turned(frame.inverse)
    density = LogPosterior(X, space, rows.weights, known) if rows.is_in_memory else ChunkedLogPosterior(rows, space, frame)
    initial = initial_points(density, X, [frame.params_in(mode) for mode in modes], settings.chains, settings.seed)
    starts = initial.points
    if isinstance(density, LogPosterior) and sampler == "hmc":
        draws = sample_hmc(density, initial, settings, on_forecast=on_forecast)
    elif sampler == "nuts":
        draws = sample_nuts(density, starts, settings)
    elif sampler == "laplace":
        draws = sample_laplace(density, starts, settings)
    elif conjugate is not None:
        jittered = starts + settings.jitter * np.random.default_rng(settings.seed).standard_normal(starts.shape)
        draws = sample_gibbs(X, family, conjugate.seen_in(frame), space.constrain(jittered), settings)
    else:
        from bayesgmm.bayes.pymc_sample import sample_pymc

        draws = sample_pymc(X, space, starts, settings, options or {}, known)
    own_log_det = inside.frame.log_det if conjugate is not None else priors.frame.log_det
    # The density of all values changes by the Jacobian of the frame, and those of K means by that of the units of their axes.
    shift = frame_volume(frame, rows.summary.seen) + space.n_components * (frame.log_det + inside.frame.log_det - own_log_det)
    statistics = dict(draws.statistics)
    if "lp" in statistics:
        statistics["lp"] = statistics["lp"] - shift
    if "energy" in statistics:
        statistics["energy"] = statistics["energy"] + shift
    details = {"modes_started_in": initial.n_started_in, **draws.details}
    if fixed is not None:
        details["fixed"] = fixed.names
    return replace(draws, params=frame.params_out(draws.params), statistics=statistics, details=details, frame=frame, priors=inside)


def sample_number(
    rows: MemoryRows,
    model: NumberModel,
    settings: SamplerSettings,
    *,
    on_forecast: Callable[[Forecast], object] | None = None,
) -> tuple[Draws, IntArray]:
    """Draw from the posterior of a mixture with an unknown number of components, given rows.

    Parameters
    ----------
    rows : MemoryRows
        A row with a weight, which is a whole number, is taken so many times.
    model : NumberModel
        With priors for the data's coordinates.
    settings : SamplerSettings
    on_forecast : callable, optional

    Returns
    -------
    Draws, int array
        As of :func:`bayesgmm.bayes.telescoping.sample_telescoping`.

    Raises
    ------
    InvalidDataError
        If a weight is no whole number: a row that counts 1.5 times has no label.
    """
    values = rows.values
    if rows.weights is not None:
        if not (rows.weights == np.round(rows.weights)).all():
            raise InvalidDataError(
                "sample_weight must be whole numbers with n_components='auto', which gives every row a label: round them, or give a number "
                "of components"
            )
        values = values.repeat(rows.weights.astype(int), axis=0)
    center, covariance = total_moments(rows)
    own = model.component.standardised(center, covariance)
    frame = own.frame
    if np.isnan(values).any():
        frame = Frame.from_moments(center, covariance, "scale" if model.family.invariance == "scale" else "columns")
    inside = replace(model, component=own.seen_in(frame))
    draws, counts = sample_telescoping(frame.standardise(values), inside, settings, on_forecast=on_forecast)
    return replace(draws, params=frame.params_out(draws.params), frame=frame), counts


def _fixed_in(fixed: Fixed, frame: Frame, priors: ResolvedPriors, family: Family) -> Fixed:
    """Return what is fixed as it is in a frame.

    Raises
    ------
    InvalidParameterError
        If a covariance is narrower than the rounding of the data, or is not of the family along the frame's axes.
    """
    covariances = fixed.covariances.copy()
    for k in np.flatnonzero(fixed.has_covariance):
        covariances[k] = frame.covariance_in(fixed.covariances[k])
        inner = covariances[k] if priors.rounding is None else covariances[k] - priors.rounding
        if np.linalg.eigvalsh(inner).min() <= 0:
            raise InvalidParameterError(
                f"the fixed covariance of component {k} is narrower than what the rounding of the columns adds to it"
            )
    return replace(fixed, means=frame.standardise(fixed.means), covariances=covariances)


def frame_volume(frame: Frame, seen: FloatArray) -> float:
    """Return the log of the volume of what was seen, in the user's units, where it has unit volume in a frame: of values (D,) by column.

    Where the frame mixes columns, no row lacks a value.
    """
    return float(seen @ np.log(np.diag(frame.factor))) if frame.is_along_columns else float(seen[0] * frame.log_det)


def _check_takes(sampler: str, rows: Rows, concomitant: Concomitant | None) -> None:
    """Raise InvalidParameterError if a sampler cannot take rows like these."""
    if concomitant is not None and sampler == "pymc":
        raise InvalidParameterError("sampler='pymc' takes no samples= and covariates=: leave sampler at 'hmc', or use build_model")
    if sampler == "gibbs" and rows.known is not None:
        raise InvalidParameterError(
            "sampler='gibbs' takes nothing that is known of rows beside their values: leave sampler at 'hmc' for labels, errors, sets, "
            "samples and covariates"
        )
    if sampler in ("nuts", "laplace"):
        return
    if not rows.is_in_memory:
        raise InvalidParameterError(
            f"sampler={sampler!r} needs all rows in memory: for rows in chunks there are 'laplace', which is quick, and 'nuts'"
        )
    if sampler != "hmc" and (rows.weights is not None or rows.has_gaps):
        how = "draws the group of every row" if sampler == "gibbs" else "runs PyMC's model"
        raise InvalidParameterError(
            f"sampler={sampler!r} {how}, which takes complete rows that count once: leave sampler at 'hmc' for missing values "
            "and for sample_weight"
        )
