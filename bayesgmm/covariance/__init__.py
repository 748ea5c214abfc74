"""The covariance families: what each allows, how it is estimated, how its parameters are counted and shown.

A family is chosen once, by :func:`family`; nobody else asks for the name of a covariance type. A covariance matrix is taken apart into
volume, shape and orientation, ``lambda D A D'`` with ``|A| = 1``, and each may be equal in all components (E), vary (V), or be the
identity (I): mclust's three letters, in this order (Banfield and Raftery 1993, Biometrics 49, 803-821; Celeux and Govaert 1995, Pattern
Recognition 28, 781-793). Four of the fourteen go by scikit-learn's names: "full" is VVV, "tied" EEE, "diag" VVI, "spherical" VII.
"""

from bayesgmm.covariance.families import A_FEW, TO_THE_END, WITH_PRIORS, Family, as_matrices, diagonals, family, names, single

__all__ = ["A_FEW", "TO_THE_END", "WITH_PRIORS", "Family", "as_matrices", "diagonals", "family", "names", "single"]
