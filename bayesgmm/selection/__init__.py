"""How many groups, of what shape: criteria over many models, a bootstrap test of one more component, and merging of components."""

from bayesgmm.selection.choice import Choice, choose
from bayesgmm.selection.grid import select
from bayesgmm.selection.lrt import BootstrapLRT, bootstrap_lrt
from bayesgmm.selection.merging import Merging, merge_components
from bayesgmm.selection.selection import CRITERIA, Selection
from bayesgmm.underflow import guard

__all__ = ["CRITERIA", "BootstrapLRT", "Choice", "Merging", "Selection", "bootstrap_lrt", "choose", "merge_components", "select"]

guard(globals())
