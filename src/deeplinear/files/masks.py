"""Masks: files that mark entries of a table as missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError
from .dialect import plain
from .images import read_image_mask
from .opening import file_type, open_text
from .records import read_records
from .table import Table
from .text_options import TextOptions

_WORDS = {"": False, "false": False, "f": False, "no": False, "true": True, "t": True, "yes": True}

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
    for feature in mask.features:
        if feature.categories not in ((), (False, True)):
            raise InputError(
                f"INPUT: '{path}' has text in column '{feature.name}'; give numbers or booleans."
            )
    return np.nan_to_num(mask.values, nan=0.0) != 0


def _of_text(path: Path, table: Table) -> np.ndarray:
    """All cells, or those without the first line or column where only so the shape fits."""
    with open_text(path) as file:
        records = read_records(file.read(), file_type(path), TextOptions())
    cells = [[plain(cell) for cell in row] for row in records.rows()]
    if not cells or len({len(row) for row in cells}) > 1:
        raise InputError(f"INPUT: '{path}' is no table; give lines of the same number of cells.")
    height, width = table.mask_shape
    widths = (width, width + len(table.unfitted))
    down = int(len(cells) == height + 1)
    right = int(len(cells[0]) not in widths and len(cells[0]) - 1 in widths)
    if len(cells) - down != height or len(cells[0]) - right not in widths:
        down = right = 0  # it does not fit, and is shown as it is
    return np.array([[_flag(cell, path) for cell in row[right:]] for row in cells[down:]])


def _flag(cell: str, path: Path) -> bool:
    word = _WORDS.get(cell.lower())
    if word is not None:
        return word
    try:
        return float(cell) != 0
    except ValueError:
        raise InputError(
            f"INPUT: '{path}' holds {cell!r}; give numbers, of which 0 is not missing, or true and "
            "false."
        ) from None


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
