"""Predictions at chosen pairs: in NumPy for a few, by compiled loops for many."""

import numpy as np

# Multiplications from which on it pays to load the compiler.
COMPILED_FROM = 4_000_000
_CHUNK = 1 << 16


def at(rows: np.ndarray, cols: np.ndarray, Z: np.ndarray, Y: np.ndarray, mean: float) -> np.ndarray:
    """mean + z_{rows_t} · y_{cols_t}, in the type of Z."""
    out = np.empty(len(rows), Z.dtype)
    mean = Z.dtype.type(mean)
    if len(rows) * Z.shape[1] >= COMPILED_FROM:
        from . import loops

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
    if len(rows) * left.shape[0] * left.shape[2] >= COMPILED_FROM:
        from . import loops

        loops.average(rows, cols, left, right, means, out)
        return out
    for lo in range(0, len(rows), _CHUNK):
        part = slice(lo, lo + _CHUNK)
        for P, Q, mean in zip(left, right, means, strict=True):
            p, q = P[rows[part]].astype(float), Q[cols[part]].astype(float)
            out[part] += mean + p[:, -1] + q[:, -1] + np.einsum("tk,tk->t", p[:, :-1], q[:, :-1])
    return out / len(means)
