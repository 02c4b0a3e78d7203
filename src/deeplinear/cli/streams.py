"""Standard output and error on any terminal: closed, full, ASCII, or a pipe whose reader left."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError
from ..labels import printable

# For terminals that are not Unicode; what is not here comes as Python escapes it.
_SPELLINGS = dict(zip("×–—−·★✓✗¹²³’‘“”↑↓", "x---.*+x123''\"\"^v", strict=True)) | {
    "…": "...", "∞": "inf", "≥": ">=", "≤": "<=", "→": "->", "σ": "sigma", "λ": "lambda", "≈": "~",
}  # fmt: skip


class ClosedPipe(Exception):
    """The reader of our output has left, as ``head`` does."""


class OutputLost(Exception):
    """Standard output takes no more: the sentence says why."""


class Output(io.TextIOWrapper):
    """A standard stream that takes any text and says in one sentence why it takes no more.

    What the encoding of the terminal does not have is spelled in ASCII. After a failure the stream
    leads nowhere, so that the end of the process does not fail again; one for messages about errors
    (``silent``) just falls silent.
    """

    def __init__(self, descriptor: int, *, encoding: str, silent: bool, closed: bool) -> None:
        file = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
        super().__init__(file, encoding, "deeplinear", line_buffering=True)
        self.descriptor, self.silent, self.closed_at_start = descriptor, silent, closed

    def write(self, text: str) -> int:
        with _told(self):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with _told(self):
            super().flush()


def open_streams() -> None:
    """Make standard output and error such that nothing that is printed there ends in a traceback.

    A stream that was closed at the start takes messages and forgets them; results that were to go
    there are refused by `check_standard_output`. Closed standard input is empty.
    """
    codecs.register_error("deeplinear", _spell)
    closed = []
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # or the next file to be opened would get its number
            os.open(os.devnull, os.O_RDWR)
            closed.append(descriptor)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        encoding = "utf-8" if old is None else old.encoding
        if old is not None:
            old.flush()
        new = Output(
            descriptor, encoding=encoding, silent=descriptor == 2, closed=descriptor in closed
        )
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def check_standard_output(argument: str = "--output") -> None:
    """`InputError` if results could not go to standard output, for it is closed."""
    if getattr(sys.stdout, "closed_at_start", False):
        raise InputError(f"{argument}: standard output is closed; give the name of a file.")


def write_result(data: bytes) -> None:
    """Results as they are, to standard output."""
    sys.stdout.flush()
    with _told(sys.stdout):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextmanager
def _told(stream: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(stream, Output):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.descriptor)
            os.close(nowhere)
            if stream.silent:
                return
        if isinstance(error, BrokenPipeError):
            raise ClosedPipe from None
        raise OutputLost(
            f"standard output cannot be written ({error.strerror or error}); free some room, or "
            "send it elsewhere."
        ) from None


def _spell(error: UnicodeError) -> tuple[str, int]:
    """ASCII for characters that the terminal does not have (an error handler of `codecs`)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    spelled = (_SPELLINGS.get(c) or printable(c) for c in bad)
    return "".join(spelled).encode("ascii", "backslashreplace").decode(), error.end
