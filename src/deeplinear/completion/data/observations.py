"""The observed entries of a large matrix: compressed by rows and by columns, checked once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ...errors import InputError
from ..schema import REAL, WHOLE, Field, Schema, check_arrays
from . import compress
from .ids import as_array
from .sparse import check_compressed

# Entries per block: enough to forget the cost of a call, few enough to share out evenly.
BLOCK = 1 << 17


# The arrays of `Compressed`; no weights where all are 1.
_LINES: Schema = {
    "indptr": Field(WHOLE, ("lines+1",)),
    "indices": Field(WHOLE, ("entries",)),
    "values": Field(REAL, ("entries",)),
    "weights": Field(REAL, ("entries",), may_be_empty=True),
}


class RepeatedEntriesError(InputError):
    """Entries that come more than once: how many, and the row and column of the first.

    Row and column are positions, or the ids (of any type) that the data have.
    """

    def __init__(
        self,
        count: int,
        row: Any,
        col: Any,
        name: str = "rows and cols",
        fix: str = "pass",
    ) -> None:
        self.count, self.row, self.col = count, row, col
        super().__init__(
            f"{name} must name every entry once, got {count} repetition(s), the first of row "
            f"{row!r}, column {col!r}: {fix}"
            f' duplicates="mean" or duplicates="last", or drop them.'
        )


@dataclass(frozen=True)
class Compressed:
    """Entries line by line: line i has the sorted indices ``indices[indptr[i]:indptr[i+1]]``.

    Values and weights lie at the same places; ``weights`` is empty when all weights are 1.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    weights: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Entries per line."""
        return np.diff(self.indptr)

    @cached_property
    def blocks(self) -> list[tuple[int, int]]:
        return blocks(self.indptr)

    @cached_property
    def span(self) -> int:
        """The largest index + 1: of how many lines of the other side there must be.

        **Raises** `InputError` for lines that compiled loops would follow out of their memory, and
        for values or weights that are not finite; what `Observations.from_triples` makes has none.
        """
        count = len(self.indptr) - 1
        sizes = check_arrays(_LINES, vars(self), {"lines": count}, entries=False)
        for name in ("values", "weights"):
            _check_finite(getattr(self, name), name)
        span = int(self.indices.max(initial=0)) + 1
        try:
            check_compressed(self.indptr, self.indices, count, span)
        except ValueError as error:
            raise InputError(f"observations: {error}: make them with from_triples.") from None
        if self.indptr[-1] != sizes["entries"] or self.weights.min(initial=1) <= 0:
            raise InputError(
                "observations must have as many entries as their lines, of positive weights: make "
                "them with from_triples."
            )
        return span

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.indptr, self.indices, self.values, self.weights


@dataclass(frozen=True)
class Observations:
    """Observed entries x_ij with weights w_ij > 0 of an m×n matrix, by row and by column.

    Made by `from_triples`.

    >>> seen = Observations.from_triples([0, 2, 0], [1, 0, 0], [5.0, 4.0, 3.0], (3, 2))
    >>> seen.nnz, seen.shape, seen.by_row.values.tolist()
    (3, (3, 2), [3.0, 5.0, 4.0])
    """

    by_row: Compressed
    by_col: Compressed
    shape: tuple[int, int]

    @classmethod
    def from_triples(
        cls,
        rows: ArrayLike,
        cols: ArrayLike,
        values: ArrayLike,
        shape: tuple[int, int],
        *,
        weights: ArrayLike | None = None,
        dtype: DTypeLike | None = None,
        duplicates: Literal["error", "mean", "last"] = "error",
    ) -> "Observations":
        """Entries ``values[t]`` at (``rows[t]``, ``cols[t]``), in any order, sorted in linear time.

        **Shapes**: four vectors of one length; ``shape`` = (m, n), each below 2³². **dtype**:
        float32 or float64, by default that of ``values`` (float64 for integers). ``duplicates``:
        ``"error"``, or ``"mean"`` (weighted; the weights are averaged too), or ``"last"``. Entries
        of weight 0 are dropped.

        **Memory**: 2·(4 + itemsize) bytes per entry afterwards, no more on the way (16 B in
        float32; the weights as the values). Below `compress.FEW` entries more, for NumPy's sort:
        few entries do not wait for a compiler.

        **Raises** `InputError` for lengths that differ, indices that are no integers or out of
        range, values or weights that are not finite (with the first position), negative weights,
        and duplicates.
        """
        m, n = check_shape(shape)
        i, j = check_indices(rows, m, "rows"), check_indices(cols, n, "cols")
        x = _numbers(values, dtype, "values")
        w = _weights(weights, x)
        lengths = {"rows": len(i), "cols": len(j), "values": len(x)}
        if len(set(lengths.values())) > 1 or (w.size and len(w) != len(x)):
            listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
            raise InputError(
                f"rows, cols, values and weights must have one length, got {listed}, weights: "
                f"{len(w)}."
            )
        if duplicates not in ("error", "mean", "last"):
            raise InputError(f'duplicates must be "error", "mean" or "last", got {duplicates!r}.')
        if w.size and not w.all():
            keep = w > 0
            i, j, x, w = i[keep], j[keep], x[keep], w[keep]
        by_row, count, first = compress.by_rows((i, j, x, w), (m, n), duplicates)
        if count and duplicates == "error":
            raise RepeatedEntriesError(count, *first)
        by_col = compress.transposed(by_row, n)
        return cls(Compressed(*by_row), Compressed(*by_col), (m, n))

    def check(self) -> None:
        """`InputError` unless both orders of the entries fit the shape: looked at once."""
        for lines, (mine, others) in ((self.by_row, self.shape), (self.by_col, self.shape[::-1])):
            if len(lines.indptr) != mine + 1 or (lines.span > others and len(lines.indices)):
                raise InputError(
                    f"observations must fit the shape {self.shape}: make them with from_triples."
                )

    @property
    def nnz(self) -> int:
        """Number of observed entries."""
        return len(self.by_row.indices)

    @property
    def dtype(self) -> np.dtype:
        return self.by_row.values.dtype

    @cached_property
    def mean(self) -> float:
        """Σ w x / Σ w."""
        lines = self.by_row
        weights = lines.weights if lines.weights.size else None
        return float(np.average(lines.values, weights=weights))

    @cached_property
    def largest(self) -> float:
        """max |x|; 0 without entries."""
        values = self.by_row.values
        return float(max(values.max(initial=0.0), -values.min(initial=0.0)))

    @cached_property
    def spread(self) -> float:
        """The standard deviation of the values, in 64 bits, without a copy of them."""
        values = self.by_row.values
        return math.sqrt(squared_gaps(values, values.mean(dtype=float)) / len(values))

    @property
    def marks(self) -> tuple[np.ndarray, ...]:
        """Arrays that tell these entries from others."""
        return self.by_row.arrays

    @property
    def T(self) -> "Observations":
        """The transposed matrix; nothing is copied."""
        return Observations(self.by_col, self.by_row, self.shape[::-1])

    @cached_property
    def weight(self) -> float:
        """Σ w_ij, the number of entries where there are no weights."""
        return (
            float(self.by_row.weights.sum(dtype=float))
            if self.by_row.weights.size
            else float(self.nnz)
        )

    def rescaled(self, size: float = 1.0) -> "Observations":
        """The same entries with values in units of ``size`` and weights of mean 1."""
        mean = self.weight / self.nnz if self.nnz else 1.0

        def side(lines: Compressed) -> Compressed:
            values = lines.values / lines.values.dtype.type(size) if size != 1 else lines.values
            return Compressed(
                lines.indptr, lines.indices, values, lines.weights / lines.weights.dtype.type(mean)
            )

        return Observations(side(self.by_row), side(self.by_col), self.shape)

    def mean_square(self, gaps: np.ndarray) -> float:
        """Σ w e² / Σ w, for gaps e at the entries row by row."""
        square, weights = np.square(gaps, dtype=float), self.by_row.weights
        total = float(np.sum(square * weights if weights.size else square))
        return total / max(self.weight, 1e-300)

    def triples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, cols, values), row by row."""
        rows = np.repeat(np.arange(self.shape[0], dtype=np.uint32), self.by_row.counts)
        return rows, self.by_row.indices, self.by_row.values


def squared_gaps(values: np.ndarray, mean: float) -> float:
    """Σ (x − mean)² in 64 bits, a piece of the values at a time."""
    pieces = (values[lo : lo + BLOCK] - np.float64(mean) for lo in range(0, len(values), BLOCK))
    return sum(float(gaps @ gaps) for gaps in pieces)


def blocks(indptr: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of lines, in order, with about `BLOCK` entries and at most `BLOCK` lines each."""
    lines = len(indptr) - 1
    work = indptr[1:] + np.arange(1, lines + 1)
    ends = np.searchsorted(work, np.arange(BLOCK, work[-1] if lines else 0, BLOCK)) + 1
    edges = np.unique(np.r_[0, ends, lines])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def check_shape(shape: Sequence[int]) -> tuple[int, int]:
    """``shape`` as two integers; `InputError` unless both lie between 1 and 2³² − 1."""
    try:
        m, n = (int(side) for side in shape)
    except (TypeError, ValueError):
        raise InputError(f"shape must be two integers (rows, columns), got {shape!r}.") from None
    if not (0 < m < 2**32 and 0 < n < 2**32):
        raise InputError(f"shape must have two sides between 1 and 2**32 - 1, got {shape!r}.")
    return m, n


def check_indices(index: ArrayLike, side: int, name: str) -> np.ndarray:
    """``index`` as a vector of integers in 0 … ``side`` − 1.

    **Raises** `InputError` with the first position that holds anything else.
    """
    index = as_array(index)
    if index.ndim != 1:
        raise InputError(f"{name} must be a vector of indices, got shape {index.shape}.")
    if index.dtype.kind not in "iu":
        if index.size and not (index.dtype.kind == "f" and np.array_equal(index, np.floor(index))):
            raise InputError(
                f"{name} must hold integers (positions counted from 0), got dtype {index.dtype}: "
                "number the ids first."
            )
        index = index.astype(np.int64)
    if index.size:
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= side:
            where = int(np.argmax(index < 0) if low < 0 else np.argmax(index >= side))
            raise InputError(
                f"{name} must lie between 0 and {side - 1}, got {index[where]} at position "
                f"{where}: check the shape, or number the ids from 0."
            )
    return index


def _numbers(values: ArrayLike, dtype: DTypeLike | None, name: str) -> np.ndarray:
    values = as_array(values)
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise InputError(
            f"{name} must be a vector of real numbers, got dtype {values.dtype} and shape "
            f"{values.shape}."
        )
    wanted = (
        np.dtype(dtype)
        if dtype is not None
        else values.dtype
        if values.dtype in (np.float32, np.float64)
        else np.dtype(float)
    )
    if wanted not in (np.float32, np.float64):
        raise InputError(f"dtype must be float32 or float64, got {wanted}.")
    _check_finite(values, name)
    if values.dtype.itemsize > wanted.itemsize and values.size and wanted == np.float32:
        largest = max(abs(float(values.max())), abs(float(values.min())))
        if largest > np.finfo(np.float32).max:
            raise InputError(
                f"{name} must fit into float32, got {largest:g}: use dtype=float64 or scale them."
            )
    return values.astype(wanted, copy=False)


def _check_finite(values: np.ndarray, name: str) -> None:
    # a sum is finite unless an entry is not, or it overflows: only then look at each
    with np.errstate(over="ignore", invalid="ignore"):
        if values.dtype.kind != "f" or np.isfinite(values.sum(dtype=float)):
            return
    bad = ~np.isfinite(values)
    if bad.any():
        raise InputError(
            f"{name} must be finite, got {int(bad.sum())} NaN or infinite value(s), the first at "
            f"position {int(np.argmax(bad))}: leave missing entries out."
        )


def _weights(weights: ArrayLike | None, values: np.ndarray) -> np.ndarray:
    if weights is None:
        return np.zeros(0, values.dtype)
    weights = _numbers(weights, values.dtype, "weights")
    if weights.size and weights.min() < 0:
        first = int(np.argmax(weights < 0))
        raise InputError(f"weights must be ≥ 0, got {weights[first]:g} at position {first}.")
    return weights
