"""The sweep that lowers the objective at depth N ≥ 2.

Depth enters only through the slope f'(σ) = λ σ^{2/N−1}. With W̃ = P̃ Q̃ᵀ balanced and the ridge
weights d_k = f'(s_k) frozen at the current singular values s,

    E(PQᵀ) + ½ Σ_k d_k (|p̃_k|² + |q̃_k|²) + const  ≥  E(W) + Σ f(σ_i(W̃)),   equality at balance,

because f is concave with f(0) = 0 (so Σ f(σ_i) is subadditive over rank-one terms, Rotfel'd 1969)
and |p||q| ≤ ½(|p|² + |q|²). A sweep lowers the left side over the rows, then over the columns, then
rebalances by a small SVD: the objective never rises, and a sweep costs the same at each depth.
"""

import numpy as np

from ..backends.base import Pass
from ..penalty import Penalty
from .balance import balance, chunked
from .problem import FitProblem, State, bias_penalty, cols_pass, energy, restrict, rows_pass

# A vanishing component is dropped when it is smaller than this part of the largest, or of the
# smoothing floor: until then it still explains something.
SMALL = 0.02


def _turning_point(penalty: Penalty, bend: np.ndarray) -> np.ndarray:
    """The t ≥ 0 where h t + f'(t) is smallest: t + ε = (λ (1 − 2/N)/h)^{1/(2 − 2/N)}, or 0."""
    power = max(1 - 2 / penalty.depth, 0.0)  # up to depth 2 f' grows with t
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        t = (penalty.decay * power / bend) ** (1 / (1 + power)) - penalty.floor
    return np.maximum(t, 0.0)


def threshold(penalty: Penalty, bend: np.ndarray) -> np.ndarray:
    """min over t ≥ 0 of h t + f'(t); ∞ without a bend h.

    Where c = h s + pull is below it, ½ h t² − c t + f(t) has no stationary point at t > 0.
    """
    t = _turning_point(penalty, bend)
    with np.errstate(invalid="ignore"):  # 0 · ∞
        return np.where(bend > 0, bend * t + penalty.slope(t), np.inf)


def stationary_size(penalty: Penalty, g: np.ndarray, bend: float) -> np.ndarray:
    """The larger root t of h t + f'(t) = g, for g above `threshold`.

    It is the size of a component alone under the pull g.
    """
    low = np.full_like(g, _turning_point(penalty, np.array(bend)))
    high = g / bend
    for _ in range(60):
        middle = (low + high) / 2
        above = bend * middle + penalty.slope(middle) > g
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high


def vanishing_components(penalty: Penalty, s: np.ndarray, seen: Pass) -> np.ndarray:
    """Small components that would shrink to nothing.

    Their own direction holds no stationary point at a positive size.
    """
    r = len(s)
    pull, bend = seen.pull[:r] / s, seen.bend[:r] / s**2
    return (pull + bend * s < threshold(penalty, bend)) & (
        s < SMALL * max(s.max(initial=0.0), penalty.floor)
    )


def majorizer(
    problem: FitProblem, penalty: Penalty, state: State, s: np.ndarray, alive: np.ndarray
) -> float:
    """½ Σ d_k (|p̃_k|² + |q̃_k|²) + Σ (f(s_k) − d_k s_k) + bias ridge, with d = f'(s).

    Sums run over the components ``alive``.
    """
    r, d = len(s), penalty.slope(s)
    squares = np.zeros(r)
    for Z, scale in ((state.Z, problem.row_scale), (state.Y, problem.col_scale)):
        for part in chunked(len(Z)):
            squares += np.square(Z[part, :r] * scale[part, None]).sum(axis=0)
    return float((0.5 * d * squares + penalty.value(s) - d * s)[alive].sum()) + bias_penalty(
        problem, state
    )


def sweep(problem: FitProblem, penalty: Penalty, state: State) -> tuple[float, State]:
    """(F before the sweep, the state after it); it never raises F.

    Rows, vanishing components out, columns, balance.

    ``state`` must be balanced and may be overwritten. Components are dropped between the two
    passes, and only where that lowers the majorizer.
    """
    ridge = penalty.slope(state.s)
    bias = bias_penalty(problem, state)
    before = rows_pass(problem, state, ridge, problem.steps)
    value = before.energy + bias + float(penalty.value(state.s).sum())
    alive = ~vanishing_components(penalty, state.s, before)
    if alive.all():
        cols_pass(problem, state, ridge, problem.steps)
        return value, balance(problem, state)
    smaller = restrict(state, alive)
    everything = np.ones_like(alive)
    whole = energy(problem, state) + majorizer(problem, penalty, state, state.s, everything)
    part = energy(problem, smaller) + majorizer(problem, penalty, state, state.s, alive)
    if part <= whole:
        state, ridge = smaller, ridge[alive]
    cols_pass(problem, state, ridge, problem.steps)
    return value, balance(problem, state)
