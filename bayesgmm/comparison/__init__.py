"""EM and the posterior side by side: where the two answers agree, where not, and whether either may be trusted."""

from bayesgmm.comparison.build import compare
from bayesgmm.comparison.value import Comparison
from bayesgmm.underflow import guard

__all__ = ["Comparison", "compare"]

guard(globals())
