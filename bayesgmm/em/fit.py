"""A whole maximum-likelihood fit: start many times, refine the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.checkpoint import Checkpoint, Iteration
from bayesgmm.em.health import Health, describe, examine
from bayesgmm.em.iterate import EMRun, run_each
from bayesgmm.em.noise import Noise
from bayesgmm.em.penalties import Penalty
from bayesgmm.em.polish import polished
from bayesgmm.em.starts import Partitions, Sample, distinct_rows, filled, some_rows, starting_points
from bayesgmm.em.steps import Mixture, Rows, Settings, from_responsibilities, total_weight
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import Chunked, Gaps, rows_of, seen_from
from bayesgmm.frame import Frame, origin_near, total_moments
from bayesgmm.params import MixtureParams, cholesky
from bayesgmm.typing import FloatArray

SHORT_RUN = 25  # iterations of a first, short run
REFINED = 4  # short runs that are continued to the end
AUTO_STARTS = 20
FLOOR = 1e-6
"""Smallest variance in any direction, in units of the total covariance, when the user sets no ``reg_covar``."""
FINE = 1e-6
"""Nats per row: who takes a larger gain for none wants a quick fit, not its last digits."""
SAME_HEIGHT = 1e-10
"""Nats per row: log-likelihoods as close as that may differ by rounding, or by the last digits of a tolerance, and by nothing else."""
SAME_OPTIMUM = 0.01  # nats: two runs that end closer than this are said to have found the same optimum


@dataclass(frozen=True)
class Start:
    """Starting values given by the user, in the user's units; each may be absent."""

    weights: FloatArray | None = None
    means: FloatArray | None = None
    covariances: FloatArray | None = None

    @property
    def is_given(self) -> bool:
        """Whether the user gave any value."""
        return not (self.weights is None and self.means is None and self.covariances is None)

    def seen_from(self, origin: FloatArray) -> Start:
        """Return the same values for data that are counted from another origin (D,)."""
        return self if self.means is None else replace(self, means=self.means - origin)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be found from the data."""
        return self.weights is not None and self.means is not None and self.covariances is not None


NO_START = Start()


@dataclass(frozen=True)
class EMFit:
    """The best of the runs.

    Parameters
    ----------
    params : MixtureParams
    trace : array of shape (n_iter + 1,)
        Log-likelihood of the best run at its start and after every iteration.
    status : {"converged", "max_iter", "collapsed", "spurious"}
    message : str
        A sentence that says how the fit ended.
    run_log_likelihoods : array
        Final log-likelihood of every run, best first; runs whose components collapsed come last.
    n_saved : float
        Iterations that acceleration saved the best run: an estimate.
    log_prior : float
        Log-density of the prior at ``params``; zero without one. Traces and runs then are of log-likelihood plus log-prior.
    noise_weight : float
        Share of the rows that belong to no component; the weights in ``params`` are shares of the others.
    n_followed : int
        Number of runs of which it is known where they lead: of many starts, only the most promising are followed to their ends.
    optima : tuple of (float, MixtureParams)
        The distinct regular maxima to which runs went to the end, with what was climbed, best first.
    """

    params: MixtureParams
    trace: FloatArray
    status: str
    message: str
    run_log_likelihoods: FloatArray
    n_saved: float
    log_prior: float = 0.0
    noise_weight: float = 0.0
    n_followed: int = 1
    optima: tuple[tuple[float, MixtureParams], ...] = ()

    @property
    def converged(self) -> bool:
        """Whether EM came to a standstill; also at a maximum that means nothing, as `status` then says."""
        return self.status != "max_iter"

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of ``params``."""
        return float(self.trace[-1]) - self.log_prior

    @property
    def n_at_best(self) -> int:
        """Number of runs that ended within 0.01 nats of the best."""
        return int((np.abs(self.run_log_likelihoods - self.trace[-1]) < SAME_OPTIMUM).sum())

    def seen_from(self, origin: FloatArray) -> EMFit:
        """Return the same fit for data that are counted from another origin (D,)."""
        optima = tuple((height, _seen_from(params, origin)) for height, params in self.optima)
        return replace(self, params=_seen_from(self.params, origin), optima=optima)


@dataclass(frozen=True)
class _Ended:
    """A run and the state of its components."""

    run: EMRun
    health: Health


def fit_em(
    X: FloatArray | Chunked,
    n_components: int,
    family: Family,
    *,
    tol: float,
    max_iter: int,
    reg_covar: float | None = None,
    n_init: int | str = "auto",
    init_params: str | FloatArray = "auto",
    start: Start = NO_START,
    seeds: np.random.SeedSequence | None = None,
    sample_weight: FloatArray | None = None,
    penalty: Penalty | None = None,
    equal_weights: bool = False,
    noise: Noise | None = None,
    on_run: Callable[[EMRun], None] | None = None,
    on_iteration: Callable[[Iteration], object] | None = None,
    partitions: Partitions | None = None,
    in_one_call: bool = True,
    n_followed: int = REFINED,
    checkpoint: Checkpoint | None = None,
) -> EMFit:
    """Fit a mixture by EM from many starts.

    Parameters are those of :class:`bayesgmm.GaussianMixture`, with ``init_params`` a method's name or responsibilities (N, K), and
    ``penalty`` the prior as EM needs it;
    ``on_run`` is called with every run that ends, ``on_iteration`` after every iteration over rows in chunks;
    ``partitions`` shares starting points with fits of other families to the same rows;
    ``in_one_call`` is one of :class:`Settings`; ``n_followed`` says how many of the short
    runs are followed to their optima; those beyond the four that every fit continues are only reported, so that the fit is the same;
    ``checkpoint`` keeps the runs on all rows.

    Raises
    ------
    InvalidParameterError
        If no start leads anywhere: every one ended in a component without spread.
    """
    seeds = seeds or np.random.SeedSequence()
    if isinstance(X, Chunked):
        checkpoint = _told_of(checkpoint, on_iteration)
    given_weight = sample_weight
    origin, X, rows, sample_weight, moments = _view(X, sample_weight, checkpoint)
    if origin.any():
        start = start.seen_from(origin)
        penalty = None if penalty is None else penalty.seen_from(origin)
        noise = None if noise is None else noise.seen_from(origin)
    settings = Settings(
        family,
        tol,
        max_iter,
        _frame(*moments, family, reg_covar),
        floor=FLOOR if reg_covar is None else 0.0,
        ridge=reg_covar or 0.0,
        accelerate=n_init == "auto" and reg_covar is None,
        penalty=penalty,
        equal_weights=equal_weights,
        noise=noise,
        in_one_call=in_one_call,
    )
    search = _Search(rows, some_rows(rows, sample_weight, seeds), settings, sample_weight, on_run, n_followed, checkpoint)
    if start.is_complete:
        ended = search.from_points([_place(start, None, settings)], short=False)
    elif not isinstance(init_params, str):
        complete = rows_of(X)
        complete = filled(complete, total_moments(complete)) if isinstance(complete, Gaps) else complete
        assert not isinstance(complete, Chunked), "the estimator refuses responsibilities for rows in chunks"
        mixture = from_responsibilities(complete, init_params, settings, given_weight)
        ended = search.from_points([_place(start, mixture, settings)], short=False)
    else:
        auto = n_init == "auto"
        n_starts = 1 if n_components == 1 else AUTO_STARTS if auto else int(n_init)
        ended = []
        for _ in range(2 if auto else 1):
            found = starting_points(search.sample, n_components, init_params, n_starts, settings, seeds, partitions)
            ended += search.from_points([_place(start, mixture, settings) for mixture in found], short=auto)
            # Where every start ended in a component that has collapsed, try as many once more before saying so.
            if any(end.health.is_regular for end in ended):
                break
    best, *others = search.ranked(ended, by_health=n_init == "auto")
    polished_best = search.polished(best)
    ended = [polished_best if end is best else end for end in ended]
    fit = _best([polished_best, *others], X, settings)
    fit = replace(fit, optima=_optima([*ended, *search.only_reported], search.sample.X if isinstance(X, Chunked) else X))
    return fit.seen_from(-origin)


def _told_of(checkpoint: Checkpoint | None, on_iteration: Callable[[Iteration], object] | None) -> Checkpoint | None:
    """Return the checkpoint with somebody who is told of iterations; one that is written nowhere if there is none."""
    if on_iteration is None:
        return checkpoint
    journal = Checkpoint(None, {}, None) if checkpoint is None else checkpoint
    journal.on_iteration = on_iteration
    return journal


def _best(ended: list[_Ended], X: FloatArray | Chunked, settings: Settings) -> EMFit:
    best = ended[0]
    run, mixture = best.run, best.run.mixture
    log_likelihoods = np.array([end.run.log_likelihood for end in ended])
    arrived = np.abs(log_likelihoods - run.log_likelihood) < SAME_OPTIMUM
    fit = EMFit(
        _params(mixture),
        run.trace,
        run.status,
        "",
        log_likelihoods,
        run.n_saved,
        settings.log_prior(mixture),
        _noise_weight(mixture),
        int((arrived | ~np.array([end.run.can_go_on(settings.max_iter) for end in ended])).sum()),
    )
    if run.status == "max_iter":
        gain = run.trace[-1] - run.trace[-2]
        climbed = "log-likelihood" if settings.penalty is None else "log-posterior"
        message = (
            f"EM stopped after max_iter={settings.max_iter} iterations while the {climbed} still grew by {gain:.3g} per iteration: "
            "raise max_iter, or tol if that is close enough"
        )
        return replace(fit, message=message)
    if not best.health.is_regular:
        return replace(fit, status=best.health.status, message=describe(best.health, rows_of(X), mixture, settings))
    return replace(fit, message=f"EM converged after {run.n_iter} iteration{'s'[: run.n_iter != 1]}{_starts(fit)}")


def _starts(fit: EMFit) -> str:
    """Say how many of the starts that were followed to their ends reached this maximum: of the others nobody knows where they lead."""
    n_starts = len(fit.run_log_likelihoods)
    if n_starts == 1:
        return ""
    if fit.n_followed == n_starts:
        return f"; {fit.n_at_best} of {n_starts} starts ended at this maximum"
    return f"; {n_starts} starts, {fit.n_at_best} of the {fit.n_followed} followed to the end reached this maximum"


def _optima(ended: list[_Ended], X: FloatArray) -> tuple[tuple[float, MixtureParams], ...]:
    found: list[tuple[float, MixtureParams]] = []
    for end in sorted(ended, key=lambda end: -end.run.log_likelihood):
        if end.run.converged and end.health.is_regular:
            height, params = end.run.log_likelihood, _params(end.run.mixture)
            # Different maxima may be of one height: in data with a symmetry they are.
            if not any(abs(height - other) < SAME_OPTIMUM and params.resembles(known, X) for other, known in found):
                found.append((height, params.permute(params.canonical_order())))
    return tuple(found)


class _View(NamedTuple):
    """Data as EM sees them: counted from where means keep their digits."""

    origin: FloatArray
    """Zeros (D,) where the data lie about zero."""
    X: FloatArray | Chunked
    rows: Rows
    """What EM runs on, and below their weights if they do not bring them with them."""
    weight: FloatArray | None
    moments: tuple[FloatArray, FloatArray]
    """Mean (D,) and covariance (D, D)."""


def _view(X: FloatArray | Chunked, sample_weight: FloatArray | None, checkpoint: Checkpoint | None) -> _View:
    rows, weight = _rows(X, sample_weight)
    center, covariance = total_moments(rows, weight)
    origin = origin_near(center, covariance)
    if checkpoint is not None:
        origin = checkpoint.keep_origin(origin)
    if origin.any():
        X = seen_from(X, origin)
        rows, weight = _rows(X, sample_weight)
    return _View(origin, X, rows, weight, (center - origin, covariance))


def _rows(X: FloatArray | Chunked, sample_weight: FloatArray | None) -> tuple[Rows, FloatArray | None]:
    if isinstance(X, Chunked):
        return X, None
    distinct, weight = distinct_rows(X, sample_weight)
    return rows_of(distinct), weight


def _frame(center: FloatArray, covariance: FloatArray, family: Family, reg_covar: float | None) -> Frame:
    if reg_covar is None:
        return Frame.from_moments(center, covariance, family.invariance)
    # With the user's own ridge, collinear columns are the user's choice: look at no more than each column's spread.
    return Frame.from_moments(center, covariance, "scale" if family.invariance == "scale" else "columns")


@dataclass(frozen=True)
class _Search:
    """The runs of one fit."""

    X: Rows
    sample: Sample
    settings: Settings
    sample_weight: FloatArray | None
    on_run: Callable[[EMRun], None] | None
    n_followed: int = REFINED
    checkpoint: Checkpoint | None = None
    only_reported: list[_Ended] = field(default_factory=list)

    @property
    def total(self) -> float:
        return total_weight(self.X, self.sample_weight)

    def from_points(self, first: list[Mixture], *, short: bool) -> list[_Ended]:
        """Run EM from every starting point; with ``short``, only the most promising go to the end.

        Short runs see some rows only when there are very many; the best of them then start on all rows.
        """
        short = short and len(first) > 1
        sampled = short and not self.sample.is_all
        trial = replace(self.settings, max_iter=min(SHORT_RUN, self.settings.max_iter)) if short else self.settings
        ended = []
        runs_of = run_each(self.sample.rows, first, trial, self.sample.row_weight) if short else self._run(first, trial)
        for run in runs_of:
            ended.append(self._ended(run))
            if self.on_run is not None:
                self.on_run(run)
        ended = self._in_order(ended)
        if not short:
            return ended
        promising, others = ended[:REFINED], ended[REFINED:]
        runs = [end.run for end in promising if np.isfinite(end.run.log_likelihood)]
        refined = self._from_some_rows(runs) if sampled else self._continued(runs)
        self._report(others[: self.n_followed - REFINED], sampled=sampled)
        # Log-likelihoods of runs on some rows cannot be compared with those on all.
        return [self._ended(run) for run in refined] + ([] if sampled else others)

    def _report(self, ended: list[_Ended], *, sampled: bool) -> None:
        runs = [end.run for end in ended if np.isfinite(end.run.log_likelihood)]
        self.only_reported.extend(self._ended(run) for run in (self._from_some_rows(runs) if sampled else self._continued(runs)))

    def _from_some_rows(self, runs: list[EMRun]) -> list[EMRun]:
        return list(self._run([run.mixture for run in runs], self.settings))

    def _continued(self, runs: list[EMRun]) -> list[EMRun]:
        """Return the runs carried on to the end, their traces joined to those so far."""
        out = {id(run): run for run in runs}
        for n in {run.n_iter for run in runs if run.can_go_on(self.settings.max_iter)}:
            these = [run for run in runs if run.n_iter == n and run.can_go_on(self.settings.max_iter)]
            rest = replace(self.settings, max_iter=self.settings.max_iter - n)
            more = self._run([run.mixture for run in these], rest)
            out |= {id(run): run.joined(on) for run, on in zip(these, more, strict=True)}
        return [out[id(run)] for run in runs]

    def _run(self, starts: list[Mixture], settings: Settings) -> Iterator[EMRun]:
        """Yield the runs from some starts on all rows."""
        if self.checkpoint is None:
            return run_each(self.X, starts, settings, self.sample_weight)
        return (self.checkpoint.run(self.X, start, settings, self.sample_weight) for start in starts)

    def polished(self, best: _Ended) -> _Ended:
        """Return the best run with the last digits of its maximum, if it found one that means something.

        Not where scikit-learn's iterations are asked for, or fewer digits.
        """
        wanted = self.settings.accelerate and self.settings.tol <= FINE
        if not (wanted and best.run.converged and best.health.is_regular):
            return best
        polish = polished if self.checkpoint is None else self.checkpoint.polished
        better = self._ended(polish(best.run, self.X, self.settings, self.sample_weight))
        return better if better.health.is_regular else best

    def _ended(self, run: EMRun) -> _Ended:
        return _Ended(run, examine(run.mixture, self.settings, self.total))

    def ranked(self, ended: list[_Ended], *, by_health: bool) -> list[_Ended]:
        """Return the runs that did not end without a covariance, best first; ``by_health`` puts regular ones before degenerate ones."""
        alive = [end for end in ended if np.isfinite(end.run.log_likelihood)]
        if not alive:
            raise InvalidParameterError(
                "every start of EM ended in a component without spread: ask for fewer components, "
                "or leave reg_covar at None, so that variances have a floor"
            )
        return self._in_order(alive, by_health=by_health)

    def _in_order(self, ended: list[_Ended], *, by_health: bool = True) -> list[_Ended]:
        """Return the runs, regular before degenerate ones and higher before lower; what rounding may have decided, their order decides.

        Many runs end at one maximum, and the order in which rows are summed would choose among them.
        """
        heights = np.array([end.run.log_likelihood for end in ended])
        order = np.argsort(-heights, kind="stable")
        level, levels, top = 0, {}, heights.max(initial=-np.inf)
        for i in order:
            if top - heights[i] > SAME_HEIGHT * self.total or not np.isfinite(heights[i]):
                level, top = level + 1, heights[i]
            levels[i] = level
        return [ended[i] for i in sorted(levels, key=lambda i: (by_health and not ended[i].health.is_regular, levels[i], i))]


def _place(start: Start, mixture: Mixture | None, settings: Settings) -> Mixture:
    """Put the user's own starting values, where there are any, in place of those found from the data."""
    if mixture is not None and not start.is_given:
        return mixture
    placed = _given_place(start, mixture)
    covariances = placed.covariances
    bounded = settings.bounded(covariances)
    # Below the floor a start would be higher than any mixture that may follow it.
    return placed if bounded is covariances else placed._replace(scale_tril=cholesky(bounded))


def _given_place(start: Start, mixture: Mixture | None) -> Mixture:
    given = (start.weights, start.means, None if start.covariances is None else cholesky(start.covariances))
    found = None if mixture is None else _params(mixture)
    names = ("weights", "means", "scale_tril")
    params = MixtureParams(*(getattr(found, name) if value is None else value for name, value in zip(names, given, strict=True)))
    return Mixture(*params.arrays())


def _params(mixture: Mixture) -> MixtureParams:
    weights = np.exp(mixture.log_weights[: len(mixture.means)])
    return MixtureParams(weights / weights.sum(), mixture.means, mixture.scale_tril)


def _seen_from(params: MixtureParams, origin: FloatArray) -> MixtureParams:
    return replace(params, means=params.means - origin) if origin.any() else params


def _noise_weight(mixture: Mixture) -> float:
    return float(np.exp(mixture.log_weights[len(mixture.means) :]).sum())
