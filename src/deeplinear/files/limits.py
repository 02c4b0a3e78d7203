"""How much may come out of a small file.

A few kilobytes can unpack to gigabytes: by compression, by a header that promises what the file
does not hold, by arrays that were never written. Honest tables hardly go beyond a factor of 50.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_FACTOR = 100  # entries, or characters, for each byte of the file
_FREE_ENTRIES = 1 << 24  # that any file may have
_FREE_BYTES = 1 << 22


def check_entries(path: Path, count: int) -> None:
    """`InputError` if a file is far too small for a matrix of so many entries."""
    size = path.stat().st_size
    if count > max(_FREE_ENTRIES, _FACTOR * size):
        raise InputError(
            f"INPUT: '{path}' has {size:,} bytes and describes {count:,} entries, which it hardly "
            "holds; save it again without compression, if that is right."
        )


class Unpacked(io.RawIOBase):
    """The bytes that come out of a compressed file; `InputError` where they are far too many."""

    def __init__(self, file: io.BufferedIOBase, path: Path) -> None:
        self._file, self._path, self._count = file, path, 0
        self._most = max(_FREE_BYTES, _FACTOR * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        count = self._file.readinto(buffer)
        self._count += count
        if self._count > self._most:
            raise InputError(
                f"INPUT: '{self._path}' unpacks to more than {_FACTOR} times its size; unpack it "
                "and give what is in it, if that is right."
            )
        return count
