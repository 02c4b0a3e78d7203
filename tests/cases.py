"""The registry of test problems: keys, energies, processes that several tests share."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from deeplinear.dynamics.langevin_process import RootProcess, root_exponent

KEY = jax.random.key(20231)
SIGNIFICANCE = 1e-3
SLOW = pytest.mark.slow


@jax.custom_jvp
def _half_square_of_logs(W):
    return 0.5 * jnp.sum(jnp.log(jnp.linalg.svd(W, compute_uv=False)) ** 2)


@_half_square_of_logs.defjvp
def _(primals, tangents):
    U, s, Vt = jnp.linalg.svd(primals[0])
    return 0.5 * jnp.sum(jnp.log(s) ** 2), jnp.sum(((U * (jnp.log(s) / s)) @ Vt) * tangents[0])


class LogEnergy(eqx.Module):
    """E = ½ Σ log² σ_i."""

    def __call__(self, W):
        return _half_square_of_logs(W)


class Distance(eqx.Module):
    """E = ½ c ‖W − M‖²: its gradient has no symmetry."""

    M: jax.Array
    c: float = eqx.field(static=True, default=1.0)

    def __call__(self, W):
        return 0.5 * self.c * jnp.sum((W - self.M) ** 2)


class Radial(eqx.Module):
    """E = ½ Σ x_i² with x = N σ^{1/N}, the length from zero."""

    N: float = eqx.field(static=True)

    def __call__(self, W):
        return 0.5 * self.N**2 * jnp.sum(jnp.linalg.svd(W, compute_uv=False) ** (2 / self.N))


def process(energy, depth, beta=1.7, kappa=0.6, turning=False):
    """The equation of the root, as the library steps it (``turning``) or plainly."""
    as_array = lambda x: jnp.asarray(x, float)  # noqa: E731
    q = root_exponent(depth, float, turning)
    return RootProcess(energy, as_array(depth), q, as_array(beta), as_array(kappa), turning=turning)
