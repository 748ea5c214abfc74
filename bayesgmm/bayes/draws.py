"""What a sampler is told, and what it gives back; the samplers there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.frame import Frame
from bayesgmm.params import MixtureParams
from bayesgmm.priors import Concentration, NumberPrior, ResolvedPriors

__all__ = [
    "FEWEST",
    "NUTPIE_NAMES",
    "SAMPLERS",
    "STATISTICS",
    "TELESCOPING",
    "Draws",
    "Evidence",
    "NumberModel",
    "Sampler",
    "SamplerSettings",
    "sampler_statistics",
]

STATISTICS = (
    "lp",
    "diverging",
    "energy",
    "step_size",
    "acceptance_rate",
    "tree_depth",
    "reached_max_treedepth",
    "n_steps",
)
"""Names of the sampler's statistics: PyMC's."""
FEWEST = 4
"""Draws of a chain that can be judged at all: with fewer, an interrupted chain is dropped."""


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample, whichever sampler does it.

    Parameters
    ----------
    draws, tune, chains : int
    cores : int or None
        Chains that run at once; None for as many as there are cores. Samplers that run all chains in one program ignore it.
    seed : int
    progressbar : bool
        Shown on standard error, or in the notebook.
    jitter : float
        Standard deviation of the chains' starts about the given one, on the unconstrained space: in standardised units.
    keep_interrupted : bool
        Whether an interrupt (Ctrl-C) ends the sampling with the draws so far, not with an exception; "hmc" and "nuts" only.
    max_time : float, optional
        Seconds, warm-up included, after which sampling ends with the draws so far; "hmc" only.
    """

    draws: int
    tune: int
    chains: int
    cores: int | None
    seed: int
    progressbar: bool
    jitter: float = 0.1
    keep_interrupted: bool = False
    max_time: float | None = None


@dataclass(frozen=True, eq=False)
class NumberModel:
    """A mixture with an unknown number of components.

    Parameters
    ----------
    family : Family
        "full", "tied", "diag" or "spherical".
    component : ResolvedPriors
        Priors of one component alone: all components have the same, for data in the sampler's coordinates.
    number : NumberPrior
    concentration : Concentration
    most : int
        Most components.
    """

    family: Family
    component: ResolvedPriors
    number: NumberPrior
    concentration: Concentration
    most: int


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of a sampler with its own labels.

    Parameters
    ----------
    params : MixtureParams
        Batch shape ``(chain, draw)``.
    statistics : dict of arrays of shape (chain, draw)
        Under the names of `STATISTICS`; a sampler that does not know one leaves it out.
    sampler : str
        Which program drew them.
    sampling_time : float
        Seconds, warm-up included.
    tuning_steps : int
    details : dict
        What else is to be said of the draws, such as ``pareto_k``: numbers and words that netCDF can hold, for the fit's ``attrs``.
    """

    params: MixtureParams
    statistics: dict[str, np.ndarray]
    sampler: str
    sampling_time: float
    tuning_steps: int
    details: dict[str, Any] = field(default_factory=dict)
    frame: Frame | None = None
    """The coordinates in which they were drawn, if these were others than theirs."""
    priors: ResolvedPriors | None = None
    """Priors of the model in these coordinates, if they are known."""


@dataclass(frozen=True)
class Evidence:
    """An estimate of the evidence.

    Parameters
    ----------
    log_evidence : float
        In nats.
    error : float
        Its standard error.

    Examples
    --------
    >>> Evidence(-1163.6, 0.05).log_evidence
    -1163.6
    """

    log_evidence: float
    error: float


NUTPIE_NAMES = {
    "logp": "lp",
    "depth": "tree_depth",
    "maxdepth_reached": "reached_max_treedepth",
    "mean_tree_accept": "acceptance_rate",
}
"""nutpie's names of statistics, where they differ from PyMC's."""


def sampler_statistics(sample_stats: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the statistics of `STATISTICS` that a sampler gave, under PyMC's names, as arrays of shape (chain, draw)."""
    renamed = {NUTPIE_NAMES.get(str(name), str(name)): values for name, values in sample_stats.items()}
    return {name: np.asarray(renamed[name]) for name in STATISTICS if name in renamed}


@dataclass(frozen=True)
class Sampler:
    """One way to draws of a posterior.

    Parameters
    ----------
    inference : str
        What it is, in a word: ``attrs["inference"]`` of the fit.
    draws : {"chains", "independent"}
        What its draws are: steps of Markov chains, or independent of each other. ``attrs["draws"]`` of the fit;
        :mod:`bayesgmm.diagnostics.validity` says what each may be asked.
    has_exact_lp : bool
        Whether its ``lp`` is the model's log-posterior with all its constants, so that the log-likelihood follows from it.
    """

    inference: str
    draws: str = "chains"
    has_exact_lp: bool = False


SAMPLERS = {
    "hmc": Sampler("hmc", has_exact_lp=True),
    "nuts": Sampler("nuts", has_exact_lp=True),
    "laplace": Sampler("laplace", "independent", has_exact_lp=True),
    "gibbs": Sampler("gibbs"),
    "pymc": Sampler("mcmc"),
}
"""Every sampler by the name under which :class:`bayesgmm.BayesianGaussianMixture` takes it."""

TELESCOPING = Sampler("telescoping")
"""What draws from the posterior of a mixture whose number of components is not known."""
