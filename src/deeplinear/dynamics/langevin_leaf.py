"""Langevin dynamics on the leaves of networks that are not balanced.

As on the balanced leaf a root R = U diag(y) Vᵀ of W = U diag(σ) Vᵀ is stepped, here with y² = x
the root of ∏_p (x + c_p) = σ²: no equation is solved after the start. With

    slope s(y) = d log σ²/d log x = Σ_p x/(x + c_p),
    ρ = (σ_i − σ_j)(y_i + y_j) / ((σ_i + σ_j)(y_i − y_j))   (s where i = j),

the coefficients of `langevin_root` are L = 1, q = N, a = ρ/N, and Itô's drift is, for κ/β = 1,

    −½ s′/(N s²) + Σ_{j≠i} (1/N) [2y_i/(s_i (y_i + y_j)) − 1/ρ] / (y_i − y_j) − a/(y_i + y_j).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..energies import Energy
from ..geometry.leaf import Leaf, is_smooth_leaf, leaf_kernel, root_of
from .langevin_root import AbstractPairs, AbstractRootProcess

# Closer than this, relatively, pairs take the limit at a tie for the quotient.
_TIED = 1e-5


class LeafPairs(AbstractPairs):
    """The coefficients for each pair (i, j), and s and s′ of each y_i."""

    L: Array
    a: Array
    total: Array  # y_i + y_j
    slope: Array
    change: Array


class LeafProcess(AbstractRootProcess[LeafPairs]):
    """The equation of the root R = U √x Vᵀ of W on an isotropic leaf; q is N."""

    energy: Energy | None
    depth: Leaf
    q: Array
    beta: Array
    kappa: Array
    entropic: bool = eqx.field(static=True, default=False)
    reflect: bool = eqx.field(static=True, default=False)
    turning: bool = eqx.field(static=True, default=False)

    def roots(self, s: Array) -> Array:
        return jnp.sqrt(root_of(s, self.depth.c))

    def sigma(self, y: Array) -> Array:
        # y for each c that is 0: no square to underflow
        c = self.depth.c
        return jnp.prod(jnp.where(c > 0, jnp.sqrt(y[..., None] ** 2 + c), y[..., None]), -1)

    def log_sigma(self, y: Array) -> Array:
        c, log_y = self.depth.c, jnp.log(y)[..., None]
        wide = 0.5 * jnp.log(y[..., None] ** 2 + jnp.where(c > 0, c, 1.0))
        return jnp.sum(jnp.where(c > 0, wide, log_y), -1)

    def pairs(self, y: Array) -> LeafPairs:
        c, N, x = self.depth.c, self.depth.c.size, y**2
        safe = x[:, None] + jnp.where(c > 0, c, 1.0)
        slope = jnp.sum(jnp.where(c > 0, x[:, None] / safe, 1.0), -1)
        change = 2 * y * jnp.sum(jnp.where(c > 0, c / safe**2, 0.0), -1)
        total, s = y[:, None] + y, self.sigma(y)
        there = total > 0
        both = jnp.where(there, s[:, None] + s, 1.0)
        rho = N * leaf_kernel(x[:, None], x, c) * (total / jnp.where(both > 0, both, 1.0)) ** 2
        rho = jnp.where(there, rho, float(self.depth.zeros))
        return LeafPairs(jnp.ones_like(total), rho / N, total, slope, change)

    def ratio(self, y: Array, pairs: LeafPairs) -> Array:
        s, there = self.sigma(y), pairs.total > 0
        # σ/y as y → 0
        c = self.depth.c
        limit = jnp.prod(jnp.where(c > 0, jnp.sqrt(c), 1.0)) if is_smooth_leaf(self.depth) else 0.0
        return jnp.where(there, s[:, None] + s, limit) / jnp.where(there, pairs.total, 1.0)

    def ito(self, y: Array, pairs: LeafPairs) -> Array:
        N, slope, change = self.depth.c.size, pairs.slope, pairs.change
        own = -0.5 * change / (N * slope**2)
        gap, total = y[:, None] - y, jnp.where(pairs.total > 0, pairs.total, 1.0)
        tied = jnp.abs(gap) <= _TIED * pairs.total
        excess = 2 * y[:, None] / (slope[:, None] * total) - 1 / (N * pairs.a)
        # at a tie −∂/∂y_j of the excess
        limit = 1 / (slope[:, None] * total) - 0.5 * (change / slope**2)[:, None]
        pull = jnp.where(tied, limit, excess / jnp.where(tied, 1.0, gap)) / N
        turn = 0.0 if self.turning else pairs.a / total
        apart = (1 - jnp.eye(y.size, dtype=y.dtype)) * (pairs.total > 0)
        return own + jnp.sum(apart * (pull - turn), 1)

    def entropic_force(self, y: Array, pairs: LeafPairs) -> Array:
        c, off = self.depth.c, 1 - jnp.eye(y.size, dtype=y.dtype)

        def entropy(y: Array) -> Array:
            """¼ of the sum over ordered pairs."""
            x = y**2
            return 0.25 * jnp.sum(off * jnp.log(leaf_kernel(x[:, None], x, c)))

        return jax.grad(entropy)(y) / (c.size * pairs.slope)
