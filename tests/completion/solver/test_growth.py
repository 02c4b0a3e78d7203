"""More components and more lines: what is added lowers the objective, and lines that stay, stay."""

import numpy as np
import pytest
from completion_data import observe, rmse, table

from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.penalty import Penalty
from deeplinear.completion.solver.fit import fit, make_problem, update
from deeplinear.completion.solver.growth import enlarge, grow, update_lines
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.problem import objective
from deeplinear.completion.solver.start import additive


def problem_of(seen, **options):
    with open_backend(seen, 1) as backend:
        return make_problem(seen, FitOptions(**options).for_data(seen), backend)


@pytest.mark.parametrize("bias_ridge", [None, 1.0])
def test_growing_lowers_the_objective(rng, where, bias_ridge):
    *_, seen = table(rng, 30, 20, seen=0.3)
    record = FitOptions(bias_ridge=bias_ridge).for_data(seen)
    with open_backend(seen, **where) as backend:
        problem = make_problem(seen, record, backend)
        penalty, nothing = Penalty(2, 0.3, 1e-12), additive(problem)
        grown = grow(problem, penalty, nothing, 4, slack=0.0)
        assert grown.rank == 4
        assert objective(problem, penalty, grown) < objective(problem, penalty, nothing)
        assert grow(problem, penalty, grown, 4, slack=0.0) is grown
        assert grow(problem, Penalty(2, 1e3, 1e-12), nothing, 4, slack=0.0) is nothing


def test_enlarged_fits_predict_as_before(rng):
    _, mask, X, _, _ = table(rng)
    first = fit(observe(X[:50, :35], mask[:50, :35]), strength=0.2)
    problem = problem_of(observe(X, mask))
    state = enlarge(first, problem)
    W = state.Z[:50] @ state.Y[:35].T + state.mean
    np.testing.assert_allclose(W, first.matrix(), atol=1e-10)
    assert not (state.Z[50:, : state.rank] @ state.Y[:, : state.rank].T).any()


def test_lines_that_are_not_named_stay(rng):
    *_, seen = table(rng)
    found = fit(seen, strength=0.2)
    problem = problem_of(seen)
    state = enlarge(found, problem)
    before = state.Z @ state.Y.T + state.mean
    penalty = found.penalty
    value = objective(problem, penalty, state)
    moved = update_lines(problem, penalty, state, np.array([3, 5]), np.array([7]))
    change = np.abs(moved.Z @ moved.Y.T + moved.mean - before)
    rest = np.delete(np.delete(change, [3, 5], axis=0), 7, axis=1)
    assert rest.max() < 1e-10
    assert objective(problem, penalty, moved) <= value * (1 + 1e-12)


@pytest.mark.parametrize("depth", [1.5, 2, 3, np.inf])
def test_update_with_nothing_new_changes_little(rng, depth):
    truth, mask, X, _, seen = table(rng, noise=0.1)
    found = fit(seen, depth=depth, strength=0.2)
    again = update(seen, found, [3], [7])
    assert (again.depth, again.strength, again.sweep) == (depth, 0.2, found.sweep)
    assert np.abs(again.matrix() - found.matrix()).max() < 0.05 * np.std(X[mask])
    assert rmse(again.matrix(), truth) < 1.05 * rmse(found.matrix(), truth)
