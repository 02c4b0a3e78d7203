"""Linear solves of stiff steps and of the jump: conjugate gradients, the kernel A frozen."""

import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .frames import Matrix, Powers, dot

Tree = TypeVar("Tree")

# x, r, p, Hp, ⟨r, Hr⟩, which lanes go on, steps done
Carry = tuple[Matrix, Matrix, Matrix, Matrix, Array, Array, int]


def axpy(a: Array | float, X: Tree, Y: Tree) -> Tree:
    """aX + Y, a being one number for each lane."""
    return jax.tree.map(lambda x, y: a * x + y, X, Y)


def solve(
    frame: Powers,
    hessian: Callable[[Matrix], Matrix],
    c: Array,
    b: Matrix,
    *,
    shift: float,
    rtol: Array | float,
    max_steps: int,
    radius: Array | float = math.inf,
) -> tuple[Matrix, Array]:
    """x with (shift + c A H) x = b, for H = E″ ≥ 0, c > 0; and which lanes reached ``rtol``.

    AH is self-adjoint in ⟨u, v⟩_H = ⟨u, Hv⟩, so conjugate gradients apply in that product: one A
    and one H a step, and no root or inverse of either. The part in the kernel of H is put right at
    the end (shift = 1), or is not wanted (shift = 0: the x in the range of A). A lane stops at its
    own ``rtol`` (in the norm of H), where the curvature is not positive, or where ‖x‖ exceeds
    ``radius`` and so is of no use, and stays as it is.
    """
    Hb = hessian(b)
    target = rtol**2 * dot(b, Hb)

    def go_on(carry: Carry) -> Array:
        *_, active, count = carry
        return jnp.any(active) & (count < max_steps)

    def step(carry: Carry) -> Carry:
        x, r, p, Hp, rho, active, count = carry
        Bp = axpy(c, frame.power(Hp, 1), jax.tree.map(lambda y: shift * y, p))
        curvature = dot(Hp, Bp)
        # lanes that have stopped get α = 0, and so stay as they are, bit for bit
        alpha = jnp.where(
            active & (curvature > 0), rho / jnp.where(curvature > 0, curvature, 1.0), 0.0
        )
        x, r = axpy(alpha, p, x), axpy(-alpha, Bp, r)
        Hr = hessian(r)
        rho_new = dot(r, Hr)
        beta = rho_new / jnp.where(rho > 0, rho, 1.0)
        p, Hp = where(active, (axpy(beta, p, r), axpy(beta, Hp, Hr)), (p, Hp))
        rho = jnp.where(active, rho_new, rho)
        useful = (curvature > 0) & (dot(x, x) <= radius**2)
        return x, r, p, Hp, rho, active & useful & (rho > target), count + 1

    rho = dot(b, Hb)
    zero = jax.tree.map(jnp.zeros_like, b)
    x, _, _, _, rho, _, _ = jax.lax.while_loop(go_on, step, (zero, b, b, Hb, rho, rho > target, 0))
    return (axpy(-c, frame.power(hessian(x), 1), b) if shift else x), rho <= target


def where(condition: Array, X: Tree, Y: Tree) -> Tree:
    """X in the lanes where the condition holds, Y elsewhere."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), X, Y)
