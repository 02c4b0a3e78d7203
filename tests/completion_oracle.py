"""The objective of a completion and slow minimizers of it, on dense arrays; no library code.

F = ½ Σ w_ij (W_ij + μ + a_i + b_j − x_ij)² + ½ β (|a|² + |b|²) + Σ_k f(σ_k(W̃)),
W̃ = diag(ρ) W diag(κ),  f'(σ) = λ (σ + ε)^{2/N − 1}.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DenseProblem:
    """x and w (m, n), w = 0 where nothing was observed; ρ (m,), κ (n,); β (None: no μ, a, b)."""

    x: np.ndarray
    w: np.ndarray
    rho: np.ndarray
    kappa: np.ndarray
    beta: float | None
    depth: float
    decay: float
    floor: float

    def slope(self, s):
        return self.decay * (s + self.floor) ** (2 / self.depth - 1)

    def value(self, s):
        if math.isinf(self.depth):
            return self.decay * np.log1p(s / self.floor)
        p = 2 / self.depth
        return self.decay / p * ((s + self.floor) ** p - self.floor**p)

    def objective(self, W, mean, a, b):
        e = W + mean + a[:, None] + b - self.x
        s = np.linalg.svd(self.rho[:, None] * W * self.kappa, compute_uv=False)
        biases = 0.5 * (self.beta or 0.0) * (a @ a + b @ b)
        return float(0.5 * (self.w * e**2).sum() + biases + self.value(s).sum())

    def biases(self, W):
        """The minimizing μ, a, b given W, from their normal equations."""
        m, n = self.x.shape
        if self.beta is None:
            return 0.0, np.zeros(m), np.zeros(n)
        rows, cols = self.w.sum(axis=1), self.w.sum(axis=0)
        A = np.block(
            [
                [np.array([[rows.sum()]]), rows[None], cols[None]],
                [rows[:, None], np.diag(rows + self.beta), self.w],
                [cols[:, None], self.w.T, np.diag(cols + self.beta)],
            ]
        )
        gap = self.w * (self.x - W)
        v = np.linalg.solve(A, np.concatenate([[gap.sum()], gap.sum(axis=1), gap.sum(axis=0)]))
        return float(v[0]), v[1 : m + 1], v[m + 1 :]


def proximal_gradient(problem, steps=20_000, tol=1e-15):
    """(F, W, μ, a, b) at depths 1 ≤ N ≤ 2, the global minimum: W̃ ← prox(W̃ + R̃/L).

    With the minimizing biases at every W, and Nesterov's extrapolation with restarts (O'Donoghue
    and Candès 2015).
    """
    scale = problem.rho[:, None] * problem.kappa
    L = (problem.w / scale**2).max()
    W = V = np.zeros_like(problem.x)
    t, still = 1.0, 0
    for _ in range(steps):
        mean, a, b = problem.biases(V / scale)
        R = problem.w * (problem.x - V / scale - mean - a[:, None] - b) / scale
        U, z, Vt = np.linalg.svd(V + R / L, full_matrices=False)
        new = (U * _prox(problem, z, L)) @ Vt
        faster = (1 + math.sqrt(1 + 4 * t * t)) / 2
        if np.vdot(V - new, new - W) > 0:
            faster = 1.0
        change = np.linalg.norm(new - W)
        V = new + (t - 1) / faster * (new - W)
        W, t = new, faster
        still = still + 1 if change <= 10 * tol * np.linalg.norm(new) else 0
        if still > 5:
            break
    return problem.objective(W / scale, *problem.biases(W / scale)), W / scale


def _prox(problem, z, L):
    """The root t ≥ 0 of L (t − z) + f'(t) = 0, or 0 where f'(0) ≥ L z; by bisection."""
    low, high = np.zeros_like(z), z.copy()
    for _ in range(100):
        middle = (low + high) / 2
        above = L * (middle - z) + problem.slope(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(L * z <= problem.slope(0.0), 0.0, low)


def alternating_ridge(problem, W, sweeps=20_000, tol=1e-14):
    """(F, W) at depths N ≥ 2: the local minimum in whose basin ``W`` lies.

    d_k = f'(s_k), then exact ridge solves of (p_i, a_i), (q_j, b_j) and μ, and balance by an SVD.
    """
    scale = problem.rho[:, None] * problem.kappa
    biased = problem.beta is not None
    mean, a, b = problem.biases(W)
    U, s, V = _svd(W * scale)
    last, still = math.inf, 0
    for _ in range(sweeps):
        d = problem.slope(s)
        P, Q = U * np.sqrt(s) / problem.rho[:, None], V * np.sqrt(s) / problem.kappa[:, None]
        P, a = _lines(problem.x - mean - b, problem.w, Q, d, problem.rho, problem.beta)
        residual = problem.x.T - mean - a
        Q, b = _lines(residual, problem.w.T, P, d, problem.kappa, problem.beta)
        if biased:
            e = problem.w * (problem.x - P @ Q.T - mean - a[:, None] - b)
            mean += e.sum() / problem.w.sum()
            mean, a, b = mean + a.mean() + b.mean(), a - a.mean(), b - b.mean()
        U, s, V = _svd(P @ Q.T * scale)
        value = problem.objective((U * s) @ V.T / scale, mean, a, b)
        still = still + 1 if last - value <= tol * value else 0
        last = value
        if still > 5:
            break
    return last, (U * s) @ V.T / scale


def _lines(X, w, Q, d, scale, beta):
    """(p_i, a_i) that minimize ½ Σ w (p_i·q_j + a_i − x)² + ½ ρ_i² Σ d_k p_ik² + ½ β a_i²."""
    r = Q.shape[1]
    design = Q if beta is None else np.column_stack([Q, np.ones(len(Q))])
    A = np.einsum("ij,jk,jl->ikl", w, design, design, optimize=True)
    ridge = np.outer(scale**2, d)
    if beta is not None:
        ridge = np.column_stack([ridge, np.full(len(X), beta)])
    A += ridge[:, :, None] * np.eye(ridge.shape[1])
    found = np.linalg.solve(A, ((w * X) @ design)[:, :, None])[:, :, 0]
    return found[:, :r], found[:, r] if beta is not None else np.zeros(len(X))


def _svd(W, least=1e-9):
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    keep = s > least * s[0]
    return U[:, keep], s[keep], Vt[keep].T
