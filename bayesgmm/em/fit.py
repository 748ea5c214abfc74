"""A whole maximum-likelihood fit: start many times, refine the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bayesgmm.covariance import Family, single
from bayesgmm.em.concomitant import with_shares
from bayesgmm.em.degeneracy import is_hopeless
from bayesgmm.em.initialization import Sample, filled, some_rows, starting_points
from bayesgmm.em.journal import Journal, Listener, Record
from bayesgmm.em.known import arranged, from_known, is_labelled
from bayesgmm.em.m_step import Collapse, Mixture, Settings, from_responsibilities
from bayesgmm.em.moves import neighbours
from bayesgmm.em.noise import Noise, dense_rows, suspicion
from bayesgmm.em.penalties import Penalty, penalty_of
from bayesgmm.em.result import EMFit, Outcome, seen_from_origin, seen_together, with_gross_rows
from bayesgmm.em.run import EMRun
from bayesgmm.em.search import SAME_FOUND, SAME_OPTIMUM, Ended, Search
from bayesgmm.exceptions import ConvergenceWarning, InvalidParameterError, warn
from bayesgmm.fixed import Fixed
from bayesgmm.frame import origin_near, total_moments
from bayesgmm.params import MixtureParams, cholesky
from bayesgmm.priors import ConjugatePriors, Priors
from bayesgmm.rows import MemoryRows, Rows
from bayesgmm.rows.concomitant import Concomitant
from bayesgmm.typing import FloatArray
from bayesgmm.validation import check_fittable

AUTO_STARTS = 6
"""Independent starts at effort 1; their number grows with the square root of the effort."""
FEW_ITERATIONS = 50
FINEST = 1e-11
"""Log-likelihood per row that is left to gain where weights depend on something, and no other method finds the last digits."""


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
    fixed : Fixed, optional
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
    fixed: Fixed | None = None

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
    seeds: np.random.SeedSequence | None = None,
    penalty: Penalty | None = None,
) -> EMFit:
    """Fit a mixture by EM; arguments and errors are those of :class:`Fitting`.

    Examples
    --------
    >>> from bayesgmm.covariance import family
    >>> from bayesgmm.rows import MemoryRows
    >>> rows = MemoryRows(np.random.default_rng(1).normal(5.0, 2.0, size=(50, 1)))
    >>> fit_em(rows, Specification(1, family("full"))).params.means.round(1)
    array([[4.9]])
    """
    fitting = Fitting(rows, specification, seeds=seeds, penalty=penalty)
    fitting.search()
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
        penalty = spec.penalty(rows) if penalty is None else penalty
        journal = Journal(record, listeners) if record is not None or listeners else None
        self.view: View = _view_of(rows, spec, self._seeds, journal) if like is None else like.view
        origin, start, noise, sample, fixed = self.view.origin, spec.start, self.view.noise, self.view.sample, spec.fixed
        if origin.any():
            start, penalty, noise, fixed = (
                start.seen_from(origin),
                penalty and penalty.seen_from(origin),
                noise and noise.seen_from(origin),
                fixed and fixed.seen_from(origin),
            )
        self._start = start
        self._settings = settings = Settings(
            single(spec.family) if spec.n_components == 1 and penalty is None and fixed is None else spec.family,
            spec.tol,
            spec.max_iter,
            sample.smallest_sds(spec.n_components),
            spec.reg_covar,
            accelerate=spec.n_init == "auto" and spec.max_iter > 0 and spec.reg_covar is None,
            penalty=penalty,
            equal_weights=spec.equal_weights,
            noise=noise,
            in_one_call=spec.in_one_call,
            digits=sample.digits,
            fixed=fixed,
        )
        self._search = Search(self.view.rows, sample, settings, on_run, journal)
        known = self.view.sample.rows.known
        self._is_told = known is not None and known.log_weights is not None
        is_exchangeable = (penalty is None or penalty.is_exchangeable) and fixed is None
        is_ordered = self._is_told or start.is_given or not isinstance(spec.init_params, str) or not is_exchangeable
        self._told = Outcome(self.view.all_rows, settings, origin, is_ordered)
        self._found: list[Ended] = []  # the best first: one from a search, or all on all rows where there is nothing to search for
        self._heights: FloatArray | None = None  # at which the independent starts of a search ended
        self._n_moves, self._is_from_known = 0, False

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
            self._found = self._from_what_is_asked_for()
            return
        rows = self.view.rows
        is_plain = not rows.has_gaps and rows.known is None and settings.penalty is None and settings.noise is None
        is_plain = is_plain and settings.fixed is None
        if K == 1 and is_plain and not self._start.is_given:
            self._found = [self._closed()]
            return
        if self.view.noise is not None and self._given.is_in_memory and not self._start.is_given:
            known = [*known, *self._in_dense_places(self.view.noise, effort)]
        n_starts = 1 if K == 1 else max(2, round(AUTO_STARTS * effort**0.5))
        if is_hopeless(self.view.rows.total, K, self._given.n_features, settings):
            # The log-likelihood has no maximum: a few iterations of one start show where it rises without bound.
            n_starts, effort, known = 1, 0.0, known[:1]
            self._search = replace(self._search, settings=replace(settings, max_iter=min(settings.max_iter, FEW_ITERATIONS)))
        points = starting_points(self.view.sample, K, str(spec.init_params), n_starts, settings, self._seeds)
        starts = [_place(self._start, mixture, settings) for mixture in points]
        if self._is_told:
            start = from_known(self.view.sample, arranged(starts[0], self.view.sample.rows, self.view.sample.X), settings)
            starts = [start, *starts]
            if is_labelled(self.view.sample.rows):  # there is nothing to search for
                starts, known, effort = starts[:1], [], 0.0
        rng = np.random.default_rng(self._seeds.spawn(1)[0])
        best, self._heights, self._n_moves = self._search.best_of(starts, self._near(known, rng), effort, rng)
        self._found = [best]

    def search_near(self, known: Sequence[MixtureParams]) -> None:
        """Look whether other fits, as those of :meth:`search`, lead higher."""
        if self._heights is None:
            return
        better = self._search.better(self._so_far, self._near(known, np.random.default_rng(self._seeds.spawn(1)[0])))
        if better is not self._so_far:
            self._found, self._n_moves, self._is_from_known = [better], 0, True

    def _in_dense_places(self, noise: Noise, effort: float) -> list[MixtureParams]:
        """Return fits without noise to the rows in dense places, to start from."""
        plain = replace(self.specification, noise=False, init_params="auto", start=NO_START, effort=effort)
        penalty = self.specification.penalty(self._given)
        found = []
        for rows in dense_rows(noise.inside(self._given).in_memory()):
            if len(rows) > plain.n_components * (rows.n_features + 1):
                # Where no start leads anywhere there is none to be had from these rows.
                with suppress(InvalidParameterError):
                    found.append(fit_em(rows, plain, seeds=self._seeds, penalty=penalty).params)
        return found

    def end(self) -> EMFit:
        """Return the fit."""
        spec, ended, height = self.specification, self._found, self._so_far.height
        if self._heights is not None:
            n_starts, n_at_best = len(self._heights), int((np.abs(self._heights - height) < SAME_FOUND).sum())
            ended = self._search.on_all_rows(self._so_far)
        else:
            n_starts = spec.n_starts if isinstance(spec.init_params, str) and not self._start.is_complete else 1
            n_at_best = sum(abs(end.height - height) < SAME_OPTIMUM for end in ended)
        fit = self._told.of(self._search, ended, n_starts, n_at_best, self._n_moves, is_from_known=self._is_from_known)
        if self.view.noise is not None:
            fit = with_gross_rows(fit, self.view.noise, self._given)
        if len(self._before):
            rule = spec.n_init != "auto" or spec.reg_covar is not None
            fit = seen_together(fit, self._before, spec.tol * self._given.total, plain=rule)
        return fit if spec.max_iter > 0 else replace(fit, message="max_iter=0: this is where EM would have started")

    def with_shares(self, fit: EMFit, rows: MemoryRows, concomitant: Concomitant) -> EMFit:
        """Return the fit with weights that depend on something, found from this one and the other maxima.

        Parameters
        ----------
        fit : EMFit
            From :meth:`end`.
        rows : MemoryRows
            That know their shares.
        concomitant : Concomitant
        """
        origin = self.view.origin
        starts = [seen_from_origin(params, origin) for params in (fit.params, *(params for _, params in fit.optima[1:]))]
        settings = replace(self._settings, tol=min(self._settings.tol, FINEST))
        found = with_shares(rows.seen_from(origin), fit, starts, settings, concomitant)
        if found is fit:
            return fit
        params = seen_from_origin(found.params, -origin)
        return replace(found, params=params, optima=((found.trace[-1], params),))

    @property
    def params(self) -> MixtureParams:
        """The best mixture so far."""
        return seen_from_origin(self._so_far.run.mixture.params, -self.view.origin)

    @property
    def is_sound(self) -> bool:
        """Whether the best mixture so far is a maximum that means something."""
        return self._so_far.is_sound

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of the best mixture so far on the rows that were searched in, which count as ``view.sample.rows.total``."""
        return self._so_far.height - self._settings.log_prior(self._so_far.run.mixture)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters of the components and their weights."""
        return self._settings.family.n_parameters(*self._so_far.run.mixture.means.shape)

    @property
    def _so_far(self) -> Ended:
        assert self._found, "nothing was searched for"
        return self._found[0]

    def _near(self, known: Sequence[MixtureParams], rng: np.random.Generator) -> list[Mixture]:
        """Return mixtures to start from that lie near known ones."""
        K = self.specification.n_components
        seen = [Mixture.of(seen_from_origin(params, self.view.origin)) for params in known]
        return [near for mixture in seen for near in neighbours(mixture, K, self.view.sample, self._settings, rng)]

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
        points = starting_points(self.view.sample, spec.n_components, spec.init_params, spec.n_starts, settings, self._seeds)
        ended = search.each_to_the_end([_place(self._start, mixture, settings) for mixture in points])
        return search.in_order(search.alive(ended), by_height=spec.reg_covar is not None)


def _of_responsibilities(rows: MemoryRows, responsibilities: FloatArray, settings: Settings) -> Mixture:
    values = filled(rows.chunk, total_moments(rows)) if rows.has_gaps else rows.values
    try:
        return from_responsibilities(values, responsibilities, settings, rows.weights)
    except Collapse:
        raise InvalidParameterError(
            "init_params puts rows into a component that have no spread, and reg_covar=0 leaves it none: give each component more distinct "
            "rows, or leave reg_covar at None, so that variances have a floor"
        ) from None


def _noise_around(rows: Rows, n_components: int) -> Noise:
    """Return the noise around rows; of gross errors that cannot be set aside, warn."""
    noise = Noise.around(rows)
    if noise.limits.suspect:
        warn(suspicion(noise, rows.feature_names, in_chunks=not rows.is_in_memory), ConvergenceWarning)
    if noise.limits.are_set:
        inner = noise.inside(rows).in_memory().distinct()
        check_fittable(inner.values, rows.feature_names, n_components)
    return noise


def _place(start: Start, mixture: Mixture | None, settings: Settings) -> Mixture:
    """Put the user's own starting values, where there are any, in place of those found from the data."""
    if mixture is not None and not start.is_given:
        return mixture
    factors = None if start.covariances is None else cholesky(start.covariances)
    given = {"weights": start.weights, "means": start.means, "scale_tril": factors}
    own = {name: value for name, value in given.items() if value is not None}
    placed = Mixture.of(MixtureParams(**own) if mixture is None else replace(mixture.params, **own))
    covariances = placed.covariances
    bounded = settings.bounded(covariances)
    # Below the floor a start would be higher than any mixture that may follow it.
    return placed if bounded is covariances else placed._replace(scale_tril=cholesky(bounded))


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
    sample : Sample
        Those to search in.
    noise : Noise, optional
        What takes rows that belong to no group, in units of the data.
    """

    origin: FloatArray
    all_rows: Rows
    rows: Rows
    moments: tuple[FloatArray, FloatArray]
    sample: Sample
    noise: Noise | None


def _view_of(given: Rows, specification: Specification, seeds: np.random.SeedSequence, journal: Journal | None) -> View:
    """Return how EM sees rows; a record keeps the origin, and knows it where it has been kept, as rounding may have chosen it."""
    noise = _noise_around(given, specification.n_components) if specification.noise else None
    given = given if noise is None else noise.inside(given)
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
    return View(origin, given, rows, (center - origin, covariance), some_rows(rows, seeds), noise)
