"""Labels for the components of a mixture's draws that mean the same in every draw.

The components of a mixture have no names of their own: a sampler may call the same group 0 in one draw and 1 in the next, and means,
R-hat or plots of "component 0" then mean nothing. Relabelling finds an order of the components for each draw. Nothing is lost by it: the
density of a mixture is the same in every order.

`find_labels` works on arrays and mixtures, by eight methods; `find_all` and `agreement` compare them; `relabel` does the whole for an
``xarray.DataTree`` of anybody's mixture. `align` is what fits of this package call.
"""

from bayesgmm.labels.assignment import align, match
from bayesgmm.labels.datatree import relabel
from bayesgmm.labels.relabelling import Relabelling, agreement, find_all, find_labels
from bayesgmm.underflow import guard

__all__ = ["Relabelling", "agreement", "align", "find_all", "find_labels", "match", "relabel"]

guard(globals())
