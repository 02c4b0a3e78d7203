"""NumPy files: the array's type and the observed entries stay as they are."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .archives import open_archive, rewritten
from .array_header import check_length, read_header
from .refusals import reading
from .table import Table
from .variables import choose

SUFFIXES = (".npy", ".npz")


@dataclass
class ArrayTable(Table):
    """A 2-d array from ``.npy``, or one 2-d array of an ``.npz`` archive, whose other members are
    kept.
    """

    array: np.ndarray
    suffixes: tuple[str, ...]
    member: str = ""  # of the archive
    archive: bytes = b""

    def __post_init__(self) -> None:
        self.values = self.array.astype(float)

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, completed(self.array, np.isnan(self.values), filled))
        array = buffer.getvalue()
        if not self.archive:
            return array
        return rewritten(self.archive, lambda name, old: array if name == self.member else old)


def completed(array: np.ndarray, missing: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """``array`` with the entries where ``missing`` is true taken from ``filled``.

    Floats keep their width; integers, of which only a mask hides some, become float64.
    """
    array = array.astype(array.dtype if array.dtype.kind == "f" else float)
    array[missing] = as_floats(filled[missing], array.dtype)
    return array


def as_floats(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``numbers`` in another width; those beyond it become its largest, not infinite."""
    limits = np.finfo(dtype)
    return np.clip(numbers, limits.min, limits.max).astype(dtype)


def read_array(path: Path, *, variable: str | None = None) -> ArrayTable:
    """Read ``.npy`` or ``.npz``; never unpickles.

    ``variable`` names an array of an archive with several matrices.
    """
    with reading(path, "NumPy data"):
        content, suffix = path.read_bytes(), path.suffix.lower()
        right = ".npz" if content.startswith(b"PK") else ".npy"
        if suffix != right:
            raise InputError(f"INPUT: '{path}' holds what {right} files hold; rename it.")
        if suffix == ".npz":
            return _read_archive(path, content, variable)
        array = _loaded(content)
        if array.ndim != 2:
            raise InputError(f"INPUT: '{path}' holds a {array.ndim}-d array; give a 2-d one.")
        _check_real(path, array)
        return ArrayTable(array, (suffix,))


def _read_archive(path: Path, content: bytes, variable: str | None) -> ArrayTable:
    matrices = {}
    with open_archive(path, content) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        for name, member in members.items():
            if (
                member.endswith(".npy")
                and len(read_header(io.BytesIO(archive.read(member)))[0]) == 2
            ):
                matrices[name] = member
        name = choose(path, matrices, variable)
        array = _loaded(archive.read(matrices[name]))
    _check_real(path, array)
    return ArrayTable(array, (".npz",), matrices[name], content)


def _loaded(content: bytes) -> np.ndarray:
    check_length(io.BytesIO(content), len(content))
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _check_real(path: Path, array: np.ndarray) -> None:
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"INPUT: '{path}' holds entries of type {array.dtype}; convert them to real numbers."
        )
