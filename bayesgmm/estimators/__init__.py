"""The two scikit-learn faces of a Gaussian mixture: maximum likelihood and posterior, behind one interface."""

from bayesgmm.estimators.em import GaussianMixture
from bayesgmm.estimators.posterior import BayesianGaussianMixture

__all__ = ["BayesianGaussianMixture", "GaussianMixture"]
