"""What moves along a gradient flow: its energy and constants, and how fast it goes at a point."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from ..energies import Energy
from ..geometry.kernel import depth_of, log_growth, log_kernel
from ..geometry.leaf import Depth, at_zero


class FlowProblem(eqx.Module):
    """The energy and the constants of a flow: all that its vector field needs besides the state.

    ν = 1/N (or a leaf), the weight decay λ, the log of the bulk (or −∞), and the gap of log σ below
    which the SVD chart takes two singular values for tied. Of factors also the imbalance at the
    start, which steps keep only to their precision; infinite for balanced ones, None: look anew.
    """

    energy: Energy
    nu: Depth
    weight_decay: Array
    log_bulk: Array
    tie: Array
    imbalance: Array | None = None

    @property
    def depth(self) -> Depth:
        return depth_of(self.nu)

    def value(self, W: Array) -> Array:
        """E(W), of shape ()."""
        return jnp.reshape(self.energy(W), ()).astype(W.dtype)

    def gradient(self, W: Array) -> Array:
        """E′(W), Euclidean."""
        return jax.grad(self.value)(W)


class SingularFrame(NamedTuple):
    """The gradient G = E′(W) in the singular frame of W = U Σ Vᵀ."""

    M: Array  # UᵀGV, k×k
    outside: Array  # ‖(I − UUᵀ) G v_j‖² + ‖u_jᵀ G (I − VVᵀ)‖², k
    log_s: Array  # −∞ where a singular value is zero

    @classmethod
    def of(cls, G: Array, U: Array, V: Array, log_s: Array) -> "SingularFrame":
        GV, GtU = G @ V, G.T @ U
        M = U.T @ GV
        outside = jnp.sum((GV - U @ M) ** 2, 0) + jnp.sum((GtU - V @ M.T) ** 2, 0)
        return cls(M, outside if sum(G.shape) > 2 * log_s.size else 0 * outside, log_s)


class Motion(NamedTuple):
    """How fast W moves.

    - ``gradient``: what of E′(W) moves W, at any size of W (see `motion`); 0 at the limit.
    - ``slope``: |dE/dt|, or more.
    """

    gradient: Array
    slope: Array


def motion(
    frame: SingularFrame, problem: FlowProblem, curvature: Array, crosses: ArrayLike = False
) -> Motion:
    """The part of the gradient that moves W along −grad E − λ W,

        (Σ_ij r_ij²)^{1/2},  r_ij = M_ij (i ≠ j),  r_ii = M_ii + λ σ_i^{2/N − 1},

    over the pairs with λ_N(σ_i, σ_j) > 0, edges included: ‖E′(W)‖_F where all of W moves and λ = 0.
    Small singular values count like large ones, since they may grow. Two things do not stay: a
    singular value that falls (N ≥ 2) counts with no more than it still contributes to the gradient,
    κσ_i with the ``curvature`` κ of E, and so does a pair that turns where weight decay would keep
    it from growing.
    """
    M, outside, log_s = frame
    nu, decay = problem.nu, problem.weight_decay
    there = ~jnp.isneginf(log_s)  # a singular value that is zero stays zero
    safe = jnp.where(there, log_s, 0.0)
    # λ σ^{2/N − 1}, from logarithms; the clip keeps it finite, and changes no sign
    drag = jnp.where(there, decay * jnp.exp(jnp.minimum(-log_growth(safe, nu), 80.0)), 0.0)
    seen = curvature * jnp.exp(log_s)

    def counted(r: Array, log_lam: Array, seen: Array, drag: Array) -> Array:
        r = jnp.where(jnp.isneginf(log_lam), 0.0, jnp.abs(r))
        return jnp.maximum(jnp.where(decay > 0, jnp.minimum(r, seen), r), r - drag)

    log_pairs = log_kernel(log_s[:, None], log_s, nu)
    larger = curvature * jnp.exp(jnp.maximum(log_s[:, None], log_s))
    pairs = counted(M, log_pairs, larger, jnp.minimum(drag[:, None], drag)) ** 2
    push = jnp.diagonal(M) + drag
    falling = jnp.where(at_zero(nu) > 0.5, push, jnp.minimum(push, seen))
    falling = jnp.where(crosses, push, falling)
    diagonal = jnp.where(there | (at_zero(nu) == 1), jnp.where(push < 0, push, falling), 0.0)
    total = jnp.sum(pairs) - jnp.sum(jnp.diagonal(pairs)) + jnp.sum(diagonal**2)
    slope = jnp.sum(jnp.exp(log_pairs) * M**2)
    slope = slope + decay * jnp.sum(jnp.exp(log_s) * jnp.abs(jnp.diagonal(M)))
    # the pairs (σ_i, 0), or of a bulk
    log_edges = log_kernel(log_s, problem.log_bulk, nu)
    root = jnp.sqrt(jnp.where(outside > 0, outside, 1.0))
    edges = counted(root, log_edges, seen, drag)
    total = total + jnp.sum(jnp.where(outside > 0, edges, 0.0) ** 2)
    slope = slope + jnp.sum(jnp.exp(log_edges) * outside)
    return Motion(jnp.sqrt(jnp.where(total > 0, total, 0.0)), slope)
