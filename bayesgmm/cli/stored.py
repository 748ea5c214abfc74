"""Reading what ``bayesgmm fit`` wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams

__all__ = ["StoredModel", "read_model"]

_KEYS = ("bayesgmm_version", "feature_names", "weights", "means", "covariances")


@dataclass(frozen=True)
class StoredModel:
    """A mixture and the names of its columns.

    Parameters
    ----------
    params : MixtureParams
        Batch shape ``()``.
    feature_names : list of str
        (D,)
    """

    params: MixtureParams
    feature_names: list[str]


def read_model(path: str) -> StoredModel:
    """Read a model that ``bayesgmm fit`` wrote; of a posterior the means over its draws.

    Raises
    ------
    InvalidDataError
        If there is no such file, or it holds something else.
    """
    if not Path(path).is_file():
        raise InvalidDataError(f"There is no file {path!r}; bayesgmm fit writes one.")
    try:
        content = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise _not_ours(path, f"it is not JSON ({' '.join(str(error).split())[:100]})") from None
    missing = [key for key in _KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise _not_ours(path, f"it lacks {', '.join(missing)}")
    names = content["feature_names"]
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)):
        raise _not_ours(path, "its feature_names are not a list of different names")
    return StoredModel(_params(path, content, len(names)), names)


def _params(path: str, content: dict[str, Any], D: int) -> MixtureParams:
    weights = _numbers(path, content, "weights")
    K = weights.size
    shapes = {"weights": (K,), "means": (K, D), "covariances": (K, D, D)}
    arrays = {name: _numbers(path, content, name) for name in shapes}
    for name, shape in shapes.items():
        if arrays[name].shape != shape or K == 0:
            raise _not_ours(path, f"its {name} have shape {arrays[name].shape}, not {shape}, for {K} weights and {D} columns")
    try:
        return MixtureParams.from_covariances(**arrays)
    except InvalidParameterError as error:
        raise _not_ours(path, str(error).rstrip(".")) from None


def _numbers(path: str, content: dict[str, Any], name: str) -> np.ndarray:
    try:
        array = np.asarray(content[name], dtype=float)
    except (ValueError, TypeError, OverflowError):
        raise _not_ours(path, f"its {name} are not numbers in rows of one length") from None
    if not np.isfinite(array).all():
        raise _not_ours(path, f"its {name} are not all finite")
    return array


def _not_ours(path: str, why: str) -> InvalidDataError:
    return InvalidDataError(f"{path} does not hold a model of bayesgmm: {why}; bayesgmm fit writes one.")
