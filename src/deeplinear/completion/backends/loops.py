"""The compiled loops over observed entries; they know nothing of penalties or schedules.

Both sides of the factorization are stored with their biases in one array each, so that a prediction
is one dot product:

    row i: z_i = (p_i, a_i, 1, 0 …), column j: y_j = (q_j, 1, b_j, 0 …), W_ij + a_i + b_j = z_i ·
    y_j.

The width is padded with zeros to a multiple of `LANES`. A pass goes through the lines ``lo`` …
``hi`` of one compressed structure and recomputes the residual from the factors: storing and
permuting it between the two orders costs more. Every loop releases the interpreter, so that
`threads.run` can work on several blocks at once; a line is always summed in the same order, hence
the result does not depend on the number of threads.
"""

import numpy as np

from ..compiled import compiled, inlined
from .lanes import FOUR
from .vectors import curve_of_line, residuals_of_line


@inlined
def dot(z, y):
    total = z.dtype.type(0)
    for k in range(z.size):
        total += z[k] * y[k]
    return total


@inlined
def dots(z, a, b, c, d):
    """Four dot products at once.

    One load of z for four rows, and four chains of additions for the processor to overlap.
    """
    p = q = r = s = z.dtype.type(0)
    for k in range(z.size):
        p += z[k] * a[k]
        q += z[k] * b[k]
        r += z[k] * c[k]
        s += z[k] * d[k]
    return p, q, r, s


@inlined
def _add(out, p, a, q, b, r, c, s, d):
    """out += p a + q b + r c + s d, in one go over ``out``."""
    for k in range(out.size):
        out[k] += p * a[k] + q * b[k] + r * c[k] + s * d[k]


@inlined
def accumulate_gradient(
    start, stop, indices, values, weights, mean, z, Y, kept, step, grad, square
):
    """Σ w e² of one line, with grad += Σ w e y, and square += Σ w y² unless it is empty.

    kept[step · t] = w e.
    """
    weighted, rest = weights.size > 0, stop - (stop - start) % FOUR
    sides = z, Y, indices, values, weights
    energy = residuals_of_line(  # type: ignore[call-arg, var-annotated]
        *sides, weighted, mean, start, rest, kept, step, grad, square
    )
    for t in range(rest, stop):
        y = Y[indices[t]]
        e = values[t] - mean - dot(z, y)
        v = weights[t] if weighted else z.dtype.type(1)
        energy += v * e * e
        kept[step * t] = v * e
        for k in range(grad.size):
            grad[k] += v * e * y[k]
        for k in range(square.size):
            square[k] += v * y[k] * y[k]
    return energy


@inlined
def _hessian_product(start, stop, indices, weights, direction, Y, image):
    """Σ w (direction·y)² of one line; ``image`` += Σ w (direction·y) y unless it is empty."""
    weighted, rest = weights.size > 0, stop - (stop - start) % FOUR
    total = curve_of_line(  # type: ignore[call-arg, var-annotated]
        direction, Y, indices, weights, weighted, start, rest, image
    )
    for t in range(rest, stop):
        y = Y[indices[t]]
        p = dot(direction, y)
        v = weights[t] if weighted else direction.dtype.type(1)
        total += v * p * p
        for k in range(image.size):
            image[k] += v * p * y[k]
    return total


@compiled
def solve(lo, hi, entries, mean, Z, Y, how, steps, pull, bend):
    """Lower ½ Σ_j w_ij e_ij² + ½ Σ_k (ridge_k scale_i + extra_k) z_ik² over the free z_ik.

    e_ij = x_ij − mean − z_i·y_j.

    ``steps`` conjugate-gradient steps with the diagonal as preconditioner, in place. Returns ½ Σ w
    e² before the steps and adds Σ_i z_ik Σ_j w e y_jk to ``pull`` and Σ_i z_ik² Σ_j w y_jk² to
    ``bend``, both before the steps.
    """
    indptr, indices, values, weights = entries
    ridge, extra, scale, free = how
    width = Z.shape[1]
    work = np.empty((6, width), Z.dtype)
    grad, inverse, direction, image, total = work[0], work[1], work[2], work[3], work[4]
    eps = np.finfo(Z.dtype).eps
    energy = 0.0
    for i in range(lo, hi):
        z, start, stop = Z[i], indptr[i], indptr[i + 1]
        grad[:] = 0
        inverse[:] = 0
        energy += accumulate_gradient(
            start, stop, indices, values, weights, mean, z, Y, work[5], 0, grad, inverse
        )
        norm = 0.0
        for k in range(width):
            pull[k] += z[k] * grad[k]
            bend[k] += z[k] * z[k] * inverse[k]
            total[k] = ridge[k] * scale[i] + extra[k]
            grad[k] -= total[k] * z[k]
            inverse[k] = free[k] / (inverse[k] + total[k]) if inverse[k] + total[k] > 0 else 0
            direction[k] = inverse[k] * grad[k]
            norm += grad[k] * direction[k]
        # a line of few entries is exact after as many steps: beyond, rounding would be taken for a
        # gradient, of no curvature
        least = norm * (64 * eps) ** 2
        for step in range(steps):
            if norm <= least:
                break
            curve = 0.0
            for k in range(width):
                image[k] = total[k] * direction[k]
                curve += image[k] * direction[k]
            last = step == steps - 1
            curve += _hessian_product(
                start, stop, indices, weights, direction, Y, image[:0] if last else image
            )
            if curve <= eps * norm:
                break
            length, new = Z.dtype.type(norm / curve), 0.0
            for k in range(width):
                z[k] += length * direction[k]
                grad[k] -= length * image[k]
                new += grad[k] * grad[k] * inverse[k]
            ratio = Z.dtype.type(new / norm)
            for k in range(width):
                direction[k] = inverse[k] * grad[k] + ratio * direction[k]
            norm = new
    return energy / 2


@compiled
def residual_matmul(lo, hi, entries, mean, Z, Y, X, out, seed):
    """out_i = Σ_j w_ij e_ij x_j with e = x − mean − z·y (rows of R X); returns ½ Σ w e².

    With ``seed`` > 0 every residual gets a random sign, a hash of its position and the seed.
    """
    indptr, indices, values, weights = entries
    weighted, one, energy = weights.size > 0, Z.dtype.type(1), 0.0
    for i in range(lo, hi):
        z, o, part = Z[i], out[i], Z.dtype.type(0)
        o[:] = 0
        t, stop = indptr[i], indptr[i + 1]
        while t + 4 <= stop:
            g, h, j, k = indices[t], indices[t + 1], indices[t + 2], indices[t + 3]
            p, q, r, s = dots(z, Y[g], Y[h], Y[j], Y[k])
            p, q, r, s = (
                values[t] - mean - p,
                values[t + 1] - mean - q,
                values[t + 2] - mean - r,
                values[t + 3] - mean - s,
            )
            if weighted:
                v, w, x, y = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
            else:
                v = w = x = y = one
            part += v * p * p + w * q * q + x * r * r + y * s * s
            if seed != 0:
                v, w, x, y = (
                    v * random_sign(i, g, seed),
                    w * random_sign(i, h, seed),
                    x * random_sign(i, j, seed),
                    y * random_sign(i, k, seed),
                )
            _add(o, v * p, X[g], w * q, X[h], x * r, X[j], y * s, X[k])
            t += 4
        while t < stop:
            g = indices[t]
            p = values[t] - mean - dot(z, Y[g])
            v = weights[t] if weighted else one
            part += v * p * p
            if seed != 0:
                v *= random_sign(i, g, seed)
            for k in range(o.size):
                o[k] += v * p * X[g, k]
            t += 1
        energy += part
    return energy / 2


@compiled
def pulls(lo, hi, entries, mean, Z, Y, left, right):
    """left_i = Σ_j w_ij e_ij y_j, and right_j += Σ_i w_ij e_ij z_i; returns ½ Σ w e²."""
    indptr, indices, values, weights = entries
    weighted, one, energy = weights.size > 0, Z.dtype.type(1), 0.0
    for i in range(lo, hi):
        z, o, part = Z[i], left[i], Z.dtype.type(0)
        o[:] = 0
        t, stop = indptr[i], indptr[i + 1]
        while t + 4 <= stop:
            g, h, j, k = indices[t], indices[t + 1], indices[t + 2], indices[t + 3]
            a, b, c, d = Y[g], Y[h], Y[j], Y[k]
            p, q, r, s = dots(z, a, b, c, d)
            p, q, r, s = (
                values[t] - mean - p,
                values[t + 1] - mean - q,
                values[t + 2] - mean - r,
                values[t + 3] - mean - s,
            )
            v = w = x = y = one
            if weighted:
                v, w, x, y = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
            part += v * p * p + w * q * q + x * r * r + y * s * s
            p, q, r, s = v * p, w * q, x * r, y * s
            _add(o, p, a, q, b, r, c, s, d)
            a, b, c, d = right[g], right[h], right[j], right[k]
            for n in range(z.size):
                a[n] += p * z[n]
                b[n] += q * z[n]
                c[n] += r * z[n]
                d[n] += s * z[n]
            t += 4
        while t < stop:
            a, b = Y[indices[t]], right[indices[t]]
            p = values[t] - mean - dot(z, a)
            v = weights[t] if weighted else one
            part += v * p * p
            for n in range(z.size):
                o[n] += v * p * a[n]
                b[n] += v * p * z[n]
            t += 1
        energy += part
    return energy / 2


@compiled
def pulls_1(lo, hi, entries, mean, Z, Y, left, right):
    """`pulls` of sides of one column."""
    indptr, indices, values, weights = entries
    weighted, zero, energy = weights.size > 0, Z.dtype.type(0), 0.0
    for i in range(lo, hi):
        a = Z[i, 0]
        p = part = zero
        for t in range(indptr[i], indptr[i + 1]):
            j = indices[t]
            w = Y[j, 0]
            e = values[t] - mean - a * w
            f = e * weights[t] if weighted else e
            part += e * f
            p += f * w
            right[j, 0] += f * a
        left[i, 0] = p
        energy += part
    return energy / 2


@compiled
def pulls_2(lo, hi, entries, mean, Z, Y, left, right):
    """`pulls` of sides of two columns."""
    indptr, indices, values, weights = entries
    weighted, zero, energy = weights.size > 0, Z.dtype.type(0), 0.0
    for i in range(lo, hi):
        a, b = Z[i, 0], Z[i, 1]
        p = q = part = zero
        for t in range(indptr[i], indptr[i + 1]):
            j = indices[t]
            w, x = Y[j, 0], Y[j, 1]
            e = values[t] - mean - (a * w + b * x)
            f = e * weights[t] if weighted else e
            part += e * f
            p += f * w
            q += f * x
            right[j, 0] += f * a
            right[j, 1] += f * b
        left[i, 0], left[i, 1] = p, q
        energy += part
    return energy / 2


@compiled
def pulls_4(lo, hi, entries, mean, Z, Y, left, right):
    """`pulls` of sides of four columns."""
    indptr, indices, values, weights = entries
    weighted, zero, energy = weights.size > 0, Z.dtype.type(0), 0.0
    for i in range(lo, hi):
        a, b, c, d = Z[i, 0], Z[i, 1], Z[i, 2], Z[i, 3]
        p = q = r = s = part = zero
        for t in range(indptr[i], indptr[i + 1]):
            j = indices[t]
            w, x, y, z = Y[j, 0], Y[j, 1], Y[j, 2], Y[j, 3]
            e = values[t] - mean - (a * w + b * x + c * y + d * z)
            f = e * weights[t] if weighted else e
            part += e * f
            p += f * w
            q += f * x
            r += f * y
            s += f * z
            right[j, 0] += f * a
            right[j, 1] += f * b
            right[j, 2] += f * c
            right[j, 3] += f * d
        left[i, 0], left[i, 1], left[i, 2], left[i, 3] = p, q, r, s
        energy += part
    return energy / 2


@compiled
def random_sign(i, j, seed):
    """±1, a hash of (i, j) that is symmetric (rows may be columns), as splitmix64 mixes bits."""
    a, b = np.uint64(max(i, j)), np.uint64(min(i, j))
    h = a * np.uint64(0x9E3779B97F4A7C15) + b * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(seed)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.float32(1) if (h >> np.uint64(63)) & np.uint64(1) else np.float32(-1)


@compiled
def at(lo, hi, rows, cols, mean, Z, Y, out):
    """out_t = mean + z_{rows_t} · y_{cols_t}."""
    for t in range(lo, hi):
        z, y = Z[rows[t]], Y[cols[t]]
        dot = Z.dtype.type(0)
        for k in range(Z.shape[1]):
            dot += z[k] * y[k]
        out[t] = mean + dot


@compiled
def average(rows, cols, left, right, means, out):
    """Mean over the draws of mean + p·q + a + b at (rows[t], cols[t])."""
    draws, f = left.shape[0], left.shape[2]
    for t in range(len(rows)):
        total = 0.0
        for s in range(draws):
            p, q = left[s, rows[t]], right[s, cols[t]]
            x = means[s] + p[f - 1] + q[f - 1]
            for k in range(f - 1):
                x += np.float64(p[k]) * q[k]
            total += x
        out[t] = total / draws
