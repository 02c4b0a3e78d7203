"""Langevin dynamics of balanced factors: *upstairs*, as Menon calls it."""

import dataclasses
from collections.abc import Sequence

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..checks import RandomKey, check_integer, check_key, is_traced
from ..energies import Energy, check_energy
from ..errors import InputError
from ..geometry.volume import entropy
from ..reals import one_real
from ..recorded import recorded
from .factors import check_factors, imbalance, product
from .langevin import check_number
from .langevin_factors import BalancedProcess
from .langevin_solve import DiffusionPlan, finish, sample
from .results import DiffusionResult


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
        check_number(name, x, dtype, or_zero=True)
        for name, x in (("along", along), ("across", across))
    )
    same = not is_traced(along, across) and one_real(along) == one_real(across)
    process = BalancedProcess(energy, check_number("beta", beta, dtype), a, b, directed=not same)
    copies = 1 if chains is None else check_integer(chains, "chains")
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (copies, *x.shape)), y0)
    paths = sample(process, start, key, plan.settled(y0[0].dtype, energy))
    return dataclasses.replace(finish(paths, chains is None, plan), depth=len(y0))


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
        return entropy(product(factors), N, constant=False)

    return jax.tree.map(lambda x: -x / N, jax.grad(log_volume)(y0))


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
