"""Where a long fit is, kept in a file: so that it can go on from there, bit for bit, after an interrupt or a crash.

All that a fit does before its runs on all rows is quick and follows from the seed, so it is simply done again. Of these runs, those that
have ended are kept as they ended, and the one in progress as what its next iteration needs.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.em.iterate import Climb, ClimbState, EMRun, climb_on
from bayesgmm.em.polish import polished
from bayesgmm.em.steps import Mixture, Rows, Settings
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.files import atomic_write
from bayesgmm.typing import FloatArray

__all__ = ["EVERY", "VALUES", "Checkpoint", "Iteration"]

EVERY = 5
"""Iterations between two writings."""
VALUES = "values"
"""Which of the things that a fit is of tells values apart: it says nothing to anybody."""
_FORMAT = "bayesgmm.Checkpoint"
_VERSION = 3  # 1 did not keep what tells rows of the same sizes and ranges apart, 2 not what means are counted from
_MIXTURE = ("log_weights", "means", "scale_tril")


@dataclass(frozen=True)
class Iteration:
    """What is told of one iteration over all rows.

    Parameters
    ----------
    run : int
        Which of the runs on all rows, counted from 1; 0 when the last digits of the best of them are found.
    number : int
        Which of the run's iterations; an accepted extrapolation counts as one, and is told with the step before it.
    log_likelihood : float
        With a prior: plus log-prior.
    gain : float
        Since what was told before.
    seconds : float
        Likewise.
    """

    run: int
    number: int
    log_likelihood: float
    gain: float
    seconds: float

    def __str__(self) -> str:
        where = f"Run {self.run}, iteration" if self.run else "Last digits, iteration"
        return f"{where} {self.number}: log-likelihood {self.log_likelihood:.6f}, gain {self.gain:.3g}, {self.seconds:.2f} s"


@dataclass(eq=False)
class Checkpoint:
    """The runs of a fit on all rows, the file that they are kept in, and who is told of their iterations.

    Parameters
    ----------
    path : str or path-like, optional
        Where to write; nowhere if it is absent.
    about : dict
        What the fit is of: settings, and sizes and ranges of the data. A checkpoint of anything else is refused.
    entropy : int or list of int
        Root of the fit's randomness.
    ended : list of EMRun
        Runs that have ended.
    state : ClimbState, optional
        Where the run after them is.
    on_iteration : callable, optional
        Takes an :class:`Iteration`.
    origin : array of shape (D,), optional
        What the mixtures' means are counted from.
    """

    path: str | os.PathLike[str] | None
    about: dict[str, Any]
    entropy: Any
    ended: list[EMRun] = field(default_factory=list)
    state: ClimbState | None = None
    on_iteration: Callable[[Iteration], object] | None = None
    origin: FloatArray | None = None
    _number: int = 0
    _written: int = 0
    _told: tuple[float, float] = (0.0, 0.0)

    def keep_origin(self, origin: FloatArray) -> FloatArray:
        """Return what to count values from: what was counted from before, as rounding may have chosen it."""
        if self.origin is None:
            self.origin = origin
        return self.origin

    def run(self, X: Rows, start: Mixture, settings: Settings, sample_weight: FloatArray | None) -> EMRun:
        """Return the next run: as it ended before, or from where it was, or from its start."""
        number, self._number = self._number, self._number + 1
        self._written = 0
        if number < len(self.ended):
            return self.ended[number]
        began = time.perf_counter()
        climb = Climb(X, start, settings, sample_weight, self.state)
        self._told = climb.trace[-1], began
        try:
            run = climb_on(climb, self._after)
        except BaseException:  # an interrupt, a file that has gone, a cluster that has died
            self.write()
            raise
        self.ended.append(run)
        self.state = None
        self.write()
        return run

    def polished(self, run: EMRun, X: Rows, settings: Settings, sample_weight: FloatArray | None) -> EMRun:
        """Return a run with its last digits: not kept, since they follow from what is."""
        self._number, self._told = 0, (run.log_likelihood, time.perf_counter())
        steps = count(1)

        def after(height: float) -> None:
            number = next(steps)
            if self.on_iteration is not None:
                self.on_iteration(self._iteration(number, height))

        return polished(run, X, settings, sample_weight, after)

    def _after(self, climb: Climb) -> None:
        self.state = climb.state
        if climb.n_iter - self._written >= EVERY:  # an accepted extrapolation counts as an iteration, too
            self._written = climb.n_iter
            self.write()
        if self.on_iteration is not None:
            self.on_iteration(self._iteration(climb.n_iter, climb.trace[-1]))

    def _iteration(self, number: int, height: float) -> Iteration:
        (before, since), now = self._told, time.perf_counter()
        self._told = height, now
        return Iteration(self._number, number, height, height - before, now - since)

    def write(self) -> None:
        """Write where the fit is, if it is to be written anywhere."""
        if self.path is None:
            return
        head = {"format": _FORMAT, "version": _VERSION, "about": self.about, "entropy": self.entropy}
        head["runs"] = [[run.status, run.n_saved] for run in self.ended]
        head["state"] = None if self.state is None else [self.state.longest, self.state.n_saved]
        arrays = {"head": np.array(json.dumps(head))}
        if self.origin is not None:
            arrays["origin"] = self.origin
        for i, run in enumerate(self.ended):
            arrays |= _named(f"run{i}", run.mixture) | {f"run{i}.trace": run.trace}
        if self.state is not None:
            arrays |= _named("state", self.state.mixture) | {"state.trace": np.array(self.state.trace)}
            for i, mixture in enumerate(self.state.last):
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
            ended = [
                EMRun(_mixture(arrays, f"run{i}"), arrays[f"run{i}.trace"], status, n_saved)
                for i, (status, n_saved) in enumerate(head["runs"])
            ]
            state = None if head["state"] is None else _state(arrays, *head["state"])
            return cls(None, dict(head["about"]), head["entropy"], ended, state, origin=arrays.get("origin"))
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
        told = json.loads(json.dumps(about))
        for name, value in told.items():
            if _same(self.about.get(name), value):
                continue
            if name == VALUES:
                raise InvalidParameterError(
                    f"{os.fspath(path)} is the checkpoint of another fit: its rows are as many as these and have the same ranges, "
                    "but its values (or weights) are others"
                )
            raise InvalidParameterError(
                f"{os.fspath(path)} is the checkpoint of another fit: its {name} is {_short(self.about.get(name))}, "
                f"here it is {_short(value)}"
            )


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


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def _named(name: str, mixture: Mixture) -> dict[str, FloatArray]:
    return {f"{name}.{part}": array for part, array in zip(_MIXTURE, mixture, strict=True)}


def _mixture(arrays: dict[str, FloatArray], name: str) -> Mixture:
    return Mixture(*(arrays[f"{name}.{part}"] for part in _MIXTURE))


def _state(arrays: dict[str, FloatArray], longest: float, n_saved: float) -> ClimbState:
    n = sum(name.startswith("last") and name.endswith(".means") for name in arrays)
    last = tuple(_mixture(arrays, f"last{i}") for i in range(n))
    return ClimbState(_mixture(arrays, "state"), tuple(arrays["state.trace"].tolist()), last, longest, n_saved)
