"""The E-step on rows of which more is known than their values, compiled.

Beside its values (NaN where one is missing) a row may have log-weights of its own for the components, an error of measurement, other
rows with which it shares its component, and a share of the mixture whose weights are not those of other rows. All of it stands in the
row of one table, whose columns are

- D values;
- K numbers that are added to the log-weights of the components: what is known of the row's component (0 for nothing);
- the numbers, within the table, of the first row of its set and of the next one (of the last row its own; -1 of a row without others);
- the number of its share: which of the vectors of log-weights is its own;
- how often it counts in its set;
- unless no row has an error, the lower triangle of the error's Cholesky factor F (D (D + 1) / 2), row by row.

Of component k with the covariance L L' a row that has the values o is normal with the covariance (L L' + F F')_oo. With the orthogonal
decomposition ``[L_o, F_o] = C Q`` (C lower triangular, the rows of Q orthonormal) that covariance is C C', and no matrix is ever squared:
``y = C^-1 (x_o - mu_o)`` gives the density, ``z = G' y`` with ``G = Q[:, :D]`` the expectation of the whitened value behind the row, and
``I - G' G`` its covariance (Bovy, Hogg and Roweis 2011, Annals of Applied Statistics 5, 1657-1677, equation 10, in whitened coordinates).
A missing value is an infinite error, and is left out. Rows that stand together and are alike in gaps and error share C and G, and the
sums of their y are turned into those of z once.
"""

import math

import numpy as np

from bayesgmm.kernels.compile import FASTMATH, Pointer, compiled, never_inline, prefer_wide_vectors
from bayesgmm.kernels.estep import (
    EVALUATE,
    STATISTICS,
    _drop_fill,
    _exponentiate,
    _log_joint,
    _log_likelihood,
    _scale,
    _weigh,
    _whole_steps,
    prepare,
    workspace,
)
from bayesgmm.kernels.sums import add_statistics

N_LINKS = 4
"""Columns for the first and the next row of a set (-1 for a row without others), the share, and how often a row counts in its set."""
_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)
_LOWEST = -1.7e308


@compiled()
def _are_alike(one, other, D, first_error):
    """Say whether two rows of the table lack the same values and have the same error."""
    for d in range(D):
        if (one[d] != one[d]) != (other[d] != other[d]):
            return False
    for e in range(first_error, len(one)):
        if one[e] != other[e]:
            return False
    return True


@compiled()
def _end_of_run(table, row, stop, D, first_error):
    """Return the end of the rows that follow a row, before ``stop``, and are like it."""
    end = row + 1
    while end < stop and _are_alike(table[row], table[end], D, first_error):
        end += 1
    return end


@compiled(fastmath=FASTMATH)
def _prepare_run(row, means, scale_tril, centre, diagonal, first_error, wide, whiten, back, constant):
    """Fill what whitens rows like this one: ``whiten`` (K, P, D + 1), ``back`` (K, P, D), which is G, and ``constant`` (K,).

    C and Q are found by Gram and Schmidt, twice. ``wide`` (D, 2 D) is memory. Returns the number of values.
    """
    never_inline()
    K, D, _ = scale_tril.shape
    whiten[:] = 0.0
    back[:] = 0.0
    values = np.empty(D, np.int64)
    m = 0
    for d in range(D):
        if row[d] == row[d]:
            values[m] = d
            m += 1
    has_error = len(row) > first_error
    width = 2 * D if has_error else D
    C, inverse = np.zeros((D, D)), np.zeros((D, D))
    for k in range(K):
        constant[k] = -m * _HALF_LOG_2_PI
        for a in range(m):
            i = values[a]
            for j in range(D):
                wide[a, j] = scale_tril[k, i, j] if (j == i or (j < i and not diagonal)) else 0.0
                if has_error:
                    wide[a, D + j] = row[first_error + i * (i + 1) // 2 + j] if j <= i else 0.0
            for b in range(a):
                C[a, b] = 0.0
            for _ in range(2):
                for b in range(a):
                    s = 0.0
                    for j in range(width):
                        s += wide[a, j] * wide[b, j]
                    C[a, b] += s
                    for j in range(width):
                        wide[a, j] -= s * wide[b, j]
            s = 0.0
            for j in range(width):
                s += wide[a, j] * wide[a, j]
            C[a, a] = math.sqrt(s)
            constant[k] -= math.log(C[a, a])
            for j in range(width):
                wide[a, j] /= C[a, a]
            for j in range(D):
                back[k, a, j] = wide[a, j]
        for a in range(m):
            inverse[a, a] = 1.0 / C[a, a]
            for b in range(a):
                s = 0.0
                for c in range(b, a):
                    s += C[a, c] * inverse[c, b]
                inverse[a, b] = -s / C[a, a]
        for a in range(m):
            for b in range(a + 1):
                i = values[b]
                whiten[k, a, i] = inverse[a, b]
                whiten[k, a, D] -= inverse[a, b] * (means[k, i] - centre[i])
    return m


@compiled(fastmath=FASTMATH)
def _load(table, start, size, centre, block):
    """Copy the values of rows, less the centre and with zeros for gaps, into ``block``; returns the size filled up to whole steps."""
    D = len(centre)
    filled = _whole_steps(size)
    for i in range(size):
        for d in range(D):
            x = table[start + i, d] - centre[d]
            block[d, i] = x if x == x else 0.0
    for d in range(D):
        for i in range(size, filled):
            block[d, i] = 0.0
    return filled


@compiled(fastmath=FASTMATH)
def _whiten_run(block, whiten, size, z):
    """Fill ``z (K, P, B)`` with ``whiten_k @ block``, of triangles whose rows may end before the last."""
    prefer_wide_vectors()
    K, P, _ = z.shape
    D = block.shape[0] - 1
    for k in range(K):
        for p in range(P):
            out, b = z[k, p], whiten[k, p, D]
            for i in range(size):
                out[i] = b
            for d in range(D):
                w = whiten[k, p, d]
                if w == 0.0:
                    continue
                x = block[d]
                for i in range(size):
                    out[i] += w * x[i]


@compiled(fastmath=FASTMATH)
def _joint(table, start, stop, log_weights, means, scale_tril, centre, diagonal, joint, nearest):
    """Fill ``joint (n, K)`` with the log joint densities of rows ``start .. stop``, each for itself; it may have no rows.

    ``nearest (n,)``, unless it is empty, gets the squared distances to the nearest components that a row can be of.
    """
    prefer_wide_vectors()
    never_inline()
    K, D, _ = scale_tril.shape
    first_error = D + K + N_LINKS
    block, z, log_density, _, _, _ = workspace(K, D, stop - start)
    B = block.shape[1]
    whiten, back, constant = np.empty((K, z.shape[1], D + 1)), np.empty((K, z.shape[1], D)), np.empty(K)
    wide = np.empty((D, 2 * D))
    row = start
    while row < stop:
        end = _end_of_run(table, row, stop, D, first_error)
        _prepare_run(table[row], means, scale_tril, centre, diagonal, first_error, wide, whiten, back, constant)
        for begin in range(row, end, B):
            size = min(B, end - begin)
            filled = _load(table, begin, size, centre, block)
            _whiten_run(block, whiten, filled, z)
            _log_joint(filled, constant, z, log_density)
            for i in range(size):
                own, at = table[begin + i], begin + i - start
                share = int(own[D + K + 2]) * K
                least = np.inf
                for k in range(K):
                    known = log_weights[share + k] + own[D + k]
                    joint[at, k] = log_density[k, i] + known
                    if known > -np.inf:
                        least = min(least, 2.0 * (constant[k] - log_density[k, i]))
                if len(nearest) > 0:
                    nearest[at] = max(least, 0.0)
        row = end


@compiled(fastmath=FASTMATH)
def _normalise(values, sample):
    """Turn one row's log joint densities, in place, into responsibilities times ``sample``; returns the log-density.

    A row so far from every component that its density underflows even on the log scale has equal responsibilities.
    """
    top = -np.inf
    for value in values:
        top = max(top, value)
    shift, total = max(top, _LOWEST), 0.0
    for k in range(len(values)):
        values[k] = math.exp(values[k] - shift) if top > -np.inf else 1.0
        total += values[k]
    for k in range(len(values)):
        values[k] *= sample / total
    return top + math.log(total) if top > -np.inf else -np.inf


@compiled(fastmath=FASTMATH)
def _join_set(table, row, start, stop, log_weights, means, scale_tril, centre, diagonal, joint, out):
    """Fill ``out (K,)`` with the log joint density of the whole set of a row; rows outside ``start .. stop`` are evaluated for it.

    Rows count as often as they weigh; the component is drawn once.
    """
    K, D, _ = scale_tril.shape
    share = int(table[row, D + K + 2]) * K
    one, nothing = np.empty((1, K)), np.empty(0)
    for k in range(K):
        out[k] = log_weights[share + k]
    at = int(table[row, D + K])
    while True:
        if at >= start and at < stop:
            own = joint[at - start]
        else:
            _joint(table, at, at + 1, log_weights, means, scale_tril, centre, diagonal, one, nothing)
            own = one[0]
        w = table[at, D + K + 3]
        for k in range(K if w != 0.0 else 0):
            # What has no weight cannot be, however often it is looked at.
            out[k] += w * (own[k] - log_weights[share + k]) if own[k] > -np.inf else -np.inf
        following = int(table[at, D + K + 1])
        if following == at:
            return
        at = following


@compiled()
def _is_of_set(row, D, K):
    """Say whether a row of the table has others with it, which are all rows but the only ones of their sets."""
    return row[D + K + 1] != -1.0


@compiled()
def _count(row, D, K, r, labels):
    """Add a label's responsibilities (K,) to the counts of its share, if these are wanted."""
    if len(labels) > 0:
        share = int(row[D + K + 2]) * K
        for k in range(K):
            labels[share + k] += r[k]


@compiled(fastmath=FASTMATH)
def _respond(table, start, stop, log_weights, means, scale_tril, centre, diagonal, sample_weight, joint, log_density, labels):
    """Turn the log joint densities (n, K) of rows into responsibilities, and fill the log-densities (n,).

    The log-density of a set is shared out in equal parts for each time that a row counts. Responsibilities are as often as rows count,
    where ``sample_weight`` has a number for each row of the table. ``labels`` (S K,), unless it is empty, gets the counts of labels, of
    which a set has one. Returns the log-likelihood of those rows.
    """
    never_inline()
    K, D, _ = scale_tril.shape
    weighted = len(sample_weight) > 0
    together, total = np.empty(K), 0.0
    done = np.zeros(stop - start, np.bool_)
    for row in range(start, stop):
        i = row - start
        if done[i]:
            continue
        if not _is_of_set(table[row], D, K):
            w = sample_weight[row] if weighted else 1.0
            log_density[i] = _normalise(joint[i], w)
            total += w * log_density[i] if w != 0.0 else 0.0
            _count(table[row], D, K, joint[i], labels)
            continue
        _join_set(table, row, start, stop, log_weights, means, scale_tril, centre, diagonal, joint, together)
        value, n = _normalise(together, 1.0), 0.0
        _count(table[row], D, K, together, labels)
        at = int(table[row, D + K])
        while True:
            n += table[at, D + K + 3]
            if int(table[at, D + K + 1]) == at:
                break
            at = int(table[at, D + K + 1])
        at = int(table[row, D + K])
        while True:
            if at >= start and at < stop:
                w = sample_weight[at] if weighted else 1.0
                for k in range(K):
                    joint[at - start, k] = w * together[k]
                log_density[at - start] = value / n if n > 0.0 else 0.0
                done[at - start] = True
                total += table[at, D + K + 3] * log_density[at - start]
            if int(table[at, D + K + 1]) == at:
                break
            at = int(table[at, D + K + 1])
    return total


@compiled()
def _has_sets(table, D, K):
    """Say whether some rows belong together."""
    found = 0
    for row in range(len(table)):
        found += 1 if _is_of_set(table[row], D, K) else 0
    return found > 0


@compiled(fastmath=FASTMATH)
def _add_known(rows, log_weights, joint):
    """Add to the log-densities (K, B) of a block's rows the log-weights of their shares, and what is known of their components."""
    K = len(joint)
    D_K = rows.shape[1]
    for i in range(len(rows)):
        own = rows[i]
        share = int(own[D_K - N_LINKS + 2]) * K
        for k in range(K):
            joint[k, i] += log_weights[share + k] + own[D_K - N_LINKS - K + k]


@compiled(fastmath=FASTMATH)
def _turn_back(back, n, y_first, y_second, diagonal, half, first, second):
    """Add the sums of one component's rows, in y, to those in z: ``G' s``, and ``G' S G + n (I - G' G)``, its lower triangle."""
    m, D = back.shape
    for i in range(D):
        s = 0.0
        for a in range(m):
            s += back[a, i] * y_first[a]
        first[i] += s
    for a in range(m):
        for b in range(m):
            half[a, b] = y_second[a, b] if b <= a else y_second[b, a]
        half[a, a] -= n
    for i in range(D):
        second[i, i] += n
        for j in range(i if diagonal else 0, i + 1):
            s = 0.0
            for a in range(m):
                t = 0.0
                for b in range(m):
                    t += half[a, b] * back[b, j]
                s += back[a, i] * t
            second[i, j] += s


@compiled(fastmath=FASTMATH)
def known_statistics(table, sample_weight, log_weights, means, scale_tril, diagonal):
    """Run the E-step on all rows, on the calling thread; see :func:`bayesgmm.kernels.estep.statistics`.

    ``log_weights`` are (S K,): K for each of the S shares. So are the counts of labels, of which a set has one; after them come K counts of
    rows. First and second moments are those of the values behind
    the rows, in coordinates whitened by the components' factors.
    """
    prefer_wide_vectors()
    never_inline()
    K, D, _ = scale_tril.shape
    N, first_error = len(table), D + K + N_LINKS
    _, inverse_factors, centre, _ = prepare(log_weights[:K], means, scale_tril, diagonal)
    for d in range(D):  # weights of a share may all be zero, so the centre is the components' own
        centre[d] = means[:, d].sum() / K
    counts, first, second = np.zeros(len(log_weights) + K), np.zeros((K, D)), np.zeros((K, D, D))
    block, z, joint, top, sums, inverse = workspace(K, D, N)
    P, B = z.shape[1], block.shape[1]
    whiten, back, constant, wide = np.empty((K, P, D + 1)), np.empty((K, P, D)), np.empty(K), np.empty((D, 2 * D))
    y_counts, y_first, y_second, half = np.empty(K), np.empty((K, P)), np.empty((K, P, P)), np.empty((P, P))
    has_sets, weighted, total = _has_sets(table, D, K), sample_weight.shape[0] > 0, 0.0
    r = np.empty((N if has_sets else 0, K))
    if has_sets:  # rows of a set may be anywhere: all have to be seen before any of them has responsibilities
        log_density = np.empty(N)
        _joint(table, 0, N, log_weights, means, scale_tril, centre, diagonal, r, log_density[:0])
        total = _respond(
            table, 0, N, log_weights, means, scale_tril, centre, diagonal, sample_weight, r, log_density, counts[: len(log_weights)]
        )
    row = 0
    while row < N:
        end = _end_of_run(table, row, N, D, first_error)
        m = _prepare_run(table[row], means, scale_tril, centre, diagonal, first_error, wide, whiten, back, constant)
        y_counts[:], y_first[:], y_second[:] = 0.0, 0.0, 0.0
        for begin in range(row, end, B):
            size = min(B, end - begin)
            filled = _load(table, begin, size, centre, block)
            _whiten_run(block, whiten, filled, z)
            if has_sets:
                for k in range(K):
                    for i in range(size):
                        joint[k, i] = r[begin + i, k]
                    for i in range(size, filled):
                        joint[k, i] = 0.0
            else:
                _log_joint(filled, constant, z, joint)
                _add_known(table[begin : begin + size, :first_error], log_weights, joint)
                _exponentiate(joint, filled, top, sums, inverse)
                if weighted:
                    total += _weigh(sample_weight[begin : begin + size], size, top, sums, inverse)
                _scale(joint, filled, inverse)
                _drop_fill(joint, size, filled, top, sums)
                if not weighted:
                    total += _log_likelihood(top, sums, filled)
            for i in range(0 if has_sets else size):
                share = int(table[begin + i, D + K + 2]) * K
                for k in range(K):
                    counts[share + k] += joint[k, i]
            for k in range(K):
                add_statistics(joint[k], z[k], filled, False, y_counts[k : k + 1], y_first[k], y_second[k])
        for k in range(K):
            counts[len(log_weights) + k] += y_counts[k]
            _turn_back(back[k, :m], y_counts[k], y_first[k], y_second[k], diagonal, half, first[k], second[k])
        row = end
    for k in range(K):  # the sums are of the lower triangles
        for d in range(D):
            for e in range(d):
                second[k, e, d] = second[k, d, e]
    return total, counts, first, second, inverse_factors


@compiled(fastmath=FASTMATH)
def evaluate_known(table, start, stop, prepared, diagonal, log_joint, responsibilities, log_density, nearest):
    """Evaluate rows ``start .. stop``; see :func:`bayesgmm.kernels.estep.evaluate_rows`.

    The constants of ``prepared`` are those of all shares. The joint density of a row of a set is that of the whole set, whose log-density
    its rows share in equal parts.
    """
    prefer_wide_vectors()
    never_inline()
    constant, whiten, _, scale_tril = prepared
    K, D, _ = scale_tril.shape
    n, base = stop - start, np.empty(K)
    means, log_weights, centre = np.empty((K, D)), np.empty(len(constant)), np.zeros(D)
    for k in range(K):
        base[k] = -D * _HALF_LOG_2_PI
        for d in range(D):
            base[k] -= math.log(scale_tril[k, d, d])
            means[k, d] = prepared[2][d]
            for e in range(d + 1):  # the last column of what whitens is -L^-1 (mu - centre)
                means[k, d] -= scale_tril[k, d, e] * whiten[k, e, D] if (e == d or not diagonal) else 0.0
    for d in range(D):
        centre[d] = means[:, d].sum() / K
    for s in range(0, len(constant), K):
        for k in range(K):
            log_weights[s + k] = constant[s + k] - base[k]
    joint, own = np.empty((n, K)), np.empty(n)
    _joint(table, start, stop, log_weights, means, scale_tril, centre, diagonal, joint, nearest)
    if len(log_joint) > 0:
        together = np.empty(K)
        for i in range(n):
            if _is_of_set(table[start + i], D, K):
                _join_set(table, start + i, start, stop, log_weights, means, scale_tril, centre, diagonal, joint, together)
                log_joint[i] = together
            else:
                log_joint[i] = joint[i]
    total = _respond(table, start, stop, log_weights, means, scale_tril, centre, diagonal, own[:0], joint, own, own[:0])
    if len(responsibilities) > 0:
        responsibilities[:n] = joint
    if len(log_density) > 0:
        log_density[:n] = own
    return total


@compiled(fastmath=FASTMATH)
def values_behind(table, start, stop, means, scale_tril, diagonal, responsibilities, uniform, normal, values, variances):
    """Fill the values behind rows ``start .. stop`` with their expectations and variances, or with draws.

    Parameters
    ----------
    table : array of shape (N, D + K + M)
    start, stop : int
    means, scale_tril : arrays of shape (K, D), (K, D, D)
    diagonal : bool
    responsibilities : array of shape (N, K)
    uniform, normal : arrays of shape (N,), (N, 2 D)
        Random numbers to draw a row's component by, and its value; empty for expectations.
    values, variances : arrays of shape (N, D)
    """
    never_inline()
    K, D, _ = scale_tril.shape
    first_error = D + K + N_LINKS
    whiten, back, constant = np.empty((K, D, D + 1)), np.empty((K, D, D)), np.empty(K)
    wide, left, y, noise, centre = np.empty((D, 2 * D)), np.empty((K, D)), np.empty(D), np.zeros(D), np.zeros(D)
    of_error, has_error = np.empty((K, D, D)), table.shape[1] > first_error
    row = start
    while row < stop:
        end = _end_of_run(table, row, stop, D, first_error)
        at = np.flatnonzero(table[row, :D] == table[row, :D])
        m = _prepare_run(table[row], means, scale_tril, centre, diagonal, first_error, wide, whiten, back, constant)
        for k in range(K):
            _errors_part(table[row], scale_tril[k], whiten[k], at, has_error, first_error, of_error[k])
            for d in range(D):  # of the diagonal of L (I - G' G) L'
                left[k, d] = 0.0
                for e in range(d + 1):
                    left[k, d] += scale_tril[k, d, e] ** 2 if (e == d or not diagonal) else 0.0
                for a in range(m):
                    s = 0.0
                    for e in range(d + 1):
                        s += scale_tril[k, d, e] * back[k, a, e] if (e == d or not diagonal) else 0.0
                    left[k, d] -= s * s
        for i in range(row, end):
            drawn = -1
            if len(uniform) > 0:
                drawn, above = 0, uniform[i]
                while drawn < K - 1 and above >= responsibilities[i, drawn]:
                    above -= responsibilities[i, drawn]
                    drawn += 1
            for d in range(D):
                values[i, d], variances[i, d] = 0.0, 0.0
            for k in range(K):
                r = responsibilities[i, k]
                if (drawn >= 0 and k != drawn) or r == 0.0:
                    continue
                if drawn >= 0:
                    r = 1.0
                    noise[:] = normal[i, :D]
                for a in range(m):
                    y[a] = whiten[k, a, D]
                    for d in range(D):
                        y[a] += whiten[k, a, d] * table[i, d] if whiten[k, a, d] != 0.0 else 0.0
                        if drawn >= 0:  # less what a value and an error, drawn alike, would have shown
                            y[a] -= back[k, a, d] * normal[i, d] + of_error[k, a, d] * normal[i, D + d]
                for d in range(D):
                    v = means[k, d]
                    for e in range(d + 1):
                        if e < d and diagonal:
                            continue
                        z = noise[e] if drawn >= 0 else 0.0
                        for a in range(m):
                            z += back[k, a, e] * y[a]
                        v += scale_tril[k, d, e] * z
                    values[i, d] += r * v
                    variances[i, d] += r * (left[k, d] + v * v)
            for d in range(D):
                variances[i, d] = max(variances[i, d] - values[i, d] ** 2, 0.0)
        row = end


@compiled(fastmath=FASTMATH)
def _errors_part(row, factor, whiten, at, has_error, first_error, out):
    """Fill ``C^-1 F_o`` (m, D): what a row's whitened values have of its error."""
    D = len(factor)
    for a in range(len(at)):
        for j in range(D):
            s = 0.0
            for i in at if has_error else at[:0]:
                s += whiten[a, i] * row[first_error + i * (i + 1) // 2 + j] if j <= i else 0.0
            out[a, j] = s


KNOWN_STATISTICS = Pointer(known_statistics, STATISTICS.result, STATISTICS.arguments)
EVALUATE_KNOWN = Pointer(evaluate_known, EVALUATE.result, EVALUATE.arguments)
