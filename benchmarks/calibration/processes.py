"""The same function of a design and a seed, many times over, in processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import batched

import joblib
import numpy as np

from bayesgmm.progress import steps

__all__ = ["replicate"]

_BATCH = 5  # replicates that a process takes at a time

type Seeds = Sequence[np.random.SeedSequence]


def replicate[D, R](
    run: Callable[[D, np.random.SeedSequence], R],
    designs: Sequence[D],
    seeds: Sequence[Seeds],
    *,
    title: str,
    n_jobs: int = -1,
    progressbar: bool = False,
) -> tuple[tuple[R, ...], ...]:
    """Return what every design gives with each of its seeds.

    As every replicate has a seed of its own, more replicates leave the first ones as they were, for any number of processes (-1: one for
    each core).
    """
    batches = [(design, batch) for design, own in zip(designs, seeds, strict=True) for batch in batched(own, _BATCH)]
    out: list[R] = []
    # Processes, not threads: between short compiled calls a fit is mostly Python.
    with (
        joblib.parallel_config(backend="loky", inner_max_num_threads=1),
        steps(title, len(batches), shown=progressbar) as tell,
    ):
        done = joblib.Parallel(n_jobs, return_as="generator")(
            joblib.delayed(_run_batch)(run, design, batch, n_jobs) for design, batch in batches
        )
        for batch in done:
            out += batch
            tell()
    results = iter(out)
    return tuple(tuple(next(results) for _ in own) for own in seeds)


def _run_batch[D, R](run: Callable[[D, np.random.SeedSequence], R], design: D, seeds: Seeds, n_jobs: int) -> list[R]:
    if n_jobs != 1:
        os.environ["BAYESGMM_NUM_THREADS"] = "1"  # in a process of joblib's
    return [run(design, seed) for seed in seeds]
