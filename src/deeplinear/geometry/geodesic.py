"""Geodesics of the metric g^N: exponential, logarithm, distance and path, by the Hamiltonian flow
and shooting.
"""

import warnings
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float

from ..checks import check_depth, check_matrix, check_tolerance, is_traced, raise_if
from ..errors import InputError, NotConvergedWarning
from ..status import Status
from .derivatives import guard, hamiltonian_field, operator_power
from .geodesic_closed_form import aligned_distance, aligned_path, spd_distance, spd_path
from .kernel import inverse_depth
from .operator import singular_error

__all__ = [
    "Geodesic",
    "Logarithm",
    "Status",
    "aligned_distance",
    "aligned_path",
    "distance",
    "exp",
    "log",
    "path",
    "spd_distance",
    "spd_path",
]


class Geodesic(eqx.Module):
    """Points of a geodesic.

    - ``W``, ``velocity``: m×n each, with the leading axis of ``t`` where several times were asked
      for.
    - ``length``: the g^N-length from t = 0 to each t (times that were not reached: infinite, as W).
    - ``status``: a code of `Status`; ``converged``: whether it is as asked.
    """

    t: Float[Array, "*t"]
    W: Float[Array, "*t m n"]
    velocity: Float[Array, "*t m n"]
    length: Float[Array, "*t"]
    status: Array

    @property
    def converged(self) -> Array:
        return Status.succeeded(self.status)


class Logarithm(eqx.Module):
    """The initial velocity of a geodesic from W_0 to W_1 in unit time.

    - ``Z``: the velocity at W_0, m×n. ``distance``: its length ‖Z‖_g. ``momenta``: A^{−1}(Ẇ) at
      both ends; the derivative of the distance along a motion of the end points is (⟨P_1, δW_1⟩ −
      ⟨P_0, δW_0⟩)/distance.
    - ``error``: by how much exp(Z) misses W_1, as a g^N-length at W_1. ``status``, ``converged``.
    """

    Z: Float[Array, "m n"]
    distance: Float[Array, ""]
    momenta: tuple[Float[Array, "m n"], Float[Array, "m n"]]
    error: Float[Array, ""]
    status: Array

    @property
    def converged(self) -> Array:
        return Status.succeeded(self.status)


def exp(
    W: ArrayLike,
    Z: ArrayLike,
    depth: ArrayLike,
    t: ArrayLike = 1.0,
    *,
    rtol: float | None = None,
    max_steps: int = 4096,
) -> Geodesic:
    """The geodesic of g^N that leaves W with velocity Z, by the Hamiltonian flow of H(W, P) = ½⟨P,
    A_{N,W}(P)⟩,

        Ẇ = A_W(P),   Ṗ = −∂_W H,   P(0) = A_W^{−1}(Z).

    **Arguments**: ``W`` m×n of full rank, ``Z`` of its shape; ``t`` a time or increasing times ≥ 0;
    ``rtol`` of the steps, 1e−11 by default (float32: 1e−5).

    At finite depth the matrices of full rank are incomplete: a geodesic may reach det W = 0 in
    finite time, where it ends and the status says so. **Normalization**: the metric of [CMV];
    multiples of it have the same geodesics.

    **Returns** a `Geodesic`. **Raises** `SingularOperatorError` for a W without full rank,
    `InputError`, `DepthError`.

    **Source**: theory: Menon, *The geometry of the deep linear network*; Chen, *Geodesics in the
    deep linear network* (2510.07324).

    >>> import deeplinear as dl, numpy as np
    >>> W, Z = np.diag([4.0, 1.0]), np.diag([2.0, 1.0])  # at depth 2 the roots of singular values move evenly
    >>> np.round(dl.geodesic.exp(W, Z, 2, rtol=1e-5).W, 3).tolist()  # (√4 + ½)², (√1 + ½)²
    [[6.25, 0.0], [0.0, 2.25]]
    """
    check_depth(depth, scalar=True)
    W, Z = _pair(W, Z, "W", "Z")
    rtol = _tolerance(rtol, W.dtype)
    times = jnp.asarray(t, W.dtype)
    if times.ndim > 1 or times.size == 0:
        raise InputError(f"t must be a time or times in one axis, got shape {times.shape}.")
    if not is_traced(times) and not (
        np.all(np.diff(np.atleast_1d(t), prepend=0.0) >= 0) and np.all(np.isfinite(t))
    ):
        raise InputError(f"t must hold finite, increasing times ≥ 0, got {t!r}: for t < 0 take −Z.")
    args = W, Z, jnp.asarray(depth, W.dtype), jnp.atleast_1d(times), jnp.asarray(rtol, W.dtype)
    result, singular = _exp(*args, max_steps)
    result = raise_if(result, singular, singular_error())
    if times.ndim == 0:
        return Geodesic(times, result.W[0], result.velocity[0], result.length[0], result.status)
    return result


def log(
    W0: ArrayLike,
    W1: ArrayLike,
    depth: ArrayLike,
    *,
    rtol: float | None = None,
    max_steps: int = 64,
) -> Logarithm:
    """The initial velocity Z of a geodesic of g^N with exp_{W_0}(Z) = W_1, by shooting.

    Newton's method on the end point, led there along a path of full rank in as many stages as it
    needs. What it finds is a geodesic, and locally the shortest; that no shorter one exists is
    certain only for near points. One that is longer than that path is told as ``not_shortest``.

    **Arguments**: ``W0``, ``W1`` m×n of full rank, with determinants of one sign if square;
    ``rtol`` as in `exp`; ``max_steps`` of each trial geodesic. Works inside ``jit`` and ``vmap``
    (where determinants of opposite sign are ``not_converged``). End points that a half turn
    separates (W_0ᵀW_1 with orthogonal factor of eigenvalue −1) are not found.

    **Returns** a `Logarithm`, always with a ``status``: look at it. **Normalization**: distances as
    in `distance`.

    **Raises** `SingularOperatorError`, `DepthError`, `InputError` (determinants of opposite sign:
    no path of full rank joins them).

    >>> import deeplinear as dl, numpy as np
    >>> found = dl.geodesic.log(np.diag([4.0, 1.0]), np.diag([9.0, 4.0]), 2, rtol=1e-6)
    >>> np.round(found.Z, 4).tolist(), bool(found.converged)
    ([[4.0, 0.0], [0.0, 2.0]], True)
    """
    check_depth(depth, scalar=True)
    W0, W1 = _pair(W0, W1, "W0", "W1")
    rtol = _tolerance(rtol, W0.dtype)
    N = jnp.asarray(depth, W0.dtype)
    if not is_traced(W0, W1) and W0.shape[0] == W0.shape[1]:
        signs = [np.linalg.slogdet(np.asarray(W))[0] for W in (W0, W1)]
        if signs[0] * signs[1] < 0:
            raise InputError(
                "W0 and W1 must have determinants of one sign, got opposite ones: no path of full "
                "rank joins them."
            )
    untracked = "the logarithm is not differentiable: differentiate geodesic.distance, or exp"
    W0, W1 = W0 + guard(W0, untracked), W1 + guard(W1, untracked)
    result, singular = _log(W0, W1, N, jnp.asarray(rtol, W0.dtype), max_steps)
    return raise_if(result, singular, singular_error())


def distance(
    W0: ArrayLike, W1: ArrayLike, depth: ArrayLike, *, rtol: float | None = None
) -> Float[Array, ""]:
    """The g^N-length of the geodesic from W_0 to W_1 which `log` finds; NaN, with a
    `NotConvergedWarning`, where it finds none.

    Differentiable (once) in both matrices, by the formula of first variation. **Normalization**:
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
    found = log(jax.lax.stop_gradient(W0), jax.lax.stop_gradient(W1), depth, rtol=rtol)
    value = _first_variation(
        W0, W1, jnp.where(found.converged, found.distance, jnp.nan), *found.momenta
    )
    if not is_traced(value) and not found.converged:
        why = Status(int(found.status)).sentence
        warnings.warn(f"The distance is not known. {why}", NotConvergedWarning, stacklevel=2)
    return value


def path(
    W0: ArrayLike, W1: ArrayLike, depth: ArrayLike, t: ArrayLike, *, rtol: float | None = None
) -> Geodesic:
    """Points of the geodesic from W_0 (t = 0) to W_1 (t = 1) which `log` finds, at the times t ≥ 0.
    Raises as `log` does.

    >>> import deeplinear as dl, numpy as np
    >>> halfway = dl.geodesic.path(np.diag([1.0, 1.0]), np.diag([9.0, 1.0]), 2, 0.5, rtol=1e-6)
    >>> np.round(halfway.W, 4).tolist()  # ((1 + √9)/2)²
    [[4.0, 0.0], [0.0, 1.0]]
    """
    found = log(W0, W1, depth, rtol=rtol)
    result = exp(W0, found.Z, depth, t, rtol=rtol)
    return eqx.tree_at(
        lambda g: g.status, result, jnp.where(found.converged, result.status, found.status)
    )


@jax.custom_jvp
def _first_variation(W0: Array, W1: Array, value: Array, P0: Array, P1: Array) -> Array:
    """``value``, with the derivatives in W_0 and W_1 that the momenta of the geodesic give."""
    return value


@_first_variation.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    W0, W1, value, P0, P1 = primals
    dW0, dW1, *_ = tangents
    once = "the distance can be differentiated once only"
    slope = (jnp.sum(P1 * dW1) - jnp.sum(P0 * dW0)) / value
    return value, slope + guard(W0, once) + guard(W1, once)


def _pair(A: ArrayLike, B: ArrayLike, name_a: str, name_b: str) -> tuple[Array, Array]:
    A, B = check_matrix(A, name_a), check_matrix(B, name_b)
    if A.shape != B.shape:
        raise InputError(f"{name_b} must have the shape {A.shape} of {name_a}, got {B.shape}.")
    dtype = jnp.result_type(A, B)
    return A.astype(dtype), B.astype(dtype)


def _tolerance(rtol: float | None, dtype: Any) -> float:
    if rtol is None:
        return 1e-11 if dtype == jnp.float64 else 1e-5
    return check_tolerance(rtol, dtype, "rtol")


def _is_singular(W: Array, N: Array) -> Array:
    return jnp.isnan(operator_power(W, jnp.ones_like(W), N, -1)).any()


@eqx.filter_jit
def _exp(
    W: Array, Z: Array, N: Array, times: Array, rtol: Array, max_steps: int
) -> tuple[Geodesic, Array]:
    scale = jnp.linalg.norm(W)
    W, Z = W / scale, Z / scale  # geodesics of g^N stay geodesics under W → cW
    P = operator_power(W, Z, N, -1)
    speed = jnp.linalg.norm(operator_power(W, Z, N, -0.5)) * scale ** inverse_depth(N, W.dtype)
    ends, momenta, ok = _follow(W, P, N, times, rtol, max_steps)
    velocity = jax.vmap(lambda W, P: operator_power(W, P, N, 1))(ends, momenta)
    status = jnp.where(ok, Status.converged, jnp.asarray(Status.left_full_rank, jnp.int32))
    length = jnp.where(
        jnp.isfinite(ends).all((1, 2)), speed * times, jnp.inf
    )  # times that were not reached
    return Geodesic(times, scale * ends, scale * velocity, length, status), _is_singular(W, N)


def _follow(
    W: Array, P: Array, N: Array, times: Array, rtol: Array, max_steps: int
) -> tuple[Array, Array, Array]:
    """The Hamiltonian flow from (W, P) at ``times``, and whether it got to the last of them. ‖W‖ is
    about 1.
    """
    unit = jnp.linalg.norm(P)
    unit = jnp.where(unit > 0, unit, 1.0)

    @eqx.filter_jit
    def field(t: Any, y: tuple[Array, Array], args: Any) -> tuple[Array, Array]:
        velocity, force = hamiltonian_field(y[0], unit * y[1], N)
        return velocity, force / unit

    solution = dfx.diffeqsolve(
        dfx.ODETerm(field),
        dfx.Dopri8(),
        0.0,
        times[-1],
        None,
        (W, P / unit),
        saveat=dfx.SaveAt(ts=times),
        stepsize_controller=dfx.PIDController(rtol=rtol, atol=rtol),
        max_steps=max_steps,
        adjoint=dfx.ForwardMode(),
        throw=False,
    )
    ends, momenta = solution.ys
    return ends, unit * momenta, solution.result == dfx.RESULTS.successful


# Shooting is led to the end point in stages, coarsely; each is at least _SMALLEST_STAGE of the way,
# or it gives up.
_SMALLEST_STAGE = 1 / 128
_COARSE = 1e-5


@eqx.filter_jit
def _log(W0: Array, W1: Array, N: Array, rtol: Array, max_steps: int) -> tuple[Logarithm, Array]:
    nu = inverse_depth(N, W0.dtype)
    scale = jnp.linalg.norm(W0)
    W0, W1 = W0 / scale, W1 / scale
    leading, bound = _leading_path(W0, W1, N, nu)
    size = jnp.where(bound > 0, bound, 1.0)
    enough = 30 * rtol + 300 * jnp.finfo(W0.dtype).eps

    def shoot(x: Array, to: Array, rtol: Array) -> tuple[Array, Array, Array]:
        """Newton's method from x, the velocity in the orthonormal frame A^{1/2} at W_0 in units of
        ``size``; by how much its result misses, in these units; the momentum at the end.
        """

        x, to = jax.lax.optimization_barrier((x, to))

        def end(x: Array) -> tuple[Array, Array]:
            P = operator_power(W0, size * x, N, -0.5)
            (W, *_), (P, *_), _ = _follow(W0, P, N, jnp.ones(1, W0.dtype), rtol, max_steps)
            W, target = jax.lax.optimization_barrier((W, to))
            # in the metric at the target, where what counts is relative to the small singular
            # values
            return operator_power(target, W - target, N, -0.5) / size, P

        solver: Any = optx.Newton(rtol=0.1 * rtol, atol=0.1 * rtol)  # type: ignore[arg-type]  # a traced number will do
        found = optx.root_find(lambda x, _: end(x)[0], solver, x, throw=False, max_steps=10).value
        miss, P = end(found)
        return found, jnp.linalg.norm(miss), P

    def stage(state: tuple) -> tuple:
        s, ds, v, best, error, momentum = (
            state  # v: what was found at s, or the first guess, for the whole way
        )
        coarse = s < 1
        to = jnp.minimum(s + ds, 1.0)
        target = jnp.where(
            to == 1.0, W1, leading(to)
        )  # the end itself: near a half turn the path misses it
        found, missed, P = shoot(
            to * v, target, jnp.where(coarse, jnp.maximum(_COARSE, rtol), rtol)
        )
        hit = missed <= jnp.where(coarse, 1e-3, enough)
        better = (to == 1.0) & (
            ~coarse | (missed < error)
        )  # a coarse miss says nothing about the last stage's
        return (
            jnp.where(coarse, jnp.where(hit, to, s), 2.0),  # s = 1: there, coarsely; 2: done
            jnp.where(hit, 2 * ds, ds / 4),
            jnp.where(hit, found / to, v),
            jnp.where(better, found, best),
            jnp.where(better, missed, error),
            jnp.where(better, P, momentum),
        )

    h = 1e-3
    start = operator_power(W0, (leading(jnp.asarray(h, W0.dtype)) - W0) / h, N, -0.5) / size
    zero = jnp.zeros((), W0.dtype)
    state = (zero, zero + 1, start, start, zero + jnp.inf, jnp.full_like(W0, jnp.nan))
    *_, x, error, P1 = jax.lax.while_loop(
        lambda y: (y[0] < 2) & (y[1] >= _SMALLEST_STAGE), stage, state
    )
    Z = operator_power(W0, size * x, N, 0.5)
    P0 = operator_power(W0, size * x, N, -0.5)
    unit = scale**nu
    length = size * jnp.linalg.norm(x)
    status = jnp.asarray(Status.not_shortest, jnp.int32)
    status = jnp.where(length <= bound * 1.001 + enough, Status.converged, status)
    status = jnp.where(error <= enough, status, Status.not_converged)
    momenta = (unit**2 / scale * P0, unit**2 / scale * P1)
    result = Logarithm(scale * Z, unit * length, momenta, unit * size * error, status)
    return result, _is_singular(W0, N) | _is_singular(W1, N)


def _leading_path(W0: Array, W1: Array, N: Array, nu: Array) -> tuple[Any, Array]:
    """A path of full rank from W_0 to W_1 on [0, 1], and (about) its length, above which no
    shortest geodesic can be.

    Square: the positive factors of the polar decompositions are interpolated by their N-th roots,
    the orthogonal ones by turning evenly; along common singular vectors this is the geodesic. Else
    the straight line.
    """

    def power_mean(s: Array) -> Array:
        x, Q = jnp.linalg.eigh((1 - s) * roots[0] + s * roots[1])
        inverse = jnp.where(nu > 0, jnp.log1p(nu * x) / jnp.where(nu > 0, nu, 1.0), x)
        turn = ((F * jnp.exp(1j * s * angle)) @ F.conj().T).real
        return (Q * jnp.exp(inverse)) @ Q.T @ start @ turn

    square = W0.shape[0] == W0.shape[1]
    if square:
        U, sigma, Vt = jnp.linalg.svd(jnp.stack([W0, W1]))
        roots = (U * _box_cox(jnp.log(sigma), nu)[:, None, :]) @ jnp.swapaxes(U, 1, 2)
        start, end = U @ Vt
        # one decomposition after the other: several at once can lock up XLA on two cores
        roots, angle, F = jax.lax.optimization_barrier((roots, *_angles(start.T @ end)))
    leading = power_mean if square else lambda s: (1 - s) * W0 + s * W1
    points = jax.vmap(leading)(jnp.linspace(0.0, 1.0, 65, dtype=W0.dtype))
    middle = 0.5 * (points[1:] + points[:-1])
    pieces = jax.vmap(lambda W, Z: jnp.linalg.norm(operator_power(W, Z, N, -0.5)))(
        middle, jnp.diff(points, axis=0)
    )
    return leading, jnp.sum(pieces)


def _angles(R: Array) -> tuple[Array, Array]:
    """θ and F with R = F e^{iθ} F* for a rotation R: the eigenvectors of the Hermitian −i log R.

    The square root of a rotation is the orthogonal polar factor of I + R; of one that is close to
    I, after a few roots, the logarithm is 2 artanh((r − I)/(r + I)).
    """
    eye = jnp.eye(R.shape[0], dtype=R.dtype)
    for _ in range(4):
        A, _, Bt = jnp.linalg.svd(eye + R)
        R = A @ Bt
    X = jnp.linalg.solve(eye + R, R - eye)
    term, log = X, X
    for k in range(3, 15, 2):
        term = term @ X @ X
        log = log + term / k
    angle, F = jnp.linalg.eigh(-1j * 16 * (log - log.T))
    return angle, F


def _box_cox(x: Array, nu: Array) -> Array:
    """(e^{νx} − 1)/ν, which is x at ν = 0."""
    return jnp.where(nu > 0, jnp.expm1(nu * x) / jnp.where(nu > 0, nu, 1.0), x)
