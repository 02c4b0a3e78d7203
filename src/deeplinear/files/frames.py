"""Parquet, through pandas (the optional extra ``frames``): index, names and types are kept."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .table import Table

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class FrameTable(Table):
    """A data frame; a leading column of text is taken for row labels, as in CSV."""

    frame: "pd.DataFrame"  # pandas is an optional dependency
    columns: list[int]  # positions of the numeric columns
    suffixes: tuple[str, ...]

    def __post_init__(self) -> None:
        self.values = self.frame.iloc[:, self.columns].to_numpy(dtype=float, na_value=np.nan)

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        frame = self.frame.copy()
        missing = np.isnan(self.values)
        for j in np.flatnonzero(missing.any(axis=0)):  # a complete column is not touched at all
            position = self.columns[j]
            column = frame.iloc[:, position]
            # integers cannot hold the completed values; floats keep their width and flavour
            dtype = column.dtype if column.dtype.kind == "f" else np.dtype(float)
            entries = np.where(missing[:, j], filled[:, j], self.values[:, j])
            frame.isetitem(position, type(column)(entries, index=frame.index, dtype=dtype))
        buffer = io.BytesIO()
        frame.to_parquet(buffer)
        return buffer.getvalue()

    def place(self, row: int, column: int) -> str:
        return f"row {self.frame.index[row]!r}, column '{self.frame.columns[self.columns[column]]}'"


def read_frame(path: Path) -> FrameTable:
    """Read a Parquet file."""
    try:
        import pandas as pd
        import pyarrow as pa
    except ImportError:
        raise InputError(
            f"INPUT: reading Parquet ('{path}') needs pandas and pyarrow; run: pip install "
            "'deeplinear[frames]'."
        ) from None
    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"INPUT: '{path}' cannot be read as Parquet ({error}); save it again."
        ) from None

    numeric = [pd.api.types.is_numeric_dtype(dtype) and dtype.kind != "c" for dtype in frame.dtypes]
    first = 0 if not numeric or numeric[0] else 1
    text = [str(frame.columns[j]) for j in range(first, len(numeric)) if not numeric[j]]
    if text:
        raise InputError(
            f"INPUT: '{path}' has columns that are not numbers: {', '.join(map(repr, text[:5]))}"
            f"{', …' if len(text) > 5 else ''}; remove them, or make them the index."
        )
    return FrameTable(frame, list(range(first, frame.shape[1])), (path.suffix.lower(),))
