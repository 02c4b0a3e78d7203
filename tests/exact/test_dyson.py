"""Dyson's processes: samples of a finite time against the stochastic equations of the singular
values, against `brownian` on all of W, and against the laws of large matrices.

Kolmogorov–Smirnov at 1e−3 after Bonferroni, and another time is told apart.
"""

import math

import jax
import numpy as np
import pytest
from cases import KEY, SIGNIFICANCE, slow, with_singular_values
from scipy import stats

import deeplinear as dl


def assert_law(*tests):
    values = [t.pvalue for t in tests]
    assert min(values) > SIGNIFICANCE / len(values), values


def radial(s0, N, t, steps, chains, rng, difference=0):
    """log σ by Euler steps of the singular values' own equations, with no matrix at all."""
    y = np.tile(np.log(s0) if math.isinf(N) else s0 ** (1 / N), (chains, 1))
    dt, off = t / steps, ~np.eye(len(s0), dtype=bool)
    scale = 1.0 if math.isinf(N) else 1 / N
    for _ in range(steps):
        gap = np.where(off, y[:, :, None] - y[:, None, :], np.inf)
        pull = (1 / gap).sum(2)
        if not math.isinf(N):
            pull += np.where(off, 1 / (y[:, :, None] + y[:, None, :]), 0).sum(2) + difference / y
        y = y + scale**2 / 2 * pull * dt + scale * math.sqrt(dt) * rng.normal(size=y.shape)
    return y if math.isinf(N) else N * np.log(np.abs(y))


CASES = [(2.5, (3, 3)), (3, (2, 4)), (math.inf, (3, 3))]


@pytest.mark.parametrize(("depth", "shape"), CASES)
def test_samples_solve_the_equations_of_the_singular_values(rng, depth, shape):
    """Over a time that is short beside the gaps, where Euler's steps are accurate."""
    s0 = np.array([6.0, 2.0, 0.7][: min(shape)])
    W0, t, n = with_singular_values(rng, s0, *shape), 0.05, 5000
    exact = np.asarray(dl.exact.dyson(W0, depth, t, key=KEY, samples=40_000))
    ours = radial(s0, depth, t, 400, n, rng, abs(shape[0] - shape[1]))
    tests = lambda a: [stats.ks_2samp(a[:, i], exact[:, i]) for i in range(len(s0))]  # noqa: E731
    assert_law(*tests(ours))
    later = radial(s0, depth, 1.25 * t, 400, n, rng, abs(shape[0] - shape[1]))
    assert min(p.pvalue for p in tests(later)) < SIGNIFICANCE / len(s0)


@pytest.mark.parametrize(
    ("depth", "d"), [slow(2.5, 2), (math.inf, 2), slow(3, 3), slow(2.5, 4), slow(math.inf, 4)]
)
def test_brownian_motion_of_W_is_dysons(rng, depth, d):
    """All singular values, the mean and the spread of their roots (N = ∞: logarithms)."""
    W0, t, n = with_singular_values(rng, np.geomspace(1.5, 0.6, d)), 0.5, 2000
    walk = dl.brownian(W0, depth, t1=t, dt=t / 200, key=KEY, chains=n)
    assert np.asarray(walk.converged).all()

    def parts(log_s):
        y = np.asarray(log_s) if math.isinf(depth) else np.exp(np.asarray(log_s) / depth)
        return [*y.T, y.mean(1), (y**2).sum(1)]

    ours = parts(walk.log_singular_values)
    tests = lambda t: [  # noqa: E731
        stats.ks_2samp(a, b)
        for a, b in zip(ours, parts(dl.exact.dyson(W0, depth, t, 5, 40_000)), strict=True)
    ]
    assert_law(*tests(t))
    assert min(p.pvalue for p in tests(1.3 * t)) < SIGNIFICANCE / len(ours)


@pytest.mark.parametrize("depth", [2.5, slow(math.inf)])
def test_second_moments_of_brownian_motion(depth):
    """E Σ y² = Σ y_0² + d² t/N², and at N = ∞ E Σ ℓ² = Σ ℓ_0² + d(d + 1)t/2: 4 standard errors."""
    d, t, n = 5, 0.5, 400
    W0 = with_singular_values(np.random.default_rng(2), np.geomspace(2, 0.5, d))
    walk = dl.brownian(W0, depth, t1=t, dt=t / 100, key=KEY, chains=n)
    l = np.asarray(walk.log_singular_values)
    l0 = np.log(np.linalg.svd(W0, compute_uv=False))
    if math.isinf(depth):
        found, start, growth = (l**2).sum(1), (l0**2).sum(), d * (d + 1) * t / 2
    else:
        square = lambda l: np.exp(2 * l / depth).sum(-1)  # noqa: E731
        found, start, growth = square(l), square(l0), d * d * t / depth**2
    error = found.std() / math.sqrt(n)
    assert abs(found.mean() - start - growth) < 4 * error
    assert error < 0.1 * growth


@pytest.mark.parametrize("depth", [2.5, math.inf])
def test_large_matrices_have_the_limit_law(depth):
    """d = 400: the distribution function within 0.01, and the edge within 3 per cent."""
    d, t = 400, 0.7
    W0 = np.eye(d) if math.isinf(depth) else 1e-300 * np.eye(d)
    log_s = np.asarray(dl.exact.dyson(W0, depth, t, key=0, samples=2))
    y = np.sort((log_s if math.isinf(depth) else np.exp(log_s / depth)).ravel())
    edge = dl.exact.dyson_edge(depth, d, t)
    grid = np.linspace(-edge, edge, 20_001)
    density = dl.exact.dyson_density(grid, depth, d, t)
    cdf = np.cumsum(density) / density.sum()
    assert stats.kstest(y, lambda x: np.interp(x, grid, cdf)).statistic < 0.01
    assert y[-1] == pytest.approx(edge, rel=0.03)


def test_the_same_key_gives_the_same_samples():
    first = dl.exact.dyson(np.eye(2), 3, 1.0, key=jax.random.key(1), samples=3)
    np.testing.assert_array_equal(first, dl.exact.dyson(np.eye(2), 3, 1.0, key=1, samples=3))
    assert (np.diff(first, axis=1) <= 0).all()


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        ((np.ones((2, 3)), math.inf, 1.0), dl.DepthError, r"^depth must be finite for a W0"),
        ((np.ones((2, 2)), math.inf, 1.0), dl.InputError, r"^W0 must be invertible at infinite"),
        ((np.eye(2), 2, 0.0), dl.InputError, r"^t must be one positive number"),
        ((np.eye(2), 0.5, 1.0), dl.DepthError, r"^depth must be"),
    ],
)
def test_sentences(call, error, sentence):
    with pytest.raises(error, match=sentence):
        dl.exact.dyson(*call, key=0)
