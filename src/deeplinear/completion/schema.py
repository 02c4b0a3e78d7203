"""What the arrays and numbers of a model must be: said once, for who writes and who reads them.

Compiled loops follow arrays unchecked: one that is too short lets them read foreign memory.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

REAL, WHOLE, TRUTH, BYTES = "f", "iu", "b", "u"
#: A real number as JSON holds it, which may be written as a whole one.
NUMBER = "fiu"


@dataclass(frozen=True)
class Field:
    """One array: its kinds of numbers (NumPy's), its shape, and what its entries may be.

    A side of ``shape`` is a length, None for any, or the name of a size that is the same in all
    fields, such as "m" or "m+1". Entries are finite unless ``finite`` is False, and at least
    ``least``. ``may_be_empty``: the array may have no entries at all. Numbers have the shape ().
    """

    kinds: str
    shape: tuple[int | str | None, ...] = ()
    least: float = -math.inf
    finite: bool = True
    may_be_empty: bool = False


Schema = Mapping[str, Field]


def check_arrays(
    schema: Schema,
    arrays: Mapping[str, object],
    sizes: Mapping[str, int] | None = None,
    *,
    entries: bool = True,
) -> dict[str, int]:
    """The named sizes, those in ``sizes`` included, if ``arrays`` are as the ``schema`` says.

    Without ``entries`` only kinds of numbers and shapes are looked at, which costs nothing.

    **Raises** `InputError` that names the first array that is missing or otherwise.
    """
    found = dict(sizes or {})
    for name, field in schema.items():
        if name not in arrays:
            raise InputError(f"{name} is missing: give all arrays of one fit.")
        array = _as_array(name, arrays[name])
        if array.size or isinstance(arrays[name], np.ndarray):  # an empty list is of any kind
            _check_kind(name, field, array)
        if not (field.may_be_empty and array.size == 0):
            _check_shape(name, field, array, found)
        if entries:
            _check_entries(name, field, array)
    return found


def _as_array(name: str, value: object) -> np.ndarray:
    try:
        return np.asarray(value)
    except (ValueError, OverflowError):  # lists of different lengths
        raise InputError(
            f"{name} must be an array of numbers, got {type(value).__name__}."
        ) from None


def _check_kind(name: str, field: Field, array: np.ndarray) -> None:
    kind, size = array.dtype.kind, array.dtype.itemsize
    right = kind in field.kinds and array.dtype.isnative and (kind != "f" or size in (4, 8))
    if not right or (field.kinds == BYTES and size != 1):
        number = "a real number" if field.shape == () else "real numbers"
        words = {REAL: "float32 or float64", NUMBER: number, WHOLE: "whole numbers"}
        words |= {TRUTH: "truth values", BYTES: "bytes"}
        raise InputError(f"{name} must be {words[field.kinds]}, got {array.dtype}.")


def _check_shape(name: str, field: Field, array: np.ndarray, sizes: dict[str, int]) -> None:
    right = array.ndim == len(field.shape)
    for side, length in zip(field.shape, array.shape, strict=True) if right else ():
        if isinstance(side, str):
            size, _, more = side.partition("+")
            right &= sizes.setdefault(size, length - int(more or 0)) == length - int(more or 0) >= 0
        elif side is not None:
            right &= side == length
    if not right:
        sides = ", ".join("any" if side is None else str(side) for side in field.shape)
        known = ", ".join(f"{size} = {sizes[size]}" for size in sizes if size in sides)
        raise InputError(
            f"{name} must have the shape ({sides}){f' with {known}' if known else ''}, got "
            f"{array.shape}: give all arrays of one fit."
        )


def _check_entries(name: str, field: Field, array: np.ndarray) -> None:
    if field.finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{name} must be finite, got NaN or infinity.")
    if array.size and (array < field.least).any():
        raise InputError(f"{name} must be ≥ {field.least:g}, got {np.nanmin(array):g}.")


def check_optional(
    schema: Schema, arrays: Mapping[str, object], sizes: Mapping[str, int] | None = None
) -> None:
    """`check_arrays` without the fields that are None."""
    given = {name: field for name, field in schema.items() if arrays.get(name, 0) is not None}
    check_arrays(given, arrays, sizes)
