"""Which entries are held out: at random, most of some rows, or runs of successive rows.

Choices are right for entries that are missing as the held-out ones are: where most of a row is
missing, or a sensor for days, hold out that.
"""

from typing import Literal

import numpy as np

Structure = Literal["entries", "rows", "blocks"]
STRUCTURES: tuple[Structure, ...] = ("entries", "rows", "blocks")
# What is hidden of a row that is held out.
_HIDDEN = 0.8
# Of a row that has lost most of its cells this part is missing at least; a gap is long that is so
# much longer than those of cells missing at random.
_MOST, _LONG = 0.5, 3.0
# Blocks are at most this part of the rows long, and leave this part of their column to train on.
_LONGEST, _LEFT = 0.1, 0.5


def held_out_mask(count: int, fraction: float, rng: np.random.RandomState) -> np.ndarray:
    """A mask of ``fraction`` of ``count`` entries at random, at least one and not all.

    It depends on nothing else, so that all depths compare on the same entries.
    """
    size = _size(count, fraction)
    out = np.zeros(count, dtype=bool)
    out[rng.permutation(count)[:size]] = True
    return out


def held_out_rows(rows: np.ndarray, fraction: float, rng: np.random.RandomState) -> np.ndarray:
    """A mask of ``fraction`` of the entries, in ``rows`` (sorted codes): most of some rows."""
    starts = np.flatnonzero(np.append(True, np.diff(rows) != 0))
    ends = np.append(starts[1:], len(rows))
    out, size = np.zeros(len(rows), dtype=bool), _size(len(rows), fraction)
    for line in rng.permutation(len(starts)):
        hidden = min(int(np.floor(_HIDDEN * (ends[line] - starts[line]))), size)
        own = rng.permutation(np.arange(starts[line], ends[line]))[:hidden]
        out[own] = True
        size -= hidden
        if not size:
            break
    return out if out.any() else held_out_mask(len(rows), fraction, rng)


def held_out_blocks(
    rows: np.ndarray,
    cols: np.ndarray,
    shape: tuple[int, int],
    fraction: float,
    rng: np.random.RandomState,
) -> np.ndarray:
    """A mask of ``fraction`` of the entries at (rows, cols): runs of successive rows of a column.

    They are as long as the runs that are missing in the table (`typical_gap`).
    """
    place = np.full(shape, -1)
    place[rows, cols] = np.arange(len(rows))
    length = typical_gap(place >= 0)
    left = np.bincount(cols, minlength=shape[1]) * (1 - _LEFT)
    out, size = np.zeros(len(rows), dtype=bool), _size(len(rows), fraction)
    for cell in rng.permutation(len(rows)):
        start, column = max(int(rows[cell]) - length // 2, 0), cols[cell]  # codes are unsigned
        run = place[start : start + length, column]
        run = run[run >= 0]
        run = run[~out[run]][:size]
        if len(run) > left[column]:
            continue
        out[run] = True
        left[column] -= len(run)
        size -= len(run)
        if not size:
            break
    return out if out.any() else held_out_mask(len(rows), fraction, rng)


def typical_gap(observed: np.ndarray) -> int:
    """The length of the run of missing cells down a column in which a missing cell lies, at the
    median; between 2 and a tenth of the rows.
    """
    m, n = observed.shape
    padded = np.vstack([np.ones((1, n), bool), observed, np.ones((1, n), bool)]).T.ravel()
    edges = np.diff(padded.astype(np.int8))
    lengths = np.flatnonzero(edges > 0) - np.flatnonzero(edges < 0)
    typical = int(np.median(np.repeat(lengths, lengths))) if len(lengths) else 1
    return max(2, min(typical, int(_LONGEST * m)))


def likeness(observed: np.ndarray, *, in_order: bool) -> Structure:
    """The structure that missing cells are like: most of those in a minority of the rows lie in
    rows of which most is missing, or, in order, in long gaps down the columns; else entries.
    """
    missing = ~observed
    share, count = missing.mean(axis=1), int(missing.sum())
    bare = share > _MOST
    if count and bare.mean() < 0.5 and missing[bare].sum() > 0.5 * count:
        return "rows"
    q = count / observed.size
    random_gap = (1 + q) / (1 - q) if q < 1 else np.inf  # of the run in which a missing cell lies
    if in_order and typical_gap(observed) > _LONG * random_gap:
        return "blocks"
    return "entries"


def _size(count: int, fraction: float) -> int:
    return min(max(1, round(fraction * count)), count - 1)
