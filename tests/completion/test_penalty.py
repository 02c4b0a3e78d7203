"""The penalty on singular values: its slope, its limits, its proximal map."""

import math

import mpmath
import numpy as np
import pytest
from cases import DEPTHS
from hypothesis import given
from scipy.optimize import brentq
from strategies import convex_depths, ordinary_sizes, real_depths, sizes

from deeplinear.completion.penalty import Penalty


@pytest.mark.parametrize("depth", [*DEPTHS, 1.4, 2.5, 1e6])
def test_value_is_the_integral_of_the_slope(depth):
    penalty = Penalty(depth, 0.7, 1e-3)
    mpmath.mp.dps = 30
    for s in (1e-5, 0.3, 8.0):
        exact = mpmath.quad(
            lambda t: mpmath.mpf(0.7) * (t + mpmath.mpf(1e-3)) ** (2 / mpmath.mpf(depth) - 1),
            [0, s],
        )
        assert float(penalty.value(np.array(s))) == pytest.approx(float(exact), rel=1e-12)


def test_without_smoothing_it_is_the_schatten_quasi_norm_and_the_logarithm():
    s = np.array([0.5, 2.0])
    np.testing.assert_allclose(
        Penalty(5, 1.3, 1e-60).value(s), 1.3 * 5 / 2 * s ** (2 / 5), rtol=1e-12
    )
    np.testing.assert_allclose(
        np.diff(Penalty(math.inf, 1.3, 1e-30).value(s)), 1.3 * np.log(4), rtol=1e-12
    )


@given(real_depths, ordinary_sizes, sizes)
def test_slope_is_the_power_of_the_size(depth, decay, s):
    floor = 1e-3
    exact = decay * mpmath.power(mpmath.mpf(s) + floor, 2 / mpmath.mpf(depth) - 1)
    found = Penalty(depth, decay, floor).slope(np.array([s, 0.0]))
    assert found[0] == pytest.approx(float(exact), rel=1e-12)
    assert found[1] == pytest.approx(decay * floor ** (2 / depth - 1), rel=1e-12)


@given(convex_depths, ordinary_sizes, ordinary_sizes, ordinary_sizes)
def test_convex_prox_solves_its_equation(depth, decay, z, curvature):
    """Where c z ≤ f'(0) nothing is left; at depth 2 that is soft thresholding."""
    floor = 1e-12
    derivative = lambda t: curvature * (t - z) + decay * (t + floor) ** (2 / depth - 1)  # noqa: E731
    found = float(Penalty(depth, decay, floor).prox(np.array([z]), curvature)[0])
    if derivative(0.0) >= 0:
        assert 0 <= found < 1e-15 * z
    else:
        exact = brentq(derivative, 0, z, xtol=1e-300, rtol=1e-14)
        assert found == pytest.approx(exact, rel=1e-9, abs=1e-15)
    soft = Penalty(2, decay, floor).prox(np.array([z]), curvature)
    assert float(soft[0]) == pytest.approx(max(z - decay / curvature, 0), rel=1e-9, abs=1e-14)
