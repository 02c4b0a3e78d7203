"""Where a flow stops: at an energy, at a gradient, at rest, or where the dense chart is left."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..status import Status
from .coordinates import AbstractCoordinates, FlowProblem, State

# What is left of a gradient by rounding, in units of machine precision and of its terms.
_ROUNDING = 100


class Gauge(eqx.Module):
    """What the start of a flow says about sizes.

    - ``energy``, ``motion``: E(W0), and ‖grad E_λ‖_g as ``stop_gradient`` takes it.
    - ``slope``: the size of a gradient far from the limit. ``floor``: log of the size of a W that
      has vanished beside W0.
    """

    energy: Array
    motion: Array
    slope: Array
    floor: Array


@eqx.filter_jit
def gauge(chart: AbstractCoordinates[State], y0: State, problem: FlowProblem) -> Gauge:
    """The sizes at the start y0."""
    W = chart.matrix(y0)
    floor = jnp.log(max(W.shape) * jnp.finfo(W.dtype).eps * jnp.linalg.norm(W))
    here, origin = (jnp.linalg.norm(problem.gradient(X)) for X in (W, 0 * W))
    # a start far out has a gradient that says nothing about the limit; but E″ may vanish at 0
    slope = jnp.fmin(here, jnp.fmax(origin, 1e-12 * here))
    return Gauge(problem.value(W), chart.motion(y0, problem, floor).relative, slope, floor)


def gradient_terms(W: Array, problem: FlowProblem) -> Array:
    """The size of the terms of E′(W), to which its zero is relative: max(‖E′(W)‖, ‖E″(W) W‖).

    The latter by the change of E′ under small relative changes of the entries of W.
    """
    step = float(jnp.finfo(W.dtype).eps) ** 0.5
    signs = np.random.default_rng(0).choice([-1.0, 1.0], W.shape).astype(W.dtype)
    G = problem.gradient(W)
    change = jnp.linalg.norm(problem.gradient(W * (1 + step * signs)) - G) / step
    return jnp.fmax(jnp.linalg.norm(G), change)


class Stops(eqx.Module):
    """The thresholds of the stops that were asked for.

    - ``energy``, ``gradient``: what was asked for, or None.
    - ``endless``: whether t1 is infinite; then the flow may come to rest. ``rtol``: to what part of
      its terms the gradient falls then, and of what is left to the stop the change of E.
    - ``slope``, ``floor``: of the `Gauge`.
    - ``leave_dense``: how many singular values must separate before the dense chart is left.
    """

    energy: Array | None
    gradient: Array | None
    slope: Array
    floor: Array
    endless: bool = eqx.field(static=True)
    rtol: float = eqx.field(static=True)
    leave_dense: int = eqx.field(static=True, default=0)
    separation: float = eqx.field(static=True, default=0.0)
    smallest_dense: float = eqx.field(static=True, default=0.0)

    #: The endings that the entries of `distances` stand for.
    ENDINGS: ClassVar = (Status.energy, Status.gradient, Status.chart, Status.at_rest)

    @property
    def stationary(self) -> bool:
        """Whether the flow stops where it is stationary: where it would go on for ever."""
        return self.endless and self.energy is None and self.gradient is None

    @property
    def watched(self) -> bool:
        """Whether there is any stop."""
        asked = self.energy is not None or self.gradient is not None
        return self.stationary or asked or self.leave_dense > 0

    def distances(
        self, chart: AbstractCoordinates[State], elapsed: Array, y: State, problem: FlowProblem
    ) -> Array:
        """Of `ENDINGS`: positive before the stop, zero at it, infinite where there is none."""
        out: list[ArrayLike] = [jnp.inf] * 4
        if self.energy is not None:
            out[0] = problem.value(chart.matrix(y)) / self.energy - 1
            if self.endless and self.gradient is None:
                out[3] = self.unrest(chart, elapsed, y, problem)
        if self.gradient is not None:
            motion = chart.motion(y, problem, self.floor).relative
            out[1] = motion / self.gradient - 1
            if self.endless:
                out[3] = motion / self.still(chart, y, problem, rounding=True) - 1
        if self.stationary:
            motion = chart.motion(y, problem, self.floor).relative
            out[1] = motion / self.still(chart, y, problem) - 1
        if self.leave_dense:
            s = jnp.linalg.svd(chart.matrix(y), compute_uv=False)
            # only the singular values that the start has; the others are rounding noise
            log_s = jnp.log(s)[: self.leave_dense]
            small = log_s[-1] - log_s[0] - jnp.log(self.smallest_dense)
            # positive while some pair is too close and none is too small for dense arithmetic
            out[2] = jnp.minimum(self.separation - smallest_gap(log_s), small)
        return jnp.stack([jnp.asarray(x, problem.nu.dtype) for x in out])

    def still(
        self,
        chart: AbstractCoordinates[State],
        y: State,
        problem: FlowProblem,
        rounding: bool = False,
    ) -> Array:
        """The gradient of a flow that is stationary: ten times ``rtol``, or rounding, of its terms."""
        W = chart.matrix(y)
        part = _ROUNDING * float(jnp.finfo(W.dtype).eps) if rounding else 10 * self.rtol
        return part * jax.lax.stop_gradient(jnp.fmax(gradient_terms(W, problem), self.slope))

    def unrest(
        self, chart: AbstractCoordinates[State], elapsed: Array, y: State, problem: FlowProblem
    ) -> Array:
        """Positive until the flow rests.

        It does where it is stationary, nothing grows, and going on as long again would, at the
        present rate, change the energy by less than ``rtol`` of what is left to the stop.
        """
        moving, energy = chart.motion(y, problem, self.floor), problem.value(chart.matrix(y))
        left = jnp.abs(energy if self.energy is None else energy - self.energy)
        change = elapsed * moving.slope / jnp.where(left == 0, 1.0, self.rtol * left) - 1
        return jnp.maximum(moving.relative / self.still(chart, y, problem) - 1, change)


def smallest_gap(log_s: Array) -> Array:
    """Smallest relative gap of neighbours in a descending spectrum; ∞ for one singular value."""
    return jnp.min(log_s[:-1] - log_s[1:], initial=jnp.inf)
