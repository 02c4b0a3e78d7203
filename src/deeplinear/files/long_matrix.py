"""Long data in files of sparse matrices: MatrixMarket ``.mtx`` and SciPy's ``.npz``."""

import io
import math
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from ..completion.data.entries import Entries
from ..completion.data.ids import Ids
from ..errors import InputError
from .limits import check_entries
from .markers import Markers
from .opening import COMPRESSED, file_type, open_bytes
from .refusals import reading

SUFFIXES = (".mtx", ".npz")


def is_sparse(path: Path) -> bool:
    """Whether an ``.npz`` archive holds a sparse matrix, as `scipy.sparse.save_npz` writes it."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"format", "shape", "data"} <= set(archive.files)
    except Exception:  # whatever is wrong with the file, the reader of tables reports it
        return False


def read_matrix(path: Path, dtype: DTypeLike, markers: Markers) -> Entries:
    """The stored entries, stored zeros included, without those whose value marks a missing one.

    Rows and columns are known by position.
    """
    from scipy import sparse

    market = file_type(path) == ".mtx"
    with reading(path, "a sparse matrix"):
        if not market:
            _check_archive(path)
        matrix = _read_market(path) if market else sparse.load_npz(path)
        coo = matrix.tocoo() if sparse.issparse(matrix) else None
    if market and "pattern" in _first_line(path):
        raise InputError(
            f"INPUT: '{path}' holds a pattern without values; there is nothing to predict, give a "
            "matrix of numbers."
        )
    if coo is not None:
        rows, cols, values = coo.row, coo.col, np.asarray(coo.data)
    else:  # MatrixMarket's dense form stores every entry
        rows, cols = (index.ravel() for index in np.indices(matrix.shape))
        values = np.asarray(matrix).ravel()
    if values.dtype.kind not in "fiub":
        raise InputError(
            f"INPUT: '{path}' holds entries of type {values.dtype}; give real numbers."
        )
    kept = markers.kept(values)
    if not kept.all():
        markers.tell(path, int((~kept).sum()))
        rows, cols, values = rows[kept], cols[kept], values[kept]
    bad = ~np.isfinite(values)
    if bad.any():
        t = int(np.argmax(bad))
        raise InputError(
            f"INPUT: '{path}': the entry at row {rows[t] + 1}, column {cols[t] + 1} is not finite; "
            f"leave such entries out with --missing {values[t]}."
        )
    m, n = matrix.shape
    return Entries(rows, cols, values.astype(dtype), Ids.positions(m), Ids.positions(n))


def check_compressed(ends: np.ndarray, minor: np.ndarray, lines: int, width: int) -> None:
    """ValueError unless ``ends`` and ``minor`` (`indptr` and `indices` for SciPy) describe a sparse
    matrix of so many lines of this width: compiled code follows them unchecked.
    """
    if ends.dtype.kind not in "iu" or minor.dtype.kind not in "iu" or ends.ndim != 1:
        raise ValueError("the indices of a sparse matrix are not integers")
    if len(ends) != lines + 1 or ends[0] != 0 or (ends[1:] < ends[:-1]).any():
        raise ValueError("the lines of a sparse matrix do not follow each other")
    if ends[-1] > len(minor) or (minor < 0).any() or (minor >= width).any():
        raise ValueError("a sparse matrix has entries outside of its shape")


def _check_archive(path: Path) -> None:
    """`check_compressed` for the formats that it concerns."""
    with np.load(path, allow_pickle=False) as archive:
        if "indptr" not in archive:
            return
        shape, form = tuple(map(int, archive["shape"])), archive["format"].item()
        lines, width = shape
        if form in (b"bsr", "bsr"):
            data = archive["data"]
            lines, width = lines // data.shape[1], width // data.shape[2]
        elif form in (b"csc", "csc"):
            lines, width = width, lines
        check_compressed(archive["indptr"], archive["indices"], lines, width)


_NUMBER = rb"(?:[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?|[+-]?(?:inf|infinity|nan))"
_LINES = re.compile(
    rb"(?:[ \t]*+(?:%s(?:[ \t]++%s){0,3}+)?+[ \t]*+(?:\r?\n|\Z))*+" % (_NUMBER, _NUMBER),
    re.IGNORECASE,
)
_PIECE = 1 << 20  # bytes


def _read_market(path: Path) -> Any:
    """A matrix, dense or sparse, by SciPy, whose compiled code crashes where it cannot seek in a
    file, or where a number or a line has no end, as in a file that was cut off.
    """
    from scipy import io as scipy_io

    with open_bytes(path) as file:
        check_entries(path, _promised(file))
        _check_lines(file)
    if path.suffix.lower() not in COMPRESSED and _ends_with_line(path):
        return scipy_io.mmread(path)
    with open_bytes(path) as file:
        return scipy_io.mmread(io.BytesIO(file.read() + b"\n"))


def _check_lines(file: BinaryIO) -> None:
    """ValueError unless all lines of entries are of one to four numbers."""
    while piece := file.read(_PIECE) + file.readline():
        good = _LINES.match(piece)
        end = good.end() if good is not None else 0
        if end < len(piece):
            line = piece[end : end + 40].split(b"\n")[0].decode("latin-1")
            raise ValueError(f"the line {line!r} is no entry")


def _ends_with_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read(1) == b"\n"


def _promised(file: BinaryIO) -> int:
    """How many entries the head of a MatrixMarket file speaks of; 0 where it is none.

    The file is read up to its first entry.
    """
    size = next((line for line in file if line.strip() and not line.startswith(b"%")), b"")
    try:
        numbers = [int(word[:30]) for word in size.split()[:3]]
    except ValueError:  # SciPy says what is wrong
        return 0
    return numbers[2] if len(numbers) == 3 else math.prod(numbers)


def _first_line(path: Path) -> str:
    with open_bytes(path) as file:
        return file.readline().decode(errors="replace").lower()
