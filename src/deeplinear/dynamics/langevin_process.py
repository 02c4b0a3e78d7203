"""Stochastic differential equations of the deep linear network, and how a step is made.

No two LAPACK calls of a process are independent of each other: two that run at once on a batch of
chains can wait for each other for ever (jaxlib 0.10 on a CPU of two cores; each blocks a worker of
the pool that it hands its work to). Hence `sign_of_det`.
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
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

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
