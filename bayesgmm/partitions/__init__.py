"""Groups rather than parameters: one partition for a whole posterior, how sure it is, and how far from it the draws are.

Everything here takes draws of a partition, an integer array (draws, points) from any sampler, with labels that may switch between
draws; `draw_labels` makes them from a fit.
"""

from bayesgmm.partitions.ball import Bound, CredibleBall, credible_ball
from bayesgmm.partitions.baselines import best_draw, best_linkage
from bayesgmm.partitions.certain import CertainCore, certain_core
from bayesgmm.partitions.losses import LOSSES, expected_loss, loss_draws, partition_loss
from bayesgmm.partitions.minimise import PartitionEstimate, minimize
from bayesgmm.partitions.pairs import display_order, draw_labels, similarity, similarity_blocks
from bayesgmm.partitions.several import PartitionSummary, summarize

__all__ = [
    "LOSSES",
    "Bound",
    "CertainCore",
    "CredibleBall",
    "PartitionEstimate",
    "PartitionSummary",
    "best_draw",
    "best_linkage",
    "certain_core",
    "credible_ball",
    "display_order",
    "draw_labels",
    "expected_loss",
    "loss_draws",
    "minimize",
    "partition_loss",
    "similarity",
    "similarity_blocks",
    "summarize",
]
