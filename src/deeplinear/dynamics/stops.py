"""Where a flow stops: at an energy, at a gradient, at rest, or where the dense chart is left."""

import dataclasses
import math
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..compilation import Effort, program
from ..status import Status
from .coordinates import AbstractCoordinates, FlowProblem, State

# What is left of a gradient by rounding, in units of machine precision and of its terms.
_ROUNDING = 100


class Sizes(NamedTuple):
    """Sizes at a point, which say what is small.

    - ``terms``: of the terms of E′(W), to which its zero is relative: max(‖E′(W)‖, ‖E″(W) W‖).
    - ``curvature``: ‖E″(W) Z‖/‖Z‖ in the mean over Z.

    By the change of E′ under small changes of the entries of W: of each in proportion to itself,
    and of all alike.
    """

    terms: Array
    curvature: Array


def sizes(W: Array, problem: FlowProblem) -> Sizes:
    """The sizes at W."""
    step = float(jnp.finfo(W.dtype).eps) ** 0.5
    signs = np.random.default_rng(0).choice([-1.0, 1.0], W.shape).astype(W.dtype)
    norm = jnp.linalg.norm
    length = jnp.where(norm(W) > 0, norm(W), 1.0)
    even = step * length * signs / math.sqrt(W.size)
    # a loop: E′ is compiled once (and an energy with decompositions runs one after the other)
    around = jnp.stack([W, W * (1 + step * signs), W + even])
    G, other, beside = jax.lax.map(problem.gradient, around)
    change = norm(other - G) / step
    curvature = norm(beside - G) / norm(even)
    return Sizes(*jax.lax.stop_gradient((jnp.fmax(norm(G), change), curvature)))


class Gauge(eqx.Module):
    """What the start of a flow says: E(W0), what moves W0 (as ``stop_gradient`` takes it), and the
    size ``slope`` of a gradient far from the limit.
    """

    energy: Array
    motion: Array
    slope: Array


@program(effort=Effort.LEAST)
def gauge(chart: AbstractCoordinates[State], y0: State, problem: FlowProblem) -> Gauge:
    """The sizes at the start y0."""
    W = chart.matrix(y0)
    here, origin = (jnp.linalg.norm(problem.gradient(X)) for X in (W, 0 * W))
    # a start far out has a gradient that says nothing about the limit; but E″ may vanish at 0
    slope = jnp.fmin(here, jnp.fmax(origin, 1e-12 * here))
    moving = chart.motion(y0, problem, sizes(W, problem).curvature)
    return Gauge(problem.value(W), moving.gradient, slope)


class Stops(eqx.Module):
    """The thresholds of the stops that were asked for.

    - ``energy``, ``gradient``: what was asked for, or None.
    - ``endless``: whether t1 is infinite; then the flow may come to rest. ``rtol``: to what part of
      its terms the gradient falls then, and of what is left to the stop the change of E.
    - ``slope``: of the `Gauge`.
    - ``leave_dense``: how many singular values must separate before the dense chart is left.
    """

    energy: Array | None
    gradient: Array | None
    slope: Array
    endless: bool = eqx.field(static=True)
    rtol: Array
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

    def never(self) -> "Stops":
        """The same stops, where no flow meets them.

        By a factor whose products with what was asked for are numbers still: XLA takes those below
        the least normal number for 0.
        """
        tiny = float(jnp.finfo(self.slope.dtype).tiny) ** 0.5
        # in NumPy: eager JAX would compile each of these
        out = lambda x: None if x is None else jax.device_put(np.asarray(x) * x.dtype.type(tiny))  # noqa: E731
        never = jax.device_put(np.full_like(self.rtol, tiny))
        return dataclasses.replace(
            self, energy=out(self.energy), gradient=out(self.gradient), rtol=never
        )

    def distances(
        self, chart: AbstractCoordinates[State], elapsed: ArrayLike, y: State, problem: FlowProblem
    ) -> Array:
        """Of `ENDINGS`: positive before the stop, zero at it, infinite where there is none."""
        out: list[ArrayLike] = [jnp.inf] * 4
        W = chart.matrix(y)
        if self.energy is not None:
            out[0] = problem.value(W) / self.energy - 1
            if self.endless and self.gradient is None:
                out[3] = self.unrest(chart, elapsed, y, problem)
        if self.gradient is not None or self.stationary:
            here = sizes(W, problem)
            moving = chart.motion(y, problem, here.curvature).gradient
            out[1] = moving / (self.still(here) if self.gradient is None else self.gradient) - 1
            if self.endless and self.gradient is not None:
                rounding = _ROUNDING * float(jnp.finfo(W.dtype).eps) * here.terms
                out[3] = moving / rounding - 1
        if self.leave_dense:
            s = jnp.linalg.svd(W, compute_uv=False)
            # only the singular values that the start has; the others are rounding noise
            log_s = jnp.log(s)[: self.leave_dense]
            small = log_s[-1] - log_s[0] - jnp.log(self.smallest_dense)
            # positive while some pair is too close and none is too small for dense arithmetic
            out[2] = jnp.minimum(self.separation - smallest_gap(log_s), small)
        return jnp.stack([jnp.asarray(x, problem.nu.dtype) for x in out])

    def still(self, here: Sizes) -> Array:
        """The gradient of a flow that is stationary: ten times ``rtol`` of its terms."""
        return 10 * self.rtol * jnp.fmax(here.terms, self.slope)

    def unrest(
        self, chart: AbstractCoordinates[State], elapsed: ArrayLike, y: State, problem: FlowProblem
    ) -> Array:
        """Positive until the flow rests.

        It does where it is stationary, nothing grows, and going on as long again would, at the
        present rate, change the energy by less than ``rtol`` of what is left to the stop.
        """
        W = chart.matrix(y)
        here, energy = sizes(W, problem), problem.value(W)
        moving = chart.motion(y, problem, here.curvature)
        left = self.rtol * jnp.abs(energy if self.energy is None else energy - self.energy)
        change = elapsed * moving.slope / jnp.where(left == 0, 1.0, left) - 1
        return jnp.maximum(moving.gradient / self.still(here) - 1, change)


def smallest_gap(log_s: Array) -> Array:
    """Smallest relative gap of neighbours in a descending spectrum; ∞ for one singular value."""
    return jnp.min(log_s[:-1] - log_s[1:], initial=jnp.inf)
