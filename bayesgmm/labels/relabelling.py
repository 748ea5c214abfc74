"""The labels of draws, by any method, from whatever is known of them; what was found, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.threads import libraries_on_one_thread
from bayesgmm.labels.assignment import margins, totals
from bayesgmm.labels.draws import MixtureDraws
from bayesgmm.labels.methods import METHODS, Outcome, squared_distances
from bayesgmm.labels.responsibilities import relabelled_mean, update
from bayesgmm.params import MixtureParams
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["Relabelling", "agreement", "check_method", "find_all", "find_labels", "is_possible", "solve"]

AMBIGUOUS = 0.05
"""A draw whose labels are less clear than this is said to be ambiguous."""

_BY_PARAMETERS = {"pra", "sort"}
_LIKE_THE_REFERENCE = {"em-pivot", "ecr"}
_NEEDED = {
    "em-pivot": ("rows", "reference"),
    "ecr-iterative-2": ("responsibilities",),
    "pra": ("features",),
    "data-based": ("rows", "X"),
    "sort": ("functional",),
}
"""Of `MixtureDraws`; the other methods need rows."""
MAX_ITER = 100


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


def find_labels(
    method: str = "em-pivot",
    *,
    params: MixtureParams | None = None,
    X: ArrayLike | None = None,
    responsibilities: Any = None,
    allocations: Any = None,
    parameters: ArrayLike | None = None,
    reference: MixtureParams | ArrayLike | None = None,
    functional: ArrayLike | Callable[[MixtureParams], FloatArray] | None = None,
    log_posterior: ArrayLike | None = None,
    n_components: int | None = None,
    max_iter: int = MAX_ITER,
) -> Relabelling:
    """Find the component order of every draw that makes labels mean the same in all draws.

    Whatever the method, the best of all K! orders is found exactly, as a linear assignment problem.

    Parameters
    ----------
    method : str
        What it costs to give component j of a draw the label k, and what is needed to say so:

        ========================  =======================================================  =================================
        method                    cost                                                     needs
        ========================  =======================================================  =================================
        em-pivot                  divergence from the reference's responsibilities, nats   rows, reference
        stephens                  divergence from the mean of relabelled responsibilities  rows
        ecr                       rows that have another label than in the pivot           allocations or responsibilities
        ecr-iterative-1           same; pivot: most frequent relabelled allocation         allocations or responsibilities
        ecr-iterative-2           same; pivot: greatest mean relabelled responsibility     responsibilities
        pra                       squared distance of parameters from the pivot's          params or parameters
        data-based                squared distance of the rows from the label's place      rows and X
        sort                      squared distance of sorted numbers from their means      params or functional
        ========================  =======================================================  =================================

        "Responsibilities" are responsibilities, or allocations, which are taken for responsibilities of zero and one. Where ECR is given
        responsibilities alone, a row's allocation is its most probable component in that draw.
    params : MixtureParams, optional
        The draws, batch shape ``(...)``, such as ``(chain, draw)``. With ``X`` they give responsibilities, a few rows at a time.
    X : array of shape (N, D), optional
        NaN where a value is missing.
    responsibilities : array of shape (..., N, K), optional
        Or, for draws (T, N, K), anything with a shape that can be cut like an array, such as a memory map: it is read a few rows at a time.
    allocations : int array of shape (..., N), optional
        Components 0 to K - 1.
    parameters : array of shape (..., K, P), optional
        Numbers that describe each component; taken from ``params`` by default. They are standardised here.
    reference : MixtureParams of batch shape () or array of shape (N, K), optional
        Whose labels the draws shall have, such as an EM fit or its responsibilities; otherwise labels are named as in most draws.
        Methods that need a pivot take it, and those that iterate start there; otherwise a draw serves: of the highest
        ``log_posterior``, or else the most ordinary one.
    functional : array of shape (..., K) or callable, optional
        Numbers by which "sort" sorts components, upwards, or how to get them from ``params``; by default the means along the first
        principal axis of all components' means. (Given a reference, the sorted components then take its names.)
    log_posterior : array of shape (...), optional
    n_components : int, optional
        K, where only allocations are given; by default one more than the greatest of them.
    max_iter : int
        Most rounds of methods that iterate.

    Returns
    -------
    Relabelling

    Raises
    ------
    InvalidParameterError
        If the method is unknown, something that it needs is missing, or shapes disagree.
    InvalidDataError
        If values are not numbers, responsibilities are no probabilities, or allocations no components.

    Notes
    -----
    The sources are named in `bayesgmm.labels.methods`. A reference is smoothed by a share of 1e-6 of the uniform, so that no row
    decides alone.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 1)) + np.repeat([0.0, 6.0], 25)[:, None]
    >>> draw = MixtureParams.from_covariances([0.6, 0.4], [[0.0], [6.0]], [[[1.0]], [[1.0]]])
    >>> draws = MixtureParams(*(np.stack([a, a, a[::-1]]) for a in (draw.weights, draw.means, draw.scale_tril)))
    >>> found = find_labels("stephens", params=draws, X=X)
    >>> found.orders
    array([[0, 1],
           [0, 1],
           [1, 0]])
    >>> draws.permute(found.orders).weights
    array([[0.6, 0.4],
           [0.6, 0.4],
           [0.6, 0.4]])
    """
    check_method(method)
    draws = MixtureDraws.of(
        params=params,
        X=X,
        responsibilities=responsibilities,
        allocations=allocations,
        parameters=parameters,
        reference=reference,
        functional=functional,
        log_posterior=log_posterior,
        n_components=n_components,
    )
    return solve(method, draws, max_iter)


def find_all(methods: Sequence[str] | None = None, *, max_iter: int = MAX_ITER, **known: Any) -> dict[str, Relabelling]:
    """Find the labels by several methods, to be compared by :func:`bayesgmm.labels.agreement`.

    Parameters
    ----------
    methods : sequence of str, optional
        By default all for which there is what they need.
    max_iter : int
    **known
        As for :func:`find_labels`.

    Returns
    -------
    dict of str to Relabelling

    Examples
    --------
    >>> z = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1]])
    >>> {name: found.orders.tolist() for name, found in find_all(allocations=z).items()}
    {'stephens': [[0, 1], [1, 0], [0, 1]], 'ecr': [[0, 1], [1, 0], [0, 1]], 'ecr-iterative-1': [[0, 1], [1, 0], [0, 1]]}
    """
    for method in methods or ():
        check_method(method)
    draws = MixtureDraws.of(**known)
    names = [name for name in METHODS if is_possible(name, draws)] if methods is None else methods
    return {name: solve(name, draws, max_iter) for name in names}


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


@libraries_on_one_thread()
def solve(method: str, draws: MixtureDraws, max_iter: int) -> Relabelling:
    """Return the labels that a method finds."""
    if max_iter < 1:
        raise InvalidParameterError(f"max_iter must be at least 1, got {max_iter}")
    if method not in _BY_PARAMETERS and draws.rows is not None:
        draws.totals  # noqa: B018 - says what is wrong with the rows before they are used
    outcome = _named(METHODS[method](draws, max_iter), method, draws)
    found = (
        totals(outcome.costs, outcome.orders) + outcome.extra,
        margins(outcome.costs, outcome.orders),
        _clarity(method, draws, outcome),
    )
    cost, margin, clarity = (values.reshape(draws.batch_shape) for values in found)
    orders = outcome.orders.reshape(*draws.batch_shape, -1)
    return Relabelling(method, orders, cost, margin, clarity, outcome.trace, outcome.converged)


def _named(outcome: Outcome, method: str, draws: MixtureDraws) -> Outcome:
    """Give the labels, which are a method's own, the names that they have in the reference, or else in most draws."""
    if draws.reference is None and draws.reference_features is None:
        components = np.arange(draws.n_components)
        return outcome if method == "sort" else outcome.renamed((outcome.orders[:, :, None] == components).sum(0))
    if method in _LIKE_THE_REFERENCE:
        return outcome
    if draws.reference is not None and draws.rows is not None:
        return outcome.renamed(relabelled_mean(draws.rows, outcome.orders).T @ draws.reference)
    if draws.features is None or draws.reference_features is None:
        return outcome
    mean = np.take_along_axis(draws.features, outcome.orders[:, :, None], 1).mean(0)
    return outcome.renamed(-squared_distances(mean, draws.reference_features))


def _clarity(method: str, draws: MixtureDraws, outcome: Outcome) -> FloatArray:
    """Return how clear the labels of the two most alike components of each draw are: see `Relabelling`.

    Two components that hold nothing, or are the same, are as unclear as can be.
    """
    by_distance = method in _BY_PARAMETERS
    table = outcome.costs if by_distance else update(draws.need("rows", "any"), outcome.orders, lambda mean: mean)[0]
    by_label = np.take_along_axis(table, outcome.orders[:, :, None], axis=1)
    one, other = np.triu_indices(draws.n_components, 1)
    kept = by_label[:, one, one] + by_label[:, other, other]
    swapped = by_label[:, one, other] + by_label[:, other, one]
    # Agreement is lost by a swap, distances grow.
    more, less = (swapped, kept) if by_distance else (kept, swapped)
    return np.divide(more - less, more, out=np.zeros_like(more), where=more > 0).min(1, initial=1.0)


def is_possible(method: str, draws: MixtureDraws) -> bool:
    """Whether there is what a method needs."""
    return all(getattr(draws, name) is not None for name in _NEEDED.get(method, ("rows",)))


def check_method(method: str) -> None:
    """Raise unless there is such a method."""
    if method not in METHODS:
        raise InvalidParameterError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
