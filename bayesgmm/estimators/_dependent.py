"""What a fit says whose weights depend on samples or covariates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.utils.validation import check_is_fitted

from bayesgmm.covariance import Family
from bayesgmm.em import covariance_of_coefficients
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Rows
from bayesgmm.rows.concomitant import Concomitant, Covariates, Samples
from bayesgmm.typing import FloatArray
from bayesgmm.validation import check_prob

__all__ = ["Dependent", "dependent_variables"]


class Dependent:
    """Weights of samples, and coefficients of covariates (``samples=`` and ``covariates=`` of ``fit``)."""

    _concomitant: Concomitant | None

    if TYPE_CHECKING:
        params_: MixtureParams

        rows_: Rows

        @property
        def component_names_(self) -> list[str]: ...

        @property
        def family_(self) -> Family: ...

    @property
    def depends_on(self) -> str:
        """What the weights depend on: "samples", "covariates" or nothing, ""."""
        if isinstance(self._concomitant, Samples):
            return "samples"
        return "covariates" if isinstance(self._concomitant, Covariates) else ""

    def sample_weights(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Return the weights of the components in each sample.

        Parameters
        ----------
        prob : float
            Share of the draws that the central intervals of a posterior hold.

        Returns
        -------
        pandas.DataFrame
            One row for each ``sample`` and ``component``: ``weight``; of a posterior its mean, ``sd``, ``lower`` and ``upper``.

        Raises
        ------
        InvalidParameterError
            If the fit was given no samples.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> X = [[0.0], [0.2], [-0.1], [4.0], [4.1], [3.9], [0.1], [4.2]]
        >>> em = bg.GaussianMixture(2, covariance_type="tied", random_state=1).fit(X, samples=list("aaabbbab"))
        >>> em.sample_weights().weight.round(2).tolist()
        [1.0, 0.0, 0.0, 1.0]
        """
        samples = self._of(Samples, "samples")
        check_prob(prob)
        shares = self._shares()
        index = pd.MultiIndex.from_product([samples.names, self.component_names_], names=["sample", "component"])
        return _summary(shares.reshape(len(shares), -1), "weight", prob).set_axis(index).reset_index()

    def contrast(self, first: Any, second: Any, *, prob: float = 0.9) -> pd.DataFrame:
        """Return by how much the weights of one sample are above those of another.

        Parameters
        ----------
        first, second : label
            Names of samples.
        prob : float
            Share of the draws that the central intervals of a posterior hold.

        Returns
        -------
        pandas.DataFrame
            One row for each component: ``difference``, of the first less the second; of a posterior its mean, ``sd``, ``lower``,
            ``upper`` and ``probability``, that the first has more.

        Raises
        ------
        InvalidParameterError
            If the fit was given no samples, or none of these names.
        """
        samples, shares = self._of(Samples, "samples"), self._shares()
        check_prob(prob)
        unknown = [name for name in (first, second) if name not in samples.names]
        if unknown:
            raise InvalidParameterError(f"there is no sample {unknown[0]!r}: there are {', '.join(map(repr, samples.names))}")
        a, b = (samples.names.index(name) for name in (first, second))
        gap = shares[:, a] - shares[:, b]
        table = _summary(gap, "difference", prob)
        if len(gap) > 1:
            table["probability"] = (gap > 0).mean(0)
        return table.set_axis(pd.Index(self.component_names_, name="component"))

    def coefficients(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Return by how much log-odds of the components change with the covariates.

        Parameters
        ----------
        prob : float
            Share of the draws that the central intervals of a posterior hold.

        Returns
        -------
        pandas.DataFrame
            One row for each ``covariate`` ("intercept" first, where covariates are zero) and ``component``: ``coefficient``, per unit of
            the covariate, of the log of the component's weight less the average log-weight of all components; of a posterior its
            mean, ``sd``, ``lower`` and ``upper``; of EM with its standard error ``se``, by the observed information (NaN for the covariance
            types that have none). The difference of two components' coefficients is that of their log-odds.

        Raises
        ------
        InvalidParameterError
            If the fit was given no covariates.
        """
        covariates, shares = self._of(Covariates, "covariates"), self._shares()
        check_prob(prob)
        inside = covariates.coefficients(shares)
        slopes = inside[:, 1:] / covariates.scale[:, None]
        intercept = inside[:, 0] - np.einsum("p,tpk->tk", covariates.center, slopes)
        values = np.concatenate([intercept[:, None], slopes], axis=1)
        index = pd.MultiIndex.from_product(
            [["intercept", *covariates.names], self.component_names_], names=["covariate", "component"]
        )
        table = _summary(values.reshape(len(values), -1), "coefficient", prob)
        if not self.params_.batch_shape:
            table["se"] = self._errors_of_coefficients(covariates).ravel()
        return table.set_axis(index).reset_index()

    def _errors_of_coefficients(self, covariates: Covariates) -> FloatArray:
        """Return standard errors (1 + P, K) in the users' units."""
        K, P = self.params_.n_components, len(covariates.names)
        try:
            covariance = covariance_of_coefficients(self.rows_.in_memory(), self.params_, self.family_, covariates)
        except InvalidParameterError:
            return np.full((1 + P, K), np.nan)
        # Of all components, the last of which has what makes them add up to zero; then per unit, and where covariates are zero.
        every = np.vstack([np.eye(K - 1), -np.ones(K - 1)])
        units = np.diag(np.r_[1.0, 1.0 / covariates.scale])
        units[0, 1:] = -covariates.center / covariates.scale
        turn = np.kron(units, every)
        return np.sqrt(np.maximum(np.diag(turn @ covariance @ turn.T), 0.0)).reshape(1 + P, K)

    def _shares(self) -> FloatArray:
        """Weights of the shares (T, S, K) under all draws."""
        shares = self.params_.reshape(-1).shares
        assert shares is not None
        return shares

    def _of[C: Concomitant](self, kind: type[C], name: str) -> C:
        check_is_fitted(self, "params_")
        if not isinstance(self._concomitant, kind):
            raise InvalidParameterError(f"the fit was given no {name}: give {name}= to fit")
        return self._concomitant


def dependent_variables(concomitant: Concomitant | None, params: MixtureParams) -> xr.Dataset:
    """Return what weights depend on, of all draws: ``sample_weights`` or ``coefficients``; nothing of a fit without.

    Parameters
    ----------
    concomitant : Concomitant, optional
    params : MixtureParams
        Batch shape (chain, draw).
    """
    if concomitant is None or params.shares is None:
        return xr.Dataset()
    if isinstance(concomitant, Covariates):
        values = concomitant.coefficients(params.shares)[..., 1:, :] / concomitant.scale[:, None]
        return xr.Dataset(
            {"coefficients": (("chain", "draw", "covariate", "component"), values)}, coords={"covariate": list(concomitant.names)}
        )
    names = list(map(str, concomitant.names)) if isinstance(concomitant, Samples) else list(range(concomitant.n_shares))
    return xr.Dataset({"sample_weights": (("chain", "draw", "sample", "component"), params.shares)}, coords={"sample": names})


def _summary(draws: FloatArray, name: str, prob: float) -> pd.DataFrame:
    """Return means of draws (T, n), with their spread if there is more than one."""
    table = pd.DataFrame({name: draws.mean(0)})
    if len(draws) > 1:
        lower, upper = np.quantile(draws, [0.5 - prob / 2, 0.5 + prob / 2], axis=0)
        table = table.assign(sd=draws.std(0), lower=lower, upper=upper)
    return table
