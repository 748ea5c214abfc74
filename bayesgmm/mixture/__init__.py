"""What can be asked of a Gaussian mixture as a distribution: its parts, its quantiles, its modes, how its components overlap.

Every function takes a :class:`~bayesgmm.params.MixtureParams` first and is a method of it, which is how it is meant to be called.
Nothing here imports that class, so that it can take its methods from here.
"""
