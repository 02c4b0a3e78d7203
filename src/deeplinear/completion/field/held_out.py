"""Held-out cells as the judges of a completion, and what is stacked by them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..solver.fit_state import held_out_size, standard_error
from .lines import Lines

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# What all columns together tell of the share of one: as much as so many held-out cells of its own
# (of a category: numbers say little about labels).
_POOLED = 50
_POOLED_LABELS = 5
_NOTHING = 1e-300
# Parts of the held-out cells, each of which is judged with what the others choose.
_PARTS = 5


@dataclass(frozen=True)
class HeldOut:
    """Held-out cells of a table: codes, and values in its scaled units.

    ``owner`` (n,) says to which feature a column belongs: a category has several.
    ``label_losses``: of categories, the log loss of predictions of all held-out cells.
    ``column_noise``: whether errors are judged by a noise level of each column.
    """

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    owner: np.ndarray
    label_losses: Mapping[int, Callable[[np.ndarray], float]] = field(default_factory=dict)
    column_noise: bool = True

    def gaps(self, matrix: np.ndarray) -> np.ndarray:
        return matrix[self.rows, self.cols] - self.values

    def size(self, gaps: np.ndarray) -> float:
        return held_out_size(gaps, self.cols, self.column_noise)

    def shares(
        self, before: np.ndarray, after: np.ndarray, judged: np.ndarray | None = None
    ) -> np.ndarray:
        """The share of each column (n,) on the way between two completions with these gaps.

        The one of least loss in its held-out cells that are ``judged`` (all), relative to that
        ``before``, and a little in those of all columns: square errors of numbers, log losses of
        categories.
        """
        judged = np.ones(len(before), bool) if judged is None else judged
        mine = self.owner[self.cols[judged]]
        gaps = [before + share * (after - before) for share in SHARES]
        lost = (np.bincount(mine, gap[judged] ** 2, self.owner.max() + 1) for gap in gaps)
        own, count = np.stack(list(lost)), np.bincount(mine, minlength=self.owner.max() + 1)
        # a column that some share ruins does not speak for the others more than its cells do
        bounded = count * own / np.maximum(own.max(axis=0), _NOTHING)
        everywhere = bounded.sum(axis=1, keepdims=True) / count.sum()
        pooled = np.full(own.shape[1], float(_POOLED))
        for feature, loss in self.label_losses.items():
            pooled[feature] = _POOLED_LABELS
            own[:, feature] = [loss(self.values + np.where(judged, x, before)) for x in gaps]
        own *= count / np.maximum(own[0], np.maximum(1e-6 * own.max(axis=0), _NOTHING))
        return np.array(SHARES)[(own + pooled * everywhere).argmin(axis=0)][self.owner]

    def crossed(self, gaps: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The gaps of each part of the held-out cells, with what the others have chosen.

        ``gaps`` (judged): all gaps, as those that are judged choose. Columns of one category are
        in one part.
        """
        features = int(self.owner.max()) + 1
        cells = np.unique(self.rows * features + self.owner[self.cols], return_inverse=True)[1]
        part = (np.random.default_rng(0).permutation(cells.max() + 1) % _PARTS)[cells]
        return np.choose(part, [gaps(part != k) for k in range(_PARTS)])

    def sizes(self, matrix: np.ndarray) -> np.ndarray:
        """The root mean square error of each column (n,), mixed with that of all."""
        squares = self.gaps(matrix) ** 2
        count = np.bincount(self.cols, minlength=matrix.shape[1])
        own = np.bincount(self.cols, squares, matrix.shape[1])
        return np.sqrt((own + squares.mean()) / (count + 1))

    def gain(self, before: np.ndarray, after: np.ndarray) -> float:
        """What the error loses between two ``gaps``, in standard errors."""
        error = standard_error(before, after, self.cols, self.column_noise)
        return (self.size(before) - self.size(after)) / error if error > 0 else 0.0


@dataclass(frozen=True)
class Stack:
    """Completions one upon the other: the ``network``, a ``field``, and ``lines`` between cells.

    Each column goes a share of the way from the network to the field, and from there to the lines.
    """

    network: np.ndarray
    field: np.ndarray
    lines: Lines | None = None

    def completed(self, shares: np.ndarray, line_shares: np.ndarray) -> np.ndarray:
        """With the shares of the field (n,), of straight lines and of curves (2, n)."""
        refined = self.network + shares * (self.field - self.network)
        return refined if self.lines is None else self.lines.towards(refined, line_shares)

    def at(self, cells: tuple[np.ndarray, np.ndarray]) -> "Stack":
        """The same of some cells alone."""
        lines = None if self.lines is None else self.lines.at(cells)
        return Stack(self.network[cells], self.field[cells], lines)

    def shares(
        self, held: HeldOut, judged: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Those of `completed`, one after another, by the cells that are ``judged`` (all)."""
        own, n = self.at((held.rows, held.cols)), self.network.shape[1]
        shares, lines = np.zeros(n), np.zeros((2, n))
        for each in (shares,) if self.lines is None else (shares, *lines):
            before = own.completed(shares[held.cols], lines[:, held.cols])
            each[:] = 1.0
            after = own.completed(shares[held.cols], lines[:, held.cols])
            each[:] = held.shares(before - held.values, after - held.values, judged)
        return shares, lines

    def gaps(self, held: HeldOut) -> np.ndarray:
        """Of the held-out cells, each with shares that it had no part in."""
        own = self.at((held.rows, held.cols))

        def chosen(judged: np.ndarray) -> np.ndarray:
            shares, lines = self.shares(held, judged)
            return own.completed(shares[held.cols], lines[:, held.cols]) - held.values

        return held.crossed(chosen)
