"""Merge components that overlap into groups, the most entangled pair first."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import entr
from sklearn.utils.validation import check_is_fitted

from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.selection.selection import soft_entropy
from bayesgmm.text import counted
from bayesgmm.typing import ArrayLike, FloatArray, IntArray
from bayesgmm.validation import check_prob, check_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Merging", "elbow", "merge_components"]

FEWEST_FOR_ELBOW = 4
"""Two straight pieces go through any three points: fewer than four say nothing about a bend."""
_FEWEST_DRAWS, _MOST_DRAWS, _MOST_NUMBERS = 20, 200, 2e7  # rows x components x draws that take about a second
APART = 0.01
"""Nats of entropy a row: components that overlap less are groups already."""

type Group = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Merging:
    """Partitions of a mixture's components into K, K - 1, ..., 1 groups; ``print`` it for the suggestion in words.

    Attributes
    ----------
    steps : tuple
        ``steps[n - 1]`` holds the n groups, each a tuple of component numbers; groups are in the order of their first components.
    component_responsibilities : array of shape (N, K)
    row_weight : array of shape (N,)
        How often each row counts.
    draw_entropy : array of shape (draws, K), optional
        Of a posterior, the entropy of each of some draws with 1 to K groups.

    Examples
    --------
    >>> merging = Merging((((0, 1),), ((0,), (1,))), np.array([[0.9, 0.1], [0.2, 0.8]]), np.ones(2))
    >>> merging.n_components, merging.labels(2)
    (2, array([0, 1]))
    """

    steps: tuple[tuple[Group, ...], ...]
    component_responsibilities: FloatArray = field(repr=False)
    row_weight: FloatArray = field(repr=False)
    draw_entropy: FloatArray | None = field(default=None, repr=False)

    def entropy_interval(self, prob: float = 0.9) -> pd.DataFrame | None:
        """Return central intervals, over a posterior's draws, of each draw's own entropy along the same path of mergers.

        Parameters
        ----------
        prob : float
            Share of the draws that the intervals hold.

        Returns
        -------
        pandas.DataFrame, or None for a fit that is no posterior
            ``lower`` and ``upper`` by number of groups. Averaged responsibilities are less certain than those of a draw, so that
            :attr:`entropy` may lie above.
        """
        check_prob(prob)
        if self.draw_entropy is None:
            return None
        bounds = np.quantile(self.draw_entropy, [0.5 - prob / 2, 0.5 + prob / 2], axis=0)
        index = pd.RangeIndex(1, self.n_components + 1, name="n_groups")
        return pd.DataFrame(bounds.T, index=index, columns=["lower", "upper"])

    @property
    def n_components(self) -> int:
        """Number of components K before any merging."""
        return len(self.steps)

    @property
    def entropy(self) -> pd.Series:
        """Entropy ``-sum_i sum_g t_ig log t_ig`` of the responsibilities t, in nats, by number of groups; 0 with one group."""
        numbers = pd.RangeIndex(1, self.n_components + 1, name="n_groups")
        return pd.Series([soft_entropy(self.responsibilities(n), self.row_weight) for n in numbers], index=numbers, name="entropy")

    def groups(self, n: int) -> tuple[Group, ...]:
        """Return the components in each of n groups.

        Parameters
        ----------
        n : int
            From 1 to K.
        """
        if not 1 <= n <= self.n_components:
            raise InvalidParameterError(f"n must be from 1 to {self.n_components}, the number of components, got {n}")
        return self.steps[n - 1]

    def responsibilities(self, n: int) -> FloatArray:
        """Return the probabilities (N, n) of n groups: the sums of their components'."""
        return _merged(self.component_responsibilities, self.groups(n))

    def labels(self, n: int) -> IntArray:
        """Return the most probable of n groups (N,) of each row."""
        return self.responsibilities(n).argmax(axis=1)

    @property
    def suggested(self) -> int | None:
        """Number of groups at the bend of the entropy, a hint to be checked against `plot`: the bend is often slight.

        K where components hardly overlap, and None where there are too few of them to see a bend.
        """
        entropy = self.entropy.to_numpy()
        if entropy[-1] < APART * self.row_weight.sum():
            return self.n_components
        return elbow(entropy) if self.n_components >= FEWEST_FOR_ELBOW else None

    def __str__(self) -> str:
        K, total = self.n_components, self.entropy.iloc[-1]
        n = self.suggested
        if n is None:
            return (
                f"{K} components, entropy {total:.1f} nats: too few components to see a bend, so no number of groups is suggested."
            )
        if n == K:
            return f"{K} components, entropy {total:.1f} nats: they hardly overlap, each is a group of its own."
        groups = "; ".join("+".join(map(str, group)) for group in self.groups(n))
        return (
            f"{K} components make {counted(n, 'group')} of components: {groups}. Merging to {n} lowers the entropy from {total:.1f} to "
            f"{self.entropy[n]:.1f} nats, after which it falls more slowly."
        )

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the entropy against the number of groups, with the two straight pieces fitted on either side of the suggestion.

        Of a posterior, the band holds 90% of the draws' own entropies along the same path.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        from bayesgmm.plots.selection import plot_merging

        return plot_merging(self.entropy, self.suggested, self.entropy_interval(), ax)


def merge_components(
    fit: GaussianMixture | BayesianGaussianMixture | MixtureParams, X: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> Merging:
    """Merge the components of a mixture into groups, two at a time.

    BIC counts the normal components that a density needs; a group that is not normal takes several. Each step merges the pair whose
    union lowers the entropy of the responsibilities most. The density stays the same, only what is called a group changes (Baudry,
    Raftery, Celeux, Lo and Gottardo 2010, Journal of Computational and Graphical Statistics 19, 332-353).

    Parameters
    ----------
    fit : fitted estimator or MixtureParams
        Of a posterior, the mean responsibilities over draws are merged.
    X : array-like of shape (N, D)
    sample_weight : array-like of shape (N,), optional
        How often each row counts.

    Returns
    -------
    Merging

    Raises
    ------
    InvalidParameterError
        If ``fit`` is neither a fitted estimator nor a mixture.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> from bayesgmm.selection import merge_components
    >>> mixture = MixtureParams.from_covariances([0.4, 0.3, 0.3], [[0.0], [9.0], [10.0]], [[[1.0]]] * 3)
    >>> X, _ = mixture.sample(200, random_state=0)
    >>> merge_components(mixture, X).groups(2)
    ((0,), (1, 2))
    """
    table = _responsibilities(fit, X)
    given = check_weights(sample_weight, len(table))
    weight = np.ones(len(table)) if given is None else given
    groups: tuple[Group, ...] = tuple((k,) for k in range(table.shape[1]))
    found = [groups]
    while len(groups) > 1:
        groups = _merge(groups, *_most_entangled(_merged(table, groups), weight))
        found.append(groups)
    steps = tuple(reversed(found))
    params = fit if isinstance(fit, MixtureParams) else fit.params_
    return Merging(steps, table, weight, _draw_entropy(params, X, steps, weight))


def elbow(values: ArrayLike) -> int:
    """Return the number, counted from 1, at which two straight lines that share this point fit the values best.

    Parameters
    ----------
    values : array-like of shape (n,)
        At 1, 2, ..., n; at least three.

    Notes
    -----
    Each line is fitted by least squares to its own points; both have the point of change among them (Baudry et al. 2010, section 4.1).

    Examples
    --------
    >>> elbow([0.0, 1.0, 2.0, 7.0, 12.0])
    3
    """
    y = np.asarray(values, dtype=float)
    x = np.arange(1.0, len(y) + 1)
    if len(y) < 3:
        raise InvalidParameterError(f"an elbow takes at least 3 values, got {len(y)}")
    changes = range(2, len(y))
    return min(changes, key=lambda c: _residual(x[:c], y[:c]) + _residual(x[c - 1 :], y[c - 1 :]))


def _residual(x: FloatArray, y: FloatArray) -> float:
    return float(((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2).sum())


def _responsibilities(fit: GaussianMixture | BayesianGaussianMixture | MixtureParams, X: ArrayLike) -> FloatArray:
    if isinstance(fit, MixtureParams):
        table = fit.responsibilities(X)
        return table.reshape(-1, *table.shape[-2:]).mean(0)
    if not isinstance(fit, (GaussianMixture, BayesianGaussianMixture)):
        raise InvalidParameterError(f"fit must be a fitted estimator or MixtureParams, got {type(fit).__name__}")
    check_is_fitted(fit, "params_")
    if getattr(fit, "noise", False):
        raise InvalidParameterError("noise is no group to merge with others: fit with noise=False")
    return np.asarray(fit.predict_proba(X), dtype=float)


def _draw_entropy(
    params: MixtureParams, X: ArrayLike, steps: tuple[tuple[Group, ...], ...], weight: FloatArray
) -> FloatArray | None:
    """Return the entropies (draws, K) along the path under some evenly spread draws; None for a single mixture."""
    if not params.batch_shape:
        return None
    draws = params.reshape(-1).thin(max(_FEWEST_DRAWS, min(_MOST_DRAWS, int(_MOST_NUMBERS // (len(weight) * params.n_components)))))
    # A draw at a time: draws x rows x components need not exist together.
    tables = (draws[t].responsibilities(X) for t in range(len(draws.weights)))
    return np.array([[soft_entropy(_merged(table, groups), weight) for groups in steps] for table in tables])


def _merged(table: FloatArray, groups: tuple[Group, ...]) -> FloatArray:
    sums = np.column_stack([table[:, list(group)].sum(axis=1) for group in groups])
    # Rounding can take a sum just above one, where the entropy would be negative.
    return np.minimum(sums, 1.0)


def _most_entangled(table: FloatArray, weight: FloatArray) -> tuple[int, int]:
    """Return the pair of columns whose sum has the least entropy compared with theirs apart."""
    apart = weight @ entr(table)

    def drop(pair: tuple[int, int]) -> float:
        a, b = pair
        return float(apart[a] + apart[b] - weight @ entr(table[:, a] + table[:, b]))

    return max(combinations(range(table.shape[1]), 2), key=drop)


def _merge(groups: tuple[Group, ...], a: int, b: int) -> tuple[Group, ...]:
    union = tuple(sorted(groups[a] + groups[b]))
    return tuple(union if g == a else group for g, group in enumerate(groups) if g != b)
