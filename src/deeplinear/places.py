"""Where results go: checked before anything is computed, so that nothing is lost after it."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError
from .interrupts import uninterrupted


def check_file(path: Path, *, force: bool, argument: str) -> None:
    """`InputError` unless a file can be written at ``path``.

    Its folder is there and lets us write, its name is not too long, and it is neither a folder nor
    a device, nor (without ``force``) there already.
    """
    with _told(path, argument):
        kind = _kind(path)
        if kind is not None and stat.S_ISDIR(kind):
            raise InputError(f"{argument}: '{path}' is a folder; give the name of a file.")
        if kind is not None and not stat.S_ISREG(kind):
            raise InputError(
                f"{argument}: '{path}' is a device or a pipe; give the name of a file."
            )
        if kind is not None and not force:
            raise InputError(
                f"{argument}: '{path}' exists; add --force to replace it, or give another name."
            )
        folder = Path(os.path.realpath(path)).parent  # a link leads to where the bytes go
        if not folder.exists():
            raise InputError(
                f"{argument}: the folder '{path.parent}' does not exist; create it first."
            )
        _try_writing(folder, argument)


def check_folder(path: Path, *, argument: str) -> None:
    """`InputError` unless the folder ``path`` is there, or can be made, and lets us write."""
    with _told(path, argument):
        above = [path, *path.absolute().parents]
        there = next((place for place in above if os.path.lexists(place)), None)
        if there is None:  # a drive that is not there
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not there.is_dir():
            raise InputError(
                f"{argument}: '{there}' is a file; give a folder."
                if there == path
                else f"{argument}: '{path}' cannot be made, for '{there}' is a file; give another."
            )
        most = os.pathconf(there, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
        if any(len(os.fsencode(part)) > most for part in path.parts):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        _try_writing(there, argument)


def check_apart(
    results: Mapping[str, Path | None],
    sources: Mapping[str, Path | None],
    folders: Mapping[str, Path | None] | None = None,
) -> None:
    """`InputError` if a file to write is one that is read, another one, or stands in the way of
    one of the ``folders`` to write.

    The keys are the names of the arguments; None and ``-`` (standard input or output) are no file.
    """
    given = [
        [(name, path) for name, path in group.items() if path not in (None, Path("-"))]
        for group in (results, sources, folders or {})
    ]
    files, read, made = given
    for k, (name, path) in enumerate(files):
        assert path is not None
        for other, there in [*read, *files[:k], *made]:
            assert there is not None
            if _same(path, there):
                raise InputError(f"{name}: '{path}' is {other} itself; give another name.")
            if Path(os.path.realpath(path)) in Path(os.path.realpath(there)).parents:
                raise InputError(f"{name}: {other} '{there}' lies below it; give another name.")


def _same(one: Path, other: Path) -> bool:
    """Whether two names are those of one file, also by links and in another case of letters."""
    try:
        return os.path.samefile(one, other)
    except OSError:  # one is not there yet
        return os.path.realpath(one) == os.path.realpath(other)


def _kind(path: Path) -> int | None:
    """The mode of what is there; None where nothing is."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _try_writing(folder: Path, argument: str) -> None:
    """Asking the file system is the only test that also sees read-only mounts and quotas."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"{argument}: cannot write in the folder '{folder}' ({error.strerror}); give "
            "another place."
        ) from None


@contextmanager
def _told(path: Path, argument: str) -> Iterator[None]:
    """What the file system says against a name, as an `InputError`."""
    try:
        yield
    except OSError as error:
        long = error.errno == errno.ENAMETOOLONG
        shown = f"'{path.name[:40]}…'" if long else f"'{path}'"
        fix = "give a shorter name" if long else "give another place"
        raise InputError(f"{argument}: {shown} cannot be used ({error.strerror}); {fix}.") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A block that writes ``path``: no signal ends it half-way, and an OSError names ``path``."""
    try:
        with uninterrupted(path):
            yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
