"""The posterior of a mixture whose number of components is not known, by telescoping sampling with splits and merges.

Fruehwirth-Schnatter, Malsiner-Walli and Gruen (2021), Generalized mixtures of finite mixtures and telescoping sampling, Bayesian Analysis
16, 1279-1307. A sweep is in :mod:`bayesgmm.bayes._compiled_telescoping`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from sklearn.cluster import kmeans_plusplus

from bayesgmm.bayes import _compiled_telescoping as _compiled
from bayesgmm.bayes._compiled_component import ACCEPTED, COMPONENTS, DIAGONAL, FULL, PROPOSED, SPHERICAL, TIED, Belief, Model, State
from bayesgmm.bayes._compiled_log_posterior import LOG_NORMAL, LOG_POSTERIOR
from bayesgmm.bayes.draws import Draws, NumberModel, SamplerSettings
from bayesgmm.bayes.forecast import Forecast
from bayesgmm.bayes.log_posterior import flat_of_one_component
from bayesgmm.bayes.rounds import Rounds, mix_slowly
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.kernels.estep import EVALUATE
from bayesgmm.kernels.missing import EVALUATE_GAPPED
from bayesgmm.kernels.threads import n_threads
from bayesgmm.params import MixtureParams
from bayesgmm.priors import LKJ
from bayesgmm.progress import counter
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["sample_telescoping"]

_SHAPES = {"full": FULL, "diag": DIAGONAL, "spherical": SPHERICAL, "tied": TIED}
_CONCENTRATIONS = {"gamma": _compiled.GAMMA, "F": _compiled.F}
_ATTEMPTS = 3
"""Splits and merges proposed in a sweep: two thirds of its time, for they are what changes the number of groups."""
_SWEEPS_OF_TUNE = 5
"""Sweeps for each cycle of the warm-up that was asked for: they cost little, and chains start with very few and with many groups."""
_MOST_SWEEPS, _MOST_CHEAP_SWEEPS = 8, 256
_CHEAP = 1e11
"""Multiplications of all sweeps of all chains, some forty seconds on one core, for more sweeps a draw than the fewer."""
_MOST_AT_FIRST = 10
"""Groups that a chain starts with at most."""


def sample_telescoping(
    X: FloatArray, model: NumberModel, settings: SamplerSettings, *, on_forecast: Callable[[Forecast], object] | None = None
) -> tuple[Draws, IntArray]:
    """Draw from a posterior.

    Parameters
    ----------
    X : array of shape (N, D)
        NaN stands for a missing value: it is drawn in every sweep.
    model : NumberModel
    settings : SamplerSettings
    on_forecast : callable, optional
        Is told after every round, some times a second, how long sampling will take.

    Returns
    -------
    Draws
        Every draw has as many components as the one with most; those that it does not have weigh nothing. ``statistics`` has
        ``n_components``, those that it has; ``n_filled``, those with rows; and ``concentration``, each (chains, draws). ``details`` has the
        sweeps for each draw, the share of splits and merges that were accepted, and whether sampling was cut short.
    int array of shape (chains, draws, components)
        How many rows each component has.

    Raises
    ------
    KeyboardInterrupt
        Unless ``keep_interrupted`` is set and there are draws to keep.
    """
    began = time.perf_counter()
    seeds = np.random.SeedSequence(settings.seed).spawn(settings.chains)
    starts = np.linspace(1, min(model.most, _MOST_AT_FIRST, max(1, len(X) // (2 * X.shape[1]))), settings.chains)
    chains = [_Chain(X, model, round(n), np.random.default_rng(seed)) for n, seed in zip(starts, seeds, strict=True)]
    with ThreadPoolExecutor(settings.cores or n_threads()) as pool, counter("Sampling", shown=settings.progressbar) as tell:
        rounds: Rounds[None] = Rounds(chains, pool, settings, began, tell, on_forecast, settings.tune)
        try:
            rounds.go(None, settings.tune, _SWEEPS_OF_TUNE, adapting=True)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("sampling was interrupted during the warm-up: there are no draws to keep") from error
        for chain in chains:
            chain.state.steps[0] = np.exp(chain.state.steps[3])
        most = max(_MOST_SWEEPS, min(_MOST_CHEAP_SWEEPS, _CHEAP / (settings.draws * settings.chains * _cost(chains))))
        (numbers, counts, *mixtures), thin = rounds.draw(
            None, most, _is_slow, lambda *kept: tuple(values[:, 1::2] for values in kept)
        )
    counted = np.sum([chain.state.counters for chain in chains], axis=0)
    n_components, n_filled = np.moveaxis(numbers[..., 1:3], -1, 0).astype(int)
    statistics = {"n_components": n_components, "n_filled": n_filled, "concentration": numbers[..., 3]}
    accepted = float(counted[ACCEPTED] / max(counted[PROPOSED], 1))
    details = {"sweeps_per_draw": thin, "moves_accepted": accepted, **rounds.cut_short}
    params = _padded(n_components, *mixtures)
    draws = Draws(params, statistics, "bayesgmm", time.perf_counter() - began, settings.tune, details)
    return draws, counts[..., : params.n_components]


class _Kept(NamedTuple):
    """What a chain gives: numbers (draws, 4), and mixtures, of which only the components that there are have been written."""

    numbers: FloatArray
    counts: IntArray
    weights: FloatArray
    means: FloatArray
    scale_tril: FloatArray


class _Chain:
    """One chain: where it is, and its random numbers, so that how many sweeps are run at once does not matter."""

    def __init__(self, X: FloatArray, model: NumberModel, n_groups: int, rng: np.random.Generator) -> None:
        sds, etas = model.component.sds, model.component.correlations.etas
        # What components have in common is drawn, so that each has a prior of its own given that.
        apart = sds.independent()
        space = Space(replace(model.component, sds=apart, correlations=LKJ(etas[:1])), model.family)
        N, D = X.shape
        user = flat_of_one_component(space)
        first, second = (np.broadcast_to(part, space.sds_shape).ravel().astype(float) for part in sds.parameters())
        logs = model.number.log_probability(model.most)
        alpha = model.concentration.alpha
        learned = (_CONCENTRATIONS[alpha[0]], alpha[1], alpha[2]) if isinstance(alpha, tuple) else (_compiled.FIXED, 0.0, 0.0)
        self.model = Model(
            user,
            Belief(_SHAPES[model.family.name], np.zeros(D), np.zeros((D, D)), np.zeros((D, D)), np.zeros(2)),
            _SHAPES[model.family.name],
            model.concentration.dynamic,
            np.append(-np.inf, logs),
            np.array(learned, dtype=float),
            np.linalg.inv(model.component.frame.factor),
            apart.kind,
            first,
            second,
            float(sds.shared),
            np.array(sds.factors) if sds.is_joint and sds.kind == LOG_NORMAL else np.empty(0),
            np.array(etas, dtype=float),
            model.component.correlations.log_constants(D),
            float(user[6]),
        )
        self.typical = np.log(np.broadcast_to(apart.frozen().ppf(0.5), space.sds_shape).ravel().astype(float))
        self.X, self.rng, most = X, rng, model.most
        self.gaps = np.flatnonzero(np.isnan(X).any(axis=1))
        self.filled = np.where(np.isnan(X), np.nanmean(X, axis=0), X) if len(self.gaps) else X
        self.evaluate = EVALUATE_GAPPED if len(self.gaps) else EVALUATE
        self.state = State(
            np.zeros(6, np.int64),
            np.array([1.0 if isinstance(alpha, tuple) else float(alpha)]),
            np.zeros((most, space.n_dim)),
            np.full(most, -np.inf),
            np.zeros(N, np.int64),
            np.zeros(most),
            np.zeros((most, D)),
            np.zeros((most, D, D)),
            np.array([0.5, 0.0, 0.0, np.log(0.5), 0.0]),
        )
        self._start(space, n_groups)

    @property
    def numbers_per_cycle(self) -> int:
        """How many numbers a draw has."""
        most, D = self.state.centres.shape
        return 4 + most * (1 + D + D * D)

    def run(self, road: None, draws: int, thin: int, *, adapting: bool) -> _Kept:
        """Return the mixtures of so many draws, ``thin`` sweeps apart."""
        most, D = self.state.centres.shape
        numbers, counts = np.zeros((draws, 4)), np.zeros((draws, most), np.int64)
        out = _Kept(numbers, counts, np.zeros((draws, most)), np.zeros((draws, most, D)), np.zeros((draws, most, D, D)))
        _compiled.sweeps(
            LOG_POSTERIOR,
            self.evaluate,
            self.X,
            self.gaps,
            self.filled,
            self.model,
            self.state,
            self.typical,
            _ATTEMPTS,
            thin,
            adapting,
            self.rng,
            *out,
        )
        return out

    def _start(self, space: Space, n_groups: int) -> None:
        """Start with groups of rows that lie nearest to seeds of k-means++, the covariance of each drawn towards that of all rows."""
        labels = _nearest_seeds(self.filled, n_groups, self.rng)
        of_all = np.atleast_2d(np.cov(self.filled.T, bias=True))
        own = 0.25 * of_all / max(1, n_groups) ** (2 / self.X.shape[1])
        spread = (self.X.shape[1] + 2.0) * (own + 1e-9 * np.diag(np.diag(of_all)))
        rows = [self.filled[labels == k] for k in np.unique(labels)]
        if self.model.shape == TIED:
            within = sum(len(some) * np.atleast_2d(np.cov(some.T, bias=True)) for some in rows)
            covariances = [(within + spread) / (len(self.X) + self.X.shape[1] + 2.0)] * len(rows)
        else:
            covariances = [
                (len(some) * np.atleast_2d(np.cov(some.T, bias=True)) + spread) / (len(some) + self.X.shape[1] + 2.0)
                for some in rows
            ]
        for k, (some, covariance) in enumerate(zip(rows, covariances, strict=True)):
            if self.model.shape in (DIAGONAL, SPHERICAL):
                covariance = np.diag(np.diag(covariance))
            one = MixtureParams.from_covariances([1.0], some.mean(0)[None], covariance[None])
            self.state.q[k] = space.unconstrain(one)
            self.state.log_weights[k] = np.log(len(some) / len(self.X))
        self.state.counters[COMPONENTS] = len(rows)


def _nearest_seeds(X: FloatArray, n_groups: int, rng: np.random.Generator) -> IntArray:
    """Return the labels (N,) of rows by the nearest of so many seeds, columns in units of their standard deviations."""
    Z = X / X.std(axis=0)
    seeds, _ = kmeans_plusplus(Z, n_groups, random_state=int(rng.integers(2**31)))
    distances = np.stack([np.square(Z - seed).sum(1) for seed in seeds])
    return np.asarray(distances.argmin(0))


def _is_slow(numbers: FloatArray, *mixtures: FloatArray) -> bool:
    """Say whether more sweeps for each draw would help. Chains that have not met may still: they travel between numbers of groups."""
    return mix_slowly(numbers[..., [0, 2]], apart=np.inf)


def _cost(chains: list[_Chain]) -> float:
    """Return the multiplications of a sweep, by the components that chains have."""
    N, D = chains[0].X.shape
    K = float(np.mean([chain.state.counters[COMPONENTS] for chain in chains]))
    rows = N * K * (D * D + 20) + N * (6 * D * D + 60)
    return rows + _ATTEMPTS * (N / K * (4 * D * D + 300) + 40_000) + 6 * K * (60 * D**3 + 30_000)


def _padded(n_components: IntArray, weights: FloatArray, means: FloatArray, scale_tril: FloatArray) -> MixtureParams:
    """Return mixtures with as many components as any of them has; what one does not have weighs nothing, and is the first once more."""
    K = int(n_components.max())
    missing = np.arange(K) >= n_components[..., None]
    weights, means, scale_tril = weights[:, :, :K], means[:, :, :K].copy(), scale_tril[:, :, :K].copy()
    means[missing] = np.broadcast_to(means[:, :, :1], means.shape)[missing]
    scale_tril[missing] = np.broadcast_to(scale_tril[:, :, :1], scale_tril.shape)[missing]
    return MixtureParams(np.where(missing, 0.0, weights), means, scale_tril)
