"""The roads to a posterior: their names, what each is, and what its draws may be asked. The one list of samplers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ROADS", "Road"]


@dataclass(frozen=True)
class Road:
    """One way to draws of a posterior.

    Parameters
    ----------
    inference : str
        What it is, in a word: ``attrs["inference"]`` of the fit.
    draws : {"chains", "independent", "particles"}
        What its draws are: steps of Markov chains; independent of each other; or the particles of independent populations.
        ``attrs["draws"]`` of the fit; :mod:`bayesgmm.diagnostics.validity` says what each may be asked.
    needs : tuple of str
        Modules that must be installed.
    install : str
        What to tell pip if they are not.
    caution : str
        What else to say then.
    """

    inference: str
    draws: str = "chains"
    needs: tuple[str, ...] = ()
    install: str = ""
    caution: str = ""


_JAX = "'bayesgmm[jax]'"

ROADS = {
    "auto": Road("nuts"),
    "pymc": Road("nuts"),
    "nutpie": Road("nuts", needs=("nutpie",), install="nutpie"),
    "numpyro": Road("nuts", needs=("jax", "numpyro"), install=_JAX),
    "blackjax": Road("nuts", needs=("jax", "blackjax"), install=_JAX),
    "laplace": Road("laplace", "independent"),
    "gibbs": Road("gibbs"),
    "smc": Road("smc", "particles"),
    "advi": Road("advi", "independent"),
    "pathfinder": Road(
        "pathfinder",
        "independent",
        needs=("pymc_extras",),
        install="--no-deps pymc-extras better-optimize pydantic",
        caution=", or 'laplace', which draws as fast (pymc-extras lags PyMC: with its dependencies it would take PyMC back a version)",
    ),
}
"""Every sampler by the name under which :class:`bayesgmm.BayesianGaussianMixture` takes it."""
