"""The penalty on singular values: its slope, its limits, its proximal map."""

import math

import mpmath
import numpy as np
import pytest
from cases import DEPTHS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

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


@settings(deadline=None)
@given(st.floats(1, 2), st.floats(1e-3, 10), st.floats(1e-3, 10), st.floats(0.1, 3))
def test_convex_prox_solves_its_equation(depth, decay, z, curvature):
    penalty = Penalty(depth, decay, 1e-12)
    s = float(penalty.prox(np.array([z]), curvature)[0])
    if s == 0 or curvature * z <= float(penalty.slope(0.0)):
        assert s == pytest.approx(0, abs=1e-9)
    else:
        exact = brentq(lambda t: curvature * (t - z) + float(penalty.slope(t)), 0, z, xtol=1e-15)
        assert s == pytest.approx(exact, rel=1e-9, abs=1e-12)
