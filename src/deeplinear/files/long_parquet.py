"""Long data in Parquet files, a batch of rows at a time; pyarrow is an optional dependency."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..completion.data.id_encoder import IdEncoder
from ..errors import InputError
from . import columns
from .columns import ARGUMENTS, Encoders, Piece, Source, Wanted, find_columns
from .limits import check_rows
from .markers import NO_ID, Markers
from .refusals import reading, require, shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".pq")
_KIND = "Parquet"


def open_parquet(path: Path, wanted: Wanted, markers: Markers, encoders: Encoders) -> Source:
    """Read the schema of a Parquet file, and its entries when they are asked for.

    Columns of integers are integer ids. All others are read as text, each distinct id once.
    """
    with reading(path, _KIND):
        file = _open(path)
        schema = file.schema_arrow
        header = list(schema.names)
    places = find_columns(wanted, header, path)
    for place, argument in zip(places, ARGUMENTS, strict=False):
        _check_type(path, argument, header[place], schema.field(place).type)
    names = tuple(header[place] for place in places)
    if any(header.count(name) > 1 for name in names):
        # pyarrow chooses by name, so all are read, which come in the order of the file
        chosen, found = None, places
    else:
        chosen, found = list(names), list(names)
    pieces = _pieces(path, file, chosen, found, markers, encoders)
    return Source(names, file.metadata.num_rows, pieces)


def _check_type(path: Path, argument: str, name: str, kind: "pa.DataType") -> None:
    """`InputError` for a column that can hold no ids, or no values."""
    from pyarrow import types

    if argument == "--values":
        fits = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    else:
        fits = not types.is_nested(kind)
    if not fits:
        raise InputError(
            f"{argument}: column {shown(name)} of '{path}' holds {kind}, not "
            f"{'numbers' if argument == '--values' else 'ids'}; name another column."
        )


def parquet_columns(path: Path) -> list[str]:
    """The names of the columns."""
    with reading(path, _KIND):
        return list(_open(path).schema_arrow.names)


def _open(path: Path) -> "pq.ParquetFile":
    require("pyarrow", path, "reading Parquet")
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    check_rows(path, file.metadata)
    return file


def _pieces(
    path: Path,
    file: "pq.ParquetFile",
    chosen: list[str] | None,
    wanted: Sequence[str | int],
    markers: Markers,
    encoders: Encoders,
) -> Iterator[Piece]:
    import pyarrow as pa

    """The entries; ``chosen`` columns are read (None: all), of which ``wanted`` are looked at."""
    done = left_out = 0
    with reading(path, _KIND):
        for batch in file.iter_batches(batch_size=64 * columns.CHUNK, columns=chosen):
            rows, cols, *numbers = (_decoded(batch.column(column)) for column in wanted)
            values = np.zeros(len(rows))
            for column in numbers:
                values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            known = _known(rows) & _known(cols)
            kept = markers.kept(values) | ~known
            bad = kept & ~(np.isfinite(values) & known)
            if bad.any():
                place = int(np.argmax(bad))
                what = _missing_value(values[place]) if known[place] else _MISSING_ID
                raise _bad_row(path, done + place, what)
            numbered = np.arange(done, done + len(values))
            done += len(values)
            if not kept.all():
                left_out += int((~kept).sum())
                rows, cols, values = rows.filter(kept), cols.filter(kept), values[kept]
                numbered = numbered[kept]
            codes = []
            for encoder, ids in zip(encoders, (rows, cols), strict=True):
                coded, missing = _codes(encoder, ids)
                if missing is not None:
                    raise _bad_row(path, int(numbered[missing]), _MISSING_ID)
                codes.append(coded)
            yield codes[0], codes[1], values
    markers.tell(path, left_out)


def _known(ids: "pa.Array") -> np.ndarray:
    """Which ids are neither null nor NaN."""
    import pyarrow as pa

    known = ids.is_valid().to_numpy(False)
    if pa.types.is_floating(ids.type):
        known &= ~np.isnan(ids.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False))
    return known


_MISSING_ID = "an id is missing; drop the row"


def _missing_value(value: float) -> str:
    kind = "infinite" if np.isinf(value) else "missing"
    return f"a value is {kind}; leave such entries out with --missing {value}"


def _bad_row(path: Path, row: int, what: str) -> InputError:
    return InputError(f"INPUT: '{path}', row {row} (counted from 0): {what}.")


def _decoded(column: "pa.Array") -> "pa.Array":
    """A column without its dictionary, which may hold values that no entry has."""
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _codes(encoder: IdEncoder, column: "pa.Array") -> tuple[np.ndarray, int | None]:
    """(codes of ids, the first place of a text that is no id)."""
    import pyarrow as pa

    # uint64 goes the way of text, since its ids may not fit int64
    if pa.types.is_integer(column.type) and not pa.types.is_uint64(column.type):
        return encoder.integer_codes(column.to_numpy(zero_copy_only=False)), None
    encoded = column.dictionary_encode()  # so that each text is looked up once per batch
    places = encoded.indices.to_numpy(zero_copy_only=False)
    texts = list(map(_text, encoded.dictionary.to_pylist()))
    none = [k for k, text in enumerate(texts) if text.strip().lower() in NO_ID]
    missing = int(np.argmax(np.isin(places, none))) if none else None
    return encoder.text_codes(texts)[places], missing


def _text(label: object) -> str:
    if not isinstance(label, bytes):
        return str(label)
    try:
        return label.decode()
    except UnicodeDecodeError:  # letters that are guessed could make two ids one
        raise ValueError("an id is bytes that are no UTF-8 text") from None
