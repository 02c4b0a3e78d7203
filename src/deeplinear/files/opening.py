"""Bytes of a file, compressed or not, and the encoding of its text."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, TextIO, cast

from ..errors import InputError
from .limits import Unpacked
from .refusals import listed, shown

COMPRESSED = (".gz", ".bz2", ".xz", ".zip")

_OPEN = {".gz": gzip.GzipFile, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}
_NO_TEXT = ("unicode_escape", "raw_unicode_escape", "idna", "punycode", "utf-7")
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)
# Longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def file_type(path: Path) -> str:
    """The suffix that names the file's type, in lower case: ``.csv`` of ``a.CSV`` and ``a.csv.gz``.

    Of a zip archive that exists it is the suffix of its one member.
    """
    suffix = path.suffix.lower()
    if suffix == ".zip" and path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                return PurePosixPath(_member(archive, path)).suffix.lower()
        except _DAMAGE as error:
            raise _damaged(path, error) from None
    return Path(path.stem).suffix.lower() if suffix in COMPRESSED else suffix


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The decompressed bytes of a file; `InputError` where its compression is damaged."""
    suffix = path.suffix.lower()
    if suffix not in COMPRESSED:
        with path.open("rb") as plain:
            yield plain
        return
    try:
        if suffix == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path)) as member:
                yield io.BufferedReader(Unpacked(cast(io.BufferedIOBase, member), path))
        else:
            with cast(io.BufferedIOBase, _OPEN[suffix](path)) as file:
                yield io.BufferedReader(Unpacked(file, path))
    except _DAMAGE as error:
        raise _damaged(path, error) from None


@contextmanager
def open_text(path: Path, encoding: str | None = None) -> Iterator[TextIO]:
    """A file as text without a byte-order mark and with its own line ends.

    By default UTF-8, or what its byte-order mark says. UnicodeDecodeError where it is not.
    """
    with open_bytes(path) as file:
        head = file.peek(4)[:4]  # type: ignore[attr-defined]  # all that `open_bytes` yields has it
        name = encoding or encoding_of(head)
        marks = (mark for mark, known in _MARKS if codecs.lookup(name) == codecs.lookup(known))
        file.read(len(next((mark for mark in marks if head.startswith(mark)), b"")))
        yield io.TextIOWrapper(cast(IO[bytes], file), encoding=name, newline="")


def encoding_of(head: bytes) -> str:
    """What the byte-order mark at the beginning of a file says, else ``utf-8``.

    UTF-16 without a mark shows by zeros at every other byte.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if len(head) >= 4 and head[1] == head[3] == 0 and head[0] and head[2]:
        return "utf-16-le"
    if len(head) >= 4 and head[0] == head[2] == 0 and head[1] and head[3]:
        return "utf-16-be"
    return "utf-8"


def check_encoding(name: str) -> None:
    """`InputError` unless Python knows a text encoding of this name."""
    try:
        known = "1,\n".encode(name).decode(name) == "1,\n" and name not in _NO_TEXT
    except (LookupError, ValueError):  # of a name with a zero byte, say
        known = False
    if not known:
        raise InputError(
            f"--encoding: {shown(name)} is no known encoding; give utf-8, latin-1, cp1252, utf-16, "
            "say."
        )


def compress(data: bytes, path: Path) -> bytes:
    """``data`` as a file of this name holds it: compressed if its suffix says so."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.compress(data, mtime=0)  # the same bytes at every time
    if suffix == ".bz2":
        return bz2.compress(data)
    if suffix == ".xz":
        return lzma.compress(data)
    if suffix != ".zip":
        return data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(path.stem), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    names = [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX/")
    ]
    if len(names) != 1:
        raise InputError(
            f"INPUT: '{path}' holds {len(names)} files ({listed(names, 5) or 'none'}); unpack it "
            "and give one of them."
        )
    return names[0]


def _damaged(path: Path, error: BaseException) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"INPUT: '{path}' cannot be unpacked ({reason}); save or download it again.")
