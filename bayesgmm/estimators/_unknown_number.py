"""What a posterior says of the number of components and of groups, where that is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from bayesgmm.bayes.draws import TELESCOPING
from bayesgmm.estimators._base import MixtureEstimator
from bayesgmm.estimators._number import NumberDraws, log_partitions, number_table, parts_of_prior
from bayesgmm.estimators._size import most_components
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.priors import (
    BetaNegativeBinomial,
    Concentration,
    ConjugatePriors,
    NumberPrior,
    Poisson,
    Priors,
    ResolvedPriors,
    Uniform,
)
from bayesgmm.rows import Rows
from bayesgmm.typing import IntArray

__all__ = ["UnknownNumber"]

_LEAST_SHARE, _MOST_ERROR = 0.05, 0.05
"""Effective share of reweighted draws below which, and error between halves of chains above which, they say nothing of another prior."""
_OWN = "as fitted"
_TINY = np.finfo(float).tiny


class UnknownNumber(MixtureEstimator):
    """Numbers of components and of groups with their probabilities, and the draws with one of them."""

    priors: Priors | ConjugatePriors | None
    max_components: int | None
    em_: Any
    n_groups_: int
    take: Callable[..., Any]
    _number: NumberDraws | None = None

    @property
    def mixtures_(self) -> MixtureParams:
        """All draws, whatever their number of components, which differs with ``n_components="auto"`` only."""
        check_is_fitted(self, "params_")
        return self.params_ if self._number is None else self._number.draws.params

    def number_of_components(self) -> pd.DataFrame:
        """Return the posterior probabilities of the number of components.

        Returns
        -------
        pandas.DataFrame
            Indexed by the number ``n``: the probabilities ``groups``, that so many groups stand apart; ``filled``, that so many components
            have rows; and ``components``, that there are so many; each with its Monte Carlo error, ``groups_mcse`` and so on.

        Notes
        -----
        How many components it takes to describe the density is one question, and how many groups there are another: a skewed group takes
        two components. Groups that stand apart are hills of the density with a valley between them
        (:meth:`bayesgmm.MixtureParams.hills`). That is right where components take the shapes of the groups, as full covariances do; round
        components line up in a long group.

        Raises
        ------
        InvalidParameterError
            If the number was given.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> X = bg.datasets.load_faithful()
        >>> posterior = bg.BayesianGaussianMixture("auto", draws=200, tune=100, random_state=1, progressbar=False).fit(X)
        >>> posterior.number_of_components().index.name, bool(posterior.number_of_components()["filled"].sum().round(9) == 1)
        ('n', True)
        """
        number = self._all_draws()
        statistics = number.draws.statistics
        return number_table({"groups": number.n_groups, "filled": statistics["n_filled"], "components": statistics["n_components"]})

    def sensitivity_of_number(self) -> pd.DataFrame:
        """Return how the number of groups depends on the priors of the number of components and of their weights.

        Returns
        -------
        pandas.DataFrame
            One row a prior, that of the fit first: ``share``, how many of the draws are worth something under it (effective, 1 for the
            fit's own), and a column for each number of groups with its probability, NaN where the draws do not tell: where that share is
            below 5 %, or the standard error of a probability, between the halves of chains, above 0.05.

        Raises
        ------
        InvalidParameterError
            If the number was given, or the concentration of the weights was learned.
        InvalidDataError
            If the fit kept no rows.

        Notes
        -----
        Draws are weighted by the ratio of the probabilities of their partitions under the two priors. Weights of the components stay as
        they were: given the partition they depend on the concentration by less than a row.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> X = bg.datasets.load_faithful()
        >>> posterior = bg.BayesianGaussianMixture("auto", draws=200, tune=100, random_state=1, progressbar=False).fit(X)
        >>> posterior.sensitivity_of_number().index[0], float(posterior.sensitivity_of_number()["share"].iloc[0])
        ('as fitted', 1.0)
        """
        number = self._all_draws()
        rows = self.rows_.in_memory()
        _, prior, concentration = parts_of_prior(self._given_priors(), self.family_, rows)
        if concentration.is_learned:
            raise InvalidParameterError("the concentration was learned, and draws under others are part of the posterior already")
        most, counts = most_components(self.max_components, rows), number.counts
        own = log_partitions(counts, prior.log_probability(most), concentration)
        groups = np.arange(1, number.n_groups.max() + 1)
        is_it = number.n_groups[..., None] == groups
        table = {}
        for name, (n_prior, alpha) in {_OWN: (prior, concentration), **dict(_others(prior, concentration))}.items():
            ratio = log_partitions(counts, n_prior.log_probability(most), alpha) - own
            weight = np.exp(ratio - ratio.max())
            share = float(weight.sum() ** 2 / (weight.size * (weight**2).sum()))
            halves = [np.array_split(values, 2, axis=1) for values in (weight, is_it)]
            parts = [(w[..., None] * i).sum(1) / np.maximum(w.sum(1), _TINY)[:, None] for w, i in zip(*halves, strict=True)]
            error = np.concatenate(parts).std(0, ddof=1) / np.sqrt(2 * len(weight))
            p = (weight[..., None] * is_it).sum((0, 1)) / weight.sum()
            tells = share >= _LEAST_SHARE and error.max() <= _MOST_ERROR
            table[name] = [share, *(p if tells or name == _OWN else np.full(len(groups), np.nan))]
        return pd.DataFrame.from_dict(table, orient="index", columns=["share", *groups])

    def rows_in_groups(self) -> IntArray:
        """Return which of the groups that stand apart each row of the training data is in, in a likely draw with the most probable number.

        Returns
        -------
        int array of shape (N,)
            From 0 to ``n_groups_ - 1``.

        Raises
        ------
        InvalidParameterError
            If the number was given.
        InvalidDataError
            If the fit kept no rows.
        """
        number = self._all_draws()
        return number.rows_in_groups(self.n_groups_, self.rows_.in_memory())

    def given_number(self, n_components: int) -> Self:
        """Return the same posterior with the components of the draws in which so many have rows.

        Parameters
        ----------
        n_components : int

        Returns
        -------
        BayesianGaussianMixture
            A fit of its own: ``params_``, ``datatree_`` and labels are for that number; what is of all draws is as it was.

        Raises
        ------
        InvalidParameterError
            If the number was given, or too few draws have so many.
        """
        number = self._all_draws()
        draws = number.given(n_components)
        fit = copy(self)
        em = None if n_components != self.params_.n_components else self.em_
        priors = self._priors_given(n_components, number, self.rows_)
        return fit.take(draws, TELESCOPING, self.rows_, em, priors, everything=number)

    def _all_draws(self) -> NumberDraws:
        check_is_fitted(self, "params_")
        if self._number is None:
            raise InvalidParameterError(
                f"the number of components was given, n_components={self.n_components!r}: fit with n_components='auto' for its posterior"
            )
        return self._number

    def _given_priors(self) -> Priors:
        return self.priors if isinstance(self.priors, Priors) else Priors()

    def _priors_given(self, n_components: int, number: NumberDraws, rows: Rows) -> ResolvedPriors:
        """Return the priors for one number of components; a concentration that was learned is what it was on average."""
        priors = self._given_priors()
        if isinstance(priors.concentration, Concentration):
            alpha = Concentration(float(number.draws.statistics["concentration"].mean()), priors.concentration.dynamic)
            priors = replace(priors, concentration=alpha)
        return priors.resolve(rows, n_components, self.family_)


def _others(prior: NumberPrior, concentration: Concentration) -> Iterator[tuple[str, tuple[NumberPrior, Concentration]]]:
    """Yield other priors to compare with, and what to call them."""
    numbers = {
        "the default prior": BetaNegativeBinomial(),
        "all numbers alike": Uniform(),
        "two components expected": Poisson(1.0),
    }
    for name, other in numbers.items():
        if other != prior:
            yield name, (other, concentration)
    alpha = float(concentration.alpha)  # type: ignore[arg-type]  # a number, or nothing is compared
    for name, factor in (("half the concentration", 0.5), ("twice the concentration", 2.0)):
        yield name, (prior, Concentration(factor * alpha, dynamic=concentration.dynamic))
