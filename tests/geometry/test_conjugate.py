"""Conjugate points, against Jacobi's equation on a surface of revolution."""

import math

import numpy as np
import pytest
import scipy.integrate
from cases import slow

import deeplinear as dl
from deeplinear.geometry.conjugate import _candidates

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def rotation(angle):
    return np.cos(angle) * np.eye(2) + np.sin(angle) * TURN


def on_the_surface(u, slope, turning, t1=40.0):
    """The first zero of the normal Jacobi field at N = ∞ among positive definite 2×2 matrices.

    W = e^m R diag(e^u, e^{−u}) Rᵀ with R turned by p/2: the metric is 2 (dm² + du² + u tanh u dp²),
    a surface of revolution beside a line, and totally geodesic (the fixed points of W ↦ Wᵀ).
    """

    def squared(u):  # f², and its first two derivatives
        sech = 1 / np.cosh(u) ** 2
        first, second = np.tanh(u) + u * sech, 2 * sech * (1 - u * np.tanh(u))
        return u * np.tanh(u), first, second

    momentum = squared(u)[0] * turning
    speed = slope**2 + momentum**2 / squared(u)[0]

    def rates(t, y):
        F, first, second = squared(y[0])
        K = -(second / (2 * F) - (first / (2 * F)) ** 2)  # −f″/f
        return [y[1], 0.5 * first * (momentum / F) ** 2, y[3], -speed * K * y[2]]

    def vanishes(t, y):
        return y[2] if t > 1e-3 else 1.0

    vanishes.terminal = True
    start = [u, slope, 0.0, 1.0]
    found = scipy.integrate.solve_ivp(
        rates, (0, t1), start, "DOP853", rtol=1e-11, atol=1e-12, events=vanishes
    )
    return found.t_events[0][0]


@pytest.mark.parametrize(
    ("u", "slope", "turning"), [slow(1.5, -1.0, 0.2), slow(1.0, -1.0, 0.4), slow(2.0, -1.0, 0.05)]
)
def test_positive_definite_matrices_at_infinite_depth(u, slope, turning):
    R, s = rotation(0.4), np.exp([0.3 + u, 0.3 - u])
    W = R @ np.diag(s) @ R.T
    Z = R @ np.diag(slope * np.array([1, -1]) * s) @ R.T + turning / 2 * (TURN @ W - W @ TURN)
    found = dl.geodesic.conjugate_time(W, Z, math.inf, 20.0)
    assert found.status == dl.Status.converged
    assert found.multiplicity == 1
    assert found.t == pytest.approx(on_the_surface(u, slope, turning), rel=1e-8)
    at = dl.geodesic.exp(W, Z, math.inf, found.t).W
    np.testing.assert_allclose(found.W, at, rtol=1e-6)


@pytest.mark.slow
def test_flat_space_has_none(rng):
    found = dl.geodesic.conjugate_time(rng.normal(size=(2, 2)), rng.normal(size=(2, 2)), 1, 30.0)
    assert (found.status, found.t) == (dl.Status.reached_t1, math.inf)


def test_none_before_rank_loss():
    """At N = 2 along common singular vectors √σ moves evenly: 1 − 1.25 t reaches 0 at t = 0.8."""
    found = dl.geodesic.conjugate_time(np.eye(2), -np.diag([2.5, 0.1]), 2, 5.0, samples=500)
    assert found.status == dl.Status.left_full_rank
    assert math.isinf(found.t)
    assert 0.78 < found.searched < 0.8


def test_changes_of_sign_and_minima_are_looked_at_in_order():
    times = np.arange(8.0)
    signs = np.array([1, 1, 1, 1, 1, -1, -1, -1])
    least = np.array([0.9, 0.5, 0.1, 0.5, 0.3, 0.2, 0.5, 0.6])
    assert _candidates(times, signs, least) == [(1.0, 3.0), (4.0, 5.0)]


def test_sentences(rng):
    W = rng.normal(size=(2, 2))
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        dl.geodesic.conjugate_time(np.diag([1.0, 0.0]), W, 2)
    with pytest.raises(dl.InputError, match="one shape"):
        dl.geodesic.conjugate_time(W, np.ones((2, 3)), 2)
    with pytest.raises(dl.InputError, match="t1 > 0"):
        dl.geodesic.conjugate_time(W, W, 2, -1.0)
