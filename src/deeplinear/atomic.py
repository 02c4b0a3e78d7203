"""Writing a file whole or not at all."""

import os
import uuid
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: Any) -> None:
    """Write bytes to a temporary file beside ``path`` and rename: a reader sees the old file or the
    new one, never half.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with (
            temporary.open("xb") as file
        ):  # not tempfile: its files are private, and a new one should have the usual permissions
            file.write(data)
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
