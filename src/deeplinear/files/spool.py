"""Standard input, or a pipe, as a file."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..atomic import temporary_folder
from ..errors import InputError

STANDARD = Path("-")  # standard input, or standard output

# How the first bytes of a file tell its type; all others are text.
_BEGINNINGS = {
    b"PAR1": ".parquet",
    b"%%MatrixMarket": ".mtx",
    b"\x1f\x8b": ".csv.gz",
    b"BZh": ".csv.bz2",
    b"\xfd7zXZ\x00": ".csv.xz",
    b"PK\x03\x04": ".zip",
}


@contextmanager
def on_disk(path: Path, argument: str = "INPUT") -> Iterator[Path]:
    """``path``, or for ``-`` or a named pipe a temporary file with all that comes from there;
    errors speak of ``path``.
    """
    if path != STANDARD and not path.is_fifo():
        yield path
        return
    if path == STANDARD and (sys.stdin is None or sys.stdin.closed):
        raise InputError(f"{argument}: standard input is closed; give the name of a file.")
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        spooled = folder / "stdin"
        with spooled.open("wb") as file:
            if path == STANDARD:
                shutil.copyfileobj(sys.stdin.buffer, file)
            else:
                with path.open("rb") as pipe:
                    shutil.copyfileobj(pipe, file)
        with spooled.open("rb") as file:
            head = file.read(16)
        suffix = next((s for mark, s in _BEGINNINGS.items() if head.startswith(mark)), ".csv")
        named = spooled.rename(spooled.with_suffix(suffix))
        try:
            yield named
        except InputError as error:
            raise InputError(str(error).replace(str(named), str(path))) from None
