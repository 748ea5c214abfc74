"""What the commands do on the way: read, fit, and say so on stderr."""

import csv
import io
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd
from rich.console import Console
from rich.text import Text

from bayesgmm.cli.options import Data, Model, Sampling
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.files import read_table

__all__ = ["Progress", "check_numbers", "fit_em", "fit_posterior", "load"]


class Progress:
    """Tell the user on stderr what is happening."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Announce a step, and how long it took if it succeeds."""
        start = time.perf_counter()
        self.say(f"{text} ...")
        yield
        self.say(f"  done in {time.perf_counter() - start:.1f} s")

    @contextmanager
    def line(self) -> Iterator[tuple[Callable[[str], None], bool]]:
        """Yield what shows a line of text, and whether that takes the place of the one before, as on a terminal it does."""
        if self.quiet or not self._console.is_terminal:
            yield self.say, False
            return
        with self._console.status("") as status:
            yield lambda text: status.update(Text(text.strip())), True


def load(data: Data, progress: Progress) -> pd.DataFrame:
    """Read a table that is numeric and complete, or raise an error that names the option to use."""
    table = read_table(data.source, data.columns)
    check_numbers(table)
    complete = table.dropna(ignore_index=True) if data.drop_missing else table
    _check_complete(complete)
    dropped = len(table) - len(complete)
    left_out = f" ({dropped} with missing values left out)" if dropped else ""
    progress.say(f"{data.source}: {len(complete)} rows{left_out}, columns {', '.join(complete.columns)}")
    return complete


def check_numbers(table: pd.DataFrame) -> None:
    """Raise InvalidDataError if a column holds something else than numbers; the message says which columns do."""
    numeric = table.select_dtypes("number").columns
    other = [name for name in table.columns if name not in numeric]
    if other:
        advice = f"choose columns that do: --columns {_joined(numeric)}" if len(numeric) else "none of its columns does"
        raise InvalidDataError(f"These columns do not hold numbers: {', '.join(other)}; {advice}")


def _joined(names: "pd.Index[str]") -> str:
    """Names as ``--columns`` takes them, ready for a shell: ``a,b``, or ``'a b,"c,d"'``."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(names)
    return shlex.quote(buffer.getvalue())


def _check_complete(table: pd.DataFrame) -> None:
    if table.empty:
        raise InvalidDataError("Every row has a missing value; choose other columns with --columns.")
    missing = table.isna().sum()
    if missing.any():
        counts = ", ".join(f"{name} ({count})" for name, count in missing[missing > 0].items())
        raise InvalidDataError(f"Values are missing in {counts}; --drop-missing leaves out the rows they are in.")


def fit_em(X: pd.DataFrame, model: Model, progress: Progress) -> GaussianMixture:
    """Fit by EM from several starts."""
    with progress.step(f"Fitting by EM, K = {model.components}, the best of {model.n_init or 20} start(s)"):
        return GaussianMixture(
            model.components,
            covariance_type=model.covariance_type,
            n_init=model.n_init or "auto",
            random_state=model.random_state,
        ).fit(X)


def fit_posterior(
    X: pd.DataFrame, em: GaussianMixture, model: Model, sampling: Sampling, progress: Progress
) -> BayesianGaussianMixture:
    """Sample the posterior, from EM's solution."""
    with progress.step("Sampling from the posterior"):
        return BayesianGaussianMixture(
            model.components,
            covariance_type=model.covariance_type,
            init=em,
            random_state=model.random_state,
            progressbar=not progress.quiet,
            **sampling.chosen(),
        ).fit(X)
