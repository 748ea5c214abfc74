"""Whether weights can be what they are taken for: how often each row was seen."""

from __future__ import annotations

from bayesgmm.exceptions import InvalidDataError

__all__ = ["check_worth"]

_FREQUENCIES = 0.5
"""Mean weight from which on few rows are few rows, and not many of small weight."""


def check_worth(total: float, n_rows: int, n_components: int, n_features: int) -> None:
    """Raise InvalidDataError for weights that are no frequencies: together worth fewer rows than K components need, and than there are.

    Parameters
    ----------
    total : float
        Their sum.
    n_rows : int
        Number of rows of positive weight.
    n_components, n_features : int
        A component takes ``n_features + 1`` rows to have a mean and a covariance of its own.

    Notes
    -----
    Weights that were divided by their sum, and those of importance sampling or a survey, say how much rows count beside each other.
    Taken for frequencies, every component of such a fit would rest on less than a row, and no criterion would allow a second one.

    Examples
    --------
    >>> check_worth(100.0, 100, 2, 1)
    >>> check_worth(1.0, 100, 2, 1)
    Traceback (most recent call last):
    bayesgmm.exceptions.InvalidDataError: sample_weight adds up to 1 for 100 rows, fewer than the 4 that 2 component(s) in 1 column(s) \
take: weights are frequencies (weight 2 is the row twice). If yours only say how much rows count beside each other, multiply them by \
100 / 1
    """
    needed = n_components * (n_features + 1)
    if total >= needed or total >= n_rows * _FREQUENCIES:
        return
    raise InvalidDataError(
        f"sample_weight adds up to {total:.4g} for {n_rows} rows, fewer than the {needed} that {n_components} component(s) in "
        f"{n_features} column(s) take: weights are frequencies (weight 2 is the row twice). If yours only say how much rows count beside "
        f"each other, multiply them by {n_rows} / {total:.4g}"
    )
