"""Roots and kernels of isotropic leaves, against 60 digits and against the factors."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.geometry.leaf import check_imbalance, leaf_kernel, log_root

LEAVES = [
    (0.0,),
    (0.0, 0.0, 0.0),
    (0.0, 0.7),
    (0.0, 1e-9, 2.0),
    (0.0, 0.0, 1.0, 1.0),
    (3.0, 0.0, 1e6),
    (0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
]


@pytest.mark.parametrize("c", LEAVES)
def test_roots_against_60_digits(c):
    log_s = np.array([-600.0, -40.0, -5.0, -0.3, 0.0, 0.8, 6.0, 300.0])
    found = np.asarray(log_root(jnp.asarray(log_s), np.array(c)))
    with mpmath.workdps(60):
        for l, value in zip(log_s, found, strict=True):
            # h is increasing: the root is where it changes its sign, a last digit apart
            def h(x, l=l):
                return sum(mpmath.log(mpmath.e**x + mpmath.mpf(e)) for e in c) - 2 * mpmath.mpf(l)

            exact = mpmath.findroot(h, mpmath.mpf(float(value)))
            assert abs(exact - float(value)) <= 1e-14 * max(1, abs(float(exact)))


@pytest.mark.parametrize("c", LEAVES)
def test_derivatives_of_roots(c):
    for l in (-20.0, -1.0, 0.4, 3.0):
        h = 1e-5
        f = lambda l: log_root(jnp.asarray(l), np.array(c))  # noqa: E731
        expected = (f(l + h) - f(l - h)) / (2 * h)
        assert float(jax.grad(f)(l)) == pytest.approx(float(expected), rel=1e-8)
    assert np.isfinite(jax.grad(lambda s: jnp.exp(log_root(jnp.log(s), np.array(c))))(1e-30))


def test_a_singular_value_of_zero():
    assert np.isneginf(log_root(jnp.asarray(-jnp.inf), np.array([0.0, 1.0])))


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_kernel_of_balanced_factors(depth):
    a, b = np.array([2.0, 1.3, 0.7, 1e-3, 0.5]), np.array([0.4, 1.3, 1e-6, 1e-3, 0.0])
    c = np.zeros(depth)
    x, y = (jnp.exp(log_root(jnp.log(s), c)) for s in (a, b))
    np.testing.assert_allclose(leaf_kernel(x, y, c), dl.kernel(a, b, depth), rtol=1e-14)


def test_the_kernel_of_two_layers():
    """λ = ½(√(σ_i² + δ²/4) + √(σ_j² + δ²/4)): lazy for large δ."""
    a, b = np.array([2.0, 0.3, 0.0]), np.array([0.4, 0.3, 0.0])
    for delta in (0.1, 3.0, 1e8):
        c = np.array([0.0, delta])
        x, y = (jnp.exp(log_root(jnp.log(s), c)) for s in (a, b))
        expected = (np.sqrt(a**2 + delta**2 / 4) + np.sqrt(b**2 + delta**2 / 4)) / 2
        np.testing.assert_allclose(leaf_kernel(x, y, c), expected, rtol=1e-14)


@pytest.mark.parametrize(
    "c", [(0.0, 0.7), (0.5, 0.0, 1.3), (0.0, 2.0, 0.0, 1.0), range(5), range(6)]
)
@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (2, 3)])
def test_the_kernel_against_the_factors(rng, c, shape):
    """A(G) = (1/N) Σ_p B_p B_pᵀ G A_pᵀ A_p with W = B_p W_p A_p."""
    W, G = rng.normal(size=shape), rng.normal(size=shape)
    factors = [np.asarray(F) for F in dl.leaf_factors(W, list(c), key=3)]
    N, (m, n) = len(factors), shape
    direct = np.zeros(shape)
    for p in range(N):
        A, B = np.eye(n), np.eye(m)
        for F in factors[:p]:
            A = F @ A
        for F in reversed(factors[p + 1 :]):
            B = B @ F
        direct += B @ B.T @ G @ A.T @ A / N
    U, s, Vt = np.linalg.svd(W)
    e = check_imbalance(list(c), None)
    x = np.exp(np.asarray(log_root(jnp.log(s), e)))
    k = s.size
    kernel = leaf_kernel(jnp.asarray(x[:, None]), jnp.asarray(x[None]), e)
    inside = (U.T @ G @ Vt.T)[:k, :k] * np.asarray(kernel)
    assert abs((U.T @ direct @ Vt.T)[:k, :k] - inside).max() < 1e-12 * abs(inside).max()


@pytest.mark.parametrize(
    ("imbalance", "depth", "error", "sentence"),
    [
        (1.0, None, dl.InputError, r"^imbalance must be \(c_1, …, c_N\), or depth given"),
        ([0.0, np.nan], None, dl.InputError, r"^imbalance must be a finite number or vector"),
        ([0.0, 1.0], 3, dl.InputError, r"^imbalance must hold depth = 3 numbers, got 2"),
        (1.0, 2.5, dl.DepthError, r"^depth must be an integer ≥ 1"),
    ],
)
def test_sentences(imbalance, depth, error, sentence):
    with pytest.raises(error, match=sentence):
        check_imbalance(imbalance, depth)
