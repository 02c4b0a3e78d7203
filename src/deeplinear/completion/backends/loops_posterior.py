"""The compiled loops of the posterior: a small Gaussian per line."""

import numpy as np

from ..compiled import compiled, inlined


@inlined
def _factor(A):
    """Cholesky A = L Lᵀ in place, in the lower triangle: too small for a call of LAPACK."""
    for k in range(A.shape[0]):
        for l in range(k):
            x = A[k, l]
            for q in range(l):
                x -= A[k, q] * A[l, q]
            A[k, l] = x / A[l, l]
        x = A[k, k]
        for q in range(k):
            x -= A[k, q] * A[k, q]
        A[k, k] = np.sqrt(max(x, 1e-300))


@inlined
def _forward(L, c, z):
    """z = L⁻¹ c; returns |z|²."""
    total = 0.0
    for k in range(c.size):
        x = c[k]
        for q in range(k):
            x -= L[k, q] * z[q]
        z[k] = x / L[k, k]
        total += z[k] * z[k]
    return total


@compiled
def draw_lines(lo, hi, entries, mean, other, gaussian, precision, results):
    """Draw (p_i, a_i) for lines lo … hi given the other side's (q_j, b_j): N(A⁻¹ c, A⁻¹) with

    A = prior + Σ_j α_i β_j w_ij y_j y_jᵀ and c = pull + shift_i + Σ_j α_i β_j w_ij y_j (x_ij − mean
    − b_j), y_j = (q_j, 1). ``precision`` = (α, β), ``noise`` holds standard normal numbers.
    ``results``: the draws, the conditional means A⁻¹ c, and Σ_j w e² of each line at the draws.
    """
    indptr, indices, values, weights = entries
    prior, pull, shift, noise = gaussian
    mine, theirs = precision
    out, centre, squares = results
    f = other.shape[1]
    r = f - 1
    size = 128
    block = np.empty((size, f))
    A = np.empty((f, f))
    c, z = np.empty(f), np.empty(f)
    weighted = weights.size > 0
    shifted = shift.size > 0
    for i in range(lo, hi):
        start, stop = indptr[i], indptr[i + 1]
        A[:, :] = prior
        for k in range(f):
            c[k] = pull[k] + (shift[i, k] if shifted else 0.0)
        t = start
        while t < stop:
            count = min(size, stop - t)
            for s in range(count):
                j = indices[t + s]
                w = mine[i] * theirs[j] * (weights[t + s] if weighted else 1.0)
                root = np.sqrt(w)
                e = values[t + s] - mean - other[j, r]
                for k in range(r):
                    block[s, k] = root * other[j, k]
                    c[k] += w * e * other[j, k]
                block[s, r] = root
                c[r] += w * e
            part = block[:count]
            A += np.dot(part.T, part)
            t += count
        _factor(A)
        _forward(A, c, z)
        for k in range(f - 1, -1, -1):  # Lᵀ centre = L⁻¹ c and Lᵀ out = L⁻¹ c + noise
            x, y = z[k], z[k] + noise[i, k]
            for q in range(k + 1, f):
                x -= A[q, k] * centre[i, q]
                y -= A[q, k] * out[i, q]
            centre[i, k] = x / A[k, k]
            out[i, k] = y / A[k, k]
        total = 0.0
        for t in range(start, stop):
            j = indices[t]
            e = values[t] - mean - other[j, r] - out[i, r]
            for k in range(r):
                e -= out[i, k] * other[j, k]
            total += (weights[t] if weighted else 1.0) * e * e
        squares[i] = total


@compiled
def leverage(lo, hi, lines, entries, other, penalty, questions, out):
    """out_t = x_tᵀ A_i⁻¹ x_t, A_i = Σ_{j ∈ Ω_i} w_ij y_j y_jᵀ + diag(ridge_i), for the questions t.

    Those of line number g of ``lines``, lo ≤ g < hi, are starts[g] … starts[g+1]; x_t is the line
    ``targets[t]`` of ``asked``.
    """
    indptr, indices, _, weights = entries
    ridge, scale = penalty
    starts, asked, targets = questions
    f = other.shape[1]
    A = np.empty((f, f))
    z = np.empty(f)
    weighted = weights.size > 0
    for g in range(lo, hi):
        i = lines[g]
        A[:, :] = 0.0
        for k in range(f):
            A[k, k] = ridge[k] * scale[i] if k < f - 1 else ridge[k]
        for t in range(indptr[i], indptr[i + 1]):
            y = other[indices[t]]
            w = weights[t] if weighted else 1.0
            for k in range(f):
                for l in range(k + 1):
                    A[k, l] += w * y[k] * y[l]
        _factor(A)
        for t in range(starts[g], starts[g + 1]):
            out[t] = _forward(A, asked[targets[t]], z)
