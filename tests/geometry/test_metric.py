"""The metric at a point against the explicit matrix of A, from its power sum or integral."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import INTEGER_DEPTHS, KEY, orthogonal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from strategies import real_depths, rng_of, singular_values

import deeplinear as dl
from deeplinear.geometry.metric import random_tangent

SHAPES = [(3, 3), (4, 3), (2, 3)]


def product(W, Z1, Z2, N):
    return Z1.ravel() @ np.linalg.solve(oracles.operator_matrix(W, N), Z2.ravel())


def tied(rng):
    return orthogonal(rng, 3) @ np.diag([2.0, 2.0, 1.0]) @ orthogonal(rng, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_inner_and_norm_equal_the_explicit_matrix(rng, shape):
    """Rounding is amplified by the condition number of A, below 1e4 at these points: relative
    tolerance 1e−11.
    """
    W, Z1, Z2 = rng.normal(size=(3, *shape))
    for N in (*INTEGER_DEPTHS, *([math.inf] if shape[0] == shape[1] else [])):
        assert np.linalg.cond(oracles.operator_matrix(W, N)) < 1e4
        size = math.sqrt(product(W, Z1, Z1, N) * product(W, Z2, Z2, N))
        assert float(dl.inner(W, Z1, Z2, N)) == pytest.approx(
            product(W, Z1, Z2, N), abs=1e-11 * size
        )
        assert float(dl.norm(W, Z1, N)) == pytest.approx(
            math.sqrt(product(W, Z1, Z1, N)), rel=1e-11
        )


def test_real_depth(rng):
    W, Z = tied(rng), rng.normal(size=(3, 3))
    U, s, Vt = np.linalg.svd(W)
    for N in (1.5, 2.7, 40.0):
        values = np.array([[float(oracles.kernel(a, b, N)) for b in s] for a in s])
        expected = ((U.T @ Z @ Vt.T) ** 2 / values).sum()
        assert float(dl.inner(W, Z, Z, N)) == pytest.approx(expected, rel=1e-12)


def test_batches_broadcast(rng):
    Ws, Z1, Z2 = rng.normal(size=(2, 1, 3, 3)), rng.normal(size=(4, 3, 3)), rng.normal(size=(3, 3))
    found, lengths = dl.inner(Ws, Z1, Z2, 3), dl.norm(Ws, Z1, 3)
    assert found.shape == lengths.shape == (2, 4)
    for i, j in np.ndindex(2, 4):
        expected = product(Ws[i, 0], Z1[j], Z2, 3)
        size = float(lengths[i, j]) * math.sqrt(product(Ws[i, 0], Z2, Z2, 3))
        assert float(found[i, j]) == pytest.approx(expected, abs=1e-11 * size)
        assert float(lengths[i, j]) == pytest.approx(
            math.sqrt(product(Ws[i, 0], Z1[j], Z1[j], 3)), rel=1e-11
        )
    assert dl.norm(Ws[0, 0], np.zeros((5, 3, 3)), 3).tolist() == [0.0] * 5


@settings(max_examples=10)
@given(rng_of(), singular_values(3), real_depths, st.floats(-3, 3))
def test_is_an_inner_product_invariant_under_rotations(rng, s, N, c):
    W = orthogonal(rng, 3) @ np.diag(s) @ orthogonal(rng, 3)
    Q, R = orthogonal(rng, 3), orthogonal(rng, 3)
    Z1, Z2, Z3 = rng.normal(size=(3, 3, 3))
    g = lambda a, b, at=W: float(dl.inner(at, a, b, N))  # noqa: E731
    size = math.sqrt(g(Z1, Z1) * g(Z2, Z2)) + abs(c) * math.sqrt(g(Z3, Z3) * g(Z2, Z2))
    assert g(Z1, Z1) > 0
    assert g(Z1, Z2) == pytest.approx(g(Z2, Z1), abs=1e-12 * size)
    assert g(Z1 + c * Z3, Z2) == pytest.approx(g(Z1, Z2) + c * g(Z3, Z2), abs=1e-12 * size)
    assert abs(g(Z1, Z2)) <= math.sqrt(g(Z1, Z1) * g(Z2, Z2)) * (1 + 1e-12)
    assert g(Q @ Z1 @ R, Q @ Z2 @ R, Q @ W @ R) == pytest.approx(g(Z1, Z2), abs=1e-12 * size)
    assert float(dl.norm(W, Z1, N)) == pytest.approx(math.sqrt(g(Z1, Z1)), rel=1e-12)


def test_depth_one_is_euclidean(rng):
    for W in (
        rng.normal(size=(3, 4)),
        np.zeros((3, 4)),
        np.ones((3, 4)),
    ):  # and every W is as good as another
        Z1, Z2 = rng.normal(size=(2, 3, 4))
        assert float(dl.inner(W, Z1, Z2, 1)) == pytest.approx((Z1 * Z2).sum(), abs=1e-13)


@pytest.mark.parametrize("N", [1, 2, 3.5, math.inf])
def test_gradient_represents_the_differential(rng, N):
    energy = dl.Completion([0, 1, 2, 2], [1, 1, 0, 2], [1.0, -2.0, 0.5, 3.0], (3, 3))
    by_jit = jax.jit(lambda W: dl.gradient(energy, W, N))
    for W in (rng.normal(size=(3, 3)), tied(rng)):
        found, Z = by_jit(W), rng.normal(size=(3, 3))
        G = np.zeros((3, 3))
        for i, j, x in zip([0, 1, 2, 2], [1, 1, 0, 2], [1.0, -2.0, 0.5, 3.0], strict=True):
            G[i, j] = W[i, j] - x
        size = float(dl.norm(W, Z, N)) * float(dl.norm(W, found, N))
        assert float(dl.inner(W, found, Z, N)) == pytest.approx((G * Z).sum(), abs=1e-11 * size)


def test_gradient_is_minus_the_velocity_of_the_flow(rng):
    """The flow is followed at rtol 1e−10 over h = 1e−3; the forward difference of second order has
    an error ~ h².
    """
    energy = dl.Completion([0, 1, 2], [1, 1, 0], [1.0, -2.0, 0.5], (3, 3))
    W, h = rng.normal(size=(3, 3)), 1e-3
    for N in (3, math.inf):
        path = dl.gradient_flow(energy, W, N, t1=2 * h, saveat=[h, 2 * h], rtol=1e-10, atol=1e-12)
        one, two = np.asarray(path.W)
        velocity = (4 * one - two - 3 * W) / (2 * h)
        np.testing.assert_allclose(
            dl.gradient(energy, W, N), -velocity, atol=1e-4 * np.abs(velocity).max()
        )


@pytest.mark.parametrize("shape", [(5, 3), (3, 3)])
def test_gradient_on_batches_and_at_singular_points(rng, shape):
    Ws = rng.normal(size=(2, *shape))
    Ws[1, :, 0] = 0
    found = jax.jit(lambda W: dl.gradient(lambda X: jnp.sum(X**3) / 3, W, 3))(Ws)
    for W, value in zip(Ws, found, strict=True):
        np.testing.assert_allclose(value, oracles.operator(W, W**2, 3), atol=1e-12)


@pytest.mark.parametrize(("shape", "N"), [((2, 3), 3), ((2, 2), math.inf)])
def test_random_tangents_have_the_covariance_A(rng, shape, N):
    """20,000 draws, made standard by the explicit A: with n S the Wishart matrix, n Σ_{i≤j}
    (S_ij − δ_ij)²/(1 + δ_ij) is χ² with p(p+1)/2 degrees of freedom and n |mean|² with p.
    Significance 1e−3 each; the covariances of depth 2 are rejected at 1e−9.
    """
    n, W = 20_000, rng.normal(size=shape)
    draws = np.asarray(
        random_tangent(jax.random.key(3), np.broadcast_to(W, (n, *shape)), N)
    ).reshape(n, -1)
    p = draws.shape[1]

    def p_values(A):
        X = np.linalg.solve(np.linalg.cholesky(A), draws.T)
        i, j = np.triu_indices(p)
        excess = (X @ X.T / n - np.eye(p))[i, j] ** 2 / (1.0 + (i == j))
        return chi2.sf(n * excess.sum(), p * (p + 1) / 2), chi2.sf(n * (X.mean(1) ** 2).sum(), p)

    assert min(p_values(oracles.operator_matrix(W, N))) > 1e-3
    assert p_values(oracles.operator_matrix(W, 2))[0] < 1e-9


def test_unit_tangents(rng):
    Ws = rng.normal(size=(6, 3, 3))
    for N in (2, 5.5, math.inf):
        Z = random_tangent(jax.random.key(0), Ws, N, unit=True)
        assert Z.shape == Ws.shape
        np.testing.assert_allclose(dl.norm(Ws, Z, N), 1, rtol=1e-11)
        assert len(np.unique(np.asarray(Z))) == Z.size  # each point draws its own


def test_log_svd_is_the_same_point(rng):
    W, Z1, Z2 = rng.normal(size=(3, 4, 3))
    point = dl.LogSVD.of(jnp.asarray(W))
    for N in (1, 2, 6.5):
        assert float(dl.inner(point, Z1, Z2, N)) == pytest.approx(
            float(dl.inner(W, Z1, Z2, N)), rel=1e-12
        )
        assert float(dl.norm(point, Z1, N)) == pytest.approx(float(dl.norm(W, Z1, N)), rel=1e-12)
    key = jax.random.key(1)
    np.testing.assert_allclose(random_tangent(key, point, 3), random_tangent(key, W, 3), atol=1e-12)


@pytest.mark.parametrize("N", [1.5, 2, 6, math.inf])
def test_log_svd_far_below_the_floating_point_precision(rng, N):
    """σ = e^{log σ} loses log₂|log σ| bits: relative tolerance 1e−12."""
    U, V = orthogonal(rng, 3), orthogonal(rng, 3)
    s = np.array([1.0, 1e-60, 1e-120])
    point = dl.LogSVD(*map(jnp.asarray, (U, np.log(s), V.T)))
    Z1, Z2 = rng.normal(size=(2, 3, 3))
    values = np.array([[float(oracles.kernel(a, b, N)) for b in s] for a in s])
    one, two = U.T @ Z1 @ V, U.T @ Z2 @ V
    size = math.sqrt((one**2 / values).sum()) * math.sqrt((two**2 / values).sum())
    assert size > 1e30
    assert float(dl.inner(point, Z1, Z2, N)) == pytest.approx(
        (one * two / values).sum(), abs=1e-12 * size
    )
    assert float(dl.norm(point, Z1, N)) == pytest.approx(
        math.sqrt((one**2 / values).sum()), rel=1e-12
    )


@pytest.mark.parametrize("function", ["inner", "norm"])
def test_differentiable_at_ties(rng, function):
    """Against central differences of the explicit matrix, h = 1e−5: relative error about h²."""
    Z1, Z2, X = rng.normal(size=(3, 3, 3))
    if function == "inner":
        value, check = (lambda W, N: dl.inner(W, Z1, Z2, N)), (lambda W, N: product(W, Z1, Z2, N))
    else:
        value, check = (
            (lambda W, N: dl.norm(W, Z1, N)),
            (lambda W, N: math.sqrt(product(W, Z1, Z1, N))),
        )
    slope = jax.jit(jax.grad(value))
    for W in (np.eye(3), tied(rng), rng.normal(size=(3, 3))):
        for N in (2.0, 5.0, math.inf):
            found, h = np.asarray(slope(W, N)), 1e-5
            expected = (check(W + h * X, N) - check(W - h * X, N)) / (2 * h)
            assert (found * X).sum() == pytest.approx(expected, abs=1e-7 * np.abs(found).sum())


SINGULAR = [(np.diag([1.0, 1.0, 0.0]), 2), (np.eye(4, 3), math.inf), (np.ones((3, 3)), math.inf)]


@pytest.mark.parametrize(("W", "N"), SINGULAR)
@pytest.mark.parametrize("name", ["inner", "norm"])
def test_singular_points_are_errors(W, N, name):
    Z = np.ones(W.shape)
    function = (lambda W: dl.inner(W, Z, Z, N)) if name == "inner" else (lambda W: dl.norm(W, Z, N))
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        function(W)
    with pytest.raises(Exception, match="full rank"):
        jax.block_until_ready(jax.jit(function)(jnp.asarray(W)))
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        function(np.stack([2 * np.eye(*W.shape) + W, W]))
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        function(dl.LogSVD(*map(jnp.asarray, (U[:, :2], np.log(s[:2] + 1), Vt[:2]))))


def test_bad_arguments_are_typed_errors():
    W = np.eye(3)
    with pytest.raises(dl.InputError, match="Z must have the shape"):
        dl.inner(W, W, np.ones((3, 2)), 2)
    with pytest.raises(dl.InputError, match="Z must have the shape"):
        dl.norm(W, np.ones((2, 2)), 2)
    with pytest.raises(dl.InputError, match="Z must be finite"):
        dl.norm(W, W * np.nan, 2)
    with pytest.raises(dl.InputError, match="W must be a matrix"):
        dl.norm(np.ones(3), W, 2)
    for function in (
        partial(dl.norm, W, W),
        partial(dl.inner, W, W, W),
        partial(dl.gradient, jnp.sum, W),
        partial(random_tangent, jax.random.key(0), W),
    ):
        with pytest.raises(dl.DepthError, match="≥ 1"):
            function(0.5)
        with pytest.raises(dl.DepthError, match="one number"):
            function(np.array([2.0, 3.0]))


def test_gradients_over_two_batch_axes(rng):
    energy = dl.Completion([0, 2], [1, 0], [3.0, 1.0], (3, 2))
    W = rng.normal(size=(2, 4, 3, 2))
    found = dl.gradient(energy, W, 3)
    for at in np.ndindex(2, 4):
        np.testing.assert_allclose(found[at], dl.gradient(energy, W[at], 3), rtol=1e-12)


def test_directions_drawn_at_a_batch_of_singular_triples(rng):
    U, V = (np.broadcast_to(orthogonal(rng, 3), (5, 3, 3)) for _ in range(2))
    s = np.array([1.0, 0.5, 0.0])  # of rank 2: a random direction exists, its length does not
    at = dl.LogSVD(jnp.asarray(U), jnp.full((5, 3), jnp.log(s)), jnp.asarray(V))
    Z = dl.random_tangent(KEY, at, 2)
    assert Z.shape == (5, 3, 3)
    assert len(np.unique(np.round(Z, 12))) == 45  # each draws its own, at the same point too
    with pytest.raises(dl.SingularOperatorError):
        dl.norm(at, Z, 2)
    plain = dl.random_tangent(KEY, np.eye(3), 2)
    assert abs(float(dl.norm(np.eye(3), plain, 2)) - 1) > 1e-3  # not of length 1 unless asked


def test_the_length_of_nothing_has_the_derivative_zero():
    slope = jax.grad(lambda Z: dl.norm(jnp.eye(2), Z, 2))(jnp.zeros((2, 2)))
    np.testing.assert_array_equal(slope, 0)
