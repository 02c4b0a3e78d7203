"""The Hamiltonian flow of geodesics, of several at once.

One adaptive Runge–Kutta step, written as loops over stages: a program holds the field once.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .derivatives import hamiltonian_field
from .leaf import Depth

Pair = tuple[Float[Array, "b m n"], Float[Array, "b m n"]]


def follow(
    W: Float[Array, "b m n"],
    P: Float[Array, "b m n"],
    N: Depth,
    times: Array,
    rtol: Array,
    max_steps: int,
) -> tuple[Array, Array, Array]:
    """The flows from (W, P) at increasing ``times`` ≥ 0, and whether they reached the last of them.

    **Shapes**: b flows; the results are (times, b, m, n), infinite where a time was not reached.
    The first flow decides about the steps: the others are for its derivatives, by differences.
    Differentiable by forward mode.
    """
    # The momentum is integrated in units of its length, so that atol means the same for both.
    length = jnp.linalg.norm(P[0])
    unit = jnp.where(length > 0, length, 1.0)

    def field(y: Pair) -> Pair:
        velocity, force = jax.vmap(lambda W, P: hamiltonian_field(W, P, N))(y[0], unit * y[1])
        return velocity, force / unit

    (ends, momenta), ok = _integrate(field, (W, P / unit), times, rtol, max_steps)
    return ends, unit * momenta, ok


@functools.cache
def _tableau() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, b and b − b̂ of Dormand and Prince, orders 8 and 7."""
    from diffrax import Dopri8  # takes a while to load, and a program from disk does not need it

    tableau = Dopri8.tableau
    A = np.zeros((len(tableau.b_sol),) * 2)
    for i, row in enumerate(tableau.a_lower, 1):
        A[i, : len(row)] = row
    return A, np.asarray(tableau.b_sol), np.asarray(tableau.b_error)


class _Course(NamedTuple):
    """Where an integration stands."""

    y: Pair
    t: Array
    h: Array  # the next step
    steps: Array  # tried
    passed: Array  # how many of the times
    ends: Pair


def _trial(field: Callable[[Pair], Pair], y: Pair, h: Array) -> tuple[Pair, Pair]:
    """The end of a step from y, and its error."""
    A, b, b_error = _tableau()

    def combined(weights: Array | np.ndarray, slopes: Pair) -> Pair:
        return jax.tree.map(lambda k: jnp.tensordot(jnp.asarray(weights, k.dtype), k, 1), slopes)

    def stage(i: Array, slopes: Pair) -> Pair:
        moved = combined(jnp.asarray(A)[i], slopes)
        slope = field(jax.tree.map(lambda y, k: y + h * k, y, moved))
        return jax.tree.map(lambda k, x: k.at[i].set(x), slopes, slope)

    empty = jax.tree.map(lambda x: jnp.zeros((len(b), *x.shape), x.dtype), y)
    slopes = jax.lax.fori_loop(0, len(b), stage, empty)
    end = jax.tree.map(lambda y, k: y + h * k, y, combined(b, slopes))
    return end, jax.tree.map(lambda k: h * k, combined(b_error, slopes))


def _integrate(
    field: Callable[[Pair], Pair], start: Pair, times: Array, rtol: Array, max_steps: int
) -> tuple[Pair, Array]:
    """ẏ = field(y) from ``start`` at time 0, at ``times``; errors are those of the first flow.

    A step ends at a time that is asked for, if it would pass it.
    """

    def size(x: Pair, beside: Pair) -> Array:
        e, s = (jnp.stack([y[0] for y in pair]) for pair in (x, beside))
        return jnp.sqrt(jnp.mean((e / (rtol + rtol * s)) ** 2))

    def step(c: _Course) -> _Course:
        target = times[jnp.minimum(c.passed, times.size - 1)]
        h = jnp.minimum(c.h, target - c.t)
        end, gap = _trial(field, c.y, h)
        largest = jax.tree.map(lambda a, b: jnp.maximum(jnp.abs(a), jnp.abs(b)), c.y, end)
        error = jax.lax.stop_gradient(size(gap, largest))
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
