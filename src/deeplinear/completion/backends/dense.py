"""The passes as products of dense matrices in NumPy: for tables, and for anything small.

No compiler has to be loaded, and where a good part of the entries is observed BLAS is as fast as a
loop over them. These are also the formulas that every other backend has to agree with.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..data.observations import Compressed
from .base import AbstractBackend, Blocks, Pass, blocks_of, total

# Numbers of the small matrices of a block of lines.
_SMALL = 1 << 21


class Table:
    """One order of the entries as dense arrays x and w (lines, others), 0 where unobserved."""

    def __init__(self, lines: Compressed, others: int) -> None:
        count = len(lines.counts)
        line = np.repeat(np.arange(count), lines.counts)
        self.x = np.zeros((count, others), lines.values.dtype)
        self.w = np.zeros((count, others), lines.values.dtype)
        self.x[line, lines.indices] = lines.values
        self.w[line, lines.indices] = lines.weights if lines.weights.size else 1
        self.blocks = blocks_of(count, others)
        self._signs: tuple[int, np.ndarray] | None = None

    def signs(self, seed: int) -> np.ndarray:
        """±1 for every cell; those of the last seed are kept, for products ask often."""
        if self._signs is None or self._signs[0] != seed:
            m, n = self.x.shape
            self._signs = seed, random_signs(m, n, seed).astype(self.x.dtype)
        return self._signs[1]


class Dense(AbstractBackend):
    """All passes on dense arrays of the size of the matrix, block by block of lines."""

    def __init__(self, pool: ThreadPoolExecutor | None = None) -> None:
        super().__init__(pool)
        self._tables: dict[int, tuple[Compressed, Table]] = {}

    def _table(self, lines: Compressed, others: int) -> Table:
        if id(lines) not in self._tables:  # holds on to ``lines``, so that the id stays its own
            self._tables[id(lines)] = lines, Table(lines, others)
        return self._tables[id(lines)][1]

    def forget(self, lines: Compressed) -> None:
        self._tables.pop(id(lines), None)

    def solve(self, lines, Z, Y, mean, ridge, extra, scale, free, steps) -> Pass:
        table, squares = self._table(lines, len(Y)), Y * Y

        def block(lo: int, hi: int) -> Pass:
            x, w, z = table.x[lo:hi], table.w[lo:hi], Z[lo:hi]
            e = x - mean
            e -= z @ Y.T
            we = w * e
            energy = float(np.vdot(we, e)) / 2
            grad, square = we @ Y, w @ squares
            seen = Pass(energy, (z * grad).sum(axis=0), (z * z * square).sum(axis=0))
            if steps:
                decay = ridge * scale[lo:hi, None] + extra
                _descend(z, grad - decay * z, square + decay, decay, (w, Y), free, steps)
            return seen

        return total(self.run(table.blocks, block))

    def residual_matmul(self, lines, Z, Y, X, mean, seed) -> np.ndarray:
        table = self._table(lines, len(Y))
        out = np.empty((len(Z), X.shape[1]), Z.dtype)
        signs = table.signs(seed) if seed else None

        def block(lo: int, hi: int) -> None:
            e = table.x[lo:hi] - mean
            e -= Z[lo:hi] @ Y.T
            e *= table.w[lo:hi]
            if signs is not None:
                e *= signs[lo:hi]
            np.matmul(e, X, out=out[lo:hi])

        self.run(table.blocks, block)
        return out

    def pulls(self, rows, cols, Z, Y, mean, *, energy=True) -> tuple[np.ndarray, np.ndarray, float]:
        table, left = self._table(rows, len(Y)), np.empty_like(Z)

        def block(lo: int, hi: int) -> tuple[np.ndarray, float]:
            e = Z[lo:hi] @ Y.T
            np.subtract(table.x[lo:hi], e, out=e)
            if mean:
                e -= mean
            we = table.w[lo:hi] * e
            np.matmul(we, Y, out=left[lo:hi])
            return we.T @ Z[lo:hi], float(np.vdot(we, e)) / 2

        parts = self.run(table.blocks, block)
        return left, sum((part for part, _ in parts[1:]), parts[0][0]), sum(e for _, e in parts)

    def draw(self, lines, other, mean, precision, prior, pull, shift, noise):
        table, f = self._table(lines, len(other)), other.shape[1]
        y = np.column_stack([other[:, :-1], np.ones(len(other))])
        out, centres, squares = np.empty_like(noise), np.empty_like(noise), np.empty(len(noise))
        precision = np.broadcast_to(
            precision,
            (len(table.x), 1)
            if np.ndim(precision) == 0
            else (len(table.x), np.shape(precision)[1]),
        )

        def block(lo: int, hi: int) -> None:
            w = table.w[lo:hi] * precision[lo:hi]
            e = table.x[lo:hi] - mean - other[:, -1]
            A = prior + _grams(w, y)
            c = pull + (w * e) @ y
            if len(shift):
                c += shift[lo:hi]
            L = np.linalg.cholesky(A)
            # A⁻¹ c = L⁻ᵀ (L⁻¹ c), and L⁻ᵀ turns standard normal numbers into draws of N(0, A⁻¹)
            half = np.linalg.solve(L, c[:, :, None])
            both = np.concatenate([half, half + noise[lo:hi, :, None]], axis=2)
            both = np.linalg.solve(L.transpose(0, 2, 1), both)
            centres[lo:hi], out[lo:hi] = both[:, :, 0], both[:, :, 1]
            e -= out[lo:hi] @ y.T
            squares[lo:hi] = np.sum(table.w[lo:hi] * e**2, axis=1)

        self.run(_small_blocks(len(table.x), f), block)
        return out, centres, squares

    def leverage(self, lines, mine, theirs, other, ridge, scale, asked) -> np.ndarray:
        table, f = self._table(lines, len(other)), other.shape[1]
        who, place = np.unique(mine, return_inverse=True)
        order = np.argsort(place, kind="stable")
        edges = np.searchsorted(place[order], np.arange(len(who) + 1))
        out, diagonal = np.empty(len(mine)), np.arange(f)

        def block(lo: int, hi: int) -> None:
            A = _grams(table.w[who[lo:hi]].astype(float), other)
            A[:, diagonal[:-1], diagonal[:-1]] += ridge[:-1] * scale[who[lo:hi], None]
            A[:, -1, -1] += ridge[-1]
            root = _inverse_root(A)
            for g in range(lo, hi):
                some = order[edges[g] : edges[g + 1]]
                out[some] = np.square(asked[theirs[some]] @ root[g - lo]).sum(axis=1)

        self.run(_small_blocks(len(who), f), block)
        return out


def _descend(z, grad, diagonal, decay, entries, free, steps) -> None:
    """Conjugate gradients on every line at once, in place on ``z``; see `loops.solve`."""
    w, Y = entries
    eps = np.finfo(z.dtype).eps
    inverse = np.divide(free, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
    direction = inverse * grad
    norm = np.einsum("ik,ik->i", grad, direction)
    # a line of few entries is exact after as many steps: beyond, rounding would be taken for a
    # gradient, of no curvature
    least = norm * (64 * eps) ** 2
    for _ in range(steps):
        image = (w * (direction @ Y.T)) @ Y + decay * direction
        curve = np.einsum("ik,ik->i", direction, image)
        go = (norm > least) & (curve > eps * norm)
        if not go.any():
            return
        length = np.divide(norm, curve, out=np.zeros_like(norm), where=go)[:, None]
        z += length * direction
        grad = grad - length * image
        new = np.einsum("ik,ik,ik->i", grad, grad, inverse)
        ratio = np.divide(new, norm, out=np.zeros_like(norm), where=go)
        direction = inverse * grad + ratio[:, None] * direction
        norm = np.where(go, new, 0)


def _grams(w: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Σ_j w_ij y_j y_jᵀ for every line i, (lines, f, f)."""
    n, f = y.shape
    if n * f * f <= _SMALL:  # all outer products at once, while they are small
        outer = (y[:, :, None] * y[:, None, :]).reshape(n, f * f)
        return (w @ outer).reshape(-1, f, f)
    return np.stack(
        [(line[seen, None] * y[seen]).T @ y[seen] for line, seen in zip(w, w > 0, strict=True)]
    )


def _inverse_root(A: np.ndarray) -> np.ndarray:
    """S (lines, f, f) with S Sᵀ = A⁻¹; A is singular where few entries have no ridge."""
    try:
        L = np.linalg.cholesky(A)
        return np.linalg.inv(L).transpose(0, 2, 1)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(A)
        return vectors / np.sqrt(np.maximum(values, 1e-300))[:, None, :]


def _small_blocks(lines: int, f: int) -> Blocks:
    """Blocks of lines whose f×f matrices fit into the cache or nearly so."""
    step = max(1, _SMALL // (f * f))
    return [(lo, min(lo + step, lines)) for lo in range(0, lines, step)]


def random_signs(m: int, n: int, seed: int) -> np.ndarray:
    """±1 for (i, j), a hash that is symmetric in i and j, as splitmix64 mixes bits."""
    i, j = np.arange(m, dtype=np.uint64)[:, None], np.arange(n, dtype=np.uint64)
    with np.errstate(over="ignore"):
        h = np.maximum(i, j) * np.uint64(0x9E3779B97F4A7C15)
        h += np.minimum(i, j) * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(seed)
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.where(h >> np.uint64(63) == 1, 1, -1)
