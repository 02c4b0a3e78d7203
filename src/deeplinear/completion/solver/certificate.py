"""How stationary a fit is: first-order conditions, and what of the residual nothing explains."""

import numpy as np

from ..penalty import Certificate, Penalty
from .balance import orthonormal
from .problem import FitProblem, Residual, Sight, State, project_out

# Block and number of power steps for the triples of R̃_⊥; Golub–Kahan steps for ‖R̃_⊥‖₂.
BLOCK = 8
STEPS = 12
NORM_STEPS = 8


def frames(problem: FitProblem, state: State) -> tuple[np.ndarray, np.ndarray]:
    """U and V of W̃ = U diag(s) Vᵀ at a balanced state."""
    root, r = np.sqrt(state.s), state.rank
    U = state.Z[:, :r] * problem.row_scale[:, None] / root
    V = state.Y[:, :r] * problem.col_scale[:, None] / root
    return U, V


def missing(
    problem: FitProblem,
    state: State,
    *,
    block: int = BLOCK,
    steps: int = STEPS,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The leading singular triples (A, g, B) of R̃_⊥ = (I − UUᵀ) R̃ (I − VVᵀ).

    By block power iteration: g from below.
    """
    U, V = frames(problem, state)
    m, n = len(U), len(V)
    width = min(block, m - state.rank, n - state.rank)
    if width < 1:
        return np.zeros((m, 0)), np.zeros(0), np.zeros((n, 0))

    R = Residual(problem, state)
    B = np.linalg.qr(project_out(np.random.default_rng(seed).normal(size=(n, width)), V))[0]
    for _ in range(steps):
        A = orthonormal(project_out(R.matmul(B), U))
        image = project_out(R.t_matmul(A), V)
        B = orthonormal(image)
    left, g, right = np.linalg.svd(image.T @ B)
    return A @ left, g, B @ right.T


def certify(
    problem: FitProblem, penalty: Penalty, state: State, sight: Sight | None = None
) -> Certificate:
    """The `Certificate` of a balanced state, in O(nnz · r).

    It checks R̃V = U diag f'(s), R̃ᵀU = V diag f'(s) and the bias equations.

    ``tangent`` is relative (0 is exact). ``normal`` = ‖R̃_⊥‖₂ (a lower estimate by Golub–Kahan
    steps) against ``limit`` = f'(0). ``sight``: that of the state, if there is one.
    """
    U, V = frames(problem, state)
    R, root, r = Sight(problem, state) if sight is None else sight, np.sqrt(state.s), state.rank
    slope, (m, n) = penalty.slope(state.s), problem.observations.shape
    # R̃V = diag(1/ρ) R Q/√s and R̃ᵀU, for V = κ ∘ Q/√s
    parts = [
        R.of_rows[:, :r] / problem.row_scale[:, None] / root - U * slope,
        R.of_cols[:, :r] / problem.col_scale[:, None] / root - V * slope,
    ]
    scale = float(np.linalg.norm(slope))
    if problem.bias_ridge is not None:  # R 1 and Rᵀ 1: the sides have a column of ones
        of_rows, of_cols = R.of_rows[:, r], R.of_cols[:, r + 1]
        parts.append((of_rows - problem.bias_ridge * state.row_bias) / np.sqrt(n))
        parts.append((of_cols - problem.bias_ridge * state.col_bias) / np.sqrt(m))
    normal = R.norm(0, NORM_STEPS, (U, V)) if r < min(m, n) else 0.0
    size = scale or normal or 1.0
    tangent = float(np.sqrt(sum(float(np.vdot(part, part)) for part in parts))) / size
    return Certificate(tangent, normal, float(penalty.slope(0.0)))
