"""Many replicates, on all cores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain, islice

import numpy as np

from bayesgmm.calibration.designs import CONTROLS, DESIGNS, Design
from bayesgmm.calibration.jobs import run_jobs
from bayesgmm.calibration.replicate import Outcome, run_replicate
from bayesgmm.calibration.value import Calibration, Group
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.threads import n_threads
from bayesgmm.progress import steps

__all__ = ["calibrate"]

_TASK = 5  # replicates that a process takes at a time

_MOST_OF_A_CONTROL = 50  # a planted mistake is plain to see in a few

type Job = tuple[Design, list[np.random.SeedSequence]]


def calibrate(
    n_replicates: int = 200,
    *,
    designs: Sequence[Design] = (*DESIGNS, *CONTROLS),
    random_state: int = 1,
    n_jobs: int | None = None,
    progressbar: bool = False,
) -> Calibration:
    """Simulate data many times over, fit them, and judge whether the answers hold what they claim.

    Parameters
    ----------
    n_replicates : int
        Data sets of each design; a design with a planted mistake has at most 50.
    designs : sequence of Design
    random_state : int
        The same number gives the same ranks, for any number of processes.
    n_jobs : int, optional
        Processes; by default as many as there are cores. One stays in this process.
    progressbar : bool
        Show on stderr how many replicates are done, when that is a terminal.

    Returns
    -------
    Calibration

    Raises
    ------
    InvalidParameterError
        If a number is below 1 or there are no designs.

    Examples
    --------
    >>> found = calibrate(4, designs=DESIGNS[:1], n_jobs=1)
    >>> found.groups[0].ranks.shape
    (4, 9)
    """
    for name, value, least in (("n_replicates", n_replicates, 1), ("designs", len(designs), 1), ("random_state", random_state, 0)):
        if value < least:
            raise InvalidParameterError(f"{name} must be at least {least}, got {value}")
    if n_jobs is not None and n_jobs < 1:
        raise InvalidParameterError(f"n_jobs must be at least 1, got {n_jobs}")
    began = time.perf_counter()
    seeds = np.random.SeedSequence(random_state).spawn(len(designs))
    jobs = [_jobs(design, seed, n_replicates) for design, seed in zip(designs, seeds, strict=True)]
    with steps("Calibrating", sum(map(len, jobs)), shown=progressbar) as step:
        parts = iter(run_jobs(_do, list(chain.from_iterable(jobs)), n_jobs or n_threads(), step))
    groups = (Group(design, tuple(chain.from_iterable(islice(parts, len(own))))) for design, own in zip(designs, jobs, strict=True))
    return Calibration(tuple(groups), n_replicates, random_state, time.perf_counter() - began)


def _jobs(design: Design, seed: np.random.SeedSequence, n_replicates: int) -> list[Job]:
    """Cut the work: every replicate has a seed of its own, so that more replicates leave the first ones as they were."""
    children = seed.spawn(n_replicates if design.is_right else min(n_replicates, _MOST_OF_A_CONTROL))
    return [(design, children[start : start + _TASK]) for start in range(0, len(children), _TASK)]


def _do(job: Job) -> list[Outcome]:
    design, seeds = job
    return [run_replicate(design, seed) for seed in seeds]
