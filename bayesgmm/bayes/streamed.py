"""The log-posterior of rows in chunks: the pass over them is made wherever they are, the rest is the compiled density's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, ClassVar

import numpy as np

from bayesgmm.bayes import _density
from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.space import Space
from bayesgmm.expectation import Statistics, expectations, score
from bayesgmm.frame import Frame
from bayesgmm.kernels.compile import Pointer
from bayesgmm.kernels.score import GIVEN_SCORE
from bayesgmm.priors import ResolvedPriors
from bayesgmm.rows import Rows
from bayesgmm.typing import FloatArray

__all__ = ["StreamedPosterior", "log_prior"]

TOGETHER = 64
"""Points whose statistics are taken in one pass over the rows."""


@dataclass(frozen=True, eq=False)
class StreamedPosterior(LogPosterior):
    """Log-posterior density and gradient, in scaled columns, of rows that stay in the user's units.

    Whitened by a component, a row is the same in either units, and so are the statistics; only the density changes, by the scales.

    Parameters
    ----------
    X : Rows or None
        None for the prior alone (:func:`log_prior`).
    space : Space
    priors : ResolvedPriors
        For data in the coordinates of the frame.
    frame : Frame
        Along the columns.
    """

    in_chunks: ClassVar[bool] = True

    X: Rows | None  # type: ignore[assignment]
    space: Space
    priors: ResolvedPriors
    sample_weight: None = None
    frame: Frame | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Be made anew where it is unpickled."""
        return StreamedPosterior, (self.X, self.space, self.priors, None, self.frame)

    @cached_property
    def _passes(self) -> Lock:
        """One pass at a time: it has all cores already."""
        return Lock()

    def __call__(self, q: FloatArray) -> tuple[float, FloatArray]:
        """Return log-density and gradient at q (n_dim,), in one pass over the chunks."""
        values, gradients = self.at_each(np.asarray(q, dtype=float)[None])
        return float(values[0]), gradients[0]

    def at_each(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log-densities (S,) and gradients (S, n_dim) at the rows of q (S, n_dim), in as few passes as memory allows."""
        if q.shape[-1] != self._n_dim:
            raise ValueError(f"q must have length {self._n_dim}, got {q.shape[-1]}")
        parts = [self._in_one_pass(q[i : i + TOGETHER]) for i in range(0, len(q), TOGETHER)]
        return np.concatenate([values for values, _ in parts]), np.concatenate([gradients for _, gradients in parts])

    def _in_one_pass(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        assert self.frame is not None
        assert self.X is not None
        inside = self.space.constrain(q)
        mixtures = list(zip(*self.frame.params_out(inside).arrays(), strict=True))
        if not all(np.isfinite(array).all() for mixture in mixtures for array in mixture):
            # A step that overflowed: its density is none, and a sampler turns back.
            return np.full(len(q), -np.inf), np.zeros_like(q)
        with self._passes:
            found = expectations(self.X, mixtures, diagonal=self.space.n_matrices == 0)
        ends = [self.finish(row, self._numbers(*pair)) for row, *pair in zip(q, found, inside.scale_tril, strict=True)]
        return np.array([value for value, _ in ends]), np.array([gradient for _, gradient in ends])

    def _numbers(self, statistics: Statistics, scale_tril: FloatArray) -> FloatArray:
        """Return value and gradients of the log-likelihood in the frame's coordinates, flat."""
        assert self.frame is not None
        assert self.X is not None
        value = statistics.log_likelihood + float(self.X.summary.seen @ np.log(np.diag(self.frame.factor)))
        gradient = score(statistics, np.ascontiguousarray(np.linalg.inv(scale_tril)))
        return np.concatenate([[value], *(part.ravel() for part in gradient)])

    def finish(self, q: FloatArray, numbers: FloatArray) -> tuple[float, FloatArray]:
        """Add priors and the chain rule to what the rows say."""
        user = self.user_data.copy()
        user[-len(numbers) :] = numbers
        gradient = np.empty(len(q))
        return _density.log_posterior(np.ascontiguousarray(q), user, gradient), gradient

    @property
    def n_numbers(self) -> int:
        """How many numbers the rows say: value and gradients of the log-likelihood."""
        K, D = self.space.n_components, self.space.n_features
        return 1 + K + K * D + K * D * D

    def _score(self) -> Pointer:
        return GIVEN_SCORE

    def _rows(self) -> tuple[FloatArray, FloatArray]:
        return np.empty(0), np.zeros(self.n_numbers)

    @cached_property
    def has_gaps(self) -> bool:
        """Whether some row lacks some value."""
        return self.X is not None and self.X.summary.has_gaps


def log_prior(q: FloatArray, space: Space, priors: ResolvedPriors) -> FloatArray:
    """Return the log-densities (S,) of the prior alone at the rows of q (S, n_dim), on the unconstrained space.

    Parameters
    ----------
    q : array of shape (S, n_dim)
    space : Space
    priors : ResolvedPriors
    """
    without_rows = StreamedPosterior(None, space, priors)
    nothing = np.zeros(without_rows.n_numbers)
    return np.array([without_rows.finish(row, nothing)[0] for row in q])
