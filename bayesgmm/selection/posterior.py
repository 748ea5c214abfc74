"""What the posteriors of many models say of rows left out and of occupied components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.covariance import WITH_PRIORS
from bayesgmm.criticism.loo import loo
from bayesgmm.criticism.value import Elpd
from bayesgmm.criticism.weights import times_each
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.estimators.fitting import quiet
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions.used import mean_occupied
from bayesgmm.progress import steps
from bayesgmm.selection.selection import Selection
from bayesgmm.validation import check_weights

__all__ = ["Question"]

_GIVEN = ("n_components", "covariance_type", "init", "random_state", "progressbar")


@dataclass(frozen=True)
class Question:
    """How to sample the posteriors of the models of a selection, and what to write down.

    Parameters
    ----------
    settings : mapping
        For every `BayesianGaussianMixture`.
    seed : int
    progressbar : bool
    """

    settings: Mapping[str, Any]
    seed: int
    progressbar: bool

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], em: dict[str, Any], sample_weight: Any, n_rows: int, seed: int, *, progressbar: bool
    ) -> Question:
        """Check the settings, those of EM beside them, and the weights.

        Raises
        ------
        InvalidParameterError
            If `BayesianGaussianMixture` has no such setting or gets it from elsewhere, or EM fits what has no posterior here.
        InvalidDataError
            If weights are not whole numbers: rows are left out one at a time.
        """
        if not isinstance(settings, Mapping):
            raise InvalidParameterError(f"posterior must be True, False or a mapping of settings, got {type(settings).__name__}")
        known = sorted(set(BayesianGaussianMixture().get_params()) - set(_GIVEN))
        wrong = [name for name in settings if name not in known]
        if wrong:
            raise InvalidParameterError(f"posterior has no setting {wrong[0]!r} here; it has {', '.join(known)}")
        for name in ("noise", "equal_weights"):
            if em.get(name):
                raise InvalidParameterError(f"there is no posterior of models with {name}: leave out {name} or posterior")
        weight = check_weights(sample_weight, n_rows)
        times_each(weight, n_rows)
        return cls(settings, seed, progressbar)

    def __call__(self, selection: Selection) -> Selection:
        """Return the selection with the posteriors and their columns."""
        fits: list[BayesianGaussianMixture | None] = []
        found: list[Elpd | None] = []
        with quiet(), steps("Sampling posteriors", len(selection.models), shown=self.progressbar) as advance:
            for model, status in zip(selection.models, selection.table["status"], strict=True):
                usable = model is not None and status in ("converged", "max_iter") and model._family.name in WITH_PRIORS
                fit = self._fit(model, selection) if usable and model is not None else None
                fits.append(fit)
                found.append(None if fit is None else loo(fit, max_refits=0, progressbar=False))
                advance()
        table = selection.table.join(_columns(fits, found).set_index(selection.table.index))
        table.attrs = {**selection.table.attrs, "larger is better": ["elpd", "elpd_difference"]}
        return replace(selection, table=table, posteriors=tuple(fits))

    def _fit(self, model: GaussianMixture, selection: Selection) -> BayesianGaussianMixture:
        fit = BayesianGaussianMixture(
            model.n_components,
            covariance_type=model.covariance_type,
            init=model,
            random_state=self.seed,
            progressbar=False,
            **self.settings,
        )
        return fit.fit(selection.X, sample_weight=selection.sample_weight)


def _columns(fits: list[BayesianGaussianMixture | None], found: list[Elpd | None]) -> pd.DataFrame:
    best = max((elpd for elpd in found if elpd is not None), key=lambda elpd: elpd.elpd, default=None)
    rows = []
    for fit, elpd in zip(fits, found, strict=True):
        if fit is None or elpd is None or best is None:
            rows.append((np.nan,) * 6 + ("",))
            continue
        difference = replace(elpd, table=elpd.table.assign(elpd=elpd.table["elpd"] - best.table["elpd"]))
        occupied = mean_occupied(fit)
        rows.append((elpd.elpd, elpd.se, difference.elpd, difference.se, len(elpd.high_k), occupied, fit.diagnose()[0].sentence))
    names = ["elpd", "elpd_se", "elpd_difference", "elpd_difference_se", "high_k", "occupied", "posterior_verdict"]
    return pd.DataFrame(rows, columns=names)
