"""Gradient flows of deep linear networks: downstairs on W at any depth, and upstairs on the
factors, both on diffrax.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import check_depth, check_matrix, check_tolerance, is_traced
from ..errors import CriticalPointError, ImbalanceWarning, InputError, PrecisionError
from ..geometry.kernel import inverse_depth
from ..geometry.point import LogSVD
from ..status import Status
from .coordinates import Dense, Factors, Problem, Svd, Thin
from .factors import check_factors, imbalance
from .solve import (
    SEPARATED,
    FlowResult,
    Options,
    Stops,
    finish,
    integrate,
    is_small,
    join,
    stationarity,
)

Energy = Callable[[Float[Array, "m n"]], Float[Array, ""]]


def gradient_flow(
    energy: Energy,
    W0: ArrayLike | LogSVD,
    depth: ArrayLike,
    *,
    t0: ArrayLike = 0.0,
    t1: ArrayLike = math.inf,
    saveat: ArrayLike | dfx.SaveAt | None = None,
    stop_energy: ArrayLike | None = None,
    stop_gradient: ArrayLike | None = None,
    weight_decay: ArrayLike = 0.0,
    chart: str = "auto",
    rtol: float | None = None,
    atol: float | None = None,
    bulk: ArrayLike = 0.0,
    solver: dfx.AbstractSolver | None = None,
    stepsize_controller: dfx.AbstractStepSizeController | None = None,
    max_steps: int = 200_000,
    adjoint: dfx.AbstractAdjoint | None = None,
) -> FlowResult:
    """The Riemannian gradient flow of a deep linear network on its end-to-end matrix,

        Ẇ = −A_{N,W}(E′(W)) − λ W,    W(t0) = W0,

    which training from a balanced start follows; λ is the weight decay of the factors. Time as in
    [CMV]: it is N times the time of plain gradient descent on the factors.

    **Arguments**

    - ``energy``: any differentiable function W ↦ scalar; see `Completion` and `Sensing`.
    - ``W0``: the start, m×n, or a `LogSVD` (for instance ``result.end`` of an earlier flow).
    - ``depth``: real N ≥ 1 or ``math.inf``.
    - ``t1``: where to end; infinity by default, which needs a stop.
    - ``saveat``: times, or a `diffrax.SaveAt` (its ``ts``, ``t0``, ``t1``, ``steps``); by default
      the end alone.
    - ``stop_energy``: stop where E falls to this. ``stop_gradient``: stop where ‖grad E‖_g falls to
      this times ‖W‖_F^{1−1/N} (at N = 1 the Euclidean gradient norm; the power makes up for the
      slow start from a small W0). If t1 is infinite and neither is given, ``stop_gradient`` is
      ``10 rtol`` times its value at W0.
    - ``weight_decay``: λ ≥ 0; the flow descends E + (λN/2) Σ σ_i^{2/N} (N = ∞: E + λ Σ log σ_i).
    - ``chart``: "auto", "dense", "svd" or "thin". "svd" integrates (U, log σ, V): it keeps rank and
      the sign of det W exactly, and needs N ≥ 2 and distinct singular values. "auto" starts dense
      at (near) ties and for a large W, and changes to "svd" when singular values have separated (up
      to 64 numbers in U, σ, V) or become too small for dense arithmetic; inside ``jit`` or ``vmap``
      name one. For a large W whose small singular values do not matter, "dense" takes fewer steps.
      "thin" is the fast one for a W0 of low rank k, integrating two frames and a k×k core.
    - ``rtol``, ``atol``: of the adaptive steps; ``rtol`` is 1e−6 by default (float32: 1e−4). In the
      SVD chart they bound the errors of log σ and of the frames; there ``atol`` is ``rtol`` by
      default, in the dense chart ``rtol`` times ‖W0‖.
    - ``bulk``: in the charts "svd" and "thin", the singular value of every direction outside the k
      that W0 has (0: they are zero, exactly; else to first order, and a W that is not square counts
      as padded to one that is).
    - ``solver``, ``stepsize_controller``, ``max_steps``, ``adjoint``: diffrax's; by default a PID
      controller with Tsit5, or, in the SVD chart of a small W (up to 64 numbers), with Kvaerno3 or
      5: completion problems are stiff.

    **Returns** a `FlowResult`, always with a ``status``: a flow that did not reach a stop says so
    and gives its last point.

    **Raises** `DepthError`; `CriticalPointError` for W0 = 0 at N > 1; `PrecisionError` where the
    dtype cannot carry rtol or the small singular values; `InputError` for anything else that is out
    of range.

    **Source**: Cohen, Menon, Veraszto 2023; Arora, Cohen, Hazan 2018; the SVD chart: Bah et al.
    2019 and Arora et al. 2019, Thm 3.

    >>> import deeplinear as dl, jax.numpy as jnp
    >>> energy = dl.Completion([0, 0, 1], [0, 1, 0], [2.0, 1.0, 1.0], (2, 2))  # w22 is missing
    >>> flow = dl.gradient_flow(energy, jnp.array([[0.012, 0.003], [-0.004, 0.011]]), depth=3, stop_energy=1e-10, rtol=1e-4)
    >>> dl.Status[flow.status]
    'The energy fell to stop_energy.'
    >>> bool(abs(flow.W[1, 1] - 0.5) < 0.01)  # rank one: 1·1/2
    True
    """
    check_depth(depth, scalar=True)
    if isinstance(W0, LogSVD):
        point, W = _checked(W0), None
    else:
        W = check_matrix(W0, "W0")
        point = _factored(W)
    dtype = point.log_s.dtype
    options = _options(
        energy,
        (W0, depth, t0, t1, saveat, stop_energy, stop_gradient, weight_decay),
        dtype,
        t0,
        t1,
        saveat,
        rtol,
        atol,
        solver,
        stepsize_controller,
        max_steps,
        adjoint,
    )
    first, then = _choose_charts(point, W, depth, chart, options.rtol)
    if first is not Dense and W is not None and not is_traced(W):
        point = _trimmed(point)
    y0 = W if first is Dense and W is not None else first.start(point)
    problem = _problem(energy, inverse_depth(depth, dtype), weight_decay, bulk, options.rtol, dtype)
    stops = _stops(first, problem, y0, stop_energy, stop_gradient, options)
    if then is None:
        return finish(integrate(first, problem, y0, stops, options), options)
    rank = _trimmed(point).log_s.size
    separating = Stops(
        stops.energy, stops.gradient, rank, separation(point), smallest_dense(options.rtol)
    )
    leg = integrate(first, problem, y0, separating, options, last=False)
    if leg.status != Status.chart and not leg.converged:
        options = dataclasses.replace(options, max_steps=1)  # it gave up, and so does the rest
    if leg.status != Status.chart:
        then = first  # it ended in the first chart: what is left is to save the end
    rest = integrate(then, problem, then.start(_trimmed(leg.end)), stops, _after(options, leg))
    whole = join(leg, rest)
    if leg.status != Status.chart:
        whole = dataclasses.replace(whole, status=leg.status)
    return finish(whole, options)


def factor_flow(
    energy: Energy,
    factors: Sequence[Array | np.ndarray],
    *,
    t0: ArrayLike = 0.0,
    t1: ArrayLike = math.inf,
    saveat: ArrayLike | dfx.SaveAt | None = None,
    stop_energy: ArrayLike | None = None,
    stop_gradient: ArrayLike | None = None,
    weight_decay: ArrayLike = 0.0,
    rtol: float | None = None,
    atol: float | None = None,
    solver: dfx.AbstractSolver | None = None,
    stepsize_controller: dfx.AbstractStepSizeController | None = None,
    max_steps: int = 200_000,
    adjoint: dfx.AbstractAdjoint | None = None,
) -> FlowResult:
    """The gradient flow of the factors of a deep linear network (training it, with infinitely small
    steps),

        Ẇ_p = −(1/N) ((W_N ⋯ W_{p+1})ᵀ E′(W) (W_{p−1} ⋯ W_1)ᵀ + λ W_p),    W = W_N ⋯ W_1.

    From balanced factors W follows `gradient_flow` at depth N exactly, in the same time. Each
    evaluation costs some matrix products and no factorization: for integer depth and moderate
    accuracy this is the fast way.

    **Arguments**: ``factors`` = (W_1, …, W_N), W_1 first; see `balanced_factors`. The others as for
    `gradient_flow`; ``atol`` is ``rtol`` times the mean entry of the factors by default.

    **Returns** a `FlowResult`, whose ``factors`` are the last ones.

    **Warns** `ImbalanceWarning` where the factors are not balanced: then W follows another flow.

    **Raises** as `gradient_flow`; `CriticalPointError` where two or more factors vanish.

    **Source**: Arora, Cohen, Hazan 2018.

    >>> import deeplinear as dl, jax, jax.numpy as jnp
    >>> energy = dl.Completion([0, 0, 1], [0, 1, 0], [2.0, 1.0, 1.0], (2, 2))
    >>> W0 = jnp.array([[0.012, 0.003], [-0.004, 0.011]])
    >>> flow = dl.factor_flow(energy, dl.balanced_factors(W0, 3, jax.random.key(0)), stop_energy=1e-10, rtol=1e-4)
    >>> len(flow.factors), bool(abs(flow.W[1, 1] - 0.5) < 0.01)
    (3, True)
    """
    y0 = check_factors(factors)
    dtype = jnp.result_type(*y0)
    if not is_traced(y0):
        if sum(not np.any(W) for W in y0) > 1:
            raise CriticalPointError(
                "factors must not vanish: two or more are zero, a critical point that training "
                "never leaves."
            )
        scale = max(float(np.linalg.norm(W)) ** 2 for W in y0)
        gap = float(imbalance(y0))
        if gap > 1e3 * float(jnp.finfo(dtype).eps) * scale:
            warnings.warn(
                f"factors are not balanced (imbalance {gap:.2e} beside a squared norm of "
                f"{scale:.2e}): their product does not "
                "follow gradient_flow; balanced_factors(W, depth) makes balanced ones.",
                ImbalanceWarning,
                stacklevel=2,
            )
    options = _options(
        energy,
        (y0, t0, t1, saveat, stop_energy, stop_gradient, weight_decay),
        dtype,
        t0,
        t1,
        saveat,
        rtol,
        atol,
        solver,
        stepsize_controller,
        max_steps,
        adjoint,
    )
    nu = inverse_depth(len(y0), dtype)
    problem = _problem(energy, nu, weight_decay, 0.0, options.rtol, dtype)
    stops = _stops(Factors, problem, y0, stop_energy, stop_gradient, options)
    return finish(integrate(Factors, problem, y0, stops, options), options)


def _factored(W: Array) -> LogSVD:
    """`LogSVD.of`, in NumPy where values can be seen: eager JAX operations would each be compiled
    first.
    """
    if is_traced(W):
        return LogSVD.of(W)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    with np.errstate(divide="ignore"):
        return LogSVD(*map(jnp.asarray, (U, np.log(s), Vt)))


def _checked(point: LogSVD) -> LogSVD:
    """A start that the user gives as a `LogSVD`: shapes that fit, no NaN, singular values that are
    zero left out.
    """
    U, log_s, Vt = (jnp.asarray(x) for x in (point.U, point.log_s, point.Vt))
    if not (U.ndim == Vt.ndim == 2 and log_s.shape == (U.shape[1],) == (Vt.shape[0],)):
        raise InputError(
            f"W0 must have U, log_s, Vt of shapes (m, k), (k,), (k, n), got {U.shape}, "
            f"{log_s.shape}, {Vt.shape}."
        )
    if is_traced(point):
        return LogSVD(U, log_s, Vt)
    if not (
        np.isfinite(U).all() and np.isfinite(Vt).all() and (np.asarray(log_s) < math.inf).all()
    ):
        raise InputError("W0 must be finite, got NaN or infinite entries in its LogSVD.")
    keep = np.flatnonzero(np.asarray(log_s) > -math.inf)
    if keep.size == 0:
        raise CriticalPointError(
            "W0 must not vanish: W = 0 is critical at every depth > 1; start from small random "
            "entries."
        )
    return LogSVD(U[:, keep], log_s[keep], Vt[keep])


def _trimmed(point: LogSVD) -> LogSVD:
    """Without singular values at the rounding noise of a dense matrix, max(m, n) times machine
    precision below σ_1.
    """
    log_s = np.asarray(point.log_s)
    size = max(point.U.shape[0], point.Vt.shape[1])
    rank = int(np.sum(log_s > log_s[0] + math.log(size * float(np.finfo(log_s.dtype).eps))))
    return LogSVD(point.U[:, :rank], point.log_s[:rank], point.Vt[:rank])


def _choose_charts(
    point: LogSVD, W: Array | None, depth: Any, chart: str, rtol: float
) -> tuple[Any, Any]:
    """The chart to start in and the one to change to (or None); checks ``chart`` and the size of
    the start.
    """
    charts: dict[str, Any] = {"dense": Dense, "svd": Svd, "thin": Thin}
    if chart != "auto" and chart not in charts:
        raise InputError(f"chart must be 'auto', 'dense', 'svd' or 'thin', got {chart!r}.")
    if is_traced(point, depth):
        if chart == "auto":
            raise InputError(
                "chart must be named inside jit or vmap ('svd' or 'dense'), where 'auto' cannot "
                "look at W0."
            )
        return charts[chart], None
    N, log_s = float(depth), np.asarray(point.log_s)
    if N > 1 and not log_s[0] > -math.inf:
        raise CriticalPointError(
            "W0 must not vanish: W = 0 is critical at every depth > 1; start from small random "
            "entries."
        )
    _check_underflow(float(log_s[0]), N, log_s.dtype)
    if N < 2 and chart in ("svd", "thin"):
        raise InputError(
            f"chart must be 'dense' or 'auto' for depth < 2 (got {N:g}), where singular values "
            "cross zero."
        )
    if chart != "auto":
        return charts[chart], None
    if N < 2:
        return Dense, None
    if W is None:
        return Svd, None
    kept = np.asarray(_trimmed(point).log_s)
    separated = np.min(kept[:-1] - kept[1:], initial=math.inf) > separation(point)
    too_small = float(kept[-1] - kept[0]) < math.log(smallest_dense(rtol))
    return (Svd, None) if separated or too_small else (Dense, Svd)


def smallest_dense(rtol: float) -> float:
    """The ratio σ_k/σ_1 below which the errors of dense steps, of size rtol σ_1, come too close to
    σ_k.
    """
    return min(1e-2, 100 * rtol)


def separation(point: LogSVD) -> float:
    """The gap of log σ from which on the SVD chart is the better one. For a large W it never is
    while dense arithmetic will do: among many singular values some pair is always close, and turns
    fast.
    """
    return SEPARATED if is_small(Svd.start(point)) else math.inf


def _check_underflow(largest: float, N: float, dtype: Any) -> None:
    """float32 stalls silently where the kernel σ_1^{2−2/N} of the start is below its range: say so
    instead.
    """
    if N > 1 and (2 - 2 / N) * largest < math.log(float(np.finfo(dtype).tiny)):
        raise PrecisionError(
            f"W0 is too small for {np.dtype(dtype).name} at depth {N:g} (σ_1^(2−2/N) = "
            f"e^{(2 - 2 / N) * largest:.0f} underflows): "
            "take a larger start, or float64 (jax.config.update('jax_enable_x64', True))."
        )


def _problem(
    energy: Energy, nu: Array, weight_decay: ArrayLike, bulk: ArrayLike, tie: float, dtype: Any
) -> Problem:
    if not callable(energy):
        raise InputError(
            "energy must be a function of W, such as dl.Completion(...), got "
            f"{type(energy).__name__}."
        )
    for name, value in (("weight_decay", weight_decay), ("bulk", bulk)):
        if not is_traced(value) and not 0 <= float(np.asarray(value)) < math.inf:
            raise InputError(f"{name} must be finite and ≥ 0, got {value!r}.")
    as_array = lambda x: jnp.asarray(x, dtype)  # noqa: E731
    return Problem(energy, nu, as_array(weight_decay), jnp.log(as_array(bulk)), as_array(tie))


def _options(
    energy: Energy,
    arrays: tuple[Any, ...],
    dtype: Any,
    t0: ArrayLike,
    t1: ArrayLike,
    saveat: ArrayLike | dfx.SaveAt | None,
    rtol: float | None,
    atol: float | None,
    solver: dfx.AbstractSolver | None,
    controller: dfx.AbstractStepSizeController | None,
    max_steps: int,
    adjoint: dfx.AbstractAdjoint | None,
) -> Options:
    if rtol is None:
        rtol = 1e-6 if dtype == jnp.float64 else 1e-4
    check_tolerance(rtol, dtype, "rtol")
    t0, t1 = jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)
    if not is_traced(t0, t1) and not t1 > t0:
        raise InputError(f"t1 must be later than t0 = {float(t0):g}, got {float(t1):g}.")
    if not is_traced(t0) and not jnp.isfinite(t0):
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
    if not isinstance(max_steps, int) or max_steps < 1:
        raise InputError(f"max_steps must be a positive integer, got {max_steps!r}.")
    if adjoint is None:
        # What nobody can differentiate needs no checkpoints, and compiles faster. A plain function
        # may close over a tracer.
        plain = isinstance(energy, eqx.Module) and not is_traced(energy, *arrays)
        adjoint = dfx.ForwardMode() if plain else dfx.RecursiveCheckpointAdjoint()
    return Options(
        t0,
        t1,
        saveat,
        rtol,
        atol,
        solver,
        controller,
        max_steps,
        adjoint,
    )


def _is_increasing(*times: ArrayLike) -> bool:
    return bool(np.all(np.diff(np.asarray(times, float)) >= 0))


def _after(options: Options, first: FlowResult) -> Options:
    """What is left to do after the first leg."""
    saveat = options.saveat
    if saveat is not None:
        subs = saveat.subs
        ts = None if subs.ts is None else subs.ts[subs.ts > first.t_end]
        saveat = dfx.SaveAt(
            t0=False, t1=subs.t1, ts=None if ts is None or not ts.size else ts, steps=subs.steps
        )
    return dataclasses.replace(options, t0=first.t_end, saveat=saveat)


def _stops(
    chart: Any, problem: Problem, y0: Any, energy: Any, gradient: Any, options: Options
) -> Stops:
    for name, value in (("stop_energy", energy), ("stop_gradient", gradient)):
        if value is not None and not is_traced(value) and not value > 0:
            raise InputError(f"{name} must be positive, got {value!r}.")
    if energy is None and gradient is None and not is_traced(options.t1) and math.isinf(options.t1):
        # not below the rounding of the gradient, for a start that is a minimizer already
        noise = 100 * jnp.finfo(problem.nu.dtype).eps * jnp.linalg.norm(chart.matrix(y0))
        gradient = jnp.maximum(10 * options.rtol * stationarity(chart, y0, problem), noise)
        if not (is_traced(gradient) or jnp.isfinite(gradient)):
            raise InputError(
                "energy must have a finite value and gradient at the start, got NaN or infinity "
                "there."
            )
    as_array = lambda x: None if x is None else jnp.asarray(x, problem.nu.dtype)  # noqa: E731
    return Stops(as_array(energy), as_array(gradient))
