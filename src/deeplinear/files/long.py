"""Long data: files that list observed entries (row id, column id, value), read in pieces."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

CHUNK = 1 << 16  # lines at a time
_TEXT, _FRAME = (".csv", ".tsv", ".txt", ".dat"), (".parquet", ".pq")
_MATRIX = (".mtx", ".npz")
SUFFIXES = (*_TEXT, *_FRAME, *_MATRIX)


@dataclass(frozen=True)
class Long:
    """Entries of a file: codes 0, 1, … with the ids that they stand for (int64, or text), and
    values.

    ``row_ids`` is None where the file is a matrix whose rows are known by position; ``shape`` is
    its size then.
    """

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    row_ids: np.ndarray | None
    col_ids: np.ndarray | None
    names: tuple[str, ...]
    shape: tuple[int, int]
    headless: bool = False  # whether the file's first line is an entry already

    def __len__(self) -> int:
        return len(self.values)

    def describe(self) -> str:
        m, n = self.shape
        return (
            f"{len(self):,} entries of a {m:,} × {n:,} matrix ({len(self) / (m * n):.2%} observed)"
        )

    def training(self) -> Any:
        """What `DeepMatrixCompletion.fit` takes: a sparse matrix, or (row ids, column ids,
        values).
        """
        if self.row_ids is None or self.col_ids is None:
            from scipy import sparse

            return sparse.coo_array((self.values, (self.rows, self.cols)), shape=self.shape)
        return self.row_ids[self.rows], self.col_ids[self.cols], self.values


class _Encoded:
    """A column of few distinct texts: its dictionary, looked up once, and the codes."""

    def __init__(self, texts: list[str], codes: np.ndarray) -> None:
        self.texts, self.places = texts, codes

    def __len__(self) -> int:
        return len(self.places)


class _Side:
    """Ids seen so far, numbered in order of appearance."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def codes(self, texts: "list[str] | _Encoded") -> np.ndarray:
        if isinstance(texts, _Encoded):
            return self.codes(texts.texts)[texts.places]
        index = self.index
        return np.fromiter(
            (index.setdefault(text, len(index)) for text in texts), np.int32, len(texts)
        )

    def ids(self) -> np.ndarray:
        """Integers where every id is written as one (no leading zeros), else the texts."""
        texts = list(self.index)
        try:
            numbers = [int(text) for text in texts]
        except ValueError:
            numbers = []
        plain = all(str(number) == text for number, text in zip(numbers, texts, strict=False))
        if numbers and plain and max(abs(number) for number in numbers) < 2**63:
            return np.array(numbers, dtype=np.int64)
        return np.fromiter(texts, dtype=object, count=len(texts))


def is_long(path: Path, rows: str | None, cols: str | None, values: str | None) -> bool:
    """Whether to read ``path`` as long data: its columns were named, or its type holds nothing
    else.
    """
    if rows is not None or cols is not None or values is not None:
        return True
    return path.suffix.lower() == ".mtx" or (path.suffix.lower() == ".npz" and _is_sparse(path))


def read_long(
    path: Path,
    rows: str | None = None,
    cols: str | None = None,
    values: str | None = None,
    *,
    pairs: bool = False,
    headless: bool | None = None,
) -> Long:
    """Observed entries of a CSV, TSV, ``::``-separated or Parquet file, a MatrixMarket file or a
    sparse ``.npz``.

    ``rows``, ``cols``, ``values`` name columns by their heading or number (from 1); in files
    without a heading by number. By default the first three. With ``pairs`` only ids are read, and
    the values are 0. Whether a text file begins with an entry is told by ``headless``, or by its
    first line: one with a number in the last of these columns is no heading. Text files and Parquet
    are read in pieces: memory is that of the entries (16 bytes each) and of the distinct ids.

    **Raises** `InputError` that names the line of a value that is missing, infinite or no number,
    and of a missing id.
    """
    if not path.is_file():
        raise InputError(f"INPUT: '{path}' does not exist or is a folder; check the name.")
    suffix = path.suffix.lower()
    if suffix in _MATRIX:
        if (rows, cols, values) != (None, None, None):
            raise InputError(
                f"--rows, --cols, --values: '{path}' is a matrix and has no named columns; leave "
                "them out."
            )
        return _read_matrix(path)
    if suffix not in _TEXT + _FRAME:
        raise InputError(
            f"INPUT: '{path}' is of the unknown type '{suffix}'; give one of {', '.join(SUFFIXES)}."
        )
    wanted = (rows, cols) if pairs else (rows, cols, values)
    pieces = (
        _parquet_pieces(path, wanted) if suffix in _FRAME else _text_pieces(path, wanted, headless)
    )
    names, headless = next(pieces)
    sides = _Side(), _Side()
    parts: tuple[list[Any], list[Any], list[Any]] = [], [], []
    for row_texts, col_texts, numbers in pieces:
        parts[0].append(sides[0].codes(row_texts))
        parts[1].append(sides[1].codes(col_texts))
        parts[2].append(numbers)
    if not parts[2]:
        raise InputError(f"INPUT: '{path}' has no entries; give at least one line of data.")
    row_codes, col_codes, number = (np.concatenate(part) for part in parts)
    ids = sides[0].ids(), sides[1].ids()
    return Long(row_codes, col_codes, number, *ids, names, (len(ids[0]), len(ids[1])), headless)


def _column(name: str | None, default: int, header: list[str], argument: str, path: Path) -> int:
    """Position of a column that is named by its heading or its number."""
    if name is None:
        position = default
    elif name in header:
        return header.index(name)
    elif name.isdigit() and int(name) > 0:
        position = int(name) - 1
    else:
        raise InputError(
            f"{argument}: '{path}' has no column '{name}'; it has "
            f"{', '.join(map(repr, header[:8]))}."
        )
    if position >= len(header):
        raise InputError(
            f"{argument}: '{path}' has {len(header)} columns, and number {position + 1} was asked "
            "for."
        )
    return position


def _columns(wanted: tuple[str | None, ...], header: list[str], path: Path) -> list[int]:
    found = [
        _column(name, default, header, argument, path)
        for default, (name, argument) in enumerate(
            zip(wanted, ("--rows", "--cols", "--values"), strict=False)
        )
    ]
    if len(set(found)) < len(found):
        raise InputError(
            f"--rows, --cols, --values: '{path}': different columns are needed, got numbers "
            f"{found} (from 0)."
        )
    return found


def _text_pieces(
    path: Path, wanted: tuple[str | None, ...], headless: bool | None
) -> Iterator[Any]:
    try:
        yield from _decoded_pieces(path, wanted, headless)
    except UnicodeDecodeError:
        raise _not_text(path) from None


def _decoded_pieces(
    path: Path, wanted: tuple[str | None, ...], headless: bool | None
) -> Iterator[Any]:
    """First the names of the columns and whether there is no heading; then (row ids, column ids,
    values) of a block of lines at a time.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        separator = next((mark for mark in ("::", "\t", ";", ",") if mark in first), " ")
        lines = (
            (line.rstrip("\r\n").split("::") for line in file)
            if separator == "::"
            else csv.reader(file, delimiter=separator)
        )
        try:
            header = next(iter(lines))
        except (StopIteration, csv.Error):
            raise InputError(f"INPUT: '{path}' is empty; give at least one line of data.") from None
        named = any(name in header for name in wanted if name is not None)
        start = _columns(wanted, header, path)
        headless = not named and (_is_number(header[start[-1]]) if headless is None else headless)
        yield tuple(f"column {c + 1}" if headless else header[c] for c in start), headless
        block: list[list[str]] = [header] if headless else []
        done = 0 if headless else 1  # lines before the block
        try:
            for line in lines:
                block.append(line)
                if len(block) == CHUNK:
                    yield _parse(block, start, done, path)
                    done += len(block)
                    block = []
        except csv.Error as error:
            raise InputError(f"INPUT: '{path}', after line {done + len(block)}: {error}.") from None
        if block:
            yield _parse(block, start, done, path)


def _not_text(path: Path) -> InputError:
    """Which line of a file is not UTF-8: letters that are guessed could make one id of two."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return InputError(
                    f"INPUT: '{path}', line {number} is not UTF-8 text (byte "
                    f"{line[error.start]:#04x} at place "
                    f"{error.start + 1}); save the file as UTF-8."
                )
    return InputError(f"INPUT: '{path}' is not UTF-8 text; save the file as UTF-8.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(
    block: list[list[str]], columns: list[int], done: int, path: Path
) -> tuple[list[str], list[str], np.ndarray]:
    """The three columns of a block; on trouble, which line."""
    r, c, *rest = columns
    v = rest[0] if rest else None
    number_of = (lambda line: float(line[v])) if v is not None else lambda line: 0.0
    try:
        rows, cols = [line[r] for line in block], [line[c] for line in block]
        values = np.array([number_of(line) for line in block])
        if np.isfinite(values).all() and all(rows) and all(cols):
            return rows, cols, values
    except (IndexError, ValueError):
        pass
    kept = []
    for number, line in enumerate(block, done + 1):
        if not "".join(line).strip() and len(line) < 2:
            continue  # an empty line, as at the end of many files
        if len(line) <= max(columns):
            raise InputError(
                f"INPUT: '{path}', line {number} has {len(line)} column(s), {max(columns) + 1} are "
                "needed."
            )
        if v is not None and not (_is_number(line[v]) and np.isfinite(float(line[v]))):
            raise InputError(
                f"INPUT: '{path}', line {number}: the value is {line[v]!r} where a finite number "
                "is needed; correct or drop the line."
            )
        if not line[r] or not line[c]:
            raise InputError(
                f"INPUT: '{path}', line {number}: an id is missing; correct or drop the line."
            )
        kept.append(line)
    return (
        [line[r] for line in kept],
        [line[c] for line in kept],
        np.array([number_of(line) for line in kept]),
    )


def parquet_batches(path: Path, wanted: tuple[str | None, ...]) -> Iterator[Any]:
    """First the names of the columns; then (row ids, column ids, checked values) of a batch at a
    time, the ids as Arrow arrays.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            f"INPUT: reading Parquet ('{path}') needs pyarrow; run: pip install "
            "'deeplinear[frames]'."
        ) from None
    try:
        file = pq.ParquetFile(path)
        header = list(file.schema_arrow.names)
        columns = _columns(wanted, header, path)
        names = [header[c] for c in columns]
        kind = file.schema_arrow.field(names[2]).type if len(names) == 3 else pa.float64()
        if not (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        ):
            raise InputError(
                f"--values: column '{names[2]}' of '{path}' holds {kind}, not numbers; name "
                "another column."
            )
        yield tuple(names)
        done = 0
        for batch in file.iter_batches(batch_size=16 * CHUNK, columns=names):
            rows, cols, *numbers = (
                batch.column(batch.schema.get_field_index(name)) for name in names
            )
            values = np.zeros(len(rows))
            for column in numbers:
                values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            bad = ~np.isfinite(values) | ~(
                rows.is_valid().to_numpy(False) & cols.is_valid().to_numpy(False)
            )
            if bad.any():
                row = done + int(np.argmax(bad))
                raise InputError(
                    f"INPUT: '{path}', row {row} (counted from 0): a value or id is missing or not "
                    "finite; drop it."
                )
            yield rows, cols, values
            done += len(values)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"INPUT: '{path}' cannot be read as Parquet ({error}); save it again."
        ) from None


def _parquet_pieces(path: Path, wanted: tuple[str | None, ...]) -> Iterator[Any]:
    batches = parquet_batches(path, wanted)
    yield next(batches), False
    for rows, cols, values in batches:
        yield _texts(rows), _texts(cols), values


def _texts(column: Any) -> Any:
    encoded = column if hasattr(column, "dictionary") else column.dictionary_encode()
    return _Encoded(
        [str(x) for x in encoded.dictionary.to_pylist()],
        encoded.indices.to_numpy(zero_copy_only=False),
    )


def _is_sparse(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"format", "shape", "data"} <= set(archive.files)
    except Exception:  # whatever is wrong with it, the reader of tables says so
        return False


def _read_matrix(path: Path) -> Long:
    from scipy import io as scipy_io
    from scipy import sparse

    try:
        matrix = scipy_io.mmread(path) if path.suffix.lower() == ".mtx" else sparse.load_npz(path)
    except Exception as error:  # SciPy raises many sorts for damaged files
        raise InputError(
            f"INPUT: '{path}' cannot be read as a sparse matrix ({error}); save it again."
        ) from None
    if path.suffix.lower() == ".mtx" and "pattern" in _first_line(path):
        raise InputError(
            f"INPUT: '{path}' holds a pattern without values; there is nothing to predict, give a "
            "matrix of numbers."
        )
    if sparse.issparse(matrix):
        coo = matrix.tocoo()
        rows, cols, values = coo.row, coo.col, np.asarray(coo.data)
    else:  # MatrixMarket's dense form: every entry is there
        rows, cols = (index.ravel() for index in np.indices(matrix.shape))
        values = np.asarray(matrix).ravel()
    if values.dtype.kind not in "fiub":
        raise InputError(
            f"INPUT: '{path}' holds entries of type {values.dtype}; give real numbers."
        )
    values = values.astype(float)
    bad = ~np.isfinite(values)
    if bad.any():
        t = int(np.argmax(bad))
        raise InputError(
            f"INPUT: '{path}': the entry at row {rows[t] + 1}, column {cols[t] + 1} is not finite; "
            "drop it."
        )
    if not len(values):
        raise InputError(f"INPUT: '{path}' has no entries; give at least one.")
    return Long(rows, cols, values, None, None, ("row", "column", "value"), matrix.shape)


def _first_line(path: Path) -> str:
    with path.open(errors="replace") as file:
        return file.readline().lower()


def write_long(path: Path, columns: dict[str, np.ndarray]) -> bytes:
    """The bytes of a CSV, TSV or Parquet file with these columns."""
    suffix = path.suffix.lower()
    if suffix in _FRAME:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise InputError(
                f"--output: writing Parquet ('{path}') needs pyarrow; run: pip install "
                "'deeplinear[frames]'."
            ) from None
        buffer = io.BytesIO()
        pq.write_table(
            pa.table({name: pa.array(_one_type(column)) for name, column in columns.items()}),
            buffer,
        )
        return buffer.getvalue()
    if suffix not in (".csv", ".tsv"):
        raise InputError(
            f"--output: '{path}' is of the type '{suffix}'; give .csv, .tsv or .parquet for a list "
            "of predictions."
        )
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(_blanks(column) for column in columns.values()), strict=True))
    return text.getvalue().encode()


def _blanks(column: np.ndarray) -> list[Any]:
    """The column with an empty cell for NaN."""
    if column.dtype.kind != "f" or not np.isnan(column).any():
        return column.tolist()
    return ["" if x != x else x for x in column.tolist()]


def _one_type(column: np.ndarray) -> list[Any]:
    """The column as a list; where integers stand beside texts, all as texts."""
    entries = column.tolist()
    mixed = column.dtype == object and len(set(map(type, entries))) > 1
    return [str(x) for x in entries] if mixed else entries
