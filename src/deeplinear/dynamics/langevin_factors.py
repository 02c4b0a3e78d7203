"""Langevin dynamics on the manifold of balanced factors."""

from collections.abc import Callable
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike

from ..energies import Energy
from .coordinates import FactorCoordinates, FlowProblem
from .langevin_process import AbstractProcess, Observation, sign_of_det


def along_fibre(factors: tuple[Array, ...], x: tuple[Array, ...]) -> tuple[Array, ...]:
    """The part of x along the fibre: (a_p W_p − W_p a_{p−1})_p, a_p skew, a_0 = a_N = 0.

    The fibre through balanced factors is the orbit of O_d^{N−1}, W_p ↦ Q_p W_p Q_{p−1}ᵀ.
    """
    N, d = len(factors), factors[0].shape[0]
    i, j = jnp.triu_indices(d, 1)
    if N == 1 or d == 1:
        return jax.tree.map(jnp.zeros_like, x)

    def moved(turns: Array) -> Array:
        upper = jnp.zeros((N - 1, d, d), turns.dtype).at[:, i, j].set(turns.reshape(N - 1, -1))
        skew = upper - jnp.swapaxes(upper, 1, 2)
        parts = [jnp.zeros((d, d), turns.dtype) for _ in factors]
        for p in range(N - 1):
            parts[p] = parts[p] + skew[p] @ factors[p]
            parts[p + 1] = parts[p + 1] - factors[p + 1] @ skew[p]
        return ravel_pytree(tuple(parts))[0]

    flat, unravel = ravel_pytree(x)
    turns = jnp.zeros((N - 1) * d * (d - 1) // 2, flat.dtype)
    L = jax.jacfwd(moved)(turns)  # linear: its matrix
    gram = L.T @ L
    # singular at corank 2 alone, where some turns move nothing
    tiny = jnp.finfo(gram.dtype).eps * (jnp.trace(gram) + jnp.finfo(gram.dtype).tiny)
    return unravel(
        L @ jnp.linalg.solve(gram + tiny * jnp.eye(len(gram), dtype=gram.dtype), L.T @ flat)
    )


class BalancedProcess(AbstractProcess[tuple[Array, ...]]):
    """Isotropic Langevin dynamics on the manifold of balanced factors, W_{p+1}ᵀ W_{p+1} = W_p W_pᵀ.

    Each increment is projected to the tangent space (the drift is tangent by itself), and then
    Newton's method goes to the closest point of the manifold, to the order of the scheme; damped by
    the size of the gap, because the constraint degenerates where det W = 0.

    The noise is ``along`` times its part along the fibre and ``across`` times the rest.
    """

    energy: Energy
    beta: Array
    along: Array
    across: Array
    newton_steps: int = eqx.field(static=True, default=20)
    directed: bool = eqx.field(static=True, default=False)

    def start(self, factors: tuple[Array, ...]) -> tuple[Array, ...]:
        return factors

    @staticmethod
    def constraint(factors: tuple[Array, ...]) -> Array:
        """The entries of W_{p+1}ᵀ W_{p+1} − W_p W_pᵀ on and below the diagonal, p = 1 … N−1."""
        rows, cols = jnp.tril_indices(factors[0].shape[0])
        gaps = [(B.T @ B - A @ A.T)[rows, cols] for A, B in pairwise(factors)]
        return jnp.concatenate(gaps)

    def project(
        self,
        factors: tuple[Array, ...],
        x: tuple[Array, ...],
        gap: Callable[[Array], Array],
        damping: ArrayLike,
    ) -> tuple[Array, ...]:
        """x − Jᵀ (JJᵀ + damping)^{−1} g, with g = gap(J) and J the derivative of the constraint."""
        # JJᵀ is small, (N − 1) d (d + 1)/2 square, and singular only where det W = 0
        flat, unravel = ravel_pytree(factors)
        J = jax.jacrev(lambda x: self.constraint(unravel(x)))(flat)
        damped = J @ J.T + jax.lax.stop_gradient(damping) * jnp.eye(J.shape[0], dtype=J.dtype)
        return jax.tree.map(jnp.subtract, x, unravel(J.T @ jnp.linalg.solve(damped, gap(J))))

    def drift(self, t: ArrayLike, factors: tuple[Array, ...], args: None) -> tuple[Array, ...]:
        nu = jnp.asarray(1 / len(factors), factors[0].dtype)
        zero = jnp.zeros_like(nu)
        problem = FlowProblem(self.energy, nu, zero, zero, zero)
        return FactorCoordinates(len(factors)).field(t, factors, problem)

    def noise(
        self, t: ArrayLike, factors: tuple[Array, ...], args: None
    ) -> lx.AbstractLinearOperator:
        size = jnp.sqrt(2 / (len(factors) * self.beta))
        structure = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), factors)

        def scaled(B: tuple[Array, ...]) -> tuple[Array, ...]:
            if not self.directed:
                return jax.tree.map(lambda x: size * self.across * x, B)
            extra, fibre = self.along - self.across, along_fibre(factors, B)
            return jax.tree.map(lambda x, y: size * (self.across * x + extra * y), B, fibre)

        return lx.FunctionLinearOperator(scaled, structure, lx.positive_semidefinite_tag)

    def then(self, before: tuple[Array, ...], after: tuple[Array, ...]) -> tuple[Array, ...]:
        """The projection of the increment, and the retraction, after each step."""
        if len(after) == 1:
            return after
        step = ravel_pytree(jax.tree.map(jnp.subtract, after, before))[0]
        square = ravel_pytree(after)[0] @ ravel_pytree(after)[0]
        tiny = jnp.finfo(square.dtype).eps * square
        # onto the tangent space first: what Newton has left to do is of second order
        after = self.project(before, after, lambda J: J @ step, tiny)

        def improve(_: Array, x: tuple[Array, ...]) -> tuple[Array, ...]:
            gap = self.constraint(x)
            return self.project(
                x, x, lambda _: gap, jnp.linalg.norm(gap) + tiny * jnp.finfo(square.dtype).eps
            )

        return self.same_sheet(before, jax.lax.fori_loop(0, self.newton_steps, improve, after))

    @staticmethod
    def same_sheet(before: tuple[Array, ...], after: tuple[Array, ...]) -> tuple[Array, ...]:
        """``after``, mirrored back to the sheet of the manifold that ``before`` is on.

        Sheets meet where det W = 0, and differ by the signs of det W_p relative to det W_1. A step
        may end on another one, at a distance O(dt) from there.
        """
        old, new = (jax.vmap(sign_of_det)(jnp.stack(X)) for X in (before, after))
        changed = old * old[0] * new * new[0] < 0
        # the mirror image changes the sign of the smallest singular value of W_p
        U, s, Vt = jnp.linalg.svd(jnp.stack(after))
        mirror = jnp.where(changed, 2 * s[:, -1], 0.0)[:, None, None] * U[:, :, -1:] * Vt[:, -1:, :]
        return tuple(jnp.stack(after) - mirror)

    def is_lost(self, factors: tuple[Array, ...]) -> Array:
        """Whether the factors are not finite or not balanced any more."""
        scale = sum((jnp.sum(W**2) for W in factors), jnp.zeros((), factors[0].dtype))
        small = jnp.sqrt(jnp.finfo(scale.dtype).eps) * scale
        gap = jnp.max(jnp.abs(self.constraint(factors))) if len(factors) > 1 else 0.0 * scale
        return ~(jnp.isfinite(scale) & (gap <= small))

    def det_sign(self, factors: tuple[Array, ...]) -> Array:
        return sign_of_det(FactorCoordinates(len(factors)).matrix(factors))

    def observe(self, t: ArrayLike, factors: tuple[Array, ...], args: None) -> Observation:
        W = FactorCoordinates(len(factors)).matrix(factors)
        s = jnp.linalg.svd(W, compute_uv=False)
        energy = self.energy(W + 0 * s[0])  # after the SVD, and not beside it
        return W, jnp.reshape(energy, ()), jnp.log(s), self.det_sign(factors)
