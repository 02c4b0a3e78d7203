"""From coordinates and their vector field to a `FlowResult`: one diffrax solve and its stops."""

import dataclasses
from collections.abc import Callable

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike

from ..checks import is_traced
from ..compilation import program
from ..status import Status
from ..transforms import forward_only, reverse_only
from .charts import trimmed
from .coordinates import AbstractCoordinates, FlowProblem, State
from .flow_options import FlowOptions, saved_times
from .results import FlowResult
from .stops import Stops

FORWARD = "forward mode needs adjoint=diffrax.ForwardMode() here, or take jax.grad or jax.jacrev."
REVERSE = (
    "reverse mode needs adjoint=diffrax.RecursiveCheckpointAdjoint() here, or take jax.jvp or "
    "jax.jacfwd."
)


@program
def integrate(
    chart: AbstractCoordinates[State],
    problem: FlowProblem,
    y0: State,
    stops: Stops,
    options: FlowOptions,
) -> FlowResult:
    """Follow one chart from y0 to t1, a stop, or the step limit."""
    observe = _observer(chart)

    def distance(t: ArrayLike, y: State, args: FlowProblem, **_: object) -> Array:
        # in the default precision, which diffrax has for the events that did not happen
        return jnp.min(stops.distances(chart, t - options.start, y, args)).astype(float)

    event, t1 = None, options.t1
    if stops.watched:
        last_digits = 4 * float(jnp.finfo(problem.nu.dtype).eps)
        # flip=True: the distance goes from positive to negative.
        event = dfx.Event(distance, optx.Bisection(last_digits, last_digits, flip=True))  # type: ignore[call-arg]
        # The start may meet a stop already.
        t1 = jnp.where(distance(options.t0, y0, problem) <= 0, options.t0, t1)
    wanted = saved_times(options.saveat)
    asked = wanted["ts"] is not None or wanted["t0"] or wanted["t1"] or wanted["steps"]
    saved = [dfx.SubSaveAt(fn=observe, **wanted)] if asked else []
    solution = dfx.diffeqsolve(
        # jit within jit: the field is traced once, and not for each stage and Jacobian
        dfx.ODETerm(eqx.filter_jit(chart.field)),
        options.solver,
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
        status=_status(solution, chart, t_end - options.start, y_end, problem, stops, energy),
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
        return W, args.value(W), log_s

    return observe


def _status(
    solution: dfx.Solution,
    chart: AbstractCoordinates[State],
    elapsed: Array,
    y: State,
    problem: FlowProblem,
    stops: Stops,
    saved: Array,
) -> Array:
    """Why the solve ended at y: by diffrax's word, and by the distances from the stops there."""
    status = jnp.asarray(Status.failed, jnp.int32)
    for result, ending in (
        (dfx.RESULTS.max_steps_reached, Status.max_steps),
        (dfx.RESULTS.dt_min_reached, Status.step_too_small),
        (dfx.RESULTS.successful, Status.reached_t1),
    ):
        status = jnp.where(solution.result == result, ending, status)
    if stops.watched and solution.event_mask is not None:
        distances = stops.distances(chart, elapsed, y, problem)
        stopped = solution.event_mask | (jnp.min(distances) <= 0)
        # an event that is not met at its own root: the stop lies below rounding
        status = jnp.where(stopped, Status.at_rest, status)
        for i in reversed(range(distances.size)):
            status = jnp.where(stopped & (distances[i] <= 1e-3), Stops.ENDINGS[i], status)
        # NaN is no stop, though a sign change
        status = jnp.where(jnp.any(jnp.isnan(distances)), Status.failed, status)
        if stops.endless:
            resting = stops.unrest(chart, elapsed, y, problem) <= 0
            status = jnp.where((status == Status.max_steps) & resting, Status.at_rest, status)
    finite = jnp.isfinite(problem.value(chart.matrix(y))) & ~jnp.any(jnp.isnan(saved))
    return jnp.where(finite, status, Status.not_finite)


def follow(
    charts: list[tuple[AbstractCoordinates, Stops]],
    problem: FlowProblem,
    y0: State,
    options: FlowOptions,
    traced: bool,
) -> FlowResult:
    """Follow the flow from y0 through the charts, each until its stops, and by its solvers in turn.

    A chart is followed by the next where `Status.chart` or its share of the steps ended it, a
    solver by the next where its share did.
    """
    whole: FlowResult | None = None
    for chart, stops in charts:
        y, last = y0 if whole is None else chart.start(trimmed(whole.end)), chart is charts[-1][0]
        for solver, steps in options.solvers(chart, y, traced, last=last):
            if whole is not None:
                whole, options = without_end(whole, options), options.after(whole.t_end)
            own = dataclasses.replace(options, solver=solver, max_steps=steps)
            with reverse_only(FORWARD):
                leg = integrate(chart, problem, y, stops, own)
            if isinstance(options.adjoint, dfx.ForwardMode):
                leg = forward_only(leg, REVERSE)
            whole = leg if whole is None else join(whole, leg)
            # (at rest too, where it only hovers about as well as its steps can)
            if arrived := traced or int(leg.stats["steps"]) < steps:
                break
            y = chart.start(leg.end)
        if arrived and (traced or int(leg.status) != Status.chart):
            break
    assert whole is not None
    return whole


def estimated(
    charts: list[tuple[AbstractCoordinates, Stops]],
    problem: FlowProblem,
    y0: State,
    options: FlowOptions,
    traced: bool,
) -> FlowResult:
    """The flow, as `follow` has it, with the estimate of its error."""
    whole = follow(charts, problem, y0, options, traced)
    result = finish(whole, options)
    xp = jnp if traced else np
    unknown = jax.device_put(xp.full_like(result.ts, jnp.nan))
    if traced or options.controller is not None or saved_times(options.saveat)["steps"]:
        return dataclasses.replace(result, error=unknown)
    muted = [(chart, stops.never()) for chart, stops in charts]
    coarser = options.coarser(whole.t_end)
    other = finish(follow(muted, problem, y0, coarser, traced), coarser)
    if int(other.status) != Status.reached_t1:
        return dataclasses.replace(result, error=jax.device_put(np.full_like(result.ts, np.inf)))
    # times beyond the end of the flow are its end in the other one
    W, V = np.asarray(result.W), np.asarray(other.W)
    V = V if options.saveat is None else V[: len(W)]
    size = lambda X: np.linalg.norm(X, axis=(-2, -1))  # noqa: E731
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.where(size(W - V) == 0, 0.0, size(W - V) / size(W))
    # both may have taken the same steps
    error = np.maximum(difference, float(options.rtol))
    return dataclasses.replace(result, error=jnp.asarray(error, W.dtype))


def without_end(leg: FlowResult, options: FlowOptions) -> FlowResult:
    """The leg without the point that was saved because it ended there: another one follows."""
    if not saved_times(options.saveat)["t1"]:
        return leg
    kept = np.flatnonzero(np.isfinite(leg.ts))[:-1]
    names = ("ts", "W", "energy", "log_singular_values")
    arrays = {name: jax.device_put(np.asarray(getattr(leg, name))[kept]) for name in names}
    return dataclasses.replace(leg, **arrays)


def join(first: FlowResult, second: FlowResult) -> FlowResult:
    """Two legs of one flow as one result."""

    def along(name: str) -> Array:
        return jax.device_put(np.concatenate([getattr(leg, name) for leg in (first, second)]))

    return FlowResult(
        **{name: along(name) for name in ("ts", "W", "energy", "log_singular_values")},
        end=second.end,
        t_end=second.t_end,
        status=second.status,
        stats={
            key: jax.device_put(sum(np.asarray(leg.stats.get(key, 0)) for leg in (first, second)))
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
    if not is_traced(result):  # in NumPy: eager JAX would compile each of these
        arrays = {name: np.asarray(x) for name, x in arrays.items()}
    if options.saveat is None:
        arrays = {name: x[-1] for name, x in arrays.items()}
    elif not is_traced(result):
        reached = np.isfinite(arrays["ts"])
        arrays = {name: x[reached] for name, x in arrays.items()}
    return dataclasses.replace(result, **{name: jax.device_put(x) for name, x in arrays.items()})
