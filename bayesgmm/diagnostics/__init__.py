"""Have the chains converged? Tables for the eye, checks in plain words, and one verdict.

Groups of a mixture have no names of their own: a sampler may call the same group 0 in one chain and 1 in the next. So
every question is asked three times: of quantities that do not depend on labels (``label-free``), of the parameters
after relabelling (``relabelled``) and of the sampler's own labels (``raw``). Chains whose raw labels disagree while
the other two agree have converged up to labels, which is all that can be asked of them.
"""

from bayesgmm.diagnostics.checks import Check, diagnose, verdict
from bayesgmm.diagnostics.tables import convergence_table, sampler_table

__all__ = ["Check", "convergence_table", "diagnose", "sampler_table", "verdict"]
