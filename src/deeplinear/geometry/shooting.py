"""Shooting: the initial velocity of a geodesic, found along a path of full rank.

Everything here is in units in which ‖W‖ is about 1; `geodesic` scales.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .hamiltonian_flow import follow
from .kernel import kernel
from .leaf import Depth
from .operator import Operator

# Shooting is led to the end point in stages, coarsely; each is at least _SMALLEST_STAGE of the way,
# or it gives up.
_SMALLEST_STAGE = 1 / 128
_COARSE = 1e-5  # rtol of the stages before the last, where they are the whole way; finer, shorter
_COARSE_MISS = 1e-3  # a stage that misses its target by more is tried again, with a shorter step
_SHOTS = 10  # of Newton's method in a stage
_TILT = 0.4  # a half turn of the leading path is turned aside by this power of ε


class Shot(NamedTuple):
    """What `shoot` found, in the orthonormal frame A^{1/2} at W_0 in units of ``size``."""

    x: Array  # the velocity
    error: Array  # by how much its end misses W_1
    momentum: Array  # at the end, in units of W
    size: Array  # the length of the leading path (1 where it is 0)
    bound: Array  # the same; no shortest geodesic is longer
    enough: Array  # a miss up to here counts as a hit


class _Search(NamedTuple):
    """Where the shooting stands."""

    s: Array  # the part of the leading path that was reached; 1: its end, coarsely; 2: done
    ds: Array  # the next step along it
    v: Array  # the velocity found at s, or the first guess, for the whole way
    x: Array  # the velocity of the next shot of this stage,
    shots: Array  # how many it took so far,
    missed: Array  # and by how much the last one missed
    best: Array  # the best velocity for the end itself,
    error: Array  # by how much it misses,
    momentum: Array  # and its momentum there


class _Gun(NamedTuple):
    """What all shots from W_0 share."""

    W0: Array
    N: Depth
    size: Array
    max_steps: int

    def shot(self, x: Array, target: Array, rtol: Array) -> tuple[Array, Array, Array]:
        """The miss of x at the target, Newton's correction of x, the momentum there.

        Its derivatives are differences along the same steps, good to √ε: a shot that is off by a
        small r then misses by less than √ε r + r².
        """
        W0, N, size = self.W0, self.N, self.size
        start = Operator.unchecked(W0, N)
        step = jnp.finfo(x.dtype).eps ** 0.5 * jnp.maximum(jnp.linalg.norm(x), 1.0)
        units = jnp.concatenate([jnp.zeros((1, *x.shape), x.dtype), _units(W0)])
        momenta = jax.vmap(lambda e: start.power(size * (x + step * e), -0.5))(units)
        starts, end = jnp.broadcast_to(W0, units.shape), jnp.ones(1, x.dtype)
        ends, after, _ = follow(starts, momenta, N, end, rtol, self.max_steps)
        # in the metric at the target, where what counts is relative to the small singular values
        at = Operator.unchecked(jax.lax.optimization_barrier((target, ends))[0], N)
        misses = jax.vmap(lambda W: at.power(W - target, -0.5))(ends[0]).reshape(-1, x.size) / size
        # so far off that the flow did not get there: NaN, and no correction
        correction = jnp.linalg.solve((misses[1:] - misses[0]).T / step, misses[0])
        return jnp.linalg.norm(misses[0]), correction.reshape(x.shape), after[0, 0]


def shoot(W0: Array, W1: Array, N: Depth, nu: Array, rtol: Array, max_steps: int) -> Shot:
    """The velocity at W_0 of a geodesic to W_1, by Newton's method along the leading path.

    One loop over shots, each with its derivatives: a stage of the path ends where it hits, where
    it gets no closer, or after `_SHOTS`.
    """
    leading, bound, first = _leading_path(W0, W1, N, nu)
    size = jnp.where(bound > 0, bound, 1.0)
    gun = _Gun(W0, N, size, max_steps)
    # the error of the steps, and rounding: of the computation, and of W_1 itself where it is near
    eps = jnp.finfo(W0.dtype).eps
    own = jnp.linalg.norm(Operator.unchecked(W1, N).power(W1, -0.5))
    rounding = 300 * eps * jnp.maximum(1.0, own / size)
    enough = 30 * rtol + rounding

    def step(y: _Search) -> _Search:
        coarse = y.s < 1
        to = jnp.minimum(y.s + y.ds, 1.0)
        # the end itself: near a half turn the path misses it
        target = jnp.where(to == 1.0, W1, leading(to)[0])
        # a geodesic to a part of the way has about that part of the velocity
        x = jnp.where(y.shots == 0, to * y.v, y.x)
        # a stage that failed may have failed by its own error, which grows on the way
        loose = jnp.maximum(_COARSE * jnp.minimum(y.ds, 1.0) ** 2, rtol)
        found = gun.shot(x, target, jnp.where(coarse, loose, rtol))
        hit = found[0] <= jnp.where(coarse, _COARSE_MISS, 0.03 * rtol + 0.01 * rounding)
        return _after(y, to, x, found, hit, jnp.where(coarse, hit, found[0] <= enough))

    # The first guess leaves W_0 along the leading path.
    zero = jnp.zeros((), W0.dtype)
    guess = Operator.unchecked(W0, N).power(first, -0.5) / size
    nothing = jnp.full_like(W0, jnp.nan)
    state = _Search(
        zero,
        zero + 1,
        guess,
        guess,
        jnp.zeros((), int),
        zero + jnp.inf,
        guess,
        zero + jnp.inf,
        nothing,
    )
    y = jax.lax.while_loop(lambda y: (y.s < 2) & (y.ds >= _SMALLEST_STAGE), step, state)
    return Shot(y.best, y.error, y.momentum, size, bound, enough)


def _after(
    y: _Search, to: Array, x: Array, found: tuple[Array, Array, Array], hit: Array, reached: Array
) -> _Search:
    """The search after the shot x: the next one of this stage, or the next stage."""
    missed, correction, P = found
    coarse = y.s < 1
    # a coarse miss says nothing about the last stage's
    fresh = ~coarse & (y.shots == 0)
    better = (to == 1.0) & (fresh | (missed < y.error))
    stuck = (y.shots >= 3) & ~(missed < 0.5 * y.missed)
    ended = hit | stuck | ~jnp.isfinite(missed) | (y.shots + 1 >= _SHOTS)
    s = jnp.where(coarse, jnp.where(reached, to, y.s), 2.0)
    ds = jnp.where(reached, 2 * y.ds, y.ds / 4)
    return _Search(
        s=jnp.where(ended, s, y.s),
        ds=jnp.where(ended, ds, y.ds),
        v=jnp.where(ended & reached, x / to, y.v),
        x=x - correction,
        shots=jnp.where(ended, 0, y.shots + 1),
        missed=missed,
        best=jnp.where(better, x, y.best),
        error=jnp.where(better, missed, y.error),
        momentum=jnp.where(better, P, y.momentum),
    )


def _units(W: Array) -> Array:
    """The matrices with a single 1, (mn, m, n)."""
    return jnp.eye(W.size, dtype=W.dtype).reshape(-1, *W.shape)


def _leading_path(
    W0: Array, W1: Array, N: Depth, nu: Array
) -> tuple[Callable[[Array], tuple[Array, Array]], Array, Array]:
    """A path of full rank from W_0 to W_1 on [0, 1] with its velocity, (about) its length, and its
    velocity at W_0.

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
    midpoints = (jnp.arange(64, dtype=W0.dtype) + 0.5) / 64
    points, velocities = jax.vmap(leading)(jnp.append(midpoints, 0.0))
    speeds = jax.vmap(lambda W, Z: jnp.linalg.norm(Operator.unchecked(W, N).power(Z, -0.5)))(
        points[:-1], velocities[:-1]
    )
    return leading, jnp.mean(speeds), velocities[-1]


def _angles(R: Array) -> tuple[Array, Array]:
    """θ and F with R = F e^{iθ} F* for a rotation R: the eigenvectors of the Hermitian −i log R.

    The square root of a rotation is the orthogonal polar factor of I + R; of one that is close to
    I, after a few roots, the logarithm is 2 artanh((r − I)/(r + I)).
    """
    d = R.shape[0]
    eye = jnp.eye(d, dtype=R.dtype)
    # Beside a half turn, where there are two ways round, the root below is any orthogonal matrix: a
    # small rotation with no symmetry chooses one. det(I + R) is the product of 1 + e^{iθ}.
    mixed = jnp.sin(1.0 + jnp.arange(d)[:, None] * 2**0.5 + jnp.arange(d) * 3**0.5)
    tilt = jnp.finfo(R.dtype).eps ** _TILT
    half = jnp.abs(jnp.linalg.det((eye + R) / 2)) < tilt**2
    R = R @ (eye + jnp.where(half, tilt, 0.0) * (mixed - mixed.T).astype(R.dtype))

    def root(_: Array, R: Array) -> Array:
        A, _, Bt = jnp.linalg.svd(eye + R)
        return A @ Bt

    # Four square roots: the angles are then at most π/16, where the series below is exact to
    # rounding.
    R = jax.lax.fori_loop(0, 4, root, R)
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
