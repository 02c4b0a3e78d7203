"""Weight decay at depth N: minimize E(W) + Σ f(σ_i(W)) over m×n matrices W, by reweighted
alternating ridge.

Training a depth-N network with weight decay λ minimizes E(W) + (λN/2) Σ σ_i^{2/N} (theory:
Schatten-2/N; N = 2 is the nuclear norm, N = ∞ is λ Σ log σ_i up to a constant). Depth enters only
through the slope f'(σ) = λ σ^{2/N−1}: with W = P Qᵀ, P = U√Σ, Q = V√Σ, and d_k = f'(s_k) frozen at
the current singular values s,

    E(PQᵀ) + ½ Σ_k d_k (|p_k|² + |q_k|²) + const ≥ E(W) + Σ f(σ_i(W)), equality at (U√Σ, V√Σ), Σ =
    diag(s),

because f is concave with f(0) = 0 (so Σ f(σ_i) is subadditive over rank-one terms, Rotfel'd 1969)
and
|p||q| ≤ ½(|p|² + |q|²). A sweep lowers the left side over P, then over Q, then rebalances by a small SVD: the objective
never increases, and every sweep costs the same at each depth. Below depth 2, f is convex and the
sweep is a proximal gradient step (`convex_sweep`), again a descent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..linalg import thin_svd
from ..penalty import Array, Certificate, Penalty


@dataclass(frozen=True)
class Problem:
    """The energy E = ½ Σ w_ij (W_ij + a_i + b_j − X_ij)² + ½ β (|a|² + |b|²), with a, b the row and
    column biases.

    ``X`` (m×n) is 0 and ``weights`` (m×n, ≥ 0) is 0 where nothing was observed. ``bias_ridge`` is
    β, in units of weights: 1 adds one pseudo-observation at 0 per line; None switches the biases
    off.
    """

    X: Array
    weights: Array
    bias_ridge: float | None = 1.0

    @cached_property
    def T(self) -> "Problem":
        """The transposed problem, in its own memory order (column solves are row solves of it)."""
        return Problem(
            np.ascontiguousarray(self.X.T), np.ascontiguousarray(self.weights.T), self.bias_ridge
        )

    @cached_property
    def density(self) -> float:
        """Mean weight: the curvature of E along a generic rank-one direction."""
        return float(self.weights.mean())

    @cached_property
    def curvature(self) -> float:
        """Largest weight: the Lipschitz constant of the gradient of E."""
        return float(self.weights.max(initial=0.0))


@dataclass(frozen=True)
class Fit:
    """An iterate: W = U diag(s) Vt (m×r, r, r×n; s decreasing and positive) plus the biases, and
    how it was reached.

    ``objective`` has one value per sweep, in the units of E; ``stationarity`` is the relative
    tangent residual of `certificate`, NaN until somebody asked for it.
    """

    U: Array
    s: Array
    Vt: Array
    row_bias: Array
    col_bias: Array
    objective: tuple[float, ...] = ()
    n_sweeps: int = 0
    converged: bool = False
    stationarity: float = float("nan")

    @classmethod
    def zero(cls, m: int, n: int) -> "Fit":
        """W = 0 without biases."""
        return cls(np.zeros((m, 0)), np.zeros(0), np.zeros((0, n)), np.zeros(m), np.zeros(n))

    @property
    def rank(self) -> int:
        return len(self.s)

    def matrix(self) -> Array:
        """W + a 1ᵀ + 1 bᵀ, m×n."""
        return (self.U * self.s) @ self.Vt + self.row_bias[:, None] + self.col_bias

    def at(self, rows: Any, cols: Any) -> Array:
        """The entries (rows[t], cols[t]) of `matrix`, without forming it."""
        product = np.einsum("tk,tk->t", self.U[rows] * self.s, self.Vt.T[cols])
        return product + self.row_bias[rows] + self.col_bias[cols]


def solve_rows(
    problem: Problem, design: Array, ridge: Array, start: Array, *, steps: int, tol: float = 0.0
) -> Array:
    """Lower ½ Σ_j w_ij (design_j·p_i − X_ij)² + ½ Σ_k ridge_k p_ik² over all rows p_i (m×r) at
    once.

    Conjugate gradients with the expected Gram matrix ρ_i diag(|design_k|²) + ridge as
    preconditioner (exact when the columns are orthogonal and everything is observed). Each step is
    two dense products and lowers every row's value; it stops after ``steps`` of them or when all
    relative residuals are below ``tol``.
    """
    X, weights = problem.X, problem.weights
    P = start
    residual = (weights * (X - P @ design.T)) @ design - ridge * P
    scale = weights.mean(axis=1, keepdims=True) * (design * design).sum(axis=0) + ridge
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    direction = inverse * residual
    norm = (residual * direction).sum(axis=1, keepdims=True)
    # the size of the right-hand side, so that a start which is already exact stops at once
    reference = (
        ((((weights * X) @ design) ** 2) * inverse).sum(axis=1, keepdims=True) if tol else norm
    )
    for _ in range(steps):
        if not np.any(norm > tol**2 * reference):
            break
        image = (weights * (direction @ design.T)) @ design + ridge * direction
        bend = (direction * image).sum(axis=1, keepdims=True)
        step = np.divide(norm, bend, out=np.zeros_like(norm), where=bend > 0)
        P = P + step * direction
        residual = residual - step * image
        preconditioned = inverse * residual
        old, norm = norm, (residual * preconditioned).sum(axis=1, keepdims=True)
        direction = (
            preconditioned
            + np.divide(norm, old, out=np.zeros_like(norm), where=old > 0) * direction
        )
    return P


def _half_sweep(
    problem: Problem,
    fixed: Array,
    fixed_bias: Array,
    ridge: Array,
    moving: Array,
    bias: Array,
    **stop: Any,
) -> tuple[Array, Array]:
    """New row factors and row biases, given the column factors and column biases."""
    shifted = replace(problem, X=problem.X - fixed_bias)
    if problem.bias_ridge is None:
        return solve_rows(shifted, fixed, ridge, moving, **stop), bias
    design = np.column_stack([fixed, np.ones(len(fixed))])
    solution = solve_rows(
        shifted,
        design,
        np.append(ridge, problem.bias_ridge),
        np.column_stack([moving, bias]),
        **stop,
    )
    return solution[:, :-1], solution[:, -1]


def implied_ridge(problem: Problem, fit: Fit) -> Array:
    """The weights d_k = u_kᵀ R v_k ≥ 0 under which ``fit`` is (diagonally) stationary, length r.

    At a minimizer this is f'(s_k); for an iterate that was stopped early it is the decay that the
    stop amounts to.
    """
    R, _ = _residual(problem, fit)
    pull = np.einsum("mk,mk->k", fit.U, R @ fit.Vt.T)
    return np.maximum(pull, 1e-6 * problem.density * fit.s)


def prior_ridge(problem: Problem, fit: Fit) -> Array:
    """The ridge under which new rows resemble those of ``fit``, for a fit without penalty, length
    r.

    Row i of W is p_i (V√s)ᵀ where p_ik has mean square s_k/m; with noise of the mean square of the
    residual, the posterior mode has ridge_k = noise · m/s_k.
    """
    R, _ = _residual(problem, fit)
    size = float(np.vdot(problem.weights, problem.X**2)) / max(float(problem.weights.sum()), 1e-300)
    noise = float(np.vdot(R, R)) / max(float((problem.weights**2).sum()), 1e-300)
    return max(noise, 1e-9 * size) * len(problem.X) / fit.s


def fold_in(problem: Problem, fit: Fit, ridge: Array) -> Array:
    """Complete rows (m×n, possibly new ones): each row's ridge solution given V, s and the column
    biases of ``fit``.

    A row is W_i = p_i (V√s)ᵀ + a_i + b with ½ Σ_k ridge_k p_ik² + ½ β a_i² added to its energy;
    solved to rounding. At a stationary fit with ``ridge`` = f'(s) it returns the rows of
    ``fit.matrix()``.
    """
    Q = fit.Vt.T * np.sqrt(fit.s)
    m = len(problem.X)
    P, a = _half_sweep(
        problem,
        Q,
        fit.col_bias,
        ridge,
        np.zeros((m, fit.rank)),
        np.zeros(m),
        steps=20 + 4 * fit.rank,
        tol=1e-13,
    )
    return P @ Q.T + a[:, None] + fit.col_bias


def _residual(problem: Problem, fit: Fit) -> tuple[Array, float]:
    """R = −∂E/∂W = weights ∘ (X − matrix), and E."""
    gap = problem.X - fit.matrix()
    R = problem.weights * gap
    beta = problem.bias_ridge or 0.0
    return R, 0.5 * float(
        np.vdot(R, gap) + beta * (fit.row_bias @ fit.row_bias + fit.col_bias @ fit.col_bias)
    )


def objective(problem: Problem, penalty: Penalty, fit: Fit) -> float:
    """E + Σ f(σ_i), the quantity that every step of this module lowers."""
    return _residual(problem, fit)[1] + float(penalty.value(fit.s).sum())


def sweep(problem: Problem, penalty: Penalty, fit: Fit, *, steps: int = 2) -> Fit:
    """One pass over rows and columns at frozen weights d_k = f'(s_k), a rebalancing SVD, and the
    pruning of dead ranks.

    Depth ≥ 2. Component k is dropped when f'(s_k) ≥ |u_kᵀRv_k| + s_k max(w)/2: as f is concave,
    f(s_k) ≥ f'(s_k) s_k then outweighs what the energy can gain from it, so pruning lowers the
    objective too. Components that are not small yet get twice that, since the pull on them may
    still change.
    """
    ridge, root = penalty.slope(fit.s), np.sqrt(fit.s)
    P, Q, a, b = fit.U * root, fit.Vt.T * root, fit.row_bias, fit.col_bias
    P, a = _half_sweep(problem, Q, b, ridge, P, a, steps=steps)
    Q, b = _half_sweep(problem.T, P, a, ridge, Q, b, steps=steps)
    U, s, Vt = thin_svd(P, Q)
    new = replace(fit, U=U, s=s, Vt=Vt, row_bias=a, col_bias=b)
    R, energy = _residual(problem, new)
    pull = np.abs(np.einsum("mk,mk->k", U, R @ Vt.T)) + s * problem.curvature / 2
    alive = penalty.slope(s) < np.where(s > 1e-4 * s.max(initial=0.0), 2, 1) * pull
    if not alive.all():
        new = replace(new, U=U[:, alive], s=s[alive], Vt=Vt[alive])
        energy = _residual(problem, new)[1]
    return _record(new, energy + float(penalty.value(new.s).sum()))


def convex_sweep(problem: Problem, penalty: Penalty, fit: Fit, *, steps: int = 2) -> Fit:
    """The same for 1 ≤ depth < 2, where f is convex: one proximal gradient step on the dense W,
    then on the biases.

    W ← prox_f(W + R/c) acts on the singular values, with c = max(w); W has full rank there.
    """
    none = np.zeros((len(fit.U), 0))
    R, _ = _residual(problem, fit)
    W = (fit.U * fit.s) @ fit.Vt
    U, z, Vt = np.linalg.svd(W + R / problem.curvature, full_matrices=False)
    s = penalty.prox(z, problem.curvature)
    W = (U * s) @ Vt
    rest = replace(problem, X=problem.X - W)
    _, a = _half_sweep(
        rest, np.zeros((W.shape[1], 0)), fit.col_bias, s[:0], none, fit.row_bias, steps=steps
    )
    _, b = _half_sweep(rest.T, none, a, s[:0], np.zeros((W.shape[1], 0)), fit.col_bias, steps=steps)
    alive = s > 0
    new = replace(fit, U=U[:, alive], s=s[alive], Vt=Vt[alive], row_bias=a, col_bias=b)
    return _record(new, objective(problem, penalty, new))


def _record(fit: Fit, value: float) -> Fit:
    return replace(fit, objective=(*fit.objective, value), n_sweeps=fit.n_sweeps + 1)


def grow(problem: Problem, penalty: Penalty, fit: Fit, max_rank: int, slack: float = 1e-9) -> Fit:
    """Add the singular triples of the residual whose value exceeds f'(0), where a new component
    lowers the objective.

    This is the optimality condition ‖R_⊥‖₂ ≤ f'(0) turned into a step: at depth 2 f'(0) = λ, and it
    finds the rank; at larger depth f'(0) is as good as infinite (W loses rank but never gains it).
    ``slack`` is relative. The new singular values (g − f'(0))/c use the typical curvature c first,
    and the largest one, which cannot fail, if that overshoots.
    """
    R, energy = _residual(problem, fit)
    room = min(max_rank, *R.shape) - fit.rank
    limit = float(penalty.slope(0.0))
    if room <= 0 or np.linalg.norm(R) <= limit:
        return fit
    U, g, Vt = leading_triples(R, min(room, 16 + fit.rank))
    new = g > limit * (1 + slack)
    if not new.any():
        return fit
    before = energy + float(penalty.value(fit.s).sum())
    for curvature in (problem.density, problem.curvature):
        z, root = np.sqrt((g[new] - limit) / curvature), np.sqrt(fit.s)
        P = np.hstack([fit.U * root, U[:, new] * z])
        Q = np.hstack([fit.Vt.T * root, Vt[new].T * z])
        s3 = thin_svd(P, Q)
        larger = replace(fit, U=s3[0], s=s3[1], Vt=s3[2])
        if objective(problem, penalty, larger) < before:
            return larger
    return fit


def leading_triples(R: Array, k: int) -> tuple[Array, Array, Array]:
    """The k leading singular triples of R: exactly when k is a good part of the side, else by
    subspace iteration.
    """
    if 4 * k >= min(R.shape):
        U, g, Vt = np.linalg.svd(R, full_matrices=False)
    else:
        from sklearn.utils.extmath import randomized_svd

        U, g, Vt = randomized_svd(R, k, n_iter=4, random_state=0)
    return U[:, :k], g[:k], Vt[:k]


def descend(
    problem: Problem, penalty: Penalty, fit: Fit, *, max_rank: int, tol: float, steps: int = 2
) -> Iterator[Fit]:
    """Sweep for ever, yielding each iterate; it ends by itself, with ``converged`` set, at a
    stationary point.

    Stationary means: a sweep lowers the objective by less than ``tol`` (E + Σ f'(s) s), and `grow`
    finds nothing to add. (At depth 2 that is the objective itself; elsewhere it does not depend on
    the constant that ε adds.)
    """
    step = sweep if penalty.depth >= 2 else convex_sweep
    fit = replace(grow(problem, penalty, fit, max_rank), objective=(), n_sweeps=0, converged=False)
    last = objective(problem, penalty, fit)
    while True:
        fit = step(problem, penalty, fit, steps=steps)
        value = fit.objective[-1]
        size = value + float((penalty.slope(fit.s) * fit.s - penalty.value(fit.s)).sum())
        if last - value <= tol * size:
            # what is not exactly stationary exceeds f'(0) a little without anything missing
            larger = grow(problem, penalty, fit, max_rank, max(tol, 1e-18) ** 0.5)
            if larger is fit:
                yield replace(fit, converged=True)
                return
            fit = larger
        last = value
        yield fit


def certificate(problem: Problem, penalty: Penalty, fit: Fit) -> Certificate:
    """Check RV = U diag f'(s), RᵀU = V diag f'(s) and the bias equations R1 = βa, Rᵀ1 = βb at
    ``fit``.

    The residuals are relative to the norm of f'(s) (of R at rank 0); R_⊥ = (I − UUᵀ) R (I − VVᵀ).
    """
    R, _ = _residual(problem, fit)
    U, V, slope = fit.U, fit.Vt.T, penalty.slope(fit.s)
    parts = [R @ V - U * slope, R.T @ U - V * slope]
    if problem.bias_ridge is not None:
        parts.append((R.sum(axis=1) - problem.bias_ridge * fit.row_bias) / np.sqrt(R.shape[1]))
        parts.append((R.sum(axis=0) - problem.bias_ridge * fit.col_bias) / np.sqrt(R.shape[0]))
    size = float(np.linalg.norm(slope)) or float(np.linalg.norm(R)) or 1.0
    normal = R - U @ (U.T @ R)
    normal -= (normal @ V) @ V.T
    tangent = float(np.sqrt(sum(np.vdot(part, part) for part in parts))) / size
    return Certificate(
        tangent, float(np.linalg.norm(normal, 2)) if normal.size else 0.0, float(penalty.slope(0.0))
    )
