"""Roots and kernels of isotropic leaves, against 60 digits and against the factors."""

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from cases import slow

import deeplinear as dl
from deeplinear.geometry.derivatives import operator_power
from deeplinear.geometry.kernel import log_kernel
from deeplinear.geometry.leaf import Leaf, check_imbalance, leaf_kernel, log_root

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


# --- the geometry with an imbalance ---

GENERIC = [(0.0, 0.7), (0.5, 0.0, 1.3), (0.0, 2.0, 0.0, 1.0), (0.1, 0.0, 0.4, 0.9, 1.6)]
SIX = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


def of_factors(W, G, c):
    """A(G) = (1/N) Σ_p B_p B_pᵀ G A_pᵀ A_p with W = B_p W_p A_p, from explicit factors."""
    factors = [np.asarray(F) for F in dl.leaf_factors(W, list(c), key=3)]
    direct, (m, n) = np.zeros(W.shape), W.shape
    for p in range(len(factors)):
        A, B = np.eye(n), np.eye(m)
        for F in factors[:p]:
            A = F @ A
        for F in reversed(factors[p + 1 :]):
            B = B @ F
        direct += B @ B.T @ G @ A.T @ A / len(factors)
    return direct


@pytest.mark.parametrize("c", [*GENERIC, SIX])
def test_the_operator_against_the_factors(rng, c):
    W, G = rng.normal(size=(2, 3, 3))
    found, direct = dl.Operator(W, len(c), imbalance=c)(G), of_factors(W, G, c)
    np.testing.assert_allclose(found, direct, atol=1e-11 * abs(direct).max())


@pytest.mark.parametrize(
    ("shape", "c"),
    [slow((2, 4), (0.0, 0.7, 0.3)), slow((4, 2), (0.5, 0.2, 0.0)), ((2, 3), (0.0, 1.0))],
)
def test_other_shapes_against_the_factors(rng, shape, c):
    W, G = rng.normal(size=(2, *shape))
    operator = dl.Operator(W, len(c), imbalance=c)
    direct = of_factors(W, G, c)
    np.testing.assert_allclose(operator(G), direct, atol=1e-11 * abs(direct).max())
    logdet = np.linalg.slogdet(np.asarray(operator.as_matrix()))[1]
    assert float(operator.logdet()) == pytest.approx(logdet, rel=1e-10)
    assert float(dl.log_volume(W, len(c), imbalance=c)) == pytest.approx(-logdet / 2, rel=1e-10)


@pytest.mark.parametrize(("shape", "c"), [((2, 4), (0.7, 0.0)), ((4, 2), (0.0, 0.7))])
def test_shapes_that_a_leaf_is_not_for(rng, shape, c):
    W = rng.normal(size=shape)
    for call in (
        lambda: dl.Operator(W, 2, imbalance=c),
        lambda: dl.log_volume(W, 2, imbalance=c),
        lambda: dl.Metric(2, imbalance=c).inner(W, W, W),
        lambda: dl.gradient_flow(lambda W: jnp.sum(W**2), W, 2, imbalance=c),
        lambda: dl.ensemble(lambda W: jnp.sum(W**2), W[None], 2, imbalance=c),
    ):
        with pytest.raises(dl.InputError, match=r"^imbalance must be least at its (first|last)"):
            call()


@pytest.mark.parametrize("c", [*GENERIC, SIX])
def test_the_volume_by_the_formula_of_the_roots(rng, c):
    """√det g = N^{d²/2} ∏ P′(x_i)^{−1/2} van(x) in (σ, U, V), x by polynomial roots."""
    W = rng.normal(size=(3, 3))
    s = np.linalg.svd(W, compute_uv=False)
    e = np.array(c) - min(c)
    P = np.poly1d(np.poly(-e))
    x = np.array([max((P - t**2).roots.real[abs((P - t**2).roots.imag) < 1e-9]) for t in s])
    van = np.prod([x[i] - x[j] for i in range(3) for j in range(i + 1, 3)])
    expected = 4.5 * np.log(len(c)) - 0.5 * np.log(P.deriv()(x)).sum() + np.log(van)
    found = dl.log_volume(W, len(c), "svd", imbalance=c)
    assert float(found) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("c", [(0.0, 0.7), (0.5, 0.0, 1.3), (0.0, 0.0, 0.4, 0.9), SIX])
@pytest.mark.parametrize("d", [2, 3])
def test_the_orbit_volume_by_gram_determinants(rng, c, d):
    """The entropy is the volume of the orbit under O(d)^{N−1}, up to the volume of the group."""
    differences = []
    for W in rng.normal(size=(2, d, d)):
        factors = [np.asarray(F) for F in dl.leaf_factors(W, list(c), key=5)]
        tangents = []
        for p in range(len(c) - 1):
            for i in range(d):
                for j in range(i):
                    S = np.zeros((d, d))
                    S[i, j], S[j, i] = 0.5**0.5, -(0.5**0.5)
                    moved = [np.zeros((d, d)) for _ in factors]
                    moved[p], moved[p + 1] = S @ factors[p], -factors[p + 1] @ S
                    tangents.append(np.concatenate([X.ravel() for X in moved]))
        gram = np.array(tangents) @ np.array(tangents).T
        entropy = float(dl.entropy(W, len(c), imbalance=list(c), constant=False))
        differences.append(np.linalg.slogdet(gram)[1] / 2 - entropy)
    assert differences[0] == pytest.approx(differences[1], abs=1e-11)
    # ½ (d choose 2) log N of the constant; the rest, (N − 1) log c_d, counts the group O(d)^{N−1}
    assert differences[0] == pytest.approx(d * (d - 1) / 4 * np.log(len(c)), abs=1e-11)


def test_small_imbalances_tend_to_the_balanced_metric(rng):
    W, Z = rng.normal(size=(2, 3, 3))
    for N in (2, 3, 5):
        at_zero = dl.Operator(W, N, imbalance=np.zeros(N))(Z)
        assert np.array_equal(at_zero, dl.Operator(W, N)(Z))
        near = dl.Operator(W, N, imbalance=1e-16)(Z)
        np.testing.assert_allclose(near, dl.Operator(W, N)(Z), rtol=1e-13)


def test_infinite_depth_forgets_imbalances_of_order_1_over_n():
    """c_p = C(p/N)/N: λ^c → λ_∞, with an error of order 1/N."""
    a, b = 1.7, 0.4
    gaps = []
    for N in (50, 100, 200):
        c = np.sin(3 * np.arange(N) / N) / N
        found = float(dl.kernel(a, b, N, imbalance=c))
        gaps.append(abs(found - float(dl.kernel(a, b, math.inf))))
    assert gaps[0] < 0.2
    for coarse, fine in pairwise(gaps):
        assert coarse / fine == pytest.approx(2, rel=0.1)


@pytest.mark.slow
def test_the_kernel_against_60_digits():
    for c in LEAVES[1:]:
        if max(c) == 0:
            continue
        e = [mpmath.mpf(x) - mpmath.mpf(min(c)) for x in c]
        shifted = np.array([float(y) for y in e])
        for a, b in [(1.3, 0.4), (0.7, 0.7), (1e-150, 3.0), (1e-9, 2e-9), (1e5, 1e-5), (2.0, 0.0)]:
            with mpmath.workdps(60):

                def P(x, e=e):
                    return mpmath.fprod(x + y for y in e)

                def root(s, P=P, shifted=shifted):
                    if s == 0:
                        return mpmath.mpf(0)
                    f = lambda l: mpmath.log(P(mpmath.e**l)) - 2 * mpmath.log(s)  # noqa: E731
                    guess = float(log_root(jnp.log(float(s)), shifted))
                    return mpmath.e ** mpmath.findroot(f, guess)

                x, y = root(mpmath.mpf(a)), root(mpmath.mpf(b))
                exact = (
                    (mpmath.mpf(a) ** 2 - mpmath.mpf(b) ** 2) / (len(c) * (x - y))
                    if a != b
                    else mpmath.diff(P, x) / len(c)
                )
                found = float(dl.kernel(a, b, len(c), imbalance=c))
                assert abs(found - exact) <= 1e-12 * exact
                log_found = float(log_kernel(jnp.log(a), jnp.log(b), Leaf(shifted)))
                assert abs(log_found - mpmath.log(exact)) <= 1e-12 * max(1, abs(mpmath.log(exact)))


def test_the_logarithm_of_the_kernel_far_below_the_floating_point_range():
    leaf = Leaf(np.array([0.0, 0.0, 1.0]))
    # x = σ to leading order: λ = (x + y)/3
    assert float(log_kernel(-5000.0, -5000.0, leaf)) == pytest.approx(-5000 + np.log(2 / 3))
    assert float(log_kernel(-jnp.inf, -jnp.inf, leaf)) == -np.inf
    smooth = Leaf(np.array([0.0, 2.0, 1.0]))
    assert float(log_kernel(-jnp.inf, -5000.0, smooth)) == pytest.approx(np.log(2 / 3))
    for a, b in [(-jnp.inf, -jnp.inf), (-jnp.inf, 0.3), (-800.0, -800.0), (0.4, 0.4)]:
        slopes = jax.grad(lambda a, b: log_kernel(a, b, smooth), (0, 1))(a, b)
        assert np.isfinite(slopes).all()


@pytest.mark.parametrize(
    ("singular", "q"),
    [
        (True, 1),
        *(slow(*v) for v in ((False, 0.5), (False, 1), (False, -1), (True, -1), (True, 0.5))),
    ],
)
def test_derivatives_of_the_operator(rng, q, singular):
    """In W, twice, by finite differences; at rank loss too, where one c_p is the least."""
    leaf = Leaf(np.array([0.0, 0.7, 0.3]))
    W, X, Y, Z = jnp.asarray(rng.normal(size=(4, 3, 3)))
    if singular:
        U, s, Vt = np.linalg.svd(W)
        W = jnp.asarray((U * [s[0], s[1], 0.0]) @ Vt)
    f = lambda W: operator_power(W, Z, leaf, q)  # noqa: E731
    f_x = lambda W: jax.jvp(f, (W,), (X,))[1]  # noqa: E731
    h = 1e-5
    for function, along in ((f, X), (f_x, Y)):
        exact = jax.jvp(function, (W,), (along,))[1]
        expected = (function(W + h * along) - function(W - h * along)) / (2 * h)
        np.testing.assert_allclose(exact, expected, atol=1e-6 * abs(exact).max())


def test_volume_and_entropy_are_finite_at_rank_loss(rng):
    """Where one c_p is the least, the density is finite, and smooth, at a singular W."""
    U, s, Vt = np.linalg.svd(rng.normal(size=(3, 3)))
    W = (U * [s[0], s[1], 0.0]) @ Vt
    c = (0.2, 1.0, 0.0)
    for function in (dl.log_volume, dl.entropy):
        near = [float(function((U * [s[0], s[1], e]) @ Vt, 3, imbalance=c)) for e in (1e-3, 1e-4)]
        value = float(function(W, 3, imbalance=c))
        assert abs(near[1] - value) < 1e-6
        assert abs(near[0] - value) == pytest.approx(100 * abs(near[1] - value), rel=0.01)
        assert np.isfinite(jax.grad(lambda W: function(W, 3, imbalance=c))(W)).all()  # noqa: B023
    with pytest.raises(dl.SingularOperatorError):
        dl.log_volume(W, 3, imbalance=(0.0, 0.0, 1.0))


def test_geodesics_of_two_layers_in_one_dimension():
    """At d = 1, N = 2 the length element is dW/√λ, λ = √(W² + δ²/4): through W = 0 as well."""
    delta = 0.8
    t = np.linspace(-0.5, 1.3, 200_001)
    f = (t**2 + delta**2 / 4) ** -0.25
    length = np.sum((f[1:] + f[:-1]) / 2) * (t[1] - t[0])
    W, Z = np.array([[-0.5]]), np.array([[1.0]])
    Z = Z * length / float(dl.norm(W, Z, 2, imbalance=delta))
    found = dl.geodesic.exp(W, Z, 2, imbalance=delta)
    assert bool(found.converged)
    assert float(found.W[0, 0]) == pytest.approx(1.3, abs=1e-8)


def test_a_logarithm_is_inverse_to_the_exponential(rng):
    W = rng.normal(size=(2, 2))
    Z = 0.2 * rng.normal(size=(2, 2))
    c = (0.0, 0.6, 0.1)
    end = dl.geodesic.exp(W, Z, 3, imbalance=c)
    found = dl.geodesic.log(W, end.W, 3, imbalance=c)
    assert bool(found.converged)
    np.testing.assert_allclose(found.Z, Z, atol=1e-8)
    assert float(found.distance) == pytest.approx(float(end.length), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("c", [(0.0, 0.7), (0.3, 0.0, 1.0)])
def test_scalar_curvature_by_finite_differences(rng, c):
    """R from second differences of the metric's matrix: the operator alone is ours."""
    W = np.array([[1.3, 0.2], [-0.4, 0.8]])
    g = lambda x: np.linalg.inv(  # noqa: E731
        np.asarray(dl.Operator(x.reshape(2, 2), len(c), imbalance=c).as_matrix())
    )
    assert float(dl.curvature.scalar(W, len(c), imbalance=c)) == pytest.approx(
        scalar_curvature(g, W.ravel()), rel=1e-4
    )


def scalar_curvature(g, x, h=2e-3):
    """The scalar curvature of the metric x ↦ g(x) by central differences."""
    k = x.size
    e = np.eye(k) * h
    first = np.array([(g(x + e[i]) - g(x - e[i])) / (2 * h) for i in range(k)])  # i: derivative
    second = np.empty((k, k, k, k))
    for i in range(k):
        for j in range(k):
            second[i, j] = (
                g(x + e[i] + e[j]) - g(x + e[i] - e[j]) - g(x - e[i] + e[j]) + g(x - e[i] - e[j])
            ) / (4 * h * h)
    G = np.linalg.inv(g(x))
    # Γ_{a,bc} with the first index lowered
    low = (
        np.einsum("bac->abc", first) + np.einsum("cab->abc", first) - np.einsum("abc->abc", first)
    ) / 2
    R = (
        np.einsum("jkil->ijkl", second)
        + np.einsum("iljk->ijkl", second)
        - np.einsum("ikjl->ijkl", second)
        - np.einsum("jlik->ijkl", second)
    ) / 2
    for i, j, k_, l in np.ndindex(k, k, k, k):
        R[i, j, k_, l] += low[:, i, l] @ G @ low[:, j, k_] - low[:, i, k_] @ G @ low[:, j, l]
    return np.einsum("ijkl,ik,jl->", R, G, G)


def test_depth_must_be_an_integer_beside_an_imbalance(rng):
    W = rng.normal(size=(2, 2))
    for depth in (2.5, math.inf):
        with pytest.raises(dl.DepthError, match=r"^depth must be an integer ≥ 1 beside an imbal"):
            dl.log_volume(W, depth, imbalance=0.3)


def test_second_derivatives_of_volumes_at_rank_loss_are_not_claimed():
    for function in (dl.log_volume, dl.entropy):
        f = lambda x: function(jnp.array([[1.0, 0.0], [0.0, x]]), 2, imbalance=0.5)  # noqa: B023, E731
        assert float(jax.grad(f)(0.0)) == 0
        assert np.isnan(jax.hessian(f)(0.0))
        assert np.isfinite(jax.hessian(f)(0.3))


def test_what_a_leaf_is_for_is_known_inside_jit(rng):
    W = rng.normal(size=(2, 3))
    with pytest.raises(dl.InputError, match=r"^imbalance must be least at its first"):
        jax.jit(lambda g, X: g.log_volume(X))(dl.Metric(2, (0.5, 0.0)), W)


@pytest.mark.parametrize("imbalance", ["0.5", True, [1e308, -1e308, 0.0], None, math.inf])
def test_imbalances_that_are_none(imbalance):
    with pytest.raises(dl.InputError, match=r"^imbalance must be a finite number or vector"):
        check_imbalance(imbalance, 3)
