"""The loss on the factors, L = E(W_N ⋯ W_1) + (λ/2) Σ_p ‖W_p‖_F², and its gradient.

Plain functions of one network: batches of them are made by `jax.vmap`.
"""

from functools import reduce

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...energies import Energy

Factors = tuple[Array, ...]


def multiplied(factors: Factors) -> Array:
    """W = W_N ⋯ W_1."""
    return reduce(lambda W, W_p: W_p @ W, factors)


class FactorLoss(eqx.Module):
    """L(W_1, …, W_N) = E(W_N ⋯ W_1) + (λ/2) Σ_p ‖W_p‖_F²."""

    energy: Energy
    decay: Array

    def energy_of(self, W: Array) -> Array:
        """E(W), of shape ()."""
        return jnp.reshape(self.energy(W), ()).astype(W.dtype)

    def __call__(self, factors: Factors) -> Array:
        squares = sum(jnp.sum(W**2) for W in factors)
        return self.energy_of(multiplied(factors)) + 0.5 * self.decay * squares

    def slopes(self, factors: Factors) -> tuple[Array, Array, Factors]:
        """W, E(W) and the gradient of L: ∂_p L = (W_N ⋯ W_{p+1})ᵀ E′(W) (W_{p−1} ⋯ W_1)ᵀ + λ W_p.

        3 (N − 1) products, as many as backpropagation takes.
        """
        below = [factors[0]]  # W_p ⋯ W_1
        for W_p in factors[1:]:
            below.append(W_p @ below[-1])
        E, back = jax.value_and_grad(self.energy_of)(below[-1])
        found = []
        for p in range(len(factors) - 1, -1, -1):
            slope = back @ below[p - 1].T if p else back
            found.append(slope + self.decay * factors[p])
            if p:
                back = factors[p].T @ back
        return below[-1], E, tuple(found[::-1])


def squared_norm(tree: Factors) -> Array:
    """Σ_p ‖W_p‖_F²."""
    return reduce(jnp.add, [jnp.sum(W**2) for W in tree])
