"""Maximum likelihood by EM: pure functions of data and starting values. Knows nothing of PyMC."""

from bayesgmm.em.bootstrap import Replicates, resample
from bayesgmm.em.concomitant import covariance_of_coefficients
from bayesgmm.em.fisher_information import StandardErrors, standard_errors
from bayesgmm.em.fit import Fitting, Specification, Start, fit_em
from bayesgmm.em.impute import impute
from bayesgmm.em.initialization import START_METHODS
from bayesgmm.em.journal import Iteration, Listener, Record
from bayesgmm.em.noise import Noise
from bayesgmm.em.penalties import penalty_of
from bayesgmm.em.result import EMFit
from bayesgmm.em.run import EMRun

__all__ = [
    "START_METHODS",
    "EMFit",
    "EMRun",
    "Fitting",
    "Iteration",
    "Listener",
    "Noise",
    "Record",
    "Replicates",
    "Specification",
    "StandardErrors",
    "Start",
    "covariance_of_coefficients",
    "fit_em",
    "impute",
    "penalty_of",
    "resample",
    "standard_errors",
]
