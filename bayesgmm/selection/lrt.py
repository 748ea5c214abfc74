"""The bootstrap likelihood-ratio test of K components against K + 1."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.estimators import GaussianMixture
from bayesgmm.estimators.fitting import check_settings, one_seed, quiet
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.threads import libraries_on_one_thread
from bayesgmm.progress import steps
from bayesgmm.rows import MemoryRows, Rows, rows_to_fit
from bayesgmm.text import counted
from bayesgmm.typing import ArrayLike, FloatArray, RandomState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BootstrapLRT", "bootstrap_lrt"]

_TAKEN = {"n_components": "n_components, the number under the null hypothesis", "covariance_type": "covariance_type"}


@dataclass(frozen=True, eq=False)
class BootstrapLRT:
    """The result of `bootstrap_lrt`; ``print`` it for the result in words.

    Attributes
    ----------
    null, alternative : GaussianMixture
        The fits of K and K + 1 components to the data.
    statistic : float
        Twice the difference of their log-likelihoods, at least 0.
    replicates : array of shape (n_replicates,)
        The statistic of data sets drawn from the null fit; NaN for those that could not be fitted.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> em = bg.GaussianMixture(1).fit(bg.datasets.load_faithful())
    >>> BootstrapLRT(em, em, 9.0, np.array([1.0, 2.0, 3.0])).p_value
    0.25
    """

    null: GaussianMixture
    alternative: GaussianMixture
    statistic: float
    replicates: FloatArray = field(repr=False)

    @property
    def n_usable(self) -> int:
        """Number of replicates that could be fitted."""
        return int(np.isfinite(self.replicates).sum())

    @property
    def p_value(self) -> float:
        """``(1 + number of replicates at or above the statistic) / (1 + number of replicates)``, which is never 0."""
        return float((1 + (self.replicates >= self.statistic).sum()) / (1 + self.n_usable))

    @property
    def sentence(self) -> str:
        """The result in words."""
        K, above = int(self.null.n_components), int((self.replicates >= self.statistic).sum())
        verdict = f"the data {'speak' if self.p_value <= 0.05 else 'do not ask'} for more than {counted(K, 'component')}"
        return (
            f'{K} against {K + 1} components, "{self.null.covariance_type}": twice the log-likelihood ratio is {self.statistic:.2f}; '
            f"{above} of {self.n_usable} data sets drawn from the {K}-component fit reach it, p = {self.p_value:.3g}: {verdict} "
            f"(at the 5% level).{self._doubts()}"
        )

    def _doubts(self) -> str:
        lost = len(self.replicates) - self.n_usable
        does = "does" if lost == 1 else "do"
        doubts = f" {counted(lost, 'more data set')} could not be fitted and {does} not count." if lost else ""
        if 1 / (1 + self.n_usable) > 0.05:
            doubts += f" With {self.n_usable} data sets p cannot fall to 0.05: draw at least 19."
        for model in (self.null, self.alternative):
            if model.status_ not in ("converged", "max_iter"):
                doubts += f" The fit of {model.n_components} components is not a proper maximum, which may decide the result."
        return doubts

    def __str__(self) -> str:
        return self.sentence

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the replicates as a histogram, with the statistic of the data as a line.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        from bayesgmm.plots.selection import plot_replicates

        return plot_replicates(self.replicates, self.statistic, self.p_value, int(self.null.n_components), ax)


def bootstrap_lrt(
    X: ArrayLike,
    n_components: int,
    *,
    covariance_type: str = "full",
    n_replicates: int = 99,
    random_state: RandomState = None,
    progressbar: bool = True,
    **settings: Any,
) -> BootstrapLRT:
    """Test K components against K + 1 by how often data drawn from K components speak as loudly for K + 1 as these do.

    The likelihood ratio of mixtures has no chi-squared distribution, since under K components the parameters of one more are not
    identified. So data sets of the same size are drawn from the fitted K-component mixture, and both models are fitted to each in the
    same way, from as many starts, as they were to the data (McLachlan 1987, Applied Statistics 36, 318-324). Few starts make the test
    quick and weak: maxima that they miss are missed in the data and in the replicates alike.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
        Where values are missing, they are missing in the same places of every replicate.
    n_components : int
        K, the number under the null hypothesis.
    covariance_type : str
        As for `GaussianMixture`.
    n_replicates : int
        Data sets to draw. With n of them no p-value is below 1 / (n + 1).
    random_state : int, Generator, RandomState or None
    progressbar : bool
        Show progress on stderr, when that is a terminal.
    **settings
        Passed to every `GaussianMixture`, for example ``n_init``.

    Returns
    -------
    BootstrapLRT

    Raises
    ------
    InvalidParameterError
        If a setting is unknown or cannot be used.
    InvalidDataError
        If K or K + 1 components cannot be fitted to X.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.selection import bootstrap_lrt
    >>> X = bg.datasets.load_faithful()
    >>> test = bootstrap_lrt(X, 1, covariance_type="tied", n_replicates=19, n_init=1, tol=1e-4, random_state=1)
    >>> test.p_value
    0.05
    """
    if n_replicates < 1:
        raise InvalidParameterError(f"n_replicates must be at least 1, got {n_replicates}")
    check_settings(settings, _TAKEN)
    settings = {**settings, "covariance_type": covariance_type}
    seed = one_seed(random_state)
    rows = rows_to_fit(GaussianMixture(), X, None, n_components + 1, allow_missing=True, in_memory=True)
    null, alternative = _both(rows, n_components, settings, seed)
    missing = np.isnan(rows.values)
    replicates = np.full(n_replicates, np.nan)
    with libraries_on_one_thread(), steps("Refitting replicates", n_replicates, shown=progressbar) as advance:
        for i, child in enumerate(np.random.SeedSequence(seed).spawn(n_replicates)):
            drawn, _ = null.params_.sample(len(missing), np.random.default_rng(child))
            drawn[missing] = np.nan
            with suppress(ValueError):  # what cannot be fitted has no statistic
                others = MemoryRows(drawn, None, rows.names)
                replicates[i] = _statistic(*_both(others, n_components, settings, int(child.generate_state(1)[0])))
            advance()
    return BootstrapLRT(null, alternative, _statistic(null, alternative), replicates)


def _both(rows: Rows, K: int, settings: dict[str, Any], seed: int) -> tuple[GaussianMixture, GaussianMixture]:
    null, alternative = (GaussianMixture(n, **{**settings, "random_state": seed}) for n in (K, K + 1))
    with quiet(), libraries_on_one_thread():
        for model in (null, alternative):
            fitting = model.fitting(rows)
            fitting.search([] if model is null else [null.params_])
            model.take(fitting.end(), rows)
    return null, alternative


def _statistic(null: GaussianMixture, alternative: GaussianMixture) -> float:
    # K + 1 components contain K: where EM found less with more, it missed a maximum, and nothing speaks for another component.
    return max(0.0, 2 * (alternative.log_likelihood_ - null.log_likelihood_))
