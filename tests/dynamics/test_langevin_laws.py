"""Samples against exact laws (fixed keys; a Kolmogorov–Smirnov test fails at p < 1e−3 after
Bonferroni), upstairs against downstairs, and the weak order.

The steps are chosen so that the bias of the scheme is below what the samples resolve.
"""

import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, SIGNIFICANCE, Distance, LogEnergy, Radial, process, slow
from scipy import stats

import deeplinear as dl


def assert_law(*tests):
    """That none of the p values is below the significance, divided by their number."""
    values = [t.pvalue for t in tests]
    assert min(values) > SIGNIFICANCE / len(values), values


def gaussian_orthogonal(rng, d, beta, size=200_000):
    """Exact eigenvalues, descending, with density ∝ ∏ |ℓ_i − ℓ_j| e^{−(β/2) Σ ℓ_i²}."""
    H = rng.normal(size=(size, d, d)) / math.sqrt(beta)
    return np.linalg.eigvalsh((H + H.transpose(0, 2, 1)) / 2)[:, ::-1] if d > 1 else H[:, 0]


ENSEMBLES = [(2, 1, 0.25)]
SLOW_ENSEMBLES = [(3, 4, 1), (2, 1, 1), (2, 4, 1), (3, 1, 1), (4, 1, 1), (4, 4, 1)]


@pytest.mark.parametrize(("d", "beta", "kappa"), [*ENSEMBLES, *(slow(*x) for x in SLOW_ENSEMBLES)])
def test_log_singular_values_are_those_of_the_gaussian_orthogonal_ensemble(rng, d, beta, kappa):
    strength = beta / kappa
    dt = 0.02 if strength < 2 else 0.04
    run = dl.langevin(
        LogEnergy(), np.eye(d), math.inf, beta, kappa=kappa, t1=3.0, dt=dt, key=KEY, chains=4000
    )
    assert np.asarray(run.converged).all()
    l = np.asarray(run.log_singular_values)
    exact = gaussian_orthogonal(rng, d, strength)
    squares = lambda b: stats.gamma(d * (d + 1) / 4, scale=2 / b).cdf  # noqa: E731
    tests = [stats.ks_2samp(l[:, i], exact[:, i]) for i in range(d)]
    tests += [stats.kstest(l.mean(1), stats.norm(0, 1 / math.sqrt(d * strength)).cdf)]
    tests += [stats.kstest((l**2).sum(1), squares(strength))]
    if d == 2:
        tests += [
            stats.kstest(l[:, 0] - l[:, 1], stats.rayleigh(scale=math.sqrt(2 / strength)).cdf)
        ]
    assert_law(*tests)
    assert stats.kstest((l**2).sum(1), squares(1.1 * strength)).pvalue < SIGNIFICANCE / len(
        tests
    )  # the power of this


SLOW_CASES = [slow("cross", 2), slow("reflect", 3), slow("reflect", 2)]


@pytest.mark.parametrize(("at_zero", "N"), [slow("cross", 3), *SLOW_CASES])
def test_stationary_law_at_finite_depth(N, at_zero):
    """Density ∝ (x_1² − x_2²) e^{−β|x|²/2}: |x|² is a Gamma variable, and sin 2θ uniform for tan θ
    = x_2/x_1.
    """
    beta, n = 2.0, 4000
    run = dl.langevin(
        Radial(N), np.eye(2), N, beta, t1=3.0, dt=0.02, key=KEY, chains=n, at_zero=at_zero
    )
    assert np.asarray(run.converged).all()
    x = N * np.exp(np.asarray(run.log_singular_values) / N)
    angle = np.sin(2 * np.arctan2(x[:, 1], x[:, 0]))
    radius = (x**2).sum(1)
    assert_law(
        stats.kstest(radius, stats.gamma(2, scale=2 / beta).cdf),
        stats.kstest(angle, stats.uniform.cdf),
    )
    assert (
        stats.kstest(radius, stats.gamma(2, scale=2 / (1.1 * beta)).cdf).pvalue < SIGNIFICANCE / 2
    )
    np.testing.assert_allclose(np.sign(np.linalg.det(run.W)), run.det_sign)
    if at_zero == "reflect":
        assert (np.asarray(run.det_sign) == 1).all()
    else:
        assert stats.binomtest(int((np.asarray(run.det_sign) > 0).sum()), n).pvalue > SIGNIFICANCE


@pytest.mark.slow
def test_stationary_law_of_half_the_squared_norm(rng):
    """N = 2, E = ½‖W‖²: density ∝ (x_1² − x_2²) e^{−(β/32)(x_1⁴ + x_2⁴)}, by quadrature."""
    run = dl.langevin(
        Distance(jnp.zeros((2, 2))), np.eye(2), 2, 2.0, t1=4.0, dt=0.02, key=KEY, chains=4000
    )
    grid = np.linspace(0, 8, 4001)
    cell = np.exp(-2.0 / 32 * grid**4)
    moments = np.cumsum(np.stack([cell, grid**2 * cell]), 1)
    densities = (
        cell * (grid**2 * moments[0] - moments[1]),
        cell * ((moments[1][-1] - moments[1]) - grid**2 * (moments[0][-1] - moments[0])),
    )
    x = 2 * np.exp(np.asarray(run.log_singular_values) / 2)
    cdf = [np.cumsum(p) / p.sum() for p in densities]
    assert_law(
        *(stats.kstest(x[:, i], lambda t, i=i: np.interp(t, grid, cdf[i])) for i in range(2))
    )


def weighted_law(values, weights):
    """The distribution function of a weighted sample."""
    order = np.argsort(values)
    return lambda x: np.interp(x, values[order], np.cumsum(weights[order]) / weights.sum())


@pytest.mark.parametrize("at_zero", [slow("reflect"), slow("cross")])
def test_stationary_law_for_an_energy_without_symmetry(rng, at_zero):
    """N = 2, E = ½‖W − M‖²: Gaussian samples, weighted with the volume √det g = ∏ λ_ij^{−1/2}, are
    the oracle (95,000 in effect). Reflected chains have the law of the component of their start,
    crossing ones the whole.
    """
    M, beta, n = np.array([[0.5, 0.6], [0.4, -0.2]]), 3.0, 4000
    run = dl.langevin(
        Distance(jnp.asarray(M)),
        np.eye(2),
        2,
        beta,
        t1=12.0,
        dt=0.08,
        key=KEY,
        chains=n,
        at_zero=at_zero,
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


M3 = np.array([[0.6, 0.5, -0.2], [0.3, -0.3, 0.4], [-0.1, 0.2, 0.5]])


def gibbs_of_the_root(rng, beta, N, *, entropic=False, positive=False, size=1_000_000):
    """Weighted samples of W = U diag(y^N) Vᵀ with E = ½‖W − M3‖², from R = U diag(y) Vᵀ.

    √det g dW = ∏ σ^{1/N − 1} van(Σ^{2/N}) dΣ dU dV up to a constant, which is van(y²) dy dU dV =
    dR: in R the volume is Lebesgue's, and Gaussian proposals have weights that are bounded.
    """
    R = 0.8 * rng.normal(size=(size, 3, 3))
    U, y, Vt = np.linalg.svd(R)
    W = (U * y[:, None, :] ** N) @ Vt
    log_weight = (R**2).sum((1, 2)) / (2 * 0.8**2) - beta / 2 * ((W - M3) ** 2).sum((1, 2))
    if entropic:  # e^S = ∏ √((σ_i² − σ_j²)/(y_i² − y_j²))
        i, j = np.triu_indices(3, 1)
        squares = y**2
        gaps = squares[:, i] ** N - squares[:, j] ** N
        log_weight += 0.5 * np.log(gaps / (squares[:, i] - squares[:, j])).sum(1)
    keep = np.linalg.det(R) > 0 if positive else np.ones(size, bool)
    return W[keep], np.exp(log_weight[keep] - log_weight[keep].max())


def gibbs_at_infinite_depth(rng, beta, size=400_000):
    """The same for E = ½ Σ log² σ + ½‖W − M3‖², det W > 0: log σ of the Gaussian orthogonal
    ensemble, uniform frames, weights e^{−(β/2)‖W − M3‖²}.
    """
    l = gaussian_orthogonal(rng, 3, beta, size)
    frames = []
    for _ in range(2):
        Q, T = np.linalg.qr(rng.normal(size=(size, 3, 3)))
        frames.append(Q * np.sign(np.diagonal(T, axis1=1, axis2=2))[:, None, :])
    U, V = frames
    U[:, :, 0] *= (np.linalg.det(U) * np.linalg.det(V))[:, None]
    W = (U * np.exp(l)[:, None, :]) @ V.transpose(0, 2, 1)
    return W, np.exp(-beta / 2 * ((W - M3) ** 2).sum((1, 2)))


def assert_same_matrices(W, exact, weights, power=None):
    """That all entries, singular values and the determinant have the law of weighted samples.

    ``power``: other weights, of a law that this tells apart.
    """
    parts = [lambda X, i=i, j=j: X[:, i, j] for i in range(3) for j in range(3)]
    parts += [lambda X, i=i: np.linalg.svd(X, compute_uv=False)[:, i] for i in range(3)]
    parts += [np.linalg.det]
    tests = lambda w: [stats.kstest(f(W), weighted_law(f(exact), w)) for f in parts]  # noqa: E731
    assert_law(*tests(weights))
    if power is not None:
        assert min(t.pvalue for t in tests(power)) < SIGNIFICANCE / len(parts)


# Near W = 0 deep networks are slow, and take that long to forget their start.
CUBES = [slow(2, "cross", 1.0, 10), slow(3.5, "reflect", 1.0, 24), slow(2.5, "cross", 0.5, 24)]


@pytest.mark.parametrize(("N", "at_zero", "kappa", "t1"), CUBES)
def test_stationary_law_of_3x3_matrices(rng, N, at_zero, kappa, t1):
    plan = {"t1": t1, "dt": 0.05, "key": KEY, "chains": 2000}
    energy, reflect = Distance(jnp.asarray(M3)), at_zero == "reflect"
    run = dl.langevin(energy, np.eye(3), N, 3.0, kappa=kappa, at_zero=at_zero, **plan)
    assert np.asarray(run.converged).all()
    exact, weights = gibbs_of_the_root(rng, 3.0 / kappa, N, positive=reflect)
    same, warmer = np.random.default_rng(20231), 2.4 / kappa  # the samples of `rng` again
    power = gibbs_of_the_root(same, warmer, N, positive=reflect)[1]
    assert_same_matrices(np.asarray(run.W), exact, weights, power)


@pytest.mark.slow
def test_stationary_law_of_3x3_matrices_at_infinite_depth(rng):
    energy = lambda W: LogEnergy()(W) + 0.5 * jnp.sum((W - M3) ** 2)  # noqa: E731
    plan = {"t1": 20.0, "dt": 0.04, "key": KEY, "chains": 2000}
    run = dl.langevin(energy, np.eye(3), math.inf, 2.0, **plan)
    assert np.asarray(run.converged).all()
    exact, weights = gibbs_at_infinite_depth(rng, 2.0)
    assert_same_matrices(np.asarray(run.W), exact, weights, np.ones_like(weights))


@pytest.mark.parametrize(("N", "t1", "dt"), [slow(2, 8, 0.0125), slow(3, 30, 0.05)])
def test_stationary_law_of_balanced_factors(rng, N, t1, dt):
    """e^{−βE + S} √det g: the entropy is felt, and every chain passes where det W = 0."""
    start = dl.balanced_factors(np.eye(3), N, jax.random.key(1))
    plan = {"t1": t1, "dt": dt, "key": KEY, "chains": 1000}
    run = dl.factor_langevin(Distance(jnp.asarray(M3)), start, 3.0, **plan)
    assert np.asarray(run.converged).all()
    exact, weights = gibbs_of_the_root(rng, 3.0, N, entropic=True, positive=N == 2)
    same = np.random.default_rng(20231)
    plain = gibbs_of_the_root(same, 3.0, N, positive=N == 2)[1]
    assert_same_matrices(np.asarray(run.W), exact, weights, plain)


@pytest.mark.slow
@pytest.mark.parametrize(("d", "N"), [(3, 2), slow(2, 3), slow(3, 3)])
def test_factors_are_balanced_again_where_the_determinant_vanishes(d, N):
    """Of 500 chains 9 to 24 were lost there with 8 steps of Newton's method."""
    start = dl.balanced_factors(np.eye(d), N, jax.random.key(1))
    plan = {"t1": 4.0, "dt": 0.05, "key": KEY, "chains": 500}
    run = dl.factor_langevin(Distance(jnp.asarray(M3[:d, :d])), start, 3.0, **plan)
    assert np.asarray(run.converged).all()
    assert float(np.max(jax.vmap(dl.imbalance)(run.factors))) < 1e-7


@pytest.mark.parametrize("N", [slow(1), slow(2), 3])
@pytest.mark.slow
def test_upstairs_and_downstairs_have_one_law(N):
    energy = Distance(jnp.array([[1.0, 0.5], [-0.3, 0.4]]), 2.0)
    W0, beta, n = np.array([[1.2, 0.3], [-0.2, 0.6]]), 1.0, 5000
    plan = {"t1": 0.5, "dt": 0.02, "chains": n}
    up = dl.factor_langevin(
        energy, dl.balanced_factors(W0, N, jax.random.key(1)), beta, key=KEY, **plan
    )
    policy = "cross" if N % 2 else "reflect"  # the sheets of the manifold
    down = dl.langevin(
        energy, W0, N, beta, key=jax.random.key(2), entropic=True, at_zero=policy, **plan
    )
    plain = dl.langevin(energy, W0, N, beta, key=jax.random.key(2), at_zero=policy, **plan)
    assert np.asarray(down.converged).all()
    reached = np.asarray(up.converged)
    assert reached.all()  # although the manifold is singular where det W = 0
    if N > 1:
        F = [np.asarray(f)[reached] for f in up.factors]
        gaps = [B.swapaxes(1, 2) @ B - A @ A.swapaxes(1, 2) for A, B in itertools.pairwise(F)]
        assert max(np.abs(g).max() for g in gaps) < 1e-10
        np.testing.assert_allclose(
            np.asarray(up.W)[reached], functools.reduce(lambda A, B: B @ A, F), atol=1e-12
        )
    parts = [lambda r, i=i: np.asarray(r.log_singular_values)[:, i] for i in range(2)]
    parts += [lambda r, i=i, j=j: np.asarray(r.W)[:, i, j] for i in range(2) for j in range(2)]
    assert_law(*(stats.ks_2samp(part(up)[reached], part(down)) for part in parts))
    if N > 1:  # without the entropy they differ, and the test sees it
        assert min(
            stats.ks_2samp(part(up)[reached], part(plain)).pvalue for part in parts
        ) < SIGNIFICANCE / len(parts)


def test_depth_one_is_flat():
    run = dl.brownian(
        np.diag([2.0, 1.0]), 1, t1=0.7, dt=0.1, key=KEY, chains=4000, saveat=[0.3, 0.7]
    )
    steps = np.asarray(run.W)
    first, second = steps[:, 0] - np.diag([2.0, 1.0]), steps[:, 1] - steps[:, 0]
    law = lambda x, t: stats.kstest(x, stats.norm(0, math.sqrt(t)).cdf)  # noqa: E731
    tests = [
        law(x[:, i, j], t)
        for x, t in ((first, 0.3), (second, 0.4))
        for i in range(2)
        for j in range(2)
    ]
    assert run.energy is None
    np.testing.assert_allclose(np.asarray(run.ts), np.tile([0.3, 0.7], (4000, 1)))
    assert_law(*tests)


def weak_errors(levels, chains, d=2, T=0.5):
    """E Σℓ²(T) at N = ∞ with E = ½ Σ log² σ, β = κ = 1, from the steps of the library on one
    Brownian path for all step sizes: the mean for each number of steps, and the differences of
    neighbours with their standard errors.
    """
    ours = process(LogEnergy(), math.inf, 1.0, 1.0, turning=True)

    def end(steps, noise):
        dB = jnp.sum(noise.reshape(steps, -1, d, d), 1)

        def step(R, b):
            return ours.then(
                R, R + T / steps * ours.drift(0.0, R, None) + ours.noise(0.0, R, None).mv(b)
            ), None

        R = jax.lax.scan(step, jnp.eye(d), dB)[0]
        return jnp.sum((ours.q * jnp.log(jnp.linalg.svd(R, compute_uv=False))) ** 2)

    noise = jax.random.normal(KEY, (chains, levels[-1], d, d)) * math.sqrt(T / levels[-1])
    values = np.array(
        [np.asarray(eqx.filter_jit(jax.vmap(lambda b, m=m: end(m, b)))(noise)) for m in levels]
    )
    steps = values[:-1] - values[1:]
    return values.mean(1), steps.mean(1), steps.std(1) / math.sqrt(chains)


@pytest.mark.slow
def test_weak_order_one():
    """The bias in E Σℓ², against the closed moment equation d/dt E Σℓ² = −2 E Σℓ² + 2d + d(d−1),
    falls like dt.
    """
    T, levels, chains = 0.5, [8, 16, 32, 64], 120_000
    means, differences, noise = weak_errors(levels, chains)
    exact = (2 + 1) * (1 - math.exp(-2 * T))
    assert (np.abs(differences) > 8 * noise).all()
    order, spread = (
        np.polyfit(np.log(levels[:-1]), np.log(np.abs(differences)), 1)[0],
        noise / np.abs(differences),
    )
    print(f"weak order {-order:.3f}, relative errors of the differences {spread}")
    assert abs(-order - 1) < 0.15
    extrapolated = 2 * means[-1] - means[-2]
    assert abs(extrapolated - exact) < 4 * math.sqrt(8 / chains) + 4 * noise[-1] + 0.1 * abs(
        differences[-1]
    )
