"""What the page writes: all of it in one temporary folder, a part of it for each visitor."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..atomic import temporary_folder
from ..errors import InputError

#: Bytes that all visitors together may keep there.
MOST_KEPT = 2**30


class VisitorFolder:
    """The folder of one visitor, made when it is first needed."""

    def __init__(self, parent: Path) -> None:
        self._path = parent / uuid.uuid4().hex

    @property
    def path(self) -> Path:
        """The folder. **Raises** `InputError` where the visitors keep too much together."""
        if not self._path.exists():
            kept = sum(file.stat().st_size for file in _files(self._path.parent))
            if kept > MOST_KEPT:
                raise InputError(
                    "The explorer's temporary folder is full: close other pages of it, and try "
                    "again."
                )
            self._path.mkdir(mode=0o700)
        return self._path

    def empty(self) -> None:
        """Nothing of the visitor is left."""
        shutil.rmtree(self._path, ignore_errors=True)


@contextmanager
def server_folder() -> Iterator[Path]:
    """The folder of a server: gone at its end, and what a killed one left when the next starts."""
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        yield folder


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path
