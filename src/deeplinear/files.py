"""Writing a file whole or not at all."""

import os
import tempfile
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: Any) -> None:
    """Write bytes to a temporary file beside ``path`` and rename: a reader sees the old file or the new one, never half."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp makes private files; a new file should get the permissions that the user's umask asks for
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
