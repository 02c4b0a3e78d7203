"""Tangent kernels against power sums, and the rates that they predict."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import INTEGER_DEPTHS

import deeplinear as dl
from deeplinear import asymptotics as asy


def dense_kernel(mask, W, N):
    """K column by column from the power sum."""
    K = []
    for i, j in zip(*np.nonzero(mask), strict=True):
        Z = np.zeros(W.shape)
        Z[i, j] = 1
        K.append(oracles.operator(W, Z, N)[mask])
    return np.array(K)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 2)])
@pytest.mark.parametrize("depth", [*INTEGER_DEPTHS, math.inf])
@pytest.mark.parametrize("rank", [1, 2, None])
def test_the_tangent_kernel_is_the_power_sum_on_the_observed_entries(rng, shape, depth, rank):
    W = (
        rng.normal(size=shape)
        if rank is None
        else rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    )
    mask = rng.random(shape) < 0.6
    mask[0, 0] = True
    expected = dense_kernel(mask, W, depth)
    np.testing.assert_allclose(asy.tangent_kernel(mask, W, depth).as_matrix(), expected, atol=1e-12)
    weights = np.where(mask, rng.uniform(0.3, 3.0, shape), 0.0)
    energy = dl.Completion(*np.nonzero(mask), rng.normal(size=mask.sum()), shape, weights[mask])
    root = np.sqrt(weights[mask])
    weighted = root[:, None] * expected * root
    K = asy.tangent_kernel(energy, W, depth)
    np.testing.assert_allclose(K.as_matrix(), weighted, atol=1e-12)
    free, x = asy.tangent_kernel(energy, W, depth, dense=False), rng.normal(size=mask.sum())
    np.testing.assert_allclose(free.mv(x), weighted @ x, atol=1e-12)
    np.testing.assert_allclose(free.as_matrix(), weighted, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, math.inf])
def test_sensing_and_general_energies_have_the_same_rates(rng, depth):
    # The entries as measurements; and A^{1/2} H A^{1/2}, whose nonzero eigenvalues are those of K =
    # P A P.
    W, mask = rng.normal(size=(3, 4)), rng.random((3, 4)) < 0.5
    X = np.where(mask, rng.normal(size=(3, 4)), np.nan)
    energy = dl.Completion.from_dense(X, np.where(mask, 1.7, 0.0))
    p = mask.sum()
    A = np.zeros((p, 3, 4))
    A[(np.arange(p), *np.nonzero(mask))] = 1
    sensing = dl.Sensing(A, X[mask], np.full(p, 1.7))
    K = np.asarray(asy.tangent_kernel(energy, W, depth).as_matrix())
    np.testing.assert_allclose(asy.tangent_kernel(sensing, W, depth).as_matrix(), K, atol=1e-12)
    general = asy.tangent_kernel(lambda W: energy(W), W, depth)
    values = np.linalg.eigvalsh(general.as_matrix())
    edges = np.zeros(12 - p)
    np.testing.assert_allclose(values, np.concatenate([edges, np.linalg.eigvalsh(K)]), atol=1e-11)
    rates = [asy.predicted_rate(E, W, depth) for E in (energy, sensing, lambda W: energy(W))]
    for rate in rates:
        # at N = ∞ a square block alone moves: the modes of an m×n W outside of it are frozen
        nonzero = np.linalg.eigvalsh(K)
        nonzero = nonzero[nonzero > 1e-12]
        assert float(rate.value) == pytest.approx(nonzero[0], rel=1e-9)
        assert float(rate.residual) < 1e-13
    assert (rates[0].status == dl.Status.singular_kernel) == (np.linalg.eigvalsh(K)[0] < 1e-12)


def test_a_log_svd_keeps_what_lies_below_the_floating_point_range(rng):
    # λ_∞(a, e^{−2000}) = a²/(2 (log a + 2000)), far from zero, where e^{−2000} itself is.
    U, V = (np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(2))
    point = dl.LogSVD(jnp.asarray(U), jnp.array([0.3, -2000.0]), jnp.asarray(V.T))
    K = asy.tangent_kernel(np.ones((2, 2), bool), point, math.inf).as_matrix()
    a2 = math.exp(0.6)
    expected = [0.0, a2 / (2 * 2000.3), a2 / (2 * 2000.3), a2]
    np.testing.assert_allclose(np.linalg.eigvalsh(K), expected, atol=1e-16, rtol=1e-12)


def test_bad_input_to_the_tangent_kernel():
    W = np.eye(2)
    for energy in (np.ones((2, 2)), np.zeros((2, 2), bool), np.ones(4, bool)):
        with pytest.raises(dl.InputError, match=r"^energy must"):
            asy.tangent_kernel(energy, W, 2)
    with pytest.raises(dl.InputError, match=r"^W must have the shape"):
        asy.tangent_kernel(np.ones((3, 2), bool), W, 2)
    with pytest.raises(dl.DepthError):
        asy.tangent_kernel(np.ones((2, 2), bool), W, 0.5)


def test_the_iterative_rate_is_the_dense_one(rng):
    W, mask = rng.normal(size=(24, 20)), rng.random((24, 20)) < 0.5
    for depth in (2, 4, math.inf):
        dense, free = (
            asy.predicted_rate(mask, W, depth, dense_limit=limit) for limit in (1500, 10)
        )
        assert (dense.method, free.method) == ("dense", "lanczos")
        assert free.status == dl.Status.converged
        assert float(free.value) == pytest.approx(float(dense.value), rel=1e-8)
        assert abs(float(jnp.vdot(free.mode, dense.mode))) == pytest.approx(1, abs=1e-5)
        assert free.mode.shape == (24, 20)
        assert not np.asarray(free.mode)[~mask].any()
    with pytest.raises(dl.InputError, match="zero modes"):
        asy.predicted_rate(lambda W: jnp.sum(W**2), W, 2, dense_limit=10)


def test_the_iterative_rate_says_where_it_knows_nothing(rng):
    mask = rng.random((24, 20)) < 0.5
    flat = rng.normal(size=(24, 1)) @ rng.normal(size=(1, 20))
    assert asy.predicted_rate(mask, flat, 3, dense_limit=10).status in (
        dl.Status.singular_kernel,
        dl.Status.not_converged,
    )
    assert asy.predicted_rate(mask, flat, 3).status == dl.Status.singular_kernel
    # condition number 1e8 and beyond
    W = flat + 1e-7 * rng.normal(size=(24, 20))
    hard = asy.predicted_rate(mask, W, math.inf, dense_limit=10)
    exact = asy.predicted_rate(mask, W, math.inf)
    assert hard.status != dl.Status.converged or float(hard.value) == pytest.approx(
        float(exact.value), rel=0.02
    )


def test_the_predicted_rate_is_differentiable_and_traceable(rng):
    W, Z, h = rng.normal(size=(4, 4)), rng.normal(size=(4, 4)), 1e-6
    mask = rng.random((4, 4)) < 0.6
    rate = lambda W, N: asy.predicted_rate(mask, W, N).value  # noqa: E731
    in_W, in_N = jax.jit(jax.grad(rate, argnums=(0, 1)))(W, 3.0)
    assert float(jnp.vdot(in_W, Z)) == pytest.approx(
        float(rate(W + h * Z, 3.0) - rate(W - h * Z, 3.0)) / (2 * h), rel=1e-6
    )
    assert float(in_N) == pytest.approx(float(rate(W, 3 + h) - rate(W, 3 - h)) / (2 * h), rel=1e-6)


def test_a_saddle_is_called_one(rng):
    energy = lambda W: jnp.sum((W @ W.T - jnp.eye(2)) ** 2)  # noqa: E731
    rate = asy.predicted_rate(energy, 1e-2 * rng.normal(size=(2, 2)), 2)
    assert rate.status == dl.Status.indefinite
    assert float(rate.value) < 0
