"""Langevin dynamics of matrices that are not square: coefficients against finite differences, and
laws (Kolmogorov–Smirnov at 1e−3 after Bonferroni) against exact samples.
"""

import dataclasses
import functools
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
from deeplinear.dynamics.langevin_rectangular import (
    RectangularLeafProcess,
    RectangularRootProcess,
)
from deeplinear.geometry.leaf import Leaf


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


def by_ito(ours, root, W, drift, noise):
    """The noise of R(W): ours, column by column, and that of W along each of its directions. The
    drift of R by Itô's formula from that of W is checked here.
    """
    along = lambda v: lambda h: np.ravel(root(W + h * v.reshape(W.shape)))  # noqa: E731
    expected = derivative(along(drift), 1e-4)
    expected += 0.5 * sum(second_derivative(along(v), 2e-3) for v in noise.T)
    R = root(W)
    np.testing.assert_allclose(np.ravel(ours.drift(0.0, R, None)), expected, atol=3e-6)
    columns = np.array([derivative(along(v), 1e-4) for v in noise.T])
    units_of_R = jnp.asarray(units(R.shape))
    return np.stack([np.ravel(ours.noise(0.0, R, None).mv(E)) for E in units_of_R], 1), columns


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [slow(1), 2, slow(5)])
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
    found, columns = by_ito(ours, root, W, drift, noise)
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


# --- leaves ---

# the least c at the last layer of tall matrices, at the first of wide ones
LEAVES = [((4, 2), (0.7, 0.0)), ((2, 3), (0.0, 0.3, 1.1)), ((3, 1), (0.0, 0.5, 0.0))]


def on_a_leaf(energy, c, shape, turning=False, beta=1.7, kappa=0.6, entropic=False):
    number = lambda x: jnp.asarray(x, float)  # noqa: E731
    return RectangularLeafProcess(
        energy,
        Leaf(np.array(c)),
        number(len(c)),
        number(beta),
        number(kappa),
        turning=turning,
        entropic=entropic,
        wide=shape[0] < shape[1],
    )


@functools.cache
def leaf_operator(c):
    return jax.jit(lambda X: dl.Operator(X, len(c), imbalance=c).as_matrix())


def leaf_matrix(W, c):
    return np.asarray(leaf_operator(c)(W))


@pytest.mark.parametrize(("shape", "c"), LEAVES)
def test_brownian_drift_on_a_leaf_by_its_definition(rng, shape, c):
    W = rng.normal(size=shape)
    log_volume = lambda X: -0.5 * np.linalg.slogdet(leaf_matrix(X, c))[1]  # noqa: E731
    drift = np.zeros(W.size)
    for j, E in enumerate(units(shape)):
        drift += derivative(lambda h, E=E, j=j: leaf_matrix(W + h * E, c)[:, j], 1e-3)
        drift += derivative(lambda h, E=E: log_volume(W + h * E), 1e-3) * leaf_matrix(W, c)[:, j]
    found = brownian_drift(W, len(c), imbalance=c)
    np.testing.assert_allclose(np.ravel(found), drift / 2, atol=1e-6)


@pytest.mark.parametrize(("shape", "c"), LEAVES)
@pytest.mark.parametrize("entropic", [slow(False), True])
def test_the_equation_of_the_root_on_a_leaf_is_that_of_W(rng, shape, c, entropic):
    beta, kappa, N = 1.7, 0.6, len(c)
    W, energy = rng.normal(size=shape), Distance(jnp.asarray(rng.normal(size=shape)))
    ours = on_a_leaf(energy, c, shape, entropic=entropic)
    root, A = eqx.filter_jit(ours.start), leaf_matrix(W, c)
    values, frame = np.linalg.eigh(A)
    force = np.ravel(W - np.asarray(energy.M))
    if entropic:
        entropy = lambda X: dl.entropy(X, N, imbalance=c, constant=False)  # noqa: E731
        force = force - np.ravel(jax.grad(entropy)(jnp.asarray(W))) / beta
    drift = -A @ force + 2 * kappa / beta * np.ravel(brownian_drift(W, N, imbalance=c))
    noise = math.sqrt(2 * kappa / beta) * (frame * np.sqrt(values)) @ frame.T
    found, columns = by_ito(ours, root, W, drift, noise)
    np.testing.assert_allclose(found @ found.T, columns.T @ columns, atol=1e-7)


@pytest.mark.parametrize(("shape", "c"), LEAVES)
def test_exact_turns_on_a_leaf_bring_the_rest_of_the_drift_along(rng, shape, c):
    turning = on_a_leaf(None, c, shape, turning=True)
    flat = dataclasses.replace(turning, turning=False)
    R = flat.start(jnp.asarray(rng.normal(size=shape)))
    then, noise = eqx.filter_jit(turning.then), turning.noise(0.0, R, None)
    moved = [noise.mv(E) for E in jnp.asarray(units(R.shape))]
    extra = 0.5 * sum(
        second_derivative(lambda h, m=m: np.asarray(then(R, R + h * m)), 1e-3) for m in moved
    )
    difference = flat.drift(0.0, R, None) - turning.drift(0.0, R, None)
    np.testing.assert_allclose(extra, difference, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "c"), [((2, 1), (0.8, 0.0)), slow((1, 3), (0.0, 0.4, 0.0)), slow((3, 1), (0.3, 0.0))]
)
def test_the_stationary_law_of_vectors_on_a_leaf(shape, c):
    """|W| has the density r^{m−1} √det g e^{−βE}, by quadrature; 2,000 independent chains."""
    beta, N, m = 3.0, len(c), max(shape)
    r = np.linspace(0, 4, 2001)[1:] - 0.001
    W = np.zeros((r.size, *shape))
    W[:, 0, 0] = r
    volume = np.asarray(dl.log_volume(W, N, imbalance=c))
    law = np.cumsum(r ** (m - 1) * np.exp(volume - beta * (r - 0.5) ** 2 / 2))
    energy = lambda W: 0.5 * (jnp.sqrt(jnp.sum(W**2) + 1e-12) - 0.5) ** 2  # noqa: E731
    run = dl.langevin(energy, W[400], N, beta, imbalance=c, t1=8.0, dt=0.02, key=5, chains=2000)
    assert run.converged.all()
    found = np.linalg.norm(np.asarray(run.W), axis=(1, 2))
    cdf = lambda x: np.interp(x, r + 0.001, law / law[-1])  # noqa: E731
    assert_law(stats.ks_1samp(found, cdf))
    # the law of another leaf is told apart
    other = np.asarray(dl.log_volume(W, N))
    wrong = np.cumsum(r ** (m - 1) * np.exp(other - beta * (r - 0.5) ** 2 / 2))
    assert stats.ks_1samp(found, lambda x: np.interp(x, r + 0.001, wrong / wrong[-1])).pvalue < 1e-6


@pytest.mark.slow
def test_brownian_motion_of_a_matrix_on_a_leaf(rng):
    """W_0ᵀ has the transposed motion's law, and without noise Langevin is the gradient flow."""
    W0, c = STARTS[3, 2], (0.5, 0.0)
    energy = Distance(jnp.asarray(rng.normal(size=(3, 2))))
    still = dl.langevin(energy, W0, 2, 1.0, imbalance=c, kappa=0.0, t1=1.0, dt=1e-3, key=0)
    flow = dl.gradient_flow(energy, W0, 2, imbalance=c, t1=1.0)
    np.testing.assert_allclose(still.W, flow.W, atol=2e-3)
    walks = [
        dl.brownian(W, 2, t1=0.5, dt=0.005, key=k, chains=2000, imbalance=e).log_singular_values
        for W, k, e in ((W0, 1, c), (W0.T, 2, c[::-1]))
    ]
    assert_law(*(stats.ks_2samp(*(np.asarray(w)[:, i] for w in walks)) for i in range(2)))
