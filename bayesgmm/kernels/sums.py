"""The sums that the E-step leaves behind: counts, sums of whitened rows, sums of their products.

Few features are summed in one reading of the block, more of them in tiles of four by four, whose sixteen sums stay in registers.
"""

from bayesgmm.kernels.compile import FASTMATH, compiled, prefer_wide_vectors

TILE = 4  # features per tile of the products' sums: sixteen sums in registers over one reading of eight rows


@compiled(fastmath=FASTMATH)
def add_statistics(r, z, size, diagonal, counts, first, second):
    """Add a block's ``sum r``, ``sum r z`` and the lower triangle of ``sum r z z'`` for one component; returns nothing."""
    prefer_wide_vectors()
    P = z.shape[0]
    if P == 1:
        _add_one(r, z, size, counts, first, second)
    elif P == 2:
        _add_two(r, z, size, diagonal, counts, first, second)
    elif P == TILE and not diagonal:
        _add_four(r, z, size, counts, first, second)
    else:
        for d in range(0, P, TILE):
            _add_first(r, z, size, d, counts, first, second, diagonal)
            for e in range(0, 0 if diagonal else d + 1, TILE):
                _add_tile(r, z, size, d, e, second)


@compiled(fastmath=FASTMATH)
def _add_one(r, z, size, counts, first, second):
    """Add the sums for one feature, in one reading."""
    prefer_wide_vectors()
    u = z[0]
    n = a = aa = 0.0
    for i in range(size):
        t = r[i] * u[i]
        n += r[i]
        a += t
        aa += t * u[i]
    counts[0] += n
    first[0] += a
    second[0, 0] += aa


@compiled(fastmath=FASTMATH)
def _add_two(r, z, size, diagonal, counts, first, second):
    """Add the sums for two features, in one reading."""
    prefer_wide_vectors()
    u, v = z[0], z[1]
    n = a = b = aa = ab = bb = 0.0
    for i in range(size):
        s, t = r[i] * u[i], r[i] * v[i]
        n += r[i]
        a += s
        b += t
        aa += s * u[i]
        ab += s * v[i]
        bb += t * v[i]
    counts[0] += n
    first[0] += a
    first[1] += b
    second[0, 0] += aa
    second[1, 1] += bb
    if not diagonal:
        second[1, 0] += ab


@compiled(fastmath=FASTMATH)
def _add_four(r, z, size, counts, first, second):
    """Add the sums for three or four features, in one reading: fifteen sums in registers."""
    prefer_wide_vectors()
    z0, z1, z2, z3 = z[0], z[1], z[2], z[3]
    n = s0 = s1 = s2 = s3 = p00 = p10 = p11 = p20 = p21 = p22 = p30 = p31 = p32 = p33 = 0.0
    for i in range(size):
        u, v, w, x = z0[i], z1[i], z2[i], z3[i]
        a, b, c, d = r[i] * u, r[i] * v, r[i] * w, r[i] * x
        n += r[i]
        s0 += a
        s1 += b
        s2 += c
        s3 += d
        p00 += a * u
        p10 += b * u
        p11 += b * v
        p20 += c * u
        p21 += c * v
        p22 += c * w
        p30 += d * u
        p31 += d * v
        p32 += d * w
        p33 += d * x
    counts[0] += n
    sums = (s0, s1, s2, s3)
    products = (p00, p10, p11, p20, p21, p22, p30, p31, p32, p33)
    position = 0
    for d in range(len(first)):
        first[d] += sums[d]
        for e in range(d + 1):
            second[d, e] += products[position]
            position += 1


@compiled(fastmath=FASTMATH)
def _add_first(r, z, size, d, counts, first, second, diagonal):
    """Add ``sum r z`` for four features, with the first of them ``sum r``, and under ``diagonal`` their ``sum r z^2``."""
    prefer_wide_vectors()
    u, v, w, x = z[d], z[d + 1], z[d + 2], z[d + 3]
    n = a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
    if diagonal:
        for i in range(size):
            t = r[i]
            n += t
            a0 += t * u[i]
            a1 += t * v[i]
            a2 += t * w[i]
            a3 += t * x[i]
            b0 += t * u[i] * u[i]
            b1 += t * v[i] * v[i]
            b2 += t * w[i] * w[i]
            b3 += t * x[i] * x[i]
    else:
        for i in range(size):
            t = r[i]
            n += t
            a0 += t * u[i]
            a1 += t * v[i]
            a2 += t * w[i]
            a3 += t * x[i]
    if d == 0:
        counts[0] += n
    sums, squares = (a0, a1, a2, a3), (b0, b1, b2, b3)
    for i in range(min(TILE, len(first) - d)):
        first[d + i] += sums[i]
        second[d + i, d + i] += squares[i]


@compiled(fastmath=FASTMATH)
def _add_tile(r, z, size, d, e, second):
    """Add ``sum r z_i z_j`` for four by four features: sixteen sums in registers over one reading of eight rows."""
    prefer_wide_vectors()
    y0, y1, y2, y3 = z[d], z[d + 1], z[d + 2], z[d + 3]
    x0, x1, x2, x3 = z[e], z[e + 1], z[e + 2], z[e + 3]
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = 0.0
    for i in range(size):
        u0, u1, u2, u3 = x0[i], x1[i], x2[i], x3[i]
        t = r[i] * y0[i]
        a0 += t * u0
        a1 += t * u1
        a2 += t * u2
        a3 += t * u3
        t = r[i] * y1[i]
        b0 += t * u0
        b1 += t * u1
        b2 += t * u2
        b3 += t * u3
        t = r[i] * y2[i]
        c0 += t * u0
        c1 += t * u1
        c2 += t * u2
        c3 += t * u3
        t = r[i] * y3[i]
        d0 += t * u0
        d1 += t * u1
        d2 += t * u2
        d3 += t * u3
    tile = (a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3)
    D = second.shape[0]
    for i in range(TILE):
        for j in range(TILE):
            if d + i < D and e + j <= d + i:
                second[d + i, e + j] += tile[TILE * i + j]
