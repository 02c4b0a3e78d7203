"""Files of tables for tests: written with given bytes, read and completed with one value."""

from pathlib import Path

import numpy as np

from deeplinear.atomic import write_atomically
from deeplinear.files.table import Table


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_back(table: Table, path: Path, value: float = 0.25) -> Path:
    """The table completed with one value, written as ``path``."""
    filled = np.full(table.values.shape, value)
    if (
        filled.shape[1] == 3 * table.mask_shape[1]
    ):  # a colour image: brightness alone, the other two channels are 0
        filled = np.hstack(
            [
                np.sqrt(3) * filled[:, : table.mask_shape[1]],
                np.zeros((len(filled), 2 * table.mask_shape[1])),
            ]
        )
    write_atomically(path, table.encode(filled, path.suffix))
    return path
