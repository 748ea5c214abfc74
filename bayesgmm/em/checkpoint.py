"""Where a long fit is (:mod:`bayesgmm.em.journal`), kept in a file: so that it can go on after an interrupt or a crash."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.em.journal import Iteration, Record
from bayesgmm.em.m_step import Mixture
from bayesgmm.em.run import EMRun, RunState
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.files import atomic_write
from bayesgmm.text import shortened
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["EVERY", "VALUES", "Checkpoint"]

EVERY = 5
"""Iterations between two writings."""
VALUES = "values"
"""Which of the things that a fit is of tells values apart: it says nothing to anybody."""
_FORMAT = "bayesgmm.Checkpoint"
_VERSION = 4
"""1 did not keep what tells rows of the same sizes and ranges apart, 2 not what means are counted from, and 3 hashed rows otherwise."""


@dataclass(eq=False)
class Checkpoint:
    """A file that keeps where a fit is; as a listener it is written every few iterations and whenever a run ends.

    Parameters
    ----------
    path : str or path-like, optional
        Where to write; nowhere if it is absent.
    about : dict
        What the fit is of: settings, and sizes and ranges of the data. A checkpoint of anything else is refused.
    entropy : int or list of int
        Root of the fit's randomness.
    record : Record
    """

    path: str | os.PathLike[str] | None
    about: dict[str, Any]
    entropy: Any
    record: Record = field(default_factory=Record)
    _written: tuple[int, int] = (0, 0)

    def __call__(self, record: Record, iteration: Iteration | None) -> None:
        """Write a record whose run has ended, or is so many iterations farther than when it was written last."""
        self.record = record
        if iteration is not None:
            run, number = self._written if self._written[0] == iteration.run else (iteration.run, 0)
            if iteration.run == 0 or iteration.number - number < EVERY:  # an accepted extrapolation counts as an iteration, too
                return
            self._written = run, iteration.number
        self.write()

    def write(self) -> None:
        """Write where the fit is, if it is to be written anywhere."""
        if self.path is None:
            return
        head = {"format": _FORMAT, "version": _VERSION, "about": self.about, "entropy": self.entropy}
        state = self.record.state
        head["runs"] = [[run.status, run.n_saved] for run in self.record.ended]
        head["state"] = None if state is None else [state.longest, state.n_saved]
        arrays = {"head": np.array(json.dumps(head))}
        if self.record.origin is not None:
            arrays["origin"] = self.record.origin
        for i, run in enumerate(self.record.ended):
            arrays |= _named(f"run{i}", run.mixture, trace=run.trace)
        if state is not None:
            arrays |= _named("state", state.mixture, trace=state.trace)
            for i, mixture in enumerate(state.last):
                arrays |= _named(f"last{i}", mixture)
        with atomic_write(self.path) as temporary, temporary.open("xb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read a checkpoint, to go on from; it writes nowhere until it is given a path.

        Raises
        ------
        InvalidDataError
            If there is no such file, or it does not hold a checkpoint, or one of another version.
        """
        source = Path(path)
        if not source.is_file():
            raise InvalidDataError(f"There is no checkpoint {str(source)!r}.")
        try:
            with source.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            head = _head(arrays)
            if head["version"] != _VERSION:
                raise InvalidDataError(
                    f"{source} is a checkpoint of another version of bayesgmm (format {head['version']}, this one reads {_VERSION}): "
                    "go on with that version, or fit anew"
                )
            runs = enumerate(head["runs"])
            ended = [EMRun(_mixture(arrays, f"run{i}"), arrays[f"run{i}.trace"], *told) for i, told in runs]
            state = None if head["state"] is None else _state(arrays, *head["state"])
            return cls(None, dict(head["about"]), head["entropy"], Record(arrays.get("origin"), ended, state))
        except InvalidDataError:
            raise
        except Exception as error:  # a damaged archive raises anything, a NotImplementedError even
            raise InvalidDataError(
                f"{source} does not hold a checkpoint of bayesgmm: it is something else, or it is damaged or cannot be read"
            ) from error

    @staticmethod
    def check_may_replace(path: str | os.PathLike[str]) -> None:
        """Raise InvalidParameterError if there is a file that is no checkpoint, of whatever version: it may be the only copy of data."""
        target = Path(path)
        if not target.exists():
            return
        try:
            with target.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                _head(archive)
        except Exception as error:
            raise InvalidParameterError(
                f"checkpoint {str(target)!r} is a file that is no checkpoint of bayesgmm and would be overwritten: give another name"
            ) from error

    def check_is_of(self, about: dict[str, Any], path: str | os.PathLike[str]) -> None:
        """Raise InvalidParameterError unless this is a checkpoint of the fit that is described."""
        for name, value in json.loads(json.dumps(about)).items():
            kept = self.about.get(name)
            if not _same(kept, value):
                other = f"its {name} is {shortened(kept)}, here it is {shortened(value)}"
                if name == VALUES:
                    other = "its rows are as many as these and have the same ranges, but its values (or weights) are others"
                raise InvalidParameterError(f"{os.fspath(path)} is the checkpoint of another fit: {other}")


def _head(arrays: Any) -> dict[str, Any]:
    """Return what an archive says of itself, if it is a checkpoint."""
    head = json.loads(str(arrays["head"]))
    if head["format"] != _FORMAT:
        raise ValueError("another format")
    return head


def _same(one: Any, other: Any) -> bool:
    """Whether two things that a fit is of agree; sums of weights depend on the order of the rows in their last digits."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def _named(name: str, mixture: Mixture, **more: ArrayLike) -> dict[str, FloatArray]:
    return {f"{name}.{part}": np.asarray(array) for part, array in (mixture._asdict() | more).items()}


def _mixture(arrays: dict[str, FloatArray], name: str) -> Mixture:
    return Mixture(*(arrays[f"{name}.{part}"] for part in Mixture._fields))


def _state(arrays: dict[str, FloatArray], longest: float, n_saved: float) -> RunState:
    n = sum(name.startswith("last") and name.endswith(".means") for name in arrays)
    last = tuple(_mixture(arrays, f"last{i}") for i in range(n))
    return RunState(_mixture(arrays, "state"), tuple(arrays["state.trace"].tolist()), last, longest, n_saved)
