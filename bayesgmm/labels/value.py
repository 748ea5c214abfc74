"""What relabelling found, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["AMBIGUOUS", "Relabelling", "agreement"]

AMBIGUOUS = 0.05
"""A draw whose labels are less clear than this is said to be ambiguous."""


@dataclass(frozen=True, eq=False)
class Relabelling:
    """Component orders of the draws of a mixture, and how sure they are.

    Parameters
    ----------
    method : str
    orders : int array of shape (..., K)
        Label k of a draw is given to its component ``orders[..., k]``; batch shape of the draws, such as ``(chain, draw)``.
    cost : array of shape (...)
        What the best assignment of each draw costs, in the method's own terms; see :func:`bayesgmm.labels.find_labels`.
    margin : array of shape (...)
        How much more the second-best assignment costs; infinite for a single component.
    clarity : array of shape (...)
        How clear the labels of the two most alike components are, on a scale that all methods share. Where rows were looked at: of the
        two labels' agreement with the mean of all relabelled draws (``sum_i r_ij q_ij + r_ik q_ik``), the share that would be lost if
        they swapped. Where only parameters were: one less the ratio of their squared distances from the pivot as they are and if they
        swapped. One is as clear as can be; near zero, swapped labels do as well; below zero, they agree with more rows.
    trace : tuple of float
        Total cost after each round of assignments. It never rises, except for ECR-ITERATIVE-2 and DATA-BASED, whose references are made
        of something else than what the costs count.
    converged : bool
        Whether another round would change nothing.

    Examples
    --------
    >>> found = Relabelling("sort", np.array([[0, 1], [1, 0]]), np.zeros(2), np.ones(2), np.array([0.9, 0.01]), (0.0,), True)
    >>> found.is_ambiguous
    array([False,  True])
    >>> found.apply([[10.0, 20.0], [20.0, 10.0]])
    array([[10., 20.],
           [10., 20.]])
    """

    method: str
    orders: IntArray
    cost: FloatArray
    margin: FloatArray
    clarity: FloatArray
    trace: tuple[float, ...]
    converged: bool

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the draws, such as ``(chain, draw)``."""
        return self.orders.shape[:-1]

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return self.orders.shape[-1]

    @property
    def iterations(self) -> int:
        """Rounds of assignments."""
        return len(self.trace)

    @property
    def is_ambiguous(self) -> np.ndarray:
        """Which draws (...) have a clarity below 0.05, so that their labels are close to a guess."""
        return self.clarity < AMBIGUOUS

    @property
    def ambiguous_share(self) -> float:
        """Share of ambiguous draws."""
        return float(self.is_ambiguous.mean())

    @property
    def moved(self) -> np.ndarray:
        """Which draws (...) did not keep the labels they came with."""
        return (self.orders != np.arange(self.n_components)).any(-1)

    def apply(self, values: ArrayLike, axis: int = -1) -> np.ndarray:
        """Return values in the new component order.

        Parameters
        ----------
        values : array of shape (..., K, ...)
            The draws' batch shape first.
        axis : int
            Where the components are; for matrices between components, apply it to both axes.

        Raises
        ------
        InvalidParameterError
            If the batch shape or the number of components is another.
        """
        values = np.asarray(values)
        n = len(self.batch_shape)
        place = axis if axis >= 0 else values.ndim + axis
        if values.shape[:n] != self.batch_shape or not n <= place < values.ndim or values.shape[place] != self.n_components:
            raise InvalidParameterError(
                f"values must have the draws' shape {self.batch_shape} first and {self.n_components} components on axis {axis}, "
                f"got shape {values.shape}"
            )
        shape = [*self.batch_shape, *(1 for _ in values.shape[n:])]
        shape[place] = self.n_components
        return np.take_along_axis(values, self.orders.reshape(shape), place)

    def apply_to_allocations(self, allocations: ArrayLike) -> IntArray:
        """Return allocations (..., N), numbers of components, as numbers of labels."""
        flat = np.asarray(allocations)
        inverse = np.argsort(self.orders, axis=-1)
        if flat.shape[: len(self.batch_shape)] != self.batch_shape:
            raise InvalidParameterError(f"allocations must have the draws' shape {self.batch_shape} first, got shape {flat.shape}")
        rows = flat.reshape(*self.batch_shape, -1)
        return np.take_along_axis(inverse, rows.astype(np.intp), -1).reshape(flat.shape)


def agreement(relabellings: Mapping[str, Relabelling]) -> pd.DataFrame:
    """Tell on what share of the draws any two relabellings agree.

    Two relabellings agree on a draw if they give it the same component order, once the labels of one of them have been renamed, for all
    draws alike, in the way that makes them agree most: names are each method's own.

    Parameters
    ----------
    relabellings : mapping of name to Relabelling
        Of the same draws.

    Returns
    -------
    pandas.DataFrame
        Shares, symmetric, with ones on the diagonal.

    Raises
    ------
    InvalidParameterError
        If there are none, or they are of different draws.

    Examples
    --------
    >>> orders = np.array([[0, 1], [1, 0], [0, 1], [0, 1]])
    >>> nothing = np.zeros(4)
    >>> one = Relabelling("one", orders, nothing, nothing, nothing, (0.0,), True)
    >>> other = Relabelling("other", orders[:, ::-1], nothing, nothing, nothing, (0.0,), True)
    >>> kept = Relabelling("kept", np.array([[0, 1]] * 4), nothing, nothing, nothing, (0.0,), True)
    >>> agreement({"one": one, "other": other, "kept": kept})
            one  other  kept
    one    1.00   1.00  0.75
    other  1.00   1.00  0.75
    kept   0.75   0.75  1.00
    """
    shapes = {found.orders.shape for found in relabellings.values()}
    if len(shapes) != 1:
        raise InvalidParameterError(f"relabellings must be of the same draws, at least one: got shapes {sorted(shapes)}")
    K = shapes.pop()[-1]
    flat = {name: found.orders.reshape(-1, K) for name, found in relabellings.items()}
    shares = [[_share_alike(one, other) for other in flat.values()] for one in flat.values()]
    return pd.DataFrame(shares, index=list(flat), columns=list(flat))


def _share_alike(one: IntArray, other: IntArray) -> float:
    """Share of draws (T, K) whose orders differ by the most common renaming."""
    renaming = np.take_along_axis(np.argsort(one, -1), other, -1)
    return float(np.unique(renaming, axis=0, return_counts=True)[1].max() / len(one))
