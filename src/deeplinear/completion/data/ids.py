"""Names of rows and columns: any hashable ids, each with its position.

Integers are numbered in increasing order, all others in order of first appearance.
"""

import datetime
import math
import re
from collections.abc import Collection, Hashable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from ..file_format import from_json, to_json

#: One id per entry: an array, a series, or a sequence of hashable objects.
IdVector = ArrayLike | Sequence[Hashable]
#: What JSON holds of one id.
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_DEEPEST = 10  # tuples in each other
_UNIT = re.compile(r"[1-9]\d{0,5}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)")  # NumPy's, of a model file
# types of the standard library that write and read themselves
_DATES = (datetime.datetime, datetime.date, datetime.time)
_TABLE = 4  # a look-up table has at most this many places per id


def as_ids(values: IdVector, name: str) -> np.ndarray:
    """Ids as an array: int64 where all are integers, ``object`` otherwise.

    **Raises** `InputError` for a missing id, an integer beyond 64 bits in an unsigned array, and
    anything but a vector.
    """
    check_unmasked(values, name)
    if isinstance(values, list | tuple) and (
        len(set(map(type, values))) > 1 or isinstance(next(iter(values), 0), tuple)
    ):
        array = objects(values)  # NumPy would turn 1 and "a" into texts, and tuples into rows
    else:
        array = as_array(values)
    if (
        array.dtype.kind == "f"
        and isinstance(values, list | tuple)
        and isinstance(next(iter(values), 0.0), int)
    ):
        array = objects(values)  # integers beyond 64 bits on both sides of 0
    if array.ndim != 1:
        raise InputError(f"{name} must be a vector of ids, got shape {array.shape}.")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise InputError(
            f"{name} holds integers beyond 2**63 - 1, the largest being {array.max()}: use text "
            "ids."
        )
    if array.dtype.kind in "iu":
        return array.astype(np.int64, copy=False)
    if array.dtype.kind == "f":
        missing = np.isnan(array)
    elif array.dtype.kind in "mM":
        missing = np.isnat(array)
    else:
        array = array if array.dtype == object else objects(array.tolist())
        missing = np.fromiter(map(is_missing, array), bool, len(array))
    if missing.any():
        raise InputError(
            f"{name} has {int(missing.sum())} missing id(s), the first at position "
            f"{int(np.argmax(missing))} (counted from 0): drop these entries."
        )
    if array.dtype.kind == "f" and (array == np.floor(array)).all() and (abs(array) < 2**53).all():
        return array.astype(np.int64)  # integers that a missing value once made floats
    if array.dtype != object:
        return objects(list(array) if array.dtype.kind in "mM" else array.tolist())
    if all(type(x) is int and -(2**63) <= x < 2**63 for x in array):
        return array.astype(np.int64)
    return array


def as_array(values: IdVector) -> np.ndarray:
    """``values`` as an array, also those of a series (whose own conversion keeps its type).

    Lists of different lengths become an array of objects.
    """
    to_numpy = getattr(values, "to_numpy", None)
    try:
        return np.asarray(values if to_numpy is None else to_numpy())
    except ValueError:
        return objects(list(values))  # type: ignore[arg-type]


def check_unmasked(values: IdVector, name: str) -> None:
    """`InputError` for a vector with masked elements, whose hidden values would be used."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        masked = np.ma.getmaskarray(values)
        raise InputError(
            f"{name} has {int(masked.sum())} masked element(s), the first at position "
            f"{int(np.argmax(masked))} (counted from 0): drop these entries."
        )


def is_missing(label: object) -> bool:
    """None, NaN, NaT, or the NA of pandas, which is neither equal to itself nor not."""
    if label is None:
        return True
    try:
        return bool(label != label)
    except TypeError:
        return True
    except ValueError:  # an array: no id either, which its hash will report
        return False


def objects(values: Collection[object]) -> np.ndarray:
    """An array with one Python object (also a tuple) per place."""
    return np.fromiter(values, dtype=object, count=len(values))


def _unhashable(name: str) -> InputError:
    return InputError(f"{name} holds an id that is not hashable: use numbers, text or tuples.")


class Ids:
    """The ids of the rows or of the columns, each with its code 0 … size − 1.

    Rows and columns of a matrix have no names: there the positions 0 … ``extent`` − 1 are the ids
    (`positions`), and those of lines without entries may have no code (`kept`).

    >>> ids, codes = Ids.of(np.array(["ann", "bob", "ann"]), "users")
    >>> ids.labels.tolist(), codes.tolist(), ids.codes(["bob", "eve"], "users").tolist()
    (['ann', 'bob'], [0, 1, 0], [1, -1])
    """

    def __init__(self, labels: np.ndarray | None, size: int, extent: int | None = None) -> None:
        if size != (extent if labels is None else len(labels)):
            raise InputError(f"size must be the number of labels, got {size}: use Ids.of.")
        self._labels, self.size, self.extent = labels, size, extent

    @classmethod
    def positions(cls, size: int) -> "Ids":
        """Rows or columns of a matrix, known by their positions."""
        return cls(None, size, size)

    @classmethod
    def none(cls) -> "Ids":
        """No ids yet."""
        return cls(np.zeros(0, np.int64), 0)

    @classmethod
    def of(cls, values: IdVector, name: str) -> "tuple[Ids, np.ndarray]":
        """The distinct ids of ``values``, and the position of each entry's id."""
        return cls.none().extended(values, name)

    @property
    def positional(self) -> bool:
        return self.extent is not None

    @property
    def labels(self) -> np.ndarray:
        """The ids in the order of their codes."""
        return np.arange(self.size) if self._labels is None else self._labels

    @property
    def lines(self) -> np.ndarray:
        """The ids of all lines: of a matrix every position, also those without a code."""
        return self.labels if self.extent is None else np.arange(self.extent)

    def are_positions(self, extent: int | None) -> bool:
        """Whether these are a matrix's lines, ``extent`` of them, or the ids 0 … extent − 1."""
        if self.positional or extent != self.size:
            return extent == self.extent
        return np.array_equal(self.labels, np.arange(self.size))

    def label(self, code: int) -> Hashable:
        """The id of a code, as a Python object."""
        return code if self._labels is None else self._labels[code : code + 1].tolist()[0]

    def kept(self, codes: np.ndarray) -> "Ids":
        """The ids of these ``codes`` alone, with the codes 0, 1, … in this order."""
        labels = codes if self._labels is None else self._labels[codes]
        return Ids(labels, len(codes), self.extent)

    def codes(self, values: IdVector, name: str) -> np.ndarray:
        """Codes of the ids ``values``, −1 where unseen.

        **Raises** `InputError` for positions of a matrix that are out of range: they are no ids.
        """
        ids = as_ids(values, name)
        if self.positional:
            self._check_positions(ids, name)
            return ids if self._labels is None else self._integer_codes(ids)
        if self.labels.dtype == np.int64 and ids.dtype == np.int64:
            return self._integer_codes(ids)
        index = self._index
        try:
            return np.fromiter((index.get(x, -1) for x in ids.tolist()), np.int64, len(ids))
        except TypeError:
            raise _unhashable(name) from None

    def extended(self, values: IdVector, name: str) -> "tuple[Ids, np.ndarray]":
        """(these ids with the unseen ones of ``values`` behind them, code of each id)."""
        ids, extent = as_ids(values, name), self.extent
        if extent is not None:
            self._check_positions(ids, name, grow=True)
            extent = max(extent, int(ids.max(initial=-1)) + 1)
        if self.labels.dtype == np.int64 and ids.dtype == np.int64:
            known = self._integer_codes(ids)
            new = np.unique(ids[known < 0])
            if not len(new):
                return self, known
            larger = Ids(np.concatenate([self.labels, new]), self.size + len(new), extent)
            return larger, larger._integer_codes(ids)
        index = dict(self._index)
        try:
            codes = np.fromiter(
                (index.setdefault(x, len(index)) for x in ids.tolist()), np.int64, len(ids)
            )
        except TypeError:
            raise _unhashable(name) from None
        return Ids(objects(list(index)), len(index)), codes

    def within(self, extent: int) -> "Ids":
        """The same lines of a matrix that has at least ``extent`` lines."""
        extent = max(extent, self.extent or 0)
        return Ids(self.labels if extent > self.size else self._labels, self.size, extent)

    def _check_positions(self, ids: np.ndarray, name: str, grow: bool = False) -> None:
        if ids.dtype != np.int64:
            raise InputError(
                f"{name} must hold positions (integers from 0), for the model was fitted to a "
                f"matrix, got {ids[0]!r}."
            )
        last = (self.extent or 0) - 1
        bad = ids < 0 if grow else (ids < 0) | (ids > last)
        if bad.any():
            where = int(np.argmax(bad))
            raise InputError(
                f"{name} must lie between 0 and {last}, got {ids[where]} at position "
                f"{where}: the model was fitted to a matrix and knows its lines by their positions."
            )

    def _integer_codes(self, ids: np.ndarray) -> np.ndarray:
        low, table, order, ordered = self._integers
        if table is not None:
            inside = (ids >= low) & (ids < low + len(table))
            return np.where(inside, table[np.where(inside, ids - low, 0)], -1)
        if not self.size:
            return np.full(len(ids), -1)
        place = np.minimum(np.searchsorted(ordered, ids), self.size - 1)
        return np.where(ordered[place] == ids, order[place], -1)

    @cached_property
    def _integers(self) -> tuple[int, np.ndarray | None, np.ndarray, np.ndarray]:
        """(smallest id, table of positions by id − smallest or None, order that sorts, sorted).

        The table is made where it is short; otherwise ids are found by bisection.
        """
        labels = self.labels
        if not len(labels):
            return 0, None, labels, labels
        low, high = int(labels.min()), int(labels.max())
        if high - low < _TABLE * len(labels) + 1000:
            table = np.full(high - low + 1, -1)
            table[labels - low] = np.arange(len(labels))
            return low, table, labels, labels
        order = np.argsort(labels)
        return low, None, order, labels[order]

    @cached_property
    def _index(self) -> dict[Hashable, int]:
        return {label: t for t, label in enumerate(self.labels.tolist())}

    def to_bytes(self, name: str) -> bytes:
        """JSON text; numbers, text, booleans, dates and times, and tuples of these."""
        if self.positional:
            gaps = {} if self._labels is None else {"of": self._labels.tolist()}
            return to_json({"positions": self.extent} | gaps)
        try:
            return to_json({"ids": [_plain(x, _DEEPEST) for x in self.labels.tolist()]})
        except TypeError as error:
            raise InputError(
                f"{name} holds ids of the type {error}, which a model file cannot carry: use "
                "numbers, text, dates or tuples of them."
            ) from None

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "Ids":
        """What `to_bytes` gave. **Raises** `InputError` for anything else."""
        match from_json(data, name):
            case {"positions": int(extent), **rest} if 0 <= extent < 2**32 and extent is not True:
                if not rest:
                    return cls.positions(extent)
                if rest.keys() == {"of"}:
                    return _positions(rest["of"], extent, name)
            case {"ids": list(listed), **rest} if not rest:
                return _labels(listed, name)
        raise InputError(f"{name} holds no ids.")


def _labels(listed: list[Json], name: str) -> Ids:
    """Ids as a model file lists them: each once, and none missing."""
    try:
        labels = [_rich(label, _DEEPEST) for label in listed]
        if len(set(labels)) == len(labels) and not any(map(is_missing, labels)):
            integers = all(type(x) is int and -(2**63) <= x < 2**63 for x in labels)
            array = np.array(labels, dtype=np.int64) if integers else objects(labels)
            return Ids(array, len(labels))
    except (ValueError, OverflowError):  # a date that is none
        pass
    raise InputError(f"{name} holds what is no id, or an id twice.")


def _positions(kept: object, extent: int, name: str) -> Ids:
    """Some positions of a matrix of ``extent`` lines, as a model file lists them."""
    listed = kept if isinstance(kept, list) else [None]
    if not all(type(x) is int and 0 <= x < extent for x in listed):
        raise InputError(f"{name} holds positions outside of the matrix.")
    if len(set(listed)) < len(listed):
        raise InputError(f"{name} holds positions twice.")
    return Ids(np.array(listed, np.int64), len(listed), extent)


def _plain(label: object, room: int) -> Json:
    if isinstance(label, tuple) and room:
        return {"tuple": [_plain(part, room - 1) for part in label]}
    if isinstance(label, np.datetime64 | np.timedelta64):
        unit, step = np.datetime_data(label.dtype)
        return {type(label).__name__: [int(label.astype(np.int64)), f"{step}{unit}"]}
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, _DATES) and type(label) in _DATES:  # subclasses do not read themselves
        return {type(label).__name__: label.isoformat()}
    if isinstance(label, float) and math.isinf(label):
        return {"float": repr(float(label))}
    if label is None or (
        isinstance(label, int | float | str) and type(label) in (int, float, str, bool)
    ):
        return label
    raise TypeError(type(label).__name__)


def _rich(label: Json, room: int) -> Hashable:
    """The id of `_plain`; ValueError or OverflowError for anything else."""
    match label:
        case None | bool() | int() | float() | str():
            return label
        case {"tuple": list(parts), **rest} if room and not rest:
            return tuple(_rich(part, room - 1) for part in parts)
        case {"float": ("inf" | "-inf") as word, **rest} if not rest:
            return float(word)
        case {"datetime64": [int(count), str(unit)], **rest} if not rest:
            return _instant("datetime64", count, unit)
        case {"timedelta64": [int(count), str(unit)], **rest} if not rest:
            return _instant("timedelta64", count, unit)
        case dict() if len(label) == 1:
            [(kind, text)] = label.items()
            date = {date.__name__: date for date in _DATES}.get(kind)
            if date is not None and isinstance(text, str):
                found = date.fromisoformat(text)
                if found.isoformat() == text:
                    return found
    raise ValueError(f"{label!r} is no id")


def _instant(kind: str, count: int, unit: str) -> Hashable:
    if not _UNIT.fullmatch(unit) or not -(2**63) < count < 2**63 or isinstance(count, bool):
        raise ValueError(f"{count} times {unit!r} is no time")
    return np.int64(count).astype(f"{kind}[{unit}]")
