"""What is wrong with a fit, and how well it predicts: rows left out, folds, and data simulated from it."""

from bayesgmm.criticism.elpd import Elpd
from bayesgmm.criticism.group_shapes import group_shapes
from bayesgmm.criticism.kfold import Folds, kfold
from bayesgmm.criticism.loo import compare_elpd, loo
from bayesgmm.criticism.predictive_checks import loo_pit, pit_table, predictive_statistics
from bayesgmm.underflow import guard

__all__ = ["Elpd", "Folds", "compare_elpd", "group_shapes", "kfold", "loo", "loo_pit", "pit_table", "predictive_statistics"]

guard(globals())
