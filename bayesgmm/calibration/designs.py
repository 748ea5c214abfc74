"""What is simulated, and with what belief it is fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesgmm.params import MixtureParams
from bayesgmm.priors import LogNormal, Priors
from bayesgmm.typing import FloatArray

__all__ = ["CONTROLS", "DESIGNS", "Design"]

_TRUE = Priors(concentration=4.0, means_loc=0.0, means_scale=5.0, sds=LogNormal(0.0, 0.3), eta=2.0)
_TOO_WIDE = Priors(concentration=4.0, means_loc=0.0, means_scale=5.0, sds=LogNormal(0.5, 0.15), eta=2.0)
_MIXED = tuple(tuple(float(i == j) + 0.8 * (i > j) for j in range(5)) for i in range(5))
_LEARNED = LogNormal(-0.2, 0.2, shared=0.3, factors=(1.0, 2.0, 3.0))
_IN_FRAME = Priors(concentration=4.0, means_loc=0.0, means_scale=5.0, sds=_LEARNED, eta=(0.25, 1.0, 4.0), frame=_MIXED)


@dataclass(frozen=True)
class Design:
    """One kind of simulated data set, and how it is fitted.

    Parameters
    ----------
    title : str
        What to call it.
    n_components, n_features, n_rows : int
    priors : Priors
        From which parameters are drawn: with nothing left to be scaled by data.
    fitted : Priors, optional
        With which the data are fitted; the same by default. Anything else is a mistake made on purpose.
    copies : int
        How often each row counts in the fit; anything but 1 is a mistake made on purpose.

    Examples
    --------
    >>> design = Design("2 groups in 1 column", n_components=2, n_features=1, n_rows=100)
    >>> design.is_right
    True
    """

    title: str
    n_components: int
    n_features: int
    n_rows: int
    priors: Priors = _TRUE
    fitted: Priors | None = None
    copies: int = 1

    @property
    def is_right(self) -> bool:
        """Whether the data are fitted with the model that they come from."""
        return self.fitted is None and self.copies == 1

    @property
    def fit_priors(self) -> Priors:
        """The priors of the fit."""
        return self.priors if self.fitted is None else self.fitted

    def simulate(self, rng: np.random.Generator) -> tuple[MixtureParams, FloatArray]:
        """Draw a mixture of batch shape ``()`` from the prior, and data (N, D) from it.

        Parameters
        ----------
        rng : numpy.random.Generator

        Returns
        -------
        params : MixtureParams
        X : array of shape (n_rows, n_features)

        Examples
        --------
        >>> truth, X = DESIGNS[0].simulate(np.random.default_rng(1))
        >>> truth.means.shape, X.shape
        ((2, 1), (100, 1))
        """
        anything = rng.standard_normal((50, self.n_features))  # by which the defaults of a prior would be scaled; there are none
        truth = self.priors.sample(anything, self.n_components, n_draws=1, random_state=rng)[0]
        return truth, truth.sample(self.n_rows, rng)[0]


DESIGNS = (
    Design("2 groups in 1 column", 2, 1, 100),
    Design("3 groups in 1 column", 3, 1, 150),
    Design("2 groups in 2 columns", 2, 2, 100),
    Design("3 groups in 2 columns", 3, 2, 150),
    Design("2 groups in 5 columns", 2, 5, 150),
    Design("2 groups in 5 columns, in a frame that mixes them", 2, 5, 150, priors=_IN_FRAME),
)
"""What must come out calibrated."""

CONTROLS = (
    Design("A wrong prior: groups believed 1.6 times as wide", 2, 1, 100, fitted=_TOO_WIDE),
    Design("Every row counted twice", 2, 1, 100, copies=2),
)
"""What must be found out: fits with a mistake made on purpose."""
