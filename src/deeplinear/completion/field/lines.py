"""Lines and curves through the observed cells of each column, along an order of the rows."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from scipy.sparse.csgraph import reverse_cuthill_mckee

from .gaussian_field import Cells
from .graph import Weights

Places: TypeAlias = np.ndarray | tuple[np.ndarray, np.ndarray]
# A step longer than so many typical ones is a gap in the order.
_GAP = 1e3


@dataclass(frozen=True)
class Lines:
    """What lies between the observed cells before and behind each missing one.

    ``straight`` (m, n): on the line between the two; ``curved``: on the cubic curve through all
    observed cells of the column that rises and falls where they do (PCHIP: Fritsch and Butland
    1984), over the rows that the order joins. NaN at observed cells, at either end, and across gaps
    in the order.
    """

    straight: np.ndarray
    curved: np.ndarray

    @classmethod
    def of(cls, cells: Cells, order: Weights) -> "tuple[Lines, np.ndarray] | None":
        """Those of ``cells`` along ``order``, and how far each lies from the nearer one of the two
        cells (m, n), in typical steps.

        None unless the order puts the rows one after the other: each has two neighbours at most,
        and there is no ring.
        """
        found = _line(order)
        if found is None:
            return None
        rows, place, ends = found
        seen, values = cells.weights[rows] > 0, cells.values[rows]
        out = np.full((3, *seen.shape), np.nan)
        for lo, hi in ends:
            for j in np.flatnonzero(~seen[lo:hi].all(axis=0)):
                known = lo + np.flatnonzero(seen[lo:hi, j])
                asked = lo + np.flatnonzero(~seen[lo:hi, j])
                if len(known) > 1:
                    asked = asked[(known[0] < asked) & (asked < known[-1])]
                    out[:, asked, j] = _between(place[known], values[known, j], place[asked])
        straight, curved, distance = out[:, np.argsort(rows)]
        return cls(straight, curved), distance

    def only(self, mask: np.ndarray) -> "Lines":
        """Those where the ``mask`` (m, n) or (m, 1) is true."""
        return Lines(*(np.where(mask, x, np.nan) for x in (self.straight, self.curved)))

    def at(self, cells: Places) -> "Lines":
        """Those of some cells or rows."""
        return Lines(self.straight[cells], self.curved[cells])

    def towards(self, completed: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """``completed`` (m, n) moved to the straight lines by ``shares[0]`` (n,) of the way, and
        then to the curves by ``shares[1]``, where there are any.
        """
        for share, along in zip(shares, (self.straight, self.curved), strict=True):
            moved = completed + share * (along - completed)
            completed = np.where(np.isnan(along), completed, moved)
        return completed


def whole_shares(shares: np.ndarray) -> np.ndarray:
    """How far `Lines.towards` goes with these ``shares`` (2, n), straight and curved together."""
    return 1 - np.prod(1 - shares, axis=0)


def lines_within(cells: Cells, order: Weights, reach: float) -> Lines | None:
    """The lines of ``cells`` along ``order`` as far as ``reach``, if there are any."""
    found = Lines.of(cells, order)
    return None if found is None else found[0].only(found[1] <= reach)


def _between(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, ...]:
    """What is on the line, on the curve, and the distance of each from the nearer of two cells."""
    from scipy.interpolate import PchipInterpolator

    behind = np.searchsorted(x, at)
    distance = np.minimum(at - x[behind - 1], x[behind] - at)
    return np.interp(at, x, y), PchipInterpolator(x, y)(at), distance


def _line(order: Weights) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]] | None:
    """The rows along a line, the place of each in typical steps, and the parts of the line between
    its gaps, as (first row, behind the last).
    """
    rows = reverse_cuthill_mckee(order.tocsr(), symmetric_mode=True)
    along = order[rows][:, rows]
    weights = along.diagonal(1)
    if along.nnz != 2 * np.count_nonzero(weights) or not weights.any():
        return None
    with np.errstate(divide="ignore"):
        steps = 1 / weights
    near = steps <= _GAP * np.median(steps[weights > 0])
    # equal times are joined by short steps, which are not the typical ones
    unit = np.median(steps[near & (steps > 0.5 * steps[near].mean())])
    place = np.append(0.0, np.cumsum(np.where(near, steps / unit, 1.0)))
    breaks = [0, *(1 + np.flatnonzero(~near)), len(rows)]
    return rows, place, list(pairwise(breaks))
