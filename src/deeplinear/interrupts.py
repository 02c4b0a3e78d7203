"""Signals that stop a process, held back while something is written, and what was written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

#: Ctrl-C, the request to end, and the end of the terminal; Windows has no SIGHUP.
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

_written: dict[Path, None] = {}  # in order, each once


@contextmanager
def uninterrupted(*paths: Path) -> Iterator[None]:
    """A block that writes ``paths`` and that no signal of `STOPPING` ends half-way.

    A signal that arrives is delivered after the block. So `written` is the truth in a message about
    an interruption: what it lists is whole, and there is nothing else. Signals that end the process
    without asking Python are left alone, and so are those of threads.

    >>> from deeplinear.interrupts import uninterrupted
    >>> try:
    ...     with uninterrupted():
    ...         signal.raise_signal(signal.SIGINT)
    ...         done = True
    ... except KeyboardInterrupt:
    ...     print("then interrupted:", done)
    then interrupted: True
    """
    arrived: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in STOPPING}
        before = {number: handler for number, handler in found.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, hold)
        yield
        _written.update(dict.fromkeys(paths))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def written() -> list[Path]:
    """What this process has written in blocks of `uninterrupted`, since `forget`."""
    return list(_written)


def forget() -> None:
    """Begin a new list of what is written."""
    _written.clear()
