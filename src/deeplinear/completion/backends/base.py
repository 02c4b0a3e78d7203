"""What a completion backend is: the few passes over the observed entries that a fit consists of."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from ..data.observations import Compressed
from .lanes import filled
from .pairs import at

# Bytes that memory hands out at a time.
CACHE_LINE = 64
# Cells of a dense table in a block; and where lines are long, so many lines that reading the other
# side once for all of them costs little, but some blocks are left for threads to share.
_CELLS = 1 << 16
_LINES, _BLOCKS = 64, 8
Blocks = list[tuple[int, int]]
Product = Callable[[np.ndarray], np.ndarray]
T = TypeVar("T")


def padded(rank: int) -> int:
    """The number of columns of sides of ``rank`` components alone: as fast as fewer would be."""
    return rank if rank <= 2 else 4 if rank <= 4 else filled(rank)


def width(rank: int) -> int:
    """Padded number of columns for ``rank`` components and the two biases."""
    return filled(rank + 2)


def side(lines: int, columns: int, dtype: DTypeLike) -> np.ndarray:
    """Zeros (lines, columns) that begin on a cache line.

    A row of 16 numbers in float32 is one line then, and fetched in half the time of two halves.
    """
    kind = np.dtype(dtype)
    raw = np.zeros(lines * columns * kind.itemsize + CACHE_LINE, np.uint8)
    begin = -raw.ctypes.data % CACHE_LINE
    return raw[begin : begin + lines * columns * kind.itemsize].view(kind).reshape(lines, columns)


def _widened(sides: np.ndarray) -> np.ndarray:
    """The sides with columns of zeros up to the next width that passes take."""
    missing = filled(sides.shape[1]) - sides.shape[1]
    return np.pad(sides, ((0, 0), (0, missing))) if missing else sides


class Pass(NamedTuple):
    """What a pass over the lines saw before it moved them.

    E = ½ Σ w e², Σ_i z_i (R y)_i and Σ_i z_i² (w y²)_i of every column of the sides.
    """

    energy: float
    pull: np.ndarray
    bend: np.ndarray


class Look(NamedTuple):
    """What a pass over the lines sees that moves nothing: the first two numbers of `Pass`."""

    energy: float
    pull: np.ndarray


class Kept(NamedTuple):
    """A `Look` with what it kept: R Y (lines, w), and the function X → R X."""

    look: Look
    own: np.ndarray
    product: Product


def total(parts: list[Pass]) -> Pass:
    """What the passes over several blocks saw together, summed in their order."""
    energies, pulls, bends = zip(*parts, strict=True)
    return Pass(
        sum(energies), np.sum(pulls, axis=0, dtype=float), np.sum(bends, axis=0, dtype=float)
    )


def blocks_of(lines: int, others: int) -> Blocks:
    """Blocks of the lines of a dense table, which do not depend on how many threads share them."""
    step = max(1, _CELLS // others, min(_LINES, -(-lines // _BLOCKS)))
    return [(lo, min(lo + step, lines)) for lo in range(0, lines, step)]


def run_blocks(
    pool: ThreadPoolExecutor | None, blocks: Blocks, call: Callable[[int, int], T]
) -> list[T]:
    """``call(lo, hi)`` for every block of lines, in the threads of ``pool``, if there are any."""
    if pool is None or len(blocks) < 2:
        return [call(lo, hi) for lo, hi in blocks]
    return list(pool.map(lambda block: call(*block), blocks))


class AbstractBackend(ABC):
    """Where and how the observed entries are passed over; the rest of a fit is the same code.

    Both sides of the factorization carry their biases, so that a prediction is one dot product:

        row i:  z_i = (p_i, a_i, 1, 0 …),   column j:  y_j = (q_j, 1, b_j, 0 …),
        prediction:  mean + z_i · y_j = mean + p_i · q_j + a_i + b_j.

    The width is `width` of the rank: padded with zeros. A pass takes ``lines`` (`Compressed`: the
    entries row by row, or column by column with Z and Y exchanged); the residual of an entry is
    e = x − mean − z·y, R is the matrix of the w e.

    A new backend derives from this class and implements `solve`, `residual_matmul`, `draw` and
    `leverage` so that they agree with `deeplinear.completion.backends.dense`, which is the
    formulas in NumPy, and may have better ways for `solve_biases`, `products`, `look`, `keep`,
    `pulls` and `indicator`. It may keep copies of the entries between calls (``lines`` are never
    changed) and must return the same numbers whatever the number of threads. `open_backend`
    chooses.
    """

    def __init__(self, pool: ThreadPoolExecutor | None = None) -> None:
        self.pool = pool

    def run(self, blocks: Blocks, call: Callable[[int, int], T]) -> list[T]:
        """``call(lo, hi)`` for every block of lines; the results in the order of the blocks."""
        return run_blocks(self.pool, blocks, call)

    @abstractmethod
    def solve(
        self,
        lines: Compressed,
        Z: np.ndarray,
        Y: np.ndarray,
        mean: np.floating,
        ridge: np.ndarray,
        extra: np.ndarray,
        scale: np.ndarray,
        free: np.ndarray,
        steps: int,
    ) -> Pass:
        """Lower ½ Σ_j w_ij e_ij² + ½ Σ_k (ridge_k scale_i + extra_k) z_ik² over the free z_ik.

        ``steps`` conjugate-gradient steps for every line, in place, with the diagonal as
        preconditioner. **Shapes**: Z (lines, w), Y (others, w), ridge, extra, free (w,), scale
        (lines,); free is 1 or 0.
        """

    @abstractmethod
    def residual_matmul(
        self,
        lines: Compressed,
        Z: np.ndarray,
        Y: np.ndarray,
        X: np.ndarray,
        mean: np.floating,
        seed: int,
    ) -> np.ndarray:
        """R X, (lines, k) for X (others, k); ``seed`` > 0 gives every residual a random sign.

        The sign is a hash of the entry's position and the seed, the same in both orders of lines.
        """

    def solve_biases(
        self,
        lines: Compressed,
        Z: np.ndarray,
        Y: np.ndarray,
        mean: np.floating,
        column: int,
        ridge: float,
        steps: int,
    ) -> Pass:
        """`solve` at rank 0, where only the biases, column ``column`` (0 or 1) of Z, can move."""
        none, extra, free = (np.zeros(Z.shape[1], Z.dtype) for _ in range(3))
        extra[column], free[column] = ridge, 1
        return self.solve(lines, Z, Y, mean, none, extra, np.ones(len(Z), Z.dtype), free, steps)

    def products(
        self, lines: Compressed, Z: np.ndarray, Y: np.ndarray, mean: np.floating, seed: int
    ) -> Product:
        """The function X → R X of `residual_matmul`, for many X at one state.

        A backend may keep the residuals for it: one number per entry, as long as it lives.
        """
        return lambda X: self.residual_matmul(lines, Z, Y, X, mean, seed)

    def pulls(
        self,
        rows: Compressed,
        cols: Compressed,
        Z: np.ndarray,
        Y: np.ndarray,
        mean: np.floating,
        *,
        energy: bool = True,
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """(R Y, Rᵀ Z, ½ Σ w e²), of the entries row by row and column by column.

        In one pass where a backend can: each residual is needed for both sides. Unless the
        ``energy`` is asked for, it may be NaN. The sides may be of any width.
        """
        r = Z.shape[1]
        Z, Y = (_widened(each) for each in (Z, Y))
        left = self.residual_matmul(rows, Z, Y, Y, mean, 0)
        right = self.residual_matmul(cols, Y, Z, Z, mean, 0)
        value = self.look(rows, Z, Y, mean).energy if energy else math.nan
        return left[:, :r], right[:, :r], value

    def look(self, lines: Compressed, Z: np.ndarray, Y: np.ndarray, mean: np.floating) -> Look:
        """E and Σ_i z_i (R y)_i of every column of the sides."""
        none, one = np.zeros(Z.shape[1], Z.dtype), np.ones(len(Z), Z.dtype)
        return Look(*self.solve(lines, Z, Y, mean, none, none, one, none, 0)[:2])

    def keep(self, lines: Compressed, Z: np.ndarray, Y: np.ndarray, mean: np.floating) -> Kept:
        """`look`, R Y, and `products` without random signs: all of one pass, where that can be."""
        product = self.products(lines, Z, Y, mean, 0)
        return Kept(self.look(lines, Z, Y, mean), product(Y), product)

    def indicator(self, lines: Compressed, others: int) -> Product:
        """The function X → 1_Ω X for X (``others``, k): sums of its rows over a line's entries."""
        from scipy.sparse import csr_array

        ones = np.ones(len(lines.values), lines.values.dtype)
        shape = len(lines.indptr) - 1, others
        matrix = csr_array((ones, lines.indices.astype(np.int32), lines.indptr), shape=shape)
        return lambda X: matrix @ X.astype(ones.dtype, copy=False)

    @abstractmethod
    def draw(
        self,
        lines: Compressed,
        other: np.ndarray,
        mean: float,
        precision: float | np.ndarray,
        prior: np.ndarray,
        pull: np.ndarray,
        shift: np.ndarray,
        noise: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw (p_i, a_i) of every line from N(A_i⁻¹ c_i, A_i⁻¹), given the others' (q_j, b_j).

        A_i = prior + Σ_j α_ij w_ij y_j y_jᵀ, c_i = pull + shift_i + Σ_j α_ij w_ij y_j (x_ij − μ −
        b_j), y_j = (q_j, 1), α = ``precision``; ``noise`` holds standard normal numbers. Returns
        the draws, the conditional means A_i⁻¹ c_i, and Σ_j w_ij e_ij² of each line at the draws.
        **Shapes**: other (others, r + 1), precision () or (lines or 1, others or 1), prior (r+1,
        r+1), pull (r+1,), shift (lines or 0, r+1), noise (lines, r+1).
        """

    @abstractmethod
    def leverage(
        self,
        lines: Compressed,
        mine: np.ndarray,
        theirs: np.ndarray,
        other: np.ndarray,
        ridge: np.ndarray,
        scale: np.ndarray,
        asked: np.ndarray,
    ) -> np.ndarray:
        """x_tᵀ A_i⁻¹ x_t for the questions t: i = mine_t, x_t = asked[theirs_t].

        A_i = Σ_{j ∈ Ω_i} w_ij y_j y_jᵀ + diag(ridge_k scale_i) with y_j = other_j; the last column,
        that of the bias, has no scale.
        """

    def forget(self, lines: Compressed) -> None:  # noqa: B027 (for backends that keep copies)
        """``lines`` are not passed over again: copies of them may go."""

    def centre(self, lines: Compressed) -> float:
        """The mean of all entries, where a fit begins."""
        return float(
            np.average(lines.values, weights=lines.weights if lines.weights.size else None)
        )

    def predict(
        self, rows: np.ndarray, cols: np.ndarray, Z: np.ndarray, Y: np.ndarray, mean: float
    ) -> np.ndarray:
        """mean + z_i · y_j at the pairs (rows_t, cols_t), in the type of Z."""
        return at(rows, cols, Z, Y, mean)
