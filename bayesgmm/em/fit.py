"""A whole maximum-likelihood fit: start many times, refine the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.checkpoint import Checkpoint, Iteration
from bayesgmm.em.health import describe
from bayesgmm.em.iterate import EMRun
from bayesgmm.em.noise import Noise
from bayesgmm.em.penalties import Penalty
from bayesgmm.em.search import REFINED, Ended, Search
from bayesgmm.em.starts import Partitions, filled, some_rows, starting_points
from bayesgmm.em.steps import Mixture, Settings, from_responsibilities
from bayesgmm.em.view import view_of
from bayesgmm.expectation import Chunked, Gaps, rows_of
from bayesgmm.frame import Frame, total_moments
from bayesgmm.params import MixtureParams, cholesky
from bayesgmm.typing import FloatArray

AUTO_STARTS = 20
FLOOR = 1e-6
"""Smallest variance in any direction, in units of the total covariance, when the user sets no ``reg_covar``."""
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
    origin, X, rows, sample_weight, moments = view_of(X, sample_weight, checkpoint)
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
    search = Search(rows, some_rows(rows, sample_weight, seeds), settings, sample_weight, on_run, n_followed, checkpoint)
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


def _best(ended: list[Ended], X: FloatArray | Chunked, settings: Settings) -> EMFit:
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


def _optima(ended: list[Ended], X: FloatArray) -> tuple[tuple[float, MixtureParams], ...]:
    found: list[tuple[float, MixtureParams]] = []
    for end in sorted(ended, key=lambda end: -end.run.log_likelihood):
        if end.run.converged and end.health.is_regular:
            height, params = end.run.log_likelihood, _params(end.run.mixture)
            # Different maxima may be of one height: in data with a symmetry they are.
            if not any(abs(height - other) < SAME_OPTIMUM and params.resembles(known, X) for other, known in found):
                found.append((height, params.permute(params.canonical_order())))
    return tuple(found)


def _frame(center: FloatArray, covariance: FloatArray, family: Family, reg_covar: float | None) -> Frame:
    if reg_covar is None:
        return Frame.from_moments(center, covariance, family.invariance)
    # With the user's own ridge, collinear columns are the user's choice: look at no more than each column's spread.
    return Frame.from_moments(center, covariance, "scale" if family.invariance == "scale" else "columns")


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
