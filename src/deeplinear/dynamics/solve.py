"""From coordinates and their vector field to a `FlowResult`: one diffrax solve and its stops."""

import dataclasses
from collections.abc import Callable

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float

from ..checks import is_traced
from ..geometry.point import LogSVD
from ..status import Status
from .coordinates import AbstractCoordinates, FlowProblem, State
from .flow_options import FlowOptions


class FlowResult(eqx.Module):
    """The result of a flow.

    - ``ts``, ``W``, ``energy``, ``singular_values``, ``log_singular_values``: one per saved time
      along the leading axis; the last point alone, without that axis, where no ``saveat`` was
      given. Saved times that were not reached are left out (under jit: infinite). Time as in [CMV];
      the energy is E, without weight decay; singular values descend, and those that a start of low
      rank does not have are 0.
    - ``end``: the last point as a `LogSVD`, and ``t_end`` its time:
      ``gradient_flow(energy, result.end, …)`` goes on from there.
    - ``factors``: the last factors (upstairs only).
    - ``status``: a code of `Status`; ``converged``: whether the flow ended as asked, at t1 or at a
      stop.
    - ``stats``: the numbers of steps, in all and in each chart.
    """

    ts: Float[Array, "*t"]
    W: Float[Array, "*t m n"]
    energy: Float[Array, "*t"]
    log_singular_values: Float[Array, "*t k"]
    end: LogSVD
    t_end: Float[Array, ""]
    status: Array
    stats: dict[str, Array | int]
    factors: tuple[Array, ...] | None = None

    @property
    def singular_values(self) -> Float[Array, "*t k"]:
        return jnp.exp(self.log_singular_values)

    @property
    def converged(self) -> Array:
        """Whether the flow ended as asked: at t1 or at a stop."""
        return Status.succeeded(self.status)


class Stops(eqx.Module):
    """The thresholds of the stops that were asked for.

    And how many singular values must separate before the dense chart is left.
    """

    energy: Array | None
    gradient: Array | None
    leave_dense: int = eqx.field(static=True, default=0)
    separation: float = eqx.field(static=True, default=0.0)
    smallest_dense: float = eqx.field(static=True, default=0.0)

    @property
    def watched(self) -> bool:
        """Whether there is any stop."""
        return self.energy is not None or self.gradient is not None or self.leave_dense > 0

    def distances(self, chart: AbstractCoordinates[State], y: State, problem: FlowProblem) -> Array:
        """(energy, gradient, chart): positive before the stop, zero at it.

        Infinite for a stop that was not asked for.
        """
        out: list[ArrayLike] = [jnp.inf, jnp.inf, jnp.inf]
        if self.energy is not None:
            out[0] = problem.energy(chart.matrix(y)).reshape(()) / self.energy - 1
        if self.gradient is not None:
            out[1] = stationarity(chart, y, problem) / self.gradient - 1
        if self.leave_dense:
            s = jnp.linalg.svd(chart.matrix(y), compute_uv=False)
            # only the singular values that the start has; the others are rounding noise
            log_s = jnp.log(s)[: self.leave_dense]
            small = log_s[-1] - log_s[0] - jnp.log(self.smallest_dense)
            # positive while some pair is too close and none is too small for dense arithmetic
            out[2] = jnp.minimum(self.separation - smallest_gap(log_s), small)
        return jnp.stack([jnp.asarray(x, problem.nu.dtype) for x in out])


def smallest_gap(log_s: Array) -> Array:
    """Smallest relative gap of neighbours in a descending spectrum; ∞ for one singular value."""
    return jnp.min(log_s[:-1] - log_s[1:], initial=jnp.inf)


def stationarity(chart: AbstractCoordinates[State], y: State, problem: FlowProblem) -> Array:
    """‖grad E_λ‖_g relative to `AbstractCoordinates.size`: ``stop_gradient`` bounds it."""
    slope = chart.slope(y, problem)
    return jnp.sqrt(jnp.maximum(slope, 0.0)) / chart.size(y, problem)


@eqx.filter_jit
def integrate(
    chart: AbstractCoordinates[State],
    problem: FlowProblem,
    y0: State,
    stops: Stops,
    options: FlowOptions,
    last: bool = True,
) -> FlowResult:
    """Follow one chart from y0 to t1, a stop, or the step limit.

    ``last``: whether t1 is saved.
    """
    observe = _observer(chart)

    def distance(t: ArrayLike, y: State, args: FlowProblem, **_: object) -> Array:
        return jnp.min(stops.distances(chart, y, args))

    event, t1 = None, options.t1
    if stops.watched:
        # flip=True: the distance goes from positive to negative.
        event = dfx.Event(distance, optx.Bisection(rtol=1e-8, atol=1e-8, flip=True))  # type: ignore[call-arg]
        # The start may meet a stop already.
        t1 = jnp.where(distance(options.t0, y0, problem) <= 0, options.t0, t1)
    wanted = options.wanted(last)
    asked = wanted["ts"] is not None or wanted["t0"] or wanted["t1"] or wanted["steps"]
    saved = [dfx.SubSaveAt(fn=observe, **wanted)] if asked else []
    solution = dfx.diffeqsolve(
        # jit within jit: the field is traced once, and not for each stage and Jacobian
        dfx.ODETerm(eqx.filter_jit(chart.field)),
        options.stepper(chart, y0),
        options.t0,
        t1,
        None,
        y0,
        problem,
        saveat=dfx.SaveAt(subs=[*saved, dfx.SubSaveAt(t1=True)]),
        stepsize_controller=options.step_control(chart, y0),
        event=event,
        max_steps=options.max_steps,
        adjoint=options.adjoint,
        throw=False,
    )
    t_end, y_end = solution.ts[-1][0], jax.tree.map(lambda x: x[0], solution.ys[-1])
    if saved:
        ts, (W, energy, log_s) = solution.ts[0], solution.ys[0]
    else:  # arrays with no row
        nothing = jax.tree.map(lambda x: x[None][:0], (t_end, observe(t_end, y_end, problem)))
        ts, (W, energy, log_s) = nothing
    steps = solution.stats["num_steps"]
    return FlowResult(
        ts=ts,
        W=W,
        energy=energy,
        log_singular_values=log_s,
        end=chart.to_svd(y_end),
        t_end=t_end,
        status=_status(solution, stops.distances(chart, y_end, problem), stops.watched),
        stats={"steps": steps, chart.name: steps},
        factors=chart.factors(y_end),
    )


def _observer(
    chart: AbstractCoordinates[State],
) -> Callable[[ArrayLike, State, FlowProblem], tuple[Array, Array, Array]]:
    """(W, E, log σ) of a state.

    Singular values that a chart of low rank does not have are the bulk.
    """

    def observe(t: ArrayLike, y: State, args: FlowProblem) -> tuple[Array, Array, Array]:
        W, log_s = chart.matrix(y), chart.to_svd(y).log_s
        missing = min(W.shape) - log_s.size
        log_s = jnp.concatenate([log_s, jnp.full(missing, args.log_bulk, log_s.dtype)])
        return W, args.energy(W).reshape(()), log_s

    return observe


def _status(solution: dfx.Solution, distances: Array, watched: bool) -> Array:
    """Why the solve ended, from diffrax's word and the distances from the stops at the end."""
    status = jnp.asarray(Status.failed, jnp.int32)
    out_of_steps = solution.result == dfx.RESULTS.max_steps_reached
    status = jnp.where(out_of_steps, Status.max_steps, status)
    status = jnp.where(solution.result == dfx.RESULTS.successful, Status.reached_t1, status)
    if not watched or solution.event_mask is None:
        return status
    # The event says so even where rounding of E keeps the root find from its last digits.
    stopped = solution.event_mask | (jnp.min(distances) <= 0)
    reason = jnp.argmin(distances)
    for i, stop in enumerate((Status.energy, Status.gradient, Status.chart)):
        status = jnp.where(stopped & (reason == i), stop, status)
    # NaN is no stop, though a sign change.
    return jnp.where(jnp.any(jnp.isnan(distances)), Status.failed, status)


def join(first: FlowResult, second: FlowResult) -> FlowResult:
    """Two legs of one flow as one result."""
    along = lambda name: jnp.concatenate([getattr(leg, name) for leg in (first, second)])  # noqa: E731
    return FlowResult(
        **{name: along(name) for name in ("ts", "W", "energy", "log_singular_values")},
        end=second.end,
        t_end=second.t_end,
        status=second.status,
        stats={
            key: first.stats.get(key, 0) + second.stats.get(key, 0)
            for key in {**first.stats, **second.stats}
        },
        factors=second.factors,
    )


def finish(result: FlowResult, options: FlowOptions) -> FlowResult:
    """The result without saved times that were not reached.

    And without the time axis where no times were asked for.
    """
    names = ("ts", "W", "energy", "log_singular_values")
    arrays = {name: getattr(result, name) for name in names}
    if options.saveat is None:
        arrays = {name: x[-1] for name, x in arrays.items()}
    elif not is_traced(result.ts):
        reached = np.isfinite(result.ts)
        arrays = {name: x[reached] for name, x in arrays.items()}
    return dataclasses.replace(result, **arrays)
