"""The samplers of one posterior, faithful with two groups: seconds of a fit, and effective draws for each of them."""

from __future__ import annotations

import warnings

import bayesgmm as bg
from bayesgmm.bayes.draws import SAMPLERS
from bayesgmm.exceptions import ConvergenceWarning
from benchmarks.posterior import least_ess
from benchmarks.timing import Row, clock

COMPILES = ("pymc",)
"""What compiles a model anew for every fit: one run, beside one of ours."""


def rows(quick: bool = False) -> list[Row]:
    out: list[Row] = []
    _fit("hmc")
    for sampler in ("laplace", "gibbs") if quick else (name for name in SAMPLERS if name != "hmc"):
        out += _row(sampler)
    return out


def _row(sampler: str) -> list[Row]:
    if sampler not in COMPILES:
        _fit(sampler)
    times, rates = [], []
    for _ in range(1 if sampler in COMPILES else 5):
        for name in ("hmc", sampler):
            fits: list[bg.BayesianGaussianMixture] = []
            seconds = clock(lambda: fits.append(_fit(name)))  # noqa: B023
            times.append(seconds)
            rates.append(_ess(fits[0]) / seconds)
    middle = len(times) // 4
    mine, ours = (sorted(times[i::2])[middle] for i in (1, 0))
    rate, our_rate = (sorted(rates[i::2])[middle] for i in (1, 0))
    what = f"sampler={sampler!r}, faithful, 4,000 draws"
    peer = "sampler='hmc'"
    note = "under conjugate priors" if sampler == "gibbs" else ""
    return [
        Row(f"{what}: a fit", mine, ours, peer, note=note),
        Row(f"{what}: effective draws", rate, our_rate, peer, unit="ESS/s", higher_is_better=True, note=note),
    ]


def _fit(sampler: str) -> bg.BayesianGaussianMixture:
    model = bg.BayesianGaussianMixture(2, sampler=sampler, tune=400, cores=2, random_state=1, progressbar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the rows say how many draws it is worth
        return model.fit(bg.datasets.load_faithful())


def _ess(fit: bg.BayesianGaussianMixture) -> float:
    """Return what the draws are worth: of weighted ones their weights say it, of others the least ESS of the parameters."""
    attrs = fit.datatree_.attrs
    return float(attrs["importance_ess"]) if "importance_ess" in attrs else least_ess(fit.datatree_["posterior"])
