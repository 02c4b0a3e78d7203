"""The registry of test problems: keys, energies, processes that several tests share."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplinear.dynamics.langevin_root import RootProcess, root_exponent

KEY = jax.random.key(20231)
SIGNIFICANCE = 1e-3

# Depths. What holds at any depth is tested at all of DEPTHS, or at a subset for a reason given
# there.
DEPTHS = (1, 1.5, 2, 3, 7, math.inf)
FINITE_DEPTHS = DEPTHS[:-1]  # rectangular W have no metric at infinite depth
CURVED_DEPTHS = DEPTHS[1:]  # at depth 1 everything is Euclidean
INTEGER_DEPTHS = (1, 2, 3, 5, 7)  # those with factors, and oracles by sums over factors
# where rounding shows: near 1 and 2, odd fractions, and on the way to infinity
EXTREME_DEPTHS = (1 + 1e-12, 1.001, 1.2, 2.5, math.pi, 10, 20, 100, 1e6, 1e12)
DEPTHS_NEAR_TWO = (2 + 1e-9, 2.001)  # where laws change from exponential to algebraic


def slow(*values):
    """A parameter, or one for each argument, that only ``make test-all`` tries."""
    return pytest.param(*values, marks=pytest.mark.slow)


def orthogonal(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def with_singular_values(rng, s, m=None, n=None):
    """An m×n matrix (square by default) with the singular values s, in generic frames."""
    m, n = m or len(s), n or len(s)
    return orthogonal(rng, m)[:, : len(s)] * s @ orthogonal(rng, n)[: len(s)]


def skew_basis(d):
    """The matrices E_ij − E_ji, i < j."""
    for i, j in zip(*np.triu_indices(d, 1), strict=True):
        K = np.zeros((d, d))
        K[i, j], K[j, i] = 1, -1
        yield K


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
