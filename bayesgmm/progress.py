"""A progress bar on stderr, for people who watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

__all__ = ["counter", "steps"]


@contextmanager
def counter(text: str, *, shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function to tell how much is done, and of how much in all; the bar appears only if stderr is a terminal.

    Parameters
    ----------
    text : str
        What is being done.
    shown : bool
        Without it there is no bar, and None instead of the function.

    Examples
    --------
    >>> with counter("Refitting", shown=True) as tell:
    ...     tell(16, 999)
    >>> with counter("Refitting", shown=False) as tell:
    ...     print(tell)
    None
    """
    if not shown:
        yield None
        return
    # Loaded here: most of the time of a first call without a bar would otherwise go into rich.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def steps(text: str, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Give a function to call after each of ``total`` steps; the bar appears only if ``shown`` and stderr is a terminal."""
    with counter(text, shown=shown) as tell:
        if tell is None:
            yield lambda: None
            return
        tell(0, total)
        done = count(1)
        yield lambda: tell(next(done), total)
