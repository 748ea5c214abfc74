"""A progress bar on stderr, for people who watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Task

__all__ = ["Tell", "counter", "steps"]


class Tell(Protocol):
    """A function to tell how much is done, of how much in all, and how many seconds are left, if this is known better than by counting.

    Examples
    --------
    >>> def tell(done: int, total: int, left: float | None = None) -> None:
    ...     print(f"{done} of {total}")
    >>> told: Tell = tell
    >>> told(3, 4)
    3 of 4
    """

    def __call__(self, done: int, total: int, left: float | None = None) -> None:
        """Tell it."""


@contextmanager
def counter(text: str, *, shown: bool) -> Iterator[Tell | None]:
    """Give a function to tell how much is done, of how much in all, and what is left; the bar appears only if stderr is a terminal.

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
    from rich.text import Text

    class TimeLeft(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            left = task.fields["left"]
            return super().render(task) if left is None else Text(f"{timedelta(seconds=round(left))}", "progress.remaining")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(text, total=None, left=None)

        def tell(done: int, total: int, left: float | None = None) -> None:
            bar.update(task, completed=done, total=total, left=left)

        yield tell


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
