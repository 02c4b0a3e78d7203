"""How geodesics are found: the Hamiltonian flow, and shooting along a path of full rank.

Everything here is in units in which ‖W‖ is about 1; `geodesic` scales.
"""

from collections.abc import Callable
from typing import NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, ArrayLike

from .derivatives import hamiltonian_field, operator_power
from .kernel import kernel

# Shooting is led to the end point in stages, coarsely; each is at least _SMALLEST_STAGE of the way,
# or it gives up.
_SMALLEST_STAGE = 1 / 128
_COARSE = 1e-5  # rtol of the stages before the last
_COARSE_MISS = 1e-3  # a stage that misses its target by more is tried again, with a shorter step


def follow(
    W: Array, P: Array, N: Array, times: Array, rtol: Array, max_steps: int
) -> tuple[Array, Array, Array]:
    """The Hamiltonian flow from (W, P) at ``times``, and whether it reached the last of them."""
    # The momentum is integrated in units of its length, so that atol means the same for both.
    unit = jnp.linalg.norm(P)
    unit = jnp.where(unit > 0, unit, 1.0)

    @eqx.filter_jit
    def field(t: ArrayLike, y: tuple[Array, Array], args: None) -> tuple[Array, Array]:
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
        # Newton's method in `shoot` differentiates by forward mode
        adjoint=dfx.ForwardMode(),
        throw=False,
    )
    ends, momenta = solution.ys
    return ends, unit * momenta, solution.result == dfx.RESULTS.successful


class Shot(NamedTuple):
    """What `shoot` found, in the orthonormal frame A^{1/2} at W_0 in units of ``size``."""

    x: Array  # the velocity
    error: Array  # by how much its end misses W_1
    momentum: Array  # at the end, in units of W
    size: Array  # the length of the leading path (1 where it is 0)
    bound: Array  # the same; no shortest geodesic is longer
    enough: Array  # a miss up to here counts as a hit


class _Stage(NamedTuple):
    """Where the shooting stands."""

    s: Array  # the part of the leading path that was reached; 1: its end, coarsely; 2: done
    ds: Array  # the next step along it
    v: Array  # the velocity found at s, or the first guess, for the whole way
    best: Array  # the best velocity for the end itself,
    error: Array  # by how much it misses,
    momentum: Array  # and its momentum there


def shoot(W0: Array, W1: Array, N: Array, nu: Array, rtol: Array, max_steps: int) -> Shot:
    """The velocity at W_0 of a geodesic to W_1, by Newton's method along the leading path."""
    leading, bound = _leading_path(W0, W1, N, nu)
    size = jnp.where(bound > 0, bound, 1.0)
    # the error of the steps, and rounding: of the computation, and of W_1 itself where it is near
    own = jnp.linalg.norm(operator_power(W1, W1, N, -0.5))
    enough = 30 * rtol + 300 * jnp.finfo(W0.dtype).eps * jnp.maximum(1.0, own / size)

    def aim(x: Array, to: Array, rtol: Array) -> tuple[Array, Array, Array]:
        """Newton's method from x on the end point; the velocity, its miss, the momentum there."""
        x, to = jax.lax.optimization_barrier((x, to))

        def end(x: Array) -> tuple[Array, Array]:
            P = operator_power(W0, size * x, N, -0.5)
            (W, *_), (P, *_), _ = follow(W0, P, N, jnp.ones(1, W0.dtype), rtol, max_steps)
            W, target = jax.lax.optimization_barrier((W, to))
            # in the metric at the target, where what counts is relative to the small singular
            # values
            return operator_power(target, W - target, N, -0.5) / size, P

        # Typed as floats, but traced numbers are accepted.
        solver: optx.Newton = optx.Newton(rtol=0.1 * rtol, atol=0.1 * rtol)  # type: ignore[arg-type]
        found = optx.root_find(lambda x, _: end(x)[0], solver, x, throw=False, max_steps=10).value
        miss, P = end(found)
        return found, jnp.linalg.norm(miss), P

    def stage(y: _Stage) -> _Stage:
        coarse = y.s < 1
        to = jnp.minimum(y.s + y.ds, 1.0)
        # the end itself: near a half turn the path misses it
        target = jnp.where(to == 1.0, W1, leading(to)[0])
        # a geodesic to a part of the way has about that part of the velocity
        accuracy = jnp.where(coarse, jnp.maximum(_COARSE, rtol), rtol)
        found, missed, P = aim(to * y.v, target, accuracy)
        hit = missed <= jnp.where(coarse, _COARSE_MISS, enough)
        # a coarse miss says nothing about the last stage's
        better = (to == 1.0) & (~coarse | (missed < y.error))
        return _Stage(
            s=jnp.where(coarse, jnp.where(hit, to, y.s), 2.0),
            ds=jnp.where(hit, 2 * y.ds, y.ds / 4),
            v=jnp.where(hit, found / to, y.v),
            best=jnp.where(better, found, y.best),
            error=jnp.where(better, missed, y.error),
            momentum=jnp.where(better, P, y.momentum),
        )

    # The first guess leaves W_0 along the leading path.
    zero = jnp.zeros((), W0.dtype)
    start = operator_power(W0, leading(zero)[1], N, -0.5) / size
    state = _Stage(zero, zero + 1, start, start, zero + jnp.inf, jnp.full_like(W0, jnp.nan))
    y = jax.lax.while_loop(lambda y: (y.s < 2) & (y.ds >= _SMALLEST_STAGE), stage, state)
    return Shot(y.best, y.error, y.momentum, size, bound, enough)


def _leading_path(
    W0: Array, W1: Array, N: Array, nu: Array
) -> tuple[Callable[[Array], tuple[Array, Array]], Array]:
    """A path of full rank from W_0 to W_1 on [0, 1] with its velocity, and (about) its length.

    The length bounds that of a shortest geodesic from above.

    Square: the positive factors of the polar decompositions are interpolated by their N-th roots,
    the orthogonal ones by turning evenly; along common singular vectors this is the geodesic. Else
    the straight line.
    """

    def power_mean(s: Array) -> tuple[Array, Array]:
        x, Q = jnp.linalg.eigh((1 - s) * roots[0] + s * roots[1])
        sigma = jnp.exp(jnp.where(nu > 0, jnp.log1p(nu * x) / jnp.where(nu > 0, nu, 1.0), x))
        turn = ((F * jnp.exp(1j * s * angle)) @ F.conj().T).real
        turning = ((F * (1j * angle * jnp.exp(1j * s * angle))) @ F.conj().T).real
        # the divided differences of x ↦ σ, for x = N (σ^{1/N} − 1)
        slopes = kernel(jnp.sqrt(sigma)[:, None], jnp.sqrt(sigma), N)
        positive = (Q * sigma) @ Q.T @ start
        growing = Q @ (slopes * (Q.T @ (roots[1] - roots[0]) @ Q)) @ Q.T @ start
        return positive @ turn, growing @ turn + positive @ turning

    square = W0.shape[0] == W0.shape[1]
    if square:
        U, sigma, Vt = jnp.linalg.svd(jnp.stack([W0, W1]))
        roots = (U * _box_cox(jnp.log(sigma), nu)[:, None, :]) @ jnp.swapaxes(U, 1, 2)
        start, end = U @ Vt
        # one decomposition after the other: several at once can lock up XLA on two cores
        roots, angle, F = jax.lax.optimization_barrier((roots, *_angles(start.T @ end)))
    leading = power_mean if square else lambda s: ((1 - s) * W0 + s * W1, W1 - W0)
    # The length by the midpoint rule, which is exact where the speed is constant.
    points, velocities = jax.vmap(leading)((jnp.arange(64, dtype=W0.dtype) + 0.5) / 64)
    speeds = jax.vmap(lambda W, Z: jnp.linalg.norm(operator_power(W, Z, N, -0.5)))(
        points, velocities
    )
    return leading, jnp.mean(speeds)


def _angles(R: Array) -> tuple[Array, Array]:
    """θ and F with R = F e^{iθ} F* for a rotation R: the eigenvectors of the Hermitian −i log R.

    The square root of a rotation is the orthogonal polar factor of I + R; of one that is close to
    I, after a few roots, the logarithm is 2 artanh((r − I)/(r + I)).
    """
    eye = jnp.eye(R.shape[0], dtype=R.dtype)
    # Four square roots: the angles are then at most π/16, where the series below is exact to
    # rounding.
    for _ in range(4):
        A, _, Bt = jnp.linalg.svd(eye + R)
        R = A @ Bt
    X = jnp.linalg.solve(eye + R, R - eye)
    term, log = X, X
    for k in range(3, 15, 2):  # artanh x = x + x³/3 + x⁵/5 + …
        term = term @ X @ X
        log = log + term / k
    # log R = 2⁴ · 2 artanh X; the difference makes it antisymmetric to the last digit, and doubles
    # it. Hermitian after the factor −i, and so with real angles and orthonormal F also at ties.
    angle, F = jnp.linalg.eigh(-1j * 16 * (log - log.T))
    return angle, F


def _box_cox(x: Array, nu: Array) -> Array:
    """(e^{νx} − 1)/ν, which is x at ν = 0."""
    return jnp.where(nu > 0, jnp.expm1(nu * x) / jnp.where(nu > 0, nu, 1.0), x)
