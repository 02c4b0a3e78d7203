"""The cells of a table as numbers, texts and missing entries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter

import numpy as np

from .markers import Markers
from .numbers import NumberFormat

# Cells that are parsed together: few enough to stay in the cache, many enough to repay the call.
_BLOCK = 4000


def sampled(texts: Sequence[str], most: int = 5000) -> Sequence[str]:
    """Some of many, evenly, for what holds of nearly all or of none."""
    return texts[:: max(1, len(texts) // most)]


@dataclass
class Cells:
    """The cells of a table as they are read: three disjoint kinds, number, text and missing."""

    rows: Sequence[Sequence[str]]  # without quotation marks
    values: np.ndarray  # rows × columns, NaN where a cell is no number
    is_text: np.ndarray
    simple: bool = False  # whether no cell has a sign of percent

    @property
    def first(self) -> Sequence[str]:
        return self.rows[0]

    def texts(self, j: int, start: int = 0, step: int = 1) -> list[str]:
        """A column, from row ``start`` on."""
        return [row[j] for row in self.rows[start::step]]

    def column(self, j: int, start: int) -> "ColumnView":
        return ColumnView(self, j, start)


@dataclass
class ColumnView:
    """The cells of column ``j`` from row ``start`` on."""

    cells: Cells
    j: int
    start: int

    @cached_property
    def texts(self) -> list[str]:
        return self.cells.texts(self.j, self.start)

    @property
    def values(self) -> np.ndarray:
        return self.cells.values[self.start :, self.j]

    @property
    def is_text(self) -> np.ndarray:
        return self.cells.is_text[self.start :, self.j]

    @cached_property
    def is_number(self) -> np.ndarray:
        return ~np.isnan(self.values)

    @cached_property
    def is_numeric(self) -> bool:
        """Whether numbers prevail, or nothing is observed."""
        return int(self.is_text.sum()) <= int(self.is_number.sum())

    @cached_property
    def labels(self) -> list[str]:
        return self._at(self.is_text)

    @cached_property
    def observed(self) -> list[str]:
        return self._at(self.is_text | self.is_number)

    def _at(self, mask: np.ndarray) -> list[str]:
        rows = self.cells.rows
        return [rows[i + self.start][self.j] for i in np.flatnonzero(mask).tolist()]


def parse_cells(
    rows: Sequence[Sequence[str]], markers: Markers, numbers: NumberFormat, *, simple: bool = False
) -> Cells:
    """Every cell as number, text or missing entry.

    ``simple``: the file is known to be ASCII without ``_`` or ``%``, which saves a look at each
    cell.
    """
    width = len(rows[0])
    values = np.full((len(rows), width), np.nan)
    is_text = np.zeros(values.shape, bool)
    known = dict.fromkeys(markers.forms(), "nan")

    def parsed(texts: Sequence[str]) -> np.ndarray:  # the fastest way to replace some by nan
        return numbers.parse_all(list(map(known.get, texts, texts)), simple=simple)

    columns = list(range(width))  # those that held numbers in the block before
    for start, end in _blocks(len(rows), width):
        block = rows[start:end]
        try:
            pick = itemgetter(*columns) if 1 < len(columns) < width else None
            some = block if pick is None else map(pick, block)
            flat = parsed(list(chain.from_iterable(some)))
            values[start:end, columns] = flat.reshape(end - start, -1)
            left = sorted({*range(width)} - {*columns})
        except ValueError:
            left = list(range(width))
        for j in left:
            texts = [row[j] for row in block]
            try:
                values[start:end, j] = parsed(texts)
            except ValueError:
                one_by_one = _parsed(texts, markers, numbers)
                values[start:end, j], is_text[start:end, j] = one_by_one
        if start:  # the first row may be a heading
            words = is_text[start:end].any(axis=0)
            columns = np.flatnonzero(~words).tolist() if words.sum() < width - 1 else columns
    return Cells(rows, markers.hide(values), is_text, simple)


def _blocks(count: int, width: int) -> Iterator[tuple[int, int]]:
    """The first row, which may be a heading, and blocks of the others."""
    yield 0, 1
    size = max(1, _BLOCK // width)
    for start in range(1, count, size):
        yield start, min(start + size, count)


def _parsed(
    texts: Sequence[str], markers: Markers, numbers: NumberFormat
) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, whether a cell is text) of cells one by one."""
    values, is_text = np.full(len(texts), np.nan), np.zeros(len(texts), bool)
    for i, text in enumerate(texts):
        if markers.are_words(text):
            continue
        try:
            values[i] = numbers.parse(text)
        except ValueError:
            is_text[i] = True
    return values, is_text
