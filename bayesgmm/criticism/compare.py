"""Several fits of the same rows, by how well they predict them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.criticism.loo import loo
from bayesgmm.criticism.value import Elpd
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError

__all__ = ["compare_elpd"]


def compare_elpd(fits: Mapping[str, Any], **settings: Any) -> pd.DataFrame:
    """Compare fits by the density that they give to rows left out, EM's and posteriors alike.

    Parameters
    ----------
    fits : mapping of str to Elpd or fitted estimator
        For an estimator :func:`loo` is called first.
    **settings
        For :func:`loo`.

    Returns
    -------
    pandas.DataFrame
        ``arviz.compare``'s table, not rounded, the best first: ``elpd_diff`` is the difference in elpd to the best (zero or less), ``dse``
        its standard error, from the rows' differences, and ``weight`` the stacking weight.

    Raises
    ------
    InvalidParameterError
        If there are fewer than two, or rows left out one at a time are to be compared with folds.
    InvalidDataError
        If they are not of the same rows.

    Notes
    -----
    Sivula, Magnusson, Matamoros and Vehtari (2025), Bayesian Analysis: with fewer than 100 rows, or a difference below 4, the standard
    error of a difference is too small, which the columns ``diag_diff`` and ``diag_elpd`` then say.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import compare_elpd
    >>> X = bg.datasets.load_faithful()
    >>> fits = {f"K={K}": bg.GaussianMixture(K, random_state=1).fit(X) for K in (1, 2)}
    >>> compare_elpd(fits, progressbar=False).index.tolist()
    ['K=2', 'K=1']
    """
    from arviz_stats import compare

    if len(fits) < 2:
        raise InvalidParameterError("give at least two fits to compare, each under a name")
    found = {name: fit if isinstance(fit, Elpd) else loo(fit, **settings) for name, fit in fits.items()}
    _check_alike(found)
    return compare({name: elpd.to_arviz() for name, elpd in found.items()}, method="stacking", round_to="none")


def _check_alike(found: Mapping[str, Elpd]) -> None:
    (first, reference), *others = found.items()
    for name, elpd in others:
        if elpd.kind != reference.kind:
            raise InvalidParameterError(
                f"{first!r} is from {reference.kind} and {name!r} from {elpd.kind}: leave out the same rows together for all of them"
            )
        ours, theirs = reference.table, elpd.table
        if not (ours.index.equals(theirs.index) and np.array_equal(ours["weight"], theirs["weight"])):
            raise InvalidDataError(f"{first!r} and {name!r} were not fitted to the same rows, or with other weights")
