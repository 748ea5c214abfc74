"""How many of the groups asked for there really are: those that have points, and those that are hills of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pandas as pd

from bayesgmm.params import MixtureParams
from bayesgmm.partitions import occupied_components, same_mode
from bayesgmm.typing import FloatArray

__all__ = ["GroupsUsed", "groups_used"]

_MOST_NUMBERS = 5e7
_LEAST_DRAWS, _MOST_DRAWS = 20, 500
# Less than this is not worth a sentence.
_WORTH_SAYING = 0.05


@dataclass(frozen=True, eq=False)
class GroupsUsed:
    """How many groups the posterior uses.

    Attributes
    ----------
    occupied : pandas.Series
        Posterior probability of each number of groups that have any points, from 1 to K.
    same : pandas.DataFrame of shape (K, K)
        Probability that two groups are one hill of the density.
    """

    occupied: pd.Series = field(repr=False)
    same: pd.DataFrame = field(repr=False)

    @property
    def all_used(self) -> float:
        """Probability that every group has points."""
        return float(self.occupied.iloc[-1])

    @property
    def pairs(self) -> list[tuple[int, int, float]]:
        """Two groups and the probability that they are one hill, the most probable first; those not worth a word are left out."""
        K = len(self.same)
        found = [(j, k, float(self.same.to_numpy()[j, k])) for j, k in combinations(range(K), 2)]
        return sorted((pair for pair in found if pair[2] >= _WORTH_SAYING), key=lambda pair: -pair[2])

    def summary(self) -> dict[str, Any]:
        """Return the numbers ready for JSON."""
        return {
            "occupied": {str(n): float(p) for n, p in self.occupied.items()},
            "same_group": [[float(p) for p in row] for row in self.same.to_numpy()],
        }


def groups_used(params: MixtureParams, X: FloatArray, seed: int) -> GroupsUsed:
    """Ask the posterior how many groups it uses, of evenly spread draws: as many as are looked through in a moment.

    Parameters
    ----------
    params : MixtureParams
        Draws of any batch shape, whose components keep their names.
    X : array of shape (N, D)
    seed : int
        For more than eight components, of which each draw allocates the points once.

    Notes
    -----
    See `bayesgmm.partitions.occupied_components` and `bayesgmm.partitions.same_mode`.
    """
    numbers = len(X) * params.n_components
    draws = int(min(_MOST_DRAWS, max(_LEAST_DRAWS, _MOST_NUMBERS // numbers)))
    return GroupsUsed(occupied_components(params.thin(draws), X, random_state=seed), same_mode(params, n_draws=draws))
