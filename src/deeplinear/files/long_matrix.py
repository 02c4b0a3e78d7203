"""Long data in files of sparse matrices: MatrixMarket ``.mtx`` and SciPy's ``.npz``."""

import io
import math
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from ..completion.data.entries import Entries
from ..completion.data.ids import Ids
from ..completion.data.sparse import check_lines, coordinates
from ..errors import InputError
from .array_header import check_length
from .limits import check_entries, check_unpacked
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
        if matrix.ndim != 2:
            raise ValueError(f"it has {matrix.ndim} axes")
        if sparse.issparse(matrix):
            rows, cols, values = coordinates(matrix)
        else:  # MatrixMarket's dense form stores every entry
            rows, cols = (index.ravel() for index in np.indices(matrix.shape))
            values = np.asarray(matrix).ravel()
    if market and "pattern" in _first_line(path):
        raise InputError(
            f"INPUT: '{path}' holds a pattern without values; there is nothing to predict, give a "
            "matrix of numbers."
        )
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


def _check_archive(path: Path) -> None:
    """ValueError for members that are no arrays, for indices that are none, and for what
    `check_lines` refuses.
    """
    with zipfile.ZipFile(path) as members:
        check_unpacked(path, sum(info.file_size for info in members.infolist()))
        for info in members.infolist():
            with members.open(info) as member:
                check_length(member, info.file_size)
    with np.load(path, allow_pickle=False) as archive:
        for name in {"row", "col", "offsets", "coords"} & set(archive.files):
            if archive[name].dtype.kind not in "iu":  # SciPy would cut fractions off
                raise ValueError("the indices of a sparse matrix are not integers")
        if "indptr" in archive:
            form = archive["format"].item()
            form = form.decode() if isinstance(form, bytes) else form
            shape = tuple(map(int, archive["shape"]))
            check_lines(form, shape, archive["data"], archive["indices"], archive["indptr"])


_NUMBER = rb"(?:[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?|[+-]?(?:inf|infinity|nan))"
_LINES = re.compile(
    rb"(?:[ \t]*+(?:%s(?:[ \t]++%s){0,3}+)?+[ \t]*+(?:\r?\n|\Z))*+" % (_NUMBER, _NUMBER),
    re.IGNORECASE,
)
_PIECE = 1 << 20  # bytes


def _read_market(path: Path) -> Any:
    """A matrix, dense or sparse, by SciPy.

    Its compiled code crashes where it cannot seek in a file, or where a number or a line has no
    end, as in a file that was cut off.
    """
    from scipy import io as scipy_io

    with open_bytes(path) as file:
        check_entries(path, _promised(file))
        _check_lines(file)
    with warnings.catch_warnings():
        # of the class of the result, which SciPy 1.20 changes, and 1.13 lets nobody choose
        warnings.simplefilter("ignore", DeprecationWarning)
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
