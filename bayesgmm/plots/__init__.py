"""One function a picture, in matplotlib.

Groups are numbered as ``predict`` numbers them and coloured with the palette of Okabe & Ito (2008), which colour-blind
readers can tell apart; where colour carries the group, markers or line styles carry it too. Every function draws into
the axes it is given, or makes its own figure, and returns the axes (those that ArviZ draws return its
PlotCollection).
"""

from bayesgmm.plots.ball import plot_credible_ball
from bayesgmm.plots.chains import plot_rank, plot_trace
from bayesgmm.plots.criticism import plot_loo_pit, plot_pareto_k
from bayesgmm.plots.doubt import plot_doubt
from bayesgmm.plots.forest import plot_forest
from bayesgmm.plots.groups import plot_groups
from bayesgmm.plots.merging import plot_merging
from bayesgmm.plots.occupied import plot_occupied
from bayesgmm.plots.predictive import plot_predictive
from bayesgmm.plots.prior import plot_prior
from bayesgmm.plots.reliability import plot_reliability
from bayesgmm.plots.responsibilities import plot_responsibilities
from bayesgmm.plots.similarity import plot_similarity
from bayesgmm.plots.uncertainty import plot_uncertainty
from bayesgmm.underflow import guard

__all__ = [
    "plot_credible_ball",
    "plot_doubt",
    "plot_forest",
    "plot_groups",
    "plot_loo_pit",
    "plot_merging",
    "plot_occupied",
    "plot_pareto_k",
    "plot_predictive",
    "plot_prior",
    "plot_rank",
    "plot_reliability",
    "plot_responsibilities",
    "plot_similarity",
    "plot_trace",
    "plot_uncertainty",
]

guard(globals())
