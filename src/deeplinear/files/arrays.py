"""NumPy files: the array's type and the observed entries stay as they are."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from .table import Table


@dataclass
class ArrayTable(Table):
    """A 2-d array from ``.npy``, or the only 2-d array of an ``.npz`` archive, whose other arrays
    are kept.
    """

    array: np.ndarray
    suffixes: tuple[str, ...]
    name: str = ""  # its name in the archive
    others: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = self.array.astype(float)

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        # integers have no NaN, so with a mask they become float64; floats keep their width
        array = self.array.astype(self.array.dtype if self.array.dtype.kind == "f" else float)
        missing = np.isnan(self.values)
        array[missing] = filled[missing]
        buffer = io.BytesIO()
        if suffix == ".npy":
            np.save(buffer, array)
        else:
            arrays = {**self.others, self.name: array}
            np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


def read_array(path: Path) -> ArrayTable:
    """Read ``.npy`` or ``.npz``; never unpickles."""
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = (
            {"": loaded}
            if isinstance(loaded, np.ndarray)
            else {key: loaded[key] for key in loaded.files}
        )
    except Exception as error:  # NumPy, zipfile and zlib each raise their own for damaged files
        raise InputError(
            f"INPUT: '{path}' cannot be read as NumPy data ({error}); save it again."
        ) from None
    if "" in arrays:
        array = arrays.pop("")
        if array.ndim != 2:
            raise InputError(f"INPUT: '{path}' holds a {array.ndim}-d array; give a 2-d one.")
        name = ""
    else:
        matrices = [key for key, array in arrays.items() if array.ndim == 2]
        if len(matrices) != 1:
            raise InputError(
                f"INPUT: '{path}' holds {len(matrices)} two-dimensional arrays "
                f"({', '.join(matrices) or 'none'}); keep exactly one."
            )
        name = matrices[0]
        array = arrays.pop(name)
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"INPUT: '{path}' holds entries of type {array.dtype}; convert them to real numbers."
        )
    return ArrayTable(array, (path.suffix.lower(),), name, arrays)
