"""Lanes with refill: many runs of training side by side, as `ensembles.lanes` does it for flows.

A run that has ended is written out, and its lane takes the next one of the queue. Its steps depend
on its start and its own key alone.
"""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ...compilation import program
from ...recorded import vmapped
from ...status import Status
from .batches import AbstractDraw, Whole
from .endings import BOUND, STRIDE, is_near, is_still, look
from .loss import FactorLoss, Factors, squared_norm
from .optimizers import AbstractOptimizer
from .records import Recorder

Tree = TypeVar("Tree")


class Run(eqx.Module):
    """All that a run needs to go on; of several, on the first axis of every array.

    - ``key``: the data of its random key. ``step``: steps taken; ``limit``: where they end.
    - ``anchor``, ``returns``: W at the last judgement, and how far from it each step since is.
    - ``scale``, ``size``: of the energy and of W, at the start.
    - ``status``, ``period``; ``found``: the period at the last judgement.
    """

    factors: Factors
    optimizer: PyTree[Array]
    key: Array
    step: Array
    limit: Array
    anchor: Array
    returns: Array
    scale: Array
    size: Array
    status: Array
    period: Array
    found: Array


class Training(eqx.Module):
    """How runs are trained; lanes lie on the first axis of every array."""

    draw: AbstractDraw
    decay: Array
    optimizer: AbstractOptimizer
    recorder: Recorder
    stop_energy: Array
    rtol: Array
    stops: bool = eqx.field(static=True)
    lanes: int = eqx.field(static=True)
    keys: str = eqx.field(static=True)  # the kind of the random keys

    @property
    def loss(self) -> FactorLoss:
        return FactorLoss(self.draw.energy, self.decay)

    @property
    def exact(self) -> bool:
        """Whether each step sees the whole energy."""
        return isinstance(self.draw, Whole)

    def each(self, function: Callable[..., Tree], *args: PyTree, lanes: int | None = None) -> Tree:
        """``function`` in every lane; a single one is no batch."""
        if (self.lanes if lanes is None else lanes) > 1:
            return vmapped(self.draw.energy, function)(*args)
        one = function(*jax.tree.map(lambda x: x[0], args))
        return jax.tree.map(lambda x: x[None], one)

    def where(self, condition: Array, X: Tree, Y: Tree) -> Tree:
        """X in the lanes where the condition holds, Y elsewhere."""

        def choose(x: Array, y: Array) -> Array:
            return jnp.where(condition.reshape(-1, *(1,) * (x.ndim - 1)), x, y)

        return jax.tree.map(choose, X, Y)

    # One run

    def step(self, run: Run, budget: Array, i: Array) -> tuple[Run, Array]:
        """One step of a run that has not ended and has some left; its distance from the anchor."""
        loss = self.loss
        if not self.exact:
            key = jax.random.fold_in(jax.random.wrap_key_data(run.key, impl=self.keys), run.step)
            loss = FactorLoss(self.draw(key), self.decay)
        W, E, slopes = loss.slopes(run.factors)
        go = (i < budget) & (run.status == Status.running)
        lost = ~(jnp.abs(E) <= BOUND * run.scale)
        status = jnp.where(go & lost, Status.diverged, run.status)
        go = go & ~lost
        if self.exact:
            there = self.stop_energy >= E
            status = jnp.where(go & there, Status.energy, status)
            go = go & ~there
        moved = self.optimizer.step(loss, E, slopes, run.optimizer, run.factors)
        factors, state = jax.tree.map(
            lambda new, old: jnp.where(go, new, old), moved, (run.factors, run.optimizer)
        )
        run = eqx.tree_at(
            lambda r: (r.factors, r.optimizer, r.step, r.status),
            run,
            (factors, state, run.step + go, status.astype(run.status.dtype)),
        )
        away = jnp.zeros((), W.dtype)
        if not self.draw.noisy:
            away = jnp.sqrt(jnp.sum((W - run.anchor) ** 2))
        return run, away

    def merged(self, run: Run, before: Array, new: Array) -> Run:
        """The run with the distances of its last steps, from step ``before`` on, in their place."""
        first = before % STRIDE
        j = jnp.arange(STRIDE) - first
        fresh = (j >= 0) & (j < run.step - before)
        returns = jnp.where(fresh, new[jnp.clip(j, 0, STRIDE - 1)], run.returns)
        return eqx.tree_at(lambda r: r.returns, run, returns)

    def seen(self, run: Run, before: Array) -> tuple[Array, Array, Array, Array]:
        """(whether it is time to judge, W, the period, whether it may have converged)."""
        v = before % STRIDE + run.step - before
        due = (run.status == Status.running) & (run.step > before)
        due = due & ((v == STRIDE) | (run.step >= run.limit))
        loss = self.loss
        W, period, diameter = look(run.factors, run.anchor, run.returns, v, run.size)
        size = jnp.maximum(run.size, jnp.sqrt(jnp.sum(W**2)))
        near = is_near(loss, run.factors, diameter, size, self.rtol)
        return due, W, period if self.exact else 0 * period, due & near

    def settled(
        self, run: Run, before: Array, due: Array, W: Array, period: Array, still: Array
    ) -> Run:
        """The run after a judgement, or at its last step."""
        found = jnp.where(still & (period == 0), Status.converged, Status.running)
        found = jnp.where(period > 0, Status.cycling, found)
        # at the last step there may be too few since the last judgement: it holds
        early = (run.step % STRIDE != 0) & (found == Status.running)
        period = jnp.where(early & due, run.found, period)
        found = jnp.where(early & (run.found > 0), Status.cycling, found)
        E = self.loss.energy_of(W)
        found = jnp.where(self.stop_energy >= E, Status.energy, found)
        found = jnp.where(jnp.abs(E) <= BOUND * run.scale, found, Status.diverged)
        ends = (found == Status.energy) | (found == Status.diverged) | jnp.asarray(self.stops)
        status = jnp.where(due & ends, found, run.status)
        last = jnp.where(due & (found != Status.running), found, Status.steps)
        status = jnp.where((status == Status.running) & (run.step >= run.limit), last, status)
        fresh = due & (run.step % STRIDE == 0)
        kept = jnp.where(status == Status.cycling, period, 0)
        return eqx.tree_at(
            lambda r: (r.status, r.period, r.anchor, r.found),
            run,
            (
                status.astype(run.status.dtype),
                jnp.where(due, kept, run.period).astype(run.period.dtype),
                jnp.where(fresh, W, run.anchor),
                jnp.where(fresh, period, run.found).astype(run.found.dtype),
            ),
        )

    # All lanes

    def advance(self, lanes: Run, budget: Array) -> Run:
        """Steps in every lane: as many as its budget."""
        dtype = lanes.scale.dtype
        rows = jnp.zeros((STRIDE, self.lanes), dtype)

        def one(i: Array, carry: tuple[Run, Array]) -> tuple[Run, Array]:
            lanes, rows = carry
            index = jnp.full(self.lanes, i)
            lanes, away = self.each(self.step, lanes, budget, index)
            return lanes, rows.at[i].set(away)

        before = lanes.step
        lanes, rows = jax.lax.fori_loop(0, jnp.max(budget), one, (lanes, rows))
        return self.judge(self.each(self.merged, lanes, before, rows.T), before)

    def judge(self, lanes: Run, before: Array) -> Run:
        due, W, period, near = self.each(self.seen, lanes, before)
        if self.draw.noisy:
            still = jnp.zeros(self.lanes, bool)
        else:
            still = jax.lax.cond(
                jnp.any(near),
                lambda: (
                    near & self.each(lambda F: is_still(self.loss, F, self.rtol), lanes.factors)
                ),
                lambda: jnp.zeros(self.lanes, bool),
            )
        return self.each(self.settled, lanes, before, due, W, period, still)


class Queue(eqx.Module):
    """All runs, of which the first ``count`` are real, and what is recorded of them.

    ``records``: the run first, then the step.
    """

    runs: Run
    records: PyTree[Array]
    count: Array


class Carry(eqx.Module):
    """The lanes: which run each carries (−1: none), the next record of it; and the queue."""

    lanes: Run
    index: Array
    slot: Array
    queue: Queue
    taken: Array


def _next_record(training: Training, carry: Carry) -> Array:
    """The step of the next record in each lane; none: far away."""
    never = jnp.iinfo(jnp.int32).max
    return jnp.append(training.recorder.steps, never)[carry.slot]


def _exchange(training: Training, carry: Carry) -> Carry:
    """Runs that have ended are written out, and every free lane takes the next one."""
    queue, size = carry.queue, carry.queue.runs.step.size
    ended = (carry.index >= 0) & (carry.lanes.status != Status.running)
    # out of range, and so dropped, for a lane that goes on
    at = jnp.where(ended, carry.index, size)
    runs = jax.tree.map(lambda x, y: x.at[at].set(y, mode="drop"), queue.runs, carry.lanes)
    free = ended | (carry.index < 0)
    rank = carry.taken + jnp.cumsum(free) - 1
    index = jnp.where(free, jnp.where(rank < queue.count, rank, -1), carry.index)
    taken = jnp.minimum(carry.taken + jnp.sum(free), queue.count)
    fresh = jax.tree.map(lambda x: x[jnp.maximum(index, 0)], runs)
    slot = jnp.searchsorted(training.recorder.steps, fresh.step)
    return Carry(
        training.where(free, fresh, carry.lanes),
        index.astype(carry.index.dtype),
        jnp.where(free, slot, carry.slot).astype(carry.slot.dtype),
        eqx.tree_at(lambda q: q.runs, queue, runs),
        taken.astype(carry.taken.dtype),
    )


def _record(training: Training, carry: Carry) -> Carry:
    """Records of the lanes that are at the step of their next one."""
    queue = carry.queue
    due = (carry.index >= 0) & (carry.lanes.step == _next_record(training, carry))
    found = training.each(lambda F: training.recorder(training.loss, F), carry.lanes.factors)
    at = jnp.where(due, carry.index, carry.queue.runs.step.size), carry.slot
    records = jax.tree.map(lambda x, y: x.at[at].set(y, mode="drop"), queue.records, found)
    return eqx.tree_at(
        lambda c: (c.queue.records, c.slot),
        carry,
        (records, carry.slot + due.astype(carry.slot.dtype)),
    )


@program
def train(training: Training, queue: Queue) -> Queue:
    """The runs of the queue at their ends."""
    L = training.lanes
    whole = jnp.full(L, -1, jnp.int32)
    lanes = jax.tree.map(lambda x: x[jnp.zeros(L, int)], queue.runs)
    first = Carry(lanes, whole, jnp.zeros(L, jnp.int32), queue, jnp.zeros((), queue.count.dtype))

    def cycle(carry: Carry) -> Carry:
        if training.recorder.steps.size:
            due = (carry.index >= 0) & (carry.lanes.step == _next_record(training, carry))
            carry = jax.lax.cond(jnp.any(due), lambda c: _record(training, c), lambda c: c, carry)
        ended = (carry.index >= 0) & (carry.lanes.status != Status.running)
        room = jnp.any(carry.index < 0) & (carry.taken < queue.count)
        carry = jax.lax.cond(
            jnp.any(ended) | room, lambda c: _exchange(training, c), lambda c: c, carry
        )
        lanes = carry.lanes
        until = jnp.minimum(lanes.limit, _next_record(training, carry))
        budget = jnp.minimum(until - lanes.step, STRIDE - lanes.step % STRIDE)
        busy = (carry.index >= 0) & (lanes.status == Status.running)
        lanes = training.advance(lanes, jnp.where(busy, budget, 0))
        return eqx.tree_at(lambda c: c.lanes, carry, lanes)

    def go_on(carry: Carry) -> Array:
        return jnp.any(carry.index >= 0) | (carry.taken < queue.count)

    return jax.lax.while_loop(go_on, cycle, first).queue


@program
def begin(training: Training, factors: Factors, state: PyTree, key: Array, limit: Array) -> Run:
    """Runs at their starts; ``key``: one for all, of which each gets its own."""
    count = limit.size
    whole = jax.random.wrap_key_data(key, impl=training.keys)

    def one(factors: Factors, state: PyTree, key: Array, limit: Array) -> Run:
        loss = training.loss
        W, E, slopes = loss.slopes(factors)
        origin = loss.energy_of(0 * W)
        scale = jnp.abs(E) + jnp.where(jnp.isfinite(origin), jnp.abs(origin), 0.0)
        finite = jnp.isfinite(E) & jnp.isfinite(sum(jnp.sum(G) for G in slopes))
        status = jnp.where(finite, Status.running, Status.not_finite).astype(jnp.int32)
        none = jnp.zeros((), jnp.int32)
        return Run(
            factors=factors,
            optimizer=state,
            key=key,
            step=none,
            limit=limit,
            anchor=W,
            returns=jnp.zeros(STRIDE, W.dtype),
            scale=jnp.where(scale > 0, scale, 1.0),
            size=jnp.sqrt(jnp.sum(W**2)),
            status=status,
            period=none,
            found=none,
        )

    keys = jax.vmap(lambda i: jax.random.key_data(jax.random.fold_in(whole, i)))(jnp.arange(count))
    return training.each(one, factors, state, keys, limit, lanes=count)


@program
def finish(training: Training, runs: Run) -> tuple[Array, ...]:
    """(W, E, L, ‖∇L‖, the status) of every run."""

    def one(run: Run) -> tuple[Array, ...]:
        loss = training.loss
        W, E, slopes = loss.slopes(run.factors)
        # not a number, though W is one: the energy is to blame, and not the steps
        known = jnp.all(jnp.isfinite(W)) & jnp.isnan(E)
        lost = jnp.isnan(sum(jnp.sum(X) for X in run.factors))
        bad = (run.status == Status.diverged) & (known | lost)
        status = jnp.where(bad, Status.not_finite, run.status)
        return W, E, loss(run.factors), jnp.sqrt(squared_norm(slopes)), status

    return training.each(one, runs, lanes=runs.step.size)
