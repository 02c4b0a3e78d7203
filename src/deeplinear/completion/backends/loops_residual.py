"""Compiled loops over the residuals of one state, kept for many products; and the biases alone.

Iterations for singular values multiply the residual of one state with matrix after matrix. Once it
is kept in both orders, a product reads no factors.
"""

from ..compiled import compiled, compiled_in_order
from .loops import accumulate_gradient, random_sign
from .vectors import weighted_sum


@compiled
def look(lo, hi, entries, mean, Z, Y, keep, kept, own, pull):
    """½ Σ w e² with e = x − mean − z·y; adds Σ_i z_ik (R Y)_ik to ``pull``.

    To ``keep``: kept_t = w e at every entry and own_i = (R Y)_i; otherwise ``kept`` has room for
    four numbers, ``own`` for a line.
    """
    indptr, indices, values, weights = entries
    step, energy = int(keep), 0.0
    for i in range(lo, hi):
        z, line, start, stop = Z[i], own[i * step], indptr[i], indptr[i + 1]
        line[:] = 0
        energy += accumulate_gradient(
            start, stop, indices, values, weights, mean, z, Y, kept, step, line, line[:0]
        )
        for k in range(z.size):
            pull[k] += z[k] * line[k]
    return energy / 2


@compiled
def bias_residual(lo, hi, entries, mean, Z, Y, kept):
    """kept_t = w e at every entry, for sides of two columns, those of the biases."""
    indptr, indices, values, weights = entries
    weighted = weights.size > 0
    for i in range(lo, hi):
        # counted from 0, places need no check of their sign, and the loop runs in vectors
        start, stop = indptr[i], indptr[i + 1]
        x, line, others = values[start:stop], kept[start:stop], indices[start:stop]
        p, q = Z[i, 0], Z[i, 1]
        for t in range(line.size):
            y = Y[others[t]]
            line[t] = x[t] - mean - (p * y[0] + q * y[1])
        if weighted:
            line *= weights[start:stop]


@compiled_in_order
def randomize(lo, hi, indptr, indices, seed, out):
    """Every residual times its `random_sign`."""
    for i in range(lo, hi):
        line, others = out[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        for t in range(line.size):
            line[t] *= random_sign(i, others[t], seed)


@compiled_in_order
def matmul(lo, hi, indptr, indices, residuals, X, out):
    """out_i = Σ_t residuals_t X[indices_t] over the entries of line i.

    The width of ``out`` is a multiple of `LANES`, that of X at least as large.
    """
    width = out.shape[1]
    for i in range(lo, hi):
        line, column = out[i], 0
        start, stop = indptr[i], indptr[i + 1]
        while column + 32 <= width:
            weighted_sum(residuals, indices, X, start, stop, column, line, 4)  # type: ignore[call-arg]
            column += 32
        if column + 24 == width:
            weighted_sum(residuals, indices, X, start, stop, column, line, 3)  # type: ignore[call-arg]
        elif column + 16 == width:
            weighted_sum(residuals, indices, X, start, stop, column, line, 2)  # type: ignore[call-arg]
        elif column < width:
            weighted_sum(residuals, indices, X, start, stop, column, line, 1)  # type: ignore[call-arg]


@compiled
def matvec(lo, hi, indptr, indices, residuals, x, out):
    """`matmul` with a vector."""
    for i in range(lo, hi):
        line, others = residuals[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        total = x.dtype.type(0)
        for t in range(line.size):
            total += line[t] * x[others[t]]
        out[i] = total


@compiled_in_order
def solve_biases(lo, hi, entries, mean, mine, others, ridge, move):
    """a_i += (Σ w e − β a_i) / (Σ w + β) for e = x − mean − a_i − b_j; returns ½ Σ w e² before.

    They stay as they are unless they are to ``move``.
    """
    indptr, indices, values, weights = entries
    weighted, zero, energy = weights.size > 0, mine.dtype.type(0), 0.0
    for i in range(lo, hi):
        t, stop = indptr[i], indptr[i + 1]
        centre, mass, part = mean + mine[i], mine.dtype.type(stop - t), zero
        p = q = r = s = zero
        if weighted:
            mass = zero
            for u in range(t, stop):
                e = values[u] - centre - others[indices[u]]
                p += weights[u] * e
                part += weights[u] * e * e
                mass += weights[u]
        else:
            w = x = y = z = zero
            while t + 4 <= stop:
                a = values[t] - centre - others[indices[t]]
                b = values[t + 1] - centre - others[indices[t + 1]]
                c = values[t + 2] - centre - others[indices[t + 2]]
                d = values[t + 3] - centre - others[indices[t + 3]]
                p += a
                q += b
                r += c
                s += d
                w += a * a
                x += b * b
                y += c * c
                z += d * d
                t += 4
            while t < stop:
                a = values[t] - centre - others[indices[t]]
                p += a
                w += a * a
                t += 1
            part = w + x + y + z
        energy += part
        if move and mass + ridge > 0:
            mine[i] += (p + q + r + s - ridge * mine[i]) / (mass + ridge)
    return energy / 2
