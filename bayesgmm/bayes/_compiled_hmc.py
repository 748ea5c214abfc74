"""Hamiltonian steps given the rows, or given labels drawn for them (data augmentation), compiled.

Given labels, a posterior depends on the rows only through the count, the mean and the scatter of each group, so a step given labels costs
nothing beside a pass over the rows. Both kinds of step move the same unconstrained vector under the same prior: the target given labels is
the log-posterior of :mod:`bayesgmm.bayes._compiled_log_posterior` with another score in its flat array.
"""

import math

import numpy as np
from numba import njit, types

from bayesgmm.bayes._compiled_coordinates import log_density, whitened
from bayesgmm.bayes._compiled_log_posterior import carry, place, unpack
from bayesgmm.kernels.compile import FASTMATH, Pointer, compiled, never_inline
from bayesgmm.kernels.estep import FIRST_ROW, MATRIX, STACK, STATISTICS, VECTOR, prepare
from bayesgmm.kernels.score import score_from_statistics

MOST_STEPS = 64
"""Steps of a trajectory: where even these do not take it to its length, another road may, or many shorter trajectories."""
LARGEST_ERROR = 1000.0
"""Error of the energy from which on a trajectory is called divergent: Stan's and nutpie's."""


@compiled()
def score_given_labels(statistics, numbers, sample_weight, log_weights, means, scale_tril, diagonal):
    """Return the log-likelihood of rows with known labels, and its gradients, from the groups' counts, means and scatters.

    ``numbers`` holds counts (K,), means (K, D) and scatters about them (K, D, D), flat. Under ``diagonal`` only the scatters' diagonals are
    read.
    """
    K, D = means.shape
    counts = numbers[:K].copy()
    centres = numbers[K : K + K * D].reshape((K, D))
    scatters = numbers[K + K * D :].reshape((K, D, D))
    first, second, whiten = np.zeros((K, D)), np.zeros((K, D, D)), np.zeros((K, D, D))
    half = np.empty((D, D))
    total = 0.0
    for k in range(K):
        L, W = scale_tril[k], whiten[k]
        log_det = 0.0
        for j in range(D):
            log_det += math.log(L[j, j])
            W[j, j] = 1.0 / L[j, j]
            for i in range(j + 1, j + 1 if diagonal else D):
                s = 0.0
                for m in range(j, i):
                    s += L[i, m] * W[m, j]
                W[i, j] = -s / L[i, i]
        if diagonal:
            for i in range(D):
                z = W[i, i] * (centres[k, i] - means[k, i])
                first[k, i] = counts[k] * z
                second[k, i, i] = W[i, i] * W[i, i] * scatters[k, i, i] + counts[k] * z * z
        else:
            for i in range(D):  # W times the scatter
                for j in range(D):
                    half[i, j] = 0.0
                for m in range(i + 1):
                    w = W[i, m]
                    for j in range(D):
                        half[i, j] += w * scatters[k, m, j]
            for i in range(D):
                z = 0.0
                for j in range(i + 1):
                    z += W[i, j] * (centres[k, j] - means[k, j])
                first[k, i] = z
            for i in range(D):
                for j in range(i + 1):
                    s = 0.0
                    for m in range(j + 1):
                        s += half[i, m] * W[j, m]
                    second[k, i, j] = s + counts[k] * first[k, i] * first[k, j]
                    second[k, j, i] = second[k, i, j]
            for i in range(D):
                first[k, i] *= counts[k]
        squares = 0.0
        for i in range(D):
            squares += second[k, i, i]
        if counts[k] > 0.0:
            total += counts[k] * (log_weights[k] - log_det - 0.5 * D * math.log(2.0 * math.pi)) - 0.5 * squares
    means_out, scale_out = np.zeros_like(means), np.zeros_like(scale_tril)
    score_from_statistics(counts, first, second, whiten, diagonal, means_out, scale_out)
    return total, counts, means_out, scale_out


SCORE_GIVEN_LABELS = Pointer(
    score_given_labels,
    types.Tuple((types.float64, VECTOR, MATRIX, STACK)),
    (STATISTICS._numba_type_, VECTOR, VECTOR, VECTOR, MATRIX, STACK, types.boolean),
)


@compiled(fastmath=FASTMATH)
def draw_labels(evaluate, q, X, user, uniforms, responsibilities, numbers):
    """Draw the label of every row at q, and fill ``numbers`` with the groups' counts, means and scatters.

    Returns the log-likelihood of the rows at q. With ``uniforms`` empty every row counts in all groups, by its responsibilities.
    """
    problem = unpack(user)
    never_inline()
    point, _ = place(q, problem)
    means, scale_tril = point.means, point.scale_tril
    if problem.turn.shape[0] > 0:
        means, scale_tril = carry(point.means, point.scale_tril, problem)
    diagonal = problem.n_matrices == 0
    total = evaluate_all(evaluate, X, point.log_weights, means, scale_tril, diagonal, responsibilities)
    labels = np.empty(uniforms.shape[0], np.int64)
    for i in range(labels.shape[0]):
        labels[i] = drawn_label(responsibilities[i], uniforms[i])
    sum_up(X, labels, responsibilities, means, diagonal, numbers)
    return total


@compiled()
def evaluate_all(evaluate, X, log_weights, means, scale_tril, diagonal, responsibilities):
    """Fill the responsibilities of all rows, and return their log-likelihood."""
    prepared = prepare(log_weights, means, scale_tril, diagonal)
    nothing = np.empty(0)
    return evaluate(X, FIRST_ROW, X.shape[0], prepared, diagonal, np.empty((0, means.shape[0])), responsibilities, nothing, nothing)


@njit(inline="always")
def drawn_label(responsibilities, uniform):
    """Return the component in which a uniform number falls, with responsibilities (K,) laid end to end."""
    k = 0
    uniform -= responsibilities[0]
    while uniform > 0.0 and k < responsibilities.shape[0] - 1:
        k += 1
        uniform -= responsibilities[k]
    return k


@compiled(fastmath=FASTMATH)
def sum_up(X, labels, responsibilities, means, diagonal, numbers):
    """Fill ``numbers`` with counts (K,), means (K, D) and scatters (K, D, D) of groups of rows.

    Sums are taken about the components' ``means`` (K, D), where no digits are lost. Without labels (N,) every row counts in all groups,
    by its responsibilities.
    """
    K, D = means.shape
    counts, centres = np.zeros(K), np.zeros((K, D))
    scatters = np.zeros((K, D, D))
    x = np.empty(D)
    drawn = labels.shape[0] > 0
    for i in range(X.shape[0]):
        first, last = (labels[i], labels[i] + 1) if drawn else (0, K)
        for k in range(first, last):
            r = 1.0 if drawn else responsibilities[i, k]
            counts[k] += r
            for d in range(D):
                x[d] = X[i, d] - means[k, d]
                centres[k, d] += r * x[d]
            if diagonal:
                for d in range(D):
                    scatters[k, d, d] += r * x[d] * x[d]
            else:
                for d in range(D):
                    a = r * x[d]
                    row = scatters[k, d]
                    for e in range(d + 1):
                        row[e] += a * x[e]
    at = K + K * D
    for k in range(K):
        numbers[k] = counts[k]
        n = max(counts[k], 1e-300)
        for d in range(D):
            numbers[K + k * D + d] = means[k, d] + centres[k, d] / n
            for e in range(d + 1):
                s = scatters[k, d, e] - centres[k, d] * centres[k, e] / n
                numbers[at + (k * D + d) * D + e] = s
                numbers[at + (k * D + e) * D + d] = s


@compiled(fastmath=FASTMATH)
def _stretch(directions, stretches, x):
    """Multiply what of x (n,) lies along each of the directions (R, n) by its stretch."""
    for r in range(directions.shape[0]):
        row, s = directions[r], 0.0
        for i in range(x.shape[0]):
            s += row[i] * x[i]
        s *= stretches[r] - 1.0
        for i in range(x.shape[0]):
            x[i] += s * row[i]


@compiled(fastmath=FASTMATH)
def _multiply(metric, x, transposed, out):
    """Fill ``out`` with a square root of the inverse metric times x, or with its transpose times x.

    The root, a :class:`~bayesgmm.bayes.metric.Metric`, leads from blocks, one after the other, to the coordinates in ``order``; its
    transpose leads back.
    """
    factors, bounds, order, directions, stretches = metric
    at = 0
    if not transposed and stretches.shape[0] > 0:
        x = x.copy()
        _stretch(directions, stretches, x)
    for b in range(bounds.shape[0] - 1):
        start = bounds[b]
        n = bounds[b + 1] - start
        block = factors[at : at + n * n].reshape((n, n))
        at += n * n
        if transposed:
            for i in range(n):
                out[start + i] = 0.0
            for i in range(n):
                row, a = block[i], x[order[start + i]]
                for j in range(i + 1):
                    out[start + j] += row[j] * a
        else:
            for i in range(n):
                row = block[i]
                s = 0.0
                for j in range(i + 1):
                    s += row[j] * x[start + j]
                out[order[start + i]] = s
    if transposed:
        _stretch(directions, stretches, out)


@compiled()
def trajectory(log_posterior, user, q, roots, metric, momentum, uniforms, length, step, report):
    """Run one Hamiltonian trajectory under the density of ``user`` and move q to its end, if that is accepted.

    Neal (2011), MCMC using Hamiltonian dynamics, Handbook of Markov Chain Monte Carlo, section 5.3. The length is drawn anew, uniformly
    from half to three halves of ``length``, so that no direction comes back to where it began every time (Mackenzie 1989, Physics Letters B
    226, 369-371).

    Parameters
    ----------
    roots : array of shape (covariances, D, D)
        What covariances are seen from on the way.
    momentum : array of shape (n,)
        Standard normal; changed.
    uniforms : array of shape (2,)
        For the length, and to accept.
    report : array of shape (3,)
        Gets the probability to accept, whether the trajectory diverged, and the number of its steps.

    Returns
    -------
    float
        The log-density at q, where the chain is now.
    """
    never_inline()
    n = q.shape[0]
    p, x, end = momentum, np.empty(n), np.empty(n)
    gradient, velocity, force = np.empty(n), np.empty(n), np.empty(n)
    whitened(q, user, roots, x)
    value = log_density(log_posterior, user, x, roots, end, gradient)
    _multiply(metric, gradient, True, force)
    start = value
    for i in range(n):
        start -= 0.5 * p[i] * p[i]
        p[i] += 0.5 * step * force[i]
    n_steps = min(max(1, round(length * (0.5 + uniforms[0]) / step)), MOST_STEPS)
    report[0], report[1], report[2] = 0.0, 0.0, n_steps
    new_value = energy = value
    for s in range(n_steps):
        _multiply(metric, p, False, velocity)
        for i in range(n):
            x[i] += step * velocity[i]
        new_value = energy = log_density(log_posterior, user, x, roots, end, gradient)
        _multiply(metric, gradient, True, force)
        kick = step if s < n_steps - 1 else 0.5 * step
        for i in range(n):
            p[i] += kick * force[i]
            energy -= 0.5 * p[i] * p[i]
        if not energy - start > -LARGEST_ERROR:  # so is a number that is none
            report[1] = 1.0
            return value
    report[0] = math.exp(min(energy - start, 0.0))
    if math.log(uniforms[1]) < energy - start:
        q[:] = end
        return new_value
    return value


@compiled()
def adapt(state, accepted, target):
    """Move a step size, ``state[0]``, towards the acceptance rate wanted; its average is ``exp(state[3])``.

    Dual averaging: Hoffman and Gelman (2014), Journal of Machine Learning Research 15, 1593-1623, section 3.2.
    """
    state[1] += 1.0
    t = state[1]
    state[2] += (target - accepted - state[2]) / (t + 10.0)
    log_step = state[4] - math.sqrt(t) / 0.05 * state[2]
    state[0] = math.exp(log_step)
    state[3] += t**-0.75 * (log_step - state[3])


@compiled()
def cycles(
    log_posterior,
    evaluate,
    q,
    X,
    users,
    roots,
    metrics,
    lengths,
    steps,
    target,
    momenta,
    uniforms,
    label_uniforms,
    thin,
    out,
    statistics,
):
    """Run cycles: a trajectory given labels, one given the rows, and new labels for them.

    Parameters
    ----------
    log_posterior, evaluate : functions
        The density, and the pass over rows, where they lie.
    q : array of shape (n,)
        Where the chain is; changed.
    users : tuple of two flat arrays
        The posterior given the rows, and given labels drawn at q, whose numbers change.
    roots : array of shape (covariances, D, D)
        What covariances are seen from.
    metrics : tuple of two metrics
        Of trajectories given labels and given the rows.
    lengths : array of shape (2,)
        Of trajectories given labels and given the rows; zero for none.
    steps : array of shape (2, 5)
        Both step sizes, with what :func:`adapt` remembers.
    target : float
        The acceptance rate that the steps are adapted to; zero to leave them.
    momenta, uniforms, label_uniforms : arrays of shapes (cycles, 2, n), (cycles, 2, 2) and (cycles, N)
    thin : int
        Every so many cycles q is kept.
    out : array of shape (cycles / thin, n)
    statistics : array of shape (cycles / thin, 7)
        The log-likelihood, or without labels the log-posterior; then the reports of both trajectories, the last of those left out.
    """
    rows, labelled = users
    K, D = int(rows[1]), int(rows[0])
    numbers = labelled[labelled.shape[0] - K * (1 + D + D * D) :]
    with_labels = lengths[0] > 0.0
    responsibilities = np.empty((X.shape[0] if with_labels else 0, K))
    report = np.zeros((2, 3))
    height = 0.0
    for t in range(momenta.shape[0]):
        for j in range(2):
            if lengths[j] > 0.0:
                user = rows if j == 1 else labelled
                height = trajectory(
                    log_posterior, user, q, roots, metrics[j], momenta[t, j], uniforms[t, j], lengths[j], steps[j, 0], report[j]
                )
                if target > 0.0:
                    adapt(steps[j], report[j, 0], target)
        if with_labels:
            height = draw_labels(evaluate, q, X, rows, label_uniforms[t], responsibilities, numbers)
        kept = t // thin
        for j in range(2):
            statistics[kept, 1 + 3 * j] += report[j, 0] / thin
            statistics[kept, 2 + 3 * j] += report[j, 1]
            statistics[kept, 3 + 3 * j] += report[j, 2]
        if t % thin == thin - 1:
            out[kept] = q
            statistics[kept, 0] = height
