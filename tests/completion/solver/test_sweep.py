"""Sweeps: the objective never rises, on any backend, at any depth; vanishing components."""

import itertools
import math

import numpy as np
import pytest
from cases import DEPTHS
from completion_data import choose_backend, observe, table
from scipy.optimize import brentq

from deeplinear.completion.backends.base import Pass
from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.penalty import Penalty
from deeplinear.completion.solver import sweep as sweeping
from deeplinear.completion.solver.balance import balance
from deeplinear.completion.solver.convex import convex_sweep
from deeplinear.completion.solver.fit import fit, make_problem
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.problem import assemble, objective, restrict
from deeplinear.completion.solver.sweep import (
    majorizer,
    stationary_size,
    sweep,
    threshold,
    vanishing_components,
)


def values_of_sweeps(problem, penalty, state, count):
    """(objectives before each sweep and at the end, those that the sweeps report)."""
    step = sweep if penalty.depth >= 2 else convex_sweep
    values, reported = [objective(problem, penalty, state)], []
    for _ in range(count):
        value, state = step(problem, penalty, state)
        reported.append(value)
        values.append(objective(problem, penalty, state))
    return values, reported


@pytest.mark.parametrize("depth", [*DEPTHS, 2.5])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_objective_never_rises(where, depth, steps):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        *_, seen = table(rng, 30, 20, weighted=seed == 2)
        start = assemble(
            rng.normal(size=(30, 12)), rng.normal(size=(20, 12)), np.ones(12),
            np.ones(30), np.ones(20), 0.0, float,
        )  # fmt: skip
        options = FitOptions(depth=depth, bias_ridge=1.0, steps=steps).for_data(seen)
        with open_backend(seen, **where) as backend:
            problem = make_problem(seen, options, backend)
            penalty, state = Penalty(depth, 0.8, 1e-6), balance(problem, start)
            values, reported = values_of_sweeps(problem, penalty, state, 60)
        assert np.all(np.diff(values) <= 1e-12 * abs(values[0]))
        np.testing.assert_allclose(reported, values[:-1], rtol=1e-12)
        assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize("depth", [1.5, 2, 3, math.inf])
def test_every_backend_makes_the_same_fit(monkeypatch, depth):
    """Six sweeps with biases, weights and line scales."""
    *_, seen = table(np.random.default_rng(0), 20, 14, weighted=True)
    options = {"depth": depth, "strength": 0.2, "max_sweeps": 6, "tol": 0}
    if depth >= 2:
        options["max_rank"] = 6
    fits = [
        fit(seen, **options, **choose_backend(monkeypatch, kind))
        for kind in ("dense", "loops", "devices")
    ]
    for other in fits[1:]:
        assert other.rank == fits[0].rank > 0
        np.testing.assert_allclose(other.objective, fits[0].objective, rtol=1e-11)
        np.testing.assert_allclose(other.matrix(), fits[0].matrix(), atol=1e-9)
        assert other.tau == pytest.approx(fits[0].tau, rel=1e-11)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bend", [0.3, 2.0])
@pytest.mark.parametrize("depth", DEPTHS[1:])
def test_stationary_sizes_and_their_threshold(depth, bend):
    """h t + f'(t) = g by a general root finder, on the branch where the left side grows."""
    penalty = Penalty(depth, 0.7, 1e-3)
    bar = float(threshold(penalty, np.array(bend)))
    t = np.linspace(0, 5, 200_001)
    assert bar == pytest.approx(float((bend * t + penalty.slope(t)).min()), rel=1e-6)
    for g in (1.01 * bar, 2 * bar, 30 * bar):
        found = float(stationary_size(penalty, np.array([g]), bend)[0])
        least = t[np.argmin(bend * t + penalty.slope(t))]
        exact = brentq(lambda x, g=g: bend * x + float(penalty.slope(x)) - g, least, g / bend)
        assert found == pytest.approx(exact, rel=1e-6)


def test_the_majorizer_touches_at_balance_and_bounds(rng):
    """½ Σ d_k (|p̃|² + |q̃|²) + const is Σ f(s) at a balanced state, and more elsewhere."""
    *_, seen = table(rng, 30, 20)
    with open_backend(seen, 1) as backend:
        problem = make_problem(seen, FitOptions(bias_ridge=None).for_data(seen), backend)
    penalty = Penalty(3, 0.8, 1e-6)
    none = np.zeros(30), np.zeros(20)
    P, Q = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    state = balance(problem, assemble(P, Q, np.ones(4), *none, 0.0, float))
    alive = np.ones(4, bool)
    exact = float(penalty.value(state.s).sum())
    assert majorizer(problem, penalty, state, state.s, alive) == pytest.approx(exact, rel=1e-12)
    for size in (0.01, 0.3):
        moved = state.copy()
        moved.Z[:, :4] += size * rng.normal(size=(30, 4))
        above = majorizer(problem, penalty, moved, state.s, alive)
        assert above > float(penalty.value(balance(problem, moved).s).sum())


@pytest.mark.parametrize("unit", [1.0, 0.01])
def test_small_components_that_nothing_holds_up_vanish(unit):
    """Those with a stationary size stay, and so do large ones, which still explain something:
    those from 2 % of the largest on, or of the floor.
    """
    bend = 2.0
    for floor in (1e-3 * unit, 1e3 * unit):
        penalty, largest = Penalty(3, 0.7, floor), max(5 * unit, floor)
        s = np.r_[5 * unit, largest * np.array([0.02, 0.0199, 0.0199, 0.3])]
        bar = float(threshold(penalty, np.array(bend)))
        pull = np.array([0.1, 0.9, 0.9999, 1.0001, 0.9]) * bar - bend * s
        found = vanishing_components(penalty, s, Pass(0.0, pull * s, bend * s**2))
        assert found.tolist() == [5 * unit < largest, False, True, False, False]


def test_what_noise_alone_holds_up_vanishes(rng):
    """Components of pure noise go, those of the signal stay, and none comes back."""
    *_, seen = table(rng, rank=2, noise=0.5)
    ranks = []
    options = {"depth": 3, "strength": 0.4, "max_rank": 20}
    found = fit(seen, **options, callback=lambda at: ranks.append(at.rank))
    assert found.rank == 2 < ranks[0]
    assert all(after <= before for before, after in itertools.pairwise(ranks))


@pytest.mark.parametrize("bend", [0.01, 0.5, 40.0])
@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_thresholds_at_any_bend(depth, bend):
    """Where h is large, h t + f'(t) is smallest at t = 0; without a bend nothing is stationary."""
    penalty = Penalty(depth, 0.7, 0.1)
    t = np.linspace(0, 60, 600_001)
    least = (bend * t + penalty.slope(t)).min()
    found = threshold(penalty, np.array([bend, 0.0]))
    assert found[0] == pytest.approx(least, rel=1e-6)
    assert found[1] == math.inf


@pytest.fixture
def scaled(rng):
    """(problem, penalty, a balanced state of rank 6) with lines of different lengths."""
    _, mask, X, weights, _ = table(rng, 30, 20, weighted=True)
    mask[:, :8] &= rng.random((30, 8)) < 0.4
    seen = observe(X, mask, weights * mask)
    with open_backend(seen, 1) as backend:
        problem = make_problem(seen, FitOptions(depth=3).for_data(seen), backend)
    factors = rng.normal(size=(30, 6)), rng.normal(size=(20, 6))
    biases = rng.normal(size=30), rng.normal(size=20)
    start = assemble(*factors, np.ones(6), *biases, 0.3, float)
    return problem, Penalty(3, 0.8, 1e-3), balance(problem, start)


def test_the_majorizer_of_some_components_is_that_of_the_rest_taken_away(scaled, rng):
    problem, penalty, state = scaled
    s, alive = state.s, np.array([True, False, True, True, False, True])
    state.Z[:, :6] += 0.1 * rng.normal(size=(30, 6))
    some = majorizer(problem, penalty, state, s, alive)
    rest = majorizer(problem, penalty, restrict(state, alive), s[alive], np.ones(4, bool))
    assert some == pytest.approx(rest, rel=1e-12)
    P, Q = state.Z[:, :6] * problem.row_scale[:, None], state.Y[:, :6] * problem.col_scale[:, None]
    d = penalty.slope(s)
    terms = 0.5 * d * (np.square(P).sum(0) + np.square(Q).sum(0)) + penalty.value(s) - d * s
    biases = np.square(state.row_bias).sum() + np.square(state.col_bias).sum()
    ridge = 0.5 * problem.bias_ridge * biases
    assert some == pytest.approx(terms[alive].sum() + ridge, rel=1e-12)


@pytest.mark.parametrize(("gone", "kept"), [(0, 6), (3, 6), (4, 6), (5, 5)])
def test_components_are_dropped_only_where_that_lowers_the_majorizer(
    scaled, monkeypatch, gone, kept
):
    """The larger ones are held up by the entries, whatever is said of them; the last one, shrunk
    to next to nothing, is not.
    """
    problem, penalty, state = scaled
    state.Z[:, 5] *= 1e-6
    state = balance(problem, state)
    before = objective(problem, penalty, state)
    named = np.arange(6) == gone
    monkeypatch.setattr(sweeping, "vanishing_components", lambda *_: named)
    value, after = sweep(problem, penalty, state)
    assert value == pytest.approx(before, rel=1e-12)
    assert after.rank == kept
    assert objective(problem, penalty, after) < before
