"""Writing a file or a folder whole or not at all.

What is written has a temporary name beside its place until it is complete. It is locked while its
process lives, so that the next writer into the same folder can tell what a killed process has left,
and removes it.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing removed
    fcntl = None  # type: ignore[assignment]

from .interrupts import uninterrupted

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: How the names of temporary files and folders end; they begin with a dot.
SUFFIX = ".deeplinear-partial"
_OLD = "old"  # of a temporary folder: what is being replaced


def write_atomically(path: Path, data: "Buffer") -> None:
    """Write ``path`` whole: a reader sees the old file or the new one, never half of it.

    A symbolic link is followed and stays. Devices and pipes are written to as they are. A file
    keeps its permissions. The bytes are on the disk before the file has its name.

    **Raises** OSError; the old file is there then, unless the target is a device or a pipe.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            stream.write(data)
        return
    target = _followed(path)
    with _temporary(target.parent, _new_file) as temporary:
        if target.exists():  # before anything is in it that others may not read
            temporary.chmod(target.stat().st_mode & 0o777 | 0o600)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    _sync(target.parent)


def build_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a folder under a temporary name, then give it its name.

    The folder ``path`` is whole or not there; one that is there already is replaced at the end.
    """
    target = _followed(path)
    with _temporary(target.parent, _new_folder) as temporary:
        write(temporary / "new")
        with uninterrupted():
            if target.exists():  # a folder cannot be exchanged in one step: `_delete` puts it back
                (temporary / _OLD).mkdir()
                target.rename(temporary / _OLD / target.name)
            (temporary / "new").rename(target)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A private folder in ``parent``: gone afterwards, or when the next file is written there."""
    with _temporary(parent, _new_folder) as path:
        yield path


def remove_abandoned(folder: Path) -> int:
    """Delete the temporary files and folders of dead processes in ``folder``; their number.

    What such a process was about to replace goes back to its place.
    """
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.startswith(".") and e.name.endswith(SUFFIX)]
    return sum(_is_abandoned(folder / name) for name in names)


def _is_abandoned(path: Path) -> bool:
    """Whether a temporary belonged to a dead process; then it is deleted."""
    held = _hold(path, wait=False)
    if held is None:
        return False
    try:
        _delete(path)
    finally:
        os.close(held)
    return not path.exists()


@contextmanager
def _temporary(folder: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A new file or folder in ``folder``, locked; what is left of it at the end is deleted."""
    remove_abandoned(folder)
    path, held = _claimed(folder, make)
    try:
        yield path
    finally:
        _delete(path)
        if held is not None:
            os.close(held)


def _claimed(folder: Path, make: Callable[[Path], object]) -> tuple[Path, int | None]:
    while True:
        path = folder / f".{uuid.uuid4().hex}{SUFFIX}"
        make(path)
        held = _hold(path, wait=True)
        if path.exists():  # else removed by another writer, before it was locked
            return path, held
        if held is not None:
            os.close(held)


def _new_file(path: Path) -> None:
    # not tempfile: its files are private, and a new one should have the usual permissions
    path.open("xb").close()


def _new_folder(path: Path) -> None:
    path.mkdir(mode=0o700)


def _hold(path: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock of ``path``; None where another one does, or none can."""
    if fcntl is None:
        return None
    with suppress(OSError):  # it is gone, held, or on a file system without locks
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            os.close(descriptor)
            raise
        return descriptor
    return None


def _delete(path: Path) -> None:
    """Delete a temporary, without what it was about to replace."""
    for old in path.glob(f"{_OLD}/*"):
        if not (path.parent / old.name).exists():
            old.rename(path.parent / old.name)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _followed(path: Path) -> Path:
    """Where a symbolic link leads in the end; OSError for a circle, or what is write-protected."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return target


def _sync(folder: Path) -> None:
    """Let the new name of a file outlast a power cut, where a folder can be told so."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
