"""Triples of entries into lines sorted by row and by column: NumPy for few, compiled for many.

Both ways give the same arrays. The compiled loops take linear time and no memory beside their
result, but their first call loads a compiler, which takes longer than NumPy's sort of few entries.
"""

import numpy as np

from ...extras import installed

#: (indptr, indices, values, weights) as in `observations.Compressed`.
Lines = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
#: (rows, columns, values, weights); no weights: an empty array.
Unsorted = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

FEW = 200_000  # below, NumPy's sort takes less time than loading the compiled loops


def by_rows(
    triples: Unsorted, shape: tuple[int, int], duplicates: str
) -> tuple[Lines, int, tuple[int, int]]:
    """(lines, number of repetitions, (row, column) of the first repetition).

    Repetitions are merged as ``duplicates`` says ("mean" or "last"), and left in for "error".
    """
    return (_sorted if _is_few(triples[2]) else _bucketed)(triples, shape, duplicates)


def _is_few(values: np.ndarray) -> bool:
    """Whether NumPy sorts: also where there is no compiler."""
    return len(values) < FEW or not installed("numba")


def transposed(lines: Lines, columns: int) -> Lines:
    """The same entries line by line along the other axis."""
    indptr, indices, values, weights = lines
    if _is_few(values):
        order = np.argsort(indices, kind="stable")  # stable: each new line comes out sorted
        rows = np.repeat(np.arange(len(indptr) - 1, dtype=np.uint32), np.diff(indptr))
        return (
            _indptr(indices, columns),
            rows[order],
            values[order],
            weights[order] if weights.size else weights,
        )
    from . import compress_loops

    new = _empty(columns, values, weights)
    compress_loops.transpose(*lines, *new)
    return new


def _sorted(
    triples: Unsorted, shape: tuple[int, int], duplicates: str
) -> tuple[Lines, int, tuple[int, int]]:
    rows, cols, values, weights = triples
    order = np.lexsort((cols, rows))  # stable: repetitions stay in the order of the input
    i, j, x = rows[order], cols[order], values[order]
    w = weights[order] if weights.size else weights
    again = np.zeros(len(x), bool)
    again[1:] = (i[1:] == i[:-1]) & (j[1:] == j[:-1])
    count, first = int(again.sum()), (-1, -1)
    if count:
        place = int(np.argmax(again))
        first = int(i[place]), int(j[place])
    if count and duplicates != "error":
        begin = np.flatnonzero(~again)
        last = np.append(begin[1:], len(x)) - 1
        if duplicates == "mean":
            x, w = _means(x, w, begin, last - begin + 1)
        else:
            x, w = x[last], w[last] if w.size else w
        i, j = i[begin], j[begin]
    return (_indptr(i, shape[0]), j.astype(np.uint32), x, w), count, first


def _means(
    x: np.ndarray, w: np.ndarray, begin: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means of runs of entries, and the mean weight of each run; sums in float64."""
    run = np.repeat(np.arange(len(begin)), counts)
    mass = np.bincount(run, w, len(begin)) if w.size else counts.astype(float)
    total = np.bincount(run, w.astype(float) * x if w.size else x, len(begin))
    # a single entry stays as it is: w·x/w need not be x
    means = np.where(counts > 1, total / mass, x[begin]).astype(x.dtype)
    return means, (mass / counts).astype(w.dtype) if w.size else w


def _bucketed(
    triples: Unsorted, shape: tuple[int, int], duplicates: str
) -> tuple[Lines, int, tuple[int, int]]:
    """Triples → columns in any order → rows, sorted."""
    from . import compress_loops

    rows, cols, values, weights = triples
    loose = _empty(shape[1], values, weights)
    compress_loops.bucket(cols, rows, values, weights, *loose)
    lines = _empty(shape[0], values, weights)
    compress_loops.transpose(*loose, *lines)
    del loose
    count, row, col = compress_loops.first_duplicate(*lines[:2])
    if count and duplicates != "error":
        kept = compress_loops.merge(*lines, duplicates == "mean")
        indptr, *arrays = lines
        indices, x, w = (array[:kept].copy() if array.size else array for array in arrays)
        lines = indptr, indices, x, w
    return lines, int(count), (int(row), int(col))


def _indptr(lines: np.ndarray, count: int) -> np.ndarray:
    """Where each of ``count`` lines begins, and the end of the last."""
    indptr = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(lines.astype(np.int64, copy=False), minlength=count), out=indptr[1:])
    return indptr


def _empty(lines: int, values: np.ndarray, weights: np.ndarray) -> Lines:
    return (
        np.zeros(lines + 1, np.int64),
        np.empty(len(values), np.uint32),
        np.empty_like(values),
        np.empty_like(weights),
    )
