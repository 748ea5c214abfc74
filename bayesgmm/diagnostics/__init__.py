"""Have the chains converged? Tables for the eye, checks in plain words, and one verdict.

Groups of a mixture have no names of their own: a sampler may call the same group 0 in one chain and 1 in the next. So
every question is asked three times: of quantities that do not depend on labels (``label-free``), of the parameters
after relabelling (``relabelled``) and of the sampler's own labels (``raw``). Chains whose raw labels disagree while
the other two agree have converged up to labels, which is all that can be asked of them. Chains that disagree even on what
needs no labels have found different modes, which are told apart by chain and by what became of the components.
"""

from bayesgmm.diagnostics.chains import Modes, Stacking, stack
from bayesgmm.diagnostics.convergence import convergence_table, does_not_apply, draws_kind, sampler_table, varying
from bayesgmm.diagnostics.label_free import label_free
from bayesgmm.diagnostics.sensitivity import prior_sensitivity
from bayesgmm.diagnostics.verdict import Check, diagnose, verdict
from bayesgmm.underflow import guard

__all__ = [
    "Check",
    "Modes",
    "Stacking",
    "convergence_table",
    "diagnose",
    "does_not_apply",
    "draws_kind",
    "label_free",
    "prior_sensitivity",
    "sampler_table",
    "stack",
    "varying",
    "verdict",
]

guard(globals())
