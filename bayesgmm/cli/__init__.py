"""The command line: parse, call, write.

Progress goes to stderr, results to stdout. The exit code is 0 only when the job was done, 2 when the input cannot be
used (one sentence says why), 130 when the user stopped it and 143 when a batch system did (SIGTERM); a fault of the
program's own shows its traceback, exit code 1.

Modules that take long to import are imported inside the commands, so that ``bayesgmm --help`` answers at once.
"""

import io
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from bayesgmm.cli.commands import cli

__all__ = ["cli", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``bayesgmm``; those of this process by default.

    Returns
    -------
    int
        0 done, 2 the input cannot be used, 130 stopped by the user, 143 stopped by SIGTERM.

    Examples
    --------
    >>> main(["report", "--help"])
    Usage: bayesgmm report [OPTIONS] DATA
    ...
    0
    """
    _let_any_character_through()
    try:
        with _plain_warnings(), _terminated_like_interrupted() as terminated:
            code = cli.main(arguments, prog_name="bayesgmm", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _fail(f"Error: {error.format_message()}", error.exit_code)
    except click.Abort:
        return _fail("Stopped.", 143 if terminated else 130)
    except _user_errors() as error:
        return _fail(f"Error: {_sentence(error)}", 2)
    return code if isinstance(code, int) else 0


@contextmanager
def _terminated_like_interrupted() -> Iterator[list[int]]:
    """Take SIGTERM, which batch systems send, for an interrupt: a checkpoint is written and no half-written file stays.

    Yields a list that is empty until the signal has come.
    """
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only there may signals be handled
        yield received
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _let_any_character_through() -> None:
    """Escape what a terminal's encoding lacks: a job that was done must not fail when it is told."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _user_errors() -> tuple[type[Exception], ...]:
    """What the user can mend. Evaluated only when something was raised: the exceptions' module is slow to import."""
    from bayesgmm.exceptions import BayesGMMError

    return (BayesGMMError, OSError)


def _sentence(error: Exception) -> str:
    """A message on one line; an operating system's without its number, and only if it is about a file or a disk."""
    if not isinstance(error, OSError):
        return " ".join(str(error).split())
    if error.errno is None:
        raise error
    where = f": {error.filename}" if error.filename is not None else ""
    return f"{error.strerror}{where}"


def _fail(message: str, code: int) -> int:
    from bayesgmm.files import readable

    click.echo(readable(message), err=True)
    return code


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings meant for users as one line, without the path and the line of code that raised them."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_plainly(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            from bayesgmm.exceptions import ReadingNote  # slow to import, and needed only when something is told

            if issubclass(category, UserWarning):
                click.echo(message if issubclass(category, ReadingNote) else f"Warning: {message}", err=True)
            else:
                show(message, category, *rest, **more)

        warnings.showwarning = show_plainly
        yield
