"""Features of rows or columns, of any frame, as a sparse matrix of numbers; and of later ids alike.

Numbers are standardized, and a missing one is the mean (with an indicator where more than a few are
missing). A label is an indicator; a list of labels, as "Action|Comedy", one indicator for each.
"""

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix, hstack, issparse

from ...errors import InputError
from ..file_format import from_json, to_json
from .columns import NUMBERS, Column, Frame, Holds, is_frame, is_pandas, read_column
from .ids import Ids, as_array, as_ids
from .sparse import stored_entries

#: A frame keyed by its ids, a matrix whose lines are positions, or (ids, frame or matrix).
Features = Any
# Missing numbers beyond this part of the lines get an indicator; labels rarer than this none.
_FEW, _RARE = 0.05, 2
_SEPARATOR = "|"


@dataclass(frozen=True)
class ColumnCode:
    """How one column becomes numbers: (x − centre)/scale, or indicators of ``labels``.

    ``marked``: with an indicator of missing entries behind. ``listed``: entries are lists.
    """

    name: str
    centre: float = 0.0
    scale: float = 1.0
    marked: bool = False
    labels: tuple[str, ...] = ()
    listed: bool = False

    @property
    def width(self) -> int:
        return len(self.labels) or 1 + self.marked

    def encode(self, column: Column) -> csr_matrix:
        """(lines, width)"""
        count, missing = len(column.missing), column.missing
        if self.labels:
            places = {label: k for k, label in enumerate(self.labels)}
            pairs = {
                (int(line), places[label])
                for line, x in zip(np.flatnonzero(~missing), column.present, strict=True)
                for label in _labels(x, self.listed)
                if label in places
            }
            lines, at = np.array(sorted(pairs), int).reshape(-1, 2).T
            return csr_matrix((np.ones(len(at)), (lines, at)), (count, self.width))
        values = np.where(missing, 0.0, (_numbers(column, self.name) - self.centre) / self.scale)
        parts = [values, missing.astype(float)] if self.marked else [values]
        return csr_matrix(np.column_stack(parts))


@dataclass(frozen=True)
class Encoder:
    """The columns of a table of features as numbers; none for a matrix, taken as it is."""

    codes: tuple[ColumnCode, ...]
    width: int  # columns of the table

    @classmethod
    def of(cls, table: Frame | np.ndarray | csr_matrix, name: str) -> "Encoder":
        """Learned from a ``table``, which the argument ``name`` holds.

        **Raises** `InputError` if no column can be a feature.
        """
        if issparse(table):
            return cls((), table.shape[1])
        found, left_out = [], []
        for j, title in enumerate(_names(table)):
            code = _code(read_column(table, j, None), title)
            if code is None:
                left_out.append(title)
            else:
                found.append(code)
        if not found:
            raise InputError(
                f"{name} has no column that tells the lines apart: give numbers that differ, or "
                "labels that come again."
            )
        if left_out:
            warnings.warn(
                f"{name}: {len(left_out)} column(s) tell nothing (one value, labels that never "
                f"come again, or dates) and are left out, the first is {left_out[0]!r}.",
                UserWarning,
                stacklevel=2,
            )
        return cls(tuple(found), table.shape[1])

    @property
    def size(self) -> int:
        """How many numbers a line becomes."""
        return sum(code.width for code in self.codes) if self.codes else self.width

    def encode(self, table: Frame | np.ndarray | csr_matrix, name: str) -> csr_matrix:
        """(lines, size); labels that the fit never saw count as missing."""
        if not self.codes:
            if not issparse(table) or table.shape[1] != self.width:
                raise InputError(f"{name} must be a sparse matrix of {self.width} columns.")
            found = csr_matrix(table, dtype=float)
            if not np.isfinite(found.data).all():
                raise InputError(f"{name} must hold finite numbers, got NaN or infinity.")
            return found
        names = _names(table)
        parts = []
        for code in self.codes:
            if names.count(code.name) != 1:
                raise InputError(
                    f"{name} must have one column {code.name!r}, as in the fit, got "
                    f"{names.count(code.name)}: give the same columns."
                )
            parts.append(code.encode(read_column(table, names.index(code.name), None)))
        return csr_matrix(hstack(parts, format="csr"))

    def to_bytes(self) -> bytes:
        """JSON text."""
        codes = [[*vars(code).values()] for code in self.codes]
        return to_json({"width": self.width, "codes": codes})

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "Encoder":
        """What `to_bytes` gave. **Raises** `InputError` for anything else."""
        match from_json(data, name):
            case {"width": int(width), "codes": list(codes), **rest} if not rest and width > 0:
                found = tuple(_restored(code) for code in codes)
                if None not in found:
                    return cls(tuple(code for code in found if code is not None), width)
        raise InputError(f"{name} holds no features.")


def _restored(listed: object) -> ColumnCode | None:
    match listed:
        case [str(name), float(centre), float(scale), bool(marked), list(labels), bool(listing)]:
            plain = all(isinstance(label, str) for label in labels)
            if plain and scale > 0 and np.isfinite(centre + scale) and not (marked and labels):
                return ColumnCode(name, centre, scale, marked, tuple(labels), listing)
    return None


def keyed(
    given: Features, key: Hashable, name: str
) -> tuple[np.ndarray, Frame | np.ndarray | csr_matrix]:
    """(ids, table) of what a user gave as features.

    The ids of a frame are its column ``key``; without it the index of pandas, or else the first
    column. Those of a matrix are positions. **Raises** `InputError` for ids that come twice.
    """
    if isinstance(given, tuple) and len(given) == 2:
        ids, table = given
        table = table if is_frame(table) or issparse(table) else _matrix(table, name)
        ids = as_ids(ids, name)
    elif is_frame(given):
        ids, table = _of_frame(given, key, name)
    else:
        table = given if issparse(given) else _matrix(given, name)
        ids = np.arange(table.shape[0])
    count = table.shape[0]
    if len(ids) != count:
        raise InputError(f"{name} must have an id for each line, got {len(ids)} for {count}.")
    if Ids.of(ids, name)[0].size < count:
        raise InputError(f"{name} must name every id once, got one twice: drop the repetitions.")
    if not issparse(table):
        return ids, table
    rows, cols, values, shape = stored_entries(table, name)  # compiled code follows its indices
    return ids, csr_matrix((values, (rows, cols)), shape)


def _of_frame(frame: Any, key: Hashable, name: str) -> tuple[np.ndarray, Any]:
    names = list(frame.columns)
    if key not in names and is_pandas(frame):
        return as_ids(frame.index, name), frame
    if not names:
        raise InputError(f"{name} has no column: give the ids in the first one.")
    key = key if key in names else names[0]
    rest = [x for x in names if x != key]
    return as_ids(frame[key], name), frame[rest]


def _matrix(given: ArrayLike, name: str) -> np.ndarray:
    table = as_array(given)
    if table.ndim != 2:
        raise InputError(
            f"{name} must be a frame, a matrix (lines, features), or (ids, one of them), got "
            f"shape {table.shape}."
        )
    return table


def _names(table: Frame | np.ndarray) -> list[str]:
    return [str(x) for x in (table.columns if is_frame(table) else range(table.shape[1]))]


def _numbers(column: Column, name: str) -> np.ndarray:
    if column.holds in NUMBERS or column.missing.all():
        values = column.values if column.holds in NUMBERS else np.zeros(len(column.missing))
        if np.isinf(np.asarray(values, float)).any():
            raise InputError(f"column {name!r} of the features must be finite, got infinity.")
        return np.asarray(values, float)
    if column.holds is Holds.boolean:
        values = np.zeros(len(column.missing))
        values[~column.missing] = [float(x) for x in column.present]
        return values
    raise InputError(f"column {name!r} of the features must hold numbers, got {column.holds}.")


def _labels(entry: object, listed: bool) -> Sequence[str]:
    text = str(entry)
    return [part.strip() for part in text.split(_SEPARATOR)] if listed else [text]


def _code(column: Column, name: str) -> ColumnCode | None:
    """How a column is encoded; None where it tells nothing."""
    if column.missing.all() or column.holds in (Holds.date, Holds.other):
        return None
    if column.holds in (*NUMBERS, Holds.boolean):
        values = _numbers(column, name)[~column.missing]
        centre, scale = float(values.mean()), float(values.std())
        marked = bool(column.missing.mean() > _FEW)
        if not scale > 1e-12 * max(abs(centre), 1e-300):
            return ColumnCode(name, centre, 1.0, True) if marked else None
        return ColumnCode(name, centre, scale, marked)
    listed = any(_SEPARATOR in str(x) for x in column.present)
    counts: dict[str, int] = {}
    for entry in column.present:
        for label in set(_labels(entry, listed)):
            counts[label] = counts.get(label, 0) + 1
    lines = len(column.missing)
    kept = tuple(sorted(x for x, count in counts.items() if _RARE <= count < lines))
    return ColumnCode(name, labels=kept, listed=listed) if kept else None
