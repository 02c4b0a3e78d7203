"""Predictions at chosen pairs: in NumPy for a few, by compiled loops for many."""

import numpy as np

from ...extras import installed

# Multiplications from which on it pays to load the compiler.
COMPILED_FROM = 4_000_000
_CHUNK = 1 << 16
# Of a matrix of at most this many cells all are computed, when a tenth of them is asked for.
_CELLS = 1 << 24


def _is_table(rows: np.ndarray, m: int, n: int) -> bool:
    return m * n <= min(_CELLS, 10 * len(rows))


def _is_compiled(multiplications: int) -> bool:
    return multiplications >= COMPILED_FROM and installed("numba")


def check_inside(index: np.ndarray, size: int) -> None:
    """IndexError for positions beyond ``size`` lines, as NumPy raises; compiled loops do not."""
    if len(index) and not -size <= int(index.min()) <= int(index.max()) < size:
        bad = index[np.argmax((index < -size) | (index >= size))]
        raise IndexError(f"index {bad} is out of bounds for {size} lines")


def at(rows: np.ndarray, cols: np.ndarray, Z: np.ndarray, Y: np.ndarray, mean: float) -> np.ndarray:
    """mean + z_{rows_t} · y_{cols_t}, in the type of Z."""
    out = np.empty(len(rows), Z.dtype)
    mean = Z.dtype.type(mean)
    if _is_table(rows, len(Z), len(Y)):
        return (Z @ Y.T)[rows, cols] + mean
    if _is_compiled(len(rows) * Z.shape[1]):
        from . import loops

        check_inside(rows, len(Z))
        check_inside(cols, len(Y))
        loops.at(0, len(rows), rows, cols, mean, Z, Y, out)
        return out
    for lo in range(0, len(rows), _CHUNK):
        part = slice(lo, lo + _CHUNK)
        np.einsum("tk,tk->t", Z[rows[part]], Y[cols[part]], out=out[part])
    out += mean
    return out


def average(
    rows: np.ndarray, cols: np.ndarray, left: np.ndarray, right: np.ndarray, means: np.ndarray
) -> np.ndarray:
    """The mean over the draws of mean + p·q + a + b at (rows[t], cols[t]), in float64.

    **Shapes**: left (draws, m, r + 1) holds (p, a), right (draws, n, r + 1) holds (q, b).
    """
    out = np.zeros(len(rows))
    if _is_table(rows, left.shape[1], right.shape[1]):
        for P, Q, mean in zip(left, right, means, strict=True):
            p, q = P.astype(float), Q.astype(float)
            out += (p[:, :-1] @ q[:, :-1].T + p[:, -1:] + q[:, -1])[rows, cols] + mean
        return out / len(means)
    if _is_compiled(len(rows) * left.shape[0] * left.shape[2]):
        from . import loops

        check_inside(rows, left.shape[1])
        check_inside(cols, right.shape[1])
        loops.average(rows, cols, left, right, means, out)
        return out
    for lo in range(0, len(rows), _CHUNK):
        part = slice(lo, lo + _CHUNK)
        for P, Q, mean in zip(left, right, means, strict=True):
            p, q = P[rows[part]].astype(float), Q[cols[part]].astype(float)
            out[part] += mean + p[:, -1] + q[:, -1] + np.einsum("tk,tk->t", p[:, :-1], q[:, :-1])
    return out / len(means)
