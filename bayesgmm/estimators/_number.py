"""A posterior in which the number of components is not known: its draws for one number, and what all of them say of groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaln, logsumexp

from bayesgmm.bayes.draws import FEWEST, Draws
from bayesgmm.covariance import Family
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import Grouping, cross_sums
from bayesgmm.params import MixtureParams
from bayesgmm.priors import BetaNegativeBinomial, Concentration, NumberPrior, Priors
from bayesgmm.rows import MemoryRows
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["NumberDraws", "grouping_of", "log_partitions", "most_likely", "number_table", "parts_of_prior"]

_LOOKED_AT = 50
_EXCHANGEABLE = (
    "n_components='auto' takes priors that are the same for every component: give concentration, and each of the others, as one number, or "
    "one for each column"
)


def parts_of_prior(priors: Priors, family: Family, rows: MemoryRows) -> tuple[Priors, NumberPrior, Concentration]:
    """Return a prior of one component, that of their number, and the concentration of their weights.

    Raises
    ------
    InvalidParameterError
        If components differ in their priors: with an unknown number of them nobody could say which is which.
    InvalidDataError
        If there are fewer rows than columns, and so no component could have a covariance that the rows tell.
    """
    given: Any = priors.concentration
    located: list[Any] = [priors.means_loc, priors.means_scale]
    if np.ndim(given) or any(np.ndim(value) > 1 for value in located):
        raise InvalidParameterError(_EXCHANGEABLE)
    if family.name in ("full", "tied") and len(rows) <= rows.n_features:
        raise InvalidDataError(
            f"{len(rows)} rows cannot tell the covariance of a single component in {rows.n_features} columns, and so not their number: "
            "give n_components, fewer columns, or covariance_type='diag'"
        )
    concentration = given if isinstance(given, Concentration) else Concentration(float(np.asarray(given)))
    return replace(priors, concentration=1.0), priors.number or BetaNegativeBinomial(), concentration


def number_table(numbers_of: Mapping[str, IntArray]) -> pd.DataFrame:
    """Return the posterior probabilities of numbers, with their Monte Carlo errors.

    Parameters
    ----------
    numbers_of : mapping of str to int arrays of shape (chains, draws)
        What was counted.
    """
    from arviz_stats.base import array_stats

    numbers = np.arange(1, max(int(drawn.max()) for drawn in numbers_of.values()) + 1)
    columns = {}
    for name, drawn in numbers_of.items():
        is_it = (drawn[..., None] == numbers).astype(float)
        columns[name] = is_it.mean((0, 1))
        columns[f"{name}_mcse"] = array_stats.mcse(is_it, method="mean", chain_axis=0, draw_axis=1)
    return pd.DataFrame(columns, index=pd.Index(numbers, name="n"))


@dataclass(frozen=True, eq=False)
class NumberDraws:
    """Draws of mixtures whose number of components differs.

    Parameters
    ----------
    draws : Draws
        With ``n_components`` and ``n_filled`` among the statistics; components that a draw does not have weigh nothing.
    counts : int array of shape (chains, draws, components)
        Rows of each component.
    """

    draws: Draws
    counts: IntArray

    @cached_property
    def hills(self) -> IntArray:
        """Which group each component with rows is in (chains, draws, components), -1 of the others: components on one hill are one."""
        return self.draws.params.hills(self.counts > 0)

    @property
    def n_groups(self) -> IntArray:
        """How many groups stand apart in each draw (chains, draws)."""
        return np.asarray(self.hills.max(-1) + 1)

    def rows_in_groups(self, n_groups: int, rows: MemoryRows) -> IntArray:
        """Return which group each row (N,) is in: the most probable one of the most likely of some draws with so many groups."""
        at = np.argwhere(self.n_groups == n_groups)
        at = at[np.linspace(0, len(at) - 1, min(len(at), _LOOKED_AT)).round().astype(int)]
        few = self.draws.params[at[:, 0], at[:, 1]]
        count = np.ones(len(rows)) if rows.weights is None else rows.weights
        best = int((few.log_density(rows.chunk) @ count).argmax())
        shares, hills = few[best].responsibilities(rows.chunk), self.hills[tuple(at[best])]
        return np.stack([shares[:, hills == g].sum(1) for g in range(n_groups)], axis=1).argmax(1)

    @property
    def most_probable(self) -> int:
        """The number of components with rows that most draws have; of equal ones the least."""
        return int(np.bincount(self.draws.statistics["n_filled"].ravel()).argmax())

    def given(self, n: int) -> Draws:
        """Return the draws in which n components have rows, of these components alone, their weights scaled to one.

        Chains are cut to one length, draws being left out evenly, and those that have less than half as many as the one with most are
        dropped: such chains have not met.

        Raises
        ------
        InvalidParameterError
            If too few draws have so many.
        """
        draws, counts = self.draws, self.counts
        places = [np.flatnonzero(row == n) for row in draws.statistics["n_filled"]]
        longest = max(map(len, places))
        if longest < FEWEST:
            raise InvalidParameterError(
                f"at most {longest} draws of a chain have {n} components with rows, too few to say anything of them: choose a number that "
                "number_of_components() finds probable"
            )
        kept = [c for c, there in enumerate(places) if 2 * len(there) >= longest]
        length = min(len(places[c]) for c in kept)
        chosen = [(c, places[c][np.linspace(0, len(places[c]) - 1, length).round().astype(int)]) for c in kept]
        parts = []
        for array in (draws.params.weights, draws.params.means, draws.params.scale_tril):
            filled = [array[c, t][counts[c, t] > 0].reshape(length, n, *array.shape[3:]) for c, t in chosen]
            parts.append(np.stack(filled))
        weights, means, scale_tril = parts
        statistics = {name: np.stack([values[c, t] for c, t in chosen]) for name, values in draws.statistics.items()}
        params = MixtureParams(weights / weights.sum(-1, keepdims=True), means, scale_tril)
        return replace(draws, params=params, statistics=statistics)


def log_partitions(counts: IntArray, log_number: FloatArray, concentration: Concentration) -> FloatArray:
    """Return the log-probabilities of partitions of rows under a prior, all numbers of components summed out.

    Parameters
    ----------
    counts : int array of shape (..., M)
        Rows of each group; zeros do not count.
    log_number : array of shape (most,)
        Log-probabilities of 1, 2, ... components.
    concentration : Concentration
        A number.

    Returns
    -------
    array of shape (...)

    Notes
    -----
    Miller and Harrison (2018), Journal of the American Statistical Association 113, 340-356, theorem 3.1.
    """
    filled, total, terms = (counts > 0).sum(-1), counts.sum(-1), []
    for K, log_p in enumerate(log_number, start=1):
        gamma = concentration.of(K)
        of_counts = np.where(counts > 0, gammaln(counts + gamma) - gammaln(gamma), 0.0).sum(-1)
        # Ways to say which of the components have rows; none where there are more groups than components.
        ways = np.where(filled <= K, gammaln(K + 1.0) - gammaln(np.maximum(K - filled, 0) + 1.0), -np.inf)
        terms.append(log_p + ways + gammaln(gamma * K) - gammaln(total + gamma * K) + of_counts)
    return np.asarray(logsumexp(terms, axis=0))


def grouping_of(params: MixtureParams, rows: MemoryRows, reference: FloatArray) -> Grouping:
    """Return for every component of every draw the group of a reference whose rows it has most of.

    Parameters
    ----------
    params : MixtureParams
        Any batch shape.
    rows : MemoryRows
    reference : array of shape (N, G)
        Responsibilities of the groups.
    """
    flat = params.reshape(-1)
    share = reference if rows.weights is None else rows.weights[:, None] * reference
    shared = cross_sums(rows.chunk, *flat.arrays(), share, diagonal=flat.is_diagonal)
    return Grouping(shared.argmax(-1), reference.shape[1])


def most_likely(params: MixtureParams, rows: MemoryRows) -> list[MixtureParams]:
    """Return of some draws of each chain (chain, draw) the one under which the rows have the greatest likelihood."""
    few = params[:, np.linspace(0, params.batch_shape[1] - 1, _LOOKED_AT).round().astype(int)]
    count = np.ones(len(rows)) if rows.weights is None else rows.weights
    heights = few.log_density(rows.chunk) @ count
    return [few[c, int(t)] for c, t in enumerate(heights.argmax(-1))]
