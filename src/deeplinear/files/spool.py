"""Standard input as a file."""

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
def on_disk(path: Path) -> Iterator[Path]:
    """``path``, or for ``-`` a temporary file with all of standard input; errors speak of ``-``."""
    if path != STANDARD:
        yield path
        return
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        spooled = folder / "stdin"
        with spooled.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        with spooled.open("rb") as file:
            head = file.read(16)
        suffix = next((s for mark, s in _BEGINNINGS.items() if head.startswith(mark)), ".csv")
        named = spooled.rename(spooled.with_suffix(suffix))
        try:
            yield named
        except InputError as error:
            raise InputError(str(error).replace(str(named), str(STANDARD))) from None
