"""The labels of draws, by any method, from whatever is known of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.threads import libraries_on_one_thread
from bayesgmm.labels.assignment import margins, totals
from bayesgmm.labels.evidence import Evidence
from bayesgmm.labels.inputs import evidence_of
from bayesgmm.labels.methods import METHODS, Outcome, squared_distances
from bayesgmm.labels.passes import relabelled_mean, update
from bayesgmm.labels.value import Relabelling
from bayesgmm.params import MixtureParams
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["check_method", "find_all", "find_labels", "is_possible", "solve"]

_BY_PARAMETERS = {"pra", "sort"}
_LIKE_THE_REFERENCE = {"em-pivot", "ecr"}
MAX_ITER = 100


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

        "Rows" are responsibilities, or allocations, which are taken for responsibilities of zero and one. Where ECR is given
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
    evidence = evidence_of(
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
    return solve(method, evidence, max_iter)


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
    evidence = evidence_of(**known)
    names = [name for name in METHODS if is_possible(name, evidence)] if methods is None else methods
    return {name: solve(name, evidence, max_iter) for name in names}


@libraries_on_one_thread()
def solve(method: str, evidence: Evidence, max_iter: int) -> Relabelling:
    """Return the labels that a method finds."""
    if max_iter < 1:
        raise InvalidParameterError(f"max_iter must be at least 1, got {max_iter}")
    if method not in _BY_PARAMETERS and evidence.rows is not None:
        evidence.inspected  # noqa: B018 - says what is wrong with the rows before they are used
    outcome = _named(METHODS[method](evidence, max_iter), method, evidence)
    cost = totals(outcome.costs, outcome.orders) + outcome.extra
    margin = margins(outcome.costs, outcome.orders)
    clarity = _distance_clarity(outcome) if method in _BY_PARAMETERS else _row_clarity(evidence, outcome)
    shape = evidence.batch_shape
    return Relabelling(
        method,
        outcome.orders.reshape(*shape, -1),
        cost.reshape(shape),
        margin.reshape(shape),
        clarity.reshape(shape),
        outcome.trace,
        outcome.converged,
    )


def _named(outcome: Outcome, method: str, evidence: Evidence) -> Outcome:
    """Give the labels, which are a method's own, the names that they have in the reference, or else in most draws."""
    if evidence.reference is None and evidence.reference_features is None:
        components = np.arange(evidence.n_components)
        return outcome if method == "sort" else outcome.renamed((outcome.orders[:, :, None] == components).sum(0))
    if method in _LIKE_THE_REFERENCE:
        return outcome
    if evidence.reference is not None and evidence.rows is not None:
        return outcome.renamed(relabelled_mean(evidence.rows, outcome.orders).T @ evidence.reference)
    if evidence.features is None or evidence.reference_features is None:
        return outcome
    mean = np.take_along_axis(evidence.features, outcome.orders[:, :, None], 1).mean(0)
    return outcome.renamed(-squared_distances(mean, evidence.reference_features))


def _row_clarity(evidence: Evidence, outcome: Outcome) -> FloatArray:
    """Return the share of two labels' agreement with the mean of all draws that would be lost if they swapped, for the two worst."""
    agreement, _ = update(evidence.need("rows", "any"), outcome.orders, lambda mean: mean)
    kept, swapped = _pairs(agreement, outcome.orders)
    return _least(kept - swapped, kept)


def _distance_clarity(outcome: Outcome) -> FloatArray:
    """Return one less the ratio of two labels' squared distances as they are and if they swapped, for the two worst."""
    kept, swapped = _pairs(outcome.costs, outcome.orders)
    return _least(swapped - kept, swapped)


def _pairs(table: FloatArray, orders: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return what every two labels have in the table (T, K, K), and what they would have if they swapped, (T, K (K - 1) / 2)."""
    by_label = np.take_along_axis(table, orders[:, :, None], axis=1)
    one, other = np.triu_indices(orders.shape[1], 1)
    return by_label[:, one, one] + by_label[:, other, other], by_label[:, one, other] + by_label[:, other, one]


def _least(above: FloatArray, below: FloatArray) -> FloatArray:
    """Return the least ratio of each draw; two components that hold nothing, or are the same, are as unclear as can be."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0).min(1, initial=1.0)


def is_possible(method: str, evidence: Evidence) -> bool:
    """Whether there is what a method needs."""
    needed = {
        "em-pivot": evidence.rows is not None and evidence.reference is not None,
        "ecr-iterative-2": evidence.responsibilities is not None,
        "pra": evidence.features is not None,
        "data-based": evidence.rows is not None and evidence.X is not None,
        "sort": evidence.functional is not None,
    }
    return needed.get(method, evidence.rows is not None)


def check_method(method: str) -> None:
    """Raise unless there is such a method."""
    if method not in METHODS:
        raise InvalidParameterError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
