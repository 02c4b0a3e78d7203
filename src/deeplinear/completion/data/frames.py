"""Where data frames, indexes and arrays carry pairs of ids."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from .ids import IdVector


@runtime_checkable
class Frame(Protocol):
    """A data frame, as those of pandas and polars."""

    columns: Iterable[str]
    dtypes: Iterable[Hashable]

    def __getitem__(self, column: str, /) -> ArrayLike: ...


def is_long_frame(X: object, columns: Sequence[str], name: str = "X") -> bool:
    """Whether X is a data frame with the three ``columns``; `InputError` if it has only some."""
    if not isinstance(X, Frame):
        return False
    there = [column in list(X.columns) for column in columns]
    if any(there) and not all(there):
        missing = [column for column, found in zip(columns, there, strict=True) if not found]
        raise InputError(
            f"{name} lacks the column(s) {', '.join(map(repr, missing))}: name the columns of a "
            "long frame with columns=(row, column, value)."
        )
    return all(there)


def two_levels(X: object) -> tuple[IdVector, IdVector] | None:
    """Both levels of an index of pandas, also that of a long series or of a frame of one column."""
    index = X if hasattr(X, "get_level_values") else getattr(X, "index", None)
    one_column = getattr(X, "shape", ())[1:] in ((), (1,))
    if index is None or getattr(index, "nlevels", 1) != 2 or not one_column:
        return None
    return index.get_level_values(0), index.get_level_values(1)


def pairs(X: object, columns: Sequence[str], name: str) -> tuple[IdVector, IdVector]:
    """The two columns of X (pairs of ids): by name if they are there, else the first two.

    Of an index of two levels, or what has one: the levels.
    """
    levels = two_levels(X)
    if levels is not None:
        return levels
    if isinstance(X, Frame):
        names = list(X.columns)
        if columns[0] in names and columns[1] in names:
            return X[columns[0]], X[columns[1]]
        if len(names) != 2:
            raise InputError(
                f"{name} must have two columns of ids where y is given, got {len(names)}."
            )
        return X[names[0]], X[names[1]]
    if isinstance(X, tuple) and len(X) == 2:
        return X
    X = X if isinstance(X, np.ndarray) else np.asarray(X, dtype=object)
    if X.ndim != 2 or X.shape[1] != 2:
        raise InputError(
            f"{name} must be pairs (row id, column id), shape (entries, 2), where y is given, got "
            f"shape {X.shape}."
        )
    return X[:, 0], X[:, 1]
