"""What the arrays, numbers and texts of a model must be: said once, for who writes and who reads.

Compiled loops follow arrays unchecked: one that is too short lets them read foreign memory.
"""

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError

REAL, WHOLE, TRUTH, BYTES, TEXT = "f", "iu", "b", "u", "U"
#: A real number as JSON holds it, which may be written as a whole one.
NUMBER = "fiu"


@dataclass(frozen=True)
class Field:
    """One array: its kinds of numbers (NumPy's), its shape, and what its entries may be.

    A side of ``shape`` is a length, None for any, or the name of a size that is the same in all
    fields, such as "m" or "m+1". Entries lie between ``least`` and ``most`` (both included), above
    ``above``, and are finite unless ``infinite`` or ``nan`` says that they may be that.
    ``may_be_empty``: the array may have no entries at all; ``optional``: it may be None. Numbers
    and texts have the shape ().
    """

    kinds: str
    shape: tuple[int | str | None, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    infinite: bool = False
    nan: bool = False
    may_be_empty: bool = False
    optional: bool = False


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
        if field.optional and arrays[name] is None:
            continue
        array = _as_array(name, arrays[name])
        if array.size or isinstance(arrays[name], np.ndarray):  # an empty list is of any kind
            _check_kind(name, field, array)
        if not (field.may_be_empty and array.size == 0 and array.ndim == len(field.shape)):
            _check_shape(name, field, array, found)
        if entries:
            _check_entries(name, field, array)
    return found


def _as_array(name: str, value: object) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):  # lists of different lengths
        raise InputError(
            f"{name} must be an array of numbers, got {type(value).__name__}."
        ) from None
    if isinstance(value, list | tuple) and array.ndim == 1:
        kinds = {{bool: "truth", str: "text"}.get(type(x), "number") for x in value}
        if len(kinds) > 1:  # NumPy has made one kind of them
            raise InputError(f"{name} must hold one kind of entries, got {len(kinds)} kinds.")
    return array


def _check_kind(name: str, field: Field, array: np.ndarray) -> None:
    kind, size = array.dtype.kind, array.dtype.itemsize
    right = kind in field.kinds and array.dtype.isnative and (kind != "f" or size in (4, 8))
    if not right or (field.kinds == BYTES and size != 1):
        number = "a real number" if field.shape == () else "real numbers"
        words = {REAL: "float32 or float64", NUMBER: number, WHOLE: "whole numbers"}
        words |= {TRUTH: "truth values", BYTES: "bytes", TEXT: "text"}
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
    if not array.size or array.dtype.kind not in "fiu":
        return
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        if not field.nan and np.isnan(array).any():
            raise InputError(f"{name} must not be NaN.")
        if not field.infinite and np.isinf(array).any():
            raise InputError(f"{name} must be finite, got infinity.")
    if (array < field.least).any():
        raise InputError(f"{name} must be ≥ {field.least:g}, got {np.nanmin(array):g}.")
    if (array <= field.above).any() and field.above > -math.inf:
        raise InputError(f"{name} must be > {field.above:g}, got {np.nanmin(array):g}.")
    if (array > field.most).any():
        raise InputError(f"{name} must be ≤ {field.most:g}, got {np.nanmax(array):g}.")


def take(
    schema: Schema, source: MutableMapping[str, Any], sizes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The fields of ``schema``, checked as by `check_arrays` and taken out of ``source``.

    Who reads a file takes all that it needs, then refuses what is left (`check_nothing_left`).
    """
    check_arrays(schema, source, sizes)
    return {name: source.pop(name) for name in schema}


def take_part(source: MutableMapping[str, Any], name: str) -> dict[str, Any]:
    """The record ``name``, taken out of ``source``. **Raises** `InputError` if there is none."""
    part = source.pop(name, None)
    if not isinstance(part, dict):
        raise InputError(f"{name} is missing, or no record: give all parts of one fit.")
    return part


def check_agree(pairs: Mapping[str, object]) -> None:
    """`InputError` that names the first of ``pairs`` of parts (name → whether they agree) that do
    not.
    """
    wrong = [name for name, right in pairs.items() if not right]
    if wrong:
        raise InputError(f"{wrong[0]} contradict each other: give all parts of one fit.")


def check_nothing_left(*sources: Mapping[str, Any]) -> None:
    """`InputError` that names what readers have left: nobody has written it."""
    left = [name for source in sources for name in source]
    if left:
        raise InputError(f"{left[0]} belongs to nothing: leave it out.")
