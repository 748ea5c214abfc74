"""Who owns the cores: threads over rows, never inside a sampler's chains.

Work is cut into chunks whose size does not depend on the number of threads, and results are combined in the chunks' order, so that the
same data give the same bits on any machine. The kernels release the GIL. Chains of a sampler run in threads of their own and call
the kernels directly, without this module. While either is at work BLAS and OpenMP stay on one thread
(`libraries_on_one_thread`): their idle threads spin for tens of milliseconds after every piece of work large enough to wake them, which
a second chain paid with a third of its speed, and k-means on small data with most of its time.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock, current_thread, local
from typing import Any

from threadpoolctl import ThreadpoolController

_NAME = "bayesgmm"
_limits: list[Any] = []
_limits_lock = Lock()
_turn = Lock()
_mine = local()


def n_threads() -> int:
    """Return the number of threads for work over rows: ``BAYESGMM_NUM_THREADS`` if set, otherwise the usable cores."""
    value = os.environ.get("BAYESGMM_NUM_THREADS", "")
    usable = getattr(os, "process_cpu_count", os.cpu_count)  # Python 3.12 knows only how many there are
    return max(1, int(value)) if value.isdigit() else usable() or 1


def chunks(n: int, size: int) -> list[tuple[int, int]]:
    """Return the bounds of consecutive chunks of ``size`` that cover ``range(n)``."""
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def ordered_map[T](task: Callable[[int, int], T], parts: list[tuple[int, int]]) -> Iterator[T]:
    """Yield ``task(start, stop)`` for every part, in order; in threads if there are several parts and cores."""
    if len(parts) == 1 or n_threads() == 1 or _is_helper():
        return (task(*part) for part in parts)
    return _executor().map(lambda part: task(*part), parts)


def map_in_turns[T](task: Callable[[int, int], T], parts: list[tuple[int, int]]) -> Iterator[T]:
    """Do the same for tasks that are mostly Python: one of them runs at a time, and others only :func:`beside_others`.

    Python runs one thread at a time anyway. Threads that hand it to and fro around each short compiled call wait for it up to five
    milliseconds every time, and many fits then take longer on two cores than on one.
    """

    def in_turn(start: int, stop: int) -> T:
        if not _is_helper():
            return task(start, stop)
        with _turn:
            _mine.turn = True
            try:
                return task(start, stop)
            finally:
                _mine.turn = False

    return ordered_map(task if _is_helper() else in_turn, parts)


@contextmanager
def beside_others() -> Iterator[None]:
    """Let another of the tasks that take turns go on, while this one is in compiled code for some time."""
    if not getattr(_mine, "turn", False):
        yield
        return
    _turn.release()
    try:
        yield
    finally:
        _turn.acquire()


def run_shared(task: Callable[[int, int], object], n: int) -> None:
    """Call ``task(start, stop)`` so that all of ``range(n)`` is done, in as many parts as there are threads to do them."""
    mine, *others = [(0, n)] if _is_helper() else chunks(n, -(-n // min(n_threads(), n)))
    # The calling thread does its share: waking another costs as much as a few thousand rows.
    waiting = [_executor().submit(task, *part) for part in others]
    task(*mine)
    for part in waiting:
        part.result()


@contextmanager
def libraries_on_one_thread() -> Iterator[None]:
    """Keep BLAS and OpenMP (scikit-learn's k-means) from waking threads of their own; also a decorator.

    They know only one limit for the whole process: the first of several fits that run at once sets it, and the last to end puts
    back what was there before.
    """
    with _limits_lock:
        _limits.append(_threadpools().limit(limits=1))
    try:
        yield
    finally:
        with _limits_lock:
            # Limits come off from the last to the first whoever ends, and the first one knows what was there before.
            _limits.pop().restore_original_limits()


@cache
def _threadpools() -> ThreadpoolController:
    """Look through the loaded libraries once: it takes milliseconds."""
    return ThreadpoolController()


@contextmanager
def on_this_thread() -> Iterator[None]:
    """Share nothing out: for callers that run several of us at once, such as a cluster's worker. The results are the same."""
    before = getattr(_mine, "alone", False)
    _mine.alone = True
    try:
        yield
    finally:
        _mine.alone = before


def _is_helper() -> bool:
    """Whether this is a thread that was given a share: to share that out too would be to wait for itself."""
    return getattr(_mine, "alone", False) or current_thread().name.startswith(_NAME)


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads(), thread_name_prefix=_NAME)


if hasattr(os, "register_at_fork"):
    # A forked child inherits the pool but not its threads: it has to start its own.
    os.register_at_fork(after_in_child=_executor.cache_clear)
