"""One function a picture, in matplotlib.

Groups are numbered as ``predict`` numbers them and coloured with the palette of Okabe & Ito (2008), which colour-blind
readers can tell apart; where colour carries the group, markers or line styles carry it too. Every function draws into
the axes it is given, or makes its own figure, and returns the axes (those that ArviZ draws return its
PlotCollection).
"""

from bayesgmm.plots.comparison import plot_forest, plot_predictive
from bayesgmm.plots.diagnostics import plot_loo_pit, plot_pareto_k, plot_rank, plot_trace
from bayesgmm.plots.groups import plot_groups
from bayesgmm.plots.partitions import plot_credible_ball, plot_occupied, plot_similarity
from bayesgmm.plots.prior import plot_prior
from bayesgmm.plots.uncertainty import plot_doubt, plot_entropy, plot_reliability, plot_responsibilities
from bayesgmm.plots.weights import plot_sample_weights
from bayesgmm.underflow import guard

__all__ = [
    "plot_credible_ball",
    "plot_doubt",
    "plot_entropy",
    "plot_forest",
    "plot_groups",
    "plot_loo_pit",
    "plot_occupied",
    "plot_pareto_k",
    "plot_predictive",
    "plot_prior",
    "plot_rank",
    "plot_reliability",
    "plot_responsibilities",
    "plot_sample_weights",
    "plot_similarity",
    "plot_trace",
]

guard(globals())
