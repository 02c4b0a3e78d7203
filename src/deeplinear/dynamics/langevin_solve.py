"""From a stochastic equation and its starts to a `DiffusionResult`.

One diffrax solve for each chain, all in one program.
"""

import dataclasses
import math
from itertools import pairwise
from typing import TypeVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

from ..checks import as_array, check_integer, is_traced
from ..compilation import program
from ..energies import Energy
from ..errors import InputError, PrecisionError
from ..reals import one_real
from ..recorded import vmapped
from ..status import Status
from ..transforms import forward_only, reverse_only
from .flow_options import saved_times
from .langevin_process import AbstractProcess, EulerThen, Path, State
from .results import DiffusionResult
from .solve import FORWARD, REVERSE

Leaf = TypeVar("Leaf")


class Grid(dfx.StepTo):
    """Steps to given times, which `DiffusionPlan.of` has checked.

    diffrax checks them once more while a program runs, by a call back into Python, and a program
    with such a call cannot be kept for the next process.
    """

    def wrap(self, direction: ArrayLike) -> "Grid":
        return type(self)(ts=self.ts * direction)

    def init(self, *args: object, **kwargs: object) -> tuple[Array, int]:
        return self.ts[1], 2


class DiffusionPlan(eqx.Module):
    """The steps, the times to save, and the options of diffrax."""

    t0: ArrayLike
    t1: ArrayLike
    dt: ArrayLike
    saveat: dfx.SaveAt | None
    solver: dfx.AbstractSolver | None
    controller: dfx.AbstractStepSizeController | None
    adjoint: dfx.AbstractAdjoint | None
    max_steps: int = eqx.field(static=True)
    noisy: bool = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        t0: ArrayLike,
        t1: ArrayLike,
        dt: ArrayLike,
        saveat: ArrayLike | dfx.SaveAt | None = None,
        solver: dfx.AbstractSolver | None = None,
        controller: dfx.AbstractStepSizeController | None = None,
        max_steps: int | None = None,
        adjoint: dfx.AbstractAdjoint | None = None,
        noisy: bool = True,
    ) -> "DiffusionPlan":
        """The plan, of arguments that are checked here."""
        saveat = _checked_saveat(saveat)
        ts = None if saveat is None else saveat.subs.ts
        if is_traced(t0, t1, dt, ts):
            raise InputError(
                "t0, t1, dt and saveat must be known when the steps are laid out: keep them out of "
                "jit and vmap."
            )
        ends = np.asarray([one_real(t0), one_real(t1)])
        if not (np.isfinite(ends).all() and ends[1] > ends[0]):
            raise InputError(f"t1 must be finite and later than t0 = {ends[0]:g}, got {ends[1]:g}.")
        if not (0 < one_real(dt) < math.inf):
            raise InputError(f"dt must be one positive number, got {dt!r}.")
        if ts is not None and not (np.diff([ends[0], *np.asarray(ts), ends[1]]) >= 0).all():
            raise InputError(
                f"saveat must hold increasing times between t0 = {ends[0]:g} and t1 = {ends[1]:g}."
            )
        if noisy and solver is not None and not isinstance(solver, dfx.AbstractItoSolver):
            raise InputError(
                "solver must converge to the Itô solution (diffrax.Euler, …), got "
                f"{type(solver).__name__}."
            )
        if max_steps is not None:
            max_steps = check_integer(max_steps, "max_steps")
        if controller is None:
            grid = _grid(ends, None if ts is None else np.asarray(ts, float), one_real(dt))
            with jax.ensure_compile_time_eval():  # the grid is known, also where the call is traced
                controller = Grid(jax.device_put(grid))
            steps = len(controller.ts)
        else:
            steps = 100_000
        return cls(
            ends[0],
            ends[1],
            np.asarray(dt),
            saveat,
            solver,
            controller,
            adjoint,
            max_steps or steps,
            noisy,
        )

    def settled(self, dtype: DTypeLike, energy: Energy | None = None) -> "DiffusionPlan":
        """The plan in the floating-point type of the state, and as the energy allows."""

        def cast(x: Leaf) -> Leaf | Array:
            if isinstance(x, np.ndarray | np.generic | Array):
                return as_array(x, dtype)  # type: ignore[arg-type]
            return x

        with jax.ensure_compile_time_eval():
            plan = jax.tree.map(cast, self)
        if plan.adjoint is None:
            # What nobody can differentiate needs no checkpoints. A plain function may close over a
            # tracer.
            plain = energy is None or isinstance(energy, eqx.Module)
            checkpoints = not plain or is_traced(energy)
            plan = dataclasses.replace(
                plan,
                adjoint=dfx.RecursiveCheckpointAdjoint() if checkpoints else dfx.ForwardMode(),
            )
        steps = plan.controller.ts if isinstance(plan.controller, dfx.StepTo) else None
        if steps is not None and not (np.diff(np.asarray(steps)) > 0).all():
            raise PrecisionError(
                f"dt is beyond {jnp.dtype(dtype).name}, which cannot tell neighbouring steps "
                "apart: take a larger one, or float64."
            )
        return plan


def _grid(ends: np.ndarray, ts: np.ndarray | None, dt: float) -> np.ndarray:
    """The times to step to: the saved ones, and equal steps of at most dt between them."""
    stops = np.unique(np.concatenate([ends, [] if ts is None else ts]))
    pieces = [
        np.linspace(a, b, max(1, math.ceil((b - a) / dt * (1 - 1e-9))), endpoint=False)
        for a, b in pairwise(stops)
    ]
    return np.concatenate([*pieces, stops[-1:]])


def sample(
    process: AbstractProcess[State], starts: State, key: PRNGKeyArray, plan: DiffusionPlan
) -> DiffusionResult:
    """All chains, in one program: a leading axis everywhere, then one of saved times."""
    kind = str(jax.random.key_impl(key))
    with reverse_only(FORWARD):
        result = _sample(process, starts, jax.random.key_data(key), kind, plan)
    return forward_only(result, REVERSE) if isinstance(plan.adjoint, dfx.ForwardMode) else result


@program
def _sample(
    process: AbstractProcess[State], starts: State, key_data: Array, kind: str, plan: DiffusionPlan
) -> DiffusionResult:
    chains = jax.tree.leaves(starts)[0].shape[0]
    # Chain i is the same for any number of them.
    key = jax.random.wrap_key_data(key_data, impl=kind)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(chains))
    energy = getattr(process, "energy", None)
    return vmapped(energy, lambda start, key: _chain(process, start, key, plan))(starts, keys)


def _chain(
    process: AbstractProcess[State], start: State, key: Array, plan: DiffusionPlan
) -> DiffusionResult:
    y0 = process.start(start)
    sign = process.det_sign(y0)
    shape = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), y0)
    terms: dfx.AbstractTerm = dfx.ODETerm(process.drift)
    if plan.noisy:
        terms = dfx.MultiTerm(terms, dfx.ControlTerm(process.noise, _path(plan, shape, key)))
    wanted = saved_times(plan.saveat)
    solution = dfx.diffeqsolve(
        terms,
        EulerThen(process.then) if plan.solver is None else plan.solver,
        plan.t0,
        plan.t1,
        None if isinstance(plan.controller, dfx.StepTo) else plan.dt,
        y0,
        saveat=dfx.SaveAt(
            subs=[dfx.SubSaveAt(fn=process.observe, **wanted), dfx.SubSaveAt(t1=True)]
        ),
        stepsize_controller=plan.controller,
        event=dfx.Event(
            {
                "failed": lambda t, y, args, **_: process.is_lost(y),
                "crossed": lambda t, y, args, **_: process.has_crossed(y, sign),
            }
        ),
        max_steps=plan.max_steps,
        adjoint=plan.adjoint,
        throw=False,
    )
    W, energy, log_s, det_sign = solution.ys[0]
    end = jax.tree.map(lambda x: x[0], solution.ys[1])
    status = _status(solution, process.is_lost(end))
    factors = end if isinstance(end, tuple) else None
    return DiffusionResult(solution.ts[0], W, energy, log_s, det_sign, status, factors)


def _status(solution: dfx.Solution, lost: Array) -> Array:
    """Why a chain ended, from diffrax's word, the events, and whether its last state is lost."""
    events = solution.event_mask
    assert events is not None
    failed, crossed = events["failed"], events["crossed"]
    ended = (solution.result == dfx.RESULTS.successful) & ~failed & ~crossed
    status = jnp.asarray(Status.failed, jnp.int32)
    out_of_steps = solution.result == dfx.RESULTS.max_steps_reached
    status = jnp.where(out_of_steps, Status.max_steps, status)
    status = jnp.where(ended, Status.reached_t1, status)
    status = jnp.where(crossed, Status.crossed, status)
    return jnp.where(failed | lost, Status.failed, status)


def _path(
    plan: DiffusionPlan, shape: PyTree[jax.ShapeDtypeStruct], key: Array
) -> dfx.AbstractBrownianPath:
    """Plain increments for our own steps.

    The Brownian tree for a solver or a controller of the user's.
    """
    if plan.solver is None and isinstance(plan.controller, dfx.StepTo):
        return Path(shape, key)
    area = getattr(plan.solver, "minimal_levy_area", dfx.BrownianIncrement)
    return dfx.VirtualBrownianTree(
        plan.t0, plan.t1, tol=plan.dt / 1024, shape=shape, key=key, levy_area=area
    )


def finish(result: DiffusionResult, single: bool, plan: DiffusionPlan) -> DiffusionResult:
    """Without the axes that were not asked for: of saved times, and of chains."""
    plain = not is_traced(result)
    if plain:  # in NumPy: eager JAX would compile each of these
        result = jax.tree.map(np.asarray, result)
    if plan.saveat is None:
        result = dataclasses.replace(
            result,
            ts=result.ts[:, 0],
            W=result.W[:, 0],
            energy=None if result.energy is None else result.energy[:, 0],
            log_singular_values=result.log_singular_values[:, 0],
            det_sign=result.det_sign[:, 0],
        )
    if single:
        result = jax.tree.map(lambda x: x[0], result)
    return jax.tree.map(jax.device_put, result) if plain else result


def _checked_saveat(saveat: ArrayLike | dfx.SaveAt | None) -> dfx.SaveAt | None:
    if saveat is None:
        return None
    if not isinstance(saveat, dfx.SaveAt):
        if np.ndim(saveat) != 1 or np.size(saveat) == 0:
            raise InputError(
                f"saveat must hold at least one time, in one axis, got shape {np.shape(saveat)}."
            )
        saveat = dfx.SaveAt(ts=saveat)  # type: ignore[arg-type]
    if not isinstance(saveat.subs, dfx.SubSaveAt) or saveat.dense:
        raise InputError("saveat must be times or a diffrax.SaveAt with t0, t1, ts or steps alone.")
    return saveat
