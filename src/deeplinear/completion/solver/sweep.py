"""Weight decay at depth N ≥ 2 on thin factors: the state of a fit and the sweep that lowers its
objective.

The objective, with W̃ = P̃ Q̃ᵀ of rank r, p̃_i = ρ_i p_i, q̃_j = κ_j q_j (ρ, κ: powers of the
counts, or 1),

    F = ½ Σ w_ij (μ + a_i + b_j + p_i·q_j − x_ij)² + ½ β (|a|² + |b|²) + Σ_k f(σ_k(W̃)),

f the smoothed (λN/2) σ^{2/N} (`engine.Penalty`). As in `engine`, ridge weights d_k = f'(s_k) at a
balanced point majorize F, a sweep lowers the majorizer over the rows, then the columns, and a small
SVD rebalances. All costs are linear in the number of entries, and nothing of the size of the matrix
is ever formed.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..backends import loops
from ..backends.threads import Workers
from ..data.observations import Compressed, Observations
from ..penalty import Penalty

# Components are dropped when they are vanishing_components and smaller than this part of the largest, or of the
# smoothing floor: dying ones still explain something.
SMALL = 0.02
# Eigenvalues of the Gram matrix of unit columns that are relatively smaller have lost too many
# digits.
DEPENDENT = 1e-8
# Rows per block of the dense parts.
CHUNK = 1 << 14


@dataclass(frozen=True)
class FitProblem:
    """What stays fixed during a fit: entries, line scales ρ, κ, the ridge β of the biases
    (None: no biases), CG steps.
    """

    observations: Observations
    row_scale: np.ndarray
    col_scale: np.ndarray
    bias_ridge: float | None
    workers: Workers
    steps: int = 1

    @cached_property
    def density(self) -> float:
        """The curvature Σ w_ij u_i² v_j² / (ρ_i κ_j)² of E along a typical direction, |u_i|² and
        |v_j|² proportional to the counts.

        The mean weight per entry of the matrix where all lines count alike, more where data are
        uneven.
        """
        seen = self.observations
        lines = ((seen.by_row, self.row_scale), (seen.by_col, self.col_scale))
        sides = (
            float((x.counts.astype(float) ** 2 / scale**2).sum()) / seen.nnz for x, scale in lines
        )
        return seen.weight / seen.nnz**2 * math.prod(sides)


@dataclass(frozen=True)
class State:
    """Z (m×w) and Y (n×w) as in `loops`, with r components in front; s, their weights in W̃ = U
    diag(s) Vᵀ; the mean μ.
    """

    Z: np.ndarray
    Y: np.ndarray
    s: np.ndarray
    mean: float

    @property
    def rank(self) -> int:
        return len(self.s)

    @property
    def row_bias(self) -> np.ndarray:
        return self.Z[:, self.rank]

    @property
    def col_bias(self) -> np.ndarray:
        return self.Y[:, self.rank + 1]

    def copy(self) -> "State":
        return replace(self, Z=self.Z.copy(), Y=self.Y.copy())


def assemble(
    P: np.ndarray,
    Q: np.ndarray,
    s: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    mean: float,
    dtype: Any,
) -> State:
    """A `State` from factors p_i, q_j (m×r, n×r) and biases."""
    r = P.shape[1]
    Z, Y = (np.zeros((len(side), loops.width(r)), dtype) for side in (P, Q))
    Z[:, :r], Z[:, r], Z[:, r + 1] = P, a, 1
    Y[:, :r], Y[:, r], Y[:, r + 1] = Q, 1, b
    return State(Z, Y, np.asarray(s, float), float(mean))


@dataclass(frozen=True)
class Pass:
    """What one pass over the lines saw before it moved them: E, and Σ z (R y), Σ z² (w y²) of every
    column.
    """

    energy: float
    pull: np.ndarray
    bend: np.ndarray


def solve_lines(
    lines: Compressed,
    Z: np.ndarray,
    Y: np.ndarray,
    mean: float,
    ridge: np.ndarray,
    scale: np.ndarray,
    bias: int,
    bias_ridge: float | None,
    workers: Workers,
    steps: int,
) -> Pass:
    """`loops.solve` over all blocks; ``ridge`` (r,) acts on the factors, ``bias`` is the column
    that holds the free bias.
    """
    r, w = len(ridge), Z.shape[1]
    dtype = Z.dtype
    full, extra, free = (np.zeros(w, dtype) for _ in range(3))
    full[:r], free[:r] = ridge, 1
    if bias_ridge is not None:
        extra[bias], free[bias] = bias_ridge, 1
    weight = np.square(scale).astype(dtype)
    return Pass(*workers.solve(lines, Z, Y, dtype.type(mean), full, extra, weight, free, steps))


def rows_pass(problem: FitProblem, state: State, ridge: np.ndarray, steps: int) -> Pass:
    """Move the rows (Z, in place), given the columns."""
    return solve_lines(
        problem.observations.by_row,
        state.Z,
        state.Y,
        state.mean,
        ridge,
        problem.row_scale,
        state.rank,
        problem.bias_ridge,
        problem.backend,
        steps,
    )


def cols_pass(problem: FitProblem, state: State, ridge: np.ndarray, steps: int) -> Pass:
    """Move the columns (Y, in place), given the rows."""
    return solve_lines(
        problem.observations.by_col,
        state.Y,
        state.Z,
        state.mean,
        ridge,
        problem.col_scale,
        state.rank + 1,
        problem.bias_ridge,
        problem.backend,
        steps,
    )


def chunked(lines: int) -> list[slice]:
    return [slice(lo, min(lo + CHUNK, lines)) for lo in range(0, lines, CHUNK)]


def gram(Z: np.ndarray, scale: np.ndarray, r: int) -> np.ndarray:
    """Σ_i ρ_i² z_i z_iᵀ over the first r columns, in float64."""
    total = np.zeros((r, r))
    for part in chunked(len(Z)):
        block = Z[part, :r] * scale[part, None]
        total += block.T @ block
    return total


def _root(G: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """R and S (r×r) with RᵀR = G and R S = 1, exact for graded columns; None where G does not
    determine them.
    """
    size = np.sqrt(np.maximum(np.diag(G), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(G / np.outer(size, size))
    if not (values > DEPENDENT * values.max(initial=0.0)).all():
        return None
    root = np.sqrt(values)
    return (root * vectors).T * size, vectors / root / size[:, None]


def _triangle(
    Z: np.ndarray, scale: np.ndarray, r: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R, S, X) with ρ ∘ Z = (ρ ∘ X) R and RᵀR = Σ ρ_i² z_i z_iᵀ; new factors are X S T.

    From Gram matrices (X = Z, S = R⁻¹), which is cheap, or by QR (S = 1) for columns that nearly
    depend on each other.
    """
    if (found := _root(gram(Z, scale, r))) is not None:
        return *found, Z
    Q, R = np.linalg.qr(Z[:, :r] * np.asarray(scale, float)[:, None])
    return R, np.eye(len(R)), Q / scale[:, None]


def balance(problem: FitProblem, state: State) -> State:
    """The same W̃ with P̃ = U√s, Q̃ = V√s, s decreasing, from r×r matrices (see `_triangle`); and
    biases with mean 0.

    Moving the means of a and b into μ leaves E as it is and lowers β|a|², so it is a descent step
    for μ.
    """
    r, dtype = state.rank, state.Z.dtype
    left, left_inverse, P = _triangle(state.Z, problem.row_scale, r)
    right, right_inverse, Q = _triangle(state.Y, problem.col_scale, r)
    A, s, Bt = np.linalg.svd(left @ right.T, full_matrices=False)
    keep = s > 10 * np.finfo(dtype).eps ** 2 * s.max(initial=0.0)
    A, s, B = A[:, keep], s[keep], Bt[keep].T
    root = np.sqrt(s)
    a, b = state.row_bias.astype(float), state.col_bias.astype(float)
    shift = (a.mean(), b.mean()) if problem.bias_ridge is not None else (0.0, 0.0)
    Z = _transform(P, (left_inverse @ A * root), a - shift[0], np.ones(len(a)), dtype)
    Y = _transform(Q, (right_inverse @ B * root), np.ones(len(b)), b - shift[1], dtype)
    return State(Z, Y, s, state.mean + sum(shift))


def _transform(
    Z: np.ndarray, T: np.ndarray, first: np.ndarray, second: np.ndarray, dtype: Any
) -> np.ndarray:
    new = np.zeros((len(Z), loops.width(T.shape[1])), dtype)
    T = T.astype(Z.dtype)
    for part in chunked(len(Z)):
        new[part, : T.shape[1]] = Z[part, : len(T)] @ T
    new[:, T.shape[1]], new[:, T.shape[1] + 1] = first, second
    return new


def restrict(state: State, alive: np.ndarray) -> State:
    """Only the components ``alive`` (r,)."""
    keep = np.flatnonzero(alive)
    return assemble(
        state.Z[:, keep],
        state.Y[:, keep],
        state.s[keep],
        state.row_bias,
        state.col_bias,
        state.mean,
        state.Z.dtype,
    )


def bias_penalty(problem: FitProblem, state: State) -> float:
    if problem.bias_ridge is None:
        return 0.0
    return (
        0.5
        * problem.bias_ridge
        * sum(float(np.square(x, dtype=float).sum()) for x in (state.row_bias, state.col_bias))
    )


def energy(problem: FitProblem, state: State) -> float:
    """E = ½ Σ w e², in one pass."""
    return rows_pass(problem, state, np.zeros(state.rank), 0).energy


def rounding(problem: FitProblem) -> float:
    """E of residuals that are nothing but the rounding of the values."""
    seen = problem.observations
    eps = float(np.finfo(seen.dtype).eps)
    return 0.5 * seen.weight * (16 * eps * float(np.abs(seen.by_row.values).max())) ** 2


def objective(problem: FitProblem, penalty: Penalty, state: State) -> float:
    """F at a balanced state."""
    return (
        energy(problem, state) + bias_penalty(problem, state) + float(penalty.value(state.s).sum())
    )


def _turning_point(penalty: Penalty, bend: np.ndarray) -> np.ndarray:
    """The t ≥ 0 where h t + f'(t) is smallest: t + ε = (λ (1 − 2/N)/h)^{1/(2 − 2/N)}, or 0."""
    power = 1 - 2 / penalty.depth
    with np.errstate(divide="ignore", over="ignore"):
        t = (penalty.decay * power / bend) ** (1 / (1 + power)) - penalty.floor
    return np.maximum(np.where(np.isfinite(t), t, 0.0), 0.0)


def threshold(penalty: Penalty, bend: np.ndarray) -> np.ndarray:
    """min over t ≥ 0 of h t + f'(t): below it, c = h s + pull leaves ½ h t² − c t + f(t) no
    stationary point at t > 0.
    """
    t = _turning_point(penalty, bend)
    return np.where(bend > 0, bend * t + penalty.slope(t), np.inf)


def stationary_size(penalty: Penalty, g: np.ndarray, bend: float) -> np.ndarray:
    """The larger root t of h t + f'(t) = g, the size of a component alone under the pull g; for g
    above `threshold`.
    """
    low = np.full_like(g, _turning_point(penalty, np.array(bend)))
    high = g / bend
    for _ in range(60):
        middle = (low + high) / 2
        above = bend * middle + penalty.slope(middle) > g
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high


def vanishing_components(penalty: Penalty, s: np.ndarray, seen: Pass) -> np.ndarray:
    """Small components whose own direction holds no stationary point at a positive size: they would
    shrink to nothing.
    """
    r = len(s)
    pull, bend = seen.pull[:r] / s, seen.bend[:r] / s**2
    return (pull + bend * s < threshold(penalty, bend)) & (
        s < SMALL * max(s.max(initial=0.0), penalty.floor)
    )


def majorizer(
    problem: FitProblem, penalty: Penalty, state: State, s: np.ndarray, alive: np.ndarray
) -> float:
    """½ Σ d_k (|p̃_k|² + |q̃_k|²) + Σ (f(s_k) − d_k s_k) + bias ridge, over the components
    ``alive``, with d = f'(s).
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
    """(F before the sweep, the state after it): rows, vanishing_components components out, columns, balance.
    Never raises F.

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
