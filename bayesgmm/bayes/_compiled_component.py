"""One component of a mixture alone, compiled: its prior, its posterior given its rows, and draws from both.

A component is one vector q: mean, logs of standard deviations and correlations on the unconstrained space of a mixture of one. Its density
given its rows is that of :mod:`bayesgmm.bayes._compiled_log_posterior`, so every family and prior of the package serves.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from bayesgmm.bayes._compiled_coordinates import log_density, unwhitened, whitened
from bayesgmm.bayes._compiled_hmc import adapt, trajectory
from bayesgmm.bayes._compiled_log_posterior import VARIANCES, carry, place
from bayesgmm.kernels.compile import compiled, never_inline
from bayesgmm.kernels.linalg import cholesky

FULL, DIAGONAL, SPHERICAL, TIED = 0, 1, 2, 3
"""Shapes of covariances: of the last, all components have one."""
GROUPS, COMPONENTS, PROPOSED, PROMISING, ACCEPTED = 0, 1, 2, 3, 4
"""Places of the counters of a state."""
_QUARTER = 0.5 * math.pi
_ACCEPTANCE = 0.8
_T_DF = 8.0
"""Degrees of freedom of the t distributions that parameters of new groups are drawn from: heavier tails than what they approximate."""
_TRIES = 4
"""Draws of the parameters of a group that is proposed, or of which the way back is judged."""
_STEP = 1e-4


class Belief(NamedTuple):
    """A conjugate model of one group of rows, normal-inverse-Wishart or what it is for other shapes, in the coordinates of the rows."""

    shape: int
    mean: np.ndarray
    """(D,)"""
    scatter: np.ndarray
    """(D, D): the scale matrix of the covariance."""
    known: np.ndarray
    """(D, D): the Cholesky factor of a covariance that is known."""
    numbers: np.ndarray
    """How many rows the belief in the mean is worth, and the degrees of freedom of the covariance (one column's, if diagonal)."""


class Model(NamedTuple):
    """What a chain does not change, but for the arrays of ``user`` and ``belief``."""

    user: np.ndarray
    """The flat array of the posterior of one component given its rows."""
    belief: Belief
    shape: int
    dynamic: bool
    """Whether the concentration is divided by the number of components."""
    log_number: np.ndarray
    """(most + 1,): log-probabilities of the numbers of components."""
    concentration: np.ndarray
    """(3,): the kind of its distribution, and two parameters of this."""
    inverse: np.ndarray
    """(D, D): what leads from the data's coordinates into the frame of the priors."""
    kind: int
    sd_a: np.ndarray
    sd_b: np.ndarray
    """(S,): parameters of the prior of one component's standard deviations, of a joint one without what components have in common."""
    shared: float
    factors: np.ndarray
    etas: np.ndarray
    eta_constants: np.ndarray
    constant: float
    """Of the flat array, where the factor is one."""


class State(NamedTuple):
    """Where a chain is; all arrays are changed in place. Groups with rows come first."""

    counters: np.ndarray
    """(6,), whole numbers: groups, components, splits and merges proposed and accepted, at the first stage and at all."""
    concentration: np.ndarray
    """(1,)"""
    q: np.ndarray
    """(most, n): one component each."""
    log_weights: np.ndarray
    """(most,)"""
    labels: np.ndarray
    """(N,)"""
    counts: np.ndarray
    centres: np.ndarray
    scatters: np.ndarray
    """(most,), (most, D) and (most, D, D): of the rows of each group."""
    steps: np.ndarray
    """(5,): the step size of trajectories, with what adapts it."""


GROUPS, COMPONENTS, PROPOSED, PROMISING, ACCEPTED_MOVES = 0, 1, 2, 3, 4


@njit(inline="always")
def solve(L, b):
    """Solve ``L L' x = b``."""
    n = b.shape[0]
    x = b.copy()
    for i in range(n):
        for j in range(i):
            x[i] -= L[i, j] * x[j]
        x[i] /= L[i, i]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            x[i] -= L[j, i] * x[j]
        x[i] /= L[i, i]
    return x


@compiled()
def to_data(q, problem, mean, factor):
    """Fill the mean (D,) and the Cholesky factor (D, D) of a component of the data."""
    never_inline()
    point, _ = place(q, problem)
    means, scale_tril = point.means, point.scale_tril
    if problem.turn.shape[0] > 0:
        means, scale_tril = carry(point.means, point.scale_tril, problem)
    mean[:] = means[0]
    factor[:] = scale_tril[0]


@njit(inline="always")
def to_frame(model, problem, x, out):
    """Fill the place (D,) in the frame of a point (D,) of the data."""
    for i in range(x.shape[0]):
        out[i] = 0.0
        for j in range(x.shape[0]):
            out[i] += model.inverse[i, j] * (x[j] - centre_of(problem, j))


@njit(inline="always")
def centre_of(problem, i):
    """The frame's centre along a column: zero where there is no frame."""
    return problem.center[i] if problem.center.shape[0] > 0 else 0.0


@compiled()
def _draw_sd(kind, a, b, rng):
    """Draw a standard deviation from the menu of priors, as its log."""
    if kind == 0:  # half-normal
        return math.log(max(abs(rng.standard_normal()) * a, 1e-150))
    if kind == 1:  # half-Cauchy
        return math.log(max(abs(math.tan(math.pi * (rng.random() - 0.5))) * a, 1e-150))
    if kind == 2:  # half-Student-t
        return math.log(max(abs(rng.standard_normal()) / math.sqrt(rng.standard_gamma(0.5 * a) / (0.5 * a)) * b, 1e-150))
    if kind == 3:  # log-normal
        return a + b * rng.standard_normal()
    if kind == 4:  # exponential
        return math.log(max(rng.standard_exponential() * a, 1e-150))
    if kind == VARIANCES:
        return 0.5 * (math.log(b) - math.log(max(rng.standard_gamma(a), 1e-300)))
    return math.log(max(rng.standard_gamma(a) / b, 1e-150))  # gamma


@compiled()
def draw_from_prior(problem, q, with_covariance, rng):
    """Draw one component from the prior, given what all components have in common, into q; its mean alone unless ``with_covariance``.

    Correlations come from the onion method (Lewandowski, Kurowicka and Joe 2009, section 3.2).
    """
    never_inline()
    D = problem.D
    for d in range(D):
        q[d] = problem.loc[d] + problem.scale[d] * rng.standard_normal()
    if not with_covariance:
        return
    S = problem.prior_a.shape[0]
    for p in range(S):
        q[D + p] = _draw_sd(problem.kind, problem.prior_a[p], problem.prior_b[p], rng)
    if problem.n_matrices == 0:
        return
    eta, factor = problem.etas[0], np.zeros((D, D))
    factor[0, 0] = 1.0
    for i in range(1, D):
        left = rng.beta(eta + 0.5 * (D - 1 - i), 0.5 * i)
        square = 0.0
        for j in range(i):
            factor[i, j] = rng.standard_normal()
            square += factor[i, j] * factor[i, j]
        length = math.sqrt((1.0 - left) / square)
        for j in range(i):
            factor[i, j] *= length
        factor[i, i] = max(math.sqrt(left), 1e-150)
    for p in range(D * (D - 1) // 2):
        i = int(problem.order[2 * p])
        q[D + S + p] = factor[i, int(problem.order[2 * p + 1])] / factor[i, i]


@njit(inline="always")
def _write_rows(model, n, centre, scatter):
    """Tell the flat array of one component which rows it has."""
    D = centre.shape[0]
    numbers = model.user[model.user.shape[0] - 1 - D - D * D :]
    numbers[0] = n
    for i in range(D):
        numbers[1 + i] = centre[i]
        for j in range(D):
            numbers[1 + D + i * D + j] = scatter[i, j]


@compiled()
def _geometry(model, problem, n, centre, scatter, mean, roots, factors):
    """Fill where the parameters of a group with such rows are about, and on which scale.

    ``mean`` (D,) in the frame, ``roots`` (1, D, D) the Cholesky factor that its covariance is seen from (its diagonal, without
    correlations), and ``factors`` the flat blocks of the metric's root: one of the mean, and one for each other number. They depend on the
    rows and on the prior alone, so trajectories and proposals may go by them.
    """
    never_inline()
    D = problem.D
    belief, S = model.belief, problem.prior_a.shape[0]
    kappa, df = belief.numbers[0], belief.numbers[1]
    worth = max(df - D - 1.0, 1.0) if problem.n_matrices > 0 else max(df - 2.0, 1.0)
    A, half = np.zeros((D, D)), np.zeros((D, D))
    for i in range(D):
        for j in range(D):
            A[i, j] = (scatter[i, j] + belief.scatter[i, j]) / (n + worth)
    for i in range(D):
        for j in range(D):
            s = 0.0
            for m in range(D):
                s += model.inverse[i, m] * A[m, j]
            half[i, j] = s
    for i in range(D):
        for j in range(D):
            s = 0.0
            for m in range(D):
                s += half[i, m] * model.inverse[j, m]
            A[i, j] = s
    root = roots[0]
    if problem.n_matrices > 0:
        cholesky(A, root)
    else:
        pooled = 0.0
        for i in range(D):
            pooled += A[i, i] / D
        for i in range(D):
            root[i, i] = math.sqrt(pooled if S == 1 else A[i, i])
    for i in range(D):
        half[0, i] = (kappa * belief.mean[i] + n * centre[i]) / (kappa + n)
    to_frame(model, problem, half[0], mean)
    scale = 1.0 / math.sqrt(n + kappa)
    for i in range(D):
        for j in range(D):
            factors[i * D + j] = scale * root[i, j] if j <= i else 0.0
    per_sd = D / S
    for p in range(S):
        factors[D * D + p] = 1.0 / math.sqrt(2.0 * per_sd * (n + worth))
    for p in range(factors.shape[0] - D * D - S):
        factors[D * D + S + p] = 1.0 / math.sqrt(n + worth)


@njit(inline="always")
def _no_roots(problem, roots):
    """The covariances that others are seen from: none where there are no correlations."""
    return roots if problem.n_matrices > 0 else roots[:0]


@njit(inline="always")
def _bounds(D, n):
    """Where the blocks of the metric begin, and the order of their coordinates."""
    bounds = np.empty(n - D + 2, np.int64)
    bounds[0] = 0
    for b in range(n - D + 1):
        bounds[b + 1] = D + b
    return bounds, np.arange(n)


@compiled()
def move(log_posterior, model, problem, q, n, centre, scatter, steps, adapting, rng):
    """Move the parameters q of one group given its rows, by a Hamiltonian trajectory."""
    never_inline()
    D, dim = problem.D, q.shape[0]
    mean, roots, factors = np.empty(D), np.zeros((1, D, D)), np.empty(D * D + dim - D)
    _geometry(model, problem, n, centre, scatter, mean, roots, factors)
    _write_rows(model, n, centre, scatter)
    bounds, order = _bounds(D, dim)
    metric = (factors, bounds, order, np.empty((0, dim)), np.empty(0))
    momentum, uniforms, report = rng.standard_normal(dim), rng.random(2), np.empty(3)
    trajectory(log_posterior, model.user, q, _no_roots(problem, roots), metric, momentum, uniforms, _QUARTER, steps[0], report)
    if adapting:
        adapt(steps, report[0], _ACCEPTANCE)


class Approximation(NamedTuple):
    """A t distribution about the mode of the parameters of one group given its rows."""

    origin: np.ndarray
    """(n,): the coordinates about which it is written."""
    roots: np.ndarray
    factors: np.ndarray
    mode: np.ndarray
    """(n,)"""
    curvature: np.ndarray
    """(n, n): Cholesky factor."""
    log_volume: float


@njit(inline="always")
def _spread(factors, D, y, x):
    """Fill x with the root of the metric times y, in addition to what it holds."""
    for i in range(D):
        for j in range(i + 1):
            x[i] += factors[i * D + j] * y[j]
    for p in range(y.shape[0] - D):
        x[D + p] += factors[D * D + p] * y[D + p]


@njit(inline="always")
def _slopes(factors, D, gradient, out):
    """Fill the gradient in y, given that in x."""
    for j in range(D):
        s = 0.0
        for i in range(j, D):
            s += factors[i * D + j] * gradient[i]
        out[j] = s
    for p in range(gradient.shape[0] - D):
        out[D + p] = factors[D * D + p] * gradient[D + p]


@compiled()
def approximate(log_posterior, model, problem, n, centre, scatter, dim):
    """Return the approximation to the parameters of a group with such rows; the flat array is told these rows.

    Two Newton steps from where a conjugate model would have the mode, by second derivatives that are differences of gradients there.
    """
    never_inline()
    D = problem.D
    mean, roots, factors = np.empty(D), np.zeros((1, D, D)), np.empty(D * D + dim - D)
    _geometry(model, problem, n, centre, scatter, mean, roots, factors)
    _write_rows(model, n, centre, scatter)
    seen_from = _no_roots(problem, roots)
    origin, x, q = np.zeros(dim), np.empty(dim), np.empty(dim)
    origin[:D] = mean
    if problem.n_matrices == 0:
        S = problem.prior_a.shape[0]
        for p in range(S):
            origin[D + p] = math.log(roots[0, p, p])
    gradient, slopes, there = np.empty(dim), np.empty(dim), np.empty(dim)
    log_density(log_posterior, model.user, origin, seen_from, q, gradient)
    _slopes(factors, D, gradient, slopes)
    H, y = np.empty((dim, dim)), np.zeros(dim)
    for i in range(dim):
        y[i] = _STEP
        x[:] = origin
        _spread(factors, D, y, x)
        log_density(log_posterior, model.user, x, seen_from, q, gradient)
        _slopes(factors, D, gradient, there)
        for j in range(dim):
            H[i, j] = (slopes[j] - there[j]) / _STEP
        y[i] = 0.0
    for i in range(dim):
        for j in range(i):
            H[i, j] = H[j, i] = 0.5 * (H[i, j] + H[j, i])
    curvature, ridge = np.zeros((dim, dim)), 0.0
    while not cholesky(H, curvature) and ridge < 1e6:
        more = max(0.1, ridge)
        ridge += more
        for i in range(dim):
            H[i, i] += more
    if not ridge < 1e6:  # nothing that has a number is known there: the metric alone
        for i in range(dim):
            slopes[i] = 0.0
            for j in range(dim):
                curvature[i, j] = 1.0 if i == j else 0.0
    mode = np.zeros(dim)
    for t in range(3):
        step = solve(curvature, slopes)
        length = 0.0
        for i in range(dim):
            length = max(length, abs(step[i]))
        shorter = min(1.0, 3.0 / max(length, 1e-300))
        for i in range(dim):
            mode[i] += shorter * step[i]
        if t < 2:
            x[:] = origin
            _spread(factors, D, mode, x)
            log_density(log_posterior, model.user, x, seen_from, q, gradient)
            _slopes(factors, D, gradient, slopes)
            for i in range(dim):
                if not abs(slopes[i]) < 1e10:
                    slopes[:] = 0.0
                    mode[:] = 0.0
    log_volume = 0.0
    for i in range(D):
        log_volume += math.log(factors[i * D + i])
    for p in range(dim - D):
        log_volume += math.log(factors[D * D + p])
    return Approximation(origin, roots, factors, mode, curvature, log_volume)


@compiled()
def propose(approximation, model, problem, q, rng):
    """Fill q with a draw from the approximation."""
    never_inline()
    dim, D = q.shape[0], problem.D
    z = rng.standard_normal(dim)
    stretch = 1.0 / math.sqrt(rng.standard_gamma(0.5 * _T_DF) / (0.5 * _T_DF))
    for i in range(dim - 1, -1, -1):
        for j in range(i + 1, dim):
            z[i] -= approximation.curvature[j, i] * z[j]
        z[i] /= approximation.curvature[i, i]
    for i in range(dim):
        z[i] = approximation.mode[i] + stretch * z[i]
    x = approximation.origin.copy()
    _spread(approximation.factors, D, z, x)
    unwhitened(x, model.user, _no_roots(problem, approximation.roots), q)


@compiled()
def log_proposal(approximation, model, problem, q):
    """Return the log-density of the approximation at q, on the unconstrained space."""
    never_inline()
    dim, D = q.shape[0], problem.D
    x = np.empty(dim)
    whitened(q, model.user, _no_roots(problem, approximation.roots), x)
    y, factors = np.empty(dim), approximation.factors
    for i in range(D):
        s = x[i] - approximation.origin[i]
        for j in range(i):
            s -= factors[i * D + j] * y[j]
        y[i] = s / factors[i * D + i]
    for p in range(D, dim):
        y[p] = (x[p] - approximation.origin[p]) / factors[D * D + p - D]
    square, log_det, L = 0.0, 0.0, approximation.curvature
    for i in range(dim):
        y[i] -= approximation.mode[i]
    for j in range(dim):
        s = 0.0
        for i in range(j, dim):
            s += L[i, j] * y[i]
        square += s * s
        log_det += math.log(L[j, j])
    value = math.lgamma(0.5 * (_T_DF + dim)) - math.lgamma(0.5 * _T_DF) - 0.5 * dim * math.log(_T_DF * math.pi)
    return value + log_det - 0.5 * (_T_DF + dim) * math.log1p(square / _T_DF) - approximation.log_volume


@compiled()
def log_evidence(log_posterior, approximation, model, problem, q, proposed, rng):
    """Return an estimate of the log marginal likelihood of the rows of a group, by a few importance draws of its parameters.

    Its parameters q are one of the draws: picked by their weights, if they are ``proposed``, or else those of now, beside which the
    others are drawn. A proposal that is judged by such estimates is exact (Andrieu, Doucet and Holenstein 2010, Journal of the Royal
    Statistical Society B 72, 269-342, with a single step of time).
    """
    never_inline()
    dim = q.shape[0]
    draw, gradient, top, total = np.empty(dim), np.empty(dim), -np.inf, 0.0
    for m in range(_TRIES):
        if m == 0 and not proposed:
            draw[:] = q
        else:
            propose(approximation, model, problem, draw, rng)
        log_weight = log_posterior(draw, model.user, gradient) - log_proposal(approximation, model, problem, draw)
        if not log_weight > -np.inf:
            continue
        if log_weight > top:
            total *= math.exp(top - log_weight)
            top = log_weight
        weight = math.exp(log_weight - top)
        total += weight
        if proposed and rng.random() * total < weight:  # one of all, by their weights
            q[:] = draw
    return top + math.log(total / _TRIES) if total > 0.0 else -np.inf


@compiled()
def precision_in_frame(problem, factor):
    """Return the precision matrix (D, D), in the frame, of a component of the data whose Cholesky factor is given."""
    never_inline()
    D = problem.D
    half, precision = np.zeros((D, D)), np.zeros((D, D))
    turn = np.zeros((D, D))
    for i in range(D):
        for j in range(D):
            turn[i, j] = problem.turn[i * D + j] if problem.turn.shape[0] > 0 else (1.0 if i == j else 0.0)
    for c in range(D):  # L^-1 F
        for i in range(D):
            s = turn[i, c]
            for m in range(i):
                s -= factor[i, m] * half[m, c]
            half[i, c] = s / factor[i, i]
    for i in range(D):
        for j in range(D):
            for m in range(D):
                precision[i, j] += half[m, i] * half[m, j]
    return precision


@compiled()
def mean_given_covariance(model, problem, n, centre, precision, mean, rng, drawing):
    """Return the log marginal likelihood of n rows, but for what is the same however rows are dealt out, given their covariance.

    With ``drawing`` their mean (D,), in the frame, is drawn: its distribution is normal.
    """
    never_inline()
    D = problem.D
    own, z = np.empty(D), np.zeros(D)
    to_frame(model, problem, centre, own)
    P, b = np.empty((D, D)), np.zeros(D)
    value = 0.0
    for i in range(D):
        prior = 1.0 / (problem.scale[i] * problem.scale[i])
        b[i] = prior * problem.loc[i]
        value -= 0.5 * prior * problem.loc[i] * problem.loc[i] + math.log(problem.scale[i])
        for j in range(D):
            P[i, j] = n * precision[i, j]
            b[i] += n * precision[i, j] * own[j]
        P[i, i] += prior
    L = np.zeros((D, D))
    cholesky(P, L)
    for i in range(D):
        s = b[i]
        for j in range(i):
            s -= L[i, j] * z[j]
        z[i] = s / L[i, i]
        value += 0.5 * z[i] * z[i] - math.log(L[i, i])
    if drawing:
        for i in range(D):
            z[i] += rng.standard_normal()
        for i in range(D - 1, -1, -1):
            s = z[i]
            for j in range(i + 1, D):
                s -= L[j, i] * mean[j]
            mean[i] = s / L[i, i]
    return value
