"""Gaussian mixtures fitted twice, by EM and by full Bayesian inference, behind one interface.

>>> import bayesgmm as bg
>>> X = bg.datasets.load_faithful()
>>> em = bg.GaussianMixture(2, random_state=1).fit(X)
>>> em.responsibilities(X).dims
('obs', 'component')

``GaussianMixture`` is the maximum-likelihood fit, ``BayesianGaussianMixture`` the posterior, ``compare`` puts them side by side.
Nothing heavy is imported before it is used (Scientific Python's SPEC 1).
"""

import lazy_loader

__version__ = "0.1.0"

# __init__.pyi says what there is.
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Load what is asked for, and with it what cannot be loaded (PyMC) when NumPy was told to raise at underflow."""
    import numpy as np

    with np.errstate(under="ignore"):
        return _load(name)
