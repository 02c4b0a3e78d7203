"""A sign of life where compiling takes long."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 2.0
_TEXT = "deeplinear: compiling, once for this kind of problem; the next call starts at once.\n"


class _Notice:
    """Whether it was given in this process."""

    given = False


@contextmanager
def notice(seconds: float = _SECONDS) -> Iterator[None]:
    """One line on standard error if this takes longer than ``seconds``.

    Only in a terminal, and once in a process.
    """
    if _Notice.given or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(seconds, _give)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _give() -> None:
    _Notice.given = True
    sys.stderr.write(_TEXT)
    sys.stderr.flush()
