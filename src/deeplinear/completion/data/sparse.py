"""Sparse matrices as entries. Compiled code follows their indices unchecked, so they are first."""

from typing import Protocol, runtime_checkable

import numpy as np

from ...errors import InputError


class Coordinates(Protocol):
    """A sparse matrix as its stored entries, in SciPy's names."""

    row: np.ndarray
    col: np.ndarray
    data: np.ndarray


@runtime_checkable
class Sparse(Protocol):
    """A sparse matrix, as SciPy's."""

    def tocoo(self, copy: bool = ...) -> Coordinates: ...


def stored_entries(
    X: Sparse, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Rows, columns, values and shape of the stored entries, **stored zeros included**.

    **Raises** `InputError` for a matrix whose arrays do not fit together.
    """
    shape = tuple(X.shape)  # type: ignore[attr-defined]
    if len(shape) != 2:
        raise InputError(f"{name} must be a matrix, got {len(shape)} axes.")
    try:
        return (*coordinates(X), shape)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise InputError(
            f"{name} is not a valid sparse matrix ({error}): make it again from rows, columns and "
            "values."
        ) from None


def coordinates(X: Sparse) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values of the stored entries of a matrix, in SciPy's order.

    ValueError where its arrays do not fit together. No memory is taken for lines without entries.
    """
    form = getattr(X, "format", None)
    if form in ("csr", "csc", "bsr"):
        data, indices, indptr = (getattr(X, part) for part in ("data", "indices", "indptr"))
        check_lines(form, X.shape, data, indices, indptr)  # type: ignore[attr-defined]
    if form == "dia":
        return _on_diagonals(X.shape, X.data, X.offsets)  # type: ignore[attr-defined]
    coo = X.tocoo(copy=False)
    return coo.row, coo.col, coo.data


def _on_diagonals(
    shape: tuple[int, int], data: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The entries of diagonals but the zeros among them, by rows: SciPy goes over all rows, which
    may be far more than there are entries.
    """
    if data.ndim != 2 or offsets.shape != data.shape[:1]:
        raise ValueError("the diagonals of a sparse matrix have no places")
    cols = np.broadcast_to(np.arange(data.shape[1]), data.shape)
    rows = cols - offsets[:, None].astype(np.int64)
    there = (data != 0) & (rows >= 0) & (rows < shape[0]) & (cols < shape[1])
    rows, cols, values = rows[there], cols[there], data[there]
    order = np.lexsort((cols, rows))
    return rows[order], cols[order], values[order]


def check_lines(
    form: str, shape: tuple[int, ...], data: np.ndarray, indices: np.ndarray, indptr: np.ndarray
) -> None:
    """`check_compressed` for a matrix in SciPy's form "csr", "csc" or "bsr" (of blocks)."""
    lines, width = shape
    if form == "csc":
        lines, width = width, lines
    if form == "bsr":
        height, breadth = data.shape[1:]
        if not height or not breadth or lines % height or width % breadth:
            raise ValueError("the blocks of a sparse matrix do not fill its shape")
        lines, width = lines // height, width // breadth
    elif data.ndim != 1:
        raise ValueError("the data of a sparse matrix are no vector")
    check_compressed(indptr, indices, lines, width)
    if len(data) != len(indices):
        raise ValueError("the parts of a sparse matrix have different lengths")


def check_compressed(ends: np.ndarray, minor: np.ndarray, lines: int, width: int) -> None:
    """ValueError unless ``ends`` and ``minor`` (`indptr` and `indices` for SciPy) describe a sparse
    matrix of so many lines of this width.
    """
    if ends.dtype.kind not in "iu" or minor.dtype.kind not in "iu":
        raise ValueError("the indices of a sparse matrix are not integers")
    if ends.ndim != 1 or minor.ndim != 1:
        raise ValueError("the indices of a sparse matrix are no vectors")
    if len(ends) != lines + 1 or ends[0] != 0 or (ends[1:] < ends[:-1]).any():
        raise ValueError("the lines of a sparse matrix do not follow each other")
    if ends[-1] > len(minor):
        raise ValueError("a sparse matrix has fewer entries than its lines announce")
    if minor.size and not 0 <= int(minor.min()) <= int(minor.max()) < width:
        raise ValueError("a sparse matrix has entries outside of its shape")
