"""Aligned singular values in closed form, against quadrature in 30 digits and against flows."""

import math

import mpmath
import numpy as np
import pytest

import deeplinear as dl

DEPTHS = [1, 1.5, 2, 2.5, 3, 10, math.inf]


def time_in_30_digits(x0, x, s, depth):
    """∫ dx/(x^{2−2ν}(s − x)) in u = log(x/|s − x|), where dt = x^{2ν−1} du / s."""
    with mpmath.workdps(30):
        nu = mpmath.mpf(0) if math.isinf(depth) else 1 / mpmath.mpf(depth)
        x0, x, s = map(mpmath.mpf, (x0, x, s))
        sign = 1 if x0 < s else -1
        u = [mpmath.log(y / abs(s - y)) for y in (x0, x)]
        speed = lambda u: (s / (1 + sign * mpmath.exp(-u))) ** (2 * nu - 1) / s  # noqa: E731
        return mpmath.quad(speed, mpmath.linspace(*u, 9))


def generic(seed):
    """A start, a point on its way, and the target: from below and from above, near and far."""
    rng = np.random.default_rng(seed)
    s = 10 ** rng.uniform(-2, 2)
    x0 = s * 10 ** (rng.uniform(-6, -0.01) if seed % 2 else rng.uniform(0.01, 3))
    way = rng.random() ** 2 if rng.random() < 0.5 else 1 - 10 ** rng.uniform(-9, 0)
    return x0, x0 + (s - x0) * way, s


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("seed", range(6))
def test_times_against_quadrature(depth, seed):
    x0, x, s = generic(seed)
    exact = float(time_in_30_digits(x0, x, s, depth))
    assert float(dl.exact.aligned_time(x0, x, s, depth)) == pytest.approx(exact, rel=1e-13)
    # a last digit of the time moves σ by its speed times that
    speed = x ** (2 - 2 / depth) * abs(s - x)
    tolerance = 1e-14 * x + 4e-16 * exact * speed
    assert abs(float(dl.exact.aligned(x0, s, depth, exact)) - x) < 10 * tolerance


def test_at_depths_1_and_2_against_formulas():
    x0, s, t = np.array([0.1, 0.5, 2.0])[:, None], 1.3, np.array([0.0, 0.2, 3.0, 700.0])
    one = s + (x0 - s) * np.exp(-t)
    np.testing.assert_allclose(dl.exact.aligned(x0, s, 1, t), one, rtol=1e-14)
    two = s / (1 + (s / x0 - 1) * np.exp(-s * t))
    np.testing.assert_allclose(dl.exact.aligned(x0, s, 2, t), two, rtol=1e-14)


def test_a_target_of_zero_and_what_does_not_move():
    t = np.array([0.0, 0.5, 20.0])
    for depth in DEPTHS:
        q = 2 - 2 / depth
        law = 2 * np.exp(-t) if q == 0 else (2.0**-q + q * t) ** (-1 / q)
        np.testing.assert_allclose(dl.exact.aligned(2.0, 0.0, depth, t), law, rtol=1e-14)
        assert np.all(dl.exact.aligned(0.7, 0.7, depth, t) == 0.7)
    assert np.all(dl.exact.aligned(0.0, 1.0, 3, t) == 0)
    np.testing.assert_allclose(dl.exact.aligned(0.0, 1.0, 1, t), 1 - np.exp(-t))


@pytest.mark.parametrize("depth", [1.5, 3, math.inf])
def test_against_the_flow_of_the_matrix(depth):
    """Singular values of a 3×2 flow whose start has the target's singular vectors."""
    rng = np.random.default_rng(5)
    U = np.linalg.qr(rng.normal(size=(3, 2)))[0]
    V = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    start, target, t = np.array([0.4, 0.1]), np.array([2.0, 0.7]), 1.7
    energy = dl.Completion.from_dense(U * target @ V.T)
    flow = dl.gradient_flow(energy, U * start @ V.T, depth, t1=t, rtol=1e-10, atol=1e-13)
    expected = np.sort(dl.exact.aligned(start, target, depth, t))[::-1]
    np.testing.assert_allclose(flow.singular_values, expected, rtol=1e-7)


def test_switching_on():
    """Half way: log(s/σ_0)/s at depth 2, a power of the start deeper."""
    x0 = 1e-8
    assert dl.exact.aligned_time(x0, 0.5, 1.0, 2) == pytest.approx(-math.log(x0), rel=1e-7)
    power = x0 ** -(1 - 2 / 3) / (1 - 2 / 3)
    assert dl.exact.aligned_time(x0, 0.5, 1.0, 3) == pytest.approx(power, rel=0.02)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: dl.exact.aligned(-1.0, 1.0, 2, 1.0), "^sigma0 must be finite and ≥ 0"),
        (lambda: dl.exact.aligned(1.0, np.nan, 2, 1.0), "^target must be finite and ≥ 0"),
        (lambda: dl.exact.aligned(1.0, 1.0, 0.5, 1.0), "depth"),
        (lambda: dl.exact.aligned_time(0.0, 0.5, 1.0, 2), "^sigma0 and sigma must be positive"),
        (lambda: dl.exact.aligned_time(0.1, 1.5, 1.0, 2), "^sigma must lie between sigma0 and"),
        (lambda: dl.exact.aligned_time(0.5, 0.1, 1.0, 2), "^sigma must lie between sigma0 and"),
    ],
)
def test_sentences(call, sentence):
    with pytest.raises((dl.InputError, dl.DepthError), match=sentence):
        call()


def test_times_to_a_target_of_zero_and_at_depth_1():
    for depth in DEPTHS:
        x = dl.exact.aligned(2.0, 0.0, depth, 0.7)
        assert float(dl.exact.aligned_time(2.0, x, 0.0, depth)) == pytest.approx(0.7, rel=1e-12)
    assert float(dl.exact.aligned_time(0.0, 0.5, 1.0, 1)) == pytest.approx(math.log(2), rel=1e-14)
    # small values keep their digits at depth 1
    small = dl.exact.aligned(1e-11, 6.6, 1, 1.5e-12)
    assert float(small) == pytest.approx(1e-11 + 6.6 * 1.5e-12, rel=1e-11)
    with pytest.raises(dl.InputError, match="must broadcast"):
        dl.exact.aligned([0.1, 0.2], [1.0, 2.0, 3.0], 2, 1.0)
