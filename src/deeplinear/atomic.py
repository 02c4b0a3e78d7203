"""Writing a file whole or not at all."""

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


def write_atomically(path: Path, data: "Buffer") -> None:
    """Write ``path`` whole: a reader sees the old file or the new one, never half of it.

    The bytes go to a temporary file beside ``path``, which is then renamed.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        # not tempfile: its files are private, and a new one should have the usual permissions
        with temporary.open("xb") as file:
            file.write(data)
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
