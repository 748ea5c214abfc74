"""The E-step on rows with missing values (NaN), compiled: one pass over all patterns of gaps.

Whitened by a component, ``z = W (x - mu)`` with ``W = L^-1``, what a row lacks moves z along the columns of W that belong to its gaps.
Whatever stands in the gaps, z less its projection on these columns is the expectation of z given what was seen, the projection itself the
conditional covariance, and the squared length of the rest the marginal density's. So a block of rows is whitened as if it were complete,
and then an orthonormal basis of a few columns closes the gaps of each row. A row that has less than it lacks is projected on what it
has instead, the rows of L: the smaller basis serves. No covariance is formed, and where one is near singular rounding takes no more of
such rows than of complete ones.

Bases are made for all patterns of a block at once, one pattern beside the other, so that the inner loops run over patterns: a pattern of
its own costs a row little more than its gaps do. Diagonal factors need none: a gap is a zero in z and a one in its square. Rows may come
in any order; those with the same gaps share a basis where they stand together in a block.
"""

import math
from typing import NamedTuple

import numpy as np

from bayesgmm.kernels.compile import FASTMATH, Pointer, compiled, never_inline, prefer_wide_vectors
from bayesgmm.kernels.estep import (
    EVALUATE,
    STATISTICS,
    _drop_fill,
    _exponentiate,
    _load_block,
    _log_joint,
    _log_likelihood,
    _scale,
    _weigh,
    _whiten,
    _whole_steps,
    _write,
    _write_nearest,
    prepare,
    workspace,
)
from bayesgmm.kernels.exp import log_normal
from bayesgmm.kernels.sums import add_statistics

_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


class Gaps(NamedTuple):
    """The gaps of one block of rows, which stand sorted: complete ones first, then by the vectors that close their gaps.

    A pattern's vectors have levels 0, 1, ...; those of one level lie beside each other, pattern after pattern.
    """

    order: np.ndarray
    """(B,): which row stands where."""
    pattern: np.ndarray
    """(B,): of each row that is not complete."""
    first_row: np.ndarray
    """(B,): of each pattern."""
    lacks: np.ndarray
    """(B,): how many columns a pattern lacks."""
    from_seen: np.ndarray
    """(B,): one for a pattern whose vectors span what it has, zero if they span what it lacks."""
    first_pattern: np.ndarray
    """(levels,): the first pattern with a vector of this level."""
    first_vector: np.ndarray
    """(levels + 1,): where its vector is, and where the last one ends."""
    source: np.ndarray
    """Of each vector: which column it is made of; D more for a row of L."""
    owner: np.ndarray
    """Of each vector: its pattern."""
    sizes: np.ndarray
    """(5,): rows, complete rows, patterns, levels, and patterns whose vectors span what they have."""


class Room(NamedTuple):
    """What a pass works in beside the arrays of :func:`bayesgmm.kernels.estep.workspace`."""

    gaps: Gaps
    block: np.ndarray
    z: np.ndarray
    joint: np.ndarray
    sources: np.ndarray
    """What vectors are made of (K, D, 2 D): the columns of W times the diagonal of L, then the rows of L by it; neither has units."""
    log_diagonals: np.ndarray
    """(K, D): of the factors."""
    vectors: np.ndarray
    """Flat: those of a block are (K, P, V)."""
    constants: np.ndarray
    """(K, B): what the constants of a pattern's marginal densities have more than that of all columns."""
    absent: np.ndarray
    """(D, B): one where a value is missing, zero where it is not; of diagonal factors alone."""
    folded: np.ndarray
    """(K, P, D + 1): what whitens the rows of a pattern and closes their gaps at once."""
    scratch: np.ndarray
    """(D + 1, B)"""
    at: np.ndarray
    """(B,): a vector of each row."""


@compiled()
def _room(whiten, scale_tril, block, z, joint, diagonal):
    """Return memory for blocks of as many rows as ``joint`` has."""
    K, D, _ = scale_tril.shape
    B = joint.shape[1]
    levels = 0 if diagonal else D // 2
    size = max(B, D + 1)
    rows = np.empty((5, size), np.int64)
    ends, vectors = np.zeros((2, levels + 1), np.int64), np.empty((2, _whole_steps(B * levels)), np.int64)
    gaps = Gaps(rows[0], rows[1], rows[2], rows[3], rows[4], ends[0], ends[1], vectors[0], vectors[1], np.zeros(5, np.int64))
    sources = np.empty((0 if diagonal else K, D, 2 * D))
    log_diagonals = np.empty((K, D))
    for k in range(K):
        for j in range(D):
            log_diagonals[k, j] = math.log(scale_tril[k, j, j])
    for k in range(len(sources)):
        for i in range(D):
            for j in range(D):
                sources[k, i, j] = whiten[k, i, j] * scale_tril[k, j, j]
                sources[k, i, D + j] = scale_tril[k, j, i] / scale_tril[k, j, j] if i <= j else 0.0
    memory = np.empty(z.shape[0] * z.shape[1] * vectors.shape[1])
    absent, scratch = np.empty((D if diagonal else 0, B)), np.empty((D + 1, size))
    constants, folded = np.empty((K, B)), np.empty_like(whiten)
    return Room(gaps, block, z, joint, sources, log_diagonals, memory, constants, absent, folded, scratch, np.empty(size, np.int64))


@compiled()
def _sort_rows(X, start, size, gaps):
    """Sort rows ``start .. start + size`` into ``gaps.order``; returns how many are complete. Rows that are sorted already stay."""
    D = X.shape[1]
    ends = np.zeros(D // 2 + 3, np.int64)
    n_vectors = gaps.pattern
    for i in range(size):
        row = X[start + i]
        lacks = 0
        for d in range(D):
            lacks += 1 if row[d] != row[d] else 0
        n_vectors[i] = 1 + min(lacks, D - lacks) if lacks > 0 else 0
        ends[n_vectors[i] + 1] += 1
    complete = ends[1]
    for v in range(1, len(ends)):
        ends[v] += ends[v - 1]
    for i in range(size):
        gaps.order[ends[n_vectors[i]]] = i
        ends[n_vectors[i]] += 1
    return complete


@compiled()
def _are_alike(one, other):
    """Say whether two rows lack the same columns."""
    differ = 0
    for d in range(len(one)):
        differ += 1 if (one[d] != one[d]) != (other[d] != other[d]) else 0
    return differ == 0


@compiled()
def _find_gaps(X, start, size, gaps):
    """Describe the gaps of a block; says whether its vectors are those of the block before: both have one pattern alone, the same."""
    never_inline()
    D = X.shape[1]
    before = gaps.source[: gaps.sizes[3] if gaps.sizes[2] == 1 and gaps.sizes[1] == 0 else 0].copy()
    complete = _sort_rows(X, start, size, gaps)
    n = levels = n_from_seen = 0
    for i in range(complete, size):
        row = X[start + gaps.order[i]]
        if n == 0 or not _are_alike(row, X[start + gaps.order[i - 1]]):
            lacks = 0
            for d in range(D):
                lacks += 1 if row[d] != row[d] else 0
            gaps.first_row[n], gaps.lacks[n], gaps.from_seen[n] = i, lacks, 1 if 2 * lacks > D else 0
            n_from_seen += gaps.from_seen[n]
            levels = min(lacks, D - lacks)
            n += 1
        gaps.pattern[i] = n - 1
    _lay_out(X, start, n, levels, gaps)
    gaps.sizes[0], gaps.sizes[1], gaps.sizes[2], gaps.sizes[3], gaps.sizes[4] = size, complete, n, levels, n_from_seen
    if n != 1 or complete > 0 or levels == 0 or levels != len(before):
        return False
    return (gaps.source[:levels] == before).all()


@compiled()
def _lay_out(X, start, n, levels, gaps):
    """Give each vector of n patterns its place, and fill up to whole steps with vectors that are never made."""
    D = X.shape[1]
    place = 0
    for level in range(levels):
        first = 0
        while min(gaps.lacks[first], D - gaps.lacks[first]) <= level:
            first += 1
        gaps.first_pattern[level], gaps.first_vector[level] = first, place
        place += n - first
    gaps.first_vector[levels] = place
    for p in range(n):
        row = X[start + gaps.order[gaps.first_row[p]]]
        level = 0
        for d in range(D):
            if (row[d] == row[d]) == (gaps.from_seen[p] == 1):
                at = gaps.first_vector[level] + p - gaps.first_pattern[level]
                gaps.source[at], gaps.owner[at] = d + D * gaps.from_seen[p], p
                level += 1
    for at in range(place, _whole_steps(place)):
        gaps.source[at], gaps.owner[at] = 0, 0


@compiled()
def _load(X, start, size, centre, gaps, block):
    """Copy the block's rows, sorted and less the centre, into ``block``, feature by feature, with zeros for gaps and after the last row.

    Returns the size filled up to whole steps.
    """
    D = X.shape[1]
    filled = _whole_steps(size)
    for i in range(size):
        row = X[start + gaps.order[i]]
        for d in range(D):
            x = row[d] - centre[d]
            block[d, i] = x if x == x else 0.0
    for d in range(D):
        for i in range(size, filled):
            block[d, i] = 0.0
    return filled


@compiled(fastmath=FASTMATH)
def _orthonormal(source, gaps, vectors, log_volume):
    """Fill one component's vectors (P, V), orthonormal within each pattern, and the logs of the volumes that they spanned before.

    By Gram and Schmidt, twice, which leaves them orthogonal to all digits (Giraud, Langou and Rozloznik 2005, Computers and Mathematics
    with Applications 50, 1069-1075).
    """
    prefer_wide_vectors()
    never_inline()
    D, (_, _, n_patterns, levels, _) = len(source), gaps.sizes
    n_vectors = _whole_steps(gaps.first_vector[levels])
    t = np.empty(n_patterns)
    for d in range(D):
        for v in range(n_vectors):
            vectors[d, v] = source[d, gaps.source[v]]
    for d in range(D, len(vectors)):
        for v in range(n_vectors):
            vectors[d, v] = 0.0
    for p in range(n_patterns):
        log_volume[p] = 0.0
    for level in range(levels):
        first, n = gaps.first_pattern[level], n_patterns - gaps.first_pattern[level]
        own = vectors[:D, gaps.first_vector[level] : gaps.first_vector[level] + n]
        for below in range(2 * level):
            below = below % level
            at = gaps.first_vector[below] + first - gaps.first_pattern[below]
            _subtract_projection(vectors[:D, at : at + n], own, t)
        for p in range(n):
            t[p] = 0.0
        for d in range(D):
            for p in range(n):
                t[p] += own[d, p] * own[d, p]
        volume = log_volume[first:]
        for p in range(n):
            volume[p] += 0.5 * log_normal(t[p])
            t[p] = 1.0 / math.sqrt(t[p])
        for d in range(D):
            for p in range(n):
                own[d, p] *= t[p]


@compiled(fastmath=FASTMATH)
def _subtract_projection(unit, own, t):
    """Make each of the vectors ``own`` (D, n), side by side, orthogonal to the unit vector beside it."""
    prefer_wide_vectors()
    D, n = own.shape
    for p in range(n):
        t[p] = 0.0
    for d in range(D):
        u, v = unit[d], own[d]
        for p in range(n):
            t[p] += u[p] * v[p]
    for d in range(D):
        u, v = unit[d], own[d]
        for p in range(n):
            v[p] -= t[p] * u[p]


@compiled(fastmath=FASTMATH)
def _project(vectors, gaps, size, z, before, t, at):
    """Replace one component's first ``size`` whitened rows z (P, B) by their expectations given what was seen of them."""
    prefer_wide_vectors()
    never_inline()
    _, complete, _, levels, n_from_seen = gaps.sizes
    D = len(before)
    if n_from_seen > 0:
        for d in range(D):
            for i in range(complete, size):
                before[d, i] = z[d, i]
    for level in range(levels):
        first = gaps.first_row[gaps.first_pattern[level]]
        shift = gaps.first_vector[level] - gaps.first_pattern[level]
        for i in range(first, size):
            at[i] = gaps.pattern[i] + shift
            t[i] = 0.0
        for d in range(D):
            u, x = vectors[d], z[d]
            for i in range(first, size):
                t[i] += u[at[i]] * x[i]
        for d in range(D):
            u, x = vectors[d], z[d]
            for i in range(first, size):
                x[i] -= t[i] * u[at[i]]
    if n_from_seen > 0:  # these were what is left of z outside of what was seen
        for i in range(complete, size):
            if gaps.from_seen[gaps.pattern[i]] == 1:
                for d in range(D):
                    z[d, i] = before[d, i] - z[d, i]


@compiled()
def _fill_constants(X, start, gaps, log_diagonal, constants):
    """Turn the logs of the volumes of one component's vectors into what the constants of marginal densities have more.

    The log-determinant of a marginal covariance is that of L less that of what is missing given the rest; vectors that span what is there
    have it the other way round, and with the diagonal of L taken out of both they need the same.
    """
    for p in range(gaps.sizes[2]):
        row, more = X[start + gaps.order[gaps.first_row[p]]], 0.0
        for d in range(len(row)):
            more += 0.0 if row[d] == row[d] else log_diagonal[d] + _HALF_LOG_2_PI
        constants[p] = more - constants[p]


@compiled()
def _add_conditional(vectors, gaps, r, share, weight, aside, second):
    """Add one component's ``sum r C`` to its moments: C is the covariance of z given what was seen."""
    size, complete, n_patterns, levels, _ = gaps.sizes
    n_vectors = gaps.first_vector[levels]
    for p in range(n_patterns):
        share[p] = 0.0
    for i in range(complete, size):
        share[gaps.pattern[i]] += r[i]
    whole = 0.0
    for p in range(n_patterns):
        if gaps.from_seen[p] == 1:
            whole += share[p]
            share[p] = -share[p]
    for d in range(len(second)):
        second[d, d] += whole
    for v in range(_whole_steps(n_vectors)):
        weight[v] = share[gaps.owner[v]] if v < n_vectors else 0.0
    add_statistics(weight, vectors, _whole_steps(n_vectors), False, aside[:1], aside[1:], second)


@compiled()
def _vectors_of(room):
    """Return the vectors (K, P, V) of the block."""
    K, P, _ = room.z.shape
    V = _whole_steps(room.gaps.first_vector[room.gaps.sizes[3]])
    return room.vectors[: K * P * V].reshape((K, P, V))


@compiled(fastmath=FASTMATH)
def _load_diagonal(X, start, size, centre, block, absent):
    """Copy the block's rows, less the centre, into ``block``, feature by feature, and mark their gaps; returns the whole steps."""
    prefer_wide_vectors()
    D = X.shape[1]
    filled = _whole_steps(size)
    for i in range(size):
        for d in range(D):
            block[d, i] = X[start + i, d] - centre[d]
    for d in range(D):
        for i in range(size, filled):
            block[d, i] = 0.0
        for i in range(filled):
            x = block[d, i]
            absent[d, i] = 0.0 if x == x else 1.0
            block[d, i] = x if x == x else 0.0
    return filled


@compiled(fastmath=FASTMATH)
def _blank(absent, log_diagonal, filled, z, joint):
    """Let gaps of rows whitened by a diagonal factor be zero, and give the log joint densities (B,) what their constants have more."""
    prefer_wide_vectors()
    for i in range(filled):
        joint[i] = 0.0
    for d in range(len(absent)):
        a, x, more = absent[d], z[d], log_diagonal[d] + _HALF_LOG_2_PI
        for i in range(filled):
            x[i] -= a[i] * x[i]
            joint[i] += a[i] * more


@compiled(fastmath=FASTMATH)
def _add_absent(absent, filled, r, second):
    """Add one component's variances of what is missing to its moments, for a diagonal factor."""
    prefer_wide_vectors()
    for d in range(len(absent)):
        a, s = absent[d], 0.0
        for i in range(filled):
            s += a[i] * r[i]
        second[d, d] += s


@compiled()
def _whiten_gapped(X, start, size, centre, whiten, diagonal, room):
    """Whiten rows ``start .. start + size`` and close their gaps; returns the size filled up to whole steps.

    ``room.joint`` is left with what the log joint densities have more than is in the constant and in z.
    """
    never_inline()
    gaps, block, z, joint = room.gaps, room.block, room.z, room.joint
    if diagonal:
        for i in range(size):
            gaps.order[i] = i
        filled = _load_diagonal(X, start, size, centre, block, room.absent)
        _whiten(block, whiten, filled, diagonal, z)
        for k in range(len(z)):
            _blank(room.absent, room.log_diagonals[k], filled, z[k], joint[k])
        return filled
    if not _has_gaps(X[start : start + size]):
        for i in range(size):
            gaps.order[i] = i
        gaps.sizes[0], gaps.sizes[1], gaps.sizes[2:] = size, size, 0
        gaps.first_vector[0] = 0
        joint[:] = 0.0
        filled = _load_block(X, start, size, centre, block)
        _whiten(block, whiten, filled, diagonal, z)
        return filled
    is_known = _find_gaps(X, start, size, gaps)
    filled = _load(X, start, size, centre, gaps, block)
    vectors, D = _vectors_of(room), len(centre)
    _, complete, n_patterns, _, _ = gaps.sizes
    for k in range(0 if is_known else len(z)):
        _orthonormal(room.sources[k], gaps, vectors[k], room.constants[k])
        _fill_constants(X, start, gaps, room.log_diagonals[k], room.constants[k])
    if n_patterns == 1 and complete == 0:
        for k in range(len(z)):
            if not is_known:
                room.folded[k] = whiten[k]
                gaps.pattern[: D + 1] = 0
                _project(vectors[k], gaps, D + 1, room.folded[k], room.scratch[:D], room.scratch[D], room.at)
            np.dot(room.folded[k], block, z[k])
    else:
        _whiten(block, whiten, filled, diagonal, z)
        for k in range(len(z)):
            _project(vectors[k], gaps, size, z[k], room.scratch[:D], room.scratch[D], room.at)
    for k in range(len(z)):
        for i in range(filled):
            joint[k, i] = room.constants[k, gaps.pattern[i]] if i >= complete and i < size else 0.0
    return filled


@compiled(fastmath=FASTMATH)
def _has_gaps(X):
    """Say whether a value is missing, or values are so large that their sum is none."""
    prefer_wide_vectors()
    total = 0.0
    for x in X.reshape(X.size):
        total += x
    return total != total


@compiled(fastmath=FASTMATH)
def gapped_statistics(X, sample_weight, log_weights, means, scale_tril, diagonal):
    """Run the E-step on all rows, on the calling thread: :func:`bayesgmm.kernels.estep.statistics` where NaN stands for a missing value.

    The statistics are expectations given what was seen.
    """
    prefer_wide_vectors()
    never_inline()
    constant, whiten, centre, _ = prepare(log_weights, means, scale_tril, diagonal)
    N = X.shape[0]
    K, D = means.shape
    counts, first, second, aside = np.zeros(K), np.zeros((K, D)), np.zeros((K, D, D)), np.zeros(D + 1)
    block, z, joint, top, sums, inverse = workspace(K, D, N)
    B = len(top)
    room = _room(whiten, scale_tril, block, z, np.empty((K, B)), diagonal)
    weight, pseudo = np.empty(B), np.empty(len(room.gaps.source))
    weighted = sample_weight.shape[0] > 0
    total = 0.0
    for row in range(0, N, B):
        size = min(B, N - row)
        filled = _whiten_gapped(X, row, size, centre, whiten, diagonal, room)
        _log_joint(filled, constant, z, joint)
        _add(room.joint, filled, joint)
        _exponentiate(joint, filled, top, sums, inverse)
        if weighted:
            for i in range(size):
                weight[i] = sample_weight[row + room.gaps.order[i]]
            total += _weigh(weight, size, top, sums, inverse)
        _scale(joint, filled, inverse)
        _drop_fill(joint, size, filled, top, sums)
        if not weighted:
            total += _log_likelihood(top, sums, filled)
        vectors = _vectors_of(room)
        for k in range(K):
            add_statistics(joint[k], z[k], filled, diagonal, counts[k : k + 1], first[k], second[k])
            if diagonal:
                _add_absent(room.absent, filled, joint[k], second[k])
            elif room.gaps.sizes[2] > 0:
                _add_conditional(vectors[k], room.gaps, joint[k], room.scratch[0], pseudo, aside, second[k])
    for k in range(K):  # the sums are of the lower triangles
        for d in range(D):
            for e in range(d):
                second[k, e, d] = second[k, d, e]
    return total, counts, first, second, whiten


@compiled(fastmath=FASTMATH)
def _add(more, size, joint):
    """Add to the numbers of each row, those of all components."""
    prefer_wide_vectors()
    for k in range(len(joint)):
        for i in range(size):
            joint[k, i] += more[k, i]


@compiled(fastmath=FASTMATH)
def evaluate_gapped(X, start, stop, prepared, diagonal, log_joint, responsibilities, log_density, nearest):
    """Evaluate rows ``start .. stop``: :func:`bayesgmm.kernels.estep.evaluate_rows` where NaN stands for a missing value."""
    prefer_wide_vectors()
    never_inline()
    constant, whiten, centre, scale_tril = prepared
    K, D = len(constant), X.shape[1]
    block, z, joint, top, sums, inverse = workspace(K, D, stop - start)
    B = len(top)
    room = _room(whiten, scale_tril, block, z, np.empty((K, B)), diagonal)
    total = 0.0
    for row in range(start, stop, B):
        size = min(B, stop - row)
        filled = _whiten_gapped(X, row, size, centre, whiten, diagonal, room)
        places = room.gaps.order[:size]
        for i in range(size):
            places[i] += row - start
        _log_joint(filled, constant, z, joint)
        _write_nearest(constant, joint, places, nearest)
        _add(room.joint, filled, joint)
        total += _write(joint, filled, places, top, sums, inverse, log_joint, responsibilities, log_density)
        for i in range(len(log_density[:size])):  # of a row without any value to the last bit
            if _is_empty(X[row + i]):
                log_density[row - start + i] = 0.0
    return total


@compiled()
def _is_empty(row):
    """Say whether a row has no value."""
    has = 0
    for x in row:
        has += 1 if x == x else 0
    return has == 0


GAPPED_STATISTICS = Pointer(gapped_statistics, STATISTICS.result, STATISTICS.arguments)
EVALUATE_GAPPED = Pointer(evaluate_gapped, EVALUATE.result, EVALUATE.arguments)
