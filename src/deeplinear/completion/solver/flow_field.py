"""The vector field of the network on W of fixed rank, and a step along it.

For N < ∞ the rank of W is invariant, so that Ẇ = −A_{N,W}(E′(W)) lives on W = U diag(s) Vᵀ of fixed
rank r and needs of the residual R = −E′ only R V and Rᵀ U:

    Ẇ = U (λ(s_i, s_j) ∘ UᵀRV) Vᵀ + (1 − UUᵀ) R V diag(λ(s, 0)) Vᵀ + U diag(λ(s, 0)) Uᵀ R (1 − VVᵀ).

It is integrated by Heun's method, every stage truncated to rank r (a projected Runge–Kutta method,
Kieri and Vandereycken 2019): small singular values do no harm, and ties need no care. Cost
per step: four passes over the entries and O((m + n) r²).
"""

import math
from dataclasses import dataclass

import numpy as np

from ..linalg import thin_svd
from .problem import FitProblem, State, assemble, energy, residual_matmul, residual_t_matmul


@dataclass(frozen=True)
class Point:
    """W = U diag(s) Vᵀ at time t with energy E."""

    U: np.ndarray
    s: np.ndarray
    V: np.ndarray
    t: float
    energy: float


def _kernels(s: np.ndarray, bulk: float, depth: float) -> tuple[np.ndarray, np.ndarray]:
    """λ(s_i, s_j) and λ(s_i, bulk), in NumPy: nothing is compiled for a few small matrices."""
    from ...geometry.kernel import log_kernel_of

    nu = 0.0 if math.isinf(depth) else 1 / depth
    with np.errstate(divide="ignore", invalid="ignore"):
        log_s, log_bulk = np.log(s), np.log(np.full_like(s, bulk))
        inner = log_kernel_of(log_s[:, None], log_s, nu, np)
        return np.exp(inner), np.exp(log_kernel_of(log_s, log_bulk, nu, np))


class FlowField:
    """The vector field on one data set, and the step.

    ``least`` is the smallest singular value of the start.
    """

    def __init__(self, problem: FitProblem, depth: float, bias_only: State, least: float) -> None:
        self.problem, self.depth, self.bias_only, self.least = problem, depth, bias_only, least
        self.bulk = least if math.isinf(depth) else 0.0
        self.empty = energy(problem, bias_only)

    def state(self, U: np.ndarray, s: np.ndarray, V: np.ndarray) -> State:
        root, b = np.sqrt(s), self.bias_only
        return assemble(U * root, V * root, s, b.row_bias, b.col_bias, b.mean, b.Z.dtype)

    def velocity(
        self, U: np.ndarray, s: np.ndarray, V: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(A, B) with Ẇ = A Bᵀ, 2r columns each."""
        state = self.state(U, s, V)
        RV, RU = (
            x.astype(float)
            for x in (
                residual_matmul(self.problem, state, V),
                residual_t_matmul(self.problem, state, U),
            )
        )
        inner, edge = _kernels(s, self.bulk, self.depth)
        C = U.T @ RV
        return np.hstack([U, (RV - U @ C) * edge]), np.hstack(
            [V @ (inner * C).T + (RU - V @ C.T) * edge, V]
        )

    def step(
        self, at: Point, h: float, first: tuple[np.ndarray, np.ndarray]
    ) -> tuple[tuple[np.ndarray, ...], float]:
        """Heun's step from ``at``: (U, s, V), and the relative distance to Euler's.

        ``first`` is the velocity at ``at``.
        """
        A, B = first
        r = len(at.s)
        euler = _truncated([at.U * at.s, h * A], [at.V, B], r)
        C, D = self.velocity(*euler)
        heun = _truncated([at.U * at.s, h / 2 * A, h / 2 * C], [at.V, B, D], r)
        (U, s, V), (X, t, Y) = euler, heun
        gap = s @ s + t @ t - 2 * float(np.sum((U.T @ X) * (V.T @ Y) * np.outer(s, t)))
        return heun, math.sqrt(max(gap, 0.0) / float(t @ t))


def _truncated(
    left: list[np.ndarray], right: list[np.ndarray], r: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    U, s, Vt = thin_svd(np.hstack(left), np.hstack(right))
    return U[:, :r], s[:r], Vt[:r].T


def low_rank_norm(A: np.ndarray, B: np.ndarray) -> float:
    return math.sqrt(max(float(np.sum((A.T @ A) * (B.T @ B))), 0.0))
