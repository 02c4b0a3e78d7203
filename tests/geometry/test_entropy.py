"""Entropy and free energy against the tangent vectors of the orbit."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import orthogonal, skew_basis, with_singular_values
from scipy.special import gammaln

import deeplinear as dl
from deeplinear.geometry.volume import entropy, free_energy


def orbit_volume(W, N, rng):
    """log of the volume of the orbit of O_d^{N−1} through a balanced factorization in generic
    frames: the Gram determinant of its tangent vectors, times vol(O_d)^{N−1} in the coordinates
    E_ij − E_ji.
    """
    U, s, Vt = np.linalg.svd(W)
    d = len(s)
    frames = [Vt.T, *(orthogonal(rng, d) for _ in range(N - 1)), U]
    factors = [frames[p + 1] * s ** (1 / N) @ frames[p].T for p in range(N)]
    vectors = []
    for p in range(N - 1):
        for K in skew_basis(d):
            moved = np.zeros((N, d, d))
            moved[p], moved[p + 1] = K @ factors[p], -factors[p + 1] @ K
            vectors.append(moved.ravel())
    T = np.stack(vectors)
    k = np.arange(1, d + 1)
    group = (math.log(2) + k / 2 * math.log(math.pi) - gammaln(k / 2)).sum()
    return 0.5 * np.linalg.slogdet(T @ T.T)[1] + (N - 1) * group


@pytest.mark.parametrize("d", [2, 3, 4])
def test_entropy_is_the_volume_of_the_orbit_constant_included(rng, d):
    for N in range(2, 7):
        W = rng.normal(size=(d, d))
        assert float(entropy(W, N)) == pytest.approx(orbit_volume(W, N, rng), abs=1e-11)


def test_entropy_of_a_rectangular_matrix_is_that_of_its_singular_values(rng):
    W = rng.normal(size=(5, 3))
    s = np.linalg.svd(W, compute_uv=False)
    for N in (1, 2.5, 4, math.inf):
        assert float(entropy(W, N)) == pytest.approx(float(entropy(np.diag(s), N)), abs=1e-12)
    assert float(entropy(rng.normal(size=(3, 3)), 1)) == pytest.approx(0, abs=1e-14)


def test_entropy_at_low_rank(rng):
    """At corank 1 it is the limit of full rank, whose distance is of the order ε^{2/N}; at corank 2
    it is −∞.
    """
    for N in (2, 3.5, 6):
        at_zero = float(entropy(with_singular_values(rng, [2.0, 1.0], 3, 3), N))
        i = np.array(
            [
                float(oracles.kernel(2, 1, N)),
                float(oracles.kernel(2, 0, N)),
                float(oracles.kernel(1, 0, N)),
            ]
        )
        assert at_zero - float(entropy(np.eye(3), N)) == pytest.approx(
            0.5 * np.log(i).sum(), abs=1e-12
        )
        for exponent in (-20, -60):
            near = dl.LogSVD(
                jnp.eye(3), jnp.array([math.log(2), 0.0, exponent * N / 2]), jnp.eye(3)
            )
            assert float(entropy(near, N)) == pytest.approx(
                at_zero, abs=5 * math.exp(exponent) + 1e-12
            )
        assert float(entropy(with_singular_values(rng, [2.0], 3, 3), N)) == -math.inf
    assert float(entropy(with_singular_values(rng, [2.0, 1.0], 3, 3), math.inf)) == -math.inf
    far = [dl.LogSVD(jnp.eye(2), jnp.array([0.0, x]), jnp.eye(2)) for x in (-1e3, -1e6, -1e9)]
    values = [float(entropy(point, math.inf)) for point in far]  # ½ log(1/(2|log σ|)): slowly
    np.testing.assert_allclose(values, -0.5 * np.log([2e3, 2e6, 2e9]), atol=1e-12)


def test_the_constant_of_the_entropy(rng):
    W, d = with_singular_values(rng, [2.0, 1.5, 0.8]), 3
    k = np.arange(1, d + 1)
    log_c = (
        d * (d - 1) / 4 * math.log(2)
        + (math.log(2) + k / 2 * math.log(math.pi) - gammaln(k / 2)).sum()
    )
    for N in (1, 2, 4.5, 50):
        constant = (N - 1) * log_c + d * (d - 1) / 4 * math.log(N)
        left = float(entropy(W, N)) - float(entropy(W, N, constant=False))
        assert left == pytest.approx(constant, abs=1e-12 * max(1, constant))
        assert float(entropy(W, N, constant=True)) == float(entropy(W, N))
    s = np.linalg.svd(W, compute_uv=False)
    i, j = np.triu_indices(d, 1)
    limit = 0.5 * sum(
        math.log(oracles.kernel(a, b, math.inf)) for a, b in zip(s[i], s[j], strict=True)
    )
    assert (
        float(entropy(W, math.inf, constant=False))
        == float(entropy(W, math.inf))
        == pytest.approx(limit, abs=1e-13)
    )
    N = 2.0 ** np.arange(6, 11)
    gaps = np.array([float(entropy(W, n, constant=False)) for n in N]) - limit
    assert np.polyfit(np.log(N), np.log(np.abs(gaps)), 1)[0] == pytest.approx(-1, abs=0.02)


def test_free_energy(rng):
    Ws = rng.normal(size=(4, 3, 3))
    for N in (2, 5.5, math.inf):
        expected = (Ws**2).sum((1, 2)) - np.asarray(entropy(Ws, N)) / 0.7
        np.testing.assert_allclose(
            free_energy(lambda W: (W**2).sum(), Ws, N, 0.7), expected, rtol=1e-13
        )
    bare = free_energy(lambda W: (W**2).sum(), Ws, 2, 0.7, constant=False)
    np.testing.assert_allclose(
        bare, (Ws**2).sum((1, 2)) - np.asarray(entropy(Ws, 2, constant=False)) / 0.7
    )
    np.testing.assert_allclose(
        free_energy(lambda W: (W**2).sum(), Ws, 2, math.inf), (Ws**2).sum((1, 2))
    )


def test_free_energy_asks_the_energy_for_one_matrix_at_a_time(rng):
    Ws = rng.normal(size=(2, 5, 3, 3))
    for batch in (Ws, Ws[0]):
        expected = np.trace(batch, axis1=-2, axis2=-1) - np.asarray(entropy(batch, 2)) / 0.7
        np.testing.assert_allclose(free_energy(jnp.trace, batch, 2, 0.7), expected, rtol=1e-12)


def test_the_entropy_has_no_slope_where_a_singular_value_is_zero():
    slope = jax.grad(lambda W: entropy(W, 3))(jnp.diag(jnp.array([1.0, 0.0])))
    assert np.isnan(slope).all()
    many = jnp.stack([jnp.diag(jnp.array([2.0, 1.0, 0.0])), jnp.diag(jnp.array([3.0, 2.0, 1.0]))])
    slopes = jax.grad(lambda W: entropy(W, 3).sum())(many)
    assert np.isnan(slopes[0]).any()
    np.testing.assert_allclose(slopes[1], jax.grad(lambda W: entropy(W, 3))(many[1]), rtol=1e-12)


def test_free_energy_at_zero_temperature_and_traced_beta():
    energy = lambda W: jnp.sum(W)  # noqa: E731
    assert float(dl.free_energy(energy, np.diag([1.0, 0.0, 0.0]), 2, math.inf)) == 1
    with pytest.raises(Exception, match="beta must be positive"):
        eqx.filter_jit(lambda b: dl.free_energy(energy, np.eye(2), 2, b))(jnp.asarray(-1.0))
