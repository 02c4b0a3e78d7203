"""Lists of predictions as the bytes of a file: CSV and TSV, perhaps compressed, or Parquet."""

import csv
import io
from pathlib import Path

import numpy as np

from ..errors import InputError
from .formulas import meaningless, neutral
from .opening import compress, file_type
from .refusals import require

_TEXT, _FRAME = (".csv", ".tsv"), (".parquet", ".pq")


def check_list(path: Path, argument: str, *, escape_formulas: bool = False) -> None:
    """`InputError` unless ``path`` has the suffix of a type that `write_long` writes."""
    if escape_formulas and path.suffix.lower() in _FRAME:
        raise meaningless(path)
    if file_type(path) not in _TEXT and path.suffix.lower() not in _FRAME:
        raise InputError(
            f"{argument}: '{path}' must end in .csv, .tsv or .parquet for a list of predictions "
            "(.csv.gz compresses it), or be - for standard output."
        )


def write_long(
    path: Path, columns: dict[str, np.ndarray], *, escape_formulas: bool = False
) -> bytes:
    """The bytes of a CSV, TSV or Parquet file with these columns.

    ``escape_formulas``: of text, see `formulas.neutral`.
    """
    check_list(path, "--output", escape_formulas=escape_formulas)
    try:
        if path.suffix.lower() in _FRAME:
            return _parquet(path, columns)
        return _text(path, columns, escape_formulas=escape_formulas)
    except UnicodeEncodeError as error:
        raise InputError(
            f"--output: an id or a name holds {error.object[error.start]!a}, half a character, "
            "which no file can hold; name it otherwise in the data of the fit."
        ) from None


def is_writable(text: str) -> bool:
    """Whether a text can be written: bytes of the command line that are none become halves of
    characters.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(path: Path, columns: dict[str, np.ndarray], *, escape_formulas: bool) -> bytes:
    if escape_formulas:
        columns = {neutral(name): _neutral(column) for name, column in columns.items()}
    suffix = file_type(path)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(_cells(column) for column in columns.values()), strict=True))
    return compress(text.getvalue().encode(), path)


def _parquet(path: Path, columns: dict[str, np.ndarray]) -> bytes:
    require("pyarrow", path, "writing Parquet", "--output")
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    arrays = {name: pa.array(_one_type(column)) for name, column in columns.items()}
    pq.write_table(pa.table(arrays), buffer)
    return buffer.getvalue()


def _cells(column: np.ndarray) -> list[object]:
    """The column with an empty cell for NaN."""
    if column.dtype.kind != "f" or not np.isnan(column).any():
        return column.tolist()
    return ["" if x != x else x for x in column.tolist()]


def _neutral(column: np.ndarray) -> np.ndarray:
    """The column with its texts made harmless; numbers stay numbers."""
    if column.dtype.kind not in "OUT":
        return column
    out = np.empty(len(column), object)
    out[:] = [neutral(x) if isinstance(x, str) else x for x in column.tolist()]
    return out


def _one_type(column: np.ndarray) -> list[object]:
    """The column as a list; where integers stand beside texts, all as texts."""
    entries = column.tolist()
    mixed = column.dtype == object and len(set(map(type, entries))) > 1
    return [str(x) for x in entries] if mixed else entries
