"""Zip archives with one member exchanged: NumPy's ``.npz`` and Excel's ``.xlsx`` are such."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from .limits import check_unpacked


def open_archive(path: Path, content: bytes) -> zipfile.ZipFile:
    """The archive, all of whose members agree with their check sums; BadZipFile otherwise.

    ``path`` is the file with this content; `InputError` if far too much would come out of it.
    """
    archive = zipfile.ZipFile(io.BytesIO(content))
    check_unpacked(path, sum(info.file_size for info in archive.infolist()))
    damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"its member '{damaged}' is damaged")
    return archive


def rewritten(content: bytes, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """A copy of the archive in which ``change`` gives each member (name, content) its new content,
    or None to leave it out.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            data = change(info.filename, old.read(info))
            if data is not None:
                new.writestr(info, data, info.compress_type)
    return buffer.getvalue()
