"""The metric as one object, and under the names of other packages (which are not needed for it)."""

import math

import jax
import numpy as np
import oracles
import pytest

import deeplinear as dl

N = 3


def test_methods_are_the_functions(rng):
    W, X, Y = rng.normal(size=(3, 2, 2))
    g = dl.Metric(N)
    energy = dl.Completion([0, 1], [0, 1], [1.0, 2.0], (2, 2))
    pairs = [
        (g.inner(W, X, Y), dl.inner(W, X, Y, N)),
        (g.norm(W, X), dl.norm(W, X, N)),
        (g.gradient(energy, W), dl.gradient(energy, W, N)),
        (
            g.random_tangent(jax.random.key(1), W, unit=True),
            dl.random_tangent(jax.random.key(1), W, N, unit=True),
        ),
        (g.log_volume(W, "svd"), dl.log_volume(W, N, "svd")),
        (g.log_stratum_volume(W, 1), dl.log_stratum_volume(W, N, 1)),
        (g.entropy(W, constant=False), dl.entropy(W, N, constant=False)),
        (g.exp(W, 0.1 * X).W, dl.geodesic.exp(W, 0.1 * X, N).W),
        (g.sectional(W, X, Y), dl.curvature.sectional(W, X, Y, N)),
        (g.ricci(W, X, Y), dl.curvature.ricci(W, X, Y, N)),
        (g.scalar(W), dl.curvature.scalar(W, N)),
        (g.christoffel(W, X, Y), dl.curvature.christoffel(W, X, Y, N)),
        (g.operator(W)(X), dl.Operator(W, N)(X)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(dl.DepthError):
        dl.Metric(0.5)


def test_under_pymanopt_names_steepest_descent_follows_the_flow(rng):
    manifold = dl.Metric(N).pymanopt(3, seed=0)
    target, W = rng.normal(size=(3, 3)), manifold.random_point()
    W0, dt, steps = W, 1e-3, 100
    for _ in range(steps):
        W = manifold.retraction(W, -dt * manifold.euclidean_to_riemannian_gradient(W, W - target))
    energy = dl.Completion.from_dense(target)
    flow = dl.gradient_flow(energy, W0, N, t1=dt * steps)
    np.testing.assert_allclose(W, flow.W, atol=2e-3)
    assert np.abs(W - W0).max() > 0.05
    Z = manifold.random_tangent_vector(W)
    assert manifold.norm(W, Z) == pytest.approx(1, rel=1e-12)
    assert manifold.inner_product(W, Z, Z) == pytest.approx(1, rel=1e-12)
    assert (manifold.dim, np.abs(manifold.zero_vector(W)).max()) == (9, 0)
    np.testing.assert_array_equal(manifold.projection(W, Z), manifold.transport(W, W, Z))
    with pytest.raises(dl.InputError, match="d must be"):
        dl.Metric(N).pymanopt(0)


def test_under_geomstats_names(rng):
    metric = dl.Metric(N).geomstats(2)
    W, X, Y = rng.normal(size=(3, 2, 2))
    explicit = np.linalg.inv(oracles.operator_matrix(W, N))
    np.testing.assert_allclose(metric.metric_matrix(W), explicit, rtol=1e-9)
    assert metric.inner_product(X, Y, W) == pytest.approx(
        X.ravel() @ explicit @ Y.ravel(), rel=1e-9
    )
    assert metric.squared_norm(X, W) == pytest.approx(metric.norm(X, W) ** 2, rel=1e-12)
    end = metric.exp(0.3 * X, W)
    np.testing.assert_allclose(metric.log(end, W), 0.3 * X, atol=1e-8)
    assert metric.dist(W, end) == pytest.approx(0.3 * metric.norm(X, W), rel=1e-8)
    # towards det = 0, at finite depth in finite time: no number
    assert np.isnan(dl.Metric(2).geomstats(2).exp(np.diag([0.0, -3.0]), np.diag([2.0, 1.0]))).all()
    assert math.isfinite(metric.dist(W, W))
