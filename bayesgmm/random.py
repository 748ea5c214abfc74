"""Sources of randomness, from whatever scikit-learn accepts as ``random_state``."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_random_state

from bayesgmm.typing import RandomState

__all__ = ["generator", "seed_sequence"]


def generator(random_state: RandomState) -> np.random.Generator:
    """Return a NumPy Generator."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if random_state is None or isinstance(random_state, (int, np.integer)):
        return np.random.default_rng(random_state)
    return np.random.default_rng(check_random_state(random_state).randint(2**31, size=4))


def seed_sequence(random_state: RandomState) -> np.random.SeedSequence:
    """Return the root of all randomness of one fit."""
    if isinstance(random_state, (int, np.integer)):
        return np.random.SeedSequence(int(random_state))
    if random_state is None:
        return np.random.SeedSequence()
    return np.random.SeedSequence(generator(random_state).integers(2**32, size=4).tolist())
