"""Advice on what will take long, on what rows cannot tell, on values that repeat, and on units that disagree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesgmm.bayes.forecast import Forecast
from bayesgmm.covariance import Family, family
from bayesgmm.exceptions import DataAdvice, InvalidParameterError, SizeAdvice, warn
from bayesgmm.params import MixtureParams
from bayesgmm.resolution import Repeats, advice_on_repeats
from bayesgmm.rows import Rows
from bayesgmm.text import counted, duration
from bayesgmm.typing import FloatArray

__all__ = [
    "DEFAULT_MOST",
    "LARGE",
    "LONG",
    "TimeAdvice",
    "advise_on_parameters",
    "advise_on_size",
    "advise_on_units",
    "advise_on_values",
    "most_components",
    "quicker",
]

DEFAULT_MOST = 30
"""Most components where their number is not known, by default: the range of Richardson and Green (1997, JRSS B 59, 731-792)."""
LARGE = 200_000
"""Rows from which on Laplace's approximation is advised: a pass over them then takes milliseconds, and chains need many thousands."""
LONG = 60.0
"""Seconds of sampling from which on it is said beforehand how long it will take."""
_FAR_OFF = 2.0
"""How many times as long, or as short, as was said first sampling has to become for it to be said again."""
_LIMITS = (60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400)
_WORTHWHILE = 0.2
"""Share of the draws that a limit of time has to leave for it to be proposed."""
_ROWS_PER_DIRECTION = 2.0
"""Rows of a component, for each column, below which the least variance in its covariance comes out by chance at less than a tenth of what
it is: at ``(1 - sqrt(D / n))^2`` of it (Marchenko and Pastur 1967, Mathematics of the USSR-Sbornik 1, 457-483)."""
_DRAWS_LOOKED_AT = 50
_FAR_BELOW = 2.0
"""Nats a row by which draws may be less probable than a single normal distribution: far more than what a poor sampler leaves."""


def advise_on_size(n_rows: int) -> None:
    """Warn that chains will take long and that Laplace's approximation is as good, if there are that many rows."""
    if n_rows < LARGE:
        return
    warn(
        f"{n_rows:,} rows: the chains pass over them many thousand times. With so many, the posterior is close to a normal "
        "distribution, and sampler='laplace' draws from it in a small part of the time and checks itself (attrs['pareto_k'] of datatree_)",
        SizeAdvice,
    )


class TimeAdvice:
    """Warns that sampling will take long, as soon as it is known, and once more if it comes to be known that this was far off.

    Parameters
    ----------
    covariance_type : str
    n_parameters, n_rows : int
    max_time : float or None
        Seconds that sampling may take.
    """

    def __init__(self, covariance_type: str, n_parameters: int, n_rows: int, max_time: float | None) -> None:
        self.covariance_type, self.n_parameters, self.n_rows, self.max_time = covariance_type, n_parameters, n_rows, max_time
        self._said = 0.0
        self._is_known = False

    def __call__(self, forecast: Forecast) -> None:
        """Take note of a forecast, and warn if there is reason to."""
        if self._is_known or (forecast.is_least and self._said):
            return
        self._is_known = not forecast.is_least
        total = forecast.total if self.max_time is None else min(forecast.total, self.max_time)
        is_news = not self._said / _FAR_OFF < total < self._said * _FAR_OFF if self._said else total >= LONG
        if is_news:
            self._said = total
            warn(self._sentence(forecast, total), SizeAdvice)

    def _sentence(self, forecast: Forecast, total: float) -> str:
        how_long = f"at least about {duration(total)}" if forecast.is_least else f"about {duration(total)}"
        past = "" if forecast.is_least else f", {duration(forecast.past)} of which are over"
        about = f"{counted(self.n_parameters, 'parameter')}, {counted(self.n_rows, 'row')}"
        return f"Sampling will take {how_long}{past}: {about}. {self._what_could_be_had(forecast)}{quicker(self.covariance_type)}"

    def _what_could_be_had(self, forecast: Forecast) -> str:
        limits = (
            limit
            for limit in _LIMITS
            if forecast.draws_within(limit) >= _WORTHWHILE * forecast.draws and 4 * limit < 3 * forecast.total
        )
        limit = next(limits, None) if self.max_time is None else self.max_time
        kept = 0 if limit is None else forecast.draws_within(limit)
        if limit is None or kept == forecast.draws:
            return ""
        number = f"at most {kept:,}" if forecast.is_least else f"about {kept:,}"
        return (
            f"max_time={limit:g} {'ends' if self.max_time else 'would end'} it with {number} of {forecast.draws:,} draws a chain. "
        )


def quicker(covariance_type: str) -> str:
    """Return a sentence on what takes less time than chains of such a model."""
    simpler = "covariance_type='diag', " if covariance_type == "full" else ""
    return f"Quicker are {simpler}sampler='laplace' and GaussianMixture"


def advise_on_parameters(params: MixtureParams, rows: Rows, of: Family, left_to: str, noise_weight: float = 0.0) -> None:
    """Warn if components have so few rows that these do not determine their covariances, and say what would help.

    Parameters
    ----------
    params : MixtureParams
        Of batch shape ().
    rows : Rows
    of : Family
        If each component, or all together, have a covariance of any shape; of other families nothing is said.
    left_to : str
        What decides where rows do not: "chance" or "the prior".
    noise_weight : float
        Share of the rows that are of no component.
    """
    if of.name not in ("full", "tied") or rows.n_features == 1:
        return
    K, D = params.n_components, rows.n_features
    counts = params.weights * (1.0 - noise_weight) * rows.total
    if rows.known is not None and rows.known.sets is not None and rows.is_in_memory:
        # Weights are shares of the sets, and these have different numbers of rows.
        weight = 1.0 if rows.weights is None else rows.weights[:, None]
        counts = (params.responsibilities(rows.in_memory().chunk) * weight).sum(0)
    seen = rows.summary.seen.mean() / rows.total  # rows with gaps say less
    enough, together = round(_ROWS_PER_DIRECTION * D), seen * rows.total - (K - 1)
    each = seen * counts if of.name == "full" and K > 1 else np.array([together])
    if each.min() >= enough:
        return
    if len(each) > 1:
        n = int((each < enough).sum())
        who = f"{n} of {K} components {'has' if n == 1 else 'have'} fewer than {enough} rows (the smallest about {each.min():.0f})"
        why = f"{who}, which is two for each direction of a covariance, and so few leave its shape to {left_to}"
    else:
        why = f"there are fewer than two rows for each direction of a covariance, which leaves its shape to {left_to}"
    simpler = ["tied", "diag"] if len(each) > 1 and together >= enough else ["diag"]
    # In two columns and two groups "tied" has fewer parameters than "diag".
    numbers = {name: family(name).n_parameters(K, D) for name in simpler}
    types = " or ".join(f"{name!r} ({counted(n, 'parameter')})" for name, n in numbers.items() if n < of.n_parameters(K, D))
    fewer = "fewer columns or components" if len(each) > 1 else "fewer columns"
    priors = "priors" if left_to == "chance" else "priors that say more"
    warn(
        f"{counted(round(rows.total), 'row')} in {counted(D, 'column')} tell little of {of.n_parameters(K, D):,} parameters: {why}. "
        f"What helps: {f'covariance_type={types}, ' if types else ''}{fewer}, or {priors}",
        DataAdvice,
    )


def advise_on_units(params: MixtureParams, rows: FloatArray) -> None:
    """Warn if rows (N, D) are far less probable under draws than under one normal distribution, which no draws of a mixture should be."""
    some = rows[:: max(1, len(rows) // 1000)]
    some = some[~np.isnan(some).any(axis=1)]
    spread = np.cov(some.T, bias=True).reshape(some.shape[1], some.shape[1]) if len(some) > some.shape[1] else None
    if spread is None or np.linalg.matrix_rank(spread) < len(spread):
        return
    # The mean log-density of rows under the normal distribution with their own moments.
    normal = -0.5 * (len(spread) * (1.0 + np.log(2 * np.pi)) + np.linalg.slogdet(spread)[1])
    few = params.thin(_DRAWS_LOOKED_AT)
    ours = float(np.median(few.log_density(some).mean(-1)))
    if ours < normal - _FAR_BELOW:
        warn(
            f"The rows have a mean log-density of {ours:.1f} under these draws, and {normal:.1f} under a single normal distribution: X and "
            "the draws do not seem to be in the same units, or not to belong together",
            DataAdvice,
        )


def advise_on_values(found: Sequence[Repeats]) -> None:
    """Warn of columns of few distinct values, or filled by one value, of which a mixture may make groups."""
    advice = advice_on_repeats(found)
    if advice:
        warn(advice, DataAdvice)


def most_components(given: int | None, rows: Rows) -> int:
    """Return the most components, or raise InvalidParameterError if there are fewer rows than was asked for."""
    n_rows = int(rows.total)
    if given is not None and given > n_rows:
        raise InvalidParameterError(f"max_components must be at most the number of rows, {n_rows}, got {given}")
    return min(DEFAULT_MOST, n_rows) if given is None else int(given)
