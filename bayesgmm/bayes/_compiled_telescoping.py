"""The telescoping sampler of a mixture whose number of components is not known, compiled.

A sweep draws the labels of all rows given the mixture; splits and merges groups; moves the parameters of every group given its rows, which
they depend on only through its count, mean and scatter; draws what the prior leaves to the data (on which scale groups are, how alike they
are); draws the number of components given the partition; and draws weights and the components without rows (Frühwirth-Schnatter,
Malsiner-Walli and Grün 2021, Bayesian Analysis 16, 1279-1307, algorithm 1).
"""

import math

import numpy as np
from numba import njit

from bayesgmm.bayes._compiled_component import (
    COMPONENTS,
    GROUPS,
    SPHERICAL,
    TIED,
    centre_of,
    draw_from_prior,
    mean_given_covariance,
    move,
    precision_in_frame,
    solve,
    to_data,
)
from bayesgmm.bayes._compiled_hmc import drawn_label, evaluate_all, sum_up
from bayesgmm.bayes._compiled_log_posterior import LOG_NORMAL, VARIANCES, unpack
from bayesgmm.bayes._compiled_split_merge import log_given_number, split_or_merge
from bayesgmm.kernels.compile import FASTMATH, compiled, never_inline
from bayesgmm.kernels.linalg import cholesky

FIXED, GAMMA, F = 0, 1, 2
"""Distributions of the concentration."""


@compiled()
def draw_common(model, problem, state, rng):
    """Draw what components have in common given those that have rows, and write it into the flat array of one component.

    That is the part that logs of standard deviations share, the factor of how alike they are, and the LKJ distribution's eta.
    """
    never_inline()
    n, D, S = state.counters[GROUPS], problem.D, problem.prior_a.shape[0]
    if model.kind == VARIANCES and model.shared > 0.0:  # the scale of a column's variances is gamma
        model.user[6] = model.constant
        for p in range(S):
            rate = model.shared / model.sd_b[p]
            for k in range(n):
                rate += math.exp(-2.0 * state.q[k, D + p])
            problem.prior_b[p] = max(rng.standard_gamma(model.shared + n * model.sd_a[p]), 1e-300) / rate
            model.user[6] += model.sd_a[p] * math.log(problem.prior_b[p] / model.sd_b[p])
    if model.factors.shape[0] > 0:
        F = model.factors.shape[0]
        heights, shared2 = np.zeros(F), model.shared * model.shared
        for f in range(F):
            for p in range(S):
                sigma = model.sd_b[p] * model.factors[f]
                off = 0.0
                for k in range(n):
                    u = (state.q[k, D + p] - model.sd_a[p]) / sigma
                    heights[f] -= 0.5 * u * u + math.log(model.factors[f])
                    off += u / sigma
                ratio = 1.0 + shared2 * n / (sigma * sigma)
                heights[f] += 0.5 * shared2 * off * off / ratio - 0.5 * math.log(ratio)
        f = _choose(heights, rng)
        constant = 0.0
        for p in range(S):
            sigma = model.sd_b[p] * model.factors[f]
            off = 0.0
            for k in range(n):
                off += (state.q[k, D + p] - model.sd_a[p]) / (sigma * sigma)
            ratio = 1.0 + shared2 * n / (sigma * sigma)
            common = shared2 * off / ratio + model.shared / math.sqrt(ratio) * rng.standard_normal()
            problem.prior_a[p] = model.sd_a[p] + common
            problem.prior_b[p] = sigma
            constant -= math.log(model.factors[f])
        model.user[6] = model.constant + constant
    E = model.etas.shape[0]
    if problem.n_matrices > 0 and E > 1:
        log_det, matrices = 0.0, 1 if model.shape == TIED else n
        row = np.empty(D)
        for k in range(matrices):
            row[:] = 1.0
            for p in range(D * (D - 1) // 2):
                v = state.q[k, D + S + p]
                row[int(problem.order[2 * p])] += v * v
            for i in range(D):
                log_det -= math.log(row[i])
        heights = np.empty(E)
        for e in range(E):
            heights[e] = matrices * model.eta_constants[e] + (model.etas[e] - 1.0) * log_det
        e = _choose(heights, rng)
        problem.etas[0], problem.eta_constants[0] = model.etas[e], model.eta_constants[e]


@njit(inline="always")
def _choose(heights, rng):
    """Draw an index by log-probabilities."""
    top, total = heights.max(), 0.0
    for e in range(heights.shape[0]):
        total += math.exp(heights[e] - top)
    u, e = rng.random() * total, 0
    u -= math.exp(heights[0] - top)
    while u > 0.0 and e < heights.shape[0] - 1:
        e += 1
        u -= math.exp(heights[e] - top)
    return e


@compiled()
def believe(model, problem, state, typical):
    """Fit the conjugate approximation to the prior of components given what these have in common.

    ``typical`` (S,) are logs of standard deviations in the middle of the prior, for priors that do not say it themselves.
    """
    never_inline()
    D, S = problem.D, problem.prior_a.shape[0]
    belief = model.belief
    mean, factor = np.empty(D), np.zeros((D, D))
    q = np.zeros(state.q.shape[1])
    q[:D] = problem.loc
    precision = 0.0
    for p in range(S):
        a, b = problem.prior_a[p], problem.prior_b[p]
        q[D + p] = typical[p]
        if problem.kind == LOG_NORMAL:
            q[D + p] = a
            precision += 0.5 / (b * b * S)
        elif problem.kind == VARIANCES:  # in one column this is no approximation
            q[D + p] = 0.5 * math.log(b / max(a - 1.0, 0.5))
            precision += 2.0 * max(a - 1.0, 0.5) / S
        else:
            precision += 1.0 / S
    to_data(q, problem, mean, factor)
    belief.mean[:] = mean
    kappa = 0.0
    for i in range(D):
        ratio = math.exp(q[D + (i if S > 1 else 0)]) / problem.scale[i]
        kappa += ratio * ratio / D
    belief.numbers[0] = min(max(kappa, 1e-3), 1.0)
    worth = min(max(precision, 1.0), 12.0)
    belief.numbers[1] = (D + 1.0 if problem.n_matrices > 0 else 2.0) + worth
    for i in range(D):
        for j in range(D):
            s = 0.0
            for m in range(min(i, j) + 1):
                s += factor[i, m] * factor[j, m]
            belief.scatter[i, j] = worth * s
    if model.shape == SPHERICAL:
        belief.numbers[1] = 2.0 + worth * D
    if model.shape == TIED:
        to_data(state.q[0], problem, mean, belief.known)


@compiled()
def _move_all(log_posterior, model, problem, state, adapting, rng):
    """Move the parameters of every group given its rows."""
    never_inline()
    groups, D = state.counters[GROUPS], problem.D
    if model.shape != TIED:
        for k in range(groups):
            n, centre, scatter = state.counts[k], state.centres[k], state.scatters[k]
            move(log_posterior, model, problem, state.q[k], n, centre, scatter, state.steps, adapting, rng)
        return
    mean, factor = np.empty(D), np.zeros((D, D))
    to_data(state.q[0], problem, mean, factor)
    precision = precision_in_frame(problem, factor)
    for k in range(groups):
        mean_given_covariance(model, problem, state.counts[k], state.centres[k], precision, mean, rng, True)
        state.q[k, :D] = mean
    # The covariance, and a shift of all means: a posterior of one component, whose rows are what all rows are away from their means.
    N, centre, scatter, d = 0.0, np.zeros(D), np.zeros((D, D)), np.empty(D)
    for k in range(groups):
        n = state.counts[k]
        to_data(state.q[k], problem, mean, factor)
        for i in range(D):
            d[i] = state.centres[k, i] - mean[i]
            centre[i] += n * d[i]
            for j in range(i + 1):
                scatter[i, j] += state.scatters[k, i, j] + n * d[i] * d[j]
        N += n
    for i in range(D):
        for j in range(i + 1):
            scatter[i, j] -= centre[i] * centre[j] / N
            scatter[j, i] = scatter[i, j]
    for i in range(D):
        centre[i] = centre[i] / N + centre_of(problem, i)
    loc, scale, q = problem.loc.copy(), problem.scale.copy(), state.q[0].copy()
    for i in range(D):
        q[i] = 0.0
        problem.loc[i] = loc[i]
        for k in range(groups):
            problem.loc[i] -= state.q[k, i] / groups
        problem.scale[i] = scale[i] / math.sqrt(groups)
    move(log_posterior, model, problem, q, N, centre, scatter, state.steps, adapting, rng)
    problem.loc[:], problem.scale[:] = loc, scale
    for k in range(groups):
        for i in range(D):
            state.q[k, i] += q[i]
        state.q[k, D:] = q[D:]


@compiled()
def _draw_number(model, state, N, rng):
    """Draw the number of components given the partition, and the concentration given both, if it is not fixed."""
    never_inline()
    groups, K_most = state.counters[GROUPS], model.log_number.shape[0] - 1
    heights = np.empty(K_most - groups + 1)
    for K in range(groups, K_most + 1):
        alpha = state.concentration[0]
        heights[K - groups] = model.log_number[K] + log_given_number(
            state.counts, groups, N, alpha / K if model.dynamic else alpha, K
        )
    K = groups + _choose(heights, rng)
    state.counters[COMPONENTS] = K
    if model.concentration[0] == FIXED:
        return
    for _ in range(2):
        now = state.concentration[0]
        new = now * math.exp(rng.standard_normal())
        share = 1.0 / K if model.dynamic else 1.0
        ratio = log_given_number(state.counts, groups, N, new * share, K) - log_given_number(
            state.counts, groups, N, now * share, K
        )
        ratio += _log_concentration(model.concentration, new) - _log_concentration(model.concentration, now)
        if math.log(rng.random()) < ratio:
            state.concentration[0] = new


@compiled()
def _log_concentration(prior, alpha):
    """Return the log-density of the log of the concentration, without constants."""
    a, b = prior[1], prior[2]
    if prior[0] == GAMMA:
        return a * math.log(alpha) - b * alpha
    return 0.5 * a * math.log(alpha) - 0.5 * (a + b) * math.log1p(a / b * alpha)


@compiled()
def _draw_weights(model, state, rng):
    """Draw the weights given counts, as logs: those of components without rows may be too small for a number."""
    never_inline()
    groups, K = state.counters[GROUPS], state.counters[COMPONENTS]
    gamma = state.concentration[0] / (K if model.dynamic else 1)
    top = -np.inf
    for k in range(K):
        a = gamma + (state.counts[k] if k < groups else 0.0)
        state.log_weights[k] = math.log(rng.standard_gamma(a + 1.0)) + math.log(rng.random()) / a
        top = max(top, state.log_weights[k])
    total = 0.0
    for k in range(K):
        total += math.exp(state.log_weights[k] - top)
    for k in range(K):
        state.log_weights[k] -= top + math.log(total)


@compiled(fastmath=FASTMATH)
def _fill(x, mean, factor, rng, out):
    """Fill what a row x (D,) lacks with a draw given what it has: Matheron's rule, a draw of all of it, moved to what was seen.

    Chiles and Delfiner (2012), Geostatistics, section 7.3.1.
    """
    never_inline()
    D = x.shape[0]
    seen, n = np.empty(D, np.int64), 0
    for d in range(D):
        if x[d] == x[d]:
            seen[n] = d
            n += 1
    for i in range(D):
        out[i] = mean[i]
    z = rng.standard_normal(D)
    for i in range(D):
        for j in range(i + 1):
            out[i] += factor[i, j] * z[j]
    A, L, r = np.zeros((n, n)), np.zeros((n, n)), np.empty(n)
    for i in range(n):
        for j in range(i + 1):
            for m in range(seen[j] + 1):
                A[i, j] += factor[seen[i], m] * factor[seen[j], m]
        r[i] = x[seen[i]] - out[seen[i]]
    cholesky(A, L)
    r = solve(L, r)
    for d in range(D):
        if x[d] == x[d]:
            out[d] = x[d]
            continue
        for i in range(n):
            s = 0.0
            for m in range(min(d, seen[i]) + 1):
                s += factor[d, m] * factor[seen[i], m]
            out[d] += s * r[i]


@compiled()
def _label(evaluate, X, gaps, filled, model, problem, state, mixture, counts, rng):
    """Draw the labels of all rows, and what they lack, and put groups with rows first; returns the log-likelihood.

    ``counts`` (most,) gets the rows of each component, in the order of before.
    """
    never_inline()
    K, D = state.counters[COMPONENTS], problem.D
    log_weights, means, factors = mixture
    responsibilities = np.empty((X.shape[0], K))
    diagonal = problem.n_matrices == 0
    total = evaluate_all(evaluate, X, log_weights[:K], means[:K], factors[:K], diagonal, responsibilities)
    uniforms = rng.random(X.shape[0])
    counts[:] = 0
    for i in range(X.shape[0]):
        k = drawn_label(responsibilities[i], uniforms[i])
        state.labels[i] = k
        counts[k] += 1
    for i in gaps:
        _fill(X[i], means[state.labels[i]], factors[state.labels[i]], rng, filled[i])
    place_of, groups = np.empty(K, np.int64), 0
    for k in range(K):
        place_of[k] = groups
        if counts[k] > 0:
            state.q[groups] = state.q[k]
            means[groups] = means[k]
            groups += 1
    for i in range(X.shape[0]):
        state.labels[i] = place_of[state.labels[i]]
    state.counters[GROUPS] = groups
    numbers = np.empty(groups * (1 + D + D * D))
    sum_up(filled, state.labels, np.empty((0, 0)), means[:groups], False, numbers)
    state.counts[:groups] = numbers[:groups]
    state.centres[:groups] = numbers[groups : groups * (1 + D)].reshape((groups, D))
    state.scatters[:groups] = numbers[groups * (1 + D) :].reshape((groups, D, D))
    return total


@compiled()
def sweeps(
    log_posterior,
    evaluate,
    X,
    gaps,
    filled,
    model,
    state,
    typical,
    attempts,
    thin,
    adapting,
    rng,
    numbers,
    counts,
    weights,
    means,
    factors,
):
    """Run sweeps, and keep the mixture of every so many of them.

    Parameters
    ----------
    log_posterior, evaluate : functions
        The density of one component, and the pass over rows, where they lie.
    X, filled : arrays of shape (N, D)
        Rows, and the same with what they lack filled in; one array, if they lack nothing.
    gaps : array of shape (G,)
        Which rows lack something.
    model : Model
    state : State
        Changed.
    typical : array of shape (S,)
        As for :func:`believe`.
    attempts : int
        Splits and merges proposed in a sweep.
    thin : int
    adapting : bool
    rng : numpy.random.Generator
    numbers : array of shape (draws, 4)
        Gets log-likelihood, components, components with rows, and concentration of each kept mixture.
    counts : int array of shape (draws, most)
        Gets the rows of each component.
    weights, means, factors : arrays of shape (draws, most), (draws, most, D) and (draws, most, D, D)
        Get the kept mixtures; what is beyond their components stays.
    """
    never_inline()
    N, D = X.shape
    problem = unpack(model.user)
    K_most = state.q.shape[0]
    place_means, place_factors = np.zeros((K_most, D)), np.zeros((K_most, D, D))
    rows = np.empty(N, np.int64)
    for t in range(numbers.shape[0] * thin):
        K = state.counters[COMPONENTS]
        for k in range(K):
            to_data(state.q[k], problem, place_means[k], place_factors[k])
        kept = t // thin
        keeping = t % thin == thin - 1
        if keeping:
            numbers[kept, 1], numbers[kept, 3] = K, state.concentration[0]
            for k in range(K):
                weights[kept, k] = math.exp(state.log_weights[k])
                means[kept, k] = place_means[k]
                factors[kept, k] = place_factors[k]
        height = _label(
            evaluate, X, gaps, filled, model, problem, state, (state.log_weights, place_means, place_factors), counts[kept], rng
        )
        if keeping:
            numbers[kept, 0], numbers[kept, 2] = height, state.counters[GROUPS]
        draw_common(model, problem, state, rng)
        believe(model, problem, state, typical)
        for _ in range(attempts):
            split_or_merge(log_posterior, filled, model, problem, state, rows, rng)
        _move_all(log_posterior, model, problem, state, adapting, rng)
        draw_common(model, problem, state, rng)
        _draw_number(model, state, N, rng)
        _draw_weights(model, state, rng)
        for k in range(state.counters[GROUPS], state.counters[COMPONENTS]):
            draw_from_prior(problem, state.q[k], model.shape != TIED, rng)
            if model.shape == TIED:
                state.q[k, D:] = state.q[0, D:]
