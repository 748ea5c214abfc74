"""Log-posterior and gradient on the unconstrained space, compiled: the E-step plus priors and transforms, a few dozen numbers.

All that a chain needs lies in one flat array of doubles, which `pack` writes from a `Problem` and `unpack` reads, so that the C callback is
compiled once per machine and serves every data set, family and prior. The array says, too, where the compiled passes over the data begin:
called there, they are compiled once and not again into everything that needs them.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types

from bayesgmm.kernels.compile import Pointer, compiled, function_at
from bayesgmm.kernels.estep import STATISTICS, VECTOR
from bayesgmm.kernels.score import SCORE


class Problem(NamedTuple):
    """A posterior in numbers: sizes, priors and data, in the order in which the flat array holds them."""

    D: int
    K: int
    n_matrices: int
    kind: int
    """Of the standard deviations' prior."""
    sd_per_component: int
    sd_per_feature: int
    """How far it is among the free standard deviations from one component, or feature, to the next."""
    constant: float
    shared: float
    """Under a joint prior: the standard deviation of what logs share, or the shape of the distribution of the scale of variances."""
    alpha: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    prior_a: np.ndarray
    prior_b: np.ndarray
    factors: np.ndarray
    """Of a joint log-normal prior of standard deviations; empty without one."""
    etas: np.ndarray
    eta_constants: np.ndarray
    center: np.ndarray
    turn: np.ndarray
    rounding: np.ndarray
    """The frame's center and matrix, and the covariance of the rounding; all empty where there is neither."""
    order: np.ndarray
    mixing: np.ndarray
    """What weights depend on: kind (:data:`SAMPLES`, :data:`COVARIATES`), number of shares, of covariates, and the prior's two numbers."""
    design: np.ndarray
    """Of covariates (shares x covariates)."""
    fixed: np.ndarray
    """Log-weights (K,) that are fixed, NaN for those that are not; empty if none is."""
    weight: np.ndarray
    rows: np.ndarray


FIRST_ADDRESS = Problem._fields.index("alpha")
"""After the numbers: the addresses of the E-step, of the score and of the log-posterior itself, in the bits of three doubles."""
BOUNDS = FIRST_ADDRESS + 3
"""After the addresses: where each array begins, and where the last one ends, which is the length of the whole."""
LENGTH = BOUNDS + len(Problem._fields) - FIRST_ADDRESS
HEADER = LENGTH + 1

LOG_NORMAL, VARIANCES = 3, 6
"""Kinds of priors of standard deviations, which may be joint: log-normal ones, and those under which variances are inverse gamma."""

SAMPLES, COVARIATES = 1, 2
"""What weights may depend on."""

_statistics_at, _score_at = function_at(STATISTICS), function_at(SCORE)


@compiled()
def sd_prior(kind, a, b, log_sd):
    """Return log-density (without constants) and its derivative in log sd, the Jacobian of the log included."""
    sd = math.exp(log_sd)
    if kind == 0:  # half-normal
        t = (sd / a) ** 2
        return log_sd - 0.5 * t, 1.0 - t
    if kind == 1:  # half-Cauchy
        t = (sd / a) ** 2
        return log_sd - math.log1p(t), 1.0 - 2.0 * t / (1.0 + t)
    if kind == 2:  # half-Student-t
        t = (sd / b) ** 2 / a
        return log_sd - 0.5 * (a + 1.0) * math.log1p(t), 1.0 - (a + 1.0) * t / (1.0 + t)
    if kind == 3:  # log-normal: the Jacobian cancels the 1 / sd of the density
        u = (log_sd - a) / b
        return -0.5 * u * u, -u / b
    if kind == 4:  # exponential
        return log_sd - sd / a, 1.0 - sd / a
    if kind == VARIANCES:
        t = b / (sd * sd)
        return -2.0 * a * log_sd - t, 2.0 * t - 2.0 * a
    return a * log_sd - b * sd, a - b * sd  # gamma


@compiled()
def joint_sd_prior(a, b, shared, factors, log_sd, n_components, gradient):
    """Return the log-density of log-normal standard deviations that depend on each other, and add its slopes to the gradient.

    Constants are left out; the Jacobian of the log is included. Components come first; the logs of one column have a part in common, and
    all logs have one of the factors in common. Either is integrated out.
    """
    n, L = log_sd.shape[0] // n_components, factors.shape[0]
    heights, common = np.zeros(L), np.zeros((L, n))
    for f in range(L):
        for i in range(n):
            precision = off = 0.0
            for k in range(n_components):
                p = k * n + i
                sigma = b[p] * factors[f]
                u = (log_sd[p] - a[p]) / sigma
                heights[f] -= 0.5 * u * u + math.log(factors[f])
                off += u / sigma
                precision += 1.0 / (sigma * sigma)
            ratio = 1.0 + shared * shared * precision
            common[f, i] = shared * shared * off / ratio
            heights[f] += 0.5 * common[f, i] * off - 0.5 * math.log(ratio)
    top, total = heights.max(), 0.0
    for f in range(L):
        total += math.exp(heights[f] - top)
    for f in range(L):
        share = math.exp(heights[f] - top) / total
        for p in range(log_sd.shape[0]):
            gradient[p] -= share * (log_sd[p] - a[p] - common[f, p % n]) / (b[p] * b[p] * factors[f] * factors[f])
    return top + math.log(total)


@compiled()
def joint_variance_prior(a, b, shared, log_sd, n_components, gradient):
    """Return the same of inverse gamma variances with one scale for all components, which is integrated out."""
    n, value = log_sd.shape[0] // n_components, 0.0
    for i in range(n):
        shape, rate = shared, shared / b[i]
        for k in range(n_components):
            p = k * n + i
            shape += a[p]
            rate += math.exp(-2.0 * log_sd[p])
            value -= 2.0 * a[p] * log_sd[p]
        value -= shape * math.log(rate)
        for k in range(n_components):
            p = k * n + i
            gradient[p] += 2.0 * shape * math.exp(-2.0 * log_sd[p]) / rate - 2.0 * a[p]
    return value


@njit(inline="always")
def _simplex(q, K, log_weights):
    """Fill the log weights of PyMC's simplex transform; returns the log-sum-exp that its Jacobian needs."""
    last = 0.0
    for k in range(K - 1):
        log_weights[k] = q[k]
        last -= q[k]
    log_weights[K - 1] = last
    top = log_weights.max()
    s = 0.0
    for k in range(K):
        s += math.exp(log_weights[k] - top)
    lse = top + math.log(s)
    for k in range(K):
        log_weights[k] -= lse
    return lse


@compiled()
def _fixed_simplex(q, problem, log_weights):
    """Fill log-weights of which some are fixed; returns the log-density of the others with the Jacobian, without constants.

    The others are what the fixed ones leave times weights that add up to one, with the same transform: the log of its Jacobian is the sum
    of their logs, up to a constant.
    """
    K, last, left, top = problem.K, 0.0, 1.0, -np.inf
    for k in range(K):
        z = q[k] if k < K - 1 else last
        last -= z if k < K - 1 else 0.0
        fixed = problem.fixed[k]
        if fixed == fixed:
            log_weights[k] = fixed
            left -= math.exp(fixed)
        else:
            log_weights[k] = z
            top = max(top, z)
    total = value = 0.0
    for k in range(K):
        if problem.fixed[k] != problem.fixed[k]:
            total += math.exp(log_weights[k] - top)
    for k in range(K):
        if problem.fixed[k] != problem.fixed[k]:
            log_weights[k] -= top + math.log(total)
            value += problem.alpha[k] * log_weights[k]
            log_weights[k] += math.log(left)
    return value


@njit(inline="always")
def _correlation_factor(v, order, D, factor, norms):
    """Fill a correlation's Cholesky factor from its spiral v; returns the sum of the logs of its rows' norms."""
    for i in range(D):
        for j in range(D):
            factor[i, j] = 1.0 if i == j else 0.0
    for p in range(v.shape[0]):
        factor[int(order[2 * p]), int(order[2 * p + 1])] = v[p]
    total = 0.0
    for i in range(D):
        s = 0.0
        for j in range(i + 1):
            s += factor[i, j] * factor[i, j]
        norms[i] = math.sqrt(s)
        for j in range(i + 1):
            factor[i, j] /= norms[i]
        total += math.log(norms[i])
    return total


@compiled()
def lkj(etas, constants, D, n_matrices, log_norms):
    """Return the log-density of all correlations with the transform's Jacobian, and its slope in the sum of the logs of all norms.

    The power of each diagonal element, one over a norm, is 2 eta - 2 + D - (i + 1) from the LKJ density of row i and i + 2 from the
    Jacobian. Several etas, of which one holds for all matrices, are summed out.
    """
    n = etas.shape[0]
    heights = np.empty(n)
    for e in range(n):
        heights[e] = n_matrices * constants[e] - (2.0 * etas[e] + D - 1.0) * log_norms
    top, total, power = heights.max(), 0.0, 0.0
    for e in range(n):
        share = math.exp(heights[e] - top)
        total += share
        power += share * (2.0 * etas[e] + D - 1.0)
    return top + math.log(total), power / total


class Point(NamedTuple):
    """The mixture at q in the frame, before rounding, with what the chain rule needs to come back."""

    log_weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray
    norms: np.ndarray
    power: float
    scale_tril: np.ndarray


def pack(problem, e_step, score):
    """Return the flat array of a problem whose rows the compiled function ``score`` passes over by the E-step."""
    arrays = [np.ravel(array).astype(float) for array in problem[FIRST_ADDRESS:]]
    addresses = np.array([function.address for function in (e_step, score, LOG_POSTERIOR)]).view(float)
    bounds = HEADER + np.cumsum([0, *map(len, arrays)])
    return np.concatenate([problem[:FIRST_ADDRESS], addresses, bounds, *arrays])


@njit(inline="always")
def _array(user, i):
    return user[int(user[BOUNDS + i]) : int(user[BOUNDS + i + 1])]


@njit(inline="always")
def unpack(user):
    """Read the flat array: its sizes are whole numbers, and its arrays views."""
    sizes = (int(user[0]), int(user[1]), int(user[2]), int(user[3]), int(user[4]), int(user[5]))
    priors = (_array(user, 0), _array(user, 1), _array(user, 2), _array(user, 3), _array(user, 4), _array(user, 5))
    etas, frame = (_array(user, 6), _array(user, 7)), (_array(user, 8), _array(user, 9), _array(user, 10))
    rest = (_array(user, 11), _array(user, 12), _array(user, 13), _array(user, 14), _array(user, 15), _array(user, 16))
    return Problem(*sizes, user[6], user[7], *priors, *etas, *frame, *rest)


@njit(inline="always")
def sd_position(problem, k, i):
    """Where the standard deviation of feature i in component k lies among the free ones."""
    return k * problem.sd_per_component + i * problem.sd_per_feature


@njit(inline="always")
def matrix_position(n_matrices, k):
    """Which correlation factor component k uses."""
    return k if n_matrices > 1 else 0


@compiled()
def place(q, problem):
    """Return the Point at q and the log-density of weights, correlations and their Jacobians, without the weights' constants."""
    K, D = problem.K, problem.D
    T = D * (D - 1) // 2
    log_weights, value = np.empty(K), 0.0
    if problem.fixed.shape[0] > 0:
        value = _fixed_simplex(q, problem, log_weights)
    else:
        value = -K * _simplex(q, K, log_weights)
        for k in range(K):
            value += (problem.alpha[k] - 1.0) * log_weights[k]
    first_sd = K - 1 + K * D
    n_factors = max(problem.n_matrices, 1)
    factors = np.zeros((n_factors, D, D))
    norms = np.ones((n_factors, D))
    for i in range(D):  # np.eye would do, and take six seconds more to compile
        factors[0, i, i] = 1.0
    log_norms = power = 0.0
    for m in range(problem.n_matrices):
        start = first_sd + problem.prior_a.shape[0] + m * T
        log_norms += _correlation_factor(q[start : start + T], problem.order, D, factors[m], norms[m])
    if problem.n_matrices > 0:
        log_density, power = lkj(problem.etas, problem.eta_constants, D, problem.n_matrices, log_norms)
        value += log_density
    scale_tril = np.zeros((K, D, D))
    for k in range(K):
        factor = factors[matrix_position(problem.n_matrices, k)]
        for i in range(D):
            p = sd_position(problem, k, i)
            sd = math.exp(q[first_sd + p])
            for j in range(i + 1):
                scale_tril[k, i, j] = sd * factor[i, j]
    means = q[K - 1 : first_sd].copy().reshape((K, D))
    return Point(log_weights, means, factors, norms, power, scale_tril), value


@njit(inline="always")
def add_location_and_scale_priors(q, problem, gradient):
    """Add to the gradient what the priors of means and standard deviations give; returns their log-density, without constants."""
    value = 0.0
    first_mean = problem.K - 1
    first_sd = first_mean + problem.K * problem.D
    for p in range(problem.K * problem.D):
        u = (q[first_mean + p] - problem.loc[p]) / problem.scale[p]
        value -= 0.5 * u * u
        gradient[first_mean + p] -= u / problem.scale[p]
    end = first_sd + problem.prior_a.shape[0]
    if problem.kind == VARIANCES and problem.shared > 0.0:
        scales = (problem.prior_a, problem.prior_b, problem.shared)
        return value + joint_variance_prior(*scales, q[first_sd:end], problem.K, gradient[first_sd:end])
    if problem.factors.shape[0] > 0:
        args = (problem.prior_a, problem.prior_b, problem.shared, problem.factors)
        return value + joint_sd_prior(*args, q[first_sd:end], problem.K, gradient[first_sd:end])
    for p in range(problem.prior_a.shape[0]):
        log_density, slope = sd_prior(problem.kind, problem.prior_a[p], problem.prior_b[p], q[first_sd + p])
        value += log_density
        gradient[first_sd + p] += slope
    return value


@compiled()
def carry(means, scale_tril, problem):
    """Return means and Cholesky factors of the mixture of the data: carried out of the frame, with the rounding added."""
    K, D = means.shape
    out_means, out = np.zeros((K, D)), np.zeros((K, D, D))
    for k in range(K):
        for i in range(D):
            out_means[k, i] = problem.center[i]
            for j in range(D):
                out_means[k, i] += problem.turn[i * D + j] * means[k, j]
        if problem.n_matrices == 0:
            for i in range(D):
                sd = scale_tril[k, i, i] * problem.turn[i * D + i]
                out[k, i, i] = math.sqrt(sd * sd + problem.rounding[i * D + i])
            continue
        root = turned(scale_tril[k], problem)
        for i in range(D):
            for j in range(i + 1):
                s = problem.rounding[i * D + j]
                for m in range(D):
                    s += root[i, m] * root[j, m]
                for m in range(j):
                    s -= out[k, i, m] * out[k, j, m]
                # What rounding leaves no root is not a number, and so is the density.
                out[k, i, j] = math.sqrt(s) if i == j else s / out[k, j, j]
    return out_means, out


@njit(inline="always")
def turned(factor, problem):
    """Return the frame's matrix times a lower triangular factor (D, D)."""
    D = factor.shape[0]
    root = np.zeros((D, D))
    for i in range(D):
        for j in range(D):
            for m in range(j, D):
                root[i, j] += problem.turn[i * D + m] * factor[m, j]
    return root


@compiled()
def carry_back(means, scale_tril, out, g_means, g_scale, problem):
    """Turn gradients in the mixture of the data, of means (K, D) and factors (K, D, D), into those in the mixture in the frame.

    For a factor L of ``Sigma = C C' + H`` the gradient in C is ``L'^-1 S L^-1 C`` with the symmetric matrix S whose lower triangle is that
    of ``L' G`` (Murray 2016, arXiv:1602.07527, section 3.2).
    """
    K, D = means.shape
    for k in range(K):
        own = g_means[k].copy()
        for j in range(D):
            g_means[k, j] = 0.0
            for i in range(D):
                g_means[k, j] += problem.turn[i * D + j] * own[i]
        if problem.n_matrices == 0:
            for i in range(D):
                unit = problem.turn[i * D + i]
                g_scale[k, i, i] *= unit * unit * scale_tril[k, i, i] / out[k, i, i]
            continue
        root = turned(scale_tril[k], problem)
        S = np.zeros((D, D))
        for i in range(D):
            for j in range(i + 1):
                for m in range(i, D):
                    S[i, j] += out[k, m, i] * g_scale[k, m, j]
                S[j, i] = S[i, j]
        # L^-1 C, then S times it, then L'^-1 times that.
        half = np.zeros((D, D))
        for c in range(D):
            for i in range(D):
                s = root[i, c]
                for m in range(i):
                    s -= out[k, i, m] * half[m, c]
                half[i, c] = s / out[k, i, i]
        g_root = np.zeros((D, D))
        for c in range(D):
            for i in range(D - 1, -1, -1):
                s = 0.0
                for m in range(D):
                    s += S[i, m] * half[m, c]
                for m in range(i + 1, D):
                    s -= out[k, m, i] * g_root[m, c]
                g_root[i, c] = s / out[k, i, i]
        for i in range(D):
            for j in range(i + 1):
                g_scale[k, i, j] = 0.0
                for m in range(D):
                    g_scale[k, i, j] += problem.turn[m * D + i] * g_root[m, j]


@compiled()
def _pull_back_free_weights(counts, problem, point, gradient):
    """Do the same where some weights are fixed: nothing depends on the numbers of these."""
    K, total, share = problem.K, 0.0, 0.0
    slopes = np.zeros(K)
    for k in range(K):
        if problem.fixed[k] != problem.fixed[k]:
            slopes[k] = counts[k] + problem.alpha[k]
            total += slopes[k]
            share += math.exp(point.log_weights[k])
    for k in range(K):
        if problem.fixed[k] != problem.fixed[k]:
            slopes[k] -= math.exp(point.log_weights[k]) / share * total
    for k in range(K - 1):
        gradient[k] += slopes[k] - slopes[K - 1]


@njit(inline="always")
def pull_back_weights(counts, problem, point, gradient):
    """Carry d/d log w through the softmax; ``- K log-sum-exp`` of the Jacobian adds ``- K w_k``."""
    K = problem.K
    if problem.fixed.shape[0] > 0:
        _pull_back_free_weights(counts, problem, point, gradient)
        return
    total = K + 0.0
    for k in range(K):
        counts[k] += problem.alpha[k] - 1.0
        total += counts[k]
    last = counts[K - 1] - math.exp(point.log_weights[K - 1]) * total
    for k in range(K - 1):
        gradient[k] += counts[k] - math.exp(point.log_weights[k]) * total - last


@njit(inline="always")
def pull_back_scales(q, g_scale, problem, point, gradient):
    """Carry d/dL through ``L = diag(sd) C`` and the normalised rows of C, and add the slope of LKJ density and Jacobian."""
    K, D = problem.K, problem.D
    first_sd = K - 1 + K * D
    g_factors = np.zeros_like(point.factors)
    for k in range(K):
        m = matrix_position(problem.n_matrices, k)
        for i in range(D):
            p = sd_position(problem, k, i)
            sd = math.exp(q[first_sd + p])
            for j in range(i + 1):
                gradient[first_sd + p] += g_scale[k, i, j] * point.factors[m, i, j] * sd
                g_factors[m, i, j] += g_scale[k, i, j] * sd
    T = D * (D - 1) // 2
    for m in range(problem.n_matrices):
        for p in range(T):
            i, j = int(problem.order[2 * p]), int(problem.order[2 * p + 1])
            inner = point.power
            for e in range(i + 1):
                inner += g_factors[m, i, e] * point.factors[m, i, e]
            slope = g_factors[m, i, j] - point.factors[m, i, j] * inner
            gradient[first_sd + problem.prior_a.shape[0] + m * T + p] += slope / point.norms[m, i]


@compiled()
def digamma(x):
    """Return the derivative of the log of the gamma function at x > 0: the recurrence up to 6, then Stirling's series."""
    value = 0.0
    while x < 6.0:
        value -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    return value + math.log(x) - 0.5 / x - z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z / 132))))


@compiled()
def shares_at(q, problem, logs):
    """Fill the logs of the weights of all shares (S K), by the transform of PyMC's simplex."""
    K, kind, S, P = problem.K, int(problem.mixing[0]), int(problem.mixing[1]), int(problem.mixing[2])
    n = K - 1
    first = q.shape[0] - (S * n + 1 if kind == SAMPLES else P * n)
    for s in range(S):
        own, last, top = logs[s * K : (s + 1) * K], 0.0, -np.inf
        for k in range(n):
            if kind == SAMPLES:
                y = q[first + s * n + k]
            else:
                y = q[k]
                for p in range(P):
                    y += problem.design[s * P + p] * q[first + p * n + k]
            own[k] = y
            last -= y
        own[n] = last
        total = 0.0
        for k in range(K):
            top = max(top, own[k])
        for k in range(K):
            total += math.exp(own[k] - top)
        for k in range(K):
            own[k] -= top + math.log(total)


@compiled()
def pull_back_shares(q, problem, logs, counts, log_weights, base, gradient):
    """Add to the gradient what counts of labels (S K) and the priors of the shares give; returns their log-density, without constants.

    Samples have weights that are Dirichlet about the weights of all, with a concentration whose log is normal. Coefficients of covariates
    are normal, and those of all components add up to zero, so that none of them is another than the others. ``base`` (K,) gets the
    derivatives in the logs of the weights of all.
    """
    K, kind, S, P = problem.K, int(problem.mixing[0]), int(problem.mixing[1]), int(problem.mixing[2])
    n, value = K - 1, 0.0
    first = q.shape[0] - (S * n + 1 if kind == SAMPLES else P * n)
    if kind == SAMPLES:
        last = q.shape[0] - 1
        u = (q[last] - problem.mixing[3]) / problem.mixing[4]
        concentration = math.exp(q[last])
        value += S * math.lgamma(concentration) - 0.5 * u * u
        gradient[last] += S * concentration * digamma(concentration) - u / problem.mixing[4]
        for k in range(K):
            a = concentration * math.exp(log_weights[k])
            slope = -S * a * digamma(a)
            value -= S * math.lgamma(a)
            for s in range(S):
                value += a * logs[s * K + k]
                slope += a * logs[s * K + k]
                counts[s * K + k] += a
            base[k] += slope
            gradient[last] += slope
    else:
        for p in range(P):
            total = 0.0
            for k in range(n):
                total += q[first + p * n + k]
            value -= 0.5 * (total / problem.mixing[3]) ** 2
            for k in range(n):
                b = q[first + p * n + k]
                value -= 0.5 * (b / problem.mixing[3]) ** 2
                gradient[first + p * n + k] -= (b + total) / problem.mixing[3] ** 2
    for s in range(S):
        total = 0.0
        for k in range(K):
            total += counts[s * K + k]
        end = counts[s * K + n] - math.exp(logs[s * K + n]) * total
        for k in range(n):
            slope = counts[s * K + k] - math.exp(logs[s * K + k]) * total - end
            if kind == SAMPLES:
                gradient[first + s * n + k] += slope
            else:
                gradient[k] += slope
                for p in range(P):
                    gradient[first + p * n + k] += problem.design[s * P + p] * slope
    return value


@compiled()
def log_posterior(q, user, gradient):
    """Return the log-posterior density at q and fill its gradient; -inf or NaN where a number overflows."""
    problem = unpack(user)
    K, D = problem.K, problem.D
    gradient[:] = 0.0
    point, value = place(q, problem)
    value += problem.constant + add_location_and_scale_priors(q, problem, gradient)
    carried = problem.turn.shape[0] > 0
    means, scale_tril = point.means, point.scale_tril
    if carried:
        means, scale_tril = carry(point.means, point.scale_tril, problem)
    logs = point.log_weights
    if problem.mixing.shape[0] > 0:
        logs = np.empty(int(problem.mixing[1]) * K)
        shares_at(q, problem, logs)
    addresses = user[FIRST_ADDRESS : FIRST_ADDRESS + 2].view(np.int64)
    # By Fisher's identity the E-step's statistics are the gradient of the likelihood; the rest is the chain rule.
    log_likelihood, counts, g_means, g_scale = _score_at(addresses[1])(
        _statistics_at(addresses[0]),
        problem.rows,
        problem.weight,
        logs,
        means,
        scale_tril,
        problem.n_matrices == 0,
    )
    if carried:
        carry_back(point.means, point.scale_tril, scale_tril, g_means, g_scale, problem)
    if problem.mixing.shape[0] > 0:
        base = np.zeros(K)
        value += pull_back_shares(q, problem, logs, counts, point.log_weights, base, gradient)
        counts = base
    pull_back_weights(counts, problem, point, gradient)
    for k in range(K):
        for d in range(D):
            gradient[K - 1 + k * D + d] += g_means[k, d]
    pull_back_scales(q, g_scale, problem, point, gradient)
    return value + log_likelihood


LOG_POSTERIOR = Pointer(log_posterior, types.float64, (VECTOR, VECTOR, VECTOR))
