"""Mixtures as files: JSON to read and to exchange, npz for large batches. Nothing is pickled, nothing that is read is run."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.mixture import Mixture
from bayesgmm.mixture.build import numbers
from bayesgmm.text import listed, shortened

__all__ = ["FORMAT", "VERSION", "load", "save"]

FORMAT = "bayesgmm.MixtureParams"
VERSION = 1
_ARRAYS = ("weights", "means", "scale_tril")
_KEYS = {"format", "version", *_ARRAYS}


def save(params: Mixture, path: str | os.PathLike[str]) -> None:
    """Write the mixture, or the batch, to a file: JSON if its name ends in ``.json``, NumPy's npz if in ``.npz``.

    The file holds ``format``, ``version``, ``weights``, ``means`` and ``scale_tril``, every number to the last bit. It is written as a
    whole or not at all (:func:`bayesgmm.files.atomic_write`); nothing is pickled.

    Parameters
    ----------
    path : str or path-like
        Missing folders are created, a file that is there is replaced.

    Raises
    ------
    InvalidParameterError
        If the name has another ending.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.7, 0.3], [[0.0], [4.0]], [[[1.0]], [[2.0]]])
    >>> with TemporaryDirectory() as folder:
    ...     params.save(f"{folder}/mixture.json")
    ...     again = MixtureParams.load(f"{folder}/mixture.json")
    >>> bool((again.scale_tril == params.scale_tril).all())
    True
    """
    # Here because it brings pandas, which densities do without.
    from bayesgmm.files import atomic_write

    kind = _ending(Path(path))
    if params.weights.size == 0:
        raise InvalidParameterError("an empty batch of mixtures cannot be saved: there is nothing in it")
    arrays = {name: getattr(params, name) for name in _ARRAYS}
    with atomic_write(path) as temporary:
        if kind == ".npz":
            # Into a stream: NumPy would add an ending to a name in capitals.
            with temporary.open("xb") as stream:
                np.savez(stream, format=np.array(FORMAT), version=np.array(VERSION), **arrays)
        else:
            content = {"format": FORMAT, "version": VERSION} | {name: array.tolist() for name, array in arrays.items()}
            temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8", newline="")


def load[M: Mixture](kind: type[M], path: str | os.PathLike[str]) -> M:
    """Read a mixture that :func:`save` wrote; :meth:`bayesgmm.params.MixtureParams.load` describes it."""
    source = Path(path)
    is_npz = _ending(source) == ".npz"
    if not source.is_file():
        raise InvalidDataError(f"There is no file {str(source)!r}.")
    try:
        content = _read_npz(source) if is_npz else _read_json(source)
        _check_header(content)
        return kind(**{name: numbers(content[name], name) for name in _ARRAYS})
    except (InvalidDataError, InvalidParameterError) as error:
        raise InvalidDataError(f"{source} does not hold a mixture: {error}.") from error


def _ending(path: Path) -> str:
    if path.suffix.lower() not in (".json", ".npz"):
        raise InvalidParameterError(f"{path} must end in .json or .npz: the ending says how a mixture is written.")
    return path.suffix.lower()


def _read_json(path: Path) -> Mapping[str, Any]:
    """Return what is in the file, if it is an object of strict JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError, OSError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error).rstrip(".")
        raise InvalidDataError(f"it cannot be read as JSON ({reason})") from error
    if not isinstance(content, dict):
        raise InvalidDataError(f"it holds a {type(content).__name__}, not an object with keys {listed(sorted(_KEYS))}")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _read_npz(path: Path) -> Mapping[str, Any]:
    """Return the arrays in the file; arrays of Python objects, which would have to be unpickled, are refused."""
    try:
        # Opened here: NumPy would leave a file open that turns out not to be an archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InvalidDataError("it cannot be read as an npz file of plain arrays") from error


def _check_header(content: Mapping[str, Any]) -> None:
    """Check the keys, the format and the version."""
    if missing := sorted(_KEYS - set(content)):
        raise InvalidDataError(f"it lacks {listed(missing)}")
    if extra := sorted(set(content) - _KEYS):
        raise InvalidDataError(f"it has keys that no mixture has: {listed(extra, 5)}")
    if str(content["format"]) != FORMAT:
        raise InvalidDataError(f"its format is {shortened(content['format'], 60)!r}, not {FORMAT!r}")
    version = np.asarray(content["version"])
    if version.shape or version.dtype.kind not in "iu" or version < 1:
        raise InvalidDataError("its version is not a whole number from 1 on")
    if version > VERSION:
        raise InvalidDataError(
            f"it has version {int(version)} of the format and this bayesgmm reads up to {VERSION}: update bayesgmm"
        )
