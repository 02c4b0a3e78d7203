"""Straight lines between the observed cells before and behind each missing one, along an order."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import reverse_cuthill_mckee

from .gaussian_field import Cells
from .graph import Weights


@dataclass(frozen=True)
class Lines:
    """``values`` (m, n) on the lines, NaN where there is none; ``distance`` (m, n) of each cell
    from the nearer one of the two observed cells, in typical steps.

    There are no lines at observed cells, at either end, and across gaps in the order.
    """

    values: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, cells: Cells, order: Weights) -> "Lines | None":
        """The lines of ``cells`` along ``order``, if it puts the rows one after the other: each
        has two neighbours at most, and there is no ring.
        """
        found = _line(order)
        if found is None:
            return None
        rows, place, part = found
        seen = cells.weights[rows] > 0
        before, behind = _nearest(seen)
        some = ~seen & (before >= 0) & (behind < len(rows))
        before, behind = np.where(some, before, 0), np.where(some, behind, 0)
        some &= part[before] == part[behind]
        x = np.take_along_axis(cells.values[rows], before, 0)
        y = np.take_along_axis(cells.values[rows], behind, 0)
        left, right = place[:, None] - place[before], place[behind] - place[:, None]
        with np.errstate(invalid="ignore"):
            values = (x * right + y * left) / (left + right)
        nearer = np.minimum(left, right)
        back = np.argsort(rows)
        return cls(*(np.where(some, x, np.nan)[back] for x in (values, nearer)))

    def within(self, reach: float) -> np.ndarray:
        """The values (m, n) as far as ``reach``, NaN elsewhere."""
        with np.errstate(invalid="ignore"):
            return np.where(self.distance <= reach, self.values, np.nan)


def lines_within(cells: Cells, order: Weights, reach: float) -> np.ndarray | None:
    """The lines of ``cells`` along ``order`` as far as ``reach``, if there are any."""
    found = Lines.of(cells, order)
    return None if found is None else found.within(reach)


def towards(completed: np.ndarray, lines: np.ndarray, shares: np.ndarray | float) -> np.ndarray:
    """``shares`` (n,) of the way from ``completed`` (m, n) to ``lines``, where there are any."""
    return np.where(np.isnan(lines), completed, completed + shares * (lines - completed))


def _line(order: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The rows along a line, the place of each on it, and in which part of the line it lies."""
    rows = reverse_cuthill_mckee(order.tocsr(), symmetric_mode=True)
    along = order[rows][:, rows]
    weights = along.diagonal(1)
    if along.nnz != 2 * np.count_nonzero(weights) or not weights.any():
        return None
    joined = weights > 0
    typical = np.median(weights[joined])
    steps = np.where(joined, typical / np.where(joined, weights, 1.0), 0.0)
    place, part = (np.append(0, np.cumsum(x)) for x in (steps, ~joined))
    return rows, place, part


def _nearest(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last row at or before each one that is ``seen`` (m, n), or −1; the next one, or m."""
    m = len(seen)
    rows = np.arange(m)[:, None]
    before = np.maximum.accumulate(np.where(seen, rows, -1), axis=0)
    behind = np.minimum.accumulate(np.where(seen, rows, m)[::-1], axis=0)[::-1]
    return before, behind
