"""What is believed before the data: values, with defaults scaled by the data."""

from bayesgmm.priors.conjugate import ConjugatePriors, ResolvedConjugatePriors
from bayesgmm.priors.correlations import LKJ, lkj_log_constant
from bayesgmm.priors.model import Priors, ResolvedPriors
from bayesgmm.priors.number import BetaNegativeBinomial, Concentration, NumberPrior, Poisson, Probabilities, Uniform
from bayesgmm.priors.scales import Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, InverseGamma, LogNormal, ScalePrior

__all__ = [
    "LKJ",
    "BetaNegativeBinomial",
    "Concentration",
    "ConjugatePriors",
    "Exponential",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "InverseGamma",
    "LogNormal",
    "NumberPrior",
    "Poisson",
    "Priors",
    "Probabilities",
    "ResolvedConjugatePriors",
    "ResolvedPriors",
    "ScalePrior",
    "Uniform",
    "lkj_log_constant",
]
