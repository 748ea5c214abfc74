"""Hamiltonian Monte Carlo, in turn given the rows and given labels drawn for them, on the compiled density.

A cycle has two trajectories and one pass that draws the label of every row. Given labels, components depend on the rows only through
counts, means and scatters (data augmentation: Tanner and Wong 1987, Journal of the American Statistical Association 82, 528-540; Diebolt
and Robert 1994, Journal of the Royal Statistical Society B 56, 363-375), so the first trajectory costs next to nothing, and where groups
stand apart it is all that is needed. Where they overlap, labels hold the components back; a trajectory given the rows, along which all
labels are summed out, then moves them. Which of the two a posterior needs, and how long trajectories have to be, is measured while the
chains warm up.

Both move in the metric that the components have given labels, block by block (:mod:`bayesgmm.bayes.metric`); given the rows it is stretched
along the few directions in which labels in doubt make the posterior wider.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesgmm.bayes import _compiled_hmc as _compiled
from bayesgmm.bayes._compiled_log_posterior import LOG_POSTERIOR
from bayesgmm.bayes.draws import FEWEST, Draws, SamplerSettings
from bayesgmm.bayes.forecast import Forecast
from bayesgmm.bayes.initial_points import InitialPoints
from bayesgmm.bayes.jumps import Jumps
from bayesgmm.bayes.log_posterior import LogPosterior, log_prior
from bayesgmm.bayes.metric import Geometry
from bayesgmm.bayes.rounds import APART, Rounds, mix_slowly
from bayesgmm.diagnostics import label_free
from bayesgmm.expectation import evaluation_pass
from bayesgmm.kernels.threads import n_threads
from bayesgmm.params import MixtureParams
from bayesgmm.progress import counter
from bayesgmm.typing import FloatArray

__all__ = ["sample_hmc"]

QUARTER = np.pi / 2
"""A quarter of the period of a normal distribution in its own metric: the end of such a trajectory does not depend on its beginning."""
ACCEPTED = 0.8
"""Share of trajectories that steps are adapted to (Betancourt, Byrne and Girolami 2014, arXiv:1411.6669: 0.6 to 0.9)."""
_MOST_CYCLES, _MOST_CHEAP_CYCLES = 8, 128
_CHEAP = 1.5e11
"""Multiplications of all cycles of all chains, some thirty seconds on one core, that may be spent on more cycles a draw than the fewer."""
_MOST_JUMPS = 8
"""Jumps before a draw that is many cycles from the last: as many again as cycles would double the cost."""
_TRAVEL = 10
"""Jumps of all chains between modes from which on chains that are apart may be expected to meet."""
_WELL, _SLOW = 0.3, 0.1
"""Effective draws a cycle from which on no other road is tried, and below which the longest is tried too, and labels alone are not trusted:
a short trial does not see the slowest movements, and labels alone have most of these."""
_LEAD = 3.0
"""How many times as much labels alone have to give for their cost as the road with the rows, for the same reason."""


def sample_hmc(
    density: LogPosterior,
    initial: InitialPoints,
    settings: SamplerSettings,
    *,
    on_forecast: Callable[[Forecast], object] | None = None,
) -> Draws:
    """Draw from a posterior.

    Parameters
    ----------
    density : LogPosterior
        If values are missing, or rows weighted, no labels are drawn.
    initial : InitialPoints
        A chain starts about its mode as far as the rows, with known labels, would allow. Between several modes chains jump.
    settings : SamplerSettings
    on_forecast : callable, optional
        Is told after every round, some times a second, how long sampling will take.

    Returns
    -------
    Draws
        ``details`` has the cycles for each draw, the lengths of both trajectories, and whether sampling was cut short: then also whether it
        was so in the warm-up, and the seconds that all draws would have taken, or would have at least.

    Raises
    ------
    KeyboardInterrupt
        Unless ``keep_interrupted`` is set and there are draws to keep.
    """
    began = time.perf_counter()
    starts, jumps = initial.points, Jumps.between(initial)
    # Chains that travel between modes need steps that all of them allow.
    geometry = Geometry.at(density, np.unique(starts, axis=0) if jumps is None else jumps.centers)
    seeds = np.random.SeedSequence(settings.seed).spawn(len(starts))
    chains = [_Chain(density, start, geometry, jumps, seed) for start, seed in zip(starts, seeds, strict=True)]
    with ThreadPoolExecutor(settings.cores or n_threads()) as pool, counter("Sampling", shown=settings.progressbar) as tell:
        # The rest of the warm-up is for roads that are only tried if the first is not good enough.
        rounds = Rounds(chains, pool, settings, began, tell, on_forecast, settings.tune // 2)
        try:
            road = _warm_up(chains, rounds, settings.tune)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("sampling was interrupted during the warm-up: there are no draws to keep") from error
        # So many cycles a draw, where all of them cost little.
        most = max(_MOST_CYCLES, min(_MOST_CHEAP_CYCLES, _CHEAP / (settings.draws * len(chains) * _cost(chains, road))))
        (q, numbers), thin = rounds.draw(
            road,
            most,
            lambda q, numbers: _is_slow(chains, q, numbers[..., 0]),
            lambda q, numbers: (q[:, 1::2], _in_pairs(numbers)),
        )
    heights = numbers[..., 0]
    if road.labels > 0:
        heights = heights + log_prior(q.reshape(-1, q.shape[-1]), density.space).reshape(heights.shape)
    last = 1 if road.rows > 0 else 0
    statistics = {
        "lp": heights,
        "diverging": numbers[..., 2] + numbers[..., 5] > 0,
        "acceptance_rate": numbers[..., 1 + 3 * last],
        "step_size": np.broadcast_to([[chain.steps[last, 0]] for chain in chains], heights.shape).copy(),
        "n_steps": (numbers[..., 3] + numbers[..., 6]).astype(int),
    }
    details = {"cycles_per_draw": thin, "length_given_labels": road.labels, "length_given_rows": road.rows, **rounds.cut_short}
    if jumps is not None:
        details["jumps_accepted"] = float(np.mean([chain.jumped / chain.tried for chain in chains]))
    return Draws(density.space.constrain(q), statistics, "bayesgmm", time.perf_counter() - began, settings.tune, details)


class Road(NamedTuple):
    """Lengths of the trajectories in a cycle, given labels and given the rows; zero for none."""

    labels: float
    rows: float


class _Chain:
    """One chain: where it is, its step sizes, and streams of random numbers, so that how many are drawn at once does not matter."""

    def __init__(
        self, density: LogPosterior, mode: FloatArray, geometry: Geometry, jumps: Jumps | None, seed: np.random.SeedSequence
    ) -> None:
        self.density, self.geometry, self.jumps = density, geometry, jumps
        self.tried = self.jumped = 0
        self.momenta, self.uniforms, self.label_uniforms, self.places = map(np.random.default_rng, seed.spawn(4))
        self.q = self._about(mode)
        self.X = density.table if density.can_draw_labels else np.empty((0, density.space.n_features))
        self.labelled = density.given_labels()
        if density.can_draw_labels:
            density.draw_labels(self.q, self.label_uniforms.random(len(self.X)), self.labelled)
        # As steps shrink with the number of dimensions: Beskos, Pillai, Roberts, Sanz-Serna and Stuart 2013, Bernoulli 19, 1501-1534.
        first = len(mode) ** -0.25
        self.steps = np.array([[first, 0.0, 0.0, np.log(first), np.log(2.0 * first)]] * 2)

    def _about(self, mode: FloatArray) -> FloatArray:
        """Return a draw from the normal distribution with the metric's covariance about a mode, or the mode, if the draw has no density."""
        q = self.geometry.about(mode, self.momenta.standard_normal(len(mode)))
        return q if np.isfinite(self.density(q)[0]) else mode.copy()

    def learn(self, geometry: Geometry) -> None:
        """Move in another geometry; the steps given the rows are adapted to it from here on."""
        self.geometry, first = geometry, self.steps[1, 0]
        self.steps[1] = [first, 0.0, 0.0, np.log(first), np.log(2.0 * first)]

    @property
    def numbers_per_cycle(self) -> int:
        """How many random numbers a cycle takes."""
        return len(self.X) + 2 * len(self.q)

    def run(self, road: Road, draws: int, thin: int, *, adapting: bool) -> tuple[FloatArray, FloatArray]:
        """Return draws (draws, n_dim) and their numbers (draws, 7), ``thin`` cycles apart, with jumps between cycles if there are any."""
        if self.jumps is None:
            return self._cycles(road, draws, thin, adapting=adapting)
        at_once = max(1, thin // _MOST_JUMPS)
        parts = []
        for _ in range(draws * thin // at_once):
            self._jump(self.jumps)
            parts.append(self._cycles(road, 1, at_once, adapting=adapting))
        each = thin // at_once
        numbers = np.stack([numbers[0] for _, numbers in parts]).reshape(draws, each, -1)
        told = numbers.sum(1)
        told[:, 0], told[:, [1, 4]] = numbers[:, -1, 0], told[:, [1, 4]] / each
        return np.stack([q[0] for q, _ in parts[each - 1 :: each]]), told

    def _jump(self, jumps: Jumps) -> None:
        """Try to leave for another mode, one way or the other, and draw labels for the rows where the chain lands."""
        if jumps.can_draw and self.places.random() < 0.5:
            place = jumps.draw(self.places)
            log_ratio = jumps.log_density(self.q) - jumps.log_density(place)
        else:
            place, log_ratio = jumps.carry(self.q, self.places)
        self.tried += 1
        if np.log(self.places.random()) < self.density(place)[0] - self.density(self.q)[0] + log_ratio:
            self.q, self.jumped = place, self.jumped + 1
            if self.density.can_draw_labels:
                self.density.draw_labels(self.q, self.label_uniforms.random(len(self.X)), self.labelled)

    def _cycles(self, road: Road, draws: int, thin: int, *, adapting: bool) -> tuple[FloatArray, FloatArray]:
        n_cycles, n = draws * thin, len(self.q)
        out, numbers = np.empty((draws, n)), np.zeros((draws, 7))
        labels = self.label_uniforms.random((n_cycles, len(self.X))) if road.labels > 0 else np.empty((n_cycles, 0))
        _compiled.cycles(
            LOG_POSTERIOR,
            evaluation_pass(self.density.chunk),
            self.q,
            self.X,
            (self.density.user_data, self.labelled),
            self.geometry.roots,
            (self.geometry.given_labels, self.geometry.given_rows),
            np.array(road),
            self.steps,
            ACCEPTED if adapting else 0.0,
            self.momenta.standard_normal((n_cycles, 2, n)),
            self.uniforms.random((n_cycles, 2, 2)),
            labels,
            thin,
            out,
            numbers,
        )
        return out, numbers


def _warm_up(chains: list[_Chain], rounds: Rounds[Road], tune: int) -> Road:
    """Bring chains to where the posterior is, adapt their steps, and return the road that gives most for its cost.

    The cheapest road goes first. If it moves well there is nothing to look for; otherwise a longer one is tried, or two, in a metric that
    is learned on the way.
    """
    labels = QUARTER if chains[0].density.can_draw_labels else 0.0
    short, middle, far = Road(labels, 0.0 if labels else QUARTER), Road(labels, 3 * QUARTER), Road(labels, 9 * QUARTER)
    rounds.go(short, tune // 4, adapting=True)
    tried = {short: _Trial.of(chains, rounds, short, tune // 4)}
    road = short
    if tried[short].share < _WELL:
        rounds.go(middle, tune // 8, adapting=True)
        tried[middle] = _Trial.of(chains, rounds, middle, tune // 4)
        if tried[middle].share < _WELL:
            former = _learn(chains, tried[middle].q)
            stretched = _Trial.of(chains, rounds, middle, tune // 4)
            if stretched.gain > tried[middle].gain:
                tried[middle] = stretched
            else:  # chains that have not settled yet, or stand in several modes, show what is none of the posterior's
                _unlearn(chains, former)
        if tried[middle].share < _SLOW:
            tried[far] = _Trial.of(chains, rounds, far, tune // 4)
        road = max(set(tried) - {short}, key=lambda one: tried[one].gain)
        if tried[short].gain > (_LEAD if labels else 1.0) * tried[road].gain and tried[short].share > _SLOW:
            road = short
    for chain in chains:
        chain.steps[:, 0] = np.exp(chain.steps[:, 3])
    return road


def _learn(chains: list[_Chain], q: FloatArray) -> list[tuple[Geometry, FloatArray]]:
    """Give the chains the metric that their draws q show, and return what they had."""
    former = [(chain.geometry, chain.steps.copy()) for chain in chains]
    learned = former[0][0].learned(q.reshape(-1, q.shape[-1]))
    for chain in chains:
        chain.learn(learned)
    return former


def _unlearn(chains: list[_Chain], former: list[tuple[Geometry, FloatArray]]) -> None:
    """Give chains back what they had."""
    for chain, (geometry, steps) in zip(chains, former, strict=True):
        chain.geometry, chain.steps = geometry, steps


def _in_pairs(numbers: FloatArray) -> FloatArray:
    """Return the numbers of every second draw (chains, draws / 2, 7): its height, and what both of a pair were accepted and cost."""
    first, second = numbers[:, : numbers.shape[1] - 1 : 2], numbers[:, 1::2]
    both = first + second
    both[..., 0] = second[..., 0]
    both[..., [1, 4]] /= 2.0
    return both


@dataclass(frozen=True)
class _Trial:
    """What a road gave: draws (chains, draws, n_dim), effective ones a cycle, and what a cycle costs."""

    q: FloatArray
    share: float
    cost: float

    @property
    def gain(self) -> float:
        return self.share / self.cost

    @classmethod
    def of(cls, chains: list[_Chain], rounds: Rounds[Road], road: Road, n_cycles: int) -> _Trial:
        """Run a road for some cycles; its cost is counted and not clocked, so that the same seed takes the same road on any machine."""
        q, numbers = rounds.go(road, max(n_cycles, FEWEST), adapting=True)
        return cls(q, _least_ess(chains[0].density.space.constrain(q), numbers[..., 0]) / q[..., 0].size, _cost(chains, road))


def _cost(chains: list[_Chain], road: Road) -> float:
    """Return the multiplications of a cycle, with the steps that chains have been adapted to."""
    space, N = chains[0].density.space, len(chains[0].density.X)
    K, D = space.n_components, space.n_features if space.n_matrices else 1
    per_row = N * K * space.n_features / D
    # Of a pass over the rows with gradient; of one that draws labels, and sums up labelled rows, one by one; of the rest of a gradient.
    gradient, labels = per_row * (1.5 * D * D + 20), per_row * (D * D + 20) + per_row / K * (6 * D * D + 60)
    rest = 60 * K * D * D * space.n_features + 30_000
    steps = np.exp([chain.steps[:, 3] for chain in chains])
    n_steps = np.minimum(np.ceil(road / steps), _compiled.MOST_STEPS).mean(0)
    return float(n_steps @ [rest, gradient + rest] + (road.labels > 0) * labels)


def _is_slow(chains: list[_Chain], q: FloatArray, heights: FloatArray) -> bool:
    """Say whether more cycles between draws would help, by all that the verdict will ask of them and that needs no labels."""
    density = chains[0].density
    params = density.space.constrain(q)
    asked = label_free(params, density.X, log_likelihood=heights, entropy=np.zeros_like(heights))
    parts = [values.to_numpy().reshape(*heights.shape, -1) for values in asked.data_vars.values()]
    travel = sum(chain.jumped for chain in chains) >= _TRAVEL
    return mix_slowly(np.concatenate([_label_free(params, heights), *parts], axis=-1), apart=np.inf if travel else APART)


def _label_free(params: MixtureParams, heights: FloatArray) -> FloatArray:
    """Return the log-density and parameters sorted by size (chains, draws, M), which labels do not matter to."""
    values = [params.weights, np.moveaxis(params.means, -2, -1), np.moveaxis(np.log(params.sds), -2, -1)]
    flat = [np.sort(value, axis=-1).reshape(*heights.shape, -1) for value in values]
    draws = np.concatenate([heights[..., None], *flat], axis=-1)
    varying: FloatArray = draws[..., np.ptp(draws, axis=(0, 1)) > 1e-12]
    return varying


def _least_ess(params: MixtureParams, heights: FloatArray) -> float:
    """Return the least effective number of draws."""
    from arviz_stats.base import array_stats

    return float(np.nanmin(array_stats.ess(_label_free(params, heights), method="bulk", chain_axis=0, draw_axis=1)))
