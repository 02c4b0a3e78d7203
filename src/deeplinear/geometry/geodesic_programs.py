"""The compiled programs of geodesics: exponential and logarithm, in units in which ‖W‖ is 1."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..compilation import program
from ..status import Status
from .derivatives import operator_power
from .geodesic_result import Geodesic, Logarithm
from .hamiltonian_flow import follow
from .kernel import degree
from .leaf import Depth, rescaled
from .operator import Operator
from .shooting import shoot


def _is_singular(W: Array, N: Depth) -> Array:
    return jnp.isnan(operator_power(W, jnp.ones_like(W), N, -1)).any()


@program
def exponential(
    W: Array, Z: Array, N: Depth, times: Array, rtol: Array, max_steps: int
) -> tuple[Geodesic, Array]:
    """The geodesic at ``times``, and whether it starts where the metric is infinite."""
    # geodesics of g^N stay geodesics under W → cW; a leaf moves along. So nothing depends on the
    # scale, nor does any derivative; from W = 0, a point of leaves that are smooth there, it is Z's
    size, speed = jnp.linalg.norm(W), jnp.linalg.norm(Z)
    scale = jax.lax.stop_gradient(jnp.where(size > 0, size, jnp.where(speed > 0, speed, 1.0)))
    W, Z, N = W / scale, Z / scale, rescaled(N, scale)
    P = operator_power(W, Z, N, -1)
    # constant along the geodesic; lengths scale like c^ν
    speed = jnp.linalg.norm(operator_power(W, Z, N, -0.5)) * scale ** degree(N, W.dtype)
    ends, momenta, ok = follow(W[None], P[None], N, times, rtol, max_steps)
    ends, momenta = ends[:, 0], momenta[:, 0]
    velocity = jax.vmap(lambda W, P: operator_power(W, P, N, 1))(ends, momenta)
    status = jnp.where(ok, Status.converged, jnp.asarray(Status.left_full_rank, jnp.int32))
    reached = jnp.isfinite(ends).all((1, 2))
    length = jnp.where(reached, speed * times, jnp.inf)
    speeds = jax.vmap(lambda W, P: jnp.linalg.norm(operator_power(W, P, N, 0.5)))(ends, momenta)
    speeds = speeds * scale ** degree(N, W.dtype)
    drift = jnp.abs(speeds - speed) / jnp.where(speed > 0, speed, 1.0)
    error = jnp.where(reached, drift, jnp.inf)
    result = Geodesic(times, scale * ends, scale * velocity, length, status, error)
    return result, _is_singular(W, N)


@program
def logarithm(
    W0: Array, W1: Array, N: Depth, rtol: Array, max_steps: int
) -> tuple[Logarithm, Array]:
    """A geodesic from W_0 to W_1 by shooting, and whether either is of low rank."""
    nu = degree(N, W0.dtype)
    scale = jnp.linalg.norm(W0)
    W0, W1, N = W0 / scale, W1 / scale, rescaled(N, scale)
    x, error, P1, size, bound, enough = shoot(W0, W1, N, nu, rtol, max_steps)
    start, end = Operator.unchecked(W0, N), Operator.unchecked(W1, N)
    Z, P0 = start.power(size * x, 0.5), start.power(size * x, -0.5)
    unit = scale**nu  # of lengths, in W's own scale
    length = size * jnp.linalg.norm(x)
    # longer than the leading path (by more than the quadrature of its length): not a shortest one
    status = jnp.asarray(Status.not_shortest, jnp.int32)
    status = jnp.where(length <= bound * 1.001 + enough, Status.converged, status)
    status = jnp.where(error <= enough, status, Status.not_converged)
    momenta = (unit**2 / scale * P0, unit**2 / scale * P1)
    result = Logarithm(scale * Z, unit * length, momenta, unit * size * error, status)
    return result, start.is_singular | end.is_singular
