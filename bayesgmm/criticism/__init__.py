"""What is wrong with a fit, and how well it predicts: rows left out, folds, and data simulated from it."""

from bayesgmm.criticism.compare import compare_elpd
from bayesgmm.criticism.folds import Folds, kfold
from bayesgmm.criticism.loo import loo
from bayesgmm.criticism.pit import loo_pit, pit_table
from bayesgmm.criticism.statistics import predictive_statistics
from bayesgmm.criticism.value import Elpd
from bayesgmm.underflow import guard

__all__ = ["Elpd", "Folds", "compare_elpd", "kfold", "loo", "loo_pit", "pit_table", "predictive_statistics"]

guard(globals())
