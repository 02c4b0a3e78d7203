"""Geodesics of the metric g^N: exponential, logarithm, distance and path."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from ..checks import (
    as_array,
    check_integer,
    check_matrix,
    check_tolerance,
    is_traced,
    one_precision,
    raise_if,
)
from ..compilation import Effort, program
from ..errors import InputError, NotConvergedWarning
from ..reals import as_reals
from ..status import Status
from ..transforms import forward_only
from .conjugate import ConjugatePoint, conjugate_time
from .cut import CutPoint, cut_time
from .derivatives import guard
from .geodesic_closed_form import (
    aligned_distance,
    aligned_path,
    planar_distance,
    spd_distance,
    spd_path,
)
from .geodesic_programs import exponential, logarithm
from .geodesic_result import Geodesic, Logarithm
from .leaf import (
    DepthLike,
    Imbalance,
    in_precision,
    is_smooth_leaf,
    on_leaf,
)
from .operator import singular_error

__all__ = [
    "ConjugatePoint",
    "CutPoint",
    "Geodesic",
    "Logarithm",
    "Status",
    "aligned_distance",
    "aligned_path",
    "conjugate_time",
    "cut_time",
    "distance",
    "exp",
    "log",
    "path",
    "planar_distance",
    "spd_distance",
    "spd_path",
]


def exp(
    W: ArrayLike,
    Z: ArrayLike,
    depth: DepthLike,
    t: ArrayLike = 1.0,
    *,
    imbalance: Imbalance = 0.0,
    rtol: float | None = None,
    max_steps: int = 4096,
) -> Geodesic:
    """The geodesic of g^N that leaves W with velocity Z.

    By the Hamiltonian flow of H(W, P) = ½⟨P, A_{N,W}(P)⟩,

        Ẇ = A_W(P),   Ṗ = −∂_W H,   P(0) = A_W^{−1}(Z).

    **Arguments**: ``W`` m×n of full rank, ``Z`` of its shape; ``t`` a time or increasing times ≥ 0;
    ``imbalance``: the leaf, as in `deeplinear.inner`; ``rtol`` of the steps, 1e−11 by default
    (float32: 1e−5).

    At finite depth the matrices of full rank are incomplete: a geodesic may reach det W = 0 in
    finite time, where it ends and the status says so (on a leaf with one least c_p, as at N = 1,
    the metric is smooth there: the geodesic goes on, and may begin at any W, also at W = 0).

    **Normalization**: the metric of [CMV]; multiples of it have the same geodesics.

    **Returns** a `Geodesic`. **Raises** `SingularOperatorError` for a W without full rank (but on
    such leaves), `InputError`, `DepthError`.

    **Source**: theory: Menon, *The geometry of the deep linear network*; Chen, *Geodesics in the
    deep linear network* (2510.07324).

    >>> import deeplinear as dl, numpy as np
    >>> W, Z = np.diag([4.0, 1.0]), np.diag([2.0, 1.0])  # depth 2: the roots of σ move evenly
    >>> np.round(dl.geodesic.exp(W, Z, 2, rtol=1e-5).W, 3).tolist()  # (√4 + ½)², (√1 + ½)²
    [[6.25, 0.0], [0.0, 2.25]]
    """
    W, Z = _pair(W, Z, "W", "Z")
    metric = on_leaf(depth, imbalance, shape=W.shape, scalar=True)
    rtol = _tolerance(rtol, W.dtype)
    times = jnp.asarray(t if is_traced(t) else as_reals(t, "t"), W.dtype)
    if times.ndim > 1 or times.size == 0:
        raise InputError(f"t must be a time or times in one axis, got shape {times.shape}.")
    if not is_traced(times) and not (
        np.all(np.diff(np.atleast_1d(t), prepend=0.0) >= 0) and np.all(np.isfinite(t))
    ):
        raise InputError(f"t must hold finite, increasing times ≥ 0, got {t!r}: for t < 0 take −Z.")
    args = W, Z, in_precision(metric, W.dtype), jnp.atleast_1d(times), as_array(rtol, W.dtype)
    result, singular = exponential(*args, check_integer(max_steps, "max_steps"))
    result = forward_only(raise_if(result, singular, singular_error()), _FORWARD_ONLY)
    if times.ndim == 0:
        end, velocity, length, error = (
            x[0] for x in (result.W, result.velocity, result.length, result.error)
        )
        return Geodesic(times, end, velocity, length, result.status, error)
    return result


def log(
    W0: ArrayLike,
    W1: ArrayLike,
    depth: DepthLike,
    *,
    imbalance: Imbalance = 0.0,
    rtol: float | None = None,
    max_steps: int = 512,
) -> Logarithm:
    """The initial velocity Z of a geodesic of g^N with exp_{W_0}(Z) = W_1, by shooting.

    Newton's method on the end point, led there along a path of full rank in as many stages as it
    needs. The result is a geodesic; that no shorter one exists is certain only for near points
    (`conjugate_time` says whether it is the shortest among near paths, `cut_time` whether among
    all). One that is longer than that path is reported as ``not_shortest``. Where a half turn
    separates the end points (W_0ᵀW_1 with orthogonal factor of eigenvalue −1) several geodesics
    are as short: it is one of them.

    **Arguments**: ``W0``, ``W1`` m×n of full rank, with determinants of one sign if square;
    ``imbalance``, ``rtol`` as in `exp`; ``max_steps`` of each trial geodesic. Works inside ``jit``
    and ``vmap`` (where determinants of opposite sign are ``not_converged``).

    **Returns** a `Logarithm`, always with a ``status``: look at it. **Normalization**: distances as
    in `distance`.

    **Raises** `SingularOperatorError`, `DepthError`, `InputError` (determinants of opposite sign:
    no path of full rank joins them; on leaves that are smooth at rank loss geodesics
    through rank loss exist, but are not searched for).

    >>> import deeplinear as dl, numpy as np
    >>> found = dl.geodesic.log(np.diag([4.0, 1.0]), np.diag([9.0, 4.0]), 2, rtol=1e-6)
    >>> np.round(found.Z, 4).tolist(), bool(found.converged)
    ([[4.0, 0.0], [0.0, 2.0]], True)
    """
    W0, W1 = _pair(W0, W1, "W0", "W1")
    rtol = _tolerance(rtol, W0.dtype)
    N = in_precision(on_leaf(depth, imbalance, shape=W0.shape, scalar=True), W0.dtype)
    if not is_traced(W0, W1) and W0.shape[0] == W0.shape[1]:
        signs = [np.linalg.slogdet(np.asarray(W))[0] for W in (W0, W1)]
        if signs[0] * signs[1] < 0:
            why = (
                "geodesics that cross det W = 0 are not searched for, though this leaf has them."
                if is_smooth_leaf(N)
                else "no path of full rank joins them."
            )
            raise InputError(
                f"W0 and W1 must have determinants of one sign, got opposite ones: {why}"
            )
    untracked = "the logarithm is not differentiable: differentiate geodesic.distance, or exp"
    if is_traced(W0, W1):
        W0, W1 = W0 + guard(W0, untracked), W1 + guard(W1, untracked)
    max_steps = check_integer(max_steps, "max_steps")
    result, singular = logarithm(W0, W1, N, as_array(rtol, W0.dtype), max_steps)
    return raise_if(result, singular, singular_error())


def distance(
    W0: ArrayLike,
    W1: ArrayLike,
    depth: DepthLike,
    *,
    imbalance: Imbalance = 0.0,
    rtol: float | None = None,
) -> Float[Array, ""]:
    """The g^N-length of the geodesic from W_0 to W_1 that `log` finds.

    NaN, with a `NotConvergedWarning`, where it finds none.

    Differentiable (once) in both matrices, by the formula of first variation; at W_0 = W_1, where
    the distance has a cone's tip, the derivative is the subgradient 0, and it is NaN for points so
    near that their direction is lost in rounding. **Normalization**:
    [CMV], √N times the distance of the metric induced by the factors: at N = 1 ‖W_1 − W_0‖_F, along
    common singular vectors N ‖Σ_1^{1/N} − Σ_0^{1/N}‖_F (N = ∞: ‖log Σ_1 − log Σ_0‖_F), at N = 2 on
    positive definite matrices twice the Bures–Wasserstein distance.
    **Raises** as `log` does.

    >>> import deeplinear as dl, numpy as np
    >>> W0, W1 = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> round(float(dl.geodesic.distance(W0, W1, 1)), 6)
    1.0
    """
    W0, W1 = _pair(W0, W1, "W0", "W1")
    ends = jax.lax.stop_gradient((W0, W1))
    found = log(*ends, depth, imbalance=imbalance, rtol=rtol)
    value = _distance(W0, W1, found)
    if not is_traced(value) and not Status.succeeded(int(found.status)):
        why = Status(int(found.status)).sentence
        warnings.warn(f"The distance is not known. {why}", NotConvergedWarning, stacklevel=2)
    return value


def path(
    W0: ArrayLike,
    W1: ArrayLike,
    depth: DepthLike,
    t: ArrayLike,
    *,
    imbalance: Imbalance = 0.0,
    rtol: float | None = None,
) -> Geodesic:
    """Points of the geodesic from W_0 (t = 0) to W_1 (t = 1) that `log` finds, at times t ≥ 0.

    Raises as `log` does.

    >>> import deeplinear as dl, numpy as np
    >>> halfway = dl.geodesic.path(np.diag([1.0, 1.0]), np.diag([9.0, 1.0]), 2, 0.5, rtol=1e-6)
    >>> np.round(halfway.W, 4).tolist()  # ((1 + √9)/2)²
    [[4.0, 0.0], [0.0, 1.0]]
    """
    found = log(W0, W1, depth, imbalance=imbalance, rtol=rtol)
    result = exp(W0, found.Z, depth, t, imbalance=imbalance, rtol=rtol)
    return eqx.tree_at(
        lambda g: g.status, result, jnp.where(found.converged, result.status, found.status)
    )


@program(effort=Effort.LEAST)
def _distance(W0: Array, W1: Array, found: Logarithm) -> Array:
    """The distance with its derivatives, NaN where it is not known."""
    value = jnp.where(found.converged, found.distance, jnp.nan)
    # points so near that their direction is rounding have no derivative, but a point and itself 0
    known = found.error <= 0.01 * found.distance
    momenta = [jnp.where(known, P, jnp.nan) for P in found.momenta]
    same = jnp.all(W0 == W1)
    value, *momenta = (jnp.where(same, jnp.zeros_like(x), x) for x in (value, *momenta))
    return _first_variation(W0, W1, value, *momenta)


@jax.custom_jvp
def _first_variation(W0: Array, W1: Array, value: Array, P0: Array, P1: Array) -> Array:
    """``value``, with the derivatives in W_0 and W_1 that the momenta of the geodesic give."""
    return value


@_first_variation.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    W0, W1, value, P0, P1 = primals
    dW0, dW1, *_ = tangents
    once = "the distance can be differentiated once only"
    # First variation: the momenta at the ends, in unit time, are those of distance²/2.
    slope = (jnp.sum(P1 * dW1) - jnp.sum(P0 * dW0)) / jnp.where(value == 0, 1.0, value)
    return value, slope + guard(W0, once) + guard(W1, once)


_FORWARD_ONLY = "exp has no reverse mode: take jax.jvp or jax.jacfwd."


def _pair(A: ArrayLike, B: ArrayLike, name_a: str, name_b: str) -> tuple[Array, Array]:
    A, B = check_matrix(A, name_a), check_matrix(B, name_b)
    if A.shape != B.shape:
        raise InputError(f"{name_b} must have the shape {A.shape} of {name_a}, got {B.shape}.")
    return one_precision((A, B))


def _tolerance(rtol: float | None, dtype: DTypeLike) -> float:
    if rtol is None:
        return 1e-11 if dtype == jnp.float64 else 1e-5
    return check_tolerance(rtol, dtype, "rtol")
