"""What the commands do on the way: read, fit, and say so on stderr."""

import csv
import io
import shlex
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.text import Text

from bayesgmm.cli.options import Data, Model, Sampling
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.files import read_table

if TYPE_CHECKING:
    from bayesgmm.selection import Selection

__all__ = ["Progress", "Table", "check_numbers", "command_line", "fit_both", "fit_em", "fit_posterior", "load", "load_with_gaps"]


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
    _warn_of_dependent(complete)
    return complete


@dataclass(frozen=True, eq=False)
class Table:
    """The measurements (N, D), with their gaps; labels (N,) that are known; and how many rows of the source are not among them."""

    X: pd.DataFrame
    labels: pd.Series | None
    left_out: int


def load_with_gaps(data: Data, progress: Progress) -> Table:
    """Read a table that is numeric and may have gaps, and the column of labels if there is one."""
    given = None if data.columns is None else [name for name in data.columns if name != data.label]
    wanted = None if given is None else [*given, *([] if data.label is None else [data.label])]
    table = read_table(data.source, wanted)
    if data.label is not None and data.label not in table.columns:
        read_table(data.source, [data.label])  # raises the sentence that says which columns there are
    measured = table.drop(columns=[] if data.label is None else [data.label])
    if measured.shape[1] == 0:
        raise InvalidDataError(f"There is no column besides the label {data.label}: name others with --columns.")
    check_numbers(measured)
    X = measured.dropna(how="any" if data.drop_missing else "all")
    if X.empty:
        raise InvalidDataError("Every row has a missing value; choose other columns with --columns.")
    _say_gaps(data, X, len(table) - len(X), progress)
    _warn_of_dependent(X)
    return Table(X, None if data.label is None else table.loc[X.index, data.label], len(table) - len(X))


def _say_gaps(data: Data, X: pd.DataFrame, left_out: int, progress: Progress) -> None:
    why = "missing values" if data.drop_missing else "no value at all"
    dropped = f" ({left_out} with {why} left out)" if left_out else ""
    missing = int(X.isna().to_numpy().sum())
    gaps = f"; {missing:,} missing values, which count for nothing" if missing else ""
    progress.say(f"{data.source}: {len(X)} rows{dropped}, columns {', '.join(map(str, X.columns))}{gaps}")


def _warn_of_dependent(X: pd.DataFrame) -> None:
    """Say now of columns that repeat others, which otherwise shows only in fits that collapse."""
    from bayesgmm.comparison.columns import dependent_columns

    sentence = dependent_columns(X.to_numpy(float), [str(name) for name in X.columns])
    if sentence:
        warnings.warn(sentence, UserWarning, stacklevel=3)


def check_numbers(table: pd.DataFrame) -> None:
    """Raise InvalidDataError if a column holds something else than numbers; the message says which columns do."""
    numeric = table.select_dtypes("number").columns
    other = [name for name in table.columns if name not in numeric]
    if other:
        advice = f"choose columns that do: --columns {_joined(numeric)}" if len(numeric) else "none of its columns does"
        raise InvalidDataError(f"These columns do not hold numbers: {', '.join(other)}; {advice}{_commas(table[other])}")


def _commas(table: pd.DataFrame) -> str:
    """A hint at numbers that are written with commas, as in many countries and in many spreadsheets; "" if there are none."""
    for name in table.columns:
        values = table[name].dropna().astype(str).str.strip()
        found = values[values.str.fullmatch(r"[-+]?\d[\d.,]*,\d+(\.\d+)?")]
        if len(found) and len(found) == len(values[values.str.contains(r"\d")]):
            return (
                f". {name} has {found.iloc[0]}: write numbers without a comma, neither between thousands nor for the decimal point"
            )
    return ""


def _joined(names: "pd.Index[str]") -> str:
    """Names as ``--columns`` takes them, ready for a shell: ``a,b``, or ``'a b,"c,d"'``."""
    return shlex.quote(_as_csv(names))


def _as_csv(names: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(names)
    return buffer.getvalue()


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


def fit_both(
    X: pd.DataFrame, counts: Sequence[int], model: Model, sampling: Sampling, progress: Progress
) -> "tuple[GaussianMixture, BayesianGaussianMixture, Selection | None]":
    """Fit both ways; with several numbers of groups each of them, and return the fits of the best and the selection."""
    if len(counts) == 1:
        em = fit_em(X, model, progress)
        return em, fit_posterior(X, em, model, sampling, progress), None
    from bayesgmm.report.choice import choose
    from bayesgmm.selection import select

    with progress.step(f"Fitting {', '.join(map(str, counts))} groups both ways"):
        selection = select(
            X,
            counts,
            model.covariance_type,
            posterior=sampling.chosen(),
            random_state=model.random_state,
            progressbar=not progress.quiet,
            n_init=model.n_init or "auto",
        )
        choice = choose(selection)
    progress.say(" ".join(choice.sentences))
    return choice.em, choice.posterior, selection


def command_line(data: Data, counts: Sequence[int], model: Model, sampling: Sampling) -> str:
    """Return the command that makes the same report again, ready for a shell."""
    steps = list(counts) == list(range(counts[0], counts[-1] + 1)) and len(counts) > 1
    asked = f"{counts[0]}..{counts[-1]}" if steps else ",".join(map(str, counts))
    words = ["bayesgmm", "report", data.source, "--components", asked]
    if data.columns is not None:
        words += ["--columns", _as_csv(data.columns)]
    words += [] if data.label is None else ["--label", data.label]
    words += ["--drop-missing"] if data.drop_missing else []
    words += [] if model.covariance_type == "full" else ["--covariance-type", model.covariance_type]
    words += [] if model.n_init is None else ["--n-init", str(model.n_init)]
    for name, value in sampling.chosen().items():
        words += [f"--{name}", str(value)]
    return shlex.join([*words, "--random-state", str(model.random_state), "--output", "report"])
