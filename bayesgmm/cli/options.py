"""The commands' options, and the values they become."""

import csv
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from bayesgmm.typing import CovarianceType

__all__ = [
    "AUTO",
    "COVARIANCE_TYPES",
    "POSTERIOR_COVARIANCE_TYPES",
    "SAMPLERS",
    "Data",
    "Large",
    "Model",
    "Sampling",
    "components_option",
    "counts_option",
    "data_options",
    "for_posterior",
    "known_options",
    "label_option",
    "large_options",
    "model_options",
    "sampling_options",
    "seeded",
    "together",
    "values",
]

# Names known elsewhere, written out because those modules import NumPy; tests hold them together.
POSTERIOR_COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
MCLUST_NAMES = ("EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV")
AUTO = "auto"
SAMPLERS = ("hmc", "nuts", "laplace", "gibbs", "pymc")
COVARIANCE_TYPES = (*POSTERIOR_COVARIANCE_TYPES, *MCLUST_NAMES)


@dataclass(frozen=True)
class Data:
    """Where the table is and what of it is used.

    ``label`` is a column of known groups to score by, ``known`` one of known groups to fit with, ``together`` says which rows are of one
    group, ``errors`` are the measurements' standard deviations, one column for each in their order, ``samples`` says which sample rows are
    of, and ``covariates`` what the groups' weights depend on: none of them is a measurement.
    """

    source: str
    columns: tuple[str, ...] | None = None
    drop_missing: bool = False
    label: str | None = None
    known: str | None = None
    together: str | None = None
    errors: tuple[str, ...] | None = None
    samples: str | None = None
    covariates: tuple[str, ...] | None = None

    @property
    def beside(self) -> tuple[str, ...]:
        """Columns that say something of rows and are no measurements."""
        single = [name for name in (self.label, self.known, self.together, self.samples) if name is not None]
        return tuple(dict.fromkeys([*single, *(self.errors or ()), *(self.covariates or ())]))

    @property
    def name(self) -> str:
        """What to call the data in a report."""
        from bayesgmm.files import readable

        return readable(Path(self.source).stem)


@dataclass(frozen=True)
class Model:
    """The mixture to fit; without a covariance type it is what the command takes by default."""

    components: int | str = AUTO
    covariance_type: "CovarianceType | None" = None
    n_init: int | None = None
    random_state: int | None = None

    def search(self) -> dict[str, Any]:
        """How EM searches, as its estimator takes it."""
        return {"n_init": self.n_init or "auto", "random_state": self.random_state}


@dataclass(frozen=True)
class Sampling:
    """How the posterior is sampled; ``None`` leaves a setting to the estimator."""

    draws: int | None = None
    tune: int | None = None
    chains: int | None = None
    cores: int | None = None
    sampler: str | None = None
    max_time: float | None = None

    def chosen(self) -> dict[str, Any]:
        """The settings that were given."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def refuse(self) -> None:
        """Raise click.UsageError if anything was given: nothing is sampled."""
        if given := ", ".join(f"--{name.replace('_', '-')}" for name in self.chosen()):
            raise click.UsageError(f"{given} is for the posterior, which --method em leaves out.")


@dataclass(frozen=True)
class Large:
    """What only data in chunks can be fitted with."""

    weights: str | None = None
    scheduler: str | None = None
    checkpoint: str | None = None
    resume: str | None = None

    def refuse(self, source: str) -> None:
        """Raise click.UsageError if anything is asked for that a table in memory has not."""
        given = [f"--{name}" for name, value in vars(self).items() if value is not None]
        if given:
            raise click.UsageError(
                f"{', '.join(given)} goes with data that are read in chunks (.parquet, .npy, folders and patterns, by EM, "
                f"with their missing values): {source} is read into memory."
            )


def values(settings: dict[str, Any]) -> tuple[Data, Model, Sampling]:
    """Turn click's flat options into values."""
    kinds: tuple[type[Any], ...] = (Data, Model, Sampling)
    data, model, sampling = (kind(**{f.name: settings[f.name] for f in fields(kind) if f.name in settings}) for kind in kinds)
    return data, model, sampling


def for_posterior(model: Model, instead: str) -> Model:
    """Return the model under the name that the posterior has for its covariance type; ``instead`` is the command that takes all of them.

    Raises
    ------
    click.UsageError
        If the posterior has no such type.
    """
    from bayesgmm.covariance import family

    if model.covariance_type is None:
        return model
    name = family(model.covariance_type).name
    if name not in POSTERIOR_COVARIANCE_TYPES:
        known = ", ".join(POSTERIOR_COVARIANCE_TYPES)
        raise click.UsageError(
            f"--covariance-type {model.covariance_type} is for EM alone ({instead}): a posterior can have {known}."
        )
    return replace(model, covariance_type=cast("CovarianceType", name))


def seeded(model: Model) -> Model:
    """Return the model with a seed: a report says how to make it again, so one that was not given is drawn."""
    return model if model.random_state is not None else replace(model, random_state=secrets.randbelow(2**31))


class Count(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A number of groups, or ``auto``."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or "auto"."""
        return AUTO if value == AUTO else _AT_LEAST_ONE.convert(value, param, ctx)


class Counts(click.ParamType):  # type: ignore[type-arg]  # as above
    """One number of groups, or several to choose among: ``3``, ``2..6``, ``2,4,8``; ``auto`` is no number in particular: ()."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers, in order and once each."""
        if isinstance(value, tuple):
            return value
        if value == AUTO:
            return ()
        found = re.fullmatch(r"\s*(\d+)\s*\.\.\s*(\d+)\s*", value)
        if found:
            first, last = int(found[1]), int(found[2])
            if not 1 <= first <= last:
                self.fail(f"{value!r} is no range: it goes from a number of groups, at least 1, up to a larger one.", param, ctx)
            if last - first >= MOST_COUNTS:
                self.fail(f"{value!r} has more than {MOST_COUNTS} numbers of groups to try.", param, ctx)
            return tuple(range(first, last + 1))
        if not re.fullmatch(r"\s*-?\d+\s*(,\s*-?\d+\s*)*", value):
            self.fail(f"{value!r} is neither a number of groups, such as 3, nor a range of them, such as 2..6.", param, ctx)
        numbers = sorted({int(part) for part in value.split(",")})
        if numbers[0] < 1:
            self.fail(f"{numbers[0]} is no number of groups: there must be at least 1.", param, ctx)
        return tuple(numbers)


def _split(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """``a,b`` as two names; a name that holds a comma is quoted as in a CSV file."""
    return None if value is None else tuple(next(csv.reader([value], skipinitialspace=True), ()))


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several decorators as one, in the order in which the help shows them."""
    return lambda command: reduce(lambda inner, option: option(inner), reversed(options), command)


_AT_LEAST_ONE = click.IntRange(1)
MOST_COUNTS = 30
# Of the estimator, which imports NumPy; a test holds them together.
LEAST_DRAWS = 4

data_options = together(
    click.argument("source", metavar="DATA"),
    click.option("--columns", metavar="NAMES", callback=_split, help="Columns to use, as a,b,c; all by default."),
    click.option("--drop-missing", is_flag=True, help="Leave out rows with any missing value, and say how many."),
)
components_option = click.option(
    "--components",
    "-k",
    type=Count(),
    default=AUTO,
    metavar="K",
    help="How many groups to look for; by default EM takes the number with the least BIC, and the posterior leaves it open.",
)
counts_option = click.option(
    "--components",
    "-k",
    "counts",
    type=Counts(),
    default=AUTO,
    metavar="K",
    help="How many groups to look for; 2..6 tries several, shows how they compare, and takes the best by BIC. By default every number gets "
    "its probability, and the most probable one is described.",
)
label_option = click.option(
    "--label", metavar="NAME", help="A column of known groups to score the result against; not used to find it."
)
known_options = together(
    click.option(
        "--known",
        metavar="NAME",
        help="A column that says which group some rows are of, empty where that is not known; groups get these names.",
    ),
    click.option("--together", metavar="NAME", help="A column whose equal values mark rows of one group, such as a person's."),
    click.option(
        "--errors",
        metavar="NAMES",
        callback=_split,
        help="Columns with the errors (sds) of the columns, in the order of --columns.",
    ),
    click.option(
        "--samples", metavar="NAME", help="A column that says which sample a row is of: each has its own shares of groups."
    ),
    click.option("--covariates", metavar="NAMES", callback=_split, help="Columns that the shares of the groups depend on."),
)
model_options = together(
    click.option(
        "--covariance-type",
        type=click.Choice(COVARIANCE_TYPES),
        metavar="NAME",
        help="The groups' shapes: any ellipse each (full), one for all (tied), along the axes (diag), or round (spherical). By default "
        "full, and of a report without --components the best of these by BIC. "
        f"EM alone also takes mclust's names: {', '.join(MCLUST_NAMES)}.",
    ),
    click.option(
        "--n-init",
        type=_AT_LEAST_ONE,
        metavar="N",
        help="Starts of EM, the best wins. Without it EM searches: starts from several views, and moves from the best.",
    ),
    click.option("--random-state", "--seed", type=click.IntRange(0), metavar="INT", help="Gives the same result every time."),
)
sampling_options = together(
    click.option("--draws", type=click.IntRange(LEAST_DRAWS), metavar="N", help="Draws kept per chain."),
    click.option("--tune", type=_AT_LEAST_ONE, metavar="N", help="Steps per chain that tune the sampler first."),
    click.option("--chains", type=_AT_LEAST_ONE, metavar="N", help="Chains; the checks want four."),
    click.option("--cores", type=_AT_LEAST_ONE, metavar="N", help="Processor cores to use."),
    click.option("--sampler", type=click.Choice(SAMPLERS), help="What draws from the posterior; by default hmc."),
    click.option(
        "--max-time",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="End sampling after so long, with the draws that there are.",
    ),
)
large_options = together(
    click.option("--weights", metavar="NAME", help="How often each row counts: a Parquet table's column, or an .npy file."),
    click.option(
        "--scheduler", metavar="ADDRESS", help="A running Dask cluster that reads and fits the data, as tcp://10.0.0.5:8786."
    ),
    click.option("--checkpoint", metavar="FILE", help="Keep in this file, every few iterations, where the fit is."),
    click.option("--resume", metavar="FILE", help="Go on from such a file."),
)
