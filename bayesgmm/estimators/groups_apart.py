"""Which components of a fit are one group: a family may take several of them for one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import stats
from scipy.sparse import csgraph

from bayesgmm.covariance import family
from bayesgmm.em.fit import Specification, Start, fit_em
from bayesgmm.em.impute import impute
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["groups_apart"]

_MOST_ROWS = 4_000
_PLACES = 65
_LEVEL = 0.2
"""Of the test for fewer rows in the valley than on the peaks."""
_VERY_STRONG = 10.0
"""Difference in BIC from which on evidence is very strong (Kass and Raftery 1995, JASA 90, 773-795): slices of one group part by less."""
_LEAST_SHARE = 1e-3
"""Probability of being in one of two components below which a row says nothing of them."""
_LEAST_SHARED = 1e-3
"""Rows that two components share, of those of the smaller one, below which they stand apart: parts of one group touch."""
_SEED = 0
"""Of the values that stand for missing ones: the answer is to be the same every time."""


def groups_apart(params: MixtureParams, rows: MemoryRows) -> IntArray:
    """Return which group each component is in.

    Two components are one group if together they make one hill of the density, as where a group is skewed; and if their rows, seen along
    the line that tells the two best apart, have no valley between them, as where round components line up in a long group.

    Parameters
    ----------
    params : MixtureParams
        A single mixture.
    rows : MemoryRows
        What it was fitted to. Of more than 4,000 rows so many are looked at, evenly spread.

    Returns
    -------
    int array of shape (K,)
        Groups are numbered from 0 in the order of their first components.

    Notes
    -----
    Along the line (Fisher's discriminant with the components' mean covariance, and the same without its correlations) two components
    stand apart if there are fewer rows in a stretch between them than in one as long about either mean, by a binomial test at 20 %, and
    two normal distributions of one variance, with a valley between them, are better than one by a BIC of 10. Rows count by the
    probability of being in one of the two components. Components that share hardly a row are not asked. Pairs are joined to groups
    (:meth:`bayesgmm.MixtureParams.hills`).

    BIC of a whole mixture answers another question: it takes two round components for a long group where these cost fewer parameters
    than a covariance matrix.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> rng = np.random.default_rng(1)
    >>> long = rng.normal(size=(200, 2)) * [6.0, 1.0]
    >>> em = bg.GaussianMixture(2, covariance_type="spherical", random_state=1).fit(long)
    >>> em.params_.hills(), groups_apart(em.params_, em.rows_)
    (array([0, 1]), array([0, 0]))
    """
    K, some = params.n_components, rows.some(_MOST_ROWS)
    X = impute(some.chunk, params, 1, np.random.default_rng(_SEED))[0] if np.isnan(some.values).any() else some.values
    probability = params.responsibilities(X)
    responsibilities = probability if some.weights is None else some.weights[:, None] * probability
    hills = params.hills()
    together = hills[:, None] == hills
    sizes = responsibilities.sum(0)
    shared = probability.T @ responsibilities
    touch = shared >= _LEAST_SHARED * np.minimum(sizes, sizes[:, None])
    for j, k in combinations(range(K), 2):
        if touch[j, k] and not together[j, k]:
            together[j, k] = together[k, j] = all(
                _is_one_hill(X @ line, responsibilities[:, [j, k]]) for line in _lines(params, j, k)
            )
    labels = csgraph.connected_components(together, directed=False)[1]
    return np.asarray(np.unique(labels, return_index=True, return_inverse=True)[1].argsort().argsort()[labels], dtype=np.intp)


def _lines(params: MixtureParams, j: int, k: int) -> tuple[FloatArray, FloatArray]:
    """Return the directions (D,) along which two components differ most: Fisher's, and that from mean to mean in their units."""
    pair = params.weights[[j, k]] / params.weights[[j, k]].sum()
    apart = params.means[k] - params.means[j]
    covariance = np.tensordot(pair, params.covariances[[j, k]], axes=1)
    scale = np.sqrt(np.diagonal(covariance))
    return np.linalg.solve(covariance, apart), apart / scale**2


def _is_one_hill(z: FloatArray, share: FloatArray) -> bool:
    """Return whether places on a line (n,), with shares (n, 2) in two components, are one hill."""
    sizes = share.sum(0)
    if (sizes <= 0).any():
        return True
    order = np.argsort(share.T @ z / sizes)
    sizes, share = sizes[order], share[:, order]
    means = share.T @ z / sizes
    sds = np.sqrt((share * (z[:, None] - means) ** 2).sum(0) / sizes)
    if sds.min() == 0 or means[0] == means[1]:
        return bool(means[0] == means[1])
    places = np.linspace(means[0], means[1], _PLACES)
    valley = places[(sizes / sds * np.exp(-0.5 * ((places[:, None] - means) / sds) ** 2)).sum(1).argmin()]
    width = np.abs(means - valley).min() / 3.0
    if width == 0:
        return True
    weight = share.sum(1)
    left, between, right = (float(weight[np.abs(z - place) <= width].sum()) for place in (means[0], valley, means[1]))
    peak = min(left, right)
    # As many rows in the valley as on the lower of the two peaks, but for chance.
    if stats.binom.cdf(np.round(between), np.round(between + peak), 0.5) > _LEVEL:
        return True
    seen = weight > _LEAST_SHARE
    rows = MemoryRows(z[seen, None], weights=weight[seen])
    variance = float((sizes * sds**2).sum() / sizes.sum())
    start = Start(sizes / sizes.sum(), means[:, None], np.full((2, 1, 1), variance))
    one = fit_em(rows, Specification(1, family("full")))
    two = fit_em(rows, Specification(2, family("tied"), start=start))
    gain = 2.0 * (two.log_likelihood - one.log_likelihood) - 2.0 * np.log(sizes.sum())
    return gain < _VERY_STRONG or bool(two.params.hills(depth=0.0).max() == 0)
