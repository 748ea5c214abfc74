"""How precise means and probabilities are that chains agree on only roughly, and how many draws would settle them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from bayesgmm.typing import FloatArray

__all__ = ["Precision", "in_words", "precision"]

_PROBABILITIES = ("co_clustering[", "sorted_weights[", "weights[")
_LARGEST = ("largest", "second largest", "third largest")
_SPARE = 1.2  # effective draws come in no exact proportion to draws


class Precision(NamedTuple):
    """What draws are good for.

    Attributes
    ----------
    roughest : str
        Name of the quantity whose mean is known least well.
    r_hat, ess : float
        The greatest R-hat, and the least effective number of draws, of all quantities.
    error : float
        Standard error of the roughest mean, in posterior standard deviations.
    probability_error : float
        Greatest standard error of a probability or of a weight, as it is; 0 where there are none.

    Examples
    --------
    >>> Precision("sorted_weights[1]", 1.02, 350.0, 0.07, 0.01).error
    0.07
    """

    roughest: str
    r_hat: float
    ess: float
    error: float
    probability_error: float

    def draws_needed(self, n_draws: int, r_hat: float, ess: float) -> int:
        """Return how many draws a chain would probably reach an R-hat and an effective number, if ``n_draws`` gave these.

        Effective draws grow with draws, and what R-hat exceeds one by falls with them. The number is rounded up to half a thousand.
        """
        times = _SPARE * max(ess / self.ess, (self.r_hat - 1.0) / (r_hat - 1.0), 1.0)
        return int(np.ceil(n_draws * times / 500.0)) * 500


def precision(convergence: pd.DataFrame, n_chains: int) -> Precision:
    """Measure how well draws know their means.

    Parameters
    ----------
    convergence : pandas.DataFrame
        Rows of a :func:`convergence_table`, those that are judged.
    n_chains : int

    Returns
    -------
    Precision

    Notes
    -----
    The standard error is the greater of two: that of the autocorrelations within the chains, and that which the means of the half chains
    show, since R-hat squared less one is their variance in units of that within chains.

    Examples
    --------
    >>> row = {"quantity": "entropy", "sd": 2.0, "mcse_mean": 0.1, "ess_bulk": 400.0, "ess_tail": 500.0, "r_hat": 1.02}
    >>> found = precision(pd.DataFrame([row]), n_chains=4)
    >>> found.roughest, found.ess, round(found.error, 3)
    ('entropy', 400.0, 0.071)
    """
    r_hat, sd = (convergence[name].to_numpy(float) for name in ("r_hat", "sd"))
    between = np.sqrt(np.maximum(r_hat**2 - 1.0, 0.0) / (2 * n_chains))
    error: FloatArray = np.maximum(convergence["mcse_mean"].to_numpy(float) / sd, between)
    is_probability = convergence["quantity"].str.startswith(_PROBABILITIES).to_numpy()
    return Precision(
        roughest=str(convergence["quantity"].iloc[int(error.argmax())]),
        r_hat=float(r_hat.max()),
        ess=float(convergence[["ess_bulk", "ess_tail"]].to_numpy(float).min()),
        error=float(error.max()),
        probability_error=float((error * sd)[is_probability].max(initial=0.0)),
    )


def in_words(quantity: str) -> str:
    """Return the name of a quantity of a :func:`convergence_table` as a person would say it.

    Examples
    --------
    >>> in_words("sorted_weights[1]"), in_words("co_clustering[3 and 8]")
    ('the weight of the second largest group', 'whether rows 3 and 8 are of one group')
    >>> in_words("means[0, waiting]")
    'the mean of waiting in group 0'
    >>> in_words("log_likelihood")
    'the log-likelihood'
    """
    name, _, rest = quantity.removesuffix("]").partition("[")
    first, _, second = rest.partition(", ")
    if name == "sorted_weights":
        rank = int(first)
        return f"the weight of the {_LARGEST[rank] if rank < len(_LARGEST) else f'{rank + 1}th largest'} group"
    said = {
        "co_clustering": f"whether rows {rest} are of one group",
        "log_density": f"the density at row {rest}",
        "weights": f"the weight of group {rest}",
        "sample_weights": f"the weight of group {second} in sample {first}",
        "coefficients": f"the coefficient of {first} for group {second}",
        "means": f"the mean of {second} in group {first}",
        "sds": f"the standard deviation of {second or 'all columns'} in group {first}",
        "corr": f"the correlation of {second.replace(', ', ' and ')} in group {first}",
        "total_mean": f"the mean of {rest} in all rows",
        "total_sd": f"the standard deviation of {rest} in all rows",
        "total_covariance": f"the covariance of {rest.replace(', ', ' and ')} in all rows",
        "log_likelihood": "the log-likelihood",
        "log_prior": "the log-prior",
        "entropy": "the entropy of the labels",
    }
    return said.get(name, quantity)
