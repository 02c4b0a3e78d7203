"""Lanes with refill: many flows side by side; one that has finished makes room for the next."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...compilation import Effort, accelerated, program
from ...status import Status
from .frames import SMALL, Matrix, join, norm, split
from .linear import where
from .steppers import AbstractStepper, EnsembleProblem, first_step, jump


class Starts(eqx.Module):
    """The queue: where each run starts; the first ``count`` of them are run."""

    W: Float[Array, "m n Q"]
    count: Array


class Outcome(eqx.Module):
    """The result of each run; lanes, or runs, come last."""

    W: Float[Array, "m n Q"]
    energy: Array
    error: Array
    time: Array
    steps: Array
    ending: Array
    path: Float[Array, "m n T Q"]


class Flows(eqx.Module):
    """The flows in progress, one in each lane."""

    run: Array  # which run a lane carries; −1: none
    state: PyTree[Array]
    rate: PyTree[Array]
    t: Array
    h: Array
    fitting: Array  # the size that would have met the tolerance in the last step kept; 0: none yet
    steps: Array
    saved: Array  # how many of the times this lane has passed
    path: Float[Array, "m n T L"]


class Verdict(eqx.Module):
    """How the lanes stand.

    A code of `Status` each (0: running), where they end, and the estimated error of the jump.
    """

    ending: Array
    W: Float[Array, "m n L"]
    error: Array


Carry = tuple[Flows, Verdict, Outcome, Array]  # …, results, starts taken


class Lanes(eqx.Module):
    """How runs are integrated: the flow, the stepper, times to keep, the end, the number of lanes.

    Every ``stride`` steps the lanes are judged: those that have ended are written out and refilled.
    """

    problem: EnsembleProblem
    stepper: AbstractStepper
    ts: Float[Array, " T"]
    max_steps: Array
    to_limit: bool = eqx.field(static=True)
    lanes: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    def fresh(self, starts: Starts, run: Array) -> Flows:
        """The given runs at their starts, one in each lane."""
        m, n, _ = starts.W.shape
        W = split(starts.W[..., jnp.maximum(run, 0)])
        state = self.stepper.start(self.problem, W)
        whole = jnp.zeros(self.lanes, int)
        h = first_step(self.problem, W)
        # A critical point, or a minimizer, is where it is at all times.
        stays = (h == 0) | jnp.isinf(h)
        unknown = jnp.full((m, n, self.ts.size, self.lanes), jnp.nan, starts.W.dtype)
        path = jnp.where(stays, join(W)[:, :, None], unknown)
        rate = self.stepper.rate(self.problem, state)
        zero = jnp.zeros_like(h)
        return Flows(run, state, rate, zero, h, zero, whole, whole, path)

    def advance(self, c: Flows) -> Flows:
        """One step tried in every lane that has somewhere to go."""
        T = self.ts.size
        busy = (c.run >= 0) & (c.h > 0) & jnp.isfinite(c.h) & (self.to_limit | (c.saved < T))
        # Steps are cut short to meet the next time to keep.
        target = jnp.append(self.ts, jnp.inf)[c.saved]
        h = jnp.minimum(c.h, target - c.t)
        trial = self.stepper.step(self.problem, c.state, c.rate, jnp.where(busy, h, 0.0))
        fits = jnp.isfinite(trial.error)
        error = jnp.where(fits, trial.error, jnp.inf)
        keep = busy & (error <= 1)
        fit = jnp.maximum(error, 1e-10) ** (-1 / self.stepper.order)
        # Where the flow speeds up, the size that fits shrinks from step to step, and the next one
        # is chosen for what it will be then (Gustafsson 1994): else every other step is refused.
        fitting = h * fit
        ahead = keep & (fitting < c.fitting)
        trend = jnp.where(ahead, fitting / jnp.where(ahead, c.fitting, 1.0), 1.0)
        factor = jnp.clip(0.9 * fit * trend, 0.2, 5.0)
        # A step that was cut short to meet a time says nothing against the step planned.
        grown = jnp.where(keep & (h < c.h), jnp.maximum(h * factor, c.h), h * factor)
        t = jnp.where(keep, jnp.where(h < c.h, target, c.t + h), c.t)
        state, rate = where(keep, (trial.state, trial.rate), (c.state, c.rate))
        saved, path = c.saved, c.path
        if T:
            hit = keep & (t >= target)
            column = jnp.minimum(saved, T - 1)
            lane = jnp.arange(self.lanes)
            path = path.at[:, :, column, lane].set(
                jnp.where(hit, join(self.stepper.matrix(state)), path[:, :, column, lane])
            )
            saved = saved + hit
        h = jnp.where(busy, grown, c.h)
        fitting = jnp.where(keep, fitting, c.fitting)
        return Flows(c.run, state, rate, t, h, fitting, c.steps + busy, saved, path)

    def judge(self, c: Flows) -> Verdict:
        """Why each lane has ended (or 0), where it ends, the error estimate."""
        T = self.ts.size
        W: Matrix = self.stepper.matrix(c.state)
        error = jnp.full(self.lanes, jnp.nan, c.path.dtype)
        ending = jnp.zeros(self.lanes, int)

        def say(condition: Array, reason: Status) -> Array:
            return jnp.where((ending == Status.running) & condition, reason, ending)

        # The first reason that holds counts.
        at_rest = jnp.isinf(c.h) & (c.steps == 0)
        ending = say(~jnp.isfinite(norm(W)) & (c.steps == 0), Status.not_finite)
        ending = say(jnp.isnan(c.h), Status.not_finite)
        ending = say(at_rest, Status.limit)
        # Where squares overflow, or times at which the gradient is about to underflow.
        most = jnp.sqrt(jnp.finfo(c.t.dtype).max)
        ending = say(~(norm(W) < most) | ~(c.t + c.h < most), Status.unbounded)
        if T:
            ending = say(jnp.asarray(not self.to_limit) & (c.saved >= T), Status.reached_t1)
        if self.to_limit:
            end, error = jump(self.problem, W)
            # The jump's own error is about the square of its estimate.
            near = (error <= 0.03 * jnp.sqrt(self.problem.tol) * norm(end)) & jnp.isfinite(error)
            there = near & (c.saved >= T) & (c.steps > 0)
            ending = say(there, Status.limit)
            W = where(there, end, W)
        error = jnp.where(at_rest, 0.0, error)
        ending = say((c.h == 0) & (c.steps == 0), Status.critical)
        ending = say(c.steps >= self.max_steps, Status.max_steps)
        ending = say(~(c.h > 0) | (c.t + c.h == c.t), Status.step_too_small)
        return Verdict(jnp.where(c.run >= 0, ending, Status.running), join(W), error)

    def exchange(self, starts: Starts, carry: Carry) -> Carry:
        """The lanes that have ended are written out, and every free lane takes the next start."""
        c, verdict, out, queue = carry
        ended = verdict.ending > 0
        # Out of range, and so dropped, for a lane that goes on.
        slot = jnp.where(ended, c.run, starts.W.shape[-1])
        energy = self.problem.value(split(verdict.W))
        found = Outcome(verdict.W, energy, verdict.error, c.t, c.steps, verdict.ending, c.path)
        out = jax.tree.map(lambda o, x: o.at[..., slot].set(x, mode="drop"), out, found)
        free = ended | (c.run < 0)
        rank = queue + jnp.cumsum(free) - 1
        count = starts.count
        c = where(free, self.fresh(starts, jnp.where(rank < count, rank, -1)), c)
        verdict = Verdict(jnp.zeros_like(verdict.ending), verdict.W, verdict.error)
        return c, verdict, out, jnp.minimum(queue + jnp.sum(free), count)


# Numbers in all lanes together with which the kernels of a step take about as long as their launch.
_FILLED = 2**18


def width(stepper: AbstractStepper, m: int, n: int) -> tuple[int, int]:
    """How many lanes there are side by side, and after how many steps they are judged.

    On a processor as many as its cache holds; on an accelerator, where a step of few lanes takes as
    long as one of many, so many that it is filled. Both depend on the stepper and the size of W
    alone: as a part of the program they could change the last bit of a result.
    """
    if accelerated():
        size = m * n
        # the derivatives of all lanes in at most 256 MiB
        most = _FILLED // max(size, size**2 // 128 if stepper.jacobian else 0)
        # there a decomposition in every lane, of which judging takes some, costs many steps
        return 1 << max(0, most.bit_length() - 1), max(16, stepper.stride)
    size = max(m, n)
    most = 128 if size <= 2 else 64 if size <= SMALL else 8 if size <= 40 else 1
    return min(most, stepper.lanes), stepper.stride


def _effort(lanes: Lanes, starts: Starts) -> Effort:
    return Effort.MOST if starts.W.shape[:2] == (2, 2) else Effort.USUAL


@program(effort=_effort)
def integrate(lanes: Lanes, starts: Starts) -> Outcome:
    """The outcome of every run of the queue."""
    m, n, Q = starts.W.shape
    dtype = starts.W.dtype

    def cycle(carry: Carry) -> Carry:
        c, verdict, out, queue = carry
        due = jnp.any(verdict.ending > 0) | (jnp.any(c.run < 0) & (queue < starts.count))
        c, _, out, queue = jax.lax.cond(
            due, lambda carry: lanes.exchange(starts, carry), lambda carry: carry, carry
        )
        c = jax.lax.fori_loop(0, lanes.stride, lambda _, c: lanes.advance(c), c)
        return c, lanes.judge(c), out, queue

    def go_on(carry: Carry) -> Array:
        c, _, _, queue = carry
        return jnp.any(c.run >= 0) | (queue < starts.count)

    def blank(*shape: int) -> Array:
        return jnp.full(shape, jnp.nan, dtype)

    none = jnp.full(lanes.lanes, -1)
    shapes = eqx.filter_eval_shape(lanes.fresh, starts, none)
    idle = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    idle = eqx.tree_at(lambda c: c.run, idle, none)
    running = jnp.zeros(lanes.lanes, int)
    nothing = Verdict(running, blank(m, n, lanes.lanes), blank(lanes.lanes))
    whole = jnp.zeros(Q, int)
    path = blank(m, n, lanes.ts.size, Q)
    out = Outcome(blank(m, n, Q), blank(Q), blank(Q), blank(Q), whole, whole, path)
    first = (idle, nothing, out, jnp.asarray(0, starts.count.dtype))
    return jax.lax.while_loop(go_on, cycle, first)[2]
