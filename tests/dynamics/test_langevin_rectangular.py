"""Langevin dynamics of matrices that are not square: coefficients against finite differences, and
laws (Kolmogorov–Smirnov at 1e−3 after Bonferroni) against exact samples.
"""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import KEY, SIGNIFICANCE, Distance, slow
from scipy import stats

import deeplinear as dl
from deeplinear.dynamics.langevin import brownian_drift
from deeplinear.dynamics.langevin_rectangular import RectangularRootProcess


def assert_law(*tests):
    values = [t.pvalue for t in tests]
    assert min(values) > SIGNIFICANCE / len(values), values


def derivative(f, h):
    return (f(-2 * h) - 8 * f(-h) + 8 * f(h) - f(2 * h)) / (12 * h)


def second_derivative(f, h):
    return (-f(2 * h) + 16 * f(h) - 30 * f(0.0) + 16 * f(-h) - f(-2 * h)) / (12 * h * h)


def units(shape):
    return np.eye(math.prod(shape)).reshape(-1, *shape)


def process(energy, depth, shape, turning=False, beta=1.7, kappa=0.6):
    number = lambda x: jnp.asarray(x, float)  # noqa: E731
    return RectangularRootProcess(
        energy,
        number(depth),
        number(depth),
        number(beta),
        number(kappa),
        turning=turning,
        wide=shape[0] < shape[1],
    )


SHAPES = [(4, 2), (2, 3), (3, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_brownian_drift_is_that_of_half_the_laplacian(rng, shape, depth):
    """½ (1/√g) ∂_j(√g g^{ij}) by differences: nothing of the edge is left of it."""
    W, A = rng.normal(size=shape), lambda X: oracles.operator_matrix(X, depth)
    log_volume = lambda X: -0.5 * np.linalg.slogdet(A(X))[1]  # noqa: E731
    drift = np.zeros(W.size)
    for j, E in enumerate(units(shape)):
        drift += derivative(lambda h, E=E, j=j: A(W + h * E)[:, j], 1e-3)
        drift += derivative(lambda h, E=E: log_volume(W + h * E), 1e-3) * A(W)[:, j]
    np.testing.assert_allclose(np.ravel(brownian_drift(W, depth)), drift / 2, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_equation_of_the_root_is_that_of_W(rng, shape, depth):
    beta, kappa = 1.7, 0.6
    W, energy = rng.normal(size=shape), Distance(jnp.asarray(rng.normal(size=shape)))
    ours = process(energy, depth, shape)
    root = eqx.filter_jit(ours.start)
    A = oracles.operator_matrix(W, depth)
    values, frame = np.linalg.eigh(A)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    drift = -A @ np.ravel(W - np.asarray(energy.M))
    drift += kappa / beta * (1 - 1 / depth) * np.ravel((U * s ** (1 - 2 / depth)) @ Vt)
    noise = math.sqrt(2 * kappa / beta) * (frame * np.sqrt(values)) @ frame.T
    along = lambda v: lambda h: np.ravel(root(W + h * v.reshape(shape)))  # noqa: E731
    expected = derivative(along(drift), 1e-4)
    expected += 0.5 * sum(second_derivative(along(v), 2e-3) for v in noise.T)
    R = root(W)
    np.testing.assert_allclose(np.ravel(ours.drift(0.0, R, None)), expected, atol=3e-6)
    columns = np.array([derivative(along(v), 1e-4) for v in noise.T])
    found = np.stack(
        [np.ravel(ours.noise(0.0, R, None).mv(E)) for E in jnp.asarray(units(R.shape))], 1
    )
    np.testing.assert_allclose(found, found.T, atol=1e-14)
    np.testing.assert_allclose(found @ found.T, columns.T @ columns, atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_exact_turns_bring_the_rest_of_the_drift_along(rng, shape):
    turning = process(None, 2.5, shape, turning=True)
    flat = dataclasses.replace(turning, turning=False)
    R = flat.start(jnp.asarray(rng.normal(size=shape)))
    then, noise = eqx.filter_jit(turning.then), turning.noise(0.0, R, None)
    moved = [noise.mv(E) for E in jnp.asarray(units(R.shape))]
    for m in moved:  # to first order nothing changes
        slope = derivative(lambda h, m=m: np.asarray(then(R, R + h * m)), 1e-3)
        np.testing.assert_allclose(slope, m, atol=1e-8)
    extra = 0.5 * sum(
        second_derivative(lambda h, m=m: np.asarray(then(R, R + h * m)), 1e-3) for m in moved
    )
    difference = flat.drift(0.0, R, None) - turning.drift(0.0, R, None)
    np.testing.assert_allclose(extra, difference, atol=1e-6)


STARTS = {
    (3, 2): np.array([[1.2, 0.3], [-0.2, 0.8], [0.1, 0.4]]),
    (2, 4): np.array([[1.2, 0.3, 0.0, 0.1], [-0.2, 0.8, 0.5, 0.0]]),
    (3, 1): np.array([[0.3], [0.0], [0.1]]),
}


@pytest.mark.parametrize(("shape", "depth"), [((3, 2), 2.5), slow((2, 4), 3), slow((3, 1), 2)])
def test_singular_values_of_brownian_motion_are_dysons(shape, depth):
    W0, t = STARTS[shape], 0.4
    walk = dl.brownian(W0, depth, t1=t, dt=t / 20, key=KEY, chains=4000)
    assert np.asarray(walk.converged).all()
    assert (np.asarray(walk.det_sign) == 1).all()
    log_s = np.asarray(walk.log_singular_values)
    s = np.linalg.svd(walk.W, compute_uv=False)
    np.testing.assert_allclose(np.exp(log_s), s, rtol=1e-9)

    def tests(t):
        exact = np.asarray(dl.exact.dyson(W0, depth, t, key=7, samples=100_000))
        return [stats.ks_2samp(log_s[:, i], exact[:, i]) for i in range(min(shape))]

    assert_law(*tests(t))
    assert min(x.pvalue for x in tests(1.3 * t)) < SIGNIFICANCE / min(shape)


class Decay(eqx.Module):
    """(λN/2) Σ σ^{2/N}."""

    N: float = eqx.field(static=True)
    strength: float = eqx.field(static=True)

    def __call__(self, W):
        s = jnp.linalg.svd(W, full_matrices=False, compute_uv=False)
        return self.strength * self.N / 2 * jnp.sum(s ** (2 / self.N))


@pytest.mark.parametrize(("shape", "depth"), [slow((3, 1), 2), slow((3, 2), 2), slow((2, 4), 3)])
def test_the_stationary_law_of_weight_decay_is_the_prior(shape, depth):
    """Every entry of the root is normal, and singular values are those of `sample_prior`."""
    beta, decay = 2.0, 1.0
    plan = {"t1": 5.0, "dt": 0.025, "key": KEY, "chains": 1500}
    run = dl.langevin(Decay(depth, decay), STARTS[shape], depth, beta, **plan)
    assert np.asarray(run.converged).all()
    R = np.asarray(dl.root(run.W, depth)) * math.sqrt(beta * decay * depth)
    prior = dl.sample_prior(depth, shape, beta, decay, 5, samples=100_000)
    s = [np.linalg.svd(X, compute_uv=False) for X in (run.W, prior)]
    tests = [stats.kstest(x, "norm") for x in R.reshape(len(R), -1).T]
    tests += [stats.ks_2samp(s[0][:, i], s[1][:, i]) for i in range(min(shape))]
    assert_law(*tests)
    warmer = stats.kstest((1.15 * R).ravel(), "norm").pvalue
    assert warmer < SIGNIFICANCE / len(tests)


@pytest.mark.parametrize("entropic", [slow(False), slow(True)])
def test_the_stationary_law_without_symmetry_is_that_of_slices(entropic):
    energy, depth, beta = Distance(jnp.asarray(STARTS[3, 2][::-1])), 2.5, 3.0
    plan = {"t1": 12.0, "dt": 0.05, "key": KEY, "chains": 1500, "entropic": entropic}
    walk = dl.langevin(energy, STARTS[3, 2], depth, beta, **plan)
    assert np.asarray(walk.converged).all()
    slices = {"chains": 3000, "samples": 4, "warmup": 60, "thin": 4, "key": 3}
    run = dl.sample_gibbs(energy, depth, beta, shape=(3, 2), entropic=entropic, **slices)
    a, b = np.asarray(walk.W), np.asarray(run.W[:, -1])
    s = [np.linalg.svd(x, compute_uv=False) for x in (a, b)]
    pairs = [*zip(a.reshape(len(a), -1).T, b.reshape(len(b), -1).T, strict=True)]
    pairs += [(s[0][:, i], s[1][:, i]) for i in range(2)]
    assert_law(*(stats.ks_2samp(x, y) for x, y in pairs))


@pytest.mark.slow
def test_wide_matrices_are_transposed_tall_ones():
    M = jnp.asarray(STARTS[2, 4])
    plan = {"t1": 0.3, "dt": 0.05, "key": KEY, "chains": 3}
    wide = dl.langevin(Distance(0.5 * M), M, 3, 2.0, **plan)
    tall = dl.langevin(Distance(0.5 * M.T), M.T, 3, 2.0, **plan)
    np.testing.assert_allclose(wide.W, np.swapaxes(tall.W, 1, 2), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(wide.energy, tall.energy, rtol=1e-9)


def test_depth_one_is_flat():
    run = dl.brownian(np.zeros((3, 2)), 1, t1=0.7, dt=0.1, key=KEY, chains=2000)
    columns = np.asarray(run.W).reshape(2000, -1).T
    assert_law(*(stats.kstest(x, stats.norm(0, math.sqrt(0.7)).cdf) for x in columns))


def test_without_noise_it_is_the_gradient_flow():
    W0, energy = STARTS[3, 2], Distance(jnp.ones((3, 2)))
    run = dl.langevin(energy, W0, 3, 1.0, kappa=0.0, t1=0.5, dt=0.0005, key=0)
    flow = dl.gradient_flow(energy, W0, 3, t1=0.5, rtol=1e-9)
    np.testing.assert_allclose(run.W, flow.W, atol=1e-3)


@pytest.mark.parametrize(
    ("W0", "depth", "error", "sentence"),
    [
        (
            np.ones((3, 2)) + np.eye(3, 2),
            math.inf,
            dl.DepthError,
            r"^depth must be known and finite",
        ),
        (np.ones((3, 2)), 3, dl.InputError, r"^W0 must be invertible \(of full rank"),
        (np.ones(3), 3, dl.InputError, r"^W0 must be m×n or chains×m×n"),
    ],
)
def test_sentences(W0, depth, error, sentence):
    with pytest.raises(error, match=sentence):
        dl.brownian(W0, depth, t1=0.1, dt=0.1, key=jax.random.key(0))
