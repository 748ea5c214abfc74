"""Whether each group has the shape of a normal distribution: skewness and tails of its rows beside those of simulated ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from bayesgmm.criticism.elpd import times_each
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import values_behind
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import draw_labels
from bayesgmm.random import generator
from bayesgmm.rows import Chunk, as_chunk
from bayesgmm.typing import FloatArray, RandomState

__all__ = ["group_shapes", "shapes_of"]

_DRAWS = 200
_MOST_ROWS = 5_000


def group_shapes(
    fit: GaussianMixture | BayesianGaussianMixture, *, n_draws: int = _DRAWS, random_state: RandomState = None
) -> pd.DataFrame:
    """Ask of each component whether its rows are skewed, or have heavier or lighter tails than a normal distribution.

    A group that is not normal takes several components, and ever more of them the more rows there are: where a component fails here, the
    number of components says little about the number of groups.

    Parameters
    ----------
    fit : GaussianMixture or BayesianGaussianMixture
        Fitted to rows in memory.
    n_draws : int
        Draws of the posterior, evenly spread, each with rows that are put into components at random by their responsibilities.
    random_state : int, Generator, RandomState or None

    Returns
    -------
    pandas.DataFrame
        Indexed by ``component``: ``rows`` in it, of those looked at; ``skewness`` of its most skewed column, and which ``column`` that is;
        ``tails``, the mean fourth power of the distance in standard deviations over that of a normal distribution, 1 where it is one and
        more with heavy tails; and the shares of simulated groups that are at least as skewed (``skewness_tail``) and have at least as
        heavy tails (``tails_tail``). NaN of components with fewer rows than two more than there are columns.

    Raises
    ------
    InvalidParameterError
        If ``n_draws`` is below one.
    InvalidDataError
        If the fit kept no rows.

    Notes
    -----
    Realised discrepancies (Gelman, Meng and Stern 1996, Statistica Sinica 6, 733-807): rows of a component are brought to mean zero and
    covariance one by the draw's parameters, u, and compared with as many rows from a standard normal distribution in the length of the mean
    of ``u |u|^2`` (Mori, Rohatgi and Szekely 1994, Theory of Probability and its Applications 38, 547-551) and the mean of ``|u|^4``
    (Mardia 1970, Biometrika 57, 519-530). Missing values are drawn with the groups. Of more than 5,000 rows so many are looked at.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> rng = np.random.default_rng(1)
    >>> X = np.concatenate([rng.normal(size=(200, 1)), 20 + 4 * rng.gamma(1.5, size=(200, 1))])
    >>> found = group_shapes(bg.GaussianMixture(2, random_state=1).fit(X), random_state=1)
    >>> (found["skewness_tail"] < 0.01).tolist(), (found["skewness"] > 1).tolist()
    ([True, False], [True, False])
    """
    check_is_fitted(fit, "params_")
    if n_draws < 1:
        raise InvalidParameterError(f"n_draws must be at least 1, got {n_draws}")
    if not fit.rows_.is_in_memory or not len(fit.rows_):
        raise InvalidDataError("the fit kept no rows: fit rows in memory, or a sample of them")
    rows = fit.rows_.in_memory()
    times = np.ones(len(rows)) if rows.weights is None else times_each(rows.weights, len(rows))
    return shapes_of(
        fit.params_,
        replace(rows.chunk.take(np.arange(len(rows)).repeat(times.astype(int))), weight=None),
        tuple(fit.feature_names_),
        n_draws,
        random_state,
    )


def shapes_of(
    params: MixtureParams, X: FloatArray | Chunk, names: tuple[str, ...], n_draws: int = _DRAWS, random_state: RandomState = None
) -> pd.DataFrame:
    """Return what :func:`group_shapes` does, of mixtures of any batch shape and rows X (N, D) with columns of these names."""
    rng, chunk = generator(random_state), as_chunk(X)
    if len(chunk) > _MOST_ROWS:
        chunk = chunk.take(np.linspace(0, len(chunk) - 1, _MOST_ROWS).round().astype(int))
    flat = params.reshape(-1)
    chosen = flat[np.linspace(0, len(flat.weights) - 1, n_draws).round().astype(int)]
    found = np.array([[_shape(u, rng) for u in _standardised(chosen[t], chunk, rng)] for t in range(n_draws)])
    with np.errstate(invalid="ignore"):
        enough = ~np.isnan(found[..., 0])
        used = np.where(enough.mean(0) >= 0.5, 1.0, np.nan)
        mean = np.nansum(np.where(enough[..., None], found, 0.0), axis=0) / np.maximum(enough.sum(0), 1)[:, None] * used[:, None]
    skewed = [np.nan if np.isnan(u) else int(np.abs(row).argmax()) for u, row in zip(used, mean[:, 5:], strict=True)]
    return pd.DataFrame(
        {
            "rows": mean[:, 0],
            "skewness": [np.nan if np.isnan(d) else row[int(d)] for d, row in zip(skewed, mean[:, 5:], strict=True)],
            "column": ["" if np.isnan(d) else names[int(d)] for d in skewed],
            "tails": mean[:, 2],
            "skewness_tail": mean[:, 3],
            "tails_tail": mean[:, 4],
        },
        index=pd.RangeIndex(params.n_components, name="component"),
    )


def _standardised(params: MixtureParams, chunk: Chunk, rng: np.random.Generator) -> list[FloatArray]:
    """Return each component's rows (n, D), allocated at random, at mean zero and covariance one; columns one after the other.

    What rows lack, and what they would be without their errors, is drawn.
    """
    known = chunk.known
    drawn = not chunk.is_complete or (known is not None and known.error_of is not None)
    filled = values_behind(chunk, *params.arrays(chunk), rng)[0] if drawn else chunk.X
    exact = Chunk(filled, known=None if known is None else replace(known, error_of=None, error_tril=None))
    labels = draw_labels(params.reshape(1), exact, random_state=rng)[0]
    return [
        np.hstack(
            [
                np.linalg.solve(params.scale_tril[k], (filled[labels == k] - params.means[k]).T).T,
                (filled[labels == k] - params.means[k]) / params.sds[k],
            ]
        )
        for k in range(params.n_components)
    ]


def _shape(both: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the number of rows, length of the skewness, tails, the two tail probabilities (0, 0.5 or 1), and columns' skewness."""
    n, D = len(both), both.shape[1] // 2
    if n < D + 2:
        return np.full(5 + D, np.nan)
    u, columns = both[:, :D], both[:, D:]
    (skewness, tails), (by_chance, tails_by_chance) = _moments(u), _moments(rng.standard_normal((n, D)))
    beyond = [by_chance >= skewness, tails_by_chance >= tails]
    apart = columns - columns.mean(0)
    own = (apart**3).mean(0) / np.maximum((apart**2).mean(0), np.finfo(float).tiny) ** 1.5
    return np.array([n, skewness, tails / (D * (D + 2)), *beyond, *own])


def _moments(u: FloatArray) -> tuple[float, float]:
    square = (u * u).sum(1)
    return float(((u * square[:, None]).mean(0) ** 2).sum()), float((square * square).mean())
