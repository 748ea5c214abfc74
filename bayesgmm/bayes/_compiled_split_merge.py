"""Splits and merges of groups of rows, proposed one row after the other from a conjugate approximation to the model, compiled.

Two rows are drawn at random. If they are of one group, its other rows are dealt out between the two, in random order, each by what a
normal-inverse-Wishart model predicts from the rows dealt out before it; if they are of two groups, these are merged, and the probability
of dealing them out again is that of the way back (Dahl 2005, Sequentially-allocated merge-split sampler; Jain and Neal 2004, Journal of
Computational and Graphical Statistics 13, 158-182).
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from bayesgmm.bayes._compiled_component import (
    ACCEPTED,
    DIAGONAL,
    FULL,
    GROUPS,
    PROMISING,
    PROPOSED,
    SPHERICAL,
    TIED,
    approximate,
    log_evidence,
    mean_given_covariance,
    precision_in_frame,
)
from bayesgmm.kernels.compile import FASTMATH, compiled, never_inline
from bayesgmm.kernels.linalg import cholesky


@compiled()
def log_partition(counts, n_groups, N, alpha, dynamic, log_number):
    """Return the log-probability of a partition of N rows into groups of these sizes, all numbers of components summed out."""
    never_inline()
    top, total, of_counts = -np.inf, 0.0, 0.0
    for K in range(n_groups, log_number.shape[0]):
        gamma = alpha / K if dynamic else alpha
        if dynamic or n_groups == K:
            of_counts = _log_of_counts(counts, n_groups, gamma)
        term = log_number[K] + _log_of_number(n_groups, N, gamma, K) + of_counts
        if term > top:
            total = total * math.exp(top - term) + 1.0
            top = term
        elif term > -np.inf:
            total += math.exp(term - top)
    return top + math.log(total)


@compiled()
def log_given_number(counts, n_groups, N, gamma, K):
    """Return the log-probability of a partition given K components with weights from a symmetric Dirichlet distribution."""
    return _log_of_number(n_groups, N, gamma, K) + _log_of_counts(counts, n_groups, gamma)


@njit(inline="always")
def _log_of_number(n_groups, N, gamma, K):
    return math.lgamma(K + 1.0) - math.lgamma(K - n_groups + 1.0) + math.lgamma(gamma * K) - math.lgamma(N + gamma * K)


@njit(inline="always")
def _log_of_counts(counts, n_groups, gamma):
    value = -n_groups * math.lgamma(gamma)
    for k in range(n_groups):
        value += math.lgamma(counts[k] + gamma)
    return value


@njit(inline="always")
def _begin(belief, mean, factor):
    """Fill what is believed of a group without rows; return the log of the determinant of the scale matrix."""
    D = mean.shape[0]
    mean[:] = belief.mean
    log_det = 0.0
    if belief.shape == FULL:
        cholesky(belief.scatter, factor)
        for i in range(D):
            log_det += 2.0 * math.log(factor[i, i])
    elif belief.shape == TIED:
        factor[:] = belief.known
        for i in range(D):
            log_det += 2.0 * math.log(factor[i, i])
    elif belief.shape == DIAGONAL:
        for i in range(D):
            factor[i, i] = belief.scatter[i, i]
            log_det += math.log(factor[i, i])
    else:
        factor[0, 0] = 0.0
        for i in range(D):
            factor[0, 0] += belief.scatter[i, i]
        log_det = D * math.log(factor[0, 0])
    return log_det


@njit(inline="always")
def _log_predictive(shape, x, mean, factor, kappa, df, log_det, log_gammas, z):
    """Return the log-density (up to a constant) of a row x given the rows before it, and by what the determinant then grows, as a log.

    ``log_gammas`` is what its normalising constant has of the degrees of freedom; z (D,) is filled on the way.
    """
    D = x.shape[0]
    c = kappa / (kappa + 1.0)
    if shape in (FULL, TIED):
        square = 0.0
        for i in range(D):
            s = x[i] - mean[i]
            for j in range(i):
                s -= factor[i, j] * z[j]
            z[i] = s / factor[i, i]
            square += z[i] * z[i]
        if shape == TIED:
            return 0.5 * D * math.log(c) - 0.5 * c * square, 0.0
        own = df - D + 1.0
        grown = math.log1p(c * square)
        return log_gammas + 0.5 * D * math.log(c) - 0.5 * log_det - 0.5 * (own + D) * grown, grown
    if shape == DIAGONAL:
        grown = 0.0
        for i in range(D):
            d = x[i] - mean[i]
            grown += math.log1p(c * d * d / factor[i, i])
        return log_gammas + 0.5 * D * math.log(c) - 0.5 * log_det - 0.5 * (df + 1.0) * grown, grown
    square = 0.0
    for i in range(D):
        d = x[i] - mean[i]
        square += d * d
    grown = math.log1p(c * square / factor[0, 0])
    return log_gammas + 0.5 * D * math.log(c) - 0.5 * log_det - 0.5 * (df + D) * grown, D * grown


@njit(inline="always")
def _log_gammas(shape, df, D):
    """Return what the normalising constant of a row's density has of the degrees of freedom."""
    if shape == FULL:
        return math.lgamma(0.5 * (df + 1.0)) - math.lgamma(0.5 * (df - D + 1.0))
    if shape == DIAGONAL:
        return D * (math.lgamma(0.5 * (df + 1.0)) - math.lgamma(0.5 * df))
    if shape == SPHERICAL:
        return math.lgamma(0.5 * (df + D)) - math.lgamma(0.5 * df)
    return 0.0


@njit(inline="always")
def _log_gammas_later(shape, before, df, D):
    """Return the same for two degrees of freedom more: by Gamma(x + 1) = x Gamma(x)."""
    if shape == FULL:
        return before + math.log((df + 1.0) / (df - D + 1.0))
    if shape == DIAGONAL:
        return before + D * math.log((df + 1.0) / df)
    if shape == SPHERICAL:
        return before + math.log((df + D) / df)
    return 0.0


@njit(inline="always")
def _add_row(shape, x, mean, factor, kappa, z):
    """Update what is believed of a group by a row x."""
    D = x.shape[0]
    c = kappa / (kappa + 1.0)
    if shape == FULL:  # a rank-one update of the Cholesky factor
        root = math.sqrt(c)
        for i in range(D):
            z[i] = root * (x[i] - mean[i])
        for j in range(D):
            r = math.sqrt(factor[j, j] * factor[j, j] + z[j] * z[j])
            cosine, sine = r / factor[j, j], z[j] / factor[j, j]
            factor[j, j] = r
            for i in range(j + 1, D):
                factor[i, j] = (factor[i, j] + sine * z[i]) / cosine
                z[i] = cosine * z[i] - sine * factor[i, j]
    elif shape == DIAGONAL:
        for i in range(D):
            d = x[i] - mean[i]
            factor[i, i] += c * d * d
    elif shape == SPHERICAL:
        for i in range(D):
            d = x[i] - mean[i]
            factor[0, 0] += c * d * d
    for i in range(D):
        mean[i] += (x[i] - mean[i]) / (kappa + 1.0)


@compiled()
def log_marginal(belief, n, mean, scatter):
    """Return the log marginal likelihood of n rows with a mean (D,) and a scatter (D, D) about it, under a conjugate model.

    Gelman, Carlin, Stern, Dunson, Vehtari and Rubin (2013), Bayesian Data Analysis, section 3.6. Not for `TIED` covariances.
    """
    never_inline()
    D = mean.shape[0]
    before, df = belief.numbers[0], belief.numbers[1]
    after = before + n
    c = before * n / after
    value = 0.5 * D * (math.log(before / after) - n * math.log(math.pi))
    if belief.shape == FULL:
        A, L = np.empty((D, D)), np.zeros((D, D))
        for i in range(D):
            for j in range(i + 1):
                A[i, j] = belief.scatter[i, j] + scatter[i, j] + c * (mean[i] - belief.mean[i]) * (mean[j] - belief.mean[j])
        cholesky(belief.scatter, L)
        for i in range(D):
            value += df * math.log(L[i, i])
        cholesky(A, L)
        for i in range(D):
            value -= (df + n) * math.log(L[i, i])
            value += math.lgamma(0.5 * (df + n - i)) - math.lgamma(0.5 * (df - i))
        return value
    if belief.shape == DIAGONAL:
        for i in range(D):
            d = mean[i] - belief.mean[i]
            value += 0.5 * df * math.log(belief.scatter[i, i])
            value -= 0.5 * (df + n) * math.log(belief.scatter[i, i] + scatter[i, i] + c * d * d)
        return value + D * (math.lgamma(0.5 * (df + n)) - math.lgamma(0.5 * df))
    own = all_ = 0.0
    for i in range(D):
        d = mean[i] - belief.mean[i]
        own += belief.scatter[i, i]
        all_ += belief.scatter[i, i] + scatter[i, i] + c * d * d
    value += 0.5 * df * math.log(own) - 0.5 * (df + n * D) * math.log(all_)
    return value + math.lgamma(0.5 * (df + n * D)) - math.lgamma(0.5 * df)


@compiled(fastmath=FASTMATH)
def deal(X, rows, first, second, belief, sides, rng, given):
    """Deal rows out between two that are apart, or return how probable it is that they are dealt out as they are.

    Parameters
    ----------
    X : array of shape (N, D)
    rows : array of shape (n,)
        Numbers of the other rows, in the order in which they are dealt out.
    first, second : int
        The two rows apart.
    sides : array of shape (n,)
        Zero for a row that goes to the first, one for the second; filled, unless they are ``given``.
    rng : numpy.random.Generator
    given : bool

    Returns
    -------
    float
        The log-probability of the sides.
    """
    never_inline()
    D = X.shape[1]
    means, factors, z = np.empty((2, D)), np.zeros((2, D, D)), np.empty((2, D))
    log_det, kappa, df, n = np.empty(2), np.empty(2), np.empty(2), np.ones(2)
    log_gammas = np.empty((2, 2))  # at the degrees of freedom of now, and after one row more
    shape = belief.shape
    per_row = D if shape == SPHERICAL else 1
    for s in range(2):
        log_det[s] = _begin(belief, means[s], factors[s])
        kappa[s], df[s] = belief.numbers[0], belief.numbers[1]
        x = X[first if s == 0 else second]
        grown = _log_predictive(shape, x, means[s], factors[s], kappa[s], df[s], log_det[s], 0.0, z[s])[1]
        _add_row(shape, x, means[s], factors[s], kappa[s], z[s])
        log_det[s] += grown
        kappa[s] += 1.0
        df[s] += per_row
        for m in range(2):
            log_gammas[s, m] = _log_gammas(shape, df[s] + m * per_row, D)
    total = 0.0
    for t in range(rows.shape[0]):
        x = X[rows[t]]
        a, grown_a = _log_predictive(shape, x, means[0], factors[0], kappa[0], df[0], log_det[0], log_gammas[0, 0], z[0])
        b, grown_b = _log_predictive(shape, x, means[1], factors[1], kappa[1], df[1], log_det[1], log_gammas[1, 0], z[1])
        difference = b - a + math.log(n[1] / n[0])  # log odds of the second
        if not given:
            u = rng.random()
            sides[t] = 1 if math.log(u / (1.0 - u)) < difference else 0
        s = sides[t]
        total -= math.log1p(math.exp(-difference if s == 1 else difference))
        _add_row(shape, x, means[s], factors[s], kappa[s], z[s])
        if per_row == 1:
            later = _log_gammas_later(shape, log_gammas[s, 0], df[s], D)
            log_gammas[s, 0], log_gammas[s, 1] = log_gammas[s, 1], later
        else:
            log_gammas[s, 0] = _log_gammas(shape, df[s] + per_row, D)
        log_det[s] += grown_b if s == 1 else grown_a
        kappa[s] += 1.0
        df[s] += per_row
        n[s] += 1.0
    return total


@compiled()
def _members(labels, k, one, other, rows):
    """Fill the rows of group k but for two; returns how many there are."""
    n = 0
    for i in range(labels.shape[0]):
        if labels[i] == k and i != one and i != other:
            rows[n] = i
            n += 1
    return n


@compiled()
def _shuffle(rows, rng):
    for i in range(rows.shape[0] - 1, 0, -1):
        j = rng.integers(0, i + 1)
        rows[i], rows[j] = rows[j], rows[i]


@compiled()
def _sum_up_side(X, rows, sides, side, also, centre, scatter):
    """Fill the mean (D,) and the scatter (D, D) of the rows on one side, and one more; returns how many they are."""
    never_inline()
    D = X.shape[1]
    origin, x = X[also], np.empty(D)
    centre[:], scatter[:] = 0.0, 0.0
    count = 1.0
    for t in range(rows.shape[0]):
        if sides[t] != side:
            continue
        count += 1.0
        for d in range(D):
            x[d] = X[rows[t], d] - origin[d]
            centre[d] += x[d]
            for e in range(d + 1):
                scatter[d, e] += x[d] * x[e]
    for d in range(D):
        for e in range(d + 1):
            scatter[d, e] -= centre[d] * centre[e] / count
            scatter[e, d] = scatter[d, e]
    for d in range(D):
        centre[d] = origin[d] + centre[d] / count
    return count


@compiled()
def split_or_merge(log_posterior, X, model, problem, state, rows, rng):
    """Propose to split one group or to merge two.

    In two stages (Christen and Fox 2005, Journal of Computational and Graphical Statistics 14, 795-810): the conjugate model, whose
    marginal likelihoods are known, decides which proposals are worth parameters; these are drawn from approximations about their modes.

    Parameters
    ----------
    log_posterior : function
        The density of one component, where it lies.
    X : array of shape (N, D)
    model : Model
    problem : Problem
        What ``model.user`` holds.
    state : State
        Changed, if the proposal is accepted.
    rows : array of shape (N,)
        Room for the numbers of rows.
    rng : numpy.random.Generator
    """
    never_inline()
    N, groups = X.shape[0], state.counters[GROUPS]
    i = rng.integers(0, N)
    j = rng.integers(0, N - 1)
    j += 1 if j >= i else 0
    a, b = state.labels[i], state.labels[j]
    splitting = a == b
    if splitting and groups == model.log_number.shape[0] - 1:
        return
    state.counters[PROPOSED] += 1
    n = _members(state.labels, a, i, j, rows)
    if not splitting:
        n += _members(state.labels, b, i, j, rows[n:])
    rows = rows[:n]
    _shuffle(rows, rng)
    sides = np.empty(n, np.int8)
    for t in range(n):
        sides[t] = 0 if state.labels[rows[t]] == a else 1
    log_dealt = deal(X, rows, i, j, model.belief, sides, rng, not splitting)
    parts = _parts(X, state, rows, sides, i, j, splitting)
    counts = state.counts.copy()
    counts[a] = parts.counts[0 if splitting else 2]
    counts[groups if splitting else b] = parts.counts[1] if splitting else counts[groups - 1]  # which may be a
    after = groups + 1 if splitting else groups - 1
    alpha = state.concentration[0]
    prior = log_partition(counts, after, N, alpha, model.dynamic, model.log_number)
    prior -= log_partition(state.counts, groups, N, alpha, model.dynamic, model.log_number)
    new = np.empty((2, state.q.shape[1]))
    new[0] = new[1] = state.q[a]
    judge = (parts, a, b, splitting, prior, log_dealt, new)
    if model.shape == TIED:
        accepted = _judge_means(model, problem, state, judge, rng)
    else:
        accepted = _judge_components(log_posterior, model, problem, state, judge, rng)
    if accepted:
        state.counters[ACCEPTED] += 1
        state.counters[GROUPS] = after
        if splitting:
            _write_split(state, parts, new, rows, sides, a, j)
        else:
            _write_merger(state, parts, new[0], rows, a, b, j)


class Parts(NamedTuple):
    """Counts (3,), centres (3, D) and scatters (3, D, D) of the rows on both sides, and of all together."""

    counts: np.ndarray
    centres: np.ndarray
    scatters: np.ndarray


@njit(inline="always")
def _parts(X, state, rows, sides, i, j, splitting):
    """Return what there is to know of the two sides, whose rows apart are i and j."""
    D = X.shape[1]
    a, b = state.labels[i], state.labels[j]
    parts = Parts(np.empty(3), np.empty((3, D)), np.empty((3, D, D)))
    counts, centres, scatters = parts
    if splitting:
        for s in range(2):
            counts[s] = _sum_up_side(X, rows, sides, s, i if s == 0 else j, centres[s], scatters[s])
        counts[2], centres[2], scatters[2] = state.counts[a], state.centres[a], state.scatters[a]
        return parts
    for s in range(2):
        k = a if s == 0 else b
        counts[s], centres[s], scatters[s] = state.counts[k], state.centres[k], state.scatters[k]
    counts[2] = counts[0] + counts[1]
    c = counts[0] * counts[1] / counts[2]
    for d in range(D):
        centres[2, d] = (counts[0] * centres[0, d] + counts[1] * centres[1, d]) / counts[2]
        for e in range(D):
            between = (centres[0, d] - centres[1, d]) * (centres[0, e] - centres[1, e])
            scatters[2, d, e] = scatters[0, d, e] + scatters[1, d, e] + c * between
    return parts


@compiled()
def _judge_means(model, problem, state, judge, rng):
    """Accept or reject where all groups have one covariance: given that, the likelihood without the means is known, and so are these."""
    never_inline()
    parts, _, _, splitting, prior, log_dealt, new = judge
    mean, precision = np.empty(problem.D), precision_in_frame(problem, model.belief.known)
    ratio = -log_dealt
    for s in range(3):
        # Scatters about the centres, with the squares of these, add up to the same however the rows are dealt out.
        value = mean_given_covariance(model, problem, parts.counts[s], parts.centres[s], precision, mean, rng, False)
        ratio += value if s < 2 else -value
    if not math.log(rng.random()) < (ratio if splitting else -ratio) + prior:
        return False
    state.counters[PROMISING] += 1
    for s in range(2):
        which = s if splitting else 2
        mean_given_covariance(model, problem, parts.counts[which], parts.centres[which], precision, mean, rng, True)
        new[s, : problem.D] = mean
    return True


@compiled()
def _judge_components(log_posterior, model, problem, state, judge, rng):
    """Accept or reject where every group has a covariance of its own, in two stages."""
    never_inline()
    parts, a, b, splitting, prior, log_dealt, new = judge
    sign = 1.0 if splitting else -1.0
    first = -log_dealt
    for s in range(3):
        value = log_marginal(model.belief, parts.counts[s], parts.centres[s], parts.scatters[s])
        first += value if s < 2 else -value
    # Half of what the conjugate model says: where it errs, what it turns down is lost.
    first = 0.5 * (sign * first + prior)
    if not math.log(rng.random()) < first:
        return False
    state.counters[PROMISING] += 1
    ratio = -log_dealt
    for s in range(3):
        proposed = splitting == (s < 2)
        q = new[s if s < 2 else 0] if proposed else state.q[b if s == 1 else a]
        approximation = approximate(log_posterior, model, problem, parts.counts[s], parts.centres[s], parts.scatters[s], q.shape[0])
        value = log_evidence(log_posterior, approximation, model, problem, q, proposed, rng)
        ratio += value if s < 2 else -value
    return math.log(rng.random()) < sign * ratio + prior - first


@compiled()
def _write_split(state, parts, new, rows, sides, a, j):
    """Give the second side of group a to a group of its own."""
    never_inline()
    last = state.counters[GROUPS] - 1
    for s in range(2):
        k = a if s == 0 else last
        state.q[k] = new[s]
        state.counts[k], state.centres[k], state.scatters[k] = parts.counts[s], parts.centres[s], parts.scatters[s]
    for t in range(rows.shape[0]):
        if sides[t] == 1:
            state.labels[rows[t]] = last
    state.labels[j] = last


@compiled()
def _write_merger(state, parts, new, rows, a, b, j):
    """Give group a the rows of group b, and the last group the place of that."""
    never_inline()
    last = state.counters[GROUPS]
    state.q[a] = new
    state.counts[a], state.centres[a], state.scatters[a] = parts.counts[2], parts.centres[2], parts.scatters[2]
    for row in rows:
        state.labels[row] = a
    state.labels[j] = a
    if b == last:
        return
    state.q[b], state.counts[b] = state.q[last], state.counts[last]
    state.centres[b], state.scatters[b] = state.centres[last], state.scatters[last]
    for t in range(state.labels.shape[0]):
        if state.labels[t] == last:
            state.labels[t] = b
