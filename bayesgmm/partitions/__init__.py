"""Groups rather than parameters: one partition for a whole posterior, how sure it is, and how far from it the draws are.

Most of what is here takes draws of a partition, an integer array (draws, points) from any sampler, with labels that may switch between
draws; `draw_labels` makes them from a fit. The doubt of a row is the probability that its label is wrong: the ``row_summary`` of a fit
says where it comes from, and `abstain` classifies only the rows that are sure enough; where the truth is known, `reliability_curve` says
whether responsibilities are right as often as they claim. `occupied_components` and `same_mode` say how many groups there really are.
"""

from bayesgmm.partitions.credible_sets import Bound, CertainCore, CredibleBall, certain_core, credible_ball
from bayesgmm.partitions.doubt import Abstention, abstain, cause_of_doubt, row_entropy, row_summary
from bayesgmm.partitions.draws import draw_labels
from bayesgmm.partitions.estimates import PartitionEstimate, PartitionSummary, point_estimate, wasserstein_summary
from bayesgmm.partitions.losses import LOSSES, expected_loss, partition_loss
from bayesgmm.partitions.number_of_groups import occupied_components, same_mode
from bayesgmm.partitions.reliability import brier_score, calibration_error, log_score, match_to_truth, reliability_curve
from bayesgmm.partitions.similarity import similarity, similarity_blocks
from bayesgmm.underflow import guard

__all__ = [
    "LOSSES",
    "Abstention",
    "Bound",
    "CertainCore",
    "CredibleBall",
    "PartitionEstimate",
    "PartitionSummary",
    "abstain",
    "brier_score",
    "calibration_error",
    "cause_of_doubt",
    "certain_core",
    "credible_ball",
    "draw_labels",
    "expected_loss",
    "log_score",
    "match_to_truth",
    "occupied_components",
    "partition_loss",
    "point_estimate",
    "reliability_curve",
    "row_entropy",
    "row_summary",
    "same_mode",
    "similarity",
    "similarity_blocks",
    "wasserstein_summary",
]

guard(globals())
