"""Langevin dynamics of matrices that are not square, by the root R = U diag(y) Vᵀ of W.

W = U diag(y^N) Vᵀ. Tall matrices, m > n = k; wide ones are stepped as their transposes. In the
frame of R the k×k block obeys the equation of square matrices (see `langevin_root`, with q = N
and L = 1). Below it is the edge, the part of an increment outside the columns of U, with

- noise: √(2κ/(βN)) at any y, for λ_N(σ, 0) = σ²/(N y²);
- energy: −(σ_j/(N y_j)) (U_⊥ᵀ E′(W) V)_j;
- Itô: (κ/β)(m − k)(1/(N s_i) − 1/N)/y_i on the diagonal, s = d log σ/d log y (in W nothing: there
  the edge cancels).

On the balanced leaf s = N. On others (see `langevin_leaf`) all this holds with the root y = √x of
that leaf, s = Σ_p x/(x + c_p), wherever λ^c(σ, 0) is the kernel of the edge.

The edge turns U by E_j/y_j, with a variance s times that which fits its push on y, (m − k)/(N s y)
κ/β: for s > 1 near y = 0 the manifold is a cone. A step therefore turns U exactly, and pushes y by
the singular values of the block with the edge over √s below it, which repels y from 0 without a
singularity.
"""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike

from .langevin_leaf import LeafPairs, LeafProcess
from .langevin_process import Observation
from .langevin_root import AbstractRootProcess, Pairs, PairsT, RootProcess


class AbstractTallProcess(AbstractRootProcess[PairsT]):
    """The equation of the root of a tall W; of the transpose of a wide one (``wide``)."""

    wide: eqx.AbstractVar[bool]

    @abstractmethod
    def slopes(self, y: Array) -> Array:
        """s = d log σ/d log y."""

    @abstractmethod
    def stretch(self, y: Array) -> Array:
        """σ/y, with its limit at 0."""

    def start(self, W: Array) -> Array:
        """R of W, tall."""
        U, s, Vt = jnp.linalg.svd(W.T if self.wide else W, full_matrices=False)
        return (U * self.roots(s)) @ Vt

    def gradient(self, W: Array) -> Array:
        """E′ of the tall matrix W."""
        return super().gradient(W.T).T if self.wide else super().gradient(W)

    def drift(self, t: ArrayLike, R: Array, args: None) -> Array:
        U, y, Vt = jnp.linalg.svd(R, full_matrices=False)
        pairs = self.pairs(y)
        diagonal = self.kappa / self.beta * self.ito(y, pairs)
        if not self.turning:
            extra = (R.shape[0] - y.size) / self.q * (1 / self.slopes(y) - 1)
            pull = jnp.where(extra == 0, 0.0, extra / jnp.where(extra == 0, 1.0, y))
            diagonal = diagonal + self.kappa / self.beta * pull
        if self.entropic:
            diagonal = diagonal + self.entropic_force(y, pairs) / self.beta
        out = U @ jnp.diag(diagonal) @ Vt
        if self.energy is not None:
            G = self.gradient((U * self.sigma(y)) @ Vt)
            edge = (G - U @ (U.T @ G)) @ Vt.T
            out = out + U @ self.pushed(U.T @ G @ Vt.T, y, pairs) @ Vt
            out = out - (edge * self.stretch(y) / self.q) @ Vt
        return out

    def noise(self, t: ArrayLike, R: Array, args: None) -> lx.AbstractLinearOperator:
        U, y, Vt = jnp.linalg.svd(R, full_matrices=False)
        pairs = self.pairs(y)  # L = 1
        size = jnp.sqrt(2 * self.kappa / self.beta)
        even, odd = size / (self.q * jnp.sqrt(pairs.a)), size * jnp.sqrt(pairs.a)

        def mv(B: Array) -> Array:
            C = U.T @ B @ Vt.T
            inside = U @ (even / 2 * (C + C.T) + odd / 2 * (C - C.T)) @ Vt
            return inside + size / jnp.sqrt(self.q) * (B - U @ (U.T @ B))

        return self.as_operator(mv, R)

    def observe(self, t: ArrayLike, R: Array, args: None) -> Observation:
        U, y, Vt = jnp.linalg.svd(R, full_matrices=False)
        W = (U * self.sigma(y)) @ Vt
        W = W.T if self.wide else W
        energy = None if self.energy is None else jnp.reshape(self.energy(W), ())
        return W, energy, self.log_sigma(y), self.det_sign(R)

    def det_sign(self, R: Array) -> Array:
        """1: there is no determinant."""
        return jnp.ones((), R.dtype)

    def then(self, before: Array, after: Array) -> Array:
        """The rotations of the frames made exact, and the push of the edge on y without 1/y."""
        if not self.turning:
            return after
        U, y, Vt = jnp.linalg.svd(before, full_matrices=False)
        step = (after - before) @ Vt.T
        inside = U.T @ step
        edge = step - U @ inside
        tiny = jnp.finfo(y.dtype).tiny
        half = (inside - inside.T) / (4 * jnp.maximum(y[:, None] + y, tiny))
        # of U: the same rotation inside, and the edge over y out of its columns
        tilt = edge / (2 * jnp.maximum(y, tiny)) @ U.T
        whole = U @ half @ U.T + tilt - tilt.T
        eye = jnp.eye(len(before), dtype=y.dtype)
        turned = jnp.linalg.solve(eye - whole, U + whole @ U)
        # + 0 · turned: one decomposition after the other, and not beside it
        half = half + 0 * turned[0, 0]
        small = jnp.eye(y.size, dtype=y.dtype)
        Q = jnp.linalg.solve(small - half, small + half)
        block = jnp.diag(y) + (inside + inside.T) / 2 + 0 * Q[0, 0]
        _, s, Ot = jnp.linalg.svd(
            jnp.concatenate([block, edge / jnp.sqrt(self.slopes(y))]), full_matrices=False
        )
        return turned @ (Ot.T * s) @ Ot @ Q @ Vt

    def has_crossed(self, R: Array, sign: Array) -> Array:
        """Never: the smallest singular value does not reach 0."""
        return jnp.array(False)


class RectangularRootProcess(AbstractTallProcess[Pairs], RootProcess):
    """On the balanced leaf, N < ∞."""

    wide: bool = eqx.field(static=True, default=False)

    def slopes(self, y: Array) -> Array:
        return jnp.full_like(y, self.q)

    def stretch(self, y: Array) -> Array:
        return y ** (self.q - 1)


class RectangularLeafProcess(AbstractTallProcess[LeafPairs], LeafProcess):
    """On another leaf."""

    wide: bool = eqx.field(static=True, default=False)

    def slopes(self, y: Array) -> Array:
        return self.pairs(y).slope

    def stretch(self, y: Array) -> Array:
        one = jnp.arange(self.depth.c.size) == self.depth.least.index(True)
        wide = jnp.sqrt(y[..., None] ** 2 + self.depth.c)
        return jnp.prod(jnp.where(one, 1.0, wide), -1)
