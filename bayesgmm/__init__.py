"""Gaussian mixtures fitted twice, by EM and by full Bayesian inference, behind one interface.

>>> import bayesgmm as bg
>>> X = bg.datasets.load_faithful()
>>> em = bg.GaussianMixture(2, random_state=1).fit(X)
>>> em.responsibilities(X).dims
('obs', 'component')

``GaussianMixture`` is the maximum-likelihood fit, ``BayesianGaussianMixture`` the posterior, ``compare`` puts them side by side.
Nothing heavy is imported before it is used (Scientific Python's SPEC 1).
"""

from typing import TYPE_CHECKING

import lazy_loader

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bayesgmm import (
        criticism,
        datasets,
        diagnostics,
        exceptions,
        labels,
        partitions,
        plots,
        priors,
        report,
        selection,
    )
    from bayesgmm.bayes.model import build_model
    from bayesgmm.comparison import Comparison, compare
    from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
    from bayesgmm.params import MixtureParams
    from bayesgmm.priors import ConjugatePriors, Priors
    from bayesgmm.selection import BootstrapLRT, Merging, Selection, bootstrap_lrt, merge_components, select
    from bayesgmm.sources import open_rows

_load, __dir__, __all__ = lazy_loader.attach(  # type: ignore[assignment, unused-ignore]
    __name__,
    submodules=[
        "criticism",
        "datasets",
        "diagnostics",
        "exceptions",
        "labels",
        "partitions",
        "plots",
        "priors",
        "report",
        "selection",
    ],
    submod_attrs={
        "bayes.model": ["build_model"],
        "comparison": ["Comparison", "compare"],
        "estimators": ["BayesianGaussianMixture", "GaussianMixture"],
        "params": ["MixtureParams"],
        "priors": ["ConjugatePriors", "Priors"],
        "sources": ["open_rows"],
        "selection": ["BootstrapLRT", "Merging", "Selection", "bootstrap_lrt", "merge_components", "select"],
    },
)


def __getattr__(name: str) -> object:
    """Load what is asked for, and with it what cannot be loaded (PyMC) when NumPy was told to raise at underflow."""
    import numpy as np

    with np.errstate(under="ignore"):
        return _load(name)
