"""Leave-one-out for either estimator."""

from __future__ import annotations

from sklearn.utils.validation import check_is_fitted

from bayesgmm.criticism.exact import em_loo
from bayesgmm.criticism.psis import psis_loo
from bayesgmm.criticism.value import Elpd
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.typing import RandomState

__all__ = ["loo"]

_METHODS = ("auto", "exact", "one-step")


def loo(
    fit: GaussianMixture | BayesianGaussianMixture,
    *,
    method: str = "auto",
    max_refits: int = 10,
    random_state: RandomState = None,
    progressbar: bool = True,
) -> Elpd:
    """Estimate how well a fit predicts rows that it has not seen, by leaving out each of its own.

    Parameters
    ----------
    fit : GaussianMixture or BayesianGaussianMixture
        Fitted.
    method : {"auto", "exact", "one-step"}
        For EM: refit without each row, starting from the fit; or find by one step where it would go, with refits for rows that pull
        hard. "auto" is exact up to 5,000 rows. Not used for a posterior.
    max_refits : int
        For a posterior: so many rows at most, those of highest Pareto k above the limit, are left out by sampling again; the others by
        Pareto-smoothed importance sampling. Not used for EM.
    random_state : int, Generator, RandomState or None
        Of the sampling; None takes the fit's.
    progressbar : bool
        Show on stderr how many refits are done, when that is a terminal.

    Returns
    -------
    Elpd
        ``print`` it for the result in words; its ``table`` says of each row how it was left out.

    Raises
    ------
    InvalidParameterError
        If a setting or the fit cannot be used.
    InvalidDataError
        If the fit's ``sample_weight`` are not whole numbers. A row of weight two is two rows, of which one is left out.

    Notes
    -----
    Vehtari, Gelman and Gabry (2017), Statistics and Computing 27, 1413-1432; Vehtari, Simpson, Gelman, Yao and Gabry (2024), Journal of
    Machine Learning Research 25:72. The posterior without a row keeps the priors of the fit as they are, also where the data had set
    their scale. EM's refits stay with the maximum that was found.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import loo
    >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
    >>> print(loo(em, progressbar=False))
    Leaving out one row at a time: elpd -1142.3, standard error 17.8, over 272 rows. Rows look better by 12.1 in sum when they are seen
    (effective number of parameters).
    How the rows were left out: 272 by fitting again without the row.
    """
    if not isinstance(fit, (GaussianMixture, BayesianGaussianMixture)):
        raise InvalidParameterError(f"loo takes a fitted GaussianMixture or BayesianGaussianMixture, got {type(fit).__name__}")
    check_is_fitted(fit, "params_")
    if method not in _METHODS:
        raise InvalidParameterError(f"method must be one of {', '.join(map(repr, _METHODS))}, got {method!r}")
    if max_refits < 0:
        raise InvalidParameterError(f"max_refits must be zero or more, got {max_refits}")
    if isinstance(fit, GaussianMixture):
        return em_loo(fit, method, progressbar=progressbar)
    return psis_loo(fit, max_refits, random_state, progressbar=progressbar)
