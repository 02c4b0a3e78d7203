"""Data frames in Parquet and Arrow files (Feather), through pyarrow (the extra ``frames``).

Only the chunks of columns that have missing entries are replaced, so all others keep their types
and values, and the schema keeps its metadata, those of pandas (the index) included.
"""

import decimal
import io
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..completion.data.features import Feature, FeatureKind, few_labels
from ..errors import InputError
from .arrays import as_floats
from .limits import check_entries, check_rows
from .markers import Markers
from .refusals import reading, require, shown
from .selection import Selection
from .table import Table

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, ARROW = (".parquet", ".pq"), (".feather", ".arrow")
SUFFIXES = (*PARQUET, *ARROW)


@dataclass(kw_only=True)
class FrameTable(Table):
    """A data frame. Numbers, booleans and categories are fitted, by position, so that repeated
    names do no harm; the index, dates, names and other columns are carried along.
    """

    frame: "pa.Table"  # pyarrow is an optional dependency
    values: np.ndarray
    columns: list[int]  # their positions in the frame
    index: list[int]  # positions of the columns that are an index for pandas
    suffixes: tuple[str, ...]
    features: tuple[Feature, ...]
    carried: tuple[str, ...]
    dropped: list[int]
    unfitted: list[int]

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        frame, missing = self.frame, np.isnan(self.values)
        for j in np.flatnonzero(missing.any(axis=0)):  # a complete column is not touched at all
            position = self.columns[j]
            column = frame.column(position)
            cells = _cells(filled[missing[:, j], j], self.features[j], _plain_type(column.type))
            column = _replaced(column, missing[:, j], cells)
            frame = frame.set_column(position, frame.schema.field(position), column)
        for position in sorted(self.dropped, reverse=True):
            frame = frame.remove_column(position)
        return _file(frame, suffix)

    def place(self, row: int, column: int) -> str:
        labels = [self.frame.column(k)[row].as_py() for k in self.index]
        label = repr(labels[0] if len(labels) == 1 else tuple(labels)) if labels else str(row + 1)
        return f"row {label}, column {shown(self.features[column].name)}"


def read_frame(
    path: Path, missing: Iterable[str] = (), selection: Selection | None = None
) -> FrameTable:
    """Read a Parquet, Feather or Arrow file; nulls and NaN are missing, and what ``missing`` names.

    A column of text is a category if `are_categories` says so; a column of dictionary type is one
    unless it has more than 20 labels, most of them used once.
    """
    suffixes = PARQUET if path.suffix.lower() in PARQUET else ARROW
    kind = "Parquet" if suffixes == PARQUET else "Arrow"
    require("pyarrow", path, f"reading {kind}")
    with reading(path, kind):
        frame = _read_parquet(path) if suffixes == PARQUET else _read_arrow(path)
        check_entries(path, frame.num_rows)  # lists of nothing have any length
        frame.validate(full=True)
        index = _index_columns(frame.schema)
        names = [field.name for field in frame.schema]
        chosen = (selection or Selection()).positions(names, path)
        markers = Markers(missing, known=frozenset())
        found: dict[int, tuple[Feature, np.ndarray]] = {}
        carried = []
        for position, field in enumerate(frame.schema):
            column = frame.column(position)
            reason = "index" if position in index else "kept" if chosen.carries(position) else ""
            labelled = position in chosen.categorical
            if position in chosen.drop:
                continue
            if not reason and position not in chosen.columns and _is_empty(column):
                reason = "empty"
            if not reason and (labelled or _is_category(column, markers)):
                found[position] = _category(field.name, column, markers)
            elif not reason and (kind_of := _number_kind(field.type)) is not None:
                found[position] = Feature(field.name, kind_of), markers.hide(_numbers(column))
            else:
                carried.append(f"'{field.name}' ({reason or _description(field.type)})")
    values = np.empty((frame.num_rows, len(found)))
    for j, (_, numbers) in enumerate(found.values()):
        values[:, j] = numbers
    features = tuple(feature for feature, _ in found.values())
    everything = [position for position in range(frame.num_columns) if position not in index]
    return FrameTable(
        frame=frame,
        values=values,
        columns=list(found),
        index=index,
        suffixes=suffixes,
        features=features,
        carried=tuple(carried),
        dropped=sorted(chosen.drop),
        unfitted=[k for k, position in enumerate(everything) if position not in found],
    )


def _read_parquet(path: Path) -> "pa.Table":
    import pyarrow.parquet as pq

    # alone, whatever the names of its folders say, and with repeated names of columns
    file = pq.ParquetFile(path)
    check_rows(path, file.metadata)
    frame = file.read()
    if frame.num_rows != file.metadata.num_rows:
        raise ValueError(f"it announces {file.metadata.num_rows:,} rows and has {frame.num_rows:,}")
    return frame


def _read_arrow(path: Path) -> "pa.Table":
    import pyarrow as pa

    data = path.read_bytes()
    if data.startswith(b"FEA1"):
        raise InputError(f"INPUT: '{path}' is a file of Feather's first version; save it again.")
    source = pa.BufferReader(data)
    if data.startswith(b"ARROW1"):
        return pa.ipc.open_file(source).read_all()
    frame = pa.ipc.open_stream(source).read_all()
    if source.read(1):
        raise ValueError("it goes on behind the table")
    return frame


def _file(frame: "pa.Table", suffix: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    if suffix in PARQUET:
        pq.write_table(frame, buffer)
    else:
        # compressed views end the process before pyarrow 25
        squeeze = suffix == ".feather" and "_view" not in str(frame.schema.types)
        options = pa.ipc.IpcWriteOptions(compression="lz4" if squeeze else None)
        with pa.ipc.new_file(buffer, frame.schema, options=options) as writer:
            writer.write_table(frame)
    return buffer.getvalue()


def _index_columns(schema: "pa.Schema") -> list[int]:
    """Positions of the columns that pandas' metadata call the index, the last of each name."""
    metadata = schema.pandas_metadata or {}
    names = [name for name in metadata.get("index_columns", []) if isinstance(name, str)]
    return [places[-1] for places in map(schema.get_all_field_indices, names) if places]


def _is_empty(column: "pa.ChunkedArray") -> bool:
    import pyarrow as pa

    floating = pa.types.is_floating(column.type)
    return column.null_count == len(column) or (floating and bool(np.isnan(_numbers(column)).all()))


def _plain_type(kind: "pa.DataType") -> "pa.DataType":
    """The type of the entries, not of their codes."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _number_kind(kind: "pa.DataType") -> FeatureKind | None:
    import pyarrow as pa

    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= 0):
        return FeatureKind.integer
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return FeatureKind.number
    return None


def _is_category(column: "pa.ChunkedArray", markers: Markers) -> bool:
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        return True
    declared, kind = pa.types.is_dictionary(column.type), _plain_type(column.type)
    if not _is_text(kind) and (not declared or pa.types.is_nested(kind)):
        return False
    codes, labels = _coded(column, markers)
    observed = int((codes >= 0).sum())
    used = len(labels)
    known = 2 * observed > len(column)  # as in `kinds`
    return (known and few_labels(used, observed)) or (
        declared and 0 < used <= max(20, observed / 2)
    )


def _category(name: str, column: "pa.ChunkedArray", markers: Markers) -> tuple[Feature, np.ndarray]:
    import pyarrow as pa

    if pa.types.is_boolean(column.type):  # both labels, so that the codes are 0 and 1
        feature = Feature(name, FeatureKind.category, (False, True))
        return feature, column.cast(pa.int8()).cast(pa.float64()).to_numpy()
    codes, labels = _coded(column, markers)
    feature = Feature(name, FeatureKind.category, tuple(labels))
    return feature, np.where(codes < 0, np.nan, codes)


def _coded(column: "pa.ChunkedArray", markers: Markers) -> tuple[np.ndarray, list[Hashable]]:
    """The codes of the entries (-1 for missing) and the labels that occur: in the order that the
    dictionary declares, else sorted.
    """
    import pyarrow as pa

    declared = pa.types.is_dictionary(column.type)
    plain = column.cast(_plain_type(column.type)) if declared else column
    encoded = _as_takeable(plain).combine_chunks().dictionary_encode()
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    found = encoded.dictionary.to_pylist()
    known = {label: k for k, label in enumerate(found) if not _means_missing(label, markers)}
    if declared:
        chunks = column.unify_dictionaries().chunks
        labels = [v for v in (chunks[0].dictionary.to_pylist() if chunks else []) if v in known]
        labels = list(dict.fromkeys(labels))
    else:
        labels = sorted(known)
    codes = np.full(len(found) + 1, -1)  # the last for the index -1
    for code, label in enumerate(labels):
        codes[known[label]] = code
    return codes[indices], labels


def _means_missing(label: Hashable, markers: Markers) -> bool:
    if isinstance(label, str):
        return markers.mean_missing(label)
    return label is None or label != label


def _numbers(column: "pa.ChunkedArray") -> np.ndarray:
    import pyarrow as pa

    # rounds integers beyond 2⁵³ for the fit alone
    return column.cast(pa.float64(), safe=False).to_numpy()


def _cells(filled: np.ndarray, feature: Feature, kind: "pa.DataType") -> "pa.Array":
    """Completed entries as ``kind`` holds them."""
    import pyarrow as pa

    if feature.kind is FeatureKind.category:
        return pa.array([feature.categories[int(code)] for code in filled], kind)
    if pa.types.is_decimal(kind):
        return pa.array([_as_decimal(number, kind) for number in filled], kind)
    if pa.types.is_floating(kind):
        return pa.array(as_floats(filled, np.dtype(kind.to_pandas_dtype())), kind)
    limits = np.iinfo(kind.to_pandas_dtype())  # in Python's integers, which are exact
    return pa.array([min(max(round(x), limits.min), limits.max) for x in filled.tolist()], kind)


def _as_decimal(number: float, kind: "pa.DataType") -> decimal.Decimal:
    step = decimal.Decimal(1).scaleb(-kind.scale)
    largest = step * (10**kind.precision - 1)
    with decimal.localcontext(prec=kind.precision + 20):
        return min(max(decimal.Decimal(number), -largest), largest).quantize(step)


def _replaced(
    column: "pa.ChunkedArray", missing: np.ndarray, cells: "pa.Array"
) -> "pa.ChunkedArray":
    """``column`` with ``cells`` in the places where ``missing`` is true, of the same type."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        cells = cells.dictionary_encode().cast(kind)
    both = pa.chunked_array([*column.chunks, cells], kind)
    take = np.arange(len(column))
    take[missing] = len(column) + np.arange(len(cells))
    if pa.types.is_dictionary(kind):
        both = both.unify_dictionaries()
    return _as_takeable(both).take(pa.array(take)).cast(kind)


def _as_takeable(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """pyarrow picks and numbers no views of text."""
    import pyarrow as pa

    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def _description(kind: "pa.DataType") -> str:
    """What a column that is not fitted holds."""
    import pyarrow as pa

    kind = _plain_type(kind)
    words = {
        "text": _is_text,
        "dates": lambda kind: pa.types.is_date(kind) or pa.types.is_timestamp(kind),
        "times": pa.types.is_time,
        "durations": lambda kind: pa.types.is_duration(kind) or pa.types.is_interval(kind),
        "nested": pa.types.is_nested,
        "empty": pa.types.is_null,
    }
    return next((word for word, test in words.items() if test(kind)), str(kind))
