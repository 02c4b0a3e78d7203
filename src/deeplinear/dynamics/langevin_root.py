"""Langevin dynamics of W (*downstairs*, as Menon calls it) by a root of it.

The noise and the drift of W are not Lipschitz where a singular value vanishes. Therefore a root
R = U diag(y) Vᵀ of W = U diag(y^q) Vᵀ is stepped. With q = N its equation is smooth also across
det W = 0, where y_d changes sign. In the frame (U, V), with u = log(y_i/y_j) and

    a = tanh(qu/2)/(q tanh(u/2)),   c = coth(u/2) − q coth(qu/2),
    L = λ_{N/q}(y_i, y_j)   (which is 1 for q = N),
    p = −L(σ_i + σ_j)/(q(y_i + y_j)),   M = Uᵀ E′(W) V,

the push-forward of the equation of W is

- noise: the symmetric part of UᵀdB V times √(2κL/(βa))/q, the antisymmetric part times √(2κLa/β);
- energy: the symmetric part of M times p, the antisymmetric part times qap;
- Itô: (κ/β) [(1 − q/N) L_ii/(q² y_i) + Σ_{j≠i} L_ij ((1 + c_ij)/q² − a_ij)/(y_i + y_j)] on the
  diagonal.

Nothing of this is singular at a tie.

No two LAPACK calls here are independent of each other: see `langevin_process`.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike

from ..checks import as_array, is_traced
from ..compilation import accelerated
from ..energies import Energy
from ..geometry.kernel import _SERIES, kernel, log_kernel
from ..geometry.leaf import Depth
from ..geometry.small import product, svd
from .langevin_process import AbstractProcess, Observation, sign_of_det

# The root that is stepped at N = ∞, where the limit q → ∞ (the logarithm of W, up to its rotation)
# is the natural one, and q = 16 has the same errors (measured: within 3 % at every step size).
# Plain steps, which do not turn the frames exactly, have errors that grow with q, and at q = 1 a
# step must be small beside σ_d/σ_1: there q = 2 was best.
ROOT_AT_INFINITY = 16.0
PLAIN_ROOT_AT_INFINITY = 2.0


def _langevin_function(x: Array) -> Array:
    """coth x − 1/x, without cancellation at small x."""
    near = jnp.abs(x) < 0.5
    z = 2 * jnp.where(near, x, 0.0)
    series, power = jnp.zeros_like(z), z
    for c in _SERIES:
        series, power = series + 2 * c * power, power * z * z
    far = jnp.where(near, 1.0, x)
    return jnp.where(near, series, 1 / jnp.tanh(far) - 1 / far)


class AbstractPairs(eqx.Module):
    """The coefficients of a root's equation for each pair (i, j): see the head of this module."""

    L: eqx.AbstractVar[Array]
    a: eqx.AbstractVar[Array]
    total: eqx.AbstractVar[Array]  # y_i + y_j


PairsT = TypeVar("PairsT", bound=AbstractPairs)


class AbstractRootProcess(AbstractProcess[Array], Generic[PairsT]):
    """The equation of a root R = U diag(y) Vᵀ of W = U diag(σ(y)) Vᵀ: Langevin dynamics of W."""

    energy: eqx.AbstractVar[Energy | None]
    depth: eqx.AbstractVar[Depth]
    q: eqx.AbstractVar[Array]
    beta: eqx.AbstractVar[Array]
    kappa: eqx.AbstractVar[Array]
    entropic: eqx.AbstractVar[bool]
    reflect: eqx.AbstractVar[bool]
    turning: eqx.AbstractVar[bool]

    @abstractmethod
    def roots(self, s: Array) -> Array:
        """y of σ."""

    @abstractmethod
    def sigma(self, y: Array) -> Array:
        """σ of y."""

    @abstractmethod
    def log_sigma(self, y: Array) -> Array:
        """log σ of y, also where σ is no floating-point number."""

    @abstractmethod
    def pairs(self, y: Array) -> PairsT:
        """The coefficients of pairs."""

    @abstractmethod
    def ratio(self, y: Array, pairs: PairsT) -> Array:
        """(σ_i + σ_j)/(y_i + y_j), with its limit where both vanish."""

    @abstractmethod
    def ito(self, y: Array, pairs: PairsT) -> Array:
        """The diagonal drift that belongs to noise of strength κ/β = 1, in the frame.

        Without the term −a_ij L_ij/(y_i + y_j) where exact rotations of the frames bring it along.
        """

    @abstractmethod
    def entropic_force(self, y: Array, pairs: PairsT) -> Array:
        """The drift of y by the entropy S = ½ Σ_{i<j} log λ(σ_i, σ_j) at β = 1.

        It is (dy/dx)² dS/dy with dx the radial length.
        """

    def reflects_at_zero(self) -> Array | bool:
        """Whether det W = 0 is within reach, and so has a mirror."""
        return True

    def start(self, W: Array) -> Array:
        """R of W."""
        U, s, Vt = svd(W)
        return product(U * self.roots(s), Vt)

    def pushed_gradient(self, U: Array, y: Array, Vt: Array, pairs: PairsT) -> Array:
        """−A(E′(W)), as a velocity of R in the frame."""
        G = self.gradient(product(U * self.sigma(y), Vt))
        return self.pushed(product(U.T, G, Vt.T), y, pairs)

    def pushed(self, M: Array, y: Array, pairs: PairsT) -> Array:
        """The same of M = Uᵀ E′(W) V."""
        p = pairs.L * self.ratio(y, pairs) / self.q
        return -p / 2 * ((M + M.T) + self.q * pairs.a * (M - M.T))

    def gradient(self, W: Array) -> Array:
        """E′(W), Euclidean."""
        assert self.energy is not None
        energy = self.energy
        return jax.grad(lambda X: jnp.reshape(energy(X), ()))(W)

    def drift(self, t: ArrayLike, R: Array, args: None) -> Array:
        # everything in the singular frame of R, where the equation is one of pairs (i, j)
        U, y, Vt = svd(R)
        pairs = self.pairs(y)
        diagonal = self.kappa / self.beta * self.ito(y, pairs)
        if self.entropic:
            diagonal = diagonal + self.entropic_force(y, pairs) / self.beta
        out = jnp.diag(diagonal)
        if self.energy is not None:
            out = out + self.pushed_gradient(U, y, Vt, pairs)
        return product(U, out, Vt)

    def noise(self, t: ArrayLike, R: Array, args: None) -> lx.AbstractLinearOperator:
        """√(2κ/β) times the square root of the covariance of dR."""
        U, y, Vt = svd(R)
        pairs = self.pairs(y)
        size = jnp.sqrt(2 * self.kappa / self.beta)
        # one factor for the symmetric part of an increment in the frame, one for the antisymmetric
        even, odd = size * jnp.sqrt(pairs.L / pairs.a) / self.q, size * jnp.sqrt(pairs.L * pairs.a)

        def mv(B: Array) -> Array:
            C = product(U.T, B, Vt.T)
            return product(U, even / 2 * (C + C.T) + odd / 2 * (C - C.T), Vt)

        return self.as_operator(mv, R)

    def as_operator(self, mv: Callable[[Array], Array], R: Array) -> lx.AbstractLinearOperator:
        """The symmetric operator ``mv`` on increments of R."""
        structure = jax.ShapeDtypeStruct(R.shape, R.dtype)
        if self.turning:
            return lx.FunctionLinearOperator(mv, structure, lx.positive_semidefinite_tag)
        # A solver of the user's may differentiate it, and takes arrays only.
        units = jnp.eye(R.size, dtype=R.dtype).reshape(R.size, *R.shape)
        columns = jnp.moveaxis(jax.vmap(mv)(units), 0, -1).reshape(*R.shape, *R.shape)
        return lx.PyTreeLinearOperator(columns, structure, lx.positive_semidefinite_tag)

    def observe(self, t: ArrayLike, R: Array, args: None) -> Observation:
        U, y, Vt = svd(R)
        W = product(U * self.sigma(y), Vt)
        energy = None if self.energy is None else jnp.reshape(self.energy(W), ())
        return W, energy, self.log_sigma(y), self.det_sign(R)

    def det_sign(self, R: Array) -> Array:
        return sign_of_det(R)

    def then(self, before: Array, after: Array) -> Array:
        """The rotation of the frames, made exact after each of our own steps.

        The antisymmetric part of the increment U (S + Z) Vᵀ of R turns the frames, and is made a
        rotation: R + U (S + Z) Vᵀ becomes U Q (diag(y) + S) Q Vᵀ, Q the Cayley transform of
        Z_ij/(y_i + y_j). It does not touch the singular values then, and its second order brings
        the Itô term −a_ij L_ij/(y_i + y_j) along.
        """
        if not self.turning:
            return after
        U, y, Vt = svd(before)
        step = product(U.T, after - before, Vt.T)
        half = (step - step.T) / (4 * jnp.maximum(y[:, None] + y, jnp.finfo(y.dtype).tiny))
        Q = _cayley(half)
        # + 0 · Q: after the solve, and not beside it
        core = jnp.diag(y) + (step + step.T) / 2 + 0 * Q[0, 0]
        return product(U, Q, self.reflected(core) if self.reflect else core, Q, Vt)

    def reflected(self, core: Array) -> Array:
        """The symmetric ``core``, mirrored at det = 0 if its determinant is negative.

        Before the step it was positive. The normal of det = 0 is the direction of the smallest
        singular value.
        """
        P, s, Ot = svd(core)
        crossed = jnp.prod(jnp.sign(jnp.sum(P * Ot.T, 0))) < 0  # the signs of the eigenvalues
        return core - jnp.where(crossed & self.reflects_at_zero(), 2 * s[-1], 0.0) * jnp.outer(
            P[:, -1], Ot[-1]
        )

    def is_lost(self, R: Array) -> Array:
        """Whether W is not a finite matrix any more."""
        return ~jnp.isfinite(self.sigma(jnp.linalg.norm(R)))


def _cayley(X: Array) -> Array:
    """(1 − X)^{-1}(1 + X), a rotation, of an antisymmetric X."""
    eye = jnp.eye(X.shape[0], dtype=X.dtype)
    if X.shape == (2, 2) and accelerated():  # for the same reason as in `svd`
        return ((1 - X[0, 1] ** 2) * eye + 2 * X) / (1 + X[0, 1] ** 2)
    return jnp.linalg.solve(eye - X, eye + X)


class Pairs(AbstractPairs):
    """The coefficients of `RootProcess`."""

    L: Array
    a: Array
    c: Array
    total: Array  # y_i + y_j

    def __init__(self, y: Array, q: Array, depth: Array):
        log_y = jnp.log(y)
        u = jnp.where(y[:, None] == y, 0.0, log_y[:, None] - log_y)
        safe = jnp.where(u == 0, 1.0, u)
        self.L = kernel(y[:, None], y, depth / q)
        self.a = jnp.where(u == 0, 1.0, jnp.tanh(q * safe / 2) / (q * jnp.tanh(safe / 2)))
        self.c = _langevin_function(u / 2) - q * _langevin_function(q * u / 2)
        self.total = y[:, None] + y


def root_exponent(depth: ArrayLike, dtype: DTypeLike, turning: bool = True) -> Array:
    """The exponent q of the root of W that is stepped."""
    at_infinity = ROOT_AT_INFINITY if turning else PLAIN_ROOT_AT_INFINITY
    xp = jnp if is_traced(depth) else np
    N = xp.asarray(depth, dtype)
    return as_array(xp.where(xp.isinf(N), at_infinity, N), N.dtype)


class RootProcess(AbstractRootProcess[Pairs]):
    """The equation of the root R = U Σ^{1/q} Vᵀ of W, on the balanced leaf."""

    energy: Energy | None
    depth: Array
    q: Array
    beta: Array
    kappa: Array
    entropic: bool = eqx.field(static=True, default=False)
    reflect: bool = eqx.field(static=True, default=False)
    may_be_infinite: bool = eqx.field(static=True, default=True)
    turning: bool = eqx.field(static=True, default=False)

    def roots(self, s: Array) -> Array:
        return s ** (1 / self.q)

    def sigma(self, y: Array) -> Array:
        return y**self.q

    def log_sigma(self, y: Array) -> Array:
        return self.q * jnp.log(y)

    def pairs(self, y: Array) -> Pairs:
        return Pairs(y, self.q, self.depth)

    def ratio(self, y: Array, pairs: Pairs) -> Array:
        s, there = self.sigma(y), pairs.total > 0
        # at y_i = y_j = 0 the numerator vanishes, and so does the force; but at depth 1 R is W
        return jnp.where(there, s[:, None] + s, self.q == 1) / jnp.where(there, pairs.total, 1.0)

    def reflects_at_zero(self) -> Array:
        return jnp.isfinite(self.depth)

    def ito(self, y: Array, pairs: Pairs) -> Array:
        q2 = self.q**2
        off = 1 - jnp.eye(y.size, dtype=y.dtype)
        # exact rotations of the frames (`then`) bring the term −a along by themselves
        turn = 0.0 if self.turning else pairs.a
        apart = (off > 0) & (pairs.total > 0)  # at y_i = y_j = 0 (depth 1 alone) nothing pulls
        pull = pairs.L * ((1 + pairs.c) / q2 - turn) / jnp.where(apart, pairs.total, 1.0)
        # the drift of a singular value by itself, which a root with q = N does not have
        share = 1 - self.q / self.depth
        own = jnp.where(
            share > 0, share * jnp.diagonal(pairs.L) / (q2 * jnp.where(share > 0, y, 1.0)), 0.0
        )
        return own + jnp.sum(off * pull, 1)

    def entropic_force(self, y: Array, pairs: Pairs) -> Array:
        nu, off = 1 / self.depth, 1 - jnp.eye(y.size, dtype=y.dtype)
        # ¼ of the sum over ordered pairs, as a function of log σ = q log y
        entropy = lambda l: 0.25 * jnp.sum(off * log_kernel(l[:, None], l, nu))  # noqa: E731
        slope = jax.grad(entropy)(self.q * jnp.log(y))
        return jnp.diagonal(pairs.L) * slope / (self.q * y)

    def has_crossed(self, R: Array, sign: Array) -> Array:
        """Whether sign det W is another than at the start, where it cannot change: at N = ∞."""
        if not self.may_be_infinite:
            return jnp.array(False)
        return jnp.isinf(self.depth) & (self.det_sign(R) != sign)
