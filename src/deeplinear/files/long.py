"""Long data: files that list observed entries (row id, column id, value), read in pieces.

Each id is numbered once, while the file is read (`deeplinear.completion.data.ids.IdEncoder`), and
the estimators take the result as it is.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..completion.data.entries import Entries
from ..completion.data.id_encoder import IdEncoder
from ..errors import InputError
from . import long_matrix, long_parquet, long_text
from .columns import Source
from .long_matrix import is_sparse, read_matrix
from .long_parquet import open_parquet, parquet_columns
from .long_text import first_line, open_text_source
from .markers import Markers
from .opening import COMPRESSED, file_type
from .text_options import TextOptions

# Entries to begin with where their number is not known: enough that growing moves no memory.
_COUNT = 1 << 20
SUFFIXES = (*long_text.SUFFIXES, *long_parquet.SUFFIXES, *long_matrix.SUFFIXES)


@dataclass(frozen=True)
class Triples(Entries):
    """The entries of a file, which `DeepMatrixCompletion.fit` takes, and its columns' names.

    Of a matrix the ids are positions from 0.
    """

    names: tuple[str, ...]

    @property
    def positional(self) -> bool:
        """Whether the file is a matrix, whose rows and columns are known by position."""
        return self.row_ids.positional

    def describe(self) -> str:
        m, n = self.shape
        of = f"'{self.names[2]}' by " if len(self.names) > 2 else ""
        named = f": {of}'{self.names[0]}' and '{self.names[1]}'"
        return (
            f"{len(self):,} entries of a {m:,} × {n:,} matrix ({len(self) / (m * n):.2%} observed)"
            f"{'' if self.positional else named}"
        )


def is_long(path: Path) -> bool:
    """Whether a file of this type cannot be a table: MatrixMarket, or an archive of SciPy's."""
    kind = file_type(path)
    return kind == ".mtx" or (kind == ".npz" and is_sparse(path))


def is_text(path: Path) -> bool:
    """Whether a file of this type holds lines of text, not columns or a matrix."""
    return file_type(path) in long_text.SUFFIXES


def column_names(path: Path, text: TextOptions | None = None) -> list[str]:
    """The cells of the first line of a text file, the columns of a Parquet file, [] of a matrix."""
    kind = _kind(path, text)
    if kind in long_matrix.SUFFIXES:
        return []
    if kind in long_parquet.SUFFIXES:
        return parquet_columns(path)
    return first_line(path, text or TextOptions())


def read_long(
    path: str | Path,
    rows: str | None = None,
    cols: str | None = None,
    values: str | None = None,
    *,
    dtype: DTypeLike = np.float64,
    pairs: bool = False,
    text: TextOptions | None = None,
) -> Triples:
    """Observed entries of a text file, a Parquet file, a MatrixMarket file or a sparse ``.npz``.

    ``rows``, ``cols``, ``values`` name columns by their number from 1, or by their heading (one
    that is a number only where there is no column of that number). By default they are the first
    three that have a heading. With ``pairs`` only ids are read, as texts, and the values are 0.

    How a text file is written (separator, heading, marks of numbers, comments, compression, blocks
    of lines below ``12:``) is recognized, or said by ``text``; a `UserWarning` says where the
    heading is a guess. Entries whose value is one of ``text.missing`` are left out and counted in
    a `UserWarning`; without it a missing value is an error.

    Ids that are integers throughout (7 or 7.0) are int64, others text; integers are numbered in
    increasing order, texts in order of appearance. ``dtype`` is float64 or float32.

    **Memory**: two positions and a value per entry (16 bytes, in float32 12), and while reading
    the distinct ids, one piece of the file, and for text (whose length is not known before) up to
    half as much again. The columns of the file are never held.

    **Raises** `InputError` that names the line or row of a value that is missing, infinite or not
    a number, of a missing id, of a line with more or fewer cells than the others, and of a
    quotation mark that is not closed, and the option that mends it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "ratings.csv"
    ...     _ = path.write_text("who;what;stars\\n9;b;1\\n7;a;2,5\\n")
    ...     found = read_long(path)
    >>> found.row_ids.labels.tolist(), found.rows.tolist(), found.values.tolist(), found.names
    ([7, 9], [1, 0], [1.0, 2.5], ('who', 'what', 'stars'))
    """
    path, dtype = Path(path), np.dtype(dtype)
    text = text or TextOptions()
    if dtype not in (np.float32, np.float64):
        raise InputError(f"dtype must be float32 or float64, got {dtype}.")
    kind = _kind(path, text)
    markers = Markers(text.missing, known=frozenset())
    names: tuple[str, ...] = ("row", "column", "value")
    if kind in long_matrix.SUFFIXES:
        if (rows, cols, values) != (None, None, None):
            raise InputError(
                f"--rows, --cols, --values: '{path}' is a matrix and has no named columns; leave "
                "them out."
            )
        found = read_matrix(path, dtype, markers)
    else:
        encoders = IdEncoder(as_text=pairs), IdEncoder(as_text=pairs)
        wanted = (rows, cols) if pairs else (rows, cols, values)
        if kind in long_parquet.SUFFIXES:
            source = open_parquet(path, wanted, markers, encoders)
        else:
            source = open_text_source(path, wanted, text, encoders)
        found = _gathered(source, encoders, dtype)
        names = source.names
    if not len(found):
        raise InputError(f"INPUT: '{path}' has no entries; give at least one line of data.")
    if not np.isfinite(found.values).all():  # the readers refuse infinite values
        raise InputError(f"INPUT: '{path}' has values beyond {dtype}; read it in float64.")
    parts = found.rows, found.cols, found.values, found.row_ids, found.col_ids
    return Triples(*parts, names)


def _kind(path: Path, text: TextOptions | None) -> str:
    """The type of a file by its suffix; `InputError` if it cannot be read, or not with ``text``."""
    if not path.is_file():
        raise InputError(f"INPUT: '{path}' does not exist or is a folder; check the name.")
    kind = file_type(path)
    packed = path.suffix.lower() in COMPRESSED
    if kind not in (SUFFIXES if not packed else (*long_text.SUFFIXES, ".mtx")):
        raise InputError(
            f"INPUT: '{path}' is of the unknown type '{kind}'"
            f"{' and compressed; unpack it and' if packed else ';'} give one of "
            f"{', '.join(SUFFIXES)}."
        )
    if text is not None:
        only_text = kind not in long_text.SUFFIXES
        never = ("--labels", "--notes", "--present")
        idle = [x for x in text.given() if x in never or (only_text and x != "--missing")]
        if idle:
            raise InputError(
                f"{idle[0]}: it has no meaning for '{path}', which is a list of entries"
                f"{' and not a text file' if only_text else ''}; leave it out."
            )
    return kind


def _gathered(source: Source, encoders: tuple[IdEncoder, IdEncoder], dtype: np.dtype) -> Entries:
    """All pieces of a file in one."""
    count = source.count or _COUNT
    rows, cols = (_Vector(np.dtype(np.uint32), count) for _ in encoders)
    values = _Vector(dtype, count)
    for row_codes, col_codes, numbers in source.pieces:
        rows.extend(row_codes)
        cols.extend(col_codes)
        values.extend(numbers)
    i, j = rows.whole(), cols.whole()
    return Entries(i, j, values.whole(), encoders[0].finish(i), encoders[1].finish(j))


class _Vector:
    """A vector that grows in place."""

    def __init__(self, dtype: np.dtype, count: int) -> None:
        self._array, self._size = np.empty(count, dtype), 0

    def extend(self, piece: np.ndarray) -> None:
        end = self._size + len(piece)
        if end > len(self._array):  # by half, so that few growths are needed
            self._array.resize(max(end, len(self._array) * 3 // 2), refcheck=False)
        with np.errstate(over="ignore"):  # beyond float32: the caller reports it
            self._array[self._size : end] = piece
        self._size = end

    def whole(self) -> np.ndarray:
        self._array.resize(self._size, refcheck=False)
        return self._array
