"""MATLAB's ``.mat`` files: one matrix is completed, all other variables stay as they are."""

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .arrays import completed
from .hdf5 import Hdf5Table, read_transposed
from .refusals import reading
from .table import Table
from .variables import choose

SUFFIXES = (".mat",)
_HEADER = 128  # bytes
_SUBSYSTEM = slice(116, 124)  # of the header: where the last element begins, or 0 or blanks
_COMPRESSED, _MATRIX = 15, 14  # types of elements
_REAL = (
    *("double", "single", "logical", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)


@dataclass
class MatlabTable(Table):
    """A matrix in a file of MATLAB's version 5 to 7, which is a list of variables."""

    elements: list[bytes]  # the header and the variables
    position: int  # of the matrix among them
    name: str
    array: np.ndarray
    suffixes: tuple[str, ...] = SUFFIXES

    def __post_init__(self) -> None:
        self.values = self.array.astype(float)

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        from scipy import io as scipy_io

        old = self.elements[self.position]
        array = completed(self.array, np.isnan(self.values), filled)
        buffer = io.BytesIO()
        compressed = struct.unpack_from("<I", old)[0] == _COMPRESSED
        scipy_io.savemat(buffer, {self.name: array}, do_compression=compressed)
        new = buffer.getvalue()[_HEADER:]
        header, *variables = self.elements
        variables[self.position - 1] = new
        return b"".join([self._moved(header, len(new) - len(old)), *variables])

    def _moved(self, header: bytes, by: int) -> bytes:
        """The header with the place of MATLAB's private data, which follow the variables."""
        (place,) = struct.unpack("<Q", header[_SUBSYSTEM])
        behind = sum(map(len, self.elements[: self.position + 1]))
        if not behind <= place < sum(map(len, self.elements)):
            return header
        return (
            header[: _SUBSYSTEM.start] + struct.pack("<Q", place + by) + header[_SUBSYSTEM.stop :]
        )

    def describe(self) -> str:
        return f"{self.name}: {super().describe()}"


def read_matlab(path: Path, *, variable: str | None = None) -> MatlabTable | Hdf5Table:
    """Read the only matrix of numbers of a ``.mat`` file, or the one called ``variable``.

    Scalars and vectors are not taken for the matrix, unless there is nothing else.
    """
    with reading(path, "MATLAB"):
        content = path.read_bytes()
        if b"\x89HDF\r\n\x1a\n" in (content[:8], content[512:520]):
            return read_transposed(path, content, variable)
        if not content.startswith(b"MATLAB 5.0") and content[126:128] not in (b"IM", b"MI"):
            raise InputError(
                f"INPUT: '{path}' is not of MATLAB's version 5 or later; save it again with "
                "MATLAB's save(…, '-v7')."
            )
        if content[126:128] != b"IM":
            raise InputError(f"INPUT: '{path}' comes from a big-endian computer; save it again.")
        return _read_elements(path, _elements(content), variable)


def _elements(content: bytes) -> list[bytes]:
    """The header and the variables, each with its tag (type and size)."""
    found, place = [content[:_HEADER]], _HEADER
    while place < len(content):
        kind, size = struct.unpack_from("<II", content, place)
        end = place + 8 + size
        if kind not in (_COMPRESSED, _MATRIX) or end > len(content):
            raise ValueError(f"it breaks off in variable {len(found)}")
        found.append(content[place:end])
        place = end
    return found


def _read_elements(path: Path, elements: list[bytes], variable: str | None) -> MatlabTable:
    from scipy import io as scipy_io

    places: dict[str, int] = {}
    wide = []
    for position, element in enumerate(elements[1:], start=1):
        for name, shape, kind in scipy_io.whosmat(io.BytesIO(elements[0] + element)):
            if kind in _REAL and len(shape) == 2 and not name.startswith("__"):
                places[name] = position
                wide += [name] * (min(shape) > 1)
    name = choose(path, places if variable or not wide else wide, variable)
    element = elements[places[name]]
    array = scipy_io.loadmat(io.BytesIO(elements[0] + element))[name]
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise InputError(f"INPUT: '{path}' holds {array.dtype} in '{name}'; give real numbers.")
    return MatlabTable(elements, places[name], name, array)
