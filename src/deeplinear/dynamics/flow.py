"""Gradient flows of deep linear networks, by diffrax: of W at any depth, and of the factors.

Menon calls the flow of the product W the one *downstairs*, that of the factors *upstairs*.
"""

import dataclasses
import math
import warnings
from collections.abc import Sequence

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike

from ..checks import as_array, check_matrix, is_traced
from ..energies import Energy, check_energy
from ..errors import CriticalPointError, ImbalanceWarning, InputError
from ..geometry.kernel import inverse_depth
from ..geometry.leaf import Depth, Imbalance, Leaf, on_leaf
from ..geometry.point import LogSVD
from ..reals import one_real
from ..recorded import recorded
from . import factors as layers
from .charts import checked, choose_charts, factored, separation, smallest_dense, trimmed
from .coordinates import (
    AbstractCoordinates,
    DenseCoordinates,
    FactorCoordinates,
    FlowProblem,
    State,
)
from .factors import check_factors
from .flow_options import FlowOptions, make_options
from .results import FlowResult
from .solve import estimated
from .stops import Stops, gauge


def gradient_flow(
    energy: Energy,
    W0: ArrayLike | LogSVD,
    depth: ArrayLike,
    *,
    imbalance: Imbalance = 0.0,
    t0: ArrayLike = 0.0,
    t1: ArrayLike = math.inf,
    saveat: ArrayLike | dfx.SaveAt | None = None,
    stop_energy: ArrayLike | None = None,
    stop_gradient: ArrayLike | None = None,
    weight_decay: ArrayLike = 0.0,
    chart: str | AbstractCoordinates = "auto",
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
    - ``imbalance``: training from factors on the isotropic leaf of (c_1, …, c_N), or of a number δ
      for c_p = (p − 1)δ (see `leaf_factors`): A is that of `Operator` there. Where one c_p is the
      least, singular values cross zero, as at N = 1.
    - ``t1``: where to end; infinity by default, which needs a stop.
    - ``saveat``: times, or a `diffrax.SaveAt` (its ``ts``, ``t0``, ``t1``, ``steps``); by default
      the end alone.
    - ``stop_energy``: stop where E falls to this. ``stop_gradient``: stop where what of E′(W) moves
      W falls to this, in the Frobenius norm. A small singular value that grows counts in full, so
      that a plateau is no limit; one that falls with no more than it still contributes to E′. If t1
      is infinite and neither is given, the flow stops where this is 10 ``rtol`` of the terms of E′,
      max(‖E′(W)‖, ‖E″(W) W‖). A stop that lies below the limit, or below rounding, ends as
      `Status.at_rest`.
    - ``weight_decay``: λ ≥ 0; the flow descends E + (λN/2) Σ σ_i^{2/N} (N = ∞: E + λ Σ log σ_i).
    - ``chart``: "auto", "dense", "svd" or "thin". "svd" integrates (U, log σ, V): it keeps rank and
      the sign of det W exactly, and needs N ≥ 2 and distinct singular values. "auto" starts dense
      at (near) ties and for a large W, and changes to "svd" when singular values have separated (up
      to 64 numbers in U, σ, V), become too small for dense arithmetic, or after 1,000 steps; inside
      ``jit`` or ``vmap`` name one. For a large W whose small singular values do not matter, "dense"
      takes fewer steps. "thin" is the fast one for a W0 of low rank k, integrating two frames and a
      k×k core. Others are instances of `AbstractCoordinates`.
    - ``rtol``, ``atol``: of the adaptive steps; ``rtol`` is 1e−6 by default (float32: 1e−4). In the
      SVD chart they bound the errors of log σ and of the frames; there ``atol`` is ``rtol`` by
      default, in the dense chart ``rtol`` times the mean entry of W at each step.
    - ``bulk``: in the charts "svd" and "thin", the singular value of every direction outside the k
      that W0 has (0: they are zero, exactly; else to first order, and a W that is not square counts
      as padded to one that is).
    - ``solver``, ``stepsize_controller``, ``max_steps``, ``adjoint``: diffrax's; by default a PID
      controller. In the SVD chart a square W of full rank up to 5×5 takes linearly implicit steps
      with the exact Jacobian (Rodas5P): completion problems are stiff, near their limits above all.
      Others start with Tsit5 (``rtol`` < 1e−8: all, with Dopri8); after 1,000 steps implicit ones
      take over there, of a square W of full rank up to 40×40 the same, of others up to 400 numbers
      in U, σ, V diffrax's. Inside ``jit``, ``vmap`` and ``grad`` of a small W (up to 64) all steps
      are implicit, by Kvaerno5.

    **Returns** a `FlowResult`, always with a ``status``: a flow that did not reach a stop says so
    and gives its last point.

    **Raises** `DepthError`; `CriticalPointError` for W0 = 0 at N > 1; `PrecisionError` where the
    dtype cannot carry rtol or the small singular values; `InputError` for anything else that is out
    of range.

    **Source**: Cohen, Menon, Veraszto 2023; Arora, Cohen, Hazan 2018; the SVD chart: Bah et al.
    2019 and Arora et al. 2019, Thm 3.

    >>> import deeplinear as dl, jax.numpy as jnp
    >>> energy = dl.Completion.from_dense(jnp.array([[2.0, 1.0], [1.0, jnp.nan]]))
    >>> W0 = jnp.array([[0.012, 0.003], [-0.004, 0.011]])
    >>> flow = dl.gradient_flow(energy, W0, depth=3, stop_energy=1e-10, rtol=1e-4)
    >>> dl.Status[flow.status]
    'The energy fell to stop_energy.'
    >>> bool(abs(flow.W[1, 1] - 0.5) < 0.01)  # rank one: 1·1/2
    True
    """
    if isinstance(W0, LogSVD):
        point, W = checked(W0), None
    else:
        W = check_matrix(W0, "W0")
        point = factored(W)
    metric = on_leaf(depth, imbalance, shape=point.shape, scalar=True)
    if isinstance(metric, Leaf) and (is_traced(weight_decay) or np.any(weight_decay)):
        raise InputError(
            "weight_decay must be 0 beside an imbalance, which it lets decay: follow factor_flow "
            "from leaf_factors instead."
        )
    dtype = check_energy(energy, point.shape, point.log_s.dtype)
    energy = recorded(energy, point.shape, dtype)
    if dtype != point.log_s.dtype:
        W = W if W is None else W.astype(dtype)
        point = jax.tree.map(lambda x: x.astype(dtype), point) if W is None else factored(W)
    options = make_options(
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
    first, then = choose_charts(point, W, metric, chart, options.asked)
    # Dense steps start from W itself, not from the product of its factorization.
    dense = isinstance(first, DenseCoordinates)
    if not dense and W is not None and not is_traced(W):
        point = trimmed(point)
    y0 = W if dense and W is not None else first.start(point)
    nu = inverse_depth(metric, dtype)
    problem = _problem(energy, nu, weight_decay, bulk, options.rtol, dtype)
    stops, traced = _stops(first, problem, y0, stop_energy, stop_gradient, options)
    charts = [(first, stops)]
    if then is not None and not traced:
        # dense until the singular values have separated
        separating = dataclasses.replace(
            stops,
            leave_dense=trimmed(point).log_s.size,
            separation=separation(point),
            smallest_dense=smallest_dense(options.asked),
        )
        charts = [(first, separating), (then, stops)]
    found = estimated(charts, problem, y0, options, traced)
    N = metric.c.size if isinstance(metric, Leaf) else depth
    return dataclasses.replace(found, depth=N)


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
    """The gradient flow of the factors: training a deep linear network in infinitely small steps,

        Ẇ_p = −(1/N) ((W_N ⋯ W_{p+1})ᵀ E′(W) (W_{p−1} ⋯ W_1)ᵀ + λ W_p),    W = W_N ⋯ W_1.

    From balanced factors W follows `gradient_flow` at depth N exactly, in the same time. Each
    evaluation costs some matrix products and no factorization: for integer depth and moderate
    accuracy this is the fast way.

    **Arguments**: ``factors`` = (W_1, …, W_N), W_1 first; see `balanced_factors`. The others as for
    `gradient_flow`; ``atol`` is ``rtol`` times the mean entry of the factors by default.

    **Returns** a `FlowResult`, whose ``factors`` are the last ones.

    **Warns** `ImbalanceWarning` where the factors are not balanced: then W follows another flow,
    that of the leaf which the warning names, or none of W alone.

    **Raises** as `gradient_flow`; `CriticalPointError` where two or more factors vanish.

    **Source**: Arora, Cohen, Hazan 2018.

    >>> import deeplinear as dl, jax, jax.numpy as jnp
    >>> energy = dl.Completion.from_dense(jnp.array([[2.0, 1.0], [1.0, jnp.nan]]))
    >>> W0 = jnp.array([[0.012, 0.003], [-0.004, 0.011]])
    >>> factors = dl.balanced_factors(W0, 3, jax.random.key(0))
    >>> flow = dl.factor_flow(energy, factors, stop_energy=1e-10, rtol=1e-4)
    >>> len(flow.factors), bool(abs(flow.W[1, 1] - 0.5) < 0.01)
    (3, True)
    """
    y0 = check_factors(factors)
    shape = y0[-1].shape[0], y0[0].shape[1]
    dtype = check_energy(energy, shape, y0[0].dtype)
    energy = recorded(energy, shape, dtype)
    gap = math.inf if is_traced(y0) else float(layers.imbalance(y0))
    if not is_traced(y0):
        if sum(not np.any(W) for W in y0) > 1:
            raise CriticalPointError(
                "factors must not vanish: two or more are zero, a critical point that training "
                "never leaves."
            )
        scale = max(float(np.linalg.norm(W)) ** 2 for W in y0)
        # in their own precision, which their balance is as good as
        if gap > 1e3 * float(jnp.finfo(y0[0].dtype).eps) * scale:
            leaf = layers.imbalances(y0).leaf
            if leaf is not None and shape[0] != shape[1] and leaf[0 if shape[0] < shape[1] else -1]:
                leaf = None  # λ^c alone is not its metric
            c = None if leaf is None else ", ".join(f"{x:.6g}" for x in leaf)
            follows = (
                "does not follow gradient_flow, on no leaf of it; balanced_factors(W, depth) makes "
                "balanced ones"
                if c is None
                else f"follows gradient_flow with imbalance=({c}) as long as nothing decays"
            )
            warnings.warn(
                f"factors are not balanced (imbalance {gap:.2e} beside a squared norm of "
                f"{scale:.2e}): their product {follows}.",
                ImbalanceWarning,
                stacklevel=2,
            )
        else:
            gap = math.inf
    y0 = tuple(W.astype(dtype) for W in y0)
    options = make_options(
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
    problem = dataclasses.replace(problem, imbalance=as_array(gap, dtype))
    chart = FactorCoordinates(len(y0))
    stops, traced = _stops(chart, problem, y0, stop_energy, stop_gradient, options)
    found = estimated([(chart, stops)], problem, y0, options, traced)
    return dataclasses.replace(found, depth=len(y0))


def _problem(
    energy: Energy,
    nu: Depth,
    weight_decay: ArrayLike,
    bulk: ArrayLike,
    tie: Array,
    dtype: DTypeLike,
) -> FlowProblem:
    for name, value in (("weight_decay", weight_decay), ("bulk", bulk)):
        if not is_traced(value) and not 0 <= one_real(value) < math.inf:
            raise InputError(f"{name} must be finite and ≥ 0, got {value!r}.")
    with np.errstate(divide="ignore"):
        log_bulk = jnp.log(jnp.asarray(bulk, dtype)) if is_traced(bulk) else np.log(bulk)
    decay, log_bulk, tie = (as_array(x, dtype) for x in (weight_decay, log_bulk, tie))
    return FlowProblem(energy, nu, decay, log_bulk, tie)


def _stops(
    chart: AbstractCoordinates[State],
    problem: FlowProblem,
    y0: State,
    energy: ArrayLike | None,
    gradient: ArrayLike | None,
    options: FlowOptions,
) -> tuple[Stops, bool]:
    """The stops, and whether anything is traced (an energy may close over a tracer)."""
    for name, value in (("stop_energy", energy), ("stop_gradient", gradient)):
        if value is not None and not is_traced(value) and not one_real(value) > 0:
            raise InputError(f"{name} must be positive, got {value!r}.")
    start = gauge(chart, y0, problem)
    traced = is_traced(start)
    if not traced and not (np.isfinite(start.energy) and np.isfinite(start.motion)):
        raise InputError(
            "energy must have a finite value and gradient at the start, got NaN or infinity there."
        )
    endless = not is_traced(options.t1) and math.isinf(options.t1)
    energy, gradient = (
        None if x is None else as_array(x, problem.nu.dtype) for x in (energy, gradient)
    )
    stops = Stops(energy, gradient, start.slope, endless, options.rtol)
    return stops, traced
