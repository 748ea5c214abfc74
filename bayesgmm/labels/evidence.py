"""What is known of the draws of a mixture, in the forms that relabelling can use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.labels.passes import Inspection, inspect
from bayesgmm.labels.rows import Rows, most_probable
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["Evidence", "along_first_axis", "mixture_features", "standardised"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Draws of a mixture, flat: T draws, N rows, K components. What is not known is None.

    Parameters
    ----------
    batch_shape : tuple of int
        Shape of the draws before they were made flat.
    n_components : int
    responsibilities, allocations : Rows, optional
        Allocations as responsibilities of zero and one.
    features : array of shape (T, K, P), optional
        Parameters of each component, on comparable scales.
    X : array of shape (N, D), optional
    reference : array of shape (N, K), optional
        Responsibilities whose labels the draws shall have.
    reference_features : array of shape (K, P), optional
        Parameters of the same reference, on the scales of ``features``.
    functional : array of shape (T, K), optional
        Number by which to sort components.
    log_posterior : array of shape (T,), optional
    """

    batch_shape: tuple[int, ...]
    n_components: int
    responsibilities: Rows | None = None
    allocations: Rows | None = None
    features: FloatArray | None = None
    X: FloatArray | None = None
    reference: FloatArray | None = None
    reference_features: FloatArray | None = None
    functional: FloatArray | None = None
    log_posterior: FloatArray | None = None

    def need(self, name: str, method: str) -> Any:
        """Return what a method cannot do without, or say that it is missing."""
        value = getattr(self, name)
        if value is None:
            raise InvalidParameterError(f"method {method!r} needs {_WORDS[name]}, which are not given: {_REMEDIES[name]}")
        return value

    @property
    def rows(self) -> Rows | None:
        """Responsibilities, or allocations where there are none."""
        return self.allocations if self.responsibilities is None else self.responsibilities

    @cached_property
    def inspected(self) -> Inspection:
        """Sums over the rows, which have been found to be probabilities."""
        return inspect(self.need("rows", "any"))

    @cached_property
    def counted(self) -> Rows | None:
        """Allocations: those given, otherwise every row's most probable component in each draw."""
        rows = self.responsibilities
        return self.allocations if self.allocations is not None or rows is None else most_probable(rows)

    @cached_property
    def pivot(self) -> int:
        """Draw that stands for all where there is no reference: of the highest posterior density, or else the most ordinary one.

        Judged by what does not depend on labels: sums and sums of squares over components of the parameters, or the sorted sizes of the
        components; the draw nearest to their means, in their standard deviations.
        """
        if self.log_posterior is not None:
            return int(self.log_posterior.argmax())
        if self.features is not None:
            facts = np.concatenate([self.features.sum(1), (self.features**2).sum(1)], axis=1)
        else:
            facts = np.sort(self.inspected.sizes, axis=1)
        # Sums in another order of the components differ in their last bits, which must not choose between equally good draws.
        return int((standardised(facts, facts) ** 2).sum(1).round(6).argmin())

    @cached_property
    def anchor(self) -> FloatArray:
        """Responsibilities (N, K) from which iterations start: the reference's, otherwise those of the pivot."""
        rows: Rows = self.need("rows", "any")
        return rows.draw(self.pivot) if self.reference is None else self.reference


_WORDS = {
    "rows": "responsibilities or allocations of the rows",
    "responsibilities": "responsibilities of the rows",
    "counted": "allocations or responsibilities of the rows",
    "features": "parameters of the components",
    "X": "the rows themselves",
    "reference": "responsibilities of a reference",
    "functional": "numbers to sort by",
}
_REMEDIES = {
    "rows": "give params and X, or responsibilities, or allocations",
    "responsibilities": "give params and X, or responsibilities",
    "counted": "give allocations, or responsibilities, or params and X",
    "features": "give params or parameters",
    "X": "give X",
    "reference": "give reference, responsibilities (N, K) or (with X) a mixture, such as an EM fit; or choose another method",
    "functional": "give functional, numbers for each draw and component, or params",
}


def standardised(values: FloatArray, like: FloatArray) -> FloatArray:
    """Return values in standard deviations from the mean of ``like``, over all its axes but the last; constants become zero."""
    axes = tuple(range(like.ndim - 1))
    mean, sd = like.mean(axes), like.std(axes)
    return np.where(sd > 1e-12 * np.abs(mean), (values - mean) / np.where(sd > 0, sd, 1.0), 0.0)


def mixture_features(params: MixtureParams) -> FloatArray:
    """Return weights, means, logs of standard deviations and correlations of each component, (..., K, P)."""
    below = np.tril_indices(params.n_features, -1)
    correlations = params.correlations[(..., *below)]
    return np.concatenate([params.weights[..., None], params.means, np.log(params.sds), correlations], axis=-1)


def along_first_axis(params: MixtureParams) -> FloatArray:
    """Return the components' means (T, K) along the first principal axis of all of them, which points where its largest loading does."""
    means = params.means.reshape(-1, params.n_features)
    centred = means - means.mean(0)
    scale = centred.std(0)
    scale[scale == 0] = 1.0
    axis = np.linalg.svd(centred / scale, full_matrices=False)[2][0]
    axis *= np.sign(axis[np.abs(axis).argmax()])
    return (params.means - means.mean(0)) @ (axis / scale)
