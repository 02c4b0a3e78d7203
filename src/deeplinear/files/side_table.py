"""Tables of features: the id of a line in the first column, what is known of it in the others."""

import os
from pathlib import Path

import numpy as np

from ..errors import InputError
from .cells import ColumnView, parse_cells
from .dialect import plain_cells
from .frames import ARROW, PARQUET, read_frame
from .markers import Markers
from .numbers import PLAIN
from .opening import file_type
from .records import read_records
from .text import check_rectangular, decode
from .text_options import TextOptions


def read_side_table(path: Path, argument: str) -> tuple[list[str], np.ndarray]:
    """(ids, features) of a CSV, TSV, Parquet or Feather file: texts, and an array of objects.

    The first line of text names the columns. Features are floats, texts, or None where missing.
    **Raises** `InputError` in the words of the option ``argument``.
    """
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise InputError(f"{argument}: '{path}' is no file that can be read; check the name.")
    try:
        columns = _framed(path) if file_type(path) in (*PARQUET, *ARROW) else _typed(path)
    except InputError as error:
        raise InputError(str(error).replace("INPUT:", f"{argument}:", 1)) from None
    if len(columns) < 2 or not len(columns[0]):
        raise InputError(
            f"{argument}: '{path}' must have a heading, ids in the first column and a feature or "
            "more behind, with a line for each id."
        )
    ids = [_as_text(label) for label in columns[0]]
    empty = [k for k, label in enumerate(ids) if not label.strip()]
    if empty:
        raise InputError(
            f"{argument}: '{path}' has {len(empty)} line(s) without an id, the first is number "
            f"{empty[0] + 1} below the heading; remove them."
        )
    features = np.empty((len(ids), len(columns) - 1), object)
    for j, column in enumerate(columns[1:]):
        features[:, j] = column
    return ids, features


def _framed(path: Path) -> list[list[object]]:
    frame = read_frame(path).frame
    return [column.to_pylist() for column in frame.columns]


def _typed(path: Path) -> list[list[object]]:
    text, _ = decode(path, TextOptions())
    records = read_records(text.removeprefix("\ufeff"), file_type(path), TextOptions())
    check_rectangular(path, records)
    rows = [plain_cells(row) for row in records.rows()][1:]
    if not rows:
        return []
    cells = parse_cells(rows, Markers(), PLAIN)
    every = range(len(rows[0]))
    return [_cells(cells.column(j, 0), as_ids=j == 0) for j in every]


def _cells(column: ColumnView, *, as_ids: bool) -> list[object]:
    """The cells of a column: numbers if all are, else texts; of ids as they are written."""
    if as_ids:
        return [text.strip() for text in column.texts]
    if not column.is_text.any():
        return [None if np.isnan(x) else x for x in column.values.tolist()]
    known = (column.is_text | column.is_number).tolist()
    return [text if there else None for text, there in zip(column.texts, known, strict=True)]


def _as_text(label: object) -> str:
    """An id as text: floats that are whole once were integers."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return "" if label is None else str(label)
