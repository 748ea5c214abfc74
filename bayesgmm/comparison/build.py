"""The function that puts two fits side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesgmm.comparison import verdicts
from bayesgmm.comparison.columns import columns
from bayesgmm.comparison.groups import groups_used
from bayesgmm.comparison.inputs import Inputs, gather
from bayesgmm.comparison.parameters import parameter_table, standard_errors_of
from bayesgmm.comparison.partition import partition_view
from bayesgmm.comparison.predictive import predictive_check
from bayesgmm.comparison.value import Comparison
from bayesgmm.diagnostics import convergence_table, sampler_table, verdict
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions.doubt import cause_of_doubt, entropy_parts, row_entropy
from bayesgmm.typing import FloatArray

if TYPE_CHECKING:
    from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture

__all__ = ["compare"]

# Numbers to simulate for the posterior predictive check where the user leaves it open: some ten seconds' work.
_MOST_REPLICATED = 40_000_000


def compare(
    em: GaussianMixture,
    posterior: BayesianGaussianMixture,
    X: Any = None,
    *,
    n_replicates: int | None = None,
    random_state: int = 0,
) -> Comparison:
    """Put an EM fit and a posterior of the same model and data side by side.

    Parameters
    ----------
    em : GaussianMixture
        Fitted.
    posterior : BayesianGaussianMixture
        Fitted to the same data, with the same number of components and covariance type. If another EM fit gave it its
        labels, its components are matched to those of ``em`` by optimal assignment on the mean responsibilities, and a
        verdict says so.
    X : array-like or DataFrame of shape (N, D), optional
        Rows to compare on; the training data by default.
    n_replicates : int, optional
        Replicated data sets of the posterior predictive check, at least 20; by default 400, for large data down to 100.
    random_state : int
        Seed of the replicated data sets.

    Returns
    -------
    Comparison

    Raises
    ------
    InvalidParameterError
        If the fits differ in components, covariance type, columns or data, or X has other columns.
    InvalidDataError
        If X has infinite values, or a column with none at all.

    Notes
    -----
    Missing values (NaN) are taken as the fits take them: a row has the marginal density of what it has. The simulated data sets of the
    predictive check get the same gaps as the data.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> em = bg.GaussianMixture(2, random_state=0).fit(X)
    >>> settings = {"draws": 200, "tune": 200, "random_state": 0, "progressbar": False}
    >>> posterior = bg.BayesianGaussianMixture(2, init=em, **settings).fit(X)
    >>> compare(em, posterior).verdict("agreement").passed
    True
    """
    if n_replicates is not None and n_replicates < 20:
        raise InvalidParameterError(f"n_replicates must be at least 20, got {n_replicates}.")
    inputs = gather(em, posterior, X)
    if n_replicates is None:
        n_replicates = int(np.clip(_MOST_REPLICATED // inputs.X.size, 100, 400))
    tree = posterior.datatree_
    responsibilities = _responsibility_table(inputs)
    table = parameter_table(inputs.em, inputs.posterior, inputs.features, standard_errors_of(em))
    view = partition_view(inputs.em_responsibilities, inputs.posterior, inputs.X, random_state)
    used = groups_used(inputs.posterior, inputs.X, random_state)
    check = predictive_check(inputs.posterior, inputs.X, inputs.features, n_replicates, random_state)
    convergence, sampler = convergence_table(tree), sampler_table(tree)
    checks = verdict(convergence, sampler, inputs.posterior.batch_shape[0], tree)
    return Comparison(
        parameters=table,
        responsibilities=responsibilities,
        convergence=convergence,
        sampler=sampler,
        predictive=check.table,
        partition=view,
        groups=used,
        verdicts=(
            verdicts.agreement(responsibilities),
            verdicts.partition(view),
            verdicts.parameters(table),
            checks[0],
            verdicts.em_convergence(em),
            verdicts.predictive(check.probability, check.table, n_replicates),
            verdicts.doubt(responsibilities),
            *verdicts.groups(used),
            *columns(inputs.X, inputs.features),
            *verdicts.alignment(inputs),
        ),
        checks=checks,
        order=inputs.order,
        features=inputs.features,
        X=inputs.X,
        em_params=inputs.em,
        posterior_params=inputs.posterior,
        replicates=check.replicates,
        datatree=tree,
    )


def _responsibility_table(inputs: Inputs) -> pd.DataFrame:
    """One row an observation; see ``Comparison.responsibilities``."""
    named = (("em", inputs.em_responsibilities), ("posterior", inputs.mean), ("sd", inputs.sd))
    columns: dict[str, Any] = {f"{name}_{k}": values[:, k] for name, values in named for k in range(values.shape[1])}
    columns["em_label"] = inputs.em_responsibilities.argmax(axis=1)
    columns["posterior_label"] = inputs.mean.argmax(axis=1)
    columns["largest_gap"] = np.abs(inputs.em_responsibilities - inputs.mean).max(axis=1)
    columns["em_doubt"] = 1 - inputs.em_responsibilities.max(axis=1)
    columns["posterior_doubt"] = 1 - inputs.mean.max(axis=1)
    columns["divergence"] = _divergence(inputs.em_responsibilities, inputs.mean)
    _, aleatoric, epistemic = entropy_parts(inputs.mean, inputs.entropy)
    columns["cause"] = cause_of_doubt(inputs.mean, aleatoric, epistemic)
    return pd.DataFrame(columns, index=inputs.index)


def _divergence(p: FloatArray, q: FloatArray) -> FloatArray:
    """Jensen-Shannon divergence of each row's two distributions, in bits: 0 where they are the same, 1 where they share nothing.

    Lin (1991), IEEE Transactions on Information Theory 37, 145-151, equation 5.1.
    """
    apart = row_entropy((p + q) / 2) - (row_entropy(p) + row_entropy(q)) / 2
    return np.clip(apart / np.log(2), 0.0, 1.0)
