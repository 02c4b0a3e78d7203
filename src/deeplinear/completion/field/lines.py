"""Lines and curves through the observed cells of each column, along an order of the rows."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import reverse_cuthill_mckee

from .gaussian_field import Cells
from .graph import Weights

# Parts of an order that nothing joins lie so many typical steps from each other.
_GAP = 10.0


@dataclass(frozen=True)
class Lines:
    """What lies between the observed cells before and behind each missing one.

    ``straight`` (m, n): on the line between the two; ``curved``: on the cubic curve through all
    observed cells of the column that rises and falls where they do (PCHIP: Fritsch and Butland
    1984). ``distance``: from the nearer of the two, in typical steps. NaN at observed cells, at
    either end, and across gaps in the order.
    """

    straight: np.ndarray
    curved: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, cells: Cells, order: Weights) -> "Lines | None":
        """Those of ``cells`` along ``order``, if it puts the rows one after the other: each has two
        neighbours at most, and there is no ring.
        """
        found = _line(order)
        if found is None:
            return None
        rows, place, part = found
        seen, values = cells.weights[rows] > 0, cells.values[rows]
        before, behind = _nearest(seen)
        some = ~seen & (before >= 0) & (behind < len(rows))
        before, behind = np.where(some, before, 0), np.where(some, behind, 0)
        some &= part[before] == part[behind]
        distance = np.minimum(place[:, None] - place[before], place[behind] - place[:, None])
        straight, curved = np.zeros(seen.shape), np.zeros(seen.shape)
        for j in np.flatnonzero(some.any(axis=0)):
            known, asked = place[seen[:, j]], place[some[:, j]]
            straight[some[:, j], j], curved[some[:, j], j] = _between(
                known, values[seen[:, j], j], asked
            )
        back = np.argsort(rows)
        return cls(*(np.where(some, x, np.nan)[back] for x in (straight, curved, distance)))

    def within(self, reach: float) -> "Lines":
        """As far as ``reach``, NaN elsewhere."""
        with np.errstate(invalid="ignore"):
            near = self.distance <= reach
        return Lines(*(np.where(near, x, np.nan) for x in vars(self).values()))

    def at(self, cells: tuple[np.ndarray, np.ndarray]) -> "Lines":
        """Those of some cells alone."""
        return Lines(*(x[cells] for x in vars(self).values()))

    def rows(self, at: np.ndarray, new: np.ndarray) -> "Lines":
        """Those of the rows ``at``, none in rows that are ``new``."""
        return Lines(*(np.where(new[:, None], np.nan, x[at]) for x in vars(self).values()))

    def towards(self, completed: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """``completed`` (m, n) moved to the straight lines by ``shares[0]`` (n,) of the way, and
        then to the curves by ``shares[1]``, where there are any.
        """
        for share, along in zip(shares, (self.straight, self.curved), strict=True):
            moved = completed + share * (along - completed)
            completed = np.where(np.isnan(along), completed, moved)
        return completed


def lines_within(cells: Cells, order: Weights, reach: float) -> Lines | None:
    """The lines of ``cells`` along ``order`` as far as ``reach``, if there are any."""
    found = Lines.of(cells, order)
    return None if found is None else found.within(reach)


def _between(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.interpolate import PchipInterpolator

    return np.interp(at, x, y), PchipInterpolator(x, y)(at)


def _line(order: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The rows along a line, the place of each on it, and in which part of the line it lies."""
    rows = reverse_cuthill_mckee(order.tocsr(), symmetric_mode=True)
    along = order[rows][:, rows]
    weights = along.diagonal(1)
    if along.nnz != 2 * np.count_nonzero(weights) or not weights.any():
        return None
    joined = weights > 0
    typical = np.median(weights[joined])
    steps = np.where(joined, typical / np.where(joined, weights, 1.0), _GAP)
    place, part = (np.append(0, np.cumsum(x)) for x in (steps, ~joined))
    return rows, place, part


def _nearest(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last row at or before each one that is ``seen`` (m, n), or −1; the next one, or m."""
    m = len(seen)
    rows = np.arange(m)[:, None]
    before = np.maximum.accumulate(np.where(seen, rows, -1), axis=0)
    behind = np.minimum.accumulate(np.where(seen, rows, m)[::-1], axis=0)[::-1]
    return before, behind
