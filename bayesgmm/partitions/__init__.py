"""Groups rather than parameters: one partition for a whole posterior, how sure it is, and how far from it the draws are.

Most of what is here takes draws of a partition, an integer array (draws, points) from any sampler, with labels that may switch between
draws; `draw_labels` makes them from a fit. Doubt about single rows is what the ``uncertainty`` of a fit returns: `doubt_of_draws` makes
it, and `abstain` classifies only the rows that are sure enough; where the truth is known, `reliability_curve` says whether responsibilities
are right as often as they claim. `occupied` and `same_group` say how many groups there really are.
"""

from bayesgmm.partitions.abstain import Abstention, abstain
from bayesgmm.partitions.ball import Bound, CredibleBall, credible_ball
from bayesgmm.partitions.baselines import best_draw, best_linkage
from bayesgmm.partitions.certain import CertainCore, certain_core
from bayesgmm.partitions.doubt import cause_of_doubt, doubt_of_draws, doubt_of_one, row_entropy
from bayesgmm.partitions.losses import LOSSES, expected_loss, loss_draws, partition_loss
from bayesgmm.partitions.minimise import PartitionEstimate, minimize
from bayesgmm.partitions.pairs import display_order, draw_labels, similarity, similarity_blocks
from bayesgmm.partitions.reliability import brier_score, calibration_error, log_score, match_to_truth, reliability_curve
from bayesgmm.partitions.several import PartitionSummary, summarize
from bayesgmm.partitions.used import occupied, same_group
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
    "best_draw",
    "best_linkage",
    "brier_score",
    "calibration_error",
    "cause_of_doubt",
    "certain_core",
    "credible_ball",
    "display_order",
    "doubt_of_draws",
    "doubt_of_one",
    "draw_labels",
    "expected_loss",
    "log_score",
    "loss_draws",
    "match_to_truth",
    "minimize",
    "occupied",
    "partition_loss",
    "reliability_curve",
    "row_entropy",
    "same_group",
    "similarity",
    "similarity_blocks",
    "summarize",
]

guard(globals())
