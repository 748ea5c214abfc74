"""What a fit says of rows: all that it takes of an estimator to predict, as a value that can be sent to where the rows are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesgmm.em import Noise
from bayesgmm.expectation import DrawMoments, Grouping, responsibility_moments
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk, Rows
from bayesgmm.rows.base import check_finite
from bayesgmm.typing import FloatArray

__all__ = ["Predictor", "Sums", "sums_over"]


@dataclass(frozen=True, eq=False)
class Predictor:
    """A mixture, or the draws of a posterior, with the noise beside it if there is any.

    Parameters
    ----------
    params : MixtureParams
    noise : Noise, optional
    noise_weight : float
    grouping : Grouping, optional
        Of the components of draws that differ in their number: labels and responsibilities are those of groups.
    """

    params: MixtureParams
    noise: Noise | None = None
    noise_weight: float = 0.0
    grouping: Grouping | None = None

    @property
    def components(self) -> list[int]:
        """Numbers of the columns of responsibilities: -1 is the noise."""
        K = self.params.n_components if self.grouping is None else self.grouping.n_groups
        return [*range(K), *([] if self.noise is None else [-1])]

    def moments(self, chunk: Chunk) -> DrawMoments:
        """Return responsibilities, entropies and log-densities, averaged over draws."""
        flat = self.params.reshape(-1)
        if self.noise is None:
            return responsibility_moments(chunk, *flat.arrays(chunk), diagonal=flat.is_diagonal, grouping=self.grouping)
        log_weights, means, scale_tril = self.params.arrays()
        share = self.noise.share_inside(self.noise_weight)
        with np.errstate(divide="ignore"):
            logs = np.append(log_weights + np.log1p(-share), np.log(share))
        arrays = (a[None] for a in self.noise.beside(logs, means, scale_tril))
        return self.noise.completed(responsibility_moments(chunk, *arrays, diagonal=flat.is_diagonal), chunk.X)

    def labels(self, chunk: Chunk) -> np.ndarray:
        """Return the most probable component (n,) of each row, -1 for noise."""
        return np.array(self.components)[self.moments(chunk).mean.argmax(axis=1)]

    def responsibilities(self, chunk: Chunk) -> FloatArray:
        """Return the probability of each component (n, K) for each row, that of noise last."""
        return self.moments(chunk).mean

    def log_density(self, chunk: Chunk) -> FloatArray:
        """Return the log-density (n,) of each row, of a posterior that of the predictive density."""
        return self.moments(chunk).log_density


@dataclass(frozen=True)
class Sums:
    """Sums over rows that criteria are made of.

    Parameters
    ----------
    log_density : float
    log_certainty : float
        Of the log of each row's largest responsibility.
    weight : float
        Total weight of the rows.
    """

    log_density: float
    log_certainty: float
    weight: float

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.log_density + other.log_density, self.log_certainty + other.log_certainty, self.weight + other.weight)


def sums_over(rows: Rows, predictor: Predictor) -> Sums:
    """Return what criteria need of rows, in one pass."""
    return rows.map_reduce(_Sum(predictor.moments), Sums.__add__)


@dataclass(frozen=True, eq=False)
class _Sum:
    moments: Callable[[Chunk], DrawMoments]

    def __call__(self, chunk: Chunk) -> Sums:
        check_finite(chunk)
        moments = self.moments(chunk)
        weight = np.ones(len(chunk)) if chunk.weight is None else chunk.weight
        certainty = np.log(moments.mean.max(axis=1, initial=0.0)) if len(chunk) else np.empty(0)
        return Sums(float(weight @ moments.log_density), float(weight @ certainty), float(weight.sum()))
