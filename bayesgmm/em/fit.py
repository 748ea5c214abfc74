"""A whole maximum-likelihood fit: start many times, refine the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bayesgmm.covariance import Family, single
from bayesgmm.em.degeneracy import describe, is_hopeless
from bayesgmm.em.journal import Journal, Listener, Record
from bayesgmm.em.moves import neighbours
from bayesgmm.em.noise import Noise, dense_rows, suspicion
from bayesgmm.em.penalties import Penalty, penalty_of
from bayesgmm.em.run import EMRun, seems_still
from bayesgmm.em.search import SAME_FOUND, SAME_OPTIMUM, Ended, Search
from bayesgmm.em.starts import filled, some_rows, starting_points
from bayesgmm.em.steps import Collapse, Mixture, Settings, from_responsibilities
from bayesgmm.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError, LikelihoodDecreaseError, warn
from bayesgmm.frame import origin_near, total_moments
from bayesgmm.params import MixtureParams, cholesky
from bayesgmm.priors import ConjugatePriors, Priors
from bayesgmm.rows import MemoryRows, Rows
from bayesgmm.text import listed
from bayesgmm.typing import FloatArray
from bayesgmm.validation import check_fittable

AUTO_STARTS = 6
"""Independent starts at effort 1; their number grows with the square root of the effort."""
FEW_ITERATIONS = 50
AGREEMENT = 3
"""Independent starts that must have ended at the maximum before nothing is said of a higher one."""
_UNSEEN = 1e-3
"""Nats that rounding may take from a log-likelihood before nothing is told of its maximum."""
_ROUNDING = 10 * float(np.finfo(float).eps)
"""Share of a matrix's largest eigenvalue that is lost of its smallest when it is formed."""
_MOST_NAMED = 5
_SAME = 1e-9
"""Relative difference of log-likelihoods that is rounding."""
_LOOKED_AT = 4
"""Log-likelihoods in a row that tell how much is left to gain."""


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
    n_starts, n_at_best : int
        Number of independent starts, and of those that ended at this maximum (within 0.1 nats before the last iterations).
    n_moves : int
        Number of moves from this maximum (components put elsewhere, or split) that led to none higher.
    n_saved : float
        Iterations that acceleration saved the best run: an estimate.
    log_prior : float
        Log-density of the prior at ``params``; zero without one. Traces and runs then are of log-likelihood plus log-prior.
    noise_weight : float
        Share of the rows that belong to no component; the weights in ``params`` are shares of the others.
    optima : tuple of (float, MixtureParams)
        The distinct regular maxima that runs were followed to, with what was climbed, best first.
    converged : bool
        Whether EM came to a standstill; also at a maximum that means nothing, as ``status`` then says.
    rejected : float
        By how many nats the highest degenerate maximum that was met is higher than this one; minus infinity if none is.
    """

    params: MixtureParams
    trace: FloatArray
    status: str
    message: str
    n_starts: int = 1
    n_at_best: int = 1
    n_moves: int = 0
    n_saved: float = 0.0
    log_prior: float = 0.0
    noise_weight: float = 0.0
    optima: tuple[tuple[float, MixtureParams], ...] = ()
    converged: bool = True
    rejected: float = -np.inf
    climb: FloatArray | None = None
    """The trace with what came before it, where the fit goes on from another."""
    noise: Noise | None = None
    """What takes the rows that belong to no component."""

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of ``params``."""
        return float(self.trace[-1]) - self.log_prior

    def seen_from(self, origin: FloatArray) -> EMFit:
        """Return the same fit for data that are counted from another origin (D,)."""
        optima = tuple((height, _seen_from(params, origin)) for height, params in self.optima)
        return replace(self, params=_seen_from(self.params, origin), optima=optima)


@dataclass(frozen=True)
class Specification:
    """What is fitted, and how: the settings of :class:`bayesgmm.GaussianMixture`, which says what they mean.

    Parameters
    ----------
    n_components : int
    family : Family
    tol : float
    max_iter : int
    reg_covar : float, optional
    n_init : int or "auto"
    effort : float
    init_params : str or array of shape (N, K)
        A method's name, or responsibilities.
    start : Start
    priors : Priors or ConjugatePriors, optional
    equal_weights, noise : bool
    in_one_call : bool
        Whether runs on few complete rows are made by one compiled call. It is quick, and takes seconds to compile once on a machine.
    """

    n_components: int
    family: Family
    tol: float = 1e-8
    max_iter: int = 1000
    reg_covar: float | None = None
    n_init: int | str = "auto"
    effort: float = 1.0
    init_params: str | FloatArray = "auto"
    start: Start = NO_START
    priors: Priors | ConjugatePriors | None = None
    equal_weights: bool = False
    noise: bool = False
    in_one_call: bool = True

    @property
    def searches(self) -> bool:
        """Whether the package chooses where to start."""
        return self.n_init == "auto" and self.max_iter > 0 and isinstance(self.init_params, str) and not self.start.is_complete

    @property
    def n_starts(self) -> int:
        """Number of starts that are asked for."""
        return int(self.n_init) if self.n_init != "auto" and self.max_iter > 0 else 1

    def penalty(self, rows: Rows) -> Penalty | None:
        """Return what the priors add to EM on some rows.

        Raises
        ------
        InvalidParameterError
            If a ridge is asked for as well.
        """
        if self.priors is None:
            return None
        if self.reg_covar is not None:
            raise InvalidParameterError("reg_covar and priors both hold covariances up: give one of them")
        return penalty_of(self.priors, rows, self.n_components, self.family)


def fit_em(
    rows: Rows,
    specification: Specification,
    *,
    known: Sequence[MixtureParams] = (),
    seeds: np.random.SeedSequence | None = None,
    penalty: Penalty | None = None,
) -> EMFit:
    """Fit a mixture by EM; arguments and errors are those of :class:`Fitting`, ``known`` is that of :meth:`Fitting.search`.

    Examples
    --------
    >>> from bayesgmm.covariance import family
    >>> from bayesgmm.rows import MemoryRows
    >>> rows = MemoryRows(np.random.default_rng(1).normal(5.0, 2.0, size=(50, 1)))
    >>> fit_em(rows, Specification(1, family("full"))).params.means.round(1)
    array([[4.9]])
    """
    fitting = Fitting(rows, specification, seeds=seeds, penalty=penalty)
    fitting.search(known)
    return fitting.end()


class Fitting:
    """A fit in the making: searched for, perhaps again with what fits of other models have found meanwhile, and brought to its end.

    Parameters
    ----------
    rows : Rows
    specification : Specification
    seeds : SeedSequence, optional
    penalty : Penalty, optional
        By default that of the specification's priors for these rows.
    record : Record, optional
        How far the runs on all rows were when the same fit was interrupted.
    listeners : sequence of callables
        Are told of the runs on all rows (:class:`bayesgmm.em.journal.Journal`).
    on_run : callable, optional
        Takes every run from a start as it ends.
    before : array, optional
        Log-likelihoods of the last iterations of a fit from whose end this one starts.
    like : Fitting, optional
        Another fit to the same rows, whose view of them is taken over.

    Raises
    ------
    InvalidDataError
        If rows cannot be used with noise.
    InvalidParameterError
        From the search, if no start leads anywhere: every one ended in a component without spread.
    LikelihoodDecreaseError
        At the end, if an iteration lowered the log-likelihood of regular components by more than rounding can: a mistake in this package.
    """

    def __init__(
        self,
        rows: Rows,
        specification: Specification,
        *,
        seeds: np.random.SeedSequence | None = None,
        penalty: Penalty | None = None,
        record: Record | None = None,
        listeners: Sequence[Listener] = (),
        on_run: Callable[[EMRun], None] | None = None,
        before: FloatArray | None = None,
        like: Fitting | None = None,
    ) -> None:
        self.specification = spec = specification
        self._seeds = seeds or np.random.SeedSequence()
        self._before = np.empty(0) if before is None else before
        self._given = rows
        self.noise: Noise | None = None
        if spec.noise:
            self.noise = _noise_around(rows, spec.n_components) if like is None else like.noise
        penalty = spec.penalty(rows) if penalty is None else penalty
        journal = Journal(record, listeners) if record is not None or listeners else None
        if like is None:
            self.view = _view_of(rows if self.noise is None else self.noise.inside(rows), journal)
            self.sample = some_rows(self.view.rows, self._seeds)
        else:
            self.view, self.sample = like.view, like.sample
        origin, start, noise = self.view.origin, spec.start, self.noise
        if origin.any():
            start = start.seen_from(origin)
            penalty = None if penalty is None else penalty.seen_from(origin)
            noise = None if noise is None else noise.seen_from(origin)
        self._start, self._penalty = start, penalty
        self._settings = settings = Settings(
            single(spec.family) if spec.n_components == 1 and penalty is None else spec.family,
            spec.tol,
            spec.max_iter,
            self.sample.smallest_sds(spec.n_components),
            has_floor=spec.reg_covar is None,
            ridge=spec.reg_covar or 0.0,
            accelerate=spec.n_init == "auto" and spec.max_iter > 0 and spec.reg_covar is None,
            penalty=penalty,
            equal_weights=spec.equal_weights,
            noise=noise,
            in_one_call=spec.in_one_call,
            digits=self.sample.digits,
        )
        self._search = Search(self.view.rows, self.sample, settings, on_run, journal)
        is_ordered = start.is_given or not isinstance(spec.init_params, str) or not (penalty is None or penalty.is_exchangeable)
        self._told = _Told(self.view.all_rows, settings, origin, is_ordered)
        self._ended: list[Ended] | None = None  # on all rows, where there is nothing to search for
        self._best: Ended | None = None
        self._heights = np.empty(0)
        self._n_moves = 0
        self._is_from_known = False

    def search(self, known: Sequence[MixtureParams] = (), share: float = 1.0) -> None:
        """Search for the maximum.

        Parameters
        ----------
        known : sequence of MixtureParams
            Of other fits to the same rows, of any families: they are started from as well, those of one component fewer with one more,
            those of one more with one less.
        share : float
            How much of the effort that the specification asks for to spend.
        """
        spec, settings = self.specification, self._settings
        K, effort = spec.n_components, share * spec.effort
        if not spec.searches:
            self._ended = self._from_what_is_asked_for()
            return
        if K == 1 and not self._start.is_given and _is_closed(self.view.rows, settings):
            self._ended = [self._closed()]
            return
        if self.noise is not None and self._given.is_in_memory and not self._start.is_given:
            known = [*known, *self._in_dense_places(effort)]
        n_starts = 1 if K == 1 else max(2, round(AUTO_STARTS * effort**0.5))
        if is_hopeless(self.view.rows.total, K, self._given.n_features, settings):
            # The log-likelihood has no maximum: a few iterations of one start show where it rises without bound.
            n_starts, effort, known = 1, 0.0, known[:1]
            self._search = replace(self._search, settings=replace(settings, max_iter=min(settings.max_iter, FEW_ITERATIONS)))
        points = starting_points(self.sample, K, str(spec.init_params), n_starts, settings, self._seeds)
        starts = [_place(self._start, mixture, settings) for mixture in points]
        rng = np.random.default_rng(self._seeds.spawn(1)[0])
        self._best, self._heights, self._n_moves = self._search.best_of(starts, self._near(known, rng), effort, rng)

    def search_near(self, known: Sequence[MixtureParams]) -> None:
        """Look whether other fits, as those of :meth:`search`, lead higher."""
        if self._best is None:
            return
        better = self._search.better(self._best, self._near(known, np.random.default_rng(self._seeds.spawn(1)[0])))
        if better is not self._best:
            self._best, self._n_moves, self._is_from_known = better, 0, True

    def _in_dense_places(self, effort: float) -> list[MixtureParams]:
        """Return fits without noise to the rows in dense places, to start from."""
        plain = replace(self.specification, noise=False, init_params="auto", start=NO_START, effort=effort)
        penalty = self.specification.penalty(self._given)
        found = []
        inner = self._given if self.noise is None else self.noise.inside(self._given)
        for rows in dense_rows(inner.in_memory()):
            if len(rows) <= plain.n_components * (rows.n_features + 1):
                continue
            # Where no start leads anywhere there is none to be had from these rows.
            with suppress(InvalidParameterError):
                found.append(fit_em(rows, plain, seeds=self._seeds, penalty=penalty).params)
        return found

    def end(self) -> EMFit:
        """Return the fit."""
        fit, spec = self._at_the_end(), self.specification
        if self.noise is not None:
            fit = _with_gross_rows(replace(fit, noise=self.noise), self.noise, self._given)
        if len(self._before):
            rule = spec.n_init != "auto" or spec.reg_covar is not None
            fit = _seen_together(fit, self._before, spec.tol * self._given.total, plain=rule)
        return fit if spec.max_iter > 0 else replace(fit, message="max_iter=0: this is where EM would have started")

    def _at_the_end(self) -> EMFit:
        if self._best is not None:
            n_at_best = int((np.abs(self._heights - self._best.height) < SAME_FOUND).sum())
            ended = self._search.on_all_rows(self._best)
            return self._told.of(
                self._search, ended, len(self._heights), n_at_best, self._n_moves, is_from_known=self._is_from_known
            )
        assert self._ended is not None, "nothing was searched for"
        n_at_best = sum(abs(end.height - self._ended[0].height) < SAME_OPTIMUM for end in self._ended)
        spec = self.specification
        is_counted = isinstance(spec.init_params, str) and not self._start.is_complete
        return self._told.of(self._search, self._ended, spec.n_starts if is_counted else 1, n_at_best)

    @property
    def params(self) -> MixtureParams:
        """The best mixture so far."""
        return _seen_from(_params(self._so_far.run.mixture), -self.view.origin)

    @property
    def is_sound(self) -> bool:
        """Whether the best mixture so far is a maximum that means something."""
        return self._so_far.is_sound

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of the best mixture so far on the rows that were searched in, which count as ``sample.total``."""
        return self._so_far.height - self._settings.log_prior(self._so_far.run.mixture)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters of the components and their weights."""
        return self._settings.family.n_parameters(*self._so_far.run.mixture.means.shape)

    @property
    def _so_far(self) -> Ended:
        if self._best is not None:
            return self._best
        assert self._ended is not None, "nothing was searched for"
        return self._ended[0]

    def _near(self, known: Sequence[MixtureParams], rng: np.random.Generator) -> list[Mixture]:
        """Return mixtures to start from that lie near known ones."""
        K = self.specification.n_components
        seen = [_mixture(_seen_from(params, self.view.origin)) for params in known]
        return [near for mixture in seen for near in neighbours(mixture, K, self.sample, self._settings, rng)]

    def _closed(self) -> Ended:
        try:
            return self._search.closed(*self.view.moments)
        except Collapse:
            raise InvalidParameterError(
                "the rows are without spread in some direction, and reg_covar=0 gives them none: leave out a column, or leave reg_covar at "
                "None, so that variances have a floor"
            ) from None

    def _from_what_is_asked_for(self) -> list[Ended]:
        """Return the ends of the runs from the user's starting values, partition or number of starts, the best first."""
        settings, search, spec = self._settings, self._search, self.specification
        if self._start.is_complete:
            return search.each_to_the_end([_place(self._start, None, settings)])
        if not isinstance(spec.init_params, str):
            mixture = _of_responsibilities(self.view.all_rows.in_memory(), spec.init_params, settings)
            return search.each_to_the_end([_place(self._start, mixture, settings)])
        points = starting_points(self.sample, spec.n_components, spec.init_params, spec.n_starts, settings, self._seeds)
        ended = search.each_to_the_end([_place(self._start, mixture, settings) for mixture in points])
        return search.in_order(search.alive(ended), by_height=not settings.has_floor)


@dataclass(frozen=True, eq=False)
class _Told:
    """What is told of a fit: its parameters in the user's place, how it ended, and what that is worth."""

    rows: Rows
    settings: Settings
    origin: FloatArray
    keep_order: bool

    def of(
        self, search: Search, ended: list[Ended], n_starts: int, n_at_best: int, n_moves: int = 0, *, is_from_known: bool = False
    ) -> EMFit:
        """Return the fit that the first of the runs that ended is."""
        best = search.polished(search.alive(ended)[0])
        if not self.keep_order:
            best = best.permuted(_params(best.run.mixture).canonical_order())
        if best.run.status == "fell" and best.health.is_regular:
            best = self._as_far_as_rounding_lets_it(best)
        mixture = best.run.mixture
        seen = [*ended, *search.ended] if search.sample.is_all else ended
        above = [end.height for end in seen if end.height > best.height and not end.health.is_regular]
        fit = EMFit(
            _params(mixture),
            best.run.trace,
            best.run.status,
            "",
            n_starts,
            n_at_best,
            n_moves,
            best.run.n_saved,
            self.settings.log_prior(mixture),
            _noise_weight(mixture),
            _optima([best, *ended[1:]], self.rows.values if self.rows.is_in_memory else search.sample.X),
            best.run.converged,
            max(above, default=-np.inf) - best.height,
        )
        lower = np.inf
        if not best.health.is_regular:
            lower = best.height - max((end.height for end in seen if end.is_sound and end.run.converged), default=-np.inf)
        return self._with_message(fit, best, lower, is_from_known=is_from_known).seen_from(-self.origin)

    def _as_far_as_rounding_lets_it(self, best: Ended) -> Ended:
        """Return a run that lowered the log-likelihood as one that converged, if rounding of its covariances explains it.

        Raises
        ------
        InvalidDataError
            If rounding explains it, and leaves too few digits.
        LikelihoodDecreaseError
            If it does not.
        """
        run, family = best.run, self.settings.family
        fall = run.trace[-2] - run.trace[-1]
        spreads = np.linalg.eigvalsh(self.settings.inside(run.mixture.covariances))
        # M-steps form covariances, whose smallest eigenvalues know as many digits as their ratio to the largest leaves.
        lost = _ROUNDING * float(np.max(best.health.counts * spreads[:, -1] / np.maximum(spreads[:, 0], spreads[:, -1] * 1e-30)))
        if fall > lost * spreads.size:
            raise LikelihoodDecreaseError(
                f"EM lowered the log-likelihood by {fall:.3g} in iteration {run.n_iter}, which it never may: this is a mistake in "
                "bayesgmm; please report it with the data and settings"
            )
        if fall <= _UNSEEN:
            return replace(best, run=replace(run, status="converged"))
        why = (
            f"covariance_type {family.name!r} turns its axes, and the columns are in units too unlike for that: divide each column by its "
            "standard deviation"
            if family.invariance == "scale"
            else "the covariance of a component is nearly singular: leave out a column that nearly follows from others"
        )
        raise InvalidDataError(f"Rounding lowered the log-likelihood by {fall:.3g}, more than EM can tell maxima apart by: {why}")

    def _with_message(self, fit: EMFit, best: Ended, above_regular: float, *, is_from_known: bool) -> EMFit:
        run = best.run
        if not best.health.is_regular:
            message = describe(best.health, self.rows, run.mixture, self.settings, self.rows.names)
            if np.isfinite(above_regular):
                message += f". The highest maximum without such a component is {above_regular:.1f} nats lower"
            return replace(fit, status=best.health.status, message=message)
        if run.status == "max_iter":
            gain = run.trace[-1] - run.trace[-2] if run.n_iter else np.inf
            climbed = "log-likelihood" if self.settings.penalty is None else "log-posterior"
            message = (
                f"EM stopped after max_iter={self.settings.max_iter} iterations while the {climbed} still grew by {gain:.3g} per "
                "iteration: raise max_iter, or tol if that is close enough"
            )
            return replace(fit, message=message)
        iterations = f"{run.n_iter} iteration{'s'[: run.n_iter != 1]}"
        return replace(fit, message=f"EM converged after {iterations}{_found_by(fit, is_from_known)}{_rejected(fit)}")


def _found_by(fit: EMFit, is_from_known: bool) -> str:
    """Say how many of the independent starts ended at this maximum, and what was tried to find a higher one."""
    if fit.n_starts == 1:
        return ""
    if fit.n_moves == 0 and not is_from_known:
        return f"; {fit.n_at_best} of {fit.n_starts} starts ended at this maximum"
    counted = {0: "none", 1: "one"}.get(fit.n_at_best, str(fit.n_at_best))
    found = f"{counted} of {fit.n_starts} independent starts ended at this maximum"
    if is_from_known:
        found += ", which is that of a neighbouring model's fit"
    else:
        found += f", and {fit.n_moves} moves away from it found none higher"
    if fit.n_at_best >= AGREEMENT:
        return f"; {found}"
    return f"; {found}: there may be a higher one, which a larger effort may find"


def _rejected(fit: EMFit) -> str:
    if not fit.rejected > SAME_OPTIMUM:
        return ""
    return (
        f". A maximum {fit.rejected:.1f} nats higher was rejected: in it a component rests on rows that do not determine it, and its "
        "likelihood means nothing"
    )


def _of_responsibilities(rows: MemoryRows, responsibilities: FloatArray, settings: Settings) -> Mixture:
    values = filled(rows.chunk, total_moments(rows)) if rows.has_gaps else rows.values
    try:
        return from_responsibilities(values, responsibilities, settings, rows.weights)
    except Collapse:
        raise InvalidParameterError(
            "init_params puts rows into a component that have no spread, and reg_covar=0 leaves it none: give each component more distinct "
            "rows, or leave reg_covar at None, so that variances have a floor"
        ) from None


def _is_closed(rows: Rows, settings: Settings) -> bool:
    """Whether the maximum of one component is a formula: nothing is missing, and there is neither prior nor noise."""
    return not rows.has_gaps and settings.penalty is None and settings.noise is None


def _noise_around(rows: Rows, n_components: int) -> Noise:
    """Return the noise around rows; of gross errors that cannot be set aside, warn."""
    noise = Noise.around(rows)
    if noise.limits.suspect:
        warn(suspicion(noise, rows.feature_names, in_chunks=not rows.is_in_memory), ConvergenceWarning)
    if noise.limits.are_set:
        inner = noise.inside(rows).in_memory().distinct()
        check_fittable(inner.values, rows.feature_names, n_components)
    return noise


def _with_gross_rows(fit: EMFit, noise: Noise, rows: Rows) -> EMFit:
    """Return the fit to all rows, of one to those within the noise's limits.

    With the share g of the rows beyond, rows there have the density g / V of the box with volume V, and the others 1 - g times that of
    the mixture: maximum likelihood of the mixture is that of the rows within.
    """
    if noise.gross == 0:
        return fit
    beyond = noise.limits.beyond(rows.values)
    if rows.weights is not None:
        beyond &= rows.weights > 0
    more, numbers = noise.log_likelihood_of_limits(rows.total), np.flatnonzero(beyond)
    one = len(numbers) == 1
    said = (
        f"; row{'s'[: one ^ 1]} {listed(numbers, _MOST_NAMED)} {'lies' if one else 'lie'} far beyond all others and "
        f"{'is' if one else 'are'} noise for certain"
    )
    return replace(
        fit,
        trace=fit.trace + more,
        optima=tuple((height + more, params) for height, params in fit.optima),
        noise_weight=noise.share_of_all(fit.noise_weight),
        message=fit.message + said,
    )


def _seen_together(fit: EMFit, before: FloatArray, tolerance: float, *, plain: bool) -> EMFit:
    """Return a fit that ran out of iterations as converged if it did by its rule, seen together with those that it goes on from.

    Parameters
    ----------
    fit : EMFit
    before : array
        Log-likelihoods of the last iterations before.
    tolerance : float
        Log-likelihood of all rows that is not worth an iteration.
    plain : bool
        Whether the rule is scikit-learn's, the last gain, and not all that is left to gain.
    """
    if abs(fit.trace[0] - before[-1]) > _SAME * (1 + abs(before[-1])):
        return fit
    trace = np.concatenate([before[-_LOOKED_AT:-1], fit.trace])
    fit = replace(fit, climb=trace)
    if fit.status != "max_iter" or len(trace) < _LOOKED_AT:
        return fit
    first, second, third = np.diff(trace[-_LOOKED_AT:]).tolist()
    if abs(third) >= tolerance if plain else not seems_still(first, second, third, float(trace[-1]), tolerance):
        return fit
    message = "EM converged, seen together with the fits that this warm start goes on from"
    return replace(fit, status="converged", converged=True, message=message)


def _optima(ended: list[Ended], X: FloatArray) -> tuple[tuple[float, MixtureParams], ...]:
    found: list[tuple[float, MixtureParams]] = []
    best, *others = ended  # polished, and no lower than what it was polished from but for rounding
    for end in [best, *sorted(others, key=lambda end: -end.height)]:
        if end.run.converged and end.is_sound:
            height, params = end.height, _params(end.run.mixture)
            # Different maxima may be of one height: in data with a symmetry they are.
            if not any(abs(height - other) < SAME_FOUND and params.resembles(known, X) for other, known in found):
                found.append((height, params.permute(params.canonical_order())))
    return tuple(found)


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


def _mixture(params: MixtureParams) -> Mixture:
    return Mixture(*params.arrays())


def _params(mixture: Mixture) -> MixtureParams:
    weights = np.exp(mixture.log_weights[: len(mixture.means)])
    return MixtureParams(weights / weights.sum(), mixture.means, mixture.scale_tril)


def _seen_from(params: MixtureParams, origin: FloatArray) -> MixtureParams:
    return replace(params, means=params.means - origin) if origin.any() else params


def _noise_weight(mixture: Mixture) -> float:
    return float(np.exp(mixture.log_weights[len(mixture.means) :]).sum())


class View(NamedTuple):
    """The same rows in the shapes that a fit needs: distinct ones, and counted from where means keep their digits.

    Parameters
    ----------
    origin : array of shape (D,)
        What values are counted from; zeros where the data lie about zero.
    all_rows : Rows
        Counted from there.
    rows : Rows
        What EM runs on.
    moments : (array of shape (D,), array of shape (D, D))
        Mean and covariance.
    """

    origin: FloatArray
    all_rows: Rows
    rows: Rows
    moments: tuple[FloatArray, FloatArray]


def _view_of(given: Rows, journal: Journal | None) -> View:
    """Return how EM sees rows; a record keeps the origin, and knows it where it has been kept, as rounding may have chosen it."""
    rows = given.condensed()
    center, covariance = total_moments(rows)
    origin = origin_near(center, covariance)
    if journal is not None:
        if journal.record.origin is None:
            journal.record.origin = origin
        origin = journal.record.origin
    if origin.any():
        given = given.seen_from(origin)
        rows = given.condensed()
    return View(origin, given, rows, (center - origin, covariance))
