"""The vector field of the network on balanced factors of W, of fixed rank.

For N < ∞ the rank of W is invariant, so that Ẇ = −A_{N,W}(E′(W)) lives on W = U diag(s) Vᵀ of fixed
rank r and needs of the residual R = −E′ only R V and Rᵀ U:

    Ẇ = U (λ(s_i, s_j) ∘ UᵀRV) Vᵀ + (1 − UUᵀ) R V diag(λ(s, 0)) Vᵀ + U diag(λ(s, 0)) Uᵀ R (1 − VVᵀ).

It is followed on the factors P = U√s O, Q = V√s O of W = P Qᵀ (what the upper and the lower half of
the layers make together), O orthogonal, as plain arrays without constraints. With
μ(a, b) = λ(a, b)/(a + b) = (a − b)/(N (a^{2/N} − b^{2/N})), in the frame where O = 1,

    Ṗ = [U (μ ∘ UᵀRV) + (1 − UUᵀ) R V diag(μ(s, 0))] √s,     Q̇ the same with Rᵀ, V, U.

Then Ẇ = ṖQᵀ + PQ̇ᵀ, and PᵀP = QᵀQ stays so, as both sides move by √s(μ ∘ UᵀRV)√s and its
transpose. The field is smooth where singular values meet, small ones do no harm, and it costs an
r×r eigenproblem of PᵀP (none at N = 2, where Ṗ = RQ/2), two passes over the entries and
O((m + n) r²).
"""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import exprel

from ..backends.base import padded, side
from ..backends.dense import Dense
from ..data.observations import Observations
from ..linalg import thin_svd
from .problem import FitProblem, State, assemble, energy

# How far a step goes beyond the stiffest direction that is known.
MARGIN = 1.3
# By so much singular vectors may turn before the curvature along them is found anew.
TURNED = 0.04
# Where PᵀP and QᵀQ differ by more than this part, they are balanced by a singular value
# decomposition, and else to first order.
UNEVEN, NEARLY = 0.05, 1e-3
# Below this, r times its third power is rounding.
_TINY = 1e-6


@dataclass(frozen=True)
class Point:
    """W = P Qᵀ = U diag(s) Vᵀ at time t with energy E; X = (P, Q), one above the other."""

    X: np.ndarray
    s: np.ndarray
    rows: int
    t: float
    energy: float

    @property
    def P(self) -> np.ndarray:
        return self.X[: self.rows]

    @property
    def Q(self) -> np.ndarray:
        return self.X[self.rows :]

    @property
    def U(self) -> np.ndarray:
        return self.P / np.sqrt(self.s)

    @property
    def V(self) -> np.ndarray:
        return self.Q / np.sqrt(self.s)


def kernel(log_a: np.ndarray, log_b: np.ndarray, depth: float) -> np.ndarray:
    """λ(a, b) = max(a, b)^{2−2ν} φ(z)/φ(νz) for a ≥ 0, b > 0, φ(z) = (1 − e^{−z})/z, ν = 1/N.

    The formula of `geometry.kernel`, in SciPy: nothing is compiled for a few small matrices.
    """
    nu = 0.0 if math.isinf(depth) else 1 / depth
    z = np.minimum(2 * np.abs(log_a - log_b), 1e15)
    upper = np.exp((2 - 2 * nu) * np.maximum(log_a, log_b)) * exprel(-z)
    return upper / exprel(-nu * z) if nu else upper


Entries = list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]


class Curvature:
    """The curvature of E along u vᵀ, and the largest one along z vᵀ or u zᵀ, z a line.

    Found anew where u and v have turned by more than `TURNED` since the last time.
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._known: tuple[np.ndarray, np.ndarray, float, float] | None = None

    def along(self, u: np.ndarray, v: np.ndarray) -> tuple[float, float]:
        if self._known is not None:
            old, other, own, line = self._known
            if min(abs(float(old @ u)), abs(float(other @ v))) > 1 - TURNED**2 / 2:
                return own, line
        rows, cols = (
            np.bincount(lines, weights * vector[indices] ** 2, minlength=count)
            for (lines, indices, weights, count), vector in zip(self._entries, (v, u), strict=True)
        )
        own, line = float(rows @ u**2), max(float(rows.max()), float(cols.max()))
        self._known = u, v, own, line
        return own, line


class FlowField:
    """The vector field on one data set.

    ``least`` is the smallest singular value of the start.
    """

    def __init__(self, problem: FitProblem, depth: float, bias_only: State, least: float) -> None:
        self.problem, self.depth, self.bias_only, self.least = problem, depth, bias_only, least
        self.bulk = least if math.isinf(depth) else 0.0
        self.empty = energy(problem, bias_only)
        self.rows = problem.observations.shape[0]
        seen = problem.observations
        self.seen = self.less(seen, self.biases(self.entries[0][0], seen.by_row.indices))

    def state(self, X: np.ndarray, s: np.ndarray) -> State:
        b = self.bias_only
        P, Q = X[: self.rows], X[self.rows :]
        return assemble(P, Q, s, b.row_bias, b.col_bias, b.mean, b.Z.dtype)

    def less(self, seen: Observations, known: np.ndarray) -> Observations:
        """The entries of ``seen`` less what is ``known`` of each, row by row."""
        lines = seen.by_row, seen.by_col
        left = (lines[0].values - known).astype(lines[0].values.dtype)
        by_row, by_col = (
            replace(side, values=values)
            for side, values in zip(lines, (left, left[self.by_col]), strict=True)
        )
        return Observations(by_row, by_col, seen.shape)

    @functools.cached_property
    def by_col(self) -> np.ndarray:
        """The places, row by row, of the entries column by column."""
        return np.argsort(self.problem.observations.by_row.indices, kind="stable")

    def close(self) -> None:
        """Let the backend forget the entries of this field."""
        for lines in (self.seen.by_row, self.seen.by_col):
            self.problem.backend.forget(lines)

    def velocity(self, X: np.ndarray, s: np.ndarray | None = None) -> np.ndarray:
        """(Ṗ, Q̇), one above the other, at X = (P, Q)."""
        return self.look(X, s, energy=False)[0]

    def look(
        self, X: np.ndarray, s: np.ndarray | None = None, *, energy: bool = True
    ) -> tuple[np.ndarray, float]:
        """The velocity at X, and E if it is asked for; ``s``, where PᵀP = QᵀQ = diag(s) is known.

        NaN where the factors are so large that PᵀP is not finite, as in a step that went too far.
        """
        m, r = self.rows, X.shape[1]
        if not np.isfinite(np.vdot(X, X)):
            return np.full_like(X, math.nan), math.nan
        pulls, value = self._pulls(X, energy=energy)
        if self.depth == 2:
            return pulls / 2, value
        s, T = self._spectrum(X) if s is None else (s, np.eye(r))
        log_s = np.log(s)
        table = kernel(np.concatenate([log_s, self.log_rest])[:, None], log_s, self.depth)
        edge = table[-1] / s
        inner = (table[:r] / (s[:, None] + s) - edge) / s[:, None]
        C = T.T @ (X[:m].T @ pulls[:m]) @ T
        out = pulls @ ((T * edge) @ T.T)
        out[:m] += X[:m] @ (T @ (inner * C) @ T.T)
        out[m:] += X[m:] @ (T @ (inner * C.T) @ T.T)
        if len(table) > r + 1:
            self._beside(out, pulls, table[r:-1] / s - edge, T)
        return out, value

    @functools.cached_property
    def log_rest(self) -> np.ndarray:
        """log of the singular values that are not of X; the last is what edges see."""
        with np.errstate(divide="ignore"):
            return np.log(np.array([self.bulk]))

    def _beside(
        self, out: np.ndarray, pulls: np.ndarray, across: np.ndarray, T: np.ndarray
    ) -> None:
        """Add to ``out`` what columns that are not of X change: here there are none."""

    def biases(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """What is predicted at these places where W = 0."""
        b = self.bias_only
        return b.mean + b.row_bias[rows] + b.col_bias[cols]

    def at(self, X: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """W at these places."""
        P, Q = (np.ascontiguousarray(part) for part in (X[: self.rows], X[self.rows :]))
        return self.problem.backend.predict(rows, cols, P, Q, 0.0)

    def energy(self, X: np.ndarray) -> float:
        """E at the factors X."""
        return self._pulls(X)[1]

    def _pulls(self, X: np.ndarray, *, energy: bool = True) -> tuple[np.ndarray, float]:
        """(R Q, Rᵀ P), one above the other, and E; all lines have the scale 1."""
        (m, n), r, dtype = self.seen.shape, X.shape[1], self.seen.dtype
        if isinstance(self.problem.backend, Dense) or padded(r) == r:
            Z, Y = (np.ascontiguousarray(part, dtype) for part in (X[:m], X[m:]))
        else:
            Z, Y = (side(lines, padded(r), dtype) for lines in (m, n))
            Z[:, :r], Y[:, :r] = X[:m], X[m:]
        call = self.seen.by_row, self.seen.by_col, Z, Y, dtype.type(0)
        left, right, value = self.problem.backend.pulls(*call, energy=energy)
        return np.concatenate([left[:, :r], right[:, :r]], dtype=X.dtype), value

    def _spectrum(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """s, decreasing, and the frame T in which PᵀP and QᵀQ are about diagonal."""
        s, T = np.linalg.eigh(X.T @ X)
        s, T = s[::-1] / 2, T[:, ::-1]
        return np.maximum(s, np.finfo(float).tiny ** 0.5), T

    def settled(
        self, X: np.ndarray, slope: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """The same W by factors with O = 1 and PᵀP = QᵀQ = diag(s); the velocity with it; s.

        What is below rounding goes. And how uneven PᵀP and QᵀQ were: beyond `NEARLY` the velocity
        is not that of the field any more, beyond `UNEVEN` not even in the same frame.
        """
        s, T = self._spectrum(X)
        keep = s > np.finfo(float).eps * s[0]
        s, T = s[keep], T[:, keep]
        m, X, slope = self.rows, X @ T, slope @ T
        P, Q = X[:m], X[m:]
        G = (Q.T @ Q - P.T @ P) / (2 * (s[:, None] + s))
        uneven = float(np.abs(G).max())
        if uneven > UNEVEN:
            U, s, Vt = thin_svd(P, Q)
            count = min(len(s), len(T.T))
            X = np.vstack([U[:, :count], Vt[:count].T]) * np.sqrt(s[:count])
            return X, slope[:, :count], s[:count], uneven
        turn, back = np.eye(len(s)) + G, np.eye(len(s)) - G + G @ G
        if uneven > _TINY:
            back = np.linalg.inv(turn)
        X, slope = (np.vstack([x[:m] @ turn, x[m:] @ back]) for x in (X, slope))
        return X, slope, s, uneven

    def stiffness(self, at: Point) -> float:
        """About the rate ρ of the fastest direction: u_1 v_1ᵀ, or at one line z v_1ᵀ, u_1 zᵀ."""
        u, v = (x[:, 0] / math.sqrt(at.s[0]) for x in (at.P, at.Q))
        own, line = self.curvature.along(u, v)
        with np.errstate(divide="ignore"):
            logs = np.log([at.s[0], self.bulk])
        inner, edge = kernel(logs, np.log(at.s[:1]), self.depth)
        return MARGIN * max(float(inner) * own, float(edge) * line)

    @functools.cached_property
    def curvature(self) -> Curvature:
        return Curvature(self.entries)

    @functools.cached_property
    def entries(self) -> Entries:
        """For rows, then columns: line, place in the line and weight of each entry; lines."""
        found = []
        seen = self.problem.observations
        sides = (seen.by_row, self.problem.row_scale), (seen.by_col, self.problem.col_scale)
        for (mine, own), (_, other) in zip(sides, sides[::-1], strict=True):
            lines = np.repeat(np.arange(len(own)), mine.counts)
            weights = 1 / np.square(own[lines] * other[mine.indices], dtype=float)
            weights = weights * mine.weights if mine.weights.size else weights
            found.append((lines, mine.indices, weights, len(own)))
        return found

    def size(self, X: np.ndarray, change: np.ndarray) -> float:
        """‖ΔP Qᵀ + P ΔQᵀ‖ for the ``change`` (ΔP, ΔQ) of X."""
        m = self.rows
        P, Q, dP, dQ = X[:m], X[m:], change[:m], change[m:]
        square = np.sum((dP.T @ dP) * (Q.T @ Q)) + np.sum((P.T @ P) * (dQ.T @ dQ))
        square += 2 * np.sum((dP.T @ P) * (Q.T @ dQ))
        return math.sqrt(max(float(square), 0.0))
