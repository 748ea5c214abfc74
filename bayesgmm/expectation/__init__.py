"""How rows relate to mixtures: the package's only E-step, and what it says row by row.

EM, the gradient for samplers, responsibilities, densities and relabelling go through here. Mixtures come in as ``log_weights (K,)``,
``means (K, D)`` and ``scale_tril (K, D, D)``, lower Cholesky factors of the covariances; a batch of T of them has a leading T.
"""

from bayesgmm.expectation.draws import (
    DrawMoments,
    Estimate,
    Grouping,
    Predictions,
    ResponsibilitySummary,
    cross_sums,
    log_density_draws,
    predictions,
    responsibility_draws,
    responsibility_moments,
    responsibility_summary,
)
from bayesgmm.expectation.estep import (
    Score,
    Statistics,
    densities_of_table,
    evaluate,
    evaluation_pass,
    expectation,
    expectations,
    filled,
    score,
    statistics_of_table,
    statistics_pass,
    values_behind,
)

__all__ = [
    "DrawMoments",
    "Estimate",
    "Grouping",
    "Predictions",
    "ResponsibilitySummary",
    "Score",
    "Statistics",
    "cross_sums",
    "densities_of_table",
    "evaluate",
    "evaluation_pass",
    "expectation",
    "expectations",
    "filled",
    "log_density_draws",
    "predictions",
    "responsibility_draws",
    "responsibility_moments",
    "responsibility_summary",
    "score",
    "statistics_of_table",
    "statistics_pass",
    "values_behind",
]
