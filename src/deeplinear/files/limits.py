"""How much may come out of a small file.

A few kilobytes can unpack to gigabytes: by compression, by a header that promises what the file
does not hold, by arrays that were never written. Honest tables hardly go beyond a factor of 50.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from _typeshed import WriteableBuffer

_FACTOR = 100  # entries, or characters, for each byte of the file
_FREE_ENTRIES = 1 << 24  # that any file may have
_FREE_BYTES = 1 << 22
_FREE_MEMBERS = 1 << 28  # bytes of all members of an archive: a mask of zeros shrinks to nothing


def check_entries(path: Path, count: int) -> None:
    """`InputError` if a file is far too small for a matrix of so many entries; ValueError for a
    number of entries that is none.
    """
    if count < 0:
        raise ValueError(f"it announces {count:,} entries")
    size = path.stat().st_size
    if count > max(_FREE_ENTRIES, _FACTOR * size):
        raise InputError(
            f"INPUT: '{path}' has {size:,} bytes and describes {count:,} entries, which it hardly "
            "holds; save it again without compression, if that is right."
        )


def check_rows(path: Path, metadata: "pq.FileMetaData") -> None:
    """`InputError` if a Parquet file is far too small for what its ``metadata`` announce;
    ValueError if these are no numbers of rows, or not one number.
    """
    groups = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    for count in (metadata.num_rows, *groups):
        check_entries(path, count)
        check_entries(path, count * metadata.num_columns)
    if sum(groups) != metadata.num_rows:
        raise ValueError(f"it announces {metadata.num_rows:,} rows, and its parts {sum(groups):,}")


def most_unpacked(path: Path) -> int:
    """How many bytes may come out of what is compressed in a file that is no text."""
    return max(_FREE_MEMBERS, _FACTOR * path.stat().st_size)


def check_unpacked(path: Path, count: int) -> None:
    """`InputError` if a file would unpack to so many bytes, which are far too many."""
    if count > most_unpacked(path):
        raise InputError(
            f"INPUT: '{path}' has {path.stat().st_size:,} bytes and unpacks to {count:,}; save it "
            "again without compression, if that is right."
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
