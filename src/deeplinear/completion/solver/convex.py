"""The step for 1 ≤ N < 2, where the penalty is convex and W has full rank.

A proximal gradient step W̃ ← prox_{f/c}(W̃ + R̃/c) acts on the singular values of the dense m×n
matrix, with c the Lipschitz constant of the gradient of E; then the biases move. The objective
never rises.
"""

import numpy as np

from ..penalty import Penalty
from .balance import centred
from .problem import (
    FitProblem,
    State,
    assemble,
    cols_pass,
    objective,
    residual_matmul,
    residual_t_matmul,
    rows_pass,
)

BIAS_STEPS = 2


def convex_sweep(problem: FitProblem, penalty: Penalty, state: State) -> tuple[float, State]:
    """(F before the step, the state after it); ``state`` must be balanced."""
    m, n, r = len(state.Z), len(state.Y), state.rank
    value = objective(problem, penalty, state)
    P = state.Z[:, :r] * problem.row_scale[:, None]
    Q = state.Y[:, :r] * problem.col_scale[:, None]
    c = problem.lipschitz
    if n <= m:
        R = residual_matmul(problem, state, np.eye(n))
    else:
        R = residual_t_matmul(problem, state, np.eye(m)).T
    W = P @ Q.T + R / c
    U, z, Vt = np.linalg.svd(W.astype(float), full_matrices=False)
    s = penalty.prox(z, c)
    alive = s > 0
    root = np.sqrt(s[alive])
    new = assemble(
        U[:, alive] * root / problem.row_scale[:, None],
        Vt[alive].T * root / problem.col_scale[:, None],
        s[alive],
        state.row_bias,
        state.col_bias,
        state.mean,
        state.Z.dtype,
    )
    if problem.bias_ridge is not None:
        none = np.zeros(0)  # no component moves, only the biases
        rows_pass(problem, new, none, BIAS_STEPS)
        cols_pass(problem, new, none, BIAS_STEPS)
        new = centred(new)
    return value, new
