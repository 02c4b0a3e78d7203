"""The Hamiltonian flow of geodesics, and its derivative along several directions at once.

One adaptive Runge–Kutta step, written as loops over stages: a program holds the field once.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .derivatives import hamiltonian_field, hamiltonian_variation

Tree = TypeVar("Tree", bound=PyTree[Array])
Pair = tuple[Array, Array]

# Dormand and Prince, orders 8 and 7; the last stage is the end of the step.
_TABLEAU = dfx.Dopri8.tableau
_STAGES = len(_TABLEAU.b_sol)
_A = np.zeros((_STAGES, _STAGES))
for _i, _row in enumerate(_TABLEAU.a_lower):
    _A[_i + 1, : len(_row)] = _row


def follow(
    W: Array, P: Array, N: Array, times: Array, rtol: Array, max_steps: int
) -> tuple[Array, Array, Array]:
    """The flow from (W, P) at increasing ``times`` ≥ 0, and whether it reached the last of them.

    Infinite where it did not. Differentiable by forward mode.
    """
    unit = _unit(P)

    def field(y: Pair) -> Pair:
        velocity, force = hamiltonian_field(y[0], unit * y[1], N)
        return velocity, force / unit

    (ends, momenta), ok = _integrate(field, (W, P / unit), lambda y: y, times, rtol, max_steps)
    return ends, unit * momenta, ok


def follow_nearby(
    W: Array, P: Array, moves: Array, N: Array, rtol: Array, max_steps: int
) -> tuple[Array, Array, Array]:
    """The flow at time 1 from (W, P), and the derivatives of its W along k moves of P.

    **Returns** W(1), P(1) and the derivatives (k, m, n); infinite where it does not get there.
    """
    unit = _unit(P)

    def field(y: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
        (X, Q), (dX, dQ) = y
        pairs = hamiltonian_variation(X, unit * Q, (dX, unit * dQ), N)
        return tuple((velocity, force / unit) for velocity, force in pairs)  # type: ignore[return-value]

    start = (W, P / unit), (jnp.zeros_like(moves), moves / unit)
    # the flow itself decides about the steps
    ends, _ = _integrate(field, start, lambda y: y[0], jnp.ones(1, W.dtype), rtol, max_steps)
    ((X, Q), (dX, _)) = jax.tree.map(lambda x: x[0], ends)
    return X, unit * Q, dX


def _unit(P: Array) -> Array:
    """The momentum is integrated in units of its length, so that atol means the same for both."""
    length = jnp.linalg.norm(P)
    return jnp.where(length > 0, length, 1.0)


class _Course(NamedTuple):
    """Where an integration stands."""

    y: PyTree[Array]
    t: Array
    h: Array  # the next step
    steps: Array  # tried
    passed: Array  # how many of the times
    ends: PyTree[Array]


def _integrate(
    field: Callable[[Tree], Tree],
    start: Tree,
    seen: Callable[[Tree], PyTree[Array]],
    times: Array,
    rtol: Array,
    max_steps: int,
) -> tuple[Tree, Array]:
    """ẏ = field(y) from ``start`` at time 0, at ``times``; errors are those of ``seen``.

    A step ends at a time that is asked for, if it would pass it.
    """

    def size(x: Tree, beside: Tree) -> Array:
        pairs = zip(jax.tree.leaves(seen(x)), jax.tree.leaves(seen(beside)), strict=True)
        squares = [jnp.ravel((e / (rtol + rtol * s)) ** 2) for e, s in pairs]
        return jnp.sqrt(jnp.mean(jnp.concatenate(squares)))

    def trial(y: Tree, h: Array) -> tuple[Tree, Array]:
        def combined(weights: Array | np.ndarray, slopes: Tree) -> Tree:
            return jax.tree.map(
                lambda k: jnp.tensordot(jnp.asarray(weights, k.dtype), k, 1), slopes
            )

        def stage(i: Array, slopes: Tree) -> Tree:
            moved = combined(jnp.asarray(_A)[i], slopes)
            slope = field(jax.tree.map(lambda y, k: y + h * k, y, moved))
            return jax.tree.map(lambda k, x: k.at[i].set(x), slopes, slope)

        empty = jax.tree.map(lambda x: jnp.zeros((_STAGES, *x.shape), x.dtype), y)
        slopes = jax.lax.fori_loop(0, _STAGES, stage, empty)
        end = jax.tree.map(lambda y, k: y + h * k, y, combined(_TABLEAU.b_sol, slopes))
        error = jax.tree.map(lambda k: h * k, combined(_TABLEAU.b_error, slopes))
        largest = jax.tree.map(lambda a, b: jnp.maximum(jnp.abs(a), jnp.abs(b)), y, end)
        return end, jax.lax.stop_gradient(size(error, largest))

    def step(c: _Course) -> _Course:
        target = times[jnp.minimum(c.passed, times.size - 1)]
        h = jnp.minimum(c.h, target - c.t)
        end, error = trial(c.y, h)
        error = jnp.where(jnp.isfinite(error), error, jnp.inf)
        keep = error <= 1
        factor = jnp.clip(0.9 * jnp.maximum(error, 1e-10) ** (-1 / 8), 0.2, 10.0)
        # a step that was cut short says nothing against the step planned
        planned = jnp.where(keep & (h < c.h), jnp.maximum(c.h, h * factor), h * factor)
        t = jnp.where(keep, jnp.where(h < c.h, target, c.t + h), c.t)
        y = jax.tree.map(lambda new, old: jnp.where(keep, new, old), end, c.y)
        there = keep & (t >= target)
        ends = jax.tree.map(
            lambda e, x: e.at[c.passed].set(jnp.where(there, x, e[c.passed]), mode="drop"),
            c.ends,
            y,
        )
        return _Course(y, t, planned, c.steps + 1, c.passed + there, ends)

    whole = jnp.where(times[-1] > 0, times[-1], 1.0)

    def go_on(c: _Course) -> Array:
        moves = (c.h > jnp.finfo(times.dtype).eps * whole) & (c.steps < max_steps)
        return (c.passed < times.size) & moves

    nowhere = jax.tree.map(lambda x: jnp.full((times.size, *x.shape), jnp.inf, x.dtype), start)
    zero, none = jnp.zeros((), times.dtype), jnp.zeros((), int)
    h = 0.02 * whole
    c = jax.lax.while_loop(go_on, step, _Course(start, zero, h, none, none, nowhere))
    return c.ends, c.passed == times.size
