"""Stochastic differential equations of the deep linear network, and how a step is made.

Langevin dynamics of W (*downstairs*, as Menon calls it) and of the factors (*upstairs*). The noise
and the drift of W are not Lipschitz where a singular value vanishes. Therefore a root R = U diag(y)
Vᵀ of W = U diag(y^q) Vᵀ is stepped. With q = N its equation is smooth also across det W = 0, where
y_d changes sign. In the frame (U, V), with u = log(y_i/y_j) and

    a = tanh(qu/2)/(q tanh(u/2)),   c = coth(u/2) − q coth(qu/2),
    L = λ_{N/q}(y_i, y_j)   (which is 1 for q = N),
    p = −L(σ_i + σ_j)/(q(y_i + y_j)),   M = Uᵀ E′(W) V,

the push-forward of the equation of W is

- noise: the symmetric part of UᵀdB V times √(2κL/(βa))/q, the antisymmetric part times √(2κLa/β);
- energy: the symmetric part of M times p, the antisymmetric part times qap;
- Itô: (κ/β) [(1 − q/N) L_ii/(q² y_i) + Σ_{j≠i} L_ij ((1 + c_ij)/q² − a_ij)/(y_i + y_j)] on the
  diagonal.

Nothing of this is singular at a tie.

No two LAPACK calls here are independent of each other: two that run at once on a batch of chains
can wait for each other for ever (jaxlib 0.10 on a CPU of two cores; each blocks a worker of the
pool that it hands its work to). Hence `sign_of_det`.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

from ..checks import as_array, is_traced
from ..energies import Energy
from ..geometry.kernel import _SERIES, kernel, log_kernel

# The root that is stepped at N = ∞, where the limit q → ∞ (the logarithm of W, up to its rotation)
# is the natural one, and q = 16 has the same errors (measured: within 3 % at every step size).
# Plain steps, which do not turn the frames exactly, have errors that grow with q, and at q = 1 a
# step must be small beside σ_d/σ_1: there q = 2 was best.
ROOT_AT_INFINITY = 16.0
PLAIN_ROOT_AT_INFINITY = 2.0


State = TypeVar("State")

# What is kept of a state: W, E (None without an energy), log σ, sign det W.
Observation = tuple[Array, Array | None, Array, Array]


class AbstractProcess(eqx.Module, Generic[State]):
    """An Itô equation dy = drift dt + noise dB of a state y from which W is known.

    `brownian`, `langevin` and `factor_langevin` run such processes.

    To add one, subclass it and define

    - ``start(W)``: the state at a start;
    - ``drift(t, y, args)`` and ``noise(t, y, args)``, for diffrax; the noise is a lineax operator
      on increments of the shape of y;
    - ``observe(t, y, args)``: W, E, log σ and sign det W; ``det_sign(y)``: the last one alone.

    The other methods have defaults. ``then(before, after)`` maps the result of each Euler step:
    a retraction, a reflection. Run it by `langevin_solve.sample`, with the starts along a leading
    axis: ``sample(process, starts, key, plan)``. All methods are traced, under ``vmap`` over the
    chains: no two LAPACK calls may be independent of each other, see the head of this module.
    """

    @abstractmethod
    def start(self, W: State) -> State:
        """The state at a start."""

    @abstractmethod
    def drift(self, t: ArrayLike, y: State, args: None) -> State:
        """The Itô drift."""

    @abstractmethod
    def noise(self, t: ArrayLike, y: State, args: None) -> lx.AbstractLinearOperator:
        """The operator on the increments of a Brownian motion of the shape of y."""

    @abstractmethod
    def observe(self, t: ArrayLike, y: State, args: None) -> Observation:
        """(W, E, log σ, sign det W); E is None where there is no energy."""

    @abstractmethod
    def det_sign(self, y: State) -> Array:
        """sign det W, by `sign_of_det`."""

    def then(self, before: State, after: State) -> State:
        """The state after a step that Euler's method led from ``before`` to ``after``."""
        return after

    def is_lost(self, y: State) -> Array:
        """Whether the state is out of range, so that the chain ends as `Status.failed`."""
        finite = [jnp.isfinite(x).all() for x in jax.tree.leaves(y)]
        return ~jnp.stack(finite).all()

    def has_crossed(self, y: State, sign: Array) -> Array:
        """Whether sign det W is not ``sign``, where it cannot change (`Status.crossed`)."""
        return jnp.array(False)


class Path(dfx.AbstractBrownianPath):
    """Independent increments for steps that are never rejected.

    Their key is made of all the bits of the time at which a step starts.

    (diffrax's UnsafeBrownianPath rounds the time to 32 bits, and repeats itself where dt < 1e−7 t.)
    """

    shape: PyTree[jax.ShapeDtypeStruct] = eqx.field(static=True, default=None)
    key: PRNGKeyArray = eqx.field(default=None)
    levy_area: type[dfx.BrownianIncrement] = eqx.field(static=True, default=dfx.BrownianIncrement)
    t0: float = eqx.field(static=True, default=-math.inf)  # type: ignore[misc]
    t1: float = eqx.field(static=True, default=math.inf)  # type: ignore[misc]

    def evaluate(
        self, t0: ArrayLike, t1: ArrayLike | None = None, left: bool = True, use_levy: bool = False
    ) -> PyTree[Array]:
        assert t1 is not None
        bits = jnp.atleast_1d(jax.lax.bitcast_convert_type(t0, jnp.uint32))
        key = self.key
        for i in range(bits.size):
            key = jax.random.fold_in(key, bits[i])
        scale = jnp.sqrt(jnp.subtract(t1, t0))
        leaves, tree = jax.tree.flatten(self.shape)
        keys = [key] if len(leaves) == 1 else list(jax.random.split(key, len(leaves)))
        out = [
            scale * jax.random.normal(k, x.shape, x.dtype)
            for k, x in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, out)


class EulerThen(dfx.Euler):
    """Euler's method, each step followed by a map (state before, state after) ↦ state."""

    then: Callable[[PyTree[Array], PyTree[Array]], PyTree[Array]]

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        y1, error, _, state, result = super().step(terms, t0, t1, y0, args, solver_state, made_jump)
        y1 = self.then(y0, y1)
        return y1, error, {"y0": y0, "y1": y1}, state, result


def sign_of_det(A: Array) -> Array:
    """sign det A, by elimination with row pivots, in plain operations."""
    d = A.shape[0]
    rows = jnp.arange(d)

    def eliminate(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        A, sign = state
        best = jnp.argmax(jnp.where(rows >= k, jnp.abs(A[:, k]), -1.0))
        order = jnp.where(rows == k, best, jnp.where(rows == best, k, rows))
        A = A[order]
        pivot = A[k, k]
        sign = sign * jnp.sign(pivot) * jnp.where(best == k, 1.0, -1.0)
        factor = jnp.where(rows > k, A[:, k] / jnp.where(pivot == 0, 1.0, pivot), 0.0)
        return A - factor[:, None] * A[k], sign

    return jax.lax.fori_loop(0, d, eliminate, (A, jnp.ones((), A.dtype)))[1]


def _langevin_function(x: Array) -> Array:
    """coth x − 1/x, without cancellation at small x."""
    near = jnp.abs(x) < 0.5
    z = 2 * jnp.where(near, x, 0.0)
    series, power = jnp.zeros_like(z), z
    for c in _SERIES:
        series, power = series + 2 * c * power, power * z * z
    far = jnp.where(near, 1.0, x)
    return jnp.where(near, series, 1 / jnp.tanh(far) - 1 / far)


class Pairs(eqx.Module):
    """The coefficients of the root's equation for each pair (i, j): see the head of this module."""

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


class RootProcess(AbstractProcess[Array]):
    """The equation of the root R of W: Langevin dynamics of W."""

    energy: Energy | None
    depth: Array
    q: Array
    beta: Array
    kappa: Array
    entropic: bool = eqx.field(static=True, default=False)
    reflect: bool = eqx.field(static=True, default=False)
    may_be_infinite: bool = eqx.field(static=True, default=True)
    turning: bool = eqx.field(static=True, default=False)

    def start(self, W: Array) -> Array:
        """R of W."""
        U, s, Vt = jnp.linalg.svd(W)
        return (U * s ** (1 / self.q)) @ Vt

    def ito(self, y: Array, pairs: Pairs) -> Array:
        """The diagonal drift that belongs to noise of strength κ/β = 1, in the frame."""
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
        """The drift of y by the entropy S = ½ Σ_{i<j} log λ_N(σ_i, σ_j) at β = 1.

        It is (dy/dx)² dS/dy with dx the radial length.
        """
        nu, off = 1 / self.depth, 1 - jnp.eye(y.size, dtype=y.dtype)
        # ¼ of the sum over ordered pairs, as a function of log σ = q log y
        entropy = lambda l: 0.25 * jnp.sum(off * log_kernel(l[:, None], l, nu))  # noqa: E731
        slope = jax.grad(entropy)(self.q * jnp.log(y))
        return jnp.diagonal(pairs.L) * slope / (self.q * y)

    def pushed_gradient(self, U: Array, y: Array, Vt: Array, pairs: Pairs) -> Array:
        """−A(E′(W)), as a velocity of R in the frame."""
        return self.pushed(U.T @ self.gradient((U * y**self.q) @ Vt) @ Vt.T, y, pairs)

    def pushed(self, M: Array, y: Array, pairs: Pairs) -> Array:
        """The same of M = Uᵀ E′(W) V."""
        s = y**self.q
        # at y_i = y_j = 0 the numerator vanishes, and so does the force; but at depth 1 R is W
        there = pairs.total > 0
        ratio = jnp.where(there, s[:, None] + s, self.q == 1) / jnp.where(there, pairs.total, 1.0)
        p = pairs.L * ratio / self.q
        return -p / 2 * ((M + M.T) + self.q * pairs.a * (M - M.T))

    def gradient(self, W: Array) -> Array:
        """E′(W), Euclidean."""
        assert self.energy is not None
        energy = self.energy
        return jax.grad(lambda X: jnp.reshape(energy(X), ()))(W)

    def drift(self, t: ArrayLike, R: Array, args: None) -> Array:
        # everything in the singular frame of R, where the equation is one of pairs (i, j)
        U, y, Vt = jnp.linalg.svd(R)
        pairs = Pairs(y, self.q, self.depth)
        diagonal = self.kappa / self.beta * self.ito(y, pairs)
        if self.entropic:
            diagonal = diagonal + self.entropic_force(y, pairs) / self.beta
        out = jnp.diag(diagonal)
        if self.energy is not None:
            out = out + self.pushed_gradient(U, y, Vt, pairs)
        return U @ out @ Vt

    def noise(self, t: ArrayLike, R: Array, args: None) -> lx.AbstractLinearOperator:
        """√(2κ/β) times the square root of the covariance of dR."""
        U, y, Vt = jnp.linalg.svd(R)
        pairs = Pairs(y, self.q, self.depth)
        size = jnp.sqrt(2 * self.kappa / self.beta)
        # one factor for the symmetric part of an increment in the frame, one for the antisymmetric
        even, odd = size * jnp.sqrt(pairs.L / pairs.a) / self.q, size * jnp.sqrt(pairs.L * pairs.a)

        def mv(B: Array) -> Array:
            C = U.T @ B @ Vt.T
            return U @ (even / 2 * (C + C.T) + odd / 2 * (C - C.T)) @ Vt

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
        U, y, Vt = jnp.linalg.svd(R)
        W = (U * y**self.q) @ Vt
        energy = None if self.energy is None else jnp.reshape(self.energy(W), ())
        return W, energy, self.q * jnp.log(y), self.det_sign(R)

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
        U, y, Vt = jnp.linalg.svd(before)
        step = U.T @ (after - before) @ Vt.T
        half = (step - step.T) / (4 * jnp.maximum(y[:, None] + y, jnp.finfo(y.dtype).tiny))
        eye = jnp.eye(y.size, dtype=y.dtype)
        Q = jnp.linalg.solve(eye - half, eye + half)
        # + 0 · Q: after the solve, and not beside it
        core = jnp.diag(y) + (step + step.T) / 2 + 0 * Q[0, 0]
        return U @ Q @ (self.reflected(core) if self.reflect else core) @ Q @ Vt

    def reflected(self, core: Array) -> Array:
        """The symmetric ``core``, mirrored at det = 0 if its determinant is negative.

        Before the step it was positive. The normal of det = 0 is the direction of the smallest
        singular value.
        """
        P, s, Ot = jnp.linalg.svd(core)
        crossed = jnp.prod(jnp.sign(jnp.sum(P * Ot.T, 0))) < 0  # the signs of the eigenvalues
        return core - jnp.where(crossed & jnp.isfinite(self.depth), 2 * s[-1], 0.0) * jnp.outer(
            P[:, -1], Ot[-1]
        )

    def is_lost(self, R: Array) -> Array:
        """Whether W is not a finite matrix any more."""
        return ~jnp.isfinite(jnp.linalg.norm(R) ** self.q)

    def has_crossed(self, R: Array, sign: Array) -> Array:
        """Whether sign det W is another than at the start, where it cannot change: at N = ∞."""
        if not self.may_be_infinite:
            return jnp.array(False)
        return jnp.isinf(self.depth) & (self.det_sign(R) != sign)
