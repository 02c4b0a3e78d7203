"""The operator A_{N,W} of many small matrices at once, from a factorization that suits their size.

Lanes come last: W is m×n×L, for L independent points, so that elementwise work runs along
contiguous memory. What one lane computes never depends on the others: iterations leave a lane that
has converged untouched, bit for bit.
"""

import functools
import math
import operator
from typing import Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...compilation import accelerated
from ...geometry.kernel import log_kernel, shrink
from ...geometry.leaf import Depth, Leaf

# A matrix in every lane: m×n×L, or for 2×2 the tuple of the four entries, L numbers each. Apart,
# the compiler computes the four of them in one pass; stacked, it repeats all that they share four
# times (measured: 4 × slower).
Entries = tuple[Array, Array, Array, Array]
Matrix = Float[Array, "m n L"] | Entries


def split(W: Float[Array, "m n L"]) -> Matrix:
    """W in the form that the computation uses."""
    return (W[0, 0], W[0, 1], W[1, 0], W[1, 1]) if W.shape[:2] == (2, 2) else W


def join(W: Matrix) -> Float[Array, "m n L"]:
    """W as one array."""
    return jnp.stack(W).reshape(2, 2, -1) if isinstance(W, tuple) else W


def dot(X: Matrix, Y: Matrix) -> Float[Array, " L"]:
    """⟨X, Y⟩ in every lane."""
    if isinstance(X, tuple) or isinstance(Y, tuple):
        return functools.reduce(operator.add, map(operator.mul, X, Y))
    return jnp.sum(X * Y, (0, 1))


def norm(X: Matrix) -> Float[Array, " L"]:
    """‖X‖_F in every lane; of entries of any size, for squares would underflow."""
    largest = jnp.max(jnp.abs(join(X)), (0, 1))
    safe = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    scaled = jax.tree.map(lambda x: x / safe, X)
    return safe * jnp.sqrt(dot(scaled, scaled))


def sign_of_determinant(W: Matrix) -> Float[Array, " L"]:
    """sign det W in every lane; 1 where W is not square."""
    if isinstance(W, tuple):
        return jnp.sign(W[0] * W[3] - W[1] * W[2])
    if W.shape[0] != W.shape[1]:
        return jnp.ones_like(W[0, 0])
    return jnp.linalg.slogdet(jnp.moveaxis(W, -1, 0))[0]


class Powers(Protocol):
    """A_{N,W} and its powers."""

    def power(self, Z: Matrix, q: float) -> Matrix:
        """A^q(Z)."""
        ...


class Frame(Powers, Protocol):
    """A_{N,W} in the singular frame of W."""

    largest: Array  # σ_1 of each lane

    @property
    def full(self) -> Array:
        """Whether W has full rank, rounding noise aside."""
        ...

    def seen(self, Z: Matrix) -> Float[Array, " L"]:
        """‖UᵀZV‖_F without the entries of singular values that are zero and stay zero.

        At N = ∞ a square W that has lost rank has lost it to rounding: there all entries count.
        """
        ...

    def least(self, X: Matrix) -> Float[Array, " L"]:
        """The smallest diagonal entry of UᵀXV, divided by σ_1.

        Negative where X lies beyond a singular matrix, seen from W.
        """
        ...


class PlanarFrame(eqx.Module):
    """A at 2×2 points in closed form, without a decomposition.

    W is the sum of a rotation and a reflection, each scaled: two complex numbers p and q, with
    σ_{1,2} = |p| ± |q| up to sign. The singular frame turns p and q by their own phases.
    """

    phases: tuple[Array, Array, Array, Array]  # cos and sin of the phase of p, of q
    kernels: tuple[Array, Array, Array]  # λ(σ_1, σ_1), λ(σ_2, σ_2), λ(σ_1, σ_2)
    largest: Array
    gap: Array  # 2 log(σ_1/σ_2)
    sign: Array  # of det W
    finite: Array  # whether N < ∞

    def __init__(self, W: Matrix, nu: Array):
        a, b, c, d = W
        p0, p1, q0, q1 = _parts(W)
        p, q = jnp.sqrt(p0**2 + p1**2), jnp.sqrt(q0**2 + q1**2)
        self.phases = (*_phase(p0, p1, p), *_phase(q0, q1, q))
        self.largest = p + q
        # σ_1 σ_2 = |det W| has more digits than (|p| − |q|) σ_1.
        ratio = jnp.minimum(
            jnp.abs(a * d - b * c) / jnp.where(self.largest > 0, self.largest, 1.0) ** 2, 1.0
        )
        # rounding noise is no singular value
        ratio = jnp.where(ratio > 2 * jnp.finfo(ratio.dtype).eps, ratio, 0.0)
        z = -2 * jnp.log(ratio)
        # λ(σ, σ) = σ^{2−2ν}; the second by way of z, for a σ_2 far below the range of σ_1 ε
        first = jnp.where(nu == 1, 1.0, jnp.exp((2 - 2 * nu) * jnp.log(self.largest)))
        second = jnp.where(nu == 1, 1.0, first * jnp.exp((nu - 1) * z))
        self.kernels = (first, second, first * shrink(z, nu))
        self.gap, self.sign, self.finite = z, jnp.where(p < q, -1.0, 1.0), nu > 0

    def _turn(self, Z: Matrix) -> tuple[Array, Array, Array, Array]:
        """UᵀZV as its two diagonal entries and the two imaginary parts that make up the others."""
        p0, p1, q0, q1 = _parts(Z)
        cp, sp, cq, sq = self.phases
        x, y = p0 * cp + p1 * sp, q0 * cq + q1 * sq
        return x + y, x - y, p1 * cp - p0 * sp, q1 * cq - q0 * sq

    def power(self, Z: Matrix, q: float) -> Matrix:
        cp, sp, cq, sq = self.phases
        l1, l2, l12 = (x if q == 1 else x**q for x in self.kernels)
        first, second, y, w = self._turn(Z)
        first, second, y, w = l1 * first, l2 * second, l12 * y, l12 * w
        x, v = (first + second) / 2, (first - second) / 2
        p0, p1, q0, q1 = x * cp - y * sp, x * sp + y * cp, v * cq - w * sq, v * sq + w * cq
        return p0 + q0, q1 - p1, p1 + q1, p0 - q0

    @property
    def full(self) -> Array:
        return jnp.isfinite(self.gap)

    def seen(self, Z: Matrix) -> Array:
        first, second, y, w = self._turn(Z)
        second = jnp.where(self.full | ~self.finite, second, 0.0)
        return jnp.hypot(jnp.hypot(first, second), math.sqrt(2) * jnp.hypot(y, w))

    def least(self, X: Matrix) -> Array:
        first, second, _, _ = self._turn(X)
        return jnp.minimum(first, self.sign * second) / jnp.where(
            self.largest > 0, self.largest, 1.0
        )


def _parts(Z: Matrix) -> tuple[Array, Array, Array, Array]:
    """The rotation part p and the reflection part q of a 2×2 matrix: two complex numbers."""
    a, b, c, d = Z
    return (a + d) / 2, (c - b) / 2, (a - d) / 2, (c + b) / 2


def _phase(x: Array, y: Array, r: Array) -> tuple[Array, Array]:
    safe = jnp.where(r > 0, r, 1.0)  # at r = 0 the singular values tie, and any phase is right
    return jnp.where(r > 0, x / safe, 1.0), y / safe


def pair(log_a: Array, log_b: Array, nu: Depth) -> Array:
    """λ_N from two logarithms, without derivative rules: nothing is differentiated here."""
    if isinstance(nu, Leaf):
        return jnp.exp(log_kernel(log_a, log_b, nu))
    big = jnp.maximum(log_a, log_b)
    z = jnp.where(jnp.isneginf(big), 0.0, 2 * (big - jnp.minimum(log_a, log_b)))
    return jnp.where(nu == 1, 1.0, jnp.exp((2 - 2 * nu) * big)) * shrink(z, nu)


class ThinFrame(eqx.Module):
    """A at m×n points, m ≥ n, from a thin SVD; a wide W is kept transposed, A being equivariant."""

    U: Float[Array, "m n L"]
    V: Float[Array, "n n L"]
    core: Float[Array, "n n L"]  # λ(σ_i, σ_j)
    edge: Float[Array, "n L"]  # λ(0, σ_j), for what lies outside the range of U
    log_s: Float[Array, "n L"]
    largest: Array
    finite: Array | bool  # whether N < ∞
    wide: bool = eqx.field(static=True)
    # Whether U spans everything: not where m > n, nor where it has zero columns.
    complete: bool = eqx.field(static=True)

    def __init__(self, U: Array, s: Array, V: Array, nu: Depth, *, wide: bool, complete: bool):
        self.U, self.V, self.wide, self.complete = U, V, wide, complete
        # As in `Operator`: rounding noise is no singular value (λ_∞(a, s) decays only like 1/|log
        # s|).
        largest = jnp.max(s, axis=0)
        s = jnp.where(s > U.shape[0] * jnp.finfo(s.dtype).eps * largest, s, 0.0)
        if not complete:
            self.U = jnp.where(s > 0, U, 0.0)  # what it would span is left to the edges
        log_s = jnp.log(s)
        self.core = pair(log_s[:, None], log_s[None, :], nu)
        self.edge = pair(log_s, jnp.full_like(log_s, -jnp.inf), nu)
        self.log_s, self.largest = log_s, largest
        self.finite = isinstance(nu, Leaf) or nu > 0

    def _turn(self, Z: Matrix) -> tuple[Array, Array]:
        """UᵀZV, and the part of ZV outside the range of U."""
        Z = join(Z)
        ZV = product(jnp.swapaxes(Z, 0, 1) if self.wide else Z, self.V)
        C = product(jnp.swapaxes(self.U, 0, 1), ZV)
        return C, ZV - product(self.U, C)

    def power(self, Z: Matrix, q: float) -> Matrix:
        core, edge = (x if q == 1 else x**q for x in (self.core, self.edge))
        C, outside = self._turn(Z)
        inside = product(self.U, core * C)
        if not self.complete:
            inside = inside + edge * outside
        out = product(inside, jnp.swapaxes(self.V, 0, 1))
        return split(jnp.swapaxes(out, 0, 1) if self.wide else out)

    @property
    def full(self) -> Array:
        return jnp.all(jnp.isfinite(self.log_s), 0)

    def seen(self, Z: Matrix) -> Array:
        C, outside = self._turn(Z)
        inside = norm(jnp.where((self.core > 0) | jnp.logical_not(self.finite), C, 0.0))
        if self.complete:
            return inside
        return jnp.hypot(inside, norm(jnp.where(self.edge > 0, outside, 0.0)))

    def least(self, X: Matrix) -> Array:
        diagonal = jnp.einsum("iil->il", self._turn(X)[0])
        return jnp.min(diagonal, 0) / jnp.where(self.largest > 0, self.largest, 1.0)


# Up to this many columns a product of two matrices is written out elementwise, along the lanes, and
# the SVD may be Jacobi's.
SMALL = 6


def product(A: Float[Array, "i j L"], B: Float[Array, "j k L"]) -> Float[Array, "i k L"]:
    """AB in every lane."""
    if max(A.shape[:2]) <= SMALL:
        return jnp.sum(A[:, :, None, :] * B[None, :, :, :], axis=1)
    return jnp.einsum("ijl,jkl->ikl", A, B)


def frame(W: Matrix, nu: Depth, *, often: bool = False) -> Frame:
    """A_{N,W}, by a method that suits the size of W, and whether it is asked for ``often``.

    In closed form for 2×2 (not on leaves), otherwise by LAPACK's SVD; for small W in every stage of
    a step, or on an accelerator, by one-sided Jacobi rotations in all lanes at once. These take a
    quarter of the time, and .4 s to compile where LAPACK's takes .05.
    """
    if isinstance(W, tuple) and not isinstance(nu, Leaf):
        return PlanarFrame(W, nu)
    W = join(W)
    m, n = W.shape[:2]
    tall = jnp.swapaxes(W, 0, 1) if m < n else W
    turned = max(m, n) <= SMALL and (often or accelerated())
    decompose = jacobi if turned else lapack
    return ThinFrame(*decompose(tall), nu, wide=m < n, complete=m == n and not turned)


def lapack(W: Float[Array, "m n L"]) -> tuple[Array, Array, Array]:
    """U, σ, V with lanes last."""
    U, s, Vt = jnp.linalg.svd(jnp.moveaxis(W, -1, 0), full_matrices=False)
    return jnp.moveaxis(U, 0, -1), s.T, jnp.transpose(Vt, (2, 1, 0))


Carry = tuple[tuple[Array, ...], Array, Array]  # columns, which lanes turned, sweeps done


def jacobi(W: Float[Array, "m n L"], sweeps: int = 30) -> tuple[Array, Array, Array]:
    """U, σ (in no order), V by one-sided Jacobi rotations of the columns.

    Down to singular values that are rounding noise.

    A zero singular value has a zero column in U; those below the noise are not made orthogonal.

    **Source**: Demmel and Veselić, SIAM J. Matrix Anal. Appl. 13 (1992).
    """
    m, n, L = W.shape
    eps = jnp.finfo(W.dtype).eps
    eye = jnp.eye(n, dtype=W.dtype)
    # The rotations act on the columns of W and of V alike; apart, for the same reason as in
    # `Matrix`.
    columns: tuple[Array, ...] = tuple(
        jnp.concatenate([W[:, j], jnp.broadcast_to(eye[:, j, None], (n, L))]) for j in range(n)
    )

    def sweep(carry: Carry) -> Carry:
        columns, _, count = carry
        turned = jnp.zeros(L, bool)
        x = list(columns)
        noise = (0.1 * eps) ** 2 * functools.reduce(
            jnp.maximum, (jnp.sum(y[:m] ** 2, 0) for y in x)
        )
        for i in range(n - 1):
            for j in range(i + 1, n):
                # the Gram matrix of the two columns; only the rows of W count
                a, b, c = (jnp.sum(x[k][:m] * x[l][:m], 0) for k, l in ((i, i), (j, j), (i, j)))
                needed = (jnp.abs(c) > eps * jnp.sqrt(a) * jnp.sqrt(b)) & (
                    jnp.minimum(a, b) > noise
                )
                # the smaller root t = tan of the angle that makes them orthogonal
                zeta = (b - a) / (2 * jnp.where(needed, c, 1.0))
                t = jnp.where(zeta >= 0, 1.0, -1.0) / (jnp.abs(zeta) + jnp.sqrt(1 + zeta**2))
                t = jnp.where(needed, t, 0.0)
                cos = 1 / jnp.sqrt(1 + t**2)
                x[i], x[j] = cos * (x[i] - t * x[j]), cos * (x[j] + t * x[i])
                turned |= needed
        return tuple(x), turned, count + 1

    def go_on(carry: Carry) -> Array:
        return jnp.any(carry[1]) & (carry[2] < sweeps)

    columns, _, _ = jax.lax.while_loop(go_on, sweep, (columns, jnp.ones(L, bool), jnp.asarray(0)))
    US, V = (jnp.stack([x[rows] for x in columns], 1) for rows in (slice(m), slice(m, None)))
    s = jnp.sqrt(jnp.sum(US**2, 0))
    return jnp.where(s > 0, US / jnp.where(s > 0, s, 1.0), 0.0), s, V
