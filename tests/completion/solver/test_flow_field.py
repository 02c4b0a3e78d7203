"""The field on factors, and its steps: their polynomial, and the rate that their number follows."""

import math

import numpy as np
import pytest
from oracles import operator_matrix

from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import make_problem
from deeplinear.completion.solver.flow_field import MARGIN, TURNED, Curvature, FlowField, Point
from deeplinear.completion.solver.flow_steps import (
    REACH,
    STABILIZED,
    STAGES,
    Stepper,
    _stages,
    between,
)
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
    at = Point(X, s, m, 0.0, 0.0)
    stepper = Stepper(3, 1e-4, 0.02)
    whole = stepper.step(field, at, stepper.plan(field, at, math.inf, slope), slope)
    half = stepper.step(field, at, stepper.plan(field, at, whole.h / 2, slope), slope)
    assert whole.error < 1
    assert whole.energy == pytest.approx(field.energy(whole.X), rel=1e-12)
    new = between(X, slope, whole, 0.5)
    np.testing.assert_allclose(new, half.X, atol=1e-3 * np.abs(half.X - X).max())


def test_steps_are_stable_and_by_the_method_that_goes_further(opened):
    """A long stabilized one where accuracy lets it, one of order 5 where a stabilized one erred."""
    make, X, _, _ = opened
    field = make(3)
    X, slope, s, _ = field.settled(X, field.velocity(X))
    at = Point(X, s, 12, 0.0, field.energy(X))
    rate = field.stiffness(at)
    plan = Stepper(3, 1e6, 1e3 / rate).plan(field, at, math.inf, 0 * slope)
    assert plan.h * rate <= 0.65 * plan.velocities**2
    assert plan.h * rate > 900
    strict = Stepper(3, 1e-12, 10 / rate)
    for _ in range(3):
        erred = strict.plan(field, at, math.inf, slope)
        assert erred.method == STABILIZED
        assert not strict.step(field, at, erred, slope).error < 1
        again = strict.plan(field, at, math.inf, slope)
        if again.method != STABILIZED:
            break
        assert again.h < erred.h
    assert again.h * rate <= REACH
    assert again.velocities == STAGES
    strict.limit(again.h / 3)
    assert strict.plan(field, at, math.inf, slope).h == strict.h == again.h / 3


def test_the_curvature_along_singular_vectors_that_turn(opened):
    """Found anew where they have turned by more than `TURNED`."""
    make, X, residual, _ = opened
    entries, m = make(3).entries, 12
    mask = np.zeros(residual.shape)
    mask[np.repeat(np.arange(m), np.bincount(entries[0][0], minlength=m)), entries[0][1]] = 1
    U, V = (np.linalg.qr(side)[0] for side in (X[:m], X[m:]))
    curvature = Curvature(entries)
    for turn in (0.0, 0.5 * TURNED, 0.5, 0.51):
        u, v = (math.cos(turn) * F[:, 0] + math.sin(turn) * F[:, 1] for F in (U, V))
        rows, cols = mask @ v**2, u**2 @ mask
        exact = u**2 @ rows, max(rows.max(), cols.max())
        near = 1e-12 if turn in (0.0, 0.5) else 0.1
        assert curvature.along(u, v) == pytest.approx(exact, rel=near)
        assert curvature.along(-u, v) == pytest.approx(exact, rel=near)


@pytest.mark.parametrize("size", [1e200, math.inf, math.nan])
def test_a_step_that_went_too_far_is_no_error(opened, size):
    make, X, _, s = opened
    field = make(3)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(field.velocity(X * size)).all()
        X, slope, s, _ = field.settled(X, field.velocity(X))
        at, stepper = Point(X, s, 12, 0.0, 0.0), Stepper(3, 1e-4, 1.0)
        slope = slope * size
        step = stepper.step(field, at, stepper.plan(field, at, math.inf, slope), slope)
    assert not step.error < 1
