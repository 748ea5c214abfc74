"""The package's only E-step, on plain arrays.

Everything that needs to know how a point relates to a mixture goes through here: EM, the gradient for NUTS, responsibilities,
densities, relabelling. Mixtures come in as ``log_weights (K,)``, ``means (K, D)`` and ``scale_tril (K, D, D)``, lower Cholesky
factors of the covariances; a batch of T of them has a leading T.
"""

from bayesgmm.expectation._threads import libraries_on_one_thread, on_this_thread
from bayesgmm.expectation.chunks import Chunk, Chunked, expectation, expectations, rows_of, seen_from
from bayesgmm.expectation.core import Statistics
from bayesgmm.expectation.draws import DrawMoments, ResponsibilitySummary
from bayesgmm.expectation.missing import (
    Gaps,
    conditional_moments,
    cross_sums,
    evaluate,
    has_gaps,
    log_density_draws,
    responsibility_draws,
    responsibility_moments,
    responsibility_summary,
)
from bayesgmm.expectation.predictions import Estimate, Predictions, predictions
from bayesgmm.expectation.score import Score, score

__all__ = [
    "Chunk",
    "Chunked",
    "DrawMoments",
    "Estimate",
    "Gaps",
    "Predictions",
    "ResponsibilitySummary",
    "Score",
    "Statistics",
    "conditional_moments",
    "cross_sums",
    "evaluate",
    "expectation",
    "expectations",
    "has_gaps",
    "libraries_on_one_thread",
    "log_density_draws",
    "on_this_thread",
    "predictions",
    "responsibility_draws",
    "responsibility_moments",
    "responsibility_summary",
    "rows_of",
    "score",
    "seen_from",
]
