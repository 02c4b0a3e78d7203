"""The columns of a table of any kind: what each of them holds, and which entries are missing."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from decimal import Decimal
from enum import StrEnum
from numbers import Integral, Real
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from ...errors import InputError
from .ids import is_missing

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@runtime_checkable
class Frame(Protocol):
    """A data frame of pandas or polars, as far as it is looked at here."""

    columns: Any
    dtypes: Any
    shape: tuple[int, int]


class Holds(StrEnum):
    """What the entries of a column are, in words for messages."""

    number = "numbers"
    integer = "whole numbers"
    boolean = "booleans"
    category = "categories"
    text = "text"
    date = "dates or times"
    mixture = "numbers and text"
    other = "other objects"


NUMBERS = (Holds.number, Holds.integer)
LABELS = (Holds.boolean, Holds.category, Holds.text)
UNMARKED = "X contains NaN, which missing_values={} does not mark as missing."


@dataclass(frozen=True)
class Column:
    """A column as it was given: float64 ``values`` of numbers, else objects; ``missing`` (mask).

    ``labels`` are those that its type declares, in their order.
    """

    holds: Holds
    values: np.ndarray
    missing: Mask
    labels: tuple[Hashable, ...] = ()

    @property
    def present(self) -> list[Any]:
        """The entries that are not missing, as Python objects."""
        return self.values[~self.missing].tolist()


def is_frame(X: object) -> TypeGuard[Frame]:
    return isinstance(X, Frame) and hasattr(X, "__getitem__")


def is_pandas(X: object) -> bool:
    return hasattr(X, "iloc")


def holds_numbers(X: object) -> bool:
    """Whether all of X, an array or a frame, are real numbers by its type."""
    if is_frame(X):
        kinds = [_by_dtype(dtype) for dtype in X.dtypes]
        return len(kinds) == 0 or all(kind in NUMBERS for kind in kinds)
    return getattr(getattr(X, "dtype", None), "kind", "O") not in "OUSMmV"


def is_integer_dtype(dtype: Any) -> bool:
    return _by_dtype(dtype) is Holds.integer


def _by_dtype(dtype: Any) -> Holds | None:
    """What a type of pandas, polars or NumPy alone says; None: the entries must be looked at."""
    if hasattr(dtype, "is_numeric"):  # polars; a column of nulls is an empty column of numbers
        if dtype.is_integer():
            return Holds.integer
        if dtype.is_numeric() or str(dtype) == "Null":
            return Holds.number
        name = str(dtype.base_type())
        named = {"Boolean": Holds.boolean, "Categorical": Holds.category, "Enum": Holds.category}
        return named.get(name, Holds.text if name == "String" else _temporal_or_other(dtype))
    if hasattr(dtype, "categories") and hasattr(dtype, "ordered"):
        return Holds.category
    kind = getattr(dtype, "kind", "O")
    if kind in "iu":
        return Holds.integer
    if kind == "b":
        return Holds.boolean
    if kind == "f" or (kind == "O" and getattr(dtype, "_is_numeric", False)):
        return Holds.number
    if kind == "O" and str(dtype).startswith("str"):
        return Holds.text
    return {"c": Holds.other, "m": Holds.date, "M": Holds.date}.get(kind)


def _temporal_or_other(dtype: Any) -> Holds:
    return Holds.date if dtype.is_temporal() else Holds.other


def read_column(X: Any, position: int, missing_values: Hashable) -> Column:
    """Column number ``position`` of a frame or a matrix; missing: None, NaN, NA and the marker."""
    if not is_frame(X):
        return _of_array(X[:, position], missing_values)
    if not is_pandas(X):
        return _of_polars(X.to_series(position), missing_values)  # type: ignore[attr-defined]
    return _of_pandas(X.iloc[:, position], missing_values)  # type: ignore[attr-defined]


def _of_array(entries: np.ndarray, marker: Hashable) -> Column:
    holds = _by_dtype(entries.dtype) if entries.dtype != object else None
    if holds in (*NUMBERS, Holds.boolean) or entries.dtype.kind == "b":
        kind = Holds.integer if holds is Holds.integer else Holds.number
        return _numbers(kind, entries.astype(np.float64), marker)
    entries = entries.astype(object)
    return _objects(entries, np.fromiter(map(is_missing, entries), bool, len(entries)), marker)


def _of_pandas(series: Any, marker: Hashable) -> Column:
    holds, missing = _by_dtype(series.dtype), series.isna().to_numpy(dtype=bool)
    if holds in NUMBERS:
        return _numbers(holds, series.to_numpy(dtype=np.float64, na_value=np.nan), marker)
    if holds is Holds.other:
        return Column(holds, np.full(len(missing), None), missing)
    labels = tuple(series.dtype.categories.tolist()) if holds is Holds.category else ()
    entries = series.to_numpy(dtype=object)
    return _objects(entries, missing, marker, holds, labels)


def _of_polars(series: Any, marker: Hashable) -> Column:
    import polars as pl

    holds = _by_dtype(series.dtype)
    if holds in NUMBERS:
        return _numbers(holds, series.cast(pl.Float64).to_numpy().astype(np.float64), marker)
    missing = series.is_null().to_numpy().astype(bool)
    if holds in (Holds.date, Holds.other):
        return Column(holds, np.full(len(missing), None), missing)
    entries = np.fromiter(series.to_list(), object, len(series))
    labels = tuple(series.dtype.categories.to_list()) if isinstance(series.dtype, pl.Enum) else ()
    return _objects(entries, missing, marker, holds, labels)


def _numbers(holds: Holds, values: np.ndarray, marker: Hashable) -> Column:
    missing = np.isnan(values)
    if not is_missing(marker):
        if missing.any():
            raise InputError(UNMARKED.format(marker))
        missing = values == marker if isinstance(marker, Real) else missing
    return Column(holds, values, missing)


def _objects(
    entries: np.ndarray,
    missing: Mask,
    marker: Hashable,
    holds: Holds | None = None,
    labels: tuple[Hashable, ...] = (),
) -> Column:
    if not is_missing(marker):
        missing = missing | np.fromiter((_same(x, marker) for x in entries), bool, len(entries))
        labels = tuple(label for label in labels if not _same(label, marker))
    present = entries[~missing].tolist()
    holds = holds or _by_entries({type(x) for x in present})
    column = Column(holds, entries, missing, labels)
    if holds not in NUMBERS:
        return column
    values = np.full(len(entries), np.nan)
    values[~missing] = [float(x) for x in present]
    return replace(column, values=values)


def _same(entry: object, marker: Hashable) -> bool:
    return (type(entry) is type(marker) and entry == marker) or (
        isinstance(entry, Real) and isinstance(marker, Real) and bool(entry == marker)
    )


def _by_entries(types: set[type]) -> Holds:
    def all_are(*kinds: type) -> bool:
        return all(issubclass(t, kinds) for t in types)

    if not types:
        return Holds.number
    if all_are(bool, np.bool_):
        return Holds.boolean
    if all_are(Integral) and not any(issubclass(t, bool) for t in types):
        return Holds.integer
    if all_are(Real, Decimal, np.bool_):
        return Holds.number
    if all_are(str):
        return Holds.text
    if all_are(str, Real, Decimal, np.bool_):
        return Holds.mixture
    if all_are(date, time, timedelta, np.datetime64, np.timedelta64):
        return Holds.date
    return Holds.other
