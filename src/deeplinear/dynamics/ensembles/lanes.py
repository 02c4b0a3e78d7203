"""Lanes with refill: many flows step side by side, and a lane that has finished takes the next
start at once.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...status import Status
from .frames import dot, join, split
from .linear import where
from .steppers import Problem, Stepper, first_step, jump


class Outcome(eqx.Module):
    """What is kept of each run; lanes, or runs, come last."""

    W: Float[Array, "m n Q"]
    energy: Array
    error: Array
    time: Array
    steps: Array
    ending: Array
    path: Float[Array, "m n T Q"]


class Lanes(eqx.Module):
    """The flows in progress."""

    run: Array  # which run a lane carries; −1: none
    state: Any
    rate: Any
    t: Array
    h: Array
    steps: Array
    saved: Array  # how many of the times this lane has passed
    path: Float[Array, "m n T L"]


Carry = tuple[
    Lanes, tuple[Array, Array, Array], Outcome, Array
]  # the lanes, how they ended, results, starts taken


@eqx.filter_jit
def integrate(
    problem: Problem,
    stepper: Stepper,
    starts: Float[Array, "m n Q"],
    times: Float[Array, " Q"],
    count: Array,
    ts: Float[Array, " T"],
    *,
    to_limit: bool,
    accuracy: Array,
    max_steps: Array,
    lanes: int,
    stride: int,
) -> Outcome:
    """The outcome of the first ``count`` of the starts, which are left at ``times``.

    Every ``stride`` steps the lanes are looked at: those that have ended are written out and
    refilled.
    """
    m, n, Q = starts.shape
    T = ts.size
    dtype = starts.dtype

    def fresh(run: Array) -> Lanes:
        W, t = split(starts[..., jnp.maximum(run, 0)]), times[jnp.maximum(run, 0)]
        state = stepper.start(problem, W)
        whole = jnp.zeros(lanes, int)
        h = first_step(problem, W)
        stays = (h == 0) | jnp.isinf(h)
        path = jnp.where(stays, join(W)[:, :, None], jnp.full((m, n, T, lanes), jnp.nan, dtype))
        return Lanes(run, state, stepper.rate(problem, state), t, h, whole, whole, path)

    def advance(c: Lanes) -> Lanes:
        busy = (c.run >= 0) & (c.h > 0) & jnp.isfinite(c.h) & (to_limit | (c.saved < T))
        target = jnp.append(ts, jnp.inf)[c.saved]
        h = jnp.minimum(c.h, target - c.t)
        trial = stepper.step(problem, c.state, c.rate, jnp.where(busy, h, 0.0))
        fits = jnp.isfinite(trial.error)
        error = jnp.where(fits, trial.error, jnp.inf)
        keep = busy & (error <= 1)
        factor = jnp.clip(0.9 * jnp.maximum(error, 1e-10) ** (-1 / stepper.order), 0.2, 5.0)
        # A step that was cut short to meet a time says nothing against the step planned.
        grown = jnp.where(keep & (h < c.h), jnp.maximum(h * factor, c.h), h * factor)
        t = jnp.where(keep, jnp.where(h < c.h, target, c.t + h), c.t)
        state, rate = where(keep, (trial.state, trial.rate), (c.state, c.rate))
        saved, path = c.saved, c.path
        if T:
            hit = keep & (t >= target)
            column = jnp.minimum(saved, T - 1)
            lane = jnp.arange(lanes)
            path = path.at[:, :, column, lane].set(
                jnp.where(hit, join(stepper.matrix(state)), path[:, :, column, lane])
            )
            saved = saved + hit
        return Lanes(
            c.run, state, rate, t, jnp.where(busy, grown, c.h), c.steps + busy, saved, path
        )

    def look(c: Lanes) -> tuple[Array, Array, Array]:
        """(why each lane has ended or 0, where it ends, the error estimate)."""
        W = stepper.matrix(c.state)
        error = jnp.full(lanes, jnp.nan, dtype)
        ending = jnp.zeros(lanes, int)

        def say(condition: Array, reason: Status) -> Array:
            return jnp.where((ending == 0) & condition, reason, ending)

        at_rest = jnp.isinf(c.h) & (c.steps == 0)
        ending = say(~jnp.isfinite(dot(W, W)) | jnp.isnan(c.h), Status.not_finite)
        ending = say(at_rest, Status.limit)
        if T:
            ending = say(jnp.asarray(not to_limit) & (c.saved >= T), Status.reached_t1)
        if to_limit:
            end, error = jump(problem, W)
            there = (error <= accuracy * jnp.sqrt(dot(end, end))) & (c.saved >= T) & (c.steps > 0)
            ending = say(there, Status.limit)
            W = where(there, end, W)
        error = jnp.where(at_rest, 0.0, error)
        ending = say((c.h == 0) & (c.steps == 0), Status.critical)
        ending = say(c.steps >= max_steps, Status.max_steps)
        ending = say(~(c.h > 0) | jnp.isinf(c.h) | (c.t + c.h == c.t), Status.step_too_small)
        return jnp.where(c.run >= 0, ending, 0), join(W), error

    def exchange(carry: Carry) -> Carry:
        """The lanes that have ended are written out, and every free lane takes the next start."""
        c, (ending, W, error), out, queue = carry
        slot = jnp.where(
            ending > 0, c.run, Q
        )  # out of range, and so dropped, for a lane that goes on
        found = Outcome(W, problem.value(split(W)), error, c.t, c.steps, ending, c.path)
        out = jax.tree.map(lambda o, x: o.at[..., slot].set(x, mode="drop"), out, found)
        free = (ending > 0) | (c.run < 0)
        rank = queue + jnp.cumsum(free) - 1
        c = where(free, fresh(jnp.where(rank < count, rank, -1)), c)
        return c, (jnp.zeros_like(ending), W, error), out, jnp.minimum(queue + jnp.sum(free), count)

    def cycle(carry: Carry) -> Carry:
        c, (ending, _, _), _, queue = carry
        due = jnp.any(ending > 0) | (jnp.any(c.run < 0) & (queue < count))
        c, _, out, queue = jax.lax.cond(due, exchange, lambda carry: carry, carry)
        c = jax.lax.fori_loop(0, stride, lambda _, c: advance(c), c)
        return c, look(c), out, queue

    def go_on(carry: Carry) -> Array:
        c, _, _, queue = carry
        return jnp.any(c.run >= 0) | (queue < count)

    def blank(*shape: int) -> Array:
        return jnp.full(shape, jnp.nan, dtype)

    none = jnp.full(lanes, -1)
    idle = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), eqx.filter_eval_shape(fresh, none))
    idle = eqx.tree_at(lambda c: c.run, idle, none)
    nothing = (jnp.zeros(lanes, int), blank(m, n, lanes), blank(lanes))
    whole = jnp.zeros(Q, int)
    out = Outcome(blank(m, n, Q), blank(Q), blank(Q), blank(Q), whole, whole, blank(m, n, T, Q))
    return jax.lax.while_loop(go_on, cycle, (idle, nothing, out, jnp.asarray(0, count.dtype)))[2]
