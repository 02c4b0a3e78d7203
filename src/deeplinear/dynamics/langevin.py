"""Brownian motion and Langevin dynamics in the geometry of the deep linear network, by diffrax.

Of W (*downstairs*, as Menon calls it) and of the factors (*upstairs*).
"""

import functools
import math
from collections.abc import Sequence

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from ..checks import (
    RandomKey,
    as_array,
    check_depth,
    check_integer,
    check_key,
    check_matrix,
    is_traced,
)
from ..energies import Energy, check_energy
from ..errors import DepthError, InputError
from ..geometry.kernel import inverse_depth
from ..geometry.volume import entropy
from ..recorded import recorded
from .factors import check_factors, imbalance
from .langevin_factors import BalancedProcess
from .langevin_process import RootProcess, root_exponent
from .langevin_rectangular import RectangularRootProcess
from .langevin_solve import DiffusionPlan, DiffusionResult, finish, sample

__all__ = [
    "DiffusionResult",
    "brownian",
    "brownian_drift",
    "factor_langevin",
    "fibre_curvature",
    "langevin",
]


def brownian_drift(W: ArrayLike, depth: ArrayLike) -> Float[Array, "m n"]:
    """The Itô drift of Brownian motion (generator ½Δ_g) of g^N in the entries of W:

        ½ (1/√g) ∂_j (√g g^{ij}) = ½ (1 − 1/N) U Σ^{1−2/N} Vᵀ     (N = ∞: ½ W),

    in which the interactions between singular values cancel, and of W that is not square those with
    the edge too. **Normalization**: [CMV]. **Raises**
    `DepthError`, `InputError`; NaN at a singular W for N < 2, where it is infinite.

    >>> import numpy as np, deeplinear.dynamics.langevin
    >>> np.round(deeplinear.dynamics.langevin.brownian_drift(np.diag([4.0, 1.0]), 2), 3).tolist()
    [[0.25, 0.0], [0.0, 0.25]]
    """
    W = check_matrix(W)
    nu = inverse_depth(check_depth(depth, scalar=True), W.dtype)
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    return (1 - nu) / 2 * (U * s ** (1 - 2 * nu)) @ Vt


def brownian(
    W0: ArrayLike,
    depth: ArrayLike,
    *,
    t1: ArrayLike,
    dt: ArrayLike,
    key: RandomKey,
    t0: ArrayLike = 0.0,
    chains: int | None = None,
    at_zero: str = "cross",
    saveat: ArrayLike | dfx.SaveAt | None = None,
    solver: dfx.AbstractSolver | None = None,
    stepsize_controller: dfx.AbstractStepSizeController | None = None,
    max_steps: int | None = None,
    adjoint: dfx.AbstractAdjoint | None = None,
) -> DiffusionResult:
    """Brownian motion of the metric g^N: the process with generator ½Δ_g, in Itô's form

        dW = A_{N,W}^{1/2} dB + ½ (1 − 1/N) U Σ^{1−2/N} Vᵀ dt     (N = ∞: ½ W dt).

    It is `langevin` without energy at β = 2. **Arguments**, **Returns**, **Raises**,
    **Normalization**: see there.

    **Source**: Menon, The geometry of the deep linear network (2024).

    >>> import jax, numpy as np, deeplinear as dl
    >>> walk = dl.brownian(np.eye(2), 3, t1=0.1, dt=0.01, key=jax.random.key(0), chains=5)
    >>> walk.W.shape, bool(walk.converged.all())
    ((5, 2, 2), True)
    """
    plan = DiffusionPlan.of(
        t0, t1, dt, saveat, solver, stepsize_controller, max_steps, adjoint, True
    )
    return _langevin(None, W0, depth, 2.0, 1.0, False, at_zero, key, chains, plan)


def langevin(
    energy: Energy,
    W0: ArrayLike,
    depth: ArrayLike,
    beta: ArrayLike,
    *,
    t1: ArrayLike,
    dt: ArrayLike,
    key: RandomKey,
    kappa: ArrayLike = 1.0,
    entropic: bool = False,
    t0: ArrayLike = 0.0,
    chains: int | None = None,
    at_zero: str = "cross",
    saveat: ArrayLike | dfx.SaveAt | None = None,
    solver: dfx.AbstractSolver | None = None,
    stepsize_controller: dfx.AbstractStepSizeController | None = None,
    max_steps: int | None = None,
    adjoint: dfx.AbstractAdjoint | None = None,
) -> DiffusionResult:
    """The Riemannian Langevin equation on m×n matrices with the metric g^N, Itô,

        dW = −A_{N,W}(∇F) dt + √(2κ/β) A_{N,W}^{1/2} dB + (κ/β)(1 − 1/N) U Σ^{1−2/N} Vᵀ dt

    (N = ∞: the last term is (κ/β) W dt), with F = E, or the free energy F = E − S/β (``entropic``),
    S = ½ Σ_{i<j} log λ_N(σ_i, σ_j) + const the orbit entropy. Its stationary law is e^{−βF/κ}
    dvol_g. At κ = 1 with ``entropic`` it is the law of the product of factors under
    `factor_langevin`; κ = 0 turns the noise off and leaves the gradient flow of F.

    The root R = U Σ^{1/q} Vᵀ is stepped, q = N (16 at N = ∞). Its equation is smooth at ties and,
    for N < ∞, where det W = 0: a start with ties, such as the identity, needs no care.

    **Arguments**

    - ``energy``: any differentiable function W ↦ scalar. ``W0``: the start, m×n of full rank (at
      depth 1 any; at N = ∞ square); with a leading axis, one for each chain. ``chains``: that many
      chains from one W0. Chain i is the same however many there are.
    - ``depth``: real N ≥ 1 or ``math.inf``. ``beta``: β > 0. ``kappa``: κ ≥ 0, the strength of the
      noise.
    - ``t1``, ``dt``: the end, and the longest step; between the saved times steps are equal. Weak
      order 1.
    - ``key``: of the noise, a JAX random key or an integer seed.
    - ``at_zero``: for N < ∞ a singular value reaches 0 in finite time. "cross": W goes straight
      through and takes both signs of det; "reflect": it keeps the sign it started with. At N = ∞
      neither: a chain that does has ``status`` "crossed". Where W is not square no singular value
      reaches 0, and this is of no account.
    - ``saveat``: times, or a `diffrax.SaveAt` (its ``ts``, ``t0``, ``t1``, ``steps``); by default
      the end alone.
    - ``solver`` (one that converges to the Itô solution; by default Euler's, with the rotation of
      the frames made exact: others take plain steps of R and need smaller ones),
      ``stepsize_controller``, ``max_steps``, ``adjoint``: diffrax's. With a controller ``dt`` is
      the first step. Derivatives of the paths go through an SVD and do not exist at ties.

    **Returns** a `DiffusionResult`, with a ``status`` for each chain.

    **Normalization**: [CMV], the metric and time of `gradient_flow`. **Raises** `DepthError`,
    `InputError`, `PrecisionError`.

    **Source**: Menon 2024 (2411.09004); Menon, Yu 2025 (2509.09088).

    >>> import jax, numpy as np, deeplinear as dl
    >>> energy = lambda W: 0.5 * (W**2).sum()
    >>> steps = {"t1": 1.0, "dt": 0.05, "saveat": [0.5, 1.0]}
    >>> run = dl.langevin(energy, np.eye(2), 2, 4.0, key=jax.random.key(0), chains=3, **steps)
    >>> run.W.shape, run.energy.shape, bool(run.converged.all())
    ((3, 2, 2, 2), (3, 2), True)
    """
    noisy = is_traced(kappa) or bool(np.asarray(kappa) != 0)
    plan = DiffusionPlan.of(
        t0, t1, dt, saveat, solver, stepsize_controller, max_steps, adjoint, noisy
    )
    return _langevin(energy, W0, depth, beta, kappa, entropic, at_zero, key, chains, plan)


def factor_langevin(
    energy: Energy,
    factors: Sequence[Array | np.ndarray],
    beta: ArrayLike,
    *,
    t1: ArrayLike,
    dt: ArrayLike,
    key: RandomKey,
    t0: ArrayLike = 0.0,
    along: ArrayLike = 1.0,
    across: ArrayLike = 1.0,
    chains: int | None = None,
    saveat: ArrayLike | dfx.SaveAt | None = None,
    adjoint: dfx.AbstractAdjoint | None = None,
) -> DiffusionResult:
    """Langevin dynamics on balanced factors, W_{p+1}ᵀ W_{p+1} = W_p W_pᵀ, p = 1 … N−1,

        dW_p = −(1/N) ∂E/∂W_p dt + √(2/(Nβ)) (a P_V + b P_H) dB_p,

    kept on the manifold (metric N Σ_p ‖dW_p‖²) by steps to its closest point. P_V projects to the
    fibre, the balanced factorizations of one W, and P_H to what is tangent and across it; a is
    ``along``, b ``across``. At a = b = 1 it is Brownian motion with the force of E.

    Noise along a fibre is felt downstairs as entropy, by the mean curvature of fibres
    (`fibre_curvature`): W = W_N ⋯ W_1 follows

        dW = −A(∇(E − a² S_N/β)) dt + √(2b²/β) A^{1/2} dB + (b²/β)(1 − 1/N) U Σ^{1−2/N} Vᵀ dt,

    `langevin` at depth N, ``entropic=True``, β/a² and κ = b²/a² (a = 0: without entropy, κ = b²);
    at b = 0 no noise is left, and W follows the gradient flow of E − a² S_N/β (Menon, Yu).

    Each Euler step is projected to the tangent space and then to the closest point of the manifold;
    weak order 1. Where det W = 0, sheets of the manifold cross, and a path stays on its own: det W
    keeps its sign at even N (`langevin` with ``at_zero="reflect"``) and goes through zero at odd N
    ("cross"). The constraint degenerates there: a chain whose factors cannot be balanced again
    after a step ends with ``status`` "failed" (of 2,000 chains of 3×3 matrices over 320 steps,
    none).

    **Arguments**: ``factors`` = (W_1, …, W_N), all d×d and invertible, balanced; see
    `balanced_factors`. The others as for `langevin`; ``along``, ``across`` ≥ 0.

    **Returns** a `DiffusionResult`, whose ``factors`` are the last ones.

    **Normalization**: time as in [CMV], N times that of the factors without the 1/N. **Raises**
    `InputError`.

    **Source**: Menon, Yu 2025 (2509.09088); noise along and across: Menon, Stromme, Vacher 2026
    (2602.12257).

    >>> import jax, numpy as np, deeplinear as dl
    >>> start = dl.balanced_factors(np.eye(2), 3, jax.random.key(1))
    >>> energy, key = lambda W: (W**2).sum(), jax.random.key(0)
    >>> run = dl.factor_langevin(energy, start, 4.0, t1=0.1, dt=0.01, key=key)
    >>> run.W.shape, len(run.factors), bool(dl.imbalance(run.factors) < 1e-5)
    ((2, 2), 3, True)
    """
    y0 = _checked_factors(factors)  # in their own precision, which their balance is as good as
    dtype = check_energy(energy, y0[0].shape, y0[0].dtype)
    energy = recorded(energy, y0[0].shape, dtype)
    y0 = tuple(W.astype(dtype) for W in y0)
    key = check_key(key)
    plan = DiffusionPlan.of(t0, t1, dt, saveat, adjoint=adjoint)
    a, b = (
        _check_number(name, x, dtype, or_zero=True)
        for name, x in (("along", along), ("across", across))
    )
    same = not is_traced(along, across) and float(np.asarray(along)) == float(np.asarray(across))
    process = BalancedProcess(energy, _check_number("beta", beta, dtype), a, b, directed=not same)
    copies = 1 if chains is None else check_integer(chains, "chains")
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (copies, *x.shape)), y0)
    return finish(
        sample(process, start, key, plan.settled(y0[0].dtype, energy)), chains is None, plan
    )


def fibre_curvature(factors: Sequence[Array | np.ndarray]) -> tuple[Array, ...]:
    """The mean curvature vector of the fibre through balanced factors, inside their manifold,

        H_p = −(1/N) ∂S_N(W_N ⋯ W_1)/∂W_p,

    minus the gradient of the log volume of the fibre, for the metric N Σ_p ‖dW_p‖² (the trace of
    the second fundamental form, in a frame of unit length). Noise of strength √(2/β) along fibres
    pushes by −H/β: to large fibres. **Arguments**, **raises**: as in `factor_langevin`; W needs
    full rank (beyond, S_N has no slope).

    **Source**: the first variation of volume; Menon, Yu 2025 (2509.09088).

    >>> import deeplinear as dl
    >>> start = dl.balanced_factors(4.0 * np.eye(2), 2, jax.random.key(1))
    >>> H = dl.fibre_curvature(start)
    >>> bool(np.isclose(np.vdot(H[0], start[0]), -0.5 / 2 * 1))  # S grows by ½ per log ‖W_1‖
    True
    """
    y0 = _checked_factors(factors)
    N = len(y0)

    def log_volume(factors: tuple[Array, ...]) -> Array:
        return entropy(functools.reduce(lambda A, B: B @ A, factors), N, constant=False)

    return jax.tree.map(lambda x: -x / N, jax.grad(log_volume)(y0))


def _langevin(
    energy: Energy | None,
    W0: ArrayLike,
    depth: ArrayLike,
    beta: ArrayLike,
    kappa: ArrayLike,
    entropic: bool,
    at_zero: str,
    key: RandomKey,
    chains: int | None,
    plan: DiffusionPlan,
) -> DiffusionResult:
    check_depth(depth, scalar=True)
    if at_zero not in ("cross", "reflect"):
        raise InputError(f"at_zero must be 'cross' or 'reflect', got {at_zero!r}.")
    if at_zero == "reflect" and plan.solver is not None:
        raise InputError(
            "solver must be left at its default with at_zero='reflect': the reflection is part of "
            "the step."
        )
    key = check_key(key)
    reflect = at_zero == "reflect"
    flat = not is_traced(depth) and bool(np.asarray(depth) == 1) and not reflect
    start, single = _checked_start(W0, chains, flat)
    square = start.shape[1] == start.shape[2]
    if not square and (is_traced(depth) or math.isinf(depth)):  # type: ignore[arg-type]
        raise DepthError(
            "depth must be known and finite for a W0 that is not square: g^∞ is infinite there."
        )
    if energy is not None:
        start = start.astype(check_energy(energy, start.shape[1:], start.dtype))
        energy = recorded(energy, start.shape[1:], start.dtype)
    dtype = start.dtype
    turning = plan.solver is None and not flat  # flat: Euler's step of Brownian motion is exact
    kind, more = (RootProcess, {}) if square else (RectangularRootProcess, {"wide": _wide(start)})
    process = kind(
        energy,
        as_array(depth, dtype),
        root_exponent(depth, dtype, turning),
        _check_number("beta", beta, dtype),
        _check_number("kappa", kappa, dtype, or_zero=True),
        entropic=entropic,
        reflect=reflect,
        may_be_infinite=is_traced(depth) or math.isinf(depth),  # type: ignore[arg-type]
        turning=turning,
        **more,
    )
    return finish(sample(process, start, key, plan.settled(dtype, energy)), single, plan)


def _wide(start: Array) -> bool:
    return start.shape[1] < start.shape[2]


def _checked_start(W0: ArrayLike, chains: int | None, flat: bool) -> tuple[Array, bool]:
    """The starts, one for each chain along the leading axis, and whether one chain is meant.

    ``flat``: the metric is Euclidean (depth 1), and singular starts are as good as others.
    """
    shape = np.shape(W0)
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(f"W0 must be m×n or chains×m×n, got shape {shape}.")
    if len(shape) == 3 and chains is not None:
        raise InputError(
            f"chains must be left out where W0 brings its own, {shape[0]} along its leading axis."
        )
    W = check_matrix((jnp if is_traced(W0) else np).reshape(W0, (-1, shape[-1])), "W0").reshape(
        -1, *shape[-2:]
    )
    if not is_traced(W) and not flat:
        s = np.linalg.svd(W, compute_uv=False)
        if not (s[:, -1] > max(shape[-2:]) * np.finfo(s.dtype).eps * s[:, 0]).all():
            raise InputError(
                "W0 must be invertible (of full rank, to working precision), got a singular "
                "matrix: take one nearby."
            )
    copies = W.shape[0] if chains is None else check_integer(chains, "chains")
    whole = (copies, *W.shape[1:])
    start = (
        jnp.broadcast_to(W, whole) if is_traced(W) else jax.device_put(np.broadcast_to(W, whole))
    )
    return start, chains is None and len(shape) == 2


def _checked_factors(factors: Sequence[Array | np.ndarray]) -> tuple[Array, ...]:
    """``factors``, if they are square, invertible and balanced."""
    y0 = check_factors(factors)
    d = y0[0].shape[0]
    dtype = jnp.result_type(*y0)
    if any(W.shape != (d, d) for W in y0):
        raise InputError(
            f"factors must all be square and of one size, got shapes {[W.shape for W in y0]}."
        )
    if not is_traced(y0):
        eps = float(np.finfo(dtype).eps)
        s = np.linalg.svd(np.stack(y0), compute_uv=False)
        if not (s[:, -1] > d * eps * s[:, 0]).all():
            raise InputError(
                "factors must be invertible (to working precision), got a singular one: take "
                "others nearby."
            )
        if (gap := float(imbalance(y0))) > 1e3 * eps * float((s**2).sum(1).max()):
            raise InputError(
                f"factors must be balanced, got an imbalance of {gap:.2e}: see balanced_factors(W, "
                "depth)."
            )
    return tuple(jnp.asarray(W, dtype) for W in y0)


def _check_number(name: str, value: ArrayLike, dtype: DTypeLike, or_zero: bool = False) -> Array:
    """``value`` as an array, if it is one finite number, positive (or zero)."""
    bad = not is_traced(value) and np.ndim(value) != 0
    if not bad and not is_traced(value):
        number = float(np.asarray(value))
        bad = not (0 < number < math.inf or (or_zero and number == 0))
    if bad:
        raise InputError(
            f"{name} must be one finite number {'≥' if or_zero else '>'} 0, got {value!r}."
        )
    return as_array(value, dtype)
