"""Brownian motion and Langevin: coefficients against finite differences and mpmath, samples against exact laws (fixed keys; a
Kolmogorov–Smirnov test fails at p < 1e−3 after Bonferroni), upstairs against downstairs.

The steps are chosen so that the bias of the weak order 1 scheme is below what the samples resolve.
"""

import functools
import itertools
import math
import subprocess
import sys

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import stats

import deeplinear as dl
from deeplinear.diffusion import DiffusionStatus, brownian_drift
from deeplinear.sde import Path, Process, root_exponent, sign_of_det

KEY = jax.random.key(20231)
SIGNIFICANCE = 1e-3
SLOW = pytest.mark.slow


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


def kernel_matrix(s, N):
    """λ_N(σ_i, σ_j), from the definition, in 60 digits."""
    return np.array([[float(oracles.kernel(a, b, N)) for b in s] for a in s])


def quotient(s, N):
    """The same in plain NumPy, for well separated s."""
    S, T = np.broadcast_arrays(s[:, None], s)
    gap = np.log(S**2 / T**2) if math.isinf(N) else N * (S ** (2 / N) - T ** (2 / N))
    np.fill_diagonal(gap, 1.0)
    return np.where(np.eye(s.size) > 0, S ** (2 if math.isinf(N) else 2 - 2 / N), (S**2 - T**2) / gap)


def power_matrix(W, N, q):
    """A_{N,W}^q as a d²×d² matrix."""
    U, s, Vt = np.linalg.svd(W)
    frame = np.kron(U, Vt.T)
    return (frame * quotient(s, N).ravel() ** q) @ frame.T


def derivative(f, h):
    """f′(0) to O(h⁴)."""
    return (f(-2 * h) - 8 * f(-h) + 8 * f(h) - f(2 * h)) / (12 * h)


def second_derivative(f, h):
    return (-f(2 * h) + 16 * f(h) - 30 * f(0.0) + 16 * f(-h) - f(-2 * h)) / (12 * h * h)


def process(energy, depth, beta=1.7, kappa=0.6, **kwargs):
    as_array = lambda x: jnp.asarray(x, float)  # noqa: E731
    return Process(energy, as_array(depth), root_exponent(depth, float), as_array(beta), as_array(kappa), **kwargs)


def assert_law(*tests):
    """That none of the p values is below the significance, divided by their number."""
    values = [t.pvalue for t in tests]
    assert min(values) > SIGNIFICANCE / len(values), values


DEPTHS = [1, 1.5, 2, 3, 7, math.inf]


@pytest.mark.parametrize("depth", DEPTHS[1:])
def test_brownian_drift_is_that_of_half_the_laplacian(rng, depth):
    d = 3
    W = rng.normal(size=(d, d))
    log_volume = lambda X: -0.5 * np.linalg.slogdet(power_matrix(X, depth, 1.0))[1]  # noqa: E731
    drift = np.zeros(d * d)
    for j, E in enumerate(np.eye(d * d).reshape(-1, d, d)):
        drift += derivative(lambda h, E=E, j=j: power_matrix(W + h * E, depth, 1.0)[:, j], 1e-3)
        slope = derivative(lambda h, E=E: log_volume(W + h * E), 1e-3)
        drift += slope * power_matrix(W, depth, 1.0)[:, j]
    np.testing.assert_allclose(np.ravel(brownian_drift(W, depth)), drift / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_equation_of_the_root_is_that_of_W(rng, depth):
    """Drift and covariance of R, by Itô's formula and finite differences, from the equation of W in its dense form."""
    d, beta, kappa = 3, 1.7, 0.6
    W, energy = rng.normal(size=(d, d)), Distance(jnp.asarray(rng.normal(size=(d, d))))
    ours = process(energy, depth, beta, kappa)
    root = eqx.filter_jit(ours.start)
    U, s, Vt = np.linalg.svd(W)
    nu = 0 if math.isinf(depth) else 1 / depth
    gradient = np.ravel(W - np.asarray(energy.M))
    drift = -power_matrix(W, depth, 1.0) @ gradient + kappa / beta * (1 - nu) * np.ravel((U * s ** (1 - 2 * nu)) @ Vt)
    noise = math.sqrt(2 * kappa / beta) * power_matrix(W, depth, 0.5)
    along = lambda v: lambda h: np.ravel(root(W + h * v.reshape(d, d)))  # noqa: E731
    expected = derivative(along(drift), 1e-4)
    columns = [derivative(along(v), 1e-4) for v in noise.T]
    expected += 0.5 * sum(second_derivative(along(v), 2e-3) for v in noise.T)
    R = root(W)
    np.testing.assert_allclose(np.ravel(ours.drift(0.0, R, None)), expected, rtol=0, atol=2e-7)
    sqrt = np.stack([np.ravel(ours.noise(0.0, R, None).mv(E)) for E in jnp.eye(d * d).reshape(-1, d, d)], 1)
    np.testing.assert_allclose(sqrt, sqrt.T, atol=1e-14)
    np.testing.assert_allclose(sqrt @ sqrt.T, np.array(columns).T @ np.array(columns), rtol=0, atol=1e-8)


@pytest.mark.parametrize("depth", [1, 2, 3.5, math.inf])
def test_a_step_that_turns_the_frames_brings_the_rest_of_the_drift_along(rng, depth):
    d, W = 3, rng.normal(size=(3, 3))
    flat, turning = process(None, depth), process(None, depth, turning=True)
    R = flat.start(W)
    then, noise = eqx.filter_jit(turning.then), turning.noise(0.0, R, None)
    moved = [jnp.asarray(noise.mv(E)) for E in jnp.eye(d * d).reshape(-1, d, d)]
    extra = 0.5 * sum(second_derivative(lambda h, m=m: np.asarray(then(R, R + h * m)), 1e-3) for m in moved)
    difference = np.asarray(flat.drift(0.0, R, None)) - np.asarray(turning.drift(0.0, R, None))
    np.testing.assert_allclose(extra, difference, rtol=0, atol=1e-7)
    small = 1e-6 * np.asarray(moved[1])
    np.testing.assert_allclose(np.asarray(then(R, R + small) - R), small, rtol=0, atol=1e-11)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_coefficients_are_continuous_at_ties_and_at_zero(rng, depth):
    Q, P = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    at = lambda y: (Q * y) @ P  # noqa: E731
    ours = process(None, depth)
    for y in ([1.3, 1.3, 0.7], [0.9, 0.9, 0.9]):
        for eps in (1e-5, 1e-8, 1e-12):
            near = at(np.array(y) * (1 + eps * np.array([1.0, -0.3, 0.4])))
            np.testing.assert_allclose(
                ours.drift(0.0, near, None), ours.drift(0.0, at(np.array(y)), None), atol=50 * eps
            )
            moved = [np.asarray(ours.noise(0.0, X, None).mv(Q)) for X in (near, at(np.array(y)))]
            np.testing.assert_allclose(*moved, atol=50 * eps + 1e-13)
    if depth < math.inf:  # through det = 0
        y = np.array([1.2, 0.5, 1e-9])
        for X, Y in ((at(y), at(y * [1, 1, -1])), (at(y), at(y * [1, 1, 0]))):
            np.testing.assert_allclose(ours.drift(0.0, X, None), ours.drift(0.0, Y, None), atol=1e-7)
            np.testing.assert_allclose(ours.noise(0.0, X, None).mv(P), ours.noise(0.0, Y, None).mv(P), atol=1e-7)


def gaussian_orthogonal(rng, d, beta, size=200_000):
    """Exact eigenvalues, descending, with density ∝ ∏ |ℓ_i − ℓ_j| e^{−(β/2) Σ ℓ_i²}."""
    H = rng.normal(size=(size, d, d)) / math.sqrt(beta)
    return np.linalg.eigvalsh((H + H.transpose(0, 2, 1)) / 2)[:, ::-1] if d > 1 else H[:, 0]


ENSEMBLES = [(2, 1, 0.25), (3, 4, 1)]
SLOW_ENSEMBLES = [(2, 1, 1), (2, 4, 1), (3, 1, 1), (4, 1, 1), (4, 4, 1)]


@pytest.mark.parametrize(("d", "beta", "kappa"), [*ENSEMBLES, *(pytest.param(*x, marks=SLOW) for x in SLOW_ENSEMBLES)])
def test_log_singular_values_are_those_of_the_gaussian_orthogonal_ensemble(rng, d, beta, kappa):
    strength = beta / kappa
    dt = 0.02 if strength < 2 else 0.04
    run = dl.langevin(LogEnergy(), np.eye(d), math.inf, beta, kappa=kappa, t1=3.0, dt=dt, key=KEY, chains=4000)
    assert np.asarray(run.converged).all()
    l = np.asarray(run.log_singular_values)
    exact = gaussian_orthogonal(rng, d, strength)
    squares = lambda b: stats.gamma(d * (d + 1) / 4, scale=2 / b).cdf  # noqa: E731
    tests = [stats.ks_2samp(l[:, i], exact[:, i]) for i in range(d)]
    tests += [stats.kstest(l.mean(1), stats.norm(0, 1 / math.sqrt(d * strength)).cdf)]
    tests += [stats.kstest((l**2).sum(1), squares(strength))]
    if d == 2:
        tests += [stats.kstest(l[:, 0] - l[:, 1], stats.rayleigh(scale=math.sqrt(2 / strength)).cdf)]
    assert_law(*tests)
    assert stats.kstest((l**2).sum(1), squares(1.1 * strength)).pvalue < SIGNIFICANCE / len(tests)  # the power of this


SLOW_CASES = [pytest.param("cross", 2, marks=SLOW), pytest.param("reflect", 3, marks=SLOW)]


@pytest.mark.parametrize(("at_zero", "N"), [("reflect", 2), ("cross", 3), *SLOW_CASES])
def test_stationary_law_at_finite_depth(N, at_zero):
    """Density ∝ (x_1² − x_2²) e^{−β|x|²/2}: |x|² is a Gamma variable, and sin 2θ uniform for tan θ = x_2/x_1."""
    beta, n = 2.0, 4000
    run = dl.langevin(Radial(N), np.eye(2), N, beta, t1=3.0, dt=0.02, key=KEY, chains=n, at_zero=at_zero)
    assert np.asarray(run.converged).all()
    x = N * np.exp(np.asarray(run.log_singular_values) / N)
    angle = np.sin(2 * np.arctan2(x[:, 1], x[:, 0]))
    radius = (x**2).sum(1)
    assert_law(stats.kstest(radius, stats.gamma(2, scale=2 / beta).cdf), stats.kstest(angle, stats.uniform.cdf))
    assert stats.kstest(radius, stats.gamma(2, scale=2 / (1.1 * beta)).cdf).pvalue < SIGNIFICANCE / 2
    np.testing.assert_allclose(np.sign(np.linalg.det(run.W)), run.det_sign)
    if at_zero == "reflect":
        assert (np.asarray(run.det_sign) == 1).all()
    else:
        assert stats.binomtest(int((np.asarray(run.det_sign) > 0).sum()), n).pvalue > SIGNIFICANCE


@pytest.mark.slow
def test_stationary_law_of_half_the_squared_norm(rng):
    """N = 2, E = ½‖W‖²: density ∝ (x_1² − x_2²) e^{−(β/32)(x_1⁴ + x_2⁴)}, by quadrature."""
    run = dl.langevin(Distance(jnp.zeros((2, 2))), np.eye(2), 2, 2.0, t1=4.0, dt=0.02, key=KEY, chains=4000)
    grid = np.linspace(0, 8, 4001)
    cell = np.exp(-2.0 / 32 * grid**4)
    moments = np.cumsum(np.stack([cell, grid**2 * cell]), 1)
    densities = (
        cell * (grid**2 * moments[0] - moments[1]),
        cell * ((moments[1][-1] - moments[1]) - grid**2 * (moments[0][-1] - moments[0])),
    )
    x = 2 * np.exp(np.asarray(run.log_singular_values) / 2)
    cdf = [np.cumsum(p) / p.sum() for p in densities]
    assert_law(*(stats.kstest(x[:, i], lambda t, i=i: np.interp(t, grid, cdf[i])) for i in range(2)))


def weighted_law(values, weights):
    """The distribution function of a weighted sample."""
    order = np.argsort(values)
    return lambda x: np.interp(x, values[order], np.cumsum(weights[order]) / weights.sum())


@pytest.mark.parametrize("at_zero", ["reflect", pytest.param("cross", marks=SLOW)])
def test_stationary_law_for_an_energy_without_symmetry(rng, at_zero):
    """N = 2, E = ½‖W − M‖²: Gaussian samples, weighted with the volume √det g = ∏ λ_ij^{−1/2}, are the oracle (95,000 in effect).
    Reflected chains have the law of the component of their start, crossing ones the whole."""
    M, beta, n = np.array([[0.5, 0.6], [0.4, -0.2]]), 3.0, 4000
    run = dl.langevin(
        Distance(jnp.asarray(M)), np.eye(2), 2, beta, t1=12.0, dt=0.08, key=KEY, chains=n, at_zero=at_zero
    )
    assert np.asarray(run.converged).all()
    exact = M + rng.normal(size=(2_000_000, 2, 2)) / math.sqrt(beta)
    s = np.linalg.svd(exact, compute_uv=False)
    weights = 2 / np.sqrt(s.prod(1)) / s.sum(1)
    positive = np.linalg.det(exact) > 0
    W = np.asarray(run.W)
    if at_zero == "reflect":
        assert (np.linalg.det(W) > 0).all()
        exact, weights = exact[positive], weights[positive]
    else:
        share = weights[positive].sum() / weights.sum()
        assert stats.binomtest(int((np.linalg.det(W) > 0).sum()), n, share).pvalue > SIGNIFICANCE
    parts = [lambda X, i=i, j=j: X[:, i, j] for i in range(2) for j in range(2)] + [np.linalg.det]
    assert_law(*(stats.kstest(part(W), weighted_law(part(exact), weights)) for part in parts))


@pytest.mark.parametrize("N", [pytest.param(1, marks=SLOW), pytest.param(2, marks=SLOW), 3])
def test_upstairs_and_downstairs_have_one_law(N):
    energy = Distance(jnp.array([[1.0, 0.5], [-0.3, 0.4]]), 2.0)
    W0, beta, n = np.array([[1.2, 0.3], [-0.2, 0.6]]), 1.0, 5000
    plan = {"t1": 0.5, "dt": 0.02, "chains": n}
    up = dl.factor_langevin(energy, dl.balanced_factors(W0, N, jax.random.key(1)), beta, key=KEY, **plan)
    policy = "cross" if N % 2 else "reflect"  # the sheets of the manifold
    down = dl.langevin(energy, W0, N, beta, key=jax.random.key(2), entropic=True, at_zero=policy, **plan)
    plain = dl.langevin(energy, W0, N, beta, key=jax.random.key(2), at_zero=policy, **plan)
    assert np.asarray(down.converged).all()
    reached = np.asarray(up.converged)
    assert reached.mean() > 0.996  # the manifold is singular where det W = 0
    if N > 1:
        F = [np.asarray(f)[reached] for f in up.factors]
        gaps = [B.swapaxes(1, 2) @ B - A @ A.swapaxes(1, 2) for A, B in itertools.pairwise(F)]
        assert max(np.abs(g).max() for g in gaps) < 1e-10
        np.testing.assert_allclose(np.asarray(up.W)[reached], functools.reduce(lambda A, B: B @ A, F), atol=1e-12)
    parts = [lambda r, i=i: np.asarray(r.log_singular_values)[:, i] for i in range(2)]
    parts += [lambda r, i=i, j=j: np.asarray(r.W)[:, i, j] for i in range(2) for j in range(2)]
    assert_law(*(stats.ks_2samp(part(up)[reached], part(down)) for part in parts))
    if N > 1:  # without the entropy they differ, and the test sees it
        assert min(stats.ks_2samp(part(up)[reached], part(plain)).pvalue for part in parts) < SIGNIFICANCE / len(parts)


def test_depth_one_is_flat():
    run = dl.brownian(np.diag([2.0, 1.0]), 1, t1=0.7, dt=0.1, key=KEY, chains=4000, saveat=[0.3, 0.7])
    steps = np.asarray(run.W)
    first, second = steps[:, 0] - np.diag([2.0, 1.0]), steps[:, 1] - steps[:, 0]
    law = lambda x, t: stats.kstest(x, stats.norm(0, math.sqrt(t)).cdf)  # noqa: E731
    tests = [law(x[:, i, j], t) for x, t in ((first, 0.3), (second, 0.4)) for i in range(2) for j in range(2)]
    assert run.energy is None
    np.testing.assert_allclose(np.asarray(run.ts), np.tile([0.3, 0.7], (4000, 1)))
    assert_law(*tests)


def weak_errors(levels, chains, d=2, T=0.5):
    """E Σℓ²(T) at N = ∞ with E = ½ Σ log² σ, β = κ = 1, from the steps of the library on one Brownian path for all step sizes: the
    mean for each number of steps, and the differences of neighbours with their standard errors."""
    ours = process(LogEnergy(), math.inf, 1.0, 1.0, turning=True)

    def end(steps, noise):
        dB = jnp.sum(noise.reshape(steps, -1, d, d), 1)

        def step(R, b):
            return ours.then(R, R + T / steps * ours.drift(0.0, R, None) + ours.noise(0.0, R, None).mv(b)), None

        R = jax.lax.scan(step, jnp.eye(d), dB)[0]
        return jnp.sum((ours.q * jnp.log(jnp.linalg.svd(R, compute_uv=False))) ** 2)

    noise = jax.random.normal(KEY, (chains, levels[-1], d, d)) * math.sqrt(T / levels[-1])
    values = np.array([np.asarray(eqx.filter_jit(jax.vmap(lambda b, m=m: end(m, b)))(noise)) for m in levels])
    steps = values[:-1] - values[1:]
    return values.mean(1), steps.mean(1), steps.std(1) / math.sqrt(chains)


@pytest.mark.slow
def test_weak_order_one():
    """The bias in E Σℓ², against the closed moment equation d/dt E Σℓ² = −2 E Σℓ² + 2d + d(d−1), falls like dt."""
    T, levels, chains = 0.5, [8, 16, 32, 64], 120_000
    means, differences, noise = weak_errors(levels, chains)
    exact = (2 + 1) * (1 - math.exp(-2 * T))
    assert (np.abs(differences) > 8 * noise).all()
    order, spread = np.polyfit(np.log(levels[:-1]), np.log(np.abs(differences)), 1)[0], noise / np.abs(differences)
    print(f"weak order {-order:.3f}, relative errors of the differences {spread}")
    assert abs(-order - 1) < 0.15
    extrapolated = 2 * means[-1] - means[-2]
    assert abs(extrapolated - exact) < 4 * math.sqrt(8 / chains) + 4 * noise[-1] + 0.1 * abs(differences[-1])


@pytest.mark.parametrize("depth", [pytest.param(2, marks=SLOW), 3.5, pytest.param(math.inf, marks=SLOW)])
def test_without_noise_it_is_the_gradient_flow_of_the_free_energy(rng, depth):
    energy, W0, beta = Distance(jnp.asarray(rng.normal(size=(3, 3)))), np.eye(3) + 0.4 * rng.normal(size=(3, 3)), 2.0
    free = lambda W: energy(W) - dl.entropy(W, depth, constant=False) / beta  # noqa: E731
    expected = dl.gradient_flow(free, W0, depth, t1=0.5, chart="dense", rtol=1e-10)
    adaptive = {"solver": dfx.Dopri5(), "stepsize_controller": dfx.PIDController(rtol=1e-9, atol=1e-9)}
    run = dl.langevin(energy, W0, depth, beta, kappa=0.0, entropic=True, t1=0.5, dt=0.01, key=KEY, **adaptive)
    assert bool(run.converged)
    np.testing.assert_allclose(run.W, expected.W, atol=1e-7)
    errors = [
        np.linalg.norm(
            dl.langevin(energy, W0, depth, beta, kappa=0, entropic=True, t1=0.5, dt=dt, key=KEY).W - expected.W
        )
        for dt in (0.02, 0.01)
    ]
    assert errors[0] < 0.1
    assert 1.6 < errors[0] / errors[1] < 2.5  # our own steps, of order one


@pytest.mark.parametrize("depth", [pytest.param(1, marks=SLOW), 2.5, pytest.param(math.inf, marks=SLOW)])
def test_a_chain_is_the_same_alone_and_in_a_batch(rng, depth):
    energy, W0 = Distance(jnp.asarray(rng.normal(size=(2, 2)))), np.eye(2)  # ties at the start
    plan = {"t1": 0.3, "dt": 0.03, "key": KEY, "saveat": [0.1, 0.3]}
    alone = dl.langevin(energy, W0, depth, 2.0, **plan)
    batch = dl.langevin(energy, W0, depth, 2.0, chains=3, **plan)
    stacked = dl.langevin(energy, np.stack([W0] * 3), depth, 2.0, **plan)
    assert alone.W.shape == (2, 2, 2)
    assert batch.log_singular_values.shape == (3, 2, 2)
    assert np.isfinite(batch.W).all()
    np.testing.assert_allclose(batch.W[0], alone.W, rtol=0, atol=1e-12)
    np.testing.assert_allclose(stacked.W, batch.W, rtol=0, atol=1e-12)
    assert np.abs(np.asarray(batch.W)[1:] - np.asarray(batch.W)[:-1]).max((1, 2, 3)).min() > 1e-3  # chains differ
    np.testing.assert_allclose(alone.energy, [energy(W) for W in alone.W])
    np.testing.assert_allclose(alone.singular_values, np.linalg.svd(alone.W, compute_uv=False), atol=1e-12)
    up = dl.factor_langevin(energy, dl.balanced_factors(W0, 2, KEY), 2.0, **plan)
    many = dl.factor_langevin(energy, dl.balanced_factors(W0, 2, KEY), 2.0, chains=3, **plan)
    np.testing.assert_allclose(many.W[0], up.W, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_solvers_and_controllers_of_diffrax_are_passed_through():
    """The root with plain (not turning) steps, on the Brownian tree: adaptive, and with fixed steps."""
    plan = {"t1": 0.5, "dt": 0.01, "key": KEY, "chains": 500}
    start = math.log(1.1) ** 2 + math.log(0.9) ** 2
    exact = 3 / 4 * (1 - math.exp(-1.0)) + start * math.exp(-1.0)
    for kwargs in (
        {"solver": dfx.Euler()},
        {
            "solver": dfx.HalfSolver(dfx.ItoMilstein()),
            "stepsize_controller": dfx.PIDController(rtol=0, atol=1e-2, pcoeff=0.1, icoeff=0.3),
        },
    ):
        run = dl.langevin(LogEnergy(), np.diag([1.1, 0.9]), math.inf, 4.0, **plan, **kwargs)
        squares = (np.asarray(run.log_singular_values) ** 2).sum(1)
        assert np.asarray(run.converged).all()
        assert abs(squares.mean() - exact) < 4 * squares.std() / math.sqrt(500) + 0.1 * exact
    few = dl.langevin(LogEnergy(), np.eye(2), math.inf, 4.0, t1=0.5, dt=0.01, key=KEY, max_steps=3)
    assert few.status == DiffusionStatus.solver
    assert not bool(few.converged)
    steps = dl.brownian(np.eye(2), 3, t1=0.1, dt=0.01, key=KEY, saveat=dfx.SaveAt(t0=True, steps=True))
    np.testing.assert_allclose(steps.ts[np.isfinite(steps.ts)], np.linspace(0, 0.1, 11), atol=1e-12)


def test_what_goes_wrong_is_said():
    wild = dl.brownian(np.diag([1.0, 1e-3]), math.inf, t1=40.0, dt=20.0, key=KEY, chains=200)
    crossed = np.asarray(wild.status == DiffusionStatus.crossed)
    assert crossed.any()
    assert (np.asarray(wild.det_sign)[crossed] == -1).all()
    assert not np.asarray(wild.converged)[crossed].any()
    escaping = lambda W: -jnp.sum(W**4)  # noqa: E731
    lost = dl.langevin(escaping, 3 * np.eye(2), 2, 1.0, t1=5.0, dt=0.1, key=KEY, chains=3, saveat=[0.1, 5.0])
    assert (np.asarray(lost.status == DiffusionStatus.failed)).all()
    assert not np.isfinite(lost.W[:, -1]).any()
    missing = dl.langevin(lambda W: jnp.sum(jnp.sqrt(W - 10)), np.eye(2), 2, 1.0, t1=1.0, dt=0.1, key=KEY)
    assert missing.status == DiffusionStatus.failed


@pytest.mark.parametrize("depth", [2, math.inf])
def test_the_dtype_given_is_kept(depth):
    W0 = np.eye(2, dtype=np.float32)
    run = dl.langevin(lambda W: jnp.sum(W**2), W0, depth, 1.0, t1=0.1, dt=0.01, key=KEY, saveat=[0.05, 0.1])
    assert {x.dtype for x in (run.W, run.ts, run.energy, run.log_singular_values)} == {jnp.dtype(jnp.float32)}
    with pytest.raises(dl.PrecisionError, match="dt is beyond float32"):
        dl.brownian(W0, depth, t0=1e3, t1=1e3 + 1e-3, dt=1e-5, key=KEY)


def test_increments_are_independent_however_late_and_short_the_steps():
    path = Path(jax.ShapeDtypeStruct((), jnp.dtype(float)), KEY)
    t = 1e6 + 1e-6 * np.arange(1001)
    steps = np.asarray(jax.vmap(path.evaluate)(t[:-1], t[1:])) / np.sqrt(np.diff(t))
    assert np.unique(steps).size == 1000
    assert stats.kstest(steps, stats.norm.cdf).pvalue > SIGNIFICANCE


@pytest.mark.slow
def test_a_large_batch_does_not_lock_up():
    """Two LAPACK calls at once on a batch can wait for each other for ever (jaxlib 0.10, two cores)."""
    code = (
        "import jax, numpy as np, deeplinear as dl\n"
        "for i in range(8): dl.brownian(np.eye(4), 3, t1=1.0, dt=0.05, key=jax.random.key(i), chains=10_000, at_zero='reflect')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)


def test_sign_of_the_determinant(rng):
    for d in (1, 2, 5, 9):
        A = rng.normal(size=(50, d, d))
        np.testing.assert_array_equal(jax.vmap(sign_of_det)(A), np.sign(np.linalg.det(A)))
    assert float(sign_of_det(jnp.zeros((3, 3)))) == 0
    np.testing.assert_array_equal(sign_of_det(jnp.eye(4)[jnp.array([1, 0, 2, 3])]), -1)


W0 = np.eye(2)
GOOD = {"t1": 1.0, "dt": 0.1, "key": KEY}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"W0": np.ones((2, 3))}, "W0 must be square"),
        ({"W0": np.ones((2, 2))}, "W0 must be invertible"),
        ({"W0": np.full((2, 2), np.nan)}, "W0 must be finite"),
        ({"W0": np.stack([W0, W0]), "chains": 2}, "chains must be left out"),
        ({"chains": 0}, "chains must be a positive integer"),
        ({"depth": 0.5}, "depth must be ≥ 1"),
        ({"beta": 0.0}, "beta must be one finite number > 0"),
        ({"beta": [1.0, 2.0]}, "beta must be one finite number > 0"),
        ({"kappa": -1.0}, "kappa must be one finite number ≥ 0"),
        ({"dt": 0.0}, "dt must be one positive number"),
        ({"t1": -1.0}, "t1 must be finite and later"),
        ({"t1": math.inf}, "t1 must be finite and later"),
        ({"at_zero": "stop"}, "at_zero must be 'cross' or 'reflect'"),
        ({"at_zero": "reflect", "solver": dfx.Euler()}, "solver must be left at its default"),
        ({"solver": dfx.Heun()}, "solver must converge to the Itô solution"),
        ({"saveat": [2.0]}, "saveat must hold increasing times"),
        ({"saveat": 1.0}, "saveat must hold at least one time"),
        ({"saveat": dfx.SaveAt(dense=True)}, "saveat must be times or a diffrax.SaveAt"),
        ({"max_steps": 0}, "max_steps must be a positive integer"),
        ({"energy": 3.0}, "energy must be a function of W"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"energy": LogEnergy(), "W0": W0, "depth": 2, "beta": 1.0, **GOOD, **arguments}
    with pytest.raises(dl.InputError, match=message):
        dl.langevin(**arguments)


def test_bad_factors():
    for factors, message in (
        ([W0, 2 * W0], "factors must be balanced"),
        ([np.ones((2, 3)), np.ones((2, 2))], "factors must all be square"),
        ([np.ones((2, 2)), np.ones((2, 2))], "factors must be invertible"),
    ):
        with pytest.raises(dl.InputError, match=message):
            dl.factor_langevin(LogEnergy(), factors, 1.0, **GOOD)
