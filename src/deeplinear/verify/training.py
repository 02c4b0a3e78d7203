"""Whether training does what the theory says, and conserves what it must.

*Upstairs* is the space of the factors, *downstairs* that of their product (Menon's terms).
"""

import math
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..checks import RandomKey, as_array, check_depth, check_integer, check_key, check_matrix
from ..compilation import program
from ..dynamics.factors import balanced_factors, imbalance
from ..dynamics.flow import factor_flow, gradient_flow
from ..energies import Energy, check_energy
from ..errors import InputError
from ..geometry.operator import Operator
from ..transforms import needs_values
from .geometry import submersion, volume
from .result import Check, Checks, tolerance, within
from .taylor import gradient_check, hessian_check

# Asymmetry above this, relative, is more than rounding.
_EXACT = 1e-12


class Trajectory(Protocol):
    """Points ``W``, along a leading axis, of a flow at the times ``ts``: a `FlowResult` is one."""

    @property
    def ts(self) -> ArrayLike | None: ...
    @property
    def W(self) -> ArrayLike: ...


@needs_values
def upstairs_downstairs(
    energy: Energy,
    W0: ArrayLike,
    depth: int,
    t1: float,
    *,
    key: RandomKey | None = None,
    factors: Sequence[Array | np.ndarray] | None = None,
    tol: float | None = None,
    rtol: float | None = None,
    saves: int = 20,
) -> Check:
    """Whether training the factors and the flow of their product are one.

    The factors follow `factor_flow` from balanced factors of W0, the product `gradient_flow`; the
    check is of the largest ‖W_up − W_down‖_F / ‖W_down‖_F over ``saves`` times up to t1.

    **Arguments**: ``depth`` an integer; ``key`` draws the frames of the factors; ``factors``: start
    from these instead (unbalanced ones fail). ``rtol``: of both flows, 1e−9 by default
    (float32: 1e−4). ``tol``: of the difference, 1e−6 (float32: 3e−3).

    **Figures**: ``difference``; ``ts``, ``differences`` at each; ``imbalance`` at the end,
    relative.

    **Normalization**: time as in [CMV]. **Raises** as the flows. **Source**: Arora, Cohen, Hazan
    2018, Theorem 1.

    >>> import numpy as np, deeplinear as dl
    >>> energy = dl.Completion.from_dense(np.array([[2.0, np.nan], [1.0, np.nan]]))
    >>> W0 = np.array([[0.5, 0.1], [0.2, 0.3]])
    >>> bool(dl.verify.upstairs_downstairs(energy, W0, depth=2, t1=1.0))
    True
    """
    W0 = check_matrix(W0)
    W0 = W0.astype(check_energy(energy, W0.shape, W0.dtype))
    frames = check_key(0 if key is None else key)
    start = balanced_factors(W0, depth, frames) if factors is None else factors
    tol, rtol = tolerance(tol, W0.dtype, 1e-6), tolerance(rtol, W0.dtype, 1e-9)
    ts = np.linspace(0, t1, check_integer(saves, "saves") + 1)[1:]
    down = gradient_flow(energy, W0, depth, t1=t1, saveat=ts, rtol=rtol)
    up = factor_flow(energy, start, t1=t1, saveat=ts, rtol=rtol)
    if not (bool(up.converged) and bool(down.converged)):
        text = "A flow did not reach t1: raise rtol or lower t1."
        return Check("upstairs and downstairs", False, {"difference": math.nan}, text)
    A, B = np.asarray(up.W), np.asarray(down.W)
    differences = np.linalg.norm(A - B, axis=(1, 2)) / np.linalg.norm(B, axis=(1, 2))
    more = {
        "ts": ts,
        "differences": differences,
        "imbalance": _relative_imbalance(up.factors or ()),
    }
    return within(
        "upstairs and downstairs", {"difference": differences.max()}, tol, "Both flows", **more
    )


@needs_values
def conservation(
    energy: Energy,
    W0: ArrayLike,
    depth: ArrayLike,
    t1: float,
    *,
    flow: Trajectory | None = None,
    tol: float | None = None,
    rtol: float | None = None,
) -> Check:
    """Whether a gradient flow conserves what it must, and loses energy as it must:

    - E falls by what the slope says, E(W(t)) − E(W0) = −∫ ‖grad E‖²_g dt with ‖grad E‖²_g = ⟨G,
      A_{N,W}(G)⟩, G = E′(W) (integrated by a cubic spline through the saved times);
    - the rank does not rise, and the sign of det W stays (square W of full rank, N ≥ 2, while σ_k
      stands clear of rounding);
    - W stays symmetric, where W0 is and G is for symmetric W (tried at W0 and near it);
    - the factors stay balanced (integer depth up to 10): max_p ‖W_{p+1}ᵀW_{p+1} − W_pW_pᵀ‖ relative
      to max ‖W_p‖².

    **Arguments**: ``flow``: a `FlowResult`, or anything with ``ts`` and ``W`` along a leading axis,
    from W0 on and at many times (about a hundred), to be checked instead of our own. ``tol``: of
    the deviations, 1e−4 by default (float32: 3e−2); ``rtol``: of our own flows, 1e−9
    (float32: 1e−4).

    **Figures**: deviations ``energy`` (of the whole fall of E), ``rank`` (largest σ_i/σ_1 beyond
    the rank of W0), ``sign`` (1 where it flips), ``asymmetry``, ``imbalance``, those that apply.

    **Normalization**: time and metric as in [CMV]. **Raises** as the flows. **Source**: Cohen,
    Menon, Veraszto 2023; Bah et al. 2019.

    >>> import numpy as np, deeplinear as dl
    >>> energy = dl.Completion.from_dense(np.array([[2.0, np.nan], [1.0, np.nan]]))
    >>> check = dl.verify.conservation(energy, np.array([[0.5, 0.1], [0.2, 0.3]]), 3, t1=1.0)
    >>> bool(check), sorted(set(check.figures) & {"energy", "sign", "imbalance"})
    (True, ['energy', 'imbalance', 'sign'])
    """
    W0 = check_matrix(W0)
    W0 = W0.astype(check_energy(energy, W0.shape, W0.dtype))
    N = float(np.asarray(check_depth(depth, scalar=True)))
    tol, rtol = tolerance(tol, W0.dtype, 1e-4), tolerance(rtol, W0.dtype, 1e-9)
    if flow is None:
        ts = t1 * np.linspace(0, 1, 161) ** 2  # denser at the start, where the energy falls fastest
        flow = gradient_flow(energy, W0, depth, t1=t1, saveat=ts, rtol=rtol)
        if not bool(flow.converged):
            text = (
                f"The flow did not reach t1 = {t1:g}, but {float(flow.t_end):g}: raise rtol or "
                "lower t1."
            )
            return Check("conservation", False, {"t_end": float(flow.t_end)}, text)
    ts, W = np.asarray(flow.ts), np.asarray(flow.W)
    if ts.ndim != 1 or ts.size < 8:
        raise InputError("flow must hold eight saved times at least: follow it with saveat.")
    errors = {
        "energy": _energy_defect(energy, ts, W, depth),
        **_spectral_defects(np.asarray(W0), W, N),
    }
    if _is_symmetric(energy, W0):
        errors["asymmetry"] = np.max(
            np.linalg.norm(W - W.transpose(0, 2, 1), axis=(1, 2)) / np.linalg.norm(W, axis=(1, 2))
        )
    if N.is_integer() and N <= 10:
        start = balanced_factors(W0, N, jax.random.key(0))
        errors["imbalance"] = _relative_imbalance(
            factor_flow(energy, start, t1=t1, rtol=rtol).factors or ()
        )
    return within("conservation", errors, tol, "The conservation laws")


@program
def _energies_and_slopes(energy: Energy, W: Array, depth: Array) -> tuple[Array, Array]:
    def one(X: Array) -> tuple[Array, Array]:
        E, G = jax.value_and_grad(lambda Y: jnp.reshape(energy(Y), ()))(X)
        return E, jnp.sum(G * Operator.unchecked(X, depth)(G))

    return jax.lax.map(one, W)


def _energy_defect(energy: Energy, ts: np.ndarray, W: np.ndarray, depth: ArrayLike) -> float:
    """The largest gap between the fall of E and the integral of its slope, relative to the fall."""
    from scipy.interpolate import CubicSpline

    # dE/dt = −⟨G, A(G)⟩ at the saved times, integrated by a spline
    E, slope = map(
        np.asarray, _energies_and_slopes(energy, jnp.asarray(W), as_array(depth, W.dtype))
    )
    fallen = CubicSpline(ts, slope).antiderivative()(ts)
    scale = max(np.ptp(E), fallen[-1], np.finfo(E.dtype).tiny)
    return float(np.max(np.abs(E - E[0] + fallen)) / scale)


def _spectral_defects(W0: np.ndarray, W: np.ndarray, N: float) -> dict[str, float]:
    noise = max(W0.shape) * np.finfo(W0.dtype).eps
    s0 = np.linalg.svd(W0, compute_uv=False)
    rank = int(np.sum(s0 > noise * s0[0]))
    s = np.linalg.svd(W, compute_uv=False)
    out = {}
    if N > 1 and rank < s0.size:
        out["rank"] = float(np.max(s[:, rank] / s[:, 0]))
    if N >= 2 and rank == W0.shape[0] == W0.shape[1]:
        # a determinant of rounding noise has no sign to compare
        clear = s[:, -1] > 1e4 * noise * s[:, 0]
        if clear.any():
            out["sign"] = float(np.any(np.linalg.slogdet(W[clear])[0] != np.linalg.slogdet(W0)[0]))
    return out


def _is_symmetric(energy: Energy, W0: Array) -> bool:
    """Whether W0 is symmetric, and the gradient of E at W0 and at a symmetric matrix near it."""
    W = np.asarray(W0)
    if W.shape[0] != W.shape[1] or np.linalg.norm(W - W.T) > _EXACT * np.linalg.norm(W):
        return False
    beside = np.random.default_rng(0).normal(size=W.shape)
    points = np.stack([W, W + np.linalg.norm(W) * (beside + beside.T)]).astype(W.dtype)
    G = np.asarray(jax.jit(jax.vmap(jax.grad(lambda X: jnp.reshape(energy(X), ()))))(points))
    return bool(np.linalg.norm(G - G.transpose(0, 2, 1)) <= _EXACT * np.linalg.norm(G))


def _relative_imbalance(factors: Sequence[Array]) -> float:
    scale = max(float(np.linalg.norm(X)) ** 2 for X in factors)
    return float(imbalance(factors)) / scale


@needs_values
def all_checks(
    energy: Energy,
    W0: ArrayLike,
    depth: ArrayLike,
    t1: float = 1.0,
    *,
    key: RandomKey | None = None,
    rtol: float | None = None,
) -> Checks:
    """Every check that applies to an energy, a start and a depth.

    Gradient and Hessian at W0, `conservation` up to t1, `volume` where W0 has full rank (and is
    square, or N is finite), and at integer depth `upstairs_downstairs` and `submersion`.

    **Returns** `Checks`; ``print(checks)`` shows a line for each. **Raises** as the checks; see
    them for what they mean.

    >>> import numpy as np, deeplinear as dl
    >>> energy = dl.Completion.from_dense(np.array([[1.0, np.nan], [np.nan, 2.0]]))
    >>> checks = dl.verify.all_checks(energy, np.array([[0.5, 0.1], [0.2, 0.3]]), math.inf)
    >>> print(str(checks).splitlines()[-1])
    4 of 4 checks passed.
    """
    W0 = check_matrix(W0)
    W0 = W0.astype(check_energy(energy, W0.shape, W0.dtype))
    N = float(np.asarray(check_depth(depth, scalar=True)))
    keys = jax.random.split(check_key(0 if key is None else key), 4)
    results = [gradient_check(energy, W0, key=keys[0]), hessian_check(energy, W0, key=keys[1])]
    results.append(conservation(energy, W0, depth, t1, rtol=rtol))
    regular = not bool(Operator(W0, depth).is_singular)
    if N.is_integer():
        results.append(upstairs_downstairs(energy, W0, int(N), t1, key=keys[2], rtol=rtol))
    if N.is_integer() and regular:
        results.append(submersion(W0, int(N), key=keys[3]))
    if regular:
        results.append(volume(W0, depth))
    return Checks(tuple(results))
