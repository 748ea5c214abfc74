"""How much would the maximum-likelihood fit move with other data of the same kind: the bootstrap."""

from __future__ import annotations

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.fit import Start, fit_em
from bayesgmm.labels import align
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray


def bootstrap(
    X: FloatArray,
    params: MixtureParams,
    family: Family,
    *,
    n_replicates: int,
    tol: float,
    max_iter: int,
    reg_covar: float | None,
    seeds: np.random.SeedSequence,
) -> MixtureParams:
    """Refit resampled data from the fit and return the replicates, batch shape ``(replicate,)``, in the fit's component order.

    Rows are drawn with replacement, which is the same as giving each row its multinomial count as a weight, so the data are never copied.
    Every replicate starts at ``params`` and is relabelled on the original rows (O'Hagan, Murphy, Scrucca and Gormley 2019,
    Computational Statistics 34, 1779-1813).
    """
    start = Start(params.weights, params.means, params.covariances)
    replicates = []
    for seed in seeds.spawn(n_replicates):
        counts = np.random.default_rng(seed).multinomial(len(X), np.full(len(X), 1 / len(X))).astype(float)
        fit = fit_em(
            X, params.n_components, family, tol=tol, max_iter=max_iter, reg_covar=reg_covar, start=start, sample_weight=counts
        )
        replicates.append(fit.params)
    batch = MixtureParams(*(np.stack([getattr(p, name) for p in replicates]) for name in ("weights", "means", "scale_tril")))
    return batch.permute(align(X, batch, params.responsibilities(X)))
