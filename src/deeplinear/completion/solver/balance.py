"""An iterate brought to balance: P̃ = U√s, Q̃ = V√s, by matrices of the size of the rank."""

import numpy as np

from ..backends.base import side, width
from .problem import FitProblem, State

# Eigenvalues of the Gram matrix of unit columns that are relatively smaller have lost too many
# digits.
DEPENDENT = 1e-8
# Rows per block of the dense parts.
CHUNK = 1 << 14


def chunked(lines: int) -> list[slice]:
    return [slice(lo, min(lo + CHUNK, lines)) for lo in range(0, lines, CHUNK)]


def gram(Z: np.ndarray, scale: np.ndarray, r: int) -> np.ndarray:
    """Σ_i ρ_i² z_i z_iᵀ over the first r columns, in float64."""
    total = np.zeros((r, r))
    for part in chunked(len(Z)):
        block = Z[part, :r] * scale[part, None]
        total += block.T @ block
    return total


def _root(G: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """R and S (r×r) with RᵀR = G and R S = 1; None where G does not determine them.

    Exact for graded columns.
    """
    size = np.sqrt(np.maximum(np.diag(G), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(G / np.outer(size, size))
    if not (values > DEPENDENT * values.max(initial=0.0)).all():
        return None
    root = np.sqrt(values)
    return (root * vectors).T * size, vectors / root / size[:, None]


def orthonormal(X: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span those of X (m×k), m ≫ k.

    Twice by Gram matrices, which is cheap and as orthogonal as QR, or by QR for columns that nearly
    depend on each other.
    """
    Q = X
    for _ in range(2):
        found = _root(Q.T @ Q)
        if found is None:
            return np.linalg.qr(X)[0]
        Q = Q @ found[1]
    return Q


def _triangle(
    Z: np.ndarray, scale: np.ndarray, r: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R, S, X) with ρ ∘ Z = (ρ ∘ X) R and RᵀR = Σ ρ_i² z_i z_iᵀ; new factors are X S T.

    From Gram matrices (X = Z, S = R⁻¹), which is cheap, or by QR (S = 1) for columns that nearly
    depend on each other.
    """
    if (found := _root(gram(Z, scale, r))) is not None:
        return *found, Z
    Q, R = np.linalg.qr(Z[:, :r] * np.asarray(scale, float)[:, None])
    return R, np.eye(len(R)), Q / scale[:, None]


def balance(problem: FitProblem, state: State) -> State:
    """The same W̃ with P̃ = U√s, Q̃ = V√s, s decreasing; and biases with mean 0, as in `centred`."""
    r, dtype = state.rank, state.Z.dtype
    left, left_inverse, P = _triangle(state.Z, problem.row_scale, r)
    right, right_inverse, Q = _triangle(state.Y, problem.col_scale, r)
    # P̃ Q̃ᵀ = X_P (left rightᵀ) X_Qᵀ with orthonormal X: its SVD is that of an r×r matrix
    A, s, Bt = np.linalg.svd(left @ right.T, full_matrices=False)
    keep = s > 10 * np.finfo(dtype).eps ** 2 * s.max(initial=0.0)
    A, s, B = A[:, keep], s[keep], Bt[keep].T
    root = np.sqrt(s)
    a, b = state.row_bias.astype(float), state.col_bias.astype(float)
    shift = (a.mean(), b.mean()) if problem.bias_ridge is not None else (0.0, 0.0)
    Z = _transform(P, (left_inverse @ A * root), a - shift[0], np.ones(len(a)), dtype)
    Y = _transform(Q, (right_inverse @ B * root), np.ones(len(b)), b - shift[1], dtype)
    return State(Z, Y, s, state.mean + sum(shift))


def centred(state: State) -> State:
    """The means of the biases moved into μ, in place.

    E stays as it is and β|a|² falls, so it is a descent step for μ.
    """
    mean = state.mean
    for bias in (state.row_bias, state.col_bias):
        shift = bias.mean(dtype=float)
        bias -= shift.astype(bias.dtype)
        mean += float(shift)
    return State(state.Z, state.Y, state.s, mean)


def _transform(
    Z: np.ndarray, T: np.ndarray, first: np.ndarray, second: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    new = side(len(Z), width(T.shape[1]), dtype)
    T = T.astype(Z.dtype)
    for part in chunked(len(Z)):
        new[part, : T.shape[1]] = Z[part, : len(T)] @ T
    new[:, T.shape[1]], new[:, T.shape[1] + 1] = first, second
    return new
