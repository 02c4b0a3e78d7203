"""The quadrature along chords."""

import pytest

from deeplinear.geometry.ball_volume import chords


def test_kronrod_and_gauss_are_exact_to_their_degrees():
    for weights, degree in ((chords.KRONROD, 22), (chords.GAUSS, 13)):
        for d in range(degree + 1):
            assert weights @ chords.POINTS**d == pytest.approx((1 + (-1) ** d) / (d + 1), abs=1e-14)
