"""Entries spread over the processes: rows in one of them, columns in one of them, never all."""

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ...errors import InputError
from ..data import compress
from ..data.observations import (
    Compressed,
    Observations,
    RepeatedEntriesError,
    blocks,
    squared_gaps,
)
from .group import Group
from .numbering import Numbering


@dataclass(frozen=True)
class SharedLines(Compressed):
    """The lines ``own`` = (first, end) with their entries; the others are here without.

    ``all_counts``: entries per line, of all lines; ``lengths`` (processes,): how many lines each
    process has.
    """

    own: tuple[int, int] = (0, 0)
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    all_counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def counts(self) -> np.ndarray:
        return self.all_counts

    @cached_property
    def blocks(self) -> list[tuple[int, int]]:
        first, end = self.own
        return [(first + lo, first + hi) for lo, hi in blocks(self.indptr[first : end + 1])]

    @property
    def lines(self) -> np.ndarray:
        """The line of each entry."""
        return np.repeat(np.arange(len(self.indptr) - 1, dtype=np.uint32), np.diff(self.indptr))

    @classmethod
    def of(
        cls, group: Group, lines: compress.Lines, own: tuple[int, int], count: int
    ) -> "SharedLines":
        """From the own ``lines`` of ``count``, numbered from 0."""
        indptr, indices, values, weights = lines
        before, behind = np.zeros(own[0], np.int64), np.full(count - own[1], indptr[-1])
        lengths = group.stack(np.array(own[1] - own[0]))
        counts = group.concatenate(np.diff(indptr), lengths)
        indptr = np.concatenate([before, indptr, behind])
        return cls(indptr, indices, values, weights, own, lengths, counts)

    def only(self, group: Group, keep: np.ndarray) -> "SharedLines":
        """The entries where the mask ``keep`` is true."""
        first, end = self.own
        per_line = np.bincount(self.lines[keep].astype(np.int64) - first, minlength=end - first)
        indptr = np.concatenate([[0], np.cumsum(per_line)])
        arrays = indptr, self.indices[keep], self.values[keep], self.weights
        return SharedLines.of(group, arrays, self.own, len(self.indptr) - 1)


@dataclass(frozen=True)
class SharedObservations(Observations):
    """Entries of which each process has its own rows and its own columns.

    All numbers that a fit asks for are those of the entries of all processes, the same in each.
    """

    by_row: SharedLines
    by_col: SharedLines
    group: Group = field(default_factory=Group)

    @cached_property
    def nnz(self) -> int:
        return int(self.by_row.all_counts.sum())

    @cached_property
    def weight(self) -> float:
        return float(self.nnz)

    @cached_property
    def mean(self) -> float:
        return float(self.group.total(self.by_row.values.sum(dtype=float))) / self.nnz

    @cached_property
    def largest(self) -> float:
        return float(self.group.stack(np.array(super().largest)).max())

    @cached_property
    def spread(self) -> float:
        squares = self.group.total(squared_gaps(self.by_row.values, self.mean))
        return math.sqrt(float(squares) / self.nnz)

    @cached_property
    def marks(self) -> tuple[np.ndarray, ...]:
        digest = hashlib.blake2b(digest_size=16)
        for array in self.by_row.arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return (self.group.stack(np.frombuffer(digest.digest(), np.uint8)),)

    def mean_square(self, gaps: np.ndarray) -> float:
        """Σ e² / nnz, for gaps e at the own entries, row by row."""
        return float(self.group.total(np.square(gaps, dtype=float).sum())) / self.nnz

    def triples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, cols, values) of the own rows."""
        return self.by_row.lines, self.by_row.indices, self.by_row.values

    def split(
        self, fraction: float, seed: int
    ) -> tuple["SharedObservations", tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(the entries without a ``fraction`` of them, which is held out, as triples, everywhere).

        Which ones depends on their positions and the seed alone. **Raises** `InputError` if all
        or none are held out.
        """
        rows, cols, values = self.triples()
        out = _chance(rows, cols, seed) < fraction
        held = tuple(self.group.concatenate(part[out]) for part in (rows, cols, values))
        if not 0 < len(held[0]) < self.nnz:
            raise InputError(
                f"validation_fraction must hold out some of {self.nnz} entries, but not all, got "
                f"{fraction:g}: {len(held[0])} of them."
            )
        behind = _chance(self.by_col.indices, self.by_col.lines, seed) < fraction
        by_row, by_col = self.by_row.only(self.group, ~out), self.by_col.only(self.group, ~behind)
        return replace(self, by_row=by_row, by_col=by_col), held  # type: ignore[return-value]


def distribute(
    numberings: tuple[Numbering, Numbering],
    codes: tuple[np.ndarray, np.ndarray],
    values: np.ndarray,
    duplicates: str,
) -> SharedObservations:
    """The entries that each process has read, with those to whom their rows and columns belong.

    **Raises** `RepeatedEntriesError` (in every process) as `Observations.from_triples` does.
    """
    rows, cols = numberings
    group, shape = rows.group, (rows.size, cols.size)
    kind = np.dtype([("line", np.uint32), ("index", np.uint32), ("value", values.dtype)])
    lines, repeated = _lines_of(rows, _packed(*codes, values, kind), cols.size, duplicates)
    count = int(group.total(repeated[0]))
    if count and duplicates == "error":
        row, col = next(pair for n, *pair in group.stack(np.array(repeated)).tolist() if n)
        ids = rows.label(row), cols.label(col)
        raise RepeatedEntriesError(count, *ids, name="shards", fix="give")
    by_row = SharedLines.of(group, lines, rows.mine, shape[0])
    other = _packed(by_row.indices, by_row.lines, by_row.values, kind)
    lines, _ = _lines_of(cols, other, rows.size, "error")
    return SharedObservations(
        by_row, SharedLines.of(group, lines, cols.mine, shape[1]), shape, group
    )


def _packed(
    lines: np.ndarray, indices: np.ndarray, values: np.ndarray, kind: np.dtype
) -> np.ndarray:
    out = np.empty(len(values), kind)
    out["line"], out["index"], out["value"] = lines, indices, values
    return out


def _lines_of(
    numbering: Numbering, entries: np.ndarray, others: int, duplicates: str
) -> tuple[compress.Lines, tuple[int, int, int]]:
    """(the own lines, (repetitions, line and index of the first)) after all entries were sent."""
    owners = numbering.owners(entries["line"])
    order = np.argsort(owners, kind="stable")
    ends = np.cumsum(np.bincount(owners, minlength=numbering.group.size))[:-1]
    mine = np.concatenate(numbering.group.exchange(np.split(entries[order], ends)))
    first, end = numbering.mine
    line = mine["line"] - np.uint32(first)
    given = line, mine["index"].copy(), mine["value"].copy(), np.zeros(0, mine["value"].dtype)
    lines, count, (row, col) = compress.by_rows(given, (end - first, others), duplicates)
    return lines, (count, first + row, col)


def _chance(rows: np.ndarray, cols: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each pair, by splitmix64."""
    h = rows.astype(np.uint64) << np.uint64(32) | cols.astype(np.uint64)
    h = h * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((h ^ (h >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
