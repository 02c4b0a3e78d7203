"""Geodesics against closed forms, conservation laws, a discretized path, and themselves between
generic points.
"""

import math
import warnings
from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.linalg
import scipy.optimize
from cases import DEPTHS, orthogonal, slow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import matrices

import deeplinear as dl
from deeplinear.geometry import geodesic


@cache
def points(d: int, count: int = 4) -> list[np.ndarray]:
    """Generic matrices with det > 0, singular values spread over a decade and no frame in
    common.
    """
    rng = np.random.default_rng(7)
    out = []
    for _ in range(count):
        W = rng.normal(size=(d, d))
        W[0] *= np.sign(np.linalg.det(W))
        out.append(W)
    return out


def frames(rng, d):
    return [np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(2)]


def positive(rng, d):
    B = rng.normal(size=(d, d))
    return B @ B.T + 0.2 * np.eye(d)


def check_round_trip(A, B, N):
    found = geodesic.log(A, B, N)
    assert bool(found.converged), (float(found.error), found.status)
    end = geodesic.exp(A, found.Z, N)
    assert bool(end.converged)
    np.testing.assert_allclose(end.W, B, atol=1e-9)
    assert float(dl.norm(A, found.Z, N)) == pytest.approx(float(found.distance), rel=1e-9)
    return float(found.distance)


@pytest.mark.parametrize(("N", "count"), [(1, 3), (3, 3), *(slow(N, 4) for N in DEPTHS)])
def test_exp_of_log_is_the_identity_on_all_ordered_pairs(N, count):
    P = points(2, count)
    D = np.array([[0.0 if A is B else check_round_trip(A, B, N) for B in P] for A in P])
    np.testing.assert_allclose(D, D.T, rtol=1e-8)  # the way back is the same geodesic
    assert D[~np.eye(count, dtype=bool)].min() > 0.5
    assert (D[:, None] <= D[:, :, None] + D + 1e-8).all()


@pytest.mark.slow
@pytest.mark.parametrize("d", [3, 4])
@pytest.mark.parametrize("N", [2, 3, math.inf])
def test_exp_of_log_is_the_identity_on_larger_pairs(d, N):
    P = points(d)
    for A in P:
        for B in P:
            if A is not B:
                check_round_trip(A, B, N)


@pytest.mark.slow
def test_exp_of_log_on_rectangular_points(rng):
    A = rng.normal(size=(3, 2))
    check_round_trip(A, A + 0.3 * rng.normal(size=(3, 2)), 2.5)


@pytest.mark.parametrize("N", DEPTHS)
def test_common_singular_vectors(rng, N):
    U, V = frames(rng, 3)
    a, b = np.array([3.0, 1.0, 0.2]), np.array([0.5, 2.0, 1.0])
    A, B = (U * a) @ V.T, (U * b) @ V.T
    x = (lambda s: np.log(s)) if math.isinf(N) else (lambda s: N * s ** (1 / N))
    expected = np.linalg.norm(x(b) - x(a))
    found = geodesic.log(A, B, N)
    assert float(found.distance) == pytest.approx(expected, rel=1e-9)
    assert geodesic.aligned_distance(A, B, N) == pytest.approx(expected, rel=1e-13)
    t = np.array([0.25, 0.5, 1.0])
    middle = [
        np.exp((1 - s) * np.log(a) + s * np.log(b))
        if math.isinf(N)
        else (((1 - s) * x(a) + s * x(b)) / N) ** N
        for s in t
    ]
    straight = np.stack([(U * m) @ V.T for m in middle])
    np.testing.assert_allclose(geodesic.path(A, B, N, t).W, straight, atol=1e-9)
    np.testing.assert_allclose(geodesic.aligned_path(A, B, N, t), straight, atol=1e-12)


@pytest.mark.parametrize("N", [1, 2, 3, 5, math.inf])
def test_end_points_related_by_an_orthogonal_matrix(rng, N):
    # W_1 = U Σ_1 Q Vᵀ with a rotation Q that commutes with Σ_0 and Σ_1, which are tied in its plane
    U, V = frames(rng, 3)
    c, s = math.cos(1.1), math.sin(1.1)
    Q = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    A, B = (U * [2.0, 2.0, 0.5]) @ V.T, (U * [0.7, 0.7, 1.5]) @ Q @ V.T
    found = geodesic.log(A, B, N)
    assert bool(found.converged)
    assert float(found.distance) == pytest.approx(geodesic.aligned_distance(A, B, N), rel=1e-9)
    np.testing.assert_allclose(
        geodesic.path(A, B, N, 0.3).W, geodesic.aligned_path(A, B, N, 0.3), atol=1e-9
    )
    # the same upstairs: factors that all move along one straight line, and stay balanced
    if N in (2, 3, 5):
        root = np.linalg.inv(U) @ A @ V, np.linalg.inv(U) @ B @ V
        X, Y = (scipy.linalg.fractional_matrix_power(Z, 1 / N).real for Z in root)
        line = np.linalg.matrix_power(0.7 * X + 0.3 * Y, int(N))
        np.testing.assert_allclose(U @ line @ V.T, geodesic.aligned_path(A, B, N, 0.3), atol=1e-12)


def test_depth_one_is_euclidean():
    A, B = points(3)[:2]
    assert float(geodesic.distance(A, B, 1)) == pytest.approx(np.linalg.norm(B - A), rel=1e-12)
    np.testing.assert_allclose(geodesic.path(A, B, 1, 0.4).W, 0.6 * A + 0.4 * B, atol=1e-12)


def test_depth_two_on_positive_matrices_is_twice_bures_wasserstein(rng):
    A, B = positive(rng, 3), positive(rng, 3)
    root = scipy.linalg.sqrtm(A)
    cross = scipy.linalg.sqrtm(root @ B @ root)
    bures = math.sqrt(np.trace(A) + np.trace(B) - 2 * np.trace(cross).real)
    assert float(geodesic.spd_distance(A, B)) == pytest.approx(2 * bures, rel=1e-11)
    assert float(geodesic.distance(A, B, 2)) == pytest.approx(2 * bures, rel=1e-9)
    np.testing.assert_allclose(
        geodesic.path(A, B, 2, 0.3).W, geodesic.spd_path(A, B, 0.3), atol=1e-9
    )
    # of the form S·Q with one orthogonal Q: the same, moved by an isometry
    Q = frames(rng, 3)[0]
    assert float(geodesic.distance(A @ Q, B @ Q, 2)) == pytest.approx(2 * bures, rel=1e-9)


@pytest.mark.parametrize("N", [1.5, 2, 4, math.inf])
def test_speed_and_momenta_are_conserved(N):
    W = points(3)[0]
    Z = 0.5 * dl.random_tangent(jax.random.key(3), W, N)
    path = geodesic.exp(W, Z, N, np.linspace(0.0, 1.0, 6))
    assert bool(path.converged)
    speeds = dl.norm(path.W, path.velocity, N)
    np.testing.assert_allclose(speeds, speeds[0], rtol=1e-9)
    np.testing.assert_allclose(path.length, float(speeds[0]) * np.linspace(0, 1, 6), rtol=1e-9)
    # Noether: g^N does not change under W → QWR
    P = np.stack(
        [
            np.asarray(dl.Operator(X, N).inverse(V))
            for X, V in zip(path.W, path.velocity, strict=True)
        ]
    )
    W, PT, WT = np.asarray(path.W), P.transpose(0, 2, 1), np.asarray(path.W).transpose(0, 2, 1)
    for momentum in (W @ PT - P @ WT, WT @ P - PT @ W):
        np.testing.assert_allclose(
            momentum, np.broadcast_to(momentum[0], momentum.shape), atol=1e-8
        )
    assert np.abs(W @ PT - P @ WT).max() > 0.01


@pytest.mark.parametrize("N", [3, math.inf])
def test_the_geodesic_equation_holds(N):
    W = points(2)[1]
    Z = dl.random_tangent(jax.random.key(0), W, N)
    h = 1e-4
    before, after = (geodesic.exp(W, s * Z, N, h).W for s in (-1.0, 1.0))
    acceleration = (after - 2 * W + before) / h**2
    np.testing.assert_allclose(
        acceleration, -dl.curvature.christoffel(W, Z, Z, N), rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("N", [2, 3])
def test_distance_against_the_shortest_discretized_path(N):
    A, B = points(2)[0], points(2)[2]
    pieces = 24

    def energy(x):
        path = np.concatenate([A[None], x.reshape(-1, 2, 2), B[None]])
        total = 0.0
        for X, Y in pairwise(path):
            Z = Y - X
            M = 0.5 * (X + Y)  # midpoint rule: second order in the number of pieces
            units = np.eye(4).reshape(4, 2, 2)
            operator = np.stack([oracles.operator(M, E, N).ravel() for E in units], 1)
            total += Z.ravel() @ np.linalg.solve(operator, Z.ravel())
        return pieces * total

    start = np.asarray(geodesic.path(A, B, N, np.linspace(0, 1, pieces + 1)[1:-1]).W)
    bent = start + 0.05 * np.random.default_rng(0).normal(size=start.shape)
    best = scipy.optimize.minimize(
        energy, bent.ravel(), method="L-BFGS-B", options={"maxiter": 300, "maxfun": 10**6}
    )
    assert energy(bent.ravel()) > 1.02 * best.fun
    assert math.sqrt(best.fun) == pytest.approx(float(geodesic.distance(A, B, N)), rel=3e-3)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(matrices(3, 2, 2, near=2 * np.eye(2)), st.sampled_from([1.5, 2.0, 5.0, math.inf]))
def test_triangle_inequality(corners, N):
    A, B, C = corners
    ab, bc, ac = (float(geodesic.distance(X, Y, N)) for X, Y in ((A, B), (B, C), (A, C)))
    assert ac <= ab + bc + 1e-8


def test_distance_is_differentiable_by_first_variation():
    A, B = points(2)[:2]
    X, Y = np.random.default_rng(1).normal(size=(2, 2, 2))
    distance = lambda A, B: geodesic.distance(A, B, 3.0)  # noqa: E731
    slope = jax.jvp(distance, (jnp.asarray(A), jnp.asarray(B)), (jnp.asarray(X), jnp.asarray(Y)))[1]
    h = 1e-4
    expected = (distance(A + h * X, B + h * Y) - distance(A - h * X, B - h * Y)) / (2 * h)
    assert float(slope) == pytest.approx(float(expected), rel=1e-6)
    gradient = jax.grad(distance, 1)(jnp.asarray(A), jnp.asarray(B))
    assert float(jnp.sum(gradient * Y)) == pytest.approx(
        float(jax.jvp(lambda B: distance(A, B), (jnp.asarray(B),), (jnp.asarray(Y),))[1])
    )
    # the gradient in the metric has length one
    assert float(dl.norm(B, dl.Operator(B, 3.0)(gradient), 3.0)) == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize("N", [1, 2, math.inf])
def test_the_distance_of_near_points_and_its_derivative(N):
    """Down to rounding the direction is that of the metric; at the point itself, the tip of a cone,
    the derivative is the subgradient 0.
    """
    W, U = np.array([[2.0, 1.0], [0.5, 1.0]]), np.array([[0.3, -0.2], [0.1, 0.5]])
    expected = np.asarray(dl.Operator(W, N).inverse(U) / dl.norm(W, U, N))
    slope = jax.grad(lambda X: geodesic.distance(W, X, N))
    for eps in (1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-6):
        value = float(geodesic.distance(W, W + eps * U, N))
        assert value == pytest.approx(eps * float(dl.norm(W, U, N)), rel=1e-3)
        np.testing.assert_allclose(slope(W + eps * U), expected, rtol=1e-2, atol=1e-3)
    assert float(geodesic.distance(W, W, N)) == 0
    np.testing.assert_array_equal(slope(jnp.asarray(W)), np.zeros((2, 2)))


def test_the_drift_of_the_speed_is_told(rng):
    W, Z = points(2)[0], rng.normal(size=(2, 2))
    loose, sharp = (geodesic.exp(W, Z, 3, [0.1, 0.2], rtol=rtol) for rtol in (1e-3, 1e-11))
    assert loose.error.shape == (2,)
    assert (sharp.error < 1e-9).all()
    assert geodesic.exp(W, Z, 3, 0.1).error.shape == ()


def test_ties_and_equal_points():
    found = geodesic.log(np.eye(2), np.array([[2.0, 1.0], [0.0, 1.0]]), 3)
    assert bool(found.converged)
    np.testing.assert_allclose(geodesic.exp(np.eye(2), found.Z, 3).W, [[2, 1], [0, 1]], atol=1e-9)
    same = geodesic.log(np.eye(2), np.eye(2), 3)
    assert bool(same.converged)
    assert float(same.distance) == 0


def test_scaling(rng):
    A, B = points(2)[:2]
    for N in (2, math.inf):  # g^N(cW)(cZ, cZ) = c^{2/N} g^N(W)(Z, Z)
        assert float(geodesic.distance(1e-6 * A, 1e-6 * B, N)) == pytest.approx(
            1e-6 ** (0 if math.isinf(N) else 1 / N) * float(geodesic.distance(A, B, N)), rel=1e-8
        )


@pytest.mark.slow
def test_one_step_of_the_solver_is_not_enough_and_says_so():
    A, B = points(2)[:2]
    found = geodesic.log(A, B, 2, max_steps=1)
    assert not bool(found.converged)
    assert float(found.error) > 1e-6 or math.isnan(float(found.error))


def test_what_does_not_work_says_so():
    # straight towards det W = 0, at finite depth in finite time: √σ falls evenly from 1 at the rate
    # 1
    end = geodesic.exp(np.diag([2.0, 1.0]), np.diag([0.0, -2.0]), 2, 2.0)
    assert not bool(end.converged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(dl.InputError, match="one sign"):
            geodesic.distance(np.eye(2), np.diag([1.0, -1.0]), 2)
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        geodesic.exp(np.ones((2, 2)), np.eye(2), 2)
    with pytest.raises(dl.SingularOperatorError):
        geodesic.log(np.eye(2), np.ones((2, 2)), 2)
    with pytest.raises(dl.InputError, match="Z must have the shape"):
        geodesic.exp(np.eye(2), np.eye(3), 2)
    with pytest.raises(dl.InputError, match="increasing"):
        geodesic.exp(np.eye(2), np.eye(2), 2, [1.0, 0.5])
    with pytest.raises(dl.DepthError):
        geodesic.distance(np.eye(2), np.eye(2), 0.5)
    with pytest.raises(dl.PrecisionError):
        geodesic.exp(np.eye(2), np.eye(2), 2, rtol=1e-20)
    with pytest.raises(dl.InputError, match="symmetric"):
        geodesic.spd_distance(np.array([[2.0, 1.0], [0.0, 1.0]]), np.eye(2))
    with pytest.raises(dl.InputError, match="positive definite"):
        geodesic.spd_path(np.eye(2), np.diag([1.0, -1.0]), 0.5)
    with pytest.raises(dl.InputError, match="commuting normal"):
        geodesic.aligned_distance(*points(2)[:2], 2)
    with pytest.raises(dl.InputError, match="opposite"):
        geodesic.aligned_path(np.eye(2), -np.eye(2), 2, 0.5)


@pytest.mark.slow
def test_batches_by_vmap():
    A, B = np.stack(points(2)[:2]), np.stack(points(2)[2:])
    together = jax.vmap(lambda A, B: geodesic.distance(A, B, 2))(A, B)
    np.testing.assert_allclose(
        together, [geodesic.distance(*pair, 2) for pair in zip(A, B, strict=True)], rtol=1e-9
    )


def test_derivatives_that_are_not_there_are_errors():
    A, B = map(jnp.asarray, points(2)[:2])
    with pytest.raises(NotImplementedError, match="once"):
        jax.jacfwd(jax.grad(lambda A: geodesic.distance(A, B, 2)))(A)
    with pytest.raises(NotImplementedError, match="not differentiable"):
        jax.jacfwd(lambda A: geodesic.log(A, B, 2).Z)(A)


@pytest.mark.slow
@pytest.mark.parametrize("N", [2, math.inf])
def test_half_a_turn_is_never_a_wrong_number(N):
    found = geodesic.log(np.eye(2), -2 * np.eye(2), N)
    if bool(found.converged):
        np.testing.assert_allclose(geodesic.exp(np.eye(2), found.Z, N).W, -2 * np.eye(2), atol=1e-8)
    else:
        with pytest.warns(dl.NotConvergedWarning):
            assert math.isnan(float(geodesic.distance(np.eye(2), -2 * np.eye(2), N)))
    with pytest.raises(dl.InputError, match="opposite"):
        geodesic.aligned_distance(np.eye(2), 0.3 * np.array([[1.0, 2.0], [2.0, 4.0]]), math.inf)


@pytest.mark.slow
def test_opposite_determinants_under_jit_have_no_distance():
    assert math.isnan(
        float(
            jax.jit(lambda B: geodesic.distance(jnp.eye(2), B, 2.0))(
                jnp.diag(jnp.array([1.0, -1.0]))
            )
        )
    )


def test_determinants_of_opposite_sign_on_a_leaf_that_is_smooth_at_rank_loss():
    """The sentence does not say that there is no geodesic, for there is one."""
    A, B = np.array([[1.0, 0.2], [0.1, 0.8]]), np.array([[1.0, 0.2], [0.3, -0.5]])
    with pytest.raises(dl.InputError, match="not searched for, though this leaf has them"):
        dl.geodesic.log(A, B, 2, imbalance=0.5)
    with pytest.raises(dl.InputError, match="no path of full rank joins them"):
        dl.geodesic.log(A, B, 2)


@pytest.mark.parametrize(("depth", "delta"), [(2, 0.5), slow(3, 0.3), slow(4, 2.0)])
def test_geodesics_from_zero_on_a_leaf_that_is_smooth_there(depth, delta):
    """From W = 0 the frames of Z stay; each ∫ ds/√λ^c(s, s) along σ_i grows evenly."""
    rng = np.random.default_rng(depth)
    z = np.array([1.3, -0.4, 0.7])
    U, V = orthogonal(rng, 3), orthogonal(rng, 3)
    t = 0.9

    def slowness(s):
        return np.asarray(dl.kernel(np.abs(s), np.abs(s), depth, imbalance=delta)) ** -0.5

    def end(velocity):
        wanted = t * velocity * slowness(0.0)
        nodes, weights = np.polynomial.legendre.leggauss(100)

        def missing(s):
            return s / 2 * weights @ slowness(s / 2 * (nodes + 1)) - wanted

        return scipy.optimize.brentq(missing, -20, 20, xtol=1e-12)

    found = dl.geodesic.exp(np.zeros((3, 3)), U @ np.diag(z) @ V.T, depth, t, imbalance=delta)
    expected = U @ np.diag([end(v) for v in z]) @ V.T
    np.testing.assert_allclose(found.W, expected, atol=1e-9)
    assert found.status == dl.Status.converged
    still = dl.geodesic.exp(np.zeros((3, 3)), np.zeros((3, 3)), depth, t, imbalance=delta)
    np.testing.assert_array_equal(still.W, np.zeros((3, 3)))


def test_no_geodesic_leaves_zero_where_the_metric_is_singular():
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        dl.geodesic.exp(np.zeros((2, 2)), np.eye(2), 3)
