"""How a state comes by more lines and more components."""

import numpy as np

from ...errors import InputError
from ..penalty import Penalty
from .balance import balance
from .certificate import frames, missing
from .options import FitOptions
from .problem import FitProblem, State, assemble, cols_pass, rows_pass
from .result import LowRankFit
from .schedule import penalty_at
from .start import POWER_STEPS, exact_line_search, noise_scale
from .sweep import stationary_size, threshold

# Components that may be added at a time.
GROWTH = 24
# A component stands out of the noise when it is this much above what noise would reach: the norm
# is found 2 % short (that of one spike just above many others up to a tenth), and the largest
# singular value of a small random matrix varies by some 5 %.
CLEAR = 1.15


def enlarge(start: LowRankFit, problem: FitProblem) -> State:
    """The iterate of ``start`` on a matrix that may have more rows and columns, balanced."""
    (m, n), old = problem.observations.shape, start.shape
    if old[0] > m or old[1] > n:
        raise InputError(f"start must not be larger than the observations {(m, n)}, got {old}.")
    rows, cols = (0, m - old[0]), (0, n - old[1])
    state = assemble(
        np.pad(start.left, (rows, (0, 0))),
        np.pad(start.right, (cols, (0, 0))),
        start.spectrum,
        np.pad(start.row_bias, rows),
        np.pad(start.col_bias, cols),
        start.mean,
        problem.observations.dtype,
    )
    return balance(problem, state)


def add_significant_components(
    problem: FitProblem, options: FitOptions, tau: float, state: State
) -> State:
    """Add what new entries have brought.

    Triples of R̃_⊥ that the penalty lets live and that stand out of the noise.

    The noise is what random signs leave of R̃ now. A weak penalty alone would let all of it in,
    which early stopping or the way down from depth 2 had kept out.
    """
    noise = noise_scale(problem, state, options.seed)
    penalty = penalty_at(problem, options, tau, options.depth)
    return grow(
        problem,
        penalty,
        state,
        options.rank_cap,
        slack=0.0,
        steps=2 * POWER_STEPS,
        least=CLEAR * noise,
    )


def update_lines(
    problem: FitProblem, penalty: Penalty, state: State, rows: np.ndarray, cols: np.ndarray
) -> State:
    """A sweep in which only the lines ``rows`` and ``cols`` (codes) move. It never raises F."""
    ridge = penalty.slope(state.s)
    moved = state.copy()
    rows_pass(problem, moved, ridge, problem.steps)
    state.Z[rows] = moved.Z[rows]
    moved = state.copy()
    cols_pass(problem, moved, ridge, problem.steps)
    state.Y[cols] = moved.Y[cols]
    return balance(problem, state)


def grow(
    problem: FitProblem,
    penalty: Penalty,
    state: State,
    max_rank: int,
    *,
    slack: float,
    steps: int = 12,
    least: float = 0.0,
) -> State:
    """Add the triples of R̃_⊥ that can live under ``penalty`` and lie above ``least``.

    At depth 2 these are the ones above λ.

    They begin at the size at which they are stationary alone.
    """
    room = max_rank - state.rank
    if room <= 0:
        return state
    A, g, B = missing(problem, state, block=min(room + 4, GROWTH), steps=steps)
    bar = max(float(threshold(penalty, np.array(problem.density))) * (1 + slack), least)
    new = np.flatnonzero(g > bar)[:room]
    if not len(new):
        return state
    U, V = frames(problem, state)
    s = np.r_[state.s, stationary_size(penalty, g[new], problem.density)]
    P = np.c_[U, A[:, new]] * np.sqrt(s) / problem.row_scale[:, None]
    Q = np.c_[V, B[:, new]] * np.sqrt(s) / problem.col_scale[:, None]
    larger = assemble(P, Q, s, state.row_bias, state.col_bias, state.mean, state.Z.dtype)
    return balance(problem, exact_line_search(problem, state, larger))
