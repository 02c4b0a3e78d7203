"""Decompositions and products of matrices which, where they are small and many, are written out.

A processor has LAPACK and fast loops for them. On an accelerator each decomposition or product of a
batch is a kernel of a library, made for large matrices and many times slower than the elementwise
operations around it, with which the compiler joins what is written out.
"""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..compilation import accelerated


def svd(
    W: Float[Array, "m n"], *, full_matrices: bool = True
) -> tuple[Float[Array, "m u"], Float[Array, " k"], Float[Array, "v n"]]:
    """U, σ (descending), Vᵀ, as by `jax.numpy.linalg.svd`; on accelerators at 2×2 in closed form.

    >>> import numpy as np
    >>> U, s, Vt = svd(jnp.array([[0.0, 2.0], [1.0, 0.0]]))
    >>> s.tolist(), np.abs((U * s) @ Vt).round(6).tolist()
    ([2.0, 1.0], [[0.0, 2.0], [1.0, 0.0]])
    """
    if W.shape == (2, 2) and accelerated():
        return planar_svd(W)
    U, s, Vt = jnp.linalg.svd(W, full_matrices=full_matrices)
    return U, s, Vt


# Up to this many rows and columns a product is written out.
_SMALL = 6


def product(*factors: Array) -> Array:
    """The product of matrices, from the left, as by ``@``; small ones on accelerators elementwise.

    >>> product(jnp.ones((2, 3)), jnp.ones((3, 1)), jnp.ones((1, 1))).tolist()
    [[3.0], [3.0]]
    """
    if accelerated() and all(max(A.shape) <= _SMALL for A in factors):
        return functools.reduce(written_out, factors)
    return functools.reduce(jnp.matmul, factors)


def written_out(A: Float[Array, "m k"], B: Float[Array, "k n"]) -> Float[Array, "m n"]:
    """AB, column by row."""
    columns = (A[:, i, None] * B[i] for i in range(A.shape[1]))
    return functools.reduce(jnp.add, columns)


def planar_svd(W: Float[Array, "2 2"]) -> tuple[Array, Array, Array]:
    """U, σ and Vᵀ of a 2×2 matrix: a rotation and a reflection, scaled by p and q.

    σ_1 = p + q and σ_2 = |p − q|, of which |det W|/σ_1 has more digits; U is the rotation by half
    the sum of their angles, V by half the difference, with the sign of det W in its second column.
    """
    a, b, c, d = W[0, 0], W[0, 1], W[1, 0], W[1, 1]
    x, y, u, v = (a + d) / 2, (c - b) / 2, (a - d) / 2, (c + b) / 2
    largest = jnp.hypot(x, y) + jnp.hypot(u, v)
    safe = jnp.where(largest > 0, largest, 1.0)  # squares of small entries would underflow
    det = (a / safe) * (d / safe) - (b / safe) * (c / safe)
    s = jnp.stack([largest, jnp.minimum(jnp.abs(det), 1.0) * largest])
    turn, flip = jnp.arctan2(y, x), jnp.arctan2(v, u)
    left, right = (flip + turn) / 2, (flip - turn) / 2
    sign = jnp.where(det < 0, -1.0, 1.0).astype(W.dtype)
    U = jnp.array([[jnp.cos(left), -jnp.sin(left)], [jnp.sin(left), jnp.cos(left)]])
    Vt = jnp.array(
        [[jnp.cos(right), jnp.sin(right)], [-sign * jnp.sin(right), sign * jnp.cos(right)]]
    )
    return U, s, Vt
