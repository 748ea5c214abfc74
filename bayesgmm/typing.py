"""Names for the array shapes and choices that run through the package.

Shapes are written in docstrings as ``(N, D)``: N rows (observations), D columns (features), K components, ``...`` any leading
batch dimensions (``()`` for an EM fit, ``(chain, draw)`` for a posterior).
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ArrayLike", "CovarianceType", "FloatArray", "IntArray", "RandomState"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
CovarianceType = Literal[
    "full", "tied", "diag", "spherical",
    "EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV",
]  # fmt: skip
RandomState = int | np.random.Generator | np.random.RandomState | None
