"""What the commands do on the way: read a table, fit, describe the fit, and say so on stderr."""

import csv
import io
import shlex
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from rich.console import Console
from rich.text import Text

from bayesgmm import __version__
from bayesgmm.cli.options import AUTO, POSTERIOR_COVARIANCE_TYPES, Data, Model, Sampling
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidDataError, ReadingNote
from bayesgmm.files import json_records, place_of, read_table, readable
from bayesgmm.selection import Selection, choose, select
from bayesgmm.selection.grid import with_posteriors
from bayesgmm.tables.numeric import TEXT, Wrong, as_numbers, has_booleans, warn_of_booleans
from bayesgmm.tables.uninformative import Extent, constant, dependent_columns, extents, marks, numbering, wording
from bayesgmm.text import counted, listed
from bayesgmm.typing import CovarianceType

__all__ = [
    "Progress",
    "Sampled",
    "Table",
    "command_line",
    "describe_em",
    "describe_job",
    "describe_posterior",
    "fit_em",
    "fit_first",
    "fit_posterior",
    "found",
    "in_numbers",
    "leave_out",
    "load",
    "new_em",
    "sample_after",
    "with_number",
]


class Progress:
    """Tell the user on stderr what is happening."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(readable(text))

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


NO_WORDS: Mapping[str, str] = {}
NOTHING: Mapping[str, Any] = {}
"""What is known of the rows beside their values."""


@dataclass(frozen=True, eq=False)
class Table:
    """The measurements (N, D), with their gaps; labels (N,) to score by; how many rows of the source are not among them; what is known."""

    X: pd.DataFrame
    labels: pd.Series | None
    left_out: int
    told: dict[str, Any] = field(default_factory=dict)
    """What is known of the rows, as ``fit`` of the estimators takes it."""


def load(data: Data, progress: Progress) -> Table:
    """Read a table that is numeric and may have gaps, and the column of labels if there is one."""
    beside = list(data.beside)
    if data.label is not None and data.label == data.known:
        raise InvalidDataError(
            f"--known and --label are the same column, {data.label!r}: labels that the fit is given say nothing about how good it is. "
            "Leave one of them out."
        )
    wanted = None if data.columns is None else [*(name for name in data.columns if name not in beside), *beside]
    table = read_table(data.source, wanted)
    if beside and not set(beside) <= set(table.columns):
        read_table(data.source, beside)  # raises the sentence that says which columns there are
    measured = table.drop(columns=beside)
    if measured.shape[1] == 0:
        raise InvalidDataError(f"There is no column besides {listed(beside)}: name others with --columns.")
    words = wording(measured) if data.columns is None else {}
    X = in_numbers(measured if len(words) == measured.shape[1] else measured.drop(columns=list(words)), data.source)
    X = X.drop(columns=leave_out(extents(X), data, words)).dropna(how="any" if data.drop_missing else "all")
    if X.empty:
        what = "a missing value" if data.drop_missing else "no value at all"
        raise InvalidDataError(f"Every row has {what}; choose other columns with --columns.")
    left_out = len(table) - len(X)
    why = "missing values" if data.drop_missing else "no value at all"
    missing = int(X.isna().to_numpy().sum())
    gaps = f"; {counted(missing, 'missing value')}, which {'counts' if missing == 1 else 'count'} for nothing" if missing else ""
    about = f"{len(X)} rows{f' ({left_out} with {why} left out)' if left_out else ''}, columns {', '.join(map(str, X.columns))}"
    progress.say(f"{data.source}: {about}{gaps}")
    # Said now of columns that repeat others, which otherwise shows only in fits that collapse.
    if sentence := dependent_columns(X.to_numpy(float), [str(name) for name in X.columns]):
        warnings.warn(sentence, UserWarning, stacklevel=2)
    labels = None if data.label is None else table.loc[X.index, data.label]
    return Table(X, labels, left_out, _told(table.loc[X.index], X, data))


def _told(table: pd.DataFrame, X: pd.DataFrame, data: Data) -> dict[str, Any]:
    """Return what columns say of the rows, as ``fit`` takes it."""
    told: dict[str, Any] = {}
    if data.known is not None:
        told["known"] = _as_names(table[data.known])
    if data.together is not None:
        told["together"] = _as_names(table[data.together]).to_numpy()
    if data.errors is not None:
        if len(data.errors) != X.shape[1]:
            raise InvalidDataError(
                f"--errors names {counted(len(data.errors), 'column')}, and the measurements are {counted(X.shape[1], 'column')} "
                f"({listed(X.columns, 8)}): give one for each, in this order, and choose the measurements with --columns"
            )
        told["errors"] = in_numbers(table[list(data.errors)], data.source).to_numpy()
    if data.samples is not None:
        told["samples"] = _as_names(table[data.samples]).to_numpy()
    if data.covariates is not None:
        told["covariates"] = in_numbers(table[list(data.covariates)], data.source)
    return told


def _as_names(column: pd.Series) -> pd.Series:
    """Return a column of names, not of numbers of components: as text without blanks around it; None for nothing."""
    numbers = pd.to_numeric(column, errors="coerce")
    if is_numeric_dtype(column) and not is_bool_dtype(column) and (numbers.dropna() % 1 == 0).all():
        column = numbers.astype("Int64")  # whole numbers beside gaps are read as 1.0, 2.0
    names = [None if missing else str(name).strip() or None for name, missing in zip(column, column.isna(), strict=True)]
    return pd.Series(names, index=column.index, dtype=object)


def leave_out(found: list[Extent], data: Data, words: Mapping[str, str] = NO_WORDS, *, named: bool = True) -> list[str]:
    """Return the columns that tell no groups apart, and say which and why; of those that were asked for, only warn.

    Parameters
    ----------
    found : list of Extent
        What is known of the columns.
    data : Data
    words : mapping of str to str
        Columns without numbers that are left out already, and why.
    named : bool
        Without names, columns can neither be asked for nor left out.

    Raises
    ------
    InvalidDataError
        If no other column is left.
    """
    ids = numbering(found)
    if data.columns is not None or not named:
        if ids:
            warnings.warn(f"{_with_reasons(ids)}: groups of such a column say nothing about the rows", UserWarning, stacklevel=3)
        return []
    aside = ids | constant(found) | marks(found)
    if aside and len(aside) == len(found):
        raise InvalidDataError(
            f"No column of {data.source} is left to fit: {_with_reasons(aside)}; --columns takes one in by its name"
        )
    if words or aside:
        them = "those that hold numbers" if words else "them"
        taken_in = f"; --columns takes {them} in by their names" if aside else ""
        note = f"{data.source}: left out {_with_reasons({**words, **aside})}{taken_in}"
        warnings.warn(note, ReadingNote, stacklevel=3)
    return list(aside)


def _with_reasons(columns: dict[str, str]) -> str:
    return ", ".join(f"{name!r} ({why})" for name, why in columns.items())


def in_numbers(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return a table with all columns as float64, or raise InvalidDataError naming those that hold something else, and where."""
    read = {name: as_numbers(table[name]) for name in table.columns}
    wrong = {name: found for name, found in read.items() if isinstance(found, Wrong)}
    if not wrong:
        warn_of_booleans([name for name in table.columns if has_booleans(table[name])])
        return pd.DataFrame(read, index=table.index)
    numeric = [name for name in table.columns if name not in wrong]
    advice = f"choose columns that do: --columns {shlex.quote(_as_csv(numeric))}" if numeric else "none of its columns does"
    name, first = next(iter(wrong.items()))
    text = f"These columns do not hold numbers: {', '.join(wrong)}; {advice}"
    if first.position is None:
        raise InvalidDataError(text)
    special = "" if first.kind is TEXT else f": {first.kind.advice.format(it='it')}"
    where = place_of(source, first.position)
    raise InvalidDataError(f"{text}. Column {name!r} has {first.shown} in {where}, which is {first.kind.what}{special}")


def _as_csv(names: Iterable[str]) -> str:
    """Names as ``--columns`` takes them: ``a,b``, or ``a b,"c,d"``."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(names)
    return buffer.getvalue()


def new_em(model: Model) -> GaussianMixture:
    """Return the estimator that is to be fitted by EM."""
    return GaussianMixture(model.components, covariance_type=model.covariance_type or "full", **model.search())


def with_number(model: Model, told: Mapping[str, Any]) -> Model:
    """Return the model with as many components as there are classes, if rows have labels and no number was given."""
    if model.components != AUTO or "known" not in told:
        return model
    return replace(model, components=int(told["known"].nunique()))


def fit_em(X: pd.DataFrame, model: Model, progress: Progress, told: Mapping[str, Any] = NOTHING) -> GaussianMixture:
    """Fit by EM from several starts."""
    starts = "" if model.n_init is None else f", the best of {counted(model.n_init, 'start')}"
    number = ", the number of components by BIC" if model.components == AUTO else f", K = {model.components}"
    with progress.step(f"Fitting by EM{number}{starts}"):
        return new_em(model).fit(X, **told)


def fit_posterior(
    X: pd.DataFrame,
    em: GaussianMixture | None,
    model: Model,
    sampling: Sampling,
    progress: Progress,
    told: Mapping[str, Any] = NOTHING,
) -> BayesianGaussianMixture:
    """Sample the posterior, from EM's solution if there is one, otherwise with the number of components left open."""
    what = "posterior" if em is not None else "posterior, with the number of groups left open"
    with progress.step(f"Sampling from the {what}"):
        settings = {"random_state": model.random_state, "progressbar": not progress.quiet, **sampling.chosen()}
        K = AUTO if em is None else em.n_components_
        # Full covariances take the shapes of the groups, where there are rows enough to tell one of them.
        of_open: CovarianceType = "full" if len(X) > X.shape[1] else "diag"
        kind = model.covariance_type or (of_open if em is None else em.covariance_type)
        return BayesianGaussianMixture(K, covariance_type=kind, init=em, **settings).fit(X, **told)


def fit_first(
    X: pd.DataFrame, counts: Sequence[int], model: Model, progress: Progress, told: Mapping[str, Any] = NOTHING
) -> tuple[GaussianMixture, Selection | None]:
    """Fit by EM; with several numbers of groups, or none in particular, each of them, and return the fit chosen and the selection."""
    if len(counts) == 1:
        return fit_em(X, model, progress, told), None
    if told:
        raise InvalidDataError("What is known of rows goes with one number of groups: give --components a number.")
    with progress.step(f"Fitting {', '.join(map(str, counts)) if counts else f'1 to {_few(X)} or more'} groups by EM"):
        selection = _select(X, counts, model, progress)
        choice = choose(selection)
    progress.say(" ".join(choice.sentences))
    return choice.em, selection


def _select(X: pd.DataFrame, counts: Sequence[int], model: Model, progress: Progress) -> Selection:
    """Fit every number; without any in particular so many that BIC takes none of the largest, by all types unless there is one."""
    settings: dict[str, Any] = {"progressbar": not progress.quiet, **model.search()}
    if counts:
        return select(X, counts, model.covariance_type or "full", **settings)
    most, end = _few(X), max(_few(X), min(_MANY, len(X) // (X.shape[1] + 2)))
    while True:
        found = select(X, range(1, most + 1), model.covariance_type or POSTERIOR_COVARIANCE_TYPES, **settings)
        if most >= end or found.ranking("bic")["n_components"].iloc[0] < most - 1:
            return found
        most = min(2 * most, end)


def _few(X: pd.DataFrame) -> int:
    """Numbers of groups to try first: each could have two rows more than there are columns."""
    return max(1, min(_FEW, len(X) // (X.shape[1] + 2)))


_FEW, _MANY = 9, 36
"""Numbers of groups that EM tries first where none is given, and at most."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """The two fits to compare, the models that they were chosen among, and the posterior that chose the number of groups."""

    em: GaussianMixture
    posterior: BayesianGaussianMixture
    selection: Selection | None = None
    number: BayesianGaussianMixture | None = None


def sample_after(
    X: pd.DataFrame,
    em: GaussianMixture,
    selection: Selection | None,
    counts: Sequence[int],
    model: Model,
    sampling: Sampling,
    progress: Progress,
    told: Mapping[str, Any] = NOTHING,
) -> Sampled:
    """Sample the posterior, of a selection those of all its models, and return that of the best.

    Without a number of groups, sample first a posterior in which it is not known, and then that with its most probable number.
    """
    if selection is None:
        return Sampled(em, fit_posterior(X, em, model, sampling, progress, told))
    if not counts:
        number = fit_posterior(X, None, model, sampling, progress)
        choice = choose(selection, number)
        progress.say(" ".join(choice.number.sentences if choice.number is not None else ()))
        return Sampled(choice.em, fit_posterior(X, choice.em, model, sampling, progress), selection, number)
    assert model.random_state is not None
    with progress.step("Sampling from the posteriors"):
        selection = with_posteriors(selection, sampling.chosen(), model.random_state, progressbar=not progress.quiet)
        choice = choose(selection)
    progress.say(" ".join(choice.sentences))
    return Sampled(em, choice.posterior, selection)


def command_line(data: Data, counts: Sequence[int], model: Model, sampling: Sampling, method: str) -> str:
    """Return the command that makes the same report again, ready for a shell."""
    steps = len(counts) > 1 and list(counts) == list(range(counts[0], counts[-1] + 1))
    asked = f"{counts[0]}..{counts[-1]}" if steps else ",".join(map(str, counts))
    options = {
        "components": asked or None,
        "method": None if method == "both" else method,
        "columns": None if data.columns is None else _as_csv(data.columns),
        "label": data.label,
        "known": data.known,
        "together": data.together,
        "errors": None if data.errors is None else _as_csv(data.errors),
        "samples": data.samples,
        "covariates": None if data.covariates is None else _as_csv(data.covariates),
        "drop-missing": True if data.drop_missing else None,
        "covariance-type": None if counts and model.covariance_type == "full" else model.covariance_type,
        "n-init": model.n_init,
        **sampling.chosen(),
        "random-state": model.random_state,
        "output": "report",
    }
    words = ["bayesgmm", "report", data.source]
    for name, value in options.items():
        if value is None:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return " ".join(map(_word, words))


def _word(word: str) -> str:
    """Return a word as a shell takes it; bytes of a file's name that are no UTF-8 in a notation of their own."""
    if readable(word) == word:
        return shlex.quote(word)
    escaped = word.replace("\\", r"\\").replace("'", r"\'")
    return "$'" + "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in escaped) + "'"


def describe_job(data: Data, model: Model, n_rows: int, feature_names: Sequence[str]) -> dict[str, Any]:
    """Describe what was asked for, JSON-ready."""
    return {
        "bayesgmm_version": __version__,
        "data": readable(data.source),
        "n_rows": n_rows,
        "feature_names": list(feature_names),
        "number_of_components": "given" if model.components != AUTO else "chosen",
        "covariance_type": model.covariance_type or "full",
        "random_state": model.random_state,
    }


def describe_em(em: GaussianMixture) -> dict[str, Any]:
    """Describe EM's mixture: ``weights (K,)``, ``means (K, D)``, ``covariances (K, D, D)``, in the data's units."""
    params = em.params_
    return {
        "method": "em",
        "n_components": params.n_components,
        "component_names": em.component_names_,
        "weights": params.weights.tolist(),
        "means": params.means.tolist(),
        "covariances": params.covariances.tolist(),
        "log_likelihood": float(em.log_likelihood_),
        "converged": bool(em.converged_),
        "status": str(em.status_),
        "message": str(em.message_),
        "n_iter": int(em.n_iter_),
    }


def describe_posterior(em: GaussianMixture, posterior: BayesianGaussianMixture, X: pd.DataFrame) -> dict[str, Any]:
    """Describe the posterior: means over draws at EM's keys, standard deviations of the same shapes under ``sd``."""
    from bayesgmm.comparison import compare

    params = posterior.params_
    n_chains, n_draws = params.batch_shape
    draws = {
        "weights": params.weights,
        "means": params.means,
        "covariances": params.covariances,
        "log_likelihood": posterior.datatree_.children["label_free"].to_dataset()["log_likelihood"].to_numpy(),
    }
    verdicts = compare(em, posterior, X).verdicts
    number = {} if posterior.n_components != AUTO else {"number": json_records(posterior.number_of_components().reset_index())}
    return {
        "method": "posterior",
        "n_components": params.n_components,
        "component_names": posterior.component_names_,
        **{name: values.mean((0, 1)).tolist() for name, values in draws.items()},
        "sd": {name: values.std((0, 1)).tolist() for name, values in draws.items()},
        "chains": n_chains,
        "draws": n_draws,
        **number,
        "verdicts": [{"name": v.name, "passed": bool(v.passed), "sentence": v.sentence} for v in verdicts],
    }


def found(fitted: dict[str, Any]) -> Iterator[str]:
    """Say what a written model is, in a few lines."""
    if "number" in fitted:
        likely = sorted(fitted["number"], key=lambda row: -row["groups"])
        yield f"Groups: {', '.join(f'{row["n"]} ({row["groups"]:.0%})' for row in likely if row['groups'] >= 0.05)}"
    yield f"Log-likelihood {fitted['log_likelihood']:.3f}"
    for component, (weight, means) in enumerate(zip(fitted["weights"], fitted["means"], strict=True)):
        place = ", ".join(f"{name} {mean:.4g}" for name, mean in zip(fitted["feature_names"], means, strict=True))
        name = fitted.get("component_names", {component: component})[component]
        yield f"Component {name}: weight {weight:.3f}, mean {place}"
    if fitted.get("status", "converged") != "converged":
        yield f"EM found no proper maximum: {fitted['message']}." if fitted["converged"] else f"{fitted['message']}."
    for verdict in fitted.get("verdicts", ()):
        yield verdict["sentence"]
