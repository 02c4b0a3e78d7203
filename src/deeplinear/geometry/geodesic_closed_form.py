"""Geodesics in closed form.

Between matrices of common singular vectors at any depth, and at depth 2 between positive definite
ones and between all 2×2 ones.
"""

import math

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, ArrayLike, Float

from ..checks import check_depth, check_matrix, check_numbers, is_traced, raise_if
from ..errors import InputError
from ..transforms import needs_values


@needs_values
def aligned_distance(W0: ArrayLike, W1: ArrayLike, depth: float) -> float:
    """The length of `aligned_path`.

    For common singular vectors N ‖Σ_1^{1/N} − Σ_0^{1/N}‖_F; at N = ∞ ‖log Σ_1 − log Σ_0‖_F.
    Arguments, normalization and errors are those of `aligned_path`.

    >>> import deeplinear as dl, numpy as np
    >>> W0, W1 = np.diag([4.0, 1.0]), np.diag([9.0, 1.0])
    >>> round(float(dl.geodesic.aligned_distance(W0, W1, 2)), 12)  # 2 (√9 − √4)
    2.0
    """
    nu = _nu(depth)
    z0, z1, *_ = _common_frame(W0, W1)
    # the difference of the roots, in which nothing cancels where both are small
    gap = np.log(z1) - np.log(z0)
    return float(np.linalg.norm(gap if nu == 0 else z0**nu * np.expm1(nu * gap) / nu))


@needs_values
def aligned_path(
    W0: ArrayLike, W1: ArrayLike, depth: float, t: ArrayLike
) -> Float[Array, "*t d d"]:
    """Points of the geodesic between W_0 = U Z_0 Vᵀ and W_1 = U Z_1 Vᵀ, normal and commuting Z_i:

        N < ∞:  W(t) = U ((1 − t) Z_0^{1/N} + t Z_1^{1/N})^N Vᵀ,
        N = ∞:  W(t) = U exp((1 − t) log Z_0 + t log Z_1) Vᵀ,

    with principal roots and Z_0 positive definite. Common singular vectors are the case Z_i = Σ_i;
    W_1 = UΣ_1QVᵀ with an orthogonal Q that commutes with both Σ_i is another. Among the factors
    these are the horizontal straight lines W_p = Q_p ((1 − t) Z_0^{1/N} + t Z_1^{1/N}) Q_{p−1}ᵀ.

    **Arguments**: d×d matrices of full rank; ``t`` a time or times, W(0) = W_0 and W(1) = W_1.
    **Normalization**: the metric of [CMV]. **Raises** `InputError` where the matrices are no such
    pair, or Z_1 has an eigenvalue on the negative axis, where the root jumps. **Source**: Chen,
    *Geodesics in the deep linear network* (2510.07324).

    >>> import deeplinear as dl, numpy as np
    >>> W0, W1 = np.diag([4.0, 1.0]), np.diag([16.0, 1.0])
    >>> dl.geodesic.aligned_path(W0, W1, 2, 0.5).tolist()  # ((√4 + √16)/2)²
    [[9.0, 0.0], [0.0, 1.0]]
    """
    nu = _nu(depth)
    z0, z1, F, Q0 = _common_frame(W0, W1)
    t = check_numbers(t, "t", least=-math.inf)[..., None]
    x = (1 - t) * _root(z0, nu) + t * _root(z1, nu)
    z = np.exp(x) if nu == 0 else (1 + nu * x) ** (1 / nu)
    return jnp.asarray(((F * z[..., None, :]) @ F.conj().T).real @ Q0)


def spd_distance(S0: ArrayLike, S1: ArrayLike) -> Float[Array, ""]:
    """The distance of symmetric positive definite matrices at depth 2,

        2 min_O ‖S_0^{1/2} − S_1^{1/2} O‖_F
        = 2 (tr S_0 + tr S_1 − 2 tr(S_0^{1/2} S_1 S_0^{1/2})^{1/2})^{1/2},

    twice the Bures–Wasserstein distance.

    **Normalization**: [CMV]. **Raises** `InputError` for matrices that are not symmetric and
    positive definite.

    >>> import deeplinear as dl, numpy as np
    >>> round(float(dl.geodesic.spd_distance(np.diag([4.0, 1.0]), np.diag([9.0, 1.0]))), 12)
    2.0
    """
    X0, X1 = _aligned_roots(S0, S1)
    return 2 * jnp.linalg.norm(X1 - X0)


def spd_path(S0: ArrayLike, S1: ArrayLike, t: ArrayLike) -> Float[Array, "*t d d"]:
    """Points of the geodesic of depth 2 between symmetric positive definite matrices,

        W(t) = X(t) X(t)ᵀ,   X(t) = (1 − t) S_0^{1/2} + t S_1^{1/2} O,

    with O the orthogonal factor of S_1^{1/2} S_0^{1/2}, for a time or times t. Normalization and
    errors as in `spd_distance`.

    >>> import deeplinear as dl, numpy as np
    >>> np.round(dl.geodesic.spd_path(np.diag([4.0, 1.0]), np.diag([16.0, 1.0]), 0.5), 12).tolist()
    [[9.0, 0.0], [0.0, 1.0]]
    """
    X0, X1 = _aligned_roots(S0, S1)
    t = t if is_traced(t) else check_numbers(t, "t", least=-math.inf)
    t = jnp.asarray(t, X0.dtype)[..., None, None]
    X = (1 - t) * X0 + t * X1
    return X @ jnp.swapaxes(X, -1, -2)


@needs_values
def planar_distance(W0: ArrayLike, W1: ArrayLike) -> float:
    """The distance at depth 2 of 2×2 matrices with determinants of one sign,

        (r_0² + r_1² − 2 r_0 r_1 cos D)^{1/2},   r² = 4 (σ_1 + σ_2),   D = ½ (θ² + q²)^{1/2},

    q the angle of the rotation between their orthogonal polar factors, in [0, π], and θ that on the
    unit sphere between the points of height 2 √|det W|/(σ_1 + σ_2) whose longitude is α + β in
    W = ±R(α) Σ R(−β). For at depth 2 the 2×2 matrices are a cone over (a half of the sphere of
    radius ½) × (a circle of length π): complete but for the rank that is lost, flat where θ stays.
    For q = π there are two geodesics of this length, else one.

    **Normalization**: [CMV]. **Raises** `InputError` for other shapes, W without full rank, and
    determinants of opposite sign. **Source**: derived here; the positive definite case, q = 0, is
    `spd_distance`.

    >>> import deeplinear as dl, numpy as np
    >>> round(dl.geodesic.planar_distance(np.eye(2), -np.eye(2)), 6)  # half a turn: (8 + 8)^{1/2}
    4.0
    """
    polar = []
    for W, name in ((W0, "W0"), (W1, "W1")):
        A = np.asarray(check_matrix(W, name), float)
        if A.shape != (2, 2):
            raise InputError(f"{name} must be 2×2, got shape {A.shape}: use geodesic.distance.")
        # the parts that commute with rotations, of modulus (σ_1 ± σ_2)/2, and that do not
        z = complex(A[0, 0] + A[1, 1], A[1, 0] - A[0, 1]) / 2
        w = complex(A[0, 0] - A[1, 1], A[1, 0] + A[0, 1]) / 2
        s = np.linalg.svd(A, compute_uv=False)
        if not s[1] > 2 * float(jnp.finfo(np.result_type(A)).eps) * s[0]:
            raise InputError(f"{name} must have full rank, and has not to working precision.")
        sign = abs(z) > abs(w)
        large, small = (z, w) if sign else (w, z)
        height = 2 * math.sqrt(s[0] * s[1]) / (s[0] + s[1])
        polar.append((sign, large, small / abs(large), height))
    (sign0, z0, p0, h0), (sign1, z1, p1, h1) = polar
    if sign0 != sign1:
        raise InputError("W0 and W1 must have determinants of one sign, got opposite ones.")
    q = abs(np.angle(z1 / z0))
    apart = math.hypot(abs(p1 - p0), h1 - h0)
    together = math.hypot(abs(p1 + p0), h1 + h0)
    link = math.hypot(2 * math.atan2(apart, together), q) / 2
    r0, r1 = (math.sqrt(8 * abs(z)) for z in (z0, z1))
    return math.hypot(r0 - r1, 2 * math.sqrt(r0 * r1) * math.sin(link / 2))


def _nu(depth: float) -> float:
    return 1 / float(check_depth(depth, scalar=True))


def _root(z: np.ndarray, nu: float) -> np.ndarray:
    """(z^ν − 1)/ν, or log z at ν = 0: here these geodesics are straight and lengths Euclidean."""
    return np.log(z) if nu == 0 else np.expm1(nu * np.log(z)) / nu


def _common_frame(W0: ArrayLike, W1: ArrayLike) -> tuple[np.ndarray, ...]:
    """Eigenvalues of Z_0 and Z_1, their unitary eigenvectors F, and Q_0 in W_i = F Z_i F* Q_0."""
    checked = [check_matrix(W, name) for W, name in ((W0, "W0"), (W1, "W1"))]
    eps = max(float(jnp.finfo(W.dtype).eps) for W in checked)
    A, B = (np.asarray(W, float) for W in checked)
    if A.shape != B.shape or A.shape[0] != A.shape[1]:
        raise InputError(
            f"W0 and W1 must be square and of one shape, got {A.shape} and {B.shape}: use "
            "geodesic.path."
        )
    U, s, Vt = np.linalg.svd(A)
    if s[-1] <= A.shape[0] * eps * s[0]:
        raise InputError("W0 must have full rank, and has not to working precision.")
    # the polar decomposition W_0 = Z_0 Q_0, and Z_1 relative to the same Q_0
    Q0 = U @ Vt
    Z0, Z1 = (U * s) @ U.T, B @ Q0.T
    # a generic combination separates what either of the two leaves tied
    mixed = Z1 / np.linalg.norm(Z1) + np.sqrt(2) * Z0 / np.linalg.norm(Z0)
    _, F = scipy.linalg.schur(mixed.astype(complex))
    z0, z1 = ((F.conj().T @ Z @ F) for Z in (Z0, Z1))
    for z, Z in ((z0, Z0), (z1, Z1)):
        if np.linalg.norm(z - np.diag(np.diagonal(z))) > max(1e-10, 100 * eps) * np.linalg.norm(Z):
            raise InputError(
                "W0 and W1 must be U Z_i Vᵀ with commuting normal Z_i, and are not: use "
                "geodesic.path."
            )
    z0, z1 = np.diagonal(z0).real.astype(complex), np.diagonal(z1)
    if np.any(np.abs(np.abs(np.angle(z1)) - np.pi) < 1e-12) or np.any(
        np.abs(z1) <= A.shape[0] * eps * np.abs(z1).max()
    ):
        raise InputError(
            "W1 must not be singular, nor opposite to W0 along a singular vector: no geodesic of "
            "this form joins them."
        )
    return z0, z1, F, Q0


def _aligned_roots(S0: ArrayLike, S1: ArrayLike) -> tuple[Array, Array]:
    """S_0^{1/2} and S_1^{1/2} O, as near to each other as can be."""
    roots = []
    for S, name in ((S0, "S0"), (S1, "S1")):
        S = check_matrix(S, name)
        if S.shape[0] != S.shape[1]:
            raise InputError(f"{name} must be square, got shape {S.shape}.")
        skew = jnp.abs(S - S.T).max() > 1e3 * jnp.finfo(S.dtype).eps * jnp.abs(S).max()
        S = raise_if(
            S,
            skew,
            InputError(
                f"{name} must be symmetric: take (S + Sᵀ)/2, or geodesic.distance for other "
                "matrices."
            ),
        )
        s, U = jnp.linalg.eigh(S)
        error = InputError(f"{name} must be positive definite, and has an eigenvalue ≤ 0.")
        roots.append((raise_if(U, s[0] <= 0, error) * jnp.sqrt(s)) @ U.T)
    if roots[0].shape != roots[1].shape:
        raise InputError(f"S1 must have the shape {roots[0].shape} of S0, got {roots[1].shape}.")
    # orthogonal Procrustes: O is the polar factor of S_1^{1/2} S_0^{1/2}
    A, _, Bt = jnp.linalg.svd(roots[1] @ roots[0])
    return roots[0], roots[1] @ A @ Bt
