"""What is passed as real numbers, as a NumPy array of them: without JAX, as `deeplinear.depths`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import InputError


def as_reals(
    x: Any, name: str, *, error: Callable[[str], Exception] = InputError, booleans: bool = True
) -> np.ndarray:
    """``x`` as an array of real numbers, in a type that NumPy computes in at this machine.

    Floating and integer types are kept; numbers of other Python types (fractions, decimals) become
    float64, and so do floating types of more than 64 bits. ``error`` where ``x`` is anything else
    (NumPy takes text, dates and None for floats), rows of several lengths, or a masked array that
    hides entries, whose hidden values are none of the data; booleans only where they mean nothing.

    >>> from fractions import Fraction
    >>> as_reals([Fraction(1, 2), 2], "x").tolist()
    [0.5, 2.0]
    """
    if np.ma.is_masked(x):
        raise error(f"{name} must hold all its entries, and a mask hides some: fill them first.")
    try:
        array = np.asarray(x)
    except (TypeError, ValueError, OverflowError):
        raise error(
            f"{name} must be one number, or numbers in rows of equal length, got {shown(x)}."
        ) from None
    if array.dtype.kind == "O":
        array = _of_objects(array)
    if array.dtype.kind not in ("fiub" if booleans else "fiu"):
        what = f"dtype {array.dtype}" if array.ndim else shown(x)
        raise error(f"{name} must hold real numbers, got {what}: convert to float first.")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(float)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_floats(x: Any, name: str) -> np.ndarray:
    """`as_reals` in float64."""
    return np.asarray(as_reals(x, name), float)


def _of_objects(array: np.ndarray) -> np.ndarray:
    """Numbers of any Python type as float64; as they are where one entry is no real number."""
    foreign = None | str | bytes | np.generic  # NumPy takes all of it for floats
    if any(
        isinstance(x, foreign) and not isinstance(x, np.floating | np.integer) for x in array.flat
    ):
        return array
    try:
        return array.astype(float)
    except (TypeError, ValueError, OverflowError):
        return array


def shown(x: object) -> str:
    """``x`` as in a message: of 80 characters at most."""
    text = repr(x)
    return text if len(text) <= 80 else f"{text[:77]}..."


def one_real(x: Any) -> float:
    """``x`` as a float if it is one real number, and no boolean; NaN otherwise.

    >>> one_real(2), one_real("2"), one_real([2.0])
    (2.0, nan, nan)
    """
    try:
        number = as_reals(x, "x", booleans=False)
    except InputError:
        return math.nan
    return float(number) if number.ndim == 0 else math.nan


def check_integer(value: object, name: str, least: int = 1) -> int:
    """``value`` as an int if it is an integer ≥ ``least``, and no boolean."""
    integral = isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_)
    if not integral or value < least:  # type: ignore[operator]
        raise InputError(f"{name} must be an integer ≥ {least}, got {value!r}.")
    return int(value)  # type: ignore[call-overload]


def check_not_negative(**values: object) -> list[float]:
    """The values as floats if each is one finite number ≥ 0; `InputError` otherwise."""
    numbers = [one_real(value) for value in values.values()]
    for (name, value), number in zip(values.items(), numbers, strict=True):
        if not 0 <= number < math.inf:
            raise InputError(f"{name} must be finite and ≥ 0, got {shown(value)}.")
    return numbers


def check_shape(shape: object, name: str = "shape") -> tuple[int, int]:
    """(m, n) as integers ≥ 1; `InputError` otherwise."""
    listed = isinstance(shape, Sequence) or (isinstance(shape, np.ndarray) and shape.ndim == 1)
    if not listed or len(shape) != 2:  # type: ignore[arg-type]
        raise InputError(f"{name} must be (m, n) with m, n ≥ 1, got {shape!r}.")
    m, n = (check_integer(d, name) for d in shape)  # type: ignore[attr-defined]
    return m, n
