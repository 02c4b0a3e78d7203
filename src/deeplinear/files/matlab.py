"""MATLAB's ``.mat`` files: one matrix is completed, all other variables stay as they are.

Files of version 5 to 7 are a header and a list of variables, each perhaps compressed. They are read
here rather than by SciPy, which damaged files can crash, and which loses functions and objects.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .arrays import completed
from .hdf5 import Hdf5Table, read_transposed
from .limits import most_unpacked
from .refusals import reading
from .table import Table
from .variables import choose

SUFFIXES = (".mat",)
_HEADER = 128  # bytes
_SUBSYSTEM = slice(116, 124)  # of the header: where MATLAB's private data begin, if there are any
_COMPRESSED, _MATRIX = 15, 14  # types of elements
_NUMBERS = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4"},
    **{9: "f8", 12: "i8", 13: "u8"},
}  # how entries are stored
_CLASSES = {
    **{6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"},
    **{14: "i8", 15: "u8"},
}  # what they are for MATLAB
_COMPLEX, _LOGICAL = 0x800, 0x200  # flags beside the class


@dataclass(frozen=True)
class _Variable:
    """A matrix of real numbers in the file."""

    name: str
    shape: tuple[int, int]
    flags: int  # with the class
    stored: np.ndarray  # the entries by columns, in the type that the file uses

    def array(self) -> np.ndarray:
        kind = np.dtype(_CLASSES[self.flags & 0xFF])
        return self.stored.astype(kind).reshape(self.shape, order="F")


@dataclass
class MatlabTable(Table):
    """A matrix in a file of MATLAB's version 5 to 7."""

    elements: list[bytes]  # the header and the variables
    position: int  # of the matrix among them
    variable: _Variable
    suffixes: tuple[str, ...] = SUFFIXES

    def __post_init__(self) -> None:
        self.values = self.variable.array().astype(float)

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        array = completed(self.variable.array(), np.isnan(self.values), filled)
        order = _byte_order(self.elements[0])
        old = self.elements[self.position]
        new = _encoded(self.variable, array, order)
        if struct.unpack_from(order + "I", old)[0] == _COMPRESSED:
            packed = zlib.compress(new)
            new = struct.pack(order + "II", _COMPRESSED, len(packed)) + packed
        header, *variables = self.elements
        variables[self.position - 1] = new
        return b"".join([self._moved(header, len(new) - len(old)), *variables])

    def _moved(self, header: bytes, by: int) -> bytes:
        """The header with the new place of MATLAB's private data, if they lie behind the matrix."""
        form = _byte_order(header) + "Q"
        (place,) = struct.unpack(form, header[_SUBSYSTEM])
        sizes = [len(element) for element in self.elements]
        if not sum(sizes[: self.position + 1]) <= place < sum(sizes):
            return header
        return (
            header[: _SUBSYSTEM.start] + struct.pack(form, place + by) + header[_SUBSYSTEM.stop :]
        )

    def describe(self) -> str:
        return f"{self.variable.name}: {super().describe()}"


def read_matlab(path: Path, *, variable: str | None = None) -> MatlabTable | Hdf5Table:
    """Read the only matrix of numbers of a ``.mat`` file, or the one called ``variable``.

    Scalars and vectors are not taken for the matrix, unless there is nothing else.
    """
    with reading(path, "MATLAB"):
        content = path.read_bytes()
        if b"\x89HDF\r\n\x1a\n" in (content[:8], content[512:520]):
            return read_transposed(path, content, variable)
        if content[126:128] not in (b"IM", b"MI"):
            raise InputError(
                f"INPUT: '{path}' is not of MATLAB's version 5 or later; save it again with "
                "MATLAB's save(…, '-v7')."
            )
        elements = _elements(content)
        order = _byte_order(content)
        most = most_unpacked(path)
        variables = [_variable(element, order, most) for element in elements[1:]]
    places = {v.name: k for k, v in enumerate(variables, start=1) if v is not None}
    wide = [v.name for v in variables if v is not None and min(v.shape) > 1]
    name = choose(path, places if variable or not wide else wide, variable)
    found = variables[places[name] - 1]
    assert found is not None
    return MatlabTable(elements, places[name], found)


def _byte_order(content: bytes) -> str:
    return "<" if content[126:128] == b"IM" else ">"


def _elements(content: bytes) -> list[bytes]:
    """The header and the variables, each with its tag (type and size)."""
    found, place = [content[:_HEADER]], _HEADER
    while place < len(content):
        kind, size = struct.unpack_from(_byte_order(content) + "II", content, place)
        end = place + 8 + size
        if kind not in (_COMPRESSED, _MATRIX) or end > len(content):
            raise ValueError(f"it breaks off in variable {len(found)}")
        found.append(content[place:end])
        place = end
    return found


def _variable(element: bytes, order: str, most: int) -> _Variable | None:
    """The matrix of real numbers in an element, or None if it is something else; ``most`` bytes
    are unpacked.
    """
    kind, size = struct.unpack_from(order + "II", element)
    if kind == _COMPRESSED:
        element = _unpacked(element[8:], most)
        kind, size = struct.unpack_from(order + "II", element)
    if kind != _MATRIX or size != len(element) - 8:
        raise ValueError("a variable is cut off")
    parts = _parts(element, order)
    _, flags = next(parts)
    if flags[0] & 0xFF not in _CLASSES or flags[0] & _COMPLEX:
        return None
    (_, shape), (_, name) = next(parts), next(parts)
    if len(shape) != 2 or not len(name):
        return None
    kind, stored = next(parts)
    m, n = map(int, shape)
    if m < 0 or n < 0 or m * n != len(stored):
        raise ValueError(f"it announces {m} × {n} entries and has {len(stored)}")
    return _Variable(name.astype("u1").tobytes().decode("latin-1"), (m, n), int(flags[0]), stored)


def _unpacked(packed: bytes, most: int) -> bytes:
    stream = zlib.decompressobj()
    data = stream.decompress(packed, most)
    if stream.unconsumed_tail:
        raise ValueError(f"a variable unpacks to more than {most:,} bytes")
    if not stream.eof:
        raise ValueError("a variable is cut off")
    return data


def _parts(element: bytes, order: str) -> Iterator[tuple[int, np.ndarray]]:
    """The parts of a matrix (flags, shape, name, entries): the type and the numbers of each."""
    place = 8
    while place < len(element):
        kind, size = struct.unpack_from(order + "II", element, place)
        start = place + 8
        if kind >> 16:  # a small part: type, size and up to four bytes in place of the tag
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
        if kind not in _NUMBERS or start + size > len(element):
            raise ValueError(f"a part of type {kind} does not belong there")
        numbers = np.dtype(order + _NUMBERS[kind])
        yield kind, np.frombuffer(element[start : start + size], numbers)
        place = start + (4 if start == place + 4 else size + -size % 8)
    raise ValueError("a variable lacks a part")


def _encoded(variable: _Variable, array: np.ndarray, order: str) -> bytes:
    """The element of the variable with other entries."""
    single = array.dtype.itemsize == 4  # only floats are written
    kind, number = (7, 7) if single else (6, 9)  # the class and the type
    flags = (variable.flags & ~0xFF & ~_LOGICAL) | kind
    parts = [
        (6, struct.pack(order + "II", flags, 0)),
        (5, struct.pack(order + "ii", *variable.shape)),
        (1, variable.name.encode("latin-1")),
        (number, array.astype(order + _NUMBERS[number]).tobytes(order="F")),
    ]
    body = b"".join(
        struct.pack(order + "II", form, len(data)) + data + bytes(-len(data) % 8)
        for form, data in parts
    )
    return struct.pack(order + "II", _MATRIX, len(body)) + body
