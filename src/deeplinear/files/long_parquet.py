"""Long data in Parquet files, a batch of rows at a time; pyarrow is an optional dependency."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..completion.data.ids import IdEncoder
from ..errors import InputError
from . import columns
from .columns import Encoders, Piece, Source, Wanted, find_columns

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".pq")


def open_parquet(path: Path, wanted: Wanted, encoders: Encoders) -> Source:
    """Read the schema of a Parquet file, and its entries when they are asked for.

    Columns of integers are integer ids. All others are read as text, each distinct id once.
    """
    file = _open(path)
    import pyarrow as pa

    header = list(file.schema_arrow.names)
    names = tuple(header[c] for c in find_columns(wanted, header, path))
    for name in names[2:]:
        kind = file.schema_arrow.field(name).type
        tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
        if not any(test(kind) for test in tests):
            raise InputError(
                f"--values: column '{name}' of '{path}' holds {kind}, not numbers; name another "
                "column."
            )
    return Source(names, False, file.metadata.num_rows, _pieces(path, file, names, encoders))


def parquet_columns(path: Path) -> list[str]:
    """The names of the columns."""
    return list(_open(path).schema_arrow.names)


def _open(path: Path) -> "pq.ParquetFile":
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            f"INPUT: reading Parquet ('{path}') needs pyarrow; run: pip install "
            "'deeplinear[frames]'."
        ) from None
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _pieces(
    path: Path, file: "pq.ParquetFile", names: tuple[str, ...], encoders: Encoders
) -> Iterator[Piece]:
    import pyarrow as pa

    done = 0
    try:
        for batch in file.iter_batches(batch_size=16 * columns.CHUNK, columns=list(names)):
            # by name, since the columns of a batch come in the file's order
            rows, cols, *numbers = (
                _decoded(batch.column(batch.schema.get_field_index(name))) for name in names
            )
            values = np.zeros(len(rows))
            for column in numbers:
                values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            known = rows.is_valid().to_numpy(False) & cols.is_valid().to_numpy(False)
            bad = ~(np.isfinite(values) & known)
            if bad.any():
                raise InputError(
                    f"INPUT: '{path}', row {done + int(np.argmax(bad))} (counted from 0): a value "
                    "or id is missing or not finite; drop it."
                )
            yield _codes(encoders[0], rows), _codes(encoders[1], cols), values
            done += len(values)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _decoded(column: "pa.Array") -> "pa.Array":
    """A column without its dictionary, which may hold values that no entry has."""
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _codes(encoder: IdEncoder, column: "pa.Array") -> np.ndarray:
    import pyarrow as pa

    # uint64 goes the way of text, since its ids may not fit int64
    if pa.types.is_integer(column.type) and not pa.types.is_uint64(column.type):
        return encoder.integer_codes(column.to_numpy(zero_copy_only=False))
    encoded = column.dictionary_encode()  # so that each text is looked up once per batch
    codes = encoder.text_codes([str(label) for label in encoded.dictionary.to_pylist()])
    return codes[encoded.indices.to_numpy(zero_copy_only=False)]


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"INPUT: '{path}' cannot be read as Parquet ({error}); save it again.")
