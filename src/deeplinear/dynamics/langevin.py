"""Brownian motion and Langevin dynamics in the geometry of the deep linear network, by diffrax.

Of W (*downstairs*, as Menon calls it) and of the factors (*upstairs*).
"""

import dataclasses
import functools
import math

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from ..checks import (
    RandomKey,
    as_array,
    check_integer,
    check_key,
    check_matrix,
    is_traced,
)
from ..energies import Energy, check_energy
from ..errors import DepthError, InputError
from ..geometry.kernel import inverse_depth
from ..geometry.leaf import Imbalance, Leaf, check_leaf_shape, leaf_kernel, on_leaf, root_of
from ..reals import one_real
from ..recorded import recorded
from .langevin_leaf import LeafProcess
from .langevin_rectangular import RectangularLeafProcess, RectangularRootProcess
from .langevin_root import AbstractRootProcess, RootProcess, root_exponent
from .langevin_solve import DiffusionPlan, finish, sample
from .results import DiffusionResult

__all__ = [
    "DiffusionResult",
    "brownian",
    "brownian_drift",
    "langevin",
]


def brownian_drift(
    W: ArrayLike, depth: ArrayLike, imbalance: Imbalance = 0.0
) -> Float[Array, "m n"]:
    """The Itô drift of Brownian motion (generator ½Δ_g) of g^N in the entries of W:

        ½ (1/√g) ∂_j (√g g^{ij}) = ½ (1 − 1/N) U Σ^{1−2/N} Vᵀ     (N = ∞: ½ W),

    in which the interactions between singular values cancel, and of W that is not square those with
    the edge too; on the leaf of an ``imbalance``

        U diag(½ σ P″(x)/(N P′(x))) Vᵀ,   P(x) = ∏_p (x + c_p) = σ².

    **Normalization**: [CMV]. **Raises**
    `DepthError`, `InputError`; NaN at a singular W for N < 2, where it is infinite.

    >>> import numpy as np, deeplinear.dynamics.langevin
    >>> np.round(deeplinear.dynamics.langevin.brownian_drift(np.diag([4.0, 1.0]), 2), 3).tolist()
    [[0.25, 0.0], [0.0, 0.25]]
    """
    W = check_matrix(W)
    nu = inverse_depth(on_leaf(depth, imbalance, shape=W.shape, scalar=True), W.dtype)
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    if isinstance(nu, Leaf):
        x, c = root_of(s, nu.c), nu.c
        # P″/P′ = d log P′/dx, and P′ = N λ(σ, σ)
        slope = jax.grad(lambda x: jnp.sum(jnp.log(leaf_kernel(x, x, c))))(x)
        return (U * (0.5 * s * slope / c.size)) @ Vt
    return (1 - nu) / 2 * (U * s ** (1 - 2 * nu)) @ Vt


def brownian(
    W0: ArrayLike,
    depth: ArrayLike,
    *,
    t1: ArrayLike,
    dt: ArrayLike,
    key: RandomKey,
    imbalance: Imbalance = 0.0,
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
    return _langevin(None, W0, depth, imbalance, 2.0, 1.0, False, at_zero, key, chains, plan)


def langevin(
    energy: Energy,
    W0: ArrayLike,
    depth: ArrayLike,
    beta: ArrayLike,
    *,
    t1: ArrayLike,
    dt: ArrayLike,
    key: RandomKey,
    imbalance: Imbalance = 0.0,
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
      depth 1 any; at N = ∞ square); with a leading axis, one for each chain.
      ``chains``: that many chains from one W0. Chain i is the same however many there are.
    - ``depth``: real N ≥ 1 or ``math.inf``. ``imbalance``: the isotropic leaf of networks of that
      depth, as in `gradient_flow` (W that is not square needs its least c_p at the first layer or
      the last); the last term is then that of `brownian_drift`, and R = U √x Vᵀ.
    - ``beta``: β > 0. ``kappa``: κ ≥ 0, the strength of the noise.
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
    return _langevin(
        energy, W0, depth, imbalance, beta, kappa, entropic, at_zero, key, chains, plan
    )


def _langevin(
    energy: Energy | None,
    W0: ArrayLike,
    depth: ArrayLike,
    imbalance: Imbalance,
    beta: ArrayLike,
    kappa: ArrayLike,
    entropic: bool,
    at_zero: str,
    key: RandomKey,
    chains: int | None,
    plan: DiffusionPlan,
) -> DiffusionResult:
    metric = on_leaf(depth, imbalance, scalar=True)
    if at_zero not in ("cross", "reflect"):
        raise InputError(f"at_zero must be 'cross' or 'reflect', got {at_zero!r}.")
    if at_zero == "reflect" and plan.solver is not None:
        raise InputError(
            "solver must be left at its default with at_zero='reflect': the reflection is part of "
            "the step."
        )
    key = check_key(key)
    reflect = at_zero == "reflect"
    balanced = not isinstance(metric, Leaf)
    flat = balanced and not (is_traced(depth) or reflect) and bool(np.asarray(depth) == 1)
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
    number = check_number("beta", beta, dtype), check_number("kappa", kappa, dtype, or_zero=True)
    wide = start.shape[1] < start.shape[2]
    process: AbstractRootProcess
    if isinstance(metric, Leaf):
        check_leaf_shape(metric, start.shape[1:])
        leaf, q = metric.astype(dtype), as_array(metric.c.size, dtype)
        leafy = functools.partial(RectangularLeafProcess, wide=wide)
        process = (LeafProcess if square else leafy)(
            energy, leaf, q, *number, entropic=entropic, reflect=reflect, turning=turning
        )
    else:
        kind = RootProcess if square else functools.partial(RectangularRootProcess, wide=wide)
        process = kind(
            energy,
            as_array(depth, dtype),
            root_exponent(depth, dtype, turning),
            *number,
            entropic=entropic,
            reflect=reflect,
            may_be_infinite=is_traced(depth) or math.isinf(depth),  # type: ignore[arg-type]
            turning=turning,
        )
    found = finish(sample(process, start, key, plan.settled(dtype, energy)), single, plan)
    N = metric.c.size if isinstance(metric, Leaf) else depth
    return dataclasses.replace(found, depth=N)


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


def check_number(name: str, value: ArrayLike, dtype: DTypeLike, or_zero: bool = False) -> Array:
    """``value`` as an array, if it is one finite number, positive (or zero)."""
    bad = is_traced(value) and np.ndim(value) != 0
    if not is_traced(value):
        number = one_real(value)
        bad = not (0 < number < math.inf or (or_zero and number == 0))
    if bad:
        raise InputError(
            f"{name} must be one finite number {'≥' if or_zero else '>'} 0, got {value!r}."
        )
    return as_array(value, dtype)
