"""Root coordinates: the flat volume, and the Gaussian law of weight decay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import deeplinear as dl


@pytest.mark.parametrize("depth", [1, 1.5, 2, 3, 7])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (5, 1)])
def test_roots_and_their_inverse(rng, depth, shape):
    W = rng.normal(size=(6, *shape))
    R = dl.root(W, depth)
    s, r = (np.linalg.svd(X, compute_uv=False) for X in (W, R))
    np.testing.assert_allclose(r, s ** (1 / depth), rtol=1e-12)
    np.testing.assert_allclose(dl.from_root(R, depth), W, atol=1e-11)


@pytest.mark.parametrize("depth", [1, 1.5, 2, 3, 7])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
@pytest.mark.parametrize("tied", [False, True])
def test_derivatives_against_differences(rng, depth, shape, tied):
    W, Z = rng.normal(size=shape), rng.normal(size=shape)
    if tied:
        U, _, Vt = np.linalg.svd(W, full_matrices=False)
        W = U @ np.diag([1.3, 1.3, 0.4][: min(shape)]) @ Vt
    for f in (dl.root, dl.from_root):
        h = 1e-5
        expected = (f(W + h * Z, depth) - f(W - h * Z, depth)) / (2 * h)
        slope = jax.jvp(lambda X, f=f: f(X, depth), (jnp.asarray(W),), (jnp.asarray(Z),))[1]
        np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("depth", [1.5, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3)])
def test_the_volume_is_flat_in_the_root(rng, depth, shape):
    """√det g^N |∂W/∂R| is N^{d(d+1)/2} at generic points."""
    R = rng.normal(size=shape)
    d = shape[0]
    J = jax.jacfwd(lambda X: dl.from_root(X, depth))(jnp.asarray(R)).reshape(d * d, d * d)
    density = float(dl.log_volume(dl.from_root(R, depth), depth))
    total = density + np.linalg.slogdet(J)[1]
    assert total == pytest.approx(d * (d + 1) / 2 * np.log(depth), abs=1e-10)


@pytest.mark.parametrize("shape", [(2, 3), (4, 2)])
def test_the_volume_of_rectangular_matrices_is_flat_too(rng, shape):
    """By the Gram matrix of the metric, as `log_volume` is for square ones."""
    depth, (m, n) = 3, shape
    R = rng.normal(size=shape)
    W = dl.from_root(R, depth)
    J = np.asarray(jax.jacfwd(lambda X: dl.from_root(X, depth))(jnp.asarray(R)))
    basis = J.reshape(m, n, m * n).transpose(2, 0, 1)
    gram = np.asarray(dl.inner(W, basis[:, None], basis[None], depth))
    k = min(m, n)
    p = k * (k + 1) / 2 + k * abs(m - n) / 2
    assert 0.5 * np.linalg.slogdet(gram)[1] == pytest.approx(p * np.log(depth), abs=1e-9)


@pytest.mark.parametrize("depth", [1, 1.5, 2, 3])
def test_the_partition_function_against_quadrature(depth):
    beta, decay = 3.0, 0.4

    def weight(*s):
        energy = decay * depth / 2 * np.sum(np.power(s, 2 / depth))
        return np.exp(-beta * energy + float(dl.log_volume(np.diag(s), depth)))

    one = 2 * scipy.integrate.quad(weight, 0, np.inf, epsabs=1e-9)[0]
    found = dl.log_partition_function(depth, (1, 1), beta, decay)
    assert found == pytest.approx(np.log(one), abs=1e-6)

    # dW of 2×2 matrices is C (a² − b²) da db of singular values, C from ∫ e^{−‖W‖²/2} = (2π)²
    nodes, weights = np.polynomial.legendre.leggauss(60)

    def integral(f):
        # in the roots, where the integrand is smooth: a = x^q
        q = max(depth, 1.0)
        x, w = 3.0 * (nodes + 1), 3.0 * weights
        b = x[:, None] * (nodes + 1) / 2  # the smaller one below the larger one
        a = np.broadcast_to(x[:, None], b.shape)
        area = w[:, None] * x[:, None] * weights / 2 * (q * a ** (q - 1)) * (q * b ** (q - 1))
        a, b = a**q, b**q
        return np.sum(area * (a**2 - b**2) * f(a, b))

    C = (2 * np.pi) ** 2 / integral(lambda a, b: np.exp(-(a**2 + b**2) / 2))

    def density(a, b):
        W = np.zeros((*a.shape, 2, 2))
        W[..., 0, 0], W[..., 1, 1] = a, b
        energy = decay * depth / 2 * (a ** (2 / depth) + b ** (2 / depth))
        return np.exp(-beta * energy + np.asarray(dl.log_volume(W, depth)))

    found = dl.log_partition_function(depth, (2, 2), beta, decay)
    assert found == pytest.approx(np.log(C * integral(density)), abs=2e-3)


@pytest.mark.parametrize("depth", [1, 2.5, 4])
@pytest.mark.parametrize("shape", [(2, 2), (3, 2)])
def test_samples_of_the_prior(depth, shape):
    """Kolmogorov–Smirnov of every entry of the root, at 1e−3 after Bonferroni."""
    beta, decay = 2.0, 0.3
    W = dl.sample_prior(depth, shape, beta, decay, key=4, samples=20_000)
    R = np.asarray(dl.root(W, depth)).reshape(len(W), -1) * np.sqrt(beta * decay * depth)
    for column in R.T:
        assert scipy.stats.kstest(column, "norm").pvalue > 1e-3 / R.shape[1]
    assert abs(np.corrcoef(R.T) - np.eye(R.shape[1])).max() < 0.04
    assert dl.sample_prior(depth, shape, beta, decay, key=4).shape == shape


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2.5, 3])
def test_brownian_motion_is_that_of_the_root(depth):
    """σ^{1/N} of Brownian motion are the singular values of R_0 + B(t/N²), at a finite time."""
    rng = np.random.default_rng(0)
    W0, t, chains = np.array([[1.2, 0.3], [-0.2, 0.8]]), 0.4, 2000
    moved = dl.brownian(W0, depth, t1=t, dt=t / 400, key=1, chains=chains)
    ours = np.asarray(moved.singular_values) ** (1 / depth)
    noise = rng.normal(size=(20 * chains, 2, 2)) * np.sqrt(t) / depth
    law = np.linalg.svd(np.asarray(dl.root(W0, depth)) + noise, compute_uv=False)
    for i in range(2):
        assert scipy.stats.ks_2samp(ours[:, i], law[:, i]).pvalue > 1e-3 / 2
    still = np.linalg.svd(np.asarray(dl.root(W0, depth)) + noise / 2, compute_uv=False)
    assert scipy.stats.ks_2samp(ours[:, 1], still[:, 1]).pvalue < 1e-6  # another time is told apart


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: dl.root(np.eye(2), np.inf), dl.DepthError, r"^depth must be finite"),
        (lambda: dl.from_root(np.ones(2), 2), dl.InputError, r"^R must be a matrix"),
        (lambda: dl.sample_prior(2, (2,), 1.0, 1.0, 0), dl.InputError, r"^shape must be \(m, n\)"),
        (lambda: dl.sample_prior(2, (2, 2), 0.0, 1.0, 0), dl.InputError, r"^beta must be one"),
        (
            lambda: dl.log_partition_function(2, (2, 2), 1.0, -1.0),
            dl.InputError,
            r"^weight_decay must be one positive number",
        ),
    ],
)
def test_sentences(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_roots_beyond_the_range_are_refused():
    with pytest.raises(dl.PrecisionError, match=r"^depth must be smaller here"):
        dl.from_root(1e5 * np.eye(2), 100)
    with pytest.raises(dl.InputError, match=r"^depth must be known here"):
        jax.jit(lambda N: dl.root(np.eye(2), N))(2.0)
