"""√det g^N at many matrices, from log singular values, in NumPy: the integrand of the chords."""

import numpy as np

from ..kernel import log_kernel_of
from .space import Floats, Space


def log_density(space: Space, X: Floats, log_det: Floats, theta: Floats) -> Floats:
    """log of √det g^N at each X (b×m×n), for lines of direction theta (b×p).

    Where ``space.weighted`` it is times the weight p (θ·n)². Of square X the smallest singular
    value is taken from ``log_det`` = log|det X|.
    """
    if not (space.induced or space.weighted):
        return ambient(
            _log_singular_values(space, np.linalg.svd(X, compute_uv=False), log_det),
            X.shape,
            space.nu,
        )
    U, s, Vt = np.linalg.svd(X, full_matrices=space.induced)
    log_s = _log_singular_values(space, s, log_det)
    out = _induced(space, U, log_s, Vt) if space.induced else ambient(log_s, X.shape, space.nu)
    return out + _log_weight(space, U, s, Vt, theta) if space.weighted else out


def log_kernel(log_a: Floats, log_b: Floats, nu: float) -> Floats:
    """The `deeplinear.geometry.kernel.log_kernel` in NumPy: 64 bits whatever JAX is set to."""
    # λ_∞(a, 0) = 0, of logarithm −∞; 0 · ∞ is computed at ν = 0, and not used
    with np.errstate(divide="ignore", invalid="ignore"):
        return log_kernel_of(log_a, log_b, nu, np)


def _log_singular_values(space: Space, s: Floats, log_det: Floats) -> Floats:
    # not `point.log_singular_values`: the smallest one is better known from the determinant
    log_s = np.log(np.maximum(s, 1e-300))
    if space.square:
        log_s[:, -1] = log_det - log_s[:, :-1].sum(1)
    return log_s


def ambient(log_s: Floats, shape: tuple[int, ...], nu: float) -> Floats:
    """−½ Σ log λ over all m·n pairs."""
    total = log_kernel(log_s[:, :, None], log_s[:, None, :], nu).sum((1, 2))
    missing = abs(shape[-2] - shape[-1])  # zero singular values that the longer side has more
    if missing:
        total += missing * log_kernel(log_s, np.full(1, -np.inf), nu).sum(1)
    return -0.5 * total


def _log_weight(space: Space, U: Floats, s: Floats, Vt: Floats, theta: Floats) -> Floats:
    """log of p (θ·n)², n the unit normal of the level of det in the solution set.

    n is along Σ_i (σ_k/σ_i) u_i v_iᵀ, the gradient of det times a factor that keeps it finite.
    """
    # no normal where the level has none in the set (its gradient 0): the mean weight 1 instead
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(s > s[:, -1:], s[:, -1:] / s, 1.0)
        normal = np.tensordot((U * scale[:, None, :]) @ Vt, space.basis, ((1, 2), (1, 2)))
        cosine = np.sum(normal * theta, 1) / np.linalg.norm(normal, axis=1)
        return np.log(
            len(space.basis) * np.where(np.isfinite(cosine), cosine**2, 1 / len(space.basis))
        )


def _induced(space: Space, U: Floats, log_s: Floats, Vt: Floats) -> Floats:
    """½ log det of the Gram matrix Σ_ij C_ija C_ijb / λ_ij, C_a = Uᵀ Z_a V.

    The pair (k, k) alone can be huge, ρ² = 1/λ_kk: with its row c kept at a moderate weight κ in M,

        det(M + (ρ² − κ) c cᵀ) = det M · ((1 − t) + t ρ²/κ),   t = κ cᵀ M⁻¹ c in [0, 1].
    """
    m, n = space.centre.shape
    k, p = log_s.shape[1], len(space.basis)
    C = np.matmul(
        np.swapaxes(U, 1, 2)[:, None], np.matmul(space.basis, np.swapaxes(Vt, 1, 2)[:, None])
    )
    left, right = (
        np.concatenate([log_s, np.full((len(log_s), d - k), -np.inf)], 1) for d in (m, n)
    )
    with np.errstate(invalid="ignore"):
        log_lam = log_kernel(left[:, :, None], right[:, None, :], space.nu)
    # κ is the weight 1/λ_1k of the next pair in size; M is then well scaled
    log_big = -log_lam[:, k - 1, k - 1]
    log_kept = -log_lam[:, 0, k - 1] if k > 1 else np.zeros(len(log_s))
    log_lam[:, k - 1, k - 1] = -log_kept
    rows = (C * np.exp(-0.5 * log_lam)[:, None]).reshape(len(C), p, -1)
    M = rows @ np.swapaxes(rows, 1, 2)
    c = C[:, :, k - 1, k - 1] * np.exp(0.5 * log_kept)[:, None]
    # t leaves [0, 1] by rounding only
    t = np.clip(np.sum(c * np.linalg.solve(M, c[..., None])[..., 0], 1), 0, 1)
    with np.errstate(divide="ignore"):
        return 0.5 * (
            np.linalg.slogdet(M)[1] + np.logaddexp(np.log1p(-t), np.log(t) + log_big - log_kept)
        )
