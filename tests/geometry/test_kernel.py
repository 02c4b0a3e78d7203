"""The pair kernel against 60 digits, at ties, at zero, over the whole range of float64, with its
derivatives.
"""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import oracles
import pytest
from cases import DEPTHS, EXTREME_DEPTHS
from hypothesis import given
from hypothesis import strategies as st
from strategies import finite_depths, sizes

import deeplinear as dl
from deeplinear.checks import check_depth
from deeplinear.geometry.kernel import (
    _rounding_of_inverse,
    beside,
    degree,
    depth_of,
    inverse_depth,
    log_growth,
    log_kernel,
    log_slope,
)
from deeplinear.geometry.leaf import Leaf

GAPS = [0, 1e-16, 1e-15, 1e-12, 1e-8, 1e-4, 1e-2, 0.1, 0.5, 0.9, 1.0]


def points(rng, n):
    """Pairs over 600 decades: near ties on both sides, and ratios up to 1e300."""
    for _ in range(n):
        a = 10 ** rng.uniform(-300, 300)
        gap = rng.choice(GAPS)
        b = a * (1 + gap) if rng.random() < 0.5 else a * (1 - gap)
        if rng.random() < 0.4:
            b = a * 10 ** rng.uniform(-300, 0)
        if b == 0 or b > 1e-300:
            yield (a, b) if rng.random() < 0.5 else (b, a)


@pytest.mark.parametrize("N", [*DEPTHS, *EXTREME_DEPTHS])
def test_relative_error_is_below_1e_13(rng, N):
    pairs = np.array(list(points(rng, 400)))
    values = np.asarray(dl.kernel(pairs[:, 0], pairs[:, 1], N))
    compared = 0
    for (a, b), value in zip(pairs, values, strict=True):
        exact = oracles.kernel(a, b, N)
        if 1e-300 < exact < 1e300:
            assert abs(mp.mpf(value) / exact - 1) < 1e-13, (a, b)
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("N", [1, 2, 3.5, 20, math.inf])
def test_float32_keeps_its_digits_and_its_dtype(rng, N):
    a = rng.uniform(0.1, 10, 200).astype(np.float32)
    b = (a * (1 + rng.choice([0, 1e-7, 1e-4, 0.3, 5], 200))).astype(np.float32)
    values = dl.kernel(a, b, N)
    assert values.dtype == jnp.float32
    exact = np.array(
        [float(oracles.kernel(float(x), float(y), N)) for x, y in zip(a, b, strict=True)]
    )
    np.testing.assert_allclose(values, exact, rtol=2e-6)


@pytest.mark.parametrize("N", [3, 3.5, 7, 20])
def test_float32_keeps_its_digits_far_from_one(rng, N):
    """The rounding of 1/N times log a: 1e−6 of the value, were it not repaired."""
    a = (10 ** rng.uniform(-17, 17, 400)).astype(np.float32)
    b = (a * rng.choice([1, 0.5, 1e-3], 400)).astype(np.float32)
    exact = [float(oracles.kernel(float(x), float(y), N)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(dl.kernel(a, b, N), exact, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_rounding_of_an_inverse_is_exact(rng, dtype):
    N = (1 + 10 ** rng.uniform(-3, 2, 300)).astype(dtype)
    nu = inverse_depth(N, dtype)
    found = np.asarray(_rounding_of_inverse(jnp.asarray(N), nu), float)
    exact = np.array(
        [1 / Fraction(float(x)) - Fraction(float(y)) for x, y in zip(N, nu, strict=True)], float
    )
    assert found.any()
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-3 * abs(exact).max())


@pytest.mark.parametrize("gap", [0.2, 0.45, 1.5, 6.0])
def test_third_derivatives_at_infinite_depth(gap):
    a, b = 0.3, 0.3 - gap

    def exact(x, y):
        return mp.log((mp.exp(2 * x) - mp.exp(2 * y)) / (2 * (x - y)))

    for where in (0, 1):
        third = jax.grad(jax.grad(jax.grad(log_kernel, where), where), 0)(a, b, 0.0)
        order = (3, 0) if where == 0 else (1, 2)
        assert float(third) == pytest.approx(float(mp.diff(exact, (a, b), order)), rel=1e-9)


@pytest.mark.parametrize("N", [2, 300, math.inf])
def test_ratios_below_the_least_normal_number(N):
    for a, b in ((1e10, 1e-300), (1e-290, 1e100)):
        assert abs(mp.mpf(float(dl.kernel(a, b, N))) / oracles.kernel(a, b, N) - 1) < 1e-13


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.2), (1e-5, 0.4), (3.0, 0.7), (50.0, 40.0)])
def test_the_derivative_in_the_depth(a, b):
    found = float(jax.grad(dl.kernel, 2)(a, b, 3.5))
    exact = float(mp.diff(lambda N: oracles.kernel(a, b, N), mp.mpf("3.5")))
    assert found == pytest.approx(exact, rel=1e-11)


def test_second_derivatives_beside_a_zero_are_finite():
    for N in (3.0, 7.5):
        second = np.array(jax.hessian(dl.kernel, (0, 1))(2.0, 0.0, N))
        assert np.isfinite(second).all()
        nu = 1 / N
        exact = nu * (2 - 2 * nu) * (1 - 2 * nu) * 2 ** (-2 * nu)  # of a^{2 − 2/N}/N
        assert second[0, 0] == pytest.approx(exact, rel=1e-12)


def test_at_zero():
    assert float(dl.kernel(2.0, 0.0, 4)) == pytest.approx(2**1.5 / 4, rel=1e-15)
    assert float(dl.kernel(2.0, 0.0, math.inf)) == 0
    assert float(dl.kernel(0.0, 0.0, 3)) == 0
    assert float(dl.kernel(0.0, 0.0, 1)) == 1
    assert float(dl.kernel(0.0, 5.0, 1)) == 1


def test_on_a_leaf_at_zero_and_at_infinity():
    for a, b in ((0.0, 2.0), (2.0, 0.0), (0.0, 0.0), (0.0, 0.5)):
        near = [x if x else 1e-9 for x in (a, b)]
        found = float(dl.kernel(a, b, 3, imbalance=0.5))
        assert found == pytest.approx(float(dl.kernel(*near, 3, imbalance=0.5)), rel=1e-6)
        assert found > 0
    for a, b in ((math.inf, 2.0), (2.0, math.inf), (math.inf, math.inf)):
        assert float(dl.kernel(a, b, 3, imbalance=0.5)) == math.inf
    for a, b in ((-1.0, 2.0), (2.0, -1.0)):
        assert math.isnan(dl.kernel(a, b, 3, imbalance=0.5))


def test_derivatives_at_zero_are_the_limits():
    for N in (2.0, 3.0, 7.5):
        at_zero, near = (jax.grad(dl.kernel, (0, 2))(2.0, b, N) for b in (0.0, 1e-300))
        np.testing.assert_allclose(at_zero, near, rtol=1e-9)
    assert float(jax.grad(dl.kernel, 1)(2.0, 0.0, 3.0)) == 0  # by definition


def test_no_number_comes_of_nan_or_a_negative_singular_value():
    assert np.isnan(dl.kernel(np.array([np.nan, -1.0, 2.0]), np.array([2.0, 2.0, -1.0]), 3)).all()
    assert math.isnan(log_kernel(math.nan, 0.0, 0.5))


def test_arguments_broadcast_also_in_depth():
    a, b, N = np.ones((3, 1, 1)), np.arange(1.0, 5.0)[:, None], np.array([1.0, 2.0, math.inf])
    values = dl.kernel(a, b, N)
    assert values.shape == (3, 4, 3)
    assert float(values[0, 2, 1]) == pytest.approx((1 + 3) / 2)


@pytest.mark.parametrize("N", [1, 1.5, 2, 3, 7.3, 50, 1e6, math.inf])
@pytest.mark.parametrize("gap", [0, 1e-14, 1e-9, 1e-3, 0.4, 1 - 1e-3, 1 - 1e-20, 1 - 1e-60])
def test_derivatives_against_differences_of_the_oracle(rng, N, gap):
    a = 10 ** rng.uniform(-3, 3)
    b = a * (1 - gap) if 1 - gap > 0 else a * 1e-40
    grads = jax.grad(dl.kernel, (0, 1, 2))(a, b, float(N))
    exact_a = oracles.derivative(lambda x: oracles.kernel(x, b, N, 100), a)
    exact_b = oracles.derivative(lambda x: oracles.kernel(a, x, N, 100), b)
    assert float(grads[0]) == pytest.approx(
        float(exact_a), rel=1e-11, abs=1e-12 * abs(float(exact_a)) + 1e-300
    )
    assert float(grads[1]) == pytest.approx(float(exact_b), rel=1e-11)
    if math.isinf(N):
        assert float(grads[2]) == 0
    elif N > 1:
        exact_N = oracles.derivative(lambda x: oracles.kernel(a, b, x, 100), N)
        assert float(grads[2]) == pytest.approx(float(exact_N), rel=1e-8)


@given(st.floats(-290, 290), st.floats(-290, 0), st.floats(0, 1))
def test_derivatives_are_finite_where_the_kernel_is(log_a, log_ratio, nu):
    a, b = 10.0**log_a, 10.0 ** max(log_a + log_ratio, -300)
    N = 1 / nu if nu > 1e-300 else math.inf
    value = float(dl.kernel(a, b, N))
    if 1e-250 < value < 1e250 and b > 1e-250:
        assert all(math.isfinite(g) for g in jax.grad(dl.kernel, (0, 1, 2))(a, b, N))


@given(sizes, sizes, finite_depths)
def test_symmetric_homogeneous_and_between_its_ends(a, b, N):
    value = float(dl.kernel(a, b, N))
    assert value == float(dl.kernel(b, a, N))
    assert float(dl.kernel(3 * a, 3 * b, N)) == pytest.approx(3 ** (2 - 2 / N) * value, rel=1e-13)
    low, high = sorted([a ** (2 - 2 / N), b ** (2 - 2 / N)])
    assert low * (1 - 1e-12) <= value <= high * (1 + 1e-12)


def test_second_derivatives_at_a_tie():
    # N = 3: λ = (a^{4/3} + a^{2/3} b^{2/3} + b^{4/3}) / 3, smooth; differentiate that instead.
    plain = lambda v: (v[0] ** (4 / 3) + (v[0] * v[1]) ** (2 / 3) + v[1] ** (4 / 3)) / 3  # noqa: E731
    for v in ([1.3, 1.3], [1.3, 1.3 * (1 - 1e-9)], [0.2, 0.9]):
        ours = jax.hessian(lambda v: dl.kernel(v[0], v[1], 3.0))(jnp.array(v))
        np.testing.assert_allclose(ours, jax.hessian(plain)(jnp.array(v)), rtol=1e-10)


def test_log_kernel_where_the_kernel_underflows():
    for N in (2.0, 3.0, 10.0):
        exact = mp.log(oracles.kernel(mp.mpf("1e-2000"), mp.mpf("1e-2500"), N, 3000))
        ours = log_kernel(-2000 * math.log(10), -2500 * math.log(10), 1 / N)
        assert float(ours) == pytest.approx(float(exact), rel=1e-14)
    assert float(log_kernel(-jnp.inf, 0.0, 0.5)) == pytest.approx(-math.log(2))
    assert float(log_kernel(-jnp.inf, -jnp.inf, 0.5)) == -math.inf
    assert float(log_kernel(-jnp.inf, -jnp.inf, 1.0)) == 0


@pytest.mark.parametrize("nu", [0.0, 0.2, 1.0])
def test_log_kernel_derivatives_match_the_kernel(rng, nu):
    N = math.inf if nu == 0 else 1 / nu
    for a, b in [(0.7, 0.7), (0.7, 0.7000001), (0.1, 4.0)]:
        d_log = jax.grad(log_kernel, (0, 1))(math.log(a), math.log(b), nu)
        d = jax.grad(dl.kernel, (0, 1))(a, b, N)
        value = dl.kernel(a, b, N)
        np.testing.assert_allclose(
            d_log, [a * d[0] / value, b * d[1] / value], rtol=1e-11, atol=1e-13
        )


@pytest.mark.parametrize("depth", [0.5, 0, -math.inf, math.nan, np.array([1, 0.9])])
def test_bad_depth_is_a_typed_error(depth):
    with pytest.raises(dl.DepthError, match="depth must be"):
        dl.kernel(1.0, 2.0, depth)


def test_a_depth_that_is_no_number_is_a_typed_error():
    with pytest.raises(
        dl.DepthError, match=r"depth must be a real number ≥ 1 or math\.inf, got 'deep'"
    ):
        check_depth("deep")


def test_a_bad_depth_under_jit_is_nan_and_not_a_number():
    assert math.isnan(jax.jit(dl.kernel)(1.0, 2.0, 0.5))


@pytest.mark.parametrize("N", [1, 1.5, 2, 3, 100, math.inf])
def test_at_infinity_it_is_the_limit(N):
    limit = 1.0 if N == 1 else math.inf
    for a, b in ((math.inf, 1.0), (0.0, math.inf), (math.inf, math.inf), (1e-300, math.inf)):
        assert float(dl.kernel(a, b, N)) == limit
        log_a, log_b = (np.log(x) if x > 0 else -np.inf for x in (a, b))
        assert float(log_kernel(log_a, log_b, 1 / N)) == (0.0 if N == 1 else math.inf)
    for bad in ((math.inf, math.nan), (-1.0, math.inf), (-math.inf, 1.0)):
        assert np.isnan(dl.kernel(*bad, N))


def test_derivatives_where_the_kernel_itself_overflows():
    """∂λ_3(a, a)/∂a = ⅔ a^{1/3} is far inside the range where a^{4/3} is not."""
    slope = jax.grad(dl.kernel)(1e300, 1e300, 3.0)
    assert float(slope) == pytest.approx(2 / 3 * 1e100, rel=1e-12)
    assert np.isnan(jax.grad(dl.kernel)(-1.0, 1.0, 2.0))
    assert np.isnan(jax.grad(dl.kernel)(math.nan, 1.0, 2.0))


@pytest.mark.parametrize("z", [0.05, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0, 1.01, 1.5, 4.0])
@pytest.mark.parametrize("nu", [0.0, 0.3, 0.8, 1.0])
def test_logarithmic_derivatives_to_the_last_digits(z, nu):
    """With u = log a, v = log b: log λ = 2(1 − ν)u + ℓ(2(u − v)) − ℓ(2ν(u − v)), ℓ = log φ."""
    with mp.workdps(60):
        ell = lambda y: mp.log(-mp.expm1(-y) / y) if y else mp.mpf(0)  # noqa: E731
        log = lambda u, v, nu: 2 * (1 - nu) * u + ell(2 * (u - v)) - ell(2 * nu * (u - v))  # noqa: E731
        at = mp.mpf("0.25") + mp.mpf(z) / 2, mp.mpf("0.25"), mp.mpf(nu)
        exact = [float(mp.diff(log, at, n)) for n in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
        value = float(log(*at))
    for u, v, order in ((0.25 + z / 2, 0.25, (0, 1, 2)), (0.25, 0.25 + z / 2, (1, 0, 2))):
        assert float(log_kernel(u, v, nu)) == pytest.approx(value, rel=1e-13, abs=1e-14)
        found = jax.grad(log_kernel, (0, 1, 2))(u, v, nu)
        for k, expected in zip(order, exact, strict=True):
            if k < 2 or 0 < nu < 1:
                assert float(found[k]) == pytest.approx(expected, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("z", [0, 1e-3, 0.3, 0.99, 1.0, 1.01, 1.9, 2.5, 30.0, 300.0])
@pytest.mark.parametrize("nu", [0.0, 0.3, 0.8, 1.0])
def test_the_slope_in_the_smaller_logarithm_and_its_own(z, nu):
    """S(z) = 2 (B(νz) − B(z))/z with B(z) = z/(e^z − 1), and dS/dz, by differences of 60 digits."""
    with mp.workdps(60):
        B = lambda y: y / mp.expm1(y) if y else mp.mpf(1)  # noqa: E731
        S = lambda z: 2 * (B(nu * z) - B(z)) / z if z else 1 - mp.mpf(nu)  # noqa: E731
        # (an odd function less its value at 0)
        change = mp.diff(S, mp.mpf(z)) if z else (mp.mpf(nu) ** 2 - 1) / 6
        exact = float(S(mp.mpf(z))), float(change)
    found = log_slope(jnp.asarray(float(z)), jnp.asarray(nu))
    if nu == 1:
        assert [float(x) for x in found] == [0, 0]
    np.testing.assert_allclose(np.array(found), exact, rtol=1e-12, atol=1e-14)
    own = jax.grad(lambda z: log_slope(z, jnp.asarray(nu))[0])(float(z))
    assert float(own) == pytest.approx(exact[1], rel=1e-11, abs=1e-14)


def test_the_slope_beside_a_zero_singular_value_is_zero():
    for nu in (0.0, 0.3, 1.0):
        assert [float(x) for x in log_slope(jnp.asarray(math.inf), jnp.asarray(nu))] == [0, 0]


def test_depths_and_their_inverses():
    leaf = Leaf(jnp.array([0.0, 0.5, 2.0]))
    assert float(degree(4.0, float)) == 0.25
    assert float(degree(leaf, float)) == pytest.approx(1 / 3)
    assert inverse_depth(leaf, np.float32).c.dtype == np.float32
    assert float(depth_of(jnp.asarray(0.25))) == 4
    assert float(depth_of(jnp.asarray(0.0))) == math.inf
    assert depth_of(leaf) is leaf
    assert beside(leaf, 2) is leaf
    many = beside(jnp.array([0.5, 0.2]), 2)
    assert many.shape == (2, 1, 1)
    assert many.ravel().tolist() == [0.5, 0.2]


def test_the_growth_of_a_singular_value():
    """λ(σ, σ)/σ: σ^{1 − 2/N}, on a leaf by the kernel itself."""
    for N in (1.0, 2.0, 4.0, math.inf):
        found = log_growth(jnp.log(jnp.asarray(0.3)), inverse_depth(N, float))
        assert float(found) == pytest.approx((1 - 2 / N) * math.log(0.3), rel=1e-14, abs=1e-15)
    found = log_growth(jnp.log(jnp.asarray(0.3)), Leaf(jnp.array([0.0, 0.5])))
    assert float(found) == pytest.approx(math.log(dl.kernel(0.3, 0.3, 2, imbalance=0.5) / 0.3))


def test_derivatives_where_an_argument_is_one_or_both_are_zero():
    assert float(jax.grad(dl.kernel)(1.0, 0.5, 2.0)) == pytest.approx(0.5, rel=1e-14)
    assert float(jax.grad(dl.kernel, 1)(0.5, 1.0, 2.0)) == pytest.approx(0.5, rel=1e-14)
    assert [float(g) for g in jax.grad(dl.kernel, (0, 1, 2))(0.0, 0.0, 3.0)] == [0, 0, 0]


def test_second_derivatives_of_the_logarithm_at_a_tie():
    # N = 2: λ = (a + b)/2
    plain = lambda x: jnp.log((jnp.exp(x[0]) + jnp.exp(x[1])) / 2)  # noqa: E731
    for x in (jnp.array([0.4, 0.4]), jnp.array([0.4, 0.3])):
        ours = jax.jacfwd(jax.jacfwd(lambda x: log_kernel(x[0], x[1], 0.5)))(x)
        np.testing.assert_allclose(ours, jax.hessian(plain)(x), rtol=1e-11)


def test_an_infinite_one_beside_nan_is_nan():
    for pair in ((math.inf, math.nan), (math.nan, math.inf)):
        assert math.isnan(log_kernel(*pair, 0.5))


def test_numbers_take_the_precision_of_arrays():
    single = np.float32(1.5)
    assert dl.kernel(2.0, single, 3).dtype == dl.kernel(single, 2.0, 3).dtype == jnp.float32
