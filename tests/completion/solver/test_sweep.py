"""Sweeps: the objective never rises, on any backend, at any depth; vanishing components."""

import itertools
import math

import numpy as np
import pytest
from cases import DEPTHS
from completion_data import choose_backend, table
from scipy.optimize import brentq

from deeplinear.completion.backends.base import Pass
from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.penalty import Penalty
from deeplinear.completion.solver.balance import balance
from deeplinear.completion.solver.convex import convex_sweep
from deeplinear.completion.solver.fit import fit, make_problem
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.problem import assemble, objective
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
@pytest.mark.parametrize("depth", DEPTHS[1:])
def test_stationary_sizes_and_their_threshold(depth):
    """h t + f'(t) = g by a general root finder, on the branch where the left side grows."""
    penalty, bend = Penalty(depth, 0.7, 1e-3), 2.0
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


def test_small_components_that_nothing_holds_up_vanish():
    """Those with a stationary size stay, and so do large ones, which still explain something."""
    penalty, s, bend = Penalty(3, 0.7, 1e-3), np.array([5.0, 0.01, 0.01, 0.3]), 2.0
    bar = float(threshold(penalty, np.array(bend)))
    pull = np.array([0.1, 0.9, 1.1, 0.9]) * bar - bend * s
    seen = Pass(0.0, pull * s, bend * s**2)
    assert vanishing_components(penalty, s, seen).tolist() == [False, True, False, False]


def test_what_noise_alone_holds_up_vanishes(rng):
    """Components of pure noise go, those of the signal stay, and none comes back."""
    *_, seen = table(rng, rank=2, noise=0.5)
    ranks = []
    options = {"depth": 3, "strength": 0.4, "max_rank": 20}
    found = fit(seen, **options, callback=lambda at: ranks.append(at.rank))
    assert found.rank == 2 < ranks[0]
    assert all(after <= before for before, after in itertools.pairwise(ranks))
