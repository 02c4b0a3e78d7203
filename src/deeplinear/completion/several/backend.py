"""The passes of a fit where every process has some of the lines, and all have the factors."""

import numpy as np

from ..backends.base import AbstractBackend, Kept, Look, Pass, Product
from .group import Group
from .shared import SharedLines


class Processes(AbstractBackend):
    """The passes of an ``inner`` backend over the own lines; then all get each other's results.

    A line is summed by one process in the order of its entries, so that factors come out as on one
    process; sums over all lines add up in another order.
    """

    def __init__(self, inner: AbstractBackend, group: Group) -> None:
        super().__init__(inner.pool)
        self.inner, self.group = inner, group

    def solve(self, lines, Z, Y, mean, ridge, extra, scale, free, steps) -> Pass:
        seen = _nothing(Z)
        if lines.blocks:
            seen = self.inner.solve(lines, Z, Y, mean, ridge, extra, scale, free, steps)
        return self._summed(lines, Z, seen, steps)

    def solve_biases(self, lines, Z, Y, mean, column, ridge, steps) -> Pass:
        seen = _nothing(Z)
        if lines.blocks:
            seen = self.inner.solve_biases(lines, Z, Y, mean, column, ridge, steps)
        if steps:
            Z[:, column] = self._all(lines, Z[:, column])
        return self._summed(lines, Z, seen, 0)

    def residual_matmul(self, lines, Z, Y, X, mean, seed) -> np.ndarray:
        return self._all(lines, self.inner.residual_matmul(lines, Z, Y, X, mean, seed))

    def products(self, lines, Z, Y, mean, seed) -> Product:
        product = self.inner.products(lines, Z, Y, mean, seed)
        return lambda X: self._all(lines, product(X))

    def look(self, lines, Z, Y, mean) -> Look:
        return self._looked(self.inner.look(lines, Z, Y, mean))

    def keep(self, lines, Z, Y, mean) -> Kept:
        seen, own, product = self.inner.keep(lines, Z, Y, mean)
        return Kept(
            self._looked(seen), self._all(lines, own), lambda X: self._all(lines, product(X))
        )

    def draw(self, lines, other, mean, precision, prior, pull, shift, noise):
        raise NotImplementedError("posterior draws are those of one process")

    def leverage(self, lines, mine, theirs, other, ridge, scale, asked) -> np.ndarray:
        """Of own lines alone: each process asks its own questions."""
        return self.inner.leverage(lines, mine, theirs, other, ridge, scale, asked)

    def centre(self, lines: SharedLines) -> float:  # type: ignore[override]
        total = self.group.total(lines.values.sum(dtype=float))
        return float(total) / int(lines.all_counts.sum())

    def _all(self, lines: SharedLines, array: np.ndarray) -> np.ndarray:
        """The rows of all lines, from the processes that have them."""
        first, end = lines.own
        return self.group.concatenate(array[first:end], lines.lengths)

    def _looked(self, seen: Look) -> Look:
        sums = self.group.total(np.concatenate([[seen.energy], seen.pull]))
        return Look(float(sums[0]), sums[1:])

    def _summed(self, lines: SharedLines, Z: np.ndarray, seen: Pass, steps: int) -> Pass:
        if steps:
            Z[:] = self._all(lines, Z)
        sums = self.group.total(np.concatenate([[seen.energy], seen.pull, seen.bend]))
        width = len(seen.pull)
        return Pass(float(sums[0]), sums[1 : 1 + width], sums[1 + width :])


def _nothing(Z: np.ndarray) -> Pass:
    """What a process without lines sees."""
    return Pass(0.0, np.zeros(Z.shape[1]), np.zeros(Z.shape[1]))
