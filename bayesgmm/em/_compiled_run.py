"""EM compiled: a run per call, on the calling thread, so that threads can share out starts, models or replicates.

Fits to small data make thousands of short iterations, and between two E-steps of the kernel there must be no Python. The E-step and the
family's M-step are called where they lie (:class:`bayesgmm.kernels.compile.Pointer`): the run is compiled once for all families,
without a copy of either inside.
"""

import math

import numpy as np

from bayesgmm.covariance import A_FEW, TO_THE_END
from bayesgmm.kernels.compile import FASTMATH, compiled, never_inline
from bayesgmm.kernels.linalg import cholesky, is_above, lower_product, squared

RUNNING, CONVERGED, OUT_OF_ITERATIONS, COLLAPSED, FELL = 0, 1, 2, 3, 4
STATUS = ("running", "converged", "max_iter", "collapsed", "fell")
"""What these are called outside."""
EMPTY = 10 * np.finfo(float).eps
"""The least expected number of rows that anything is divided by: a component with fewer keeps its old shape."""
NOTHING = 1e-4
"""A gain of so little, relative to what is worth an iteration, is none."""
CLEAR = 1000 * np.finfo(float).eps
"""A gain of so little, relative to the log-likelihood, is none: below it rounding would decide what a run does next."""
FALL = 1e-8
"""A log-likelihood may fall by this much of itself, or by this much per row, from rounding alone."""
STEADY = 0.02
SLOW = 1.0
"""Nats: where an iteration gains less, the basin is decided and extrapolation cannot leave it."""
CONFIRM = 5
"""Plain steps after an extrapolation before its end is believed: what it stirred up dies first, and hides a slow climb. They also carry
parameters closer to the maximum than log-likelihoods can tell."""
LONGEST = 1e4
LONGEST_FIRST = 4.0
"""How far the first extrapolation may go, in iterations."""
ROWS = 7
CURRENT, TRIAL, PAST, SUMS, SUMS_THERE = np.array([0, 1, 2, 5, 6])  # plain numbers are types of their own to numba
"""Rows of a run's memory: mixture, extrapolated mixture, three plain steps, the E-step's sums at the mixture and at the extrapolated one.

A mixture is a row of numbers: log weights (K), means (K x D), Cholesky factors (K x D x D); so are counts, first and second moments.
"""
_TINY = np.finfo(float).tiny


@compiled()
def _parts(row, W, K, D):
    """Return a row as W log weights, means (K, D) and factors (K, D, D), or as counts and moments: views, not copies."""
    first, second = W, W + K * D
    return row[:first], row[first:second].reshape((K, D)), row[second:].reshape((K, D, D))


@compiled()
def _copy(memory, source, target):
    """Copy a row of the memory to another."""
    never_inline()
    for i in range(memory.shape[1]):
        memory[target, i] = memory[source, i]


@compiled(fastmath=FASTMATH)
def _move(n, first, scale_tril, diagonal, mean):
    """Move a component's mean (D,) by its first moment (D,), which is in coordinates whitened by its factor; that is centred after it."""
    D = len(mean)
    for j in range(D):
        first[j] /= n
    for i in range(D):
        for j in range(i if diagonal else 0, i + 1):
            mean[i] += scale_tril[i, j] * first[j]


@compiled(fastmath=FASTMATH)
def _scatter(n, shift, second, inside, diagonal, half, scatter):
    """Fill a component's scatter about its new mean: its second moment (D, D), turned back by the factor ``inside``."""
    D = len(shift)
    if diagonal:
        for d in range(D):
            scatter[d, d] = inside[d, d] ** 2 * (second[d, d] - n * shift[d] * shift[d])
        return
    for i in range(D):
        for m in range(D):
            s = 0.0
            for j in range(i + 1):
                s += inside[i, j] * (second[j, m] - n * shift[j] * shift[m])
            half[i, m] = s
    for i in range(D):
        for j in range(i + 1):
            s = 0.0
            for m in range(j + 1):
                s += half[i, m] * inside[j, m]
            scatter[i, j] = s
            scatter[j, i] = s


@compiled(fastmath=FASTMATH)
def _turned(n, shift, second, inside, floor, half, factor, out):
    """Fill a free covariance's factor: that of its whitened moments, turned back; says whether it keeps the bound without help.

    No covariance matrix is formed, so nothing is lost where columns are nearly collinear.
    """
    D = len(shift)
    for i in range(D):
        for j in range(i + 1):
            half[i, j] = second[i, j] / n - shift[i] * shift[j]
    if not cholesky(half, factor):
        return False
    lower_product(inside, factor, out)
    return floor == 0.0 or is_above(out, floor)


@compiled(fastmath=FASTMATH)
def m_step(sums, mixture, update, variant, diagonal, free, inward, outward, ridge, floor, inside, rounds):
    """Overwrite a mixture by the one that maximises the expected complete-data log-likelihood; says whether there is one.

    ``inside`` (K, D, D) are the covariances' factors in the units of the floor, to which ``inward`` (D, D) leads and from which
    ``outward`` leads back, both lower triangular. The family's M-step takes place there, in so many ``rounds`` where it has no formula;
    where every covariance is ``free``, each is found on its own.
    """
    never_inline()
    K, D, _ = inside.shape
    counts, first, second = _parts(sums, K, K, D)
    log_weights, means, scale_tril = _parts(mixture, K, K, D)
    total = 0.0
    for k in range(K):
        counts[k] = max(counts[k], EMPTY)
        total += counts[k]
    scatter, covariances, previous, half = np.zeros((K, D, D)), np.empty((K, D, D)), np.empty((K, D, D)), np.empty((D, D))
    turned, factor = np.zeros((D, D)), np.zeros((D, D))
    for k in range(K):
        log_weights[k] = math.log(counts[k] / total)
        _move(counts[k], first[k], scale_tril[k], diagonal, means[k])
        if free and ridge == 0.0 and _turned(counts[k], first[k], second[k], inside[k], floor, half, factor, turned):
            for i in range(D):
                for j in range(i + 1):
                    inside[k, i, j] = turned[i, j]
            lower_product(outward, inside[k], scale_tril[k])
            continue
        _scatter(counts[k], first[k], second[k], inside[k], diagonal, half, scatter[k])
        squared(inside[k], previous[k])
        for i in range(D if ridge > 0.0 else 0):  # inside the scatters it keeps every family in itself
            for j in range(D):
                for m in range(min(i, j) + 1):
                    scatter[k, i, j] += ridge * counts[k] * inward[i, m] * inward[j, m]
        if free:
            one = slice(k, k + 1)
            update(scatter[one], counts[one], previous[one], rounds, variant, floor, covariances[one])
            if not cholesky(covariances[k], inside[k]):
                return False
            lower_product(outward, inside[k], scale_tril[k])
    if free:
        return True
    update(scatter, counts, previous, rounds, variant, floor, covariances)
    for k in range(K):
        if not cholesky(covariances[k], inside[k]):
            return False
        lower_product(outward, inside[k], scale_tril[k])
    return True


@compiled()
def is_nothing(gain, value, enough):
    """Say whether a gain, to a log-likelihood of ``value``, is none.

    The least gain that counts is still many times what rounding makes of the log-likelihood, so that runs whose sums were taken in another
    order (in chunks, by threads) take the same steps and end after the same one. Parameters can be told apart far beyond the place
    where log-likelihoods cannot: runs that rounding ends at different steps would differ by some 1e-8.
    """
    return gain <= max(NOTHING * enough, CLEAR * abs(value))


@compiled()
def seems_still(first, before, gain, value, enough):
    """Say whether less than ``enough`` is left to gain after three gains in a row, the last of them ``gain`` and to ``value``.

    Gains of linear convergence are a geometric series, whose rest is known from two of its terms (Aitken; Boehning, Dietz, Schaub,
    Schlattmann and Lindsay 1994, Annals of the Institute of Statistical Mathematics 46, 373-388). While their ratio still rises, faster
    components of the error die out and the slowest has yet to show itself: that takes a third term to see.
    """
    if is_nothing(gain, value, enough):
        return True
    if not (gain < before and before < first):
        return False
    rate = gain / before
    return rate < before / first + STEADY and gain * rate < (1.0 - rate) * enough


@compiled()
def iterations_worth(gained, last_gain, gain_before):
    """Return how many iterations would have gained as much, each gaining the same share of the one before."""
    rate = last_gain / gain_before if gain_before > 0.0 else 0.0
    if not (rate > 0.0 and rate < 1.0):
        return 1.0
    rest = 1.0 - gained * (1.0 - rate) / (last_gain * rate)
    return math.log(max(rest, 1e-6)) / math.log(rate)


@compiled()
def _solve(factor, columns):
    """Overwrite columns (D, n) by ``factor^-1`` times them, for a lower triangular factor (D, D)."""
    for j in range(columns.shape[1]):
        for i in range(len(factor)):
            s = columns[i, j]
            for m in range(i):
                s -= factor[i, m] * columns[m, j]
            columns[i, j] = s / factor[i, i]


@compiled()
def _coordinates(row, base, W, K, D, out):
    """Fill a mixture's coordinates: W log weights, then means and Cholesky factors in the base's own units, diagonals as logs."""
    never_inline()
    for i in range(len(row)):
        out[i] = row[i] - base[i] if i < W + K * D else row[i]
    _, means, factors = _parts(out, W, K, D)
    for k in range(K):
        unit = _parts(base, W, K, D)[2][k]
        _solve(unit, means[k].reshape((D, 1)))
        _solve(unit, factors[k])
        for j in range(D):
            factors[k, j, j] = math.log(max(factors[k, j, j], _TINY))


@compiled()
def _from_coordinates(point, base, W, K, D, out):
    """Undo :func:`_coordinates`; the weights are made to add up to one, and so are the diagonals not beyond all measure."""
    never_inline()
    top, total = -np.inf, 0.0
    for k in range(W):
        top = max(top, point[k] + base[k])
    for k in range(W):
        total += math.exp(point[k] + base[k] - top)
    for k in range(W):
        out[k] = point[k] + base[k] - top - math.log(total)
    _, means, factors = _parts(out, W, K, D)
    _, shifts, stretches = _parts(point, W, K, D)
    _, centres, units = _parts(base, W, K, D)
    for k in range(K):
        for j in range(D):
            stretches[k, j, j] = math.exp(min(max(stretches[k, j, j], -50.0), 50.0))
        for i in range(D):
            means[k, i] = centres[k, i]
            for j in range(D):
                means[k, i] += units[k, i, j] * shifts[k, j] if j <= i else 0.0
                factors[k, i, j] = 0.0
                for m in range(j, i + 1):
                    factors[k, i, j] += units[k, i, m] * stretches[k, m, j]


@compiled()
def squarem(first, second, third, longest, W, K, D, out):
    """Fill in where two steps lead if they go on as they began; returns the length in steps, 0 where that is no further than they went.

    Varadhan and Roland (2008), Scandinavian Journal of Statistics 35, 335-353. All four mixtures are rows of numbers, of which the first
    W are log weights: one more than components where there is noise.
    """
    never_inline()
    a, b, c = np.empty_like(out), np.empty_like(out), np.empty_like(out)
    _coordinates(first, first, W, K, D, a)
    _coordinates(second, first, W, K, D, b)
    _coordinates(third, first, W, K, D, c)
    rr = vv = 0.0
    for i in range(len(a)):
        r = b[i] - a[i]
        v = c[i] - b[i] - r
        rr += r * r
        vv += v * v
    length = min(math.sqrt(rr / vv), longest) if vv > 0.0 else 0.0
    if not (length > 1.0 and length < np.inf):
        return 0.0
    for i in range(len(a)):
        r = b[i] - a[i]
        a[i] += 2.0 * length * r + length * length * (c[i] - b[i] - r)
    _from_coordinates(a, first, W, K, D, out)
    return length


@compiled()
def _enter(mixture, inward, floor, inside):
    """Fill the factors (K, D, D) in the units of the floor; says whether all their eigenvalues are at least the floor."""
    never_inline()
    K, D, _ = inside.shape
    scale_tril = _parts(mixture, K, K, D)[2]
    allowed, matrix, factor = True, np.empty((D, D)), np.empty((D, D))
    for k in range(K):
        lower_product(inward, scale_tril[k], inside[k])
        if floor > 0.0 and allowed:  # they are if there is a factor of what is left without it
            squared(inside[k], matrix)
            for d in range(D):
                matrix[d, d] -= floor
            allowed = cholesky(matrix, factor)
    return allowed


@compiled()
def _sums(e_step, X, weight, mixture, diagonal, K, D, out):
    """Make the E-step and overwrite a row by its counts and moments; returns the log-likelihood."""
    never_inline()
    log_weights, means, scale_tril = _parts(mixture, K, K, D)
    value, counts, first, second, _ = e_step(X, weight, log_weights, means, scale_tril, diagonal)
    own_counts, own_first, own_second = _parts(out, K, K, D)
    for k in range(K):
        own_counts[k] = counts[k]
        for i in range(D):
            own_first[k, i] = first[k, i]
            for j in range(D):
                own_second[k, i, j] = second[k, i, j]
    return value


@compiled()
def stands_still(trace, n, plain, waits, aitken, enough):
    """Say whether nothing is left to gain that is worth an iteration, after ``n`` of them, the last ``plain`` of them steps of EM alone.

    Without Aitken's rule it is scikit-learn's, which looks at the gain of the iteration before and has then made one more. With it a slow
    climb with small gains is not taken for its end.
    """
    never_inline()
    if not aitken:
        return n >= 2 and abs(trace[n - 1] - trace[n - 2]) < enough
    return (plain >= CONFIRM or not waits) and _seems_still_after(trace, n, plain, enough)


@compiled()
def _seems_still_after(trace, n, plain, enough):
    """Ask :func:`seems_still` about the last three gains, if there were three plain steps."""
    if plain < 3:
        return False
    gain, before = trace[n] - trace[n - 1], trace[n - 1] - trace[n - 2]
    return seems_still(trace[n - 2] - trace[n - 3], before, gain, trace[n], enough)


@compiled()
def is_worth_a_jump(trace, n, plain, enough):
    """Say whether to extrapolate: after two slow steps, if another iteration is not known to be in vain."""
    never_inline()
    if plain < 2 or trace[n] - trace[n - 1] > SLOW:
        return False
    return not (is_nothing(trace[n] - trace[n - 1], trace[n], enough) or _seems_still_after(trace, n, plain, enough))


@compiled()
def runs(X, weights, e_step, update, variant, diagonal, free, inward, outward, ridge, floor, tol, rule, memory, traces, states):
    """Run EM on from some mixtures, each of which is overwritten by where it gets.

    Parameters
    ----------
    X : array of shape (N, D), or (N, D + M) if more is known of the rows
        As ``e_step`` takes it.
    weights : array of shape (1, N), or (runs, N) for each run its own, or (1, 0) for unit weights
    e_step, update, variant : Pointer, Pointer, int
        The kernel's statistics, the family's M-step, and which of its variants.
    diagonal, free : bool
        Of the family: whether matrices are diagonal, and whether each is free of all others and of any form.
    inward, outward : arrays of shape (D, D)
        Lead into the coordinates of the floor and back.
    ridge, floor : float
    tol : float
        Gain in log-likelihood per row that is not worth an iteration.
    rule : tuple of bool
        Whether to extrapolate where EM is slow, whether to wait after it before an end is believed, whether to stop by what is left to
        gain (Aitken) or by the last gain.
    memory : array of shape (runs, ROWS, numbers of a mixture)
    traces : array of shape (runs, max_iter + 1)
        Log-likelihoods; entry n is the mixture's.
    states : array of shape (runs, 6)
        Status, iterations n made so far, plain steps among the last, longest extrapolation, iterations saved, and where to stop for a
        while: a run whose status is then RUNNING goes on as if it had not stopped. Runs with another status are left alone.
    """
    D = len(inward)
    K = memory.shape[2] // (1 + D + D * D)
    inside = np.zeros((K, D, D))
    for s in range(len(memory)):
        here, trace, state = memory[s], traces[s], states[s]
        status = int(state[0])
        if status != RUNNING:
            continue
        n, plain = int(state[1]), int(state[2])
        weight = weights[min(s, len(weights) - 1)]
        total = weight.sum() if len(weight) > 0 else float(len(X))
        enough = tol * total
        _enter(here[CURRENT], inward, 0.0, inside)
        value = _sums(e_step, X, weight, here[CURRENT], diagonal, K, D, here[SUMS])
        if n == 0:
            trace[0] = value
            _copy(here, CURRENT, PAST)
        while n < int(state[5]) and status == RUNNING:
            n += 1
            if not m_step(here[SUMS], here[CURRENT], update, variant, diagonal, free, inward, outward, ridge, floor, inside, A_FEW):
                trace[n] = -np.inf
                status = COLLAPSED
                break
            value = _sums(e_step, X, weight, here[CURRENT], diagonal, K, D, here[SUMS])
            plain += 1
            trace[n] = value
            _copy(here, CURRENT, PAST + plain % 3)
            gain = value - trace[n - 1]
            if ridge == 0.0 and -gain > FALL * (abs(value) + total):
                status = FELL
            elif stands_still(trace, n, plain, rule[1], rule[2], enough):
                status = CONVERGED
            elif rule[0] and n < len(trace) - 1 and is_worth_a_jump(trace, n, plain, enough):
                first, second = here[PAST + (plain - 2) % 3], here[PAST + (plain - 1) % 3]
                length = squarem(first, second, here[CURRENT], state[3], K, K, D, here[TRIAL])
                if length == 0.0:
                    continue
                there = _sums(e_step, X, weight, here[TRIAL], diagonal, K, D, here[SUMS_THERE])
                if there >= value and _enter(here[TRIAL], inward, floor, inside):
                    state[4] += iterations_worth(there - value, gain, trace[n - 1] - trace[n - 2])
                    n += 1
                    trace[n] = there
                    _copy(here, TRIAL, CURRENT)
                    _copy(here, SUMS_THERE, SUMS)
                    if length >= state[3]:
                        state[3] = min(4.0 * state[3], LONGEST)
                else:
                    _enter(here[CURRENT], inward, 0.0, inside)
                    state[3] = max(2.0, state[3] / 4.0)
                plain = 0
                _copy(here, CURRENT, PAST)
        if status == RUNNING and n >= len(trace) - 1:
            status = OUT_OF_ITERATIONS
        state[0], state[1], state[2] = status, n, plain


@compiled()
def moments_at(X, weight, e_step, D, diagonal, base, mixture, sums, out):
    """Fill the moments that a mixture expects, in another one's units; returns the log-likelihood.

    Shares (K,), means (K, D) and covariances (K, D, D) of the rows, in coordinates whitened by the components of ``base``. Both mixtures
    are rows of numbers, and ``sums`` is memory for one.
    """
    K = len(mixture) // (1 + D + D * D)
    value = _sums(e_step, X, weight, mixture, diagonal, K, D, sums)
    counts, first, second = _parts(sums, K, K, D)
    _, means, scale_tril = _parts(mixture, K, K, D)
    _, base_means, base_factors = _parts(base, K, K, D)
    shares, points, covariances = _parts(out, K, K, D)
    turn, half, total = np.empty((D, D)), np.empty((D, D)), 0.0
    for k in range(K):
        counts[k] = max(counts[k], EMPTY)
        total += counts[k]
    for k in range(K):
        shares[k] = counts[k] / total
        for i in range(D):
            points[k, i] = means[k, i] - base_means[k, i]
            for j in range(D):
                turn[i, j] = scale_tril[k, i, j] if j <= i else 0.0
        _solve(base_factors[k], points[k].reshape((D, 1)))
        _solve(base_factors[k], turn)
        _move(counts[k], first[k], turn, False, points[k])
        _scatter(counts[k], first[k], second[k], turn, False, half, covariances[k])
        for i in range(D):
            for j in range(D):
                covariances[k, i, j] /= counts[k]
    return value


@compiled()
def maximised(moments, total, update, variant, diagonal, free, inward, outward, floor, base, sums, out):
    """Fill the mixture that is best for moments in the units of ``base``, as :func:`moments_at` has them; says whether there is one."""
    D = len(inward)
    K = len(base) // (1 + D + D * D)
    shares, points, covariances = _parts(moments, K, K, D)
    counts, first, second = _parts(sums, K, K, D)
    for k in range(K):
        counts[k] = max(shares[k] * total, EMPTY)
        for i in range(D):
            first[k, i] = counts[k] * points[k, i]
            for j in range(D):
                even = 0.5 * (covariances[k, i, j] + covariances[k, j, i])
                second[k, i, j] = counts[k] * (even + points[k, i] * points[k, j])
    for i in range(len(base)):
        out[i] = base[i]
    inside = np.zeros((K, D, D))
    _enter(out, inward, 0.0, inside)
    return m_step(sums, out, update, variant, diagonal, free, inward, outward, 0.0, floor, inside, TO_THE_END)
