"""How often is the verdict on a posterior wrong? 400 simulated problems of ten kinds, each fitted from five seeds with all defaults.

``python -m benchmarks.trust [--from 0] [--to 400] [--store FILE]`` (an hour and a half); a problem that is in the file already is not
fitted again, so a run that was interrupted goes on where it was, and parts may run side by side with files of their own.
``--tell FILE ...`` only tells what is in files: trust.md was written so. ``python -m benchmarks --only trust --quick`` runs one problem
of each kind for a look.

Whether a fit was right is told by what needs no labels: the probabilities that 24 pairs of rows are of one group, the weights in order of
size, and the mean log-likelihood. They are held to those of a reference (:mod:`benchmarks.modes`) that knows of more modes than the fit
looks at: importance sampling about all of them, or, where that cannot be relied on, a long run of chains that start in all of them.

- *False trust*: a fit that passed, of which some probability is off by more than 0.1.
- *False alarm*: a fit that did not pass, though all five seeds and the reference agree within 0.05.
- *Of one mind*: problems of which all five seeds passed, or none.

Rows are 15 to 400, columns 1 to 4 and at most one for eight rows of a group.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

import bayesgmm as bg
from bayesgmm.params import MixtureParams
from benchmarks.modes import reference
from benchmarks.timing import Row

PROBLEMS, SEEDS = 400, 5
PAIRS = 24
OFF, AGREED = 0.1, 0.05
MOST_FALSE_TRUST, MOST_FALSE_ALARM, LEAST_OF_ONE_MIND = 0.01, 0.05, 0.95
_HEIGHT_AGREED = 0.25  # posterior standard deviations of the log-likelihood
_ROWS_A_GROUP = 8  # for each column
_DRAWS = 1000

type Rng = np.random.Generator


def overlapping(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    return rng.normal(size=(N, D)) + rng.uniform(1.5, 3.5) / np.sqrt(D) * shares(N, 2, rng)[:, None], 2


def apart(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    K = int(rng.integers(2, 4))
    return rng.normal(size=(N, D)) * rng.uniform(0.5, 1.5, (K, D))[z := shares(N, K, rng)] + 6.0 * z[:, None], K


def heavy_tails(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    return rng.standard_t(3, size=(N, D)) + 8.0 * shares(N, 2, rng)[:, None], 2


def skewed(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    return rng.exponential(size=(N, D)) + 4.0 * shares(N, 2, rng)[:, None], 2


def one_too_many(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    K = int(rng.integers(1, 3))
    return rng.normal(size=(N, D)) + 6.0 * shares(N, K, rng)[:, None], K + 1


def far(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    return rng.normal(size=(N, D)) + rng.uniform(30.0, 60.0) * shares(N, 2, rng)[:, None], 2


def junk(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    X = rng.normal(size=(N, D)) + 6.0 * shares(N, 2, rng)[:, None]
    wrong = rng.random(N) < 0.05
    # Scattered in one half of the problems; in the other all in one place, as a code for "missing" is.
    X[wrong] = rng.uniform(-15.0, 20.0, (wrong.sum() if rng.random() < 0.5 else 1, D))
    return X, 2


def three_for_two(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    return rng.normal(size=(N, D)) + 5.0 * shares(N, 3, rng)[:, None], 2


def four_heavy_tails(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    return rng.standard_t(3, size=(N, D)) + rng.uniform(-12.0, 12.0, (4, D))[shares(N, 4, rng)], 4


def uneven(N: int, D: int, rng: Rng) -> tuple[np.ndarray, int]:
    K = int(rng.integers(2, 4))
    sizes = rng.dirichlet(np.full(K, 1.5)) * 0.8 + 0.2 / K
    z = rng.choice(K, N, p=sizes)
    turn = rng.normal(size=(K, D, D)) / np.sqrt(D) + 0.7 * np.eye(D)
    return np.einsum("nd,nde->ne", rng.normal(size=(N, D)), turn[z]) + 3.0 * rng.normal(size=(K, D))[z], K


KINDS: dict[str, Callable[[int, int, Rng], tuple[np.ndarray, int]]] = {
    "overlapping": overlapping,
    "apart": apart,
    "t(3)": heavy_tails,
    "skewed": skewed,
    "one too many": one_too_many,
    "far apart": far,
    "junk rows": junk,
    "three, two asked": three_for_two,
    "four t(3)": four_heavy_tails,
    "uneven": uneven,
}


def shares(N: int, K: int, rng: Rng) -> np.ndarray:
    """Draw labels of groups none of which has less than three tenths of its even share."""
    return rng.choice(K, N, p=0.3 / K + 0.7 * rng.dirichlet(np.full(K, 4.0)))


def problem(number: int) -> tuple[str, np.ndarray, int]:
    """Return kind, rows and the number of groups asked for; anyone can make problem 123 again."""
    rng = np.random.default_rng([2026, number])
    kind = list(KINDS)[number % len(KINDS)]
    most = 4 if kind in ("four t(3)",) else 3 if kind in ("apart", "one too many", "uneven") else 2
    D = int(rng.integers(1, 5))
    N = int(rng.choice([n for n in (15, 30, 60, 100, 200, 400) if n >= _ROWS_A_GROUP * most * max(D - 1, 1) or n == 400]))
    X, K = KINDS[kind](N, D, rng)
    return kind, X, K


@dataclass(frozen=True)
class Summary:
    """What needs no labels."""

    together: list[float]
    weights: list[float]
    height: float
    height_sd: float

    @classmethod
    def of(cls, draws: MixtureParams, X: np.ndarray, pairs: np.ndarray) -> Summary:
        together = np.mean([_together(draws[i : i + 200], X, pairs) for i in range(0, len(draws.weights), 200)], axis=0)
        heights = np.concatenate([draws[i : i + 200].log_density(X).sum(-1) for i in range(0, len(draws.weights), 200)])
        return cls(together.tolist(), np.sort(draws.weights, axis=-1).mean(0).tolist(), float(heights.mean()), float(heights.std()))

    def gap(self, other: Summary) -> float:
        """Return the greatest difference of a probability."""
        here, there = ([*one.together, *one.weights] for one in (self, other))
        return float(np.abs(np.subtract(here, there)).max())

    def agrees(self, other: Summary) -> bool:
        far = abs(self.height - other.height) / max(self.height_sd, other.height_sd)
        return self.gap(other) <= AGREED and far <= _HEIGHT_AGREED


def _together(draws: MixtureParams, X: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the probabilities that the rows of each pair are of one group."""
    of_pairs = draws.responsibilities(X[pairs.ravel()]).reshape(len(draws.weights), len(pairs), 2, -1)
    return of_pairs.prod(2).sum(-1).mean(0)


@dataclass(frozen=True)
class Fit:
    passed: bool
    sentence: str
    summary: Summary


@dataclass(frozen=True)
class Case:
    """One problem: the fits of five seeds, and what the posterior is."""

    number: int
    kind: str
    N: int
    D: int
    K: int
    fits: list[Fit]
    reference: Summary
    how: str
    """What the reference comes from."""
    seconds: float

    @classmethod
    def read(cls, line: str) -> Case:
        raw = json.loads(line)
        raw["fits"] = [Fit(fit["passed"], fit["sentence"], Summary(**fit["summary"])) for fit in raw["fits"]]
        raw["reference"] = Summary(**raw["reference"])
        return cls(**raw)

    @property
    def falsely_trusted(self) -> list[int]:
        """Seeds."""
        return [seed for seed, fit in enumerate(self.fits) if fit.passed and fit.summary.gap(self.reference) > OFF]

    @property
    def false_alarms(self) -> list[int]:
        """Seeds."""
        known = [*(fit.summary for fit in self.fits), self.reference]
        settled = all(a.agrees(b) for a, b in combinations(known, 2))
        return [seed for seed, fit in enumerate(self.fits) if settled and not fit.passed]

    @property
    def of_one_mind(self) -> bool:
        return len({fit.passed for fit in self.fits}) == 1


def study(number: int) -> Case:
    """Fit one problem from all seeds, and make the reference that they are held to."""
    began = time.process_time()
    kind, X, K = problem(number)
    pairs = pairs_of(number, len(X))
    fits = [fit(X, K, pairs, seed) for seed in range(SEEDS)]
    found = reference(X, K, number)
    return Case(number, kind, *X.shape, K, fits, Summary.of(found.draws, X, pairs), found.how, time.process_time() - began)


def pairs_of(number: int, N: int) -> np.ndarray:
    """Draw the pairs of rows (PAIRS, 2) that a problem is judged by."""
    rng = np.random.default_rng([2027, number])
    return np.array([rng.choice(N, 2, replace=False) for _ in range(PAIRS)])


def fit(X: np.ndarray, K: int, pairs: np.ndarray, seed: int) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is warned of is what is studied
        model = bg.BayesianGaussianMixture(K, random_state=seed, progressbar=False).fit(X)
    draws = model.params_.reshape(-1)
    thin = max(1, len(draws.weights) // _DRAWS)
    check = model.diagnose()[0]
    return Fit(check.passed, check.sentence, Summary.of(draws[::thin], X, pairs))


def tell(cases: Sequence[Case]) -> Iterator[str]:
    """The three shares with their counts, as a page in Markdown: all together, by kind, and every problem that failed."""
    fits = [fit for case in cases for fit in case.fits]
    care = sum(fit.passed and "with care" in fit.sentence for fit in fits)
    yield f"{len(cases)} problems, {len(fits)} fits, of which {share(sum(fit.passed for fit in fits), len(fits))} passed, {care} with care."
    yield ""
    yield "| | fits | | to reach | problems |"
    yield "|---|--:|--:|--:|--:|"
    for name, of, most in (
        ("false trust", "falsely_trusted", MOST_FALSE_TRUST),
        ("false alarm", "false_alarms", MOST_FALSE_ALARM),
    ):
        seeds = [getattr(case, of) for case in cases]
        count = sum(map(len, seeds))
        yield f"| {name} | {count} | {count / len(fits):.2%} | {most:.0%} | {share(sum(map(bool, seeds)), len(cases))} |"
    same = sum(case.of_one_mind for case in cases)
    yield f"| five seeds of one mind | | {same / len(cases):.1%} | {LEAST_OF_ONE_MIND:.0%} | {same} |"
    yield ""
    yield "| kind | problems | fits refused | false trust | false alarm | of one mind |"
    yield "|---|--:|--:|--:|--:|--:|"
    for kind in KINDS:
        own = [case for case in cases if case.kind == kind]
        refused = sum(not fit.passed for case in own for fit in case.fits)
        trust, alarm = (sum(len(getattr(case, of)) for case in own) for of in ("falsely_trusted", "false_alarms"))
        yield f"| {kind} | {len(own)} | {refused} | {trust} | {alarm} | {sum(case.of_one_mind for case in own)} |"
    yield ""
    yield "```text"
    yield from (line for case in cases for line in _failed(case))
    yield "```"


def share(count: int, total: int) -> str:
    return f"{count} ({count / max(total, 1):.1%})"


def _failed(case: Case) -> Iterator[str]:
    if not (case.falsely_trusted or case.false_alarms or not case.of_one_mind):
        return
    yield f"problem {case.number} ({case.kind}, {case.N} x {case.D}, K = {case.K}; {case.how})"
    for seed, one in enumerate(case.fits):
        what = "FALSE TRUST: " if seed in case.falsely_trusted else "false alarm: " if seed in case.false_alarms else ""
        off, ended = one.summary.gap(case.reference), "passed" if one.passed else "refused"
        yield f"    random_state={seed} {ended}, off by {off:.3f}. {what}{one.sentence[:110]}"


def rows(quick: bool = False) -> list[Row]:
    """Three shares."""
    cases = [study(number) for number in range(len(KINDS) if quick else PROBLEMS)]
    n_fits = sum(len(case.fits) for case in cases)
    trust, alarm = (sum(len(getattr(case, of)) for case in cases) / n_fits for of in ("falsely_trusted", "false_alarms"))
    split = 1 - sum(case.of_one_mind for case in cases) / len(cases)
    return [
        Row(
            f"verdicts on {n_fits} fits to {len(cases)} problems: {name}", 100 * part, None, "", 100 * most, absolute=True, unit="%"
        )
        for name, part, most in (
            ("false trust", trust, MOST_FALSE_TRUST),
            ("false alarm", alarm, MOST_FALSE_ALARM),
            ("problems on which seeds differ", split, 1 - LEAST_OF_ONE_MIND),
        )
    ]


def stored(path: Path) -> list[Case]:
    return [Case.read(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust", description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="first", type=int, default=0, help="number of the first problem")
    parser.add_argument("--to", dest="stop", type=int, default=PROBLEMS, help="number after that of the last problem")
    parser.add_argument("--store", type=Path, default=Path("trust.jsonl"), help="file to which each problem is added")
    parser.add_argument("--tell", type=Path, nargs="+", help="tell what is in these files, and fit nothing")
    options = parser.parse_args()
    if not options.tell:
        done = {case.number for case in stored(options.store)}
        for number in range(options.first, options.stop):
            if number not in done:
                with options.store.open("a") as file:
                    file.write(json.dumps(asdict(study(number))) + "\n")
    cases = {case.number: case for path in options.tell or [options.store] for case in stored(path)}
    print("\n".join(tell([cases[number] for number in sorted(cases)])))


if __name__ == "__main__":
    main()
