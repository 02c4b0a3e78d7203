"""Completions of rank r of a small square problem: drawn at random, reached from nearby matrices,
and what may predict them.

The completions of rank r are S ∩ M_r: S all matrices with the observed entries, M_r those of rank
r. Arrays here are batches (…, d, d), NumPy throughout: problems have at most a few dozen entries.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from ...geometry.kernel import inverse_depth, log_kernel
from ...scores import root_mean_square

Floats = NDArray[np.float64]
_log_kernel = jax.jit(log_kernel)

#: What is compared with the endpoints: the larger the value, the likelier the completion.
PREDICTORS = (
    "volume",
    "stratum volume",
    "entropy",
    "-nuclear norm",
    "-Frobenius norm",
    "-Schatten 2/N",
    "-effective rank",
    "flatness",
    "induced volume",
)
#: Stands for N = ∞ in `log_flatness`, whose infinite constant grows like log N.
_DEEP = 1e8


class FixedRankProblem(NamedTuple):
    """Observed entries of a d×d matrix, the rank r that is looked for."""

    data: Floats  # 0 where nothing is observed
    mask: NDArray[np.bool_]
    rank: int

    @property
    def free(self) -> int:
        """The dimension r(2d − r) − |Ω| of the completions of rank r."""
        d = len(self.mask)
        return self.rank * (2 * d - self.rank) - int(self.mask.sum())


def random_problem(d: int, rank: int, observed: int, rng: np.random.Generator) -> FixedRankProblem:
    """X Yᵀ with i.i.d. normal entries of X and Y (d×r), scaled to observed entries of root mean
    square 1.

    Observed are random places, some in every row and column, whose bipartite graph is connected:
    else the scale of its parts is conserved (`charges`), which is another experiment."""
    truth = rng.normal(size=(d, rank)) @ rng.normal(size=(rank, d))
    while True:
        mask = np.zeros((d, d), bool)
        mask.flat[rng.choice(d * d, observed, replace=False)] = True
        if components(mask).max() == 0:
            return FixedRankProblem(
                np.where(mask, truth / root_mean_square(truth[mask]), 0.0), mask, rank
            )


def components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The component of each row, then each column, in the bipartite graph of observed entries."""
    m, n = mask.shape
    label = np.arange(m + n)
    while True:
        new = label.copy()
        for i, j in np.argwhere(mask):
            new[i] = new[m + j] = min(new[i], new[m + j])
        if (new == label).all():
            return np.unique(label, return_inverse=True)[1]
        label = new


def charges(W: Floats, depth: float, mask: NDArray[np.bool_]) -> Floats:
    """What gradient flow conserves, one number for each component c of the graph of observed
    entries (summing to 0),

        Q_c = Σ_{rows i ∈ c} [(WWᵀ)^{1/N}]_ii − Σ_{columns j ∈ c} [(WᵀW)^{1/N}]_jj, N = ∞: of log
        WWᵀ, log WᵀW.

    The loss does not change under W → DWD′^{−1}, D and D′ diagonal and equal to e^s on one
    component, 1 elsewhere: Noether's theorem.
    **Shapes**: W is (…, m, n) of full rank; the result (…, components).
    """
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    power = s ** (2 / depth) if np.isfinite(depth) else 2 * np.log(s)
    weight = np.concatenate(
        [np.einsum("...ij,...j->...i", U**2, power), -np.einsum("...ji,...j->...i", Vt**2, power)],
        -1,
    )
    label = components(mask)
    return np.stack([weight[..., label == c].sum(-1) for c in range(label.max() + 1)], -1)


def random_minimizers(
    problem: FixedRankProblem, count: int, reach: float, rng: np.random.Generator
) -> Floats:
    """``count`` completions of rank r: the unknown entries are filled with i.i.d. normal numbers of
    ``reach`` times the root mean square of the observed ones, and the matrix is brought to rank r
    by `project`. This is the reference law of the comparisons.
    """
    found: list[Floats] = []
    size = reach * root_mean_square(problem.data[problem.mask])
    for _ in range(50):
        fill = size * rng.normal(size=(2 * count, *problem.mask.shape))
        W, ok = project(np.where(problem.mask, problem.data, fill), problem)
        found.extend(W[ok])
        if len(found) >= count:
            return np.array(found[:count])
    raise RuntimeError(
        f"only {len(found)} of {count} completions of rank {problem.rank} were found"
    )


def project(
    W: Floats, problem: FixedRankProblem, steps: int = 30
) -> tuple[Floats, NDArray[np.bool_]]:
    """A completion of rank r near each W, and whether it was reached: the truncated SVD of W, then
    Newton steps of least norm in its factors on the observed entries.
    """
    r, d = problem.rank, len(problem.mask)
    U, s, Vt = np.linalg.svd(W)
    root = np.sqrt(s[:, None, :r])
    X, Y = U[..., :r] * root, np.swapaxes(Vt[:, :r], -1, -2) * root
    rows, cols = np.nonzero(problem.mask)
    k = np.arange(len(rows))
    target = problem.data[problem.mask]
    for _ in range(steps):
        residual = target - (X @ np.swapaxes(Y, -1, -2))[:, rows, cols]
        J = np.zeros((len(W), len(rows), 2, d, r))
        J[:, k, 0, rows] = Y[:, cols]
        J[:, k, 1, cols] = X[:, rows]
        flat = J.reshape(len(W), len(rows), -1)
        gram = flat @ np.swapaxes(flat, -1, -2)
        ridge = 1e-13 * np.trace(gram, axis1=-2, axis2=-1)[:, None, None] * np.eye(len(rows))
        dual = np.linalg.solve(gram + ridge, residual[..., None])
        step = (np.swapaxes(flat, -1, -2) @ dual).reshape(len(W), 2, d, r)
        size = np.sqrt((step**2).sum((1, 2, 3)))
        limit = 0.5 * np.sqrt((X**2).sum((1, 2)) + (Y**2).sum((1, 2)))
        step *= np.minimum(1.0, limit / np.maximum(size, 1e-300))[:, None, None, None]
        X, Y = X + step[:, 0], Y + step[:, 1]
    out = X @ np.swapaxes(Y, -1, -2)
    ok = np.abs(out[:, rows, cols] - target).max(-1) < 1e-9 * np.abs(target).max()
    return np.where(problem.mask, problem.data, out), ok & np.isfinite(out).all((1, 2))


def predictors(W: Floats, depth: float, problem: FixedRankProblem) -> dict[str, Floats]:
    """`PREDICTORS` at completions W of rank r, up to constants.

    "stratum volume": log vol_r, as `log_stratum_volume`, whose constants, infinite at N = ∞, are
    left out. "volume": log(vol_r/J), J the Jacobian of W ↦ observed entries on M_r: the Riemannian
    volume of M_r conditioned on the data, and also what a tube of fixed small σ_{r+1} around S ∩
    M_r has of √det g dW; a density with respect to area on S ∩ M_r. "flatness" (`log_flatness`)
    and "induced volume", of the metric along S ∩ M_r, are its two factors. "entropy": of the orbit
    of balanced factorizations, in its own dimension. The four with a minus: less of it is said to
    be likelier; at N = ∞ Schatten 2/N is Σ log σ_i.
    """
    r, d = problem.rank, len(problem.mask)
    s = np.linalg.svd(W, compute_uv=False)[..., :r]
    log_s = np.log(s)
    nu = float(inverse_depth(depth, np.float64))
    i, j = np.triu_indices(r, 1)
    pairs = np.asarray(_log_kernel(log_s[..., i], log_s[..., j], nu)).sum(
        -1
    )  # Σ_{i<j} log λ(σ_i, σ_j)
    own = (2 - 2 * nu) * log_s.sum(-1)  # Σ log λ(σ_i, σ_i), and Σ log λ(σ_i, 0) up to a constant
    stratum = -0.5 * own - pairs - (d - r) * own
    share = s / s.sum(-1, keepdims=True)
    volume, flatness = stratum - log_jacobian(W, problem), log_flatness(W, depth, problem)
    return {
        "volume": volume,
        "stratum volume": stratum,
        "entropy": 0.5 * (pairs + (d - r) * own),
        "-nuclear norm": -s.sum(-1),
        "-Frobenius norm": -np.sqrt((s**2).sum(-1)),
        "-Schatten 2/N": -(np.exp(2 * nu * log_s).sum(-1) if nu else log_s.sum(-1)),
        "-effective rank": -np.exp(-(share * np.log(share)).sum(-1)),
        "flatness": flatness,
        "induced volume": volume - flatness,
    }


def log_flatness(W: Floats, depth: float, problem: FixedRankProblem) -> Floats:
    """−½ log det P_Ω A P_Ω at completions W of rank r, A of the depth: how much room of low loss
    lies across S ∩ M_r. At N = ∞ the limit of the differences between two W is meant.
    """
    r, d = problem.rank, len(problem.mask)
    with np.errstate(divide="ignore"):
        log_s = np.log(np.linalg.svd(W, compute_uv=False))
    log_s[..., r:] = -math.inf
    i, j = np.nonzero((np.arange(d)[:, None] < r) | (np.arange(d) < r))
    nu = 1 / min(depth, _DEEP)
    weight = np.exp(np.asarray(_log_kernel(log_s[..., i], log_s[..., j], nu)) / 2)
    B = tangent(W, r)[..., problem.mask] * weight[..., None]
    return -np.log(np.linalg.svd(B, compute_uv=False)).sum(-1)


def tangent(W: Floats, rank: int) -> Floats:
    """An orthonormal basis of the tangent space of M_r at each W: (…, r(2d − r), d, d)."""
    d = W.shape[-1]
    U, _, Vt = np.linalg.svd(W)
    i, j = np.nonzero((np.arange(d)[:, None] < rank) | (np.arange(d) < rank))
    return np.einsum("...at,...tb->...tab", U[..., i], Vt[..., j, :])


def log_jacobian(W: Floats, problem: FixedRankProblem) -> Floats:
    """log of the Jacobian √det(B Bᵀ) of the observed entries on the tangent space of M_r; −∞ where
    they fix less than they could.
    """
    B = tangent(W, problem.rank)[..., problem.mask]
    with np.errstate(divide="ignore"):
        return np.log(np.linalg.svd(B, compute_uv=False)).sum(-1)


def free_directions(W: Floats, problem: FixedRankProblem) -> Floats:
    """An orthonormal basis of the directions in which completions of rank r are free at each W: (…,
    r(2d − r) − |Ω|, d, d).
    """
    basis = tangent(W, problem.rank)
    B = basis[..., problem.mask]
    U, _, _ = np.linalg.svd(B)  # (…, t, t): the last columns are the left null space
    null = np.swapaxes(U[..., :, int(problem.mask.sum()) :], -1, -2)
    return np.einsum("...pt,...tab->...pab", null, basis)


def climb(
    W: Floats,
    value: Callable[[Floats], Floats],
    problem: FixedRankProblem,
    *,
    steps: int = 60,
    largest: float = 10.0,
) -> tuple[Floats, NDArray[np.bool_]]:
    """The local maximum of ``value`` over S ∩ M_r that is uphill from each W, and whether it was
    reached (a gradient below 1e−4 of its first), within ``largest`` times the norm of W. Gradients
    by central differences along `free_directions`, steps by halving.
    """
    W, best = W.copy(), value(W)
    limit, step = largest * np.linalg.norm(W, axis=(-2, -1)), 0.1 * np.linalg.norm(W, axis=(-2, -1))
    memory: Floats | None = None
    first, done = np.zeros(len(W)), np.zeros(len(W), bool)
    for n in range(steps):
        gradient = _gradient(W, value, problem)
        size = np.linalg.norm(gradient, axis=(-2, -1))
        first = size if n == 0 else first
        done = size < 1e-4 * first
        if done.all():
            break
        # conjugate directions, carried along by projection, restarted where they do not ascend
        direction = gradient
        if memory is not None:
            old, previous = memory
            beta = np.maximum(
                0.0,
                (gradient * (gradient - old)).sum((-2, -1))
                / np.maximum((old**2).sum((-2, -1)), 1e-300),
            )
            trial = gradient + beta[:, None, None] * previous
            uphill = (trial * gradient).sum((-2, -1)) > 0.1 * size * np.linalg.norm(
                trial, axis=(-2, -1)
            )
            direction = np.where(uphill[:, None, None], trial, gradient)
        unit = (
            direction / np.maximum(np.linalg.norm(direction, axis=(-2, -1)), 1e-300)[:, None, None]
        )
        moved = np.zeros(len(W), bool)
        length = 2 * step
        for _ in range(24):
            there, ok = project(W + length[:, None, None] * unit, problem, 6)
            height = np.where(ok, value(there), -np.inf)
            better = (
                ~moved & ~done & (height > best) & (np.linalg.norm(there, axis=(-2, -1)) < limit)
            )
            W, best = np.where(better[:, None, None], there, W), np.where(better, height, best)
            step = np.where(better, length, step)
            moved |= better
            if (moved | done).all():
                break
            length = np.where(moved, length, 0.5 * length)
        memory = np.stack([gradient, direction])
        done |= ~moved & (size < 1e-3 * first)
    return W, done


def _gradient(W: Floats, value: Callable[[Floats], Floats], problem: FixedRankProblem) -> Floats:
    """Of ``value`` on S ∩ M_r, as matrices."""
    directions = free_directions(W, problem)
    h = 1e-4 * np.linalg.norm(W, axis=(-2, -1))[:, None, None]
    out = np.zeros_like(W)
    for a in range(problem.free):
        Z = directions[:, a]
        ahead, behind = project(W + h * Z, problem, 3)[0], project(W - h * Z, problem, 3)[0]
        out += ((value(ahead) - value(behind)) / (2 * h[:, 0, 0]))[:, None, None] * Z
    return out
