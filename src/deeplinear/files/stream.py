"""Long Parquet files straight into `Observations`, a piece at a time: for 10⁷ … 10⁹ entries, whose
frame would not fit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..completion.data.ids import Ids
from ..completion.data.observations import Observations, RepeatedEntriesError
from ..errors import InputError
from .long import parquet_batches


@dataclass(frozen=True)
class Streamed:
    """The entries of a file, and the ids of their rows and columns by position."""

    observations: Observations
    row_ids: np.ndarray
    col_ids: np.ndarray


def stream_parquet(
    path: str | Path,
    rows: str | None = None,
    cols: str | None = None,
    values: str | None = None,
    *,
    dtype: Any = np.float32,
    duplicates: Literal["error", "mean", "last"] = "error",
) -> Streamed:
    """Read (row id, column id, value) of a Parquet file into `Observations` without ever holding
    the columns of the file.

    ``rows``, ``cols``, ``values`` name columns by heading or number (from 1), by default the first
    three. Ids are integers or text. ``dtype`` (float32 or float64) is that of the values;
    ``duplicates`` as in `Observations.from_triples`.

    **Memory**: in float32 12 bytes per entry while reading (two positions and a value), 28 at the
    peak of the sorting, 16 afterwards; in float64 16, 40 and 24. Besides, the distinct ids, a piece
    of a million entries, and what pyarrow keeps of a row group.

    **Raises** `InputError` for a file that is no Parquet, an unknown or non-numeric column, another
    dtype, and with the row (from 0) for a value that is missing or not finite and for a missing id;
    `RepeatedEntriesError` with the ids of an entry that comes again.

    >>> import pyarrow as pa, pyarrow.parquet as pq, tempfile
    >>> table = pa.table({"who": [7, 9, 7], "what": ["a", "b", "b"], "stars": [1.0, 2.0, 3.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pq.write_table(table, f"{folder}/long.parquet")
    ...     found = stream_parquet(f"{folder}/long.parquet")
    >>> found.row_ids.tolist(), found.col_ids.tolist(), found.observations.by_row.values.tolist()
    ([7, 9], ['a', 'b'], [1.0, 3.0, 2.0])
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"INPUT: '{path}' does not exist or is a folder; check the name.")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise InputError(f"dtype must be float32 or float64, got {np.dtype(dtype)}.")
    batches = parquet_batches(path, (rows, cols, values))
    names = next(batches)
    from pyarrow.parquet import read_metadata  # after the line above: it tells what is missing

    count = read_metadata(path).num_rows
    if not count:
        raise InputError(f"INPUT: '{path}' has no entries; give at least one line of data.")
    sides = [Ids(np.zeros(0, np.int64), 0), Ids(np.zeros(0, np.int64), 0)]
    places, numbers = [np.empty(count, np.uint32) for _ in sides], np.empty(count, dtype)
    done = 0
    for *ids, piece in batches:
        part = slice(done, done + len(piece))
        for k, column in enumerate(ids):
            sides[k], places[k][part] = _coded(sides[k], column, names[k])
        numbers[part] = piece
        done += len(piece)
    shape = sides[0].size, sides[1].size
    try:
        seen = Observations.from_triples(
            places[0], places[1], numbers, shape, duplicates=duplicates
        )
    except RepeatedEntriesError as error:  # it knows positions, the reader of the file ids
        row, col = sides[0].label(error.row), sides[1].label(error.col)
        raise RepeatedEntriesError(error.count, row, col, f"INPUT: '{path}'") from None
    return Streamed(seen, sides[0].labels, sides[1].labels)


def _coded(side: Ids, column: Any, name: str) -> tuple[Ids, np.ndarray]:
    """The ids with the new ones of ``column`` behind them, and the positions; texts are looked up
    once each.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind) or not pa.types.is_integer(kind):
        encoded = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
        side, codes = side.extended(encoded.dictionary.to_pylist(), f"column '{name}'")
        return side, codes[encoded.indices.to_numpy(zero_copy_only=False)]
    return side.extended(column.to_numpy(zero_copy_only=False), f"column '{name}'")
