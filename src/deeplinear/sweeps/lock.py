"""One sweep at a time works on a store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError


@contextmanager
def only_writer(store: Path) -> Iterator[None]:
    """Hold a store, as long as this process lives at most; `InputError` if another sweep does.

    The lock is the operating system's, on the folder itself, so that nothing is left of it. Where
    the file system has no such locks, nothing is held.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    folder = os.open(store, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"--out: another sweep is at work on '{store}'; wait for its end, or give another "
                "name."
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(folder)
