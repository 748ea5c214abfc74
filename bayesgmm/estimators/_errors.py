"""How much EM's fit would change with other data of the same kind: standard errors, refits, draws of them."""

from __future__ import annotations

from typing import Any, Literal, cast

import xarray as xr
from sklearn.utils.validation import check_is_fitted

from bayesgmm.em import Replicates, StandardErrors, resample, standard_errors
from bayesgmm.em.bootstrap import ReplicateKind
from bayesgmm.estimators import _trees
from bayesgmm.estimators._base import MixtureEstimator
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.partitions.doubt import row_summary
from bayesgmm.progress import counter
from bayesgmm.random import generator, seed_sequence
from bayesgmm.rows import refuse_known
from bayesgmm.typing import ArrayLike, RandomState
from bayesgmm.validation import check_prob

__all__ = ["SamplingErrors"]

_FROM_CURVATURE = ("sandwich", "observed", "empirical")
_PLUG_IN = (
    "the fitted parameters are taken for known: epistemic is exactly zero and intervals have no width; ask for kind='nonparametric' to "
    "see how much the data leave open"
)
_SAMPLED = "averages over fits as other data of the same kind would give them, not over a posterior"


class SamplingErrors(MixtureEstimator):
    """Standard errors of a maximum-likelihood fit, by the likelihood's curvature or by refits."""

    tol: float
    max_iter: int
    reg_covar: float | None
    priors: Any
    equal_weights: bool
    noise: bool

    def responsibility_draws(
        self, X: ArrayLike | None = None, *, n_replicates: int = 100, random_state: RandomState = None
    ) -> xr.DataArray:
        """Return responsibilities under bootstrap replicates of the fit: how much they would move with other data of the same kind.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            Rows to judge; the training data when absent. Replicates are always refitted to resampled training data.
        n_replicates : int
        random_state : int, Generator, RandomState or None
            None takes the estimator's.

        Returns
        -------
        xarray.DataArray, dims (replicate, obs, component)
        """
        check_is_fitted(self, "params_")
        if n_replicates < 1:
            raise InvalidParameterError(f"n_replicates must be at least 1, got {n_replicates}")
        seed = self.random_state if random_state is None else random_state
        return self._draw_table(self._resample("nonparametric", n_replicates, seed).params, X, ("replicate",))

    def standard_errors(
        self, kind: str = "sandwich", *, n_replicates: int = 999, random_state: RandomState = None, progressbar: bool = False
    ) -> xr.Dataset:
        """Return standard errors of weights, means, standard deviations and covariances.

        Parameters
        ----------
        kind : {"sandwich", "observed", "empirical", "nonparametric", "parametric", "weighted", "jackknife"}
            The first three come from the likelihood's slope and curvature at the maximum: "observed" and "empirical" believe the model,
            "sandwich" holds also where the groups are not quite normal. The others refit: rows drawn with replacement, rows drawn from
            the fit, random weights, or one row left out at a time.
        n_replicates : int
            Refits of the first three of those.
        random_state : int, Generator, RandomState or None
            Source of randomness of refits; None takes the estimator's.
        progressbar : bool
            Show on stderr how many refits are done, when that is a terminal.

        Returns
        -------
        xarray.Dataset
            ``weights``, ``means``, ``sds``, ``covariances`` with dims of component and feature; NaN with a reason in ``attrs["note"]``
            where the data do not determine a parameter.

        Notes
        -----
        Louis 1982, Journal of the Royal Statistical Society B 44, 226-233 (information); White 1982, Econometrica 50, 1-25 (sandwich);
        O'Hagan, Murphy, Scrucca and Gormley 2019, Computational Statistics 34, 1779-1813 (refits).

        Examples
        --------
        >>> import bayesgmm as bg
        >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
        >>> em.standard_errors().means.round(2).values
        array([[0.03, 0.46],
               [0.03, 0.6 ]])
        """
        check_is_fitted(self, "params_")
        if kind in _FROM_CURVATURE:
            errors = self._errors_from_curvature(kind)
            return _trees.errors(errors, self.feature_names_, {"kind": kind, "note": errors.note})
        seed = self.random_state if random_state is None else random_state
        replicates = self._resample(kind, n_replicates, seed, progressbar=progressbar)
        attrs = {"kind": kind, "n_replicates": len(replicates.params.weights), "ambiguous_share": replicates.ambiguous_share}
        return _trees.errors(replicates.standard_errors(), self.feature_names_, attrs)

    def sampling_distribution(
        self, kind: str = "nonparametric", *, n_draws: int = 999, random_state: RandomState = None, progressbar: bool = False
    ) -> xr.DataTree:
        """Return draws of the parameters as other data of the same kind would give them, in ArviZ's schema.

        ``arviz.summary`` and ``arviz.plot_forest`` then show EM's intervals as they show a posterior's.

        Parameters
        ----------
        kind : {"nonparametric", "parametric", "weighted", "sandwich", "observed", "empirical"}
            Refits, or normal draws with the covariance of :meth:`standard_errors`, in coordinates without constraints.
        n_draws : int
        random_state : int, Generator, RandomState or None
            None takes the estimator's.
        progressbar : bool
            Show on stderr how many refits are done, when that is a terminal.

        Returns
        -------
        xarray.DataTree
            Group ``posterior`` (ArviZ's name for draws; these are not a posterior's) with one chain.
        """
        check_is_fitted(self, "params_")
        params = self._sampled(kind, n_draws, random_state, progressbar=progressbar)
        draws = _trees.parameters(params.reshape(1, -1), self.family_, self.feature_names_, ("chain", "draw"))
        # What can be asked of the draws, PSIS-LOO for one, depends on what they are: bayesgmm.diagnostics.does_not_apply.
        kind_of_draws = "sampling" if kind in _FROM_CURVATURE else "bootstrap"
        attrs = {"inference": f"em, {kind}", "draws": kind_of_draws, **_trees.provenance(self)}
        return _trees.tree({"posterior": draws}, attrs)

    def row_summary(
        self,
        X: ArrayLike | None = None,
        *,
        prob: float = 0.9,
        errors: ArrayLike | None = None,
        together: ArrayLike | None = None,
        kind: str | None = None,
        n_draws: int = 199,
        random_state: RandomState = None,
        progressbar: bool = False,
    ) -> xr.Dataset:
        """Return all that the fit says of each row: its group, how doubtful that is and why, its density, and whether it is an outlier.

        A fit takes its parameters for known, so all the doubt it sees is overlap: ``epistemic`` is exactly zero and intervals have no
        width. With ``kind``, draws of what the parameters would be with other data of the same kind take the place of a posterior's.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            The training data when absent.
        prob : float
            Share of the draws that the central intervals hold.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.
        kind : {"nonparametric", "parametric", "weighted", "sandwich", "observed", "empirical"}, optional
            The draws of :meth:`sampling_distribution` of this kind.
        n_draws : int
        random_state : int, Generator, RandomState or None
            None takes the estimator's.
        progressbar : bool
            Show on stderr how many refits are done, when that is a terminal.

        Returns
        -------
        xarray.Dataset
            The variables that :meth:`bayesgmm.BayesianGaussianMixture.row_summary` lists, ``label_share`` with ``kind`` only; the
            responsibility of noise is last, component -1.

            With ``kind``, responsibilities, densities and tail probabilities are means over the draws, and so may differ from those
            of :meth:`responsibilities` and :meth:`score_samples`. ``attrs["note"]`` says what was taken for known.

        Raises
        ------
        InvalidParameterError
            If ``prob``, ``kind`` or ``n_draws`` cannot be used, or ``kind`` is asked of a fit with priors, noise or equal weights.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful().to_numpy())
        >>> said = em.row_summary([[4.4, 80.0], [3.0, 95.0]])
        >>> said.label.values, said.tail_probability.round(2).values
        (array([0, 0]), array([0.96, 0.  ]))
        >>> float(em.row_summary().epistemic.max())
        0.0
        >>> bool(em.row_summary(kind="weighted", n_draws=50).epistemic.max() > 0.01)
        True
        """
        if kind is None:
            return super().row_summary(X, prob=prob, errors=errors, together=together).assign_attrs(note=_PLUG_IN)
        check_is_fitted(self, "params_")
        check_prob(prob)
        rows = self._rows(X, errors=errors, together=together)
        draws = self._sampled(kind, n_draws, random_state, progressbar=progressbar)
        said = row_summary(draws, rows.chunk, rows.index, prob)
        return said.assign_attrs(inference=f"em, {kind}", note=_SAMPLED)

    def _sampled(self, kind: str, n_draws: int, random_state: RandomState, *, progressbar: bool) -> MixtureParams:
        """Return mixtures as other data of the same kind would give them, batch shape (n_draws,)."""
        seed = self.random_state if random_state is None else random_state
        if kind == "jackknife":
            raise InvalidParameterError("the jackknife leaves out one row at a time: its refits are no draws; ask for another kind")
        if kind in _FROM_CURVATURE:
            return self._errors_from_curvature(kind).draws(n_draws, generator(seed))
        return self._resample(kind, n_draws, seed, progressbar=progressbar).params

    def _errors_from_curvature(self, kind: str) -> StandardErrors:
        named = cast("Literal['sandwich', 'observed', 'empirical']", kind)
        self._require_plain_likelihood()
        return standard_errors(self.rows_.in_memory(), self.params_, self.family_, named)

    def _resample(self, kind: str, n_replicates: int, random_state: RandomState, *, progressbar: bool = False) -> Replicates:
        if n_replicates < 1:
            raise InvalidParameterError(f"n_replicates must be at least 1, got {n_replicates}")
        self._require_plain_likelihood()
        with counter("Refitting", shown=progressbar) as tell:
            return resample(
                self.rows_.in_memory(),
                self.params_,
                self.family_,
                kind=cast("ReplicateKind", kind),
                n_replicates=n_replicates,
                tol=self.tol,
                max_iter=self.max_iter,
                reg_covar=self.reg_covar,
                seeds=seed_sequence(random_state),
                on_replicate=tell,
            )

    def _require_plain_likelihood(self) -> None:
        """Refuse what holds for maximum likelihood with free weights, of values alone, only."""
        refuse_known(self.rows_, "standard errors")
        if self.fixed is not None:
            raise InvalidParameterError("standard errors do not know of fixed parameters yet: fit without fixed")
        if self.priors is not None:
            raise InvalidParameterError(
                "standard errors are those of maximum likelihood: fit without priors, or fit BayesianGaussianMixture with the same priors "
                "and take its posterior's standard deviations"
            )
        if self.equal_weights or self.noise:
            name = "equal_weights" if self.equal_weights else "noise"
            raise InvalidParameterError(f"standard errors are those of a mixture with free weights and no noise: set {name}=False")
