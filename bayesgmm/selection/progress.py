"""A progress bar on stderr, for people who watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["steps"]


@contextmanager
def steps(text: str, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Give a function to call after each of ``total`` steps; the bar appears only if ``shown`` and stderr is a terminal."""
    if not shown:
        yield lambda: None
        return
    # Loaded here: most of the time of a first call without a bar would otherwise go into rich.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)
