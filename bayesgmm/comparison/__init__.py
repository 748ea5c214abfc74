"""EM and the posterior side by side: where the two answers agree, where not, and whether either may be trusted."""

from bayesgmm.comparison.comparison import Comparison, compare
from bayesgmm.underflow import guard

__all__ = ["Comparison", "compare"]

guard(globals())
