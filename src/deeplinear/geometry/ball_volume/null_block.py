"""Samples of a ball that holds points of corank two or more, in coordinates without singularities.

In the singular frame of the centre X = [[A, B], [C, D]], A the block of the singular values above
the radius, so that it is invertible in the whole ball. The rank of X is that of A plus that of the
Schur complement S = D − C A⁻¹ B, and √det g^N is infinite only where S loses rank, like its own
√det g^N. In the root R of S the latter is flat: with (t, R) as coordinates of the ball, t whatever
moves while D rests, nothing in the integrand is singular.

Needs a solution set that sees all entries of D; see `NullBlock.of`.
"""

import math
from typing import NamedTuple

import numpy as np

from .density import ambient
from .space import Floats, Space

# Of the derivative of C A⁻¹ B in D: D follows from S by a contraction.
_MOST_SLOPE = 0.7
_SWEEPS = 12  # of Jacobi's rotations: they converge quadratically, in three to six


class NullBlock(NamedTuple):
    """The blocks A, B, C, D of W and of the directions of x = (t, y), |x| ≤ radius.

    y are the coordinates that D = D_0 + Σ_a y_a L_a sees, q of them, and t the p − q others.
    """

    space: Space
    rank: int  # r, of A
    centre: Floats  # W in its singular frame
    still: Floats  # (p − q)×m×n, the directions t, in that frame: D does not see them
    moving: Floats  # q×m×n, the directions y
    sight: Floats  # q×q, y ↦ D
    slope: float  # the most that C A⁻¹ B changes per unit of D

    @classmethod
    def of(cls, space: Space) -> "NullBlock | None":
        """The block, where it is worth it: None where chords do as well or D is not seen whole."""
        m, n = space.centre.shape
        U, s, Vt = np.linalg.svd(space.centre)
        r = int(np.count_nonzero(s > space.radius))
        q, p = (m - r) * (n - r), len(space.basis)
        corank = s.size - r
        if space.induced or not 0 < space.nu < 1 or q > p:
            return None
        if corank < (2 if space.square else 1):
            return None
        basis = U.T @ space.basis @ Vt.T
        _, values, rows = np.linalg.svd(basis[:, r:, r:].reshape(p, q).T)
        if values[-1] < 0.1:  # also where it sees less than all entries
            return None
        turned = np.tensordot(rows, basis, 1)
        moving, still = turned[:q], turned[q:]
        sight = moving[:, r:, r:].reshape(q, q).T
        # In the other blocks C A⁻¹ B has slope at most √(|B|² + |C|²)/σ + |B||C|/σ², σ = 1/|A⁻¹|,
        # and |B|² + |C|² ≤ radius²
        others = moving.copy()
        others[:, r:, r:] = 0
        carried = np.linalg.norm(np.linalg.solve(sight.T, others.reshape(q, -1)), 2)
        slope = 0.0
        if r and carried > 1e-12:
            ratio = space.radius / (s[r - 1] - space.radius)
            slope = float(carried * (ratio + ratio**2 / 2))
        if slope > _MOST_SLOPE:
            return None
        return cls(space, r, U.T @ space.centre @ Vt.T, still, moving, sight, slope)

    def sample(self, rng: np.random.Generator, samples: int) -> tuple[Floats, float]:
        """log of the integrand over the density of the samples, whose mean is the volume; and the
        largest error of D, relative to the radius.
        """
        batch = max(1, 1_000_000 // self.space.centre.size**2)
        sizes = [min(batch, samples - i) for i in range(0, samples, batch)]
        values, errors = zip(*(self._batch(rng, size) for size in sizes), strict=True)
        return np.concatenate(values), max(errors)

    def _batch(self, rng: np.random.Generator, size: int) -> tuple[Floats, float]:
        r, nu = self.rank, self.space.nu
        t, log_t = self._still_part(rng, size)
        X = self.centre + np.tensordot(t, self.still, 1)
        h2 = self.space.radius**2 - np.sum(t**2, 1)
        h = np.sqrt(np.maximum(h2, 0.0))
        # where S may lie, for D − D_0 within h
        rest = X[:, r:, r:] - _product(X, r)
        reach = (1 + self.slope) * h + np.linalg.norm(rest, axis=(1, 2))
        S, U, s, Vt, log_s = self._schur_complements(rng, reach)
        solved, y, log_det, moved = self._solved(X, S)
        inside = np.sum(y**2, 1) <= h2
        X = np.where(inside[:, None, None], solved, X)  # outside anything finite will do
        log_sigma = np.log(np.maximum(_singular_values(X, U, s, Vt, r), 1e-300))
        out = ambient(log_sigma, X.shape, nu) - log_t - log_s - log_det
        error = float(np.max(moved[inside], initial=0.0)) / self.space.radius
        return np.where(inside, out, -np.inf), error

    def _still_part(self, rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
        """t in its ball, denser in the middle as the volume across is, and its log density."""
        e, radius = len(self.still), self.space.radius
        b = len(self.moving) * self.space.nu / 2 + 1
        if e == 0:
            return np.zeros((size, 0)), np.zeros(size)
        t = rng.normal(size=(size, e))
        share = rng.beta(e / 2, b, size)
        t *= (radius * np.sqrt(share) / np.linalg.norm(t, axis=1))[:, None]
        log_total = e / 2 * math.log(math.pi) + e * math.log(radius)
        log_total += math.lgamma(b) - math.lgamma(e / 2 + b)
        return t, (b - 1) * np.log1p(-share) - log_total

    def _schur_complements(
        self, rng: np.random.Generator, reach: Floats
    ) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """S with |S| ≤ reach, its decomposition, and its log density in dS.

        Its root has a uniform direction, and a size of uniform volume up to the reach.
        """
        m, n = (d - self.rank for d in self.space.centre.shape)
        nu, q, k = self.space.nu, m * n, min(m, n)
        R = rng.normal(size=(len(reach), m, n))
        R /= np.linalg.norm(R, axis=(1, 2), keepdims=True)
        U, roots, Vt = np.linalg.svd(R, full_matrices=False)
        norm = np.linalg.norm(roots ** (1 / nu), axis=1)  # |S| where |R| = 1
        longest = (reach / norm) ** nu
        size = longest * rng.random(len(reach)) ** (1 / q)
        log_roots = np.log(np.maximum(roots, 1e-300)) + np.log(size)[:, None]
        s = np.exp(log_roots / nu)
        log_sphere = math.log(2) + q / 2 * math.log(math.pi) - math.lgamma(q / 2)
        log_density = math.log(q) - log_sphere - q * np.log(longest)  # in dR
        # dS √det g(S) = N^e dR
        e = k * (k + 1) / 2 + k * abs(m - n) / 2
        log_density += ambient(log_roots / nu, (m, n), nu) + e * math.log(nu)
        return (U * s[:, None, :]) @ Vt, U, s, Vt, log_density

    def _solved(self, X: Floats, S: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """X with the Schur complement S, its y, log |∂S/∂y|, and what the last step still moved."""
        r, q = self.rank, len(self.moving)
        at, y, before = X, np.zeros((len(X), q)), np.zeros((len(X), q))
        inverse = np.linalg.inv(self.sight)
        # rounding is reached in log ε / log slope steps
        steps = 2 if self.slope == 0 else math.ceil(math.log(1e-15) / math.log(self.slope)) + 1
        for _ in range(steps):
            D = S + _product(at, r) - self.centre[r:, r:]
            before, y = y, D.reshape(len(X), q) @ inverse.T
            at = X + np.tensordot(y, self.moving, 1)
        log_det = np.full(len(X), np.linalg.slogdet(self.sight)[1])
        if self.slope:
            left = np.linalg.solve(
                np.swapaxes(at[:, :r, :r], 1, 2), np.swapaxes(at[:, r:, :r], 1, 2)
            )
            left = np.swapaxes(left, 1, 2)[:, None]  # C A⁻¹
            right = np.linalg.solve(at[:, :r, :r], at[:, :r, r:])[:, None]  # A⁻¹ B
            Z = self.moving
            change = Z[:, r:, :r] @ right - left @ Z[:, :r, :r] @ right + left @ Z[:, :r, r:]
            slope = Z[:, r:, r:] - change
            log_det = np.linalg.slogdet(slope.reshape(len(X), q, q))[1]
        return at, y, log_det, np.linalg.norm(y - before, axis=1)


def _product(X: Floats, r: int) -> Floats:
    """C A⁻¹ B."""
    return X[:, r:, :r] @ np.linalg.solve(X[:, :r, :r], X[:, :r, r:])


def _singular_values(X: Floats, U: Floats, s: Floats, Vt: Floats, r: int) -> Floats:
    """The singular values of X, each to high relative accuracy however small S = U diag(s) Vᵀ is.

    X = [[1, 0], [CA⁻¹, 1]] diag(A, S) [[1, A⁻¹B], [0, 1]] is Y D Zᵀ with D diagonal and Y, Z well
    conditioned. With YD = QT the rows of TZᵀ are those of a well-conditioned matrix times D, and
    Jacobi's rotations of rows are accurate for such (Demmel et al., *Computing the singular value
    decomposition with high relative accuracy*, Linear Algebra Appl. 299, 1999).
    """
    A, B, C = X[:, :r, :r], X[:, :r, r:], X[:, r:, :r]
    P, a, Qt = np.linalg.svd(A)
    k, size = s.shape[1], len(X)
    Y, Z = np.zeros((size, X.shape[1], r + k)), np.zeros((size, X.shape[2], r + k))
    Q = np.swapaxes(Qt, 1, 2)
    Y[:, :r, :r], Z[:, :r, :r] = P, Q
    # C A⁻¹ P = C Q/a, and the same of the other side
    Y[:, r:, :r], Z[:, r:, :r] = C @ Q / a[:, None, :], np.swapaxes(B, 1, 2) @ P / a[:, None, :]
    Y[:, r:, r:], Z[:, r:, r:] = U, np.swapaxes(Vt, 1, 2)
    T = np.linalg.qr(Y * np.concatenate([a, s], 1)[:, None, :])[1]
    return np.sort(_row_norms(T @ np.swapaxes(Z, 1, 2)), 1)[:, ::-1]


def _row_norms(rows: Floats) -> Floats:
    """The norms of the rows after rotations that make them orthogonal (one-sided Jacobi)."""
    G = rows.copy()
    for _ in range(_SWEEPS):
        worst = 0.0
        for i in range(G.shape[1]):
            for j in range(i + 1, G.shape[1]):
                worst = max(worst, _rotate(G, i, j))
        if worst < 1e-14:
            break
    return np.linalg.norm(G, axis=2)


def _rotate(G: Floats, i: int, j: int) -> float:
    """Rows i and j made orthogonal, in place; the largest cosine between them before."""
    a, b = (np.linalg.norm(G[:, x], axis=1) for x in (i, j))
    some = (a > 0) & (b > 0)
    cosine = np.zeros(len(G))
    # each row over its norm first: the product of two small norms may underflow
    cosine[some] = np.sum(G[some, i] / a[some, None] * (G[some, j] / b[some, None]), 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        zeta = (b / a - a / b) / (2 * cosine)
        tangent = np.sign(zeta) / (np.abs(zeta) + np.hypot(1.0, zeta))
    tangent = np.where(zeta == 0, 1.0, tangent)
    tangent = np.where(some & (np.abs(cosine) > 1e-16) & np.isfinite(tangent), tangent, 0.0)
    c = (1 / np.hypot(1.0, tangent))[:, None]
    x, y, t = G[:, i].copy(), G[:, j].copy(), tangent[:, None]
    G[:, i], G[:, j] = c * (x - t * y), c * (t * x + y)
    return float(np.max(np.abs(cosine), initial=0.0))
