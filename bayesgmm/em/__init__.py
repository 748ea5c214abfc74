"""Maximum likelihood by EM: pure functions of data and starting values. Knows nothing of PyMC."""

from bayesgmm.em.bootstrap import bootstrap
from bayesgmm.em.fit import EMFit, fit_em
from bayesgmm.em.iterate import EMRun, Settings, run_em
from bayesgmm.em.starts import START_METHODS

__all__ = ["START_METHODS", "EMFit", "EMRun", "Settings", "bootstrap", "fit_em", "run_em"]
