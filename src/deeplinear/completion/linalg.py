"""Dense linear algebra on thin factors, and the largest singular value from products alone."""

from collections.abc import Callable

import numpy as np
import scipy.linalg

from .penalty import Array


def thin_svd(P: Array, Q: Array) -> tuple[Array, Array, Array]:
    """The thin SVD (U, s, Vt) of P Qᵀ: by two QR factorizations and an r×r SVD where r is small."""
    if P.shape[1] >= min(len(P), len(Q)):
        U, s, Vt = np.linalg.svd(P @ Q.T, full_matrices=False)
        keep = s > np.finfo(float).eps * s.max(initial=0.0)
        return U[:, keep], s[keep], Vt[keep]
    left, R = np.linalg.qr(P)
    right, S = np.linalg.qr(Q)
    U, s, Vt = np.linalg.svd(R @ S.T, full_matrices=False)
    keep = s > np.finfo(float).eps * s.max(initial=0.0)
    return left @ U[:, keep], s[keep], Vt[keep] @ right.T


def effective_rank(s: Array) -> float:
    """exp(entropy of σ/Σσ) (Roy and Vetterli 2007); 0 for W = 0."""
    share = s[s > 0] / max(float(s.sum()), 1e-300)
    return float(np.exp(-(share * np.log(share)).sum())) if len(share) else 0.0


def norm_from_below(
    matmul: Callable[[Array], Array],
    t_matmul: Callable[[Array], Array],
    start: Array,
    steps: int,
    blur: float = np.finfo(float).eps,
) -> float:
    """The largest singular value that ``steps`` products with A and as many with Aᵀ show of ‖A‖₂.

    It is max ‖Aᵀu‖/‖u‖ over u ∈ A · span{v, AᵀA v, …, (AᵀA)^{k−1} v}, hence never above ‖A‖₂, for
    v = ``start`` (n,): Golub–Kahan bidiagonalization, with bases that are kept orthogonal. At the
    soft edge of the singular values of noise it is a part π²/(8 (k+1)²) · (1 − (σ_min/‖A‖₂)²)
    short, 2 % after k = 7; power iteration needs twice the steps for that, and eight vectors.
    ``blur``: the relative error of the products; where a new direction is no larger, nothing is
    left to find.

    **Raises** `numpy.linalg.LinAlgError` where a product is not finite.

    **Shapes**: ``matmul`` (n,) → (m,), ``t_matmul`` (m,) → (n,). **Source**: Golub and Kahan 1965.

    >>> A = np.diag([3.0, 2.0, 1.0])
    >>> print(round(norm_from_below(lambda x: A @ x, lambda x: A.T @ x, np.ones(3), 3), 12))
    3.0
    """
    size = float(np.linalg.norm(start))
    if not size > 0:
        return 0.0
    right, largest = [start / size], 0.0
    left: list[Array] = []
    B = np.zeros((steps, steps + 1))
    for k in range(steps):
        u = _off(np.asarray(matmul(right[k]), float), left)
        B[k, k] = _length(u)
        if not B[k, k] > blur * largest:
            break
        left.append(u / B[k, k])
        v = _off(np.asarray(t_matmul(left[k]), float), right)
        B[k, k + 1] = _length(v)
        largest = float(np.linalg.norm(B[: k + 1, : k + 2], 2))
        if not B[k, k + 1] > blur * largest:
            break
        right.append(v / B[k, k + 1])
    return largest


def _length(x: Array) -> float:
    """‖x‖, of numbers of any size: squares would underflow."""
    length = float(scipy.linalg.norm(x, check_finite=False))
    if not np.isfinite(length):
        raise np.linalg.LinAlgError("a product of the residual is not finite")
    return length


def _off(x: Array, basis: list[Array]) -> Array:
    """x − its part in the span of the orthonormal ``basis``."""
    for _ in range(2):
        for b in basis:
            x = x - (b @ x) * b
    return x
