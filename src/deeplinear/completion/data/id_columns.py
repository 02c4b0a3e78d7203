"""Entries that tell little about the others: columns of ids or time stamps, one value only."""

import warnings
from collections.abc import Sequence

import numpy as np

from ...errors import IdColumnWarning
from .columns import Mask

# A short column may increase by chance, or count something.
_ROWS = 20
# The part of the rows that have an id, and of the ids that are distinct.
_NEARLY = 0.95
# Ids of many digits: from here on, and of one size.
_LARGE, _SPREAD = 1e5, 5.0


def id_like_columns(values: np.ndarray, observed: Mask) -> dict[int, str]:
    """Positions of the columns of ``values`` (rows, columns) that look like ids, and why.

    Of at least 20 values: whole numbers, nearly all there and all distinct, that count up (in any
    order) or have six or more digits and one size; and columns that increase, or decrease, from row
    to row. What most of three or more columns do says nothing: the table is about it.
    """
    numbered, steady = {}, {}
    for j in range(values.shape[1]):
        x = values[observed[:, j], j]
        if len(x) < _ROWS:
            continue
        steps = np.diff(x)
        if (steps > 0).all() or (steps < 0).all():
            steady[j] = f"{'increases' if steps[0] > 0 else 'decreases'} from row to row"
        if _looks_numbered(x, len(values)):
            numbered[j] = "whole numbers that do not repeat"
    common = _is_common(steady, values.shape[1])
    if _is_common(numbered, values.shape[1]):
        numbered = {}
    if common:
        return {j: why for j, why in numbered.items() if j not in steady}
    return dict(sorted((steady | numbered).items()))


def _is_common(found: dict[int, str], columns: int) -> bool:
    return len(found) > 2 and 2 * len(found) > columns


def _looks_numbered(x: np.ndarray, rows: int) -> bool:
    if len(x) < _NEARLY * rows or not (x == np.floor(x)).all():
        return False
    distinct = np.unique(x)
    if len(distinct) < _NEARLY * len(x):
        return False
    span, size = distinct[-1] - distinct[0], np.abs(distinct)
    low, middle = np.quantile(size, [0.05, 0.5])
    one_size = low >= _LARGE / 10 and middle >= _LARGE and size.max() <= _SPREAD * middle
    return bool(span < 1.5 * len(x) or one_size)


def warn_of_ids(values: np.ndarray, observed: Mask, names: Sequence[str]) -> None:
    """One `IdColumnWarning` that lists the `id_like_columns`."""
    found = id_like_columns(values, observed)
    if not found:
        return
    listed = ", ".join(f"'{names[j]}' ({why})" for j, why in found.items())
    warnings.warn(
        f"Columns that look like ids or time stamps: {listed}. They tell little about the others: "
        "drop them, or carry them through (columns= names those to fit; in the command line --keep "
        "those to carry).",
        IdColumnWarning,
        stacklevel=4,
    )


def warn_if_constant(values: np.ndarray) -> None:
    """Entries of one value, as clicks are, hold nothing but that value."""
    if len(values) > 1 and values.min() == values.max():
        warnings.warn(
            f"All {len(values)} entries have the value {values[0]:g}, and every prediction will be "
            f"{values[0]:g}: clicks or purchases teach nothing without entries of another value, "
            "so add some that are known to be 0.",
            UserWarning,
            stacklevel=3,
        )
