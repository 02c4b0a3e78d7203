"""Volumes against explicit matrices: of the metric, and of the chart."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import orthogonal, skew_basis, with_singular_values
from scipy.linalg import expm

import deeplinear as dl
from deeplinear.geometry.volume import entropy, free_energy, log_stratum_volume, log_volume

# Riemannian volume


@pytest.mark.parametrize("d", [2, 3, 4, 5, 6])
def test_log_volume_equals_the_determinant_of_the_metric(rng, d):
    W = with_singular_values(rng, np.sort(rng.uniform(0.5, 2, d))[::-1])
    for N in (1, 1.5, 2, 3, 7, 100, math.inf):
        expected = -0.5 * np.linalg.slogdet(oracles.operator_matrix(W, N))[1]
        assert float(log_volume(W, N)) == pytest.approx(expected, abs=1e-12 * max(1, abs(expected)))


@pytest.mark.parametrize("shape", [(4, 2), (2, 3)])
def test_log_volume_of_rectangular_points(rng, shape):
    W = rng.normal(size=shape)
    for N in (1, 1.5, 2, 7):
        expected = -0.5 * np.linalg.slogdet(oracles.operator_matrix(W, N))[1]
        assert float(log_volume(W, N)) == pytest.approx(expected, abs=1e-12 * max(1, abs(expected)))


def test_log_volume_tends_to_infinite_depth_at_rate_one_over_N(rng):
    W, N = rng.normal(size=(4, 4)), 2.0 ** np.arange(6, 11)
    gaps = np.array([float(log_volume(W, n)) for n in N]) - float(log_volume(W, math.inf))
    slope = np.polyfit(np.log(N), np.log(np.abs(gaps)), 1)[0]
    assert slope == pytest.approx(-1, abs=0.02)


def theorem(s, N):
    """N^{d(d−1)/2} det(Σ²)^{(1−N)/(2N)} van(Σ^{2/N}), or det(Σ²)^{−1/2} van(log Σ²): its
    logarithm.
    """
    d, (i, j) = len(s), np.triu_indices(len(s), 1)
    if math.isinf(N):
        return -np.log(s).sum() + np.log(2 * np.log(s[i] / s[j])).sum()
    p = s ** (2 / N)
    return d * (d - 1) / 2 * math.log(N) + (1 - N) / N * np.log(s).sum() + np.log(p[i] - p[j]).sum()


def jacobian_of_svd(U, s, V, h=1e-5):
    """log |det| of (dΣ, dU, dV) ↦ dW at W = U diag(s) Vᵀ, by central differences; dU in the
    coordinates of the skew matrices K of U exp(K), without those that turn the complement of the
    singular spaces within itself.
    """
    k, m, n = len(s), len(U), len(V)
    Sigma = np.zeros((m, n))
    Sigma[:k, :k] = np.diag(s)
    E = [np.pad(np.outer(e, e), ((0, m - k), (0, n - k))) for e in np.eye(k)]
    columns = [U @ e @ V.T for e in E]
    for K in skew_basis(m):
        if K[:k].any():
            columns.append(U @ (expm(h * K) - expm(-h * K)) @ Sigma @ V.T / (2 * h))
    for K in skew_basis(n):
        if K[:k].any():
            columns.append(U @ Sigma @ (expm(h * K) - expm(-h * K)).T @ V.T / (2 * h))
    J = np.stack([c.ravel() for c in columns], 1)
    assert J.shape[0] == J.shape[1]
    return np.linalg.slogdet(J)[1]


@pytest.mark.parametrize("N", [1, 1.5, 2, 3, 10, math.inf])
def test_svd_coordinates_equal_the_theorem_and_the_jacobian(rng, N):
    """Central differences with h = 1e−5 are right to about 1e−9."""
    for s in (np.array([2.0, 1.1, 0.4]), np.array([1.7, 1.2, 0.9, 0.3])):
        W = with_singular_values(rng, s)
        found, dense = float(log_volume(W, N, coordinates="svd")), float(log_volume(W, N))
        assert found == pytest.approx(theorem(s, N), abs=1e-12)
        U, V = orthogonal(rng, len(s)), orthogonal(rng, len(s))
        assert found - dense == pytest.approx(jacobian_of_svd(U, s, V), abs=1e-8)


@pytest.mark.parametrize("shape", [(4, 2), (2, 3), (3, 2)])
def test_svd_coordinates_of_rectangular_points(rng, shape):
    s = np.array([1.4, 0.6])
    W = with_singular_values(rng, s, *shape)
    jacobian = jacobian_of_svd(orthogonal(rng, shape[0]), s, orthogonal(rng, shape[1]))
    for N in (1, 2, 4.5):
        found, dense = float(log_volume(W, N, coordinates="svd")), float(log_volume(W, N))
        assert found - dense == pytest.approx(jacobian, abs=1e-8)


# Volume on strata


@pytest.mark.parametrize(
    ("m", "n", "r"), [(3, 3, 2), (3, 3, 1), (4, 3, 2), (3, 5, 3), (4, 4, 3), (4, 4, 4)]
)
def test_stratum_volume_is_the_gram_determinant_on_the_tangent_space(rng, m, n, r):
    W = with_singular_values(rng, np.sort(rng.uniform(0.5, 2, r))[::-1], m, n)
    U, _, Vt = np.linalg.svd(W)
    inside = [(i, j) for i in range(m) for j in range(n) if i < r or j < r]
    B = np.stack([np.outer(U[:, i], Vt[j]).ravel() for i, j in inside], 1)
    assert B.shape[1] == r * (m + n - r)
    for N in (1, 2, 3, 6):
        gram = B.T @ np.linalg.pinv(oracles.operator_matrix(W, N), rcond=1e-9, hermitian=True) @ B
        expected = 0.5 * np.linalg.slogdet(gram)[1]
        found = float(log_stratum_volume(W, N))
        assert found == pytest.approx(expected, abs=1e-11 * max(1, abs(expected)))
        assert found == pytest.approx(float(log_stratum_volume(W, N, rank=r)), abs=1e-14)


def test_stratum_volume_at_full_rank_is_the_volume(rng):
    for shape, depths in (((3, 3), (1, 2.5, 8, math.inf)), ((4, 2), (1, 2.5, 8))):
        W = rng.normal(size=shape)
        for N in depths:
            assert float(log_stratum_volume(W, N)) == pytest.approx(
                float(log_volume(W, N)), abs=1e-12
            )


def test_stratum_volume_takes_the_largest_singular_values(rng):
    s = np.array([2.0, 1.0, 1e-3])
    U, V = orthogonal(rng, 3), orthogonal(rng, 3)
    low = (U[:, :2] * s[:2]) @ V[:, :2].T
    assert float(log_stratum_volume((U * s) @ V.T, 3, rank=2)) == pytest.approx(
        float(log_stratum_volume(low, 3)), abs=1e-12
    )
    by_jit = jax.jit(lambda W: log_stratum_volume(W, 3, rank=2))((U * s) @ V.T)
    assert float(by_jit) == pytest.approx(float(log_stratum_volume(low, 3)), abs=1e-12)


# All of them


@pytest.mark.parametrize("function", [log_volume, entropy])
def test_gradients_are_right_also_at_ties(rng, function):
    """Against central differences of explicit values (determinant, tangent vectors or kernels), h =
    1e−5: error about h².
    """
    slope, h, i, j = jax.jit(jax.grad(function)), 1e-5, *np.triu_indices(3, 1)

    def value(W, N):
        if function is log_volume:
            return -0.5 * np.linalg.slogdet(oracles.operator_matrix(W, N))[1]
        s = np.linalg.svd(W, compute_uv=False)
        return 0.5 * sum(math.log(oracles.kernel(a, b, N)) for a, b in zip(s[i], s[j], strict=True))

    tied = with_singular_values(rng, [2.0, 2.0, 1.0])
    for W in (np.eye(3), tied, rng.normal(size=(3, 3))):
        for N in (2.0, 5.0, math.inf):
            found = np.asarray(slope(W, N))
            assert np.isfinite(found).all()
            for X in rng.normal(size=(2, 3, 3)):
                expected = (value(W + h * X, N) - value(W - h * X, N)) / (2 * h)
                assert (found * X).sum() == pytest.approx(expected, abs=1e-8 * np.abs(found).sum())


def test_gradient_in_the_depth(rng):
    """Central differences with h = 1e−4 N: a relative error about h²/N²."""
    W = rng.normal(size=(3, 3))
    for function in (log_volume, entropy):
        slope = jax.jit(jax.grad(function, argnums=1))
        for N in (1.5, 3.0, 20.0):
            h = 1e-4 * N
            expected = (float(function(W, N + h)) - float(function(W, N - h))) / (2 * h)
            assert float(slope(W, N)) == pytest.approx(expected, rel=1e-6)


def test_singular_values_far_below_the_floating_point_range(rng):
    """log σ = −1000, −3000; closed forms: λ of very different singular values is that of the larger
    and 0.
    """
    log_s = jnp.array([0.0, -1000.0, -3000.0])
    frames = [orthogonal(rng, 3) for _ in range(2)]
    point = dl.LogSVD(jnp.asarray(frames[0]), log_s, jnp.asarray(frames[1]))
    for N in (1.5, 4):
        diagonal = (2 - 2 / N) * -4000
        pairs = -math.log(N) * 3 + (2 - 2 / N) * -1000
        assert float(log_volume(point, N)) == pytest.approx(-0.5 * diagonal - pairs, rel=1e-13)
        assert float(entropy(point, N, constant=False)) == pytest.approx(0.5 * pairs, rel=1e-13)
        assert float(log_stratum_volume(point, N)) == pytest.approx(
            float(log_volume(point, N)), rel=1e-14
        )
        jacobian = 2 * -1000.0
        assert float(
            log_volume(point, N, coordinates="svd") - log_volume(point, N)
        ) == pytest.approx(jacobian)
    pairs = -math.log(2000) - math.log(6000) - 2000 - math.log(4000)
    assert float(log_volume(point, math.inf)) == pytest.approx(4000 - pairs, rel=1e-13)
    assert float(entropy(point, math.inf)) == pytest.approx(0.5 * pairs, rel=1e-13)
    assert float(log_stratum_volume(point, 4, rank=1)) == pytest.approx(2 * math.log(4), rel=1e-13)


def test_batches_and_log_svd_are_the_same_points(rng):
    Ws = rng.normal(size=(2, 5, 3, 3))
    points = dl.LogSVD.of(jnp.asarray(Ws))
    for function in (log_volume, log_stratum_volume, entropy):
        found = np.asarray(function(Ws, 3))
        assert found.shape == (2, 5)
        one_by_one = [[float(function(W, 3)) for W in row] for row in Ws]
        np.testing.assert_allclose(found, one_by_one, atol=1e-13)
        np.testing.assert_allclose(function(points, 3), found, atol=1e-12)


def test_rounding_noise_is_that_of_one_matrix_however_many_there_are():
    """σ_2 = 100 ε σ_1 is above the noise of a 2×2 matrix, 2 ε σ_1."""
    W = np.diag([1.0, 100 * np.finfo(float).eps])
    found = log_volume(np.broadcast_to(W, (300, 2, 2)), 3)
    np.testing.assert_allclose(found, float(log_volume(W, 3)), rtol=1e-14)


def test_singular_values_that_a_log_svd_leaves_out_are_zero(rng):
    frames = [orthogonal(rng, 3) for _ in range(2)]
    U, V = jnp.asarray(frames[0][:, :2]), jnp.asarray(frames[1][:2])
    point = dl.LogSVD(U, jnp.log(jnp.array([2.0, 0.5])), V)
    W = (frames[0][:, :2] * [2.0, 0.5]) @ frames[1][:2]
    assert float(entropy(point, 3)) == pytest.approx(float(entropy(W, 3)), abs=1e-12)
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        log_volume(point, 3)


def test_infinite_volumes_are_errors():
    singular = np.diag([1.0, 1.0, 0.0])
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        log_volume(singular, 2)
    with pytest.raises(Exception, match="full rank"):
        jax.block_until_ready(jax.jit(lambda W: log_volume(W, 2))(singular))
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        log_volume(np.stack([np.eye(3), singular]), 2)
    with pytest.raises(dl.SingularOperatorError, match="square at depth"):
        log_volume(np.eye(4, 3), math.inf)
    with pytest.raises(dl.SingularOperatorError, match="lower the rank"):
        log_stratum_volume(singular, 2, rank=3)
    for W in (singular, np.eye(4, 3)):  # directions that leave the singular spaces
        with pytest.raises(dl.SingularOperatorError, match="nor below max"):
            log_stratum_volume(W, math.inf)


def test_bad_arguments_are_typed_errors():
    W = np.diag([1.0, 1.0, 0.0])
    with pytest.raises(dl.InputError, match="coordinates must be 'dense' or 'svd'"):
        log_volume(np.eye(3), 2, "polar")
    untyped = inspect.unwrap(log_stratum_volume)  # past the test session's checks of annotations
    for rank in (0, 4, 1.0, "2"):
        with pytest.raises(dl.InputError, match="rank must be an integer"):
            untyped(W, 2, rank=rank)
    with pytest.raises(dl.InputError, match="rank must be given where"):
        log_stratum_volume(np.stack([np.eye(3), W]), 2)
    with pytest.raises(dl.InputError, match="rank must be given where"):
        log_stratum_volume(np.zeros((3, 3)), 2)
    with pytest.raises(dl.InputError, match="rank must be given inside"):
        jax.jit(lambda W: log_stratum_volume(W, 2))(W)
    with pytest.raises(dl.InputError, match="rank must be an integer"):
        jax.jit(lambda W, r: untyped(W, 2, rank=r))(W, 2)
    with pytest.raises(dl.DepthError, match="constant=True"):
        entropy(W, math.inf, constant=True)
    for beta in (0, -1.0, math.nan):
        with pytest.raises(dl.InputError, match="beta must be positive"):
            free_energy(jnp.sum, W, 2, beta)
    for function in (log_volume, log_stratum_volume, entropy):
        with pytest.raises(dl.DepthError, match="≥ 1"):
            function(np.eye(3), 0.9)
        with pytest.raises(dl.InputError, match="W must be finite"):
            function(np.full((2, 2), math.nan), 2)


@pytest.mark.parametrize("function", [log_volume, log_stratum_volume, entropy])
def test_several_depths_broadcast_with_the_points(rng, function):
    W, depths = rng.normal(size=(3, 3)), np.array([2.0, 3.0, 4.0])
    np.testing.assert_allclose(
        function(W, depths), [float(function(W, N)) for N in depths], rtol=1e-12
    )
    many = rng.normal(size=(5, 1, 3, 3))
    assert function(many, depths).shape == (5, 3)
    np.testing.assert_allclose(function(many, depths)[4, 1], function(many[4, 0], 3.0), rtol=1e-12)


def test_svd_coordinates_at_rank_loss_are_an_error_too():
    for W, N in (
        (np.diag([1.0, 1.0, 0.0]), 2),
        (np.diag([1.0, 0.0, 0.0]), math.inf),
        (np.ones((3, 2)), math.inf),
        (np.eye(3, 2), math.inf),
    ):
        with pytest.raises(dl.SingularOperatorError):
            log_volume(W, N, coordinates="svd")
    assert float(log_volume(np.diag([1.0, 0.0, 0.0]), 1, coordinates="svd")) == -math.inf
