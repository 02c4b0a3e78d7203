"""NumPy files: the array's type and the observed entries stay as they are."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from .refusals import reading
from .table import Table
from .variables import choose

SUFFIXES = (".npy", ".npz")


@dataclass
class ArrayTable(Table):
    """A 2-d array from ``.npy``, or one 2-d array of an ``.npz`` archive, whose other arrays are
    kept.
    """

    array: np.ndarray
    suffixes: tuple[str, ...]
    name: str = ""  # its name in the archive
    others: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = self.array.astype(float)

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        array = completed(self.array, np.isnan(self.values), filled)
        buffer = io.BytesIO()
        if suffix == ".npy":
            np.save(buffer, array)
        else:
            arrays = {**self.others, self.name: array}
            np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


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
        loaded = np.load(path, allow_pickle=False)
        plain = isinstance(loaded, np.ndarray)
        arrays = {"": loaded} if plain else {key: loaded[key] for key in loaded.files}
    if plain != (path.suffix.lower() == ".npy"):
        right = ".npy" if plain else ".npz"
        raise InputError(f"INPUT: '{path}' holds what '{right}' files hold; rename it.")
    name = "" if plain else _choose(path, arrays, variable)
    array = arrays.pop(name)
    if array.ndim != 2:
        raise InputError(f"INPUT: '{path}' holds a {array.ndim}-d array; give a 2-d one.")
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"INPUT: '{path}' holds entries of type {array.dtype}; convert them to real numbers."
        )
    return ArrayTable(array, (path.suffix.lower(),), name, arrays)


def _choose(path: Path, arrays: dict[str, np.ndarray], variable: str | None) -> str:
    if variable in arrays:  # what is wrong with it is said later
        return variable
    return choose(path, [key for key, array in arrays.items() if array.ndim == 2], variable)
