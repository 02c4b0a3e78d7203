"""Masks: files that mark entries of a table as missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError
from .dialect import plain
from .images import read_image_mask
from .numbers import PLAIN
from .opening import file_type, open_text
from .records import read_records
from .refusals import shown
from .table import Table
from .text_options import TextOptions

_WORDS = {"": False, "false": False, "f": False, "no": False, "true": True, "t": True, "yes": True}

_FLAGS = {*_WORDS, "0", "1", "0.0", "1.0"}

Reader = Callable[[Path], Table]


def read_mask(path: Path, table: Table, read: Reader, kind: str) -> np.ndarray:
    """A mask for ``table`` from any file type: non-zero, true or white (in an image) is missing.

    ``read`` reads a table; ``kind`` is "image", "text" or another. A mask may have the columns of
    the file that are not fitted, too, and one in text a header line and row labels.
    """
    try:
        if kind == "image":
            mask = read_image_mask(path)
        elif kind == "text":
            mask = _of_text(path, table)
        else:
            mask = _of_table(path, read(path))
    except InputError as error:
        raise InputError(str(error).replace("INPUT", "--mask", 1)) from None
    if table.unfitted and mask.shape[1] == table.mask_shape[1] + len(table.unfitted):
        mask = np.delete(mask, table.unfitted, axis=1)
    if mask.shape != table.mask_shape:
        raise InputError(
            f"--mask: '{path}' is {_size(mask.shape)} where the input is "
            f"{_size(table.mask_shape)}; give a mask of the same shape."
        )
    return mask


def _of_table(path: Path, mask: Table) -> np.ndarray:
    if not mask.values.size:  # nothing may have any number of columns
        return np.zeros(mask.values.shape, bool)
    for feature in mask.features:
        if feature.categories not in ((), (False, True)):
            raise InputError(
                f"INPUT: '{path}' has text in column '{feature.name}'; give numbers or booleans."
            )
    return np.nan_to_num(mask.values, nan=0.0) != 0


def _of_text(path: Path, table: Table) -> np.ndarray:
    """The cells below a header line and beside row labels, if there are any.

    Its lines are those of the table: with its empty ones, or without.
    """
    cells = _cells(path)
    names = [feature.name for feature in table.features]
    headed = not all(map(_is_flag, cells[0])) or len(set(names) & set(cells[0])) == len(names) > 1
    numbered = not all(row[0].lower() in _FLAGS for row in cells[headed:])
    labelled = numbered and len(cells[0]) > 1 and len(cells[0]) != table.mask_shape[1]
    if headed and set(names) <= set(cells[0]):
        order = [name for name in cells[0] if name in names]
        if order != names:
            raise InputError(
                f"INPUT: '{path}' has the columns of the table in another order; give them in its "
                "own."
            )
    rows = cells[headed:]
    height, gaps = table.mask_shape[0], list(table.left_out)
    if gaps and len(rows) == height + len(gaps):
        rows = [row for i, row in enumerate(rows) if i not in gaps]
    kept = [row[labelled:] for row in rows]
    if not kept or not kept[0]:
        raise InputError(f"INPUT: '{path}' has no flags; give 1 for missing and 0 for others.")
    return np.array([[_flag(cell, path) for cell in row] for row in kept])


def _cells(path: Path) -> list[list[str]]:
    """The cells of all lines, those of empty cells included."""
    try:
        with open_text(path) as file:
            text = file.read()
    except UnicodeDecodeError:  # names in another encoding; flags are ASCII
        with open_text(path, "latin-1") as file:
            text = file.read()
    records = read_records(text, file_type(path), TextOptions())
    lines = [records.lines[i] for i in sorted([*records.body, *records.empty])]
    cells = [[plain(cell) for cell in line.cells] for line in lines]
    if not cells or len({len(row) for row in cells}) > 1:
        raise InputError(f"INPUT: '{path}' is no table; give lines of the same number of cells.")
    return cells


def _is_flag(cell: str) -> bool:
    return cell.lower() in _WORDS or PLAIN.reads(cell)


def _flag(cell: str, path: Path) -> bool:
    word = _WORDS.get(cell.lower())
    if word is not None:
        return word
    if not PLAIN.reads(cell):
        raise InputError(
            f"INPUT: '{path}' holds {shown(cell)}; give numbers, of which 0 is not missing, or "
            "true and false."
        )
    return PLAIN.parse(cell) != 0


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
