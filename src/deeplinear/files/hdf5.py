"""HDF5 files, AnnData's ``.h5ad`` among them, through h5py (the extra ``hdf5``).

The output is a copy of the file in which one dataset has its missing entries filled.
"""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..completion.data.features import Feature
from ..completion.data.sparse import check_compressed
from ..errors import InputError
from .arrays import completed
from .hdf5_trial import check_size, check_survival, rewritten
from .limits import check_entries
from .refusals import reading, require, shown
from .table import Table
from .variables import choose

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".h5", ".hdf5", ".h5ad")
_SPARSE = ("csr_matrix", "csc_matrix")  # as AnnData calls them
_PARTS = ("data", "indices", "indptr")


@dataclass
class Hdf5Table(Table):
    """A 2-d dataset of an HDF5 file. NaN is missing, and what its attributes call missing."""

    content: bytes  # of the file
    name: str  # of the dataset
    suffixes: tuple[str, ...]
    values: np.ndarray
    transposed: bool = False  # as MATLAB stores matrices
    row_names: tuple[str, ...] = ()  # AnnData's observations
    column_names: tuple[str, ...] = ()  # and variables

    def __post_init__(self) -> None:
        if self.column_names:
            self.features = tuple(map(Feature, self.column_names))

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        missing = np.isnan(self.values)
        if self.transposed:
            missing, filled = missing.T, filled.T
        with _open(io.BytesIO(self.content)) as file:
            array = completed(file[self.name][()], missing, filled)
        return rewritten(self.content, self.name, array)

    def place(self, row: int, column: int) -> str:
        if self.row_names:
            name = shown(self.features[column].name)
            return f"observation {shown(self.row_names[row])}, variable {name}"
        return super().place(row, column)

    def describe(self) -> str:
        return f"{self.name}: {super().describe()}"


@dataclass
class SparseTable(Hdf5Table):
    """A sparse matrix of AnnData: entries that are not stored are zeros, stored NaN are missing."""

    def hide(self, mask: np.ndarray) -> None:
        if (mask & (self.values == 0)).any():
            raise InputError(
                f"--mask: '{self.name}' is sparse, and the mask hides entries that are not stored; "
                "store the matrix dense."
            )
        super().hide(mask)

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        with _open(io.BytesIO(self.content)) as file:
            rows, columns, data = _stored(file[self.name])
        missing = np.isnan(self.values[rows, columns])
        array = completed(data, missing, filled[rows, columns])
        return rewritten(self.content, f"{self.name}/data", array)


def read_hdf5(path: Path, *, variable: str | None = None) -> Hdf5Table:
    """Read the only 2-d dataset of numbers, or the one at the path ``variable`` in the file.

    Of an ``.h5ad`` file it is ``X`` by default, and ``layers/counts``, say, can be named.
    """
    require("h5py", path, "reading HDF5")
    with reading(path, "HDF5"):
        check_survival(path)
        content, suffix = path.read_bytes(), path.suffix.lower()
        with _open(io.BytesIO(content)) as file:
            if suffix == ".h5ad":
                return _read_anndata(path, file, content, variable)
            name = choose(path, matrices(file), variable, what="datasets of numbers")
            values = _values(path, name, file[name])
            suffixes = (".h5", ".hdf5")
            return Hdf5Table(content, name, suffixes, values)


def read_transposed(path: Path, content: bytes, variable: str | None) -> Hdf5Table:
    """Read a MATLAB 7.3 file, whose matrices are datasets with the axes exchanged."""
    require("h5py", path, "reading MATLAB 7.3")
    check_survival(path)
    with _open(io.BytesIO(content)) as file:
        found = matrices(
            file, lambda name, dataset: not name.startswith("#") and _is_matlab(dataset)
        )
        wide = [name for name in found if min(file[name].shape) > 1]
        name = choose(path, found if variable or not wide else wide, variable)
        values = np.ascontiguousarray(_values(path, name, file[name]).T)
        return Hdf5Table(content, name, (".mat",), values, transposed=True)


def matrices(
    file: "h5py.File", suits: Callable[[str, "h5py.Dataset"], bool] = lambda name, dataset: True
) -> list[str]:
    """The 2-d datasets of real numbers that lie in the file itself, not behind links."""
    import h5py

    found: list[str] = []

    def look(name: str, item: "h5py.Dataset | h5py.Group") -> None:
        real = isinstance(item, h5py.Dataset) and item.ndim == 2 and item.dtype.kind in "fiub"
        if real and suits(name, item):
            found.append(name)

    file.visititems(look)
    return found


def _open(buffer: io.BytesIO) -> AbstractContextManager["h5py.File"]:
    import h5py

    return h5py.File(buffer)


def _is_matlab(dataset: "h5py.Dataset") -> bool:
    """Whether a dataset is a matrix of numbers for MATLAB too, and not text or empty."""
    kind = dataset.attrs.get("MATLAB_class", b"double")
    return kind not in (b"char", b"cell") and not dataset.attrs.get("MATLAB_empty", 0)


def _values(path: Path, name: str, dataset: "h5py.Dataset") -> np.ndarray:
    """The entries as float64, NaN where the attributes of netCDF say that they are missing."""
    if dataset.is_virtual or dataset.external:
        raise InputError(
            f"INPUT: '{path}' keeps '{name}' in other files; copy the data into one file."
        )
    for attribute in ("scale_factor", "add_offset"):
        if attribute in dataset.attrs:
            raise InputError(
                f"INPUT: '{path}' stores '{name}' packed ({attribute}); save it unpacked."
            )
    check_size(path, dataset)
    array = dataset[()]
    values = array.astype(float)
    for attribute in ("_FillValue", "missing_value"):
        if attribute in dataset.attrs:
            values[np.isin(array, dataset.attrs[attribute])] = np.nan
    return values


def _read_anndata(path: Path, file: "h5py.File", content: bytes, variable: str | None) -> Hdf5Table:
    sparse = [name for name, group in _groups(file).items() if _encoding(group) in _SPARSE]
    dense = [name for name in matrices(file) if name.rpartition("/")[0] not in sparse]
    name = choose(path, [*dense, *sparse], variable or "X")
    read = _sparse_values if name in sparse else _values
    values = read(path, name, file[name])
    variables = "raw/var" if name == "raw/X" else "var"
    names = _names(path, file, "obs"), _names(path, file, variables)
    fit = [found if len(found) == n else () for found, n in zip(names, values.shape, strict=True)]
    kind = SparseTable if name in sparse else Hdf5Table
    return kind(content, name, (".h5ad",), values, False, *fit)


def _groups(file: "h5py.File") -> dict[str, "h5py.Group"]:
    import h5py

    found: dict[str, h5py.Group] = {}

    def look(name: str, item: "h5py.Dataset | h5py.Group") -> None:
        if isinstance(item, h5py.Group):
            found[name] = item

    file.visititems(look)
    return found


def _encoding(group: "h5py.Group") -> str:
    return str(group.attrs.get("encoding-type", ""))


def _names(path: Path, file: "h5py.File", axis: str) -> tuple[str, ...]:
    """The names of observations (``obs``) or variables (``var``), none where a file hides them."""
    import h5py

    frame = file.get(axis)
    column = frame.attrs.get("_index", "_index") if isinstance(frame, h5py.Group) else None
    names = frame.get(column) if isinstance(column, str) else None
    if not isinstance(names, h5py.Dataset) or names.ndim != 1:
        return ()
    check_size(path, names)
    texts = h5py.check_string_dtype(names.dtype) is not None
    return tuple(map(str, names.asstr()[()] if texts else names[()]))


def _sparse_values(path: Path, name: str, group: "h5py.Group") -> np.ndarray:
    for key in _PARTS:
        check_size(path, group[key])
    rows, columns, data = _stored(group)
    if not np.isnan(data).any():
        raise InputError(
            f"INPUT: '{path}' has no missing entry in '{name}': it is sparse, and entries that are "
            "not stored are measured zeros in AnnData; store NaN where an entry is missing, or "
            "name another array with --variable."
        )
    m, n = map(int, group.attrs["shape"])
    check_entries(path, m * n)
    values = np.zeros((m, n))
    values[rows, columns] = data
    return values


def _stored(group: "h5py.Group") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values of the stored entries; ValueError where they do not fit together."""
    data, minor, ends = (group[key][()] for key in _PARTS)
    shape = tuple(map(int, group.attrs["shape"]))
    by_rows = _encoding(group) == "csr_matrix"
    lines, width = shape if by_rows else shape[::-1]
    check_compressed(ends, minor, lines, width)
    if ends[-1] != len(data) or len(minor) != len(data):
        raise ValueError("the parts of a sparse matrix have different lengths")
    major = np.repeat(np.arange(lines), np.diff(ends))
    if len(np.unique(major * width + minor)) < len(data):
        raise ValueError("a sparse matrix has two entries in one place")
    return (major, minor, data) if by_rows else (minor, major, data)
