"""Zip archives with one member exchanged: NumPy's ``.npz`` and Excel's ``.xlsx`` are such."""

import io
import zipfile
from collections.abc import Callable


def open_archive(content: bytes) -> zipfile.ZipFile:
    """The archive, all of whose members agree with their check sums; BadZipFile otherwise."""
    archive = zipfile.ZipFile(io.BytesIO(content))
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
