"""The vector field of the network on W of fixed rank, and a step along it.

For N < ∞ the rank of W is invariant, so that Ẇ = −A_{N,W}(E′(W)) lives on W = U diag(s) Vᵀ of fixed
rank r and needs of the residual R = −E′ only R V and Rᵀ U:

    Ẇ = U (λ(s_i, s_j) ∘ UᵀRV) Vᵀ + (1 − UUᵀ) R V diag(λ(s, 0)) Vᵀ + U diag(λ(s, 0)) Uᵀ R (1 − VVᵀ).

It is integrated by the Runge–Kutta–Chebyshev method of order 2, every stage truncated to rank r (a
projected Runge–Kutta method, Kieri and Vandereycken 2019): small singular values do no harm, and
ties need no care. Observed entries of large singular values relax at the rate ρ ~ λ(σ_1, σ_1) while
small ones grow slowly: q stages are stable up to h = .65 q²/ρ, two of Heun's up to h = 2/ρ. Cost
per stage: two passes over the entries and O((m + n) r²).

**Source**: Sommeijer, Shampine, Verwer, J. Comput. Appl. Math. 88 (1998), for stages and error.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Chebyshev

from ..linalg import thin_svd
from .problem import FitProblem, State, assemble, energy, residual_matmul, residual_t_matmul

# The most stages of a step, and how far a step goes beyond the stiffest direction that is known.
MOST_STAGES, MARGIN = 60, 1.3

Frames = tuple[np.ndarray, np.ndarray, np.ndarray]  # (U, s, V)
Slope = tuple[np.ndarray, np.ndarray]  # (A, B) with Ẇ = A Bᵀ, the first r columns of A being U


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

    def velocity(self, U: np.ndarray, s: np.ndarray, V: np.ndarray) -> Slope:
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

    def stiffness(self, at: Point) -> float:
        """About the rate ρ of the fastest direction: u_1 v_1ᵀ, or at one line z v_1ᵀ, u_1 zᵀ."""
        rows, cols = (
            np.bincount(lines, weights * vector[indices] ** 2, minlength=count)
            for (lines, indices, weights, count), vector in zip(
                self._entries, (at.V[:, 0], at.U[:, 0]), strict=True
            )
        )
        own = float(rows @ at.U[:, 0] ** 2)
        inner, edge = _kernels(at.s[:1], self.bulk, self.depth)
        line = max(float(rows.max()), float(cols.max()))
        return MARGIN * max(float(inner[0, 0]) * own, float(edge[0]) * line)

    @functools.cached_property
    def _entries(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
        """For rows, then columns: line, place in the line and weight of each entry; lines."""
        found = []
        seen = self.problem.observations
        sides = (seen.by_row, self.problem.row_scale), (seen.by_col, self.problem.col_scale)
        for (side, own), (_, other) in zip(sides, sides[::-1], strict=True):
            lines = np.repeat(np.arange(len(own)), side.counts)
            weights = 1 / np.square(own[lines] * other[side.indices], dtype=float)
            weights = weights * side.weights if side.weights.size else weights
            found.append((lines, side.indices, weights, len(own)))
        return found

    def step(self, at: Point, h: float, first: Slope) -> tuple[Frames, Slope, float]:
        """A step of size h from ``at``: (U, s, V), the velocity there, and the error.

        ``first`` is the velocity at ``at``. The error is that of ‖W‖, relative, as a quantity of
        second order in h.
        """
        start = at.U, at.s, at.V
        rho = self.stiffness(at)
        count = 1 + math.floor(math.sqrt(1 + 1.54 * h * rho))
        before, here, slope = start, start, first
        for mu, nu, rate, own in _stages(count):
            terms = [_term(start, first, 1 - mu - nu, own * h)]
            terms += [_term(here, slope, mu, rate * h)] if mu else []
            terms += [(before[0], nu * before[2] * before[1])] if nu else []
            before, here = here, _truncated(terms, here[0])
            slope = self.velocity(*here)
        pieces = [_term(start, first, 0.8, 0.4 * h), _term(here, slope, -0.8, 0.4 * h)]
        error = float(np.linalg.norm(sum(A @ (B.T @ self._probes) for A, B in pieces)))
        return here, slope, (error / float(np.linalg.norm(here[1]))) ** (2 / 3)

    @functools.cached_property
    def _probes(self) -> np.ndarray:
        """ω with E‖Xω‖² = ‖X‖², for norms of X that would cost more than a stage (to a third)."""
        cols, count = self.problem.observations.shape[1], 16
        return np.random.default_rng(0).standard_normal((cols, count)) / math.sqrt(count)

    def longest(self, at: Point) -> float:
        """The step that takes as many stages as a step may."""
        return ((MOST_STAGES - 1) ** 2 - 1) / (1.54 * self.stiffness(at))


@functools.cache
def _stages(count: int) -> list[tuple[float, float, float, float]]:
    """(μ_j, ν_j, μ̃_j, γ̃_j) of each stage.

    Stage j is (1 − μ − ν) Y_0 + μ Y_{j−1} + ν Y_{j−2} + h (μ̃ Ẏ_{j−1} + γ̃ Ẏ_0).
    Of the first stage, Y_0 + h γ̃ Ẏ_0, only γ̃ is not zero.
    """
    w0 = 1 + 2 / 13 / count**2
    T = [Chebyshev.basis(j) for j in range(count + 1)]
    values, slopes, curvatures = (
        [float(p(w0)) for p in series]
        for series in (T, [p.deriv() for p in T], [p.deriv(2) for p in T])
    )
    w1 = slopes[-1] / curvatures[-1]
    b = [c / d**2 if d and c else 0.0 for c, d in zip(curvatures, slopes, strict=True)]
    b[0], b[1] = b[2], 1 / w0
    out = [(0.0, 0.0, 0.0, b[1] * w1)]
    for j in range(2, count + 1):
        mu, rate = 2 * b[j] * w0 / b[j - 1], 2 * b[j] * w1 / b[j - 1]
        out.append((mu, -b[j] / b[j - 2], rate, -(1 - b[j - 1] * values[j - 1]) * rate))
    return out


def _term(at: Frames, slope: Slope, value: float, rate: float) -> Slope:
    """value · W + rate · Ẇ, as a product of two factors."""
    (_, s, V), (A, B) = at, slope
    right = rate * B
    right[:, : len(s)] += value * V * s
    return A, right


def _truncated(terms: list[Slope], U: np.ndarray) -> Frames:
    """The sum of the terms, of the rank of the frame U.

    Where U is complete, exactly, and else by a step of subspace iteration from U, which is nearly
    right: what it loses is of second order, and so is what any matrix of this rank would lose.
    """
    left, right = (np.hstack(side) for side in zip(*terms, strict=True))
    if U.shape[1] >= min(len(left), len(right)):
        U, s, Vt = thin_svd(left, right)
        return U, s, Vt.T
    V = np.linalg.qr(right @ (left.T @ U))[0]
    Q, R = np.linalg.qr(left @ (right.T @ V))
    P, s, Qt = np.linalg.svd(R)
    keep = s > np.finfo(float).eps * s[0]
    return Q @ P[:, keep], s[keep], V @ Qt[keep].T


def low_rank_norm(A: np.ndarray, B: np.ndarray) -> float:
    return math.sqrt(max(float(np.sum((A.T @ A) * (B.T @ B))), 0.0))
