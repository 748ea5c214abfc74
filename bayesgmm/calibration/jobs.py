"""The same work many times over, in processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager

__all__ = ["run_jobs"]


def run_jobs[J, R](do: Callable[[J], R], jobs: Sequence[J], n_jobs: int, tell: Callable[[], None]) -> list[R]:
    """Return what each job gives, in the jobs' order.

    Parameters
    ----------
    do : callable
        A function of a module, which other processes can import.
    jobs : sequence
    n_jobs : int
        Processes; one stays in this process.
    tell : callable
        Called after each job.
    """
    if n_jobs == 1:
        done = []
        for job in jobs:
            done.append(do(job))
            tell()
        return done
    # Processes, not threads: between short compiled calls a fit is mostly Python. Fresh ones: threads do not survive a fork.
    with _one_thread_each(), ProcessPoolExecutor(n_jobs, multiprocessing.get_context("spawn")) as pool:
        futures: list[Future[R]] = [pool.submit(do, job) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
                tell()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Tell processes that are started in this block to use one thread each."""
    names = ("BAYESGMM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
