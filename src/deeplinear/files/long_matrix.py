"""Long data in files of sparse matrices: MatrixMarket ``.mtx`` and SciPy's ``.npz``."""

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..completion.data.entries import Entries
from ..completion.data.ids import Ids
from ..completion.data.sparse import check_lines
from ..errors import InputError
from .limits import check_entries
from .markers import Markers
from .opening import file_type, open_bytes
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
    from scipy import io as scipy_io
    from scipy import sparse

    market = file_type(path) == ".mtx"
    with reading(path, "a sparse matrix"):
        if not market:
            _check_archive(path)
        if market:
            with open_bytes(path) as file:
                check_entries(path, scipy_io.mminfo(file)[2])
            with open_bytes(path) as file:
                matrix = scipy_io.mmread(file)
        else:
            matrix = sparse.load_npz(path)
        coo = matrix.tocoo() if sparse.issparse(matrix) else None
        if matrix.ndim != 2:
            raise ValueError(f"it has {matrix.ndim} axes")
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


def _check_archive(path: Path) -> None:
    """ValueError for indices that are none, and what `check_lines` refuses."""
    with np.load(path, allow_pickle=False) as archive:
        for name in {"row", "col", "offsets", "coords"} & set(archive.files):
            if archive[name].dtype.kind not in "iu":  # SciPy would cut fractions off
                raise ValueError("the indices of a sparse matrix are not integers")
        if "indptr" in archive:
            form = archive["format"].item()
            form = form.decode() if isinstance(form, bytes) else form
            shape = tuple(map(int, archive["shape"]))
            check_lines(form, shape, archive["data"], archive["indices"], archive["indptr"])


def _first_line(path: Path) -> str:
    with open_bytes(path) as file:
        return file.readline().decode(errors="replace").lower()
