"""A running fit on disk: everything the next sweep depends on, written whole or not at all."""

import hashlib
import io
import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...atomic import write_atomically
from ...errors import InputError
from ..data.observations import Observations

PathLike = str | os.PathLike[str]
# Writing may take this part of the time.
SHARE = 0.05


def fingerprint(observations: Observations, options: dict[str, Any], *arrays: ArrayLike) -> str:
    """A hash of the entries, and of the options and other ``arrays`` that the result depends on."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (
        *observations.by_row.arrays,
        np.array(observations.shape),
        *(np.asarray(x) for x in arrays),
    ):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(memoryview(np.ascontiguousarray(array)).cast("B"))
    digest.update(repr(sorted(options.items())).encode())
    return digest.hexdigest()


class Checkpoint:
    """The file ``path`` of one fit.

    `save` writes now and then, `load` gives back what was written or None.

    The format is NumPy's ``.npz`` without pickled objects; the scalars are one JSON text.
    """

    def __init__(self, path: PathLike, mark: str) -> None:
        self.path, self.mark = Path(path), mark
        self._next = 0.0

    def load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """(arrays, scalars), or None where there is no file.

        `InputError` if it belongs to another fit or is damaged.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            scalars = json.loads(bytes(arrays.pop("scalars")).decode())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"checkpoint {self.path} cannot be read ({error}): remove it to start over."
            ) from None
        if scalars.pop("mark", None) != self.mark:
            raise InputError(
                f"checkpoint {self.path} belongs to other data or other options: remove it, or "
                "name another file."
            )
        return arrays, scalars

    def save(self, arrays: dict[str, np.ndarray], scalars: dict[str, Any]) -> None:
        """Write, unless the last time was very recent.

        Writing takes at most the part `SHARE` of the time.
        """
        begin = time.monotonic()
        if begin < self._next:
            return
        text = json.dumps({**scalars, "mark": self.mark})
        buffer = io.BytesIO()
        np.savez(buffer, scalars=np.frombuffer(text.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        write_atomically(self.path, buffer.getbuffer())
        end = time.monotonic()
        self._next = end + (end - begin) / SHARE
