"""From coordinates and their vector field to a `FlowResult`: one diffrax solve and its stops."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, PyTree

from ..checks import as_array, is_traced
from ..compilation import Effort, program
from ..geometry.point import LogSVD
from ..status import Status
from ..transforms import forward_only, reverse_only
from .charts import trimmed
from .coordinates import AbstractCoordinates, FlowProblem, State
from .flow_options import FlowOptions, saved_times
from .implicit_steps import LinearlyImplicit
from .results import FlowResult
from .stops import Stops

FORWARD = "forward mode needs adjoint=diffrax.ForwardMode() here, or take jax.grad or jax.jacrev."
REVERSE = (
    "reverse mode needs adjoint=diffrax.RecursiveCheckpointAdjoint() here, or take jax.jvp or "
    "jax.jacfwd."
)


class Went(NamedTuple):
    """How far a solve came.

    - ``saved``: (t, W, E, log σ) at saved times.
    - ``t``, ``y``: where it ended; ``status``: why, by diffrax's word; ``event``: whether a stop
      was seen; ``steps``.
    """

    saved: tuple[Array, Array, Array, Array]
    t: Array
    y: PyTree[Array]
    status: Array
    event: Array
    steps: Array


@program
def integrate(
    chart: AbstractCoordinates[State],
    problem: FlowProblem,
    y0: State,
    stops: Stops,
    options: FlowOptions,
    t1: Array,
) -> Went:
    """Follow one chart from y0 to t1, a stop, or the step limit."""
    # a controller of the user's measures states as they are
    pack = _as_vector if options.controller is None else _as_it_is
    flat, whole = pack(y0)
    observe = _observer(chart)

    # jit within jit: the field is traced once, and not for each stage and Jacobian
    @eqx.filter_jit
    def field(t: ArrayLike, y: PyTree[Array], args: FlowProblem) -> PyTree[Array]:
        at = whole(y)
        velocity, _ = pack(chart.field(t, at, args))
        if not isinstance(options.solver, LinearlyImplicit):
            return velocity
        # where E is no number its gradient may be one, and small steps would slide along that edge
        known = jnp.isfinite(args.value(jax.lax.stop_gradient(chart.matrix(at))))
        return jax.tree.map(lambda x: jnp.where(known, x, jnp.nan), velocity)

    def distance(t: ArrayLike, y: PyTree[Array], args: FlowProblem, **_: object) -> Array:
        return _distance(stops, chart, jnp.subtract(t, options.start), whole(y), args)

    def seen(t: ArrayLike, y: PyTree[Array], args: FlowProblem) -> tuple[Array, Array, Array]:
        return observe(t, whole(y), args)

    event = None
    if stops.watched:
        last_digits = 4 * float(jnp.finfo(problem.nu.dtype).eps)
        # flip=True: the distance goes from positive to negative.
        event = dfx.Event(distance, optx.Bisection(last_digits, last_digits, flip=True))  # type: ignore[call-arg]
    wanted = saved_times(options.saveat)
    asked = wanted["ts"] is not None or wanted["t0"] or wanted["t1"] or wanted["steps"]
    # the end alone is left to the program of less effort
    saved = [dfx.SubSaveAt(fn=seen, **wanted)] if asked and options.saveat is not None else []
    solution = dfx.diffeqsolve(
        dfx.ODETerm(field),
        options.solver,
        options.t0,
        t1,
        None,
        flat,
        problem,
        saveat=dfx.SaveAt(subs=[*saved, dfx.SubSaveAt(t1=True)]),
        stepsize_controller=options.step_control(chart, y0, whole),
        event=event,
        max_steps=options.max_steps,
        adjoint=options.adjoint,
        throw=False,
    )
    t_end, y_end = solution.ts[-1][0], whole(jax.tree.map(lambda x: x[0], solution.ys[-1]))
    if saved:
        ts, (W, energy, log_s) = solution.ts[0], solution.ys[0]
    else:  # arrays with no row
        nothing = eqx.filter_eval_shape(observe, t_end, y_end, problem)
        W, energy, log_s = (jnp.zeros((0, *x.shape), x.dtype) for x in nothing)
        ts = t_end[None][:0]
    status = jnp.where(jnp.any(jnp.isnan(energy)), Status.not_finite, _word(solution.result))
    stopped = jnp.asarray(False if solution.event_mask is None else solution.event_mask)
    steps = jnp.asarray(solution.stats["num_steps"])
    return Went((ts, W, energy, log_s), t_end, y_end, status, stopped, steps)


def _word(result: dfx.RESULTS) -> Array:
    """How diffrax says that a solve ended, as a `Status`."""
    status = jnp.asarray(Status.failed, jnp.int32)
    for theirs, ending in (
        (dfx.RESULTS.max_steps_reached, Status.max_steps),
        (dfx.RESULTS.dt_min_reached, Status.step_too_small),
        (dfx.RESULTS.successful, Status.reached_t1),
    ):
        status = jnp.where(result == theirs, ending, status)
    return status


def _as_vector(
    y: PyTree[Array],
) -> tuple[PyTree[Array], Callable[[PyTree[Array]], PyTree[Array]]]:
    """A state of several arrays as one vector, and the way back.

    Each array would be stepped, compared and interpolated by operations of its own, each of which
    is compiled.
    """
    return _as_it_is(y) if len(jax.tree.leaves(y)) == 1 else ravel_pytree(y)


def _as_it_is(
    y: PyTree[Array],
) -> tuple[PyTree[Array], Callable[[PyTree[Array]], PyTree[Array]]]:
    return y, lambda x: x


@eqx.filter_jit  # within the program: traced once
def _distance(
    stops: Stops,
    chart: AbstractCoordinates[State],
    elapsed: Array,
    y: State,
    problem: FlowProblem,
) -> Array:
    """From the nearest stop; in the default precision, which diffrax has for the events that did
    not happen.
    """
    return jnp.min(stops.distances(chart, elapsed, y, problem)).astype(float)


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


class Stand(NamedTuple):
    """Where a flow stands.

    - ``row``: (t, W, E, log σ), as one saved time; ``point``, ``factors``.
    - ``status``: if it ends here; ``met``: whether a stop is met.
    """

    row: tuple[Array, ...]
    point: LogSVD
    factors: tuple[Array, ...] | None
    status: Array
    met: Array


@program(effort=Effort.LEAST)
def stand(
    chart: AbstractCoordinates[State],
    problem: FlowProblem,
    y: State,
    stops: Stops,
    elapsed: tuple[Array, Array],
    status: Array,
    event: Array,
) -> Stand:
    """Where a flow stands at y, between two times.

    And why it ends there: by diffrax's word and by the distances from the stops.
    """
    seen = _observer(chart)(elapsed[1], y, problem)
    met, known = jnp.asarray(False), status != Status.not_finite
    if stops.watched:
        since = elapsed[1] - elapsed[0]
        distances = stops.distances(chart, since, y, problem)
        met = jnp.min(distances) <= 0
        stopped = event | met
        # an event that is not met at its own root: the stop lies below rounding
        status = jnp.where(stopped, Status.at_rest, status)
        for i in reversed(range(distances.size)):
            status = jnp.where(stopped & (distances[i] <= 1e-3), Stops.ENDINGS[i], status)
        # NaN is no stop, though a sign change
        status = jnp.where(jnp.any(jnp.isnan(distances)), Status.failed, status)
        if stops.endless:
            resting = stops.unrest(chart, since, y, problem) <= 0
            status = jnp.where((status == Status.max_steps) & resting, Status.at_rest, status)
    status = jnp.where(jnp.isfinite(seen[1]) & known, status, Status.not_finite)
    row = tuple(x[None] for x in (elapsed[1], *seen))
    return Stand(row, chart.to_svd(y), chart.factors(y), status, met)


def part(
    chart: AbstractCoordinates[State],
    problem: FlowProblem,
    y0: State,
    stops: Stops,
    options: FlowOptions,
    traced: bool,
) -> FlowResult:
    """One chart and one solver: the solve in a program that runs fast, all that is done once at its
    two ends in one that compiles fast.
    """
    t1 = options.t1
    if stops.watched:  # the start may meet a stop already
        going, no = as_array(Status.reached_t1, jnp.int32), as_array(False, bool)
        times = options.start, options.t0
        met = stand(chart, problem, y0, stops, times, going, no).met
        t1 = jnp.where(met, options.t0, t1) if traced else (options.t0 if met else t1)
    at_once = t1 is options.t0  # later times are not reached, and diffrax would refuse them
    how = dataclasses.replace(options, saveat=None) if at_once else options
    went = integrate(chart, problem, y0, stops, how, t1)
    end = stand(chart, problem, went.y, stops, (options.start, went.t), went.status, went.event)
    ts, W, energy, log_s = went.saved
    if options.saveat is None:
        ts, W, energy, log_s = end.row
    elif at_once:
        wanted = saved_times(options.saveat)
        due = 0 if wanted["ts"] is None else int(np.sum(np.asarray(wanted["ts"]) <= options.t0))
        ts, W, energy, log_s = (
            jnp.repeat(x, wanted["t0"] + due + wanted["t1"], 0) for x in end.row
        )
    return FlowResult(
        ts=ts,
        W=W,
        energy=energy,
        log_singular_values=log_s,
        end=end.point,
        t_end=went.t,
        status=end.status,
        stats={"steps": went.steps, chart.name: went.steps},
        factors=end.factors,
    )


def has_second_derivative(problem: FlowProblem, W: Array) -> bool:
    """Whether E′ has a Jacobian by forward mode: not where E has a `jax.custom_vjp`."""

    def along(X: Array, Z: Array) -> Array:
        return jax.jvp(problem.gradient, (X,), (Z,))[1]

    try:
        jax.eval_shape(jax.vmap(along, (None, 0)), W, W[None])
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        return False
    return True


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
    curved = traced or has_second_derivative(problem, charts[0][0].matrix(y0))
    for chart, stops in charts:
        y, last = y0 if whole is None else chart.start(trimmed(whole.end)), chart is charts[-1][0]
        for solver, steps in options.solvers(chart, y, traced, last=last, curved=curved):
            if whole is not None:
                whole, options = without_end(whole, options), options.after(whole.t_end)
            own = dataclasses.replace(options, solver=solver, max_steps=steps)
            with reverse_only(FORWARD):
                leg = part(chart, problem, y, stops, own, traced)
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
    return dataclasses.replace(result, error=jax.device_put(error.astype(W.dtype)))


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
