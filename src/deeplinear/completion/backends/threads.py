"""The compiled loops as a backend: blocks of lines, worked off by a few threads.

The blocks depend on the data alone, so that sums come out the same whatever the number of threads.
"""

from collections import deque
from collections.abc import Sized
from concurrent.futures import ThreadPoolExecutor
from weakref import finalize

import numpy as np

from ..data.observations import Compressed
from .base import CACHE_LINE, AbstractBackend, Kept, Look, Pass, Product, side, total
from .lanes import FOUR, LANES, filled
from .pairs import check_inside

# Bytes of a matrix that stay in the caches nearest to one processor.
_NEAR = 1 << 21
# Parts of the rows that sum over the columns apart, to be added up.
_PARTS = 8


def _check(lines: Compressed, mine: Sized, *others: np.ndarray) -> None:
    """IndexError unless there is a row of ``mine`` per line, and one of ``others`` per index."""
    if len(mine) != len(lines.indptr) - 1 or min(map(len, others)) < lines.span:
        raise IndexError("the sides have other lengths than the lines of the entries")


def _check_width(mine: np.ndarray) -> None:
    """IndexError unless the loops, which take several numbers at a time, end with the sides."""
    if mine.shape[1] != filled(mine.shape[1]):
        raise IndexError(f"the width of the sides, {mine.shape[1]}, is no multiple of {LANES}")


class Loops(AbstractBackend):
    """The passes on the compiled loops of `loops`: linear in the number of entries.

    Memory for residuals is kept until the backend goes: new memory has to be cleared, and where
    that of a machine is in pieces put together, which can take longer than all products.
    """

    def __init__(self, pool: ThreadPoolExecutor | None = None) -> None:
        super().__init__(pool)
        self._spare: deque[np.ndarray] = deque(maxlen=2)  # one for each order of the entries

    def _room(self, lines: Compressed, dtype: np.dtype) -> np.ndarray:
        """A number per entry of ``lines``, in memory that no `_product` uses any more."""
        for _ in range(len(self._spare)):
            try:  # whoever has taken it out has it, of several threads too
                array = self._spare.popleft()
            except IndexError:
                break
            if (len(array), array.dtype) == (len(lines.values), dtype):
                return array
            self._spare.append(array)
        return np.empty(len(lines.values), dtype)

    def solve(self, lines, Z, Y, mean, ridge, extra, scale, free, steps) -> Pass:
        from . import loops

        _check(lines, Z, Y)
        _check_width(Z)

        how = ridge, extra, scale, free

        def block(lo: int, hi: int) -> Pass:
            pull, bend = np.zeros(Z.shape[1]), np.zeros(Z.shape[1])
            energy = loops.solve(lo, hi, lines.arrays, mean, Z, Y, how, steps, pull, bend)
            return Pass(energy, pull, bend)

        return total(self.run(lines.blocks, block))

    def residual_matmul(self, lines, Z, Y, X, mean, seed) -> np.ndarray:
        from . import loops

        _check(lines, Z, Y, X)

        out = np.empty((len(Z), X.shape[1]), Z.dtype)
        self.run(
            lines.blocks,
            lambda lo, hi: loops.residual_matmul(lo, hi, lines.arrays, mean, Z, Y, X, out, seed),
        )
        return out

    def solve_biases(self, lines, Z, Y, mean, column, ridge, steps) -> Pass:
        from . import loops_residual

        _check(lines, Z, Y)

        biases, others = Z[:, column].copy(), Y[:, 1 - column].copy()
        call = mean, biases, others, Z.dtype.type(ridge), steps > 0
        energies = self.run(
            lines.blocks,
            lambda lo, hi: loops_residual.solve_biases(lo, hi, lines.arrays, *call),
        )
        Z[:, column] = biases
        none = np.zeros(Z.shape[1])
        return Pass(sum(energies), none, none)

    def products(self, lines, Z, Y, mean, seed) -> Product:
        from . import loops_residual

        _check(lines, Z, Y)
        kept = self._room(lines, Z.dtype)
        if Z[:, 2:].any() or Y[:, 2:].any():
            self._look(lines, Z, Y, mean, (kept, side(len(Z), Z.shape[1], Z.dtype)))
        else:
            call = lines.arrays, mean, Z[:, :2].copy(), Y[:, :2].copy(), kept
            self.run(lines.blocks, lambda lo, hi: loops_residual.bias_residual(lo, hi, *call))
        if seed:
            signs = lines.indptr, lines.indices, seed, kept
            self.run(lines.blocks, lambda lo, hi: loops_residual.randomize(lo, hi, *signs))
        return self._product(lines, len(Z), kept)

    def look(self, lines, Z, Y, mean) -> Look:
        return self._look(lines, Z, Y, mean)

    def keep(self, lines, Z, Y, mean) -> Kept:
        kept = self._room(lines, Z.dtype)
        own = side(len(Z), Z.shape[1], Z.dtype)
        seen = self._look(lines, Z, Y, mean, (kept, own))
        return Kept(seen, own, self._product(lines, len(Z), kept))

    def indicator(self, lines: Compressed, others: int) -> Product:
        ones = np.ones(len(lines.values), lines.values.dtype)
        return self._product(lines, len(lines.indptr) - 1, ones)

    def _look(self, lines, Z, Y, mean, rooms: tuple[np.ndarray, np.ndarray] | None = None) -> Look:
        """`look`; the w e of all entries, and R Y, go into ``rooms``."""
        from . import loops_residual

        _check(lines, Z, Y)
        _check_width(Z)
        w, keep = Z.shape[1], rooms is not None

        def block(lo: int, hi: int) -> tuple[float, np.ndarray]:
            kept, own = rooms or (np.empty(FOUR, Z.dtype), np.empty((1, w), Z.dtype))
            pull = np.zeros(w)
            call = mean, Z, Y, keep, kept, own, pull
            return loops_residual.look(lo, hi, lines.arrays, *call), pull

        found = self.run(lines.blocks, block)
        energy, pull = sum(part[0] for part in found), sum((part[1] for part in found), np.zeros(w))
        return Look(energy, pull)

    def _product(self, lines: Compressed, height: int, kept: np.ndarray) -> Product:
        """X → R X for the w e of all entries, whose memory is free again when it goes."""
        from . import loops_residual

        each = CACHE_LINE // kept.itemsize  # numbers in a cache line

        def part(X: np.ndarray) -> np.ndarray:
            k = X.shape[1]
            wide = filled(k)
            row = LANES if k <= LANES else -(-wide // each) * each
            padded, out = side(len(X), row, kept.dtype), side(height, wide, kept.dtype)
            padded[:, :k] = X
            call = lines.indptr, lines.indices, kept, padded, out
            self.run(lines.blocks, lambda lo, hi: loops_residual.matmul(lo, hi, *call))
            return out[:, :k]

        def vector(x: np.ndarray) -> np.ndarray:
            out = np.empty(height, kept.dtype)
            call = lines.indptr, lines.indices, kept, np.ascontiguousarray(x), out
            self.run(lines.blocks, lambda lo, hi: loops_residual.matvec(lo, hi, *call))
            return out

        def product(X: np.ndarray) -> np.ndarray:
            _check(lines, range(height), X)
            k = X.shape[1]
            if k == 1:
                return vector(X[:, 0])[:, None]
            if k <= each or X.nbytes <= _NEAR:
                return part(X)
            # a row of X is far away: one cache line of all rows stays nearer than two
            return np.hstack([part(X[:, lo : lo + each]) for lo in range(0, k, each)])

        finalize(product, self._spare.append, kept).atexit = False
        return product

    def pulls(self, rows, cols, Z, Y, mean, *, energy=True) -> tuple[np.ndarray, np.ndarray, float]:
        from . import loops

        _check(rows, Z, Y)

        narrow = {1: loops.pulls_1, 2: loops.pulls_2, 4: loops.pulls_4}
        plain = narrow.get(Z.shape[1], loops.pulls)
        left, each = np.empty_like(Z), -(-len(rows.blocks) // _PARTS)
        parts = [rows.blocks[k : k + each] for k in range(0, len(rows.blocks), each)]

        def part(lo: int, hi: int) -> tuple[np.ndarray, float]:
            right = side(len(Y), Y.shape[1], Y.dtype)
            return right, plain(lo, hi, rows.arrays, mean, Z, Y, left, right)

        found = self.run([(some[0][0], some[-1][1]) for some in parts], part)
        right = found[0][0]
        for own, _ in found[1:]:
            right += own
        return left, right, sum(own for _, own in found)

    def draw(self, lines, other, mean, precision, prior, pull, shift, noise):
        from . import loops_posterior

        _check(lines, noise, other)

        out, centres = np.empty_like(noise), np.empty_like(noise)
        squares = np.empty(len(noise))
        precision = np.array(precision, float, ndmin=2)
        both = (
            np.broadcast_to(precision[:, 0], len(noise)).copy(),
            np.broadcast_to(precision[0] / precision[0, 0], len(other)).copy(),
        )
        common = mean, other, (prior, pull, shift, noise), both, (out, centres, squares)

        def block(lo: int, hi: int) -> None:
            loops_posterior.draw_lines(lo, hi, lines.arrays, *common)

        self.run(lines.blocks, block)
        return out, centres, squares

    def leverage(self, lines, mine, theirs, other, ridge, scale, asked) -> np.ndarray:
        from . import loops_posterior

        _check(lines, scale, other)
        check_inside(mine, len(scale))
        check_inside(theirs, len(asked))

        # the questions of a line together: its matrix is factored once
        order = np.argsort(mine, kind="stable")
        who, starts = np.unique(mine[order], return_index=True)
        starts = np.append(starts, len(mine)).astype(np.int64)
        step = max(1, len(who) // 64)
        blocks = [(lo, min(lo + step, len(who))) for lo in range(0, len(who), step)]
        answers, out = np.empty(len(mine)), np.empty(len(mine))
        common = other, (ridge, scale), (starts, asked, theirs[order]), answers
        self.run(
            blocks, lambda lo, hi: loops_posterior.leverage(lo, hi, who, lines.arrays, *common)
        )
        out[order] = answers
        return out

    def predict(self, rows, cols, Z, Y, mean) -> np.ndarray:
        from . import loops

        check_inside(rows, len(Z))
        check_inside(cols, len(Y))
        out = np.empty(len(rows), Z.dtype)
        loops.at(0, len(rows), rows, cols, Z.dtype.type(mean), Z, Y, out)
        return out
