"""The metric as one object, and under the names of other packages (which are not needed for it)."""

import math

import jax
import numpy as np
import oracles
import pytest
from cases import slow

import deeplinear as dl

N = 3


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    # batches, as means and clusters ask for them
    ends = np.stack([end, W])
    np.testing.assert_allclose(metric.log(ends, W), [0.3 * X, 0 * X], atol=1e-8)
    np.testing.assert_allclose(metric.exp(metric.log(ends, W), W), ends, atol=1e-8)
    np.testing.assert_allclose(metric.dist(ends, W), [metric.dist(end, W), 0], atol=1e-8)
    assert metric.squared_dist(end, W) == pytest.approx(metric.dist(end, W) ** 2)
    np.testing.assert_array_equal(metric.metric_matrix(ends)[1], metric.metric_matrix(W))


class Quartic:
    """E = ½ ⟨D, C D⟩ + Σ D⁴ for D = W − M, and what pymanopt asks for."""

    def __init__(self, rng):
        B = rng.normal(size=(4, 4))
        self.M, self.C = np.eye(2) + 0.3 * rng.normal(size=(2, 2)), B @ B.T + 2 * np.eye(4)

    def apply(self, D):
        return (self.C @ D.ravel()).reshape(2, 2)

    def energy(self, W):
        D = W - self.M
        return 0.5 * np.sum(D * self.apply(D)) + np.sum(D**4)

    def gradient(self, W):
        return self.apply(W - self.M) + 4 * (W - self.M) ** 3

    def hessian(self, W, Z):
        return self.apply(Z) + 12 * (W - self.M) ** 2 * Z


@pytest.mark.parametrize("depth", [slow(1), slow(2), 3.5, slow(math.inf)])
def test_the_hessian_is_the_second_derivative_along_geodesics(rng, depth):
    """Central differences with h = 1e−3: relative error about h²."""
    cost, manifold = Quartic(rng), dl.Metric(depth).pymanopt(2)
    W, Z, Y = 2 * np.eye(2) + 0.2 * rng.normal(size=(2, 2)), *rng.normal(size=(2, 2, 2))

    def hess(Z):
        arguments = cost.gradient(W), cost.hessian(W, Z), Z
        return manifold.euclidean_to_riemannian_hessian(W, *arguments)

    h = 1e-3
    before, after = (cost.energy(manifold.exp(W, s * h * Z)) for s in (-1, 1))
    second = (after - 2 * cost.energy(W) + before) / h**2
    assert manifold.inner_product(W, Z, hess(Z)) == pytest.approx(second, rel=1e-4)
    symmetric = manifold.inner_product(W, Y, hess(Z)), manifold.inner_product(W, Z, hess(Y))
    assert symmetric[0] == pytest.approx(symmetric[1], rel=1e-10)


def test_the_mean_of_two_points_is_half_way():
    manifold = dl.Metric(2).pymanopt(2)
    found = manifold.pair_mean(np.diag([1.0, 1.0]), np.diag([9.0, 1.0]))
    np.testing.assert_allclose(found, np.diag([4.0, 1.0]), atol=1e-9)  # ((1 + √9)/2)²


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SteepestDescent", "ConjugateGradient", "TrustRegions"])
def test_the_optimizers_of_pymanopt(rng, name):
    pymanopt = pytest.importorskip("pymanopt")
    optimizers = pytest.importorskip("pymanopt.optimizers")
    cost, manifold = Quartic(rng), dl.Metric(N).pymanopt(2, seed=0)
    given = pymanopt.function.numpy(manifold)
    problem = pymanopt.Problem(
        manifold,
        given(lambda W: cost.energy(W)),
        euclidean_gradient=given(lambda W: cost.gradient(W)),
        euclidean_hessian=given(lambda W, Z: cost.hessian(W, Z)),
    )
    start = 2 * np.eye(2) + 0.2 * rng.normal(size=(2, 2))
    result = getattr(optimizers, name)(verbosity=0).run(problem, initial_point=start)
    np.testing.assert_allclose(result.point, cost.M, atol=1e-4)
    assert result.iterations < 100


@pytest.mark.slow
def test_the_bures_wasserstein_metric_of_geomstats(rng):
    """At depth 2, on positive definite matrices, g is 4 times theirs; so are Fréchet means."""
    spd = pytest.importorskip("geomstats.geometry.spd_matrices", exc_type=ImportError)
    means = pytest.importorskip("geomstats.learning.frechet_mean", exc_type=ImportError)
    theirs, ours = spd.SPDMatrices(3, equip=False), spd.SPDMatrices(3, equip=False)
    theirs.equip_with_metric(spd.SPDBuresWassersteinMetric)
    ours.metric = dl.Metric(2).geomstats(3)
    roots = rng.normal(size=(4, 3, 3))
    S = roots @ roots.transpose(0, 2, 1) + 0.5 * np.eye(3)
    np.testing.assert_allclose(
        ours.metric.dist(S[1:], S[0]), 2 * theirs.metric.dist(S[1:], S[0]), rtol=1e-8
    )
    Z = theirs.metric.log(S[1:], S[0])
    np.testing.assert_allclose(ours.metric.log(S[1:], S[0]), Z, atol=1e-8)
    np.testing.assert_allclose(ours.metric.exp(Z, S[0]), S[1:], atol=1e-8)
    np.testing.assert_allclose(
        ours.metric.inner_product(Z, Z[0], S[0]),
        4 * theirs.metric.inner_product(Z, Z[0], S[0]),
        rtol=1e-9,
    )
    found, exact = (
        means.FrechetMean(space).set(epsilon=1e-20, max_iter=60).fit(S).estimate_
        for space in (ours, theirs)
    )
    np.testing.assert_allclose(found, exact, atol=1e-6)
