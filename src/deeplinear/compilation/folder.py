"""The folder of compiled programs: where it is, and how it stays small and whole."""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

#: Names the folder, or turns it off (``DEEPLINEAR_CACHE=off``).
VARIABLE = "DEEPLINEAR_CACHE"
#: Bytes that are kept; what was not used for the longest time goes first.
MOST = 256 << 20

_SUFFIX = ".program"
_CHECK = hashlib.sha256().digest_size


class _Choice:
    """What `cache_compilations` was called with in this process."""

    made = False
    folder: Path | None = None


def cache_compilations(folder: str | os.PathLike[str] | bool = True) -> Path | None:
    """Where compiled programs are kept from now on, so that a later process starts at once.

    They are kept without any call: in ``$DEEPLINEAR_CACHE``, else in ``deeplinear`` below
    ``$JAX_COMPILATION_CACHE_DIR``, else in ``deeplinear/compiled`` in the user's cache folder
    (``$XDG_CACHE_HOME``, or ``~/.cache``); up to 256 MB, the least recently used go first. Only
    programs of this library are, and no setting of JAX is touched: programs of your own are kept by
    JAX's ``jax_compilation_cache_dir``. Any number of processes may share a folder; one that cannot
    be written, or that others may write in, is left alone. Its files can be deleted at any time.

    **Arguments**: ``folder``: another place; False: none (as the environment variable
    ``DEEPLINEAR_CACHE=off``); True, the default: the place above.

    **Returns** the folder, or None.

    >>> import deeplinear as dl
    >>> dl.cache_compilations(False)  # off
    >>> dl.cache_compilations().name  # doctest: +SKIP
    'compiled'
    """
    _Choice.made = not isinstance(folder, bool) or not folder
    _Choice.folder = None if isinstance(folder, bool) else Path(folder)
    return cache_folder()


def cache_folder() -> Path | None:
    """Where programs are kept, or None; it need not exist yet."""
    if _Choice.made:
        return _Choice.folder
    named = os.environ.get(VARIABLE)
    if named is not None:
        return None if named.strip().lower() in ("", "0", "off", "no", "false") else Path(named)
    if of_jax := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(of_jax) / "deeplinear"
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "deeplinear" / "compiled"
    except RuntimeError:  # nobody knows a home
        return None


def read(name: str) -> bytes | None:
    """The content kept under this name, if it is there and whole."""
    folder = cache_folder()
    if folder is None or not _is_ours(folder):
        return None
    file = folder / f"{name}{_SUFFIX}"
    try:
        content = file.read_bytes()
        check, content = content[:_CHECK], content[_CHECK:]
    except OSError:
        return None
    if hashlib.sha256(content).digest() != check:
        with suppress(OSError):
            file.unlink()
        return None
    with suppress(OSError):
        os.utime(file)  # the time of its last use
    return content


def write(name: str, content: bytes) -> None:
    """Keep ``content`` under this name if the folder allows, and make room for it."""
    folder = cache_folder()
    if folder is None or len(content) > MOST:
        return
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(folder):
            return
        _make_room(folder, len(content))
        # renamed into place: no process ever sees half a file
        place, partial = tempfile.mkstemp(suffix=".partial", dir=folder)
        try:
            with os.fdopen(place, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(partial, folder / f"{name}{_SUFFIX}")
        except OSError:
            os.unlink(partial)
            raise


def _is_ours(folder: Path) -> bool:
    """Whether nobody else may write there: what is loaded is run."""
    if not hasattr(os, "getuid"):
        return folder.is_dir()
    try:
        found = folder.stat()
    except OSError:
        return False
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid == os.getuid() and not others


def _make_room(folder: Path, size: int) -> None:
    """Delete what was not used for longest, until ``size`` more bytes fit within `MOST`."""
    kept = []
    for file in os.scandir(folder):
        with suppress(OSError):  # another process was faster
            found = file.stat()
            kept.append((found.st_mtime_ns, found.st_size, file.path))
    excess = sum(bytes for _, bytes, _ in kept) + size - MOST
    for _, bytes, path in sorted(kept):
        if excess <= 0:
            return
        with suppress(OSError):
            os.unlink(path)
        excess -= bytes
