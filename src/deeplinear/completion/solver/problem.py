"""The problem that a fit solves, an iterate of it, and the passes over the entries.

The objective, with W̃ = P̃ Q̃ᵀ of rank r, p̃_i = ρ_i p_i, q̃_j = κ_j q_j (ρ, κ: powers of the
counts, or 1),

    F = ½ Σ w_ij (μ + a_i + b_j + p_i·q_j − x_ij)² + ½ β (|a|² + |b|²) + Σ_k f(σ_k(W̃)),

f the smoothed (λN/2) σ^{2/N} of `Penalty`. All costs are linear in the number of entries of the
backend, and nothing else of the size of the matrix is formed.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike

from ..backends.base import AbstractBackend, Look, Pass, Product, side, width
from ..data.observations import Compressed, Observations
from ..linalg import norm_from_below
from ..loss import Losses
from ..penalty import Penalty

# The relative error of a product with R̃ in units of the precision, at most.
_BLUR = 16


@dataclass(frozen=True)
class FitProblem:
    """What stays fixed during a fit.

    The entries; the line scales ρ, κ; the ridge β of the biases (None: no biases); the backend; the
    conjugate-gradient steps per line and sweep; the losses, with which the backend sees the
    entries (None: squared errors).
    """

    observations: Observations
    row_scale: np.ndarray
    col_scale: np.ndarray
    bias_ridge: float | None
    backend: AbstractBackend
    steps: int = 1
    losses: Losses | None = None

    @cached_property
    def density(self) -> float:
        """The curvature Σ w_ij u_i² v_j² / (ρ_i κ_j)² of E along a typical direction.

        |u_i|² and |v_j|² are proportional to the counts.

        The mean weight per entry of the matrix where all lines count alike, more where data are
        uneven.
        """
        seen = self.observations
        lines = ((seen.by_row, self.row_scale), (seen.by_col, self.col_scale))
        sides = (
            float((x.counts.astype(float) ** 2 / scale**2).sum()) / seen.nnz for x, scale in lines
        )
        return seen.weight / seen.nnz**2 * math.prod(sides)

    @cached_property
    def lipschitz(self) -> float:
        """max w_ij / (ρ_i κ_j)²: the Lipschitz constant of the gradient of E along W̃."""
        lines = self.observations.by_row
        row = np.repeat(self.row_scale, lines.counts)
        curvature = 1 / np.square(row * self.col_scale[lines.indices], dtype=float)
        return float((lines.weights * curvature if lines.weights.size else curvature).max())


@dataclass(frozen=True)
class State:
    """An iterate: the sides Z (m×w) and Y (n×w) of `AbstractBackend`, and the mean μ.

    The r components are in front; s are their weights in W̃ = U diag(s) Vᵀ.
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
    dtype: DTypeLike,
) -> State:
    """A `State` from factors p_i, q_j (m×r, n×r) and biases."""
    r = P.shape[1]
    Z, Y = (side(len(factor), width(r), dtype) for factor in (P, Q))
    Z[:, :r], Z[:, r], Z[:, r + 1] = P, a, 1
    Y[:, :r], Y[:, r], Y[:, r + 1] = Q, 1, b
    return State(Z, Y, np.asarray(s, float), float(mean))


def solve_lines(
    backend: AbstractBackend,
    lines: Compressed,
    sides: tuple[np.ndarray, np.ndarray],
    mean: float,
    ridge: np.ndarray,
    scale: np.ndarray,
    bias: tuple[int, float | None],
    steps: int,
) -> Pass:
    """`AbstractBackend.solve` for ``sides`` = (Z, Y), of which Z moves, in place.

    ``ridge`` (r,) acts on the factors, times the squares of ``scale``; ``bias`` is the column that
    holds the free bias, and its ridge (None: it does not move).
    """
    Z, Y = sides
    r, w, dtype = len(ridge), Z.shape[1], Z.dtype
    full, extra, free = (np.zeros(w, dtype) for _ in range(3))
    full[:r], free[:r] = ridge, 1
    column, bias_ridge = bias
    if bias_ridge is not None:
        extra[column], free[column] = bias_ridge, 1
    weight = np.square(scale).astype(dtype)
    return backend.solve(lines, Z, Y, dtype.type(mean), full, extra, weight, free, steps)


def rows_pass(problem: FitProblem, state: State, ridge: np.ndarray, steps: int) -> Pass:
    """Move the rows (Z, in place), given the columns; an empty ``ridge`` moves the biases alone."""
    lines, bias = problem.observations.by_row, (state.rank, problem.bias_ridge)
    sides = state.Z, state.Y
    backend, scale = problem.backend, problem.row_scale
    if not state.rank and bias[1] is not None:
        mean = state.Z.dtype.type(state.mean)
        return backend.solve_biases(lines, *sides, mean, bias[0], bias[1], steps)
    return solve_lines(backend, lines, sides, state.mean, ridge, scale, bias, steps)


def cols_pass(problem: FitProblem, state: State, ridge: np.ndarray, steps: int) -> Pass:
    """Move the columns (Y, in place), given the rows; an empty ``ridge`` moves the biases alone."""
    lines, bias = problem.observations.by_col, (state.rank + 1, problem.bias_ridge)
    sides = state.Y, state.Z
    backend, scale = problem.backend, problem.col_scale
    if not state.rank and bias[1] is not None:
        mean = state.Z.dtype.type(state.mean)
        return backend.solve_biases(lines, *sides, mean, bias[0], bias[1], steps)
    return solve_lines(backend, lines, sides, state.mean, ridge, scale, bias, steps)


class Residual:
    """R̃ = diag(1/ρ) (w ∘ residual) diag(1/κ) = −∂E/∂W̃ (m×n) at one state, for many products.

    ``seed`` > 0 randomizes the signs of the residuals. What the backend keeps for it (two numbers
    per entry at most) goes with it.
    """

    def __init__(self, problem: FitProblem, state: State, seed: int = 0) -> None:
        seen, mean = problem.observations, state.Z.dtype.type(state.mean)
        products = problem.backend.products
        rows = products(seen.by_row, state.Z, state.Y, mean, seed)
        cols = products(seen.by_col, state.Y, state.Z, mean, seed)
        self._of(problem, state, rows, cols)

    def _of(self, problem: FitProblem, state: State, rows: Product, cols: Product) -> None:
        self._problem, self._dtype, self._rows, self._cols = problem, state.Z.dtype, rows, cols

    def matmul(self, X: np.ndarray) -> np.ndarray:
        """R̃ X (m×k) for X (n×k)."""
        rows, cols = self._problem.row_scale, self._problem.col_scale
        return self._rows(self._scaled(X, cols)) / rows[:, None]

    def t_matmul(self, X: np.ndarray) -> np.ndarray:
        """R̃ᵀ X (n×k) for X (m×k)."""
        rows, cols = self._problem.row_scale, self._problem.col_scale
        return self._cols(self._scaled(X, rows)) / cols[:, None]

    def norm(
        self, seed: int, steps: int, off: tuple[np.ndarray, np.ndarray] | None = None
    ) -> float:
        """‖R̃‖₂ by `norm_from_below`, from a random start.

        ``off`` = (U, V), orthonormal: that of (I − UUᵀ) R̃ (I − VVᵀ).
        """
        n = len(self._problem.col_scale)
        none = np.zeros((len(self._problem.row_scale), 0)), np.zeros((n, 0))
        U, V = none if off is None else off
        start = project_out(np.random.default_rng(seed).normal(size=n), V)
        return norm_from_below(
            lambda x: project_out(self.matmul(x[:, None])[:, 0], U),
            lambda x: project_out(self.t_matmul(x[:, None])[:, 0], V),
            start,
            steps,
            blur=_BLUR * float(np.finfo(self._dtype).eps),
        )

    def _scaled(self, X: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(X / scale[:, None], dtype=self._dtype)


class Sight(Residual):
    """`Residual` with what making it saw: E, Σ_i z_i (R y)_i, R Y (m×w) and Rᵀ Z (n×w)."""

    def __init__(self, problem: FitProblem, state: State) -> None:
        seen, mean = problem.observations, state.Z.dtype.type(state.mean)
        rows = problem.backend.keep(seen.by_row, state.Z, state.Y, mean)
        cols = problem.backend.keep(seen.by_col, state.Y, state.Z, mean)
        self.seen, self.of_rows, self.of_cols = rows.look, rows.own, cols.own
        self._of(problem, state, rows.product, cols.product)


def project_out(x: np.ndarray, F: np.ndarray) -> np.ndarray:
    """(I − FFᵀ) x for orthonormal columns F, twice, for the digits."""
    for _ in range(2):
        x = x - F @ (F.T @ x)
    return x


def residual_matmul(problem: FitProblem, state: State, X: np.ndarray, seed: int = 0) -> np.ndarray:
    """R̃ X (m×k) of `Residual`, once."""
    inner = np.ascontiguousarray(X / problem.col_scale[:, None], dtype=state.Z.dtype)
    mean, lines = state.Z.dtype.type(state.mean), problem.observations.by_row
    out = problem.backend.residual_matmul(lines, state.Z, state.Y, inner, mean, seed)
    return out / problem.row_scale[:, None]


def residual_t_matmul(
    problem: FitProblem, state: State, X: np.ndarray, seed: int = 0
) -> np.ndarray:
    """R̃ᵀ X (n×k), X (m×k)."""
    inner = np.ascontiguousarray(X / problem.row_scale[:, None], dtype=state.Z.dtype)
    mean, lines = state.Z.dtype.type(state.mean), problem.observations.by_col
    out = problem.backend.residual_matmul(lines, state.Y, state.Z, inner, mean, seed)
    return out / problem.col_scale[:, None]


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


def look(problem: FitProblem, state: State) -> Look:
    """What a pass over the rows sees at ``state``, which does not move."""
    if not state.rank:  # the biases alone have a faster pass
        seen = rows_pass(problem, state, state.s, 0)
        return Look(seen.energy, seen.pull)
    mean, lines = state.Z.dtype.type(state.mean), problem.observations.by_row
    return problem.backend.look(lines, state.Z, state.Y, mean)


def energy(problem: FitProblem, state: State) -> float:
    """E = ½ Σ w e², in one pass."""
    return look(problem, state).energy


def rounding(problem: FitProblem) -> float:
    """E of residuals that are nothing but the rounding of the values."""
    seen = problem.observations
    eps = float(np.finfo(seen.dtype).eps)
    return 0.5 * seen.weight * (16 * eps * seen.largest) ** 2


def objective(problem: FitProblem, penalty: Penalty, state: State) -> float:
    """F at a balanced state, in one pass."""
    return objective_of(problem, penalty, state, look(problem, state))


def objective_of(problem: FitProblem, penalty: Penalty, state: State, seen: Look) -> float:
    """F at a balanced state at which a pass has ``seen`` E."""
    return seen.energy + bias_penalty(problem, state) + float(penalty.value(state.s).sum())
