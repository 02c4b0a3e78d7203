"""Balance: the same W, orthogonal factors, the singular values of W̃, biases of mean 0."""

import numpy as np
import pytest

from deeplinear.completion.backends.dense import Dense
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.balance import balance, centred
from deeplinear.completion.solver.problem import FitProblem, assemble


def problem(rng, m=40, n=30, bias_ridge=None):
    where = np.divmod(np.arange(m * n), n)
    seen = Observations.from_triples(*where, np.ones(m * n), (m, n))
    scales = rng.uniform(0.5, 2, m), rng.uniform(0.5, 2, n)
    return FitProblem(seen, *scales, bias_ridge, Dense())


def check(problem, P, Q, *, atol):
    (m, n), r = problem.observations.shape, P.shape[1]
    start = assemble(P, Q, np.ones(r), np.zeros(m), np.zeros(n), 0.0, float)
    state = balance(problem, start)
    Z, Y = state.Z[:, : state.rank], state.Y[:, : state.rank]
    W, size = P @ Q.T, np.abs(P @ Q.T).max()
    np.testing.assert_allclose(Z @ Y.T, W, atol=1e-12 * size)
    for side, scale in ((Z, problem.row_scale), (Y, problem.col_scale)):
        unit = side * scale[:, None] / np.sqrt(state.s)
        np.testing.assert_allclose(unit.T @ unit, np.eye(state.rank), atol=atol)
    scaled = problem.row_scale[:, None] * W * problem.col_scale
    exact = np.linalg.svd(scaled, compute_uv=False)[: state.rank]
    np.testing.assert_allclose(state.s, exact, atol=1e-12 * exact[0])
    return state


def test_balance_is_the_singular_value_decomposition(rng):
    P, Q = rng.normal(size=(40, 4)), rng.normal(size=(30, 4))
    assert check(problem(rng), P, Q, atol=1e-12).rank == 4
    Q[:, 3], P[:, 3] = Q[:, 0], P[:, 0]
    assert check(problem(rng), P, Q, atol=1e-12).rank == 3


def test_balance_keeps_dependent_columns(rng):
    """W is kept to rounding, and the factors are balanced, where the Gram matrices have lost all
    digits of a direction.
    """
    P, Q = rng.normal(size=(40, 6)), rng.normal(size=(30, 6))
    P[:, 1] = P[:, 0] + 1e-9 * rng.normal(size=40)
    Q[:, 3] = 1e4 * Q[:, 2] + 1e-6 * rng.normal(size=30)
    check(problem(rng), P, Q, atol=1e-9)


@pytest.mark.parametrize("move", [balance, None])
def test_means_of_biases_move_into_the_mean(rng, move):
    P, Q, a, b = (rng.normal(size=shape) for shape in ((40, 2), (30, 2), 40, 30))
    start = assemble(P, Q, np.ones(2), a, b, 0.3, float)
    before = start.Z @ start.Y.T + start.mean
    state = move(problem(rng, bias_ridge=1.0), start) if move else centred(start)
    np.testing.assert_allclose(state.Z @ state.Y.T + state.mean, before, atol=1e-12)
    assert abs(state.row_bias.mean()) < 1e-14
    assert abs(state.col_bias.mean()) < 1e-14
