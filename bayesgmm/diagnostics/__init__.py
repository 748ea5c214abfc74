"""Have the chains converged? Tables for the eye, checks in plain words, and one verdict.

Groups of a mixture have no names of their own: a sampler may call the same group 0 in one chain and 1 in the next. So
every question is asked three times: of quantities that do not depend on labels (``label-free``), of the parameters
after relabelling (``relabelled``) and of the sampler's own labels (``raw``). Chains whose raw labels disagree while
the other two agree have converged up to labels, which is all that can be asked of them. Chains that disagree even on what
needs no labels have found different modes, which are told apart by chain and by what became of the components.
"""

from bayesgmm.diagnostics.checks import diagnose, verdict
from bayesgmm.diagnostics.label_free import label_free
from bayesgmm.diagnostics.modes import Modes, find_modes
from bayesgmm.diagnostics.sensitivity import prior_sensitivity
from bayesgmm.diagnostics.stacking import Stacking, stack
from bayesgmm.diagnostics.switching import Switching, find_switching
from bayesgmm.diagnostics.tables import convergence_table, sampler_table, varying
from bayesgmm.diagnostics.validity import does_not_apply, draws_kind, require_valid
from bayesgmm.diagnostics.value import Check
from bayesgmm.underflow import guard

__all__ = [
    "Check",
    "Modes",
    "Stacking",
    "Switching",
    "convergence_table",
    "diagnose",
    "does_not_apply",
    "draws_kind",
    "find_modes",
    "find_switching",
    "label_free",
    "prior_sensitivity",
    "require_valid",
    "sampler_table",
    "stack",
    "varying",
    "verdict",
]

guard(globals())
