"""The two scikit-learn faces of a Gaussian mixture: maximum likelihood and posterior, behind one interface."""

from bayesgmm.estimators.em import GaussianMixture
from bayesgmm.estimators.posterior import BayesianGaussianMixture
from bayesgmm.underflow import guard

__all__ = ["BayesianGaussianMixture", "GaussianMixture"]

guard(globals())
