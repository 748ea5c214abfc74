"""The samplers: their names, what each is, and what its draws may be asked. The one list of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SAMPLERS", "Sampler"]


@dataclass(frozen=True)
class Sampler:
    """One way to draws of a posterior.

    Parameters
    ----------
    inference : str
        What it is, in a word: ``attrs["inference"]`` of the fit.
    draws : {"chains", "independent"}
        What its draws are: steps of Markov chains, or independent of each other. ``attrs["draws"]`` of the fit;
        :func:`bayesgmm.diagnostics.does_not_apply` says what each may be asked.
    has_exact_lp : bool
        Whether its ``lp`` is the model's log-posterior with all its constants, so that the log-likelihood follows from it.
    """

    inference: str
    draws: str = "chains"
    has_exact_lp: bool = False


SAMPLERS = {
    "nuts": Sampler("nuts", has_exact_lp=True),
    "laplace": Sampler("laplace", "independent", has_exact_lp=True),
    "gibbs": Sampler("gibbs"),
    "pymc": Sampler("mcmc"),
}
"""Every sampler by the name under which :class:`bayesgmm.BayesianGaussianMixture` takes it."""
