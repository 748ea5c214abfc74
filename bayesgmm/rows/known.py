"""What is known of rows beside their values: which components they can be of, errors of measurement, which of them belong together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.kernels.known import N_LINKS
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Known", "same_labels"]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of n rows; each part may be absent.

    Parameters
    ----------
    log_weights : array of shape (n, K), optional
        Added to the log-weights of the components: 0 where nothing is known, -inf for a component that a row is not of.
    error_of : int array of shape (n,), optional
        Which of the errors each row has.
    error_tril : array of shape (G, D, D), optional
        Cholesky factors of the errors' covariances.
    sets : int array of shape (n,), optional
        Rows with the same number belong together: they are of one component.
    n_named : int
        Sets with smaller numbers than this have names: a row of weight two is then two rows of the set, even if it is the only one.
    share_of : int array of shape (n,), optional
        Which of several vectors of weights each row has: that of its sample, say.
    n_shares : int
        How many vectors there are; zero without.
    """

    log_weights: FloatArray | None = None
    error_of: IntArray | None = None
    error_tril: FloatArray | None = None
    sets: IntArray | None = None
    share_of: IntArray | None = None
    n_shares: int = 0
    n_named: int = 0

    @property
    def names(self) -> str:
        """What is known, in words."""
        parts = {"labels": self.log_weights, "errors": self.error_of, "sets": self.sets, "shares of their own": self.share_of}
        return ", ".join(name for name, part in parts.items() if part is not None)

    def take(self, numbers: IntArray | slice) -> Known:
        """Return what is known of some of the rows."""
        log_weights = None if self.log_weights is None else self.log_weights[numbers]
        error_of, sets, share_of = (None if part is None else part[numbers] for part in (self.error_of, self.sets, self.share_of))
        return replace(self, log_weights=log_weights, error_of=error_of, sets=sets, share_of=share_of)

    def turned(self, factor: FloatArray) -> Known:
        """Return the same of rows that a matrix (D, D) was applied to: their errors are turned with them."""
        if self.error_tril is None:
            return self
        upper = np.linalg.qr((factor @ self.error_tril).swapaxes(-1, -2), mode="r")
        signs = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
        return replace(self, error_tril=np.ascontiguousarray((signs[..., None] * upper).swapaxes(-1, -2)))

    def columns(self, n_rows: int) -> FloatArray:
        """Return what makes rows with the same values differ, as numbers (n, M); rows of sets differ all."""
        parts = [part for part in (self.log_weights, self.error_of, self.share_of) if part is not None]
        return np.column_stack([np.zeros((n_rows, 0)), *parts])

    def order(self) -> IntArray | None:
        """Return an order in which rows with one error stand together, and those of a set; None where any will do."""
        keys = [key for key in (self.sets, self.error_of) if key is not None]
        return np.lexsort(keys) if keys else None

    def table(self, values: FloatArray, weights: FloatArray | None, n_components: int) -> FloatArray:
        """Return values (n, D) and what is known as one table, as :mod:`bayesgmm.kernels.known` takes it."""
        (n, D), K = values.shape, n_components
        own = np.zeros((n, 0))
        if self.error_of is not None and self.error_tril is not None:
            own = self.error_tril[:, *np.tril_indices(D)][self.error_of]
        table = np.zeros((n, D + K + N_LINKS + own.shape[1]))
        table[:, :D] = values
        if self.log_weights is not None:
            table[:, D : D + K] = self.log_weights
        first, following = self._links(n, weights)
        table[:, D + K], table[:, D + K + 1] = first, following
        table[:, D + K + 2] = 0 if self.share_of is None else self.share_of
        table[:, D + K + 3] = 1.0 if weights is None else weights
        table[:, D + K + N_LINKS :] = own
        return table

    def _links(self, n: int, weights: FloatArray | None) -> tuple[IntArray, IntArray]:
        """Return for each row the first of its set and the next one, itself if it is the last; -1 where it is the only one."""
        first, following = np.arange(n), np.full(n, -1)
        if self.sets is None:
            return first, following
        order = np.argsort(self.sets, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(self.sets[order]) != 0]) if n else np.zeros(0, dtype=int)
        for start, stop in zip(starts, np.r_[starts[1:], n], strict=True):
            members = order[start:stop]
            only = members[0]
            if len(members) > 1 or (weights is not None and weights[only] != 1.0 and self.sets[only] < self.n_named):
                first[members] = members[0]
                following[members] = np.r_[members[1:], members[-1]]
        return first, following


def same_labels(first: Known | None, second: Known | None) -> bool:
    """Return whether the same components are possible for the rows of two fits: only then do their components have the same names."""
    ours, theirs = (None if known is None else known.log_weights for known in (first, second))
    if ours is None or theirs is None:
        return ours is theirs
    return np.array_equal(ours, theirs)
