"""Times, tolerances, solver and step control of a flow, as diffrax takes them; checked here."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, PyTree

from ..checks import as_array, check_integer, check_tolerance, is_traced
from ..energies import Energy
from ..errors import InputError
from .coordinates import AbstractCoordinates, State, SvdCoordinates
from .implicit_steps import LinearlyImplicit

# States of at most SMALL numbers are stepped implicitly in the SVD chart from the start: completion
# problems are stiff near their limits, and a second program costs more than all steps do. Up to
# MODERATE implicit steps are worth their dense Jacobian where the first EXPLICIT ones have not
# arrived. (Those of diffrax, measured: from starts of the size of the data or smaller explicit
# steps are fewer by a factor of five and more accurate; from larger ones they never end.)
SMALL, MODERATE, EXPLICIT = 64, 400, 1000
# Up to this many entries, an LU factorization of that size in each step is worth its cost. (30×30:
# limits in 1,100 steps and 50 … 80 CPU seconds which 200,000 explicit ones do not come to.)
LARGE = 1600


def is_small(y: PyTree[Array], limit: int = SMALL) -> bool:
    """Whether a state has at most ``limit`` numbers."""
    return sum(x.size for x in jax.tree.leaves(y)) <= limit


class StepControl(dfx.PIDController):
    """diffrax's PID controller, with errors relative to where the flow is, and an end.

    ``size``: of a state, which the absolute tolerance is ``rtol`` times, at each step anew: W may
    end far smaller than it starts. None: ``atol`` as it is.

    It ends where the steps no longer change the time. Where the velocity is not finite every step
    is rejected, and they would shrink until the last of ``max_steps``.
    """

    size: Callable[..., Array | float] | None = eqx.field(static=True, default=None)

    def adapt_step_size(
        self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
    ):
        here = self if self.size is None else replace(self, atol=self.rtol * self.size(y0))
        keep, next_t0, next_t1, jump, state, result = dfx.PIDController.adapt_step_size(
            here, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
        )
        moves = next_t1 - next_t0 > 4 * jnp.finfo(jnp.result_type(next_t0)).eps * jnp.abs(next_t0)
        vanished = ~keep & ~moves
        result = dfx.RESULTS.where(vanished, dfx.RESULTS.dt_min_reached, result)
        return keep, next_t0, next_t1, jump, state, result


class Wanted(TypedDict):
    """The arguments of a `diffrax.SubSaveAt`."""

    t0: bool
    t1: bool
    ts: Array | None
    steps: int


def saved_times(saveat: dfx.SaveAt | None) -> Wanted:
    """The times that a SaveAt (checked: without subs) asks for; None: the end alone."""
    if saveat is None:
        return {"t0": False, "t1": True, "ts": None, "steps": 0}
    subs = saveat.subs
    return {"t0": subs.t0, "t1": subs.t1, "ts": subs.ts, "steps": subs.steps}


class FlowOptions(eqx.Module):
    """Everything that is handed to diffrax. A tolerance that is None is the chart's own.

    ``asked``: the ``rtol`` that was asked for, which chooses the solvers. ``start``: when the flow
    began; ``t0``: when this part of it does.
    """

    start: Array
    t0: Array
    t1: Array
    saveat: dfx.SaveAt | None
    rtol: Array
    asked: float = eqx.field(static=True)
    atol: float | Array | None
    solver: dfx.AbstractSolver | None
    controller: dfx.AbstractStepSizeController | None
    max_steps: int = eqx.field(static=True)
    adjoint: dfx.AbstractAdjoint

    def step_control(
        self,
        chart: AbstractCoordinates[State],
        y0: State,
        whole: Callable[[PyTree[Array]], State],
    ) -> dfx.AbstractStepSizeController:
        """The user's, or that of the tolerances; ``whole`` makes a state of what is stepped."""
        if self.controller is not None:
            return self.controller
        if chart.absolute:
            # a hundredth of it relative: log σ of −10⁹ has no six digits after the point
            atol = self.rtol * chart.scale(y0) if self.atol is None else self.atol
            return StepControl(rtol=self.rtol / 100, atol=atol)
        if self.atol is not None:
            return StepControl(rtol=self.rtol, atol=self.atol)
        atol = self.rtol * chart.scale(y0)
        return StepControl(rtol=self.rtol, atol=atol, size=lambda y: chart.scale(whole(y)))

    def solvers(
        self,
        chart: AbstractCoordinates[State],
        y0: State,
        traced: bool,
        *,
        last: bool = True,
        curved: bool = True,
    ) -> list[tuple[dfx.AbstractSolver, int]]:
        """The solvers in turn, each with its share of the steps: the user's, or explicit ones.

        Then implicit ones, where the coordinates say that they are safe and their Jacobian is not
        too large; or the next chart, where this is not the ``last``. Of small W of full rank
        linearly implicit ones at once. These need second derivatives of E: ``curved``.
        """
        if self.solver is not None:
            return [(self.solver, self.max_steps)]
        explicit = dfx.Dopri8() if self.asked < 1e-8 else dfx.Tsit5()
        if chart.implicit and is_small(y0) and self.asked >= 1e-8:
            if traced:
                return [(dfx.Kvaerno5(), self.max_steps)]
            if curved and _suits(chart, y0):
                return [(LinearlyImplicit(), self.max_steps)]
        if traced or self.max_steps <= EXPLICIT:
            return [(explicit, self.max_steps)]
        if not last:
            return [(explicit, EXPLICIT)]
        implicit = self._implicit(chart, y0, curved) if chart.implicit else None
        if implicit is None:
            return [(explicit, self.max_steps)]
        return [(explicit, EXPLICIT), (implicit, self.max_steps - EXPLICIT)]

    def _implicit(
        self, chart: AbstractCoordinates[State], y0: State, curved: bool
    ) -> dfx.AbstractSolver | None:
        if curved and _suits(chart, y0):
            return LinearlyImplicit()
        if is_small(y0, MODERATE):
            return dfx.Kvaerno3() if self.asked >= 1e-6 else dfx.Kvaerno5()
        return None

    def coarser(self, t1: Array) -> "FlowOptions":
        """The options of the same flow up to t1 with ten times the tolerance."""
        saveat = self.saveat
        if saveat is not None and saveat.subs.ts is not None:
            ts = jnp.asarray(np.minimum(saveat.subs.ts, t1))
            saveat = eqx.tree_at(lambda s: s.subs.ts, saveat, ts)
        atol = None if self.atol is None else 10 * self.atol
        rtol = as_array(10 * np.asarray(self.rtol), self.rtol.dtype)
        return replace(self, t1=t1, rtol=rtol, atol=atol, saveat=saveat)

    def after(self, t: Array) -> "FlowOptions":
        """The options from time t on."""
        saveat = self.saveat
        if saveat is not None:
            subs = saveat.subs
            ts = None if subs.ts is None else subs.ts[subs.ts > t]
            ts = None if ts is None or not ts.size else ts
            saveat = dfx.SaveAt(t0=False, t1=subs.t1, ts=ts, steps=subs.steps)
        return replace(self, t0=t, saveat=saveat)


def _suits(chart: AbstractCoordinates[State], y0: State) -> bool:
    """Whether linearly implicit steps are made for this state, and worth their factorizations."""
    return isinstance(chart, SvdCoordinates) and LinearlyImplicit.suits(y0, LARGE)


def make_options(
    energy: Energy,
    arrays: tuple[object, ...],
    dtype: DTypeLike,
    t0: ArrayLike,
    t1: ArrayLike,
    saveat: ArrayLike | dfx.SaveAt | None,
    rtol: float | None,
    atol: float | None,
    solver: dfx.AbstractSolver | None,
    controller: dfx.AbstractStepSizeController | None,
    max_steps: int,
    adjoint: dfx.AbstractAdjoint | None,
) -> FlowOptions:
    """The options of a flow, checked.

    ``arrays`` are those that its result might be differentiated in.
    """
    if rtol is None:
        rtol = 1e-6 if dtype == jnp.float64 else 1e-4
    check_tolerance(rtol, dtype, "rtol")
    t0, t1 = as_array(t0, dtype), as_array(t1, dtype)
    if not is_traced(t0, t1) and not np.asarray(t1) > np.asarray(t0):
        raise InputError(f"t1 must be later than t0 = {float(t0):g}, got {float(t1):g}.")
    if not is_traced(t0) and not np.isfinite(t0):
        raise InputError(f"t0 must be finite, got {float(t0)}.")
    if atol is not None and not is_traced(atol) and not atol >= 0:
        raise InputError(f"atol must be ≥ 0, got {atol!r}.")
    if saveat is not None and not isinstance(saveat, dfx.SaveAt):
        times = jnp.atleast_1d(jnp.asarray(saveat, dtype))
        if times.ndim != 1 or times.size == 0:
            raise InputError(
                f"saveat must hold at least one time, in one axis, got shape {np.shape(saveat)}."
            )
        saveat = dfx.SaveAt(ts=times)
    if saveat is not None and (not isinstance(saveat.subs, dfx.SubSaveAt) or saveat.dense):
        raise InputError(
            "saveat must be times or a diffrax.SaveAt with t0, t1, ts or steps alone: subs and "
            "dense are not supported."
        )
    ts = None if saveat is None else saveat.subs.ts
    if ts is not None and not is_traced(ts, t0, t1) and not _is_increasing(t0, *ts, t1):
        raise InputError(
            f"saveat must hold increasing times between t0 = {float(t0):g} and t1 = {float(t1):g}."
        )
    max_steps = check_integer(max_steps, "max_steps")
    if adjoint is None:
        # What nobody can differentiate needs no checkpoints, and compiles faster. A plain function
        # may close over a tracer.
        plain = isinstance(energy, eqx.Module) and not is_traced(energy, *arrays)
        adjoint = dfx.ForwardMode() if plain else dfx.RecursiveCheckpointAdjoint()
    return FlowOptions(
        t0,
        t0,
        t1,
        saveat,
        as_array(rtol, dtype),
        rtol,
        atol,
        solver,
        controller,
        max_steps,
        adjoint,
    )


def _is_increasing(*times: ArrayLike) -> bool:
    return bool(np.all(np.diff(np.asarray(times, float)) >= 0))
