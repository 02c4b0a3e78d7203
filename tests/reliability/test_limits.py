"""The references by which ensembles are judged: an integration of nothing but NumPy and SciPy."""

import numpy as np
import pytest

import deeplinear as dl
from reliability.limits import Chart, NotArrived, Problem, judged, report


def test_the_chart_moves_as_the_flow(rng):
    # dW/dt of the chart against −A_N(E′(W)) in dense coordinates
    for seed in (0, 1, 3):
        problem = Problem.random(seed, 1)
        chart = Chart(problem, 0, 60.0)
        step = 1e-7 * chart.velocity(0.0, chart.state)
        moved = (chart.matrix(chart.state + step) - chart.matrix(chart.state - step)) / 2e-7
        W, G = problem.starts[0], np.zeros(problem.starts.shape[1:])
        G[problem.rows, problem.columns] = W[problem.rows, problem.columns] - problem.values
        expected = -np.asarray(dl.Operator(W, problem.depth)(G))
        np.testing.assert_allclose(moved, expected, atol=1e-6 * np.abs(expected).max())


def test_limits_are_judged_and_a_wrong_one_is_told():
    rows = [row for row in judged(Problem.random(0, 3), 2, 30.0) if row is not None]
    assert rows
    true, stated, asked = np.array(rows).T
    assert np.all(true < 3 * stated)
    assert report(true, stated, asked, 0) == 0
    assert report(true + 1.0, stated, asked, 0) == 1


def test_a_reference_that_takes_too_long_is_none():
    with pytest.raises(NotArrived):
        Chart(Problem.random(1, 1), 0, 0.0).limit(1e3, 1e-9)
