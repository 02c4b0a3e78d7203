"""How stationary a fit is: first-order conditions, and what of the residual nothing explains."""

import numpy as np

from ..penalty import Certificate, Penalty
from .balance import orthonormal
from .problem import FitProblem, Residual, State

# Block and number of power steps for ‖R_⊥‖₂.
BLOCK = 8
STEPS = 12


def frames(problem: FitProblem, state: State) -> tuple[np.ndarray, np.ndarray]:
    """U and V of W̃ = U diag(s) Vᵀ at a balanced state."""
    root, r = np.sqrt(state.s), state.rank
    U = state.Z[:, :r] * problem.row_scale[:, None] / root
    V = state.Y[:, :r] * problem.col_scale[:, None] / root
    return U, V


def missing(
    problem: FitProblem,
    state: State,
    residual: Residual | None = None,
    *,
    block: int = BLOCK,
    steps: int = STEPS,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The leading singular triples (A, g, B) of R̃_⊥ = (I − UUᵀ) R̃ (I − VVᵀ).

    By block power iteration: g from below. ``residual``: R̃ of the state, if there is one.
    """
    U, V = frames(problem, state)
    m, n = len(U), len(V)
    width = min(block, m - state.rank, n - state.rank)
    if width < 1:
        return np.zeros((m, 0)), np.zeros(0), np.zeros((n, 0))

    def off(X: np.ndarray, F: np.ndarray) -> np.ndarray:
        X = X - F @ (F.T @ X)
        return X - F @ (F.T @ X)

    R = Residual(problem, state) if residual is None else residual
    B = np.linalg.qr(off(np.random.default_rng(seed).normal(size=(n, width)), V))[0]
    for _ in range(steps):
        A = orthonormal(off(R.matmul(B), U))
        image = off(R.t_matmul(A), V)
        B = orthonormal(image)
    left, g, right = np.linalg.svd(image.T @ B)
    return A @ left, g, B @ right.T


def certify(problem: FitProblem, penalty: Penalty, state: State) -> Certificate:
    """The `Certificate` of a balanced state, in O(nnz · r).

    It checks R̃V = U diag f'(s), R̃ᵀU = V diag f'(s) and the bias equations.

    ``tangent`` is relative (0 is exact). ``normal`` = ‖R̃_⊥‖₂ (a lower estimate by power iteration)
    against ``limit`` = f'(0).
    """
    U, V = frames(problem, state)
    slope, R = penalty.slope(state.s), Residual(problem, state)
    # R̃V and R̃κ, R̃ᵀU and R̃ᵀρ: a column more costs little, another product does not
    rows = R.matmul(np.column_stack([V, problem.col_scale]))
    cols = R.t_matmul(np.column_stack([U, problem.row_scale]))
    parts = [rows[:, :-1] - U * slope, cols[:, :-1] - V * slope]
    scale = float(np.linalg.norm(slope))
    if problem.bias_ridge is not None:
        m, n = problem.observations.shape
        # R 1 and Rᵀ 1, in the units of the observations: undo the line scales
        of_rows, of_cols = rows[:, -1] * problem.row_scale, cols[:, -1] * problem.col_scale
        parts.append((of_rows - problem.bias_ridge * state.row_bias) / np.sqrt(n))
        parts.append((of_cols - problem.bias_ridge * state.col_bias) / np.sqrt(m))
    g = missing(problem, state, R)[1]
    normal = float(g[0]) if len(g) else 0.0
    size = scale or normal or 1.0
    tangent = float(np.sqrt(sum(float(np.vdot(part, part)) for part in parts))) / size
    return Certificate(tangent, normal, float(penalty.slope(0.0)))
