"""The flow of many matrices at once in the coordinates W = U diag(σ) Vᵀ, with log σ kept.

Small singular values keep all their relative digits, and neither the sign of det W nor the rank can
change. That is what a saddle asks for: it amplifies the relative errors of the singular values that
have still to grow, of which a dense W has only the digits that its largest singular value leaves.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...geometry.kernel import log_growth
from ...geometry.leaf import Depth, Leaf, leaf_turning
from .frames import Matrix, join, pair, product, split


class SingularPoint(NamedTuple):
    """U (m×m), log σ (k = min(m, n)) and V (n×n) in every lane; −∞ where the rank is lost.

    U and V are square: the directions beyond k are zero singular values like any other. The same
    three arrays hold a tangent vector (U̇, d log σ/dt, V̇).
    """

    U: Float[Array, "m m L"]
    log_s: Float[Array, "k L"]
    V: Float[Array, "n n L"]


def transpose(X: Float[Array, "i j L"]) -> Float[Array, "j i L"]:
    """Xᵀ in every lane."""
    return jnp.swapaxes(X, 0, 1)


def orthonormal(point: SingularPoint) -> SingularPoint:
    """The point without the drift of the steps: one Newton–Schulz step, which squares it."""

    def nearest(U: Array) -> Array:
        return 1.5 * U - 0.5 * product(U, product(transpose(U), U))

    return SingularPoint(nearest(point.U), point.log_s, nearest(point.V))


def decompose(W: Matrix) -> SingularPoint:
    """The point W; singular values that are rounding noise count as zeros, as in `Operator`."""
    W = jnp.moveaxis(join(W), -1, 0)
    U, s, Vt = jnp.linalg.svd(W, full_matrices=True)
    noise = max(W.shape[1:]) * jnp.finfo(s.dtype).eps * s[:, :1]
    log_s = jnp.log(jnp.where(s > noise, s, 0.0))
    return SingularPoint(jnp.moveaxis(U, 0, -1), log_s.T, jnp.transpose(Vt, (2, 1, 0)))


def compose(point: SingularPoint) -> Matrix:
    """W = U diag(σ) Vᵀ."""
    k = point.log_s.shape[0]
    US = point.U[:, :k] * jnp.exp(point.log_s)[None]
    return split(product(US, transpose(point.V[:, :k])))


def displacement(point: SingularPoint, tangent: SingularPoint) -> Matrix:
    """dW of a tangent vector: dU Σ Vᵀ + U Σ d(log σ) Vᵀ + U Σ dVᵀ."""
    k = point.log_s.shape[0]
    s = jnp.exp(point.log_s)[None]
    left = tangent.U[:, :k] * s + point.U[:, :k] * s * tangent.log_s[None]
    dW = product(left, transpose(point.V[:, :k]))
    return split(dW + product(point.U[:, :k] * s, transpose(tangent.V[:, :k])))


def length(tangent: SingularPoint) -> Float[Array, " L"]:
    """The size of a change: that of log σ, relative to each singular value, and of both frames."""
    squares = (jnp.sum(x**2, tuple(range(x.ndim - 1))) for x in tangent)
    return jnp.sqrt(sum(squares))


def _padded(X: Array, shape: tuple[int, ...], value: float) -> Array:
    """X continued by ``value`` to the given shape of all axes but the lanes."""
    widths = [(0, size - have) for size, have in zip(shape, X.shape[:-1], strict=True)]
    return jnp.pad(X, [*widths, (0, 0)], constant_values=value)


def turning(a: Array, b: Array, nu: Depth, tie: Array) -> tuple[Array, Array]:
    """(c σ_i, c σ_j) with c = 1/(N(σ_i^{2/N} − σ_j^{2/N})), from a = log σ_i and b = log σ_j.

    Zero for equal ones. Passing a near tie at distance g the frame turns at the rate 1/g; below g =
    ``tie`` that is cut off, which displaces log σ by no more.
    """
    if isinstance(nu, Leaf):
        return leaf_turning(a, b, nu, tie)
    same = a == b  # two zeros as well
    big = jnp.where(same, 0.0, jnp.maximum(a, b))
    gap = jnp.where(same, 1.0, a - jnp.where(same, 0.0, b))
    z = 2 * jnp.abs(gap)
    safe = jnp.where(nu > 0, nu, 1.0)
    # N (σ_i^{2/N} − σ_j^{2/N}) / max^{2/N}
    psi = jnp.where(nu > 0, -jnp.expm1(-safe * z) / safe, z)
    inverse = jnp.where(same, 0.0, jnp.sign(gap) / (psi + tie**2 / psi))
    return inverse * jnp.exp(a - 2 * nu * big), inverse * jnp.exp(b - 2 * nu * big)


def growth(log_s: Array, nu: Depth) -> Array:
    """λ(σ, σ)/σ = σ^{1−2/N}, 0 at σ = 0."""
    lost = jnp.isneginf(log_s)
    return jnp.where(lost, 0.0, jnp.exp(log_growth(jnp.where(lost, 0.0, log_s), nu)))


def velocity(point: SingularPoint, G: Matrix, nu: Depth, tie: Array) -> SingularPoint:
    """(U̇, d log σ/dt, V̇) of Ẇ = −A_{N,W}(G), at orthogonal U and V.

    With M = UᵀGV and c_ij as in `turning`:

        d log σ_i/dt = −σ_i^{1−2/N} M_ii,
        U̇ = UΩ, Ω_ij = c_ij (σ_j M_ij + σ_i M_ji),  V̇ = VΘ, Θ_ij = c_ij (σ_i M_ij + σ_j M_ji).
    """
    U, log_s, V = point
    m, n, k = U.shape[0], V.shape[0], log_s.shape[0]
    M = product(product(transpose(U), join(G)), V)
    d_log_s = -growth(log_s, nu) * jnp.einsum("iil->il", M[:k, :k])
    size = max(m, n)
    all_s, square = _padded(log_s, (size,), -jnp.inf), _padded(M, (size, size), 0.0)
    own, other = turning(all_s[:, None], all_s[None], nu, tie)
    omega = other * square + own * transpose(square)
    theta = own * square + other * transpose(square)
    return SingularPoint(product(U, omega[:m, :m]), d_log_s, product(V, theta[:n, :n]))


class SingularFrame(eqx.Module):
    """A_{N,W} at a point whose singular value decomposition is known."""

    point: SingularPoint
    core: Float[Array, "m n L"]  # λ_N(σ_i, σ_j)

    def __init__(self, point: SingularPoint, nu: Depth):
        m, n = point.U.shape[0], point.V.shape[0]
        left, right = (_padded(point.log_s, (size,), -jnp.inf) for size in (m, n))
        self.point, self.core = point, pair(left[:, None], right[None], nu)

    def power(self, Z: Matrix, q: float) -> Matrix:
        """A^q(Z)."""
        U, _, V = self.point
        core = self.core if q == 1 else self.core**q
        inside = core * product(product(transpose(U), join(Z)), V)
        return split(product(product(U, inside), transpose(V)))
