"""Parquet shards: the entries that one process reads, and the predictions that it writes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...atomic import write_atomically
from ...errors import InputError
from ...extras import needed_by

if TYPE_CHECKING:
    import pyarrow as pa

PathLike = str | Path
# Rows of a shard that are looked at at a time.
BATCH = 1 << 20


def batches(path: PathLike, columns: Sequence[str]) -> Iterator[list[np.ndarray]]:
    """The ``columns`` of a Parquet file, a piece at a time: two of integer ids, perhaps one value.

    **Raises** `InputError` for a file that is not there, other columns, missing ids and values that
    are not finite numbers.
    """
    with needed_by("shards"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"shards: '{path}' cannot be read ({reason}).") from None
    absent = [name for name in columns if name not in file.schema_arrow.names]
    if absent:
        names = ", ".join(file.schema_arrow.names)
        raise InputError(
            f"columns must be those of '{path}', which has {names}, got {absent[0]!r}: name three "
            "of them."
        )
    for batch in file.iter_batches(batch_size=BATCH, columns=list(columns)):
        yield [
            _numbers(path, name, batch.column(name), ids=k < 2) for k, name in enumerate(columns)
        ]


def _numbers(path: PathLike, name: str, column: "pa.Array", *, ids: bool) -> np.ndarray:
    import pyarrow as pa
    from pyarrow import compute, types

    kind = column.type
    if not types.is_integer(kind) and (ids or not types.is_floating(kind)):
        what = "integers; number the ids first" if ids else "numbers"
        raise InputError(f"shards: column '{name}' of '{path}' must hold {what}, got {kind}.")
    finite = ids or compute.all(compute.is_finite(column), min_count=0).as_py()
    if column.null_count or not finite:
        raise InputError(
            f"shards: column '{name}' of '{path}' has a missing or infinite value: leave such "
            "entries out."
        )
    array = column.to_numpy(zero_copy_only=False)
    if ids and kind == pa.uint64() and len(array) and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"shards: column '{name}' of '{path}' has ids beyond 2**63 − 1.")
    return array.astype(np.int64, copy=False) if ids else array


def read_entries(
    paths: Sequence[PathLike], columns: Sequence[str], dtype: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row ids, column ids, values) of all ``paths``, in their order."""
    if len(columns) != 3:
        raise InputError(f"columns must name row ids, column ids and values, got {columns!r}.")
    pieces: list[list[np.ndarray]] = [[np.zeros(0, np.int64)] * 2 + [np.zeros(0, dtype)]]
    for path in paths:
        for rows, cols, values in batches(path, columns):
            pieces.append([rows, cols, values.astype(dtype)])
    rows, cols, values = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return rows, cols, values


class Writer:
    """A Parquet file that appears whole or not at all, written a piece at a time."""

    def __init__(self, path: PathLike) -> None:
        import pyarrow as pa

        self.path, self._sink = Path(path), pa.BufferOutputStream()
        self._writer: Any = None

    def add(self, columns: dict[str, np.ndarray]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(columns)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._sink, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            write_atomically(self.path, memoryview(self._sink.getvalue()))
