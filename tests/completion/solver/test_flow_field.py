"""The field on factors, and its steps: their polynomial, and the rate that their number follows."""

import math

import numpy as np
import pytest
from oracles import operator_matrix

from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import make_problem
from deeplinear.completion.solver.flow_field import MARGIN, FlowField, Point
from deeplinear.completion.solver.flow_steps import Stepper, _stages, between
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.start import additive


def stability(z, count):
    """R(z): a step of y′ = (z/h) y from 1."""
    before, here, first = 1.0, 1.0, 1.0
    for mu, nu, rate, own in _stages(count):
        new = (1 - mu - nu) * first + mu * here + nu * before + z * (rate * here + own * first)
        before, here = here, new
    return here


@pytest.mark.parametrize("count", [2, 3, 5, 12, 60])
def test_steps_are_of_second_order_and_stable_as_far_as_promised(count):
    z = np.array([-2e-3, -1e-3])
    third = (stability(z, count) - np.exp(z)) / z**3
    np.testing.assert_allclose(third[0], third[1], rtol=0.05)
    assert np.abs(third).max() < 0.2
    # of 1 + ⌊√(1 + 1.54 hρ)⌋ stages
    reach = (count**2 - 1) / 1.54
    assert np.abs(stability(-np.linspace(0.01, reach, 2_000), count)).max() <= 1 + 1e-9


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_the_stiffest_rate_is_about_that_of_the_linearized_flow(depth, rng):
    m, n = 12, 9
    mask = rng.random((m, n)) < 0.6
    rows, cols = np.nonzero(mask)
    seen = Observations.from_triples(rows, cols, rng.normal(size=len(rows)), (m, n))
    U, V = (np.linalg.qr(rng.normal(size=(side, n)))[0] for side in (m, n))
    s = np.geomspace(5, 1e-3, n)
    options = FitOptions(depth=depth, max_rank=n, bias_ridge=None).for_data(seen, flow=True)
    with open_backend(seen, None, "cpu") as backend:
        problem = make_problem(seen, options, backend)
        field = FlowField(problem, depth, additive(problem), 1e-3)
        found = field.stiffness(Point(np.vstack([U, V]) * np.sqrt(s), s, m, 0.0, 0.0))
    A = operator_matrix((U * s) @ V.T, depth)
    rate = np.linalg.eigvals(A * mask.ravel()).real.max()
    assert rate <= found <= 3 * MARGIN * rate


@pytest.fixture
def opened(rng):
    """A function of the depth that gives a field, factors in a turned frame, and the residual."""
    m, n, r = 12, 9, 5
    mask = rng.random((m, n)) < 0.6
    rows, cols = np.nonzero(mask)
    seen = Observations.from_triples(rows, cols, rng.normal(size=len(rows)), (m, n))
    U, V = (np.linalg.qr(rng.normal(size=(side, r)))[0] for side in (m, n))
    s = np.array([5, 2, 2, 0.3, 0.01])  # two of them meet
    turn = np.linalg.qr(rng.normal(size=(r, r)))[0]
    X = (np.vstack([U, V]) * np.sqrt(s)) @ turn
    target = np.zeros((m, n))
    target[rows, cols] = seen.by_row.values
    residual = target - mask * (X[:m] @ X[m:].T)
    with open_backend(seen, None, "cpu") as backend:

        def field(depth):
            fixed = {"bias_ridge": None, "weighted_trace_norm": 0.0}
            options = FitOptions(depth=depth, max_rank=r, **fixed).for_data(seen, flow=True)
            problem = make_problem(seen, options, backend)
            return FlowField(problem, depth, additive(problem), 0.01)

        yield field, X, residual, s


@pytest.mark.parametrize("depth", [1, 1.5, 2, 3, 6])
def test_the_field_is_that_of_the_network_and_keeps_the_balance(opened, depth):
    """Ẇ = A_{N,W}(R) of the dense operator; PᵀP − QᵀQ stays 0."""
    make, X, residual, _ = opened
    m, n = residual.shape
    P, Q = X[:m], X[m:]
    slope = make(depth).velocity(X)
    A = operator_matrix(P @ Q.T, depth)
    expected = (A @ residual.ravel()).reshape(m, n)
    found = slope[:m] @ Q.T + P @ slope[m:].T
    if depth < 2:  # where columns outside of the rank would join: the field keeps to it
        U, V = (np.linalg.qr(side)[0] for side in (P, Q))
        outside = (np.eye(m) - U @ U.T) @ expected @ (np.eye(n) - V @ V.T)
        expected = expected - outside
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    drift = P.T @ slope[:m] - Q.T @ slope[m:]
    np.testing.assert_allclose(drift + drift.T, 0, atol=1e-9 * np.abs(slope).max())
    if depth == 2:
        np.testing.assert_allclose(slope[:m], residual @ Q / 2, atol=1e-12)


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_settled_factors_are_those_of_the_same_matrix(opened, rng, depth):
    """At balance up to rounding of the second order, also from factors that are far from it."""
    make, X, _, _ = opened
    field, m = make(depth), 12
    for size, far in ((1e-4, 1e-6), (0.3, 1e-12)):  # to first order, and exactly
        G = np.eye(5) + size * rng.normal(size=(5, 5))
        Y = np.vstack([X[:m] @ G, X[m:] @ np.linalg.inv(G).T])
        new, slope, s, uneven = field.settled(Y, field.velocity(Y))
        np.testing.assert_allclose(new[:m] @ new[m:].T, X[:m] @ X[m:].T, atol=1e-12)
        for side in (new[:m], new[m:]):
            np.testing.assert_allclose(side.T @ side, np.diag(s), atol=20 * far)
        exact = field.velocity(new)
        assert (uneven < 1e-3) == (size < 1e-3)
        assert uneven > 1e-3 or np.abs(slope - exact).max() < 30 * size * np.abs(X).max()


def test_the_size_of_a_change_and_the_cubic_through_a_step(opened, rng):
    make, X, _, s = opened
    field, m = make(3), 12
    change = rng.normal(size=X.shape)
    W = change[:m] @ X[m:].T + X[:m] @ change[m:].T
    assert field.size(X, change) == pytest.approx(np.linalg.norm(W), rel=1e-10)
    X, slope, s, _ = field.settled(X, field.velocity(X))
    stepper = Stepper(3, 1e-4)
    whole = stepper.step(field, Point(X, s, m, 0.0, 0.0), 0.02, slope)
    half = stepper.step(field, Point(X, s, m, 0.0, 0.0), whole.h / 2, slope)
    assert whole.error < 1
    new = between(X, slope, whole, 0.5)
    np.testing.assert_allclose(new, half.X, atol=1e-3 * np.abs(half.X - X).max())


@pytest.mark.parametrize("size", [1e200, math.inf, math.nan])
def test_a_step_that_went_too_far_is_no_error(opened, size):
    make, X, _, s = opened
    field = make(3)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(field.velocity(X * size)).all()
        X, slope, s, _ = field.settled(X, field.velocity(X))
        step = Stepper(3, 1e-4).step(field, Point(X, s, 12, 0.0, 0.0), 1.0, slope * size)
    assert not step.error < 1
